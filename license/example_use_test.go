package license_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// Licences with a validity are a lot of their own; what runs out first is used first.
func ExampleValid() {
	s := newShop()
	defer s.done()
	trial := partner.Period{Until: time.Now().Add(30 * 24 * time.Hour)}
	_, err := s.seats.Grant(s.vendor, s.acme.ID, "mailbox", 10, license.Valid(trial), license.Because("trial"))
	check(err)
	t, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 15)
	check(err)
	for _, lot := range t.Lots {
		fmt.Println(lot.Quantity, "dated", !lot.Valid.Until.IsZero())
	}
	// Output:
	// 10 dated true
	// 5 dated false
}

// A reservation is for one outcome: posted, voided, or freed by time.
func ExampleLedger_Reserve() {
	s := newShop()
	defer s.done()
	_, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 25)
	check(err)
	r, err := s.seats.Reserve(s.me, s.move.ID, "mailbox", 5, time.Minute)
	check(err)
	_, err = s.seats.Post(s.me, r.ID) // the migration of five mailboxes went well
	check(err)
	_, err = s.seats.Void(s.me, r.ID)
	fmt.Println(errors.Is(err, license.ErrReservationDone))
	b, err := s.seats.Balance(s.me, s.move.ID, "mailbox")
	check(err)
	fmt.Println(b.Available, b.Reserved, b.Consumed)
	// Output:
	// true
	// 20 0 5
}

func ExampleLedger_Consume() {
	s := newShop()
	defer s.done()
	_, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 25)
	check(err)
	t, err := s.seats.Consume(s.me, s.move.ID, "mailbox", 3, license.Key("batch-7"))
	check(err)
	fmt.Println(t.FromAfter, t.ToAfter) // left, and used up
	// Output: 22 3
}

// A licence cannot leave while somebody sits on it; a plan says who makes room.
func ExampleLedger_PlanShrink() {
	s := newShop()
	defer s.done()
	_, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 3)
	check(err)
	for _, person := range []string{"ann@globex.example", "bob@globex.example", "Ann@Globex.example"} {
		seat, err := s.seats.Seat(s.me, s.move.ID, "mailbox", person)
		check(err)
		fmt.Println(seat.Person)
	}
	_, err = s.seats.Revoke(s.vendor, s.move.ID, "mailbox", 2)
	fmt.Println(errors.Is(err, license.ErrShrinkPlanRequired))
	plan, err := s.seats.PlanShrink(s.me, s.move.ID, "mailbox", 1, "newest")
	check(err)
	_, err = s.seats.ApplyShrink(s.me, plan)
	check(err)
	fmt.Println(plan.Return, "returned,", plan.Remove[0].Person, "leaves")
	// Output:
	// ann@globex.example
	// bob@globex.example
	// ann@globex.example
	// true
	// 2 returned, bob@globex.example leaves
}

// Many lines in one transaction: all or none, or each for itself.
func ExampleLedger_AssignAll() {
	s := newShop()
	defer s.done()
	check(s.seats.Cap(s.vendor, s.annex.ID, "mailbox", 10))
	results, err := s.seats.AssignAll(s.me, []license.Move{
		{To: s.move.ID, SKU: "mailbox", Quantity: 60, Key: "line-1"},
		{To: s.annex.ID, SKU: "mailbox", Quantity: 11, Key: "line-2"},
	}, false)
	check(err)
	for _, r := range results {
		fmt.Println(r.Transfer.Quantity, errors.Is(r.Err, partner.ErrQuota))
	}
	// Output:
	// 60 false
	// 0 true
}

// A partner asks for licences, the vendor grants them in the same transaction as its answer.
func ExampleLedger_Ask() {
	s := newShop()
	defer s.done()
	r, err := s.seats.Ask(s.me, "mailbox", 50, license.Because("Globex grows"))
	check(err)
	r, err = s.seats.DecideRequest(s.vendor, r.ID, true, "order 18")
	check(err)
	pool, err := s.seats.Balance(s.me, s.acme.ID, "mailbox")
	check(err)
	fmt.Println(r.State, r.Answer, pool.Available)
	// Output: granted order 18 150
}

// A mistake is mended by its opposite; both stay in the history.
func ExampleLedger_Correct() {
	s := newShop()
	defer s.done()
	wrong, err := s.seats.Grant(s.vendor, s.acme.ID, "mailbox", 1000, license.Because("typo"))
	check(err)
	fix, err := s.seats.Correct(s.vendor, wrong.ID, license.Because("was 100"))
	check(err)
	fmt.Println(fix.FromAfter, fix.Corrects == wrong.ID)
	// Output: 100 true
}

// Holdings over time, for a chart.
func ExampleLedger_Series() {
	s := newShop()
	defer s.done()
	from := time.Now().Add(-time.Hour)
	_, err := s.seats.Assign(s.me, s.move.ID, "mailbox", 25)
	check(err)
	points, err := s.seats.Series(s.me, s.acme.ID, "mailbox", partner.Period{From: from}, 3)
	check(err)
	for _, p := range points {
		fmt.Print(p.Balance.Available, " ")
	}
	// Output: 0 0 75
}
