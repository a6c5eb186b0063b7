package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// stages makes a batch that begins with a name go on only when the test says so: it takes what it is told, and calls ready first if it is
// told that. Everybody of it is then answered by answers, nil where there is none.
type stages struct {
	*bench
	ready   map[string]chan struct{} // when its batch calls ready
	end     map[string]chan struct{} // when its batch returns
	answers map[string]error
}

func newStages(b *bench, names ...string) *stages {
	s := &stages{b, map[string]chan struct{}{}, map[string]chan struct{}{}, map[string]error{}}
	for _, name := range names {
		s.ready[name], s.end[name] = make(chan struct{}), make(chan struct{})
	}
	b.many = func(_ context.Context, items []string, _ bool, ready func()) []error {
		if staged := s.ready[items[0]]; staged != nil {
			<-staged
			ready()
			<-s.end[items[0]]
		}
		errs := make([]error, len(items))
		for i, item := range items {
			errs[i] = s.answers[item]
		}
		return errs
	}
	return s
}

// goes lets batches go on.
func goes(stage ...chan struct{}) {
	for _, c := range stage {
		close(c)
	}
	synctest.Wait()
}

// TestGroup_TheNextBeginsAtReady: the next batch begins, works and is answered while the first is still in Many, and not before ready.
func TestGroup_TheNextBeginsAtReady(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		s := newStages(b, "first")
		first, a, c := b.calls(t.Context(), "first"), b.calls(t.Context(), "a"), b.calls(t.Context(), "c")
		b.did("many [first]")
		goes(s.ready["first"])
		must(t, errors.Join(b.at(a, "a"), b.at(c, "c")))
		b.waits(first, "the first")
		b.did("many [first]", "many [a c]")
		goes(s.end["first"])
		must(t, b.at(first, "the first"))
		b.idle()
	})
}

// TestGroup_NobodyWaitsAtReady: who comes after it leads at once, and those who come while he does wait for him, not for the first.
func TestGroup_NobodyWaitsAtReady(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		s := newStages(b, "first", "second")
		first := b.calls(t.Context(), "first")
		goes(s.ready["first"])
		second := b.calls(t.Context(), "second")
		third := b.calls(t.Context(), "third")
		b.did("many [first]", "many [second]")
		goes(s.end["first"]) // its end hands on nothing: the second leads
		must(t, b.at(first, "the first"))
		b.waits(third, "the third")
		b.did("many [first]", "many [second]")
		goes(s.ready["second"])
		must(t, b.at(third, "the third"))
		goes(s.end["second"])
		must(t, b.at(second, "the second"))
		b.idle()
	})
}

// TestGroup_ReadyCountsOnce: called again, early or late, it hands on no second time, and neither does the batch's end.
func TestGroup_ReadyCountsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		again, late := make(chan struct{}), func() {}
		s := newStages(b, "a")
		was := b.many
		b.many = func(ctx context.Context, items []string, wait bool, ready func()) []error {
			if items[0] == "first" {
				late = ready
				ready()
				<-again
				ready()
			}
			return was(ctx, items, wait, ready)
		}
		first := b.calls(t.Context(), "first")
		a, c, d := b.calls(t.Context(), "a"), b.calls(t.Context(), "c"), b.calls(t.Context(), "d")
		goes(again)
		must(t, b.at(first, "the first"))
		late()
		synctest.Wait()
		b.did("many [first]", "many [a]")
		b.waits(c, "c")
		goes(s.ready["a"], s.end["a"])
		must(t, errors.Join(b.at(a, "a"), b.at(c, "c"), b.at(d, "d")))
		b.did("many [first]", "many [a]", "many [c d]")
		b.idle()
	})
}

// TestGroup_AfterReadyEverybodyIsAnswered: each of the batch with his own answer, though the next ones have had theirs long ago.
func TestGroup_AfterReadyEverybodyIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		s := newStages(b, "leader")
		refused := errors.New("refused")
		s.answers = map[string]error{"leader": refused, "b": refused, "c": store.ErrAlone, "d": &store.Held{By: "x"}}
		end := b.busy("first")
		var all []chan error
		for _, item := range []string{"leader", "a", "b", "c", "d"} {
			all = append(all, b.calls(t.Context(), item))
		}
		must(t, end())
		next := b.calls(t.Context(), "next")
		goes(s.ready["leader"])
		must(t, b.at(next, "the next"))
		for i, done := range all {
			b.waits(done, fmt.Sprint(i))
		}
		goes(s.end["leader"])
		for i, want := range []error{refused, nil, refused, nil, nil} {
			if err := b.at(all[i], fmt.Sprint(i)); !errors.Is(err, want) {
				t.Errorf("%d was answered %v, want %v", i, err, want)
			}
		}
		b.mu.Lock()
		slices.Sort(b.log[3:]) // c alone, and d alone in its lane, at the same time
		b.mu.Unlock()
		b.did("many [first]", "many [leader a b c d]", "many [next]", "one c", "one d")
		b.idle()
	})
}

