package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// shown are the log-in names of what a list shows, sorted.
func (w *world) shown(ctx context.Context, f partner.PartnerFilter) (logins []string) {
	w.t.Helper()
	for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
		return w.reg.Partners.List(ctx, f, r)
	}) {
		w.must(err)
		logins = append(logins, p.Login)
	}
	slices.Sort(logins)
	return logins
}

func (w *world) lists(what string, ctx context.Context, f partner.PartnerFilter, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if got := w.shown(ctx, f); !slices.Equal(got, want) {
		w.t.Errorf("%s: the list is %q, want %q", what, got, want)
	}
}

func TestBEY05_ArchiveAndBack(t *testing.T) {
	each(t, func(w *world) {
		p, me, a := w.supplied(10)
		_, boss := w.partner("below", under(p.ID))
		dan := w.addedUser(p.ID, "dan")
		w.must(w.reg.Users.Disable(w.vendor, dan.ID))
		admin, project := person{"acme", me}, w.person("one")
		w.must(second(w.seats.Assign(me, a.ID, "seat", 4)))
		w.must(w.reg.Partners.Archive(w.vendor, p.ID))

		w.isBlocked("archived", admin, "archived")
		w.isBlocked("archived", project, "archived")
		w.isFree("archived above", person{"below", boss})
		w.lists("archived", w.vendor, partner.PartnerFilter{}, "below")
		w.lists("archived, asked for", w.vendor, partner.PartnerFilter{IncludeArchived: true}, "acme", "below")
		w.lists("archived, searched", w.vendor, partner.PartnerFilter{Search: "partner"}, "below")
		got, err := w.reg.Partners.Get(w.vendor, p.ID)
		w.must(err)
		if got.State != "archived" || got.Accounts != 1 {
			w.t.Errorf("the partner is %s with %d accounts", got.State, got.Accounts)
		}
		w.archivedRefuses(p.ID, a.ID)

		w.must(w.reg.Partners.Restore(w.vendor, p.ID))
		w.isRenewed("restored", admin)
		w.isRenewed("restored", project)
		w.isFree("restored", w.person("acme"))
		w.lists("restored", w.vendor, partner.PartnerFilter{}, "acme", "below")
		if n := w.available(w.vendor, a.ID, "seat"); n != 4 {
			w.t.Errorf("the project has %d licences, want 4", n)
		}
		_, err = w.reg.Access.Login(context.Background(), "dan", password, "")
		wants(w.t, "the log-in of one who was disabled before", err, partner.ErrForbidden)
		if n := rowsIn(w.t, w.db, "prm_events WHERE kind IN ('partner.archived', 'partner.restored') AND partner_id = ? AND changed = 'state'", p.ID); n != 2 {
			w.t.Errorf("%d events, want 2", n)
		}
	})
}

// archivedRefuses is what nobody can begin under an archived partner, not even the vendor.
func (w *world) archivedRefuses(p partner.ID, a partner.AccountID) {
	w.t.Helper()
	child, apart := agreement("child"), agreement("apart")
	child.Parent = p
	other, err := w.reg.Partners.Create(w.vendor, apart)
	w.must(err)
	for what, err := range map[string]error{
		"Grant": second(w.seats.Grant(w.vendor, p, "seat", 1)), "Users.Add": second(w.reg.Users.Add(w.vendor, p, newUser("eve"))),
		"Create below": second(w.reg.Partners.Create(w.vendor, child)), "MoveUnder": w.reg.Partners.MoveUnder(w.vendor, other.ID, p),
	} {
		var blocked *partner.BlockedError
		if !errors.As(err, &blocked) || !slices.Equal(blocked.Reasons, []string{"archived"}) {
			w.t.Errorf("%s: %v", what, err)
		}
	}
	w.must(second(w.seats.Balance(w.vendor, a, "seat"))) // looking goes on
	w.must(w.reg.Partners.Archive(w.vendor, other.ID))
	w.must(w.reg.Partners.Tombstone(w.vendor, other.ID))
}

