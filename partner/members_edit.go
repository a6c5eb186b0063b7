package partner

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// EditMember changes Name, Roles and Locale of a member, and Email of a special employee; Kind, another Email and Key are [ErrImmutable]. The sessions
// of his go on in the new roles. Only the account's owner. version and change are as in [Partners.Edit]; [ErrBadTransition] for one who is removed. Not
// inside a host transaction above READ COMMITTED.
func (d *Accounts) EditMember(ctx context.Context, id MemberID, version int64, change func(*NewMember)) (m MemberInfo, err error) {
	defer wrap(&err, "edit member")
	err = d.changeMember(ctx, "member.edit", id, func(tx *store.Tx, s *Standing, row memberRow) error {
		if m, err = s.member(tx, id); err != nil {
			return err
		}
		if row.Version != version {
			return errChanged
		}
		before, after := m.NewMember, m.NewMember
		after.Roles = slices.Clone(before.Roles)
		change(&after)
		changed, err := editableMember(before, after)
		if err != nil || len(changed) == 0 {
			return err
		}
		faults, email := after.check()
		if err := faults.err(); err != nil {
			return err
		}
		n, err := tx.Update(tx.From(s.scope(false), membersTable).Where("id = ? AND version = ? AND state <> 'removed'", id, version),
			map[string]any{"name": after.Name, "email": email, "email_key": emailKey(email), "roles": rolesText(after.Roles), "locale": after.Locale, "version": version + 1})
		switch {
		case taken(err):
			return errAddressTaken()
		case err != nil:
			return err
		case n != 1:
			return ErrBadTransition
		}
		if slices.Contains(changed, "roles") {
			if _, err := tx.Exec(decided, "UPDATE prm_sessions SET roles = ? WHERE member_id = ?", rolesText(after.Roles), id); err != nil {
				return err
			}
		}
		if err := s.Record(tx, "member.edited", string(id), changed...); err != nil {
			return err
		}
		m, err = s.member(tx, id)
		return err
	})
	if err != nil {
		return MemberInfo{}, err
	}
	return m, nil
}

// editableMember names the fields that differ, and refuses those that never change.
func editableMember(before, after NewMember) (changed []string, err error) {
	sameAddress := strings.TrimSpace(after.Email) == before.Email
	if after.Kind != before.Kind || after.Key != "" || before.Kind != Special && !sameAddress {
		return nil, ErrImmutable
	}
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"name", after.Name != before.Name}, {"email", !sameAddress}, {"roles", !slices.Equal(after.Roles, before.Roles)}, {"locale", after.Locale != before.Locale},
	} {
		if f.differs {
			changed = append(changed, f.name)
		}
	}
	return changed, nil
}

// DeactivateMember shuts a member out, ends the sessions in his place and frees it. Only the account's owner. [ErrBadTransition] unless he is active; an
// invitation is taken back with RemoveMember. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) DeactivateMember(ctx context.Context, id MemberID) (err error) {
	defer wrap(&err, "deactivate member")
	return d.changeMember(ctx, "member.edit", id, func(tx *store.Tx, s *Standing, row memberRow) error {
		if row.State != memberActive {
			return ErrBadTransition
		}
		return s.endMember(tx, row, memberInactive, "member.deactivated")
	})
}

// RemoveMember ends a membership, or an invitation, for good, with the sessions in it; what he did keeps his id. Only the account's owner.
// [ErrBadTransition] for one who is removed already. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) RemoveMember(ctx context.Context, id MemberID) (err error) {
	defer wrap(&err, "remove member")
	return d.changeMember(ctx, "member.edit", id, func(tx *store.Tx, s *Standing, row memberRow) error {
		if row.State == memberRemoved {
			return ErrBadTransition
		}
		return s.endMember(tx, row, memberRemoved, "member.removed")
	})
}

// endMember takes a member's place from him.
func (s *Standing) endMember(tx *store.Tx, row memberRow, state, kind string) error {
	if err := leave(tx, row, state); err != nil {
		return err
	}
	return s.Record(tx, kind, row.ID, "state")
}

// leave is what it takes: the row, its place, its tokens and its sessions. Whoever has no other place has no use for his log-in.
func leave(tx *store.Tx, row memberRow, state string) error {
	// The person first, then the place, as for everybody who takes both.
	person := text(row.IdentityID)
	if err := holdIdentity(tx, person); err != nil {
		return err
	}
	// By what the row says now: a user who leaves takes his places with him, whatever their accounts' owners are at.
	if err := tx.Take(tx.From(decided, membersTable).Where("id = ?", row.ID), &row, changing); err != nil {
		return err
	}
	if text(row.IdentityID) != person { // somebody has accepted since
		return store.ErrAgain
	}
	if row.State == state || row.State == memberRemoved {
		return errChanged
	}
	if _, err := tx.Exec(decided, "UPDATE prm_members SET state = ?, version = version + 1 WHERE id = ?", state, row.ID); err != nil {
		return err
	}
	if row.State == memberActive || row.State == memberInvited {
		if err := givePlace(tx, row); err != nil {
			return err
		}
	}
	if err := voidTokens(tx, "", MemberID(row.ID), ""); err != nil {
		return err
	}
	if err := endPlace(tx, row.ID); err != nil {
		return err
	}
	if row.IdentityID == nil || state != memberRemoved {
		return nil
	}
	return forgetIdentity(tx, *row.IdentityID)
}

