package license_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY16_LotsGoInTheOrderTheyRunOut: whatever the verb, valid until first, then lot, the undated last.
func TestBEY16_LotsGoInTheOrderTheyRunOut(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.supplied(10)
		open := w.grant(a.ID, "seat", 2, license.Valid(partner.Period{From: w.clock.Now().Add(-time.Hour)})).Lots[0].ID
		late := w.lot(a.ID, "seat", 2, 0, 3*time.Hour)
		hour := partner.Period{Until: w.clock.Now().Add(time.Hour)}
		first := w.grant(a.ID, "seat", 2, license.Valid(hour)).Lots[0].ID
		second := w.grant(a.ID, "seat", 2, license.Valid(hour)).Lots[0].ID
		mid := w.lot(a.ID, "seat", 2, -time.Hour, 2*time.Hour)

		w.took(w.assign(a.me, one, "seat", 3), first, 2, second, 1)
		w.took(w.assign(a.me, one, "seat", 6), second, 1, mid, 2, late, 2, open, 1)
		w.took(w.assign(a.me, one, "seat", 4), open, 1, 0, 3)
		consumed, err := w.seats.Consume(a.me, one, "seat", 3)
		w.must(err)
		w.took(consumed, first, 2, second, 1)
		w.reserve(a, one, "seat", 2, 0)
		w.at(a, one, func() {
			back, err := w.seats.Return(a.me, "seat", 3)
			w.must(err)
			w.took(back, mid, 1, late, 2)
		})
		revoked, err := w.seats.Revoke(w.vendor, one, "seat", 3)
		w.must(err)
		w.took(revoked, open, 2, 0, 1)
		revoked, err = w.seats.Revoke(w.vendor, a.ID, "seat", 10)
		w.must(err)
		w.took(revoked, mid, 1, late, 2, 0, 7)
		w.stands(a.ID, "seat", license.Balance{})
		w.stands(one, "seat", license.Balance{Available: 2, Reserved: 2, Consumed: 3})
		w.whole()
	})
}

// TestBEY16_RevokeOfSeveralLotsVerifies: the issuer has no lots, so several legs of one transfer meet on one balance of his.
func TestBEY16_RevokeOfSeveralLotsVerifies(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		one, two := w.lot(a.ID, "seat", 3, 0, time.Hour), w.lot(a.ID, "seat", 3, 0, 2*time.Hour)
		revoked, err := w.seats.Revoke(w.vendor, a.ID, "seat", 5)
		w.must(err)
		w.took(revoked, one, 3, two, 2)
		w.whole()
		back, err := w.seats.Correct(w.vendor, revoked.ID)
		w.must(err)
		w.took(back, one, 3, two, 2)
		w.stands(a.ID, "seat", license.Balance{Available: 6})
		var sum int64
		w.must(w.db.Raw("SELECT CAST(SUM(amount) AS BIGINT) FROM prm_ledger_balances WHERE unit = 'seat'").Scan(&sum).Error)
		if sum != 0 {
			t.Errorf("the sum over all is %d", sum)
		}
		w.whole()
	})
}

// TestBEY16_ExpiredIsNeitherMovableNorConsumable: from the moment on, and the same after it has been written down. ErrExpired exactly
// where the expired units would have been enough.
func TestBEY16_ExpiredIsNeitherMovableNorConsumable(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.supplied(6)
		two := w.project(a.me, "two")
		w.lot(a.ID, "seat", 5, 0, time.Hour)
		w.lot(a.ID, "seat", 5, 0, time.Hour)
		w.assign(a.me, one, "seat", 5)
		w.at(a, one, func() { w.assign(a.me, two, "seat", 1) }) // of the same lot
		w.at(a, two, func() { _, err := w.seats.Return(a.me, "seat", 1); w.must(err) })
		_, err := w.seats.Revoke(w.vendor, a.ID, "seat", 3)
		w.must(err)
		w.at(a, one, func() { _, err := w.seats.Return(a.me, "seat", 1); w.must(err) })
		w.stands(a.ID, "seat", license.Balance{Available: 10}) // 6 undated
		w.assign(a.me, one, "seat", 6)                         // 4 + 2
		w.stands(one, "seat", license.Balance{Available: 9})
		w.clock.Advance(time.Hour)
		verbs := map[string]func(n int64) error{
			"consume": func(n int64) error { return second(w.seats.Consume(a.me, one, "seat", n)) },
			"reserve": func(n int64) error { return second(w.seats.Reserve(a.me, one, "seat", n, 0)) },
			"revoke":  func(n int64) error { return second(w.seats.Revoke(w.vendor, one, "seat", n)) },
			"assign": func(n int64) (err error) {
				w.at(a, one, func() { _, err = w.seats.Assign(a.me, two, "seat", n) })
				return err
			},
			"return": func(n int64) (err error) {
				w.at(a, one, func() { _, err = w.seats.Return(a.me, "seat", n) })
				return err
			},
		}
		for range 2 {
			w.stands(one, "seat", license.Balance{Available: 2, Expired: 7})
			w.stands(a.ID, "seat", license.Balance{Available: 4})
			for _, call := range verbs {
				w.short(call(3), 2, true)
				w.short(call(9), 2, true)
				w.short(call(10), 2, false)
			}
			w.step()
		}
		w.whole()
		if n := w.happenings("license.expired"); n != 2 {
			w.t.Errorf("%d lots expired, want 2: those of the project", n)
		}
		w.seat(a, one, "seat", "ann")
		w.seat(a, one, "seat", "bob")
		w.short(second(w.seats.Seat(a.me, one, "seat", "cid")), 0, true)
		w.whole()
	})
}

