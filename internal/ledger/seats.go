package ledger

import (
	"github.com/partnerkit/partnerkit/internal/store"
)

// Seat is a held unit given to one person. It stays held: it only cannot go as long as the seat is in use.
type Seat struct {
	ID        string
	Owner     string
	Unit      string
	PartnerID string
	Person    string
	Since     store.Micros
}

const seats = "SELECT id, owner, unit, partner_id, person, since FROM prm_ledger_seats"

// TakeSeat gives a person a seat, key being what makes two spellings of the same person one; the seat that he has already is as good.
// *Short if all held units are taken.
func TakeSeat(tx *store.Tx, book Book, owner, unit, partner, person, key string) (s Seat, fresh bool, notes []Note, err error) {
	w, a, err := hold(tx, book, owner, unit, partner)
	if err != nil {
		return s, false, nil, err
	}
	err = tx.Query(engine, &s, seats+" WHERE owner = ? AND unit = ? AND person_key = ? AND ended_at = 0", owner, unit, key)
	if err != nil || s.ID != "" {
		return s, false, w.notes, err
	}
	if free := a.usable(tx.Now(), false) - a.head.Seats; free < 1 {
		return s, false, nil, a.short(1, max(free, 0))
	}
	s = Seat{ID: tx.NewID("sea"), Owner: owner, Unit: unit, PartnerID: partner, Person: person, Since: tx.Now()}
	_, err = tx.Exec(engine, `INSERT INTO prm_ledger_seats (id, book, owner, unit, partner_id, person, person_key, since, ended_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)`, s.ID, book, owner, unit, partner, person, key, s.Since)
	if err != nil {
		return s, false, nil, err
	}
	a.head.Seats++
	w.touch(a.head)
	_, err = w.flush()
	return s, true, w.notes, err
}

// hold takes one account.
func hold(tx *store.Tx, book Book, owner, unit, partner string) (*world, *account, error) {
	w, err := open(tx, book, []Posting{{Unit: unit, Partner: partner, From: HeldBy(owner), To: HeldBy(owner)}}, waiting)
	if err != nil {
		return nil, nil, err
	}
	return w, w.accounts[name{owner, unit}], nil
}

// ForgetSeats forgets who had seats of an owner that is being deleted, and tells how many.
func ForgetSeats(tx *store.Tx, book Book, owner string) (n int64, err error) {
	return tx.Exec(engine, "DELETE FROM prm_ledger_seats WHERE owner = ? AND book = ?", owner, book)
}

// FindSeat reads one that is in use; a zero Seat if there is none. Its owner never changes.
func FindSeat(tx *store.Tx, book Book, id string) (s Seat, err error) {
	if !store.Plain(id) {
		return s, nil
	}
	err = tx.Query(engine, &s, seats+" WHERE id = ? AND book = ? AND ended_at = 0", id, book)
	return s, err
}

// LeaveSeat ends one; false if it has ended already.
func LeaveSeat(tx *store.Tx, book Book, s Seat) (bool, []Note, error) {
	w, a, err := hold(tx, book, s.Owner, s.Unit, s.PartnerID)
	if err != nil {
		return false, nil, err
	}
	n, err := w.endSeats(a, []string{s.ID})
	if err != nil {
		return false, nil, err
	}
	_, err = w.flush()
	return n == 1, w.notes, err
}

var idColumns = store.ColumnsOf("id TEXT")

// endSeats ends seats of an account that is held.
func (w *world) endSeats(a *account, ids []string) (int64, error) {
	list := w.tx.Rows(idColumns)
	for _, id := range ids {
		list.Add(id)
	}
	n, err := w.tx.Exec(engine, `UPDATE prm_ledger_seats SET ended_at = ? WHERE owner = ? AND unit = ? AND ended_at = 0
		AND id IN (SELECT x.id FROM `+list.SQL()+`)`, append([]any{w.tx.Now(), a.owner, a.unit}, list.Args()...)...)
	a.head.Seats -= n
	w.touch(a.head)
	return n, err
}

// unseat ends the n newest seats, which lost their licence at a moment.
func (w *world) unseat(a *account, n int64, at store.Micros) error {
	if n == 0 {
		return nil
	}
	a.head.Seats -= n
	w.touch(a.head)
	w.notes = append(w.notes, Note{Verb: "unseat", Owner: a.owner, Partner: *a.head.PartnerID})
	if w.how == looking {
		return nil
	}
	_, err := w.tx.Exec(engine, `UPDATE prm_ledger_seats SET ended_at = ? WHERE id IN (SELECT id FROM prm_ledger_seats
		WHERE owner = ? AND unit = ? AND ended_at = 0 ORDER BY since DESC, id DESC LIMIT ?)`, at, a.owner, a.unit, n)
	return err
}

// SeatPlace is the position behind the last seat of a page.
type SeatPlace struct {
	Since store.Micros
	ID    string
}

// Seats returns at most limit seats in use behind place, oldest first. Seats that have lost their licence are not in use, even if time
// has not been written down yet: of more seats than units the oldest count.
func Seats(tx *store.Tx, book Book, owner, unit string, place SeatPlace, limit int) ([]Seat, error) {
	w, err := open(tx, book, []Posting{{Unit: unit, From: HeldBy(owner), To: HeldBy(owner)}}, looking)
	if err != nil {
		return nil, err
	}
	inUse := w.accounts[name{owner, unit}].head.Seats
	var list []Seat
	err = tx.Query(engine, &list, `SELECT id, owner, unit, partner_id, person, since FROM (`+seats+` WHERE owner = ? AND unit = ? AND book = ? AND ended_at = 0
		ORDER BY since, id LIMIT ?) s WHERE (since, id) > (?, ?) ORDER BY since, id LIMIT ?`,
		owner, unit, book, inUse, place.Since, place.ID, limit)
	return list, err
}

// Shrink lowers what an owner holds and ends the seats in the way, in one go.
func Shrink(tx *store.Tx, p Posting, ids []string) (t Transfer, notes []Note, err error) {
	w, err := open(tx, p.Book, []Posting{p}, waiting)
	if err != nil {
		return t, nil, err
	}
	if _, err = w.endSeats(w.accounts[name{p.From.Owner, p.Unit}], ids); err != nil {
		return t, nil, err
	}
	t, err = w.one(p)
	return t, w.notes, err
}
