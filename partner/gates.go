package partner

import (
	"slices"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// PostgreSQL's row locks are not fair: callers who share a row are let in past one who waits to change it, so that the traffic of the
// blocked could put off their own block for ever. Advisory locks queue. Every writing call therefore passes a gate for each thing that
// its decision rests on, together with others; a call that changes one of them passes that one's gate alone, and so waits for the calls
// in flight and for no later one. They end with the transaction. SQLite has one writer and needs none.

// gateSeed keeps our keys apart from a host's own advisory locks: "prm".
const gateSeed = 0x70726d

// gatesOf are the keys of a call, each with whether it is passed alone, locked in the order of their names.
const gatesOf = `WITH k AS (SELECT partner_id, account_id, active_id, identity_id FROM prm_sessions WHERE token_hash = ?),
	acc AS (SELECT account_id AS id FROM k UNION SELECT active_id FROM k UNION SELECT CAST(? AS TEXT)),
	par AS (SELECT partner_id AS id FROM k UNION SELECT partner_id FROM prm_accounts WHERE id IN (SELECT id FROM acc)
		UNION SELECT CAST(? AS TEXT) UNION SELECT CAST(? AS TEXT)),
	keys AS (SELECT id, id = CAST(? AS TEXT) AND CAST(? AS BOOLEAN) AS alone FROM (SELECT id FROM acc UNION SELECT id FROM par) x
		UNION ALL SELECT identity_id, CAST(? AS BOOLEAN) FROM k UNION ALL SELECT CAST(? AS TEXT), TRUE
		UNION ALL SELECT 'tree/' || split_part(path, '/', 2), CAST(? AS BOOLEAN) FROM prm_partners WHERE id IN (SELECT id FROM par))
	SELECT id, CASE WHEN alone THEN CAST(pg_advisory_xact_lock(hashtextextended(id, ?)) AS TEXT)
		ELSE CAST(pg_advisory_xact_lock_shared(hashtextextended(id, ?)) AS TEXT) END
	FROM (SELECT id, bool_or(alone) AS alone FROM keys WHERE id <> '' GROUP BY id ORDER BY id) g`

// gates are those that a transaction has passed; none on SQLite, where a writer is alone.
type gates map[string]bool

// pass waits at the gates of a call.
func (g *gates) pass(tx *store.Tx, a actor, ask Ask) error {
	if !tx.Postgres() {
		return nil
	}
	target := ask.Target
	if !store.Plain(target) {
		target = ""
	}
	return tx.Scan(deciding, g.note, gatesOf, a.token, target, target, string(ask.also), target, ask.Changes, ask.turns || ask.Changes && target == "",
		ask.person, ask.below, gateSeed, gateSeed)
}

// note notes a gate that has been passed.
func (g *gates) note(r store.Row) error {
	if *g == nil {
		*g = gates{}
	}
	var id, void string
	err := r.Scan(&id, &void)
	(*g)[id] = true
	return err
}

// cover tells whether the gates are those of what a decision turned out to rest on: while a call waits at one, its project can move to
// another tree, and its session into another project.
func (g gates) cover(tx *store.Tx, f *facts, but map[string]bool) bool {
	if !tx.Postgres() {
		return true
	}
	for _, id := range f.gates() {
		if !g[id] && !but[id] {
			return false
		}
	}
	return true
}

// gates are the names of those that a decision on f needs.
func (f *facts) gates() []string {
	list := make([]string, 0, 10)
	for _, id := range []string{f.factRows.Partner.ID, f.guest.partner.ID, f.Own.ID, f.Active.ID, f.Identity.ID, f.Lender.ID, f.Account.ID, f.Holder.ID} {
		if id != "" && !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	tree := ""
	for _, path := range []string{f.factRows.Partner.Path, f.guest.partner.Path, f.Lender.Path, f.Holder.Path} {
		if root, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); root != "" && root != tree {
			tree = root
			list = append(list, "tree/"+root)
		}
	}
	return list
}

// gateRounds bounds how often a call looks for the gates it needs.
const gateRounds = 3

// enterGates waits at the gates of these ids together with others, for a log-in, which has no session yet.
func enterGates(tx *store.Tx, ids ...string) error {
	if !tx.Postgres() {
		return nil
	}
	var n int64
	return tx.Query(deciding, &n, `SELECT count(CAST(pg_advisory_xact_lock_shared(hashtextextended(id, ?)) AS TEXT))
		FROM (SELECT id FROM prm_partners WHERE id IN ? UNION SELECT id FROM prm_accounts WHERE id IN ? UNION SELECT id FROM prm_identities WHERE id IN ?
		UNION SELECT 'tree/' || split_part(path, '/', 2) FROM prm_partners WHERE id IN ? ORDER BY id) g`, gateSeed, ids, ids, ids, ids)
}
