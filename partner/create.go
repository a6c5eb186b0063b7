package partner

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// maxMoney bounds one amount.
const maxMoney = ledger.MaxQuantity

// Create adds an active partner with its admin log-in, primary contact, partner-wide contract and opening deposit, or nothing. Vendor
// only. *[ValidationError] with every failing field (a taken log-in name is "taken"), [ErrHierarchyDepth], [ErrNotFound] for the
// parent, [ErrIdempotencyMismatch]. Warnings tell of other partners with the same name or tax id, and of tax ids that nobody can have.
func (d *Partners) Create(ctx context.Context, a Agreement) (p Partner, err error) {
	defer wrap(&err, "create")
	return d.reg.addPartner(ctx, a, modeCreate)
}

// Invite adds a pending partner and writes to its e-mail address; nobody can log in to it and it can open nothing until the invitee
// accepts ([Access.Accept]), within Options.InvitationLife; then it is "expired", and [Access.Reinvite] makes it pending again. Vendor only; errors
// as Create.
func (d *Partners) Invite(ctx context.Context, a Agreement) (p Partner, err error) {
	defer wrap(&err, "invite")
	return d.reg.addPartner(ctx, a, modeInvite)
}

func (r *Registry) addPartner(ctx context.Context, a Agreement, mode string) (p Partner, err error) {
	verb := "partner." + mode
	ask := Ask{Action: verb, Target: string(a.Parent), Keyed: a.Key != "", tree: addingLeaf}
	found, err := r.repeated(ctx, ask, verb, a.Key, agreementDigest(a, false), func(tx *store.Tx, s *Standing, id string) error {
		p, err = s.partner(tx, id)
		p.Key, p.Replayed = a.Key, true
		return err
	})
	if found || err != nil {
		return p, err
	}
	if a, err = r.readyAgreement(ctx, a, mode); err != nil {
		return p, r.withTaken(ctx, ask, err, a.Login, "")
	}
	var token Secret
	err = r.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		fresh, key := tx.NewID("prt"), a.Key
		token = ""
		id, replayed, err := once(tx, Vendor, verb, &key, agreementDigest(a, false), fresh, func() error {
			if err := s.Refusal(); err != nil {
				return err
			}
			var err error
			token, err = r.insertPartner(tx, s, fresh, a, mode)
			return err
		})
		if err != nil {
			return err
		}
		p, err = s.partner(tx, id)
		p.Key, p.Replayed, p.Token = key, replayed, token
		if err != nil || replayed {
			return err
		}
		p.Warnings, err = duplicates(tx, p, a.TaxIDs)
		p.Warnings = append(p.Warnings, a.prepared.doubts...)
		return err
	})
	if err != nil {
		return Partner{Agreement: Agreement{Key: keyToRepeat(err, p.Key)}}, r.slowDownIfTaken(ctx, err)
	}
	return p, nil
}

// keyToRepeat keeps a made key in the result of a call whose outcome is unknown: the caller needs it, and nothing else of a result that
// may not be.
func keyToRepeat(err error, key string) string {
	if errors.Is(err, ErrOutcomeUnknown) {
		return key
	}
	return ""
}

