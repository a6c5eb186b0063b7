package partner

import (
	"cmp"
	"context"
	"slices"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// maxSameAddress bounds the people whom an unproved address may be of: each costs a hash.
const maxSameAddress = 5

var errNoCollaborator = fail.New(fail.Forbidden, "no user of a partner has this address")

// known are the log-ins that the invitee may have already: that of whoever has proved the address, and for a collaborator, if nobody has, those of the
// partner users who have it. An invitation to an organisation is for somebody who is not in one yet.
func (o *offer) known(tx *store.Tx) (list []identityRow, err error) {
	const place = "EXISTS (SELECT 1 FROM prm_users u WHERE u.identity_id = prm_identities.id AND u.ended_at = 0 AND NOT u.invited)"
	q := tx.From(deciding, identitiesTable).Where("kind = 'human' AND email_key = ? AND id <> ?", o.EmailKey, o.IdentityID).Order("id").Limit(maxSameAddress)
	switch {
	case o.Purpose == resetsPassword || o.EmailKey == "":
		return nil, nil
	case o.Purpose != invitesMember:
		err = tx.Find(q.Where("email_verified AND NOT "+place), &list)
		return list, err
	}
	if MemberKind(o.Kind) != Collaborator {
		err = tx.Find(q.Where("email_verified"), &list)
		return list, err
	}
	if err := tx.Find(q.Where("email_verified AND "+place), &list); err != nil || len(list) > 0 {
		return list, err
	}
	q = tx.From(deciding, identitiesTable).Where("kind = 'human' AND email_key = ?", o.EmailKey).Order("id").Limit(maxSameAddress)
	if err := tx.Find(q.Where(place), &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errNoCollaborator
	}
	return list, nil
}

// confirm finds out which of the people it can be is the one who accepts.
func (d *Access) confirm(ctx context.Context, known []identityRow, a Acceptance) (identityRow, error) {
	at := func(id string) int { return slices.IndexFunc(known, func(r identityRow) bool { return r.ID == id }) }
	if who, err := actorOf(ctx); err == nil && who.token != "" {
		session := ""
		err := d.reg.Read(ctx, Ask{Action: "access.session"}, func(_ *store.Tx, s *Standing) error {
			if !s.isDelegated() {
				session = s.Identity.ID
			}
			return nil
		})
		if i := at(session); err == nil && i >= 0 {
			return known[i], nil
		}
	}
	if a.Outside != nil {
		var linked []string
		err := store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
			return tx.Query(deciding, &linked, "SELECT identity_id FROM prm_outside_logins WHERE issuer = ? AND subject = ?", a.Outside.Issuer, a.Outside.Subject)
		})
		if err != nil {
			return identityRow{}, err
		}
		if len(linked) > 0 && at(linked[0]) >= 0 {
			return known[at(linked[0])], nil
		}
	}
	if a.Password == "" {
		return identityRow{}, &ValidationError{Fields: []FieldError{{Path: "password", Code: "required", Message: "must be the one of the log-in that the address has"}}}
	}
	if len(a.Password) > maxPassword {
		return identityRow{}, ErrBadCredentials
	}
	for _, who := range known {
		g := guess{account: personGuess(who.ID)}
		if err := d.reg.takeGuess(ctx, g); err != nil {
			return identityRow{}, err
		}
		ok, _, err := d.reg.verify(ctx, who.PasswordHash, a.Password)
		if err != nil {
			return identityRow{}, err
		}
		if ok {
			return who, store.InTx(ctx, d.reg.db, g.forgive)
		}
	}
	return identityRow{}, ErrBadCredentials
}

// stillKnown reads again who has confirmed, and keeps him as he is.
func stillKnown(tx *store.Tx, who identityRow) (now identityRow, err error) {
	if err := tx.Take(tx.From(decided, identitiesTable).Where("id = ?", who.ID), &now, changing); err != nil {
		return now, err
	}
	if now.Epoch != who.Epoch || now.EmailKey != who.EmailKey || now.EmailVerified != who.EmailVerified {
		return now, errChanged
	}
	return now, nil
}

