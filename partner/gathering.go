package partner

import (
	"cmp"
	"maps"
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// gathering reads what the decisions about several calls need: each kind of row once, for all of them. The facts it makes are those that readFacts would.
type gathering struct {
	reg      *Registry
	tx       *store.Tx
	calls    []Call
	actors   []actor
	verdicts []Verdict
	passing  bool
	passed   gates
	crowd    set // targets whose rows are shared instead, being too many for a gate each

	sessions   map[string]*sessionRefs // by token
	identities map[string]*identityFacts
	users      map[string]*userFacts
	partners   map[string]*partnerFacts
	accounts   map[string]*accountFacts
}

// sessionRefs is a session with the rows that it leads to.
type sessionRefs struct {
	sessionFacts
	identity, user, partner, account, active string
}

var (
	tokenColumns = store.ColumnsOf("token TEXT")
	idColumns    = store.ColumnsOf("id TEXT")
)

// gatesOfAll are the gates of calls that change nothing, as gatesOf has them for one: of these tokens, and of these targets.
const (
	gatesOfAll = `, own AS (SELECT account_id AS id FROM k UNION SELECT active_id FROM k),
	par AS (SELECT partner_id AS id FROM k UNION SELECT partner_id FROM prm_accounts WHERE id IN (SELECT id FROM own UNION SELECT id FROM targets)
		UNION SELECT id FROM prm_partners WHERE id IN (SELECT id FROM targets)),
	gates AS MATERIALIZED (SELECT id FROM (SELECT id FROM own UNION SELECT id FROM par UNION SELECT identity_id FROM k
		UNION SELECT id FROM prm_accounts WHERE id IN (SELECT id FROM targets) AND CAST(? AS BOOLEAN)
		UNION SELECT 'tree/' || split_part(path, '/', 2) FROM prm_partners WHERE id IN (SELECT id FROM par)) d WHERE id <> '' ORDER BY id)`
	enterAll = ` SELECT id, CAST(pg_advisory_xact_lock_shared(hashtextextended(id, ?)) AS TEXT) FROM gates`
	// The key of a write can be in the hands of a transaction that stays open; nobody waits for that long here.
	enterFree = `, patience AS MATERIALIZED (SELECT set_config('lock_timeout', '250ms', TRUE))
	SELECT id, '' FROM gates, patience WHERE pg_try_advisory_xact_lock_shared(hashtextextended(id, ?))`

	// maxGates bounds the accounts that one transaction passes a gate for: a server has room for some thousands of such locks. A longer
	// list shares the rows themselves.
	maxGates = 256
)

// passGates passes the gates of all calls; where nobody is waited for, those that are free.
func (g *gathering) passGates() error {
	if !g.tx.Postgres() {
		return nil
	}
	tokens, targets := set{}, set{}
	for i, c := range g.calls {
		if g.verdicts[i].Err == nil {
			tokens.add(g.actors[i].token)
			if store.Plain(c.Ask.Target) {
				targets.add(c.Ask.Target)
			}
		}
	}
	of, about := tokens.rows(g.tx, tokenColumns), targets.rows(g.tx, idColumns)
	query := "WITH k AS (SELECT s.partner_id, s.account_id, s.active_id, s.identity_id FROM " + of.SQL() + ` JOIN prm_sessions s ON s.token_hash = x.token),
		targets AS (SELECT x.id FROM ` + about.SQL() + ")" + gatesOfAll
	args := append(append(of.Args(), about.Args()...), len(targets) <= maxGates, gateSeed)
	if len(targets) > maxGates {
		g.crowd = targets
	}
	if g.passing {
		return g.tx.Scan(deciding, g.passed.note, query+enterFree, args...)
	}
	return g.tx.Scan(deciding, g.passed.note, query+enterAll, args...)
}

// locked is what the reads of a gathering end with; see factsLocked.
func locked(g *gathering, strength string) string {
	if g.tx.Frozen() || g.crowd != nil {
		return g.tx.Lock(strength)
	}
	return ""
}

// factsOfAll reads each row that the decisions need once, whatever it is: a kind, an id, texts, numbers, flags.
func factsOfAll(g *gathering, tokens, targets *store.Rows) string {
	return "WITH targets AS (SELECT x.id FROM " + targets.SQL() + `),
	s AS MATERIALIZED (SELECT s.* FROM ` + tokens.SQL() + " JOIN prm_sessions s ON s.token_hash = x.token" + locked(g, "KEY SHARE OF s") + `),
	i AS MATERIALIZED (SELECT * FROM prm_identities WHERE id IN (SELECT identity_id FROM s) ORDER BY id` + locked(g, "SHARE") + `),
	u AS MATERIALIZED (SELECT * FROM prm_users WHERE id IN (SELECT user_id FROM s) ORDER BY id` + locked(g, "SHARE") + `),
	a AS MATERIALIZED (SELECT * FROM prm_accounts WHERE id IN (SELECT account_id FROM s UNION ALL SELECT active_id FROM s UNION ALL SELECT id FROM targets)
		ORDER BY id` + locked(g, "SHARE") + `),
	p AS MATERIALIZED (SELECT * FROM prm_partners WHERE id IN (SELECT partner_id FROM s UNION ALL SELECT partner_id FROM a UNION ALL SELECT id FROM targets)
		ORDER BY id` + locked(g, "SHARE") + `)
	SELECT 's', id, token_hash, identity_id, partner_id, COALESCE(user_id, ''), COALESCE(account_id, ''), COALESCE(active_id, ''),
		identity_epoch, partner_epoch, account_epoch, seen_at, ends_at, 0, FALSE, FALSE FROM s
	UNION ALL SELECT 'i', id, '', '', '', '', '', '', epoch, 0, 0, 0, 0, 0, FALSE, FALSE FROM i
	UNION ALL SELECT 'u', id, role, '', '', '', '', '', 0, 0, 0, 0, 0, 0, disabled, FALSE FROM u
	UNION ALL SELECT 'a', id, partner_id, type, state, region, '', '', blocks, epoch, 0, 0, 0, 0, FALSE, FALSE FROM a
	UNION ALL SELECT 'p', id, path, state, '', '', '', '', own_blocks, own_inherited, own_epoch, users_blocks, users_inherited, users_epoch,
		operate, manages_sub_partners FROM p`
}

// read reads the rows of all calls that are still in question.
func (g *gathering) read() error {
	tokens, targets := set{}, set{}
	for i, c := range g.calls {
		if g.verdicts[i].Err == nil {
			tokens.add(g.actors[i].token)
			if store.Plain(c.Ask.Target) {
				targets.add(c.Ask.Target)
			}
		}
	}
	of, about := tokens.rows(g.tx, tokenColumns), targets.rows(g.tx, idColumns)
	g.sessions, g.identities, g.users = map[string]*sessionRefs{}, map[string]*identityFacts{}, map[string]*userFacts{}
	g.partners, g.accounts = map[string]*partnerFacts{}, map[string]*accountFacts{}
	return g.tx.Scan(deciding, g.keep, factsOfAll(g, of, about), append(about.Args(), of.Args()...)...)
}

// keep keeps one row of factsOfAll.
func (g *gathering) keep(r store.Row) error {
	var kind, id string
	var t [6]string
	var n [6]int64
	var f [2]bool
	err := r.Scan(&kind, &id, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &f[0], &f[1])
	switch kind {
	case "s":
		g.sessions[t[0]] = &sessionRefs{sessionFacts{id, n[0], n[1], n[2], store.Micros(n[3]), store.Micros(n[4])}, t[1], t[3], t[2], t[4], t[5]}
	case "i":
		g.identities[id] = &identityFacts{id, n[0]}
	case "u":
		g.users[id] = &userFacts{id, t[0], f[0]}
	case "a":
		g.accounts[id] = &accountFacts{id, t[0], t[1], t[2], blocks(n[0]), n[1], t[3]}
	case "p":
		g.partners[id] = &partnerFacts{id, t[0], t[1], f[0], f[1], blocks(n[0]), int(n[1]), n[2], blocks(n[3]), int(n[4]), n[5]}
	}
	return err
}

// set is a set of ids.
type set map[string]bool

func (s set) add(id string) {
	if id != "" {
		s[id] = true
	}
}

func (s set) rows(tx *store.Tx, c store.Columns) *store.Rows {
	list := tx.Rows(c)
	for _, id := range slices.Sorted(maps.Keys(s)) {
		list.Add(id)
	}
	return list
}

// facts puts together what is known for one call, as readFacts has it.
func (g *gathering) facts(i int) (f facts) {
	ask := g.calls[i].Ask
	f = facts{now: g.tx.Now(), limits: g.reg.opts.Session, actor: g.actors[i], target: ask.Target, active: ask.Target == "" && rules[ask.Action].active}
	target := ask.Target
	if s := g.sessions[f.actor.token]; s != nil {
		f.Session = s.sessionFacts
		f.Identity = row(g.identities, s.identity)
		f.User = row(g.users, s.user)
		f.factRows.Partner = row(g.partners, s.partner)
		f.Own = row(g.accounts, s.account)
		f.Active = row(g.accounts, s.active)
		lender := row(g.partners, f.Active.PartnerID)
		f.Lender.ID, f.Lender.Path = lender.ID, lender.Path
		if f.active {
			target = s.active
		}
	}
	f.Account = row(g.accounts, target)
	f.Holder = row(g.partners, cmp.Or(f.Account.PartnerID, target))
	return f
}

// row is a copy of a row, or an empty one.
func row[T any](rows map[string]*T, id string) (v T) {
	if r := rows[id]; r != nil {
		v = *r
	}
	return v
}
