package partner_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// TestPLX27_AnOwnerSeesHisAccount: the vendor names no owner who would not see the account.
func TestPLX27_AnOwnerSeesHisAccount(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		one := w.project(me, "one")
		u := w.addedUser(p.ID, "dev", func(u *partner.NewUser) { u.Scope.Accounts = []partner.AccountID{one.ID} })
		a, err := w.reg.Accounts.Open(w.vendor, partner.NewAccount{Type: "standard", Name: "A", Partner: p.ID, OwnerEmail: u.Email})
		if err != nil {
			return
		}
		if _, err := w.reg.Accounts.Get(w.login("dev"), a.ID); err != nil {
			w.t.Errorf("the owner reads his account: %v", err)
		}
	})
}

// TestPIL32_AMembersOwnSessions: a member of accounts sees and ends his sessions in all of them.
func TestPIL32_AMembersOwnSessions(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		_, beta := w.partner("beta")
		a, b := w.opened(acme, "A"), w.opened(beta, "B")
		const who = "vic@member.example"
		_, inA := w.joinedAs(box, acme, a.ID, partner.External, who)
		_, inB := w.joinedAs(box, beta, b.ID, partner.External, who)
		if n := len(w.sessions(inA, "")); n != 2 {
			w.t.Errorf("he sees %d of his 2 sessions", n)
		}
		other := w.sessions(inB, "")[0].ID
		if err := w.reg.Access.EndSession(inA, other); err != nil {
			w.t.Errorf("he ends his other session: %v", err)
		}
	})
}

// TestPIL23_ThePolicyOfAKnownPerson: a member's password is held to the policy of the organisation whose user he becomes.
func TestPIL23_ThePolicyOfAKnownPerson(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		strict, boss := w.partner("strict")
		strict = w.edit(strict, func(a *partner.Agreement) { a.PasswordPolicy = "complex" })
		a := w.opened(acme, "A")
		w.memberAt(acme, a.ID, partner.External, "vic@user.example")
		_, err := w.reg.Access.Accept(w.t.Context(), w.token(box, "invitation", "vic@user.example"), partner.Acceptance{Password: "vx81kqpz"})
		w.must(err)
		w.invited(boss, strict.ID, "vic")
		_, err = w.reg.Access.Accept(w.t.Context(), w.token(box, "welcome", "vic@user.example"), partner.Acceptance{Password: "vx81kqpz"})
		if err == nil {
			w.t.Error("became a user of an organisation with the policy complex by a password of 8 characters")
		}
	})
}

// TestPIL32_TheResetOfOneWhoIsAUserNow: the owner's token for a new password is of no use once the member is a partner's user.
func TestPIL32_TheResetOfOneWhoIsAUserNow(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		beta, boss := w.partner("beta")
		a := w.opened(acme, "A")
		m, _ := w.joinedAs(box, acme, a.ID, partner.External, "vic@user.example")
		w.must(second(w.reg.Accounts.ResetMemberPassword(acme, m.ID)))
		token := w.token(box, "member_password_reset", "vic@user.example")
		w.invited(boss, beta.ID, "vic")
		w.must(second(w.accept(w.token(box, "welcome", "vic@user.example"))))
		wants(w.t, "a new one", second(w.reg.Accounts.ResetMemberPassword(acme, m.ID)), partner.ErrForbidden)
		if _, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "quite another secret"}); err == nil {
			w.t.Error("the old token serves")
		}
	})
}