// insertPartner writes the rows of a new partner; token is its admin's, if the host delivers tokens.
func (r *Registry) insertPartner(tx *store.Tx, s *Standing, id string, a Agreement, mode string) (token Secret, err error) {
	if err := r.maySeal(a); err != nil {
		return "", err
	}
	if mode == modeInvite {
		if err := unproved(tx, a.Email); err != nil {
			return "", err
		}
	}
	row, err := r.newPartnerRow(tx, id, a, mode)
	if err != nil {
		return "", err
	}
	identity := identityRow{ID: tx.NewID("idn"), Kind: "human", Login: a.Login, Email: row.Email, EmailKey: emailKey(row.Email),
		PasswordHash: a.prepared.passwordHash, Version: 1, CreatedAt: tx.Now()}
	if key := loginKey(a.Login); mode != modeInvite || key != loginKey(row.Email) { // an address is the name of whoever proves it first
		identity.LoginKey = &key
	}
	user := userRow{ID: tx.NewID("usr"), IdentityID: identity.ID, PartnerID: row.ID, Name: a.Name, Role: string(Admin), Invited: mode == modeInvite,
		Version: 1, CreatedAt: tx.Now()}
	row.ContactID = &user.ID
	if err := tx.Insert(&row); err != nil {
		return "", err
	}
	if fresh, err := tx.InsertNew(&identity); err != nil {
		return "", err
	} else if !fresh {
		return "", errLoginTaken()
	}
	if err := setTaxIDs(tx, ID(row.ID), trimmed(a.TaxIDs)); err != nil {
		return "", err
	}
	if err := noteTerms(tx, ID(row.ID)); err != nil {
		return "", err
	}
	if err := tx.Insert(&user); err != nil {
		return "", err
	}
	if err := openContract(tx, s, row, a); err != nil {
		return "", err
	}
	s.Holder.ID = row.ID // the event belongs to the new partner, not to its parent
	kind := "partner.created"
	if mode == modeInvite {
		kind = "partner.invited"
	}
	event, err := s.record(tx, kind, row.ID, nil)
	if err != nil || mode != modeInvite {
		return "", err
	}
	return s.issue(tx, invitesPartner, templateWelcome, UserID(user.ID), event)
}

// errLoginTaken is the one fault that only the database can find.
func errLoginTaken() *ValidationError {
	return &ValidationError{Fields: []FieldError{{Path: "login", Code: "taken", Message: "is in use"}}}
}

func (r *Registry) newPartnerRow(tx *store.Tx, id string, a Agreement, mode string) (partnerRow, error) {
	a.Phone = a.prepared.phone
	checked, faults := r.opts.withoutHost().checkAgreement(a, mode, Agreement{})
	if err := faults.err(); err != nil {
		return partnerRow{}, err
	}
	row := partnerRow{
		ID: id, State: "active", Version: 1, CreatedAt: tx.Now(), Name: a.Name, NameKey: nameKey(a.Name), Email: checked.Email,
		Phone: checked.Phone, Locale: a.Locale, Currency: a.Currency, MoreCurrencies: joined(checked.MoreCurrencies),
		Resell: has(checked.Capabilities, Resell), Build: has(checked.Capabilities, Build), Operate: has(checked.Capabilities, Operate),
		ManagesSubPartners: a.ManagesSubPartners, Region: a.Region, OrganisationType: a.OrganisationType, VAT: a.VAT,
		PasswordPolicy: checked.PasswordPolicy, ShowPasswords: a.ShowPasswords, Note: a.Note,
	}
	if mode == modeInvite {
		row.State = "pending"
	}
	return row, r.plant(tx, &row, a.Parent)
}

// withoutHost is o without callbacks, for the check inside the transaction, whose outcome they have had their say in.
func (o Options) withoutHost() Options {
	o.Requirements = nil
	o.Phones = asRead
	o.Reference = lookedUp{}
	o.WeakPassword = func(string, Secret, []string) string { return "" }
	return o
}

// asRead takes a phone number that has been read before.
func asRead(raw, _ string) (string, error) { return raw, nil }

// openContract opens the partner-wide contract and books the opening deposit (PIL-30, PIL-06): under prepayment it is balance, else it
// is held apart.
func openContract(tx *store.Tx, s *Standing, p partnerRow, a Agreement) error {
	c := contractRow{ID: tx.NewID("ctr"), PartnerID: p.ID, Number: a.ContractNumber, Currency: p.Currency, BillingModel: a.BillingModel,
		BlockingLimit: a.BlockingLimit, FromAt: store.At(a.ContractPeriod.From), UntilAt: store.At(a.ContractPeriod.Until), Version: 1, CreatedAt: tx.Now()}
	if c.BillingModel == "" {
		c.BillingModel = postpayment
	}
	if c.FromAt == 0 {
		c.FromAt = tx.Now()
	}
	if c.Number == "" {
		c.Number = c.ID
	}
	if err := tx.Insert(&c); err != nil {
		return err
	}
	account := ledger.HeldBy(c.ID)
	if _, err := ledger.Hold(tx, ledger.Money, c.Currency, p.ID, c.ID); err != nil || a.Deposit == 0 {
		return err
	}
	if c.BillingModel != prepayment {
		account.State = ledger.Reserved
	}
	_, _, err := ledger.Post(tx, ledger.Posting{
		Book: ledger.Money, Unit: c.Currency, Verb: "deposit", From: ledger.HeldBy(ledger.Issuer), To: account,
		Quantity: a.Deposit, Partner: p.ID, Actor: s.Actor(), Reason: "opening deposit", Key: "opening/" + c.ID, Hash: c.ID,
	})
	return err
}

