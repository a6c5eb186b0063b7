package partner_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// plainHasher stands in for argon2id everywhere but in the password tests: it is fast, and its hashes do not hold the password.
type plainHasher struct{}

func (plainHasher) Hash(_ context.Context, p []byte) (string, error) {
	return "plain:" + sum(p), nil
}

func (plainHasher) Verify(_ context.Context, hash string, p []byte) (ok, renew bool, err error) {
	return hash == "plain:"+sum(p), false, nil
}

func sum(p []byte) string {
	s := sha256.Sum256(p)
	return hex.EncodeToString(s[:])
}

// clock is a settable time.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// Now ticks, so that no two calls see the same instant.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Millisecond)
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a registry on a fresh database, with the verbs that most tests begin with.
type world struct {
	t      *testing.T
	db     *dbtest.Database
	clock  *clock
	reg    *partner.Registry
	seats  *license.Ledger
	vendor context.Context
}

const password = "correct horse battery"

func newWorld(t *testing.T, db *dbtest.Database, change ...func(*partner.Options)) *world {
	t.Helper()
	w := &world{t: t, db: db, clock: newClock()}
	opts := &partner.Options{Clock: w.clock.Now, Hasher: plainHasher{}, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(opts)
	}
	reg, err := partner.Open(context.Background(), db.DB, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	w.reg, w.seats = reg, license.New(reg)
	w.vendor = partner.AsVendor(context.Background(), "ops@vendor.example")
	return w
}

// each runs a test on a world per database.
func each(t *testing.T, test func(w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) { test(newWorld(t, db)) })
}

// atOnce is each, with both worlds at the same time.
func atOnce(t *testing.T, test func(w *world)) {
	t.Helper()
	dbtest.AtOnce(t, func(t *testing.T, db *dbtest.Database) { test(newWorld(t, db)) })
}

// eachWith is each on a world that is set up otherwise.
func eachWith(t *testing.T, change func(*partner.Options), test func(w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) { test(newWorld(t, db, change)) })
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// agreement is a valid one with this log-in name.
func agreement(login string) partner.Agreement {
	return partner.Agreement{Name: "Partner " + login, Login: login, Email: login + "@partner.example", Password: password, Currency: "EUR"}
}

// partner creates one and returns it with a context in which its admin acts.
func (w *world) partner(login string, change ...func(*partner.Agreement)) (partner.Partner, context.Context) {
	w.t.Helper()
	a := agreement(login)
	for _, c := range change {
		c(&a)
	}
	p, err := w.reg.Partners.Create(w.vendor, a)
	w.must(err)
	return p, w.login(login)
}

func under(parent partner.ID) func(*partner.Agreement) {
	return func(a *partner.Agreement) { a.Parent = parent }
}

// login logs in with the usual password.
func (w *world) login(login string) context.Context {
	w.t.Helper()
	s, err := w.reg.Access.Login(context.Background(), login, password, "")
	w.must(err)
	return partner.WithSession(context.Background(), s)
}

// newProject is a valid one with this log-in name.
func newProject(login string) partner.NewProject {
	return partner.NewProject{Name: "Project " + login, Email: login + "@customer.example", Company: "Globex", Country: "DE", Login: login,
		Password: password}
}

func (w *world) project(me context.Context, login string) partner.Account {
	w.t.Helper()
	a, err := w.reg.Accounts.OpenProject(me, newProject(login))
	w.must(err)
	return a
}

// stock defines a sku and grants n of it.
func (w *world) stock(to partner.ID, sku string, n int64) {
	w.t.Helper()
	w.must(w.seats.Define(w.vendor, license.Type{SKU: sku, Name: "Licence " + sku}))
	_, err := w.seats.Grant(w.vendor, to, sku, n)
	w.must(err)
}

// supplied is a partner with n seats in its pool, a context in which its admin acts, and a project that has none.
func (w *world) supplied(n int64) (partner.Partner, context.Context, partner.Account) {
	w.t.Helper()
	p, me := w.partner("acme")
	w.stock(p.ID, "seat", n)
	return p, me, w.project(me, "one")
}

func (w *world) available(ctx context.Context, h partner.Holder, sku string) int64 {
	w.t.Helper()
	b, err := w.seats.Balance(ctx, h, sku)
	w.must(err)
	return b.Available
}

// sound fails unless every balance follows from history.
func (w *world) sound() {
	w.t.Helper()
	v, err := w.seats.Verify(w.vendor)
	w.must(err)
	if v.FirstWrong != 0 {
		w.t.Fatalf("the ledger is wrong: %s", v.Why)
	}
}

// fields are the paths and codes of a ValidationError, as "path:code", sorted by the order of the fields.
func fields(err error) string {
	v, ok := asValidation(err)
	if !ok {
		return "no validation error"
	}
	var list []string
	for _, f := range v.Fields {
		list = append(list, f.Path+":"+f.Code)
	}
	return strings.Join(list, " ")
}
