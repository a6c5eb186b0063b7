package partner_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// What a reviewer found.

// doing is an eraser by a function.
type doing struct {
	class string
	do    func(context.Context, partner.AccountID) (int, error)
}

func (d doing) Class() string { return d.class }

func (d doing) Erase(ctx context.Context, a partner.AccountID) (int, error) { return d.do(ctx, a) }

// erasing sets up a process with these erasers.
func erasing(list ...partner.Eraser) func(*partner.Options) {
	return func(o *partner.Options) { o.Erasers = list }
}

// confirmed closes an account, as if for a contact that cannot be reached.
func (w *world) confirmed(me context.Context, id partner.AccountID) {
	w.t.Helper()
	w.close(me, id)
	w.must(w.reg.Accounts.ConfirmCloseFor(w.vendor, id, "no answer"))
}

// TestBEY11_OneReceiptHoldsUpNoOther: what the host does not sign, or signs with a key that has no name, waits alone.
func TestBEY11_OneReceiptHoldsUpNoOther(t *testing.T) {
	var bad partner.AccountID
	key := "key"
	eachWith(t, func(o *partner.Options) {
		o.Signer = func(_ context.Context, m []byte) ([]byte, string, error) {
			if bytes.Contains(m, []byte(bad)) {
				return nil, "", errors.New("refused")
			}
			return []byte{0, 255}, key, nil
		}
	}, func(w *world) {
		_, me := w.partner("acme")
		a, b := w.project(me, "one"), w.project(me, "two")
		bad = a.ID
		w.confirmed(me, a.ID)
		w.confirmed(me, b.ID)
		for _, key = range []string{"\x00", "\xff", "a\nb", strings.Repeat("k", 5000)} {
			w.later(2 * time.Minute)
			w.is(second(w.reg.Accounts.Receipt(w.vendor, b.ID)), partner.ErrUnavailable)
		}
		key = "key"
		w.later(2 * time.Minute)
		w.must(second(w.reg.Accounts.Receipt(w.vendor, b.ID)))
		w.is(second(w.reg.Accounts.Receipt(w.vendor, a.ID)), partner.ErrUnavailable)
	})
}

// TestBEY11_AProcessWithoutAKeyFinishesNoReceipt that another one signs, until the vendor says that nobody does any more.
func TestBEY11_AProcessWithoutAKeyFinishesNoReceipt(t *testing.T) {
	eachWith(t, func(o *partner.Options) {
		o.Signer = func(context.Context, []byte) ([]byte, string, error) { return []byte("signed"), "key", nil }
	}, func(w *world) {
		_, me := w.partner("acme")
		w.later(2 * time.Minute)
		web := newWorldOn(w)
		a, b := w.project(me, "one"), w.project(me, "two")
		w.confirmed(me, a.ID)
		web.later(2 * time.Minute)
		w.is(second(w.reg.Accounts.Receipt(w.vendor, a.ID)), partner.ErrUnavailable)
		w.later(2 * time.Minute)
		if r, err := w.reg.Accounts.Receipt(w.vendor, a.ID); err != nil || r.KeyID != "key" {
			w.t.Fatalf("%+v, %v", r, err)
		}
		w.close(me, b.ID)
		w.must(web.reg.Accounts.ConfirmCloseFor(w.vendor, b.ID, "no answer"))
		w.must(w.reg.Accounts.RetireEraser(w.vendor, "signature", "no keys any more"))
		web.later(2 * time.Minute)
		if r, err := w.reg.Accounts.Receipt(w.vendor, b.ID); err != nil || r.KeyID != "" {
			w.t.Fatalf("%+v, %v", r, err)
		}
	})
}

// TestCLW20_FailingAccountsHideNoOther: two hundred in which the first class fails are put off, and Step does not say that there is more to do.
func TestCLW20_FailingAccountsHideNoOther(t *testing.T) {
	var good atomic.Value
	good.Store(partner.AccountID(""))
	w := newWorld(t, dbtest.New(t, dbtest.SQLite), erasing(doing{"first", func(_ context.Context, id partner.AccountID) (int, error) {
		if id == good.Load().(partner.AccountID) {
			return 1, nil
		}
		return 0, errors.New("its disk is broken")
	}}, newShelf().eraser("second")))
	_, me := w.partner("acme")
	for i := range 200 {
		w.confirmed(me, w.project(me, fmt.Sprint("p", i)).ID)
	}
	a := w.project(me, "good")
	good.Store(a.ID)
	w.clock.Advance(time.Minute)
	w.confirmed(me, a.ID)
	for range 3 {
		w.later(2 * time.Minute)
	}
	if got := w.stands(a.ID); got != "deleted" {
		t.Fatalf("it is %s", got)
	}
}

