package partner

import (
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"

	"github.com/bojanz/currency"
)

// Longest texts, in characters.
const (
	maxName   = 200
	maxEmail  = 254 // RFC 5321, 4.5.3.1.3
	maxLocale = 35  // RFC 5646, 4.4.1
	maxKey    = 255
	maxNumber = 64
	maxReason = 500
	maxPhone  = 64
	maxNote   = 4000

	maxCustomer = 100
)

// checks collects the faults of one input, so that all come back at once.
type checks struct {
	fields   []FieldError
	warnings []FieldError // what is doubtful, and no fault
}

func (c *checks) add(path, code, message string, err error) {
	c.fields = append(c.fields, FieldError{Path: path, Code: code, Message: message, Err: err})
}

// err is the ValidationError of what was found, nil if nothing was.
func (c *checks) err() error {
	if len(c.fields) == 0 {
		return nil
	}
	return &ValidationError{Fields: c.fields}
}

// text checks a line of text that is kept exactly as typed: what cannot come back the same from every database is refused.
func (c *checks) text(path, value string, required bool, limit int) bool {
	switch {
	case !utf8.ValidString(value):
		c.add(path, "format", "must be valid UTF-8", nil)
	case !strings.ContainsFunc(value, visible) && required:
		c.add(path, "required", "must not be empty", nil)
	case !strings.ContainsFunc(value, visible) && value != "":
		c.add(path, "format", "must not be blank", nil)
	case utf8.RuneCountInString(value) > limit:
		c.add(path, "too_long", fmt.Sprintf("must be at most %d characters", limit), nil)
	case strings.ContainsFunc(value, unprintable):
		c.add(path, "format", "must be one line without control characters", nil)
	default:
		return true
	}
	return false
}

// word checks a line that is compared as it is written: what nobody sees in it would make two of one.
func (c *checks) word(path, value string, required bool, limit int) bool {
	if !c.text(path, value, required, limit) {
		return false
	}
	if value != strings.TrimSpace(value) || strings.ContainsFunc(value, unseen) {
		c.add(path, "format", "must not begin or end with a space, nor hold invisible characters", nil)
		return false
	}
	return true
}

// prose checks an optional text of several lines.
func (c *checks) prose(path, value string, limit int) {
	switch {
	case !utf8.ValidString(value):
		c.add(path, "format", "must be valid UTF-8", nil)
	case utf8.RuneCountInString(value) > limit:
		c.add(path, "too_long", fmt.Sprintf("must be at most %d characters", limit), nil)
	case strings.ContainsFunc(value, func(r rune) bool { return r != '\n' && r != '\t' && r != '\r' && unprintable(r) }):
		c.add(path, "format", "must be text without control characters", nil)
	}
}

// visible characters are those a reader sees: spaces and joiners alone are no text.
func visible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// unprintable characters are controls, line ends and what Unicode never assigns.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef
}

// nameKey is what names are compared by: as people read them, not as they were typed.
func nameKey(name string) string {
	seen := strings.Map(func(r rune) rune {
		if unseen(r) {
			return -1
		}
		return r
	}, name)
	return strings.Join(strings.Fields(norm.NFKC.String(cases.Fold().String(norm.NFKC.String(seen)))), " ")
}

// unseen characters are those that stand in a text and that nobody sees: joiners, marks of direction, soft hyphens, selectors.
func unseen(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// email checks an address and returns it trimmed; it is compared by emailKey. Display names and comments are no part of it.
func (c *checks) email(path, value string, required bool) string {
	value = strings.TrimSpace(value)
	if value == "" {
		if required {
			c.add(path, "required", "must not be empty", nil)
		}
		return ""
	}
	if !c.text(path, value, true, maxEmail) {
		return ""
	}
	if a, err := mail.ParseAddress(value); err != nil || a.Address != value || !strings.Contains(value, "@") {
		c.add(path, "format", "must be an e-mail address", nil)
		return ""
	}
	if strings.ContainsFunc(value, unseen) || norm.NFKC.String(value) != norm.NFC.String(value) { // mail systems take it for another one
		c.add(path, "format", "must be an e-mail address in its usual characters", nil)
		return ""
	}
	return value
}

// emailKey is what addresses are compared by. Case is folded letter by letter: full folding makes one address of two, as of straße and strasse.
func emailKey(email string) string { return strings.ToLower(norm.NFC.String(email)) }

// phone normalises a number to E.164, by the host's reader if there is one.
func (c *checks) phone(path, value, country string, read func(raw, country string) (string, error)) string {
	if value == "" || !c.text(path, value, false, maxPhone) {
		return ""
	}
	if read == nil {
		read = plainE164
	}
	number, err := read(value, country)
	if err == nil {
		number, err = plainE164(number, country)
	}
	if err != nil {
		c.add(path, "format", "must be a phone number in international form, +…", nil)
		return ""
	}
	return number
}

// plainE164 accepts + and 8 to 15 digits (ITU-T E.164, 6.2.1) with the usual separators between them.
func plainE164(raw, _ string) (string, error) {
	number := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -.()", r) {
			return -1
		}
		return r
	}, raw)
	digits := strings.TrimPrefix(number, "+")
	if len(digits) == len(number) || len(digits) < 8 || len(digits) > 15 || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return "", ErrInvalid
	}
	return number, nil
}

// currency checks an ISO 4217 code.
func (c *checks) currency(path, code string) bool {
	switch {
	case code == "":
		c.add(path, "required", "must not be empty", nil)
	case !currency.IsValid(code):
		c.add(path, "unknown_code", "must be an ISO 4217 code", ErrUnknownCode)
	default:
		return true
	}
	return false
}

// locale checks a BCP 47 tag.
func (c *checks) locale(path, tag string) {
	if tag == "" || !c.text(path, tag, false, maxLocale) {
		return
	}
	if _, err := language.Parse(tag); err != nil {
		c.add(path, "unknown_code", "must be a language tag (BCP 47)", ErrUnknownCode)
	}
}

// key checks an idempotency key.
func (c *checks) key(path, key string) {
	c.text(path, key, false, maxKey)
}

// Check holds the sibling rooms' input to the floor's rules for single fields.
type Check struct{}

// Key checks an idempotency key.
func (Check) Key(path, key string) []FieldError {
	var c checks
	c.key(path, key)
	return c.fields
}

// Name checks a required name.
func (Check) Name(path, name string) []FieldError {
	var c checks
	c.text(path, name, true, maxName)
	return c.fields
}

// Same is what names are compared by: two that people read alike are one, however they are spelt in case, form, spaces and characters that
// nobody sees.
func (Check) Same(name string) string { return nameKey(name) }

// Period checks that a period ends after it begins, in years that every database can hold.
func (Check) Period(path string, p Period) []FieldError {
	var c checks
	c.period(path, p)
	return c.fields
}

// Time checks an instant that is no period's end, in the same years; the zero time is none.
func (Check) Time(path string, t time.Time) []FieldError {
	var c checks
	c.period(path, Period{From: t})
	return c.fields
}

// Reason checks a free text that explains an entry; it may be empty.
func (Check) Reason(path, reason string) []FieldError {
	var c checks
	c.text(path, reason, false, maxReason)
	return c.fields
}
