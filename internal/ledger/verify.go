package ledger

import (
	"fmt"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Verdict is what Verify found. FirstWrong is 0 when all is well; else the id of the transfer or balance that Why speaks of.
type Verdict struct {
	Transfers  int64
	Owners     int64 // beside the issuer
	FirstWrong int64
	Why        string
}

// verify is one statement, so that it judges one snapshot while others post. Each transfer is two legs; in the order of a balance's
// recorded times every leg must start where the one before ended, and the balance must end where the last did. What a transfer says that its owner
// has in all, of several lots, is the sum of them then.
//
// The + 0 keeps PostgreSQL from walking the balances in the order of the index, with all sums looked through for each.
const verify = `WITH legs AS (
		SELECT id, from_id AS balance, -quantity AS delta, from_after AS after, COALESCE(from_total, from_after) AS total, recorded, part FROM prm_ledger_transfers WHERE book = ?
		UNION ALL SELECT id, to_id, quantity, to_after, COALESCE(to_total, to_after), recorded, part FROM prm_ledger_transfers WHERE book = ?),
	chain AS (
		SELECT id, balance, delta, after, recorded, part, LAG(after, 1, CAST(0 AS BIGINT)) OVER w AS start, LAG(recorded, 1, CAST(0 AS BIGINT)) OVER w AS prior
		FROM legs WINDOW w AS (PARTITION BY balance ORDER BY recorded, id)),
	broken AS (SELECT id, balance, start + delta AS want, after, recorded, prior FROM chain WHERE start + delta <> after OR recorded < prior OR recorded = prior AND part = 0 ORDER BY recorded, id LIMIT 1),
	totals AS (SELECT l.id, l.recorded, b.owner, b.unit, b.state, l.total AS has, CAST(SUM(l.delta) OVER (PARTITION BY b.owner, b.unit, b.state ORDER BY l.recorded) AS BIGINT) AS want
		FROM legs l JOIN prm_ledger_balances b ON b.id = l.balance),
	missed AS (SELECT id, owner, unit, state, has, want FROM totals WHERE has <> want ORDER BY recorded, id LIMIT 1),
	sums AS (SELECT balance, CAST(SUM(delta) AS BIGINT) AS total, MAX(recorded) AS recorded FROM legs GROUP BY balance),
	wrong AS (SELECT b.id, b.owner, b.unit, b.state, b.amount, COALESCE(s.total, 0) AS want FROM prm_ledger_balances b
		LEFT JOIN sums s ON s.balance = b.id WHERE b.book = ? AND (b.amount <> COALESCE(s.total, 0) OR b.recorded < COALESCE(s.recorded, 0)) ORDER BY b.id + 0 LIMIT 1),
	mixed AS (SELECT t.id FROM prm_ledger_transfers t LEFT JOIN prm_ledger_balances f ON f.id = t.from_id LEFT JOIN prm_ledger_balances o ON o.id = t.to_id
		WHERE ? IN (t.book, f.book, o.book) AND (f.id IS NULL OR o.id IS NULL OR f.book <> t.book OR o.book <> t.book OR f.unit <> t.unit OR o.unit <> t.unit)
		ORDER BY t.id LIMIT 1),
	seated AS (SELECT b.id, b.owner, b.unit, b.seats AS has, (SELECT count(*) FROM prm_ledger_seats s
		WHERE s.owner = b.owner AND s.unit = b.unit AND s.book = b.book AND s.ended_at = 0) AS want FROM prm_ledger_balances b WHERE b.book = ? AND b.state = 'held' AND b.lot = 0),
	apart AS (SELECT b.id, b.owner, b.unit, COALESCE((SELECT CAST(SUM(r.amount) AS BIGINT) FROM prm_ledger_balances r
		WHERE r.owner = b.owner AND r.book = b.book AND r.unit = b.unit AND r.state = 'reserved'), 0) AS has,
		COALESCE((SELECT CAST(SUM(r.quantity) AS BIGINT) FROM prm_ledger_reservations r WHERE r.owner = b.owner AND r.unit = b.unit AND r.book = b.book AND r.state = 'open'), 0) AS want
		FROM prm_ledger_balances b WHERE b.book = ? AND b.book = 'license' AND b.state = 'held' AND b.lot = 0),
	apiece AS (SELECT id, owner, unit, 'seats in use' AS what, has, want FROM seated WHERE has <> want
		UNION ALL SELECT id, owner, unit, 'units reserved', has, want FROM apart WHERE has <> want ORDER BY id, what LIMIT 1)
	SELECT (SELECT count(*) FROM prm_ledger_transfers WHERE book = ? AND part = 0) AS transfers,
		(SELECT id FROM apiece) AS apiece_id, (SELECT owner FROM apiece) AS apiece_owner, (SELECT unit FROM apiece) AS apiece_unit,
		(SELECT what FROM apiece) AS apiece_what, (SELECT has FROM apiece) AS apiece_has, (SELECT want FROM apiece) AS apiece_want,
		(SELECT count(DISTINCT owner) FROM prm_ledger_balances WHERE book = ? AND owner <> 'issuer') AS owners,
		(SELECT id FROM mixed) AS mixed_id,
		(SELECT id FROM broken) AS broken_id, (SELECT balance FROM broken) AS broken_balance, (SELECT want FROM broken) AS broken_want, (SELECT after FROM broken) AS broken_after,
		(SELECT id FROM missed) AS missed_id, (SELECT owner FROM missed) AS missed_owner, (SELECT unit FROM missed) AS missed_unit,
		(SELECT state FROM missed) AS missed_state, (SELECT has FROM missed) AS missed_has, (SELECT want FROM missed) AS missed_want,
		(SELECT id FROM wrong) AS wrong_id, (SELECT owner FROM wrong) AS wrong_owner, (SELECT unit FROM wrong) AS wrong_unit,
		(SELECT state FROM wrong) AS wrong_state, (SELECT amount FROM wrong) AS wrong_amount, (SELECT want FROM wrong) AS wrong_want`

// Verify rebuilds every balance of a book from its transfers.
func Verify(tx *store.Tx, book Book) (Verdict, error) {
	var r struct {
		Transfers, Owners                                int64
		MixedID                                          *int64
		BrokenID, BrokenBalance, BrokenWant, BrokenAfter *int64
		MissedID, MissedHas, MissedWant                  *int64
		MissedOwner, MissedUnit, MissedState             *string
		WrongID                                          *int64
		WrongOwner, WrongUnit, WrongState                *string
		WrongAmount, WrongWant                           *int64
		ApieceID, ApieceHas, ApieceWant                  *int64
		ApieceOwner, ApieceUnit, ApieceWhat              *string
	}
	if err := tx.Query(engine, &r, verify, book, book, book, book, book, book, book, book); err != nil {
		return Verdict{}, err
	}
	v := Verdict{Transfers: r.Transfers, Owners: r.Owners}
	switch {
	case r.MixedID != nil:
		v.FirstWrong = *r.MixedID
		v.Why = fmt.Sprintf("transfer %d joins balances of different books or units, or one that is gone", v.FirstWrong)
	case r.BrokenID != nil && *r.BrokenWant == *r.BrokenAfter:
		v.FirstWrong = *r.BrokenID
		v.Why = fmt.Sprintf("transfer %d of balance %d is not recorded after the one before it", v.FirstWrong, *r.BrokenBalance)
	case r.BrokenID != nil:
		v.FirstWrong = *r.BrokenID
		v.Why = fmt.Sprintf("transfer %d leaves balance %d at %d, its history gives %d", v.FirstWrong, *r.BrokenBalance, *r.BrokenAfter, *r.BrokenWant)
	case r.MissedID != nil:
		v.FirstWrong = *r.MissedID
		v.Why = fmt.Sprintf("transfer %d says that it leaves %s with %d %s of %s, its history gives %d", v.FirstWrong, *r.MissedOwner, *r.MissedHas, *r.MissedState,
			*r.MissedUnit, *r.MissedWant)
	case r.WrongID != nil && *r.WrongWant == *r.WrongAmount:
		v.FirstWrong = *r.WrongID
		v.Why = fmt.Sprintf("balance %d (%s of %s, %s) is older than its last transfer", v.FirstWrong, *r.WrongUnit, *r.WrongOwner, *r.WrongState)
	case r.WrongID != nil:
		v.FirstWrong = *r.WrongID
		v.Why = fmt.Sprintf("balance %d (%s of %s, %s) is %d, its history gives %d", v.FirstWrong, *r.WrongUnit, *r.WrongOwner, *r.WrongState, *r.WrongAmount, *r.WrongWant)
	case r.ApieceID != nil:
		v.FirstWrong = *r.ApieceID
		v.Why = fmt.Sprintf("balance %d (%s of %s) stands for %d %s, there are %d", v.FirstWrong, *r.ApieceUnit, *r.ApieceOwner, *r.ApieceHas, *r.ApieceWhat, *r.ApieceWant)
	}
	return v, nil
}
