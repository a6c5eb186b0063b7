package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Closing is what a close would do, or has done.
type Closing struct {
	Licenses map[string]int64 // that go back to the pool, by sku
}

// PreviewClose tells what Close would do and writes nothing. Partner users.
func (d *Accounts) PreviewClose(ctx context.Context, id AccountID) (c Closing, err error) {
	defer wrap(&err, "preview close of %s", id)
	err = d.reg.Read(ctx, Ask{Action: "project.close", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		list, err := ledger.Balances(tx, ledger.Licenses, string(id), "")
		c = closingOf(list)
		return err
	})
	return c, err
}

func closingOf(list []ledger.Balance) Closing {
	c := Closing{Licenses: map[string]int64{}}
	for _, b := range list {
		if b.State == ledger.Held && b.Amount > 0 {
			c.Licenses[b.Unit] += b.Amount
		}
	}
	return c
}

// Close blocks the project at once (state closing): its log-in is refused, its sessions end, nobody can switch into it or move
// licences to it. Its licences go back to the partner's pool in the same transaction. The partner's primary contact and the project's
// own address are told. Partner users. A field error "contact.email" if the contact has no address, since it must confirm the
// deletion; [ErrBadTransition] if the project is closing already, as it is for a repeated call whose first answer was lost.
func (d *Accounts) Close(ctx context.Context, id AccountID) (c Closing, err error) {
	defer wrap(&err, "close %s", id)
	err = d.reg.Write(ctx, Ask{Action: "project.close", Target: string(id), Changes: true}, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		contact, err := contactEmail(tx, s.Of())
		if err != nil {
			return err
		}
		if contact == "" {
			return &ValidationError{Fields: []FieldError{{Path: "contact.email", Code: "required",
				Message: "the primary contact has no e-mail address to confirm the deletion from"}}}
		}
		n, err := tx.Exec(decided, `UPDATE prm_accounts SET state = 'closing', blocks = blocks | ?, epoch = epoch + 1, version = version + 1
			WHERE id = ? AND state IN ('active', 'idle_notified', 'suspended')`, blockClosing, id)
		if err != nil {
			return err
		}
		if n != 1 {
			return ErrBadTransition
		}
		if c, err = s.returnLicenses(tx, id); err != nil {
			return err
		}
		return s.announceClosing(tx, id, contact)
	})
	return c, err
}

// returnLicenses moves all that the project holds back to the pool.
func (s *Standing) returnLicenses(tx *store.Tx, id AccountID) (Closing, error) {
	list, err := ledger.Balances(tx, ledger.Licenses, string(id), "")
	if err != nil {
		return Closing{}, err
	}
	for _, b := range list { // by unit: the order in which every close locks; the amounts cannot change: no move reaches a project whose row is held
		if b.State != ledger.Held || b.Amount <= 0 {
			continue
		}
		_, err := ledger.Post(tx, ledger.Posting{
			Book: ledger.Licenses, Unit: b.Unit, Verb: "close", From: ledger.Row{Owner: string(id), State: b.State, Lot: b.Lot},
			To: ledger.Row{Owner: string(s.Of()), State: b.State, Lot: b.Lot}, Quantity: b.Amount, Partner: string(s.Of()), Actor: s.Actor(),
			Reason: "project closed", Key: tx.NewID("key"), Hash: string(id),
		})
		if err != nil {
			return Closing{}, err
		}
	}
	return closingOf(list), nil
}

func (s *Standing) announceClosing(tx *store.Tx, id AccountID, contact string) error {
	var row accountRow
	if err := tx.Take(tx.From(s.scope(false), accountsTable).Where("id = ?", id), &row, ""); err != nil {
		return err
	}
	event, err := s.record(tx, "project.closing", string(id), []string{"state"})
	if err != nil {
		return err
	}
	if err := s.deliver(tx, event, "close_confirmation", contact); err != nil {
		return err
	}
	return s.deliver(tx, event, "close_notice", row.Email)
}

// contactEmail is the address of a partner's primary contact; empty if it cannot be written to.
func contactEmail(tx *store.Tx, of ID) (string, error) {
	var email string
	err := tx.Query(deciding, &email, `SELECT i.email FROM prm_partners p JOIN prm_users u ON u.id = p.contact_id
		JOIN prm_identities i ON i.id = u.identity_id WHERE p.id = ?`, of)
	return email, err
}
