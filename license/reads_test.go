package license_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// holdings is what a holder had of one sku.
func (w *world) holdings(h partner.Holder, sku string, effective, known time.Time) int64 {
	w.t.Helper()
	list, err := w.seats.HoldingsAt(w.vendor, h, effective, known)
	w.must(err)
	n := int64(0)
	for _, b := range list {
		if b.SKU == sku {
			n = b.Available
		}
	}
	return n
}

// TestBEY14_BackDatedFixLeavesYesterdaysAnswer: what was reported yesterday can be reported again today, fix or no fix.
func TestBEY14_BackDatedFixLeavesYesterdaysAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		w.grant(a.ID, "seat", 10)
		w.clock.Advance(24 * time.Hour)
		yesterday := w.clock.Now()
		w.clock.Advance(24 * time.Hour)
		fix, err := w.seats.Revoke(w.vendor, a.ID, "seat", 3, license.Effective(yesterday.Add(-time.Hour)), license.Because("granted three too many"))
		w.must(err)
		if !fix.Effective.Equal(yesterday.Add(-time.Hour)) || !fix.Recorded.After(yesterday) {
			t.Fatalf("fix %+v", fix)
		}
		for _, c := range []struct {
			effective, known time.Time
			want             int64
		}{
			{yesterday, yesterday, 10}, {yesterday, time.Time{}, 7}, {time.Time{}, yesterday, 10}, {time.Time{}, time.Time{}, 7},
			{yesterday.Add(-2 * time.Hour), time.Time{}, 10}, {yesterday.AddDate(-1, 0, 0), time.Time{}, 0}, {fix.Effective, fix.Recorded, 7},
			{fix.Effective.Add(-time.Microsecond), fix.Recorded, 10}, {fix.Effective, fix.Recorded.Add(-time.Microsecond), 10},
		} {
			if got := w.holdings(a.ID, "seat", c.effective, c.known); got != c.want {
				t.Errorf("at %v as known at %v: %d, want %d", c.effective, c.known, got, c.want)
			}
		}
		w.sound()
	})
}

func TestBEY14_EffectiveIsTheVendorsAndPast(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		now := w.clock.Now()
		w.grant(a.ID, "seat", 10, license.Effective(now.Add(-time.Hour)))
		one := w.project(a.me, "one")
		_, err := w.seats.Assign(a.me, one, "seat", 1, license.Effective(now.Add(-time.Hour)))
		w.is(err, partner.ErrForbidden)
		for _, at := range []time.Time{now.Add(time.Hour), time.Unix(-1, 0), time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(290000, 1, 1, 0, 0, 0, 0, time.UTC)} {
			_, err = w.seats.Grant(w.vendor, a.ID, "seat", 1, license.Effective(at))
			w.faulty(err, "effective:range")
		}
		w.has(a.ID, "seat", 10)
	})
}

// TestBEY14_RecordedFollowsTheLockOrder: the ledger's order stands when the clock jumps back.
func TestBEY14_RecordedFollowsTheLockOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(100)
		last := w.assign(a.me, one, "seat", 1)
		for i := range 5 {
			w.clock.Advance(-10 * time.Minute)
			tr := w.assign(a.me, one, "seat", 1)
			if !tr.Recorded.After(last.Recorded) || tr.ToAfter != last.ToAfter+1 || tr.ID <= last.ID {
				t.Fatalf("move %d is %+v, behind %+v", i, tr, last)
			}
			last = tr
		}
		// Now on the ledger's clock, which is ahead of ours, is all that happened.
		if got := w.holdings(one, "seat", time.Time{}, time.Time{}); got != 6 {
			t.Fatalf("holdings now %d, want 6", got)
		}
		if got := w.holdings(one, "seat", last.Recorded.Add(-time.Microsecond), last.Recorded); got != 5 {
			t.Fatalf("holdings before the last %d, want 5", got)
		}
		w.sound()
	})
}

