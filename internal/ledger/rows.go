package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Book separates what must never mix.
type Book string

// Books.
const (
	Licenses Book = "license"
	Money    Book = "money"
)

// State says what an owner's units are for.
type State string

// States.
const (
	Held     State = "held"
	Reserved State = "reserved"
)

// Issuer is the owner every unit comes from and goes back to: the one balance below zero of a unit.
const Issuer = "issuer"

// MaxQuantity bounds one transfer. It stays exact in a float64, which is what JSON readers and spreadsheets make of a number.
const MaxQuantity = int64(1)<<53 - 1

// Row names a balance within a book and unit.
type Row struct {
	Owner string
	State State
	Lot   int64
}

// Posting is one transfer to make.
type Posting struct {
	Book     Book
	Unit     string // sku, or ISO 4217 code
	Verb     string // what the caller calls it: "grant", "assign", …
	From, To Row
	Quantity int64
	Partner  string // whose history and key space it belongs to
	Actor    string
	Reason   string
	Key      string // required; see [ErrMismatch]
	Hash     string // of the content behind Key
	// Effective is the business time; zero means when recorded.
	Effective store.Micros
}

// Transfer is an immutable entry. FromAfter and ToAfter are the two balances right after it.
type Transfer struct {
	ID        int64
	Book      Book
	Unit      string
	Verb      string
	Quantity  int64
	From      Row `gorm:"embedded;embeddedPrefix:from_"`
	To        Row `gorm:"embedded;embeddedPrefix:to_"`
	FromAfter int64
	ToAfter   int64
	Partner   string `gorm:"column:partner_id"`
	Actor     string
	Reason    string
	Key       string
	Hash      string
	Effective store.Micros
	Recorded  store.Micros
	Replayed  bool `gorm:"-"`
}

// Errors of the engine.
var (
	ErrMismatch = fail.New(fail.Exists, "the key was used with other content")
	ErrTooMuch  = fail.New(fail.Invalid, "the balance would pass what an int64 holds")
)

// Short is a refusal for want of units.
type Short struct{ Available int64 }

// Error implements error.
func (s *Short) Error() string { return "not enough available" }

// Is matches the kind.
func (s *Short) Is(target error) bool { return target == fail.Refused }

// balance is a row of prm_ledger_balances.
type balance struct {
	ID        int64
	Book      Book
	Owner     string
	Unit      string
	State     State
	Lot       int64
	PartnerID *string
	Amount    int64
	Bounded   bool
	Recorded  store.Micros
}

// TableName implements gorm's Tabler.
func (balance) TableName() string { return "prm_ledger_balances" }

func (b balance) row() Row { return Row{b.Owner, b.State, b.Lot} }

// transfer is a row of prm_ledger_transfers.
type transfer struct {
	ID        int64
	Book      Book
	Unit      string
	Verb      string
	Quantity  int64
	FromID    int64
	ToID      int64
	FromAfter int64
	ToAfter   int64
	PartnerID string
	Actor     string
	Reason    string
	Key       string
	Hash      string
	Effective store.Micros
	Recorded  store.Micros
}

// TableName implements gorm's Tabler.
func (transfer) TableName() string { return "prm_ledger_transfers" }

// unbounded balances may go below zero: the issuer's, and what a contract has, but not what it holds apart.
func unbounded(book Book, r Row) bool {
	return r.Owner == Issuer || book == Money && r.State == Held && strings.HasPrefix(r.Owner, "ctr_")
}

// add is checked addition.
func add(a, b int64) (int64, bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return 0, false
	}
	return a + b, true
}

// Digest names the content behind a key.
func Digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
