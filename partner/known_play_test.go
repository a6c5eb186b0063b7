package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// TestPIL12_NothingIsAcceptedByHeartAfterBlockReturned lets callers work in two registries that know all about them, while one of them blocks
// and lifts: no call begun after the block returned is allowed, in either, and none begun before it writes any more.
func TestPIL12_NothingIsAcceptedByHeartAfterBlockReturned(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		tw := newTwins(t, db)
		f := tw.family()
		query := "prm_events WHERE partner_id = ? AND kind IN ('license.assigned', 'license.consumed') AND actor <> 'host:ops@vendor.example'"
		for round := range 8 {
			tw.warm(&f)
			by, block, lift := tw.rooms()[round%2].reg.Partners, f.own.ID, f.own.ID
			workers := []string{"pool", "inside", "pool", "inside"}
			stop, free := by.Block, by.Unblock
			switch round / 2 {
			case 1:
				block, lift = f.boss.ID, f.boss.ID
			case 2:
				workers, stop, free = []string{"project", "mate", "project", "lent"}, by.BlockUsers, by.UnblockUsers
			case 3:
				workers, stop, free = []string{"project", "mate", "project", "lent"}, by.BlockUsers, by.UnblockUsers
				block, lift = f.boss.ID, f.boss.ID
			}
			r := newRace()
			for i := range 8 {
				name, room := workers[i%len(workers)], tw.rooms()[i/4]
				r.run(func() error { return tw.probe(room, &f, name) })
			}
			r.await(40)
			tw.must(stop(tw.vendor, block, block == f.boss.ID))
			r.over.Store(true)
			written := rowsIn(t, tw.db, query, f.own.ID)
			r.Wait()
			if late := rowsIn(t, tw.db, query, f.own.ID) - written; late != 0 || r.late.Load() != 0 {
				t.Fatalf("round %d: after the block returned, %d writes were committed and %d calls were allowed", round, late, r.late.Load())
			}
			tw.must(free(tw.vendor, lift))
			tw.enter(&f)
		}
		tw.sound()
	})
}

// enter logs all of a family in once more.
func (tw *twins) enter(f *family) {
	tw.t.Helper()
	f.above, f.me, f.inside, f.at = tw.login(f.name+"-boss"), tw.login(f.name), tw.login(f.name), tw.login(f.name+"-a")
	tw.must(tw.reg.Access.SwitchTo(f.inside, f.a))
	tw.comeBack(f)
}

// TestPIL32_IdleSessionsAreReadAgain: of two registries, one uses a session that the other only remembers. It has not run idle there; one
// that nobody has used has, and one whose time is over, too, whatever way the clock jumps.
func TestPIL32_IdleSessionsAreReadAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		tw := newTwins(t, db)
		f := tw.family()
		tw.warm(&f)
		here, there := tw.rooms()[0], tw.rooms()[1]
		for range 4 {
			tw.clock.Advance(7 * time.Hour)
			tw.must(tw.probe(there, &f, "pool"))
		}
		tw.must(tw.probe(here, &f, "pool"))
		tw.clock.Advance(-20 * time.Hour) // it was used in what is now the future
		tw.must(tw.probe(here, &f, "pool"))
		tw.clock.Advance(20 * time.Hour)
		for i, r := range tw.rooms() {
			for _, name := range []string{"inside", "project", "above", "mate", "lent"} {
				wants(t, fmt.Sprint(name, " in registry ", i, " after 28 hours without a call"), tw.probe(r, &f, name), partner.ErrForbidden)
			}
			tw.must(tw.probe(r, &f, "vendor"))
		}
		tw.enter(&f)
		tw.warm(&f)
		for range 65 { // a session that is used ends after 30 days all the same
			tw.clock.Advance(11 * time.Hour)
			_ = tw.probe(there, &f, "pool")
			_ = tw.probe(here, &f, "pool")
		}
		tw.clock.Advance(720*time.Hour - 65*11*time.Hour - 10*time.Minute)
		tw.must(errors.Join(tw.probe(here, &f, "pool"), tw.probe(here, &f, "pool")))
		tw.clock.Advance(10 * time.Minute)
		for i, r := range tw.rooms() {
			wants(t, fmt.Sprint("registry ", i, " after 30 days"), tw.probe(r, &f, "pool"), partner.ErrForbidden)
		}
	})
}

