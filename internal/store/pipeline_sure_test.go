package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// unless puts off a statement that fails by itself unless a key is there.
func unless(tx *store.Tx, key string, next func(store.Row) error) error {
	return tx.Later(all, next, "SELECT 1 / CAST((SELECT count(*) FROM prm_throttles WHERE key = ?) AS INTEGER)", key)
}

func ignored(store.Row) error { return nil }

// TestSure_GoesWithTheCommit: in one round trip; where there is no pipeline, what would be put off has been done, and Sure says so.
func TestSure_GoesWithTheCommit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		host := db.DB
		var w *tap
		if db.Kind == dbtest.Postgres {
			w, host = tapped(t, db, 1)
		}
		d := open(t, host, store.Config{})
		for _, key := range []string{"first", "second"} { // the first has to ask what the parameters are
			must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
				must(t, put(tx, key+" before"))
				if w != nil {
					w.flown()
				}
				if sure := tx.Sure(); sure != (w != nil) {
					t.Errorf("sure is %v", sure)
				}
				return errors.Join(later(tx, key), unless(tx, key, ignored))
			}))
		}
		if got := keys(t, db); got != "[first first before second second before]" {
			t.Errorf("keys %s", got)
		}
		if w == nil {
			return
		}
		if flights := w.flown(); len(flights) != 1 || commits(flights) != 1 || len(flights[0]) != 3 {
			t.Errorf("flights %q, want one of three statements, commit being the last", flights)
		}
	})
}

// TestSure_FailsByItself: what is not as it should be undoes the transaction, which runs again.
func TestSure_FailsByItself(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	d := open(t, db.DB, store.Config{})
	runs := 0
	must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
		runs++
		must(t, put(tx, "before"))
		tx.Sure()
		if runs == 1 {
			return errors.Join(later(tx, "lost"), unless(tx, "other", ignored), later(tx, "after"))
		}
		return errors.Join(later(tx, "kept"), unless(tx, "kept", ignored))
	}))
	if got := keys(t, db); runs != 2 || got != "[before kept]" {
		t.Errorf("%d runs, keys %s", runs, got)
	}
}

// TestSure_AnAnswerThatCannotBeRead comes after the commit: nothing runs again, and nobody is told that it failed.
func TestSure_AnAnswerThatCannotBeRead(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	d := open(t, db.DB, store.Config{})
	for _, broken := range []error{store.ErrAgain, errOurs} {
		runs := 0
		err := store.InTx(context.Background(), d, func(tx *store.Tx) error {
			runs++
			must(t, put(tx, "before "+broken.Error()))
			tx.Sure()
			return unless(tx, "before "+broken.Error(), func(store.Row) error { return broken })
		})
		if !errors.Is(err, store.ErrOutcomeUnknown) || runs != 1 {
			t.Errorf("%v: answered %v after %d runs", broken, err, runs)
		}
	}
}

// TestSure_ASwallowedFailure is one that nobody has to wonder about: nothing was asked to be committed.
func TestSure_ASwallowedFailure(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	d := open(t, db.DB, store.Config{})
	err := store.InTx(context.Background(), d, func(tx *store.Tx) error {
		_, _ = tx.Exec(all, "no such statement")
		tx.Sure()
		return later(tx, "half")
	})
	if wantKind(t, "swallowed", err, fail.Unavailable); errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("answered %v", err)
	}
	if got := keys(t, db); got != "[]" {
		t.Errorf("keys %s", got)
	}
}
