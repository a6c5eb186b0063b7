package partner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// together runs f n times at once and returns what each answered.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// is fails unless err matches want, and exactly one kind.
func (w *world) is(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) || len(kindsOf(err)) != 1 {
		w.t.Fatalf("got %v (%v), want %v", err, kindsOf(err), want)
	}
}

// faulty fails unless err is a ValidationError of exactly these fields.
func (w *world) faulty(err error, want string) {
	w.t.Helper()
	if got := fields(err); got != want || len(kindsOf(err)) != 1 {
		w.t.Fatalf("got %v: %q, want %q", err, got, want)
	}
}

// projects counts what the vendor sees.
func (w *world) projects() (n int) {
	w.t.Helper()
	for _, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Account], error) {
		return w.reg.Accounts.List(w.vendor, partner.AccountFilter{}, r)
	}) {
		w.must(err)
		n++
	}
	return n
}

func TestCLW01_TenThousandProjects(t *testing.T) {
	const many = 10_000
	n := many
	if testing.Short() {
		n = 500
	}
	atOnce(t, func(w *world) {
		_, me := w.partner("acme")
		opened := make([]partner.AccountID, n)
		for from := 0; from < n; from += 500 { // in host transactions: the test is about number, not about commits
			w.must(w.db.Transaction(func(tx *gorm.DB) error {
				in := w.reg.In(tx)
				for i := from; i < from+500; i++ {
					p := newProject(fmt.Sprint("p", i))
					p.Password = "" // a password would have to be prepared
					a, err := in.Accounts.OpenProject(me, p)
					if err != nil {
						return err
					}
					opened[i] = a.ID
				}
				return nil
			}))
		}
		i := n
		for a, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Account], error) {
			return w.reg.Accounts.List(me, partner.AccountFilter{}, r)
		}) {
			w.must(err)
			if i--; i < 0 || a.ID != opened[i] || a.Project.Login != fmt.Sprint("p", i) {
				w.t.Fatalf("item %d is %s %s", n-i, a.ID, a.Name)
			}
		}
		if i != 0 {
			w.t.Fatalf("%d projects are missing", i)
		}
	})
}

func TestCLW01_NeedsOperate(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme", func(a *partner.Agreement) { a.Capabilities = []partner.Capability{partner.Resell, partner.Build} })
		_, err := w.reg.Accounts.OpenProject(me, newProject("one"))
		w.is(err, partner.ErrForbidden)
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Capabilities = []partner.Capability{partner.Operate} })
		w.must(err)
		one := w.project(me, "one")
		// Taking it away stops new work only.
		_, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Capabilities = []partner.Capability{} })
		w.must(err)
		_, err = w.reg.Accounts.OpenProject(me, newProject("two"))
		w.is(err, partner.ErrForbidden)
		w.must(w.reg.Access.SwitchTo(me, one.ID))
		_, err = w.reg.Accounts.EditProject(me, one.ID, one.Version, func(n *partner.NewProject) { n.Company = "New" })
		w.must(err)
		for _, ctx := range []context.Context{w.vendor, w.login("one"), context.Background()} {
			_, err := w.reg.Accounts.OpenProject(ctx, newProject("three"))
			w.is(err, partner.ErrForbidden)
		}
	})
}

// TestCLW02_LifecycleByOneSession never logs in to the project.
func TestCLW02_LifecycleByOneSession(t *testing.T) {
	each(t, func(w *world) {
		p, me, a := w.supplied(10)
		if a.State != "active" || a.Partner != p.ID || a.Type != "project" || a.Region != "DE" || a.Version != 1 || len(a.Blocks) != 0 {
			w.t.Fatalf("project %+v", a)
		}
		two := w.project(me, "two")
		_, err := w.seats.Assign(me, a.ID, "seat", 6)
		w.must(err)
		w.must(w.reg.Access.SwitchTo(me, a.ID))
		_, err = w.seats.Assign(me, two.ID, "seat", 2, license.From(a.ID))
		w.must(err)
		_, err = w.seats.Return(me, "seat", 1)
		w.must(err)
		w.must(w.reg.Access.SwitchBack(me))
		a, err = w.reg.Accounts.EditProject(me, a.ID, a.Version, func(n *partner.NewProject) { n.Name = "Renamed" })
		w.must(err)
		w.must(w.reg.Accounts.SetProjectPassword(me, a.ID, "another long secret"))
		_, err = w.reg.Accounts.ResetProjectPassword(me, a.ID)
		w.must(err)
		preview, err := w.reg.Accounts.PreviewClose(me, a.ID)
		w.must(err)
		done, err := w.reg.Accounts.Close(me, a.ID)
		w.must(err)
		if preview.Licenses["seat"] != 3 || done.Licenses["seat"] != 3 {
			w.t.Fatalf("preview %v, close %v", preview, done)
		}
		a, err = w.reg.Accounts.Get(me, a.ID)
		w.must(err)
		if a.State != "closing" || a.Name != "Renamed" || strings.Join(a.Blocks, " ") != "closing" {
			w.t.Fatalf("project %+v", a)
		}
		if got := w.available(me, p.ID, "seat"); got != 8 {
			w.t.Fatalf("pool %d, want 8", got)
		}
		w.sound()
	})
}

