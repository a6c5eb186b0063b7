package partner_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// TestPLX22_AMemberAccepts: the invitation says to what; whoever has no log-in yet chooses a password, and logs in by the address from then on.
func TestPLX22_AMemberAccepts(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		a := w.account(me, "standard", "Everyday")
		in := newMember(partner.Employee, "dev")
		in.Roles, in.Locale = []string{"sales"}, "de"
		m := w.member(me, a.ID, in)
		if m.State != "invited" || m.Until.IsZero() || m.Token != "" || m.AccountName != "Everyday" {
			w.t.Errorf("invited %+v", m)
		}
		wants(w.t, "a log-in before", second(w.reg.Access.Login(w.t.Context(), in.Email, password, "")), partner.ErrBadCredentials)
		token := w.token(box, "invitation", in.Email)
		if l := box.last(w.t, "invitation", in.Email); l.Locale != "de" || l.Data["account"] != "Everyday" || l.Data["partner"] != p.Name {
			w.t.Errorf("the letter is %+v", l.Data)
		}
		page, err := w.reg.Access.Invited(w.t.Context(), token)
		w.must(err)
		if page.Purpose != "member" || page.Member != m.ID || page.Account != a.ID || page.AccountName != "Everyday" || page.PartnerName != p.Name ||
			page.Kind != partner.Employee || page.Email != in.Email || page.Known || page.Until.IsZero() {
			w.t.Errorf("the page shows %+v", page)
		}
		wantsFields(w.t, "without a password", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Name: "a\nb"})), "name:format", "password:required")
		wantsFields(w.t, "a weak one", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "password"})), "password:weak")
		s, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Name: "Devi Rao", Password: password})
		w.must(err)
		if s.Principal != string(m.ID) || s.Actor != s.Principal || s.Account != a.ID || s.Partner != p.ID || len(s.Roles) != 1 || s.Roles[0] != "sales" {
			w.t.Errorf("the session is %+v", s)
		}
		wants(w.t, "the token again", second(w.accept(token)), partner.ErrTokenUsed)
		wants(w.t, "another invitation of one who is there", second(w.reg.Accounts.ReinviteMember(me, m.ID)), partner.ErrBadTransition)
		again, err := w.reg.Access.Login(w.t.Context(), "DEV@member.example", password, "")
		if w.must(err); again.Principal != string(m.ID) || again.Account != a.ID {
			w.t.Errorf("logged in as %+v", again)
		}
		as := partner.WithSession(w.t.Context(), again)
		got, err := w.reg.Accounts.Get(as, a.ID)
		if w.must(err); got.Name != "Everyday" {
			w.t.Errorf("he sees %+v", got)
		}
		now, err := w.reg.Accounts.Member(me, m.ID)
		if w.must(err); now.State != "active" || now.Name != "Devi Rao" || !now.Until.IsZero() {
			w.t.Errorf("joined %+v", now)
		}
		w.must(w.reg.Access.ChangePassword(as, password, "another long secret"))
		wants(w.t, "the old password", second(w.reg.Access.Login(w.t.Context(), in.Email, password, "")), partner.ErrBadCredentials)
		w.countsAdd()
	})
}

// TestPLX22_ParallelAcceptsOfAMember: one wins.
func TestPLX22_ParallelAcceptsOfAMember(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.account(me, "standard", "Everyday")
		m := w.member(me, a.ID, newMember(partner.Employee, "dev"))
		token := w.token(box, "invitation", m.Email)
		won := 0
		for _, err := range w.atOnce(8, func(int) error { return second(w.accept(token)) }) {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, partner.ErrTokenUsed) && !errors.Is(err, partner.ErrConflict):
				w.t.Errorf("lost with %v", err)
			}
		}
		if won != 1 || w.state(me, m.ID) != "active" {
			w.t.Errorf("%d won", won)
		}
	})
}

