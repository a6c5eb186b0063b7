package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"
)

// Passing the host's own Dialector to gorm.Open would open a second pool on the same DSN without a word.
func TestOpen_SharesTheHostsPool(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		pool, err := db.DB.DB()
		must(t, err)
		pool.SetMaxOpenConns(1)
		d := open(t, db.DB, store.Config{})
		if ours, err := store.PoolOf(d); err != nil || ours != pool {
			t.Fatalf("the handle works on pool %p (%v), the host on %p", ours, err, pool)
		}
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
			if s := pool.Stats(); s.InUse != 1 || s.OpenConnections != 1 {
				t.Errorf("inside a call the host's pool has %d connections, %d in use; want 1 and 1", s.OpenConnections, s.InUse)
			}
			return put(tx, "ours")
		}))
		if s := pool.Stats(); s.InUse != 0 || s.MaxOpenConnections != 1 {
			t.Errorf("after a call %d connections are in use, the limit is %d; want 0 and 1", s.InUse, s.MaxOpenConnections)
		}
		conn, dsn := dialectorFields(t, db.Dialector)
		if conn != nil || dsn != db.DSN {
			t.Errorf("the host's Dialector was changed: Conn %v, DSN %q", conn, dsn)
		}
	})
}

func dialectorFields(t *testing.T, d gorm.Dialector) (conn gorm.ConnPool, dsn string) {
	t.Helper()
	switch d := d.(type) {
	case *sqlite.Dialector:
		return d.Conn, d.DSN
	case *postgres.Dialector:
		return d.Conn, d.DSN
	}
	t.Fatalf("dialector %T", d)
	return nil, ""
}

// wrapped embeds the driver's Dialector, as an instrumented one does.
type wrapped struct{ gorm.Dialector }

type wrappedSQLite struct{ sqlite.Dialector }

// A Dialector that embeds another struct, by value or pointer, is copied down to the field; one that hides it is refused.
func TestOpen_FindsConnInsideEmbeddedStructs(t *testing.T) {
	t.Run("embedded value", func(t *testing.T) {
		db := dbtest.New(t, dbtest.SQLite)
		pool, err := db.DB.DB()
		must(t, err)
		mine := &wrappedSQLite{sqlite.Dialector{Conn: pool}}
		host, err := gorm.Open(mine, &gorm.Config{Logger: logger.Discard})
		must(t, err)
		mine.Conn = nil // as it is in a host that gave a DSN
		d := open(t, host, store.Config{})
		if ours, err := store.PoolOf(d); err != nil || ours != pool || mine.Conn != nil {
			t.Errorf("pool shared: %v, host's Conn: %v, %v", ours == pool, mine.Conn, err)
		}
	})
	t.Run("Dialector by value", func(t *testing.T) {
		db := dbtest.New(t, dbtest.Postgres)
		pool, err := db.DB.DB()
		must(t, err)
		cfg := &postgres.Config{Conn: pool}
		host, err := gorm.Open(postgres.Dialector{Config: cfg}, &gorm.Config{Logger: logger.Discard})
		must(t, err)
		cfg.Conn = nil
		d := open(t, host, store.Config{})
		if ours, err := store.PoolOf(d); err != nil || ours != pool || cfg.Conn != nil {
			t.Errorf("pool shared: %v, host's Conn: %v, %v", ours == pool, cfg.Conn, err)
		}
	})
	t.Run("no field Conn", func(t *testing.T) {
		db := dbtest.New(t, dbtest.SQLite)
		host, err := gorm.Open(wrapped{db.Dialector}, &gorm.Config{Logger: logger.Discard})
		must(t, err)
		pool, err := host.DB()
		must(t, err)
		t.Cleanup(func() { _ = pool.Close() })
		_, err = store.Open(context.Background(), host, store.Config{})
		wantKind(t, "open", err, fail.Invalid)
	})
}

// odd is a database the SDK has no schema for.
type odd struct{ gorm.Dialector }

func (odd) Name() string { return "sqlserver" }