// joinAccount makes the invitee a member. Everything that the invitation rested on is looked at again; what the policy knows of, it has decided on.
func (s *Standing) joinAccount(tx *store.Tx, o *offer, j joining) (identity identityRow, err error) {
	if err := s.ownerMayInvite(tx, o); err != nil {
		return identity, err
	}
	t, err := typeOf(tx, o.AccountType, sharing)
	if err != nil {
		return identity, err
	}
	kind := MemberKind(o.Kind)
	if err := withinQuota(tx, ID(o.PartnerID), AccountID(o.AccountID), kind, t.public().Quota.of(kind)); err != nil {
		return identity, err
	}
	if identity, err = s.memberIdentity(tx, o, j); err != nil {
		return identity, err
	}
	if kind == Collaborator {
		err = s.isCollaborator(tx, identity.ID, t)
	} else {
		err = forgetShownOf(tx, identity.ID)
	}
	if err != nil {
		return identity, err
	}
	n, err := tx.Exec(decided, "UPDATE prm_members SET state = 'active', identity_id = ?, name = ?, version = version + 1 WHERE id = ? AND state = 'invited'",
		identity.ID, cmp.Or(j.name, o.Name), o.MemberID)
	switch {
	case taken(err):
		return identity, errIsMember
	case err != nil:
		return identity, err
	case n != 1:
		return identity, ErrTokenExpired
	}
	if j.outside != nil {
		if err := s.linkOnce(tx, o.MemberID, identity.ID, *j.outside); err != nil {
			return identity, err
		}
	}
	return identity, s.Record(tx, "member.joined", o.MemberID)
}

var errIsMember = fail.New(fail.Exists, "is a member of the account already")

// ownerMayInvite looks whether whoever sent the invitation is the account's owner still, and neither shut out nor gone.
func (s *Standing) ownerMayInvite(tx *store.Tx, o *offer) error {
	var n int64
	err := tx.Query(decided, &n, `SELECT count(*) FROM prm_users u JOIN prm_partners p ON p.id = u.partner_id WHERE u.id = ? AND NOT u.disabled AND u.ended_at = 0
		AND p.state = 'active' AND p.own_blocks = 0 AND p.own_inherited = 0`, o.Inviter)
	if err == nil && (n == 0 || s.Account.Owner != o.Inviter) {
		err = errInviterGone
	}
	return err
}

// memberIdentity is the log-in of the invitee: the one he has confirmed, or a new one by his address.
func (s *Standing) memberIdentity(tx *store.Tx, o *offer, j joining) (identityRow, error) {
	var proved int64 // nobody else can while the call has the address
	err := tx.Query(deciding, &proved, "SELECT count(*) FROM prm_identities WHERE email_key = ? AND email_verified AND id <> ?", o.EmailKey, j.known.ID)
	if err != nil {
		return identityRow{}, err
	}
	if proved > 0 && MemberKind(o.Kind) != Collaborator {
		return identityRow{}, errChanged
	}
	if j.known.ID == "" {
		key := loginKey(o.Email)
		row := identityRow{ID: tx.NewID("idn"), Kind: "human", Login: o.Email, LoginKey: &key, Email: o.Email, EmailKey: o.EmailKey, EmailVerified: true,
			PasswordHash: j.hash, Version: 1, CreatedAt: tx.Now()}
		fresh, err := tx.InsertNew(&row)
		if err == nil && !fresh {
			err = ErrEmailInOtherPartner
		}
		return row, err
	}
	now, err := stillKnown(tx, j.known)
	if err == nil && !now.EmailVerified && proved == 0 { // the mail has come to him
		_, err = tx.Exec(decided, "UPDATE prm_identities SET email_verified = TRUE, version = version + 1 WHERE id = ?", now.ID)
	}
	return now, err
}

// isCollaborator refuses who is no active user of a partner, or of one that must be certified and is not.
func (s *Standing) isCollaborator(tx *store.Tx, identity string, t typeRow) error {
	var of []string
	err := tx.Query(decided, &of, "SELECT partner_id FROM prm_users WHERE identity_id = ? AND ended_at = 0 AND NOT disabled AND NOT invited AND partner_id <> ?",
		identity, Vendor)
	switch {
	case err != nil:
		return err
	case len(of) == 0:
		return errNoCollaborator
	case t.CertifiedOnly:
		return certified(tx, of[0])
	}
	return nil
}