func TestCLW04_NameUniquePerPartner(t *testing.T) {
	each(t, func(w *world) {
		_, acme := w.partner("acme")
		_, bolt := w.partner("bolt")
		open := func(me context.Context, name, login string) (partner.Account, error) {
			p := newProject(login)
			p.Name = name
			return w.reg.Accounts.OpenProject(me, p)
		}
		first, err := open(acme, "Straße Ⅳ", "one")
		w.must(err)
		for i, same := range []string{"Straße Ⅳ", "STRASSE IV", "strasse iv", "  Straße   Ⅳ", "Ｓtraße Ⅳ", "Straße\u00a0IV", "Stra\u00adße\u200b \u2060Ⅳ\ufe0f"} {
			_, err := open(acme, same, fmt.Sprint("other", i))
			w.faulty(err, "name:taken")
		}
		_, err = open(acme, "STRASSE IV", "one") // both at once
		w.faulty(err, "login:taken name:taken")
		other, err := open(bolt, "Straße Ⅳ", "two") // free for another partner
		w.must(err)
		if first.Name != "Straße Ⅳ" || other.Name != "Straße Ⅳ" {
			w.t.Fatalf("names %q, %q are not as typed", first.Name, other.Name)
		}
		next, err := open(acme, "Next", "three")
		w.must(err)
		_, err = w.reg.Accounts.EditProject(acme, next.ID, next.Version, func(n *partner.NewProject) { n.Name = "strasse iv" })
		w.faulty(err, "name:taken")
		_, err = w.reg.Accounts.Close(acme, first.ID) // a closing project keeps its name until it is deleted
		w.must(err)
		_, err = open(acme, "Straße Ⅳ", "four")
		w.faulty(err, "name:taken")
		w.must(w.db.Exec("UPDATE prm_accounts SET state = 'deleted' WHERE id = ?", first.ID).Error)
		_, err = open(acme, "Straße Ⅳ", "four")
		w.must(err)
	})
}

func TestCLW04_ConcurrentCreatesOneWins(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		won := 0
		for i, err := range together(20, func(i int) error {
			p := newProject(fmt.Sprint("login", i))
			p.Name = []string{"Office Move", "OFFICE MOVE", "office  move"}[i%3]
			_, err := w.reg.Accounts.OpenProject(me, p)
			return err
		}) {
			if err == nil {
				won++
			} else if fields(err) != "name:taken" {
				w.t.Errorf("caller %d: %v", i, err)
			}
		}
		if won != 1 || w.projects() != 1 {
			w.t.Fatalf("%d callers won, %d projects", won, w.projects())
		}
	})
}

// TestCLW06_RequiredFields: every failing field is named at once.
func TestCLW06_RequiredFields(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		_, err := w.reg.Accounts.OpenProject(me, partner.NewProject{})
		w.faulty(err, "name:required company:required login:required email:required country:required")
		_, err = w.reg.Accounts.OpenProject(me, partner.NewProject{Name: "\n", Company: " ", Login: "a@b", Email: "nobody", Country: "XX",
			Phone: "12", Locale: "no locale", Password: "short", Key: "\x00"})
		w.faulty(err, "name:required company:required login:format locale:unknown_code key:format email:format country:unknown_code phone:format password:weak")
		for _, sentinel := range []error{partner.ErrUnknownCode, partner.ErrWeakPassword, partner.ErrInvalid} {
			if !errors.Is(err, sentinel) {
				w.t.Errorf("%v is not %v", err, sentinel)
			}
		}
		if n := w.projects(); n != 0 {
			w.t.Fatalf("%d projects were saved", n)
		}
	})
}

