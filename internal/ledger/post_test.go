package ledger_test

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

func TestBEY12_PostMovesBetweenTwoBalances(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		grant := b.must(b.move(ledger.Issuer, "prt_a", 10))
		p := b.move("prt_a", "acc_1", 4, func(p *ledger.Posting) { p.Reason = "because"; p.Effective = 500 })
		got := b.must(p)
		want := ledger.Transfer{ID: got.ID, Book: ledger.Licenses, Unit: "seat", Verb: "move", Quantity: 4, From: held("prt_a"), To: held("acc_1"), FromAfter: 6,
			ToAfter: 4, Shares: []ledger.Share{{Quantity: 4}}, Partner: "prt_a", Actor: "usr_1", Reason: "because", Key: p.Key, Hash: "h", Effective: 500, Recorded: got.Recorded}
		if !reflect.DeepEqual(got, want) || got.ID <= grant.ID || grant.ID < 1 {
			t.Errorf("posted %+v\nwant   %+v\nafter %d", got, want, grant.ID)
		}
		if grant.FromAfter != -10 || grant.ToAfter != 10 || grant.Effective != grant.Recorded || grant.Recorded != 1000 {
			t.Errorf("grant %+v", grant)
		}
		if i, a, c := b.of(ledger.Issuer), b.of("prt_a"), b.of("acc_1"); i != -10 || a != 6 || c != 4 {
			t.Errorf("balances %d, %d, %d; want -10, 6, 4", i, a, c)
		}
		b.sound()
	})
}

// A host whose driver is told not to use RETURNING still gets the transfer's id.
func TestBEY12_TheIDComesBackWhateverTheHostsDialectorSays(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	pool, err := db.DB.DB()
	if err != nil {
		t.Fatal(err)
	}
	host, err := gorm.Open(postgres.New(postgres.Config{Conn: pool, WithoutReturning: true}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	b := newBook(t, &dbtest.Database{DB: host, Kind: db.Kind, DSN: db.DSN})
	if got := b.must(b.move(ledger.Issuer, "prt_a", 10)); got.ID < 1 {
		t.Errorf("id %d", got.ID)
	}
}

func TestBEY12_MalformedPostingsWriteNothing(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		for what, p := range map[string]ledger.Posting{
			"zero":        b.move(ledger.Issuer, "prt_a", 0),
			"negative":    b.move(ledger.Issuer, "prt_a", -1),
			"smallest":    b.move(ledger.Issuer, "prt_a", math.MinInt64),
			"too many":    b.move(ledger.Issuer, "prt_a", ledger.MaxQuantity+1),
			"no key":      b.move(ledger.Issuer, "prt_a", 1, func(p *ledger.Posting) { p.Key = "" }),
			"to itself":   b.move("prt_a", "prt_a", 1),
			"no state":    b.move(ledger.Issuer, "prt_a", 1, func(p *ledger.Posting) { p.To.State = "mislaid" }),
			"no book":     b.move(ledger.Issuer, "prt_a", 1, func(p *ledger.Posting) { p.Book = "loyalty" }),
			"of nobody's": b.move("prt_none", "prt_a", 1),
		} {
			if _, err := b.post(p); err == nil {
				t.Errorf("%s: no error", what)
			}
		}
		var n int64
		const rows = "SELECT (SELECT count(*) FROM prm_ledger_transfers) + (SELECT count(*) FROM prm_ledger_balances)"
		if err := b.db.Raw(rows).Scan(&n).Error; err != nil || n != 0 {
			t.Errorf("%d rows were written (%v)", n, err)
		}
	})
}

func TestCLW16_AShortBalanceIsRefusedWhole(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.must(b.move(ledger.Issuer, "prt_a", 10))
		_, err := b.post(b.move("prt_a", "acc_1", 11))
		var short *ledger.Short
		if wantKind(t, "11 of 10", err, fail.Refused); !errors.As(err, &short) || short.Available != 10 {
			t.Errorf("%v, want 10 available", err)
		}
		b.must(b.move("prt_a", "acc_1", 10))
		_, err = b.post(b.move("prt_a", "acc_1", 1))
		if wantKind(t, "1 of 0", err, fail.Refused); !errors.As(err, &short) || short.Available != 0 {
			t.Errorf("%v, want 0 available", err)
		}
		b.sound()
	})
}

