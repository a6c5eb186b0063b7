// Package fail makes the SDK's errors: seven kinds that tell a caller what to do, and sentinels that each match one of them.
//
// Package partner publishes the kinds and the floor's sentinels; the other rooms publish their own. Nothing here is seen by a host.
package fail

import "errors"

// Kinds. Every error that leaves the SDK matches exactly one of them under [errors.Is].
var (
	Invalid     = errors.New("invalid")     // mend the input
	NotFound    = errors.New("not found")   // no such thing within the caller's scope
	Exists      = errors.New("exists")      // something else holds that name, key or place
	Forbidden   = errors.New("forbidden")   // the caller may not
	Refused     = errors.New("refused")     // state, balance or policy says no; trying again changes nothing
	Conflict    = errors.New("conflict")    // somebody was faster: read again, decide again
	Unavailable = errors.New("unavailable") // try the same call again later
)

// Kinds lists all of them, for tests and for [KindOf].
func Kinds() []error {
	return []error{Invalid, NotFound, Exists, Forbidden, Refused, Conflict, Unavailable}
}

// New makes a sentinel: it prints msg alone, and matches kind as well as itself. Wrapping a kind with %w instead would print
// the kind's word behind every message.
func New(kind error, msg string) error { return &failure{kind: kind, msg: msg} }

// Because makes an error of a kind that keeps its cause for errors.Is and errors.As; cause may be nil. Of a cause that has a kind of its
// own only the text is kept: an error has one kind.
func Because(kind error, msg string, cause error) error {
	if cause != nil && KindOf(cause) != nil {
		cause = errors.New(cause.Error())
	}
	return &failure{kind: kind, msg: msg, cause: cause}
}

type failure struct {
	kind  error
	msg   string
	cause error
}

// Error implements error.
func (f *failure) Error() string {
	if f.cause == nil {
		return f.msg
	}
	return f.msg + ": " + f.cause.Error()
}

// Is matches the kind; the sentinel itself matches by identity.
func (f *failure) Is(target error) bool { return target == f.kind }

// Unwrap gives the cause.
func (f *failure) Unwrap() error { return f.cause }

// KindOf returns the first kind that err matches, nil if it matches none.
func KindOf(err error) error {
	for _, k := range Kinds() {
		if errors.Is(err, k) {
			return k
		}
	}
	return nil
}
