package license

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Sentinels; both match partner.ErrRefused.
var (
	ErrInsufficient = fail.New(fail.Refused, "not enough available")
	ErrWrongContext = fail.New(fail.Refused, "not the active holder of the session")
)

// InsufficientError is [ErrInsufficient] with what there is.
type InsufficientError struct{ Available int64 }

// Error implements error.
func (e *InsufficientError) Error() string {
	return fmt.Sprintf("%v (%d)", ErrInsufficient, e.Available)
}

// Is matches ErrInsufficient and its kind.
func (e *InsufficientError) Is(target error) bool {
	return target == ErrInsufficient || target == partner.ErrRefused
}

// MaxQuantity bounds one write: 2^53 - 1, which JSON readers keep exact.
const MaxQuantity = ledger.MaxQuantity

// Ledger is the room. It is safe for concurrent use; one built on reg.In(tx) is for the goroutine of its transaction.
type Ledger struct{ reg *partner.Registry }

// New returns the ledger on reg; built on reg.In(tx) it writes in that transaction. It does no I/O.
func New(reg *partner.Registry) *Ledger { return &Ledger{reg} }

// Transfer is one immutable move.
type Transfer struct {
	ID                 int64
	Verb               string // "grant", "revoke", "assign", "return", "close"
	SKU                string
	From, To           partner.Holder // nil is the issuer
	Quantity           int64
	FromAfter, ToAfter int64 // what each had right after it; 0 for the issuer
	Reason, Key        string
	Actor              string // as the audit names it
	Effective          time.Time
	Recorded           time.Time
	Replayed           bool // the key was seen before: this is the first result
}

// Option refines one write.
type Option func(*options)

type options struct {
	key       string
	keyed     bool
	from      partner.Holder
	reason    string
	effective time.Time
}

// Key makes a write idempotent within its partner and verb: the same key and content returns the first result, other content is
// [partner.ErrIdempotencyMismatch]. Where the session works is part of the content of a move: repeat it from there. Without a key, one
// is made and returned in the Transfer.
func Key(k string) Option { return func(o *options) { o.key, o.keyed = k, true } }

// From asserts the source: [ErrWrongContext] if the session works elsewhere.
func From(h partner.Holder) Option { return func(o *options) { o.from = h } }

// Because stores a reason.
func Because(reason string) Option { return func(o *options) { o.reason = reason } }

// Effective dates a write back on the effective clock; vendor only, and not into the future.
func Effective(t time.Time) Option { return func(o *options) { o.effective = t } }

// write is one licence write on its way: the caller's input, checked as far as it can be without the database.
type write struct {
	options
	verb     string
	sku      string
	quantity int64
	target   string // the id the access decision is about
}

func newWrite(verb, sku string, n int64, target string, list []Option) (write, []partner.FieldError) {
	w := write{verb: verb, sku: sku, quantity: n, target: target}
	for _, o := range list {
		if o != nil {
			o(&w.options)
		}
	}
	faults := checkSKU(sku)
	if n < 1 || n > MaxQuantity {
		faults = append(faults, partner.FieldError{Path: "quantity", Code: "range", Message: fmt.Sprintf("must be 1 to %d", MaxQuantity)})
	}
	if w.keyed && w.key == "" {
		faults = append(faults, partner.FieldError{Path: "key", Code: "required", Message: "must not be empty"})
	}
	faults = append(faults, partner.CheckKey("key", w.key)...)
	return w, append(faults, partner.CheckReason("reason", w.reason)...)
}

// hash names the content behind the key: what the caller asked for, not where the session happened to work.
func (w write) hash() string {
	asserted := ""
	if w.from != nil {
		asserted = w.from.String()
	}
	return ledger.Digest(w.verb, w.sku, w.target, asserted, w.reason, fmt.Sprint(w.quantity), fmt.Sprint(store.At(w.effective)))
}

