package partner_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// days lets them pass, doing what is due now and then on each.
func (w *world) days(n int) {
	w.t.Helper()
	for range n {
		w.later(day - 3*time.Hour)
		w.later(time.Hour)
		w.later(2 * time.Hour)
	}
}

// kinds are the kinds of events of an account, oldest first, of those named.
func (w *world) kinds(id partner.AccountID, prefix string) (list []string) {
	w.t.Helper()
	w.must(w.db.Raw("SELECT kind FROM prm_events WHERE account_id = ? AND kind LIKE ? ORDER BY at, id", id, prefix+"%").Scan(&list).Error)
	return list
}

// TestAT03_TenIdleYears: a solution account is intact; a standard one and a project are told of at day 90, again a week before the end of the grace, and
// deleted after it, with their licences back; partners stay.
func TestAT03_TenIdleYears(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		w.certify(p.ID, "gold", partner.Period{})
		w.stock(p.ID, "seat", 10)
		owner := w.user(p.ID, "owner")
		lab, office, project := w.solution(owner, "Lab"), w.account(me, "standard", "Office"), w.project(me, "one")
		w.must(second(w.seats.Assign(me, project.ID, "seat", 4)))
		began := w.clock.Now()
		day := func(m partner.Message) int { return int(box.at[m.ID].Sub(began) / (24 * time.Hour)) }
		w.days(85)
		if len(box.sent) > 0 {
			w.t.Fatalf("told too early: %v", box.sent)
		}
		w.days(15)
		if got := box.count("idle_notice"); got != 3 || w.stands(office.ID) != "idle_notified" || w.stands(project.ID) != "idle_notified" || w.stands(lab.ID) != "active" {
			w.t.Fatalf("%d notices, the accounts are %s, %s and %s", got, w.stands(office.ID), w.stands(project.ID), w.stands(lab.ID))
		}
		for _, to := range []string{"one@customer.example", p.Email} {
			m := box.last(w.t, "idle_notice", to)
			if got := day(m); got < 90 || got > 91 || m.Data["account"] == "" || m.Data["partner"] != p.Name || m.Data["until"] == "" || m.Token != "" {
				w.t.Fatalf("told on day %d: %+v", got, m)
			}
		}
		w.days(11)
		if got := box.count("idle_last_notice"); got != 0 {
			w.t.Fatalf("%d last notices on day 111", got)
		}
		w.days(3)
		m := box.last(w.t, "idle_last_notice", "one@customer.example")
		if got := day(m); box.count("idle_last_notice") != 3 || got < 113 || got > 114 {
			w.t.Fatalf("%d last notices, on day %d", box.count("idle_last_notice"), got)
		}
		w.days(4)
		if w.stands(office.ID) != "idle_notified" || w.stands(project.ID) != "idle_notified" {
			w.t.Fatalf("on day 118 the accounts are %s and %s", w.stands(office.ID), w.stands(project.ID))
		}
		w.days(5)
		for _, id := range []partner.AccountID{office.ID, project.ID} {
			r, err := w.reg.Accounts.Receipt(w.vendor, id)
			if w.must(err); r.By != "system" || r.RequestedBy != "system" {
				w.t.Fatalf("the receipt is %+v", r)
			}
			if got := w.kinds(id, "account."); !slices.Equal(got[len(got)-4:], []string{"account.idle_notified", "account.last_notified", "account.dormant", "account.deleted"}) {
				w.t.Fatalf("it happened that %v", got)
			}
		}
		w.forgotten(project.ID, "one@customer.example", "Globex")
		if n := w.available(w.vendor, p.ID, "seat"); n != 10 {
			w.t.Fatalf("the pool has %d", n)
		}
		for range 10 * 12 {
			w.later(30 * 24 * time.Hour)
		}
		if a, err := w.reg.Accounts.Get(w.vendor, lab.ID); err != nil || a.State != "active" || len(a.Blocks) > 0 {
			w.t.Fatalf("after ten years the solution account is %+v, %v", a, err)
		}
		if got, err := w.reg.Partners.Get(w.vendor, p.ID); err != nil || got.State != "active" {
			w.t.Fatalf("after ten years the partner is %+v, %v", got, err)
		}
		w.login("acme")
		w.sound()
	})
}

