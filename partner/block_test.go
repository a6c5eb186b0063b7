package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// person is somebody who logs in, with the session he had before anything happened.
type person struct {
	login string
	ctx   context.Context
}

func (w *world) person(login string) person { return person{login, w.login(login)} }

// standing tells how a person stands: what his open session and a new log-in answer.
func (w *world) standing(p person) (session, login error) {
	w.t.Helper()
	_, session = w.reg.Access.Active(p.ctx)
	_, login = w.reg.Access.Login(context.Background(), p.login, password, "")
	for _, err := range []error{session, login} {
		if err != nil && len(kindsOf(err)) != 1 {
			w.t.Fatalf("%v is of the kinds %v", err, kindsOf(err))
		}
	}
	return session, login
}

// isBlocked fails unless session and log-in are refused for exactly these reasons.
func (w *world) isBlocked(what string, p person, reasons ...string) {
	w.t.Helper()
	session, login := w.standing(p)
	for how, err := range map[string]error{"session": session, "log-in": login} {
		var blocked *partner.BlockedError
		if !errors.As(err, &blocked) || !slices.Equal(blocked.Reasons, reasons) || !errors.Is(err, partner.ErrBlocked) {
			w.t.Fatalf("%s: the %s of %s answers %v, want blocked for %v", what, how, p.login, err, reasons)
		}
	}
}

func (w *world) isFree(what string, p person) {
	w.t.Helper()
	if session, login := w.standing(p); session != nil || login != nil {
		w.t.Fatalf("%s: %s is refused: session %v, log-in %v", what, p.login, session, login)
	}
}

// isRenewed fails unless the old session is dead, for good and no longer for a block, and a new log-in works.
func (w *world) isRenewed(what string, p person) {
	w.t.Helper()
	session, login := w.standing(p)
	if login != nil {
		w.t.Fatalf("%s: the log-in of %s answers %v", what, p.login, login)
	}
	if !errors.Is(session, partner.ErrForbidden) || errors.Is(session, partner.ErrBlocked) {
		w.t.Fatalf("%s: the old session of %s answers %v, want that it has ended", what, p.login, session)
	}
}

// TestAT08_FourCombinations sets and lifts every combination of the two blocks and looks at log-in and open session of a partner's admin
// and of a project's log-in.
func TestAT08_FourCombinations(t *testing.T) {
	each(t, func(w *world) {
		for i, c := range []struct{ own, users bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
			name := fmt.Sprintf("p%d", i)
			p, me := w.partner(name)
			w.project(me, name+"-project")
			admin, project := person{name, me}, w.person(name+"-project")
			if c.own {
				w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
			}
			if c.users {
				w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, false))
			}
			now, err := w.reg.Partners.Get(w.vendor, p.ID)
			w.must(err)
			for _, s := range []struct {
				blocked bool
				who     person
				shown   []string
				lift    func(context.Context, partner.ID) error
			}{{c.own, admin, now.Blocks, w.reg.Partners.Unblock}, {c.users, project, now.UsersBlocks, w.reg.Partners.UnblockUsers}} {
				what := fmt.Sprintf("%+v", c)
				if !s.blocked {
					w.isFree(what, s.who)
					w.must(s.lift(w.vendor, p.ID)) // lifting nothing ends nothing
					w.isFree(what+" lifted", s.who)
					continue
				}
				w.isBlocked(what, s.who, "manual")
				if !slices.Equal(s.shown, []string{"manual"}) {
					w.t.Errorf("%s: the partner shows the blocks %v", what, s.shown)
				}
				w.must(s.lift(w.vendor, p.ID))
				w.isRenewed(what+" lifted", s.who)
			}
		}
	})
}

func TestAT08_LiftingRestoresDisabledUsersAsTheyWere(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		tamper(w.t, w.db, "UPDATE prm_users SET disabled = ? WHERE partner_id = ?", true, p.ID)
		before := dump(w.t, w.db)["prm_users"]
		w.must(w.reg.Partners.Block(w.vendor, p.ID, true))
		w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, true))
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		w.must(w.reg.Partners.UnblockUsers(w.vendor, p.ID))
		if after := dump(w.t, w.db)["prm_users"]; !slices.Equal(before, after) {
			w.t.Errorf("blocking wrote to users:\n%v\n%v", before, after)
		}
		session, login := w.standing(person{"acme", me})
		wants(w.t, "the session of a disabled user", session, partner.ErrForbidden)
		wants(w.t, "the log-in of a disabled user", login, partner.ErrForbidden)
	})
}

