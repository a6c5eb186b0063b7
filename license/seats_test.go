package license_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY18_TheLastSeat: fifty takers, and as many winners as there are licences.
func TestBEY18_TheLastSeat(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 3)
		w.seat(a, one, "seat", "ann")
		w.seat(a, one, "seat", "bob")
		won := 0
		for _, err := range together(50, func(i int) error { return second(w.seats.Seat(a.me, one, "seat", fmt.Sprint("person", i))) }) {
			if err == nil {
				won++
				continue
			}
			w.short(err, 0, false)
		}
		if won != 1 || len(strings.Fields(w.sitting(one, "seat"))) != 3 {
			t.Errorf("%d won the last seat; sitting: %s", won, w.sitting(one, "seat"))
		}
		w.whole()
	})
}

// TestBEY18_APersonHasOneSeat, however the name is spelt in case and form, and by whom at the same time.
func TestBEY18_APersonHasOneSeat(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 20)
		for _, same := range [][]string{
			{"ann@x.example", "ANN@X.example", " ann@x.example ", "ＡＮＮ@x.example"}, {"Straße", "STRASSE", "strasse"}, {"Å", "Å", "A\u030a", "å"},
			{"ﬁn", "FIN"}, {"joe", "j\u200boe", "jo\u00ade\u2060", "joe\ufe0f", "  joe "}, {"eve mc coy", "Eve  Mc\u00a0Coy"},
			{"\u0390", "\u1fd3", "\u03aa\u0301", "\u03b9\u0308\u0301"}, {"Ǆ", "ǆ", "ǅ", "DŽ"}, {"\u1e9b\u0323", "\u017f\u0323\u0307", "ṩ"},
		} {
			first := w.seat(a, one, "seat", same[0])
			for _, person := range same[1:] {
				if again := w.seat(a, one, "seat", person); again != first {
					t.Errorf("%q has another seat than %q", person, same[0])
				}
			}
		}
		ids := make([]string, 12)
		for _, err := range together(12, func(i int) error {
			s, err := w.seats.Seat(a.me, one, "seat", []string{"zoe", "Zoe", "ZOE"}[i%3])
			ids[i] = s.ID
			return err
		}) {
			w.must(err)
		}
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("zoe has the seats %v", ids)
			}
		}
		if n := w.happenings("license.seated"); n != 10 {
			t.Errorf("%d seated in the audit, want 10", n)
		}
		w.faulty(second(w.seats.Seat(a.me, one, "", " ")), "sku:required person:required")
		w.faulty(second(w.seats.Seat(a.me, one, "none", "ann")), "sku:unknown_code")
		w.whole()
	})
}

// TestBEY18_Unseat frees the licence, once; who sits again gets another seat.
func TestBEY18_Unseat(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 1)
		b, _ := w.stocked("bolt", 1)
		seat := w.seat(a, one, "seat", "ann")
		if seat.Account != one || seat.SKU != "seat" || seat.Person != "ann" {
			t.Errorf("%+v", seat)
		}
		for _, ctx := range []context.Context{b.me, w.login("bolt-one")} {
			w.is(w.seats.Unseat(ctx, seat.ID), partner.ErrNotFound)
			w.is(second(w.seats.Seat(ctx, one, "seat", "ann")), partner.ErrNotFound)
			w.is(second(w.seats.Seats(ctx, one, "seat", partner.PageRequest{})), partner.ErrNotFound)
			w.is(second(w.seats.PlanShrink(ctx, one, "seat", 0, "newest")), partner.ErrNotFound)
		}
		w.is(w.seats.Unseat(w.vendor, seat.ID), partner.ErrForbidden)
		for _, id := range []string{"", "sea_01KJMMA2G3F8Y8WK42TDFBBHH3", string(one), "x\x00"} {
			w.is(w.seats.Unseat(a.me, id), partner.ErrNotFound)
		}
		won := 0
		me := w.login("acme-one")
		for _, err := range together(6, func(int) error { return w.seats.Unseat(me, seat.ID) }) {
			if err == nil {
				won++
				continue
			}
			w.is(err, partner.ErrNotFound)
		}
		if won != 1 || w.happenings("license.unseated") != 1 {
			t.Errorf("%d ended one seat, %d in the audit", won, w.happenings("license.unseated"))
		}
		if again := w.seat(a, one, "seat", "ann"); again.ID == seat.ID {
			t.Error("an ended seat came back")
		}
		w.whole()
	})
}

