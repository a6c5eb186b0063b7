package partner_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// invitee is what Add needs of one who will choose a password himself.
func invitee(name string) partner.NewUser {
	return partner.NewUser{Email: name + "@user.example", Name: "User " + name, Role: partner.Member}
}

func (w *world) invited(ctx context.Context, org partner.ID, name string, change ...func(*partner.NewUser)) partner.User {
	w.t.Helper()
	in := invitee(name)
	for _, c := range change {
		c(&in)
	}
	u, err := w.reg.Users.Add(ctx, org, in)
	w.must(err)
	return u
}

// token is what the newest letter of a template to an address brings.
func (w *world) token(box *postbox, template, to string) partner.Secret {
	w.t.Helper()
	w.post()
	m := box.last(w.t, template, to)
	if m.Token == "" || !strings.Contains(string(m.Text), string(m.Token)) || m.Data["until"] == "" {
		w.t.Fatalf("a letter without a token: %s", string(m.Text))
	}
	return m.Token
}

func (w *world) accept(token partner.Secret) (context.Context, error) {
	s, err := w.reg.Access.Accept(context.Background(), token, partner.Acceptance{Password: password})
	return partner.WithSession(context.Background(), s), err
}

// TestPLX22_InviteAndAccept: the invitee is there at once and can do nothing; with the token he chooses a password, and is a user.
func TestPLX22_InviteAndAccept(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		u := w.invited(me, p.ID, "dev", func(u *partner.NewUser) { u.Locale, u.Rights = "de", []partner.Right{partner.Projects} })
		if !u.Invited || !u.Active || u.Login != "dev@user.example" || u.Token != "" {
			w.t.Errorf("invited %+v", u)
		}
		wants(w.t, "a log-in before", second(w.reg.Access.Login(w.t.Context(), "dev@user.example", password, "")), partner.ErrBadCredentials)
		token := w.token(box, "welcome", "dev@user.example")
		m := box.last(w.t, "welcome", "dev@user.example")
		if m.Locale != "de" || m.Data["name"] != "User dev" || m.Data["partner"] != p.Name {
			w.t.Errorf("the letter is %+v", m)
		}
		s, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Name: "Devi Rao", Password: password})
		w.must(err)
		if s.Principal != string(u.ID) || s.Partner != p.ID {
			w.t.Errorf("the session is %+v", s)
		}
		w.project(partner.WithSession(w.t.Context(), s), "one")
		w.login("DEV@user.example")
		now, err := w.reg.Users.Get(me, u.ID)
		w.must(err)
		if now.Invited || now.Name != "Devi Rao" || now.Version != u.Version+1 {
			w.t.Errorf("joined %+v", now)
		}
		wants(w.t, "the token again", second(w.accept(token)), partner.ErrTokenUsed)
		wants(w.t, "another invitation of one who is there", second(w.reg.Access.Reinvite(me, u.ID)), partner.ErrBadTransition)
		events, err := w.reg.Activity.List(me, partner.EventFilter{Partner: p.ID}, partner.PageRequest{})
		w.must(err)
		var kinds []string
		for _, e := range events.Items {
			if e.Target == string(u.ID) {
				kinds = append(kinds, e.Kind+" by "+e.Actor)
			}
		}
		admin := string(p.Contact)
		if want := []string{"user.joined by " + string(u.ID), "user.invited by " + admin}; !slices.Equal(kinds, want) {
			w.t.Errorf("the audit says %q, want %q", kinds, want)
		}
	})
}

// TestPLX22_FaultsOfAnAcceptanceLeaveTheTokenGood, all at once; no token is told from another that is none.
func TestPLX22_FaultsOfAnAcceptanceLeaveTheTokenGood(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		w.invited(me, p.ID, "dev")
		token := w.token(box, "welcome", "dev@user.example")
		bad := func(a partner.Acceptance) error { return second(w.reg.Access.Accept(w.t.Context(), token, a)) }
		wantsFields(w.t, "nothing", bad(partner.Acceptance{}), "password:required")
		wantsFields(w.t, "a weak one", bad(partner.Acceptance{Name: "a\nb", Password: "password"}), "name:format", "password:weak")
		for _, none := range []partner.Secret{"", "x", token + "x", token[:len(token)-1], partner.Secret(strings.Repeat("x", 100_000))} {
			wants(w.t, "no token", second(w.accept(none)), partner.ErrNotFound)
		}
		tx := w.db.Begin()
		wants(w.t, "in a host transaction", second(w.reg.In(tx).Access.Accept(w.t.Context(), token, partner.Acceptance{Password: password})), partner.ErrInvalid)
		w.must(tx.Rollback().Error)
		w.must(second(w.accept(token)))
	})
}

