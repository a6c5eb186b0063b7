package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// rooms are the floor and the licences as a call sees them: alone, or inside a host's transaction.
type rooms struct {
	reg   *partner.Registry
	seats *license.Ledger
}

// deed is one mutating verb as it works in the story below, and the event that it must leave.
type deed struct {
	kind    string
	actor   string
	partner partner.ID // empty: that of what it made
	target  string
	do      func(rooms) (made string, err error)
	alone   bool // not inside a host transaction
}

// story is every mutating verb of the rooms, in an order in which each succeeds.
func (w *world) story() []deed {
	p, me := w.partner("story")
	q, _ := w.partner("other")
	a, b := w.project(me, "story-a"), w.project(me, "story-b")
	w.stock(p.ID, "seat", 50)
	w.addUser(p.ID, "usr_second")
	mine := w.login("story")
	admin, host := string(p.Contact), "host:ops@vendor.example"
	agreed, err := w.reg.Partners.Prepare(w.vendor, agreement("story-new"))
	w.must(err)
	invited := agreement("story-invited")
	invited.Password = ""
	planned, err := w.reg.Accounts.Prepare(me, newProject("story-c"))
	w.must(err)
	none := func(f func(rooms) error) func(rooms) (string, error) {
		return func(r rooms) (string, error) { return "", f(r) }
	}
	fact := w.certify(q.ID, "silver", partner.Period{})
	his := w.his(me, "story-d")
	asked, err := w.reg.Access.RequestDelegation(me, w.leave(his.ID, dayLong))
	w.must(err)
	let := w.delegated(w.user(p.ID, "story-let"), his.ID, dayLong)
	done, late, sleeps := w.project(me, "story-done").ID, w.project(me, "story-late").ID, w.project(me, "story-sleeps").ID
	tamper(w.t, w.db, "UPDATE prm_accounts SET state = 'idle_notified' WHERE id = ?", sleeps)
	w.close(me, done)
	confirms := w.waiting(p.Email)
	w.close(me, late)
	tamper(w.t, w.db, "INSERT INTO prm_eraser_classes (class, created_at) VALUES ('old_class', 0)")
	said := "customer:" + globex + "/person-7"
	version, projectVersion := p.Version+1, a.Version // SetContact comes first
	return append(w.placeStory(p, me), []deed{
		{"account.close_confirmed", admin, p.ID, string(done), none(func(r rooms) error { return r.reg.Accounts.ConfirmClose(context.Background(), confirms) }), false},
		{"partner.created", host, "", "", func(r rooms) (string, error) {
			n, err := r.reg.Partners.Create(w.vendor, agreed)
			return string(n.ID), err
		}, false},
		{"partner.invited", host, "", "", func(r rooms) (string, error) {
			n, err := r.reg.Partners.Invite(w.vendor, invited)
			return string(n.ID), err
		}, false},
		{"partner.contact_set", admin, p.ID, string(p.ID), none(func(r rooms) error { return r.reg.Partners.SetContact(me, p.ID, "usr_second") }), false},
		{"partner.edited", admin, p.ID, string(p.ID), none(func(r rooms) error {
			_, err := r.reg.Partners.Edit(me, p.ID, version, func(a *partner.Agreement) { a.Name = canary })
			return err
		}), false},
		{"partner.logo_set", admin, p.ID, string(p.ID), none(func(r rooms) error {
			return r.reg.Partners.SetLogo(me, p.ID, "square", "", append(pngOf(1, 1), canary...))
		}), false},
		{"certification.granted", host, p.ID, "", func(r rooms) (string, error) {
			c, err := r.reg.Program.Certify(w.vendor, p.ID, partner.Certification{Programme: canary, Reason: canary})
			return c.ID, err
		}, false},
		{"certification.revoked", host, q.ID, fact.ID, none(func(r rooms) error {
			_, err := r.reg.Program.Revoke(w.vendor, fact.ID, canary)
			return err
		}), false},
		{"partner.tier_set", host, q.ID, string(q.ID), none(func(r rooms) error {
			_, err := r.reg.Program.SetTier(w.vendor, q.ID, partner.Tier{Label: canary, Reason: canary})
			return err
		}), false},
		{"partner.moved", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.MoveUnder(w.vendor, q.ID, p.ID) }), false},
		{"partner.blocked", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.Block(w.vendor, q.ID, true) }), false},
		{"partner.unblocked", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.Unblock(w.vendor, q.ID) }), false},
		{"partner.users_blocked", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.BlockUsers(w.vendor, q.ID, true) }), false},
		{"partner.users_unblocked", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.UnblockUsers(w.vendor, q.ID) }), false},
		{"partner.archived", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.Archive(w.vendor, q.ID) }), false},
		{"partner.restored", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.Restore(w.vendor, q.ID) }), false},
		{"partner.archived", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.Archive(w.vendor, q.ID) }), false},
		{"partner.tombstoned", host, q.ID, string(q.ID), none(func(r rooms) error { return r.reg.Partners.Tombstone(w.vendor, q.ID) }), false},
		{"project.opened", admin, p.ID, "", func(r rooms) (string, error) {
			n, err := r.reg.Accounts.OpenProject(me, planned)
			return string(n.ID), err
		}, false},
		{"project.edited", admin, p.ID, string(a.ID), none(func(r rooms) error {
			_, err := r.reg.Accounts.EditProject(me, a.ID, projectVersion, func(p *partner.NewProject) { p.Email, p.Company = canary+"@x.example", canary })
			return err
		}), false},
		{"account.suspended", host, p.ID, string(a.ID), none(func(r rooms) error { return r.reg.Accounts.Suspend(w.vendor, a.ID) }), false},
		{"account.resumed", host, p.ID, string(a.ID), none(func(r rooms) error { return r.reg.Accounts.Resume(w.vendor, a.ID) }), false},
		{"delegation.requested", admin, p.ID, "", func(r rooms) (string, error) {
			d := w.leave(his.ID, dayLong)
			d.User, d.Key, d.Roles = "usr_second", canary, []string{canary}
			d, err := r.reg.Access.RequestDelegation(me, d)
			return d.ID, err
		}, false},
		{"delegation.approved", said, p.ID, asked.ID, none(func(r rooms) error { return r.reg.Access.Decide(customers(), asked.ID, true) }), false},
		{"delegation.revoked", said, p.ID, let.ID, none(func(r rooms) error { return r.reg.Access.Revoke(customers(), let.ID) }), false},
		{"license.defined", host, partner.Vendor, "desk", none(func(r rooms) error {
			return r.seats.Define(w.vendor, license.Type{SKU: "desk",
				Name: "Desk"})
		}), false},
		{"license.granted", host, p.ID, string(p.ID), none(func(r rooms) error { _, err := r.seats.Grant(w.vendor, p.ID, "seat", 5); return err }), false},
		{"license.revoked", host, p.ID, string(p.ID), none(func(r rooms) error {
			_, err := r.seats.Revoke(w.vendor, p.ID, "seat", 5, license.Because(canary), license.Key(canary))
			return err
		}), false},
		{"license.assigned", admin, p.ID, string(a.ID), none(func(r rooms) error { _, err := r.seats.Assign(me, a.ID, "seat", 5); return err }), false},
		{"session.switched", admin, p.ID, string(a.ID), none(func(r rooms) error { return r.reg.Access.SwitchTo(me, a.ID) }), false},
		{"license.returned", admin, p.ID, string(a.ID), none(func(r rooms) error { _, err := r.seats.Return(me, "seat", 2); return err }), false},
		{"session.switched_back", admin, p.ID, string(a.ID), none(func(r rooms) error { return r.reg.Access.SwitchBack(me) }), false},
		{"account.closing", admin, p.ID, string(b.ID), none(func(r rooms) error { _, err := r.reg.Accounts.Close(me, b.ID); return err }), false},
		{"account.close_reminded", admin, p.ID, string(b.ID), none(func(r rooms) error { return second(r.reg.Accounts.RemindClose(me, b.ID)) }), false},
		{"account.close_cancelled", host, p.ID, string(b.ID), none(func(r rooms) error { return r.reg.Accounts.CancelClose(w.vendor, b.ID, canary) }), false},
		{"account.woken", admin, p.ID, string(sleeps), none(func(r rooms) error { return r.reg.Accounts.Touch(me, sleeps) }), false},
		{"account.close_confirmed", host, p.ID, string(late), none(func(r rooms) error { return r.reg.Accounts.ConfirmCloseFor(w.vendor, late, canary) }), false},
		{"eraser.retired", host, partner.Vendor, "old_class", none(func(r rooms) error { return r.reg.Accounts.RetireEraser(w.vendor, "old_class", canary) }), false},
		{"session.ended", admin, p.ID, "", func(r rooms) (string, error) { return "", r.reg.Access.Logout(mine) }, false},
		{"session.opened", admin, p.ID, "", func(r rooms) (string, error) {
			s, err := r.reg.Access.Login(context.Background(), "story", password, "198.51.100.1")
			return s.ID, err
		}, true},
		{"project.password_set", admin, p.ID, string(a.ID), none(func(r rooms) error {
			return r.reg.Accounts.SetProjectPassword(me, a.ID,
				canary+canary)
		}), true},
		{"project.password_set", admin, p.ID, string(a.ID), none(func(r rooms) error {
			_, err := r.reg.Accounts.ResetProjectPassword(me,
				a.ID)
			return err
		}), true},
		{"password.changed", admin, p.ID, admin, none(func(r rooms) error { return r.reg.Access.ChangePassword(me, password, canary+canary) }), true},
	}...)
}

