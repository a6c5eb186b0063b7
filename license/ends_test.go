package license_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// ending is a thing that callers use until somebody ends it.
type ending struct {
	name string
	use  func() error
	end  func() error
	// refusal is what a use answers after the end.
	refusal error
	// committed counts what uses have left behind.
	committed string
}

// race lets callers use each thing and then ends them all. Nothing is accepted that was called after an end had returned, and nothing
// that was decided before it is committed after it.
func (w *world) race(things []ending, callers int) {
	w.t.Helper()
	var h history
	h.begun = time.Now()
	accepted := make([]atomic.Int64, len(things))
	hot := make([]chan struct{}, len(things)) // closed when a thing has been used a good deal
	for i := range things {
		hot[i] = make(chan struct{})
	}
	errs := together(len(things)*(callers+1), func(i int) error {
		k, thing := i%len(things), things[i%len(things)]
		if i >= len(things)*callers {
			<-hot[k]
			return w.end(&h, i, k, thing)
		}
		for n := 0; n < 2000; n++ {
			var err error
			h.record(i, use{of: k}, func() any {
				if err = thing.use(); err == nil {
					if accepted[k].Add(1) == 30 {
						close(hot[k])
					}
					return "live"
				}
				return err.Error()
			})
			if errors.Is(err, thing.refusal) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		return errors.New("never ended")
	})
	for i, err := range errs {
		if err != nil {
			w.t.Errorf("%s, caller %d: %v", things[i%len(things)].name, i, err)
		}
	}
	t, _ := w.t.(*testing.T)
	h.linear(t, endModel)
	for k, thing := range things {
		if n := w.rows(thing.committed); n != accepted[k].Load() {
			w.t.Errorf("%s: %d uses left something behind, %d were accepted", thing.name, n, accepted[k].Load())
		}
	}
	w.sound()
}

// end ends a thing, and looks whether anything is committed later.
func (w *world) end(h *history, client, k int, thing ending) error {
	var err error
	h.record(client, use{of: k, end: true}, func() any {
		if err = thing.end(); err != nil {
			return err.Error()
		}
		return ""
	})
	if err != nil {
		return err
	}
	at := w.rows(thing.committed)
	for range 20 { // whoever is still on the way has ended by now
		if err := thing.use(); !errors.Is(err, thing.refusal) {
			return errors.New("used after its end")
		}
	}
	if n := w.rows(thing.committed); n != at {
		return errors.New("a use was committed after the end had returned")
	}
	return nil
}

func assigned(to partner.AccountID) string {
	return "SELECT count(*) FROM prm_events WHERE kind = 'license.assigned' AND account_id = '" + to.String() + "'"
}

func consumed(by partner.AccountID) string {
	return "SELECT count(*) FROM prm_events WHERE kind = 'license.consumed' AND actor = '" + by.String() + "'"
}

// TestBEY13_AnEndIsAnEnd: a block, a close, a suspension and a log-out, each in the middle of traffic that shares commits.
func TestBEY13_AnEndIsAnEnd(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		w.define("seat")
		var things []ending
		add := func(name string, refusal error, make func(s side, to partner.AccountID) (use, end func() error, committed string)) {
			s := w.partner("partner-" + name)
			w.grant(s.ID, "seat", 100_000)
			to := w.project(s.me, "project-"+name)
			use, end, committed := make(s, to)
			things = append(things, ending{name, use, end, refusal, committed})
		}
		assigning := func(me context.Context, to partner.AccountID) func() error {
			return func() error { _, err := w.seats.Assign(me, to, "seat", 1); return err }
		}
		add("block", partner.ErrBlocked, func(s side, to partner.AccountID) (use, end func() error, committed string) {
			return assigning(s.me, to), func() error { return w.reg.Partners.Block(w.vendor, s.ID, false) }, assigned(to)
		})
		add("close", partner.ErrBlocked, func(s side, to partner.AccountID) (use, end func() error, committed string) {
			return assigning(s.me, to), func() error { _, err := w.reg.Accounts.Close(s.me, to); return err }, assigned(to)
		})
		add("suspend", partner.ErrSuspended, func(s side, to partner.AccountID) (use, end func() error, committed string) {
			return assigning(s.me, to), func() error { return w.reg.Accounts.Suspend(w.vendor, to) }, assigned(to)
		})
		add("logout", partner.ErrForbidden, func(s side, to partner.AccountID) (use, end func() error, committed string) {
			return assigning(s.me, to), func() error { return w.reg.Access.Logout(s.me) }, assigned(to)
		})
		add("users", partner.ErrBlocked, func(s side, to partner.AccountID) (use, end func() error, committed string) {
			w.assign(s.me, to, "seat", 20_000)
			own := w.login("project-users")
			return func() error { _, err := w.seats.Consume(own, to, "seat", 1); return err },
				func() error { return w.reg.Partners.BlockUsers(w.vendor, s.ID, false) }, consumed(to)
		})
		w.race(things, 5)
	})
}

