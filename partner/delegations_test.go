package partner_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

const globex = "cus_globex"

// customers is a context in which somebody speaks for the customer of the tests.
func customers() context.Context {
	return partner.AsCustomer(context.Background(), globex, "person-7")
}

// his opens a project of the customer's.
func (w *world) his(me context.Context, login string) partner.Account {
	w.t.Helper()
	in := newProject(login)
	in.Customer = globex
	a, err := w.reg.Accounts.OpenProject(me, in)
	w.must(err)
	return a
}

// leave is a request for a time.
func (w *world) leave(a partner.AccountID, d time.Duration) partner.Delegation {
	return partner.Delegation{Account: a, Roles: []string{"engineer", "billing clerk"}, Period: partner.Period{Until: w.clock.Now().Add(d)}}
}

// delegated asks for a user of his own accord, and has the customer approve it.
func (w *world) delegated(me context.Context, a partner.AccountID, d time.Duration) partner.Delegation {
	w.t.Helper()
	got, err := w.reg.Access.RequestDelegation(me, w.leave(a, d))
	w.must(err)
	w.must(w.reg.Access.Decide(customers(), got.ID, true))
	return got
}

// guest opens a delegated session.
func (w *world) guest(me context.Context, delegation string) context.Context {
	w.t.Helper()
	s, err := w.reg.Access.ActFor(me, delegation)
	w.must(err)
	return partner.WithSession(context.Background(), s)
}

// states are those of the delegations that somebody sees, newest first.
func (w *world) states(ctx context.Context, a partner.AccountID) string {
	w.t.Helper()
	page, err := w.reg.Access.Delegations(ctx, a, partner.PageRequest{})
	w.must(err)
	var list []string
	for _, d := range page.Items {
		list = append(list, d.State)
	}
	return strings.Join(list, " ")
}

const dayLong = 24 * time.Hour