// endPlace ends the sessions in a member's place: over since ever, for the clocks of processes differ; the rows stay to say so for a while.
func endPlace(tx *store.Tx, member string) error {
	_, err := tx.Exec(decided, `UPDATE prm_sessions SET granted_until = 1, ends_at = ? WHERE member_id = ?
		OR opener_id IN (SELECT id FROM prm_sessions WHERE member_id = ?)`, tx.Now(), member, member)
	return err
}

// holdIdentity keeps a person's row until the transaction ends.
func holdIdentity(tx *store.Tx, id string) error {
	var held []string
	if id == "" {
		return nil
	}
	return tx.Query(decided, &held, "SELECT id FROM prm_identities WHERE id = ?"+tx.Lock(changing), id)
}

// forgetIdentity frees the log-in of a person who has no place left.
func forgetIdentity(tx *store.Tx, identity string) error {
	if err := holdIdentity(tx, identity); err != nil { // so that the next statement sees what has come meanwhile
		return err
	}
	n, err := tx.Exec(decided, `UPDATE prm_identities SET login = '', login_key = NULL, email = '', email_key = '', email_verified = FALSE, password_hash = '',
		epoch = epoch + 1, version = version + 1 WHERE id = ? AND kind = 'human'
		AND NOT EXISTS (SELECT 1 FROM prm_users WHERE identity_id = prm_identities.id)
		AND NOT EXISTS (SELECT 1 FROM prm_members WHERE identity_id = prm_identities.id AND state <> 'removed')`, identity)
	if err != nil || n == 0 {
		return err
	}
	if _, err := tx.Exec(decided, "DELETE FROM prm_known_sources WHERE identity_id = ?", identity); err != nil {
		return err
	}
	_, err = tx.Exec(decided, "DELETE FROM prm_outside_logins WHERE identity_id = ?", identity)
	return err
}

// ReactivateMember lets an inactive member in again, as far as there is room for him (*[QuotaError]) and, for a collaborator where that is asked,
// his partner is certified. Only the account's owner. [ErrBadTransition] unless he is inactive. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) ReactivateMember(ctx context.Context, id MemberID) (err error) {
	defer wrap(&err, "reactivate member")
	return d.changeMember(ctx, "member.add", id, func(tx *store.Tx, s *Standing, row memberRow) error {
		if row.State != memberInactive {
			return ErrBadTransition
		}
		t, err := typeOf(tx, s.Account.Type, sharing)
		if err != nil {
			return err
		}
		if row.Kind == string(Collaborator) && t.CertifiedOnly {
			if err := certifiedMember(tx, row); err != nil {
				return err
			}
		}
		if err := s.retake(tx, row, t); err != nil {
			return err
		}
		n, err := tx.Exec(decided, "UPDATE prm_members SET state = 'active', version = version + 1 WHERE id = ? AND state = 'inactive'", id)
		if err != nil {
			return err
		}
		if n != 1 {
			return errChanged
		}
		return s.Record(tx, "member.reactivated", string(id), "state")
	})
}

// certifiedMember refuses a collaborator whose partner is not certified now.
func certifiedMember(tx *store.Tx, row memberRow) error {
	var of []string
	if err := tx.Query(decided, &of, "SELECT partner_id FROM prm_users WHERE identity_id = ? AND ended_at = 0", row.IdentityID); err != nil {
		return err
	}
	if len(of) == 0 {
		return ErrNotCertified
	}
	return certified(tx, of[0])
}

// retake takes a place again for a member who had one.
func (s *Standing) retake(tx *store.Tx, row memberRow, t typeRow) error {
	if err := s.lapse(tx, AccountID(row.AccountID), tx.Now(), ledger.System); err != nil {
		return err
	}
	return takePlace(tx, s.Of(), AccountID(row.AccountID), MemberKind(row.Kind), t.public().Quota.of(MemberKind(row.Kind)))
}

