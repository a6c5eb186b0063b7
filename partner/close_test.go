package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// mail is what waits to be sent, oldest first, as "template to address".
func (w *world) mail() (list []string) {
	w.t.Helper()
	for d, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Delivery], error) {
		return w.reg.Activity.Deliveries(w.vendor, "", r)
	}) {
		w.must(err)
		list = append(list, d.Template+" to "+d.To)
	}
	slices.Reverse(list)
	return list
}

func (w *world) mailed(want ...string) {
	w.t.Helper()
	got := w.mail()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Fatalf("mail is %q, want %q", got, want)
	}
}

func (w *world) close(me context.Context, id partner.AccountID) partner.Closing {
	w.t.Helper()
	c, err := w.reg.Accounts.Close(me, id)
	w.must(err)
	return c
}

// TestCLW05_MailRouting: what concerns the project goes to the project's address, the confirmation of a close to the partner's primary
// contact, and nobody gets anything twice.
func TestCLW05_MailRouting(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "one")
		w.project(me, "two")
		w.mailed()
		w.close(me, a.ID)
		w.mailed("close_confirmation to acme@partner.example", "close_notice to one@customer.example")
		page, err := w.reg.Activity.Deliveries(w.vendor, "", partner.PageRequest{})
		w.must(err)
		events, err := w.reg.Activity.List(me, partner.EventFilter{Kinds: []string{"account.closing"}}, partner.PageRequest{})
		w.must(err)
		for _, d := range page.Items {
			if d.Partner != p.ID || d.Account != a.ID || d.State != "ready" || len(events.Items) != 1 || d.Event != events.Items[0].ID {
				w.t.Errorf("delivery %+v of event %+v", d, events.Items)
			}
		}
		_, err = w.reg.Activity.Deliveries(me, "", partner.PageRequest{})
		w.is(err, partner.ErrForbidden)
	})
}

// TestCLW05_ContactFollowsTheAgreement: the agreement's e-mail is that of the primary contact, so a changed one gets the confirmation.
func TestCLW05_ContactFollowsTheAgreement(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "one")
		_, err := w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.Email = "new@partner.example" })
		w.must(err)
		w.close(me, a.ID)
		w.mailed("close_confirmation to new@partner.example", "close_notice to one@customer.example")
	})
}

// TestCLW26_ChangedEmail: the old address hears of it once, everything later goes to the new one.
func TestCLW26_ChangedEmail(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		set := func(change func(*partner.NewProject)) {
			w.t.Helper()
			var err error
			a, err = w.reg.Accounts.EditProject(me, a.ID, a.Version, change)
			w.must(err)
		}
		set(func(n *partner.NewProject) { n.Email = "new@customer.example" })
		w.mailed("project_email_changed to one@customer.example")
		set(func(n *partner.NewProject) { n.Company = "New" })
		set(func(n *partner.NewProject) { n.Email = "New@customer.example" }) // the same address
		w.mailed("project_email_changed to one@customer.example")
		w.close(me, a.ID)
		w.mailed("project_email_changed to one@customer.example", "close_notice to New@customer.example", "close_confirmation to acme@partner.example")
	})
}

