package ledger

import (
	"github.com/partnerkit/partnerkit/internal/store"
)

// Span is a stretch of recorded time, [From, Until); a zero Until is open.
type Span struct{ From, Until store.Micros }

// Place is the position behind the last transfer of a page.
type Place struct {
	Recorded store.Micros
	ID       int64
}

// History returns at most limit transfers that touched the owner's balances of unit ("" is every unit), newest first, behind place
// (nil is the start).
func History(tx *store.Tx, book Book, owner, unit string, place *Place, limit int) ([]Transfer, error) {
	if place == nil {
		place = &Place{Recorded: Forever, ID: 1<<63 - 1}
	}
	arm := func(side string) string {
		return `SELECT * FROM (SELECT t.id FROM prm_ledger_transfers t WHERE t.` + side + ` IN (SELECT b.id FROM prm_ledger_balances b
			WHERE b.owner = ? AND b.book = ? AND (? = '' OR b.unit = ?)) AND (t.recorded, t.id) < (?, ?) AND t.part = 0
			ORDER BY t.recorded DESC, t.id DESC LIMIT ?) ` + side
	}
	args := []any{owner, book, unit, unit, place.Recorded, place.ID, limit}
	var list []entry
	err := tx.Query(engine, &list, selectEntries+` WHERE t.id IN (`+arm("from_id")+` UNION `+arm("to_id")+`)
		ORDER BY t.recorded DESC, t.id DESC LIMIT ?`, append(append(args, args...), limit)...)
	if err != nil {
		return nil, err
	}
	return withParts(tx, list)
}

// withParts makes transfers of their first entries.
func withParts(tx *store.Tx, list []entry) ([]Transfer, error) {
	keys := tx.Rows(keyColumns)
	for _, e := range list {
		if e.Parts > 1 {
			keys.Add(e.PartnerID, e.Verb, e.Key)
		}
	}
	if keys.Len() == 0 {
		return transfers(list), nil
	}
	var more []entry
	err := tx.Query(engine, &more, selectEntries+" JOIN "+keys.SQL()+` ON t.partner_id = x.partner AND t.verb = x.verb AND t.key = x.key
		WHERE t.part > 0 ORDER BY t.id`, keys.Args()...)
	return transfers(append(list, more...)), err
}

// Statement returns what the owner held of unit at the start of span, lots together, and every transfer that changed it since, oldest
// first.
func Statement(tx *store.Tx, book Book, owner, unit string, span Span) (opening int64, list []Transfer, err error) {
	if span.Until == 0 {
		span.Until = Forever
	}
	before, err := holdings(tx, book, owner, unit, []Point{{Effective: Forever, Known: span.From - 1}})
	if err != nil {
		return 0, nil, err
	}
	for _, r := range before[0] {
		if r.State == Held {
			opening += r.Amount
		}
	}
	var rows []entry
	err = tx.Query(engine, &rows, selectEntries+` WHERE t.book = ? AND t.unit = ? AND t.recorded >= ? AND t.recorded < ?
		AND t.id IN (SELECT y.id FROM prm_ledger_transfers y JOIN prm_ledger_balances b ON b.id = y.from_id WHERE b.owner = ? AND b.book = ? AND b.unit = ? AND b.state = 'held'
		UNION SELECT y.id FROM prm_ledger_transfers y JOIN prm_ledger_balances b ON b.id = y.to_id WHERE b.owner = ? AND b.book = ? AND b.unit = ? AND b.state = 'held')
		ORDER BY t.recorded, t.id`,
		book, unit, span.From, span.Until, owner, book, unit, owner, book, unit)
	return opening, transfers(rows), err
}

// Corrected tells whether there is a correction of a transfer.
func Corrected(tx *store.Tx, id int64) (bool, error) {
	var n int64
	err := tx.Query(engine, &n, "SELECT count(*) FROM prm_ledger_transfers WHERE corrects = ?", id)
	return n > 0, err
}

// Find reads a transfer by the id of its first entry; false if there is none.
func Find(tx *store.Tx, book Book, id int64) (Transfer, bool, error) {
	var rows []entry
	err := tx.Query(engine, &rows, selectEntries+" WHERE t.id = ? AND t.book = ? AND t.part = 0", id, book)
	if err != nil || len(rows) == 0 {
		return Transfer{}, false, err
	}
	list, err := withParts(tx, rows)
	return list[0], true, err
}