// addUser adds a user behind the SDK's back, as the users' desk will.
func (w *world) addUser(of partner.ID, id string) {
	w.t.Helper()
	tamper(w.t, w.db, `INSERT INTO prm_identities (id, kind, login, login_key, email, email_key, email_verified, password_hash, epoch, version, created_at)
		VALUES (?, 'human', ?, ?, ?, ?, ?, '', 0, 1, 9999999999999999)`, "idn_"+id, id, id, id+"@partner.example", id+"@partner.example", false)
	tamper(w.t, w.db, `INSERT INTO prm_users (id, identity_id, partner_id, name, role, disabled, version, created_at)
		VALUES (?, ?, ?, 'Second', 'admin', ?, 1, 9999999999999999)`, id, "idn_"+id, of, false)
}

// inHost runs do inside a transaction of the host, which it ends with end.
func (w *world) inHost(end error, do func(tx *gorm.DB, r rooms) error) error {
	return w.db.Transaction(func(tx *gorm.DB) error {
		in := w.reg.In(tx)
		if err := do(tx, rooms{in, license.New(in)}); err != nil {
			return err
		}
		return end
	})
}

var errRollBack = errors.New("the host changed its mind")

// TestBEY01_AHostRollbackLeavesNothing does every verb inside a host transaction that is rolled back, and then in one that commits.
func TestBEY01_AHostRollbackLeavesNothing(t *testing.T) {
	each(t, func(w *world) {
		for _, d := range w.story() {
			before := dump(w.t, w.db)
			call := func(_ *gorm.DB, r rooms) error { _, err := d.do(r); return err }
			if d.alone {
				wants(w.t, d.kind+" in a host transaction", w.inHost(nil, call), partner.ErrInvalid)
			} else if err := w.inHost(errRollBack, call); !errors.Is(err, errRollBack) {
				w.t.Fatalf("%s: %v", d.kind, err)
			}
			if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
				w.t.Fatalf("%s, rolled back, left something in %v", d.kind, left)
			}
			if !d.alone {
				w.must(w.inHost(nil, call))
				if len(differing(before, dump(w.t, w.db))) == 0 {
					w.t.Fatalf("%s, committed, left nothing", d.kind)
				}
			}
		}
		w.sound()
		w.treeIsSound()
	})
}

