package partner

import (
	"context"
	"fmt"

	"github.com/partnerkit/partnerkit/internal/store"
)

// preparedAgreement is what had to be computed outside a transaction, and the digest of the input it was computed from.
type preparedAgreement struct {
	digest       string
	mode         string
	passwordHash string
	phone        string
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
	checked, faults := r.opts.checkAgreement(a, mode)
	if err := faults.err(); err != nil {
		return a, err
	}
	p := &preparedAgreement{digest: agreementDigest(a, true), mode: mode, phone: checked.Phone}
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
	return a.Password != "" || o.Requirements != nil || o.Phones != nil && a.Phone != ""
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
	secret := ""
	if withPassword {
		secret = digest(string(a.Password))
		a.Parent = "" // needs no preparing, and may be made in the same transaction
	}
	from, until := store.At(a.ContractPeriod.From), store.At(a.ContractPeriod.Until)
	a.Password, a.Key, a.prepared, a.ContractPeriod = "", "", nil, Period{} // JSON has no form for every time that the period may have
	return contentDigest(secret, a, from, until)
}

// contentDigest names any content made of texts, numbers and flags.
func contentDigest(parts ...any) string { return digest(fmt.Sprintf("%#v", parts)) }
