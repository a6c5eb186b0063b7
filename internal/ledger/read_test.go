package ledger_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

func effective(at store.Micros) func(*ledger.Posting) {
	return func(p *ledger.Posting) { p.Effective = at }
}

// A correction dated back changes what counted yesterday, not what was known yesterday.
func TestBEY14_HoldingsAtAnswersBothClocks(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.clock.set(1000)
		b.must(b.move(ledger.Issuer, "prt_a", 10))
		b.clock.set(2000)
		b.must(b.move("prt_a", "acc_1", 4))
		b.clock.set(5000)
		b.must(b.move("acc_1", "prt_a", 1, effective(2500))) // the fix
		const all = store.Micros(1<<63 - 1)
		for _, c := range []struct{ effective, known, pool, project int64 }{
			{999, int64(all), 0, 0}, {1000, 1000, 10, 0}, {1999, int64(all), 10, 0}, {2000, 1999, 10, 0}, {2000, 2000, 6, 4}, {3000, 4999, 6, 4},
			{2499, int64(all), 6, 4}, {2500, int64(all), 7, 3}, {3000, 5000, 7, 3}, {int64(all), 4999, 6, 4}, {int64(all), int64(all), 7, 3}, {0, 0, 0, 0},
		} {
			pool, project := b.at("prt_a", store.Micros(c.effective), store.Micros(c.known)), b.at("acc_1", store.Micros(c.effective), store.Micros(c.known))
			if pool != c.pool || project != c.project {
				t.Errorf("at %d as known at %d: %d and %d, want %d and %d", c.effective, c.known, pool, project, c.pool, c.project)
			}
		}
		if n := b.at("prt_none", all, all); n != 0 {
			t.Errorf("an owner of nothing held %d", n)
		}
	})
}

func TestBEY15_AStatementsClosingIsTheNextOnesOpening(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		for i, n := range []int64{10, 20, 30} {
			b.clock.set(store.Micros(1000 * (i + 1)))
			b.must(b.move(ledger.Issuer, "prt_a", n))
			b.must(b.move("prt_a", "acc_1", n/2))
			b.must(b.move("prt_a", "prt_a", 1, func(p *ledger.Posting) { p.To.State = ledger.Consumed }))
			b.must(b.move(ledger.Issuer, "prt_a", 7, func(p *ledger.Posting) { p.Unit = "box" }))
		}
		type answer struct {
			opening int64
			list    []ledger.Transfer
		}
		statement := func(from, until store.Micros) (opening, closing int64, lines int) {
			a := read(b, func(tx *store.Tx) (a answer, err error) {
				a.opening, a.list, err = ledger.Statement(tx, ledger.Licenses, "prt_a", "seat", ledger.Span{From: from, Until: until})
				return a, err
			})
			closing = a.opening
			last := store.Micros(0)
			for _, x := range a.list {
				change := x.Quantity
				if x.From == held("prt_a") {
					change = -change
				}
				closing += change
				if x.Recorded < from || until != 0 && x.Recorded >= until || x.Recorded < last || x.Unit != "seat" {
					t.Errorf("line %+v in [%d, %d) after %d", x, from, until, last)
				}
				last = x.Recorded
			}
			return a.opening, closing, len(a.list)
		}
		before := int64(0)
		for _, s := range [][2]store.Micros{{0, 1000}, {1000, 1001}, {1001, 2000}, {2000, 3000}, {3000, 0}} {
			opening, closing, _ := statement(s[0], s[1])
			if opening != before {
				t.Errorf("[%d, %d) opens with %d, the one before closed with %d", s[0], s[1], opening, before)
			}
			before = closing
		}
		if opening, closing, lines := statement(0, 0); opening != 0 || closing != 27 || lines != 9 {
			t.Errorf("all of it: %d to %d in %d lines, want 0 to 27 in 9", opening, closing, lines)
		}
	})
}

