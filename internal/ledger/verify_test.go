package ledger_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// unguard takes away the triggers and checks that stand between a tamperer with the database's password and the rows.
func unguard(t *testing.T, db *dbtest.Database) {
	t.Helper()
	statements := []string{"ALTER TABLE prm_ledger_transfers DISABLE TRIGGER ALL", "ALTER TABLE prm_ledger_balances DISABLE TRIGGER ALL"}
	if db.Kind == dbtest.SQLite {
		statements = []string{"DROP TRIGGER prm_ledger_transfers_no_update", "DROP TRIGGER prm_ledger_transfers_no_delete"}
	}
	for _, q := range statements {
		if err := db.Exec(q).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// Each tampering is found, and the verdict names the first row that it made wrong.
func TestBEY12_VerifyNamesTheFirstWrongRow(t *testing.T) {
	const balance, t1, t2, t3, t4 = "balance", 1, 2, 3, 4 // t3 takes from acc_1 what t2 gave it; t4 is the last of prt_a and acc_2
	const swapped = "UPDATE prm_ledger_transfers SET recorded = CASE key WHEN 'key 2' THEN 1003 ELSE 1002 END WHERE key IN ('key 2', 'key 3')"
	const elsewhere = "UPDATE prm_ledger_transfers SET to_id = (SELECT id FROM prm_ledger_balances WHERE owner = 'acc_2') WHERE key = 'key 2'"
	cases := map[string]struct {
		tamper string
		want   any // the transfer's place, or the owner of the balance
		why    string
	}{
		"a balance raised":         {"UPDATE prm_ledger_balances SET amount = amount + 1 WHERE owner = 'acc_1'", "acc_1", "is 3, its history gives 2"},
		"a balance lowered":        {"UPDATE prm_ledger_balances SET amount = 0 WHERE owner = 'prt_a'", "prt_a", "history gives"},
		"the issuer's":             {"UPDATE prm_ledger_balances SET amount = -11 WHERE owner = 'issuer'", "issuer", "is -11, its history gives -10"},
		"two balances":             {"UPDATE prm_ledger_balances SET amount = amount + 1 WHERE owner IN ('acc_1', 'acc_2')", "acc_1", "of acc_1"},
		"a time set back":          {"UPDATE prm_ledger_balances SET recorded = 0 WHERE owner = 'acc_1'", "acc_1", ""},
		"a quantity":               {"UPDATE prm_ledger_transfers SET quantity = quantity + 1 WHERE key = 'key 2'", t2, "history gives"},
		"a running balance":        {"UPDATE prm_ledger_transfers SET to_after = to_after + 1 WHERE key = 'key 2'", t2, "history gives"},
		"the other running one":    {"UPDATE prm_ledger_transfers SET from_after = from_after + 1 WHERE key = 'key 4'", t4, "history gives"},
		"a transfer deleted":       {"DELETE FROM prm_ledger_transfers WHERE key = 'key 2'", t3, "history gives"},
		"the last one deleted":     {"DELETE FROM prm_ledger_transfers WHERE key = 'key 4'", "prt_a", "history gives"},
		"the first one deleted":    {"DELETE FROM prm_ledger_transfers WHERE key = 'key 1'", t2, "history gives"},
		"two recorded swapped":     {swapped, t3, ""},
		"another unit":             {"UPDATE prm_ledger_transfers SET unit = 'box' WHERE key = 'key 3'", t3, "different"},
		"another book":             {"UPDATE prm_ledger_transfers SET book = 'money' WHERE key = 'key 3'", t3, "different"},
		"a transfer led elsewhere": {elsewhere, t3, ""}, // the first that does not fit
		"two recorded alike":       {"UPDATE prm_ledger_transfers SET recorded = 1002 WHERE key = 'key 3'", t3, ""},
	}
	each(t, func(t *testing.T, b *book) {
		var ids [5]int64
		ids[t1] = b.must(b.move(ledger.Issuer, "prt_a", 10)).ID
		b.clock.set(1002)
		ids[t2] = b.must(b.move("prt_a", "acc_1", 4)).ID
		b.clock.set(1003)
		ids[t3] = b.must(b.move("acc_1", "acc_2", 2)).ID
		b.clock.set(1004)
		ids[t4] = b.must(b.move("prt_a", "acc_2", 1)).ID
		b.sound()
		unguard(t, b.db)
		for what, c := range cases {
			tx := b.db.Begin()
			if err := tx.Exec(c.tamper).Error; err != nil {
				t.Fatal(err)
			}
			want, kind := int64(0), "transfer"
			switch w := c.want.(type) {
			case int:
				want = ids[w]
			case string:
				kind = balance
				if err := tx.Raw("SELECT id FROM prm_ledger_balances WHERE owner = ?", w).Scan(&want).Error; err != nil {
					t.Fatal(err)
				}
			}
			var v ledger.Verdict
			err := store.Read(context.Background(), store.In(b.d, tx), func(tx *store.Tx) (err error) {
				v, err = ledger.Verify(tx, ledger.Licenses)
				return err
			})
			if err != nil || v.FirstWrong != want || !strings.Contains(v.Why, c.why) || !strings.HasPrefix(v.Why, fmt.Sprint(kind, " ", want)) {
				t.Errorf("%s: verdict %+v (%v), want %s %d and %q", what, v, err, kind, want, c.why)
			}
			if err := tx.Rollback().Error; err != nil {
				t.Fatal(err)
			}
		}
		b.sound()
	})
}

// What a transfer says that its owner has in all is checked too: it is what a statement shows.
func TestBEY16_VerifyAddsUpTheLots(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		b.must(b.move(ledger.Issuer, "prt_a", 10))
		b.clock.set(1002)
		b.must(b.move(ledger.Issuer, "prt_a", 5, func(p *ledger.Posting) { p.New = ledger.Validity{Until: 1 << 50} }))
		b.clock.set(1003)
		second := b.must(b.move("prt_a", "acc_1", 7)) // five of the lot, two of the others
		if second.FromAfter != 8 || second.ToAfter != 7 {
			t.Fatalf("%+v", second)
		}
		b.sound()
		unguard(t, b.db)
		for what, c := range map[string]struct{ tamper, why string }{
			"left":  {"UPDATE prm_ledger_transfers SET from_total = 9 WHERE key = 'key 3'", "leaves prt_a with 9 held of seat, its history gives 8"},
			"given": {"UPDATE prm_ledger_transfers SET to_total = 6 WHERE key = 'key 3' AND part = 0", "leaves acc_1 with 6 held of seat, its history gives 7"},
			"none":  {"UPDATE prm_ledger_transfers SET from_total = NULL WHERE key = 'key 3' AND part = 0", "leaves prt_a with 0 held of seat, its history gives 8"},
		} {
			tx := b.db.Begin()
			if err := tx.Exec(c.tamper).Error; err != nil {
				t.Fatal(err)
			}
			var v ledger.Verdict
			err := store.Read(context.Background(), store.In(b.d, tx), func(tx *store.Tx) (err error) {
				v, err = ledger.Verify(tx, ledger.Licenses)
				return err
			})
			if err != nil || v.FirstWrong != second.ID || !strings.Contains(v.Why, c.why) {
				t.Errorf("%s: %+v (%v), want transfer %d and %q", what, v, err, second.ID, c.why)
			}
			if err := tx.Rollback().Error; err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestBEY12_VerifyCountsOneBookOnly(t *testing.T) {
	each(t, func(t *testing.T, b *book) {
		if v := b.verdict(); v != (ledger.Verdict{}) {
			t.Errorf("an empty book: %+v", v)
		}
		b.must(b.move(ledger.Issuer, "prt_a", 10))
		b.must(b.move("ctr_1", "ctr_2", 5, func(p *ledger.Posting) { p.Book, p.Unit = ledger.Money, "EUR" }))
		if v := b.verdict(); v != (ledger.Verdict{Transfers: 1, Owners: 1}) {
			t.Errorf("%+v, want 1 transfer and 1 owner", v)
		}
		b.sound()
	})
}
