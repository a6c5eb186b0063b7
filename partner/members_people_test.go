package partner_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

func (w *world) opened(me context.Context, name string) partner.Account {
	w.t.Helper()
	a, err := w.reg.Accounts.Open(me, partner.NewAccount{Type: "standard", Name: name})
	w.must(err)
	return a
}

func (w *world) memberAt(me context.Context, a partner.AccountID, kind partner.MemberKind, email string) partner.MemberInfo {
	w.t.Helper()
	n := partner.NewMember{Kind: kind, Name: "N " + email, Email: email, Roles: []string{"helper"}}
	m, err := w.reg.Accounts.AddMember(me, a, n)
	w.must(err)
	return m
}

// joinedAs invites, and accepts with a password.
func (w *world) joinedAs(box *postbox, me context.Context, a partner.AccountID, kind partner.MemberKind, email string) (partner.MemberInfo, context.Context) {
	w.t.Helper()
	m := w.memberAt(me, a, kind, email)
	ctx, err := w.accept(w.token(box, "invitation", email))
	w.must(err)
	return m, ctx
}

func pgMailing(t *testing.T, test func(w *world, box *postbox), change ...func(*partner.Options)) {
	t.Helper()
	box := newPostbox()
	test(newWorld(t, dbtest.New(t, dbtest.Postgres), append([]func(*partner.Options){func(o *partner.Options) { o.Notifier = box }}, change...)...), box)
}

// blocked waits until n transactions of the database wait for a row.
func (w *world) blocked(n int64) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if rowsIn(w.t, w.db, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") >= n {
			return
		}
	}
	w.t.Fatal("nobody waits")
}

func (w *world) holdAccount(a partner.AccountID) *gorm.DB {
	w.t.Helper()
	tx := w.db.Begin()
	w.must(tx.Exec("SELECT 1 FROM prm_accounts WHERE id = ? FOR NO KEY UPDATE", a).Error)
	return tx
}

// TestPIL32_AResetEndsSessionsInOtherAccountsInMemoryToo: a new password ends sessions in other accounts, for who remembers them as well.
func TestPIL32_AResetEndsSessionsInOtherAccountsInMemoryToo(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		_, beta := w.partner("beta")
		a, b := w.opened(acme, "A"), w.opened(beta, "B")
		const who = "vic@member.example"
		m, _ := w.joinedAs(box, acme, a.ID, partner.External, who)
		_, inB := w.joinedAs(box, beta, b.ID, partner.External, who)
		w.must(second(w.reg.Access.Active(inB)))
		w.must(second(w.reg.Accounts.ResetMemberPassword(acme, m.ID)))
		token := w.token(box, "member_password_reset", who)
		hold := w.holdAccount(a.ID)
		done := make(chan error, 1)
		go func() {
			_, err := w.reg.Access.Accept(context.Background(), token, partner.Acceptance{Password: "quite another secret"})
			done <- err
		}()
		w.blocked(1) // the epoch is raised and not committed
		w.must(second(w.reg.Access.Active(inB)))
		w.clock.Advance(2 * time.Second)
		for range 70 {
			w.must(second(w.reg.Access.Active(inB)))
		}
		w.must(hold.Rollback().Error)
		w.must(<-done)
		if err := second(w.reg.Access.Active(inB)); err == nil {
			t.Error("after the reset returned, a session of the old password is alive (read)")
		}
		fresh, err := partner.Open(context.Background(), w.db.DB, &partner.Options{Clock: w.clock.Now, Hasher: plainHasher{}})
		w.must(err)
		wants(t, "a process that remembers nothing", second(fresh.Access.Active(inB)), partner.ErrForbidden)
	})
}

