package partner

import (
	"database/sql/driver"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// ID names a partner organisation: prt_…
type ID string

// AccountID names an account or project: acc_…
type AccountID string

// UserID names a user: usr_…
type UserID string

// MemberID names a member of an account: mem_…
type MemberID string

// Vendor is the organisation that runs the platform, one per installation. It exists from the first migration, holds no licences
// and cannot be blocked.
const Vendor ID = "prt_vendor"

// String returns the id as text.
func (i ID) String() string { return string(i) }

// String returns the id as text.
func (i AccountID) String() string { return string(i) }

// String returns the id as text.
func (i UserID) String() string { return string(i) }

// String returns the id as text.
func (i MemberID) String() string { return string(i) }

func (ID) holder()        {}
func (AccountID) holder() {}

// Holder is what can hold licences or money: a partner's pool (an [ID]) or an account ([AccountID]).
type Holder interface {
	String() string
	holder()
}

// HolderOf reads a holder's id back from text, as a host keeps it in its own tables; nil if it is none.
func HolderOf(id string) Holder {
	switch {
	case strings.HasPrefix(id, "prt_"):
		return ID(id)
	case strings.HasPrefix(id, "acc_"):
		return AccountID(id)
	}
	return nil
}

// Secret is text that prints (with every verb but %p), logs and marshals as [redacted], and that the database refuses to store. An untyped
// constant converts by itself. Never keep one in an unexported field: fmt and slog print those raw.
type Secret string

const redacted = "[redacted]"

// Format implements fmt.Formatter for every verb.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText implements encoding.TextMarshaler, which JSON, XML and slog use.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// bare prints a struct that holds a Secret, always by %v: for a verb that does not fit, fmt passes over the methods of what is inside. It prints what
// is exported, field by field: one that is embedded would lend its own Format to the whole.
func bare(s fmt.State, v any) {
	of := reflect.ValueOf(v)
	format, begin, between, named := "%v", "{", " ", false
	switch {
	case s.Flag('#'):
		format, begin, between, named = "%#v", of.Type().String()+"{", ", ", true
	case s.Flag('+'):
		format, named = "%+v", true
	}
	_, _ = io.WriteString(s, begin)
	first := true
	for i := range of.NumField() {
		f := of.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if !first {
			_, _ = io.WriteString(s, between)
		}
		if first = false; named {
			_, _ = io.WriteString(s, f.Name+":")
		}
		_, _ = fmt.Fprintf(s, format, of.Field(i).Interface())
	}
	_, _ = io.WriteString(s, "}")
}

// Format implements fmt.Formatter for every verb, so that none shows the Password.
func (a Agreement) Format(s fmt.State, _ rune) {
	bare(s, a)
}

// Format implements fmt.Formatter for every verb.
func (p Partner) Format(s fmt.State, _ rune) {
	bare(s, p)
}

// Format implements fmt.Formatter for every verb, so that none shows the Password.
func (p NewProject) Format(s fmt.State, _ rune) {
	bare(s, p)
}

// Format implements fmt.Formatter for every verb, so that none shows the Password.
func (u NewUser) Format(s fmt.State, _ rune) {
	bare(s, u)
}

// Format implements fmt.Formatter for every verb, so that none shows the Token.
func (n NewAccount) Format(s fmt.State, _ rune) {
	bare(s, n)
}

// Format implements fmt.Formatter for every verb, so that none shows the Token.
func (m MemberInfo) Format(s fmt.State, _ rune) {
	bare(s, m)
}

// Format implements fmt.Formatter for every verb.
func (u User) Format(s fmt.State, _ rune) {
	bare(s, u)
}

// Value implements driver.Valuer and refuses.
func (Secret) Value() (driver.Value, error) { return nil, errSecretStored }

// Money is an amount in minor units of an ISO 4217 currency.
type Money struct {
	Minor    int64
	Currency string
}

// Period is a half-open span of time, [From, Until); a zero Until is open.
type Period struct{ From, Until time.Time }