// TestCLW11_AMoveGoesFromWhereItsSessionWorks: when a switch has returned, no move from where the session worked before is on its way.
func TestCLW11_AMoveGoesFromWhereItsSessionWorks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(100_000)
		two := w.project(a.me, "two")
		w.assign(a.me, one, "seat", 20_000)
		w.assign(a.me, two, "seat", 1)
		from := func(owner string) int64 {
			return w.rows("SELECT count(*) FROM prm_ledger_transfers t JOIN prm_ledger_balances b ON b.id = t.from_id WHERE b.owner = ? AND t.verb = 'assign'", owner)
		}
		stop, hot := make(chan struct{}), make(chan struct{})
		var n atomic.Int64
		done := make(chan error)
		for range 6 {
			go func() {
				for {
					select {
					case <-stop:
						done <- nil
						return
					default:
					}
					if _, err := w.seats.Assign(a.me, two, "seat", 1); err != nil {
						done <- err
						return
					}
					if n.Add(1) == 20 {
						close(hot)
					}
				}
			}()
		}
		<-hot
		for range 6 {
			w.must(w.reg.Access.SwitchTo(a.me, one))
			before := from(a.ID.String())
			w.assign(a.me, two, "seat", 1, license.From(one))
			if late := from(a.ID.String()) - before; late != 0 {
				t.Errorf("%d moves from the pool after the switch", late)
			}
			w.must(w.reg.Access.SwitchBack(a.me))
			before = from(one.String())
			w.assign(a.me, two, "seat", 1, license.From(a.ID))
			if late := from(one.String()) - before; late != 0 {
				t.Errorf("%d moves from the project after the switch back", late)
			}
		}
		close(stop)
		for range 6 {
			w.must(<-done)
		}
		w.sound()
	})
}

// waits fails if there is an answer already.
func (w *world) waits(answer chan error, what string) {
	w.t.Helper()
	select {
	case err := <-answer:
		w.t.Errorf("%s did not wait: %v", what, err)
		answer <- err
	case <-time.After(200 * time.Millisecond):
	}
}

// TestPIL12_ABlockAboveStopsWhoHasJustMovedBelow: a call that waited while its organisation moved is in the new tree, and a cascading
// block there waits for it.
func TestPIL12_ABlockAboveStopsWhoHasJustMovedBelow(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres)) // SQLite has one writer
	above := w.partner("above")
	a, one := w.supplied(100)
	move := w.db.Begin()
	w.must(w.reg.In(move).Partners.MoveUnder(w.vendor, a.ID, above.ID))
	call := w.db.Begin()
	decided, blocked := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := license.New(w.reg.In(call)).Assign(a.me, one, "seat", 5)
		decided <- err
	}()
	w.waits(decided, "the call")
	w.must(move.Commit().Error)
	w.must(<-decided)
	go func() { blocked <- w.reg.Partners.Block(w.vendor, above.ID, true) }()
	w.waits(blocked, "the block")
	w.must(call.Commit().Error)
	w.must(<-blocked)
	_, err := w.seats.Assign(a.me, one, "seat", 1)
	w.is(err, partner.ErrBlocked)
	w.has(one, "seat", 5)
}

// TestCLW11_ASwitchWhileACallWaits: a call is held to the project it decides from, whenever the session has switched there.
func TestCLW11_ASwitchWhileACallWaits(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres)) // SQLite has one writer
	a, one := w.supplied(100)
	two := w.project(a.me, "two")
	w.assign(a.me, one, "seat", 10)
	suspension, call := w.db.Begin(), w.db.Begin()
	w.must(w.reg.In(suspension).Accounts.Suspend(w.vendor, two))
	decided, switched, suspended := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := license.New(w.reg.In(call)).Assign(a.me, two, "seat", 5)
		decided <- err
	}()
	w.waits(decided, "the call")
	go func() { switched <- w.reg.Access.SwitchTo(a.me, one) }()
	select { // it may wait for the call
	case err := <-switched:
		w.must(err)
		switched <- nil
	case <-time.After(200 * time.Millisecond):
	}
	w.must(suspension.Rollback().Error)
	w.must(<-decided)
	var left int64
	w.must(call.Raw("SELECT amount FROM prm_ledger_balances WHERE owner = ?", one).Scan(&left).Error)
	go func() { suspended <- w.reg.Accounts.Suspend(w.vendor, one) }()
	if left == 5 { // it went from the project: its suspension waits for that
		w.waits(suspended, "the suspension")
	}
	w.must(call.Commit().Error)
	w.must(<-switched)
	w.must(<-suspended)
	w.sound()
}

// TestCLW11_ASwitchWaitsForMovesInFlight, and so does a log-out.
func TestCLW11_ASwitchWaitsForMovesInFlight(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres)) // SQLite has one writer
	a, one := w.supplied(100)
	two := w.project(a.me, "two")
	w.assign(a.me, one, "seat", 10)
	for _, end := range []func() error{
		func() error { return w.reg.Access.SwitchTo(a.me, one) },
		func() error { return w.reg.Access.SwitchBack(a.me) },
		func() error { return w.reg.Access.Logout(a.me) },
	} {
		call := w.db.Begin()
		w.must(call.Error)
		_, err := license.New(w.reg.In(call)).Assign(a.me, two, "seat", 3)
		w.must(err)
		ended := make(chan error, 1)
		go func() { ended <- end() }()
		w.waits(ended, "the end")
		w.must(call.Commit().Error)
		w.must(<-ended)
	}
	w.has(two, "seat", 9)
	w.has(one, "seat", 7)
}
