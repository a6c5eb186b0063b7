package partner

import "github.com/partnerkit/partnerkit/internal/store"

// partWays separates users who leave a partner from their places in accounts: as collaborators they go there, too, and where the address that they were given is
// not theirs any more; as members in their own right they stay, with their log-in, which the place that ends gives up. It is about one user, or about all of an organisation.
func (s *Standing) partWays(tx *store.Tx, user UserID, of ID) error {
	const leaving = `SELECT m.id, m.partner_id, m.account_id, m.kind, m.identity_id, m.state FROM prm_members m JOIN prm_users u ON u.identity_id = m.identity_id
		JOIN prm_identities i ON i.id = m.identity_id WHERE m.state <> 'removed' AND (m.kind = 'collaborator' OR NOT i.email_verified OR i.email_key <> m.email_key)
		AND (u.id = ? OR u.partner_id = ?) ORDER BY m.account_id, m.id`
	var list []memberRow
	if err := tx.Query(decided, &list, leaving, user, of); err != nil {
		return err
	}
	for _, m := range list {
		if err := leave(tx, m, memberRemoved); err != nil {
			return err
		}
		if err := noteMember(tx, s.Actor(), "member.removed", m); err != nil {
			return err
		}
	}
	const staying = `SELECT DISTINCT u.id FROM prm_members m JOIN prm_users u ON u.identity_id = m.identity_id WHERE m.state IN ('active', 'inactive')
		AND (u.id = ? OR u.partner_id = ?) ORDER BY u.id`
	var users []string
	if err := tx.Query(decided, &users, staying, user, of); err != nil {
		return err
	}
	for _, id := range users {
		empty := identityRow{ID: tx.NewID("idn"), Kind: "human", Version: 1, CreatedAt: tx.Now()}
		if err := tx.Insert(&empty); err != nil {
			return err
		}
		// His sessions, those in accounts too, rested on the place that ends.
		_, err := tx.Exec(decided, "UPDATE prm_identities SET epoch = epoch + 1, version = version + 1 WHERE id = (SELECT identity_id FROM prm_users WHERE id = ?)", id)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(decided, "UPDATE prm_users SET identity_id = ? WHERE id = ?", empty.ID, id); err != nil {
			return err
		}
	}
	return nil
}

// endOwnPlaces ends a user's sessions in places that were given to his address.
func endOwnPlaces(tx *store.Tx, id UserID) error {
	_, err := tx.Exec(decided, `UPDATE prm_sessions SET granted_until = 1, ends_at = ? WHERE user_id = ? AND member_kind IN ('employee', 'external', 'guest')`,
		tx.Now(), id)
	return err
}
