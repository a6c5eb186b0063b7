package license_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// TestBEY16_AKeyedGrantLeavesOneLot: however often it is repeated, also at the same time, and whatever it is refused for.
func TestBEY16_AKeyedGrantLeavesOneLot(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		lots := func() (n int) {
			w.must(w.db.Raw("SELECT count(*) FROM prm_ledger_lots").Scan(&n).Error)
			return n
		}
		valid, key := w.lasting(0, time.Hour), license.Key("k")
		for _, err := range together(8, func(int) error { return second(w.seats.Grant(w.vendor, a.ID, "seat", 3, valid, key)) }) {
			w.must(err)
		}
		if n := lots(); n != 1 {
			t.Fatalf("%d lots, want 1", n)
		}
		_, err := w.seats.Grant(w.vendor, a.ID, "seat", 4, valid, key)
		w.is(err, partner.ErrIdempotencyMismatch)
		_, err = w.seats.Grant(w.vendor, a.ID, "seat", 3, w.lasting(0, 2*time.Hour), key)
		w.is(err, partner.ErrIdempotencyMismatch)
		_, err = w.seats.Grant(w.vendor, a.ID, "none", 3, valid)
		w.faulty(err, "sku:unknown_code")
		err = w.db.Transaction(func(tx *gorm.DB) error {
			in := license.New(w.reg.In(tx))
			w.must(second(in.Grant(w.vendor, a.ID, "seat", 3, valid, key)))
			w.is(second(in.Grant(w.vendor, a.ID, "seat", 9, valid, key)), partner.ErrIdempotencyMismatch)
			return nil
		})
		w.must(err)
		if n := lots(); n != 1 || w.happenings("license.granted") != 1 {
			t.Fatalf("%d lots and %d grants, want 1", n, w.happenings("license.granted"))
		}
		w.stands(a.ID, "seat", license.Balance{Available: 3})
		w.whole()
	})
}

// TestBEY16_AKeyedGrantOfALotThatIsOverIsStillARepetition: the same key gives the first answer although the world has moved on.
func TestBEY16_AKeyedGrantOfALotThatIsOverIsStillARepetition(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		valid := w.lasting(0, time.Hour)
		first := w.grant(a.ID, "seat", 3, valid, license.Key("k"))
		w.clock.Advance(2 * time.Hour)
		again, err := w.seats.Grant(w.vendor, a.ID, "seat", 3, valid, license.Key("k"))
		w.must(err)
		if first.Replayed = true; !reflect.DeepEqual(again, first) {
			t.Errorf("again: %+v, want %+v", again, first)
		}
		_, err = w.seats.Grant(w.vendor, a.ID, "seat", 4, valid, license.Key("k"))
		w.is(err, partner.ErrIdempotencyMismatch)
		_, err = w.seats.Grant(w.vendor, a.ID, "seat", 3, valid)
		w.faulty(err, "valid:range")
		w.whole()
	})
}

// TestBEY13_ARepeatedKeyWritesNothingOfOtherLots: by the time of the repetition the same quantity would come from more lots, or fewer.
func TestBEY13_ARepeatedKeyWritesNothingOfOtherLots(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		key := license.Key("k")
		calls := map[string]func(me context.Context, one partner.AccountID, sku string) (any, error){
			"assign": func(me context.Context, one partner.AccountID, sku string) (any, error) {
				tr, err := w.seats.Assign(me, one, sku, 3, key)
				return tr.Lots, err
			},
			"consume": func(me context.Context, one partner.AccountID, sku string) (any, error) {
				tr, err := w.seats.Consume(me, one, sku, 3, key)
				return tr.Lots, err
			},
			"reserve": func(me context.Context, one partner.AccountID, sku string) (any, error) {
				r, err := w.seats.Reserve(me, one, sku, 3, 0, key)
				return r, err
			},
			"revoke": func(_ context.Context, one partner.AccountID, sku string) (any, error) {
				tr, err := w.seats.Revoke(w.vendor, one, sku, 3, key)
				return tr.Lots, err
			},
			"return": func(me context.Context, one partner.AccountID, sku string) (answer any, err error) {
				w.at(a, one, func() {
					var tr license.Transfer
					tr, err = w.seats.Return(me, sku, 3, key)
					answer = tr.Lots
				})
				return answer, err
			},
		}
		for verb, call := range calls {
			w.define(verb)
			one := w.project(a.me, "p-"+verb)
			w.lot(a.ID, verb, 12, 0, 10*time.Hour)
			w.lot(a.ID, verb, 12, 0, 20*time.Hour)
			w.grant(a.ID, verb, 12)
			for range 3 { // both have rows of every lot
				w.assign(a.me, one, verb, 8)
			}
			w.at(a, one, func() { w.must(second(w.seats.Return(a.me, verb, 8))) }) // the pool has 8 of the first lot and 12 undated
			first, err := call(a.me, one, verb)
			w.must(err)
			for range 12 { // one unit at a time, so that every mixture of lots comes by
				was := fmt.Sprint(w.balances(a.ID), w.balances(one))
				again, err := call(a.me, one, verb)
				w.must(err)
				if now := fmt.Sprint(w.balances(a.ID), w.balances(one)); !reflect.DeepEqual(again, first) || now != was {
					t.Fatalf("%s: again %+v, first %+v; balances %s, were %s", verb, again, first, now, was)
				}
				w.sound()
				w.assign(a.me, one, verb, 1)
				w.must(second(w.seats.Consume(a.me, one, verb, 1)))
			}
		}
		w.whole()
	})
}

