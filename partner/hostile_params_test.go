package partner_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// parameter is one argument of one method; never says that no text given there can succeed.
type parameter struct {
	name  string
	never bool
	call  func(text string) error
}

// errOf drops a result.
func errOf[T any](_ T, err error) error { return err }

func TestCLW18_HostileParameters(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		p, me, a := w.supplied(1_000_000)
		list := append(w.idParameters(me), append(w.textParameters(p, me, a), w.moveParameters(p, me, a)...)...)
		for _, par := range list {
			for _, text := range w.own(texts) {
				w.trial(par.name, text, func() error {
					err := par.call(text)
					if par.never && err == nil {
						w.t.Errorf("%s takes %.40q", par.name, text)
					}
					return err
				})
			}
		}
		w.sound()
	})
}

// hisOnce is one project of the customer's.
func (w *world) hisOnce(me context.Context) partner.Account {
	w.t.Helper()
	page, err := w.reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{})
	w.must(err)
	for _, a := range page.Items {
		if a.Project.Customer == globex {
			return a
		}
	}
	return w.his(me, "of-the-customer")
}

// idParameters are the places of an id. No text in the lists is one.
func (w *world) idParameters(me context.Context) (list []parameter) {
	bg := context.Background()
	acc := func(name string, call func(partner.AccountID) error) {
		list = append(list, parameter{name, true, func(s string) error { return call(partner.AccountID(s)) }})
	}
	org := func(name string, call func(partner.ID) error) {
		list = append(list, parameter{name, true, func(s string) error { return call(partner.ID(s)) }})
	}
	nothing := func(*partner.NewProject) {}
	acc("Accounts.Get", func(id partner.AccountID) error { return errOf(w.reg.Accounts.Get(me, id)) })
	acc("EditProject", func(id partner.AccountID) error { return errOf(w.reg.Accounts.EditProject(me, id, 1, nothing)) })
	acc("SetProjectPassword", func(id partner.AccountID) error {
		return w.reg.Accounts.SetProjectPassword(me, id, "another long secret")
	})
	acc("ResetProjectPassword", func(id partner.AccountID) error { return errOf(w.reg.Accounts.ResetProjectPassword(me, id)) })
	acc("PreviewClose", func(id partner.AccountID) error { return errOf(w.reg.Accounts.PreviewClose(me, id)) })
	acc("Close", func(id partner.AccountID) error { return errOf(w.reg.Accounts.Close(me, id)) })
	acc("Touch", func(id partner.AccountID) error { return w.reg.Accounts.Touch(me, id) })
	acc("RemindClose", func(id partner.AccountID) error { return errOf(w.reg.Accounts.RemindClose(me, id)) })
	acc("CancelClose", func(id partner.AccountID) error { return w.reg.Accounts.CancelClose(me, id, "x") })
	acc("ConfirmCloseFor", func(id partner.AccountID) error { return w.reg.Accounts.ConfirmCloseFor(w.vendor, id, "x") })
	acc("Receipt", func(id partner.AccountID) error { return errOf(w.reg.Accounts.Receipt(w.vendor, id)) })
	list = append(list, parameter{"ConfirmClose", true, func(s string) error { return w.reg.Accounts.ConfirmClose(bg, partner.Secret(s)) }})
	acc("Suspend", func(id partner.AccountID) error { return w.reg.Accounts.Suspend(w.vendor, id) })
	acc("Resume", func(id partner.AccountID) error { return w.reg.Accounts.Resume(w.vendor, id) })
	acc("SwitchTo", func(id partner.AccountID) error { return w.reg.Access.SwitchTo(me, id) })
	acc("Assign", func(id partner.AccountID) error { return errOf(w.seats.Assign(me, id, "seat", 1)) })
	acc("Balance.account", func(id partner.AccountID) error { return errOf(w.seats.Balance(me, id, "seat")) })
	acc("History.account", func(id partner.AccountID) error { return errOf(w.seats.History(me, id, "", partner.PageRequest{})) })
	org("Partners.Get", func(id partner.ID) error { return errOf(w.reg.Partners.Get(w.vendor, id)) })
	org("Partners.Edit", func(id partner.ID) error { return errOf(w.reg.Partners.Edit(me, id, 1, func(*partner.Agreement) {})) })
	org("Block", func(id partner.ID) error { return w.reg.Partners.Block(w.vendor, id, true) })
	org("Unblock", func(id partner.ID) error { return w.reg.Partners.Unblock(w.vendor, id) })
	org("Archive", func(id partner.ID) error { return w.reg.Partners.Archive(w.vendor, id) })
	org("Restore", func(id partner.ID) error { return w.reg.Partners.Restore(w.vendor, id) })
	org("Tombstone", func(id partner.ID) error { return w.reg.Partners.Tombstone(w.vendor, id) })
	org("BlockUsers", func(id partner.ID) error { return w.reg.Partners.BlockUsers(w.vendor, id, true) })
	org("UnblockUsers", func(id partner.ID) error { return w.reg.Partners.UnblockUsers(w.vendor, id) })
	list = append(list, w.optionalParameters(me)...)
	org("MoveUnder", func(id partner.ID) error { return w.reg.Partners.MoveUnder(w.vendor, id, "") })
	org("SetContact", func(id partner.ID) error { return w.reg.Partners.SetContact(w.vendor, id, "usr_none") })
	org("SetLogo", func(id partner.ID) error { return w.reg.Partners.SetLogo(w.vendor, id, "square", "", pngOf(1, 1)) })
	org("Logo", func(id partner.ID) error {
		_, _, err := w.reg.Partners.Logo(w.vendor, id, "square")
		return err
	})
	org("Certify", func(id partner.ID) error {
		return errOf(w.reg.Program.Certify(w.vendor, id, certification("gold", partner.Period{})))
	})
	org("Certifications", func(id partner.ID) error { return errOf(w.reg.Program.Certifications(me, id, partner.PageRequest{})) })
	org("Grant", func(id partner.ID) error { return errOf(w.seats.Grant(w.vendor, id, "seat", 1)) })
	org("Revoke", func(id partner.ID) error { return errOf(w.seats.Revoke(w.vendor, id, "seat", 1)) })
	org("Balances", func(id partner.ID) error { return errOf(w.seats.Balances(me, id)) })
	org("HoldingsAt", func(id partner.ID) error { return errOf(w.seats.HoldingsAt(me, id, time.Time{}, time.Time{})) })
	org("Statement", func(id partner.ID) error { return errOf(w.seats.Statement(me, id, "seat", partner.Period{})) })
	list = append(list, w.mailParameters(me)...)
	list = append(list, parameter{"Login.login", true, func(s string) error {
		w.clock.Advance(20 * time.Minute) // some texts are one name
		return errOf(w.reg.Access.Login(bg, s, password, ""))
	}},
		parameter{"Resume.token", true, func(s string) error { return errOf(w.reg.Access.Resume(bg, partner.Secret(s))) }})
	return list
}

