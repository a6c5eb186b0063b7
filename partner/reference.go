package partner

// Reference is the host's reference data. The lists that the SDK asks for are "region" and "organisation_type". A retired code stays where
// it is, and is refused anew.
type Reference interface {
	Lookup(list, code string) (known, retired bool)
}

// standing codes are those that an agreement has already, whatever has become of them; others are looked up.
type standing struct {
	next                     Reference
	region, organisationType string
}

// Lookup implements Reference.
func (s standing) Lookup(list, code string) (known, retired bool) {
	switch {
	case list == "region" && code == s.region, list == "organisation_type" && code == s.organisationType:
		return true, false
	case s.next == nil:
		return false, false
	}
	return s.next.Lookup(list, code)
}

// lookedUp accepts codes that have been looked up before.
type lookedUp struct{}

// Lookup implements Reference.
func (lookedUp) Lookup(string, string) (known, retired bool) { return true, false }

// code checks an optional code of the host's reference data (PIL-11, PIL-25).
func (c *checks) code(path, code, list string, data Reference) {
	if code == "" || !c.text(path, code, false, maxNumber) {
		return
	}
	known, retired := false, false
	if data != nil {
		known, retired = data.Lookup(list, code)
	}
	switch {
	case !known:
		c.add(path, "unknown_code", "is not a code that the host knows", ErrUnknownCode)
	case retired:
		c.add(path, "retired_code", "is no longer given out", ErrUnknownCode)
	}
}