// TestPIL12_CascadeOverFiveLevels blocks the top of a chain with and without cascade, on both sides.
func TestPIL12_CascadeOverFiveLevels(t *testing.T) {
	each(t, func(w *world) {
		var ids []partner.ID
		admins, projects := make([]person, 5), make([]person, 5)
		for i := range 5 {
			name := fmt.Sprintf("level%d", i)
			p, me := w.partner(name, func(a *partner.Agreement) {
				if i > 0 {
					a.Parent = ids[i-1]
				}
			})
			ids = append(ids, p.ID)
			w.project(me, name+"-project")
			admins[i], projects[i] = person{name, me}, w.person(name+"-project")
		}
		renew := func(list []person) {
			for i := range list {
				list[i] = w.person(list[i].login)
			}
		}
		for _, side := range []struct {
			block       func(context.Context, partner.ID, bool) error
			lift        func(context.Context, partner.ID) error
			hit, spared []person
		}{{w.reg.Partners.Block, w.reg.Partners.Unblock, admins, projects}, {w.reg.Partners.BlockUsers, w.reg.Partners.UnblockUsers, projects, admins}} {
			w.must(side.block(w.vendor, ids[1], false))
			for i := range 5 {
				if i == 1 {
					w.isBlocked("without cascade", side.hit[i], "manual")
				} else {
					w.isFree("without cascade", side.hit[i])
				}
			}
			w.must(side.block(w.vendor, ids[1], true)) // the later cascade counts
			w.isFree("above the block", side.hit[0])
			for i := 1; i < 5; i++ {
				w.isBlocked("with cascade", side.hit[i], "manual")
			}
			w.must(side.block(w.vendor, ids[1], false)) // and the cascade can be taken back
			w.isBlocked("cascade taken back", side.hit[1], "manual")
			for i := 2; i < 5; i++ {
				w.isRenewed("cascade taken back", side.hit[i])
			}
			w.must(side.block(w.vendor, ids[0], true)) // two cascades at once, lifted in turn
			w.must(side.block(w.vendor, ids[2], true))
			w.must(side.lift(w.vendor, ids[1]))
			w.must(side.lift(w.vendor, ids[0]))
			w.isRenewed("outer lifted", side.hit[0])
			w.isRenewed("outer lifted", side.hit[1])
			for i := 2; i < 5; i++ {
				w.isBlocked("inner stays", side.hit[i], "manual")
			}
			w.must(side.lift(w.vendor, ids[2]))
			for i := range 5 {
				w.isRenewed("all lifted", side.hit[i])
				w.isFree("the other side", side.spared[i])
			}
			renew(side.hit)
		}
		w.treeIsSound()
	})
}

func TestPIL12_APartnerAddedUnderACascadeIsBlocked(t *testing.T) {
	each(t, func(w *world) {
		top, _ := w.partner("top")
		w.must(w.reg.Partners.Block(w.vendor, top.ID, true))
		a := agreement("late")
		a.Parent = top.ID
		late, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		_, err = w.reg.Access.Login(context.Background(), "late", password, "")
		wants(w.t, "the log-in", err, partner.ErrBlocked)
		if !slices.Equal(late.Blocks, []string{"manual"}) || late.UsersBlocks != nil {
			w.t.Errorf("the new partner shows the blocks %v and %v", late.Blocks, late.UsersBlocks)
		}
		w.must(w.reg.Partners.Unblock(w.vendor, top.ID))
		w.login("late")
	})
}

// TestPIL12_ASessionUnusedDuringTheBlockIsDeadToo blocks and lifts between two calls of a session.
func TestPIL12_ASessionUnusedDuringTheBlockIsDeadToo(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.project(me, "acme-project")
		project := w.person("acme-project")
		for range 2 {
			w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, false))
			w.must(w.reg.Partners.UnblockUsers(w.vendor, p.ID))
		}
		w.isRenewed("blocked and lifted", project)
		w.isFree("the admin", person{"acme", me})
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		w.isRenewed("blocked and lifted", person{"acme", me})
	})
}

func TestPIL12_BlockingTwiceRecordsOnce(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		for range 2 {
			w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		}
		for range 2 {
			w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		}
		if n := rowsIn(w.t, w.db, "prm_events WHERE kind IN ('partner.blocked', 'partner.unblocked')"); n != 2 {
			w.t.Errorf("%d events, want 2", n)
		}
		wants(w.t, "blocking the vendor", w.reg.Partners.Block(w.vendor, partner.Vendor, true), partner.ErrForbidden)
		wants(w.t, "blocking nobody", w.reg.Partners.Block(w.vendor, "prt_nobody", true), partner.ErrNotFound)
	})
}

// TestPIL14_EachReasonLiftsByItsOwnCause sets other reasons behind the SDK's back: Unblock lifts manual and nothing else.
func TestPIL14_EachReasonLiftsByItsOwnCause(t *testing.T) {
	const unpaid, closing, dormant = 2, 4, 8
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "acme-project")
		admin, project := person{"acme", me}, w.person("acme-project")
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, false))
		tamper(w.t, w.db, "UPDATE prm_partners SET own_blocks = own_blocks | ?, users_blocks = users_blocks | ? WHERE id = ?", unpaid|dormant, unpaid, p.ID)
		w.isBlocked("two causes", admin, "manual", "unpaid", "dormant")
		w.isBlocked("two causes", project, "manual", "unpaid")
		tamper(w.t, w.db, "UPDATE prm_accounts SET blocks = blocks | ? WHERE id = ?", dormant, a.ID)
		w.isBlocked("the account's own too", project, "manual", "unpaid", "dormant")
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		w.must(w.reg.Partners.UnblockUsers(w.vendor, p.ID))
		w.isBlocked("manual lifted", admin, "unpaid", "dormant")
		w.isBlocked("manual lifted", project, "unpaid", "dormant")
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		w.isBlocked("lifted again", admin, "unpaid", "dormant")
		tamper(w.t, w.db, "UPDATE prm_partners SET own_blocks = 0, users_blocks = ? WHERE id = ?", closing, p.ID)
		tamper(w.t, w.db, "UPDATE prm_accounts SET blocks = 0 WHERE id = ?", a.ID)
		w.isRenewed("all lifted", admin)
		w.isBlocked("one left", project, "closing")
	})
}

