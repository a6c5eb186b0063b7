package store

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
)

// Group commits the work of concurrent callers together, by leader and followers: a caller who finds nobody at work works alone; those
// who come meanwhile wait, and the first of them then commits for all of them on its own goroutine and hands the lead on. There is no
// goroutine, timer or delay of the group's own while nobody waits.
//
// What the group meets locked by somebody else it passes by: those callers go on in a lane of their own, where they wait for the lock
// together, and nobody else waits for them.
type Group[T any] struct {
	// One does the work of one item, on its caller's context. It may wait for others.
	One func(context.Context, T) error
	// Many does the work of several in one transaction, on a context of the group's own, and returns an error, or nil, for each: ErrAlone
	// for an item that has to be done by One; unless it may wait, *Held for one that somebody else holds.
	Many func(ctx context.Context, items []T, wait bool) []error

	mu    sync.Mutex
	lanes map[string]*lane[T] // by what they wait for; the first lane, "", waits for nothing
}

// ErrAlone is what Many returns for an item that it has left alone.
var ErrAlone = fail.New(fail.Conflict, "to be done alone")

// Held is what Many returns for an item that it has passed by: By names what somebody else holds.
type Held struct{ By string }

// Error implements error.
func (h *Held) Error() string { return "held by somebody else" }

const (
	// maxTogether bounds a batch: its locks fit into the lock table of a server with default settings, several times.
	maxTogether = 256
	// patience is how long a leader of the first lane who works alone is waited for: he may be waiting for a lock that others do not need.
	patience = 5 * time.Millisecond
	// batchTimeout bounds one batch.
	batchTimeout = 30 * time.Second
)

// lane is callers who wait for each other. All of it is guarded by the group's mutex.
type lane[T any] struct {
	by      string
	waiting []*waiter[T]
	leaders []*leader
}

// leader is a caller at work.
type leader struct {
	since time.Time
	alone bool
}

// waiter is a caller who waits for a leader's answer, or to lead.
type waiter[T any] struct {
	item   T
	answer chan answer // of one place
}

// answer tells a waiter to lead, or what became of its item.
type answer struct {
	lead *leader
	err  error
}

// Do does the work of item. A caller whose context ends while others commit for it gets ErrOutcomeUnknown; one that has only waited, the
// context's error, and nothing has been done.
func (g *Group[T]) Do(ctx context.Context, item T) error {
	err := g.in(ctx, "", item)
	for {
		var held *Held
		switch {
		case err == ErrAlone: //nolint:errorlint // the value itself, not one like it
			return g.One(ctx, item)
		case !errors.As(err, &held):
			return err
		}
		err = g.in(ctx, held.By, item)
	}
}

// in does the work of item in a lane.
func (g *Group[T]) in(ctx context.Context, by string, item T) error {
	w := &waiter[T]{item, make(chan answer, 1)}
	g.mu.Lock()
	l := g.lanes[by]
	if l == nil {
		if g.lanes == nil {
			g.lanes = map[string]*lane[T]{}
		}
		l = &lane[T]{by: by}
		g.lanes[by] = l
	}
	if lead := l.takeLead(); lead != nil {
		g.mu.Unlock()
		runtime.Gosched() // those whom the last batch has just answered come again, if they do, right now
		return g.lead(ctx, l, w, lead)
	}
	l.waiting = append(l.waiting, w)
	alone := slices.ContainsFunc(l.leaders, func(x *leader) bool { return x.alone })
	g.mu.Unlock()

	var impatient <-chan time.Time // nobody overtakes a batch: it waits for nobody, and hands the lead on
	var timer *time.Timer
	if by == "" && alone {
		timer = time.NewTimer(patience)
		defer timer.Stop()
		impatient = timer.C
	}
	for {
		select {
		case a := <-w.answer:
			if a.lead != nil {
				return g.lead(ctx, l, w, a.lead)
			}
			return a.err
		case <-ctx.Done():
			return g.leave(ctx, l, w)
		case <-impatient:
			if lead := g.overtake(l, w); lead != nil {
				return g.lead(ctx, l, w, lead)
			}
			timer.Reset(patience)
		}
	}
}

