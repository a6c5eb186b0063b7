package partner

import (
	"context"
	"errors"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Call is one of several calls that are decided on together: who acts is in Context. It is for the sibling rooms; see
// [Registry.WriteAll].
type Call struct {
	Context context.Context
	Ask     Ask
}

// Verdict is what was decided about a call: its Standing, or the error that it answers. Busy means that it was not looked at, because
// somebody holds what the decision rests on.
type Verdict struct {
	Standing *Standing
	Err      error
	Busy     bool
}

// WriteAll is Write for several calls in one transaction on ctx, each decided on by its own actor, by the same function. It is for calls
// that change no row of their target. Where passing is set nobody is waited for: what is held comes back Busy, as does whatever the set
// cannot answer for sure; a Write of its own does.
func (r *Registry) WriteAll(ctx context.Context, calls []Call, passing bool, do func(*store.Tx, []Verdict) error) error {
	return store.InTx(ctx, r.db, func(tx *store.Tx) error {
		g := gathering{reg: r, tx: tx, calls: calls, passing: passing, actors: make([]actor, len(calls))}
		if err := g.decideAll(); err != nil {
			return err
		}
		verdicts := g.verdicts
		if !passing {
			if err := g.touch(); err != nil {
				return err
			}
		}
		err := do(tx, verdicts)
		if passing && errors.Is(err, store.ErrAgain) {
			err = errHeldUp // trying again would be waiting
		}
		return err
	})
}

var errHeldUp = fail.New(fail.Unavailable, "held up by another transaction")

// decideAll passes the gates of the calls and decides on each, until the gates are those of what the decisions rest on; where nobody is
// waited for, a call without all its gates is busy.
func (g *gathering) decideAll() error {
	for range gateRounds {
		g.verdicts = make([]Verdict, len(g.calls))
		for i, c := range g.calls {
			g.actors[i], g.verdicts[i].Err = actorOf(c.Context)
		}
		if err := g.passGates(); err != nil {
			return err
		}
		if err := g.read(); err != nil {
			return err
		}
		covered := true
		for i := range g.calls {
			covered = g.decide(i) && covered
		}
		if covered || g.passing {
			return nil
		}
	}
	return store.ErrAgain
}

// decide asks the one policy function about a call; false if the call has not passed all its gates.
func (g *gathering) decide(i int) bool {
	v := &g.verdicts[i]
	if v.Err != nil {
		return true
	}
	f := g.facts(i)
	if !g.passed.cover(g.tx, f, g.crowd) {
		v.Busy = true
		return false
	}
	s, found := &Standing{facts: f, reg: g.reg}, decide(f, g.calls[i].Ask.Action)
	switch {
	case found.state && g.calls[i].Ask.Keyed:
		s.state = found.err
	case found.err != nil:
		v.Err = found.err
		return true
	case g.passing && s.stale():
		v.Busy = true
		return true
	}
	v.Standing = s
	return true
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

// Deed is an audit row to be, of an allowed call; see [RecordAll].
type Deed struct {
	Standing *Standing
	Kind     string
	Target   string
	Changed  string
}

var eventColumns = store.ColumnsOf("id TEXT", "kind TEXT", "actor TEXT", "partner TEXT", "account TEXT", "target TEXT", "changed TEXT")

// RecordAll is Standing.Record for several calls of one transaction.
func RecordAll(tx *store.Tx, events []Deed) error {
	if len(events) == 0 {
		return nil
	}
	list := tx.Rows(eventColumns)
	for _, e := range events {
		row := e.Standing.event(tx, e.Kind, e.Target)
		var account any
		if row.AccountID != nil {
			account = *row.AccountID
		}
		list.Add(row.ID, row.Kind, row.Actor, row.PartnerID, account, row.Target, e.Changed)
	}
	_, err := tx.Exec(decided, `INSERT INTO prm_events (id, at, kind, actor, subject, partner_id, account_id, target, changed)
		SELECT x.id, ?, x.kind, x.actor, x.actor, x.partner, x.account, x.target, x.changed FROM `+list.SQL(),
		append([]any{tx.Now()}, list.Args()...)...)
	return err
}