// TestPLX22_OfParallelAcceptancesOneWins.
func TestPLX22_OfParallelAcceptancesOneWins(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		for i := range 5 {
			w.invited(me, p.ID, fmt.Sprint("dev", i))
			token := w.token(box, "welcome", fmt.Sprintf("dev%d@user.example", i))
			errs := w.atOnce(8, func(int) error { return second(w.accept(token)) })
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else {
					wants(w.t, "a loser", err, partner.ErrTokenUsed)
				}
			}
			if won != 1 {
				w.t.Fatalf("%d acceptances won: %v", won, errs)
			}
		}
	})
}

func (w *world) atOnce(n int, call func(int) error) []error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = call(i) })
	}
	group.Wait()
	return errs
}

// TestPLX22_AResentInvitationEndsTheFormerToken, and so do time, a new address and removal.
func TestPLX22_AResentInvitationEndsTheFormerToken(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		u := w.invited(me, p.ID, "dev", func(u *partner.NewUser) { u.Login = "dev" })
		old := w.token(box, "welcome", "dev@user.example")
		w.must(second(w.reg.Access.Reinvite(me, u.ID)))
		token := w.token(box, "welcome", "dev@user.example")
		wants(w.t, "the former token", second(w.accept(old)), partner.ErrTokenExpired)
		w.clock.Advance(14*24*time.Hour + time.Minute)
		wants(w.t, "after fourteen days", second(w.accept(token)), partner.ErrTokenExpired)
		me = w.login("acme")
		w.must(second(w.reg.Access.Reinvite(me, u.ID)))
		token = w.token(box, "welcome", "dev@user.example")
		now, err := w.reg.Users.Edit(me, u.ID, u.Version, func(u *partner.NewUser) { u.Email = "other@user.example" })
		w.must(err)
		wants(w.t, "sent to a former address", second(w.accept(token)), partner.ErrTokenExpired)
		w.must(second(w.reg.Access.Reinvite(me, u.ID)))
		token = w.token(box, "welcome", "other@user.example")
		w.must(w.reg.Users.Remove(me, now.ID))
		wants(w.t, "one who was removed", second(w.accept(token)), partner.ErrTokenExpired)
		if n := rowsIn(w.t, w.db, "prm_tokens WHERE state = 'open'"); n != 0 {
			w.t.Errorf("%d tokens are open", n)
		}
		again := w.invited(me, p.ID, "dev", func(u *partner.NewUser) { u.Login = "dev" })
		w.must(second(w.accept(w.token(box, "welcome", "dev@user.example"))))
		if w.login("dev"); again.ID == u.ID {
			w.t.Error("one who comes again has the old place")
		}
	})
}

// TestPLX22_AcceptanceLooksAgain at the inviter's right and at blocks; a refused one leaves the token good.
func TestPLX22_AcceptanceLooksAgain(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, _ := w.partner("acme")
		boss := w.addedUser(p.ID, "boss", func(u *partner.NewUser) { u.Role = partner.Admin })
		u := w.invited(w.login("boss"), p.ID, "dev")
		token := w.token(box, "welcome", "dev@user.example")
		refused := func(what string, want error) {
			w.t.Helper()
			wants(w.t, what, second(w.accept(token)), want)
		}
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		refused("a blocked organisation", partner.ErrBlocked)
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		me := w.login("acme")
		w.must(w.reg.Users.Disable(me, u.ID))
		refused("a disabled invitee", partner.ErrForbidden)
		w.must(w.reg.Users.Enable(me, u.ID))
		w.must(w.reg.Users.Disable(me, boss.ID))
		refused("a disabled inviter", partner.ErrForbidden)
		w.must(w.reg.Users.Enable(me, boss.ID))
		now, err := w.reg.Users.Get(me, boss.ID)
		w.must(err)
		w.must(second(w.reg.Users.Edit(me, boss.ID, now.Version, func(u *partner.NewUser) { u.Role = partner.Member })))
		refused("an inviter who is no admin any more", partner.ErrForbidden)
		w.must(w.reg.Users.Remove(me, boss.ID))
		refused("an inviter who has left", partner.ErrForbidden)
		w.must(second(w.reg.Access.Reinvite(me, u.ID)))
		token = w.token(box, "welcome", "dev@user.example")
		w.must(second(w.accept(token)))
	})
}

