package license_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// twin is one of two equal worlds that the same happens to: in one by calls of a Ledger that remembers and of another process, in the other by
// Ledgers that know nothing.
type twin struct {
	*crowd
	elsewhere *world
	told      []heard
}

// change is something that happens to both worlds, in another process.
func change(r *rand.Rand, round, side int, now time.Time) (what string, do func(*twin) error) {
	n, person := 1+r.Int64N(6), fmt.Sprint("late ", r.IntN(99))
	login, project, soon := fmt.Sprint("p", side), side*4+3, now.Add(time.Duration(1+r.IntN(9))*time.Second+time.Second/2)
	pool := func(c *twin) partner.ID { return c.holders[side*5].(partner.ID) }
	// What makes a balance more than a number comes last: it stays so.
	all := []func(c *twin, l *license.Ledger) error{
		func(c *twin, l *license.Ledger) error {
			for _, of := range []partner.Holder{pool(c), c.projects[project]} {
				t, err := c.tell(l, of, now)
				if c.told = append(c.told, t); err != nil {
					return err
				}
			}
			return nil
		},
		func(c *twin, l *license.Ledger) error {
			return l.Cap(c.vendor, c.projects[project], "plain", 2*n)
		},
		func(c *twin, l *license.Ledger) error { return second(l.Grant(c.vendor, pool(c), "plain", n)) },
		func(c *twin, l *license.Ledger) error {
			return second(l.Revoke(c.vendor, c.projects[project], "plain", n))
		},
		func(c *twin, l *license.Ledger) error {
			return second(l.Assign(c.sessions[login], c.projects[project], "plain", n))
		},
		func(c *twin, _ *license.Ledger) error {
			return c.elsewhere.reg.Partners.Block(c.vendor, pool(c), false)
		},
		func(c *twin, _ *license.Ledger) error {
			return c.elsewhere.reg.Access.SwitchTo(c.sessions["in "+login+"-3"], c.projects[side*4])
		},
		func(c *twin, _ *license.Ledger) error {
			return c.elsewhere.reg.Access.SwitchBack(c.sessions["in "+login+"-3"])
		},
		func(c *twin, _ *license.Ledger) error {
			return c.elsewhere.reg.Accounts.Suspend(c.vendor, c.projects[project])
		},
		func(c *twin, l *license.Ledger) error {
			return second(l.Seat(c.sessions[login], c.projects[project], "plain", person))
		},
		func(c *twin, l *license.Ledger) error {
			page, err := l.Seats(c.vendor, c.projects[project], "plain", partner.PageRequest{})
			if err != nil || len(page.Items) == 0 {
				return err
			}
			return l.Unseat(c.sessions[login], page.Items[0].ID)
		},
		func(c *twin, l *license.Ledger) error {
			return second(l.Grant(c.vendor, pool(c), "plain", n, license.Valid(partner.Period{Until: soon})))
		},
		func(c *twin, l *license.Ledger) error {
			return second(l.Grant(c.vendor, pool(c), "plain", n, license.Valid(partner.Period{From: soon})))
		},
		func(c *twin, l *license.Ledger) error {
			return second(l.Reserve(c.sessions[login], c.projects[project], "plain", n, soon.Sub(now)))
		},
	}
	i := round % len(all)
	return fmt.Sprint("change ", i, " of ", login, " ", n), func(c *twin) error { return all[i](c, c.elsewhere.seats) }
}

// restore takes back what ends a side's calls altogether.
func (c *twin) restore(side int) {
	pool, login := c.holders[side*5].(partner.ID), fmt.Sprint("p", side)
	c.must(c.reg.Partners.Unblock(c.vendor, pool))
	c.grant(pool, "plain", 25)
	for _, k := range []int{0, 3} {
		if err := c.reg.Accounts.Resume(c.vendor, c.projects[side*4+k]); !errors.Is(err, partner.ErrBadTransition) {
			c.must(err)
		}
		c.must(c.seats.Cap(c.vendor, c.projects[side*4+k], "plain", -1))
		c.must(second(c.seats.Assign(c.login(login), c.projects[side*4+k], "plain", 6)))
	}
	c.sessions[login], c.sessions["in "+login+"-3"] = c.login(login), c.login(login)
	c.must(c.reg.Access.SwitchTo(c.sessions["in "+login+"-3"], c.projects[side*4+3]))
}

