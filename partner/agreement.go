package partner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Partners is the desk of agreements: the vendor's, except where a method says otherwise.
type Partners struct{ reg *Registry }

// Capability is what a partner may do at all. Taking one away stops new work only.
type Capability string

// Capabilities.
const (
	Resell  Capability = "resell"  // sell offers
	Build   Capability = "build"   // make solutions
	Operate Capability = "operate" // open projects
)

// Billing models (PIL-26).
const (
	prepayment       = "prepayment"
	postpayment      = "postpayment"
	postpaymentLight = "postpayment_light" // blocks at a debt of BlockingLimit
)

// Agreement is what the vendor fills in to add a partner. Required: Name, Login, Currency; Password for Create, Email for Invite.
type Agreement struct {
	Name   string // shown as typed; may repeat, with a warning
	Login  string // of the admin; unique over all log-ins of the installation, never changes
	Email  string // of the organisation and its primary contact
	Phone  string // kept as E.164
	Locale string // BCP 47

	Password Secret // of the admin; Create only

	TaxIDs           []TaxID // one of a scheme
	VAT              *int    // basis points, 0 to 10000; nil is exempt, which 0 is not
	Region           string  // code of Options.Reference
	OrganisationType string  // legal form, code of Options.Reference
	Note             string  // of the vendor, who alone sees it; at most 4,000 characters

	// PasswordPolicy is what new passwords of its users and projects are held to: "simple", 8 or more characters and none of the common
	// passwords, or "complex", 12 or more, none of the common ones, and 60 bits of entropy as zxcvbn counts them. Defaults to "simple".
	PasswordPolicy string
	// ShowPasswords lets its admins see the passwords that its members choose from then on (see [Users.RevealPassword]); it needs Options.Sealer,
	// else [ErrNoKeyset]. Taken away, all that was kept for it is destroyed. A vendor should know why he wants it.
	ShowPasswords bool

	Parent             ID           // makes it a sub-partner
	Capabilities       []Capability // Defaults to all three.
	ManagesSubPartners bool         // lets its admins work in the organisations below, too

	Currency       string   // main currency, ISO 4217; fixed by the first money entry
	MoreCurrencies []string // distinct, without the main one
	Deposit        int64    // opening deposit in minor units of Currency; held apart unless the model is prepayment

	BillingModel   string // "prepayment", "postpayment", or "postpayment_light", which blocks at a debt of BlockingLimit. Defaults to "postpayment".
	BlockingLimit  int64  // minor units of Currency; required above 0 by postpayment_light
	ContractNumber string // Defaults to a generated one.
	ContractPeriod Period // Defaults to now, open.

	// Key makes Create and Invite idempotent: the same key and content returns the first result. The password is not compared. Without
	// one, a key is made; what Create and Invite return carries it.
	Key string

	prepared *preparedAgreement // what Prepare computed; a pointer, so that printing shows nothing of it
}

// Partner is an agreement as it stands; an edit names its Version.
//
// A partner's admin sees his own organisation whole. Of those below he sees ID, Name, State, Created and Path, unless his own agreement has
// ManagesSubPartners; a member sees as little of his own. What stands above, nobody sees: Path begins with the organisation itself. (Of a user who manages it from above, its activity
// shows the id.)
type Partner struct {
	ID          ID
	State       string // "pending", "active", "expired", "archived", "tombstoned"
	Version     int64
	Created     time.Time
	Path        []ID     // the organisations above, root first, and itself
	Blocks      []string // why its own users are refused now
	UsersBlocks []string // why the users of its accounts are
	Contact     UserID   // primary contact
	Accounts    int64    // how many it has, without deleted ones
	Contract    string   // ctr_…, the partner-wide contract
	Balance     Money    // of that contract, without what is held apart
	Agreement            // as it stands; Password is always empty, Key too but in what Create and Invite return
	Warnings    []FieldError
	Token       Secret // of the invitation; only in what Invite returns, and only with Options.DeliverTokens
	Replayed    bool   // Create or Invite saw the key before: this is what it made then, as it stands now
}

// PartnerFilter narrows lists and exports; the zero value is everything in scope.
type PartnerFilter struct {
	// Search finds partners by the beginning of the name, as people read it; of a log-in name of one of its users or projects; of its phone number,
	// with or without +; of one of its tax ids. Organisations that the caller does not see whole are found by their name alone. At most 200 characters.
	Search          string
	Under           ID   // this partner and those below it
	IncludeArchived bool // archived and tombstoned ones too
}

// modes of adding a partner.
const (
	modeCreate = "create"
	modeInvite = "invite"
	modeEdit   = "edit"
)

