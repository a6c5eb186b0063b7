package store_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// canary is a value of a row: it must not come back in any error's text.
const canary = "canary@customer.example"

// Both databases answer alike, and PostgreSQL's "Key (key)=(…)" stays out of the text.
func TestErrors_HaveOneKindAndNoValues(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		must(t, store.InTx(context.Background(), d, putting(canary)))
		exec := func(q string, args ...any) func(*store.Tx) error {
			return func(tx *store.Tx) error { _, err := tx.Exec(all, q, args...); return err }
		}
		for _, c := range []struct {
			what  string
			call  func(*store.Tx) error
			class error
			kind  error
		}{
			{"primary key", putting(canary), store.ErrDuplicate, fail.Exists},
			{"unique index", exec("INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, amount, bounded, recorded) VALUES " +
				"('license', '" + canary + "', 'u', 'held', 0, 0, TRUE, 0), ('license', '" + canary + "', 'u', 'held', 0, 0, TRUE, 0)"), store.ErrDuplicate, fail.Exists},
			{"reference", exec("INSERT INTO prm_known_sources (identity_id, source, seen_at) VALUES (?, ?, 0)", canary, canary), store.ErrReference, fail.Invalid},
			{"check", exec("INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, amount, bounded, recorded) VALUES "+
				"('license', ?, 'u', 'held', 0, -1, TRUE, 0)", canary), store.ErrCheck, fail.Refused},
			{"not null", exec("INSERT INTO prm_throttles (key, failures, next_at, updated_at) VALUES (?, NULL, 0, 0)", canary+"2"), nil, fail.Unavailable},
			{"syntax", exec("SELEC '" + canary + "'"), nil, fail.Unavailable},
			{"no column", exec("UPDATE prm_throttles SET failures = canary"), nil, fail.Unavailable}, // both name it in their text
			{"no table", exec("UPDATE nothing SET a = ?", canary), nil, fail.Unavailable},
			{"no row", func(tx *store.Tx) error {
				return tx.Take(tx.From(all, "prm_throttles").Where("key = ?", canary+"3"), &throttle{}, "UPDATE")
			}, store.ErrNoRow, fail.NotFound},
		} {
			err := store.InTx(context.Background(), d, c.call)
			wantKind(t, c.what, err, c.kind)
			if c.class != nil && !isOnly(err, c.class) {
				t.Errorf("%s: %v is not of its class alone", c.what, err)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%s prints a value: %v", c.what, err)
			}
		}
	})
}

func isOnly(err, class error) bool {
	for _, c := range []error{store.ErrDuplicate, store.ErrReference, store.ErrCheck, store.ErrImmutable, store.ErrNoRow, store.ErrAgain} {
		if is := errors.Is(err, c); is != (c == class) {
			return false
		}
	}
	return true
}

// A server that takes the connection and says nothing: the call ends with its context, and does not tell where the database is.
func TestErrors_AnUnreachableServerIsUnavailable(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	host, port, _ := net.SplitHostPort(silent.Addr().String())
	for _, address := range []string{"port=" + port, "port=1"} { // one that is silent, one that refuses
		dsn := "host=" + host + " " + address + " user=canary-user dbname=canary-db sslmode=disable"
		db, err := dbtest.Connect(dbtest.Postgres, dsn, &gorm.Config{DisableAutomaticPing: true})
		must(t, err)
		closeAtEnd(t, db)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		err = within(t, 5*time.Second, "open", func() error { _, err := store.Open(ctx, db, store.Config{}); return err })
		cancel()
		wantKind(t, address, err, fail.Unavailable)
		if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), host)) {
			t.Errorf("%s prints the address: %v", address, err)
		}
	}
}
