package partner_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// newUser is a valid member with this log-in name.
func newUser(login string) partner.NewUser {
	return partner.NewUser{Email: login + "@user.example", Name: "User " + login, Login: login, Role: partner.Member, Password: password}
}

// addedUser adds one.
func (w *world) addedUser(org partner.ID, login string, change ...func(*partner.NewUser)) partner.User {
	w.t.Helper()
	u := newUser(login)
	for _, c := range change {
		c(&u)
	}
	user, err := w.reg.Users.Add(w.vendor, org, u)
	w.must(err)
	return user
}

// user adds one and returns a context in which he acts.
func (w *world) user(org partner.ID, login string, change ...func(*partner.NewUser)) context.Context {
	w.t.Helper()
	w.addedUser(org, login, change...)
	return w.login(login)
}

// TestPAN04_AllMissingFieldsTogether, and each fault of a field beside the others.
func TestPAN04_AllMissingFieldsTogether(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		project := w.project(me, "one")
		w.faulty(second(w.reg.Users.Add(me, p.ID, partner.NewUser{})), "email:required name:required role:required")
		bad := partner.NewUser{Email: "nobody", Name: "a\nb", Login: "a b", Phone: "12", Locale: "zz-zzzzzzzzzz", Role: "owner", Rights: []partner.Right{partner.Projects, "fly"},
			Scope: partner.Scope{Accounts: []partner.AccountID{project.ID}}, Password: "short", Key: " "}
		w.faulty(second(w.reg.Users.Add(me, p.ID, bad)),
			"email:format name:format phone:format locale:unknown_code role:unknown_code rights[1]:unknown_code scope:format login:format password:weak key:format")
		admin := newUser("boss")
		admin.Role, admin.Rights = partner.Admin, []partner.Right{partner.Projects, partner.ViewInvoices}
		w.faulty(second(w.reg.Users.Add(w.vendor, p.ID, admin)), "rights[0]:format")
		staff := newUser("staff")
		staff.Rights = []partner.Right{partner.Projects}
		w.faulty(second(w.reg.Users.Add(w.vendor, partner.Vendor, staff)), "role:unknown_code rights[0]:format")
		lost := newUser("lost")
		lost.Scope.Accounts = []partner.AccountID{project.ID, "acc_nobody", "acc_\x00"}
		w.faulty(second(w.reg.Users.Add(me, p.ID, lost)), "scope.accounts[1]:unknown_code scope.accounts[2]:unknown_code")
		lost.Scope.Accounts = slices.Repeat([]partner.AccountID{project.ID}, 501)
		w.faulty(second(w.reg.Users.Add(me, p.ID, lost)), "scope:too_long")
		both := newUser("acme")
		both.Name, both.Email, both.Scope.Accounts = "", "acme@partner.example", []partner.AccountID{"acc_nobody"}
		w.faulty(second(w.reg.Users.Add(me, p.ID, both)), "name:required login:taken email:taken scope.accounts[0]:unknown_code")
		taken := newUser("ACME")
		taken.Email = "Acme@Partner.example"
		w.faulty(second(w.reg.Users.Add(me, p.ID, taken)), "login:taken email:taken")
		if n := rowsIn(w.t, w.db, "prm_users"); n != 1 {
			w.t.Errorf("%d users", n)
		}
	})
}