// TestBEY18_NothingGoesFromUnderASeat: every verb that would lower what there is below the seats is refused, and says how it can be done.
func TestBEY18_NothingGoesFromUnderASeat(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		two := w.project(a.me, "two")
		w.lot(a.ID, "seat", 2, 0, time.Hour)
		w.grant(a.ID, "seat", 3)
		w.grant(a.ID, "seat", 4, w.lasting(time.Hour, 0))
		assigned := w.assign(a.me, one, "seat", 5)
		w.seat(a, one, "seat", "ann")
		w.seat(a, one, "seat", "bob")
		w.seat(a, one, "seat", "cid")
		verbs := map[string]func(n int64) error{
			"consume": func(n int64) error { return second(w.seats.Consume(a.me, one, "seat", n)) },
			"reserve": func(n int64) error { return second(w.seats.Reserve(a.me, one, "seat", n, 0)) },
			"revoke":  func(n int64) error { return second(w.seats.Revoke(w.vendor, one, "seat", n)) },
			"assign": func(n int64) (err error) {
				w.at(a, one, func() { _, err = w.seats.Assign(a.me, two, "seat", n) })
				return err
			},
			"return": func(n int64) (err error) {
				w.at(a, one, func() { _, err = w.seats.Return(a.me, "seat", n) })
				return err
			},
			"batch": func(n int64) (err error) {
				w.at(a, one, func() { _, err = w.seats.AssignAll(a.me, []license.Move{{To: two, SKU: "seat", Quantity: n}}, true) })
				return err
			},
		}
		for verb, call := range verbs {
			t.Log(verb) // shown with a failure
			w.is(call(3), license.ErrShrinkPlanRequired)
			w.is(call(5), license.ErrShrinkPlanRequired)
			w.short(call(6), 5, false)
		}
		w.is(second(w.seats.Correct(w.vendor, assigned.ID)), license.ErrShrinkPlanRequired)
		w.is(second(w.seats.Correct(w.vendor, assigned.ID, license.Key("k"))), license.ErrShrinkPlanRequired)
		if n := w.happenings("license.seated") + w.happenings("license.assigned"); n != 4 || w.happenings("license.corrected") != 0 {
			t.Error("a refusal is in the audit")
		}
		w.at(a, one, func() {
			dec, err := w.seats.Explain(a.me, two, "seat", 3)
			w.must(err)
			if last := dec.Reasons[len(dec.Reasons)-1]; dec.Allowed || last.Code != "seats" {
				t.Errorf("explained %+v", dec)
			}
		})
		w.must(verbs["consume"](1))
		w.must(verbs["return"](1))
		w.is(verbs["reserve"](1), license.ErrShrinkPlanRequired)
		w.stands(one, "seat", license.Balance{Available: 3, Consumed: 1})
		w.whole()
	})
}

