package license_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

func (w *world) ask(me context.Context, sku string, n int64, o ...license.Option) license.Request {
	w.t.Helper()
	r, err := w.seats.Ask(me, sku, n, o...)
	w.must(err)
	return r
}

// TestBEY12_Requests: asked for, granted with the licences or refused with an answer, and told of in the audit.
func TestBEY12_Requests(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		asked := w.ask(a.me, "seat", 7, license.Because("a new customer"))
		if asked.Partner != a.ID || asked.State != "open" || asked.Quantity != 7 || asked.SKU != "seat" || asked.Reason != "a new customer" || asked.AskedBy == "" || asked.Key == "" {
			t.Errorf("asked: %+v", asked)
		}
		w.has(a.ID, "seat", 0)
		granted, err := w.seats.DecideRequest(w.vendor, asked.ID, true, "gladly")
		w.must(err)
		want := asked
		want.State, want.Answer, want.DecidedBy = "granted", "gladly", "host:ops@vendor.example"
		if granted != want {
			t.Errorf("granted: %+v, want %+v", granted, want)
		}
		w.has(a.ID, "seat", 7)
		again, err := w.seats.DecideRequest(w.vendor, asked.ID, true, "in other words")
		w.must(err)
		if again != granted {
			t.Errorf("again: %+v", again)
		}
		w.is(second(w.seats.DecideRequest(w.vendor, asked.ID, false, "no")), partner.ErrBadTransition)
		w.has(a.ID, "seat", 7)

		refused := w.ask(a.me, "seat", 9)
		for range 2 {
			r, err := w.seats.DecideRequest(w.vendor, refused.ID, false, "too many")
			w.must(err)
			if r.State != "refused" || r.Answer != "too many" {
				t.Errorf("refused: %+v", r)
			}
		}
		w.is(second(w.seats.DecideRequest(w.vendor, refused.ID, true, "")), partner.ErrBadTransition)
		w.has(a.ID, "seat", 7)
		for kind, n := range map[string]int{"license.asked": 2, "license.granted": 1, "license.refused": 1} {
			if got := w.happenings(kind); got != n {
				t.Errorf("%d %s, want %d", got, kind, n)
			}
		}
		w.whole()
	})
}

func TestBEY12_RequestsAreKeyed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.partner("acme"), w.partner("bolt")
		w.define("seat")
		ids := make([]string, 8)
		for _, err := range together(8, func(i int) error {
			r, err := w.seats.Ask(a.me, "seat", 3, license.Key("k"))
			ids[i] = r.ID
			return err
		}) {
			w.must(err)
		}
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("one key, the requests %v", ids)
			}
		}
		w.is(second(w.seats.Ask(a.me, "seat", 4, license.Key("k"))), partner.ErrIdempotencyMismatch)
		w.is(second(w.seats.Ask(a.me, "seat", 3, license.Key("k"), license.Because("x"))), partner.ErrIdempotencyMismatch)
		if other := w.ask(b.me, "seat", 3, license.Key("k")); other.Replayed || other.ID == ids[0] {
			t.Error("a key of one organisation is another's")
		}
		w.must(second(w.seats.DecideRequest(w.vendor, ids[0], true, "yes")))
		w.must(w.seats.Retire(w.vendor, "seat"))
		again := w.ask(a.me, "seat", 3, license.Key("k"))
		if !again.Replayed || again.ID != ids[0] || again.State != "granted" {
			t.Errorf("again: %+v", again)
		}
		w.faulty(second(w.seats.Ask(a.me, "seat", 3)), "sku:retired_code")
		if n := w.happenings("license.asked"); n != 2 {
			t.Errorf("%d asked in the audit, want 2", n)
		}
		w.whole()
	})
}

// TestBEY12_RacingDecisions: one way or the other, and the licences with it.
func TestBEY12_RacingDecisions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		granted := int64(0)
		for range 8 {
			r, won := w.ask(a.me, "seat", 5), map[bool]int{}
			for i, err := range together(4, func(i int) error { return second(w.seats.DecideRequest(w.vendor, r.ID, i%2 == 0, fmt.Sprint(i))) }) {
				if err == nil {
					won[i%2 == 0]++
					continue
				}
				w.is(err, partner.ErrBadTransition)
			}
			if won[true] > 0 && won[false] > 0 || won[true]+won[false] != 2 {
				t.Fatalf("decided %v", won)
			}
			if won[true] > 0 {
				granted++
			}
		}
		w.has(a.ID, "seat", 5*granted)
		if w.happenings("license.granted")+w.happenings("license.refused") != 8 {
			t.Error("a decision is twice in the audit, or not")
		}
		w.whole()
	})
}

