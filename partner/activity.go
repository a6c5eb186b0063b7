package partner

import (
	"context"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Activity is the desk of what happened: one immutable row per write, and its deliveries.
type Activity struct{ reg *Registry }

// Event is one audit row. It holds ids and names of fields, never a value, and of people only what the host called itself in AsVendor, and them in AsCustomer.
type Event struct {
	ID      string
	At      time.Time
	Kind    string    // noun.pastverb: "partner.created", "license.assigned", …
	Actor   string    // who acted: usr_…, acc_… (a project's log-in), host:name, customer:id/who, or system
	Subject string    // on whose behalf: the actor's own, but in a delegated session the project's
	Partner ID        // whose activity it is
	Account AccountID // if it is about one
	Target  string    // what it was done to
	Changed []string  // field names
}

// EventFilter narrows List and Export; the zero value is everything in scope.
type EventFilter struct {
	Partner ID
	Account AccountID
	Kinds   []string
	Period  Period
}

// List pages through events, newest first: all for the vendor, those of his organisation for a partner's admin, those of its project
// for a delegated log-in.
func (d *Activity) List(ctx context.Context, f EventFilter, p PageRequest) (page Page[Event], err error) {
	defer wrap(&err, "list activity")
	if err := f.check(&checks{}); err != nil {
		return page, err
	}
	return d.page(ctx, f, p)
}

// page is one page of the list.
func (d *Activity) page(ctx context.Context, f EventFilter, p PageRequest) (page Page[Event], err error) {
	at, err := p.at("events", f.Partner, f.Account, f.Kinds, store.At(f.Period.From), store.At(f.Period.Until))
	if err != nil {
		return page, err
	}
	target := string(f.Partner)
	if f.Account != "" {
		target = string(f.Account)
	}
	err = d.reg.Read(ctx, Ask{Action: "activity.read", Target: target}, func(tx *store.Tx, s *Standing) error {
		if (f.Account == "") != (s.Account.ID == "") { // an id of the other kind
			return errNotHere
		}
		q := tx.From(s.scope(false), eventsTable)
		if f.Partner != "" {
			q = q.Where("partner_id = ?", f.Partner)
		}
		if f.Account != "" {
			q = q.Where("account_id = ?", f.Account)
		}
		if len(f.Kinds) > 0 {
			q = q.Where("kind IN ?", f.Kinds)
		}
		if !f.Period.From.IsZero() {
			q = q.Where("at >= ?", store.At(f.Period.From))
		}
		if !f.Period.Until.IsZero() {
			q = q.Where("at < ?", store.At(f.Period.Until))
		}
		var rows []eventRow
		err := tx.Find(store.After(q, eventsTable, "at", at.place, at.started, at.limit), &rows)
		page = pageFrom(at, rows, func(r eventRow) store.Place { return store.Place{At: r.At, ID: r.ID} }, eventRow.public)
		return err
	})
	return page, err
}

// maxKinds bounds one filter; there are fewer.
const maxKinds = 100

// check adds the filter's faults to c.
func (f EventFilter) check(c *checks) error {
	c.period("period", f.Period)
	if len(f.Kinds) > maxKinds {
		c.add("kinds", "too_long", "must be at most 100", nil)
	}
	for _, kind := range f.Kinds {
		if !store.Plain(kind) {
			c.add("kinds", "format", "must be valid UTF-8", nil)
			break
		}
	}
	if !store.Plain(string(f.Partner)) { // beside an account, it is not the target
		return errNotHere
	}
	return c.err()
}

func (r eventRow) public() Event {
	return Event{ID: r.ID, At: r.At.Time(), Kind: r.Kind, Actor: r.Actor, Subject: r.Subject, Partner: ID(r.PartnerID),
		Account: AccountID(text(r.AccountID)), Target: r.Target, Changed: words(r.Changed)}
}
