package partner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Receipt proves that an account was deleted: what of it went, by whose will, and what stays. It names ids and classes, and nobody.
type Receipt struct {
	Account     AccountID         `json:"account"`
	Partner     ID                `json:"partner"`
	RequestedBy string            `json:"requested_by"` // as the audit names it
	Requested   time.Time         `json:"requested"`
	By          string            `json:"confirmed_by"` // as the audit names it
	Confirmed   time.Time         `json:"confirmed"`
	At          time.Time         `json:"deleted"`
	Erased      map[string]int    `json:"erased"` // how many things went, by class: the SDK's and those of Options.Erasers
	Kept        map[string]string `json:"kept"`   // what stays, and why

	// Message is all of the above as JSON (RFC 8259), byte for byte what was signed.
	Message []byte `json:"-"`
	// Signature and KeyID are what Options.Signer returned for Message; empty if there was none when the account was deleted.
	Signature []byte `json:"-"`
	KeyID     string `json:"-"`
}

// kept is what of an account stays after it was deleted, and why.
var kept = map[string]string{
	"account":   "its id, type, region, owner and dates, as pseudonym: ledger and activity refer to it",
	"ledger":    "transfers, balances and reservations, by ids and quantities: the ledger is append-only",
	"activity":  "what happened, by ids and names of fields, never values: the audit is append-only",
	"members":   "their ids, kinds and dates: the audit names them",
	"contracts": "those of the account: money entries refer to them",
	"closing":   "who asked for this and who confirmed it, and when; this receipt",
}

// receipt makes the message of a receipt; the account's rows are erased already.
func (s *Standing) receipt(tx *store.Tx, c closingRow, erased map[string]int) (string, error) {
	r := Receipt{Account: AccountID(c.AccountID), Partner: ID(c.PartnerID), RequestedBy: c.RequestedBy, Requested: c.RequestedAt.Time(), By: c.SettledBy,
		Confirmed: c.SettledAt.Time(), At: tx.Now().Time(), Erased: erased, Kept: map[string]string{}}
	for what, why := range kept {
		r.Kept[what] = why
	}
	var rows []erasureRow
	if err := tx.Query(decided, &rows, "SELECT class, erased, kept FROM prm_erasures WHERE closing_id = ?", c.ID); err != nil {
		return "", err
	}
	for _, e := range rows {
		if e.Kept != "" {
			r.Kept[e.Class] = e.Kept
		} else {
			r.Erased[e.Class] = int(e.Erased)
		}
	}
	message, err := json.Marshal(r)
	return string(message), err
}

var errNotProved = fail.New(fail.Unavailable, "the account is deleted, and its receipt not finished: wait for Step")

// Receipt returns the proof that an account was deleted. For the vendor, its support included, and for admins of the partner and of an organisation that
// manages it. [ErrNotFound] for an account that was not deleted; [ErrUnavailable] while its receipt waits for Options.Signer or, on SQLite, for a reader
// who keeps the write-ahead log from being emptied.
func (d *Accounts) Receipt(ctx context.Context, id AccountID) (r Receipt, err error) {
	defer wrap(&err, "receipt of %s", id)
	of, err := d.partnerOfClosed(ctx, id)
	if err != nil {
		return r, err
	}
	err = d.reg.Read(ctx, Ask{Action: "account.receipt", Target: of}, func(tx *store.Tx, s *Standing) error {
		var row closingRow
		q := tx.From(s.scope(false), closingsTable).Where("account_id = ? AND state IN ('erased', 'done')", id)
		if err := tx.Take(q, &row, ""); err != nil {
			return err
		}
		if row.State != closingDone {
			return errNotProved
		}
		r = Receipt{Message: []byte(row.Message), Signature: row.Signature, KeyID: row.KeyID}
		return json.Unmarshal(r.Message, &r)
	})
	if err != nil {
		return Receipt{}, err
	}
	return r, nil
}

// partnerOfClosed is whose account it was; one that was never deleted is nobody's.
func (d *Accounts) partnerOfClosed(ctx context.Context, id AccountID) (of string, err error) {
	of = string(id)
	if !store.Plain(of) {
		return of, nil
	}
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		var found []string
		err := tx.Query(deciding, &found, "SELECT partner_id FROM prm_closings WHERE account_id = ? AND state IN ('erased', 'done')", id)
		if len(found) > 0 {
			of = found[0]
		}
		return err
	})
	return of, err
}

// prove finishes the receipts of deleted accounts: nothing of them is left in the files of the database that the SDK can clean, and the host has signed.
func (r *Registry) prove(ctx context.Context) (more bool, err error) {
	var list []closingRow
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		return tx.Query(swept, &list, "SELECT id, message FROM prm_closings WHERE state = 'erased' AND (next_at <= ? OR next_at > ?) ORDER BY next_at LIMIT ?",
			tx.Now(), tx.Now().Add(sweepEvery+clockError), sweepSize)
	})
	if err != nil || len(list) == 0 {
		return false, err
	}
	clean, err := store.Scrub(ctx, r.db)
	for _, c := range list {
		failed := err
		if clean && failed == nil {
			failed = r.proveOne(ctx, c)
		}
		if !clean || failed != nil {
			failed = cmp.Or(r.proveLater(ctx, c), failed)
		}
		err = cmp.Or(err, failed)
	}
	return err == nil && len(list) == sweepSize, err
}

// proveOne has the host sign a receipt. The first signature stays.
func (r *Registry) proveOne(ctx context.Context, c closingRow) error {
	type signed struct {
		signature []byte
		key       string
	}
	var by signed
	if r.opts.Signer != nil {
		a := callWithin(ctx, r.opts.CallbackTime, func(ctx context.Context) (by signed, err error) {
			by.signature, by.key, err = r.opts.Signer(ctx, []byte(c.Message))
			return by, err
		})
		var faults checks
		switch by = a.answer; {
		case a.failure() != nil:
			return fail.Because(fail.Unavailable, "sign a receipt", a.failure())
		case len(by.signature) == 0:
			return fail.Because(fail.Unavailable, "sign a receipt", errors.New("Options.Signer returned no signature"))
		case !faults.text("key_id", by.key, false, maxName):
			return fail.Because(fail.Unavailable, "sign a receipt: key id", faults.err())
		}
	}
	return store.InTx(ctx, r.db, func(tx *store.Tx) error {
		_, err := tx.Exec(swept, "UPDATE prm_closings SET state = 'done', signature = ?, key_id = ? WHERE id = ? AND state = 'erased'", by.signature, by.key, c.ID)
		return err
	})
}

// proveLater puts a receipt off.
func (r *Registry) proveLater(ctx context.Context, c closingRow) error {
	return store.InTx(ctx, r.db, func(tx *store.Tx) error {
		_, err := tx.Exec(swept, "UPDATE prm_closings SET next_at = ? WHERE id = ? AND state = 'erased'", tx.Now().Add(sweepEvery), c.ID)
		return err
	})
}