// TestCLW19_CloseBlocksAtOnce is AT-15's first half: log-in refused at once, sessions dead, licences back once, as previewed.
func TestCLW19_CloseBlocksAtOnce(t *testing.T) {
	each(t, func(w *world) {
		p, me, a := w.supplied(10)
		w.stock(p.ID, "mailbox", 100)
		two := w.project(me, "two")
		for sku, n := range map[string]int64{"seat": 4, "mailbox": 30} {
			_, err := w.seats.Assign(me, a.ID, sku, n)
			w.must(err)
		}
		as, switched := w.login("one"), w.login("acme")
		w.must(w.reg.Access.SwitchTo(switched, a.ID))
		before := w.dump()
		preview, err := w.reg.Accounts.PreviewClose(me, a.ID)
		w.must(err)
		if w.dump() != before {
			w.t.Fatal("a preview wrote something")
		}
		done := w.close(me, a.ID)
		if fmt.Sprint(preview) != fmt.Sprint(done) || done.Licenses["seat"] != 4 || done.Licenses["mailbox"] != 30 {
			w.t.Fatalf("previewed %v, closed %v", preview, done)
		}
		_, err = w.seats.Mine(as)
		w.is(err, partner.ErrBlocked)
		_, err = w.reg.Access.Login(context.Background(), "one", password, "")
		w.is(err, partner.ErrBlocked)
		_, err = w.reg.Access.Active(switched)
		w.is(err, partner.ErrBlocked)
		w.is(w.reg.Access.SwitchTo(me, a.ID), partner.ErrBlocked)
		_, err = w.seats.Assign(me, a.ID, "seat", 1)
		w.is(err, partner.ErrBlocked)
		w.is(w.reg.Accounts.SetProjectPassword(me, a.ID, "another long secret"), partner.ErrBlocked)
		for _, again := range []func() error{
			func() error { _, err := w.reg.Accounts.Close(me, a.ID); return err },
			func() error { _, err := w.reg.Accounts.PreviewClose(me, a.ID); return err },
			func() error { return w.reg.Accounts.Suspend(w.vendor, a.ID) },
			func() error { return w.reg.Accounts.Resume(w.vendor, a.ID) },
		} {
			w.is(again(), partner.ErrBadTransition)
		}
		for _, sku := range []string{"seat", "mailbox"} {
			if n := w.available(me, a.ID, sku); n != 0 {
				w.t.Fatalf("%d %s are stranded", n, sku)
			}
		}
		if n, m := w.available(me, p.ID, "seat"), w.available(me, p.ID, "mailbox"); n != 10 || m != 100 {
			w.t.Fatalf("the pool has %d and %d", n, m)
		}
		w.active(me, p.ID, "")
		w.must(w.reg.Access.SwitchTo(me, two.ID)) // its neighbour is as before
		w.login("two")
		w.sound()
		// Whatever will cancel a close lifts its block; the sessions it ended stay dead.
		w.must(w.db.Exec("UPDATE prm_accounts SET state = 'active', blocks = 0 WHERE id = ?", a.ID).Error)
		if _, err = w.seats.Mine(as); !errors.Is(err, partner.ErrForbidden) || errors.Is(err, partner.ErrBlocked) {
			w.t.Fatalf("a session of before the close: %v", err)
		}
		w.login("one")
	})
}

// TestCLW19_SuspendedAndIdleClose: every living state may begin to close.
func TestCLW19_SuspendedAndIdleClose(t *testing.T) {
	each(t, func(w *world) {
		_, me, one := w.supplied(10)
		two := w.project(me, "two")
		_, err := w.seats.Assign(me, one.ID, "seat", 4)
		w.must(err)
		w.must(w.reg.Accounts.Suspend(w.vendor, one.ID))
		w.must(w.db.Exec("UPDATE prm_accounts SET state = 'idle_notified' WHERE id = ?", two.ID).Error)
		if c := w.close(me, one.ID); c.Licenses["seat"] != 4 {
			w.t.Fatalf("closing %v", c)
		}
		if c := w.close(me, two.ID); c.Licenses == nil || len(c.Licenses) != 0 {
			w.t.Fatalf("closing %v", c)
		}
		w.sound()
	})
}

// TestCLW19_NoDeliverableContact: somebody must be able to confirm, or nothing begins.
func TestCLW19_NoDeliverableContact(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme", func(a *partner.Agreement) { a.Email = "" })
		w.stock(p.ID, "seat", 10)
		a := w.project(me, "one")
		_, err := w.seats.Assign(me, a.ID, "seat", 4)
		w.must(err)
		_, err = w.reg.Accounts.Close(me, a.ID)
		w.faulty(err, "contact.email:required")
		a, err = w.reg.Accounts.Get(me, a.ID)
		w.must(err)
		if a.State != "active" || w.available(me, a.ID, "seat") != 4 || len(w.mail()) != 0 {
			w.t.Fatalf("a refused close left %+v, mail %q", a, w.mail())
		}
		_, err = w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.Email = "late@partner.example" })
		w.must(err)
		w.close(me, a.ID)
		w.mailed("close_confirmation to late@partner.example", "close_notice to one@customer.example")
	})
}