// TestBEY16_TheMoment: a lot counts up to its end and not at it.
func TestBEY16_TheMoment(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		from := w.clock.Now().Add(time.Hour).Truncate(time.Second)
		w.grant(a.ID, "seat", 1, license.Valid(partner.Period{From: from, Until: from.Add(time.Hour)}))
		set := func(at time.Time) { w.clock.Advance(at.Add(-time.Millisecond).Sub(w.clock.Now())) } // the next reading is at
		for _, c := range []struct {
			at   time.Time
			want license.Balance
		}{
			{from.Add(-time.Second), license.Balance{Upcoming: 1}}, {from, license.Balance{Available: 1}},
			{from.Add(time.Hour - time.Second), license.Balance{Available: 1}}, {from.Add(time.Hour), license.Balance{Expired: 1}},
		} {
			set(c.at)
			w.stands(a.ID, "seat", c.want)
			list, err := w.seats.HoldingsAt(w.vendor, a.ID, c.at, time.Time{})
			w.must(err)
			if c.want.SKU = "seat"; len(list) != 1 || list[0] != c.want && c.want.Upcoming == 0 {
				w.t.Errorf("at %v: %+v, want %+v", c.at, list, c.want)
			}
		}
	})
}

// TestBEY16_Upcoming: what is not valid yet is shown apart, and only the vendor's Revoke takes it.
func TestBEY16_Upcoming(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.supplied(1)
		lot := w.lot(a.ID, "seat", 5, time.Hour, 2*time.Hour)
		w.stands(a.ID, "seat", license.Balance{Available: 1, Upcoming: 5})
		w.short(second(w.seats.Assign(a.me, one, "seat", 2)), 1, false)
		revoked, err := w.seats.Revoke(w.vendor, a.ID, "seat", 3)
		w.must(err)
		w.took(revoked, lot, 3)
		w.short(second(w.seats.Revoke(w.vendor, a.ID, "seat", 4)), 3, false)
		w.clock.Advance(time.Hour)
		w.stands(a.ID, "seat", license.Balance{Available: 3})
		w.took(w.assign(a.me, one, "seat", 2), lot, 2)
		w.clock.Advance(time.Hour)
		w.stands(one, "seat", license.Balance{Expired: 2})
		w.stands(a.ID, "seat", license.Balance{Available: 1})
		w.step()
		w.whole()
	})
}

// TestBEY16_AMovedLotKeepsItsValidity from holder to holder and back.
func TestBEY16_AMovedLotKeepsItsValidity(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		two := w.project(a.me, "two")
		granted := w.grant(a.ID, "seat", 5, w.lasting(-time.Minute, time.Hour))
		moves := []license.Transfer{w.assign(a.me, one, "seat", 5)}
		w.at(a, one, func() { moves = append(moves, w.assign(a.me, two, "seat", 4)) })
		w.at(a, two, func() {
			back, err := w.seats.Return(a.me, "seat", 3)
			w.must(err)
			moves = append(moves, back)
		})
		for i, tr := range moves {
			if want := granted.Lots[0]; len(tr.Lots) != 1 || tr.Lots[0].ID != want.ID || tr.Lots[0].Valid != want.Valid {
				t.Errorf("move %d: lots %+v, want %+v", i, tr.Lots, want)
			}
		}
		w.clock.Advance(time.Hour)
		for h, n := range map[partner.Holder]int64{a.ID: 3, one: 1, two: 1} {
			w.stands(h, "seat", license.Balance{Expired: n})
		}
		w.step()
		w.whole()
	})
}

