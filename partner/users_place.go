package partner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// mayGive refuses rights that the caller cannot give to a user of that role, who has some already: a partner's admin gives no flag that he
// lacks, and none to an admin.
func (s *Standing) mayGive(role Role, had, given rights) error {
	flags := given &^ had & rightFlags
	if flags == 0 || s.IsVendor() {
		return nil
	}
	if role == Admin || flags&^s.User.Rights != 0 {
		return errNotToGive
	}
	return nil
}

var errNotToGive = fmt.Errorf("%w: nobody gives a right that he lacks, and the vendor alone gives flags to admins", errNotAllowed)

// noteAddress adds the fault of an address that another user has, who may be of another partner (LIM-22): the vendor, who is told so, can see to
// it there. An invitation of a partner's looks at its own users alone, and tells nothing of others.
func (s *Standing) noteAddress(tx *store.Tx, c *checks, self UserID, email string, inviting bool) error {
	if email == "" {
		return nil
	}
	if err := lockAddress(tx, emailKey(email)); err != nil {
		return err
	}
	var places []struct {
		ID, PartnerID string
		Invited       bool
	}
	err := tx.Query(deciding, &places, `SELECT u.id, u.partner_id, u.invited FROM prm_identities i JOIN prm_users u ON u.identity_id = i.id
		WHERE i.email_key = ? AND u.ended_at = 0 AND u.id <> ?`, emailKey(email), self)
	if err != nil {
		return err
	}
	held := false
	for _, p := range places {
		switch own := p.PartnerID == string(s.Of()); {
		case own:
			held = true
		case p.Invited: // he has nothing yet
		case s.IsVendor():
			return ErrEmailInOtherPartner
		case !inviting:
			held = true
		}
	}
	if held {
		c.add("email", "taken", "another user has it", nil)
	}
	return nil
}

// unproved refuses an address that a user has proved already. A member of accounts alone may become one.
func unproved(tx *store.Tx, email string) error {
	var n int64
	err := tx.Query(deciding, &n, "SELECT count(*) FROM prm_identities i WHERE email_key = ? AND email_verified"+
		" AND EXISTS (SELECT 1 FROM prm_users u WHERE u.identity_id = i.id AND u.ended_at = 0)", emailKey(strings.TrimSpace(email)))
	if err == nil && n > 0 {
		err = ErrEmailInOtherPartner
	}
	return err
}

// lockAddress has callers with one address run one after the other, where a writer is not alone anyway.
func lockAddress(tx *store.Tx, key string) error {
	if !tx.Postgres() {
		return nil
	}
	_, err := tx.Exec(deciding, "SELECT pg_advisory_xact_lock(hashtextextended('email/' || CAST(? AS TEXT), ?))", key, gateSeed)
	return err
}

// noteScope adds the faults of accounts that a scope did not have before.
func (s *Standing) noteScope(tx *store.Tx, c *checks, scope, before Scope) error {
	var found []string
	plain := slices.DeleteFunc(slices.Clone(scope.Accounts), func(id AccountID) bool { return !store.Plain(string(id)) })
	if len(plain) > 0 {
		q := tx.From(store.OfPartner(string(s.Of())), accountsTable).Where("id IN ? AND state <> 'deleted'", plain).Select("id")
		if err := tx.Find(q, &found); err != nil {
			return err
		}
	}
	for i, id := range scope.Accounts {
		if !slices.Contains(found, string(id)) && !slices.Contains(before.Accounts, id) {
			c.add(fmt.Sprintf("scope.accounts[%d]", i), "unknown_code", "is no account of the organisation", ErrUnknownCode)
		}
	}
	return nil
}
