package partner_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

func TestBEY05_SearchFindsBeginnings(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme", func(a *partner.Agreement) {
			a.Name, a.Phone, a.Email = "Ａcmé  Systems", "+49 30 901820", "office@mail.example"
			a.TaxIDs = []partner.TaxID{{Scheme: "de-vat", Value: "DE136695976"}, {Scheme: "kz-iin", Value: "000101300003"}}
		})
		w.project(me, "globex-move")
		other, _ := w.partner("other", func(a *partner.Agreement) { a.Name, a.Phone = "100% Cotton_Works", "+4930777777" })
		w.addUser(other.ID, "dana.smith")
		w.partner("third", func(a *partner.Agreement) { a.Name = "100 Cottons" })
		left := w.addedUser(other.ID, "left")
		w.must(w.reg.Users.Remove(w.vendor, left.ID))
		for search, want := range map[string]string{
			"acmé": "acme", "ACMÉ SYS": "acme", "acmé\u00a0\u200bsystems ": "acme", "Ａcmé  Systems": "acme", "acmé systems gmbh": "",
			"systems": "", "cmé": "", "office@": "", "acme@partner": "",
			"acme": "acme", "ＡCME": "acme", "globex-": "acme", "globex-moves": "", "dana.": "other", "left": "",
			"+4930901820": "acme", "4930 901": "acme", "+49 (30) 9": "acme", "+49": "acme other", "30901820": "", "+": "", "49a": "",
			"DE136695976": "acme", "DE13": "acme", "de13": "", "0001": "acme", " 000101300003 ": "acme", "101300003": "", "de-vat": "",
			"100%": "other", "100_": "", "100": "other third", "1%": "", "%": "", "_": "", "100% cotton_": "other", "100% cottonx": "",
			"o": "other", "vendor": "", "\U0010fffd z": "", "z": "",
		} {
			w.lists(fmt.Sprintf("%q", search), w.vendor, partner.PartnerFilter{Search: search}, strings.Fields(want)...)
		}
	})
}

// TestBEY05_SearchTellsNothing of organisations that a list shows not whole, but their names; and nothing of others.
func TestBEY05_SearchTellsNothing(t *testing.T) {
	each(t, func(w *world) {
		fill := func(of partner.ID, number string) func(*partner.Agreement) {
			return func(a *partner.Agreement) {
				a.Parent, a.Phone, a.TaxIDs = of, "+493000000"+number, []partner.TaxID{{Scheme: "de-vat", Value: "DE" + number}}
			}
		}
		top, admin := w.partner("top", fill("", "1"))
		below, boss := w.partner("below", fill(top.ID, "2"))
		w.project(boss, "below-project")
		w.partner("apart", fill("", "3"))
		search := func(ctx context.Context, text string, want ...string) {
			w.t.Helper()
			var ids []string
			for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
				return w.reg.Partners.List(ctx, partner.PartnerFilter{Search: text}, r)
			}) {
				w.must(err)
				ids = append(ids, strings.TrimPrefix(p.Name, "Partner "))
			}
			slices.Sort(ids)
			if !slices.Equal(ids, want) {
				w.t.Errorf("%q finds %q, want %q", text, ids, want)
			}
		}
		for _, secret := range []string{"+4930000002", "below-project", "DE2"} {
			search(admin, secret)
			search(boss, secret, "below")
		}
		for _, all := range []string{"+49300000", "DE"} {
			search(admin, all, "top")
			search(w.vendor, all, "apart", "below", "top")
		}
		search(admin, "partner", "below", "top")
		search(admin, "partner b", "below")
		search(admin, "below") // its log-in name, and no beginning of its name
		search(admin, "partner apart")
		search(boss, "partner", "below")
		top, err := w.reg.Partners.Get(w.vendor, top.ID)
		w.must(err)
		w.edit(top, func(a *partner.Agreement) { a.ManagesSubPartners = true })
		for _, secret := range []string{"+4930000002", "below-project", "DE2", "below"} {
			search(admin, secret, "below")
		}
		search(admin, "DE", "below", "top")
		w.lists("under", w.vendor, partner.PartnerFilter{Search: "DE", Under: below.ID}, "below")
	})
}

