package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
)

// Group commits the work of concurrent callers together, by leader and followers: a caller who finds nobody at work works alone; those
// who come meanwhile wait, and the first of them then commits for all of them on its own goroutine and hands the lead on. There is no
// goroutine, timer or delay of the group's own while nobody waits. The zero Group is ready for use.
type Group[T any] struct {
	// One does the work of one item, on its caller's context. It may wait for others.
	One func(context.Context, T) error
	// Many does the work of several in one transaction, on a context of the group's own, and waits for nobody. It returns an error, or nil,
	// for each; ErrAlone is for an item that has to be done by One.
	Many func(context.Context, []T) []error

	mu      sync.Mutex
	waiting []*waiter[T]
	leaders []*leader
}

// ErrAlone is what Many returns for an item that it has left alone.
var ErrAlone = fail.New(fail.Conflict, "to be done alone")

const (
	// maxTogether bounds a batch: its locks fit into the lock table of a server with default settings, several times.
	maxTogether = 256
	// patience is how long a leader who works alone is waited for: he may be waiting for a lock that others do not need.
	patience = 5 * time.Millisecond
	// batchTimeout bounds one batch.
	batchTimeout = 30 * time.Second
)

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
	g.mu.Lock()
	if lead := g.takeLead(); lead != nil {
		g.mu.Unlock()
		return g.workAlone(ctx, item, lead)
	}
	w := &waiter[T]{item, make(chan answer, 1)}
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case a := <-w.answer:
			return g.answered(ctx, w, a)
		case <-ctx.Done():
			return g.leave(ctx, w)
		case <-timer.C:
			if lead := g.overtake(w); lead != nil {
				return g.lead(ctx, w, lead)
			}
			timer.Reset(patience)
		}
	}
}

// takeLead makes the caller a leader if none is at work, but for those who have been waiting for something themselves.
func (g *Group[T]) takeLead() *leader {
	if g.atWork(nil) {
		return nil
	}
	l := &leader{since: time.Now(), alone: true}
	g.leaders = append(g.leaders, l)
	return l
}

// overtake makes a waiter a leader whom the others keep waiting; nil if it is being worked for.
func (g *Group[T]) overtake(w *waiter[T]) *leader {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i < 0 {
		return nil
	}
	lead := g.takeLead()
	if lead != nil {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return lead
}

func (g *Group[T]) workAlone(ctx context.Context, item T, lead *leader) error {
	defer g.handOn(lead)
	return g.One(ctx, item)
}

// answered goes on with what a leader has told.
func (g *Group[T]) answered(ctx context.Context, w *waiter[T], a answer) error {
	switch {
	case a.lead != nil:
		return g.lead(ctx, w, a.lead)
	case a.err == ErrAlone: //nolint:errorlint // the value itself, not one like it
		return g.One(ctx, w.item)
	}
	return a.err
}

// lead works for w and all who wait.
func (g *Group[T]) lead(ctx context.Context, w *waiter[T], lead *leader) error {
	g.mu.Lock()
	n := min(len(g.waiting), maxTogether-1)
	batch := append([]*waiter[T]{w}, g.waiting[:n]...)
	g.waiting = slices.Delete(g.waiting, 0, n)
	lead.since, lead.alone = time.Now(), len(batch) == 1
	g.mu.Unlock()
	if len(batch) == 1 {
		return g.workAlone(ctx, w.item, lead)
	}
	errs := g.workTogether(batch, lead)
	for i, other := range batch[1:] {
		other.answer <- answer{err: errs[i+1]}
	}
	return g.answered(ctx, w, answer{err: errs[0]})
}

// workTogether runs Many. If it panics, the others are told that nobody knows.
func (g *Group[T]) workTogether(batch []*waiter[T], lead *leader) (errs []error) {
	finished := false
	defer func() {
		if !finished {
			for _, other := range batch[1:] {
				other.answer <- answer{err: ErrOutcomeUnknown}
			}
		}
		g.handOn(lead)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	items := make([]T, len(batch))
	for i, w := range batch {
		items[i] = w.item
	}
	errs = g.Many(ctx, items)
	finished = true
	return errs
}

// handOn gives the lead to the first who waits, or ends it.
func (g *Group[T]) handOn(lead *leader) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 || g.atWork(lead) {
		g.leaders = slices.DeleteFunc(g.leaders, func(l *leader) bool { return l == lead })
		return
	}
	next := g.waiting[0]
	g.waiting = slices.Delete(g.waiting, 0, 1)
	lead.since, lead.alone = time.Now(), false
	next.answer <- answer{lead: lead}
}

// atWork tells whether there is a leader beside one who is not waiting for something himself.
func (g *Group[T]) atWork(beside *leader) bool {
	now := time.Now()
	return slices.ContainsFunc(g.leaders, func(l *leader) bool { return l != beside && (!l.alone || now.Sub(l.since) < patience) })
}

// leave takes a caller out whose context has ended.
func (g *Group[T]) leave(ctx context.Context, w *waiter[T]) error {
	g.mu.Lock()
	i := slices.Index(g.waiting, w)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i >= 0 {
		return classify(context.Cause(ctx))
	}
	select {
	case a := <-w.answer:
		switch {
		case a.lead != nil: // nothing has been done for it yet
			g.handOn(a.lead)
			return classify(context.Cause(ctx))
		case a.err == ErrAlone: //nolint:errorlint // the value itself
			return classify(context.Cause(ctx))
		}
		return a.err
	default:
		return ErrOutcomeUnknown
	}
}
