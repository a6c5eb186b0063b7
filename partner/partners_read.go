package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// Get returns one partner in the caller's scope: any for the vendor; for a partner's admin his own and, reduced to what [Partner]
// says, those below it.
func (d *Partners) Get(ctx context.Context, id ID) (p Partner, err error) {
	defer wrap(&err, "get %s", id)
	err = d.reg.Read(ctx, Ask{Action: "partner.read", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		p, err = s.partner(tx, string(id))
		return err
	})
	return p, err
}

// List pages through the caller's scope, newest first, the vendor's own organisation left out. A field error on "search".
func (d *Partners) List(ctx context.Context, f PartnerFilter, p PageRequest) (page Page[Partner], err error) {
	defer wrap(&err, "list")
	var c checks
	if c.search(f.Search); c.err() != nil {
		return page, c.err()
	}
	page, _, err = d.page(ctx, "partner.list", f, p)
	return page, err
}

// page is one page of a list for an action; vendor tells that it is the vendor's.
func (d *Partners) page(ctx context.Context, action string, f PartnerFilter, p PageRequest) (page Page[Partner], vendor bool, err error) {
	at, err := p.at("partners", f.Search, f.Under, f.IncludeArchived)
	if err != nil {
		return page, false, err
	}
	err = d.reg.Read(ctx, Ask{Action: action, Target: string(f.Under)}, func(tx *store.Tx, s *Standing) error {
		vendor = s.IsVendor()
		list := func() *gorm.DB {
			q := tx.From(s.scope(true), partnersTable).Where("id <> ?", Vendor)
			if f.Under != "" {
				q = q.Where("path >= ? AND path < ?", s.Holder.Path, store.PathEnd(s.Holder.Path))
			}
			if !f.IncludeArchived {
				q = q.Where("state NOT IN ('archived', 'tombstoned')")
			}
			return q
		}
		var rows []partnerRow
		if f.Search == "" {
			err = tx.Find(store.After(list(), partnersTable, "created_at", at.place, at.started, at.limit), &rows)
		} else {
			rows, err = s.searched(tx, f.Search, at, list)
		}
		if err != nil {
			return err
		}
		full, err := s.fill(tx, rows)
		if err != nil {
			return err
		}
		page = pageFrom(at, rows, partnerRow.place, func(r partnerRow) Partner { return full[r.ID] })
		return nil
	})
	return page, vendor, err
}

// partner reads one as the actor may see it.
func (s *Standing) partner(tx *store.Tx, id string) (Partner, error) {
	var rows []partnerRow
	if err := tx.Find(tx.From(s.scope(true), partnersTable).Where("id = ?", id), &rows); err != nil {
		return Partner{}, err
	}
	if len(rows) == 0 {
		return Partner{}, errNotHere
	}
	full, err := s.fill(tx, rows)
	return full[id], err
}

// fill adds to rows what other tables hold of them, in one statement a table, and hides what the actor may not see.
func (s *Standing) fill(tx *store.Tx, rows []partnerRow) (map[string]Partner, error) {
	list := make(map[string]Partner, len(rows))
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	contracts, err := wideContracts(tx, ids)
	if err != nil {
		return nil, err
	}
	logins, err := contactLogins(tx, ids)
	if err != nil {
		return nil, err
	}
	paths, err := s.paths(tx, rows)
	if err != nil {
		return nil, err
	}
	numbers, err := taxIDsOf(tx, ids)
	if err != nil {
		return nil, err
	}
	accounts, err := accountsOf(tx, ids)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		p := r.public()
		p.Path = paths[r.ID]
		if len(p.Path) < 2 {
			p.Parent = "" // the one above is none of the reader's business
		}
		if s.reads(r) {
			contracts[r.ID].into(&p)
			p.Login, p.TaxIDs, p.Accounts = logins[r.ID], numbers[r.ID], accounts[r.ID]
			if !s.IsVendor() {
				p.Note = ""
			}
		} else {
			p = Partner{ID: p.ID, State: p.State, Created: p.Created, Path: p.Path,
				Agreement: Agreement{Name: p.Name, Parent: p.Parent}}
		}
		list[r.ID] = p
	}
	return list, nil
}

// reads tells whether the actor sees all of a partner in scope, not just that it is there.
func (s *Standing) reads(r partnerRow) bool {
	return s.IsVendor() || s.isAdmin() && (r.ID == s.Partner.ID || s.Partner.ManagesSubPartners)
}

func (r partnerRow) public() Partner {
	p := Partner{
		ID: ID(r.ID), State: r.State, Version: r.Version, Created: r.CreatedAt.Time(),
		Blocks: inherited(r.OwnBlocks, r.OwnInherited), UsersBlocks: inherited(r.UsersBlocks, r.UsersInherited), Contact: UserID(text(r.ContactID)),
		Agreement: Agreement{Name: r.Name, Email: r.Email, Phone: r.Phone, Locale: r.Locale, Parent: ID(text(r.ParentID)),
			Capabilities: []Capability{}, ManagesSubPartners: r.ManagesSubPartners, Currency: r.Currency, MoreCurrencies: words(r.MoreCurrencies),
			VAT: r.VAT, Region: r.Region, OrganisationType: r.OrganisationType, PasswordPolicy: r.PasswordPolicy, ShowPasswords: r.ShowPasswords, Note: r.Note},
	}
	for c, has := range map[Capability]bool{Resell: r.Resell, Build: r.Build, Operate: r.Operate} {
		if has {
			p.Capabilities = append(p.Capabilities, c)
		}
	}
	p.Capabilities = (&checks{}).capabilities(p.Capabilities) // in their order
	return p
}

