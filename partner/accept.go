package partner

import (
	"cmp"
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Acceptance is what an invitee sends back, and whoever asked for a new password.
type Acceptance struct {
	Name     string  // of an invitee, in place of what the inviter wrote; may be empty
	Password Secret  // under the organisation's policy
	Answers  Answers // to the form, of one who accepts for a partner; see [Access.Invited]
	// Outside links a log-in that the host has verified, which takes AsVendor; then Password may be empty. It is for invitations.
	Outside *Outside
}

// Accept redeems the token of an invitation, or of a new password, and opens a session. Whoever holds the token may call it; who acts in ctx does
// not matter but for Outside, and where he is the very person who is invited. A partner that was invited becomes active with it. The address that the
// token was sent to is the person's from then on (after a new password, unless somebody has proved it before).
//
// One person has one log-in: whoever has one already, as a member of another account or as a partner's user who is invited to an account, confirms the
// invitation, by the Password that he has, by his Outside log-in, or in a session of his; see [Invitation].Known. [ErrBadCredentials] for a wrong
// password, which counts as a guess. Who becomes a partner's user logs in by the name that the invitation says, if that is not the address.
//
// *[ValidationError] for the password and the answers, all at once; [ErrNotFound] for no token of ours, [ErrTokenUsed], [ErrTokenExpired] also for one in whose place there is
// a newer one. [ErrForbidden] if the inviter may not invite any more, *[BlockedError] and [ErrPending] if the organisation or the account is in no state for it,
// *[QuotaError] if there is less room since, [ErrNotCertified] and [ErrForbidden] for a collaborator who is no user of such a partner:
// the token stays good. [ErrExists] for one who is a member already, [ErrConflict] if he has got a log-in or another password meanwhile. [ErrEmailInOtherPartner] if the address has meanwhile been proved by a user of another partner. Not inside a host
// transaction.
func (d *Access) Accept(ctx context.Context, token Secret, a Acceptance) (s Session, err error) {
	defer wrap(&err, "accept")
	if store.Joined(d.reg.db) {
		return s, errInHostTx
	}
	var o offer
	var rules passwordRules
	var known []identityRow
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		if o, err = readOffer(tx, token, ""); err != nil {
			return err
		}
		if o.Purpose == opensAccount {
			return errNoToken // it serves that alone
		}
		if known, err = o.known(tx); err != nil {
			return err
		}
		rules, err = d.reg.passwordRules(tx, ID(o.PartnerID), cmp.Or(a.Name, o.Name), o.Login, o.Email)
		return err
	})
	if err != nil {
		return s, err
	}
	j := joining{name: a.Name, password: a.Password, outside: a.Outside}
	var c checks
	c.text("name", a.Name, false, maxName)
	if err := mayVouch(ctx, a.Outside, &c); err != nil {
		return s, err
	}
	if len(known) > 0 && o.MemberID == "" && a.Password != "" { // what he has is held to the rules of the organisation that he joins
		c.password("password", a.Password, rules)
	}
	if len(known) == 0 {
		switch {
		case a.Password != "":
			c.password("password", a.Password, rules)
		case a.Outside == nil || o.Purpose == resetsPassword:
			c.add("password", "required", "must not be empty", nil)
		}
	}
	if j.answers, err = d.reg.checkAnswers(&c, o, a.Answers); err != nil {
		return s, err
	}
	if err := c.err(); err != nil {
		return s, err
	}
	switch {
	case len(known) > 0:
		j.password = "" // it is no new one
		j.known, err = d.confirm(ctx, known, a)
	case a.Password != "":
		j.hash, err = d.reg.hash(ctx, a.Password)
	}
	if err != nil {
		return s, err
	}
	return d.redeem(ctx, o, token, j)
}

// mayVouch looks whether whoever accepts with an outside log-in is the host, who has verified it.
func mayVouch(ctx context.Context, who *Outside, c *checks) error {
	if who == nil {
		return nil
	}
	if a, err := actorOf(ctx); err != nil || a.host == "" {
		return errNotTheHost
	}
	who.check(c, "outside.")
	return nil
}

