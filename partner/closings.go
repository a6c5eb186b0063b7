package partner

import (
	"context"
	"slices"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// CloseRequest is a close, from when it was asked for to when the account was deleted.
type CloseRequest struct {
	ID        string // clo_…
	Account   AccountID
	Partner   ID
	State     string // "requested", "cancelled", "erasing" (confirmed), "deleted"
	By        string // who asked, as the audit names it
	Requested time.Time
	Reminded  time.Time // zero: not yet
	Expires   time.Time // of the token that the contact has, while the close is requested

	SettledBy string // who confirmed or cancelled, as the audit names it; empty: nobody has
	Settled   time.Time
	Reason    string // that the vendor gave for it
	Deleted   time.Time

	Erasures []Erasure // of the host's classes, once it is confirmed; by class
}

// Erasure is how far the erasing of one class of the host's data of an account is.
type Erasure struct {
	Class string
	Done  time.Time // zero: not yet
	Count int       // of what was deleted

	Failures int
	Next     time.Time // when it is tried again, or who is at it has to be done; already past: as soon as a process that has the eraser works
	Error    string    // of the last failure, for the vendor alone; empty once it is done
	Kept     string    // why the class was left out: see [Accounts.RetireEraser]
}

// States of a closing.
const (
	closingRequested = "requested"
	closingCancelled = "cancelled"
	closingErasing   = "erasing"
	closingErased    = "erased" // and not proved yet
	closingDone      = "done"
)

const closingsTable = "prm_closings"

type closingRow struct {
	ID          string
	PartnerID   string
	AccountID   string
	State       string
	Suspended   bool // what the account was before
	RequestedBy string
	RequestedAt store.Micros
	RemindedAt  store.Micros
	ContactID   *string // whose the token is
	EmailKey    string  // of the address that it was sent to
	TokenHash   *string
	Delivery    *string // that brings the token
	ExpiresAt   store.Micros
	NextAt      store.Micros // when to look again
	SettledBy   string
	SettledAt   store.Micros
	Reason      string
	DeletedAt   store.Micros
	Message     string // of the receipt
	KeyID       string
	Signature   []byte
}

func (closingRow) TableName() string { return closingsTable }

func (r closingRow) place() store.Place { return store.Place{At: r.RequestedAt, ID: r.ID} }

func (r closingRow) public() CloseRequest {
	c := CloseRequest{ID: r.ID, Account: AccountID(r.AccountID), Partner: ID(r.PartnerID), State: r.State, By: r.RequestedBy, Requested: r.RequestedAt.Time(),
		Reminded: r.RemindedAt.Time(), SettledBy: r.SettledBy, Settled: r.SettledAt.Time(), Reason: r.Reason, Deleted: r.DeletedAt.Time()}
	switch r.State {
	case closingRequested:
		c.Expires = r.ExpiresAt.Time()
	case closingErased, closingDone:
		c.State = "deleted"
	}
	return c
}

type erasureRow struct {
	ClosingID string
	Class     string
	PartnerID string
	AccountID string
	NextAt    store.Micros
	Failures  int
	LastError string
	Erased    int64
	Kept      string
	DoneAt    store.Micros
}

func (erasureRow) TableName() string { return "prm_erasures" }

func (r erasureRow) public() Erasure {
	return Erasure{Class: r.Class, Done: r.DoneAt.Time(), Count: int(r.Erased), Failures: r.Failures, Next: r.NextAt.Time(), Error: r.LastError, Kept: r.Kept}
}

// Closings pages through the closes in a state, newest first; "" is any. For the vendor, its support included, and for partner users, in their scope.
func (d *Accounts) Closings(ctx context.Context, state string, p PageRequest) (page Page[CloseRequest], err error) {
	defer wrap(&err, "list closes")
	if !slices.Contains([]string{"", closingRequested, closingCancelled, closingErasing, "deleted"}, state) {
		c := checks{}
		c.add("state", "unknown_code", "must be requested, cancelled, erasing or deleted", ErrUnknownCode)
		return page, c.err()
	}
	at, err := p.at("closings", state)
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, Ask{Action: "account.closings"}, func(tx *store.Tx, s *Standing) error {
		q := tx.From(s.scope(false), closingsTable)
		switch state {
		case "":
		case "deleted":
			q = q.Where("state IN ('erased', 'done')")
		default:
			q = q.Where("state = ?", state)
		}
		var rows []closingRow
		if err := tx.Find(store.After(q, closingsTable, "requested_at", at.place, at.started, at.limit), &rows); err != nil {
			return err
		}
		page = pageFrom(at, rows, closingRow.place, closingRow.public)
		return s.addErasures(tx, page.Items)
	})
	return page, err
}

