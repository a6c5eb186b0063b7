package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// clock is a settable time, in microseconds.
type clock struct {
	mu sync.Mutex
	at store.Micros
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at.Time()
}

func (c *clock) set(at store.Micros) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// book is a ledger on a fresh database.
type book struct {
	t     testing.TB
	db    *dbtest.Database
	d     *store.DB
	clock *clock
	keys  int
	again atomic.Int64 // transactions that had to run again
}

// listen counts what the store says about that.
type listen struct {
	slog.Handler
	b *book
}

func (l listen) Enabled(context.Context, slog.Level) bool { return true }

func (l listen) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "runs again") {
		l.b.again.Add(1)
	}
	return nil
}

func newBook(t testing.TB, db *dbtest.Database) *book {
	t.Helper()
	b := &book{t: t, db: db, clock: &clock{at: 1000}}
	d, err := store.Open(context.Background(), db.DB, store.Config{Clock: b.clock.now, Logger: slog.New(listen{slog.DiscardHandler, b})})
	if err != nil {
		t.Fatal(err)
	}
	b.d = d
	return b
}

func each(t *testing.T, test func(t *testing.T, b *book)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) { test(t, newBook(t, db)) })
}

func held(owner string) ledger.End { return ledger.HeldBy(owner) }

// move is a posting of n seats with a key of its own.
func (b *book) move(from, to string, n int64, change ...func(*ledger.Posting)) ledger.Posting {
	b.keys++
	p := ledger.Posting{Book: ledger.Licenses, Unit: "seat", Verb: "move", From: held(from), To: held(to), Quantity: n, Partner: "prt_a",
		Actor: "usr_1", Key: fmt.Sprint("key ", b.keys), Hash: "h"}
	for _, c := range change {
		c(&p)
	}
	return p
}

func (b *book) post(p ledger.Posting) (posted ledger.Transfer, err error) {
	err = store.InTx(context.Background(), b.d, func(tx *store.Tx) error {
		posted, _, err = ledger.Post(tx, p)
		return err
	})
	return posted, err
}

func (b *book) must(p ledger.Posting) ledger.Transfer {
	b.t.Helper()
	posted, err := b.post(p)
	if err != nil {
		b.t.Fatalf("post %+v: %v", p, err)
	}
	return posted
}

// read runs one reading call.
func read[T any](b *book, do func(*store.Tx) (T, error)) (v T) {
	b.t.Helper()
	if err := store.Read(context.Background(), b.d, func(tx *store.Tx) (err error) { v, err = do(tx); return err }); err != nil {
		b.t.Fatal(err)
	}
	return v
}

// of is the seats that owner holds.
func (b *book) of(owner string) (n int64) {
	b.t.Helper()
	for _, x := range read(b, func(tx *store.Tx) ([]ledger.Totals, error) {
		return ledger.Balances(tx, ledger.Licenses, owner, "seat")
	}) {
		n += x.Available
	}
	return n
}

func (b *book) at(owner string, effective, known store.Micros) (n int64) {
	b.t.Helper()
	for _, x := range holdingsAt(b, owner, effective, known) {
		n += x.Available
	}
	return n
}

// holdingsAt asks for one point.
func holdingsAt(b *book, owner string, effective, known store.Micros) []ledger.Totals {
	b.t.Helper()
	return read(b, func(tx *store.Tx) ([]ledger.Totals, error) {
		list, err := ledger.HoldingsAt(tx, ledger.Licenses, owner, "", []ledger.Point{{Effective: effective, Known: known, Now: tx.Now()}})
		if err != nil {
			return nil, err
		}
		return list[0], nil
	})
}

func (b *book) verdict() ledger.Verdict {
	b.t.Helper()
	return read(b, func(tx *store.Tx) (ledger.Verdict, error) { return ledger.Verify(tx, ledger.Licenses) })
}

// sound fails unless history gives every balance and nothing was made or lost.
func (b *book) sound() {
	b.t.Helper()
	if v := b.verdict(); v.FirstWrong != 0 || v.Why != "" {
		b.t.Errorf("verdict %+v", v)
	}
	var sum int64
	if err := b.db.Raw("SELECT COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM prm_ledger_balances").Scan(&sum).Error; err != nil || sum != 0 {
		b.t.Errorf("the books sum to %d (%v)", sum, err)
	}
}

func wantKind(t testing.TB, what string, err, kind error) {
	t.Helper()
	for _, k := range fail.Kinds() {
		if errors.Is(err, k) != (k == kind) {
			t.Errorf("%s: %v: matches %v: %v", what, err, k, errors.Is(err, k))
		}
	}
}
