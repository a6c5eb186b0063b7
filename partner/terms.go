package partner

import (
	"context"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// termsRow is what an agreement said from FromAt on, of what documents of the past refer to.
type termsRow struct {
	ParentID       *string
	VAT            *int `gorm:"column:vat"`
	Currency       string
	MoreCurrencies string
}

// noteTerms writes down the terms of a partner as they are now, once the call has changed them. Its row is held by the call. Terms follow
// each other even where the clock has been put back.
func noteTerms(tx *store.Tx, id ID) error {
	_, err := tx.Exec(decided, `INSERT INTO prm_partner_terms (partner_id, from_at, parent_id, vat, currency, more_currencies)
		SELECT p.id, CASE WHEN t.last IS NULL OR t.last < ? THEN ? ELSE t.last + 1 END, p.parent_id, p.vat, p.currency, p.more_currencies
		FROM prm_partners p CROSS JOIN (SELECT max(from_at) AS last FROM prm_partner_terms WHERE partner_id = ?) t WHERE p.id = ?`,
		tx.Now(), tx.Now(), id, id)
	return err
}

// At returns the agreement with the VAT, the parent and the currencies that were in force at t; all else is as it stands. It is for
// documents of the past. Who may read the partner may. Path is left out, as is a parent that the reader does not see. [ErrNotFound] for a time
// before it was made.
func (d *Partners) At(ctx context.Context, id ID, t time.Time) (p Partner, err error) {
	defer wrap(&err, "get %s at %s", id, t.UTC().Format(time.RFC3339))
	err = d.reg.Read(ctx, Ask{Action: "partner.read", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		if p, err = s.partner(tx, string(id)); err != nil {
			return err
		}
		var then []termsRow
		err := tx.Query(decided, &then, `SELECT parent_id, vat, currency, more_currencies FROM prm_partner_terms WHERE partner_id = ? AND from_at <= ?
			ORDER BY from_at DESC LIMIT 1`, id, store.At(t))
		switch {
		case err != nil:
			return err
		case len(then) == 0:
			return errNotHere
		case !s.reads(partnerRow{ID: string(id)}):
			p.Parent, p.Path = "", nil
			return nil
		}
		p.VAT, p.Currency, p.MoreCurrencies, p.Path = then[0].VAT, then[0].Currency, words(then[0].MoreCurrencies), nil
		p.Parent, err = s.parentThen(tx, text(then[0].ParentID))
		return err
	})
	if err != nil {
		return Partner{}, err
	}
	return p, nil
}

// parentThen is a former parent, if the reader sees it now.
func (s *Standing) parentThen(tx *store.Tx, id string) (ID, error) {
	if id == "" || s.IsVendor() {
		return ID(id), nil
	}
	row, err := partnerByID(tx, ID(id), "")
	if err != nil || !strings.HasPrefix(row.Path, s.Partner.Path) {
		return "", err
	}
	return ID(id), nil
}

func cloned(n *int) *int {
	if n == nil {
		return nil
	}
	c := *n
	return &c
}
