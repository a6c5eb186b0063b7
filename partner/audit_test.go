package partner_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// TestPIL03_OnlyTheVendorLearnsOfNamesakes: a partner that renames itself learns nothing of others.
func TestPIL03_OnlyTheVendorLearnsOfNamesakes(t *testing.T) {
	each(t, func(w *world) {
		w.partner("rival")
		p, me := w.partner("acme")
		rename := func(a *partner.Agreement) { a.Name = "Partner rival" }
		p, err := w.reg.Partners.Edit(me, p.ID, p.Version, rename)
		w.must(err)
		if len(p.Warnings) != 0 {
			w.t.Errorf("a partner was told %v", p.Warnings)
		}
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Name = "PARTNER  Rival" })
		w.must(err)
		if len(p.Warnings) != 1 {
			w.t.Errorf("the vendor was told %v", p.Warnings)
		}
	})
}

// TestPIL27_AnAddressThatIsALoginNameStays, once somebody logs in by it; before, the name follows the address, and keeps nobody else from his.
func TestPIL27_AnAddressThatIsALoginNameStays(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, err := w.reg.Partners.Invite(w.vendor, partner.Agreement{Name: "A", Login: "first@b.example", Email: "first@b.example", Currency: "EUR"})
		w.must(err)
		late := w.token(box, "welcome", "first@b.example")
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Email = "second@b.example" })
		if w.must(err); p.Login != "second@b.example" {
			w.t.Errorf("the log-in name is %s", p.Login)
		}
		wants(w.t, "the token to the mistyped address", second(w.accept(late)), partner.ErrTokenExpired)
		w.faulty(second(w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Email = "" })), "email:required")
		w.must(second(w.reg.Access.Reinvite(w.vendor, p.Contact)))
		w.must(second(w.accept(w.token(box, "welcome", "second@b.example"))))
		w.login("second@b.example")
		p, err = w.reg.Partners.Get(w.vendor, p.ID)
		w.must(err)
		w.faulty(second(w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Email = "third@b.example" })), "email:format")
		q, me := w.partner("acme")
		w.must(second(w.reg.Users.Add(me, q.ID, partner.NewUser{Email: "first@b.example", Name: "First", Role: partner.Member})))
		w.must(second(w.accept(w.token(box, "welcome", "first@b.example"))))
	})
}

// TestPIL06_HeldApartMoneyIsNeverOwed: the database lets a contract's balance below zero, and nothing else of the money book.
func TestPIL06_HeldApartMoneyIsNeverOwed(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme", func(a *partner.Agreement) { a.Deposit = 500 })
		if err := w.db.Exec("UPDATE prm_ledger_balances SET amount = -5 WHERE owner = ? AND state = 'reserved'", p.Contract).Error; err == nil {
			w.t.Error("the deposit went below zero")
		}
		w.must(w.db.Exec("UPDATE prm_ledger_balances SET amount = -5 WHERE owner = ? AND state = 'held'", p.Contract).Error)
		err := w.db.Exec(`INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, amount, bounded, recorded)
			VALUES ('money', 'acc_1', 'EUR', 'held', 0, -7, ?, 0)`, false).Error
		if err == nil {
			w.t.Error("an account went below zero")
		}
	})
}

// TestPIL01_AKeysContentIsKeptForYears: fields that later builds add are empty in what was digested before; the digest of today's fields
// must not change.
func TestPIL01_AKeysContentIsKeptForYears(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db)
		a := agreement("acme")
		a.Key, a.Deposit, a.MoreCurrencies = "k", 5, []string{"USD"}
		a.ContractPeriod.From = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		p, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		project := newProject("one")
		project.Key = "k"
		_, err = w.reg.Accounts.OpenProject(w.login("acme"), project)
		w.must(err)
		for of, want := range map[partner.ID]string{partner.Vendor: agreementHash, p.ID: projectHash} {
			var got string
			w.must(w.db.Raw("SELECT hash FROM prm_keys WHERE partner_id = ? AND key = 'k'", of).Scan(&got).Error)
			if got != want {
				t.Errorf("%s: content hash %s, want %s", of, got, want)
			}
		}
	})
}

