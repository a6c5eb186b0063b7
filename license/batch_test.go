package license_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// lineup is a world with a project of each kind and the lines that meet them.
type lineup struct {
	*world
	acme                               side
	one, two, suspended, closed, other partner.AccountID
}

func newLineup(w *world) *lineup {
	l := &lineup{world: w, acme: w.partner("acme")}
	bolt := w.partner("bolt")
	w.define("seat")
	w.define("box")
	w.grant(l.acme.ID, "seat", 20)
	w.grant(bolt.ID, "seat", 20)
	l.one, l.two, l.suspended, l.closed = w.project(l.acme.me, "one"), w.project(l.acme.me, "two"), w.project(l.acme.me, "three"), w.project(l.acme.me, "four")
	l.other = w.project(bolt.me, "other")
	w.must(w.reg.Accounts.Suspend(w.vendor, l.suspended))
	w.close(l.acme.me, l.closed)
	w.must(w.seats.Cap(w.vendor, l.two, "seat", 5))
	w.assign(l.acme.me, l.one, "seat", 1, license.Key("before"))
	return l
}

// lines are of every outcome: there are 19 seats, and two may have 5.
func (l *lineup) lines() []license.Move {
	return []license.Move{
		{To: l.one, SKU: "seat", Quantity: 3},
		{To: l.one, SKU: "seat", Quantity: 1, Key: "before"}, // again
		{To: l.one, SKU: "seat", Quantity: 2, Key: "before"},
		{To: l.two, SKU: "seat", Quantity: 4, Key: "k"},
		{To: l.two, SKU: "seat", Quantity: 4, Key: "k"}, // again, of the same batch
		{To: l.one, SKU: "seat", Quantity: 4, Key: "k"},
		{To: l.suspended, SKU: "seat", Quantity: 4, Key: "k"},
		{To: l.two, SKU: "seat", Quantity: 2},
		{To: l.two, SKU: "seat", Quantity: 1},
		{To: l.suspended, SKU: "seat", Quantity: 1},
		{To: l.closed, SKU: "seat", Quantity: 1},
		{To: l.other, SKU: "seat", Quantity: 1},
		{To: "acc_00000000000000000000000000", SKU: "seat", Quantity: 1},
		{To: "", SKU: "seat", Quantity: 1},
		{To: "\xff", SKU: "seat", Quantity: 1},
		{To: l.one, SKU: "chair", Quantity: 1},
		{To: l.one, SKU: "box", Quantity: 1},
		{To: l.one, SKU: "", Quantity: 0, Key: strings.Repeat("k", 300)},
		{To: l.one, SKU: "seat", Quantity: -1},
		{To: l.one, SKU: "seat", Quantity: 1, Key: "before"}, // again, a second time
		{To: l.one, SKU: "seat", Quantity: 13},
		{To: l.one, SKU: "seat", Quantity: 9},
		{To: l.one, SKU: "seat", Quantity: 1},
		{To: l.suspended, SKU: "seat", Quantity: 1, Key: "late"},
		{To: l.one, SKU: "seat", Quantity: 1, Key: "late"},
	}
}

func (l *lineup) answers(results []license.Result, lines []license.Move) (list []answer) {
	for i, r := range results {
		list = append(list, answer{r.Transfer, r.Err, lines[i].Key != ""})
	}
	return list
}

