package partner

import (
	"github.com/partnerkit/partnerkit/internal/store"
)

// Limits are counted in rows of their own: one more is one conditional statement on one row, which callers at the same time pass one by one on every
// database. A row that is not there begins with what there is.

// takePlace counts one more member of a kind in an account, or refuses with *[QuotaError].
func takePlace(tx *store.Tx, of ID, account AccountID, kind MemberKind, limit int64) error {
	n, err := tx.Exec(decided, `INSERT INTO prm_quotas (partner_id, account_id, kind, used) SELECT ?, ?, ?, 1 WHERE ? <> 0
		ON CONFLICT (partner_id, account_id, kind) DO UPDATE SET used = prm_quotas.used + 1 WHERE ? < 0 OR prm_quotas.used < ?`,
		of, account, string(kind), limit, limit, limit)
	if err != nil || n == 1 {
		return err
	}
	return overQuota(tx, of, account, string(kind), string(kind), limit)
}

// givePlace gives back that of a member.
func givePlace(tx *store.Tx, m memberRow) error {
	_, err := tx.Exec(decided, "UPDATE prm_quotas SET used = used - 1 WHERE partner_id = ? AND account_id = ? AND kind = ?", m.PartnerID, m.AccountID, m.Kind)
	return err
}

// withinQuota refuses where more is in use than a limit that was lowered since.
func withinQuota(tx *store.Tx, of ID, account AccountID, kind MemberKind, limit int64) error {
	used, err := usedOf(tx, of, account, string(kind))
	if err == nil && limit >= 0 && used > limit {
		err = &QuotaError{Kind: string(kind), Limit: limit, InUse: used}
	}
	return err
}

// takeAccount counts one more account of a type under a partner. Without a limit nothing is counted, until there is one.
func takeAccount(tx *store.Tx, of ID, t typeRow) error {
	if t.MaxPerPartner == 0 {
		_, err := tx.Exec(decided, "UPDATE prm_quotas SET used = used + 1 WHERE partner_id = ? AND account_id = '' AND kind = ?", of, t.Code)
		return err
	}
	n, err := tx.Exec(decided, `INSERT INTO prm_quotas (partner_id, account_id, kind, used) SELECT ?, '', ?, n + 1
		FROM (SELECT count(*) AS n FROM prm_accounts WHERE partner_id = ? AND type = ? AND state <> 'deleted') c
		WHERE n < ? OR EXISTS (SELECT 1 FROM prm_quotas WHERE partner_id = ? AND account_id = '' AND kind = ?)
		ON CONFLICT (partner_id, account_id, kind) DO UPDATE SET used = prm_quotas.used + 1 WHERE prm_quotas.used < ?`,
		of, t.Code, of, t.Code, t.MaxPerPartner, of, t.Code, t.MaxPerPartner)
	if err != nil || n == 1 {
		return err
	}
	return overQuota(tx, of, "", t.Code, "accounts", t.MaxPerPartner)
}

// overQuota is the refusal, with what is in use.
func overQuota(tx *store.Tx, of ID, account AccountID, kind, what string, limit int64) error {
	used, err := usedOf(tx, of, account, kind)
	if err != nil {
		return err
	}
	if account == "" && used == 0 { // it is not counted yet
		err = tx.Query(decided, &used, "SELECT count(*) FROM prm_accounts WHERE partner_id = ? AND type = ? AND state <> 'deleted'", of, kind)
	}
	if err != nil {
		return err
	}
	return &QuotaError{Kind: what, Limit: limit, InUse: used}
}

func usedOf(tx *store.Tx, of ID, account AccountID, kind string) (used int64, err error) {
	err = tx.Query(decided, &used, "SELECT COALESCE(max(used), 0) FROM prm_quotas WHERE partner_id = ? AND account_id = ? AND kind = ?", of, account, kind)
	return used, err
}
