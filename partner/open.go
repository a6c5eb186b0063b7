package partner

import (
	"context"
	"errors"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// NewAccount is what Open needs: Type and Name; from the vendor Partner and OwnerEmail as well, if there is no Token.
type NewAccount struct {
	Type string // an [AccountType]'s Code, but for "project"
	Name string

	Partner    ID     // Defaults to the caller's organisation; another only below it, where the caller may work, or by the vendor.
	OwnerEmail string // of the user who is to own it. Defaults to whoever opens it, and for an organisation below to its primary contact.
	Token      Secret // that RequestOpen has sent to the owner, for a caller without a session of his

	// Key makes Open idempotent: the same key and content returns the first result. The token is not compared. Without one, a key is made; what
	// Open returns carries it.
	Key string
}

var (
	errIsProject = fail.New(fail.Invalid, "a project is opened with OpenProject and edited with EditProject")
	errNoOwner   = fail.New(fail.Refused, "the organisation has no active user who could own the account")
)

// Open opens an account of a type other than project. The owner is who opens it; the vendor, and an admin of an organisation that manages the partner,
// name him. It is for admins and the vendor. Accounts of a type that is CertifiedOnly each user of a certified partner opens, for himself
// alone; nobody opens one for him, but whoever holds a token that was mailed to him ([Accounts.RequestOpen]), whatever acts in ctx.
//
// *[ValidationError] with every failing field; [ErrNotCertified], also for an OwnerEmail that is not the caller's; *[QuotaError] past the type's
// MaxPerPartner; *[BlockedError] and [ErrPending] as [Users.Add]. With a token [ErrNotFound], [ErrTokenUsed] and [ErrTokenExpired] as [Access.Accept].
func (d *Accounts) Open(ctx context.Context, n NewAccount) (a Account, err error) {
	defer wrap(&err, "open account")
	t, err := d.checkNew(ctx, n)
	if err != nil {
		return a, err
	}
	ask := Ask{Action: "account.open", Target: string(n.Partner), Keyed: n.Key != ""}
	switch {
	case n.Token != "":
		if ctx, ask, err = d.mailed(ctx, n, ask); err != nil {
			return a, err
		}
	case t.CertifiedOnly:
		ask.Action = "account.open_own"
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		fresh, key := tx.NewID("acc"), n.Key
		id, replayed, err := once(tx, s.Of(), "account.open", &key, n.digest(), fresh, func() error {
			if err := s.Refusal(); err != nil {
				return err
			}
			return s.open(tx, fresh, n)
		})
		if err != nil {
			return err
		}
		if a, err = s.account(tx, id); err == nil {
			a.Key, a.Replayed = key, replayed
		}
		return err
	})
	if err != nil {
		return Account{Key: keyToRepeat(err, a.Key)}, err
	}
	return a, nil
}

// digest is to an account what agreementDigest is to an agreement.
func (n NewAccount) digest() string {
	c := content{}
	c.add("type", n.Type)
	c.add("name", n.Name)
	c.add("partner", string(n.Partner))
	c.add("owner", emailKey(n.OwnerEmail))
	return c.digest()
}

// checkNew checks the fields, and reads the type as it is before the call.
func (d *Accounts) checkNew(ctx context.Context, n NewAccount) (t typeRow, err error) {
	var c checks
	c.text("name", n.Name, true, maxName)
	c.email("owner_email", n.OwnerEmail, false)
	c.key("key", n.Key)
	if c.text("type", n.Type, true, maxTypeCode) {
		switch err := store.Read(ctx, d.reg.db, func(tx *store.Tx) error { t, err = typeOf(tx, n.Type, ""); return err }); {
		case errors.Is(err, store.ErrNoRow):
			c.add("type", "unknown_code", "there is no such account type", ErrUnknownCode)
		case err != nil:
			return t, err
		case n.Type == typeProject:
			c.add("type", "format", "projects are opened with OpenProject", nil)
		}
	}
	return t, c.err()
}