// In money a contract may be below zero; nothing may leave int64.
func TestBEY12_BalancesStayWithinInt64(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		money := func(p *ledger.Posting) { p.Book, p.Unit = ledger.Money, "EUR" }
		b.must(b.move("ctr_1", "ctr_2", 5, money))
		list := read(b, func(tx *store.Tx) ([]ledger.Totals, error) { return ledger.Balances(tx, ledger.Money, "ctr_1", "") })
		if len(list) != 1 || list[0].Available != -5 {
			t.Errorf("ctr_1: %+v, want -5", list)
		}
		b.must(b.move(ledger.Issuer, "prt_big", ledger.MaxQuantity))
		if err := b.db.Exec("UPDATE prm_ledger_balances SET amount = ? WHERE owner = 'prt_big'", int64(math.MaxInt64-5)).Error; err != nil {
			t.Fatal(err)
		}
		_, err := b.post(b.move(ledger.Issuer, "prt_big", 6))
		if wantKind(t, "over the top", err, fail.Invalid); !errors.Is(err, ledger.ErrTooMuch) {
			t.Errorf("%v, want ErrTooMuch", err)
		}
		if err := b.db.Exec("UPDATE prm_ledger_balances SET amount = ? WHERE owner = 'issuer'", int64(math.MinInt64+5)).Error; err != nil {
			t.Fatal(err)
		}
		if _, err = b.post(b.move(ledger.Issuer, "prt_c", 6)); !errors.Is(err, ledger.ErrTooMuch) {
			t.Errorf("below the bottom: %v, want ErrTooMuch", err)
		}
		b.must(b.move(ledger.Issuer, "prt_c", 5))
	})
}

func TestBEY13_AKeyActsOnce(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.must(b.move(ledger.Issuer, "prt_a", 10))
		p := b.move("prt_a", "acc_1", 10)
		first := b.must(p)
		again := func(what string, p ledger.Posting) {
			t.Helper()
			got, err := b.post(p)
			want := first
			want.Replayed = true
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, %v\nwant the first one, %+v", what, got, err, want)
			}
		}
		again("with nothing left", p)
		b.must(b.move(ledger.Issuer, "prt_a", 10))
		again("with enough again", p)
		other := p
		other.Hash = "other"
		if _, err := b.post(other); !errors.Is(err, ledger.ErrMismatch) {
			t.Errorf("other content: %v, want ErrMismatch", err)
		}
		other.Quantity = 10_000 // too many, and still first of all the wrong content
		if _, err := b.post(other); !errors.Is(err, ledger.ErrMismatch) {
			t.Errorf("other content, short: %v, want ErrMismatch", err)
		}
		for what, change := range map[string]func(*ledger.Posting){
			"verb":    func(p *ledger.Posting) { p.Verb = "return" },
			"partner": func(p *ledger.Posting) { p.Partner = "prt_b" },
		} {
			fresh := p
			fresh.Quantity = 1
			change(&fresh)
			if got := b.must(fresh); got.Replayed {
				t.Errorf("another %s's key was taken for this one", what)
			}
		}
		if n := b.of("acc_1"); n != 12 {
			t.Errorf("acc_1 has %d, want 10 + 1 + 1", n)
		}
		found := read(b, func(tx *store.Tx) (bool, error) { _, ok, err := ledger.Replay(tx, b.move("a", "b", 1)); return ok, err })
		if found {
			t.Error("a key that never was is found")
		}
		b.sound()
	})
}

// Recorded time is max(now, last of both + 1 µs) also where the clock jumps back.
func TestBEY14_RecordedTimeFollowsTheLocks(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		steps := []struct{ now, want store.Micros }{{1000, 1000}, {5000, 5000}, {2000, 5001}, {5001, 5002}, {5002, 5003}, {9000, 9000}}
		for i, s := range steps {
			b.clock.set(s.now)
			if got := b.must(b.move(ledger.Issuer, "prt_a", 1)).Recorded; got != s.want {
				t.Errorf("step %d: recorded %d at %d, want %d", i, got, s.now, s.want)
			}
		}
		b.clock.set(10)
		b.must(b.move(ledger.Issuer, "prt_b", 5)) // the issuer is ahead: 9001
		if got := b.must(b.move("prt_b", "acc_new", 1)).Recorded; got != 9002 {
			t.Errorf("from a balance ahead of the clock: %d, want 9002", got)
		}
		if got := b.must(b.move("prt_a", "acc_new", 1)).Recorded; got != 9003 {
			t.Errorf("to a balance ahead of the other: %d, want 9003", got)
		}
		b.sound()
	})
}

