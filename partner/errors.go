package partner

import (
	"errors"
	"fmt"
	"strings"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Kinds. Every error of the SDK matches exactly one under errors.Is; they tell a caller what to do.
var (
	ErrInvalid     = fail.Invalid     // mend the input
	ErrNotFound    = fail.NotFound    // no such thing within the caller's scope
	ErrExists      = fail.Exists      // something else holds that name, key or place
	ErrForbidden   = fail.Forbidden   // the caller may not
	ErrRefused     = fail.Refused     // state, balance or policy says no; trying again changes nothing
	ErrConflict    = fail.Conflict    // somebody was faster: read again, decide again
	ErrUnavailable = fail.Unavailable // try the same call again later
)

// Sentinels of the floor. Each also matches the kind in its comment.
var (
	ErrBadCredentials      = fail.New(fail.Forbidden, "unknown log-in name or wrong password")          // ErrForbidden
	ErrBlocked             = fail.New(fail.Forbidden, "blocked")                                        // ErrForbidden
	ErrPending             = fail.New(fail.Forbidden, "the invited partner has not accepted yet")       // ErrForbidden
	ErrSuspended           = fail.New(fail.Forbidden, "suspended by the vendor")                        // ErrForbidden
	ErrBadTransition       = fail.New(fail.Refused, "its state does not allow this")                    // ErrRefused
	ErrImmutable           = fail.New(fail.Refused, "cannot be changed")                                // ErrRefused
	ErrCurrencyLocked      = fail.New(fail.Refused, "the currency is fixed by the first money entry")   // ErrRefused
	ErrRegionPinned        = fail.New(fail.Refused, "the region was fixed when the project opened")     // ErrRefused
	ErrQuota               = fail.New(fail.Refused, "over the limit")                                   // ErrRefused
	ErrPlanStale           = fail.New(fail.Conflict, "things have changed since the plan was made")     // ErrConflict
	ErrHierarchyCycle      = fail.New(fail.Invalid, "a partner cannot stand below itself")              // ErrInvalid
	ErrHierarchyDepth      = fail.New(fail.Invalid, "the tree of partners would be too deep")           // ErrInvalid
	ErrUnknownCode         = fail.New(fail.Invalid, "unknown code")                                     // ErrInvalid
	ErrCurrencyNotAllowed  = fail.New(fail.Invalid, "the partner does not trade in this currency")      // ErrInvalid
	ErrWeakPassword        = fail.New(fail.Invalid, "the password is too weak")                         // ErrInvalid
	ErrNoRegion            = fail.New(fail.Invalid, "no region serves this country")                    // ErrInvalid
	ErrEmailInOtherPartner = fail.New(fail.Exists, "a user of another partner has this e-mail address") // ErrExists
	ErrPrimaryContact      = fail.New(fail.Refused, "is the primary contact of its partner")            // ErrRefused
	ErrTokenUsed           = fail.New(fail.Refused, "the token has been used")                          // ErrRefused
	ErrTokenExpired        = fail.New(fail.Refused, "the token has run out, or there is a newer one")   // ErrRefused
	ErrNoKeyset            = fail.New(fail.Refused, "Options.Sealer is needed to show passwords")       // ErrRefused
	ErrNoSealedPassword    = fail.New(fail.Refused, "no password is kept to be shown")                  // ErrRefused
	ErrNestedDelegation    = fail.New(fail.Forbidden, "not inside a delegated session")                 // ErrForbidden
	ErrGrantExpired        = fail.New(fail.Forbidden, "the access that was granted is over")            // ErrForbidden
	ErrIdempotencyMismatch = fail.New(fail.Exists, "the key was used with other content")               // ErrExists
	ErrNotOwner            = fail.New(fail.Forbidden, "this is for the owner of the account")           // ErrForbidden
	ErrNotCertified        = fail.New(fail.Forbidden, "the partner is not certified")                   // ErrForbidden
	ErrNoDirectLogin       = fail.New(fail.Forbidden, "a special employee never logs in")               // ErrForbidden
	ErrOwnsAccounts        = fail.New(fail.Refused, "owns accounts")                                    // ErrRefused

	// ErrForbiddenForAccountType says that accounts of this type never have what the call is about. It matches ErrForbidden.
	ErrForbiddenForAccountType = fail.New(fail.Forbidden, "not for accounts of this type")

	// ErrOutcomeUnknown says that the answer to a commit was lost: repeat the call with the same key. It matches ErrUnavailable.
	ErrOutcomeUnknown = store.ErrOutcomeUnknown
)

var (
	errNoActor      = fail.New(fail.Forbidden, "no actor in the context: use AsVendor, AsCustomer or WithSession")
	errNoSession    = fail.New(fail.Forbidden, "the session has ended")
	errNotAllowed   = fail.New(fail.Forbidden, "not allowed")
	errNotHere      = fail.New(fail.NotFound, "not found")
	errSecretStored = fail.New(fail.Invalid, "a secret is never stored as it is")
	errInHostTx     = fail.New(fail.Invalid, "not inside a host transaction")
	errUnprepared   = fail.New(fail.Invalid, "inside a host transaction pass what Prepare returned: hashing and host callbacks run before it")
	errFrozen       = fail.New(fail.Invalid, "not inside a transaction above READ COMMITTED: it cannot see what has happened since it began")
	errCallback     = fail.New(fail.Invalid, "inside a host transaction a field that a host callback reads cannot be changed")
	errChanged      = fail.New(fail.Conflict, "somebody changed it meanwhile: read it again")
	errTooManyTaken = fail.New(fail.Unavailable, "too many taken names: try again in an hour")
)

// FieldError is one field's fault. Code is one of: required, format, range, too_long, taken, unknown_code, retired_code, weak,
// checksum, currency, cycle, depth, no_region.
type FieldError struct {
	Path, Code, Message string
	Err                 error // the sentinel behind it, if there is one
}

// ValidationError holds every failing field at once; errors.Is also finds the sentinel behind any of them. It is [ErrInvalid].
type ValidationError struct{ Fields []FieldError }

// Error implements error: it names every field, and no value.
func (e *ValidationError) Error() string {
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.Path + ": " + f.Message
	}
	return "invalid: " + strings.Join(parts, "; ")
}