// TestPIL29_WhatIsNotThereIsNotRemembered: calls about nothing, about things of the wrong kind and by nobody are answered as by one who
// remembers nothing, before and after there are such things.
func TestPIL29_WhatIsNotThereIsNotRemembered(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		tw := newTwins(t, db)
		f := tw.family()
		nobody := partner.WithSession(context.Background(), partner.Session{})
		gone := tw.login(f.name)
		tw.must(tw.reg.Access.Logout(gone))
		targets := []string{"", "acc_nothing", "prt_nothing", string(f.own.ID), string(f.a), string(tw.rival.a), string(partner.Vendor), "\xff", "a\x00b", "'"}
		for range 3 {
			tw.warm(&f)
			fresh := tw.fresh(tw.db)
			for who, me := range map[string]context.Context{"me": f.me, "inside": f.inside, "project": f.at, "mate": f.mateAt, "lent": f.lentAt, "above": f.above, "host": tw.vendor, "nobody": nobody, "gone": gone} {
				for _, target := range targets {
					answers := map[string]bool{}
					for _, r := range []rooms{tw.rooms()[0], tw.rooms()[1], {fresh.reg, fresh.seats}} {
						_, assign := r.seats.Assign(me, partner.AccountID(target), "seat", 1)
						_, consume := r.seats.Consume(me, partner.AccountID(target), "seat", 1)
						_, grant := r.seats.Grant(me, partner.ID(target), "seat", 1)
						answers[fmt.Sprint(assign, "; ", consume, "; ", grant)] = true
					}
					if len(answers) != 1 {
						t.Errorf("%s about %q: %v", who, target, answers)
					}
				}
			}
		}
	})
}

// TestPIL12_PIL32_AnyOrderOfChanges plays changes and calls at random, of two registries that remember and one that is opened for each call.
func TestPIL12_PIL32_AnyOrderOfChanges(t *testing.T) {
	dbtest.AtOnce(t, func(t *testing.T, db *dbtest.Database) {
		tw := newTwins(t, db)
		rapid.Check(t, func(rt *rapid.T) {
			list := []family{tw.family(), tw.family()}
			play := slices.DeleteFunc(slices.Concat(changes(), lifts()), func(c change) bool { return c.name == "move to another tree" })
			for range rapid.IntRange(5, 18).Draw(rt, "steps") {
				f := &list[rapid.IntRange(0, 1).Draw(rt, "family")]
				switch what := rapid.IntRange(0, 9).Draw(rt, "what"); {
				case what < 6:
					tw.ask(rt, f, rapid.SampledFrom(probes).Draw(rt, "probe"))
				case what < 9:
					c := play[rapid.IntRange(0, len(play)-1).Draw(rt, "change")]
					rt.Log(c.name, tw.play(c, f, rapid.IntRange(0, 4).Draw(rt, "where")))
				default:
					tw.clock.Advance(time.Duration(rapid.IntRange(-60, 400).Draw(rt, "minutes")) * time.Minute)
				}
			}
			for i := range list {
				for _, name := range probes {
					tw.ask(rt, &list[i], name)
				}
			}
		})
		tw.sound()
	})
}

// ask makes a call in a new registry and in those that remember; twice, for what they have learnt the first time.
func (tw *twins) ask(rt *rapid.T, f *family, name string) {
	nobody := tw.fresh(tw.db)
	want := fmt.Sprint(tw.probe(rooms{nobody.reg, nobody.seats}, f, name))
	for i, r := range slices.Concat(tw.rooms(), tw.rooms()) {
		if got := fmt.Sprint(tw.probe(r, f, name)); got != want {
			rt.Fatalf("registry %d answers %q of %s with %s, and a new one with %s", i%2, name, f.name, got, want)
		}
	}
}

