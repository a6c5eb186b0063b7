package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	q.renewEvery, q.flushEvery = 5*time.Millisecond, 5*time.Millisecond
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
			b.until(fmt.Sprintf("state = 'leased' AND attempt = 1 AND next_at > %d", b.clock().UnixMicro()), 2)
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
