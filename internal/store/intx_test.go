package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

func TestInTx_AnErrorOrPanicLeavesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		pool := limitPool(t, db.DB, 1) // a connection that came back unclean would show in the next call
		d := open(t, db.DB, store.Config{})
		for _, c := range []struct {
			what string
			end  func(*store.Tx) error
			kind error
		}{
			{"our own", func(*store.Tx) error { return errOurs }, fail.Refused},
			{"unique", putting("half"), fail.Exists},
			{"check", overdraw, fail.Refused},
			{"bad SQL", func(tx *store.Tx) error { _, err := tx.Exec(all, "no such statement"); return err }, fail.Unavailable},
			{"no row", func(tx *store.Tx) error {
				return tx.Take(tx.From(all, "prm_throttles").Where("key = ?", "x"), &throttle{}, "")
			}, fail.NotFound},
		} {
			runs := 0
			wantKind(t, c.what, store.InTx(context.Background(), d, func(tx *store.Tx) error {
				runs++
				must(t, put(tx, "half"))
				return c.end(tx)
			}), c.kind)
			if runs != 1 {
				t.Errorf("%s ran %d times", c.what, runs)
			}
		}
		func() {
			defer func() {
				if r := recover(); r != "on purpose" {
					t.Errorf("recovered %v, want the panic itself", r)
				}
			}()
			_ = store.InTx(context.Background(), d, func(tx *store.Tx) error { must(t, put(tx, "half")); panic("on purpose") })
		}()
		if s := pool.Stats(); s.InUse != 0 {
			t.Errorf("%d connections were not given back", s.InUse)
		}
		must(t, store.InTx(limited(t, 5*time.Second), d, putting("whole")))
		if got := keys(t, db); got != "[whole]" {
			t.Errorf("keys %s", got)
		}
	})
}

// On PostgreSQL the failed statement has ended the transaction, and its commit is a rollback.
func TestInTx_ASwallowedFailureIsNoSuccessOnPostgres(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	d := open(t, db.DB, store.Config{})
	wantKind(t, "commit", store.InTx(context.Background(), d, func(tx *store.Tx) error {
		must(t, put(tx, "half"))
		_ = overdraw(tx)
		return nil
	}), fail.Unavailable)
	must(t, store.InTx(context.Background(), d, putting("whole")))
	if got := keys(t, db); got != "[whole]" {
		t.Errorf("keys %s", got)
	}
}

// The contact is checked at the commit. It fails there with the transaction still open on SQLite.
func TestInTx_ADeferredConstraintFailsTheCommit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		limitPool(t, db.DB, 1)
		d := open(t, db.DB, store.Config{})
		wantKind(t, "commit", store.InTx(context.Background(), d, func(tx *store.Tx) error {
			_, err := tx.Exec(all, "UPDATE prm_partners SET contact_id = 'usr_nobody' WHERE id = 'prt_vendor'")
			return errors.Join(err, put(tx, "half"))
		}), fail.Invalid)
		must(t, store.InTx(limited(t, 5*time.Second), d, putting("whole")))
		if got := keys(t, db); got != "[whole]" {
			t.Errorf("keys %s", got)
		}
	})
}

func TestInTx_AnEndedContextWritesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		ctx, cancel := context.WithCancel(context.Background())
		err := store.InTx(ctx, d, func(tx *store.Tx) error {
			defer cancel() // after all its statements, before the commit
			return put(tx, "half")
		})
		wantKind(t, "ended before the commit", err, fail.Unavailable)
		if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%v: want the context's error, and a known outcome", err)
		}
		wantKind(t, "ended before the call", store.InTx(ctx, d, putting("never")), fail.Unavailable)
		wantKind(t, "read", store.Read(ctx, d, func(tx *store.Tx) error { return tx.Find(tx.From(all, "prm_throttles"), &[]throttle{}) }), fail.Unavailable)
		if got := keys(t, db); got != "[]" {
			t.Errorf("keys %s", got)
		}
	})
}

// retries counts what InTx says about running again.
type retries struct {
	slog.Handler
	n     atomic.Int64
	first chan struct{}
	once  sync.Once
}

func newRetries() *retries { return &retries{Handler: slog.DiscardHandler, first: make(chan struct{})} }

func (r *retries) Enabled(context.Context, slog.Level) bool { return true }

func (r *retries) Handle(_ context.Context, rec slog.Record) error {
	if strings.Contains(rec.Message, "runs again") {
		r.n.Add(1)
		r.once.Do(func() { close(r.first) })
	}
	return nil
}

func TestInTx_RunsAgainAfterADeadlock(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	again := newRetries()
	d := open(t, db.DB, store.Config{Logger: slog.New(again)})
	must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error { return errors.Join(put(tx, "a"), put(tx, "b")) }))
	var both, done sync.WaitGroup
	both.Add(2)
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		var meet sync.Once
		done.Go(func() {
			err := store.InTx(limited(t, 30*time.Second), d, func(tx *store.Tx) error {
				if err := bump(tx, order[0]); err != nil {
					return err
				}
				meet.Do(func() { both.Done(); both.Wait() })
				return bump(tx, order[1])
			})
			if err != nil {
				t.Errorf("%v: %v", order, err)
			}
		})
	}
	done.Wait()
	if a, b := failures(t, db, "a"), failures(t, db, "b"); a != 2 || b != 2 || again.n.Load() == 0 {
		t.Errorf("a %d, b %d, %d repeats; want 2, 2 and some", a, b, again.n.Load())
	}
}

