package license

import (
	"context"
	"errors"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Consume uses n licences of a project up, the lots that run out first before the others; what is used up never moves again. Partner
// users, and the project's own log-in. *[InsufficientError]; [ErrShrinkPlanRequired]; states as [Ledger.Assign]. Concurrent callers share
// a commit, as there.
func (l *Ledger) Consume(ctx context.Context, of partner.AccountID, sku string, n int64, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "consume %d %s of %s", n, sku, of)
	w, faults := newWrite("consume", sku, n, string(of), o)
	return l.run(ctx, &move{write: w, ask: use(of), shared: true, route: func(*store.Tx, *partner.Standing) (from, to ledger.End, err error) {
		return ledger.HeldBy(string(of)), ledger.End{Owner: string(of), State: ledger.Consumed}, w.notFrom()
	}}, faults)
}

// use is the access question of what a project does with its licences.
func use(of partner.AccountID) partner.Ask {
	return partner.Ask{Action: "license.use", Target: string(of)}
}

// notFrom refuses an asserted source that is not the project the call names.
func (w write) notFrom() error {
	if w.from != nil && w.from.String() != w.target {
		return ErrWrongContext
	}
	return nil
}

// Reservation is units that are set apart until Expires: [Ledger.Post] uses them up, [Ledger.Void] frees them, and time frees them too.
type Reservation struct {
	ID       string
	Holder   partner.AccountID
	SKU      string
	Quantity int64
	State    string // "open", "posted" or "voided"
	Expires  time.Time
	Key      string
}

const (
	defaultReservation = 15 * time.Minute
	maxReservation     = 366 * 24 * time.Hour
)

// Reserve sets n licences of a project apart for d, 15 minutes if it is 0 and a year at most, and not longer than their lots are valid.
// Nobody can move, use or reserve them meanwhile. Who may and errors: as [Ledger.Consume].
func (l *Ledger) Reserve(ctx context.Context, of partner.AccountID, sku string, n int64, d time.Duration, o ...Option) (r Reservation, err error) {
	defer wrap(&err, "reserve %d %s of %s", n, sku, of)
	w, faults := newWrite("reserve", sku, n, string(of), o)
	if d < 0 || d > maxReservation {
		faults = append(faults, partner.FieldError{Path: "for", Code: "range", Message: "must be up to a year"})
	}
	if d == 0 {
		d = defaultReservation
	}
	if len(faults) > 0 {
		return r, &partner.ValidationError{Fields: faults}
	}
	if !w.keyed {
		w.key, w.fresh = l.reg.NewKey(), true
	}
	ask := use(of)
	ask.Keyed = w.keyed
	defer l.recent.Forget(string(of), sku)
	err = l.reg.Write(ctx, ask, func(tx *store.Tx, s *partner.Standing) error {
		p := w.posting(tx, s, ledger.HeldBy(string(of)), ledger.End{Owner: string(of), State: ledger.Reserved})
		p.Hash = ledger.Digest(p.Hash, d.String())
		if err := first(s.Refusal(), w.dates(tx, s), w.notFrom()); err != nil {
			if _, found, lost := ledger.Replay(tx, p); !found || lost != nil {
				return first(lost, err)
			}
		}
		made, notes, err := ledger.Reserve(tx, p, d)
		r = reservation(made)
		if err != nil {
			return w.notDefined(tx, err)
		}
		if err := l.reg.Happened(tx, notes); err != nil || made.Replayed {
			return err
		}
		return s.Record(tx, w.event(), string(of), "quantity")
	})
	if err != nil {
		return Reservation{Key: w.lost(err).Key}, translate(err)
	}
	return r, nil
}

func reservation(r ledger.Reservation) Reservation {
	return Reservation{ID: r.ID, Holder: partner.AccountID(r.Owner), SKU: r.Unit, Quantity: r.Quantity, State: r.State, Expires: r.Expires.Time(), Key: r.Key}
}

// Post uses a reservation up. [ErrReservationDone] if it has been posted or voided, by its time too; a repeated [Key] gives the first
// answer. Who may: as [Ledger.Consume].
func (l *Ledger) Post(ctx context.Context, reservation string, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "post %s", reservation)
	return l.finish(ctx, "post", reservation, ledger.Consumed, o)
}

// Void frees a reservation. Errors and who may: as [Ledger.Post].
func (l *Ledger) Void(ctx context.Context, reservation string, o ...Option) (t Transfer, err error) {
	defer wrap(&err, "void %s", reservation)
	return l.finish(ctx, "void", reservation, ledger.Held, o)
}

// finish ends a reservation one way or the other. Its owner never changes, so it can be found before the call is decided on.
func (l *Ledger) finish(ctx context.Context, verb, id string, to ledger.State, o []Option) (t Transfer, err error) {
	w := write{verb: verb, target: id}
	for _, option := range o {
		if option != nil {
			option(&w.options)
		}
	}
	if faults := w.check(); len(faults) > 0 {
		return t, &partner.ValidationError{Fields: faults}
	}
	if !w.keyed {
		w.key, w.fresh = l.reg.NewKey(), true
	}
	var r ledger.Reservation
	err = l.reg.Read(ctx, partner.Ask{Action: "license.find"}, func(tx *store.Tx, _ *partner.Standing) (err error) {
		r, err = ledger.FindReservation(tx, ledger.Licenses, id)
		return err
	})
	if err != nil {
		return t, err
	}
	w.sku, w.quantity = r.Unit, r.Quantity
	ask := use(partner.AccountID(r.Owner))
	ask.Keyed = true // whatever has become of the project, a reservation that is done says so
	defer l.recent.Forget(r.Owner, r.Unit)
	err = l.reg.Write(ctx, ask, func(tx *store.Tx, s *partner.Standing) error {
		p := w.posting(tx, s, ledger.End{Owner: r.Owner, State: ledger.Reserved}, ledger.End{Owner: r.Owner, State: to})
		if !p.Fresh {
			if earlier, found, err := ledger.Replay(tx, p); found || err != nil {
				t = public(earlier)
				return err
			}
		}
		posted, notes, err := ledger.Finish(tx, r, p, first(s.Refusal(), w.dates(tx, s)))
		t = public(posted)
		if err != nil {
			return err
		}
		if err := l.reg.Happened(tx, notes); err != nil || posted.Replayed {
			return err
		}
		return s.Record(tx, w.event(), r.Owner, "quantity")
	})
	if err != nil {
		return w.lost(err), translate(err)
	}
	return t, nil
}

// lost is what a call returns beside its error: if nobody knows what became of it, the key to repeat it with.
func (w write) lost(err error) Transfer {
	if errors.Is(err, partner.ErrOutcomeUnknown) {
		return Transfer{Key: w.key}
	}
	return Transfer{}
}

// first is the first error there is.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