// TestPLX22_WhatStopsAMember: whatever the invitation rested on is looked at again, and the token stays good.
func TestPLX22_WhatStopsAMember(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me, shop := w.workshop("acme")
		beta, _ := w.partner("beta")
		c := w.certify(beta.ID, "builder", partner.Period{})
		m := w.member(me, shop.ID, partner.NewMember{Kind: partner.Collaborator, Email: "beta@partner.example"})
		token := w.token(box, "invitation", "beta@partner.example")
		refused := func(what string, want error) {
			w.t.Helper()
			wants(w.t, what, second(w.accept(token)), want)
		}
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		refused("his inviter's partner is blocked", partner.ErrForbidden)
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, false))
		refused("users of the account are blocked", partner.ErrBlocked)
		w.must(w.reg.Partners.UnblockUsers(w.vendor, p.ID))
		w.must(w.reg.Partners.Block(w.vendor, beta.ID, false))
		refused("his own partner is blocked", partner.ErrBlocked)
		w.must(w.reg.Partners.Unblock(w.vendor, beta.ID))
		w.must(w.reg.Users.Disable(w.vendor, w.addedUser(p.ID, "x").ID))
		w.must(second(w.reg.Program.Revoke(w.vendor, c.ID, "left")))
		refused("his partner is no longer certified", partner.ErrNotCertified)
		w.certify(beta.ID, "builder", partner.Period{})
		less := partner.AccountType{Code: "solution", Ceiling: "corporation", CertifiedOnly: true, OwnerCloses: true, Denies: []string{"orders", "customers", "objects", "licenses"}}
		w.must(w.reg.Accounts.DefineType(w.vendor, less))
		wantsQuota(w.t, "there is no room any more", second(w.accept(token)), partner.QuotaError{Kind: "collaborator", Limit: 0, InUse: 1})
		less.Quota.Collaborators = -1
		w.must(w.reg.Accounts.DefineType(w.vendor, less))
		w.must(second(w.accept(token)))
		if w.state(w.login("acme"), m.ID) != "active" {
			w.t.Error("he is not there")
		}
	})
}

// TestPLX22_AResentTokenVoidsTheFormer, and one that has run out frees the place, which the next invitation takes again.
func TestPLX22_AResentTokenVoidsTheFormer(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me, shop := w.workshop("acme")
		m := w.member(me, shop.ID, newMember(partner.External, "ext"))
		first := w.token(box, "invitation", m.Email)
		w.must(second(w.reg.Accounts.ReinviteMember(me, m.ID)))
		next := w.token(box, "invitation", m.Email)
		wants(w.t, "the former token", second(w.accept(first)), partner.ErrTokenExpired)
		w.clock.Advance(14*24*time.Hour + time.Minute)
		me = w.login("acme")
		if state := w.state(me, m.ID); state != "lapsed" {
			w.t.Errorf("he is %s", state)
		}
		wants(w.t, "too late", second(w.accept(next)), partner.ErrTokenExpired)
		other := w.member(me, shop.ID, newMember(partner.External, "other")) // before any worker has looked
		w.countsAdd()
		wantsQuota(w.t, "there is no room for him", second(w.reg.Accounts.ReinviteMember(me, m.ID)), partner.QuotaError{Kind: "external", Limit: 1, InUse: 1})
		w.clock.Advance(14*24*time.Hour + time.Minute)
		for more := true; more; {
			var err error
			if more, err = w.reg.Step(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		}
		w.countsAdd()
		me = w.login("acme")
		lapsed := 0
		for _, e := range w.events() {
			if e.Kind == "member.lapsed" {
				lapsed++
			}
		}
		if state := w.state(me, other.ID); state != "lapsed" || lapsed != 2 {
			w.t.Errorf("he is %s, %d have lapsed", state, lapsed)
		}
		w.must(second(w.reg.Accounts.ReinviteMember(me, m.ID)))
		w.must(second(w.accept(w.token(box, "invitation", m.Email))))
		w.countsAdd()
	})
}

