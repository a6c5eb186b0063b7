package partner_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// TestPLX27_Transfer: the account has one owner at a time; what was his alone is the other's from then on, and both are told.
func TestPLX27_Transfer(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me, shop := w.workshop("acme")
		dev := w.addedUser(p.ID, "dev")
		ann := w.member(me, shop.ID, special("Ann"))
		ext := w.member(me, shop.ID, newMember(partner.External, "ext"))
		token := w.token(box, "invitation", "ext@member.example")
		s, err := w.reg.Access.ActAs(me, ann.ID, "to look")
		w.must(err)
		acting := partner.WithSession(w.t.Context(), s)
		w.must(second(w.reg.Accounts.Get(acting, shop.ID)))
		wants(w.t, "in the place of another", w.reg.Accounts.TransferOwnership(acting, shop.ID, dev.ID), partner.ErrForbidden)
		w.must(w.reg.Accounts.TransferOwnership(me, shop.ID, dev.ID))
		wants(w.t, "the next call of who acted", second(w.reg.Accounts.Get(acting, shop.ID)), partner.ErrGrantExpired)
		wants(w.t, "the former owner", second(w.reg.Access.ActAs(me, ann.ID, "to look")), partner.ErrNotOwner)
		wants(w.t, "his invitation", second(w.accept(token)), partner.ErrTokenExpired)
		as := w.login(dev.Login)
		if state := w.state(as, ext.ID); state != "lapsed" {
			w.t.Errorf("who was invited is %s", state)
		}
		w.must(second(w.reg.Access.ActAs(as, ann.ID, "to look")))
		w.must(second(w.reg.Accounts.ReinviteMember(as, ext.ID)))
		w.must(second(w.accept(w.token(box, "invitation", "ext@member.example"))))
		if m := box.last(w.t, "account_transferred", "dev@user.example"); m.Data["account"] != shop.Name || m.Data["owner"] != dev.Name {
			w.t.Errorf("the letter is %+v", m.Data)
		}
		if slices.ContainsFunc(box.sent, func(m partner.Message) bool {
			return m.Template == "account_transferred" && m.To == "acme@partner.example"
		}) {
			w.t.Error("who gave it away is told that he has")
		}
		now, err := w.reg.Accounts.Get(me, shop.ID)
		if w.must(err); now.Owner != dev.ID || now.Version != shop.Version+1 {
			w.t.Errorf("the account is %+v", now)
		}
		w.must(w.reg.Accounts.TransferOwnership(me, shop.ID, dev.ID)) // an admin, to who has it: nothing happens
		w.countsAdd()
	})
}

// TestPLX27_WhoMayOwn: an active user of the partner who sees the account, of a certified partner where the type asks for that.
func TestPLX27_WhoMayOwn(t *testing.T) {
	each(t, func(w *world) {
		p, me, shop := w.workshop("acme")
		other, stranger := w.partner("other")
		disabled := w.addedUser(p.ID, "off")
		w.must(w.reg.Users.Disable(me, disabled.ID))
		limited := w.addedUser(p.ID, "limited", func(u *partner.NewUser) { u.Scope.Accounts = []partner.AccountID{} })
		invited := w.invited(me, p.ID, "soon")
		for what, c := range map[string]struct {
			to   partner.UserID
			want string
		}{"another partner's": {other.Contact, "owner:unknown_code"}, "nobody": {"usr_x", "owner:unknown_code"}, "no id": {"\x00", "owner:unknown_code"},
			"disabled": {disabled.ID, "owner:unknown_code"}, "invited": {invited.ID, "owner:unknown_code"}, "limited": {limited.ID, "owner:range"}} {
			wantsFields(w.t, what, w.reg.Accounts.TransferOwnership(w.vendor, shop.ID, c.to), c.want)
		}
		dev := w.addedUser(p.ID, "dev")
		wants(w.t, "a stranger", w.reg.Accounts.TransferOwnership(stranger, shop.ID, dev.ID), partner.ErrNotFound)
		wants(w.t, "a member", w.reg.Accounts.TransferOwnership(w.login(dev.Login), shop.ID, dev.ID), partner.ErrForbidden)
		facts, err := w.reg.Program.Certifications(w.vendor, p.ID, partner.PageRequest{})
		w.must(err)
		w.must(second(w.reg.Program.Revoke(w.vendor, facts.Items[0].ID, "left")))
		wants(w.t, "no longer certified", w.reg.Accounts.TransferOwnership(me, shop.ID, dev.ID), partner.ErrNotCertified)
		standard := w.account(me, "standard", "Everyday")
		w.must(w.reg.Accounts.TransferOwnership(w.vendor, standard.ID, dev.ID))
		w.must(w.reg.Accounts.TransferOwnership(w.login(dev.Login), standard.ID, p.Contact)) // the owner himself, a member without rights
	})
}

