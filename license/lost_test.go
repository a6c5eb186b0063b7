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

// learnt counts what callers who give up learn of their moves.
type learnt struct{ accepted, lost, given atomic.Int64 }

// givingUp has callers make calls that they give up at any moment, each with a step more time than the one before, and fails unless exactly
// the moves that were accepted have happened. A call moves units of the one pool to its project.
func (w *world) givingUp(callers, calls int, step time.Duration, call func(ctx, me context.Context, to partner.AccountID, c *learnt) error) {
	w.t.Helper()
	a, to := w.supplied(100_000)
	w.assign(a.me, to, "seat", 1)
	var c learnt
	for i, err := range together(callers, func(i int) error {
		for n := range calls {
			ctx, cancel := context.WithTimeout(a.me, time.Duration(i+n)*step)
			err := call(ctx, a.me, to, &c)
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			w.t.Errorf("caller %d: %v", i, err)
		}
	}
	w.t.Logf("%d accepted, %d answers lost, %d given up before", c.accepted.Load(), c.lost.Load(), c.given.Load())
	w.has(to, "seat", 1+c.accepted.Load())
	if n := w.rows("SELECT count(*) FROM prm_events WHERE kind = 'license.assigned'"); n != 1+c.accepted.Load() {
		w.t.Errorf("%d events of %d moves", n, 1+c.accepted.Load())
	}
	w.sound()
}

// TestBEY13_ALostAnswerNamesItsKey: callers give up at any moment of a shared commit. Who does not know what became of his move gets the
// key that tells him; of everybody else's the answer is true.
func TestBEY13_ALostAnswerNamesItsKey(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		w.givingUp(32, 12, 400*time.Microsecond, func(ctx, me context.Context, to partner.AccountID, c *learnt) error {
			tr, err := w.seats.Assign(ctx, to, "seat", 1)
			switch {
			case err == nil:
				c.accepted.Add(1)
				return nil
			case !errors.Is(err, partner.ErrOutcomeUnknown):
				if c.given.Add(1); tr.Key != "" || !errors.Is(err, partner.ErrUnavailable) {
					return err
				}
				return nil
			case tr.Key == "":
				return errors.New("a lost answer without a key")
			}
			c.lost.Add(1)
			again, err := w.seats.Assign(me, to, "seat", 1, license.Key(tr.Key))
			if err != nil {
				return err
			}
			c.accepted.Add(1)
			if twice, err := w.seats.Assign(me, to, "seat", 1, license.Key(tr.Key)); err != nil || twice.ID != again.ID || !twice.Replayed {
				return errors.Join(err, errors.New("a repetition is another move"))
			}
			return nil
		})
	})
}