func TestBEY12_StatesOfOneOwnerAreBalancesOfTheirOwn(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.must(b.move(ledger.Issuer, "prt_a", 10))
		b.must(b.move("prt_a", "prt_a", 3, func(p *ledger.Posting) { p.To.State = ledger.Consumed }))
		b.must(b.move(ledger.Issuer, "prt_a", 1, func(p *ledger.Posting) { p.Unit = "box" }))
		want := []ledger.Totals{{Unit: "box", Available: 1}, {Unit: "seat", Available: 7, Consumed: 3}}
		got := read(b, func(tx *store.Tx) ([]ledger.Totals, error) { return ledger.Balances(tx, ledger.Licenses, "prt_a", "") })
		if len(got) != len(want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%+v, want %+v", got[i], want[i])
			}
		}
		b.sound()
	})
}

// The database refuses what the engine would never do.
func TestBEY12_TheDatabaseRefusesAnOverdraw(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.must(b.move(ledger.Issuer, "prt_a", 10))
		for _, q := range []string{
			"UPDATE prm_ledger_balances SET amount = -1 WHERE owner = 'prt_a'",
			"UPDATE prm_ledger_balances SET amount = amount - 11 WHERE owner = 'prt_a'",
			"UPDATE prm_ledger_balances SET bounded = FALSE WHERE owner = 'prt_a'",
			"UPDATE prm_ledger_balances SET amount = -1, bounded = FALSE WHERE owner = 'prt_a'",
			`INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, amount, bounded, recorded)
				VALUES ('license', 'prt_b', 'seat', 'held', 0, -1, TRUE, 0)`,
			`INSERT INTO prm_ledger_transfers (id, book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, key, hash, effective, recorded) SELECT id + 100, book, unit, verb, 0, from_id, to_id, from_after, to_after, partner_id, actor, reason,
				'k2', hash, effective, recorded FROM prm_ledger_transfers`,
		} {
			if strings.HasPrefix(q, "INSERT INTO prm_ledger_transfers") && b.db.Kind == dbtest.Postgres {
				q = strings.Replace(q, ") SELECT", ") OVERRIDING SYSTEM VALUE SELECT", 1)
			}
			err := store.InTx(context.Background(), b.d, func(tx *store.Tx) error {
				_, err := tx.Exec(store.Everything("tampering"), q)
				return err
			})
			if !errors.Is(err, store.ErrCheck) {
				t.Errorf("%s: %v, want ErrCheck", q, err)
			}
		}
		if n := b.of("prt_a"); n != 10 {
			t.Errorf("prt_a has %d", n)
		}
		b.sound()
	})
}

func TestBEY12_OnlyUnusedBalancesCanBeDropped(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		in := func(do func(tx *store.Tx) error) error { return store.InTx(context.Background(), b.d, do) }
		moved := func(owner string) bool {
			return read(b, func(tx *store.Tx) (bool, error) { return ledger.Moved(tx, ledger.Licenses, owner) })
		}
		if err := in(func(tx *store.Tx) error {
			_, err := ledger.Hold(tx, ledger.Licenses, "prt_a", "seat", "prt_a")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if moved("prt_a") {
			t.Error("an opened balance has moved")
		}
		if err := in(func(tx *store.Tx) error { return ledger.Drop(tx, ledger.Licenses, "prt_a") }); err != nil {
			t.Error(err)
		}
		b.must(b.move(ledger.Issuer, "prt_a", 1))
		if !moved("prt_a") || !moved(ledger.Issuer) {
			t.Error("moved balances have not moved")
		}
		wantKind(t, "drop", in(func(tx *store.Tx) error { return ledger.Drop(tx, ledger.Licenses, "prt_a") }), fail.Invalid)
		b.sound()
	})
}
