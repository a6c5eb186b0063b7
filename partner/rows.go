package partner

import (
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Tables of this room.
const (
	partnersTable       = "prm_partners"
	identitiesTable     = "prm_identities"
	usersTable          = "prm_users"
	accountsTable       = "prm_accounts"
	sessionsTable       = "prm_sessions"
	throttlesTable      = "prm_throttles"
	sourcesTable        = "prm_known_sources"
	contractsTable      = "prm_contracts"
	eventsTable         = "prm_events"
	tokensTable         = "prm_tokens"
	certificationsTable = "prm_certifications"
	delegationsTable    = "prm_delegations"
	tiersTable          = "prm_tiers"
	membersTable        = "prm_members"
	typesTable          = "prm_account_types"
	keysTable           = "prm_keys"
)

type partnerRow struct {
	ID                 string
	ParentID           *string
	Path               string
	Depth              int
	State              string
	Version            int64
	CreatedAt          store.Micros `gorm:"autoCreateTime:false"`
	Name               string
	NameKey            string
	Email              string
	Phone              string
	Locale             string
	Currency           string
	MoreCurrencies     string // codes, space-separated, sorted
	Resell             bool
	Build              bool
	Operate            bool
	ManagesSubPartners bool
	OwnBlocks          blocks
	OwnCascade         bool
	OwnInherited       int // ancestors whose block of their own users cascades
	OwnEpoch           int64
	UsersBlocks        blocks
	UsersCascade       bool
	UsersInherited     int
	UsersEpoch         int64
	ContactID          *string
	Region             string
	OrganisationType   string
	VAT                *int `gorm:"column:vat"`
	PasswordPolicy     string
	ShowPasswords      bool
	Note               string
}

func (partnerRow) TableName() string { return partnersTable }

func (r partnerRow) place() store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }

type identityRow struct {
	ID            string
	Kind          string // "human", "project"
	Login         string
	LoginKey      *string
	Email         string
	EmailKey      string
	EmailVerified bool
	PasswordHash  string // empty: no log-in by password
	Epoch         int64
	Version       int64
	CreatedAt     store.Micros `gorm:"autoCreateTime:false"`
}

func (identityRow) TableName() string { return identitiesTable }

type userRow struct {
	ID         string
	IdentityID string
	PartnerID  string
	Name       string
	Role       string
	Rights     rights
	Scope      string // see scopeText
	Phone      string
	Locale     string
	Disabled   bool
	Invited    bool // and has not accepted yet
	EndedAt    store.Micros
	Version    int64
	CreatedAt  store.Micros `gorm:"autoCreateTime:false"`
}

func (userRow) TableName() string { return usersTable }

func (r userRow) place() store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }

type accountRow struct {
	ID         string
	PartnerID  string
	Type       string
	IdentityID *string // the delegated log-in
	Name       string
	NameKey    string
	State      string
	Blocks     blocks
	Epoch      int64
	Region     string
	Email      string
	Company    string
	Country    string
	Phone      string
	Locale     string
	Customer   string
	OwnerID    string // a user of the partner
	Denies     denials
	Version    int64
	CreatedAt  store.Micros `gorm:"autoCreateTime:false"`
}

func (accountRow) TableName() string { return accountsTable }

func (r accountRow) place() store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }

type sessionRow struct {
	ID            string
	TokenHash     string
	IdentityID    string
	PartnerID     string
	UserID        *string
	AccountID     *string
	ActiveID      *string
	IdentityEpoch int64
	PartnerEpoch  int64
	AccountEpoch  int64
	CreatedAt     store.Micros `gorm:"autoCreateTime:false"`
	SeenAt        store.Micros
	EndsAt        store.Micros
	DelegationID  *string
	OpenerID      *string // the session that a delegated one was opened in
	GrantedUntil  store.Micros
	Roles         string
	MemberID      *string // in whose place it works
	MemberKind    string
	Reason        string // of who acts as another
}

func (sessionRow) TableName() string { return sessionsTable }

type throttleRow struct {
	Key       string `gorm:"primaryKey"`
	Failures  int
	NextAt    store.Micros
	UpdatedAt store.Micros `gorm:"autoUpdateTime:false"`
}

func (throttleRow) TableName() string { return throttlesTable }

type knownSourceRow struct {
	IdentityID string
	Source     string
	SeenAt     store.Micros
}

func (knownSourceRow) TableName() string { return sourcesTable }

type contractRow struct {
	ID            string
	PartnerID     string
	AccountID     *string
	Number        string
	Currency      string
	BillingModel  string
	BlockingLimit int64
	FromAt        store.Micros
	UntilAt       store.Micros
	Version       int64
	CreatedAt     store.Micros `gorm:"autoCreateTime:false"`
}

func (contractRow) TableName() string { return contractsTable }

type eventRow struct {
	ID        string
	At        store.Micros
	Kind      string
	Actor     string
	Subject   string
	PartnerID string
	AccountID *string
	Target    string
	Changed   string // field names, space-separated
}

func (eventRow) TableName() string { return eventsTable }

type profileRow struct {
	PartnerID string
	Version   int64
	Answers   string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
}

func (profileRow) TableName() string { return "prm_partner_profiles" }

type keyRow struct {
	PartnerID string
	Verb      string
	Key       string
	Hash      string
	Result    string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
}

func (keyRow) TableName() string { return keysTable }

// blocks is a set of block reasons. Each bit is set and lifted by its own cause, in one statement, so two causes never undo each
// other.
type blocks int

const (
	blockManual blocks = 1 << iota
	blockUnpaid
	blockClosing
	blockDormant
)

var blockNames = []string{"manual", "unpaid", "closing", "dormant"}

func (b blocks) reasons() []string {
	var list []string
	for i, name := range blockNames {
		if b&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

func words(list string) []string { return strings.Fields(list) }

// optional is an id for a column that may be NULL.
func optional[T ~string](id T) *string {
	if id == "" {
		return nil
	}
	s := string(id)
	return &s
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
