package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
)

// statement is one on its way to the server.
type statement struct {
	query   string
	args    []any
	next    func(Row) error // for its rows
	touched *int64          // or for how many it touched
}

// pipelined is a transaction of PostgreSQL on a driver that takes several statements in one round trip. BEGIN goes with the first of them:
// a caller alone pays for the way there and back more than for the work.
type pipelined struct {
	conn  *sql.Conn
	via   batcher // conn's driver, to be used while conn is held
	queue []statement
	sent  bool  // there may be a transaction on the server
	begun bool  // there is
	busy  bool  // a flight is under way
	lost  error // what a flight failed with that the server does not know of: it would go on as if nothing had been
}

// batcher is the connection of a driver that has a pipeline; only pgx has one, and it is found by its methods, so that a host of another
// database never links it: Conn, whose result has SendBatch(ctx, *Batch), whose Batch has Queue(query, args…), whose results Query and Exec.
type batcher struct {
	send               reflect.Value
	batch              reflect.Type
	queue, query, exec int // which methods they are
}

func batcherOf(driverConn any) (b batcher, ok bool) {
	conn := reflect.ValueOf(driverConn).MethodByName("Conn")
	if !conn.IsValid() || conn.Type().NumIn() != 0 || conn.Type().NumOut() != 1 {
		return b, false
	}
	own := conn.Call(nil)[0]
	if kind := own.Kind(); (kind == reflect.Pointer || kind == reflect.Interface) && own.IsNil() {
		return b, false
	}
	b.send = own.MethodByName("SendBatch")
	if !b.send.IsValid() || b.send.Type().NumIn() != 2 || b.send.Type().NumOut() != 1 {
		return b, false
	}
	pointer, results := b.send.Type().In(1), b.send.Type().Out(0)
	if b.send.Type().In(0) != reflect.TypeFor[context.Context]() || pointer.Kind() != reflect.Pointer || results.Kind() != reflect.Interface {
		return b, false
	}
	b.batch = pointer.Elem()
	queue, has := pointer.MethodByName("Queue")
	if !has || queue.Type.NumIn() != 3 || queue.Type.In(1).Kind() != reflect.String || queue.Type.In(2) != reflect.TypeFor[[]any]() || !queue.Type.IsVariadic() {
		return b, false
	}
	query, asks := results.MethodByName("Query")
	exec, does := results.MethodByName("Exec")
	b.queue, b.query, b.exec = queue.Index, query.Index, exec.Index
	return b, asks && does && gives[rowsOf](query.Type) && gives[tagOf](exec.Type) && results.Implements(reflect.TypeFor[interface{ Close() error }]())
}

// gives tells whether a method takes nothing and returns a T and an error.
func gives[T any](method reflect.Type) bool {
	return method.NumIn() == 0 && method.NumOut() == 2 && method.Out(0).Implements(reflect.TypeFor[T]()) &&
		method.Out(1) == reflect.TypeFor[error]()
}

// rowsOf is what a pipeline's rows can do.
type rowsOf interface {
	Row
	Next() bool
	Err() error
	Close()
}

// tagOf is what a pipeline says of a statement without rows.
type tagOf interface {
	String() string
	RowsAffected() int64
}

// nextError is an error of the caller's own function, which leaves the transaction as it is.
type nextError struct{ error }

// run sends statements and reads all their answers; answered is how many of them there were before an error.
func (b batcher) run(ctx context.Context, list []statement) (answered int, err error) {
	batch := reflect.New(b.batch)
	queue := batch.Method(b.queue)
	for _, s := range list {
		queue.CallSlice([]reflect.Value{reflect.ValueOf(s.query), reflect.ValueOf(s.args)})
	}
	results := b.send.Call([]reflect.Value{reflect.ValueOf(ctx), batch})[0]
	defer func() {
		closer, _ := results.Interface().(interface{ Close() error })
		err = cmp.Or(err, closer.Close())
	}()
	query, exec := results.Method(b.query), results.Method(b.exec)
	for _, s := range list {
		if s.next != nil {
			err = readRows(query, s.next)
		} else {
			err = readTag(exec, s)
		}
		if err != nil {
			return answered, err
		}
		answered++
	}
	return answered, nil
}

