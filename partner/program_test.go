package partner_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

var day1 = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// days is a period of whole days of June 2026; a zero end is open.
func days(from, until int) partner.Period {
	p := partner.Period{From: day1.AddDate(0, 0, from-1)}
	if until > 0 {
		p.Until = day1.AddDate(0, 0, until-1)
	}
	return p
}

// certification is a valid one.
func certification(programme string, p partner.Period) partner.Certification {
	return partner.Certification{Programme: programme, Period: p, Reason: "exam passed"}
}

func (w *world) certify(id partner.ID, programme string, p partner.Period) partner.Certification {
	w.t.Helper()
	c, err := w.reg.Program.Certify(w.vendor, id, certification(programme, p))
	w.must(err)
	return c
}

func (w *world) certified(id partner.ID, programme string, at time.Time) bool {
	w.t.Helper()
	yes, err := w.reg.Program.Certified(w.vendor, id, programme, at)
	w.must(err)
	return yes
}

// standstill is a world whose clock stands until it is set.
func standstill(t *testing.T, test func(w *world, now *time.Time)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		now := day1
		test(newWorld(t, db, func(o *partner.Options) { o.Clock = func() time.Time { return now } }), &now)
	})
}

// sweep is one round of a process that has just started.
func (w *world) sweep(clock func() time.Time) (more bool) {
	w.t.Helper()
	reg, err := partner.Open(context.Background(), w.db.DB, &partner.Options{Clock: clock, Hasher: plainHasher{}, Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	more, err = reg.Step(context.Background())
	w.must(err)
	return more
}

// lapses are the targets of the events that say so, in no order.
func (w *world) lapses() (list []string) {
	w.t.Helper()
	for e, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Event], error) {
		return w.reg.Activity.List(w.vendor, partner.EventFilter{Kinds: []string{"certification.lapsed"}}, r)
	}) {
		w.must(err)
		if e.Actor != "system" || e.Subject != "system" || len(e.Changed) != 0 {
			w.t.Errorf("the event is %+v", e)
		}
		list = append(list, e.Target)
	}
	slices.Sort(list)
	return list
}

// TestPLX01_BordersToTheMicrosecond: a fact holds from its first microsecond to before its last, now as at any stated time.
func TestPLX01_BordersToTheMicrosecond(t *testing.T) {
	standstill(t, func(w *world, now *time.Time) {
		p, _ := w.partner("acme")
		c := w.certify(p.ID, "gold", days(2, 5))
		if !c.Period.From.Equal(days(2, 5).From) || !c.Period.Until.Equal(days(2, 5).Until) || !strings.HasPrefix(c.ID, "cer_") || c.By != "host:ops@vendor.example" || !c.Revoked.IsZero() || !c.Created.Equal(day1) {
			w.t.Errorf("certified %+v", c)
		}
		from, until := c.Period.From, c.Period.Until
		for at, want := range map[time.Time]bool{from.Add(-time.Microsecond): false, from: true, until.Add(-time.Microsecond): true, until.Add(-time.Nanosecond): true, until: false, until.AddDate(100, 0, 0): false,
			from.In(time.FixedZone("", 3600)): true} {
			*now = at
			for _, programme := range []string{"gold", ""} {
				if w.certified(p.ID, programme, time.Time{}) != want || w.certified(p.ID, programme, at) != want {
					w.t.Errorf("%q at %s: want %v", programme, at, want)
				}
			}
			if w.certified(p.ID, "Gold", at) || w.certified(p.ID, "gold ", at) || w.certified("prt_nobody", "gold", at) || w.certified(partner.Vendor, "", at) {
				w.t.Errorf("at %s another is certified", at)
			}
		}
		*now = until.Add(-time.Microsecond)
		w.sweep(func() time.Time { return *now })
		if list := w.lapses(); len(list) != 0 {
			w.t.Errorf("lapsed before its end: %v", list)
		}
		*now = until
		w.sweep(func() time.Time { return *now })
		if list := w.lapses(); !slices.Equal(list, []string{c.ID}) {
			w.t.Errorf("at its end lapsed %v", list)
		}
		open := w.certify(p.ID, "gold", partner.Period{}) // from now on, which is where the last one ended
		if !open.Period.From.Equal(until) || !open.Period.Until.IsZero() || !w.certified(p.ID, "gold", time.Time{}) || !w.certified(p.ID, "", time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)) {
			w.t.Errorf("an open one is %+v", open)
		}
	})
}

