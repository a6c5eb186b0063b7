package partner_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

func vat(points int) *int { return &points }

// sameVAT tells whether both are exempt, or taxed alike.
func sameVAT(a, b *int) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func (w *world) edit(p partner.Partner, change func(*partner.Agreement)) partner.Partner {
	w.t.Helper()
	p, err := w.reg.Partners.Edit(w.vendor, p.ID, p.Version, change)
	w.must(err)
	return p
}

// TestPIL09_ExemptIsNotZero round-trips both, and what lies between; a repeated key with the other one is a mismatch.
func TestPIL09_ExemptIsNotZero(t *testing.T) {
	each(t, func(w *world) {
		for login, v := range map[string]*int{"exempt": nil, "zero": vat(0), "some": vat(1900), "all": vat(10_000)} {
			p, me := w.partner(login, func(a *partner.Agreement) { a.VAT, a.Key = v, login })
			read, err := w.reg.Partners.Get(me, p.ID)
			w.must(err)
			if !sameVAT(p.VAT, v) || !sameVAT(read.VAT, v) {
				w.t.Errorf("%s: made with %v, reads %v", login, p.VAT, read.VAT)
			}
			other := agreement(login)
			other.Key, other.VAT = login, vat(7)
			_, err = w.reg.Partners.Create(w.vendor, other)
			wants(w.t, login+" with the same key", err, partner.ErrIdempotencyMismatch)
			for _, next := range []*int{vat(0), nil, vat(1)} {
				if p = w.edit(p, func(a *partner.Agreement) { a.VAT = next }); !sameVAT(p.VAT, next) {
					w.t.Errorf("%s: edited to %v", login, p.VAT)
				}
			}
			_, err = w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { *a.VAT = 0 })
			wants(w.t, "its own admin, in place", err, partner.ErrForbidden)
		}
		for _, wrong := range []int{-1, 10_001} {
			a := agreement("wrong")
			a.VAT = &wrong
			_, err := w.reg.Partners.Create(w.vendor, a)
			w.faulty(err, "vat:range")
		}
	})
}

