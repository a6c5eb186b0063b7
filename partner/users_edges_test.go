package partner_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

const strongPassword = "Xk29!fjw02jf-QQzz#pp4871"

// TestPIL15_FromAboveNobodyTakesTheContactsAddress: the deletion of a project is confirmed from there.
func TestPIL15_FromAboveNobodyTakesTheContactsAddress(t *testing.T) {
	each(t, func(w *world) {
		own, boss := w.partner("own", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		below, _ := w.partner("below", under(own.ID))
		contact, err := w.reg.Users.Get(boss, below.Contact)
		w.must(err)
		mine := func(u *partner.NewUser) { u.Email = "mine@own.example" }
		wants(w.t, "an address from above", second(w.reg.Users.Edit(boss, contact.ID, contact.Version, mine)), partner.ErrForbidden)
		wants(w.t, "a user from above", second(w.reg.Users.Add(boss, below.ID, newUser("spy"))), partner.ErrForbidden)
		contact, err = w.reg.Users.Edit(boss, contact.ID, contact.Version, func(u *partner.NewUser) { u.Name = "Named from above" })
		w.must(err)
		w.must(second(w.reg.Users.Edit(w.vendor, contact.ID, contact.Version, mine)))
	})
}

// TestLIM22_NoPartnerTakesAnothersAddress: agreements may share one, as the vendor's data do; a partner itself cannot make its own another's.
func TestLIM22_NoPartnerTakesAnothersAddress(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		one := w.project(me, "one")
		dev := w.addedUser(p.ID, "dev")
		a := agreement("second")
		a.Email = "Dev@user.example"
		w.must(second(w.reg.Partners.Create(w.vendor, a)))
		q, you := w.partner("third")
		toDev := func(a *partner.Agreement) { a.Email = "dev@user.example" }
		w.faulty(second(w.reg.Partners.Edit(you, q.ID, q.Version, toDev)), "email:taken")
		w.must(second(w.reg.Partners.Edit(w.vendor, q.ID, q.Version, toDev)))
		// That others share it does not keep an admin from limiting his people.
		w.must(second(w.reg.Users.Edit(me, dev.ID, dev.Version, func(n *partner.NewUser) { n.Scope.Accounts = []partner.AccountID{one.ID} })))

		contact, err := w.reg.Users.Get(w.vendor, p.Contact)
		w.must(err)
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Email = "new@acme.example" })
		w.must(err)
		wants(w.t, "the contact's version of before", second(w.reg.Users.Edit(w.vendor, contact.ID, contact.Version, func(n *partner.NewUser) { n.Name = "X" })),
			partner.ErrConflict)
	})
}

// TestPAN06_AnAdminWithoutAnAddress can be edited all the same.
func TestPAN06_AnAdminWithoutAnAddress(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme", func(a *partner.Agreement) { a.Email = "" })
		u, err := w.reg.Users.Get(w.vendor, p.Contact)
		w.must(err)
		u, err = w.reg.Users.Edit(w.vendor, u.ID, u.Version, func(n *partner.NewUser) { n.Rights = []partner.Right{partner.ViewInvoices} })
		w.must(err)
		u, err = w.reg.Users.Edit(w.vendor, u.ID, u.Version, func(n *partner.NewUser) { n.Email = "boss@acme.example" })
		w.must(err)
		_, err = w.reg.Users.Edit(w.vendor, u.ID, u.Version, func(n *partner.NewUser) { n.Email = "" })
		w.faulty(err, "email:required")
	})
}

// TestLIM22_TakenAddressesAreCounted as taken names are; but limiting a user asks for no name.
func TestLIM22_TakenAddressesAreCounted(t *testing.T) {
	each(t, func(w *world) {
		w.partner("victim")
		p, me := w.partner("acme")
		one, dev := w.project(me, "one"), w.addedUser(p.ID, "dev")
		told := 0
		for i := range 40 {
			in := newUser(fmt.Sprint("probe", i))
			in.Email, in.Scope.Accounts = "victim@partner.example", []partner.AccountID{"acc_none"}
			if _, err := w.reg.Users.Add(me, p.ID, in); fields(err) == "email:taken scope.accounts[0]:unknown_code" {
				told++
			}
		}
		if told != 20 {
			w.t.Errorf("told %d times of a taken address", told)
		}
		wants(w.t, "an address after that", second(w.reg.Users.Add(me, p.ID, newUser("free"))), partner.ErrUnavailable)
		w.must(second(w.reg.Users.Edit(me, dev.ID, dev.Version, func(n *partner.NewUser) { n.Scope.Accounts = []partner.AccountID{one.ID} })))
	})
}

