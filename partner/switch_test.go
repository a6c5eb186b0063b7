package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// active fails unless the caller's session works there.
func (w *world) active(me context.Context, h partner.Holder, region string) {
	w.t.Helper()
	a, err := w.reg.Access.Active(me)
	w.must(err)
	if a.Holder != h || a.Region != region {
		w.t.Fatalf("active is %+v, want %v in %q", a, h, region)
	}
}

func TestCLW11_SwitchTo(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		_, other := w.partner("bolt")
		a, foreign := w.project(me, "one"), w.project(other, "foreign")
		w.active(me, p.ID, "")
		for _, id := range []partner.AccountID{foreign.ID, "acc_00000000000000000000000000", partner.AccountID(p.ID)} {
			if err := w.reg.Access.SwitchTo(me, id); !errors.Is(err, partner.ErrNotFound) {
				w.t.Errorf("switch to %q: %v", id, err)
			}
		}
		if err := w.reg.Access.SwitchTo(me, ""); !errors.Is(err, partner.ErrNotFound) && !errors.Is(err, partner.ErrInvalid) {
			w.t.Errorf("switch to nothing: %v", err)
		}
		w.active(me, p.ID, "")
		aside := w.login("acme")
		w.must(w.reg.Access.SwitchTo(me, a.ID))
		w.must(w.reg.Access.SwitchTo(me, a.ID)) // twice is once
		w.active(me, a.ID, "DE")
		w.active(aside, p.ID, "") // this session only
		w.is(w.reg.Access.SwitchTo(w.login("one"), a.ID), partner.ErrForbidden)
		w.is(w.reg.Access.SwitchTo(w.vendor, a.ID), partner.ErrForbidden)
		w.is(w.reg.Access.SwitchTo(context.Background(), a.ID), partner.ErrForbidden)
		_, err := w.reg.Accounts.Close(aside, a.ID)
		w.must(err)
		w.is(w.reg.Access.SwitchTo(aside, a.ID), partner.ErrBlocked)
	})
}

// TestCLW11_RecheckedOnEachUse: what ends while the session works there stops its next call.
func TestCLW11_RecheckedOnEachUse(t *testing.T) {
	each(t, func(w *world) {
		p, me, a := w.supplied(10)
		two := w.project(me, "two")
		_, err := w.seats.Assign(me, a.ID, "seat", 5)
		w.must(err)
		w.must(w.reg.Access.SwitchTo(me, a.ID))
		_, err = w.reg.Accounts.Close(w.login("acme"), a.ID)
		w.must(err)
		_, err = w.reg.Access.Active(me)
		w.is(err, partner.ErrBlocked)
		_, err = w.seats.Assign(me, two.ID, "seat", 1)
		w.is(err, partner.ErrBlocked)
		_, err = w.seats.Return(me, "seat", 1)
		w.is(err, partner.ErrBlocked)
		w.must(w.reg.Access.SwitchTo(me, two.ID)) // the session itself lives on
		w.active(me, two.ID, "DE")

		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		_, err = w.reg.Access.Active(me)
		w.is(err, partner.ErrBlocked)
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		_, err = w.reg.Access.Active(me)
		w.is(err, partner.ErrForbidden)
		if errors.Is(err, partner.ErrBlocked) {
			w.t.Fatalf("the session came back as blocked: %v", err)
		}
	})
}

// TestCLW11_BlockedProject: a project with any block reason can neither be switched into nor worked in. Nothing sets the reasons manual
// and unpaid on an account yet, so the test does.
func TestCLW11_BlockedProject(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		for bit, reason := range map[int]string{1: "manual", 2: "unpaid"} {
			w.must(w.reg.Access.SwitchBack(me))
			w.must(w.db.Exec("UPDATE prm_accounts SET blocks = ? WHERE id = ?", bit, a.ID).Error)
			if err := w.reg.Access.SwitchTo(me, a.ID); !errors.Is(err, partner.ErrBlocked) {
				w.t.Errorf("switch to a project blocked as %s: %v", reason, err)
			}
			w.must(w.db.Exec("UPDATE prm_accounts SET blocks = 0 WHERE id = ?", a.ID).Error)
			w.must(w.reg.Access.SwitchTo(me, a.ID))
			w.must(w.db.Exec("UPDATE prm_accounts SET blocks = ? WHERE id = ?", bit, a.ID).Error)
			if _, err := w.reg.Access.Active(me); !errors.Is(err, partner.ErrBlocked) {
				w.t.Errorf("active in a project blocked as %s: %v", reason, err)
			}
		}
	})
}

