package license_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY13_AnEndedListHasDoneNothing: its context ended before, or while it waited for what somebody holds.
func TestBEY13_AnEndedListHasDoneNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(100)
		w.assign(a.me, one, "seat", 1)
		lines := []license.Move{{To: one, SKU: "seat", Quantity: 1}, {To: one, SKU: "seat", Quantity: 2, Key: "k"}}
		nothing := func(ctx context.Context) {
			t.Helper()
			for _, all := range []bool{false, true} {
				results, err := w.seats.AssignAll(ctx, lines, all)
				w.is(err, partner.ErrUnavailable)
				if errors.Is(err, partner.ErrOutcomeUnknown) || len(results) != 2 || results[0].Transfer.Key != "" || results[1].Transfer.Key != "" {
					t.Errorf("%v: %+v", err, results)
				}
			}
		}
		ended, cancel := context.WithCancel(a.me)
		cancel()
		nothing(ended)
		if w.db.Kind == dbtest.Postgres {
			tx := w.db.Begin()
			w.must(tx.Error)
			w.must(second(license.New(w.reg.In(tx)).Assign(a.me, one, "seat", 10)))
			soon, cancel := context.WithTimeout(a.me, 300*time.Millisecond)
			nothing(soon)
			cancel()
			w.must(tx.Rollback().Error)
		}
		w.has(one, "seat", 1)
		results, err := w.seats.AssignAll(a.me, lines, true)
		w.must(err)
		if results[0].Transfer.Replayed || results[1].Transfer.Replayed {
			t.Errorf("done before: %+v", results)
		}
		w.has(one, "seat", 4)
		w.whole()
	})
}

// TestBEY13_AListEndsWithItsLeader: callers with lists and singles give up while others go on; of those who go on everybody is answered, once.
func TestBEY13_AListEndsWithItsLeader(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.define("seat")
		var sides []side
		var to []partner.AccountID
		for i := range 2 {
			s := w.partner(fmt.Sprint("partner-", i))
			w.grant(s.ID, "seat", 10_000)
			sides, to = append(sides, s), append(to, w.project(s.me, fmt.Sprint("project-", i)))
			w.assign(s.me, to[i], "seat", 1)
		}
		var moved, unknown [2]atomic.Int64
		for i, err := range together(24, func(i int) error {
			p := i % 2
			for n := range 8 {
				ctx, cancel := sides[p].me, context.CancelFunc(func() {})
				if i%4 < 2 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i+n)*300*time.Microsecond)
				}
				lines := []license.Move{{To: to[p], SKU: "seat", Quantity: 1}, {To: to[p], SKU: "seat", Quantity: 1}, {To: to[p], SKU: "seat", Quantity: 1}}
				all := i%3 == 0
				if n%3 == 2 {
					lines[2].Quantity = 20_000
				}
				results, err := w.seats.AssignAll(ctx, lines, all)
				cancel()
				switch {
				case errors.Is(err, partner.ErrOutcomeUnknown) && i%4 < 2:
					unknown[p].Add(1)
				case errors.Is(err, partner.ErrUnavailable) && i%4 < 2, errors.Is(err, license.ErrInsufficient) && all && n%3 == 2:
				case err != nil:
					return err
				default:
					for _, r := range results {
						if r.Err == nil {
							moved[p].Add(1)
						}
					}
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		for p := range 2 {
			b, err := w.seats.Balance(w.vendor, to[p], "seat")
			w.must(err)
			if n := b.Available - 1 - moved[p].Load(); n < 0 || n > 3*unknown[p].Load() {
				t.Errorf("%d moves were answered, %d lists not, and %d are there", moved[p].Load(), unknown[p].Load(), b.Available-1)
			}
		}
		w.whole()
	})
}
