package license_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// line is one line of a model's list. Places are the pool, 0, and two projects; the second of them has a cap of sku 0, and nobody knows
// sku 2.
type line struct{ sku, to, n, key int } // key 0 is none

// order is a call of the model: a list of lines, or a single move, from a place.
type order struct {
	client, from    int
	lines           []line
	list, allOrNone bool
}

// first is what the first move behind a key was, and its answer.
type first struct {
	used                bool
	sku, from, to, n    int
	fromAfter, andAfter int
}

// shelf is what there is of each sku in each place, and of keys. It is comparable.
type shelf struct {
	has  [2][3]int
	keys [9]first
}

const shelfCap = 40

// move answers one line, as a single Assign does.
func (s *shelf) move(from int, l line) string {
	if k := s.keys[l.key]; l.key > 0 && k.used {
		if k.sku != l.sku || k.to != l.to || k.n != l.n || k.from != from {
			return "mismatch"
		}
		return fmt.Sprint("again ", k.fromAfter, " ", k.andAfter)
	}
	switch {
	case from == l.to:
		return "range"
	case l.sku == 2:
		return "unknown"
	case s.has[l.sku][from] < l.n:
		return fmt.Sprint("short ", s.has[l.sku][from])
	case l.sku == 0 && l.to == 2 && s.has[0][2]+l.n > shelfCap:
		return fmt.Sprint("quota ", s.has[0][2])
	}
	s.has[l.sku][from] -= l.n
	s.has[l.sku][l.to] += l.n
	if l.key > 0 {
		s.keys[l.key] = first{true, l.sku, from, l.to, l.n, s.has[l.sku][from], s.has[l.sku][l.to]}
	}
	return fmt.Sprint("moved ", s.has[l.sku][from], " ", s.has[l.sku][l.to])
}

// do answers an order: what became of each line, or of the first that was refused.
func (s *shelf) do(o order) string {
	before := *s
	var told []string
	for i, l := range o.lines {
		answer := s.move(o.from, l)
		if told = append(told, answer); o.allOrNone && !strings.HasPrefix(answer, "moved") && !strings.HasPrefix(answer, "again") {
			*s = before
			return fmt.Sprint("line ", i+1, ": ", answer)
		}
	}
	return strings.Join(told, ", ")
}

// said turns an answer of the ledger into the model's words.
func said(tr license.Transfer, err error) string {
	var short *license.InsufficientError
	var quota *partner.QuotaError
	var faults *partner.ValidationError
	switch {
	case errors.Is(err, partner.ErrIdempotencyMismatch):
		return "mismatch"
	case errors.As(err, &short):
		return fmt.Sprint("short ", short.Available)
	case errors.As(err, &quota):
		return fmt.Sprint("quota ", quota.InUse)
	case errors.Is(err, partner.ErrUnknownCode):
		return "unknown"
	case errors.As(err, &faults) && faults.Fields[0].Code == "range":
		return "range"
	case err != nil:
		return err.Error()
	case tr.Replayed:
		return fmt.Sprint("again ", tr.FromAfter, " ", tr.ToAfter)
	}
	return fmt.Sprint("moved ", tr.FromAfter, " ", tr.ToAfter)
}

// counter is the world that the shelf is about, of one partner.
type counter struct {
	*world
	history
	id partner.ID
	to [3]partner.AccountID
	at [3]context.Context
}

func newCounter(w *world, login string) *counter {
	a := w.partner(login)
	s := &counter{world: w, id: a.ID}
	s.at[0] = a.me
	for i := 1; i < 3; i++ {
		s.to[i] = w.project(a.me, fmt.Sprint(login, "-", i))
		s.at[i] = w.login(login)
		w.must(w.reg.Access.SwitchTo(s.at[i], s.to[i]))
	}
	for k := range 2 {
		w.grant(a.ID, sku(k), 80)
		w.assign(a.me, s.to[1], sku(k), 20)
		w.assign(a.me, s.to[2], sku(k), 20)
	}
	w.must(w.seats.Cap(w.vendor, s.to[2], sku(0), shelfCap))
	s.begun = time.Now()
	return s
}

// draw makes a random order: keys are few, so that they come again, with other content as often as not.
func (s *counter) draw(r *rand.Rand, client int) order {
	o := order{client: client, from: max(0, r.IntN(4)-1), list: r.IntN(2) == 0, allOrNone: r.IntN(2) == 0}
	count := 1
	if o.list {
		count = 1 + r.IntN(5)
	}
	for range count {
		l := line{sku: r.IntN(2), to: 1 + r.IntN(2), n: 1 + r.IntN(4), key: max(0, r.IntN(16)-7)}
		if r.IntN(25) == 0 {
			l.sku = 2
		}
		if l.from(o); l.key > 0 && r.IntN(4) > 0 { // the usual content of a key
			l.sku, l.to, l.n = l.key%2, 1+l.key%2, 1+l.key%3
		}
		if l.to == o.from || l.sku == 2 { // its key is looked up before anything is held
			l.key = 0
		}
		o.lines = append(o.lines, l)
	}
	return o
}

