package license_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"pgregory.net/rapid"
)

func (m *lotModel) sit(t *rapid.T) {
	h, person := m.pick(t), rapid.SampledFrom(strings.Fields("ann bob cid Ann BOB")).Draw(t, "person")
	now := m.clock.Now()
	m.pass(now)
	var want error
	sitting := func(s license.Seat) bool { return strings.EqualFold(s.Person, person) }
	has := slices.IndexFunc(h.seats, sitting)
	if has < 0 && m.usable(h, now) <= int64(len(h.seats)) {
		if want = license.ErrInsufficient; total(h.expired) > 0 {
			want = license.ErrExpired
		}
	}
	s, err := m.seats.Seat(m.me, h.id.(partner.AccountID), "seat", person)
	switch {
	case !m.answered("seat", err, want):
	case has < 0:
		h.seats = append(h.seats, s)
	case s != h.seats[has]:
		m.t.Fatalf("another seat %+v, had %+v", s, h.seats[has])
	}
}

func (m *lotModel) leave(t *rapid.T) {
	h := m.pick(t)
	m.pass(m.clock.Now())
	if len(h.seats) == 0 {
		return
	}
	s := rapid.SampledFrom(h.seats).Draw(t, "seat")
	m.must(m.seats.Unseat(m.me, s.ID))
	m.count("unseat", nil)
	m.answered("unseat again", m.seats.Unseat(m.me, s.ID), partner.ErrNotFound)
	h.seats = slices.DeleteFunc(h.seats, func(other license.Seat) bool { return other == s })
}

func (m *lotModel) limit(t *rapid.T) {
	h := m.pick(t)
	h.limit = rapid.Int64Range(-1, 25).Draw(t, "cap")
	if m.long && h.limit >= 0 {
		h.limit += total(h.consumed) // else a long world is one of full projects
	}
	m.count("cap", nil)
	m.must(m.seats.Cap(m.vendor, h.id.(partner.AccountID), "seat", h.limit))
	m.pass(m.clock.Now())
}

func (m *lotModel) shrink(t *rapid.T) {
	h, mode := m.pick(t), rapid.SampledFrom([]string{"newest", "oldest"}).Draw(t, "mode")
	now := m.clock.Now()
	m.pass(now)
	n := rapid.Int64Range(0, 8).Draw(t, "to")
	plan, err := m.seats.PlanShrink(m.me, h.id.(partner.AccountID), "seat", n, mode)
	has := m.usable(h, now)
	if n >= has {
		m.answered("plan", err, partner.ErrInvalid)
		return
	}
	m.must(err)
	go1 := max(0, len(h.seats)-int(n))
	gone := slices.Clone(h.seats[:go1])
	left := slices.Clone(h.seats[go1:])
	if mode == "newest" {
		left, gone = slices.Clone(h.seats[:len(h.seats)-go1]), slices.Clone(h.seats[len(h.seats)-go1:])
	}
	if !slices.Equal(plan.Remove, gone) || plan.Return != has-n {
		m.t.Fatalf("plan %+v, want %v to go", plan, gone)
	}
	list, _ := m.choose(h, has-n, false, now)
	tr, err := m.seats.ApplyShrink(m.me, plan)
	m.must(err)
	m.count("shrink", nil)
	shift(list, h.held, m.pool.held)
	h.seats = left
	m.tookLots(tr, list, total(h.held), total(m.pool.held))
}

func (m *lotModel) replay(t *rapid.T) {
	if len(m.done) == 0 {
		return
	}
	d := rapid.SampledFrom(m.done).Draw(t, "call")
	if d.again == nil {
		return
	}
	m.count("replay", nil)
	source := m.pool
	if d.from != nil && d.first.Verb == "assign" {
		source = d.from
	}
	m.in(source, func() {
		got, err := d.again(m.me)
		want := d.first
		want.Replayed = true
		if err != nil || !reflect.DeepEqual(got, want) {
			m.t.Fatalf("replay of %s: %+v, %v; want %+v", want.Verb, got, err, want)
		}
	})
	m.pass(m.clock.Now())
}

