package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// live is what a session must be to count as one: its idle and absolute limits are passed in.
const live = `ends_at > ? AND seen_at > ? AND identity_epoch = (SELECT epoch FROM prm_identities WHERE id = prm_sessions.identity_id)
	AND partner_epoch = (SELECT CASE WHEN prm_sessions.account_id IS NULL THEN own_epoch ELSE users_epoch END FROM prm_partners WHERE id = prm_sessions.partner_id)
	AND account_epoch = COALESCE((SELECT epoch FROM prm_accounts WHERE id = prm_sessions.account_id), 0)`

// Sessions pages through the live sessions of a principal, newest first, without their tokens: usr_…, acc_… for a project's log-in, or "", the
// caller's own. Those who may end them see them: of users as [Access.LogoutAll], of projects those who may set their password, and the vendor.
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
		if s.actor.host != "" && principal == "" {
			return errNoSession
		}
		q := tx.From(store.OfPartner(string(s.Of())), sessionsTable).Where(live, tx.Now(), tx.Now().Add(-s.limits.Idle))
		switch {
		case principal == "":
			q = q.Where("identity_id = ?", s.Identity.ID)
		case s.Account.ID != "":
			q = q.Where("account_id = ?", s.Account.ID)
		default:
			q = q.Where("user_id = ?", principal)
		}
		var rows []sessionRow
		err := tx.Find(store.After(q, sessionsTable, "created_at", at.place, at.started, at.limit), &rows)
		page = pageFrom(at, rows, func(r sessionRow) store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }, sessionRow.public)
		return err
	})
	return page, err
}

func (r sessionRow) public() Session {
	return Session{ID: r.ID, Principal: text(r.UserID) + text(r.AccountID), Partner: ID(r.PartnerID), Account: AccountID(text(r.AccountID)),
		Created: r.CreatedAt.Time(), LastUsed: r.SeenAt.Time(), Expires: r.EndsAt.Time()}
}

// aboutSessions is the call about a principal's sessions.
func (d *Access) aboutSessions(ctx context.Context, principal string) (Ask, error) {
	own := Ask{Action: "access.session"}
	if principal == "" {
		return own, nil
	}
	err := d.reg.Read(ctx, own, func(_ *store.Tx, s *Standing) error {
		if s.actor.host != "" || s.name() != principal {
			return errNotAllowed
		}
		return nil
	})
	switch _, project := HolderOf(principal).(AccountID); {
	case err == nil:
		return own, nil
	case project:
		return Ask{Action: "project.sessions", Target: principal}, nil
	}
	return d.reg.Users.about(ctx, "user.sessions", UserID(principal))
}

// EndSession ends one session for good: the caller's own, as Logout does, or one that he sees in Sessions.
func (d *Access) EndSession(ctx context.Context, session string) (err error) {
	defer wrap(&err, "end session")
	var of []struct{ UserID, AccountID *string }
	if store.Plain(session) {
		err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
			return tx.Query(deciding, &of, "SELECT user_id, account_id FROM prm_sessions WHERE id = ?", session)
		})
	}
	if err != nil {
		return err
	}
	principal := "usr_none"
	if len(of) > 0 {
		principal = text(of[0].UserID) + text(of[0].AccountID)
	}
	ask, err := d.aboutSessions(ctx, principal)
	if err != nil {
		return err
	}
	ask.Changes = true
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		n, err := tx.Delete(tx.From(store.OfPartner(orElse(string(s.Of()), string(Vendor))), sessionsTable).Where("id = ?", session))
		if err != nil {
			return err
		}
		if n == 0 {
			return errNotHere
		}
		return s.Record(tx, "session.ended", session)
	})
}
