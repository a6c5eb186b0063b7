package ledger

import (
	"context"
	"slices"
	"sync"
)

// Recent remembers accounts as the shared commits of this process leave them, so that the next one is decided on before the last has
// ended, and without asking the database. What it says is a guess: what is written on the strength of it fails by itself unless every account
// is still as it was remembered. The zero Recent remembers nothing.
type Recent struct {
	mu       sync.Mutex
	accounts map[name]*account // never changed, only replaced
	rows     int               // of them all
	last     *Turn

	// How far it is trusted: after a wrong guess not for some commits, more of them each time; after a row of right ones again.
	wary, penalty, right int
}

const (
	// maxRecent bounds the rows of the accounts that are remembered, some 300 bytes each.
	maxRecent = 1 << 16
	// maxPenalty bounds how many commits do without guessing after a wrong guess: where other processes move the same accounts, one commit in
	// so many is made twice.
	maxPenalty = 64
	// enoughRight is how many right guesses in a row make up for wrong ones: each saves a third of what a wrong one costs.
	enoughRight = 8
)

// Turn is the place of one shared commit in the row of those of a process. They are decided on in that order, each on the accounts that the
// ones before leave, and end in it. All of it is guarded by the mutex of its Recent.
type Turn struct {
	recent *Recent
	before *Turn
	guess  bool
	on     []*Turn // that it has been decided on, on their way then
	ended  chan struct{}
	over   bool
	failed bool

	// Known once it has been decided on: the keys that it uses, and the accounts that it leaves.
	keys map[[3]string]int
	left map[name]*account
}

// Next begins a turn. It must be ended.
func (r *Recent) Next() *Turn {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &Turn{recent: r, before: r.last, ended: make(chan struct{})}
	t.before = t.previous()
	r.last = t
	return t
}

// Another ends the turn for a failure, and begins another one.
func (t *Turn) Another() *Turn {
	t.End(false)
	return t.recent.Next()
}

// Trusted tells whether the turn may guess.
func (t *Turn) Trusted() bool {
	r := t.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wary > 0 {
		r.wary--
		return false
	}
	t.guess = true
	return true
}

// previous is the last turn before this one that has not ended.
func (t *Turn) previous() *Turn {
	before := t.before
	for before != nil && before.over {
		before = before.before
	}
	return before
}

// Wait waits until all turns before have ended. Whoever holds a connection must not: one of them may be waiting for it.
func (t *Turn) Wait(ctx context.Context) error {
	for {
		t.recent.mu.Lock()
		before := t.previous()
		t.recent.mu.Unlock()
		if before == nil {
			return nil
		}
		if err := before.end(ctx); err != nil {
			return err
		}
	}
}

// end waits for the end of a turn.
func (t *Turn) end(ctx context.Context) error {
	select {
	case <-t.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// alone tells whether nothing that the turn has been decided on is still on its way.
func (t *Turn) alone() bool {
	t.recent.mu.Lock()
	defer t.recent.mu.Unlock()
	return !slices.ContainsFunc(t.on, func(on *Turn) bool { return !on.over })
}

// stands waits for what the turn has been decided on, and tells whether all of it has come to be. Each of those has a connection, and none
// waits for a later one.
func (t *Turn) stands(ctx context.Context) (bool, error) {
	for _, on := range t.on {
		if err := on.end(ctx); err != nil || on.failed {
			return false, err
		}
	}
	return true, nil
}

// End ends the turn: committed tells whether the accounts are as it left them. Only the first end counts.
func (t *Turn) End(committed bool) {
	r := t.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.over {
		return
	}
	t.over, t.failed, t.before = true, !committed, t.previous()
	t.on = nil // or all of them would be kept
	switch {
	case t.failed:
		for n := range t.left {
			r.forget(n)
		}
	case t.guess:
		if r.right++; r.right >= enoughRight {
			r.penalty = 0
		}
	}
	close(t.ended)
}

// Wrong notes that the turn has guessed wrong.
func (t *Turn) Wrong() {
	r := t.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	r.right, r.penalty = 0, min(maxPenalty, max(1, 2*r.penalty))
	r.wary = r.penalty
}

// Forget forgets an account that something else has changed than a shared commit.
func (r *Recent) Forget(owner, unit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(name{owner, unit})
}

// ForgetAll forgets all accounts.
func (r *Recent) ForgetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accounts, r.rows = nil, 0
}

func (r *Recent) forget(n name) {
	if a := r.accounts[n]; a != nil {
		r.rows -= len(a.rows)
		delete(r.accounts, n)
	}
}

// recall returns what is remembered of accounts, to be changed. It is not ok to guess what is not: a turn before that has not ended may leave
// it, or it uses the key of one of the postings, for whose commit a second use would wait.
func (t *Turn) recall(names []name, list []Posting) (found map[name]*account, ok bool) {
	found = make(map[name]*account, len(names))
	r := t.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	t.on = nil
	for _, n := range names {
		if a := r.accounts[n]; a != nil {
			found[n] = a.copied()
		}
	}
	for before := t.previous(); before != nil; before = before.previous() {
		if before.left != nil {
			t.on = append(t.on, before)
		}
		for _, n := range names {
			if _, changed := before.left[n]; changed && found[n] == nil {
				return found, false
			}
		}
		for i := range list {
			if _, used := before.keys[[3]string{list[i].Partner, list[i].Verb, list[i].Key}]; used {
				return found, false
			}
		}
	}
	return found, true
}

// leave remembers accounts as the turn has them when it has been decided on, and the keys that it uses. They are not changed any more. It is
// false if a turn before has failed meanwhile: what that was to leave never was.
func (t *Turn) leave(w *world, keys map[[3]string]int) bool {
	r := t.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	t.keys, t.left, w.left = keys, w.accounts, true
	if slices.ContainsFunc(t.on, func(on *Turn) bool { return on.over && on.failed }) {
		return false
	}
	if r.accounts == nil || r.rows > maxRecent {
		r.accounts, r.rows = make(map[name]*account, len(w.accounts)), 0
	}
	for n, a := range w.accounts {
		r.forget(n)
		r.accounts[n] = a
		r.rows += len(a.rows)
	}
	return true
}

// copied is an account of its own, as it will be once it is written.
func (a *account) copied() *account {
	c := &account{name: a.name, whole: a.whole, rows: make([]*balance, len(a.rows))}
	rows := make([]balance, len(a.rows))
	for i, b := range a.rows {
		rows[i] = *b
		rows[i].written()
		c.rows[i] = &rows[i]
	}
	c.head = c.rows[0]
	return c
}

// guessable tells whether a posting can be decided on by what is remembered: of accounts of which enough is known, that time has no work on,
// and without anything new.
func (w *world) guessable(p *Posting) bool {
	from, to := w.accounts[name{p.From.Owner, p.Unit}], w.accounts[name{p.To.Owner, p.Unit}]
	if from == nil || to == nil || p.New != (Validity{}) || len(p.Lots) > 0 {
		return false
	}
	for _, a := range []*account{from, to} {
		if a.due(w.tx.Now()) || a.head.Stated > a.head.Recorded || p.deep(from, to) && !a.whole && a.owner != Issuer {
			return false
		}
	}
	return true
}
