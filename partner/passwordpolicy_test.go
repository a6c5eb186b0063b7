package partner_test

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// policyVectors are frozen: a password that was good enough must not be refused by a later version unheard.
var policyVectors = []struct {
	password        string
	simple, complex string // what it is too weak for: part of the message, "" if it is not
}{
	{"sevench", "at least 8", "at least 12"},
	{"password", "most common", "at least 12"},
	{"PassWord", "most common", "at least 12"},
	{"1q2w3e4r5t6y", "most common", "most common"},
	{"drowssap", "most common", "at least 12"},
	{"zX9$kq!v", "", "at least 12"},
	{"zX9$kq!vB2#m", "", ""},
	{"correct horse battery", "", "43 of 60"},
	{"correct horse battery staple", "", ""},
	{"Tr0ub4dour&3xyz", "", "35 of 60"},
	{"aaaaaaaaaaaaaaaa", "", "of 60"},
	{"qwertyuiop[]asdf", "", "22 of 60"},
	{"1234567890123456789012345", "", "16 of 60"},
	{"Globex Integrators! acme", "", "of 60"}, // its own names
	{"boss@globex.example", "", "of 60"},
	{"пароль длинный очень", "", ""},
	{"日本語日本語日本語日本語", "", ""},
	{"e\u0301e\u0301e\u0301e\u0301", "at least 8", "at least 12"}, // four letters, however they are composed
	{strings.Repeat("zX9$kq!vB2#m ", 300), "", ""},
}

// TestPIL23_FrozenVectors asks for an agreement with each password under both policies.
func TestPIL23_FrozenVectors(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.SQLite))
	for _, v := range policyVectors {
		for policy, want := range map[string]string{"": v.simple, "simple": v.simple, "complex": v.complex} {
			a := agreement("acme")
			a.Name, a.Email, a.Password, a.PasswordPolicy = "Globex Integrators", "boss@globex.example", partner.Secret(v.password), policy
			_, err := w.reg.Partners.Prepare(w.vendor, a)
			if want == "" {
				if err != nil {
					t.Errorf("%.30q under %q: %v", v.password, policy, err)
				}
				continue
			}
			wantsFields(t, v.password, err, "password:weak")
			wants(t, v.password, err, partner.ErrWeakPassword)
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%.30q under %q: %v, want %q", v.password, policy, err, want)
			}
		}
	}
}

// TestPIL23_CommonPasswordsAreRefused has the 10,000 most common ones, as they are and in capitals.
func TestPIL23_CommonPasswordsAreRefused(t *testing.T) {
	text, err := os.ReadFile("../../shared/hostile/passwords/zxcvbn_top10000.txt")
	if err != nil {
		t.Skip("the list of common passwords is not here")
	}
	w := newWorld(t, dbtest.New(t, dbtest.SQLite))
	list := strings.Fields(string(text))
	if len(list) != 10_000 {
		t.Fatalf("%d passwords", len(list))
	}
	for _, p := range list {
		for _, p := range []string{p, strings.ToUpper(p)} {
			a := agreement("acme")
			a.Password = partner.Secret(p)
			wantsFields(t, p, second(w.reg.Partners.Prepare(w.vendor, a)), "password:weak")
		}
	}
}

// TestPIL23_ThePartnersPolicyHoldsForItsAdminAndProjects, from the next password on, and for sub-partners their own.
func TestPIL23_ThePartnersPolicyHoldsForItsAdminAndProjects(t *testing.T) {
	each(t, func(w *world) {
		const weak, strong = "only ten ch", "correct horse battery staple"
		p, me := w.partner("acme", func(a *partner.Agreement) { a.ManagesSubPartners = true })
		if p.PasswordPolicy != "simple" {
			w.t.Errorf("the policy is %q", p.PasswordPolicy)
		}
		low, _ := w.partner("low", under(p.ID))
		one := w.project(me, "one")
		p = w.edit(p, func(a *partner.Agreement) { a.PasswordPolicy = "complex" })
		in := newProject("two")
		in.Password = weak
		w.faulty(second(w.reg.Accounts.OpenProject(me, in)), "password:weak")
		in.Name = ""
		w.faulty(second(w.reg.Accounts.OpenProject(me, in)), "name:required password:weak")
		w.faulty(second(w.reg.Accounts.Prepare(me, in)), "name:required password:weak")
		in.Name, in.Partner = "Two", low.ID // whose policy is simple, but nobody chooses a password from above
		wants(w.t, "from above", second(w.reg.Accounts.OpenProject(me, in)), partner.ErrForbidden)
		in.Password = ""
		w.must(second(w.reg.Accounts.OpenProject(me, in)))
		in.Login, in.Name, in.Partner, in.Password = "three", "Three", "", weak
		w.must(second(w.reg.Accounts.OpenProject(w.login("low"), in)))
		w.faulty(w.reg.Accounts.SetProjectPassword(me, one.ID, weak), "password:weak")
		w.faulty(w.reg.Access.ChangePassword(me, password, weak), "new:weak")
		w.faulty(w.reg.Access.ChangePassword(w.login("one"), password, "globex one@customer.example one"), "new:weak")
		w.must(w.reg.Access.ChangePassword(w.login("one"), password, strong))
		w.must(w.reg.Accounts.SetProjectPassword(me, one.ID, "another "+strong))
		w.must(second(w.reg.Accounts.ResetProjectPassword(me, one.ID)))
		w.must(w.reg.Access.ChangePassword(me, password, strong))
		_, err := w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.PasswordPolicy = "" })
		wants(w.t, "its own admin", err, partner.ErrForbidden)
		a := agreement("other")
		a.PasswordPolicy = "strict"
		w.faulty(second(w.reg.Partners.Create(w.vendor, a)), "password_policy:unknown_code")
	})
}

// TestPIL23_TheHostReplacesThePolicy and is told whose password it is; it is never asked inside a transaction.
func TestPIL23_TheHostReplacesThePolicy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		pool, err := db.DB.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(1)
		var mu sync.Mutex
		var asked []string
		w := newWorld(t, db, func(o *partner.Options) {
			o.WeakPassword = func(policy string, password partner.Secret, about []string) string {
				mu.Lock()
				defer mu.Unlock()
				slices.Sort(about)
				asked = append(asked, policy+": "+strings.Join(about, ", "))
				if err := db.Exec("SELECT 1").Error; err != nil {
					return err.Error()
				}
				if strings.Contains(string(password), "!") {
					return ""
				}
				return "needs a bang"
			}
		})
		a := agreement("acme")
		w.faulty(second(w.reg.Partners.Create(w.vendor, a)), "password:weak")
		a.Password, a.PasswordPolicy = "!", "complex"
		p, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		s, err := w.reg.Access.Login(t.Context(), "acme", "!", "")
		w.must(err)
		me := partner.WithSession(t.Context(), s)
		in := newProject("one")
		w.faulty(second(w.reg.Accounts.OpenProject(me, in)), "password:weak")
		in.Password = "!!"
		one, err := w.reg.Accounts.OpenProject(me, in)
		w.must(err)
		w.must(w.reg.Accounts.SetProjectPassword(me, one.ID, "!"))
		w.must(w.reg.Access.ChangePassword(me, "!", "!!"))
		project := "complex" + ": Partner acme, Project one, one, one@customer.example"
		want := []string{"simple: Partner acme, acme, acme@partner.example", "complex" + ": Partner acme, acme, acme@partner.example",
			project, project, project, "complex" + ": Partner acme, acme, acme@partner.example"}
		if !slices.Equal(asked, want) {
			t.Errorf("%s was asked about %q, want %q", p.ID, asked, want)
		}
	})
}
