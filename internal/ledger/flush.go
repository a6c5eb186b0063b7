package ledger

import (
	"errors"
	"slices"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

var (
	rowColumns = store.ColumnsOf("owner TEXT", "unit TEXT", "state TEXT", "lot BIGINT", "partner TEXT", "amount BIGINT", "recorded BIGINT")
	legColumns = store.ColumnsOf("unit TEXT", "verb TEXT", "quantity BIGINT", "from_id BIGINT", "to_id BIGINT", "from_after BIGINT", "to_after BIGINT",
		"partner TEXT", "actor TEXT", "reason TEXT", "key TEXT", "hash TEXT", "effective BIGINT", "recorded BIGINT", "part INTEGER", "parts INTEGER",
		"from_total BIGINT", "to_total BIGINT", "corrects BIGINT")
	diffColumns = store.ColumnsOf("id BIGINT", "delta BIGINT", "prior BIGINT", "recorded BIGINT", "lots BIGINT", "seats BIGINT", "cap BIGINT", "due BIGINT")
)

// flush writes what has been done: new rows, entries, balances. It is not complete if a move's key has been used already: the caller must
// not commit what was written then.
func (w *world) flush() (complete bool, err error) {
	if w.how == looking || len(w.touched) == 0 {
		return true, nil
	}
	if err := w.insertRows(); err != nil {
		return false, err
	}
	if complete, err = w.writeLegs(); err != nil || !complete {
		return false, err
	}
	for _, b := range w.touched {
		b.written()
	}
	w.moves, w.legs, w.touched = nil, nil, nil
	return true, nil
}

func (w *world) insertRows() error {
	list := w.tx.Rows(rowColumns)
	fresh := map[name]map[slot]*balance{}
	for _, b := range w.touched {
		if b.ID != 0 {
			continue
		}
		list.Add(b.Owner, b.Unit, string(b.State), b.Lot, *b.PartnerID, b.Amount, b.Recorded)
		n := name{b.Owner, b.Unit}
		if fresh[n] == nil {
			fresh[n] = map[slot]*balance{}
		}
		fresh[n][slot{b.State, b.Lot}] = b
	}
	if list.Len() == 0 {
		return nil
	}
	var made []balance
	err := w.tx.Query(engine, &made, `INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, partner_id, amount, bounded, recorded)
		SELECT ?, x.owner, x.unit, x.state, x.lot, x.partner, x.amount, TRUE, x.recorded FROM `+list.SQL()+`
		RETURNING id, owner, unit, state, lot`, append([]any{w.book}, list.Args()...)...)
	for _, m := range made {
		b := fresh[name{m.Owner, m.Unit}][slot{m.State, m.Lot}]
		b.ID = m.ID
		b.written()
	}
	return err
}

// writeLegs writes the entries and the balances that they changed: in one statement where that can be, each being a round trip.
func (w *world) writeLegs() (complete bool, err error) {
	legs, diffs := w.legRows(), w.diffRows()
	if legs.Len() == 0 {
		return true, w.update(diffs)
	}
	insert := insertLegs + legs.SQL() + legsEnd
	if len(w.moves) > 1 { // whose keys have been looked up
		insert = insertLegs + legs.SQL()
	}
	args := append([]any{w.book}, legs.Args()...)
	var ids []int64
	changed := int64(0)
	if w.tx.Postgres() {
		err = w.tx.Scan(engine, func(r store.Row) error {
			ids = append(ids, 0)
			return r.Scan(&ids[len(ids)-1], &changed)
		}, "WITH legs AS ("+insert+" RETURNING id), diffs AS ("+updateRows+diffs.SQL()+rowsAsRead+` AND (SELECT count(*) FROM legs) = CAST(? AS BIGINT) RETURNING 1)
			SELECT id, (SELECT count(*) FROM diffs) FROM legs`, append(append(args, diffs.Args()...), legs.Len())...)
	} else {
		err = w.tx.Scan(engine, func(r store.Row) error {
			ids = append(ids, 0)
			return r.Scan(&ids[len(ids)-1])
		}, insert+" RETURNING id", args...)
		if err == nil && len(ids) == legs.Len() {
			changed, err = w.tx.Exec(engine, updateRows+diffs.SQL()+rowsAsRead, diffs.Args()...)
		}
	}
	switch {
	case errors.Is(err, store.ErrDuplicate):
		return false, store.ErrAgain
	case err != nil || len(ids) < legs.Len():
		return false, err
	case changed != int64(diffs.Len()):
		return false, errNotAsRead
	}
	slices.Sort(ids) // rows are numbered as they are inserted
	for i, l := range w.legs {
		if m := w.moves[l.move]; l.part == 0 {
			w.made[[3]string{m.Partner, m.Verb, m.Key}] = ids[i]
		}
	}
	return true, nil
}

const (
	insertLegs = `INSERT INTO prm_ledger_transfers (book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason,
		key, hash, effective, recorded, part, parts, from_total, to_total, corrects)
		SELECT ?, x.unit, x.verb, x.quantity, x.from_id, x.to_id, x.from_after, x.to_after, x.partner, x.actor, x.reason,
		x.key, x.hash, x.effective, x.recorded, x.part, x.parts, x.from_total, x.to_total, x.corrects FROM `
	legsEnd = " WHERE TRUE ON CONFLICT DO NOTHING"

	// The rows are held; that they are still as they were read is asked again all the same, for nothing else keeps a lost update from going
	// unseen.
	updateRows = `UPDATE prm_ledger_balances AS b SET amount = b.amount + x.delta, recorded = x.recorded, lots = x.lots, seats = x.seats,
		cap = x.cap, due = x.due FROM `
	rowsAsRead = " WHERE b.id = x.id AND b.recorded = x.prior"
)

var errNotAsRead = fail.New(fail.Unavailable, "ledger: a locked balance has changed")

// legRows are the entries to write.
func (w *world) legRows() *store.Rows {
	parts := make([]int, len(w.moves))
	for _, l := range w.legs {
		parts[l.move]++
	}
	list := w.tx.Rows(legColumns)
	for _, l := range w.legs {
		m := &w.moves[l.move]
		var corrects, fromTotal, toTotal any
		if m.Corrects != 0 && l.part == 0 {
			corrects = m.Corrects
		}
		if m.FromAfter != l.fromAfter || m.ToAfter != l.toAfter || parts[l.move] > 1 { // of more rows than those of this entry
			fromTotal, toTotal = m.FromAfter, m.ToAfter
		}
		list.Add(m.Unit, m.Verb, l.n, l.from.ID, l.to.ID, l.fromAfter, l.toAfter, m.Partner, m.Actor, m.Reason, m.Key, m.Hash,
			m.Effective, m.Recorded, l.part, parts[l.move], fromTotal, toTotal, corrects)
	}
	return list
}

// diffRows are the balances to update; new ones have been written as they are.
func (w *world) diffRows() *store.Rows {
	list := w.tx.Rows(diffColumns)
	for _, b := range w.touched {
		if b.dirty {
			list.Add(b.ID, b.Amount-b.wasAmount, b.wasRecorded, b.Recorded, b.Lots, b.Seats, b.Cap, b.Due)
		}
	}
	return list
}

func (w *world) update(diffs *store.Rows) error {
	if diffs.Len() == 0 {
		return nil
	}
	n, err := w.tx.Exec(engine, updateRows+diffs.SQL()+rowsAsRead, diffs.Args()...)
	if err == nil && n != int64(diffs.Len()) {
		err = errNotAsRead
	}
	return err
}