// TestBEY10_ACustomerLetsAUserInForATime is the whole way, by the clock.
func TestBEY10_ACustomerLetsAUserInForATime(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 10)
		a := w.his(me, "one")
		w.must(second(w.seats.Assign(me, a.ID, "seat", 4)))
		u := w.addedUser(p.ID, "dev")
		dev := w.login("dev")
		asked, err := w.reg.Access.RequestDelegation(dev, w.leave(a.ID, 30*dayLong))
		w.must(err)
		if asked.User != u.ID || asked.Account != a.ID || asked.Customer != globex || asked.State != "requested" || !asked.Period.From.IsZero() || !asked.Decided.IsZero() ||
			asked.Created.IsZero() || asked.Key == "" || asked.Replayed || !strings.HasPrefix(asked.ID, "dlg_") {
			w.t.Errorf("asked for %+v", asked)
		}
		w.mailed("delegation_requested to one@customer.example")
		wants(w.t, "before it is approved", second(w.reg.Access.ActFor(dev, asked.ID)), partner.ErrForbidden)
		w.must(w.reg.Access.Decide(customers(), asked.ID, true))
		wants(w.t, "decided twice", w.reg.Access.Decide(customers(), asked.ID, false), partner.ErrBadTransition)
		w.mailed("delegation_decided to dev@user.example") // what waited to be decided on need not be told of any more

		wants(w.t, "an admin with the leave of another", second(w.reg.Access.ActFor(me, asked.ID)), partner.ErrNotFound)
		s, err := w.reg.Access.ActFor(dev, asked.ID)
		w.must(err)
		if s.Principal != string(a.ID) || s.Actor != string(u.ID) || s.Account != a.ID || s.Partner != p.ID || s.Region != "DE" ||
			!slices.Equal(s.Roles, []string{"engineer", "billing clerk"}) || s.Expires.Sub(w.clock.Now()) > time.Hour || s.Token() == "" {
			w.t.Errorf("session %+v", s)
		}
		in := partner.WithSession(context.Background(), s)
		again, err := w.reg.Access.Resume(context.Background(), s.Token())
		w.must(err)
		if again.Principal != s.Principal || again.Actor != s.Actor || !slices.Equal(again.Roles, s.Roles) || again.Account != a.ID {
			w.t.Errorf("resumed %+v", again)
		}
		w.active(in, a.ID, "DE")
		where, err := w.reg.Access.Active(in)
		w.must(err)
		if !slices.Equal(where.Roles, s.Roles) {
			w.t.Errorf("works as %v", where.Roles)
		}
		got, err := w.reg.Accounts.Get(in, a.ID)
		w.must(err)
		if got.Name != a.Name || w.available(in, a.ID, "seat") != 4 {
			w.t.Errorf("sees %+v", got)
		}
		if d := w.found(dev, asked.ID); d.State != "approved" || d.Period.From.IsZero() || d.Decided.IsZero() || !d.Period.Until.Equal(asked.Period.Until) {
			w.t.Errorf("approved %+v", d)
		}

		w.clock.Advance(30*dayLong - 90*time.Minute)
		wants(w.t, "after an hour", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrForbidden)
		dev = w.login("dev")
		s, err = w.reg.Access.ActFor(dev, asked.ID)
		w.must(err)
		in = partner.WithSession(context.Background(), s)
		w.clock.Advance(50 * time.Minute)
		w.must(second(w.reg.Accounts.Get(in, a.ID)))
		w.clock.Advance(5 * time.Minute)
		in = w.guest(dev, asked.ID)
		w.clock.Advance(34 * time.Minute)
		w.must(second(w.reg.Accounts.Get(in, a.ID)))
		w.clock.Advance(2 * time.Minute)
		for what, err := range map[string]error{
			"the open session": second(w.reg.Accounts.Get(in, a.ID)), "where it works": second(w.reg.Access.Active(in)), "its balance": second(w.seats.Balance(in, a.ID, "seat")),
			"another one": second(w.reg.Access.ActFor(dev, asked.ID)),
		} {
			wants(w.t, what+" after the end", err, partner.ErrGrantExpired)
		}
		if state := w.states(customers(), a.ID); state != "expired" {
			w.t.Errorf("afterwards it is %s", state)
		}
		wants(w.t, "revoking what is over", w.reg.Access.Revoke(customers(), asked.ID), partner.ErrBadTransition)
		w.must(second(w.reg.Accounts.Get(dev, a.ID))) // his own session goes on
	})
}

// found is a delegation that somebody sees.
func (w *world) found(ctx context.Context, id string) partner.Delegation {
	w.t.Helper()
	for d, err := range partner.Each(func(p partner.PageRequest) (partner.Page[partner.Delegation], error) {
		return w.reg.Access.Delegations(ctx, "", p)
	}) {
		w.must(err)
		if d.ID == id {
			return d
		}
	}
	w.t.Fatalf("%s is not seen", id)
	return partner.Delegation{}
}