// TestBEY18_Plans: which seats go, and that exactly those go.
func TestBEY18_Plans(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 8)
		seats := map[string]license.Seat{}
		for _, person := range strings.Fields("ann bob cid dan eve") {
			seats[person] = w.seat(a, one, "seat", person)
		}
		going := func(p license.Shrink) string {
			var list []string
			for _, s := range p.Remove {
				list = append(list, s.Person)
			}
			return strings.Join(list, " ")
		}
		plan := func(n int64, mode string, people ...string) (license.Shrink, error) {
			var ids []string
			for _, p := range people {
				ids = append(ids, seats[p].ID)
			}
			return w.seats.PlanShrink(a.me, one, "seat", n, mode, ids...)
		}
		for _, c := range []struct {
			n            int64
			mode, people string
			want         string
		}{
			{3, "newest", "", "dan eve"}, {3, "oldest", "", "ann bob"}, {5, "newest", "", ""}, {7, "oldest", "", ""}, {0, "newest", "", "ann bob cid dan eve"},
			{3, "explicit", "eve bob", "bob eve"}, {3, "", "cid ann dan", "ann cid dan"}, {6, "", "", ""}, {6, "", "cid", "cid"},
		} {
			p, err := plan(c.n, c.mode, strings.Fields(c.people)...)
			w.must(err)
			if going(p) != c.want || p.To != c.n || p.Return != 8-c.n || p.Account != one || p.SKU != "seat" {
				t.Errorf("%+v: %q go, plan %+v", c, going(p), p)
			}
		}
		for _, c := range []struct {
			n                  int64
			mode, people, want string
		}{
			{8, "newest", "", "to:range"}, {9, "newest", "", "to:range"}, {-1, "latest", "", "to:range mode:unknown_code"}, {3, "", "", "seats:required"},
			{3, "explicit", "ann", "seats:required"}, {3, "", "ann nobody", "seats:unknown_code"}, {4, "", "ann ann", "seats:unknown_code"},
			{license.MaxQuantity + 1, "", "", "to:range"},
		} {
			_, err := plan(c.n, c.mode, strings.Fields(c.people)...)
			w.faulty(err, c.want)
		}
		w.is(second(w.seats.PlanShrink(w.login("acme-one"), one, "seat", 3, "newest")), partner.ErrForbidden)
		w.is(second(w.seats.PlanShrink(w.vendor, one, "seat", 3, "newest")), partner.ErrForbidden)
		if w.sitting(one, "seat") != "ann bob cid dan eve" {
			t.Error("a plan changed something")
		}
		p, err := plan(3, "", "bob", "eve")
		w.must(err)
		key := license.Key("k")
		tr, err := w.seats.ApplyShrink(a.me, p, key, license.Because("season over"))
		w.must(err)
		if tr.Verb != "return" || tr.From != one || tr.To != a.ID || tr.Quantity != 5 || tr.FromAfter != 3 || tr.ToAfter != 5 {
			t.Errorf("applied: %+v", tr)
		}
		again, err := w.seats.ApplyShrink(a.me, p, key, license.Because("season over"))
		w.must(err)
		if again.ID != tr.ID || !again.Replayed {
			t.Errorf("again: %+v", again)
		}
		w.is(second(w.seats.ApplyShrink(a.me, p)), partner.ErrPlanStale)
		if w.sitting(one, "seat") != "ann cid dan" || w.happenings("license.unseated") != 2 {
			t.Errorf("left: %s, %d in the audit", w.sitting(one, "seat"), w.happenings("license.unseated"))
		}
		w.stands(one, "seat", license.Balance{Available: 3})
		w.stands(a.ID, "seat", license.Balance{Available: 5})
		w.whole()
	})
}

