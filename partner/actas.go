package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

var errNotSpecial = fail.New(fail.Refused, "only a special employee is acted as: everybody else logs in himself")

// ActAs opens a session in which the owner of an account acts as a special employee of it: with exactly that one's roles (Session.Roles), to try a
// solution out or to show what it looks like to him. It reads the account and its licences and nothing else of the partner's, and opens no other
// session. It ends with its own Logout, an hour later (Options.Session.ActAs), with the session that it was opened in and all that ends the owner's
// others, when the member is deactivated, when the account has another owner, and with what shuts out the account's users. The audit shows the owner as
// the actor and the member as the subject; reason, one line, is in Session.Reason as long as the session is listed.
//
// Only the account's owner: [ErrNotOwner] for anybody else, [ErrNestedDelegation] in a session like that or one of a delegation. [ErrBadTransition] for
// a member who is not active, *[BlockedError] while the account's users are shut out. Not inside a host transaction.
func (d *Access) ActAs(ctx context.Context, member MemberID, reason string) (s Session, err error) {
	defer wrap(&err, "act as a special employee")
	if store.Joined(d.reg.db) {
		return s, errInHostTx
	}
	var c checks
	c.text("reason", reason, true, maxReason)
	if err := c.err(); err != nil {
		return s, err
	}
	ask, err := d.reg.aboutMember(ctx, "access.act_as", member)
	if err != nil {
		return s, err
	}
	token := newToken(d.reg.db)
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, st *Standing) error {
		m, err := st.memberRow(tx, member)
		switch {
		case err != nil:
			return err
		case m.Kind != string(Special):
			return errNotSpecial
		case m.State != memberActive:
			return ErrBadTransition
		}
		row := st.delegatedSession(tx, token)
		row.MemberID, row.MemberKind, row.Roles, row.GrantedUntil, row.Reason = &m.ID, m.Kind, m.Roles, endOfTime, reason
		s, err = st.enterAs(tx, row, token)
		s.Reason = reason
		return err
	})
	if err != nil {
		return Session{}, err
	}
	return s, nil
}
