package partner_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// What a reviewer found.

// toLast lets an account come to its last day: both have been told twice.
func (w *world) toLast(id partner.AccountID) {
	w.t.Helper()
	for range 300 {
		w.later(12 * time.Hour)
		var row struct{ Stage, DueAt int64 }
		w.must(w.db.Raw("SELECT stage, due_at FROM prm_idleness WHERE account_id = ?", id).Scan(&row).Error)
		if left := time.UnixMicro(row.DueAt).Sub(w.clock.Now()); row.Stage == 4 && left < 20*time.Hour {
			w.clock.Advance(left - 10*time.Minute)
			return
		}
	}
	w.t.Fatal("it never comes to its last day")
}

// TestCLW24_ALongListIsInTime: what passes no gate of the account's, and has been committed before it ends, is seen.
func TestCLW24_ALongListIsInTime(t *testing.T) {
	pgMailing(t, func(w *world, _ *postbox) {
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 10000)
		a := w.project(me, "one")
		w.toLast(a.ID)
		me = w.login("acme")
		moves := []license.Move{{To: a.ID, SKU: "seat", Quantity: 1}}
		for i := range 300 {
			moves = append(moves, license.Move{To: w.project(me, fmt.Sprint("p", i)).ID, SKU: "seat", Quantity: 1})
		}
		w.clock.Advance(2 * time.Hour)
		done := make(chan error, 1)
		w.must(w.inHost(nil, func(_ *gorm.DB, r rooms) error {
			_, err := r.seats.AssignAll(me, moves, true)
			go func() { done <- second(w.reg.Step(context.Background())) }()
			w.blocked(1)
			return err
		}))
		w.must(<-done)
		if got := w.stands(a.ID); got != "active" && got != "idle_notified" {
			w.t.Errorf("a human's deed succeeded, and the account is %s: %v", got, w.kinds(a.ID, ""))
		}
		w.sound()
	})
}

// TestCLW24_WorkInASessionIsUse: moving licences out of the account that one has switched into, and switching into it again, for as long as the session
// lasts.
func TestCLW24_WorkInASessionIsUse(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 1000)
		a, b, c := w.project(me, "one"), w.project(me, "two"), w.project(me, "three")
		w.must(second(w.seats.Assign(me, a.ID, "seat", 500)))
		other := w.login("acme")
		w.must(w.reg.Access.SwitchTo(me, a.ID))
		for range 125 {
			w.days(1)
			w.must(second(w.seats.Assign(me, b.ID, "seat", 1)))
			w.must(w.reg.Access.SwitchTo(other, c.ID))
		}
		for _, id := range []partner.AccountID{a.ID, b.ID, c.ID} {
			if got := w.stands(id); got != "active" || len(box.sent) > 0 {
				w.t.Errorf("it is %s, told were %v", got, box.sent)
			}
		}
	}, func(o *partner.Options) { o.Session = partner.SessionLimits{Idle: 365 * day, Absolute: 365 * day} })
}

// TestCLW24_TheLastWordIsForWhoeverIsToBeToldNow: an address, a contact or an owner that is another after the last notice gets one, and its time.
func TestCLW24_TheLastWordIsForWhoeverIsToBeToldNow(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		w.addUser(p.ID, "usr_second")
		w.addedUser(p.ID, "heir")
		_, away := w.partner("bolt")
		late, office, move := w.project(away, "late"), w.account(away, "standard", "Hall"), w.project(me, "move")
		w.must(second(w.reg.Users.Add(w.vendor, office.Partner, newUser("successor"))))
		down := true
		box.as = func(m partner.Message) error {
			if m.Template == "idle_last_notice" && down {
				return partner.ErrUnavailable
			}
			return nil
		}
		for rowsIn(w.t, w.db, "prm_deliveries WHERE template = 'idle_last_notice'") < 5 {
			w.days(1)
		}
		got, err := w.reg.Accounts.Get(w.vendor, late.ID)
		w.must(err)
		w.must(second(w.reg.Accounts.EditProject(w.login("bolt"), late.ID, got.Version, func(p *partner.NewProject) { p.Email = "new@customer.example" })))
		down = false
		w.days(2)
		w.must(w.reg.Partners.SetContact(w.vendor, p.ID, "usr_second"))
		w.must(w.reg.Accounts.TransferOwnership(w.vendor, office.ID, w.userID("successor")))
		w.days(5)
		for to, id := range map[string]partner.AccountID{"new@customer.example": late.ID, "usr_second@partner.example": move.ID, "successor@user.example": office.ID} {
			m := box.last(w.t, "idle_last_notice", to)
			if got := w.stands(id); got != "idle_notified" || w.clock.Now().Sub(box.at[m.ID]) > week {
				w.t.Errorf("%s was told at %v; it is %s", to, box.at[m.ID], got)
			}
		}
		w.days(5)
		for _, id := range []partner.AccountID{late.ID, office.ID, move.ID} {
			if got := w.stands(id); got != "deleted" {
				w.t.Errorf("in the end it is %s", got)
			}
		}
	})
}

// TestCLW24_NobodyIsLateForOurOwnFault: after an outage over the end of the grace, and for a clock that is wrong for a moment, there is time again.
func TestCLW24_NobodyIsLateForOurOwnFault(t *testing.T) {
	for what, wrong := range map[string]time.Duration{"an_outage": 10 * day, "a_clock": 8 * day} {
		t.Run(what, func(t *testing.T) {
			mailing(t, func(w *world, box *postbox) {
				_, me := w.partner("acme")
				a := w.project(me, "one")
				for box.count("idle_last_notice") < 2 {
					w.days(1)
				}
				w.later(day)
				w.later(wrong)
				if what == "a_clock" {
					w.clock.Advance(-wrong)
				}
				w.days(4)
				if got := w.stands(a.ID); got != "idle_notified" {
					t.Errorf("it is %s", got)
				}
				w.days(20)
				if got := w.stands(a.ID); got != "deleted" {
					t.Errorf("in the end it is %s", got)
				}
			})
		})
	}
}

