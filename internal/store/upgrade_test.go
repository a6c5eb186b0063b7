package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// asOfSchema1 makes a database as the first release left it, with moves in it: 10 granted, 4 assigned, 1 returned; ids with gaps.
func asOfSchema1(t testing.TB, db *dbtest.Database) {
	t.Helper()
	s, err := store.Status(context.Background(), db.DB)
	must(t, err)
	pool, err := db.DB.DB()
	must(t, err)
	for _, statements := range s.Pending[:2] { // the version table, and 0001
		_, err := pool.Exec(statements)
		must(t, err)
	}
	const balances = `INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, partner_id, amount, bounded, recorded) VALUES `
	const transfers = `INSERT INTO prm_ledger_transfers (book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, key, hash,
		effective, recorded) VALUES `
	gap := "SELECT nextval(pg_get_serial_sequence('prm_ledger_transfers', 'id')), nextval(pg_get_serial_sequence('prm_ledger_transfers', 'id'))"
	if db.Kind == dbtest.SQLite {
		gap = "UPDATE sqlite_sequence SET seq = seq + 2 WHERE name = 'prm_ledger_transfers'"
	}
	for _, q := range []string{
		balances + "('license', 'issuer', 'seat', 'held', 0, NULL, -10, FALSE, 1001)", balances + "('license', 'prt_a', 'seat', 'held', 0, 'prt_a', 7, TRUE, 1004)",
		balances + "('license', 'acc_1', 'seat', 'held', 0, 'prt_a', 3, TRUE, 1004)",
		transfers + "('license', 'seat', 'grant', 10, 1, 2, -10, 10, 'prt_a', 'host:ops', 'first', 'k', 'h1', 900, 1001)", gap,
		transfers + "('license', 'seat', 'assign', 4, 2, 3, 6, 4, 'prt_a', 'usr_1', '', 'k', 'h2', 1003, 1003)", gap,
		transfers + "('license', 'seat', 'return', 1, 3, 2, 3, 7, 'prt_a', 'usr_1', '', 'r', 'h3', 1004, 1004)", gap,
	} {
		_, err := pool.Exec(q)
		must(t, err)
	}
}

// dump is rows as text, in the order of their ids.
func dump(t testing.TB, db *dbtest.Database, columns, table string) (list []string) {
	t.Helper()
	rows, err := db.Raw("SELECT " + columns + " FROM " + table + " ORDER BY id").Rows()
	must(t, err)
	defer rows.Close()
	names := strings.Split(columns, ", ")
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		must(t, rows.Scan(into...))
		list = append(list, fmt.Sprint(values))
	}
	must(t, rows.Err())
	return list
}

const (
	oldTransfer = "id, book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, key, hash, effective, recorded"
	oldBalance  = "id, book, owner, unit, state, lot, partner_id, amount, bounded, recorded"
)

// TestMigrate_ALedgerOfSchema1 keeps its transfers, their ids and their order, and what guards them.
func TestMigrate_ALedgerOfSchema1(t *testing.T) {
	both(t, func(t *testing.T, db *dbtest.Database) {
		asOfSchema1(t, db)
		transfers, balances := dump(t, db, oldTransfer, "prm_ledger_transfers"), dump(t, db, oldBalance, "prm_ledger_balances")
		if len(transfers) != 3 || len(balances) != 3 {
			t.Fatalf("before: %v, %v", transfers, balances)
		}
		for range 2 {
			must(t, store.Migrate(context.Background(), db.DB))
			if now := dump(t, db, oldTransfer, "prm_ledger_transfers"); !slices.Equal(now, transfers) {
				t.Errorf("transfers %v, were %v", now, transfers)
			}
			if now := dump(t, db, oldBalance, "prm_ledger_balances"); !slices.Equal(now, balances) {
				t.Errorf("balances %v, were %v", now, balances)
			}
		}
		if now := dump(t, db, "part, parts, from_total, to_total, corrects", "prm_ledger_transfers"); !slices.Equal(slices.Compact(now), []string{"[0 1 <nil> <nil> <nil>]"}) {
			t.Errorf("new columns of old transfers: %v", now)
		}
		if now := dump(t, db, "lots, seats, cap, due", "prm_ledger_balances"); !slices.Equal(slices.Compact(now), []string{"[0 0 -1 0]"}) {
			t.Errorf("new columns of old balances: %v", now)
		}
		if db.Kind == dbtest.SQLite {
			var wrong []string
			must(t, db.Raw("SELECT name FROM sqlite_master WHERE sql LIKE '%transfers_2%' OR name LIKE '%transfers_2%'").Scan(&wrong).Error)
			var broken []map[string]any
			must(t, db.Raw("PRAGMA foreign_key_check").Scan(&broken).Error)
			if len(wrong) > 0 || len(broken) > 0 {
				t.Errorf("still speak of the table in between: %v; broken references: %v", wrong, broken)
			}
		}
		guarded(t, db, transfers)
	})
}

