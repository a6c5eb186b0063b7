package partner_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

const issuer = "https://id.example"

func outside(subject, email string) partner.Outside {
	return partner.Outside{Issuer: issuer, Subject: subject, Email: email, Verified: true}
}

func (w *world) enter(who partner.Outside) (partner.Session, error) {
	return w.reg.Access.Enter(w.vendor, who)
}

// TestLIM06_AnOutsideLoginIsOneUsers: linked by the vendor, it opens his sessions, whatever address it comes with; a foreign claim, another issuer
// or subject opens none, and nobody is made.
func TestLIM06_AnOutsideLoginIsOneUsers(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		other, _ := w.partner("other")
		u := w.addedUser(p.ID, "dev")
		before := rowsIn(w.t, w.db, "prm_users")
		wants(w.t, "before", second(w.enter(outside("u-17", u.Email))), partner.ErrForbidden)
		wants(w.t, "a partner's link", w.reg.Users.Link(me, u.ID, outside("u-17", "")), partner.ErrForbidden)
		w.must(w.reg.Users.Link(w.vendor, u.ID, outside("u-17", "")))
		who := outside("u-17", "someone@else.example")
		s, err := w.enter(who)
		w.must(err)
		if s.Principal != string(u.ID) || s.Partner != p.ID || s.Token() == "" {
			w.t.Errorf("the session is %+v", s)
		}
		w.must(second(w.reg.Users.Get(partner.WithSession(w.t.Context(), s), u.ID)))
		who.Partner = p.ID
		w.must(second(w.enter(who)))
		who.Partner = other.ID
		wants(w.t, "a foreign claim", second(w.enter(who)), partner.ErrForbidden)
		for what, who := range map[string]partner.Outside{
			"another subject": outside("u-18", u.Email), "another issuer": {Issuer: issuer + "/", Subject: "u-17", Email: u.Email, Verified: true},
			"the subject in another case": outside("U-17", u.Email),
		} {
			wants(w.t, what, second(w.enter(who)), partner.ErrForbidden)
		}
		wantsFields(w.t, "linked twice", w.reg.Users.Link(w.vendor, w.addedUser(other.ID, "eve").ID, outside("u-17", "")), "subject:taken")
		wantsFields(w.t, "nothing", second(w.enter(partner.Outside{Email: "x"})), "issuer:required", "subject:required", "email:format")
		for what, ctx := range map[string]context.Context{"nobody": w.t.Context(), "the user himself": partner.WithSession(w.t.Context(), s), "an admin": me} {
			wants(w.t, what, second(w.reg.Access.Enter(ctx, outside("u-17", ""))), partner.ErrForbidden)
		}
		tx := w.db.Begin()
		wants(w.t, "in a host transaction", second(w.reg.In(tx).Access.Enter(w.vendor, outside("u-17", ""))), partner.ErrInvalid)
		w.must(tx.Rollback().Error)
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		wants(w.t, "a blocked one", second(w.enter(outside("u-17", ""))), partner.ErrBlocked)
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		w.must(w.reg.Users.Disable(w.vendor, u.ID))
		wants(w.t, "a disabled one", second(w.enter(outside("u-17", ""))), partner.ErrForbidden)
		w.must(w.reg.Users.Enable(w.vendor, u.ID))
		s, err = w.enter(outside("u-17", ""))
		w.must(err)
		wants(w.t, "another's", w.reg.Users.Unlink(w.vendor, p.Contact, issuer, "u-17"), partner.ErrNotFound)
		w.must(w.reg.Users.Unlink(w.vendor, u.ID, issuer, "u-17"))
		wants(w.t, "its sessions", second(w.reg.Users.Get(partner.WithSession(w.t.Context(), s), u.ID)), partner.ErrForbidden)
		wants(w.t, "unlinked", second(w.enter(outside("u-17", ""))), partner.ErrForbidden)
		w.must(w.reg.Users.Link(w.vendor, u.ID, outside("u-17", "")))
		w.must(w.reg.Users.Remove(w.vendor, u.ID))
		wants(w.t, "one who has left", second(w.enter(outside("u-17", ""))), partner.ErrForbidden)
		if n := rowsIn(w.t, w.db, "prm_users"); n != before+1 {
			w.t.Errorf("%d users were made", n-before-1)
		}
	})
}

