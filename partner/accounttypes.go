package partner

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// AccountType is what holds for all accounts of a type. "standard", "project" and "solution" exist from the start; a host adds others as data, and
// changes any but for what it denies.
type AccountType struct {
	Code    string // a lower-case word of at most 40 characters
	Ceiling string // the plan that bounds its functions, in the host's words, at most 64 characters; see [Accounts.Entitled]

	Quota         Quota
	MaxPerPartner int64 // accounts of the type that a partner has; 0: without a limit

	// CertifiedOnly types are for certified partners: each of their users opens such accounts for himself, they alone own them, and a collaborator's
	// partner must be certified, too.
	CertifiedOnly bool
	// Denies names what accounts of the type never have: "orders", "customers", "objects", "licenses". It is fixed when the type is defined.
	Denies []string
	// OwnerCloses types have accounts that nobody closes but their owner. It is fixed like Denies.
	OwnerCloses bool
	// Leftovers says what becomes of the licences that an account has not used up when it ends: "return", they go to the partner's pool, the default, or
	// "forfeit", to the vendor.
	Leftovers string

	// Accounts that no human has used for Idle are dormant: the account's address and the partner's primary contact are told, and again LastNotice before
	// Grace is over; then the account is deleted, as after a confirmed close. Grace runs from when both were told. 0 is never, as it must be
	// for OwnerCloses types: Grace and LastNotice are not read then. See [Accounts.Touch].
	Idle, Grace, LastNotice time.Duration
}

const (
	leftoversReturn  = "return"
	leftoversForfeit = "forfeit"
)

// Quota is how many members of each kind an account has room for: -1 without a limit, 0 none. Whoever has been invited takes a place, for as long as
// he can accept; whoever is deactivated takes none.
type Quota struct{ Employees, SpecialEmployees, ExternalUsers, Collaborators, Guests int64 }

// of is the limit for a kind.
func (q Quota) of(kind MemberKind) int64 {
	switch kind {
	case Employee:
		return q.Employees
	case Special:
		return q.SpecialEmployees
	case External:
		return q.ExternalUsers
	case Collaborator:
		return q.Collaborators
	case Guest:
		return q.Guests
	}
	return 0
}

const (
	maxTypeCode = 40
	maxCeiling  = 64
)

// denials are what an account's type denies, as bits.
type denials int64

const (
	denyOrders denials = 1 << iota
	denyCustomers
	denyObjects
	denyLicenses
	denyOthersClosing // that anybody but the owner closes the account
)

// denied are the names of what Denies can name, in the order of the bits.
var denied = []string{"orders", "customers", "objects", "licenses"}

func denialsOf(names []string) (d denials) {
	for _, name := range names {
		if i := slices.Index(denied, name); i >= 0 {
			d |= 1 << i
		}
	}
	return d
}

