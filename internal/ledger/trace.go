package ledger

import (
	"github.com/partnerkit/partnerkit/internal/store"
)

// Trace returns, oldest first, the transfers that units of the given one may have come through, back to the issuer, and those they
// may have gone on with. Units of one lot are alike: where lots are undated, "may" is all that can be known, and the order of
// recorded times is what rules the rest out.
//
// It walks balances, not transfers: whatever reached a balance before a time may be in it then, so one time a balance is enough.
func Trace(tx *store.Tx, book Book, id int64) ([]Transfer, error) {
	var start []struct {
		FromID, ToID int64
		Recorded     store.Micros
	}
	err := tx.Query(engine, &start, `SELECT t.from_id, t.to_id, t.recorded FROM prm_ledger_transfers t JOIN prm_ledger_transfers first
		ON t.partner_id = first.partner_id AND t.verb = first.verb AND t.key = first.key WHERE first.id = ? AND first.book = ? AND first.part = 0`, id, book)
	if err != nil || len(start) == 0 {
		return nil, err
	}
	var list []entry
	if err := tx.Query(engine, &list, selectEntries+" WHERE t.id = ?", id); err != nil {
		return nil, err
	}
	for _, part := range start {
		up, err := reach(tx, part.FromID, part.Recorded, true)
		if err != nil {
			return nil, err
		}
		for balance, until := range up {
			var found []entry
			if err := tx.Query(engine, &found, selectEntries+" WHERE t.to_id = ? AND t.recorded < ?", balance, until); err != nil {
				return nil, err
			}
			list = append(list, found...)
		}
		down, err := reach(tx, part.ToID, part.Recorded, false)
		if err != nil {
			return nil, err
		}
		for balance, since := range down {
			var found []entry
			if err := tx.Query(engine, &found, selectEntries+" WHERE t.from_id = ? AND t.recorded > ?", balance, since); err != nil {
				return nil, err
			}
			list = append(list, found...)
		}
	}
	return whole(tx, list)
}

// whole makes transfers of entries, each with all its parts, oldest first.
func whole(tx *store.Tx, list []entry) ([]Transfer, error) {
	keys := tx.Rows(keyColumns)
	seen := map[[3]string]bool{}
	for _, e := range list {
		if key := [3]string{e.PartnerID, e.Verb, e.Key}; !seen[key] {
			seen[key] = true
			keys.Add(e.PartnerID, e.Verb, e.Key)
		}
	}
	var all []entry
	err := tx.Query(engine, &all, selectEntries+" JOIN "+keys.SQL()+` ON t.partner_id = x.partner AND t.verb = x.verb AND t.key = x.key
		ORDER BY t.recorded, t.id`, keys.Args()...)
	return transfers(all), err
}

// The balances on the other side of a balance's transfers before, or after, a time, each with the time that reaches furthest. What has
// come from the issuer was nowhere before, and what has gone back to it is nowhere after.
const (
	sourcesBefore = `SELECT t.from_id AS id, MAX(t.recorded) AS at FROM prm_ledger_transfers t JOIN prm_ledger_balances b ON b.id = t.from_id
		WHERE t.to_id = ? AND t.recorded < ? AND b.owner <> ? GROUP BY t.from_id`
	targetsAfter = `SELECT t.to_id AS id, MIN(t.recorded) AS at FROM prm_ledger_transfers t JOIN prm_ledger_balances b ON b.id = t.to_id
		WHERE t.from_id = ? AND t.recorded > ? AND b.owner <> ? GROUP BY t.to_id`
)

// reach finds every balance that can be got to from one, back towards the issuer or forth, with the time that it can be got to at.
func reach(tx *store.Tx, from int64, at store.Micros, back bool) (map[int64]store.Micros, error) {
	var owner string
	if err := tx.Query(engine, &owner, "SELECT owner FROM prm_ledger_balances WHERE id = ?", from); err != nil || owner == Issuer {
		return nil, err
	}
	neighbours := targetsAfter
	if back {
		neighbours = sourcesBefore
	}
	known := map[int64]store.Micros{from: at}
	for open := []int64{from}; len(open) > 0; {
		balance := open[0]
		open = open[1:]
		var found []struct {
			ID int64
			At store.Micros
		}
		if err := tx.Query(engine, &found, neighbours, balance, known[balance], Issuer); err != nil {
			return nil, err
		}
		for _, n := range found {
			if was, seen := known[n.ID]; !seen || n.At > was == back && n.At != was {
				known[n.ID] = n.At
				open = append(open, n.ID)
			}
		}
	}
	return known, nil
}
