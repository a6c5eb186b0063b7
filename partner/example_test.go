package partner_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// fresh is a registry on a new SQLite file, as a host opens it, and what removes it again.
func fresh() (*gorm.DB, *partner.Registry, func()) {
	dir, err := os.MkdirTemp("", "partner-example")
	check(err)
	db, err := gorm.Open(sqlite.Open(partner.SQLiteDSN(filepath.Join(dir, "channel.db"))), &gorm.Config{})
	check(err)
	check(partner.Migrate(context.Background(), db))
	reg, err := partner.Open(context.Background(), db, nil)
	check(err)
	return db, reg, func() {
		check(reg.Close())
		pool, err := db.DB()
		check(err)
		check(pool.Close())
		check(os.RemoveAll(dir))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// acme adds a partner and logs its admin in.
func acme(reg *partner.Registry) (partner.Partner, context.Context) {
	p, err := reg.Partners.Create(partner.AsVendor(context.Background(), "ops@vendor.example"), partner.Agreement{
		Name: "Acme Integrators", Email: "hello@acme.example", Login: "acme", Password: "correct horse battery", Currency: "EUR"})
	check(err)
	session, err := reg.Access.Login(context.Background(), "acme", "correct horse battery", "203.0.113.7")
	check(err)
	return p, partner.WithSession(context.Background(), session)
}

// office opens a project.
func office(reg *partner.Registry, me context.Context) partner.Account {
	a, err := reg.Accounts.OpenProject(me, partner.NewProject{Name: "Office move", Company: "Globex", Email: "it@globex.example",
		Country: "DE", Login: "globex-move", Password: "another long secret"})
	check(err)
	return a
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "partner-example")
	check(err)
	defer os.RemoveAll(dir)
	ctx := context.Background()
	db, err := gorm.Open(sqlite.Open(partner.SQLiteDSN(filepath.Join(dir, "channel.db"))), &gorm.Config{})
	check(err)
	_, err = partner.Open(ctx, db, nil)
	fmt.Println("before Migrate it is refused:", errors.Is(err, partner.ErrRefused))
	check(partner.Migrate(ctx, db))
	reg, err := partner.Open(ctx, db, nil)
	check(err)
	fmt.Println(reg.Close())
	// Output:
	// before Migrate it is refused: true
	// <nil>
}

func ExamplePartners_Create() {
	_, reg, done := fresh()
	defer done()
	vendor := partner.AsVendor(context.Background(), "ops@vendor.example")
	p, err := reg.Partners.Create(vendor, partner.Agreement{Name: "Acme Integrators", Email: "hello@acme.example", Login: "acme",
		Password: "correct horse battery", Currency: "EUR", Deposit: 50_000, BillingModel: "prepayment"})
	check(err)
	fmt.Println(p.Name, p.State, p.Capabilities, p.Balance)

	_, err = reg.Partners.Create(vendor, partner.Agreement{Login: "Acme", Email: "nobody", Password: "short"})
	if faults := (*partner.ValidationError)(nil); errors.As(err, &faults) { // every failing field at once
		for _, f := range faults.Fields {
			fmt.Println(f.Path, f.Code)
		}
	}
	// Output:
	// Acme Integrators active [resell build operate] {50000 EUR}
	// name required
	// email format
	// password weak
	// currency required
	// login taken
}

func ExampleAccess_Login() {
	_, reg, done := fresh()
	defer done()
	acme(reg)
	ctx := context.Background()
	session, err := reg.Access.Login(ctx, "acme", "correct horse battery", "203.0.113.7")
	check(err)
	cookie := session.Token() // a host keeps it in a cookie, and resumes with each request
	fmt.Println(cookie)
	session, err = reg.Access.Resume(ctx, cookie)
	check(err)
	me := partner.WithSession(ctx, session)
	check(reg.Access.Logout(me))
	_, err = reg.Access.Resume(ctx, cookie)
	fmt.Println(errors.Is(err, partner.ErrForbidden))
	// Output:
	// [redacted]
	// true
}

func ExampleAccounts_OpenProject() {
	_, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	a, err := reg.Accounts.OpenProject(me, partner.NewProject{Name: "Office move", Company: "Globex", Email: "it@globex.example",
		Country: "de", Login: "globex-move", Password: "another long secret"})
	check(err)
	fmt.Println(a.Name, a.State, a.Region)

	customer, err := reg.Access.Login(context.Background(), "globex-move", "another long secret", "") // the delegated log-in
	check(err)
	fmt.Println(customer.Account == a.ID, customer.Region)
	// Output:
	// Office move active DE
	// true DE
}

func ExampleAccounts_EditProject() {
	_, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	a := office(reg, me)
	edit := func(p *partner.NewProject) { p.Email = "migration@globex.example" }
	edited, err := reg.Accounts.EditProject(me, a.ID, a.Version, edit)
	check(err)
	fmt.Println(edited.Project.Email)
	_, err = reg.Accounts.EditProject(me, a.ID, a.Version, edit) // of a version that is no more
	fmt.Println(errors.Is(err, partner.ErrConflict))
	// Output:
	// migration@globex.example
	// true
}

func ExampleAccounts_ResetProjectPassword() {
	_, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	a := office(reg, me)
	password, err := reg.Accounts.ResetProjectPassword(me, a.ID) // this once
	check(err)
	_, err = reg.Access.Login(context.Background(), "globex-move", password, "")
	fmt.Println(password, err)
	// Output: [redacted] <nil>
}

func ExampleAccess_SwitchTo() {
	_, reg, done := fresh()
	defer done()
	acmeOrg, me := acme(reg)
	a := office(reg, me)
	check(reg.Access.SwitchTo(me, a.ID))
	active, err := reg.Access.Active(me)
	check(err)
	fmt.Println(active.Holder == partner.Holder(a.ID), active.Region)
	check(reg.Access.SwitchBack(me))
	active, err = reg.Access.Active(me)
	check(err)
	fmt.Println(active.Holder == partner.Holder(acmeOrg.ID))
	// Output:
	// true DE
	// true
}

func ExampleAccess_Explain() {
	_, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	a := office(reg, me)
	decision, err := reg.Access.Explain(me, "account.suspend", string(a.ID))
	check(err)
	fmt.Println(decision.Allowed)
	for _, r := range decision.Reasons {
		fmt.Println(r.Code+":", r.Text)
	}
	// Output:
	// false
	// session: the session is live
	// right: this is for the vendor
}

func ExampleAccess_View() {
	_, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	a := office(reg, me)
	view, err := reg.Access.View(me) // once for a page
	check(err)
	for _, button := range []string{"project.edit", "account.close", "account.suspend"} {
		fmt.Println(button, view.May(me, button, string(a.ID)) == nil)
	}
	// Output:
	// project.edit true
	// account.close true
	// account.suspend false
}

func ExampleAccounts_Close() {
	_, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	a := office(reg, me)
	_, err := reg.Accounts.Close(me, a.ID)
	check(err)
	_, err = reg.Access.Login(context.Background(), "globex-move", "another long secret", "")
	if blocked := (*partner.BlockedError)(nil); errors.As(err, &blocked) {
		fmt.Println(blocked.Reasons)
	}
	vendor := partner.AsVendor(context.Background(), "ops@vendor.example")
	page, err := reg.Activity.Deliveries(vendor, "", partner.PageRequest{})
	check(err)
	fmt.Println(len(page.Items), "messages wait")
	// Output:
	// [closing]
	// 2 messages wait
}

func ExamplePartners_Block() {
	_, reg, done := fresh()
	defer done()
	org, me := acme(reg)
	vendor := partner.AsVendor(context.Background(), "ops@vendor.example")
	check(reg.Partners.Block(vendor, org.ID, false))
	_, err := reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{})
	fmt.Println(errors.Is(err, partner.ErrBlocked))
	check(reg.Partners.Unblock(vendor, org.ID))
	_, err = reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{}) // this session stays dead
	fmt.Println(errors.Is(err, partner.ErrForbidden), errors.Is(err, partner.ErrBlocked))
	// Output:
	// true
	// true false
}

