package store_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// ioError is what SQLite says when a write to the file fails: whether the commit is durable nobody knows.
var ioError = sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}

// A commit whose answer is lost has happened or not: the caller is told so, and nothing is run again.
func TestBEY13_ALostCommitIsOutcomeUnknown(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, host := wired(t, db)
		d := open(t, host, store.Config{})
		cases := []struct {
			key  string
			f    fault
			kept bool
		}{
			{"answer lost", fault{on: "COMMIT", after: true, err: io.ErrUnexpectedEOF, hangs: true}, true},
			{"answer lost, bad connection", fault{on: "COMMIT", after: true, err: driver.ErrBadConn, hangs: true}, true},
			{"answer lost, no code", fault{on: "COMMIT", after: true, err: errors.New("secret-host:5432 said nothing")}, true},
			{"request lost", fault{on: "COMMIT", err: io.ErrUnexpectedEOF, hangs: true}, false},
		}
		if db.Kind == dbtest.SQLite {
			cases = append(cases, struct {
				key  string
				f    fault
				kept bool
			}{"disk error", fault{on: "COMMIT", err: ioError}, false})
		}
		var want []string
		for _, c := range cases {
			w.fail(c.f)
			runs := 0
			err := store.InTx(context.Background(), d, func(tx *store.Tx) error { runs++; return put(tx, c.key) })
			wantKind(t, c.key, err, fail.Unavailable)
			if !errors.Is(err, store.ErrOutcomeUnknown) || runs != 1 {
				t.Errorf("%s: %v after %d runs, want ErrOutcomeUnknown after 1", c.key, err, runs)
			}
			if err != nil && err.Error() != store.ErrOutcomeUnknown.Error() {
				t.Errorf("%s: prints %q: a driver's text can hold values and addresses", c.key, err)
			}
			if c.kept {
				want = append(want, c.key)
			}
		}
		must(t, store.InTx(context.Background(), d, putting("then")))
		slices.Sort(want)
		if got := keys(t, db); got != "["+strings.Join(append(want, "then"), " ")+"]" {
			t.Errorf("keys %s, want %s then", got, want)
		}
	})
}

// After an unknown outcome the same key settles it: the first transfer, whether it had happened or not.
func TestBEY13_RepeatingALostPostingActsOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, host := wired(t, db)
		d := open(t, host, store.Config{})
		for _, after := range []bool{true, false} {
			key := map[bool]string{true: "answer lost", false: "request lost"}[after]
			p := ledger.Posting{Book: ledger.Licenses, Unit: "seat", Verb: "grant", From: ledger.HeldBy(ledger.Issuer),
				To: ledger.HeldBy("prt_a"), Quantity: 5, Partner: "prt_a", Key: key, Hash: "h"}
			var posted ledger.Transfer
			post := func(tx *store.Tx) (err error) { posted, _, err = ledger.Post(tx, p); return err }
			w.fail(fault{on: "COMMIT", after: after, err: io.ErrUnexpectedEOF, hangs: true})
			if err := store.InTx(context.Background(), d, post); !errors.Is(err, store.ErrOutcomeUnknown) {
				t.Fatalf("%s: %v", key, err)
			}
			must(t, store.InTx(context.Background(), d, post))
			if posted.Replayed != after {
				t.Errorf("%s: replayed %v", key, posted.Replayed)
			}
			must(t, store.InTx(context.Background(), d, post))
			if !posted.Replayed {
				t.Errorf("%s: a third call acted again", key)
			}
		}
		must(t, store.Read(context.Background(), d, func(tx *store.Tx) error {
			list, err := ledger.Balances(tx, ledger.Licenses, "prt_a", "")
			if err == nil && (len(list) != 1 || list[0].Available != 10) {
				t.Errorf("balances %+v, want 10 once", list)
			}
			return err
		}))
	})
}

// Before the commit nothing can have happened, so a broken connection is tried again.
func TestInTx_RunsAgainWhenTheConnectionBreaksBeforeTheCommit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, host := wired(t, db)
		d := open(t, host, store.Config{})
		for _, f := range []fault{
			{on: "BEGIN", err: driver.ErrBadConn, hangs: true},
			{on: "INSERT", err: io.ErrUnexpectedEOF, hangs: true},
			{on: "INSERT", after: true, err: io.EOF, hangs: true},
		} {
			w.fail(f)
			must(t, store.InTx(context.Background(), d, putting("row")))
			if got := keys(t, db); got != "[row]" {
				t.Errorf("%+v: keys %s", f, got)
			}
			must(t, db.Exec("DELETE FROM prm_throttles").Error)
			pool, err := host.DB()
			must(t, err)
			if s := pool.Stats(); s.InUse != 0 {
				t.Errorf("%+v: %d connections were not given back", f, s.InUse)
			}
		}
	})
}