// duplicates warns of other partners with the same name or tax id.
func duplicates(tx *store.Tx, p Partner, given []TaxID) ([]FieldError, error) {
	names, err := sameName(tx, p)
	if err != nil {
		return nil, err
	}
	numbers, err := sameTaxIDs(tx, p.ID, given)
	return append(names, numbers...), err
}

// sameName warns when other partners are called the same; two may be (PIL-03).
func sameName(tx *store.Tx, p Partner) ([]FieldError, error) {
	var n int64
	err := tx.Query(deciding, &n, "SELECT count(*) FROM (SELECT 1 FROM prm_partners WHERE name_key = ? AND id <> ? LIMIT 1000) x", nameKey(p.Name), p.ID)
	if err != nil || n == 0 {
		return nil, err
	}
	return []FieldError{{Path: "name", Code: "taken", Message: howMany(n) + " this name"}}, nil
}

func howMany(n int64) string {
	if n == 1 {
		return "another partner has"
	}
	return strconv.FormatInt(n, 10) + " other partners have"
}

// once gives a creating write its idempotency: the first call with a key makes id, later ones with the same content get what it made.
// Without a key one is made, for the result to carry. The key is taken before anything is made, so that of two calls at the same time
// the second waits and then sees the first's result instead of running into its names.
func once(tx *store.Tx, of ID, verb string, key *string, hash, id string, create func() error) (made string, replayed bool, err error) {
	if *key == "" {
		*key = tx.NewID("key")
	}
	fresh, err := tx.InsertNew(&keyRow{PartnerID: string(of), Verb: verb, Key: *key, Hash: hash, Result: id, CreatedAt: tx.Now()})
	if err != nil {
		return "", false, err
	}
	if fresh {
		return id, false, create()
	}
	var row keyRow
	if err := tx.Take(tx.From(store.OfPartner(string(of)), keysTable).Where("verb = ? AND key = ?", verb, *key), &row, ""); err != nil {
		return "", false, err
	}
	if row.Hash != hash {
		return "", true, ErrIdempotencyMismatch
	}
	return row.Result, true, tx.Confirm()
}

// repeated decides on a creating call before the cost of its callbacks and hashing, and answers one that repeats an earlier key: its
// result stands even if a callback would fail now.
func (r *Registry) repeated(ctx context.Context, ask Ask, verb, key, hash string, load func(*store.Tx, *Standing, string) error) (found bool, err error) {
	var c checks
	if c.key("key", key); c.err() != nil {
		key = "" // its fault is told with the others
	}
	err = r.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		of := s.Of()
		if strings.HasPrefix(verb, "partner.") { // keys of partners are the vendor's
			of = Vendor
		}
		var rows []keyRow
		q := tx.From(store.OfPartner(string(of)), keysTable).Where("verb = ? AND key = ?", verb, key)
		if key == "" {
			return nil
		}
		if err := tx.Find(q, &rows); err != nil || len(rows) == 0 {
			return err
		}
		if found = true; rows[0].Hash != hash {
			return ErrIdempotencyMismatch
		}
		return load(tx, s, rows[0].Result)
	})
	if found && err == nil {
		err = store.InTx(ctx, r.db, (*store.Tx).Confirm)
	}
	return found, err
}

// slowDownIfTaken counts how often a session has learnt that a log-in name exists, which nothing else tells it.
func (r *Registry) slowDownIfTaken(ctx context.Context, err error) error {
	var v *ValidationError
	if !errors.As(err, &v) {
		return err
	}
	for _, f := range v.Fields {
		if f.Code == "taken" && (f.Path == "login" || f.Path == "email") {
			return r.countTaken(ctx, err)
		}
	}
	return err
}
