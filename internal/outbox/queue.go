package outbox

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

const (
	lease = time.Minute

	batch      = 256              // claimed at once
	round      = 1024             // claimed in one Step
	clerks     = 2                // transactions at once that claim
	senders    = 16               // sendings at once
	hungLimit  = 64               // sendings that were given up and have not come back, before nothing more is begun
	finishTime = 10 * time.Second // for writing down what was sent, after the caller has gone
)

// Queue sends deliveries for one process.
type Queue struct {
	db     *store.DB
	send   func(context.Context, Delivery) error
	logger *slog.Logger
	owner  string
	hung   atomic.Int64 // sendings that were given up and have not come back

	// Tests have shorter ones.
	renewEvery, flushEvery, sendLimit, grace time.Duration
}

// New returns the queue that sends with send. An error of kind Refused or Invalid is final, one of kind Unavailable says that the receiver is
// away, every other one counts as a failure; its text is kept, and must hold nothing of the payload. A sending whose context has ended and that
// does not return is left to itself.
func New(db *store.DB, logger *slog.Logger, send func(context.Context, Delivery) error) *Queue {
	owner := store.NewID("run", store.Now(db), func(b []byte) { store.Random(db, b) })
	return &Queue{db: db, send: send, logger: logger, owner: owner, renewEvery: lease / 3, flushEvery: 100 * time.Millisecond, sendLimit: 2 * time.Minute,
		grace: 5 * time.Second}
}

// Step sends what is due, a bounded number of deliveries; more tells that there may be others. When ctx ends, what has not been begun is given
// back at once.
func (q *Queue) Step(ctx context.Context) (more bool, err error) {
	found, err := q.due(ctx)
	if err != nil || found == (dues{}) {
		return false, err
	}
	c := q.newCrew(round)
	err = c.run(ctx, found, nil)
	return c.left == 0, err
}

