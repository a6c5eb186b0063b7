package partner_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// node is a row of the tree as it lies in the database.
type node struct {
	ID, Path                     string
	ParentID                     *string
	Depth                        int
	OwnCascade, UsersCascade     bool
	OwnInherited, UsersInherited int
}

// treeIsSound holds every path, depth and inherited count against the truth: the walk over parents.
func (w *world) treeIsSound() {
	w.t.Helper()
	var list []node
	w.must(w.db.Table("prm_partners").Find(&list).Error)
	byID := map[string]node{}
	for _, n := range list {
		byID[n.ID] = n
	}
	for _, n := range list {
		depth, own, users, above := 1, 0, 0, "/"
		for at := n; at.ParentID != nil; depth++ {
			if depth > len(list) {
				w.t.Fatalf("%s stands in a cycle", n.ID)
			}
			at = byID[*at.ParentID]
			if at.OwnCascade {
				own++
			}
			if at.UsersCascade {
				users++
			}
			if depth == 1 {
				above = at.Path
			}
		}
		last := strings.TrimPrefix(n.Path, above)
		if n.Depth != depth || n.OwnInherited != own || n.UsersInherited != users || !strings.HasPrefix(n.Path, above) || strings.Count(last, "/") != 1 {
			w.t.Fatalf("%+v, want depth %d, inherited %d and %d, path below %s", n, depth, own, users, above)
		}
	}
}

// chain makes n partners, each below the one before.
func (w *world) chain(name string, n int, top partner.ID) []partner.ID {
	w.t.Helper()
	var ids []partner.ID
	for i := range n {
		a := agreement(fmt.Sprintf("%s%d", name, i))
		a.Parent = top
		p, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		top = p.ID
		ids = append(ids, p.ID)
	}
	return ids
}

func TestPIL15_CyclesAreRefused(t *testing.T) {
	each(t, func(w *world) {
		ids := w.chain("c", 4, "")
		for i := range ids {
			err := w.reg.Partners.MoveUnder(w.vendor, ids[0], ids[i])
			wantsFields(w.t, "a cycle", err, "parent:cycle")
			wants(w.t, "a cycle", err, partner.ErrHierarchyCycle)
		}
		for _, parent := range []partner.ID{"prt_nobody", partner.Vendor, "acc_1", "'"} {
			wants(w.t, "below "+string(parent), w.reg.Partners.MoveUnder(w.vendor, ids[3], parent), partner.ErrNotFound)
		}
		wants(w.t, "moving the vendor", w.reg.Partners.MoveUnder(w.vendor, partner.Vendor, ids[0]), partner.ErrForbidden)
		w.must(w.reg.Partners.MoveUnder(w.vendor, ids[3], ids[0]))
		w.must(w.reg.Partners.MoveUnder(w.vendor, ids[1], ids[3])) // what was a cycle is none now
		w.treeIsSound()
	})
}

// TestPIL15_DepthIsCountedOverTheMovedSubtree at the default cap of 12 and at another one.
func TestPIL15_DepthIsCountedOverTheMovedSubtree(t *testing.T) {
	for _, limit := range []int{0, 1, 5} {
		dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
			w := newWorld(t, db, func(o *partner.Options) { o.MaxDepth = limit })
			most := limit
			if most == 0 {
				most = 12
			}
			full := w.chain("f", most, "")
			a := agreement("deeper")
			a.Parent = full[most-1]
			_, err := w.reg.Partners.Create(w.vendor, a)
			wantsFields(t, "one level more", err, "parent:depth")
			wants(t, "one level more", err, partner.ErrHierarchyDepth)
			if most < 5 {
				return
			}
			short := w.chain("s", 3, "")
			for i, parent := range full {
				err := w.reg.Partners.MoveUnder(w.vendor, short[0], parent)
				if fits := i+1+3 <= most; fits {
					w.must(err)
				} else {
					wantsFields(t, fmt.Sprintf("three levels below level %d", i+1), err, "parent:depth")
					wants(t, "too deep", err, partner.ErrHierarchyDepth)
				}
			}
			w.treeIsSound()
		})
	}
}

