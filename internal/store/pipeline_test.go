package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

const insert = "INSERT INTO prm_throttles (key, failures, next_at, updated_at) VALUES (?, 0, 0, 0)"

// later puts off writing a row that must not be there yet.
func later(tx *store.Tx, key string) error { return tx.Later(all, nil, insert, key) }

// laterKeys puts off reading the keys.
func laterKeys(tx *store.Tx, into *[]string) error {
	return tx.Later(all, func(r store.Row) error {
		var key string
		err := r.Scan(&key)
		*into = append(*into, key)
		return err
	}, "SELECT key FROM prm_throttles ORDER BY key")
}

// TestPipeline_IsInUse: with GORM's own PostgreSQL driver, as hosts open it. A change of pgx that hides it would only be slow.
func TestPipeline_IsInUse(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	pool, err := db.DB.DB()
	must(t, err)
	conn, err := pool.Conn(context.Background())
	must(t, err)
	defer conn.Close()
	must(t, conn.Raw(func(driverConn any) error {
		if !store.CanPipeline(driverConn) {
			t.Errorf("%T has no pipeline", driverConn)
		}
		return nil
	}))
	d := open(t, db.DB, store.Config{})
	must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
		if !store.Pipelined(tx) {
			t.Error("a transaction has no pipeline")
		}
		return nil
	}))
}

// TestPipeline_OneRoundTrip: what was put off goes with the first statement that is waited for, and BEGIN with all of it.
func TestPipeline_OneRoundTrip(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	w, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	var read []string
	work := func(of string) func(*store.Tx) error {
		return func(tx *store.Tx) error {
			read = nil
			err := errors.Join(later(tx, of+"1"), later(tx, of+"2"), laterKeys(tx, &read), later(tx, of+"3"), put(tx, of+"4"))
			if len(read) == 0 {
				t.Error("nothing was read")
			}
			return errors.Join(err, later(tx, of+"5"), later(tx, of+"6"))
		}
	}
	must(t, store.InTx(context.Background(), d, work("a"))) // it has to ask what the statements' parameters are
	w.flown()
	must(t, store.InTx(context.Background(), d, work("b")))
	var got []string
	for _, flight := range w.flown() {
		for i, s := range flight {
			flight[i], _, _ = strings.Cut(s, " ")
		}
		got = append(got, strings.Join(flight, " "))
	}
	if want := []string{"begin INSERT INSERT SELECT INSERT INSERT", "INSERT INSERT", "commit"}; !reflect.DeepEqual(got, want) {
		t.Errorf("flights %q, want %q", got, want)
	}
	if len(read) != 8 { // all of a, and of b what came before it
		t.Errorf("read %q", read)
	}
	if got := keys(t, db); got != "[a1 a2 a3 a4 a5 a6 b1 b2 b3 b4 b5 b6]" {
		t.Errorf("keys %s", got)
	}
}

// TestPipeline_NothingIsSentForNothing: a transaction without a statement, kept or not, never reaches the server.
func TestPipeline_NothingIsSentForNothing(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	w, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	w.flown()
	must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error { return tx.Flush() }))
	if err := store.InTx(context.Background(), d, func(tx *store.Tx) error { return errors.Join(later(tx, "never"), errOurs) }); !errors.Is(err, errOurs) {
		t.Errorf("answered %v", err)
	}
	if got := w.flown(); len(got) != 0 {
		t.Errorf("flights %q", got)
	}
	if got := keys(t, db); got != "[]" {
		t.Errorf("keys %s", got)
	}
}

