package license

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Grant makes n licences in a partner's pool, with [Valid] as a lot of their own; vendor only. [partner.ErrNotFound];
// *[partner.BlockedError] for an archived partner; a field error on "sku" if the type is unknown ("unknown_code",
// [partner.ErrUnknownCode]) or retired ("retired_code").
func (l *Ledger) Grant(ctx context.Context, to partner.ID, sku string, n int64, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "grant %d %s to %s", n, sku, to)
	w, faults := newWrite("grant", sku, n, string(to), o)
	ask := partner.Ask{Action: "license.grant", Target: string(to)}
	return l.run(ctx, &move{write: w, ask: ask, route: func(tx *store.Tx, _ *partner.Standing) (from, to2 ledger.End, err error) {
		return ledger.HeldBy(ledger.Issuer), ledger.HeldBy(string(to)), mustBeCurrent(tx, sku)
	}}, faults)
}

// Revoke takes n licences back from a pool or a project, also such as are not valid yet; vendor only. *[InsufficientError];
// [ErrShrinkPlanRequired] if seats would lose their licence.
func (l *Ledger) Revoke(ctx context.Context, from partner.Holder, sku string, n int64, o ...Option) (t Transfer, err error) {
	target := idOf(from)
	defer wrap(&err, "revoke %d %s from %s", n, sku, target)
	w, faults := newWrite("revoke", sku, n, target, o)
	ask := partner.Ask{Action: "license.revoke", Target: target}
	return l.run(ctx, &move{write: w, ask: ask, route: func(tx *store.Tx, _ *partner.Standing) (from2, to ledger.End, err error) {
		return ledger.HeldBy(target), ledger.HeldBy(ledger.Issuer), mustExist(tx, sku)
	}}, faults)
}

// Assign moves n licences to a project, whole or not at all, from where the caller's session works: its organisation's pool, or the
// project it has switched into. Partner users. *[InsufficientError] with what there is; *[partner.QuotaError] over the project's cap;
// [ErrShrinkPlanRequired] if seats would lose their licence; [ErrWrongContext] if [From] names another source; [partner.ErrNotFound]
// for a project of another organisation; *[partner.BlockedError] if either project is closing, [partner.ErrSuspended] if one is
// suspended.
//
// Concurrent callers share a commit. A caller whose context ends while its move is on the way gets [partner.ErrOutcomeUnknown] with the
// key in the Transfer: the same call with that key tells what became of it.
func (l *Ledger) Assign(ctx context.Context, to partner.AccountID, sku string, n int64, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "assign %d %s to %s", n, sku, to)
	m, faults := newAssign(to, sku, n, o)
	return l.run(ctx, m, faults)
}

func newAssign(to partner.AccountID, sku string, n int64, o []Option) (*move, []partner.FieldError) {
	w, faults := newWrite("assign", sku, n, string(to), o)
	m := &move{write: w, ask: partner.Ask{Action: "license.assign", Target: string(to)}, shared: true}
	m.route = func(_ *store.Tx, s *partner.Standing) (from, dest ledger.End, err error) {
		source, err := m.source(s)
		if err == nil && source == string(to) {
			err = invalid("to", "range", "is where the licences are already")
		}
		return ledger.HeldBy(source), ledger.HeldBy(string(to)), err
	}
	return m, faults
}

// Return moves n licences from the project the session has switched into back to its organisation's pool. Partner users.
// [ErrWrongContext] if it has not switched; else as Assign.
func (l *Ledger) Return(ctx context.Context, sku string, n int64, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "return %d %s", n, sku)
	w, faults := newWrite("return", sku, n, "", o)
	m := &move{write: w, ask: partner.Ask{Action: "license.return"}, shared: true}
	m.route = func(_ *store.Tx, s *partner.Standing) (from, to ledger.End, err error) {
		source, err := m.source(s)
		pool := s.Of().String()
		if err == nil && source == pool {
			err = ErrWrongContext
		}
		return ledger.HeldBy(source), ledger.HeldBy(pool), err
	}
	return l.run(ctx, m, faults)
}

// source is where the session works, if that is what the caller asserts and it belongs to the target's organisation.
func (w write) source(s *partner.Standing) (string, error) {
	working, of, err := s.Working()
	switch {
	case err != nil:
		return "", err
	case w.from != nil && w.from != working:
		return "", ErrWrongContext
	case of != s.Of():
		return "", partner.ErrNotFound
	}
	return working.String(), s.Movable()
}

// idOf is a holder's id, also of a nil one.
func idOf(h partner.Holder) string {
	switch id := h.(type) {
	case partner.ID:
		return id.String()
	case partner.AccountID:
		return id.String()
	}
	return "" // nil, or a pointer to one
}
