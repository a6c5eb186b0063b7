package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// record leaves one event and one transfer.
func record(t testing.TB, d *store.DB) {
	t.Helper()
	must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
		_, err := tx.Exec(all, `INSERT INTO prm_events (id, at, kind, actor, subject, partner_id, target, changed)
			VALUES ('evt_1', 1, 'made', 'a', 's', 'prt_vendor', 't', '')`)
		_, _, err2 := ledger.Post(tx, ledger.Posting{Book: ledger.Licenses, Unit: "seat", Verb: "grant", From: ledger.HeldBy(ledger.Issuer),
			To: ledger.HeldBy("prt_a"), Quantity: 3, Partner: "prt_a", Key: "k", Hash: "h", Actor: "a"})
		return errors.Join(err, err2)
	}))
}

// The database itself refuses, whoever asks.
func TestBEY03_BEY12_EventsAndTransfersAreAppendOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		record(t, d)
		tampering := []string{
			"UPDATE prm_events SET actor = 'b'", "UPDATE prm_events SET actor = actor WHERE id = 'evt_1'",
			"DELETE FROM prm_events", "DELETE FROM prm_events WHERE id = 'evt_1'",
			"UPDATE prm_ledger_transfers SET quantity = 4", "UPDATE prm_ledger_transfers SET reason = 'other' WHERE key = 'k'",
			"DELETE FROM prm_ledger_transfers", "DELETE FROM prm_ledger_transfers WHERE key = 'k'",
			`INSERT INTO prm_events (id, at, kind, actor, subject, partner_id, target, changed) VALUES ('evt_1', 1, 'made', 'b', 's', 'prt_vendor', 't', '')
				ON CONFLICT (id) DO UPDATE SET actor = excluded.actor`,
		}
		if db.Kind == dbtest.Postgres {
			tampering = append(tampering, "TRUNCATE prm_events CASCADE", "TRUNCATE prm_ledger_transfers", "TRUNCATE prm_partners CASCADE", "TRUNCATE prm_ledger_balances")
		}
		for _, q := range tampering {
			err := store.InTx(context.Background(), d, func(tx *store.Tx) error { _, err := tx.Exec(all, q); return err })
			if wantKind(t, q, err, fail.Refused); !errors.Is(err, store.ErrImmutable) {
				t.Errorf("%s: %v, want ErrImmutable", q, err)
			}
			if err := db.Exec(q).Error; err == nil {
				t.Errorf("%s passed on the host's own handle", q)
			}
		}
		unchanged(t, db)
	})
}

func unchanged(t testing.TB, db *dbtest.Database) {
	t.Helper()
	var events, transfers int64
	must(t, db.Raw("SELECT count(*) FROM prm_events WHERE id = 'evt_1' AND actor = 'a'").Scan(&events).Error)
	must(t, db.Raw("SELECT count(*) FROM prm_ledger_transfers WHERE key = 'k' AND quantity = 3 AND reason = '' AND actor = 'a'").Scan(&transfers).Error)
	if events != 1 || transfers != 1 {
		t.Errorf("%d events and %d transfers are as they were, want 1 and 1", events, transfers)
	}
}

// REPLACE deletes the row in its way, and SQLite fires no delete trigger for it unless recursive_triggers is on.
func TestBEY03_BEY12_ReplaceIsRefusedToo(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	d := open(t, db.DB, store.Config{})
	record(t, d)
	for _, q := range []string{
		`INSERT OR REPLACE INTO prm_events (id, at, kind, actor, subject, partner_id, target, changed)
			VALUES ('evt_1', 1, 'made', 'b', 's', 'prt_vendor', 't', '')`,
		`REPLACE INTO prm_ledger_transfers SELECT id, book, unit, verb, 2, from_id, to_id, from_after, to_after, partner_id, 'b', reason, key, hash,
			effective, recorded FROM prm_ledger_transfers`,
		`REPLACE INTO prm_ledger_transfers (book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, key, hash,
			effective, recorded) SELECT book, unit, verb, 2, from_id, to_id, from_after, to_after, partner_id, 'b', reason, key, hash,
			effective, recorded FROM prm_ledger_transfers`,
	} {
		_ = db.Exec(q).Error // refused or ignored: the rows must be as they were
		unchanged(t, db)
	}
}