// TestPLX01_FactsNeverOverlap for a partner and a programme.
func TestPLX01_FactsNeverOverlap(t *testing.T) {
	standstill(t, func(w *world, now *time.Time) {
		p, _ := w.partner("acme")
		q, _ := w.partner("other")
		w.certify(p.ID, "gold", days(10, 20))
		micro := func(p partner.Period, from, until int) partner.Period {
			return partner.Period{From: p.From.Add(time.Duration(from) * time.Microsecond), Until: p.Until.Add(time.Duration(until) * time.Microsecond)}
		}
		for what, taken := range map[string]partner.Period{"the same": days(10, 20), "inside": days(12, 13), "around": days(9, 21), "the first microsecond": micro(days(5, 10), 0, 1),
			"the last one": micro(days(20, 25), -1, 0), "one that never ends": days(1, 0), "from now on": {}, "from now to its middle": {Until: days(15, 0).From}} {
			_, err := w.reg.Program.Certify(w.vendor, p.ID, certification("gold", taken))
			wantsFields(w.t, what, err, "period:taken")
		}
		w.certify(p.ID, "silver", days(10, 20))
		w.certify(q.ID, "gold", days(10, 20))
		w.certify(p.ID, "gold", days(5, 10))
		w.certify(p.ID, "gold", days(20, 25)) // renewed
		last := w.certify(p.ID, "gold", days(25, 0))
		_, err := w.reg.Program.Certify(w.vendor, p.ID, certification("gold", days(100, 0)))
		wantsFields(w.t, "behind one that never ends", err, "period:taken")
		revoke := func(c partner.Certification) partner.Certification {
			w.t.Helper()
			c, err := w.reg.Program.Revoke(w.vendor, c.ID, "cheated")
			w.must(err)
			if !c.Revoked.Equal(*now) || c.RevokedBy != "host:ops@vendor.example" || c.RevokedReason != "cheated" {
				w.t.Errorf("revoked %+v", c)
			}
			return c
		}
		revoke(last) // which has not begun: it never holds, and leaves all its time
		if w.certified(p.ID, "gold", days(30, 0).From) || !w.certified(p.ID, "gold", days(24, 0).From) {
			w.t.Error("what was revoked before it began holds, or what was not does not")
		}
		again := w.certify(p.ID, "gold", days(25, 0))
		*now = days(27, 0).From
		revoke(again)
		_, err = w.reg.Program.Certify(w.vendor, p.ID, certification("gold", micro(days(20, 27), 0, 0)))
		wantsFields(w.t, "what it held until it was revoked", err, "period:taken")
		_, err = w.reg.Program.Certify(w.vendor, p.ID, certification("gold", partner.Period{From: now.Add(-time.Microsecond)}))
		wantsFields(w.t, "its last microsecond", err, "period:taken")
		w.certify(p.ID, "gold", partner.Period{From: *now})
		if !w.certified(p.ID, "gold", now.Add(-time.Microsecond)) || !w.certified(p.ID, "gold", *now) {
			w.t.Error("a past that was revoked is gone, or the present is not there")
		}
	})
}

