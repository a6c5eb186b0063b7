package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

var errOurs = fail.New(fail.Refused, "a room's own refusal")

func TestBEY01_HostCommitKeepsAndHostRollbackLeavesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		ctx := context.Background()
		d := open(t, db.DB, store.Config{})
		must(t, db.Transaction(func(tx *gorm.DB) error {
			must(t, store.InTx(ctx, store.In(d, tx), putting("kept")))
			var n int64 // the host sees it before the commit, and so does a read in its transaction
			must(t, tx.Raw("SELECT count(*) FROM prm_throttles").Scan(&n).Error)
			must(t, store.Read(ctx, store.In(d, tx), func(tx *store.Tx) error { return tx.Query(all, &n, "SELECT count(*) + ? FROM prm_throttles", n) }))
			if n != 2 {
				t.Errorf("the transaction sees %d, want 1 + 1", n)
			}
			return nil
		}))
		undo := errors.New("the host's mind changed")
		if err := db.Transaction(func(tx *gorm.DB) error {
			must(t, store.InTx(ctx, store.In(d, tx), putting("undone")))
			must(t, store.InTx(ctx, store.In(d, tx), putting("undone too")))
			return undo
		}); !errors.Is(err, undo) {
			t.Fatal(err)
		}
		if got := keys(t, db); got != "[kept]" {
			t.Errorf("keys %s, want only the committed one", got)
		}
	})
}

// GORM's Session without a context shares the Statement of the handle it came from, which then keeps a dead transaction.
func TestBEY01_AnEndedHostTransactionDoesNotLeakIntoTheHandle(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		ctx := context.Background()
		d := open(t, db.DB, store.Config{})
		for i, end := range []func(*gorm.DB) *gorm.DB{(*gorm.DB).Commit, (*gorm.DB).Rollback} {
			tx := db.Begin()
			must(t, tx.Error)
			joined := store.In(d, tx)
			must(t, store.InTx(ctx, joined, putting(fmt.Sprint("joined ", i))))
			must(t, end(tx).Error)
			must(t, store.InTx(ctx, d, putting(fmt.Sprint("base ", i))))
			must(t, store.Read(ctx, d, func(tx *store.Tx) error { return tx.Find(tx.From(all, "prm_throttles"), &[]throttle{}) }))
			if err := store.InTx(ctx, joined, putting("late")); err == nil {
				t.Error("a call in an ended transaction was not refused")
			}
		}
		if got := keys(t, db); got != "[base 0 base 1 joined 0]" {
			t.Errorf("keys %s", got)
		}
	})
}

