package license_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// lines draws a list for the projects of one side; few have a line that sends it to a transaction of its own by its looks. Far lines go to the
// first project.
func (c *crowd) lines(r *rand.Rand, side int, far bool) (list []license.Move) {
	for range 1 + r.IntN(12) {
		m := license.Move{To: c.projects[side*4+min(3, r.IntN(6))/3*3], SKU: crowdSKUs[r.IntN(3)], Quantity: 1 + r.Int64N(5)}
		if far {
			m.To = c.projects[side*4]
		}
		if k := r.IntN(8); r.IntN(3) == 0 {
			m.Key = fmt.Sprint("l", k)
			if r.IntN(3) > 0 { // the usual content of the key
				m.To, m.SKU, m.Quantity = c.projects[side*4], crowdSKUs[k%3], 1
			}
		}
		switch r.IntN(90) {
		case 0:
			m.To = c.projects[r.IntN(len(c.projects))]
		case 1:
			m.SKU = "unknown"
		case 2:
			m.Quantity = 0
		}
		list = append(list, m)
	}
	return list
}

// TestBEY13_AListIsItsLinesOneAfterTheOther: with lots, caps, seats and what time has done, in a shared commit or not.
func TestBEY13_AListIsItsLinesOneAfterTheOther(t *testing.T) {
	for _, kind := range []string{dbtest.SQLite, dbtest.Postgres} {
		t.Run(kind, func(t *testing.T) {
			kinds := map[string]int{}
			for seed := range uint64(1) {
				listEqualsLines(t, kind, 22+seed, kinds)
			}
			t.Logf("answers: %v", kinds)
			for _, k := range []string{"accepted", "repeated", "insufficient", "quota", "seats", "mismatch"} {
				if kinds[k] == 0 {
					t.Errorf("no line was answered %s: the test has lost its teeth", k)
				}
			}
		})
	}
}

func listEqualsLines(t *testing.T, kind string, seed uint64, kinds map[string]int) {
	t.Helper()
	one, other := newCrowd(t, dbtest.New(t, kind), seed), newCrowd(t, dbtest.New(t, kind), seed)
	for _, c := range []*crowd{one, other} { // seats in the projects that are worked from
		for side := range 2 {
			me, in := c.sessions[fmt.Sprint("p", side)], c.projects[side*4+3]
			c.assign(me, in, "seat", 6)
			for i := range 4 {
				c.must(second(c.seats.Seat(me, in, "seat", fmt.Sprint("person ", i))))
			}
		}
	}
	r := rand.New(rand.NewPCG(seed, 5))
	for round := range 30 {
		if round == 20 { // lots of an hour run out or begin
			one.clock.Advance(2 * time.Hour)
			other.clock.t = one.clock.t
		}
		side := r.IntN(2)
		who := fmt.Sprint([]string{"p", "in p", "p"}[round%3], side, []string{"", "-3", ""}[round%3])
		list := one.lines(r, side, round%3 == 1)
		results, err := one.seats.AssignAll(one.sessions[who], list, false)
		one.must(err)
		for i, m := range list {
			var o []license.Option
			if m.Key != "" {
				o = append(o, license.Key(m.Key))
			}
			tr, err := other.seats.Assign(other.sessions[who], m.To, m.SKU, m.Quantity, o...)
			got, alone := answer{results[i].Transfer, results[i].Err, m.Key != ""}, answer{tr, err, m.Key != ""}
			if why := got.differs(alone); why != "" {
				t.Errorf("%s, seed %d, round %d, %s, line %d of %+v: %s", kind, seed, round, who, i, list, why)
			}
			kinds[got.kind()]++
		}
		if a, b := one.state(), other.state(); !reflect.DeepEqual(a, b) {
			t.Fatalf("%s, seed %d, round %d: left behind\n%s", kind, seed, round, difference(a, b))
		}
	}
	one.whole()
}

// catch is a list or a single move that is ready to be committed with others.
func (w *world) catch(call func(*license.Ledger) error) license.Caught {
	w.t.Helper()
	c, err := license.Catch(w.seats, func(l *license.Ledger) (license.Transfer, error) { return license.Transfer{}, call(l) })
	w.must(err)
	return c
}

// TestBEY13_AListThatIsNotSharedLeavesTheOthers: a list that is refused as a whole takes nothing, and the others of its commit are answered once.
func TestBEY13_AListThatIsNotSharedLeavesTheOthers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.partner("acme"), w.partner("bolt")
		w.define("seat")
		w.grant(a.ID, "seat", 20)
		w.grant(b.ID, "seat", 20)
		one, two := w.project(a.me, "one"), w.project(b.me, "two")
		w.assign(a.me, one, "seat", 1)
		w.assign(b.me, two, "seat", 1)
		before := w.events()
		list := func(all bool, n int64) license.Caught {
			return w.catch(func(l *license.Ledger) error {
				_, err := l.AssignAll(a.me, []license.Move{{To: one, SKU: "seat", Quantity: 2}, {To: one, SKU: "seat", Quantity: n}}, all)
				return err
			})
		}
		single := func(me context.Context, to partner.AccountID) license.Caught {
			return w.catch(func(l *license.Ledger) error { return second(l.Assign(me, to, "seat", 1)) })
		}
		_, errs, alone := license.Together(context.Background(), w.seats, []license.Caught{single(b.me, two), list(true, 90), single(a.me, one)}, false)
		if errs[1] == nil || !alone[1] {
			t.Errorf("the list was answered %v", errs[1])
		}
		done := 0 // whoever has an answer has been done, and nobody else
		for i, to := range map[int]partner.AccountID{0: two, 2: one} {
			if errs[i] == nil {
				done++
				w.has(to, "seat", 2)
				continue
			}
			if w.has(to, "seat", 1); !alone[i] {
				t.Errorf("job %d was answered %v", i, errs[i])
			}
			w.assign(map[int]context.Context{0: b.me, 2: a.me}[i], to, "seat", 1)
			done++
		}
		if n := w.events() - before; n != done {
			t.Errorf("%d events of %d moves", n, done)
		}
		_, errs, _ = license.Together(context.Background(), w.seats, []license.Caught{single(b.me, two), list(false, 90), list(true, 3), single(a.me, one)}, false)
		for i, err := range errs {
			if err != nil {
				t.Errorf("job %d: %v", i, err)
			}
		}
		w.has(one, "seat", 1+1+2+2+3+1)
		w.has(two, "seat", 3)
		w.whole()
	})
}

