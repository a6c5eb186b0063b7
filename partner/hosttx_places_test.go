package partner_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// placeStory is every mutating verb about account types, accounts of any type and their members, in an order in which each succeeds.
func (w *world) placeStory(p partner.Partner, me context.Context) []deed {
	w.certify(p.ID, "places", partner.Period{})
	lender, _ := w.partner("lender")
	admin, host := string(p.Contact), "host:ops@vendor.example"
	lab, office, hall := w.solution(me, "Lab"), w.account(me, "standard", "Office"), w.account(me, "standard", "Hall")
	extra, spare := w.special(me, lab.ID, "Extra"), w.special(me, lab.ID, "Spare")
	clerk, _ := w.moved(me, office.ID, partner.Employee, "clerk@user.example")
	invited := w.member(me, office.ID, partner.NewMember{Kind: partner.Employee, Email: "later@user.example"})
	helper := w.user(lender.ID, "lent")
	place, _ := w.moved(me, office.ID, partner.Collaborator, "lent@user.example")
	w.must(second(w.reg.Accounts.RequestOpen(w.vendor, p.Email)))
	token := w.waiting(p.Email)
	accounts := func(what string, of string, target string, do func(*partner.Accounts) error) deed {
		return deed{what, of, p.ID, target, func(r rooms) (string, error) { return "", do(r.reg.Accounts) }, false}
	}
	open := func(ctx context.Context, n partner.NewAccount) deed {
		return deed{"account.opened", admin, p.ID, "", func(r rooms) (string, error) { a, err := r.reg.Accounts.Open(ctx, n); return string(a.ID), err }, false}
	}
	add := func(kind string, id partner.AccountID, m partner.NewMember) deed {
		return deed{kind, admin, p.ID, "", func(r rooms) (string, error) {
			made, err := r.reg.Accounts.AddMember(me, id, m)
			return string(made.ID), err
		}, false}
	}
	return []deed{
		{"account_type.defined", host, partner.Vendor, "story", func(r rooms) (string, error) {
			return "", r.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "story", Ceiling: canary})
		}, false},
		open(me, partner.NewAccount{Type: "standard", Name: canary, Key: canary}),
		open(me, partner.NewAccount{Type: "solution", Name: canary}),
		open(context.Background(), partner.NewAccount{Type: "solution", Name: canary + " by mail", Token: token}),
		accounts("account.open_requested", host, admin, func(d *partner.Accounts) error { return second(d.RequestOpen(w.vendor, p.Email)) }),
		accounts("account.edited", admin, string(office.ID), func(d *partner.Accounts) error {
			return second(d.Edit(me, office.ID, office.Version, func(n *partner.NewAccount) { n.Name = canary + " Office" }))
		}),
		accounts("account.misused", host, string(lab.ID), func(d *partner.Accounts) error { return d.ReportMisuse(w.vendor, lab.ID, "orders") }),
		add("member.added", lab.ID, partner.NewMember{Kind: partner.Special, Name: canary, Email: canary + "@x.example", Roles: []string{canary}, Key: canary + "-1"}),
		add("member.invited", office.ID, partner.NewMember{Kind: partner.External, Name: canary, Email: canary + "@x.example", Roles: []string{canary}}),
		accounts("member.reinvited", admin, string(invited.ID), func(d *partner.Accounts) error { return second(d.ReinviteMember(me, invited.ID)) }),
		accounts("member.edited", admin, string(extra.ID), func(d *partner.Accounts) error {
			return second(d.EditMember(me, extra.ID, extra.Version, func(m *partner.NewMember) { m.Name, m.Email, m.Roles = canary, canary+"@y.example", []string{canary} }))
		}),
		accounts("member.deactivated", admin, string(extra.ID), func(d *partner.Accounts) error { return d.DeactivateMember(me, extra.ID) }),
		accounts("member.reactivated", admin, string(extra.ID), func(d *partner.Accounts) error { return d.ReactivateMember(me, extra.ID) }),
		accounts("member.removed", admin, string(spare.ID), func(d *partner.Accounts) error { return d.RemoveMember(me, spare.ID) }),
		accounts("password.reset_asked", admin, string(clerk.ID), func(d *partner.Accounts) error { return second(d.ResetMemberPassword(me, clerk.ID)) }),
		accounts("account.transferred", admin, string(hall.ID), func(d *partner.Accounts) error { return d.TransferOwnership(me, hall.ID, "usr_second") }),
		{"session.opened", string(place.ID), p.ID, "", func(r rooms) (string, error) { s, err := r.reg.Access.WorkIn(helper, place.ID); return s.ID, err }, true},
	}
}