// TestCLW08_LoginSharesTheNamespace: the delegated log-in is one name among all of the installation.
func TestCLW08_LoginSharesTheNamespace(t *testing.T) {
	each(t, func(w *world) {
		_, acme := w.partner("acme")
		_, bolt := w.partner("bolt")
		a := w.project(acme, "Globex")
		if a.Project.Login != "Globex" {
			w.t.Fatalf("login %q is not as typed", a.Project.Login)
		}
		for _, taken := range []string{"acme", "BOLT", "globex", "Ｇlobex"} {
			p := newProject("fresh")
			p.Login = taken
			_, err := w.reg.Accounts.OpenProject(bolt, p)
			w.faulty(err, "login:taken")
		}
		_, err := w.reg.Partners.Create(w.vendor, agreement("gLOBEX"))
		w.faulty(err, "login:taken")
		w.login("GLOBEX")
		won := 0
		for _, err := range together(10, func(i int) error {
			p := newProject("same")
			p.Name = fmt.Sprint("Project ", i)
			_, err := w.reg.Accounts.OpenProject([]context.Context{acme, bolt}[i%2], p)
			return err
		}) {
			if err == nil {
				won++
			} else if fields(err) != "login:taken" {
				w.t.Error(err)
			}
		}
		if won != 1 {
			w.t.Fatalf("%d callers got the name", won)
		}
	})
}

func TestCLW09_PasswordAsHashOnly(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		p := newProject("one")
		p.Password = "canary-4711-canary"
		_, err := w.reg.Accounts.OpenProject(me, p)
		w.must(err)
		tables := []string{"prm_identities", "prm_accounts", "prm_events", "prm_deliveries", "prm_keys", "prm_sessions", "prm_throttles"}
		for _, table := range tables {
			var rows []map[string]any
			w.must(w.db.Table(table).Find(&rows).Error)
			if text := fmt.Sprint(rows); strings.Contains(text, "canary-4711") {
				w.t.Errorf("%s holds the password", table)
			}
		}
		_, err = w.reg.Access.Login(context.Background(), "one", "canary-4711-canary", "")
		w.must(err)
	})
}

func TestCLW09_EmptyPasswordRefuses(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		p := newProject("one")
		p.Password = ""
		a, err := w.reg.Accounts.OpenProject(me, p)
		w.must(err)
		for _, guess := range []partner.Secret{"", "plain:", password} {
			_, err = w.reg.Access.Login(context.Background(), "one", guess, "")
			w.is(err, partner.ErrBadCredentials)
		}
		w.faulty(w.reg.Accounts.SetProjectPassword(me, a.ID, "seven77"), "password:weak")
		w.is(w.reg.Accounts.SetProjectPassword(me, a.ID, ""), partner.ErrWeakPassword)
		_, err = w.reg.Access.Login(context.Background(), "one", "seven77", "")
		w.is(err, partner.ErrBadCredentials)
		w.must(w.reg.Accounts.SetProjectPassword(me, a.ID, password))
		w.login("one")
	})
}

// TestCLW09_NotByAnOrganisationAbove: PIL-15 lets a managing parent work below, but leaves passwords to the partner itself.
func TestCLW09_NotByAnOrganisationAbove(t *testing.T) {
	each(t, func(w *world) {
		top, above := w.partner("top", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		_, me := w.partner("acme", under(top.ID))
		a := w.project(me, "one")
		if err := w.reg.Accounts.SetProjectPassword(above, a.ID, "chosen by the parent"); !errors.Is(err, partner.ErrForbidden) {
			w.t.Errorf("SetProjectPassword by a managing parent: %v, want forbidden", err)
		}
		if _, err := w.reg.Accounts.ResetProjectPassword(above, a.ID); !errors.Is(err, partner.ErrForbidden) {
			w.t.Errorf("ResetProjectPassword by a managing parent: %v, want forbidden", err)
		}
		w.login("one")
	})
}

func TestCLW10_PhoneNormalise(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		for i, c := range []struct{ raw, want string }{
			{"", ""}, {"+49 (30) 1234-567", "+49301234567"}, {"+1.415.555.2671", "+14155552671"},
			{"030 1234567", "-"}, {"+0 123 456 789", "-"}, {"+1234567", "-"}, {"+1234567890123456", "-"}, {"+49 30 CALL-ME", "-"}, {"+٤٩٣٠١٢٣٤٥٦٧", "-"},
		} {
			p := newProject(fmt.Sprint("p", i))
			p.Phone = c.raw
			a, err := w.reg.Accounts.OpenProject(me, p)
			if c.want == "-" {
				w.faulty(err, "phone:format")
				continue
			}
			w.must(err)
			if a.Project.Phone != c.want {
				w.t.Errorf("%q is kept as %q, want %q", c.raw, a.Project.Phone, c.want)
			}
		}
	})
}

