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
	many  func(ctx context.Context, items []string, wait bool) []error
	mu    sync.Mutex
	log   []string // what was done, in order
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t}
	b.one = func(context.Context, string) error { return nil }
	b.many = func(_ context.Context, items []string, _ bool) []error { return make([]error, len(items)) }
	b.group.One = func(ctx context.Context, item string) error {
		b.note("one " + item)
		return b.one(ctx, item)
	}
	b.group.Many = func(ctx context.Context, items []string, wait bool) []error {
		b.note(fmt.Sprint(map[bool]string{false: "many ", true: "wait "}[wait], items))
		return b.many(ctx, items, wait)
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

// busy begins a call that works alone until the returned function is called.
func (b *bench) busy(item string) (end func() error) {
	release, was := make(chan struct{}), b.one
	b.one = func(ctx context.Context, i string) error {
		if i != item {
			return was(ctx, i)
		}
		<-release
		return nil
	}
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

// idle fails unless the group is as new: a caller works alone, at once.
func (b *bench) idle() {
	b.t.Helper()
	b.mu.Lock()
	b.log = nil
	b.mu.Unlock()
	b.one = func(context.Context, string) error { return nil }
	begun := time.Now()
	must(b.t, b.at(b.calls(context.Background(), "last"), "the last one"))
	if waited := time.Since(begun); waited != 0 {
		b.t.Errorf("the last one waited for %v", waited)
	}
	b.did("one last")
}

type mark struct{}

func bubble(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newBench(t)) })
}

func TestGroup_WhoFindsNobodyWorksAloneOnHisContext(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		ctx := context.WithValue(t.Context(), mark{}, "mine")
		b.one = func(ctx context.Context, _ string) error {
			return fail.New(fail.Refused, fmt.Sprint(ctx.Value(mark{})))
		}
		if err := b.at(b.calls(ctx, "a"), "a"); err == nil || err.Error() != "mine" {
			t.Errorf("answered %v", err)
		}
		b.did("one a")
		b.idle()
	})
}

// TestGroup_FollowersComeInOrder: in the order of their arrival, 256 at a time, each with its own answer.
func TestGroup_FollowersComeInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var batches [][]string
		b.many = func(_ context.Context, items []string, wait bool) []error {
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
		b.many = func(_ context.Context, items []string, _ bool) []error {
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
		b.many = func(_ context.Context, items []string, _ bool) []error {
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
		b.did("one first", "many [leader taken kept]")
		b.idle()
	})
}

// TestGroup_AnEndedContextIsNotLeft: of a batch that leaves an item alone whose caller has gone, nothing is done.
func TestGroup_AnEndedContextIsNotLeft(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		end := b.busy("first")
		ctx, cancel := context.WithCancel(t.Context())
		b.many = func(_ context.Context, items []string, _ bool) []error {
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

// TestGroup_NobodyWaitsForOneWhoWaits: after five milliseconds a leader who works alone is passed, by one and by many.
func TestGroup_NobodyWaitsForOneWhoWaits(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		end := b.busy("stuck")
		begun := time.Now()
		var all []chan error
		for _, item := range []string{"a", "b", "c"} {
			all = append(all, b.calls(t.Context(), item))
		}
		for _, done := range all {
			must(t, <-done)
		}
		if waited := time.Since(begun); waited != 5*time.Millisecond {
			t.Errorf("they waited for %v", waited)
		}
		b.mu.Lock()
		if len(b.log) != 2 || len(b.log[1]) != len("many [a b c]") {
			t.Errorf("did %q", b.log)
		}
		b.mu.Unlock()
		must(t, b.at(b.calls(t.Context(), "later"), "a later one"))
		must(t, end())
		b.idle()
	})
}

// TestGroup_APanicIsItsOwn: it goes to the caller on whose goroutine it happens; the others do not know, and the lead goes on.
func TestGroup_APanicIsItsOwn(t *testing.T) {
	for name, bang := range map[string]func(){"panic": func() { panic("bang") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				release := make(chan struct{})
				b.one = func(_ context.Context, item string) error {
					if item == "first" {
						<-release
						bang()
					}
					return nil
				}
				first := b.calls(t.Context(), "first")
				b.many = func(_ context.Context, items []string, _ bool) []error {
					b.many = func(_ context.Context, items []string, _ bool) []error { return make([]error, len(items)) }
					bang()
					return nil
				}
				_ = b.calls(t.Context(), "leader")
				follower := b.calls(t.Context(), "follower")
				close(release)
				synctest.Wait()
				if name == "panic" && b.at(first, "first") == nil {
					t.Error("the panic in One was lost")
				}
				if err := b.at(follower, "the follower"); !errors.Is(err, store.ErrOutcomeUnknown) {
					t.Errorf("the follower: %v", err)
				}
				b.did("one first", "many [leader follower]")
				b.idle()
			})
		})
	}
}
