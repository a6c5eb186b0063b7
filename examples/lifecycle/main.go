// Command lifecycle plays three years of a customer's project on a simulated clock: opened, left alone, woken, closed, confirmed, erased and proved.
//
//	go run ./examples/lifecycle
package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// must keeps the play short: a service returns its errors.
func must[T any](value T, err error) T {
	if err != nil {
		log.Panic(err)
	}
	return value
}

// host is a program that embeds the SDK: its clock, its mail, and what it keeps of the project.
type host struct {
	now   time.Time
	token partner.Secret // in the last mail that brought one
	jobs  int
}

func (h *host) say(format string, args ...any) {
	fmt.Println(h.now.Format(time.DateOnly), fmt.Sprintf(format, args...))
}

// Notify implements partner.Notifier.
func (h *host) Notify(_ context.Context, m partner.Message) error {
	h.say("mail to %s: %s", m.To, m.Subject)
	if m.Token != "" { // one letter at a time has one: several come at once
		h.token = m.Token
	}
	return nil
}

// Class and Erase implement partner.Eraser.
func (h *host) Class() string { return "work_data" }

func (h *host) Erase(context.Context, partner.AccountID) (count int, err error) {
	count, h.jobs = h.jobs, 0
	return count, nil
}

func main() {
	ctx, key := context.Background(), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // which is in a vault, in life
	sign := func(_ context.Context, message []byte) ([]byte, string, error) {
		return ed25519.Sign(key, message), "key-1", nil
	}
	h := &host{now: time.Date(2027, 1, 1, 8, 0, 0, 0, time.UTC), jobs: 3}
	dir := must(os.MkdirTemp("", "lifecycle"))
	defer func() { _ = os.RemoveAll(dir) }()
	db := must(gorm.Open(sqlite.Open(partner.SQLiteDSN(filepath.Join(dir, "life.db"))), &gorm.Config{}))
	must(0, partner.Migrate(ctx, db))
	reg := must(partner.Open(ctx, db, &partner.Options{Clock: func() time.Time { return h.now }, Notifier: h, Erasers: []partner.Eraser{h}, Signer: sign}))
	defer func() { _ = reg.Close() }()
	wait := func(days int) { // with a Step now and then, which in life is Run's
		for range 4 * days {
			h.now = h.now.Add(6 * time.Hour)
			must(reg.Step(ctx))
		}
	}
	vendor, seats := partner.AsVendor(ctx, "ops@vendor.example"), license.New(reg)
	acme := must(reg.Partners.Create(vendor, partner.Agreement{Name: "Acme", Login: "acme", Email: "boss@acme.example", Password: "correct horse battery", Currency: "EUR"}))
	must(0, seats.Define(vendor, license.Type{SKU: "seat", Name: "Seat"}))
	must(seats.Grant(vendor, acme.ID, "seat", 10))
	login := func() context.Context {
		return partner.WithSession(ctx, must(reg.Access.Login(ctx, "acme", "correct horse battery", "")))
	}
	project := must(reg.Accounts.OpenProject(login(), partner.NewProject{Name: "Move", Email: "it@globex.example", Company: "Globex", Country: "DE", Login: "globex"}))
	must(seats.Assign(login(), project.ID, "seat", 4))
	h.say("%s is open", project.Name)
	wait(100) // nobody comes
	must(0, reg.Accounts.Touch(login(), project.ID))
	h.say("somebody uses it: it is %s", must(reg.Accounts.Get(vendor, project.ID)).State)
	for range 12 { // every 85 days somebody looks in
		wait(85)
		must(0, reg.Access.SwitchTo(login(), project.ID))
	}
	h.say("%d seats go back when it closes", must(reg.Accounts.Close(login(), project.ID)).Licenses["seat"])
	wait(1)
	must(0, reg.Accounts.ConfirmClose(ctx, h.token))
	wait(1)
	receipt := must(reg.Accounts.Receipt(vendor, project.ID))
	h.say("deleted, with %d jobs of the host's; signed with %s", receipt.Erased["work_data"], receipt.KeyID)
}
