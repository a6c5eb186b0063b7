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
	diffColumns = store.ColumnsOf("id BIGINT", "before BIGINT", "after BIGINT", "prior BIGINT", "recorded BIGINT", "lots BIGINT", "seats BIGINT", "cap BIGINT",
		"due BIGINT", "had_lots BIGINT", "had_seats BIGINT", "had_cap BIGINT", "had_due BIGINT")

	// Most moves are alike: of one unit and verb, from one row to one, which changes nothing but two balances. A list costs by its columns.
	alikeLegColumns = store.ColumnsOf("quantity BIGINT", "from_id BIGINT", "to_id BIGINT", "from_after BIGINT", "to_after BIGINT",
		"partner TEXT", "actor TEXT", "key TEXT", "hash TEXT", "recorded BIGINT")
	// And most of those are one user's, or a list's.
	ownLegColumns = store.ColumnsOf("quantity BIGINT", "from_id BIGINT", "to_id BIGINT", "from_after BIGINT", "to_after BIGINT",
		"key TEXT", "hash TEXT", "recorded BIGINT")
	alikeDiffColumns = store.ColumnsOf("id BIGINT", "before BIGINT", "after BIGINT", "prior BIGINT", "recorded BIGINT")
)

// flush writes what has been done: new rows, entries, balances. It is not complete if a move's key has been used already: the caller must
// not commit what was written then.
func (w *world) flush() (complete bool, err error) {
	err = w.send(false)
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
	left        bool // the balances still have to be sent
}

// send puts off what flush writes; sent waits for it. Apart leaves the balances for sendBalances.
func (w *world) send(apart bool) error {
	w.sending = nil
	if w.how == looking || len(w.touched) == 0 {
		return nil
	}
	if err := w.insertRows(); err != nil {
		return err
	}
	w.sending = &sending{legs: len(w.legs), left: apart}
	if len(w.legs) == 0 {
		if apart {
			return nil
		}
		return w.sendBalances()
	}
	return w.sendLegs(apart)
}

// follows tells whether the balances still have to be sent.
func (w *world) follows() bool { return w.sending != nil && w.sending.left }

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
	case s.changed != int64(s.diffs) && w.how == guessing:
		return false, store.ErrAgain
	case s.changed != int64(s.diffs):
		return false, errNotAsRead
	}
	slices.Sort(s.ids) // rows are numbered as they are inserted
	for i, l := range w.legs {
		if m := w.moves[l.move]; l.part == 0 {
			w.made[[3]string{m.Partner, m.Verb, m.Key}] = s.ids[i]
		}
	}
	if !w.left {
		for _, b := range w.touched {
			b.written()
		}
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
	if err != nil {
		return err
	}
	for _, m := range made {
		b := fresh[name{m.Owner, m.Unit}][slot{m.State, m.Lot}]
		b.ID = m.ID
		b.written()
	}
	return nil
}

// sendLegs sends the entries and, unless apart, the balances that they changed: in one statement where that can be, each being a round trip.
func (w *world) sendLegs(apart bool) error {
	s := w.sending
	m := &w.moves[0]
	legs, args := w.tx.Rows(ownLegColumns), []any{w.book, m.Unit, m.Verb, m.Partner, m.Actor, m.Reason}
	insert := selectOwnLegs + legs.SQL()
	switch alike, own := w.alike(); {
	case alike && own:
		w.addOwn(legs)
	case alike:
		legs, args = w.tx.Rows(alikeLegColumns), []any{w.book, m.Unit, m.Verb, m.Reason}
		insert = selectAlikeLegs + legs.SQL()
		w.addAlike(legs)
	default:
		legs, args = w.legRows(), []any{w.book}
		insert = selectLegs + legs.SQL()
	}
	if len(w.moves) == 1 && !w.sure { // the keys of several have been looked up
		insert += legsEnd
	}
	args = append(args, legs.Args()...)
	if apart || !w.tx.Postgres() {
		err := w.tx.Later(engine, func(r store.Row) error {
			s.ids = append(s.ids, 0)
			return r.Scan(&s.ids[len(s.ids)-1])
		}, insert+" RETURNING id", args...)
		if err == nil && !apart && len(s.ids) == s.legs {
			err = w.sendBalances()
		}
		return err
	}
	next := func(r store.Row) error {
		s.ids = append(s.ids, 0)
		return r.Scan(&s.ids[len(s.ids)-1], &s.changed)
	}
	diffs, alike := w.diffRows()
	s.diffs = diffs.Len()
	update := updateOf(diffs, alike, w.how == guessing, w.sure)
	args = append(args, diffs.Args()...)
	if w.sure { // a used key is an error
		return w.tx.Later(engine, next, withBrisk+"legs AS ("+insert+" RETURNING id), diffs AS ("+update+` RETURNING 1)
			SELECT id, CAST(? AS BIGINT) / CAST((SELECT count(*) FROM diffs) = CAST(? AS BIGINT) AS INTEGER) FROM legs`, append(args, s.diffs, s.diffs)...)
	}
	return w.tx.Later(engine, next, "WITH legs AS ("+insert+" RETURNING id), diffs AS ("+update+` AND (SELECT count(*) FROM legs) = CAST(? AS BIGINT) RETURNING 1)
		SELECT id, (SELECT count(*) FROM diffs) FROM legs`, append(args, s.legs)...)
}

// sendBalances sends the balances alone.
func (w *world) sendBalances() error {
	s := w.sending
	diffs, alike := w.diffRows()
	if s.left, s.diffs = false, diffs.Len(); s.diffs == 0 {
		return nil
	}
	update := updateOf(diffs, alike, w.how == guessing, w.sure)
	if w.sure {
		return w.tx.Later(engine, func(r store.Row) error { return r.Scan(&s.changed) }, withBrisk+"diffs AS ("+update+` RETURNING 1)
			SELECT CAST(? AS BIGINT) / CAST((SELECT count(*) FROM diffs) = CAST(? AS BIGINT) AS INTEGER)`, append(diffs.Args(), s.diffs, s.diffs)...)
	}
	n, err := w.tx.Exec(engine, update, diffs.Args()...)
	s.changed = n
	return err
}