// TestPLX01_EveryFaultAtOnce of what is certified and revoked.
func TestPLX01_EveryFaultAtOnce(t *testing.T) {
	standstill(t, func(w *world, now *time.Time) {
		p, _ := w.partner("acme")
		for want, c := range map[string]partner.Certification{
			"programme:required reason:required":              {},
			"programme:format period:range reason:format":     {Programme: "a\nb", Period: days(3, 3), Reason: "a\tb"},
			"programme:too_long period:range reason:too_long": {Programme: strings.Repeat("x", 65), Period: days(3, 2), Reason: strings.Repeat("x", 501)},
			"period:range": {Programme: strings.Repeat("é", 64), Reason: strings.Repeat("é", 500), Period: partner.Period{From: time.Unix(0, 0)}},
		} {
			_, err := w.reg.Program.Certify(w.vendor, p.ID, c)
			wantsFields(w.t, want, err, strings.Fields(want)...)
		}
		for what, period := range map[string]partner.Period{"over already, without a beginning": {Until: *now}, "shorter than a microsecond": {From: *now, Until: now.Add(999)},
			"beyond all calendars": {From: *now, Until: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}} {
			_, err := w.reg.Program.Certify(w.vendor, p.ID, certification("gold", period))
			wantsFields(w.t, what, err, "period:range")
		}
		past := w.certify(p.ID, "gold", partner.Period{From: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}) // a history is taken over
		_, err := w.reg.Program.Certified(w.vendor, p.ID, "", time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC))
		wantsFields(w.t, "asked about no time", err, "t:range")
		wantsFields(w.t, "revoked without a reason", second(w.reg.Program.Revoke(w.vendor, "cer_none", " ")), "reason:required")
		wants(w.t, "revoked when it is over", second(w.reg.Program.Revoke(w.vendor, past.ID, "late")), partner.ErrBadTransition)
		for _, id := range []string{"", "cer_none", string(p.ID), "\xff", past.ID + " "} {
			wants(w.t, "revoked "+id, second(w.reg.Program.Revoke(w.vendor, id, "x")), partner.ErrNotFound)
		}
		wants(w.t, "the vendor itself", second(w.reg.Program.Certify(w.vendor, partner.Vendor, certification("gold", partner.Period{}))), partner.ErrForbidden)
		wants(w.t, "nobody", second(w.reg.Program.Certify(w.vendor, "prt_nobody", certification("gold", partner.Period{}))), partner.ErrNotFound)
	})
}

// TestPLX01_AtOnceOneWins: of those who certify a partner at the same time one does, and of those who revoke.
func TestPLX01_AtOnceOneWins(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		for i := range 5 {
			programme := fmt.Sprint("p", i)
			var ids [8]string
			one := func(what string, want error, errs []error) {
				w.t.Helper()
				won := 0
				for _, err := range errs {
					if err == nil {
						won++
					} else {
						wants(w.t, what, err, want)
					}
				}
				if won != 1 {
					w.t.Fatalf("%d %s: %v", won, what, errs)
				}
			}
			one("certified", partner.ErrInvalid, w.atOnce(8, func(k int) error {
				c, err := w.reg.Program.Certify(w.vendor, p.ID, certification(programme, partner.Period{From: day1.AddDate(-1, 0, k), Until: day1.AddDate(0, 0, k)}))
				ids[k] = c.ID
				return err
			}))
			id := ids[slices.IndexFunc(ids[:], func(s string) bool { return s != "" })]
			one("revoked", partner.ErrBadTransition, w.atOnce(8, func(int) error { return second(w.reg.Program.Revoke(w.vendor, id, "cheated")) }))
			if w.certified(p.ID, programme, time.Time{}) {
				w.t.Error("certified all the same")
			}
		}
	})
}

