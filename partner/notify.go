package partner

import (
	"cmp"
	"context"
	"errors"
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
// Notify is called outside transactions, from several goroutines, and returns when ctx ends.
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
	Token    Secret // for [Access.Accept]; empty if the message brings none

	// Data is what Subject and Text were filled with: "partner", "name", "project" and "until", when the token runs out (RFC 3339, UTC); those
	// that the template has.
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

// Step does one bounded round of what Run does, for hosts with a job engine of their own; more tells that work is left. Several processes may
// step at once. Not inside a host transaction. Who acts in ctx does not matter.
func (r *Registry) Step(ctx context.Context, rooms ...Worker) (more bool, err error) {
	defer wrap(&err, "step")
	if store.Joined(r.db) {
		return false, errInHostTx
	}
	more, err = r.step(ctx)
	for _, room := range rooms {
		left, failed := room.Step(ctx)
		more, err = more || left, cmp.Or(err, failed)
	}
	return more, err
}

// step does one round of the floor's own work.
func (r *Registry) step(ctx context.Context) (more bool, err error) {
	if r.queue != nil {
		more, err = r.queue.Step(ctx)
	}
	if err != nil || !r.sweepDue() {
		return more, err
	}
	left, err := r.sweep(ctx)
	return more || left, err
}

// Run works until ctx ends: it delivers what waits, sweeps up what has run out, and steps the given rooms. All goroutines of the SDK are its
// own, and have ended when it returns. What fails is logged and tried again. It returns an error only if it cannot work at all: inside a host
// transaction, or on a Registry that is closed.
func (r *Registry) Run(ctx context.Context, rooms ...Worker) (err error) {
	defer wrap(&err, "run")
	if store.Joined(r.db) {
		return errInHostTx
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	group.Go(func() { r.loop(ctx, stop, "floor", r.wake, r.step) })
	for _, room := range rooms {
		group.Go(func() { r.loop(ctx, stop, fmt.Sprintf("%T", room), nil, room.Step) })
	}
	group.Wait()
	if errors.Is(context.Cause(ctx), store.ErrClosed) {
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
func (r *Registry) loop(ctx context.Context, stop context.CancelCauseFunc, room string, wake <-chan struct{}, step func(context.Context) (bool, error)) {
	pause := poll
	for ctx.Err() == nil {
		more, err := step(ctx)
		switch {
		case errors.Is(err, store.ErrClosed):
			stop(store.ErrClosed)
			return
		case err != nil && ctx.Err() == nil:
			pause = min(max(2*pause, callPause), maxPause)
			r.opts.Logger.WarnContext(ctx, "work in the background failed and will be tried again", "room", room, "pause", pause, "error", err)
		default:
			pause = poll
		}
		if err == nil && more {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-wake:
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
