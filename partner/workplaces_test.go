package partner_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// TestLIM22_AMemberBecomesAUser: whoever is a member of accounts goes on with his log-in when a partner invites him; whoever leaves a partner keeps
// what was given to himself, and nothing that was his partner's.
func TestLIM22_AMemberBecomesAUser(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		beta, boss := w.partner("beta")
		a, b := w.account(me, "standard", "Here"), w.account(me, "standard", "There")
		in := newMember(partner.Employee, "dev")
		m, before := w.joined(box, me, a.ID, in)
		u := w.invited(boss, beta.ID, "dev", func(u *partner.NewUser) { u.Email = in.Email })
		token := w.token(box, "welcome", in.Email)
		wants(w.t, "another password", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "some other secret"})), partner.ErrBadCredentials)
		s, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: password})
		w.must(err)
		if s.Principal != string(u.ID) || s.Partner != beta.ID {
			w.t.Errorf("he is %+v", s)
		}
		wants(w.t, "a session that did not rest on his new place", second(w.reg.Accounts.Get(before, a.ID)), partner.ErrForbidden)
		own := w.login(in.Email)
		work, err := w.reg.Access.WorkIn(own, m.ID)
		w.must(err)
		as := partner.WithSession(w.t.Context(), work)
		collaborator, _ := w.joined(box, me, b.ID, partner.NewMember{Kind: partner.Collaborator, Email: in.Email})
		w.must(w.reg.Partners.Block(w.vendor, beta.ID, false))
		wants(w.t, "his partner is blocked, here as well", second(w.reg.Accounts.Get(as, a.ID)), partner.ErrBlocked)
		w.must(w.reg.Partners.Unblock(w.vendor, beta.ID))
		w.must(w.reg.Users.Remove(w.login("beta"), u.ID))
		wants(w.t, "a session of a user", second(w.reg.Access.Active(own)), partner.ErrForbidden)
		if state := w.state(me, collaborator.ID); state != "removed" {
			w.t.Errorf("as a collaborator he is %s", state)
		}
		again, err := w.reg.Access.Login(w.t.Context(), in.Email, password, "")
		if w.must(err); again.Principal != string(m.ID) || again.Partner != a.Partner {
			w.t.Errorf("he logs in as %+v", again)
		}
		third, _ := w.partner("third")
		v := w.invited(w.login("third"), third.ID, "dev", func(u *partner.NewUser) { u.Email = in.Email })
		s, err = w.reg.Access.Accept(w.t.Context(), w.token(box, "welcome", in.Email), partner.Acceptance{Password: password})
		if w.must(err); s.Principal != string(v.ID) {
			w.t.Errorf("then he is %+v", s)
		}
		w.must(w.reg.Partners.Archive(w.vendor, third.ID))
		w.must(w.reg.Partners.Tombstone(w.vendor, third.ID))
		again, err = w.reg.Access.Login(w.t.Context(), in.Email, password, "")
		if w.must(err); again.Principal != string(m.ID) {
			w.t.Errorf("after the end of that partner %+v", again)
		}
		w.countsAdd()
	})
}

// TestLIM22_APlaceIsItsAddresss: an admin who writes another address to his user, and has a new password sent there, comes into nothing that was given
// to the former one.
func TestLIM22_APlaceIsItsAddresss(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		beta, boss := w.partner("beta")
		a := w.account(me, "standard", "Here")
		u := w.invited(boss, beta.ID, "dev", func(u *partner.NewUser) { u.Login = "dev" })
		w.must(second(w.accept(w.token(box, "welcome", u.Email))))
		in := newMember(partner.Employee, "dev")
		in.Email = u.Email
		m, as := w.joined(box, me, a.ID, in)
		edit := func(email string) {
			w.t.Helper()
			now, err := w.reg.Users.Get(boss, u.ID)
			w.must(err)
			w.must(second(w.reg.Users.Edit(boss, u.ID, now.Version, func(u *partner.NewUser) { u.Email = email })))
		}
		edit("boss@evil.example")
		wants(w.t, "a session that was open", second(w.reg.Accounts.Get(as, a.ID)), partner.ErrForbidden)
		w.must(second(w.reg.Users.ResetPassword(boss, u.ID)))
		taken, err := w.accept(w.token(box, "password_reset", "boss@evil.example"))
		w.must(err)
		wants(w.t, "the place", second(w.reg.Access.WorkIn(taken, m.ID)), partner.ErrNotFound)
		edit(u.Email)
		w.must(second(w.reg.Users.ResetPassword(boss, u.ID)))
		back, err := w.accept(w.token(box, "password_reset", u.Email))
		w.must(err)
		w.must(second(w.reg.Access.WorkIn(back, m.ID)))
	})
}

