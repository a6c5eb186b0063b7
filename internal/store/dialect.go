package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"gorm.io/gorm"
)

// dialect is the little in which the databases differ: how a transaction begins and ends, how a row is locked.
type dialect struct {
	name     string
	postgres bool
}

var (
	sqliteDialect   = dialect{name: "sqlite"}
	postgresDialect = dialect{name: "postgres", postgres: true}
)

func dialectOf(d gorm.Dialector) (dialect, error) {
	switch d.Name() {
	case sqliteDialect.name:
		return sqliteDialect, nil
	case postgresDialect.name:
		return postgresDialect, nil
	}
	return dialect{}, fail.New(fail.Invalid, fmt.Sprintf("database %q is not supported: use sqlite or postgres", d.Name()))
}

// ownDialector copies the host's Dialector and points the copy at pool, a connection or all of them. Passing the host's own value to gorm.Open would open a
// second pool on the same DSN, where a host transaction and an SDK call deadlock. Drivers are not imported, so the exported
// field Conn that every one of them has is set by reflection.
func ownDialector(host gorm.Dialector, pool gorm.ConnPool) (gorm.Dialector, error) {
	refused := fail.New(fail.Invalid, fmt.Sprintf("dialector %T has no field Conn to share the host's pool with", host))
	v := reflect.ValueOf(host)
	pointer := v.Kind() == reflect.Pointer
	if pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil, refused
	}
	own := reflect.New(v.Type())
	own.Elem().Set(v)
	conn, config := connOf(own.Elem())
	if !conn.IsValid() || !reflect.TypeOf(pool).AssignableTo(conn.Type()) {
		return nil, refused
	}
	conn.Set(reflect.ValueOf(pool))
	if f := config.FieldByName("WithoutReturning"); f.IsValid() && f.Kind() == reflect.Bool {
		f.SetBool(false) // the host's choice about its own inserts; ours read back the ids the database made
	}
	if !pointer {
		own = own.Elem()
	}
	dialector, ok := own.Interface().(gorm.Dialector)
	if !ok {
		return nil, refused
	}
	return dialector, nil
}

// connOf finds the field Conn of s, its own or an embedded struct's, and the struct it is in; an embedded pointer is replaced by a copy on the way, so
// that the host's configuration is never written to.
func connOf(s reflect.Value) (conn, config reflect.Value) {
	if f, ok := s.Type().FieldByName("Conn"); ok && len(f.Index) == 1 {
		return s.Field(f.Index[0]), s
	}
	for i := range s.NumField() {
		field := s.Field(i)
		if !s.Type().Field(i).Anonymous || !field.CanSet() {
			continue
		}
		if field.Kind() == reflect.Pointer && !field.IsNil() && field.Elem().Kind() == reflect.Struct {
			inner := reflect.New(field.Elem().Type())
			inner.Elem().Set(field.Elem())
			field.Set(inner)
			field = inner.Elem()
		}
		if field.Kind() == reflect.Struct {
			if conn, config = connOf(field); conn.IsValid() {
				return conn, config
			}
		}
	}
	return reflect.Value{}, reflect.Value{}
}

// session is one open transaction on one connection.
type session interface {
	gorm.ConnPool
	commit(context.Context) error
	rollback(context.Context)
}

// begin opens a transaction on conn. It must be ended by commit or rollback, which run on a context of their own: database/sql
// would otherwise roll back, and pgx close the connection, the moment the caller's context ends, in the middle of a commit.
func (d dialect) begin(ctx context.Context, conn *sql.Conn) (session, error) {
	if d.postgres {
		if s, can := newPipelined(conn); can {
			return s, nil
		}
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		tx, err := conn.BeginTx(own, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			cancel()
			return nil, err
		}
		return &postgresSession{tx, cancel}, nil
	}
	// IMMEDIATE whatever the DSN says: a deferred transaction that writes after another one committed fails at once,
	// without waiting for the busy timeout.
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		(&sqliteSession{conn}).rollback(ctx) // an interrupt may come after the BEGIN took effect
		return nil, err
	}
	return &sqliteSession{conn}, nil
}

// endTimeout bounds COMMIT and ROLLBACK.
const endTimeout = 60 * time.Second

type postgresSession struct {
	*sql.Tx
	cancel context.CancelFunc
}

func (s *postgresSession) commit(context.Context) error {
	defer s.cancel()
	// A synchronous standby that is away holds a commit for ever.
	defer time.AfterFunc(endTimeout, s.cancel).Stop()
	return lostUnlessAnswered(s.Commit())
}

// lostUnlessAnswered is what the error of a commit means: unless it is the server's answer, nobody knows.
func lostUnlessAnswered(err error) error {
	if err == nil || bySQLState(err) != nil && !errors.Is(classify(err), errGone) {
		return err
	}
	return &classified{ErrOutcomeUnknown, err}
}

func (s *postgresSession) rollback(context.Context) {
	defer s.cancel()
	defer time.AfterFunc(endTimeout, s.cancel).Stop()
	_ = s.Rollback()
}

type sqliteSession struct{ *sql.Conn }

func (s *sqliteSession) commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err := s.ExecContext(ctx, "COMMIT")
	if err == nil {
		return nil
	}
	s.rollback(ctx)
	if code, ok := sqliteCode(err); ok && code&0xff != sqliteIOErr {
		return err // refused before anything was durable
	}
	return &classified{ErrOutcomeUnknown, err}
}

const (
	sqliteError = 1
	sqliteIOErr = 10
)

// rollback ends the transaction, or else the connection: one that may still hold it must not go back to the host's pool.
func (s *sqliteSession) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err := s.ExecContext(ctx, "ROLLBACK")
	if code, ok := sqliteCode(err); err == nil || ok && code == sqliteError { // "no transaction is active"
		return
	}
	_ = s.Raw(func(any) error { return driver.ErrBadConn })
}