// worldOfMoves is a partner with projects between which licences have moved at random, some of it back-dated, and all its transfers.
func worldOfMoves(w *world, r *rand.Rand, steps int) (side, []partner.Holder, []license.Transfer) {
	a := w.partner("acme")
	skus := []string{"seat", "mailbox"}
	for _, sku := range skus {
		w.define(sku)
	}
	holders := []partner.Holder{a.ID}
	for i := range 3 {
		holders = append(holders, w.project(a.me, fmt.Sprint("p", i)))
	}
	var all []license.Transfer
	for range steps {
		w.clock.Advance(time.Duration(r.Int64N(int64(time.Hour))))
		sku, n := skus[r.IntN(2)], 1+r.Int64N(9)
		project := holders[1+r.IntN(3)].(partner.AccountID)
		var past []license.Option
		if r.IntN(2) == 0 {
			past = append(past, license.Effective(w.clock.Now().Add(-time.Duration(r.Int64N(int64(50*time.Hour))))))
		}
		var tr license.Transfer
		var err error
		switch r.IntN(5) {
		case 0:
			tr, err = w.seats.Grant(w.vendor, a.ID, sku, n, past...)
		case 1:
			tr, err = w.seats.Revoke(w.vendor, holders[r.IntN(4)], sku, n, past...)
		case 2:
			w.must(w.reg.Access.SwitchTo(a.me, project))
			continue
		case 3:
			tr, err = w.seats.Return(a.me, sku, n)
		default:
			tr, err = w.seats.Assign(a.me, project, sku, n)
		}
		if err == nil {
			all = append(all, tr)
		}
		if r.IntN(4) == 0 {
			w.must(w.reg.Access.SwitchBack(a.me))
		}
	}
	return a, holders, all
}

// TestBEY14_HoldingsAtEqualsTheSum holds the indexed answer against the naive one, at random places on both clocks.
func TestBEY14_HoldingsAtEqualsTheSum(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := rand.New(rand.NewPCG(14, 1))
		_, holders, all := worldOfMoves(w, r, 150)
		if len(all) < 50 {
			t.Fatalf("only %d moves", len(all))
		}
		begin, end := all[0].Recorded.Add(-60*time.Hour), all[len(all)-1].Recorded
		at := func() time.Time { // often exactly on an edge
			tr := all[r.IntN(len(all))]
			edges := []time.Time{tr.Recorded, tr.Effective, tr.Recorded.Add(-time.Microsecond), tr.Effective.Add(-time.Microsecond),
				begin.Add(time.Duration(r.Int64N(int64(end.Sub(begin)))))}
			return edges[r.IntN(len(edges))]
		}
		for range 300 {
			h, effective, known := holders[r.IntN(len(holders))], at(), at()
			want := map[string]int64{}
			for _, tr := range all {
				if tr.Recorded.After(known) || tr.Effective.After(effective) {
					continue
				}
				if tr.To == h {
					want[tr.SKU] += tr.Quantity
				}
				if tr.From == h {
					want[tr.SKU] -= tr.Quantity
				}
			}
			list, err := w.seats.HoldingsAt(w.vendor, h, effective, known)
			w.must(err)
			got := map[string]int64{}
			for _, b := range list {
				got[b.SKU] = b.Available
			}
			for _, sku := range []string{"seat", "mailbox"} {
				if _, there := got[sku]; got[sku] != want[sku] || there != (want[sku] != 0) {
					t.Fatalf("%s at %v as known at %v: %v, want %v", h, effective, known, got, want)
				}
			}
		}
		w.sound()
	})
}

// TestBEY14_Trace follows undated licences: what may have come through a transfer is in, what cannot have is out.
func TestBEY14_Trace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.partner("acme"), w.partner("bolt")
		w.define("seat")
		first := w.grant(a.ID, "seat", 5)
		foreign := w.grant(b.ID, "seat", 5)
		one, two := w.project(a.me, "one"), w.project(a.me, "two")
		move := w.assign(a.me, one, "seat", 3)
		late := w.grant(a.ID, "seat", 5)
		aside := w.assign(a.me, two, "seat", 1)
		w.must(w.reg.Access.SwitchTo(a.me, one))
		on := w.assign(a.me, two, "seat", 2)
		list, err := w.seats.Trace(w.vendor, move.ID)
		w.must(err)
		var ids []int64
		for _, tr := range list {
			ids = append(ids, tr.ID)
		}
		if want := []int64{first.ID, move.ID, on.ID}; !slices.Equal(ids, want) {
			t.Fatalf("trace %v, want %v; not %d, %d, %d", ids, want, foreign.ID, late.ID, aside.ID)
		}
		_, err = w.seats.Trace(w.vendor, 1<<40)
		w.is(err, partner.ErrNotFound)
		_, err = w.seats.Trace(a.me, move.ID)
		w.is(err, partner.ErrForbidden)
	})
}

