package partner_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY03_EachWriteLeavesOneEvent does every verb once and looks at what it recorded: one event, who, what, whose, and no value.
func TestBEY03_EachWriteLeavesOneEvent(t *testing.T) {
	each(t, func(w *world) {
		for _, d := range w.story() {
			seen := w.events()
			made, err := d.do(rooms{w.reg, w.seats})
			w.must(err)
			fresh := w.events()
			for id := range seen {
				delete(fresh, id)
			}
			if len(fresh) != 1 {
				w.t.Fatalf("%s left %d events: %v", d.kind, len(fresh), fresh)
			}
			for _, e := range fresh {
				of, target := d.partner, d.target
				if of == "" {
					of = partner.ID(made)
				}
				if d.kind == "project.opened" {
					of = d.partner
				}
				if target == "" && made != "" {
					target = made
				}
				if e.Kind != d.kind || e.Actor != d.actor || e.Subject != d.actor || e.Partner != of || target != "" && e.Target != target || e.At.IsZero() {
					w.t.Errorf("%s by %s of %s on %s left %+v", d.kind, d.actor, of, target, e)
				}
			}
		}
		for _, line := range dump(w.t, w.db)["prm_events"] {
			if sings([]byte(line)) {
				w.t.Errorf("an event holds a value: %s", line)
			}
		}
	})
}

// events are all there are, by id.
func (w *world) events() map[string]partner.Event {
	w.t.Helper()
	out := map[string]partner.Event{}
	for e, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Event], error) {
		return w.reg.Activity.List(w.vendor, partner.EventFilter{}, r)
	}) {
		w.must(err)
		out[e.ID] = e
	}
	return out
}

func TestBEY03_TheDatabaseRefusesTampering(t *testing.T) {
	each(t, func(w *world) {
		w.partner("acme", func(a *partner.Agreement) { a.Deposit = 5 })
		var id string
		w.must(w.db.Raw("SELECT max(id) FROM prm_events").Scan(&id).Error)
		before := dump(w.t, w.db)
		copied := `INTO prm_events SELECT id, at, 'forged', actor, subject, partner_id, account_id, target, changed FROM prm_events WHERE id = '` + id + `'`
		statements := []string{
			"UPDATE prm_events SET actor = 'x'", "UPDATE prm_events SET actor = 'x' WHERE id = '" + id + "'", "DELETE FROM prm_events",
			"DELETE FROM prm_events WHERE id = '" + id + "'", "UPDATE prm_ledger_transfers SET quantity = 1", "DELETE FROM prm_ledger_transfers",
			"INSERT " + copied + " ON CONFLICT (id) DO UPDATE SET kind = 'forged'",
		}
		if w.db.Kind == dbtest.Postgres {
			statements = append(statements, "TRUNCATE prm_events CASCADE", "TRUNCATE prm_ledger_transfers", "TRUNCATE prm_partners CASCADE")
		} else {
			statements = append(statements, "REPLACE "+copied, "INSERT OR REPLACE "+copied, "UPDATE OR REPLACE prm_events SET kind = 'forged'",
				"REPLACE INTO prm_ledger_transfers SELECT id, book, unit, verb, 1, from_id, to_id, from_after, to_after, partner_id, 'forged', reason, key, hash, "+
					"effective, recorded FROM prm_ledger_transfers")
		}
		for _, s := range statements {
			if err := w.db.Exec(s).Error; err == nil {
				w.t.Errorf("the database took: %s", s)
			}
			if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
				w.t.Errorf("%s changed %v", s, left)
				before = dump(w.t, w.db)
			}
		}
	})
}

// TestBEY03_TheEventFailsWithItsWrite: what cannot be recorded does not happen.
func TestBEY03_TheEventFailsWithItsWrite(t *testing.T) {
	each(t, func(w *world) {
		list := w.story()
		for _, d := range list {
			before := dump(w.t, w.db)
			remove := w.refuse("INSERT", "prm_events")
			_, err := d.do(rooms{w.reg, w.seats})
			remove()
			if err == nil {
				w.t.Fatalf("%s was done without a record", d.kind)
			}
			if kinds := kindsOf(err); len(kinds) != 1 {
				w.t.Errorf("%v is of the kinds %v", err, kinds)
			}
			left := slices.DeleteFunc(differing(before, dump(w.t, w.db)), func(t string) bool { return t == "prm_throttles" })
			if len(left) > 0 {
				w.t.Fatalf("%s, unrecorded, left something in %v", d.kind, left)
			}
			_, err = d.do(rooms{w.reg, w.seats})
			w.must(err)
		}
	})
}