// ReinviteMember sends an invitee a new token; the one he had is void, and one who had lapsed takes a place again. Only the account's owner. With
// Options.DeliverTokens the token is returned instead. [ErrBadTransition] for one who has accepted or is removed, [ErrNoDirectLogin] for a special
// employee; *[QuotaError], *[BlockedError] and [ErrUnavailable] as AddMember. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) ReinviteMember(ctx context.Context, id MemberID) (token Secret, err error) {
	defer wrap(&err, "invite member again")
	err = d.changeMember(ctx, "member.add", id, func(tx *store.Tx, s *Standing, row memberRow) error {
		was := row.standing(tx.Now())
		switch {
		case row.Kind == string(Special):
			return ErrNoDirectLogin
		case was != memberInvited && was != memberLapsed:
			return ErrBadTransition
		}
		if was == memberLapsed {
			t, err := typeOf(tx, s.Account.Type, sharing)
			if err != nil {
				return err
			}
			if err := s.retake(tx, row, t); err != nil {
				return err
			}
		}
		row.DueAt = tx.Now().Add(s.reg.opts.InvitationLife)
		n, err := tx.Exec(decided, "UPDATE prm_members SET state = 'invited', due_at = ?, version = version + 1 WHERE id = ? AND state IN ('invited', 'lapsed')", row.DueAt, id)
		if err != nil {
			return err
		}
		if n != 1 {
			return errChanged
		}
		e, err := s.record(tx, "member.reinvited", string(id), nil)
		if err != nil {
			return err
		}
		token, err = s.issueToMember(tx, invitesMember, templateInvitation, row, e)
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// ResetMemberPassword sends a member a token with which he chooses a new password ([Access.Accept]), for an hour. His old one serves until then. Only
// the account's owner. A collaborator has his password from his own partner ([ErrForbidden]), and so has everybody who is a partner's user;
// [ErrNoDirectLogin] for a special employee, [ErrBadTransition] for one who is not active, [ErrUnavailable] as AddMember. Not inside a host transaction
// above READ COMMITTED.
func (d *Accounts) ResetMemberPassword(ctx context.Context, id MemberID) (token Secret, err error) {
	defer wrap(&err, "reset member's password")
	err = d.changeMember(ctx, "member.edit", id, func(tx *store.Tx, s *Standing, row memberRow) error {
		switch {
		case row.Kind == string(Special):
			return ErrNoDirectLogin
		case row.State != memberActive:
			return ErrBadTransition
		}
		var elsewhere int64
		if err := tx.Query(decided, &elsewhere, "SELECT count(*) FROM prm_users WHERE identity_id = ? AND ended_at = 0", row.IdentityID); err != nil {
			return err
		}
		if elsewhere > 0 {
			return errNotAllowed
		}
		e, err := s.record(tx, "password.reset_asked", string(id), nil)
		if err != nil {
			return err
		}
		token, err = s.issueToMember(tx, resetsPassword, templateMemberReset, row, e)
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// changeMember does something to one member. His account's gate and his own are passed alone: whoever works in his place, or in what was opened from
// there, finishes the call he is in first.
func (d *Accounts) changeMember(ctx context.Context, action string, id MemberID, do func(*store.Tx, *Standing, memberRow) error) error {
	ask, err := d.reg.aboutMember(ctx, action, id)
	if err != nil {
		return err
	}
	ask.Changes = true
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		row, err := s.memberRow(tx, id)
		if err != nil {
			return err
		}
		if text(row.IdentityID) != ask.person { // he has accepted since
			return errChanged
		}
		return do(tx, s, row)
	})
}

// issueToMember makes a token of a purpose for a member, as issue does for a user.
func (s *Standing) issueToMember(tx *store.Tx, purpose, template string, m memberRow, e eventRow) (Secret, error) {
	var lately int64
	err := tx.Query(decided, &lately, "SELECT count(*) FROM prm_tokens WHERE email_key = ? AND partner_id = ? AND created_at > ?", m.EmailKey, m.PartnerID, tx.Now().Add(-time.Hour))
	if err != nil {
		return "", err
	}
	if lately >= lettersPerHour {
		return "", errTooManyLetters
	}
	if err := voidTokens(tx, "", MemberID(m.ID), purpose); err != nil {
		return "", err
	}
	token := newToken(s.reg.db)
	row := tokenRow{ID: tx.NewID("tok"), Purpose: purpose, PartnerID: m.PartnerID, MemberID: &m.ID, EmailKey: m.EmailKey, Inviter: s.name(),
		TokenHash: digest(token), State: tokenOpen, CreatedAt: tx.Now(), ExpiresAt: m.DueAt}
	if purpose == resetsPassword {
		row.ExpiresAt = tx.Now().Add(resetLife)
	}
	if !s.reg.opts.DeliverTokens {
		delivery := tx.NewID("dlv")
		row.Delivery = &delivery
	}
	if err := tx.Insert(&row); taken(err) { // another was first, which a snapshot does not see
		return "", store.ErrAgain
	} else if err != nil {
		return "", err
	}
	if row.Delivery == nil {
		return Secret(token), nil
	}
	var names []struct{ Account, Partner string }
	err = tx.Query(decided, &names, "SELECT a.name AS account, p.name AS partner FROM prm_accounts a JOIN prm_partners p ON p.id = a.partner_id WHERE a.id = ?", m.AccountID)
	if err != nil {
		return "", err
	}
	return "", s.deliver(tx, e, letter{id: *row.Delivery, expires: row.ExpiresAt, template: template, To: m.Email, Locale: m.Locale, Token: token,
		Data: map[string]string{wordName: m.Name, wordAccount: names[0].Account, wordPartner: names[0].Partner, wordUntil: until(row.ExpiresAt)}})
}
