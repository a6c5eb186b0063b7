package partner

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// Delegation is leave for a partner's user to be in a project, in roles of the host's and for a time, given by the end customer whose project it is.
// A user who has switched into a project moves its licences; one with a delegation does the host's work in it ([Access.ActFor]).
type Delegation struct {
	ID       string    // dlg_…
	User     UserID    // Defaults to the caller; another one of his organisation for its admins
	Account  AccountID // of the caller's organisation, or of one that it manages
	Customer string    // who decides; the project's, as [NewProject].Customer
	Roles    []string  // the host's words, 1 to 10 of at most 50 characters
	Period   Period    // From defaults to when it is approved; Until is at most 730 days after From, and nothing moves it
	State    string    // "requested", "approved", "refused", "lapsed" (not decided on in 90 days), "expired", "revoked"
	Created  time.Time
	Decided  time.Time // zero: not yet

	// Key makes RequestDelegation idempotent: the same key and content returns the first result. Without one, a key is made; what RequestDelegation
	// returns carries it.
	Key string
	// Replayed tells that RequestDelegation saw the key before: this is what it asked for then, as it stands now.
	Replayed bool
}

const (
	delegationMax  = 730 * 24 * time.Hour
	requestLife    = 90 * 24 * time.Hour
	maxRoles       = 10
	maxRole        = 50
	stateRequested = "requested"
	stateApproved  = "approved"
	stateRefused   = "refused"
	stateLapsed    = "lapsed"
	stateExpired   = "expired"
	stateRevoked   = "revoked"
)

type delegationRow struct {
	ID        string
	PartnerID string // the account's
	AccountID string
	Customer  string
	UserID    string
	Roles     string
	FromAt    store.Micros // 0: when it is approved
	UntilAt   store.Micros
	DueAt     store.Micros // when a request lapses, or what was approved runs out
	State     string
	DecidedAt store.Micros
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
}

func (delegationRow) TableName() string { return delegationsTable }

func (r delegationRow) place() store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }

// standing is the state at an instant: what has run out has, whether or not it was written down.
func (r delegationRow) standing(now store.Micros) string {
	switch {
	case now < r.DueAt:
	case r.State == stateRequested:
		return stateLapsed
	case r.State == stateApproved:
		return stateExpired
	}
	return r.State
}

func (r delegationRow) public(now store.Micros) Delegation {
	d := Delegation{ID: r.ID, User: UserID(r.UserID), Account: AccountID(r.AccountID), Customer: r.Customer, Roles: rolesOf(r.Roles), State: r.standing(now),
		Period: Period{Until: r.UntilAt.Time()}, Created: r.CreatedAt.Time()}
	if r.FromAt != 0 {
		d.Period.From = r.FromAt.Time()
	}
	if r.DecidedAt != 0 {
		d.Decided = r.DecidedAt.Time()
	}
	return d
}

// rolesText is a list of roles, which are single lines, as it is kept.
func rolesText(list []string) string { return strings.Join(list, "\n") }

func rolesOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// roles checks those of a delegation.
func (c *checks) roles(path string, list []string) {
	switch {
	case len(list) == 0:
		c.add(path, "required", "must not be empty", nil)
	case len(list) > maxRoles:
		c.add(path, "too_long", fmt.Sprintf("must be at most %d roles", maxRoles), nil)
	}
	for i, role := range list {
		at := fmt.Sprintf("%s.%d", path, i)
		if c.text(at, role, true, maxRole) && slices.Contains(list[:i], role) {
			c.add(at, "format", "is there twice", nil)
		}
	}
}

// customer checks the id of an end customer.
func (c *checks) customer(path, id string) {
	if c.text(path, id, false, maxCustomer) && id != strings.TrimSpace(id) {
		c.add(path, "format", "must not begin or end with a space", nil)
	}
}

var (
	errNoCustomer  = fail.New(fail.Refused, "the project has no customer who could approve it")
	errAskedFor    = fail.New(fail.Exists, "a request of this user for this project is open")
	errNotApproved = fail.New(fail.Forbidden, "the customer has not approved it, or does not any more")
	errNotBegun    = fail.New(fail.Forbidden, "the access that was granted has not begun")
)

