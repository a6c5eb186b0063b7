package partner

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// Delegation is leave for a partner's user to be in a project, in roles of the host's and for a time, given by the end customer whose project it is.
// A user who has switched into a project moves its licences; one with a delegation does the host's work in it ([Access.ActFor]). RequestDelegation needs
// Account, Roles and Period.Until, and reads User and Key besides.
type Delegation struct {
	ID       string    // dlg_…
	User     UserID    // Defaults to the caller; another one of his organisation for its admins
	Name     string    // the user's
	Partner  string    // the name of his organisation
	Project  string    // the project's name
	Account  AccountID // of the caller's organisation, or of one that it manages
	Customer string    // who decides; the project's, as [NewProject].Customer
	Roles    []string  // the host's words, 1 to 10 of at most 50 characters
	Period   Period    // From defaults to when it is approved, as does one in the past; Until is at most 730 days after From or the request, and nothing moves it
	State    string    // "requested", "approved", "refused", "lapsed" (not decided on in 90 days), "expired", "revoked"
	Created  time.Time
	Decided  time.Time // zero: not yet

	// Key makes RequestDelegation idempotent: the same key and content, an end that was computed once among it, returns the first result. Without
	// one, a key is made; what RequestDelegation returns carries it.
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

var (
	errNoCustomer  = fail.New(fail.Refused, "the project has no customer who could approve it")
	errAskedFor    = fail.New(fail.Exists, "a request of this user for this project is open")
	errNotApproved = fail.New(fail.Forbidden, "the customer has not approved it, or does not any more")
	errNotBegun    = fail.New(fail.Forbidden, "the access that was granted has not begun")
)

// RequestDelegation asks the customer of a project to let a user of the caller's organisation into it; the project's own address is told, unless that
// is over before the letter is on its way. It lapses when it has not been decided on in 90 days, or by its period's end. For partner users who see
// the project: members for themselves, whatever their rights, admins for each of theirs who sees it. *[ValidationError] with every failing field, [ErrExists] while another request of this user for this project is open,
// [ErrRefused] for a project without a Customer, *[BlockedError] for one that nobody may enter, [ErrUnavailable] for the sixth request for one user and
// project within an hour.
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
	ask := Ask{Action: "delegation.request", Target: string(r.Account), Keyed: r.Key != ""}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		r := r
		if r.User == "" {
			r.User = UserID(s.User.ID)
		}
		fresh, key := tx.NewID("dlg"), r.Key
		id, replayed, err := once(tx, s.Of(), ask.Action, &key, r.digest(), fresh, func() error {
			if err := s.Refusal(); err != nil {
				return err
			}
			return s.requestDelegation(tx, fresh, r)
		})
		if err != nil {
			return err
		}
		row, err := s.delegation(tx, id)
		if err != nil {
			return err
		}
		list, err := named(tx, []delegationRow{row})
		if err != nil {
			return err
		}
		made = list[0]
		made.Key, made.Replayed = key, replayed
		return nil
	})
	if err != nil {
		return Delegation{Key: keyToRepeat(err, made.Key)}, err
	}
	return made, nil
}

// digest is to a delegation what agreementDigest is to an agreement.
func (d Delegation) digest() string {
	c := content{}
	c.add("user", string(d.User))
	c.add("account", string(d.Account))
	c.add("roles", rolesText(d.Roles))
	c.number("from", int64(store.At(d.Period.From)))
	c.number("until", int64(store.At(d.Period.Until)))
	return c.digest()
}

func (s *Standing) requestDelegation(tx *store.Tx, id string, r Delegation) error {
	if err := s.mayDelegateTo(tx, r.User); err != nil {
		return err
	}
	from, end := store.At(r.Period.From), store.At(r.Period.Until)
	if from <= tx.Now() {
		from = 0
	}
	switch {
	case end <= max(from, tx.Now()): // it is over, or shorter than a microsecond
		return periodFault("range", "must end in the future, and after it begins")
	case end > max(from, tx.Now()).Add(delegationMax):
		return periodFault("range", "must be at most 730 days")
	case s.Account.Customer == "":
		return errNoCustomer
	}
	var lapsed []delegationRow // its place is free even where no worker runs
	err := tx.Query(decided, &lapsed, `UPDATE prm_delegations SET state = 'lapsed' WHERE account_id = ? AND user_id = ? AND state = 'requested' AND due_at <= ?
		RETURNING id, partner_id, account_id, state`, s.Account.ID, r.User, tx.Now())
	if err := cmp.Or(err, noteOver(tx, ledger.System, lapsed)); err != nil {
		return err
	}
	var lately int64
	if err := tx.Query(decided, &lately, "SELECT count(*) FROM prm_delegations WHERE user_id = ? AND account_id = ? AND created_at > ?",
		r.User, s.Account.ID, tx.Now().Add(-time.Hour)); err != nil {
		return err
	}
	if lately >= lettersPerHour {
		return errTooManyLetters
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
	return s.deliver(tx, e, letter{id: letterAbout(id), template: templateDelegationRequested, expires: row.DueAt, To: a.Project.Email, Locale: a.Project.Locale, Data: map[string]string{
		wordProject: a.Name, wordName: user.name, wordPartner: user.organisation, wordUntil: until(end), wordRoles: strings.Join(r.Roles, ", "), wordDelegation: id}})
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
	if err := tx.Take(tx.From(store.OfPartner(string(s.Home())), usersTable).Where("id = ? AND ended_at = 0", id), &row, sharing); err != nil {
		return err
	}
	his := facts{factRows: factRows{User: userFacts{Role: row.Role, Scope: row.Scope}, Partner: s.facts.Partner}}
	if !his.reaches(s.Account.ID, s.Holder.ID, s.Holder.Path) {
		return errNotAllowed
	}
	return nil
}

// delegations are those that the caller sees: a member his own, also into what he does not see any more.
func (s *Standing) delegations(tx *store.Tx) *gorm.DB {
	if s.User.ID != "" && !s.isVendor() && !s.isAdmin() {
		return tx.From(itsUsers, delegationsTable).Where("user_id = ?", s.User.ID)
	}
	return tx.From(s.scope(false), delegationsTable)
}

var itsUsers = store.Everything("a delegation is its user's, wherever it leads")

// delegation reads one that the caller sees.
func (s *Standing) delegation(tx *store.Tx, id string) (row delegationRow, err error) {
	err = tx.Take(s.delegations(tx).Where("id = ?", id), &row, "")
	return row, err
}

// Decide approves or refuses a request; only the customer whose project it is ([AsCustomer]), whatever the project's state is: while nobody may enter
// it, approval lets nobody in. The user is told. [ErrBadTransition] for one that has been decided on, has lapsed, or whose user has left.
func (d *Access) Decide(ctx context.Context, delegation string, approve bool) (err error) {
	defer wrap(&err, "decide on delegation")
	ask, _, err := d.aboutDelegation(ctx, "delegation.decide", delegation)
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
		n, err := tx.Exec(decided, `UPDATE prm_delegations SET state = ?, decided_at = ?, due_at = until_at WHERE id = ? AND state = 'requested' AND due_at > ?`,
			state, tx.Now(), delegation, tx.Now())
		if err != nil {
			return err
		}
		if n != 1 {
			return ErrBadTransition
		}
		if err := takeBack(tx, delegation); err != nil {
			return err
		}
		e, err := s.record(tx, "delegation."+state, delegation, []string{"state"})
		if err != nil {
			return err
		}
		return s.tellUser(tx, e, row, state)
	})
}