// TestPipeline_AFailureInTheMiddle: it fails the transaction, nothing after it in the flight has an effect, and its own error shows,
// where it is waited for and at the end.
func TestPipeline_AFailureInTheMiddle(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		limitPool(t, db.DB, 1)
		d := open(t, db.DB, store.Config{})
		must(t, store.InTx(context.Background(), d, putting("taken")))
		for name, wait := range map[string]func(*store.Tx) error{
			"flush": func(tx *store.Tx) error { return tx.Flush() },
			"exec":  func(tx *store.Tx) error { return put(tx, "after") },
			"scan":  func(tx *store.Tx) error { return tx.Scan(all, func(store.Row) error { return nil }, "SELECT 1") },
			"query": func(tx *store.Tx) error { var n int; return tx.Query(all, &n, "SELECT 1") },
			"gorm":  func(tx *store.Tx) error { _, err := tx.Count(tx.From(all, "prm_throttles")); return err },
			"insert": func(tx *store.Tx) error {
				return tx.Insert(&throttle{Key: "inserted"})
			},
			"end": func(*store.Tx) error { return nil },
		} {
			wantKind(t, name, store.InTx(context.Background(), d, func(tx *store.Tx) error {
				for _, key := range []string{"before", "taken", "behind"} {
					if err := later(tx, key); err != nil { // where it runs at once
						return err
					}
				}
				return wait(tx)
			}), fail.Exists)
			if got := keys(t, db); got != "[taken]" {
				t.Errorf("%s: keys %s", name, got)
			}
		}
	})
}

// TestPipeline_ASwallowedFailureIsNoSuccess: whatever fn makes of it, of the transaction nothing is kept, and nothing runs outside it.
func TestPipeline_ASwallowedFailureIsNoSuccess(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	w, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	for name, bad := range map[string]func(*store.Tx) error{
		"refused":       overdraw,
		"no such table": func(tx *store.Tx) error { _, err := tx.Exec(all, "DELETE FROM prm_nothing"); return err },
		"no statement":  func(tx *store.Tx) error { _, err := tx.Exec(all, "NONSENSE"); return err },
		"no value":      func(tx *store.Tx) error { _, err := tx.Exec(all, insert, make(chan int)); return err },
		"too many":      func(tx *store.Tx) error { _, err := tx.Exec(all, insert, "a", "b"); return err },
		"too few":       func(tx *store.Tx) error { _, err := tx.Exec(all, insert); return err },
		"row":           func(tx *store.Tx) error { return tx.From(all, "prm_throttles").Select("nothing").Row().Scan(new(int)) },
		"row, put off": func(tx *store.Tx) error {
			_ = tx.Later(all, nil, insert, make(chan int))
			return tx.From(all, "prm_throttles").Select("count(*)").Row().Scan(new(int))
		},
		"row, not read": func(tx *store.Tx) error {
			_ = tx.Later(all, func(store.Row) error { return errOurs }, "SELECT 1")
			return tx.From(all, "prm_throttles").Select("count(*)").Row().Scan(new(int))
		},
	} {
		for _, first := range []bool{true, false} {
			err := store.InTx(context.Background(), d, func(tx *store.Tx) error {
				if !first {
					must(t, put(tx, "half"))
				}
				if err := bad(tx); err == nil {
					t.Errorf("%s: no error", name)
				}
				_ = put(tx, "later")
				return nil
			})
			if n := commits(w.flown()); err == nil || n == 0 && errors.Is(err, store.ErrOutcomeUnknown) {
				t.Errorf("%s, first %v: answered %v", name, first, err)
			}
			if got := keys(t, db); got != "[]" {
				t.Errorf("%s, first %v: keys %s", name, first, got)
				must(t, db.Exec("DELETE FROM prm_throttles").Error)
			}
		}
	}
	must(t, store.InTx(context.Background(), d, putting("whole")))
}

func commits(flights [][]string) (n int) {
	for _, flight := range flights {
		if flight[len(flight)-1] == "commit" {
			n++
		}
	}
	return n
}

// TestPipeline_ARefusedRowIsOnlyAnError: what next says of a row leaves the transaction as it is; the rest of the flight has run.
func TestPipeline_ARefusedRowIsOnlyAnError(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
			err := errors.Join(later(tx, "before"), tx.Later(all, func(store.Row) error { return errOurs }, "SELECT key FROM prm_throttles"))
			if err = errors.Join(err, tx.Flush()); !errors.Is(err, errOurs) {
				t.Errorf("answered %v", err)
			}
			return put(tx, "after")
		}))
		if got := keys(t, db); got != "[after before]" {
			t.Errorf("keys %s", got)
		}
	})
}

