package partner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/outbox"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Eraser deletes one class of the host's data of an account that is being deleted, secrets included. Erase is called outside transactions, by
// [Registry.Run] and Step of any process that has the eraser, for several accounts at once; two calls for an account do not overlap, unless the first one
// has gone on beyond its time. A
// process calls its own in the order of Options.Erasers, and none before the one ahead of it has succeeded. Erase may be called again for what it has erased
// already, after a crash or a lost answer, and must then succeed; an error is waited out, longer each time, an hour at most. It returns when ctx ends,
// after ten minutes; one that does not is left to itself, and called again. count is how many things this call deleted, with an error too.
type Eraser interface {
	// Class is a lower-case word of at most 40 characters, such as "work_data" or "connector_configuration". It is asked for once, by Open, and is the same
	// in all processes and for all time.
	Class() string
	Erase(ctx context.Context, account AccountID) (count int, err error)
}

const (
	eraseTime  = 10 * time.Minute
	eraseLease = 15 * time.Minute // more than one call can take
	eraseAgain = time.Hour        // after many failures
	lastWords  = 5 * time.Second  // for host code whose time is over to return

	erasersAtOnce = 4 // accounts
)

// eraser is one of the host's under the class that it named.
type eraser struct {
	class string
	Eraser
}

// namedErasers refuses those that cannot be called, or not be told apart.
func namedErasers(list []Eraser) (named []eraser, err error) {
	for i, e := range list {
		if e == nil {
			return nil, fail.New(fail.Invalid, fmt.Sprintf("Options.Erasers[%d] is nil", i))
		}
		var c checks
		class := e.Class()
		c.plainWord("class", class)
		if len(c.fields) > 0 {
			return nil, fail.New(fail.Invalid, fmt.Sprintf("Options.Erasers[%d]: its class %s", i, c.fields[0].Message))
		}
		_, stays := kept[class]
		if stays || slices.Contains(ownClasses, class) || slices.ContainsFunc(named, func(n eraser) bool { return n.class == class }) {
			return nil, fail.New(fail.Invalid, fmt.Sprintf("Options.Erasers[%d]: the class %s is another's", i, class))
		}
		named = append(named, eraser{class, e})
	}
	return named, nil
}

// known are the classes that this process makes known: of its erasers, and that it signs.
func (r *Registry) classes() (list []string) {
	for _, e := range r.erasers {
		list = append(list, e.class)
	}
	if r.opts.Signer != nil {
		list = append(list, classSignature)
	}
	return list
}

// nameErasers makes the classes of this process known to the others: no account is deleted before all that are known have been erased, and no receipt
// finished without a signature once somebody signs. They are sorted, so that two who bring several do not wait for each other.
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

// listErasures writes down what is to be erased in an account that is being deleted, or in all, for "". It holds what it goes by: a class that is being
// retired is not listed, nor one of an account that is just going.
func listErasures(tx *store.Tx, closing string) error {
	_, err := tx.Exec(swept, `INSERT INTO prm_erasures (closing_id, class, partner_id, account_id, next_at, failures, last_error, erased, kept, done_at)
		SELECT c.id, k.class, c.partner_id, c.account_id, 0, 0, '', 0, '', 0 FROM prm_closings c CROSS JOIN prm_eraser_classes k WHERE c.state = 'erasing'
		AND (c.id = ? OR ? = '') AND k.class <> ? AND NOT EXISTS (SELECT 1 FROM prm_erasures e WHERE e.closing_id = c.id AND e.class = k.class)
		ORDER BY c.id, k.class`+tx.Lock("SHARE OF c, k")+" ON CONFLICT DO NOTHING", closing, closing, classSignature)
	return err
}

