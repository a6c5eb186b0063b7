package partner_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY10_WhatEndsADelegatedSession: at its next call, and lifting what ended it does not bring it back.
func TestBEY10_WhatEndsADelegatedSession(t *testing.T) {
	each(t, func(w *world) {
		top, boss := w.partner("top", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		p, me := w.partner("acme", under(top.ID))
		a := w.his(me, "one")
		u := w.addedUser(p.ID, "dev")
		staff := w.user(partner.Vendor, "help", func(u *partner.NewUser) { u.Role = partner.Support })
		scoped := func(list []partner.AccountID) {
			now, err := w.reg.Users.Get(me, u.ID)
			w.must(err)
			w.must(second(w.reg.Users.Edit(me, u.ID, now.Version, func(n *partner.NewUser) { n.Scope.Accounts = list })))
		}
		var d partner.Delegation
		var in context.Context
		for _, c := range []struct {
			what      string
			end, mend func() error
			want      error
			back      bool // it goes on once that is mended
		}{
			{"the customer revokes it", func() error { return w.reg.Access.Revoke(customers(), d.ID) }, nil, partner.ErrGrantExpired, false},
			{"an admin revokes it", func() error { return w.reg.Access.Revoke(me, d.ID) }, nil, partner.ErrGrantExpired, false},
			{"an admin above revokes it", func() error { return w.reg.Access.Revoke(boss, d.ID) }, nil, partner.ErrGrantExpired, false},
			{"he gives it back", func() error { return w.reg.Access.Revoke(w.login("dev"), d.ID) }, nil, partner.ErrGrantExpired, false},
			{"the vendor's support revokes it", func() error { return w.reg.Access.Revoke(staff, d.ID) }, nil, partner.ErrGrantExpired, false},
			{"he is disabled", func() error { return w.reg.Users.Disable(me, u.ID) }, func() error { return w.reg.Users.Enable(me, u.ID) }, partner.ErrForbidden, false},
			{"he is logged out everywhere", func() error { return w.reg.Access.LogoutAll(me, u.ID) }, nil, partner.ErrForbidden, false},
			{"it logs out", func() error { return w.reg.Access.Logout(in) }, nil, partner.ErrForbidden, false},
			{"the project ends it", func() error { return w.reg.Access.EndSession(w.login("one"), w.sessionIn(a.ID)) }, nil, partner.ErrForbidden, false},
			{"an admin ends it", func() error { return w.reg.Access.EndSession(me, w.sessionIn(a.ID)) }, nil, partner.ErrForbidden, false},
			{"he ends it", func() error { return w.reg.Access.EndSession(w.login("dev"), w.sessionIn(a.ID)) }, nil, partner.ErrForbidden, false},
			{"it ends itself", func() error { return w.reg.Access.EndSession(in, w.sessionIn(a.ID)) }, nil, partner.ErrForbidden, false},
			{"his organisation is blocked", func() error { return w.reg.Partners.Block(w.vendor, p.ID, false) }, func() error { return w.reg.Partners.Unblock(w.vendor, p.ID) }, partner.ErrBlocked, false},
			{"its users are blocked", func() error { return w.reg.Partners.BlockUsers(w.vendor, p.ID, false) }, func() error { return w.reg.Partners.UnblockUsers(w.vendor, p.ID) }, partner.ErrBlocked, false},
			{"he does not see the project any more", func() error { scoped([]partner.AccountID{}); return nil }, func() error { scoped(nil); return nil }, partner.ErrForbidden, true},
			{"his organisation is archived", func() error { return w.reg.Partners.Archive(w.vendor, p.ID) }, func() error { return w.reg.Partners.Restore(w.vendor, p.ID) }, partner.ErrBlocked, false},
			{"the project is suspended", func() error { return w.reg.Accounts.Suspend(w.vendor, a.ID) }, func() error { return w.reg.Accounts.Resume(w.vendor, a.ID) }, nil, true},
			{"the project closes", func() error { return second(w.reg.Accounts.Close(me, a.ID)) }, nil, partner.ErrBlocked, false},
		} {
			w.clock.Advance(time.Hour) // five requests an hour are too few for this
			me, boss = w.login("acme"), w.login("top")
			d = w.delegated(w.login("dev"), a.ID, 10*dayLong)
			in = w.guest(w.login("dev"), d.ID)
			w.must(second(w.reg.Accounts.Get(in, a.ID)))
			w.must(c.end())
			err := second(w.reg.Accounts.Get(in, a.ID))
			if c.want == nil {
				w.must(err)
			} else {
				wants(w.t, c.what, err, c.want)
			}
			if c.mend == nil {
				continue
			}
			me = w.loginUnlessBlocked("acme", me)
			w.must(c.mend())
			if err := second(w.reg.Accounts.Get(in, a.ID)); c.back != (err == nil) || err != nil && !errors.Is(err, partner.ErrForbidden) {
				w.t.Errorf("%s, and back: %v", c.what, err)
			}
		}
	})
}

// loginUnlessBlocked logs in again, where what is mended needs it.
func (w *world) loginUnlessBlocked(login string, before context.Context) context.Context {
	s, err := w.reg.Access.Login(context.Background(), login, password, "")
	if err != nil {
		return before
	}
	return partner.WithSession(context.Background(), s)
}

// sessionIn is the newest delegated session in a project, as the vendor sees it.
func (w *world) sessionIn(a partner.AccountID) string {
	w.t.Helper()
	for _, s := range w.sessions(w.vendor, string(a)) {
		if s.Actor != s.Principal {
			return s.ID
		}
	}
	w.t.Fatal("there is no delegated session")
	return ""
}

// TestBEY10_RequestsLapse: after 90 days, even where no worker says so; another one is free then.
func TestBEY10_RequestsLapse(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.his(me, "one")
		old, err := w.reg.Access.RequestDelegation(me, w.leave(a.ID, 200*dayLong))
		w.must(err)
		w.clock.Advance(90 * dayLong)
		wants(w.t, "a decision too late", w.reg.Access.Decide(customers(), old.ID, true), partner.ErrBadTransition)
		if states := w.states(customers(), ""); states != "lapsed" {
			w.t.Errorf("it is %s", states)
		}
		me = w.login("acme")
		fresh, err := w.reg.Access.RequestDelegation(me, w.leave(a.ID, 200*dayLong))
		w.must(err)
		w.must(w.reg.Access.Decide(customers(), fresh.ID, true))
		if states := w.states(customers(), a.ID); states != "approved lapsed" {
			w.t.Errorf("they are %s", states)
		}
		gone := w.addedUser(w.home(me), "gone")
		d, err := w.reg.Access.RequestDelegation(w.login("gone"), w.leave(a.ID, dayLong))
		w.must(err)
		w.must(w.reg.Users.Remove(me, gone.ID))
		wants(w.t, "one whose user has left", w.reg.Access.Decide(customers(), d.ID, true), partner.ErrBadTransition)
	})
}