// correct undoes an assign, a consume or a post, if its units are where it left them.
func (m *lotModel) correct(t *rapid.T) {
	list := slices.DeleteFunc(slices.Clone(m.done), func(d *done) bool { return d.from == nil })
	if len(list) == 0 {
		return
	}
	d := rapid.SampledFrom(list).Draw(t, "transfer")
	m.touch(d.from)
	m.touch(d.to)
	now := m.clock.Now()
	m.pass(now)
	from, to := d.to.consumed, d.from.held
	if d.first.Verb == "assign" {
		from = d.to.held
	}
	var want error
	for _, l := range d.first.Lots {
		if from[l.ID] < l.Quantity {
			want = license.ErrInsufficient
		}
	}
	if want == nil && d.first.Verb == "assign" {
		want = m.may(d.to, d.from, d.first.Lots, now)
	}
	if d.corrected {
		want = partner.ErrBadTransition
	}
	tr, err := m.seats.Correct(m.vendor, d.first.ID)
	if m.answered("correct", err, want) {
		d.corrected = true
		shift(d.first.Lots, from, to)
		m.tookLots(tr, d.first.Lots, total(from), total(to))
		m.pass(m.clock.Now())
	}
}

// moments are when something is due after now, in order.
func (m *lotModel) moments(now time.Time) (list []time.Time) {
	add := func(at time.Time) {
		if at.After(now) {
			list = append(list, at)
		}
	}
	for _, p := range m.lots {
		add(p.From)
		add(p.Until)
	}
	for _, r := range m.apart {
		if r.open {
			add(r.Expires)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}

// tick lets time go on to the next due moment at the most; what was due before is written down.
func (m *lotModel) tick(t *rapid.T) {
	m.stepOn(t)
	now := m.clock.Now()
	m.pass(now)
	to := now.Add(time.Duration(rapid.IntRange(1, 45).Draw(t, "minutes")) * time.Minute)
	if due := m.moments(now); len(due) > 0 && due[0].Before(to) {
		to = due[0]
	}
	m.clock.Advance(to.Sub(now))
	m.me = m.login(m.name)
}

// stepOn has what is due written down.
func (m *lotModel) stepOn(*rapid.T) {
	m.step()
	m.count("step", nil)
}

// look is check after every third step of a short world, and as much of it as the step of a long one is looked at.
func (m *lotModel) look(t *rapid.T) {
	switch how := m.stepped(); {
	case !m.long && m.steps%3 != 0:
	case how == glance:
		now := m.clock.Now()
		m.pass(now)
		m.touch(m.pool)
		for _, h := range m.touched {
			m.books(h, now)
			m.seated(h)
		}
	default:
		m.check(t)
		if m.long && how == verify {
			m.sound()
		}
	}
	m.touched = m.touched[:0]
}

// books holds what one has against the oracle.
func (m *lotModel) books(h *hoard, now time.Time) {
	usable := m.usable(h, now)
	m.stands(h.id, "seat", license.Balance{Available: usable, Upcoming: total(h.held) - usable, Reserved: h.reserved, Consumed: total(h.consumed), Expired: total(h.expired)})
}

// check holds every balance and every seat against the oracle.
func (m *lotModel) check(*rapid.T) {
	now := m.clock.Now()
	m.pass(now)
	for _, h := range m.all() {
		m.books(h, now)
		m.seated(h)
	}
}

// seated holds who sits where against the oracle.
func (m *lotModel) seated(h *hoard) {
	if h == m.pool {
		return
	}
	var want []string
	for _, s := range h.seats {
		want = append(want, s.Person)
	}
	if got := m.sitting(h.id.(partner.AccountID), "seat"); got != strings.Join(want, " ") {
		m.t.Fatalf("sitting %q, want %q", got, want)
	}
}

// TestBEY16_BEY17_BEY18_BEY19_StateMachine plays lots, reservations, seats and caps against the oracle. More of them: -rapid.checks=1000.
// PARTNERKIT_MODEL_OPERATIONS plays long worlds, see playWorlds.
func TestBEY16_BEY17_BEY18_BEY19_StateMachine(t *testing.T) {
	playWorlds(t, func(t *rapid.T, w *world, y *tally) {
		if !y.long && rapid.IntRange(0, 2).Draw(t, "one in a few, for a world takes long") > 0 {
			return
		}
		y.worlds++
		m := newLotModel(t, w, y)
		for _, h := range m.projects {
			m.grant(t)
			m.grant(t)
			m.assignTo(t, m.pool, h)
		}
		t.Repeat(map[string]func(*rapid.T){
			"grant": m.grant, "revoke": m.revoke, "assign": m.assign, "assign ": m.assign, "return": m.giveBack, "consume": m.consume, "undone": m.undone,
			"reserve": m.reserve, "reserve ": m.reserve, "finish": m.finish, "finish ": m.finish, "seat": m.sit, "seat ": m.sit, "unseat": m.leave, "cap": m.limit, "shrink": m.shrink, "replay": m.replay,
			"correct": m.correct, "tick": m.tick, "tick ": m.tick, "step": m.stepOn, "": m.look,
		})
		m.check(t)
		if y.long || y.worlds%10 == 0 { // all worlds so far
			m.whole()
		}
	})
}
