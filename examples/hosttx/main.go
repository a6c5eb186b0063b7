// hosttx: the host's own row and SDK calls commit or vanish together.
//
//	go run ./examples/hosttx
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// Ticket is the host's own table.
type Ticket struct {
	ID      uint
	Number  string `gorm:"unique"`
	Project string
}

// sell writes the host's ticket and moves licences to its project, in one transaction. then is what else the host does in it.
func sell(me context.Context, db *gorm.DB, reg *partner.Registry, project partner.AccountID, number string, then func(*gorm.DB) error) error {
	return db.WithContext(me).Transaction(func(tx *gorm.DB) error {
		in := reg.In(tx)
		seats := license.New(in)
		if err := tx.Create(&Ticket{Number: number, Project: project.String()}).Error; err != nil {
			return err
		}
		_, err := seats.Assign(me, project, "mailbox", 25, license.Key(number))
		if errors.Is(err, license.ErrInsufficient) { // the refused call left tx usable
			_, err = seats.Assign(me, project, "mailbox", 10, license.Key(number+"/less"))
		}
		if err != nil {
			return err // the ticket vanishes too
		}
		if err := in.Access.SwitchTo(me, project); err != nil {
			return err
		}
		return then(tx)
	})
}

// sellAndNote also writes the sale into the project's name. Whoever changes the project between the reading and the transaction makes
// that ErrConflict: the whole transaction is run again, on what the project has become. meanwhile is where the others come in.
func sellAndNote(me context.Context, db *gorm.DB, reg *partner.Registry, id partner.AccountID, number string, meanwhile func(try int) error) error {
	for try := 1; ; try++ {
		seen, err := reg.Accounts.Get(me, id)
		if err != nil {
			return err
		}
		if err := meanwhile(try); err != nil {
			return err
		}
		err = sell(me, db, reg, id, number, func(tx *gorm.DB) error {
			_, err := reg.In(tx).Accounts.EditProject(me, id, seen.Version, func(p *partner.NewProject) { p.Name += " (" + number + ")" })
			return err
		})
		again := errors.Is(err, partner.ErrConflict) || // somebody was faster
			errors.Is(err, partner.ErrOutcomeUnknown) // it may be done: the ticket's number and the keys keep it from being done twice
		if !again || try == 5 {
			return err
		}
	}
}

func main() {
	dir, err := os.MkdirTemp("", "hosttx-")
	if err == nil {
		err = run(context.Background(), filepath.Join(dir, "channel.db"), os.Stdout)
		_ = os.RemoveAll(dir)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, file string, out io.Writer) error {
	// PrepareStmt is the host's affair: the SDK keeps its statements out of that cache.
	db, err := gorm.Open(sqlite.Open(partner.SQLiteDSN(file)), &gorm.Config{PrepareStmt: true})
	if err != nil {
		return err
	}
	if pool, err := db.DB(); err == nil {
		defer pool.Close()
	}
	tickets := db.Exec("CREATE TABLE IF NOT EXISTS tickets (id INTEGER PRIMARY KEY, number TEXT UNIQUE, project TEXT)") // the host's own table
	if err := errors.Join(tickets.Error, partner.Migrate(ctx, db)); err != nil {
		return err
	}
	reg, err := partner.Open(ctx, db, nil)
	if err != nil {
		return err
	}
	defer reg.Close()
	me, project, err := setUp(ctx, reg)
	if err != nil {
		return err
	}
	show := func(what string) error {
		var tickets int64
		counted := db.Model(&Ticket{}).Count(&tickets).Error
		held, err := license.New(reg).Balance(me, project.ID, "mailbox")
		fmt.Fprintf(out, "%s: %d tickets, %d licences in the project\n", what, tickets, held.Available)
		return errors.Join(counted, err)
	}

	// 25 are too many, 10 go through in the same transaction.
	if err := sell(me, db, reg, project.ID, "ticket-1", func(*gorm.DB) error { return nil }); err != nil {
		return err
	}
	if err := errors.Join(show("sold"), restock(ctx, reg, me, project.Partner, "PO-2")); err != nil {
		return err
	}

	// The host changes its mind: ticket, move and switch vanish.
	errNoCredit := errors.New("the customer has no credit")
	err = sell(me, db, reg, project.ID, "ticket-2", func(tx *gorm.DB) error {
		var tickets int64
		tx.Model(&Ticket{}).Count(&tickets)
		held, err := license.New(reg.In(tx)).Balance(me, project.ID, "mailbox")
		fmt.Fprintf(out, "selling: %d tickets, %d licences in the project\n", tickets, held.Available)
		return errors.Join(errNoCredit, err)
	})
	if !errors.Is(err, errNoCredit) {
		return err
	}
	if err := show("rolled back"); err != nil {
		return err
	}

	// A colleague is faster once.
	err = sellAndNote(me, db, reg, project.ID, "ticket-3", func(try int) error {
		fmt.Fprintf(out, "try %d\n", try)
		if try > 1 {
			return nil
		}
		_, err := reg.Accounts.EditProject(me, project.ID, project.Version, func(p *partner.NewProject) { p.Name = "Office and annex" })
		return err
	})
	if err != nil {
		return err
	}
	if project, err = reg.Accounts.Get(me, project.ID); err != nil {
		return err
	}
	return show("sold to " + project.Name)
}

// setUp makes a partner with 10 licences and a project, and logs it in.
func setUp(ctx context.Context, reg *partner.Registry) (me context.Context, project partner.Account, err error) {
	vendor, seats := partner.AsVendor(ctx, "ops@vendor.example"), license.New(reg)
	acme, err := reg.Partners.Create(vendor, partner.Agreement{
		Name: "Acme Integrators", Email: "hello@acme.example", Login: "acme", Password: "correct horse battery", Currency: "EUR"})
	if err != nil {
		return nil, project, err
	}
	if err := seats.Define(vendor, license.Type{SKU: "mailbox", Name: "Mailbox migration"}); err != nil {
		return nil, project, err
	}
	if _, err := seats.Grant(vendor, acme.ID, "mailbox", 10, license.Key("PO-1")); err != nil {
		return nil, project, err
	}
	session, err := reg.Access.Login(ctx, "acme", "correct horse battery", "")
	if err != nil {
		return nil, project, err
	}
	me = partner.WithSession(ctx, session)
	project, err = reg.Accounts.OpenProject(me, partner.NewProject{
		Name: "Office move", Company: "Globex", Email: "it@globex.example", Country: "DE", Login: "globex-move"})
	return me, project, err
}

// restock grants 10 more, and takes the session, which sell has switched into the project, back to the pool.
func restock(ctx context.Context, reg *partner.Registry, me context.Context, to partner.ID, key string) error {
	_, err := license.New(reg).Grant(partner.AsVendor(ctx, "ops@vendor.example"), to, "mailbox", 10, license.Key(key))
	return errors.Join(err, reg.Access.SwitchBack(me))
}