// TestBEY01_RefusalsAndSuccessesMix: in one host transaction each refusal undoes itself only.
func TestBEY01_RefusalsAndSuccessesMix(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "acme-project")
		w.stock(p.ID, "seat", 10)
		tamper(w.t, w.db, "CREATE TABLE host_orders (id TEXT PRIMARY KEY)")
		good, err := w.reg.Partners.Prepare(w.vendor, agreement("good"))
		w.must(err)
		bad, err := w.reg.Partners.Prepare(w.vendor, agreement("ACME"))
		w.must(err)
		project, err := w.reg.Accounts.Prepare(me, newProject("acme-PROJECT"))
		w.must(err)
		w.must(w.inHost(nil, func(tx *gorm.DB, r rooms) error {
			for i := range 3 {
				w.must(tx.Exec("INSERT INTO host_orders VALUES (?)", fmt.Sprint(i)).Error)
				_, err = r.reg.Partners.Create(w.vendor, bad)
				wantsFields(w.t, "a taken log-in", err, "login:taken")
				_, err = r.reg.Accounts.OpenProject(me, project)
				wantsFields(w.t, "taken names", err, "login:taken", "name:taken")
				_, err = r.seats.Assign(me, a.ID, "seat", 3)
				w.must(err)
				_, err = r.seats.Assign(me, a.ID, "seat", 100)
				wants(w.t, "too many", err, license.ErrInsufficient)
				_, err = r.seats.Grant(w.vendor, p.ID, "nothing", 1)
				wants(w.t, "an unknown sku", err, partner.ErrUnknownCode)
				wants(w.t, "below itself", r.reg.Partners.MoveUnder(w.vendor, p.ID, p.ID), partner.ErrHierarchyCycle)
				wants(w.t, "nobody", r.reg.Partners.Block(w.vendor, "prt_nobody", true), partner.ErrNotFound)
				_, err = r.reg.Partners.Edit(me, p.ID, 99, func(*partner.Agreement) {})
				wants(w.t, "an old version", err, partner.ErrConflict)
			}
			_, err = r.reg.Partners.Create(w.vendor, good)
			w.must(err)
			if got, err := r.seats.Balance(me, a.ID, "seat"); err != nil || got.Available != 9 {
				w.t.Errorf("inside the transaction the project has %+v, %v", got, err)
			}
			return nil
		}))
		if got := w.available(me, a.ID, "seat"); got != 9 || rowsIn(w.t, w.db, "host_orders") != 3 || rowsIn(w.t, w.db, "prm_partners") != 3 {
			w.t.Errorf("the project has %d, the host %d orders", got, rowsIn(w.t, w.db, "host_orders"))
		}
		w.login("good")
		w.sound()
	})
}

