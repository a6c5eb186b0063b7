package ledger

import "github.com/partnerkit/partnerkit/internal/store"

// Replay finds the first transfer behind p's key. A caller that must refuse for another reason asks it first: a repeated call gets
// its first answer although the world has moved on since.
func Replay(tx *store.Tx, p Posting) (Transfer, bool, error) {
	var found []entry
	err := tx.Query(engine, &found, selectEntries+" WHERE t.partner_id = ? AND t.verb = ? AND t.key = ? ORDER BY t.part", p.Partner, p.Verb, p.Key)
	if err != nil || len(found) == 0 {
		return Transfer{}, false, err
	}
	t := transfers(found)[0]
	if t.Hash != p.Hash {
		return Transfer{}, true, ErrMismatch
	}
	t.Replayed = true
	return t, true, tx.Confirm()
}

var keyColumns = store.ColumnsOf("partner TEXT", "verb TEXT", "key TEXT")

// keysOf lists the keys of postings, those made for them as well: a caller whose context ended knows the key of a move that is still on its
// way, and may have used it.
func keysOf(tx *store.Tx, list []Posting) *store.Rows {
	keys := tx.Rows(keyColumns)
	asked := map[[3]string]bool{}
	for _, p := range list {
		if key := [3]string{p.Partner, p.Verb, p.Key}; !asked[key] {
			asked[key] = true
			keys.Add(p.Partner, p.Verb, p.Key)
		}
	}
	return keys
}

// lookUp asks how many of the keys have been used before. It comes after the locks on the accounts: what is used later than that, their
// holder uses.
func lookUp(tx *store.Tx, list []Posting, used *int64) error {
	keys := keysOf(tx, list)
	return tx.Later(engine, func(r store.Row) error { return r.Scan(used) }, "SELECT count(*) FROM "+keys.SQL()+` JOIN prm_ledger_transfers t
		ON t.partner_id = x.partner AND t.verb = x.verb AND t.key = x.key AND t.part = 0`, keys.Args()...)
}

// replays finds the first transfers behind the keys of postings, by key.
func replays(tx *store.Tx, list []Posting) (map[[3]string]Transfer, error) {
	keys := keysOf(tx, list)
	var entries []entry
	err := tx.Query(engine, &entries, selectEntries+" JOIN "+keys.SQL()+" ON t.partner_id = x.partner AND t.verb = x.verb AND t.key = x.key ORDER BY t.id",
		keys.Args()...)
	if err != nil {
		return nil, err
	}
	found := map[[3]string]Transfer{}
	for _, t := range transfers(entries) {
		found[[3]string{t.Partner, t.Verb, t.Key}] = t
	}
	return found, tx.Confirm()
}