// TestCLW24_WhatCountsAsUse begins the idle time anew, whatever stage it is at; what the host does in its own name, and another address, does not.
func TestCLW24_WhatCountsAsUse(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, _ := w.partner("acme")
		w.stock(p.ID, "seat", 100)
		me := func() context.Context { return w.login("acme") }
		first := me()
		used := map[string]func(partner.AccountID, string){
			"a log-in":     func(_ partner.AccountID, login string) { w.login(login) },
			"a switch":     func(id partner.AccountID, _ string) { w.must(w.reg.Access.SwitchTo(me(), id)) },
			"licences":     func(id partner.AccountID, _ string) { w.must(second(w.seats.Assign(me(), id, "seat", 1))) },
			"a touch":      func(id partner.AccountID, _ string) { w.must(w.reg.Accounts.Touch(me(), id)) },
			"the host's":   func(id partner.AccountID, _ string) { w.must(w.reg.Accounts.Touch(w.vendor, id)) },
			"the log-in's": func(id partner.AccountID, login string) { w.must(w.reg.Accounts.Touch(w.login(login), id)) },
			"an edit": func(id partner.AccountID, _ string) {
				a, err := w.reg.Accounts.Get(w.vendor, id)
				w.must(err)
				w.must(second(w.reg.Accounts.EditProject(me(), id, a.Version, func(p *partner.NewProject) { p.Company += "X" })))
			},
			"a resume": func(id partner.AccountID, _ string) {
				w.must(w.reg.Accounts.Suspend(w.vendor, id))
				w.must(w.reg.Accounts.Resume(w.vendor, id))
			},
			"a close that was cancelled": func(id partner.AccountID, _ string) {
				w.close(me(), id)
				w.must(w.reg.Accounts.CancelClose(w.vendor, id, "a mistake"))
			},
		}
		unused := map[string]func(partner.AccountID, string){
			"nothing": func(partner.AccountID, string) {},
			"misuse":  func(id partner.AccountID, _ string) { w.must(w.reg.Accounts.ReportMisuse(w.vendor, id, "orders")) },
			"a cap":   func(id partner.AccountID, _ string) { w.must(w.seats.Cap(w.vendor, id, "seat", 50)) },
			"an address": func(id partner.AccountID, _ string) {
				a, err := w.reg.Accounts.Get(w.vendor, id)
				w.must(err)
				w.must(second(w.reg.Accounts.EditProject(me(), id, a.Version, func(p *partner.NewProject) { p.Email = "x" + p.Email })))
			},
			"a reading": func(id partner.AccountID, _ string) { w.must(second(w.seats.Balance(me(), id, "seat"))) },
		}
		ids := map[string]partner.AccountID{}
		for what := range joined(used, unused) {
			login := strings.Map(func(r rune) rune {
				if r == ' ' || r == '\'' {
					return '-'
				}
				return r
			}, what)
			ids[what] = w.project(first, login).ID
		}
		login := func(what string) string { return strings.NewReplacer(" ", "-", "'", "-").Replace(what) }
		for _, wait := range []int{80, 100, 116} { // before a notice, after the first, after the second
			w.days(wait)
			for what, do := range joined(used, unused) {
				if w.stands(ids[what]) != "deleted" {
					do(ids[what], login(what))
				}
			}
			w.later(2 * time.Hour)
			for what := range used {
				if got := w.stands(ids[what]); got != "active" {
					w.t.Fatalf("after %d days and %s it is %s: %v", wait, what, got, w.kinds(ids[what], ""))
				}
			}
		}
		for what := range unused {
			if got := w.stands(ids[what]); got != "deleted" {
				w.t.Errorf("after 296 days and %s it is %s: %v", what, got, w.kinds(ids[what], ""))
			}
		}
		w.days(85)
		for what := range used {
			if got := w.stands(ids[what]); got != "active" {
				w.t.Errorf("85 days after %s it is %s", what, got)
			}
		}
		w.days(10)
		for what := range used {
			if got := w.stands(ids[what]); got != "idle_notified" {
				w.t.Errorf("95 days after %s it is %s", what, got)
			}
		}
		w.sound()
	})
}