// TestCLW24_AClockThatRanAhead a year for one step: whoever uses his account is active within the hour after it is right again.
func TestCLW24_AClockThatRanAhead(t *testing.T) {
	mailing(t, func(w *world, _ *postbox) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.days(2)
		w.later(365 * day)
		w.clock.Advance(-365 * day)
		w.login("one")
		w.later(2 * time.Hour)
		if got := w.stands(a.ID); got != "active" {
			w.t.Errorf("it is %s", got)
		}
		w.days(80)
		if got := w.stands(a.ID); got != "active" {
			w.t.Errorf("80 days later it is %s", got)
		}
	})
}

// TestCLW24_TouchInASnapshot of the host's works as anywhere.
func TestCLW24_TouchInASnapshot(t *testing.T) {
	pgMailing(t, func(w *world, _ *postbox) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.days(100)
		tx := w.db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		w.must(w.reg.In(tx).Accounts.Touch(w.vendor, a.ID))
		w.must(tx.Commit().Error)
		w.later(2 * time.Hour)
		if got := w.stands(a.ID); got != "active" {
			w.t.Errorf("it is %s", got)
		}
	})
}

// TestCLW24_TouchesWaitForNobody: a host's transaction that has touched one account stops neither the sweep nor whoever touches others.
func TestCLW24_TouchesWaitForNobody(t *testing.T) {
	pgMailing(t, func(w *world, _ *postbox) {
		_, me := w.partner("acme")
		var ids []partner.AccountID
		for i := range 6 {
			ids = append(ids, w.project(me, fmt.Sprint("p", i)).ID)
		}
		w.clock.Advance(3 * time.Hour)
		tamper(w.t, w.db, "UPDATE prm_idleness SET next_at = 0") // all are looked at
		w.must(w.inHost(nil, func(_ *gorm.DB, r rooms) error {
			w.must(r.reg.Accounts.Touch(me, ids[3]))
			ctx, stop := context.WithTimeout(me, 30*time.Second)
			defer stop()
			w.must(second(w.reg.Step(ctx)))
			for i, id := range ids {
				if i != 3 {
					w.must(w.reg.Accounts.Touch(ctx, id))
				}
			}
			return nil
		}))
	})
}

// TestCLW24_ATypeThatChangesTwice while the sweeper puts its accounts off is not forgotten.
func TestCLW24_ATypeThatChangesTwice(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		define := func(idle time.Duration) {
			w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "project", Quota: partner.Quota{Guests: -1}, Idle: idle, Grace: 30 * day, LastNotice: week}))
		}
		w.clock.Advance(day)
		define(0)
		tamper(w.t, w.db, "CREATE SEQUENCE looks")
		tamper(w.t, w.db, `CREATE FUNCTION hold_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('looks') = 1 THEN PERFORM pg_advisory_xact_lock(77); END IF; RETURN NULL; END $$`)
		tamper(w.t, w.db, "CREATE TRIGGER hold_first BEFORE UPDATE ON prm_idleness FOR EACH STATEMENT EXECUTE FUNCTION hold_first()")
		held := w.db.Begin()
		w.must(held.Exec("SELECT pg_advisory_xact_lock(77)").Error)
		done := make(chan error, 1)
		go func() { done <- second(w.reg.Step(context.Background())) }()
		w.blocked(1)
		define(90 * day)
		w.must(held.Commit().Error)
		w.must(<-done)
		w.days(95)
		if got := w.stands(a.ID); got != "idle_notified" {
			w.t.Errorf("it is %s, told were %v", got, box.sent)
		}
	})
}

// TestCLW24_ALetterThatIsRetriedIsNoUse of the account, by whomever.
func TestCLW24_ALetterThatIsRetriedIsNoUse(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.user(partner.Vendor, "ops", func(u *partner.NewUser) { u.Role, u.Rights = partner.Admin, nil })
		full := true
		box.as = func(m partner.Message) error {
			if full && m.To == "one@customer.example" {
				return partner.ErrRefused
			}
			return nil
		}
		w.days(91)
		full = false
		w.must(w.reg.Activity.Retry(w.login("ops"), w.deliveries("dead")[0].ID))
		w.later(2 * time.Hour)
		box.last(w.t, "idle_notice", "one@customer.example")
		if got := w.stands(a.ID); got != "idle_notified" {
			w.t.Errorf("it is %s: %v", got, w.kinds(a.ID, ""))
		}
	})
}

// TestCLW24_LettersAreTrue: none names a day that has passed, and whoever has his gets no other for a month.
func TestCLW24_LettersAreTrue(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db)
		p, me := w.partner("acme")
		w.project(me, "one")
		w.days(200) // nobody sends them
		box := newPostbox()
		box.now = w.clock.Now
		box.as = func(m partner.Message) error {
			if m.To == "one@customer.example" {
				return partner.ErrRefused
			}
			return nil
		}
		late := newWorldOn(w, func(o *partner.Options) { o.Notifier = box })
		late.days(100)
		letters := 0
		for _, m := range box.sent {
			if until, err := time.Parse(time.RFC3339, m.Data["until"]); err != nil || until.Before(box.at[m.ID]) {
				t.Errorf("a letter of %v says %s", box.at[m.ID], m.Data["until"])
			}
			if m.To == p.Email {
				letters++
			}
		}
		if letters < 1 || letters > 4 {
			t.Errorf("the contact got %d letters in a hundred days", letters)
		}
	})
}
