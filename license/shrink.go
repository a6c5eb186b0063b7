package license

import (
	"context"
	"slices"
	"strconv"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Shrink is a plan to lower what a project has available of a type: Return licences go back to the pool, and the seats in Remove end. It is
// a value to look at and to hand to [Ledger.ApplyShrink], from where it was made or from elsewhere; Digest holds it to the moment.
type Shrink struct {
	Account partner.AccountID
	SKU     string
	To      int64  // what will be left
	Return  int64  // how many go
	Remove  []Seat // the seats that end, oldest first
	Digest  string
}

// PlanShrink previews lowering what a project has available to n. mode says which seats end if there are more than n: "explicit", or
// empty, those named in seats; "newest" or "oldest" as many as it takes. Field errors: "to" if n is not below what there is, "mode",
// "seats" if one is not in use here or too few are named. Partner users. It changes nothing.
func (l *Ledger) PlanShrink(ctx context.Context, of partner.AccountID, sku string, n int64, mode string, seats ...string) (plan Shrink, err error) {
	defer wrap(&err, "plan shrink of %s in %s", sku, of)
	faults := checkSKU(sku)
	if n < 0 || n > MaxQuantity {
		faults = append(faults, partner.FieldError{Path: "to", Code: "range", Message: "must not be negative"})
	}
	if mode != "" && mode != "explicit" && mode != "newest" && mode != "oldest" {
		faults = append(faults, partner.FieldError{Path: "mode", Code: "unknown_code", Message: "must be explicit, newest or oldest", Err: partner.ErrUnknownCode})
	}
	if len(faults) > 0 {
		return plan, &partner.ValidationError{Fields: faults}
	}
	err = l.reg.Read(ctx, partner.Ask{Action: "license.shrink", Target: string(of)}, func(tx *store.Tx, _ *partner.Standing) (err error) {
		plan, err = planShrink(tx, of, sku, n, mode, seats)
		return err
	})
	return plan, err
}

func planShrink(tx *store.Tx, of partner.AccountID, sku string, n int64, mode string, named []string) (Shrink, error) {
	plan := Shrink{Account: of, SKU: sku, To: n}
	has, err := ledger.Balances(tx, ledger.Licenses, string(of), sku)
	if err != nil {
		return plan, err
	}
	if len(has) > 0 {
		plan.Return = has[0].Available - n
	}
	if plan.Return < 1 {
		return plan, invalid("to", "range", "must be less than what is available")
	}
	all, err := ledger.Seats(tx, ledger.Licenses, string(of), sku, ledger.SeatPlace{}, int(min(has[0].Available, 1<<31)))
	if err != nil {
		return plan, err
	}
	must := max(0, len(all)-int(min(n, int64(len(all)))))
	gone := all[:0:0]
	switch mode {
	case "newest":
		gone = all[len(all)-must:]
	case "oldest":
		gone = all[:must]
	default:
		for _, s := range all {
			if slices.Contains(named, s.ID) {
				gone = append(gone, s)
			}
		}
		if len(gone) != len(named) {
			return plan, invalid("seats", "unknown_code", "one is not in use in this project")
		}
		if len(gone) < must {
			return plan, invalid("seats", "required", "must be at least "+strconv.Itoa(must)+" of those in use")
		}
	}
	for _, s := range gone {
		plan.Remove = append(plan.Remove, seat(s))
	}
	plan.Digest = plan.digest(has[0].Available, all)
	return plan, nil
}

// digest names the plan and what it was made of.
func (p Shrink) digest(available int64, seats []ledger.Seat) string {
	parts := []string{string(p.Account), p.SKU, strconv.FormatInt(p.To, 10), strconv.FormatInt(available, 10)}
	for _, s := range seats {
		parts = append(parts, s.ID)
	}
	parts = append(parts, "")
	for _, s := range p.Remove {
		parts = append(parts, s.ID)
	}
	return ledger.Digest(parts...)
}

// ApplyShrink does exactly what a plan says, in one transaction. [partner.ErrPlanStale] if licences or seats have changed since it was
// made, or the plan itself. Partner users.
func (l *Ledger) ApplyShrink(ctx context.Context, plan Shrink, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "shrink %s in %s", plan.SKU, plan.Account)
	w, faults := newWrite("return", plan.SKU, plan.Return, string(plan.Account), o)
	if len(faults) > 0 {
		return t, &partner.ValidationError{Fields: faults}
	}
	if !w.keyed {
		w.key, w.fresh = l.reg.NewKey(), true
	}
	ids := make([]string, len(plan.Remove))
	for i, s := range plan.Remove {
		ids[i] = s.ID
	}
	ask := partner.Ask{Action: "license.shrink", Target: string(plan.Account), Keyed: w.keyed}
	var made []ledger.Posting
	defer func() { l.forget(made) }()
	err = l.reg.Write(ctx, ask, func(tx *store.Tx, s *partner.Standing) error {
		if err := first(w.notFrom(), w.dates(tx, s)); err != nil {
			return err
		}
		p := w.posting(tx, s, ledger.HeldBy(string(plan.Account)), ledger.HeldBy(s.Of().String()))
		p.Hash = ledger.Digest(p.Hash, plan.Digest)
		made = []ledger.Posting{p}
		due, err := ledger.Hold(tx, ledger.Licenses, plan.SKU, s.Of().String(), string(plan.Account), s.Of().String())
		if err != nil {
			return err
		}
		if earlier, found, err := ledger.Replay(tx, p); found || err != nil {
			t = public(earlier)
			return first(err, l.reg.Happened(tx, due))
		}
		if err := s.Refusal(); err != nil {
			return err
		}
		now, err := planShrink(tx, plan.Account, plan.SKU, plan.To, "", ids)
		if err != nil || now.Digest != plan.Digest || now.Return != plan.Return {
			return first(stale(err), partner.ErrPlanStale)
		}
		posted, notes, err := ledger.Shrink(tx, p, ids)
		t = public(posted)
		if err != nil {
			return err
		}
		if err := l.reg.Happened(tx, append(due, notes...)); err != nil {
			return err
		}
		for range ids {
			if err := s.Record(tx, "license.unseated", string(plan.Account), "seat"); err != nil {
				return err
			}
		}
		return s.Record(tx, w.event(), string(plan.Account), "quantity")
	})
	if err != nil {
		return w.lost(err), translate(err)
	}
	return t, nil
}

// stale makes what planning says against a plan of earlier a stale plan; a failure stays one.
func stale(err error) error {
	if _, bad := err.(*partner.ValidationError); bad { //nolint:errorlint // as planShrink made it
		return partner.ErrPlanStale
	}
	return err
}
