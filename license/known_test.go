package license_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// another opens the same database once more, as another process does: it remembers nothing of what this one does.
func (w *world) another() *world {
	w.t.Helper()
	own := *w
	own.db = &dbtest.Database{DB: w.db.Open(w.t, &gorm.Config{}), Kind: w.db.Kind, DSN: w.db.DSN}
	reg, err := partner.Open(context.Background(), own.db.DB, &partner.Options{Clock: w.clock.Now, Hasher: plainHasher{}, Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	own.reg, own.seats = reg, license.New(reg)
	return &own
}

// meets returns when a call has met a lock that somebody else holds, or else has answered: true if it waits.
func (w *world) meets(answer chan error) bool {
	w.t.Helper()
	for w.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 0 {
		select {
		case err := <-answer:
			answer <- err
			return false
		default:
		}
	}
	return true
}

// TestBEY12_ARepeatedCallPassesItsGates: a call with a used key is answered by nobody who has not passed its gates, however well he remembers
// it; while somebody holds one alone, it waits.
func TestBEY12_ARepeatedCallPassesItsGates(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	p := w.partner("acme")
	to := w.project(p.me, "acme-project")
	w.define("seat")
	w.grant(p.ID, "seat", 10)
	again := func() (license.Transfer, error) { return w.seats.Assign(p.me, to, "seat", 1, license.Key("once")) }
	first, err := again()
	w.must(err)
	other := w.another()
	held := other.db.Begin()
	w.must(held.Error)
	w.must(other.reg.In(held).Partners.Unblock(w.vendor, p.ID)) // it lifts nothing, and holds the gate
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		tr, err := again()
		if err == nil && (tr.ID != first.ID || !tr.Replayed) {
			err = fmt.Errorf("answered %+v", tr)
		}
		done <- err
	}()
	if !w.meets(done) {
		t.Fatalf("answered while the gate was held: %v", <-done)
	}
	w.must(held.Commit().Error)
	w.must(<-done)
	w.must(errors.Join(other.reg.Partners.Block(w.vendor, p.ID, false)))
	_, err = again()
	w.blocked(err, "manual")
}

// TestBEY12_AListThatIsRememberedTakesNoMoreLocks: a server has room for some thousands of advisory locks. A list that takes few of them
// when nothing is known about it takes no more when all of it is.
func TestBEY12_AListThatIsRememberedTakesNoMoreLocks(t *testing.T) {
	const projects, room = 400, 300
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	p := w.partner("acme")
	w.define("seat")
	w.grant(p.ID, "seat", 10*projects)
	var list []license.Move
	for i := range projects {
		list = append(list, license.Move{To: w.project(p.me, fmt.Sprint("acme-", i)), SKU: "seat", Quantity: 1})
	}
	other := w.another()
	locks := func() int64 {
		held := other.db.Begin()
		w.must(held.Error)
		_, err := license.New(other.reg.In(held)).Grant(w.vendor, p.ID, "seat", 1) // the pool is in its hands now
		w.must(err)
		done := make(chan error, 1)
		go func() {
			_, err := w.seats.AssignAll(p.me, list, true)
			done <- err
		}()
		if !w.meets(done) {
			t.Fatalf("the list did not wait: %v", <-done)
		}
		n := w.rows(`SELECT max(n) FROM (SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory'
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY pid) x`)
		w.must(held.Commit().Error)
		w.must(<-done)
		return n
	}
	if n := locks(); n > room {
		t.Errorf("a list that nothing is known about takes %d locks", n)
	}
	for i := 0; i < projects; i += 100 {
		_, err := w.seats.AssignAll(p.me, list[i:i+100], true)
		w.must(err)
	}
	if n := locks(); n > room {
		t.Errorf("a list that is remembered takes %d locks", n)
	}
}

// TestPIL12_ACascadeTakenBackIsForgotten: a call that has seen an organisation blocked from above, and commits when that has been taken back,
// leaves nothing behind that those of the organisation are still refused by.
func TestPIL12_ACascadeTakenBackIsForgotten(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	top, below := w.partner("top"), w.partner("below")
	w.must(w.reg.Partners.MoveUnder(w.vendor, below.ID, top.ID))
	w.define("seat")
	w.grant(below.ID, "seat", 10)
	w.must(w.reg.Partners.Block(w.vendor, top.ID, true))
	other := w.another()
	balance, block := other.db.Begin(), other.db.Begin()
	w.must(errors.Join(balance.Error, block.Error))
	defer balance.Rollback()
	defer block.Rollback()
	_, err := license.New(other.reg.In(balance)).Grant(w.vendor, below.ID, "seat", 1)
	w.must(err)
	// Blocking again without the cascade takes it back. It waits for what may hold rows below.
	taken := make(chan error, 1)
	go func() { taken <- other.reg.In(block).Partners.Block(w.vendor, top.ID, false) }()
	waited := w.meets(taken)
	slow := make(chan error, 1)
	go func() {
		_, err := w.seats.Grant(w.vendor, below.ID, "seat", 1)
		slow <- err
	}()
	if waited {
		w.must(balance.Rollback().Error)
		w.must(<-taken)
	} else if !w.meets(slow) {
		t.Fatal("the grant did not wait for the balance")
	}
	w.must(block.Commit().Error)
	me := w.login("below")
	w.project(me, "below-project") // remembers the organisation as it is
	if !waited {
		w.must(balance.Rollback().Error)
	}
	w.must(<-slow)
	w.project(me, "another-project")
}

// TestBEY13_ABatchByHeart: a batch that is decided on by memory, while some of its callers have been blocked, closed, logged out or switched
// since, one is held up and one is new, answers those whom nothing has happened to, leaves the others alone and nothing behind, and alone
// each is told what has become of it.
func TestBEY13_ABatchByHeart(t *testing.T) {
	for _, wait := range []bool{false, true} {
		for _, stranger := range []bool{false, true} {
			for _, held := range []bool{false, true} {
				t.Run(fmt.Sprint("waiting ", wait, ", a stranger ", stranger, ", held ", held), func(t *testing.T) {
					dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
						if !held || db.Kind == dbtest.Postgres && !wait { // SQLite has one writer, and who waits is held up
							byHeart(newWorld(t, db), wait, stranger, held)
						}
					})
				})
			}
		}
	}
}