// TestBEY10_AtMost730Days: nothing longer, nothing that is over, and no end that moves by itself.
func TestBEY10_AtMost730Days(t *testing.T) {
	standstill(t, func(w *world, now *time.Time) {
		_, me := w.partner("acme")
		a := w.his(me, "one")
		ask := func(from, until time.Duration) error {
			d := w.leave(a.ID, until)
			if d.Period.Until = now.Add(until); from != 0 {
				d.Period.From = now.Add(from)
			}
			got, err := w.reg.Access.RequestDelegation(me, d)
			if err == nil {
				w.must(w.reg.Access.Revoke(me, got.ID))
			}
			return err
		}
		for _, c := range []struct {
			from, until time.Duration
			want        string
		}{
			{0, 730 * dayLong, ""}, {0, 730*dayLong + time.Microsecond, "period:range"}, {0, 0, "period:range"}, {0, -time.Hour, "period:range"},
			{5 * dayLong, 735 * dayLong, ""}, {5 * dayLong, 735*dayLong + time.Microsecond, "period:range"}, {-5 * dayLong, 730 * dayLong, ""},
			{2 * time.Hour, time.Hour, "period:range"}, {0, time.Microsecond, ""},
		} {
			if err := ask(c.from, c.until); c.want == "" && err != nil || c.want != "" && fields(err) != c.want {
				w.t.Errorf("from %v until %v: %v, want %q", c.from, c.until, err, c.want)
			}
		}
		d := w.leave(a.ID, 100*dayLong)
		d.Period = partner.Period{From: now.Add(10 * dayLong), Until: now.Add(100 * dayLong)}
		asked, err := w.reg.Access.RequestDelegation(me, d)
		w.must(err)
		w.must(w.reg.Access.Decide(customers(), asked.ID, true))
		wants(w.t, "before it begins", second(w.reg.Access.ActFor(me, asked.ID)), partner.ErrForbidden)
		*now = now.Add(10 * dayLong)
		me = w.login("acme")
		in := w.guest(me, asked.ID)
		w.must(second(w.reg.Accounts.Get(in, a.ID)))
		if until := w.found(me, asked.ID).Period.Until; !until.Equal(d.Period.Until) {
			w.t.Errorf("it ends %v, want %v", until, d.Period.Until)
		}
		*now = d.Period.Until.Add(-time.Microsecond)
		me = w.login("acme")
		in = w.guest(me, asked.ID)
		w.must(second(w.reg.Accounts.Get(in, a.ID)))
		*now = d.Period.Until
		wants(w.t, "at its end", second(w.reg.Accounts.Get(in, a.ID)), partner.ErrGrantExpired)
	})
}

// TestBEY10_FaultsOfARequest: all at once, and nothing is lost.
func TestBEY10_FaultsOfARequest(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a, without := w.his(me, "one"), w.project(me, "two")
		for want, change := range map[string]func(*partner.Delegation){
			"roles:required period:required": func(d *partner.Delegation) { d.Roles, d.Period = nil, partner.Period{} },
			"roles:too_long":                 func(d *partner.Delegation) { d.Roles = strings.Split("a b c d e f g h i j k", " ") },
			"roles.0:required roles.2:format roles.3:too_long": func(d *partner.Delegation) {
				d.Roles = []string{" ", "x", "x", strings.Repeat("é", 51)}
			},
			"roles.0:format key:too_long": func(d *partner.Delegation) { d.Roles, d.Key = []string{"two\nlines"}, strings.Repeat("k", 256) },
		} {
			d := w.leave(a.ID, dayLong)
			change(&d)
			_, err := w.reg.Access.RequestDelegation(me, d)
			w.faulty(err, want)
		}
		_, err := w.reg.Access.RequestDelegation(me, w.leave(without.ID, dayLong))
		wants(w.t, "a project that names no customer", err, partner.ErrRefused)
		without, err = w.reg.Accounts.EditProject(me, without.ID, without.Version, func(p *partner.NewProject) { p.Customer = globex })
		w.must(err)
		for _, other := range []string{"cus_other", ""} {
			_, err = w.reg.Accounts.EditProject(me, without.ID, without.Version, func(p *partner.NewProject) { p.Customer = other })
			wants(w.t, "another customer", err, partner.ErrImmutable)
		}
		for customer, want := range map[string]string{" cus": "customer:format", strings.Repeat("c", 101): "customer:too_long", "a\nb": "customer:format"} {
			in := newProject("three")
			in.Customer = customer
			_, err := w.reg.Accounts.OpenProject(me, in)
			w.faulty(err, want)
		}
		d := w.leave(without.ID, dayLong)
		d.Key = "once"
		first, err := w.reg.Access.RequestDelegation(me, d)
		w.must(err)
		wants(w.t, "a second one", second(w.reg.Access.RequestDelegation(me, w.leave(without.ID, dayLong))), partner.ErrExists)
		w.must(w.reg.Access.Decide(customers(), first.ID, true))
		w.clock.Advance(2 * dayLong)
		me = w.login("acme")
		again, err := w.reg.Access.RequestDelegation(me, d)
		w.must(err)
		if again.ID != first.ID || !again.Replayed || again.State != "expired" || again.Key != "once" {
			w.t.Errorf("repeated: %+v", again)
		}
		d.Roles = []string{"other"}
		wants(w.t, "the key for something else", second(w.reg.Access.RequestDelegation(me, d)), partner.ErrIdempotencyMismatch)
		for what, u := range map[string]partner.UserID{"nobody": "usr_none", "a stranger": w.addedUser(partner.Vendor, "help", func(u *partner.NewUser) { u.Role = partner.Support }).ID} {
			d := w.leave(a.ID, dayLong)
			d.User = u
			wants(w.t, what, second(w.reg.Access.RequestDelegation(me, d)), partner.ErrNotFound)
		}
		limited := w.leave(a.ID, dayLong)
		limited.User = w.addedUser(p.ID, "limited", func(u *partner.NewUser) { u.Scope.Accounts = []partner.AccountID{without.ID} }).ID
		wants(w.t, "one who does not see it", second(w.reg.Access.RequestDelegation(me, limited)), partner.ErrForbidden)
		wants(w.t, "he himself", second(w.reg.Access.RequestDelegation(w.login("limited"), w.leave(a.ID, dayLong))), partner.ErrNotFound)
		limited.Account, limited.User = without.ID, ""
		wants(w.t, "one for another", second(w.reg.Access.RequestDelegation(w.user(p.ID, "other"), func() partner.Delegation {
			d := w.leave(a.ID, dayLong)
			d.User = w.found(me, first.ID).User
			return d
		}())), partner.ErrForbidden)
		w.must(second(w.reg.Access.RequestDelegation(w.login("limited"), limited)))
	})
}

