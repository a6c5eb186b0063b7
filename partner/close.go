package partner

import (
	"cmp"
	"context"
	"maps"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Closing is what a close would do, or has done.
type Closing struct {
	Licenses map[string]int64 // that go back to the partner's pool, by sku, or to the vendor: see [AccountType].Leftovers
	Members  int              // who lose their places, invitees too
	Running  []string         // what Options.RunningWork says is going on there; only in what PreviewClose returns

	// Token confirms the close ([Accounts.ConfirmClose]). It is only in what Close returns, and only with Options.DeliverTokens: it is the primary
	// contact's.
	Token Secret
}

// A close that nobody has confirmed.
const (
	closeTokenLife = 14 * 24 * time.Hour
	remindEvery    = 7 * 24 * time.Hour
)

// PreviewClose tells what Close would do and writes nothing. For those who may close the account. [ErrUnavailable] if Options.RunningWork fails; with
// it not inside a host transaction.
func (d *Accounts) PreviewClose(ctx context.Context, id AccountID) (c Closing, err error) {
	defer wrap(&err, "preview close of %s", id)
	if d.reg.opts.RunningWork != nil && store.Joined(d.reg.db) {
		return c, errInHostTx
	}
	err = d.reg.Read(ctx, Ask{Action: "account.close", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		list, err := ledger.Balances(tx, ledger.Licenses, string(id), "")
		c = Closing{Licenses: map[string]int64{}}
		for _, b := range list {
			if n := b.Available + b.Upcoming + b.Reserved; n > 0 {
				c.Licenses[b.Unit] = n
			}
		}
		if err == nil {
			c.Members, err = membersOf(tx, string(id))
		}
		return err
	})
	if err != nil || d.reg.opts.RunningWork == nil {
		return c, err
	}
	c.Running, err = callHost(ctx, d.reg, "what is running in the account", func(ctx context.Context) ([]string, error) { return d.reg.opts.RunningWork(ctx, id) })
	return c, err
}

// membersOf counts those who have a place, or have been offered one.
func membersOf(tx *store.Tx, account string) (n int, err error) {
	err = tx.Query(deciding, &n, "SELECT count(*) FROM prm_members WHERE account_id = ? AND state IN ('invited', 'active', 'inactive')", account)
	return n, err
}

// Close blocks the account at once (state closing): log-ins to it are refused, sessions in it end, nobody can switch into it or move licences to it.
// Its reservations are void, its seats end, and the licences it has not used up go back in the same transaction, see [AccountType].Leftovers. Nothing is
// deleted before that is confirmed: the partner's primary contact is sent a token for it ([Accounts.ConfirmClose]) and reminded every seven days, with
// a new one every fourteen; the project's own address, or the owner of another account, gets a notice if that is not the contact's. Until then [Accounts.CancelClose] opens the
// account again, without the licences. No reason is asked for.
//
// For the partner's admins, those of an organisation that manages it, and members with the right [Projects]; where the type says OwnerCloses, for the
// owner alone ([ErrNotOwner]). A field error "contact.email" if the contact has no address; [ErrBadTransition] if the account is closing already, as it
// is for a repeated call whose first answer was lost; [ErrUnavailable] after five such letters about it within an hour; [ErrForbidden] if Options.StepUp
// says no. Not inside a host transaction above READ COMMITTED.
func (d *Accounts) Close(ctx context.Context, id AccountID) (c Closing, err error) {
	defer wrap(&err, "close %s", id)
	ask := Ask{Action: "account.close", Target: string(id), Changes: true}
	if err := d.reg.stepUp(ctx, ask, string(id)); err != nil {
		return c, err
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		to, err := contactOf(tx, s.Of())
		if err != nil {
			return err
		}
		if to.Email == "" {
			return &ValidationError{Fields: []FieldError{{Path: "contact.email", Code: "required",
				Message: "the primary contact has no e-mail address to confirm the deletion from"}}}
		}
		if err := s.fewLetters(tx); err != nil {
			return err
		}
		if err := s.shut(tx, blockClosing, "closing"); err != nil {
			return err
		}
		if c, err = s.takeBack(tx, "account closed"); err != nil {
			return err
		}
		if err := d.reg.nameErasers(tx); err != nil {
			return err
		}
		row := closingRow{ID: tx.NewID("clo"), PartnerID: string(s.Of()), AccountID: string(id), State: closingRequested, Suspended: s.Account.State == "suspended",
			RequestedBy: s.Actor(), RequestedAt: tx.Now(), NextAt: tx.Now().Add(remindEvery)}
		if err := tx.Insert(&row); err != nil {
			return err
		}
		e, err := s.record(tx, "account.closing", string(id), []string{"state"})
		if err != nil {
			return err
		}
		if c.Token, err = s.askToConfirm(tx, e, row, to, templateCloseConfirmation); err != nil {
			return err
		}
		return s.tellAccount(tx, e, to, templateCloseNotice)
	})
	if err != nil {
		return Closing{}, err
	}
	return c, nil
}

// shut blocks the account for a cause, in a state that it never leaves by itself.
func (s *Standing) shut(tx *store.Tx, why blocks, state string) error {
	n, err := tx.Exec(decided, `UPDATE prm_accounts SET state = ?, blocks = blocks | ?, epoch = epoch + 1, version = version + 1
		WHERE id = ? AND state IN ('active', 'idle_notified', 'suspended')`, state, why, s.Account.ID)
	if err == nil && n != 1 {
		err = ErrBadTransition
	}
	return err
}

