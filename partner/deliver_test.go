package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// postbox is a notifier that keeps what it gets, by message id as a good receiver does.
type postbox struct {
	mu   sync.Mutex
	sent []partner.Message    // once each
	at   map[string]time.Time // when, by a test's clock if it has one
	now  func() time.Time
	came map[string]int              // how often
	as   func(partner.Message) error // what becomes of a message, asked before it is kept
}

func newPostbox() *postbox {
	return &postbox{came: map[string]int{}, at: map[string]time.Time{}, now: time.Now}
}

func (b *postbox) Notify(_ context.Context, m partner.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.came[m.ID]++
	if b.as != nil {
		if err := b.as(m); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(b.sent, func(s partner.Message) bool { return s.ID == m.ID }) {
		b.sent = append(b.sent, m)
		b.at[m.ID] = b.now()
	}
	return nil
}

// last is the newest message of a template to an address.
func (b *postbox) last(t testing.TB, template, to string) partner.Message {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range slices.Backward(b.sent) {
		if m.Template == template && m.To == to {
			return m
		}
	}
	t.Fatalf("no %s to %s among %v", template, to, b.sent)
	return partner.Message{}
}

// mailing runs a test on a world that sends mail, per database.
func mailing(t *testing.T, test func(w *world, box *postbox), change ...func(*partner.Options)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		box := newPostbox()
		w := newWorld(t, db, append([]func(*partner.Options){func(o *partner.Options) { o.Notifier = box }}, change...)...)
		box.now = w.clock.Now
		test(w, box)
	})
}

// post does all that is due.
func (w *world) post() {
	w.t.Helper()
	for range 100 {
		more, err := w.reg.Step(context.Background())
		w.must(err)
		if !more {
			return
		}
	}
	w.t.Fatal("there is always more to do")
}

// closed closes a project, which makes two messages.
func (w *world) closed(login string) (partner.Partner, partner.Account) {
	w.t.Helper()
	p, me := w.partner(login)
	a := w.project(me, login+"-move")
	w.close(me, a.ID)
	return p, a
}

func (w *world) deliveries(state string) []partner.Delivery {
	w.t.Helper()
	page, err := w.reg.Activity.Deliveries(w.vendor, state, partner.PageRequest{})
	w.must(err)
	return page.Items
}

// TestBEY03_WhatWasDeliveredIsWiped: a receiver gets what concerns him once; what it said is gone with that, and the row thirty days later.
func TestBEY03_WhatWasDeliveredIsWiped(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, a := w.closed("acme")
		w.post()
		w.post()
		m := box.last(w.t, "close_notice", "acme-move@customer.example")
		if len(box.sent) != 2 || box.came[m.ID] != 1 || m.Data["account"] != a.Name || m.Data["partner"] != "Partner acme" || m.Region != "DE" || m.Token != "" ||
			!strings.Contains(m.Subject, a.Name) || !strings.Contains(string(m.Text), "Partner acme") {
			w.t.Errorf("sent %d, came %v: %+v %s", len(box.sent), box.came, m, string(m.Text))
		}
		if done := w.deliveries("done"); len(done) != 2 || done[0].To != "" || done[0].Attempt != 1 {
			w.t.Errorf("done are %+v", done)
		}
		tamper(w.t, w.db, "DELETE FROM prm_closings") // of which there would be reminders
		for _, line := range dump(w.t, w.db)["prm_deliveries"] {
			if strings.Contains(line, "example") || strings.Contains(line, "acme") {
				w.t.Errorf("kept: %s", line)
			}
		}
		w.clock.Advance(30*24*time.Hour - time.Minute)
		if w.post(); len(w.deliveries("")) != 2 {
			w.t.Error("they went too early")
		}
		w.clock.Advance(3 * time.Minute)
		if w.post(); len(w.deliveries("")) != 0 {
			w.t.Errorf("left are %+v", w.deliveries(""))
		}
	})
}

