package partner

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// RemindClose sends whoever is the primary contact now a new token to confirm the close with; the one that was sent before is void. With
// Options.DeliverTokens the token is returned instead. For those who may close the account, and the vendor. A field error "contact.email" if the contact
// has no address; [ErrBadTransition] for an account that is not closing; [ErrUnavailable] after five letters about it within an hour, but for the host.
// Not inside a host transaction above READ COMMITTED.
func (d *Accounts) RemindClose(ctx context.Context, id AccountID) (token Secret, err error) {
	defer wrap(&err, "remind of the close of %s", id)
	err = d.reg.Write(ctx, Ask{Action: "account.remind_close", Target: string(id), Changes: true}, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		row, err := s.openClosing(tx)
		if err != nil {
			return err
		}
		to, err := contactOf(tx, s.Of())
		if err != nil {
			return err
		}
		if to.Email == "" {
			return errUndeliverable()
		}
		if err := s.fewLetters(tx); err != nil {
			return err
		}
		e, err := s.reminded(tx, row)
		if err != nil {
			return err
		}
		token, err = s.askToConfirm(tx, e, row, to, templateCloseReminder)
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// reminded writes down that the contact is reminded, and when next.
func (s *Standing) reminded(tx *store.Tx, row closingRow) (eventRow, error) {
	_, err := tx.Exec(decided, "UPDATE prm_closings SET reminded_at = ?, next_at = ? WHERE id = ?", tx.Now(), tx.Now().Add(remindEvery), row.ID)
	if err != nil {
		return eventRow{}, err
	}
	return s.record(tx, "account.close_reminded", s.Account.ID, nil)
}

// remindOfCloses reminds the contacts of closes that wait for them, each once every seven days, whichever process sees it; where the token they have is no longer
// good, with a new one. A host that delivers tokens itself makes that with RemindClose.
func (r *Registry) remindOfCloses(ctx context.Context) (more bool, err error) {
	var list []closingRow
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		return tx.Query(swept, &list, "SELECT account_id FROM prm_closings WHERE state = 'requested' AND (next_at <= ? OR next_at > ?) ORDER BY next_at LIMIT ?",
			tx.Now(), tx.Now().Add(remindEvery+clockError), sweepSize)
	})
	for _, c := range list {
		failed := r.Write(asSystem(ctx), Ask{Action: "account.end", Target: c.AccountID, Changes: true}, func(tx *store.Tx, s *Standing) error {
			return s.remindOfClose(tx)
		})
		if failed = beaten(failed); failed != nil { // it holds up no other
			failed = cmp.Or(r.remindLater(ctx, c.AccountID), failed)
		}
		err = cmp.Or(err, failed)
	}
	return err == nil && len(list) == sweepSize, err
}

// remindLater has a contact reminded an hour later.
func (r *Registry) remindLater(ctx context.Context, account string) error {
	return store.InTx(ctx, r.db, func(tx *store.Tx) error {
		_, err := tx.Exec(swept, "UPDATE prm_closings SET next_at = ? WHERE account_id = ? AND state = 'requested'", tx.Now().Add(time.Hour), account)
		return err
	})
}

// remindOfClose is the sweeper's part for one account, unless another has just done it.
func (s *Standing) remindOfClose(tx *store.Tx) error {
	row, err := s.openClosing(tx)
	if err != nil || !due(tx.Now(), row.NextAt, remindEvery) {
		return err
	}
	to, err := contactOf(tx, s.Of())
	if err != nil {
		return err
	}
	e, err := s.reminded(tx, row)
	if err != nil {
		return err
	}
	good, err := row.tokenGood(tx)
	if err != nil {
		return err
	}
	if good || to.Email == "" || s.reg.opts.DeliverTokens {
		return s.tellContact(tx, e, to, templateCloseReminder)
	}
	_, err = s.askToConfirm(tx, e, row, to, templateCloseReminder)
	return err
}

// clockError is by how much the clock of a process can be wrong in an hour.
const clockError = 2 * time.Hour

// due tells whether the time has come; what lies further away than anything is put off was put there by a clock that ran ahead.
func due(now, at store.Micros, longest time.Duration) bool {
	return now >= at || at > now.Add(longest+clockError)
}

// beaten is a sweeper's error but where somebody else was first: then there is nothing left to do.
func beaten(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadTransition) || errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}
