package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Archive puts an active partner away: lists leave it out unless asked (PartnerFilter.IncludeArchived), its users and its projects' log-ins are
// refused with *[BlockedError] "archived", no licence of it moves and nothing new begins under it. Their open sessions stay dead after Restore. What
// it has stays, and what runs goes on; sub-partners are not touched. Vendor only. [ErrBadTransition] unless it is active, and while one of its
// projects is closing. Not inside a host transaction above READ COMMITTED.
func (d *Partners) Archive(ctx context.Context, id ID) (err error) {
	defer wrap(&err, "archive %s", id)
	return d.pass(ctx, id, "partner.archive", "partner.archived", func(tx *store.Tx, _ *Standing) (int64, error) {
		var leaving int64
		err := tx.Query(decided, &leaving, "SELECT count(*) FROM prm_accounts WHERE partner_id = ? AND state IN ('closing', 'deleting')", id)
		if err != nil || leaving > 0 {
			return 0, err
		}
		return tx.Exec(decided, `UPDATE prm_partners SET state = 'archived', own_epoch = own_epoch + 1, users_epoch = users_epoch + 1, version = version + 1
			WHERE id = ? AND state = 'active'`, id)
	})
}

// Restore undoes Archive: the partner is active again, and its people log in anew. Blocks and disabled users are as they were. Vendor only;
// [ErrBadTransition] unless it is archived. Not inside a host transaction above READ COMMITTED.
func (d *Partners) Restore(ctx context.Context, id ID) (err error) {
	defer wrap(&err, "restore %s", id)
	return d.pass(ctx, id, "partner.restore", "partner.restored", func(tx *store.Tx, _ *Standing) (int64, error) {
		return tx.Exec(decided, "UPDATE prm_partners SET state = 'active', version = version + 1 WHERE id = ? AND state = 'archived'", id)
	})
}

// Tombstone ends an archived partner for good. Its users have left, the log-in names of theirs and of its projects are free again, and open
// invitations are void; its rows stay, for documents and the audit refer to them. Vendor only; [ErrBadTransition] unless it is archived. Not inside a
// host transaction above READ COMMITTED.
func (d *Partners) Tombstone(ctx context.Context, id ID) (err error) {
	defer wrap(&err, "tombstone %s", id)
	return d.pass(ctx, id, "partner.tombstone", "partner.tombstoned", func(tx *store.Tx, s *Standing) (int64, error) {
		n, err := tx.Exec(decided, `UPDATE prm_partners SET state = 'tombstoned', own_epoch = own_epoch + 1, users_epoch = users_epoch + 1, version = version + 1
			WHERE id = ? AND state = 'archived'`, id)
		if err != nil || n != 1 {
			return n, err
		}
		return n, s.endAll(tx, id)
	})
}

// endAll does for all users of a partner what Users.Remove does for one, and frees the log-in names of its projects; whoever has left already has
// lost all of it, and his identity may be another's by now. Who was let into its projects from elsewhere is no longer.
func (s *Standing) endAll(tx *store.Tx, id ID) error {
	if err := s.partWays(tx, "", id); err != nil {
		return err
	}
	const places = "(SELECT identity_id FROM prm_users WHERE partner_id = ? AND ended_at = 0)"
	_, err := tx.Exec(decided, `UPDATE prm_identities SET login_key = NULL, password_hash = '', email_verified = FALSE, epoch = epoch + 1, version = version + 1
		WHERE id IN `+places+` OR id IN (SELECT identity_id FROM prm_accounts WHERE partner_id = ? AND identity_id IS NOT NULL)`, id, id)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(decided, "DELETE FROM prm_outside_logins WHERE identity_id IN "+places, id); err != nil {
		return err
	}
	if _, err := tx.Exec(decided, "DELETE FROM prm_shown_passwords WHERE partner_id = ?", id); err != nil {
		return err
	}
	_, err = tx.Exec(decided, `DELETE FROM prm_deliveries WHERE state IN ('ready', 'dead') AND id IN (SELECT delivery FROM prm_tokens
		WHERE partner_id = ? AND state = 'open')`, id)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(decided, "UPDATE prm_tokens SET state = 'void', ended_at = ? WHERE partner_id = ? AND state = 'open'", tx.Now(), id); err != nil {
		return err
	}
	if err := s.endLeaves(tx, "", id); err != nil {
		return err
	}
	_, err = tx.Exec(decided, "UPDATE prm_users SET ended_at = ?, invited = FALSE, version = version + 1 WHERE partner_id = ? AND ended_at = 0", tx.Now(), id)
	return err
}

// pass moves a partner along an edge of its state machine. The organisation's gate is passed alone: nothing that rests on its state is on its way
// meanwhile, and nothing that comes later sees the old one.
func (d *Partners) pass(ctx context.Context, id ID, action, kind string, change func(*store.Tx, *Standing) (int64, error)) error {
	return d.reg.Write(ctx, Ask{Action: action, Target: string(id), Changes: true}, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		n, err := change(tx, s)
		if err != nil {
			return err
		}
		if n != 1 {
			return ErrBadTransition
		}
		return s.Record(tx, kind, string(id), "state")
	})
}