// TestPLX27_AnOwnerStays: who owns accounts is not removed, nor limited to others, and can be shut out all the same.
func TestPLX27_AnOwnerStays(t *testing.T) {
	each(t, func(w *world) {
		p, me, _ := w.workshop("acme")
		dev := w.addedUser(p.ID, "dev")
		as := w.login(dev.Login)
		own := w.account(as, "solution", "his")
		project := w.project(me, "one")
		w.must(w.reg.Accounts.TransferOwnership(me, project.ID, dev.ID))
		owns := func(what string, err error, want ...partner.AccountID) {
			w.t.Helper()
			var o *partner.OwnsAccountsError
			slices.Sort(want)
			if !errors.As(err, &o) || !slices.Equal(o.IDs, want) || !errors.Is(err, partner.ErrOwnsAccounts) {
				w.t.Errorf("%s: %v, want %v", what, err, want)
			}
			if kinds := kindsOf(err); len(kinds) != 1 || kinds[0] != "refused" {
				w.t.Errorf("%s is of the kinds %v", what, kinds)
			}
		}
		owns("removed", w.reg.Users.Remove(me, dev.ID), own.ID, project.ID)
		limit := func(ids ...partner.AccountID) error {
			u, err := w.reg.Users.Get(me, dev.ID)
			w.must(err)
			return second(w.reg.Users.Edit(me, dev.ID, u.Version, func(u *partner.NewUser) { u.Scope.Accounts = append([]partner.AccountID{}, ids...) }))
		}
		owns("limited to one", limit(project.ID), own.ID)
		w.must(limit(project.ID, own.ID))
		w.must(w.reg.Users.Disable(me, dev.ID))
		wants(w.t, "shut out", second(w.reg.Accounts.Get(as, own.ID)), partner.ErrForbidden)
		w.must(w.reg.Accounts.TransferOwnership(w.vendor, own.ID, p.Contact))
		w.must(w.reg.Accounts.TransferOwnership(me, project.ID, p.Contact))
		w.must(w.reg.Users.Remove(me, dev.ID))
	})
}

// TestPLX27_TheHostIsAsked before an account goes to another owner.
func TestPLX27_TheHostIsAsked(t *testing.T) {
	asked, say := "", true
	eachWith(t, func(o *partner.Options) {
		o.StepUp = func(_ context.Context, principal, action, target string) (bool, error) {
			asked = principal[:4] + " " + action + " " + target
			return say, nil
		}
	}, func(w *world) {
		say = true
		p, me, shop := w.workshop("acme")
		dev := w.addedUser(p.ID, "dev")
		w.must(w.reg.Accounts.TransferOwnership(me, shop.ID, dev.ID))
		if asked != "usr_ account.transfer "+string(shop.ID) {
			w.t.Errorf("asked %q", asked)
		}
		say = false
		wants(w.t, "no", w.reg.Accounts.TransferOwnership(me, shop.ID, p.Contact), partner.ErrForbidden)
		w.must(w.reg.Accounts.TransferOwnership(w.vendor, shop.ID, p.Contact))
	})
}
