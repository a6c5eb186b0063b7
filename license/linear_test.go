package license_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// history is what concurrent callers asked and were answered, and when.
type history struct {
	mu    sync.Mutex
	begun time.Time
	ops   []porcupine.Operation
}

func (h *history) record(client int, in any, call func() any) {
	from := time.Since(h.begun)
	out := call()
	until := time.Since(h.begun)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: int64(from), Output: out, Return: int64(until)})
}

// linear fails unless one order of the calls, within the time each took, explains all answers.
func (h *history) linear(t *testing.T, m porcupine.Model) {
	t.Helper()
	switch porcupine.CheckOperationsTimeout(m, h.ops, 20*time.Second) {
	case porcupine.Illegal:
		_, info := porcupine.CheckOperationsVerbose(m, h.ops, 20*time.Second)
		t.Errorf("no order of these %d calls explains their answers; longest explanation: %v", len(h.ops), info.PartialLinearizations())
	case porcupine.Unknown:
		t.Errorf("%d calls: not checked in time", len(h.ops))
	}
}

// ask is one call about a sku: of a place, 0 being the pool and 1 and 2 projects.
type ask struct {
	verb     string
	sku      int
	from, to int
	n        int64
	slot     int // of a reservation
}

// told is an answer: what both sides have afterwards, or what is available, or that it was refused.
type told struct {
	refused    string
	have, from int64
	to         int64
}

// books is what there is of a sku.
type books struct {
	held, reserved, consumed [3]int64
	slots                    [40]struct { // reservations
		state string
		place int
		n     int64
	}
}