// RetireEraser says of a class of the host's data that no process erases it any more, as there is no such data: accounts that wait for it are deleted
// without, and their receipts show the reason under what was kept; later ones do not wait. The class "signature" is that receipts are signed, by some
// process that has Options.Signer. Vendor only; at most 500 characters. A process that still has the eraser makes the class known again. [ErrNotFound] for a
// class that is neither known nor waited for. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) RetireEraser(ctx context.Context, class, reason string) (err error) {
	defer wrap(&err, "retire eraser")
	var c checks
	c.plainWord("class", class)
	c.text("reason", reason, true, maxReason)
	if err := c.err(); err != nil {
		return err
	}
	return d.reg.Write(ctx, Ask{Action: "account.retire_eraser"}, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		known, err := tx.Exec(decided, "DELETE FROM prm_eraser_classes WHERE class = ?", class)
		if err != nil {
			return err
		}
		open, err := tx.Exec(decided, "UPDATE prm_erasures SET kept = ?, done_at = ?, last_error = '' WHERE class = ? AND done_at = 0", reason, tx.Now(), class)
		if err != nil {
			return err
		}
		if known+open == 0 {
			return errNotHere
		}
		return s.Record(tx, "eraser.retired", class)
	})
}

// eraseIfDue is a worker's step: it goes on with the accounts that are being deleted, and with the receipts of those that were. It may take as long as the
// host's erasers do, so it is not part of the sweep.
func (r *Registry) eraseIfDue(ctx context.Context) (more bool, err error) {
	if !r.isDue(&r.erased) {
		return false, nil
	}
	more, err = r.eraseAccounts(ctx)
	left, failed := r.prove(ctx)
	if more = more || left; more {
		r.erased.Store(0)
	}
	return more, cmp.Or(err, failed)
}

var myClasses = store.ColumnsOf("class TEXT", "place BIGINT")

// eraseAccounts goes on with the accounts that are being deleted, as far as this process can: those in which the first of its erasers that has something
// left to do may be called, and those in which nothing is left. Each is by itself: what fails in one holds up no other.
func (r *Registry) eraseAccounts(ctx context.Context) (more bool, err error) {
	var list []closingRow
	err = store.InTx(ctx, r.db, func(tx *store.Tx) error {
		if err := cmp.Or(r.nameErasers(tx), listErasures(tx, "")); err != nil {
			return err
		}
		mine := tx.Rows(myClasses)
		for i, e := range r.erasers {
			mine.Add(e.class, int64(i))
		}
		return tx.Query(swept, &list, "WITH mine AS (SELECT class, place FROM "+mine.SQL()+`) SELECT id, account_id FROM prm_closings c WHERE state = 'erasing'
			AND (NOT EXISTS (SELECT 1 FROM prm_erasures e WHERE e.closing_id = c.id AND e.done_at = 0)
			OR EXISTS (SELECT 1 FROM prm_erasures e JOIN mine m ON m.class = e.class WHERE e.closing_id = c.id AND e.done_at = 0 AND (e.next_at <= ? OR e.next_at > ?)
			AND NOT EXISTS (SELECT 1 FROM prm_erasures f JOIN mine n ON n.class = f.class WHERE f.closing_id = c.id AND f.done_at = 0 AND n.place < m.place)))
			ORDER BY COALESCE((SELECT max(next_at) FROM prm_erasures e WHERE e.closing_id = c.id AND e.done_at = 0), 0), settled_at LIMIT ?`, append(mine.Args(), tx.Now(), tx.Now().Add(eraseAgain+clockError), sweepSize)...)
	})
	if err != nil {
		return false, err
	}
	moved, err := r.eraseEach(ctx, list)
	return err == nil && moved > 0 && len(list) == sweepSize, err
}

