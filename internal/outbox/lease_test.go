package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/store"
)

// The room's rules are proved through package partner. Here is what needs another process's hands, or leases shorter than a minute.

type box struct {
	*testing.T
	db    *store.DB
	raw   *dbtest.Database
	clock func() time.Time
	mu    sync.Mutex
	ahead time.Duration
}

func each(t *testing.T, test func(*box)) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		b := &box{T: t, raw: db}
		b.clock = func() time.Time {
			b.mu.Lock()
			defer b.mu.Unlock()
			return time.Now().Add(b.ahead)
		}
		handle, err := store.Open(context.Background(), db.DB, store.Config{Clock: b.clock})
		b.must(err)
		b.db = handle
		test(b)
	})
}

func (b *box) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *box) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ahead += d
}

// add writes n deliveries.
func (b *box) add(n int) {
	b.Helper()
	b.must(b.raw.Exec(`INSERT INTO prm_events (id, at, kind, actor, subject, partner_id, target, changed)
		SELECT 'evt_1', 1, 'test', 'system', 'system', 'prt_vendor', 'x', '' WHERE NOT EXISTS (SELECT 1 FROM prm_events WHERE id = 'evt_1')`).Error)
	b.must(store.InTx(context.Background(), b.db, func(tx *store.Tx) error {
		for i := range n {
			d := Delivery{ID: tx.NewID("dlv"), EventID: "evt_1", PartnerID: "prt_vendor", Template: "welcome", Payload: fmt.Sprintf(`{"n":%d}`, i)}
			if err := Add(tx, d); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (b *box) count(where string) (n int64) {
	b.Helper()
	b.must(b.raw.Raw("SELECT count(*) FROM prm_deliveries WHERE " + where).Scan(&n).Error)
	return n
}

// until waits for a state of the table, which something in the background brings about.
func (b *box) until(where string, n int64) {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); b.count(where) != n; {
		if time.Now().After(end) {
			b.Fatalf("%d deliveries with %s, want %d", b.count(where), where, n)
		}
	}
}

func (b *box) queue(send func(context.Context, Delivery) error) *Queue {
	q := New(b.db, slog.New(slog.DiscardHandler), send)
	q.renewEvery, q.flushEvery, q.grace = 5*time.Millisecond, 5*time.Millisecond, 200*time.Millisecond
	return q
}

// TestBEY30_ASlowSendingKeepsItsLease beyond the time of one; what was sent meanwhile is written down; and a queue that is told to stop gives
// back what it has not finished.
func TestBEY30_ASlowSendingKeepsItsLease(t *testing.T) {
	each(t, func(b *box) {
		b.add(20)
		answer, slow := make(chan error), make(chan string, 20)
		q := b.queue(func(ctx context.Context, d Delivery) error {
			if d.Payload != `{"n":0}` && d.Payload != `{"n":1}` {
				return nil
			}
			slow <- d.ID
			select {
			case err := <-answer:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { _, err := q.Step(ctx); ended <- err }()
		b.until("state = 'done'", 18)
		for range 5 {
			b.advance(50 * time.Second)
			b.until(fmt.Sprintf("state = 'leased' AND attempt = 1 AND next_at > %d", b.clock().Add(lease-5*time.Second).UnixMicro()), 2) // renewed since
		}
		answer <- nil
		b.until("state = 'done' AND payload = ''", 19)
		stop()
		b.must(<-ended)
		if n := b.count("state = 'ready' AND attempt = 1 AND failures = 0 AND owner = '' AND last_error = '' AND payload <> ''"); n != 1 {
			b.Errorf("%d given back", n)
		}
	})
}

// TestBEY30_WhoLosesHisLeaseIsToldToStop, and writes nothing.
func TestBEY30_WhoLosesHisLeaseIsToldToStop(t *testing.T) {
	each(t, func(b *box) {
		b.add(1)
		q := b.queue(func(ctx context.Context, d Delivery) error {
			b.must(b.raw.Exec("UPDATE prm_deliveries SET attempt = 2, owner = 'run_other'").Error)
			<-ctx.Done()
			return errors.New("stopped")
		})
		_, err := q.Step(context.Background())
		b.must(err)
		if n := b.count("state = 'leased' AND attempt = 2 AND owner = 'run_other' AND failures = 0 AND last_error = ''"); n != 1 {
			b.Error("the loser has written over the other's claim")
		}
	})
}

// TestBEY30_ManyQueuesShareTheWork and none of it is done twice while leases hold.
func TestBEY30_ManyQueuesShareTheWork(t *testing.T) {
	each(t, func(b *box) {
		const all = 3000
		b.add(all)
		var mu sync.Mutex
		came := map[string]int{}
		var group sync.WaitGroup
		for range 4 {
			q := b.queue(func(_ context.Context, d Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				came[d.ID]++
				return nil
			})
			q.flushEvery, q.renewEvery = 100*time.Millisecond, lease/3
			group.Go(func() {
				for more := true; more; {
					var err error
					if more, err = q.Step(context.Background()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		for id, n := range came {
			if n != 1 {
				b.Errorf("%s came %d times", id, n)
			}
		}
		if len(came) != all || b.count("state = 'done' AND attempt = 1") != all {
			b.Errorf("%d came, %d are done", len(came), b.count("state = 'done'"))
		}
	})
}

// TestBEY30_BackOffGrowsFromASecondToAnHour, and no further.
func TestBEY30_BackOffGrowsFromASecondToAnHour(t *testing.T) {
	before := time.Duration(0)
	for n := int64(-1); n < 20; n++ {
		low, high := time.Hour, time.Duration(0)
		for range 200 {
			w := backOff(n)
			low, high = min(low, w), max(high, w)
		}
		switch {
		case n <= 1 && (low < 800*time.Millisecond || high > time.Second):
			t.Errorf("failure %d waits %v to %v", n, low, high)
		case n >= 11 && (low < 48*time.Minute || high > time.Hour):
			t.Errorf("failure %d waits %v to %v", n, low, high)
		case n > 1 && n <= 11 && high <= before:
			t.Errorf("failure %d waits %v, no longer than the one before", n, high)
		}
		before = high
	}
}

// TestBEY30_OneSlowReceiverHoldsUpNobody: what comes while it is at it is sent; and one that does not return when its time is over is given up, its
// lease not renewed for ever.
func TestBEY30_OneSlowReceiverHoldsUpNobody(t *testing.T) {
	each(t, func(b *box) {
		b.add(1)
		var slow string
		b.must(b.raw.Raw("SELECT id FROM prm_deliveries").Scan(&slow).Error)
		hang, hangs := make(chan struct{}), make(chan struct{})
		q := b.queue(func(_ context.Context, d Delivery) error {
			if d.ID == slow && d.Attempt == 1 {
				close(hangs)
				<-hang // whatever ctx says
			}
			return nil
		})
		q.sendLimit = 300 * time.Millisecond
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- q.Run(ctx, nil, time.Millisecond) }()
		<-hangs
		b.add(300)
		b.until("state = 'done' AND id <> '"+slow+"'", 300)
		b.until("id = '"+slow+"' AND failures = 1", 1) // given up, and to be tried again
		b.advance(2 * time.Second)
		b.until("id = '"+slow+"' AND state = 'done' AND attempt = 2", 1)
		if n := q.hung.Load(); n != 1 {
			b.Errorf("%d hang", n)
		}
		close(hang)
		stop()
		b.must(<-ended)
		for end := time.Now().Add(10 * time.Second); q.hung.Load() != 0; {
			if time.Now().After(end) {
				b.Fatal("it came back, and nobody noticed")
			}
		}
	})
}

// TestBEY30_WhatEndsItsGoroutineIsAFailure, as t.Fatal in somebody's fake does.
func TestBEY30_WhatEndsItsGoroutineIsAFailure(t *testing.T) {
	each(t, func(b *box) {
		b.add(3)
		q := b.queue(func(_ context.Context, d Delivery) error {
			if d.Payload == `{"n":1}` {
				runtime.Goexit()
			}
			return nil
		})
		_, err := q.Step(context.Background())
		b.must(err)
		if done, failed := b.count("state = 'done'"), b.count("state = 'ready' AND failures = 1"); done != 2 || failed != 1 {
			b.Errorf("%d done, %d failed", done, failed)
		}
	})
}

// TestBEY30_OnlyTheCulpritDies: a claim that has lapsed is taken up alone, and only what lapses alone counts.
func TestBEY30_OnlyTheCulpritDies(t *testing.T) {
	each(t, func(b *box) {
		b.add(60)
		const dies = `{"n":7}`
		for crash := range 15 {
			// A process that dies of it: its claims stay as they are.
			q := b.queue(nil)
			_, err := q.turn(context.Background(), nil, batch)
			b.must(err)
			for {
				d, found, err := q.takeLapsed(context.Background())
				b.must(err)
				if !found || d.Payload == dies {
					break
				}
				if d.Failures >= maxFailures {
					b.Fatalf("crash %d: an innocent one has %d failures", crash, d.Failures)
				}
				b.must(q.finish(context.Background(), []outcome{{id: d.ID, attempt: d.Attempt, state: Done}}))
			}
			b.advance(2 * lease)
		}
		q := b.queue(func(_ context.Context, d Delivery) error {
			if d.Payload == dies {
				b.Error("sent once more")
			}
			return nil
		})
		for more := true; more; {
			var err error
			more, err = q.Step(context.Background())
			b.must(err)
			if b.count("state = 'leased'") > 0 {
				more = true
			}
		}
		if done, dead := b.count("state = 'done'"), b.count("state = 'dead'"); done != 59 || dead != 1 {
			b.Errorf("%d done, %d dead", done, dead)
		}
	})
}

// TestBEY30_WhatHasRunOutIsNotSent, and what a clock that ran ahead has put off is tried when it is right again.
func TestBEY30_WhatHasRunOutIsNotSent(t *testing.T) {
	each(t, func(b *box) {
		b.add(3)
		b.must(b.raw.Exec("UPDATE prm_deliveries SET expires_at = ? WHERE payload = '{\"n\":0}'", b.clock().UnixMicro()).Error)
		b.must(b.raw.Exec("UPDATE prm_deliveries SET next_at = ? WHERE payload = '{\"n\":1}'", b.clock().Add(240*time.Hour).UnixMicro()).Error)
		sent := map[string]bool{}
		var mu sync.Mutex
		q := b.queue(func(_ context.Context, d Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			sent[d.Payload] = true
			return nil
		})
		_, err := q.Step(context.Background())
		b.must(err)
		if len(sent) != 1 || b.count("state = 'dead'") != 1 {
			b.Errorf("sent %v", sent)
		}
		b.must(store.InTx(context.Background(), b.db, func(tx *store.Tx) error {
			_, err := Tidy(tx, 0, 100)
			return err
		}))
		_, err = q.Step(context.Background())
		b.must(err)
		if len(sent) != 2 || b.count("state = 'dead'") != 0 || b.count("state = 'done'") != 2 {
			b.Errorf("sent %v", sent)
		}
	})
}
