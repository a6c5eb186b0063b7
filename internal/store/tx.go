package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Tx is one transaction, or in a host's transaction one savepoint, or one read. It belongs to one goroutine.
type Tx struct {
	ctx    context.Context
	pool   gorm.ConnPool
	db     *gorm.DB // made when it is needed
	handle *handle
	engine dialect
	cfg    Config
	now    Micros
	writes bool
	sure   bool    // what has been put off may go together with the commit
	host   *hostTx // nil outside a host's transaction
}

// InTx runs fn in one transaction and commits it if fn returns nil. What another try can cure is tried again, whole, at most
// ten times; fn must therefore have no effect but on tx. In a host's transaction fn runs once, in a savepoint that an error
// undoes; nothing is committed there.
func InTx(ctx context.Context, d *DB, fn func(*Tx) error) error {
	return Repeating(ctx, d, func() error { return nil }, fn)
}

// Repeating is InTx that calls again each time before another try, whose error ends the trying.
func Repeating(ctx context.Context, d *DB, again func() error, fn func(*Tx) error) error {
	if d.bad != nil {
		return d.bad
	}
	leave, err := d.use()
	if err != nil {
		return err
	}
	defer leave()
	if d.host != nil {
		return d.host.call(ctx, d.handle, fn)
	}
	begun := time.Now()
	for try := 1; ; try++ {
		err := d.once(ctx, fn)
		switch {
		case err == nil || errors.Is(err, ErrOutcomeUnknown) || !Again(err):
			return d.report(ctx, err)
		}
		if err := again(); err != nil {
			return err
		}
		switch {
		case !d.engine.postgres && time.Since(begun) > d.cfg.ConnWait: // each try has already waited for the busy timeout
			return errLocked
		case try == maxTries || !pause(ctx, try):
			return settle(err)
		}
		d.cfg.Logger.DebugContext(ctx, "transaction runs again", "try", try+1)
	}
}

// Read runs fn on one connection without a transaction: fn sees each statement's own snapshot. In a host's transaction it sees
// what the host wrote.
func Read(ctx context.Context, d *DB, fn func(*Tx) error) error {
	if d.bad != nil {
		return d.bad
	}
	leave, err := d.use()
	if err != nil {
		return err
	}
	defer leave()
	if d.host != nil {
		return d.host.call(ctx, d.handle, func(tx *Tx) error {
			tx.writes = d.host.frozen(ctx, d.engine)
			return fn(tx)
		})
	}
	conn, err := d.conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return settle(d.report(ctx, classify(fn(d.tx(ctx, conn, false)))))
}

// Try runs fn in one transaction if that needs no waiting for another writer of this process, and once: for work that may as well be
// left undone. In a host's transaction it does nothing.
func Try(ctx context.Context, d *DB, fn func(*Tx) error) error {
	if Joined(d) {
		return nil
	}
	leave, err := d.use()
	if err != nil {
		return err
	}
	defer leave()
	if !d.engine.postgres {
		select {
		case d.gate <- struct{}{}:
			defer func() { <-d.gate }()
		default:
			return nil
		}
	}
	return settle(d.in(ctx, fn))
}

// maxTries bounds the tries of one InTx.
const maxTries = 10

// report logs what only the operator can mend, a statement that the database would not run, by its code: its text can hold values.
func (h *handle) report(ctx context.Context, err error) error {
	if errors.Is(err, errBroken) {
		h.cfg.Logger.ErrorContext(ctx, "the database refused a statement", "code", codeOf(err))
	}
	return err
}

// settle makes a lost race of a plain transaction "same call later"; ErrConflict is for callers who hold a version.
func settle(err error) error {
	if err != nil && errors.Is(err, ErrAgain) {
		return fail.Because(fail.Unavailable, "too busy", errors.New("another transaction was first"))
	}
	return err
}