// TestPAN01_PagingHasNoGapAndNoRepeat adds partners between the pages of a list.
func TestPAN01_PagingHasNoGapAndNoRepeat(t *testing.T) {
	each(t, func(w *world) {
		want := w.chain("p", 1, "")
		for i := range 22 {
			want = append(want, w.chain(fmt.Sprintf("q%d-", i), 1, want[0])...)
		}
		slices.Reverse(want)
		var got []partner.ID
		next, n := "", 0
		for {
			page, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{Under: want[len(want)-1]}, partner.PageRequest{After: next, Limit: 4})
			w.must(err)
			for _, p := range page.Items {
				got = append(got, p.ID)
			}
			if next = page.Next; next == "" {
				break
			}
			n++
			w.chain(fmt.Sprintf("late%d-", n), 1, want[len(want)-1])
		}
		if !slices.Equal(got, want) {
			w.t.Errorf("the pages hold %d, want %d:\n%v\n%v", len(got), len(want), got, want)
		}
	})
}

// TestPAN01_PagesAtOneInstant: with a clock that stands, ids alone order the list.
func TestPAN01_PagesAtOneInstant(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, _, _ := guessing(t, db)
		ids := map[partner.ID]bool{}
		for i := range 12 {
			p, _ := w.partner(fmt.Sprint("p", i))
			ids[p.ID] = true
		}
		n := 0
		for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
			r.Limit = 5
			return w.reg.Partners.List(w.vendor, partner.PartnerFilter{}, r)
		}) {
			w.must(err)
			if n++; !ids[p.ID] {
				t.Fatalf("%s comes twice", p.ID)
			}
			delete(ids, p.ID)
		}
		if n != 12 {
			t.Errorf("%d partners, want 12", n)
		}
	})
}

func TestPAN01_ACursorBelongsToItsListAndFilter(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		q, _ := w.partner("beta", under(p.ID))
		for i := range 3 {
			w.project(me, fmt.Sprint("prj", i))
		}
		one := partner.PageRequest{Limit: 1}
		list := func(f partner.PartnerFilter, r partner.PageRequest) (string, error) {
			page, err := w.reg.Partners.List(w.vendor, f, r)
			return page.Next, err
		}
		events := func(f partner.EventFilter, r partner.PageRequest) (string, error) {
			page, err := w.reg.Activity.List(w.vendor, f, r)
			return page.Next, err
		}
		next, err := list(partner.PartnerFilter{}, one)
		w.must(err)
		after := partner.PageRequest{After: next}
		for i, f := range []partner.PartnerFilter{{Under: p.ID}, {Under: q.ID}, {IncludeArchived: true}} {
			_, err := list(f, after)
			wants(w.t, fmt.Sprint("partner filter ", i), err, partner.ErrInvalid)
		}
		wants(w.t, "another list", second(w.reg.Accounts.List(w.vendor, partner.AccountFilter{}, after)), partner.ErrInvalid)
		wants(w.t, "another list", second(w.reg.Activity.Deliveries(w.vendor, "", after)), partner.ErrInvalid)
		day := func(d int) time.Time { return time.Date(2026, 2, d, 0, 0, 0, 0, time.UTC) }
		for _, f := range []partner.EventFilter{{}, {Period: partner.Period{From: day(1)}}, {Partner: p.ID}, {Kinds: []string{"project.opened",
			"session.opened"}}} {
			next, err := events(f, one)
			w.must(err)
			if next == "" {
				w.t.Fatalf("%+v has one page only", f)
			}
			for _, g := range []partner.EventFilter{{}, {Period: partner.Period{From: day(2)}}, {Period: partner.Period{From: day(1), Until: day(20)}},
				{Partner: p.ID, Kinds: []string{"x"}}, {Kinds: []string{"project.opened session.opened"}}, {Period: partner.Period{Until: day(1)}}} {
				if fmt.Sprint(f) == fmt.Sprint(g) && len(f.Kinds) == len(g.Kinds) {
					continue
				}
				if _, err := events(g, partner.PageRequest{After: next}); !errors.Is(err, partner.ErrInvalid) {
					w.t.Errorf("a cursor of %+v under %+v: %v, want invalid", f, g, err)
				}
			}
		}
	})
}

// TestPAN01_BadPageRequests: forged cursors are ErrInvalid or an honest page, on both databases alike.
func TestPAN01_BadPageRequests(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		w.partner("beta")
		w.partner("other")
		page, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{}, partner.PageRequest{Limit: 1})
		w.must(err)
		good, err := base64.RawURLEncoding.DecodeString(page.Next)
		w.must(err)
		for _, tail := range []string{"", "\x00", "\xff\xfe", "' OR 1=1 --", "zzzz"} {
			forged := base64.RawURLEncoding.EncodeToString(append(slices.Clone(good[:17]), tail...))
			if _, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{}, partner.PageRequest{After: forged}); err != nil && !errors.Is(err,
				partner.ErrInvalid) {
				w.t.Errorf("a cursor with the id %q: %v", tail, err)
			}
		}
		for _, limit := range []int{-1, 501, 1 << 40} {
			_, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{}, partner.PageRequest{Limit: limit})
			wants(w.t, fmt.Sprint("limit ", limit), err, partner.ErrInvalid)
		}
		for _, cursor := range []string{"x", "!", page.Next + "=", page.Next[:8], " "} {
			_, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{}, partner.PageRequest{After: cursor})
			wants(w.t, "cursor "+cursor, err, partner.ErrInvalid)
		}
		mine, err := w.reg.Partners.List(me, partner.PartnerFilter{}, partner.PageRequest{After: page.Next}) // a position and no right
		w.must(err)
		for _, p := range mine.Items {
			if p.Login != "acme" {
				w.t.Errorf("another's cursor shows %+v", p)
			}
		}
	})
}

