package partner

import (
	"cmp"
	"context"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Passwords that an organisation's admins may look at (PIL-24): a sealed copy beside the hash, of members only, while the vendor has set
// Agreement.ShowPasswords. It is a departure from OWASP ASVS 5.0, 6.4.6 and 11.4.2, which the vendor chooses for a partner.

type shownRow struct {
	UserID    string
	PartnerID string
	Sealed    string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
}

func (shownRow) TableName() string { return "prm_shown_passwords" }

// shownUse is what a copy is bound to: nobody else's row opens it.
func shownUse(of ID, user UserID) string { return "password/" + string(of) + "/" + string(user) }

// keepShown keeps a copy of a user's new password if his organisation shows them, in place of the one before; never of one that opens places in accounts
// that were given to himself. The organisation's row cannot
// change while the call has its gate.
func (r *Registry) keepShown(tx *store.Tx, user UserID, password Secret) error {
	if err := forgetShown(tx, user); err != nil || password == "" {
		return err
	}
	var of []ID
	err := tx.Query(deciding, &of, "SELECT p.id FROM prm_users u JOIN prm_partners p ON p.id = u.partner_id WHERE u.id = ? AND u.role = 'member' AND p.show_passwords"+
		" AND NOT EXISTS (SELECT 1 FROM prm_members m WHERE m.identity_id = u.identity_id AND m.kind <> 'collaborator' AND m.state IN ('active', 'inactive'))", user)
	if err != nil || len(of) == 0 || r.sealing == nil {
		return err
	}
	return tx.Insert(&shownRow{UserID: string(user), PartnerID: string(of[0]), Sealed: r.sealing.seal(string(password), shownUse(of[0], user)), CreatedAt: tx.Now()})
}

func forgetShown(tx *store.Tx, user UserID) error {
	_, err := tx.Exec(decided, "DELETE FROM prm_shown_passwords WHERE user_id = ?", user)
	return err
}

// forgetShownOf is forgetShown by the log-in: it opens a place that was given to himself.
func forgetShownOf(tx *store.Tx, identity string) error {
	_, err := tx.Exec(decided, "DELETE FROM prm_shown_passwords WHERE user_id IN (SELECT id FROM prm_users WHERE identity_id = ?)", identity)
	return err
}

// maySeal refuses an agreement that has passwords shown where nothing can seal them.
func (r *Registry) maySeal(a Agreement) error {
	if a.ShowPasswords && r.sealing == nil {
		return ErrNoKeyset
	}
	return nil
}

// RevealPassword returns the password of a member to an admin of the same partner, if the vendor has set Agreement.ShowPasswords and the password
// was chosen since. The audit says so before it is returned, and the user is told. [ErrNoKeyset] without Options.Sealer, [ErrNoSealedPassword] if
// there is no copy, as there never is of an admin's or a project's password, or of one with which he is a member of accounts in his own right; [ErrForbidden] for anybody else, while the session has switched into a
// project, and if Options.StepUp says no. Not inside a host transaction.
func (d *Users) RevealPassword(ctx context.Context, id UserID) (password Secret, err error) {
	defer wrap(&err, "reveal password")
	if store.Joined(d.reg.db) {
		return "", errInHostTx
	}
	ask, err := d.about(ctx, "user.reveal", id)
	if err != nil {
		return "", err
	}
	ask.Changes = true // whoever changes or hides it meanwhile is first, or comes after
	var copied shownRow
	if err := d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error { copied, err = s.shown(tx, id); return err }); err != nil {
		return "", err
	}
	if err := d.reg.stepUp(ctx, ask, string(id)); err != nil {
		return "", err
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if copied, err = s.shown(tx, id); err != nil {
			return err
		}
		e, err := s.record(tx, "password.revealed", string(id), nil)
		if err != nil {
			return err
		}
		to, err := s.addressee(tx, id)
		if err != nil || to.email == "" {
			return err
		}
		return s.deliver(tx, e, letter{template: templateRevealed, To: to.email, Locale: cmp.Or(to.locale, to.partnerLocale),
			Data: map[string]string{wordName: to.name, wordPartner: to.organisation}})
	})
	if err != nil {
		return "", err
	}
	text, err := d.reg.sealing.open(copied.Sealed, shownUse(ID(copied.PartnerID), id))
	return Secret(text), err
}

// shown is the copy of a user's password, if the session may have it now.
func (s *Standing) shown(tx *store.Tx, id UserID) (row shownRow, err error) {
	switch {
	case s.reg.sealing == nil:
		return row, ErrNoKeyset
	case s.Active.ID != "":
		return row, errNotAllowed
	}
	if _, err := s.user(tx, id); err != nil {
		return row, err
	}
	var rows []shownRow
	if err := tx.Find(tx.From(store.OfPartner(string(s.Of())), "prm_shown_passwords").Where("user_id = ?", id), &rows); err != nil {
		return row, err
	}
	if len(rows) == 0 {
		return row, ErrNoSealedPassword
	}
	return rows[0], nil
}

var (
	errStepUp     = fail.New(fail.Forbidden, "the principal has not proved anew who it is")
	errStepUpInTx = fail.New(fail.Invalid, "inside a host transaction Options.StepUp cannot be asked")
)

// stepUp asks the host whether the principal has proved anew who it is, once the call is known to be allowed. The host itself need not.
func (r *Registry) stepUp(ctx context.Context, ask Ask, target string) error {
	if r.opts.StepUp == nil {
		return nil
	}
	if store.Joined(r.db) {
		return errStepUpInTx
	}
	principal := ""
	err := r.Read(ctx, ask, func(_ *store.Tx, s *Standing) error {
		if s.actor.host == "" {
			principal = s.name()
		}
		return nil
	})
	if err != nil || principal == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallbackTime)
	defer cancel()
	switch ok, err := r.opts.StepUp(ctx, principal, ask.Action, target); {
	case err != nil:
		return fail.Because(fail.Unavailable, "ask Options.StepUp", err)
	case !ok:
		return errStepUp
	}
	return nil
}
