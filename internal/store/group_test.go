package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Decision 005. These tests run in a bubble of synctest: time passes only while everybody waits, so an order of events is what the test
// says, "at once" means in no time at all, and a goroutine that is left behind fails the test.

// bench is a group whose work the test holds in its hands.
type bench struct {
	t     *testing.T
	group store.Group[string]
	one   func(ctx context.Context, item string) error
	many  func(ctx context.Context, items []string, wait bool, ready func()) []error
	held  map[string]chan struct{} // whose batches of one end when the channel is closed
	mu    sync.Mutex
	log   []string // what was done, in order
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, held: map[string]chan struct{}{}}
	b.one = func(context.Context, string) error { return nil }
	b.many = func(_ context.Context, items []string, _ bool, _ func()) []error { return make([]error, len(items)) }
	b.group.One = func(ctx context.Context, item string) error {
		b.note("one " + item)
		return b.one(ctx, item)
	}
	b.group.Many = func(ctx context.Context, items []string, wait bool, ready func()) []error {
		b.note(fmt.Sprint(map[bool]string{false: "many ", true: "wait "}[wait], items))
		if release := b.held[items[0]]; release != nil && len(items) == 1 {
			<-release
			return make([]error, 1)
		}
		return b.many(ctx, items, wait, ready)
	}
	return b
}

func (b *bench) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, what)
}

func (b *bench) did(want ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !reflect.DeepEqual(b.log, want) {
		b.t.Errorf("did %q, want %q", b.log, want)
	}
}

// calls begins a call and returns when it can go no further by itself.
func (b *bench) calls(ctx context.Context, item string) chan error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- b.group.Do(ctx, item)
	}()
	synctest.Wait()
	return done
}

// busy begins a call that leads until the returned function is called.
func (b *bench) busy(item string) (end func() error) {
	release := make(chan struct{})
	b.held[item] = release
	done := b.calls(context.Background(), item)
	return func() error {
		close(release)
		synctest.Wait()
		return b.at(done, "the busy one")
	}
}

// at is the answer of a call that must have come by now.
func (b *bench) at(done chan error, what string) error {
	b.t.Helper()
	select {
	case err := <-done:
		return err
	default:
		b.t.Fatalf("%s has no answer", what)
		return nil
	}
}

func (b *bench) waits(done chan error, what string) {
	b.t.Helper()
	select {
	case err := <-done:
		b.t.Fatalf("%s was answered %v, and should wait", what, err)
	default:
	}
}

// idle fails unless the group is as new: a caller leads at once, and only himself.
func (b *bench) idle() {
	b.t.Helper()
	b.mu.Lock()
	b.log = nil
	b.mu.Unlock()
	b.many = func(_ context.Context, items []string, _ bool, _ func()) []error { return make([]error, len(items)) }
	begun := time.Now()
	must(b.t, b.at(b.calls(context.Background(), "last"), "the last one"))
	if waited := time.Since(begun); waited != 0 {
		b.t.Errorf("the last one waited for %v", waited)
	}
	b.did("many [last]")
	if n := store.LanesOf(&b.group); n != 0 {
		b.t.Errorf("%d lanes are kept", n)
	}
}

type mark struct{}

func bubble(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newBench(t)) })
}

// TestGroup_WhoFindsNobodyLeads: at once, on his own context and goroutine; what the batch leaves alone he does alone.
func TestGroup_WhoFindsNobodyLeads(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		whose := func(ctx context.Context, by string) error {
			return fail.New(fail.Refused, fmt.Sprint(by, ctx.Value(mark{})))
		}
		ctx := context.WithValue(t.Context(), mark{}, "mine")
		b.many = func(ctx context.Context, _ []string, wait bool, _ func()) []error {
			return []error{whose(ctx, fmt.Sprint(wait, " "))}
		}
		if err := b.at(b.calls(ctx, "a"), "a"); err == nil || err.Error() != "false mine" {
			t.Errorf("answered %v", err)
		}
		b.many = func(context.Context, []string, bool, func()) []error { return []error{store.ErrAlone} }
		b.one = func(ctx context.Context, _ string) error { return whose(ctx, "alone ") }
		if err := b.at(b.calls(ctx, "b"), "b"); err == nil || err.Error() != "alone mine" {
			t.Errorf("answered %v", err)
		}
		b.did("many [a]", "many [b]", "one b")
		b.idle()
	})
}

