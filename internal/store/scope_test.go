package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// plant makes one partner per path, named after it.
func plant(t testing.TB, db *dbtest.Database, paths ...string) {
	t.Helper()
	for _, p := range paths {
		must(t, db.Exec(`INSERT INTO prm_partners (id, parent_id, path, depth, state, version, created_at, name, name_key, email, phone, locale,
			currency, more_currencies, resell, build, operate, manages_sub_partners, own_blocks, own_cascade, own_inherited, own_epoch,
			users_blocks, users_cascade, users_inherited, users_epoch, contact_id)
			SELECT ?, 'prt_vendor', ?, 2, state, version, created_at, name, name_key, email, phone, locale, currency, more_currencies, resell,
			build, operate, manages_sub_partners, own_blocks, own_cascade, own_inherited, own_epoch, users_blocks, users_cascade,
			users_inherited, users_epoch, NULL FROM prm_partners WHERE id = 'prt_vendor'`, "at "+p, p).Error)
		must(t, db.Exec("INSERT INTO prm_events (id, at, kind, actor, subject, partner_id, target, changed) VALUES (?, 0, 'k', 'a', 's', ?, '', '')",
			"of "+p, "at "+p).Error)
	}
}

// uncheckedContact lets plant leave out the contacts, which only partners made by hand can.
func uncheckedContact(t testing.TB, db *dbtest.Database) {
	t.Helper()
	if db.Kind == dbtest.Postgres {
		var name string
		must(t, db.Raw(`SELECT conname FROM pg_constraint WHERE conrelid = 'prm_partners'::regclass AND contype = 'c'
			AND pg_get_constraintdef(oid) LIKE '%contact_id%'`).Scan(&name).Error)
		must(t, db.Exec("ALTER TABLE prm_partners DROP CONSTRAINT "+name).Error)
		return
	}
	limitPool(t, db.DB, 1)
	must(t, db.Exec("PRAGMA ignore_check_constraints = 1").Error)
}

func TestScope_TreesAreRangesAndWildcardsLiteral(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		uncheckedContact(t, db)
		paths := []string{"/1/", "/1/2/", "/1/2/3/", "/10/", "/100/", "/11/", "/1_/", "/1%/", "/_/", "/%/", "/2/", "/1/20/", "/1/_/", "/a/", "/A/", "/é/"}
		plant(t, db, paths...)
		d := open(t, db.DB, store.Config{})
		for _, root := range append(paths, "/", "/9/", "/1/2/3/4/") {
			want := map[string]bool{}
			for _, p := range paths {
				if strings.HasPrefix(p, root) {
					want["at "+p] = true
				}
			}
			if root == "/" {
				want["prt_vendor"] = true
			}
			var partners, events []string
			must(t, store.Read(context.Background(), d, func(tx *store.Tx) error {
				return errors.Join(
					tx.Find(tx.From(store.OfTree(root), "prm_partners").Select("id"), &partners),
					tx.Find(tx.From(store.OfTree(root), "prm_events").Select("partner_id"), &events))
			}))
			for _, id := range partners {
				if !want[id] {
					t.Errorf("tree %s holds %s", root, id)
				}
				delete(want, id)
			}
			if len(want) > 0 {
				t.Errorf("tree %s lacks %v", root, want)
			}
			own := 0
			for _, p := range paths {
				if strings.HasPrefix(p, root) {
					own++
				}
			}
			if len(events) != own {
				t.Errorf("tree %s sees events of %v, want %d", root, events, own)
			}
		}
	})
}

