package license_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// rows counts what a query finds.
func (w *world) rows(query string, args ...any) (n int64) {
	w.t.Helper()
	w.must(w.db.Raw(query, args...).Scan(&n).Error)
	return n
}

// commits counts the transactions in which events of these kinds happened: a transaction has one instant.
func (w *world) commits(kinds ...string) int64 {
	return w.rows("SELECT count(DISTINCT at) FROM prm_events WHERE kind IN ?", kinds)
}

// TestAT14_BEY03_EveryCallIsItsOwnActors: fifty callers of three organisations and their projects share commits; no unit is made or lost,
// and each accepted call has one audit row, of who made it.
func TestAT14_BEY03_EveryCallIsItsOwnActors(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.define("seat")
		var sides []side
		var to []partner.AccountID
		var own []context.Context
		for i := range 3 {
			s := w.partner(fmt.Sprint("partner-", i))
			w.grant(s.ID, "seat", 120)
			login := fmt.Sprint("project-", i)
			sides, to = append(sides, s), append(to, w.project(s.me, login))
			w.assign(s.me, to[i], "seat", 20)
			own = append(own, w.login(login))
		}
		before := w.events()
		var accepted atomic.Int64
		deeds := make([][]string, 50)
		for i, err := range together(50, func(i int) error {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range 8 {
				p, n := i%3, 1+r.Int64N(5)
				var tr license.Transfer
				var err error
				if i%4 == 0 {
					tr, err = w.seats.Consume(own[p], to[p], "seat", n)
				} else {
					tr, err = w.seats.Assign(sides[p].me, to[p], "seat", n)
				}
				if errors.Is(err, license.ErrInsufficient) {
					continue
				}
				if err != nil {
					return err
				}
				accepted.Add(1)
				if isProject := strings.HasPrefix(tr.Actor, "acc_"); isProject != (i%4 == 0) {
					return fmt.Errorf("made by %s", tr.Actor)
				}
				deeds[i] = append(deeds[i], fmt.Sprint("license.", tr.Verb, "ed ", tr.Actor, " ", tr.Actor, " ", sides[p].ID, " ", to[p]))
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if n := int64(w.events() - before); n != accepted.Load() {
			t.Errorf("%d events of %d accepted calls", n, accepted.Load())
		}
		want := slices.Sorted(slices.Values(slices.Concat(deeds...)))
		for i := range want {
			want[i] = strings.Replace(want[i], "consumeed", "consumed", 1)
		}
		slices.Sort(want)
		var got []string
		w.must(w.db.Raw(`SELECT kind || ' ' || actor || ' ' || subject || ' ' || partner_id || ' ' || account_id FROM prm_events
			WHERE kind IN ('license.assigned', 'license.consumed') ORDER BY at, id LIMIT 10000 OFFSET 3`).Scan(&got).Error)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("audit\n%v\nwant\n%v", got, want)
		}
		if n := w.commits("license.consumed", "license.assigned"); n >= accepted.Load() {
			t.Errorf("%d commits for %d calls: none was shared", n, accepted.Load())
		}
		for i, s := range sides {
			pool, err := w.seats.Balance(w.vendor, s.ID, "seat")
			w.must(err)
			project, err := w.seats.Balance(w.vendor, to[i], "seat")
			w.must(err)
			if sum := pool.Available + project.Available + project.Consumed; sum != 120 || pool.Available < 0 || project.Available < 0 {
				t.Errorf("partner %d: %d units, want 120: %+v %+v", i, sum, pool, project)
			}
		}
		w.sound()
	})
}