func (d denials) list() (names []string) {
	for i, name := range denied {
		if d&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

type typeRow struct {
	Code             string
	Ceiling          string
	Employees        int64
	SpecialEmployees int64
	ExternalUsers    int64
	Collaborators    int64
	Guests           int64
	MaxPerPartner    int64
	CertifiedOnly    bool
	Denies           denials
	Leftovers        string
	Idle             store.Micros
	Grace            store.Micros
	LastNotice       store.Micros
	Version          int64
	CreatedAt        store.Micros `gorm:"autoCreateTime:false"`
}

func (typeRow) TableName() string { return typesTable }

func (r typeRow) public() AccountType {
	return AccountType{Code: r.Code, Ceiling: r.Ceiling, Quota: Quota{r.Employees, r.SpecialEmployees, r.ExternalUsers, r.Collaborators, r.Guests},
		MaxPerPartner: r.MaxPerPartner, CertifiedOnly: r.CertifiedOnly, Denies: r.Denies.list(), OwnerCloses: r.Denies&denyOthersClosing != 0,
		Leftovers: r.Leftovers, Idle: r.idle(), Grace: time.Duration(r.Grace) * time.Microsecond, LastNotice: time.Duration(r.LastNotice) * time.Microsecond}
}

func (r typeRow) idle() time.Duration { return time.Duration(r.Idle) * time.Microsecond }

func (t AccountType) check() error {
	var c checks
	c.plainWord("code", t.Code)
	if t.Ceiling != "" {
		c.word("ceiling", t.Ceiling, false, maxCeiling)
	}
	for _, kind := range memberKinds {
		if t.Quota.of(kind) < -1 {
			c.add("quota."+string(kind), "range", "must be -1 or more", nil)
		}
	}
	if t.MaxPerPartner < 0 {
		c.add("max_per_partner", "range", "must not be negative", nil)
	}
	for i, name := range t.Denies {
		if !slices.Contains(denied, name) {
			c.add(fmt.Sprintf("denies[%d]", i), "unknown_code", "must be one of "+strings.Join(denied, ", "), ErrUnknownCode)
		}
	}
	if !slices.Contains([]string{"", leftoversReturn, leftoversForfeit}, t.Leftovers) {
		c.add("leftovers", "unknown_code", "must be return or forfeit", ErrUnknownCode)
	}
	t.checkIdle(&c)
	if t.Code == typeProject && t.CertifiedOnly {
		c.add("certified_only", "format", "projects are for partners with the capability operate", nil)
	}
	return c.err()
}

// Shortest and longest times of dormancy: a sweeper looks at what waits once an hour, and every database can add the longest to the year 9999.
const (
	shortestIdle = 24 * time.Hour
	longestIdle  = 100 * 365 * 24 * time.Hour
)

func (t AccountType) checkIdle(c *checks) {
	if t.Idle == 0 {
		return
	}
	if t.OwnerCloses {
		c.add("idle", "format", "must be 0: nobody but their owner closes accounts of the type", nil)
	}
	if t.Idle < shortestIdle || t.Idle > longestIdle {
		c.add("idle", "range", "must be 0 or a day to a hundred years", nil)
	}
	if t.Grace < shortestIdle || t.Grace > longestIdle {
		c.add("grace", "range", "must be a day to a hundred years", nil)
	}
	if t.LastNotice < 0 || t.LastNotice >= t.Grace {
		c.add("last_notice", "range", "must be less than grace", nil)
	}
}

// plainWord checks a required word that is a name in code.
func (c *checks) plainWord(path, word string) {
	if c.text(path, word, true, maxTypeCode) && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		c.add(path, "format", "must be lower-case letters, digits and underscores", nil)
	}
}

// DefineType adds a type, or changes one that is there; vendor only. What it says about members holds for whoever comes from then on: nobody has to
// leave. *[ValidationError] with every failing field; [ErrImmutable] for other Denies, or another OwnerCloses, than the type has.
func (d *Accounts) DefineType(ctx context.Context, t AccountType) (err error) {
	defer wrap(&err, "define account type")
	if err := t.check(); err != nil {
		return err
	}
	return d.reg.Write(ctx, Ask{Action: "account.define_type"}, func(tx *store.Tx, s *Standing) error {
		row := typeRow{Code: t.Code, Ceiling: t.Ceiling, Employees: t.Quota.Employees, SpecialEmployees: t.Quota.SpecialEmployees,
			ExternalUsers: t.Quota.ExternalUsers, Collaborators: t.Quota.Collaborators, Guests: t.Quota.Guests, MaxPerPartner: t.MaxPerPartner,
			CertifiedOnly: t.CertifiedOnly, Denies: denialsOf(t.Denies), Leftovers: cmp.Or(t.Leftovers, leftoversReturn), Version: 1, CreatedAt: tx.Now()}
		if t.Idle > 0 {
			row.Idle, row.Grace, row.LastNotice = micros(t.Idle), micros(t.Grace), micros(t.LastNotice)
		}
		if t.OwnerCloses {
			row.Denies |= denyOthersClosing
		}
		fresh, err := tx.InsertNew(&row)
		if err != nil || fresh {
			return cmp.Or(err, s.recordType(tx, row.Code))
		}
		// Whoever opens an account or adds a member by the old type has its row, together with others, until it is there.
		was, err := typeOf(tx, t.Code, changing)
		if err != nil {
			return err
		}
		if was.Denies != row.Denies {
			return fmt.Errorf("%w: what the type denies, and who closes its accounts", ErrImmutable)
		}
		_, err = tx.Update(tx.From(decided, typesTable).Where("code = ?", t.Code), map[string]any{"ceiling": row.Ceiling, "employees": row.Employees,
			"special_employees": row.SpecialEmployees, "external_users": row.ExternalUsers, "collaborators": row.Collaborators, "guests": row.Guests,
			"max_per_partner": row.MaxPerPartner, "certified_only": row.CertifiedOnly, "leftovers": row.Leftovers, "idle": row.Idle,
			"grace": row.Grace, "last_notice": row.LastNotice, "version": was.Version + 1})
		if err == nil && (was.Idle != row.Idle || was.Grace != row.Grace || was.LastNotice != row.LastNotice) {
			err = lookAgain(tx, row.Code)
		}
		return cmp.Or(err, s.recordType(tx, row.Code))
	})
}

func micros(d time.Duration) store.Micros { return store.Micros(d.Microseconds()) }

func (s *Standing) recordType(tx *store.Tx, code string) error {
	return s.Record(tx, "account_type.defined", code)
}

// Types lists them by code; for whoever has a live session, and the vendor.
func (d *Accounts) Types(ctx context.Context) (list []AccountType, err error) {
	defer wrap(&err, "list account types")
	err = d.reg.Read(ctx, Ask{Action: "account.types"}, func(tx *store.Tx, _ *Standing) error {
		var rows []typeRow
		list = nil
		err := tx.Find(tx.From(everybodys, typesTable).Order("code"), &rows)
		for _, r := range rows {
			list = append(list, r.public())
		}
		return err
	})
	return list, err
}

// everybodys is the scope of the account types.
var everybodys = store.Everything("account types are the vendor's word to everybody")

// typeOf reads a type; what it says holds until the transaction ends.
func typeOf(tx *store.Tx, code, lock string) (row typeRow, err error) {
	err = tx.Take(tx.From(everybodys, typesTable).Where("code = ?", code), &row, lock)
	return row, err
}
