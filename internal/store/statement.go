package store

import (
	"cmp"
	"database/sql"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The statements of the engines are whole texts, sent as they are. GORM would parse each anew, and install a recorder that renders it with
// its values, for a log that is off.

// Row is a row to scan.
type Row interface{ Scan(into ...any) error }

// Query runs a whole statement for an engine, whose scope must be [Everything], and reads its rows into dest as GORM does.
func (t *Tx) Query(scope Scope, dest any, query string, args ...any) error {
	if scope.kind != scopeEverything {
		return errNoScope
	}
	rows, err := t.rows(query, args)
	if err != nil {
		return classify(err)
	}
	defer func() { _ = rows.Close() }()
	if rows.Next() {
		err = t.orm().ScanRows(rows, dest)
	}
	return classify(cmp.Or(err, rows.Err()))
}

// Scan runs a whole statement for an engine, like Query, and hands each row to next, which scans it.
func (t *Tx) Scan(scope Scope, next func(Row) error, query string, args ...any) error {
	if err := t.Later(scope, next, query, args...); err != nil {
		return err
	}
	return t.Flush()
}

// Exec is Query without rows; it returns how many it touched.
func (t *Tx) Exec(scope Scope, query string, args ...any) (n int64, err error) {
	if scope.kind != scopeEverything {
		return 0, errNoScope
	}
	query, args = t.bound(query, args)
	if p, can := t.pool.(*pipelined); can {
		p.later(statement{query: query, args: args, touched: &n})
		err = t.Flush()
		return n, err
	}
	res, err := t.pool.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, classify(err)
	}
	n, err = res.RowsAffected()
	return n, classify(err)
}

// Later is Scan, or without next Exec, for a statement that nobody needs to wait for yet: it goes to the server together with the next one,
// or with Flush, and its error shows then. The connection is busy while next runs: it must not use tx. Where the driver sends one at a time, and in a host's transaction, it runs at once.
func (t *Tx) Later(scope Scope, next func(Row) error, query string, args ...any) error {
	if scope.kind != scopeEverything {
		return errNoScope
	}
	query, args = t.bound(query, args)
	if p, can := t.pool.(*pipelined); can {
		p.later(statement{query: query, args: args, next: next})
		return nil
	}
	if next == nil {
		_, err := t.pool.ExecContext(t.ctx, query, args...)
		return classify(err)
	}
	rows, err := t.pool.QueryContext(t.ctx, query, args...)
	if err != nil {
		return classify(err)
	}
	defer func() { _ = rows.Close() }()
	for err == nil && rows.Next() {
		err = next(rows)
	}
	return classify(cmp.Or(err, rows.Err()))
}

// Sure says that what has been put off fails by itself unless it does what it should: nobody has to look at its answer before the commit,
// and both go in one round trip, on the commit's own context: no statement of theirs may wait for long. It is false where that cannot be;
// then nothing has been put off.
func (t *Tx) Sure() bool {
	_, t.sure = t.pool.(*pipelined)
	return t.sure
}

// Flush waits for what Later has put off.
func (t *Tx) Flush() error {
	if p, can := t.pool.(*pipelined); can && !p.settled() {
		return classify(p.flush(t.ctx))
	}
	return nil
}

func (t *Tx) rows(query string, args []any) (*sql.Rows, error) {
	query, args = t.bound(query, args)
	return t.pool.QueryContext(t.ctx, query, args...)
}

// bound is a statement with its parameters as the driver takes them.
func (t *Tx) bound(query string, args []any) (string, []any) {
	query, args = bind(t.engine, query, args)
	_, native := t.pool.(*pipelined)
	for i, v := range args {
		switch a, is := v.(*array); {
		case is && native:
			args[i] = a.native()
		case is:
			args[i] = a.literal()
		}
	}
	return query, args
}

// bind puts a statement's parameters as the database has them: $1 for the first ? on PostgreSQL, and a list's elements in parentheses, for
// IN.
func bind(engine dialect, query string, args []any) (string, []any) {
	if !engine.postgres && !slices.ContainsFunc(args, isList) {
		return query, args
	}
	var text strings.Builder
	text.Grow(len(query) + 2*len(args) + 16)
	var flat []any
	mark := func(v any) {
		flat = append(flat, v)
		if !engine.postgres {
			text.WriteByte('?')
			return
		}
		text.WriteByte('$')
		text.WriteString(strconv.Itoa(len(flat)))
	}
	used := 0
	for rest := query; ; used++ {
		before, after, more := strings.Cut(rest, "?")
		if more && used == len(args) { // whoever is wrong about their number is told so by the database
			before, more = rest, false
		}
		text.WriteString(before)
		if rest = after; !more {
			break
		}
		if !isList(args[used]) {
			mark(args[used])
			continue
		}
		list := reflect.ValueOf(args[used])
		text.WriteByte('(')
		for i := range list.Len() {
			if i > 0 {
				text.WriteByte(',')
			}
			mark(list.Index(i).Interface())
		}
		if list.Len() == 0 {
			text.WriteString("NULL")
		}
		text.WriteByte(')')
	}
	return text.String(), append(flat, args[min(used, len(args)):]...)
}

// isList tells whether an argument stands for several values.
func isList(v any) bool {
	switch v.(type) {
	case nil, string, int64, bool, Micros, []byte, *array:
		return false
	}
	t := reflect.TypeOf(v)
	return t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8
}
