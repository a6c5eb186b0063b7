package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/partner"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// later lets time pass and does all that is due then.
func (w *world) later(d time.Duration) {
	w.t.Helper()
	w.clock.Advance(d)
	w.post()
}

// stands is the state of an account, which may be deleted.
func (w *world) stands(id partner.AccountID) (state string) {
	w.t.Helper()
	w.must(w.db.Raw("SELECT state FROM prm_accounts WHERE id = ?", id).Scan(&state).Error)
	return state
}

// closing is the newest close of an account, as the vendor sees it.
func (w *world) closing(id partner.AccountID) partner.CloseRequest {
	w.t.Helper()
	for c, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.CloseRequest], error) {
		return w.reg.Accounts.Closings(w.vendor, "", r)
	}) {
		w.must(err)
		if c.Account == id {
			return c
		}
	}
	w.t.Fatalf("no close of %s", id)
	return partner.CloseRequest{}
}

// deleted closes an account, confirms that as the contact, and lets the erasing be done.
func (w *world) deleted(me context.Context, id partner.AccountID, contact string) {
	w.t.Helper()
	w.close(me, id)
	w.must(w.reg.Accounts.ConfirmClose(context.Background(), w.waiting(contact)))
	w.later(2 * time.Minute)
	if got := w.stands(id); got != "deleted" {
		w.t.Fatalf("the account is %s: %+v", got, w.closing(id))
	}
}

// TestCLW19_CancelOpensItAgain as it was before, but for the licences and the sessions; and a later close is one of its own.
func TestCLW19_CancelOpensItAgain(t *testing.T) {
	each(t, func(w *world) {
		p, me, a := w.supplied(10)
		w.must(second(w.seats.Assign(me, a.ID, "seat", 4)))
		as := w.login("one")
		for round, before := range []string{"active", "suspended", "active"} {
			if before == "suspended" {
				w.must(w.reg.Accounts.Suspend(w.vendor, a.ID))
			}
			w.clock.Advance(time.Hour) // so that there are not too many letters
			c := w.close(me, a.ID)
			if got, want := c.Licenses["seat"], int64(4); round == 0 && got != want || round > 0 && len(c.Licenses) > 0 {
				w.t.Fatalf("round %d: closing %+v", round, c)
			}
			token := w.waiting(p.Email)
			r := w.closing(a.ID)
			if r.State != "requested" || r.By != string(p.Contact) || r.Requested.IsZero() || r.Expires.Sub(r.Requested) != 14*day || r.SettledBy != "" || len(r.Erasures) != 0 {
				w.t.Fatalf("the request is %+v", r)
			}
			w.must(w.reg.Accounts.CancelClose(me, a.ID, ""))
			if r = w.closing(a.ID); r.State != "cancelled" || r.SettledBy != string(p.Contact) || r.Settled.IsZero() || !r.Expires.IsZero() {
				w.t.Fatalf("the cancelled request is %+v", r)
			}
			if got, err := w.reg.Accounts.Get(me, a.ID); err != nil || got.State != before || len(got.Blocks) != 0 {
				w.t.Fatalf("round %d: %+v, %v", round, got, err)
			}
			w.is(w.reg.Accounts.ConfirmClose(w.t.Context(), token), partner.ErrTokenExpired)
			w.is(w.reg.Accounts.CancelClose(me, a.ID, ""), partner.ErrBadTransition)
			w.is(w.reg.Accounts.ConfirmCloseFor(w.vendor, a.ID, "late"), partner.ErrBadTransition)
			w.is(second(w.reg.Accounts.RemindClose(me, a.ID)), partner.ErrBadTransition)
			if slices.ContainsFunc(w.mail(), func(m string) bool { return m == "close_confirmation to "+p.Email }) {
				w.t.Fatalf("a letter with a void token waits: %q", w.mail())
			}
			if before == "suspended" {
				w.must(w.reg.Accounts.Resume(w.vendor, a.ID))
			}
		}
		w.is(second(w.seats.Mine(as)), partner.ErrForbidden) // a session of before the first close
		w.login("one")
		if n := w.available(me, p.ID, "seat"); n != 10 {
			w.t.Fatalf("the pool has %d", n)
		}
		w.later(30 * day)
		if got := w.stands(a.ID); got != "active" {
			w.t.Fatalf("the account is %s", got)
		}
		w.sound()
	})
}

