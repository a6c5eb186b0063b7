package partner_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// exported reads an export back: its names, and each row by name, as text in CSV and as it is in JSON.
func (w *world) exported(write func(io.Writer, string) error) (names []string, cells []map[string]string, objects []map[string]any) {
	w.t.Helper()
	var file, text bytes.Buffer
	w.must(write(&file, "csv"))
	w.must(write(&text, "json"))
	if n := bytes.Count(file.Bytes(), []byte("\n")); n == 0 || n != bytes.Count(file.Bytes(), []byte("\r\n")) {
		w.t.Errorf("%d line ends, not all of them CRLF", n)
	}
	rows, err := csv.NewReader(&file).ReadAll()
	w.must(err)
	names = rows[0]
	for _, row := range rows[1:] {
		cell := map[string]string{}
		for i, v := range row {
			cell[names[i]] = v
		}
		cells = append(cells, cell)
	}
	w.must(json.Unmarshal(text.Bytes(), &objects))
	if len(cells) != len(objects) {
		w.t.Fatalf("%d rows in CSV, %d in JSON", len(cells), len(objects))
	}
	for _, o := range objects {
		for _, n := range names {
			if _, there := o[n]; !there || len(o) != len(names) {
				w.t.Fatalf("the object %v has not just %v", o, names)
			}
		}
	}
	return names, cells, objects
}

// partnerCells is a partner as an export should have it, each value in both forms.
func partnerCells(p partner.Partner) map[string]any {
	known := p.Version > 0
	number := func(n int64) any {
		if !known {
			return nil
		}
		return float64(n)
	}
	at := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.Format(time.RFC3339Nano)
	}
	texts := func(list []string) any {
		out := []any{}
		for _, s := range list {
			out = append(out, s)
		}
		return out
	}
	var ids, capabilities []string
	for _, id := range p.TaxIDs {
		ids = append(ids, id.Scheme+":"+id.Value)
	}
	for _, c := range p.Capabilities {
		capabilities = append(capabilities, string(c))
	}
	want := map[string]any{"id": string(p.ID), "state": p.State, "name": p.Name, "login": p.Login, "email": p.Email, "phone": p.Phone, "locale": p.Locale,
		"parent": string(p.Parent), "region": p.Region, "organisation_type": p.OrganisationType, "tax_ids": texts(ids), "vat": nil, "capabilities": texts(capabilities),
		"manages_sub_partners": p.ManagesSubPartners, "password_policy": p.PasswordPolicy, "currency": p.Currency, "more_currencies": texts(p.MoreCurrencies),
		"billing_model": p.BillingModel, "blocking_limit": number(p.BlockingLimit), "balance": number(p.Balance.Minor), "deposit": number(p.Deposit),
		"contract": p.Contract, "contract_number": p.ContractNumber, "contract_from": at(p.ContractPeriod.From), "contract_until": at(p.ContractPeriod.Until),
		"contact": string(p.Contact), "accounts": number(p.Accounts), "blocks": texts(p.Blocks), "users_blocks": texts(p.UsersBlocks), "created": at(p.Created),
		"version": number(p.Version), "note": p.Note}
	if p.VAT != nil {
		want["vat"] = float64(*p.VAT)
	}
	if !known {
		want["manages_sub_partners"] = nil
	}
	return want
}

// asCell is a value of JSON as CSV has it.
func asCell(v any) string {
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return v
		}
		return partner.Inert(v)
	case float64:
		return fmt.Sprintf("%.0f", v)
	case bool:
		return fmt.Sprint(v)
	case []any:
		var list []string
		for _, s := range v {
			list = append(list, fmt.Sprint(s))
		}
		return partner.Inert(strings.Join(list, "; "))
	}
	return ""
}

// exportIs fails unless the export of a caller is his list.
func (w *world) exportIs(what string, ctx context.Context, f partner.PartnerFilter) {
	w.t.Helper()
	names, cells, objects := w.exported(func(out io.Writer, format string) error { return w.reg.Partners.Export(ctx, out, format, f) })
	n := 0
	for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
		return w.reg.Partners.List(ctx, f, r)
	}) {
		w.must(err)
		if n == len(cells) {
			w.t.Fatalf("%s: only %d rows", what, n)
		}
		want := partnerCells(p)
		for _, name := range names {
			if got := fmt.Sprint(objects[n][name]); got != fmt.Sprint(want[name]) {
				w.t.Errorf("%s: %s of %s is %s, want %v", what, name, p.ID, got, want[name])
			}
			if got := cells[n][name]; got != asCell(want[name]) {
				w.t.Errorf("%s: the cell %s of %s is %q, want %q", what, name, p.ID, got, asCell(want[name]))
			}
		}
		n++
	}
	if n != len(cells) {
		w.t.Errorf("%s: %d rows, want %d", what, len(cells), n)
	}
}

