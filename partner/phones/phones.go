// Package phones reads phone numbers as people write them, with Google's metadata of every country's numbers:
//
//	reg, err := partner.Open(ctx, db, &partner.Options{Phones: phones.Read})
//
// It is a package of its own because that metadata adds some six megabytes to a program; a host that does without takes E.164 only.
package phones

import (
	"errors"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

var errNoNumber = errors.New("phones: not a phone number of that country")

// Read returns a number as E.164 (PIL-05). Country, an ISO 3166-1 alpha-2 code, is where a number without an international prefix is
// dialled; it may be empty. An extension is refused, since E.164 has no place for it, and so is a number that nobody can have.
func Read(raw, country string) (e164 string, err error) {
	n, err := phonenumbers.Parse(raw, strings.ToUpper(country))
	if err != nil || !phonenumbers.IsValidNumber(n) || n.GetExtension() != "" {
		return "", errNoNumber
	}
	return phonenumbers.Format(n, phonenumbers.E164), nil
}

// In is Read for a host most of whose numbers are of one country: that one is meant where none is given.
func In(country string) func(raw, other string) (e164 string, err error) {
	return func(raw, other string) (string, error) {
		if other == "" {
			other = country
		}
		return Read(raw, other)
	}
}
