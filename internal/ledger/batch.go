package ledger

import (
	"cmp"
	"errors"
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Batch is PostAll in steps, so that a caller can put his own statements into the same round trips: Begin, Decide, Follow, Written.
type Batch struct {
	Way
	list  []Posting
	w     *world
	rows  []*balance // heads on their way
	used  int64      // how many of the keys have been used before
	known bool       // nothing has been asked
}

// Way is how a batch comes by its accounts. Without a Turn it waits for whoever holds them.
type Way struct {
	// Turn makes it pass over accounts that somebody else holds: their postings come back Busy, as do those of accounts that do not exist
	// yet or that time has work on. Nothing is waited for before Decide then.
	Turn *Turn
	// Guess has it take the accounts as they are remembered. Anything that this is not enough for is store.ErrAgain: the batch has to be
	// made without.
	Guess bool
	// Unseen takes the keys for new ones, which are not looked up; ErrSeen if one of them is not.
	Unseen bool
}

// Begin asks for what the postings need.
func Begin(tx *store.Tx, list []Posting, way Way) (b *Batch, err error) {
	b = &Batch{Way: way, list: list}
	if len(list) == 0 {
		return b, nil
	}
	switch {
	case way.Guess:
		err = b.guess(tx)
	case way.Turn != nil:
		b.w = newWorld(tx, list[0].Book, list, passingBy)
		err = b.w.ask(b.w.names(), &b.rows)
	default:
		b.w, err = open(tx, list[0].Book, list, waiting)
	}
	if err != nil || way.Unseen {
		return b, err
	}
	return b, lookUp(tx, list, &b.used)
}

// guess takes the accounts as they are remembered, and asks for the others.
func (b *Batch) guess(tx *store.Tx) error {
	b.w = newWorld(tx, b.list[0].Book, b.list, guessing)
	names := b.w.names()
	ok := false
	if b.w.accounts, ok = b.Turn.recall(names, b.list); !ok {
		return store.ErrAgain
	}
	names = slices.DeleteFunc(names, func(n name) bool { return b.w.accounts[n] != nil })
	if b.known = len(names) == 0; b.known {
		return nil
	}
	return b.w.ask(names, &b.rows)
}

// Decide decides on the postings, one after the other, and puts off what is to be written. Those that held says are held by somebody else
// come back Busy. No Transfer has its ID yet.
func (b *Batch) Decide(held func(i int) bool) (Result, error) {
	r := Result{Outcomes: make([]Outcome, len(b.list))}
	if len(b.list) == 0 {
		return r, nil
	}
	before, err := b.arrived()
	if err != nil {
		return Result{}, err
	}
	for i := range b.list {
		if b.Guess && !b.w.guessable(&b.list[i]) {
			return Result{}, store.ErrAgain
		}
	}
	b.w.moves, b.w.legs = make([]Transfer, 0, len(b.list)), make([]leg, 0, len(b.list))
	own := make(map[[3]string]int, len(b.list)) // the posting behind each key
	for i := range b.list {
		p := &b.list[i]
		if held != nil && held(i) {
			r.Outcomes[i].Busy = true
			continue
		}
		key := [3]string{p.Partner, p.Verb, p.Key}
		if t, used := before[key]; used {
			r.Outcomes[i] = again(t, p)
		} else if k, used := own[key]; used {
			r.Outcomes[i] = again(r.Outcomes[k].Transfer, p)
		} else if r.Outcomes[i] = b.make(p); r.Outcomes[i].Err == nil && !r.Outcomes[i].Busy {
			own[key] = i
		}
	}
	if err := b.lookAgain(r); err != nil {
		return Result{}, err
	}
	if b.Guess && slices.ContainsFunc(b.w.touched, func(row *balance) bool { return row.ID == 0 }) {
		return Result{}, store.ErrAgain
	}
	r.Notes = b.w.notes
	b.w.sure = b.Turn != nil && len(r.Notes) == 0 && b.w.tx.Sure()
	if err := b.w.send(b.Guess && !b.Turn.alone()); err != nil {
		return Result{}, b.seen(err)
	}
	if b.Turn != nil && !b.Turn.leave(b.w, own) && b.Guess {
		return Result{}, store.ErrAgain
	}
	return r, nil
}

// again is the answer to a posting whose key has been used for t.
func again(t Transfer, p *Posting) Outcome {
	if t.Hash != p.Hash {
		return Outcome{Err: ErrMismatch}
	}
	t.Replayed = true
	return Outcome{Transfer: t}
}

// make decides on one posting.
func (b *Batch) make(p *Posting) (o Outcome) {
	if b.w.busy(p) {
		return Outcome{Busy: true}
	}
	if o.Transfer, o.Err = b.w.post(p); o.Err != nil && b.Guess { // what was refused, too, must be as it is remembered
		b.w.touch(b.w.accounts[name{p.From.Owner, p.Unit}].head, b.w.accounts[name{p.To.Owner, p.Unit}].head)
	}
	return o
}

// Follow waits for the turns before that this one has been decided on, if they are still on their way: only then are the balances sent.
func (b *Batch) Follow() error {
	if len(b.list) == 0 || !b.w.follows() {
		return nil
	}
	if err := b.w.tx.Flush(); err != nil {
		return b.seen(err)
	}
	if stands, err := b.Turn.stands(b.w.tx.Context()); err != nil || !stands {
		return cmp.Or(err, store.ErrAgain)
	}
	return b.w.sendBalances()
}

// lookAgain looks up the keys of refused postings that were taken for new ones: a repetition has its first answer, whatever has become of the
// balances since.
func (b *Batch) lookAgain(r Result) error {
	if !b.Unseen {
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
	if !b.known {
		if err := b.w.tx.Flush(); err != nil {
			return nil, err
		}
	}
	for _, row := range b.rows {
		b.w.add(row)
	}
	if b.w.how == passingBy {
		if err := b.w.complete(b.list); err != nil {
			return nil, err
		}
	}
	if b.used == 0 {
		return nil, nil
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
	case b.Unseen:
		return ErrSeen
	}
	return store.ErrAgain
}
