package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// TestMain is also the entry of the child processes that some tests start.
func TestMain(m *testing.M) {
	if os.Getenv(childVerb) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// all is the scope of these tests: their rows have no tenant.
var all = store.Everything("a test's own rows")

// throttle is a row of prm_throttles, the table without references that the tests write to.
type throttle struct {
	Key       string
	Failures  int
	NextAt    store.Micros
	UpdatedAt store.Micros
}

func (throttle) TableName() string { return "prm_throttles" }

func open(t testing.TB, host *gorm.DB, cfg store.Config) *store.DB {
	t.Helper()
	d, err := store.Open(context.Background(), host, cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return d
}

// put writes a row that must not be there yet.
func put(tx *store.Tx, key string) error {
	_, err := tx.Exec(all, "INSERT INTO prm_throttles (key, failures, next_at, updated_at) VALUES (?, 0, 0, 0)", key)
	return err
}

func putting(key string) func(*store.Tx) error {
	return func(tx *store.Tx) error { return put(tx, key) }
}

// bump counts up the row of key: it reads under the lock and writes what it read and one, so that a lost lock shows.
func bump(tx *store.Tx, key string) error {
	var found []int
	if err := tx.Query(all, &found, "SELECT failures FROM prm_throttles WHERE key = ?"+tx.Lock("UPDATE"), key); err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("%d rows of %s", len(found), key)
	}
	_, err := tx.Exec(all, "UPDATE prm_throttles SET failures = ? WHERE key = ?", found[0]+1, key)
	return err
}

// overdraw is refused by a CHECK of the schema.
func overdraw(tx *store.Tx) error {
	_, err := tx.Exec(all, `INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, amount, bounded, recorded)
		VALUES ('license', 'prt_x', 'seat', 'held', 0, -1, TRUE, 0)`)
	return err
}

// keys are the keys in prm_throttles as another connection sees them.
func keys(t testing.TB, db *dbtest.Database) string {
	t.Helper()
	var list []string
	if err := db.Raw("SELECT key FROM prm_throttles ORDER BY key").Scan(&list).Error; err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(list)
}

func failures(t testing.TB, db *dbtest.Database, key string) (n int) {
	t.Helper()
	if err := db.Raw("SELECT failures FROM prm_throttles WHERE key = ?", key).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantKind fails unless err matches exactly this kind.
func wantKind(t testing.TB, what string, err, kind error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %v", what, kind)
		return
	}
	for _, k := range fail.Kinds() {
		if errors.Is(err, k) != (k == kind) {
			t.Errorf("%s: %v: matches %v: %v", what, err, k, errors.Is(err, k))
		}
	}
}

// limited is a context of a test that must not hang.
func limited(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// within fails unless do returns in time.
func within(t testing.TB, limit time.Duration, what string, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		t.Fatalf("%s did not return within %v", what, limit)
		return nil
	}
}