// TestLIM22_JoiningAPartnerEndsSessionsInMemoryToo: so does becoming a partner's user.
func TestLIM22_JoiningAPartnerEndsSessionsInMemoryToo(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		p, acme := w.partner("acme")
		_, beta := w.partner("beta")
		b := w.opened(beta, "B")
		const who = "vic@user.example"
		_, inB := w.joinedAs(box, beta, b.ID, partner.External, who)
		w.invited(acme, p.ID, "vic")
		token := w.token(box, "welcome", who)
		hold := w.db.Begin()
		w.must(hold.Exec("SELECT 1 FROM prm_partners WHERE id = ? FOR NO KEY UPDATE", p.ID).Error)
		done := make(chan error, 1)
		go func() { done <- second(w.accept(token)) }()
		w.blocked(1)
		w.must(second(w.reg.Access.Active(inB)))
		w.clock.Advance(2 * time.Second)
		for range 70 {
			w.must(second(w.reg.Access.Active(inB)))
		}
		w.must(hold.Rollback().Error)
		w.must(<-done)
		wants(t, "the old session", second(w.reg.Access.Active(inB)), partner.ErrForbidden)
	})
}

// TestLIM06_AVerifiedAddressNeverLinksToWhoHasNotProvedIt: an address that a member has proved leads to nobody who merely wrote it down.
func TestLIM06_AVerifiedAddressNeverLinksToWhoHasNotProvedIt(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		evil, evilAdmin := w.partner("evil")
		a := w.opened(acme, "A")
		const who = "vic@member.example"
		w.joinedAs(box, acme, a.ID, partner.External, who)
		stooge := newUser("stooge")
		stooge.Email = who
		u, err := w.reg.Users.Add(evilAdmin, evil.ID, stooge)
		w.must(err)
		s, err := w.enter(outside("vic-1", who))
		if err == nil && s.Principal == string(u.ID) {
			w.t.Errorf("the log-in of whoever has proved the address became that of %s of %s", s.Principal, s.Partner)
		}
	}, func(o *partner.Options) { o.LinkVerifiedEmail = true })
}

// TestPLX06_PlacesWhenAUserLeaves: a place is given back once when a user leaves while the owner of the account is at it.
func TestPLX06_PlacesWhenAUserLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		before, during func(d *partner.Accounts, me context.Context, m partner.MemberID) error
	}{
		"deactivate": {nil, func(d *partner.Accounts, me context.Context, m partner.MemberID) error {
			return d.DeactivateMember(me, m)
		}},
		"remove": {nil, func(d *partner.Accounts, me context.Context, m partner.MemberID) error { return d.RemoveMember(me, m) }},
		"reactivate": {func(d *partner.Accounts, me context.Context, m partner.MemberID) error {
			return d.DeactivateMember(me, m)
		},
			func(d *partner.Accounts, me context.Context, m partner.MemberID) error {
				return d.ReactivateMember(me, m)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			pgMailing(t, func(w *world, box *postbox) {
				_, acme := w.partner("acme")
				beta, _ := w.partner("beta")
				a := w.opened(acme, "A")
				one, two := w.addedUser(beta.ID, "one"), w.addedUser(beta.ID, "two")
				m, _ := w.joinedAs(box, acme, a.ID, partner.Collaborator, one.Email)
				w.joinedAs(box, acme, a.ID, partner.Collaborator, two.Email)
				if c.before != nil {
					w.must(c.before(w.reg.Accounts, acme, m.ID))
				}
				w.countsAdd()
				tx := w.db.Begin()
				w.must(c.during(w.reg.In(tx).Accounts, acme, m.ID))
				done := make(chan error, 1)
				go func() { done <- w.reg.Users.Remove(w.vendor, one.ID) }()
				w.blocked(1)
				w.must(tx.Commit().Error)
				w.must(<-done)
				w.countsAdd()
			})
		})
	}
}

// TestPLX06_TheOnlyPlaceWhenAUserLeaves: also where it is the only one.
func TestPLX06_TheOnlyPlaceWhenAUserLeaves(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		beta, _ := w.partner("beta")
		a := w.opened(acme, "A")
		one := w.addedUser(beta.ID, "one")
		m, _ := w.joinedAs(box, acme, a.ID, partner.Collaborator, one.Email)
		tx := w.db.Begin()
		w.must(w.reg.In(tx).Accounts.DeactivateMember(acme, m.ID))
		done := make(chan error, 1)
		go func() { done <- w.reg.Users.Remove(w.vendor, one.ID) }()
		w.blocked(1)
		w.must(tx.Commit().Error)
		if err := <-done; err != nil {
			t.Errorf("remove: %v, of kinds %v", err, kindsOf(err))
		}
		w.countsAdd()
	})
}

