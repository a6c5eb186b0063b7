package partner

import (
	"cmp"
	"maps"
	"slices"
	"strings"

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
	shut     map[string]bool // gates that somebody is changing things behind
	crowd    bool            // too many accounts for a gate each

	sessions   map[string]*sessionRefs // by token
	identities map[string]*identityFacts
	users      map[string]*userFacts
	partners   map[string]*partnerFacts
	accounts   map[string]*accountFacts
}

// sessionRefs is a session with the rows that it leads to. The facts are a named field because GORM passes over an unexported embedded one.
type sessionRefs struct {
	Facts                       sessionFacts `gorm:"embedded"`
	TokenHash                   string
	IdentityID, PartnerID       string
	UserID, AccountID, ActiveID string
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
	enterAll = ` SELECT count(CAST(pg_advisory_xact_lock_shared(hashtextextended(id, ?)) AS TEXT)) FROM gates`
	// The key of a write can be in the hands of a transaction that stays open; nobody waits for that long here.
	enterFree = `, patience AS MATERIALIZED (SELECT set_config('lock_timeout', '250ms', TRUE))
	SELECT id FROM gates, patience WHERE NOT pg_try_advisory_xact_lock_shared(hashtextextended(id, ?))`

	// maxGates bounds the accounts that one transaction passes a gate for: a server has room for some thousands of such locks. A longer
	// list shares the rows themselves.
	maxGates = 256
)

// passGates passes the gates of all calls; where nobody is waited for, it notes those that are shut.
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
	g.crowd = len(targets) > maxGates
	args := append(append(of.Args(), about.Args()...), !g.crowd, gateSeed)
	if !g.passing {
		var n int64
		return g.tx.Query(deciding, &n, query+enterAll, args...)
	}
	var shut []string
	err := g.tx.Query(deciding, &shut, query+enterFree, args...)
	for _, id := range shut {
		g.shut[id] = true
	}
	return err
}

// isShut tells whether one of a call's gates is.
func (g *gathering) isShut(f facts) bool {
	if len(g.shut) == 0 {
		return false
	}
	ids := []string{f.factRows.Partner.ID, f.Own.ID, f.Active.ID, f.Identity.ID, f.Lender.ID, f.Account.ID, f.Holder.ID}
	for _, path := range []string{f.factRows.Partner.Path, f.Lender.Path, f.Holder.Path} {
		if path != "" {
			ids = append(ids, "tree/"+strings.Split(path, "/")[1])
		}
	}
	return slices.ContainsFunc(ids, func(id string) bool { return g.shut[id] })
}

// locked is what the reads of a gathering end with; see factsLocked.
func locked(g *gathering, strength string) string {
	if g.tx.Frozen() || g.crowd {
		return g.tx.Lock(strength)
	}
	return ""
}

