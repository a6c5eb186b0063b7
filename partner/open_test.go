package partner_test

import (
	"context"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// solution is what Open needs of an account for solutions.
func solution(change ...func(*partner.NewAccount)) partner.NewAccount {
	n := partner.NewAccount{Type: "solution", Name: "Workshop"}
	for _, c := range change {
		c(&n)
	}
	return n
}

func ownedBy(email string) func(*partner.NewAccount) {
	return func(n *partner.NewAccount) { n.OwnerEmail = email }
}

// TestPLX04_ForHimselfWhileCertified: each user of a certified partner, and nobody for another; what is not certified and who is unknown have one answer.
func TestPLX04_ForHimselfWhileCertified(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		member := w.user(p.ID, "dev", func(u *partner.NewUser) { u.Rights = nil })
		wants(w.t, "before", second(w.reg.Accounts.Open(me, solution())), partner.ErrNotCertified)
		c := w.certify(p.ID, "builder", partner.Period{})
		a, err := w.reg.Accounts.Open(me, solution(ownedBy(" ACME@partner.example ")))
		w.must(err)
		if a.Owner != p.Contact || a.Partner != p.ID || a.Type != "solution" || a.Project != nil || a.State != "active" || a.Key == "" {
			w.t.Errorf("opened %+v", a)
		}
		own, err := w.reg.Accounts.Open(member, solution())
		if w.must(err); own.Owner == a.Owner {
			w.t.Error("a member's account is his admin's")
		}
		for _, email := range []string{"acme@partner.example", "nobody@nowhere.example"} {
			wants(w.t, email, second(w.reg.Accounts.Open(member, solution(ownedBy(email)))), partner.ErrNotCertified)
		}
		w.project(me, "one")
		for who, ctx := range map[string]context.Context{"the vendor": w.vendor, "a project's log-in": w.login("one")} {
			wants(w.t, who, second(w.reg.Accounts.Open(ctx, solution(ownedBy("acme@partner.example")))), partner.ErrForbidden)
		}
		limited := w.user(p.ID, "limited", func(u *partner.NewUser) { u.Scope.Accounts = []partner.AccountID{} })
		wants(w.t, "one who is limited to some accounts", second(w.reg.Accounts.Open(limited, solution())), partner.ErrForbidden)
		second(w.reg.Program.Revoke(w.vendor, c.ID, "left"))
		wants(w.t, "after", second(w.reg.Accounts.Open(me, solution())), partner.ErrNotCertified)
		w.must(second(w.reg.Accounts.Get(me, a.ID)))
	})
}

// TestPLX04_ALaterAddressKeepsOwnership: an account is its owner's, and not his address's.
func TestPLX04_ALaterAddressKeepsOwnership(t *testing.T) {
	each(t, func(w *world) {
		p, me, shop := w.workshop("acme")
		u, err := w.reg.Users.Get(me, p.Contact)
		w.must(err)
		w.must(second(w.reg.Users.Edit(w.vendor, u.ID, u.Version, func(u *partner.NewUser) { u.Email = "new@partner.example" })))
		w.member(me, shop.ID, special("Ann"))
		other := w.user(p.ID, "other", func(u *partner.NewUser) { u.Email, u.Role = "acme@partner.example", partner.Admin })
		wants(w.t, "whoever has the address now", second(w.reg.Accounts.AddMember(other, shop.ID, special("Eve"))), partner.ErrNotOwner)
	})
}

// TestPLX04_ByMail: without a session of his, the owner opens by a token that was mailed to him, once, and nobody else's serves.
func TestPLX04_ByMail(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		w.partner("plain")
		w.certify(p.ID, "builder", partner.Period{})
		for _, email := range []string{"plain@partner.example", "nobody@nowhere.example"} {
			wants(w.t, email, second(w.reg.Accounts.RequestOpen(w.vendor, email)), partner.ErrNotCertified)
		}
		wants(w.t, "a partner asks", second(w.reg.Accounts.RequestOpen(me, "acme@partner.example")), partner.ErrForbidden)
		w.must(second(w.reg.Accounts.RequestOpen(w.vendor, "ACME@partner.example")))
		token := w.token(box, "account_opening", "acme@partner.example")
		with := func(n *partner.NewAccount) { n.Token = token }
		nobody := w.t.Context()
		wants(w.t, "to log in", second(w.accept(token)), partner.ErrNotFound)
		wants(w.t, "to look", second(w.reg.Access.Invited(nobody, token)), partner.ErrNotFound)
		wantsFields(w.t, "another type", second(w.reg.Accounts.Open(nobody, partner.NewAccount{Type: "standard", Name: "x", Token: token})), "type:format")
		wants(w.t, "no token", second(w.reg.Accounts.Open(nobody, solution(func(n *partner.NewAccount) { n.Token = "nonsense" }))), partner.ErrNotFound)
		wants(w.t, "another's address", second(w.reg.Accounts.Open(nobody, solution(with, ownedBy("plain@partner.example")))), partner.ErrNotCertified)
		a, err := w.reg.Accounts.Open(nobody, solution(with, func(n *partner.NewAccount) { n.Key = "k" }))
		w.must(err)
		if a.Owner != p.Contact || a.Partner != p.ID {
			w.t.Errorf("opened %+v", a)
		}
		again, err := w.reg.Accounts.Open(nobody, solution(with, func(n *partner.NewAccount) { n.Key = "k" }))
		if w.must(err); again.ID != a.ID || !again.Replayed {
			w.t.Errorf("again %+v", again)
		}
		wants(w.t, "a second account", second(w.reg.Accounts.Open(nobody, solution(with))), partner.ErrTokenUsed)
		w.must(second(w.reg.Accounts.RequestOpen(w.vendor, "acme@partner.example")))
		token = w.token(box, "account_opening", "acme@partner.example")
		dev := w.addedUser(p.ID, "dev")
		w.must(w.reg.Partners.SetContact(w.vendor, p.ID, dev.ID))
		w.must(w.reg.Users.Disable(w.vendor, p.Contact))
		wants(w.t, "of one who was disabled", second(w.reg.Accounts.Open(nobody, solution(with))), partner.ErrNotFound)
		w.must(w.reg.Users.Enable(w.vendor, p.Contact))
		w.clock.Advance(15 * 24 * time.Hour)
		wants(w.t, "too late", second(w.reg.Accounts.Open(nobody, solution(with))), partner.ErrTokenExpired)
		events, err := w.reg.Activity.List(w.login("acme"), partner.EventFilter{Account: a.ID}, partner.PageRequest{})
		if w.must(err); len(events.Items) != 1 || events.Items[0].Kind != "account.opened" || events.Items[0].Actor != string(p.Contact) {
			w.t.Errorf("the events are %+v", events.Items)
		}
	})
}

