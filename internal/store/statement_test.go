package store_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// TestBind_Texts: what a statement becomes, to the letter.
func TestBind_Texts(t *testing.T) {
	type keysOf []string
	for _, c := range []struct {
		query    string
		args     []any
		postgres string
		sqlite   string
		flat     []any
	}{
		{"SELECT 1", nil, "SELECT 1", "SELECT 1", nil},
		{"", nil, "", "", nil},
		{"a = ? AND b = ?", []any{1, nil}, "a = $1 AND b = $2", "a = ? AND b = ?", []any{1, nil}},
		{"?", []any{"?"}, "$1", "?", []any{"?"}},
		{"a IN ? AND b = ?", []any{[]string{"x", "y"}, true}, "a IN ($1,$2) AND b = $3", "a IN (?,?) AND b = ?", []any{"x", "y", true}},
		{"a IN ? OR b = ?", []any{[]int{}, 1}, "a IN (NULL) OR b = $1", "a IN (NULL) OR b = ?", []any{1}},
		{"a IN ?", []any{[]string(nil)}, "a IN (NULL)", "a IN (NULL)", nil},
		{"a IN ?", []any{keysOf{"x"}}, "a IN ($1)", "a IN (?)", []any{"x"}},
		{"a IN ?", []any{[]store.Micros{7}}, "a IN ($1)", "a IN (?)", []any{store.Micros(7)}},
		{"a = ?", []any{[]byte("x")}, "a = $1", "a = ?", []any{[]byte("x")}},
		{"a = ?", []any{json.RawMessage("{}")}, "a = $1", "a = ?", []any{json.RawMessage("{}")}},
		{"a IN ? -- sure?\nAND b = 2", []any{[]int{1}}, "a IN ($1) -- sure?\nAND b = 2", "a IN (?) -- sure?\nAND b = 2", []any{1}},
		{"a = ? AND b = ?", []any{1}, "a = $1 AND b = ?", "a = ? AND b = ?", []any{1}},
		{"a = ?", []any{1, 2}, "a = $1", "a = ?", []any{1, 2}},
		{"none", []any{1}, "none", "none", []any{1}},
	} {
		if text, flat := store.Bind(true, c.query, c.args...); text != c.postgres || !same(flat, c.flat) {
			t.Errorf("PostgreSQL: %q %v became %q %v", c.query, c.args, text, flat)
		}
		if text, flat := store.Bind(false, c.query, c.args...); text != c.sqlite || !same(flat, c.flat) {
			t.Errorf("SQLite: %q %v became %q %v", c.query, c.args, text, flat)
		}
	}
}

func same(a, b []any) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

// TestTx_StatementsWithLists: they mean the same on both databases, put off, waited for or in a plain read.
func TestTx_StatementsWithLists(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error { return errors.Join(put(tx, "a"), put(tx, "b"), put(tx, "c?")) }))
		for _, c := range []struct {
			where string
			args  []any
			want  string
		}{
			{"key IN ?", []any{[]string{"a", "c?", "none"}}, "[a c?]"},
			{"key IN ?", []any{[]string{}}, "[]"},
			{"key NOT IN ?", []any{[]string{}}, "[]"}, // no value is known not to be among none: as GORM has it, and SQL has not
			{"key = ? OR key IN ? OR failures = ?", []any{"a", []string{"b"}, 5}, "[a b]"},
			{"CAST(? AS TEXT) IS NULL AND key <> ?", []any{nil, "b"}, "[a c?]"},
			{"key = 'c?' -- why?\n AND failures = 1", nil, "[]"},
			{"key = ? -- why?\n AND failures = 1", []any{"a"}, "[]"},
			{"key IN ? -- why?\n AND failures = 1", []any{[]string{"a"}}, "[]"},
		} {
			query := "SELECT key FROM prm_throttles WHERE " + c.where + "\n ORDER BY key"
			for name, run := range map[string]func(context.Context, *store.DB, func(*store.Tx) error) error{"write": store.InTx, "read": store.Read} {
				var scanned, asked []string
				must(t, run(context.Background(), d, func(tx *store.Tx) error {
					return errors.Join(tx.Query(all, &asked, query, c.args...), tx.Scan(all, func(r store.Row) error {
						var key string
						err := r.Scan(&key)
						scanned = append(scanned, key)
						return err
					}, query, c.args...))
				}))
				if fmt.Sprint(scanned) != c.want || fmt.Sprint(asked) != c.want {
					t.Errorf("%s of %q %v: %q and %q, want %s", name, c.where, c.args, scanned, asked, c.want)
				}
			}
		}
		wantKind(t, "a value is missing", store.InTx(context.Background(), d, func(tx *store.Tx) error {
			_, err := tx.Exec(all, "UPDATE prm_throttles SET failures = ? WHERE key = ?", 1)
			return err
		}), fail.Unavailable)
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
			n, err := tx.Exec(all, "UPDATE prm_throttles SET failures = 9 WHERE key IN ?", []string{"a", "b"})
			if n != 2 {
				t.Errorf("touched %d", n)
			}
			return err
		}))
	})
}

