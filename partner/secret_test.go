package partner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// wants fails unless err is want, and of exactly one kind.
func wants(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", what, err, want)
	}
	if kinds := kindsOf(err); len(kinds) != 1 {
		t.Fatalf("%s: %v is of the kinds %v, want exactly one", what, err, kinds)
	}
}

// wantsFields fails unless err is a ValidationError with exactly these "path:code", in any order.
func wantsFields(t testing.TB, what string, err error, list ...string) {
	t.Helper()
	wants(t, what, err, partner.ErrInvalid)
	got := strings.Fields(fields(err))
	slices.Sort(got)
	slices.Sort(list)
	if !slices.Equal(got, list) {
		t.Fatalf("%s: %v, want the fields %v", what, err, list)
	}
}

// dump is every row of every table of the SDK as text, by table, sorted.
func dump(t testing.TB, db *dbtest.Database) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, table := range store.Tables() {
		var rows []map[string]any
		if err := db.Table(table.Name).Find(&rows).Error; err != nil {
			t.Fatal(err)
		}
		lines := make([]string, len(rows))
		for i, r := range rows {
			for _, column := range slices.Sorted(maps.Keys(r)) {
				v := r[column]
				if b, ok := v.([]byte); ok {
					v = string(b)
				}
				lines[i] += fmt.Sprintf("%s=%v ", column, v)
			}
		}
		slices.Sort(lines)
		out[table.Name] = lines
	}
	return out
}

// differing names the tables in which two dumps differ.
func differing(a, b map[string][]string) []string {
	var list []string
	for _, table := range slices.Sorted(maps.Keys(a)) {
		if !slices.Equal(a[table], b[table]) {
			list = append(list, table)
		}
	}
	return list
}

// rowsIn counts the rows of a query.
func rowsIn(t testing.TB, db *dbtest.Database, query string, args ...any) int64 {
	t.Helper()
	var n int64
	if err := db.Raw("SELECT count(*) FROM "+query, args...).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

// tamper runs raw SQL that must succeed.
func tamper(t testing.TB, db *dbtest.Database, query string, args ...any) {
	t.Helper()
	if err := db.Exec(query, args...).Error; err != nil {
		t.Fatal(err)
	}
}

// canary stands in every secret of these tests; it is found wherever one leaks, in text or as hexadecimal.
const canary = "KANARIENVOGEL"

var canaries = [][]byte{[]byte(canary), []byte(strings.ToLower(canary)), []byte(fmt.Sprintf("%x", canary)), []byte(fmt.Sprintf("%X", canary))}

// sings tells whether text holds the canary.
func sings(text []byte) bool {
	return slices.ContainsFunc(canaries, func(c []byte) bool { return bytes.Contains(text, c) })
}

// TestPIL28_NoSecretIsKeptOrLogged puts a canary into every password and gathers every token, and looks for them in all that the SDK
// writes: tables, database files, logs, errors.
func TestPIL28_NoSecretIsKeptOrLogged(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		var log bytes.Buffer
		w := newWorld(t, db, func(o *partner.Options) {
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			o.DeliverTokens = true // what waits to be mailed lies in the database until then
		})
		secrets, errs := w.useCanaries()
		more, faults := w.useCanariesInPlaces()
		secrets, errs = append(secrets, more...), append(errs, faults...)
		for table, lines := range dump(t, db) {
			for _, line := range lines {
				w.silent("table "+table, []byte(line), secrets)
			}
		}
		w.silent("the log", log.Bytes(), secrets)
		for _, format := range []string{"csv", "json"} {
			var out bytes.Buffer
			w.must(w.reg.Partners.Export(w.vendor, &out, format, partner.PartnerFilter{IncludeArchived: true}))
			w.must(w.reg.Activity.Export(w.vendor, &out, format, partner.EventFilter{}))
			w.silent("an export", out.Bytes(), secrets)
		}
		for _, err := range errs {
			if err == nil {
				t.Fatal("a call that should fail did not")
			}
			w.silent("an error", fmt.Appendf(nil, "%v %+v %#v", err, err, err), secrets)
			text, _ := json.Marshal(err)
			w.silent("an error as JSON", text, secrets)
		}
		if db.Kind != dbtest.SQLite {
			return
		}
		files, err := filepath.Glob(filepath.Join(filepath.Dir(sqliteFile(db)), "*"))
		if err != nil || len(files) < 2 { // the database and its log
			t.Fatalf("the database is %v, %v", files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			w.must(err)
			w.silent("file "+filepath.Base(f), text, secrets)
		}
	})
}

func sqliteFile(db *dbtest.Database) string {
	path, _, _ := strings.Cut(strings.TrimPrefix(db.DSN, "file:"), "?")
	return path
}