// TestPAN03_OnboardingPaths: a created partner is active, an invited one when its invitee has accepted, and expired when he has not in time.
func TestPAN03_OnboardingPaths(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		in := agreement("acme")
		in.Password = ""
		p, err := w.reg.Partners.Invite(w.vendor, in)
		w.must(err)
		state := func(want string) {
			w.t.Helper()
			now, err := w.reg.Partners.Get(w.vendor, p.ID)
			if w.must(err); now.State != want {
				w.t.Fatalf("the partner is %s, want %s", now.State, want)
			}
		}
		state("pending")
		wants(w.t, "a user of a pending partner", second(w.reg.Users.Add(w.vendor, p.ID, invitee("dev"))), partner.ErrPending)
		late := w.token(box, "welcome", in.Email)
		w.clock.Advance(15 * 24 * time.Hour)
		wants(w.t, "too late", second(w.accept(late)), partner.ErrTokenExpired)
		w.post()
		state("expired")
		w.must(second(w.reg.Access.Reinvite(w.vendor, p.Contact)))
		state("pending")
		token := w.token(box, "welcome", in.Email)
		wants(w.t, "the former token", second(w.accept(late)), partner.ErrTokenExpired)
		me, err := w.accept(token)
		w.must(err)
		state("active")
		w.project(me, "one")
		w.login("acme")
		events, err := w.reg.Activity.List(w.vendor, partner.EventFilter{Kinds: []string{"partner.invited", "partner.expired", "partner.activated"}}, partner.PageRequest{})
		w.must(err)
		var kinds []string
		for _, e := range events.Items {
			kinds = append(kinds, e.Kind+" by "+e.Actor)
		}
		if want := []string{"partner.activated by " + string(p.Contact), "partner.expired by system", "partner.invited by host:ops@vendor.example"}; !slices.Equal(kinds, want) {
			w.t.Errorf("the audit says %q, want %q", kinds, want)
		}
	})
}

// TestLIM22_PartnersInvitationsAllSucceed and tell nothing; whose user somebody is, is decided when he accepts, and he alone sees it.
func TestLIM22_PartnersInvitationsAllSucceed(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		const n = 6
		tokens := make([]partner.Secret, n)
		for i := range n {
			p, me := w.partner(fmt.Sprint("acme", i))
			w.invited(me, p.ID, "dev")
			wantsFields(w.t, "twice in one organisation", second(w.reg.Users.Add(me, p.ID, invitee("dev"))), "email:taken")
			tokens[i] = w.token(box, "welcome", "dev@user.example")
		}
		won := -1
		for i, err := range w.atOnce(n, func(i int) error { return second(w.accept(tokens[i])) }) {
			switch {
			case err == nil && won < 0:
				won = i
			case err == nil:
				w.t.Errorf("%d and %d both have him", won, i)
			default:
				wants(w.t, "a loser", err, partner.ErrEmailInOtherPartner)
			}
		}
		if won < 0 {
			w.t.Fatal("nobody has him")
		}
		p, later := w.partner("later")
		_, err := w.reg.Users.Add(w.vendor, p.ID, invitee("dev"))
		wants(w.t, "the vendor's invitation", err, partner.ErrEmailInOtherPartner)
		u := w.invited(later, p.ID, "dev")
		token := w.token(box, "welcome", "dev@user.example")
		wants(w.t, "another partner's, accepted", second(w.accept(token)), partner.ErrEmailInOtherPartner)
		// He leaves; then the address is free, and the invitation stands.
		users, err := w.reg.Users.List(w.login(fmt.Sprint("acme", won)), "", partner.PageRequest{})
		w.must(err)
		for _, u := range users.Items {
			if u.Email == "dev@user.example" {
				w.must(w.reg.Users.Remove(w.login(fmt.Sprint("acme", won)), u.ID))
			}
		}
		w.must(second(w.accept(token)))
		now, err := w.reg.Users.Get(later, u.ID)
		if w.must(err); now.Invited {
			w.t.Error("he has not joined")
		}
	})
}

