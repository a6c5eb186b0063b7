package license_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// hoard is what one holder should have, lot by lot.
type hoard struct {
	id                      partner.Holder
	held, consumed, expired map[int64]int64
	reserved                int64
	seats                   []license.Seat // oldest first
	limit                   int64
}

// apart is a reservation.
type apart struct {
	license.Reservation
	of   *hoard
	lots []license.Lot
	open bool
}

// done is a keyed write that was answered, or one that can be corrected.
type done struct {
	first     license.Transfer
	again     func(context.Context) (license.Transfer, error)
	from, to  *hoard // as its correction needs them
	corrected bool
}

// lotModel is a pool and two projects whose units run out, are set apart and sat on. Time passes one due moment at a time: what is due
// is judged by the clock first and written down before the next.
type lotModel struct {
	*world
	*tally
	me       context.Context
	name     string
	pool     *hoard
	projects []*hoard
	lots     map[int64]partner.Period
	apart    []*apart
	done     []*done
	base     time.Time
	taken    map[int]bool // the minutes that something is due in
	n        int
	touched  []*hoard // by the step that was last, beside the pool
}

func newHoard(id partner.Holder) *hoard {
	return &hoard{id: id, held: map[int64]int64{}, consumed: map[int64]int64{}, expired: map[int64]int64{}, limit: -1}
}

func newLotModel(t *rapid.T, w *world, y *tally) *lotModel {
	own := *w
	own.t = rapidTB{TB: w.t, rapid: t}
	m := &lotModel{world: &own, tally: y, name: fmt.Sprint("lots", y.worlds), lots: map[int64]partner.Period{}, taken: map[int]bool{}, base: w.clock.Now()}
	s := m.partner(m.name)
	m.me, m.pool = s.me, newHoard(s.ID)
	for i := range 2 {
		m.projects = append(m.projects, newHoard(m.project(m.me, fmt.Sprintf("%s-p%d", m.name, i))))
	}
	return m
}

// soon draws a moment of its own, at least a minute from every other that something is due at.
func (m *lotModel) soon(t *rapid.T) time.Time {
	at := int(m.clock.Now().Sub(m.base)/time.Minute) + rapid.IntRange(2, 60).Draw(t, "minutes")
	for m.taken[at] {
		at++
	}
	m.taken[at] = true
	return m.base.Add(time.Duration(at) * time.Minute)
}

func (m *lotModel) all() []*hoard { return append([]*hoard{m.pool}, m.projects...) }

func (m *lotModel) pick(t *rapid.T) *hoard {
	return m.touch(rapid.SampledFrom(m.projects).Draw(t, "project"))
}

// touch notes whose books a step may change.
func (m *lotModel) touch(h *hoard) *hoard {
	if !slices.Contains(m.touched, h) {
		m.touched = append(m.touched, h)
	}
	return h
}

func (m *lotModel) over(lot int64, now time.Time) bool {
	until := m.lots[lot].Until
	return !until.IsZero() && !until.After(now)
}

// pass does what is due by now.
func (m *lotModel) pass(now time.Time) {
	for _, r := range m.apart {
		if r.open && !r.Expires.After(now) {
			m.free(r)
		}
	}
	for _, h := range m.all() {
		for lot, n := range h.held {
			if m.over(lot, now) {
				h.held[lot] = 0
				h.expired[lot] += n
			}
		}
		h.seats = h.seats[:min(int64(len(h.seats)), m.usable(h, now))]
	}
}

func (m *lotModel) free(r *apart) {
	r.open = false
	for _, l := range r.lots {
		r.of.held[l.ID] += l.Quantity
		r.of.reserved -= l.Quantity
	}
}

func total(of map[int64]int64) (n int64) {
	for _, k := range of {
		n += k
	}
	return n
}

func (m *lotModel) usable(h *hoard, now time.Time) (n int64) {
	for lot, k := range h.held {
		if !m.lots[lot].From.After(now) {
			n += k
		}
	}
	return n
}

// choose is which lots n units come from, or why they do not.
func (m *lotModel) choose(h *hoard, n int64, early bool, now time.Time) (list []license.Lot, err error) {
	ids := slices.SortedFunc(maps.Keys(h.held), func(a, b int64) int {
		rank := func(lot int64) string { // runs out first, then lot; without an end later, undated last
			if until := m.lots[lot].Until; !until.IsZero() {
				return fmt.Sprintf("a%s%012d", until.UTC().Format(time.RFC3339Nano), lot)
			}
			return fmt.Sprintf("%c%012d", "cb"[min(lot, 1)], lot)
		}
		return strings.Compare(rank(a), rank(b))
	})
	left := n
	for _, lot := range ids {
		if k := min(left, h.held[lot]); k > 0 && (early || !m.lots[lot].From.After(now)) {
			list = append(list, license.Lot{ID: lot, Valid: m.lots[lot], Quantity: k})
			left -= k
		}
	}
	if left > 0 {
		if err = license.ErrInsufficient; n-left+total(h.expired) >= n {
			err = license.ErrExpired
		}
		return nil, err
	}
	return list, nil
}