// home is the organisation of a session.
func (w *world) home(ctx context.Context) partner.ID {
	w.t.Helper()
	list := w.sessions(ctx, "")
	return list[0].Partner
}

// TestBEY10_BelowWhatIsManaged: an admin of an organisation that manages another is let into its projects, as long as it does.
func TestBEY10_BelowWhatIsManaged(t *testing.T) {
	each(t, func(w *world) {
		top, _ := w.partner("top", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		below, sub := w.partner("below", under(top.ID))
		a := w.his(sub, "one")
		boss := w.login("top")
		d := w.delegated(boss, a.ID, 30*dayLong)
		in := w.guest(boss, d.ID)
		w.must(second(w.reg.Accounts.Get(in, a.ID)))
		if s := w.sessions(sub, string(a.ID)); len(s) != 1 || s[0].Partner != top.ID || s[0].Account != a.ID {
			w.t.Errorf("the project's own admin sees %+v", s)
		}
		if s := w.sessions(boss, ""); len(s) != 3 { // the first was w.partner's
			w.t.Errorf("he sees %+v", s)
		}
		member := w.leave(a.ID, dayLong)
		member.User = w.addedUser(top.ID, "member").ID
		wants(w.t, "a member, who does not manage", second(w.reg.Access.RequestDelegation(boss, member)), partner.ErrForbidden)
		w.must(w.reg.Access.EndSession(sub, w.sessionIn(a.ID)))
		wants(w.t, "ended from below", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrForbidden)

		in = w.guest(boss, d.ID)
		got, err := w.reg.Partners.Get(w.vendor, top.ID)
		w.must(err)
		w.edit(got, func(a *partner.Agreement) { a.ManagesSubPartners = false })
		wants(w.t, "when it manages no more", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrForbidden)
		wants(w.t, "another one", second(w.reg.Access.ActFor(boss, d.ID)), partner.ErrNotFound)
		got, err = w.reg.Partners.Get(w.vendor, top.ID)
		w.must(err)
		w.edit(got, func(a *partner.Agreement) { a.ManagesSubPartners = true })
		w.must(second(w.reg.Accounts.Get(in, a.ID)))
		w.must(w.reg.Partners.Block(w.vendor, top.ID, false))
		wants(w.t, "his organisation blocked", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrBlocked)
		w.must(w.reg.Partners.Unblock(w.vendor, top.ID))
		in = w.guest(w.login("top"), d.ID)
		w.must(w.reg.Partners.BlockUsers(w.vendor, below.ID, false))
		wants(w.t, "the users of the project's blocked", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrBlocked)
		w.must(w.reg.Partners.UnblockUsers(w.vendor, below.ID))
		wants(w.t, "and back", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrForbidden)
		if s := w.sessions(w.vendor, string(a.ID)); len(s) != 0 {
			w.t.Errorf("still listed: %+v", s)
		}
		in = w.guest(w.login("top"), d.ID)
		w.must(w.reg.Partners.MoveUnder(w.vendor, below.ID, ""))
		wants(w.t, "when it stands elsewhere", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrForbidden)
	})
}

// TestBEY10_RevokeUnderCalls: once Revoke has returned, nobody who was let in by that delegation is answered, however many enter meanwhile.
func TestBEY10_RevokeUnderCalls(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.his(me, "one")
		for range 8 {
			w.clock.Advance(15 * time.Minute)
			d := w.delegated(me, a.ID, dayLong)
			var revoked atomic.Bool
			var late atomic.Int64
			var all sync.WaitGroup
			answered := make(chan struct{}, 1<<12)
			for range 6 {
				all.Go(func() {
					for after := 0; after < 3; {
						over := revoked.Load()
						s, err := w.reg.Access.ActFor(me, d.ID)
						if err == nil {
							_, err = w.reg.Accounts.Get(partner.WithSession(context.Background(), s), a.ID)
						}
						switch {
						case over && err == nil:
							late.Add(1)
						case err == nil:
							select {
							case answered <- struct{}{}:
							default:
							}
						}
						if over {
							after++
						}
					}
				})
			}
			for range 5 {
				<-answered
			}
			err := w.reg.Access.Revoke(customers(), d.ID)
			revoked.Store(true)
			all.Wait()
			w.must(err)
			if n := late.Load(); n > 0 {
				w.t.Fatalf("%d were answered after it had been revoked", n)
			}
			if s := w.sessions(w.vendor, string(a.ID)); len(s) != 0 {
				w.t.Fatalf("left behind: %+v", s)
			}
		}
	})
}

