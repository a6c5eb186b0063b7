package license

import (
	"context"
	"errors"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Explain tells what Assign would answer, and why; it writes nothing. The reasons are those of the access decision, then of the source,
// and then what the ledger itself would say: the balance, the cap, the seats.
func (l *Ledger) Explain(ctx context.Context, to partner.AccountID, sku string, n int64) (dec partner.Decision, err error) {
	defer wrap(&err, "explain assign to %s", to)
	m, faults := newAssign(to, sku, n, nil)
	if len(faults) > 0 {
		return dec, &partner.ValidationError{Fields: faults}
	}
	dec, err = l.reg.Access.Explain(ctx, "license.assign", string(to))
	if err != nil || !dec.Allowed {
		return dec, err
	}
	refuse := func(code, text string) {
		dec.Allowed = false
		dec.Reasons = append(dec.Reasons, partner.Reason{Code: code, Text: text})
	}
	err = l.reg.Read(ctx, partner.Ask{Action: "license.assign", Target: string(to)}, func(tx *store.Tx, s *partner.Standing) error {
		from, dest, err := m.route(tx, s)
		if err != nil {
			refuse("source", err.Error())
			return nil
		}
		p := m.posting(tx, s, from, dest)
		refusal := m.notDefined(tx, ledger.Try(tx, p))
		var over *ledger.Over
		switch {
		case refusal == nil:
			dec.Reasons = append(dec.Reasons, partner.Reason{Code: "balance", Text: "enough is available in " + from.Owner})
		case errors.Is(refusal, partner.ErrUnknownCode):
			refuse("sku", "no such licence type")
		case errors.As(refusal, &over):
			refuse("cap", translate(refusal).Error())
		case errors.Is(refusal, ErrShrinkPlanRequired):
			refuse("seats", refusal.Error())
		case errors.Is(refusal, partner.ErrRefused), errors.Is(refusal, partner.ErrInvalid):
			refuse("balance", translate(refusal).Error())
		default:
			return refusal
		}
		return nil
	})
	return dec, err
}