func readRows(query reflect.Value, next func(Row) error) error {
	out := query.Call(nil)
	rows, ok := out[0].Interface().(rowsOf)
	if err, failed := out[1].Interface().(error); failed || !ok {
		return cmp.Or(err, errBroken)
	}
	defer rows.Close()
	for rows.Next() {
		if err := next(rows); err != nil {
			return nextError{err}
		}
	}
	return rows.Err()
}

// commitQuery ends a transaction; on one that has failed it answers ROLLBACK, and no error.
const commitQuery = "commit"

var errRolledBack = errors.New("commit unexpectedly resulted in rollback")

func readTag(exec reflect.Value, s statement) error {
	out := exec.Call(nil)
	if err, failed := out[1].Interface().(error); failed {
		return err
	}
	tag, _ := out[0].Interface().(tagOf)
	switch {
	case tag == nil:
		return errBroken
	case s.touched != nil:
		*s.touched = tag.RowsAffected()
	case s.query == commitQuery && tag.String() != "COMMIT":
		return errRolledBack
	}
	return nil
}

// newPipelined begins a transaction on conn, if its driver can: nothing is sent yet.
func newPipelined(conn *sql.Conn) (session, bool) {
	can, via := false, batcher{}
	if err := conn.Raw(func(driverConn any) error { via, can = batcherOf(driverConn); return nil }); err != nil || !can {
		return nil, false
	}
	return &pipelined{conn: conn, via: via, queue: []statement{{query: "begin isolation level read committed"}}}, true
}

// later puts a statement off until the next one that is waited for.
func (s *pipelined) later(st statement) { s.queue = append(s.queue, st) }

// settled tells whether there is nothing to send and nothing to tell; BEGIN alone is not worth the way.
func (s *pipelined) settled() bool {
	return s.lost == nil && !s.busy && (len(s.queue) == 0 || !s.sent && len(s.queue) == 1)
}

var errNested = errors.New("a statement inside the reading of another")

// flush sends what has been put off.
func (s *pipelined) flush(ctx context.Context) error {
	if s.busy { // it would wait for itself
		return errNested
	}
	if s.lost != nil {
		return s.lost
	}
	list := s.queue
	if s.queue = nil; len(list) == 0 {
		return nil
	}
	s.sent, s.busy = true, true
	defer func() { s.busy = false }()
	var failed error
	err := s.conn.Raw(func(any) error {
		answered := 0
		answered, failed = s.via.run(ctx, list)
		s.begun = s.begun || answered > 0
		return nil
	})
	err = cmp.Or(failed, err)
	if own, is := err.(nextError); is { //nolint:errorlint // the value itself
		return own.error
	}
	if err != nil && (!s.begun || bySQLState(err) == nil) {
		s.lost = err
	}
	return err
}

// PrepareContext, ExecContext, QueryContext and QueryRowContext implement gorm.ConnPool: what has been put off goes first.
func (s *pipelined) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	return s.conn.PrepareContext(ctx, query)
}

// ExecContext implements gorm.ConnPool.
func (s *pipelined) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	return s.conn.ExecContext(ctx, query, args...)
}

// QueryContext implements gorm.ConnPool.
func (s *pipelined) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	return s.conn.QueryContext(ctx, query, args...)
}

// QueryRowContext implements gorm.ConnPool.
func (s *pipelined) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := s.flush(ctx); err != nil { // a row cannot hold it: the end will say so
		s.lost = cmp.Or(s.lost, err)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		ctx = ended
	}
	return s.conn.QueryRowContext(ctx, query, args...)
}

func (s *pipelined) commit(ctx context.Context) error {
	if s.lost != nil {
		return s.lost // nothing has been asked to be committed
	}
	if !s.sent && len(s.queue) <= 1 { // nothing but a BEGIN
		return nil
	}
	// On a context of its own: see begin. A synchronous standby that is away holds a commit for ever.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	s.later(statement{query: commitQuery})
	return lostUnlessAnswered(s.flush(own))
}

// rollback ends the transaction, or else the connection.
func (s *pipelined) rollback(ctx context.Context) {
	if s.queue = nil; !s.sent {
		return
	}
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if _, err := s.conn.ExecContext(own, "rollback"); err != nil {
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}