// mailParameters are ids and tokens of mail, invitations and sessions.
func (w *world) mailParameters(me context.Context) []parameter {
	bg := context.Background()
	user := func(name string, call func(partner.UserID) error) parameter {
		return parameter{name, true, func(s string) error { return call(partner.UserID(s)) }}
	}
	return []parameter{
		user("Reinvite", func(id partner.UserID) error { return errOf(w.reg.Access.Reinvite(me, id)) }),
		user("ResetPassword", func(id partner.UserID) error { return errOf(w.reg.Users.ResetPassword(me, id)) }),
		user("RevealPassword", func(id partner.UserID) error { return errOf(w.reg.Users.RevealPassword(me, id)) }),
		user("Link", func(id partner.UserID) error { return w.reg.Users.Link(w.vendor, id, outside("x", "")) }),
		{"Unlink.subject", true, func(s string) error { return w.reg.Users.Unlink(w.vendor, "usr_none", s, s) }},
		{"Enter.issuer", true, func(s string) error {
			return errOf(w.reg.Access.Enter(w.vendor, partner.Outside{Issuer: s, Subject: "x"}))
		}},
		{"Enter.subject", true, func(s string) error {
			return errOf(w.reg.Access.Enter(w.vendor, partner.Outside{Issuer: issuer, Subject: s, Email: s}))
		}},
		{"Accept.token", true, func(s string) error {
			return errOf(w.reg.Access.Accept(bg, partner.Secret(s), partner.Acceptance{Password: password}))
		}},
		{"Invited.token", true, func(s string) error { _, err := w.reg.Access.Invited(bg, partner.Secret(s)); return err }},
		{"EndSession", true, func(s string) error { return w.reg.Access.EndSession(me, s) }},
		{"Retry", true, func(s string) error { return w.reg.Activity.Retry(w.vendor, s) }},
		{"Dismiss", true, func(s string) error { return w.reg.Activity.Dismiss(w.vendor, s) }},
		{"Sessions", false, func(s string) error { return errOf(w.reg.Access.Sessions(me, s, partner.PageRequest{Limit: 1})) }},
		{"Deliveries.state", false, func(s string) error {
			return errOf(w.reg.Activity.Deliveries(w.vendor, s, partner.PageRequest{Limit: 1}))
		}},
		{"Profile", true, func(s string) error { _, _, err := w.reg.Partners.Profile(w.vendor, partner.ID(s)); return err }},
		{"ActFor", true, func(s string) error { return errOf(w.reg.Access.ActFor(me, s)) }},
		{"Decide", true, func(s string) error { return w.reg.Access.Decide(customers(), s, true) }},
		{"Revoke.delegation", true, func(s string) error { return w.reg.Access.Revoke(me, s) }},
		{"RequestDelegation.account", true, func(s string) error {
			return errOf(w.reg.Access.RequestDelegation(me, w.leave(partner.AccountID(s), dayLong)))
		}},
		{"AsCustomer.customer", true, func(s string) error {
			return w.reg.Access.Decide(partner.AsCustomer(bg, s, "x"), "dlg_none", true)
		}},
		{"AsCustomer.who", true, func(s string) error { return w.reg.Access.Decide(partner.AsCustomer(bg, globex, s), "dlg_none", true) }},
		{"SetForm", false, func(s string) error { return errOf(w.reg.Partners.SetForm(w.vendor, []byte(s))) }},
	}
}