// addErasures adds the erasures of closes that were read in scope. What the host's code says of its failures is for the vendor.
func (s *Standing) addErasures(tx *store.Tx, list []CloseRequest) error {
	at := make(map[string]int, len(list))
	ids := make([]string, len(list))
	for i, c := range list {
		at[c.ID], ids[i] = i, c.ID
	}
	if len(ids) == 0 {
		return nil
	}
	var rows []erasureRow
	err := tx.Query(deciding, &rows, `SELECT closing_id, class, next_at, failures, last_error, erased, kept, done_at FROM prm_erasures WHERE closing_id IN ?
		ORDER BY closing_id, class`, ids)
	for _, r := range rows {
		if !s.IsVendor() {
			r.LastError = ""
		}
		c := &list[at[r.ClosingID]]
		c.Erasures = append(c.Erasures, r.public())
	}
	return err
}

// open is the closing that nobody has confirmed yet, held until the transaction ends.
func (s *Standing) openClosing(tx *store.Tx) (row closingRow, err error) {
	q := tx.From(store.OfPartner(string(s.Of())), closingsTable).Where("account_id = ? AND state = 'requested'", s.Account.ID)
	err = tx.Take(q, &row, changing)
	return row, err
}

// CancelClose opens the account again, before anybody has confirmed that it is to be deleted: as it was, but for the licences, which stay where they
// went, and the sessions. What was sent to confirm it is void; who was told of the close is told of this. For those who may close it, and for the
// vendor, who must give a reason. [ErrBadTransition] for an account that is not closing. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) CancelClose(ctx context.Context, id AccountID, reason string) (err error) {
	defer wrap(&err, "cancel the close of %s", id)
	return d.settleClose(ctx, "account.cancel_close", id, reason, func(tx *store.Tx, s *Standing) error {
		row, err := s.openClosing(tx)
		if err != nil {
			return err
		}
		to := "active"
		if row.Suspended {
			to = "suspended"
		}
		n, err := tx.Exec(decided, "UPDATE prm_accounts SET state = ?, blocks = blocks & ?, version = version + 1 WHERE id = ? AND state = 'closing'",
			to, ^blockClosing, id)
		if err != nil {
			return err
		}
		if n != 1 {
			return ErrBadTransition
		}
		if err := s.settled(tx, row, closingCancelled, reason); err != nil {
			return err
		}
		e, err := s.record(tx, "account.close_cancelled", string(id), []string{"state"})
		if err != nil {
			return err
		}
		contact, err := contactOf(tx, s.Of())
		if err != nil {
			return err
		}
		if err := s.tellContact(tx, e, contact, templateCloseCancelled); err != nil {
			return err
		}
		return s.tellAccount(tx, e, contact, templateCloseCancelled)
	})
}

// ConfirmCloseFor confirms a close for a contact that cannot be reached, with the same effect as [Accounts.ConfirmClose]; vendor only. The reason is
// kept with the close: at most 500 characters, without personal data. [ErrBadTransition] for an account that is not closing; [ErrForbidden] if
// Options.StepUp says no. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) ConfirmCloseFor(ctx context.Context, id AccountID, reason string) (err error) {
	defer wrap(&err, "confirm the close of %s", id)
	const action = "account.confirm_close"
	if err := d.reg.stepUp(ctx, Ask{Action: action, Target: string(id), Changes: true}, string(id)); err != nil {
		return err
	}
	return d.settleClose(ctx, action, id, reason, func(tx *store.Tx, s *Standing) error {
		row, err := s.openClosing(tx)
		if err != nil {
			return err
		}
		return s.confirmClose(tx, row, reason)
	})
}

// settleClose ends the waiting for a confirmation. The vendor says why.
func (d *Accounts) settleClose(ctx context.Context, action string, id AccountID, reason string, do func(*store.Tx, *Standing) error) error {
	var c checks
	c.text("reason", reason, false, maxReason)
	if err := c.err(); err != nil {
		return err
	}
	return d.reg.Write(ctx, Ask{Action: action, Target: string(id), Changes: true}, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		if s.IsVendor() && reason == "" {
			return &ValidationError{Fields: []FieldError{{Path: "reason", Code: "required", Message: "must not be empty"}}}
		}
		return do(tx, s)
	})
}