// TestPIL09_PIL15_AgreementsOfThePast: what was in force then, for documents of then, even if the clock is put back meanwhile.
func TestPIL09_PIL15_AgreementsOfThePast(t *testing.T) {
	each(t, func(w *world) {
		above, _ := w.partner("above", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		other, _ := w.partner("other")
		before := w.clock.Now()
		p, _ := w.partner("acme", under(above.ID), func(a *partner.Agreement) { a.VAT, a.MoreCurrencies = vat(1900), []string{"USD"} })
		type state struct {
			at     time.Time
			parent partner.ID
			vat    *int
			main   string
			more   []string
		}
		list := []state{{w.clock.Now(), above.ID, vat(1900), "EUR", []string{"USD"}}}
		day := func(d time.Duration, do func(), s state) {
			w.clock.Advance(d)
			do()
			s.at = w.clock.Now()
			list = append(list, s)
		}
		day(24*time.Hour, func() { p = w.edit(p, func(a *partner.Agreement) { a.VAT = nil }) }, state{parent: above.ID, main: "EUR", more: []string{"USD"}})
		day(24*time.Hour, func() { w.must(w.reg.Partners.MoveUnder(w.vendor, p.ID, other.ID)) }, state{parent: other.ID, main: "EUR", more: []string{"USD"}})
		p, err := w.reg.Partners.Get(w.vendor, p.ID)
		w.must(err)
		day(24*time.Hour, func() { p = w.edit(p, func(a *partner.Agreement) { a.Currency, a.MoreCurrencies = "CHF", nil }) }, state{parent: other.ID, main: "CHF"})
		day(24*time.Hour, func() { p = w.edit(p, func(a *partner.Agreement) { a.Name = "New name" }) }, state{parent: other.ID, main: "CHF"})
		for i, s := range list {
			then, err := w.reg.Partners.At(w.vendor, p.ID, s.at)
			w.must(err)
			if then.Parent != s.parent || !sameVAT(then.VAT, s.vat) || then.Currency != s.main || !slices.Equal(then.MoreCurrencies, s.more) ||
				then.Name != "New name" || then.Path != nil {
				w.t.Errorf("%d: %+v, want %+v", i, then, s)
			}
		}
		_, err = w.reg.Partners.At(w.vendor, p.ID, before)
		wants(w.t, "before it was made", err, partner.ErrNotFound)
		me, boss := w.login("acme"), w.login("above") // the sessions of four days ago are over
		mine, err := w.reg.Partners.At(me, p.ID, list[0].at)
		w.must(err)
		if mine.Parent != "" || !sameVAT(mine.VAT, vat(1900)) {
			w.t.Errorf("its own admin sees %+v", mine)
		}
		_, err = w.reg.Partners.At(boss, p.ID, list[0].at)
		wants(w.t, "the former parent", err, partner.ErrNotFound)

		w.clock.Advance(-240 * time.Hour)
		p = w.edit(p, func(a *partner.Agreement) { a.VAT = vat(5) })
		for at, want := range map[time.Time]*int{list[4].at: vat(5), list[0].at: vat(1900)} {
			then, err := w.reg.Partners.At(w.vendor, p.ID, at)
			w.must(err)
			if !sameVAT(then.VAT, want) {
				w.t.Errorf("after the clock was put back, at %s: %v, want %v", at, then.VAT, want)
			}
		}
	})
}

// TestPIL15_APastAgreementShowsWhatAPresentOneDoes: who sees little of a partner sees as little of its past.
func TestPIL15_APastAgreementShowsWhatAPresentOneDoes(t *testing.T) {
	each(t, func(w *world) {
		top, boss := w.partner("top")
		mid, lead := w.partner("mid", under(top.ID), func(a *partner.Agreement) { a.ManagesSubPartners = true })
		p, _ := w.partner("low", under(mid.ID), func(a *partner.Agreement) { a.VAT = vat(700) })
		reduced, err := w.reg.Partners.At(boss, p.ID, w.clock.Now())
		w.must(err)
		if reduced.VAT != nil || reduced.Currency != "" || reduced.Parent != "" || reduced.Name != p.Name {
			w.t.Errorf("from above: %+v", reduced)
		}
		whole, err := w.reg.Partners.At(lead, p.ID, w.clock.Now())
		w.must(err)
		if !sameVAT(whole.VAT, vat(700)) || whole.Parent != mid.ID {
			w.t.Errorf("from its manager: %+v", whole)
		}
	})
}

// codebook is reference data that the host changes.
type codebook map[string]bool // to whether it is retired

func (p codebook) Lookup(list, code string) (known, retired bool) {
	retired, known = p[list+" "+code]
	return known, retired
}

// TestPIL11_PIL25_RetiredCode: unknown codes are refused, retired ones stay where they are.
func TestPIL11_PIL25_RetiredCode(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		data := codebook{"region north": false, "region south": true, "organisation_type llc": false, "organisation_type gmbh": false}
		w := newWorld(t, db, func(o *partner.Options) { o.Reference = data })
		a := agreement("acme")
		for _, c := range []struct{ region, kind, want string }{
			{"east", "llc", "region:unknown_code"},
			{"south", "guild", "region:retired_code organisation_type:unknown_code"},
			{"llc", "north", "region:unknown_code organisation_type:unknown_code"}, // each in its own list
			{strings.Repeat("n", 65), "", "region:too_long"},
		} {
			a.Region, a.OrganisationType = c.region, c.kind
			_, err := w.reg.Partners.Create(w.vendor, a)
			w.faulty(err, c.want)
			wants(t, "a code", second(w.reg.Partners.Create(w.vendor, func() partner.Agreement { b := a; b.Region = "east"; return b }())), partner.ErrUnknownCode)
		}
		p, me := w.partner("acme", func(a *partner.Agreement) { a.Region, a.OrganisationType = "north", "llc" })
		data["region north"] = true
		delete(data, "organisation_type llc")
		p = w.edit(p, func(a *partner.Agreement) { a.VAT = vat(1) })
		if p.Region != "north" || p.OrganisationType != "llc" {
			t.Errorf("codes of before: %q, %q", p.Region, p.OrganisationType)
		}
		p = w.edit(p, func(a *partner.Agreement) { a.OrganisationType = "gmbh" })
		_, err := w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.OrganisationType, a.Region = "llc", "south" })
		w.faulty(err, "region:retired_code organisation_type:unknown_code")
		_, err = w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.Region = "" })
		wants(t, "its own admin", err, partner.ErrForbidden)
		p = w.edit(p, func(a *partner.Agreement) { a.Region, a.OrganisationType = "", "" })
		if p.Region+p.OrganisationType != "" {
			t.Errorf("taken away: %+v", p)
		}
	})
}