func TestOpen_RefusesWhatCannotWork(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		begun := db.Begin()
		defer begun.Rollback()
		one := db.Open(t, &gorm.Config{PrepareStmt: true})
		limitPool(t, one, 1)
		two := db.Open(t, &gorm.Config{PrepareStmt: true})
		limitPool(t, two, 2)
		other, err := gorm.Open(odd{db.Dialector}, &gorm.Config{Logger: logger.Discard})
		must(t, err)
		closeAtEnd(t, other)
		for what, c := range map[string]struct {
			db  *gorm.DB
			say string
		}{
			"nil":                      {nil, "no database"},
			"the zero gorm.DB":         {&gorm.DB{}, "no database"},
			"a transaction":            {begun, "inside a transaction"},
			"PrepareStmt, pool of one": {one, "PrepareStmt"},
			"another engine":           {other, "not supported"},
		} {
			_, err := store.Open(context.Background(), c.db, store.Config{})
			wantKind(t, what, err, fail.Invalid)
			if err != nil && !strings.Contains(err.Error(), c.say) {
				t.Errorf("%s: %q does not say %q", what, err, c.say)
			}
			wantKind(t, what+", migrate", store.Migrate(context.Background(), c.db), fail.Invalid)
		}
		_ = begun.Rollback()
		d := open(t, two, store.Config{})
		must(t, store.InTx(limited(t, 20*time.Second), d, putting("two")))
	})
}

func limitPool(t testing.TB, db *gorm.DB, n int) *sql.DB {
	t.Helper()
	pool, err := db.DB()
	must(t, err)
	pool.SetMaxOpenConns(n)
	return pool
}

func closeAtEnd(t testing.TB, db *gorm.DB) {
	t.Helper()
	pool, err := db.DB()
	must(t, err)
	t.Cleanup(func() { _ = pool.Close() })
}

func TestOpen_RefusesUnsafeSQLiteSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"_foreign_keys=off&_journal_mode=DELETE&_busy_timeout=0", []string{"foreign_keys", "journal_mode", "busy_timeout"}},
		{"_foreign_keys=on&_journal_mode=DELETE&_busy_timeout=0", []string{"journal_mode", "busy_timeout"}},
		{"_foreign_keys=on&_journal_mode=DELETE&_busy_timeout=5000", []string{"journal_mode"}},
		{"_foreign_keys=on&_journal_mode=WAL&_busy_timeout=0", []string{"busy_timeout"}},
		{"_foreign_keys=off&_journal_mode=WAL&_busy_timeout=5000", []string{"foreign_keys"}},
		{"_foreign_keys=on&_journal_mode=WAL&_busy_timeout=5000", nil},
	} {
		db, err := dbtest.Connect(dbtest.SQLite, "file:"+path+"?"+c.query, &gorm.Config{})
		must(t, err)
		closeAtEnd(t, db)
		err = store.Migrate(context.Background(), db)
		if len(c.want) == 0 {
			must(t, err)
			open(t, db, store.Config{})
			continue
		}
		wantKind(t, c.query, err, fail.Invalid)
		_, err = store.Open(context.Background(), db, store.Config{})
		wantKind(t, c.query, err, fail.Invalid)
		for _, setting := range []string{"foreign_keys", "journal_mode", "busy_timeout"} {
			named, wanted := strings.Contains(fmt.Sprint(err), setting), strings.Contains(strings.Join(c.want, " "), setting)
			if named != wanted {
				t.Errorf("%s: the error names %s: %v, want %v: %v", c.query, setting, named, wanted, err)
			}
		}
	}
}

// A setting made by a statement is the setting of one connection; the pool's others are without it.
func TestOpen_RefusesSettingsOfOneConnectionOnly(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	bare, err := dbtest.Connect(dbtest.SQLite, strings.ReplaceAll(db.DSN, "_foreign_keys=on", "_foreign_keys=off"), &gorm.Config{})
	must(t, err)
	closeAtEnd(t, bare)
	must(t, bare.Exec("PRAGMA foreign_keys = ON").Error)
	_, err = store.Open(context.Background(), bare, store.Config{})
	wantKind(t, "open", err, fail.Invalid)
	limitPool(t, bare, 1)
	must(t, bare.Exec("PRAGMA foreign_keys = ON").Error)
	open(t, bare, store.Config{})
}

