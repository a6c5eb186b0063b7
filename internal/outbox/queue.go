package outbox

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

const (
	lease     = time.Minute
	sendLimit = 5 * time.Minute // for one sending, with all its renewals

	batch      = 256              // claimed at once
	rounds     = 4                // batches in one Step
	senders    = 16               // sendings at once
	finishTime = 10 * time.Second // for writing down what was sent, after the caller has gone
)

// Queue sends deliveries for one process.
type Queue struct {
	db     *store.DB
	send   func(context.Context, Delivery) error
	logger *slog.Logger
	owner  string

	renewEvery, flushEvery time.Duration // tests have shorter ones
}

// New returns the queue that sends with send. An error of kind Refused or Invalid is final, one of kind Unavailable says that the receiver is
// away, every other one counts as a failure; its text is kept, and must hold nothing of the payload. send must return when its context ends.
func New(db *store.DB, logger *slog.Logger, send func(context.Context, Delivery) error) *Queue {
	owner := store.NewID("run", store.Now(db), func(b []byte) { store.Random(db, b) })
	return &Queue{db: db, send: send, logger: logger, owner: owner, renewEvery: lease / 3, flushEvery: 100 * time.Millisecond}
}

// Step sends what is due, a bounded number of deliveries; more tells that there may be others. When ctx ends, what has not been begun is given
// back at once.
func (q *Queue) Step(ctx context.Context) (more bool, err error) {
	if due, err := q.due(ctx); err != nil || !due {
		return false, err
	}
	var ended []outcome
	for range rounds {
		list, err := q.turn(ctx, ended)
		if err != nil || len(list) == 0 {
			return false, err
		}
		ended = q.sendAll(ctx, list)
		if ctx.Err() != nil {
			break
		}
	}
	return true, q.finish(ctx, ended)
}

// held is a delivery in this process's hands.
type held struct {
	Delivery
	ctx    context.Context
	cancel context.CancelFunc
}

func hold(ctx context.Context, d Delivery) *held {
	ctx, cancel := context.WithCancel(ctx)
	return &held{d, ctx, cancel}
}

// sendAll sends a batch and returns the outcomes that are still to be written down: those of slow sendings are written as they come, so that a
// process that dies has little to send again.
func (q *Queue) sendAll(ctx context.Context, list []Delivery) []outcome {
	holds := make([]*held, len(list))
	for i, d := range list {
		holds[i] = hold(ctx, d)
		defer holds[i].cancel()
	}
	results := make(chan outcome, len(list)) // room for all: no sender waits for the writing
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(senders, len(holds)) {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(holds)); i = next.Add(1) - 1 {
				results <- q.sendOne(ctx, holds[i])
			}
		})
	}
	pending := q.collect(ctx, holds, results)
	group.Wait()
	return pending
}

// collect gathers the outcomes of a batch, and meanwhile renews its leases and writes down what there is.
func (q *Queue) collect(ctx context.Context, holds []*held, results <-chan outcome) (pending []outcome) {
	open := make(map[string]*held, len(holds))
	for _, h := range holds {
		open[h.ID] = h
	}
	flush, renew := time.NewTicker(q.flushEvery), time.NewTicker(q.renewEvery)
	defer flush.Stop()
	defer renew.Stop()
	for len(open) > 0 {
		select {
		case o := <-results:
			delete(open, o.id)
			pending = append(pending, o)
		case <-flush.C:
			if q.finish(ctx, pending) == nil {
				pending = nil
			}
		case <-renew.C:
			q.renew(ctx, open, pending)
		}
	}
	return pending
}

// sendOne sends one delivery; nothing of it survives a panic of the sender but the failure.
func (q *Queue) sendOne(ctx context.Context, h *held) outcome {
	switch {
	case ctx.Err() != nil:
		return givenBack(h.Delivery)
	case h.Failures >= maxFailures:
		return failed(h.Delivery, errLost)
	}
	limited, cancel := context.WithTimeout(h.ctx, sendLimit)
	defer cancel()
	err := q.guarded(limited, h.Delivery)
	switch {
	case err == nil:
		return outcome{id: h.ID, attempt: h.Attempt, state: Done}
	case ctx.Err() != nil: // it was told to stop
		return givenBack(h.Delivery)
	}
	return failed(h.Delivery, err)
}

func (q *Queue) guarded(ctx context.Context, d Delivery) (err error) {
	defer func() {
		if recover() != nil { // its text can hold anything
			q.logger.ErrorContext(ctx, "what sends deliveries has panicked", "delivery", d.ID)
			err = errPanicked
		}
	}()
	return q.send(ctx, d)
}