// TestCLW20_RetiredWhileItIsListed: a class that is retired while a confirmation lists it holds up nothing; above READ COMMITTED it is refused.
func TestCLW20_RetiredWhileItIsListed(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	old := newWorldOn(w, erasing(newShelf().eraser("old_class")))
	old.later(2 * time.Minute)
	_, me := w.partner("acme")
	a := w.project(me, "one")
	w.close(me, a.ID)
	snapshot := w.db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	w.is(w.reg.In(snapshot).Accounts.RetireEraser(w.vendor, "old_class", "gone"), partner.ErrInvalid)
	w.must(snapshot.Rollback().Error)
	tx := w.db.Begin()
	w.must(w.reg.In(tx).Accounts.ConfirmCloseFor(w.vendor, a.ID, "no answer"))
	done := make(chan error, 1)
	go func() { done <- w.reg.Accounts.RetireEraser(w.vendor, "old_class", "gone") }()
	w.blocked(1)
	w.must(tx.Commit().Error)
	w.must(<-done)
	w.later(2 * time.Minute)
	if r, err := w.reg.Accounts.Receipt(w.vendor, a.ID); err != nil || r.Kept["old_class"] != "gone" {
		t.Fatalf("%+v, %v, the account is %s", r, err, w.stands(a.ID))
	}
}

// TestCLW20_RetiredWhileItIsErased: what was erased is said to be.
func TestCLW20_RetiredWhileItIsErased(t *testing.T) {
	var w *world
	retire := doing{"old_class", func(context.Context, partner.AccountID) (int, error) {
		return 3, w.reg.Accounts.RetireEraser(w.vendor, "old_class", "there is none")
	}}
	eachWith(t, erasing(retire), func(on *world) {
		w = on
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.confirmed(me, a.ID)
		w.later(2 * time.Minute)
		if r, err := w.reg.Accounts.Receipt(w.vendor, a.ID); err != nil || r.Erased["old_class"] != 3 || r.Kept["old_class"] != "" {
			w.t.Fatalf("%+v, %v", r, err)
		}
	})
}

// TestCLW20_NamedWhileAnAccountGoes: a class that becomes known then is erased, or not waited for; never listed for nothing.
func TestCLW20_NamedWhileAnAccountGoes(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	late := newWorldOn(w, erasing(newShelf().eraser("late_class")))
	_, me := w.partner("acme")
	a, b := w.project(me, "one"), w.project(me, "two")
	w.confirmed(me, a.ID)
	w.close(me, b.ID)
	tx := w.db.Begin()
	w.must(late.reg.In(tx).Accounts.ConfirmCloseFor(w.vendor, b.ID, "no answer"))
	w.later(2 * time.Minute)
	w.must(tx.Commit().Error)
	for range 3 {
		late.later(2 * time.Minute)
		w.later(2 * time.Minute)
	}
	for _, id := range []partner.AccountID{a.ID, b.ID} {
		if c := w.closing(id); c.State != "deleted" || len(c.Erasures) > 0 && c.Erasures[0].Done.IsZero() {
			t.Errorf("%+v", c)
		}
	}
}

// TestBEY11_WhatWasDeletedBeforeAFailureCounts.
func TestBEY11_WhatWasDeletedBeforeAFailureCounts(t *testing.T) {
	var calls int
	locked := doing{workData, func(context.Context, partner.AccountID) (int, error) {
		if calls++; calls%2 == 1 {
			return 10, errors.New("password=hunter2: the last two are locked")
		}
		return 2, nil
	}}
	eachWith(t, erasing(locked), func(w *world) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.confirmed(me, a.ID)
		w.later(2 * time.Minute)
		page, err := w.reg.Accounts.Closings(me, "erasing", partner.PageRequest{})
		w.must(err)
		if e := page.Items[0].Erasures[0]; e.Failures != 1 || e.Count != 10 || e.Error != "" { // which is for the vendor
			w.t.Fatalf("%+v", e)
		}
		w.later(5 * time.Minute)
		if r, err := w.reg.Accounts.Receipt(w.vendor, a.ID); err != nil || r.Erased[workData] != 12 {
			w.t.Fatalf("%+v, %v", r, err)
		}
	})
}