// run makes the transfer that route chooses the ends of. A repeated call gets its first answer whatever has become of the balance, the
// target or the sku since; only the actor's own right is asked again.
func (l *Ledger) run(ctx context.Context, w write, faults []partner.FieldError, ask partner.Ask,
	route func(*store.Tx, *partner.Standing) (from, to string, err error)) (t Transfer, err error) {
	if len(faults) > 0 {
		return t, &partner.ValidationError{Fields: faults}
	}
	ask.Keyed = w.keyed
	err = l.reg.Write(ctx, ask, func(tx *store.Tx, s *partner.Standing) error {
		if err := w.date(tx, s); err != nil {
			return err
		}
		from, to, refusal := route(tx, s)
		refusal = cmp.Or(s.Refusal(), refusal)
		p := ledger.Posting{
			Book: ledger.Licenses, Unit: w.sku, Verb: w.verb, From: held(from), To: held(to), Quantity: w.quantity, Partner: s.Of().String(),
			Actor: s.Actor(), Reason: w.reason, Key: w.key, Hash: w.hash(), Effective: store.At(w.effective),
		}
		if p.Key == "" {
			p.Key = tx.NewID("key")
		}
		if refusal != nil {
			first, found, err := ledger.Replay(tx, p)
			if err == nil && !found {
				err = refusal
			}
			t = public(first)
			return cmp.Or(err, w.mismatch(s, first))
		}
		posted, err := ledger.Post(tx, p)
		t = public(posted)
		if err != nil || posted.Replayed {
			return cmp.Or(err, w.mismatch(s, posted))
		}
		about := to
		if to == ledger.Issuer || w.verb == "return" {
			about = from
		}
		return s.Record(tx, "license."+w.event(), about, "quantity")
	})
	if err != nil {
		unknown := Transfer{}
		if errors.Is(err, partner.ErrOutcomeUnknown) {
			unknown.Key = t.Key // to repeat the call with, if it was made here
		}
		return unknown, translate(err)
	}
	return t, nil
}

// mismatch tells that a repeated move comes from elsewhere: where the session works is part of what it asks for. A session that can work
// nowhere, its project being closed, repeats nothing but the call it made there.
func (w write) mismatch(s *partner.Standing, first ledger.Transfer) error {
	if !first.Replayed || w.verb != "assign" && w.verb != "return" {
		return nil
	}
	if working, _, err := s.Working(); err == nil && idOf(working) != first.From.Owner {
		return ledger.ErrMismatch
	}
	return nil
}

// event is the verb in the past.
func (w write) event() string {
	switch w.verb {
	case "grant", "assign", "return":
		return w.verb + "ed"
	}
	return w.verb + "d" // revoke
}

// date checks the effective time, which only the vendor may give.
func (w *write) date(tx *store.Tx, s *partner.Standing) error {
	switch {
	case w.effective.IsZero():
		return nil
	case !s.IsVendor():
		return partner.ErrForbidden
	case len(partner.CheckTime("effective", w.effective)) > 0:
		return &partner.ValidationError{Fields: partner.CheckTime("effective", w.effective)}
	case store.At(w.effective) > tx.Now():
		return &partner.ValidationError{Fields: []partner.FieldError{{Path: "effective", Code: "range", Message: "must not lie in the future"}}}
	}
	return nil
}

func held(owner string) ledger.Row { return ledger.Row{Owner: owner, State: ledger.Held} }

// translate turns the engine's errors into the room's.
func translate(err error) error {
	var short *ledger.Short
	switch {
	case errors.As(err, &short):
		return &InsufficientError{Available: short.Available}
	case errors.Is(err, ledger.ErrMismatch):
		return partner.ErrIdempotencyMismatch
	case errors.Is(err, ledger.ErrTooMuch):
		return &partner.ValidationError{Fields: []partner.FieldError{{Path: "quantity", Code: "range", Message: err.Error()}}}
	}
	return err
}

// public hides what the issuer has: it is the vendor's stock over all partners, and a transfer is read by one of them.
func public(t ledger.Transfer) Transfer {
	if t.From.Owner == ledger.Issuer {
		t.FromAfter = 0
	}
	if t.To.Owner == ledger.Issuer {
		t.ToAfter = 0
	}
	return Transfer{
		ID: t.ID, Verb: t.Verb, SKU: t.Unit, From: partner.HolderOf(t.From.Owner), To: partner.HolderOf(t.To.Owner), Quantity: t.Quantity,
		FromAfter: t.FromAfter, ToAfter: t.ToAfter, Reason: t.Reason, Key: t.Key, Actor: t.Actor, Effective: t.Effective.Time(),
		Recorded: t.Recorded.Time(), Replayed: t.Replayed,
	}
}

// wrap puts the room and the verb before an error, once: license: assign 25 mailbox to acc_…: not enough available (12).
func wrap(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("license: "+format+": %w", append(args, *err)...)
	}
}
