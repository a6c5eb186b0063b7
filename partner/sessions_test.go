package partner_test

import (
	"context"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

func (w *world) sessions(ctx context.Context, principal string) []partner.Session {
	w.t.Helper()
	page, err := w.reg.Access.Sessions(ctx, principal, partner.PageRequest{})
	w.must(err)
	return page.Items
}

// TestPIL32_SessionsAreListedAndEndedSingly: by their owner and by those who see to him, without their tokens, and only the live ones.
func TestPIL32_SessionsAreListedAndEndedSingly(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		u := w.addedUser(p.ID, "dev")
		old := w.login("dev")
		w.clock.Advance(11 * time.Hour)
		phone, desk := w.login("dev"), w.login("dev")
		me := w.login("acme")
		list := w.sessions(desk, "")
		if len(list) != 3 || list[0].Principal != string(u.ID) || list[0].Partner != p.ID || list[0].Token() != "" || !list[0].Created.After(list[2].Created) ||
			list[2].Expires.Sub(list[2].Created) != 30*24*time.Hour || list[0].LastUsed.Before(list[0].Created) {
			w.t.Fatalf("listed %+v", list)
		}
		for _, ctx := range []context.Context{me, w.vendor, desk} {
			if got := w.sessions(ctx, string(u.ID)); len(got) != 3 || got[0].ID != list[0].ID {
				w.t.Errorf("listed %+v", got)
			}
		}
		w.must(w.reg.Access.EndSession(desk, list[1].ID)) // the phone's
		wants(w.t, "the phone's next call", second(w.reg.Users.Get(phone, u.ID)), partner.ErrForbidden)
		w.must(second(w.reg.Users.Get(desk, u.ID)))
		wants(w.t, "ended twice", w.reg.Access.EndSession(desk, list[1].ID), partner.ErrNotFound)
		w.must(w.reg.Access.EndSession(me, list[2].ID))
		wants(w.t, "the old one's next call", second(w.reg.Users.Get(old, u.ID)), partner.ErrForbidden)
		if got := w.sessions(desk, ""); len(got) != 1 || got[0].ID != list[0].ID {
			w.t.Errorf("left are %+v", got)
		}
		w.must(w.reg.Access.EndSession(desk, list[0].ID))
		wants(w.t, "its own", second(w.reg.Access.Sessions(desk, "", partner.PageRequest{})), partner.ErrForbidden)
	})
}

// TestPIL32_DeadSessionsAreNotListed: run idle, run out, ended by a block, a password, a disabling.
func TestPIL32_DeadSessionsAreNotListed(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		u := w.addedUser(p.ID, "dev")
		a := w.project(me, "one")
		count := func(want int, what string) {
			w.t.Helper()
			if got := w.sessions(w.vendor, string(u.ID)); len(got) != want {
				w.t.Errorf("%s: %d sessions, want %d", what, len(got), want)
			}
		}
		w.login("dev")
		count(1, "one")
		w.clock.Advance(12*time.Hour + 2*time.Minute)
		count(0, "idle")
		w.login("dev")
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		count(0, "blocked")
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		count(0, "unblocked")
		w.login("dev")
		w.must(w.reg.Users.Disable(w.vendor, u.ID))
		count(0, "disabled")
		w.login("one")
		me = w.login("acme")
		if got := w.sessions(me, string(a.ID)); len(got) != 1 || got[0].Account != a.ID || got[0].Principal != string(a.ID) {
			w.t.Errorf("the project's are %+v", got)
		}
		w.must(w.reg.Access.EndSession(me, w.sessions(me, string(a.ID))[0].ID))
		w.login("one")
		w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, false))
		if got := w.sessions(w.vendor, string(a.ID)); len(got) != 0 {
			w.t.Errorf("the project's are %+v", got)
		}
	})
}

// TestPIL32_OthersSessionsAreNobodysBusiness.
func TestPIL32_OthersSessionsAreNobodysBusiness(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		u := w.addedUser(p.ID, "dev")
		dev, eve := w.login("dev"), w.user(p.ID, "eve")
		a := w.project(me, "one")
		own := w.sessions(dev, "")[0].ID
		_, stranger := w.partner("stranger")
		none := partner.PageRequest{}
		wants(w.t, "a colleague's look", second(w.reg.Access.Sessions(eve, string(u.ID), none)), partner.ErrForbidden)
		wants(w.t, "a colleague's end", w.reg.Access.EndSession(eve, own), partner.ErrForbidden)
		wants(w.t, "a stranger's look", second(w.reg.Access.Sessions(stranger, string(u.ID), none)), partner.ErrNotFound)
		wants(w.t, "a stranger's end", w.reg.Access.EndSession(stranger, own), partner.ErrNotFound)
		wants(w.t, "a stranger's look at a project", second(w.reg.Access.Sessions(stranger, string(a.ID), none)), partner.ErrNotFound)
		wants(w.t, "a session that is not there", w.reg.Access.EndSession(me, "ses_none"), partner.ErrNotFound)
		wants(w.t, "a member's look at a project", second(w.reg.Access.Sessions(eve, string(a.ID), none)), partner.ErrForbidden)
		wants(w.t, "the host's own", second(w.reg.Access.Sessions(w.vendor, "", none)), partner.ErrForbidden)
		w.must(second(w.reg.Users.Get(dev, u.ID)))
		staff := w.user(partner.Vendor, "help", func(u *partner.NewUser) { u.Role = partner.Support })
		if got := w.sessions(staff, ""); len(got) != 1 {
			w.t.Errorf("the vendor's user has %+v", got)
		}
		w.must(w.reg.Access.EndSession(staff, own))
		w.must(w.reg.Access.EndSession(staff, w.sessions(staff, "")[0].ID))
	})
}