// TestLIM06_AVerifiedAddressLinksOnce where the host allows it: whoever has the address and no outside log-in yet.
func TestLIM06_AVerifiedAddressLinksOnce(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		u := w.addedUser(p.ID, "dev")
		unverified := outside("u-1", u.Email)
		unverified.Verified = false
		wants(w.t, "an address that nobody verified", second(w.enter(unverified)), partner.ErrForbidden)
		foreign := outside("u-1", u.Email)
		foreign.Partner = "prt_other"
		wants(w.t, "a foreign claim", second(w.enter(foreign)), partner.ErrForbidden)
		s, err := w.enter(outside("u-1", " DEV@user.example"))
		if w.must(err); s.Principal != string(u.ID) {
			w.t.Errorf("entered as %+v", s)
		}
		w.must(second(w.enter(unverified))) // it is linked now
		wants(w.t, "a second issuer with the same address", second(w.enter(partner.Outside{Issuer: "https://evil.example", Subject: "u-1", Email: u.Email, Verified: true})),
			partner.ErrForbidden)
		wants(w.t, "a second subject", second(w.enter(outside("u-2", u.Email))), partner.ErrForbidden)
		events, err := w.reg.Activity.List(me, partner.EventFilter{Kinds: []string{"login.linked"}}, partner.PageRequest{})
		w.must(err)
		if len(events.Items) != 1 || events.Items[0].Actor != string(u.ID) {
			w.t.Errorf("the audit says %+v", events.Items)
		}
		// Two who share an address are nobody.
		one, _ := w.partner("one", func(a *partner.Agreement) { a.Email = "both@partner.example" })
		w.partner("two", func(a *partner.Agreement) { a.Email = "both@partner.example" })
		wants(w.t, "an address of two", second(w.enter(outside("u-3", "both@partner.example"))), partner.ErrForbidden)
		w.must(w.reg.Users.Link(w.vendor, one.Contact, outside("u-3", "")))
		w.must(second(w.enter(outside("u-3", "both@partner.example"))))
	}, func(o *partner.Options) { o.LinkVerifiedEmail = true })
}

// TestLIM06_AnInviteeJoinsByHisAddress as if he had brought the token, if that is good; of several invitations the claim decides.
func TestLIM06_AnInviteeJoinsByHisAddress(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		rita, err := w.reg.Users.Add(w.vendor, partner.Vendor, partner.NewUser{Email: "rev@vendor.example", Name: "Rita", Role: partner.Reviewer})
		w.must(err)
		token := w.token(box, "welcome", rita.Email)
		s, err := w.enter(outside("u-3", rita.Email))
		if w.must(err); s.Principal != string(rita.ID) || s.Partner != partner.Vendor {
			w.t.Errorf("entered as %+v", s)
		}
		wants(w.t, "her token", second(w.accept(token)), partner.ErrTokenUsed)
		now, err := w.reg.Users.Get(w.vendor, rita.ID)
		if w.must(err); now.Invited {
			w.t.Error("she has not joined")
		}
		wants(w.t, "a password that she does not have", second(w.reg.Access.Login(w.t.Context(), rita.Email, "", "")), partner.ErrBadCredentials)
		one, first := w.partner("one")
		two, boss := w.partner("two")
		w.invited(first, one.ID, "dev")
		w.invited(boss, two.ID, "dev")
		wants(w.t, "of two invitations", second(w.enter(outside("u-4", "dev@user.example"))), partner.ErrForbidden)
		claimed := outside("u-4", "dev@user.example")
		claimed.Partner = two.ID
		s, err = w.enter(claimed)
		if w.must(err); s.Partner != two.ID {
			w.t.Errorf("entered as %+v", s)
		}
		w.post()
		for _, m := range box.sent {
			if m.To == "dev@user.example" && m.Data["partner"] == one.Name {
				wants(w.t, "the other invitation", second(w.accept(m.Token)), partner.ErrEmailInOtherPartner)
			}
		}
		late := w.invited(boss, two.ID, "late")
		w.must(w.reg.Partners.Block(w.vendor, two.ID, false))
		wants(w.t, "into a blocked organisation", second(w.enter(outside("u-5", late.Email))), partner.ErrBlocked)
		if n := rowsIn(w.t, w.db, "prm_outside_logins WHERE subject = 'u-5'"); n != 0 {
			w.t.Error("it is linked")
		}
	}, func(o *partner.Options) { o.LinkVerifiedEmail = true })
}

// TestLIM06_AcceptanceLinksALogin that the host vouches for, instead of a password or beside one.
func TestLIM06_AcceptanceLinksALogin(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		u := w.invited(me, p.ID, "dev")
		token := w.token(box, "welcome", u.Email)
		who := outside("u-9", "private@home.example")
		with := partner.Acceptance{Outside: &who}
		wants(w.t, "by the invitee alone", second(w.reg.Access.Accept(w.t.Context(), token, with)), partner.ErrForbidden)
		wantsFields(w.t, "a faulty one", second(w.reg.Access.Accept(w.vendor, token, partner.Acceptance{Outside: &partner.Outside{}})), "outside.issuer:required", "outside.subject:required")
		s, err := w.reg.Access.Accept(w.vendor, token, with)
		if w.must(err); s.Principal != string(u.ID) {
			w.t.Errorf("accepted %+v", s)
		}
		w.must(second(w.enter(who)))
		// A partner's first admin, with the form and a password as well.
		w.must(second(w.reg.Partners.SetForm(w.vendor, json.RawMessage(partnerForm))))
		_, token = w.invitedPartner(box, "bolt")
		taken := partner.Acceptance{Outside: &who, Password: password, Answers: partner.Answers{Version: 1, Values: json.RawMessage(goodAnswers)}}
		wantsFields(w.t, "another's log-in", second(w.reg.Access.Accept(w.vendor, token, taken)), "subject:taken")
		own := outside("u-10", "")
		taken.Outside = &own
		w.must(second(w.reg.Access.Accept(w.vendor, token, taken)))
		w.login("bolt")
		w.must(second(w.enter(own)))
		w.must(second(w.reg.Users.ResetPassword(me, u.ID)))
		wantsFields(w.t, "a new password without one", second(w.reg.Access.Accept(w.vendor, w.token(box, "password_reset", u.Email), with)), "password:required")
	})
}
