package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

func special(name string) partner.NewMember {
	return partner.NewMember{Kind: partner.Special, Name: name}
}

// newMember is a valid one of a kind with this name.
func newMember(kind partner.MemberKind, name string) partner.NewMember {
	m := partner.NewMember{Kind: kind, Name: name, Email: name + "@member.example"}
	switch kind {
	case partner.External:
		m.Roles = []string{"tester"}
	case partner.Guest:
		m.Roles = []string{"contributor"}
	}
	return m
}

func (w *world) member(owner context.Context, a partner.AccountID, m partner.NewMember) partner.MemberInfo {
	w.t.Helper()
	made, err := w.reg.Accounts.AddMember(owner, a, m)
	w.must(err)
	return made
}

// joined is a member who has accepted, and the session in which he did.
func (w *world) joined(box *postbox, owner context.Context, a partner.AccountID, m partner.NewMember) (partner.MemberInfo, context.Context) {
	w.t.Helper()
	made := w.member(owner, a, m)
	as, err := w.accept(w.token(box, "invitation", m.Email))
	w.must(err)
	return made, as
}

// state is a member's, as his account's owner sees it.
func (w *world) state(me context.Context, id partner.MemberID) string {
	w.t.Helper()
	m, err := w.reg.Accounts.Member(me, id)
	w.must(err)
	return m.State
}

// countsAdd fails unless what is counted is what there is.
func (w *world) countsAdd() {
	w.t.Helper()
	const wrong = `SELECT count(*) FROM prm_quotas q WHERE account_id <> '' AND used <> (SELECT count(*) FROM prm_members m WHERE m.account_id = q.account_id
		AND m.kind = q.kind AND m.state IN ('invited', 'active'))`
	const unseen = `SELECT count(*) FROM prm_members m WHERE m.state IN ('invited', 'active') AND NOT EXISTS (SELECT 1 FROM prm_quotas q
		WHERE q.account_id = m.account_id AND q.kind = m.kind)`
	for _, query := range []string{wrong, unseen} {
		var n int64
		w.must(w.db.Raw(query).Scan(&n).Error)
		if n != 0 {
			w.t.Errorf("%d counts are wrong: %s", n, query)
		}
	}
}

func wantsQuota(t testing.TB, what string, err error, want partner.QuotaError) {
	t.Helper()
	var q *partner.QuotaError
	if !errors.As(err, &q) || *q != want {
		t.Errorf("%s: %v, want %+v", what, err, want)
	}
}

// TestAT01_TenSpecialEmployees: fifty additions and re-activations at the same time leave exactly ten.
func TestAT01_TenSpecialEmployees(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		var idle []partner.MemberID
		for i := range 5 {
			m := w.member(me, shop.ID, special(fmt.Sprint("old ", i)))
			w.must(w.reg.Accounts.DeactivateMember(me, m.ID))
			idle = append(idle, m.ID)
		}
		done := 0
		for _, err := range w.atOnce(50, func(i int) error {
			if i < len(idle) {
				return w.reg.Accounts.ReactivateMember(me, idle[i])
			}
			return second(w.reg.Accounts.AddMember(me, shop.ID, special(fmt.Sprint("new ", i))))
		}) {
			if err == nil {
				done++
				continue
			}
			wantsQuota(w.t, "one too many", err, partner.QuotaError{Kind: "special", Limit: 10, InUse: 10})
		}
		active := 0
		for m, err := range partner.Each(func(p partner.PageRequest) (partner.Page[partner.MemberInfo], error) {
			return w.reg.Accounts.Members(me, shop.ID, p)
		}) {
			w.must(err)
			if m.State == "active" {
				active++
			}
		}
		if done != 10 || active != 10 {
			w.t.Errorf("%d calls succeeded, %d are active", done, active)
		}
		w.countsAdd()
	})
}

// TestPLX06_EleventhRefused: an inactive one makes room, and comes back only where there is some.
func TestPLX06_EleventhRefused(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		var first partner.MemberInfo
		for i := range 10 {
			if m := w.member(me, shop.ID, special(fmt.Sprint("Role ", i))); i == 0 {
				first = m
			}
		}
		full := partner.QuotaError{Kind: "special", Limit: 10, InUse: 10}
		wantsQuota(w.t, "an eleventh", second(w.reg.Accounts.AddMember(me, shop.ID, special("Role 10"))), full)
		w.must(w.reg.Accounts.DeactivateMember(me, first.ID))
		w.member(me, shop.ID, special("Role 10"))
		wantsQuota(w.t, "the inactive one again", w.reg.Accounts.ReactivateMember(me, first.ID), full)
		wants(w.t, "deactivated twice", w.reg.Accounts.DeactivateMember(me, first.ID), partner.ErrBadTransition)
		w.must(w.reg.Accounts.RemoveMember(me, first.ID))
		wants(w.t, "removed twice", w.reg.Accounts.RemoveMember(me, first.ID), partner.ErrBadTransition)
		wants(w.t, "who was removed", w.reg.Accounts.ReactivateMember(me, first.ID), partner.ErrBadTransition)
		w.countsAdd()
	})
}

