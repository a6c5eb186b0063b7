package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
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
	Consumed State = "consumed"
	Expired  State = "expired"
)

// Issuer is the owner every unit comes from and goes back to: the one balance below zero of a unit. It has no lots.
const Issuer = "issuer"

// System is the actor of what time does.
const System = "system"

// MaxQuantity bounds one transfer. It stays exact in a float64, which is what JSON readers and spreadsheets make of a number.
const MaxQuantity = int64(1)<<53 - 1

// End is one side of a transfer: an owner's units in one state, whatever their lots.
type End struct {
	Owner string
	State State
}

// HeldBy is what an owner can dispose of.
func HeldBy(owner string) End { return End{owner, Held} }

// Validity is when the units of a lot count: [From, Until). A zero is an open end.
type Validity struct{ From, Until store.Micros }

// Share is what a transfer moves of one lot; lot 0 is the undated one.
type Share struct {
	Lot int64
	Validity
	Quantity int64
}

// Posting is one transfer to make.
type Posting struct {
	Book     Book
	Unit     string // sku, or ISO 4217 code
	Verb     string // what the caller calls it: "grant", "assign", …
	From, To End
	Quantity int64
	Lots     []Share  // these exactly; none: in the order of [Post]
	New      Validity // if not zero, the units become a lot of their own
	Early    bool     // units that are not valid yet go as well
	Partner  string   // whose history and key space it belongs to
	Actor    string
	Reason   string
	Key      string // required; see [ErrMismatch]
	Fresh    bool   // the key was made for this posting: nobody can have used it
	Hash     string // of the content behind Key
	Corrects int64  // the transfer that this one is the opposite of
	// Effective is the business time; zero means when recorded.
	Effective store.Micros
}

// Transfer is an immutable entry. FromAfter and ToAfter are what each side had, over all lots, right after it.
type Transfer struct {
	ID        int64
	Book      Book
	Unit      string
	Verb      string
	Quantity  int64
	From, To  End
	FromAfter int64
	ToAfter   int64
	Shares    []Share
	Partner   string
	Actor     string
	Reason    string
	Key       string
	Hash      string
	Corrects  int64
	Effective store.Micros
	Recorded  store.Micros
	Replayed  bool
}

// Errors of the engine.
var (
	ErrMismatch  = fail.New(fail.Exists, "the key was used with other content")
	ErrSeen      = fail.New(fail.Conflict, "a key that was taken for new was used before")
	ErrTooMuch   = fail.New(fail.Invalid, "the balance would pass what an int64 holds")
	ErrSeated    = fail.New(fail.Refused, "seats are in use: fewer licences need a shrink plan")
	ErrDone      = fail.New(fail.Refused, "the reservation has been posted or voided")
	ErrCorrected = fail.New(fail.Refused, "the transfer has been corrected already")
	errMalformed = fail.New(fail.Invalid, "ledger: malformed posting")
)

// Short is a refusal for want of units. Lapsed tells that there would be enough, had some not run out.
type Short struct {
	Available int64
	Lapsed    bool
}

// Error implements error.
func (s *Short) Error() string { return "not enough available" }

// Is matches the kind.
func (s *Short) Is(target error) bool { return target == fail.Refused }

// Over is a refusal because of a cap.
type Over struct{ Limit, InUse int64 }

// Error implements error.
func (o *Over) Error() string { return fmt.Sprintf("over the cap: %d of %d in use", o.InUse, o.Limit) }

// Is matches the kind.
func (o *Over) Is(target error) bool { return target == fail.Refused }

// balance is a row of prm_ledger_balances. The row of an owner's undated held units is the head of all its rows of that unit: who holds
// its lock holds them all, and it carries what is true of them together.
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
	Recorded  store.Micros // of the last transfer; of a head, of any of its rows

	Terms

	Stated store.Micros // up to when a head's history has been told to somebody, and must stay

	ValidFrom, ValidUntil store.Micros // of the lot

	dirty       bool // to be written
	wasAmount   int64
	wasRecorded store.Micros
	wasTerms    Terms
}

// Terms is what a head says about its account, beside the balance; other rows have none.
type Terms struct {
	Lots  int64        // how many dated lots have ever been held
	Seats int64        // in use
	Cap   int64        // how many units there may be; -1 is no cap
	Due   store.Micros // when the next lot or reservation runs out; 0 is never
}

// entry is a row of prm_ledger_transfers with the names of both balances; a transfer is one entry a lot.
type entry struct {
	ID                    int64
	Book                  Book
	Unit, Verb            string
	Quantity              int64
	FromOwner, ToOwner    string
	FromState, ToState    State
	FromLot, ToLot        int64
	ValidFrom, ValidUntil store.Micros
	FromTotal, ToTotal    int64
	PartnerID             string
	Actor, Reason         string
	Key, Hash             string
	Corrects              int64
	Effective, Recorded   store.Micros
	Part, Parts           int
}

// lot is the dated lot that an entry moves; 0 if none.
func (e entry) lot() int64 { return max(e.FromLot, e.ToLot) }

// selectEntries reads entries.
const selectEntries = `SELECT t.id, t.book, t.unit, t.verb, t.quantity, COALESCE(t.from_total, t.from_after) AS from_total,
	COALESCE(t.to_total, t.to_after) AS to_total, t.partner_id, t.actor, t.reason, t.key, t.hash, COALESCE(t.corrects, 0) AS corrects,
	t.effective, t.recorded, t.part, t.parts, f.owner AS from_owner, f.state AS from_state, f.lot AS from_lot, o.owner AS to_owner,
	o.state AS to_state, o.lot AS to_lot, COALESCE(l.valid_from, 0) AS valid_from, COALESCE(l.valid_until, 0) AS valid_until
	FROM prm_ledger_transfers t JOIN prm_ledger_balances f ON f.id = t.from_id JOIN prm_ledger_balances o ON o.id = t.to_id
	LEFT JOIN prm_ledger_lots l ON l.id = CASE WHEN f.lot > o.lot THEN f.lot ELSE o.lot END`

// transfers puts entries together, in the order in which the first entry of each comes.
func transfers(entries []entry) []Transfer {
	list := make([]Transfer, 0, len(entries))
	at := map[[3]string]int{}
	for _, e := range entries {
		name := [3]string{e.PartnerID, e.Verb, e.Key}
		i, known := at[name]
		if !known {
			i = len(list)
			at[name] = i
			list = append(list, Transfer{
				ID: e.ID, Book: e.Book, Unit: e.Unit, Verb: e.Verb, From: End{e.FromOwner, e.FromState}, To: End{e.ToOwner, e.ToState},
				FromAfter: e.FromTotal, ToAfter: e.ToTotal, Partner: e.PartnerID, Actor: e.Actor, Reason: e.Reason, Key: e.Key, Hash: e.Hash,
				Corrects: e.Corrects, Effective: e.Effective, Recorded: e.Recorded,
			})
		}
		t := &list[i]
		t.ID = min(t.ID, e.ID)
		t.Quantity += e.Quantity
		t.Shares = append(t.Shares, Share{e.lot(), Validity{e.ValidFrom, e.ValidUntil}, e.Quantity})
	}
	return list
}

// unbounded balances may go below zero: the issuer's, and what a contract has, but not what it holds apart.
func unbounded(book Book, e End) bool {
	return e.Owner == Issuer || book == Money && e.State == Held && strings.HasPrefix(e.Owner, "ctr_")
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
	content := make([]byte, 0, 256)
	for _, p := range parts {
		content = append(strconv.AppendInt(content, int64(len(p)), 10), ':')
		content = append(content, p...)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}