// wideContract is a partner-wide contract with what its balance rows hold.
type wideContract struct {
	Row     contractRow `gorm:"embedded"` // named: GORM passes over an unexported embedded struct
	Balance int64
	Deposit int64 // ever paid in at the opening
}

func (c wideContract) into(p *Partner) {
	p.Contract, p.ContractNumber, p.BillingModel, p.BlockingLimit = c.Row.ID, c.Row.Number, c.Row.BillingModel, c.Row.BlockingLimit
	p.ContractPeriod = Period{From: c.Row.FromAt.Time(), Until: c.Row.UntilAt.Time()}
	p.Balance = Money{Minor: c.Balance, Currency: c.Row.Currency}
	p.Deposit = c.Deposit
}

// wideContracts reads the contracts in the partners' main currencies. The partners themselves were read in scope.
func wideContracts(tx *store.Tx, partners []string) (map[string]wideContract, error) {
	var rows []wideContract
	err := tx.Query(deciding, &rows, `SELECT c.*, COALESCE(b.amount, 0) AS balance, COALESCE(t.quantity, 0) AS deposit FROM prm_contracts c
		JOIN prm_partners p ON p.id = c.partner_id AND p.currency = c.currency
		LEFT JOIN prm_ledger_balances b ON b.owner = c.id AND b.book = ? AND b.unit = c.currency AND b.state = ? AND b.lot = 0
		LEFT JOIN prm_ledger_transfers t ON t.partner_id = c.partner_id AND t.verb = 'deposit' AND t.key = 'opening/' || c.id
		WHERE c.account_id IS NULL AND c.partner_id IN ?`, ledger.Money, ledger.Held, partners)
	list := make(map[string]wideContract, len(rows))
	for _, r := range rows {
		list[r.Row.PartnerID] = r
	}
	return list, err
}

// contactLogins reads the log-in names that the agreements were made with: those of the first users, unless they have left.
func contactLogins(tx *store.Tx, partners []string) (map[string]string, error) {
	var rows []struct{ PartnerID, Login string }
	err := tx.Query(deciding, &rows, `SELECT p.id AS partner_id, COALESCE((SELECT CASE WHEN u.ended_at = 0 THEN i.login ELSE '' END FROM prm_users u
		JOIN prm_identities i ON i.id = u.identity_id WHERE u.partner_id = p.id ORDER BY u.created_at, u.id LIMIT 1), '') AS login
		FROM prm_partners p WHERE p.id IN ?`, partners)
	list := make(map[string]string, len(rows))
	for _, r := range rows {
		list[r.PartnerID] = r.Login
	}
	return list, err
}

// accountsOf counts the accounts of partners that were read in scope. A counter in their rows would have callers who open projects wait for each
// other.
func accountsOf(tx *store.Tx, partners []string) (map[string]int64, error) {
	var rows []struct {
		PartnerID string
		N         int64
	}
	err := tx.Query(deciding, &rows, "SELECT partner_id, count(*) AS n FROM prm_accounts WHERE partner_id IN ? AND state <> 'deleted' GROUP BY partner_id", partners)
	list := make(map[string]int64, len(rows))
	for _, r := range rows {
		list[r.PartnerID] = r.N
	}
	return list, err
}

// paths names the organisations above each row, from the actor's own on.
func (s *Standing) paths(tx *store.Tx, rows []partnerRow) (map[string][]ID, error) {
	from := "/"
	if !s.IsVendor() {
		from = s.Partner.Path
	}
	wanted := map[string]bool{}
	for _, r := range rows {
		for _, path := range prefixes(r.Path, from) {
			wanted[path] = true
		}
	}
	var found []struct{ ID, Path string }
	if len(wanted) > 0 {
		list := make([]string, 0, len(wanted))
		for path := range wanted {
			list = append(list, path)
		}
		if err := tx.Query(deciding, &found, "SELECT id, path FROM prm_partners WHERE path IN ?", list); err != nil {
			return nil, err
		}
	}
	ids := make(map[string]ID, len(found))
	for _, f := range found {
		ids[f.Path] = ID(f.ID)
	}
	out := make(map[string][]ID, len(rows))
	for _, r := range rows {
		for _, path := range prefixes(r.Path, from) {
			out[r.ID] = append(out[r.ID], ids[path])
		}
	}
	return out, nil
}

// prefixes are the paths of the organisations on the way to path, from the one at from on.
func prefixes(path, from string) []string {
	var list []string
	for i := 1; i < len(path); i++ {
		if path[i] == '/' && i+1 >= len(from) {
			list = append(list, path[:i+1])
		}
	}
	return list
}