// TestBEY15_StatementsAddUp cuts time at random points; every piece must begin where the one before ended.
func TestBEY15_StatementsAddUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := rand.New(rand.NewPCG(15, 1))
		_, holders, all := worldOfMoves(w, r, 150)
		begin, end := all[0].Recorded, all[len(all)-1].Recorded
		for _, h := range holders {
			for _, sku := range []string{"seat", "mailbox"} {
				cuts := []time.Time{{}}
				for range 6 {
					cuts = append(cuts, begin.Add(time.Duration(r.Int64N(int64(end.Sub(begin))))), all[r.IntN(len(all))].Recorded)
				}
				slices.SortFunc(cuts, time.Time.Compare)
				cuts = append(slices.Compact(cuts), time.Time{})
				lines, last := 0, int64(0)
				for i := range len(cuts) - 1 {
					st, err := w.seats.Statement(w.vendor, h, sku, partner.Period{From: cuts[i], Until: cuts[i+1]})
					w.must(err)
					if st.Opening != last {
						t.Fatalf("%s: statement %d opens at %d, the one before closed at %d", h, i, st.Opening, last)
					}
					for _, l := range st.Lines {
						if last += l.Change; l.Running != last || l.Transfer.Recorded.Before(cuts[i]) {
							t.Fatalf("line %+v, want running %d", l, last)
						}
					}
					if st.Closing != last {
						t.Fatalf("closing %d, want %d", st.Closing, last)
					}
					lines += len(st.Lines)
				}
				w.has(h, sku, last)
				if want := len(slices.DeleteFunc(slices.Clone(all), func(tr license.Transfer) bool {
					return tr.SKU != sku || tr.From != h && tr.To != h
				})); lines != want {
					t.Fatalf("%s: %d lines, want %d", h, lines, want)
				}
			}
		}
	})
}

// TestBEY15_PeriodIsChecked: a span that ends before it begins cannot add up.
func TestBEY15_PeriodIsChecked(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		before := w.clock.Now()
		w.grant(a.ID, "seat", 5)
		_, err := w.seats.Statement(a.me, a.ID, "seat", partner.Period{From: w.clock.Now(), Until: before})
		w.is(err, partner.ErrInvalid)
	})
}

// TestBEY15_ReasonsAndActors: the lines tell why and by whom.
func TestBEY15_ReasonsAndActors(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		w.grant(a.ID, "seat", 5, license.Because("PO 17"), license.Key("PO-17"))
		one := w.project(a.me, "one")
		w.assign(a.me, one, "seat", 2, license.Because("kick-off"))
		w.close(a.me, one)
		st, err := w.seats.Statement(a.me, a.ID, "seat", partner.Period{})
		w.must(err)
		var got []string
		for _, l := range st.Lines {
			got = append(got, fmt.Sprint(l.Transfer.Verb, " ", l.Change, " ", l.Running, " ", l.Transfer.Reason))
		}
		if want := []string{"grant 5 5 PO 17", "assign -2 3 kick-off", "close 2 5 account closed"}; !reflect.DeepEqual(got, want) {
			t.Fatalf("lines %q, want %q", got, want)
		}
		if actor := st.Lines[1].Transfer.Actor; actor != string(a.Contact) {
			t.Fatalf("actor %s, want %s", actor, a.Contact)
		}
	})
}