// TestGroup_APanicAfterReady: those of the batch do not know; those after it are not touched, and nobody leads twice.
func TestGroup_APanicAfterReady(t *testing.T) {
	for name, bang := range map[string]func(){"panic": func() { panic("bang") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				s := newStages(b, "leader", "next")
				was := b.many
				b.many = func(ctx context.Context, items []string, wait bool, ready func()) []error {
					errs := was(ctx, items, wait, ready)
					if items[0] == "leader" {
						bang()
					}
					return errs
				}
				end := b.busy("first")
				leader, follower := b.calls(t.Context(), "leader"), b.calls(t.Context(), "follower")
				must(t, end())
				next := b.calls(t.Context(), "next")
				goes(s.ready["leader"])
				last := b.calls(t.Context(), "after the next")
				goes(s.end["leader"])
				if err := b.at(follower, "the follower"); !errors.Is(err, store.ErrOutcomeUnknown) {
					t.Errorf("the follower: %v", err)
				}
				if name == "panic" {
					if err := b.at(leader, "the leader"); err == nil || err.Error() != "panic: bang" {
						t.Errorf("the leader: %v", err)
					}
				}
				b.waits(next, "the next")
				b.waits(last, "the one after the next")
				goes(s.ready["next"], s.end["next"])
				must(t, errors.Join(b.at(next, "the next"), b.at(last, "the one after the next")))
				b.did("many [first]", "many [leader follower]", "many [next]", "many [after the next]")
				b.idle()
			})
		})
	}
}

// TestGroup_ReadyForOneWhoLeaves: whoever is given the lead in the moment in which his context ends passes it on, or leads and leaves the
// others whole. Which of the two is chance, so it is done often.
func TestGroup_ReadyForOneWhoLeaves(t *testing.T) {
	for range 50 {
		bubble(t, func(t *testing.T, b *bench) {
			ctx, cancel := context.WithCancel(t.Context())
			moment := make(chan struct{})
			var mu sync.Mutex
			done := map[string]bool{}
			b.many = func(ctx context.Context, items []string, _ bool, ready func()) []error {
				switch {
				case items[0] == "first":
					<-moment
					cancel()
					ready()
				case ctx.Err() != nil:
					return slices.Repeat([]error{store.ErrAlone}, len(items))
				}
				mu.Lock()
				defer mu.Unlock()
				for _, item := range items {
					done[item] = true
				}
				return make([]error, len(items))
			}
			b.one = func(ctx context.Context, _ string) error { return ctx.Err() }
			first := b.calls(t.Context(), "first")
			gone, a, c := b.calls(ctx, "gone"), b.calls(t.Context(), "a"), b.calls(t.Context(), "c")
			goes(moment)
			must(t, errors.Join(b.at(first, "the first"), b.at(a, "a"), b.at(c, "c")))
			if err := b.at(gone, "gone"); done["gone"] != (err == nil) || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("who has gone was answered %v; done: %v", err, done["gone"])
			}
			b.idle()
		})
	}
}

// TestGroup_ReadyInALane: what holds for the first lane holds in every other one, and one lane's ready is nothing to another.
func TestGroup_ReadyInALane(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		s := newStages(b, "x/1")
		was := b.many
		b.many = func(ctx context.Context, items []string, wait bool, ready func()) []error {
			if !wait && items[0][0] != 'y' {
				return slices.Repeat([]error{&store.Held{By: items[0][:1]}}, len(items))
			}
			return was(ctx, items, wait, ready)
		}
		stuck := make(chan struct{})
		b.one = func(context.Context, string) error { <-stuck; return nil }
		var lane []chan error
		for i := range 4 { // the first leads the lane, alone; the others wait for him
			lane = append(lane, b.calls(t.Context(), fmt.Sprint("x/", i)))
		}
		close(stuck)
		synctest.Wait()
		must(t, b.at(lane[0], "the first of the lane"))
		later := b.calls(t.Context(), "x/4")
		must(t, b.at(b.calls(t.Context(), "y"), "another"))
		b.waits(later, "a later one of the lane")
		goes(s.ready["x/1"])
		must(t, b.at(later, "a later one of the lane"))
		for i, done := range lane[1:] {
			b.waits(done, fmt.Sprint("x/", i+1))
		}
		goes(s.end["x/1"])
		for i, done := range lane[1:] {
			must(t, b.at(done, fmt.Sprint("x/", i+1)))
		}
		b.did("many [x/0]", "one x/0", "many [x/1]", "many [x/2]", "many [x/3]", "wait [x/1 x/2 x/3]", "many [x/4]", "many [y]", "one x/4")
		b.idle()
	})
}