// TestLIM01_AUsersLife: added, read, listed, edited, disabled, enabled, removed, and added again.
func TestLIM01_AUsersLife(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		one, two := w.project(me, "one"), w.project(me, "two")
		in := newUser("dev")
		in.Phone, in.Locale, in.Rights, in.Key = "+49 30 901820", "de", []partner.Right{partner.Licenses, partner.Projects}, "first"
		in.Scope.Accounts = []partner.AccountID{two.ID, one.ID, two.ID}
		u, err := w.reg.Users.Add(me, p.ID, in)
		w.must(err)
		again, err := w.reg.Users.Add(me, p.ID, in)
		w.must(err)
		if again.ID != u.ID || !again.Replayed || u.Replayed || again.Key != "first" {
			w.t.Errorf("the same key: %+v", again)
		}
		in.Role = partner.Admin
		in.Scope, in.Rights = partner.Scope{}, nil
		wants(w.t, "other content", second(w.reg.Users.Add(me, p.ID, in)), partner.ErrIdempotencyMismatch)
		if u.Partner != p.ID || !u.Active || u.Contact || u.Phone != "+4930901820" || u.Email != "dev@user.example" || u.Password != "" ||
			!slices.Equal(u.Rights, []partner.Right{partner.Projects, partner.Licenses}) || len(u.Scope.Accounts) != 2 {
			w.t.Errorf("added %+v", u)
		}
		dev := w.login("dev")
		for who, ctx := range map[string]context.Context{"his admin": me, "the vendor": w.vendor, "himself": dev} {
			if got, err := w.reg.Users.Get(ctx, u.ID); err != nil || got.ID != u.ID || got.Version != u.Version {
				w.t.Errorf("read by %s: %+v (%v)", who, got, err)
			}
		}
		page, err := w.reg.Users.List(me, p.ID, partner.PageRequest{Limit: 1})
		w.must(err)
		rest, err := w.reg.Users.List(me, p.ID, partner.PageRequest{After: page.Next})
		w.must(err)
		if page.Items[0].ID != u.ID || len(rest.Items) != 1 || !rest.Items[0].Contact || rest.Items[0].Role != partner.Admin {
			w.t.Errorf("listed %+v, %+v", page.Items, rest.Items)
		}
		edited, err := w.reg.Users.Edit(me, u.ID, u.Version, func(n *partner.NewUser) {
			n.Name, n.Email, n.Rights, n.Scope.Accounts = "Devi", " Devi@user.example", []partner.Right{partner.Licenses}, []partner.AccountID{one.ID}
		})
		w.must(err)
		if edited.Name != "Devi" || edited.Email != "Devi@user.example" || !slices.Equal(edited.Rights, []partner.Right{partner.Licenses}) {
			w.t.Errorf("edited %+v", edited)
		}
		wants(w.t, "an old version", second(w.reg.Users.Edit(me, u.ID, u.Version, func(n *partner.NewUser) { n.Name = "X" })), partner.ErrConflict)
		for what, change := range map[string]func(*partner.NewUser){"login": func(n *partner.NewUser) { n.Login = "x" },
			"password": func(n *partner.NewUser) { n.Password = password }, "key": func(n *partner.NewUser) { n.Key = "x" }} {
			wants(w.t, what, second(w.reg.Users.Edit(me, u.ID, edited.Version, change)), partner.ErrImmutable)
		}
		w.must(w.reg.Users.Remove(me, u.ID))
		wants(w.t, "the removed one's next call", second(w.reg.Users.Get(dev, u.ID)), partner.ErrForbidden)
		wants(w.t, "his log-in", second(w.reg.Access.Login(w.t.Context(), "dev", password, "")), partner.ErrBadCredentials)
		for what, err := range map[string]error{"get": second(w.reg.Users.Get(me, u.ID)), "enable": w.reg.Users.Enable(me, u.ID), "remove": w.reg.Users.Remove(me, u.ID),
			"contact": w.reg.Partners.SetContact(me, p.ID, u.ID)} {
			wants(w.t, what+" of one who has left", err, partner.ErrNotFound)
		}
		if newer := w.addedUser(p.ID, "dev"); newer.ID == u.ID {
			w.t.Error("one who comes again has the old place")
		}
		events, err := w.reg.Activity.List(w.vendor, partner.EventFilter{Partner: p.ID}, partner.PageRequest{})
		w.must(err)
		var kinds []string
		for _, e := range events.Items {
			if strings.HasPrefix(e.Kind, "user.") {
				kinds = append(kinds, e.Kind+" "+strings.Join(e.Changed, ","))
			}
		}
		if want := []string{"user.added ", "user.removed ", "user.edited email,name,rights,scope", "user.added "}; !slices.Equal(kinds, want) {
			w.t.Errorf("the audit says %q", kinds)
		}
	})
}

