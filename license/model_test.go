package license_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"pgregory.net/rapid"
)

// model is what the ledger should be: plain maps, one step after the other.
type model struct {
	*world
	*tally
	sides   []*modelSide
	issued  int64 // granted and not revoked, over all
	n       int
	touched []modelBook // by the step that was last
}

// modelBook is what a holder should have.
type modelBook struct {
	of   partner.Holder
	held *int64
}

type modelSide struct {
	side
	pool     int64
	projects []*modelProject
	active   *modelProject
	blocked  bool
	ended    bool // the session died with a block
	calls    []modelCall
}

type modelProject struct {
	id    partner.AccountID
	held  int64
	state string // "active", "suspended", "closing"
}

// modelCall is a keyed write that was answered: it must be answered so for ever.
type modelCall struct {
	first license.Transfer
	again func(context.Context) (license.Transfer, error)
	byUs  bool // by the vendor
}

// newModel builds two partners with two projects each on the database of w; every world has names of its own.
func newModel(t *rapid.T, w *world, y *tally) *model {
	own := *w
	own.t = rapidTB{TB: w.t, rapid: t}
	m := &model{world: &own, tally: y}
	for i := range 2 {
		s := &modelSide{side: m.partner(fmt.Sprintf("m%d-%d", y.worlds, i))}
		m.sides = append(m.sides, s)
		for range 2 {
			m.open(s)
		}
		// Something to move, or a short world is one of refusals.
		m.world.grant(s.ID, "seat", 30)
		m.world.assign(s.me, s.projects[0].id, "seat", 10)
		s.pool, s.projects[0].held, m.issued = 20, 10, m.issued+30
	}
	return m
}

// rapidTB lets the world's helpers fail the run of rapid, which then shrinks it.
type rapidTB struct {
	testing.TB
	rapid *rapid.T
}

func (r rapidTB) Fatalf(format string, args ...any) { r.rapid.Fatalf(format, args...) }
func (r rapidTB) Fatal(args ...any)                 { r.rapid.Fatal(args...) }

func (m *model) open(s *modelSide) {
	m.n++
	s.projects = append(s.projects, &modelProject{id: m.project(s.me, fmt.Sprintf("%s-p%d", s.Login, m.n)), state: "active"})
}

// refusal is what bars every call of a side's session.
func (s *modelSide) refusal() error {
	switch {
	case s.blocked:
		return partner.ErrBlocked
	case s.ended:
		return partner.ErrForbidden
	}
	return nil
}