// TestBEY10_TwoDecideAtOnce: one does.
func TestBEY10_TwoDecideAtOnce(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.his(me, "one")
		for range 10 {
			w.clock.Advance(15 * time.Minute)
			d, err := w.reg.Access.RequestDelegation(me, w.leave(a.ID, dayLong))
			w.must(err)
			done := 0
			for _, err := range w.atOnce(6, func(i int) error {
				if i%3 == 2 {
					return w.reg.Access.Revoke(me, d.ID)
				}
				return w.reg.Access.Decide(customers(), d.ID, i%3 == 0)
			}) {
				if err == nil {
					done++
				} else if !errors.Is(err, partner.ErrBadTransition) {
					w.t.Fatal(err)
				}
			}
			state := w.found(me, d.ID).State
			if done < 1 || done > 2 || done == 2 && state != "revoked" {
				w.t.Errorf("%d have decided, and it is %s", done, state)
			}
			if state == "approved" {
				w.must(w.reg.Access.Revoke(me, d.ID))
			}
		}
	})
}

// TestBEY10_AnOpenProjectAsksOnce: of many requests for one user at a time, one is made.
func TestBEY10_AnOpenProjectAsksOnce(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.his(me, "one")
		made := 0
		for _, err := range w.atOnce(12, func(int) error { return second(w.reg.Access.RequestDelegation(me, w.leave(a.ID, dayLong))) }) {
			if err == nil {
				made++
			} else if !errors.Is(err, partner.ErrExists) {
				w.t.Fatal(err)
			}
		}
		if made != 1 || w.states(me, a.ID) != "requested" {
			w.t.Errorf("%d were made, they are %s", made, w.states(me, a.ID))
		}
	})
}

// customer is the one of a side.
func (i *isolation) customer(s *isoSide) string { return "cus_of_" + string(s.id) }