// optionalParameters may be empty: filters and cursors.
func (w *world) optionalParameters(me context.Context) []parameter {
	after := func(s string) partner.PageRequest { return partner.PageRequest{After: s, Limit: 1} }
	return []parameter{
		{"EventFilter.Partner", false, func(s string) error {
			return errOf(w.reg.Activity.List(me, partner.EventFilter{Partner: partner.ID(s)}, partner.PageRequest{Limit: 1}))
		}},
		{"Partners.List.After", false, func(s string) error { return errOf(w.reg.Partners.List(me, partner.PartnerFilter{}, after(s))) }},
		{"Accounts.List.After", false, func(s string) error { return errOf(w.reg.Accounts.List(me, partner.AccountFilter{}, after(s))) }},
		{"Activity.List.After", false, func(s string) error { return errOf(w.reg.Activity.List(me, partner.EventFilter{}, after(s))) }},
		{"Delegations.account", false, func(s string) error { return errOf(w.reg.Access.Delegations(me, partner.AccountID(s), after(""))) }},
		{"Delegations.After", false, func(s string) error { return errOf(w.reg.Access.Delegations(me, "", after(s))) }},
		{"Deliveries.After", false, func(s string) error { return errOf(w.reg.Activity.Deliveries(w.vendor, "", after(s))) }},
		{"Retire", true, func(s string) error { return w.seats.Retire(w.vendor, s) }},
	}
}

