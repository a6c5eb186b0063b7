package store_test

import (
	"errors"
	"math"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

var anyColumns = store.ColumnsOf("i INTEGER", "s TEXT", "n BIGINT", "m BIGINT", "b BOOLEAN", "z TEXT")

// anyRow is one row of each kind of column.
type anyRow struct {
	I    int
	S    string
	N    int64
	M    store.Micros
	B    bool
	Z    *string
	Same bool // as a parameter of its own
}

// thereAndBack sends rows through a statement.
func thereAndBack(d *store.DB, t testing.TB, rows []anyRow) (found []anyRow, err error) {
	err = store.InTx(t.Context(), d, func(tx *store.Tx) error {
		list := tx.Rows(anyColumns)
		for i, r := range rows {
			var z any
			if r.Z != nil {
				z = *r.Z
			}
			list.Add(i, r.S, r.N, r.M, r.B, z)
		}
		if list.Len() != len(rows) {
			t.Errorf("%d rows, want %d", list.Len(), len(rows))
		}
		return tx.Query(all, &found, "SELECT x.i, x.s, x.n, x.m, x.b, x.z, x.s = CAST(? AS TEXT) AS same FROM "+list.SQL()+" ORDER BY x.i",
			append([]any{rows[0].S}, list.Args()...)...)
	})
	return found, err
}

// FuzzRows: what goes into a statement as a list is there what it was.
func FuzzRows(f *testing.F) {
	lite := open(f, dbtest.New(f, dbtest.SQLite).DB, store.Config{})
	postgres := open(f, dbtest.New(f, dbtest.Postgres).DB, store.Config{})
	for _, s := range []string{"", " ", "NULL", "null", `"`, `\`, `\\"`, "{}", "{a,b}", ",", "'", "''; --", "$1", "?", "\n\t\r", "żółć", "日本", "😀", "\u2028", "<&>",
		"\x7f", "\u0080", "\ufffd", "true", "1", "1e3", "-0", "0x10", "\x00", "a\x00b", "\xff", "\xed\xa0\x80", `\u0000`, "{\"a\":1}", "[1]"} {
		for _, n := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1<<53 + 1} {
			f.Add(s, "next", n, n == 1, n == 0)
		}
	}
	f.Fuzz(func(t *testing.T, s, other string, n int64, b, null bool) {
		rows := []anyRow{{S: s, N: n, M: store.Micros(n), B: b, Z: &other}, {S: other, N: -n, M: store.Micros(n - 1), B: !b, Z: &s}, {S: s, N: n, M: 0, B: b}}
		if null {
			rows[0].Z = nil
		}
		for kind, d := range map[string]*store.DB{"sqlite": lite, "postgres": postgres} {
			found, err := thereAndBack(d, t, rows)
			if !store.Plain(s) || !store.Plain(other) { // no caller sends it; but what the database cannot hold, it must not hold otherwise
				if err == nil && kind == "postgres" {
					t.Errorf("%s took %q, %q", kind, s, other)
				}
				if err != nil && !errors.Is(err, fail.Invalid) {
					t.Errorf("%s: %q, %q: %v", kind, s, other, err)
				}
				continue
			}
			if err != nil || len(found) != len(rows) {
				t.Fatalf("%s: %d rows, %v", kind, len(found), err)
			}
			for i, r := range rows {
				got := found[i]
				if got.I != i || got.S != r.S || got.N != r.N || got.M != r.M || got.B != r.B || (got.Z == nil) != (r.Z == nil) || r.Z != nil && *got.Z != *r.Z {
					t.Errorf("%s: %+v came back as %+v", kind, r, got)
				}
				if got.Same != (r.S == rows[0].S) {
					t.Errorf("%s: %q = %q is %v", kind, r.S, rows[0].S, got.Same)
				}
			}
		}
	})
}

func TestRows_EmptyAndLong(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		d := open(t, db.DB, store.Config{})
		for _, n := range []int{0, 1, 10_000} {
			var sum struct{ Count, Total int64 }
			must(t, store.InTx(t.Context(), d, func(tx *store.Tx) error {
				list := tx.Rows(anyColumns)
				for i := range n {
					list.Add(i, "x", int64(i), store.Micros(i), true, nil)
				}
				return tx.Query(all, &sum, "SELECT count(*) AS count, COALESCE(CAST(SUM(x.n) AS BIGINT), 0) AS total FROM "+list.SQL(), list.Args()...)
			}))
			if want := int64(n) * int64(n-1) / 2; sum.Count != int64(n) || sum.Total != max(want, 0) {
				t.Errorf("%d rows came as %+v", n, sum)
			}
		}
	})
}