func byHeart(w *world, wait, stranger, held bool) {
	other := w.another()
	w.define("seat")
	names := []string{"free", "repeats", "blocked", "closed", "suspended", "gone", "switched", "held", "new"}
	sides, to := map[string]side{}, map[string]partner.AccountID{}
	var first license.Transfer
	for _, name := range names {
		s := w.partner(name)
		w.grant(s.ID, "seat", 10)
		sides[name], to[name] = s, w.project(s.me, name+"-project")
		first = w.assign(s.me, to[name], "seat", 1, license.Key("first")) // the last is not repeated
		if name == "repeats" {
			defer func(repeated license.Transfer) { w.has(to["repeats"], "seat", repeated.ToAfter+1) }(first)
		}
	}
	for _, name := range names {
		w.assign(sides[name].me, to[name], "seat", 1)
	}
	var list []license.Caught
	var of []string
	catch := func(name string, me context.Context, o ...license.Option) {
		c, err := license.Catch(w.seats, func(l *license.Ledger) (license.Transfer, error) {
			return l.Assign(me, to[name], "seat", 2, append(o, license.From(sides[name].ID))...)
		})
		w.must(err)
		list, of = append(list, c), append(of, name)
	}
	for _, name := range names[:7] {
		catch(name, sides[name].me)
	}
	c, err := license.Catch(w.seats, func(l *license.Ledger) (license.Transfer, error) {
		return l.Assign(sides["repeats"].me, to["repeats"], "seat", 1, license.Key("first"))
	})
	w.must(err)
	list[1] = c
	if stranger {
		catch("new", w.login("new"))
	}
	_, err = other.reg.Accounts.Close(sides["closed"].me, to["closed"])
	w.must(errors.Join(err, other.reg.Partners.Block(w.vendor, sides["blocked"].ID, true), other.reg.Accounts.Suspend(w.vendor, to["suspended"]),
		other.reg.Access.Logout(sides["gone"].me), other.reg.Access.SwitchTo(sides["switched"].me, to["switched"])))
	if held {
		catch("held", sides["held"].me)
		tx := other.db.Begin()
		w.must(tx.Error)
		defer func() { // nobody has learnt what it was before
			w.must(tx.Commit().Error)
			_, err := w.seats.Assign(sides["held"].me, to["held"], "seat", 1)
			w.blocked(err, "manual")
			w.has(to["held"], "seat", 2)
		}()
		w.must(other.reg.In(tx).Partners.Block(w.vendor, sides["held"].ID, false))
	}
	before := w.events()
	_, errs, alone := license.Together(context.Background(), w.seats, list, wait)
	made := 0
	for i, name := range of {
		fine := name == "free" || name == "repeats" || name == "new"
		if alone[i] == fine || fine && errs[i] != nil {
			w.t.Errorf("%s is answered with %v, alone %v", name, errs[i], alone[i])
		}
		if fine && name != "repeats" {
			made++
		}
	}
	if n := w.events() - before; n != made {
		w.t.Errorf("%d events of %d moves", n, made)
	}
	w.has(to["free"], "seat", 4)
	for name, n := range map[string]int64{"blocked": 2, "suspended": 2, "closed": 0, "gone": 2, "switched": 2} {
		w.has(to[name], "seat", n)
	}
	for name, want := range map[string]error{"blocked": partner.ErrBlocked, "suspended": partner.ErrSuspended, "closed": partner.ErrBlocked,
		"gone": partner.ErrForbidden, "switched": license.ErrWrongContext} {
		if _, err := w.seats.Assign(sides[name].me, to[name], "seat", 1, license.From(sides[name].ID)); !errors.Is(err, want) {
			w.t.Errorf("%s is told %v, want %v", name, err, want)
		}
	}
	w.sound()
}
