package license

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Grant makes n licences in a partner's pool; vendor only. [partner.ErrNotFound]; *[partner.BlockedError] for an archived partner; a field
// error on "sku" if the type is unknown ("unknown_code", [partner.ErrUnknownCode]) or retired ("retired_code").
func (l *Ledger) Grant(ctx context.Context, to partner.ID, sku string, n int64, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "grant %d %s to %s", n, sku, to)
	w, faults := newWrite("grant", sku, n, string(to), o)
	return l.run(ctx, w, faults, partner.Ask{Action: "license.grant", Target: string(to)}, func(tx *store.Tx, _ *partner.Standing) (string, string, error) {
		return ledger.Issuer, string(to), mustBeCurrent(tx, sku)
	})
}

// Revoke takes n licences back from a pool or a project; vendor only. *[InsufficientError].
func (l *Ledger) Revoke(ctx context.Context, from partner.Holder, sku string, n int64, o ...Option) (t Transfer, err error) {
	target := idOf(from)
	defer wrap(&err, "revoke %d %s from %s", n, sku, target)
	w, faults := newWrite("revoke", sku, n, target, o)
	return l.run(ctx, w, faults, partner.Ask{Action: "license.revoke", Target: target}, func(tx *store.Tx, _ *partner.Standing) (string, string, error) {
		return target, ledger.Issuer, mustExist(tx, sku)
	})
}

// Assign moves n licences to a project, whole or not at all, from where the caller's session works: its organisation's pool, or the
// project it has switched into. Partner users. *[InsufficientError] with what there is; [ErrWrongContext] if [From] names another source;
// [partner.ErrNotFound] for a project of another organisation; *[partner.BlockedError] if either project is closing,
// [partner.ErrSuspended] if one is suspended.
func (l *Ledger) Assign(ctx context.Context, to partner.AccountID, sku string, n int64, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "assign %d %s to %s", n, sku, to)
	w, faults := newWrite("assign", sku, n, string(to), o)
	return l.run(ctx, w, faults, partner.Ask{Action: "license.assign", Target: string(to)}, func(tx *store.Tx, s *partner.Standing) (string, string, error) {
		from, err := w.source(s)
		if err != nil {
			return "", "", err
		}
		if from == string(to) {
			return "", "", &partner.ValidationError{Fields: []partner.FieldError{{Path: "to", Code: "range", Message: "is where the licences are already"}}}
		}
		return from, string(to), mustExist(tx, sku)
	})
}

// Return moves n licences from the project the session has switched into back to its organisation's pool. Partner users.
// [ErrWrongContext] if it has not switched; else as Assign.
func (l *Ledger) Return(ctx context.Context, sku string, n int64, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "return %d %s", n, sku)
	w, faults := newWrite("return", sku, n, "", o)
	return l.run(ctx, w, faults, partner.Ask{Action: "license.return"}, func(tx *store.Tx, s *partner.Standing) (string, string, error) {
		from, err := w.source(s)
		if err != nil {
			return "", "", err
		}
		pool := s.Of().String()
		if from == pool {
			return "", "", ErrWrongContext
		}
		return from, pool, mustExist(tx, sku)
	})
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