// expect fails unless err is what the oracle wants, nil included.
func (m *model) expect(what string, err, want error) {
	m.t.Helper()
	m.count(what, want)
	if want == nil && err != nil || want != nil && (!errors.Is(err, want) || len(kindsOf(err)) != 1) {
		m.t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func (m *model) side(t *rapid.T) *modelSide {
	s := rapid.SampledFrom(m.sides).Draw(t, "side")
	m.touches(s)
	return s
}

// touches notes what a call of a side's session may move.
func (m *model) touches(s *modelSide) {
	m.touched = append(m.touched, modelBook{s.ID, &s.pool})
	if s.active != nil {
		m.touched = append(m.touched, modelBook{s.active.id, &s.active.held})
	}
}

func (m *model) pick(t *rapid.T, s *modelSide) *modelProject {
	p := rapid.SampledFrom(s.projects).Draw(t, "project")
	if book := (modelBook{p.id, &p.held}); !slices.Contains(m.touched, book) {
		m.touched = append(m.touched, book)
	}
	return p
}

func quantity(t *rapid.T) int64 { return rapid.Int64Range(1, 12).Draw(t, "n") }

func (m *model) grant(t *rapid.T) {
	s, n := m.side(t), quantity(t)
	m.n++
	key := license.Key(fmt.Sprint("g", m.n))
	again := func(context.Context) (license.Transfer, error) { return m.seats.Grant(m.vendor, s.ID, "seat", n, key) }
	tr, err := again(nil)
	m.expect("grant", err, nil)
	s.pool, m.issued = s.pool+n, m.issued+n
	s.calls = append(s.calls, modelCall{tr, again, true})
}

func (m *model) revoke(t *rapid.T) {
	s, n := m.side(t), quantity(t)
	holder, held := partner.Holder(s.ID), &s.pool
	if rapid.Bool().Draw(t, "of a project") {
		p := m.pick(t, s)
		holder, held = p.id, &p.held
	}
	_, err := m.seats.Revoke(m.vendor, holder, "seat", n)
	var want error
	if *held < n {
		want = license.ErrInsufficient
	} else {
		*held -= n
		m.issued -= n
	}
	m.expect("revoke", err, want)
}

// movable is why nothing may leave where the session works; nil if it may.
func (s *modelSide) movable() error {
	switch {
	case s.active == nil || s.active.state == "active":
		return nil
	case s.active.state == "closing":
		return partner.ErrBlocked
	}
	return partner.ErrSuspended
}

func (m *model) assign(t *rapid.T) {
	s, n := m.side(t), quantity(t)
	to := m.pick(t, s)
	m.n++
	key := license.Key(fmt.Sprint("a", m.n))
	again := func(me context.Context) (license.Transfer, error) { return m.seats.Assign(me, to.id, "seat", n, key) }
	tr, err := again(s.me)
	source := &s.pool
	if s.active != nil {
		source = &s.active.held
	}
	want := s.refusal()
	switch {
	case want != nil:
	case to.state == "closing":
		want = partner.ErrBlocked
	case to.state == "suspended":
		want = partner.ErrSuspended
	case s.movable() != nil:
		want = s.movable()
	case s.active == to:
		want = partner.ErrInvalid
	case *source < n:
		want = license.ErrInsufficient
	default:
		*source -= n
		to.held += n
		s.calls = append(s.calls, modelCall{tr, again, false})
	}
	m.expect("assign", err, want)
}

func (m *model) assignForeign(t *rapid.T) {
	k := rapid.IntRange(0, 1).Draw(t, "side")
	s, other := m.sides[k], m.sides[1-k]
	m.touches(s)
	want := s.refusal()
	if want == nil {
		want = partner.ErrNotFound
	}
	_, err := m.seats.Assign(s.me, m.pick(t, other).id, "seat", 1)
	m.expect("assign to a foreign project", err, want)
}

func (m *model) giveBack(t *rapid.T) {
	s, n := m.side(t), quantity(t)
	m.n++
	key := license.Key(fmt.Sprint("r", m.n))
	again := func(me context.Context) (license.Transfer, error) { return m.seats.Return(me, "seat", n, key) }
	tr, err := again(s.me)
	want := s.refusal()
	switch {
	case want != nil:
	case s.movable() != nil:
		want = s.movable()
	case s.active == nil:
		want = license.ErrWrongContext
	case s.active.held < n:
		want = license.ErrInsufficient
	default:
		s.active.held -= n
		s.pool += n
		s.calls = append(s.calls, modelCall{tr, again, false})
	}
	m.expect("return", err, want)
}

func (m *model) switchTo(t *rapid.T) {
	s := m.side(t)
	p, want := m.pick(t, s), s.refusal()
	switch {
	case want != nil:
	case p.state == "closing":
		want = partner.ErrBlocked
	default:
		s.active = p
	}
	m.expect("switch", m.reg.Access.SwitchTo(s.me, p.id), want)
}

func (m *model) switchBack(t *rapid.T) {
	s := m.side(t)
	want := s.refusal()
	if want == nil {
		s.active = nil
	}
	m.expect("switch back", m.reg.Access.SwitchBack(s.me), want)
}

func (m *model) closeOne(t *rapid.T) {
	s := m.side(t)
	p, want := m.pick(t, s), s.refusal()
	closed, err := m.reg.Accounts.Close(s.me, p.id)
	switch {
	case want != nil:
	case p.state == "closing":
		want = partner.ErrBadTransition
	default:
		if closed.Licenses["seat"] != p.held {
			t.Fatalf("close returned %v, want %d", closed.Licenses, p.held)
		}
		s.pool += p.held
		p.held, p.state = 0, "closing"
	}
	m.expect("close", err, want)
	if want == nil {
		m.open(s) // there is always something to do
		if m.long {
			s.forget(p)
		}
	}
}

// forget lets the closed projects go but for the last one, which becomes last: a long world would else be one of closed projects. Their books
// stay under Verify.
func (s *modelSide) forget(last *modelProject) {
	s.projects = append(slices.DeleteFunc(s.projects, func(p *modelProject) bool { return p.state == "closing" }), last)
}

func (m *model) suspend(t *rapid.T) { m.shift(t, m.reg.Accounts.Suspend, "active", "suspended") }
func (m *model) resume(t *rapid.T)  { m.shift(t, m.reg.Accounts.Resume, "suspended", "active") }

func (m *model) shift(t *rapid.T, call func(context.Context, partner.AccountID) error, from, to string) {
	p := m.pick(t, m.side(t))
	var want error
	if p.state != from {
		want = partner.ErrBadTransition
	} else {
		p.state = to
	}
	m.expect(to, call(m.vendor, p.id), want)
}

func (m *model) block(t *rapid.T) {
	s := m.side(t)
	m.expect("block", m.reg.Partners.Block(m.vendor, s.ID, false), nil)
	s.blocked, s.ended = true, true
}

// unblock lifts the block and logs in anew: the old session stays dead.
func (m *model) unblock(t *rapid.T) {
	s := m.side(t)
	m.expect("unblock", m.reg.Partners.Unblock(m.vendor, s.ID), nil)
	if !s.blocked {
		return
	}
	s.blocked = false
	m.expect("the old session", second(m.seats.Mine(s.me)), partner.ErrForbidden)
	s.me, s.ended, s.active = m.login(s.Login), false, nil
}

func second[T any](_ T, err error) error { return err }

// replay repeats an old call, whatever has happened since.
func (m *model) replay(t *rapid.T) {
	s := m.side(t)
	if len(s.calls) == 0 {
		return
	}
	c := s.calls[rapid.IntRange(0, len(s.calls)-1).Draw(t, "call")]
	got, err := c.again(s.me)
	if want := s.refusal(); want != nil && !c.byUs {
		m.expect("replay", err, want)
		return
	}
	working := partner.Holder(s.ID)
	if s.active != nil {
		working = s.active.id
	}
	if closing := s.active != nil && s.active.state == "closing"; !c.byUs && !closing && working != c.first.From {
		m.expect("replay from elsewhere", err, partner.ErrIdempotencyMismatch)
		return
	}
	was := c.first
	was.Replayed = true
	m.count("replay", nil)
	if err != nil || !reflect.DeepEqual(got, was) {
		t.Fatalf("replay of %s: %+v, %v; want %+v", was.Verb, got, err, was)
	}
}

// check holds the books against the oracle: all of them and all of history, or as much as the step of a long world is looked at.
func (m *model) check(*rapid.T) {
	how := m.stepped()
	if how == glance {
		for _, b := range m.touched {
			m.has(b.of, "seat", *b.held)
		}
	} else {
		m.compare()
	}
	if how == verify {
		m.sound()
	}
	m.touched = m.touched[:0]
}

// compare holds every balance against the oracle.
func (m *model) compare() {
	total := int64(0)
	for _, s := range m.sides {
		m.has(s.ID, "seat", s.pool)
		total += s.pool
		for _, p := range s.projects {
			m.has(p.id, "seat", p.held)
			total += p.held
		}
	}
	if total != m.issued {
		m.t.Fatalf("%d are held, %d were issued", total, m.issued)
	}
}

// TestBEY12_StateMachine plays random worlds against the oracle. More of them: -rapid.checks=1000. PARTNERKIT_MODEL_OPERATIONS plays long
// ones, see playWorlds.
func TestBEY12_StateMachine(t *testing.T) {
	playWorlds(t, func(t *rapid.T, w *world, y *tally) {
		y.worlds++
		m := newModel(t, w, y)
		// What bars calls must end oftener than it begins, or little gets done; rapid prefers what is first in order.
		t.Repeat(map[string]func(*rapid.T){
			" unblock": m.unblock, " resume": m.resume, "  resume": m.resume, " switch": m.switchTo,
			" grant": m.grant, " assign": m.assign, "  assign": m.assign, "   assign": m.assign, " return": m.giveBack, "  return": m.giveBack,
			"grant": m.grant, "revoke": m.revoke, "assign foreign": m.assignForeign, "return": m.giveBack,
			"switch": m.switchTo, "back": m.switchBack, "close": m.closeOne, "suspend": m.suspend, "resume": m.resume, "block": m.block,
			"unblock": m.unblock, "replay": m.replay, "": m.check,
		})
		m.compare()
		m.sound()
	})
}