// TestPIL32_ANewPasswordByMail: the token is good for an hour, once; with it every session of before ends. Nobody else chooses it.
func TestPIL32_ANewPasswordByMail(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		u := w.addedUser(p.ID, "dev")
		dev := w.login("dev")
		wants(w.t, "a member's own", second(w.reg.Users.ResetPassword(dev, u.ID)), partner.ErrForbidden)
		w.must(second(w.reg.Users.ResetPassword(me, u.ID)))
		old := w.token(box, "password_reset", "dev@user.example")
		w.must(second(w.reg.Users.ResetPassword(w.vendor, u.ID)))
		token := w.token(box, "password_reset", "dev@user.example")
		wants(w.t, "the former token", second(w.accept(old)), partner.ErrTokenExpired)
		w.must(second(w.reg.Users.Get(dev, u.ID))) // until he has chosen, nothing changes
		w.login("dev")
		wantsFields(w.t, "a weak one", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "short"})), "password:weak")
		s, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "another long secret", Name: "Nobody asked"})
		w.must(err)
		wants(w.t, "an open session's next call", second(w.reg.Users.Get(dev, u.ID)), partner.ErrForbidden)
		wants(w.t, "the old password", second(w.reg.Access.Login(w.t.Context(), "dev", password, "")), partner.ErrBadCredentials)
		w.must(second(w.reg.Access.Login(w.t.Context(), "dev", "another long secret", "")))
		now, err := w.reg.Users.Get(partner.WithSession(w.t.Context(), s), u.ID)
		if w.must(err); now.Name != u.Name {
			w.t.Errorf("a new password changes the name to %s", now.Name)
		}
		wants(w.t, "the token again", second(w.accept(token)), partner.ErrTokenUsed)
		w.must(second(w.reg.Users.ResetPassword(me, u.ID)))
		token = w.token(box, "password_reset", "dev@user.example")
		w.must(w.reg.Access.ChangePassword(partner.WithSession(w.t.Context(), s), "another long secret", password))
		wants(w.t, "after he has changed it himself", second(w.accept(token)), partner.ErrTokenExpired)
		w.must(second(w.reg.Users.ResetPassword(me, u.ID)))
		token = w.token(box, "password_reset", "dev@user.example")
		w.clock.Advance(time.Hour + time.Second)
		wants(w.t, "after an hour", second(w.accept(token)), partner.ErrTokenExpired)
		w.must(w.reg.Users.Disable(w.login("acme"), u.ID))
		wants(w.t, "for a disabled user", second(w.reg.Users.ResetPassword(w.vendor, u.ID)), partner.ErrBadTransition)
		invited := w.invited(w.vendor, p.ID, "new")
		wants(w.t, "for an invitee", second(w.reg.Users.ResetPassword(w.vendor, invited.ID)), partner.ErrBadTransition)
	})
}

// TestPAN06_WhoCannotBeWrittenToGetsNoToken, but from the vendor, who takes it himself.
func TestPAN06_WhoCannotBeWrittenToGetsNoToken(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme", func(a *partner.Agreement) { a.Email = "" })
		wantsFields(w.t, "an admin's reset", second(w.reg.Users.ResetPassword(me, p.Contact)), "contact.email:required")
		w.addedUser(partner.Vendor, "help", func(u *partner.NewUser) { u.Role = partner.Support })
		wantsFields(w.t, "the support's", second(w.reg.Users.ResetPassword(w.login("help"), p.Contact)), "contact.email:required")
		token, err := w.reg.Users.ResetPassword(w.vendor, p.Contact)
		w.must(err)
		w.must(second(w.accept(token)))
		if w.post(); len(box.sent) != 0 {
			w.t.Errorf("sent %v", box.sent)
		}
	})
}

