package partner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// corpus reads one of the shared lists.
func corpus[T any](t *testing.T, name string) (list []T) {
	t.Helper()
	text, err := os.ReadFile("../../shared/hostile/" + name)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the hostile lists are not here")
	}
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// strangeTexts are the naughty strings, the amounts, and what JSON cannot hold or nobody listed.
func strangeTexts(t *testing.T) []string {
	list := append(corpus[string](t, "strings/blns.json"), corpus[string](t, "money/amounts.json")...)
	if testing.Short() {
		var some []string
		for i := 0; i < len(list); i += 17 {
			some = append(some, list[i])
		}
		list = some
	}
	return append(list, "\x00", "a\x00b", "prt_\x00", "acc_\x00", "\xff\xfe", "a\xc3", "\xed\xa0\x80", "\ufffe", "\u2028", "a\nb", "\u00a0", "e\u0301",
		strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("\U0001F600", 200), strings.Repeat("\u0301", 5000), strings.Repeat("a", 1<<20))
}

// own are the texts for this database: of the long list every other one, so that both together take all of it, and the last ones, which are about
// what a database can hold.
func (w *world) own(texts []string) (list []string) {
	const both = 20
	for i, text := range texts {
		if i >= len(texts)-both || i%2 == map[string]int{dbtest.SQLite: 0, dbtest.Postgres: 1}[w.db.Kind] {
			list = append(list, text)
		}
	}
	return list
}

// trial is one call of a hostile test: it must answer within a second, with success that holds or an error of exactly one kind that
// the caller can do something about.
func (w *world) trial(what, input string, call func() error) {
	w.t.Helper()
	if len(input) > 60 {
		input = fmt.Sprintf("%.60s… (%d bytes)", input, len(input))
	}
	defer func() {
		if r := recover(); r != nil {
			w.t.Errorf("%s with %q panics: %v", what, input, r)
		}
	}()
	var err error
	for try := 1; ; try++ { // a slow machine may be slow once
		begin := time.Now()
		err = call()
		if time.Since(begin) < time.Second {
			break
		}
		if try == 3 {
			w.t.Errorf("%s with %q takes over a second", what, input)
			break
		}
	}
	if kinds := kindsOf(err); err != nil && (len(kinds) != 1 || errors.Is(err, partner.ErrUnavailable)) {
		w.t.Errorf("%s with %q: %v (kinds %v)", what, input, err, kinds)
	}
}

// hexHasher keeps any bytes as text that every database takes.
type hexHasher struct{}

func (hexHasher) Hash(_ context.Context, p []byte) (string, error) { return fmt.Sprintf("%x", p), nil }

func (hexHasher) Verify(_ context.Context, hash string, p []byte) (ok, renew bool, err error) {
	return hash == fmt.Sprintf("%x", p), false, nil
}

// hostile runs a test on a world per database that takes every password.
func hostile(t *testing.T, test func(w *world)) {
	t.Helper()
	dbtest.AtOnce(t, func(t *testing.T, db *dbtest.Database) {
		test(newWorld(t, db, func(o *partner.Options) { o.Hasher = hexHasher{} }))
	})
}

// place is one string or number of an input struct, alone or in a list.
type place struct {
	name  string
	index int
}

// places finds, by reflection, every exported field that a caller can fill with text, or with a number.
func places(of any, number bool) (list []place) {
	typ := reflect.TypeOf(of)
	for i := range typ.NumField() {
		f := typ.Field(i)
		kind := f.Type.Kind()
		if kind == reflect.Slice {
			kind = f.Type.Elem().Kind()
		}
		if f.IsExported() && (!number && kind == reflect.String || number && kind == reflect.Int64) {
			list = append(list, place{f.Name, i})
		}
	}
	return list
}

// put fills the place of a pointer to struct.
func (p place) put(in any, text string) {
	f := reflect.ValueOf(in).Elem().Field(p.index)
	if f.Kind() == reflect.Slice {
		one := reflect.New(f.Type().Elem()).Elem()
		one.SetString(text)
		f.Set(reflect.Append(reflect.Zero(f.Type()), one))
		return
	}
	f.SetString(text)
}

// get reads the place of a struct as text.
func (p place) get(in any) string {
	f := reflect.ValueOf(in).Field(p.index)
	if f.Kind() == reflect.Slice {
		if f.Len() != 1 {
			return fmt.Sprint(f.Len(), " entries")
		}
		f = f.Index(0)
	}
	return f.String()
}

