package license_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// shop is a vendor's database with one partner, two projects and 100 licences in the partner's pool.
type shop struct {
	db          *gorm.DB
	reg         *partner.Registry
	seats       *license.Ledger
	vendor, me  context.Context
	acme        partner.Partner
	move, annex partner.Account
	done        func()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func newShop() *shop {
	dir, err := os.MkdirTemp("", "license-example")
	check(err)
	ctx := context.Background()
	s := &shop{vendor: partner.AsVendor(ctx, "ops@vendor.example")}
	s.db, err = gorm.Open(sqlite.Open(partner.SQLiteDSN(filepath.Join(dir, "channel.db"))), &gorm.Config{})
	check(err)
	check(partner.Migrate(ctx, s.db))
	s.reg, err = partner.Open(ctx, s.db, nil)
	check(err)
	s.seats = license.New(s.reg)
	s.acme, err = s.reg.Partners.Create(s.vendor, partner.Agreement{Name: "Acme Integrators", Email: "hello@acme.example", Login: "acme",
		Password: "correct horse battery", Currency: "EUR"})
	check(err)
	session, err := s.reg.Access.Login(ctx, "acme", "correct horse battery", "203.0.113.7")
	check(err)
	s.me = partner.WithSession(ctx, session)
	open := func(name, login string) partner.Account {
		a, err := s.reg.Accounts.OpenProject(s.me, partner.NewProject{Name: name, Company: "Globex", Email: "it@globex.example", Country: "DE", Login: login})
		check(err)
		return a
	}
	s.move, s.annex = open("Office move", "globex-move"), open("Annex", "globex-annex")
	check(s.seats.Define(s.vendor, license.Type{SKU: "mailbox", Name: "Mailbox migration"}))
	_, err = s.seats.Grant(s.vendor, s.acme.ID, "mailbox", 100, license.Key("PO-1"), license.Because("order 16"))
	check(err)
	s.done = func() {
		check(s.reg.Close())
		pool, err := s.db.DB()
		check(err)
		check(pool.Close())
		check(os.RemoveAll(dir))
	}
	return s
}

func ExampleLedger_Grant() {
	s := newShop()
	defer s.done()
	check(s.seats.Define(s.vendor, license.Type{SKU: "archive", Name: "Archive migration"}))
	for range 2 { // a repeat with the same key changes nothing
		t, err := s.seats.Grant(s.vendor, s.acme.ID, "archive", 40, license.Key("PO-2"), license.Because("order 17"))
		check(err)
		fmt.Println(t.ToAfter, t.Replayed)
	}
	// Output:
	// 40 false
	// 40 true
}

func ExampleLedger_Assign() {
	s := newShop()
	defer s.done()
	t, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 25, license.Key("click-1"))
	check(err)
	fmt.Println(t.FromAfter, t.ToAfter)
	_, err = s.seats.Assign(s.me, s.move.ID, "mailbox", 500)
	if short := (*license.InsufficientError)(nil); errors.As(err, &short) {
		fmt.Println("only", short.Available)
	}
	// Output:
	// 75 25
	// only 75
}

// Reassigning is an Assign from a project that the session has switched into.
func ExampleFrom() {
	s := newShop()
	defer s.done()
	_, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 25)
	check(err)
	check(s.reg.Access.SwitchTo(s.me, s.move.ID))
	_, err = s.seats.Assign(s.me, s.annex.ID, "mailbox", 5, license.From(s.move.ID))
	check(err)
	_, err = s.seats.Assign(s.me, s.annex.ID, "mailbox", 5, license.From(s.acme.ID)) // which is not where the session works
	fmt.Println(errors.Is(err, license.ErrWrongContext))
	// Output: true
}

func ExampleLedger_Return() {
	s := newShop()
	defer s.done()
	_, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 25)
	check(err)
	check(s.reg.Access.SwitchTo(s.me, s.move.ID))
	t, err := s.seats.Return(s.me, "mailbox", 5)
	check(err)
	check(s.reg.Access.SwitchBack(s.me))
	fmt.Println(t.FromAfter, t.ToAfter)
	// Output: 20 80
}

func ExampleLedger_Revoke() {
	s := newShop()
	defer s.done()
	t, err := s.seats.Revoke(s.vendor, s.acme.ID, "mailbox", 30, license.Because("contract reduced"))
	check(err)
	fmt.Println(t.FromAfter, t.Reason)
	// Output: 70 contract reduced
}

func ExampleLedger_Explain() {
	s := newShop()
	defer s.done()
	check(s.reg.Accounts.Suspend(s.vendor, s.move.ID))
	decision, err := s.seats.Explain(s.me, s.move.ID, "mailbox", 25)
	check(err)
	why := decision.Reasons[len(decision.Reasons)-1]
	fmt.Println(decision.Allowed, why.Code, "–", why.Text)
	// Output: false state – the project is suspended
}

// Closing a project returns its licences in the same transaction.
func ExampleLedger_Mine() {
	s := newShop()
	defer s.done()
	_, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 25)
	check(err)
	closed, err := s.reg.Accounts.Close(s.me, s.move.ID)
	check(err)
	mine, err := s.seats.Mine(s.me)
	check(err)
	fmt.Println(closed.Licenses["mailbox"], mine)
	// Output: 25 [{mailbox 100 0 0 0 0}]
}

func ExampleLedger_Statement() {
	s := newShop()
	defer s.done()
	_, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 25, license.Because("kick-off"))
	check(err)
	st, err := s.seats.Statement(s.me, s.acme.ID, "mailbox", partner.Period{})
	check(err)
	for _, l := range st.Lines {
		fmt.Println(l.Transfer.Verb, l.Change, l.Running, l.Transfer.Reason)
	}
	fmt.Println(st.Opening, st.Closing)
	// Output:
	// grant 100 100 order 16
	// assign -25 75 kick-off
	// 0 75
}

func ExampleLedger_HoldingsAt() {
	s := newShop()
	defer s.done()
	reported := time.Now()
	_, err := s.seats.Revoke(s.vendor, s.acme.ID, "mailbox", 10, license.Effective(reported.Add(-time.Microsecond)), license.Because("granted ten too many"))
	check(err)
	then, err := s.seats.HoldingsAt(s.me, s.acme.ID, reported, reported) // as it was reported
	check(err)
	now, err := s.seats.HoldingsAt(s.me, s.acme.ID, reported, time.Time{}) // as it is known today
	check(err)
	fmt.Println(then, now)
	// Output: [{mailbox 100 0 0 0 0}] [{mailbox 90 0 0 0 0}]
}

// Licences move with the host's own rows: commit or nothing.
func ExampleNew() {
	s := newShop()
	defer s.done()
	check(s.db.Exec("CREATE TABLE orders (licences INTEGER)").Error)
	check(s.db.Transaction(func(tx *gorm.DB) error {
		seats := license.New(s.reg.In(tx))
		if _, err := seats.Assign(s.me, s.move.ID, "mailbox", 500); !errors.Is(err, license.ErrInsufficient) { // undoes itself only
			return err
		}
		if _, err := seats.Assign(s.me, s.move.ID, "mailbox", 50); err != nil {
			return err
		}
		return tx.Exec("INSERT INTO orders VALUES (50)").Error
	}))
	b, err := s.seats.Balance(s.me, s.move.ID, "mailbox")
	check(err)
	fmt.Println(b.Available)
	// Output: 50
}

func ExampleLedger_Verify() {
	s := newShop()
	defer s.done()
	v, err := s.seats.Verify(s.vendor)
	check(err)
	fmt.Println(v.Transfers, v.FirstWrong == 0)
	// Output: 1 true
}
