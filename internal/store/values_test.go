package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// SQLite would keep the caller's zone as text and sort by it; PostgreSQL would cut nanoseconds off.
func TestMicros_OrderAndReadBackAlikeEverywhere(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		east, west := time.FixedZone("east", 14*3600), time.FixedZone("west", -12*3600)
		base := time.Date(2026, 3, 29, 1, 30, 0, 123456000, time.UTC)
		times := []time.Time{ // ascending; as text the zones would turn them round
			time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC), base.Add(-time.Microsecond).In(east), base.In(west), base.Add(time.Microsecond).In(east),
			base.Add(time.Hour).In(west), time.Date(2262, 4, 12, 0, 0, 0, 0, east), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		}
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
			for i, at := range slices.Backward(times) {
				if err := tx.Insert(&throttle{Key: fmt.Sprintf("%02d", i), UpdatedAt: store.At(at)}); err != nil {
					return err
				}
			}
			return nil
		}))
		var list []throttle
		must(t, store.Read(context.Background(), d, func(tx *store.Tx) error {
			return tx.Find(tx.From(all, "prm_throttles").Order("updated_at"), &list)
		}))
		for i, row := range list {
			got, want := row.UpdatedAt.Time(), times[i].Truncate(time.Microsecond)
			if row.Key != fmt.Sprintf("%02d", i) || !got.Equal(want) || got.Location() != time.UTC {
				t.Errorf("place %d: row %s, %v, want %v in UTC", i, row.Key, got, want)
			}
		}
	})
}

func TestNewID_FollowsTimeAndNeverRepeats(t *testing.T) {
	random := func(b []byte) { _, _ = rand.Read(b) }
	const n = 100_000
	seen := make(map[string]bool, n)
	before := ""
	for i := range n {
		now := store.At(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)).Add(time.Duration(i/10) * time.Millisecond)
		id := store.NewID("evt", now, random)
		if seen[id] {
			t.Fatalf("%s again after %d", id, i)
		}
		seen[id] = true
		if i%10 == 0 { // the first of a millisecond follows all of the ones before
			if id[:14] <= before {
				t.Fatalf("%s is not behind %s", id, before)
			}
			before = id[:14]
		}
	}
}

func TestLimit(t *testing.T) {
	for n, want := range map[int]int{0: store.DefaultLimit, 1: 1, store.MaxLimit: store.MaxLimit} {
		if got, err := store.Limit(n); got != want || err != nil {
			t.Errorf("limit %d: %d, %v", n, got, err)
		}
	}
	for _, n := range []int{-1, store.MaxLimit + 1, 1 << 40, -1 << 40} {
		_, err := store.Limit(n)
		wantKind(t, fmt.Sprint(n), err, fail.Invalid)
	}
}

// Pages cover a list once and in order, also where many rows share a time.
func TestAfter_PagesCoverTheListOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		const n = 23
		for i := range n {
			must(t, db.Exec("INSERT INTO prm_events (id, at, kind, actor, subject, partner_id, target, changed) VALUES (?, ?, '', '', '', 'prt_vendor', '', '')",
				fmt.Sprintf("evt_%02d", i), i/7).Error)
		}
		for limit := 1; limit <= n+1; limit++ {
			var got []string
			var place store.Place
			started := false
			for more := true; more && len(got) <= n; {
				var rows []struct {
					ID string
					At store.Micros
				}
				must(t, store.Read(context.Background(), d, func(tx *store.Tx) error {
					return tx.Find(store.After(tx.From(all, "prm_events"), "prm_events", "at", place, started, limit), &rows)
				}))
				if more = len(rows) > limit; more {
					rows = rows[:limit]
				}
				for _, r := range rows {
					got = append(got, r.ID)
					place, started = store.Place{At: r.At, ID: r.ID}, true
				}
			}
			if len(got) != n || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) {
				t.Fatalf("limit %d: %v", limit, got)
			}
		}
	})
}

// Garbage is refused, never a panic, and whatever is accepted is written the same way again.
func FuzzParseCursor(f *testing.F) {
	good := store.Cursor(store.Place{At: 5, ID: "evt_1"}, "list")
	for _, s := range []string{"", "A", "AQ", "====", "AQAAAAAAAAAAAAAAAAAAAAAA", good, strings.Repeat("A", 4096), "é", "\x00"} {
		f.Add(s, "list")
	}
	f.Fuzz(func(t *testing.T, s, list string) {
		p, started, err := store.ParseCursor(s, list)
		switch {
		case err != nil:
			if !errors.Is(err, fail.Invalid) || p != (store.Place{}) || started {
				t.Errorf("%q: %+v, %v, %v", s, p, started, err)
			}
		case started:
			again, _, err := store.ParseCursor(store.Cursor(p, list), list)
			if err != nil || again != p {
				t.Errorf("%q: %+v is written as %+v, %v", s, p, again, err)
			}
		case s != "":
			t.Errorf("%q was read as the start", s)
		}
	})
}