func (w *world) silent(where string, text []byte, secrets []string) {
	w.t.Helper()
	if sings(text) {
		w.t.Errorf("%s holds a password", where)
	}
	for _, s := range secrets {
		if bytes.Contains(text, []byte(s)) {
			w.t.Errorf("%s holds a token or a generated password", where)
		}
	}
}

// useCanaries goes through all verbs that take or make a secret; it returns those made, and the errors of calls that were refused.
func (w *world) useCanaries() (secrets []string, errs []error) {
	const secret, other = canary + " one", canary + " two"
	ctx := context.Background()
	a := agreement("canary-admin")
	a.Password, a.Key = secret, "key-1"
	_, err := w.reg.Partners.Create(w.vendor, a)
	w.must(err)
	a.Name = "Other"
	_, err = w.reg.Partners.Create(w.vendor, a)
	errs = append(errs, err)
	short := agreement("canary-short")
	short.Password, short.Email, short.Currency = partner.Secret(canary[:4]), "no address", "XXXX"
	_, err = w.reg.Partners.Create(w.vendor, short)
	errs = append(errs, err)
	s, err := w.reg.Access.Login(ctx, "canary-admin", secret, "203.0.113.9")
	w.must(err)
	secrets = append(secrets, string(s.Token()))
	me := partner.WithSession(ctx, s)
	in := newProject("canary-project")
	in.Password, in.Key = secret, "key-2"
	p, err := w.reg.Accounts.OpenProject(me, in)
	w.must(err)
	w.must(w.reg.Accounts.SetProjectPassword(me, p.ID, other))
	errs = append(errs, w.reg.Accounts.SetProjectPassword(me, "acc_none", other))
	made, err := w.reg.Accounts.ResetProjectPassword(me, p.ID)
	w.must(err)
	secrets = append(secrets, string(made))
	guest, err := w.reg.Access.ActFor(me, w.delegated(me, w.his(me, "canary-customer").ID, dayLong).ID)
	w.must(err)
	secrets = append(secrets, string(guest.Token()))
	w.must(w.reg.Access.ChangePassword(me, secret, other))
	errs = append(errs, w.reg.Access.ChangePassword(me, secret, other))
	u := newUser("canary-user")
	u.Password, u.Key = secret, "key-3"
	dev, err := w.reg.Users.Add(w.vendor, s.Partner, u)
	w.must(err)
	u.Name = "Other"
	errs = append(errs, second(w.reg.Users.Add(w.vendor, s.Partner, u)))
	given, err := w.reg.Users.Add(w.vendor, s.Partner, partner.NewUser{Email: "canary@user.example", Name: "C", Role: partner.Member})
	w.must(err)
	reset, err := w.reg.Users.ResetPassword(w.vendor, dev.ID)
	w.must(err)
	secrets = append(secrets, string(given.Token), string(reset))
	errs = append(errs, second(w.reg.Access.Accept(ctx, reset, partner.Acceptance{Name: "a\nb", Password: other})),
		second(w.reg.Access.Accept(ctx, canary, partner.Acceptance{Password: other})))
	for _, token := range []partner.Secret{given.Token, reset} {
		accepted, err := w.reg.Access.Accept(ctx, token, partner.Acceptance{Password: other})
		w.must(err)
		secrets = append(secrets, string(accepted.Token()))
		errs = append(errs, second(w.reg.Access.Accept(ctx, token, partner.Acceptance{Password: other})))
	}
	_, err = w.reg.Users.Edit(w.vendor, dev.ID, dev.Version, func(n *partner.NewUser) { n.Password = secret })
	errs = append(errs, err)
	_, err = w.reg.Access.Login(ctx, "canary-admin", secret, "203.0.113.9")
	errs = append(errs, err)
	_, err = w.reg.Access.Login(ctx, canary, secret, "203.0.113.9") // a password typed into the wrong box
	errs = append(errs, err)
	_, err = w.reg.Access.Resume(ctx, partner.Secret(canary))
	errs = append(errs, err)
	_, err = w.reg.Access.Resume(ctx, s.Token())
	w.must(err)
	return secrets, errs
}

