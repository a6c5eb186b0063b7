package license

import (
	"cmp"
	"context"
	"errors"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// move is one write of a caller: what it asks, how its ends are chosen, and its answer.
type move struct {
	write
	ctx   context.Context
	ask   partner.Ask
	route route

	// shared moves take part in the commit of concurrent callers. Their route must not ask the database.
	shared bool

	answer Transfer
}

// route chooses the two ends of a write after the access decision. Its error is a refusal: a repeated call gets its first answer all the
// same.
type route func(*store.Tx, *partner.Standing) (from, to ledger.End, err error)

// run makes the transfer. A repeated call gets its first answer whatever has become of the balance, the target or the sku since; only the
// actor's own right is asked again.
func (l *Ledger) run(ctx context.Context, m *move, faults []partner.FieldError) (t Transfer, err error) {
	if len(faults) > 0 {
		return t, &partner.ValidationError{Fields: faults}
	}
	m.ctx, m.ask.Keyed = ctx, m.keyed
	if !m.keyed { // made here, so that a lost answer names it
		m.key, m.fresh = l.reg.NewKey(), true
	}
	if m.shared && !l.reg.Joined() {
		err = l.group.Do(ctx, m)
	} else {
		err = l.alone(ctx, m)
	}
	if err != nil {
		return m.lost(err), translate(err)
	}
	return m.answer, nil
}

// alone makes one move in a transaction of its own, or in the host's.
func (l *Ledger) alone(ctx context.Context, m *move) error {
	m.answer = Transfer{}
	return l.reg.Write(ctx, m.ask, func(tx *store.Tx, s *partner.Standing) error {
		from, to, refusal := m.route(tx, s)
		refusal = cmp.Or(s.Refusal(), m.dates(tx, s), refusal)
		p := m.posting(tx, s, from, to)
		if refusal != nil {
			first, found, err := ledger.Replay(tx, p)
			if err == nil && !found {
				err = refusal
			}
			m.answer = public(first)
			return cmp.Or(err, m.mismatch(s, first))
		}
		posted, notes, err := ledger.Post(tx, p)
		m.answer = public(posted)
		if err != nil {
			return m.notDefined(tx, err)
		}
		if err := partner.Happened(tx, notes); err != nil || posted.Replayed {
			return cmp.Or(err, m.mismatch(s, posted))
		}
		return s.Record(tx, m.event(), m.about(from, to), "quantity")
	})
}

// notDefined makes a refusal for want of units of a type that does not exist say so; other errors stay what they are.
func (w write) notDefined(tx *store.Tx, err error) error {
	var short *ledger.Short
	if errors.As(err, &short) && short.Available == 0 {
		return cmp.Or(mustExist(tx, w.sku), err)
	}
	return err
}

// mismatch tells that a repeated move comes from elsewhere: where the session works is part of what it asks for. A session that can work
// nowhere, its project being closed, repeats nothing but the call it made there.
func (m *move) mismatch(s *partner.Standing, first ledger.Transfer) error {
	if !first.Replayed || m.verb != "assign" && m.verb != "return" {
		return nil
	}
	if working, _, err := s.Working(); err == nil && idOf(working) != first.From.Owner {
		return ledger.ErrMismatch
	}
	return nil
}

// together makes the moves of several callers in one transaction, each by its own actor and decided for itself. What it cannot answer for
// sure, because the call is refused for another reason than the balance, is left alone.
func (l *Ledger) together(ctx context.Context, moves []*move, wait bool) []error {
	calls := make([]partner.Call, len(moves))
	for i, m := range moves {
		calls[i] = partner.Call{Context: m.ctx, Ask: m.ask}
	}
	errs := make([]error, len(moves))
	err := l.reg.WriteAll(ctx, calls, !wait, func(tx *store.Tx, verdicts []partner.Verdict) error {
		return postTogether(tx, moves, verdicts, errs, wait)
	})
	if err == nil {
		return errs
	}
	for i := range errs {
		errs[i] = store.ErrAlone // nothing of it was committed
		if errors.Is(err, partner.ErrOutcomeUnknown) || wait && errors.Is(err, partner.ErrUnavailable) && ctx.Err() == nil {
			errs[i] = err // all of them at once would find no better
		}
	}
	return errs
}

// postTogether fills in the answers, or the errors, of moves.
func postTogether(tx *store.Tx, moves []*move, verdicts []partner.Verdict, errs []error, wait bool) error {
	var known map[string]bool // a batch that waits also makes accounts: of types that there are
	if wait {
		var err error
		if known, err = knownTypes(tx, moves); err != nil {
			return err
		}
	}
	var postings []ledger.Posting
	var of []int // the move of each posting
	for i, m := range moves {
		errs[i], m.answer = store.ErrAlone, Transfer{}
		s := verdicts[i].Standing
		if s == nil || s.Refusal() != nil || m.dates(tx, s) != nil {
			continue
		}
		from, to, err := m.route(tx, s)
		if err != nil || wait && !known[m.sku] {
			continue
		}
		postings, of = append(postings, m.posting(tx, s, from, to)), append(of, i)
	}
	result, err := ledger.PostAll(tx, postings, !wait)
	if err != nil {
		return err
	}
	var deeds []partner.Deed
	for k, o := range result.Outcomes {
		i, m, s := of[k], moves[of[k]], verdicts[of[k]].Standing
		switch {
		case o.Busy:
			errs[i] = &store.Held{By: postings[k].From.Owner + " " + m.sku}
			continue
		case o.Err != nil:
			if errs[i] = m.notDefined(tx, o.Err); errors.Is(errs[i], partner.ErrUnavailable) {
				return errs[i] // of the database, not of the move
			}
			continue
		}
		m.answer = public(o.Transfer)
		errs[i] = m.mismatch(s, o.Transfer)
		if !o.Transfer.Replayed {
			deeds = append(deeds, partner.Deed{Standing: s, Kind: m.event(), Target: m.about(postings[k].From, postings[k].To), Changed: "quantity"})
		}
	}
	return cmp.Or(partner.Happened(tx, result.Notes), partner.RecordAll(tx, deeds))
}