// TestCLW24_PeopleOfEveryKindCount: a member who logs in, whoever acts for somebody, and the customer.
func TestCLW24_PeopleOfEveryKindCount(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		dev := w.user(p.ID, "dev")
		office := w.account(me, "standard", "Office")
		m := w.member(me, office.ID, partner.NewMember{Kind: partner.Employee, Email: "clerk@user.example"})
		extra := w.special(me, w.specials(me).ID, "Extra")
		his, mine := w.his(me, "his"), w.his(me, "mine")
		w.post()
		w.must(second(w.accept(box.last(w.t, "invitation", "clerk@user.example").Token)))
		d := w.delegated(dev, his.ID, 400*dayLong)
		act := w.delegated(dev, mine.ID, 400*dayLong)
		w.days(100)
		for what, c := range map[string]struct {
			of partner.AccountID
			do func() error
		}{
			"a member's log-in": {m.Account, func() error {
				return second(w.reg.Access.Login(context.Background(), "clerk@user.example", password, ""))
			}},
			"the customer":          {his.ID, func() error { return w.reg.Access.Revoke(customers(), d.ID) }},
			"a delegated session":   {mine.ID, func() error { return second(w.reg.Access.ActFor(w.login("dev"), act.ID)) }},
			"whoever acts as other": {extra.Account, func() error { return second(w.reg.Access.ActAs(w.login("acme"), extra.ID, "to look")) }},
		} {
			if got := w.stands(c.of); got != "idle_notified" {
				w.t.Fatalf("before %s it is %s", what, got)
			}
			if err := c.do(); err != nil {
				w.t.Fatalf("%s: %v", what, err)
			}
			w.later(2 * time.Hour)
			if got := w.stands(c.of); got != "active" {
				w.t.Errorf("after %s it is %s: %v", what, got, w.kinds(c.of, ""))
			}
		}
	})
}

// specials is an account with room for special employees, of a type that is dormant as others are.
func (w *world) specials(me context.Context) partner.Account {
	w.t.Helper()
	w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "stage", Quota: partner.Quota{SpecialEmployees: 5}, Idle: 90 * day, Grace: 30 * day, LastNotice: week}))
	return w.account(me, "stage", "Stage")
}

// TestCLW24_UndeliveredNoticesStopTheClock: no account is deleted before both have been told twice, whatever the mail does meanwhile.
func TestCLW24_UndeliveredNoticesStopTheClock(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		a := w.project(me, "one")
		var broken string
		box.as = func(m partner.Message) error {
			if m.To == broken {
				return errors.New("mailbox full")
			}
			return nil
		}
		for _, broken = range []string{"one@customer.example", p.Email} {
			w.days(200)
			if got := w.stands(a.ID); got != "idle_notified" || box.count("idle_last_notice") > 0 {
				w.t.Fatalf("with one of two told it is %s: %v", got, box.sent)
			}
			if n := len(w.kinds(a.ID, "account.idle_notified")); n < 10 || n > 2*16 { // once a week, for 110 days
				w.t.Fatalf("told %d times", n)
			}
			w.must(w.reg.Accounts.Touch(w.vendor, a.ID))
			if got := w.stands(a.ID); got != "active" {
				w.t.Fatalf("after a touch it is %s", got)
			}
		}
		w.days(100)
		broken = ""
		w.days(10) // sent again once in a week, and it arrives
		told := w.clock.Now()
		for box.count("idle_last_notice") == 0 && w.clock.Now().Sub(told) < 40*day {
			w.days(1)
		}
		if got := w.clock.Now().Sub(told); got < 14*day || got > 25*day {
			w.t.Fatalf("the last notice came %v after the first", got)
		}
		// Now the last one to one of them does not come: the end waits for it.
		broken = "one@customer.example"
		w.must(w.reg.Accounts.Touch(w.vendor, a.ID))
		broken = ""
		w.days(92)
		broken = "one@customer.example"
		w.days(100)
		if got := w.stands(a.ID); got != "idle_notified" {
			w.t.Fatalf("with a last notice that has not come it is %s", got)
		}
		broken = ""
		mended := w.clock.Now()
		for w.stands(a.ID) != "deleted" && w.clock.Now().Sub(mended) < 30*day {
			w.days(1)
		}
		m := box.last(w.t, "idle_last_notice", "one@customer.example")
		if since, left := w.clock.Now().Sub(mended), w.clock.Now().Sub(box.at[m.ID]); since > 17*day || left < week {
			w.t.Fatalf("deleted %v after the mail was mended, %v after the last notice came", since, left)
		}
	})
	each(t, func(w *world) { // without a notifier nobody is ever told
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.days(200)
		if got := w.stands(a.ID); got != "idle_notified" || len(w.mail()) != 2 {
			w.t.Fatalf("it is %s, mail %q", got, w.mail())
		}
		w.must(w.reg.Accounts.Touch(w.vendor, a.ID))
		w.mailed() // what is not true any more is not sent
	})
}

// TestCLW26_AnAddressChangedBetweenTwoNotices redirects the second, and restarts no clock.
func TestCLW26_AnAddressChangedBetweenTwoNotices(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.days(100)
		a, err := w.reg.Accounts.Get(w.vendor, a.ID)
		w.must(err)
		w.must(second(w.reg.Accounts.EditProject(w.login("acme"), a.ID, a.Version, func(p *partner.NewProject) { p.Email = "new@customer.example" })))
		w.days(15)
		box.last(w.t, "idle_last_notice", "new@customer.example")
		box.last(w.t, "idle_notice", "one@customer.example")
		w.days(10)
		if got := w.stands(a.ID); got != "deleted" || box.count("idle_notice") != 2 || box.count("idle_last_notice") != 2 {
			w.t.Fatalf("it is %s: %v", got, box.sent)
		}
	})
}