// TestBEY05_WhoManagesItIsRefusedToo: an admin above works under an archived partner no more than its own people.
func TestBEY05_WhoManagesItIsRefusedToo(t *testing.T) {
	each(t, func(w *world) {
		top, _ := w.partner("top", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		p, below := w.partner("below", under(top.ID))
		w.stock(p.ID, "seat", 10)
		a, b := w.project(below, "one"), w.project(below, "two")
		above := w.login("top")
		w.must(w.reg.Access.SwitchTo(above, a.ID))
		w.must(w.reg.Partners.Archive(w.vendor, p.ID))
		for what, err := range map[string]error{
			"Active": second(w.reg.Access.Active(above)), "SwitchTo": w.reg.Access.SwitchTo(above, b.ID), "Close": second(w.reg.Accounts.Close(above, b.ID)),
			"Assign": second(w.seats.Assign(above, b.ID, "seat", 1)), "Return": second(w.seats.Return(above, "seat", 1)),
		} {
			wants(w.t, what, err, partner.ErrBlocked)
		}
		w.must(w.reg.Access.SwitchBack(above))
		w.must(w.reg.Partners.Restore(w.vendor, p.ID))
		w.must(w.reg.Access.SwitchTo(above, a.ID))
	})
}

func TestBEY05_WhatCannotBeArchived(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "one")
		invited := agreement("invited")
		invited.Password = ""
		pending, err := w.reg.Partners.Invite(w.vendor, invited)
		w.must(err)
		none := func(what string, id partner.ID, verbs ...func(context.Context, partner.ID) error) {
			w.t.Helper()
			before := dump(w.t, w.db)
			for i, verb := range verbs {
				wants(w.t, fmt.Sprint(what, " ", i), verb(w.vendor, id), partner.ErrBadTransition)
			}
			if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
				w.t.Errorf("%s: refused, and left something in %v", what, left)
			}
		}
		d := w.reg.Partners
		none("pending", pending.ID, d.Archive, d.Restore, d.Tombstone)
		tamper(w.t, w.db, "UPDATE prm_partners SET state = 'expired' WHERE id = ?", pending.ID)
		none("expired", pending.ID, d.Archive, d.Restore, d.Tombstone)
		none("active", p.ID, d.Restore, d.Tombstone)
		for what, err := range map[string]error{"Archive": d.Archive(w.vendor, partner.Vendor), "Tombstone": d.Tombstone(w.vendor, partner.Vendor),
			"by itself": d.Archive(me, p.ID)} {
			wants(w.t, what, err, partner.ErrForbidden)
		}
		wants(w.t, "nobody", d.Archive(w.vendor, "prt_nobody"), partner.ErrNotFound)

		w.must(second(w.reg.Accounts.Close(me, a.ID)))
		none("with a project that is closing", p.ID, d.Archive)
		tamper(w.t, w.db, "UPDATE prm_accounts SET state = 'deleting' WHERE id = ?", a.ID)
		none("with a project that is deleted", p.ID, d.Archive)
		tamper(w.t, w.db, "UPDATE prm_accounts SET state = 'deleted' WHERE id = ?", a.ID)
		w.must(d.Archive(w.vendor, p.ID))
		none("archived", p.ID, d.Archive)
		w.must(d.Tombstone(w.vendor, p.ID))
		none("at its end", p.ID, d.Archive, d.Restore, d.Tombstone, func(ctx context.Context, id partner.ID) error {
			return second(d.Edit(ctx, id, 5, func(a *partner.Agreement) { a.Name = "X" }))
		})
	})
}

