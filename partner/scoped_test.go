package partner_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// queries are all that a member can ask or do about one account.
func (w *world) queries(me context.Context, id partner.AccountID) map[string]func() error {
	from := w.clock.Now().Add(-time.Hour)
	var member partner.MemberID
	w.must(w.db.Raw("SELECT COALESCE(max(id), 'mem_none') FROM prm_members WHERE account_id = ?", id).Scan(&member).Error)
	return joined(w.placeVerbs(me, id), w.memberVerbs(me, member), map[string]func() error{
		"Get":          func() error { return second(w.reg.Accounts.Get(me, id)) },
		"PreviewClose": func() error { return second(w.reg.Accounts.PreviewClose(me, id)) },
		"EditProject": func() error {
			a, err := w.reg.Accounts.Get(w.vendor, id)
			w.must(err)
			return second(w.reg.Accounts.EditProject(me, id, a.Version, func(p *partner.NewProject) { p.Company += "X" }))
		},
		"SetProjectPassword":   func() error { return w.reg.Accounts.SetProjectPassword(me, id, "another password") },
		"ResetProjectPassword": func() error { return second(w.reg.Accounts.ResetProjectPassword(me, id)) },
		"SwitchTo":             func() error { return w.reg.Access.SwitchTo(me, id) },
		"SwitchBack":           func() error { return w.reg.Access.SwitchBack(me) },
		"Balance":              func() error { return second(w.seats.Balance(me, id, "seat")) },
		"Balances":             func() error { return second(w.seats.Balances(me, id)) },
		"HoldingsAt":           func() error { return second(w.seats.HoldingsAt(me, id, from, from)) },
		"Assign":               func() error { return second(w.seats.Assign(me, id, "seat", 5)) },
		"AssignAll": func() error {
			return second(w.seats.AssignAll(me, []license.Move{{To: id, SKU: "seat", Quantity: 1}}, true))
		},
		"Reserve":    func() error { return second(w.seats.Reserve(me, id, "seat", 1, time.Minute)) },
		"Consume":    func() error { return second(w.seats.Consume(me, id, "seat", 1)) },
		"Seat":       func() error { return second(w.seats.Seat(me, id, "seat", "ann")) },
		"Seats":      func() error { return second(w.seats.Seats(me, id, "seat", partner.PageRequest{})) },
		"PlanShrink": func() error { return second(w.seats.PlanShrink(me, id, "seat", 1, "newest")) },
		"View.May": func() error {
			v, err := w.reg.Access.View(me)
			w.must(err)
			return v.May(context.Background(), "project.edit", string(id))
		},
		"RequestDelegation": func() error { return second(w.reg.Access.RequestDelegation(me, w.leave(id, dayLong))) },
		"Delegations":       func() error { return second(w.reg.Access.Delegations(me, id, partner.PageRequest{})) },
		"Touch":             func() error { return w.reg.Accounts.Touch(me, id) },
		"CancelClose":       func() error { return w.reg.Accounts.CancelClose(me, id, "x") },
		"RemindClose":       func() error { return second(w.reg.Accounts.RemindClose(me, id)) },
		"Close":             func() error { return second(w.reg.Accounts.Close(me, id)) },
		"Sessions":          func() error { return second(w.reg.Access.Sessions(me, string(id), partner.PageRequest{})) },
		"Sessions.member":   func() error { return second(w.reg.Access.Sessions(me, string(member), partner.PageRequest{})) },
	})
}

// TestBEY09_ScopedStaff: one who is limited to some accounts has to do with those alone, in every query, list and count.
func TestBEY09_ScopedStaff(t *testing.T) {
	each(t, func(w *world) {
		p, admin, one := w.supplied(1000)
		two := w.project(admin, "two")
		limited := func(u *partner.NewUser) { u.Rights, u.Scope.Accounts = everyRight, []partner.AccountID{one.ID} }
		me := w.user(p.ID, "scoped", limited)
		for _, a := range []partner.AccountID{one.ID, two.ID} {
			w.moved(admin, a, partner.Guest, string(a)+"@guest.example", "viewer")
		}
		before := dump(w.t, w.db)
		for verb, query := range w.queries(me, two.ID) {
			if verb == "SwitchBack" {
				continue // it names no account
			}
			wants(w.t, verb+" of an account out of scope", query(), partner.ErrNotFound)
		}
		if dec, err := w.seats.Explain(me, two.ID, "seat", 1); err != nil || dec.Allowed || len(dec.Reasons) != 2 {
			w.t.Errorf("explained to be %v %v (%v)", dec.Allowed, dec.Reasons, err)
		}
		if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
			w.t.Errorf("queries out of scope changed %v", left)
		}
		for _, verb := range []string{"Assign", "AssignAll", "Balance", "Balances", "HoldingsAt", "SwitchTo", "SwitchBack", "Reserve", "Consume", "Seat", "Seats",
			"PlanShrink", "View.May", "Get", "Touch", "PreviewClose", "EditProject", "SetProjectPassword", "ResetProjectPassword", "Delegations",
			"Entitled", "Members", "Member", "Sessions", "Sessions.member"} {
			w.must(w.queries(me, one.ID)[verb]())
		}
		for _, verb := range []string{"Edit", "TransferOwnership", "AddMember", "EditMember", "DeactivateMember", "RemoveMember", "ResetMemberPassword", "ActAs", "ReportMisuse"} {
			wants(w.t, verb+" of an account in scope", w.queries(me, one.ID)[verb](), partner.ErrForbidden) // which is another's
		}
		w.faulty(w.reg.Accounts.TransferOwnership(admin, two.ID, partner.UserID(w.sessions(me, "")[0].Principal)), "owner:range")
		page, err := w.reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{})
		w.must(err)
		if len(page.Items) != 1 || page.Items[0].ID != one.ID {
			w.t.Errorf("the list has %v", page.Items)
		}
		for what, err := range map[string]error{
			"a new project":      second(w.reg.Accounts.OpenProject(me, newProject("three"))),
			"a new account":      second(w.reg.Accounts.Open(me, partner.NewAccount{Type: "standard", Name: "X"})),
			"an account of his":  second(w.reg.Accounts.Open(me, partner.NewAccount{Type: "solution", Name: "X"})), // it would not be in scope
			"the pool's history": second(w.seats.History(me, p.ID, "seat", partner.PageRequest{})),                 // it names other projects
			"a history":          second(w.seats.History(me, one.ID, "seat", partner.PageRequest{})),
			"requests":           second(w.seats.Requests(me, partner.PageRequest{})),
			"the activity":       second(w.reg.Activity.List(me, partner.EventFilter{}, partner.PageRequest{})),
		} {
			wants(w.t, what, err, partner.ErrForbidden)
		}
		w.must(w.queries(me, one.ID)["Close"]())
		w.sound()
	})
}