// TestPLX01_CertificationLapse: what has run out is told once, by whichever process sees it first; not what was revoked, and not again when the
// clock leaps.
func TestPLX01_CertificationLapse(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		q, _ := w.partner("other")
		short, other := w.certify(p.ID, "gold", days(1, 3)), w.certify(q.ID, "gold", days(1, 3))
		w.certify(p.ID, "gold", days(3, 8)) // the renewal
		revoked := w.certify(p.ID, "silver", days(1, 3))
		w.must(second(w.reg.Program.Revoke(w.vendor, revoked.ID, "cheated")))
		w.certify(p.ID, "bronze", days(1, 0))
		if w.sweep(w.clock.Now); len(w.lapses()) != 0 {
			w.t.Errorf("before their end lapsed %v", w.lapses())
		}
		w.clock.Advance(days(4, 0).From.Sub(w.clock.Now()))
		w.atOnce(4, func(int) error { w.sweep(w.clock.Now); return nil })
		want := []string{short.ID, other.ID}
		slices.Sort(want)
		if got := w.lapses(); !slices.Equal(got, want) {
			w.t.Fatalf("lapsed %v, want %v", got, want)
		}
		if !w.certified(p.ID, "gold", time.Time{}) || w.certified(q.ID, "", time.Time{}) {
			w.t.Error("the renewal does not hold, or what has run out does")
		}
		me := w.login("acme")
		events, err := w.reg.Activity.List(me, partner.EventFilter{Kinds: []string{"certification.lapsed"}}, partner.PageRequest{})
		w.must(err)
		if len(events.Items) != 1 || events.Items[0].Target != short.ID || events.Items[0].Partner != p.ID {
			w.t.Errorf("the partner's admin sees %+v", events.Items)
		}
		w.clock.Advance(-48 * time.Hour) // set back: it holds again, by the clock
		if w.sweep(w.clock.Now); !w.certified(q.ID, "gold", time.Time{}) {
			w.t.Error("by the clock it has not run out")
		}
		w.clock.Advance(20 * 365 * 24 * time.Hour) // and ahead
		w.sweep(w.clock.Now)
		w.sweep(w.clock.Now)
		if got := w.lapses(); len(got) != 3 { // the renewal as well
			w.t.Errorf("after the leap lapsed %v", got)
		}
	})
}

// TestPLX01_LapsesAreBounded: a round takes some, by several processes none twice.
func TestPLX01_LapsesAreBounded(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		for i := range 450 {
			tamper(w.t, w.db, `INSERT INTO prm_certifications (id, partner_id, programme, from_at, until_at, ends_at, reason, created_by, created_at) VALUES (?, ?, ?, 1, 2, 2, 'r', 'host:x', 1)`,
				fmt.Sprintf("cer_%03d", i), p.ID, fmt.Sprint(i))
		}
		if !w.sweep(w.clock.Now) || len(w.lapses()) != 200 {
			w.t.Errorf("the first round says %d", len(w.lapses()))
		}
		w.atOnce(3, func(int) error { w.sweep(w.clock.Now); return nil })
		for range 3 { // what others were at
			w.sweep(w.clock.Now)
		}
		if got := w.lapses(); len(got) != 450 || len(slices.Compact(got)) != 450 {
			w.t.Errorf("%d lapses", len(got))
		}
	})
}

// TestPLX01_ALapseThatAnotherIsAtIsLeftToIt: two processes neither tell of the same one nor wait for each other.
func TestPLX01_ALapseThatAnotherIsAtIsLeftToIt(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	p, _ := w.partner("acme")
	first, next := w.certify(p.ID, "gold", days(1, 2)), w.certify(p.ID, "silver", days(1, 3))
	w.clock.Advance(days(4, 0).From.Sub(w.clock.Now()))
	another := w.db.Begin()
	w.must(another.Exec("UPDATE prm_certifications SET lapsed = TRUE WHERE id = ?", first.ID).Error)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w.must(second(w.reg.Step(ctx)))
	w.must(another.Commit().Error)
	if w.sweep(w.clock.Now); !slices.Equal(w.lapses(), []string{next.ID}) {
		t.Errorf("lapsed %v, want %s alone", w.lapses(), next.ID)
	}
}

// TestPLX01_ARevokedOneNeverComesBack: not even to a clock that is set back. What was true then is still told of then.
func TestPLX01_ARevokedOneNeverComesBack(t *testing.T) {
	standstill(t, func(w *world, now *time.Time) {
		p, _ := w.partner("acme")
		c := w.certify(p.ID, "gold", days(1, 10))
		*now = days(5, 0).From
		w.must(second(w.reg.Program.Revoke(w.vendor, c.ID, "cheated")))
		for _, at := range []int{5, 4, 1, 2, 9} {
			if *now = days(at, 0).From; w.certified(p.ID, "gold", time.Time{}) {
				w.t.Errorf("on day %d it is back", at)
			}
			wants(w.t, "again", second(w.reg.Program.Revoke(w.vendor, c.ID, "x")), partner.ErrBadTransition)
		}
		if !w.certified(p.ID, "gold", days(4, 0).From) || w.certified(p.ID, "gold", days(5, 0).From) {
			w.t.Error("the past has changed")
		}
	})
}