// TestCLW10_PhonesOfTheHost: the host's reader gets the number as typed and the country in capitals, and has to answer in E.164.
func TestCLW10_PhonesOfTheHost(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		var asked []string
		w := newWorld(t, db, func(o *partner.Options) {
			o.Phones = func(raw, country string) (string, error) {
				asked = append(asked, raw+" of "+country)
				if strings.HasPrefix(raw, "+") {
					return raw, nil // "+49" as it is: not E.164, and must not get in
				}
				if country != "DE" {
					return "", errors.New("only German numbers")
				}
				return "+49" + strings.TrimPrefix(raw, "0"), nil
			}
		})
		_, me := w.partner("acme")
		p := newProject("one")
		p.Country, p.Phone = "de", "0301234567"
		a, err := w.reg.Accounts.OpenProject(me, p)
		w.must(err)
		if a.Project.Phone != "+49301234567" || len(asked) != 1 || asked[0] != "0301234567 of DE" {
			w.t.Fatalf("phone %q, asked %q", a.Project.Phone, asked)
		}
		p = newProject("two")
		p.Country, p.Phone = "FR", "0301234567"
		_, err = w.reg.Accounts.OpenProject(me, p)
		w.faulty(err, "phone:format")
		p.Country, p.Phone = "DE", "+49"
		_, err = w.reg.Accounts.OpenProject(me, p)
		w.faulty(err, "phone:format")
	})
}

func TestCLW26_EditProject(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		_, foreign := w.partner("bolt")
		a := w.project(me, "one")
		edited, err := w.reg.Accounts.EditProject(me, a.ID, a.Version, func(n *partner.NewProject) {
			n.Name, n.Email, n.Company, n.Phone, n.Locale = "New name", " new@customer.example ", "New company", "+49 30 1234567", "de-AT"
		})
		w.must(err)
		want := *a.Project
		want.Key = ""
		want.Name, want.Email, want.Company, want.Phone, want.Locale = "New name", "new@customer.example", "New company", "+49301234567", "de-AT"
		if *edited.Project != want || edited.Name != "New name" || edited.Version != a.Version+1 || edited.Region != a.Region {
			w.t.Fatalf("edited %+v, project %+v", edited, edited.Project)
		}
		read, err := w.reg.Accounts.Get(me, a.ID)
		w.must(err)
		if *read.Project != want {
			w.t.Fatalf("read %+v, want %+v", read.Project, want)
		}
		_, err = w.reg.Accounts.EditProject(me, a.ID, a.Version, func(n *partner.NewProject) { n.Name = "Too late" })
		w.is(err, partner.ErrConflict)
		for what, change := range map[string]func(*partner.NewProject){
			"login":    func(n *partner.NewProject) { n.Login = "other" },
			"password": func(n *partner.NewProject) { n.Password = "another long secret" },
			"partner":  func(n *partner.NewProject) { n.Partner = "prt_other" },
			"key":      func(n *partner.NewProject) { n.Key = "k" },
		} {
			if _, err := w.reg.Accounts.EditProject(me, a.ID, edited.Version, change); !errors.Is(err, partner.ErrImmutable) {
				w.t.Errorf("edit of %s: %v", what, err)
			}
		}
		_, err = w.reg.Accounts.EditProject(me, a.ID, edited.Version, func(n *partner.NewProject) { n.Name, n.Email, n.Company = "", "", "" })
		w.faulty(err, "name:required company:required email:required")
		for _, ctx := range []context.Context{w.vendor, w.login("one")} {
			_, err = w.reg.Accounts.EditProject(ctx, a.ID, edited.Version, func(n *partner.NewProject) { n.Name = "Mine" })
			w.is(err, partner.ErrForbidden)
		}
		_, err = w.reg.Accounts.EditProject(foreign, a.ID, edited.Version, func(n *partner.NewProject) { n.Name = "Mine" })
		w.is(err, partner.ErrNotFound)
		_, err = w.reg.Accounts.Close(me, a.ID)
		w.must(err)
		_, err = w.reg.Accounts.EditProject(me, a.ID, edited.Version+1, func(n *partner.NewProject) { n.Name = "Gone" })
		w.is(err, partner.ErrBlocked)
	})
}

// TestCLW26_LostUpdate: of many editors who looked at the same version, one wins and the others learn it.
func TestCLW26_LostUpdate(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		a := w.project(me, "one")
		won := 0
		for _, err := range together(10, func(i int) error {
			_, err := w.reg.Accounts.EditProject(me, a.ID, a.Version, func(n *partner.NewProject) { n.Company = fmt.Sprint("Company ", i) })
			return err
		}) {
			if err == nil {
				won++
			} else {
				w.is(err, partner.ErrConflict)
			}
		}
		if won != 1 {
			w.t.Fatalf("%d editors won", won)
		}
	})
}