func TestBEY05_AnExportIsTheList(t *testing.T) {
	each(t, func(w *world) {
		top, admin := w.partner("top", func(a *partner.Agreement) {
			vat := 0
			a.Name, a.Note, a.VAT, a.Phone = `=HYPERLINK("http://x","y")`, "-1\nsecond, \"line\"", &vat, "+4930901820"
			a.MoreCurrencies, a.Deposit, a.BillingModel = []string{"USD", "CHF"}, 5, "prepayment"
			a.TaxIDs = []partner.TaxID{{Scheme: "de-vat", Value: "DE 136695976"}, {Scheme: "kz-iin", Value: "000101300003"}}
		})
		below, _ := w.partner("below", under(top.ID), func(a *partner.Agreement) {
			a.Name, a.Locale, a.BillingModel, a.BlockingLimit = "\u200b+1", "de-AT", "postpayment_light", 7
			a.Capabilities, a.ContractNumber = []partner.Capability{}, "@1"
		})
		w.project(admin, "one")
		w.partner("deep", under(below.ID))
		away, _ := w.partner("away", under(top.ID))
		w.must(w.reg.Partners.Block(w.vendor, below.ID, true))
		w.must(w.reg.Partners.Unblock(w.vendor, below.ID))
		w.must(w.reg.Partners.BlockUsers(w.vendor, top.ID, false))
		w.must(w.reg.Partners.Archive(w.vendor, away.ID))
		w.partner("apart")
		boss := w.login("below")
		actors := map[string]context.Context{"the host": w.vendor, "an admin": admin, "an admin below": boss}
		for _, role := range []partner.Role{partner.Admin, partner.Support} {
			actors["the vendor's "+string(role)] = w.user(partner.Vendor, "vendor-"+string(role), func(u *partner.NewUser) { u.Role = role })
		}
		for range 2 {
			for who, ctx := range actors {
				for _, f := range []partner.PartnerFilter{{}, {IncludeArchived: true}, {Under: below.ID}, {Search: "partner"}, {Search: "+4930"}, {Search: "nobody"}, {Search: "+1", Under: below.ID}} {
					w.exportIs(fmt.Sprintf("%s, %+v", who, f), ctx, f)
				}
			}
			now, err := w.reg.Partners.Get(w.vendor, top.ID)
			w.must(err)
			w.edit(now, func(a *partner.Agreement) { a.ManagesSubPartners = true })
		}
		names, _, _ := w.exported(func(out io.Writer, format string) error {
			return w.reg.Partners.Export(admin, out, format, partner.PartnerFilter{})
		})
		if slices.Contains(names, "note") {
			w.t.Error("a partner's export has the vendor's notes")
		}
	})
}

// TestBEY05_ALongExport is of several pages, each in the list's order.
func TestBEY05_ALongExport(t *testing.T) {
	each(t, func(w *world) {
		w.crowd(600, 700, 0)
		for _, f := range []partner.PartnerFilter{{}, {Search: "old"}, {IncludeArchived: true}} {
			w.exportIs(fmt.Sprintf("%+v", f), w.vendor, f)
		}
	})
}

func TestBEY05_AnExportOfActivityIsTheList(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "one")
		w.edit(p, func(a *partner.Agreement) { a.Name, a.Locale = "New", "de" })
		for who, ctx := range map[string]context.Context{"the vendor": partner.AsVendor(context.Background(), "=1+1"), "an admin": me, "a project": w.login("one")} {
			for _, f := range []partner.EventFilter{{}, {Account: a.ID}, {Kinds: []string{"partner.edited", "partner.created"}}} {
				_, cells, objects := w.exported(func(out io.Writer, format string) error { return w.reg.Activity.Export(ctx, out, format, f) })
				page, err := w.reg.Activity.List(ctx, f, partner.PageRequest{Limit: 500})
				w.must(err)
				if len(page.Items) != len(cells) {
					w.t.Fatalf("%s, %+v: %d rows, want %d", who, f, len(cells), len(page.Items))
				}
				for i, e := range page.Items {
					want := fmt.Sprint(e.ID, e.At.Format(time.RFC3339Nano), e.Kind, e.Actor, e.Subject, e.Partner, e.Account, e.Target, strings.Join(e.Changed, "; "))
					c, o := cells[i], objects[i]
					if got := fmt.Sprint(c["id"], c["at"], c["kind"], c["actor"], c["subject"], c["partner"], c["account"], c["target"], c["changed"]); got != want {
						w.t.Errorf("%s: %s, want %s", who, got, want)
					}
					if o["id"] != e.ID || o["target"] != e.Target || len(o["changed"].([]any)) != len(e.Changed) {
						w.t.Errorf("%s: %v, want %+v", who, o, e)
					}
				}
			}
		}
	})
}