// What another try can cure is tried ten times, whole; then it is the caller's to try later.
func TestInTx_RunsAgainAfterASerializationFailure(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	d := open(t, db.DB, store.Config{})
	for _, state := range []string{"40001", "40P01", "55P03"} {
		runs := 0
		fails := func(times int) func(*store.Tx) error {
			runs = 0
			return func(tx *store.Tx) error {
				runs++
				must(t, put(tx, fmt.Sprint(state, " run ", runs, " of ", times)))
				if runs <= times {
					_, err := tx.Exec(all, "DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '"+state+"'; END $$")
					return err
				}
				return nil
			}
		}
		must(t, store.InTx(context.Background(), d, fails(3)))
		if runs != 4 {
			t.Errorf("%s: %d runs, want 4", state, runs)
		}
		err := store.InTx(context.Background(), d, fails(1000))
		wantKind(t, state+" for ever", err, fail.Unavailable)
		if runs != 10 {
			t.Errorf("%s for ever: %d runs, want 10", state, runs)
		}
		ctx, cancel := context.WithCancel(context.Background())
		body := fails(1000)
		err = store.InTx(ctx, d, func(tx *store.Tx) error { defer cancel(); return body(tx) })
		wantKind(t, state+" with an ended context", err, fail.Unavailable)
		if runs != 1 {
			t.Errorf("%s: %d runs after the context ended, want 1", state, runs)
		}
	}
	if got := keys(t, db); got != "[40001 run 4 of 3 40P01 run 4 of 3 55P03 run 4 of 3]" {
		t.Errorf("keys %s: only the last run may leave something", got)
	}
}

func TestInTx_RunsAgainWhenSQLiteIsBusy(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	host, err := dbtest.Connect(dbtest.SQLite, strings.ReplaceAll(strings.ReplaceAll(db.DSN, "5000", "1"), "immediate", "deferred"), &gorm.Config{})
	must(t, err)
	closeAtEnd(t, host)
	again := newRetries()
	d := open(t, host, store.Config{Logger: slog.New(again)})
	writer := db.Begin() // immediate: holds the file's one write lock
	must(t, writer.Error)
	defer writer.Rollback()
	done := make(chan error, 1)
	go func() { done <- store.InTx(context.Background(), d, putting("after the lock")) }()
	select {
	case <-again.first:
	case err := <-done:
		t.Fatalf("ended with the file locked: %v", err)
	}
	must(t, writer.Commit().Error)
	must(t, <-done)
	writer = db.Begin()
	must(t, writer.Error)
	wantKind(t, "locked for ever", store.InTx(context.Background(), d, putting("never")), fail.Unavailable)
	must(t, writer.Rollback().Error)
	if got := keys(t, db); got != "[after the lock]" {
		t.Errorf("keys %s", got)
	}
}

// A host that forgets In inside its own transaction waits for itself; the error says what to do.
func TestInTx_ForgottenInOnAPoolOfOneEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		limitPool(t, db.DB, 1)
		d := open(t, db.DB, store.Config{ConnWait: 50 * time.Millisecond})
		must(t, db.Transaction(func(tx *gorm.DB) error {
			for what, call := range map[string]func() error{
				"InTx": func() error { return store.InTx(context.Background(), d, putting("forgotten")) },
				"Read": func() error { return store.Read(context.Background(), d, func(*store.Tx) error { return nil }) },
			} {
				err := within(t, 5*time.Second, what, call)
				wantKind(t, what, err, fail.Unavailable)
				if err == nil || !strings.Contains(err.Error(), "no free connection: inside a transaction use reg.In(tx)") {
					t.Errorf("%s: %v does not say what to do", what, err)
				}
			}
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			err := store.InTx(ended, d, putting("forgotten"))
			if wantKind(t, "ended", err, fail.Unavailable); !errors.Is(err, context.Canceled) {
				t.Errorf("%v hides that the caller's context ended", err)
			}
			must(t, store.Read(context.Background(), store.In(d, tx), func(tx *store.Tx) error { return tx.Find(tx.From(all, "prm_throttles"), &[]throttle{}) }))
			return store.InTx(context.Background(), store.In(d, tx), putting("joined"))
		}))
		if got := keys(t, db); got != "[joined]" {
			t.Errorf("keys %s", got)
		}
	})
}