// booksModel is the ledger in one goroutine.
var booksModel = porcupine.Model{
	Partition: func(list []porcupine.Operation) [][]porcupine.Operation {
		by := make([][]porcupine.Operation, 3)
		for _, o := range list {
			in, _ := o.Input.(ask)
			by[in.sku] = append(by[in.sku], o)
		}
		return by
	},
	Init: func() any { return books{held: [3]int64{30, 10, 10}} },
	Step: func(state, input, output any) (bool, any) {
		b, _ := state.(books)
		in, _ := input.(ask)
		out, _ := output.(told)
		want := b.step(in)
		return want == out, b
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %+v", in, out) },
}

func (b *books) step(in ask) told {
	short := func(from int) (told, bool) { return told{refused: "short", have: b.held[from]}, b.held[from] < in.n }
	switch in.verb {
	case "balance":
		return told{have: b.held[in.from], from: b.reserved[in.from], to: b.consumed[in.from]}
	case "grant":
		b.held[0] += in.n
		return told{to: b.held[0]}
	case "post", "void":
		s := &b.slots[in.slot]
		if s.state != "open" {
			return told{refused: "done"}
		}
		s.state = in.verb
		b.reserved[s.place] -= s.n
		where := &b.consumed[s.place]
		if in.verb == "void" {
			where = &b.held[s.place]
		}
		*where += s.n
		return told{from: b.reserved[s.place], to: *where}
	}
	if refused, is := short(in.from); is {
		return refused
	}
	b.held[in.from] -= in.n
	switch in.verb {
	case "revoke":
		return told{from: b.held[in.from]}
	case "consume":
		b.consumed[in.from] += in.n
		return told{from: b.held[in.from], to: b.consumed[in.from]}
	case "reserve":
		b.reserved[in.from] += in.n
		s := &b.slots[in.slot]
		s.state, s.place, s.n = "open", in.from, in.n
		return told{}
	}
	b.held[in.to] += in.n
	return told{from: b.held[in.from], to: b.held[in.to]}
}

// office is the world that the books are about.
type office struct {
	*world
	history
	pool     partner.ID
	projects [3]partner.AccountID
	at       [3]context.Context // sessions that work in each place
	mine     sync.Mutex
	ids      [3][40]string // reservations, by sku and slot
	used     [3]int
}

func newOffice(w *world) *office {
	a := w.partner("acme")
	o := &office{world: w, pool: a.ID}
	o.at[0] = a.me
	for i := 1; i < 3; i++ {
		o.projects[i] = w.project(a.me, fmt.Sprint("project-", i))
		o.at[i] = w.login("acme")
		w.must(w.reg.Access.SwitchTo(o.at[i], o.projects[i]))
	}
	for s := range 3 {
		w.define(sku(s))
		w.grant(a.ID, sku(s), 50)
		w.assign(a.me, o.projects[1], sku(s), 10)
		w.assign(a.me, o.projects[2], sku(s), 10)
	}
	o.begun = time.Now()
	return o
}

func sku(i int) string { return fmt.Sprint("sku-", i) }

func (o *office) holder(place int) partner.Holder {
	if place == 0 {
		return o.pool
	}
	return o.projects[place]
}

// says turns an answer of the ledger into that of the model.
func says(t license.Transfer, err error) any {
	var short *license.InsufficientError
	switch {
	case errors.As(err, &short):
		return told{refused: "short", have: short.Available}
	case errors.Is(err, license.ErrReservationDone):
		return told{refused: "done"}
	case err != nil:
		return told{refused: err.Error()}
	}
	return told{from: t.FromAfter, to: t.ToAfter}
}

func (o *office) act(r *rand.Rand, client int) {
	in := ask{sku: r.IntN(3), n: 1 + r.Int64N(6), from: r.IntN(3), to: 1 + r.IntN(2)}
	unit := sku(in.sku)
	switch r.IntN(12) {
	case 0, 1, 2, 3:
		if in.verb = "assign"; in.from == in.to {
			in.to = 3 - in.to
		}
		o.record(client, in, func() any { return says(o.seats.Assign(o.at[in.from], o.projects[in.to], unit, in.n)) })
	case 4, 5:
		in.verb, in.from, in.to = "return", in.to, 0
		o.record(client, in, func() any { return says(o.seats.Return(o.at[in.from], unit, in.n)) })
	case 6:
		in.verb, in.from = "consume", in.to
		o.record(client, in, func() any { return says(o.seats.Consume(o.at[0], o.projects[in.from], unit, in.n)) })
	case 7:
		in.verb = "grant"
		o.record(client, in, func() any { return says(o.seats.Grant(o.vendor, o.pool, unit, in.n)) })
	case 8:
		in.verb = "revoke"
		o.record(client, in, func() any { return says(o.seats.Revoke(o.vendor, o.holder(in.from), unit, in.n)) })
	case 9:
		o.reserve(client, in)
	case 10:
		o.finish(client, in, []string{"post", "void"}[r.IntN(2)])
	default:
		in.verb = "balance"
		o.record(client, in, func() any {
			b, err := o.seats.Balance(o.vendor, o.holder(in.from), unit)
			if err != nil {
				return told{refused: err.Error()}
			}
			return told{have: b.Available, from: b.Reserved, to: b.Consumed}
		})
	}
}

func (o *office) reserve(client int, in ask) {
	o.mine.Lock()
	in.verb, in.from, in.slot = "reserve", in.to, o.used[in.sku]
	if in.slot < len(o.ids[0]) {
		o.used[in.sku]++
	}
	o.mine.Unlock()
	if in.slot == len(o.ids[0]) {
		return
	}
	o.record(client, in, func() any {
		r, err := o.seats.Reserve(o.at[0], o.projects[in.from], sku(in.sku), in.n, time.Hour)
		if err != nil {
			return says(license.Transfer{}, err)
		}
		o.mine.Lock()
		defer o.mine.Unlock()
		o.ids[in.sku][in.slot] = r.ID
		return told{}
	})
}

// finish ends some reservation; two callers at once, as often as not.
func (o *office) finish(client int, in ask, verb string) {
	o.mine.Lock()
	id := ""
	for i := range o.used[in.sku] {
		if o.ids[in.sku][i] != "" {
			in.slot, id = i, o.ids[in.sku][i]
		}
	}
	if in.n > 3 && id != "" { // nobody else will
		o.ids[in.sku][in.slot] = ""
	}
	o.mine.Unlock()
	if id == "" {
		return
	}
	in.verb = verb
	o.record(client, in, func() any {
		if verb == "post" {
			return says(o.seats.Post(o.at[0], id))
		}
		return says(o.seats.Void(o.at[0], id))
	})
}

// TestBEY12_AnswersAreOfOneOrder: whatever callers do at once, one order of their calls explains every number in every answer.
func TestBEY12_AnswersAreOfOneOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o := newOffice(w)
		for client := range together(12, func(client int) error {
			r := rand.New(rand.NewPCG(uint64(client), 7))
			for range 40 {
				o.act(r, client)
			}
			return nil
		}) {
			_ = client
		}
		o.linear(t, booksModel)
		w.sound()
		if n := len(o.ops); n < 400 {
			t.Errorf("only %d calls", n)
		}
	})
}

// use is a call that something ends, or the end itself.
type use struct {
	of  int
	end bool
}

// endModel is something that is live until it is ended: a use says whether it was.
var endModel = porcupine.Model{
	Partition: func(list []porcupine.Operation) [][]porcupine.Operation {
		by := map[int][]porcupine.Operation{}
		for _, o := range list {
			in, _ := o.Input.(use)
			by[in.of] = append(by[in.of], o)
		}
		var all [][]porcupine.Operation
		for _, ops := range by {
			all = append(all, ops)
		}
		return all
	},
	Init: func() any { return true },
	Step: func(state, input, output any) (bool, any) {
		live, _ := state.(bool)
		in, _ := input.(use)
		if in.end {
			return output == "", false
		}
		return live == (output == "live"), live
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %v", in, out) },
}
