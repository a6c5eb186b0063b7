package ledger

import (
	"github.com/partnerkit/partnerkit/internal/store"
)

// Empty takes all that an owner has, and can still use, to another: reservations are void, seats end, and what is held goes, valid or
// not yet. p says who does it and why; its From, Unit and Quantity are not read. It returns how much went, by unit.
func Empty(tx *store.Tx, owner string, p Posting) (map[string]int64, error) {
	var units []string
	err := tx.Query(engine, &units, "SELECT unit FROM prm_ledger_balances WHERE owner = ? AND book = ? AND state = 'held' AND lot = 0 ORDER BY unit", owner, p.Book)
	if err != nil || len(units) == 0 {
		return map[string]int64{}, err
	}
	p.From = HeldBy(owner)
	var list []Posting
	for _, unit := range units {
		q := p
		q.Unit = unit
		list = append(list, q)
	}
	w, err := open(tx, p.Book, list, waiting)
	if err != nil {
		return nil, err
	}
	gone := map[string]int64{}
	for _, q := range list {
		if gone[q.Unit], err = w.empty(w.accounts[name{owner, q.Unit}], q); err != nil {
			return nil, err
		}
	}
	complete, err := w.flush()
	if err == nil && !complete {
		err = store.ErrAgain
	}
	return gone, err
}

func (w *world) empty(a *account, p Posting) (int64, error) {
	if err := w.fill(map[*account]bool{a: true}); err != nil {
		return 0, err
	}
	open, err := lapsed(w.tx, w.book, a.owner, a.unit, Forever)
	if err != nil {
		return 0, err
	}
	for _, r := range open {
		v := p
		v.Verb, v.Key, v.Fresh, v.Hash, v.From, v.To, v.Lots, v.Quantity = "void", r.ID, true, r.ID, End{a.owner, Reserved}, HeldBy(a.owner), r.shares, 0
		for _, s := range r.shares {
			v.Quantity += s.Quantity
		}
		if _, err := w.post(v); err != nil {
			return 0, err
		}
	}
	if _, err := w.tx.Exec(engine, `UPDATE prm_ledger_reservations SET state = 'voided', ended_at = ? WHERE owner = ? AND unit = ? AND book = ? AND state = 'open'`,
		max(w.tx.Clock(), a.head.Recorded), a.owner, a.unit, w.book); err != nil {
		return 0, err
	}
	if _, err := w.tx.Exec(engine, "UPDATE prm_ledger_seats SET ended_at = ? WHERE owner = ? AND unit = ? AND book = ? AND ended_at = 0",
		w.tx.Now(), a.owner, a.unit, w.book); err != nil {
		return 0, err
	}
	a.head.Seats, a.head.Due = 0, 0
	w.touch(a.head)
	for _, r := range a.rows {
		if r.State == Held && r.Amount > 0 {
			p.Lots = append(p.Lots, Share{r.Lot, Validity{r.ValidFrom, r.ValidUntil}, r.Amount})
			p.Quantity += r.Amount
		}
	}
	if len(p.Lots) == 0 {
		return 0, nil
	}
	p.Key, p.Fresh = w.tx.NewID("key"), true
	_, err = w.post(p)
	return p.Quantity, err
}
