package ledger

import (
	"github.com/partnerkit/partnerkit/internal/store"
)

// Empty takes all that an owner has, and can still use, to another: reservations are void, seats end, and what is held goes, valid or
// not yet. p says who does it and why; its From, Unit and Quantity are not read. It returns how much went, by unit.
func Empty(tx *store.Tx, owner string, p Posting) (gone map[string]int64, notes []Note, err error) {
	var units []string
	err = tx.Query(engine, &units, "SELECT unit FROM prm_ledger_balances WHERE owner = ? AND book = ? AND state = 'held' AND lot = 0 ORDER BY unit", owner, p.Book)
	if err != nil || len(units) == 0 {
		return map[string]int64{}, nil, err
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
		return nil, nil, err
	}
	gone = map[string]int64{}
	for _, q := range list {
		if gone[q.Unit], err = w.empty(w.accounts[name{owner, q.Unit}], q); err != nil {
			return nil, nil, err
		}
	}
	complete, err := w.flush()
	if err == nil && !complete {
		err = store.ErrAgain
	}
	return gone, w.notes, err
}

func (w *world) empty(a *account, p Posting) (int64, error) {
	if err := w.fill(map[*account]bool{a: true}); err != nil {
		return 0, err
	}
	open, err := lapsed(w.tx, w.book, a.owner, a.unit, 0, Forever)
	if err != nil {
		return 0, err
	}
	ended := w.tx.Rows(endColumns)
	for _, r := range open {
		v := p
		v.Verb, v.Key, v.Fresh, v.From, v.To, v.Lots = "void", w.tx.NewID("key"), true, End{a.owner, Reserved}, HeldBy(a.owner), r.shares
		v.Quantity = sum(r.shares)
		t, err := w.post(&v)
		if err != nil {
			return 0, err
		}
		ended.Add(r.ID, t.Recorded)
	}
	if err := w.endReservations(ended); err != nil {
		return 0, err
	}
	if _, err := w.tx.Exec(engine, "UPDATE prm_ledger_seats SET ended_at = ? WHERE owner = ? AND unit = ? AND book = ? AND ended_at = 0",
		w.tx.Now(), a.owner, a.unit, w.book); err != nil {
		return 0, err
	}
	a.head.Seats, a.head.Due = 0, 0
	w.touch(a.head)
	var shares []Share
	for _, r := range a.rows {
		for left := r.Amount; r.State == Held && left > 0; left -= min(left, MaxQuantity) {
			shares = append(shares, Share{r.Lot, Validity{r.ValidFrom, r.ValidUntil}, min(left, MaxQuantity)})
		}
	}
	total := sum(shares)
	for len(shares) > 0 { // what one transfer cannot hold goes in several
		n := 1
		for n < len(shares) && sum(shares[:n+1]) <= MaxQuantity {
			n++
		}
		p.Lots, p.Quantity, p.Key, p.Fresh = shares[:n], sum(shares[:n]), w.tx.NewID("key"), true
		if _, err := w.post(&p); err != nil {
			return 0, err
		}
		shares = shares[n:]
	}
	return total, nil
}

// sum is how many units there are in shares.
func sum(shares []Share) (n int64) {
	for _, s := range shares {
		n += s.Quantity
	}
	return n
}
