package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// tiny is the quick form on worlds that take no time, on the server of the other tests: whether it works, not how fast anything is.
func tiny(t *testing.T, db *dbtest.Database, args ...string) settings {
	t.Helper()
	if db.Kind == dbtest.Postgres {
		t.Setenv("PARTNERKIT_POSTGRES", db.DSN)
	}
	s, err := parse(append([]string{"-db", db.Kind, "-quick", "-json", "-rounds", "1", "-seconds", "0.2", "-callers", "2"}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s.warmup = 20 * time.Millisecond
	s.sizes = sizes{projects: 20, spreadPartners: 3, spreadProjects: 4, sessions: 2, questions: 20, access: 2100, lists: []int{2100, 2200}}
	return s
}

// The program measures everything there is beside its floor, and says so in the fields that are promised.
func TestQuickForm(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		s := tiny(t, db)
		var out bytes.Buffer
		if err := run(t.Context(), s, &out); err != nil {
			t.Fatal(err)
		}
		var names []string
		for line := range strings.Lines(out.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			name, _ := fields["name"].(string)
			names = append(names, name)
			for _, f := range []string{"callers", "p50_ms", "p99_ms", "per_second", "ratio"} {
				n, ok := fields[f].(float64)
				late := (f == "per_second" || f == "ratio") && n == 0 // on a busy machine no call may end within so short a round
				if !ok || n <= 0 && !late {
					t.Errorf("%s: %s is %v", name, f, fields[f])
				}
			}
			if floor, _ := fields["floor"].(string); floor == "" || fields["db"] != db.Kind {
				t.Errorf("%s: floor %v, db %v", name, fields["floor"], fields["db"])
			}
		}
		for _, m := range measures(s) {
			if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, m.name) && !strings.HasSuffix(n, m.floor) }) {
				t.Errorf("%s of ours was not measured, only %v", m.name, names)
			}
			if !slices.Contains(names, m.name+"/"+m.floor) {
				t.Errorf("the floor of %s was not measured, only %v", m.name, names)
			}
		}
	})
}

// -only and -run leave out what they say.
func TestOnlyOneSide(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		for side, want := range map[string]string{"ours": `"assign/hot"`, "floor": `"assign/hot/` + floorOf(settings{kind: db.Kind}) + `"`} {
			var out bytes.Buffer
			if err := run(t.Context(), tiny(t, db, "-run", "^assign/hot@2$", "-only", side), &out); err != nil {
				t.Fatal(err)
			}
			if first, _, _ := strings.Cut(out.String(), "\n"); !strings.Contains(first, want) || strings.Contains(out.String(), "spread") {
				t.Errorf("-only %s measured %s", side, out.String())
			}
		}
	})
}

// openAll opens the targets of a measure on a host of its own, and closes them with the test.
func openAll(t *testing.T, db *dbtest.Database, s settings, open func(ctx context.Context, h *host, callers int) ([]target, error)) []target {
	t.Helper()
	h, err := newHost(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.close() })
	list, err := open(t.Context(), h, 2)
	t.Cleanup(func() {
		for _, target := range list {
			_ = target.close()
		}
	})
	if err != nil {
		t.Fatalf("%s: %v", db.Kind, err)
	}
	return list
}

// A run whose calls did not all arrive, or whose balances were changed past the books, fails.
func TestBooksAreChecked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		s := tiny(t, db)
		s.quick = false // which leaves a floor out
		for _, target := range openAll(t, db, s, assignHot(s).open) {
			if err := target.call(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if err := target.books(t.Context(), 1, 0); err != nil {
				t.Errorf("%q: the books are right, but: %v", target.name, err)
			}
			if target.books(t.Context(), 2, 0) == nil || target.books(t.Context(), 0, 0) == nil {
				t.Errorf("%q: nobody missed a transfer, or noticed one too many", target.name)
			}
			if err := target.books(t.Context(), 0, 1); err != nil {
				t.Errorf("%q: a call that failed may have been made: %v", target.name, err)
			}
		}
	})
}