// kept is how a text in this place comes back: as typed, but for what the rules normalise.
func (p place) kept(text string) string {
	switch p.name {
	case "Email":
		return strings.TrimSpace(text)
	case "Phone":
		return strings.NewReplacer(" ", "", "-", "", ".", "", "(", "", ")", "").Replace(text)
	case "Country":
		return strings.ToUpper(text)
	}
	return text
}

// same fails unless what was read back is what was given.
func (p place) same(w *world, given string, read any) {
	w.t.Helper()
	if got := p.get(read); got != p.kept(given) && given != "" {
		w.t.Errorf("%s %q comes back as %q", p.name, given, got)
	}
}

func TestPIL01_HostileAgreements(t *testing.T) {
	texts, numbers := strangeTexts(t), corpus[int64](t, "money/quantities.json")
	hostile(t, func(w *world) {
		n := 0
		add := func(fill func(*partner.Agreement), check func(partner.Partner, partner.Agreement)) error {
			n++
			a := agreement(fmt.Sprint("login", n))
			fill(&a)
			p, err := w.reg.Partners.Create(w.vendor, a)
			if err == nil {
				read, err := w.reg.Partners.Get(w.vendor, p.ID)
				w.must(err)
				read.Key = p.Key // which a read never tells
				check(read, a)
			}
			return err
		}
		for _, at := range places(partner.Agreement{}, false) {
			for _, text := range w.own(texts) {
				w.trial("Create."+at.name, text, func() error {
					return add(func(a *partner.Agreement) { at.put(a, text) }, func(p partner.Partner, a partner.Agreement) {
						if at.name == "Password" || at.name == "Login" {
							_, err := w.reg.Access.Login(context.Background(), a.Login, a.Password, "")
							w.must(err)
						}
						if at.name != "Password" {
							at.same(w, text, p.Agreement)
						}
					})
				})
			}
		}
		for _, at := range places(partner.Agreement{}, true) {
			for _, number := range numbers {
				w.trial("Create."+at.name, fmt.Sprint(number), func() error {
					return add(func(a *partner.Agreement) { reflect.ValueOf(a).Elem().Field(at.index).SetInt(number) }, func(p partner.Partner, _ partner.Agreement) {
						if got := reflect.ValueOf(p.Agreement).Field(at.index).Int(); got != number {
							w.t.Errorf("%s %d comes back as %d", at.name, number, got)
						}
					})
				})
			}
		}
	})
}

func TestCLW06_HostileProjects(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		_, me := w.partner("acme")
		n := 0
		for _, at := range places(partner.NewProject{}, false) {
			for _, text := range w.own(texts) {
				w.trial("OpenProject."+at.name, text, func() error {
					n++
					p := newProject(fmt.Sprint("login", n))
					at.put(&p, text)
					a, err := w.reg.Accounts.OpenProject(me, p)
					if err != nil {
						w.clock.Advance(4 * time.Minute) // twenty taken names an hour may be learnt
						return err
					}
					read, err := w.reg.Accounts.Get(me, a.ID)
					w.must(err)
					if p.Password != "" && (at.name == "Password" || at.name == "Login") {
						_, err := w.reg.Access.Login(context.Background(), p.Login, p.Password, "")
						w.must(err)
					}
					read.Project.Key = a.Project.Key // which a read never tells
					if at.name != "Password" {
						at.same(w, text, *read.Project)
					}
					return nil
				})
			}
		}
	})
}

// TestCLW26_HostileEdits puts each text into the fields that an edit may change.
func TestCLW26_HostileEdits(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		for _, at := range places(partner.NewProject{}, false) {
			for _, text := range w.own(texts) {
				w.trial("EditProject."+at.name, text, func() error {
					edited, err := w.reg.Accounts.EditProject(me, a.ID, a.Version, func(p *partner.NewProject) { at.put(p, text) })
					if err != nil {
						return err
					}
					a = edited
					if at.name != "Password" && at.name != "Key" {
						at.same(w, text, *a.Project)
					}
					return nil
				})
			}
		}
	})
}

func TestCLW27_HostileTypes(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		for _, at := range places(license.Type{}, false) {
			for i, text := range w.own(texts) {
				w.trial("Define."+at.name, text, func() error {
					in := license.Type{SKU: fmt.Sprint(at.name, ".", i), Name: "Name"}
					at.put(&in, text)
					if err := w.seats.Define(w.vendor, in); err != nil {
						return err
					}
					list, err := w.seats.Types(w.vendor)
					for _, got := range list {
						if got == in {
							return err
						}
					}
					w.t.Errorf("type %+v does not come back", in)
					return err
				})
			}
		}
	})
}