// TestPIL14_ABlockedProjectCannotBeSwitchedInto: access to an account needs an empty set, also by the partner's own session.
func TestPIL14_ABlockedProjectCannotBeSwitchedInto(t *testing.T) {
	const unpaid = 2
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.project(me, "acme-project")
		w.must(w.reg.Access.SwitchTo(me, a.ID))
		tamper(w.t, w.db, "UPDATE prm_accounts SET blocks = ? WHERE id = ?", unpaid, a.ID)
		_, err := w.reg.Access.Active(me)
		wants(w.t, "working in a project blocked since", err, partner.ErrBlocked)
		w.must(w.reg.Access.SwitchBack(me))
		wants(w.t, "switching into a blocked project", w.reg.Access.SwitchTo(me, a.ID), partner.ErrBlocked)
	})
}

// TestPIL12_NothingIsAcceptedAfterBlockReturned lets 64 sessions work while their partner is blocked: no call begun after Block returned is
// allowed, and none begun before it writes any more.
func TestPIL12_NothingIsAcceptedAfterBlockReturned(t *testing.T) {
	each(t, func(w *world) {
		for round := range 3 {
			p, me := w.partner(fmt.Sprintf("round%d", round))
			a := w.project(me, fmt.Sprintf("round%d-project", round))
			sessions := make([]context.Context, 64)
			for i := range sessions {
				sessions[i] = w.login("round" + fmt.Sprint(round))
			}
			r := newRace()
			for i, ctx := range sessions {
				work := func() error { _, err := w.reg.Partners.Get(ctx, p.ID); return err }
				if i%2 == 0 {
					work = func() error {
						return errors.Join(w.reg.Access.SwitchTo(ctx, a.ID), w.reg.Access.SwitchBack(ctx))
					}
				}
				r.run(work)
			}
			r.await(200)
			w.must(w.reg.Partners.Block(w.vendor, p.ID, round == 1))
			r.over.Store(true)
			query := "prm_events WHERE partner_id = ? AND kind LIKE 'session.switched%'"
			written := rowsIn(w.t, w.db, query, p.ID)
			r.Wait()
			if late := rowsIn(w.t, w.db, query, p.ID) - written; late != 0 || r.late.Load() != 0 {
				w.t.Fatalf("after Block returned, %d writes were committed and %d calls were allowed", late, r.late.Load())
			}
			if written == 0 {
				w.t.Fatal("nothing was written before the block")
			}
		}
	})
}

// race is many workers that each work until they are refused.
type race struct {
	sync.WaitGroup
	worked chan struct{}
	over   atomic.Bool  // what begins now must be refused
	late   atomic.Int64 // and was not
}

func newRace() *race { return &race{worked: make(chan struct{})} }

func (r *race) run(work func() error) {
	r.Go(func() {
		for {
			began := r.over.Load()
			if err := work(); err != nil {
				return
			}
			if began {
				r.late.Add(1)
				return
			}
			select {
			case r.worked <- struct{}{}:
			default:
			}
		}
	})
}

// await returns when n pieces of work have been seen.
func (r *race) await(n int) {
	for range n {
		<-r.worked
	}
}

// TestPIL13_LoginRacesTheBlockOfUsers: a session that a log-in gave while the block came is dead when Block has returned.
func TestPIL13_LoginRacesTheBlockOfUsers(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.project(me, "acme-project")
		for range 3 {
			var mu sync.Mutex
			var given []partner.Session
			r := newRace()
			for range 32 {
				r.run(func() error {
					s, err := w.reg.Access.Login(context.Background(), "acme-project", password, "")
					if err == nil {
						mu.Lock()
						given = append(given, s)
						mu.Unlock()
					}
					return err
				})
			}
			r.await(64)
			w.must(w.reg.Partners.BlockUsers(w.vendor, p.ID, false))
			r.over.Store(true)
			r.Wait()
			if r.late.Load() != 0 {
				w.t.Fatalf("%d log-ins were allowed after the block", r.late.Load())
			}
			w.must(w.reg.Partners.UnblockUsers(w.vendor, p.ID))
			for _, s := range given {
				if _, err := w.reg.Access.Resume(context.Background(), s.Token()); !errors.Is(err, partner.ErrForbidden) {
					w.t.Fatalf("a session from before the block answers %v", err)
				}
			}
		}
	})
}
