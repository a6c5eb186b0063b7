package partner

import (
	"context"
	"slices"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// What the SDK itself erases, as receipts name it.
const (
	classAccount     = "account"
	classMembers     = "members"
	classSessions    = "sessions"
	classTokens      = "tokens"
	classDeliveries  = "deliveries"
	classDelegations = "delegations"
	classKeys        = "idempotency_keys"
	classSeats       = "seats"
)

var ownClasses = []string{classAccount, classMembers, classSessions, classTokens, classDeliveries, classDelegations, classKeys, classSeats, classSignature}

// deletedName is what a deleted account is called (CLW-22).
const deletedName = "deleted project"

// deleteAccount erases what the SDK knows of an account, once nothing of the host's is left, and writes the receipt, in one transaction. Its id stays.
func (r *Registry) deleteAccount(ctx context.Context, c closingRow) error {
	return r.Write(asSystem(ctx), Ask{Action: "account.end", Target: c.AccountID, Changes: true}, func(tx *store.Tx, s *Standing) error {
		var row closingRow
		q := tx.From(store.OfAccount(c.AccountID), closingsTable).Where("id = ? AND state = 'erasing'", c.ID)
		if err := tx.Take(q, &row, changing); err != nil {
			return err
		}
		if left, err := erasuresLeft(tx, c.ID); err != nil || left > 0 {
			return err // a class has become known meanwhile
		}
		// Whoever opens an account of the type meanwhile, and counts how many there are, waits until this one has gone.
		if _, err := typeOf(tx, s.Account.Type, changing); err != nil {
			return err
		}
		counts, err := s.eraseRows(tx)
		if err != nil {
			return err
		}
		receipt, err := s.receipt(tx, row, counts)
		if err != nil {
			return err
		}
		_, err = tx.Exec(decided, "UPDATE prm_closings SET state = ?, deleted_at = ?, message = ?, next_at = ? WHERE id = ?",
			closingErased, tx.Now(), receipt, tx.Now(), row.ID)
		if err != nil {
			return err
		}
		return s.Record(tx, "account.deleted", c.AccountID, "state")
	})
}

// erasing is a statement of a class, with how often the account's id stands in it.
type erasing struct {
	class string
	sql   string
	ids   int
}

// erasings are what goes with an account, in the order of what refers to what. Rows of its members' are found by those, who are erased last.
var erasings = []erasing{
	{classSessions, `DELETE FROM prm_sessions WHERE account_id = ? OR active_id = ? AND (delegation_id IS NOT NULL OR member_id IS NOT NULL)
		OR member_id IN (SELECT id FROM prm_members WHERE account_id = ?)`, 3},
	{classTokens, "DELETE FROM prm_tokens WHERE member_id IN (SELECT id FROM prm_members WHERE account_id = ?)", 1},
	{classDeliveries, "DELETE FROM prm_deliveries WHERE account_id = ?", 1},
	{classKeys, `DELETE FROM prm_keys WHERE partner_id = (SELECT partner_id FROM prm_accounts WHERE id = ?) AND (result = ?
		OR result IN (SELECT id FROM prm_members WHERE account_id = ?) OR result IN (SELECT id FROM prm_delegations WHERE account_id = ?))`, 4},
	{classDelegations, "DELETE FROM prm_delegations WHERE account_id = ?", 1},
	{classMembers, "UPDATE prm_members SET identity_id = NULL, name = '', email = '', email_key = '', locale = '', roles = '', version = version + 1 WHERE account_id = ?", 1},
	{"", "DELETE FROM prm_quotas WHERE account_id = ?", 1},
	{"", "DELETE FROM prm_idleness WHERE account_id = ?", 1},
	{"", "DELETE FROM prm_known_sources WHERE identity_id = (SELECT identity_id FROM prm_accounts WHERE id = ?)", 1},
	{"", "DELETE FROM prm_outside_logins WHERE identity_id = (SELECT identity_id FROM prm_accounts WHERE id = ?)", 1},
	{"", `UPDATE prm_identities SET login = '', login_key = NULL, email = '', email_key = '', email_verified = FALSE, password_hash = '', epoch = epoch + 1,
		version = version + 1 WHERE id = (SELECT identity_id FROM prm_accounts WHERE id = ?)`, 1},
	// Its name is free for another: the key is one that no other account has.
	{classAccount, `UPDATE prm_accounts SET state = 'deleted', name = '` + deletedName + `', name_key = id, email = '', company = '', phone = '', country = '', locale = '',
		customer = '', epoch = epoch + 1, version = version + 1 WHERE id = ?`, 1},
	{"", "UPDATE prm_quotas SET used = used - 1 WHERE account_id = '' AND (partner_id, kind) = (SELECT partner_id, type FROM prm_accounts WHERE id = ?)", 1},
}

// eraseRows erases the rows of the account and counts them by class.
func (s *Standing) eraseRows(tx *store.Tx) (counts map[string]int, err error) {
	id := s.Account.ID
	if err := forgetGuesses(tx, id); err != nil {
		return nil, err
	}
	if err := s.endMembers(tx); err != nil {
		return nil, err
	}
	seats, err := ledger.ForgetSeats(tx, ledger.Licenses, id)
	if err != nil {
		return nil, err
	}
	counts = map[string]int{classSeats: int(seats)}
	for i := range erasings {
		n, err := tx.Exec(decided, erasings[i].sql, slices.Repeat([]any{id}, erasings[i].ids)...)
		if err != nil {
			return nil, err
		}
		if class := erasings[i].class; class != "" {
			counts[class] = int(n)
		}
	}
	return counts, nil
}

// endMembers takes their places from all members; whoever has no other place has no log-in any more. The people come first and in order, as for
// everybody who takes several.
func (s *Standing) endMembers(tx *store.Tx) error {
	var people []string
	err := tx.Query(decided, &people, `SELECT id FROM prm_identities WHERE id IN (SELECT identity_id FROM prm_members WHERE account_id = ? AND state <> 'removed')
		ORDER BY id`+tx.Lock(changing), s.Account.ID)
	if err != nil {
		return err
	}
	var list []memberRow
	q := tx.From(store.OfAccount(s.Account.ID), membersTable).Where("state <> ?", memberRemoved).Order("id")
	if err := tx.Find(q, &list); err != nil {
		return err
	}
	for _, m := range list {
		if err := leave(tx, m, memberRemoved); err != nil {
			return err
		}
	}
	return nil
}

// forgetGuesses forgets the counters of the project's log-in and of members who have no other place; those of a source lapse within a day, and name
// nothing.
func forgetGuesses(tx *store.Tx, account string) error {
	var rows []struct{ ID, Login string }
	err := tx.Query(decided, &rows, `SELECT id, login FROM prm_identities i WHERE id = (SELECT identity_id FROM prm_accounts WHERE id = ?)
		OR id IN (SELECT identity_id FROM prm_members WHERE account_id = ?) AND NOT EXISTS (SELECT 1 FROM prm_users WHERE identity_id = i.id)
		AND NOT EXISTS (SELECT 1 FROM prm_members WHERE identity_id = i.id AND account_id <> ? AND state <> 'removed')`, account, account, account)
	for _, r := range rows {
		if err == nil {
			_, err = tx.Exec(decided, "DELETE FROM prm_throttles WHERE key IN ?", []string{guessOf(loginKey(r.Login), "", false).account, ownGuess(r.ID), personGuess(r.ID)})
		}
	}
	return err
}