// textParameters are the places of other text on the floor.
func (w *world) textParameters(p partner.Partner, me context.Context, a partner.Account) []parameter {
	bg := context.Background()
	return []parameter{
		{"MoveUnder.parent", false, func(s string) error { return w.reg.Partners.MoveUnder(w.vendor, p.ID, partner.ID(s)) }},
		{"SetContact.user", true, func(s string) error { return w.reg.Partners.SetContact(me, p.ID, partner.UserID(s)) }},
		{"RequestDelegation.user", true, func(s string) error {
			d := w.leave(a.ID, dayLong)
			if d.User = partner.UserID(s); s == "" {
				d.User = "usr_none"
			}
			return errOf(w.reg.Access.RequestDelegation(me, d))
		}},
		{"RequestDelegation.role", false, func(s string) error {
			w.clock.Advance(15 * time.Minute) // a user asks five times an hour
			d := w.leave(w.hisOnce(w.login("acme")).ID, dayLong)
			d.Roles = []string{s}
			got, err := w.reg.Access.RequestDelegation(w.login("acme"), d)
			if err == nil && (len(got.Roles) != 1 || got.Roles[0] != s || w.found(w.vendor, got.ID).Roles[0] != s) {
				w.t.Errorf("the role %q becomes %q", s, got.Roles)
			}
			if err == nil {
				w.must(w.reg.Access.Revoke(customers(), got.ID))
			}
			return err
		}},
		{"SetLogo.purpose", true, func(s string) error { return w.reg.Partners.SetLogo(me, p.ID, s, "", pngOf(1, 1)) }},
		{"SetLogo.media_type", false, func(s string) error { return w.reg.Partners.SetLogo(me, p.ID, "wide", s, pngOf(1, 1)) }},
		{"SetLogo.image", true, func(s string) error { return w.reg.Partners.SetLogo(me, p.ID, "wide", "", []byte(s)) }},
		{"Logo.purpose", true, func(s string) error {
			_, _, err := w.reg.Partners.Logo(me, p.ID, s)
			return err
		}},
		{"Revoke.certification", true, func(s string) error { return errOf(w.reg.Program.Revoke(w.vendor, s, "x")) }},
		{"Certified.id", false, func(s string) error {
			yes, err := w.reg.Program.Certified(me, partner.ID(s), "", time.Time{})
			if yes {
				w.t.Errorf("%q is certified", s)
			}
			return err
		}},
		{"SetTier.label", false, func(s string) error {
			set, err := w.reg.Program.SetTier(w.vendor, p.ID, partner.Tier{Label: s, Reason: "x"})
			if label, now := w.reg.Program.TierAt(w.vendor, p.ID, set.Period.From); err == nil && (now != nil || label != s) {
				w.t.Errorf("the tier %q becomes %q, %v", s, label, now)
			}
			return err
		}},
		{"TierAt.id", true, func(s string) error { return errOf(w.reg.Program.TierAt(w.vendor, partner.ID(s), time.Time{})) }},
		{"Tiers.id", true, func(s string) error {
			return errOf(w.reg.Program.Tiers(w.vendor, partner.ID(s), partner.PageRequest{}))
		}},
		{"Certified.programme", false, func(s string) error { return errOf(w.reg.Program.Certified(me, p.ID, s, time.Time{})) }},
		{"Certifications.After", false, func(s string) error {
			return errOf(w.reg.Program.Certifications(w.vendor, p.ID, partner.PageRequest{After: s, Limit: 1}))
		}},
		{"Login.password", true, func(s string) error {
			w.clock.Advance(20 * time.Minute) // guesses wait up to a quarter of an hour
			return errOf(w.reg.Access.Login(bg, "one", partner.Secret(s), ""))
		}},
		{"Login.source", false, func(s string) error { return errOf(w.reg.Access.Login(bg, "one", password, s)) }},
		{"ChangePassword.old", true, func(s string) error {
			w.clock.Advance(20 * time.Minute)
			return w.reg.Access.ChangePassword(w.login("acme"), partner.Secret(s), "another long secret")
		}},
		{"SetProjectPassword.password", false, func(s string) error {
			w.clock.Advance(20 * time.Minute)
			if err := w.reg.Accounts.SetProjectPassword(w.login("acme"), a.ID, partner.Secret(s)); err != nil {
				return err
			}
			return errOf(w.reg.Access.Login(bg, "one", partner.Secret(s), ""))
		}},
		{"Partners.List.under", false, func(s string) error {
			return errOf(w.reg.Partners.List(w.vendor, partner.PartnerFilter{Under: partner.ID(s)}, partner.PageRequest{}))
		}},
		{"Partners.List.search", false, func(s string) error {
			return errOf(w.reg.Partners.List(w.vendor, partner.PartnerFilter{Search: s}, partner.PageRequest{}))
		}},
		{"Partners.Export.search", false, func(s string) error {
			return w.reg.Partners.Export(w.login("acme"), io.Discard, "json", partner.PartnerFilter{Search: s})
		}},
		{"Partners.Export.format", true, func(s string) error {
			return w.reg.Partners.Export(w.vendor, io.Discard, s, partner.PartnerFilter{})
		}},
		{"Activity.Export.format", true, func(s string) error {
			return w.reg.Activity.Export(w.vendor, io.Discard, s, partner.EventFilter{})
		}},
		{"Activity.Export.partner", false, func(s string) error {
			return w.reg.Activity.Export(w.vendor, io.Discard, "csv", partner.EventFilter{Partner: partner.ID(s), Period: partner.Period{From: w.clock.Now()}})
		}},
		{"Accounts.List.partner", false, func(s string) error {
			return errOf(w.reg.Accounts.List(w.vendor, partner.AccountFilter{Partner: partner.ID(s)}, partner.PageRequest{}))
		}},
		{"Accounts.List.after", false, func(s string) error {
			return errOf(w.reg.Accounts.List(w.vendor, partner.AccountFilter{}, partner.PageRequest{After: s}))
		}},
		{"Activity.List.account", false, func(s string) error {
			return errOf(w.reg.Activity.List(w.vendor, partner.EventFilter{Account: partner.AccountID(s)}, partner.PageRequest{Limit: 1}))
		}},
		{"Activity.List.kinds", false, func(s string) error {
			return errOf(w.reg.Activity.List(w.vendor, partner.EventFilter{Kinds: []string{s}}, partner.PageRequest{Limit: 1}))
		}},
		{"Deliveries.after", false, func(s string) error {
			return errOf(w.reg.Activity.Deliveries(w.vendor, "", partner.PageRequest{After: s}))
		}},
		{"Access.Explain.action", true, func(s string) error { return errOf(w.reg.Access.Explain(w.vendor, s, "")) }},
		{"Access.Explain.target", false, func(s string) error { return errOf(w.reg.Access.Explain(w.vendor, "account.read", s)) }},
		{"AsVendor.name", false, func(s string) error {
			tr, err := w.seats.Grant(partner.AsVendor(bg, s), p.ID, "seat", 1)
			if want := "host:" + strings.TrimSpace(s); err == nil && tr.Actor != want {
				w.t.Errorf("actor %q, want %q", tr.Actor, want)
			}
			return err
		}},
	}
}