// TestPIL27_LearningTakenNamesIsSlowedDown: a partner's session learns of twenty taken log-in names an hour.
func TestPIL27_LearningTakenNamesIsSlowedDown(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		w.partner("taken")
		probe := func(ctx context.Context, login string) error {
			p := newProject(login)
			p.Company = "" // so that nothing is made
			return second(w.reg.Accounts.OpenProject(ctx, p))
		}
		for range 20 {
			wantsFields(w.t, "a probe", probe(me, "taken"), "company:required", "login:taken")
		}
		wants(w.t, "probe 21", probe(me, "taken"), partner.ErrUnavailable)
		wants(w.t, "from another session", probe(w.login("acme"), "taken"), partner.ErrUnavailable)
		_, err := w.reg.Partners.Create(w.vendor, agreement("taken")) // the vendor may know
		wantsFields(w.t, "the vendor", err, "login:taken")
		w.clock.Advance(time.Hour)
		wantsFields(w.t, "an hour later", probe(w.login("acme"), "taken"), "company:required", "login:taken")
	})
}

// TestPIL27_TheLimitHidesWhetherANameIsTaken: past the limit a taken name and a free one must answer alike, or the limit hides nothing.
func TestPIL27_TheLimitHidesWhetherANameIsTaken(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		w.partner("taken")
		probe := func(login string) error {
			p := newProject(login)
			p.Company = ""
			return second(w.reg.Accounts.OpenProject(me, p))
		}
		for range 21 {
			_ = probe("taken")
		}
		taken, free := probe("taken"), probe("free")
		if !slices.Equal(kindsOf(taken), kindsOf(free)) {
			w.t.Errorf("past the limit a taken name answers %q, a free one %q", taken, free)
		}
	})
}

// TestPIL27_ParallelProbesShareTheLimit makes 100 probes at once.
func TestPIL27_ParallelProbesShareTheLimit(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		w.partner("taken")
		var learnt atomic.Int64
		var probing sync.WaitGroup
		for range 100 {
			probing.Go(func() {
				p := newProject("taken")
				p.Company = ""
				if err := second(w.reg.Accounts.OpenProject(me, p)); fields(err) == "company:required login:taken" {
					learnt.Add(1)
				}
			})
		}
		probing.Wait()
		if learnt.Load() != 20 {
			w.t.Errorf("100 probes learnt %d times, want 20", learnt.Load())
		}
	})
}

// TestPAN06_ExactlyOnePrimaryContact swaps it from many sides: one stays, a user of that partner.
func TestPAN06_ExactlyOnePrimaryContact(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		other, _ := w.partner("other")
		w.addUser(p.ID, "usr_second")
		w.addUser(other.ID, "usr_foreign")
		var swapping sync.WaitGroup
		for i := range 40 {
			u := []partner.UserID{p.Contact, "usr_second"}[i%2]
			swapping.Go(func() {
				if err := w.reg.Partners.SetContact(me, p.ID, u); err != nil {
					w.t.Error(err)
				}
			})
		}
		swapping.Wait()
		for _, u := range []partner.UserID{"usr_foreign", other.Contact, "usr_none", ""} {
			wants(w.t, "the contact "+string(u), w.reg.Partners.SetContact(me, p.ID, u), partner.ErrNotFound)
		}
		w.must(w.reg.Partners.SetContact(me, p.ID, "usr_second"))
		tamper(w.t, w.db, "UPDATE prm_users SET disabled = TRUE WHERE id = ?", p.Contact)
		wants(w.t, "a disabled user", w.reg.Partners.SetContact(w.vendor, p.ID, p.Contact), partner.ErrNotFound)
		got, err := w.reg.Partners.Get(w.vendor, p.ID)
		w.must(err)
		if got.Contact != "usr_second" || got.Login != "acme" {
			w.t.Errorf("the contact is %s, the log-in %s", got.Contact, got.Login)
		}
		for _, s := range []string{"UPDATE prm_partners SET contact_id = 'usr_foreign' WHERE id = ?",
			"UPDATE prm_partners SET contact_id = NULL WHERE id = ?"} {
			if err := w.db.Exec(s, p.ID).Error; err == nil {
				w.t.Errorf("the database took %s", s)
			}
		}
		if err := w.db.Exec("DELETE FROM prm_users WHERE id = 'usr_second'").Error; err == nil {
			w.t.Error("the database let the contact go")
		}
	})
}
