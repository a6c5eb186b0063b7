package license_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// TestBEY12_TurnsNeedNoConnectionOfTheirOwn: commits that follow each other, one of them made again because of a used key, with as few
// connections as there can be: none waits for one that waits for its connection.
func TestBEY12_TurnsNeedNoConnectionOfTheirOwn(t *testing.T) {
	for conns := 1; conns <= 3; conns++ {
		t.Run(fmt.Sprint(conns, " connections"), func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				pool, err := w.db.DB.DB()
				w.must(err)
				w.define("seat")
				a := w.partner("acme")
				one := w.project(a.me, "one")
				w.grant(a.ID, "seat", 1000)
				w.assign(a.me, one, "seat", 1, license.Key("k"))
				pool.SetMaxOpenConns(conns)
				for range 12 {
					l := license.New(w.reg)
					w.must(second(l.Assign(a.me, one, "seat", 1)))
					ctx, cancel := context.WithTimeout(a.me, 5*time.Second) // a wait in a circle lasts longer
					for i, err := range together(4, func(i int) error {
						if i%2 == 0 {
							return second(l.Assign(ctx, one, "seat", 1, license.Key("k")))
						}
						return second(l.Assign(ctx, one, "seat", 1))
					}) {
						if err != nil {
							t.Errorf("call %d: %v", i, err)
						}
					}
					cancel()
				}
			})
		})
	}
}

// A Registry that is closed while a commit is made again, and another waits for its turn, ends both.
func TestBEY12_CloseEndsTurns(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	w.define("seat")
	a := w.partner("acme")
	one := w.project(a.me, "one")
	w.grant(a.ID, "seat", 1_000_000)
	w.assign(a.me, one, "seat", 1, license.Key("k"))
	for n := range 60 {
		reg, err := partner.Open(context.Background(), w.db.DB, &partner.Options{Clock: w.clock.Now, Hasher: plainHasher{}})
		w.must(err)
		l := license.New(reg)
		w.must(second(l.Assign(a.me, one, "seat", 1)))
		done := make(chan struct{})
		go func() {
			defer close(done)
			together(5, func(i int) error {
				switch {
				case i == 4:
					<-time.After(time.Duration(n*100) * time.Microsecond)
					return reg.Close()
				case i%2 == 0:
					return second(l.Assign(a.me, one, "seat", 1, license.Key("k")))
				}
				return second(l.Assign(a.me, one, "seat", 1))
			})
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d hangs", n)
		}
	}
}

// holdUp has the nth that asks for the time from now on go on late, with the time that it was told.
func (c *clock) holdUp(nth int) (reached, goOn chan struct{}) {
	reached, goOn = make(chan struct{}), make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = func() chan struct{} {
		if nth--; nth > 0 {
			return nil
		}
		c.late = nil
		close(reached)
		return goOn
	}
	return reached, goOn
}

// release holds nobody up any more.
func (c *clock) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = nil
}

// TestBEY15_WhatIsToldInAHostsTransactionIsTold: even if that is rolled back. A move that had its time before, and comes to the database after,
// is recorded later than what was told; one that holds its rows already is waited for.
func TestBEY15_WhatIsToldInAHostsTransactionIsTold(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	w.define("seat")
	a := w.partner("acme")
	one := w.project(a.me, "one")
	w.grant(a.ID, "seat", 100)
	w.assign(a.me, one, "seat", 1)
	passedBy := 0
	for nth := 1; nth <= 6; nth++ {
		w.assign(a.me, one, "seat", 1) // remembered
		reached, goOn := w.clock.holdUp(nth)
		moved := make(chan error, 1)
		go func() { moved <- second(w.seats.Assign(a.me, one, "seat", 1)) }()
		select {
		case <-reached:
		case err := <-moved: // it asks for the time less often
			w.clock.release()
			w.must(err)
			continue
		}
		told := make(chan license.Statement, 1)
		var until time.Time
		go func() {
			tx := w.db.Begin()
			st, err := license.New(w.reg.In(tx)).Statement(w.vendor, a.ID, "seat", partner.Period{})
			until = w.clock.Now()
			if err := errors.Join(tx.Error, err, tx.Rollback().Error); err != nil {
				t.Error(err)
			}
			told <- st
		}()
		var st license.Statement
		select {
		case st = <-told:
			passedBy++
			close(goOn)
		case <-time.After(300 * time.Millisecond):
			close(goOn)
			st = <-told
		}
		w.must(<-moved)
		again, err := w.seats.Statement(w.vendor, a.ID, "seat", partner.Period{Until: until})
		w.must(err)
		if len(again.Lines) != len(st.Lines) || again.Closing != st.Closing {
			t.Errorf("held up at the %dth time: told %d lines until %v, now %d", nth, len(st.Lines), until, len(again.Lines))
		}
	}
	if passedBy == 0 {
		t.Error("no move was held up before it held its rows")
	}
	w.sound()
}

// TestBEY12_EveryQueryModeOfPgx: a commit from memory works in each, a pooler's too, and stops at a block.
func TestBEY12_EveryQueryModeOfPgx(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			db := dbtest.New(t, dbtest.Postgres)
			db.DSN += " default_query_exec_mode=" + mode
			db.DB = db.Open(t, &gorm.Config{})
			w := newWorld(t, db)
			w.define("seat")
			a := w.partner("acme")
			one := w.project(a.me, "one")
			w.grant(a.ID, "seat", 100)
			for n := range int64(5) {
				if made := w.assign(a.me, one, "seat", 2); made.ToAfter != 2*n+2 {
					t.Errorf("the %dth move leaves %d, want %d", n+1, made.ToAfter, 2*n+2)
				}
			}
			if err := errors.Join(together(8, func(int) error { return second(w.seats.Assign(a.me, one, "seat", 1)) })...); err != nil {
				t.Error(err)
			}
			w.must(w.reg.Partners.Block(w.vendor, a.ID, false))
			w.is(second(w.seats.Assign(a.me, one, "seat", 1)), partner.ErrBlocked)
			w.sound()
		})
	}
}
