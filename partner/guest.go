package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// ActFor opens a session in which the caller does the host's work in a project that its customer has let him into: Session.Roles and [Active].Roles say
// what as. It reads the project, its licences and their seats, and nothing else of the partner's. It ends with its own Logout, an hour later
// (Options.Session.ActAs), with the session that it was opened in and all that ends the caller's others, with what shuts out the project's own log-in,
// and with the delegation: when that has run out, or was revoked, its calls answer [ErrGrantExpired], for a day. The audit shows the user as the actor and the project as
// the subject. The caller's own session goes on beside it.
//
// Only the user whose the delegation is: [ErrNotFound] for anybody else. [ErrGrantExpired] when it has run out, [ErrForbidden] while it is not approved
// or not any more, or has not begun, [ErrNestedDelegation] in a session like that, *[BlockedError]. Not inside a host transaction.
func (d *Access) ActFor(ctx context.Context, delegation string) (s Session, err error) {
	defer wrap(&err, "act for a customer")
	if store.Joined(d.reg.db) {
		return s, errInHostTx
	}
	ask, own, err := d.aboutDelegation(ctx, "access.act_for", delegation)
	if err != nil {
		return s, err
	}
	if !own {
		ask.Target = "dlg_none" // whatever becomes of another's is nobody's business
	}
	token := newToken(d.reg.db)
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, st *Standing) error {
		var row delegationRow
		err := tx.Take(tx.From(itsUsers, delegationsTable).Where("id = ? AND user_id = ?", delegation, st.User.ID), &row, "")
		switch now := tx.Now(); {
		case err != nil:
			return err
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
	row := s.delegatedSession(tx, token)
	row.DelegationID, row.GrantedUntil, row.Roles, row.EndsAt = &d.ID, d.UntilAt, d.Roles, min(d.UntilAt, row.EndsAt)
	return s.enterAs(tx, row, token)
}

// delegatedSession is one of the caller's in the target account, for a short time.
func (s *Standing) delegatedSession(tx *store.Tx, token string) sessionRow {
	return sessionRow{ID: tx.NewID("ses"), TokenHash: digest(token), IdentityID: s.Identity.ID, PartnerID: s.facts.Partner.ID, UserID: &s.User.ID,
		ActiveID: &s.Account.ID, IdentityEpoch: s.Identity.Epoch, PartnerEpoch: s.facts.Partner.OwnEpoch, AccountEpoch: s.Account.Epoch + s.Holder.UsersEpoch,
		CreatedAt: tx.Now(), SeenAt: tx.Now(), EndsAt: min(tx.Now().Add(s.limits.ActAs), s.Session.EndsAt), OpenerID: &s.Session.ID}
}

func (s *Standing) enterAs(tx *store.Tx, row sessionRow, token string) (Session, error) {
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
