package ledger

import (
	"github.com/partnerkit/partnerkit/internal/store"
)

// Balance is what an owner has of one unit in one state and lot.
type Balance struct {
	Unit   string
	State  State
	Lot    int64
	Amount int64
}

// Balances returns an owner's balances in a book, of one unit or of all (""), by unit.
func Balances(tx *store.Tx, book Book, owner, unit string) ([]Balance, error) {
	var list []Balance
	err := tx.Query(engine, &list, `SELECT unit, state, lot, amount FROM prm_ledger_balances
		WHERE owner = ? AND book = ? AND (? = '' OR unit = ?) ORDER BY unit, state, lot`, owner, book, unit, unit)
	return list, err
}

// LockBalances is Balances under the row locks, in their order, for a caller that will move them all.
func LockBalances(tx *store.Tx, book Book, owner string) ([]Balance, error) {
	var list []Balance
	err := tx.Query(engine, &list, `SELECT unit, state, lot, amount FROM prm_ledger_balances
		WHERE owner = ? AND book = ? ORDER BY id`+tx.Lock("UPDATE"), owner, book)
	return list, err
}

// Moved tells whether an owner has any transfer in a book.
func Moved(tx *store.Tx, book Book, owner string) (bool, error) {
	var n int64
	err := tx.Query(engine, &n, `SELECT count(*) FROM (SELECT 1 FROM prm_ledger_balances b WHERE b.owner = ? AND b.book = ? AND (
		EXISTS (SELECT 1 FROM prm_ledger_transfers t WHERE t.from_id = b.id) OR EXISTS (SELECT 1 FROM prm_ledger_transfers t WHERE t.to_id = b.id))
		LIMIT 1) x`, owner, book)
	return n > 0, err
}

// Drop removes an owner's balances in a book; only those without a transfer can go.
func Drop(tx *store.Tx, book Book, owner string) error {
	_, err := tx.Exec(engine, "DELETE FROM prm_ledger_balances WHERE owner = ? AND book = ?", owner, book)
	return err
}

// Settle waits for the transfers of an owner that are in flight, and lets none begin until tx ends: what is recorded up to now is then
// all there is, and a statement of it stays as it is.
func Settle(tx *store.Tx, book Book, owner string) error {
	var ids []int64
	return tx.Query(engine, &ids, "SELECT id FROM prm_ledger_balances WHERE owner = ? AND book = ? ORDER BY id"+tx.Lock("SHARE"), owner, book)
}

// HoldingsAt returns an owner's balances as they were at effective, as known at known.
//
// Most transfers take effect when recorded, so the answer is the running balance at t = min(effective, known), found by index,
// mended by the dated transfers alone: take back those recorded by t that take effect after effective, add those recorded in
// (t, known] that take effect by effective.
func HoldingsAt(tx *store.Tx, book Book, owner string, effective, known store.Micros) ([]Balance, error) {
	var list []Balance
	t := min(effective, known)
	err := tx.Query(engine, &list, `SELECT unit, state, lot, amount FROM (SELECT b.unit, b.state, b.lot,
		COALESCE((SELECT x.after FROM (
			SELECT * FROM (SELECT t.from_after AS after, t.recorded FROM prm_ledger_transfers t WHERE t.from_id = b.id AND t.recorded <= ? ORDER BY t.recorded DESC LIMIT 1) o
			UNION ALL
			SELECT * FROM (SELECT t.to_after AS after, t.recorded FROM prm_ledger_transfers t WHERE t.to_id = b.id AND t.recorded <= ? ORDER BY t.recorded DESC LIMIT 1) i
		) x ORDER BY x.recorded DESC LIMIT 1), 0)
		+ COALESCE((SELECT CAST(SUM(`+mend+`t.quantity) AS BIGINT) FROM prm_ledger_transfers t WHERE t.from_id = b.id AND t.effective <> t.recorded), 0)
		- COALESCE((SELECT CAST(SUM(`+mend+`t.quantity) AS BIGINT) FROM prm_ledger_transfers t WHERE t.to_id = b.id AND t.effective <> t.recorded), 0) AS amount
		FROM prm_ledger_balances b WHERE b.owner = ? AND b.book = ?) h WHERE amount <> 0 ORDER BY unit, state, lot`,
		t, t, t, effective, t, known, effective, t, effective, t, known, effective, owner, book)
	return list, err
}

// mend is +1 for a dated transfer to take back, -1 for one to add, seen from the side that lost the units.
const mend = `(CASE WHEN t.recorded <= ? AND t.effective > ? THEN 1 WHEN t.recorded > ? AND t.recorded <= ? AND t.effective <= ? THEN -1 ELSE 0 END) * `

// Span is a stretch of recorded time, [From, Until); a zero Until is open.
type Span struct{ From, Until store.Micros }

// forever is later than any recorded time.
const forever = store.Micros(1<<63 - 1)

// Place is the position behind the last transfer of a page.
type Place struct {
	Recorded store.Micros
	ID       int64
}

// History returns at most limit transfers that touched the owner's balances of unit ("" is every unit), newest first, behind place
// (nil is the start).
func History(tx *store.Tx, book Book, owner, unit string, place *Place, limit int) ([]Transfer, error) {
	if place == nil {
		place = &Place{Recorded: forever, ID: 1<<63 - 1}
	}
	var list []Transfer
	arm := func(side string) string {
		return `SELECT * FROM (SELECT t.id FROM prm_ledger_transfers t WHERE t.` + side + ` IN (SELECT b.id FROM prm_ledger_balances b
			WHERE b.owner = ? AND b.book = ? AND (? = '' OR b.unit = ?)) AND (t.recorded, t.id) < (?, ?) ORDER BY t.recorded DESC, t.id DESC LIMIT ?) ` + side
	}
	args := []any{owner, book, unit, unit, place.Recorded, place.ID, limit}
	err := tx.Query(engine, &list, selectTransfers+` WHERE t.id IN (`+arm("from_id")+` UNION `+arm("to_id")+`)
		ORDER BY t.recorded DESC, t.id DESC LIMIT ?`, append(append(args, args...), limit)...)
	return list, err
}

// Statement returns what the owner's balance of unit in state was at the start of span, and every transfer that changed it since,
// oldest first.
func Statement(tx *store.Tx, book Book, owner, unit string, state State, span Span) (opening int64, list []Transfer, err error) {
	if span.Until == 0 {
		span.Until = forever
	}
	before, err := HoldingsAt(tx, book, owner, forever, span.From-1)
	if err != nil {
		return 0, nil, err
	}
	for _, b := range before {
		if b.Unit == unit && b.State == state {
			opening += b.Amount
		}
	}
	err = tx.Query(engine, &list, selectTransfers+` WHERE t.book = ? AND t.unit = ? AND t.recorded >= ? AND t.recorded < ?
		AND t.id IN (SELECT x.id FROM prm_ledger_transfers x JOIN prm_ledger_balances b ON b.id = x.from_id WHERE b.owner = ? AND b.book = ? AND b.unit = ? AND b.state = ?
		UNION SELECT x.id FROM prm_ledger_transfers x JOIN prm_ledger_balances b ON b.id = x.to_id WHERE b.owner = ? AND b.book = ? AND b.unit = ? AND b.state = ?)
		ORDER BY t.recorded, t.id`,
		book, unit, span.From, span.Until, owner, book, unit, state, owner, book, unit, state)
	return opening, list, err
}
