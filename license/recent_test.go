package license_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// crossing is callers in two processes who move the same pool and projects, and what they were answered.
type crossing struct {
	*world
	acme     side
	places   []*world // the processes; a Ledger of the first, of the first again, of the second
	projects []partner.AccountID
	inside   []context.Context // of a session in each project

	mu      sync.Mutex
	ledgers []*license.Ledger
	made    map[string]license.Transfer // by verb and key
	told    []heard
}

// heard is what somebody was told about a holder, up to an instant that had passed.
type heard struct {
	of    partner.Holder
	until time.Time
	st    license.Statement
	had   []license.Balance
}

func (w *world) tell(l *license.Ledger, of partner.Holder, until time.Time) (t heard, err error) {
	t = heard{of: of, until: until}
	if t.st, err = l.Statement(w.vendor, of, "seat", partner.Period{Until: until}); err == nil {
		t.had, err = l.HoldingsAt(w.vendor, of, until, until)
	}
	return t, err
}

// stays fails unless all that was told is told again.
func (w *world) stays(list []heard) {
	w.t.Helper()
	for _, was := range list {
		now, err := w.tell(w.seats, was.of, was.until)
		w.must(err)
		if !reflect.DeepEqual(was, now) {
			w.t.Errorf("%v until %v: closed at %d after %d lines with %+v, now at %d after %d with %+v", was.of, was.until, was.st.Closing, len(was.st.Lines),
				was.had, now.st.Closing, len(now.st.Lines), now.had)
		}
	}
}

func newCrossing(w *world) *crossing {
	w.define("seat")
	other := w.another()
	c := &crossing{world: w, acme: w.partner("acme"), places: []*world{w, w, other}, made: map[string]license.Transfer{}}
	c.ledgers = []*license.Ledger{w.seats, license.New(w.reg), other.seats}
	w.must(c.moved(w.grant(c.acme.ID, "seat", 60), nil))
	for i := range 3 {
		c.projects = append(c.projects, w.project(c.acme.me, fmt.Sprint("crossing-", i)))
		w.must(c.moved(w.assign(c.acme.me, c.projects[i], "seat", 10), nil))
		c.inside = append(c.inside, w.login("acme"))
		w.must(w.reg.Access.SwitchTo(c.inside[i], c.projects[i]))
	}
	return c
}

// ledger is one of them. Now and then one is made anew: it trusts its memory, however often the last was wrong.
func (c *crossing) ledger(r *rand.Rand) *license.Ledger {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := r.IntN(len(c.ledgers))
	if r.IntN(4) == 0 {
		c.ledgers[i] = license.New(c.places[i].reg)
	}
	return c.ledgers[i]
}

// moved notes an answer; an error that the balances do not explain is one of the test's.
func (c *crossing) moved(tr license.Transfer, err error) error {
	if errors.Is(err, license.ErrInsufficient) || errors.Is(err, partner.ErrQuota) || errors.Is(err, license.ErrShrinkPlanRequired) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := tr.Verb + " " + tr.Key
	if _, twice := c.made[name]; err == nil && (twice || tr.Replayed) {
		err = fmt.Errorf("%s is answered twice", name)
	}
	if err == nil {
		c.made[name] = tr
	}
	return err
}

