package ledger_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/partnerkit/partnerkit/internal/ledger"
)

func TestCLW16_ManyCallersDrainAPoolExactly(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.must(b.move(ledger.Issuer, "prt_a", 300))
		var accepted, refused atomic.Int64
		var all sync.WaitGroup
		for g := range 32 {
			all.Go(func() {
				for i := range 12 { // 384 want one of 300
					_, err := b.post(ledger.Posting{Book: ledger.Licenses, Unit: "seat", Verb: "assign", From: held("prt_a"),
						To: held(fmt.Sprint("acc_", g%5)), Quantity: 1, Partner: "prt_a", Key: fmt.Sprint(g, ".", i), Hash: "h"})
					var short *ledger.Short
					switch {
					case err == nil:
						accepted.Add(1)
					case errors.As(err, &short):
						refused.Add(1)
					default:
						t.Errorf("%d.%d: %v", g, i, err)
					}
				}
			})
		}
		all.Wait()
		if accepted.Load() != 300 || refused.Load() != 84 || b.of("prt_a") != 0 {
			t.Errorf("%d accepted, %d refused, %d left; want 300, 84, 0", accepted.Load(), refused.Load(), b.of("prt_a"))
		}
		b.sound()
	})
}

// The same key from everywhere at once acts once; all get its one transfer.
func TestBEY13_OneKeyFromManyCallersActsOnce(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.must(b.move(ledger.Issuer, "prt_a", 1000))
		for round := range 5 {
			p := b.move("prt_a", fmt.Sprint("acc_", round), 10)
			var first, replayed atomic.Int64
			var ids sync.Map
			var all sync.WaitGroup
			for range 12 {
				all.Go(func() {
					got, err := b.post(p)
					if err != nil {
						t.Error(err)
						return
					}
					ids.Store(got.ID, true)
					if got.Replayed {
						replayed.Add(1)
					} else {
						first.Add(1)
					}
				})
			}
			all.Wait()
			n := 0
			ids.Range(func(any, any) bool { n++; return true })
			if first.Load() != 1 || replayed.Load() != 11 || n != 1 || b.of(p.To.Owner) != 10 {
				t.Errorf("%d first, %d replayed, %d ids, balance %d; want 1, 11, 1, 10", first.Load(), replayed.Load(), n, b.of(p.To.Owner))
			}
		}
		b.sound()
	})
}

// Locks in ascending order: crossed transfers wait for each other, never in a circle, and none is refused for it.
func TestBEY12_CrossedTransfersNeverDeadlock(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		const owners = 8
		for i := range owners {
			b.must(b.move(ledger.Issuer, fmt.Sprint("acc_", i), 1000))
		}
		var all sync.WaitGroup
		for g := range 16 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 1))
				for i := range 25 {
					from := r.IntN(owners)
					to := (from + 1 + r.IntN(owners-1)) % owners
					if _, err := b.post(ledger.Posting{Book: ledger.Licenses, Unit: "seat", Verb: "assign", From: held(fmt.Sprint("acc_", from)),
						To: held(fmt.Sprint("acc_", to)), Quantity: 1 + r.Int64N(5), Partner: "prt_a", Key: fmt.Sprint(g, ".", i), Hash: "h"}); err != nil {
						t.Errorf("%d.%d: %v", g, i, err)
					}
				}
			})
		}
		all.Wait()
		sum := int64(0)
		for i := range owners {
			sum += b.of(fmt.Sprint("acc_", i))
		}
		if sum != owners*1000 {
			t.Errorf("%d seats, want %d", sum, owners*1000)
		}
		b.noDeadlocks(t)
		b.sound()
	})
}

// noDeadlocks fails if a transaction had to run again, as PostgreSQL's victim of a deadlock does after a second.
func (b *book) noDeadlocks(t *testing.T) {
	t.Helper()
	if n := b.again.Load(); n != 0 {
		t.Errorf("%d transactions ran again", n)
	}
}

// New balances are made in one order too.
func TestBEY12_CrossedFirstTransfersNeverDeadlock(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		money := func(p *ledger.Posting) { p.Book, p.Unit = ledger.Money, "EUR" }
		for round := 0; round < 60 && b.again.Load() == 0; round++ {
			var all sync.WaitGroup
			for g := range 8 {
				x, y := fmt.Sprint("ctr_", round, "_", g%3), fmt.Sprint("ctr_", round, "_", (g+1+g/3)%3)
				if x == y {
					continue
				}
				p := b.move(x, y, 1, money)
				all.Go(func() {
					if _, err := b.post(p); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		b.noDeadlocks(t)
		b.sound()
	})
}
