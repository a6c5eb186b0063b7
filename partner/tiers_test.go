package partner_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// called is what somebody is told that a partner is called.
func (w *world) called(ctx context.Context, id partner.ID, at time.Time) string {
	w.t.Helper()
	label, err := w.reg.Program.TierAt(ctx, id, at)
	w.must(err)
	return label
}

// TestBEY07_ATierComesAndGoesWithItsDates: to the microsecond, by whichever was set last for the time asked about.
func TestBEY07_ATierComesAndGoesWithItsDates(t *testing.T) {
	standstill(t, func(w *world, now *time.Time) {
		p, me := w.partner("acme")
		other, _ := w.partner("other")
		set := func(label string, period partner.Period) partner.Tier {
			w.t.Helper()
			t, err := w.reg.Program.SetTier(w.vendor, p.ID, partner.Tier{Label: label, Period: period, Reason: "sales of " + label})
			w.must(err)
			return t
		}
		if got := w.called(w.vendor, p.ID, time.Time{}); got != "" {
			w.t.Errorf("called %q before anything was set", got)
		}
		silver := set("silver", partner.Period{})
		if !silver.Period.From.Equal(*now) || !silver.Period.Until.IsZero() || silver.By != "host:ops@vendor.example" || silver.Reason != "sales of silver" || !silver.Created.Equal(*now) {
			w.t.Errorf("set %+v", silver)
		}
		gold := days(10, 20)
		set("gold", gold)
		day := func(n int) time.Time { return day1.AddDate(0, 0, n-1) }
		for at, want := range map[time.Time]string{
			day1.Add(-time.Microsecond): "", day1: "silver", gold.From.Add(-time.Microsecond): "silver", gold.From: "gold", gold.Until.Add(-time.Microsecond): "gold",
			gold.Until: "silver", day(1000): "silver",
		} {
			if got := w.called(me, p.ID, at); got != want {
				w.t.Errorf("at %v it is called %q, want %q", at, got, want)
			}
		}
		*now = gold.From
		me = w.login("acme")
		if got := w.called(w.user(p.ID, "dev"), p.ID, time.Time{}); got != "gold" {
			w.t.Errorf("in those days it is called %q", got)
		}
		*now = now.Add(-time.Hour) // somebody has put the clock back
		none := set("", partner.Period{From: day(15)})
		if !none.Created.After(silver.Created) {
			w.t.Errorf("set at %v", none.Created)
		}
		for at, want := range map[time.Time]string{day(14): "gold", day(15): "", day(30): ""} {
			if got := w.called(me, p.ID, at); got != want {
				w.t.Errorf("at %v it is called %q, want %q", at, got, want)
			}
		}
		if got := w.called(w.vendor, other.ID, day(12)); got != "" {
			w.t.Errorf("the other one is called %q", got)
		}
		page, err := w.reg.Program.Tiers(me, p.ID, partner.PageRequest{Limit: 2})
		w.must(err)
		rest, err := w.reg.Program.Tiers(me, p.ID, partner.PageRequest{Limit: 2, After: page.Next})
		w.must(err)
		var labels []string
		for _, t := range append(page.Items, rest.Items...) {
			labels = append(labels, t.Label+" for "+t.Reason)
		}
		if got := strings.Join(labels, ", "); got != " for sales of , gold for sales of gold, silver for sales of silver" {
			w.t.Errorf("it was %s", got)
		}
	})
}

// TestBEY07_FaultsOfATier: all at once; and who may set and see what.
func TestBEY07_FaultsOfATier(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		_, stranger := w.partner("stranger")
		set := func(ctx context.Context, id partner.ID, t partner.Tier) error {
			return second(w.reg.Program.SetTier(ctx, id, t))
		}
		w.faulty(set(w.vendor, p.ID, partner.Tier{Label: strings.Repeat("x", 65), Period: days(5, 5)}), "label:too_long reason:required period:range")
		w.faulty(set(w.vendor, p.ID, partner.Tier{Label: "a\nb", Reason: strings.Repeat("x", 501)}), "label:format reason:too_long")
		w.faulty(set(w.vendor, p.ID, partner.Tier{Label: "gold", Reason: "x", Period: partner.Period{Until: w.clock.Now().Add(-time.Hour)}}), "period:range")
		wants(w.t, "by the partner", set(me, p.ID, partner.Tier{Label: "gold", Reason: "x"}), partner.ErrForbidden)
		wants(w.t, "by a stranger", set(stranger, p.ID, partner.Tier{Label: "gold", Reason: "x"}), partner.ErrNotFound)
		wants(w.t, "of nobody", set(w.vendor, "prt_none", partner.Tier{Label: "gold", Reason: "x"}), partner.ErrNotFound)
		wants(w.t, "of the vendor", set(w.vendor, partner.Vendor, partner.Tier{Label: "gold", Reason: "x"}), partner.ErrForbidden)
		wants(w.t, "asked by a stranger", second(w.reg.Program.TierAt(stranger, p.ID, time.Time{})), partner.ErrNotFound)
		wants(w.t, "listed by a stranger", second(w.reg.Program.Tiers(stranger, p.ID, partner.PageRequest{})), partner.ErrNotFound)
		wants(w.t, "listed by a member", second(w.reg.Program.Tiers(w.user(p.ID, "dev"), p.ID, partner.PageRequest{})), partner.ErrForbidden)
		wants(w.t, "asked about a time that no database holds", second(w.reg.Program.TierAt(me, p.ID, time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC))), partner.ErrInvalid)
	})
}