// checkAgreement is the matrix of required fields (PIL-02) and every single field's rule. It returns the agreement as it will be kept. Of what
// an edit leaves as it was before, codes and check digits are not judged again.
func (o Options) checkAgreement(a Agreement, mode string, before Agreement) (Agreement, *checks) {
	c := &checks{}
	c.text("name", a.Name, true, maxName)
	a.Email = c.email("email", a.Email, mode == modeInvite)
	if mode != modeEdit {
		c.login("login", a.Login, invitedAt(a, mode))
	}
	a.Phone = c.phone("phone", a.Phone, "", o.Phones)
	c.locale("locale", a.Locale)
	switch {
	case mode == modeCreate && a.Password == "":
		c.add("password", "required", "must not be empty", nil)
	case mode == modeInvite && a.Password != "":
		c.add("password", "format", "must be empty: the invitee chooses it", nil)
	case mode == modeCreate:
		c.password("password", a.Password, passwordRules{policy: cmp.Or(a.PasswordPolicy, simplePasswords), about: []string{a.Name, a.Login, a.Email}, host: o.WeakPassword})
	}
	a.TaxIDs = c.taxIDs(a.TaxIDs, before.TaxIDs, o.TaxIDCheck)
	c.terms(&a, standing{o.Reference, before.Region, before.OrganisationType})
	a.Capabilities = c.capabilities(a.Capabilities)
	a.MoreCurrencies = c.currencies(a)
	c.money(&a)
	c.key("key", a.Key)
	if o.Requirements != nil && mode != modeEdit {
		c.fields = append(c.fields, o.Requirements(a)...)
	}
	return a, c
}

// invitedAt is the address that a log-in name may be: that of an invitation, which its acceptance proves.
func invitedAt(a Agreement, mode string) string {
	if mode == modeInvite {
		return a.Email
	}
	return ""
}

// terms checks what the agreement says of the organisation itself (PIL-09, PIL-11, PIL-23, PIL-25).
func (c *checks) terms(a *Agreement, data Reference) {
	if a.VAT != nil && (*a.VAT < 0 || *a.VAT > 10_000) {
		c.add("vat", "range", "must be 0 to 10000 basis points", nil)
	}
	c.code("region", a.Region, "region", data)
	c.code("organisation_type", a.OrganisationType, "organisation_type", data)
	c.prose("note", a.Note, maxNote)
	switch a.PasswordPolicy {
	case "":
		a.PasswordPolicy = simplePasswords
	case simplePasswords, complexPasswords:
	default:
		c.add("password_policy", "unknown_code", "must be simple or complex", ErrUnknownCode)
	}
}

func (c *checks) capabilities(list []Capability) []Capability {
	all := []Capability{Resell, Build, Operate}
	if list == nil {
		return all
	}
	kept := []Capability{} // not nil: that would read as the default, all three
	for _, known := range all {
		if slices.Contains(list, known) {
			kept = append(kept, known)
		}
	}
	for i, given := range list {
		if !slices.Contains(all, given) {
			c.add(fmt.Sprintf("capabilities[%d]", i), "unknown_code", "must be resell, build or operate", ErrUnknownCode)
		}
	}
	return kept
}

// currencies checks the main and the additional ones, a set without the main one (PIL-16, PIL-17).
func (c *checks) currencies(a Agreement) []string {
	c.currency("currency", a.Currency)
	more := slices.Sorted(slices.Values(a.MoreCurrencies))
	for i, code := range a.MoreCurrencies {
		path := fmt.Sprintf("more_currencies[%d]", i)
		switch {
		case !c.currency(path, code):
		case code == a.Currency:
			c.add(path, "currency", "is the main currency already", ErrCurrencyNotAllowed)
		case slices.Index(a.MoreCurrencies, code) < i:
			c.add(path, "currency", "stands there twice", ErrCurrencyNotAllowed)
		}
	}
	return more
}

// money checks what belongs to the partner-wide contract (PIL-06, PIL-22, PIL-26, PIL-30).
func (c *checks) money(a *Agreement) {
	if a.Deposit < 0 || a.Deposit > maxMoney {
		c.add("deposit", "range", fmt.Sprintf("must be 0 to %d minor units", maxMoney), nil)
	}
	if a.BillingModel == "" {
		a.BillingModel = postpayment
	}
	if !slices.Contains([]string{prepayment, postpayment, postpaymentLight}, a.BillingModel) {
		c.add("billing_model", "unknown_code", "must be prepayment, postpayment or postpayment_light", ErrUnknownCode)
	}
	switch {
	case a.BlockingLimit < 0 || a.BlockingLimit > maxMoney:
		c.add("blocking_limit", "range", fmt.Sprintf("must be 0 to %d minor units", maxMoney), nil)
	case a.BillingModel == postpaymentLight && a.BlockingLimit == 0:
		c.add("blocking_limit", "required", "must be above 0 with postpayment_light", nil)
	}
	c.text("contract_number", a.ContractNumber, false, maxNumber)
	c.period("contract_period", a.ContractPeriod)
}

// period checks that it does not end before it begins, and lies in the years that every database and JSON reader can hold.
func (c *checks) period(path string, p Period) {
	for _, t := range []time.Time{p.From, p.Until} {
		if y := t.UTC().Year(); !t.IsZero() && (t.UnixMicro() <= 0 || y < 1970 || y > 9999) {
			c.add(path, "range", "must lie after the beginning of 1970, and before the year 10000", nil)
			return
		}
	}
	if !p.Until.IsZero() && !p.Until.After(p.From) {
		c.add(path, "range", "must end after it begins", nil)
	}
}

func joined(codes []string) string { return strings.Join(codes, " ") }

func has(list []Capability, c Capability) bool { return slices.Contains(list, c) }