// RequestDelegation asks the customer of a project to let a user of the caller's organisation into it; the project's own address is told. It lapses
// when it has not been decided on in 90 days, or by its period's end. For partner users who see the project: members for themselves, admins for each of
// theirs who sees it. *[ValidationError] with every failing field, [ErrExists] while another request of this user for this project is open,
// [ErrRefused] for a project without a Customer, *[BlockedError] for one that nobody may enter.
func (d *Access) RequestDelegation(ctx context.Context, r Delegation) (made Delegation, err error) {
	defer wrap(&err, "request delegation")
	var faults checks
	faults.roles("roles", r.Roles)
	faults.key("key", r.Key)
	if r.Period.Until.IsZero() {
		faults.add("period", "required", "must have an end", nil)
	} else {
		faults.period("period", r.Period)
	}
	if err := faults.err(); err != nil {
		return made, err
	}
	hash := content{}
	hash.add("user", string(r.User))
	hash.add("account", string(r.Account))
	hash.add("roles", rolesText(r.Roles))
	hash.number("from", int64(store.At(r.Period.From)))
	hash.number("until", int64(store.At(r.Period.Until)))
	ask := Ask{Action: "delegation.request", Target: string(r.Account), Keyed: r.Key != ""}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		fresh, key := tx.NewID("dlg"), r.Key
		id, replayed, err := once(tx, s.Of(), ask.Action, &key, hash.digest(), fresh, func() error {
			if err := s.Refusal(); err != nil {
				return err
			}
			return s.requestDelegation(tx, fresh, r)
		})
		if err != nil {
			return err
		}
		row, err := s.delegation(tx, id)
		made = row.public(tx.Now())
		made.Key, made.Replayed = key, replayed
		return err
	})
	if err != nil {
		return Delegation{Key: keyToRepeat(err, made.Key)}, err
	}
	return made, nil
}

func (s *Standing) requestDelegation(tx *store.Tx, id string, r Delegation) error {
	if r.User == "" {
		r.User = UserID(s.User.ID)
	}
	if err := s.mayDelegateTo(tx, r.User); err != nil {
		return err
	}
	from, end := store.At(r.Period.From), store.At(r.Period.Until)
	switch {
	case end <= tx.Now():
		return periodFault("range", "must end in the future")
	case end > max(from, tx.Now()).Add(delegationMax):
		return periodFault("range", "must be at most 730 days")
	case s.Account.Customer == "":
		return errNoCustomer
	}
	var lapsed []delegationRow // its place is free even where no worker runs
	err := tx.Query(decided, &lapsed, `UPDATE prm_delegations SET state = 'lapsed' WHERE account_id = ? AND user_id = ? AND state = 'requested' AND due_at <= ?
		RETURNING id, partner_id, account_id, state`, s.Account.ID, r.User, tx.Now())
	if err := cmp.Or(err, noteOver(tx, lapsed)); err != nil {
		return err
	}
	row := delegationRow{ID: id, PartnerID: s.Holder.ID, AccountID: s.Account.ID, Customer: s.Account.Customer, UserID: string(r.User), Roles: rolesText(r.Roles),
		FromAt: from, UntilAt: end, DueAt: min(end, tx.Now().Add(requestLife)), State: stateRequested, CreatedAt: tx.Now()}
	if fresh, err := tx.InsertNew(&row); err != nil {
		return err
	} else if !fresh {
		return errAskedFor
	}
	e, err := s.record(tx, "delegation.requested", id, nil)
	if err != nil {
		return err
	}
	user, err := s.addressee(tx, r.User)
	if err != nil {
		return err
	}
	a, err := s.account(tx, s.Account.ID)
	if err != nil {
		return err
	}
	return s.deliver(tx, e, letter{template: templateDelegationRequested, expires: row.DueAt, To: a.Project.Email, Locale: a.Project.Locale, Data: map[string]string{
		wordProject: a.Name, wordName: user.name, wordPartner: user.organisation, wordUntil: until(end)}})
}

