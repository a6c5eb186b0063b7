package ledger

import (
	"cmp"
	"errors"
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
	b, err := Begin(tx, list, false, false)
	if err != nil {
		return Result{}, err
	}
	r, err := b.Decide(nil)
	if err != nil {
		return Result{}, err
	}
	return r, b.Written(r)
}

// Batch is PostAll in three steps, so that a caller can put his own statements into the same round trips: Begin, Decide, Written.
type Batch struct {
	list   []Posting
	w      *world
	rows   []*balance // heads on their way
	unseen bool
	used   int64 // how many of the keys have been used before
}

// Begin asks for what the postings need. Where passing is set, accounts that somebody else holds are passed over and their postings come
// back Busy, as do those of accounts that do not exist yet or that time has work on; then nothing is waited for before Decide. Where
// unseen is set, the keys are taken for new ones and not looked up; ErrSeen if one of them is not.
func Begin(tx *store.Tx, list []Posting, passing, unseen bool) (*Batch, error) {
	b := &Batch{list: list, unseen: unseen}
	if len(list) == 0 {
		return b, nil
	}
	var err error
	if passing {
		b.w = newWorld(tx, list[0].Book, list, passingBy)
		err = b.w.ask(b.w.names(), &b.rows)
	} else {
		b.w, err = open(tx, list[0].Book, list, waiting)
	}
	if err != nil {
		return nil, err
	}
	if unseen {
		return b, nil
	}
	return b, lookUp(tx, list, &b.used)
}

// Decide decides on the postings, one after the other, and puts off what is to be written. Those that held says are held by somebody else
// come back Busy. No Transfer has its ID yet.
func (b *Batch) Decide(held func(i int) bool) (Result, error) {
	r := Result{Outcomes: make([]Outcome, len(b.list))}
	if len(b.list) == 0 {
		return r, nil
	}
	first, err := b.arrived()
	if err != nil {
		return Result{}, err
	}
	for i, p := range b.list {
		key := [3]string{p.Partner, p.Verb, p.Key}
		switch t, used := first[key]; {
		case held != nil && held(i):
			r.Outcomes[i] = Outcome{Busy: true}
		case used && t.Hash != p.Hash:
			r.Outcomes[i] = Outcome{Err: ErrMismatch}
		case used:
			t.Replayed = true
			r.Outcomes[i] = Outcome{Transfer: t}
		case b.w.busy(p):
			r.Outcomes[i] = Outcome{Busy: true}
		default:
			t, err := b.w.post(p)
			r.Outcomes[i] = Outcome{Transfer: t, Err: err}
			if err == nil {
				first[key] = t
			}
		}
	}
	if err := b.lookAgain(r); err != nil {
		return Result{}, err
	}
	r.Notes = b.w.notes
	b.w.sure = b.w.how == passingBy && len(r.Notes) == 0 && b.w.tx.Sure()
	return r, b.seen(b.w.send())
}

// lookAgain looks up the keys of refused postings that were taken for new ones: a repetition has its first answer, whatever has become of the
// balances since.
func (b *Batch) lookAgain(r Result) error {
	if !b.unseen {
		return nil
	}
	var refused []Posting
	for i, o := range r.Outcomes {
		if o.Err != nil && !b.list[i].Fresh {
			refused = append(refused, b.list[i])
		}
	}
	if len(refused) == 0 {
		return nil
	}
	used := int64(0)
	if err := cmp.Or(lookUp(b.w.tx, refused, &used), b.w.tx.Flush()); err != nil || used == 0 {
		return err
	}
	return ErrSeen
}

// arrived takes in what Begin has asked for, and returns the first transfers behind keys that have been used.
func (b *Batch) arrived() (map[[3]string]Transfer, error) {
	if err := b.w.tx.Flush(); err != nil {
		return nil, err
	}
	if b.w.how == passingBy {
		for _, row := range b.rows {
			b.w.add(row)
		}
		if err := b.w.complete(b.list); err != nil {
			return nil, err
		}
	}
	if b.used == 0 {
		return map[[3]string]Transfer{}, nil
	}
	return replays(b.w.tx, b.list)
}

// Written waits until all is written, and gives the transfers of r their IDs. It comes before the commit; or, where Sure, after it.
func (b *Batch) Written(r Result) error {
	if len(b.list) == 0 {
		return nil
	}
	complete, err := b.w.sent()
	if err == nil && !complete {
		err = store.ErrDuplicate
	}
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		if t, made := b.w.made[[3]string{o.Transfer.Partner, o.Transfer.Verb, o.Transfer.Key}]; made {
			o.Transfer.ID = t
		}
	}
	return b.seen(err)
}

