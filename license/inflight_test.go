package license_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// events counts the audit rows.
func (w *world) events() int {
	w.t.Helper()
	var n int64
	w.must(w.db.Raw("SELECT count(*) FROM prm_events").Scan(&n).Error)
	return int(n)
}

// TestBEY15_AStatedPeriodStays: a grant that is in flight when a period is stated is in that statement or in no earlier one; the
// statement waits for it.
func TestBEY15_AStatedPeriodStays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		w.grant(a.ID, "seat", 50)
		tx := w.db.Begin(&sql.TxOptions{})
		w.must(tx.Error)
		_, err := license.New(w.reg.In(tx)).Grant(w.vendor, a.ID, "seat", 7)
		w.must(err)
		w.clock.Advance(time.Hour)
		cut := w.clock.Now()
		type stated struct {
			closing, held int64
			err           error
		}
		answers := make(chan stated)
		go func() {
			st, err := w.seats.Statement(w.vendor, a.ID, "seat", partner.Period{Until: cut})
			if err != nil {
				answers <- stated{err: err}
				return
			}
			list, err := w.seats.HoldingsAt(w.vendor, a.ID, cut, cut)
			s := stated{closing: st.Closing, err: err}
			for _, b := range list {
				s.held = b.Available
			}
			answers <- s
		}()
		select {
		case s := <-answers:
			t.Errorf("stated %+v while a grant was in flight", s)
			w.must(tx.Commit().Error)
			return
		case <-time.After(300 * time.Millisecond): // it waits
		}
		w.must(tx.Commit().Error)
		first := <-answers
		w.must(first.err)
		next, err := w.seats.Statement(w.vendor, a.ID, "seat", partner.Period{From: cut})
		w.must(err)
		if first.closing != 57 || first.held != 57 || next.Opening != 57 {
			t.Errorf("closing %d, held %d, next opening %d; want 57", first.closing, first.held, next.Opening)
		}
		// A transaction that began before the cut and posts after it records after it.
		late := w.db.Begin(&sql.TxOptions{})
		w.must(late.Error)
		_, err = license.New(w.reg.In(late)).Grant(w.vendor, a.ID, "seat", 1)
		w.must(err)
		w.must(late.Commit().Error)
		again, err := w.seats.Statement(w.vendor, a.ID, "seat", partner.Period{Until: cut})
		w.must(err)
		if again.Closing != first.closing {
			t.Errorf("the stated period closed at %d, now at %d", first.closing, again.Closing)
		}
	})
}

// TestBEY15_NothingIsAStatementToo: the first grant that there ever was is waited for, when it is in flight.
func TestBEY15_NothingIsAStatementToo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		tx := w.db.Begin()
		w.must(tx.Error)
		_, err := license.New(w.reg.In(tx)).Grant(w.vendor, a.ID, "seat", 7)
		w.must(err)
		answer := make(chan license.Statement, 1)
		failed := make(chan error, 1)
		go func() {
			st, err := w.seats.Statement(w.vendor, a.ID, "seat", partner.Period{})
			answer <- st
			failed <- err
		}()
		select {
		case st := <-answer:
			t.Errorf("told %d while a grant was in flight", st.Closing)
			w.must(tx.Commit().Error)
			return
		case <-time.After(300 * time.Millisecond):
		}
		w.must(tx.Commit().Error)
		w.must(<-failed)
		if st := <-answer; st.Closing != 7 {
			t.Errorf("told %d, want 7", st.Closing)
		}
		other := w.partner("beta").ID
		for _, sku := range []string{"seat", "no-such-type"} {
			_, err = w.seats.Statement(w.vendor, other, sku, partner.Period{})
			w.must(err)
			if balances, err := w.seats.Balances(w.vendor, other); err != nil || len(balances) != 0 {
				t.Errorf("asking for a statement of %s made %v, %v", sku, balances, err)
			}
		}
		w.sound()
	})
}

// TestPIL12_ABlockIsSeenInARepeatableReadTransaction: what committed after the host's snapshot still decides; reads and writes say
// conflict, which means run the transaction again.
func TestPIL12_ABlockIsSeenInARepeatableReadTransaction(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	a, project := w.supplied(5)
	for name, call := range map[string]func(reg *partner.Registry) error{
		"write": func(reg *partner.Registry) error {
			_, err := license.New(reg).Assign(a.me, project, "seat", 1)
			return err
		},
		"read": func(reg *partner.Registry) error {
			_, err := license.New(reg).Balance(a.me, a.ID, "seat")
			return err
		},
		"list": func(reg *partner.Registry) error {
			_, err := reg.Partners.List(a.me, partner.PartnerFilter{}, partner.PageRequest{})
			return err
		},
	} {
		tx := w.db.WithContext(context.Background()).Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		w.must(tx.Error)
		w.must(tx.Exec("SELECT 1 FROM prm_license_types").Error) // the snapshot
		w.must(w.reg.Partners.Block(w.vendor, a.ID, false))
		err := call(w.reg.In(tx))
		w.must(tx.Rollback().Error)
		if err == nil {
			t.Errorf("%s: a call of the blocked was accepted", name)
		}
		w.is(err, partner.ErrConflict)
		w.must(w.reg.Partners.Unblock(w.vendor, a.ID))
		a.me = w.login("acme")
	}
	tx := w.db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}) // cannot lock, and still reads
	w.must(tx.Error)
	_, err := license.New(w.reg.In(tx)).Balance(a.me, a.ID, "seat")
	w.must(err)
	w.must(tx.Rollback().Error)
}

// TestBEY13_AKeyBelongsToItsSource: the same call from where the session works now is another move.
func TestBEY13_AKeyBelongsToItsSource(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(20)
		two := w.project(a.me, "two")
		w.assign(a.me, one, "seat", 8)
		w.assign(a.me, two, "seat", 8)
		w.must(w.reg.Access.SwitchTo(a.me, one))
		_, err := w.seats.Return(a.me, "seat", 5, license.Key("k"))
		w.must(err)
		w.must(w.reg.Access.SwitchTo(a.me, two))
		_, err = w.seats.Return(a.me, "seat", 5, license.Key("k"))
		w.is(err, partner.ErrIdempotencyMismatch)
		w.must(w.reg.Access.SwitchTo(a.me, one))
		again, err := w.seats.Return(a.me, "seat", 5, license.Key("k"))
		w.must(err)
		if !again.Replayed {
			t.Error("the first call's own repetition was not known")
		}
		w.has(one, "seat", 3)
		w.has(two, "seat", 8)
	})
}