func TestBEY05_WhatNobodySearchesFor(t *testing.T) {
	each(t, func(w *world) {
		w.partner("acme")
		for search, fault := range map[string]string{strings.Repeat("x", 201): "search:too_long", "a\nb": "search:format", "a\x00": "search:format",
			"\xff": "search:format", "  ": "search:format", "\u200b": "search:format"} {
			f := partner.PartnerFilter{Search: search}
			wantsFields(w.t, fmt.Sprintf("%q", search), second(w.reg.Partners.List(w.vendor, f, partner.PageRequest{})), fault)
			wantsFields(w.t, fmt.Sprintf("%q", search), w.reg.Partners.Export(w.vendor, nil, "xml", f), fault, "format:unknown_code")
		}
		w.lists("as long as may be", w.vendor, partner.PartnerFilter{Search: strings.Repeat("x", 200)})
		w.lists("nothing", w.vendor, partner.PartnerFilter{}, "acme")
		w.lists("what nobody sees", w.vendor, partner.PartnerFilter{Search: "\u3164"})
	})
}

// crowd adds partners past the SDK: "old" ones and then "new" ones, each with a log-in name and every other one with a second user. The first has very
// many, and the last has projects instead.
func (w *world) crowd(old, fresh, users int) {
	w.t.Helper()
	const number = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
	const digits = "substr('00000' || CAST(i AS TEXT), -5)"
	insert := func(tx *gorm.DB, n int, into, values string) {
		if w.db.Kind == dbtest.Postgres {
			values = strings.ReplaceAll(values, digits, "lpad(CAST(i AS TEXT), 5, '0')")
		}
		w.must(tx.Exec("INSERT INTO "+into+number+"SELECT "+values, n).Error)
	}
	w.must(w.db.Transaction(func(tx *gorm.DB) error {
		identity := func(n int, kind, prefix, where string) {
			insert(tx, n, "prm_identities (id, kind, login, login_key, email, email_key, email_verified, password_hash, epoch, version, created_at) ",
				"'idn_"+prefix+"' || "+digits+", '"+kind+"', '"+prefix+"-' || "+digits+", '"+prefix+"-' || "+digits+", '', '', FALSE, '', 0, 1, 1 FROM n WHERE "+where)
		}
		user := func(n int, prefix, of, where string) {
			insert(tx, n, "prm_users (id, identity_id, partner_id, name, role, disabled, version, created_at) ",
				"'usr_"+prefix+"' || "+digits+", 'idn_"+prefix+"' || "+digits+", "+of+", 'User', 'admin', FALSE, 1, i FROM n WHERE "+where)
		}
		account := func(n int, of, owner, prefix, identity, where string) {
			insert(tx, n, "prm_accounts (id, partner_id, owner_id, type, identity_id, name, name_key, state, blocks, epoch, region, email, company, country, phone, locale, version, created_at) ",
				"'acc_"+prefix+"' || "+digits+", "+of+", "+owner+", 'project', "+identity+", '"+prefix+"' || "+digits+", '"+prefix+"' || "+digits+
					", 'active', 0, 0, 'DE', '', '', 'DE', '', '', 1, i FROM n WHERE "+where)
		}
		for age, n := range map[string]int{"old": old, "new": fresh} {
			identity(n, "human", age, "TRUE")
			identity(n, "human", "second-"+age, "i % 2 = 0")
			at := map[string]string{"old": "1000000 + i", "new": "2000000 + i"}[age]
			insert(tx, n, `prm_partners (id, parent_id, path, depth, state, version, created_at, name, name_key, email, phone, locale, currency, more_currencies, resell,
				build, operate, manages_sub_partners, own_blocks, own_cascade, own_inherited, own_epoch, users_blocks, users_cascade, users_inherited, users_epoch, contact_id) `,
				"'prt_"+age+"' || "+digits+", NULL, '/"+age+"' || "+digits+" || '/', 1, CASE WHEN i % 50 = 0 THEN 'archived' ELSE 'active' END, 1, "+at+", '"+age+" one ' || "+digits+", '"+age+" one ' || "+digits+
					", '', '+10000' || "+digits+", '', 'EUR', '', TRUE, TRUE, TRUE, FALSE, 0, FALSE, 0, 0, 0, FALSE, 0, 0, 'usr_"+age+"' || "+digits+" FROM n")
			user(n, age, "'prt_"+age+"' || "+digits, "TRUE")
			user(n, "second-"+age, "'prt_"+age+"' || "+digits, "i % 2 = 0")
			account(n, "'prt_"+age+"' || "+digits, "'usr_"+age+"' || "+digits, age, "NULL", "i % 10 = 5")
		}
		identity(users, "human", "mass", "TRUE")
		user(users, "mass", "'prt_old00001'", "TRUE")
		identity(users, "project", "work", "TRUE")
		account(users, "'prt_old00003'", "'usr_old00003'", "work", "'idn_work' || "+digits, "TRUE")
		return nil
	}))
	if w.db.Kind == dbtest.Postgres {
		w.must(w.db.Exec("ANALYZE").Error)
	}
}

