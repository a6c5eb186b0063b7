package license

import (
	"fmt"
	"strconv"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Option refines one write.
type Option func(*options)

type options struct {
	key       string
	keyed     bool // it is the caller's
	fresh     bool // it was made for this call
	from      partner.Holder
	reason    string
	effective time.Time
	valid     partner.Period
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

// Valid makes a lot of its own of granted units, which counts in that period only. It must end in the future.
func Valid(p partner.Period) Option { return func(o *options) { o.valid = p } }

// write is one licence write on its way: the caller's input, checked as far as it can be without the database.
type write struct {
	options
	verb     string
	sku      string
	quantity int64
	target   string // the id the access decision is about
	lots     []ledger.Share
	corrects int64
}

// newWrite collects a caller's input and everything wrong with it.
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
	return w, append(faults, w.check()...)
}

// check is what the options can do wrong.
func (w write) check() (faults []partner.FieldError) {
	if w.keyed && w.key == "" {
		faults = append(faults, partner.FieldError{Path: "key", Code: "required", Message: "must not be empty"})
	}
	faults = append(faults, partner.Check{}.Key("key", w.key)...)
	faults = append(faults, partner.Check{}.Reason("reason", w.reason)...)
	if w.valid == (partner.Period{}) {
		return faults
	}
	if w.verb != "grant" {
		faults = append(faults, partner.FieldError{Path: "valid", Code: "format", Message: "only a grant gives licences a validity"})
	}
	return append(faults, partner.Check{}.Period("valid", w.valid)...)
}

// hash names the content behind the key: what the caller asked for, not where the session happened to work.
func (w write) hash() string {
	asserted := ""
	if w.from != nil {
		asserted = w.from.String()
	}
	parts := []string{w.verb, w.sku, w.target, asserted, w.reason, strconv.FormatInt(w.quantity, 10), strconv.FormatInt(int64(store.At(w.effective)), 10)}
	if w.valid != (partner.Period{}) {
		parts = append(parts, fmt.Sprint(store.At(w.valid.From), " ", store.At(w.valid.Until)))
	}
	return ledger.Digest(parts...)
}

// dates checks the times of a write against now: only the vendor may date one back, and a validity must not be over.
func (w write) dates(tx *store.Tx, s *partner.Standing) error {
	switch {
	case !w.valid.Until.IsZero() && store.At(w.valid.Until) <= tx.Now():
		return invalid("valid", "range", "must end in the future")
	case w.effective.IsZero():
		return nil
	case !s.IsVendor():
		return partner.ErrForbidden
	case len(partner.Check{}.Time("effective", w.effective)) > 0:
		return &partner.ValidationError{Fields: partner.Check{}.Time("effective", w.effective)}
	case store.At(w.effective) > tx.Now():
		return invalid("effective", "range", "must not lie in the future")
	}
	return nil
}

// posting is the transfer that a write asks for, between two ends.
func (w write) posting(tx *store.Tx, s *partner.Standing, from, to ledger.End) ledger.Posting {
	p := ledger.Posting{
		Book: ledger.Licenses, Unit: w.sku, Verb: w.verb, From: from, To: to, Quantity: w.quantity, Lots: w.lots, Corrects: w.corrects,
		Partner: s.Of().String(), Actor: s.Actor(), Reason: w.reason, Key: w.key, Fresh: w.fresh, Hash: w.hash(), Effective: store.At(w.effective),
		New: ledger.Validity{From: store.At(w.valid.From), Until: store.At(w.valid.Until)}, Early: w.verb == "revoke",
	}
	if p.Key == "" { // of a call that makes none itself
		p.Key, p.Fresh = tx.NewID("key"), true
	}
	return p
}

// event names a write in the audit.
func (w write) event() string { return events[w.verb] }

var events = map[string]string{"grant": "license.granted", "revoke": "license.revoked", "assign": "license.assigned", "return": "license.returned",
	"reserve": "license.reserved", "post": "license.posted", "void": "license.voided", "consume": "license.consumed", "correct": "license.corrected"}

// about is the holder that the audit says a write was about: the one that gained, or the one that gave back.
func (w write) about(from, to ledger.End) string {
	if to.Owner == ledger.Issuer || w.verb == "return" {
		return from.Owner
	}
	return to.Owner
}