// The path may hold what a URL would read as something else; both driver families must find the file.
func TestSQLiteDSN_EscapesThePath(t *testing.T) {
	for _, name := range []string{"plain.db", "with space.db", "a?b.db", "a#b.db", "100%.db", "q&_foreign_keys=off.db", "ключ.db", "a%20b.db"} {
		path := filepath.Join(t.TempDir(), name)
		db, err := dbtest.Connect(dbtest.SQLite, store.SQLiteDSN(path), &gorm.Config{})
		must(t, err)
		closeAtEnd(t, db)
		if err := store.Migrate(context.Background(), db); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if found, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.db")); len(found) != 1 || found[0] != path {
			t.Errorf("%s: the files are %q", name, found)
		}
	}
}

func TestOpen_ChecksTheSchema(t *testing.T) {
	for _, kind := range []string{dbtest.SQLite, dbtest.Postgres} {
		t.Run(kind, func(t *testing.T) {
			db := dbtest.Empty(t, kind, false)
			ctx := context.Background()
			_, err := store.Open(ctx, db.DB, store.Config{})
			wantKind(t, "unmigrated", err, fail.Refused)
			must(t, store.Migrate(ctx, db.DB))
			open(t, db.DB, store.Config{})
			newer := func(compatible int) {
				must(t, db.Exec("DELETE FROM prm_schema_migrations WHERE version = 99").Error)
				must(t, db.Exec("INSERT INTO prm_schema_migrations (version, name, compatible_from, applied_at) VALUES (99, 'later', ?, 0)", compatible).Error)
			}
			newer(99)
			_, err = store.Open(ctx, db.DB, store.Config{})
			wantKind(t, "newer, incompatible", err, fail.Refused)
			newer(1)
			open(t, db.DB, store.Config{})
			must(t, store.Migrate(ctx, db.DB)) // leaves a newer one alone
			if s, err := store.Status(ctx, db.DB); err != nil || s.Have != 99 || len(s.Pending) != 0 {
				t.Errorf("status of a newer schema: %+v, %v", s, err)
			}
		})
	}
}

// Whatever the host set up on its handle must neither change our statements nor see them, inside its transaction or out of it.
func TestOpen_HostSettingsAndCallbacksDoNotLeak(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		var printed bytes.Buffer
		host := db.Open(t, &gorm.Config{
			NamingStrategy: schema.NamingStrategy{TablePrefix: "host_", SingularTable: true, NoLowerCase: true},
			Logger:         logger.New(log.New(&printed, "", 0), logger.Config{LogLevel: logger.Info}),
			PrepareStmt:    true, DryRun: false, QueryFields: true, AllowGlobalUpdate: true, CreateBatchSize: 1, TranslateError: true,
			NowFunc: func() time.Time { return time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) },
		})
		d := open(t, host, store.Config{})
		refuse := func(tx *gorm.DB) { _ = tx.AddError(errors.New("the host's callback ran")) }
		cb := host.Callback()
		for _, err := range []error{
			cb.Create().Before("gorm:create").Register("host:create", refuse), cb.Update().Before("gorm:update").Register("host:update", refuse),
			cb.Delete().Before("gorm:delete").Register("host:delete", refuse), cb.Query().Before("gorm:query").Register("host:query", refuse),
			cb.Raw().Before("gorm:raw").Register("host:raw", refuse), cb.Row().Before("gorm:row").Register("host:row", refuse),
		} {
			must(t, err)
		}
		later := open(t, host, store.Config{}) // the callbacks are there already
		begun := host.Begin()
		must(t, begun.Error)
		printed.Reset()
		must(t, everyVerb(store.In(d, begun), "joined"))
		must(t, begun.Commit().Error)
		must(t, everyVerb(d, "before"))
		must(t, everyVerb(later, "after"))
		if printed.Len() > 0 {
			t.Errorf("the host's logger got %q", printed.String())
		}
		if got := keys(t, db); got != "[after before joined]" {
			t.Errorf("keys %s", got)
		}
		if err := host.Table("prm_throttles").Where("key = ?", "after").Update("failures", 7).Error; err == nil {
			t.Error("the host's own callback no longer runs")
		}
		var unscoped error
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
			_, unscoped = tx.Update(tx.From(all, "prm_throttles"), map[string]any{"failures": 1})
			return nil
		}))
		if unscoped == nil {
			t.Error("an UPDATE without WHERE passed: the host's AllowGlobalUpdate leaked")
		}
	})
}

