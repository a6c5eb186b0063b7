package license

import (
	"context"
	"errors"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Caught is a move that is ready to be committed with others.
type Caught struct{ *job }

var errCaught = errors.New("caught")

// Catch returns the move that call would share a commit with, or else what call answered.
func Catch(l *Ledger, call func(*Ledger) (Transfer, error)) (c Caught, err error) {
	own := New(l.reg)
	own.group.Many = func(_ context.Context, list []*job, _ bool, _ func()) []error {
		c.job = list[0]
		return []error{errCaught}
	}
	if _, err = call(own); errors.Is(err, errCaught) {
		return c, nil
	}
	return c, err
}

// Together commits moves as one batch, which passes by what somebody holds, or waits for it. Those in alone it has left to be done alone.
func Together(ctx context.Context, l *Ledger, list []Caught, wait bool) (answers []Transfer, errs []error, alone []bool) {
	jobs := make([]*job, len(list))
	for i, c := range list {
		jobs[i] = c.job
	}
	errs, alone = l.together(ctx, jobs, wait, func() {}), make([]bool, len(list))
	for i, err := range errs {
		answers = append(answers, jobs[i].moves[0].answer)
		var held *store.Held
		errs[i], alone[i] = translate(err), errors.Is(err, store.ErrAlone) || errors.As(err, &held)
	}
	return answers, errs, alone
}
