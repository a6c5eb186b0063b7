package dbtest_test

import (
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/store"
)

// The catalogue names every column of the schema and no other, on both dialects.
func TestEachIsMigratedAndCatalogued(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		known := map[string]bool{}
		for _, table := range store.Tables() {
			known[table.Name] = true
			want := map[string]bool{}
			for _, list := range [][]string{{table.Partner, table.Account, table.Customer}, table.Columns, table.Personal, table.Secret} {
				for _, column := range list {
					if column != "" {
						want[column] = true
					}
				}
			}
			columns, err := db.Migrator().ColumnTypes(table.Name)
			if err != nil {
				t.Fatalf("%s: %v", table.Name, err)
			}
			for _, c := range columns {
				if !want[c.Name()] {
					t.Errorf("%s.%s is missing from the catalogue", table.Name, c.Name())
				}
				delete(want, c.Name())
			}
			for name := range want {
				t.Errorf("the catalogue has %s.%s, the schema has not", table.Name, name)
			}
		}
		tables, err := db.Migrator().GetTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range tables {
			// prm_facts is a counter, and a sequence on PostgreSQL.
			if !known[name] && name != "prm_facts" && name != "prm_nodes" && name != "sqlite_sequence" {
				t.Errorf("table %s is missing from the catalogue", name)
			}
		}
	})
}