// TestPipeline_ANestedStatementIsRefused: a statement inside next would wait for its own connection, for ever.
func TestPipeline_ANestedStatementIsRefused(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	d := open(t, db.DB, store.Config{})
	for name, nested := range map[string]func(*store.Tx) error{
		"exec":  func(tx *store.Tx) error { return put(tx, "nested") },
		"flush": func(tx *store.Tx) error { return tx.Flush() },
		"query": func(tx *store.Tx) error { var n int; return tx.Query(all, &n, "SELECT 1") },
	} {
		err := within(t, 30*time.Second, name, func() error {
			return store.InTx(context.Background(), d, func(tx *store.Tx) error {
				return tx.Scan(all, func(store.Row) error { return nested(tx) }, "SELECT 1")
			})
		})
		wantKind(t, name, err, fail.Unavailable)
	}
	must(t, store.InTx(context.Background(), d, putting("then")))
	if got := keys(t, db); got != "[then]" {
		t.Errorf("keys %s", got)
	}
}

// clean fails unless the one connection of a pool is back, usable, and in no transaction: before the pool looks at it, which would hide it.
func clean(t *testing.T, db *dbtest.Database, host *gorm.DB, what string) {
	t.Helper()
	pool, err := host.DB()
	must(t, err)
	if s := pool.Stats(); s.InUse != 0 {
		t.Fatalf("%s: %d connections were not given back", what, s.InUse)
	}
	inside := 1 // the backend of a connection that was closed takes a moment to see it
	for limit := time.Now().Add(5 * time.Second); inside > 0 && time.Now().Before(limit); {
		must(t, db.Raw("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'").Scan(&inside).Error)
	}
	if inside > 0 {
		t.Errorf("%s: the connection is inside a transaction", what)
	}
	must(t, host.WithContext(limited(t, 10*time.Second)).Exec("UPDATE prm_throttles SET failures = failures").Error)
}

// TestPipeline_TheEndLeavesACleanConnection: an error, a panic or a goroutine that exits, before, in and after the first flight.
func TestPipeline_TheEndLeavesACleanConnection(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	w, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	ends := map[string]func() error{
		"error": func() error { return errOurs },
		"panic": func() error { panic("bang") },
		"exit":  func() error { runtime.Goexit(); return nil },
	}
	places := map[string]func(tx *store.Tx, end func() error) error{
		"before": func(tx *store.Tx, end func() error) error { return errors.Join(later(tx, "half"), end()) },
		"after":  func(tx *store.Tx, end func() error) error { return errors.Join(put(tx, "half"), end()) },
		"put off": func(tx *store.Tx, end func() error) error {
			return errors.Join(put(tx, "half"), later(tx, "off"), end())
		},
		"reading":  func(tx *store.Tx, end func() error) error { return reading(tx, end) },
		"in first": func(tx *store.Tx, end func() error) error { return errors.Join(later(tx, "half"), reading(tx, end)) },
		"last": func(tx *store.Tx, end func() error) error {
			return tx.Later(all, func(store.Row) error { return end() }, "SELECT 1")
		},
	}
	for where, place := range places {
		for how, end := range ends {
			done := make(chan any, 1)
			go func() {
				var got any = "exit"
				defer func() {
					if p := recover(); p != nil {
						got = "panic"
					}
					done <- got
				}()
				if err := store.InTx(context.Background(), d, func(tx *store.Tx) error { return place(tx, end) }); errors.Is(err, errOurs) {
					got = "error"
				}
			}()
			what := where + ", " + how
			if got := <-done; got != how {
				t.Errorf("%s: ended by %v", what, got)
			}
			clean(t, db, host, what)
			if n := commits(w.flown()); n != 0 {
				t.Errorf("%s: committed", what)
			}
		}
	}
	if got := keys(t, db); got != "[]" {
		t.Errorf("keys %s", got)
	}
}

