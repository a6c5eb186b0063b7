package partner

import (
	"cmp"
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// TransferOwnership gives an account to another active user of its partner, who must see it: a member who is limited to some accounts, this one among
// them. From when it returns, the former owner acts as nobody there any more; invitations of his that were not accepted have lapsed, and the new owner
// may send them again. Both are told. For the owner, the partner's admins and those of an organisation that manages it, and the vendor.
//
// A field error "owner" for whoever cannot own it, [ErrNotCertified] where the type asks for a certified partner and it is not. [ErrForbidden] if
// Options.StepUp says no. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) TransferOwnership(ctx context.Context, id AccountID, to UserID) (err error) {
	defer wrap(&err, "transfer %s", id)
	ask := Ask{Action: "account.transfer", Target: string(id), Changes: true}
	if err := d.reg.stepUp(ctx, ask, string(id)); err != nil {
		return err
	}
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		if string(to) == s.Account.Owner {
			return nil
		}
		if err := s.mayBeOwner(tx, to); err != nil {
			return err
		}
		former := UserID(s.Account.Owner)
		if _, err := tx.Exec(decided, "UPDATE prm_accounts SET owner_id = ?, version = version + 1 WHERE id = ?", to, id); err != nil {
			return err
		}
		_, err := tx.Exec(decided, "UPDATE prm_sessions SET granted_until = 1, ends_at = ? WHERE active_id = ? AND user_id = ? AND member_kind = ?",
			tx.Now(), id, former, string(Special))
		if err != nil {
			return err
		}
		if err := s.lapse(tx, id, endOfTime, s.Actor()); err != nil {
			return err
		}
		e, err := s.record(tx, "account.transferred", string(id), []string{"owner"})
		if err != nil {
			return err
		}
		return s.tellOwners(tx, e, former, to)
	})
}

// mayBeOwner refuses who is no active user of the account's partner, or does not see it.
func (s *Standing) mayBeOwner(tx *store.Tx, id UserID) error {
	var rows []userRow
	if store.Plain(string(id)) {
		q := tx.From(store.OfPartner(string(s.Of())), usersTable).Where("id = ? AND NOT disabled AND NOT invited AND ended_at = 0", id)
		if err := tx.Find(q, &rows); err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		return &ValidationError{Fields: []FieldError{{Path: "owner", Code: "unknown_code", Message: "is no active user of the account's partner", Err: ErrUnknownCode}}}
	}
	if his := (userFacts{Scope: rows[0].Scope}); !his.within(s.Account.ID) {
		return &ValidationError{Fields: []FieldError{{Path: "owner", Code: "range", Message: "is limited to other accounts"}}}
	}
	t, err := typeOf(tx, s.Account.Type, sharing)
	if err == nil && t.CertifiedOnly {
		err = certified(tx, string(s.Of()))
	}
	return err
}

// tellOwners tells both that the account has another owner, but for who has brought that about.
func (s *Standing) tellOwners(tx *store.Tx, e eventRow, former, now UserID) error {
	owner, err := s.addressee(tx, now)
	if err != nil {
		return err
	}
	a, err := s.account(tx, s.Account.ID)
	if err != nil {
		return err
	}
	for _, id := range []UserID{former, now} {
		to, err := s.addressee(tx, id)
		if err != nil {
			return err
		}
		if to.email == "" || string(id) == s.User.ID {
			continue
		}
		err = s.deliver(tx, e, letter{template: templateTransferred, To: to.email, Locale: cmp.Or(to.locale, to.partnerLocale),
			Data: map[string]string{wordName: to.name, wordAccount: a.Name, wordPartner: to.organisation, wordOwner: owner.name}})
		if err != nil {
			return err
		}
	}
	return nil
}

// ownsNothing refuses to let a user go, or be limited to some accounts, who owns others.
func ownsNothing(tx *store.Tx, id UserID, but Scope) error {
	var owned []AccountID
	if err := tx.Query(decided, &owned, "SELECT id FROM prm_accounts WHERE owner_id = ? AND state <> 'deleted' ORDER BY id", id); err != nil {
		return err
	}
	e := &OwnsAccountsError{}
	limited := userFacts{Scope: scopeText(but)}
	for _, a := range owned {
		if but.Accounts == nil || !limited.within(string(a)) {
			e.IDs = append(e.IDs, a)
		}
	}
	if len(e.IDs) == 0 {
		return nil
	}
	return e
}