// Calls of several transactions side by side each stay in their own.
func TestBEY01_SimultaneousCallsDoNotShareAStatement(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	ctx := context.Background()
	d := open(t, db.DB, store.Config{})
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range 15 {
				undo := errors.New("undo")
				err := db.Transaction(func(tx *gorm.DB) error {
					if err := store.InTx(ctx, store.In(d, tx), putting(fmt.Sprint("undone ", g, i))); err != nil {
						return err
					}
					return undo
				})
				if !errors.Is(err, undo) {
					t.Error(err)
				}
				if err := store.InTx(ctx, d, putting(fmt.Sprint("kept ", g, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	var kept, undone int64
	must(t, db.Raw("SELECT count(*) FROM prm_throttles WHERE key LIKE 'kept%'").Scan(&kept).Error)
	must(t, db.Raw("SELECT count(*) FROM prm_throttles WHERE key LIKE 'undone%'").Scan(&undone).Error)
	if kept != 60 || undone != 0 {
		t.Errorf("%d kept and %d of the undone, want 60 and 0", kept, undone)
	}
}

// notSQL is a transaction that is none of database/sql's.
type notSQL struct{ gorm.ConnPool }

func (notSQL) Commit() error   { return nil }
func (notSQL) Rollback() error { return nil }

func TestBEY01_MisuseOfInIsInvalidFromEveryCall(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		ctx := context.Background()
		d := open(t, db.DB, store.Config{})
		on := func(pool gorm.ConnPool) *gorm.DB {
			s := db.Session(&gorm.Session{NewDB: true, Context: ctx})
			s.Statement.ConnPool = pool
			return s
		}
		refused := func(what string, tx *gorm.DB) {
			t.Helper()
			joined := store.In(d, tx)
			if !store.Joined(joined) {
				t.Errorf("%s: not joined, so Close would close the handle", what)
			}
			for range 2 {
				wantKind(t, what+", InTx", store.InTx(ctx, joined, putting(what)), fail.Invalid)
				wantKind(t, what+", Read", store.Read(ctx, joined, putting(what)), fail.Invalid)
			}
			store.Close(joined)
		}
		refused("nil", nil)
		refused("zero", &gorm.DB{})
		refused("no transaction", db.DB)
		refused("a session", db.Session(&gorm.Session{DryRun: true}))
		refused("not of database/sql", on(notSQL{db.ConnPool}))
		refused("an empty prepared one", on(&gorm.PreparedStmtTX{}))
		for what, of := range map[string]*gorm.DB{"another database's": dbtest.New(t, db.Kind).DB, "another pool's": db.Open(t, &gorm.Config{})} {
			tx := of.Begin()
			must(t, tx.Error)
			refused(what, tx)
			must(t, tx.Rollback().Error)
		}
		tx := db.Begin()
		must(t, tx.Error)
		failed := tx.Session(&gorm.Session{NewDB: true, Context: ctx})
		_ = failed.AddError(errors.New("no such host table"))
		refused("a failed one", failed)
		must(t, store.InTx(ctx, store.In(d, tx), putting("in the same one, not failed")))
		must(t, tx.Commit().Error)
		must(t, store.InTx(ctx, d, putting("later")))
		if got := keys(t, db); got != "[in the same one, not failed later]" {
			t.Errorf("keys %s: misuse wrote something", got)
		}
	})
}

// A prepared statement of ours would stay in the host's cache, which has no bound.
func TestBEY01_PreparedTransactionsAreUnwrapped(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		host := db.Open(t, &gorm.Config{PrepareStmt: true})
		d := open(t, host, store.Config{})
		must(t, host.Transaction(func(tx *gorm.DB) error {
			if _, ok := tx.Statement.ConnPool.(*gorm.PreparedStmtTX); !ok {
				t.Fatalf("the host's pool is a %T", tx.Statement.ConnPool)
			}
			must(t, tx.Exec("UPDATE prm_locks SET name = name").Error)
			return store.InTx(context.Background(), store.In(d, tx), putting("joined"))
		}))
		cached := host.ConnPool.(*gorm.PreparedStmtDB).Stmts.Keys()
		if len(cached) == 0 {
			t.Error("the host's own statement is not cached: the test looks at the wrong place")
		}
		for _, q := range cached {
			if strings.Contains(q, "prm_throttles") || strings.Contains(q, "SAVEPOINT") {
				t.Errorf("the host's cache holds %q", q)
			}
		}
		if got := keys(t, db); got != "[joined]" {
			t.Errorf("keys %s", got)
		}
	})
}

// On PostgreSQL any failed statement ends the transaction unless a savepoint catches it.
func TestBEY01_ARefusedCallUndoesOnlyItself(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		ctx := context.Background()
		d := open(t, db.DB, store.Config{})
		refusals := []struct {
			what string
			call func(*store.Tx) error
			kind error
		}{
			{"unique", putting("first"), fail.Exists},
			{"check", overdraw, fail.Refused},
			{"reference", func(tx *store.Tx) error {
				_, err := tx.Exec(all, "INSERT INTO prm_known_sources (identity_id, source, seen_at) VALUES ('nobody', 'x', 0)")
				return err
			}, fail.Invalid},
			{"our own", func(*store.Tx) error { return errOurs }, fail.Refused},
			{"bad SQL", func(tx *store.Tx) error { _, err := tx.Exec(all, "no such statement"); return err }, fail.Unavailable},
			{"swallowed failure, then another", func(tx *store.Tx) error { _ = overdraw(tx); return put(tx, "first") }, nil},
		}
		tx := db.Begin()
		must(t, tx.Error)
		defer tx.Rollback()
		must(t, store.InTx(ctx, store.In(d, tx), putting("first")))
		for i, r := range refusals {
			joined := store.In(d, tx)
			err := store.InTx(ctx, joined, func(tx *store.Tx) error {
				must(t, put(tx, "half "+r.what))
				return r.call(tx)
			})
			if r.kind == nil && err == nil {
				t.Errorf("%s: no error", r.what)
			} else if r.kind != nil {
				wantKind(t, r.what, err, r.kind)
			}
			wantKind(t, r.what+" in a read", store.Read(ctx, joined, func(*store.Tx) error { return errOurs }), fail.Refused)
			must(t, store.InTx(ctx, joined, putting(fmt.Sprint("then ", i))))
			must(t, tx.Exec("UPDATE prm_throttles SET failures = failures + 1 WHERE key = 'first'").Error)
		}
		must(t, tx.Commit().Error)
		if got := keys(t, db); got != "[first then 0 then 1 then 2 then 3 then 4 then 5]" {
			t.Errorf("keys %s", got)
		}
		if n := failures(t, db, "first"); n != len(refusals) {
			t.Errorf("the host's own statements: %d of %d", n, len(refusals))
		}
	})
}

