package partner_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// showing runs a test on a world with a sealer, and a partner whose admins may look at passwords.
func showing(t *testing.T, test func(w *world, box *postbox, p partner.Partner, me context.Context)) {
	t.Helper()
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme", func(a *partner.Agreement) { a.ShowPasswords = true })
		test(w, box, p, me)
	}, func(o *partner.Options) { o.Sealer = &xorSealer{key: 0x33} })
}

// TestPIL24_AnAdminSeesWhatAMemberChose since passwords are shown, each time as it is then; the audit says so first and the member is told.
func TestPIL24_AnAdminSeesWhatAMemberChose(t *testing.T) {
	showing(t, func(w *world, box *postbox, p partner.Partner, me context.Context) {
		const first, second_, third, fourth = "SingeKanarienvogel1", "SingeKanarienvogel2", "SingeKanarienvogel3", "SingeKanarienvogel4"
		u := w.addedUser(p.ID, "dev", func(u *partner.NewUser) { u.Password = first })
		sees := func(want partner.Secret) {
			w.t.Helper()
			got, err := w.reg.Users.RevealPassword(me, u.ID)
			if w.must(err); got != want {
				w.t.Fatalf("revealed another password than was chosen")
			}
		}
		sees(first)
		s, err := w.reg.Access.Login(w.t.Context(), "dev", first, "")
		w.must(err)
		w.must(w.reg.Access.ChangePassword(partner.WithSession(w.t.Context(), s), first, second_))
		sees(second_)
		w.must(second(w.reg.Users.ResetPassword(me, u.ID)))
		sees(second_) // until he has chosen
		w.must(second(w.reg.Access.Accept(w.t.Context(), w.token(box, "password_reset", u.Email), partner.Acceptance{Password: third})))
		sees(third)
		invited := w.invited(me, p.ID, "eve")
		wants(w.t, "one who has chosen none", second(w.reg.Users.RevealPassword(me, invited.ID)), partner.ErrNoSealedPassword)
		w.must(second(w.reg.Access.Accept(w.t.Context(), w.token(box, "welcome", invited.Email), partner.Acceptance{Password: fourth})))
		got, err := w.reg.Users.RevealPassword(me, invited.ID)
		if w.must(err); got != fourth {
			w.t.Error("the invitee's password is another")
		}
		if w.post(); box.last(w.t, "password_revealed", u.Email).Data["partner"] != p.Name {
			w.t.Error("he is not told who")
		}
		events, err := w.reg.Activity.List(me, partner.EventFilter{Kinds: []string{"password.revealed"}}, partner.PageRequest{})
		w.must(err)
		if len(events.Items) != 5 || events.Items[0].Actor != string(p.Contact) || events.Items[0].Target != string(invited.ID) {
			w.t.Errorf("the audit says %+v", events.Items)
		}
		for table, lines := range dump(w.t, w.db) {
			for _, line := range lines {
				if strings.Contains(strings.ToLower(line), "kanarienvogel") {
					w.t.Errorf("open in %s: %s", table, line)
				}
			}
		}
	})
}

