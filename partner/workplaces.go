package partner

import (
	"context"
	"errors"

	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// workplace is where a session can be: an organisation, an account by its own log-in, or a member's place in one.
type workplace struct {
	UserID    UserID // of a partner's user, wherever he works
	Home      string // his organisation
	AccountID string
	PartnerID string // the account's; of a session in an organisation that one
	MemberID  string
	Kind      string
	Roles     string
}

// placesOf are those of an identity, of which it begins in the first that lets it in. One that belongs to an organisation begins there.
func placesOf(tx *store.Tx, identity identityRow, member string) (list []workplace, err error) {
	if identity.Kind == "project" {
		err = tx.Query(deciding, &list, "SELECT id AS account_id, partner_id FROM prm_accounts WHERE identity_id = ?", identity.ID)
		return list, err
	}
	var home []workplace
	err = tx.Query(deciding, &home, "SELECT id AS user_id, partner_id AS home, partner_id FROM prm_users WHERE identity_id = ? AND ended_at = 0", identity.ID)
	if err != nil || len(home) > 0 && member == "" {
		return home, err
	}
	// A place that was given to an address is for whoever has it; a collaborator's is his partner's matter.
	const live = `SELECT m.id AS member_id, m.kind, m.roles, m.account_id, m.partner_id FROM prm_members m JOIN prm_accounts a ON a.id = m.account_id
		JOIN prm_identities i ON i.id = m.identity_id WHERE m.identity_id = ? AND m.state = 'active' AND a.state <> 'deleted'
		AND (m.kind = 'collaborator' OR i.email_verified AND i.email_key = m.email_key) AND (? = '' OR m.id = ?) ORDER BY m.entered_at DESC, m.id DESC LIMIT ?`
	const tried = 10
	if err := tx.Query(deciding, &list, live, identity.ID, member, member, tried); err != nil {
		return nil, err
	}
	for i := range list {
		if len(home) > 0 {
			list[i].UserID, list[i].Home = home[0].UserID, home[0].Home
		}
	}
	return list, nil
}

// bind gives a session its place, and the epochs of all that can end it.
func (p workplace) bind(tx *store.Tx, row *sessionRow) error {
	var accountEpoch, usersEpoch int64
	if p.AccountID != "" {
		var a accountRow
		if err := tx.Take(tx.From(deciding, accountsTable).Where("id = ?", p.AccountID), &a, sharing); err != nil {
			return err
		}
		of, err := partnerByID(tx, ID(p.PartnerID), sharing)
		if err != nil {
			return err
		}
		accountEpoch, usersEpoch = a.Epoch, of.UsersEpoch
	}
	if p.MemberID != "" {
		row.MemberID, row.MemberKind, row.Roles, row.GrantedUntil = &p.MemberID, p.Kind, p.Roles, endOfTime
	}
	if p.UserID == "" {
		row.AccountID, row.PartnerEpoch, row.AccountEpoch = &p.AccountID, usersEpoch, accountEpoch
		return nil
	}
	home, err := partnerByID(tx, ID(p.Home), sharing)
	if err != nil {
		return err
	}
	row.ActiveID, row.PartnerEpoch, row.AccountEpoch = optional(p.AccountID), home.OwnEpoch, accountEpoch+usersEpoch
	return nil
}

// Memberships pages through the caller's own places in accounts, newest first: those that are active, and he can work in ([Access.WorkIn]).
func (d *Access) Memberships(ctx context.Context, p PageRequest) (page Page[MemberInfo], err error) {
	defer wrap(&err, "list memberships")
	at, err := p.at("memberships")
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, Ask{Action: "access.session"}, func(tx *store.Tx, s *Standing) error {
		if err := s.own(); err != nil {
			return err
		}
		var rows []memberRow
		if err := tx.Find(store.After(itsOwn(tx, s.Identity.ID), membersTable, "created_at", at.place, at.started, at.limit), &rows); err != nil {
			return err
		}
		names, err := accountNames(tx, rows)
		page = pageFrom(at, rows, memberRow.place, func(r memberRow) MemberInfo { return r.named(tx.Now(), names) })
		return err
	})
	return page, err
}