func TestBEY01_APanicUndoesOnlyItsCall(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		must(t, db.Transaction(func(tx *gorm.DB) error {
			joined := store.In(d, tx)
			func() {
				defer func() {
					if r := recover(); r != "on purpose" {
						t.Errorf("recovered %v", r)
					}
				}()
				_ = store.InTx(context.Background(), joined, func(tx *store.Tx) error {
					must(t, put(tx, "half"))
					_ = overdraw(tx) // on PostgreSQL the transaction is now failed
					panic("on purpose")
				})
			}()
			return store.InTx(context.Background(), joined, putting("after"))
		}))
		if got := keys(t, db); got != "[after]" {
			t.Errorf("keys %s", got)
		}
	})
}

func TestBEY01_CallsMayNest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		ctx := context.Background()
		d := open(t, db.DB, store.Config{})
		must(t, db.Transaction(func(tx *gorm.DB) error {
			joined := store.In(d, tx)
			must(t, store.InTx(ctx, joined, func(outer *store.Tx) error {
				must(t, put(outer, "outer"))
				must(t, store.InTx(ctx, joined, putting("inner")))
				wantKind(t, "inner", store.InTx(ctx, joined, func(tx *store.Tx) error { must(t, put(tx, "lost")); return put(tx, "outer") }), fail.Exists)
				return put(outer, "outer goes on")
			}))
			wantKind(t, "outer", store.InTx(ctx, joined, func(*store.Tx) error {
				must(t, store.InTx(ctx, joined, putting("inner of a refused one")))
				return errOurs
			}), fail.Refused)
			must(t, tx.SavePoint("hosts_own").Error)
			must(t, store.InTx(ctx, store.In(d, tx), putting("in the host's savepoint")))
			return tx.RollbackTo("hosts_own").Error
		}))
		if got := keys(t, db); got != "[inner outer outer goes on]" {
			t.Errorf("keys %s", got)
		}
	})
}

// A context that has ended refuses the call and leaves the host's transaction, which may still matter to the host.
func TestBEY01_AnEndedContextLeavesTheHostsTransactionUsable(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		must(t, db.Transaction(func(tx *gorm.DB) error {
			joined := store.In(d, tx)
			ended, cancel := context.WithCancel(context.Background())
			wantKind(t, "ended inside", store.InTx(ended, joined, func(tx *store.Tx) error {
				must(t, put(tx, "half"))
				cancel()
				return put(tx, "other half")
			}), fail.Unavailable)
			wantKind(t, "ended before", store.InTx(ended, joined, putting("never")), fail.Unavailable)
			return store.InTx(context.Background(), joined, putting("after"))
		}))
		if got := keys(t, db); got != "[after]" {
			t.Errorf("keys %s", got)
		}
	})
}

// Like a call of its own, one that ends its context and still returns nil must not count as done.
func TestBEY01_AnEndedContextUndoesTheJoinedCall(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		must(t, db.Transaction(func(tx *gorm.DB) error {
			ctx, cancel := context.WithCancel(context.Background())
			wantKind(t, "InTx", store.InTx(ctx, store.In(d, tx), func(tx *store.Tx) error {
				defer cancel()
				return put(tx, "half")
			}), fail.Unavailable)
			return nil
		}))
		if got := keys(t, db); got != "[]" {
			t.Errorf("keys %s: the call was refused and its effect kept", got)
		}
	})
}

