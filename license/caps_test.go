package license_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// over fails unless err is the cap's refusal with these numbers.
func (w *world) over(err error, limit, inUse int64) {
	w.t.Helper()
	w.is(err, partner.ErrQuota)
	var quota *partner.QuotaError
	if !errors.As(err, &quota) || *quota != (partner.QuotaError{Kind: "licenses", Limit: limit, InUse: inUse}) {
		w.t.Fatalf("got %+v, want limit %d, in use %d", quota, limit, inUse)
	}
}

// TestBEY19_ConcurrentAssignsStopAtTheCap, those in one commit as well as those in commits of their own.
func TestBEY19_ConcurrentAssignsStopAtTheCap(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(500)
		w.must(w.seats.Cap(w.vendor, one, "seat", 20))
		other := license.New(w.reg)
		won := 0
		for _, err := range together(50, func(i int) error {
			if i%5 == 0 {
				return second(other.Assign(a.me, one, "seat", 3))
			}
			return second(w.seats.Assign(a.me, one, "seat", 3))
		}) {
			if err == nil {
				won++
				continue
			}
			w.over(err, 20, 18)
		}
		if won != 6 {
			t.Errorf("%d won, want 6", won)
		}
		w.stands(one, "seat", license.Balance{Available: 18})
		w.assign(a.me, one, "seat", 2)
		w.over(second(w.seats.Assign(a.me, one, "seat", 1)), 20, 20)
		w.whole()
	})
}

// TestBEY19_WhatCounts: available, not valid yet, reserved, used up; not what has run out or gone back.
func TestBEY19_WhatCounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		two := w.project(a.me, "two")
		w.lot(a.ID, "seat", 4, 0, time.Hour)
		w.grant(a.ID, "seat", 50)
		w.must(w.seats.Cap(w.vendor, one, "seat", 10))
		w.must(w.seats.Cap(w.vendor, one, "seat", 10))
		w.assign(a.me, one, "seat", 10)
		w.must(second(w.seats.Consume(a.me, one, "seat", 2)))
		r := w.reserve(a, one, "seat", 3, 0)
		w.over(second(w.seats.Assign(a.me, one, "seat", 1)), 10, 10)
		w.must(second(w.seats.Post(a.me, r.ID)))
		w.over(second(w.seats.Assign(a.me, one, "seat", 1)), 10, 10)
		w.at(a, one, func() {
			w.must(second(w.seats.Return(a.me, "seat", 1)))
			w.assign(a.me, two, "seat", 1)
		})
		w.over(second(w.seats.Assign(a.me, one, "seat", 3)), 10, 8)
		w.assign(a.me, one, "seat", 2)
		w.at(a, two, func() { w.over(second(w.seats.Assign(a.me, one, "seat", 1)), 10, 10) })
		results, err := w.seats.AssignAll(a.me, []license.Move{{To: two, SKU: "seat", Quantity: 1}, {To: one, SKU: "seat", Quantity: 1}}, false)
		w.must(err)
		w.must(results[0].Err)
		w.over(results[1].Err, 10, 10)

		w.must(w.seats.Cap(w.vendor, one, "seat", 3)) // what there is stays
		w.stands(one, "seat", license.Balance{Available: 5, Consumed: 5})
		w.over(second(w.seats.Assign(a.me, one, "seat", 1)), 3, 10)
		w.must(second(w.seats.Consume(a.me, one, "seat", 5)))
		w.must(w.seats.Cap(w.vendor, one, "seat", 0))
		w.over(second(w.seats.Assign(a.me, one, "seat", 1)), 0, 10)
		w.must(w.seats.Cap(w.vendor, one, "seat", -1))
		w.assign(a.me, one, "seat", 30)
		w.whole()
		if n := w.happenings("license.capped"); n != 4 {
			t.Errorf("%d caps in the audit, want 4: what changes nothing is none", n)
		}
	})
}

// TestBEY19_ExpiredUnitsLeaveRoom from the moment they run out.
func TestBEY19_ExpiredUnitsLeaveRoom(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.bare()
		w.lot(a.ID, "seat", 4, 0, time.Hour)
		w.must(w.seats.Cap(w.vendor, one, "seat", 4))
		w.assign(a.me, one, "seat", 4)
		w.grant(a.ID, "seat", 10)
		w.over(second(w.seats.Assign(a.me, one, "seat", 1)), 4, 4)
		w.clock.Advance(time.Hour)
		w.assign(a.me, one, "seat", 4)
		w.over(second(w.seats.Assign(a.me, one, "seat", 1)), 4, 4)
		w.stands(one, "seat", license.Balance{Available: 4, Expired: 4})
		w.whole()
	})
}

