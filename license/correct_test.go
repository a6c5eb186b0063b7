package license_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

func (w *world) correct(id int64, o ...license.Option) license.Transfer {
	w.t.Helper()
	tr, err := w.seats.Correct(w.vendor, id, o...)
	w.must(err)
	return tr
}

// TestBEY14_CorrectOfEveryVerb gives back what there was before it, lots and all; correcting the correction does it again.
func TestBEY14_CorrectOfEveryVerb(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		two := w.project(a.me, "two")
		w.lot(a.ID, "seat", 4, 0, 10*time.Hour)
		w.lot(a.ID, "seat", 4, 0, 20*time.Hour)
		w.grant(a.ID, "seat", 5)
		w.assign(a.me, one, "seat", 10)
		w.assign(a.me, two, "seat", 1)
		verbs := map[string]func() license.Transfer{
			"grant": func() license.Transfer { return w.grant(a.ID, "seat", 3, w.lasting(0, time.Hour)) },
			"revoke": func() license.Transfer {
				return one1(w, func() (license.Transfer, error) { return w.seats.Revoke(w.vendor, one, "seat", 6) })
			},
			"assign": func() (tr license.Transfer) {
				w.at(a, one, func() { tr = w.assign(a.me, two, "seat", 7) })
				return tr
			},
			"return": func() (tr license.Transfer) {
				w.at(a, one, func() { tr = one1(w, func() (license.Transfer, error) { return w.seats.Return(a.me, "seat", 9) }) })
				return tr
			},
			"consume": func() license.Transfer {
				return one1(w, func() (license.Transfer, error) { return w.seats.Consume(a.me, one, "seat", 5) })
			},
			"post": func() license.Transfer {
				r := w.reserve(a, one, "seat", 5, 0)
				return one1(w, func() (license.Transfer, error) { return w.seats.Post(a.me, r.ID) })
			},
		}
		for _, verb := range names(verbs) {
			was := fmt.Sprint(w.balances(a.ID), w.balances(one), w.balances(two))
			tr := verbs[verb]()
			after := fmt.Sprint(w.balances(a.ID), w.balances(one), w.balances(two))
			back := w.correct(tr.ID, license.Because("by mistake"))
			if now := fmt.Sprint(w.balances(a.ID), w.balances(one), w.balances(two)); now != was {
				t.Errorf("%s: corrected to %s, was %s", verb, now, was)
			}
			if back.Verb != "correct" || back.Corrects != tr.ID || back.From != tr.To || back.To != tr.From || back.Quantity != tr.Quantity || !reflect.DeepEqual(back.Lots, tr.Lots) {
				t.Errorf("%s %+v: corrected by %+v", verb, tr, back)
			}
			w.sound()
			again := w.correct(back.ID)
			if now := fmt.Sprint(w.balances(a.ID), w.balances(one), w.balances(two)); now != after || again.Corrects != back.ID {
				t.Errorf("%s: corrected twice to %s, was %s", verb, now, after)
			}
			w.correct(again.ID)
			w.whole()
		}
		stated, err := w.seats.Statement(w.vendor, one, "seat", partner.Period{})
		w.must(err)
		if stated.Closing != 10 {
			t.Errorf("stated %d, want 10", stated.Closing)
		}
	})
}

// one1 is the answer of a call that must not fail.
func one1(w *world, call func() (license.Transfer, error)) license.Transfer {
	w.t.Helper()
	tr, err := call()
	w.must(err)
	return tr
}

// TestBEY14_CorrectTwice is a transfer's second opposite, which there is not: the same answer on both databases, wherever its units are.
func TestBEY14_CorrectTwice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 20)
		w.grant(a.ID, "seat", 20)
		gone, there := w.assign(a.me, one, "seat", 5), w.assign(a.me, one, "seat", 5)
		first := w.correct(gone.ID, license.Key("k"))
		again := w.correct(gone.ID, license.Key("k"))
		if first.Replayed = true; !reflect.DeepEqual(again, first) {
			t.Errorf("again: %+v, want %+v", again, first)
		}
		w.is(second(w.seats.Correct(w.vendor, gone.ID)), partner.ErrBadTransition)
		w.is(second(w.seats.Correct(w.vendor, gone.ID, license.Key("l"))), partner.ErrBadTransition)
		w.must(second(w.seats.Revoke(w.vendor, one, "seat", 25))) // nothing is there to go back
		w.is(second(w.seats.Correct(w.vendor, gone.ID)), partner.ErrBadTransition)
		w.short(second(w.seats.Correct(w.vendor, there.ID)), 0, false)
		w.assign(a.me, one, "seat", 9)
		won := 0
		for _, err := range together(8, func(int) error { return second(w.seats.Correct(w.vendor, there.ID)) }) {
			if err == nil {
				won++
				continue
			}
			w.is(err, partner.ErrBadTransition)
		}
		if won != 1 {
			t.Errorf("corrected %d times", won)
		}
		w.stands(one, "seat", license.Balance{Available: 4})
		w.whole()
	})
}