// may is why units may not leave or arrive, apart from that there must be enough.
func (m *lotModel) may(from, to *hoard, list []license.Lot, now time.Time) error {
	if n := sumOf(list); to != nil && to != from && to.limit >= 0 && total(to.held)+to.reserved+total(to.consumed)+n > to.limit {
		return partner.ErrQuota
	}
	if from != nil && len(from.seats) > 0 {
		left := m.usable(from, now)
		for _, l := range list {
			if !l.Valid.From.After(now) {
				left -= l.Quantity
			}
		}
		if left < int64(len(from.seats)) {
			return license.ErrShrinkPlanRequired
		}
	}
	return nil
}

func sumOf(list []license.Lot) (n int64) {
	for _, l := range list {
		n += l.Quantity
	}
	return n
}

// shift moves lots in the oracle.
func shift(list []license.Lot, from, to map[int64]int64) {
	for _, l := range list {
		if from != nil {
			from[l.ID] -= l.Quantity
		}
		if to != nil {
			to[l.ID] += l.Quantity
		}
	}
}

// want is what a taking call should answer: the lots, or the error.
func (m *lotModel) want(from, to *hoard, n int64, early bool) ([]license.Lot, error) {
	now := m.clock.Now()
	m.pass(now)
	list, err := m.choose(from, n, early, now)
	if err == nil {
		err = m.may(from, to, list, now)
	}
	return list, err
}

// answered compares; true if the call was done. ErrExpired is exact: where it is not wanted it must not be there.
func (m *lotModel) answered(what string, got error, want error) bool {
	m.t.Helper()
	m.count(what, want)
	if want == nil && got != nil || want != nil && (!errors.Is(got, want) || len(kindsOf(got)) != 1) ||
		errors.Is(got, license.ErrExpired) != (want == license.ErrExpired) {
		m.t.Fatalf("%s: %v, want %v", what, got, want)
	}
	return want == nil
}

// took compares a transfer with the lots it should have taken and what both sides should have after it.
func (m *lotModel) tookLots(tr license.Transfer, list []license.Lot, fromAfter, toAfter int64) {
	m.t.Helper()
	if !reflect.DeepEqual(tr.Lots, list) || tr.FromAfter != fromAfter || tr.ToAfter != toAfter {
		m.t.Fatalf("%s %d took %v, after it %d and %d; want %v, %d and %d", tr.Verb, tr.Quantity, tr.Lots, tr.FromAfter, tr.ToAfter, list, fromAfter, toAfter)
	}
}

func few(t *rapid.T) int64 { return rapid.Int64Range(1, 5).Draw(t, "n") }

func (m *lotModel) key() license.Option {
	m.n++
	return license.Key(fmt.Sprint("k", m.n))
}

func (m *lotModel) grant(t *rapid.T) {
	n, key := rapid.Int64Range(2, 12).Draw(t, "n"), m.key()
	o := []license.Option{key}
	var p partner.Period
	switch rapid.IntRange(0, 3).Draw(t, "validity") {
	case 0:
		p.Until = m.soon(t)
	case 1:
		p.From, p.Until = m.base.Add(-time.Hour), m.soon(t)
	case 2:
		if p.From, p.Until = m.soon(t), m.soon(t); !p.Until.After(p.From) {
			p.From, p.Until = p.Until, p.From
		}
	}
	if p != (partner.Period{}) {
		o = append(o, license.Valid(p))
	}
	again := func(context.Context) (license.Transfer, error) {
		return m.seats.Grant(m.vendor, m.pool.id.(partner.ID), "seat", n, o...)
	}
	tr, err := again(nil)
	m.answered("grant", err, nil)
	m.pass(m.clock.Now())
	for _, l := range tr.Lots {
		m.lots[l.ID] = l.Valid
	}
	shift(tr.Lots, nil, m.pool.held)
	m.done = append(m.done, &done{first: tr, again: again})
}

func (m *lotModel) revoke(t *rapid.T) {
	h, n := m.touch(rapid.SampledFrom(m.all()).Draw(t, "holder")), few(t)
	list, want := m.want(h, nil, n, true)
	tr, err := m.seats.Revoke(m.vendor, h.id, "seat", n)
	if m.answered("revoke", err, want) {
		shift(list, h.held, nil)
		m.tookLots(tr, list, total(h.held), 0)
	}
}

// assign is from the pool or, for another project, from inside it; Explain must have said the same.
func (m *lotModel) assign(t *rapid.T) {
	from, to := m.touch(rapid.SampledFrom(m.all()).Draw(t, "from")), m.pick(t)
	if from == to {
		from = m.pool
	}
	m.assignTo(t, from, to)
}