// TestPAN06_AHostThatDeliversTokensItself has them in the results, and nothing is sent.
func TestPAN06_AHostThatDeliversTokensItself(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		in := agreement("acme")
		in.Password, in.Key = "", "first"
		p, err := w.reg.Partners.Invite(w.vendor, in)
		w.must(err)
		me, err := w.accept(p.Token)
		w.must(err)
		again, err := w.reg.Partners.Invite(w.vendor, in)
		if w.must(err); again.Token != "" || !again.Replayed {
			w.t.Error("a repetition has a token")
		}
		u := w.invited(me, p.ID, "dev")
		old := u.Token
		token, err := w.reg.Access.Reinvite(me, u.ID)
		w.must(err)
		wants(w.t, "the former token", second(w.accept(old)), partner.ErrTokenExpired)
		w.must(second(w.accept(token)))
		token, err = w.reg.Users.ResetPassword(me, u.ID)
		w.must(err)
		w.must(second(w.accept(token)))
		w.post()
		if len(box.sent) != 0 || len(w.deliveries("")) != 0 {
			w.t.Errorf("sent %v", box.sent)
		}
	}, func(o *partner.Options) { o.DeliverTokens = true })
}

// TestPAN04_AnInvitationNeedsNoLogin: the address is the name, unless it cannot be one, or another is given, which is reserved at once.
func TestPAN04_AnInvitationNeedsNoLogin(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		u := w.invited(me, p.ID, "dev", func(u *partner.NewUser) { u.Login, u.Key = "devi", "k" })
		again := w.invited(me, p.ID, "dev", func(u *partner.NewUser) { u.Login, u.Key = "devi", "k" })
		if again.ID != u.ID || !again.Replayed {
			w.t.Errorf("the same key: %+v", again)
		}
		withPassword := invitee("dev")
		withPassword.Login, withPassword.Key, withPassword.Password = "devi", "k", password
		wants(w.t, "the key with a password", second(w.reg.Users.Add(me, p.ID, withPassword)), partner.ErrIdempotencyMismatch)
		other := invitee("other")
		other.Login = "DEVI"
		wantsFields(w.t, "a reserved name", second(w.reg.Users.Add(me, p.ID, other)), "login:taken")
		other.Login = "somebody@else.example"
		wantsFields(w.t, "another's address for a name", second(w.reg.Users.Add(me, p.ID, other)), "login:format")
		w.must(second(w.accept(w.token(box, "welcome", "dev@user.example"))))
		w.login("devi")
		tx := w.db.Begin()
		joined, err := w.reg.In(tx).Users.Add(me, p.ID, invitee("joined"))
		w.must(err)
		w.must(tx.Commit().Error)
		w.must(second(w.accept(w.token(box, "welcome", "joined@user.example"))))
		if !joined.Invited {
			w.t.Errorf("in a host transaction: %+v", joined)
		}
	})
}

// TestPIL15_InvitationsFromAbove: an admin of an organisation that manages others invites for them, though he chooses nobody's password there.
func TestPIL15_InvitationsFromAbove(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		top, me := w.partner("top", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		low, _ := w.partner("low", under(top.ID))
		u := w.invited(me, low.ID, "dev")
		if u.Partner != low.ID {
			w.t.Errorf("invited into %s", u.Partner)
		}
		token := w.token(box, "welcome", "dev@user.example")
		now, err := w.reg.Partners.Get(w.vendor, top.ID)
		w.must(err)
		w.must(second(w.reg.Partners.Edit(w.vendor, top.ID, now.Version, func(a *partner.Agreement) { a.ManagesSubPartners = false })))
		wants(w.t, "when it manages them no more", second(w.accept(token)), partner.ErrForbidden)
		wants(w.t, "another one", second(w.reg.Users.Add(me, low.ID, invitee("eve"))), partner.ErrNotFound)
	})
}
