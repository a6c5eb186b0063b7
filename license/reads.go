package license

import (
	"context"
	"strconv"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Balance is what a holder has of one sku.
type Balance struct {
	SKU       string
	Available int64
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
		for _, b2 := range balances(list) {
			b = b2
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

// balances adds up the lots of each sku.
func balances(rows []ledger.Balance) []Balance {
	var list []Balance
	for _, r := range rows {
		if r.State != ledger.Held {
			continue
		}
		if n := len(list); n == 0 || list[n-1].SKU != r.Unit {
			list = append(list, Balance{SKU: r.Unit})
		}
		list[len(list)-1].Available += r.Amount
	}
	return list
}

// HoldingsAt answers both clocks: what counted at effective, as it was known at known; a zero time is now. Skus of which nothing was held
// are not there. It waits for moves in flight, so that an answer about the past never changes.
func (l *Ledger) HoldingsAt(ctx context.Context, h partner.Holder, effective, known time.Time) (list []Balance, err error) {
	defer wrap(&err, "holdings of %s", idOf(h))
	if faults := append(partner.CheckTime("effective", effective), partner.CheckTime("known", known)...); len(faults) > 0 {
		return nil, &partner.ValidationError{Fields: faults}
	}
	err = l.reg.Write(ctx, about(h), func(tx *store.Tx, _ *partner.Standing) error {
		if err := ledger.Settle(tx, ledger.Licenses, idOf(h)); err != nil {
			return err
		}
		at := func(t time.Time) store.Micros {
			if t.IsZero() {
				return store.Micros(1<<63 - 1) // all there is: the ledger's clock may run ahead of ours
			}
			return store.At(t)
		}
		rows, err := ledger.HoldingsAt(tx, ledger.Licenses, idOf(h), at(effective), at(known))
		list = balances(rows)
		return err
	})
	return list, err
}

// History pages through the transfers that touched a holder, newest first; sku "" is all of them. The vendor, and admins of the holder's
// organisation.
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

func publicAll(rows []ledger.Transfer) []Transfer {
	list := make([]Transfer, len(rows))
	for i, r := range rows {
		list[i] = public(r)
	}
	return list
}

// Statement is a span of recorded time that adds up: Opening and the lines give Closing, which is the next span's Opening.
type Statement struct {
	Opening, Closing int64
	Lines            []Line // oldest first
}

// Line is a transfer with what it changed and the balance after it.
type Line struct {
	Transfer Transfer
	Change   int64
	Running  int64
}

// Statement returns the account of one sku of a holder over a period of recorded time; a zero Until is now. It waits for
// moves in flight: a period that has been stated stays as it was stated. Who may: as [Ledger.History].
func (l *Ledger) Statement(ctx context.Context, h partner.Holder, sku string, p partner.Period) (st Statement, err error) {
	defer wrap(&err, "statement of %s", idOf(h))
	if faults := append(checkSKU(sku), partner.CheckPeriod("period", p)...); len(faults) > 0 {
		return st, &partner.ValidationError{Fields: faults}
	}
	err = l.reg.Write(ctx, past(h), func(tx *store.Tx, _ *partner.Standing) error {
		if err := ledger.Settle(tx, ledger.Licenses, idOf(h)); err != nil {
			return err
		}
		span := ledger.Span{From: store.At(p.From), Until: store.At(p.Until)}
		opening, rows, err := ledger.Statement(tx, ledger.Licenses, idOf(h), sku, ledger.Held, span)
		st = Statement{Opening: opening, Closing: opening}
		for _, r := range rows {
			change := r.Quantity
			if r.From.Owner == idOf(h) {
				change = -change
			}
			st.Closing += change
			st.Lines = append(st.Lines, Line{Transfer: public(r), Change: change, Running: st.Closing})
		}
		return err
	})
	return st, err
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

// Explain tells what Assign would answer, and why; it writes nothing. The reasons are those of the access decision, then of the source
// and the balance.
func (l *Ledger) Explain(ctx context.Context, to partner.AccountID, sku string, n int64) (dec partner.Decision, err error) {
	defer wrap(&err, "explain assign to %s", to)
	w, faults := newWrite("assign", sku, n, string(to), nil)
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
		from, err := w.source(s)
		if err != nil {
			refuse("source", err.Error())
			return nil
		}
		if from == string(to) {
			refuse("source", "the licences are there already")
			return nil
		}
		if err := mustExist(tx, sku); err != nil {
			refuse("sku", "no such licence type")
			return nil
		}
		rows, err := ledger.Balances(tx, ledger.Licenses, from, sku)
		available := int64(0)
		for _, b := range balances(rows) {
			available = b.Available
		}
		if err == nil && available < n {
			refuse("balance", (&InsufficientError{Available: available}).Error())
		} else if err == nil {
			dec.Reasons = append(dec.Reasons, partner.Reason{Code: "balance", Text: "enough is available in " + from})
		}
		return err
	})
	return dec, err
}