// With connections to spare the same mistake meets SQLite's one write lock. One busy timeout is long enough to know that: ten of them
// would be 50 s by the DSN that partner.SQLiteDSN gives.
func TestInTx_ForgottenInOnSQLiteEnds(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	host, err := dbtest.Connect(dbtest.SQLite, strings.ReplaceAll(db.DSN, "5000", "500"), &gorm.Config{})
	must(t, err)
	closeAtEnd(t, host)
	d := open(t, host, store.Config{ConnWait: 50 * time.Millisecond})
	tx := host.Begin()
	must(t, tx.Error)
	done := make(chan error, 1)
	begun := time.Now()
	go func() { done <- store.InTx(context.Background(), d, putting("forgotten")) }()
	select {
	case err := <-done:
		wantKind(t, "InTx", err, fail.Unavailable)
	case <-time.After(2 * time.Second): // four busy timeouts
		t.Errorf("still waiting after %v for a lock that the caller's own transaction holds", time.Since(begun).Round(time.Millisecond))
		must(t, tx.Rollback().Error)
		<-done
		return
	}
	must(t, tx.Rollback().Error)
}

func TestInTx_SQLiteWritersQueueWhereTheirContextCanEnd(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	pool, err := db.DB.DB()
	must(t, err)
	d := open(t, db.DB, store.Config{})
	inside, finish := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- store.InTx(context.Background(), d, func(tx *store.Tx) error { close(inside); <-finish; return put(tx, "first") })
	}()
	<-inside
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	err = within(t, 3*time.Second, "a queued writer", func() error { return store.InTx(ctx, d, putting("gave up")) })
	if wantKind(t, "queued", err, fail.Unavailable); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v hides that the caller's context ended", err)
	}
	if s := pool.Stats(); s.InUse != 1 {
		t.Errorf("%d connections in use: a queued writer must not hold one", s.InUse)
	}
	must(t, store.Read(context.Background(), d, func(tx *store.Tx) error { return tx.Find(tx.From(all, "prm_throttles"), &[]throttle{}) }))
	close(finish)
	must(t, <-first)
	must(t, store.InTx(context.Background(), d, putting("second")))
	if got := keys(t, db); got != "[first second]" {
		t.Errorf("keys %s", got)
	}
}

// Deferred transactions lose half of such writers to "database is locked"; ours lose none.
func TestInTx_ConcurrentWritersLoseNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		must(t, store.InTx(context.Background(), d, putting("row")))
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 25 {
					if err := store.InTx(context.Background(), d, func(tx *store.Tx) error { return bump(tx, "row") }); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		if n := failures(t, db, "row"); n != 16*25 {
			t.Errorf("%d of %d increments", n, 16*25)
		}
	})
}

// A context may end at any moment of a call: the answer must be the truth, and the connection either clean or gone.
func TestInTx_CancelledAtAnyMomentLeavesAHealthyPool(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		pool := limitPool(t, db.DB, 4)
		d := open(t, db.DB, store.Config{})
		const calls = 240
		moments := 4 * time.Millisecond
		if db.Kind == dbtest.Postgres { // where a cancelled statement costs the connection, and the next call makes a new one
			moments = 25 * time.Millisecond
		}
		var ran, unknown sync.Map
		var group sync.WaitGroup
		var number, cancelled atomic.Int64
		for range 4 {
			group.Go(func() {
				for i := number.Add(1); i <= calls; i = number.Add(1) {
					key := fmt.Sprintf("call %03d", i)
					ctx, cancel := context.WithCancel(context.Background())
					moment := rand.N(moments)
					if i%4 == 0 { // and some at none
						moment = time.Hour
					}
					timer := time.AfterFunc(moment, cancel)
					err := store.InTx(ctx, d, func(tx *store.Tx) error {
						if err := put(tx, key); err != nil {
							return err
						}
						return slow(tx)
					})
					timer.Stop()
					cancel()
					switch {
					case err == nil:
						ran.Store(key, true)
					case errors.Is(err, store.ErrOutcomeUnknown):
						unknown.Store(key, true)
					default:
						cancelled.Add(1)
						wantKind(t, key, err, fail.Unavailable)
					}
				}
			})
		}
		group.Wait()
		if s := pool.Stats(); s.InUse != 0 {
			t.Errorf("%d connections were not given back", s.InUse)
		}
		must(t, store.InTx(limited(t, 10*time.Second), d, putting("a later write")))
		if cancelled.Load() == 0 || cancelled.Load() == calls {
			t.Errorf("%d of %d calls were cancelled: the moments are badly chosen", cancelled.Load(), calls)
		}
		stored := map[string]bool{}
		for key := range strings.SplitSeq(strings.Trim(strings.ReplaceAll(keys(t, db), " call", "\ncall"), "[]"), "\n") {
			stored[key] = true
		}
		for i := 1; i <= calls; i++ {
			key := fmt.Sprintf("call %03d", i)
			_, ok := ran.Load(key)
			if _, open := unknown.Load(key); !open && ok != stored[key] {
				t.Errorf("%s: acknowledged %v, stored %v", key, ok, stored[key])
			}
		}
	})
}

// slow is a statement of a millisecond or two.
func slow(tx *store.Tx) error {
	query := "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) SELECT i FROM n) x"
	if tx.Postgres() {
		query = "SELECT count(*) FROM pg_sleep(0.002)"
	}
	var n int64
	return tx.Query(all, &n, query)
}
