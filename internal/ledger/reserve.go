package ledger

import (
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Reservation is units set apart until Expires, for one outcome: posted or voided.
type Reservation struct {
	ID        string
	Owner     string
	Unit      string
	PartnerID string
	Key       string // of the transfer that set them apart
	Quantity  int64
	State     string // "open", "posted", "voided"
	Expires   store.Micros
	Replayed  bool // the key was seen before
}

// Reserve sets units apart: p goes from what its owner holds to what he has reserved. It lasts for d, and never longer than the lots it
// takes. A repeated key returns the first reservation, whatever has become of it.
func Reserve(tx *store.Tx, p Posting, d time.Duration) (r Reservation, notes []Note, err error) {
	w, err := open(tx, p.Book, []Posting{p}, waiting)
	if err != nil {
		return r, nil, err
	}
	t, err := w.one(p)
	if err != nil {
		return r, nil, err
	}
	if t.Replayed {
		err := tx.Query(engine, &r, reservations+" WHERE partner_id = ? AND key = ?", p.Partner, p.Key)
		r.Replayed = true
		return r, w.notes, err
	}
	r = Reservation{ID: tx.NewID("res"), Owner: p.From.Owner, Unit: p.Unit, PartnerID: p.Partner, Key: p.Key, Quantity: p.Quantity, State: "open",
		Expires: tx.Now().Add(d)}
	for _, s := range t.Shares {
		if s.Until != 0 {
			r.Expires = min(r.Expires, s.Until)
		}
	}
	_, err = tx.Exec(engine, `INSERT INTO prm_ledger_reservations (id, book, owner, unit, partner_id, key, quantity, state, expires, created_at, ended_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, 'open', ?, ?, 0)`, r.ID, p.Book, r.Owner, r.Unit, r.PartnerID, r.Key, r.Quantity, r.Expires, t.Recorded)
	if err != nil {
		return r, nil, err
	}
	a := w.accounts[name{r.Owner, r.Unit}]
	a.dueBy(r.Expires)
	w.touch(a.head)
	_, err = w.flush()
	return r, w.notes, err
}

const reservations = "SELECT id, owner, unit, partner_id, key, quantity, state, expires FROM prm_ledger_reservations"

// FindReservation reads one; a zero Reservation if there is none. Its owner never changes.
func FindReservation(tx *store.Tx, book Book, id string) (r Reservation, err error) {
	if !store.Plain(id) {
		return r, nil
	}
	err = tx.Query(engine, &r, reservations+" WHERE id = ? AND book = ?", id, book)
	return r, err
}

// Finish ends a reservation: p says where its units go, posted to Consumed or voided to Held. ErrDone if it has ended already, by a
// timeout too; else refusal, if there is one; a repeated key returns the first transfer.
func Finish(tx *store.Tx, r Reservation, p Posting, refusal error) (t Transfer, notes []Note, err error) {
	p.Unit, p.Quantity, p.Partner, p.From = r.Unit, r.Quantity, r.PartnerID, End{r.Owner, Reserved}
	w, err := open(tx, p.Book, []Posting{p}, waiting)
	if err != nil {
		return t, nil, err
	}
	a := w.accounts[name{r.Owner, r.Unit}]
	if !p.Fresh { // again, now that the account is held
		if first, found, err := Replay(tx, p); found || err != nil {
			return first, w.notes, err
		}
	}
	state := "voided"
	if p.To.State == Consumed {
		state = "posted"
	}
	if p.Lots, err = sharesOf(tx, r.PartnerID, "reserve", r.Key); err != nil {
		return t, nil, err
	}
	n, err := tx.Exec(engine, "UPDATE prm_ledger_reservations SET state = ?, ended_at = ? WHERE id = ? AND state = 'open'",
		state, max(tx.Clock(), a.head.Recorded+1), r.ID)
	switch {
	case err != nil:
		return t, nil, err
	case n == 0:
		return t, nil, ErrDone
	case refusal != nil:
		return t, nil, refusal
	}
	if t, err = w.one(p); err != nil {
		return t, nil, err
	}
	if err := w.schedule(a, tx.Now()); err != nil {
		return t, nil, err
	}
	_, err = w.flush()
	return t, w.notes, err
}

// sharesOf reads which lots a transfer moved.
func sharesOf(tx *store.Tx, partner, verb, key string) ([]Share, error) {
	var found []entry
	err := tx.Query(engine, &found, selectEntries+" WHERE t.partner_id = ? AND t.verb = ? AND t.key = ? ORDER BY t.part", partner, verb, key)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return transfers(found)[0].Shares, nil
}