// TestGroup_FollowersComeInOrder: in the order of their arrival, 256 at a time, each with its own answer.
func TestGroup_FollowersComeInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var batches [][]string
		b.many = func(_ context.Context, items []string, _ bool, _ func()) []error {
			batches = append(batches, items)
			errs := make([]error, len(items))
			for i, item := range items {
				errs[i] = fail.New(fail.Refused, item)
			}
			return errs
		}
		end := b.busy("first")
		var want []string
		var all []chan error
		for i := range 300 {
			want = append(want, fmt.Sprint(i))
			all = append(all, b.calls(t.Context(), want[i]))
		}
		must(t, end())
		for i, done := range all {
			if err := b.at(done, want[i]); err == nil || err.Error() != want[i] {
				t.Fatalf("%d was answered %v", i, err)
			}
		}
		if !reflect.DeepEqual(batches, [][]string{want[:256], want[256:]}) {
			t.Errorf("batches %v", batches)
		}
		b.idle()
	})
}

// TestGroup_LeftAlone: what a batch leaves alone is done by its own caller, on its own context, after the batch, and nobody waits for it.
func TestGroup_LeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.many = func(_ context.Context, items []string, _ bool, _ func()) []error {
			errs := make([]error, len(items))
			for i, item := range items {
				if item != "c" {
					errs[i] = store.ErrAlone
				}
			}
			return errs
		}
		release := make(chan struct{})
		b.one = func(ctx context.Context, item string) error {
			if item == "c" {
				return nil
			}
			<-release
			return fail.New(fail.Refused, fmt.Sprint(ctx.Value(mark{}), " ", item))
		}
		end := b.busy("first")
		var all []chan error
		for _, item := range []string{"a", "b", "c"} {
			all = append(all, b.calls(context.WithValue(t.Context(), mark{}, "of "+item), item))
		}
		must(t, end())
		must(t, b.at(all[2], "c"))
		b.waits(all[0], "a")
		must(t, b.at(b.calls(t.Context(), "c"), "a later one")) // a and b are at work alone: nobody leads
		close(release)
		synctest.Wait()
		for i, want := range []string{"of a a", "of b b"} {
			if err := b.at(all[i], want); err == nil || err.Error() != want {
				t.Errorf("%s: %v", want, err)
			}
		}
		b.idle()
	})
}

// TestGroup_AContextEnds: of one who has only waited nothing is done; one who is being worked for does not know.
func TestGroup_AContextEnds(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		end := b.busy("first")
		working := make(chan struct{})
		b.many = func(_ context.Context, items []string, _ bool, _ func()) []error {
			<-working
			return make([]error, len(items))
		}
		begin := func(item string) (chan error, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			return b.calls(ctx, item), cancel
		}
		leader, leaderGone := begin("leader")
		waiting, waitingGone := begin("waiting")
		taken, takenGone := begin("taken")
		kept, keptGone := begin("kept")
		defer keptGone()
		waitingGone()
		synctest.Wait()
		if err := b.at(waiting, "one who waits"); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("one who waited: %v", err)
		} else {
			wantKind(t, "one who waited", err, fail.Unavailable)
		}
		must(t, end())
		takenGone()
		leaderGone()
		synctest.Wait()
		if err := b.at(taken, "one who is taken"); !errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("one who was taken: %v", err)
		}
		b.waits(kept, "one who is taken and stays")
		close(working)
		synctest.Wait()
		must(t, b.at(kept, "one who stayed"))
		must(t, b.at(leader, "the leader")) // it is done, and he was there to see it
		b.did("many [first]", "many [leader taken kept]")
		b.idle()
	})
}

// TestGroup_AnEndedContextIsNotLeft: of a batch that leaves an item alone whose caller has gone, nothing is done.
func TestGroup_AnEndedContextIsNotLeft(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		end := b.busy("first")
		ctx, cancel := context.WithCancel(t.Context())
		b.many = func(_ context.Context, items []string, _ bool, _ func()) []error {
			cancel()
			return slices.Repeat([]error{store.ErrAlone}, len(items))
		}
		a := b.calls(t.Context(), "a")
		gone := b.calls(ctx, "gone")
		must(t, end())
		must(t, b.at(a, "a"))
		err := b.at(gone, "gone")
		b.mu.Lock()
		defer b.mu.Unlock()
		if ran := slices.Contains(b.log, "one gone"); !ran && err == nil {
			t.Error("answered nil, and nothing was done")
		}
	})
}

