package license

import (
	"errors"
	"slices"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// lookAfterRepeat is how many commits look keys up after one has met a repetition, which comes seldom alone: when callers repeat what they
// were not answered. The others do without, and are undone if a key was used before.
const lookAfterRepeat = 64

// commit is the jobs of several callers in one transaction, and what became of each of their moves.
type commit struct {
	reg    *partner.Registry
	jobs   []*job
	moves  []*move
	job    []int // of each move
	first  []int // move of each job
	wait   bool
	turn   *ledger.Turn
	guess  bool   // what is remembered of the accounts is taken for true
	unseen bool   // the keys are taken for new ones
	ready  func() // the rest is the database's to do

	errs     []error   // of the moves
	begun    *store.Tx // the transaction that batch is in
	batch    *ledger.Batch
	postings []ledger.Posting
	of       []int // the move of each posting
	verdicts []partner.Verdict
	result   ledger.Result
}

func newCommit(reg *partner.Registry, jobs []*job, wait bool, ready func()) *commit {
	c := &commit{reg: reg, jobs: jobs, wait: wait, ready: ready}
	for i, j := range jobs {
		c.first = append(c.first, len(c.moves))
		for _, m := range j.moves {
			c.moves, c.job = append(c.moves, m), append(c.job, i)
		}
	}
	c.errs = make([]error, len(c.moves))
	return c
}

// asks are what the moves ask, each with its own actor.
func (c *commit) asks() []partner.Ask {
	list := make([]partner.Ask, len(c.moves))
	for i, m := range c.moves {
		ask := m.ask
		ask.Context = c.jobs[c.job[i]].ctx
		list[i] = ask
	}
	return list
}

// Again is for [partner.Registry.WriteAll]: whoever has been decided on by what this commit was to leave must know that it did not.
func (c *commit) Again() {
	if c.turn != nil {
		c.turn = c.turn.Another()
	}
}

// Ahead asks for the balances of moves that memory allows.
func (c *commit) Ahead(tx *store.Tx, verdicts []partner.Verdict) error {
	return c.begin(tx, verdicts, nil)
}

// begin asks for the balances of the moves that are allowed. A list with a move that is not is left out as a whole.
func (c *commit) begin(tx *store.Tx, verdicts []partner.Verdict, known map[string]bool) (err error) {
	c.begun, c.postings, c.of = tx, nil, nil
	for i := range c.errs {
		c.errs[i] = store.ErrAlone
	}
	for k, j := range c.jobs {
		first, count := c.first[k], len(c.postings)
		for i, m := range j.moves {
			p, fits := c.posting(tx, m, verdicts[first+i].Standing, known)
			if !fits {
				c.postings, c.of = c.postings[:count], c.of[:count]
				break
			}
			c.postings, c.of = append(c.postings, p), append(c.of, first+i)
		}
	}
	c.batch, err = ledger.Begin(tx, c.postings, ledger.Way{Turn: c.turn, Guess: c.guess, Unseen: c.unseen})
	return err
}

// posting is what a move asks of the engine, if it is for sure that the call is allowed.
func (c *commit) posting(tx *store.Tx, m *move, s *partner.Standing, known map[string]bool) (p ledger.Posting, fits bool) {
	m.answer = Transfer{}
	if s == nil || s.Refusal() != nil || m.dates(tx, s) != nil {
		return p, false
	}
	from, to, err := m.route(tx, s)
	if err != nil || c.wait && !known[m.sku] {
		return p, false
	}
	return m.posting(tx, s, from, to), true
}

// Do fills in the answers, or the errors, of the moves.
func (c *commit) Do(tx *store.Tx, verdicts []partner.Verdict) error {
	if c.begun != tx {
		var known map[string]bool // a batch that waits also makes accounts: of types that there are
		if c.wait {
			var err error
			if known, err = knownTypes(tx, c.moves); err != nil {
				return err
			}
		}
		if err := c.begin(tx, verdicts, known); err != nil {
			return err
		}
	}
	result, err := c.batch.Decide(func(k int) bool { return verdicts[c.of[k]].Busy })
	if err != nil {
		return err
	}
	var made []int // the postings that were made
	for k, o := range result.Outcomes {
		m := c.moves[c.of[k]]
		switch j := c.jobs[c.job[c.of[k]]]; {
		case j.list && (o.Busy || j.allOrNone && (o.Err != nil || m.mismatch(verdicts[c.of[k]].Standing, o.Transfer) != nil)):
			return errNotShared // what it has taken would have to be given back
		case o.Err == nil && !o.Busy && !o.Transfer.Replayed:
			made = append(made, k)
		}
	}
	err = c.reg.RecordAll(tx, len(made), func(i int) (*partner.Standing, string, string, string) {
		k := made[i]
		m := c.moves[c.of[k]]
		return verdicts[c.of[k]].Standing, m.event(), m.about(c.postings[k].From, c.postings[k].To), "quantity"
	})
	if err != nil {
		return err
	}
	if err := c.batch.Follow(); err != nil {
		return err
	}
	if !c.wait {
		c.ready()
	}
	c.verdicts, c.result = verdicts, result
	if c.batch.Sure() && !slices.ContainsFunc(result.Outcomes, asksAgain) {
		return c.refusals(tx)
	}
	if err := c.batch.Written(result); err != nil {
		return err
	}
	if err := c.reg.Happened(tx, result.Notes); err != nil {
		return err
	}
	return c.refusals(tx)
}

// asksAgain tells whether the database has to say more about a refusal. What is put off is then written first: or an error of its own would
// be taken for an answer to the question.
func asksAgain(o ledger.Outcome) bool {
	var short *ledger.Short
	return errors.As(o.Err, &short) && short.Available == 0
}

// refusals answers the moves that were not made.
func (c *commit) refusals(tx *store.Tx) error {
	for k, o := range c.result.Outcomes {
		i, m := c.of[k], c.moves[c.of[k]]
		switch {
		case o.Busy && c.verdicts[i].Busy: // a gate: alone, it waits there
		case o.Busy:
			c.errs[i] = &store.Held{By: c.postings[k].From.Owner + " " + m.sku}
		case o.Err != nil:
			if c.errs[i] = m.notDefined(tx, o.Err); errors.Is(c.errs[i], partner.ErrUnavailable) {
				return c.errs[i] // of the database, not of the move
			}
		}
	}
	return nil
}

// Done answers the moves that were made.
func (c *commit) Done() error {
	if c.batch.Sure() {
		if err := c.batch.Written(c.result); err != nil {
			return err
		}
	}
	for k, o := range c.result.Outcomes {
		if i, m := c.of[k], c.moves[c.of[k]]; o.Err == nil && !o.Busy {
			m.answer = public(o.Transfer)
			c.errs[i] = m.mismatch(c.verdicts[i].Standing, o.Transfer)
		}
	}
	return nil
}

// answer is what became of a job: of a list, that its moves have their answers.
func (c *commit) answer(job int) error {
	first, j := c.first[job], c.jobs[job]
	if !j.list || c.errs[first] == store.ErrAlone { //nolint:errorlint // the value itself
		return c.errs[first]
	}
	for i, m := range j.moves {
		m.err = c.errs[first+i]
	}
	return nil
}
