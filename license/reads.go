package license

import (
	"context"
	"strconv"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Balance is what a holder has of one type, as of now: what has run out counts as such from that moment.
type Balance struct {
	SKU       string
	Available int64 // to move, use, reserve or seat
	Upcoming  int64 // of lots that are not valid yet
	Reserved  int64
	Consumed  int64
	Expired   int64
}

// about is the access question of a read: the holder's own organisation and the vendor may, a delegated log-in for its project.
func about(h partner.Holder) partner.Ask {
	return partner.Ask{Action: "license.read", Target: idOf(h)}
}

// past is the access question of a read that shows the other side of transfers: not for a delegated log-in, which sees its project only.
func past(h partner.Holder) partner.Ask {
	return partner.Ask{Action: "license.history", Target: idOf(h)}
}

// Balance returns one; zero if the holder never had any.
func (l *Ledger) Balance(ctx context.Context, h partner.Holder, sku string) (b Balance, err error) {
	defer wrap(&err, "balance of %s", idOf(h))
	b.SKU = sku
	if faults := checkSKU(sku); len(faults) > 0 {
		return b, &partner.ValidationError{Fields: faults}
	}
	err = l.reg.Read(ctx, about(h), func(tx *store.Tx, _ *partner.Standing) error {
		list, err := ledger.Balances(tx, ledger.Licenses, idOf(h), sku)
		for _, t := range list {
			b = balance(t)
		}
		return err
	})
	return b, err
}

// Balances returns all of a holder, by sku; those it never had are not there.
func (l *Ledger) Balances(ctx context.Context, h partner.Holder) (list []Balance, err error) {
	defer wrap(&err, "balances of %s", idOf(h))
	err = l.reg.Read(ctx, about(h), func(tx *store.Tx, _ *partner.Standing) error {
		rows, err := ledger.Balances(tx, ledger.Licenses, idOf(h), "")
		list = balances(rows)
		return err
	})
	return list, err
}

// Mine returns the balances of the session's principal, whatever it has switched to: of its organisation's pool, or of the project for a
// delegated log-in.
func (l *Ledger) Mine(ctx context.Context) (list []Balance, err error) {
	defer wrap(&err, "mine")
	err = l.reg.Read(ctx, partner.Ask{Action: "license.mine"}, func(tx *store.Tx, s *partner.Standing) error {
		owner := s.Principal()
		if owner == nil {
			return partner.ErrForbidden
		}
		rows, err := ledger.Balances(tx, ledger.Licenses, owner.String(), "")
		list = balances(rows)
		return err
	})
	return list, err
}

// balances is the public form of totals.
func balances(list []ledger.Totals) []Balance {
	var all []Balance
	for _, t := range list {
		all = append(all, balance(t))
	}
	return all
}

func balance(t ledger.Totals) Balance {
	return Balance{SKU: t.Unit, Available: t.Available, Upcoming: t.Upcoming, Reserved: t.Reserved, Consumed: t.Consumed, Expired: t.Expired}
}

// History pages through the transfers that touched a holder, newest first; sku "" is all of them. The vendor, and of the holder's
// organisation admins and members with the right licenses whom no scope limits: a transfer names both its ends.
func (l *Ledger) History(ctx context.Context, h partner.Holder, sku string, p partner.PageRequest) (page partner.Page[Transfer], err error) {
	defer wrap(&err, "history of %s", idOf(h))
	limit, err := store.Limit(p.Limit)
	if err != nil {
		return page, err
	}
	if sku != "" {
		if faults := checkSKU(sku); len(faults) > 0 {
			return page, &partner.ValidationError{Fields: faults}
		}
	}
	list := "transfers" + strconv.Quote(idOf(h)) + strconv.Quote(sku)
	at, started, err := store.ParseCursor(p.After, list)
	if err != nil {
		return page, err
	}
	var place *ledger.Place
	if started {
		id, err := strconv.ParseInt(at.ID, 10, 64)
		if err != nil {
			return page, store.ErrCursor
		}
		place = &ledger.Place{Recorded: at.At, ID: id}
	}
	err = l.reg.Read(ctx, past(h), func(tx *store.Tx, _ *partner.Standing) error {
		rows, err := ledger.History(tx, ledger.Licenses, idOf(h), sku, place, limit+1)
		if len(rows) > limit {
			rows = rows[:limit]
			last := rows[limit-1]
			page.Next = store.Cursor(store.Place{At: last.Recorded, ID: strconv.FormatInt(last.ID, 10)}, list)
		}
		page.Items = publicAll(rows)
		return err
	})
	return page, err
}

// Trace returns, oldest first, the transfers that the units of one may have come through from their grant, and those they may have gone
// on with. Licences without a validity are alike, so where a pool was filled twice, both grants are in the trace. Vendor only.
func (l *Ledger) Trace(ctx context.Context, transfer int64) (list []Transfer, err error) {
	defer wrap(&err, "trace %d", transfer)
	err = l.reg.Read(ctx, partner.Ask{Action: "license.verify"}, func(tx *store.Tx, _ *partner.Standing) error {
		rows, err := ledger.Trace(tx, ledger.Licenses, transfer)
		if err == nil && len(rows) == 0 {
			return partner.ErrNotFound
		}
		list = publicAll(rows)
		return err
	})
	return list, err
}

// Verdict is what Verify found; Holders are those beside the issuer. FirstWrong is 0 when all is well; else the id of the transfer or balance that Why speaks of.
type Verdict struct {
	Transfers, Holders, FirstWrong int64
	Why                            string
}

// Verify rebuilds every licence balance from history; vendor only. It reads one snapshot, so it may run while licences move.
func (l *Ledger) Verify(ctx context.Context) (v Verdict, err error) {
	defer wrap(&err, "verify")
	err = l.reg.Read(ctx, partner.Ask{Action: "license.verify"}, func(tx *store.Tx, _ *partner.Standing) error {
		found, err := ledger.Verify(tx, ledger.Licenses)
		v = Verdict{Transfers: found.Transfers, Holders: found.Owners, FirstWrong: found.FirstWrong, Why: found.Why}
		return err
	})
	return v, err
}
