package partner

import (
	"cmp"
	"context"
	"slices"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Edit changes what change sets. The vendor may change all but Login, Password, Parent ([Partners.MoveUnder]), Deposit and Key, which
// are [ErrImmutable]; a partner's admin may change Name, Email, Phone and Locale of his own, and all but Email of an organisation that his
// manages ([ErrForbidden] otherwise). version is that
// of the Partner the caller looked at: [ErrConflict] if somebody was faster. change runs once, before the transaction.
// [ErrCurrencyLocked] for the main currency after the first money entry.
func (d *Partners) Edit(ctx context.Context, id ID, version int64, change func(*Agreement)) (p Partner, err error) {
	defer wrap(&err, "edit %s", id)
	ask := Ask{Action: "partner.edit", Target: string(id), Changes: true}
	vendor, home := false, false
	err = d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		vendor, home = s.IsVendor(), s.Of() == s.Home()
		p, err = s.partner(tx, string(id))
		return err
	})
	if err != nil {
		return p, err
	}
	if p.Version != version {
		return p, errChanged
	}
	before, after := p.Agreement, p.Agreement
	after.Capabilities = append([]Capability{}, before.Capabilities...)
	after.MoreCurrencies = slices.Clone(before.MoreCurrencies)
	after.TaxIDs, after.VAT = slices.Clone(before.TaxIDs), cloned(before.VAT)
	change(&after)
	kept := after
	kept.Capabilities = (&checks{}).capabilities(after.Capabilities) // nil is all three, and the order is ours
	kept.TaxIDs = (&checks{}).taxIDs(after.TaxIDs, before.TaxIDs, taxIDsOff)
	kept.PasswordPolicy = cmp.Or(after.PasswordPolicy, simplePasswords)
	changed, err := editable(before, kept, vendor, home)
	if err != nil || len(changed) == 0 {
		return p, err
	}
	if after.ShowPasswords && !before.ShowPasswords {
		if err := d.reg.maySeal(after); err != nil {
			return p, err
		}
	}
	o := d.reg.opts
	if after.Phone == before.Phone {
		o.Phones = asRead
	}
	coded := after.Region != before.Region || after.OrganisationType != before.OrganisationType
	if store.Joined(d.reg.db) && (o.Phones != nil && after.Phone != before.Phone || o.Reference != nil && coded) {
		return p, errCallback
	}
	checked, faults := o.checkAgreement(after, modeEdit, before)
	waiting := p.State == "pending" || p.State == "expired"
	if !waiting && loginKey(before.Login) == loginKey(before.Email) && emailKey(after.Email) != emailKey(before.Email) {
		faults.add("email", "format", "cannot change while it is the admin's log-in name", nil)
	}
	if waiting && checked.Email == "" {
		faults.add("email", "required", "must not be empty while an invitation is out", nil)
	}
	if err := faults.err(); err != nil {
		return p, err
	}
	if emailKey(checked.Email) != emailKey(before.Email) {
		ask.address = emailKey(checked.Email)
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if err := s.edit(tx, id, version, before, checked, changed); err != nil {
			return err
		}
		if p, err = s.partner(tx, string(id)); err != nil {
			return err
		}
		p.Warnings, err = s.editWarnings(tx, p, after, changed, faults.warnings)
		return err
	})
	if err != nil {
		return Partner{}, d.reg.slowDownIfTaken(ctx, err)
	}
	return p, nil
}

// editable names the fields that differ, and refuses those that the editor may not change.
func editable(before, after Agreement, vendor, home bool) (changed []string, err error) {
	fixed := []bool{after.Login != before.Login, after.Password != "", after.Parent != before.Parent, after.Deposit != before.Deposit, after.Key != ""}
	if slices.Contains(fixed, true) {
		return nil, ErrImmutable
	}
	note := func(name string, differs, anybody bool) {
		if !differs {
			return
		}
		changed = append(changed, name)
		if !vendor && !anybody {
			err = errNotAllowed
		}
	}
	note("name", after.Name != before.Name, true)
	note("email", after.Email != before.Email, home) // not from above: the deletion of projects is confirmed from there
	note("tax_ids", !slices.Equal(after.TaxIDs, before.TaxIDs), false)
	note("vat", (after.VAT == nil) != (before.VAT == nil) || after.VAT != nil && *after.VAT != *before.VAT, false)
	note("region", after.Region != before.Region, false)
	note("organisation_type", after.OrganisationType != before.OrganisationType, false)
	note("password_policy", after.PasswordPolicy != before.PasswordPolicy, false)
	note("show_passwords", after.ShowPasswords != before.ShowPasswords, false)
	note("note", after.Note != before.Note, false)
	note("phone", after.Phone != before.Phone, true)
	note("locale", after.Locale != before.Locale, true)
	note("capabilities", !slices.Equal(after.Capabilities, before.Capabilities), false)
	note("manages_sub_partners", after.ManagesSubPartners != before.ManagesSubPartners, false)
	note("currency", after.Currency != before.Currency, false)
	note("more_currencies", !slices.Equal(after.MoreCurrencies, before.MoreCurrencies), false)
	note("billing_model", after.BillingModel != before.BillingModel, false)
	note("blocking_limit", after.BlockingLimit != before.BlockingLimit, false)
	note("contract_number", after.ContractNumber != before.ContractNumber, false)
	note("contract_period", !samePeriod(after.ContractPeriod, before.ContractPeriod), false)
	return changed, err
}

