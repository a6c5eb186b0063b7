package partner_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// actingAs is a session of the owner as a special employee.
func (w *world) actingAs(owner context.Context, m partner.MemberID) (partner.Session, context.Context) {
	w.t.Helper()
	s, err := w.reg.Access.ActAs(owner, m, "screenshots")
	w.must(err)
	return s, partner.WithSession(context.Background(), s)
}

// TestAT02_TheOwnerActsAsHim: a special employee has no log-in; the owner acts as him, a collaborator does not; the audit shows both.
func TestAT02_TheOwnerActsAsHim(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me, shop := w.workshop("acme")
		beta, boss := w.partner("beta")
		w.certify(beta.ID, "builder", partner.Period{})
		in := special("Ann")
		in.Roles = []string{"sales"}
		ann := w.member(me, shop.ID, in)
		_, as := w.joined(box, me, shop.ID, partner.NewMember{Kind: partner.Collaborator, Email: "beta@partner.example"})
		wants(w.t, "his log-in", second(w.reg.Access.Login(w.t.Context(), string(ann.ID), password, "")), partner.ErrBadCredentials)
		wants(w.t, "a collaborator", second(w.reg.Access.ActAs(as, ann.ID, "to look")), partner.ErrNotOwner)
		wants(w.t, "a collaborator at home", second(w.reg.Access.ActAs(boss, ann.ID, "to look")), partner.ErrNotFound)
		wants(w.t, "the vendor", second(w.reg.Access.ActAs(w.vendor, ann.ID, "to look")), partner.ErrNotOwner)
		wantsFields(w.t, "no reason", second(w.reg.Access.ActAs(me, ann.ID, " ")), "reason:required")
		s, acting := w.actingAs(me, ann.ID)
		if s.Principal != string(ann.ID) || s.Actor != string(p.Contact) || s.Partner != p.ID || s.Account != shop.ID || s.Reason != "screenshots" || !slices.Equal(s.Roles, []string{"sales"}) {
			w.t.Errorf("the session is %+v", s)
		}
		if left := s.Expires.Sub(w.clock.Now()); left > time.Hour || left < time.Hour-time.Minute {
			w.t.Errorf("it lasts %v", left)
		}
		events, err := w.reg.Activity.List(me, partner.EventFilter{Account: shop.ID}, partner.PageRequest{Limit: 1})
		if w.must(err); events.Items[0].Kind != "session.delegated" || events.Items[0].Actor != string(p.Contact) || events.Items[0].Subject != string(ann.ID) {
			w.t.Errorf("the audit shows %+v", events.Items[0])
		}
		listed := w.sessions(me, "")
		if i := slices.IndexFunc(listed, func(l partner.Session) bool { return l.ID == s.ID }); i < 0 || listed[i].Reason != "screenshots" || listed[i].Principal != string(ann.ID) ||
			listed[i].Actor != string(p.Contact) || listed[i].Account != shop.ID {
			w.t.Errorf("his sessions are %+v", listed)
		}
		if theirs := w.sessions(me, string(ann.ID)); len(theirs) != 1 || theirs[0].ID != s.ID {
			w.t.Errorf("in her place are %+v", theirs)
		}
		w.must(second(w.reg.Accounts.Get(acting, shop.ID)))
		w.must(w.reg.Access.EndSession(me, s.ID))
		wants(w.t, "a session that was ended", second(w.reg.Accounts.Get(acting, shop.ID)), partner.ErrForbidden)
	})
}

// TestPLX10_NoNesting, and nothing that is a person's own.
func TestPLX10_NoNesting(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		ann, bob := w.member(me, shop.ID, special("Ann")), w.member(me, shop.ID, special("Bob"))
		_, acting := w.actingAs(me, ann.ID)
		for what, err := range map[string]error{
			"as another": second(w.reg.Access.ActAs(acting, bob.ID, "more")), "as himself": second(w.reg.Access.ActAs(acting, ann.ID, "more")),
			"as nobody": second(w.reg.Access.ActAs(acting, "mem_x", "more")), "in a place": second(w.reg.Access.WorkIn(acting, ann.ID)),
			"places": second(w.reg.Access.Memberships(acting, partner.PageRequest{})),
		} {
			wants(w.t, what, err, partner.ErrNestedDelegation)
		}
		for what, err := range map[string]error{
			"a password": w.reg.Access.ChangePassword(acting, password, "another long secret"), "members": second(w.reg.Accounts.AddMember(acting, shop.ID, special("Eve"))),
			"another owner": w.reg.Accounts.TransferOwnership(acting, shop.ID, "usr_x"), "a name": second(w.reg.Accounts.Edit(acting, shop.ID, 1, func(n *partner.NewAccount) { n.Name = "x" })),
			"an account": second(w.reg.Accounts.Open(acting, solution())),
		} {
			wants(w.t, what, err, partner.ErrForbidden)
		}
		w.must(w.reg.Access.Logout(acting))
		w.must(second(w.reg.Accounts.Get(me, shop.ID)))
		wants(w.t, "who is no member", second(w.reg.Access.ActAs(me, "mem_x", "more")), partner.ErrNotFound)
	})
}