// TestBEY05_SearchAmongMany: however many match, and wherever they stand, the pages of a search are the list without what does not match.
func TestBEY05_SearchAmongMany(t *testing.T) {
	each(t, func(w *world) {
		w.crowd(2_000, 5_500, 1_500)
		all := map[string][]partner.ID{}
		note := func(p partner.Partner, begins ...string) {
			for _, b := range begins {
				all[b] = append(all[b], p.ID)
			}
		}
		for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
			return w.reg.Partners.List(w.vendor, partner.PartnerFilter{}, r)
		}) {
			w.must(err)
			age, n, _ := strings.Cut(p.Name, " one ")
			note(p, age, age+" one", age+"-", "+1")
			if last := n[4] - '0'; last%2 == 0 {
				note(p, "second", "second-"+age)
			}
			if strings.HasPrefix(n, "010") {
				note(p, age+" one 010", "+10000 010")
			}
			if p.ID == "prt_old00001" {
				note(p, "mass")
			}
			if p.ID == "prt_old00003" {
				note(p, "work-0", "work-00001")
				if p.Accounts != 1_500 {
					w.t.Errorf("%d accounts", p.Accounts)
				}
			}
		}
		if len(all["old"]) != 1_960 || len(all["mass"]) != 1 {
			w.t.Fatalf("%d old ones, %d with very many users", len(all["old"]), len(all["mass"]))
		}
		for _, search := range []string{"old", "old one", "old-", "new", "+1", "second", "second-old", "old one 010", "new one 010", "+10000 010", "mass", "work-0", "work-00001", "nobody"} {
			for _, limit := range []int{500, 33} {
				w.pages(search, limit, all[search])
			}
		}
	})
}

// pages walks the pages of a search.
func (w *world) pages(search string, limit int, want []partner.ID) {
	w.t.Helper()
	var got []partner.ID
	next := partner.PageRequest{Limit: limit}
	for len(got) < 5*limit { // some pages tell
		page, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{Search: search}, next)
		w.must(err)
		for _, p := range page.Items {
			got = append(got, p.ID)
		}
		if next.After = page.Next; page.Next == "" {
			break
		}
		if len(page.Items) != limit {
			w.t.Fatalf("%q by %d: a page of %d", search, limit, len(page.Items))
		}
	}
	if next.After != "" && len(got) <= len(want) {
		want = want[:len(got)]
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%q by %d finds %d, want %d, in the list's order", search, limit, len(got), len(want))
	}
}

func TestBEY05_ACursorIsOfItsSearch(t *testing.T) {
	each(t, func(w *world) {
		for i := range 3 {
			w.partner(fmt.Sprint("acme", i))
		}
		one := partner.PageRequest{Limit: 1}
		page, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{Search: "acme"}, one)
		w.must(err)
		one.After = page.Next
		for _, other := range []string{"", "acm", "ACME"} {
			wants(w.t, other, second(w.reg.Partners.List(w.vendor, partner.PartnerFilter{Search: other}, one)), partner.ErrInvalid)
		}
		w.must(second(w.reg.Partners.List(w.vendor, partner.PartnerFilter{Search: "acme"}, one)))
	})
}
