package partner

import (
	"context"
	"errors"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Guessing is slowed in the database, so that all processes share one count, and before hashing, so that it costs nothing. A guess is
// counted when it begins and forgiven when it was right: guesses at the same time cannot slip past the count together.
const (
	freePerAccount = 5
	freePerSource  = 50
	longestWait    = 15 * time.Minute
	forgetAfter    = 24 * time.Hour
	takenPerHour   = 20
)

var errWait = fail.New(fail.Unavailable, "too many attempts: wait and try again")

// guess names the counters of one attempt; an empty one is not counted.
type guess struct{ account, source string }

// guessOf makes the counters' names. They are digests of the name as typed, known or not. Somebody at a source that the account has
// logged in from before has a counter of his own there: a stranger's guesses elsewhere cannot lock him out.
func guessOf(loginKey, source string, known bool) guess {
	g := guess{account: "l:" + digest(loginKey)}
	if source != "" {
		g.source = "s:" + digest(source)
		if known {
			g.account = "k:" + digest(loginKey+"\x00"+source)
		}
	}
	return g
}

// ownGuess is the counter of who says his password to choose another one, personGuess that of who confirms an invitation with it.
func ownGuess(identity string) string    { return "c:" + digest(identity) }
func personGuess(identity string) string { return "a:" + digest(identity) }

// takeGuess counts an attempt, or answers ErrUnavailable while its counters wait.
func (r *Registry) takeGuess(ctx context.Context, g guess) error {
	return store.InTx(ctx, r.db, func(tx *store.Tx) error {
		for _, c := range []struct {
			key  string
			free int
		}{{g.account, freePerAccount}, {g.source, freePerSource}} {
			if c.key == "" {
				continue
			}
			if err := count1(tx, c.key, c.free); err != nil {
				return err
			}
		}
		_, err := tx.Exec(decided, "DELETE FROM prm_throttles WHERE updated_at < ? AND key IN (SELECT key FROM prm_throttles WHERE updated_at < ? LIMIT 10"+
			tx.Lock("UPDATE SKIP LOCKED")+")", tx.Now().Add(-forgetAfter), tx.Now().Add(-forgetAfter))
		return err
	})
}

func count1(tx *store.Tx, key string, free int) error {
	if _, err := tx.InsertNew(&throttleRow{Key: key, UpdatedAt: tx.Now()}); err != nil {
		return err
	}
	var row throttleRow
	if err := tx.Take(tx.From(deciding, throttlesTable).Where("key = ?", key), &row, "UPDATE"); errors.Is(err, store.ErrNoRow) {
		return store.ErrAgain // a right password has just deleted it
	} else if err != nil {
		return err
	}
	if row.UpdatedAt < tx.Now().Add(-forgetAfter) {
		row.Failures, row.NextAt = 0, 0
	}
	// A clock that jumped back must not turn a short wait into a long one.
	if row.NextAt > tx.Now() && row.NextAt <= tx.Now().Add(longestWait) {
		return errWait
	}
	row.Failures++
	if over := row.Failures - free; over >= 0 {
		row.NextAt = tx.Now().Add(min(longestWait, time.Second<<min(over, 10)))
	}
	_, err := tx.Update(tx.From(deciding, throttlesTable).Where("key = ?", key),
		map[string]any{"failures": row.Failures, "next_at": row.NextAt, "updated_at": tx.Now()})
	return err
}

// forgive undoes the count of a right password: the account starts anew, the source gets this one attempt back.
func (g guess) forgive(tx *store.Tx) error {
	if _, err := tx.Exec(decided, "DELETE FROM prm_throttles WHERE key = ?", g.account); err != nil || g.source == "" {
		return err
	}
	_, err := tx.Exec(decided, `UPDATE prm_throttles SET failures = failures - 1, next_at = CASE WHEN failures <= ? THEN 0 ELSE next_at END
		WHERE key = ? AND failures > 0`, freePerSource, g.source)
	return err
}

// mayAskForNames refuses a session that has learnt too many names to exist, whatever name it asks for now: the answer to a free one
// would tell as much.
func (s *Standing) mayAskForNames(tx *store.Tx) error {
	if s.IsVendor() {
		return nil
	}
	var n int64
	err := tx.Query(deciding, &n, "SELECT count(*) FROM prm_throttles WHERE key = ? AND failures >= ? AND next_at > ?", takenKey(s.facts), takenPerHour, tx.Now())
	if err == nil && n > 0 {
		err = errTooManyTaken
	}
	return err
}

func takenKey(f *facts) string { return "t:" + digest(f.name()) }

// countTaken counts how many log-in names a session has learnt to exist; past twenty an hour it learns no more. The vendor may know all.
func (r *Registry) countTaken(ctx context.Context, found error) error {
	a, err := actorOf(ctx)
	if err != nil || a.host != "" {
		return found
	}
	err = store.InTx(ctx, r.db, func(tx *store.Tx) error {
		f, err := r.readFacts(tx, a, Ask{}, holding)
		if err != nil {
			return err
		}
		if f.isVendor() {
			return nil
		}
		key := takenKey(&f)
		if _, err := tx.InsertNew(&throttleRow{Key: key, NextAt: tx.Now().Add(time.Hour), UpdatedAt: tx.Now()}); err != nil {
			return err
		}
		var row throttleRow
		if err := tx.Take(tx.From(deciding, throttlesTable).Where("key = ?", key), &row, "UPDATE"); err != nil {
			return err
		}
		if row.NextAt <= tx.Now() {
			row.Failures, row.NextAt = 0, tx.Now().Add(time.Hour)
		}
		if row.Failures >= takenPerHour {
			return errTooManyTaken
		}
		_, err = tx.Update(tx.From(deciding, throttlesTable).Where("key = ?", key),
			map[string]any{"failures": row.Failures + 1, "next_at": row.NextAt, "updated_at": tx.Now()})
		return err
	})
	if err == nil || !errors.Is(err, ErrUnavailable) {
		return found
	}
	return err
}