// takeBack moves all that the account has not used up to where its type says, and counts who loses a place. The amounts cannot change meanwhile: its row was
// written, for which moves that pass no gate of the account's have been waited for, and later ones are refused.
func (s *Standing) takeBack(tx *store.Tx, reason string) (c Closing, err error) {
	id := s.Account.ID
	t, err := typeOf(tx, s.Account.Type, "")
	if err != nil {
		return c, err
	}
	to := ledger.HeldBy(string(s.Of()))
	if t.Leftovers == leftoversForfeit {
		to = ledger.HeldBy(ledger.Issuer)
	}
	gone, notes, err := ledger.Empty(tx, id, ledger.Posting{Book: ledger.Licenses, Verb: "close", To: to, Partner: string(s.Of()), Actor: s.Actor(),
		Reason: reason, Hash: id})
	if err != nil {
		return c, err
	}
	if err := s.reg.Happened(tx, notes); err != nil {
		return c, err
	}
	maps.DeleteFunc(gone, func(_ string, n int64) bool { return n == 0 })
	c.Licenses = gone
	c.Members, err = membersOf(tx, id)
	return c, err
}

// contact is a partner's primary contact; without an address nobody can write to it.
type contact struct{ ID, Email, Locale, Partner, PartnerLocale string }

func contactOf(tx *store.Tx, of ID) (c contact, err error) {
	err = tx.Query(deciding, &c, `SELECT u.id, i.email, u.locale, p.name AS partner, p.locale AS partner_locale FROM prm_partners p
		JOIN prm_users u ON u.id = p.contact_id JOIN prm_identities i ON i.id = u.identity_id WHERE p.id = ?`, of)
	return c, err
}

// fewLetters bounds the letters about closing an account; the host sends as many as it likes.
func (s *Standing) fewLetters(tx *store.Tx) error {
	if s.actor.host != "" {
		return nil
	}
	var n int64
	err := tx.Query(decided, &n, "SELECT count(*) FROM prm_events WHERE account_id = ? AND at > ? AND kind IN ('account.closing', 'account.close_reminded')",
		s.Account.ID, tx.Now().Add(-time.Hour))
	if err == nil && n >= lettersPerHour {
		err = errTooManyLetters
	}
	return err
}

// askToConfirm makes the contact a token, in place of the one there was, and sends it, or returns it to a host that does so itself.
func (s *Standing) askToConfirm(tx *store.Tx, e eventRow, row closingRow, to contact, template string) (Secret, error) {
	if err := dropLetter(tx, row); err != nil {
		return "", err
	}
	token, expires := newToken(s.reg.db), tx.Now().Add(closeTokenLife)
	var delivery *string
	if !s.reg.opts.DeliverTokens {
		id := tx.NewID("dlv")
		delivery = &id
	}
	_, err := tx.Exec(decided, "UPDATE prm_closings SET contact_id = ?, email_key = ?, token_hash = ?, delivery = ?, expires_at = ? WHERE id = ?",
		to.ID, emailKey(to.Email), digest(token), delivery, expires, row.ID)
	if err != nil {
		return "", err
	}
	if delivery == nil {
		return Secret(token), nil
	}
	about, err := s.aboutAccount(tx, to)
	if err != nil {
		return "", err
	}
	about[wordUntil] = until(expires)
	return "", s.deliver(tx, e, letter{id: *delivery, expires: expires, template: template, To: to.Email, Locale: cmp.Or(to.Locale, to.PartnerLocale),
		Token: token, Data: about})
}

// dropLetter keeps the letter that brings a closing's token from being sent, if it waits.
func dropLetter(tx *store.Tx, row closingRow) error {
	if row.Delivery == nil {
		return nil
	}
	_, err := tx.Exec(decided, "DELETE FROM prm_deliveries WHERE id = ? AND state IN ('ready', 'dead')", *row.Delivery)
	return err
}

// tellContact tells the primary contact, if it has an address, without a token.
func (s *Standing) tellContact(tx *store.Tx, e eventRow, to contact, template string) error {
	if to.Email == "" {
		return nil
	}
	about, err := s.aboutAccount(tx, to)
	if err != nil {
		return err
	}
	return s.deliver(tx, e, letter{template: template, To: to.Email, Locale: cmp.Or(to.Locale, to.PartnerLocale), Data: about})
}

// tellAccount tells the account's own address, or where it has none its owner, if that is not the contact's, who hears of it anyway.
func (s *Standing) tellAccount(tx *store.Tx, e eventRow, to contact, template string) error {
	l, err := s.accountAddress(tx)
	if err != nil || l.To == "" || emailKey(l.To) == emailKey(to.Email) {
		return err
	}
	l.template, l.Data[wordPartner] = template, to.Partner
	return s.deliver(tx, e, l)
}

// accountAddress begins a letter to the account's own address; where it has none, to its owner.
func (s *Standing) accountAddress(tx *store.Tx) (l letter, err error) {
	var row accountRow
	if err := tx.Take(tx.From(store.OfPartner(string(s.Of())), accountsTable).Where("id = ?", s.Account.ID), &row, ""); err != nil {
		return l, err
	}
	l = letter{To: row.Email, Locale: row.Locale, Data: map[string]string{wordAccount: row.Name}}
	if l.To == "" {
		owner, err := s.addressee(tx, UserID(row.OwnerID))
		if err != nil {
			return l, err
		}
		l.To, l.Locale = owner.email, cmp.Or(owner.locale, owner.partnerLocale)
	}
	return l, nil
}

// aboutAccount is what letters to the contact say.
func (s *Standing) aboutAccount(tx *store.Tx, to contact) (map[string]string, error) {
	var name string
	err := tx.Query(decided, &name, "SELECT name FROM prm_accounts WHERE id = ?", s.Account.ID)
	return map[string]string{wordAccount: name, wordPartner: to.Partner}, err
}
