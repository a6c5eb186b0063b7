package license_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY13_AllOrNoneOfARepetitionFromElsewhere: a line that repeats a move of another place is refused, and with it the others.
func TestBEY13_AllOrNoneOfARepetitionFromElsewhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(20)
		two := w.project(a.me, "two")
		w.assign(a.me, one, "seat", 8)
		w.assign(a.me, two, "seat", 3, license.Key("k"))
		there := w.login("acme")
		w.must(w.reg.Access.SwitchTo(there, one))
		lines := []license.Move{{To: two, SKU: "seat", Quantity: 2}, {To: two, SKU: "seat", Quantity: 3, Key: "k"}}
		for range 2 { // the second time everything about them is known
			events := w.events()
			results, err := w.seats.AssignAll(there, lines, true)
			w.is(err, partner.ErrIdempotencyMismatch)
			if !strings.Contains(err.Error(), "line 2:") || results[0].Transfer.ID != 0 || results[1].Transfer.ID != 0 || w.events() != events {
				t.Errorf("%v: %+v, and %d events", err, results, w.events()-events)
			}
			w.has(one, "seat", 8)
			w.has(two, "seat", 3)
		}
		results, err := w.seats.AssignAll(there, lines, false)
		w.must(err)
		w.is(results[1].Err, partner.ErrIdempotencyMismatch)
		if results[0].Err != nil || results[1].Transfer.ID != 0 {
			t.Errorf("each for itself: %+v", results)
		}
		w.has(one, "seat", 6)
		w.has(two, "seat", 5)
		w.sound()
	})
}

// TestBEY13_ALostListNamesItsKeys: callers of lists give up at any moment of a shared commit.
func TestBEY13_ALostListNamesItsKeys(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		w.givingUp(24, 10, 500*time.Microsecond, func(ctx, me context.Context, to partner.AccountID, c *learnt) error {
			lines := []license.Move{{To: to, SKU: "seat", Quantity: 1}, {To: to, SKU: "seat", Quantity: 200_000}, {To: to, SKU: "seat", Quantity: 1}}
			results, err := w.seats.AssignAll(ctx, lines, false)
			switch {
			case err == nil:
				c.accepted.Add(2)
				if results[0].Err != nil || !errors.Is(results[1].Err, license.ErrInsufficient) || results[2].Err != nil {
					return errors.New("a line has another's answer")
				}
				return nil
			case !errors.Is(err, partner.ErrOutcomeUnknown):
				if c.given.Add(1); results[0].Transfer.Key != "" || !errors.Is(err, partner.ErrUnavailable) {
					return err
				}
				return nil
			}
			c.lost.Add(1)
			for k := range results {
				if lines[k].Key = results[k].Transfer.Key; lines[k].Key == "" || !errors.Is(results[k].Err, partner.ErrOutcomeUnknown) {
					return errors.New("a lost line without its key")
				}
			}
			again, err := w.seats.AssignAll(me, lines, false)
			if err != nil || again[0].Err != nil || !errors.Is(again[1].Err, license.ErrInsufficient) || again[2].Err != nil {
				return errors.Join(err, again[0].Err, again[2].Err)
			}
			c.accepted.Add(2)
			twice, err := w.seats.Assign(me, to, "seat", 1, license.Key(lines[2].Key))
			if err != nil || twice.ID != again[2].Transfer.ID || !twice.Replayed {
				return errors.Join(err, errors.New("a repetition is another move"))
			}
			return nil
		})
	})
}

// TestBEY13_ARepetitionBesideARefusal: a commit that takes a used key for new asks the database more before it knows.
func TestBEY13_ARepetitionBesideARefusal(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(5)
		w.define("box")
		w.grant(a.ID, "box", 50)
		w.assign(a.me, one, "seat", 5) // the pool has none
		first := w.assign(a.me, one, "box", 2, license.Key("k"))
		for n := range 3 {
			another := license.New(w.reg) // which has met no repetition yet
			results, err := another.AssignAll(a.me, []license.Move{{To: one, SKU: "box", Quantity: 2, Key: "k"}, {To: one, SKU: "seat", Quantity: 1}}, false)
			if err != nil {
				t.Fatalf("time %d: %v", n, err)
			}
			w.must(results[0].Err)
			w.is(results[1].Err, license.ErrInsufficient)
			if !results[0].Transfer.Replayed || results[0].Transfer.ID != first.ID {
				t.Errorf("time %d: %+v", n, results)
			}
		}
		w.has(one, "box", 2)
		w.sound()
	})
}

