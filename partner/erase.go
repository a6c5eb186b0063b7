package partner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/outbox"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Eraser deletes one class of the host's data of an account that is being deleted, secrets included. Erase is called outside transactions, by
// [Registry.Step] of any process that has the eraser, one at a time for an account in the order of Options.Erasers. It may be called again for what it has
// erased already, after a crash or a lost answer, and must then succeed; an error is waited out, longer each time, an hour at most. It returns when ctx ends,
// after ten minutes; one that does not is left to itself, and called again. What it returns is how many things it deleted.
type Eraser interface {
	Class() string // a lower-case word of at most 40 characters, such as "work_data" or "connector_configuration"; it never changes
	Erase(ctx context.Context, account AccountID) (count int, err error)
}

const (
	eraseTime  = 10 * time.Minute
	eraseLease = 15 * time.Minute // more than one call can take
	eraseAgain = time.Hour        // after many failures
)

// checkErasers refuses what cannot be called, or not be told apart.
func checkErasers(list []Eraser) error {
	var seen []string
	for i, e := range list {
		if e == nil {
			return fail.New(fail.Invalid, fmt.Sprintf("Options.Erasers[%d] is nil", i))
		}
		var c checks
		class := e.Class()
		c.plainWord("class", class)
		if len(c.fields) > 0 {
			return fail.New(fail.Invalid, fmt.Sprintf("Options.Erasers[%d]: its class %s", i, c.fields[0].Message))
		}
		if slices.Contains(seen, class) || slices.Contains(ownClasses, class) {
			return fail.New(fail.Invalid, fmt.Sprintf("Options.Erasers[%d]: another has the class %s", i, class))
		}
		seen = append(seen, class)
	}
	return nil
}

// classes are those that this process has erasers for.
func (r *Registry) classes() []string {
	list := make([]string, len(r.opts.Erasers))
	for i, e := range r.opts.Erasers {
		list[i] = e.Class()
	}
	return list
}

// nameErasers makes the classes of this process known to the others: no account is deleted before all that are known have been erased. They are
// sorted, so that two who bring several do not wait for each other.
func (r *Registry) nameErasers(tx *store.Tx) error {
	for _, class := range slices.Sorted(slices.Values(r.classes())) {
		_, err := tx.Exec(swept, `INSERT INTO prm_eraser_classes (class, created_at) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM prm_eraser_classes WHERE class = ?)
			ON CONFLICT DO NOTHING`, class, tx.Now(), class)
		if err != nil {
			return err
		}
	}
	return nil
}

// listErasures writes down what is to be erased in each account that is being deleted.
func listErasures(tx *store.Tx) error {
	_, err := tx.Exec(swept, `INSERT INTO prm_erasures (closing_id, class, partner_id, account_id, next_at, failures, last_error, erased, kept, done_at)
		SELECT c.id, k.class, c.partner_id, c.account_id, 0, 0, '', 0, '', 0 FROM prm_closings c CROSS JOIN prm_eraser_classes k WHERE c.state = 'erasing'
		AND NOT EXISTS (SELECT 1 FROM prm_erasures e WHERE e.closing_id = c.id AND e.class = k.class) ON CONFLICT DO NOTHING`)
	return err
}

// RetireEraser says of a class of the host's data that no process erases it any more, as there is no such data: accounts that wait for it are deleted
// without, and their receipts show the reason under what was kept; later ones do not wait. Vendor only; at most 500 characters. A process that still has
// the eraser makes the class known again. [ErrNotFound] for a class that is not known.
func (d *Accounts) RetireEraser(ctx context.Context, class, reason string) (err error) {
	defer wrap(&err, "retire eraser")
	var c checks
	c.plainWord("class", class)
	c.text("reason", reason, true, maxReason)
	if err := c.err(); err != nil {
		return err
	}
	return d.reg.Write(ctx, Ask{Action: "account.retire_eraser"}, func(tx *store.Tx, s *Standing) error {
		n, err := tx.Exec(decided, "DELETE FROM prm_eraser_classes WHERE class = ?", class)
		if err != nil {
			return err
		}
		if n == 0 {
			return errNotHere
		}
		_, err = tx.Exec(decided, "UPDATE prm_erasures SET kept = ?, done_at = ?, last_error = '' WHERE class = ? AND done_at = 0", reason, tx.Now(), class)
		if err != nil {
			return err
		}
		return s.Record(tx, "eraser.retired", class)
	})
}

