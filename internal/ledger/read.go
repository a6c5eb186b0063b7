package ledger

import (
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Totals is what an owner has of one unit, over all lots. Available is held and valid; Upcoming is held and not valid yet.
type Totals struct {
	Unit                                             string
	Available, Upcoming, Reserved, Consumed, Expired int64
}

// holding is what an owner has of one unit in one state and lot.
type holding struct {
	I                     int // of the point it was asked for at
	Unit                  string
	State                 State
	Lot                   int64
	Amount                int64
	Due                   store.Micros
	ValidFrom, ValidUntil store.Micros
}

// Balances returns what an owner has in a book, of one unit or of all (""), by unit. What has run out by now counts as such, whether or
// not that has been written. What there never was any of is not there.
func Balances(tx *store.Tx, book Book, owner, unit string) ([]Totals, error) {
	var rows []holding
	err := tx.Query(engine, &rows, `SELECT b.unit, b.state, b.lot, b.amount, b.due, COALESCE(l.valid_from, 0) AS valid_from, COALESCE(l.valid_until, 0) AS valid_until
		FROM prm_ledger_balances b LEFT JOIN prm_ledger_lots l ON l.id = b.lot
		WHERE b.owner = ? AND b.book = ? AND (? = '' OR b.unit = ?) AND b.recorded > 0 ORDER BY b.unit`, owner, book, unit, unit)
	if err != nil {
		return nil, err
	}
	due := false
	for _, r := range rows {
		due = due || r.Due != 0 && r.Due <= tx.Now()
	}
	if due {
		list, err := lapsed(tx, book, owner, unit, 0, tx.Now())
		if err != nil {
			return nil, err
		}
		for _, l := range list {
			rows = release(rows, l.Unit, l.shares)
		}
	}
	return totals(rows, tx.Now()), nil
}

// release puts reserved units back among the held ones.
func release(rows []holding, unit string, shares []Share) []holding {
	for _, s := range shares {
		for i := range rows {
			r := &rows[i]
			switch {
			case r.Unit != unit || r.Lot != s.Lot:
			case r.State == Reserved:
				r.Amount -= s.Quantity
			case r.State == Held:
				r.Amount += s.Quantity
			}
		}
	}
	return rows
}

// totals adds up rows that are in the order of their units, as they count at now.
func totals(rows []holding, now store.Micros) []Totals {
	var list []Totals
	for _, r := range rows {
		if n := len(list); n == 0 || list[n-1].Unit != r.Unit {
			list = append(list, Totals{Unit: r.Unit})
		}
		t := &list[len(list)-1]
		switch {
		case r.State == Reserved:
			t.Reserved += r.Amount
		case r.State == Consumed:
			t.Consumed += r.Amount
		case r.State == Expired, r.ValidUntil != 0 && r.ValidUntil <= now:
			t.Expired += r.Amount
		case r.ValidFrom > now:
			t.Upcoming += r.Amount
		default:
			t.Available += r.Amount
		}
	}
	return list
}

// LockBalances takes all that an owner has in a book, in the order of the locks, and returns it without regard to time, for a caller that
// will move it.
func LockBalances(tx *store.Tx, book Book, owner string) (list []Totals, err error) {
	var rows []holding
	err = tx.Query(engine, &rows, `SELECT unit, state, lot, amount FROM prm_ledger_balances WHERE owner = ? AND book = ? ORDER BY id`+
		tx.Lock("UPDATE"), owner, book)
	return totals(rows, 0), err
}

// Moved tells whether an owner has any transfer in a book.
func Moved(tx *store.Tx, book Book, owner string) (bool, error) {
	var n int64
	err := tx.Query(engine, &n, `SELECT count(*) FROM (SELECT 1 FROM prm_ledger_balances b WHERE b.owner = ? AND b.book = ? AND (
		EXISTS (SELECT 1 FROM prm_ledger_transfers t WHERE t.from_id = b.id) OR EXISTS (SELECT 1 FROM prm_ledger_transfers t WHERE t.to_id = b.id))
		LIMIT 1) x`, owner, book)
	return n > 0, err
}

// Drop removes an owner's balances in a book; only those without a transfer can go.
func Drop(tx *store.Tx, book Book, owner string) error {
	_, err := tx.Exec(engine, "DELETE FROM prm_ledger_balances WHERE owner = ? AND book = ?", owner, book)
	return err
}

// Hold makes sure that owners of one partner have accounts of a unit, and holds them until tx ends.
func Hold(tx *store.Tx, book Book, unit, partner string, owners ...string) ([]Note, error) {
	var list []Posting
	for _, owner := range owners {
		list = append(list, Posting{Unit: unit, Partner: partner, From: HeldBy(owner), To: HeldBy(owner)})
	}
	w, err := open(tx, book, list, waiting)
	if err != nil {
		return nil, err
	}
	return w.notes, nil
}

// Await waits for the transfers of an owner that are in flight, and lets none begin until tx ends. What is recorded until then, or up to now if
// that is Forever, is then all there will ever be, and a statement of it stays as it is: it is written down that it has been told, and what
// comes later is recorded later, whatever the clock says. An account has to be there for that; see Prepare.
func Await(tx *store.Tx, book Book, owner string, until store.Micros) error {
	var rows []balance
	err := tx.Query(engine, &rows, "SELECT id, state, lot, recorded, stated FROM prm_ledger_balances WHERE owner = ? AND book = ? ORDER BY id"+tx.Lock("NO KEY UPDATE"), owner, book)
	if err != nil {
		return err
	}
	until = min(until, tx.Clock())
	if tx.Joined() && tx.Postgres() {
		if err := tellForGood(tx); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(rows, func(b balance) bool { return b.State == Held && b.Lot == 0 && max(b.Recorded, b.Stated) < until }) {
		return nil
	}
	_, err = tx.Exec(engine, `UPDATE prm_ledger_balances SET stated = ? WHERE owner = ? AND book = ? AND state = 'held' AND lot = 0
		AND recorded < ? AND stated < ?`, until, owner, book, until, until)
	return err
}

// Prepare makes an owner's account of a unit, if it is not there: empty, and for whoever makes it at the same time to wait for.
func Prepare(tx *store.Tx, book Book, unit, partner, owner string) error {
	w := newWorld(tx, book, []Posting{{Unit: unit, Partner: partner, From: HeldBy(owner), To: HeldBy(owner)}}, waiting)
	return w.create(w.names())
}

// tellForGood has no transfer go through that has its time already, for what is told in a host's transaction has been told even if that is
// rolled back: it raises the number that those rely on, and waits for those that have found it as it was.
func tellForGood(tx *store.Tx) error {
	var number int64
	return tx.Scan(engine, func(r store.Row) error {
		var locked, unlocked string
		return r.Scan(&number, &locked, &unlocked)
	}, `SELECT nextval('prm_facts'), CAST(pg_advisory_lock(hashtextextended('prm_facts', 7369325)) AS TEXT),
		CAST(pg_advisory_unlock(hashtextextended('prm_facts', 7369325)) AS TEXT)`)
}

// Forever is later than any recorded time.
const Forever = store.Micros(1<<63 - 1)

// Point is an instant on both clocks: what counts at Effective, as it was known at Known. Lots and reservations are judged at Effective,
// or at Now if Effective is Forever.
type Point struct{ Effective, Known, Now store.Micros }

func (p Point) judged() store.Micros {
	if p.Effective == Forever {
		return p.Now
	}
	return p.Effective
}

// HoldingsAt returns what an owner had at each point, of one unit or of all (""), in one statement for all of them.
func HoldingsAt(tx *store.Tx, book Book, owner, unit string, points []Point) ([][]Totals, error) {
	rows, err := holdings(tx, book, owner, unit, points)
	if err != nil {
		return nil, err
	}
	open, err := reservedSince(tx, book, owner, unit, points)
	if err != nil {
		return nil, err
	}
	list := make([][]Totals, len(points))
	for i, p := range points {
		for _, r := range open {
			if r.CreatedAt <= p.Known && r.Expires <= p.judged() && (r.EndedAt == 0 || r.EndedAt > p.Known) {
				rows[i] = release(rows[i], r.Unit, []Share{{Lot: r.Lot, Quantity: r.Quantity}})
			}
		}
		for _, t := range totals(rows[i], p.judged()) {
			if t != (Totals{Unit: t.Unit}) {
				list[i] = append(list[i], t)
			}
		}
	}
	return list, nil
}

// reservedUntil is a lot of a reservation with its times.
type reservedUntil struct {
	Unit                        string
	Lot, Quantity               int64
	CreatedAt, Expires, EndedAt store.Micros
}

// reservedSince reads the reservations that had run out at one of the points and were still open as it was known then.
func reservedSince(tx *store.Tx, book Book, owner, unit string, points []Point) (list []reservedUntil, err error) {
	known, latest := Forever, store.Micros(0)
	for _, p := range points {
		known, latest = min(known, p.Known), max(latest, p.judged())
	}
	err = tx.Query(engine, &list, `SELECT r.unit, o.lot, t.quantity, r.created_at, r.expires, r.ended_at FROM prm_ledger_reservations r
		JOIN prm_ledger_transfers t ON t.partner_id = r.partner_id AND t.verb = 'reserve' AND t.key = r.key JOIN prm_ledger_balances o ON o.id = t.to_id
		WHERE r.owner = ? AND r.book = ? AND (? = '' OR r.unit = ?) AND r.expires <= ? AND (r.ended_at = 0 OR r.ended_at > ?)`,
		owner, book, unit, unit, latest, known)
	return list, err
}

var pointColumns = store.ColumnsOf("i INTEGER", "at BIGINT", "effective BIGINT", "known BIGINT")

// holdings reads an owner's rows as they were at each point.
//
// Most transfers take effect when recorded, so the answer is the running balance at the earlier of the two times, found by index, mended
// by the dated transfers alone: take back those recorded by then that take effect later, add those recorded since that take effect in time.
func holdings(tx *store.Tx, book Book, owner, unit string, points []Point) ([][]holding, error) {
	list := tx.Rows(pointColumns)
	for i, p := range points {
		list.Add(i, min(p.Effective, p.Known), p.Effective, p.Known)
	}
	var rows []holding
	err := tx.Query(engine, &rows, `SELECT x.i, b.unit, b.state, b.lot, COALESCE(l.valid_from, 0) AS valid_from, COALESCE(l.valid_until, 0) AS valid_until,
		COALESCE((SELECT y.after FROM (
			SELECT * FROM (SELECT t.from_after AS after, t.recorded, t.id FROM prm_ledger_transfers t WHERE t.from_id = b.id AND t.recorded <= x.at ORDER BY t.recorded DESC, t.id DESC LIMIT 1) o
			UNION ALL
			SELECT * FROM (SELECT t.to_after AS after, t.recorded, t.id FROM prm_ledger_transfers t WHERE t.to_id = b.id AND t.recorded <= x.at ORDER BY t.recorded DESC, t.id DESC LIMIT 1) i
		) y ORDER BY y.recorded DESC, y.id DESC LIMIT 1), 0)
		+ COALESCE((SELECT CAST(SUM(`+mend+`t.quantity) AS BIGINT) FROM prm_ledger_transfers t WHERE t.from_id = b.id AND t.effective <> t.recorded), 0)
		- COALESCE((SELECT CAST(SUM(`+mend+`t.quantity) AS BIGINT) FROM prm_ledger_transfers t WHERE t.to_id = b.id AND t.effective <> t.recorded), 0) AS amount
		FROM `+list.SQL()+` CROSS JOIN prm_ledger_balances b LEFT JOIN prm_ledger_lots l ON l.id = b.lot
		WHERE b.owner = ? AND b.book = ? AND (? = '' OR b.unit = ?) ORDER BY x.i, b.unit, b.state, b.lot`, append(list.Args(), owner, book, unit, unit)...)
	at := make([][]holding, len(points))
	for _, r := range rows {
		at[r.I] = append(at[r.I], r)
	}
	return at, err
}

// mend is +1 for a dated transfer to take back, -1 for one to add, seen from the side that lost the units.
const mend = `(CASE WHEN t.recorded <= x.at AND t.effective > x.effective THEN 1
	WHEN t.recorded > x.at AND t.recorded <= x.known AND t.effective <= x.effective THEN -1 ELSE 0 END) * `
