package partner

import (
	"context"
	"errors"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// live is what a session must be to count as one: its idle and absolute limits are passed in. What one rests on that is granted until 1 was revoked.
const live = `granted_until <> 1 AND ends_at > ? AND seen_at > ? AND identity_epoch = (SELECT epoch FROM prm_identities WHERE id = prm_sessions.identity_id)
	AND partner_epoch = (SELECT CASE WHEN prm_sessions.account_id IS NULL THEN own_epoch ELSE users_epoch END FROM prm_partners WHERE id = prm_sessions.partner_id)
	AND account_epoch = CASE WHEN delegation_id IS NULL AND member_id IS NULL OR account_id IS NOT NULL
		THEN COALESCE((SELECT epoch FROM prm_accounts WHERE id = prm_sessions.account_id), 0) ELSE (SELECT a.epoch + p.users_epoch FROM prm_accounts a JOIN prm_partners p ON p.id = a.partner_id WHERE a.id = prm_sessions.active_id) END`

// Sessions pages through the live sessions of a principal, newest first, without their tokens: usr_…, mem_… in a place in an account, acc_… for all in
// an account, a project's log-in among them, or "", the caller's own. Those who may end them see them: of users as [Access.LogoutAll], of accounts and
// their members the partner's admins, members with the right to projects, the vendor and its support, and of members the account's owner.
// Sessions in an account are among those of their user, too, and a member's own are those in all his places; in a delegated one only itself is seen.
func (d *Access) Sessions(ctx context.Context, principal string, p PageRequest) (page Page[Session], err error) {
	defer wrap(&err, "list sessions")
	at, err := p.at("sessions", principal)
	if err != nil {
		return page, err
	}
	ask, err := d.aboutSessions(ctx, principal)
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if s.Session.ID == "" && principal == "" {
			return errNoSession
		}
		q := tx.From(decided, sessionsTable).Where(live, tx.Now(), tx.Now().Add(-s.limits.Idle))
		switch {
		case s.isDelegated():
			q = q.Where("id = ?", s.Session.ID)
		case principal == "":
			q = q.Where("identity_id = ?", s.Identity.ID)
		case isMember(principal):
			q = q.Where("member_id = ?", principal)
		case s.Account.ID != "" || principal == s.Own.ID:
			q = q.Where(`(identity_id = (SELECT identity_id FROM prm_accounts WHERE id = ?) OR active_id = ? AND (delegation_id IS NOT NULL OR member_id IS NOT NULL)
				OR account_id = ? AND member_id IS NOT NULL)`, principal, principal, principal)
		default:
			q = q.Where("identity_id = (SELECT identity_id FROM prm_users WHERE id = ?) AND user_id = ?", principal, principal)
		}
		var rows []sessionRow
		err := tx.Find(store.After(q, sessionsTable, "created_at", at.place, at.started, at.limit), &rows)
		page = pageFrom(at, rows, func(r sessionRow) store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }, sessionRow.public)
		return err
	})
	return page, err
}

func (r sessionRow) public() Session {
	s := Session{ID: r.ID, Actor: text(r.UserID) + text(r.AccountID), Partner: ID(r.PartnerID), Account: AccountID(text(r.AccountID)),
		Roles: rolesOf(r.Roles), Reason: r.Reason, Created: r.CreatedAt.Time(), LastUsed: r.SeenAt.Time(), Expires: r.EndsAt.Time()}
	s.Principal = s.Actor
	switch {
	case r.DelegationID != nil:
		s.Principal = text(r.ActiveID)
	case r.MemberID != nil:
		if s.Principal = *r.MemberID; r.MemberKind != string(Special) {
			s.Actor = s.Principal
		}
	}
	if r.DelegationID != nil || r.MemberID != nil && r.AccountID == nil {
		s.Account = AccountID(text(r.ActiveID))
	}
	return s
}

func isMember(principal string) bool { return strings.HasPrefix(principal, "mem_") }

// aboutSessions is the call about a principal's sessions.
func (d *Access) aboutSessions(ctx context.Context, principal string) (Ask, error) {
	own := Ask{Action: "access.session"}
	if principal == "" {
		return own, nil
	}
	guest := false
	err := d.reg.Read(ctx, own, func(_ *store.Tx, s *Standing) error {
		if guest = s.isDelegated() || s.isGuest() && s.name() != principal; guest || s.Session.ID == "" || s.name() != principal {
			return errNotAllowed
		}
		return nil
	})
	switch _, project := HolderOf(principal).(AccountID); {
	case err == nil:
		return own, nil
	case guest:
		return own, err
	case project:
		return Ask{Action: "account.sessions", Target: principal}, nil
	case isMember(principal):
		return d.reg.aboutMember(ctx, "account.sessions", MemberID(principal))
	}
	return d.reg.Users.about(ctx, "user.sessions", UserID(principal))
}

// EndSession ends one session for good, with those that were opened in it: one of the caller's own, as Logout does, or one that he sees in Sessions.
func (d *Access) EndSession(ctx context.Context, session string) (err error) {
	defer wrap(&err, "end session")
	principals, person, err := d.principalsOf(ctx, session)
	if err != nil {
		return err
	}
	for _, principal := range principals {
		var ask Ask
		if ask, err = d.aboutSessions(ctx, principal); err != nil {
			return err
		}
		ask.Changes, ask.person = true, person // others of his may hang on this one
		err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
			n, err := tx.Delete(tx.From(decided, sessionsTable).Where("id = ?", session))
			if err != nil {
				return err
			}
			if n == 0 {
				return errNotHere
			}
			return s.Record(tx, "session.ended", session)
		})
		if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrForbidden) {
			return err
		}
	}
	return err
}

// principalsOf are those by whom a session can be decided on: its own, or of one in an account that somebody is let into the account and then its
// user; "" is the caller, in any session of his own. person is the log-in that it rests on.
func (d *Access) principalsOf(ctx context.Context, session string) (list []string, person string, err error) {
	if !store.Plain(session) {
		return []string{nobody}, "", nil
	}
	var of []sessionRow
	own := false
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		return tx.Find(tx.From(deciding, sessionsTable).Where("id = ?", session), &of)
	})
	if err == nil {
		err = d.reg.Read(ctx, Ask{Action: "access.session"}, func(_ *store.Tx, s *Standing) error {
			own = s.Session.ID == session || len(of) > 0 && s.Identity.ID == of[0].IdentityID && !s.isDelegated()
			return nil
		})
	}
	switch {
	case err != nil && !errors.Is(err, errNotAllowed):
		return nil, "", err
	case len(of) == 0:
		return []string{nobody}, "", nil
	case own:
		return []string{""}, of[0].IdentityID, nil
	case of[0].MemberID != nil && of[0].UserID == nil:
		return []string{*of[0].MemberID}, of[0].IdentityID, nil
	case of[0].MemberID != nil:
		return []string{*of[0].MemberID, *of[0].UserID}, of[0].IdentityID, nil
	case of[0].DelegationID != nil:
		return []string{text(of[0].ActiveID), text(of[0].UserID)}, of[0].IdentityID, nil
	}
	return []string{text(of[0].UserID) + text(of[0].AccountID)}, of[0].IdentityID, nil
}

// nobody is the id of nobody.
const nobody = "usr_none"
