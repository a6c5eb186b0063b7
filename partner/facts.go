package partner

import (
	"slices"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// facts are all that a decision about one call needs, read by one statement in the call's transaction. An absent row has an empty
// id.
type facts struct {
	now    store.Micros
	limits SessionLimits
	actor  actor
	target string // the id asked about; empty: none
	active bool   // the target is the project switched into
	guest  guest
	factRows
}

// guest is the user who acts in a session that is not his organisation's: nobody in any other.
type guest struct {
	user    userFacts
	partner partnerFacts
}

// delegate turns the facts of a session in which a user works elsewhere into what it is: one of that account, with a guest. A row of it says whose
// the guest is and, as the project switched into, where he is. That of a member who is no partner's user is one of the account already.
func (f *facts) delegate() {
	if !f.isGuest() || f.User.ID == "" {
		return
	}
	f.guest = guest{f.User, f.factRows.Partner}
	f.User, f.factRows.Partner = userFacts{}, f.Lender
	f.Own, f.Active, f.Lender = f.factRows.Active, accountFacts{}, partnerFacts{}
}

// factRows are the facts that the database holds.
type factRows struct {
	Session  sessionFacts
	Identity identityFacts
	User     userFacts
	Partner  partnerFacts // the session's
	Own      accountFacts // the project of a delegated log-in
	Active   accountFacts // the project switched into
	Lender   partnerFacts // that project's partner
	Account  accountFacts // the target, if it is an account
	Holder   partnerFacts // the target, or the target account's partner
}

type sessionFacts struct {
	ID            string
	IdentityEpoch int64
	PartnerEpoch  int64
	AccountEpoch  int64
	SeenAt        store.Micros
	EndsAt        store.Micros
	Delegation    string // empty: none
	GrantedUntil  store.Micros
	Roles         string // see rolesText
	Member        string // empty: none
	Kind          string // of that member
}

type identityFacts struct {
	ID    string
	Epoch int64
}

type userFacts struct {
	ID       string
	Role     string
	Scope    string // see scopeText
	Rights   rights
	Disabled bool
}

type partnerFacts struct {
	ID                 string
	Path               string
	State              string
	Operate            bool
	ManagesSubPartners bool
	OwnBlocks          blocks
	OwnInherited       int
	OwnEpoch           int64
	UsersBlocks        blocks
	UsersInherited     int
	UsersEpoch         int64
}

type accountFacts struct {
	ID        string
	PartnerID string
	Type      string
	State     string
	Blocks    blocks
	Epoch     int64
	Region    string
	Customer  string
	Owner     string
	Denies    denials
}

// places are where the columns of factColumns go, in its order.
func (f *factRows) places() []any {
	partner := func(p *partnerFacts) []any {
		return []any{&p.ID, &p.Path, &p.State, &p.OwnBlocks, &p.OwnInherited, &p.OwnEpoch, &p.UsersBlocks, &p.UsersInherited, &p.UsersEpoch, &p.Operate,
			&p.ManagesSubPartners}
	}
	account := func(a *accountFacts) []any {
		return []any{&a.ID, &a.PartnerID, &a.Type, &a.State, &a.Region, &a.Customer, &a.Owner, &a.Blocks, &a.Epoch, &a.Denies}
	}
	s := &f.Session
	return slices.Concat([]any{&s.ID, &s.Delegation, &s.Roles, &s.Member, &s.Kind, &s.IdentityEpoch, &s.PartnerEpoch, &s.AccountEpoch, &s.SeenAt, &s.EndsAt, &s.GrantedUntil,
		&f.Identity.ID, &f.Identity.Epoch, &f.User.ID, &f.User.Role, &f.User.Scope, &f.User.Rights, &f.User.Disabled},
		partner(&f.Partner), account(&f.Own), account(&f.Active), account(&f.Account), partner(&f.Holder), partner(&f.Lender))
}

// columns selects those of alias a as prefix_column, with a zero for a row that is not there.
func columns(a, prefix string, texts, numbers, flags []string) string {
	var list []string
	for _, c := range texts {
		list = append(list, "COALESCE("+a+"."+c+", '') AS "+prefix+"_"+c)
	}
	for _, c := range numbers {
		list = append(list, "COALESCE("+a+"."+c+", 0) AS "+prefix+"_"+c)
	}
	for _, c := range flags {
		list = append(list, "COALESCE("+a+"."+c+", FALSE) AS "+prefix+"_"+c)
	}
	return strings.Join(list, ", ")
}

var factColumns = func() string {
	partner := func(a, prefix string) string {
		return columns(a, prefix, []string{"id", "path", "state"},
			[]string{"own_blocks", "own_inherited", "own_epoch", "users_blocks", "users_inherited", "users_epoch"},
			[]string{"operate", "manages_sub_partners"})
	}
	account := func(a, prefix string) string {
		return columns(a, prefix, []string{"id", "partner_id", "type", "state", "region", "customer", "owner_id"}, []string{"blocks", "epoch", "denies"}, nil)
	}
	return strings.Join([]string{
		columns("s", "session", []string{"id", "delegation_id", "roles", "member_id", "member_kind"}, []string{"identity_epoch", "partner_epoch", "account_epoch", "seen_at", "ends_at", "granted_until"}, nil),
		columns("i", "identity", []string{"id"}, []string{"epoch"}, nil),
		columns("u", "user", []string{"id", "role", "scope"}, []string{"rights"}, []string{"disabled"}),
		partner("p", "partner"), account("own", "own"), account("act", "active"), account("t", "account"), partner("h", "holder"), partner("l", "lender"),
	}, ", ")
}()

// locks says how hard a call holds what it decides on until it ends. A call that will change the target's row locks it for that at
// once: two calls that both shared it first would wait for each other.
type locks struct{ partners, accounts, identities string }

const (
	sharing  = "SHARE"
	changing = "NO KEY UPDATE"
)

// factsJoins reads the facts; {sessions} and so on are the tables, or the locked rows of them.
const factsJoins = ` FROM (SELECT 1 AS one) q LEFT JOIN {sessions} s ON s.token_hash = ? LEFT JOIN {identities} i ON i.id = s.identity_id
	LEFT JOIN {users} u ON u.id = s.user_id LEFT JOIN {partners} p ON p.id = s.partner_id LEFT JOIN {accounts} own ON own.id = s.account_id
	LEFT JOIN {accounts} act ON act.id = s.active_id LEFT JOIN {partners} l ON l.id = act.partner_id
	LEFT JOIN {accounts} t ON t.id = CASE WHEN CAST(? AS INTEGER) = 1 THEN s.active_id ELSE ? END LEFT JOIN {partners} h ON h.id = COALESCE(t.partner_id, ?)`

// factsPlain is the query without locks: each join is one look-up by primary key.
var factsPlain = "SELECT " + factColumns + strings.NewReplacer("{sessions}", sessionsTable, "{identities}", identitiesTable, "{users}", usersTable,
	"{partners}", partnersTable, "{accounts}", accountsTable).Replace(factsJoins)

// factsLocked is the query inside a host's transaction that reads from a snapshot. There the gates, which keep what a decision rests on
// from changing until the call ends, come too late for what has changed since the snapshot; sharing the rows makes that a conflict. They
// are locked in CTEs because the far side of an outer join cannot be.
func factsLocked(tx *store.Tx, l locks) string {
	lock := func(strength string) string {
		if strength == "" {
			strength = sharing
		}
		return tx.Lock(strength)
	}
	return `WITH s0 AS MATERIALIZED (SELECT * FROM prm_sessions WHERE token_hash = ?` + tx.Lock("KEY SHARE") + `),
	i0 AS MATERIALIZED (SELECT * FROM prm_identities WHERE id IN (SELECT identity_id FROM s0)` + lock(l.identities) + `),
	u0 AS MATERIALIZED (SELECT * FROM prm_users WHERE id IN (SELECT user_id FROM s0)` + lock("") + `),
	a0 AS MATERIALIZED (SELECT * FROM prm_accounts WHERE id IN (SELECT account_id FROM s0 UNION ALL SELECT active_id FROM s0 UNION ALL SELECT ?)
		ORDER BY id` + lock(l.accounts) + `),
	p0 AS MATERIALIZED (SELECT * FROM prm_partners WHERE id IN (SELECT partner_id FROM s0 UNION ALL SELECT partner_id FROM a0 UNION ALL SELECT ?)
		ORDER BY id` + lock(l.partners) + `) SELECT ` + factColumns + lockedJoins
}

var lockedJoins = strings.NewReplacer("{sessions}", "s0", "{identities}", "i0", "{users}", "u0", "{partners}", "p0", "{accounts}", "a0").Replace(factsJoins)

// deciding is the scope of the statement that reads what a decision needs; the decision makes the scope of all others.
var deciding = store.Everything("reads what the decision about the caller's scope needs")

// decided is the scope of a write to single rows after the decision on them, which holds those rows until the call ends.
var decided = store.Everything("the rows are those that the call has been decided on")

// reading says whether the rows of a decision are held until the transaction ends, where it locks at all.
type reading bool

const (
	plainly reading = false
	holding reading = true
)

// asked is facts before anything is known.
func (r *Registry) asked(tx *store.Tx, a actor, ask Ask) facts {
	return facts{now: tx.Now(), limits: r.opts.Session, actor: a, target: ask.Target, active: ask.Target == "" && rules[ask.Action].active}
}

// readFacts reads what there is to know about the actor and the target of ask.
func (r *Registry) readFacts(tx *store.Tx, a actor, ask Ask, how reading) (facts, error) {
	f := r.asked(tx, a, ask)
	if a.token == "" && ask.Target == "" { // the host, about nothing in particular
		return f, nil
	}
	target := ask.Target
	if !store.Plain(target) {
		target = "" // names nothing; not every database would say so
	}
	query, args := factsPlain, []any{a.token, count(f.active), target, target}
	if how == holding && tx.Frozen() {
		query, args = factsLocked(tx, ask.locks()), []any{a.token, target, target, a.token, count(f.active), target, target}
	}
	err := tx.Scan(deciding, func(r store.Row) error { return r.Scan(f.places()...) }, query, args...)
	f.delegate()
	return f, err
}