// TestPLX10_OnlySpecialEmployees are acted as: others log in themselves.
func TestPLX10_OnlySpecialEmployees(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me, shop := w.workshop("acme")
		m, _ := w.joined(box, me, shop.ID, newMember(partner.External, "ext"))
		wants(w.t, "an external user", second(w.reg.Access.ActAs(me, m.ID, "to look")), partner.ErrRefused)
		ann := w.member(me, shop.ID, special("Ann"))
		w.must(w.reg.Accounts.DeactivateMember(me, ann.ID))
		wants(w.t, "one who is inactive", second(w.reg.Access.ActAs(me, ann.ID, "to look")), partner.ErrBadTransition)
	})
}

// TestPLX12_ActAsRoles: the session has exactly the employee's roles, also once they change.
func TestPLX12_ActAsRoles(t *testing.T) {
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		in := special("Ann")
		in.Roles = []string{"sales", "support"}
		ann := w.member(me, shop.ID, in)
		none := w.member(me, shop.ID, special("Bob"))
		_, acting := w.actingAs(me, ann.ID)
		roles := func(ctx context.Context) string {
			w.t.Helper()
			a, err := w.reg.Access.Active(ctx)
			w.must(err)
			return fmt.Sprint(a.Roles)
		}
		if got := roles(acting); got != "[sales support]" {
			w.t.Errorf("roles %s", got)
		}
		w.must(second(w.reg.Accounts.EditMember(me, ann.ID, ann.Version, func(m *partner.NewMember) { m.Roles = []string{"stock"} })))
		if got := roles(acting); got != "[stock]" {
			w.t.Errorf("then %s", got)
		}
		_, other := w.actingAs(me, none.ID)
		if got := roles(other); got != "[]" {
			w.t.Errorf("without roles %s", got)
		}
	})
}

// TestPLX10_WhatEndsActing: each of these stops the next call.
func TestPLX10_WhatEndsActing(t *testing.T) {
	each(t, func(w *world) {
		p, me, shop := w.workshop("acme")
		dev := w.addedUser(p.ID, "dev", func(u *partner.NewUser) { u.Role = partner.Admin })
		ann := w.member(me, shop.ID, special("Ann"))
		for what, c := range map[string]struct {
			end  func(me context.Context) error
			want error
			back func() error
		}{
			"the hour":             {func(context.Context) error { w.clock.Advance(time.Hour); return nil }, partner.ErrForbidden, nil},
			"his log-out":          {w.reg.Access.Logout, partner.ErrForbidden, nil},
			"a new password":       {func(me context.Context) error { return w.reg.Access.ChangePassword(me, password, password) }, partner.ErrForbidden, nil},
			"the member's end":     {func(me context.Context) error { return w.reg.Accounts.DeactivateMember(me, ann.ID) }, partner.ErrGrantExpired, func() error { return w.reg.Accounts.ReactivateMember(w.login("acme"), ann.ID) }},
			"blocked users":        {func(context.Context) error { return w.reg.Partners.BlockUsers(w.vendor, p.ID, false) }, partner.ErrBlocked, func() error { return w.reg.Partners.UnblockUsers(w.vendor, p.ID) }},
			"a blocked partner":    {func(context.Context) error { return w.reg.Partners.Block(w.vendor, p.ID, false) }, partner.ErrBlocked, func() error { return w.reg.Partners.Unblock(w.vendor, p.ID) }},
			"an archived partner":  {func(context.Context) error { return w.reg.Partners.Archive(w.vendor, p.ID) }, partner.ErrBlocked, func() error { return w.reg.Partners.Restore(w.vendor, p.ID) }},
			"being disabled":       {func(context.Context) error { return w.reg.Users.Disable(w.vendor, dev.ID) }, nil, func() error { return w.reg.Users.Enable(w.vendor, dev.ID) }},
			"another owner":        {func(me context.Context) error { return w.reg.Accounts.TransferOwnership(me, shop.ID, dev.ID) }, partner.ErrGrantExpired, func() error { return w.reg.Accounts.TransferOwnership(w.vendor, shop.ID, p.Contact) }},
			"the end of a session": {func(me context.Context) error { return w.reg.Access.LogoutAll(me, p.Contact) }, partner.ErrForbidden, nil},
		} {
			me := w.login("acme")
			_, acting := w.actingAs(me, ann.ID)
			w.must(second(w.reg.Accounts.Get(acting, shop.ID)))
			w.must(c.end(me))
			if c.want != nil { // dev is somebody else
				wants(w.t, what, second(w.reg.Accounts.Get(acting, shop.ID)), c.want)
			} else {
				w.must(second(w.reg.Accounts.Get(acting, shop.ID)))
			}
			if c.back != nil {
				w.must(c.back())
				if c.want != nil {
					wants(w.t, "after "+what, second(w.reg.Accounts.Get(acting, shop.ID)), partner.ErrForbidden)
				}
			}
		}
	})
}