// read reads the rows of all calls that are still in question.
func (g *gathering) read() error {
	if err := g.readSessions(); err != nil {
		return err
	}
	accounts, identities, users, partners := set{}, set{}, set{}, set{}
	for i, c := range g.calls {
		if g.verdicts[i].Err != nil {
			continue
		}
		if store.Plain(c.Ask.Target) {
			accounts.add(c.Ask.Target)
			partners.add(c.Ask.Target)
		}
		if s := g.sessions[g.actors[i].token]; s != nil {
			identities.add(s.IdentityID)
			users.add(s.UserID)
			accounts.add(s.AccountID)
			accounts.add(s.ActiveID)
			partners.add(s.PartnerID)
		}
	}
	if err := g.readIdentities(identities); err != nil {
		return err
	}
	if err := g.readUsers(users); err != nil {
		return err
	}
	if err := g.readAccounts(accounts); err != nil {
		return err
	}
	for _, a := range g.accounts {
		partners.add(a.PartnerID)
	}
	return g.readPartners(partners)
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

func (g *gathering) readSessions() error {
	tokens := set{}
	for i := range g.calls {
		if g.verdicts[i].Err == nil {
			tokens.add(g.actors[i].token)
		}
	}
	g.sessions = map[string]*sessionRefs{}
	if len(tokens) == 0 {
		return nil
	}
	list := tokens.rows(g.tx, tokenColumns)
	var rows []*sessionRefs
	err := g.tx.Query(deciding, &rows, `SELECT s.id, s.token_hash, s.identity_id, s.partner_id, COALESCE(s.user_id, '') AS user_id,
		COALESCE(s.account_id, '') AS account_id, COALESCE(s.active_id, '') AS active_id, s.identity_epoch, s.partner_epoch, s.account_epoch,
		s.seen_at, s.ends_at FROM `+list.SQL()+" JOIN prm_sessions s ON s.token_hash = x.token ORDER BY s.id"+locked(g, "KEY SHARE OF s"), list.Args()...)
	for _, s := range rows {
		g.sessions[s.TokenHash] = s
	}
	return err
}

func (g *gathering) readIdentities(ids set) error {
	g.identities = map[string]*identityFacts{}
	if len(ids) == 0 {
		return nil
	}
	list := ids.rows(g.tx, idColumns)
	var rows []*identityFacts
	err := g.tx.Query(deciding, &rows, "SELECT t.id, t.epoch FROM "+list.SQL()+" JOIN prm_identities t ON t.id = x.id ORDER BY t.id"+locked(g, "SHARE OF t"),
		list.Args()...)
	for _, r := range rows {
		g.identities[r.ID] = r
	}
	return err
}

func (g *gathering) readUsers(ids set) error {
	g.users = map[string]*userFacts{}
	if len(ids) == 0 {
		return nil
	}
	list := ids.rows(g.tx, idColumns)
	var rows []*userFacts
	err := g.tx.Query(deciding, &rows, "SELECT t.id, t.role, t.disabled FROM "+list.SQL()+" JOIN prm_users t ON t.id = x.id ORDER BY t.id"+locked(g, "SHARE OF t"),
		list.Args()...)
	for _, r := range rows {
		g.users[r.ID] = r
	}
	return err
}

func (g *gathering) readAccounts(ids set) error {
	g.accounts = map[string]*accountFacts{}
	if len(ids) == 0 {
		return nil
	}
	list := ids.rows(g.tx, idColumns)
	var rows []*accountFacts
	err := g.tx.Query(deciding, &rows, "SELECT t.id, t.partner_id, t.type, t.state, t.blocks, t.epoch, t.region FROM "+list.SQL()+
		" JOIN prm_accounts t ON t.id = x.id ORDER BY t.id"+locked(g, "SHARE OF t"), list.Args()...)
	for _, r := range rows {
		g.accounts[r.ID] = r
	}
	return err
}

func (g *gathering) readPartners(ids set) error {
	g.partners = map[string]*partnerFacts{}
	if len(ids) == 0 {
		return nil
	}
	list := ids.rows(g.tx, idColumns)
	var rows []*partnerFacts
	err := g.tx.Query(deciding, &rows, `SELECT t.id, t.path, t.state, t.operate, t.manages_sub_partners, t.own_blocks, t.own_inherited, t.own_epoch,
		t.users_blocks, t.users_inherited, t.users_epoch FROM `+list.SQL()+" JOIN prm_partners t ON t.id = x.id ORDER BY t.id"+locked(g, "SHARE OF t"), list.Args()...)
	for _, r := range rows {
		g.partners[r.ID] = r
	}
	return err
}

// facts puts together what is known for one call, as readFacts has it.
func (g *gathering) facts(i int) (f facts) {
	ask := g.calls[i].Ask
	f = facts{now: g.tx.Now(), limits: g.reg.opts.Session, actor: g.actors[i], target: ask.Target, active: ask.Target == "" && rules[ask.Action].active}
	target := ask.Target
	if s := g.sessions[f.actor.token]; s != nil {
		f.Session = s.Facts
		f.Identity = row(g.identities, s.IdentityID)
		f.User = row(g.users, s.UserID)
		f.factRows.Partner = row(g.partners, s.PartnerID)
		f.Own = row(g.accounts, s.AccountID)
		f.Active = row(g.accounts, s.ActiveID)
		lender := row(g.partners, f.Active.PartnerID)
		f.Lender.ID, f.Lender.Path = lender.ID, lender.Path
		if f.active {
			target = s.ActiveID
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