// TestAT10_CrossingReparents moves two partners below each other at the same time: one fails, each time.
func TestAT10_CrossingReparents(t *testing.T) {
	each(t, func(w *world) {
		ids := w.chain("a", 2, "")
		others := w.chain("b", 2, "")
		pairs := [][2]partner.ID{{ids[0], others[1]}, {others[0], ids[1]}} // below a leaf, so that whole subtrees cross
		for range 200 {
			errs := make([]error, 2)
			var moving sync.WaitGroup
			start := make(chan struct{})
			for i, pair := range pairs {
				moving.Go(func() { <-start; errs[i] = w.reg.Partners.MoveUnder(w.vendor, pair[0], pair[1]) })
			}
			close(start)
			moving.Wait()
			loser := errors.Join(errs...)
			if (errs[0] == nil) == (errs[1] == nil) {
				w.t.Fatalf("the moves answered %v and %v, want exactly one success", errs[0], errs[1])
			}
			wants(w.t, "the loser", loser, partner.ErrHierarchyCycle)
			w.treeIsSound()
			w.must(w.reg.Partners.MoveUnder(w.vendor, ids[0], ""))
			w.must(w.reg.Partners.MoveUnder(w.vendor, others[0], ""))
		}
	})
}

// TestPIL15_InsertUnderAMovedSubtreeKeepsItsPath adds partners and projects below a subtree while it moves and its ancestors' cascades come
// and go.
func TestPIL15_InsertUnderAMovedSubtreeKeepsItsPath(t *testing.T) {
	each(t, func(w *world) {
		left, right := w.chain("left", 2, ""), w.chain("right", 3, "")
		moved := w.chain("moved", 2, "")
		var working sync.WaitGroup
		errs := make(chan error, 200)
		for i := range 4 {
			working.Go(func() {
				for k := range 15 {
					a := agreement(fmt.Sprintf("n%d-%d", i, k))
					a.Parent = moved[k%2]
					_, err := w.reg.Partners.Create(w.vendor, a)
					errs <- err
				}
			})
		}
		working.Go(func() {
			for k := range 40 {
				errs <- w.reg.Partners.MoveUnder(w.vendor, moved[0], []partner.ID{left[1], right[2], ""}[k%3])
			}
		})
		working.Go(func() {
			for range 10 {
				errs <- errors.Join(w.reg.Partners.Block(w.vendor, left[0], true), w.reg.Partners.BlockUsers(w.vendor, right[1], true),
					w.reg.Partners.Unblock(w.vendor, left[0]), w.reg.Partners.UnblockUsers(w.vendor, right[1]))
			}
		})
		working.Wait()
		close(errs)
		for err := range errs {
			w.must(err)
		}
		w.treeIsSound()
		if n := rowsIn(w.t, w.db, "prm_partners"); n != 1+2+3+2+60 {
			w.t.Errorf("%d partners", n)
		}
	})
}

