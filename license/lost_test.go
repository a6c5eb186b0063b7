package license_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY13_ALostAnswerNamesItsKey: callers give up at any moment of a shared commit. Who does not know what became of his move gets the
// key that tells him; of everybody else's the answer is true.
func TestBEY13_ALostAnswerNamesItsKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		w.grant(a.ID, "seat", 100_000)
		to := w.project(a.me, "one")
		w.assign(a.me, to, "seat", 1)
		var accepted, lost, given atomic.Int64
		for i, err := range together(32, func(i int) error {
			for n := range 12 {
				ctx, cancel := context.WithTimeout(a.me, time.Duration(i+n)*400*time.Microsecond)
				tr, err := w.seats.Assign(ctx, to, "seat", 1)
				cancel()
				switch {
				case err == nil:
					accepted.Add(1)
					continue
				case !errors.Is(err, partner.ErrOutcomeUnknown):
					if given.Add(1); tr.Key != "" || !errors.Is(err, partner.ErrUnavailable) {
						return err
					}
					continue
				case tr.Key == "":
					return errors.New("a lost answer without a key")
				}
				lost.Add(1)
				again, err := w.seats.Assign(a.me, to, "seat", 1, license.Key(tr.Key))
				if err != nil {
					return err
				}
				accepted.Add(1)
				if twice, err := w.seats.Assign(a.me, to, "seat", 1, license.Key(tr.Key)); err != nil || twice.ID != again.ID || !twice.Replayed {
					return errors.Join(err, errors.New("a repetition is another move"))
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		t.Logf("%d accepted, %d of them after a lost answer, %d given up before", accepted.Load(), lost.Load(), given.Load())
		w.has(to, "seat", 1+accepted.Load())
		if n := w.rows("SELECT count(*) FROM prm_events WHERE kind = 'license.assigned'"); n != 1+accepted.Load() {
			t.Errorf("%d events of %d moves", n, 1+accepted.Load())
		}
		w.sound()
	})
}