// TestCLW24_WhoCannotBeToldKeepsHisAccount: without an address of the contact nothing begins; one person with both addresses is told once.
func TestCLW24_WhoCannotBeToldKeepsHisAccount(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("mute", func(a *partner.Agreement) { a.Email = "" })
		a := w.project(me, "one")
		_, boss := w.partner("boss")
		office := w.account(boss, "standard", "Office")
		w.days(130)
		if got := w.stands(a.ID); got != "active" || box.count("idle_notice") != 1 {
			w.t.Fatalf("it is %s: %v", got, box.sent)
		}
		if got := w.stands(office.ID); got != "deleted" || box.count("idle_last_notice") != 1 {
			w.t.Fatalf("the office is %s: %v", got, box.sent)
		}
	})
}

// TestCLW24_NobodyIsLateWhoIsLockedOut: while a partner is blocked, put away or has its account suspended, no time passes for its accounts.
func TestCLW24_NobodyIsLateWhoIsLockedOut(t *testing.T) {
	for what, lock := range map[string]struct {
		out, in func(*world, partner.ID, partner.AccountID) error
	}{
		"blocked": {func(w *world, p partner.ID, _ partner.AccountID) error {
			return w.reg.Partners.Block(w.vendor, p, false)
		},
			func(w *world, p partner.ID, _ partner.AccountID) error { return w.reg.Partners.Unblock(w.vendor, p) }},
		"its users blocked": {func(w *world, p partner.ID, _ partner.AccountID) error {
			return w.reg.Partners.BlockUsers(w.vendor, p, false)
		},
			func(w *world, p partner.ID, _ partner.AccountID) error {
				return w.reg.Partners.UnblockUsers(w.vendor, p)
			}},
		"archived": {func(w *world, p partner.ID, _ partner.AccountID) error { return w.reg.Partners.Archive(w.vendor, p) },
			func(w *world, p partner.ID, _ partner.AccountID) error { return w.reg.Partners.Restore(w.vendor, p) }},
		"suspended": {func(w *world, _ partner.ID, a partner.AccountID) error { return w.reg.Accounts.Suspend(w.vendor, a) },
			func(w *world, _ partner.ID, a partner.AccountID) error { return w.reg.Accounts.Resume(w.vendor, a) }},
		"a root that is blocked": {func(w *world, _ partner.ID, _ partner.AccountID) error {
			return w.reg.Partners.Block(w.vendor, w.find("root"), true)
		},
			func(w *world, _ partner.ID, _ partner.AccountID) error {
				return w.reg.Partners.Unblock(w.vendor, w.find("root"))
			}},
	} {
		t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) {
			mailing(t, func(w *world, box *postbox) {
				root, _ := w.partner("root")
				p, me := w.partner("acme", under(root.ID))
				early, late := w.project(me, "early"), w.project(me, "late")
				w.days(70)
				w.must(w.reg.Accounts.Touch(w.vendor, late.ID))
				w.days(30) // the early one is told of
				w.must(lock.out(w, p.ID, early.ID))
				if what == "suspended" {
					w.must(lock.out(w, p.ID, late.ID))
				}
				w.days(200)
				w.must(lock.in(w, p.ID, early.ID))
				if what == "suspended" {
					w.must(lock.in(w, p.ID, late.ID))
				}
				sent := len(box.sent)
				w.days(85)
				for _, id := range []partner.AccountID{early.ID, late.ID} {
					if got := w.stands(id); got != "active" || len(box.sent) != sent {
						t.Fatalf("85 days after it is %s: %v", got, w.kinds(id, "account."))
					}
				}
				w.days(8)
				if got := w.stands(early.ID); got != "idle_notified" {
					t.Fatalf("93 days after it is %s", got)
				}
			})
		})
	}
}

// find is a partner by its log-in name.
func (w *world) find(login string) (id partner.ID) {
	w.t.Helper()
	w.must(w.db.Raw("SELECT u.partner_id FROM prm_users u JOIN prm_identities i ON i.id = u.identity_id WHERE i.login = ?", login).Scan(&id).Error)
	return id
}

