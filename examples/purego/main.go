// purego: the SDK on a SQLite driver without cgo.
//
//	cd examples/purego && CGO_ENABLED=0 go run .
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/glebarez/sqlite" // the one line that differs
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

func main() {
	dir, err := os.MkdirTemp("", "purego-")
	check(err)
	defer os.RemoveAll(dir)

	ctx := context.Background()
	db, err := gorm.Open(sqlite.Open(partner.SQLiteDSN(filepath.Join(dir, "channel.db"))), &gorm.Config{})
	check(err)
	check(partner.Migrate(ctx, db))
	reg, err := partner.Open(ctx, db, nil)
	check(err)
	defer reg.Close()
	seats := license.New(reg)

	vendor := partner.AsVendor(ctx, "ops@vendor.example")
	acme, err := reg.Partners.Create(vendor, partner.Agreement{
		Name: "Acme Integrators", Login: "acme", Password: "correct horse battery", Currency: "EUR"})
	check(err)
	check(seats.Define(vendor, license.Type{SKU: "mailbox", Name: "Mailbox migration"}))
	t, err := seats.Grant(vendor, acme.ID, "mailbox", 100, license.Key("PO-1"))
	check(err)
	fmt.Println(acme.Name, "has", t.ToAfter, "mailbox licences")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
