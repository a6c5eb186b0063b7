package license

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Cap limits how many licences of a type a project may have: available, reserved and used up ones together, so that a project cannot get
// round it by using them up. What it has already stays. -1 lifts it. Vendor only.
func (l *Ledger) Cap(ctx context.Context, of partner.AccountID, sku string, limit int64) (err error) {
	defer wrap(&err, "cap %s of %s", sku, of)
	faults := checkSKU(sku)
	if limit < -1 || limit > MaxQuantity {
		faults = append(faults, partner.FieldError{Path: "limit", Code: "range", Message: "must be -1 or a quantity"})
	}
	if len(faults) > 0 {
		return &partner.ValidationError{Fields: faults}
	}
	defer l.recent.Forget(string(of), sku)
	return l.reg.Write(ctx, partner.Ask{Action: "license.cap", Target: string(of)}, func(tx *store.Tx, s *partner.Standing) error {
		if err := mustExist(tx, sku); err != nil {
			return err
		}
		was, notes, err := ledger.SetCap(tx, ledger.Licenses, string(of), sku, s.Of().String(), limit)
		if err := first(err, l.reg.Happened(tx, notes)); err != nil || was == limit {
			return err
		}
		return s.Record(tx, "license.capped", string(of), "cap")
	})
}

// Caps returns the caps of a project, by sku. Who may: as [Ledger.Balance].
func (l *Ledger) Caps(ctx context.Context, of partner.AccountID) (caps map[string]int64, err error) {
	defer wrap(&err, "caps of %s", of)
	err = l.reg.Read(ctx, about(of), func(tx *store.Tx, _ *partner.Standing) (err error) {
		caps, err = ledger.Caps(tx, ledger.Licenses, string(of))
		return err
	})
	return caps, err
}