// Run sends what comes until ctx ends. It looks when told to by wake, and every now and then; an error is the database's, and ends it.
func (q *Queue) Run(ctx context.Context, wake <-chan struct{}, poll time.Duration) error {
	for ctx.Err() == nil {
		found, err := q.due(ctx)
		if err == nil && found != (dues{}) {
			err = q.newCrew(-1).run(ctx, found, wake)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		timer := time.NewTimer(poll)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// held is a delivery in this process's hands.
type held struct {
	Delivery
	ctx    context.Context
	cancel context.CancelFunc
	began  time.Time    // its sending; zero until then
	alone  bool         // claimed by itself, being suspected of having killed its sender
	over   atomic.Int32 // returned or given up, whichever was first
}

const (
	returned = 1
	givenUp  = 2
)

func hold(ctx context.Context, d Delivery, alone bool) *held {
	ctx, cancel := context.WithCancel(ctx)
	return &held{Delivery: d, ctx: ctx, cancel: cancel, alone: alone}
}

// crew is the sending of deliveries by one goroutine that holds them, by clerks that claim and write down, and by others that send. New ones are
// claimed as senders become free, so that a slow receiver holds up nobody else; and while sending is quick, ahead of that, so that senders do
// not wait for the database, nor it for them.
type crew struct {
	*Queue
	left    int // to be claimed; negative for without end
	clerks  int // at work
	claims  chan claim
	last    time.Time // the last full batch came
	news    bool      // there may be more than what the claims under way can find
	waiting []*held
	sending map[string]*held
	hands   int        // senders, those that hang left out
	work    chan *held // for them
	results chan outcome
	pending []outcome      // to be written down
	alone   bool           // one is being sent that was claimed alone
	group   sync.WaitGroup // of the goroutines; those that hang are not waited for
	stopped time.Time      // when ctx was seen to have ended
}

func (q *Queue) newCrew(limit int) *crew {
	return &crew{Queue: q, left: limit, claims: make(chan claim, clerks), sending: map[string]*held{}, work: make(chan *held, senders),
		results: make(chan outcome, senders+hungLimit+1)}
}

// run goes on until nothing is due, or as much is done as was asked for, or ctx ends; then it waits for what it has begun.
func (c *crew) run(ctx context.Context, found dues, wake <-chan struct{}) error {
	flush, renew := time.NewTicker(c.flushEvery), time.NewTicker(c.renewEvery)
	defer flush.Stop()
	defer renew.Stop()
	defer close(c.work)
	look, lapsed := found.ready, found.lapsed
	var failed error
	for {
		if ctx.Err() != nil || failed != nil {
			look, lapsed = false, false
			c.giveBack()
			if c.stopped.IsZero() {
				c.stopped = time.Now()
			}
		}
		if look && c.wanting() {
			c.claim(ctx)
			continue
		}
		if lapsed && !c.alone && failed == nil {
			lapsed, failed = c.claimLapsed(ctx)
			continue
		}
		c.start(ctx)
		if len(c.sending) == 0 && len(c.waiting) == 0 && c.clerks == 0 {
			break
		}
		select {
		case cl := <-c.claims:
			if !c.claimed(ctx, cl) {
				look = c.news
			}
			failed = cmp.Or(failed, cl.err)
		case o := <-c.results:
			lapsed = c.ended(o) || lapsed
		case <-flush.C:
			c.giveUp(ctx)
			if c.finish(ctx, c.pending) == nil {
				c.pending = nil
			}
			look, c.news = true, true // there may be something new
		case <-renew.C:
			c.renew(ctx)
			lapsed = true
		case <-wake:
			look, c.news = true, true
		}
	}
	err := c.finish(ctx, c.pending)
	if ctx.Err() != nil { // what it was told to leave is no failure
		return nil
	}
	return cmp.Or(failed, err)
}

// wanting tells whether to claim: if nothing waits for the senders that are free; and ahead of that if the last batch came full, and so lately
// that the senders will soon be done with it.
func (c *crew) wanting() bool {
	if c.left == 0 || c.clerks == clerks || c.hung.Load() >= hungLimit {
		return false
	}
	if c.clerks == 0 && len(c.waiting) == 0 && len(c.sending) < senders {
		return true
	}
	return len(c.waiting) <= batch && time.Since(c.last) < c.flushEvery
}

// claim is what a clerk comes back with.
type claim struct {
	want  int
	list  []Delivery
	ended []outcome // which it has written down, unless it failed
	err   error
}

// claim has a clerk write down what has ended and take the next batch.
func (c *crew) claim(ctx context.Context) {
	cl := claim{want: batch, ended: c.pending}
	if c.left > 0 {
		cl.want = min(batch, c.left)
		c.left -= cl.want
	}
	c.pending, c.news = nil, false
	c.clerks++
	c.group.Go(func() {
		cl.list, cl.err = c.turn(ctx, cl.ended, cl.want)
		c.claims <- cl
	})
}

// claimed takes over what a clerk comes back with; false if it was less than a batch.
func (c *crew) claimed(ctx context.Context, cl claim) (more bool) {
	c.clerks--
	if cl.err != nil {
		c.pending = append(c.pending, cl.ended...)
	}
	if c.left >= 0 {
		c.left += cl.want - len(cl.list)
	}
	for _, d := range cl.list {
		c.waiting = append(c.waiting, hold(ctx, d, false))
	}
	if more = len(cl.list) == cl.want; more {
		c.last = time.Now()
	}
	return more
}

// claimLapsed takes one delivery whose claim has lapsed, to be the only one of its kind in hand.
func (c *crew) claimLapsed(ctx context.Context) (more bool, err error) {
	d, found, err := c.takeLapsed(ctx)
	if err != nil || !found {
		return false, err
	}
	c.alone = true
	c.waiting = append([]*held{hold(ctx, d, true)}, c.waiting...)
	return true, nil
}

// start begins what there are senders for.
func (c *crew) start(ctx context.Context) {
	for len(c.waiting) > 0 && len(c.sending) < senders {
		h := c.waiting[0]
		c.waiting = c.waiting[1:]
		h.began = time.Now()
		c.sending[h.ID] = h
		if c.hands < len(c.sending) {
			c.hands++
			c.group.Go(func() { c.sender(ctx) })
		}
		c.work <- h
	}
}

// ended notes an outcome; true if it was of one claimed alone, so that the next of those can be taken.
func (c *crew) ended(o outcome) (alone bool) {
	h, mine := c.sending[o.id]
	if !mine || h.Attempt != o.attempt { // it was given up
		return false
	}
	delete(c.sending, o.id)
	h.cancel()
	if o.lost {
		c.hands--
	}
	if alone = h.alone; alone {
		c.alone = false
	}
	if o.state != "" {
		c.pending = append(c.pending, o)
	}
	return alone
}

// giveBack gives back what has not been begun.
func (c *crew) giveBack() {
	for _, h := range c.waiting {
		h.cancel()
		c.pending = append(c.pending, givenBack(h.Delivery))
	}
	c.waiting = nil
}

// giveUp leaves sendings to themselves that do not come back though their time is over.
func (c *crew) giveUp(ctx context.Context) {
	for _, h := range c.sending {
		inTime := time.Since(h.began) < c.sendLimit+c.grace && (c.stopped.IsZero() || time.Since(c.stopped) < c.grace)
		if inTime || !h.over.CompareAndSwap(0, givenUp) {
			continue
		}
		c.logger.ErrorContext(ctx, "what sends deliveries does not return when its context ends", "delivery", h.ID)
		c.hung.Add(1)
		o := failed(h.Delivery, errHung)
		o.lost = true
		c.ended(o)
	}
}

// sender sends one after the other, until it is given up or nothing comes any more.
func (c *crew) sender(ctx context.Context) {
	for h := range c.work {
		if !c.sendOne(ctx, h) {
			return
		}
	}
}

// sendOne sends one delivery; nothing of it survives a panic of the sender, or the end of its goroutine, but the failure. It is false if it
// was given up meanwhile.
func (c *crew) sendOne(ctx context.Context, h *held) (inTime bool) {
	var o outcome
	defer func() {
		panicked := recover() != nil // its text can hold anything
		if panicked {
			c.logger.ErrorContext(ctx, "what sends deliveries has panicked", "delivery", h.ID)
		}
		if o.id == "" {
			o = failed(h.Delivery, errPanicked)
			o.lost = !panicked
		}
		if inTime = h.over.CompareAndSwap(0, returned); inTime {
			c.results <- o
		} else {
			c.hung.Add(-1)
		}
	}()
	o = c.outcomeOf(ctx, h)
	return true
}

func (c *crew) outcomeOf(ctx context.Context, h *held) outcome {
	switch {
	case h.ctx.Err() != nil && ctx.Err() == nil: // its lease is lost
		return outcome{id: h.ID, attempt: h.Attempt}
	case ctx.Err() != nil:
		return givenBack(h.Delivery)
	case h.Failures >= maxFailures:
		return failed(h.Delivery, errLost)
	case h.ExpiresAt != 0 && h.ExpiresAt <= store.Now(c.db):
		return failed(h.Delivery, errRunOut)
	}
	limited, cancel := context.WithTimeout(h.ctx, c.sendLimit)
	defer cancel()
	err := c.send(limited, h.Delivery)
	switch {
	case err == nil:
		return outcome{id: h.ID, attempt: h.Attempt, state: Done}
	case ctx.Err() != nil: // it was told to stop
		return givenBack(h.Delivery)
	}
	return failed(h.Delivery, err)
}
