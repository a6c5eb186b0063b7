package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// engine is the scope of this package's statements: they name balances, and the calling room has decided about the owners.
var engine = store.Everything("the ledger's rows are named by their owner")

// Post makes one transfer in tx. *Short, ErrMismatch, ErrTooMuch.
//
// The statements are few because each is a round trip: lock both balances, insert the transfer, update the balances.
func Post(tx *store.Tx, p Posting) (Transfer, error) {
	if p.Quantity < 1 || p.Quantity > MaxQuantity || p.Key == "" || p.From == p.To {
		return Transfer{}, fail.New(fail.Invalid, fmt.Sprintf("ledger: malformed posting of %d", p.Quantity))
	}
	from, to, err := lock(tx, p)
	if err != nil {
		return Transfer{}, err
	}
	fromAfter, fits := add(from.Amount, -p.Quantity)
	toAfter, fitsTo := add(to.Amount, p.Quantity)
	short := from.Bounded && fromAfter < 0
	if short || !fits || !fitsTo {
		if first, found, err := Replay(tx, p); found || err != nil {
			return first, err
		}
		if short {
			return Transfer{}, &Short{Available: from.Amount}
		}
		return Transfer{}, ErrTooMuch
	}
	recorded := max(tx.Clock(), from.Recorded+1, to.Recorded+1)
	effective := p.Effective
	if effective == 0 {
		effective = recorded
	}
	row := transfer{
		Book: p.Book, Unit: p.Unit, Verb: p.Verb, Quantity: p.Quantity, FromID: from.ID, ToID: to.ID, FromAfter: fromAfter, ToAfter: toAfter,
		PartnerID: p.Partner, Actor: p.Actor, Reason: p.Reason, Key: p.Key, Hash: p.Hash, Effective: effective, Recorded: recorded,
	}
	added, err := tx.InsertNew(&row)
	if err != nil {
		return Transfer{}, err
	}
	if !added {
		first, found, err := Replay(tx, p)
		if err == nil && !found {
			err = fail.New(fail.Unavailable, "ledger: a transfer with this key was seen, and is gone")
		}
		return first, err
	}
	n, err := tx.Exec(engine, `UPDATE prm_ledger_balances SET amount = CASE id WHEN ? THEN amount - ? ELSE amount + ? END, recorded = ?
		WHERE id IN (?, ?)`, from.ID, p.Quantity, p.Quantity, recorded, from.ID, to.ID)
	if err == nil && n != 2 {
		err = fail.New(fail.Unavailable, "ledger: a locked balance is gone")
	}
	return row.public(p.From, p.To), err
}

func (t transfer) public(from, to Row) Transfer {
	return Transfer{
		ID: t.ID, Book: t.Book, Unit: t.Unit, Verb: t.Verb, Quantity: t.Quantity, From: from, To: to, FromAfter: t.FromAfter,
		ToAfter: t.ToAfter, Partner: t.PartnerID, Actor: t.Actor, Reason: t.Reason, Key: t.Key, Hash: t.Hash,
		Effective: t.Effective, Recorded: t.Recorded,
	}
}

// Replay finds the first transfer behind p's key. A caller that must refuse for another reason asks it first: a repeated call gets
// its first answer although the world has moved on since.
func Replay(tx *store.Tx, p Posting) (Transfer, bool, error) {
	var found []Transfer
	err := tx.Query(engine, &found, selectTransfers+" WHERE t.partner_id = ? AND t.verb = ? AND t.key = ?", p.Partner, p.Verb, p.Key)
	if err != nil || len(found) == 0 {
		return Transfer{}, false, err
	}
	if found[0].Hash != p.Hash {
		return Transfer{}, true, ErrMismatch
	}
	found[0].Replayed = true
	return found[0], true, nil
}

// selectTransfers reads transfers with the names of both balances.
const selectTransfers = `SELECT t.id, t.book, t.unit, t.verb, t.quantity, t.from_after, t.to_after, t.partner_id, t.actor, t.reason, t.key, t.hash,
	t.effective, t.recorded, f.owner AS from_owner, f.state AS from_state, f.lot AS from_lot, o.owner AS to_owner, o.state AS to_state,
	o.lot AS to_lot FROM prm_ledger_transfers t JOIN prm_ledger_balances f ON f.id = t.from_id JOIN prm_ledger_balances o ON o.id = t.to_id`

// lockPair locks nothing unless both balances exist: whoever held one while making the other could wait in a circle with somebody who
// makes the same one.
const lockPair = `SELECT id, owner, state, lot, amount, bounded, recorded FROM prm_ledger_balances
	WHERE owner IN (?, ?) AND book = ? AND unit = ? AND state IN (?, ?) AND lot IN (?, ?)
	AND EXISTS (SELECT 1 FROM prm_ledger_balances WHERE owner = ? AND book = ? AND unit = ? AND state = ? AND lot = ?)
	AND EXISTS (SELECT 1 FROM prm_ledger_balances WHERE owner = ? AND book = ? AND unit = ? AND state = ? AND lot = ?) ORDER BY id`

// lock reads both balances of p under their locks, making those that do not exist yet.
func lock(tx *store.Tx, p Posting) (from, to balance, err error) {
	for range 2 {
		var rows []balance
		err := tx.Query(engine, &rows, lockPair+tx.Lock("UPDATE"), p.From.Owner, p.To.Owner, p.Book, p.Unit, p.From.State, p.To.State,
			p.From.Lot, p.To.Lot, p.From.Owner, p.Book, p.Unit, p.From.State, p.From.Lot, p.To.Owner, p.Book, p.Unit, p.To.State, p.To.Lot)
		if err != nil {
			return from, to, err
		}
		for _, b := range rows {
			switch b.row() {
			case p.From:
				from = b
			case p.To:
				to = b
			}
		}
		if from.ID != 0 && to.ID != 0 {
			return from, to, nil
		}
		if err := create(tx, p); err != nil {
			return from, to, err
		}
	}
	return from, to, fail.New(fail.Unavailable, "ledger: a new balance cannot be seen")
}

// create makes the balances of p that are missing, in the order of their names, so that two callers who make the same pair do not wait
// for each other; one that somebody else makes meanwhile is as good.
func create(tx *store.Tx, p Posting) error {
	rows := []Row{p.From, p.To}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.State, b.State), cmp.Compare(a.Lot, b.Lot))
	})
	for _, r := range rows {
		if err := Open(tx, p.Book, r, p.Unit, p.Partner); err != nil {
			return err
		}
	}
	return nil
}

// Open makes sure that a balance exists, at zero.
func Open(tx *store.Tx, book Book, r Row, unit, partner string) error {
	b := balance{Book: book, Owner: r.Owner, Unit: unit, State: r.State, Lot: r.Lot, Bounded: !unbounded(book, r)}
	if r.Owner != Issuer {
		b.PartnerID = &partner
	}
	_, err := tx.InsertNew(&b)
	return err
}
