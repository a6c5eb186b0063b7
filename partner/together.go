package partner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Verdict is what was decided about a call: its Standing, or the error that it answers. Busy means that it was not looked at, because
// somebody holds what the decision rests on.
type Verdict struct {
	Standing *Standing
	Err      error
	Busy     bool
}

// work is what a sibling room does for calls that were decided on together. Ahead is told the verdicts that memory gives, if it gives all of
// them, before any gate has been passed; it may put off statements that lock and read. When Do is told the verdicts, some of those may
// have become Busy; if memory was out of date, the transaction is undone and runs again, without Ahead. Again comes before each time that it
// runs again. Done comes after the commit.
type work interface {
	Ahead(*store.Tx, []Verdict) error
	Do(*store.Tx, []Verdict) error
	Again()
	Done() error
}

// WriteAll is Write for several calls in one transaction on ctx, each decided on by its own actor, by the same function. It is for calls
// that change no row of their target.
func (r *Registry) WriteAll(ctx context.Context, asks []Ask, how store.Manner, w work) error {
	var g *gathering
	trusting := true
	again := func() error {
		if how == store.Guessing {
			return store.ErrOutdated
		}
		w.Again()
		return nil
	}
	err := store.Repeating(ctx, r.db, again, func(tx *store.Tx) error {
		way := gathering{passing: how != store.Waiting, guessing: how == store.Guessing}
		if trusting && way.passing {
			way.ahead = w.Ahead
		}
		var err error
		if g, err = r.gather(tx, asks, way); err != nil {
			trusting = trusting && !errors.Is(err, errOutdated)
			return err
		}
		if how == store.Waiting {
			if err := g.touch(); err != nil {
				return err
			}
		}
		err = w.Do(tx, g.verdicts)
		if how == store.Passing && errors.Is(err, store.ErrAgain) {
			err = errHeldUp // trying again would be waiting
		}
		return err
	})
	if err != nil {
		return err
	}
	g.learn()
	return w.Done()
}

// errOutdated is memory that no longer holds: the transaction runs again.
var errOutdated = fmt.Errorf("what was remembered has changed: %w", store.ErrAgain)

var errHeldUp = fail.New(fail.Unavailable, "held up by another transaction")

// gather passes the gates of calls and decides on each, until the gates are those of what the decisions rest on; where nobody is waited for,
// a call without all its gates is busy.
func (r *Registry) gather(tx *store.Tx, asks []Ask, how gathering) (*gathering, error) {
	g := &how
	g.reg, g.tx, g.asks, g.facts = r, tx, asks, make([]facts, len(asks))
	for round := range gateRounds {
		g.verdicts, g.fresh = make([]Verdict, len(asks)), newPicture()
		for i, ask := range asks {
			g.facts[i].actor, g.verdicts[i].Err = actorOf(ask.Context)
		}
		if err := g.enter(round == 0); err != nil || g.guessing {
			return g, err
		}
		covered := true
		for i := range asks {
			covered = g.settle(i) && covered
		}
		if covered || g.passing {
			return g, nil
		}
	}
	return nil, store.ErrAgain
}

// learn remembers what was read, once the transaction has committed something: see [known.learn].
func (g *gathering) learn() {
	recorded := func(v Verdict) bool { return v.Standing != nil && v.Standing.recorded }
	if !store.Joined(g.reg.db) && slices.ContainsFunc(g.verdicts, recorded) {
		g.reg.known.learn(g.at, &g.fresh)
	}
}

// settle makes the verdict on a call final; false if it has not passed all its gates.
func (g *gathering) settle(i int) bool {
	v, f := &g.verdicts[i], &g.facts[i]
	if v.Err != nil && !g.known[i] { // it has no actor
		return true
	}
	if !g.known[i] {
		*f = g.reg.asked(g.tx, f.actor, g.asks[i])
		g.read.complete(f)
	}
	if !g.passed.cover(g.tx, f, g.crowd) {
		*v = Verdict{Busy: true}
		return false
	}
	if g.known[i] {
		return true
	}
	if g.crowd == nil {
		g.fresh.add(&g.read, f)
	}
	g.decide(i)
	return true
}