// TestPIL11_NoReferenceDataKnowsNoCode, and inside the host's transaction nothing is looked up.
func TestPIL11_NoReferenceDataKnowsNoCode(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		a := agreement("acme")
		a.Region = "north"
		w := newWorld(t, db)
		_, err := w.reg.Partners.Create(w.vendor, a)
		w.faulty(err, "region:unknown_code")

		w = newWorld(t, db, func(o *partner.Options) { o.Reference = codebook{"region north": false, "region west": false} })
		p, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		tx := db.Begin()
		w.must(tx.Error)
		defer tx.Rollback()
		in, invited := w.reg.In(tx), agreement("invited")
		invited.Password, invited.Region = "", "north"
		wants(t, "an invitation that was not prepared", second(in.Partners.Invite(w.vendor, invited)), partner.ErrInvalid)
		_, err = in.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Region = "west" })
		wants(t, "an edit that needs the host", err, partner.ErrInvalid)
		_, err = in.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.VAT = vat(3) })
		w.must(err)
		w.must(tx.Rollback().Error)
		ready, err := w.reg.Partners.Prepare(w.vendor, invited)
		w.must(err)
		tx = db.Begin()
		w.must(second(w.reg.In(tx).Partners.Invite(w.vendor, ready)))
		w.must(tx.Commit().Error)
	})
}

// TestBEY05_ANoteIsTheVendorsOwn: nobody else reads it, and nobody else's edit loses it.
func TestBEY05_ANoteIsTheVendorsOwn(t *testing.T) {
	each(t, func(w *world) {
		note := strings.Repeat("ы", 3998) + "\n."
		p, me := w.partner("acme", func(a *partner.Agreement) { a.Note, a.ManagesSubPartners = note, true })
		low, _ := w.partner("low", under(p.ID), func(a *partner.Agreement) { a.Note = "pays late" })
		if p.Note != note {
			w.t.Error("the vendor's note came back otherwise")
		}
		for _, id := range []partner.ID{p.ID, low.ID} {
			mine, err := w.reg.Partners.Get(me, id)
			w.must(err)
			edited, err := w.reg.Partners.Edit(me, id, mine.Version, func(a *partner.Agreement) { a.Name = "Renamed" })
			w.must(err)
			if mine.Note+edited.Note != "" {
				w.t.Errorf("a partner reads %q", mine.Note+edited.Note)
			}
			_, err = w.reg.Partners.Edit(me, id, edited.Version, func(a *partner.Agreement) { a.Note = "good" })
			wants(w.t, "a partner's note", err, partner.ErrForbidden)
		}
		if low, err := w.reg.Partners.Get(w.vendor, low.ID); err != nil || low.Note != "pays late" {
			w.t.Errorf("after another's edit: %q (%v)", low.Note, err)
		}
		for text, want := range map[string]string{strings.Repeat("x", 4001): "note:too_long", "a\x00b": "note:format", "\xff": "note:format"} {
			a := agreement("other")
			a.Note = text
			w.faulty(second(w.reg.Partners.Create(w.vendor, a)), want)
		}
	})
}

// TestPIL04_EmailNormalise: an address is kept trimmed, as it was typed, and compared case-folded.
func TestPIL04_EmailNormalise(t *testing.T) {
	each(t, func(w *world) {
		for login, c := range map[string]struct{ typed, kept, fault string }{
			"none":     {"", "", ""},
			"blank":    {"  ", "", ""},
			"spaces":   {" Boss@Partner.example\t", "Boss@Partner.example", ""},
			"plus":     {"boss+prm@partner.example", "boss+prm@partner.example", ""},
			"umlaut":   {"jörg@müller.example", "jörg@müller.example", ""},
			"nameless": {"@partner.example", "", "email:format"},
			"homeless": {"boss", "", "email:format"},
			"display":  {"Boss <boss@partner.example>", "", "email:format"},
			"two":      {"a@b.example, c@d.example", "", "email:format"},
			"lines":    {"a@b.example\r\nBcc: c@d.example", "", "email:format"},
			"long":     {strings.Repeat("a", 250) + "@b.example", "", "email:too_long"},
		} {
			a := agreement(login)
			a.Email = c.typed
			p, err := w.reg.Partners.Create(w.vendor, a)
			if c.fault != "" {
				w.faulty(err, c.fault)
				continue
			}
			w.must(err)
			if p.Email != c.kept {
				w.t.Errorf("%q is kept as %q, want %q", c.typed, p.Email, c.kept)
			}
		}
		a := agreement("OPS@partner.EXAMPLE")
		a.Email, a.Password = " ops@Partner.example ", ""
		w.must(second(w.reg.Partners.Invite(w.vendor, a))) // a log-in name with @ is the invited address, however it is typed
	})
}