// TestCLW19_TheTokenIsTheContacts: it is good once, in time, and for whoever is the primary contact under the address it was sent to.
func TestCLW19_TheTokenIsTheContacts(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.addUser(p.ID, "usr_second")
		confirm := func(token partner.Secret) error { return w.reg.Accounts.ConfirmClose(w.t.Context(), token) }
		begin := func(name string) (partner.AccountID, partner.Secret) {
			w.clock.Advance(time.Hour)
			me = w.login("acme")
			a := w.project(me, name)
			w.close(me, a.ID)
			return a.ID, w.waiting(p.Email)
		}
		for _, wrong := range []partner.Secret{"", "x", partner.Secret(fmt.Sprintf("%043d", 7))} {
			w.is(confirm(wrong), partner.ErrNotFound)
		}
		a, token := begin("one")
		// It serves nothing else.
		w.is(second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: password})), partner.ErrNotFound)
		w.is(second(w.reg.Access.Invited(w.t.Context(), token)), partner.ErrNotFound)
		w.is(second(w.reg.Accounts.Open(w.t.Context(), partner.NewAccount{Type: "solution", Name: "X", Token: token})), partner.ErrNotFound)
		w.must(confirm(token))
		w.is(confirm(token), partner.ErrTokenUsed)
		if got, err := w.reg.Accounts.Get(me, a); err != nil || got.State != "deleting" {
			w.t.Fatalf("%+v, %v", got, err)
		}
		for _, c := range []struct {
			what string
			do   func()
		}{
			{"time", func() { w.clock.Advance(14 * day) }},
			{"another contact", func() { w.must(w.reg.Partners.SetContact(w.vendor, p.ID, "usr_second")) }},
			{"another address", func() {
				w.must(w.reg.Partners.SetContact(w.vendor, p.ID, p.Contact))
				got, err := w.reg.Partners.Get(w.vendor, p.ID)
				w.must(err)
				w.must(second(w.reg.Partners.Edit(w.vendor, p.ID, got.Version, func(a *partner.Agreement) { a.Email = "new@partner.example" })))
				p.Email = "new@partner.example"
			}},
		} {
			id, token := begin("after-" + strings.ReplaceAll(c.what, " ", "-"))
			c.do()
			w.is(confirm(token), partner.ErrTokenExpired)
			if got := w.stands(id); got != "closing" {
				w.t.Fatalf("after %s the account is %s", c.what, got)
			}
		}
		_, token = begin("blocked")
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		w.is(confirm(token), partner.ErrBlocked)
		w.must(w.reg.Partners.Unblock(w.vendor, p.ID))
		w.must(confirm(token))
	})
}

// TestCLW19_Reminders: every seven days one letter, whoever looks how often; after fourteen with a new token, which ends the old one.
func TestCLW19_Reminders(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		other := newWorldOn(w, func(o *partner.Options) { o.Notifier = box })
		a := w.project(me, "one")
		w.close(me, a.ID)
		w.post()
		first := box.last(w.t, "close_confirmation", p.Email)
		for i, withToken := range []bool{false, true, false, true} {
			w.later(week - time.Hour)
			if got := box.count("close_reminder"); got != i {
				w.t.Fatalf("%d reminders before the time of the next", got)
			}
			for range 3 {
				w.clock.Advance(time.Hour)
				for _, err := range together(2, func(i int) error { return second([]*world{w, other}[i].reg.Step(context.Background())) }) {
					w.must(err)
				}
			}
			w.post()
			m := box.last(w.t, "close_reminder", p.Email)
			if got := box.count("close_reminder"); got != i+1 || (m.Token != "") != withToken || m.Data["account"] != a.Name || m.Data["partner"] != p.Name {
				w.t.Fatalf("reminder %d of %d: %+v", i, got, m)
			}
			if !withToken {
				continue
			}
			w.is(w.reg.Accounts.ConfirmClose(w.t.Context(), first.Token), partner.ErrNotFound)
			first = m
		}
		if got := w.stands(a.ID); got != "closing" || w.closing(a.ID).Reminded.IsZero() {
			w.t.Fatalf("the account is %s", got)
		}
		w.must(w.reg.Accounts.ConfirmClose(w.t.Context(), first.Token))
		w.later(week)
		if got := box.count("close_reminder"); got != 4 || w.stands(a.ID) != "deleted" {
			w.t.Fatalf("%d reminders, the account is %s", got, w.stands(a.ID))
		}
	})
}

func (b *postbox) count(template string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.sent {
		if m.Template == template {
			n++
		}
	}
	return n
}

