// Package dbtest runs a test on every database the SDK supports: SQLite always, PostgreSQL where there is one.
//
//	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) { … })
//
// PostgreSQL comes from the DSN in PARTNERKIT_POSTGRES, else from server binaries found on the machine, which run privately on a
// socket in a temporary folder and end with the test process; else that half of the test is skipped, visibly. With
// PARTNERKIT_POSTGRES_REQUIRED set, a skip is a failure: a build server sets it.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Kinds of database.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Database is one migrated, empty database of a test.
type Database struct {
	*gorm.DB
	Kind string
	DSN  string
}

// Each runs the test once per database, as subtests named after their kind.
func Each(t *testing.T, test func(t *testing.T, db *Database)) {
	t.Helper()
	for _, kind := range []string{SQLite, Postgres} {
		t.Run(kind, func(t *testing.T) { test(t, New(t, kind)) })
	}
}

// AtOnce is Each, with both databases at the same time: for a test that takes long, of which one half computes while the other waits for
// its server. What the halves share nobody may change.
func AtOnce(t *testing.T, test func(t *testing.T, db *Database)) {
	t.Helper()
	var both sync.WaitGroup
	for _, kind := range []string{SQLite, Postgres} {
		both.Go(func() { t.Run(kind, func(t *testing.T) { test(t, New(t, kind)) }) })
	}
	both.Wait()
}

// New makes a migrated database of a kind; the test is skipped where there is none.
func New(t testing.TB, kind string) *Database {
	t.Helper()
	return Empty(t, kind, true)
}

// databases numbers the databases of this process.
var databases atomic.Int64

// Empty makes a database without tables, or a copy of a migrated one if so asked.
func Empty(t testing.TB, kind string, migrated bool) *Database {
	t.Helper()
	dsn := ""
	switch kind {
	case SQLite:
		dsn = file(t, migrated)
	case Postgres:
		dsn = serverFor(t).create(t, fmt.Sprintf("prm_%d_%d", os.Getpid(), databases.Add(1)), migrated)
	}
	d := &Database{Kind: kind, DSN: dsn}
	d.DB = d.Open(t, &gorm.Config{})
	return d
}

// file makes a SQLite database and returns its DSN.
func file(t testing.TB, migrated bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	if migrated {
		content, err := migratedFile()
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			t.Fatalf("template: %v", err)
		}
	}
	return unsafeDSN(path)
}

// unsafeDSN is one without fsync: no test here pulls the plug, and a killed process loses nothing that it wrote.
func unsafeDSN(path string) string {
	return strings.ReplaceAll(store.SQLiteDSN(path), "FULL", "OFF")
}

// migratedFile is the content of a migrated SQLite database. To copy it takes a tenth of the time that the migrations do.
var migratedFile = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "prm-sqlite-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "template.db")
	if err := migrateAt(SQLite, unsafeDSN(path)); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// migrateAt migrates a database that nobody else has open, and has it closed when it returns: only then is a SQLite file the whole
// database, and a PostgreSQL database free to be copied.
func migrateAt(kind, dsn string) error {
	db, err := Connect(kind, dsn, &gorm.Config{})
	if err != nil {
		return err
	}
	err = store.Migrate(context.Background(), db)
	pool, _ := db.DB()
	return errors.Join(err, pool.Close())
}

// Open opens another pool on the same database, as a host with other settings or another process would.
func (d *Database) Open(t testing.TB, cfg *gorm.Config) *gorm.DB {
	t.Helper()
	db, err := Connect(d.Kind, d.DSN, cfg)
	if err != nil {
		t.Fatalf("open %s: %v", d.Kind, err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return db
}

// Connect opens a pool by kind and DSN; a child process of a test uses it.
func Connect(kind, dsn string, cfg *gorm.Config) (*gorm.DB, error) {
	if cfg.Logger == nil {
		cfg.Logger = logger.Discard
	}
	dialector := sqlite.Open(dsn)
	if kind == Postgres {
		dialector = postgres.Open(dsn)
	}
	db, err := gorm.Open(dialector, cfg)
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(poolSize)
	pool.SetMaxIdleConns(poolSize)
	return db, nil
}

// poolSize is what the store sheet measured as best for a few cores.
const poolSize = 8