// TestPIL28_SecretsPrintRedacted prints, logs and marshals every public struct that can carry a secret, each way Go knows.
func TestPIL28_SecretsPrintRedacted(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.SQLite))
	a := agreement("canary-admin")
	a.Password = canary + " one"
	prepared, err := w.reg.Partners.Prepare(w.vendor, a)
	w.must(err)
	p, err := w.reg.Partners.Create(w.vendor, prepared)
	w.must(err)
	s, err := w.reg.Access.Login(context.Background(), "canary-admin", canary+" one", "")
	w.must(err)
	in := newProject("canary-project")
	in.Password = canary + " one"
	project, err := w.reg.Accounts.Prepare(partner.WithSession(context.Background(), s), in)
	w.must(err)
	who := newUser("canary-user")
	who.Password = canary + " one"
	ready, err := w.reg.Users.Prepare(w.vendor, p.ID, who)
	w.must(err)
	user, err := w.reg.Users.Add(w.vendor, p.ID, ready)
	w.must(err)
	token := string(s.Token())
	type holder struct { // as a host keeps them in its own structs
		S partner.Secret
		M map[string]partner.Secret
		A any
	}
	secret := partner.Secret(canary)
	values := []any{
		who, &who, ready, &ready, user, &user, []partner.User{user}, a, &a, prepared, &prepared, p, &p, in, &in, project, &project, s, &s, s.Token(), secret, &secret, []partner.Secret{secret},
		[]partner.Session{s}, holder{secret, map[string]partner.Secret{"x": secret}, secret},
		partner.Message{ID: "dlv_1", Template: "welcome", To: "dev@user.example", Text: secret, Token: secret}, &partner.Message{Text: secret, Token: secret},
		partner.Acceptance{Password: secret, Outside: &partner.Outside{}}, &partner.Acceptance{Password: secret},
		partner.Options{}, partner.WithSession(context.Background(), s), w.reg, fmt.Errorf("refused %v", a),
	}
	for _, v := range values {
		for how, text := range printed(v) {
			if sings([]byte(text)) || strings.Contains(text, token) || strings.Contains(text, fmt.Sprintf("%x", token)) {
				t.Errorf("%T shows its secret by %s", v, how)
			}
		}
	}
	if got := fmt.Sprintf("%v %s %q %x %d %#v", secret, secret, secret, secret, secret, secret); strings.Count(got, "[redacted]") != 6 {
		t.Errorf("a secret prints as %s", got)
	}
	if _, err := secret.Value(); err == nil {
		t.Error("a secret can be stored")
	}
}

// TestPIL28_SecretsBehindPointersPrintRedacted prints structs that point to one with a secret: fmt follows such a pointer for a verb that
// does not fit, without asking the methods of what it finds there.
func TestPIL28_SecretsBehindPointersPrintRedacted(t *testing.T) {
	a, p, u := agreement("x"), newProject("x"), newUser("x")
	a.Password, p.Password, u.Password = canary, canary, canary
	for _, v := range []any{struct{ U *partner.NewUser }{&u}, partner.Account{Project: &p}, struct{ A *partner.Agreement }{&a}, []*partner.Agreement{&a}} {
		for how, text := range printed(v) {
			if sings([]byte(text)) {
				t.Errorf("%T shows its secret by %s", v, how)
			}
		}
	}
}

// printed is v by every road from a value to text.
func printed(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%o"} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	text, _ := json.Marshal(v)
	out["json"] = string(text)
	indented, _ := json.MarshalIndent(map[string]any{"v": v}, "", " ")
	out["json in a map"] = string(indented)
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("value", "v", v, slog.Group("g", "v", v))
		out[name] = b.String()
	}
	return out
}

// TestBEY13_AKeyRevealsNoPassword looks at the stored key: it must not change with the password, or it could be guessed from.
func TestBEY13_AKeyRevealsNoPassword(t *testing.T) {
	each(t, func(w *world) {
		a := agreement("keyed")
		a.Key = "key-1"
		first, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		a.Password = "quite another password"
		again, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		if again.ID != first.ID {
			w.t.Errorf("the same agreement with another password made %s, want %s", again.ID, first.ID)
		}
		if n := rowsIn(w.t, w.db, "prm_keys"); n != 1 {
			w.t.Errorf("%d keys are kept, want 1", n)
		}
		w.login("keyed") // the first password stands
	})
}

// TestPIL28_WhatIsPrintedIsWhole: a Format that hides one field hides no other.
func TestPIL28_WhatIsPrintedIsWhole(t *testing.T) {
	p := partner.Partner{ID: "prt_1", State: "active", Agreement: partner.Agreement{Name: "Acme", Password: canary}}
	u := partner.User{ID: "usr_1", Partner: "prt_1", NewUser: partner.NewUser{Name: "Dana", Password: canary}}
	for format, want := range map[string][]string{
		"%v": {"prt_1", "active", "Acme", "[redacted]"}, "%+v": {"ID:prt_1", "State:active", "Name:Acme", "Password:[redacted]"},
		"%#v": {`partner.Partner{ID:"prt_1"`, `State:"active"`, `Name:"Acme"`, "Password:[redacted]"},
	} {
		text := fmt.Sprintf(format, p)
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("%s prints %s, without %s", format, text, part)
			}
		}
		if sings([]byte(text)) || strings.Contains(text, "prepared") {
			t.Errorf("%s prints %s", format, text)
		}
	}
	if text := fmt.Sprintf("%+v", u); !strings.Contains(text, "ID:usr_1 Partner:prt_1") || !strings.Contains(text, "Name:Dana") || sings([]byte(text)) {
		t.Errorf("a user prints as %s", text)
	}
}
