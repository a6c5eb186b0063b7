package license

import (
	"context"
	"errors"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// HoldingsAt answers both clocks: what counted at effective, as it was known at known; a zero time is now. Types of which there was nothing
// are not there. It waits for moves in flight, so that an answer about the past stays. Who may: as [Ledger.Balance].
func (l *Ledger) HoldingsAt(ctx context.Context, h partner.Holder, effective, known time.Time) (list []Balance, err error) {
	defer wrap(&err, "holdings of %s", idOf(h))
	if faults := append((partner.Check{}).Time("effective", effective), (partner.Check{}).Time("known", known)...); len(faults) > 0 {
		return nil, &partner.ValidationError{Fields: faults}
	}
	err = l.reg.Write(ctx, about(h), func(tx *store.Tx, _ *partner.Standing) error {
		at := func(t time.Time) store.Micros {
			if t.IsZero() {
				return ledger.Forever // all there is: the ledger's clock may run ahead of ours
			}
			return store.At(t)
		}
		if err := ledger.Await(tx, ledger.Licenses, idOf(h), at(known)); err != nil {
			return err
		}
		points := []ledger.Point{{Effective: at(effective), Known: at(known), Now: tx.Now()}}
		found, err := ledger.HoldingsAt(tx, ledger.Licenses, idOf(h), "", points)
		if err == nil {
			list = balances(found[0])
		}
		return err
	})
	return list, err
}

// Point is what a holder had at an instant.
type Point struct {
	At      time.Time
	Balance Balance
}

// maxPoints bounds a series: more than a screen has columns.
const maxPoints = 5_000

// Series returns what a holder had of a type over a period, for a chart: points of them in equal steps, the first at its beginning and the
// last at its end, which is now if it is open. They tell what counted at each instant as it is known now; one query reads them all. Field
// errors: "period" without a beginning, or one that ends before it, "points" below 2 or above 5,000. Who may: as [Ledger.Balance].
func (l *Ledger) Series(ctx context.Context, h partner.Holder, sku string, p partner.Period, points int) (list []Point, err error) {
	defer wrap(&err, "series of %s", idOf(h))
	faults := append(checkSKU(sku), partner.Check{}.Period("period", p)...)
	if p.From.IsZero() {
		faults = append(faults, partner.FieldError{Path: "period", Code: "required", Message: "must have a beginning"})
	}
	if points < 2 || points > maxPoints {
		faults = append(faults, partner.FieldError{Path: "points", Code: "range", Message: "must be 2 to 5000"})
	}
	if len(faults) > 0 {
		return nil, &partner.ValidationError{Fields: faults}
	}
	err = l.reg.Read(ctx, about(h), func(tx *store.Tx, _ *partner.Standing) error {
		from, until := store.At(p.From), store.At(p.Until)
		if until == 0 {
			until = tx.Now()
		}
		if until <= from {
			return invalid("period", "range", "must begin in the past")
		}
		at := make([]ledger.Point, points)
		for i := range at {
			at[i] = ledger.Point{Effective: from + step(until-from, i, points-1), Known: ledger.Forever, Now: tx.Now()}
		}
		found, err := ledger.HoldingsAt(tx, ledger.Licenses, idOf(h), sku, at)
		if err != nil {
			return err
		}
		list = make([]Point, points)
		for i := range list {
			list[i] = Point{At: at[i].Effective.Time(), Balance: Balance{SKU: sku}}
			for _, t := range found[i] {
				list[i].Balance = balance(t)
			}
		}
		return nil
	})
	return list, err
}

// step is i parts of n of a span, without passing what an int64 holds.
func step(span store.Micros, i, n int) store.Micros {
	whole, rest := span/store.Micros(n), span%store.Micros(n)
	return whole*store.Micros(i) + rest*store.Micros(i)/store.Micros(n)
}

// Statement is what was held over a span of recorded time that adds up: Opening and the lines give Closing, which is the next span's Opening.
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

// Statement returns what one holder held of one type, valid or not, over a period of recorded time; a zero Until is now. It waits for
// moves in flight: a period that has been stated stays as it was stated. Who may: as [Ledger.History].
func (l *Ledger) Statement(ctx context.Context, h partner.Holder, sku string, p partner.Period) (st Statement, err error) {
	defer wrap(&err, "statement of %s", idOf(h))
	if faults := append(checkSKU(sku), (partner.Check{}).Period("period", p)...); len(faults) > 0 {
		return st, &partner.ValidationError{Fields: faults}
	}
	err = l.reg.Write(ctx, past(h), func(tx *store.Tx, s *partner.Standing) error {
		if err := prepare(tx, h, sku, s); err != nil {
			return err
		}
		span := ledger.Span{From: store.At(p.From), Until: store.At(p.Until)}
		until := ledger.Forever
		if span.Until != 0 {
			until = span.Until - 1
		}
		if err := ledger.Await(tx, ledger.Licenses, idOf(h), until); err != nil {
			return err
		}
		opening, rows, err := ledger.Statement(tx, ledger.Licenses, idOf(h), sku, span)
		st = Statement{Opening: opening, Closing: opening}
		for _, r := range rows {
			change := r.Quantity
			if r.From == ledger.HeldBy(idOf(h)) {
				change = -change
			}
			st.Closing += change
			st.Lines = append(st.Lines, Line{Transfer: public(r), Change: change, Running: st.Closing})
		}
		return err
	})
	return st, err
}

// prepare sees to it that there is an account of which a statement can be made, were it only that there is nothing. Of a type that does not
// exist there is nothing to tell.
func prepare(tx *store.Tx, h partner.Holder, sku string, s *partner.Standing) error {
	switch err := mustExist(tx, sku); {
	case err == nil:
		return ledger.Prepare(tx, ledger.Licenses, sku, s.Of().String(), idOf(h))
	case errors.Is(err, partner.ErrUnknownCode):
		return nil
	default:
		return err
	}
}
