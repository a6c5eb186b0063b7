package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// tourNeeds is how many licences of Acme's the tour hands out.
const tourNeeds = 30

// tour is a partner's day: two projects opened, licences assigned and moved, a project handed to its customer, one closed.
// me is Acme's session.
func tour(ctx context.Context, reg *partner.Registry, me context.Context, acme partner.ID, out io.Writer) error {
	seats := license.New(reg)
	open := func(name, login string) (partner.Account, error) {
		return reg.Accounts.OpenProject(me, partner.NewProject{Name: name, Company: "Globex", Email: "it@globex.example", Country: "DE",
			Login: login, Password: "another long secret", Key: "tour/" + login})
	}
	move, err := open("Office move", "globex-move")
	if err != nil {
		return err
	}
	if move.State != "active" { // the key brought back what an earlier run opened, and closed
		fmt.Fprintln(out, "this database has seen the tour already")
		return nil
	}
	annex, err := open("Annex", "globex-annex")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "opened %q and %q in region %s\n", move.Name, annex.Name, move.Region)
	if _, err := seats.Assign(me, move.ID, "mailbox", 25, license.Key("click-1")); err != nil {
		return err
	}
	fmt.Fprintf(out, "assigned 25 from the pool to %q\n", move.Name)
	if err := inside(reg, seats, me, move, annex, out); err != nil {
		return err
	}

	customer, err := reg.Access.Login(ctx, "globex-move", "another long secret", "")
	if err != nil {
		return err
	}
	own, err := seats.Mine(partner.WithSession(ctx, customer))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the customer logs in and sees %d in %q\n", own[0].Available, move.Name)

	preview, err := reg.Accounts.PreviewClose(me, move.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "closing %q: %d would come back\n", move.Name, preview.Licenses["mailbox"])
	if _, err := reg.Accounts.Close(me, move.ID); err != nil {
		return err
	}
	pool, err := seats.Balance(me, acme, "mailbox")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "closed; the pool has %d\n", pool.Available)
	return nil
}

// inside moves licences while the session is switched into a project: it is then the source.
func inside(reg *partner.Registry, seats *license.Ledger, me context.Context, move, annex partner.Account, out io.Writer) error {
	if err := reg.Access.SwitchTo(me, move.ID); err != nil {
		return err
	}
	if _, err := seats.Assign(me, annex.ID, "mailbox", 5, license.From(move.ID)); err != nil { // reassign, asserting the source
		return err
	}
	fmt.Fprintf(out, "switched into %q and reassigned 5 to %q\n", move.Name, annex.Name)
	_, err := seats.Assign(me, annex.ID, "mailbox", 500)
	if short := (*license.InsufficientError)(nil); errors.As(err, &short) {
		fmt.Fprintf(out, "500 more were refused: only %d are there\n", short.Available)
	} else if err != nil {
		return err
	}
	if _, err := seats.Return(me, "mailbox", 5); err != nil {
		return err
	}
	fmt.Fprintln(out, "returned 5 to the pool and switched back")
	return reg.Access.SwitchBack(me)
}

// report prints who holds what, and whether every balance follows from history.
func report(vendor context.Context, reg *partner.Registry, seats *license.Ledger, holders []partner.Partner, out io.Writer) error {
	const most = 20
	fmt.Fprintln(out, "mailbox licences in the pools:")
	for _, h := range holders[:min(len(holders), most)] {
		pool, err := seats.Balance(vendor, h.ID, "mailbox")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%8d  %s\n", pool.Available, h.Name)
	}
	if more := len(holders) - most; more > 0 {
		fmt.Fprintf(out, "          … and %d more\n", more)
	}
	projects, err := reg.Accounts.List(vendor, partner.AccountFilter{}, partner.PageRequest{Limit: most})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "and in the newest projects:")
	for _, a := range projects.Items {
		held, err := seats.Balance(vendor, a.ID, "mailbox")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%8d  %s\n", held.Available, a.Name)
	}
	if projects.Next != "" {
		fmt.Fprintln(out, "          … and more")
	}
	v, err := seats.Verify(vendor)
	if err != nil {
		return err
	}
	if v.FirstWrong != 0 {
		return fmt.Errorf("the ledger is wrong: %s", v.Why)
	}
	fmt.Fprintf(out, "verified %d transfers of %d holders: every balance follows from them\n", v.Transfers, v.Holders)
	return nil
}