// TestPIL32_DisablingStopsTheNextCall, and enabling brings nobody's session back, whatever blocks came and went meanwhile.
func TestPIL32_DisablingStopsTheNextCall(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		u := w.addedUser(p.ID, "dev")
		dev := w.login("dev")
		w.must(w.reg.Users.Disable(me, u.ID))
		wants(w.t, "the next call", second(w.reg.Users.Get(dev, u.ID)), partner.ErrForbidden)
		wants(w.t, "a log-in", second(w.reg.Access.Login(w.t.Context(), "dev", password, "")), partner.ErrForbidden)
		wants(w.t, "a log-in with a wrong password", second(w.reg.Access.Login(w.t.Context(), "dev", "wrong password", "")), partner.ErrBadCredentials)
		before := dump(w.t, w.db)
		w.must(w.reg.Users.Disable(me, u.ID))
		if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
			w.t.Errorf("disabled twice, which changed %v", left)
		}
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		wants(w.t, "a log-in after a block was lifted", second(w.reg.Access.Login(w.t.Context(), "dev", password, "")), partner.ErrForbidden)
		me = w.login("acme")
		w.must(w.reg.Users.Enable(me, u.ID))
		wants(w.t, "the session of before", second(w.reg.Users.Get(dev, u.ID)), partner.ErrForbidden)
		dev = w.login("dev")
		w.must(w.reg.Access.LogoutAll(me, u.ID))
		wants(w.t, "a session that was ended", second(w.reg.Users.Get(dev, u.ID)), partner.ErrForbidden)
		first, second2 := w.login("dev"), w.login("dev")
		w.must(w.reg.Access.LogoutAll(first, u.ID))
		for _, ctx := range []context.Context{first, second2} {
			wants(w.t, "a session that its user ended", second(w.reg.Users.Get(ctx, u.ID)), partner.ErrForbidden)
		}
		wants(w.t, "the sessions of another", w.reg.Access.LogoutAll(w.login("dev"), p.Contact), partner.ErrForbidden)
	})
}

// TestPAN06_TheContactStays: who is the primary contact can be neither disabled nor removed, until another is.
func TestPAN06_TheContactStays(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		u := w.addedUser(p.ID, "dev")
		wants(w.t, "disable", w.reg.Users.Disable(me, p.Contact), partner.ErrPrimaryContact)
		wants(w.t, "remove", w.reg.Users.Remove(w.vendor, p.Contact), partner.ErrPrimaryContact)
		w.must(w.reg.Partners.SetContact(me, p.ID, u.ID))
		wants(w.t, "remove the new one", w.reg.Users.Remove(w.vendor, u.ID), partner.ErrPrimaryContact)
		w.must(w.reg.Users.Disable(w.vendor, p.Contact))
		w.must(w.reg.Users.Remove(w.vendor, p.Contact))
		wants(w.t, "one who has left", w.reg.Partners.SetContact(w.vendor, p.ID, p.Contact), partner.ErrNotFound)
	})
}

// TestPIL29_NobodyBeginsUnderABlock: nor under an archived or a pending partner, whoever adds him; racing the block, nobody after it.
func TestPIL29_NobodyBeginsUnderABlock(t *testing.T) {
	each(t, func(w *world) {
		parent, _ := w.partner("parent")
		p, _ := w.partner("acme", under(parent.ID))
		add := func(login string) error { return second(w.reg.Users.Add(w.vendor, p.ID, newUser(login))) }
		w.must(w.reg.Partners.Block(w.vendor, parent.ID, true))
		wants(w.t, "under a block from above", add("a"), partner.ErrBlocked)
		w.must(w.reg.Partners.Unblock(w.vendor, parent.ID))
		w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, false)) // those of its accounts alone
		w.must(add("b"))
		tamper(w.t, w.db, "UPDATE prm_partners SET state = 'archived' WHERE id = ?", p.ID)
		wants(w.t, "archived", add("c"), partner.ErrBlocked)
		tamper(w.t, w.db, "UPDATE prm_partners SET state = 'pending' WHERE id = ?", p.ID)
		wants(w.t, "pending", add("d"), partner.ErrPending)
		tamper(w.t, w.db, "UPDATE prm_partners SET state = 'active' WHERE id = ?", p.ID)

		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() { _ = add("racer-" + string(rune('a'+i))) })
		}
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		n := rowsIn(w.t, w.db, "prm_users WHERE partner_id = ?", p.ID)
		all.Wait()
		if now := rowsIn(w.t, w.db, "prm_users WHERE partner_id = ?", p.ID); now != n {
			w.t.Errorf("%d users when the block had returned, %d later", n, now)
		}
	})
}

