package partner

import (
	"context"
	"slices"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Edit changes Email, Name, Phone, Locale, Role, Rights and Scope of a user; Login, Password and Key are [ErrImmutable]. His sessions go on,
// under what he may do from then on. A new Email keeps the person, and nobody has proved it; the token that an invitee was sent to the old one is
// void, and his log-in name follows if it was the address; places in accounts that were given to the former address wait until he has it again. An admin of
// an organisation above leaves the address alone ([ErrForbidden]). *[OwnsAccountsError] for a Scope that leaves out what he owns; that and another Email are
// not for a host transaction above READ COMMITTED. version and change are as in [Partners.Edit]; errors as [Users.Add].
func (d *Users) Edit(ctx context.Context, id UserID, version int64, change func(*NewUser)) (u User, err error) {
	defer wrap(&err, "edit user")
	ask, err := d.about(ctx, "user.edit", id)
	if err != nil {
		return u, err
	}
	ask.Changes = true
	err = d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		u, err = s.user(tx, id)
		return err
	})
	if err != nil {
		return u, err
	}
	if u.Version != version {
		return u, errChanged
	}
	before, after := u.NewUser, u.NewUser
	after.Rights, after.Scope.Accounts = slices.Clone(before.Rights), slices.Clone(before.Scope.Accounts)
	change(&after)
	changed, err := editableUser(before, after)
	if err != nil || len(changed) == 0 {
		return u, err
	}
	ready, err := d.reg.checkUserEdit(u.Partner, before, after, u.Invited)
	if err != nil {
		return u, err
	}
	if emailKey(ready.email) != emailKey(u.Email) {
		ask.address = emailKey(ready.email)
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if err := s.editUser(tx, u, after, ready, changed); err != nil {
			return err
		}
		u, err = s.user(tx, id)
		return err
	})
	if err != nil {
		return User{}, d.reg.slowDownIfTaken(ctx, err)
	}
	return u, nil
}

// editableUser names the fields that differ, and refuses those that never change.
func editableUser(before, after NewUser) (changed []string, err error) {
	if after.Login != before.Login || after.Password != "" || after.Key != "" {
		return nil, ErrImmutable
	}
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"email", strings.TrimSpace(after.Email) != before.Email}, {"name", after.Name != before.Name}, {"phone", after.Phone != before.Phone},
		{"locale", after.Locale != before.Locale}, {"role", after.Role != before.Role}, {"rights", !sameRights(before.Rights, after.Rights)},
		{"scope", scopeText(after.Scope) != scopeText(before.Scope)},
	} {
		if f.differs {
			changed = append(changed, f.name)
		}
	}
	return changed, nil
}

// sameRights tells whether two lists are of the same rights, all of which there are.
func sameRights(a, b []Right) bool {
	unknown := func(r Right) bool { return !slices.Contains(allRights, r) }
	return rightsOf(a...) == rightsOf(b...) && !slices.ContainsFunc(b, unknown)
}

// checkUserEdit checks the fields as Add does; host callbacks run for those that changed.
func (r *Registry) checkUserEdit(org ID, before, after NewUser, invited bool) (ready preparedUser, err error) {
	o := r.opts
	if after.Phone == before.Phone {
		o.Phones = asRead
	} else if store.Joined(r.db) && o.Phones != nil {
		return ready, errCallback
	}
	c := o.checkUser(after, org, before.Email != "", &ready)
	if !invited && loginKey(before.Login) == loginKey(before.Email) && emailKey(after.Email) != emailKey(before.Email) {
		c.add("email", "format", "cannot change while it is the log-in name", nil)
	}
	return ready, c.err()
}

func (s *Standing) editUser(tx *store.Tx, u User, after NewUser, ready preparedUser, changed []string) error {
	had, given := rightsOf(u.Rights...), rightsOf(after.Rights...)
	if slices.Contains(changed, "email") && !s.IsVendor() && s.isBelow() {
		return errNotAllowed // the deletion of projects is confirmed from there
	}
	if u.Role != after.Role && after.Role == Admin {
		had = 0 // flags that a member had are given to an admin
	}
	if err := s.mayGive(after.Role, had, given); err != nil {
		return err
	}
	var c checks
	if emailKey(ready.email) != emailKey(u.Email) {
		if tx.Frozen() {
			return errFrozen
		}
		if err := s.mayAskForNames(tx); err != nil {
			return err
		}
		if err := s.noteAddress(tx, &c, u.ID, ready.email, false); err != nil {
			return err
		}
	}
	if err := s.noteScope(tx, &c, after.Scope, u.Scope); err != nil {
		return err
	}
	if after.Scope.Accounts != nil && slices.Contains(changed, "scope") {
		if tx.Frozen() {
			return errFrozen
		}
		if err := ownsNothing(tx, u.ID, after.Scope); err != nil {
			return err
		}
	}
	if err := c.err(); err != nil {
		return err
	}
	n, err := tx.Update(tx.From(store.OfPartner(string(s.Of())), usersTable).Where("id = ? AND version = ? AND ended_at = 0", u.ID, u.Version), map[string]any{
		"name": after.Name, "phone": ready.phone, "locale": after.Locale, "role": string(after.Role), "rights": int64(given), "scope": scopeText(after.Scope),
		"version": u.Version + 1,
	})
	if err != nil {
		return err
	}
	if n != 1 {
		return errChanged
	}
	if after.Role == Admin && u.Role != Admin {
		if err := forgetShown(tx, u.ID); err != nil {
			return err
		}
	}
	if ready.email != u.Email {
		if err := s.followLogin(tx, u.ID, u.Email, ready.email); err != nil {
			return err
		}
		_, err := tx.Exec(decided, `UPDATE prm_identities SET email = ?, email_key = ?, email_verified = email_verified AND email_key = ?, version = version + 1
			WHERE id = (SELECT identity_id FROM prm_users WHERE id = ?)`, ready.email, emailKey(ready.email), emailKey(ready.email), u.ID)
		if err == nil && emailKey(ready.email) != emailKey(u.Email) {
			err = endOwnPlaces(tx, u.ID)
		}
		if err != nil {
			return err
		}
	}
	return s.Record(tx, "user.edited", string(u.ID), changed...)
}

