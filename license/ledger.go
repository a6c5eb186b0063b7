package license

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Sentinels; all match partner.ErrRefused.
var (
	ErrInsufficient       = fail.New(fail.Refused, "not enough available")
	ErrWrongContext       = fail.New(fail.Refused, "not the active holder of the session")
	ErrExpired            = fail.New(fail.Refused, "expired")
	ErrReservationDone    = ledger.ErrDone
	ErrShrinkPlanRequired = ledger.ErrSeated
)

// InsufficientError is [ErrInsufficient] with what there is. It is [ErrExpired] as well if the units that have run out would have been
// enough.
type InsufficientError struct {
	Available int64
	expired   bool
}

// Error implements error.
func (e *InsufficientError) Error() string {
	if e.expired {
		return fmt.Sprintf("%v (%d): the rest has %v", ErrInsufficient, e.Available, ErrExpired)
	}
	return fmt.Sprintf("%v (%d)", ErrInsufficient, e.Available)
}

// Is matches ErrInsufficient, ErrExpired where it is one, and their kind.
func (e *InsufficientError) Is(target error) bool {
	return target == ErrInsufficient || target == partner.ErrRefused || e.expired && target == ErrExpired
}

// MaxQuantity bounds one write: 2^53 - 1, which JSON readers keep exact.
const MaxQuantity = ledger.MaxQuantity

// Ledger is the room. It is safe for concurrent use, and callers who move licences at the same time share a commit: make one Ledger a
// Registry and keep it. One built on reg.In(tx) is for the goroutine of its transaction.
type Ledger struct {
	reg   *partner.Registry
	group store.Group[*job]
	// recent is what shared commits of this Ledger leave.
	recent ledger.Recent
	// repeats is how many more commits look up the keys of their moves.
	repeats atomic.Int64
}

// New returns the ledger on reg; built on reg.In(tx) it writes in that transaction. It does no I/O.
func New(reg *partner.Registry) *Ledger {
	l := &Ledger{reg: reg}
	l.group.One, l.group.Many = l.one, l.together
	l.group.Weight = func(j *job) int { return len(j.moves) }
	return l
}

// Step frees reservations that have run out and expires lots, a bounded round at a time; more tells that another is worth while. Both
// hold without it, by the clock: Step writes them down, for the audit. Several processes may step at once. It is called by the host
// process, in any context.
func (l *Ledger) Step(ctx context.Context) (more bool, err error) {
	defer wrap(&err, "step")
	done := false
	defer func() {
		if done {
			l.recent.ForgetAll()
		}
	}()
	err = l.reg.Write(partner.AsVendor(ctx, "step"), partner.Ask{Action: "license.step"}, func(tx *store.Tx, _ *partner.Standing) error {
		notes, rest, err := ledger.Settle(tx, ledger.Licenses, stepSize)
		more, done = rest, len(notes) > 0
		if err != nil {
			return err
		}
		return l.reg.Happened(tx, notes)
	})
	return more, err
}

// stepSize is how many accounts one Step looks after.
const stepSize = 100

// translate turns the engine's errors into the room's.
func translate(err error) error {
	var short *ledger.Short
	var over *ledger.Over
	switch {
	case errors.As(err, &short):
		return &InsufficientError{Available: short.Available, expired: short.Lapsed}
	case errors.As(err, &over):
		return &partner.QuotaError{Kind: "licenses", Limit: over.Limit, InUse: over.InUse}
	case errors.Is(err, ledger.ErrMismatch):
		return partner.ErrIdempotencyMismatch
	case errors.Is(err, ledger.ErrCorrected):
		return partner.ErrBadTransition
	case errors.Is(err, ledger.ErrTooMuch):
		return invalid("quantity", "range", err.Error())
	}
	return err
}

// invalid is a ValidationError of one field.
func invalid(path, code, message string) error {
	return &partner.ValidationError{Fields: []partner.FieldError{{Path: path, Code: code, Message: message}}}
}

// wrap puts the room and the verb before an error, once: license: assign 25 mailbox to acc_…: not enough available (12).
func wrap(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("license: "+format+": %w", append(args, *err)...)
	}
}