// TestPLX07_OneExternalUser: he has a counter of his own, and his invitation counts.
func TestPLX07_OneExternalUser(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		for i := range 10 {
			w.member(me, shop.ID, special(fmt.Sprint("Role ", i)))
		}
		guest := w.member(me, shop.ID, newMember(partner.External, "ext"))
		wantsQuota(w.t, "a second", second(w.reg.Accounts.AddMember(me, shop.ID, newMember(partner.External, "ext2"))), partner.QuotaError{Kind: "external", Limit: 1, InUse: 1})
		w.must(w.reg.Accounts.RemoveMember(me, guest.ID)) // taken back, the invitation frees its place
		w.member(me, shop.ID, newMember(partner.External, "ext2"))
		w.countsAdd()
	})
}

// TestPLX08_ANameIsEnough: addresses of special employees are optional, and one of an account.
func TestPLX08_ANameIsEnough(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		w.member(me, shop.ID, special("Ann"))
		w.member(me, shop.ID, special("Ann"))
		with := special("Bob")
		with.Email = "bob@shop.example"
		bob := w.member(me, shop.ID, with)
		with.Name, with.Email = "Eve", "BOB@shop.example"
		wantsFields(w.t, "the same address", second(w.reg.Accounts.AddMember(me, shop.ID, with)), "email:taken")
		wantsFields(w.t, "no name", second(w.reg.Accounts.AddMember(me, shop.ID, special(" "))), "name:required")
		other := w.account(me, "solution", "elsewhere")
		w.member(me, other.ID, with)
		now, err := w.reg.Accounts.EditMember(me, bob.ID, bob.Version, func(m *partner.NewMember) { m.Name, m.Email, m.Roles = "Robert", "", []string{"sales", "support"} })
		if w.must(err); now.Name != "Robert" || now.Email != "" || !slices.Equal(now.Roles, []string{"sales", "support"}) || now.Version != bob.Version+1 {
			w.t.Errorf("edited %+v", now)
		}
		w.member(me, shop.ID, with)
		wants(w.t, "an old version", second(w.reg.Accounts.EditMember(me, bob.ID, bob.Version, func(m *partner.NewMember) { m.Name = "x" })), partner.ErrConflict)
		wants(w.t, "another kind", second(w.reg.Accounts.EditMember(me, bob.ID, now.Version, func(m *partner.NewMember) { m.Kind = partner.Employee })), partner.ErrImmutable)
		w.countsAdd()
	})
}

// TestPLX09_NoDirectLogin: nothing gives a special employee a way in of his own.
func TestPLX09_NoDirectLogin(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		in := special("Ann")
		in.Email = "ann@shop.example"
		ann := w.member(me, shop.ID, in)
		for what, err := range map[string]error{
			"a password": second(w.reg.Accounts.ResetMemberPassword(me, ann.ID)), "an invitation": second(w.reg.Accounts.ReinviteMember(me, ann.ID)),
			"a log-in by his id": second(w.reg.Access.WorkIn(me, ann.ID)),
		} {
			wants(w.t, what, err, partner.ErrNoDirectLogin)
		}
		for _, name := range []string{"Ann", "ann@shop.example", string(ann.ID)} {
			wants(w.t, name, second(w.reg.Access.Login(w.t.Context(), name, password, "")), partner.ErrBadCredentials)
		}
		_, other := w.partner("other")
		wants(w.t, "a stranger learns nothing", second(w.reg.Access.WorkIn(other, ann.ID)), partner.ErrNotFound)
		if n := len(w.mail()); n != 0 {
			w.t.Errorf("%d letters are on their way", n)
		}
	})
}