func TestBEY01_OnlyWhatWasPreparedIsTaken(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		raw := agreement("raw")
		ready, err := w.reg.Partners.Prepare(w.vendor, raw)
		w.must(err)
		project, err := w.reg.Accounts.Prepare(me, newProject("prj"))
		w.must(err)
		before := dump(w.t, w.db)
		w.must(w.inHost(nil, func(_ *gorm.DB, r rooms) error {
			_, err := r.reg.Partners.Create(w.vendor, raw)
			wants(w.t, "unprepared", err, partner.ErrInvalid)
			_, err = r.reg.Partners.Invite(w.vendor, ready)
			wants(w.t, "prepared for Create", err, partner.ErrInvalid)
			for i, change := range []func(*partner.Agreement){
				func(a *partner.Agreement) { a.Password = "another password" }, func(a *partner.Agreement) { a.Name = "X" },
				func(a *partner.Agreement) { a.Deposit = 1 }, func(a *partner.Agreement) { a.Capabilities = []partner.Capability{} },
				func(a *partner.Agreement) { a.Login = "x" }, func(a *partner.Agreement) { a.ManagesSubPartners = true },
				func(a *partner.Agreement) { a.ContractPeriod.From = w.clock.Now() },
			} {
				changed := ready
				change(&changed)
				_, err = r.reg.Partners.Create(w.vendor, changed)
				wants(w.t, fmt.Sprint("changed after Prepare, ", i), err, partner.ErrInvalid)
			}
			_, err = r.reg.Accounts.OpenProject(me, newProject("prj"))
			wants(w.t, "unprepared", err, partner.ErrInvalid)
			for i, change := range []func(*partner.NewProject){
				func(p *partner.NewProject) { p.Password = "another password" }, func(p *partner.NewProject) { p.Country = "FR" },
				func(p *partner.NewProject) { p.Email = "x@y.example" }, func(p *partner.NewProject) { p.Login = "x" },
			} {
				changed := project
				change(&changed)
				_, err = r.reg.Accounts.OpenProject(me, changed)
				wants(w.t, fmt.Sprint("changed after Prepare, ", i), err, partner.ErrInvalid)
			}
			_, err = r.reg.Partners.Prepare(w.vendor, raw)
			wants(w.t, "Prepare", err, partner.ErrInvalid)
			_, err = r.reg.Accounts.Prepare(me, newProject("prj"))
			wants(w.t, "Prepare", err, partner.ErrInvalid)
			_, err = r.reg.Access.Resume(w.vendor, "x")
			wants(w.t, "Resume", err, partner.ErrInvalid)
			return nil
		}))
		if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
			w.t.Errorf("refused calls wrote to %v", left)
		}
		w.must(w.inHost(nil, func(_ *gorm.DB, r rooms) error {
			_, err := r.reg.Partners.Create(w.vendor, ready)
			_, err2 := r.reg.Accounts.OpenProject(me, project)
			return errors.Join(err, err2)
		}))
		w.login("raw")
		w.login("prj")
	})
}

// TestBEY01_MisuseOfInIsInvalid passes what is no open transaction of this database.
func TestBEY01_MisuseOfInIsInvalid(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		other := dbtest.New(w.t, w.db.Kind)
		w.must(other.Transaction(func(foreign *gorm.DB) error {
			for what, tx := range map[string]*gorm.DB{"nil": nil, "no transaction": w.db.DB, "another database": foreign, "empty": {}} {
				in := w.reg.In(tx)
				_, err := in.Partners.List(me, partner.PartnerFilter{}, partner.PageRequest{})
				wants(w.t, what, err, partner.ErrInvalid)
				wants(w.t, what, in.Partners.Block(w.vendor, "prt_x", true), partner.ErrInvalid)
				_, err = in.Access.Login(w.vendor, "acme", password, "")
				wants(w.t, what, err, partner.ErrInvalid)
			}
			return nil
		}))
	})
}