// joining is an acceptance that has been checked.
type joining struct {
	name, hash, answers string
	password            Secret
	outside             *Outside
	known               identityRow // who accepts, if he has a log-in already
}

// redeem does in one transaction what the token is for. Everything that its decision rests on is read again.
func (d *Access) redeem(ctx context.Context, o offer, token Secret, j joining) (s Session, err error) {
	ask, err := d.redeeming(ctx, o, j)
	if err != nil {
		return s, err
	}
	secret := newToken(d.reg.db)
	err = d.reg.Write(asSystem(ctx), ask, func(tx *store.Tx, st *Standing) error {
		o, err := readOffer(tx, token, "UPDATE OF t")
		if err != nil {
			return err
		}
		st.actor, st.User.ID, st.Session.Member = actor{}, o.UserID, o.MemberID // whose deed it is
		identity := identityRow{ID: o.IdentityID, Kind: "human", Epoch: o.Epoch + 1}
		switch o.Purpose {
		case resetsPassword:
			err = cmp.Or(nobodysUser(tx, &o), st.takeNewPassword(tx, &o, j.hash))
		case invitesMember:
			identity, err = st.joinAccount(tx, &o, j)
		default:
			identity, err = st.join(tx, &o, j)
		}
		if err != nil {
			return err
		}
		if err := useToken(tx, &o); err != nil {
			return err
		}
		if o.UserID != "" {
			if err := d.reg.keepShown(tx, UserID(o.UserID), j.password); err != nil {
				return err
			}
		}
		var barred error
		if s, barred, err = d.begin(tx, identity, opening{token: secret, gated: true, member: o.MemberID}); err == nil {
			err = barred
		}
		return err
	})
	if err != nil {
		return Session{}, err
	}
	return s, nil
}

// redeeming is the call that a token is for. The gate of the organisation, or of the account, is passed alone: nobody works there, or becomes a user or
// a member of it, meanwhile.
func (d *Access) redeeming(ctx context.Context, o offer, j joining) (Ask, error) {
	// Sessions elsewhere pass the gate of the person alone.
	ask := Ask{Action: "user.edit", Target: o.PartnerID, Changes: true, address: o.EmailKey, person: cmp.Or(j.known.ID, o.IdentityID)}
	switch {
	case o.Purpose == invitesMember:
		ask.Action, ask.Target = "member.accept", o.AccountID // which looks at their state as well
	case o.MemberID != "":
		ask.Action, ask.Target = "member.end", o.AccountID
	case o.Purpose == invitesUser:
		ask.Action = "user.invite" // likewise
	}
	if o.MemberID == "" {
		if o.InviterOf != o.PartnerID {
			ask.also = ID(o.InviterOf)
		}
		return ask, nil
	}
	err := store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		var home []ID
		err := tx.Query(deciding, &home, "SELECT partner_id FROM prm_users WHERE identity_id = ? AND ended_at = 0", ask.person)
		if len(home) > 0 {
			ask.also = home[0]
		}
		return err
	})
	return ask, err
}

// useToken ends the token, and what else was sent to the user.
func useToken(tx *store.Tx, o *offer) error {
	if _, err := tx.Exec(decided, "UPDATE prm_tokens SET state = 'used', ended_at = ? WHERE id = ?", tx.Now(), o.ID); err != nil {
		return err
	}
	if o.MemberID != "" {
		return voidTokens(tx, "", MemberID(o.MemberID), "")
	}
	return voidTokens(tx, UserID(o.UserID), "", "")
}

// nobodysUser refuses the new password of a member who has become a partner's user: that partner sees to it from then on.
func nobodysUser(tx *store.Tx, o *offer) error {
	if o.MemberID == "" {
		return nil
	}
	var n int64
	err := tx.Query(deciding, &n, "SELECT count(*) FROM prm_users WHERE identity_id = ? AND ended_at = 0", o.IdentityID)
	if err == nil && n > 0 {
		err = ErrTokenExpired
	}
	return err
}