func TestCLW12_SwitchTwice(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a, two := w.project(me, "one"), w.project(me, "two")
		w.must(w.reg.Access.SwitchBack(me)) // from nowhere
		w.must(w.reg.Access.SwitchTo(me, a.ID))
		w.must(w.reg.Access.SwitchTo(me, two.ID)) // from project to project
		w.active(me, two.ID, "DE")
		for range 3 {
			w.must(w.reg.Access.SwitchBack(me))
			w.active(me, p.ID, "")
		}
		w.must(w.reg.Access.SwitchTo(me, a.ID))
		_, err := w.reg.Accounts.Close(me, a.ID)
		w.must(err)
		w.must(w.reg.Access.SwitchBack(me)) // whatever became of the project
		w.active(me, p.ID, "")
		w.is(w.reg.Access.SwitchBack(w.login("two")), partner.ErrForbidden)
		w.is(w.reg.Access.SwitchBack(w.vendor), partner.ErrForbidden)
	})
}

// TestCLW14_PrincipalVsHolder: switching changes where the session works and neither who it is nor what it is shown by default.
func TestCLW14_PrincipalVsHolder(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		w.stock(p.ID, "seat", 10)
		s, err := w.reg.Access.Login(context.Background(), "acme", password, "")
		w.must(err)
		me := partner.WithSession(context.Background(), s)
		a := w.project(me, "one")
		_, err = w.seats.Assign(me, a.ID, "seat", 3)
		w.must(err)
		w.must(w.reg.Access.SwitchTo(me, a.ID))
		mine, err := w.seats.Mine(me)
		w.must(err)
		if !slices.Equal(mine, []license.Balance{{SKU: "seat", Available: 7}}) {
			w.t.Fatalf("mine while switched: %v", mine)
		}
		if got := w.available(me, a.ID, "seat"); got != 3 {
			w.t.Fatalf("the project has %d", got)
		}
		again, err := w.reg.Access.Resume(context.Background(), s.Token())
		w.must(err)
		if again.Principal != s.Principal || again.Partner != p.ID || again.Principal != string(p.Contact) || again.Account != "" {
			w.t.Fatalf("session %+v became %+v", s, again)
		}
		tr, err := w.seats.Return(me, "seat", 1)
		w.must(err)
		if tr.Actor != s.Principal {
			w.t.Fatalf("actor %s", tr.Actor)
		}
		mine, err = w.seats.Mine(w.login("one"))
		w.must(err)
		if !slices.Equal(mine, []license.Balance{{SKU: "seat", Available: 2}}) {
			w.t.Fatalf("mine of the project's log-in: %v", mine)
		}
		if _, err = w.seats.Mine(w.vendor); !errors.Is(err, partner.ErrForbidden) {
			w.t.Fatalf("mine of the vendor: %v", err)
		}
	})
}

// attempt is one call by a project's log-in, and what it must answer.
type attempt struct {
	name string
	err  error
	want error
}

