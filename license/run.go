package license

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// move is one write of a caller: what it asks, how its ends are chosen, and its answer.
type move struct {
	write
	ask   partner.Ask
	route route

	// shared moves take part in the commit of concurrent callers. Their route must not ask the database.
	shared bool

	answer Transfer
	err    error // of a list's move
}

// route chooses the two ends of a write after the access decision. Its error is a refusal: a repeated call gets its first answer all the
// same.
type route func(*store.Tx, *partner.Standing) (from, to ledger.End, err error)

// run makes the transfer. A repeated call gets its first answer whatever has become of the balance, the target or the sku since; only the
// actor's own right is asked again.
func (l *Ledger) run(ctx context.Context, m *move, faults []partner.FieldError) (t Transfer, err error) {
	if len(faults) > 0 {
		return t, &partner.ValidationError{Fields: faults}
	}
	m.ask.Keyed = m.keyed
	l.name(m)
	if m.shared && !l.reg.Joined() {
		err = l.group.Do(ctx, &job{ctx: ctx, moves: []*move{m}})
	} else {
		err = l.alone(ctx, m)
	}
	if err != nil {
		return m.lost(err), translate(err)
	}
	return m.answer, nil
}

// name gives a move a key, if it has none: before it is made, so that a lost answer names it.
func (l *Ledger) name(m *move) {
	if !m.keyed {
		m.key, m.fresh = l.reg.NewKey(), true
	}
}

// alone makes one move in a transaction of its own, or in the host's.
func (l *Ledger) alone(ctx context.Context, m *move) error {
	m.answer = Transfer{}
	var made []ledger.Posting
	defer func() { l.forget(made) }()
	return l.reg.Write(ctx, m.ask, func(tx *store.Tx, s *partner.Standing) error {
		from, to, refusal := m.route(tx, s)
		refusal = cmp.Or(s.Refusal(), m.dates(tx, s), refusal)
		p := m.posting(tx, s, from, to)
		made = []ledger.Posting{p}
		if refusal != nil {
			first, found, err := ledger.Replay(tx, p)
			if err == nil && !found {
				err = refusal
			}
			m.answer = public(first)
			return cmp.Or(err, m.mismatch(s, first))
		}
		posted, notes, err := ledger.Post(tx, p)
		m.answer = public(posted)
		if err != nil {
			return m.notDefined(tx, err)
		}
		if err := l.reg.Happened(tx, notes); err != nil || posted.Replayed {
			return cmp.Or(err, m.mismatch(s, posted))
		}
		return s.Record(tx, m.event(), m.about(from, to), "quantity")
	})
}

// notDefined makes a refusal for want of units of a type that does not exist say so; other errors stay what they are.
func (w write) notDefined(tx *store.Tx, err error) error {
	var short *ledger.Short
	if errors.As(err, &short) && short.Available == 0 {
		return cmp.Or(mustExist(tx, w.sku), err)
	}
	return err
}

// mismatch tells that a repeated move comes from elsewhere: where the session works is part of what it asks for. A session that can work
// nowhere, its project being closed, is answered if it may know of the place where the key was used.
func (m *move) mismatch(s *partner.Standing, first ledger.Transfer) error {
	if !first.Replayed || m.verb != "assign" && m.verb != "return" {
		return nil
	}
	working, _, err := s.Working()
	if err == nil && idOf(working) != first.From.Owner || !s.Within(first.From.Owner) {
		return ledger.ErrMismatch
	}
	return nil
}

// job is what one caller brings to a shared commit: a move, or a list of them that is answered as a whole.
type job struct {
	ctx       context.Context
	moves     []*move
	list      bool
	allOrNone bool // of a list
}

// one does a job in a transaction of its own.
func (l *Ledger) one(ctx context.Context, j *job) error {
	if j.list {
		return errNotShared
	}
	return l.alone(ctx, j.moves[0])
}

// errNotShared tells the caller of a list to do it in a transaction of its own.
var errNotShared = fail.New(fail.Conflict, "to be done alone")

// together makes the moves of several callers in one transaction, each by its own actor and decided for itself. What it cannot answer for
// sure, because the call is refused for another reason than the balance, is left alone.
func (l *Ledger) together(ctx context.Context, jobs []*job, wait bool, ready func()) []error {
	c := newCommit(l.reg, jobs, wait, ready)
	var err error
	if wait {
		err = l.reg.WriteAll(ctx, c.asks(), store.Waiting, c)
		l.forget(c.postings)
	} else {
		err = l.inTurn(ctx, c)
	}
	if errors.Is(err, errNotShared) {
		return l.withoutLists(ctx, jobs, wait, ready)
	}
	errs := make([]error, len(jobs))
	for i := range errs {
		switch {
		case err == nil:
			errs[i] = c.answer(i)
		case errors.Is(err, partner.ErrOutcomeUnknown), wait && errors.Is(err, partner.ErrUnavailable) && ctx.Err() == nil:
			errs[i] = err // all of them at once would find no better
		default:
			errs[i] = store.ErrAlone // nothing of it was committed
		}
	}
	return errs
}

// inTurn makes a commit that waits for nobody but the one before it: by what is remembered, if that can be, else under locks.
func (l *Ledger) inTurn(ctx context.Context, c *commit) error {
	defer func() { c.turn.End(false) }() // unless it has ended
	c.turn = l.recent.Next()
	c.unseen = l.repeats.Load() == 0
	if c.unseen && c.turn.Trusted() {
		c.guess = true
		err := l.reg.WriteAll(ctx, c.asks(), store.Guessing, c)
		if !errors.Is(err, store.ErrOutdated) && !seen(err) {
			c.turn.End(err == nil)
			return err
		}
		c.guess = false
		switch {
		case seen(err):
			c.unseen = false
			l.repeats.Store(lookAfterRepeat)
		case c.begun != nil: // what access decisions rest on was remembered
			c.turn.Wrong()
		}
		c.turn = c.turn.Another()
	}
	if err := c.turn.Wait(ctx); err != nil {
		return err
	}
	err := l.reg.WriteAll(ctx, c.asks(), store.Passing, c)
	if c.unseen && seen(err) {
		c.unseen = false
		l.repeats.Store(lookAfterRepeat)
		c.turn = c.turn.Another()
		err = l.reg.WriteAll(ctx, c.asks(), store.Passing, c)
	} else if n := l.repeats.Load(); !c.unseen && n > 0 {
		l.repeats.CompareAndSwap(n, n-1)
	}
	c.turn.End(err == nil)
	return err
}

// seen tells whether a key that was taken for new has been used before.
func seen(err error) bool {
	return errors.Is(err, ledger.ErrSeen) || errors.Is(err, store.ErrDuplicate)
}

// forget forgets what is remembered of the accounts of some postings.
func (l *Ledger) forget(list []ledger.Posting) {
	for _, p := range list {
		l.recent.Forget(p.From.Owner, p.Unit)
		l.recent.Forget(p.To.Owner, p.Unit)
	}
}

// withoutLists is together for the jobs that are no lists, which are left alone: the others must not wait because of them, each by itself.
func (l *Ledger) withoutLists(ctx context.Context, jobs []*job, wait bool, ready func()) []error {
	errs := slices.Repeat([]error{store.ErrAlone}, len(jobs))
	var rest []*job
	var of []int
	for i, j := range jobs {
		if !j.list {
			rest, of = append(rest, j), append(of, i)
		}
	}
	if len(rest) == 0 {
		return errs
	}
	for i, err := range l.together(ctx, rest, wait, ready) {
		errs[of[i]] = err
	}
	return errs
}