func (s *Standing) takeNewPassword(tx *store.Tx, o *offer, hash string) error {
	_, err := tx.Exec(decided, "UPDATE prm_identities SET password_hash = ?, epoch = epoch + 1, version = version + 1 WHERE id = ?", hash, o.IdentityID)
	if err != nil {
		return err
	}
	// The mail has come to him: the address is his, unless another has proved it before.
	_, err = tx.Exec(decided, `UPDATE prm_identities SET email_verified = TRUE WHERE id = ? AND email_key <> '' AND NOT EXISTS
		(SELECT 1 FROM prm_identities o WHERE o.email_key = prm_identities.email_key AND o.email_verified)`, o.IdentityID)
	if err != nil {
		return err
	}
	if err := voidResets(tx, o.IdentityID); err != nil {
		return err
	}
	return s.Record(tx, "password.reset", cmp.Or(o.UserID, o.MemberID), "password")
}

// join makes the invitee a user who can log in. It returns whom a session is opened for.
func (s *Standing) join(tx *store.Tx, o *offer, j joining) (identity identityRow, err error) {
	if err := o.inviterMay(tx); err != nil {
		return identity, err
	}
	if identity, err = s.prove(tx, o, j); err != nil {
		return identity, err
	}
	_, err = tx.Exec(decided, "UPDATE prm_users SET invited = FALSE, name = ?, version = version + 1 WHERE id = ?", cmp.Or(j.name, o.Name), o.UserID)
	if err != nil {
		return identity, err
	}
	if j.outside != nil {
		if err := s.linkOnce(tx, o.UserID, identity.ID, *j.outside); err != nil {
			return identity, err
		}
	}
	if o.Purpose == invitesPartner {
		if err := s.activate(tx, o, j); err != nil {
			return identity, err
		}
	}
	return identity, s.Record(tx, "user.joined", o.UserID)
}

// activate makes the partner that was invited an active one, with what was answered.
func (s *Standing) activate(tx *store.Tx, o *offer, j joining) error {
	n, err := tx.Exec(decided, "UPDATE prm_partners SET state = 'active', version = version + 1 WHERE id = ? AND state IN ('pending', 'expired')", o.PartnerID)
	if err != nil {
		return err
	}
	if n != 1 {
		return ErrTokenExpired
	}
	if j.answers != "" {
		if err := tx.Insert(&profileRow{PartnerID: o.PartnerID, Version: o.FormVersion, Answers: j.answers, CreatedAt: tx.Now()}); err != nil {
			return err
		}
	}
	return s.Record(tx, "partner.activated", o.PartnerID, "state")
}

// prove gives the invitee's log-in its password and makes the address his. Whoever accepts first has it (LIM-22). Somebody who has a log-in as a member
// of accounts goes on with that.
func (s *Standing) prove(tx *store.Tx, o *offer, j joining) (identity identityRow, err error) {
	identity = identityRow{ID: o.IdentityID, Kind: "human", Epoch: o.Epoch + 1}
	if err := lockAddress(tx, o.EmailKey); err != nil {
		return identity, err
	}
	var others int64
	err = tx.Query(deciding, &others, `SELECT count(*) FROM prm_identities WHERE id <> ? AND id <> ? AND (email_key = ? AND email_verified OR login_key = ?)`,
		o.IdentityID, j.known.ID, o.EmailKey, loginKey(o.Login))
	if err != nil {
		return identity, err
	}
	if others > 0 {
		return identity, ErrEmailInOtherPartner
	}
	if j.known.ID != "" {
		return s.takeOver(tx, o, j)
	}
	_, err = tx.Exec(decided, `UPDATE prm_identities SET login_key = ?, password_hash = ?, email_verified = TRUE, epoch = epoch + 1, version = version + 1
		WHERE id = ?`, loginKey(o.Login), j.hash, o.IdentityID)
	if taken(err) {
		err = ErrEmailInOtherPartner
	}
	return identity, err
}