// decide asks the one policy function about a call.
func (g *gathering) decide(i int) {
	v, f, ask := &g.verdicts[i], &g.facts[i], &g.asks[i]
	s, found := &Standing{facts: f, reg: g.reg}, decide(f, ask.Action)
	switch {
	case found.state && ask.Keyed:
		s.state = found.err
	case found.err != nil:
		v.Err = found.err
		return
	case g.passing && s.stale():
		v.Busy = true
		return
	}
	v.Standing = s
}

// touch keeps the sessions of calls that waited from running idle.
func (g *gathering) touch() error {
	touched := map[string]bool{}
	for _, v := range g.verdicts {
		if v.Standing == nil || !v.Standing.stale() || touched[v.Standing.Session.ID] {
			continue
		}
		touched[v.Standing.Session.ID] = true
		if err := v.Standing.touch(g.tx); err != nil {
			return err
		}
	}
	return nil
}

// Joined tells a sibling room whether the Registry works inside a host's transaction, where calls are not put together.
func (r *Registry) Joined() bool { return store.Joined(r.db) }

// NewKey makes an idempotency key for a call that came without one.
func (r *Registry) NewKey() string {
	return store.NewID("key", store.Now(r.db), func(b []byte) { store.Random(r.db, b) })
}

var (
	eventColumns = store.ColumnsOf("id TEXT", "kind TEXT", "actor TEXT", "partner TEXT", "account TEXT", "target TEXT", "changed TEXT")
	// Most of a commit's events are of one kind, and most of those one user's, each about the project that it was done to; a list costs by
	// its columns.
	alikeEventColumns = store.ColumnsOf("id TEXT", "actor TEXT", "partner TEXT", "account TEXT", "target TEXT")
	ownEventColumns   = store.ColumnsOf("id TEXT", "target TEXT")
)

const (
	insertEvents      = "INSERT INTO prm_events (id, at, kind, actor, subject, partner_id, account_id, target, changed) "
	selectEvents      = insertEvents + "SELECT x.id, ?, x.kind, x.actor, x.actor, x.partner, x.account, x.target, x.changed FROM "
	selectAlikeEvents = insertEvents + "SELECT x.id, ?, ?, x.actor, x.actor, x.partner, x.account, x.target, ? FROM "
	selectOwnEvents   = insertEvents + "SELECT x.id, ?, ?, ?, ?, ?, x.target, x.target, ? FROM "
)

// RecordAll is [Standing.Record] for n deeds of one transaction, each of an allowed call. It goes to the database with the next statement,
// or at the end.
func (r *Registry) RecordAll(tx *store.Tx, n int, deed func(i int) (s *Standing, kind, target, changed string)) error {
	if n == 0 {
		return nil
	}
	rows := make([]eventRow, n)
	alike, own := true, true
	for i := range rows {
		s, kind, target, changed := deed(i)
		rows[i] = s.event(tx, kind, target)
		rows[i].Changed = changed
		s.recorded = true
		e, first := &rows[i], &rows[0]
		alike = alike && e.Kind == first.Kind && e.Changed == first.Changed
		own = own && e.Actor == first.Actor && e.PartnerID == first.PartnerID && e.AccountID != nil && *e.AccountID == e.Target
	}
	first := &rows[0]
	switch {
	case alike && own:
		list := tx.Rows(ownEventColumns)
		for _, e := range rows {
			list.Add(e.ID, e.Target)
		}
		return tx.Later(decided, nil, selectOwnEvents+list.SQL(),
			append([]any{tx.Now(), first.Kind, first.Actor, first.Actor, first.PartnerID, first.Changed}, list.Args()...)...)
	case alike:
		list := tx.Rows(alikeEventColumns)
		for _, e := range rows {
			list.Add(e.ID, e.Actor, e.PartnerID, nullable(e.AccountID), e.Target)
		}
		return tx.Later(decided, nil, selectAlikeEvents+list.SQL(), append([]any{tx.Now(), first.Kind, first.Changed}, list.Args()...)...)
	}
	list := tx.Rows(eventColumns)
	for _, e := range rows {
		list.Add(e.ID, e.Kind, e.Actor, e.PartnerID, nullable(e.AccountID), e.Target, e.Changed)
	}
	return tx.Later(decided, nil, selectEvents+list.SQL(), append([]any{tx.Now()}, list.Args()...)...)
}

// nullable is a text, or nil.
func nullable(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}