// TestBEY19_ExplainSaysIt and BEY02: what Explain tells is what Assign does, for every reason the ledger has.
func TestBEY19_BEY02_ExplainSaysIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(10)
		w.must(w.seats.Cap(w.vendor, one, "seat", 5))
		w.assign(a.me, one, "seat", 2)
		for n, want := range map[int64]string{3: "balance", 4: "cap", 9: "balance", 8: "cap"} {
			dec, err := w.seats.Explain(a.me, one, "seat", n)
			w.must(err)
			last := dec.Reasons[len(dec.Reasons)-1]
			if dec.Allowed != (n == 3) || last.Code != want {
				t.Errorf("%d: %+v, want %s", n, dec, want)
			}
			if want == "cap" && !strings.Contains(last.Text, "5") {
				t.Errorf("%d: %q does not name the cap", n, last.Text)
			}
		}
		w.over(second(w.seats.Assign(a.me, one, "seat", 4)), 5, 2)
		w.assign(a.me, one, "seat", 3)
	})
}

// TestBEY19_WhoCaps: the vendor; a cap may come before the first licence.
func TestBEY19_WhoCaps(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 5)
		b := w.partner("bolt")
		two := w.project(a.me, "two")
		w.is(w.seats.Cap(a.me, one, "seat", 5), partner.ErrForbidden)
		w.is(w.seats.Cap(b.me, one, "seat", 5), partner.ErrNotFound)
		w.is(w.seats.Cap(w.login("acme-one"), one, "seat", 5), partner.ErrForbidden)
		w.is(w.seats.Cap(w.vendor, "acc_none", "seat", 5), partner.ErrNotFound)
		w.faulty(w.seats.Cap(w.vendor, one, "", -2), "sku:required limit:range")
		w.faulty(w.seats.Cap(w.vendor, one, "seat", license.MaxQuantity+1), "limit:range")
		w.faulty(w.seats.Cap(w.vendor, one, "none", 5), "sku:unknown_code")
		w.must(w.seats.Cap(w.vendor, two, "seat", 0))
		w.must(w.seats.Cap(w.vendor, one, "seat", license.MaxQuantity))
		w.grant(a.ID, "seat", 1)
		w.over(second(w.seats.Assign(a.me, two, "seat", 1)), 0, 0)
		for _, ctx := range []context.Context{w.vendor, a.me, w.login("acme-one")} {
			caps, err := w.seats.Caps(ctx, one)
			w.must(err)
			if len(caps) != 1 || caps["seat"] != license.MaxQuantity {
				t.Errorf("caps: %v", caps)
			}
		}
		w.is(second(w.seats.Caps(b.me, one)), partner.ErrNotFound)
		if list := w.balances(two); len(list) != 0 {
			t.Errorf("a project that never had any has %+v", list)
		}
		w.whole()
	})
}

// TestBEY12_BEY19_NoOverflow: as much as can be granted, a cap over it, and the sums stay what they are.
func TestBEY12_BEY19_NoOverflow(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.supplied(license.MaxQuantity)
		w.must(w.db.Exec("UPDATE prm_ledger_balances SET amount = ? WHERE owner = ? AND state = 'held'", int64(1<<63-1), a.ID).Error)
		w.must(w.db.Exec("UPDATE prm_ledger_balances SET amount = ? WHERE owner = 'issuer'", -int64(1<<63-1)).Error)
		w.faulty(second(w.seats.Grant(w.vendor, a.ID, "seat", 1)), "quantity:range")
		w.must(w.seats.Cap(w.vendor, one, "seat", license.MaxQuantity))
		w.assign(a.me, one, "seat", license.MaxQuantity)
		w.over(second(w.seats.Assign(a.me, one, "seat", license.MaxQuantity)), license.MaxQuantity, license.MaxQuantity)
		w.must(second(w.seats.Consume(a.me, one, "seat", license.MaxQuantity)))
		w.over(second(w.seats.Assign(a.me, one, "seat", 1)), license.MaxQuantity, license.MaxQuantity)
		w.stands(a.ID, "seat", license.Balance{Available: 1<<63 - 1 - license.MaxQuantity})
	})
}
