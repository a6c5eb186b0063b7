package partner

import (
	"context"
	"fmt"
	"strconv"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// preparedAgreement is what had to be computed outside a transaction, and the digest of the input it was computed from.
type preparedAgreement struct {
	digest       string
	mode         string
	passwordHash string
	phone        string
	doubts       []FieldError // warnings
}

// Prepare does what Create must do outside a transaction: host callbacks and hashing. It returns the agreement to pass to Create on
// the Registry that In gives; changing it afterwards makes that call refuse. Without a password it prepares for Invite. Outside a host
// transaction nobody needs it, Create and Invite prepare by themselves; but it is also a way to check an agreement without writing it.
func (d *Partners) Prepare(ctx context.Context, a Agreement) (prepared Agreement, err error) {
	defer wrap(&err, "prepare partner")
	if store.Joined(d.reg.db) {
		return a, errInHostTx
	}
	mode := modeCreate
	if a.Password == "" {
		mode = modeInvite
	}
	return d.reg.prepareAgreement(ctx, a, mode)
}

func (r *Registry) prepareAgreement(ctx context.Context, a Agreement, mode string) (Agreement, error) {
	a.prepared = nil
	checked, faults := r.opts.checkAgreement(a, mode, Agreement{})
	if err := faults.err(); err != nil {
		return a, err
	}
	p := &preparedAgreement{digest: agreementDigest(a, true), mode: mode, phone: checked.Phone, doubts: faults.warnings}
	if mode == modeCreate {
		var err error
		if p.passwordHash, err = r.hash(ctx, a.Password); err != nil {
			return a, err
		}
	}
	a.prepared = p
	return a, nil
}

// needsPreparing tells whether adding a would run hashing or host code.
func (o Options) agreementNeedsPreparing(a Agreement) bool {
	return a.Password != "" || o.Requirements != nil || o.Phones != nil && a.Phone != "" ||
		o.Reference != nil && (a.Region != "" || a.OrganisationType != "")
}

// ready returns a with its preparation: its own if the caller prepared it, a fresh one outside a host transaction, and inside one only
// if nothing forbidden there is needed.
func (r *Registry) readyAgreement(ctx context.Context, a Agreement, mode string) (Agreement, error) {
	switch {
	case a.prepared != nil:
		if a.prepared.mode != mode || a.prepared.digest != agreementDigest(a, true) {
			return a, errUnprepared
		}
		return a, nil
	case store.Joined(r.db) && r.opts.agreementNeedsPreparing(a):
		return a, errUnprepared
	}
	return r.prepareAgreement(ctx, a, mode)
}

// agreementDigest names the content of an agreement. What is kept beside a key leaves the password out: a digest is quickly guessed
// from, which is why passwords are hashed slowly.
func agreementDigest(a Agreement, withPassword bool) string {
	c := content{}
	c.add("name", a.Name)
	c.add("login", a.Login)
	c.add("email", a.Email)
	c.add("phone", a.Phone)
	c.add("locale", a.Locale)
	if withPassword {
		c.add("password", digest(string(a.Password)))
	} else {
		c.add("parent", string(a.Parent)) // needs no preparing, and may be made in the same transaction
	}
	if a.Capabilities != nil {
		c.add("capabilities", fmt.Sprint(a.Capabilities)) // none is not the same as the default
	}
	c.flag("manages_sub_partners", a.ManagesSubPartners)
	if a.ShowPasswords {
		c.flag("show_passwords", true)
	}
	c.add("currency", a.Currency)
	c.add("more_currencies", joined(a.MoreCurrencies))
	c.number("deposit", a.Deposit)
	c.add("billing_model", a.BillingModel)
	c.number("blocking_limit", a.BlockingLimit)
	c.add("contract_number", a.ContractNumber)
	c.number("from", int64(store.At(a.ContractPeriod.From)))
	c.number("until", int64(store.At(a.ContractPeriod.Until)))
	for _, t := range a.TaxIDs {
		c.add("tax_id "+t.Scheme, t.Value)
	}
	if a.VAT != nil { // 0 is not the same as none
		c.add("vat", strconv.Itoa(*a.VAT))
	}
	c.add("region", a.Region)
	c.add("organisation_type", a.OrganisationType)
	c.add("password_policy", a.PasswordPolicy)
	c.add("note", a.Note)
	return c.digest()
}

// content is what a digest names: fields by name, those that are empty left out. A key's digest is kept for years: a field that is new
// then is empty in what was digested before it.
type content []string

func (c *content) add(name, value string) {
	if value != "" {
		*c = append(*c, name, value)
	}
}

func (c *content) number(name string, n int64) {
	if n != 0 {
		c.add(name, strconv.FormatInt(n, 10))
	}
}

func (c *content) flag(name string, on bool) {
	if on {
		c.add(name, "true")
	}
}

func (c *content) digest() string { return ledger.Digest(*c...) }