// TestPLX28_WhatEndsAMembersSession: each of these stops its next call, of an employee and of a collaborator.
func TestPLX28_WhatEndsAMembersSession(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		beta, _ := w.partner("beta")
		dev := w.addedUser(beta.ID, "dev")
		a := w.account(me, "standard", "Everyday")
		employee, _ := w.joined(box, me, a.ID, newMember(partner.Employee, "emp"))
		collaborator, _ := w.joined(box, me, a.ID, partner.NewMember{Kind: partner.Collaborator, Email: dev.Email})
		enter := map[string]func() context.Context{
			"employee": func() context.Context { return w.login("emp@member.example") },
			"collaborator": func() context.Context {
				s, err := w.reg.Access.WorkIn(w.login(dev.Login), collaborator.ID)
				w.must(err)
				return partner.WithSession(w.t.Context(), s)
			},
		}
		his := func(who string) partner.MemberID {
			if who == "employee" {
				return employee.ID
			}
			return collaborator.ID
		}
		for what, c := range map[string]struct {
			end  func(who string) error
			want error
			back func(who string) error
			only string
		}{
			"deactivated":             {func(who string) error { return w.reg.Accounts.DeactivateMember(me, his(who)) }, partner.ErrGrantExpired, func(who string) error { return w.reg.Accounts.ReactivateMember(me, his(who)) }, ""},
			"blocked users":           {func(string) error { return w.reg.Partners.BlockUsers(w.vendor, p.ID, false) }, partner.ErrBlocked, func(string) error { return w.reg.Partners.UnblockUsers(w.vendor, p.ID) }, ""},
			"his partner is blocked":  {func(string) error { return w.reg.Partners.Block(w.vendor, beta.ID, false) }, partner.ErrBlocked, func(string) error { return w.reg.Partners.Unblock(w.vendor, beta.ID) }, "collaborator"},
			"his partner is archived": {func(string) error { return w.reg.Partners.Archive(w.vendor, beta.ID) }, partner.ErrBlocked, func(string) error { return w.reg.Partners.Restore(w.vendor, beta.ID) }, "collaborator"},
			"disabled":                {func(string) error { return w.reg.Users.Disable(w.vendor, dev.ID) }, partner.ErrForbidden, func(string) error { return w.reg.Users.Enable(w.vendor, dev.ID) }, "collaborator"},
			"logged out":              {func(string) error { return w.reg.Access.LogoutAll(w.vendor, dev.ID) }, partner.ErrForbidden, nil, "collaborator"},
		} {
			for who, in := range enter {
				if c.only != "" && c.only != who {
					continue
				}
				as := in()
				w.must(second(w.reg.Accounts.Get(as, a.ID)))
				w.must(c.end(who))
				wants(w.t, who+" "+what, second(w.reg.Accounts.Get(as, a.ID)), c.want)
				if c.back != nil {
					w.must(c.back(who))
				}
				wants(w.t, who+" after "+what, second(w.reg.Accounts.Get(as, a.ID)), partner.ErrForbidden)
			}
		}
		for who, in := range enter {
			as := in()
			w.must(w.reg.Accounts.RemoveMember(me, his(who)))
			wants(w.t, who+" removed", second(w.reg.Accounts.Get(as, a.ID)), partner.ErrForbidden)
		}
		w.must(second(w.reg.Access.Login(w.t.Context(), dev.Login, password, "")))
		w.countsAdd()
	})
}