// TestBEY18_AStalePlan: what has changed since, in the world or in the plan, and nothing happens.
func TestBEY18_AStalePlan(t *testing.T) {
	change := map[string]func(w *world, a side, one partner.AccountID, p *license.Shrink){
		"licences came": func(w *world, a side, one partner.AccountID, _ *license.Shrink) { w.assign(a.me, one, "seat", 1) },
		"licences went": func(w *world, a side, one partner.AccountID, _ *license.Shrink) {
			w.must(second(w.seats.Consume(a.me, one, "seat", 1)))
		},
		"licences reserved": func(w *world, a side, one partner.AccountID, _ *license.Shrink) { w.reserve(a, one, "seat", 1, 0) },
		"a seat came":       func(w *world, a side, one partner.AccountID, _ *license.Shrink) { w.seat(a, one, "seat", "fay") },
		"a seat of it went": func(w *world, a side, _ partner.AccountID, p *license.Shrink) {
			w.must(w.seats.Unseat(a.me, p.Remove[0].ID))
		},
		"another seat went": func(w *world, a side, one partner.AccountID, _ *license.Shrink) {
			w.must(w.seats.Unseat(a.me, w.seat(a, one, "seat", "ann").ID))
		},
		"another person sits": func(w *world, a side, one partner.AccountID, _ *license.Shrink) {
			w.must(w.seats.Unseat(a.me, w.seat(a, one, "seat", "ann").ID))
			w.seat(a, one, "seat", "fay")
		},
		"fewer seats in it":   func(_ *world, _ side, _ partner.AccountID, p *license.Shrink) { p.Remove = p.Remove[1:] },
		"no seats in it":      func(_ *world, _ side, _ partner.AccountID, p *license.Shrink) { p.Remove = nil },
		"another number":      func(_ *world, _ side, _ partner.AccountID, p *license.Shrink) { p.Return-- },
		"more to go":          func(_ *world, _ side, _ partner.AccountID, p *license.Shrink) { p.Return++; p.To-- },
		"another aim":         func(_ *world, _ side, _ partner.AccountID, p *license.Shrink) { p.To++ },
		"no digest":           func(_ *world, _ side, _ partner.AccountID, p *license.Shrink) { p.Digest = "" },
		"twice the same seat": func(_ *world, _ side, _ partner.AccountID, p *license.Shrink) { p.Remove[1] = p.Remove[0] },
	}
	each(t, func(t *testing.T, w *world) {
		for i, what := range names(change) {
			a, one := w.stocked(fmt.Sprint("acme", i), 6)
			w.grant(a.ID, "seat", 1)
			for _, person := range strings.Fields("ann bob cid dan eve") {
				w.seat(a, one, "seat", person)
			}
			plan, err := w.seats.PlanShrink(a.me, one, "seat", 3, "newest")
			w.must(err)
			change[what](w, a, one, &plan)
			before := fmt.Sprint(w.balances(one), w.sitting(one, "seat"))
			t.Log(what) // shown with a failure
			w.is(second(w.seats.ApplyShrink(a.me, plan)), partner.ErrPlanStale)
			if after := fmt.Sprint(w.balances(one), w.sitting(one, "seat")); after != before {
				t.Errorf("%s: %s, was %s", what, after, before)
			}
		}
		w.whole()
	})
}

// TestBEY18_AShrinkWithOneKeyAtOnce happens once, and each caller gets its answer.
func TestBEY18_AShrinkWithOneKeyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 40)
		for i := range 10 {
			plan, err := w.seats.PlanShrink(a.me, one, "seat", 39-int64(i), "newest")
			w.must(err)
			ids := make([]int64, 3)
			for _, err := range together(3, func(k int) error {
				tr, err := w.seats.ApplyShrink(a.me, plan, license.Key(fmt.Sprint("k", i)))
				ids[k] = tr.ID
				return err
			}) {
				w.must(err)
			}
			if ids[0] != ids[1] || ids[1] != ids[2] {
				t.Fatalf("answers: %v", ids)
			}
		}
		w.stands(one, "seat", license.Balance{Available: 30})
		w.whole()
	})
}

// TestBEY18_ShrinksBesideAssigns: they take their locks in one order, so that none waits for the other in a circle, which the database
// would end only after a second.
func TestBEY18_ShrinksBesideAssigns(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 200)
		w.grant(a.ID, "seat", 200)
		begun := time.Now()
		const rounds = 25
		for range rounds {
			b, err := w.seats.Balance(a.me, one, "seat")
			w.must(err)
			plan, err := w.seats.PlanShrink(a.me, one, "seat", b.Available-1, "newest")
			w.must(err)
			errs := together(2, func(k int) error {
				if k == 0 {
					return second(w.seats.Assign(a.me, one, "seat", 1))
				}
				return second(w.seats.ApplyShrink(a.me, plan))
			})
			if w.must(errs[0]); errs[1] != nil {
				w.is(errs[1], partner.ErrPlanStale)
			}
		}
		if took := time.Since(begun); w.deadlocks() > 0 {
			t.Errorf("%d deadlocks in %v", w.deadlocks(), took)
		}
		w.whole()
	})
}