// play makes a change in either registry, or in a transaction of the host, which is or is not committed; it may be refused.
func (tw *twins) play(c change, f *family, where int) error {
	if where < 2 || c.alone {
		return c.do(tw, tw.rooms()[where%2], f)
	}
	return tw.other.inHost([]error{nil, errRollBack, nil}[where-2], func(tx *gorm.DB, r rooms) error {
		if where < 4 {
			return c.do(tw, r, f)
		}
		if err := tx.SavePoint("before").Error; err != nil {
			return err
		}
		return errors.Join(c.do(tw, r, f), tx.RollbackTo("before").Error)
	})
}

// lifts are what undoes changes.
func lifts() []change {
	return append(placeLifts(), []change{
		{"lift", nil, func(tw *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Partners.Unblock(tw.vendor, f.own.ID), r.reg.Partners.Unblock(tw.vendor, f.boss.ID))
		}, false},
		{"lift users", nil, func(tw *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Partners.UnblockUsers(tw.vendor, f.own.ID), r.reg.Partners.UnblockUsers(tw.vendor, f.boss.ID))
		}, false},
		{"resume", nil, func(tw *twins, r rooms, f *family) error { return r.reg.Accounts.Resume(tw.vendor, f.a) }, false},
		{"resume the other", nil, func(tw *twins, r rooms, f *family) error { return r.reg.Accounts.Resume(tw.vendor, f.b) }, false},
		{"put back", nil, func(tw *twins, _ rooms, f *family) error {
			return errors.Join(tw.raw("UPDATE prm_partners SET state = 'active' WHERE id = ?", f.own.ID),
				tw.raw("UPDATE prm_users SET disabled = ?, role = 'admin' WHERE partner_id = ?", false, f.own.ID))
		}, true},
		{"log in", nil, func(tw *twins, r rooms, f *family) error {
			for login, into := range map[string]*context.Context{"-boss": &f.above, "-a": &f.at, "": &f.me} {
				s, err := r.reg.Access.Login(context.Background(), f.name+login, password, "")
				if err == nil {
					*into = partner.WithSession(context.Background(), s)
				}
			}
			return nil
		}, true},
		{"switch in", nil, func(_ *twins, r rooms, f *family) error { return r.reg.Access.SwitchTo(f.inside, f.a) }, false},
		{"come home", nil, func(_ *twins, r rooms, f *family) error { return r.reg.Access.SwitchBack(f.me) }, false},
		{"move home", nil, func(tw *twins, r rooms, f *family) error {
			return r.reg.Partners.MoveUnder(tw.vendor, f.own.ID, f.boss.ID)
		}, false},
	}...)
}

// TestBEY01_NothingIsLearntInAHostsTransaction: what a host's transaction has seen of its own changes is gone with it, also when the number has
// come by again.
func TestBEY01_NothingIsLearntInAHostsTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		tw := newTwins(t, db)
		f := tw.family()
		tw.warm(&f)
		err := tw.other.inHost(errRollBack, func(_ *gorm.DB, r rooms) error {
			if err := r.reg.Access.SwitchTo(f.me, f.b); err != nil {
				return err
			}
			for range 2 {
				moved, err := r.seats.Assign(f.me, f.a, "seat", 1)
				if err != nil || moved.From != partner.Holder(f.b) {
					return fmt.Errorf("switched, it moved from %v: %w", moved.From, err)
				}
			}
			return nil
		})
		if !errors.Is(err, errRollBack) {
			t.Fatal(err)
		}
		if db.Kind == dbtest.SQLite { // which gives the number out again
			tw.must(tw.reg.Accounts.Suspend(tw.vendor, tw.stranger.b))
		}
		for i, r := range slices.Backward(tw.rooms()) {
			moved, err := r.seats.Assign(f.me, f.a, "seat", 1)
			if err != nil || moved.From != partner.Holder(f.own.ID) {
				t.Errorf("registry %d moves from %v: %v", i, moved.From, err)
			}
		}
	})
}