// TestPIL24_WhoMayNotLook: nobody but an admin of the same partner, not while switched, not when the host's step-up says no; and nobody at the
// passwords of admins and projects.
func TestPIL24_WhoMayNotLook(t *testing.T) {
	says := true
	mailing(t, func(w *world, box *postbox) {
		says = true
		top, boss := w.partner("top", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		p, me := w.partner("acme", under(top.ID), func(a *partner.Agreement) { a.ShowPasswords = true })
		u := w.addedUser(p.ID, "dev")
		look := func(ctx context.Context) error { return second(w.reg.Users.RevealPassword(ctx, u.ID)) }
		w.must(look(me))
		wants(w.t, "the vendor", look(w.vendor), partner.ErrForbidden)
		wants(w.t, "an admin from above", look(boss), partner.ErrForbidden)
		wants(w.t, "himself", look(w.login("dev")), partner.ErrForbidden)
		_, stranger := w.partner("stranger")
		wants(w.t, "a stranger", look(stranger), partner.ErrNotFound)
		project := w.project(me, "one")
		wants(w.t, "the project's log-in", look(w.login("one")), partner.ErrNotFound)
		w.must(w.reg.Access.SwitchTo(me, project.ID))
		wants(w.t, "while switched", look(me), partner.ErrForbidden)
		w.must(w.reg.Access.SwitchBack(me))
		tx := w.db.Begin()
		wants(w.t, "in a host transaction", second(w.reg.In(tx).Users.RevealPassword(me, u.ID)), partner.ErrInvalid)
		w.must(tx.Rollback().Error)
		w.must(look(me))
		says = false
		wants(w.t, "without a step up", look(me), partner.ErrForbidden)
		wants(w.t, "a close without a step up", second(w.reg.Accounts.Close(me, project.ID)), partner.ErrForbidden)
		tx = w.db.Begin()
		wants(w.t, "a close in a host transaction", second(w.reg.In(tx).Accounts.Close(me, project.ID)), partner.ErrInvalid)
		w.must(tx.Rollback().Error)
		says = true
		w.must(second(w.reg.Accounts.Close(me, project.ID)))
		wants(w.t, "his own, an admin's", second(w.reg.Users.RevealPassword(me, p.Contact)), partner.ErrNoSealedPassword)
		now, err := w.reg.Users.Get(me, u.ID)
		w.must(err)
		w.must(second(w.reg.Users.Edit(me, u.ID, now.Version, func(u *partner.NewUser) { u.Role = partner.Admin })))
		wants(w.t, "of one who has become an admin", look(me), partner.ErrNoSealedPassword)
		if n := rowsIn(w.t, w.db, "prm_shown_passwords"); n != 0 {
			w.t.Errorf("%d copies", n)
		}
	}, func(o *partner.Options) {
		o.Sealer = &xorSealer{key: 0x33}
		o.StepUp = func(_ context.Context, principal, action, target string) (bool, error) {
			if principal == "" || target == "" || !slices.Contains([]string{"user.reveal", "account.close"}, action) {
				return false, errors.New("asked about nothing")
			}
			return says, nil
		}
	})
}

// TestPIL24_TurnedOffNothingIsLeft: the copies go with the setting, and on again reveals nothing of before; a copy moved to another user opens
// for nobody.
func TestPIL24_TurnedOffNothingIsLeft(t *testing.T) {
	showing(t, func(w *world, _ *postbox, p partner.Partner, me context.Context) {
		u, other := w.addedUser(p.ID, "dev"), w.addedUser(p.ID, "eve")
		tamper(w.t, w.db, "UPDATE prm_shown_passwords SET sealed = (SELECT sealed FROM prm_shown_passwords WHERE user_id = ?) WHERE user_id = ?", string(u.ID), string(other.ID))
		wants(w.t, "another user's copy", second(w.reg.Users.RevealPassword(me, other.ID)), partner.ErrUnavailable)
		set := func(show bool) {
			w.t.Helper()
			now, err := w.reg.Partners.Get(w.vendor, p.ID)
			w.must(err)
			after, err := w.reg.Partners.Edit(w.vendor, p.ID, now.Version, func(a *partner.Agreement) { a.ShowPasswords = show })
			if w.must(err); after.ShowPasswords != show {
				w.t.Fatal("not set")
			}
		}
		now, err := w.reg.Partners.Get(me, p.ID)
		w.must(err)
		wants(w.t, "a partner's own choice", second(w.reg.Partners.Edit(me, p.ID, now.Version, func(a *partner.Agreement) { a.ShowPasswords = false })), partner.ErrForbidden)
		set(false)
		if n := rowsIn(w.t, w.db, "prm_shown_passwords"); n != 0 {
			w.t.Errorf("%d copies are left", n)
		}
		set(true)
		wants(w.t, "of before", second(w.reg.Users.RevealPassword(me, u.ID)), partner.ErrNoSealedPassword)
		// Whoever chooses while it is turned off leaves nothing.
		for range 10 {
			set(true)
			s, err := w.reg.Access.Login(w.t.Context(), "dev", password, "")
			w.must(err)
			now, err := w.reg.Partners.Get(w.vendor, p.ID)
			w.must(err)
			for _, err := range w.atOnce(2, func(i int) error {
				if i == 0 {
					return w.reg.Access.ChangePassword(partner.WithSession(w.t.Context(), s), password, password)
				}
				_, err := w.reg.Partners.Edit(w.vendor, p.ID, now.Version, func(a *partner.Agreement) { a.ShowPasswords = false })
				return err
			}) {
				w.must(err)
			}
			if n := rowsIn(w.t, w.db, "prm_shown_passwords"); n != 0 {
				w.t.Fatalf("%d copies are left", n)
			}
		}
	})
}

// TestPIL24_NothingIsShownWithoutASealer.
func TestPIL24_NothingIsShownWithoutASealer(t *testing.T) {
	each(t, func(w *world) {
		a := agreement("shown")
		a.ShowPasswords = true
		wants(w.t, "a new agreement", second(w.reg.Partners.Create(w.vendor, a)), partner.ErrNoKeyset)
		p, me := w.partner("acme")
		wants(w.t, "an edit", second(w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.ShowPasswords = true })), partner.ErrNoKeyset)
		wants(w.t, "a look", second(w.reg.Users.RevealPassword(me, p.Contact)), partner.ErrNoKeyset)
	})
}