// TestBEY18_ALotThatRunsOutEndsTheNewestSeats, by the clock, and the same when it is written down.
func TestBEY18_ALotThatRunsOutEndsTheNewestSeats(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		w.lot(a.ID, "seat", 2, 0, time.Hour)
		w.lot(a.ID, "seat", 2, 0, 2*time.Hour)
		w.grant(a.ID, "seat", 1)
		w.assign(a.me, one, "seat", 5)
		seats := map[string]license.Seat{}
		for _, person := range strings.Fields("ann bob cid dan") {
			seats[person] = w.seat(a, one, "seat", person)
		}
		w.clock.Advance(time.Hour)
		for range 2 {
			if got := w.sitting(one, "seat"); got != "ann bob cid" {
				t.Fatalf("sitting: %s", got)
			}
			w.is(w.seats.Unseat(a.me, seats["dan"].ID), partner.ErrNotFound)
			w.short(second(w.seats.Seat(a.me, one, "seat", "dan")), 0, true)
			w.is(second(w.seats.Consume(a.me, one, "seat", 1)), license.ErrShrinkPlanRequired)
			w.step()
		}
		if w.happenings("license.unseated") != 1 {
			t.Errorf("%d unseated in the audit", w.happenings("license.unseated"))
		}
		plan, err := w.seats.PlanShrink(a.me, one, "seat", 2, "newest")
		w.must(err)
		w.clock.Advance(time.Hour) // both of the second lot
		w.is(second(w.seats.ApplyShrink(a.me, plan)), partner.ErrPlanStale)
		if got := w.sitting(one, "seat"); got != "ann" {
			t.Errorf("sitting: %s", got)
		}
		w.must(w.seats.Unseat(a.me, seats["ann"].ID))
		w.seat(a, one, "seat", "dan")
		w.stands(one, "seat", license.Balance{Available: 1, Expired: 4})
		w.close(a.me, one)
		if got := w.sitting(one, "seat"); got != "" {
			t.Errorf("after the close: %s", got)
		}
		w.whole()
	})
}

// deadlocks is how many the database has ended; SQLite has one writer and none.
func (w *world) deadlocks() (n int) {
	w.t.Helper()
	if w.db.Kind == dbtest.Postgres {
		w.must(w.db.Raw("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&n).Error)
	}
	return n
}

// TestBEY18_ASeatThatHasEndedStaysEnded, whether or not anybody wrote it down before there were licences again.
func TestBEY18_ASeatThatHasEndedStaysEnded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i, stepped := range []bool{true, false} {
			a := w.partner(fmt.Sprint("acme", i))
			w.define("seat")
			one := w.project(a.me, fmt.Sprint("one", i))
			w.lot(a.ID, "seat", 1, 0, 30*time.Minute)
			w.grant(a.ID, "seat", 2)
			w.assign(a.me, one, "seat", 3)
			dated := w.reserve(a, one, "seat", 1, 0)
			w.reserve(a, one, "seat", 1, time.Hour) // is free again after the lot has run out
			w.must(second(w.seats.Void(a.me, dated.ID)))
			w.seat(a, one, "seat", "ann")
			w.seat(a, one, "seat", "bob")
			w.clock.Advance(31 * time.Minute)
			if got := w.sitting(one, "seat"); got != "ann" {
				t.Errorf("sitting: %s", got)
			}
			if stepped {
				w.step()
			}
			w.clock.Advance(30 * time.Minute)
			if got := w.sitting(one, "seat"); got != "ann" {
				t.Errorf("stepped %v: sitting %s, want ann", stepped, got)
			}
			w.step()
		}
		w.whole()
	})
}