// eraseEach goes on with these accounts, several at once: one whose eraser hangs holds up few others. It tells in how many something went on.
func (r *Registry) eraseEach(ctx context.Context, list []closingRow) (moved int, err error) {
	var mu sync.Mutex
	var group sync.WaitGroup
	began := time.Now()
	next := func() (c closingRow, any bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(list) == 0 || time.Since(began) > eraseTime { // slow ones have had their turn
			return c, false
		}
		c, list = list[0], list[1:]
		return c, true
	}
	for range min(erasersAtOnce, len(list)) {
		group.Go(func() {
			for c, any := next(); any; c, any = next() {
				some, done, failed := r.eraseHosts(ctx, c)
				if failed == nil && done {
					failed = beaten(r.deleteAccount(ctx, c))
				}
				mu.Lock()
				if failed == nil && (some || done) {
					moved++
				}
				err = cmp.Or(err, failed)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return moved, err
}

// eraseHosts calls the erasers of this process that have something left to do in an account, one after another until one fails or is another process's.
// some tells that something went on, done that nothing of the host's is left.
func (r *Registry) eraseHosts(ctx context.Context, c closingRow) (some, done bool, err error) {
	for _, e := range r.erasers {
		if ctx.Err() != nil {
			return some, false, ctx.Err()
		}
		mine, over, err := r.claimErasure(ctx, c, e.class)
		switch {
		case err != nil:
			return some, false, err
		case over:
			continue
		case mine == 0: // somebody is at it, or it is not its time
			return some, false, nil
		}
		count, failed := e.erase(ctx, AccountID(c.AccountID))
		if err := r.noteErasure(ctx, c, e.class, mine, count, failed); err != nil {
			return some, false, err
		}
		if failed != nil {
			if ctx.Err() == nil {
				r.opts.Logger.WarnContext(ctx, "an eraser failed and will be called again", "class", e.class, "account", c.AccountID)
			}
			return some, false, ctx.Err()
		}
		some = true
	}
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		left, err := erasuresLeft(tx, c.ID)
		done = left == 0
		return err
	})
	return some, done, err
}

// erase calls the host's code, and takes from it what it says, both where it can do no harm.
func (e eraser) erase(ctx context.Context, a AccountID) (count int, failed error) {
	type answer struct {
		count int
		text  string
	}
	said := callWithin(ctx, eraseTime, lastWords, func(ctx context.Context) (said answer, err error) {
		n, err := e.Erase(ctx, a)
		if err != nil {
			return answer{n, err.Error()}, err
		}
		return answer{count: n}, nil
	})
	switch failed = said.failure(); {
	case said.answer.count < 0:
		return 0, errors.New("it returned a negative count")
	case failed != nil && said.answer.text != "":
		failed = errors.New(said.answer.text)
	}
	return said.answer.count, failed
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

// noteErasure writes down what has become of a claim, whatever has become of the call. What is erased is, whoever claims it now, and also where it was
// retired meanwhile; a failure is the claimant's to write, and none if it is this process that stops.
func (r *Registry) noteErasure(ctx context.Context, c closingRow, class string, mine store.Micros, count int, failed error) error {
	stopped := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	return store.InTx(ctx, r.db, func(tx *store.Tx) error {
		if failed == nil {
			_, err := tx.Exec(swept, `UPDATE prm_erasures SET erased = erased + ?, done_at = ?, last_error = '', kept = '' WHERE closing_id = ? AND class = ?
				AND (done_at = 0 OR kept <> '') AND EXISTS (SELECT 1 FROM prm_closings c WHERE c.id = closing_id AND c.state = 'erasing')`,
				count, tx.Now(), c.ID, class)
			return err
		}
		if stopped {
			_, err := tx.Exec(swept, "UPDATE prm_erasures SET erased = erased + ?, next_at = 0 WHERE closing_id = ? AND class = ? AND done_at = 0 AND next_at = ?",
				count, c.ID, class, mine)
			return err
		}
		var failures int
		if err := tx.Query(swept, &failures, "SELECT failures FROM prm_erasures WHERE closing_id = ? AND class = ?", c.ID, class); err != nil {
			return err
		}
		wait := min(sweepEvery<<min(failures, 6), eraseAgain)
		_, err := tx.Exec(swept, `UPDATE prm_erasures SET erased = erased + ?, failures = failures + 1, last_error = ?, next_at = ? WHERE closing_id = ? AND class = ?
			AND done_at = 0 AND next_at = ?`, count, outbox.Excerpt(failed.Error()), tx.Now().Add(wait), c.ID, class, mine)
		return err
	})
}

// noteTime is for writing down what was done after the caller has gone.
const noteTime = 10 * time.Second