// A lost race inside the host's transaction is the host's to run again: it is ErrConflict, and the transaction can be rolled back.
func TestBEY01_ASerializationFailureIsConflict(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	ctx := context.Background()
	d := open(t, db.DB, store.Config{})
	must(t, store.InTx(ctx, d, putting("row")))
	for _, level := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable} {
		tx := db.Begin(&sql.TxOptions{Isolation: level})
		must(t, tx.Error)
		joined := store.In(d, tx)
		must(t, store.Read(ctx, joined, func(tx *store.Tx) error { return tx.Find(tx.From(all, "prm_throttles"), &[]throttle{}) }))
		must(t, store.InTx(ctx, d, func(tx *store.Tx) error { return bump(tx, "row") }))
		runs := 0
		wantKind(t, level.String(), store.InTx(ctx, joined, func(tx *store.Tx) error { runs++; return bump(tx, "row") }), fail.Conflict)
		if runs != 1 {
			t.Errorf("%v: the call ran %d times inside the host's transaction", level, runs)
		}
		must(t, tx.Exec("SELECT 1").Error)
		must(t, tx.Rollback().Error)
		must(t, db.Transaction(func(tx *gorm.DB) error {
			return store.InTx(ctx, store.In(d, tx), func(tx *store.Tx) error { return bump(tx, "row") })
		}))
	}
	if n := failures(t, db, "row"); n != 4 {
		t.Errorf("%d bumps, want 2 of ours and 2 repeated ones", n)
	}
}

// A deferred transaction of SQLite that has read cannot write once another has: the busy handler is not even asked.
func TestBEY01_AStaleSQLiteSnapshotIsConflict(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	ctx := context.Background()
	deferred, err := dbtest.Connect(dbtest.SQLite, strings.ReplaceAll(db.DSN, "_txlock=immediate", "_txlock=deferred"), &gorm.Config{})
	must(t, err)
	closeAtEnd(t, deferred)
	d := open(t, deferred, store.Config{})
	must(t, store.InTx(ctx, d, putting("row")))
	tx := deferred.Begin()
	must(t, tx.Error)
	joined := store.In(d, tx)
	must(t, store.Read(ctx, joined, func(tx *store.Tx) error { return tx.Find(tx.From(all, "prm_throttles"), &[]throttle{}) }))
	must(t, store.InTx(ctx, d, func(tx *store.Tx) error { return bump(tx, "row") }))
	wantKind(t, "stale", store.InTx(ctx, joined, func(tx *store.Tx) error { return bump(tx, "row") }), fail.Conflict)
	must(t, tx.Rollback().Error)
	must(t, store.InTx(ctx, d, func(tx *store.Tx) error { return bump(tx, "row") }))
	if n := failures(t, db, "row"); n != 2 {
		t.Errorf("%d bumps, want 2", n)
	}
}

// A locking read is none in a read, which must not wait for writers; in a write it is one, on PostgreSQL.
func TestTx_LocksOnlyInWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		lock := func(call func(context.Context, *store.DB, func(*store.Tx) error) error, d *store.DB) (s string) {
			must(t, call(context.Background(), d, func(tx *store.Tx) error { s = tx.Lock("UPDATE"); return nil }))
			return s
		}
		want := ""
		if db.Kind == dbtest.Postgres {
			want = " FOR UPDATE"
		}
		begun := db.Begin()
		must(t, begun.Error)
		defer begun.Rollback()
		joined := store.In(d, begun)
		if got := lock(store.InTx, joined); got != want {
			t.Errorf("joined write: %q, want %q", got, want)
		}
		if got := lock(store.Read, joined); got != "" {
			t.Errorf("joined read: %q", got)
		}
		must(t, begun.Rollback().Error)
		if got := lock(store.InTx, d); got != want {
			t.Errorf("write: %q, want %q", got, want)
		}
		if got := lock(store.Read, d); got != "" {
			t.Errorf("read: %q", got)
		}
	})
}
