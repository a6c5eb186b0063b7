package license_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// TestBEY17_ReservePostVoid: what is reserved is nobody's to move, use, reserve, revoke or seat; one outcome only.
func TestBEY17_ReservePostVoid(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		two := w.project(a.me, "two")
		now := w.clock.Now()
		posted, voided := w.reserve(a, one, "seat", 4, 0), w.reserve(a, one, "seat", 3, time.Hour)
		if d := posted.Expires.Sub(now); d < 15*time.Minute || d > 16*time.Minute || posted.State != "open" || posted.Holder != one || posted.Quantity != 4 || posted.SKU != "seat" {
			t.Errorf("reserved %+v at %v", posted, now)
		}
		w.stands(one, "seat", license.Balance{Available: 3, Reserved: 7})
		w.at(a, one, func() {
			w.short(second(w.seats.Assign(a.me, two, "seat", 4)), 3, false)
			w.short(second(w.seats.Return(a.me, "seat", 4)), 3, false)
		})
		w.short(second(w.seats.Revoke(w.vendor, one, "seat", 4)), 3, false)
		w.short(second(w.seats.Consume(a.me, one, "seat", 4)), 3, false)
		w.short(second(w.seats.Reserve(a.me, one, "seat", 4, 0)), 3, false)
		tr, err := w.seats.Post(a.me, posted.ID)
		w.must(err)
		if tr.Verb != "post" || tr.Quantity != 4 || tr.From != one || tr.To != one || tr.FromAfter != 3 || tr.ToAfter != 4 {
			t.Errorf("posted %+v", tr)
		}
		tr, err = w.seats.Void(a.me, voided.ID)
		w.must(err)
		if tr.Verb != "void" || tr.Quantity != 3 || tr.FromAfter != 0 || tr.ToAfter != 6 {
			t.Errorf("voided %+v", tr)
		}
		for _, r := range []license.Reservation{posted, voided} {
			w.is(second(w.seats.Post(a.me, r.ID)), license.ErrReservationDone)
			w.is(second(w.seats.Void(a.me, r.ID)), license.ErrReservationDone)
		}
		w.stands(one, "seat", license.Balance{Available: 6, Consumed: 4})
		w.step()
		w.clock.Advance(2 * time.Hour)
		w.step()
		w.stands(one, "seat", license.Balance{Available: 6, Consumed: 4})
		w.whole()
	})
}

func TestBEY17_Input(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		for _, d := range []time.Duration{-1, 367 * 24 * time.Hour, 1<<63 - 1} {
			w.faulty(second(w.seats.Reserve(a.me, one, "seat", 1, d)), "for:range")
		}
		w.faulty(second(w.seats.Reserve(a.me, one, "", 0, -1)), "sku:required quantity:range for:range")
		w.faulty(second(w.seats.Reserve(a.me, one, "none", 1, 0)), "sku:unknown_code")
		w.is(second(w.seats.Reserve(a.me, one, "seat", 1, 0, license.From(a.ID))), license.ErrWrongContext)
		w.is(second(w.seats.Reserve(a.me, one, "seat", 1, 0, license.Effective(w.clock.Now().Add(-time.Hour)))), partner.ErrForbidden)
		w.faulty(second(w.seats.Reserve(a.me, one, "seat", 1, 0, w.lasting(0, time.Hour))), "valid:format")
		r := w.reserve(a, one, "seat", 1, 0)
		w.faulty(second(w.seats.Post(a.me, r.ID, license.Key(""))), "key:required")
		w.faulty(second(w.seats.Void(a.me, r.ID, w.lasting(0, time.Hour))), "valid:format")
		w.must(second(w.seats.Post(a.me, r.ID)))
		w.whole()
	})
}