// TestTx_StatementsNeedTheirScope: nothing of one without it is sent, now or later.
func TestTx_StatementsNeedTheirScope(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
			var none store.Scope
			_, executed := tx.Exec(none, insert, "a")
			for i, err := range []error{executed, tx.Later(none, nil, insert, "a"), tx.Query(none, new(int), "SELECT 1"), tx.Scan(none, nil, insert, "a")} {
				if err == nil {
					t.Errorf("%d: no error", i)
				}
			}
			return nil
		}))
		if got := keys(t, db); got != "[]" {
			t.Errorf("keys %s", got)
		}
	})
}

// modes are the ways in which pgx runs statements: a host chooses one by its DSN, or GORM's option.
var modes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol", "PreferSimpleProtocol"}

func inMode(t *testing.T, db *dbtest.Database, mode string) *gorm.DB {
	t.Helper()
	cfg := postgres.Config{DSN: db.DSN + " default_query_exec_mode=" + mode}
	if mode == "PreferSimpleProtocol" {
		cfg = postgres.Config{DSN: db.DSN, PreferSimpleProtocol: true}
	}
	host, err := gorm.Open(postgres.New(cfg), &gorm.Config{Logger: logger.Discard})
	must(t, err)
	closeAtEnd(t, host)
	limitPool(t, host, 1)
	return host
}

// TestPipeline_InEveryMode: a host's choice of how pgx runs statements changes no outcome.
func TestPipeline_InEveryMode(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			db := dbtest.New(t, dbtest.Postgres)
			host := inMode(t, db, mode)
			d := open(t, host, store.Config{})
			for range 2 { // the second finds its statements known
				outcomes(t, db, host, d)
			}
		})
	}
}

// TestPipeline_WithoutOne: a driver that wraps another has no pipeline, and the same outcomes.
func TestPipeline_WithoutOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		_, host := wired(t, db)
		limitPool(t, host, 1)
		d := open(t, host, store.Config{})
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
			if store.Pipelined(tx) {
				t.Error("it has a pipeline that goes round the wrapping")
			}
			return nil
		}))
		outcomes(t, db, host, d)
	})
}

// outcomes is what has to come out whatever carries the statements.
func outcomes(t *testing.T, db *dbtest.Database, host *gorm.DB, d *store.DB) {
	t.Helper()
	odd := `it's "odd" \ $1 ? ` + "\n-- ü😀"
	var read []string
	var number, big int64
	var at store.Micros
	var yes bool
	var none *string
	must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error {
		err := errors.Join(later(tx, odd), laterKeys(tx, &read), tx.Later(all, func(r store.Row) error { return r.Scan(&number, &big, &at, &yes, &none) },
			"SELECT CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), failures = ?, CAST(? AS TEXT) FROM prm_throttles WHERE key IN ?",
			int64(-7), int64(1)<<62, store.Micros(5), 0, nil, []string{odd, "none"}))
		n, touched := tx.Exec(all, "UPDATE prm_throttles SET failures = failures + ? WHERE key = ?", 3, odd)
		if n != 1 {
			t.Errorf("touched %d", n)
		}
		if fmt.Sprintf("%q", read) != fmt.Sprintf("%q", []string{odd}) || number != -7 || big != 1<<62 || at != 5 || !yes || none != nil {
			t.Errorf("read %q, %d %d %d %v %v", read, number, big, at, yes, none)
		}
		return errors.Join(err, touched, tx.Insert(&throttle{Key: "gorm"}), bump(tx, "gorm"), later(tx, "last"))
	}))
	if failures(t, db, odd) != 3 || failures(t, db, "gorm") != 1 || failures(t, db, "last") != 0 {
		t.Errorf("keys %s", keys(t, db))
	}
	before := keys(t, db)
	wantKind(t, "taken", store.InTx(context.Background(), d, func(tx *store.Tx) error {
		return cmp.Or(later(tx, "half"), later(tx, "last")) // without a pipeline it runs at once
	}), fail.Exists)
	wantKind(t, "refused", store.InTx(context.Background(), d, func(tx *store.Tx) error { return errors.Join(later(tx, "half"), overdraw(tx)) }), fail.Refused)
	wantKind(t, "no such table", store.InTx(context.Background(), d, func(tx *store.Tx) error {
		return errors.Join(later(tx, "half"), tx.Later(all, nil, "DELETE FROM prm_nothing"))
	}), fail.Unavailable)
	wantKind(t, "at the commit", store.InTx(context.Background(), d, func(tx *store.Tx) error {
		return errors.Join(later(tx, "half"), tx.Later(all, nil, "UPDATE prm_partners SET contact_id = 'usr_nobody' WHERE id = 'prt_vendor'"))
	}), fail.Invalid)
	ended, cancel := context.WithCancel(context.Background())
	if err := store.InTx(ended, d, func(tx *store.Tx) error { cancel(); return later(tx, "half") }); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: answered %v", err)
	}
	p := ledger.Posting{Book: ledger.Licenses, Unit: "seat", Verb: "grant", From: ledger.HeldBy(ledger.Issuer),
		To: ledger.HeldBy("prt_a"), Quantity: 5, Partner: "prt_a", Key: "key", Hash: "h"}
	for range 2 {
		must(t, store.InTx(context.Background(), d, func(tx *store.Tx) error { _, _, err := ledger.Post(tx, p); return err }))
	}
	if db.Kind == dbtest.Postgres {
		clean(t, db, host, "after all")
	}
	if after := keys(t, db); after != before {
		t.Errorf("keys %s, want %s", after, before)
	}
	must(t, db.Exec("DELETE FROM prm_throttles").Error)
}