func TestScope_EqualsTakeNoPatterns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		uncheckedContact(t, db)
		plant(t, db, "/1/", "/2/")
		d := open(t, db.DB, store.Config{})
		must(t, store.Read(context.Background(), d, func(tx *store.Tx) error {
			for _, id := range []string{"at /_/", "at %", "%", "' OR 1=1 --", "at /1/", "AT /1/", "at /1/ "} {
				var list []string
				if err := tx.Find(tx.From(store.OfPartner(id), "prm_events").Select("id"), &list); err != nil {
					return err
				}
				if want := map[bool]string{true: "[of /1/]", false: "[]"}[id == "at /1/"]; fmt.Sprint(list) != want {
					t.Errorf("partner %q: %v, want %s", id, list, want)
				}
			}
			return nil
		}))
	})
}

// What has no scope must not even reach the database.
func TestScope_RefusedBeforeAnySQL(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, host := wired(t, db)
		d := open(t, host, store.Config{})
		for what, c := range map[string]struct {
			scope store.Scope
			table string
		}{
			"zero scope":                        {store.Scope{}, "prm_throttles"},
			"zero scope, tenant's table":        {store.Scope{}, "prm_events"},
			"unknown table":                     {all, "host_orders"},
			"unknown table of a partner":        {store.OfPartner("prt_a"), "host_orders"},
			"table with a condition":            {all, "prm_events WHERE 1=1 --"},
			"partner without a name":            {store.OfPartner(""), "prm_events"},
			"tree without a path":               {store.OfTree(""), "prm_events"},
			"account without a name":            {store.OfAccount(""), "prm_events"},
			"account, table without accounts":   {store.OfAccount("acc_a"), "prm_users"},
			"account, table without tenants":    {store.OfAccount("acc_a"), "prm_throttles"},
			"partner, table without tenants":    {store.OfPartner("prt_a"), "prm_throttles"},
			"tree, table without tenants":       {store.OfTree("/0/"), "prm_license_types"},
			"account, a partner's own licences": {store.OfAccount("acc_a"), "prm_ledger_balances"},
			"customer without a name":           {store.OfCustomer(""), "prm_delegations"},
			"customer, table without customers": {store.OfCustomer("cus_a"), "prm_events"},
		} {
			for verb, call := range map[string]func(tx *store.Tx, q *gorm.DB) error{
				"find":   func(tx *store.Tx, q *gorm.DB) error { return tx.Find(q, &[]map[string]any{}) },
				"take":   func(tx *store.Tx, q *gorm.DB) error { return tx.Take(q, &map[string]any{}, "UPDATE") },
				"update": func(tx *store.Tx, q *gorm.DB) error { _, err := tx.Update(q, map[string]any{"version": 1}); return err },
				"delete": func(tx *store.Tx, q *gorm.DB) error { _, err := tx.Delete(q); return err },
				"count":  func(_ *store.Tx, q *gorm.DB) error { var n int64; return q.Count(&n).Error },
			} {
				w.statements()
				wantKind(t, verb+", "+what, store.InTx(context.Background(), d, func(tx *store.Tx) error {
					return call(tx, tx.From(c.scope, c.table).Where("1 = 1"))
				}), fail.Forbidden)
				for _, s := range w.statements() {
					if !strings.HasPrefix(s, "BEGIN") && s != "ROLLBACK" {
						t.Errorf("%s, %s: %q reached the database", verb, what, s)
					}
				}
			}
		}
		for _, scope := range []store.Scope{{}, store.OfPartner("prt_a"), store.OfTree("/0/"), store.OfAccount("acc_a"), store.OfCustomer("cus_a")} {
			w.statements()
			wantKind(t, "exec", store.InTx(context.Background(), d, func(tx *store.Tx) error {
				_, err := tx.Exec(scope, "DELETE FROM prm_throttles")
				return err
			}), fail.Forbidden)
			wantKind(t, "query", store.Read(context.Background(), d, func(tx *store.Tx) error {
				return tx.Query(scope, &[]string{}, "SELECT id FROM prm_events")
			}), fail.Forbidden)
			for _, s := range w.statements() {
				if strings.Contains(s, "prm_") {
					t.Errorf("scope %v: %q reached the database", scope, s)
				}
			}
		}
	})
}