func TestBEY05_WhoMayExport(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		other, _ := w.partner("other")
		w.project(me, "one")
		var out bytes.Buffer
		export := func(ctx context.Context, f partner.PartnerFilter) error {
			return w.reg.Partners.Export(ctx, &out, "csv", f)
		}
		for _, role := range []partner.Role{partner.Finance, partner.Reviewer} {
			ctx := w.user(partner.Vendor, string(role), func(u *partner.NewUser) { u.Role = role })
			w.must(second(w.reg.Partners.List(ctx, partner.PartnerFilter{}, partner.PageRequest{})))
			wants(w.t, string(role), export(ctx, partner.PartnerFilter{}), partner.ErrForbidden)
			wants(w.t, string(role), w.reg.Activity.Export(ctx, &out, "csv", partner.EventFilter{}), partner.ErrForbidden)
		}
		member := w.user(p.ID, "member", func(u *partner.NewUser) { u.Rights = everyRight })
		for who, ctx := range map[string]context.Context{"a member": member, "a project": w.login("one"), "nobody": context.Background()} {
			wants(w.t, who, export(ctx, partner.PartnerFilter{}), partner.ErrForbidden)
		}
		wants(w.t, "another's", export(me, partner.PartnerFilter{Under: other.ID}), partner.ErrNotFound)
		wantsFields(w.t, "a format", w.reg.Partners.Export(me, &out, "xlsx", partner.PartnerFilter{}), "format:unknown_code")
		wants(w.t, "a format", w.reg.Partners.Export(me, &out, "CSV", partner.PartnerFilter{}), partner.ErrUnknownCode)
		wantsFields(w.t, "a format", w.reg.Activity.Export(me, &out, "", partner.EventFilter{Kinds: []string{"\xff"}}), "format:unknown_code", "kinds:format")
		if out.Len() > 0 {
			w.t.Errorf("refused, and wrote %q", out.String())
		}
		w.must(w.reg.Partners.Export(me, &out, "json", partner.PartnerFilter{Search: "nobody"}))
		if out.String() != "[\n]\n" {
			w.t.Errorf("nothing is %q", out.String())
		}
	})
}

// busy is a writer that asks the registry itself.
type busy struct {
	ask  func() error
	fail error
	left int // bytes until it fails
	asks int
}

func (b *busy) Write(p []byte) (int, error) {
	if b.ask != nil {
		b.asks++
		return len(p), b.ask()
	}
	if b.left -= len(p); b.left < 0 {
		return 0, b.fail
	}
	return len(p), nil
}

// TestBEY05_AWriterIsNotWaitedFor: while the host's writer writes, no connection is held, so a slow one holds up nobody.
func TestBEY05_AWriterIsNotWaitedFor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db)
		w.crowd(300, 900, 0)
		pool, err := db.DB.DB()
		w.must(err)
		pool.SetMaxOpenConns(1)
		for _, format := range []string{"csv", "json"} {
			out := &busy{ask: func() error {
				ctx, cancel := context.WithTimeout(w.vendor, 30*time.Second)
				defer cancel()
				return second(w.reg.Partners.Get(ctx, "prt_old00001"))
			}}
			w.must(w.reg.Partners.Export(w.vendor, out, format, partner.PartnerFilter{}))
			if out.asks < 3 {
				w.t.Errorf("%s: written %d times", format, out.asks)
			}
			w.must(w.reg.Activity.Export(w.vendor, out, format, partner.EventFilter{}))
		}
	})
}

// TestBEY05_AWriterThatFails ends the export with its error, wherever that comes.
func TestBEY05_AWriterThatFails(t *testing.T) {
	each(t, func(w *world) {
		w.crowd(300, 900, 0)
		full := errors.New("no space left")
		for _, format := range []string{"csv", "json"} {
			for _, left := range []int{0, 10_000, 150_000} {
				err := w.reg.Partners.Export(w.vendor, &busy{fail: full, left: left}, format, partner.PartnerFilter{})
				wants(w.t, fmt.Sprint(format, left), err, partner.ErrUnavailable)
				if !errors.Is(err, full) {
					w.t.Errorf("%v is not the writer's error", err)
				}
			}
		}
		wants(w.t, "a writer with an error of ours", w.reg.Partners.Export(w.vendor, &busy{fail: partner.ErrBlocked}, "csv", partner.PartnerFilter{}), partner.ErrUnavailable)
	})
}
