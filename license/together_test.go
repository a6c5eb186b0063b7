package license_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// crowd is a world of everything that a call can meet, made by a script: two of one seed are alike down to their ids.
type crowd struct {
	*world
	r        *rand.Rand
	sessions map[string]context.Context
	who      []string // the names of sessions
	projects []partner.AccountID
	holders  []partner.Holder
}

var crowdSKUs = []string{"seat", "box", "old", "unknown"}

func newCrowd(t testing.TB, db *dbtest.Database, seed uint64) *crowd {
	c := &crowd{world: &world{t: t, db: db, clock: &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}, sessions: map[string]context.Context{}}
	c.r = rand.New(rand.NewPCG(seed, 2))
	ids := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	reg, err := partner.Open(context.Background(), db.DB, &partner.Options{Clock: c.clock.Now, Hasher: plainHasher{}, Logger: slog.New(slog.DiscardHandler),
		Random: func(b []byte) { _, _ = ids.Read(b) }})
	c.must(err)
	c.reg, c.seats = reg, license.New(reg)
	c.vendor = partner.AsVendor(context.Background(), "ops@vendor.example")
	for _, sku := range crowdSKUs[:3] {
		c.define(sku)
	}
	c.session("host", c.vendor)
	c.session("nobody", context.Background())
	for i, fate := range []string{"", "", "blocked", "archived", "users blocked"} {
		c.settle(fmt.Sprint("p", i), fate)
	}
	c.must(c.seats.Retire(c.vendor, "old"))
	return c
}

func (c *crowd) session(name string, ctx context.Context) {
	c.sessions[name] = ctx
	c.who = append(c.who, name)
}

func (c *crowd) chance(n int) bool { return c.r.IntN(n) == 0 }

// settle makes a partner with projects in all states, what they have, and who acts for them; then its fate.
func (c *crowd) settle(login, fate string) {
	p := c.partner(login)
	c.holders = append(c.holders, p.ID)
	c.session(login, p.me)
	soon := c.clock.Now().Add(time.Hour)
	for _, sku := range crowdSKUs[:3] {
		c.grant(p.ID, sku, 40+c.r.Int64N(20))
		if c.chance(2) {
			c.grant(p.ID, sku, 1+c.r.Int64N(9), license.Valid(partner.Period{Until: soon}))
			c.grant(p.ID, sku, 1+c.r.Int64N(9), license.Valid(partner.Period{From: soon}))
		}
	}
	var own []partner.AccountID
	for i := range 4 {
		name := fmt.Sprint(login, "-", i)
		id := c.project(p.me, name)
		own, c.projects, c.holders = append(own, id), append(c.projects, id), append(c.holders, id)
		if i < 3 && fate == "" {
			c.furnish(p.me, id)
		}
		c.session(name, c.login(name))
		if i > 0 {
			there := c.login(login)
			c.must(c.reg.Access.SwitchTo(there, id))
			c.session("in "+name, there)
		}
	}
	gone, late := c.login(login), c.login(login)
	c.must(c.reg.Access.Logout(gone))
	c.session(login+" gone", gone)
	s, err := c.reg.Access.Login(late, login, password, "")
	c.must(err)
	c.session(login+" late", partner.WithSession(context.Background(), s))
	c.must(c.db.Exec("UPDATE prm_sessions SET ends_at = 1 WHERE id = ?", s.ID).Error)
	c.must(c.reg.Accounts.Suspend(c.vendor, own[1]))
	c.close(p.me, own[2])
	var last error
	switch fate {
	case "blocked":
		last = c.reg.Partners.Block(c.vendor, p.ID, false)
	case "users blocked":
		last = c.reg.Partners.BlockUsers(c.vendor, p.ID, false)
	case "archived":
		last = c.db.Exec("UPDATE prm_partners SET state = 'archived' WHERE id = ?", p.ID).Error
	}
	c.must(last)
}

// furnish gives a project something, a cap, seats in use and a reservation.
func (c *crowd) furnish(me context.Context, id partner.AccountID) {
	for _, sku := range crowdSKUs[:3] {
		n := 4 + c.r.Int64N(8)
		c.assign(me, id, sku, n)
		if c.chance(3) {
			c.must(c.seats.Cap(c.vendor, id, sku, n+c.r.Int64N(6)))
		}
		for i := range 2 + c.r.IntN(3) {
			_, err := c.seats.Seat(me, id, sku, fmt.Sprint("person ", i))
			c.must(err)
		}
		if c.chance(4) {
			_, _ = c.seats.Reserve(me, id, sku, 1, 0) // if the seats let it
		}
	}
}