// TestBEY09_AScopeThatShrinks holds from the next call on, for a session that works in what it has lost, and from memory.
func TestBEY09_AScopeThatShrinks(t *testing.T) {
	each(t, func(w *world) {
		p, admin, one := w.supplied(1000)
		two := w.project(admin, "two")
		u := w.addedUser(p.ID, "dev", func(u *partner.NewUser) { u.Rights = everyRight })
		me := w.login("dev")
		w.must(second(w.seats.Assign(me, two.ID, "seat", 10)))
		w.must(w.reg.Access.SwitchTo(me, two.ID))
		for range 3 { // known by now
			w.must(second(w.seats.Assign(me, one.ID, "seat", 1)))
			w.must(second(w.seats.Return(me, "seat", 1)))
		}
		u, err := w.reg.Users.Edit(admin, u.ID, u.Version, func(n *partner.NewUser) { n.Scope.Accounts = []partner.AccountID{one.ID} })
		w.must(err)
		for what, err := range map[string]error{
			"assign from there": second(w.seats.Assign(me, one.ID, "seat", 1)),
			"return from there": second(w.seats.Return(me, "seat", 1)),
			"where it works":    second(w.reg.Access.Active(me)),
			"read":              second(w.seats.Balance(me, two.ID, "seat")),
		} {
			wants(w.t, what, err, partner.ErrNotFound)
		}
		w.must(w.reg.Access.SwitchBack(me))
		w.must(second(w.seats.Assign(me, one.ID, "seat", 1)))
		_, err = w.reg.Users.Edit(admin, u.ID, u.Version, func(n *partner.NewUser) { n.Rights = nil })
		w.must(err)
		wants(w.t, "without the right", second(w.seats.Assign(me, one.ID, "seat", 1)), partner.ErrForbidden)
		w.must(second(w.seats.Balance(me, one.ID, "seat")))
		wants(w.t, "the pool", second(w.seats.Balance(me, p.ID, "seat")), partner.ErrForbidden)
		wants(w.t, "the pool of its own", second(w.seats.Mine(me)), partner.ErrForbidden)
		w.sound()
	})
}

// TestBEY09_ManyAtOnceEachByHisOwnRights: callers who share a commit are decided on one by one.
func TestBEY09_ManyAtOnceEachByHisOwnRights(t *testing.T) {
	each(t, func(w *world) {
		p, admin, one := w.supplied(10_000)
		two := w.project(admin, "two")
		actors := map[string]context.Context{
			"may":    w.user(p.ID, "may", func(u *partner.NewUser) { u.Rights = []partner.Right{partner.Licenses} }),
			"not":    w.user(p.ID, "not", func(u *partner.NewUser) { u.Rights = []partner.Right{partner.Projects} }),
			"scoped": w.user(p.ID, "scoped", func(u *partner.NewUser) { u.Rights, u.Scope.Accounts = everyRight, []partner.AccountID{one.ID} }),
		}
		want := map[string]error{"may one": nil, "may two": nil, "not one": partner.ErrForbidden, "not two": partner.ErrForbidden, "scoped one": nil, "scoped two": partner.ErrNotFound}
		var all sync.WaitGroup
		for _, who := range slices.Sorted(maps.Keys(actors)) {
			for name, id := range map[string]partner.AccountID{"one": one.ID, "two": two.ID} {
				for range 4 {
					all.Go(func() {
						for range 25 {
							_, err := w.seats.Assign(actors[who], id, "seat", 1)
							if expected := want[who+" "+name]; expected == nil && err != nil || expected != nil && !errors.Is(err, expected) {
								w.t.Errorf("%s to %s: %v, want %v", who, name, err, expected)
								return
							}
						}
					})
				}
			}
		}
		all.Wait()
		if a, b := w.available(w.vendor, one.ID, "seat"), w.available(w.vendor, two.ID, "seat"); a != 200 || b != 100 {
			w.t.Errorf("one has %d, two %d", a, b)
		}
		w.sound()
	})
}