// tellUser tells the user what his request or his leave has come to.
func (s *Standing) tellUser(tx *store.Tx, e eventRow, d delegationRow, state string) error {
	to, err := s.addressee(tx, UserID(d.UserID))
	if err != nil || to.email == "" {
		return err
	}
	var project []string
	if err := tx.Query(decided, &project, "SELECT name FROM prm_accounts WHERE id = ?", d.AccountID); err != nil {
		return err
	}
	return s.deliver(tx, e, letter{template: templateDelegationDecided, To: to.email, Locale: cmp.Or(to.locale, to.partnerLocale),
		Data: map[string]string{wordName: to.name, wordProject: project[0], wordState: state, wordDelegation: d.ID}})
}

// Revoke ends a delegation, or takes a request back, with the sessions that rest on it: from when it returns, their calls answer [ErrGrantExpired]. The
// user is told of what he has not given back himself. For the
// customer, the user whose it is, admins who see the project, the vendor and its support. [ErrBadTransition] for one that has ended. Not inside a host
// transaction above READ COMMITTED.
func (d *Access) Revoke(ctx context.Context, delegation string) (err error) {
	defer wrap(&err, "revoke delegation")
	ask, own, err := d.aboutDelegation(ctx, "delegation.revoke", delegation)
	if err != nil {
		return err
	}
	if own {
		ask = Ask{Action: "access.session"} // what is his he gives back even if he does not see the project any more
	}
	ask.Changes = true // whoever is in the project by it finishes the call he is in first
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		if s.isGuest() {
			return errNotAllowed
		}
		row := delegationRow{PartnerID: s.Holder.ID, AccountID: s.Account.ID}
		if own {
			err = tx.Take(tx.From(itsUsers, delegationsTable).Where("id = ? AND user_id = ?", delegation, s.User.ID), &row, "")
		} else {
			row, err = s.delegation(tx, delegation)
		}
		if err != nil {
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
		// Over since ever, for the clocks of processes differ; the row stays to say so for a while.
		if _, err := tx.Exec(decided, "UPDATE prm_sessions SET granted_until = 1, ends_at = ? WHERE delegation_id = ?", tx.Now(), delegation); err != nil {
			return err
		}
		if err := takeBack(tx, delegation); err != nil {
			return err
		}
		s.Account.ID, s.Holder.ID = row.AccountID, row.PartnerID // whose activity it is
		e, err := s.record(tx, "delegation.revoked", delegation, []string{"state"})
		if err != nil || own {
			return err
		}
		return s.tellUser(tx, e, row, stateRevoked)
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
		if err != nil {
			return err
		}
		page = pageFrom(at, rows, delegationRow.place, func(delegationRow) Delegation { return Delegation{} })
		page.Items, err = named(tx, rows[:len(page.Items)])
		return err
	})
	return page, err
}

// aboutDelegation is the call about one: it is decided on by its project, which never changes; one that is not there is of none. own tells that it is
// the caller's.
func (d *Access) aboutDelegation(ctx context.Context, action, delegation string) (ask Ask, own bool, err error) {
	ask = Ask{Action: action, Target: cmp.Or(delegation, "dlg_none")}
	a, err := actorOf(ctx)
	if err != nil || !store.Plain(delegation) {
		return ask, false, err
	}
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		var of []struct {
			AccountID string
			Own       bool
		}
		err := tx.Query(deciding, &of, `SELECT account_id, COALESCE(user_id = (SELECT user_id FROM prm_sessions WHERE token_hash = ?), FALSE) AS own
			FROM prm_delegations WHERE id = ?`, a.token, delegation)
		if own = false; len(of) > 0 {
			ask.Target, own = of[0].AccountID, of[0].Own
		}
		return err
	})
	return ask, own, err
}