// call is one call, as it can be made on either of two equal worlds.
type call struct {
	who   string
	what  string
	keyed bool
	ask   func(context.Context, *license.Ledger) (license.Transfer, error)
}

func (k call) do(c *crowd, l *license.Ledger) (license.Transfer, error) {
	return k.ask(c.sessions[k.who], l)
}

// draw makes a random call: of a live session mostly, to its own projects mostly.
func (c *crowd) draw(r *rand.Rand) call {
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	side := r.IntN(2)
	who := strings.ReplaceAll(pick([]string{"p#", "p#", "p#", "in p#-3", "in p#-3", "p#-0", "p#-3"}), "#", fmt.Sprint(side))
	to := c.projects[side*4+r.IntN(2)*3] // both are active
	if r.IntN(5) == 0 {
		who = pick(c.who)
	}
	switch r.IntN(16) {
	case 0:
		to = partner.AccountID(pick([]string{"acc_00000000000000000000000000", "", "acc_\xff", c.holders[0].String()}))
	case 1, 2:
		to = c.projects[r.IntN(len(c.projects))]
	}
	sku, n := crowdSKUs[0], 1+r.Int64N(9)
	if r.IntN(3) == 0 {
		sku = pick(crowdSKUs)
	}
	var o []license.Option
	made := call{who: who, what: fmt.Sprintf("%d %s to %q", n, sku, to)}
	if r.IntN(2) == 0 {
		key := fmt.Sprint("k", r.IntN(12))
		o, made.keyed, made.what = append(o, license.Key(key)), true, made.what+" "+key
	}
	if r.IntN(6) == 0 {
		from := c.holders[r.IntN(10)]
		o, made.what = append(o, license.From(from)), made.what+" from "+from.String()
	}
	if r.IntN(9) == 0 {
		o, made.what = append(o, license.Effective(c.clock.t.Add(-time.Hour))), made.what+" effective"
	}
	switch verb := r.IntN(4); verb {
	case 0:
		made.what = "return " + made.what
		made.ask = func(me context.Context, l *license.Ledger) (license.Transfer, error) {
			return l.Return(me, sku, n, o...)
		}
	case 1:
		made.what = "consume " + made.what
		made.ask = func(me context.Context, l *license.Ledger) (license.Transfer, error) {
			return l.Consume(me, to, sku, n, o...)
		}
	default:
		made.what = "assign " + made.what
		made.ask = func(me context.Context, l *license.Ledger) (license.Transfer, error) {
			return l.Assign(me, to, sku, n, o...)
		}
	}
	return made
}

// answer is what a call answered.
type answer struct {
	transfer license.Transfer
	err      error
	keyed    bool
}

// comparable leaves out what no two runs have in common: ids, instants, and the keys that were made.
func (a answer) comparable() license.Transfer {
	t := a.transfer
	t.ID, t.Recorded, t.Effective = 0, time.Time{}, time.Time{}
	if !a.keyed {
		t.Key = ""
	}
	return t
}

var sentinels = []error{partner.ErrInvalid, partner.ErrNotFound, partner.ErrExists, partner.ErrForbidden, partner.ErrRefused, partner.ErrConflict,
	partner.ErrUnavailable, partner.ErrBlocked, partner.ErrPending, partner.ErrSuspended, partner.ErrQuota, partner.ErrUnknownCode,
	partner.ErrIdempotencyMismatch, partner.ErrOutcomeUnknown, partner.ErrBadTransition, license.ErrInsufficient, license.ErrWrongContext,
	license.ErrExpired, license.ErrReservationDone, license.ErrShrinkPlanRequired}