// TestBEY13_EachLineAnswersAsAssignWould: the same lines one by one, on another database, say the same.
func TestBEY13_EachLineAnswersAsAssignWould(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLineup(w)
		lines := l.lines()
		before := w.events()
		results, err := w.seats.AssignAll(l.acme.me, lines, false)
		w.must(err)
		accepted := 0
		batch := l.answers(results, lines)
		for _, a := range batch {
			if a.err == nil && !a.transfer.Replayed {
				accepted++
			}
		}
		if n := w.events() - before; n != accepted || accepted != 6 {
			t.Errorf("%d events of %d accepted lines, want 6", n, accepted)
		}
		single := newLineup(newWorld(t, dbtest.New(t, w.db.Kind)))
		for i, line := range single.lines() {
			var o []license.Option
			if line.Key != "" {
				o = append(o, license.Key(line.Key))
			}
			tr, err := single.seats.Assign(single.acme.me, line.To, line.SKU, line.Quantity, o...)
			alone := answer{tr, err, line.Key != ""}
			// Ids are those of two worlds.
			if batch[i].transfer.From, alone.transfer.From = nil, nil; (batch[i].transfer.To == nil) != (tr.To == nil) {
				t.Errorf("line %d: to %v, alone %v", i, batch[i].transfer.To, tr.To)
			}
			batch[i].transfer.To, alone.transfer.To, batch[i].transfer.Actor, alone.transfer.Actor = nil, nil, "", ""
			if why := batch[i].differs(alone); why != "" {
				t.Errorf("line %d: %s", i, why)
			}
		}
		w.has(l.acme.ID, "seat", 0)
		w.has(l.one, "seat", 1+3+9+1+1)
		w.has(l.two, "seat", 4+1)
		for _, h := range []partner.Holder{l.suspended, l.closed, l.one} {
			list, err := w.seats.Balances(w.vendor, h)
			w.must(err)
			for _, b := range list {
				if b.SKU != "seat" || h != partner.Holder(l.one) {
					t.Errorf("%s has %+v of a line that was refused", h, b)
				}
			}
		}
		w.sound()
	})
}

// TestBEY13_AllOrNone: one refused line undoes all, is named with its number, and a batch that fits goes as a whole.
func TestBEY13_AllOrNone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLineup(w)
		good := []license.Move{{To: l.one, SKU: "seat", Quantity: 3}, {To: l.two, SKU: "seat", Quantity: 4, Key: "k"}, {To: l.two, SKU: "seat", Quantity: 4, Key: "k"}}
		events := w.events()
		for _, bad := range l.lines() {
			results, err := w.seats.AssignAll(l.acme.me, append(good[:len(good):len(good)], bad, license.Move{To: l.one}), true)
			if err == nil || len(results) != 5 || results[4].Err == nil {
				t.Fatalf("%+v: %v, %+v", bad, err, results)
			}
			first := 5
			if results[3].Err != nil {
				first = 4
			}
			if want := fmt.Sprintf("line %d:", first); !strings.Contains(err.Error(), want) || len(kindsOf(err)) != 1 || !errors.Is(err, results[first-1].Err) && kindsOf(err)[0] != kindsOf(results[first-1].Err)[0] {
				t.Errorf("%+v: %v, want that of %s %v", bad, err, want, results[first-1].Err)
			}
			for i, r := range results {
				if !reflect.DeepEqual(r.Transfer, license.Transfer{}) {
					t.Errorf("%+v: line %d has a transfer, and nothing moved", bad, i)
				}
			}
		}
		if n := w.events(); n != events {
			t.Errorf("%d events of batches that did not go", n-events)
		}
		w.has(l.acme.ID, "seat", 19)
		w.has(l.two, "seat", 0)
		results, err := w.seats.AssignAll(l.acme.me, good, true)
		w.must(err)
		if results[1].Transfer.Replayed || !results[2].Transfer.Replayed || results[1].Transfer.ID != results[2].Transfer.ID || results[1].Transfer.ID == 0 {
			t.Errorf("results %+v", results)
		}
		again, err := w.seats.AssignAll(l.acme.me, []license.Move{{To: l.one, SKU: "seat", Quantity: 3, Key: results[0].Transfer.Key}, good[1], good[1]}, true)
		w.must(err)
		for i, r := range again {
			want := results[i].Transfer
			if want.Replayed = true; !reflect.DeepEqual(r.Transfer, want) {
				t.Errorf("again %+v, want %+v", r.Transfer, want)
			}
		}
		w.has(l.acme.ID, "seat", 12)
		w.sound()
	})
}