// TestCLW24_TheTimesAreTheTypes: a host changes them as data, for accounts that are there as well.
func TestCLW24_TheTimesAreTheTypes(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a, b := w.project(me, "one"), w.account(me, "standard", "Office")
		types, err := w.reg.Accounts.Types(w.vendor)
		w.must(err)
		for _, d := range types {
			if want := d.Code != "solution"; (d.Idle == 90*day && d.Grace == 30*day && d.LastNotice == week) != want {
				w.t.Fatalf("%s has %v, %v, %v", d.Code, d.Idle, d.Grace, d.LastNotice)
			}
			switch d.Code {
			case "project":
				d.Idle, d.Grace, d.LastNotice = 10*day, 2*day, 0
			case "standard":
				d.Idle = 0
			}
			w.must(w.reg.Accounts.DefineType(w.vendor, d))
		}
		w.days(14)
		if got := w.stands(a.ID); got != "deleted" || box.count("idle_notice") != 2 || box.count("idle_last_notice") != 0 {
			w.t.Fatalf("after 14 days it is %s: %v", got, box.sent)
		}
		w.days(400)
		if got := w.stands(b.ID); got != "active" {
			w.t.Fatalf("it is %s", got)
		}
		wantsFields(w.t, "bad times", w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "x", Idle: time.Hour, Grace: time.Hour, LastNotice: time.Hour}),
			"idle:range", "grace:range", "last_notice:range")
		wantsFields(w.t, "bad times", w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "x", Idle: -1, Grace: -1, LastNotice: -1}),
			"idle:range", "grace:range", "last_notice:range")
		wantsFields(w.t, "bad times", w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "x", Idle: 1 << 62, Grace: 1 << 62}), "idle:range", "grace:range")
		wantsFields(w.t, "owners' accounts", w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "x", OwnerCloses: true, Idle: 90 * day, Grace: 30 * day}), "idle:format") // PLX-13
		w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "x", Grace: -1, LastNotice: 1 << 62}))                                                                  // not read
	})
}

// TestCLW24_TypesThatChangeMindWake: an account that was told of, of a type that is never dormant from now on, is as any other.
func TestCLW24_TypesThatChangeTheirMind(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.days(100)
		w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "project", Quota: partner.Quota{Collaborators: 5, Guests: -1}}))
		w.days(100)
		if got := w.stands(a.ID); got != "active" || box.count("idle_last_notice") != 0 {
			w.t.Fatalf("it is %s: %v", got, box.sent)
		}
	})
}

// TestCLW24_ManyProcessesTellOnce: several that step at once tell each once and delete once; a human who comes at the last moment is in time or not, and nothing
// between.
func TestCLW24_ManyProcessesTellOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		box := newPostbox()
		notify := func(o *partner.Options) { o.Notifier = box }
		w := newWorld(t, db, notify)
		others := []*world{w, newWorldOn(w, notify), newWorldOn(w, notify)}
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 100)
		var ids []partner.AccountID
		for _, login := range []string{"a", "b", "c", "d", "e", "f"} {
			a := w.project(me, login)
			w.must(second(w.seats.Assign(me, a.ID, "seat", 3)))
			ids = append(ids, a.ID)
		}
		all := func() {
			for _, err := range together(3, func(i int) error { return second(others[i].reg.Step(context.Background())) }) {
				w.must(err)
			}
		}
		for range 119 {
			w.clock.Advance(day)
			all()
		}
		if got := box.count("idle_notice") + box.count("idle_last_notice"); got != 4*len(ids) {
			t.Fatalf("%d notices", got)
		}
		saved := 0
		for range 10 {
			w.clock.Advance(day)
			me := w.login("acme")
			errs := together(3, func(i int) error {
				if i < 2 {
					return second(others[i].reg.Step(context.Background()))
				}
				if saved > 0 {
					return nil
				}
				return w.reg.Accounts.Touch(me, ids[0])
			})
			w.must(errs[0])
			w.must(errs[1])
			if saved == 0 && errs[2] == nil && w.clock.Now().Sub(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)) > 121*day {
				saved++
			} else if errs[2] != nil && !errors.Is(errs[2], partner.ErrBlocked) && !errors.Is(errs[2], partner.ErrNotFound) {
				t.Fatal(errs[2])
			}
		}
		for i, id := range ids {
			want := "deleted"
			if i == 0 && saved > 0 {
				want = "active"
			}
			if got := w.stands(id); got != want {
				t.Errorf("%d is %s, want %s: %v", i, got, want, w.kinds(id, "account."))
			}
			if n := rowsIn(t, db, "prm_events WHERE account_id = ? AND kind = 'account.dormant'", id); i > 0 && n != 1 {
				t.Errorf("%d fell dormant %d times", i, n)
			}
		}
		w.later(day)
		w.sound()
	})
}