// act is a call of the public API, whichever.
func (c *crossing) act(r *rand.Rand, l *license.Ledger) error {
	i, n, me := r.IntN(3), 1+r.Int64N(4), c.acme.me
	to, next := c.projects[i], c.projects[(i+1)%3]
	switch r.IntN(14) {
	case 0:
		return c.moved(l.Consume(me, to, "seat", 1))
	case 1, 2:
		list, err := l.AssignAll(me, []license.Move{{To: to, SKU: "seat", Quantity: n}, {To: next, SKU: "seat", Quantity: 2}}, n%2 == 0)
		if err != nil {
			return c.moved(license.Transfer{}, err)
		}
		return errors.Join(c.moved(list[0].Transfer, list[0].Err), c.moved(list[1].Transfer, list[1].Err))
	case 3:
		res, err := l.Reserve(me, to, "seat", n, 0)
		if err != nil {
			return c.moved(license.Transfer{}, err)
		}
		if err := c.moved(license.Transfer{Verb: "reserve", Key: res.Key}, nil); err != nil || n == 1 {
			return err
		}
		if n == 2 {
			return c.moved(l.Void(me, res.ID))
		}
		return c.moved(l.Post(me, res.ID))
	case 4:
		if n == 1 {
			return c.moved(l.Revoke(c.vendor, to, "seat", n))
		}
		return c.moved(l.Grant(c.vendor, c.acme.ID, "seat", n))
	case 5:
		seat, err := l.Seat(me, to, "seat", fmt.Sprint("person ", r.IntN(1e9)))
		if err == nil && n > 1 {
			err = l.Unseat(me, seat.ID)
		}
		return c.moved(license.Transfer{Verb: "seat", Key: seat.ID}, err)
	case 6:
		return l.Cap(c.vendor, to, "seat", []int64{-1, -1, 20, 60}[n-1])
	case 7, 8:
		return c.moved(l.Return(c.inside[i], "seat", n))
	case 9:
		return c.moved(l.Assign(c.inside[i], next, "seat", n))
	}
	return c.moved(l.Assign(me, to, "seat", n))
}

// inTx moves something in a transaction of the host, which may give it up.
func (c *crossing) inTx(r *rand.Rand) error {
	tx := c.db.Begin()
	if tx.Error != nil {
		return tx.Error
	}
	defer tx.Rollback()
	tr, err := license.New(c.reg.In(tx)).Assign(c.acme.me, c.projects[r.IntN(3)], "seat", 1)
	if err == nil && r.IntN(2) == 0 {
		return tx.Rollback().Error
	}
	return errors.Join(tx.Commit().Error, c.moved(tr, err))
}

// ask asks for what was, up to an instant ago.
func (c *crossing) ask(r *rand.Rand, l *license.Ledger) error {
	of := []partner.Holder{c.acme.ID, c.projects[0], c.projects[1], c.projects[2]}[r.IntN(4)]
	t, err := c.tell(l, of, c.clock.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, t)
	return err
}

// TestBEY12_AllCallsCrossInTwoProcesses: whatever calls meet, in two processes and in host transactions, each answer is one of history, which
// has nothing else, and what was told meanwhile stays.
func TestBEY12_AllCallsCrossInTwoProcesses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := newCrossing(w)
		for i, err := range together(10, func(i int) error {
			r := rand.New(rand.NewPCG(uint64(i), 17))
			for range 60 {
				err := error(nil)
				switch l := c.ledger(r); i {
				case 0:
					err = c.inTx(r)
				case 1, 2:
					err = c.ask(r, l)
				default:
					err = c.act(r, l)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		c.settled()
	})
}

// settled fails unless history and answers are the same, and all of it adds up.
func (c *crossing) settled() {
	c.t.Helper()
	c.sound()
	c.stays(c.told)
	seen := map[string]bool{}
	for _, h := range []partner.Holder{c.acme.ID, c.projects[0], c.projects[1], c.projects[2]} {
		c.grows(h, "seat")
		for _, b := range c.balances(h) {
			if min(b.Available, b.Reserved, b.Consumed) < 0 {
				c.t.Errorf("%v has %+v", h, b)
			}
		}
		for _, tr := range c.history(h, "seat") {
			name := tr.Verb + " " + tr.Key
			was, made := c.made[name]
			if seen[name] = true; !made || was.ID != 0 && !reflect.DeepEqual(was, tr) {
				c.t.Errorf("history has %+v, the answer (%v) was %+v", tr, made, was)
			}
		}
	}
	for name, tr := range c.made {
		if !seen[name] && tr.Verb != "seat" {
			c.t.Errorf("%s is not in history: %+v", name, tr)
		}
	}
}

// TestBEY12_NothingAfterABlock: callers who move by heart move nothing any more once a block has been answered, in their process or elsewhere.
func TestBEY12_NothingAfterABlock(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p, other, third := w.partner("acme"), w.another(), w.another()
		to := w.project(p.me, "acme-project")
		w.define("seat")
		w.define("box")
		w.grant(p.ID, "seat", 100_000)
		w.grant(p.ID, "box", 100_000)
		for round := range 8 {
			quiet := license.New(third.reg) // of another type, and it does not see the block coming
			// Nobody disturbs the other: it moves by heart.
			places, l, me := []*world{other, w}, license.New(w.reg), w.login("acme")
			for range 3 {
				w.must(errors.Join(second(l.Assign(me, to, "seat", 1)), second(quiet.Assign(me, to, "box", 1))))
			}
			var made, after atomic.Int64
			begun := make(chan struct{})
			for i, err := range together(9, func(i int) error {
				if i == 8 {
					<-begun
					err := places[round%2].reg.Partners.Block(w.vendor, p.ID, false)
					after.Store(w.rows("SELECT count(*) FROM prm_ledger_transfers"))
					return err
				}
				for {
					if _, err := l.Assign(me, to, "seat", 1); err != nil {
						if errors.Is(err, partner.ErrBlocked) || errors.Is(err, partner.ErrForbidden) {
							err = nil
						}
						return err
					}
					if made.Add(1) == int64(10+round) {
						close(begun)
					}
				}
			}) {
				if err != nil {
					t.Errorf("round %d, caller %d: %v", round, i, err)
				}
			}
			w.blocked(second(quiet.Assign(me, to, "box", 1)), "manual")
			if n := w.rows("SELECT count(*) FROM prm_ledger_transfers"); n != after.Load() {
				t.Errorf("round %d: %d transfers after the block had been answered", round, n-after.Load())
			}
			w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		}
		w.sound()
	})
}

