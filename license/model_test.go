package license_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"pgregory.net/rapid"
)

// model is what the ledger should be: plain maps, one step after the other.
type model struct {
	*world
	sides  []*modelSide
	issued int64 // granted and not revoked, over all
	n      int
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

// newModel builds two partners with two projects each on the database of w; every run has names of its own.
func newModel(t *rapid.T, w *world, run int) *model {
	own := *w
	own.t = rapidTB{TB: w.t, rapid: t}
	m := &model{world: &own}
	for i := range 2 {
		s := &modelSide{side: m.partner(fmt.Sprintf("m%d-%d", run, i))}
		m.sides = append(m.sides, s)
		for range 2 {
			m.open(s)
		}
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
	if want == nil && err != nil || want != nil && (!errors.Is(err, want) || len(kindsOf(err)) != 1) {
		m.t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func (m *model) side(t *rapid.T) *modelSide { return rapid.SampledFrom(m.sides).Draw(t, "side") }

func (s *modelSide) pick(t *rapid.T) *modelProject {
	return rapid.SampledFrom(s.projects).Draw(t, "project")
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
		p := s.pick(t)
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
	to := s.pick(t)
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
	want := s.refusal()
	if want == nil {
		want = partner.ErrNotFound
	}
	_, err := m.seats.Assign(s.me, other.pick(t).id, "seat", 1)
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
	p, want := s.pick(t), s.refusal()
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
	p, want := s.pick(t), s.refusal()
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
	}
}

func (m *model) suspend(t *rapid.T) { m.shift(t, m.reg.Accounts.Suspend, "active", "suspended") }
func (m *model) resume(t *rapid.T)  { m.shift(t, m.reg.Accounts.Resume, "suspended", "active") }

func (m *model) shift(t *rapid.T, call func(context.Context, partner.AccountID) error, from, to string) {
	p := m.side(t).pick(t)
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
	if err != nil || !reflect.DeepEqual(got, was) {
		t.Fatalf("replay of %s: %+v, %v; want %+v", was.Verb, got, err, was)
	}
}

// check holds every balance against the oracle.
func (m *model) check(*rapid.T) {
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
	m.sound()
}

// TestBEY12_StateMachine plays random worlds against the oracle. More of them: -rapid.checks=1000.
func TestBEY12_StateMachine(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db)
		w.define("seat")
		run := 0
		rapid.Check(t, func(t *rapid.T) {
			run++
			m := newModel(t, w, run)
			t.Repeat(map[string]func(*rapid.T){
				"grant": m.grant, "revoke": m.revoke, "assign": m.assign, "assign ": m.assign, "assign foreign": m.assignForeign, "return": m.giveBack,
				"switch": m.switchTo, "back": m.switchBack, "close": m.closeOne, "suspend": m.suspend, "resume": m.resume, "block": m.block,
				"unblock": m.unblock, "replay": m.replay, "": m.check,
			})
		})
	})
}