// everyVerb runs each kind of statement the package has and leaves one row.
func everyVerb(d *store.DB, key string) error {
	return store.InTx(context.Background(), d, func(tx *store.Tx) error {
		var one throttle
		var found, listed []throttle
		row := func(key string) *gorm.DB { return tx.From(all, "prm_throttles").Where("key = ?", key) }
		_, err := tx.InsertNew(&throttle{Key: key + "-gone"})
		err = errors.Join(err, tx.Insert(&throttle{Key: key, UpdatedAt: 5}))
		changed, err2 := tx.Update(row(key), map[string]any{"failures": 0, "next_at": store.Micros(9)})
		gone, err3 := tx.Delete(row(key + "-gone"))
		err = errors.Join(err, err2, err3, tx.Take(row(key), &one, "UPDATE"), tx.Find(row(key), &found),
			tx.Query(all, &listed, "SELECT * FROM prm_throttles WHERE key = ?", key))
		want := throttle{Key: key, NextAt: 9, UpdatedAt: 5}
		if err == nil && (changed != 1 || gone != 1 || one != want || len(found) != 1 || found[0] != want || len(listed) != 1 || listed[0] != want) {
			err = fmt.Errorf("%d changed, %d gone; read %+v, %+v, %+v", changed, gone, one, found, listed)
		}
		return err
	})
}

// With every connection taken, by a host that calls from inside its own transaction, Open must end with the caller's context.
func TestOpen_EndsWithItsContextWhenNoConnectionIsFree(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		limitPool(t, db.DB, 1)
		begun := db.Begin()
		must(t, begun.Error)
		defer begun.Rollback()
		for what, call := range map[string]func(context.Context) error{
			"Open": func(ctx context.Context) error {
				_, err := store.Open(ctx, db.DB, store.Config{ConnWait: 50 * time.Millisecond})
				return err
			},
			"Migrate": func(ctx context.Context) error { return store.Migrate(ctx, db.DB) },
			"Status":  func(ctx context.Context) error { _, err := store.Status(ctx, db.DB); return err },
		} {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			done := make(chan error, 1)
			go func() { done <- call(ctx) }()
			select {
			case err := <-done:
				wantKind(t, what, err, fail.Unavailable)
			case <-time.After(2 * time.Second):
				t.Errorf("%s still waits 2 s after its context ended", what)
			}
			cancel()
		}
	})
}

func TestClose_WaitsForCallsAndRefusesLaterOnes(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	d := open(t, db.DB, store.Config{})
	inside, finish, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- store.InTx(context.Background(), d, func(tx *store.Tx) error {
			close(inside)
			<-finish
			return put(tx, "in flight")
		})
	}()
	<-inside
	go func() { store.Close(d); close(closed) }()
	select {
	case <-closed:
		t.Fatal("Close did not wait for the call in flight")
	case <-time.After(20 * time.Millisecond):
	}
	close(finish)
	must(t, <-done)
	<-closed
	wantKind(t, "InTx", store.InTx(context.Background(), d, putting("late")), fail.Unavailable)
	wantKind(t, "Read", store.Read(context.Background(), d, func(*store.Tx) error { return nil }), fail.Unavailable)
	if got := keys(t, db); got != "[in flight]" {
		t.Errorf("keys %s", got)
	}
	must(t, db.Exec("SELECT 1").Error) // the host's pool stays open
}