// TestPIL32_AMembersNewPassword: the owner has it sent to a member, and never to a partner's user.
func TestPIL32_AMembersNewPassword(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		beta, _ := w.partner("beta")
		a := w.account(me, "standard", "Everyday")
		m, as := w.joined(box, me, a.ID, newMember(partner.Employee, "dev"))
		c, _ := w.joined(box, me, a.ID, partner.NewMember{Kind: partner.Collaborator, Email: "beta@partner.example"})
		invited := w.member(me, a.ID, newMember(partner.Employee, "soon"))
		wants(w.t, "a partner's user", second(w.reg.Accounts.ResetMemberPassword(me, c.ID)), partner.ErrForbidden)
		wants(w.t, "an invitee", second(w.reg.Accounts.ResetMemberPassword(me, invited.ID)), partner.ErrBadTransition)
		wants(w.t, "one's own", second(w.reg.Accounts.ResetMemberPassword(as, m.ID)), partner.ErrNotOwner)
		w.must(second(w.reg.Accounts.ResetMemberPassword(me, m.ID)))
		token := w.token(box, "member_password_reset", m.Email)
		s, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "another long secret"})
		if w.must(err); s.Principal != string(m.ID) {
			w.t.Errorf("he is %+v", s)
		}
		wants(w.t, "his former session", second(w.reg.Accounts.Get(as, a.ID)), partner.ErrForbidden)
		wants(w.t, "his former password", second(w.reg.Access.Login(w.t.Context(), m.Email, password, "")), partner.ErrBadCredentials)
		w.must(second(w.reg.Access.Login(w.t.Context(), m.Email, "another long secret", "")))
		w.must(second(w.reg.Users.Get(w.vendor, beta.Contact)))
		for i := range 6 {
			if err = second(w.reg.Accounts.ResetMemberPassword(me, m.ID)); i < 3 {
				w.must(err)
			}
		}
		wants(w.t, "letters without end", err, partner.ErrUnavailable)
	})
}

// TestLIM06_AMemberByAnOutsideLogIn: he accepts with it, enters with it, and needs no password.
func TestLIM06_AMemberByAnOutsideLogIn(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a, b := w.account(me, "standard", "Here"), w.account(me, "standard", "There")
		m := w.member(me, a.ID, newMember(partner.Employee, "dev"))
		who := outside("dev", "")
		token := w.token(box, "invitation", m.Email)
		wants(w.t, "vouched for by nobody", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Outside: &who})), partner.ErrForbidden)
		w.must(second(w.reg.Access.Accept(w.vendor, token, partner.Acceptance{Outside: &who})))
		s, err := w.enter(who)
		if w.must(err); s.Principal != string(m.ID) {
			w.t.Errorf("he is %+v", s)
		}
		wants(w.t, "without a password", second(w.reg.Access.Login(w.t.Context(), m.Email, password, "")), partner.ErrBadCredentials)
		next := w.member(me, b.ID, newMember(partner.Employee, "dev"))
		token = w.token(box, "invitation", m.Email)
		wants(w.t, "a password that he never had", second(w.accept(token)), partner.ErrBadCredentials)
		stranger := outside("other", "")
		wantsFields(w.t, "another's log-in", second(w.reg.Access.Accept(w.vendor, token, partner.Acceptance{Outside: &stranger})), "password:required")
		s, err = w.reg.Access.Accept(w.vendor, token, partner.Acceptance{Outside: &who})
		if w.must(err); s.Principal != string(next.ID) {
			w.t.Errorf("then he is %+v", s)
		}
		for _, id := range []partner.MemberID{m.ID, next.ID} {
			w.must(w.reg.Accounts.RemoveMember(me, id))
		}
		wants(w.t, "without a place", second(w.enter(who)), partner.ErrForbidden)
	})
}

// TestPIL32_SessionsInAnAccount are listed and ended by those who see to it: its owner, its partner's admins, and whose they are.
func TestPIL32_SessionsInAnAccount(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		beta, _ := w.partner("beta")
		a := w.account(me, "standard", "Everyday")
		m, as := w.joined(box, me, a.ID, newMember(partner.Employee, "dev"))
		c, visiting := w.joined(box, me, a.ID, partner.NewMember{Kind: partner.Collaborator, Email: "beta@partner.example"})
		admin := w.user(p.ID, "boss", func(u *partner.NewUser) { u.Role = partner.Admin })
		if all := w.sessions(admin, string(a.ID)); len(all) != 2 || !strings.HasPrefix(all[0].Principal, "mem_") || all[0].Account != a.ID {
			w.t.Errorf("in the account are %+v", all)
		}
		if own := w.sessions(as, ""); len(own) != 1 || own[0].Principal != string(m.ID) || own[0].Actor != string(m.ID) {
			w.t.Errorf("his own are %+v", own)
		}
		home := w.sessions(w.login("beta"), string(beta.Contact))
		i := slices.IndexFunc(home, func(s partner.Session) bool { return s.Principal == string(c.ID) })
		if i < 0 {
			w.t.Fatalf("at home are %+v", home)
		}
		wants(w.t, "another member", w.reg.Access.EndSession(as, home[i].ID), partner.ErrForbidden)
		w.must(w.reg.Access.EndSession(w.login("beta"), home[i].ID))
		wants(w.t, "ended from home", second(w.reg.Accounts.Get(visiting, a.ID)), partner.ErrForbidden)
		w.must(w.reg.Access.EndSession(me, w.sessions(me, string(m.ID))[0].ID))
		wants(w.t, "ended by the owner", second(w.reg.Accounts.Get(as, a.ID)), partner.ErrForbidden)
		_, other := w.partner("other")
		wants(w.t, "a stranger", second(w.reg.Access.Sessions(other, string(m.ID), partner.PageRequest{})), partner.ErrNotFound)
	})
}