func TestTamperedFloorIsFound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		openAll(t, db, tiny(t, db), func(ctx context.Context, h *host, callers int) ([]target, error) {
			list, err := transferFloors(ctx, h, callers, hot)
			if err != nil {
				return list, err
			}
			const theft = "update pool set balance = balance + 1 where id = 5"
			if h.kind == dbtest.SQLite {
				f, err := openSQLiteFloor(ctx, h)
				if err != nil {
					return list, err
				}
				defer f.close()
				if _, err := f.ExecContext(ctx, theft); err != nil || f.books(ctx, 0, 0) == nil {
					t.Errorf("a balance was changed and nobody noticed (%v)", err)
				}
				return list, nil
			}
			f, err := openPostgresFloor(ctx, h, callers, floorTables)
			if err != nil {
				return list, err
			}
			defer f.close()
			if _, err := f.Exec(ctx, theft); err != nil || f.books(ctx, 0, 0) == nil {
				t.Errorf("a balance was changed and nobody noticed (%v)", err)
			}
			return list, nil
		})
	})
}

func TestTamperedLedgerIsFound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		openAll(t, db, tiny(t, db), func(ctx context.Context, h *host, callers int) ([]target, error) {
			w, err := newAssignWorld(ctx, h, callers, 2, 3, 1)
			if err != nil {
				return nil, err
			}
			list := []target{w.ours(nil)}
			if err := list[0].books(ctx, 0, 0); err != nil {
				return list, err
			}
			// The world that was written in bulk goes on as one that the API wrote.
			if _, err := w.seats.Assign(partner.WithSession(ctx, w.sessions[0]), w.orgs[0].projects[0], sku, 1, license.Key("k")); err != nil {
				return list, err
			}
			_, err = w.reg.Partners.Create(w.vendor, partner.Agreement{Name: "Next", Login: "next", Password: password, Currency: "EUR"})
			if err != nil {
				return list, err
			}
			if err := list[0].books(ctx, 1, 0); err != nil {
				return list, err
			}
			if err := w.db.Exec("UPDATE prm_ledger_balances SET amount = amount + 1 WHERE owner = ? AND book = 'license'", w.orgs[1].id).Error; err != nil {
				return list, err
			}
			if list[0].books(ctx, 1, 0) == nil {
				t.Error("a balance was changed and nobody noticed")
			}
			return list, nil
		})
	})
}

func TestFiguresOverRounds(t *testing.T) {
	var sorted []time.Duration
	for i := range 100 {
		sorted = append(sorted, time.Duration(i+1)*time.Millisecond)
	}
	if p50, p99 := percentile(sorted, 50), percentile(sorted, 99); p50 != 50 || p99 != 99 {
		t.Errorf("of 1 to 100 ms, p50 is %v and p99 %v", p50, p99)
	}
	rate := func(s sample) float64 { return s.perSecond }
	if m := median([]sample{{perSecond: 9}, {perSecond: 1}, {perSecond: 2}}, rate); m != 2 {
		t.Errorf("the median of 9, 1, 2 is %v", m)
	}
	if m := median([]sample{{perSecond: 3}, {perSecond: 1}}, rate); m != 2 {
		t.Errorf("the median of 3, 1 is %v", m)
	}
}

// A tree is shaped like the one that the figures elsewhere were measured on.
func TestTreeShape(t *testing.T) {
	parents := treeOf(100_000)
	children := map[int]int{}
	depth := make([]int, len(parents))
	var levels []int
	for i, p := range parents {
		if p >= i {
			t.Fatalf("partner %d stands below %d, which comes later", i, p)
		}
		if p >= 0 {
			depth[i] = depth[p] + 1
			children[p]++
		}
		if depth[i] == len(levels) {
			levels = append(levels, 0)
		}
		levels[depth[i]]++
	}
	if !slices.Equal(levels, treeLevels) {
		t.Errorf("levels %v, want %v", levels, treeLevels)
	}
	for p, n := range children {
		if n > 5 {
			t.Errorf("partner %d has %d below it", p, n)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, bad := range [][]string{{"-db", "oracle"}, {"-only", "both"}, {"-run", "("}, {"-callers", "0"}, {"more"}, {"-rounds", "x"}} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}
