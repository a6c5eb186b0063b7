package partner_test

import (
	"errors"

	"github.com/partnerkit/partnerkit/partner"
)

func asValidation(err error) (*partner.ValidationError, bool) {
	var v *partner.ValidationError
	return v, errors.As(err, &v)
}

// kindsOf names the kinds that err matches; there must be exactly one.
func kindsOf(err error) []string {
	var list []string
	for name, kind := range map[string]error{
		"invalid": partner.ErrInvalid, "not found": partner.ErrNotFound, "exists": partner.ErrExists, "forbidden": partner.ErrForbidden,
		"refused": partner.ErrRefused, "conflict": partner.ErrConflict, "unavailable": partner.ErrUnavailable,
	} {
		if errors.Is(err, kind) {
			list = append(list, name)
		}
	}
	return list
}