// TestBEY12_ARefusalIsOfNow: what was too little, or over a cap, is not answered by heart once another process has changed it.
func TestBEY12_ARefusalIsOfNow(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p, other := w.partner("acme"), w.another()
		one, two, inside := w.project(p.me, "one"), w.project(p.me, "two"), w.login("acme")
		w.must(w.reg.Access.SwitchTo(inside, one))
		w.define("seat")
		w.grant(p.ID, "seat", 5)
		w.assign(p.me, one, "seat", 2)
		w.assign(p.me, two, "seat", 2)
		for round := range 10 {
			l := license.New(w.reg)
			all := func(n int64) error { // what the pool has, in a list
				list, err := l.AssignAll(p.me, []license.Move{{To: one, SKU: "seat", Quantity: n}}, false)
				return errors.Join(err, list[0].Err)
			}
			more := func(to partner.Holder, n int64) {
				w.must(second(other.seats.Grant(w.vendor, p.ID, "seat", n)))
				if to != p.ID {
					w.must(second(other.seats.Assign(p.me, to.(partner.AccountID), "seat", n)))
				}
			}
			for name, ask := range map[string]struct {
				of   partner.Holder
				call func(n int64) error
			}{
				"assign":    {p.ID, func(n int64) error { return second(l.Assign(p.me, one, "seat", n)) }},
				"crosswise": {one, func(n int64) error { return second(l.Assign(inside, two, "seat", n)) }},
				"return":    {one, func(n int64) error { return second(l.Return(inside, "seat", n)) }},
				"consume":   {two, func(n int64) error { return second(l.Consume(p.me, two, "seat", n)) }},
				"list":      {p.ID, all},
			} {
				more(ask.of, 2)
				w.must(ask.call(1)) // by what is asked, and remembered
				b, err := w.seats.Balance(w.vendor, ask.of, "seat")
				w.must(err)
				n := b.Available + 3
				if err := ask.call(n); !errors.Is(err, license.ErrInsufficient) {
					t.Errorf("round %d: %s of too much: %v", round, name, err)
				}
				more(ask.of, 4)
				if err := ask.call(n); err != nil {
					t.Errorf("round %d: %s of %d: %v", round, name, n, err)
				}
			}
		}
		w.sound()
	})
}
