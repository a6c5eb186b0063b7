package partner_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/partnerkit/partnerkit/partner"
)

// workshop is an account for solutions, of a partner that the vendor has certified.
func workshop(reg *partner.Registry) (owner context.Context, account partner.Account) {
	partnerOf, owner := acme(reg)
	vendor := partner.AsVendor(context.Background(), "ops@vendor.example")
	_, err := reg.Program.Certify(vendor, partnerOf.ID, partner.Certification{Programme: "builder", Reason: "exam of 7 May"})
	check(err)
	account, err = reg.Accounts.Open(owner, partner.NewAccount{Type: "solution", Name: "Workshop"})
	check(err)
	return owner, account
}

// The owner of an account looks at his solution as somebody in sales does.
func ExampleAccess_ActAs() {
	_, reg, done := fresh()
	defer done()
	owner, account := workshop(reg)
	for i := range 11 {
		_, err := reg.Accounts.AddMember(owner, account.ID, partner.NewMember{Kind: partner.Special, Name: fmt.Sprint("Role ", i), Roles: []string{"sales"}})
		if full := (*partner.QuotaError)(nil); errors.As(err, &full) {
			fmt.Println(full.Kind, full.InUse, "of", full.Limit)
		}
	}
	members, err := reg.Accounts.Members(owner, account.ID, partner.PageRequest{Limit: 1})
	check(err)
	session, err := reg.Access.ActAs(owner, members.Items[0].ID, "screenshots for the listing")
	check(err)
	fmt.Println(session.Principal == string(members.Items[0].ID), session.Roles)
	acting := partner.WithSession(context.Background(), session)
	_, err = reg.Access.ActAs(acting, members.Items[0].ID, "again")
	fmt.Println(errors.Is(err, partner.ErrNestedDelegation))
	check(reg.Access.Logout(acting))
	// Output:
	// special 10 of 10
	// true [sales]
	// true
}

// Another partner's engineer is let into an account, and works there as what he was invited as.
func ExampleAccounts_AddMember() {
	reg, box, done := freshWithMail()
	defer done()
	owner, account := workshop(reg)
	ctx := context.Background()
	vendor := partner.AsVendor(ctx, "ops@vendor.example")
	other, err := reg.Partners.Create(vendor, partner.Agreement{Name: "Beta", Email: "bob@other.example", Login: "bob", Password: "a long enough secret", Currency: "EUR"})
	check(err)
	invite := partner.NewMember{Kind: partner.Collaborator, Email: "bob@other.example", Roles: []string{"builder"}}
	_, err = reg.Accounts.AddMember(owner, account.ID, invite)
	fmt.Println(errors.Is(err, partner.ErrNotCertified))
	_, err = reg.Program.Certify(vendor, other.ID, partner.Certification{Programme: "builder", Reason: "exam of 9 May"})
	check(err)
	_, err = reg.Accounts.AddMember(owner, account.ID, invite)
	check(err)

	// The page behind the link in the mail: Bob has a log-in, and gives its password.
	_, err = reg.Step(ctx)
	check(err)
	mail := box.last
	in, err := reg.Access.Invited(ctx, mail.Token)
	check(err)
	fmt.Println(mail.Template, in.AccountName, in.Known)
	session, err := reg.Access.Accept(ctx, mail.Token, partner.Acceptance{Password: "a long enough secret"})
	check(err)
	fmt.Println(session.Partner == other.ID, session.Account == account.ID, session.Roles)

	// Later, from his own log-in.
	session, err = reg.Access.Login(ctx, "bob", "a long enough secret", "203.0.113.9")
	check(err)
	bob := partner.WithSession(ctx, session)
	places, err := reg.Access.Memberships(bob, partner.PageRequest{})
	check(err)
	session, err = reg.Access.WorkIn(bob, places.Items[0].ID)
	check(err)
	fmt.Println(places.Items[0].AccountName, session.Principal == string(places.Items[0].ID))
	// Output:
	// true
	// invitation Workshop true
	// true true [builder]
	// Workshop true
}