// itsOwn are the places of an identity that it can work in.
func itsOwn(tx *store.Tx, identity string) *gorm.DB {
	return tx.From(itsUsers, membersTable).Where(`identity_id = ? AND state = 'active' AND (kind = 'collaborator' OR EXISTS
		(SELECT 1 FROM prm_identities i WHERE i.id = identity_id AND i.email_verified AND i.email_key = prm_members.email_key))`, identity)
}

// own refuses whoever is nobody's session: the host, a customer, a project's shared log-in, and who acts for another.
func (s *Standing) own() error {
	switch {
	case s.Session.ID == "":
		return errNoSession
	case s.isDelegated():
		return ErrNestedDelegation
	case s.isProject() && !s.isGuest():
		return errNotAllowed
	}
	return nil
}

// WorkIn opens a session in a place that the caller has in an account: as a collaborator in another partner's, or in one of several accounts that he
// is a member of. He does the host's work there by his roles (Session.Roles), reads the account and its licences, and nothing of the partner
// whose it is; the audit shows him as mem_…. It ends as his own sessions do, with the one that it was opened in, with his place, and with what shuts
// out the account's users.
//
// Only for a place of the caller's own: [ErrNotFound] otherwise. [ErrNoDirectLogin] for a special employee of an account that is his; [ErrNestedDelegation]
// in a delegated session; *[BlockedError]. Not inside a host transaction.
func (d *Access) WorkIn(ctx context.Context, member MemberID) (s Session, err error) {
	defer wrap(&err, "work in account")
	if store.Joined(d.reg.db) {
		return s, errInHostTx
	}
	if !store.Plain(string(member)) || member == "" {
		return s, errNotHere
	}
	token := newToken(d.reg.db)
	err = store.InTx(ctx, d.reg.db, func(tx *store.Tx) error {
		// All gates are those of the place, passed when the session is written: the caller's own session has to be there then, and no more.
		st, err := d.reg.decideOn(tx, Ask{Action: "access.session"}, plainly)
		if err != nil {
			return err
		}
		if err := st.own(); err != nil {
			return err
		}
		var mine memberRow
		err = tx.Take(itsOwn(tx, st.Identity.ID).Where("id = ?", member), &mine, "")
		if errors.Is(err, store.ErrNoRow) {
			return st.noPlace(tx, member)
		} else if err != nil {
			return err
		}
		root, err := st.root(tx)
		if err != nil {
			return err
		}
		var barred error
		how := opening{token: token, member: string(member), opener: root.ID, endsAt: root.EndsAt}
		s, barred, err = d.begin(tx, identityRow{ID: st.Identity.ID, Kind: "human", Epoch: st.Session.IdentityEpoch}, how)
		if errors.Is(barred, ErrBadCredentials) {
			barred = errNotHere // the address that the place was given to is not his any more
		}
		if err == nil {
			err = barred
		}
		return err
	})
	if err != nil {
		return Session{}, err
	}
	return s, nil
}

// noPlace is why a place is not the caller's: nobody's, but to an account's owner, who knows his special employees.
func (s *Standing) noPlace(tx *store.Tx, member MemberID) error {
	var n int64
	err := tx.Query(decided, &n, `SELECT count(*) FROM prm_members m JOIN prm_accounts a ON a.id = m.account_id
		WHERE m.id = ? AND m.kind = 'special' AND m.state <> 'removed' AND a.owner_id = ?`, member, s.User.ID)
	switch {
	case err != nil:
		return err
	case n > 0 && s.User.ID != "":
		return ErrNoDirectLogin
	}
	return errNotHere
}

// root is the session that this one hangs on, itself as a rule.
func (s *Standing) root(tx *store.Tx) (row sessionRow, err error) {
	err = tx.Take(tx.From(decided, sessionsTable).Where("id = (SELECT COALESCE(opener_id, id) FROM prm_sessions WHERE id = ?)", s.Session.ID), &row, "KEY SHARE")
	if errors.Is(err, store.ErrNoRow) {
		err = errNoSession
	}
	return row, err
}
