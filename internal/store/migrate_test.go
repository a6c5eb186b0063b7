package store_test

import (
	"context"
	"slices"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// both runs a test on an unmigrated database of each kind.
func both(t *testing.T, test func(t *testing.T, db *dbtest.Database)) {
	t.Helper()
	for _, kind := range []string{dbtest.SQLite, dbtest.Postgres} {
		t.Run(kind, func(t *testing.T) { test(t, dbtest.Empty(t, kind, false)) })
	}
}

func versionsIn(t testing.TB, db *dbtest.Database) (list []int) {
	t.Helper()
	must(t, db.Raw("SELECT version FROM prm_schema_migrations ORDER BY version").Scan(&list).Error)
	return list
}

// Without a lock 7 of 8 processes fail on PostgreSQL's catalogue.
func TestMigrate_EightProcessesAtOnce(t *testing.T) {
	both(t, func(t *testing.T, db *dbtest.Database) {
		for _, f := range processes(t, 8, db, "migrate", 0) {
			t.Error(f)
		}
		s, err := store.Status(context.Background(), db.DB)
		must(t, err)
		if got := versionsIn(t, db); len(got) != s.Want || s.Have != s.Want || len(s.Pending) != 0 {
			t.Errorf("versions %v, status %+v", got, s)
		}
		open(t, db.DB, store.Config{})
	})
}

func TestInTx_ProcessesOnOneDatabaseLoseNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		must(t, db.Exec("INSERT INTO prm_throttles (key, failures, next_at, updated_at) VALUES ('row', 0, 0, 0)").Error)
		for _, f := range processes(t, 2, db, "bump", 200) {
			t.Error(f)
		}
		if n := failures(t, db, "row"); n != 400 {
			t.Errorf("%d of 400 increments", n)
		}
	})
}

func TestMigrate_AFailedOneLeavesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		ctx := context.Background()
		before, released := tables(t, db), versionsIn(t, db)
		next := len(released) + 1
		for what, statements := range map[string]string{
			"syntax":     "CREATE TABLE prm_first (a INTEGER);\nCREATE TABLE prm_second (a INTEGER;\n",
			"at its end": "CREATE TABLE prm_first (a INTEGER);\nINSERT INTO prm_first VALUES (1);\nINSERT INTO prm_nowhere VALUES (1);\n",
			"a check":    "UPDATE prm_partners SET name = 'changed';\nCREATE TABLE prm_first (a INTEGER CHECK (a > 0));\nINSERT INTO prm_first VALUES (0);\n",
		} {
			if err := store.MigrateWith(ctx, db.DB, next, "broken", statements); err == nil {
				t.Errorf("%s: no error", what)
			}
			if got := tables(t, db); !slices.Equal(got, before) {
				t.Errorf("%s left tables: %v, before %v", what, got, before)
			}
		}
		var name string
		must(t, db.Raw("SELECT name FROM prm_partners WHERE id = 'prt_vendor'").Scan(&name).Error)
		if got := versionsIn(t, db); name != "Vendor" || !slices.Equal(got, released) {
			t.Errorf("vendor %q, versions %v", name, got)
		}
		// Text that GORM would read as parameters, and a second run that must do nothing.
		good := "CREATE TABLE prm_first (a TEXT);\nINSERT INTO prm_first VALUES ('what? @name $1 :x');\n"
		for range 2 {
			must(t, store.MigrateWith(ctx, db.DB, next, "good", good))
		}
		var rows []string
		must(t, db.Raw("SELECT a FROM prm_first").Scan(&rows).Error)
		if len(rows) != 1 || rows[0] != "what? @name $1 :x" || !slices.Equal(versionsIn(t, db), append(released, next)) {
			t.Errorf("rows %q, versions %v", rows, versionsIn(t, db))
		}
	})
}

func tables(t testing.TB, db *dbtest.Database) []string {
	t.Helper()
	list, err := db.Migrator().GetTables()
	must(t, err)
	slices.Sort(list)
	return list
}

func TestStatus_WritesNothingAndCountsVersions(t *testing.T) {
	both(t, func(t *testing.T, db *dbtest.Database) {
		ctx := context.Background()
		s, err := store.Status(ctx, db.DB)
		must(t, err)
		if s.Have != 0 || s.Want < 1 || len(s.Pending) == 0 {
			t.Errorf("status of an empty database: have %d, want %d, %d pending", s.Have, s.Want, len(s.Pending))
		}
		if got := tables(t, db); len(got) != 0 {
			t.Errorf("Status made tables: %v", got)
		}
		_, err = store.Open(ctx, db.DB, store.Config{})
		wantKind(t, "open", err, fail.Refused)
		must(t, store.Migrate(ctx, db.DB))
		if s, err = store.Status(ctx, db.DB); err != nil || s.Have != s.Want || len(s.Pending) != 0 {
			t.Errorf("after Migrate: %+v, %v", s, err)
		}
	})
}

// Pending is for hosts that run their own tool: a database it was run on, in order and as it stands, is migrated.
func TestStatus_PendingIsAllThatAHostsOwnToolMustRun(t *testing.T) {
	both(t, func(t *testing.T, db *dbtest.Database) {
		ctx := context.Background()
		s, err := store.Status(ctx, db.DB)
		must(t, err)
		pool, err := db.DB.DB()
		must(t, err)
		for i, statements := range s.Pending {
			if _, err := pool.Exec(statements); err != nil {
				t.Fatalf("pending %d: %v", i, err)
			}
		}
		s, err = store.Status(ctx, db.DB)
		must(t, err)
		if s.Have != s.Want || len(s.Pending) != 0 {
			t.Errorf("after all of Pending ran: have %d, want %d, %d still pending", s.Have, s.Want, len(s.Pending))
		}
		if _, err := store.Open(ctx, db.DB, store.Config{}); err != nil {
			t.Errorf("open: %v", err)
		}
		if err := store.Migrate(ctx, db.DB); err != nil {
			t.Errorf("migrate: %v", err)
		}
	})
}