// TestPLX01_WhoSeesCertifications: the vendor writes, its users and the partner's admins read, and everybody with a live session knows "certified".
func TestPLX01_WhoSeesCertifications(t *testing.T) {
	each(t, func(w *world) {
		top, boss := w.partner("top")
		low, me := w.partner("low", under(top.ID))
		_, stranger := w.partner("other")
		member := w.user(low.ID, "member", func(u *partner.NewUser) { u.Rights = everyRight })
		project := w.login(w.project(me, "one").Project.Login)
		finance := w.user(partner.Vendor, "finance", func(u *partner.NewUser) { u.Role = partner.Finance })
		admin := w.user(partner.Vendor, "chief", func(u *partner.NewUser) { u.Role = partner.Admin })
		var made []string
		for i := range 5 {
			c, err := w.reg.Program.Certify(admin, low.ID, certification(fmt.Sprint("p", i), partner.Period{}))
			w.must(err)
			made = append(made, c.ID)
		}
		w.must(second(w.reg.Program.Revoke(admin, made[0], "cheated")))
		slices.Reverse(made)
		read := func(ctx context.Context) error {
			return second(w.reg.Program.Certifications(ctx, low.ID, partner.PageRequest{}))
		}
		for who, ctx := range map[string]context.Context{"the host": w.vendor, "finance": finance, "their admin": me} {
			var got []string
			for c, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Certification], error) {
				r.Limit = 2
				return w.reg.Program.Certifications(ctx, low.ID, r)
			}) {
				w.must(err)
				if got = append(got, c.ID); c.Reason != "exam passed" || !strings.HasPrefix(c.By, "usr_") || (c.RevokedReason == "cheated") != (c.ID == made[4]) {
					w.t.Errorf("%s reads %+v", who, c)
				}
			}
			if !slices.Equal(got, made) {
				w.t.Errorf("%s reads %v, want %v", who, got, made)
			}
		}
		wants(w.t, "a member", read(member), partner.ErrForbidden)
		wants(w.t, "a project's log-in", read(project), partner.ErrNotFound)
		wants(w.t, "another partner", read(stranger), partner.ErrNotFound)
		wants(w.t, "from above, without managing", read(boss), partner.ErrNotFound)
		w.edit(top, func(a *partner.Agreement) { a.ManagesSubPartners = true })
		w.must(read(boss))
		page, err := w.reg.Program.Certifications(me, low.ID, partner.PageRequest{Limit: 1})
		w.must(err)
		wants(w.t, "a cursor of another list", second(w.reg.Program.Certifications(w.vendor, top.ID, partner.PageRequest{After: page.Next})), partner.ErrInvalid)
		for who, ctx := range map[string]context.Context{"finance": finance, "an admin": me, "one from above": boss, "a member": member} {
			want := partner.ErrForbidden
			wants(w.t, who, second(w.reg.Program.Certify(ctx, low.ID, certification("gold", partner.Period{}))), want)
			wants(w.t, who, second(w.reg.Program.Revoke(ctx, made[1], "x")), want)
		}
		for who, ctx := range map[string]context.Context{"a stranger": stranger, "a project": project} {
			wants(w.t, who, second(w.reg.Program.Certify(ctx, low.ID, certification("gold", partner.Period{}))), partner.ErrNotFound)
			wants(w.t, who, second(w.reg.Program.Revoke(ctx, made[1], "x")), partner.ErrNotFound)
		}
		for who, ctx := range map[string]context.Context{"the host": w.vendor, "finance": finance, "an admin": me, "one from above": boss, "a member": member, "a stranger": stranger, "a project": project} {
			for programme, want := range map[string]bool{"p1": true, "": true, "p0": false, "gold": false, "\xff": false} {
				if got, err := w.reg.Program.Certified(ctx, low.ID, programme, time.Time{}); err != nil || got != want {
					w.t.Errorf("%s is told %v, %v of %q", who, got, err, programme)
				}
			}
			for _, id := range []partner.ID{"prt_nobody", "", "\x00", top.ID} {
				if got, err := w.reg.Program.Certified(ctx, id, "", time.Time{}); err != nil || got {
					w.t.Errorf("%s is told %v, %v of %q", who, got, err, id)
				}
			}
		}
		wants(w.t, "nobody", second(w.reg.Program.Certified(context.Background(), low.ID, "", time.Time{})), partner.ErrForbidden)
		w.must(w.reg.Partners.Block(w.vendor, low.ID, false))
		wants(w.t, "a blocked one", second(w.reg.Program.Certified(me, low.ID, "", time.Time{})), partner.ErrBlocked)
		if !w.certified(low.ID, "p1", time.Time{}) {
			w.t.Error("a block has ended a certification")
		}
	})
}