func (m *lotModel) assignTo(t *rapid.T, from, to *hoard) {
	n, key := rapid.Int64Range(1, 12).Draw(t, "n"), m.key()
	list, want := m.want(from, to, n, false)
	again := func(me context.Context) (license.Transfer, error) {
		return m.seats.Assign(me, to.id.(partner.AccountID), "seat", n, key)
	}
	m.in(from, func() {
		dec, err := m.seats.Explain(m.me, to.id.(partner.AccountID), "seat", n)
		m.must(err)
		m.count("explain", want)
		tr, err := again(m.me)
		if dec.Allowed != (err == nil) {
			m.t.Fatalf("explained %+v, answered %v", dec, err)
		}
		if m.answered("assign", err, want) {
			shift(list, from.held, to.held)
			m.tookLots(tr, list, total(from.held), total(to.held))
			m.done = append(m.done, &done{first: tr, again: again, from: from, to: to})
		}
	})
}

// in makes the session work at a holder.
func (m *lotModel) in(h *hoard, do func()) {
	if h == m.pool {
		do()
		return
	}
	m.must(m.reg.Access.SwitchTo(m.me, h.id.(partner.AccountID)))
	do()
	m.must(m.reg.Access.SwitchBack(m.me))
}

func (m *lotModel) giveBack(t *rapid.T) {
	h, n := m.pick(t), few(t)
	list, want := m.want(h, m.pool, n, false)
	m.in(h, func() {
		tr, err := m.seats.Return(m.me, "seat", n)
		if m.answered("return", err, want) {
			shift(list, h.held, m.pool.held)
			m.tookLots(tr, list, total(h.held), total(m.pool.held))
		}
	})
}

func (m *lotModel) consume(t *rapid.T) {
	h, n, key := m.pick(t), few(t), m.key()
	list, want := m.want(h, h, n, false)
	again := func(me context.Context) (license.Transfer, error) {
		return m.seats.Consume(me, h.id.(partner.AccountID), "seat", n, key)
	}
	tr, err := again(m.me)
	if m.answered("consume", err, want) {
		shift(list, h.held, h.consumed)
		m.tookLots(tr, list, total(h.held), total(h.consumed))
		m.done = append(m.done, &done{first: tr, again: again, from: h, to: h})
	}
}

// undone is a call whose host changes his mind.
func (m *lotModel) undone(t *rapid.T) {
	h, n := m.pick(t), few(t)
	_, want := m.want(h, h, n, false)
	changed := errors.New("changed our mind")
	err := m.db.Transaction(func(tx *gorm.DB) error {
		in := license.New(m.reg.In(tx))
		_, err := in.Consume(m.me, h.id.(partner.AccountID), "seat", n)
		m.answered("undone consume", err, want)
		_, err = in.Reserve(m.me, h.id.(partner.AccountID), "seat", license.MaxQuantity, 0)
		m.is(err, license.ErrInsufficient)
		return changed
	})
	if !errors.Is(err, changed) {
		m.t.Fatal(err)
	}
}

func (m *lotModel) reserve(t *rapid.T) {
	h, n := m.pick(t), few(t)
	list, want := m.want(h, h, n, false)
	expires := m.soon(t)
	r, err := m.seats.Reserve(m.me, h.id.(partner.AccountID), "seat", n, expires.Sub(m.clock.Now()))
	if !m.answered("reserve", err, want) {
		return
	}
	shift(list, h.held, nil)
	h.reserved += n
	m.apart = append(m.apart, &apart{r, h, list, true})
	for _, l := range list {
		if u := l.Valid.Until; !u.IsZero() && u.Before(expires) {
			expires = u
		}
	}
	if d := r.Expires.Sub(expires); d < 0 || d > time.Second {
		m.t.Fatalf("reserved until %v, want %v", r.Expires, expires)
	}
}

func (m *lotModel) finish(t *rapid.T) {
	if len(m.apart) == 0 {
		return
	}
	m.pass(m.clock.Now())
	r := m.apart[len(m.apart)-1]
	if rapid.Bool().Draw(t, "any") {
		r = rapid.SampledFrom(m.apart).Draw(t, "reservation")
	}
	m.touch(r.of)
	var want error
	if !r.open {
		want = license.ErrReservationDone
	}
	if rapid.Bool().Draw(t, "post") {
		tr, err := m.seats.Post(m.me, r.ID)
		if m.answered("post", err, want) {
			shift(r.lots, nil, r.of.consumed)
			r.open, r.of.reserved = false, r.of.reserved-r.Quantity
			m.tookLots(tr, r.lots, r.of.reserved, total(r.of.consumed))
			m.done = append(m.done, &done{first: tr, from: r.of, to: r.of})
		}
		return
	}
	tr, err := m.seats.Void(m.me, r.ID)
	if m.answered("void", err, want) {
		m.free(r)
		m.tookLots(tr, r.lots, r.of.reserved, total(r.of.held))
	}
}