// TestCLW19_AskedForAgain: a new token for whoever is the contact now, not too often, and in the result for a host that brings it itself.
func TestCLW19_AskedForAgain(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.addUser(p.ID, "usr_second")
		a := w.project(me, "one")
		w.close(me, a.ID)
		old := w.waiting(p.Email)
		w.must(w.reg.Partners.SetContact(w.vendor, p.ID, "usr_second"))
		w.must(second(w.reg.Accounts.RemindClose(me, a.ID)))
		w.mailed("close_reminder to usr_second@partner.example", "close_notice to one@customer.example")
		token := w.waiting("usr_second@partner.example")
		w.is(w.reg.Accounts.ConfirmClose(w.t.Context(), old), partner.ErrNotFound)
		for range 3 {
			w.must(second(w.reg.Accounts.RemindClose(me, a.ID)))
		}
		w.is(second(w.reg.Accounts.RemindClose(me, a.ID)), partner.ErrUnavailable)
		w.must(second(w.reg.Accounts.RemindClose(w.vendor, a.ID)))
		w.is(w.reg.Accounts.ConfirmClose(w.t.Context(), token), partner.ErrNotFound)
		tamper(w.t, w.db, "UPDATE prm_identities SET email = '', email_key = '' WHERE id = 'idn_usr_second'")
		wantsFields(w.t, "a contact without an address", second(w.reg.Accounts.RemindClose(w.vendor, a.ID)), "contact.email:required")
		w.later(week) // and the sweeper has nobody to remind
	})
	eachWith(t, func(o *partner.Options) { o.DeliverTokens = true }, func(w *world) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		c := w.close(me, a.ID)
		again, err := w.reg.Accounts.RemindClose(me, a.ID)
		w.must(err)
		w.is(w.reg.Accounts.ConfirmClose(w.t.Context(), c.Token), partner.ErrNotFound)
		w.later(14 * day) // a reminder, and no token that nobody would have
		w.mailed("close_notice to one@customer.example", "close_reminder to acme@partner.example")
		w.is(w.reg.Accounts.ConfirmClose(w.t.Context(), again), partner.ErrTokenExpired)
		again, err = w.reg.Accounts.RemindClose(w.vendor, a.ID)
		w.must(err)
		w.must(w.reg.Accounts.ConfirmClose(w.t.Context(), again))
	})
}

// TestCLW19_TheVendorSettles what a contact does not, and says why; nobody else confirms without the token.
func TestCLW19_TheVendorSettles(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		_, other := w.partner("bolt")
		a, b := w.project(me, "one"), w.project(me, "two")
		w.close(me, a.ID)
		w.close(me, b.ID)
		wantsFields(w.t, "no reason", w.reg.Accounts.ConfirmCloseFor(w.vendor, a.ID, ""), "reason:required")
		wantsFields(w.t, "no reason", w.reg.Accounts.CancelClose(w.vendor, a.ID, ""), "reason:required")
		wantsFields(w.t, "a bad reason", w.reg.Accounts.CancelClose(me, a.ID, "a\nb"), "reason:format")
		w.is(w.reg.Accounts.ConfirmCloseFor(me, a.ID, "mine"), partner.ErrForbidden)
		w.is(w.reg.Accounts.ConfirmCloseFor(other, a.ID, "mine"), partner.ErrNotFound)
		w.is(w.reg.Accounts.CancelClose(other, a.ID, "mine"), partner.ErrNotFound)
		token := w.waiting(p.Email)
		w.must(w.reg.Accounts.CancelClose(w.vendor, a.ID, "the contact called"))
		w.must(w.reg.Accounts.ConfirmCloseFor(w.vendor, b.ID, "the contact is dead"))
		w.is(w.reg.Accounts.ConfirmClose(w.t.Context(), token), partner.ErrTokenExpired)
		if c := w.closing(a.ID); c.State != "cancelled" || c.Reason != "the contact called" || c.SettledBy != "host:ops@vendor.example" {
			w.t.Fatalf("%+v", c)
		}
		if c := w.closing(b.ID); c.State != "erasing" || c.Reason != "the contact is dead" || c.SettledBy != "host:ops@vendor.example" {
			w.t.Fatalf("%+v", c)
		}
		for state, want := range map[string]int{"": 2, "requested": 0, "cancelled": 1, "erasing": 1, "deleted": 0} {
			for ctx, seen := range map[context.Context]int{w.vendor: want, me: want, other: 0} {
				page, err := w.reg.Accounts.Closings(ctx, state, partner.PageRequest{})
				if w.must(err); len(page.Items) != seen {
					w.t.Errorf("closes that are %q: %+v", state, page.Items)
				}
			}
		}
		wantsFields(w.t, "a state that is none", second(w.reg.Accounts.Closings(w.vendor, "closed", partner.PageRequest{})), "state:unknown_code")
		w.is(w.reg.Accounts.CancelClose(w.vendor, b.ID, "too late"), partner.ErrBadTransition)
		w.is(w.reg.Accounts.TransferOwnership(w.vendor, b.ID, p.Contact), partner.ErrBadTransition)
		w.later(2 * time.Minute)
		r, err := w.reg.Accounts.Receipt(w.vendor, b.ID)
		if w.must(err); r.By != "host:ops@vendor.example" || r.RequestedBy != string(p.Contact) {
			w.t.Fatalf("the receipt is %+v", r)
		}
	})
}