// A host's own rows and the SDK's commit or vanish together.
func ExampleRegistry_In() {
	db, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	check(db.Exec("CREATE TABLE tickets (project TEXT)").Error)
	// Hashing and host callbacks run before the transaction.
	ready, err := reg.Accounts.Prepare(me, partner.NewProject{Name: "Office move", Company: "Globex", Email: "it@globex.example",
		Country: "DE", Login: "globex-move", Password: "another long secret"})
	check(err)
	err = db.Transaction(func(tx *gorm.DB) error {
		a, err := reg.In(tx).Accounts.OpenProject(me, ready)
		if err != nil {
			return err
		}
		if err := tx.Exec("INSERT INTO tickets VALUES (?)", a.ID).Error; err != nil {
			return err
		}
		return errors.New("the host thinks better of it")
	})
	page, listed := reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{})
	check(listed)
	fmt.Println(err, len(page.Items))
	// Output: the host thinks better of it 0
}

func ExampleEach() {
	_, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	office(reg, me)
	for a, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Account], error) {
		return reg.Accounts.List(me, partner.AccountFilter{}, r)
	}) {
		check(err)
		fmt.Println(a.Name)
	}
	// Output: Office move
}

func ExampleActivity_List() {
	_, reg, done := fresh()
	defer done()
	_, me := acme(reg)
	a := office(reg, me)
	page, err := reg.Activity.List(me, partner.EventFilter{Account: a.ID}, partner.PageRequest{})
	check(err)
	for _, e := range page.Items {
		fmt.Println(e.Kind, e.Target == string(a.ID))
	}
	// Output: project.opened true
}