// followLogin gives an invitee whose address is his log-in name the new one for a name: nobody has logged in by the old one.
func (s *Standing) followLogin(tx *store.Tx, id UserID, was, is string) error {
	_, err := tx.Exec(decided, `UPDATE prm_identities SET login = ?, login_key = NULL WHERE login = ? AND id = (SELECT identity_id FROM prm_users WHERE id = ? AND invited)`,
		is, was, id)
	return err
}

// Disable shuts one user out and ends his sessions for good; a block of his organisation, or its end, changes nothing about that. The vendor's
// support may, too. [ErrPrimaryContact]: another user must be the contact first. Of a user who is disabled already it changes nothing.
func (d *Users) Disable(ctx context.Context, id UserID) (err error) {
	defer wrap(&err, "disable user")
	return d.setDisabled(ctx, id, true, "user.disabled")
}

// Enable lets him back in; as Disable.
func (d *Users) Enable(ctx context.Context, id UserID) (err error) {
	defer wrap(&err, "enable user")
	return d.setDisabled(ctx, id, false, "user.enabled")
}

func (d *Users) setDisabled(ctx context.Context, id UserID, disabled bool, kind string) error {
	return d.change(ctx, "user.disable", id, func(tx *store.Tx, s *Standing, u User) error {
		switch {
		case u.Active != disabled:
			return nil
		case u.Contact && disabled:
			return ErrPrimaryContact
		}
		if _, err := tx.Exec(decided, "UPDATE prm_users SET disabled = ?, version = version + 1 WHERE id = ?", disabled, id); err != nil {
			return err
		}
		if err := voidTokens(tx, id, "", resetsPassword); err != nil {
			return err
		}
		if err := endSessions(tx, id); err != nil {
			return err
		}
		return s.Record(tx, kind, string(id), "disabled")
	})
}

// Remove ends a user's place in the organisation, his sessions, and his places as a collaborator. His log-in name is free again, unless he is a member of
// accounts by it that were given to him and not to his organisation; what he did keeps his id. [ErrPrimaryContact] as Disable;
// *[OwnsAccountsError] for one who owns accounts. Not inside a host transaction above READ COMMITTED.
func (d *Users) Remove(ctx context.Context, id UserID) (err error) {
	defer wrap(&err, "remove user")
	return d.change(ctx, "user.remove", id, func(tx *store.Tx, s *Standing, u User) error {
		if tx.Frozen() {
			return errFrozen
		}
		if u.Contact {
			return ErrPrimaryContact
		}
		if err := ownsNothing(tx, id, Scope{}); err != nil {
			return err
		}
		if _, err := tx.Exec(decided, "UPDATE prm_users SET ended_at = ?, version = version + 1 WHERE id = ?", tx.Now(), id); err != nil {
			return err
		}
		if err := endSessions(tx, id); err != nil {
			return err
		}
		if err := s.partWays(tx, id, ""); err != nil {
			return err
		}
		_, err := tx.Exec(decided, "UPDATE prm_identities SET login_key = NULL, password_hash = '', email_verified = FALSE WHERE id = (SELECT identity_id FROM prm_users WHERE id = ?)", id)
		if err != nil {
			return err
		}
		if err := voidTokens(tx, id, "", ""); err != nil {
			return err
		}
		if err := forgetShown(tx, id); err != nil {
			return err
		}
		if err := s.endLeaves(tx, id, ""); err != nil {
			return err
		}
		if _, err := tx.Exec(decided, "DELETE FROM prm_outside_logins WHERE identity_id = (SELECT identity_id FROM prm_users WHERE id = ?)", id); err != nil {
			return err
		}
		return s.Record(tx, "user.removed", string(id))
	})
}

// change does something to one user.
func (d *Users) change(ctx context.Context, action string, id UserID, do func(*store.Tx, *Standing, User) error) error {
	ask, err := d.about(ctx, action, id)
	if err != nil {
		return err
	}
	ask.Changes = true
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		u, err := s.user(tx, id)
		if err != nil {
			return err
		}
		return do(tx, s, u)
	})
}

// endSessions ends those of a user: no session of his former epoch is ever live again.
func endSessions(tx *store.Tx, id UserID) error {
	_, err := tx.Exec(decided, `UPDATE prm_identities SET epoch = epoch + 1, version = version + 1
		WHERE id = (SELECT identity_id FROM prm_users WHERE id = ?)`, id)
	return err
}