// TestCLW19_ConfirmRacesCancel: one of them wins, and the account goes its way.
func TestCLW19_ConfirmRacesCancel(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "one")
		confirmed := 0
		for round := range 40 {
			w.clock.Advance(time.Hour)
			w.close(me, a.ID)
			token := w.waiting(p.Email)
			errs := together(3, func(i int) error {
				switch i {
				case 0:
					return w.reg.Accounts.ConfirmClose(context.Background(), token)
				case 1:
					return w.reg.Accounts.CancelClose(me, a.ID, "")
				}
				return w.reg.Accounts.ConfirmCloseFor(w.vendor, a.ID, "no answer")
			})
			won := 0
			for i, err := range errs {
				if err == nil {
					won++
				} else if !errors.Is(err, partner.ErrBadTransition) && !errors.Is(err, partner.ErrTokenExpired) {
					w.t.Fatalf("round %d, %d: %v", round, i, err)
				}
			}
			want := "deleting"
			if errs[1] == nil {
				want = "active"
			}
			if got := w.stands(a.ID); won != 1 || got != want {
				w.t.Fatalf("round %d: %d won, the account is %s: %v", round, won, got, errs)
			}
			if want == "deleting" {
				confirmed++
				a = w.project(me, fmt.Sprint("next", round))
			}
		}
		w.t.Logf("%d of 40 were confirmed", confirmed)
	})
}

// TestPLX13_ASolutionAccountIsItsOwnersToClose, to keep and to have reminded of; nobody else's but the vendor's, who may cancel.
func TestPLX13_ASolutionAccountIsItsOwnersToClose(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.certify(p.ID, "gold", partner.Period{})
		owner := w.user(p.ID, "owner", func(u *partner.NewUser) { u.Rights = nil })
		lab := w.solution(owner, "Lab")
		office := w.account(me, "standard", "Office")
		w.is(second(w.reg.Accounts.PreviewClose(me, lab.ID)), partner.ErrNotOwner)
		w.is(second(w.reg.Accounts.Close(me, lab.ID)), partner.ErrNotOwner)
		w.is(second(w.reg.Accounts.Close(w.vendor, lab.ID)), partner.ErrForbidden)
		w.is(second(w.reg.Accounts.Close(owner, office.ID)), partner.ErrForbidden)
		w.close(owner, lab.ID)
		w.close(me, office.ID)
		w.mailed("close_confirmation to acme@partner.example", "close_confirmation to acme@partner.example", "close_notice to owner@user.example")
		w.is(w.reg.Accounts.CancelClose(me, lab.ID, ""), partner.ErrNotOwner)
		w.must(second(w.reg.Accounts.RemindClose(owner, lab.ID)))
		w.must(w.reg.Accounts.CancelClose(owner, lab.ID, ""))
		w.close(owner, lab.ID)
		w.must(w.reg.Accounts.CancelClose(w.vendor, lab.ID, "a mistake"))
		if got, err := w.reg.Accounts.Get(owner, lab.ID); err != nil || got.State != "active" {
			w.t.Fatalf("%+v, %v", got, err)
		}
		w.deleted(owner, lab.ID, p.Email)
		if r, err := w.reg.Accounts.Receipt(me, lab.ID); err != nil || r.Account != lab.ID {
			w.t.Fatalf("%+v, %v", r, err)
		}
	})
}