// TestBEY17_TimeVoids without Step and the same with it; the audit says when it was written down, and by whom.
func TestBEY17_TimeVoids(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		short, long := w.reserve(a, one, "seat", 4, time.Minute), w.reserve(a, one, "seat", 3, 0)
		w.clock.Advance(time.Minute)
		for range 2 {
			w.stands(one, "seat", license.Balance{Available: 7, Reserved: 3})
			w.is(second(w.seats.Post(a.me, short.ID)), license.ErrReservationDone)
			w.is(second(w.seats.Void(a.me, short.ID)), license.ErrReservationDone)
			w.step()
		}
		if w.happenings("license.voided") != 1 {
			t.Error("one reservation ran out, and not one is in the audit")
		}
		page, err := w.seats.History(w.vendor, one, "seat", partner.PageRequest{Limit: 1})
		w.must(err)
		if v := page.Items[0]; v.Verb != "void" || v.Actor != "system" || !v.Effective.Equal(short.Expires) || v.FromAfter != 3 || v.ToAfter != 7 {
			t.Errorf("the void: %+v", v)
		}
		w.must(second(w.seats.Consume(a.me, one, "seat", 7)))
		w.must(second(w.seats.Post(a.me, long.ID)))
		w.stands(one, "seat", license.Balance{Consumed: 10})
		w.whole()
	})
}

// TestBEY17_PostRacesTimeout: whoever is first, there is one outcome, and both sides learn it.
func TestBEY17_PostRacesTimeout(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 100)
		posts, voids := int64(0), int64(0)
		for range 30 {
			r := w.reserve(a, one, "seat", 1, time.Second)
			w.clock.Advance(r.Expires.Add(-6 * time.Millisecond).Sub(w.clock.Now())) // a few readings before its time
			errs := together(3, func(i int) error {
				switch i {
				case 0:
					return second(w.seats.Post(a.me, r.ID))
				case 1:
					return second(w.seats.Step(w.vendor))
				}
				return second(license.New(w.reg).Post(a.me, r.ID))
			})
			w.must(errs[1])
			w.clock.Advance(time.Second)
			w.step()
			switch {
			case errs[0] == nil && errs[2] != nil || errs[0] != nil && errs[2] == nil:
				posts++
			case errs[0] == nil:
				t.Fatal("posted twice")
			default:
				voids++
			}
			for _, i := range []int{0, 2} {
				if errs[i] != nil {
					w.is(errs[i], license.ErrReservationDone)
				}
			}
		}
		w.stands(one, "seat", license.Balance{Available: 100 - posts, Consumed: posts})
		t.Logf("%d posted, %d timed out", posts, voids)
		w.whole()
	})
}

// TestBEY17_OneOutcome of many who post and void at once.
func TestBEY17_OneOutcome(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 20)
		for range 10 {
			r, won := w.reserve(a, one, "seat", 2, 0), 0
			for _, err := range together(6, func(i int) error {
				if i%2 == 0 {
					return second(w.seats.Post(a.me, r.ID))
				}
				return second(w.seats.Void(a.me, r.ID))
			}) {
				if err == nil {
					won++
					continue
				}
				w.is(err, license.ErrReservationDone)
			}
			if won != 1 {
				t.Fatalf("%d outcomes", won)
			}
		}
		b, err := w.seats.Balance(w.vendor, one, "seat")
		w.must(err)
		if b.Available+b.Consumed != 20 || b.Reserved != 0 {
			t.Errorf("%+v", b)
		}
		w.whole()
	})
}