// mayDelegateTo tells whether the caller may ask for a user, and that one has to do with the project: what a user does not see, nobody lets him into.
func (s *Standing) mayDelegateTo(tx *store.Tx, id UserID) error {
	if string(id) == s.User.ID {
		return nil
	}
	var row userRow
	if !s.isAdmin() {
		return errNotAllowed
	}
	if err := tx.Take(tx.From(store.OfPartner(string(s.Home())), usersTable).Where("id = ? AND ended_at = 0", id), &row, ""); err != nil {
		return err
	}
	his := facts{factRows: factRows{User: userFacts{Role: row.Role, Scope: row.Scope}, Partner: s.facts.Partner}}
	if !his.reaches(s.Account.ID, s.Holder.ID, s.Holder.Path) {
		return errNotAllowed
	}
	return nil
}

// delegations are those that the caller sees: a member his own.
func (s *Standing) delegations(tx *store.Tx) *gorm.DB {
	q := tx.From(s.scope(false), delegationsTable)
	if s.User.ID != "" && !s.isVendor() && !s.isAdmin() {
		q = q.Where("user_id = ?", s.User.ID)
	}
	return q
}

// delegation reads one that the caller sees.
func (s *Standing) delegation(tx *store.Tx, id string) (row delegationRow, err error) {
	err = tx.Take(s.delegations(tx).Where("id = ?", id), &row, "")
	return row, err
}

// Decide approves or refuses a request; only the customer whose project it is ([AsCustomer]). The user is told. [ErrBadTransition] for one that has
// been decided on, has lapsed, or whose user has left.
func (d *Access) Decide(ctx context.Context, delegation string, approve bool) (err error) {
	defer wrap(&err, "decide on delegation")
	ask, err := d.aboutDelegation(ctx, "delegation.decide", delegation)
	if err != nil {
		return err
	}
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		row, err := s.delegation(tx, delegation)
		if err != nil {
			return err
		}
		state := stateRefused
		if approve {
			state = stateApproved
		}
		n, err := tx.Exec(decided, `UPDATE prm_delegations SET state = ?, decided_at = ?, due_at = until_at, from_at = CASE WHEN from_at = 0 THEN ? ELSE from_at END
			WHERE id = ? AND state = 'requested' AND due_at > ? AND EXISTS (SELECT 1 FROM prm_users u WHERE u.id = prm_delegations.user_id AND u.ended_at = 0)`,
			state, tx.Now(), tx.Now(), delegation, tx.Now())
		if err != nil {
			return err
		}
		if n != 1 {
			return ErrBadTransition
		}
		e, err := s.record(tx, "delegation."+state, delegation, []string{"state"})
		if err != nil {
			return err
		}
		to, err := s.addressee(tx, UserID(row.UserID))
		if err != nil || to.email == "" {
			return err
		}
		var project []string
		if err := tx.Query(decided, &project, "SELECT name FROM prm_accounts WHERE id = ?", row.AccountID); err != nil {
			return err
		}
		return s.deliver(tx, e, letter{template: templateDelegationDecided, To: to.email, Locale: orElse(to.locale, to.partnerLocale),
			Data: map[string]string{wordName: to.name, wordProject: project[0], wordState: state}})
	})
}

// Revoke ends a delegation, or takes a request back, with the sessions that rest on it: from when it returns, their calls are refused. For the
// customer, the user whose it is, admins who see the project, the vendor and its support. [ErrBadTransition] for one that has ended. Not inside a host
// transaction above READ COMMITTED.
func (d *Access) Revoke(ctx context.Context, delegation string) (err error) {
	defer wrap(&err, "revoke delegation")
	ask, err := d.aboutDelegation(ctx, "delegation.revoke", delegation)
	if err != nil {
		return err
	}
	ask.Changes = true // whoever is in the project finishes the call he is in first
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		if _, err := s.delegation(tx, delegation); err != nil {
			return err
		}
		n, err := tx.Exec(decided, "UPDATE prm_delegations SET state = 'revoked', due_at = ? WHERE id = ? AND state IN ('requested', 'approved') AND due_at > ?",
			tx.Now(), delegation, tx.Now())
		if err != nil {
			return err
		}
		if n != 1 {
			return ErrBadTransition
		}
		if _, err := tx.Exec(decided, "DELETE FROM prm_sessions WHERE delegation_id = ?", delegation); err != nil {
			return err
		}
		return s.Record(tx, "delegation.revoked", delegation, "state")
	})
}

