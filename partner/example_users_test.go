package partner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

func ExampleUsers_Add() {
	_, reg, done := fresh()
	defer done()
	acme, admin := acme(reg)
	move := office(reg, admin)

	// An employee who works on that one project, and moves licences there.
	dev, err := reg.Users.Add(admin, acme.ID, partner.NewUser{Name: "Dana", Email: "dana@acme.example", Login: "dana", Password: "a long enough secret",
		Role: partner.Member, Rights: []partner.Right{partner.Licenses}, Scope: partner.Scope{Accounts: []partner.AccountID{move.ID}}})
	check(err)
	fmt.Println(dev.Name, dev.Role, dev.Rights)

	session, err := reg.Access.Login(context.Background(), "dana", "a long enough secret", "203.0.113.8")
	check(err)
	me := partner.WithSession(context.Background(), session)
	dec, err := reg.Access.Explain(me, "project.edit", string(move.ID))
	check(err)
	fmt.Println(dec.Allowed, dec.Reasons[len(dec.Reasons)-1].Text)

	// All faults at once.
	_, err = reg.Users.Add(admin, acme.ID, partner.NewUser{Name: "Eli", Login: "dana", Role: "boss", Password: "short"})
	fmt.Println(err)
	// Output:
	// Dana member [licenses]
	// false this needs the right projects
	// partner: add user: invalid: email: must not be empty; role: must be one of [admin member]; password: must have at least 8 characters; login: is in use
}

// dana adds a member without any right.
func dana(reg *partner.Registry, admin context.Context, to partner.ID) partner.User {
	u, err := reg.Users.Add(admin, to, partner.NewUser{Name: "Dana", Email: "dana@acme.example", Login: "dana", Password: "a long enough secret",
		Role: partner.Member})
	check(err)
	return u
}

func ExampleUsers_Edit() {
	_, reg, done := fresh()
	defer done()
	acme, admin := acme(reg)
	dev := dana(reg, admin, acme.ID)

	raise := func(u *partner.NewUser) { u.Rights = append(u.Rights, partner.Projects) }
	now, err := reg.Users.Edit(admin, dev.ID, dev.Version, raise)
	check(err)
	fmt.Println(now.Rights)

	_, err = reg.Users.Edit(admin, dev.ID, dev.Version, raise) // the version of before
	fmt.Println(errors.Is(err, partner.ErrConflict))

	_, err = reg.Users.Edit(admin, now.ID, now.Version, func(u *partner.NewUser) { u.Rights = append(u.Rights, partner.ViewInvoices) })
	fmt.Println(err)
	// Output:
	// [projects]
	// true
	// partner: edit user: not allowed: nobody gives a right that he lacks, and the vendor alone gives flags to admins
}

func ExampleUsers_Disable() {
	_, reg, done := fresh()
	defer done()
	acme, admin := acme(reg)
	dev := dana(reg, admin, acme.ID)
	session, err := reg.Access.Login(context.Background(), "dana", "a long enough secret", "")
	check(err)

	check(reg.Users.Disable(admin, dev.ID))
	_, err = reg.Accounts.List(partner.WithSession(context.Background(), session), partner.AccountFilter{}, partner.PageRequest{})
	fmt.Println(errors.Is(err, partner.ErrForbidden))

	check(reg.Users.Enable(admin, dev.ID))
	_, err = reg.Access.Resume(context.Background(), session.Token()) // what ended stays ended
	fmt.Println(errors.Is(err, partner.ErrForbidden))
	fmt.Println(reg.Users.Disable(admin, acme.Contact))
	// Output:
	// true
	// true
	// partner: disable user: is the primary contact of its partner
}

func ExamplePartners_SetLogo() {
	_, reg, done := fresh()
	defer done()
	org, admin := acme(reg)

	var upload bytes.Buffer
	check(png.Encode(&upload, image.NewGray(image.Rect(0, 0, 512, 512))))
	check(reg.Partners.SetLogo(admin, org.ID, "square", "image/png", upload.Bytes()))
	kind, logo, err := reg.Partners.Logo(admin, org.ID, "square")
	check(err)
	fmt.Println(kind, bytes.Equal(logo, upload.Bytes()))

	// The content counts, not what it is said to be.
	err = reg.Partners.SetLogo(admin, org.ID, "wide", "image/png", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`))
	fmt.Println(err != nil, errors.Is(err, partner.ErrInvalid))
	check(reg.Partners.SetLogo(admin, org.ID, "square", "", nil))
	kind, logo, err = reg.Partners.Logo(admin, org.ID, "square")
	fmt.Println(kind == "", logo == nil, err)
	// Output:
	// image/png true
	// true true
	// true true <nil>
}

func ExampleProgram_Certify() {
	_, reg, done := fresh()
	defer done()
	vendor := partner.AsVendor(context.Background(), "academy@vendor.example")
	org, admin := acme(reg)
	year := partner.Period{From: time.Now(), Until: time.Now().AddDate(1, 0, 0)}
	first, err := reg.Program.Certify(vendor, org.ID, partner.Certification{Programme: "integrator", Period: year, Reason: "exam of March"})
	check(err)

	// Renewing is certifying the next period; facts never overlap.
	next := partner.Period{From: year.Until, Until: year.Until.AddDate(1, 0, 0)}
	_, err = reg.Program.Certify(vendor, org.ID, partner.Certification{Programme: "integrator", Period: next, Reason: "exam of next March"})
	check(err)
	_, err = reg.Program.Certify(vendor, org.ID, partner.Certification{Programme: "integrator", Period: next, Reason: "by mistake"})
	faults := (*partner.ValidationError)(nil)
	fmt.Println(errors.As(err, &faults), faults.Fields[0].Path, faults.Fields[0].Code)

	// Everybody may ask whether; why, the vendor and the partner's own admins read.
	now, err := reg.Program.Certified(admin, org.ID, "integrator", time.Time{})
	check(err)
	in18Months, err := reg.Program.Certified(admin, org.ID, "", time.Now().AddDate(1, 6, 0))
	check(err)
	fmt.Println(now, in18Months)
	_, err = reg.Program.Revoke(vendor, first.ID, "licence terms broken")
	check(err)
	now, err = reg.Program.Certified(admin, org.ID, "integrator", time.Time{})
	check(err)
	list, err := reg.Program.Certifications(admin, org.ID, partner.PageRequest{})
	check(err)
	fmt.Println(now, len(list.Items), list.Items[1].RevokedReason)
	// Output:
	// true period taken
	// true true
	// false 2 licence terms broken
}

func ExamplePartners_At() {
	_, reg, done := fresh()
	defer done()
	vendor := partner.AsVendor(context.Background(), "ops@vendor.example")
	rate := 1900
	p, err := reg.Partners.Create(vendor, partner.Agreement{Name: "Acme Integrators", Login: "acme", Password: "correct horse battery", Currency: "EUR",
		VAT: &rate, TaxIDs: []partner.TaxID{{Scheme: "kz-bin", Value: "940140000380"}}})
	check(err)
	fmt.Println(p.Warnings[0].Path, p.Warnings[0].Message)

	now, err := reg.Partners.Edit(vendor, p.ID, p.Version, func(a *partner.Agreement) { a.VAT = nil }) // exempt from now on
	check(err)
	then, err := reg.Partners.At(vendor, p.ID, p.Created)
	check(err)
	fmt.Println(now.VAT == nil, *then.VAT)
	// Output:
	// tax_ids[0].value is not a number that kz-bin knows
	// true 1900
}
