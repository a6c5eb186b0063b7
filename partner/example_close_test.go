package partner_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// jobs are what a host keeps of an account.
type jobs struct{}

func (jobs) Class() string { return "work_data" }

func (jobs) Erase(_ context.Context, a partner.AccountID) (int, error) { return 12, nil } // DELETE FROM jobs WHERE account = …

// A project is closed: looked at first, then blocked at once; when the contact has confirmed it, what the host keeps is erased and a receipt proves it.
func ExampleAccounts_ConfirmClose() {
	now := time.Date(2027, 1, 1, 8, 0, 0, 0, time.UTC)
	reg, box, done := freshWithMail(func(o *partner.Options) {
		o.Clock = func() time.Time { return now }
		o.Erasers = []partner.Eraser{jobs{}}
		o.RunningWork = func(context.Context, partner.AccountID) ([]string, error) { return []string{"nightly sync"}, nil }
		o.Signer = func(_ context.Context, message []byte) ([]byte, string, error) { // of a key service
			sum := sha256.Sum256(message)
			return sum[:], "key-1", nil
		}
	})
	defer done()
	ctx := context.Background()
	_, me := acme(reg)
	move := office(reg, me)

	preview, err := reg.Accounts.PreviewClose(me, move.ID)
	check(err)
	fmt.Println("would end", preview.Running)
	_, err = reg.Accounts.Close(me, move.ID)
	check(err)
	_, err = reg.Access.Login(ctx, "globex-move", "another long secret", "198.51.100.4")
	fmt.Println(err)

	_, err = reg.Step(ctx) // or Run, in the background
	check(err)
	check(reg.Accounts.ConfirmClose(ctx, box.token))
	now = now.Add(time.Minute)
	_, err = reg.Step(ctx)
	check(err)
	receipt, err := reg.Accounts.Receipt(me, move.ID)
	check(err)
	fmt.Println(receipt.Erased["account"], receipt.Erased["work_data"], receipt.KeyID, len(receipt.Signature) > 0)
	fmt.Println(receipt.Kept["ledger"])
	// Output:
	// would end [nightly sync]
	// partner: log in: blocked (closing)
	// 1 12 key-1 true
	// transfers, balances and reservations, by ids and quantities, with the reasons and keys that were given: the ledger is append-only
}

// Nobody uses a project: it is told of, and somebody comes in time.
func ExampleAccounts_Touch() {
	now := time.Date(2027, 1, 1, 8, 0, 0, 0, time.UTC)
	reg, box, done := freshWithMail(func(o *partner.Options) { o.Clock = func() time.Time { return now } })
	defer done()
	ctx := context.Background()
	_, me := acme(reg)
	move := office(reg, me)
	wait := func(days int) {
		for range days {
			now = now.Add(24 * time.Hour)
			_, err := reg.Step(ctx)
			check(err)
		}
	}
	vendor := partner.AsVendor(ctx, "billing") // which is no human in the project
	wait(92)
	move, err := reg.Accounts.Get(vendor, move.ID)
	check(err)
	fmt.Println(move.State, len(box.sent), "notices")

	session, err := reg.Access.Login(ctx, "globex-move", "another long secret", "198.51.100.4")
	check(err)
	check(reg.Accounts.Touch(partner.WithSession(ctx, session), move.ID)) // by a page of the host's
	move, err = reg.Accounts.Get(vendor, move.ID)
	check(err)
	fmt.Println(move.State)

	wait(150) // and nobody comes any more
	_, err = reg.Accounts.Receipt(vendor, move.ID)
	fmt.Println("deleted:", err == nil, len(box.sent), "notices")
	// Output:
	// idle_notified 2 notices
	// active
	// deleted: true 6 notices
}
