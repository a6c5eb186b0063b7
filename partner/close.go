package partner

import (
	"cmp"
	"context"
	"maps"

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
	err = d.reg.Read(ctx, Ask{Action: "account.close", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		list, err := ledger.Balances(tx, ledger.Licenses, string(id), "")
		c = Closing{Licenses: map[string]int64{}}
		for _, b := range list {
			if n := b.Available + b.Upcoming + b.Reserved; n > 0 {
				c.Licenses[b.Unit] = n
			}
		}
		return err
	})
	return c, err
}

// Close blocks the project at once (state closing): its log-in is refused, its sessions end, nobody can switch into it or move
// licences to it. Its reservations are void, its seats end, and the licences it has not used up go back to the partner's pool in the same transaction. The partner's primary contact and the project's
// own address are told. Partner users. A field error "contact.email" if the contact has no address, since it must confirm the
// deletion; [ErrBadTransition] if the project is closing already, as it is for a repeated call whose first answer was lost.
func (d *Accounts) Close(ctx context.Context, id AccountID) (c Closing, err error) {
	defer wrap(&err, "close %s", id)
	ask := Ask{Action: "account.close", Target: string(id), Changes: true}
	if err := d.reg.stepUp(ctx, ask, string(id)); err != nil {
		return c, err
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		contact, err := contactOf(tx, s.Of())
		if err != nil {
			return err
		}
		if contact.Email == "" {
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

// returnLicenses moves all that the project has not used up back to the pool. The amounts cannot change meanwhile: no move reaches a
// project whose row is held.
func (s *Standing) returnLicenses(tx *store.Tx, id AccountID) (Closing, error) {
	gone, notes, err := ledger.Empty(tx, string(id), ledger.Posting{
		Book: ledger.Licenses, Verb: "close", To: ledger.HeldBy(string(s.Of())), Partner: string(s.Of()), Actor: s.Actor(), Reason: "project closed",
		Hash: string(id),
	})
	if err != nil {
		return Closing{}, err
	}
	if err := s.reg.Happened(tx, notes); err != nil {
		return Closing{}, err
	}
	maps.DeleteFunc(gone, func(_ string, n int64) bool { return n == 0 })
	return Closing{Licenses: gone}, nil
}

func (s *Standing) announceClosing(tx *store.Tx, id AccountID, contact contact) error {
	var row accountRow
	if err := tx.Take(tx.From(s.scope(false), accountsTable).Where("id = ?", id), &row, ""); err != nil {
		return err
	}
	event, err := s.record(tx, "account.closing", string(id), []string{"state"})
	if err != nil {
		return err
	}
	about := map[string]string{wordProject: row.Name, wordPartner: contact.Partner}
	confirm := letter{template: templateCloseConfirmation, To: contact.Email, Locale: cmp.Or(contact.Locale, contact.PartnerLocale), Data: about}
	if err := s.deliver(tx, event, confirm); err != nil {
		return err
	}
	return s.deliver(tx, event, letter{template: templateCloseNotice, To: row.Email, Locale: row.Locale, Data: about})
}

// contact is a partner's primary contact; without an address nobody can write to it.
type contact struct{ Email, Locale, Partner, PartnerLocale string }

func contactOf(tx *store.Tx, of ID) (c contact, err error) {
	err = tx.Query(deciding, &c, `SELECT i.email, u.locale, p.name AS partner, p.locale AS partner_locale FROM prm_partners p
		JOIN prm_users u ON u.id = p.contact_id JOIN prm_identities i ON i.id = u.identity_id WHERE p.id = ?`, of)
	return c, err
}
