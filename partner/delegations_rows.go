package partner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

type delegationRow struct {
	ID        string
	PartnerID string // the account's
	AccountID string
	Customer  string
	UserID    string
	Roles     string
	FromAt    store.Micros // 0: when it is approved
	UntilAt   store.Micros
	DueAt     store.Micros // when a request lapses, or what was approved runs out
	State     string
	DecidedAt store.Micros
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
}

func (delegationRow) TableName() string { return delegationsTable }

func (r delegationRow) place() store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }

// standing is the state at an instant: what has run out has, whether or not it was written down.
func (r delegationRow) standing(now store.Micros) string {
	switch {
	case now < r.DueAt:
	case r.State == stateRequested:
		return stateLapsed
	case r.State == stateApproved:
		return stateExpired
	}
	return r.State
}

func (r delegationRow) public(now store.Micros) Delegation {
	d := Delegation{ID: r.ID, User: UserID(r.UserID), Account: AccountID(r.AccountID), Customer: r.Customer, Roles: rolesOf(r.Roles), State: r.standing(now),
		Period: Period{Until: r.UntilAt.Time()}, Created: r.CreatedAt.Time()}
	if r.FromAt != 0 {
		d.Period.From = r.FromAt.Time()
	}
	if r.DecidedAt != 0 {
		d.Decided = r.DecidedAt.Time()
	}
	if r.FromAt == 0 && r.DecidedAt != 0 && r.State != stateRefused {
		d.Period.From = d.Decided
	}
	return d
}

// named adds to rows, which were read in scope, the names of whom and what they are about: who decides on them knows the ids alone.
func named(tx *store.Tx, rows []delegationRow) ([]Delegation, error) {
	list := make([]Delegation, len(rows))
	if len(rows) == 0 {
		return list, nil
	}
	var users, accounts []string
	for _, r := range rows {
		users, accounts = append(users, r.UserID), append(accounts, r.AccountID)
	}
	var people, projects []struct{ ID, Name, Partner string }
	err := cmp.Or(
		tx.Query(decided, &people, "SELECT u.id, u.name, p.name AS partner FROM prm_users u JOIN prm_partners p ON p.id = u.partner_id WHERE u.id IN ?", users),
		tx.Query(decided, &projects, "SELECT id, name FROM prm_accounts WHERE id IN ?", accounts))
	if err != nil {
		return nil, err
	}
	for i, r := range rows {
		list[i] = r.public(tx.Now())
		for _, who := range people {
			if who.ID == r.UserID {
				list[i].Name, list[i].Partner = who.Name, who.Partner
			}
		}
		for _, what := range projects {
			if what.ID == r.AccountID {
				list[i].Project = what.Name
			}
		}
	}
	return list, nil
}

// rolesText is a list of roles, which are single lines, as it is kept.
func rolesText(list []string) string { return strings.Join(list, "\n") }

func rolesOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// roles checks those of a delegation.
func (c *checks) roles(path string, list []string) {
	switch {
	case len(list) == 0:
		c.add(path, "required", "must not be empty", nil)
	case len(list) > maxRoles:
		c.add(path, "too_long", fmt.Sprintf("must be at most %d roles", maxRoles), nil)
	}
	for i, role := range list {
		at := fmt.Sprintf("%s.%d", path, i)
		if c.word(at, role, true, maxRole) && slices.Contains(list[:i], role) {
			c.add(at, "format", "is there twice", nil)
		}
	}
}

// customer checks the id of an end customer. In the audit a slash stands between him and who speaks for him.
func (c *checks) customer(path, id string) {
	if c.word(path, id, false, maxCustomer) && strings.Contains(id, "/") {
		c.add(path, "format", "must not hold a slash", nil)
	}
}

// letterAbout is the id of the delivery that tells of a request: it is of no use once that is over.
func letterAbout(delegation string) string { return "dlv" + strings.TrimPrefix(delegation, "dlg") }

// takeBack has a letter that waits not sent.
func takeBack(tx *store.Tx, delegation string) error {
	_, err := tx.Exec(decided, "DELETE FROM prm_deliveries WHERE id = ? AND state IN ('ready', 'dead')", letterAbout(delegation))
	return err
}

// endLeaves ends those of a user who leaves, or of all users of an organisation that ends and into its projects.
func (s *Standing) endLeaves(tx *store.Tx, user UserID, of ID) error {
	var ended []delegationRow
	err := tx.Query(decided, &ended, `UPDATE prm_delegations SET state = 'revoked', due_at = ? WHERE state IN ('requested', 'approved') AND due_at > ?
		AND (partner_id = ? OR user_id IN (SELECT id FROM prm_users WHERE id = ? OR partner_id = ?)) RETURNING id, partner_id, account_id, state`,
		tx.Now(), tx.Now(), of, user, of)
	if err != nil {
		return err
	}
	for _, d := range ended {
		if err := takeBack(tx, d.ID); err != nil {
			return err
		}
	}
	return noteOver(tx, s.Actor(), ended)
}