// Sure tells whether what Decide has put off fails by itself unless it is written as it should be: ErrSeen or another error then comes from
// the commit.
func (b *Batch) Sure() bool { return len(b.list) > 0 && b.w.sure }

// seen says what a used key means: one was taken for new, or somebody has used it since we looked.
func (b *Batch) seen(err error) error {
	switch {
	case !errors.Is(err, store.ErrDuplicate):
		return err
	case b.unseen:
		return ErrSeen
	}
	return store.ErrAgain
}

// Try tells what Post would answer, and changes nothing.
func Try(tx *store.Tx, p Posting) error {
	w, err := open(tx, p.Book, []Posting{p}, looking)
	if err != nil {
		return err
	}
	_, err = w.post(p)
	return err
}

// one makes a single posting: its key is looked up only where there is reason to.
func (w *world) one(p Posting) (Transfer, error) {
	if p.New != (Validity{}) && !p.Fresh { // a lot that a replay would leave behind
		if first, found, err := Replay(w.tx, p); found || err != nil {
			return first, err
		}
	}
	t, refusal := w.post(p)
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

// Replay finds the first transfer behind p's key. A caller that must refuse for another reason asks it first: a repeated call gets
// its first answer although the world has moved on since.
func Replay(tx *store.Tx, p Posting) (Transfer, bool, error) {
	var found []entry
	err := tx.Query(engine, &found, selectEntries+" WHERE t.partner_id = ? AND t.verb = ? AND t.key = ? ORDER BY t.part", p.Partner, p.Verb, p.Key)
	if err != nil || len(found) == 0 {
		return Transfer{}, false, err
	}
	t := transfers(found)[0]
	if t.Hash != p.Hash {
		return Transfer{}, true, ErrMismatch
	}
	t.Replayed = true
	return t, true, tx.Confirm()
}

var keyColumns = store.ColumnsOf("partner TEXT", "verb TEXT", "key TEXT")

// keysOf lists the keys of postings, those made for them as well: a caller whose context ended knows the key of a move that is still on its
// way, and may have used it.
func keysOf(tx *store.Tx, list []Posting) *store.Rows {
	keys := tx.Rows(keyColumns)
	asked := map[[3]string]bool{}
	for _, p := range list {
		if key := [3]string{p.Partner, p.Verb, p.Key}; !asked[key] {
			asked[key] = true
			keys.Add(p.Partner, p.Verb, p.Key)
		}
	}
	return keys
}

// lookUp asks how many of the keys have been used before. It comes after the locks on the accounts: what is used later than that, their
// holder uses.
func lookUp(tx *store.Tx, list []Posting, used *int64) error {
	keys := keysOf(tx, list)
	return tx.Later(engine, func(r store.Row) error { return r.Scan(used) }, "SELECT count(*) FROM "+keys.SQL()+` JOIN prm_ledger_transfers t
		ON t.partner_id = x.partner AND t.verb = x.verb AND t.key = x.key AND t.part = 0`, keys.Args()...)
}

// replays finds the first transfers behind the keys of postings, by key.
func replays(tx *store.Tx, list []Posting) (map[[3]string]Transfer, error) {
	keys := keysOf(tx, list)
	var entries []entry
	err := tx.Query(engine, &entries, selectEntries+" JOIN "+keys.SQL()+" ON t.partner_id = x.partner AND t.verb = x.verb AND t.key = x.key ORDER BY t.id",
		keys.Args()...)
	if err != nil {
		return nil, err
	}
	found := map[[3]string]Transfer{}
	for _, t := range transfers(entries) {
		found[[3]string{t.Partner, t.Verb, t.Key}] = t
	}
	return found, tx.Confirm()
}

// post decides on a posting and makes it in memory; flush writes it. A refusal changes nothing.
func (w *world) post(p Posting) (Transfer, error) {
	if p.Quantity < 1 || p.Quantity > MaxQuantity || p.Key == "" || p.From == p.To {
		return Transfer{}, errMalformed
	}
	from, to := w.accounts[name{p.From.Owner, p.Unit}], w.accounts[name{p.To.Owner, p.Unit}]
	now := w.tx.Now()
	units, err := from.take(&p, now)
	if err != nil {
		return Transfer{}, err
	}
	if err := w.allowed(&p, from, to, units, now); err != nil {
		return Transfer{}, err
	}
	return w.apply(&p, from, to, units)
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
	recorded := max(w.tx.Clock(), from.head.Recorded+1, to.head.Recorded+1)
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