// open writes the row of a new account.
func (s *Standing) open(tx *store.Tx, id string, n NewAccount) error {
	t, err := typeOf(tx, n.Type, sharing)
	if err != nil {
		return err
	}
	owner := ""
	switch {
	case n.Token != "" && !t.CertifiedOnly:
		return &ValidationError{Fields: []FieldError{{Path: "type", Code: "format", Message: "is not opened with a token"}}}
	case n.Token != "":
		owner, err = s.tokenOwner(tx, n)
	case t.CertifiedOnly:
		owner, err = s.ownOpener(tx, n.OwnerEmail)
	default:
		owner, err = s.namedOwner(tx, n.OwnerEmail)
	}
	if err != nil {
		return err
	}
	if t.CertifiedOnly {
		if err := certified(tx, string(s.Of())); err != nil {
			return err
		}
	}
	if err := takeAccount(tx, s.Of(), t); err != nil {
		return err
	}
	row := accountRow{ID: id, PartnerID: string(s.Of()), Type: t.Code, OwnerID: owner, Denies: t.Denies, Name: n.Name, NameKey: nameKey(n.Name), State: "active",
		Version: 1, CreatedAt: tx.Now()}
	if err := tx.Insert(&row); err != nil {
		return err
	}
	s.Account.ID = id
	if err := watch(tx, row, t); err != nil {
		return err
	}
	return s.Record(tx, "account.opened", id)
}

// certified refuses a partner that no programme certifies now; the fact holds until the transaction ends.
func certified(tx *store.Tx, partner string) error {
	var found []string
	err := tx.Query(anybodys, &found, `SELECT id FROM prm_certifications WHERE partner_id = ? AND from_at <= ? AND ends_at > ? AND revoked_at = 0
		LIMIT 1`+tx.Lock(sharing), partner, tx.Now(), tx.Now())
	if err == nil && len(found) == 0 {
		err = ErrNotCertified
	}
	return err
}

// ownOpener is the caller, if the address is his.
func (s *Standing) ownOpener(tx *store.Tx, email string) (string, error) {
	if email == "" {
		return s.User.ID, nil
	}
	var key string
	if err := tx.Query(decided, &key, "SELECT email_key FROM prm_identities WHERE id = ?", s.Identity.ID); err != nil {
		return "", err
	}
	var c checks
	if key != emailKey(c.email("owner_email", email, true)) {
		return "", ErrNotCertified // whosever it is
	}
	return s.User.ID, nil
}

// namedOwner is who owns an account that is opened by an admin or the vendor.
func (s *Standing) namedOwner(tx *store.Tx, email string) (string, error) {
	home := s.User.ID != "" && !s.isVendor() && !s.isBelow()
	switch {
	case s.Of() == Vendor:
		return "", &ValidationError{Fields: []FieldError{{Path: "partner", Code: "required", Message: "must name a partner"}}}
	case home:
		own, err := s.ownOpener(tx, email)
		if errors.Is(err, ErrNotCertified) {
			return "", ownerFault("format", "is whoever opens it: TransferOwnership gives it to another")
		}
		return own, err
	case email == "" && s.isVendor():
		return "", ownerFault("required", "must name a user of the partner")
	case email == "":
		return s.opener(tx)
	}
	var c checks
	var found []string
	err := tx.Query(decided, &found, `SELECT u.id FROM prm_users u JOIN prm_identities i ON i.id = u.identity_id WHERE u.partner_id = ? AND i.email_key = ?
		AND NOT u.disabled AND NOT u.invited AND u.ended_at = 0 AND u.scope = '' ORDER BY u.id`+tx.Lock("SHARE OF u"), s.Of(), emailKey(c.email("owner_email", email, true)))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", ownerFault("unknown_code", "is of no active user of the partner who sees all its accounts")
	}
	return found[0], nil
}

func ownerFault(code, message string) error {
	return &ValidationError{Fields: []FieldError{{Path: "owner_email", Code: code, Message: message}}}
}