// TestPLX01_InAHostsTransaction: facts come and go with it.
func TestPLX01_InAHostsTransaction(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		tx := w.db.Begin()
		in := w.reg.In(tx).Program
		c, err := in.Certify(w.vendor, p.ID, certification("gold", partner.Period{}))
		w.must(err)
		_, err = in.Certify(w.vendor, p.ID, certification("gold", partner.Period{}))
		wantsFields(w.t, "again", err, "period:taken")
		if yes, err := in.Certified(w.vendor, p.ID, "gold", time.Time{}); err != nil || !yes {
			w.t.Errorf("inside: %v, %v", yes, err)
		}
		w.must(second(in.Revoke(w.vendor, c.ID, "thought better of it")))
		w.must(second(in.Certify(w.vendor, p.ID, certification("gold", partner.Period{}))))
		w.must(tx.Rollback().Error)
		if w.certified(p.ID, "", time.Time{}) || rowsIn(w.t, w.db, "prm_certifications") != 0 {
			w.t.Error("a rollback left something")
		}
	})
}

// TestPLX01_ASnapshotHidesNoRevocation: what must see every fact refuses there, and who relies on one that is gone runs again.
func TestPLX01_ASnapshotHidesNoRevocation(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	p, _ := w.partner("acme")
	for _, level := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable} {
		c := w.certify(p.ID, "gold", partner.Period{})
		tx := w.db.Begin(&sql.TxOptions{Isolation: level})
		w.must(tx.Error)
		in := w.reg.In(tx).Program
		wants(t, "Certify", second(in.Certify(w.vendor, p.ID, certification("silver", partner.Period{}))), partner.ErrInvalid)
		wants(t, "Revoke", second(in.Revoke(w.vendor, c.ID, "x")), partner.ErrInvalid)
		w.must(second(w.reg.Program.Revoke(w.vendor, c.ID, "cheated"))) // after its snapshot
		wants(t, "Certified", second(in.Certified(w.vendor, p.ID, "gold", time.Time{})), partner.ErrConflict)
		w.must(tx.Rollback().Error)
	}
}

// fact is one of a model of certifications: half-open, in hours.
type fact struct {
	id          string
	from, until int // until 0 is open
	revoked     int // 0: it was not
}

func (f fact) end() int {
	end := cmp.Or(f.until, 1<<40)
	if f.revoked != 0 {
		end = max(f.from, min(end, f.revoked))
	}
	return end
}

