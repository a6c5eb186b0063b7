package partner_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// TestAT15_CloseRacesEverything plays 200 rounds: an account is closed, confirmed and deleted, by two processes at once, while others assign, reserve, log in,
// switch, close again, add members and act in it. Nothing is stranded in it, nothing comes back twice, and afterwards nobody is in.
func TestAT15_CloseRacesEverything(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 15
	}
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 1000)
		other := newWorldOn(w)
		closer, assigner, reserver, switcher, again := w.login("acme"), w.login("acme"), w.login("acme"), w.login("acme"), w.login("acme")
		pool := int64(1000)
		for round := range rounds {
			login := fmt.Sprint("r", round)
			a := w.project(me, login)
			w.must(second(w.seats.Assign(me, a.ID, "seat", 5)))
			inside := w.login(login)
			var closed partner.Closing
			var assigned, consumed int64
			errs := together(8, func(i int) (err error) {
				switch i {
				case 0:
					closed, err = w.reg.Accounts.Close(closer, a.ID)
				case 1:
					if _, err = other.seats.Assign(assigner, a.ID, "seat", 7); err == nil {
						assigned = 7
					}
				case 2:
					_, err = w.seats.Reserve(reserver, a.ID, "seat", 2, time.Minute)
				case 3:
					_, err = other.reg.Access.Login(context.Background(), login, password, "")
				case 4:
					err = w.reg.Access.SwitchTo(switcher, a.ID)
				case 5:
					_, err = other.reg.Accounts.Close(again, a.ID)
					if err == nil {
						err = errAgain
					}
				case 6:
					if _, err = other.seats.Consume(inside, a.ID, "seat", 1); err == nil {
						consumed = 1
					}
				default:
					_, err = other.reg.Accounts.AddMember(me, a.ID, partner.NewMember{Kind: partner.Guest, Email: login + "@guest.example", Roles: []string{"viewer"}})
				}
				return err
			})
			if errors.Is(errs[5], errAgain) { // the other was first
				errs[5] = nil
			}
			if (errs[0] == nil) == (errs[5] == nil) {
				w.t.Fatalf("round %d: both closes or neither: %v, %v", round, errs[0], errs[5])
			}
			for i, err := range errs {
				if err != nil && !errors.Is(err, partner.ErrBlocked) && !errors.Is(err, partner.ErrBadTransition) && !errors.Is(err, partner.ErrForbidden) {
					w.t.Fatalf("round %d, %d: %v", round, i, err)
				}
			}
			if got, want := closed.Licenses["seat"], 5+assigned-consumed; errs[0] == nil && got != want {
				w.t.Fatalf("round %d: %d came back, want %d", round, got, want)
			}
			pool -= consumed
			w.nobodyIsIn(a.ID, login, inside, switcher)
			if n := w.available(w.vendor, a.ID, "seat"); n != 0 {
				w.t.Fatalf("round %d: %d are stranded", round, n)
			}
			token := w.waiting(p.Email)
			w.must(w.reg.Accounts.ConfirmClose(context.Background(), token))
			if round%10 == 9 { // two processes delete ten
				w.clock.Advance(2 * time.Minute)
				for _, err := range together(2, func(i int) error { return second([]*world{w, other}[i].reg.Step(context.Background())) }) {
					w.must(err)
				}
			}
			w.must(w.reg.Access.SwitchBack(switcher))
		}
		w.later(2 * time.Minute)
		if n := rowsIn(w.t, w.db, "prm_closings WHERE state = 'done'"); n != int64(rounds) {
			w.t.Fatalf("%d receipts of %d", n, rounds)
		}
		if n := rowsIn(w.t, w.db, "prm_events WHERE kind = 'account.deleted'"); n != int64(rounds) {
			w.t.Fatalf("%d deletions of %d", n, rounds)
		}
		if n := w.available(w.vendor, p.ID, "seat"); n != pool {
			w.t.Fatalf("the pool has %d, want %d", n, pool)
		}
		w.sound()
	})
}

var errAgain = errors.New("closed by the other")

// nobodyIsIn fails if anybody can still do anything in an account that is closing.
func (w *world) nobodyIsIn(id partner.AccountID, login string, inside, switched context.Context) {
	w.t.Helper()
	w.is(second(w.reg.Access.Login(context.Background(), login, password, "")), partner.ErrBlocked)
	w.is(second(w.seats.Mine(inside)), partner.ErrForbidden)
	if active, err := w.reg.Access.Active(switched); err == nil && active.Holder == id || err != nil && !errors.Is(err, partner.ErrBlocked) {
		w.t.Fatalf("the switched session is in %v, %v", active, err)
	}
}