// likely is a call of a side that it may make, of a quantity that may be there; the first verb is all that a project has.
func (c *twin) likely(r *rand.Rand, side, verb int) call {
	k, n, to := call{who: fmt.Sprint("p", side)}, 1+r.Int64N(5), c.projects[side*4]
	if verb == 0 {
		b, err := c.seats.Balance(c.vendor, c.projects[side*4+3], "plain")
		c.must(err)
		n = max(1, b.Available)
	}
	if verb < 4 {
		k.who = fmt.Sprint("in p", side, "-3")
	}
	k.what = fmt.Sprint(verb, " ", n, " to ", to)
	k.ask = func(me context.Context, l *license.Ledger) (license.Transfer, error) {
		switch verb {
		case 0, 1:
			return l.Return(me, "plain", n)
		case 5, 6:
			return l.Assign(me, c.projects[side*4+3], "plain", n)
		case 7:
			return l.Consume(me, to, "plain", n)
		}
		return l.Assign(me, to, "plain", n)
	}
	return k
}

// TestBEY12_ByHeartAsByTheBook: a Ledger that remembers answers as one that has to ask, whatever somebody else or time has changed since.
func TestBEY12_ByHeartAsByTheBook(t *testing.T) {
	for _, kind := range []string{dbtest.SQLite, dbtest.Postgres} {
		t.Run(kind, func(t *testing.T) {
			kinds := map[string]int{}
			byTheBook(t, kind, rand.Uint64N(1<<16), kinds)
			t.Logf("accepted %d, insufficient %d, quota %d, seats %d", kinds["accepted"], kinds["insufficient"], kinds["quota"], kinds["seats"])
			if kinds["accepted"] == 0 || kinds["insufficient"] == 0 {
				t.Error("the test has lost its teeth")
			}
		})
	}
}

func byTheBook(t *testing.T, kind string, seed uint64, kinds map[string]int) {
	t.Helper()
	one, book := &twin{crowd: newCrowd(t, dbtest.New(t, kind), seed)}, &twin{crowd: newCrowd(t, dbtest.New(t, kind), seed)}
	one.elsewhere, book.elsewhere = one.another(), book.world
	one.define("plain")
	book.define("plain")
	r := rand.New(rand.NewPCG(seed, 17))
	now := one.clock.Now().Truncate(time.Minute).Add(time.Minute)
	both := func(by time.Duration) {
		now = now.Add(by)
		one.clock.set(now)
		book.clock.set(now)
	}
	for round := range 28 { // twice each change, once of each side
		both(time.Second)
		side, heart, ways := (round+round/14)%2, license.New(one.reg), []string{}
		one.restore(side)
		book.restore(side)
		verbs := []int{4, 5, 2, 1, r.IntN(2) * 5, r.IntN(9), r.IntN(9), r.IntN(9)} // of accounts that are remembered, and then of one that has changed
		switch round % 14 {
		case 1: // a cap
			verbs[4] = 5
		case 6, 7, 9: // seats, where the session is
			verbs[4] = 0
		}
		for n := range 8 {
			both(time.Second)
			if n == 4 {
				what, do := change(r, round, side, now)
				if a, b := do(one), do(book); (a == nil) != (b == nil) {
					t.Fatalf("%s, seed %d, round %d: %s: %v and %v", kind, seed, round, what, a, b)
				}
				if ways = append(ways, what); round%14 == 0 || r.IntN(3) == 0 { // and a clock is set back
					both(-5 * time.Second)
				}
			}
			k := one.likely(r, side, verbs[n])
			if verbs[n] > 7 {
				k = one.draw(r)
			}
			x, xerr := k.do(one.crowd, heart)
			y, yerr := k.do(book.crowd, license.New(book.reg))
			a, b := answer{x, xerr, k.keyed}, answer{y, yerr, k.keyed}
			if ways = append(ways, fmt.Sprint(k.who, " ", k.what)); a.differs(b) != "" {
				t.Fatalf("%s, seed %d, round %d: %q: %s", kind, seed, round, ways, a.differs(b))
			}
			kinds[a.kind()]++
		}
	}
	session := func(line string) bool { return strings.Contains(line, " ses_") } // they have ids of their own
	if a, b := slices.DeleteFunc(one.state(), session), slices.DeleteFunc(book.state(), session); !reflect.DeepEqual(a, b) {
		t.Errorf("%s, seed %d: left behind\n%s", kind, seed, difference(a, b))
	}
	one.stays(one.told)
	one.sound()
	book.sound()
}
