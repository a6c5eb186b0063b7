package ledger

import (
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// What time does to an account: reservations that nobody posted are void, lots run out, and seats that have lost their licence end. It
// is true from the moment it falls due, whoever asks; it is written by the next call that takes the account, or by Settle.

// Settle writes what is due by now on at most limit accounts of a book; more tells that there may be others. Accounts that somebody
// holds are passed over.
func Settle(tx *store.Tx, book Book, limit int) (notes []Note, more bool, err error) {
	var rows []*balance
	err = tx.Query(engine, &rows, headColumns+` FROM prm_ledger_balances b WHERE b.due > 0 AND b.due <= ? AND b.book = ? ORDER BY b.due, b.id LIMIT ?`+
		tx.Lock("UPDATE OF b SKIP LOCKED"), tx.Now(), book, limit)
	if err != nil || len(rows) == 0 {
		return nil, false, err
	}
	w := &world{tx: tx, book: book, how: waiting, accounts: map[name]*account{}, made: map[[3]string]int64{}}
	need := map[*account]bool{}
	for _, b := range rows {
		w.add(b)
		need[w.accounts[name{b.Owner, b.Unit}]] = true
	}
	if err := w.fill(need); err != nil {
		return nil, false, err
	}
	for _, b := range rows {
		if err := w.settle(w.accounts[name{b.Owner, b.Unit}]); err != nil {
			return nil, false, err
		}
	}
	return w.notes, len(rows) == limit, nil
}

// lapse is a reservation that has run out.
type lapse struct {
	ID, Owner, Unit string
	PartnerID       string
	Expires         store.Micros
	shares          []Share
}

// lapsed reads the reservations of an owner ("" is every unit) that are open and ran out in (since, until], with the lots they hold.
func lapsed(tx *store.Tx, book Book, owner, unit string, since, until store.Micros) ([]lapse, error) {
	var rows []struct {
		ID, Owner, Unit, PartnerID string
		Expires                    store.Micros
		Lot, Quantity              int64
	}
	err := tx.Query(engine, &rows, `SELECT r.id, r.owner, r.unit, r.partner_id, r.expires, o.lot, t.quantity FROM prm_ledger_reservations r
		JOIN prm_ledger_transfers t ON t.partner_id = r.partner_id AND t.verb = 'reserve' AND t.key = r.key JOIN prm_ledger_balances o ON o.id = t.to_id
		WHERE r.owner = ? AND (? = '' OR r.unit = ?) AND r.book = ? AND r.state = 'open' AND r.expires > ? AND r.expires <= ? ORDER BY r.expires, r.id, t.part`,
		owner, unit, unit, book, since, until)
	var list []lapse
	for _, r := range rows {
		if n := len(list); n == 0 || list[n-1].ID != r.ID {
			list = append(list, lapse{ID: r.ID, Owner: r.Owner, Unit: r.Unit, PartnerID: r.PartnerID, Expires: r.Expires})
		}
		last := &list[len(list)-1]
		last.shares = append(last.shares, Share{Lot: r.Lot, Quantity: r.Quantity})
	}
	return list, err
}

// settle does what is due on an account that is held, and writes it: one moment after the other, for a seat that ends at one of them does
// not come back with what is freed at a later one.
func (w *world) settle(a *account) error {
	if err := w.fill(map[*account]bool{a: true}); err != nil {
		return err
	}
	// A unit can come back, by a correction, into a lot that has run out: that is due at a moment before what has happened since, and what
	// became valid meanwhile counts for the seats.
	since, moved := store.Micros(0), a.head.Recorded
	for a.due(w.tx.Now()) {
		at := a.head.Due
		if err := w.voidLapsed(a, since, at); err != nil {
			return err
		}
		if err := w.expire(a, at); err != nil {
			return err
		}
		then := max(at, moved)
		if err := w.unseat(a, a.head.Seats-min(a.head.Seats, a.usable(then, false)), then); err != nil {
			return err
		}
		if err := w.schedule(a, at); err != nil {
			return err
		}
		since = at
	}
	complete, err := w.flush()
	if err == nil && !complete {
		err = store.ErrAgain
	}
	return err
}

func (w *world) voidLapsed(a *account, since, until store.Micros) error {
	list, err := lapsed(w.tx, w.book, a.owner, a.unit, since, until)
	if err != nil {
		return err
	}
	ended := w.tx.Rows(endColumns)
	for _, l := range list {
		t, err := w.due(a, "void", l.PartnerID, Reserved, Held, l.shares, l.Expires)
		if err != nil {
			return err
		}
		ended.Add(l.ID, t.Recorded)
	}
	return w.endReservations(ended)
}

var endColumns = store.ColumnsOf("id TEXT", "at BIGINT")

// endReservations writes down that reservations are void, each since its own transfer: between two of them one is and the other is not.
func (w *world) endReservations(ended *store.Rows) error {
	if ended.Len() == 0 || w.how == looking {
		return nil
	}
	n, err := w.tx.Exec(engine, "UPDATE prm_ledger_reservations AS r SET state = 'voided', ended_at = x.at FROM "+ended.SQL()+
		" WHERE r.id = x.id AND r.state = 'open'", ended.Args()...)
	if err == nil && n != int64(ended.Len()) {
		err = store.ErrAgain
	}
	return err
}

func (w *world) expire(a *account, now store.Micros) error {
	for _, r := range slices.Clone(a.rows) {
		if r.State != Held || r.Amount <= 0 || r.ValidUntil == 0 || r.ValidUntil > now {
			continue
		}
		share := Share{r.Lot, Validity{r.ValidFrom, r.ValidUntil}, r.Amount}
		if _, err := w.due(a, "expire", *r.PartnerID, Held, Expired, []Share{share}, r.ValidUntil); err != nil {
			return err
		}
	}
	return nil
}

// due makes a transfer between two states of an account because its time has come. It asks nobody: seats follow, not the other way
// round.
func (w *world) due(a *account, verb, partner string, from, to State, shares []Share, at store.Micros) (Transfer, error) {
	key := w.tx.NewID("key")
	p := Posting{Book: w.book, Unit: a.unit, Verb: verb, From: End{a.owner, from}, To: End{a.owner, to}, Lots: shares, Partner: partner,
		Actor: System, Key: key, Fresh: true, Hash: key, Effective: at}
	for _, s := range shares {
		p.Quantity += s.Quantity
	}
	units, err := a.take(&p, w.tx.Now())
	if err != nil {
		return Transfer{}, err
	}
	w.notes = append(w.notes, Note{Verb: verb, Owner: a.owner, Partner: partner})
	return w.apply(&p, a, a, units)
}

// schedule sets when the account is due next after a moment.
func (w *world) schedule(a *account, after store.Micros) error {
	var next store.Micros
	err := w.tx.Query(engine, &next, `SELECT COALESCE(MIN(expires), 0) FROM prm_ledger_reservations WHERE owner = ? AND unit = ? AND book = ? AND state = 'open' AND expires > ?`,
		a.owner, a.unit, w.book, after)
	a.head.Due = 0
	a.dueBy(next)
	for _, r := range a.rows {
		if r.State == Held && r.Amount > 0 {
			a.dueBy(r.ValidUntil)
		}
	}
	w.touch(a.head)
	return err
}