func reading(tx *store.Tx, end func() error) error {
	return tx.Scan(all, func(store.Row) error { return end() }, "SELECT generate_series(1, 3)")
}

// TestPipeline_AContextEndsInAFlight: the statements after BEGIN wait for a row that somebody holds.
func TestPipeline_AContextEndsInAFlight(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	must(t, db.Exec("INSERT INTO prm_throttles (key, failures, next_at, updated_at) VALUES ('held', 0, 0, 0)").Error)
	_, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	for name, wait := range map[string]func(*store.Tx) error{
		"put off": func(tx *store.Tx) error {
			return errors.Join(later(tx, "half"), tx.Later(all, nil, "UPDATE prm_throttles SET failures = 1 WHERE key = 'held'"), later(tx, "other"), tx.Flush())
		},
		"second": func(tx *store.Tx) error { return errors.Join(put(tx, "half"), bump(tx, "held")) },
		"rows": func(tx *store.Tx) error {
			return errors.Join(later(tx, "half"), tx.Scan(all, func(store.Row) error { return nil }, "SELECT 1 FROM prm_throttles FOR UPDATE"))
		},
	} {
		for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
			holder := db.Begin()
			must(t, holder.Exec("UPDATE prm_throttles SET failures = failures WHERE key = 'held'").Error)
			ctx, cancel := context.WithCancel(context.Background())
			if errors.Is(cause, context.DeadlineExceeded) {
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
			} else {
				go func() { defer cancel(); await(db, "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted") }()
			}
			err := store.InTx(ctx, d, wait)
			cancel()
			if wantKind(t, name, err, fail.Unavailable); !errors.Is(err, cause) || errors.Is(err, store.ErrOutcomeUnknown) {
				t.Errorf("%s: answered %v, want %v", name, err, cause)
			}
			must(t, holder.Rollback().Error)
			clean(t, db, host, name)
			if got := keys(t, db); got != "[held]" || failures(t, db, "held") != 0 {
				t.Errorf("%s: keys %s", name, got)
			}
		}
	}
}

// await asks until the answer is true.
func await(db *dbtest.Database, question string) {
	for yes := false; !yes; {
		_ = db.Raw(question).Scan(&yes).Error
	}
}

// TestPipeline_Concurrently: many at once on few connections, with failures of every kind among them.
func TestPipeline_Concurrently(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	must(t, db.Exec("INSERT INTO prm_throttles (key, failures, next_at, updated_at) VALUES ('count', 0, 0, 0)").Error)
	_, host := tapped(t, db, 3)
	d := open(t, host, store.Config{})
	before := runtime.NumGoroutine()
	var everybody sync.WaitGroup
	for g := range 12 {
		everybody.Go(func() {
			for i := range 20 {
				ctx, cancel := context.WithCancel(context.Background())
				err := store.InTx(ctx, d, func(tx *store.Tx) error {
					var n int
					err := errors.Join(later(tx, fmt.Sprint(g, ".", i)), tx.Scan(all, func(r store.Row) error { return r.Scan(&n) },
						"SELECT failures FROM prm_throttles WHERE key = 'count' FOR UPDATE"))
					if i%4 == 1 {
						cancel()
					}
					err = errors.Join(err, tx.Later(all, nil, "UPDATE prm_throttles SET failures = ? WHERE key = 'count'", n+1))
					if i%4 == 2 {
						err = errors.Join(err, later(tx, "count"))
					}
					return err
				})
				cancel()
				if (err == nil) != (i%4 == 0 || i%4 == 3) {
					t.Errorf("%d: answered %v", i, err)
				}
			}
		})
	}
	everybody.Wait()
	if n := failures(t, db, "count"); n != 120 {
		t.Errorf("counted %d, want 120", n)
	}
	pool, err := host.DB()
	must(t, err)
	if s := pool.Stats(); s.InUse != 0 {
		t.Errorf("%d connections were not given back", s.InUse)
	}
	pool.SetMaxIdleConns(0)
	for limit := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(limit); {
		runtime.Gosched()
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, and %d after", before, after)
	}
}