// TestPAN05_ACrashBeforeOrAfterTheSendingGivesOneMail: the message has one id, so a receiver knows the second one.
func TestPAN05_ACrashBeforeOrAfterTheSendingGivesOneMail(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		w.closed("acme")
		crashed := 0
		box.as = func(partner.Message) error {
			if crashed++; crashed <= 2 {
				panic("before it was sent")
			}
			return nil
		}
		w.post()
		if len(box.sent) != 0 || crashed != 2 {
			w.t.Fatalf("%d sent, %d crashes", len(box.sent), crashed)
		}
		// After the sending: the answer is lost.
		box.as = nil
		lost := &answerless{box: box}
		other := newWorld(w.t, w.db, func(o *partner.Options) { o.Notifier, o.Clock = lost, w.clock.Now })
		w.clock.Advance(time.Minute)
		other.post()
		if len(box.sent) != 2 || lost.n.Load() != 2 {
			w.t.Fatalf("%d sent, %d answers lost", len(box.sent), lost.n.Load())
		}
		w.clock.Advance(time.Hour)
		w.post()
		for id, n := range box.came {
			if n != 3 {
				w.t.Errorf("%s came %d times", id, n)
			}
		}
		if len(box.sent) != 2 || len(w.deliveries("done")) != 2 {
			w.t.Errorf("%d mails, %+v", len(box.sent), w.deliveries(""))
		}
	})
}

// answerless sends, and fails to say so.
type answerless struct {
	box *postbox
	n   atomic.Int64
}

func (a *answerless) Notify(ctx context.Context, m partner.Message) error {
	err := a.box.Notify(ctx, m)
	a.n.Add(1)
	return errors.Join(err, errors.New("connection reset"))
}

// TestBEY30_FailuresWaitLongerAndTheTwelfthIsTheLast, and a dead delivery is tried anew when somebody says so.
func TestBEY30_FailuresWaitLongerAndTheTwelfthIsTheLast(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		_, err := w.reg.Users.Add(me, p.ID, partner.NewUser{Email: "dev@user.example", Name: "Dev", Role: partner.Member})
		w.must(err)
		box.as = func(m partner.Message) error { return fmt.Errorf("550 %s has no box, said %s", m.To, string(m.Token)) }
		var waits []time.Duration
		for i := range 12 {
			w.post()
			d := w.deliveries("")[0]
			if d.Attempt != i+1 || strings.Contains(d.LastError, "dev@") || !strings.HasPrefix(d.LastError, "550 [redacted] has no box, said [redacted]") {
				w.t.Fatalf("failure %d: %+v", i, d)
			}
			if i == 11 {
				break
			}
			wait := d.Next.Sub(w.clock.Now())
			waits = append(waits, wait)
			w.clock.Advance(wait - 100*time.Millisecond)
			if w.post(); w.deliveries("")[0].Attempt != i+1 {
				w.t.Fatalf("failure %d: tried too early", i)
			}
			w.clock.Advance(110 * time.Millisecond)
		}
		if waits[0] < 700*time.Millisecond || waits[0] > time.Second || waits[10] < 48*time.Minute-time.Second || waits[10] > time.Hour {
			w.t.Errorf("it waits %v", waits)
		}
		dead := w.deliveries("dead")
		if len(dead) != 1 || len(w.deliveries("ready")) != 0 || dead[0].To != "dev@user.example" {
			w.t.Fatalf("the deliveries are %+v", w.deliveries(""))
		}
		w.clock.Advance(24 * time.Hour)
		if w.post(); box.came[dead[0].ID] != 12 {
			w.t.Errorf("a dead one came %d times", box.came[dead[0].ID])
		}
		box.as = nil
		wants(w.t, "a partner's retry", w.reg.Activity.Retry(w.login("acme"), dead[0].ID), partner.ErrForbidden)
		w.must(w.reg.Activity.Retry(w.vendor, dead[0].ID))
		wants(w.t, "a second retry", w.reg.Activity.Retry(w.vendor, dead[0].ID), partner.ErrBadTransition)
		wants(w.t, "a retry of none", w.reg.Activity.Retry(w.vendor, "dlv_none"), partner.ErrNotFound)
		w.post()
		if m := box.last(w.t, "welcome", "dev@user.example"); m.ID != dead[0].ID || m.Token == "" {
			w.t.Errorf("retried %+v", m)
		}
		events, err := w.reg.Activity.List(w.vendor, partner.EventFilter{Kinds: []string{"delivery.retried"}}, partner.PageRequest{})
		w.must(err)
		if len(events.Items) != 1 || events.Items[0].Partner != p.ID {
			w.t.Errorf("the audit says %+v", events.Items)
		}
	})
}

