package partner_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// TestPAN04_HostileUsers puts each text into each field of a new user and of an edit.
func TestPAN04_HostileUsers(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		p, _ := w.partner("acme")
		edited := w.addedUser(p.ID, "edited")
		n := 0
		for _, at := range places(partner.NewUser{}, false) {
			for _, text := range w.own(texts) {
				w.trial("Users.Add."+at.name, text, func() error {
					n++
					in := newUser(fmt.Sprint("login", n))
					at.put(&in, text)
					u, err := w.reg.Users.Add(w.vendor, p.ID, in)
					if err != nil {
						return err
					}
					if !u.Invited && (at.name == "Password" || at.name == "Login") {
						_, err := w.reg.Access.Login(context.Background(), in.Login, in.Password, "")
						w.must(err)
					}
					if at.name != "Password" && !(at.name == "Login" && text == "") {
						at.same(w, text, u.NewUser)
					}
					return w.reg.Users.Remove(w.vendor, u.ID)
				})
				w.trial("Users.Edit."+at.name, text, func() error {
					now, err := w.reg.Users.Edit(w.vendor, edited.ID, edited.Version, func(u *partner.NewUser) { at.put(u, text) })
					if err != nil {
						return err
					}
					edited = now
					if at.name != "Password" && at.name != "Key" {
						at.same(w, text, edited.NewUser)
					}
					return nil
				})
			}
		}
	})
}

// TestPIL07_HostileTaxIDs: as they are given, or refused.
func TestPIL07_HostileTaxIDs(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		p, _ := w.partner("acme")
		for _, text := range w.own(texts) {
			for _, id := range []partner.TaxID{{Scheme: "de-vat", Value: text}, {Scheme: "ru-inn", Value: text}, {Scheme: text, Value: "1"}} {
				w.trial("TaxIDs", text, func() error {
					now, err := w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.TaxIDs = []partner.TaxID{id} })
					if err != nil {
						return err
					}
					p = now
					if (place{name: "Email"}).kept(id.Value) != p.TaxIDs[0].Value || p.TaxIDs[0].Scheme != id.Scheme {
						w.t.Errorf("%+v comes back as %+v", id, p.TaxIDs)
					}
					return nil
				})
			}
		}
	})
}

// TestLIM01_HostileUserParameters: ids and cursors of the users' desk.
func TestLIM01_HostileUserParameters(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		p, me := w.partner("acme")
		user := func(name string, call func(partner.UserID) error) parameter {
			return parameter{name, true, func(s string) error { return call(partner.UserID(s)) }}
		}
		for _, par := range []parameter{
			user("Users.Get", func(id partner.UserID) error { return errOf(w.reg.Users.Get(me, id)) }),
			user("Users.Edit", func(id partner.UserID) error {
				return errOf(w.reg.Users.Edit(me, id, 1, func(u *partner.NewUser) { u.Name = "X" }))
			}),
			user("Users.Disable", func(id partner.UserID) error { return w.reg.Users.Disable(me, id) }),
			user("Users.Enable", func(id partner.UserID) error { return w.reg.Users.Enable(w.vendor, id) }),
			user("Users.Remove", func(id partner.UserID) error { return w.reg.Users.Remove(me, id) }),
			user("Access.LogoutAll", func(id partner.UserID) error {
				if id == "" {
					return partner.ErrNotFound // it is the caller himself
				}
				return w.reg.Access.LogoutAll(me, id)
			}),
			{"Users.Add.org", true, func(s string) error { return errOf(w.reg.Users.Add(w.vendor, partner.ID(s), newUser("x"))) }},
			{"Users.List.org", false, func(s string) error { return errOf(w.reg.Users.List(me, partner.ID(s), partner.PageRequest{})) }},
			{"Users.List.After", false, func(s string) error { return errOf(w.reg.Users.List(me, p.ID, partner.PageRequest{After: s})) }},
			{"Partners.At", true, func(s string) error { return errOf(w.reg.Partners.At(w.vendor, partner.ID(s), time.Now())) }},
		} {
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
	})
}
