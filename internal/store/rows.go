package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Columns is the shape of a list that goes into one statement: package-level, so that the statement's text never changes with the
// list's length, which would have the database plan it anew.
type Columns struct{ postgres, sqlite string }

// ColumnsOf declares columns, each as in a CREATE TABLE: "owner TEXT", "amount BIGINT". In a statement the list is called x.
func ColumnsOf(declared ...string) Columns {
	var arrays, values, names []string
	for i, d := range declared {
		name, kind, _ := strings.Cut(d, " ")
		names = append(names, name)
		arrays = append(arrays, "CAST(? AS "+kind+"[])")
		values = append(values, fmt.Sprintf("json_extract(value, '$[%d]') AS %s", i, name))
	}
	return Columns{
		postgres: "unnest(" + strings.Join(arrays, ", ") + ") AS x (" + strings.Join(names, ", ") + ")",
		sqlite:   "(SELECT " + strings.Join(values, ", ") + " FROM json_each(?)) AS x",
	}
}

// Rows is a list on its way into a statement: one array a column on PostgreSQL, one JSON text on SQLite.
type Rows struct {
	columns Columns
	arrays  [][]byte // PostgreSQL
	text    []byte   // SQLite
	count   int
}

// Rows begins an empty list of these columns.
func (t *Tx) Rows(c Columns) *Rows {
	r := &Rows{columns: c}
	if t.engine.postgres {
		r.arrays = make([][]byte, strings.Count(c.postgres, "?"))
	}
	return r
}

// Add appends a row: a string, an int64 or another integer, a bool or nil for each column.
func (r *Rows) Add(values ...any) {
	r.count++
	if r.arrays == nil {
		r.text = append(r.text, separator(len(r.text), '['))
		for i, v := range values {
			r.text = append(r.text, separator(i, '['))
			r.text = appendJSON(r.text, v)
		}
		r.text = append(r.text, ']')
		return
	}
	for i, v := range values {
		r.arrays[i] = append(r.arrays[i], separator(len(r.arrays[i]), '{'))
		r.arrays[i] = appendElement(r.arrays[i], v)
	}
}

// Len is how many rows there are.
func (r *Rows) Len() int { return r.count }

// SQL is the list as an item of FROM. Its parameters are Args.
func (r *Rows) SQL() string {
	if r.arrays == nil {
		return r.columns.sqlite
	}
	return r.columns.postgres
}

// Args are the parameters of SQL.
func (r *Rows) Args() []any {
	if r.arrays == nil {
		if r.count == 0 {
			return []any{"[]"}
		}
		return []any{string(append(r.text, ']'))}
	}
	args := make([]any, len(r.arrays))
	for i, a := range r.arrays {
		if args[i] = "{}"; r.count > 0 {
			args[i] = string(append(a, '}'))
		}
	}
	return args
}

// separator comes before an element: the list's opening before the first.
func separator(before int, opening byte) byte {
	if before == 0 {
		return opening
	}
	return ','
}

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case string:
		text, err := json.Marshal(v)
		if err != nil { // a string always can be
			return append(b, "null"...)
		}
		return append(b, text...)
	}
	return appendNumber(b, v)
}

// appendElement writes one element of PostgreSQL's array text (its manual, 8.15.6).
func appendElement(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "NULL"...)
	case string:
		b = append(b, '"')
		for i := range len(v) {
			if v[i] == '"' || v[i] == '\\' {
				b = append(b, '\\')
			}
			b = append(b, v[i])
		}
		return append(b, '"')
	}
	return appendNumber(b, v)
}

func appendNumber(b []byte, v any) []byte {
	switch v := v.(type) {
	case int64:
		return strconv.AppendInt(b, v, 10)
	case Micros:
		return strconv.AppendInt(b, int64(v), 10)
	case bool:
		return strconv.AppendBool(b, v)
	}
	return fmt.Appendf(b, "%d", v)
}
