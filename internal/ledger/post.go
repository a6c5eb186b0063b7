package ledger

import (
	"cmp"
	"slices"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// engine is the scope of this package's statements: they name balances, and the calling room has decided about the owners.
var engine = store.Everything("the ledger's rows are named by their owner")

// Outcome is what became of one posting. Busy means that it was not looked at: somebody holds its accounts.
type Outcome struct {
	Transfer Transfer
	Err      error
	Busy     bool
}

// Note tells of something that time did to an account while a call was at it; the audit wants to know.
type Note struct{ Verb, Owner, Partner string }

// Result is the outcomes of postings, in their order, and what time did on the way.
type Result struct {
	Outcomes []Outcome
	Notes    []Note
}

// Post makes one transfer in tx. *Short, *Over, ErrSeated, ErrMismatch, ErrTooMuch, ErrCorrected. Units leave in the order in which
// their lots run out, the undated last.
func Post(tx *store.Tx, p Posting) (Transfer, []Note, error) {
	w, err := open(tx, p.Book, []Posting{p}, waiting)
	if err != nil {
		return Transfer{}, nil, err
	}
	t, err := w.one(p)
	return t, w.notes, err
}

// PostAll makes many in one go, each for itself: what they need is locked in one order, decided on one after the other, written
// together.
func PostAll(tx *store.Tx, list []Posting) (Result, error) {
	b, err := Begin(tx, list, Way{})
	if err != nil {
		return Result{}, err
	}
	r, err := b.Decide(nil)
	if err != nil {
		return Result{}, err
	}
	return r, b.Written(r)
}

// Try tells what Post would answer, and changes nothing.
func Try(tx *store.Tx, p Posting) error {
	w, err := open(tx, p.Book, []Posting{p}, looking)
	if err != nil {
		return err
	}
	_, err = w.post(&p)
	return err
}

// one makes a single posting: its key is looked up only where there is reason to.
func (w *world) one(p Posting) (Transfer, error) {
	if p.New != (Validity{}) && !p.Fresh { // a lot that a replay would leave behind
		if first, found, err := Replay(w.tx, p); found || err != nil {
			return first, err
		}
	}
	t, refusal := w.post(&p)
	if refusal != nil && p.Corrects != 0 { // most often because the first correction took the units
		if done, err := Corrected(w.tx, p.Corrects); done || err != nil {
			refusal = cmp.Or(err, ErrCorrected)
		}
	}
	if refusal != nil {
		if p.Fresh {
			return Transfer{}, refusal
		}
		first, found, err := Replay(w.tx, p)
		if err == nil && !found {
			err = refusal
		}
		return first, err
	}
	// What a repeated key would leave behind: new rows, or those of several lots that the first call did not have.
	opens := len(w.legs) > 1 || slices.ContainsFunc(w.touched, func(b *balance) bool { return b.ID == 0 })
	if opens && !p.Fresh {
		if first, found, err := Replay(w.tx, p); found || err != nil {
			return first, err
		}
	}
	complete, err := w.flush()
	if err != nil {
		return Transfer{}, err
	}
	if !complete && opens {
		return Transfer{}, store.ErrAgain
	}
	if !complete {
		first, found, err := Replay(w.tx, p)
		switch {
		case err == nil && !found && p.Corrects != 0:
			err = ErrCorrected
		case err == nil && !found:
			err = fail.New(fail.Unavailable, "ledger: a transfer with this key was seen, and is gone")
		}
		return first, err
	}
	t.ID = w.made[[3]string{p.Partner, p.Verb, p.Key}]
	return t, nil
}

// post decides on a posting and makes it in memory; flush writes it. A refusal changes nothing.
func (w *world) post(p *Posting) (Transfer, error) {
	if p.Quantity < 1 || p.Quantity > MaxQuantity || p.Key == "" || p.From == p.To {
		return Transfer{}, errMalformed
	}
	from, to := w.accounts[name{p.From.Owner, p.Unit}], w.accounts[name{p.To.Owner, p.Unit}]
	now := w.tx.Now()
	units, err := from.take(p, now)
	if err != nil {
		return Transfer{}, err
	}
	if err := w.allowed(p, from, to, units, now); err != nil {
		return Transfer{}, err
	}
	return w.apply(p, from, to, units)
}

// allowed looks at what the accounts are bound to beyond their balances.
func (w *world) allowed(p *Posting, from, to *account, units []taken, now store.Micros) error {
	if limit := to.head.Cap; limit >= 0 && from != to {
		if use := to.inUse(); use > limit || p.Quantity > limit-use {
			return &Over{Limit: limit, InUse: use}
		}
	}
	if from.head.Seats > 0 && p.From.State == Held {
		left := from.usable(now, false)
		for _, u := range units {
			if u.row.usable(now, false) {
				left -= u.n
			}
		}
		if left < from.head.Seats {
			return ErrSeated
		}
	}
	for _, side := range []struct {
		a     *account
		state State
		n     int64
	}{{from, p.From.State, -p.Quantity}, {to, p.To.State, p.Quantity}} {
		if _, fits := add(side.a.total(side.state), side.n); !fits {
			return ErrTooMuch
		}
	}
	return nil
}

// apply moves the units, a leg for each row they come from.
func (w *world) apply(p *Posting, from, to *account, units []taken) (Transfer, error) {
	recorded := max(w.tx.Clock(), from.head.Recorded+1, to.head.Recorded+1, from.head.Stated+1, to.head.Stated+1)
	effective := p.Effective
	if effective == 0 {
		effective = recorded
	}
	lot, err := w.newLot(p)
	if err != nil {
		return Transfer{}, err
	}
	t := Transfer{Book: p.Book, Unit: p.Unit, Verb: p.Verb, Quantity: p.Quantity, From: p.From, To: p.To, Partner: p.Partner, Actor: p.Actor,
		Reason: p.Reason, Key: p.Key, Hash: p.Hash, Corrects: p.Corrects, Effective: effective, Recorded: recorded}
	for i, u := range units {
		v, target := p.New, lot
		if lot == 0 {
			v, target = Validity{u.row.ValidFrom, u.row.ValidUntil}, u.row.Lot
		}
		if lot == 0 && len(p.Lots) > 0 { // exact lots also come back from the issuer, who has none
			target, v = p.Lots[i].Lot, p.Lots[i].Validity
		}
		arrives := to.into(p.Book, slot{p.To.State, target}, u.row, p.Partner, v)
		u.row.Amount -= u.n
		arrives.Amount += u.n
		u.row.Recorded, arrives.Recorded = recorded, recorded
		w.legs = append(w.legs, leg{move: len(w.moves), part: i, from: u.row, to: arrives, n: u.n, fromAfter: u.row.Amount, toAfter: arrives.Amount})
		w.touch(u.row, arrives)
		if p.To.State == Held {
			to.dueBy(arrives.ValidUntil)
		}
		t.Shares = append(t.Shares, Share{max(u.row.Lot, arrives.Lot), Validity{max(u.row.ValidFrom, arrives.ValidFrom), max(u.row.ValidUntil, arrives.ValidUntil)}, u.n})
	}
	from.head.Recorded, to.head.Recorded = recorded, recorded
	w.touch(from.head, to.head)
	t.FromAfter, t.ToAfter = from.total(p.From.State), to.total(p.To.State)
	w.moves = append(w.moves, t)
	return t, nil
}

// newLot opens the lot that a posting asks for.
func (w *world) newLot(p *Posting) (id int64, err error) {
	if p.New == (Validity{}) || w.how == looking {
		return 0, nil
	}
	err = w.tx.Query(engine, &id, `INSERT INTO prm_ledger_lots (book, unit, partner_id, valid_from, valid_until, created_at)
		VALUES (?, ?, ?, ?, ?, ?) RETURNING id`, p.Book, p.Unit, p.Partner, p.New.From, p.New.Until, w.tx.Now())
	return id, err
}