// TestPIL12_WhatEndsASessionInAPlace: what ends a session in a place ends it in this process and in one that remembers nothing, and ends no other.
func TestPIL12_WhatEndsASessionInAPlace(t *testing.T) {
	type scene struct {
		*world
		acme, beta     partner.Partner
		me, boss       context.Context
		a              partner.Account
		col, emp, spec partner.MemberInfo
		u              partner.User
	}
	for name, c := range map[string]struct {
		do   func(s scene) error
		dead string // of c(ollaborator) e(mployee who is no user) a(cting)
	}{
		"deactivate":   {func(s scene) error { return s.reg.Accounts.DeactivateMember(s.me, s.col.ID) }, "c"},
		"remove":       {func(s scene) error { return s.reg.Accounts.RemoveMember(s.me, s.emp.ID) }, "e"},
		"special":      {func(s scene) error { return s.reg.Accounts.DeactivateMember(s.me, s.spec.ID) }, "a"},
		"transfer":     {func(s scene) error { return s.reg.Accounts.TransferOwnership(s.vendor, s.a.ID, s.u.ID) }, "a"},
		"block home":   {func(s scene) error { return s.reg.Partners.Block(s.vendor, s.beta.ID, false) }, "c"},
		"block owner":  {func(s scene) error { return s.reg.Partners.Block(s.vendor, s.acme.ID, false) }, "a"},
		"block users":  {func(s scene) error { return s.reg.Partners.BlockUsers(s.vendor, s.acme.ID, false) }, "cea"},
		"archive home": {func(s scene) error { return s.reg.Partners.Archive(s.vendor, s.beta.ID) }, "c"},
		"archive":      {func(s scene) error { return s.reg.Partners.Archive(s.vendor, s.acme.ID) }, "cea"},
		"disable":      {func(s scene) error { return s.reg.Users.Disable(s.vendor, s.userID("dev")) }, "c"},
		"remove user":  {func(s scene) error { return s.reg.Users.Remove(s.vendor, s.userID("dev")) }, "c"},
		"log out all":  {func(s scene) error { return s.reg.Access.LogoutAll(s.vendor, s.userID("dev")) }, "c"},
		"password": {func(s scene) error {
			return s.reg.Access.ChangePassword(s.login("emp@member.example"), password, "quite another secret")
		}, "e"},
		"password (col)": {func(s scene) error {
			return s.reg.Access.ChangePassword(s.login("dev"), password, "quite another secret")
		}, "c"},
		"password (own)": {func(s scene) error {
			return s.reg.Access.ChangePassword(s.login("acme"), password, "quite another secret")
		}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			mailing(t, func(w *world, box *postbox) {
				s := scene{world: w}
				s.acme, s.me = w.partner("acme")
				s.beta, s.boss = w.partner("beta")
				w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "all", Quota: partner.Quota{Employees: -1, SpecialEmployees: -1, ExternalUsers: -1, Collaborators: -1}}))
				a, err := w.reg.Accounts.Open(s.me, partner.NewAccount{Type: "all", Name: "A"})
				w.must(err)
				s.a, s.u = a, w.addedUser(s.acme.ID, "second")
				w.addedUser(s.beta.ID, "dev")
				s.spec, err = w.reg.Accounts.AddMember(s.me, a.ID, partner.NewMember{Kind: partner.Special, Name: "S"})
				w.must(err)
				var col, emp context.Context
				s.col, col = w.joinedAs(box, s.me, a.ID, partner.Collaborator, "dev@user.example")
				s.emp, emp = w.joinedAs(box, s.me, a.ID, partner.Employee, "emp@member.example")
				as, err := w.reg.Access.ActAs(s.me, s.spec.ID, "try")
				w.must(err)
				act := partner.WithSession(t.Context(), as)
				w.must(c.do(s))
				fresh, err := partner.Open(context.Background(), w.db.DB, &partner.Options{Clock: w.clock.Now, Hasher: plainHasher{}})
				w.must(err)
				for i, ctx := range []context.Context{col, emp, act} {
					for at, reg := range map[string]*partner.Registry{"here": w.reg, "afresh": fresh} {
						_, err := reg.Access.Active(ctx)
						if dead := contains(c.dead, "cea"[i]); dead != (err != nil) {
							w.t.Errorf("%s, %c: %v", at, "cea"[i], err)
						}
					}
				}
				w.countsAdd()
			})
		})
	}
}

func contains(s string, b byte) bool {
	for i := range len(s) {
		if s[i] == b {
			return true
		}
	}
	return false
}

func (w *world) userID(login string) (id partner.UserID) {
	w.must(w.db.Raw("SELECT u.id FROM prm_users u JOIN prm_identities i ON i.id = u.identity_id WHERE i.login_key = ?", login).Scan(&id).Error)
	return id
}