func TestBEY14_TraceFollowsUnitsToTheirGrantAndOn(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		ids := map[int64]string{}
		step := func(what, from, to string, n int64) int64 {
			id := b.must(b.move(from, to, n)).ID
			ids[id] = what
			return id
		}
		step("grant a", ledger.Issuer, "prt_a", 10)
		step("grant b", ledger.Issuer, "prt_b", 10)
		step("b to its project", "prt_b", "acc_b", 5)
		step("older, a to project 1", "prt_a", "acc_1", 1) // what went on before cannot be what came after
		step("older, project 1 to 4", "acc_1", "acc_4", 1)
		assign := step("a to project 1", "prt_a", "acc_1", 5)
		step("project 1 to 2", "acc_1", "acc_2", 2)
		step("2 back to a", "acc_2", "prt_a", 1)
		step("a to project 3", "prt_a", "acc_3", 1)
		step("revoke", "acc_3", ledger.Issuer, 1)
		step("granted again, later", ledger.Issuer, "prt_a", 1)
		trace := func(id int64) (list []string) {
			for _, x := range read(b, func(tx *store.Tx) ([]ledger.Transfer, error) { return ledger.Trace(tx, ledger.Licenses, id) }) {
				list = append(list, ids[x.ID])
			}
			return list
		}
		if got, want := fmt.Sprintf("%q", trace(assign)), `["grant a" "a to project 1" "project 1 to 2" "2 back to a" "a to project 3" "revoke"]`; got != want {
			t.Errorf("trace %s\nwant  %s", got, want)
		}
		if got := trace(1 << 40); len(got) != 0 {
			t.Errorf("the trace of nothing is %q", got)
		}
	})
}

func TestHistory_PagesNewestFirst(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.must(b.move(ledger.Issuer, "prt_a", 100))
		for i := range 9 {
			b.must(b.move("prt_a", "acc_1", int64(i+1)))
			b.must(b.move(ledger.Issuer, "prt_b", 1)) // of somebody else
		}
		b.must(b.move("prt_a", "prt_a", 1, func(p *ledger.Posting) { p.To.State = ledger.Consumed })) // both sides: one entry
		for limit := 1; limit <= 12; limit++ {
			var got []int64
			var place *ledger.Place
			for {
				page := read(b, func(tx *store.Tx) ([]ledger.Transfer, error) {
					return ledger.History(tx, ledger.Licenses, "prt_a", "seat", place, limit)
				})
				if len(page) == 0 {
					break
				}
				for _, x := range page {
					if len(got) > 0 && x.ID >= got[len(got)-1] {
						t.Fatalf("limit %d: %d after %v", limit, x.ID, got)
					}
					got = append(got, x.ID)
				}
				place = &ledger.Place{Recorded: page[len(page)-1].Recorded, ID: page[len(page)-1].ID}
			}
			if len(got) != 11 {
				t.Errorf("limit %d: %d entries, want 11", limit, len(got))
			}
		}
	})
}

// PgBouncer in transaction mode works only with these: parameters without types of the server's.
func TestLedger_WorksInEveryQueryModeOfPgx(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			db := dbtest.New(t, dbtest.Postgres)
			db.DSN += " default_query_exec_mode=" + mode
			db.DB = db.Open(t, &gorm.Config{})
			b := newBook(t, db)
			b.must(b.move(ledger.Issuer, "prt_a", 10))
			p := b.move("prt_a", "acc_1", 4, effective(10))
			b.must(p)
			if !b.must(p).Replayed || b.of("acc_1") != 4 || b.at("acc_1", 500, 1<<62) != 4 {
				t.Error("wrong answers")
			}
			const all = store.Micros(1<<63 - 1)
			if err := store.Read(context.Background(), b.d, func(tx *store.Tx) error {
				if _, _, err := ledger.Statement(tx, ledger.Licenses, "acc_1", "seat", ledger.Span{From: 1, Until: all}); err != nil {
					return fmt.Errorf("statement: %w", err)
				}
				if _, err := ledger.Trace(tx, ledger.Licenses, 1); err != nil {
					return fmt.Errorf("trace: %w", err)
				}
				_, err := ledger.History(tx, ledger.Licenses, "acc_1", "", nil, 5)
				return err
			}); err != nil {
				t.Error(err)
			}
			b.sound()
		})
	}
}
