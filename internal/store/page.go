package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/partnerkit/partnerkit/internal/fail"
	"gorm.io/gorm"
)

// Limits of one page.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// ErrCursor is a cursor that was not made for this list and filter.
var ErrCursor = fail.New(fail.Invalid, "the cursor belongs to another list or filter")

// Place is the position behind the last row of a page: lists run newest first, by (time, id).
type Place struct {
	At Micros
	ID string
}

// cursorVersion changes with the layout below.
const cursorVersion = 1

// Cursor writes a place as opaque text bound to list, the name and filter of the list. It is unsigned: it is a position and no
// right, for every page is scoped anew.
func Cursor(p Place, list string) string {
	b := make([]byte, 0, 17+len(p.ID))
	b = append(b, cursorVersion)
	b = append(b, listHash(list)...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.At))
	b = append(b, p.ID...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor reads what Cursor wrote for the same list; "" is the start.
func ParseCursor(s, list string) (p Place, started bool, err error) {
	if s == "" {
		return Place{}, false, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 17 || b[0] != cursorVersion || string(b[1:9]) != string(listHash(list)) || !Plain(string(b[17:])) {
		return Place{}, false, ErrCursor
	}
	return Place{Micros(binary.BigEndian.Uint64(b[9:17])), string(b[17:])}, true, nil
}

// Plain tells whether every database can hold s as text: valid UTF-8 without NUL.
func Plain(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func listHash(list string) []byte {
	sum := sha256.Sum256([]byte(list))
	return sum[:8]
}

// Limit checks the size of a page: 0 is the default.
func Limit(n int) (int, error) {
	switch {
	case n == 0:
		return DefaultLimit, nil
	case n < 0 || n > MaxLimit:
		return 0, fail.New(fail.Invalid, fmt.Sprintf("limit must be 1 to %d", MaxLimit))
	}
	return n, nil
}

// Below is After for a list by id alone, newest first as well: ids begin with the time. For tables in which a second index would cost too much.
func Below(q *gorm.DB, table string, place Place, started bool, limit int) *gorm.DB {
	if started {
		q = q.Where(table+".id < ?", place.ID)
	}
	return q.Order(table + ".id DESC").Limit(limit + 1)
}

// After narrows q, a list of table by its time column at, to what follows place, and orders it. The row value seeks in the index;
// the expanded form with OR would scan.
func After(q *gorm.DB, table, at string, place Place, started bool, limit int) *gorm.DB {
	if started {
		q = q.Where("("+table+"."+at+", "+table+".id) < (?, ?)", place.At, place.ID)
	}
	return q.Order(table + "." + at + " DESC, " + table + ".id DESC").Limit(limit + 1)
}