// TestBEY01_AListOfAHeldPoolHoldsNobodyElse: a host's transaction holds a pool. A list and singles of it wait; callers of other pools don't.
func TestBEY01_AListOfAHeldPoolHoldsNobodyElse(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	pool, err := w.db.DB.DB()
	w.must(err)
	pool.SetMaxOpenConns(8)
	w.define("seat")
	a, b := w.partner("acme"), w.partner("bolt")
	one, two := w.project(a.me, "one"), w.project(b.me, "two")
	w.grant(a.ID, "seat", 1000)
	w.grant(b.ID, "seat", 1000)
	w.assign(a.me, one, "seat", 1)
	w.assign(b.me, two, "seat", 1)
	tx := w.db.Begin()
	w.must(tx.Error)
	_, err = license.New(w.reg.In(tx)).Assign(a.me, one, "seat", 100)
	w.must(err)
	held := make(chan error)
	const singles = 24
	for i := range singles {
		go func() {
			var err error
			if i == 12 {
				_, err = w.seats.AssignAll(a.me, []license.Move{{To: one, SKU: "seat", Quantity: 1}}, false)
			} else {
				_, err = w.seats.Assign(a.me, one, "seat", 1)
			}
			held <- err
		}()
	}
	ctx, cancel := context.WithTimeout(b.me, 5*time.Second)
	defer cancel()
	for range 40 {
		_, err := w.seats.Assign(ctx, two, "seat", 1)
		if err != nil {
			t.Errorf("a caller of another pool: %v", err)
			break
		}
	}
	w.must(tx.Commit().Error)
	for range singles {
		if err := <-held; err != nil {
			t.Errorf("a caller of the held pool: %v", err)
		}
	}
	w.has(one, "seat", 101+singles)
	w.sound()
}

// TestBEY13_ARepetitionThatWouldBeShort: whatever has become of the balance, a used key has its first answer, also from a ledger that takes
// keys for new ones; in one list the second of a key is the repetition.
func TestBEY13_ARepetitionThatWouldBeShort(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(5)
		w.assign(a.me, one, "seat", 1)
		lines := []license.Move{{To: one, SKU: "seat", Quantity: 3, Key: "k"}, {To: one, SKU: "seat", Quantity: 3, Key: "k"}, {To: one, SKU: "seat", Quantity: 4, Key: "k"}}
		first, err := w.seats.AssignAll(a.me, lines, false)
		w.must(err)
		w.is(first[2].Err, partner.ErrIdempotencyMismatch)
		if first[0].Transfer.Replayed || !first[1].Transfer.Replayed || first[1].Transfer.ID != first[0].Transfer.ID || first[0].Transfer.ID == 0 {
			t.Errorf("at first %+v", first)
		}
		for _, all := range []bool{false, true} {
			list, single := license.New(w.reg), license.New(w.reg)
			again, err := list.AssignAll(a.me, lines[:2], all)
			w.must(err)
			tr, err := single.Assign(a.me, one, "seat", 3, license.Key("k"))
			w.must(err)
			for _, r := range append(again, license.Result{Transfer: tr}) {
				if r.Err != nil || !r.Transfer.Replayed || r.Transfer.ID != first[0].Transfer.ID {
					t.Errorf("again %+v", r)
				}
			}
			results, err := license.New(w.reg).AssignAll(a.me, lines[2:], false)
			w.must(err)
			w.is(results[0].Err, partner.ErrIdempotencyMismatch)
		}
		w.has(one, "seat", 4)
		w.whole()
	})
}