const (
	agreementHash = "b03ec8dfb384560416af8364916c6645"
	projectHash   = "35e1df9ae38e44a15394430bb6d55bcb"
)

// TestPIL02_NoCapabilityStaysNone: an edit of something else does not hand a partner what the vendor took away.
func TestPIL02_NoCapabilityStaysNone(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme", func(a *partner.Agreement) { a.Capabilities = []partner.Capability{} })
		for _, ctx := range []context.Context{me, w.vendor} {
			q, err := w.reg.Partners.Edit(ctx, p.ID, p.Version, func(a *partner.Agreement) { a.Name += "!" })
			w.must(err)
			if p = q; len(p.Capabilities) != 0 {
				w.t.Fatalf("an edit of the name gave %v", p.Capabilities)
			}
		}
		_, err := w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.Capabilities = nil })
		wants(w.t, "an admin asking for the default", err, partner.ErrForbidden)
		_, err = w.reg.Accounts.OpenProject(me, newProject("one"))
		wants(w.t, "a project without operate", err, partner.ErrForbidden)
	})
}

// TestPIL12_TheBlockedCannotPutOffTheirBlock: calls that follow each other without a gap hold no block back, nor a close or a password.
func TestPIL12_TheBlockedCannotPutOffTheirBlock(t *testing.T) {
	each(t, func(w *world) {
		p, me, a := w.supplied(1_000_000)
		w.addUser(p.ID, "usr_second")
		mate, _ := w.moved(me, a.ID, partner.Guest, "mate@guest.example", "contributor")
		for what, stop := range map[string]func(ctx context.Context) error{
			"password": func(ctx context.Context) error {
				return w.reg.Accounts.SetProjectPassword(partner.WithSession(ctx, w.session("acme")), a.ID, password)
			},
			"deactivate": func(ctx context.Context) error {
				return w.reg.Accounts.DeactivateMember(partner.WithSession(ctx, w.session("acme")), mate.ID)
			},
			"transfer": func(ctx context.Context) error {
				return errors.Join(w.reg.Accounts.TransferOwnership(as(ctx), a.ID, "usr_second"), w.reg.Accounts.TransferOwnership(as(ctx), a.ID, p.Contact))
			},
			"suspend": func(ctx context.Context) error { return w.reg.Accounts.Suspend(as(ctx), a.ID) },
			"block":   func(ctx context.Context) error { return w.reg.Partners.Block(as(ctx), p.ID, true) },
		} {
			w.traffic(me, a.ID, func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if err := stop(ctx); err != nil {
					w.t.Errorf("%s under traffic: %v", what, err)
				}
			})
			if what == "suspend" {
				w.must(w.reg.Accounts.Resume(w.vendor, a.ID))
			}
			if what == "block" {
				w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
				me = w.login("acme")
			}
		}
	})
}

func as(ctx context.Context) context.Context { return partner.AsVendor(ctx, "ops@vendor.example") }

func (w *world) session(login string) partner.Session {
	w.t.Helper()
	s, err := w.reg.Access.Login(context.Background(), login, password, "")
	w.must(err)
	return s
}

// traffic runs do while five callers assign without a pause.
func (w *world) traffic(me context.Context, to partner.AccountID, do func()) {
	var all sync.WaitGroup
	begun, end := make(chan struct{}, 5), make(chan struct{})
	for range 5 {
		all.Go(func() {
			for first := true; ; first = false {
				_, _ = w.seats.Assign(me, to, "seat", 1)
				if first {
					begun <- struct{}{}
				}
				select {
				case <-end:
					return
				default:
				}
			}
		})
	}
	for range 5 {
		<-begun
	}
	do()
	close(end)
	all.Wait()
}
