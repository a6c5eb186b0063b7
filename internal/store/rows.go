package store

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Columns is the shape of a list that goes into one statement: package-level, so that the statement's text never changes with the
// list's length, which would have the database plan it anew.
type Columns struct {
	postgres, sqlite string
	kinds            []string
}

// ColumnsOf declares columns, each as in a CREATE TABLE: "owner TEXT", "amount BIGINT". In a statement the list is called x.
func ColumnsOf(declared ...string) Columns {
	var arrays, values, names, kinds []string
	for i, d := range declared {
		name, kind, _ := strings.Cut(d, " ")
		names, kinds = append(names, name), append(kinds, kind)
		arrays = append(arrays, "CAST(? AS "+kind+"[])")
		values = append(values, fmt.Sprintf("json_extract(value, '$[%d]') AS %s", i, name))
	}
	return Columns{
		postgres: "unnest(" + strings.Join(arrays, ", ") + ") AS x (" + strings.Join(names, ", ") + ")",
		sqlite:   "(SELECT " + strings.Join(values, ", ") + " FROM json_each(?)) AS x",
		kinds:    kinds,
	}
}

// Rows is a list on its way into a statement: one array a column on PostgreSQL, one JSON text on SQLite.
type Rows struct {
	columns Columns
	arrays  []*array // PostgreSQL
	text    []byte   // SQLite
	count   int
}

// Rows begins an empty list of these columns.
func (t *Tx) Rows(c Columns) *Rows {
	r := &Rows{columns: c}
	if t.engine.postgres {
		r.arrays = make([]*array, len(c.kinds))
		for i, kind := range c.kinds {
			r.arrays[i] = &array{kind: kind}
		}
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
		r.arrays[i].add(v)
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
		args[i] = a
	}
	return args
}

// array is one column of a list on PostgreSQL: for a driver that is spoken to directly the values as they are, which it sends in the server's
// own form, much cheaper to take in than text; for database/sql that text.
type array struct {
	kind  string
	texts []string
	ints  []int64
	flags []bool
	mixed []any // all values, once there is a NULL among them
}

func (a *array) add(v any) {
	switch {
	case a.mixed != nil:
		a.mixed = append(a.mixed, v)
	case v == nil:
		a.mixed = append(a.values(), nil)
	case a.kind == "TEXT":
		text, _ := v.(string)
		a.texts = append(a.texts, text)
	case a.kind == "BOOLEAN":
		flag, _ := v.(bool)
		a.flags = append(a.flags, flag)
	default:
		a.ints = append(a.ints, integer(v))
	}
}

func (a *array) values() []any {
	list := make([]any, 0, max(len(a.texts), len(a.flags), len(a.ints))+1)
	for _, v := range a.texts {
		list = append(list, v)
	}
	for _, v := range a.flags {
		list = append(list, v)
	}
	for _, v := range a.ints {
		list = append(list, v)
	}
	return list
}

// native is the array for a driver that knows arrays; one with a NULL goes as text.
func (a *array) native() any {
	switch {
	case a.mixed != nil:
		return a.literal()
	case a.kind == "TEXT":
		return a.texts
	case a.kind == "BOOLEAN":
		return a.flags
	}
	return a.ints
}

// literal is the array as text (PostgreSQL's manual, 8.15.6).
func (a *array) literal() string {
	list := a.mixed
	if list == nil {
		list = a.values()
	}
	text := []byte{'{'}
	for i, v := range list {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendElement(text, v)
	}
	return string(append(text, '}'))
}

// Value is the array for database/sql, where GORM sends it.
func (a *array) Value() (driver.Value, error) { return a.literal(), nil }

// integer is the value of any of Go's integers.
func integer(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case Micros:
		return int64(v)
	case int:
		return int64(v)
	}
	return reflect.ValueOf(v).Convert(reflect.TypeFor[int64]()).Int()
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
	case bool:
		return strconv.AppendBool(b, v)
	}
	return strconv.AppendInt(b, integer(v), 10)
}

// appendElement writes one element of an array's text.
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
	case bool:
		return strconv.AppendBool(b, v)
	}
	return strconv.AppendInt(b, integer(v), 10)
}
