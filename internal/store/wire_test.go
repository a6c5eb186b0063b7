package store_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/mattn/go-sqlite3"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// wire stands between database/sql and the driver: it lists the statements that reach the database, and can cut one off.
type wire struct {
	kind, dsn string
	open      func(dsn string) (driver.Conn, error)

	mu     sync.Mutex
	seen   []string
	faults []fault
}

// fault makes a statement fail: instead of running, or after it has run, as when only the answer is lost.
type fault struct {
	on    string // how the statement begins
	after bool
	err   error
	hangs bool   // close the connection as well
	meet  func() // runs when the statement arrives; alone it changes nothing else
}

// wired opens db once more through a wire.
func wired(t testing.TB, db *dbtest.Database) (*wire, *gorm.DB) {
	t.Helper()
	w := &wire{kind: db.Kind, dsn: db.DSN, open: (&sqlite3.SQLiteDriver{}).Open}
	if db.Kind == dbtest.Postgres {
		w.open = stdlib.GetDefaultDriver().Open
	}
	pool := sql.OpenDB(w)
	t.Cleanup(func() { _ = pool.Close() })
	pool.SetMaxOpenConns(4)
	dialector := sqlite.New(sqlite.Config{Conn: pool})
	if db.Kind == dbtest.Postgres {
		dialector = postgres.New(postgres.Config{Conn: pool})
	}
	host, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	must(t, err)
	return w, host
}

func (w *wire) fail(f ...fault) { w.mu.Lock(); defer w.mu.Unlock(); w.faults = f }

// statements returns what ran since the last call.
func (w *wire) statements() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.seen
	w.seen = nil
	return list
}

// pass notes a statement and returns the fault that is planned for it; each happens once.
func (w *wire) pass(query string) (f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, query)
	if len(w.faults) > 0 && strings.HasPrefix(query, w.faults[0].on) {
		f, w.faults = w.faults[0], w.faults[1:]
	}
	return f
}

func (w *wire) Driver() driver.Driver { return nil }

func (w *wire) Connect(context.Context) (driver.Conn, error) {
	c, err := w.open(w.dsn)
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: c, wire: w}, nil
}

// run does one statement unless a fault says otherwise.
func run[T any](c *wireConn, query string, do func() (T, error)) (T, error) {
	var none T
	f := c.wire.pass(query)
	if f.meet != nil {
		f.meet()
	}
	if f.err == nil {
		return do()
	}
	if f.after {
		if _, err := do(); err != nil {
			return none, err
		}
	}
	if f.hangs {
		c.broken = true
		_ = c.Conn.Close()
	}
	return none, f.err
}

type wireConn struct {
	driver.Conn
	wire   *wire
	broken bool
}

func (c *wireConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return run(c, "BEGIN", func() (driver.Tx, error) {
		tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
		return &wireTx{tx, c}, err
	})
}

func (c *wireConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return run(c, query, func() (driver.Result, error) { return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args) })
}

func (c *wireConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return run(c, query, func() (driver.Rows, error) { return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args) })
}

func (c *wireConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *wireConn) ResetSession(ctx context.Context) error {
	if c.broken {
		return driver.ErrBadConn
	}
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *wireConn) Close() error {
	if c.broken {
		return nil
	}
	return c.Conn.Close()
}

type wireTx struct {
	driver.Tx
	conn *wireConn
}

func (t *wireTx) Commit() error {
	_, err := run(t.conn, "COMMIT", func() (struct{}, error) { return struct{}{}, t.Tx.Commit() })
	return err
}

func (t *wireTx) Rollback() error {
	_, err := run(t.conn, "ROLLBACK", func() (struct{}, error) { return struct{}{}, t.Tx.Rollback() })
	return err
}