// TestBEY12_RequestsInScope: an organisation sees and pages through its own, the vendor through all; nobody else decides.
func TestBEY12_RequestsInScope(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.partner("acme"), w.partner("bolt")
		w.define("seat")
		w.project(a.me, "one")
		want := map[partner.ID][]string{}
		var all []string
		for i := range 7 {
			s := []side{a, b}[i%2]
			r := w.ask(s.me, "seat", int64(i+1))
			want[s.ID] = append([]string{r.ID}, want[s.ID]...)
			all = append([]string{r.ID}, all...)
		}
		pages := func(ctx context.Context, limit int) (ids []string) {
			for p := (partner.PageRequest{Limit: limit}); ; {
				page, err := w.seats.Requests(ctx, p)
				w.must(err)
				if len(page.Items) > limit {
					t.Fatalf("%d on a page of %d", len(page.Items), limit)
				}
				for _, r := range page.Items {
					ids = append(ids, r.ID)
				}
				if p.After = page.Next; page.Next == "" {
					return ids
				}
			}
		}
		for limit := 1; limit < 9; limit++ {
			for _, c := range []struct {
				ctx  context.Context
				want []string
			}{{a.me, want[a.ID]}, {b.me, want[b.ID]}, {w.vendor, all}} {
				if got := pages(c.ctx, limit); !reflect.DeepEqual(got, c.want) {
					t.Errorf("pages of %d: %v, want %v", limit, got, c.want)
				}
			}
		}
		foreign, own := want[b.ID][0], want[a.ID][0]
		w.is(second(w.seats.DecideRequest(a.me, foreign, true, "")), partner.ErrNotFound)
		w.is(second(w.seats.DecideRequest(a.me, own, true, "")), partner.ErrForbidden)
		for _, id := range []string{"", "req_none", "x\x00", string(a.ID)} {
			w.is(second(w.seats.DecideRequest(w.vendor, id, true, "")), partner.ErrNotFound)
		}
		for _, ctx := range []context.Context{w.login("one"), context.Background()} {
			w.is(second(w.seats.Requests(ctx, partner.PageRequest{})), partner.ErrForbidden)
			w.is(second(w.seats.Ask(ctx, "seat", 1)), partner.ErrForbidden)
			w.is(second(w.seats.DecideRequest(ctx, own, true, "")), partner.ErrForbidden)
		}
		w.is(second(w.seats.Ask(w.vendor, "seat", 1)), partner.ErrForbidden)
		w.faulty(second(w.seats.Ask(a.me, "", 0)), "sku:required quantity:range")
		w.faulty(second(w.seats.Ask(a.me, "none", 1)), "sku:unknown_code")
		w.is(second(w.seats.Requests(a.me, partner.PageRequest{After: "no cursor"})), partner.ErrInvalid)
		w.has(a.ID, "seat", 0)
		w.has(b.ID, "seat", 0)
	})
}

// TestBEY01_ADecisionIsWhole: what cannot be granted leaves the request open, and a host who rolls back has decided nothing.
func TestBEY01_ADecisionIsWhole(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		w.define("old")
		r, old := w.ask(a.me, "seat", 4), w.ask(a.me, "old", 4)
		w.must(w.seats.Retire(w.vendor, "old"))
		w.faulty(second(w.seats.DecideRequest(w.vendor, old.ID, true, "")), "sku:retired_code")
		tx := w.db.Begin()
		w.must(tx.Error)
		w.must(second(license.New(w.reg.In(tx)).DecideRequest(w.vendor, r.ID, true, "yes")))
		w.must(tx.Rollback().Error)
		w.has(a.ID, "seat", 0)
		page, err := w.seats.Requests(a.me, partner.PageRequest{})
		w.must(err)
		for _, r := range page.Items {
			if r.State != "open" {
				t.Errorf("%+v", r)
			}
		}
		w.must(w.db.Transaction(func(tx *gorm.DB) error {
			in := license.New(w.reg.In(tx))
			w.must(second(in.DecideRequest(w.vendor, r.ID, true, "yes")))
			w.is(second(in.DecideRequest(w.vendor, r.ID, false, "no")), partner.ErrBadTransition)
			w.must(second(in.DecideRequest(w.vendor, old.ID, false, "it is gone")))
			return nil
		}))
		w.has(a.ID, "seat", 4)
		w.whole()
	})
}