// TestPIL23_PreparedForOneIsNotForAnother: whose rules a password was held to is part of what was prepared, and so is the key.
func TestPIL23_PreparedForOneIsNotForAnother(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		strict, err := w.reg.Partners.Create(w.vendor, func() partner.Agreement {
			a := agreement("strict")
			a.PasswordPolicy, a.Password = "complex", strongPassword
			return a
		}())
		w.must(err)
		s, err := w.reg.Access.Login(context.Background(), "strict", strongPassword, "")
		w.must(err)
		ready, err := w.reg.Users.Prepare(w.vendor, p.ID, newUser("weak"))
		w.must(err)
		wants(w.t, "a user prepared for another", second(w.reg.Users.Add(w.vendor, strict.ID, ready)), partner.ErrInvalid)
		wants(w.t, "at the vendor", second(w.reg.Users.Add(w.vendor, partner.Vendor, ready)), partner.ErrInvalid)
		project, err := w.reg.Accounts.Prepare(me, newProject("weak"))
		w.must(err)
		wants(w.t, "a project prepared for another", second(w.reg.Accounts.OpenProject(partner.WithSession(context.Background(), s), project)), partner.ErrInvalid)
		ready.Key, project.Key = "\x00\xff bad", "\x00\xff bad"
		wants(w.t, "a user's key of afterwards", second(w.reg.Users.Add(w.vendor, p.ID, ready)), partner.ErrInvalid)
		wants(w.t, "a project's key of afterwards", second(w.reg.Accounts.OpenProject(me, project)), partner.ErrInvalid)
	})
}

// TestLIM01_ARepeatedKeyAfterHeLeft answers whom it added, who is no longer there.
func TestLIM01_ARepeatedKeyAfterHeLeft(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		in := newUser("dev")
		in.Key = "k"
		u, err := w.reg.Users.Add(me, p.ID, in)
		w.must(err)
		w.must(w.reg.Users.Remove(me, u.ID))
		again, err := w.reg.Users.Add(me, p.ID, in)
		w.must(err)
		if again.ID != u.ID || again.Active || !again.Replayed {
			w.t.Errorf("%+v", again)
		}
		// A name that is free again is not shown as the first partner's.
		w.must(w.reg.Partners.SetContact(w.vendor, p.ID, w.addedUser(p.ID, "next").ID))
		w.must(w.reg.Users.Remove(w.vendor, p.Contact))
		if now, err := w.reg.Partners.Get(w.vendor, p.ID); err != nil || now.Login != "" {
			w.t.Errorf("the log-in name of one who has left: %q (%v)", now.Login, err)
		}
		own, err := w.reg.Users.List(w.vendor, "", partner.PageRequest{})
		w.must(err)
		if len(own.Items) != 0 {
			w.t.Errorf("the vendor's own users are %v", own.Items)
		}
	})
}

// TestBEY09_AKeyOfAnotherTellsNothing: a repeated key is answered where it was used, even once the session can work nowhere.
func TestBEY09_AKeyOfAnotherTellsNothing(t *testing.T) {
	each(t, func(w *world) {
		p, admin, one := w.supplied(100)
		two, three := w.project(admin, "two"), w.project(admin, "three")
		w.must(second(w.seats.Assign(admin, two.ID, "seat", 10)))
		w.must(second(w.seats.Assign(admin, three.ID, "seat", 10)))
		w.must(w.reg.Access.SwitchTo(admin, two.ID))
		w.must(second(w.seats.Return(admin, "seat", 1, license.Key("back"))))
		w.must(second(w.seats.Assign(admin, one.ID, "seat", 1, license.Key("forth"))))
		me := w.user(p.ID, "scoped", func(u *partner.NewUser) {
			u.Rights, u.Scope.Accounts = everyRight, []partner.AccountID{one.ID, three.ID}
		})
		w.must(w.reg.Access.SwitchTo(me, three.ID))
		for _, closing := range []bool{false, true} {
			if closing {
				w.must(second(w.reg.Accounts.Close(admin, three.ID)))
			}
			for what, err := range map[string]error{"return": second(w.seats.Return(me, "seat", 1, license.Key("back"))),
				"assign": second(w.seats.Assign(me, one.ID, "seat", 1, license.Key("forth")))} {
				wants(w.t, fmt.Sprint(what, ", closing: ", closing), err, partner.ErrIdempotencyMismatch)
			}
			list, err := w.seats.AssignAll(me, []license.Move{{To: one.ID, SKU: "seat", Quantity: 1, Key: "forth"}}, false)
			if err == nil {
				err = list[0].Err
			}
			wants(w.t, "in a list", err, partner.ErrIdempotencyMismatch)
		}
	})
}