// TestBEY02_ExplainAssignIsItsAnswer asks Explain and then acts, in worlds of every state there is.
func TestBEY02_ExplainAssignIsItsAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := rand.New(rand.NewPCG(2, 2))
		a, b := w.partner("acme"), w.partner("bolt")
		w.define("seat")
		w.grant(a.ID, "seat", 40)
		ids := []partner.AccountID{"", "acc_nobody", partner.AccountID(a.ID), w.project(b.me, "foreign")}
		for i := range 4 {
			ids = append(ids, w.project(a.me, fmt.Sprint("p", i)))
		}
		allowed := 0
		for range 400 {
			own, to := ids[4+r.IntN(4)], ids[r.IntN(len(ids))]
			switch r.IntN(8) {
			case 0:
				_ = w.reg.Access.SwitchTo(a.me, own)
			case 1:
				w.must(w.reg.Access.SwitchBack(a.me))
			case 2:
				_ = w.reg.Accounts.Suspend(w.vendor, own)
			case 3, 4:
				_ = w.reg.Accounts.Resume(w.vendor, own)
			case 6:
				w.grant(a.ID, "seat", 10)
			case 5:
				if r.IntN(30) == 0 {
					_, _ = w.reg.Accounts.Close(a.me, own)
				}
			}
			sku, n := []string{"seat", "seat", "seat", "none"}[r.IntN(4)], 1+r.Int64N(30)
			if active, err := w.reg.Access.Active(a.me); err == nil && r.IntN(2) == 0 { // often right on the edge
				b, err := w.seats.Balance(a.me, active.Holder, "seat")
				w.must(err)
				n = max(1, b.Available+r.Int64N(2))
				if project, switched := active.Holder.(partner.AccountID); switched && r.IntN(3) == 0 {
					to, n = project, 1
				}
			}
			dec, err := w.seats.Explain(a.me, to, sku, n)
			w.must(err)
			_, err = w.seats.Assign(a.me, to, sku, n)
			if dec.Allowed != (err == nil) || len(dec.Reasons) == 0 {
				t.Fatalf("assign %d %s to %q answers %v; explain said %+v", n, sku, to, err, dec)
			}
			if dec.Allowed {
				allowed++
			}
		}
		if t.Logf("%d of 400 were allowed", allowed); allowed < 10 {
			t.Fatalf("only %d moves were allowed: the world is too strict to tell", allowed)
		}
		_, err := w.seats.Explain(a.me, ids[4], "", 0)
		w.faulty(err, "sku:required quantity:range")
		w.sound()
	})
}

// TestPAN01_HistoryPagesWhileMovesGoOn: pages of what was there at the start have no gap and no repeat.
func TestPAN01_HistoryPagesWhileMovesGoOn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(1000)
		var want, got []int64
		for range 40 {
			want = append(want, w.assign(a.me, one, "seat", 1).ID)
		}
		slices.Reverse(want)
		p := partner.PageRequest{Limit: 7}
		for {
			page, err := w.seats.History(a.me, one, "seat", p)
			w.must(err)
			for _, tr := range page.Items {
				got = append(got, tr.ID)
			}
			w.assign(a.me, one, "seat", 1)
			if p.After = page.Next; p.After == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("pages give %v, want %v", got, want)
		}
		first, err := w.seats.History(a.me, one, "seat", partner.PageRequest{Limit: 1})
		w.must(err)
		for _, h := range []partner.Holder{a.ID, one} {
			_, err = w.seats.History(a.me, h, "", partner.PageRequest{After: first.Next})
			w.is(err, partner.ErrInvalid) // a cursor belongs to its holder and sku
		}
	})
}

// TestCLW15_HistoryIsThePartners: entries name the pool and siblings, and tell what they have, so a delegated log-in reads its balance only.
func TestCLW15_HistoryIsThePartners(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(100)
		two := w.project(a.me, "two")
		w.assign(a.me, one, "seat", 30)
		w.must(w.reg.Access.SwitchTo(a.me, one))
		w.assign(a.me, two, "seat", 10)
		as := w.login("two")
		_, err := w.seats.History(as, two, "", partner.PageRequest{})
		w.is(err, partner.ErrForbidden)
		_, err = w.seats.Statement(as, two, "seat", partner.Period{})
		w.is(err, partner.ErrForbidden)
		list, err := w.seats.Balances(as, two)
		w.must(err)
		if !slices.Equal(list, []license.Balance{{SKU: "seat", Available: 10}}) {
			t.Fatalf("balances %v", list)
		}
	})
}

// TestCLW27_GrantTellsNothingOfOtherPartners: the issuer's balance is what all partners hold together, which is the vendor's to know.
func TestCLW27_GrantTellsNothingOfOtherPartners(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.partner("acme"), w.partner("bolt")
		w.define("seat")
		w.grant(b.ID, "seat", 4321)
		w.grant(a.ID, "seat", 100)
		page, err := w.seats.History(a.me, a.ID, "seat", partner.PageRequest{})
		w.must(err)
		if tr := page.Items[0]; tr.FromAfter != 0 {
			t.Errorf("a partner learns that the issuer has given out %d", -tr.FromAfter)
		}
	})
}