func TestPIL15_AParentReadsNameAndStateOfThoseBelow(t *testing.T) {
	each(t, func(w *world) {
		root, _ := w.partner("root")
		mid, me := w.partner("mid", under(root.ID))
		leaf, below := w.partner("leaf", under(mid.ID), func(a *partner.Agreement) { a.Deposit, a.Phone = 100, "+4930123456" })
		sibling, _ := w.partner("sibling", under(root.ID))
		got, err := w.reg.Partners.Get(me, leaf.ID)
		w.must(err)
		want := partner.Partner{ID: leaf.ID, State: "active", Created: leaf.Created, Path: []partner.ID{mid.ID, leaf.ID},
			Agreement: partner.Agreement{Name: leaf.Name, Parent: mid.ID}}
		if !reflect.DeepEqual(got, want) {
			w.t.Errorf("a parent sees\n%+v, want\n%+v", got, want)
		}
		for _, id := range []partner.ID{root.ID, sibling.ID} {
			_, err := w.reg.Partners.Get(me, id)
			wants(w.t, "what is above or beside", err, partner.ErrNotFound)
			_, err = w.reg.Partners.Get(below, id)
			wants(w.t, "what is above or beside", err, partner.ErrNotFound)
		}
		if got, err := w.reg.Partners.Get(me, mid.ID); err != nil || got.Parent != "" || !slices.Equal(got.Path, []partner.ID{mid.ID}) ||
			got.Contract == "" {
			w.t.Errorf("its own is %+v, %v", got, err)
		}
		_, err = w.reg.Partners.Edit(me, leaf.ID, leaf.Version, func(a *partner.Agreement) { a.Name = "Mine" })
		wants(w.t, "an edit below", err, partner.ErrNotFound)
		p := newProject("below-project")
		p.Partner = leaf.ID
		_, err = w.reg.Accounts.OpenProject(me, p)
		wants(w.t, "a project below", err, partner.ErrNotFound)
		w.listed(me, partner.PartnerFilter{}, leaf.ID, mid.ID)
		w.listed(me, partner.PartnerFilter{Under: leaf.ID}, leaf.ID)
		w.listed(w.vendor, partner.PartnerFilter{Under: mid.ID}, leaf.ID, mid.ID)
		w.listed(w.vendor, partner.PartnerFilter{}, sibling.ID, leaf.ID, mid.ID, root.ID)
		_, err = w.reg.Partners.List(me, partner.PartnerFilter{Under: root.ID}, partner.PageRequest{})
		wants(w.t, "a list of what is above", err, partner.ErrNotFound)
	})
}

// listed fails unless the list is exactly these, newest first.
func (w *world) listed(ctx context.Context, f partner.PartnerFilter, want ...partner.ID) {
	w.t.Helper()
	page, err := w.reg.Partners.List(ctx, f, partner.PageRequest{})
	w.must(err)
	var got []partner.ID
	for _, p := range page.Items {
		got = append(got, p.ID)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("the list under %q is %v, want %v", f.Under, got, want)
	}
}