// nosyHasher asks the database each time.
type nosyHasher struct {
	plainHasher
	ask func() error
}

func (h nosyHasher) Hash(ctx context.Context, p []byte) (string, error) {
	return errorOr(h.ask(), func() (string, error) { return h.plainHasher.Hash(ctx, p) })
}

func (h nosyHasher) Verify(ctx context.Context, hash string, p []byte) (bool, bool, error) {
	ok, err := errorOr(h.ask(), func() (bool, error) { ok, _, err := h.plainHasher.Verify(ctx, hash, p); return ok, err })
	return ok, ok, err // and always wants the hash renewed
}

func errorOr[T any](err error, f func() (T, error)) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return f()
}

// TestBEY01_CallbacksMayQueryOnAPoolOfOne: no callback runs while the SDK holds the only connection.
func TestBEY01_CallbacksMayQueryOnAPoolOfOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		one := &dbtest.Database{DB: db.Open(t, &gorm.Config{}), Kind: db.Kind, DSN: db.DSN}
		pool, err := one.DB.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(1)
		asked := map[string]int{}
		ask := func(who string) error {
			asked[who]++
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			var n int
			return one.WithContext(ctx).Raw("SELECT count(*) FROM prm_partners").Scan(&n).Error
		}
		w := newWorld(t, one, func(o *partner.Options) {
			o.Hasher = nosyHasher{ask: func() error { return ask("hasher") }}
			o.Regions = func(_ context.Context, country string) (string, error) { return "eu", ask("regions") }
			o.Phones = func(raw, _ string) (string, error) { return raw, ask("phones") }
			o.Requirements = func(partner.Agreement) []partner.FieldError {
				if err := ask("requirements"); err != nil {
					return []partner.FieldError{{Path: "requirements", Code: "required", Message: err.Error()}}
				}
				return nil
			}
		})
		p, me := w.partner("acme", func(a *partner.Agreement) { a.Phone = "+4930123456" })
		invited := agreement("invited")
		invited.Password, invited.Phone = "", "+4930123456"
		_, err = w.reg.Partners.Invite(w.vendor, invited)
		w.must(err)
		_, err = w.reg.Partners.Prepare(w.vendor, agreement("prepared"))
		w.must(err)
		_, err = w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.Phone = "+4930123457" })
		w.must(err)
		in := newProject("prj")
		in.Phone = "+4930123456"
		_, err = w.reg.Accounts.Prepare(me, in)
		w.must(err)
		a, err := w.reg.Accounts.OpenProject(me, in)
		w.must(err)
		_, err = w.reg.Accounts.EditProject(me, a.ID, a.Version, func(p *partner.NewProject) { p.Phone, p.Country = "+4930123457", "FR" })
		w.must(err)
		w.must(w.reg.Accounts.SetProjectPassword(me, a.ID, password))
		_, err = w.reg.Accounts.ResetProjectPassword(me, a.ID)
		w.must(err)
		w.must(w.reg.Access.ChangePassword(me, password, "another password"))
		wants(t, "a wrong password", w.try("acme", "wrong password", "somewhere"), partner.ErrBadCredentials)
		for _, who := range []string{"hasher", "regions", "phones", "requirements"} {
			if asked[who] < 2 {
				t.Errorf("%s ran %d times", who, asked[who])
			}
		}
		if n := pool.Stats().InUse; n != 0 {
			t.Errorf("%d connections are still in use", n)
		}
	})
}

// TestBEY01_ACallThatForgotInEnds: inside the host's transaction on a pool of one, a call without In must not wait for itself for ever.
func TestBEY01_ACallThatForgotInEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		pool, err := db.DB.DB()
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, db, func(o *partner.Options) { o.ConnectionWait = 50 * time.Millisecond })
		pool.SetMaxOpenConns(1)
		_ = w.inHost(errRollBack, func(*gorm.DB, rooms) error {
			_, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{}, partner.PageRequest{})
			wants(t, "a read without In", err, partner.ErrUnavailable)
			_, err = w.reg.Partners.Create(w.vendor, agreement("acme"))
			wants(t, "a write without In", err, partner.ErrUnavailable)
			return nil
		})
		if kinds := kindsOf(w.try("acme", password, "")); !slices.Equal(kinds, []string{"forbidden"}) {
			t.Errorf("afterwards: %v", kinds)
		}
	})
}