// TestCLW15_DelegatedScope calls every method of every desk by a project's log-in: on its partner, on a sibling, on itself.
func TestCLW15_DelegatedScope(t *testing.T) {
	each(t, func(w *world) {
		p, me, own := w.supplied(10)
		sub, _ := w.partner("sub", under(p.ID))
		sibling := w.project(me, "two")
		_, err := w.seats.Assign(me, own.ID, "seat", 3)
		w.must(err)
		mates := map[partner.AccountID]partner.MemberID{}
		for _, id := range []partner.AccountID{sibling.ID, own.ID} {
			mates[id] = w.member(me, id, partner.NewMember{Kind: partner.Guest, Email: "mate@guest.example", Roles: []string{"viewer"}}).ID
		}
		before := w.dump()
		as := w.login("one")
		opened := w.dump()
		var list []attempt
		for _, id := range []partner.AccountID{sibling.ID, own.ID} {
			want := partner.ErrNotFound
			if id == own.ID {
				want = partner.ErrForbidden // it is there, and not for this caller
			}
			list = append(append(list, w.onProject(as, id, want)...), w.onPlace(as, id, mates[id], want)...)
		}
		for _, id := range []partner.ID{p.ID, sub.ID, partner.Vendor} {
			list = append(list, w.onPartner(as, id)...)
		}
		for _, h := range []partner.Holder{p.ID, sibling.ID} {
			list = append(list, w.onHolder(as, h)...)
		}
		_, open := w.reg.Accounts.OpenProject(as, newProject("three"))
		_, office := w.reg.Accounts.Open(as, partner.NewAccount{Type: "standard", Name: "Office"})
		_, lab := w.reg.Accounts.Open(as, partner.NewAccount{Type: "solution", Name: "Lab"})
		_, asked := w.reg.Accounts.RequestOpen(as, "acme@partner.example")
		_, places := w.reg.Access.Memberships(as, partner.PageRequest{})
		_, working := w.reg.Access.WorkIn(as, mates[own.ID])
		_, create := w.reg.Partners.Create(as, agreement("four"))
		_, invite := w.reg.Partners.Invite(as, partner.Agreement{Name: "Five", Login: "five", Email: "five@partner.example", Currency: "EUR"})
		_, partners := w.reg.Partners.List(as, partner.PartnerFilter{}, partner.PageRequest{})
		_, deliveries := w.reg.Activity.Deliveries(as, "", partner.PageRequest{})
		_, verify := w.seats.Verify(as)
		_, trace := w.seats.Trace(as, 1)
		_, giveBack := w.seats.Return(as, "seat", 1)
		list = append(list, attempt{"OpenProject", open, partner.ErrForbidden}, attempt{"Create", create, partner.ErrForbidden},
			attempt{"Open", office, partner.ErrForbidden}, attempt{"Open", lab, partner.ErrForbidden}, attempt{"RequestOpen", asked, partner.ErrForbidden},
			attempt{"Memberships", places, partner.ErrForbidden}, attempt{"WorkIn", working, partner.ErrForbidden},
			attempt{"DefineType", w.reg.Accounts.DefineType(as, partner.AccountType{Code: "mine"}), partner.ErrForbidden},
			attempt{"Invite", invite, partner.ErrForbidden}, attempt{"Partners.List", partners, partner.ErrForbidden},
			attempt{"Deliveries", deliveries, partner.ErrForbidden}, attempt{"Verify", verify, partner.ErrForbidden},
			attempt{"Trace", trace, partner.ErrForbidden}, attempt{"Return", giveBack, partner.ErrForbidden},
			attempt{"SwitchBack", w.reg.Access.SwitchBack(as), partner.ErrForbidden},
			attempt{"Define", w.seats.Define(as, license.Type{SKU: "new", Name: "New"}), partner.ErrForbidden})
		for _, a := range list {
			if !errors.Is(a.err, a.want) || len(kindsOf(a.err)) != 1 {
				w.t.Errorf("%s by a project's log-in: %v, want %v", a.name, a.err, a.want)
			}
		}
		if now := w.dump(); now != opened || before == opened {
			w.t.Errorf("refused calls left something behind")
		}
	})
}

// dump is all rows of the tables that calls change.
func (w *world) dump() string {
	w.t.Helper()
	var b strings.Builder
	for _, table := range []string{"prm_partners", "prm_identities", "prm_users", "prm_accounts", "prm_sessions", "prm_events", "prm_deliveries",
		"prm_keys", "prm_license_types", "prm_ledger_balances", "prm_ledger_transfers", "prm_contracts", "prm_account_types", "prm_members", "prm_quotas",
		"prm_tokens"} {
		var rows []map[string]any
		w.must(w.db.Table(table).Order("1").Find(&rows).Error)
		fmt.Fprintln(&b, table, rows)
	}
	return b.String()
}

