package partner_test

import (
	"context"
	"errors"
	"maps"

	"github.com/partnerkit/partnerkit/partner"
)

// joined is all of several maps.
func joined[K comparable, V any](list ...map[K]V) map[K]V {
	all := map[K]V{}
	for _, m := range list {
		maps.Copy(all, m)
	}
	return all
}

// memberOf is a special employee whom every account of the random world has.
func memberOf(account string) partner.MemberID { return partner.MemberID("mem_of_" + account) }

// alone tells whether the call for an action refuses in a host transaction.
func alone(action string) bool { return action == "access.act_for" || action == "access.act_as" }

// askedOfPlaces are the real calls about account types, accounts of any type and their members.
var askedOfPlaces = map[string]asked{
	"account.open": {"partner?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		n := partner.NewAccount{Type: "standard", Name: "X", Partner: partner.ID(target)}
		err := second(r.reg.Accounts.Open(ctx, n))
		if errors.Is(err, partner.ErrInvalid) { // the vendor names the owner
			n.OwnerEmail = string(userOf(target)) + "@partner.example"
			err = second(r.reg.Accounts.Open(ctx, n))
		}
		return err
	}},
	"account.open_own": {"partner?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.Open(ctx, partner.NewAccount{Type: "solution", Name: "X", Partner: partner.ID(target)}))
	}},
	"account.mail_open": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return second(r.reg.Accounts.RequestOpen(ctx, "usr_of_opener@partner.example"))
	}},
	"account.edit": {"account", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.Edit(ctx, partner.AccountID(target), x.version("prm_accounts", target), func(n *partner.NewAccount) { n.Name = "X" }))
	}},
	"account.transfer": {"account", func(x *explaining, r rooms, ctx context.Context, target string) error {
		var of string
		x.must(x.db.Raw("SELECT partner_id FROM prm_accounts WHERE id = ?", target).Scan(&of).Error)
		return r.reg.Accounts.TransferOwnership(ctx, partner.AccountID(target), userOf(of))
	}},
	"account.misuse": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Accounts.ReportMisuse(ctx, partner.AccountID(target), "orders")
	}},
	"account.types": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return second(r.reg.Accounts.Types(ctx))
	}},
	"account.define_type": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return r.reg.Accounts.DefineType(ctx, partner.AccountType{Code: "explained"})
	}},
	"member.list": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.Members(ctx, partner.AccountID(target), partner.PageRequest{}))
	}},
	"member.add": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.AddMember(ctx, partner.AccountID(target), partner.NewMember{Kind: partner.Special, Name: "X"}))
	}},
	"member.edit": {"account", func(x *explaining, r rooms, ctx context.Context, target string) error {
		id := memberOf(target)
		return second(r.reg.Accounts.EditMember(ctx, id, x.version("prm_members", string(id)), func(m *partner.NewMember) { m.Name = "Y" }))
	}},
	"access.act_as": {"account", func(x *explaining, _ rooms, ctx context.Context, target string) error {
		return second(x.reg.Access.ActAs(ctx, memberOf(target), "to look"))
	}},
}

// places adds an account of each of the other types, whoever works in a place, and a special employee of every account. Everybody is certified, for
// whether somebody is shows behind the decision.
func (x *explaining) places(actors map[string]context.Context, partners, accounts []string) []string {
	for _, p := range partners {
		x.certify(partner.ID(p), "explained", partner.Period{})
	}
	x.addUser(partner.ID(partners[0]), "usr_of_opener")
	tamper(x.t, x.db, "UPDATE prm_identities SET email_key = lower(email) WHERE id LIKE 'idn_usr_of%'") // whom the vendor names as owners
	owner := x.user(partner.ID(partners[0]), "owner")
	solution := x.solution(owner, "Solution").ID
	office := x.account(actors["p1"], "standard", "Office").ID
	accounts = append(accounts, string(solution), string(office))
	for _, a := range accounts {
		tamper(x.t, x.db, `INSERT INTO prm_members (id, partner_id, account_id, kind, name, email, email_key, locale, roles, state, version, due_at, entered_at, created_at)
			SELECT ?, partner_id, id, 'special', 'X', '', '', '', 'tester', 'active', 1, 0, 0, 1 FROM prm_accounts WHERE id = ?`, memberOf(a), a)
	}
	helper := x.user(partner.ID(partners[2]), "helper")
	m, _ := x.moved(actors["p1"], partner.AccountID(accounts[1]), partner.Collaborator, "helper@user.example")
	_, viewer := x.moved(actors["p3"], partner.AccountID(accounts[3]), partner.Guest, "viewer@guest.example", "viewer")
	_, employee := x.moved(actors["p1"], office, partner.Employee, "employee@guest.example")
	maps.Copy(actors, map[string]context.Context{"the owner": owner, "the owner, acting": x.acting(owner, memberOf(string(solution))), "the helper at home": helper,
		"a collaborator": x.working(helper, m.ID), "a viewer": viewer, "an employee": employee})
	return accounts
}

// placeVerbs are the verbs about an account of any type.
func (w *world) placeVerbs(me context.Context, id partner.AccountID) map[string]func() error {
	return map[string]func() error{
		"Edit": func() error {
			return second(w.reg.Accounts.Edit(me, id, 1, func(n *partner.NewAccount) { n.Name = "X" }))
		},
		"Entitled":          func() error { return second(w.reg.Accounts.Entitled(me, id, "charts")) },
		"ReportMisuse":      func() error { return w.reg.Accounts.ReportMisuse(me, id, "orders") },
		"TransferOwnership": func() error { return w.reg.Accounts.TransferOwnership(me, id, "usr_none") },
		"Members":           func() error { return second(w.reg.Accounts.Members(me, id, partner.PageRequest{})) },
		"AddMember": func() error {
			return second(w.reg.Accounts.AddMember(me, id, partner.NewMember{Kind: partner.Special, Name: "X"}))
		},
		"Sessions": func() error { return second(w.reg.Access.Sessions(me, string(id), partner.PageRequest{})) },
	}
}

// memberVerbs are the verbs about a member; no caller has a place by that id.
func (w *world) memberVerbs(me context.Context, id partner.MemberID) map[string]func() error {
	return map[string]func() error{
		"Member": func() error { return second(w.reg.Accounts.Member(me, id)) },
		"EditMember": func() error {
			return second(w.reg.Accounts.EditMember(me, id, 1, func(m *partner.NewMember) { m.Name = "X" }))
		},
		"DeactivateMember":    func() error { return w.reg.Accounts.DeactivateMember(me, id) },
		"ReactivateMember":    func() error { return w.reg.Accounts.ReactivateMember(me, id) },
		"RemoveMember":        func() error { return w.reg.Accounts.RemoveMember(me, id) },
		"ReinviteMember":      func() error { return second(w.reg.Accounts.ReinviteMember(me, id)) },
		"ResetMemberPassword": func() error { return second(w.reg.Accounts.ResetMemberPassword(me, id)) },
		"ActAs":               func() error { return second(w.reg.Access.ActAs(me, id, "to look")) },
		"WorkIn":              func() error { return second(w.reg.Access.WorkIn(me, id)) },
		"Sessions":            func() error { return second(w.reg.Access.Sessions(me, string(id), partner.PageRequest{})) },
	}
}
