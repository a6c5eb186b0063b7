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
	Kind        string            `json:"kind"` // "partnerkit.account_deleted.v1": what is signed is this, and no other message of the same key
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
	"ledger":    "transfers, balances and reservations, by ids and quantities, with the reasons and keys that were given: the ledger is append-only",
	"activity":  "what happened, by ids, those of the customer's people too, and names of fields, never values: the audit is append-only",
	"members":   "their ids, kinds and dates: the audit names them",
	"contracts": "those of the account: money entries refer to them",
	"closing":   "who asked for this and who confirmed it, and when; this receipt",
}

const receiptKind = "partnerkit.account_deleted.v1"

// receipt makes the message of a receipt; the account's rows are erased already.
func (s *Standing) receipt(tx *store.Tx, c closingRow, erased map[string]int) (string, error) {
	r := Receipt{Kind: receiptKind, Account: AccountID(c.AccountID), Partner: ID(c.PartnerID), RequestedBy: c.RequestedBy, Requested: c.RequestedAt.Time(), By: c.SettledBy,
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

// Receipt returns the proof that an account was deleted. For the vendor, its support included, for users of the partner who are not limited to some accounts, and for admins of
// an organisation that manages it. [ErrNotFound] for an account that was not deleted; [ErrUnavailable] while its receipt waits for Options.Signer or, on SQLite, for a reader
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

// classSignature is known once a process has signed, or could: from then on one that cannot finishes no receipt.
const classSignature = "signature"

// prove finishes the receipts of deleted accounts: nothing of them is left in the files of the database that the SDK can clean, and the host has signed.
func (r *Registry) prove(ctx context.Context) (more bool, err error) {
	var list []closingRow
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		return tx.Query(swept, &list, `SELECT id, account_id, message FROM prm_closings WHERE state = 'erased' AND (next_at <= ? OR next_at > ?)
			AND (? OR NOT EXISTS (SELECT 1 FROM prm_eraser_classes WHERE class = ?)) ORDER BY next_at LIMIT ?`,
			tx.Now(), tx.Now().Add(sweepEvery+clockError), r.opts.Signer != nil, classSignature, sweepSize)
	})
	if err != nil || len(list) == 0 {
		return false, err
	}
	clean, err := store.Scrub(ctx, r.db)
	proved := 0
	for _, c := range list {
		var failed error
		if clean && err == nil {
			if failed = r.proveOne(ctx, c); failed == nil {
				proved++
				continue
			}
			r.opts.Logger.WarnContext(ctx, "a receipt could not be signed and will be tried again", "account", c.AccountID)
		}
		err = cmp.Or(err, r.proveLater(ctx, c))
	}
	return err == nil && proved > 0 && len(list) == sweepSize, err
}

// proveOne has the host sign a receipt. The first signature stays.
func (r *Registry) proveOne(ctx context.Context, c closingRow) error {
	type signed struct {
		signature []byte
		key       string
	}
	var by signed
	if r.opts.Signer != nil {
		a := callWithin(ctx, r.opts.CallbackTime, lastWords, func(ctx context.Context) (by signed, err error) {
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