// from turns most lines away from where their order works.
func (l *line) from(o order) {
	if l.to == o.from && l.n > 1 {
		l.to = 3 - l.to
	}
}

func (s *counter) call(seats *license.Ledger, o order) string {
	var moves []license.Move
	for _, l := range o.lines {
		m := license.Move{To: s.to[l.to], SKU: sku(l.sku), Quantity: int64(l.n)}
		if l.key > 0 {
			m.Key = fmt.Sprint("k", l.key)
		}
		moves = append(moves, m)
	}
	if !o.list {
		var options []license.Option
		if m := moves[0]; m.Key != "" {
			options = append(options, license.Key(m.Key))
		}
		return said(seats.Assign(s.at[o.from], moves[0].To, moves[0].SKU, moves[0].Quantity, options...))
	}
	results, err := seats.AssignAll(s.at[o.from], moves, o.allOrNone)
	if err != nil {
		_, text, _ := strings.Cut(err.Error(), " lines: ")
		named, _, _ := strings.Cut(text, ": ")
		return named + ": " + said(license.Transfer{}, err)
	}
	var told []string
	for i, r := range results {
		if told = append(told, said(r.Transfer, r.Err)); r.Err == nil && (r.Transfer.ID == 0 || r.Transfer.Key == "" || moves[i].Key != "" && moves[i].Key != r.Transfer.Key) {
			told[i] += fmt.Sprintf(" (%+v)", r.Transfer)
		}
	}
	return strings.Join(told, ", ")
}

// shelfModel is the ledger of one partner in one goroutine.
var shelfModel = porcupine.Model{
	Init: func() any { return shelf{has: [2][3]int{{40, 20, 20}, {40, 20, 20}}} },
	Step: func(state, input, output any) (bool, any) {
		s, _ := state.(shelf)
		in, _ := input.(order)
		return (&s).do(in.known()) == output, s
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %v", in, out) },
}

// known is an order as it is answered: a single one is no list.
func (o order) known() order {
	o.allOrNone = o.allOrNone && o.list
	return o
}

// shopping lets callers of two partners, of one process or two, order at once, while something disturbs them.
func shopping(t *testing.T, w *world, seed uint64, disturb func(w *world, shops []*counter) error) {
	w.define(sku(0))
	w.define(sku(1))
	shops := []*counter{newCounter(w, "acme"), newCounter(w, "bolt")}
	ledgers := []*license.Ledger{w.seats, w.seats}
	if seed%2 == 1 {
		ledgers[1] = w.another().seats
	}
	const callers = 13
	answers := map[string]int{}
	for i, err := range together(callers, func(i int) error {
		if i == callers-1 {
			return disturb(w, shops)
		}
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		for range 14 {
			s := shops[r.IntN(2)]
			o := s.draw(r, i)
			s.record(i, o, func() any { return s.call(ledgers[i/2%2], o) })
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	for _, s := range shops {
		s.linear(t, shelfModel)
		for _, op := range s.ops {
			out, _ := op.Output.(string)
			for part := range strings.SplitSeq(out, ", ") {
				for word := range strings.FieldsSeq(part) {
					if strings.Trim(word, "0123456789:") == word && word != "line" {
						answers[word]++
					}
				}
			}
		}
	}
	for _, k := range []string{"moved", "again", "mismatch", "short", "range"} {
		if answers[k] == 0 {
			t.Errorf("no answer was %s: the test has lost its teeth", k)
		}
	}
	t.Log(answers)
	w.whole()
}

// TestBEY13_ListsAndSinglesAreOfOneOrder: whatever lists and singles meet, one order of the calls explains every answer to every line.
func TestBEY13_ListsAndSinglesAreOfOneOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for seed := range uint64(3) {
			w := w
			if seed > 0 {
				w = w.fresh()
			}
			shopping(t, w, seed, func(*world, []*counter) error { return nil })
		}
	})
}

// TestBEY13_ListsBesideAHost: while transactions of the host hold a pool now and then, and undo what they did.
func TestBEY13_ListsBesideAHost(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		shopping(t, w, 8, func(w *world, shops []*counter) error {
			for n := range 6 {
				s := shops[n%2]
				tx := w.db.Begin()
				if tx.Error != nil {
					return tx.Error
				}
				_, err := license.New(w.reg.In(tx)).AssignAll(s.at[0], []license.Move{{To: s.to[1], SKU: sku(n % 2), Quantity: 1}}, true)
				if undone := tx.Rollback().Error; undone != nil || err != nil && !errors.Is(err, license.ErrInsufficient) {
					return errors.Join(err, undone)
				}
			}
			return nil
		})
	})
}

// TestBEY13_ListsBesideASwitch: sessions switch meanwhile, to where they are, so that nothing that is remembered holds.
func TestBEY13_ListsBesideASwitch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		shopping(t, w, 10, func(w *world, shops []*counter) error {
			for n := range 10 {
				s := shops[n%2] // to where it is: the number of what is remembered rises
				if err := w.reg.Access.SwitchTo(s.at[1], s.to[1]); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// fresh is another world on a database of the same kind.
func (w *world) fresh() *world { return newWorld(w.t, dbtest.New(w.t, w.db.Kind)) }
