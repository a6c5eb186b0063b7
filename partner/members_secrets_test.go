package partner_test

import (
	"context"
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// TestPIL24_NoCopyOfWhatOpensPlacesElsewhere: no copy is kept of a password that opens places which were given to the person.
func TestPIL24_NoCopyOfWhatOpensPlacesElsewhere(t *testing.T) {
	showing(t, func(w *world, box *postbox, p partner.Partner, me context.Context) {
		_, beta := w.partner("beta")
		b := w.opened(beta, "B")
		m, _ := w.joinedAs(box, beta, b.ID, partner.External, "vic@user.example") // in his own right, first
		u := w.invited(me, p.ID, "vic")
		w.must(second(w.accept(w.token(box, "welcome", u.Email))))
		const fresh = "SingeKanarienvogel1"
		w.must(w.reg.Access.ChangePassword(w.login(u.Email), password, fresh))
		seen, err := w.reg.Users.RevealPassword(me, u.ID)
		if err != nil {
			return
		}
		s, err := w.reg.Access.Login(w.t.Context(), u.Email, seen, "")
		w.must(err)
		if _, err := w.reg.Access.WorkIn(partner.WithSession(w.t.Context(), s), m.ID); err == nil {
			w.t.Error("the admin of one partner works as an external user of another's account")
		}
	})
}

// TestPIL24_TheShownPasswordIsTheOneHeHas: the copy that admins may look at is never of a password he had before.
func TestPIL24_TheShownPasswordIsTheOneHeHas(t *testing.T) {
	showing(t, func(w *world, box *postbox, p partner.Partner, me context.Context) {
		_, beta := w.partner("beta")
		b := w.opened(beta, "B")
		m, _ := w.joinedAs(box, beta, b.ID, partner.External, "vic@user.example")
		w.must(second(w.reg.Accounts.ResetMemberPassword(beta, m.ID)))
		token := w.token(box, "member_password_reset", "vic@user.example")
		u := w.invited(me, p.ID, "vic")
		w.must(second(w.accept(w.token(box, "welcome", u.Email))))
		w.must(w.reg.Access.ChangePassword(w.login(u.Email), password, "SingeKanarienvogel1"))
		if _, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: "SingeKanarienvogel2"}); err != nil {
			return
		}
		if seen, err := w.reg.Users.RevealPassword(me, u.ID); err == nil && seen != "SingeKanarienvogel2" {
			w.t.Error("a password is shown that he does not have any more")
		}
	})
}

// TestPIL27_TheNameOfWhoHasLeftIsFree: a log-in name is not kept for somebody who can never log in.
func TestPIL27_TheNameOfWhoHasLeftIsFree(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, acme := w.partner("acme")
		_, beta := w.partner("beta")
		b := w.opened(beta, "B")
		u := w.addedUser(p.ID, "dev")
		w.must(second(w.reg.Users.ResetPassword(acme, u.ID))) // proves his address
		w.must(second(w.accept(w.token(box, "password_reset", u.Email))))
		m, _ := w.joinedAs(box, beta, b.ID, partner.External, u.Email)
		u, err := w.reg.Users.Get(acme, u.ID)
		w.must(err)
		w.must(second(w.reg.Users.Edit(acme, u.ID, u.Version, func(n *partner.NewUser) { n.Email = "other@user.example" })))
		me := w.login("dev")
		list, err := w.reg.Access.Memberships(me, partner.PageRequest{})
		w.must(err)
		if _, err := w.reg.Access.WorkIn(me, m.ID); err != nil && len(list.Items) > 0 {
			w.t.Errorf("Memberships lists a place in %q that he cannot work in: %v", list.Items[0].AccountName, err)
		}
		w.must(w.reg.Users.Remove(acme, u.ID))
		_, in := w.reg.Access.Login(w.t.Context(), "dev", password, "")
		_, again := w.reg.Users.Add(acme, p.ID, newUser("dev"))
		if in != nil && again != nil {
			w.t.Errorf("he logs in: %v; somebody else by that name: %v", in, again)
		}
	})
}

// TestPLX27_AScopeInASnapshot: a scope is not narrowed in a snapshot that does not see what he owns since.
func TestPLX27_AScopeInASnapshot(t *testing.T) {
	pgMailing(t, func(w *world, _ *postbox) {
		p, acme := w.partner("acme")
		a := w.opened(acme, "A")
		u := w.addedUser(p.ID, "u")
		tx := w.db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		w.must(tx.Exec("SELECT count(*) FROM prm_users").Error)
		w.must(w.reg.Accounts.TransferOwnership(acme, a.ID, u.ID))
		_, err := w.reg.In(tx).Users.Edit(w.vendor, u.ID, u.Version, func(n *partner.NewUser) { n.Scope.Accounts = []partner.AccountID{} })
		w.must(tx.Commit().Error)
		if err == nil {
			t.Errorf("the owner of A is limited to other accounts: %v", second(w.reg.Accounts.Get(w.login("u"), a.ID)))
		}
	})
}

// TestPIL32_AHangingSessionInMemory: a session that goes with the one it hangs on is gone from memory, too.
func TestPIL32_AHangingSessionInMemory(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		_, beta := w.partner("beta")
		a, b := w.opened(acme, "A"), w.opened(beta, "B")
		const who = "vic@member.example"
		_, inA := w.joinedAs(box, acme, a.ID, partner.External, who)
		m, _ := w.joinedAs(box, beta, b.ID, partner.External, who)
		s, err := w.reg.Access.WorkIn(inA, m.ID)
		w.must(err)
		inB := partner.WithSession(t.Context(), s)
		sessions := w.sessions(inA, "")
		root := sessions[slices.IndexFunc(sessions, func(s partner.Session) bool { return s.Account == a.ID })].ID
		hold := w.db.Begin() // somebody's host transaction that ends the session, and has not committed
		w.must(w.reg.In(hold).Access.EndSession(acme, root))
		w.must(second(w.reg.Access.Active(inB)))
		w.clock.Advance(2 * time.Second)
		for range 70 {
			w.must(second(w.reg.Access.Active(inB)))
		}
		w.must(hold.Commit().Error)
		wants(t, "the session that hung on it", second(w.reg.Access.Active(inB)), partner.ErrForbidden)
	})
}
