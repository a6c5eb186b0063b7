package license_test

import (
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY18_AUnitThatComesBackTooLateEndsNoSeat: a correction puts a used unit back into a lot that has run out meanwhile. It runs out at once,
// and the seats stay that have their licences in a lot that is valid now and was not yet when the other one ended.
func TestBEY18_AUnitThatComesBackTooLateEndsNoSeat(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p, to := w.bare()
		begun := w.clock.Now()
		at := func(minutes int) time.Time { return begun.Add(time.Duration(minutes) * time.Minute) }
		w.grant(p.ID, "seat", 1, license.Valid(partner.Period{Until: at(10)}))
		w.assign(p.me, to, "seat", 1)
		used, err := w.seats.Consume(p.me, to, "seat", 1)
		w.must(err)
		w.grant(p.ID, "seat", 1, license.Valid(partner.Period{From: at(12), Until: at(60)}))
		w.clock.Advance(14 * time.Minute)
		w.step()
		w.assign(p.me, to, "seat", 1)
		_, err = w.seats.Seat(p.me, to, "seat", "ann")
		w.must(err)
		_, err = w.seats.Correct(w.vendor, used.ID)
		w.must(err)
		w.step()
		w.stands(to, "seat", license.Balance{Available: 1, Expired: 1})
		if got := w.sitting(to, "seat"); got != "ann" {
			t.Fatalf("sitting %q, want ann", got)
		}
		w.whole()
	})
}
