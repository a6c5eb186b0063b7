package license_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// plainHasher stands in for argon2id: these tests are not about passwords.
type plainHasher struct{}

func (plainHasher) Hash(_ context.Context, p []byte) (string, error) {
	return "plain:" + string(p), nil
}

func (plainHasher) Verify(_ context.Context, hash string, p []byte) (ok, renew bool, err error) {
	return hash == "plain:"+string(p), false, nil
}

// clock is a settable time.
type clock struct {
	mu   sync.Mutex
	t    time.Time
	late func() (wait chan struct{}) // see holdUp
}

// Now ticks, so that no two calls see the same instant.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	c.t = c.t.Add(time.Millisecond)
	now, wait := c.t, chan struct{}(nil)
	if c.late != nil {
		wait = c.late()
	}
	c.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return now
}

// Advance moves the clock, back too.
func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a registry and a ledger on a fresh database.
type world struct {
	t      testing.TB
	db     *dbtest.Database
	clock  *clock
	reg    *partner.Registry
	seats  *license.Ledger
	vendor context.Context
}

const password = "correct horse battery"

func newWorld(t testing.TB, db *dbtest.Database) *world {
	t.Helper()
	w := &world{t: t, db: db, clock: &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	opts := &partner.Options{Clock: w.clock.Now, Hasher: plainHasher{}, Logger: slog.New(slog.DiscardHandler)}
	reg, err := partner.Open(context.Background(), db.DB, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	w.reg, w.seats = reg, license.New(reg)
	w.vendor = partner.AsVendor(context.Background(), "ops@vendor.example")
	return w
}

// each runs a test on a world per database.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) { test(t, newWorld(t, db)) })
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// side is a partner with a session of its admin.
type side struct {
	partner.Partner
	me context.Context
}

func (w *world) partner(login string) side {
	w.t.Helper()
	p, err := w.reg.Partners.Create(w.vendor, partner.Agreement{Name: "Partner " + login, Login: login, Email: login + "@partner.example",
		Password: password, Currency: "EUR"})
	w.must(err)
	return side{p, w.login(login)}
}

func (w *world) login(login string) context.Context {
	w.t.Helper()
	s, err := w.reg.Access.Login(context.Background(), login, password, "")
	w.must(err)
	return partner.WithSession(context.Background(), s)
}

func (w *world) project(me context.Context, login string) partner.AccountID {
	w.t.Helper()
	a, err := w.reg.Accounts.OpenProject(me, partner.NewProject{Name: "Project " + login, Email: login + "@customer.example", Company: "Globex",
		Country: "DE", Login: login, Password: password})
	w.must(err)
	return a.ID
}

func (w *world) define(sku string) {
	w.t.Helper()
	w.must(w.seats.Define(w.vendor, license.Type{SKU: sku, Name: "Licence " + sku}))
}

func (w *world) grant(to partner.ID, sku string, n int64, o ...license.Option) license.Transfer {
	w.t.Helper()
	tr, err := w.seats.Grant(w.vendor, to, sku, n, o...)
	w.must(err)
	return tr
}

func (w *world) assign(me context.Context, to partner.AccountID, sku string, n int64, o ...license.Option) license.Transfer {
	w.t.Helper()
	tr, err := w.seats.Assign(me, to, sku, n, o...)
	w.must(err)
	return tr
}

// bare is a partner with a project; nobody has a seat yet.
func (w *world) bare() (side, partner.AccountID) {
	w.t.Helper()
	a := w.partner("acme")
	w.define("seat")
	return a, w.project(a.me, "one")
}

// supplied is a partner with n seats in its pool and a project that has none.
func (w *world) supplied(n int64) (side, partner.AccountID) {
	w.t.Helper()
	a, one := w.bare()
	w.grant(a.ID, "seat", n)
	return a, one
}

// stocked is a partner with a project that holds n.
func (w *world) stocked(login string, n int64) (side, partner.AccountID) {
	w.t.Helper()
	a := w.partner(login)
	w.define("seat")
	one := w.project(a.me, login+"-one")
	w.grant(a.ID, "seat", n)
	w.assign(a.me, one, "seat", n)
	return a, one
}

func (w *world) close(me context.Context, id partner.AccountID) {
	w.t.Helper()
	_, err := w.reg.Accounts.Close(me, id)
	w.must(err)
}

// has fails unless the holder has exactly n.
func (w *world) has(h partner.Holder, sku string, n int64) {
	w.t.Helper()
	b, err := w.seats.Balance(w.vendor, h, sku)
	w.must(err)
	if b.Available != n {
		w.t.Fatalf("%s has %d %s, want %d", h, b.Available, sku, n)
	}
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

// is fails unless err matches want, and exactly one kind.
func (w *world) is(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) || len(kindsOf(err)) != 1 {
		w.t.Fatalf("got %v (%v), want %v", err, kindsOf(err), want)
	}
}

// blocked fails unless err is ErrBlocked for exactly this reason.
func (w *world) blocked(err error, reason string) {
	w.t.Helper()
	w.is(err, partner.ErrBlocked)
	var b *partner.BlockedError
	if !errors.As(err, &b) || strings.Join(b.Reasons, " ") != reason {
		w.t.Fatalf("got %v, want blocked for %s", err, reason)
	}
}

// faulty fails unless err is a ValidationError of exactly these "path:code"s.
func (w *world) faulty(err error, want string) {
	w.t.Helper()
	w.is(err, partner.ErrInvalid)
	var v *partner.ValidationError
	if !errors.As(err, &v) {
		w.t.Fatalf("got %v, want a validation error", err)
	}
	var list []string
	for _, f := range v.Fields {
		list = append(list, f.Path+":"+f.Code)
	}
	if got := strings.Join(list, " "); got != want {
		w.t.Fatalf("fields %q, want %q", got, want)
	}
}

// kindsOf names the kinds that err matches.
func kindsOf(err error) []string {
	var list []string
	for name, kind := range map[string]error{
		"invalid": partner.ErrInvalid, "not found": partner.ErrNotFound, "exists": partner.ErrExists, "forbidden": partner.ErrForbidden,
		"refused": partner.ErrRefused, "conflict": partner.ErrConflict, "unavailable": partner.ErrUnavailable,
	} {
		if errors.Is(err, kind) {
			list = append(list, name)
		}
	}
	return list
}

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