// editWarnings are those of what an edit has changed. Only the vendor learns of others.
func (s *Standing) editWarnings(tx *store.Tx, p Partner, a Agreement, changed []string, doubts []FieldError) (list []FieldError, err error) {
	if s.IsVendor() && slices.Contains(changed, "name") {
		if list, err = sameName(tx, p); err != nil {
			return nil, err
		}
	}
	if s.IsVendor() && slices.Contains(changed, "tax_ids") {
		same, err := sameTaxIDs(tx, p.ID, a.TaxIDs)
		if err != nil {
			return nil, err
		}
		list = append(list, same...)
	}
	return append(list, doubts...), nil
}

func samePeriod(a, b Period) bool { return a.From.Equal(b.From) && a.Until.Equal(b.Until) }

func (s *Standing) edit(tx *store.Tx, id ID, version int64, before, a Agreement, changed []string) error {
	set := map[string]any{
		"name": a.Name, "name_key": nameKey(a.Name), "email": a.Email, "phone": a.Phone, "locale": a.Locale, "currency": a.Currency,
		"more_currencies": joined(a.MoreCurrencies), "resell": has(a.Capabilities, Resell), "build": has(a.Capabilities, Build),
		"operate": has(a.Capabilities, Operate), "manages_sub_partners": a.ManagesSubPartners, "region": a.Region, "organisation_type": a.OrganisationType,
		"vat": a.VAT, "password_policy": a.PasswordPolicy, "show_passwords": a.ShowPasswords, "version": version + 1,
	}
	if s.IsVendor() { // nobody else has seen it
		set["note"] = a.Note
	}
	n, err := tx.Update(tx.From(s.scope(false), partnersTable).Where("id = ? AND version = ?", id, version), set)
	if err != nil {
		return err
	}
	if n != 1 {
		return errChanged
	}
	if !a.ShowPasswords && before.ShowPasswords {
		if _, err := tx.Exec(decided, "DELETE FROM prm_shown_passwords WHERE partner_id = ?", id); err != nil {
			return err
		}
	}
	if slices.Contains(changed, "tax_ids") {
		if err := setTaxIDs(tx, id, a.TaxIDs); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(changed, func(f string) bool { return f == "vat" || f == "currency" || f == "more_currencies" }) {
		if err := noteTerms(tx, id); err != nil {
			return err
		}
	}
	if err := s.editContract(tx, id, before, a); err != nil {
		return err
	}
	if before.Email != a.Email {
		if err := s.followEmail(tx, id, before.Email, a.Email); err != nil {
			return err
		}
	}
	return s.Record(tx, "partner.edited", string(id), changed...)
}

// followEmail gives the primary contact the agreement's new address, unless it has one of its own. Nobody has proved the new one.
func (s *Standing) followEmail(tx *store.Tx, id ID, was, is string) error {
	var contact []UserID
	err := tx.Query(decided, &contact, `SELECT u.id FROM prm_partners p JOIN prm_users u ON u.id = p.contact_id JOIN prm_identities i ON i.id = u.identity_id
		WHERE p.id = ? AND i.email_key = ?`, id, emailKey(was))
	if err != nil || len(contact) == 0 {
		return err
	}
	if emailKey(was) != emailKey(is) && !s.IsVendor() { // who may give what agreements say
		if tx.Frozen() {
			return errFrozen
		}
		var c checks
		if err := s.mayAskForNames(tx); err != nil {
			return err
		}
		if err := s.noteAddress(tx, &c, contact[0], is, false); err != nil {
			return err
		}
		if err := c.err(); err != nil {
			return err
		}
	}
	if err := s.followLogin(tx, contact[0], was, is); err != nil {
		return err
	}
	_, err = tx.Exec(decided, `UPDATE prm_identities SET email = ?, email_key = ?, email_verified = email_verified AND email_key = ?, version = version + 1
		WHERE id = (SELECT identity_id FROM prm_users WHERE id = ?)`, is, emailKey(is), emailKey(is), contact[0])
	if err != nil {
		return err
	}
	_, err = tx.Exec(decided, "UPDATE prm_users SET version = version + 1 WHERE id = ?", contact[0])
	return err
}

// editContract keeps the partner-wide contract in the main currency in step with the agreement.
func (s *Standing) editContract(tx *store.Tx, id ID, before, a Agreement) error {
	if before.Currency == a.Currency && before.BillingModel == a.BillingModel && before.BlockingLimit == a.BlockingLimit &&
		before.ContractNumber == a.ContractNumber && samePeriod(before.ContractPeriod, a.ContractPeriod) {
		return nil
	}
	var c contractRow
	// Whoever posts money shares this row first: after the lock, no entry can come in the old currency.
	q := tx.From(s.scope(false), contractsTable).Where("partner_id = ? AND account_id IS NULL AND currency = ?", id, before.Currency)
	if err := tx.Take(q, &c, "UPDATE"); err != nil {
		return err
	}
	if before.Currency != a.Currency {
		if err := changeCurrency(tx, c, a.Currency); err != nil {
			return err
		}
	}
	_, err := tx.Update(tx.From(s.scope(false), contractsTable).Where("id = ?", c.ID), map[string]any{
		"currency": a.Currency, "billing_model": a.BillingModel, "blocking_limit": a.BlockingLimit, "number": numberOf(a, c),
		"from_at": cmp.Or(store.At(a.ContractPeriod.From), c.FromAt), "until_at": store.At(a.ContractPeriod.Until), "version": c.Version + 1,
	})
	if taken(err) && before.Currency != a.Currency {
		return &ValidationError{Fields: []FieldError{{Path: "currency", Code: "currency", Message: "another contract of the partner holds it",
			Err: ErrCurrencyNotAllowed}}}
	}
	if taken(err) {
		return &ValidationError{Fields: []FieldError{{Path: "contract_number", Code: "taken", Message: "is in use"}}}
	}
	if err != nil || a.BillingModel != prepayment || c.BillingModel == prepayment {
		return err
	}
	return s.applyDeposit(tx, c, a.Currency)
}

func numberOf(a Agreement, c contractRow) string {
	if a.ContractNumber == "" {
		return c.ID
	}
	return a.ContractNumber
}

// changeCurrency moves an unused contract to another currency (PIL-16).
func changeCurrency(tx *store.Tx, c contractRow, to string) error {
	moved, err := ledger.Moved(tx, ledger.Money, c.ID)
	if err != nil {
		return err
	}
	if moved {
		return ErrCurrencyLocked
	}
	if err := ledger.Drop(tx, ledger.Money, c.ID); err != nil {
		return err
	}
	_, err = ledger.Hold(tx, ledger.Money, to, c.PartnerID, c.ID)
	return err
}

// applyDeposit makes a deposit that was held apart balance, on the switch to prepayment (PIL-06).
func (s *Standing) applyDeposit(tx *store.Tx, c contractRow, currency string) error {
	list, err := ledger.LockBalances(tx, ledger.Money, c.ID)
	if err != nil {
		return err
	}
	for _, b := range list {
		if b.Reserved <= 0 {
			continue
		}
		_, _, err := ledger.Post(tx, ledger.Posting{
			Book: ledger.Money, Unit: currency, Verb: "apply_deposit", From: ledger.End{Owner: c.ID, State: ledger.Reserved},
			To: ledger.HeldBy(c.ID), Quantity: b.Reserved, Partner: c.PartnerID, Actor: s.Actor(),
			Reason: "billing model is prepayment", Key: tx.NewID("key"), Hash: c.ID,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SetContact makes a user of the partner its primary contact, in place of the one there is; a partner's admin may for his own, and for one that his
// manages, there only of users who have joined. The database holds exactly one, a user of the same partner. [ErrNotFound] for a user of another one.
func (d *Partners) SetContact(ctx context.Context, id ID, u UserID) (err error) {
	defer wrap(&err, "set contact of %s", id)
	return d.reg.Write(ctx, Ask{Action: "partner.set_contact", Target: string(id), Changes: true}, func(tx *store.Tx, s *Standing) error {
		var user userRow
		if !store.Plain(string(u)) {
			return errNotHere
		}
		q := tx.From(store.OfPartner(string(id)), usersTable).Where("id = ? AND NOT disabled AND ended_at = 0", u)
		if err := tx.Take(q, &user, sharing); err != nil {
			return err
		}
		if user.Invited && !s.IsVendor() && s.isBelow() {
			return errNotAllowed // the deletion of projects is confirmed from there
		}
		_, err := tx.Exec(decided, "UPDATE prm_partners SET contact_id = ?, version = version + 1 WHERE id = ?", u, id)
		if err != nil {
			return err
		}
		return s.Record(tx, "partner.contact_set", string(id), "contact")
	})
}
