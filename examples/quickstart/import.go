package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// importer saves a table in one transaction of the host's: all of it or nothing.
type importer struct {
	db       *gorm.DB
	reg      *partner.Registry
	vendor   context.Context // invites partners
	me       context.Context // opens projects
	acme     partner.ID      // whose projects they are
	currency string
	licenses int64
	out, err io.Writer

	names   names
	parents map[string][]partner.ID // by name, for ParentName
	stock   int64                   // of Acme's licences, while there are some each project gets one
	notes   notes
}

// run returns the partners it invited, in the order of the file. If any row is wrong, every one of those is printed with all that is
// wrong in it, and nothing is saved.
func (i *importer) run(ctx context.Context, t table) ([]partner.Partner, error) {
	if len(t.ignored) > 0 {
		fmt.Fprintf(i.out, "ignored: %q\n", t.ignored)
	}
	if err := i.look(t); err != nil {
		return nil, err
	}
	made := make([]thing, len(t.rows))
	for n, r := range t.rows {
		made[n] = i.translate(ctx, r)
	}
	err := i.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return i.saveAll(i.reg.In(tx), made) })
	if err != nil {
		return nil, err
	}
	var invited []partner.Partner
	projects, assigned := 0, 0
	for _, m := range made {
		if m.kind == account {
			invited = append(invited, m.partner)
			continue
		}
		projects++
		assigned += m.assigned
	}
	i.notes.print(i.out)
	fmt.Fprintf(i.out, "imported %d partners with %d licences each, and %d projects with %d licences in all\n",
		len(invited), i.licenses, projects, assigned)
	return invited, nil
}

// saveAll makes everything; its error rolls the host's transaction back, and with it all that the SDK wrote there.
func (i *importer) saveAll(in *partner.Registry, made []thing) error {
	seats, bad := license.New(in), 0
	p := newProgress(i.err, len(made))
	defer p.end()
	for n := range made {
		m := &made[n]
		err := i.save(in, seats, m)
		if errors.Is(err, partner.ErrUnavailable) || errors.Is(err, partner.ErrConflict) {
			return err // not the row's fault, and the next one would fare no better
		}
		if faults := append(m.faults, faultsOf(err)...); len(faults) > 0 {
			p.end()
			bad++
			complain(i.err, m.where, faults)
		}
		p.step()
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d rows are wrong: nothing of the file was saved", bad, len(made))
	}
	return nil
}

// look reads what names are in use already.
func (i *importer) look(t table) error {
	i.parents = map[string][]partner.ID{}
	for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
		return i.reg.Partners.List(i.vendor, partner.PartnerFilter{IncludeArchived: true}, r)
	}) {
		if err != nil {
			return err
		}
		i.names.logins.take(p.Login)
		i.parents[p.Name] = append(i.parents[p.Name], p.ID)
	}
	for a, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Account], error) {
		return i.reg.Accounts.List(i.vendor, partner.AccountFilter{}, r)
	}) {
		if err != nil {
			return err
		}
		if a.Project != nil {
			i.names.logins.take(a.Project.Login)
		}
		if a.Partner == i.acme {
			i.names.projects.take(a.Name)
		}
	}
	for _, r := range t.rows { // what the file asks for goes before what is made up for it
		i.names.logins.take(r.cells["login"])
	}
	pool, err := license.New(i.reg).Balance(i.me, i.acme, "mailbox")
	i.stock = pool.Available - tourNeeds
	return err
}

// save makes one row's partner or project. A refused call has undone itself and left the transaction usable.
func (i *importer) save(in *partner.Registry, seats *license.Ledger, m *thing) error {
	if m.kind == contact {
		project, err := in.Accounts.OpenProject(i.me, m.project)
		if err != nil || i.stock <= 0 {
			return err
		}
		i.stock--
		m.assigned = 1
		_, err = seats.Assign(i.me, project.ID, "mailbox", 1)
		return err
	}
	if m.parent != "" {
		switch ids := i.parents[m.parent]; len(ids) {
		case 0:
			m.fault("parent", "unknown_code", "no partner has this name, here or in a row above")
		case 1:
			m.agreement.Parent = ids[0]
		default:
			m.fault("parent", "unknown_code", "several partners have this name")
		}
	}
	var err error
	if m.partner, err = in.Partners.Invite(i.vendor, m.agreement); err != nil {
		return err
	}
	i.parents[m.partner.Name] = append(i.parents[m.partner.Name], m.partner.ID)
	if len(m.partner.Warnings) > 0 {
		i.notes.add("partners of a name that another has")
	}
	if i.licenses == 0 {
		return nil
	}
	_, err = seats.Grant(i.vendor, m.partner.ID, "mailbox", i.licenses, license.Because("import"))
	return err
}

// complain prints each field that is wrong, once.
func complain(w io.Writer, where string, faults []partner.FieldError) {
	seen := map[string]bool{}
	for _, f := range faults {
		if !seen[f.Path] {
			fmt.Fprintf(w, "%s: %s: %s\n", where, f.Path, f.Message)
		}
		seen[f.Path] = true
	}
}

// faultsOf gives the fields of an error; one without has a fault of the whole row.
func faultsOf(err error) []partner.FieldError {
	var v *partner.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &v):
		return v.Fields
	}
	return []partner.FieldError{{Path: "row", Message: err.Error(), Err: err}}
}
