package ledger

import (
	"cmp"
	"maps"
	"slices"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// manner says how a world comes by its accounts.
type manner int

const (
	waiting   manner = iota // for whoever holds them, making those that are missing
	passingBy               // taking only what is there and free
	looking                 // without locks, writing nothing
	guessing                // as they are remembered, without locks: writing fails if they are not so
)

// world is the accounts of some postings in memory, and what has been done to them that is not written yet.
//
// One lock an account: its head's, taken in the order of ids. The rows under a head are read after it is held, so that none that
// somebody else made meanwhile is missed.
type world struct {
	tx       *store.Tx
	book     Book
	how      manner
	accounts map[name]*account
	partners map[name]string // whose a head is that has to be made
	moves    []Transfer      // in order
	legs     []leg
	touched  []*balance
	sending  *sending            // what has been put off
	sure     bool                // it fails by itself unless it does what it should
	left     bool                // the accounts are remembered as they are, and must not be changed
	made     map[[3]string]int64 // ids by key
	notes    []Note
}

// leg is one entry to write: what a move takes of one row.
type leg struct {
	move, part         int
	from, to           *balance
	n                  int64
	fromAfter, toAfter int64
}

// newWorld is a world of the accounts of postings, none of them there yet.
func newWorld(tx *store.Tx, book Book, list []Posting, how manner) *world {
	w := &world{tx: tx, book: book, how: how, accounts: map[name]*account{}, partners: map[name]string{}, made: map[[3]string]int64{}}
	for i := range list {
		p := &list[i]
		w.partners[name{p.From.Owner, p.Unit}] = p.Partner
		w.partners[name{p.To.Owner, p.Unit}] = p.Partner
	}
	return w
}

// names are those of the accounts, in order.
func (w *world) names() []name {
	return slices.SortedFunc(maps.Keys(w.partners), func(a, b name) int {
		return cmp.Or(cmp.Compare(a.owner, b.owner), cmp.Compare(a.unit, b.unit))
	})
}

// open brings the accounts of postings into memory.
func open(tx *store.Tx, book Book, list []Posting, how manner) (*world, error) {
	w := newWorld(tx, book, list, how)
	names := w.names()
	if err := w.lock(names); err != nil {
		return nil, err
	}
	if err := w.complete(list); err != nil {
		return nil, err
	}
	for _, n := range names { // by name: two calls that settle the same accounts do it in one order
		if a := w.accounts[n]; a.due(tx.Now()) {
			if err := w.settle(a); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

func (a *account) due(now store.Micros) bool { return a.head.Due != 0 && a.head.Due <= now }

// busy tells whether a posting must wait for somebody, or for time.
func (w *world) busy(p *Posting) bool {
	for _, owner := range [2]string{p.From.Owner, p.To.Owner} {
		if a := w.accounts[name{owner, p.Unit}]; a == nil || a.due(w.tx.Now()) {
			return true
		}
	}
	return false
}

// lock takes the heads, making those that are missing.
func (w *world) lock(names []name) error {
	for range 2 {
		rows, err := w.heads(names)
		if err != nil {
			return err
		}
		for _, b := range rows {
			w.add(b)
		}
		switch {
		case w.how == looking:
			w.imagine(names)
			return nil
		case len(w.accounts) == len(names):
			return nil
		}
		if err := w.create(names); err != nil {
			return err
		}
	}
	return fail.New(fail.Unavailable, "ledger: a new balance cannot be seen")
}

// imagine adds the accounts that are not there, as they would be made.
func (w *world) imagine(names []name) {
	for _, n := range names {
		if w.accounts[n] == nil {
			partner := w.partners[n]
			w.add(&balance{Book: w.book, Owner: n.owner, Unit: n.unit, State: Held, PartnerID: &partner, Bounded: !unbounded(w.book, HeldBy(n.owner)), Terms: Terms{Cap: -1}})
		}
	}
}

func (w *world) add(b *balance) {
	n := name{b.Owner, b.Unit}
	w.accounts[n] = &account{name: n, head: b, rows: []*balance{b}}
	b.written()
}

// touch marks rows to be written.
func (w *world) touch(rows ...*balance) {
	for _, b := range rows {
		if !b.dirty {
			b.dirty = true
			w.touched = append(w.touched, b)
		}
	}
}

// written notes that the database has b as it is.
func (b *balance) written() {
	b.dirty, b.wasAmount, b.wasRecorded, b.wasTerms = false, b.Amount, b.Recorded, b.Terms
}

var nameColumns = store.ColumnsOf("owner TEXT", "unit TEXT")

const (
	headColumns = "SELECT b.id, b.book, b.owner, b.unit, b.state, b.lot, b.partner_id, b.amount, b.bounded, b.recorded, b.lots, b.seats, b.cap, b.due, b.stated"

	// selectPair locks nothing unless both heads exist: whoever held one while making the other could wait in a circle with somebody who
	// makes the same one.
	selectPair = headColumns + ` FROM prm_ledger_balances b
		WHERE b.owner IN (?, ?) AND b.book = ? AND b.unit = ? AND b.state = 'held' AND b.lot = 0
		AND EXISTS (SELECT 1 FROM prm_ledger_balances WHERE owner = ? AND book = ? AND unit = ? AND state = 'held' AND lot = 0)
		AND EXISTS (SELECT 1 FROM prm_ledger_balances WHERE owner = ? AND book = ? AND unit = ? AND state = 'held' AND lot = 0) ORDER BY b.id`
)

// heads reads the heads under their locks, in the order of their ids.
func (w *world) heads(names []name) (rows []*balance, err error) {
	if one, other := names[0], names[len(names)-1]; len(names) <= 2 && one.unit == other.unit && w.how == waiting {
		err = w.tx.Scan(engine, keep(&rows), selectPair+w.tx.Lock("UPDATE OF b"), one.owner, other.owner, w.book, one.unit,
			one.owner, w.book, one.unit, other.owner, w.book, one.unit)
		return rows, err
	}
	if w.how == waiting { // all of them exist before any is held
		if err := w.create(names); err != nil {
			return nil, err
		}
	}
	if err := w.ask(names, &rows); err != nil {
		return nil, err
	}
	return rows, w.tx.Flush()
}

// ask asks for the heads, under their locks or as the world's manner is; they come with the next answer.
func (w *world) ask(names []name, into *[]*balance) error {
	list := w.list(names)
	if (w.how == passingBy || w.how == guessing) && w.tx.Postgres() { // one after the other by their index: no plan could be better, but the planner may think so
		lock := w.tx.Lock("UPDATE SKIP LOCKED")
		if w.how == guessing {
			lock = ""
		}
		return w.tx.Later(engine, keep(into), "SELECT b.* FROM "+list.SQL()+" CROSS JOIN LATERAL ("+headColumns+` FROM prm_ledger_balances b
			WHERE b.owner = x.owner AND b.book = ? AND b.unit = x.unit AND b.state = 'held' AND b.lot = 0`+lock+") b",
			append(list.Args(), w.book)...)
	}
	query := headColumns + " FROM " + list.SQL() + ` JOIN prm_ledger_balances b ON b.owner = x.owner AND b.unit = x.unit
		WHERE b.book = ? AND b.state = 'held' AND b.lot = 0 ORDER BY b.id`
	if w.how == waiting {
		query += w.tx.Lock("UPDATE OF b")
	}
	return w.tx.Later(engine, keep(into), query, append(list.Args(), w.book)...)
}

// keep collects the rows of headColumns.
func keep(rows *[]*balance) func(store.Row) error {
	return func(r store.Row) error {
		b := &balance{}
		*rows = append(*rows, b)
		return r.Scan(&b.ID, &b.Book, &b.Owner, &b.Unit, &b.State, &b.Lot, &b.PartnerID, &b.Amount, &b.Bounded, &b.Recorded, &b.Lots, &b.Seats, &b.Cap, &b.Due, &b.Stated)
	}
}

func (w *world) list(names []name) *store.Rows {
	list := w.tx.Rows(nameColumns)
	for _, n := range names {
		list.Add(n.owner, n.unit)
	}
	return list
}

var newColumns = store.ColumnsOf("owner TEXT", "unit TEXT", "partner TEXT", "bounded BOOLEAN")

// create makes heads, in the order of their names, so that two callers who make the same ones do not wait for each other; one that
// somebody else makes meanwhile is as good.
func (w *world) create(names []name) error {
	list := w.tx.Rows(newColumns)
	for _, n := range names {
		var partner any = w.partners[n]
		if n.owner == Issuer {
			partner = nil
		}
		list.Add(n.owner, n.unit, partner, !unbounded(w.book, HeldBy(n.owner)))
	}
	_, err := w.tx.Exec(engine, `INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, partner_id, amount, bounded, recorded)
		SELECT ?, x.owner, x.unit, 'held', 0, x.partner, 0, x.bounded, 0 FROM `+list.SQL()+`
		WHERE NOT EXISTS (SELECT 1 FROM prm_ledger_balances b WHERE b.owner = x.owner AND b.book = ? AND b.unit = x.unit AND b.state = 'held' AND b.lot = 0)
		ON CONFLICT DO NOTHING`, append(append([]any{w.book}, list.Args()...), w.book)...)
	return err
}

// complete reads the rows under the heads, for postings that need more than the head.
func (w *world) complete(list []Posting) error {
	need := map[*account]bool{}
	for i := range list {
		p := &list[i]
		from, to := w.accounts[name{p.From.Owner, p.Unit}], w.accounts[name{p.To.Owner, p.Unit}]
		if from == nil || to == nil {
			continue
		}
		deep := p.deep(from, to)
		for _, a := range []*account{from, to} {
			if deep && a.owner != Issuer {
				need[a] = true
			}
		}
	}
	return w.fill(need)
}

// deep tells whether a posting needs more of its accounts than their heads.
func (p *Posting) deep(from, to *account) bool {
	return p.From.State != Held || p.To.State != Held || len(p.Lots) > 0 || p.New != (Validity{}) || from.deep(false) || to.deep(from != to)
}

// deep tells whether there is more to an account than its head.
func (a *account) deep(arrives bool) bool {
	return a.head.Lots > 0 || a.head.Due > 0 || arrives && a.head.Cap >= 0
}

// fill reads all rows of some accounts.
func (w *world) fill(need map[*account]bool) error {
	var names []name
	for a := range need {
		if !a.whole {
			names = append(names, a.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	list := w.list(names)
	var rows []*balance
	err := w.tx.Query(engine, &rows, headColumns+`, COALESCE(l.valid_from, 0) AS valid_from, COALESCE(l.valid_until, 0) AS valid_until
		FROM `+list.SQL()+` JOIN prm_ledger_balances b ON b.owner = x.owner AND b.unit = x.unit LEFT JOIN prm_ledger_lots l ON l.id = b.lot
		WHERE b.book = ? AND NOT (b.state = 'held' AND b.lot = 0)`, append(list.Args(), w.book)...)
	if err != nil {
		return err
	}
	for _, b := range rows {
		a := w.accounts[name{b.Owner, b.Unit}]
		a.rows = append(a.rows, b)
		b.written()
	}
	for a := range need {
		a.whole = true
	}
	return nil
}