// takeOver gives the invitee's place to the log-in that he has already; the one that was made with the place has never been used.
func (s *Standing) takeOver(tx *store.Tx, o *offer, j joining) (identityRow, error) {
	identity, err := stillKnown(tx, j.known)
	if err != nil {
		return identity, err
	}
	if _, err := tx.Exec(decided, "UPDATE prm_users SET identity_id = ? WHERE id = ?", identity.ID, o.UserID); err != nil {
		return identity, err
	}
	if _, err := tx.Exec(decided, "DELETE FROM prm_identities WHERE id = ?", o.IdentityID); err != nil {
		return identity, err
	}
	if err := voidResets(tx, identity.ID); err != nil { // those that account owners had sent
		return identity, err
	}
	if key := loginKey(o.Login); key != loginKey(o.Email) { // the log-in name that was agreed on
		if _, err := tx.Exec(decided, "UPDATE prm_identities SET login = ?, login_key = ? WHERE id = ?", o.Login, key, identity.ID); err != nil {
			return identity, err
		}
	}
	// Sessions in places elsewhere begin anew: from now on they rest on this place, too.
	identity.Epoch++
	_, err = tx.Exec(decided, "UPDATE prm_identities SET epoch = epoch + 1, version = version + 1 WHERE id = ?", identity.ID)
	return identity, err
}

// Reinvite sends an invitee a new token; the one he had is void. It is for those who may invite him; an invitation of a partner that has run
// out is the vendor's to renew. With Options.DeliverTokens the token is returned instead. [ErrBadTransition] for a user who has accepted or is disabled; [ErrUnavailable]
// after five letters to him within an hour, but for the host; *[BlockedError], [ErrPending] and [ErrForbidden] as [Users.Add].
func (d *Access) Reinvite(ctx context.Context, u UserID) (token Secret, err error) {
	defer wrap(&err, "invite again")
	err = d.reg.Users.change(ctx, "user.reinvite", u, func(tx *store.Tx, s *Standing, user User) error {
		if !user.Invited || !user.Active {
			return ErrBadTransition
		}
		purpose := invitesUser
		if state := s.Holder.State; state == "pending" || state == "expired" {
			purpose = invitesPartner
			if _, err := tx.Exec(decided, "UPDATE prm_partners SET state = 'pending', version = version + 1 WHERE id = ? AND state = 'expired'", s.Of()); err != nil {
				return err
			}
		}
		e, err := s.record(tx, "user.reinvited", string(u), nil)
		if err != nil {
			return err
		}
		token, err = s.issue(tx, purpose, templateWelcome, u, e)
		return err
	})
	return token, err
}

// ResetPassword sends a user a token with which he chooses a new password ([Access.Accept]), for an hour; nobody chooses it for him. His old one
// serves until then. It is for admins of his organisation or of one that manages it, and for the vendor, its support included. An admin of the
// vendor gets the token of a user without an address in the result, a host with Options.DeliverTokens every token; otherwise that is a field error
// "contact.email". [ErrBadTransition] for a user who is disabled, or invited and has no password yet; [ErrUnavailable] after five letters to him within
// an hour, but for the host.
func (d *Users) ResetPassword(ctx context.Context, id UserID) (token Secret, err error) {
	defer wrap(&err, "reset password")
	err = d.change(ctx, "user.reset", id, func(tx *store.Tx, s *Standing, u User) error {
		if u.Invited || !u.Active {
			return ErrBadTransition
		}
		e, err := s.record(tx, "password.reset_asked", string(id), nil)
		if err != nil {
			return err
		}
		token, err = s.issue(tx, resetsPassword, templateReset, id, e)
		return err
	})
	return token, err
}
