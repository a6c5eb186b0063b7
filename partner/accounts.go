package partner

import (
	"context"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Accounts is the desk of account types, accounts and their members. Partner users open, edit and close projects and other accounts of their own
// organisation; what an account's owner may, he alone may; the vendor reads all, defines types and suspends.
type Accounts struct{ reg *Registry }

// Account is an account as it stands; Project is nil for types other than project.
type Account struct {
	ID      AccountID
	Partner ID
	Owner   UserID // a user of the partner
	Type    string // an [AccountType]'s Code; it never changes
	Name    string
	State   string   // "active", "idle_notified", "suspended", "closing", "deleting", "deleted"
	Blocks  []string // why access to it is refused now
	Region  string   // of a project: fixed when it opened
	Version int64
	Created time.Time
	Key     string // in what Open returns
	// Replayed tells that Open or OpenProject saw the key before: this is what it made then, as it stands now.
	Replayed bool
	Project  *NewProject // as it stands; Password is always empty, Key too but in what OpenProject returns
}

// AccountFilter narrows List; the zero value is everything in scope.
type AccountFilter struct {
	Partner ID
	Type    string
}

// Get returns one account in the caller's scope.
func (d *Accounts) Get(ctx context.Context, id AccountID) (a Account, err error) {
	defer wrap(&err, "get %s", id)
	err = d.reg.Read(ctx, Ask{Action: "account.read", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		a, err = s.account(tx, string(id))
		return err
	})
	return a, err
}

// List pages through the accounts in the caller's scope, newest first.
func (d *Accounts) List(ctx context.Context, f AccountFilter, p PageRequest) (page Page[Account], err error) {
	defer wrap(&err, "list accounts")
	at, err := p.at("accounts", f.Partner, f.Type)
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, Ask{Action: "account.list", Target: string(f.Partner)}, func(tx *store.Tx, s *Standing) error {
		q := tx.From(s.scope(false), accountsTable).Where("state <> 'deleted'")
		if f.Partner != "" {
			q = q.Where("partner_id = ?", f.Partner)
		}
		if f.Type != "" {
			if !store.Plain(f.Type) {
				page = Page[Account]{}
				return nil
			}
			q = q.Where("type = ?", f.Type)
		}
		var rows []accountRow
		if err := tx.Find(store.After(q, accountsTable, "created_at", at.place, at.started, at.limit), &rows); err != nil {
			return err
		}
		logins, err := projectLogins(tx, rows)
		page = pageFrom(at, rows, accountRow.place, func(r accountRow) Account { return r.public(logins) })
		return err
	})
	return page, err
}

// account reads one as the actor may see it.
func (s *Standing) account(tx *store.Tx, id string) (Account, error) {
	var row accountRow
	if err := tx.Take(tx.From(s.scope(false), accountsTable).Where("id = ?", id), &row, ""); err != nil {
		return Account{}, err
	}
	logins, err := projectLogins(tx, []accountRow{row})
	return row.public(logins), err
}

// projectLogins reads the delegated log-in names of rows that were read in scope.
func projectLogins(tx *store.Tx, rows []accountRow) (map[string]string, error) {
	var ids []string
	for _, r := range rows {
		if r.IdentityID != nil {
			ids = append(ids, *r.IdentityID)
		}
	}
	var found []struct{ ID, Login string }
	if len(ids) > 0 {
		if err := tx.Query(deciding, &found, "SELECT id, login FROM prm_identities WHERE id IN ?", ids); err != nil {
			return nil, err
		}
	}
	logins := make(map[string]string, len(found))
	for _, f := range found {
		logins[f.ID] = f.Login
	}
	return logins, nil
}

func (r accountRow) public(logins map[string]string) Account {
	out := Account{
		ID: AccountID(r.ID), Partner: ID(r.PartnerID), Owner: UserID(r.OwnerID), Type: r.Type, Name: r.Name, State: r.State, Blocks: r.Blocks.reasons(),
		Region: r.Region, Version: r.Version, Created: r.CreatedAt.Time(),
	}
	if r.Type == typeProject {
		out.Project = &NewProject{Name: r.Name, Email: r.Email, Company: r.Company, Country: r.Country, Login: logins[text(r.IdentityID)],
			Phone: r.Phone, Locale: r.Locale, Customer: r.Customer, Partner: ID(r.PartnerID)}
	}
	return out
}

// Edit changes the Name of an account that is no project (for those: EditProject); everything else of it is [ErrImmutable], and TransferOwnership gives
// it to another. For its owner, admins of the partner and of an organisation that manages it, and the vendor. version and change are as in
// [Partners.Edit].
func (d *Accounts) Edit(ctx context.Context, id AccountID, version int64, change func(*NewAccount)) (a Account, err error) {
	defer wrap(&err, "edit %s", id)
	ask := Ask{Action: "account.edit", Target: string(id), Changes: true}
	err = d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		a, err = s.account(tx, string(id))
		return err
	})
	if err != nil {
		return a, err
	}
	if a.Project != nil {
		return Account{}, errIsProject
	}
	if a.Version != version {
		return Account{}, errChanged
	}
	before := NewAccount{Type: a.Type, Name: a.Name, Partner: a.Partner}
	after := before
	change(&after)
	name := after.Name
	if after.Name = before.Name; after != before {
		return Account{}, ErrImmutable
	}
	var c checks
	c.text("name", name, true, maxName)
	if err := c.err(); err != nil || name == before.Name {
		return a, err
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		n, err := tx.Update(tx.From(s.scope(false), accountsTable).Where("id = ? AND version = ?", id, version),
			map[string]any{"name": name, "name_key": nameKey(name), "version": version + 1})
		if err != nil {
			return err
		}
		if n != 1 {
			return errChanged
		}
		if err := s.Record(tx, "account.edited", string(id), "name"); err != nil {
			return err
		}
		a, err = s.account(tx, string(id))
		return err
	})
	if err != nil {
		return Account{}, err
	}
	return a, nil
}

// Entitled tells whether the type of an account allows a function of the host's product: whether Options.Features puts it within the type's Ceiling.
// For whoever sees the account. [ErrUnavailable] if Options.Features fails; without it nothing is entitled. Not inside a host transaction.
func (d *Accounts) Entitled(ctx context.Context, id AccountID, feature string) (entitled bool, err error) {
	defer wrap(&err, "ask what %s may", id)
	if store.Joined(d.reg.db) {
		return false, errInHostTx
	}
	ceiling := ""
	err = d.reg.Read(ctx, Ask{Action: "account.read", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		t, err := typeOf(tx, s.Account.Type, "")
		ceiling = t.Ceiling
		return err
	})
	if err != nil || d.reg.opts.Features == nil || !store.Plain(feature) || feature == "" {
		return false, err
	}
	return callHost(ctx, d.reg, "whether a feature is within a ceiling", func(ctx context.Context) (bool, error) {
		return d.reg.opts.Features(ctx, ceiling, feature)
	})
}

// ReportMisuse writes down that the host has seen an account used for what its type is not for: the event "account.misused", whose Changed is what, a
// lower-case word of at most 40 characters and no text. Vendor only.
func (d *Accounts) ReportMisuse(ctx context.Context, id AccountID, what string) (err error) {
	defer wrap(&err, "report misuse of %s", id)
	var c checks
	c.plainWord("what", what)
	if err := c.err(); err != nil {
		return err
	}
	return d.reg.Write(ctx, Ask{Action: "account.misuse", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		return s.Record(tx, "account.misused", string(id), what)
	})
}
