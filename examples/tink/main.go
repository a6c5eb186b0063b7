// tink: what waits to be mailed, and passwords that may be shown, sealed by Google's Tink.
//
// A real host keeps its keyset encrypted by a key service, see https://developers.google.com/tink/key-management-overview; this one makes
// a new one and forgets it.
//
//	cd examples/tink && go run .
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/partnerkit/partnerkit/partner"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

func main() {
	dir, err := os.MkdirTemp("", "tink-")
	check(err)
	defer os.RemoveAll(dir)
	check(run(context.Background(), os.Stdout, filepath.Join(dir, "channel.db")))
}

func run(ctx context.Context, out io.Writer, file string) error {
	keys, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return err
	}
	sealer, err := aead.New(keys) // is a partner.Sealer as it stands
	if err != nil {
		return err
	}
	db, err := gorm.Open(sqlite.Open(partner.SQLiteDSN(file)), &gorm.Config{})
	if err != nil {
		return err
	}
	if err := partner.Migrate(ctx, db); err != nil {
		return err
	}
	reg, err := partner.Open(ctx, db, &partner.Options{Sealer: sealer})
	if err != nil {
		return err
	}
	vendor := partner.AsVendor(ctx, "ops@vendor.example")
	acme, err := reg.Partners.Create(vendor, partner.Agreement{Name: "Acme Integrators", Login: "acme", Password: "correct horse battery", Currency: "EUR",
		ShowPasswords: true}) // its admins may look at their members' passwords
	if err != nil {
		return err
	}
	dana, err := reg.Users.Add(vendor, acme.ID, partner.NewUser{Name: "Dana", Email: "dana@acme.example", Login: "dana", Password: "a long enough secret",
		Role: partner.Member})
	if err != nil {
		return err
	}
	admin, err := reg.Access.Login(ctx, "acme", "correct horse battery", "203.0.113.7")
	if err != nil {
		return err
	}
	password, err := reg.Users.RevealPassword(partner.WithSession(ctx, admin), dana.ID)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, password, "is", len(password), "characters long") // a Secret does not print itself

	// Without the keys the copy opens for nobody.
	if err := reg.Close(); err != nil {
		return err
	}
	if reg, err = partner.Open(ctx, db, nil); err != nil {
		return err
	}
	defer reg.Close()
	_, err = reg.Users.RevealPassword(partner.WithSession(ctx, admin), dana.ID)
	fmt.Fprintln(out, errors.Is(err, partner.ErrNoKeyset))
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