// TestBEY10_OnlyTheCustomerDecides: not the partner, not the vendor, not another customer, not the project's own log-in.
func TestBEY10_OnlyTheCustomerDecides(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.his(me, "one")
		_, stranger := w.partner("stranger")
		w.his(stranger, "elsewhere") // of the same customer, and another partner's
		asked, err := w.reg.Access.RequestDelegation(me, w.leave(a.ID, dayLong))
		w.must(err)
		other := partner.AsCustomer(context.Background(), "cus_other", "x")
		for what, c := range map[string]struct {
			ctx  context.Context
			want error
		}{
			"the host": {w.vendor, partner.ErrForbidden}, "its admin": {w.user(partner.Vendor, "boss", func(u *partner.NewUser) { u.Role = partner.Admin }), partner.ErrForbidden},
			"an admin": {me, partner.ErrForbidden}, "a member": {w.user(p.ID, "dev"), partner.ErrForbidden}, "the project": {w.login("one"), partner.ErrForbidden},
			"a stranger": {stranger, partner.ErrNotFound}, "another customer": {other, partner.ErrNotFound}, "nobody": {context.Background(), partner.ErrForbidden},
			"no customer":  {partner.AsCustomer(context.Background(), " ", "x"), partner.ErrForbidden},
			"no person":    {partner.AsCustomer(context.Background(), globex, ""), partner.ErrForbidden},
			"two lines":    {partner.AsCustomer(context.Background(), globex, "a\nb"), partner.ErrInvalid},
			"another case": {partner.AsCustomer(context.Background(), strings.ToUpper(globex), "x"), partner.ErrNotFound},
		} {
			wants(w.t, what, w.reg.Access.Decide(c.ctx, asked.ID, true), c.want)
		}
		for _, id := range []string{"", "dlg_none", "\x00", string(a.ID), "\xff"} {
			wants(w.t, fmt.Sprintf("deciding on %q", id), w.reg.Access.Decide(customers(), id, true), partner.ErrNotFound)
			wants(w.t, fmt.Sprintf("revoking %q", id), w.reg.Access.Revoke(customers(), id), partner.ErrNotFound)
			wants(w.t, fmt.Sprintf("acting for %q", id), second(w.reg.Access.ActFor(me, id)), partner.ErrNotFound)
		}
		w.must(w.reg.Access.Decide(customers(), asked.ID, false))
		wants(w.t, "what was refused", second(w.reg.Access.ActFor(me, asked.ID)), partner.ErrForbidden)
		if states := []string{w.states(customers(), ""), w.states(other, ""), w.states(stranger, ""), w.states(w.login("dev"), ""), w.states(w.login("one"), ""), w.states(w.vendor, "")}; !slices.Equal(states, []string{"refused", "", "", "", "refused", "refused"}) {
			w.t.Errorf("seen: %q", states)
		}
		// A customer does nothing but that.
		for what, err := range map[string]error{
			"reads the project": second(w.reg.Accounts.Get(customers(), a.ID)), "lists projects": second(w.reg.Accounts.List(customers(), partner.AccountFilter{}, partner.PageRequest{})),
			"reads the balance": second(w.seats.Balance(customers(), a.ID, "seat")), "lists partners": second(w.reg.Partners.List(customers(), partner.PartnerFilter{}, partner.PageRequest{})),
			"lists sessions": second(w.reg.Access.Sessions(customers(), "", partner.PageRequest{})), "logs out": w.reg.Access.Logout(customers()),
			"works somewhere": second(w.reg.Access.Active(customers())), "asks for himself": second(w.reg.Access.RequestDelegation(customers(), w.leave(a.ID, dayLong))),
			"reads activity":     second(w.reg.Activity.List(customers(), partner.EventFilter{}, partner.PageRequest{})),
			"changes a password": w.reg.Access.ChangePassword(customers(), password, password),
		} {
			wants(w.t, "the customer "+what, err, partner.ErrForbidden)
		}
	})
}

