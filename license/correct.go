package license

import (
	"context"
	"strconv"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// correctable are the verbs whose opposite can be written. A reservation is voided, and what time did is so.
var correctable = map[string]bool{"grant": true, "revoke": true, "assign": true, "return": true, "consume": true, "post": true, "correct": true}

// Correct writes the opposite of a transfer as a new entry, of the same lots, dated back with [Effective] if so wished; the transfer
// itself stays. What has been used up by mistake is available again. Vendor only. [partner.ErrNotFound]; *[InsufficientError] if the
// units have moved on; *[partner.BlockedError] if they would arrive in a closing project; [partner.ErrBadTransition] for a reservation, a close,
// what time did, and what has been corrected already.
func (l *Ledger) Correct(ctx context.Context, transfer int64, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "correct %d", transfer)
	var wrong ledger.Transfer
	err = l.reg.Read(ctx, partner.Ask{Action: "license.verify"}, func(tx *store.Tx, _ *partner.Standing) error {
		found := false
		var err error
		if wrong, found, err = ledger.Find(tx, ledger.Licenses, transfer); err == nil && !found {
			err = partner.ErrNotFound
		}
		return err
	})
	if err != nil {
		return t, err
	}
	w, faults := newWrite("correct", wrong.Unit, wrong.Quantity, strconv.FormatInt(wrong.ID, 10), o)
	w.lots, w.corrects = wrong.Shares, wrong.ID
	from, to := wrong.To, wrong.From
	if to.State == ledger.Reserved { // a posted reservation is done; its units are held again
		to.State = ledger.Held
	}
	target := to.Owner // where units arrive, which must not be on its way out
	if target == ledger.Issuer {
		target = from.Owner
	}
	ask := partner.Ask{Action: "license.correct", Target: target}
	return l.run(ctx, &move{write: w, ask: ask, route: func(tx *store.Tx, _ *partner.Standing) (ledger.End, ledger.End, error) {
		done, err := ledger.Corrected(tx, wrong.ID)
		switch {
		case err != nil:
		case done || !correctable[wrong.Verb]:
			err = partner.ErrBadTransition
		case !w.effective.IsZero() && store.At(w.effective) < wrong.Effective:
			err = invalid("effective", "range", "must not lie before the transfer that is corrected")
		}
		return from, to, err
	}}, faults)
}