// TestBEY01_WhatAsksTheHostOrBeginsASessionRefuses: a host's transaction has no room for callbacks, nor for sessions that a rollback would undo.
func TestBEY01_WhatAsksTheHostOrBeginsASessionRefuses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		asked := 0
		w := newWorld(t, db, func(o *partner.Options) {
			o.Features = func(context.Context, string, string) (bool, error) { asked++; return true, nil }
			o.StepUp = func(context.Context, string, string, string) (bool, error) { asked++; return true, nil }
		})
		p, me := w.partner("acme")
		w.certify(p.ID, "gold", partner.Period{})
		w.addUser(p.ID, "usr_second")
		lender, _ := w.partner("lender")
		lab := w.solution(me, "Lab").ID
		extra := w.special(me, lab, "Extra").ID
		w.certify(lender.ID, "gold", partner.Period{})
		helper := w.user(lender.ID, "lent")
		place, _ := w.moved(me, lab, partner.Collaborator, "lent@user.example")
		w.must(second(w.reg.Accounts.AddMember(me, lab, partner.NewMember{Kind: partner.External, Email: "late@user.example", Roles: []string{"clerk"}})))
		late := w.waiting("late@user.example")
		calls := []struct {
			name string
			call func(*partner.Registry) error
		}{
			{"Entitled", func(r *partner.Registry) error { return second(r.Accounts.Entitled(me, lab, "charts")) }},
			{"ActAs", func(r *partner.Registry) error { return second(r.Access.ActAs(me, extra, "to look")) }},
			{"WorkIn", func(r *partner.Registry) error { return second(r.Access.WorkIn(helper, place.ID)) }},
			{"Accept", func(r *partner.Registry) error {
				return second(r.Access.Accept(context.Background(), late, partner.Acceptance{Password: password}))
			}},
			{"TransferOwnership", func(r *partner.Registry) error { return r.Accounts.TransferOwnership(me, lab, "usr_second") }},
		}
		before := dump(t, db)
		for _, c := range calls {
			wants(t, c.name+" in a host transaction", w.inHost(nil, func(_ *gorm.DB, r rooms) error { return c.call(r.reg) }), partner.ErrInvalid)
		}
		if left := differing(before, dump(t, db)); asked != 0 || len(left) > 0 {
			t.Errorf("the host was asked %d times, and %v changed", asked, left)
		}
		for _, c := range calls { // as they are, they are good
			if err := c.call(w.reg); err != nil {
				t.Errorf("%s alone: %v", c.name, err)
			}
		}
	})
}