// TestCLW23_PreviewClose lists what a close would take, in the words of the host for what is running, and writes nothing.
func TestCLW23_PreviewClose(t *testing.T) {
	var fails error
	eachWith(t, func(o *partner.Options) {
		o.RunningWork = func(_ context.Context, a partner.AccountID) ([]string, error) {
			return []string{"a job of " + string(a)}, fails
		}
	}, func(w *world) {
		_, me, a := w.supplied(10)
		w.must(second(w.seats.Assign(me, a.ID, "seat", 4)))
		w.must(second(w.seats.Reserve(me, a.ID, "seat", 1, time.Minute)))
		w.moved(me, a.ID, partner.Guest, "guest@x.example", "viewer")
		w.member(me, a.ID, partner.NewMember{Kind: partner.Guest, Email: "later@x.example", Roles: []string{"viewer"}})
		gone := w.member(me, a.ID, partner.NewMember{Kind: partner.Guest, Email: "gone@x.example", Roles: []string{"viewer"}})
		w.must(w.reg.Accounts.RemoveMember(me, gone.ID))
		before := dump(w.t, w.db)
		c, err := w.reg.Accounts.PreviewClose(me, a.ID)
		w.must(err)
		if c.Licenses["seat"] != 4 || c.Members != 2 || !slices.Equal(c.Running, []string{"a job of " + string(a.ID)}) || c.Token != "" {
			w.t.Fatalf("previewed %+v", c)
		}
		if list := differing(before, dump(w.t, w.db)); len(list) > 0 {
			w.t.Fatalf("a preview changed %v", list)
		}
		w.is(w.inHost(nil, func(_ *gorm.DB, r rooms) error { return second(r.reg.Accounts.PreviewClose(me, a.ID)) }), partner.ErrInvalid)
		fails = errors.New("down")
		w.is(second(w.reg.Accounts.PreviewClose(me, a.ID)), partner.ErrUnavailable)
		fails = nil
		if c := w.close(me, a.ID); c.Licenses["seat"] != 4 || c.Members != 2 || len(c.Running) != 0 {
			w.t.Fatalf("closed %+v", c)
		}
	})
}

// TestCLW22_LeftoversAreForfeit where the type says so: they go to the vendor, and nobody gets them back.
func TestCLW22_LeftoversAreForfeit(t *testing.T) {
	each(t, func(w *world) {
		p, me, a := w.supplied(10)
		w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "project", Quota: partner.Quota{Collaborators: 5, Guests: -1}, Leftovers: "forfeit"}))
		w.must(second(w.seats.Assign(me, a.ID, "seat", 4)))
		if c := w.close(me, a.ID); c.Licenses["seat"] != 4 {
			w.t.Fatalf("closed %+v", c)
		}
		if n := w.available(me, p.ID, "seat"); n != 6 {
			w.t.Fatalf("the pool has %d", n)
		}
		wantsFields(w.t, "other leftovers", w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "x", Leftovers: "burn"}), "leftovers:unknown_code")
		w.sound()
	})
}

// TestCLW19_CloseStopsEverySessionInIt: whoever is in the account, in whatever way, is out with his next call; after the close was cancelled, only who has
// switched goes on.
func TestCLW19_CloseStopsEverySessionInIt(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		stage, move := w.specials(me), w.his(me, "move")
		w.stock(p.ID, "seat", 10)
		w.must(second(w.seats.Assign(me, move.ID, "seat", 5)))
		_, guest := w.moved(me, move.ID, partner.Guest, "guest@x.example", "contributor")
		dev := w.user(p.ID, "dev")
		delegated := w.guest(dev, w.delegated(dev, move.ID, dayLong).ID)
		switched := w.login("acme")
		w.must(w.reg.Access.SwitchTo(switched, move.ID))
		acting := w.acting(me, w.special(me, stage.ID, "Extra").ID)
		inside := map[string]context.Context{"its log-in": w.login("move"), "a member": guest, "a delegated session": delegated}
		for who, ctx := range inside {
			if err := second(w.reg.Accounts.Get(ctx, move.ID)); err != nil {
				w.t.Fatalf("%s: %v", who, err)
			}
		}
		w.must(second(w.reg.Accounts.Get(acting, stage.ID)))
		w.close(me, move.ID)
		w.close(me, stage.ID)
		for round := range 2 {
			for who, ctx := range inside {
				if err := second(w.reg.Accounts.Get(ctx, move.ID)); !errors.Is(err, partner.ErrForbidden) {
					w.t.Errorf("round %d, %s: %v", round, who, err)
				}
			}
			if err := second(w.reg.Accounts.Get(acting, stage.ID)); !errors.Is(err, partner.ErrForbidden) {
				w.t.Errorf("round %d, the owner, acting: %v", round, err)
			}
			_, err := w.reg.Access.Active(switched)
			if round == 0 {
				w.is(err, partner.ErrBlocked)
			} else {
				w.must(err)
			}
			if round == 0 {
				w.must(w.reg.Accounts.CancelClose(me, move.ID, ""))
				w.must(w.reg.Accounts.CancelClose(me, stage.ID, ""))
			}
		}
	})
}
