package partner_test

import (
	"context"
	"slices"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// meanwhile is a hasher that lets something happen once while a password is hashed or checked.
type meanwhile struct {
	plainHasher
	do func()
}

func (m *meanwhile) once() {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
}

func (m *meanwhile) Hash(ctx context.Context, p []byte) (string, error) {
	m.once()
	return m.plainHasher.Hash(ctx, p)
}

func (m *meanwhile) Verify(ctx context.Context, hash string, p []byte) (ok, renew bool, err error) {
	defer m.once()
	return m.plainHasher.Verify(ctx, hash, p)
}

// TestPLX22_AnotherWasFirst: whoever the address belongs to is looked at again when the invitation is accepted.
func TestPLX22_AnotherWasFirst(t *testing.T) {
	slow := &meanwhile{}
	mailing(t, func(w *world, box *postbox) {
		slow.do = nil
		_, me := w.partner("acme")
		a, b, c := w.account(me, "standard", "A"), w.account(me, "standard", "B"), w.account(me, "standard", "C")
		w.member(me, a.ID, newMember(partner.Employee, "dev"))
		first := w.token(box, "invitation", "dev@member.example")
		w.member(me, b.ID, newMember(partner.Employee, "dev"))
		next := w.token(box, "invitation", "dev@member.example")
		slow.do = func() { w.must(second(w.accept(next))) }
		wants(w.t, "his address was proved meanwhile", second(w.accept(first)), partner.ErrConflict)
		as, err := w.accept(first)
		w.must(err)
		w.member(me, c.ID, newMember(partner.Employee, "dev"))
		third := w.token(box, "invitation", "dev@member.example")
		slow.do = func() { w.must(w.reg.Access.ChangePassword(as, password, "another long secret")) }
		wants(w.t, "his password was changed meanwhile", second(w.accept(third)), partner.ErrConflict)
		wants(w.t, "the former one", second(w.accept(third)), partner.ErrBadCredentials)
	}, func(o *partner.Options) { o.Hasher = slow })
}

// TestPLX22_WhoConfirms: a session in which somebody acts for another confirms nothing.
func TestPLX22_WhoConfirms(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me, shop := w.workshop("acme")
		ann := w.member(me, shop.ID, special("Ann"))
		_, other := w.partner("other")
		b := w.account(other, "standard", "B")
		w.member(other, b.ID, partner.NewMember{Kind: partner.Collaborator, Email: "acme@partner.example"})
		token := w.token(box, "invitation", "acme@partner.example")
		_, acting := w.actingAs(me, ann.ID)
		wantsFields(w.t, "as Ann", second(w.reg.Access.Accept(acting, token, partner.Acceptance{})), "password:required")
		w.must(second(w.reg.Access.Accept(me, token, partner.Acceptance{})))
	})
}

// TestPLX22_ALapsedLetterIsNotSent, and so is none of who was removed.
func TestPLX22_ALapsedLetterIsNotSent(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me, shop := w.workshop("acme")
		dev := w.addedUser(p.ID, "dev")
		w.member(me, shop.ID, newMember(partner.External, "ext"))
		w.must(w.reg.Accounts.TransferOwnership(me, shop.ID, dev.ID))
		as := w.login(dev.Login)
		m := w.member(as, shop.ID, newMember(partner.External, "other"))
		w.must(w.reg.Accounts.RemoveMember(as, m.ID))
		w.post()
		if i := slices.IndexFunc(box.sent, func(m partner.Message) bool { return m.Template == "invitation" }); i >= 0 {
			w.t.Errorf("sent to %s", box.sent[i].To)
		}
	})
}

// TestPLX21_ReactivatedWhileCertified: a collaborator comes back only where his partner is certified still.
func TestPLX21_ReactivatedWhileCertified(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me, shop := w.workshop("acme")
		beta, _ := w.partner("beta")
		c := w.certify(beta.ID, "builder", partner.Period{})
		m, _ := w.joined(box, me, shop.ID, partner.NewMember{Kind: partner.Collaborator, Email: "beta@partner.example"})
		w.must(w.reg.Accounts.DeactivateMember(me, m.ID))
		w.must(second(w.reg.Program.Revoke(w.vendor, c.ID, "left")))
		wants(w.t, "no longer certified", w.reg.Accounts.ReactivateMember(me, m.ID), partner.ErrNotCertified)
		w.certify(beta.ID, "builder", partner.Period{})
		w.must(w.reg.Accounts.ReactivateMember(me, m.ID))
		w.countsAdd()
	})
}

// TestPLX22_WithoutAPlaceNothingIsLeft: whoever has lost his last place begins anew, with a password of his choice.
func TestPLX22_WithoutAPlaceNothingIsLeft(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.account(me, "standard", "A")
		m, _ := w.joined(box, me, a.ID, newMember(partner.Employee, "dev"))
		w.must(w.reg.Accounts.RemoveMember(me, m.ID))
		w.member(me, a.ID, newMember(partner.Employee, "dev"))
		token := w.token(box, "invitation", "dev@member.example")
		in, err := w.reg.Access.Invited(w.t.Context(), token)
		if w.must(err); in.Known {
			w.t.Error("he is still known")
		}
		w.must(second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "another long secret"})))
		if n := rowsIn(w.t, w.db, "prm_identities WHERE email_key = 'dev@member.example'"); n != 1 {
			w.t.Errorf("%d log-ins have his address", n)
		}
	})
}