type badError struct{}

func (badError) Error() string { panic("a bug in Error") }

// TestCLW20_AnErrorThatPanics is a failure like others.
func TestCLW20_AnErrorThatPanics(t *testing.T) {
	bad := doing{workData, func(context.Context, partner.AccountID) (int, error) { return 0, badError{} }}
	eachWith(t, erasing(bad), func(w *world) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		w.confirmed(me, a.ID)
		w.later(2 * time.Minute)
		if e := w.closing(a.ID).Erasures[0]; e.Failures != 1 || e.Error != "it panicked" {
			w.t.Fatalf("%+v", e)
		}
	})
}

// TestCLW20_AHangingEraserHoldsUpNoOther account, and nothing else that is swept; when the process stops it is waited for a moment, and has not failed.
func TestCLW20_AHangingEraserHoldsUpNoOther(t *testing.T) {
	var bad atomic.Value
	begun, ended := make(chan struct{}, 1), atomic.Bool{}
	w := newWorld(t, dbtest.New(t, dbtest.SQLite), erasing(doing{workData, func(ctx context.Context, id partner.AccountID) (int, error) {
		if id != bad.Load().(partner.AccountID) {
			return 1, nil
		}
		begun <- struct{}{}
		<-ctx.Done()
		<-time.NewTimer(100 * time.Millisecond).C // it rolls its transaction back
		ended.Store(true)
		return 0, ctx.Err()
	}}))
	_, me := w.partner("acme")
	a, b, c := w.project(me, "one"), w.project(me, "two"), w.project(me, "three")
	bad.Store(a.ID)
	m := w.member(me, c.ID, partner.NewMember{Kind: partner.Guest, Email: "g@x.example", Roles: []string{"viewer"}})
	w.confirmed(me, a.ID)
	w.clock.Advance(time.Second)
	w.confirmed(me, b.ID)
	w.clock.Advance(20 * day) // the invitation lapses
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- w.reg.Run(ctx) }()
	<-begun
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); w.stands(b.ID) != "deleted" || rowsIn(t, w.db, "prm_members WHERE id = ? AND state = 'lapsed'", m.ID) != 1; {
		if time.Now().After(end) {
			t.Fatalf("the other account is %s", w.stands(b.ID))
		}
		<-tick.C
	}
	w.must(w.reg.Close())
	if !ended.Load() {
		t.Error("Close has returned, and the eraser is still at it")
	}
	<-done
	var failures int
	w.must(w.db.Raw("SELECT failures FROM prm_erasures WHERE account_id = ?", a.ID).Scan(&failures).Error)
	if failures != 0 {
		t.Errorf("that it was stopped counts as %d failures", failures)
	}
}

// TestCLW22_NoPlaceIsLost: the number of accounts of a type is right, whoever opens the first one under a limit while another goes.
func TestCLW22_NoPlaceIsLost(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	partners, sessions := make([]partner.ID, 30), make([]context.Context, 30)
	for i := range partners {
		p, me := w.partner(fmt.Sprint("p", i))
		w.confirmed(me, w.project(me, fmt.Sprint("old", i)).ID)
		partners[i], sessions[i] = p.ID, me
	}
	w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "project", Quota: partner.Quota{Guests: -1}, MaxPerPartner: 50}))
	w.clock.Advance(2 * time.Minute)
	var group sync.WaitGroup
	group.Go(func() {
		if err := second(w.reg.Step(context.Background())); err != nil {
			t.Error(err)
		}
	})
	for i, me := range sessions {
		if err := second(w.reg.Accounts.OpenProject(me, newProject(fmt.Sprint("new", i)))); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	w.later(2 * time.Minute)
	for _, id := range partners {
		var used int64
		w.must(w.db.Raw("SELECT COALESCE(max(used), 0) FROM prm_quotas WHERE partner_id = ? AND account_id = '' AND kind = 'project'", id).Scan(&used).Error)
		if there := rowsIn(t, w.db, "prm_accounts WHERE partner_id = ? AND state <> 'deleted'", id); used != there {
			t.Errorf("%s has %d accounts, counted are %d", id, there, used)
		}
	}
}