// TestPLX27_RemovedInASnapshot: nobody is removed in a snapshot that does not see what he has become since.
func TestPLX27_RemovedInASnapshot(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		p, acme := w.partner("acme")
		_, beta := w.partner("beta")
		a, b, c := w.opened(acme, "A"), w.opened(beta, "B"), w.opened(beta, "C")
		u, v := w.addedUser(p.ID, "u"), w.addedUser(p.ID, "v")
		w.joinedAs(box, beta, c.ID, partner.Collaborator, v.Email) // proves the address
		tx := w.db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		w.must(tx.Exec("SELECT count(*) FROM prm_users").Error)
		w.must(w.reg.Accounts.TransferOwnership(acme, a.ID, u.ID))
		m, _ := w.joinedAs(box, beta, b.ID, partner.Collaborator, v.Email)
		in := w.reg.In(tx)
		first, second := in.Users.Remove(w.vendor, u.ID), in.Users.Remove(w.vendor, v.ID)
		w.must(tx.Commit().Error)
		if first == nil {
			n := rowsIn(t, w.db, "prm_accounts a JOIN prm_users u ON u.id = a.owner_id WHERE u.ended_at <> 0")
			t.Errorf("removed an owner: %d accounts are owned by somebody who has left", n)
		}
		if second == nil {
			now, err := w.reg.Accounts.Member(beta, m.ID)
			w.must(err)
			t.Errorf("removed a collaborator, whose place is %s", now.State)
		}
	})
}

// TestPLX27_OpenedInASnapshot: nobody who has left since is made an owner.
func TestPLX27_OpenedInASnapshot(t *testing.T) {
	pgMailing(t, func(w *world, _ *postbox) {
		p, _ := w.partner("acme")
		u := w.addedUser(p.ID, "u")
		tx := w.db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		w.must(tx.Exec("SELECT count(*) FROM prm_users").Error)
		w.must(w.reg.Users.Remove(w.vendor, u.ID))
		_, err := w.reg.In(tx).Accounts.Open(w.vendor, partner.NewAccount{Type: "standard", Name: "A", Partner: p.ID, OwnerEmail: u.Email})
		w.must(tx.Commit().Error)
		if err == nil {
			t.Errorf("%d accounts are owned by somebody who has left", rowsIn(t, w.db, "prm_accounts a JOIN prm_users u ON u.id = a.owner_id WHERE u.ended_at <> 0"))
		}
	})
}

// TestLIM06_KnownByAnOutsideLogInHeBecomesAUser: whoever is known by his outside log-in accepts an invitation to an organisation with it.
func TestLIM06_KnownByAnOutsideLogInHeBecomesAUser(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, acme := w.partner("acme")
		a := w.opened(acme, "A")
		w.memberAt(acme, a.ID, partner.External, "vic@user.example")
		who := outside("vic-1", "")
		_, err := w.reg.Access.Accept(w.vendor, w.token(box, "invitation", "vic@user.example"), partner.Acceptance{Outside: &who})
		w.must(err)
		w.invited(acme, p.ID, "vic")
		_, err = w.reg.Access.Accept(w.vendor, w.token(box, "welcome", "vic@user.example"), partner.Acceptance{Outside: &who})
		if err != nil {
			w.t.Errorf("accept: %v", err)
		}
	})
}

// TestPLX21_AnExternalUserMayBecomeACollaborator: a partner's user with an unproved address may be somebody's external user first.
func TestPLX21_AnExternalUserMayBecomeACollaborator(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		beta, _ := w.partner("beta")
		a, b := w.opened(acme, "A"), w.opened(acme, "B")
		u := w.addedUser(beta.ID, "dev")
		w.joinedAs(box, acme, a.ID, partner.External, u.Email)
		w.memberAt(acme, b.ID, partner.Collaborator, u.Email)
		if _, err := w.accept(w.token(box, "invitation", u.Email)); err != nil {
			w.t.Errorf("a user of a partner as a collaborator: %v", err)
		}
	})
}