// updateOf is the statement for balances. That they are still as they were read is asked even where they are held: nothing else keeps a lost
// update from going unseen.
func updateOf(diffs *store.Rows, alike, guessed, brisk bool) string {
	switch {
	case !guessed && alike:
		return updateAlike + diffs.SQL() + rowsAsRead
	case !guessed:
		return updateAll + diffs.SQL() + rowsAsRead + termsAsRead
	case !brisk && alike:
		return updateAlike + diffs.SQL() + rowsAsRead + plainTerms + notStated
	case !brisk:
		return updateAll + diffs.SQL() + rowsAsRead + termsAsRead + notStated
	case alike:
		return updateAlike + "brisk, " + diffs.SQL() + rowsAsRead + plainTerms + notStated
	}
	return updateAll + "brisk, " + diffs.SQL() + rowsAsRead + termsAsRead + notStated
}

const (
	insertLegs = `INSERT INTO prm_ledger_transfers (book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason,
		key, hash, effective, recorded, part, parts, from_total, to_total, corrects) `
	selectLegs = insertLegs + `SELECT ?, x.unit, x.verb, x.quantity, x.from_id, x.to_id, x.from_after, x.to_after, x.partner, x.actor, x.reason,
		x.key, x.hash, x.effective, x.recorded, x.part, x.parts, x.from_total, x.to_total, x.corrects FROM `
	selectAlikeLegs = insertLegs + `SELECT ?, ?, ?, x.quantity, x.from_id, x.to_id, x.from_after, x.to_after, x.partner, x.actor, ?,
		x.key, x.hash, x.recorded, x.recorded, 0, 1, NULL, NULL, NULL FROM `
	selectOwnLegs = insertLegs + `SELECT ?, ?, ?, x.quantity, x.from_id, x.to_id, x.from_after, x.to_after, ?, ?, ?,
		x.key, x.hash, x.recorded, x.recorded, 0, 1, NULL, NULL, NULL FROM `
	legsEnd = " WHERE TRUE ON CONFLICT DO NOTHING"

	updateAll = `UPDATE prm_ledger_balances AS b SET amount = x.after, recorded = x.recorded, lots = x.lots, seats = x.seats,
		cap = x.cap, due = x.due FROM `
	updateAlike = "UPDATE prm_ledger_balances AS b SET amount = x.after, recorded = x.recorded FROM "
	rowsAsRead  = " WHERE b.id = x.id AND b.recorded = x.prior AND b.amount = x.before"
	termsAsRead = " AND b.lots = x.had_lots AND b.seats = x.had_seats AND b.cap = x.had_cap AND b.due = x.had_due"
	plainTerms  = " AND b.lots = 0 AND b.seats = 0 AND b.cap = -1 AND b.due = 0"
	notStated   = " AND b.stated <= b.recorded"

	// brisk, where a statement reads from it, comes before its locks: nobody is waited for, or hardly. To pass over what is held costs each
	// row a second look-up and a lock of its own. Where the statements go one by one, the limit of the transaction must do.
	withBrisk = "WITH brisk AS MATERIALIZED (SELECT set_config('lock_timeout', '2ms', TRUE)), "
)

var errNotAsRead = fail.New(fail.Unavailable, "ledger: a locked balance has changed")

// alike tells whether the moves fit into alikeLegColumns; own, whether they even fit into ownLegColumns.
func (w *world) alike() (alike, own bool) {
	if len(w.legs) != len(w.moves) {
		return false, false
	}
	first := &w.moves[0]
	own = true
	for i, l := range w.legs {
		m := &w.moves[i]
		if l.move != i || m.Unit != first.Unit || m.Verb != first.Verb || m.Reason != first.Reason || m.Corrects != 0 || m.Effective != m.Recorded ||
			m.FromAfter != l.fromAfter || m.ToAfter != l.toAfter {
			return false, false
		}
		own = own && m.Partner == first.Partner && m.Actor == first.Actor
	}
	return true, own
}

func (w *world) addAlike(list *store.Rows) {
	for i, l := range w.legs {
		m := &w.moves[i]
		list.Add(l.n, l.from.ID, l.to.ID, l.fromAfter, l.toAfter, m.Partner, m.Actor, m.Key, m.Hash, m.Recorded)
	}
}

func (w *world) addOwn(list *store.Rows) {
	for i, l := range w.legs {
		m := &w.moves[i]
		list.Add(l.n, l.from.ID, l.to.ID, l.fromAfter, l.toAfter, m.Key, m.Hash, m.Recorded)
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
	plain := Terms{Cap: -1}
	alike = !slices.ContainsFunc(w.touched, func(b *balance) bool {
		return b.dirty && (b.Terms != b.wasTerms || w.how == guessing && b.Terms != plain)
	})
	list = w.tx.Rows(diffColumns)
	if alike {
		list = w.tx.Rows(alikeDiffColumns)
	}
	for _, b := range w.touched {
		had := b.wasTerms
		switch {
		case !b.dirty:
		case alike:
			list.Add(b.ID, b.wasAmount, b.Amount, b.wasRecorded, b.Recorded)
		default:
			list.Add(b.ID, b.wasAmount, b.Amount, b.wasRecorded, b.Recorded, b.Lots, b.Seats, b.Cap, b.Due, had.Lots, had.Seats, had.Cap, had.Due)
		}
	}
	return list, alike
}