// TestPLX22_OneLogInForOnePerson: who has proved the address confirms with the password that he has, and is the same person in both accounts.
func TestPLX22_OneLogInForOnePerson(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		_, other := w.partner("beta")
		here, there := w.account(me, "standard", "Here"), w.account(other, "standard", "There")
		first, as := w.joined(box, me, here.ID, newMember(partner.Employee, "dev"))
		m := w.member(other, there.ID, newMember(partner.Employee, "dev"))
		token := w.token(box, "invitation", m.Email)
		page, err := w.reg.Access.Invited(w.t.Context(), token)
		if w.must(err); !page.Known {
			w.t.Error("the page does not say that he has a log-in")
		}
		wantsFields(w.t, "no password", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{})), "password:required")
		wants(w.t, "another password", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "some other secret"})), partner.ErrBadCredentials)
		stranger := w.user(w.home(me), "stranger")
		wantsFields(w.t, "in another's session", second(w.reg.Access.Accept(stranger, token, partner.Acceptance{})), "password:required")
		s, err := w.reg.Access.Accept(as, token, partner.Acceptance{}) // in a session of his
		w.must(err)
		if s.Principal != string(m.ID) || s.Account != there.ID {
			w.t.Errorf("the session is %+v", s)
		}
		w.must(second(w.reg.Accounts.Get(as, here.ID)))
		again, err := w.reg.Access.Login(w.t.Context(), "dev@member.example", password, "")
		if w.must(err); again.Account != there.ID {
			w.t.Errorf("he begins in %s, not where he was last", again.Account)
		}
		in := partner.WithSession(w.t.Context(), again)
		mine, err := w.reg.Access.Memberships(in, partner.PageRequest{})
		if w.must(err); len(mine.Items) != 2 || mine.Items[0].AccountName != "There" || mine.Items[1].AccountName != "Here" {
			w.t.Errorf("his places are %+v", mine.Items)
		}
		s, err = w.reg.Access.WorkIn(in, first.ID)
		if w.must(err); s.Account != here.ID || s.Principal != string(first.ID) {
			w.t.Errorf("he works in %+v", s)
		}
		wants(w.t, "from here to there", second(w.reg.Accounts.Get(partner.WithSession(w.t.Context(), s), there.ID)), partner.ErrNotFound)
		w.must(w.reg.Access.Logout(in))
		wants(w.t, "what hung on that session", second(w.reg.Accounts.Get(partner.WithSession(w.t.Context(), s), here.ID)), partner.ErrForbidden)
		w.must(w.reg.Accounts.RemoveMember(other, m.ID))
		w.must(second(w.reg.Access.Login(w.t.Context(), "dev@member.example", password, "")))
		w.must(w.reg.Accounts.RemoveMember(me, first.ID))
		wants(w.t, "without a place", second(w.reg.Access.Login(w.t.Context(), "dev@member.example", password, "")), partner.ErrBadCredentials)
		w.joined(box, me, here.ID, newMember(partner.Employee, "dev")) // and anew
	})
}

// TestPLX21_ACollaborator is another partner's user, who works there in the roles he was given, and has the rights of no one.
func TestPLX21_ACollaborator(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me, shop := w.workshop("acme")
		beta, boss := w.partner("beta")
		in := partner.NewMember{Kind: partner.Collaborator, Email: "beta@partner.example", Roles: []string{"builder"}}
		for _, email := range []string{"beta@partner.example", "nobody@nowhere.example"} {
			in.Email = email
			wants(w.t, "not certified: "+email, second(w.reg.Accounts.AddMember(me, shop.ID, in)), partner.ErrNotCertified)
		}
		w.certify(beta.ID, "builder", partner.Period{})
		in.Email = "beta@partner.example"
		m := w.member(me, shop.ID, in)
		token := w.token(box, "invitation", in.Email)
		wants(w.t, "a password of his own choice", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "some other secret"})), partner.ErrBadCredentials)
		s, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: password})
		w.must(err)
		if s.Principal != string(m.ID) || s.Partner != beta.ID || s.Account != shop.ID || s.Roles[0] != "builder" {
			w.t.Errorf("the session is %+v", s)
		}
		own, err := w.reg.Access.Login(w.t.Context(), "beta", password, "")
		if w.must(err); own.Principal != string(beta.Contact) || own.Account != "" {
			w.t.Errorf("he logs in as %+v", own)
		}
		work, err := w.reg.Access.WorkIn(partner.WithSession(w.t.Context(), own), m.ID)
		w.must(err)
		as := partner.WithSession(w.t.Context(), work)
		active, err := w.reg.Access.Active(as)
		if w.must(err); active.Holder != shop.ID || active.Roles[0] != "builder" {
			w.t.Errorf("he is active in %+v", active)
		}
		ann := w.member(me, shop.ID, special("Ann"))
		for what, c := range map[string]struct{ err, want error }{
			"to act": {second(w.reg.Access.ActAs(as, ann.ID, "to look")), partner.ErrNotOwner}, "from home": {second(w.reg.Access.ActAs(boss, ann.ID, "to look")), partner.ErrNotFound},
			"members":     {second(w.reg.Accounts.Members(as, shop.ID, partner.PageRequest{})), partner.ErrForbidden},
			"the partner": {second(w.reg.Partners.Get(as, beta.ID)), partner.ErrNotFound}, "activity": {second(w.reg.Activity.List(as, partner.EventFilter{}, partner.PageRequest{})), partner.ErrForbidden},
			"a project": {second(w.reg.Accounts.OpenProject(as, newProject("x"))), partner.ErrForbidden},
		} {
			wants(w.t, what, c.err, c.want)
		}
		events, err := w.reg.Activity.List(me, partner.EventFilter{Account: shop.ID}, partner.PageRequest{Limit: 2})
		if w.must(err); events.Items[1].Kind != "session.opened" || events.Items[1].Actor != string(m.ID) {
			w.t.Errorf("the owner reads %+v", events.Items)
		}
	})
}

