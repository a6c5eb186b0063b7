package store_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Two first postings between the same two owners, in the one order of statements that makes them wait in a circle: one has locked the
// balance a, which exists by now, and makes b; the other saw neither, has made b and locks a.
func TestBEY12_FirstPostingsNeverWaitInACircle(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	again := newRetries()
	ctx := limited(t, 30*time.Second)
	row := ledger.HeldBy
	post := func(d *store.DB, from, to, key string) error {
		return store.InTx(ctx, d, func(tx *store.Tx) error {
			_, _, err := ledger.Post(tx, ledger.Posting{Book: ledger.Money, Unit: "EUR", Verb: "move", From: row(from), To: row(to), Quantity: 1, Partner: "p",
				Key: key, Hash: "h"})
			return err
		})
	}
	plain := open(t, db.DB, store.Config{})
	firstWire, firstHost := wired(t, db)
	first := open(t, firstHost, store.Config{Logger: slog.New(again)})
	secondWire, secondHost := wired(t, db)
	second := open(t, secondHost, store.Config{Logger: slog.New(again)})

	locked, made := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	const insert = `INSERT INTO "prm_ledger_balances"`
	firstWire.fail(fault{on: insert, meet: func() { close(locked); wait(made) }})
	secondWire.fail(
		fault{on: insert, meet: func() { // it saw neither; meanwhile somebody makes a
			mustNot(t, store.InTx(ctx, plain, func(tx *store.Tx) error { _, err := ledger.Hold(tx, ledger.Money, "ctr_a", "EUR", "p"); return err }))
			group.Go(func() { mustNot(t, post(first, "ctr_a", "ctr_b", "1")) })
			wait(locked)
		}},
		fault{on: insert}, // b
		fault{on: "SELECT id, owner", meet: func() { close(made) }})
	group.Go(func() { mustNot(t, post(second, "ctr_a", "ctr_b", "2")) })
	group.Wait()
	if n := again.n.Load(); n != 0 {
		t.Errorf("%d transactions ran again: PostgreSQL found a deadlock", n)
	}
}

// wait ends with a signal, or after a while where the statements come in another order.
func wait(c chan struct{}) {
	select {
	case <-c:
	case <-time.After(3 * time.Second):
	}
}

func mustNot(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