func TestCLW19_WhoMayClose(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		_, other := w.partner("bolt")
		a := w.project(me, "one")
		for _, c := range []struct {
			ctx  context.Context
			id   partner.AccountID
			want error
		}{
			{w.vendor, a.ID, partner.ErrForbidden}, {w.login("one"), a.ID, partner.ErrForbidden}, {context.Background(), a.ID, partner.ErrForbidden},
			{other, a.ID, partner.ErrNotFound}, {me, "acc_none", partner.ErrNotFound}, {me, "", partner.ErrNotFound},
			{me, partner.AccountID(p.ID), partner.ErrNotFound},
		} {
			if _, err := w.reg.Accounts.PreviewClose(c.ctx, c.id); !errors.Is(err, c.want) {
				w.t.Errorf("preview of %q: %v, want %v", c.id, err, c.want)
			}
			if _, err := w.reg.Accounts.Close(c.ctx, c.id); !errors.Is(err, c.want) {
				w.t.Errorf("close of %q: %v, want %v", c.id, err, c.want)
			}
		}
	})
}

// TestCLW02_OnlyProjectsAreProjects: the id of an organisation, the caller's own or the vendor's, is no project's to any verb.
func TestCLW02_OnlyProjectsAreProjects(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		for _, id := range []partner.AccountID{partner.AccountID(p.ID), ""} {
			_, got := w.reg.Accounts.Get(me, id)
			_, edited := w.reg.Accounts.EditProject(me, id, 1, func(*partner.NewProject) {})
			value, reset := w.reg.Accounts.ResetProjectPassword(me, id)
			if value != "" {
				w.t.Errorf("a password was made for %q", id)
			}
			for _, a := range []attempt{
				{"Get", got, nil}, {"EditProject", edited, nil}, {"ResetProjectPassword", reset, nil},
				{"SetProjectPassword", w.reg.Accounts.SetProjectPassword(me, id, "another long secret"), nil},
				{"SwitchTo", w.reg.Access.SwitchTo(me, id), nil}, {"Suspend", w.reg.Accounts.Suspend(w.vendor, id), nil},
				{"Resume", w.reg.Accounts.Resume(w.vendor, id), nil},
			} {
				if !errors.Is(a.err, partner.ErrNotFound) {
					w.t.Errorf("%s of %q: %v, want not found", a.name, id, a.err)
				}
			}
		}
		a := w.project(me, "one")
		in := newProject("two")
		in.Partner = partner.ID(a.ID) // and a project is no organisation
		if b, err := w.reg.Accounts.OpenProject(me, in); !errors.Is(err, partner.ErrNotFound) {
			w.t.Errorf("a project under a project: %+v, %v", b, err)
		}
		for _, b := range []attempt{
			{"Block", w.reg.Partners.Block(w.vendor, partner.ID(a.ID), true), nil}, {"MoveUnder", w.reg.Partners.MoveUnder(w.vendor, partner.ID(a.ID), ""), nil},
			{"MoveUnder", w.reg.Partners.MoveUnder(w.vendor, p.ID, partner.ID(a.ID)), nil},
			{"SetContact", w.reg.Partners.SetContact(w.vendor, partner.ID(a.ID), p.Contact), nil},
		} {
			if !errors.Is(b.err, partner.ErrNotFound) {
				w.t.Errorf("%s of a project: %v, want not found", b.name, b.err)
			}
		}
	})
}

// TestCLW19_CloseRacesAssign plays 200 rounds: whichever is first, nothing is left in a closing project, and no licence is made or lost.
func TestCLW19_CloseRacesAssign(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 100)
		first, second, third := w.login("acme"), w.login("acme"), w.login("acme")
		keep := w.project(me, "keep")
		assigned, refused := 0, 0
		for round := range rounds {
			a := w.project(me, fmt.Sprint("p", round))
			_, err := w.seats.Assign(me, a.ID, "seat", 5)
			w.must(err)
			w.must(w.reg.Access.SwitchTo(third, a.ID))
			var closed partner.Closing
			errs := together(3, func(i int) (err error) {
				switch i {
				case 0:
					closed, err = w.reg.Accounts.Close(first, a.ID)
				case 1:
					_, err = w.seats.Assign(second, a.ID, "seat", 7)
				default: // out of it, while it closes
					_, err = w.seats.Assign(third, keep.ID, "seat", 1, license.From(a.ID))
				}
				return err
			})
			w.must(errs[0])
			in, out := int64(7), int64(1)
			for i, moved := range []*int64{&in, &out} {
				switch err := errs[1+i]; {
				case err == nil:
					assigned++
				case errors.Is(err, partner.ErrBlocked):
					refused++
					*moved = 0
				default:
					w.t.Fatalf("round %d, move %d: %v", round, i, err)
				}
			}
			if got := closed.Licenses["seat"]; got != 5+in-out {
				w.t.Fatalf("round %d: close returned %d, want 5 + %d - %d", round, got, in, out)
			}
			if n := w.available(me, a.ID, "seat"); n != 0 {
				w.t.Fatalf("round %d: %d are stranded in a closing project", round, n)
			}
			if pool, kept := w.available(me, p.ID, "seat"), w.available(me, keep.ID, "seat"); pool+kept != 100 {
				w.t.Fatalf("round %d: %d + %d, want 100", round, pool, kept)
			}
			if kept := w.available(me, keep.ID, "seat"); kept > 20 {
				w.must(w.reg.Access.SwitchTo(me, keep.ID))
				_, err := w.seats.Return(me, "seat", kept)
				w.must(err)
				w.must(w.reg.Access.SwitchBack(me))
			}
		}
		w.t.Logf("%d moves came first, %d came too late", assigned, refused)
		w.sound()
	})
}