// moveParameters are the places of text in the ledger.
func (w *world) moveParameters(p partner.Partner, _ context.Context, a partner.Account) []parameter {
	me := func() context.Context { return w.login("acme") } // the clock has run on
	return []parameter{
		{"Grant.sku", true, func(s string) error { return errOf(w.seats.Grant(w.vendor, p.ID, s, 1)) }},
		{"Balance.sku", false, func(s string) error { return errOf(w.seats.Balance(w.vendor, p.ID, s)) }},
		{"History.sku", false, func(s string) error { return errOf(w.seats.History(w.vendor, p.ID, s, partner.PageRequest{})) }},
		{"Statement.sku", false, func(s string) error { return errOf(w.seats.Statement(w.vendor, p.ID, s, partner.Period{})) }},
		{"Explain.sku", false, func(s string) error { return errOf(w.seats.Explain(w.vendor, a.ID, s, 1)) }},
		{"Explain.to", false, func(s string) error { return errOf(w.seats.Explain(w.vendor, partner.AccountID(s), "seat", 1)) }},
		{"History.after", false, func(s string) error {
			return errOf(w.seats.History(w.vendor, p.ID, "", partner.PageRequest{After: s}))
		}},
		{"From", true, func(s string) error {
			return errOf(w.seats.Assign(me(), a.ID, "seat", 1, license.From(partner.ID(s))))
		}},
		{"Key", false, func(s string) error {
			tr, err := w.seats.Assign(me(), a.ID, "seat", 1, license.Key(s))
			if err == nil && tr.Key != s {
				w.t.Errorf("key %q comes back as %q", s, tr.Key)
			}
			return err
		}},
		{"Because", false, func(s string) error {
			tr, err := w.seats.Grant(w.vendor, p.ID, "seat", 1, license.Because(s))
			if err != nil {
				return err
			}
			page, err := w.seats.History(w.vendor, p.ID, "", partner.PageRequest{Limit: 1})
			if err == nil && (page.Items[0].ID != tr.ID || page.Items[0].Reason != s) {
				w.t.Errorf("reason %q comes back as %q", s, page.Items[0].Reason)
			}
			return err
		}},
	}
}