// TestBEY13_ListsOfAllLengthsAtOnce: of one line to more than fit into a shared commit, with singles between them.
func TestBEY13_ListsOfAllLengthsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(5000)
		two := w.project(a.me, "two")
		w.assign(a.me, one, "seat", 1)
		w.assign(a.me, two, "seat", 1)
		lengths := []int{1, 256, 257, 2, 255, 300, 3, 128, 129, 0, 1, 1}
		for i, err := range together(len(lengths), func(i int) error {
			lines := make([]license.Move, lengths[i])
			for k := range lines {
				lines[k] = license.Move{To: []partner.AccountID{one, two}[k%2], SKU: "seat", Quantity: 1}
			}
			results, err := w.seats.AssignAll(a.me, lines, i%2 == 0)
			for k, r := range results {
				if r.Err != nil || k > 0 && r.Transfer.FromAfter != results[k-1].Transfer.FromAfter-1 {
					return fmt.Errorf("line %d: %+v", k, r)
				}
			}
			return errors.Join(err, second(w.seats.Assign(a.me, one, "seat", 1)))
		}) {
			if err != nil {
				t.Errorf("a list of %d: %v", lengths[i], err)
			}
		}
		total := int64(0)
		for _, n := range lengths {
			total += int64(n) + 1
		}
		w.has(a.ID, "seat", 5000-2-total)
		w.whole()
	})
}

// TestBEY13_OneListManyTimesAtOnce: all callers repeat the same lines, in lists of both kinds and one by one; each moves once.
func TestBEY13_OneListManyTimesAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		w.define("old")
		w.grant(a.ID, "seat", 100)
		w.grant(a.ID, "old", 100)
		w.must(w.seats.Retire(w.vendor, "old"))
		one, two := w.project(a.me, "one"), w.project(a.me, "two")
		w.assign(a.me, one, "seat", 1)
		for round := range 4 { // the accounts are not there yet, or the keys have been used
			var lines []license.Move
			for k := range 8 {
				lines = append(lines, license.Move{To: []partner.AccountID{one, two}[k%2], SKU: []string{"seat", "old"}[k/4], Quantity: 1 + int64(k%3),
					Key: fmt.Sprint(round/2, "-", k)})
			}
			lines = append(lines, lines[0])
			for i, err := range together(16, func(i int) error {
				if i%4 == 3 {
					m := lines[i/2]
					return second(w.seats.Assign(a.me, m.To, m.SKU, m.Quantity, license.Key(m.Key)))
				}
				results, err := w.seats.AssignAll(a.me, lines[:9-i%3], i%2 == 0)
				for _, r := range results {
					err = errors.Join(err, r.Err)
				}
				return err
			}) {
				if err != nil {
					t.Errorf("round %d, caller %d: %v", round, i, err)
				}
			}
		}
		if n := w.rows("SELECT count(*) FROM prm_ledger_transfers WHERE verb = 'assign'"); n != 17 {
			t.Errorf("%d moves, want 17", n)
		}
		w.whole()
	})
}

// TestBEY13_AListWaitsAtAGateAlone: somebody suspends a project. A list that names it waits; who moves to another project does not.
func TestBEY13_AListWaitsAtAGateAlone(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres)) // SQLite has one writer
	a, b := w.partner("acme"), w.partner("bolt")
	w.define("seat")
	w.grant(a.ID, "seat", 100)
	w.grant(b.ID, "seat", 100)
	one, two, far := w.project(a.me, "one"), w.project(a.me, "two"), w.project(b.me, "far")
	w.assign(a.me, one, "seat", 1)
	w.assign(a.me, two, "seat", 1)
	w.assign(b.me, far, "seat", 1)
	for _, all := range []bool{false, true} {
		tx := w.db.Begin()
		w.must(w.reg.In(tx).Accounts.Suspend(w.vendor, one))
		type told struct {
			results []license.Result
			err     error
		}
		done := make(chan told, 1)
		go func() {
			results, err := w.seats.AssignAll(a.me, []license.Move{{To: two, SKU: "seat", Quantity: 2}, {To: one, SKU: "seat", Quantity: 2}}, all)
			done <- told{results, err}
		}()
		met := make(chan error, 1)
		if !w.meets(met) {
			t.Fatal("the list did not wait")
		}
		ctx, cancel := context.WithTimeout(b.me, 10*time.Second)
		for range 5 {
			w.must(second(w.seats.Assign(ctx, far, "seat", 1)))
			w.must(second(w.seats.AssignAll(ctx, []license.Move{{To: far, SKU: "seat", Quantity: 1}}, true)))
		}
		cancel()
		w.must(tx.Commit().Error)
		got := <-done
		if w.is(got.results[1].Err, partner.ErrSuspended); all {
			w.is(got.err, partner.ErrSuspended)
		} else {
			w.must(got.results[0].Err)
		}
		w.must(w.reg.Accounts.Resume(w.vendor, one))
	}
	w.has(one, "seat", 1)
	w.has(two, "seat", 3)
	w.whole()
}