// TestPLX28_TheVendorHasNoAccounts: an admin of the vendor names a partner.
func TestPLX28_TheVendorHasNoAccounts(t *testing.T) {
	each(t, func(w *world) {
		boss := w.user(partner.Vendor, "boss", func(u *partner.NewUser) { u.Role = partner.Admin })
		a, err := w.reg.Accounts.Open(boss, partner.NewAccount{Type: "standard", Name: "A", OwnerEmail: "boss@user.example"})
		if err == nil {
			w.t.Errorf("opened %s under %s", a.ID, a.Partner)
		}
	})
}

// TestPLX04_NotFromAbove: an admin above opens no account for himself below.
func TestPLX04_NotFromAbove(t *testing.T) {
	each(t, func(w *world) {
		top, boss := w.partner("top")
		sub, _ := w.partner("sub", under(top.ID))
		tamper(w.t, w.db, "UPDATE prm_partners SET manages_sub_partners = TRUE WHERE id = ?", top.ID)
		w.certify(sub.ID, "silver", partner.Period{})
		_, err := w.reg.Accounts.Open(boss, partner.NewAccount{Type: "solution", Name: "S", Partner: sub.ID})
		if err == nil || len(kindsOf(err)) != 1 || !errors.Is(err, partner.ErrForbidden) {
			w.t.Errorf("open: %v, kinds %v", err, kindsOf(err))
		}
	})
}

// TestPIL32_SessionsThatHangOnAPlaceThatEnded: they end with it, and nothing is opened from them.
func TestPIL32_SessionsThatHangOnAPlaceThatEnded(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		_, beta := w.partner("beta")
		a, b, c := w.opened(acme, "A"), w.opened(beta, "B"), w.opened(beta, "C")
		const who = "vic@member.example"
		inA, _ := w.joinedAs(box, acme, a.ID, partner.External, who)
		inB, _ := w.joinedAs(box, beta, b.ID, partner.External, who)
		inC, _ := w.joinedAs(box, beta, c.ID, partner.External, who)
		w.must(w.db.Exec("UPDATE prm_members SET entered_at = 0 WHERE id <> ?", inA.ID).Error)
		me := w.login(who)
		s, err := w.reg.Access.WorkIn(me, inB.ID)
		w.must(err)
		child := partner.WithSession(w.t.Context(), s)
		w.must(w.reg.Accounts.RemoveMember(acme, inA.ID))
		wants(w.t, "the session in A", second(w.reg.Access.Active(me)), partner.ErrForbidden)
		if err := second(w.reg.Access.Active(child)); err == nil {
			w.t.Errorf("the session that was opened in it goes on (WorkIn: it ends with the one that it was opened in)")
		}
		if s, err = w.reg.Access.WorkIn(child, inC.ID); err == nil {
			if err := second(w.reg.Access.Active(partner.WithSession(w.t.Context(), s))); err != nil {
				w.t.Errorf("WorkIn opened a session that is dead at once: %v", err)
			}
		}
	})
}

// TestPIL32_ANewPasswordEndsAllResets: also those that were sent for his other places.
func TestPIL32_ANewPasswordEndsAllResets(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		_, beta := w.partner("beta")
		a, b := w.opened(acme, "A"), w.opened(beta, "B")
		const who = "vic@member.example"
		inA, _ := w.joinedAs(box, acme, a.ID, partner.External, who)
		inB, _ := w.joinedAs(box, beta, b.ID, partner.External, who)
		w.must(second(w.reg.Accounts.ResetMemberPassword(acme, inA.ID)))
		old := w.token(box, "member_password_reset", who)
		w.must(second(w.reg.Accounts.ResetMemberPassword(beta, inB.ID)))
		w.must(second(w.accept(w.token(box, "member_password_reset", who))))
		w.must(w.reg.Access.ChangePassword(w.login(who), password, "quite another secret"))
		if _, err := w.reg.Access.Accept(w.t.Context(), old, partner.Acceptance{Password: "what a thief chooses"}); err == nil {
			w.t.Error("a token from before two new passwords sets a third")
		}
	})
}