// TestBEY10_ADelegatedSessionDoesHostWorkOnly: nothing of the partner, of the person who acts, or of another project; and it is no door to itself.
func TestBEY10_ADelegatedSessionDoesHostWorkOnly(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 10)
		a, sibling := w.his(me, "one"), w.his(me, "two")
		w.must(second(w.seats.Assign(me, a.ID, "seat", 3)))
		u := w.addedUser(p.ID, "dev", func(u *partner.NewUser) { u.Role = partner.Admin }) // who could do all that in his own session
		dev := w.login("dev")
		d := w.delegated(dev, a.ID, dayLong)
		in := w.guest(dev, d.ID)
		before := w.dump()
		for what, err := range map[string]error{
			"acts for": second(w.reg.Access.ActFor(in, d.ID)),
		} {
			wants(w.t, what, err, partner.ErrNestedDelegation)
		}
		one := partner.PageRequest{}
		for what, err := range map[string]error{
			"switches": w.reg.Access.SwitchTo(in, a.ID), "switches back": w.reg.Access.SwitchBack(in), "changes his password": w.reg.Access.ChangePassword(in, password, "another long password"),
			"his sessions": second(w.reg.Access.Sessions(in, string(u.ID), one)), "the project's": second(w.reg.Access.Sessions(in, string(a.ID), one)),
			"reads users":       second(w.reg.Users.List(in, "", one)),
			"edits the project": second(w.reg.Accounts.EditProject(in, a.ID, 1, func(n *partner.NewProject) { n.Company = "X" })),
			"sets its password": w.reg.Accounts.SetProjectPassword(in, a.ID, "another long password"), "closes it": second(w.reg.Accounts.Close(in, a.ID)),
			"opens one": second(w.reg.Accounts.OpenProject(in, newProject("three"))), "activity": second(w.reg.Activity.List(in, partner.EventFilter{}, one)),
			"assigns": second(w.seats.Assign(in, a.ID, "seat", 1)), "returns": second(w.seats.Return(in, "seat", 1)), "consumes": second(w.seats.Consume(in, a.ID, "seat", 1)),
			"reserves": second(w.seats.Reserve(in, a.ID, "seat", 1, time.Hour)), "has licences": second(w.seats.Mine(in)), "history": second(w.seats.History(in, a.ID, "", one)),
			"asks again": second(w.reg.Access.RequestDelegation(in, w.leave(a.ID, dayLong))), "lists them": second(w.reg.Access.Delegations(in, a.ID, one)),
			"revokes": w.reg.Access.Revoke(in, d.ID), "decides": w.reg.Access.Decide(in, d.ID, true),
			"exports": w.reg.Partners.Export(in, &strings.Builder{}, "csv", partner.PartnerFilter{}), "lists partners": second(w.reg.Partners.List(in, partner.PartnerFilter{}, one)),
		} {
			wants(w.t, what, err, partner.ErrForbidden)
		}
		for what, err := range map[string]error{
			"a sibling": second(w.reg.Accounts.Get(in, sibling.ID)), "its balance": second(w.seats.Balance(in, sibling.ID, "seat")), "the pool": second(w.seats.Balance(in, p.ID, "seat")),
			"the partner": second(w.reg.Partners.Get(in, p.ID)), "grants": second(w.seats.Grant(in, p.ID, "seat", 1)),
			"ends all his sessions": w.reg.Access.LogoutAll(in, u.ID), "adds one": second(w.reg.Users.Add(in, p.ID, newUser("new"))), "himself": second(w.reg.Users.Get(in, u.ID)), "reveals": second(w.reg.Users.RevealPassword(in, u.ID)),
		} {
			wants(w.t, what, err, partner.ErrNotFound)
		}
		if list := w.accounts(in); !slices.Equal(list, []partner.AccountID{a.ID}) {
			w.t.Errorf("lists %v", list)
		}
		if list := w.sessions(in, ""); len(list) != 1 || list[0].Actor != string(u.ID) || list[0].Principal != string(a.ID) || list[0].Account != a.ID || len(list[0].Roles) != 2 {
			w.t.Errorf("sees the sessions %+v", list)
		}
		if after := w.dump(); after != before {
			w.t.Error("something has changed")
		}
		if list := w.sessions(dev, ""); len(list) != 2 {
			w.t.Errorf("he sees %d sessions of his", len(list))
		}
	})
}

