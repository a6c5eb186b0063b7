package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// TestPipeline_CutBeforeTheCommit: nothing can have happened, so the work runs again, whole, on another connection.
func TestPipeline_CutBeforeTheCommit(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	w, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	work := func(runs *int) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			*runs++
			var read []string
			err := errors.Join(later(tx, "a"), laterKeys(tx, &read), put(tx, "b"))
			if err == nil && fmt.Sprint(read) != "[a]" {
				t.Errorf("read %q", read)
			}
			if err = errors.Join(err, later(tx, "c"), tx.Later(all, nil, "UPDATE prm_throttles SET failures = failures + 1")); err != nil {
				return err
			}
			_, err = tx.Update(tx.From(all, "prm_throttles").Where("key = ?", "a"), map[string]any{"failures": 7}) // by GORM
			return err
		}
	}
	for how, name := range map[int]string{sendFails: "not sent", requestLost: "request lost", answerLost: "answer lost", answerHalf: "half an answer"} {
		for _, on := range []string{"begin", "SELECT key", "UPDATE prm_throttles SET failures", `UPDATE "prm_throttles"`} {
			what, runs := name+", "+on, 0
			w.cut(cut{on: on, how: how})
			if err := store.InTx(context.Background(), d, work(&runs)); err != nil || runs != 2 {
				t.Errorf("%s: answered %v after %d runs", what, err, runs)
			}
			clean(t, db, host, what)
			if got := keys(t, db); got != "[a b c]" || failures(t, db, "a") != 7 || failures(t, db, "c") != 1 {
				t.Errorf("%s: keys %s", what, got)
			}
			must(t, db.Exec("DELETE FROM prm_throttles").Error)
		}
	}
	w.flown()
	runs, always := 0, make([]cut, 20)
	for i := range always {
		always[i] = cut{on: "begin", how: answerLost}
	}
	w.cut(always...)
	err := store.InTx(context.Background(), d, work(&runs))
	if wantKind(t, "cut every time", err, fail.Unavailable); errors.Is(err, store.ErrOutcomeUnknown) || runs != 10 || commits(w.flown()) != 0 {
		t.Errorf("answered %v after %d runs", err, runs)
	}
}

// TestPipeline_CutInTheCommit: whether it has happened nobody knows, and nothing runs again.
func TestPipeline_CutInTheCommit(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	w, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	want := ""
	for _, c := range []struct {
		key  string
		how  int
		kept bool
	}{{"1 not sent", sendFails, false}, {"2 request lost", requestLost, false}, {"3 answer lost", answerLost, true}, {"4 half an answer", answerHalf, true}} {
		w.cut(cut{on: "commit", how: c.how})
		runs := 0
		err := store.InTx(context.Background(), d, func(tx *store.Tx) error { runs++; return later(tx, c.key) })
		wantKind(t, c.key, err, fail.Unavailable)
		if !errors.Is(err, store.ErrOutcomeUnknown) || runs != 1 {
			t.Errorf("%s: answered %v after %d runs", c.key, err, runs)
		}
		if err != nil && err.Error() != store.ErrOutcomeUnknown.Error() {
			t.Errorf("%s: prints %q: a driver's text can hold addresses", c.key, err)
		}
		clean(t, db, host, c.key)
		if c.kept {
			want += " " + c.key
		}
	}
	if got := keys(t, db); got != "["+want[1:]+"]" {
		t.Errorf("keys %s, want %s", got, want)
	}
}

// TestPipeline_TheCommitIsNotCutOff: once it is on its way the caller's context no longer matters; before, it decides.
func TestPipeline_TheCommitIsNotCutOff(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	w, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	w.cut(cut{on: "commit", meet: cancel})
	must(t, store.InTx(ctx, d, func(tx *store.Tx) error { return later(tx, "kept") }))
	if ctx.Err() == nil {
		t.Error("the commit never came by")
	}
	w.flown()
	ended, cancel := context.WithCancel(context.Background())
	err := store.InTx(ended, d, func(tx *store.Tx) error {
		err := later(tx, "not kept")
		cancel()
		return err
	})
	if wantKind(t, "ended before its first flight", err, fail.Unavailable); !errors.Is(err, context.Canceled) || commits(w.flown()) != 0 {
		t.Errorf("answered %v", err)
	}
	clean(t, db, host, "ended")
	if got := keys(t, db); got != "[kept]" {
		t.Errorf("keys %s", got)
	}
}

// TestPipeline_ACommitThatTheServerRefuses: a constraint that is checked there is an error of its own, and the connection stays.
func TestPipeline_ACommitThatTheServerRefuses(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	w, host := tapped(t, db, 1)
	d := open(t, host, store.Config{})
	var before, after int
	must(t, host.Raw("SELECT pg_backend_pid()").Scan(&before).Error)
	err := store.InTx(context.Background(), d, func(tx *store.Tx) error {
		return errors.Join(later(tx, "half"), tx.Later(all, nil, "UPDATE prm_partners SET contact_id = 'usr_nobody' WHERE id = 'prt_vendor'"))
	})
	if wantKind(t, "commit", err, fail.Invalid); commits(w.flown()) != 1 {
		t.Error("it did not come to the commit")
	}
	clean(t, db, host, "refused")
	must(t, host.Raw("SELECT pg_backend_pid()").Scan(&after).Error)
	if got := keys(t, db); got != "[]" || before != after {
		t.Errorf("keys %s; on backend %d, then %d", got, before, after)
	}
}

// TestPipeline_InAHostsTransaction: there a statement that could be put off runs at once, and its error shows there.
func TestPipeline_InAHostsTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		tx := db.Begin()
		must(t, tx.Error)
		defer tx.Rollback()
		joined := store.In(d, tx)
		must(t, store.InTx(context.Background(), joined, func(own *store.Tx) error {
			var read []string
			err := errors.Join(later(own, "a"), laterKeys(own, &read))
			if fmt.Sprint(read) != "[a]" || store.Pipelined(own) {
				t.Errorf("read %q before anybody waited", read)
			}
			return errors.Join(err, own.Flush())
		}))
		wantKind(t, "taken", store.InTx(context.Background(), joined, func(own *store.Tx) error { return later(own, "a") }), fail.Exists)
		must(t, store.InTx(context.Background(), joined, func(own *store.Tx) error { return later(own, "b") }))
		must(t, tx.Commit().Error)
		if got := keys(t, db); got != "[a b]" {
			t.Errorf("keys %s", got)
		}
	})
}