// TestBEY01_AHostHoldsItsOwnPoolOnly: what a host's open transaction holds is waited for by those who need it, and by nobody else.
func TestBEY01_AHostHoldsItsOwnPoolOnly(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres)) // SQLite has one writer: there everybody waits
	w.define("seat")
	w.define("box")
	a, b := w.partner("acme"), w.partner("bolt")
	one, two := w.project(a.me, "one"), w.project(b.me, "two")
	for _, sku := range []string{"seat", "box"} {
		w.grant(a.ID, sku, 1000)
		w.grant(b.ID, sku, 1000)
		w.assign(a.me, one, sku, 1)
		w.assign(b.me, two, sku, 1)
	}
	tx := w.db.Begin()
	w.must(tx.Error)
	_, err := license.New(w.reg.In(tx)).Assign(a.me, one, "seat", 100)
	w.must(err)
	ctx, cancel := context.WithTimeout(a.me, time.Minute)
	defer cancel()
	held := make(chan error)
	for range 12 {
		go func() {
			_, err := w.seats.Assign(ctx, one, "seat", 1)
			held <- err
		}()
	}
	for i, err := range together(24, func(i int) error {
		for range 6 {
			var err error
			switch i % 3 {
			case 0:
				_, err = w.seats.Assign(b.me, two, "seat", 1)
			case 1:
				_, err = w.seats.Assign(a.me, one, "box", 1)
			case 2:
				_, err = w.seats.Consume(b.me, two, "box", 1)
			}
			if err != nil && !errors.Is(err, license.ErrInsufficient) {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("caller %d of another pool: %v", i, err)
		}
	}
	select {
	case err := <-held:
		t.Errorf("a caller of the held pool was answered %v", err)
	default:
	}
	before := w.commits("license.assigned")
	w.must(tx.Commit().Error)
	for range 12 {
		w.must(<-held)
	}
	if n := w.commits("license.assigned") - before; n >= 13 { // the host's is one
		t.Errorf("%d commits for the 12 who had waited: none was shared", n)
	}
	w.has(one, "seat", 113)
	w.has(two, "seat", 49)
	w.sound()
}

// again counts the transactions that had to run again.
type again struct {
	slog.Handler
	n *atomic.Int64
}

// Enabled implements slog.Handler.
func (again) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (a again) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "runs again") {
		a.n.Add(1)
	}
	return nil
}

// TestBEY12_TwoProcessesNeverDeadlock: two registries move licences between the same pools in all directions.
func TestBEY12_TwoProcessesNeverDeadlock(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	w.define("seat")
	w.define("box")
	a := w.partner("acme")
	places := []partner.AccountID{w.project(a.me, "one"), w.project(a.me, "two"), w.project(a.me, "three")}
	var ledgers []*license.Ledger
	var reruns atomic.Int64
	for range 2 {
		reg, err := partner.Open(t.Context(), w.db.Open(t, &gorm.Config{}), &partner.Options{Clock: w.clock.Now, Hasher: plainHasher{},
			Logger: slog.New(again{slog.DiscardHandler, &reruns})})
		w.must(err)
		ledgers = append(ledgers, license.New(reg))
	}
	at := []context.Context{a.me}
	for i, id := range places {
		at = append(at, w.login("acme"))
		w.must(w.reg.Access.SwitchTo(at[i+1], id))
	}
	for _, sku := range []string{"seat", "box"} {
		w.grant(a.ID, sku, 200)
		for _, id := range places {
			w.assign(a.me, id, sku, 40)
		}
	}
	for i, err := range together(64, func(i int) error {
		l, r := ledgers[i%2], rand.New(rand.NewPCG(uint64(i), 1))
		for range 8 {
			from, sku := r.IntN(4), []string{"seat", "box"}[r.IntN(2)]
			var err error
			switch to := r.IntN(4); {
			case to == from && to > 0:
				_, err = l.Consume(a.me, places[to-1], sku, 1)
			case to > 0:
				_, err = l.Assign(at[from], places[to-1], sku, 1+r.Int64N(4))
			case from > 0:
				_, err = l.Return(at[from], sku, 1+r.Int64N(4))
			}
			if err != nil && !errors.Is(err, license.ErrInsufficient) {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	if n := reruns.Load(); n != 0 {
		t.Errorf("%d transactions ran again", n)
	}
	for _, sku := range []string{"seat", "box"} {
		sum := int64(0)
		for _, h := range []partner.Holder{a.ID, places[0], places[1], places[2]} {
			b, err := w.seats.Balance(w.vendor, h, sku)
			w.must(err)
			sum += b.Available + b.Consumed
		}
		if sum != 200 {
			t.Errorf("%d %s, want 200", sum, sku)
		}
	}
	w.sound()
}
