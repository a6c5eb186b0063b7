package partner

import (
	"maps"
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// gathering finds what the decisions about several calls need: from memory, or by reading each kind of row once for all of them. The facts
// it makes are those that readFacts would.
type gathering struct {
	reg      *Registry
	tx       *store.Tx
	asks     []Ask
	verdicts []Verdict
	passing  bool // nobody is waited for
	guessing bool // what is remembered is taken for true, and the statements see to it that it is
	ahead    func(*store.Tx, []Verdict) error
	passed   gates
	crowd    set // targets whose rows are shared instead, being too many for a gate each

	facts []facts // of each call
	known []bool  // which of them are from memory
	at    stamp   // what the calls have met behind their gates
	read  picture // the rows that were read there
	fresh picture // those of them that had their gate
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
	enterAll   = ` SELECT id, CAST(pg_advisory_xact_lock_shared(hashtextextended(id, ?)) AS TEXT) FROM gates`
	enterNamed = "SELECT x.id, CAST(pg_advisory_xact_lock_shared(hashtextextended(x.id, ?)) AS TEXT) FROM "
	tryNamed   = "SELECT y.id, '' FROM (SELECT x.id, pg_try_advisory_xact_lock_shared(hashtextextended(x.id, ?)) AS free FROM "
	whereFree  = " OFFSET 0) y WHERE y.free"
	enterFree  = ` SELECT id, '' FROM gates WHERE pg_try_advisory_xact_lock_shared(hashtextextended(id, ?))`

	// briskly: the key of a write can be in the hands of a transaction that stays open, and nobody waits for that long where nobody is waited
	// for; and a plan is not made anew for each length of a list.
	briskly = "SELECT set_config('lock_timeout', '250ms', TRUE), set_config('plan_cache_mode', 'force_generic_plan', TRUE)"

	// sameFacts fails unless the number is still the one that is remembered, and has every change wait from then on: a division by zero is the
	// one error that plain SQL can be made to have. A sequence is read as it is at that moment, not as of a snapshot, and the moment is when
	// the lock is held, for the reading depends on it.
	sameFacts = `WITH gate AS MATERIALIZED (SELECT pg_try_advisory_xact_lock_shared(hashtextextended('prm_facts', ?)) AS free)
	SELECT 1 / CAST(free AND (SELECT CAST(1000000 * extract(epoch FROM pg_postmaster_start_time()) AS BIGINT) = CAST(? AS BIGINT)
	AND last_value + CAST(is_called AS INTEGER) = CAST(? AS BIGINT) FROM prm_facts WHERE free) AS INTEGER),
	set_config('lock_timeout', '250ms', TRUE), set_config('plan_cache_mode', 'force_generic_plan', TRUE) FROM gate`

	// maxGates bounds the accounts that one transaction passes a gate for: a server has room for some thousands of such locks. A longer
	// list shares the rows themselves.
	maxGates = 256
)

// enter passes the gates of all calls, those that are free where nobody is waited for, and then reads the rows that are not known. What is
// known is decided on before, for ahead.
func (g *gathering) enter(trusting bool) error {
	for i := range g.facts {
		g.facts[i] = g.reg.asked(g.tx, g.facts[i].actor, g.asks[i])
	}
	at := g.recall(trusting)
	if g.guessing {
		return g.guess(at)
	}
	if err := g.passGates(); err != nil {
		return err
	}
	if err := g.at.read(g.tx); err != nil {
		return err
	}
	if err := g.readUnknown(); err != nil {
		return err
	}
	begun := g.ahead != nil && !slices.Contains(g.known, false)
	if begun {
		if err := g.ahead(g.tx, g.verdicts); err != nil {
			return err
		}
	}
	if err := g.tx.Flush(); err != nil {
		return err
	}
	if g.at == at || !slices.Contains(g.known, true) {
		return nil
	}
	g.reg.known.met(g.at, g.tx.Now())
	if begun {
		return errOutdated
	}
	for i := range g.known {
		if g.known[i] {
			g.known[i], g.verdicts[i] = false, Verdict{}
		}
	}
	if err := g.readUnknown(); err != nil {
		return err
	}
	return g.tx.Flush()
}

// guess takes what is remembered for true. What it puts off fails if the number has been raised since, and every change waits until the
// transaction ends: no other gate is needed.
func (g *gathering) guess(at stamp) error {
	if slices.Contains(g.known, false) || g.tx.Frozen() {
		return errOutdated
	}
	g.at = at
	if g.tx.Postgres() {
		if err := g.tx.Later(deciding, ignore, sameFacts, gateSeed, at.server, at.number); err != nil {
			return err
		}
		return g.ahead(g.tx, g.verdicts)
	}
	var now stamp
	if err := now.read(g.tx); err != nil {
		return err
	}
	if now != at {
		return errOutdated
	}
	return g.ahead(g.tx, g.verdicts)
}

// names are those of the gates of the calls that are known.
func (g *gathering) names() set {
	names := set{}
	for i := range g.facts {
		if g.known[i] {
			for _, id := range g.facts[i].gates() {
				names.add(id)
			}
		}
	}
	return names
}

// recall takes from memory what it has about the calls, and decides on them by that.
func (g *gathering) recall(trusting bool) (at stamp) {
	g.known = make([]bool, len(g.asks))
	if !trusting || g.tx.Frozen() {
		return at
	}
	at, g.known = g.reg.known.recall(g.facts)
	for i := range g.known {
		g.known[i] = g.known[i] && g.verdicts[i].Err == nil
	}
	if !g.passing && slices.Contains(g.known, false) || len(g.asks) > maxGates {
		clear(g.known) // who waits at gates passes them all in one order; and a long list may be too long for gates
	}
	for i, known := range g.known {
		if known {
			g.decide(i)
		}
	}
	return at
}

// passGates passes the gates of all calls: of those that are known by their names, of the others by what is behind them.
func (g *gathering) passGates() error {
	if !g.tx.Postgres() {
		return nil
	}
	if g.passing {
		if err := g.tx.Later(deciding, ignore, briskly); err != nil {
			return err
		}
	}
	tokens, targets := g.unknown()
	if len(targets) > maxGates {
		g.crowd = targets
	}
	if names := g.names(); len(names) > 0 {
		list := names.rows(g.tx, idColumns)
		query := enterNamed + list.SQL()
		if g.passing {
			query = tryNamed + list.SQL() + whereFree
		}
		if err := g.tx.Later(deciding, g.passed.note, query, append([]any{gateSeed}, list.Args()...)...); err != nil {
			return err
		}
	}
	if len(tokens)+len(targets) == 0 {
		return nil
	}
	of, about := tokens.rows(g.tx, tokenColumns), targets.rows(g.tx, idColumns)
	query := "WITH k AS (SELECT s.partner_id, s.account_id, s.active_id, s.identity_id FROM " + of.SQL() + ` JOIN prm_sessions s ON s.token_hash = x.token),
		targets AS (SELECT x.id FROM ` + about.SQL() + ")" + gatesOfAll
	if g.passing {
		query += enterFree
	} else {
		query += enterAll
	}
	return g.tx.Later(deciding, g.passed.note, query, append(append(of.Args(), about.Args()...), len(targets) <= maxGates, gateSeed)...)
}

func ignore(store.Row) error { return nil }

// unknown are the tokens and the targets of calls in question that nothing is known about.
func (g *gathering) unknown() (tokens, targets set) {
	tokens, targets = set{}, set{}
	for i, ask := range g.asks {
		if g.verdicts[i].Err == nil && !g.known[i] {
			tokens.add(g.facts[i].actor.token)
			if store.Plain(ask.Target) {
				targets.add(ask.Target)
			}
		}
	}
	return tokens, targets
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
	SELECT 's', id, token_hash, identity_id, partner_id, COALESCE(user_id, ''), COALESCE(account_id, ''), COALESCE(active_id, ''), COALESCE(delegation_id, ''), roles,
		COALESCE(member_id, ''), member_kind,
		identity_epoch, partner_epoch, account_epoch, seen_at, ends_at, granted_until, FALSE, FALSE FROM s
	UNION ALL SELECT 'i', id, '', '', '', '', '', '', '', '', '', '', epoch, 0, 0, 0, 0, 0, FALSE, FALSE FROM i
	UNION ALL SELECT 'u', id, role, scope, '', '', '', '', '', '', '', '', rights, 0, 0, 0, 0, 0, disabled, FALSE FROM u
	UNION ALL SELECT 'a', id, partner_id, type, state, region, customer, owner_id, '', '', '', '', blocks, epoch, denies, 0, 0, 0, FALSE, FALSE FROM a
	UNION ALL SELECT 'p', id, path, state, '', '', '', '', '', '', '', '', own_blocks, own_inherited, own_epoch, users_blocks, users_inherited, users_epoch,
		operate, manages_sub_partners FROM p`
}

// readUnknown reads the rows of the calls that are still in question and not known.
func (g *gathering) readUnknown() error {
	g.read = newPicture()
	tokens, targets := g.unknown()
	if len(tokens)+len(targets) == 0 {
		return nil
	}
	of, about := tokens.rows(g.tx, tokenColumns), targets.rows(g.tx, idColumns)
	return g.tx.Later(deciding, g.keep, factsOfAll(g, of, about), append(about.Args(), of.Args()...)...)
}

// keep keeps one row of factsOfAll.
func (g *gathering) keep(r store.Row) error {
	var kind, id string
	var t [10]string
	var n [6]int64
	var f [2]bool
	err := r.Scan(&kind, &id, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7], &t[8], &t[9], &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &f[0], &f[1])
	switch kind {
	case "s":
		g.read.sessions[t[0]] = &sessionRefs{sessionFacts{id, n[0], n[1], n[2], store.Micros(n[3]), store.Micros(n[4]), t[6], store.Micros(n[5]), t[7], t[8], t[9]}, t[1], t[3], t[2], t[4], t[5]}
	case "i":
		g.read.identities[id] = &identityFacts{id, n[0]}
	case "u":
		g.read.users[id] = &userFacts{id, t[0], t[1], rights(n[0]), f[0]}
	case "a":
		g.read.accounts[id] = &accountFacts{id, t[0], t[1], t[2], blocks(n[0]), n[1], t[3], t[4], t[5], denials(n[2])}
	case "p":
		g.read.partners[id] = &partnerFacts{id, t[0], t[1], f[0], f[1], blocks(n[0]), int(n[1]), n[2], blocks(n[3]), int(n[4]), n[5]}
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
