package partner

import (
	"maps"
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// gathering reads what the decisions about several calls need: each kind of row once, for all of them, under the locks that a single
// call takes one by one. The facts it makes are those that readFacts would.
type gathering struct {
	reg      *Registry
	tx       *store.Tx
	calls    []Call
	actors   []actor
	verdicts []Verdict
	passing  bool

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
	gateColumns  = store.ColumnsOf("i INTEGER", "token TEXT", "target TEXT")
	tokenColumns = store.ColumnsOf("token TEXT")
	idColumns    = store.ColumnsOf("id TEXT")
)

// gatesOfAll are the gates of the calls that change nothing, as gatesOf has them for one, and which of them were passed: all, having
// waited, or those that are free.
const (
	gatesOfAll = `, k AS MATERIALIZED (SELECT c.i, s.partner_id, s.account_id, s.active_id, s.identity_id, c.target FROM c LEFT JOIN prm_sessions s ON s.token_hash = c.token),
	acc AS (SELECT i, account_id AS id FROM k UNION SELECT i, active_id FROM k UNION SELECT i, target FROM k),
	par AS (SELECT i, partner_id AS id FROM k UNION SELECT acc.i, a.partner_id FROM acc JOIN prm_accounts a ON a.id = acc.id UNION SELECT i, target FROM k),
	keys AS MATERIALIZED (SELECT i, id FROM acc UNION SELECT i, id FROM par UNION SELECT i, identity_id FROM k
		UNION SELECT par.i, 'tree/' || split_part(p.path, '/', 2) FROM par JOIN prm_partners p ON p.id = par.id),
	gates AS MATERIALIZED (SELECT id FROM (SELECT DISTINCT id FROM keys WHERE id <> '') d ORDER BY id)`
	enterAll  = `SELECT count(CAST(pg_advisory_xact_lock_shared(hashtextextended(id, ?)) AS TEXT)) FROM gates`
	enterFree = `, shut AS MATERIALIZED (SELECT id FROM gates WHERE NOT pg_try_advisory_xact_lock_shared(hashtextextended(id, ?)))
	SELECT DISTINCT keys.i FROM keys JOIN shut ON shut.id = keys.id`
)

// passGates passes the gates of all calls; where nobody is waited for, a call with a shut gate is busy.
func (g *gathering) passGates() error {
	if !g.tx.Postgres() {
		return nil
	}
	list := g.tx.Rows(gateColumns)
	for i, c := range g.calls {
		if g.verdicts[i].Err == nil {
			target := c.Ask.Target
			if !store.Plain(target) {
				target = ""
			}
			list.Add(i, g.actors[i].token, target)
		}
	}
	query := "WITH c AS MATERIALIZED (SELECT * FROM " + list.SQL() + ")" + gatesOfAll
	if !g.passing {
		var n int64
		return g.tx.Query(deciding, &n, query+enterAll, append(list.Args(), gateSeed)...)
	}
	var shut []int
	err := g.tx.Query(deciding, &shut, query+enterFree, append(list.Args(), gateSeed)...)
	for _, i := range shut {
		g.verdicts[i].Busy = true
	}
	return err
}

// locked is what the reads of a gathering end with.
func locked(g *gathering, strength string) string {
	if g.passing {
		return g.tx.Lock(strength + " SKIP LOCKED")
	}
	return g.tx.Lock(strength)
}

// read reads the rows of all calls that are still in question.
func (g *gathering) read() error {
	if err := g.readSessions(); err != nil {
		return err
	}
	accounts, identities, users, partners := set{}, set{}, set{}, set{}
	for i, c := range g.calls {
		if g.verdicts[i].Err != nil || g.verdicts[i].Busy {
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
		if g.verdicts[i].Err == nil && !g.verdicts[i].Busy {
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

// facts puts together what is known for one call; complete is false if a row that it leads to is not there, or held.
func (g *gathering) facts(i int) (f facts, complete bool) {
	ask := g.calls[i].Ask
	f = facts{now: g.tx.Now(), limits: g.reg.opts.Session, actor: g.actors[i], target: ask.Target, active: ask.Target == "" && rules[ask.Action].active}
	complete = true
	target := ask.Target
	if s := g.sessions[g.actors[i].token]; s != nil {
		f.Session = s.Facts
		fill(&f.Identity, g.identities, s.IdentityID, &complete)
		fill(&f.User, g.users, s.UserID, &complete)
		fill(&f.factRows.Partner, g.partners, s.PartnerID, &complete)
		fill(&f.Own, g.accounts, s.AccountID, &complete)
		fill(&f.Active, g.accounts, s.ActiveID, &complete)
		var lender partnerFacts
		fill(&lender, g.partners, f.Active.PartnerID, &complete)
		f.Lender.ID, f.Lender.Path = lender.ID, lender.Path
		if f.active {
			target = s.ActiveID
		}
	} else if f.actor.token != "" && g.passing {
		return f, false
	}
	if target == "" {
		return f, complete
	}
	if a := g.accounts[target]; a != nil {
		f.Account = *a
		fill(&f.Holder, g.partners, a.PartnerID, &complete)
		return f, complete
	}
	if p := g.partners[target]; p != nil {
		f.Holder = *p
		return f, complete
	}
	return f, complete && !g.passing // nothing such, or held
}

// fill copies a row that there must be, if there is an id for it.
func fill[T any](into *T, from map[string]*T, id string, complete *bool) {
	if id == "" {
		return
	}
	if row := from[id]; row != nil {
		*into = *row
		return
	}
	*complete = false
}