// TestBEY14_WhatCannotBeCorrected: a reservation is voided, and what time or a close did is so.
func TestBEY14_WhatCannotBeCorrected(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 20)
		b := w.partner("bolt")
		w.lot(a.ID, "seat", 2, 0, time.Hour)
		w.assign(a.me, one, "seat", 2)
		w.reserve(a, one, "seat", 3, 0)
		w.must(second(w.seats.Void(a.me, w.reserve(a, one, "seat", 3, 0).ID)))
		w.clock.Advance(2 * time.Hour)
		w.step()
		page, err := w.seats.History(w.vendor, one, "seat", partner.PageRequest{Limit: 50})
		w.must(err)
		seen := map[string]bool{}
		for _, tr := range page.Items {
			if tr.Verb == "assign" {
				continue
			}
			seen[tr.Verb] = true
			w.is(second(w.seats.Correct(w.vendor, tr.ID)), partner.ErrBadTransition)
		}
		if len(seen) != 3 { // reserve, void, expire
			t.Errorf("tried %v", seen)
		}
		w.close(a.me, one)
		page, err = w.seats.History(w.vendor, one, "seat", partner.PageRequest{Limit: 1})
		w.must(err)
		w.blocked(second(w.seats.Correct(w.vendor, page.Items[0].ID)), "closing")
		w.is(second(w.seats.Correct(w.vendor, 0)), partner.ErrNotFound)
		w.is(second(w.seats.Correct(w.vendor, 1<<62)), partner.ErrNotFound)
		for _, ctx := range []context.Context{a.me, b.me, w.login("acme"), context.Background()} {
			w.is(second(w.seats.Correct(ctx, 1)), partner.ErrForbidden)
		}
		w.whole()
	})
}

// TestBEY14_ABackDatedCorrectionLeavesYesterdaysAnswer: what was known then stays, what is known now is mended.
func TestBEY14_ABackDatedCorrectionLeavesYesterdaysAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		w.lot(a.ID, "seat", 2, 0, 100*24*time.Hour)
		w.grant(a.ID, "seat", 10)
		w.clock.Advance(24 * time.Hour)
		a.me = w.login("acme")
		wrong := w.assign(a.me, one, "seat", 4)
		used, err := w.seats.Consume(a.me, one, "seat", 1)
		w.must(err)
		w.clock.Advance(time.Hour)
		yesterday := w.clock.Now()
		at := func(effective, known time.Time, h partner.Holder) string {
			list, err := w.seats.HoldingsAt(w.vendor, h, effective, known)
			w.must(err)
			return fmt.Sprint(list)
		}
		says := func() string {
			return fmt.Sprint(at(yesterday, yesterday, one), at(yesterday, yesterday, a.ID), at(time.Time{}, yesterday, one), at(time.Time{}, yesterday, a.ID))
		}
		before := says()
		stated, err := w.seats.Statement(w.vendor, one, "seat", partner.Period{Until: yesterday})
		w.must(err)
		w.clock.Advance(24 * time.Hour)
		w.correct(used.ID, license.Effective(used.Effective))
		w.correct(wrong.ID, license.Effective(wrong.Effective))
		if after := says(); after != before {
			t.Errorf("known yesterday: %s, was %s", after, before)
		}
		if again, err := w.seats.Statement(w.vendor, one, "seat", partner.Period{Until: yesterday}); err != nil || !reflect.DeepEqual(again, stated) {
			t.Errorf("stated: %+v, was %+v, %v", again, stated, err)
		}
		if now := at(yesterday, time.Time{}, one); now != "[]" {
			t.Errorf("as known now it had %s yesterday", now)
		}
		if now := at(yesterday, time.Time{}, a.ID); now != "[{seat 12 0 0 0 0}]" {
			t.Errorf("as known now the pool had %s yesterday", now)
		}
		w.whole()
	})
}