// differs tells how two answers differ; a batch has no verb before its error.
func (a answer) differs(single answer) string {
	if (a.err == nil) != (single.err == nil) {
		return fmt.Sprintf("%v, alone %v", a.err, single.err)
	}
	for _, s := range sentinels {
		if errors.Is(a.err, s) != errors.Is(single.err, s) {
			return fmt.Sprintf("%v, alone %v", a.err, single.err)
		}
	}
	if a.err != nil && !strings.HasSuffix(single.err.Error(), a.err.Error()) {
		return fmt.Sprintf("%v, alone %v", a.err, single.err)
	}
	if a.err == nil && !reflect.DeepEqual(a.comparable(), single.comparable()) {
		return fmt.Sprintf("%+v\nalone %+v", a.comparable(), single.comparable())
	}
	return ""
}

// batch makes calls as one batch and then, in their order, those that it left alone. It returns the order they were decided in.
func (c *crowd) batch(calls []call, wait bool) (answers []answer, order []int, decided int) {
	answers = make([]answer, len(calls))
	var list []license.Caught
	var of, left []int
	for i, k := range calls {
		caught, err := license.Catch(c.seats, func(l *license.Ledger) (license.Transfer, error) { return k.do(c, l) })
		if err != nil {
			answers[i] = answer{err: err, keyed: k.keyed}
			left = append(left, i) // refused before there was a move; it is nowhere in the order
			continue
		}
		list, of = append(list, caught), append(of, i)
	}
	transfers, errs, alone := license.Together(context.Background(), c.seats, list, wait)
	for n, i := range of {
		if answers[i] = (answer{transfers[n], errs[n], calls[i].keyed}); alone[n] {
			left = append(left, i)
			continue
		}
		order, decided = append(order, i), decided+1
	}
	for _, i := range left {
		if answers[i].err != nil && len(answers[i].transfer.Key) > 0 {
			c.t.Errorf("%s: %s: left alone with an answer", calls[i].who, calls[i].what)
		}
		tr, err := calls[i].do(c, c.seats)
		answers[i], order = answer{tr, err, calls[i].keyed}, append(order, i)
	}
	return answers, order, decided
}

// madeKey are the keys that are made where none is given.
var madeKey = regexp.MustCompile(`key_[0-9A-Z]{26}`)

// state is all that calls leave behind, in the order of its text; what time has done in the meantime is written down first, for a call
// that is refused alone does not, and in a batch it does.
func (c *crowd) state() []string {
	for more := true; more; {
		var err error
		more, err = c.seats.Step(c.vendor)
		c.must(err)
	}
	var all []string
	for _, q := range []string{
		`SELECT owner || ' ' || unit || ' ' || state || ' ' || lot || ' ' || amount || ' ' || lots || ' ' || seats || ' ' || cap || ' ' || due
			FROM prm_ledger_balances WHERE recorded > 0 OR cap >= 0 ORDER BY 1`,
		`SELECT t.verb || ' ' || t.unit || ' ' || t.quantity || ' ' || t.partner_id || ' ' || t.actor || ' ' || t.reason || ' ' || t.key || ' ' || t.hash || ' ' ||
			f.owner || f.state || f.lot || ' ' || o.owner || o.state || o.lot || ' ' || t.from_after || ' ' || t.to_after || ' ' || t.part || '/' || t.parts
			FROM prm_ledger_transfers t JOIN prm_ledger_balances f ON f.id = t.from_id JOIN prm_ledger_balances o ON o.id = t.to_id ORDER BY 1`,
		`SELECT kind || ' ' || actor || ' ' || subject || ' ' || partner_id || ' ' || COALESCE(account_id, '') || ' ' || target || ' ' || changed
			FROM prm_events ORDER BY 1`,
		`SELECT owner || ' ' || unit || ' ' || state || ' ' || quantity FROM prm_ledger_reservations ORDER BY 1`,
		`SELECT owner || ' ' || unit || ' ' || person || ' ' || CASE WHEN ended_at = 0 THEN 'in use' ELSE 'ended' END FROM prm_ledger_seats ORDER BY 1`,
	} {
		var rows []string
		c.must(c.db.Raw(q).Scan(&rows).Error)
		all = append(all, rows...)
	}
	for i := range all {
		all[i] = madeKey.ReplaceAllString(all[i], "key")
	}
	return sorted(all)
}

func sorted(list []string) []string {
	list = append([]string(nil), list...)
	slices.Sort(list)
	return list
}