// TestPLX28_KindsByTypes: which members an account has room for, and what each must bring.
func TestPLX28_KindsByTypes(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		_, _, _ = w.workshop("beta")
		accounts := map[string]partner.AccountID{"solution": shop.ID, "standard": w.account(me, "standard", "Everyday").ID, "project": w.project(me, "one").ID}
		room := map[string]string{"solution": "special external collaborator", "standard": "employee external collaborator", "project": "collaborator guest"}
		for kind, id := range accounts {
			for _, k := range []partner.MemberKind{partner.Employee, partner.Special, partner.External, partner.Collaborator, partner.Guest} {
				in := newMember(k, string(k)+"-"+kind)
				if k == partner.Collaborator {
					in.Email = "beta@partner.example"
				}
				err := second(w.reg.Accounts.AddMember(me, id, in))
				if may := slices.Contains(strings.Fields(room[kind]), string(k)); may && err != nil || !may && !errors.Is(err, partner.ErrQuota) {
					w.t.Errorf("%s in %s: %v", k, kind, err)
				}
			}
		}
		for what, c := range map[string]struct {
			m    partner.NewMember
			want []string
		}{
			"no kind": {partner.NewMember{}, []string{"kind:unknown_code", "email:required"}}, "no address": {partner.NewMember{Kind: partner.Employee}, []string{"email:required"}},
			"a bad address":     {partner.NewMember{Kind: partner.Employee, Email: "x"}, []string{"email:format"}},
			"no role":           {partner.NewMember{Kind: partner.External, Email: "a@b.example"}, []string{"roles:required"}},
			"two roles":         {partner.NewMember{Kind: partner.External, Email: "a@b.example", Roles: []string{"a", "b"}}, []string{"roles:required"}},
			"a role of a guest": {partner.NewMember{Kind: partner.Guest, Email: "a@b.example", Roles: []string{"boss"}}, []string{"roles:unknown_code"}},
			"a role twice":      {partner.NewMember{Kind: partner.Employee, Email: "a@b.example", Roles: []string{"a", "a"}}, []string{"roles.1:format"}},
			"no log-in name":    {partner.NewMember{Kind: partner.Employee, Email: "аdmin@b.example"}, []string{"email:format"}},
			"everything": {partner.NewMember{Kind: partner.External, Name: "a\nb", Email: "x", Locale: "?", Key: "a\x00", Roles: []string{""}},
				[]string{"name:format", "email:format", "locale:unknown_code", "key:format", "roles.0:required"}},
		} {
			wantsFields(w.t, what, second(w.reg.Accounts.AddMember(me, accounts["standard"], c.m)), c.want...)
		}
		w.countsAdd()
	})
}

// TestPLX28_OnlyTheOwner: others of the partner, its admins too, and the vendor look on.
func TestPLX28_OnlyTheOwner(t *testing.T) {
	each(t, func(w *world) {
		p, me, shop := w.workshop("acme")
		m := w.member(me, shop.ID, special("Ann"))
		admin := w.user(p.ID, "boss", func(u *partner.NewUser) { u.Role = partner.Admin })
		member := w.user(p.ID, "all", func(u *partner.NewUser) { u.Rights = everyRight })
		for who, ctx := range map[string]context.Context{"an admin": admin, "a member": member, "the vendor": w.vendor} {
			for what, err := range map[string]error{
				"add": second(w.reg.Accounts.AddMember(ctx, shop.ID, special("Eve"))), "edit": second(w.reg.Accounts.EditMember(ctx, m.ID, 1, func(*partner.NewMember) {})),
				"deactivate": w.reg.Accounts.DeactivateMember(ctx, m.ID), "reactivate": w.reg.Accounts.ReactivateMember(ctx, m.ID),
				"remove": w.reg.Accounts.RemoveMember(ctx, m.ID), "invite": second(w.reg.Accounts.ReinviteMember(ctx, m.ID)),
				"act": second(w.reg.Access.ActAs(ctx, m.ID, "to look")),
			} {
				wants(w.t, who+" "+what, err, partner.ErrNotOwner)
			}
			page, err := w.reg.Accounts.Members(ctx, shop.ID, partner.PageRequest{})
			if w.must(err); len(page.Items) != 1 || page.Items[0].Name != "Ann" || page.Items[0].AccountName != shop.Name {
				w.t.Errorf("%s sees %+v", who, page.Items)
			}
		}
		_, other := w.partner("other")
		wants(w.t, "a stranger", second(w.reg.Accounts.Members(other, shop.ID, partner.PageRequest{})), partner.ErrNotFound)
		wants(w.t, "a stranger", w.reg.Accounts.RemoveMember(other, m.ID), partner.ErrNotFound)
	})
}

// TestPLX28_AddedOnce: the same key and content is the same member, whatever the state of things is by then.
func TestPLX28_AddedOnce(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		in := special("Ann")
		in.Key = "k"
		first := w.member(me, shop.ID, in)
		again := w.member(me, shop.ID, in)
		if again.ID != first.ID || !again.Replayed || first.Replayed || again.Key != "k" {
			w.t.Errorf("%+v again %+v", first, again)
		}
		in.Name = "Eve"
		wants(w.t, "another content", second(w.reg.Accounts.AddMember(me, shop.ID, in)), partner.ErrIdempotencyMismatch)
		if made := w.member(me, shop.ID, special("Bob")); made.Key == "" {
			w.t.Error("no key was made")
		}
		w.countsAdd()
	})
}

// TestPLX28_CountsOfAHostTransaction go with it.
func TestPLX28_CountsOfAHostTransaction(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		tx := w.db.Begin()
		in := w.reg.In(tx)
		m, err := in.Accounts.AddMember(me, shop.ID, special("Ann"))
		w.must(err)
		w.must(in.Accounts.DeactivateMember(me, m.ID))
		w.must(in.Accounts.ReactivateMember(me, m.ID))
		w.must(tx.Rollback().Error)
		w.countsAdd()
		wants(w.t, "who was rolled back", second(w.reg.Accounts.Member(me, m.ID)), partner.ErrNotFound)
		for i := range 10 {
			w.member(me, shop.ID, special(fmt.Sprint("Role ", i)))
		}
		w.countsAdd()
	})
}