// Is matches ErrInvalid, and no other kind even where the sentinel behind a field has one.
func (e *ValidationError) Is(target error) bool { return target == ErrInvalid }

// Field returns the first fault of a field.
func (e *ValidationError) Field(path string) (FieldError, bool) {
	for _, f := range e.Fields {
		if f.Path == path {
			return f, true
		}
	}
	return FieldError{}, false
}

// Unwrap gives the sentinels behind the fields, but those of another kind, which a host's Requirements may have put there.
func (e *ValidationError) Unwrap() []error {
	var list []error
	for _, f := range e.Fields {
		if kind := fail.KindOf(f.Err); f.Err != nil && (kind == nil || errors.Is(kind, ErrInvalid)) {
			list = append(list, f.Err)
		}
	}
	return list
}

// BlockedError is [ErrBlocked] with the reasons: "manual", "unpaid", "closing", "dormant", "archived". At log-in it is given only
// after the right password.
type BlockedError struct{ Reasons []string }

// Error implements error.
func (e *BlockedError) Error() string { return "blocked (" + strings.Join(e.Reasons, ", ") + ")" }

// Is matches ErrBlocked and its kind.
func (e *BlockedError) Is(target error) bool { return target == ErrBlocked || target == ErrForbidden }

// QuotaError is [ErrQuota] with the limit and what counts against it.
type QuotaError struct {
	Kind         string // what is limited: "licenses", "accounts", or a [MemberKind]
	Limit, InUse int64
}

// Error implements error.
func (e *QuotaError) Error() string {
	return fmt.Sprintf("%v of %s (%d, %d in use)", ErrQuota, e.Kind, e.Limit, e.InUse)
}

// Is matches ErrQuota and its kind.
func (e *QuotaError) Is(target error) bool { return target == ErrQuota || target == ErrRefused }

// OwnsAccountsError is [ErrOwnsAccounts] with the accounts: they go to somebody else first ([Accounts.TransferOwnership]).
type OwnsAccountsError struct{ IDs []AccountID }

// Error implements error.
func (e *OwnsAccountsError) Error() string { return fmt.Sprintf("owns %d accounts", len(e.IDs)) }

// Is matches ErrOwnsAccounts and its kind.
func (e *OwnsAccountsError) Is(target error) bool {
	return target == ErrOwnsAccounts || target == ErrRefused
}

// wrap puts the room and the verb before an error, once.
func wrap(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("partner: "+format+": %w", append(args, *err)...)
	}
}

// taken tells whether err says that a unique place is occupied.
func taken(err error) bool { return errors.Is(err, store.ErrDuplicate) }
