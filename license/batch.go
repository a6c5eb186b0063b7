package license

import (
	"context"
	"errors"
	"fmt"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Move is one line of a batch; an empty Key is made.
type Move struct {
	To       partner.AccountID
	SKU      string
	Quantity int64
	Key      string
}

// Result is what became of one line: its Transfer, or the error that [Ledger.Assign] would have answered.
type Result struct {
	Transfer Transfer
	Err      error
}

// maxBatch bounds one batch.
const maxBatch = 10_000

// AssignAll is [Ledger.Assign] for many lines in one transaction, in their order: a later line sees what an earlier one took. With
// allOrNone nothing moves if a line is refused, and the error is that of the first such line; without it each line stands for itself
// and the error is nil. The results tell of each line, in the order of moves, in both cases. At most 10,000 lines.
func (l *Ledger) AssignAll(ctx context.Context, moves []Move, allOrNone bool) (results []Result, err error) {
	defer wrap(&err, "assign %d lines", len(moves))
	if len(moves) > maxBatch {
		return nil, invalid("moves", "too_long", fmt.Sprintf("must be at most %d lines", maxBatch))
	}
	results = make([]Result, len(moves))
	lines := make([]*move, len(moves))
	var asks []partner.Ask
	var of []int // the line of each ask
	for i, line := range moves {
		var o []Option
		if line.Key != "" {
			o = append(o, Key(line.Key))
		}
		m, faults := newAssign(line.To, line.SKU, line.Quantity, o)
		m.ask.Keyed = m.keyed
		lines[i] = m
		if len(faults) > 0 {
			results[i].Err = &partner.ValidationError{Fields: faults}
			continue
		}
		ask := m.ask
		ask.Context = ctx
		asks, of = append(asks, ask), append(of, i)
	}
	switch {
	case len(asks) == 0:
		err = refused(results, allOrNone)
	case l.share(ctx, lines, asks, allOrNone, &err):
		for i, m := range lines {
			if err == nil { // or others may still be at it
				results[i] = Result{m.answer, m.err}
			}
		}
	default:
		defer func() { l.recent.ForgetAll() }()
		err = l.reg.WriteAll(ctx, asks, store.Waiting, doing(func(tx *store.Tx, verdicts []partner.Verdict) error {
			return l.assignLines(tx, lines, of, verdicts, results, allOrNone)
		}))
	}
	for i := range results {
		results[i].Err = translate(results[i].Err)
		if err != nil || results[i].Err != nil {
			results[i].Transfer = Transfer{}
		}
		if err != nil {
			if errors.Is(err, partner.ErrOutcomeUnknown) {
				results[i] = Result{Transfer: Transfer{Key: lines[i].key}, Err: err}
			}
		}
	}
	return results, translate(err)
}

// share makes the moves of a list in a commit with those of other callers; false if the list has to have a transaction of its own: because
// it is long, a line is refused or all depends on one that is, or somebody holds what it needs.
func (l *Ledger) share(ctx context.Context, lines []*move, asks []partner.Ask, allOrNone bool, err *error) bool {
	if len(asks) < len(lines) || len(lines) > store.MaxTogether || l.reg.Joined() {
		return false
	}
	for _, m := range lines {
		l.name(m)
	}
	*err = l.group.Do(ctx, &job{ctx: ctx, moves: lines, list: true, allOrNone: allOrNone})
	return *err != errNotShared //nolint:errorlint // the value itself
}

// doing is what [partner.Registry.WriteAll] runs, with nothing to do ahead.
type doing func(*store.Tx, []partner.Verdict) error

func (doing) Ahead(*store.Tx, []partner.Verdict) error { return nil }

func (doing) Again() {}

func (doing) Done() error { return nil }

func (do doing) Do(tx *store.Tx, verdicts []partner.Verdict) error { return do(tx, verdicts) }

// refused is the error of a batch that goes as a whole or not at all: of its first line that is refused.
func refused(results []Result, allOrNone bool) error {
	if !allOrNone {
		return nil
	}
	for i, r := range results {
		if r.Err != nil {
			return fmt.Errorf("line %d: %w", i+1, translate(r.Err))
		}
	}
	return nil
}

// assignLines posts the lines that may be posted.
func (l *Ledger) assignLines(tx *store.Tx, lines []*move, of []int, verdicts []partner.Verdict, results []Result, allOrNone bool) error {
	known, err := knownTypes(tx, lines)
	if err != nil {
		return err
	}
	var postings []ledger.Posting
	var posted []int // the call of each posting
	var after []int  // the calls that are refused, but may repeat an earlier line
	for k, i := range of {
		m, s := lines[i], verdicts[k].Standing
		results[i] = Result{Err: verdicts[k].Err}
		if s == nil {
			continue
		}
		if m.key == "" {
			m.key, m.fresh = tx.NewID("key"), true
		}
		from, to, err := m.route(tx, s)
		if err == nil && !known[m.sku] {
			err = unknownType()
		}
		p := m.posting(tx, s, from, to)
		if refusal := first(s.Refusal(), err); refusal != nil {
			earlier, found, err := ledger.Replay(tx, p)
			if err != nil && !errors.Is(err, ledger.ErrMismatch) {
				return err
			}
			if results[i].Err = first(err, m.mismatch(s, earlier)); !found {
				results[i].Err = refusal
				after = append(after, i)
			}
			results[i].Transfer = public(earlier)
			continue
		}
		postings, posted = append(postings, p), append(posted, k)
	}
	done, err := ledger.PostAll(tx, postings)
	if err != nil {
		return err
	}
	var made []int // the postings that were made
	for n, o := range done.Outcomes {
		k := posted[n]
		i, s := of[k], verdicts[k].Standing
		m := lines[i]
		results[i] = Result{public(o.Transfer), first(o.Err, m.mismatch(s, o.Transfer))}
		if o.Err != nil {
			if results[i].Err = m.notDefined(tx, o.Err); errors.Is(results[i].Err, fail.Unavailable) {
				return results[i].Err // of the database, not of the line
			}
			continue
		}
		if !o.Transfer.Replayed {
			made = append(made, n)
		}
	}
	for _, i := range after {
		repeated(lines, results, i)
	}
	recorded := func(i int) (*partner.Standing, string, string, string) {
		n := made[i]
		k := posted[n]
		m := lines[of[k]]
		return verdicts[k].Standing, m.event(), m.about(postings[n].From, postings[n].To), "quantity"
	}
	return first(refused(results, allOrNone), l.reg.Happened(tx, done.Notes), l.reg.RecordAll(tx, len(made), recorded))
}

// repeated looks whether a refused line repeats the key of an earlier one that was not: then it is answered as a repetition.
func repeated(lines []*move, results []Result, i int) {
	m := lines[i]
	for k := range i {
		if !m.keyed || lines[k].key != m.key || results[k].Err != nil {
			continue
		}
		results[i] = results[k]
		if results[i].Transfer.Replayed = true; lines[k].hash() != m.hash() {
			results[i] = Result{Err: ledger.ErrMismatch}
		}
		return
	}
}