// storm is random work whose effects are counted.
type storm struct {
	*bench
	effects [4000]atomic.Int32
	heads   atomic.Int32 // batches of the first lane that have not called ready
	both    atomic.Int32 // how often one began during another's tail
	running atomic.Int32 // batches of the first lane
}

// TestGroup_Storm: whatever happens, everybody is answered in time, and the answer is true of what was done.
func TestGroup_Storm(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		s := &storm{bench: b}
		b.group.One, b.group.Many = s.workOne, s.workMany
		var all sync.WaitGroup
		for g := range 40 {
			all.Go(func() {
				for i := range 100 {
					s.call(g*100 + i)
				}
			})
		}
		all.Wait()
		if s.both.Load() == 0 {
			t.Error("no batch began during another's tail")
		}
		b.group.One, b.group.Many = newBench(t).group.One, newBench(t).group.Many
		must(t, b.at(b.calls(context.Background(), "last"), "the last one"))
	})
}

func (s *storm) call(n int) {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if rand.IntN(3) == 0 {
		ctx, cancel = context.WithTimeout(ctx, rand.N(20*time.Millisecond))
	}
	defer cancel()
	begun, panicked := time.Now(), true
	var err error
	func() {
		defer func() { _ = recover() }()
		err = s.group.Do(ctx, fmt.Sprint(n))
		panicked = false
	}()
	waited, done := time.Since(begun), s.effects[n].Load()
	switch {
	case waited > 300*time.Millisecond:
		s.t.Errorf("%d waited for %v", n, waited)
	case panicked, errors.Is(err, store.ErrOutcomeUnknown):
		if done > 1 {
			s.t.Errorf("%d was done %d times", n, done)
		}
	case err == nil && done != 1, err != nil && done != 0:
		s.t.Errorf("%d was answered %v and done %d times", n, err, done)
	}
	if rand.IntN(2) == 0 {
		<-time.After(rand.N(4 * time.Millisecond))
	}
}

func (s *storm) workOne(ctx context.Context, item string) error {
	limit := time.Millisecond
	if rand.IntN(20) == 0 {
		limit = 12 * time.Millisecond // longer than others wait
	}
	select {
	case <-time.After(rand.N(limit)):
	case <-ctx.Done():
		return ctx.Err()
	}
	if rand.IntN(60) == 0 {
		panic("one")
	}
	s.done(item)
	return nil
}

func (s *storm) done(item string) {
	var n int
	_, _ = fmt.Sscan(item, &n)
	s.effects[n].Add(1)
}

// workMany calls ready never, once or twice, at any place. Heads of the first lane never meet: one of them, and tails.
func (s *storm) workMany(_ context.Context, items []string, wait bool, ready func()) []error {
	head := !wait
	if head {
		if s.heads.Add(1) > 1 {
			s.t.Error("two batches of the first lane lead at once")
		}
		if s.running.Add(1) > 1 {
			s.both.Add(1)
		}
		defer s.running.Add(-1)
	}
	goesOn := func() {
		if head {
			s.heads.Add(-1)
		}
		head = false
		ready()
	}
	defer func() {
		if head {
			s.heads.Add(-1)
		}
	}()
	calls := rand.IntN(3)
	if calls > 0 && rand.IntN(3) == 0 {
		goesOn()
	}
	<-time.After(rand.N(2 * time.Millisecond))
	if calls > 0 {
		goesOn()
	}
	<-time.After(rand.N(2 * time.Millisecond))
	if rand.IntN(20) == 0 {
		panic("many")
	}
	errs := make([]error, len(items))
	for i, item := range items {
		switch r := rand.IntN(10); {
		case r == 0:
			errs[i] = store.ErrAlone
		case r < 3 && !wait:
			errs[i] = &store.Held{By: fmt.Sprint(rand.IntN(2))}
		case r == 3:
			errs[i] = errors.New("refused")
		default:
			s.done(item)
		}
	}
	if calls > 1 {
		goesOn()
	}
	return errs
}