// TestBEY05_ATombstoneGivesNamesBack: its people can be somebody else's, and nothing of theirs opens anything any more.
func TestBEY05_ATombstoneGivesNamesBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db, func(o *partner.Options) { o.DeliverTokens = true })
		p, me := w.partner("acme")
		w.project(me, "one")
		dan := w.addedUser(p.ID, "dan")
		reset, err := w.reg.Users.ResetPassword(w.vendor, dan.ID)
		w.must(err)
		guest := newUser("guest")
		guest.Login, guest.Password = "", ""
		invited, err := w.reg.Users.Add(w.vendor, p.ID, guest)
		w.must(err)
		q, _ := w.partner("other")
		elsewhere := newUser("dan-elsewhere")
		elsewhere.Email = dan.Email
		wants(w.t, "an address that is another's", second(w.reg.Users.Add(w.vendor, q.ID, elsewhere)), partner.ErrEmailInOtherPartner)

		w.must(w.reg.Partners.Archive(w.vendor, p.ID))
		_, err = w.reg.Access.Accept(context.Background(), invited.Token, partner.Acceptance{Password: password})
		wants(w.t, "an invitation of an archived partner", err, partner.ErrBlocked)
		w.must(w.reg.Partners.Tombstone(w.vendor, p.ID))

		for _, login := range []string{"acme", "dan", "one"} {
			_, err := w.reg.Access.Login(context.Background(), login, password, "")
			wants(w.t, "the log-in of "+login, err, partner.ErrBadCredentials)
		}
		for what, token := range map[string]partner.Secret{"invitation": invited.Token, "new password": reset} {
			_, err := w.reg.Access.Accept(context.Background(), token, partner.Acceptance{Password: password})
			wants(w.t, what, err, partner.ErrTokenExpired)
		}
		wants(w.t, "a new password of one who has left", second(w.reg.Users.ResetPassword(w.vendor, dan.ID)), partner.ErrNotFound)
		elsewhere.Login = "dan"
		w.must(second(w.reg.Users.Add(w.vendor, q.ID, elsewhere)))
		_, again := w.partner("acme")
		w.project(again, "one")
		for what, n := range map[string]int64{"prm_partners WHERE id = ? AND state = 'tombstoned'": 1, "prm_users WHERE partner_id = ?": 3,
			"prm_accounts WHERE partner_id = ?": 1, "prm_contracts WHERE partner_id = ?": 1} {
			if got := rowsIn(w.t, w.db, what, p.ID); got != n {
				w.t.Errorf("%s: %d rows, want %d", what, got, n)
			}
		}
	})
}

// TestBEY05_NothingAfterArchiveReturned: callers work as fast as they can; what is there when Archive returns is what there is when the last of them
// has been refused.
func TestBEY05_NothingAfterArchiveReturned(t *testing.T) {
	each(t, func(w *world) {
		p, _, a := w.supplied(1_000_000)
		var began, all sync.WaitGroup
		for i := range 4 {
			me := w.login("acme")
			began.Add(1)
			all.Go(func() {
				for n := 0; ; n++ {
					err := second(w.seats.Assign(me, a.ID, "seat", 1))
					if i == 0 {
						err = second(w.reg.Accounts.OpenProject(me, newProject(fmt.Sprintf("race-%d", n))))
					}
					if n == 0 {
						began.Done()
					}
					if err == nil {
						continue
					}
					if !errors.Is(err, partner.ErrBlocked) {
						w.t.Errorf("a call beside Archive: %v", err)
					}
					return
				}
			})
		}
		began.Wait()
		w.must(w.reg.Partners.Archive(w.vendor, p.ID))
		then := dump(w.t, w.db)
		all.Wait()
		if left := differing(then, dump(w.t, w.db)); len(left) > 0 {
			w.t.Errorf("after Archive had returned, something came into %v", left)
		}
		w.sound()
	})
}

// TestBEY05_ArchiveOrClose: of the two at once, one is refused.
func TestBEY05_ArchiveOrClose(t *testing.T) {
	each(t, func(w *world) {
		for i := range 15 {
			name := fmt.Sprintf("p%d", i)
			p, me := w.partner(name)
			a := w.project(me, name+"-project")
			var archived, closed error
			var both sync.WaitGroup
			both.Go(func() { archived = w.reg.Partners.Archive(w.vendor, p.ID) })
			both.Go(func() { _, closed = w.reg.Accounts.Close(me, a.ID) })
			both.Wait()
			switch {
			case archived == nil && errors.Is(closed, partner.ErrBlocked):
			case closed == nil && errors.Is(archived, partner.ErrBadTransition):
			default:
				w.t.Fatalf("archive: %v, close: %v", archived, closed)
			}
		}
	})
}