// delegations lets a member into a project of his own organisation: it is that project's, its customer's and nobody else's.
func (i *isolation) delegations(me, other *isoSide) {
	mine, theirs := partner.AsCustomer(context.Background(), i.customer(me), "x"), partner.AsCustomer(context.Background(), i.customer(other), "x")
	p, foreign := i.live(me), i.some(other)
	i.notFound("RequestDelegation", second(i.reg.Access.RequestDelegation(me.member, i.leave(foreign.id, dayLong))))
	i.notFound("Delegations", second(i.reg.Access.Delegations(me.admin, foreign.id, partner.PageRequest{})))
	i.notFound("Delegations of a customer", second(i.reg.Access.Delegations(mine, foreign.id, partner.PageRequest{})))
	stranger := i.leave(p.id, dayLong)
	stranger.User = other.staff
	i.notFound("RequestDelegation for another's user", second(i.reg.Access.RequestDelegation(me.admin, stranger)))
	d, err := i.reg.Access.RequestDelegation(me.member, i.leave(p.id, dayLong))
	if errors.Is(err, partner.ErrUnavailable) { // five an hour
		return
	}
	i.must(err)
	i.notFound("Decide", i.reg.Access.Decide(theirs, d.ID, true))
	i.notFound("Revoke by a stranger", i.reg.Access.Revoke(other.admin, d.ID))
	i.must(i.reg.Access.Decide(mine, d.ID, true))
	i.notFound("ActFor", second(i.reg.Access.ActFor(other.member, d.ID)))
	i.notFound("ActFor of another's", second(i.reg.Access.ActFor(me.admin, d.ID)))
	in := i.guest(me.member, d.ID)
	if got := i.available(in, p.id, "seat"); got != p.held {
		i.t.Fatalf("a guest sees %d, want %d", got, p.held)
	}
	if list := i.accounts(in); len(list) != 1 || list[0] != p.id {
		i.t.Fatalf("a guest lists %v", list)
	}
	for _, id := range []partner.AccountID{foreign.id, i.live(me).id} {
		if id != p.id {
			i.notFound("Get by a guest", second(i.reg.Accounts.Get(in, id)))
			i.notFound("Balance by a guest", second(i.seats.Balance(in, id, "seat")))
		}
	}
	i.notFound("the pool by a guest", second(i.seats.Balance(in, me.id, "seat")))
	i.notFound("EndSession", i.reg.Access.EndSession(other.admin, i.sessions(in, "")[0].ID))
	for _, ctx := range []context.Context{me.admin, me.member, mine} {
		page, err := i.reg.Access.Delegations(ctx, "", partner.PageRequest{Limit: 20})
		i.must(err)
		for _, d := range page.Items {
			if d.Customer != i.customer(me) || d.User != me.staff {
				i.t.Fatalf("lists %+v", d)
			}
		}
	}
	i.must(i.reg.Access.Revoke(mine, d.ID))
	if err := second(i.reg.Accounts.Get(in, p.id)); !errors.Is(err, partner.ErrForbidden) {
		i.t.Fatalf("a guest whose leave was revoked: %v", err)
	}
}

// TestBEY10_ItGoesWithTheSessionThatOpenedIt, and lasts no longer.
func TestBEY10_ItGoesWithTheSessionThatOpenedIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db, func(o *partner.Options) {
			o.Session = partner.SessionLimits{Absolute: 2 * time.Hour, ActAs: 48 * time.Hour}
		})
		_, me := w.partner("acme")
		a := w.his(me, "one")
		d := w.delegated(me, a.ID, dayLong)
		desk, phone := w.login("acme"), w.login("acme")
		atDesk, onPhone := w.guest(desk, d.ID), w.guest(phone, d.ID)
		w.must(w.reg.Access.Logout(desk))
		wants(w.t, "opened at the desk", second(w.reg.Accounts.Get(atDesk, a.ID)), partner.ErrForbidden)
		w.must(second(w.reg.Accounts.Get(onPhone, a.ID)))
		list := w.sessions(me, "")
		w.must(w.reg.Access.EndSession(me, list[1].ID)) // the phone's
		wants(w.t, "opened on the phone", second(w.reg.Accounts.Get(onPhone, a.ID)), partner.ErrForbidden)
		in := w.guest(me, d.ID)
		w.clock.Advance(2 * time.Hour)
		wants(w.t, "when the session is over", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrForbidden)
	})
}