func TestBEY17_Keys(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		key := license.Key("k")
		first, err := w.seats.Reserve(a.me, one, "seat", 3, time.Hour, key)
		w.must(err)
		for _, err := range together(4, func(int) error {
			r, err := w.seats.Reserve(a.me, one, "seat", 3, time.Hour, key)
			if err == nil && r != first {
				t.Errorf("again: %+v, want %+v", r, first)
			}
			return err
		}) {
			w.must(err)
		}
		w.is(second(w.seats.Reserve(a.me, one, "seat", 3, 2*time.Hour, key)), partner.ErrIdempotencyMismatch)
		w.is(second(w.seats.Reserve(a.me, one, "seat", 2, time.Hour, key)), partner.ErrIdempotencyMismatch)
		var posted []license.Transfer
		for range 3 {
			tr, err := w.seats.Post(a.me, first.ID, key, license.Because("used"))
			w.must(err)
			posted = append(posted, tr)
		}
		if posted[0].Replayed || !posted[1].Replayed || posted[1].ID != posted[0].ID || posted[0].Key != "k" {
			t.Errorf("posted %+v", posted)
		}
		other := w.reserve(a, one, "seat", 1, 0)
		w.is(second(w.seats.Post(a.me, other.ID, key)), partner.ErrIdempotencyMismatch)
		w.is(second(w.seats.Post(a.me, first.ID, license.Key("l"))), license.ErrReservationDone)
		w.must(second(w.seats.Void(a.me, other.ID, key))) // keys are per verb
		again, err := w.seats.Reserve(a.me, one, "seat", 3, time.Hour, key)
		w.must(err)
		if again.ID != first.ID || again.State != "posted" {
			t.Errorf("the repeated reservation: %+v", again)
		}
		w.must(w.reg.Accounts.Suspend(w.vendor, one))
		w.must(second(w.seats.Reserve(a.me, one, "seat", 3, time.Hour, key)))
		w.must(second(w.seats.Post(a.me, first.ID, key, license.Because("used"))))
		w.stands(one, "seat", license.Balance{Available: 7, Consumed: 3})
		w.whole()
	})
}

// TestBEY17_AReservationsIdAsKeyStopsNobody: a caller may name his keys as he likes.
func TestBEY17_AReservationsIdAsKeyStopsNobody(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		var r []license.Reservation
		for range 6 {
			r = append(r, w.reserve(a, one, "seat", 1, 0))
		}
		w.must(second(w.seats.Void(a.me, r[0].ID, license.Key(r[1].ID))))
		w.must(second(w.seats.Post(a.me, r[2].ID, license.Key(r[3].ID))))
		w.must(second(w.seats.Post(a.me, r[3].ID)))
		w.must(second(w.seats.Void(a.me, r[4].ID, license.Key(r[5].ID))))
		w.clock.Advance(time.Hour)
		w.step()
		w.stands(one, "seat", license.Balance{Available: 8, Consumed: 2})
		last := w.reserve(a, one, "seat", 1, 0)
		w.must(second(w.seats.Void(a.me, w.reserve(a, one, "seat", 1, 0).ID, license.Key(last.ID))))
		w.close(a.me, one)
		w.stands(one, "seat", license.Balance{Consumed: 2})
		w.whole()
	})
}

// TestBEY17_LotsAreNotOutlived: a reservation ends with the first of its lots, and what was reserved of it has run out then.
func TestBEY17_LotsAreNotOutlived(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		granted := w.grant(a.ID, "seat", 2, w.lasting(0, 10*time.Minute))
		w.grant(a.ID, "seat", 3)
		w.assign(a.me, one, "seat", 5)
		r := w.reserve(a, one, "seat", 4, time.Hour)
		if !r.Expires.Equal(granted.Lots[0].Valid.Until) {
			t.Errorf("expires %v, the lot at %v", r.Expires, granted.Lots[0].Valid.Until)
		}
		w.clock.Advance(10 * time.Minute)
		for range 2 {
			w.stands(one, "seat", license.Balance{Available: 3, Expired: 2})
			w.is(second(w.seats.Post(a.me, r.ID)), license.ErrReservationDone)
			w.short(second(w.seats.Consume(a.me, one, "seat", 4)), 3, true)
			w.step()
		}
		w.whole()
	})
}