// eraseAccounts goes on with the accounts that are being deleted, as far as this process can. Each is by itself: what fails in one holds up no other.
func (r *Registry) eraseAccounts(ctx context.Context) (more bool, err error) {
	mine := r.classes()
	var list []closingRow
	err = store.InTx(ctx, r.db, func(tx *store.Tx) error {
		if err := cmp.Or(r.nameErasers(tx), listErasures(tx)); err != nil {
			return err
		}
		return tx.Query(swept, &list, `SELECT id, account_id FROM prm_closings c WHERE state = 'erasing'
			AND (EXISTS (SELECT 1 FROM prm_erasures e WHERE e.closing_id = c.id AND e.done_at = 0 AND e.class IN ? AND (e.next_at <= ? OR e.next_at > ?))
			OR NOT EXISTS (SELECT 1 FROM prm_erasures e WHERE e.closing_id = c.id AND e.done_at = 0)) ORDER BY settled_at LIMIT ?`,
			mine, tx.Now(), tx.Now().Add(eraseAgain+clockError), sweepSize)
	})
	if err != nil {
		return false, err
	}
	for _, c := range list {
		done, failed := r.eraseHosts(ctx, c)
		if failed == nil && done {
			failed = beaten(r.deleteAccount(ctx, c))
		}
		err = cmp.Or(err, failed)
	}
	return err == nil && len(list) == sweepSize, err
}

// eraseHosts calls the erasers of this process that have something left to do in an account, one after another until one fails or is another process's.
// done tells that nothing of the host's is left.
func (r *Registry) eraseHosts(ctx context.Context, c closingRow) (done bool, err error) {
	for _, e := range r.opts.Erasers {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		mine, over, err := r.claimErasure(ctx, c, e.Class())
		switch {
		case err != nil:
			return false, err
		case over:
			continue
		case mine == 0: // somebody is at it, or it is not its time
			return false, nil
		}
		a := callWithin(ctx, eraseTime, func(ctx context.Context) (int, error) { return e.Erase(ctx, AccountID(c.AccountID)) })
		failed := a.failure()
		if failed == nil && a.answer < 0 {
			failed = errors.New("it returned a negative count")
		}
		if err := r.noteErasure(ctx, c, e.Class(), mine, a.answer, failed); err != nil {
			return false, err
		}
		if failed != nil {
			r.opts.Logger.WarnContext(ctx, "an eraser failed and will be called again", "class", e.Class(), "account", c.AccountID)
			return false, nil
		}
	}
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		left, err := erasuresLeft(tx, c.ID)
		done = left == 0
		return err
	})
	return done, err
}

func erasuresLeft(tx *store.Tx, closing string) (n int64, err error) {
	err = tx.Query(swept, &n, "SELECT count(*) FROM prm_erasures WHERE closing_id = ? AND done_at = 0", closing)
	return n, err
}

// claimErasure takes a class of an account for this process; mine is until when, 0 if it is not to be had, and over that it is erased already.
func (r *Registry) claimErasure(ctx context.Context, c closingRow, class string) (mine store.Micros, over bool, err error) {
	err = store.InTx(ctx, r.db, func(tx *store.Tx) error {
		until := tx.Now().Add(eraseLease)
		n, err := tx.Exec(swept, "UPDATE prm_erasures SET next_at = ? WHERE closing_id = ? AND class = ? AND done_at = 0 AND (next_at <= ? OR next_at > ?)",
			until, c.ID, class, tx.Now(), tx.Now().Add(eraseAgain+clockError))
		if err != nil {
			return err
		}
		if mine, over = 0, false; n == 1 {
			mine = until
			return nil
		}
		var done int64
		err = tx.Query(swept, &done, "SELECT count(*) FROM prm_erasures WHERE closing_id = ? AND class = ? AND done_at > 0", c.ID, class)
		over = done > 0
		return err
	})
	return mine, over, err
}

// noteErasure writes down what has become of a claim, whatever has become of the call. What is erased is, whoever claims it now; a failure is the
// claimant's to write.
func (r *Registry) noteErasure(ctx context.Context, c closingRow, class string, mine store.Micros, count int, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	return store.InTx(ctx, r.db, func(tx *store.Tx) error {
		if failed == nil {
			_, err := tx.Exec(swept, "UPDATE prm_erasures SET erased = ?, done_at = ?, last_error = '' WHERE closing_id = ? AND class = ? AND done_at = 0",
				count, tx.Now(), c.ID, class)
			return err
		}
		var failures int
		if err := tx.Query(swept, &failures, "SELECT failures FROM prm_erasures WHERE closing_id = ? AND class = ?", c.ID, class); err != nil {
			return err
		}
		wait := min(sweepEvery<<min(failures, 6), eraseAgain)
		_, err := tx.Exec(swept, `UPDATE prm_erasures SET failures = failures + 1, last_error = ?, next_at = ? WHERE closing_id = ? AND class = ? AND done_at = 0
			AND next_at = ?`, outbox.Excerpt(failed.Error()), tx.Now().Add(wait), c.ID, class, mine)
		return err
	})
}

// noteTime is for writing down what was done after the caller has gone.
const noteTime = 10 * time.Second