// TestBEY10_TheProjectSeesWhoIsIn: its log-in sees and ends delegated sessions, and its own.
func TestBEY10_TheProjectSeesWhoIsIn(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.his(me, "one")
		in := w.guest(me, w.delegated(me, a.ID, dayLong).ID)
		one := w.login("one")
		list := w.sessions(one, string(a.ID))
		if len(list) != 2 || list[0].Actor != string(a.ID) || list[1].Actor == string(a.ID) || list[1].Principal != string(a.ID) {
			w.t.Fatalf("it sees %+v", list)
		}
		w.must(w.reg.Access.EndSession(one, list[1].ID))
		wants(w.t, "ended", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrForbidden)
	})
}

// TestBEY10_WhoLeavesLeavesAllProjects: a user who is removed, and an organisation at its end; what was over before stays as it was.
func TestBEY10_WhoLeavesLeavesAllProjects(t *testing.T) {
	each(t, func(w *world) {
		top, boss := w.partner("top", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		p, me := w.partner("acme", under(top.ID))
		a, b := w.his(me, "one"), w.his(me, "two")
		u := w.addedUser(p.ID, "dev")
		dev := w.login("dev")
		over := w.delegated(dev, a.ID, time.Hour)
		w.clock.Advance(2 * time.Hour)
		live := w.delegated(dev, a.ID, dayLong)
		asked, err := w.reg.Access.RequestDelegation(dev, w.leave(b.ID, dayLong))
		w.must(err)
		w.must(w.reg.Users.Remove(me, u.ID))
		if got := w.states(customers(), a.ID); got != "revoked expired" {
			w.t.Errorf("they are %s", got)
		}
		page, err := w.reg.Activity.List(w.vendor, partner.EventFilter{}, partner.PageRequest{})
		w.must(err)
		told := map[string]bool{}
		for _, e := range page.Items {
			if e.Kind == "delegation.revoked" && e.Actor == string(p.Contact) {
				told[e.Target] = true
			}
		}
		if !told[live.ID] || !told[asked.ID] || told[over.ID] {
			w.t.Errorf("told of %v", told)
		}
		above := w.delegated(boss, b.ID, dayLong)
		own := w.delegated(me, b.ID, dayLong)
		w.must(w.reg.Partners.Archive(w.vendor, p.ID))
		w.must(w.reg.Partners.Tombstone(w.vendor, p.ID))
		for _, d := range []partner.Delegation{above, own} {
			if got := w.found(customers(), d.ID).State; got != "revoked" {
				w.t.Errorf("at its end it is %s", got)
			}
		}
	})
}

// TestBEY10_HeGivesBackWhatHeDoesNotSee: a delegation is its user's to see and to give back.
func TestBEY10_HeGivesBackWhatHeDoesNotSee(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.his(me, "one")
		u := w.addedUser(p.ID, "dev")
		dev := w.login("dev")
		d := w.delegated(dev, a.ID, dayLong)
		w.must(second(w.reg.Users.Edit(me, u.ID, u.Version, func(n *partner.NewUser) { n.Scope.Accounts = []partner.AccountID{} })))
		wants(w.t, "entering", second(w.reg.Access.ActFor(dev, d.ID)), partner.ErrNotFound)
		if got := w.found(dev, d.ID).State; got != "approved" {
			w.t.Errorf("he sees it %s", got)
		}
		w.must(w.reg.Access.Revoke(dev, d.ID))
		if got := w.found(dev, d.ID).State; got != "revoked" {
			w.t.Errorf("given back it is %s", got)
		}
		page, err := w.reg.Activity.List(w.vendor, partner.EventFilter{Account: a.ID}, partner.PageRequest{Limit: 1})
		w.must(err)
		if e := page.Items[0]; e.Kind != "delegation.revoked" || e.Actor != string(u.ID) || e.Partner != p.ID {
			w.t.Errorf("the project's activity says %+v", e)
		}
	})
}

// TestBEY10_ARequestForOneWhoHasGone: a host's transaction that reads from before his removal does not commit it.
func TestBEY10_ARequestForOneWhoHasGone(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.his(me, "one")
		u := w.addedUser(p.ID, "dev")
		d := w.leave(a.ID, dayLong)
		d.User = u.ID
		if w.db.Kind != dbtest.Postgres {
			w.must(w.reg.Users.Remove(me, u.ID))
			wants(w.t, "afterwards", second(w.reg.Access.RequestDelegation(me, d)), partner.ErrNotFound)
			return
		}
		tx := w.db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		w.must(tx.Exec("SELECT 1").Error)
		w.must(w.reg.Users.Remove(me, u.ID))
		err := second(w.reg.In(tx).Access.RequestDelegation(me, d))
		tx.Rollback()
		wants(w.t, "from before", err, partner.ErrConflict)
	})
}