// TestCLW22_NoByteIsLeftInTheFile of SQLite, after many edits that have had rows move between pages.
func TestCLW22_NoByteIsLeftInTheFile(t *testing.T) {
	for _, seed := range []uint64{4, 9, 11} { // of which a file with secure_delete alone keeps some
		w := newWorld(t, dbtest.New(t, dbtest.SQLite))
		r := rand.New(rand.NewPCG(seed, 1))
		_, me := w.partner("acme")
		text := func(s string, n int) string { return s + strings.Repeat("z", r.IntN(n)) }
		var list []partner.Account
		var marks []string
		for i := range 300 {
			mark, n := "other", newProject(fmt.Sprintf("o-%04d", i))
			if r.IntN(3) > 0 {
				mark, n = canary, newProject(fmt.Sprintf("%s-%04d", canary, i))
			}
			n.Name, n.Company = fmt.Sprintf("%s %04d ", mark, i)+strings.Repeat("q", r.IntN(180)), text(mark, 180)
			a, err := w.reg.Accounts.OpenProject(me, n)
			w.must(err)
			list, marks = append(list, a), append(marks, mark)
			for range 2 {
				k := r.IntN(len(list))
				list[k], err = w.reg.Accounts.EditProject(me, list[k].ID, list[k].Version, func(n *partner.NewProject) {
					n.Company = text(marks[k], 180)
					n.Name = fmt.Sprintf("%s %04d ", marks[k], k) + strings.Repeat("q", r.IntN(180))
				})
				w.must(err)
			}
		}
		for i, a := range list {
			if marks[i] == canary {
				w.confirmed(me, a.ID)
			}
		}
		w.later(2 * time.Minute)
		w.later(2 * time.Minute)
		if n := rowsIn(t, w.db, "prm_closings WHERE state <> 'done'"); n > 0 {
			t.Fatalf("%d are not proved", n)
		}
		if n := bytes.Count(bytes.ToLower(w.db.Dump(t)), bytes.ToLower([]byte(canary))); n > 0 {
			t.Errorf("seed %d: the file has it %d times", seed, n)
		}
	}
}

// TestCLW19_ATokenThatIsReplacedMeanwhile: whoever confirms with it while the contact is sent another one is too late.
func TestCLW19_ATokenThatIsReplacedMeanwhile(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	p, me := w.partner("acme")
	a := w.project(me, "one")
	w.close(me, a.ID)
	token := w.waiting(p.Email)
	tx := w.db.Begin()
	w.must(second(w.reg.In(tx).Accounts.RemindClose(me, a.ID)))
	done := make(chan error, 1)
	go func() { done <- w.reg.Accounts.ConfirmClose(context.Background(), token) }()
	w.blocked(1)
	w.must(tx.Commit().Error)
	w.is(<-done, partner.ErrTokenExpired)
	if got := w.stands(a.ID); got != "closing" {
		t.Errorf("it is %s", got)
	}
}

// TestCLW20_NoTwoProcessesEraseTheSame: with the same erasers, or others in another order, each class of each account is erased once.
func TestCLW20_NoTwoProcessesEraseTheSame(t *testing.T) {
	each(t, func(w *world) {
		var mu sync.Mutex
		calls := map[string]int{}
		of := func(classes ...string) *world {
			var list []partner.Eraser
			for _, class := range classes {
				list = append(list, doing{class, func(_ context.Context, id partner.AccountID) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					calls[class+" of "+string(id)]++
					return 1, nil
				}})
			}
			return newWorldOn(w, erasing(list...))
		}
		processes := []*world{of("a", "b", "c"), of("a", "b", "c"), of("c", "b", "a", "d"), of("d")}
		for _, p := range processes { // which makes known what they erase
			p.later(2 * time.Minute)
		}
		_, me := w.partner("acme")
		var ids []partner.AccountID
		for i := range 12 {
			a := w.project(me, fmt.Sprint("p", i))
			w.confirmed(me, a.ID)
			ids = append(ids, a.ID)
		}
		for range 6 {
			w.clock.Advance(2 * time.Minute)
			for _, err := range together(len(processes), func(i int) error { return second(processes[i].reg.Step(context.Background())) }) {
				w.must(err)
			}
		}
		for _, id := range ids {
			r, err := w.reg.Accounts.Receipt(w.vendor, id)
			w.must(err)
			for _, class := range []string{"a", "b", "c", "d"} {
				if n := calls[class+" of "+string(id)]; n != 1 || r.Erased[class] != 1 {
					w.t.Errorf("%s of %s was erased %d times, the receipt says %d", class, id, n, r.Erased[class])
				}
			}
		}
	})
}