func TestCLW16_HostileQuantities(t *testing.T) {
	numbers := corpus[int64](t, "money/quantities.json")
	hostile(t, func(w *world) {
		p, me, a := w.supplied(1)
		for name, call := range map[string]func(int64) error{
			"Grant":   func(n int64) error { return errOf(w.seats.Grant(w.vendor, p.ID, "seat", n)) },
			"Revoke":  func(n int64) error { return errOf(w.seats.Revoke(w.vendor, a.ID, "seat", n)) },
			"Assign":  func(n int64) error { return errOf(w.seats.Assign(me, a.ID, "seat", n)) },
			"Return":  func(n int64) error { return errOf(w.seats.Return(me, "seat", n)) },
			"Explain": func(n int64) error { return errOf(w.seats.Explain(me, a.ID, "seat", n)) },
			"Trace":   func(n int64) error { return errOf(w.seats.Trace(w.vendor, n)) },
			"List.limit": func(n int64) error {
				return errOf(w.reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{Limit: int(n)}))
			},
			"Edit": func(n int64) error {
				return errOf(w.reg.Accounts.EditProject(me, a.ID, n, func(*partner.NewProject) {}))
			},
		} {
			for _, n := range numbers {
				w.trial(name, fmt.Sprint(n), func() error { return call(n) })
			}
		}
		w.sound()
	})
}

// TestBEY12_NoSumOverflows fills a pool until an int64 would not hold it.
func TestBEY12_NoSumOverflows(t *testing.T) {
	hostile(t, func(w *world) {
		p, _ := w.partner("acme")
		w.stock(p.ID, "seat", 1)
		granted := int64(1)
		for {
			_, err := w.seats.Grant(w.vendor, p.ID, "seat", license.MaxQuantity)
			if err != nil {
				w.faulty(err, "quantity:range")
				break
			}
			if granted += license.MaxQuantity; granted < 0 {
				w.t.Fatal("the sum has passed what an int64 holds")
			}
		}
		if got := w.available(w.vendor, p.ID, "seat"); got != granted {
			w.t.Fatalf("the pool has %d, want %d", got, granted)
		}
		w.sound()
	})
}

// TestPAN01_ForgedCursors: a cursor is not signed, so its inside is a caller's text like any other.
func TestPAN01_ForgedCursors(t *testing.T) {
	hostile(t, func(w *world) {
		p, me, _ := w.supplied(10)
		w.stock(p.ID, "mailbox", 10)
		w.project(me, "two")
		one := partner.PageRequest{Limit: 1}
		accounts, err := w.reg.Accounts.List(me, partner.AccountFilter{}, one)
		w.must(err)
		history, err := w.seats.History(me, p.ID, "", one)
		w.must(err)
		for _, tail := range []string{"\x00", "\xff", "", strings.Repeat("9", 1000), "-1", "' OR 1=1 --"} {
			for _, at := range []string{"\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", "\x7f\xff\xff\xff\xff\xff\xff\xff", "\x80\x00\x00\x00\x00\x00\x00\x00"} {
				forge := func(cursor string) string {
					b, err := base64.RawURLEncoding.DecodeString(cursor)
					w.must(err)
					return base64.RawURLEncoding.EncodeToString([]byte(string(b[:9]) + at + tail))
				}
				w.trial("Accounts.List", at+tail, func() error {
					return errOf(w.reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{After: forge(accounts.Next)}))
				})
				w.trial("History", at+tail, func() error {
					return errOf(w.seats.History(me, p.ID, "", partner.PageRequest{After: forge(history.Next)}))
				})
			}
		}
	})
}