// TestBEY17_States of the project: suspended it does nothing, closed its reservations are void.
func TestBEY17_States(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		r, gone := w.reserve(a, one, "seat", 3, 0), w.reserve(a, one, "seat", 2, time.Hour)
		w.must(w.reg.Accounts.Suspend(w.vendor, one))
		for _, err := range []error{second(w.seats.Reserve(a.me, one, "seat", 1, 0)), second(w.seats.Post(a.me, r.ID)), second(w.seats.Void(a.me, r.ID)),
			second(w.seats.Consume(a.me, one, "seat", 1)), second(w.seats.Seat(a.me, one, "seat", "ann"))} {
			w.is(err, partner.ErrSuspended)
		}
		w.must(w.reg.Accounts.Resume(w.vendor, one))
		w.must(second(w.seats.Post(a.me, r.ID)))
		w.stands(one, "seat", license.Balance{Available: 5, Reserved: 2, Consumed: 3})
		preview, err := w.reg.Accounts.PreviewClose(a.me, one)
		w.must(err)
		closed, err := w.reg.Accounts.Close(a.me, one)
		w.must(err)
		if closed.Licenses["seat"] != 7 || preview.Licenses["seat"] != 7 {
			w.t.Errorf("closed %v, previewed %v", closed, preview)
		}
		w.stands(one, "seat", license.Balance{Consumed: 3})
		w.stands(a.ID, "seat", license.Balance{Available: 7})
		w.is(second(w.seats.Void(a.me, gone.ID)), license.ErrReservationDone)
		w.is(second(w.seats.Post(a.me, gone.ID)), license.ErrReservationDone)
		w.blocked(second(w.seats.Reserve(a.me, one, "seat", 1, 0)), "closing")
		w.clock.Advance(2 * time.Hour)
		w.step()
		w.stands(a.ID, "seat", license.Balance{Available: 7})
		w.whole()
	})
}

// TestBEY17_DoneIsDoneInASuspendedProject, by time and by hand.
func TestBEY17_DoneIsDoneInASuspendedProject(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		byHand, byTime := w.reserve(a, one, "seat", 3, time.Hour), w.reserve(a, one, "seat", 2, 0)
		w.must(second(w.seats.Void(a.me, byHand.ID)))
		w.clock.Advance(30 * time.Minute)
		w.must(w.reg.Accounts.Suspend(w.vendor, one))
		for range 2 {
			for _, r := range []license.Reservation{byHand, byTime} {
				w.is(second(w.seats.Void(a.me, r.ID)), license.ErrReservationDone)
				w.is(second(w.seats.Post(a.me, r.ID)), license.ErrReservationDone)
			}
			w.step()
		}
		w.whole()
	})
}

// TestBEY17_Who: the organisation's admins and the project's own log-in; for all others there is no such reservation.
func TestBEY17_Who(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		b, foreign := w.stocked("bolt", 10)
		w.project(a.me, "two")
		r := w.reserve(a, one, "seat", 1, 0)
		for _, ctx := range []context.Context{b.me, w.login("bolt-one"), w.login("two")} {
			for _, err := range []error{second(w.seats.Reserve(ctx, one, "seat", 1, 0)), second(w.seats.Consume(ctx, one, "seat", 1)), second(w.seats.Post(ctx, r.ID)),
				second(w.seats.Void(ctx, r.ID)), second(w.seats.Post(ctx, "res_01KJMMA2G3F8Y8WK42TDFBBHH3")), second(w.seats.Void(ctx, ""))} {
				w.is(err, partner.ErrNotFound)
			}
		}
		for _, ctx := range []context.Context{w.vendor, context.Background()} {
			for _, err := range []error{second(w.seats.Reserve(ctx, one, "seat", 1, 0)), second(w.seats.Post(ctx, r.ID)), second(w.seats.Consume(ctx, one, "seat", 1))} {
				w.is(err, partner.ErrForbidden)
			}
		}
		me := w.login("acme-one")
		own, err := w.seats.Reserve(me, one, "seat", 2, 0)
		w.must(err)
		w.must(second(w.seats.Post(me, own.ID)))
		w.must(second(w.seats.Void(me, r.ID)))
		w.must(second(w.seats.Consume(me, one, "seat", 1)))
		w.stands(one, "seat", license.Balance{Available: 7, Consumed: 3})
		w.stands(foreign, "seat", license.Balance{Available: 10})
		w.whole()
	})
}