// TestPLX06_CountersUnderRandomDeeds: one after the other, some in a host transaction that is undone: counters stay what the rows are.
func TestPLX06_CountersUnderRandomDeeds(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			box := newPostbox()
			w := newWorld(t, dbtest.New(t, []string{dbtest.SQLite, dbtest.Postgres}[seed%2]), func(o *partner.Options) { o.Notifier = box; o.InvitationLife = time.Hour })
			acme, me := w.partner("acme")
			beta, _ := w.partner("beta")
			w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "small", Quota: partner.Quota{Employees: 2, SpecialEmployees: 2, ExternalUsers: 1, Collaborators: 2}, MaxPerPartner: 0}))
			a, err := w.reg.Accounts.Open(me, partner.NewAccount{Type: "small", Name: "A"})
			w.must(err)
			other := w.addedUser(acme.ID, "second")
			kinds := []partner.MemberKind{partner.Employee, partner.Special, partner.External, partner.Collaborator}
			var ids []partner.MemberID
			owners := []context.Context{me, w.login("second")}
			owner := 0
			users, opens := 0, 1
			for step := range 150 {
				ctx := owners[owner]
				reg := w.reg
				pick := partner.MemberID("mem_none")
				if len(ids) > 0 {
					pick = ids[rnd.IntN(len(ids))]
				}
				deed := rnd.IntN(13)
				undo := deed < 8 && deed != 3 && rnd.IntN(4) == 0
				tx := w.db.DB
				if undo {
					tx = w.db.Begin()
					reg = w.reg.In(tx)
				}
				switch deed {
				case 0, 1, 2:
					kind := kinds[rnd.IntN(4)]
					email := fmt.Sprintf("p%d@member.example", step)
					if kind == partner.Collaborator && !undo {
						users++
						email = w.addedUser(beta.ID, fmt.Sprint("u", step)).Email
					}
					m, err := reg.Accounts.AddMember(ctx, a.ID, partner.NewMember{Kind: kind, Name: "x", Email: email, Roles: []string{"r"}, Key: fmt.Sprint("k", step/2)})
					if err == nil && !undo {
						ids = append(ids, m.ID)
					}
				case 3:
					m, err := w.reg.Accounts.Member(ctx, pick)
					if err == nil && m.State == "invited" {
						w.post()
						for i := len(box.sent) - 1; i >= 0; i-- {
							if box.sent[i].To == m.Email && box.sent[i].Template == "invitation" {
								_, _ = w.accept(box.sent[i].Token)
								break
							}
						}
					}
				case 4:
					_ = reg.Accounts.DeactivateMember(ctx, pick)
				case 5:
					_ = reg.Accounts.ReactivateMember(ctx, pick)
				case 6:
					_ = reg.Accounts.RemoveMember(ctx, pick)
				case 7:
					_, _ = reg.Accounts.ReinviteMember(ctx, pick)
				case 8:
					w.clock.Advance(time.Duration(rnd.IntN(90)) * time.Minute)
				case 9:
					w.post()
				case 10:
					to := []partner.UserID{acme.Contact, other.ID}[1-owner]
					if err := w.reg.Accounts.TransferOwnership(w.vendor, a.ID, to); err == nil {
						owner = 1 - owner
					}
				case 11:
					var who []partner.UserID
					w.must(w.db.Raw("SELECT id FROM prm_users WHERE partner_id = ? AND ended_at = 0 AND id <> ? ORDER BY id", beta.ID, beta.Contact).Scan(&who).Error)
					if len(who) > 0 {
						w.must(w.reg.Users.Remove(w.vendor, who[rnd.IntN(len(who))]))
					}
				case 12:
					max := int64(rnd.IntN(4))
					w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "small", Quota: partner.Quota{Employees: 2, SpecialEmployees: 2, ExternalUsers: 1, Collaborators: 2}, MaxPerPartner: max}))
					if _, err := w.reg.Accounts.Open(me, partner.NewAccount{Type: "small", Name: "more"}); err == nil {
						opens++
					}
					var used []int64
					w.must(w.db.Raw("SELECT used FROM prm_quotas WHERE account_id = '' AND kind = 'small'").Scan(&used).Error)
					if len(used) > 0 && used[0] != int64(opens) {
						t.Fatalf("step %d: accounts %d, counted %d", step, opens, used[0])
					}
				}
				if undo {
					w.must(tx.Rollback().Error)
				}
				owners[0], owners[1] = w.login("acme"), w.login("second")
				if w.countsAdd(); t.Failed() {
					t.Fatalf("step %d, deed %d, undone %v", step, deed, undo)
				}
			}
		})
	}
}
