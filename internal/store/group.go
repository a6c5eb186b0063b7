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

// Group commits the work of concurrent callers together, by leader and followers: a caller who finds nobody at work works at once, as a batch
// of one; those who come meanwhile wait, and the first of them then commits for all of them on its own goroutine and hands the lead on. There
// is no goroutine, timer or delay of the group's own.
//
// What the group meets locked by somebody else it passes by: those callers go on in a lane of their own, where they wait for the lock
// together, and nobody else waits for them.
type Group[T any] struct {
	// One does the work of one item, on its caller's context. It may wait for others.
	One func(context.Context, T) error
	// Many does the work of several in one transaction, and returns an error, or nil, for each: ErrAlone for an item that has to be done by
	// One; unless it may wait, *Held for one that somebody else holds. It may call ready when what is left is the database's to do: the next
	// batch begins then, and Many must see to it that the two don't meet.
	Many func(ctx context.Context, items []T, wait bool, ready func()) []error
	// Weight is how many an item counts for, at least 1; nil for 1 each.
	Weight func(T) int

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
	// MaxTogether bounds a batch: its locks fit into the lock table of a server with default settings, several times.
	MaxTogether = 256
	// batchTimeout bounds one batch.
	batchTimeout = 30 * time.Second
)

// lane is callers who wait for each other. All of it is guarded by the group's mutex.
type lane[T any] struct {
	by      string
	waiting []*waiter[T]
	led     bool
}

// waiter is a caller who waits for a leader's answer, or to lead.
type waiter[T any] struct {
	item   T
	answer chan answer // of one place
}

// answer tells a waiter to lead, or what became of its item.
type answer struct {
	lead bool
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
	if !l.led {
		l.led = true
		g.mu.Unlock()
		runtime.Gosched() // those whom the last batch has just answered come again, if they do, right now
		return g.lead(ctx, l, w)
	}
	l.waiting = append(l.waiting, w)
	g.mu.Unlock()
	select {
	case a := <-w.answer:
		if a.lead {
			return g.lead(ctx, l, w)
		}
		return a.err
	case <-ctx.Done():
		return g.leave(ctx, l, w)
	}
}

// lead works for w and all who wait.
func (g *Group[T]) lead(ctx context.Context, l *lane[T], w *waiter[T]) error {
	g.mu.Lock()
	n := g.fitting(w, l.waiting)
	batch := append([]*waiter[T]{w}, l.waiting[:n]...)
	l.waiting = slices.Delete(l.waiting, 0, n)
	g.mu.Unlock()
	handOn := sync.OnceFunc(func() { g.handOn(l) })
	if len(batch) == 1 && l.by != "" {
		defer handOn()
		return g.One(ctx, w.item)
	}
	return g.together(ctx, l, batch, handOn)
}

// fitting is how many of those who wait fit into a batch with first.
func (g *Group[T]) fitting(first *waiter[T], waiting []*waiter[T]) (n int) {
	weight := func(T) int { return 1 }
	if g.Weight != nil {
		weight = g.Weight
	}
	for left := MaxTogether - weight(first.item); n < len(waiting); n++ {
		if left -= weight(waiting[n].item); left < 0 {
			break
		}
	}
	return n
}

// together runs Many, tells the others what became of their items, and returns the first one's. If Many panics, the others are told that
// nobody knows.
func (g *Group[T]) together(leading context.Context, l *lane[T], batch []*waiter[T], handOn func()) error {
	errs := slices.Repeat([]error{ErrOutcomeUnknown}, len(batch))
	defer func() {
		handOn()
		for i, w := range batch[1:] {
			w.answer <- answer{err: errs[i+1]}
		}
	}()
	ctx := leading
	if len(batch) > 1 { // before its commit a batch lasts no longer than its leader does
		own, cancel := context.WithTimeout(context.Background(), batchTimeout)
		defer cancel()
		defer context.AfterFunc(leading, cancel)()
		ctx = own
	}
	items := make([]T, len(batch))
	for i, w := range batch {
		items[i] = w.item
	}
	errs = g.Many(ctx, items, l.by != "", handOn)
	for i := range errs {
		if ctx.Err() != nil && (i > 0 || leading.Err() == nil) && errs[i] == ErrAlone { //nolint:errorlint // the value itself
			errs[i] = &Held{By: l.by} // they go on waiting together
		}
	}
	return errs[0]
}

// handOn gives the lead to the first who waits, or ends it.
func (g *Group[T]) handOn(l *lane[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(l.waiting) > 0 {
		next := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		next.answer <- answer{lead: true}
		return
	}
	l.led = false
	if g.lanes[l.by] == l {
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
		case a.lead:
			g.handOn(l)
		case a.err != ErrAlone && !errors.As(a.err, &held): //nolint:errorlint // the value itself
			return a.err
		}
		return classify(context.Cause(ctx)) // nothing has been done for it
	default:
		return ErrOutcomeUnknown
	}
}