// TestBEY01_OneTransactionOpensAndFills: an account, its members and a refusal among them come and go with the host's rows.
func TestBEY01_OneTransactionOpensAndFills(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.certify(p.ID, "gold", partner.Period{})
		fill := func(r rooms) error {
			lab, err := r.reg.Accounts.Open(me, partner.NewAccount{Type: "solution", Name: "Lab"})
			w.must(err)
			extra, err := r.reg.Accounts.AddMember(me, lab.ID, partner.NewMember{Kind: partner.Special, Name: "Extra", Email: "extra@user.example"})
			w.must(err)
			for range 2 { // each undoes itself alone, the place that it took too
				_, err = r.reg.Accounts.AddMember(me, lab.ID, partner.NewMember{Kind: partner.Special, Name: "Twin", Email: "extra@user.example"})
				wantsFields(w.t, "a taken address", err, "email:taken")
			}
			for range 9 {
				w.must(second(r.reg.Accounts.AddMember(me, lab.ID, partner.NewMember{Kind: partner.Special, Name: "Extra"})))
			}
			quota := (*partner.QuotaError)(nil)
			_, err = r.reg.Accounts.AddMember(me, lab.ID, partner.NewMember{Kind: partner.Special, Name: "Eleventh"})
			if !errors.As(err, &quota) || quota.Limit != 10 || quota.InUse != 10 {
				w.t.Errorf("the eleventh: %v", err)
			}
			w.must(r.reg.Accounts.DeactivateMember(me, extra.ID))
			w.must(second(r.reg.Accounts.AddMember(me, lab.ID, partner.NewMember{Kind: partner.Special, Name: "Eleventh"})))
			wants(w.t, "back in", r.reg.Accounts.ReactivateMember(me, extra.ID), partner.ErrQuota)
			return nil
		}
		before := dump(w.t, w.db)
		err := w.inHost(errRollBack, func(_ *gorm.DB, r rooms) error { return fill(r) })
		if left := differing(before, dump(w.t, w.db)); !errors.Is(err, errRollBack) || len(left) > 0 {
			w.t.Fatalf("rolled back: %v, and something is left in %v", err, left)
		}
		w.must(w.inHost(nil, func(_ *gorm.DB, r rooms) error { return fill(r) }))
		if n := rowsIn(w.t, w.db, "prm_members WHERE state = 'active'"); n != 10 {
			w.t.Errorf("%d are active", n)
		}
	})
}

// TestPLX27_WhatCannotSeeThePresentRefuses: inside a snapshot, what ends a place or gives an account away would miss sessions that began since.
func TestPLX27_WhatCannotSeeThePresentRefuses(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	p, me := w.partner("acme")
	w.certify(p.ID, "gold", partner.Period{})
	w.addUser(p.ID, "usr_second")
	lab := w.solution(me, "Lab")
	active, inactive := w.special(me, lab.ID, "Active"), w.special(me, lab.ID, "Inactive")
	w.must(w.reg.Accounts.DeactivateMember(me, inactive.ID))
	for _, level := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable} {
		tx := w.db.Begin(&sql.TxOptions{Isolation: level})
		w.must(tx.Error)
		in := w.reg.In(tx).Accounts
		for verb, err := range map[string]error{
			"TransferOwnership": in.TransferOwnership(me, lab.ID, "usr_second"), "DeactivateMember": in.DeactivateMember(me, active.ID),
			"ReactivateMember": in.ReactivateMember(me, inactive.ID), "RemoveMember": in.RemoveMember(me, active.ID),
		} {
			wants(t, verb, err, partner.ErrInvalid)
		}
		w.must(second(in.Members(me, lab.ID, partner.PageRequest{}))) // others go on
		w.must(second(in.AddMember(me, lab.ID, partner.NewMember{Kind: partner.Special, Name: "New"})))
		w.must(tx.Rollback().Error)
	}
}

// onPlace are attempts at what is not for those who work in an account, nor for its own log-in.
func (w *world) onPlace(as context.Context, id partner.AccountID, member partner.MemberID, want error) (list []attempt) {
	verbs := joined(w.placeVerbs(as, id), w.memberVerbs(as, member))
	delete(verbs, "WorkIn")           // whoever calls it is nobody who could have a place
	if want == partner.ErrForbidden { // it sees the account, and who is in it
		for _, verb := range []string{"Entitled", "Members", "Member", "Sessions"} {
			delete(verbs, verb)
		}
	}
	for verb, call := range verbs {
		list = append(list, attempt{verb, call(), want})
	}
	return list
}
