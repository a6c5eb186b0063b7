package partner

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/partnerkit/partnerkit/internal/outbox"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Notifier tells people what concerns them, by mail as a rule. A message may come more than once, from several processes too: its ID tells. It
// was delivered if Notify returns nil. An error that matches [ErrRefused] or [ErrInvalid] is final; one that matches [ErrUnavailable] says that
// the way there is down, and is waited out; any other counts, and the twelfth is the last: the delivery is then dead, until [Activity.Retry].
// Notify is called outside transactions, from several goroutines. It returns when ctx ends, after two minutes at the latest; one that does not is
// left to itself, and its message sent again.
type Notifier interface {
	Notify(ctx context.Context, m Message) error
}

// Message is one delivery, with what only its receiver may know.
type Message struct {
	ID       string // dlv_…, the same each time the message is sent
	Template string // what it is about: see [Delivery]
	Locale   string // of the receiver, BCP 47; may be empty
	To       string // e-mail address
	Region   string // of the project that it is about
	Subject  string // in English
	Text     Secret // in English, with the token
	Token    Secret // for what Template says: [Access.Accept], [Accounts.Open] ("account_opening"), [Accounts.ConfirmClose] ("close_…"); empty if the message brings none

	// Data is what Subject and Text were filled with: "partner", "name", "project", "account", its new "owner", "until", when the token or the access runs out (RFC 3339, UTC), and
	// of delegations their id, "delegation", the "roles" asked for and the "state" it came to; those that the template has.
	Data map[string]string
}

// Format implements fmt.Formatter: a message is printed as its name.
func (m Message) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "%s to [redacted] (%s)", m.Template, m.ID)
}

// LogValue implements slog.LogValuer, like Format.
func (m Message) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", m.ID), slog.String("template", m.Template))
}

// notify hands a delivery to the host's notifier.
func (r *Registry) notify(ctx context.Context, d outbox.Delivery) error {
	l, err := r.letterOf(d.ID, d.Template, d.Payload)
	if err != nil {
		return err
	}
	return l.hushed(r.opts.Notifier.Notify(ctx, l.message(d)))
}

// sayWhatWaits tells the operator of a program without a notifier.
func (r *Registry) sayWhatWaits(ctx context.Context) error {
	if r.opts.Notifier != nil {
		return nil
	}
	const many = 1000
	n, err := outbox.Waiting(ctx, r.db, many)
	if err == nil {
		r.opts.Logger.WarnContext(ctx, "no Options.Notifier: invitations, new passwords and notices about projects wait until a process has one", "waiting", n)
	}
	return err
}

// Worker is a room with work of its own to do in the background, such as license.Ledger.
type Worker interface {
	// Step does a bounded round of it; more tells that another is worth while at once.
	Step(ctx context.Context) (more bool, err error)
}

// Step does one bounded round of what Run does, for hosts with a job engine of their own; more tells that work is left. It lasts as long as the calls of
// Options.Notifier and Options.Erasers that it makes: once ten minutes are over it begins with no other account. Several processes may
// step at once. Not inside a host transaction. Who acts in ctx does not matter.
func (r *Registry) Step(ctx context.Context, rooms ...Worker) (more bool, err error) {
	defer wrap(&err, "step")
	ctx, leave, err := r.beginWork(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if r.queue != nil {
		more, err = r.queue.Step(ctx)
	}
	for _, step := range append(append([]func(context.Context) (bool, error){r.sweepIfDue}, steps(rooms)...), r.eraseIfDue) {
		left, failed := step(ctx)
		more, err = more || left, cmp.Or(err, failed)
	}
	return more, err
}

func steps(rooms []Worker) []func(context.Context) (bool, error) {
	list := make([]func(context.Context) (bool, error), len(rooms))
	for i, room := range rooms {
		list[i] = room.Step
	}
	return list
}

// beginWork is for calls that work on after their transactions: Close ends ctx and waits for leave.
func (r *Registry) beginWork(ctx context.Context) (_ context.Context, leave func(), err error) {
	if store.Joined(r.db) {
		return ctx, nil, errInHostTx
	}
	r.working.RLock()
	if r.life.Err() != nil {
		r.working.RUnlock()
		return ctx, nil, store.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	detach := context.AfterFunc(r.life, cancel)
	return ctx, func() {
		detach()
		cancel()
		r.working.RUnlock()
	}, nil
}

// Run works until ctx ends: it delivers what waits, sweeps up what has run out, deletes accounts, and steps the given rooms. All goroutines of the SDK are its
// own, and have ended when it returns, but for a call of Options.Notifier, an eraser or Options.Signer that does not. What fails is logged and tried again. It returns an error
// only if it cannot work at all: inside a host transaction, or when the Registry is closed.
func (r *Registry) Run(ctx context.Context, rooms ...Worker) (err error) {
	defer wrap(&err, "run")
	ctx, leave, err := r.beginWork(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var group sync.WaitGroup
	if r.queue != nil {
		group.Go(func() {
			r.loop(ctx, "deliveries", func(ctx context.Context) (bool, error) { return false, r.queue.Run(ctx, r.wake, poll) })
		})
	}
	group.Go(func() { r.loop(ctx, "sweeping", r.sweepIfDue) }) // it can wait for a host's transaction; mail does not
	group.Go(func() { r.loop(ctx, "erasing", r.eraseIfDue) })  // it takes as long as the host's erasers
	for _, room := range rooms {
		group.Go(func() { r.loop(ctx, fmt.Sprintf("%T", room), room.Step) })
	}
	group.Wait()
	if r.life.Err() != nil {
		return store.ErrClosed
	}
	return nil
}

const (
	poll      = 500 * time.Millisecond // between two looks at the database
	maxPause  = time.Minute            // after failures
	callPause = time.Second            // after the first
)

// loop steps one room until ctx ends.
func (r *Registry) loop(ctx context.Context, room string, step func(context.Context) (bool, error)) {
	pause := poll
	for ctx.Err() == nil {
		more, err := step(ctx)
		if err == nil {
			pause = poll
		} else if ctx.Err() == nil {
			pause = min(max(2*pause, callPause), maxPause)
			r.opts.Logger.WarnContext(ctx, "work in the background failed and will be tried again", "room", room, "pause", pause, "error", err)
		}
		if err == nil && more {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Wake has Run look for deliveries at once. A host calls it after committing a transaction that it used [Registry.In] in; otherwise they wait
// for Run's next look, half a second later at most.
func (r *Registry) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}
