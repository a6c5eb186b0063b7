package license

import (
	"context"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Seat is a licence of a project that is in one person's use.
type Seat struct {
	ID      string
	Account partner.AccountID
	SKU     string
	Person  string
	Since   time.Time
}

func seat(s ledger.Seat) Seat {
	return Seat{ID: s.ID, Account: partner.AccountID(s.Owner), SKU: s.Unit, Person: s.Person, Since: s.Since.Time()}
}

// Seat gives a licence of a project to a person, named as the host names people: an address, a user id. It stays the project's, and cannot
// leave as long as the seat is in use. A person who has a seat keeps it: the same seat is returned, however the name is spelt in case,
// form, spaces and characters that nobody sees. There are never more seats than available licences: *[InsufficientError]. Partner users, and
// the project's own log-in.
func (l *Ledger) Seat(ctx context.Context, of partner.AccountID, sku, person string) (made Seat, err error) {
	defer wrap(&err, "seat of %s in %s", sku, of)
	person = strings.TrimSpace(person)
	if faults := append(checkSKU(sku), (partner.Check{}).Name("person", person)...); len(faults) > 0 {
		return made, &partner.ValidationError{Fields: faults}
	}
	defer l.recent.Forget(string(of), sku)
	err = l.reg.Write(ctx, use(of), func(tx *store.Tx, s *partner.Standing) error {
		taken, fresh, notes, err := ledger.TakeSeat(tx, ledger.Licenses, string(of), sku, s.Of().String(), person, partner.Check{}.Same(person))
		made = seat(taken)
		if err != nil {
			return write{sku: sku}.notDefined(tx, err)
		}
		if err := l.reg.Happened(tx, notes); err != nil || !fresh {
			return err
		}
		return s.Record(tx, "license.seated", string(of), "seat")
	})
	return made, translate(err)
}

// Unseat ends a seat; one that has ended already is [partner.ErrNotFound]. Who may: as [Ledger.Seat].
func (l *Ledger) Unseat(ctx context.Context, id string) (err error) {
	defer wrap(&err, "unseat %s", id)
	var found ledger.Seat
	err = l.reg.Read(ctx, partner.Ask{Action: "license.find"}, func(tx *store.Tx, _ *partner.Standing) (err error) {
		found, err = ledger.FindSeat(tx, ledger.Licenses, id)
		return err
	})
	if err != nil {
		return err
	}
	defer l.recent.Forget(found.Owner, found.Unit)
	return l.reg.Write(ctx, use(partner.AccountID(found.Owner)), func(tx *store.Tx, s *partner.Standing) error {
		ended, notes, err := ledger.LeaveSeat(tx, ledger.Licenses, found)
		if err != nil {
			return err
		}
		if !ended {
			return partner.ErrNotFound
		}
		if err := l.reg.Happened(tx, notes); err != nil {
			return err
		}
		return s.Record(tx, "license.unseated", found.Owner, "seat")
	})
}

// Seats pages through the seats of a project in use, oldest first. Who may: as [Ledger.Balance].
func (l *Ledger) Seats(ctx context.Context, of partner.AccountID, sku string, p partner.PageRequest) (page partner.Page[Seat], err error) {
	defer wrap(&err, "seats of %s", of)
	if faults := checkSKU(sku); len(faults) > 0 {
		return page, &partner.ValidationError{Fields: faults}
	}
	limit, err := store.Limit(p.Limit)
	if err != nil {
		return page, err
	}
	list := "seats" + string(of) + "/" + sku
	at, _, err := store.ParseCursor(p.After, list)
	if err != nil {
		return page, err
	}
	err = l.reg.Read(ctx, about(of), func(tx *store.Tx, _ *partner.Standing) error {
		rows, err := ledger.Seats(tx, ledger.Licenses, string(of), sku, ledger.SeatPlace{Since: at.At, ID: at.ID}, limit+1)
		if len(rows) > limit {
			rows = rows[:limit]
			page.Next = store.Cursor(store.Place{At: rows[limit-1].Since, ID: rows[limit-1].ID}, list)
		}
		for _, r := range rows {
			page.Items = append(page.Items, seat(r))
		}
		return err
	})
	return page, err
}