// Delegations pages through those of a project, or with "" all that the caller sees, newest first: the customer those of his projects, a member his
// own, admins those of their projects, a project's log-in the project's, the vendor and its support all.
func (d *Access) Delegations(ctx context.Context, account AccountID, p PageRequest) (page Page[Delegation], err error) {
	defer wrap(&err, "list delegations")
	at, err := p.at("delegations", account)
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, Ask{Action: "delegation.list", Target: string(account)}, func(tx *store.Tx, s *Standing) error {
		q := s.delegations(tx)
		if account != "" {
			q = q.Where("account_id = ?", account)
		}
		var rows []delegationRow
		err := tx.Find(store.After(q, delegationsTable, "created_at", at.place, at.started, at.limit), &rows)
		page = pageFrom(at, rows, delegationRow.place, func(r delegationRow) Delegation { return r.public(tx.Now()) })
		return err
	})
	return page, err
}

// aboutDelegation is the call about one: it is decided on by its project, which never changes. One that is not there is of none.
func (d *Access) aboutDelegation(ctx context.Context, action, delegation string) (ask Ask, err error) {
	ask = Ask{Action: action, Target: orElse(delegation, "dlg_none")}
	if !store.Plain(delegation) {
		return ask, nil
	}
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		var of []string
		err := tx.Query(deciding, &of, "SELECT account_id FROM prm_delegations WHERE id = ?", delegation)
		if len(of) > 0 {
			ask.Target = of[0]
		}
		return err
	})
	return ask, err
}

// ActFor opens a session in which the caller does the host's work in a project that its customer has let him into: Session.Roles and [Active].Roles say
// what as. It reads the project and its balance, and nothing else of the partner's. It ends with Logout, an hour later (Options.Session.ActAs), and with
// all that ends the caller's own sessions, lets nobody into the project, or ends the delegation; the audit shows the user as the actor and the project
// as the subject. The caller's session goes on beside it.
//
// Only the user whose the delegation is: [ErrNotFound] for anybody else. [ErrGrantExpired] when it has run out, [ErrForbidden] while it is not approved
// or has not begun, [ErrNestedDelegation] in a session like that, *[BlockedError]. Not inside a host transaction.
func (d *Access) ActFor(ctx context.Context, delegation string) (s Session, err error) {
	defer wrap(&err, "act for a customer")
	if store.Joined(d.reg.db) {
		return s, errInHostTx
	}
	ask, err := d.aboutDelegation(ctx, "access.act_for", delegation)
	if err != nil {
		return s, err
	}
	token := newToken(d.reg.db)
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, st *Standing) error {
		row, err := st.delegation(tx, delegation)
		switch now := tx.Now(); {
		case err != nil:
			return err
		case row.UserID != st.User.ID:
			return errNotHere
		case row.standing(now) == stateExpired:
			return ErrGrantExpired
		case row.standing(now) != stateApproved:
			return errNotApproved
		case now < row.FromAt:
			return errNotBegun
		}
		s, err = st.enterAsGuest(tx, row, token)
		return err
	})
	if err != nil {
		return Session{}, err
	}
	return s, nil
}

// enterAsGuest writes a delegated session, born in the epochs of all that can end it, and reads it as every later call will.
func (s *Standing) enterAsGuest(tx *store.Tx, d delegationRow, token string) (Session, error) {
	row := sessionRow{ID: tx.NewID("ses"), TokenHash: digest(token), IdentityID: s.Identity.ID, PartnerID: s.facts.Partner.ID, UserID: &s.User.ID,
		ActiveID: &d.AccountID, IdentityEpoch: s.Identity.Epoch, PartnerEpoch: s.facts.Partner.OwnEpoch, AccountEpoch: s.Account.Epoch + s.Holder.UsersEpoch,
		CreatedAt: tx.Now(), SeenAt: tx.Now(), EndsAt: min(d.UntilAt, tx.Now().Add(s.limits.ActAs)),
		DelegationID: &d.ID, GrantedUntil: d.UntilAt, Roles: d.Roles}
	if err := tx.Insert(&row); err != nil {
		return Session{}, err
	}
	f, err := s.reg.readFacts(tx, actor{token: row.TokenHash}, Ask{}, holding)
	if err != nil {
		return Session{}, err
	}
	if err := f.alive().err; err != nil {
		return Session{}, err
	}
	guest := &Standing{facts: &f, reg: s.reg}
	return f.session(token), guest.Record(tx, "session.delegated", row.ID)
}