func (w *world) onProject(as context.Context, id partner.AccountID, want error) []attempt {
	edit := func(n *partner.NewProject) { n.Company = "Mine" }
	_, edited := w.reg.Accounts.EditProject(as, id, 1, edit)
	_, reset := w.reg.Accounts.ResetProjectPassword(as, id)
	_, preview := w.reg.Accounts.PreviewClose(as, id)
	_, closed := w.reg.Accounts.Close(as, id)
	_, assigned := w.seats.Assign(as, id, "seat", 1)
	_, revoked := w.seats.Revoke(as, id, "seat", 1)
	list := []attempt{
		{"EditProject", edited, want}, {"ResetProjectPassword", reset, want}, {"PreviewClose", preview, want}, {"Close", closed, want},
		{"SetProjectPassword", w.reg.Accounts.SetProjectPassword(as, id, "another long secret"), want}, {"Assign", assigned, want},
		{"Revoke", revoked, want}, {"SwitchTo", w.reg.Access.SwitchTo(as, id), want}, {"Suspend", w.reg.Accounts.Suspend(as, id), want},
		{"Resume", w.reg.Accounts.Resume(as, id), want},
	}
	dec, err := w.seats.Explain(as, id, "seat", 1)
	if w.must(err); dec.Allowed {
		list = append(list, attempt{"Explain", nil, want})
	}
	if want == partner.ErrNotFound {
		_, got := w.reg.Accounts.Get(as, id)
		_, events := w.reg.Activity.List(as, partner.EventFilter{Account: id}, partner.PageRequest{})
		list = append(list, attempt{"Get", got, want}, attempt{"Activity.List", events, want})
	}
	return list
}

func (w *world) onPartner(as context.Context, id partner.ID) []attempt {
	_, got := w.reg.Partners.Get(as, id)
	_, edited := w.reg.Partners.Edit(as, id, 1, func(a *partner.Agreement) { a.Name = "Mine" })
	_, listed := w.reg.Partners.List(as, partner.PartnerFilter{Under: id}, partner.PageRequest{})
	_, accounts := w.reg.Accounts.List(as, partner.AccountFilter{Partner: id}, partner.PageRequest{})
	_, events := w.reg.Activity.List(as, partner.EventFilter{Partner: id}, partner.PageRequest{})
	_, granted := w.seats.Grant(as, id, "seat", 1)
	in := newProject("there")
	in.Partner = id
	_, opened := w.reg.Accounts.OpenProject(as, in)
	list := []attempt{
		{"Partners.Get", got, nil}, {"Partners.Edit", edited, nil}, {"Partners.List", listed, nil}, {"Accounts.List", accounts, nil},
		{"Activity.List", events, nil}, {"Grant", granted, nil}, {"OpenProject", opened, nil},
		{"Block", w.reg.Partners.Block(as, id, true), nil}, {"Unblock", w.reg.Partners.Unblock(as, id), nil},
		{"BlockUsers", w.reg.Partners.BlockUsers(as, id, true), nil}, {"UnblockUsers", w.reg.Partners.UnblockUsers(as, id), nil},
		{"MoveUnder", w.reg.Partners.MoveUnder(as, id, ""), nil}, {"SetContact", w.reg.Partners.SetContact(as, id, "usr_x"), nil},
	}
	for i := range list {
		list[i].want = partner.ErrNotFound
	}
	return list
}

func (w *world) onHolder(as context.Context, h partner.Holder) []attempt {
	_, balance := w.seats.Balance(as, h, "seat")
	_, balances := w.seats.Balances(as, h)
	_, holdings := w.seats.HoldingsAt(as, h, time.Time{}, time.Time{})
	_, history := w.seats.History(as, h, "", partner.PageRequest{})
	_, statement := w.seats.Statement(as, h, "seat", partner.Period{})
	return []attempt{{"Balance", balance, partner.ErrNotFound}, {"Balances", balances, partner.ErrNotFound}, {"HoldingsAt", holdings, partner.ErrNotFound},
		{"History", history, partner.ErrNotFound}, {"Statement", statement, partner.ErrNotFound}}
}