// pause waits between tries, longer each time and never in step with others; false when ctx ended.
func pause(ctx context.Context, try int) bool {
	limit := time.Millisecond << min(try, 7)
	timer := time.NewTimer(limit/2 + rand.N(limit/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (h *handle) once(ctx context.Context, fn func(*Tx) error) error {
	leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return h.in(ctx, fn)
}

// in runs fn in a transaction on a connection of its own.
func (h *handle) in(ctx context.Context, fn func(*Tx) error) error {
	conn, err := h.conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := h.engine.begin(ctx, conn)
	if err != nil {
		return classify(err)
	}
	finished := false
	defer func() {
		if !finished { // fn failed or panicked
			s.rollback(ctx)
		}
	}()
	tx := h.tx(ctx, s, true)
	err = fn(tx)
	if err == nil && !tx.sure {
		err = tx.Flush()
	}
	if err != nil {
		if err = classify(err); errors.Is(err, errUnusable) { // ours is neither: the server has become a standby
			err = &classified{errGone, err}
		}
		return err
	}
	if err := ctx.Err(); err != nil {
		return classify(err)
	}
	finished = true
	if err := s.commit(ctx); err != nil {
		s.rollback(ctx)
		return classify(err)
	}
	return nil
}

func (h *handle) tx(ctx context.Context, pool gorm.ConnPool, writes bool) *Tx {
	return &Tx{ctx: ctx, pool: pool, handle: h, engine: h.engine, cfg: h.cfg, now: At(h.cfg.Clock()), writes: writes}
}

// hostTx is the host's open transaction.
type hostTx struct {
	pool  gorm.ConnPool
	calls int
	asked bool // whether it is known that
	still bool // its reads see the world as it was when it began, and it can lock
}

// frozen tells whether the host's transaction reads from a snapshot, at REPEATABLE READ or above on PostgreSQL. There a read locks the
// rows that decide about the caller, as a write does: a block that committed meanwhile shows as a conflict instead of not at all.
func (t *hostTx) frozen(ctx context.Context, engine dialect) bool {
	if !engine.postgres || t.asked {
		return t.still
	}
	var isolation, readOnly string
	row := t.pool.QueryRowContext(ctx, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
	if row.Scan(&isolation, &readOnly) != nil {
		return false // the call's own statement will say what is wrong
	}
	t.asked, t.still = true, isolation != "read committed" && isolation != "read uncommitted" && readOnly == "off"
	return t.still
}

var errRunAgain = fail.New(fail.Conflict, "another transaction was first: run your transaction again")

// call runs fn in a savepoint, so that a refusal undoes this call only and leaves the host's transaction usable on PostgreSQL too,
// where any failed statement would otherwise end it.
func (t *hostTx) call(ctx context.Context, h *handle, fn func(*Tx) error) (err error) {
	t.calls++
	name := fmt.Sprintf("prm_%d", t.calls)
	if _, err := t.pool.ExecContext(ctx, "SAVEPOINT "+name); err != nil {
		return inHost(classify(err))
	}
	finished := false
	defer func() {
		if finished {
			return
		}
		end := context.WithoutCancel(ctx)
		_, undo := t.pool.ExecContext(end, "ROLLBACK TO SAVEPOINT "+name)
		_, free := t.pool.ExecContext(end, "RELEASE SAVEPOINT "+name)
		if lost := errors.Join(undo, free); lost != nil && err != nil {
			h.cfg.Logger.WarnContext(ctx, "the host's transaction did not survive a refused call")
		}
	}()
	tx := h.tx(ctx, t.pool, true)
	tx.host = t
	if err := fn(tx); err != nil {
		return h.report(ctx, inHost(classify(err)))
	}
	if _, err := t.pool.ExecContext(ctx, "RELEASE SAVEPOINT "+name); err != nil {
		return inHost(classify(err))
	}
	finished = true
	return nil
}

// inHost says what a lost race means inside somebody else's transaction: only they can run it again.
func inHost(err error) error {
	if err != nil && errors.Is(err, ErrAgain) {
		return errRunAgain
	}
	return err
}

// In binds d to the host's open transaction tx. Misuse shows as ErrInvalid from every later call.
func In(d *DB, tx *gorm.DB) *DB {
	misuse := func(msg string) *DB { return &DB{handle: d.handle, bad: fail.New(fail.Invalid, msg)} }
	switch {
	case tx == nil || tx.Config == nil:
		return misuse("In: no transaction")
	case tx.Error != nil:
		return misuse("In: the transaction has already failed")
	case !inTransaction(tx):
		return misuse("In: not inside a transaction: pass the tx that gorm's Transaction or Begin gives")
	}
	pool := tx.Statement.ConnPool
	if prepared, ok := pool.(*gorm.PreparedStmtTX); ok { // its cache would prepare our statements for the host
		pool = prepared.Tx
	}
	if raw, ok := pool.(*sql.Tx); !ok || raw == nil {
		return misuse("In: not a transaction of database/sql")
	}
	if of, err := tx.DB(); err != nil || of != d.pool {
		return misuse("In: a transaction of another database")
	}
	return &DB{handle: d.handle, host: &hostTx{pool: pool}}
}

func inTransaction(db *gorm.DB) bool {
	if db.Statement == nil || db.Statement.ConnPool == nil {
		return false
	}
	_, ok := db.Statement.ConnPool.(gorm.TxCommitter)
	return ok
}

// orm is the statement builder over the transaction.
func (t *Tx) orm() *gorm.DB {
	if t.db == nil {
		t.db = t.handle.on(t.ctx, t.pool)
	}
	return t.db
}

// Now is the transaction's one instant.
func (t *Tx) Now() Micros { return t.now }

// Clock is the time now, as against Now: under a row's lock it is later than whatever was read under that lock before.
func (t *Tx) Clock() Micros { return At(t.cfg.Clock()) }

// Context is the caller's.
func (t *Tx) Context() context.Context { return t.ctx }

// Postgres tells the dialect, for the few statements that differ.
func (t *Tx) Postgres() bool { return t.engine.postgres }

// NewID makes an id of this instant.
func (t *Tx) NewID(prefix string) string { return NewID(prefix, t.now, t.cfg.Random) }

// Lock is what a locking read ends with: strength is "UPDATE", "SHARE" or "KEY SHARE". It is empty for a plain read, and on
// SQLite, where a writer is alone.
func (t *Tx) Lock(strength string) string {
	if !t.engine.postgres || !t.writes {
		return ""
	}
	return " FOR " + strength
}

// From begins a statement on table, limited to scope.
func (t *Tx) From(scope Scope, table string) *gorm.DB {
	return scope.limit(t.orm().Table(table), table)
}

// Take reads the one row of q into dest, locked against writers if lock says so ([Tx.Lock] strength, or empty).
func (t *Tx) Take(q *gorm.DB, dest any, lock string) error {
	if lock != "" && t.writes {
		q = q.Clauses(clause.Locking{Strength: lock})
	}
	return classify(q.Take(dest).Error)
}

// Find reads the rows of q into dest.
func (t *Tx) Find(q *gorm.DB, dest any) error { return classify(q.Find(dest).Error) }

// Count returns how many rows q has.
func (t *Tx) Count(q *gorm.DB) (int64, error) {
	var n int64
	err := q.Count(&n).Error
	return n, classify(err)
}

// Insert adds row, a pointer to a struct whose TableName says where.
func (t *Tx) Insert(row any) error { return classify(t.orm().Create(row).Error) }

// InsertNew adds row unless a unique index already holds its place; false means it does. On PostgreSQL a duplicate caught any
// other way would end the transaction.
func (t *Tx) InsertNew(row any) (bool, error) {
	res := t.orm().Clauses(clause.OnConflict{DoNothing: true}).Create(row)
	return res.RowsAffected == 1, classify(res.Error)
}

// Update changes the rows of q, made by From and narrowed by Where, and returns how many. values is a map, because GORM leaves
// out a struct's zero fields: "unblock" and "set 0" would do nothing.
func (t *Tx) Update(q *gorm.DB, values map[string]any) (int64, error) {
	res := q.Updates(values)
	return res.RowsAffected, classify(res.Error)
}

// Confirm is for a call that answers with what another has written, a repetition: its commit then waits for all that the other's waited for.
// A commit whose answer was lost can be visible before a synchronous standby has it, and a transaction that writes nothing waits for none.
func (t *Tx) Confirm() error {
	if !t.engine.postgres || !t.writes {
		return nil
	}
	var at string
	return t.Query(Everything("it reads nothing"), &at, "SELECT CAST(pg_logical_emit_message(TRUE, 'prm', '') AS TEXT)")
}

// Delete removes the rows of q.
func (t *Tx) Delete(q *gorm.DB) (int64, error) {
	res := q.Delete(nil)
	return res.RowsAffected, classify(res.Error)
}

// Joined tells whether tx is inside a host's transaction, which can be rolled back whatever becomes of the call.
func (t *Tx) Joined() bool { return t.host != nil }

// Frozen tells whether tx is inside a host's transaction that reads from a snapshot; see [hostTx.frozen].
func (t *Tx) Frozen() bool { return t.host != nil && t.host.frozen(t.ctx, t.engine) }
