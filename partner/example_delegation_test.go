package partner_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// A customer lets one of the partner's engineers into his project for a month.
func ExampleAccess_ActFor() {
	_, reg, done := fresh()
	defer done()
	acme, admin := acme(reg)
	move := office(reg, admin)
	move, err := reg.Accounts.EditProject(admin, move.ID, move.Version, func(p *partner.NewProject) { p.Customer = "cus_globex" })
	check(err)
	dev := dana(reg, admin, acme.ID)
	session, err := reg.Access.Login(context.Background(), "dana", "a long enough secret", "203.0.113.8")
	check(err)
	me := partner.WithSession(context.Background(), session)

	asked, err := reg.Access.RequestDelegation(me, partner.Delegation{Account: move.ID, Roles: []string{"engineer"},
		Period: partner.Period{Until: time.Now().AddDate(0, 1, 0)}})
	check(err)
	fmt.Println(asked.State)

	// In the customer's own pages, once the host knows who is there.
	customer := partner.AsCustomer(context.Background(), "cus_globex", "person-7")
	check(reg.Access.Decide(customer, asked.ID, true))

	there, err := reg.Access.ActFor(me, asked.ID)
	check(err)
	fmt.Println(there.Roles, there.Actor == string(dev.ID), there.Principal == string(move.ID))
	inside := partner.WithSession(context.Background(), there)
	project, err := reg.Accounts.Get(inside, move.ID)
	check(err)
	fmt.Println(project.Name)
	_, err = reg.Accounts.Close(inside, move.ID) // host work, and nothing of the partner's
	fmt.Println(errors.Is(err, partner.ErrForbidden))

	check(reg.Access.Revoke(customer, asked.ID))
	_, err = reg.Accounts.Get(inside, move.ID)
	fmt.Println(errors.Is(err, partner.ErrGrantExpired))
	// Output:
	// requested
	// [engineer] true true
	// Office move
	// true
	// true
}