// opener is who owns what the caller opens: himself in his own organisation; in another one its primary contact.
func (s *Standing) opener(tx *store.Tx) (string, error) {
	if s.User.ID != "" && s.facts.Partner.ID == string(s.Of()) {
		return s.User.ID, nil
	}
	var found []string
	err := tx.Query(decided, &found, `SELECT u.id FROM prm_partners p JOIN prm_users u ON u.id = p.contact_id WHERE p.id = ? AND NOT u.invited AND u.ended_at = 0`+tx.Lock("SHARE OF u"), s.Of())
	if err == nil && len(found) == 0 {
		err = errNoOwner
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// RequestOpen sends the user of a certified partner who has this address a token with which he opens an account for himself in a place where he has no
// session, such as a page for registering ([NewAccount].Token). Vendor only; with Options.DeliverTokens the token is returned instead.
// [ErrNotCertified] for every other address; [ErrUnavailable] after five letters to him within an hour.
func (d *Accounts) RequestOpen(ctx context.Context, email string) (token Secret, err error) {
	defer wrap(&err, "request to open account")
	var c checks
	email = c.email("email", email, true)
	if err := c.err(); err != nil {
		return "", err
	}
	err = d.reg.Write(ctx, Ask{Action: "account.mail_open"}, func(tx *store.Tx, s *Standing) error {
		var found []struct{ ID, PartnerID string }
		err := tx.Query(decided, &found, `SELECT u.id, u.partner_id FROM prm_users u JOIN prm_identities i ON i.id = u.identity_id WHERE i.email_key = ?
			AND NOT u.disabled AND NOT u.invited AND u.ended_at = 0 ORDER BY i.email_verified DESC, u.id`, emailKey(email))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrNotCertified
		}
		id, of := UserID(found[0].ID), found[0].PartnerID
		if err := certified(tx, of); err != nil {
			return err
		}
		s.Holder.ID = of // whose activity it is
		if err := tooMany(tx, id); err != nil {
			return err
		}
		e, err := s.record(tx, "account.open_requested", string(id), nil)
		if err != nil {
			return err
		}
		token, err = s.issue(tx, opensAccount, templateOpenAccount, id, e)
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// mailed is the call of whoever holds the token: it is decided on by the organisation of whom it was sent to.
func (d *Accounts) mailed(ctx context.Context, n NewAccount, ask Ask) (context.Context, Ask, error) {
	var of []string
	err := store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		return tx.Query(deciding, &of, "SELECT partner_id FROM prm_tokens WHERE token_hash = ? AND purpose = 'open'", digest(string(n.Token)))
	})
	if err == nil && (len(of) == 0 || n.Partner != "" && string(n.Partner) != of[0]) {
		err = errNoToken
	}
	if err != nil {
		return ctx, ask, err
	}
	ask.Action, ask.Target = "account.open_mailed", of[0]
	return asSystem(ctx), ask, nil
}

// tokenOwner is whom the token was sent to; it is used up.
func (s *Standing) tokenOwner(tx *store.Tx, n NewAccount) (string, error) {
	o, err := readOffer(tx, n.Token, "UPDATE OF t")
	if err != nil {
		return "", err
	}
	var c checks
	if n.OwnerEmail != "" && emailKey(c.email("owner_email", n.OwnerEmail, true)) != o.EmailKey {
		return "", ErrNotCertified
	}
	var live int64
	if err := tx.Query(decided, &live, "SELECT count(*) FROM prm_users WHERE id = ? AND NOT disabled AND ended_at = 0 AND scope = ''", o.UserID); err != nil {
		return "", err
	}
	if live == 0 {
		return "", errNoToken
	}
	s.actor, s.User.ID, s.factRows.Partner = actor{}, o.UserID, s.Holder // whose deed it is
	_, err = tx.Exec(decided, "UPDATE prm_tokens SET state = 'used', ended_at = ? WHERE id = ?", tx.Now(), o.ID)
	return o.UserID, err
}