// TestBEY17_HoldingsBetweenTwoVoids: at each instant that anything was recorded, what there was adds up.
func TestBEY17_HoldingsBetweenTwoVoids(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		w.reserve(a, one, "seat", 2, 0)
		w.reserve(a, one, "seat", 3, 0)
		w.clock.Advance(time.Hour)
		w.step()
		w.reserve(a, one, "seat", 1, 0)
		w.reserve(a, one, "seat", 1, time.Hour)
		w.close(a.me, one)
		page, err := w.seats.History(w.vendor, one, "seat", partner.PageRequest{Limit: 100})
		w.must(err)
		for _, tr := range page.Items {
			for _, effective := range []time.Time{tr.Recorded, tr.Recorded.Add(30 * time.Minute), {}} {
				list, err := w.seats.HoldingsAt(w.vendor, one, effective, tr.Recorded)
				w.must(err)
				for _, b := range list {
					if b.Available+b.Reserved != 10 && tr.Verb != "close" || b.Available < 0 || b.Reserved < 0 {
						t.Errorf("at %v, as of the %s: %+v", effective, tr.Verb, b)
					}
				}
			}
		}
		w.whole()
	})
}

// TestBEY01_AnUndoneSavepointUndoesWhatTimeDidToo: a refused call in a host's transaction leaves the ledger as it was, and the next one
// meets what is due again; a host who rolls back leaves nothing.
func TestBEY01_AnUndoneSavepointUndoesWhatTimeDidToo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.stocked("acme", 10)
		w.lot(a.ID, "seat", 2, 0, time.Hour)
		w.assign(a.me, one, "seat", 2)
		for _, person := range []string{"ann", "bob"} {
			w.seat(a, one, "seat", person)
		}
		w.reserve(a, one, "seat", 3, 0)
		w.clock.Advance(2 * time.Hour)
		play := func(tx *gorm.DB) {
			in := license.New(w.reg.In(tx))
			w.is(second(in.Consume(a.me, one, "seat", 11)), license.ErrInsufficient)
			w.is(second(in.Seat(a.me, "acc_none", "seat", "cid")), partner.ErrNotFound)
			r, err := in.Reserve(a.me, one, "seat", 2, 0)
			w.must(err)
			w.is(second(in.Reserve(a.me, one, "seat", 90, 0)), license.ErrInsufficient)
			w.must(second(in.Post(a.me, r.ID)))
			w.is(second(in.Void(a.me, r.ID)), license.ErrReservationDone)
			w.is(second(in.Consume(a.me, one, "seat", 8)), license.ErrShrinkPlanRequired)
			w.must(second(in.Seat(a.me, one, "seat", "cid")))
			w.must(in.Cap(w.vendor, one, "seat", 50))
		}
		before, events := w.balances(one), w.events()
		changed := errors.New("changed our mind")
		if err := w.db.Transaction(func(tx *gorm.DB) error { play(tx); return changed }); !errors.Is(err, changed) {
			t.Fatal(err)
		}
		if after := w.balances(one); !reflect.DeepEqual(after, before) || w.events() != events || w.happenings("license.expired") != 0 {
			t.Errorf("after a rollback: %+v, %d events; before: %+v, %d", after, w.events(), before, events)
		}
		w.whole()
		w.must(w.db.Transaction(func(tx *gorm.DB) error { play(tx); return nil }))
		w.stands(one, "seat", license.Balance{Available: 8, Consumed: 2, Expired: 2})
		if w.happenings("license.expired") != 1 || w.happenings("license.voided") != 1 {
			t.Errorf("%d expired, %d voided; want one of each", w.happenings("license.expired"), w.happenings("license.voided"))
		}
		w.whole()
	})
}