// takeLead makes the caller a leader if none is at work.
func (l *lane[T]) takeLead() *leader {
	if l.atWork(nil) {
		return nil
	}
	lead := &leader{since: time.Now(), alone: true}
	l.leaders = append(l.leaders, lead)
	return lead
}

// atWork tells whether there is a leader beside one. In the first lane those do not count who seem to wait for something themselves.
func (l *lane[T]) atWork(beside *leader) bool {
	now := time.Now()
	return slices.ContainsFunc(l.leaders, func(x *leader) bool {
		return x != beside && (l.by != "" || !x.alone || now.Sub(x.since) < patience)
	})
}

// overtake makes a waiter a leader whom the others keep waiting; nil if it is being worked for.
func (g *Group[T]) overtake(l *lane[T], w *waiter[T]) *leader {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return nil
	}
	lead := l.takeLead()
	if lead != nil {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	return lead
}

// alone works for w.
func (g *Group[T]) alone(ctx context.Context, l *lane[T], w *waiter[T], lead *leader) error {
	defer g.handOn(l, lead)
	return g.One(ctx, w.item)
}

// lead works for w and all who wait.
func (g *Group[T]) lead(ctx context.Context, l *lane[T], w *waiter[T], lead *leader) error {
	g.mu.Lock()
	n := min(len(l.waiting), maxTogether-1)
	batch := append([]*waiter[T]{w}, l.waiting[:n]...)
	l.waiting = slices.Delete(l.waiting, 0, n)
	lead.since, lead.alone = time.Now(), len(batch) == 1
	g.mu.Unlock()
	if len(batch) == 1 {
		return g.alone(ctx, l, w, lead)
	}
	return g.together(ctx, l, batch, lead)
}

// together runs Many, tells the others what became of their items, and returns the first one's. If Many panics, the others are told that
// nobody knows.
func (g *Group[T]) together(leading context.Context, l *lane[T], batch []*waiter[T], lead *leader) error {
	errs := slices.Repeat([]error{ErrOutcomeUnknown}, len(batch))
	defer func() {
		g.handOn(l, lead)
		for i, w := range batch[1:] {
			w.answer <- answer{err: errs[i+1]}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	defer context.AfterFunc(leading, cancel)() // before its commit a batch lasts no longer than its leader does
	items := make([]T, len(batch))
	for i, w := range batch {
		items[i] = w.item
	}
	errs = g.Many(ctx, items, l.by != "")
	for i := range errs {
		if ctx.Err() != nil && (i > 0 || leading.Err() == nil) && errs[i] == ErrAlone { //nolint:errorlint // the value itself
			errs[i] = &Held{By: l.by} // they go on waiting together
		}
	}
	return errs[0]
}

// handOn gives the lead to the first who waits, or ends it.
func (g *Group[T]) handOn(l *lane[T], lead *leader) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(l.waiting) > 0 && !l.atWork(lead) {
		next := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		lead.since, lead.alone = time.Now(), false
		next.answer <- answer{lead: lead}
		return
	}
	l.leaders = slices.DeleteFunc(l.leaders, func(x *leader) bool { return x == lead })
	if len(l.leaders) == 0 && len(l.waiting) == 0 {
		delete(g.lanes, l.by)
	}
}

// leave takes a caller out whose context has ended.
func (g *Group[T]) leave(ctx context.Context, l *lane[T], w *waiter[T]) error {
	g.mu.Lock()
	i := slices.Index(l.waiting, w)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i >= 0 {
		return classify(context.Cause(ctx))
	}
	select {
	case a := <-w.answer:
		var held *Held
		switch {
		case a.lead != nil:
			g.handOn(l, a.lead)
		case a.err != ErrAlone && !errors.As(a.err, &held): //nolint:errorlint // the value itself
			return a.err
		}
		return classify(context.Cause(ctx)) // nothing has been done for it
	default:
		return ErrOutcomeUnknown
	}
}
