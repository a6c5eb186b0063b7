package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/partnerkit/partnerkit/partner"
)

// cachedAtOnce is how many answers one call of access/cached counts for: a clock would measure itself beside one.
const cachedAtOnce = 1000

// sight is a session's View, and a question for it.
type sight struct {
	*partner.View
	about question
}

// cached measures answers that need no database. The floor is the place of each partner's parent in memory: no session, no block, no right,
// no state.
func cached(s settings) measure {
	m := measure{name: "access/cached", floor: "parents", callers: []int{1}, times: true, aim: "0.2 ms for 1,000",
		includes: fmt.Sprintf("the questions of access/inside, answered by a View that is made once for each session; times are of %d answers.\n"+
			"The floor walks a slice of parents in memory, from the project's partner up to the asker's.", cachedAtOnce),
	}
	m.open = func(ctx context.Context, h *host, callers int) ([]target, error) {
		t, list, err := h.asked(ctx, callers)
		if err != nil {
			return nil, err
		}
		sights, err := t.sights(ctx, list)
		if err != nil {
			return nil, err
		}
		floor := asking(callers, list, func(_ context.Context, q question) (bool, error) {
			at := q.about
			for at >= 0 && at != q.asker {
				at = t.orgs[at].parent
			}
			return at >= 0, nil
		})
		return []target{
			{name: "parents", call: often(floor), items: cachedAtOnce},
			{ours: true, call: often(answering(callers, sights, t)), items: cachedAtOnce},
		}, nil
	}
	return m
}

// often makes a call a thousand times.
func often(call func(context.Context, int) error) func(context.Context, int) error {
	return func(ctx context.Context, caller int) error {
		for range cachedAtOnce {
			if err := call(ctx, caller); err != nil {
				return err
			}
		}
		return nil
	}
}

// sights makes a View for each question's session.
func (t *tree) sights(ctx context.Context, list []question) ([]sight, error) {
	views := map[int]*partner.View{}
	var sights []sight
	for _, q := range list {
		v := views[q.asker]
		if v == nil {
			var err error
			if v, err = t.reg.Access.View(partner.WithSession(ctx, q.session)); err != nil {
				return nil, err
			}
			views[q.asker] = v
		}
		sights = append(sights, sight{v, q})
	}
	return sights, nil
}

// answering asks a View of chance its question.
func answering(callers int, sights []sight, t *tree) func(context.Context, int) error {
	chance := dice(callers)
	return func(ctx context.Context, caller int) error {
		s := &sights[chance[caller].IntN(len(sights))]
		q := s.about
		err := s.May(ctx, "account.read", t.orgs[q.about].projects[0].String())
		if allowed := err == nil; allowed != q.answer || err != nil && !errors.Is(err, partner.ErrNotFound) {
			return fmt.Errorf("%w: partner %d about project %d: %w", errWrongAnswer, q.asker, q.about, err)
		}
		return nil
	}
}