// TestLIM22_OnePartnerForAPerson: the vendor is told at once, a partner that the address is taken.
func TestLIM22_OnePartnerForAPerson(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		q, you := w.partner("globex")
		u := w.addedUser(p.ID, "dev")
		in := newUser("dev2")
		in.Email = "DEV@user.example"
		wants(w.t, "by the vendor", second(w.reg.Users.Add(w.vendor, q.ID, in)), partner.ErrEmailInOtherPartner)
		w.faulty(second(w.reg.Users.Add(you, q.ID, in)), "email:taken")
		w.faulty(second(w.reg.Users.Add(w.vendor, p.ID, in)), "email:taken")
		other := w.addedUser(q.ID, "ops")
		_, err := w.reg.Users.Edit(w.vendor, other.ID, other.Version, func(n *partner.NewUser) { n.Email = in.Email })
		wants(w.t, "an edit by the vendor", err, partner.ErrEmailInOtherPartner)
		_, err = w.reg.Users.Edit(you, other.ID, other.Version, func(n *partner.NewUser) { n.Email = in.Email })
		w.faulty(err, "email:taken")
		w.must(w.reg.Users.Remove(w.vendor, u.ID))
		w.must(second(w.reg.Users.Add(you, q.ID, in)))

		var all sync.WaitGroup
		made := make(chan partner.ID, 8)
		for i, org := range []partner.ID{p.ID, q.ID, p.ID, q.ID} {
			all.Go(func() {
				in := newUser("same-" + string(rune('a'+i)))
				in.Email = "same@user.example"
				if _, err := w.reg.Users.Add(w.vendor, org, in); err == nil {
					made <- org
				}
			})
		}
		all.Wait()
		if len(made) != 1 {
			w.t.Errorf("%d users with one address", len(made))
		}
	})
}

// TestPIL32_NobodyGivesARightThatHeLacks: a partner's admin has no flag but those that the vendor gave him.
func TestPIL32_NobodyGivesARightThatHeLacks(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		flags := []partner.Right{partner.ViewCustomers, partner.ViewInvoices}
		in := newUser("dev")
		in.Rights = append([]partner.Right{partner.Margin}, flags...)
		wants(w.t, "flags that he lacks", second(w.reg.Users.Add(me, p.ID, in)), partner.ErrForbidden)
		in.Rights = everyRight[:5]
		dev, err := w.reg.Users.Add(me, p.ID, in)
		w.must(err)
		boss, err := w.reg.Users.Get(w.vendor, p.Contact)
		w.must(err)
		_, err = w.reg.Users.Edit(me, boss.ID, boss.Version, func(n *partner.NewUser) { n.Rights = flags })
		wants(w.t, "flags for himself", err, partner.ErrForbidden)
		boss, err = w.reg.Users.Edit(w.vendor, boss.ID, boss.Version, func(n *partner.NewUser) { n.Rights = flags[:1] })
		w.must(err)
		dev, err = w.reg.Users.Edit(me, dev.ID, dev.Version, func(n *partner.NewUser) { n.Rights = flags[:1] })
		w.must(err)
		_, err = w.reg.Users.Edit(me, dev.ID, dev.Version, func(n *partner.NewUser) { n.Rights = flags })
		wants(w.t, "one that he has and one that he lacks", err, partner.ErrForbidden)
		_, err = w.reg.Users.Edit(me, dev.ID, dev.Version, func(n *partner.NewUser) { n.Role = partner.Admin })
		wants(w.t, "an admin with flags", err, partner.ErrForbidden)
		dev, err = w.reg.Users.Edit(w.vendor, dev.ID, dev.Version, func(n *partner.NewUser) { n.Rights = flags })
		w.must(err)
		dev, err = w.reg.Users.Edit(me, dev.ID, dev.Version, func(n *partner.NewUser) { n.Name = "keeps what he has" })
		w.must(err)
		dev, err = w.reg.Users.Edit(me, dev.ID, dev.Version, func(n *partner.NewUser) { n.Rights = nil; n.Role = partner.Admin })
		w.must(err)
		if len(dev.Rights) != 0 || len(boss.Rights) != 1 {
			w.t.Errorf("%v and %v", dev.Rights, boss.Rights)
		}
	})
}

// TestPIL04_HostTransactionsAddUsers: prepared outside, written inside, or nothing.
func TestBEY01_AUserInAHostTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db)
		p, me := w.partner("acme")
		ready, err := w.reg.Users.Prepare(me, p.ID, newUser("dev"))
		w.must(err)
		tx := db.Begin()
		in := w.reg.In(tx)
		wants(t, "one that was not prepared", second(in.Users.Add(me, p.ID, newUser("dev"))), partner.ErrInvalid)
		changed := ready
		changed.Role = partner.Admin
		wants(t, "one that was changed", second(in.Users.Add(me, p.ID, changed)), partner.ErrInvalid)
		u, err := in.Users.Add(me, p.ID, ready)
		w.must(err)
		w.must(in.Users.Disable(me, u.ID))
		w.must(tx.Rollback().Error)
		if n := rowsIn(t, db, "prm_users WHERE partner_id = ?", p.ID); n != 1 {
			t.Errorf("%d users after the host rolled back", n)
		}
		tx = db.Begin()
		w.must(second(w.reg.In(tx).Users.Add(me, p.ID, ready)))
		w.must(tx.Commit().Error)
		w.login("dev")
	})
}
