package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// locked makes a batch pass by the items that begin with a lock's name until it is free: "x/1" waits for x.
func (b *bench) locked(name string) (free func()) {
	open := make(chan struct{})
	b.one = func(ctx context.Context, item string) error {
		if strings.HasPrefix(item, name+"/") {
			select {
			case <-open:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	b.many = func(ctx context.Context, items []string, wait bool, _ func()) []error {
		errs := make([]error, len(items))
		for i, item := range items {
			if !strings.HasPrefix(item, name+"/") {
				continue
			}
			select {
			case <-open:
			default:
				if !wait {
					errs[i] = &store.Held{By: name}
					continue
				}
				select {
				case <-open:
				case <-ctx.Done(): // nothing of it is done
					return slices.Repeat([]error{store.ErrAlone}, len(items))
				}
			}
		}
		return errs
	}
	return func() {
		close(open)
		synctest.Wait()
	}
}

// TestGroup_ALaneWaitsAndNobodyElse: those who need what somebody holds wait for it together, and the others go on.
func TestGroup_ALaneWaitsAndNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		free := b.locked("x")
		end := b.busy("first")
		var held, others []chan error
		for i := range 4 {
			held = append(held, b.calls(t.Context(), fmt.Sprint("x/", i)))
			others = append(others, b.calls(t.Context(), fmt.Sprint("y/", i)))
		}
		must(t, end())
		for i, done := range others {
			must(t, b.at(done, fmt.Sprint("other ", i)))
		}
		for range 3 { // whoever comes later meets the same lock, and passes it by
			must(t, b.at(b.calls(t.Context(), "y/later"), "a later one"))
		}
		for i, done := range held {
			b.waits(done, fmt.Sprint("held ", i))
		}
		free()
		for i, done := range held {
			must(t, b.at(done, fmt.Sprint("held ", i)))
		}
		b.mu.Lock()
		if shared := slices.ContainsFunc(b.log, func(l string) bool { return strings.HasPrefix(l, "wait [x/") && strings.Count(l, "x/") > 1 }); !shared {
			t.Errorf("did %q; want some of the lane together", b.log)
		}
		b.mu.Unlock()
		b.idle()
	})
}

// TestGroup_AContextEndsInALane: who waits for somebody's lock waits no longer than his context lets him, leader or not.
func TestGroup_AContextEndsInALane(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		free := b.locked("x")
		end := b.busy("first")
		var all []chan error
		var ends []context.CancelFunc
		for i := range 4 {
			ctx, cancel := context.WithCancel(t.Context())
			all, ends = append(all, b.calls(ctx, fmt.Sprint("x/", i))), append(ends, cancel)
		}
		must(t, end())
		for i := range 3 { // whoever leads the lane, one after the other
			begun := time.Now()
			ends[i]()
			if err := <-all[i]; err == nil {
				t.Errorf("%d was answered nil before the lock was free", i)
			}
			if waited := time.Since(begun); waited != 0 {
				t.Errorf("%d came back %v after its context had ended", i, waited)
			}
			synctest.Wait()
		}
		free()
		must(t, b.at(all[3], "the last"))
		ends[3]()
		b.idle()
	})
}

// TestGroup_ALaneStaysTogether: however long somebody holds what a lane waits for, it does not break up into callers who each wait alone.
func TestGroup_ALaneStaysTogether(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		free := b.locked("x")
		var now, most atomic.Int32
		b.group.One = func(ctx context.Context, item string) error {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			return b.one(ctx, item)
		}
		end := b.busy("first")
		var all []chan error
		for i := range 20 {
			all = append(all, b.calls(t.Context(), fmt.Sprint("x/", i)))
		}
		must(t, end())
		<-time.After(2 * time.Minute)
		for i, done := range all {
			b.waits(done, fmt.Sprint("held ", i))
		}
		free()
		for i, done := range all {
			must(t, b.at(done, fmt.Sprint("held ", i)))
		}
		if most.Load() > 2 {
			t.Errorf("%d at once waited alone", most.Load())
		}
		b.group.One = newBench(t).group.One
	})
}