// TestPIL27_TheLoginOfAnInvitedPartnerStays: its contact has it, though he is a member of an account already.
func TestPIL27_TheLoginOfAnInvitedPartnerStays(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		a := w.opened(acme, "A")
		w.joinedAs(box, acme, a.ID, partner.External, "fresh@partner.example")
		_, token := w.invitedPartner(box, "fresh")
		w.must(second(w.accept(token)))
		if _, err := w.reg.Access.Login(w.t.Context(), "fresh", password, ""); err != nil {
			w.t.Errorf("log in by the name of the agreement: %v", err)
		}
		if rowsIn(w.t, w.db, "prm_identities WHERE login_key = 'fresh'") != 1 {
			w.t.Error("the name is free again")
		}
	})
}

// TestPLX22_RemovedWhileHeAcceptsElsewhere: he keeps his log-in.
func TestPLX22_RemovedWhileHeAcceptsElsewhere(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		_, beta := w.partner("beta")
		a, b := w.opened(acme, "A"), w.opened(beta, "B")
		const who = "vic@member.example"
		inA, _ := w.joinedAs(box, acme, a.ID, partner.External, who)
		w.memberAt(beta, b.ID, partner.External, who)
		token := w.token(box, "invitation", who)
		hold := w.holdAccount(b.ID)
		accepted, removed := make(chan error, 1), make(chan error, 1)
		go func() { accepted <- second(w.accept(token)) }()
		w.blocked(1)
		go func() { removed <- w.reg.Accounts.RemoveMember(acme, inA.ID) }()
		w.blocked(2)
		w.must(hold.Rollback().Error)
		w.must(<-accepted)
		w.must(<-removed)
		if _, err := w.reg.Access.Login(t.Context(), who, password, ""); err != nil {
			t.Errorf("a member of B logs in: %v", err)
		}
	})
}

// TestLIM06_AcceptanceLinksTheOutsideLogIn: also of somebody who is known by his password.
func TestLIM06_AcceptanceLinksTheOutsideLogIn(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		a, b := w.opened(acme, "A"), w.opened(acme, "B")
		const who = "vic@member.example"
		w.joinedAs(box, acme, a.ID, partner.External, who)
		w.memberAt(acme, b.ID, partner.External, who)
		o := outside("vic-1", "")
		_, err := w.reg.Access.Accept(w.vendor, w.token(box, "invitation", who), partner.Acceptance{Password: password, Outside: &o})
		w.must(err)
		if _, err := w.enter(o); err != nil {
			w.t.Errorf("enter: %v", err)
		}
	})
}

// TestPLX28_WhatIsShown: of a member, whatever is done to him.
func TestPLX28_WhatIsShown(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, acme := w.partner("acme")
		a := w.opened(acme, "A")
		m, err := w.reg.Accounts.AddMember(acme, a.ID, partner.NewMember{Kind: partner.External, Name: "x", Email: "y@member.example", Roles: []string{"r"}})
		w.must(err)
		same, err := w.reg.Accounts.EditMember(acme, m.ID, m.Version, func(*partner.NewMember) {})
		w.must(err)
		if same.AccountName != m.AccountName {
			w.t.Errorf("an edit that changes nothing answers the account name %q", same.AccountName)
		}
		b := w.opened(acme, "B")
		u := w.invited(acme, p.ID, "dev")
		w.must(second(w.accept(w.token(box, "welcome", u.Email))))
		w.memberAt(acme, b.ID, partner.External, u.Email)
		w.must(second(w.accept(w.token(box, "invitation", u.Email))))
		u, err = w.reg.Users.Get(acme, u.ID)
		w.must(err)
		w.t.Logf("%s %s", u.Login, u.Email)
	})
}