// TestBEY13_ABatchOfNEqualsNSingles: whatever comes together in a commit is answered, and done, as if each had come alone in some order.
func TestBEY13_ABatchOfNEqualsNSingles(t *testing.T) {
	for _, kind := range []string{dbtest.SQLite, dbtest.Postgres} {
		t.Run(kind, func(t *testing.T) {
			kinds := map[string]int{}
			for seed := range uint64(3) {
				batchEqualsSingles(t, kind, seed, kinds)
			}
			t.Logf("what was answered together: %v", kinds)
			for _, k := range []string{"accepted", "repeated", "insufficient", "quota", "seats", "mismatch", "passing", "waiting"} {
				if kinds[k] == 0 {
					t.Errorf("no batch answered one %s: the test has lost its teeth", k)
				}
			}
		})
	}
}

func batchEqualsSingles(t *testing.T, kind string, seed uint64, kinds map[string]int) {
	t.Helper()
	one, other := newCrowd(t, dbtest.New(t, kind), seed), newCrowd(t, dbtest.New(t, kind), seed)
	r := rand.New(rand.NewPCG(seed, 3))
	var past []call // to be repeated
	for round := range 6 {
		if round == 4 { // the lots of an hour run out or begin, the sessions are stale
			one.clock.Advance(2 * time.Hour)
			other.clock.t = one.clock.t
		}
		calls := make([]call, 1+r.IntN(50))
		for i := range calls {
			if calls[i] = one.draw(r); r.IntN(3) == 0 && len(past) > 0 {
				if calls[i] = past[r.IntN(len(past))]; r.IntN(3) == 0 { // from elsewhere
					calls[i].who = []string{"p0", "in p0-3", "p1", "in p1-3"}[r.IntN(4)]
				}
			}
			if calls[i].keyed {
				past = append(past, calls[i])
			}
		}
		together, order, decided := one.batch(calls, round%2 == 1)
		for n, i := range order {
			tr, err := calls[i].do(other, other.seats)
			alone := answer{tr, err, calls[i].keyed}
			if why := together[i].differs(alone); why != "" {
				t.Errorf("%s, seed %d, round %d, call %d, %s: %s: %s", kind, seed, round, i, calls[i].who, calls[i].what, why)
			}
			if n < decided {
				kinds[together[i].kind()]++
				kinds[[]string{"passing", "waiting"}[round%2]]++
			}
		}
		if a, b := one.state(), other.state(); !reflect.DeepEqual(a, b) {
			t.Fatalf("%s, seed %d, round %d: left behind\n%s", kind, seed, round, difference(a, b))
		}
	}
	one.sound()
	other.sound()
}

// TestBEY13_ABatchThatFailsAnswersNobody: what was not committed is left to be done alone, and has not been done.
func TestBEY13_ABatchThatFailsAnswersNobody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(10)
		w.assign(a.me, one, "seat", 1)
		for _, wait := range []bool{false, true} {
			var list []license.Caught
			for range 3 {
				caught, err := license.Catch(w.seats, func(l *license.Ledger) (license.Transfer, error) { return l.Assign(a.me, one, "seat", 2) })
				w.must(err)
				list = append(list, caught)
			}
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_, errs, alone := license.Together(ended, w.seats, list, wait)
			for i := range list {
				if errs[i] == nil || !alone[i] {
					t.Errorf("move %d was answered %v", i, errs[i])
				}
			}
			w.has(one, "seat", 1)
		}
		w.sound()
	})
}

func (a answer) kind() string {
	switch {
	case a.err == nil && a.transfer.Replayed:
		return "repeated"
	case a.err == nil:
		return "accepted"
	}
	for name, s := range map[string]error{"insufficient": license.ErrInsufficient, "quota": partner.ErrQuota, "seats": license.ErrShrinkPlanRequired,
		"mismatch": partner.ErrIdempotencyMismatch} {
		if errors.Is(a.err, s) {
			return name
		}
	}
	return a.err.Error()
}

// difference shows the lines that only one of two sorted lists has.
func difference(a, b []string) string {
	var out strings.Builder
	count := map[string]int{}
	for _, l := range a {
		count[l]++
	}
	for _, l := range b {
		count[l]--
	}
	for l, n := range count {
		if n != 0 {
			_, _ = fmt.Fprintf(&out, "%+d %s\n", n, l)
		}
	}
	return out.String()
}