func (w *world) balances(h partner.Holder) []license.Balance {
	w.t.Helper()
	list, err := w.seats.Balances(w.vendor, h)
	w.must(err)
	return list
}

// TestBEY03_WhatTimeDidIsInTheAuditWhoeverMetIt: the call that meets what is due writes it down with its events, also if it changes
// nothing itself; a call that is refused leaves it.
func TestBEY03_WhatTimeDidIsInTheAuditWhoeverMetIt(t *testing.T) {
	calls := map[string]func(w *world, a side, one partner.AccountID){
		"a repeated grant":  func(w *world, a side, _ partner.AccountID) { w.grant(a.ID, "seat", 9, license.Key("g")) },
		"a repeated assign": func(w *world, a side, one partner.AccountID) { w.assign(a.me, one, "seat", 7, license.Key("a")) },
		"a repeated consume": func(w *world, a side, one partner.AccountID) {
			w.must(second(w.seats.Consume(a.me, one, "seat", 1, license.Key("c"))))
		},
		"a repeated post": func(w *world, a side, one partner.AccountID) {
			var id string
			w.must(w.db.Raw("SELECT id FROM prm_ledger_reservations WHERE state = 'posted'").Scan(&id).Error)
			w.must(second(w.seats.Post(a.me, id, license.Key("p"))))
		},
		"a repeated reservation": func(w *world, a side, one partner.AccountID) {
			w.must(second(w.seats.Reserve(a.me, one, "seat", 1, 0, license.Key("r"))))
		},
		"a batch of repetitions": func(w *world, a side, one partner.AccountID) {
			w.must(second(w.seats.AssignAll(a.me, []license.Move{{To: one, SKU: "seat", Quantity: 7, Key: "a"}}, true)))
		},
		"a batch of refusals": func(w *world, a side, one partner.AccountID) {
			w.must(second(w.seats.AssignAll(a.me, []license.Move{{To: one, SKU: "seat", Quantity: 70}}, false)))
		},
		"a cap that is there":  func(w *world, _ side, one partner.AccountID) { w.must(w.seats.Cap(w.vendor, one, "seat", 100)) },
		"a seat that is there": func(w *world, a side, one partner.AccountID) { w.seat(a, one, "seat", "ann") },
		"a new move":           func(w *world, a side, one partner.AccountID) { w.assign(a.me, one, "seat", 1) },
		"close":                func(w *world, a side, one partner.AccountID) { w.close(a.me, one) },
		"step":                 func(w *world, _ side, _ partner.AccountID) { w.step() },
	}
	each(t, func(t *testing.T, w *world) {
		for i, what := range names(calls) {
			a := w.partner(fmt.Sprint("acme", i))
			w.define("seat")
			one := w.project(a.me, fmt.Sprint("one", i))
			w.grant(a.ID, "seat", 9, license.Key("g"))
			w.lot(a.ID, "seat", 4, 0, time.Hour)
			w.assign(a.me, one, "seat", 7, license.Key("a"))
			w.lot(a.ID, "seat", 1, 0, time.Hour)
			w.must(w.seats.Cap(w.vendor, one, "seat", 100))
			w.must(second(w.seats.Consume(a.me, one, "seat", 1, license.Key("c"))))
			done, err := w.seats.Reserve(a.me, one, "seat", 1, 0)
			w.must(err)
			w.must(second(w.seats.Post(a.me, done.ID, license.Key("p"))))
			w.must(second(w.seats.Reserve(a.me, one, "seat", 1, 0, license.Key("r"))))
			for _, person := range []string{"ann", "bob", "cid", "dan"} {
				w.seat(a, one, "seat", person)
			}
			w.clock.Advance(2 * time.Hour)
			_, err = w.seats.Consume(a.me, one, "seat", 50)
			w.is(err, license.ErrInsufficient)
			calls[what](w, a, one)
			t.Log(what) // shown with a failure
			w.whole()
			w.step()
			w.whole()
			if n := w.happenings("license.unseated"); n != i+1 {
				t.Errorf("%s: %d unseated, want %d", what, n, i+1)
			}
		}
	})
}
