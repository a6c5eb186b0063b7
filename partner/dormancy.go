package partner

import (
	"context"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// How far the way to the end of an account that nobody uses has been gone.
const (
	used         = 0
	noticeSent   = 1
	noticeCame   = 2 // to both
	lastSent     = 3
	lastCame     = 4 // to both
	idleLook     = time.Hour
	standsLook   = 24 * time.Hour
	noticesAgain = 7 * 24 * time.Hour // what has died is not sent again before
	lateLook     = 3 * 24 * time.Hour // a look that is so much later than it was to be comes after a time in which nobody could use anything
)

const idlenessTable = "prm_idleness"

// idleRow is what is known of how long an account has been left alone.
type idleRow struct {
	AccountID string
	PartnerID string
	Since     store.Micros // of the last human deed that is known
	Stage     int
	SentAt    store.Micros // when the notices of the stage were sent
	DueAt     store.Micros // from stage noticeCame on, when the grace is over
	ToAccount string       // delivery of the stage's notice
	ToContact string
	Told      string // a digest of whose addresses these are
	NextAt    *store.Micros
}

func (idleRow) TableName() string { return idlenessTable }

// watch begins to look after a new account.
func watch(tx *store.Tx, a accountRow, t typeRow) error {
	row := idleRow{AccountID: a.ID, PartnerID: a.PartnerID, Since: tx.Now()}
	if t.Idle > 0 {
		at := tx.Now().Add(t.idle())
		row.NextAt = &at
	}
	return tx.Insert(&row)
}

// lookAgain has the sweeper look at all accounts of a type, whose times are others now.
func lookAgain(tx *store.Tx, code string) error {
	// A time of this change alone: whoever is just putting an account off by the old times sees that it is not theirs any more.
	_, err := tx.Exec(decided, "UPDATE prm_idleness SET next_at = ? WHERE account_id IN (SELECT id FROM prm_accounts WHERE type = ? AND state <> 'deleted')", -tx.Now(), code)
	return err
}

// touchEvery is how often a use is written down at most.
const touchEvery = time.Hour

// Touch tells that a human has used the account, in ways that the SDK does not see: its time of being idle begins anew, and if it was to be deleted for
// that, it is not ([AccountType].Idle). Log-ins to it, switching into it and all that people change in it count by themselves, but for a project's new
// address; what the host does in its own name ([AsVendor]) and what happens by itself does not. It is cheap, and can be called with each request: once in
// an hour it writes. For everybody who works in the account, the partner's users who see it, and the vendor.
//
// *[BlockedError] for an account that is closing or being deleted.
func (d *Accounts) Touch(ctx context.Context, id AccountID) (err error) {
	defer wrap(&err, "touch %s", id)
	ask := Ask{Action: "account.touch", Target: string(id)}
	var row idleRow
	state, fresh := "", false
	err = d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		state = s.Account.State
		row, err = idlenessOf(tx, string(id), "")
		fresh = row.Since > tx.Now().Add(-touchEvery)
		return err
	})
	if err != nil || fresh && state != "idle_notified" {
		return err
	}
	ask.Changes = state == "idle_notified"
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if !ask.Changes || tx.Frozen() { // the sweeper will see it
			return touch(tx, id)
		}
		row, err := idlenessOf(tx, string(id), changing)
		if err != nil {
			return err
		}
		t, err := typeOf(tx, s.Account.Type, "")
		if err != nil {
			return err
		}
		return s.wake(tx, row, t, tx.Now())
	})
}

// touch writes down that a human uses an account, once in an hour.
func touch(tx *store.Tx, id AccountID) error {
	_, err := tx.Exec(decided, "UPDATE prm_idleness SET since = ? WHERE account_id = ? AND since < ?", tx.Now(), id, tx.Now().Add(-touchEvery))
	return err
}

// idlenessOf reads the row of an account, which the call was decided on.
func idlenessOf(tx *store.Tx, id, lock string) (row idleRow, err error) {
	err = tx.Take(tx.From(store.OfAccount(id), idlenessTable).Where("account_id = ?", id), &row, lock)
	return row, err
}

// wake ends what was on its way to the end of the account.
func (s *Standing) wake(tx *store.Tx, row idleRow, t typeRow, since store.Micros) error {
	next := since.Add(t.idle())
	if err := row.at(used).set(tx, since, &next); err != nil {
		return err
	}
	if err := row.dropNotices(tx); err != nil {
		return err
	}
	n, err := tx.Exec(decided, "UPDATE prm_accounts SET state = 'active', version = version + 1 WHERE id = ? AND state = 'idle_notified'", row.AccountID)
	if err != nil || n == 0 {
		return err
	}
	return s.Record(tx, "account.woken", row.AccountID, "state")
}

// at is the row at a stage in which nothing was sent yet.
func (r idleRow) at(stage int) idleRow {
	r.Stage, r.SentAt, r.DueAt, r.ToAccount, r.ToContact, r.Told = stage, 0, 0, "", "", ""
	return r
}

// set writes the row as it is to be.
func (r idleRow) set(tx *store.Tx, since store.Micros, next *store.Micros) error {
	_, err := tx.Exec(decided, `UPDATE prm_idleness SET since = ?, stage = ?, sent_at = ?, due_at = ?, to_account = ?, to_contact = ?, told = ?, next_at = ?
		WHERE account_id = ?`, since, r.Stage, r.SentAt, r.DueAt, r.ToAccount, r.ToContact, r.Told, next, r.AccountID)
	return err
}

// dropNotices keeps those that wait from being sent: they are not true any more.
func (r idleRow) dropNotices(tx *store.Tx) error {
	_, err := tx.Exec(decided, "DELETE FROM prm_deliveries WHERE id IN (?, ?) AND state IN ('ready', 'dead')", r.ToAccount, r.ToContact)
	return err
}
