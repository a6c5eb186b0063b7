package license_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// lasting gives a granted lot its validity, counted from now; 0 is an open end.
func (w *world) lasting(from, until time.Duration) license.Option {
	var p partner.Period
	now := w.clock.Now()
	if from != 0 {
		p.From = now.Add(from)
	}
	if until != 0 {
		p.Until = now.Add(until)
	}
	return license.Valid(p)
}

// lot grants n units as a lot of their own and returns its id.
func (w *world) lot(to partner.ID, sku string, n int64, from, until time.Duration) int64 {
	w.t.Helper()
	return w.grant(to, sku, n, w.lasting(from, until)).Lots[0].ID
}

// stands fails unless the holder has exactly want.
func (w *world) stands(h partner.Holder, sku string, want license.Balance) {
	w.t.Helper()
	got, err := w.seats.Balance(w.vendor, h, sku)
	w.must(err)
	if want.SKU = sku; got != want {
		w.t.Fatalf("%s has %+v, want %+v", h, got, want)
	}
}

// took fails unless a transfer moved these lots in this order: id, quantity, id, quantity.
func (w *world) took(tr license.Transfer, want ...int64) {
	w.t.Helper()
	var got []int64
	n := int64(0)
	for _, l := range tr.Lots {
		got = append(got, l.ID, l.Quantity)
		n += l.Quantity
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || n != tr.Quantity {
		w.t.Fatalf("%s %d took %v, want %v", tr.Verb, tr.Quantity, got, want)
	}
}

// short fails unless err is the want of units that leaves have, expired or not.
func (w *world) short(err error, have int64, expired bool) {
	w.t.Helper()
	w.is(err, license.ErrInsufficient)
	var short *license.InsufficientError
	if !errors.As(err, &short) || short.Available != have {
		w.t.Fatalf("got %v, want %d available", err, have)
	}
	if errors.Is(err, license.ErrExpired) != expired {
		w.t.Fatalf("got %v, want ErrExpired: %v", err, expired)
	}
}

// reserve sets n apart for the default time.
func (w *world) reserve(s side, of partner.AccountID, sku string, n int64, d time.Duration) license.Reservation {
	w.t.Helper()
	r, err := w.seats.Reserve(s.me, of, sku, n, d)
	w.must(err)
	return r
}

func (w *world) seat(s side, of partner.AccountID, sku, person string) license.Seat {
	w.t.Helper()
	seat, err := w.seats.Seat(s.me, of, sku, person)
	w.must(err)
	return seat
}

// sitting is the people with a seat, oldest first, read in pages of two.
func (w *world) sitting(of partner.AccountID, sku string) string {
	w.t.Helper()
	var list []string
	p := partner.PageRequest{Limit: 2}
	for {
		page, err := w.seats.Seats(w.vendor, of, sku, p)
		w.must(err)
		for _, s := range page.Items {
			list = append(list, s.Person)
		}
		if p.After = page.Next; page.Next == "" {
			return strings.Join(list, " ")
		}
	}
}

// step lets time be written down, all of it.
func (w *world) step() {
	w.t.Helper()
	for {
		more, err := w.seats.Step(w.vendor)
		w.must(err)
		if !more {
			return
		}
	}
}

// at makes the session work in a project while do runs.
func (w *world) at(s side, in partner.AccountID, do func()) {
	w.t.Helper()
	w.must(w.reg.Access.SwitchTo(s.me, in))
	do()
	w.must(w.reg.Access.SwitchBack(s.me))
}

// whole is sound, and more: what the heads count is what there is, and each transfer has its one event.
func (w *world) whole() {
	w.t.Helper()
	w.sound()
	w.counted()
	w.audited()
}

// counted fails unless the heads' counters are what the rows say: of lots and seats exactly, of the next due time no later.
func (w *world) counted() {
	w.t.Helper()
	var rows []struct {
		Owner, Unit                                       string
		Lots, Seats, Due, HasLots, HasSeats, NextR, NextL int64
	}
	w.must(w.db.Raw(`SELECT h.owner, h.unit, h.lots, h.seats, h.due,
		(SELECT count(*) FROM prm_ledger_balances r WHERE r.owner = h.owner AND r.unit = h.unit AND r.book = h.book AND r.state = 'held' AND r.lot > 0) AS has_lots,
		(SELECT count(*) FROM prm_ledger_seats s WHERE s.owner = h.owner AND s.unit = h.unit AND s.book = h.book AND s.ended_at = 0) AS has_seats,
		COALESCE((SELECT MIN(r.expires) FROM prm_ledger_reservations r WHERE r.owner = h.owner AND r.unit = h.unit AND r.state = 'open'), 0) AS next_r,
		COALESCE((SELECT MIN(l.valid_until) FROM prm_ledger_balances r JOIN prm_ledger_lots l ON l.id = r.lot
			WHERE r.owner = h.owner AND r.unit = h.unit AND r.state = 'held' AND r.amount > 0 AND l.valid_until > 0), 0) AS next_l
		FROM prm_ledger_balances h WHERE h.book = 'license' AND h.state = 'held' AND h.lot = 0`).Scan(&rows).Error)
	for _, r := range rows {
		late := func(next int64) bool { return next > 0 && (r.Due == 0 || r.Due > next) }
		if r.Lots != r.HasLots && r.Owner != "issuer" || r.Seats != r.HasSeats || late(r.NextR) || late(r.NextL) {
			w.t.Fatalf("the head of %s, %s counts wrong: %+v", r.Owner, r.Unit, r)
		}
	}
}

// audited fails unless there is one event for each transfer, by the same actor. A close has one for all that it does.
func (w *world) audited() {
	w.t.Helper()
	past := map[string]string{"grant": "granted", "revoke": "revoked", "assign": "assigned", "return": "returned", "reserve": "reserved", "post": "posted",
		"void": "voided", "consume": "consumed", "correct": "corrected", "expire": "expired"}
	verbs := slices.Collect(maps.Values(past))
	type count struct {
		Name, Actor string
		N           int
	}
	var transfers, events []count
	w.must(w.db.Raw(`SELECT verb AS name, actor, count(*) AS n FROM prm_ledger_transfers WHERE book = 'license' AND part = 0 AND reason <> 'account closed'
		GROUP BY verb, actor`).Scan(&transfers).Error)
	w.must(w.db.Raw("SELECT kind AS name, actor, count(*) AS n FROM prm_events WHERE kind LIKE 'license.%' GROUP BY kind, actor").Scan(&events).Error)
	left := map[string]int{}
	for _, e := range events {
		left[e.Name+" by "+e.Actor] = e.N
	}
	for _, t := range transfers {
		left["license."+past[t.Name]+" by "+t.Actor] -= t.N
	}
	for what, n := range left {
		kind, _, _ := strings.Cut(strings.TrimPrefix(what, "license."), " ")
		if n != 0 && slices.Contains(verbs, kind) {
			w.t.Fatalf("%s: %+d events for the transfers there are", what, n)
		}
	}
}

// happenings counts the events of a kind.
func (w *world) happenings(kind string) (n int) {
	w.t.Helper()
	w.must(w.db.Raw("SELECT count(*) FROM prm_events WHERE kind = ?", kind).Scan(&n).Error)
	return n
}

// names are the keys of a table of cases, in order.
func names[T any](cases map[string]T) []string { return slices.Sorted(maps.Keys(cases)) }