// TestPLX01_FactsAgainstAModel plays certifying, revoking and the clock at random, hour by hour.
func TestPLX01_FactsAgainstAModel(t *testing.T) {
	standstill(t, func(w *world, now *time.Time) {
		p, _ := w.partner("acme")
		r, hour, facts := rand.New(rand.NewPCG(7, 1)), 100, []fact{}
		at := func(hour int) time.Time {
			if hour == 0 {
				return time.Time{}
			}
			return day1.Add(time.Duration(hour) * time.Hour)
		}
		for range 300 {
			*now = at(hour)
			switch r.IntN(4) {
			case 0, 1:
				f := fact{from: max(1, hour-20+r.IntN(60))}
				if r.IntN(8) > 0 {
					f.until = f.from + 1 + r.IntN(15)
				}
				taken := slices.ContainsFunc(facts, func(g fact) bool { return g.from < f.end() && g.end() > f.from && g.end() > g.from })
				c, err := w.reg.Program.Certify(w.vendor, p.ID, certification("gold", partner.Period{From: at(f.from), Until: at(f.until)}))
				if taken != (fields(err) == "period:taken") || !taken && err != nil {
					w.t.Fatalf("%+v beside %+v: %v", f, facts, err)
				}
				if f.id = c.ID; err == nil {
					facts = append(facts, f)
				}
			case 2:
				if len(facts) == 0 {
					continue
				}
				f := &facts[r.IntN(len(facts))]
				_, err := w.reg.Program.Revoke(w.vendor, f.id, "by lot")
				if over := f.revoked != 0 || f.end() <= hour; over != errors.Is(err, partner.ErrBadTransition) || !over && err != nil {
					w.t.Fatalf("at %d revoking %+v: %v", hour, *f, err)
				} else if !over {
					f.revoked = hour
				}
			case 3:
				hour += r.IntN(4)
			}
			*now = at(hour)
			then := hour - 30 + r.IntN(80)
			holds := func(hour int, revokedToo bool) bool {
				return slices.ContainsFunc(facts, func(f fact) bool { return f.from <= hour && hour < f.end() && (revokedToo || f.revoked == 0) })
			}
			if w.certified(p.ID, "gold", at(then)) != holds(then, true) || w.certified(p.ID, "gold", time.Time{}) != holds(hour, false) {
				w.t.Fatalf("at %d of %d: %+v", then, hour, facts)
			}
		}
	})
}

// programme of certifications: everybody is told "certified" of both sides, and their own alone read why; nobody but the vendor writes.
func (i *isolation) programme(me, other *isoSide) {
	for _, ctx := range []context.Context{me.admin, me.member} {
		i.notFound("Certifications", second(i.reg.Program.Certifications(ctx, other.id, partner.PageRequest{})))
		i.notFound("Certify", second(i.reg.Program.Certify(ctx, other.id, certification("gold", partner.Period{}))))
		if other.certified != "" {
			i.notFound("Revoke", second(i.reg.Program.Revoke(ctx, other.certified, "mine")))
		}
		for _, s := range []*isoSide{me, other} {
			yes, err := i.reg.Program.Certified(ctx, s.id, "gold", time.Time{})
			i.must(err)
			if yes != (s.certified != "") {
				i.t.Fatalf("%s is certified: %v", s.name, yes)
			}
		}
	}
	if me.certified != "" {
		i.must(second(i.reg.Program.Revoke(i.vendor, me.certified, "by turns")))
		me.certified = ""
	} else {
		me.certified = i.certify(me.id, "gold", partner.Period{}).ID
	}
	page, err := i.reg.Program.Certifications(me.admin, me.id, partner.PageRequest{Limit: 1})
	i.must(err)
	if len(page.Items) != 1 || (page.Items[0].ID == me.certified) != page.Items[0].Revoked.IsZero() {
		i.t.Fatalf("own certifications are %+v", page.Items)
	}
}

// TestPLX01_HostileCertifications: each text of a certification comes back as it was given, or is refused.
func TestPLX01_HostileCertifications(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		p, _ := w.partner("acme")
		for _, at := range places(partner.Certification{}, false) {
			for _, text := range w.own(texts) {
				w.trial("Certify."+at.name, text, func() error {
					in := certification("gold", partner.Period{})
					at.put(&in, text)
					c, err := w.reg.Program.Certify(w.vendor, p.ID, in)
					if err != nil {
						return err
					}
					if yes, err := w.reg.Program.Certified(w.vendor, p.ID, c.Programme, time.Time{}); err != nil || !yes {
						w.t.Errorf("%q is not certified: %v", c.Programme, err)
					}
					revoked, err := w.reg.Program.Revoke(w.vendor, c.ID, in.Reason)
					w.must(err)
					page, err := w.reg.Program.Certifications(w.vendor, p.ID, partner.PageRequest{Limit: 1})
					w.must(err)
					if read := page.Items[0]; read != revoked || read.Programme != in.Programme || read.Reason != in.Reason || read.RevokedReason != in.Reason || read.By != "host:ops@vendor.example" {
						w.t.Errorf("%+v comes back as %+v", in, read)
					}
					return nil
				})
			}
		}
	})
}