// TestCLW19_TwoCloses: one wins, the others learn that it is closing, the licences come back once.
func TestCLW19_TwoCloses(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 100)
		for round := range 20 {
			a := w.project(me, fmt.Sprint("p", round))
			_, err := w.seats.Assign(me, a.ID, "seat", 9)
			w.must(err)
			won := 0
			for _, err := range together(4, func(int) error { _, err := w.reg.Accounts.Close(me, a.ID); return err }) {
				if err == nil {
					won++
				} else {
					w.is(err, partner.ErrBadTransition)
				}
			}
			if n := w.available(me, p.ID, "seat"); won != 1 || n != 100 {
				w.t.Fatalf("round %d: %d closes won, the pool has %d", round, won, n)
			}
			page, err := w.seats.History(me, a.ID, "", partner.PageRequest{})
			w.must(err)
			if len(page.Items) != 2 || page.Items[0].Verb != "close" || page.Items[0].Quantity != 9 {
				w.t.Fatalf("history %+v", page.Items)
			}
			if n := len(w.mail()); n != 2*(round+1) {
				w.t.Fatalf("%d deliveries after %d closes", n, round+1)
			}
		}
		w.sound()
	})
}

// TestBEY13_OpenProjectOnce: the key makes one project of many repeats, and gives it back after anything has become of it.
func TestBEY13_OpenProjectOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		down := false
		w := newWorld(t, db, withRegions(func(string) (string, error) {
			if down {
				return "", errors.New("down")
			}
			return "eu-1", nil
		}))
		p, me := w.partner("acme")
		in := newProject("one")
		in.Key = "form-1"
		var all [32]partner.Account
		for i, err := range together(len(all), func(i int) (err error) { all[i], err = w.reg.Accounts.OpenProject(me, in); return err }) {
			w.must(err)
			if all[i].ID != all[0].ID {
				t.Fatalf("repeat made %s beside %s", all[i].ID, all[0].ID)
			}
		}
		if n := w.projects(); n != 1 {
			t.Fatalf("%d projects", n)
		}
		other := in
		other.Company = "Another"
		_, err := w.reg.Accounts.OpenProject(me, other)
		w.is(err, partner.ErrIdempotencyMismatch)
		again := func(when string) {
			t.Helper()
			if got, err := w.reg.Accounts.OpenProject(me, in); err != nil || got.ID != all[0].ID {
				t.Errorf("repeat %s: %s, %v", when, got.ID, err)
			}
		}
		w.must(w.reg.Accounts.Suspend(w.vendor, all[0].ID))
		again("while suspended")
		down = true
		again("while the resolver is down")
		down = false
		w.close(me, all[0].ID)
		again("after it closed")
		p, err = w.reg.Partners.Get(w.vendor, p.ID)
		w.must(err)
		_, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Capabilities = []partner.Capability{partner.Resell} })
		w.must(err)
		again("after operate was taken away")
		if n := w.projects(); n != 1 {
			t.Fatalf("%d projects", n)
		}
		if events, err := w.reg.Activity.List(me, partner.EventFilter{Kinds: []string{"project.opened"}}, partner.PageRequest{}); err != nil || len(events.Items) != 1 ||
			strings.Join(events.Items[0].Changed, "") != "" {
			t.Fatalf("events %+v, %v", events.Items, err)
		}
	})
}
