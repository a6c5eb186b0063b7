package partner

import (
	"context"
	"slices"
	"time"

	"github.com/partnerkit/partnerkit/internal/outbox"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Delivery is one event on its way to one receiver. The address is here, and not in the event, because it goes when the delivery is
// done; so does the delivery itself, thirty days later.
type Delivery struct {
	ID, Event string
	Partner   ID
	Account   AccountID
	Template  string // "welcome", "invitation", "account_opening", "account_transferred", "password_reset", "member_password_reset", "password_revealed", "close_confirmation", "close_reminder", "close_notice", "close_cancelled", "idle_notice", "idle_last_notice", "project_email_changed", "delegation_requested", "delegation_decided"
	To        string // e-mail address; empty once it is done, or if this process cannot open what another has sealed
	Region    string // of the project it is about
	State     string // "ready", "leased" (somebody is sending it), "done", "dead"
	Attempt   int    // how often it was taken up
	Next      time.Time
	LastError string // without address and token
	Created   time.Time
}

// Deliveries pages through the deliveries in a state, newest first; "" is any. Vendor only.
func (d *Activity) Deliveries(ctx context.Context, state string, p PageRequest) (page Page[Delivery], err error) {
	defer wrap(&err, "list deliveries")
	if !slices.Contains([]string{"", outbox.Ready, outbox.Leased, outbox.Done, outbox.Dead}, state) {
		c := checks{}
		c.add("state", "unknown_code", "must be ready, leased, done or dead", ErrUnknownCode)
		return page, c.err()
	}
	at, err := p.at("deliveries", state)
	if err != nil {
		return page, err
	}
	var rows []outbox.Delivery
	err = d.reg.Read(ctx, Ask{Action: "activity.deliveries"}, func(tx *store.Tx, s *Standing) error {
		rows = nil
		q := tx.From(s.scope(false), outbox.Table)
		if state != "" {
			q = q.Where("state = ?", state)
		}
		return tx.Find(store.Below(q, outbox.Table, at.place, at.started, at.limit), &rows)
	})
	if err != nil {
		return page, err
	}
	place := func(r outbox.Delivery) store.Place { return store.Place{ID: r.ID} }
	return pageFrom(at, rows, place, d.reg.delivery), nil
}

// delivery is the public form of a row; it may ask the host's sealer.
func (r *Registry) delivery(row outbox.Delivery) Delivery {
	d := Delivery{ID: row.ID, Event: row.EventID, Partner: ID(row.PartnerID), Account: AccountID(text(row.AccountID)), Template: row.Template, Region: row.Region,
		State: row.State, Attempt: int(row.Attempt), Next: row.NextAt.Time(), LastError: row.LastError, Created: row.CreatedAt.Time()}
	if row.Payload != "" && !(isSealed(row.Payload) && store.Joined(r.db)) {
		if l, err := r.letterOf(row.ID, row.Template, row.Payload); err == nil {
			d.To = l.To
		}
	}
	return d
}

// Dismiss forgets a dead delivery, with what it says. Vendor only. Errors as Retry.
func (d *Activity) Dismiss(ctx context.Context, delivery string) (err error) {
	defer wrap(&err, "dismiss delivery")
	return d.settle(ctx, delivery, "delivery.dismissed", outbox.Dismiss)
}

// Retry has a dead delivery tried again, as if for the first time. Vendor only. [ErrNotFound]; [ErrBadTransition] for one that is not dead.
func (d *Activity) Retry(ctx context.Context, delivery string) (err error) {
	defer wrap(&err, "retry delivery")
	return d.settle(ctx, delivery, "delivery.retried", outbox.Retry)
}

// settle does something about a dead delivery.
func (d *Activity) settle(ctx context.Context, delivery, kind string, do func(*store.Tx, string) (bool, error)) error {
	return d.reg.Write(ctx, Ask{Action: "activity.retry"}, func(tx *store.Tx, s *Standing) error {
		if !store.Plain(delivery) {
			return errNotHere
		}
		var row outbox.Delivery
		if err := tx.Take(tx.From(s.scope(false), outbox.Table).Where("id = ?", delivery), &row, changing); err != nil {
			return err
		}
		switch done, err := do(tx, delivery); {
		case err != nil:
			return err
		case !done:
			return ErrBadTransition
		}
		s.delivered = true
		s.Account.ID, s.Holder.ID = text(row.AccountID), row.PartnerID // whose activity it is
		return s.Record(tx, kind, delivery, "state")
	})
}