// TestPLX21_FiveElsewhere: the sixth collaborator is refused in a standard account, and admitted in one for solutions.
func TestPLX21_FiveElsewhere(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		standard := w.account(me, "standard", "Everyday")
		beta, _ := w.partner("beta")
		w.certify(beta.ID, "builder", partner.Period{})
		for i := range 6 {
			u := w.addedUser(beta.ID, "dev"+string(rune('a'+i)))
			in := partner.NewMember{Kind: partner.Collaborator, Email: u.Email}
			w.member(me, shop.ID, in)
			if err := second(w.reg.Accounts.AddMember(me, standard.ID, in)); i < 5 {
				w.must(err)
			} else {
				wantsQuota(w.t, "the sixth", err, partner.QuotaError{Kind: "collaborator", Limit: 5, InUse: 5})
			}
		}
	})
}

// TestPLX21_NobodysUser: an invitation as a collaborator is of no use to who is no partner's user.
func TestPLX21_NobodysUser(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.account(me, "standard", "Everyday")
		m := w.member(me, a.ID, partner.NewMember{Kind: partner.Collaborator, Email: "who@nowhere.example"})
		wants(w.t, "unknown", second(w.accept(w.token(box, "invitation", m.Email))), partner.ErrForbidden)
		w.joined(box, me, a.ID, newMember(partner.Employee, "dev"))
		other := w.account(me, "standard", "Other")
		n := w.member(me, other.ID, partner.NewMember{Kind: partner.Collaborator, Email: "dev@member.example"})
		wants(w.t, "a member of accounts alone", second(w.accept(w.token(box, "invitation", n.Email))), partner.ErrForbidden)
	})
}

// TestCLW25_ProjectRoles: named people of a project instead of its shared log-in: who contributes uses its licences, who views does not.
func TestCLW25_ProjectRoles(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me, project := w.supplied(10)
		w.must(second(w.seats.Assign(me, project.ID, "seat", 5)))
		for role, may := range map[string]bool{"viewer": false, "contributor": true, "administrator": true} {
			in := newMember(partner.Guest, role)
			in.Roles = []string{role}
			_, as := w.joined(box, me, project.ID, in)
			err := second(w.seats.Consume(as, project.ID, "seat", 1))
			if may && err != nil || !may && !errors.Is(err, partner.ErrForbidden) {
				w.t.Errorf("a %s consumes: %v", role, err)
			}
			if n := w.available(as, project.ID, "seat"); n == 0 {
				w.t.Errorf("a %s sees %d", role, n)
			}
			wants(w.t, role+" moves licences", second(w.seats.Return(as, "seat", 1)), partner.ErrForbidden)
		}
		w.sound()
	})
}

// TestCLW03_BothWaysLeadToOneProject: its log-in and an invitation reach the project, and no other.
func TestCLW03_BothWaysLeadToOneProject(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		one, two := w.project(me, "one"), w.project(me, "two")
		_, as := w.joined(box, me, one.ID, newMember(partner.Guest, "dev"))
		for way, ctx := range map[string]context.Context{"its log-in": w.login("one"), "an invitation": as} {
			got, err := w.reg.Accounts.Get(ctx, one.ID)
			if w.must(err); got.Name != one.Name {
				w.t.Errorf("%s leads to %+v", way, got)
			}
			wants(w.t, way, second(w.reg.Accounts.Get(ctx, two.ID)), partner.ErrNotFound)
			if list := w.accounts(ctx); len(list) != 1 || list[0] != one.ID {
				w.t.Errorf("%s lists %v", way, list)
			}
			active, err := w.reg.Access.Active(ctx)
			if w.must(err); active.Holder != one.ID || active.Region != "DE" {
				w.t.Errorf("%s works in %+v", way, active)
			}
		}
	})
}