func TestInTx_SQLiteRefusingACommitIsKnown(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	w, host := wired(t, db)
	d := open(t, host, store.Config{})
	w.fail(fault{on: "COMMIT", err: sqlite3.Error{Code: sqlite3.ErrBusy, ExtendedCode: sqlite3.ErrNoExtended(5)}})
	must(t, store.InTx(context.Background(), d, putting("busy, then not")))
	w.fail(fault{on: "COMMIT", err: sqlite3.Error{Code: sqlite3.ErrFull, ExtendedCode: sqlite3.ErrNoExtended(13)}})
	err := store.InTx(context.Background(), d, putting("disk full"))
	if wantKind(t, "disk full", err, fail.Unavailable); errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("%v: SQLite said that it did not commit", err)
	}
	must(t, store.InTx(context.Background(), d, putting("space again")))
	if got := keys(t, db); got != "[busy, then not space again]" {
		t.Errorf("keys %s", got)
	}
}

// A connection that may still be inside our transaction must not go back to the host's pool.
func TestInTx_AFailedRollbackDropsTheConnection(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	w, host := wired(t, db)
	limitPool(t, host, 1)
	d := open(t, host, store.Config{})
	for _, end := range []func(*store.Tx) error{
		func(*store.Tx) error { return errOurs },
		func(tx *store.Tx) error { return put(tx, "half") },
	} {
		w.fail(fault{on: "ROLLBACK", err: ioError})
		err := store.InTx(context.Background(), d, func(tx *store.Tx) error { return errors.Join(put(tx, "half"), end(tx)) })
		if err == nil {
			t.Fatal("no error")
		}
		must(t, host.Transaction(func(tx *gorm.DB) error { return tx.Exec("UPDATE prm_locks SET name = name").Error }))
	}
	if got := keys(t, db); got != "[]" {
		t.Errorf("keys %s", got)
	}
}

// Once the commit is on its way the caller's context no longer matters: cutting it off would make a known outcome unknown.
func TestInTx_AContextThatEndsDuringTheCommitDoesNotCutItOff(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, host := wired(t, db)
		d := open(t, host, store.Config{})
		ctx, cancel := context.WithCancel(context.Background())
		w.fail(fault{on: "COMMIT", meet: cancel})
		must(t, store.InTx(ctx, d, putting("committed")))
		if ctx.Err() == nil {
			t.Error("the commit never came by")
		}
		must(t, store.InTx(context.Background(), d, putting("then")))
		if got := keys(t, db); got != "[committed then]" {
			t.Errorf("keys %s", got)
		}
	})
}

// killer terminates the PostgreSQL backend that tx runs on, and returns when it is gone.
func killer(t *testing.T, db *dbtest.Database) func(tx *store.Tx) {
	return func(tx *store.Tx) {
		t.Helper()
		var pid int
		var gone bool
		must(t, tx.Query(all, &pid, "SELECT pg_backend_pid()"))
		must(t, db.Raw("SELECT pg_terminate_backend(?, 10000)", pid).Scan(&gone).Error)
		if !gone {
			t.Fatalf("backend %d would not end", pid)
		}
	}
}

func TestInTx_AKilledBackendIsNeverAFalseSuccess(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	kill := killer(t, db)
	host := db.Open(t, &gorm.Config{})
	d := open(t, host, store.Config{})
	runs := 0
	must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
		must(t, put(tx, "killed once"))
		if runs++; runs == 1 {
			kill(tx)
		}
		return bump(tx, "killed once")
	}))
	if n := failures(t, db, "killed once"); n != 1 || runs != 2 {
		t.Errorf("%d runs left %d, want 2 and 1", runs, n)
	}
	runs = 0
	err := store.InTx(context.Background(), d, func(tx *store.Tx) error {
		runs++
		must(t, put(tx, "killed before the commit"))
		kill(tx)
		return nil
	})
	if wantKind(t, "commit", err, fail.Unavailable); !errors.Is(err, store.ErrOutcomeUnknown) || runs != 1 {
		t.Errorf("commit on a killed backend: %v after %d runs", err, runs)
	}
	runs = 0
	wantKind(t, "killed every time", store.InTx(context.Background(), d, func(tx *store.Tx) error {
		runs++
		must(t, put(tx, "killed every time"))
		kill(tx)
		return bump(tx, "killed every time")
	}), fail.Unavailable)
	if runs != 10 {
		t.Errorf("%d runs, want 10", runs)
	}
	tx := host.Begin()
	must(t, tx.Error)
	wantKind(t, "joined", store.InTx(context.Background(), store.In(d, tx), func(own *store.Tx) error {
		must(t, put(own, "joined"))
		kill(own)
		return nil
	}), fail.Unavailable)
	_ = tx.Rollback()
	pool, err := host.DB()
	must(t, err)
	if s := pool.Stats(); s.InUse != 0 {
		t.Errorf("%d connections were not given back", s.InUse)
	}
	must(t, store.InTx(context.Background(), d, putting("then")))
	if got := keys(t, db); got != "[killed once then]" {
		t.Errorf("keys %s", got)
	}
}