// TestBEY13_BatchSizes: none, ten thousand, and one more.
func TestBEY13_BatchSizes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(9_990)
		for _, all := range []bool{false, true} {
			results, err := w.seats.AssignAll(a.me, nil, all)
			if w.must(err); len(results) != 0 {
				t.Errorf("no lines gave %v", results)
			}
		}
		lines := make([]license.Move, 10_001)
		for i := range lines {
			lines[i] = license.Move{To: one, SKU: "seat", Quantity: 1}
		}
		results, err := w.seats.AssignAll(a.me, lines, false)
		if w.faulty(err, "moves:too_long"); results != nil {
			t.Error("results of a batch that is too long")
		}
		_, err = w.seats.AssignAll(a.me, lines[:10_000], true)
		w.is(err, license.ErrInsufficient)
		w.has(a.ID, "seat", 9_990)
		results, err = w.seats.AssignAll(a.me, lines[:10_000], false)
		w.must(err)
		for i, r := range results {
			if fits := i < 9_990; (r.Err == nil) != fits || fits && (r.Transfer.FromAfter != int64(9_989-i) || r.Transfer.ID == 0) || !fits && !errors.Is(r.Err, license.ErrInsufficient) {
				t.Fatalf("line %d: %+v", i, r)
			}
		}
		w.has(one, "seat", 9_990)
		w.sound()
	})
}

// TestBEY13_ABatchInAHostsTransaction goes and comes with it; a refused one is undone alone.
func TestBEY13_ABatchInAHostsTransaction(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLineup(w)
		lines, events := l.lines(), w.events()
		for _, commit := range []bool{false, true} {
			tx := w.db.Begin()
			w.must(tx.Error)
			in := license.New(w.reg.In(tx))
			_, err := in.AssignAll(l.acme.me, lines, true)
			w.is(err, partner.ErrIdempotencyMismatch)
			_, err = in.Assign(l.acme.me, l.one, "seat", 1)
			w.must(err)
			results, err := in.AssignAll(l.acme.me, lines[:4], false)
			if w.must(err); results[0].Err != nil || !errors.Is(results[2].Err, partner.ErrIdempotencyMismatch) || results[3].Err != nil {
				t.Errorf("results %+v", results)
			}
			if !commit {
				w.must(tx.Rollback().Error)
				w.has(l.acme.ID, "seat", 19)
				if n := w.events(); n != events {
					t.Errorf("%d events of a transaction that was rolled back", n-events)
				}
				continue
			}
			w.must(tx.Commit().Error)
		}
		w.has(l.acme.ID, "seat", 19-1-3-4)
		if n := w.events() - events; n != 3 {
			t.Errorf("%d events, want 3", n)
		}
		w.sound()
	})
}

// TestBEY13_ABatchIsItsSessions: nobody, the host, a project's log-in, a blocked admin.
func TestBEY13_ABatchIsItsSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLineup(w)
		own := w.login("one")
		bolt := w.login("bolt")
		gone := w.login("acme")
		w.must(w.reg.Access.Logout(gone))
		for _, ctx := range []context.Context{context.Background(), w.vendor, own, gone} {
			results, err := w.seats.AssignAll(ctx, l.lines()[:1], false)
			w.must(err)
			w.is(results[0].Err, partner.ErrForbidden)
			_, err = w.seats.AssignAll(ctx, l.lines()[:1], true)
			w.is(err, partner.ErrForbidden)
		}
		results, err := w.seats.AssignAll(bolt, l.lines()[:1], false)
		w.must(err)
		w.is(results[0].Err, partner.ErrNotFound)
		w.must(w.reg.Partners.Block(w.vendor, l.acme.ID, false))
		results, err = w.seats.AssignAll(l.acme.me, l.lines()[:1], false)
		w.must(err)
		w.blocked(results[0].Err, "manual")
		w.has(l.acme.ID, "seat", 19)
	})
}
