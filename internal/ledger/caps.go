package ledger

import "github.com/partnerkit/partnerkit/internal/store"

// SetCap limits the units that an owner may have, used up ones included; -1 lifts it. It returns what the cap was.
func SetCap(tx *store.Tx, book Book, owner, unit, partner string, limit int64) (was int64, notes []Note, err error) {
	w, a, err := hold(tx, book, owner, unit, partner)
	if err != nil {
		return 0, nil, err
	}
	was, a.head.Cap = a.head.Cap, limit
	w.touch(a.head)
	_, err = w.flush()
	return was, w.notes, err
}

// Caps returns an owner's caps, by unit.
func Caps(tx *store.Tx, book Book, owner string) (map[string]int64, error) {
	var rows []struct {
		Unit string
		Cap  int64
	}
	err := tx.Query(engine, &rows, "SELECT unit, cap FROM prm_ledger_balances WHERE owner = ? AND book = ? AND cap >= 0", owner, book)
	caps := map[string]int64{}
	for _, r := range rows {
		caps[r.Unit] = r.Cap
	}
	return caps, err
}