// TestCLW15_WhatItMayDo: the project, its balance, its activity, its own password, and no more rows than its own.
func TestCLW15_WhatItMayDo(t *testing.T) {
	each(t, func(w *world) {
		_, me, own := w.supplied(10)
		w.project(me, "two")
		_, err := w.seats.Assign(me, own.ID, "seat", 3)
		w.must(err)
		as, second := w.login("one"), w.login("one")
		got, err := w.reg.Accounts.Get(as, own.ID)
		w.must(err)
		if got.ID != own.ID || got.Name != own.Name || got.Project.Company != "Globex" || got.Project.Login != "one" {
			w.t.Fatalf("got %+v", got)
		}
		page, err := w.reg.Accounts.List(as, partner.AccountFilter{}, partner.PageRequest{})
		w.must(err)
		if len(page.Items) != 1 || page.Items[0].ID != own.ID {
			w.t.Fatalf("list %+v", page.Items)
		}
		if n := w.available(as, own.ID, "seat"); n != 3 {
			w.t.Fatalf("balance %d", n)
		}
		events, err := w.reg.Activity.List(as, partner.EventFilter{}, partner.PageRequest{})
		w.must(err)
		for _, e := range events.Items {
			if e.Account != own.ID {
				w.t.Errorf("event %+v is not of the project", e)
			}
		}
		if len(events.Items) < 3 { // opened, assigned, session
			w.t.Errorf("%d events", len(events.Items))
		}
		w.is(w.reg.Access.ChangePassword(as, "wrong password", "another long secret"), partner.ErrBadCredentials)
		w.must(w.reg.Access.ChangePassword(as, password, "another long secret"))
		w.active(as, own.ID, "DE")
		_, err = w.reg.Access.Active(second)
		w.is(err, partner.ErrForbidden)
		_, err = w.reg.Access.Login(context.Background(), "one", password, "")
		w.is(err, partner.ErrBadCredentials)
	})
}

// TestCLW15_ResetEndsItsSessions: the value is returned once, works, and every session opened before is over.
func TestCLW15_ResetEndsItsSessions(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		own := w.project(me, "one")
		as := w.login("one")
		value, err := w.reg.Accounts.ResetProjectPassword(me, own.ID)
		w.must(err)
		_, err = w.reg.Accounts.Get(as, own.ID)
		w.is(err, partner.ErrForbidden)
		_, err = w.reg.Access.Login(context.Background(), "one", password, "")
		w.is(err, partner.ErrBadCredentials)
		_, err = w.reg.Access.Login(context.Background(), "one", value, "")
		w.must(err)
		next, err := w.reg.Accounts.ResetProjectPassword(me, own.ID)
		w.must(err)
		if next == value || len(next) < 20 || strings.Contains(fmt.Sprintf("%v %s %q %+v", next, next, next, struct{ P partner.Secret }{next}), string(next)) {
			w.t.Fatal("a generated password repeats, is short, or prints")
		}
		if strings.Contains(w.dump(), string(next)) {
			w.t.Fatal("the password is stored as it is")
		}
	})
}

// TestCLW15_StopsWithTheProject: its log-in and its sessions end with a block of the project's users, or of the project.
func TestCLW15_StopsWithTheProject(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		own := w.project(me, "one")
		refused := func(as context.Context, want string) {
			w.t.Helper()
			_, err := w.reg.Accounts.Get(as, own.ID)
			w.is(err, partner.ErrBlocked)
			_, err = w.reg.Access.Login(context.Background(), "one", password, "")
			var b *partner.BlockedError
			if !errors.As(err, &b) || strings.Join(b.Reasons, " ") != want {
				w.t.Fatalf("log-in answers %v, want blocked for %s", err, want)
			}
			_, err = w.reg.Access.Login(context.Background(), "one", "wrong password", "")
			w.is(err, partner.ErrBadCredentials)
		}
		as := w.login("one")
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false)) // the partner's own users only
		w.active(as, own.ID, "DE")
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, false))
		refused(as, "manual")
		w.must(w.reg.Partners.UnblockUsers(w.vendor, p.ID))
		_, err := w.reg.Accounts.Get(as, own.ID) // the old session stays dead
		w.is(err, partner.ErrForbidden)
		as, me = w.login("one"), w.login("acme")
		w.must(w.reg.Accounts.Suspend(w.vendor, own.ID)) // log-in stays
		w.active(as, own.ID, "DE")
		for bit, reason := range map[int]string{1: "manual", 2: "unpaid", 8: "dormant", 11: "manual unpaid dormant"} {
			w.must(w.db.Exec("UPDATE prm_accounts SET blocks = ? WHERE id = ?", bit, own.ID).Error)
			refused(as, reason)
		}
		w.must(w.db.Exec("UPDATE prm_accounts SET blocks = 0 WHERE id = ?", own.ID).Error)
		_, err = w.reg.Accounts.Close(me, own.ID)
		w.must(err)
		refused(as, "closing")
	})
}