// accounts are those that somebody lists.
func (w *world) accounts(ctx context.Context) (list []partner.AccountID) {
	w.t.Helper()
	page, err := w.reg.Accounts.List(ctx, partner.AccountFilter{}, partner.PageRequest{})
	w.must(err)
	for _, a := range page.Items {
		list = append(list, a.ID)
	}
	return list
}

// TestBEY10_TheAuditShowsBoth: who acted and on whose behalf, from the first word to the last.
func TestBEY10_TheAuditShowsBoth(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.his(me, "one")
		u := w.addedUser(p.ID, "dev")
		dev := w.login("dev")
		d := w.delegated(dev, a.ID, dayLong)
		in := w.guest(dev, d.ID)
		session := w.sessionIn(a.ID)
		w.must(w.reg.Access.Logout(in))
		w.must(w.reg.Access.Revoke(customers(), d.ID))
		d = w.delegated(dev, a.ID, dayLong)
		open, err := w.reg.Access.RequestDelegation(dev, w.leave(a.ID, 100*dayLong))
		w.must(err)
		w.clock.Advance(91 * dayLong)
		w.must(second(w.reg.Step(context.Background())))
		person, said := string(u.ID), "customer:"+globex+"/person-7"
		var got []string
		page, err := w.reg.Activity.List(w.vendor, partner.EventFilter{Account: a.ID}, partner.PageRequest{})
		w.must(err)
		for _, e := range page.Items {
			if strings.HasPrefix(e.Kind, "delegation.") || strings.HasPrefix(e.Kind, "session.") {
				got = append(got, strings.Join([]string{e.Kind, e.Actor, e.Subject, e.Target}, " "))
			}
			if e.Partner != p.ID {
				w.t.Errorf("%s is of %s", e.Kind, e.Partner)
			}
		}
		slices.Reverse(got)
		first := strings.Fields(got[0])[3]
		want := []string{
			"delegation.requested " + person + " " + person + " " + first, "delegation.approved " + said + " " + said + " " + first,
			"session.delegated " + person + " " + string(a.ID) + " " + session, "session.ended " + person + " " + string(a.ID) + " " + session,
			"delegation.revoked " + said + " " + said + " " + first,
			"delegation.requested " + person + " " + person + " " + d.ID, "delegation.approved " + said + " " + said + " " + d.ID,
			"delegation.requested " + person + " " + person + " " + open.ID,
		}
		over := []string{"delegation.expired system system " + d.ID, "delegation.lapsed system system " + open.ID}
		if len(got) != 10 || !slices.Equal(got[:8], want) || !slices.Equal(slices.Sorted(slices.Values(got[8:])), over) {
			w.t.Errorf("the audit says\n%s", strings.Join(got, "\n"))
		}
		if states := w.states(customers(), a.ID); states != "lapsed expired revoked" {
			w.t.Errorf("they are %s", states)
		}
		w.must(second(w.reg.Step(context.Background())))
		page, err = w.reg.Activity.List(w.vendor, partner.EventFilter{Account: a.ID}, partner.PageRequest{})
		w.must(err)
		if n := len(page.Items); n != 12 { // and the project's opening, and that nobody has used it for long
			w.t.Errorf("there are %d events", n)
		}
	})
}

