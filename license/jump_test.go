package license_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// jump sets the clock anywhere within five hours of its beginning: far enough to matter, not so far that a session runs idle.
func (c *clock) jump(from time.Time) {
	c.set(from.Add(rand.N(10*time.Hour) - 5*time.Hour))
}

func (c *clock) set(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = to
}

// Recorded time follows the order of the balances, whatever the clock does: histories grow, and every reading of them adds up.
func TestBEY14_RecordedTimeGrowsWhileTheClockJumps(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		noon, acme := w.clock.Now(), w.partner("acme")
		w.define("seat")
		w.grant(acme.ID, "seat", 1_000)
		projects := make([]partner.AccountID, 3)
		inside := []side{acme}
		for i := range projects {
			projects[i] = w.project(acme.me, fmt.Sprint("jumper-", i))
			w.assign(acme.me, projects[i], "seat", 200)
			s := side{acme.Partner, w.login("acme")}
			w.must(w.reg.Access.SwitchTo(s.me, projects[i]))
			inside = append(inside, s)
		}
		for i, err := range together(16, func(i int) error {
			var all []error
			for n := range 15 {
				w.clock.jump(noon)
				me, to := inside[i%4].me, (i+n)%3
				var err error
				if i%4 > 0 && (n%2 == 0 || to == i%4-1) {
					_, err = w.seats.Return(me, "seat", 1)
				} else {
					_, err = w.seats.Assign(me, projects[to], "seat", 1)
				}
				all = append(all, err)
			}
			return errors.Join(all...)
		}) {
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		for _, clock := range []time.Time{noon.Add(-5 * time.Hour), noon.Add(5 * time.Hour)} {
			w.clock.set(clock)
			for _, h := range []partner.Holder{acme.ID, projects[0], projects[1], projects[2]} {
				w.grows(h, "seat")
				w.addsUp(h, "seat")
			}
			w.sound()
		}
	})
}

// TestBEY15_AStatedPeriodStaysWhenAClockIsSetBack: what moves then is recorded after all that has been told.
func TestBEY15_AStatedPeriodStaysWhenAClockIsSetBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		acme, project := w.supplied(50)
		w.assign(acme.me, project, "seat", 5)
		w.clock.Advance(time.Hour)
		cut := w.clock.Now()
		w.clock.Advance(time.Hour)
		type told struct {
			closing int64
			lines   int
			held    int64
		}
		ask := func(h partner.Holder, until time.Time) (all told) {
			st, err := w.seats.Statement(w.vendor, h, "seat", partner.Period{Until: until})
			w.must(err)
			at, err := w.seats.HoldingsAt(w.vendor, h, cut, cut)
			w.must(err)
			for _, b := range at {
				all.held += b.Available
			}
			all.closing, all.lines = st.Closing, len(st.Lines)
			return all
		}
		until := map[partner.Holder]time.Time{acme.ID: cut, project: {}, w.project(acme.me, "two"): {}} // none: all there is, be it nothing
		now, before := w.clock.Now(), map[partner.Holder]told{}
		for h, end := range until {
			before[h] = ask(h, end)
		}
		w.clock.set(cut.Add(-30 * time.Minute))
		w.grant(acme.ID, "seat", 7)
		for h := range until {
			if to, is := h.(partner.AccountID); is {
				w.assign(acme.me, to, "seat", 3)
			}
		}
		for h, end := range until {
			if end.IsZero() {
				end = now
			}
			if after := ask(h, end); after != before[h] {
				t.Errorf("%v until %v: %+v was told, now %+v", h, end, before[h], after)
			}
		}
		w.sound()
	})
}

// history is all transfers of a holder, oldest first.
func (w *world) history(h partner.Holder, sku string) (list []license.Transfer) {
	w.t.Helper()
	for p := (partner.PageRequest{Limit: 100}); ; {
		page, err := w.seats.History(w.vendor, h, sku, p)
		w.must(err)
		for _, tr := range page.Items {
			list = append([]license.Transfer{tr}, list...)
		}
		if p.After = page.Next; p.After == "" {
			return list
		}
	}
}

// grows fails unless a holder's transfers are recorded in the order in which they changed its balance, no two at one instant.
func (w *world) grows(h partner.Holder, sku string) {
	w.t.Helper()
	var last license.Transfer
	for _, tr := range w.history(h, sku) {
		if !tr.Recorded.After(last.Recorded) {
			w.t.Errorf("%v: transfer %d is recorded %v, after %d at %v", h, tr.ID, tr.Recorded, last.ID, last.Recorded)
		}
		last = tr
	}
}

