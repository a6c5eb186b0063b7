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

	// Most moves are alike: of one unit and verb, from one row to one, which changes nothing but two balances. A list costs by its columns.
	alikeLegColumns = store.ColumnsOf("quantity BIGINT", "from_id BIGINT", "to_id BIGINT", "from_after BIGINT", "to_after BIGINT",
		"partner TEXT", "actor TEXT", "key TEXT", "hash TEXT", "recorded BIGINT")
	alikeDiffColumns = store.ColumnsOf("id BIGINT", "delta BIGINT", "prior BIGINT", "recorded BIGINT")
)

// flush writes what has been done: new rows, entries, balances. It is not complete if a move's key has been used already: the caller must
// not commit what was written then.
func (w *world) flush() (complete bool, err error) {
	err = w.send()
	if err == nil {
		complete, err = w.sent()
	}
	if errors.Is(err, store.ErrDuplicate) {
		err = store.ErrAgain
	}
	return complete, err
}

// sending is entries and balances on their way.
type sending struct {
	legs, diffs int
	ids         []int64
	changed     int64
}

// send puts off what flush writes; sent waits for it.
func (w *world) send() error {
	w.sending = nil
	if w.how == looking || len(w.touched) == 0 {
		return nil
	}
	if err := w.insertRows(); err != nil {
		return err
	}
	return w.writeLegs()
}

func (w *world) sent() (complete bool, err error) {
	s := w.sending
	if s == nil {
		return true, nil
	}
	w.sending = nil
	err = w.tx.Flush()
	switch {
	case err != nil || len(s.ids) < s.legs:
		return false, err
	case s.changed != int64(s.diffs):
		return false, errNotAsRead
	}
	slices.Sort(s.ids) // rows are numbered as they are inserted
	for i, l := range w.legs {
		if m := w.moves[l.move]; l.part == 0 {
			w.made[[3]string{m.Partner, m.Verb, m.Key}] = s.ids[i]
		}
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
func (w *world) writeLegs() error {
	diffs, alike := w.diffRows()
	update := updateAll + diffs.SQL() + rowsAsRead
	if alike {
		update = updateAlike + diffs.SQL() + rowsAsRead
	}
	s := &sending{legs: len(w.legs), diffs: diffs.Len()}
	w.sending = s
	if s.legs == 0 {
		if s.diffs == 0 {
			return nil
		}
		n, err := w.tx.Exec(engine, update, diffs.Args()...)
		s.changed = n
		return err
	}
	legs, args := w.tx.Rows(alikeLegColumns), []any{w.book, w.moves[0].Unit, w.moves[0].Verb, w.moves[0].Reason}
	insert := selectAlikeLegs + legs.SQL()
	if w.alike() {
		w.addAlike(legs)
	} else {
		legs, args = w.legRows(), []any{w.book}
		insert = selectLegs + legs.SQL()
	}
	if len(w.moves) == 1 && !w.sure { // the keys of several have been looked up
		insert += legsEnd
	}
	args = append(args, legs.Args()...)
	next := func(r store.Row) error {
		s.ids = append(s.ids, 0)
		return r.Scan(&s.ids[len(s.ids)-1], &s.changed)
	}
	switch {
	case w.sure: // a used key is an error
		return w.tx.Later(engine, next, "WITH legs AS ("+insert+" RETURNING id), diffs AS ("+update+` RETURNING 1)
			SELECT id, CAST(? AS BIGINT) / CAST((SELECT count(*) FROM diffs) = CAST(? AS BIGINT) AS INTEGER) FROM legs`,
			append(append(args, diffs.Args()...), s.diffs, s.diffs)...)
	case w.tx.Postgres():
		return w.tx.Later(engine, next, "WITH legs AS ("+insert+" RETURNING id), diffs AS ("+update+` AND (SELECT count(*) FROM legs) = CAST(? AS BIGINT) RETURNING 1)
			SELECT id, (SELECT count(*) FROM diffs) FROM legs`, append(append(args, diffs.Args()...), s.legs)...)
	}
	err := w.tx.Scan(engine, func(r store.Row) error {
		s.ids = append(s.ids, 0)
		return r.Scan(&s.ids[len(s.ids)-1])
	}, insert+" RETURNING id", args...)
	if err == nil && len(s.ids) == s.legs {
		s.changed, err = w.tx.Exec(engine, update, diffs.Args()...)
	}
	return err
}

const (
	insertLegs = `INSERT INTO prm_ledger_transfers (book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason,
		key, hash, effective, recorded, part, parts, from_total, to_total, corrects) `
	selectLegs = insertLegs + `SELECT ?, x.unit, x.verb, x.quantity, x.from_id, x.to_id, x.from_after, x.to_after, x.partner, x.actor, x.reason,
		x.key, x.hash, x.effective, x.recorded, x.part, x.parts, x.from_total, x.to_total, x.corrects FROM `
	selectAlikeLegs = insertLegs + `SELECT ?, ?, ?, x.quantity, x.from_id, x.to_id, x.from_after, x.to_after, x.partner, x.actor, ?,
		x.key, x.hash, x.recorded, x.recorded, 0, 1, NULL, NULL, NULL FROM `
	legsEnd = " WHERE TRUE ON CONFLICT DO NOTHING"

	// The rows are held; that they are still as they were read is asked again all the same, for nothing else keeps a lost update from going
	// unseen.
	updateAll = `UPDATE prm_ledger_balances AS b SET amount = b.amount + x.delta, recorded = x.recorded, lots = x.lots, seats = x.seats,
		cap = x.cap, due = x.due FROM `
	updateAlike = "UPDATE prm_ledger_balances AS b SET amount = b.amount + x.delta, recorded = x.recorded FROM "
	rowsAsRead  = " WHERE b.id = x.id AND b.recorded = x.prior"
)

var errNotAsRead = fail.New(fail.Unavailable, "ledger: a locked balance has changed")

// alike tells whether the moves fit into alikeLegColumns.
func (w *world) alike() bool {
	if len(w.legs) != len(w.moves) {
		return false
	}
	first := &w.moves[0]
	for i, l := range w.legs {
		m := &w.moves[i]
		if l.move != i || m.Unit != first.Unit || m.Verb != first.Verb || m.Reason != first.Reason || m.Corrects != 0 || m.Effective != m.Recorded ||
			m.FromAfter != l.fromAfter || m.ToAfter != l.toAfter {
			return false
		}
	}
	return true
}

func (w *world) addAlike(list *store.Rows) {
	for i, l := range w.legs {
		m := &w.moves[i]
		list.Add(l.n, l.from.ID, l.to.ID, l.fromAfter, l.toAfter, m.Partner, m.Actor, m.Key, m.Hash, m.Recorded)
	}
}

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

// diffRows are the balances to update, and whether they fit into alikeDiffColumns; new ones have been written as they are.
func (w *world) diffRows() (list *store.Rows, alike bool) {
	alike = !slices.ContainsFunc(w.touched, func(b *balance) bool { return b.dirty && b.Terms != b.wasTerms })
	list = w.tx.Rows(diffColumns)
	if alike {
		list = w.tx.Rows(alikeDiffColumns)
	}
	for _, b := range w.touched {
		switch {
		case !b.dirty:
		case alike:
			list.Add(b.ID, b.Amount-b.wasAmount, b.wasRecorded, b.Recorded)
		default:
			list.Add(b.ID, b.Amount-b.wasAmount, b.wasRecorded, b.Recorded, b.Lots, b.Seats, b.Cap, b.Due)
		}
	}
	return list, alike
}
