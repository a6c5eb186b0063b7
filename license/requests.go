package license

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Request is a partner's wish for licences.
type Request struct {
	ID        string
	Partner   partner.ID
	SKU       string
	Quantity  int64
	Reason    string // of who asked
	AskedBy   string // as the audit names it
	State     string // "open", "granted" or "refused"
	Answer    string // of who decided
	DecidedBy string
	Key       string
	Replayed  bool // the key was seen before
}

type requestRow struct {
	ID        string
	PartnerID string
	SKU       string `gorm:"column:sku"`
	Quantity  int64
	Reason    string
	AskedBy   string
	State     string
	Answer    string
	DecidedBy string
	Key       string
	Hash      string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
	DecidedAt store.Micros
}

const requestsTable = "prm_license_requests"

// TableName implements gorm's Tabler.
func (requestRow) TableName() string { return requestsTable }

func (r requestRow) public() Request {
	return Request{ID: r.ID, Partner: partner.ID(r.PartnerID), SKU: r.SKU, Quantity: r.Quantity, Reason: r.Reason, AskedBy: r.AskedBy, State: r.State,
		Answer: r.Answer, DecidedBy: r.DecidedBy, Key: r.Key}
}

// Ask asks the vendor for n licences for the pool of the session's organisation. Partner users. A field error on "sku" if the type is
// unknown or retired.
func (l *Ledger) Ask(ctx context.Context, sku string, n int64, o ...Option) (r Request, err error) {
	defer wrap(&err, "ask for %d %s", n, sku)
	w, faults := newWrite("ask", sku, n, "", o)
	if len(faults) > 0 {
		return r, &partner.ValidationError{Fields: faults}
	}
	err = l.reg.Write(ctx, partner.Ask{Action: "license.ask", Keyed: w.keyed}, func(tx *store.Tx, s *partner.Standing) error {
		if err := w.dates(tx, s); err != nil {
			return err
		}
		row := requestRow{ID: tx.NewID("req"), PartnerID: s.Home().String(), SKU: sku, Quantity: n, Reason: w.reason, AskedBy: s.Actor(), State: "open",
			Key: w.key, Hash: w.hash(), CreatedAt: tx.Now()}
		if row.Key == "" {
			row.Key = tx.NewID("key")
		}
		refusal := first(s.Refusal(), mustBeCurrent(tx, sku))
		fresh := false
		if refusal == nil {
			if fresh, err = tx.InsertNew(&row); err != nil {
				return err
			}
		}
		if !fresh {
			var earlier []requestRow
			q := tx.From(store.OfPartner(row.PartnerID), requestsTable).Where("key = ?", row.Key)
			if err := tx.Find(q, &earlier); err != nil || len(earlier) == 0 {
				return first(err, refusal)
			}
			if earlier[0].Hash != row.Hash {
				return partner.ErrIdempotencyMismatch
			}
			r = earlier[0].public()
			r.Replayed = true
			return tx.Confirm()
		}
		r = row.public()
		return s.Record(tx, "license.asked", row.ID, "state")
	})
	return r, err
}

// DecideRequest grants an open request, the licences in the same transaction, or refuses it; answer tells the partner why. Vendor only.
// [partner.ErrBadTransition] if it has been decided the other way; the same decision again returns the request as it is.
func (l *Ledger) DecideRequest(ctx context.Context, id string, grant bool, answer string) (r Request, err error) {
	defer wrap(&err, "decide request %s", id)
	if faults := (partner.Check{}).Reason("answer", answer); len(faults) > 0 {
		return r, &partner.ValidationError{Fields: faults}
	}
	var row requestRow
	err = l.reg.Read(ctx, partner.Ask{Action: "license.requests"}, func(tx *store.Tx, s *partner.Standing) error {
		return l.request(tx, s, id, &row)
	})
	if err != nil {
		return r, err
	}
	state, event := "refused", "license.refused"
	if grant {
		state, event = "granted", "license.granted"
	}
	defer func() { l.recent.Forget(row.PartnerID, row.SKU) }()
	err = l.reg.Write(ctx, partner.Ask{Action: "license.decide", Target: row.PartnerID}, func(tx *store.Tx, s *partner.Standing) error {
		n, err := tx.Update(tx.From(store.OfPartner(row.PartnerID), requestsTable).Where("id = ? AND state = 'open'", id),
			map[string]any{"state": state, "answer": answer, "decided_by": s.Actor(), "decided_at": tx.Now()})
		if err != nil {
			return err
		}
		if err := l.request(tx, s, id, &row); err != nil {
			return err
		}
		r = row.public()
		switch {
		case n == 0 && row.State != state:
			return partner.ErrBadTransition
		case n == 0:
			return tx.Confirm()
		case !grant:
			return s.Record(tx, event, id, "state")
		}
		if err := mustBeCurrent(tx, row.SKU); err != nil {
			return err
		}
		_, notes, err := ledger.Post(tx, ledger.Posting{Book: ledger.Licenses, Unit: row.SKU, Verb: "grant", From: ledger.HeldBy(ledger.Issuer),
			To: ledger.HeldBy(row.PartnerID), Quantity: row.Quantity, Partner: row.PartnerID, Actor: s.Actor(), Reason: answer, Key: "request/" + id, Hash: id})
		if err != nil {
			return err
		}
		if err := l.reg.Happened(tx, notes); err != nil {
			return err
		}
		return s.Record(tx, event, id, "state", "quantity")
	})
	if err != nil {
		return Request{}, translate(err)
	}
	return r, nil
}

func (l *Ledger) request(tx *store.Tx, s *partner.Standing, id string, into *requestRow) error {
	if !store.Plain(id) {
		return partner.ErrNotFound
	}
	*into = requestRow{}
	return tx.Take(tx.From(s.Scope(false), requestsTable).Where("id = ?", id), into, "")
}

// Requests pages through the requests in scope, newest first: all for the vendor, an organisation's own for its admins and
// its members with the right licenses whom no scope limits.
func (l *Ledger) Requests(ctx context.Context, p partner.PageRequest) (page partner.Page[Request], err error) {
	defer wrap(&err, "requests")
	limit, err := store.Limit(p.Limit)
	if err != nil {
		return page, err
	}
	at, started, err := store.ParseCursor(p.After, requestsTable)
	if err != nil {
		return page, err
	}
	err = l.reg.Read(ctx, partner.Ask{Action: "license.requests"}, func(tx *store.Tx, s *partner.Standing) error {
		var rows []requestRow
		if err := tx.Find(store.After(tx.From(s.Scope(false), requestsTable), requestsTable, "created_at", at, started, limit), &rows); err != nil {
			return err
		}
		if len(rows) > limit {
			rows = rows[:limit]
			page.Next = store.Cursor(store.Place{At: rows[limit-1].CreatedAt, ID: rows[limit-1].ID}, requestsTable)
		}
		for _, r := range rows {
			page.Items = append(page.Items, r.public())
		}
		return nil
	})
	return page, err
}