// TestBEY14_CorrectIsNotDatedBeforeWhatItCorrects: nothing would have been there to go back.
func TestBEY14_CorrectIsNotDatedBeforeWhatItCorrects(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		before := w.clock.Now()
		w.clock.Advance(time.Hour)
		w.grant(a.ID, "seat", 5)
		tr := w.assign(a.me, one, "seat", 5)
		w.faulty(second(w.seats.Correct(w.vendor, tr.ID, license.Effective(before))), "effective:range")
		w.faulty(second(w.seats.Correct(w.vendor, tr.ID, license.Effective(w.clock.Now().Add(time.Hour)))), "effective:range")
		w.correct(tr.ID, license.Effective(tr.Effective))
		for d := time.Duration(0); d <= 2*time.Hour; d += 10 * time.Minute {
			list, err := w.seats.HoldingsAt(w.vendor, one, before.Add(d), time.Time{})
			w.must(err)
			if len(list) != 1 || list[0].Available != 10 {
				t.Errorf("after %v: %+v", d, list)
			}
		}
	})
}

// TestBEY13_AKeyOfCorrectNamesItsTransfer: two transfers may have been made with one key, for keys are per verb.
func TestBEY13_AKeyOfCorrectNamesItsTransfer(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.stocked("acme", 20)
		granted := w.grant(a.ID, "seat", 5, license.Key("same"))
		w.grant(a.ID, "seat", 5)
		assigned := w.assign(a.me, one, "seat", 5, license.Key("same"))
		w.correct(assigned.ID, license.Key("c"))
		w.is(second(w.seats.Correct(w.vendor, granted.ID, license.Key("c"))), partner.ErrIdempotencyMismatch)
		w.stands(one, "seat", license.Balance{Available: 20})
		w.stands(a.ID, "seat", license.Balance{Available: 10})
		w.whole()
	})
}

// TestBEY16_CorrectOfALotThatHasRunOut: units that come back have run out as well, and those that have run out do not go back.
func TestBEY16_CorrectOfALotThatHasRunOut(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.bare()
		w.lot(a.ID, "seat", 6, 0, time.Hour)
		assigned := w.assign(a.me, one, "seat", 4)
		revoked, err := w.seats.Revoke(w.vendor, a.ID, "seat", 2)
		w.must(err)
		used, err := w.seats.Consume(a.me, one, "seat", 1)
		w.must(err)
		w.clock.Advance(time.Hour)
		w.correct(used.ID)
		w.correct(revoked.ID)
		for range 2 {
			w.stands(one, "seat", license.Balance{Expired: 4})
			w.stands(a.ID, "seat", license.Balance{Expired: 2})
			w.short(second(w.seats.Assign(a.me, one, "seat", 1)), 0, true)
			w.is(second(w.seats.Correct(w.vendor, assigned.ID)), license.ErrInsufficient)
			w.step()
		}
		w.whole()
	})
}

// TestCLW22_CorrectDoesNotFillAClosedProject: what would arrive there would never come back.
func TestCLW22_CorrectDoesNotFillAClosedProject(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.stocked("acme", 20)
		revoked, err := w.seats.Revoke(w.vendor, one, "seat", 2)
		w.must(err)
		var returned license.Transfer
		w.at(a, one, func() { returned, err = w.seats.Return(a.me, "seat", 3) })
		w.must(err)
		used, err := w.seats.Consume(a.me, one, "seat", 1)
		w.must(err)
		w.close(a.me, one)
		for _, tr := range []license.Transfer{revoked, returned, used} {
			w.blocked(second(w.seats.Correct(w.vendor, tr.ID)), "closing")
		}
		w.stands(one, "seat", license.Balance{Consumed: 1})
		w.stands(a.ID, "seat", license.Balance{Available: 17})
		w.whole()
	})
}

// TestCLW19_CloseOfMoreThanOneWriteMayMove: a project that was filled by many moves goes by one.
func TestCLW19_CloseOfMoreThanOneWriteMayMove(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		for _, valid := range []license.Option{w.lasting(0, time.Hour), nil, nil} {
			w.grant(a.ID, "seat", license.MaxQuantity, valid)
			w.assign(a.me, one, "seat", license.MaxQuantity)
		}
		w.lot(a.ID, "seat", 2, 0, time.Hour)
		w.assign(a.me, one, "seat", 2)
		closed, err := w.reg.Accounts.Close(a.me, one)
		w.must(err)
		if want := 3*license.MaxQuantity + 2; closed.Licenses["seat"] != want {
			t.Errorf("closed with %v, want %d", closed.Licenses, want)
		}
		w.stands(one, "seat", license.Balance{})
		w.stands(a.ID, "seat", license.Balance{Available: 3*license.MaxQuantity + 2})
		w.whole()
	})
}