// TestBEY10_AKeyIsForOneUsersRequest: whoever asks for himself gets nobody else's answer; the caller spelt out is the caller.
func TestBEY10_AKeyIsForOneUsersRequest(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.his(me, "one")
		u := w.addedUser(p.ID, "dev")
		dev, other := w.login("dev"), w.user(p.ID, "other")
		d := w.leave(a.ID, dayLong)
		d.Key = "monday"
		first, err := w.reg.Access.RequestDelegation(dev, d)
		w.must(err)
		if first.Name != u.Name || first.Partner != p.Name || first.Project != a.Name {
			w.t.Errorf("asked for %q of %q in %q", first.Name, first.Partner, first.Project)
		}
		d.User = u.ID
		again, err := w.reg.Access.RequestDelegation(dev, d)
		w.must(err)
		if again.ID != first.ID || !again.Replayed {
			w.t.Errorf("spelt out: %+v", again)
		}
		d.User = ""
		wants(w.t, "a colleague's with the same key", second(w.reg.Access.RequestDelegation(other, d)), partner.ErrIdempotencyMismatch)
		wants(w.t, "an admin's with the same key", second(w.reg.Access.RequestDelegation(me, d)), partner.ErrIdempotencyMismatch)
	})
}

// TestBEY10_TheCustomerIsNotFlooded: a request that is over is not told of, and one user asks five times an hour.
func TestBEY10_TheCustomerIsNotFlooded(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.his(me, "one")
		for i := range 6 {
			d, err := w.reg.Access.RequestDelegation(me, w.leave(a.ID, dayLong))
			if i == 5 {
				wants(w.t, "the sixth", err, partner.ErrUnavailable)
				continue
			}
			w.must(err)
			w.must(w.reg.Access.Revoke(me, d.ID))
		}
		w.post()
		if len(box.sent) != 0 {
			w.t.Errorf("sent %v", box.sent)
		}
		w.clock.Advance(time.Hour)
		w.must(second(w.reg.Access.RequestDelegation(me, w.leave(a.ID, dayLong))))
		w.post()
		asked := box.last(w.t, "delegation_requested", "one@customer.example")
		if text := string(asked.Text); !strings.Contains(text, "as engineer, billing clerk until") {
			w.t.Errorf("it says %q", text)
		}
		w.must(w.reg.Access.Decide(customers(), asked.Data["delegation"], true))
		w.post()
		w.must(w.reg.Access.Revoke(customers(), asked.Data["delegation"]))
		w.post()
		told := box.last(w.t, "delegation_decided", "acme@partner.example")
		if told.Data["state"] != "revoked" || !strings.Contains(string(told.Text), "your access to the project Project one was revoked") {
			w.t.Errorf("he is told %v %q", told.Data, string(told.Text))
		}
	})
}