// TestBEY09_TakingTheLastAccountAwayGivesNothing: an empty list is nobody's, and only no list is everything.
func TestBEY09_TakingTheLastAccountAwayGivesNothing(t *testing.T) {
	each(t, func(w *world) {
		p, admin, one := w.supplied(3)
		two := w.project(admin, "two")
		u := w.addedUser(p.ID, "dev", func(u *partner.NewUser) { u.Rights, u.Scope.Accounts = everyRight, []partner.AccountID{one.ID} })
		s, err := w.reg.Access.Login(context.Background(), "dev", password, "")
		w.must(err)
		me := partner.WithSession(context.Background(), s)
		w.must(w.reg.Access.SwitchTo(me, one.ID))
		u, err = w.reg.Users.Edit(admin, u.ID, u.Version, func(n *partner.NewUser) {
			n.Scope.Accounts = slices.DeleteFunc(n.Scope.Accounts, func(id partner.AccountID) bool { return id == one.ID })
		})
		w.must(err)
		if u.Scope.Accounts == nil || len(u.Scope.Accounts) != 0 {
			w.t.Errorf("the scope is %#v", u.Scope)
		}
		for _, id := range []partner.AccountID{one.ID, two.ID} {
			wants(w.t, "an account of nobody's scope", second(w.reg.Accounts.Get(me, id)), partner.ErrNotFound)
		}
		page, err := w.reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{})
		w.must(err)
		now, err := w.reg.Access.Resume(context.Background(), s.Token())
		w.must(err)
		if len(page.Items) != 0 || now.Region != "" {
			w.t.Errorf("lists %v, region %q", page.Items, now.Region)
		}
		u, err = w.reg.Users.Edit(admin, u.ID, u.Version, func(n *partner.NewUser) { n.Scope = partner.Scope{} })
		w.must(err)
		w.must(second(w.reg.Accounts.Get(me, two.ID)))
		// An account that is gone stays in a scope, and does not keep others from coming.
		u, err = w.reg.Users.Edit(admin, u.ID, u.Version, func(n *partner.NewUser) { n.Scope.Accounts = []partner.AccountID{one.ID, two.ID} })
		w.must(err)
		tamper(w.t, w.db, "UPDATE prm_accounts SET state = 'deleted', identity_id = NULL WHERE id = ?", two.ID)
		three := w.project(admin, "three")
		w.must(second(w.reg.Users.Edit(admin, u.ID, u.Version, func(n *partner.NewUser) { n.Scope.Accounts = append(n.Scope.Accounts, three.ID) })))
	})
}

// TestLIM22_NotInASnapshot: it would not see whose an address has become.
func TestLIM22_NotInASnapshot(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	p, me := w.partner("acme")
	dev := w.addedUser(p.ID, "dev")
	ready, err := w.reg.Users.Prepare(me, p.ID, newUser("late"))
	w.must(err)
	tx := w.db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	w.must(tx.Error)
	in := w.reg.In(tx)
	wants(t, "add", second(in.Users.Add(me, p.ID, ready)), partner.ErrInvalid)
	wants(t, "edit", second(in.Users.Edit(me, dev.ID, dev.Version, func(u *partner.NewUser) { u.Email = "x@user.example" })), partner.ErrInvalid)
	w.must(second(in.Users.Edit(me, dev.ID, dev.Version, func(u *partner.NewUser) { u.Name = strings.ToUpper(u.Name) })))
	w.must(tx.Rollback().Error)
}