func TestPIL15_ManagesSubPartnersWidens(t *testing.T) {
	each(t, func(w *world) {
		top, me := w.partner("top", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		child, childs := w.partner("child", under(top.ID))
		got, err := w.reg.Partners.Get(me, child.ID)
		w.must(err)
		if got.Login != "child" || got.Contract == "" || got.Email == "" {
			w.t.Errorf("a managing parent sees %+v", got)
		}
		_, err = w.reg.Partners.Edit(me, child.ID, got.Version, func(a *partner.Agreement) { a.Name = "Renamed" })
		w.must(err)
		p := newProject("child-project")
		p.Partner, p.Password = child.ID, ""
		a, err := w.reg.Accounts.OpenProject(me, p)
		w.must(err)
		if a.Partner != child.ID {
			w.t.Errorf("the project belongs to %s", a.Partner)
		}
		wants(w.t, "a password below", w.reg.Accounts.SetProjectPassword(me, a.ID, "another password"), partner.ErrForbidden)
		if _, err := w.reg.Accounts.ResetProjectPassword(me, a.ID); !errors.Is(err, partner.ErrForbidden) {
			w.t.Errorf("a password reset below: %v", err)
		}
		page, err := w.reg.Activity.List(childs, partner.EventFilter{Account: a.ID}, partner.PageRequest{})
		w.must(err)
		if len(page.Items) != 1 || page.Items[0].Kind != "project.opened" || !strings.HasPrefix(page.Items[0].Actor, "usr_") {
			w.t.Errorf("the child's activity is %+v", page.Items)
		}
		w.must(w.reg.Partners.MoveUnder(w.vendor, child.ID, "")) // the session loses it with the next call
		_, err = w.reg.Partners.Get(me, child.ID)
		wants(w.t, "what was below", err, partner.ErrNotFound)
		_, err = w.reg.Accounts.Get(me, a.ID)
		wants(w.t, "what was below", err, partner.ErrNotFound)
	})
}

// TestPIL12_BlocksFollowTheTree plays random blocks, moves and new partners against a model that walks parents: who is blocked, and whose
// session is dead because it was blocked since.
func TestPIL12_BlocksFollowTheTree(t *testing.T) {
	each(t, func(w *world) {
		m := &treeModel{world: w, rand: rand.New(rand.NewPCG(7, 11))}
		for range 3 {
			m.add()
		}
		for step := range 160 {
			m.step()
			m.note()
			if step%10 == 0 {
				m.compare()
				w.treeIsSound()
			}
		}
		m.compare()
	})
}

type treeNode struct {
	id            partner.ID
	login         string
	parent        *treeNode
	block         [2]bool // own, users
	cascade       [2]bool
	dead          [2]bool // the session is, by a block since
	admin, member context.Context
}

func (n *treeNode) blocked(side int) bool {
	for at := n; at != nil; at = at.parent {
		if at.block[side] && (at == n || at.cascade[side]) {
			return true
		}
	}
	return false
}

func (n *treeNode) under(other *treeNode) bool {
	for at := n; at != nil; at = at.parent {
		if at == other {
			return true
		}
	}
	return false
}

type treeModel struct {
	*world
	rand  *rand.Rand
	nodes []*treeNode
}

func (m *treeModel) any() *treeNode { return m.nodes[m.rand.IntN(len(m.nodes))] }

// add makes a partner with a project, at a root, and moves it to its place when both have sessions.
func (m *treeModel) add() {
	login := fmt.Sprintf("m%d", len(m.nodes))
	p, me := m.partner(login)
	m.project(me, login+"-project")
	n := &treeNode{id: p.ID, login: login, admin: me, member: m.login(login + "-project")}
	if len(m.nodes) > 0 {
		n.parent = m.any()
		err := m.reg.Partners.MoveUnder(m.vendor, n.id, n.parent.id)
		if errors.Is(err, partner.ErrHierarchyDepth) {
			n.parent = nil
		} else {
			m.must(err)
		}
	}
	m.nodes = append(m.nodes, n)
}

func (m *treeModel) step() {
	n, side, cascade := m.any(), m.rand.IntN(2), m.rand.IntN(2) == 0
	block := []func(context.Context, partner.ID, bool) error{m.reg.Partners.Block, m.reg.Partners.BlockUsers}[side]
	lift := []func(context.Context, partner.ID) error{m.reg.Partners.Unblock, m.reg.Partners.UnblockUsers}[side]
	switch k := m.rand.IntN(10); {
	case k < 3:
		m.must(block(m.vendor, n.id, cascade))
		n.block[side], n.cascade[side] = true, cascade
	case k < 6:
		m.must(lift(m.vendor, n.id))
		n.block[side], n.cascade[side] = false, false
	case k < 9:
		to := m.any()
		err := m.reg.Partners.MoveUnder(m.vendor, n.id, to.id)
		switch {
		case to.under(n):
			wants(m.t, "a move below itself", err, partner.ErrHierarchyCycle)
		case !errors.Is(err, partner.ErrHierarchyDepth):
			m.must(err)
			n.parent = to
		}
	case len(m.nodes) < 14:
		m.add()
	default:
		m.must(m.reg.Partners.MoveUnder(m.vendor, n.id, ""))
		n.parent = nil
	}
}

// note marks the sessions of all who are blocked now as dead.
func (m *treeModel) note() {
	for _, n := range m.nodes {
		for side := range 2 {
			n.dead[side] = n.dead[side] || n.blocked(side)
		}
	}
}

// compare asks each session, and renews those that may live again.
func (m *treeModel) compare() {
	m.t.Helper()
	for _, n := range m.nodes {
		for side, ctx := range []context.Context{n.admin, n.member} {
			_, err := m.reg.Access.Active(ctx)
			blocked := errors.Is(err, partner.ErrBlocked)
			if blocked != n.blocked(side) || (err != nil) != n.dead[side] {
				m.t.Fatalf("%s, side %d: %v; want blocked %v, dead %v", n.login, side, err, n.blocked(side), n.dead[side])
			}
			if !n.dead[side] || blocked {
				continue
			}
			n.dead[side] = false
			if side == 0 {
				n.admin = m.login(n.login)
			} else {
				n.member = m.login(n.login + "-project")
			}
		}
	}
}