// TestBEY30_AReceiverThatIsAwayIsWaitedFor, however long; one that says no is believed at once.
func TestBEY30_AReceiverThatIsAwayIsWaitedFor(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		w.closed("acme")
		box.as = func(partner.Message) error { return fmt.Errorf("no route: %w", partner.ErrUnavailable) }
		for range 40 {
			w.post()
			w.clock.Advance(time.Hour)
		}
		if ready := w.deliveries("ready"); len(ready) != 2 || ready[0].Attempt < 30 {
			w.t.Fatalf("the deliveries are %+v", w.deliveries(""))
		}
		box.as = func(m partner.Message) error {
			if m.Template == "close_notice" {
				return fmt.Errorf("no such address: %w", partner.ErrRefused)
			}
			return nil
		}
		w.post()
		if dead := w.deliveries("dead"); len(dead) != 1 || dead[0].Template != "close_notice" || len(box.sent) != 1 {
			w.t.Errorf("the deliveries are %+v", w.deliveries(""))
		}
	})
}

// TestBEY30_AProcessThatDiesLeavesItsDeliveriesToOthers when its lease has run out, and what kills its sender dies with the twelfth.
func TestBEY30_AProcessThatDiesLeavesItsDeliveriesToOthers(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		w.closed("acme")
		// What a process that died has left behind.
		tamper(w.t, w.db, "UPDATE prm_deliveries SET state = 'leased', attempt = 1, owner = 'run_other', next_at = ?", w.clock.Now().Add(time.Minute).UnixMicro())
		if w.post(); len(box.sent) != 0 {
			w.t.Fatal("sent under somebody's lease")
		}
		w.clock.Advance(2 * time.Minute)
		if w.post(); len(box.sent) != 2 || w.deliveries("")[0].Attempt != 2 {
			w.t.Fatalf("%d sent, %+v", len(box.sent), w.deliveries(""))
		}
		tamper(w.t, w.db, "UPDATE prm_deliveries SET state = 'leased', attempt = 12, failures = 11, alone = TRUE, owner = 'run_other', next_at = 0")
		w.post()
		if dead := w.deliveries("dead"); len(dead) != 2 || dead[0].LastError == "" || box.came[dead[0].ID] != 1 {
			w.t.Errorf("the deliveries are %+v", w.deliveries(""))
		}
	})
}

// TestBEY30_ALostLeaseFinishesNothing: whoever was too slow for his lease writes nothing over what another has done meanwhile.
func TestBEY30_ALostLeaseFinishesNothing(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		w.closed("acme")
		box.as = func(m partner.Message) error {
			if m.Template == "close_notice" { // another process takes it over while this one is at it
				tamper(w.t, w.db, "UPDATE prm_deliveries SET attempt = attempt + 1, owner = 'run_other' WHERE id = ?", m.ID)
			}
			return nil
		}
		w.post()
		if leased := w.deliveries("leased"); len(leased) != 1 || leased[0].Template != "close_notice" || leased[0].To == "" {
			w.t.Errorf("the deliveries are %+v", w.deliveries(""))
		}
	})
}

// TestBEY30_NoDeliveryWithoutItsEvent: a host's rollback takes both, and what is only a savepoint's too.
func TestBEY30_NoDeliveryWithoutItsEvent(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		tx := w.db.Begin()
		_, err := w.reg.In(tx).Accounts.Close(me, a.ID)
		w.must(err)
		wants(w.t, "a step inside", second(w.reg.In(tx).Step(context.Background())), partner.ErrInvalid)
		wants(w.t, "a run inside", w.reg.In(tx).Run(context.Background()), partner.ErrInvalid)
		w.must(tx.Rollback().Error)
		w.post()
		if len(box.sent) != 0 || len(w.deliveries("")) != 0 {
			w.t.Errorf("%d sent of what never happened", len(box.sent))
		}
	})
}

// TestPAN05_RunSendsWhatComes without being asked, and at once what this process has written.
func TestPAN05_RunSendsWhatComes(t *testing.T) {
	got := make(chan partner.Message, 10)
	mailing(t, func(w *world, box *postbox) {
		box.as = func(m partner.Message) error { got <- m; return nil }
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.reg.Run(ctx, w.seats) }()
		w.closed("acme")
		<-got
		<-got
		_, me := w.partner("bolt")
		a := w.project(me, "bolt-move")
		w.must(w.db.Transaction(func(tx *gorm.DB) error {
			return second(w.reg.In(tx).Accounts.Close(me, a.ID))
		}))
		w.reg.Wake()
		<-got
		<-got
		stop()
		w.must(<-ended)
	})
}

// TestPAN05_RunOnAClosedRegistryEnds with the reason.
func TestPAN05_RunOnAClosedRegistryEnds(t *testing.T) {
	mailing(t, func(w *world, _ *postbox) {
		w.must(w.reg.Close())
		wants(w.t, "run", w.reg.Run(context.Background(), w.seats), partner.ErrUnavailable)
	})
}