// guarded fails unless the migrated transfers are append-only, one key a part, and what they refer to stays.
func guarded(t *testing.T, db *dbtest.Database, transfers []string) {
	t.Helper()
	insert := func(id, columns, values string) string {
		return `INSERT INTO prm_ledger_transfers (` + id + `book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, hash, effective,
			recorded, key` + columns + `) SELECT ` + values
	}
	const row = "book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, hash, effective, recorded, "
	const first = " FROM prm_ledger_transfers WHERE verb = 'grant' AND part = 0"
	refused := []string{
		"UPDATE prm_ledger_transfers SET quantity = 4", "UPDATE prm_ledger_transfers SET part = 1 WHERE key = 'r'", "DELETE FROM prm_ledger_transfers",
		insert("", ", part, parts", row+"'k', 2, 2"+first), "DELETE FROM prm_ledger_balances WHERE owner = 'acc_1'", "DELETE FROM prm_ledger_balances WHERE owner = 'issuer'",
	}
	switch db.Kind {
	case dbtest.Postgres: // which does not check what a new one refers to: it would cost too much
		refused = append(refused, "TRUNCATE prm_ledger_transfers", insert("", "", row+"key"+first))
	case dbtest.SQLite:
		refused = append(refused, insert("", "", strings.Replace(row, "from_id", "99", 1)+"'no balance'"+first), insert("", ", corrects", row+"'corrects nothing', 99"+first))
	}
	for _, q := range refused {
		if err := db.Exec(q).Error; err == nil {
			t.Errorf("passed: %s", q)
		}
	}
	ignored := []string{insert("", "", row+"key"+first+" ON CONFLICT DO NOTHING")}
	if db.Kind == dbtest.SQLite {
		again := insert("", "", row+"key"+first)
		ignored = append(ignored, again, strings.Replace(again, "INSERT", "REPLACE", 1), strings.Replace(again, "INSERT", "INSERT OR IGNORE", 1),
			strings.Replace(insert("id, ", "", "id, "+row+"'another key'"+first), "INSERT", "INSERT OR IGNORE", 1), "REPLACE INTO prm_ledger_transfers SELECT * FROM prm_ledger_transfers")
	}
	for _, q := range ignored {
		_ = db.Exec(q).Error // passed over or refused
	}
	if now := dump(t, db, oldTransfer, "prm_ledger_transfers"); !slices.Equal(now, transfers) {
		t.Fatalf("after tampering %v, were %v", now, transfers)
	}
	var last, next int64
	must(t, db.Raw("SELECT MAX(id) FROM prm_ledger_transfers").Scan(&last).Error)
	must(t, db.Exec(insert("", ", part, parts", row+"'k', 1, 2"+first)).Error)
	must(t, db.Raw("SELECT MAX(id) FROM prm_ledger_transfers").Scan(&next).Error)
	if next <= last {
		t.Errorf("a new transfer has the id %d, the last one %d", next, last)
	}
	if err := db.Exec(insert("", ", part, parts", row+"'k', 1, 2"+first)).Error; (err == nil) != (db.Kind == dbtest.SQLite) {
		t.Errorf("a second part 1 of a key: %v", err)
	}
	must(t, db.Exec(insert("", ", corrects", row+"'corrects', id"+first)).Error)
	if err := db.Exec(insert("", ", corrects", row+"'corrects again', id"+first)).Error; err == nil {
		t.Error("a transfer was corrected twice")
	}
}

// TestMigrate_TheLedgerGoesOn: what was there verifies, its keys are known, it is read as it was, and moves on.
func TestMigrate_TheLedgerGoesOn(t *testing.T) {
	both(t, func(t *testing.T, db *dbtest.Database) {
		asOfSchema1(t, db)
		must(t, store.Migrate(context.Background(), db.DB))
		d := open(t, db.DB, store.Config{})
		p := ledger.Posting{Book: ledger.Licenses, Unit: "seat", Verb: "assign", From: ledger.HeldBy("prt_a"), To: ledger.HeldBy("acc_1"), Quantity: 4, Partner: "prt_a",
			Actor: "usr_1", Key: "k", Hash: "h2"}
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
			again, _, err := ledger.Post(tx, p)
			must(t, err)
			if !again.Replayed || again.FromAfter != 6 || again.ToAfter != 4 || again.Quantity != 4 || again.Recorded != 1003 {
				t.Errorf("an old key: %+v", again)
			}
			p.Hash = "other"
			if _, _, err := ledger.Post(tx, p); err == nil {
				t.Error("an old key with other content passed")
			}
			p.Key = "new"
			moved, _, err := ledger.Post(tx, p)
			must(t, err)
			if moved.Replayed || moved.FromAfter != 3 || moved.ToAfter != 7 || moved.ID <= again.ID {
				t.Errorf("a new move: %+v", moved)
			}
			list, err := ledger.History(tx, ledger.Licenses, "acc_1", "seat", nil, 10)
			must(t, err)
			var verbs []string
			for _, tr := range list {
				verbs = append(verbs, tr.Verb, tr.Key)
			}
			if fmt.Sprint(verbs) != "[assign new return r assign k]" {
				t.Errorf("history: %v", verbs)
			}
			then, err := ledger.HoldingsAt(tx, ledger.Licenses, "prt_a", "", []ledger.Point{{Effective: 950, Known: 950}, {Effective: 950, Known: 1002}, {Effective: 1003, Known: 1003}})
			must(t, err)
			if fmt.Sprint(then) != "[[] [{seat 10 0 0 0 0}] [{seat 6 0 0 0 0}]]" {
				t.Errorf("what there was: %v", then)
			}
			v, err := ledger.Verify(tx, ledger.Licenses)
			if v.FirstWrong != 0 || v.Transfers != 4 {
				t.Errorf("verified: %+v", v)
			}
			return err
		}))
	})
}