// TestBEY16_TransfersOfSeveralLots read the same everywhere: one transfer, whatever its lots.
func TestBEY16_TransfersOfSeveralLots(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		lots := []license.Transfer{w.grant(a.ID, "seat", 2, w.lasting(0, time.Hour)), w.grant(a.ID, "seat", 2, w.lasting(0, 2*time.Hour)), w.grant(a.ID, "seat", 2)}
		moved := w.assign(a.me, one, "seat", 5)
		w.took(moved, lots[0].Lots[0].ID, 2, lots[1].Lots[0].ID, 2, 0, 1)
		if moved.FromAfter != 1 || moved.ToAfter != 5 {
			t.Errorf("after: %d and %d, want 1 and 5", moved.FromAfter, moved.ToAfter)
		}
		used, err := w.seats.Consume(a.me, one, "seat", 3)
		w.must(err)
		if used.FromAfter != 2 || used.ToAfter != 3 {
			t.Errorf("after: %d and %d, want 2 and 3", used.FromAfter, used.ToAfter)
		}
		var history []license.Transfer
		for p := (partner.PageRequest{Limit: 1}); ; {
			page, err := w.seats.History(a.me, one, "seat", p)
			w.must(err)
			history = append(history, page.Items...)
			if p.After = page.Next; page.Next == "" {
				break
			}
		}
		if !reflect.DeepEqual(history, []license.Transfer{used, moved}) {
			t.Errorf("history: %+v", history)
		}
		st, err := w.seats.Statement(a.me, one, "seat", partner.Period{})
		w.must(err)
		if st.Opening != 0 || st.Closing != 2 || len(st.Lines) != 2 || st.Lines[0].Change != 5 || st.Lines[1].Change != -3 || st.Lines[1].Running != 2 {
			t.Errorf("statement: %+v", st)
		}
		traced, err := w.seats.Trace(w.vendor, used.ID)
		w.must(err)
		if want := []license.Transfer{lots[0], lots[1], moved, used}; !reflect.DeepEqual(traced, want) {
			t.Errorf("the used ones came through %+v, want %+v", traced, want)
		}
		traced, err = w.seats.Trace(w.vendor, lots[2].ID)
		w.must(err)
		if want := []license.Transfer{lots[2], moved}; !reflect.DeepEqual(traced, want) {
			t.Errorf("the undated ones went %+v, want %+v", traced, want)
		}
		w.whole()
	})
}

// TestBEY16_BothClocksAcrossAnExpiry: what the two clocks and the chart say of lots and reservations that run out is the same before it
// is written down and after.
func TestBEY16_BothClocksAcrossAnExpiry(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.bare()
		begin := w.clock.Now()
		w.lot(a.ID, "seat", 3, 0, time.Hour)
		w.lot(a.ID, "seat", 3, 30*time.Minute, 90*time.Minute)
		w.grant(a.ID, "seat", 3)
		w.assign(a.me, one, "seat", 5)
		w.reserve(a, one, "seat", 4, 0) // the lot and one of the undated
		_, err := w.seats.Consume(a.me, one, "seat", 1)
		w.must(err)
		w.clock.Advance(2 * time.Hour)
		end := w.clock.Now()
		answers := func() string {
			said := ""
			for _, h := range []partner.Holder{a.ID, one} {
				for e := time.Duration(0); e <= 2*time.Hour; e += 10 * time.Minute {
					for k := time.Duration(0); k <= 2*time.Hour; k += 20 * time.Minute {
						list, err := w.seats.HoldingsAt(w.vendor, h, begin.Add(e), begin.Add(k))
						w.must(err)
						said += fmt.Sprintln(h, e, k, list)
					}
				}
				chart, err := w.seats.Series(w.vendor, h, "seat", partner.Period{From: begin, Until: end}, 25)
				w.must(err)
				said += fmt.Sprintln(chart)
			}
			return said
		}
		before := answers()
		chart, err := w.seats.Series(w.vendor, one, "seat", partner.Period{From: begin.Add(time.Second), Until: begin.Add(time.Hour + time.Second)}, 5)
		w.must(err)
		for i, want := range []license.Balance{{Reserved: 4, Consumed: 1}, {Available: 4, Consumed: 1}, {Available: 4, Consumed: 1}, {Available: 4, Consumed: 1},
			{Available: 1, Consumed: 1, Expired: 3}} {
			if want.SKU = "seat"; chart[i].Balance != want {
				t.Errorf("at %v: %+v, want %+v", chart[i].At, chart[i].Balance, want)
			}
		}
		w.step()
		if after := answers(); after != before {
			t.Errorf("before it was written down:\n%s\nafter:\n%s", before, after)
		}
		w.stands(one, "seat", license.Balance{Available: 1, Consumed: 1, Expired: 3})
		w.stands(a.ID, "seat", license.Balance{Available: 1, Expired: 3})
		w.whole()
	})
}