// TestPLX28_AdminsOpenStandardAccounts, and the vendor names the owner.
func TestPLX28_AdminsOpenStandardAccounts(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		standard := func(change ...func(*partner.NewAccount)) partner.NewAccount {
			return solution(append(change, func(n *partner.NewAccount) { n.Type = "standard" })...)
		}
		at := func(id partner.ID) func(*partner.NewAccount) { return func(n *partner.NewAccount) { n.Partner = id } }
		member := w.user(p.ID, "dev", func(u *partner.NewUser) { u.Rights = everyRight })
		wants(w.t, "a member", second(w.reg.Accounts.Open(member, standard())), partner.ErrForbidden)
		a, err := w.reg.Accounts.Open(me, standard())
		if w.must(err); a.Owner != p.Contact {
			w.t.Errorf("opened %+v", a)
		}
		wantsFields(w.t, "for a colleague", second(w.reg.Accounts.Open(me, standard(ownedBy("dev@user.example")))), "owner_email:format")
		wantsFields(w.t, "the vendor, for nobody", second(w.reg.Accounts.Open(w.vendor, standard(at(p.ID)))), "owner_email:required")
		wantsFields(w.t, "the vendor, for a stranger", second(w.reg.Accounts.Open(w.vendor, standard(at(p.ID), ownedBy("x@y.example")))), "owner_email:unknown_code")
		wants(w.t, "the vendor, under itself", second(w.reg.Accounts.Open(w.vendor, standard(at(partner.Vendor), ownedBy("x@y.example")))), partner.ErrForbidden)
		b, err := w.reg.Accounts.Open(w.vendor, standard(at(p.ID), ownedBy("dev@user.example")))
		if w.must(err); b.Owner == a.Owner || b.Owner == "" {
			w.t.Errorf("the vendor opened %+v", b)
		}
		wantsFields(w.t, "everything wrong", second(w.reg.Accounts.Open(me, partner.NewAccount{Type: "nothing", OwnerEmail: "x", Key: "\x00"})),
			"name:required", "owner_email:format", "key:format", "type:unknown_code")
		wantsFields(w.t, "a project", second(w.reg.Accounts.Open(me, partner.NewAccount{Type: "project", Name: "x"})), "type:format")
		_, other := w.partner("other")
		wants(w.t, "another's", second(w.reg.Accounts.Open(other, standard(at(p.ID)))), partner.ErrNotFound)
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		wants(w.t, "under a blocked partner", second(w.reg.Accounts.Open(w.vendor, standard(at(p.ID), ownedBy("dev@user.example")))), partner.ErrBlocked)
		page, err := w.reg.Accounts.List(w.vendor, partner.AccountFilter{Partner: p.ID, Type: "standard"}, partner.PageRequest{})
		if w.must(err); len(page.Items) != 2 {
			w.t.Errorf("%d standard accounts", len(page.Items))
		}
		page, err = w.reg.Accounts.List(w.vendor, partner.AccountFilter{Type: "solution"}, partner.PageRequest{})
		if w.must(err); len(page.Items) != 0 {
			w.t.Errorf("%d solution accounts", len(page.Items))
		}
	})
}

// TestPLX28_FromAbove: an admin whose organisation manages the partner opens accounts and projects there, which its primary contact owns.
func TestPLX28_FromAbove(t *testing.T) {
	each(t, func(w *world) {
		own, me := w.partner("own")
		below, _ := w.partner("below", under(own.ID))
		w.edit(own, func(a *partner.Agreement) { a.ManagesSubPartners = true })
		a, err := w.reg.Accounts.Open(me, partner.NewAccount{Type: "standard", Name: "x", Partner: below.ID})
		w.must(err)
		in := newProject("one")
		in.Partner, in.Password = below.ID, ""
		project, err := w.reg.Accounts.OpenProject(me, in)
		w.must(err)
		if a.Owner != below.Contact || project.Owner != below.Contact {
			w.t.Errorf("they are %s's and %s's, want %s's", a.Owner, project.Owner, below.Contact)
		}
		wants(w.t, "its members", second(w.reg.Accounts.AddMember(me, a.ID, newMember(partner.Employee, "dev"))), partner.ErrNotOwner)
		if mine := w.project(me, "mine"); mine.Owner != own.Contact {
			w.t.Errorf("his own is %s's", mine.Owner)
		}
	})
}