// settled writes down who has confirmed or cancelled, and ends the token.
func (s *Standing) settled(tx *store.Tx, row closingRow, state, reason string) error {
	if err := dropLetter(tx, row); err != nil {
		return err
	}
	_, err := tx.Exec(decided, "UPDATE prm_closings SET state = ?, settled_by = ?, settled_at = ?, reason = ?, email_key = '', next_at = ? WHERE id = ?",
		state, s.Actor(), tx.Now(), reason, tx.Now(), row.ID)
	return err
}

// confirmClose begins the deleting, which nobody can stop: Step erases.
func (s *Standing) confirmClose(tx *store.Tx, row closingRow, reason string) error {
	n, err := tx.Exec(decided, "UPDATE prm_accounts SET state = 'deleting', version = version + 1 WHERE id = ? AND state = 'closing'", s.Account.ID)
	if err != nil {
		return err
	}
	if n != 1 {
		return ErrBadTransition
	}
	if err := s.settled(tx, row, closingErasing, reason); err != nil {
		return err
	}
	if err := s.reg.nameErasers(tx); err != nil {
		return err
	}
	if err := listErasures(tx, row.ID); err != nil {
		return err
	}
	return s.Record(tx, "account.close_confirmed", s.Account.ID, "state")
}

// ConfirmClose confirms, with the token that was sent to the primary contact, that the account is to be deleted. Whoever holds the token may call it; who
// acts in ctx does not matter. From when it returns nobody can stop it: [Registry.Step] has the host's data erased by Options.Erasers, then the SDK's
// own, and then there is a [Receipt].
//
// The token is good once, for fourteen days, while whom it was sent to is the primary contact under the same address. [ErrNotFound] for no
// token of ours, and for one in whose place there is a newer one; [ErrTokenUsed]; [ErrTokenExpired], also once the close was cancelled, or confirmed
// otherwise. *[BlockedError] while the partner is blocked. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) ConfirmClose(ctx context.Context, token Secret) (err error) {
	defer wrap(&err, "confirm close")
	c, err := d.closingByToken(ctx, token)
	if err != nil {
		return err
	}
	ask := Ask{Action: "account.redeem_close", Target: c.AccountID, Changes: true}
	return d.reg.Write(asSystem(ctx), ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		row, err := s.openClosing(tx)
		if err != nil {
			return err
		}
		switch good, err := row.tokenGood(tx); {
		case err != nil:
			return err
		case !good || text(row.TokenHash) != digest(string(token)):
			return ErrTokenExpired
		}
		s.actor, s.User.ID, s.factRows.Partner = actor{}, text(row.ContactID), s.Holder // whose deed it is
		return s.confirmClose(tx, row, "")
	})
}

// closingByToken finds the close that a token confirms, and refuses one that can never do so any more.
func (d *Accounts) closingByToken(ctx context.Context, token Secret) (c closingRow, err error) {
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		var rows []closingRow
		err := tx.Query(deciding, &rows, `SELECT account_id, state, contact_id, settled_by FROM prm_closings WHERE token_hash = ?`, digest(string(token)))
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return errNoToken
		}
		switch c = rows[0]; {
		case c.State == closingRequested:
			return nil
		case c.State != closingCancelled && c.SettledBy == text(c.ContactID):
			return ErrTokenUsed
		}
		return ErrTokenExpired
	})
	return c, err
}

// tokenGood tells whether the token of a closing still serves: in time, and whoever it was sent to is the contact, has the address and is let in.
func (r closingRow) tokenGood(tx *store.Tx) (bool, error) {
	if r.TokenHash == nil || tx.Now() >= r.ExpiresAt {
		return false, nil
	}
	var n int64
	err := tx.Query(deciding, &n, `SELECT count(*) FROM prm_partners p JOIN prm_users u ON u.id = p.contact_id JOIN prm_identities i ON i.id = u.identity_id
		WHERE p.id = ? AND u.id = ? AND i.email_key = ? AND NOT u.disabled AND u.ended_at = 0`, r.PartnerID, text(r.ContactID), r.EmailKey)
	return n == 1, err
}
