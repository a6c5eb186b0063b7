package ledger_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"pgregory.net/rapid"
)

// model is the ledger as a list of entries; every answer is a sum over all of them.
type model struct {
	entries []ledger.Transfer
}

var (
	modelOwners = []string{"prt_a", "prt_b", "acc_1", "acc_2", "acc_3"}
	modelUnits  = []string{"box", "seat"}
	modelStates = []ledger.State{ledger.Held, ledger.Consumed}
)

// sum is what r has of unit, of the entries that match.
func (m *model) sum(r ledger.End, unit string, match func(ledger.Transfer) bool) (n int64) {
	for _, e := range m.entries {
		if e.Unit != unit || match != nil && !match(e) {
			continue
		}
		if e.From == r {
			n -= e.Quantity
		}
		if e.To == r {
			n += e.Quantity
		}
	}
	return n
}

// last is the recorded time of the newest entry of an owner, in whatever state.
func (m *model) last(r ledger.End, unit string) (at store.Micros) {
	for _, e := range m.entries {
		if e.Unit == unit && (e.From.Owner == r.Owner || e.To.Owner == r.Owner) {
			at = max(at, e.Recorded)
		}
	}
	return at
}

func (m *model) byKey(p ledger.Posting) (ledger.Transfer, bool) {
	for _, e := range m.entries {
		if e.Partner == p.Partner && e.Verb == p.Verb && e.Key == p.Key {
			return e, true
		}
	}
	return ledger.Transfer{}, false
}

// post is what the engine must do.
func (m *model) post(p ledger.Posting, now store.Micros) (ledger.Transfer, error) {
	if e, found := m.byKey(p); found {
		if e.Hash != p.Hash {
			return e, ledger.ErrMismatch
		}
		e.Replayed = true
		return e, nil
	}
	has := m.sum(p.From, p.Unit, nil)
	if p.From != held(ledger.Issuer) && has < p.Quantity {
		return ledger.Transfer{}, &ledger.Short{Available: has}
	}
	e := ledger.Transfer{Book: p.Book, Unit: p.Unit, Verb: p.Verb, Quantity: p.Quantity, From: p.From, To: p.To, FromAfter: has - p.Quantity,
		ToAfter: m.sum(p.To, p.Unit, nil) + p.Quantity, Partner: p.Partner, Actor: p.Actor, Reason: p.Reason, Key: p.Key, Hash: p.Hash,
		Shares: []ledger.Share{{Quantity: p.Quantity}}, Effective: p.Effective, Recorded: max(now, m.last(p.From, p.Unit)+1, m.last(p.To, p.Unit)+1)}
	if e.Effective == 0 {
		e.Effective = e.Recorded
	}
	m.entries = append(m.entries, e)
	return e, nil
}

// machine plays the engine against the model.
type machine struct {
	*book
	model model
	run   string // keeps the owners of one rapid run apart from those of others on the same database
	used  []ledger.Posting
}

func (m *machine) owner(t *rapid.T, name string) string {
	return m.run + rapid.SampledFrom(modelOwners).Draw(t, name)
}

func (m *machine) end(t *rapid.T, name string) ledger.End {
	return ledger.End{Owner: m.owner(t, name), State: rapid.SampledFrom(modelStates).Draw(t, name+" state")}
}

func (m *machine) draw(t *rapid.T) ledger.Posting {
	p := ledger.Posting{Book: ledger.Licenses, Unit: m.run + rapid.SampledFrom(modelUnits).Draw(t, "unit"),
		Verb: rapid.SampledFrom([]string{"assign", "return"}).Draw(t, "verb"),
		From: m.end(t, "from"), To: m.end(t, "to"), Quantity: rapid.Int64Range(1, 12).Draw(t, "quantity"), Partner: m.run + "prt", Actor: "usr_1",
		Reason: rapid.StringN(0, 5, 20).Filter(func(s string) bool { return !strings.Contains(s, "\x00") }).Draw(t, "reason"),
		Key:    fmt.Sprint("key ", rapid.IntRange(0, 400).Draw(t, "key")), Hash: "h"}
	switch rapid.IntRange(0, 9).Draw(t, "how") {
	case 0, 1, 2:
		p.From = held(ledger.Issuer)
		p.Quantity *= 5
	case 3:
		p.To = held(ledger.Issuer)
	}
	if p.From == p.To {
		p.To = ledger.End{Owner: p.From.Owner + "x", State: ledger.Held}
	}
	if rapid.IntRange(0, 2).Draw(t, "dated") == 0 {
		p.Effective = store.Micros(rapid.Int64Range(1, 12_000).Draw(t, "effective"))
	}
	return p
}

// same fails unless engine and model answered alike.
func (m *machine) same(t *rapid.T, p ledger.Posting) {
	want, wantErr := m.model.post(p, m.clock.at)
	got, err := m.post(p)
	var short, wantShort *ledger.Short
	switch {
	case errors.As(wantErr, &wantShort):
		if !errors.As(err, &short) || *short != *wantShort {
			t.Fatalf("%+v: %v, want %+v", p, err, wantShort)
		}
	case wantErr != nil:
		if !errors.Is(err, wantErr) {
			t.Fatalf("%+v: %v, want %v", p, err, wantErr)
		}
	default:
		want.ID = got.ID
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v: %v\ngot  %+v\nwant %+v", p, err, got, want)
		}
		if !got.Replayed {
			m.model.entries[len(m.model.entries)-1].ID = got.ID
			m.used = append(m.used, p)
		}
	}
}