// TestGroup_ABatchEndsWithItsLeader: the others, of whom nothing was done, go on together, and none of them alone.
func TestGroup_ABatchEndsWithItsLeader(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.many = func(ctx context.Context, items []string, _ bool, _ func()) []error {
			if items[0] == "leader" {
				<-ctx.Done()
				return slices.Repeat([]error{store.ErrAlone}, len(items))
			}
			return make([]error, len(items))
		}
		b.one = func(ctx context.Context, _ string) error { return ctx.Err() }
		end := b.busy("first")
		ctx, cancel := context.WithCancel(t.Context())
		leader, a, c := b.calls(ctx, "leader"), b.calls(t.Context(), "a"), b.calls(t.Context(), "c")
		must(t, end())
		b.waits(a, "a")
		cancel()
		synctest.Wait()
		if err := b.at(leader, "the leader"); !errors.Is(err, context.Canceled) {
			t.Errorf("the leader: %v", err)
		}
		must(t, errors.Join(b.at(a, "a"), b.at(c, "c")))
		b.mu.Lock()
		if slices.Contains(b.log, "one a") || slices.Contains(b.log, "one c") {
			t.Errorf("did %q: they were not kept together", b.log)
		}
		b.mu.Unlock()
		b.idle()
	})
}

// TestGroup_ABatchEndsAfterHalfAMinute: and so does nobody's wait for it; one caller's own work has only his own context.
func TestGroup_ABatchEndsAfterHalfAMinute(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.many = func(ctx context.Context, items []string, _ bool, _ func()) []error {
			if _, limited := ctx.Deadline(); limited != (len(items) > 1) {
				t.Errorf("%v: limited %v", items, limited)
			}
			if len(items) == 1 {
				return make([]error, 1)
			}
			<-ctx.Done()
			return slices.Repeat([]error{ctx.Err()}, len(items))
		}
		end := b.busy("first")
		a, c := b.calls(context.Background(), "a"), b.calls(context.Background(), "c")
		must(t, end())
		begun := time.Now()
		if first, second := <-a, <-c; !errors.Is(first, context.DeadlineExceeded) || !errors.Is(second, context.DeadlineExceeded) {
			t.Errorf("answered %v and %v", first, second)
		}
		if waited := time.Since(begun); waited != 30*time.Second {
			t.Errorf("they waited for %v", waited)
		}
		b.idle()
	})
}

// TestGroup_APanicIsItsOwn: it goes to the caller on whose goroutine it happens; the others do not know, and the lead goes on.
func TestGroup_APanicIsItsOwn(t *testing.T) {
	for name, bang := range map[string]func(){"panic": func() { panic("bang") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				release := make(chan struct{})
				b.one = func(context.Context, string) error { bang(); return nil }
				b.many = func(_ context.Context, items []string, _ bool, _ func()) []error {
					switch items[0] {
					case "first":
						<-release
						bang()
					case "leader":
						bang()
					case "alone":
						return []error{store.ErrAlone}
					}
					return make([]error, len(items))
				}
				first := b.calls(t.Context(), "first")
				leader := b.calls(t.Context(), "leader")
				follower := b.calls(t.Context(), "follower")
				close(release)
				synctest.Wait()
				alone := b.calls(t.Context(), "alone")
				for of, done := range map[string]chan error{"first": first, "leader": leader, "alone": alone} {
					if name == "panic" {
						if err := b.at(done, of); err == nil || err.Error() != "panic: bang" {
							t.Errorf("the panic of %s became %v", of, err)
						}
					} else {
						b.waits(done, of) // its goroutine is gone
					}
				}
				if err := b.at(follower, "the follower"); !errors.Is(err, store.ErrOutcomeUnknown) {
					t.Errorf("the follower: %v", err)
				}
				b.did("many [first]", "many [leader follower]", "many [alone]", "one alone")
				b.idle()
			})
		})
	}
}
