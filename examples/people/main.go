// Command people shows the vendor's desk: partner organisations and their users created, listed, changed, invited, disabled, exported and archived,
// with mail that goes to the terminal.
//
//	go run ./examples/people
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/partner"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// desk is a notifier that prints what it would mail, and keeps the newest token of each address: in life the invitee finds it in his mail.
type desk struct {
	out io.Writer

	mu     sync.Mutex
	tokens map[string]partner.Secret
}

// Notify implements partner.Notifier.
func (d *desk) Notify(_ context.Context, m partner.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokens[m.To] = m.Token
	_, err := fmt.Fprintf(d.out, "mail to %s: %s\n", m.To, m.Subject)
	return err
}

func (d *desk) token(address string) partner.Secret {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tokens[address]
}

func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "people")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := gorm.Open(sqlite.Open(partner.SQLiteDSN(filepath.Join(dir, "people.db"))), &gorm.Config{})
	if err != nil {
		return err
	}
	if pool, err := db.DB(); err == nil {
		defer func() { _ = pool.Close() }()
	}
	if err := partner.Migrate(ctx, db); err != nil {
		return err
	}
	mail := &desk{out: out, tokens: map[string]partner.Secret{}}
	reg, err := partner.Open(ctx, db, &partner.Options{Notifier: mail, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer func() { _ = reg.Close() }()
	vendor := partner.AsVendor(ctx, "ops@vendor.example")
	if err := organisations(vendor, reg, out); err != nil {
		return err
	}
	return people(ctx, vendor, reg, mail, out)
}

// organisations creates three partners, changes one, archives one, and lists and exports what is left.
func organisations(vendor context.Context, reg *partner.Registry, out io.Writer) error {
	var made []partner.Partner
	for _, name := range []string{"Acme", "Bolt", "Crane"} {
		p, err := reg.Partners.Create(vendor, partner.Agreement{Name: name + " Integrators", Login: name, Email: name + "@partner.example",
			Password: "correct horse battery", Currency: "EUR", Key: "crm/" + name})
		if err != nil {
			return err
		}
		made = append(made, p)
	}
	bolt, err := reg.Partners.Edit(vendor, made[1].ID, made[1].Version, func(a *partner.Agreement) { a.Name, a.Phone = "Bolt & Sons", "+49 30 901820" })
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "renamed to", bolt.Name)
	if err := reg.Partners.Archive(vendor, made[2].ID); err != nil {
		return err
	}
	for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
		return reg.Partners.List(vendor, partner.PartnerFilter{}, r)
	}) {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "listed:", p.Name, p.State)
	}
	if err := reg.Partners.Export(vendor, io.Discard, "csv", partner.PartnerFilter{Search: "bolt"}); err != nil {
		return err
	}
	return reg.Partners.Restore(vendor, made[2].ID)
}

// people has Acme's admin invite somebody, who accepts, works, is disabled and let in again, and leaves.
func people(ctx, vendor context.Context, reg *partner.Registry, mail *desk, out io.Writer) error {
	session, err := reg.Access.Login(ctx, "acme", "correct horse battery", "203.0.113.7")
	if err != nil {
		return err
	}
	admin, boss := partner.WithSession(ctx, session), partner.UserID(session.Principal)
	dana, err := reg.Users.Add(admin, session.Partner, partner.NewUser{Name: "Dana", Email: "dana@acme.example", Role: partner.Member,
		Rights: []partner.Right{partner.Projects}})
	if err != nil {
		return err
	}
	if _, err := reg.Step(ctx); err != nil { // a server calls Run in the background instead
		return err
	}
	session, err = reg.Access.Accept(ctx, mail.token("dana@acme.example"), partner.Acceptance{Password: "a long enough secret"})
	if err != nil {
		return err
	}
	me := partner.WithSession(ctx, session)
	project, err := reg.Accounts.OpenProject(me, partner.NewProject{Name: "Office move", Company: "Globex", Email: "it@globex.example", Country: "DE",
		Login: "globex-move"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Dana opened", project.Name)
	if err := reg.Users.Disable(admin, dana.ID); err != nil {
		return err
	}
	_, err = reg.Access.Login(ctx, "dana@acme.example", "a long enough secret", "")
	fmt.Fprintln(out, "while disabled:", err)
	if err := reg.Users.Enable(admin, dana.ID); err != nil {
		return err
	}
	if _, err := reg.Users.ResetPassword(vendor, dana.ID); err != nil {
		return err
	}
	if _, err := reg.Step(ctx); err != nil {
		return err
	}
	if _, err := reg.Access.Accept(ctx, mail.token("dana@acme.example"), partner.Acceptance{Password: "another long secret"}); err != nil {
		return err
	}
	if owns := (*partner.OwnsAccountsError)(nil); errors.As(reg.Users.Remove(admin, dana.ID), &owns) { // what she opened goes to somebody else first
		for _, id := range owns.IDs {
			if err := reg.Accounts.TransferOwnership(admin, id, boss); err != nil {
				return err
			}
		}
	}
	if err := reg.Users.Remove(admin, dana.ID); err != nil {
		return err
	}
	users, err := reg.Users.List(admin, session.Partner, partner.PageRequest{})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, len(users.Items), "user is left")
	return nil
}