func (m *machine) Post(t *rapid.T) { m.same(t, m.draw(t)) }

// Repeat sends a key again: with its content, or other content.
func (m *machine) Repeat(t *rapid.T) {
	if len(m.used) == 0 {
		t.Skip("nothing to repeat")
	}
	p := rapid.SampledFrom(m.used).Draw(t, "again")
	if rapid.Bool().Draw(t, "changed") {
		p.Hash, p.Quantity = "other", rapid.Int64Range(1, 1000).Draw(t, "other quantity")
	}
	m.same(t, p)
}

// Tick moves the clock, also back.
func (m *machine) Tick(t *rapid.T) {
	m.clock.set(max(1, m.clock.at+store.Micros(rapid.Int64Range(-3000, 3000).Draw(t, "by"))))
}

// At asks for the holdings at any two times.
func (m *machine) At(t *rapid.T) {
	owner := m.owner(t, "owner")
	effective, known := m.instant(t, "effective"), m.instant(t, "known")
	var want []ledger.Totals
	for _, unit := range modelUnits {
		if all := m.totals(owner, m.run+unit, func(e ledger.Transfer) bool { return e.Effective <= effective && e.Recorded <= known }); all != (ledger.Totals{Unit: m.run + unit}) {
			want = append(want, all)
		}
	}
	got := holdingsAt(m.book, owner, effective, known)
	if !slices.Equal(got, want) {
		t.Fatalf("%s at %d as known at %d: %+v, want %+v", owner, effective, known, got, want)
	}
}

// totals is what an owner has in each state, of the entries that match.
func (m *machine) totals(owner, unit string, match func(ledger.Transfer) bool) ledger.Totals {
	in := func(s ledger.State) int64 { return m.model.sum(ledger.End{Owner: owner, State: s}, unit, match) }
	return ledger.Totals{Unit: unit, Available: in(ledger.Held), Consumed: in(ledger.Consumed)}
}

// instant is any time, or exactly that of an entry, where the bounds are.
func (m *machine) instant(t *rapid.T, name string) store.Micros {
	at := rapid.Int64Range(0, 20_000).Draw(t, name)
	switch n := len(m.model.entries); rapid.IntRange(0, 3).Draw(t, name+" kind") {
	case 0:
		return 1<<63 - 1
	case 1:
		if n > 0 {
			return m.model.entries[at%int64(n)].Recorded
		}
	case 2:
		if n > 0 {
			return m.model.entries[at%int64(n)].Effective
		}
	}
	return store.Micros(at)
}

// Statement asks for a span of one balance.
func (m *machine) Statement(t *rapid.T) {
	owner, unit := m.owner(t, "owner"), m.run+rapid.SampledFrom(modelUnits).Draw(t, "unit")
	from, until := m.instant(t, "from"), m.instant(t, "until")
	mine := func(r ledger.End) bool { return r == held(owner) }
	var wantOpening int64
	var want []int64
	for _, e := range m.model.entries {
		if e.Unit != unit || !mine(e.From) && !mine(e.To) {
			continue
		}
		switch {
		case e.Recorded < from:
			if mine(e.From) {
				wantOpening -= e.Quantity
			}
			if mine(e.To) {
				wantOpening += e.Quantity
			}
		case until == 0 || e.Recorded < until:
			want = append(want, e.ID)
		}
	}
	var opening int64
	list := read(m.book, func(tx *store.Tx) (list []ledger.Transfer, err error) {
		opening, list, err = ledger.Statement(tx, ledger.Licenses, owner, unit, ledger.Span{From: from, Until: until})
		return list, err
	})
	var got []int64
	for _, e := range list {
		got = append(got, e.ID)
	}
	slices.Sort(want)
	ordered := slices.IsSortedFunc(list, func(a, b ledger.Transfer) int { return int(a.Recorded - b.Recorded) })
	slices.Sort(got)
	if opening != wantOpening || !slices.Equal(got, want) || !ordered {
		t.Fatalf("%s %s in [%d, %d): opening %d, %v; want %d, %v; ordered %v", owner, unit, from, until, opening, got, wantOpening, want, ordered)
	}
}

// Check compares all balances after each step.
func (m *machine) Check(t *rapid.T) {
	for _, owner := range modelOwners {
		for _, b := range read(m.book, func(tx *store.Tx) ([]ledger.Totals, error) {
			return ledger.Balances(tx, ledger.Licenses, m.run+owner, "")
		}) {
			if want := m.totals(m.run+owner, b.Unit, nil); b != want || b.Available < 0 {
				t.Fatalf("%+v of %s, want %+v", b, owner, want)
			}
		}
	}
}

// TestBEY12_EngineEqualsModel plays random postings, repeats, dates and clocks against a list of entries.
func TestBEY12_BEY13_BEY14_BEY15_EngineEqualsModel(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		b := newBook(t, db)
		runs := 0
		rapid.Check(t, func(rt *rapid.T) {
			runs++
			b.clock.set(1000)
			m := &machine{book: b, run: fmt.Sprintf("%d_", runs)}
			rt.Repeat(map[string]func(*rapid.T){
				"Post": m.Post, "Post more": m.Post, "Repeat": m.Repeat, "Tick": m.Tick, "At": m.At, "Statement": m.Statement, "": m.Check,
			})
		})
		b.sound()
	})
}