// addsUp fails unless statements of consecutive spans, holdings at each instant, and the balance tell one story. It is for units that only
// move.
func (w *world) addsUp(h partner.Holder, sku string) {
	w.t.Helper()
	all := w.history(h, sku)
	whole, err := w.seats.Statement(w.vendor, h, sku, partner.Period{})
	w.must(err)
	b, err := w.seats.Balance(w.vendor, h, sku)
	w.must(err)
	if len(whole.Lines) != len(all) || whole.Opening != 0 || whole.Closing != b.Available {
		w.t.Errorf("%v: a statement from %d to %d of %d lines; history has %d, the balance is %d", h, whole.Opening, whole.Closing, len(whole.Lines),
			len(all), b.Available)
	}
	var from time.Time
	opening, lines := int64(0), 0
	for i := 0; i < len(whole.Lines); i += 1 + rand.IntN(1+len(whole.Lines)/4) {
		line := whole.Lines[i]
		part, err := w.seats.Statement(w.vendor, h, sku, partner.Period{From: from, Until: line.Transfer.Recorded})
		w.must(err)
		if lines += len(part.Lines); part.Opening != opening || lines != i {
			w.t.Errorf("%v until %v: opening %d, want %d; %d lines so far, want %d", h, line.Transfer.Recorded, part.Opening, opening, lines, i)
		}
		from, opening = line.Transfer.Recorded, part.Closing
		if after := sideOf(line.Transfer, h); after != line.Running {
			w.t.Errorf("%v after transfer %d: the statement says %d, the transfer %d", h, line.Transfer.ID, line.Running, after)
		}
		at, err := w.seats.HoldingsAt(w.vendor, h, line.Transfer.Recorded, line.Transfer.Recorded)
		w.must(err)
		held := int64(0)
		for _, b := range at {
			held += b.Available
		}
		if held != line.Running {
			w.t.Errorf("%v at %v: held %d, the statement says %d", h, line.Transfer.Recorded, held, line.Running)
		}
	}
}

// sideOf is what a transfer says that a holder had after it.
func sideOf(tr license.Transfer, h partner.Holder) int64 {
	if tr.From == h {
		return tr.FromAfter
	}
	return tr.ToAfter
}

// A reservation has one outcome while the clock jumps past its end and back under sixteen callers, and what is set apart is what open
// reservations have.
func TestBEY17_OneOutcomeWhileTheClockJumps(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		noon, acme := w.clock.Now(), w.partner("acme")
		project := w.project(acme.me, "jumper")
		w.define("seat")
		w.grant(acme.ID, "seat", 1_000)
		w.assign(acme.me, project, "seat", 1_000)
		outcome := make([]map[string]error, 16)
		for i, err := range together(16, func(i int) error {
			outcome[i] = map[string]error{}
			for n := range 5 {
				w.clock.jump(noon)
				r, err := w.seats.Reserve(acme.me, project, "seat", 1, 2*time.Hour, license.Key(fmt.Sprint("r", i, ".", n)))
				if err != nil {
					return err
				}
				w.clock.jump(noon)
				_, err = w.seats.Post(acme.me, r.ID, license.Key(fmt.Sprint("p", i, ".", n)))
				outcome[i][r.ID] = err
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		posted := int64(0)
		for _, list := range outcome {
			for id, err := range list {
				if err == nil {
					posted++
				} else if !errors.Is(err, license.ErrReservationDone) {
					t.Errorf("reservation %s: %v", id, err)
				}
			}
		}
		w.clock.set(noon.Add(8 * time.Hour)) // past all of them
		w.settleAll()
		for _, clock := range []time.Time{noon.Add(8 * time.Hour), noon.Add(-5 * time.Hour)} {
			w.clock.set(clock)
			b, err := w.seats.Balance(w.vendor, project, "seat")
			w.must(err)
			if b.Consumed != posted || b.Reserved != 0 || b.Available != 1_000-posted {
				t.Errorf("at %v: %+v, want %d used and the rest free", clock, b, posted)
			}
			for _, list := range outcome {
				for id, err := range list {
					if _, again := w.seats.Post(acme.me, id); !errors.Is(again, license.ErrReservationDone) {
						t.Errorf("reservation %s: %v, then posting it again: %v", id, err, again)
					}
				}
			}
		}
		w.grows(project, "seat")
		w.sound()
	})
}

// settleAll writes down all that time has done.
func (w *world) settleAll() {
	w.t.Helper()
	for more := true; more; {
		var err error
		more, err = w.seats.Step(context.Background())
		w.must(err)
	}
}

// Lots and reservations count by the clock, when it jumps forward and back as well; what has been written down stays.
func TestBEY16_LotsFollowAClockThatJumps(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		noon, acme := w.clock.Now(), w.partner("acme")
		project := w.project(acme.me, "jumper")
		w.define("seat")
		w.grant(acme.ID, "seat", 10, license.Valid(partner.Period{From: noon.Add(-time.Hour), Until: noon.Add(2 * time.Hour)}))
		w.assign(acme.me, project, "seat", 4)
		w.clock.set(noon.Add(3 * time.Hour))
		_, err := w.seats.Assign(acme.me, project, "seat", 1)
		w.is(err, license.ErrExpired)
		w.has(acme.ID, "seat", 0)
		w.clock.set(noon.Add(-2 * time.Hour)) // before it is valid
		_, err = w.seats.Assign(acme.me, project, "seat", 1)
		w.is(err, license.ErrInsufficient)
		w.clock.set(noon.Add(time.Hour))
		w.has(acme.ID, "seat", 6)
		w.assign(acme.me, project, "seat", 1)
		w.clock.set(noon.Add(3 * time.Hour))
		w.settleAll()
		w.clock.set(noon)
		for h, n := range map[partner.Holder]int64{acme.ID: 5, project: 5} {
			b, err := w.seats.Balance(w.vendor, h, "seat")
			w.must(err)
			if b.Available != 0 || b.Expired != n {
				t.Errorf("%v: %+v, want %d expired for good", h, b, n)
			}
		}
		w.sound()
	})
}
