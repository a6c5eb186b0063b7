package partner_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// shelf is a host's data of accounts, by class, with an eraser for each.
type shelf struct {
	mu     sync.Mutex
	things map[string]int                  // what is left, by class and account
	calls  []string                        // in order
	as     func(class string, n int) error // what becomes of the nth call, before it erases
}

func newShelf() *shelf { return &shelf{things: map[string]int{}} }

type shelfEraser struct {
	*shelf
	class string
}

func (s *shelf) eraser(class string) partner.Eraser { return shelfEraser{s, class} }

func (e shelfEraser) Class() string { return e.class }

func (e shelfEraser) Erase(_ context.Context, a partner.AccountID) (int, error) {
	e.mu.Lock()
	e.calls = append(e.calls, e.class+" of "+string(a))
	n, as := len(e.calls), e.as
	e.mu.Unlock()
	if as != nil {
		if err := as(e.class, n); err != nil {
			return 0, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := e.class + string(a)
	defer delete(e.things, key)
	return e.things[key], nil
}

func (s *shelf) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

const (
	workData   = "work_data"
	connectors = "connector_configuration"
)

// TestCLW20_CLW21_TheHostsDataGoesFirst, in the order of the erasers, what fails again later, and the account is deleted when all is gone.
func TestCLW20_CLW21_TheHostsDataGoesFirst(t *testing.T) {
	s := newShelf()
	eachWith(t, func(o *partner.Options) { o.Erasers = []partner.Eraser{s.eraser(workData), s.eraser(connectors)} }, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "one")
		s.calls, s.things = nil, map[string]int{workData + string(a.ID): 12, connectors + string(a.ID): 3}
		s.as = func(class string, n int) error {
			switch {
			case class == workData && n == 1:
				return errors.New("the disk of " + canary + " is full")
			case class == workData && n == 2:
				panic("a bug of the host's")
			case class == workData && n == 3:
				runtime.Goexit()
			}
			return nil
		}
		w.close(me, a.ID)
		w.later(time.Hour)
		if len(s.called()) > 0 {
			w.t.Fatalf("erased before it was confirmed: %v", s.called())
		}
		w.must(w.reg.Accounts.ConfirmClose(context.Background(), w.waiting(p.Email)))
		for i, text := range []string{"the disk of " + canary + " is full", "it panicked", "it ended its goroutine"} {
			w.later(2 * time.Minute << i)
			c := w.closing(a.ID)
			if len(c.Erasures) != 2 || c.Erasures[0].Class != connectors || !c.Erasures[0].Done.IsZero() || c.Erasures[1].Error != text || c.Erasures[1].Failures != i+1 {
				w.t.Fatalf("after %d failures: %+v, %v", i+1, c, s.called())
			}
			w.post() // not at once
			if got := w.stands(a.ID); got != "deleting" || len(s.called()) != i+1 {
				w.t.Fatalf("the account is %s after %v", got, s.called())
			}
			w.is(second(w.reg.Accounts.Receipt(me, a.ID)), partner.ErrNotFound)
		}
		w.later(time.Hour)
		if want := []string{workData, workData, workData, workData, connectors}; len(s.called()) != 5 || !slices.EqualFunc(s.called(), want, func(got, class string) bool {
			return got == class+" of "+string(a.ID)
		}) {
			w.t.Fatalf("calls %v", s.called())
		}
		r, err := w.reg.Accounts.Receipt(w.vendor, a.ID)
		w.must(err)
		if r.Erased[workData] != 12 || r.Erased[connectors] != 3 || r.Erased["account"] != 1 || w.stands(a.ID) != "deleted" {
			w.t.Fatalf("the receipt is %+v", r)
		}
		if c := w.closing(a.ID); c.State != "deleted" || c.Deleted.IsZero() || c.Erasures[1].Count != 12 || c.Erasures[1].Error != "" || c.Erasures[1].Done.IsZero() {
			w.t.Fatalf("%+v", c)
		}
		w.later(day)
		if len(s.called()) != 5 {
			w.t.Fatalf("erased again: %v", s.called())
		}
	})
}

// TestCLW20_EachProcessErasesItsPart: an account is not deleted before every class that any process has made known is erased, whichever confirms or
// works first; a class that nobody erases any more is given up by the vendor alone, and the receipt says so.
func TestCLW20_EachProcessErasesItsPart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		s := newShelf()
		w := newWorld(t, db)
		of := func(classes ...string) *world {
			return newWorldOn(w, func(o *partner.Options) {
				for _, c := range classes {
					o.Erasers = append(o.Erasers, s.eraser(c))
				}
			})
		}
		work, old, links := of(workData), of("old_class"), of(connectors)
		p, me := w.partner("acme")
		a := w.project(me, "one")
		work.later(2 * time.Minute) // its first step
		old.later(2 * time.Minute)
		w.close(me, a.ID)
		w.must(links.reg.Accounts.ConfirmClose(context.Background(), w.waiting(p.Email))) // which is enough
		for range 3 {
			w.later(2 * time.Minute)
			work.later(2 * time.Minute)
		}
		c := w.closing(a.ID)
		if got := w.stands(a.ID); got != "deleting" || len(c.Erasures) != 3 || c.Erasures[2].Done.IsZero() || !c.Erasures[0].Done.IsZero() {
			t.Fatalf("the account is %s: %+v", got, c)
		}
		links.later(2 * time.Minute)
		w.later(2 * time.Minute)
		if got := w.stands(a.ID); got != "deleting" {
			t.Fatalf("the account is %s", got)
		}
		w.is(w.reg.Accounts.RetireEraser(me, "old_class", "mine"), partner.ErrForbidden)
		w.is(w.reg.Accounts.RetireEraser(w.vendor, "unknown", "gone"), partner.ErrNotFound)
		wantsFields(t, "nothing said", w.reg.Accounts.RetireEraser(w.vendor, "Old Class", ""), "class:format", "reason:required")
		w.must(w.reg.Accounts.RetireEraser(w.vendor, "old_class", "the product is gone"))
		w.later(2 * time.Minute)
		r, err := w.reg.Accounts.Receipt(w.vendor, a.ID)
		w.must(err)
		if _, erased := r.Erased["old_class"]; erased || r.Kept["old_class"] != "the product is gone" || w.stands(a.ID) != "deleted" {
			t.Fatalf("the receipt is %+v", r)
		}
		if want := []string{workData + " of " + string(a.ID), connectors + " of " + string(a.ID)}; !slices.Equal(s.called(), want) {
			t.Fatalf("calls %v", s.called())
		}
	})
}

// newWorldOn is another process on a world's database, with the same clock.
func newWorldOn(w *world, change ...func(*partner.Options)) *world {
	return newWorld(w.t, w.db, append(slices.Clone(change), func(o *partner.Options) { o.Clock = w.clock.Now })...).at(w.clock)
}

// at has a world let the time of another one pass.
func (w *world) at(c *clock) *world {
	w.clock = c
	return w
}

// TestCLW20_ErasersAreNamed: Open refuses those that cannot be told apart, or be called.
func TestCLW20_ErasersAreNamed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		s := newShelf()
		for what, list := range map[string][]partner.Eraser{
			"nil": {nil}, "no class": {s.eraser("")}, "a text": {s.eraser("Work data")}, "too long": {s.eraser(strings.Repeat("x", 41))},
			"two": {s.eraser("x"), s.eraser("y"), s.eraser("x")}, "ours": {s.eraser("members")},
		} {
			_, err := partner.Open(t.Context(), db.DB, &partner.Options{Erasers: list})
			wants(t, what, err, partner.ErrInvalid)
		}
	})
}

// TestBEY11_TheReceiptIsSigned by the host's key, after the account was deleted; while the host cannot sign, it waits. It shows to whom it concerns.
func TestBEY11_TheReceiptIsSigned(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var signs func() error
	sign := func(_ context.Context, message []byte) ([]byte, string, error) {
		return ed25519.Sign(private, message), "key-1", signs()
	}
	eachWith(t, func(o *partner.Options) { o.Signer = sign }, func(w *world) {
		p, me := w.partner("acme")
		_, other := w.partner("bolt")
		member := w.user(p.ID, "member", func(u *partner.NewUser) { u.Rights = nil })
		a, elsewhere := w.project(me, "one"), w.project(me, "elsewhere")
		for i, broken := range []func() error{func() error { return errors.New("no key") }, func() error { panic("a bug") }} {
			signs = broken
			if i == 0 {
				w.close(me, a.ID)
				w.must(w.reg.Accounts.ConfirmClose(context.Background(), w.waiting(p.Email)))
			}
			w.clock.Advance(2 * time.Minute)
			w.must(second(w.reg.Step(context.Background())))
			w.is(second(w.reg.Accounts.Receipt(me, a.ID)), partner.ErrUnavailable)
			if got := w.stands(a.ID); got != "deleted" {
				w.t.Fatalf("the account is %s", got)
			}
		}
		signs = func() error { return nil }
		w.later(2 * time.Minute)
		r, err := w.reg.Accounts.Receipt(me, a.ID)
		w.must(err)
		if r.KeyID != "key-1" || !ed25519.Verify(public, r.Message, r.Signature) {
			w.t.Fatalf("the receipt is %+v", r)
		}
		var said partner.Receipt
		w.must(json.Unmarshal(r.Message, &said))
		said.Message, said.Signature, said.KeyID = r.Message, r.Signature, r.KeyID
		if fmt.Sprint(said) != fmt.Sprint(r) || r.Account != a.ID || r.Partner != p.ID || r.By != string(p.Contact) || r.RequestedBy != string(p.Contact) ||
			!r.Requested.Before(r.Confirmed) || !r.Confirmed.Before(r.At) || len(r.Kept) == 0 {
			w.t.Fatalf("signed was %+v, the receipt is %+v", said, r)
		}
		w.is(second(w.reg.Accounts.Receipt(other, a.ID)), partner.ErrNotFound)
		w.must(second(w.reg.Accounts.Receipt(member, a.ID)))
		limited := w.user(p.ID, "limited", func(u *partner.NewUser) { u.Rights, u.Scope.Accounts = everyRight, []partner.AccountID{elsewhere.ID} })
		w.is(second(w.reg.Accounts.Receipt(limited, a.ID)), partner.ErrForbidden)
		for _, id := range []partner.AccountID{"", "acc_none", partner.AccountID(p.ID), "\x00"} {
			w.is(second(w.reg.Accounts.Receipt(w.vendor, id)), partner.ErrNotFound)
		}
		signs = func() error { w.t.Error("signed again"); return nil }
		w.later(time.Hour)
		// What is deleted is for nobody, and no transition leads back.
		for what, err := range map[string]error{"Get": second(w.reg.Accounts.Get(w.vendor, a.ID)), "Close": second(w.reg.Accounts.Close(me, a.ID)),
			"CancelClose": w.reg.Accounts.CancelClose(w.vendor, a.ID, "x"), "Resume": w.reg.Accounts.Resume(w.vendor, a.ID), "SwitchTo": w.reg.Access.SwitchTo(me, a.ID)} {
			wants(w.t, what, err, partner.ErrNotFound)
		}
	})
}

// lived is a project in which everything that can be written about one has been, each text with the canary in it.
func (w *world) lived(p partner.Partner, me context.Context) partner.AccountID {
	w.t.Helper()
	n := newProject(canary + "-login")
	n.Name, n.Company, n.Email, n.Phone, n.Customer, n.Key = canary+" Ltd", canary+" Inc", canary+"@x.example", "+49 30 7654321098", globex, canary+"-key"
	n.Locale = "de-CH"
	a, err := w.reg.Accounts.OpenProject(me, n)
	w.must(err)
	a, err = w.reg.Accounts.EditProject(me, a.ID, a.Version, func(p *partner.NewProject) { p.Email, p.Company = canary+"@y.example", canary+" Co" })
	w.must(err)
	w.must(second(w.seats.Assign(me, a.ID, "seat", 6)))
	w.must(second(w.seats.Seat(me, a.ID, "seat", canary+" Smith")))
	as, err := w.reg.Access.Login(context.Background(), n.Login, password, canary+"-source")
	w.must(err)
	w.must(second(w.seats.Consume(partner.WithSession(context.Background(), as), a.ID, "seat", 1)))
	w.is(second(w.reg.Access.Login(context.Background(), n.Login, "wrong", "elsewhere")), partner.ErrBadCredentials)
	_, in := w.moved(me, a.ID, partner.Guest, canary+"-guest@x.example", "viewer")
	w.must(w.reg.Access.ChangePassword(in, password, password+" new"))
	w.must(second(w.reg.Accounts.AddMember(me, a.ID, partner.NewMember{Kind: partner.Guest, Name: canary + " Later", Email: canary + "-later@x.example",
		Roles: []string{"viewer"}, Key: canary + "-member", Locale: "de-CH"})))
	lender, _ := w.partner("lender")
	colleague := newUser("colleague")
	colleague.Email = "colleague@lender.example"
	w.must(second(w.reg.Users.Add(w.vendor, lender.ID, colleague)))
	w.must(second(w.reg.Accounts.AddMember(me, a.ID, partner.NewMember{Kind: partner.Collaborator, Name: canary, Email: colleague.Email, Roles: []string{canary}})))
	token := w.waiting(colleague.Email)
	w.must(second(w.accept(token)))
	d := w.leave(a.ID, dayLong)
	d.Key, d.Roles = canary+"-leave", []string{canary}
	d, err = w.reg.Access.RequestDelegation(me, d)
	w.must(err)
	w.must(w.reg.Access.Decide(customers(), d.ID, true))
	w.must(second(w.reg.Access.ActFor(me, d.ID)))
	w.must(w.reg.Access.SwitchTo(w.login(p.Email[:strings.Index(p.Email, "@")]), a.ID))
	return a.ID
}

// TestAT15_CLW22_BEY11_NothingIsLeft of a project that was closed: unconfirmed it keeps its data and refuses every log-in; deleted, no row, no file and no
// dump has a value of it, while its licences are back once, ledger and activity balance, its people elsewhere go on, and its name and log-in are free.
func TestAT15_CLW22_BEY11_NothingIsLeft(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 10)
		id := w.lived(p, me)
		w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "project", Quota: partner.Quota{Guests: -1, Collaborators: 5}, MaxPerPartner: 1}))
		full := newProject("second")
		w.is(second(w.reg.Accounts.OpenProject(me, full)), partner.ErrQuota)
		if c := w.close(me, id); c.Licenses["seat"] != 5 || c.Members != 3 {
			w.t.Fatalf("closed %+v", c)
		}
		w.is(second(w.reg.Access.Login(context.Background(), canary+"-login", password, "")), partner.ErrBlocked)
		w.later(13 * day)
		if a, err := w.reg.Accounts.Get(w.vendor, id); err != nil || a.Project.Email != canary+"@y.example" || a.State != "closing" {
			w.t.Fatalf("unconfirmed it is %+v, %v", a, err)
		}
		if !bytes.Contains(w.db.Dump(w.t), []byte(canary)) {
			w.t.Fatal("the search finds nothing even before")
		}
		events := rowsIn(w.t, w.db, "prm_events WHERE account_id = ?", id)
		_, err := w.reg.Access.Login(context.Background(), canary+"-login", "wrong", "elsewhere")
		w.is(err, partner.ErrForbidden)
		guesses := "l:" + sum([]byte(strings.ToLower(canary+"-login")))
		if rowsIn(w.t, w.db, "prm_throttles WHERE key = ?", guesses) != 1 {
			w.t.Fatal("no guess is counted")
		}
		w.must(w.reg.Accounts.ConfirmClose(context.Background(), w.waiting(p.Email)))
		w.later(2 * time.Minute)
		w.forgotten(id, canary, "7654321098")
		if rowsIn(w.t, w.db, "prm_throttles WHERE key = ?", guesses) != 0 {
			w.t.Error("the guesses at its log-in are kept")
		}
		if n := w.available(w.vendor, p.ID, "seat"); n != 9 {
			w.t.Fatalf("the pool has %d", n)
		}
		w.sound()
		if got := rowsIn(w.t, w.db, "prm_events WHERE account_id = ?", id); got <= events {
			w.t.Fatalf("%d events, there were %d", got, events)
		}
		r, err := w.reg.Accounts.Receipt(w.vendor, id)
		w.must(err)
		for class, n := range map[string]int{"account": 1, "members": 3, "seats": 1, "delegations": 1, "idempotency_keys": 5} {
			if r.Erased[class] != n {
				w.t.Errorf("erased %d of %s, want %d", r.Erased[class], class, n)
			}
		}
		w.login("colleague")
		me = w.login("acme")
		n := newProject(canary + "-login")
		n.Name, n.Key = canary+" Ltd", canary+"-key" // the log-in, the name, the key and the place are free
		w.must(second(w.reg.Accounts.OpenProject(me, n)))
		w.login(canary + "-login")
	})
}

// forgotten fails if a value of the account is anywhere: in a row, by the catalogue, or in the bytes of the database.
func (w *world) forgotten(id partner.AccountID, values ...string) {
	w.t.Helper()
	if got := w.stands(id); got != "deleted" {
		w.t.Fatalf("the account is %s: %+v", got, w.closing(id))
	}
	fixed := map[string]string{"prm_accounts.name": "deleted project", "prm_accounts.name_key": string(id)}
	for _, table := range store.Tables() {
		if table.Account == "" {
			continue
		}
		var rows []map[string]any
		w.must(w.db.Table(table.Name).Where(table.Account+" = ?", id).Find(&rows).Error)
		if len(rows) > 0 && strings.HasPrefix(table.Keeps, "nothing") {
			w.t.Errorf("%s keeps %d rows of the account", table.Name, len(rows))
		}
		for _, row := range rows {
			for _, column := range slices.Concat(table.Personal, table.Secret, []string{table.Customer}) {
				if table.Name == "prm_closings" && column == "token_hash" { // so that the token can be said to be used
					continue
				}
				if v := fmt.Sprint(row[column]); row[column] != nil && v != fixed[table.Name+"."+column] {
					w.t.Errorf("%s.%s is %q", table.Name, column, v)
				}
			}
		}
	}
	for table, lines := range dump(w.t, w.db) {
		for _, line := range lines {
			for _, v := range values {
				if strings.Contains(strings.ToLower(line), strings.ToLower(v)) {
					w.t.Errorf("%s has %q: %s", table, v, line)
				}
			}
		}
	}
	everything := bytes.ToLower(w.db.Dump(w.t))
	for _, v := range values {
		if at := bytes.Index(everything, bytes.ToLower([]byte(v))); at >= 0 {
			w.t.Errorf("the database has %q: %q", v, everything[max(0, at-60):min(len(everything), at+60)])
		}
	}
}

// TestBEY11_OnSQLiteAReaderKeepsTheLog: as long as somebody reads from it, what was deleted may still be in the write-ahead log, and there is no receipt.
func TestBEY11_OnSQLiteAReaderKeepsTheLog(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.SQLite))
	p, me := w.partner("acme")
	n := newProject("one")
	n.Company = canary
	a, err := w.reg.Accounts.OpenProject(me, n)
	w.must(err)
	w.close(me, a.ID)
	w.must(w.reg.Accounts.ConfirmClose(context.Background(), w.waiting(p.Email)))
	reader := &dbtest.Database{Kind: w.db.Kind, DSN: w.db.DSN}
	reader.DB = reader.Open(t, &gorm.Config{})
	pool, err := reader.DB.DB()
	w.must(err)
	conn, err := pool.Conn(t.Context())
	w.must(err)
	defer conn.Close()
	w.must(second(conn.ExecContext(t.Context(), "BEGIN DEFERRED")))
	var accounts int
	w.must(conn.QueryRowContext(t.Context(), "SELECT count(*) FROM prm_accounts").Scan(&accounts))
	w.clock.Advance(2 * time.Minute)
	w.must(second(w.reg.Step(context.Background())))
	w.is(second(w.reg.Accounts.Receipt(w.vendor, a.ID)), partner.ErrUnavailable)
	w.must(second(conn.ExecContext(t.Context(), "COMMIT")))
	w.later(2 * time.Minute)
	w.must(second(w.reg.Accounts.Receipt(w.vendor, a.ID)))
	w.forgotten(a.ID, canary)
}

// TestCLW22_ManyAtOnce: accounts of several partners are deleted in one step, each with its own receipt, and nothing else is touched.
func TestCLW22_ManyAtOnce(t *testing.T) {
	each(t, func(w *world) {
		var ids, kept []partner.AccountID
		for i := range 3 {
			p, me := w.partner(fmt.Sprint("p", i))
			w.stock(p.ID, fmt.Sprint("seat", i), 10)
			for j := range 4 {
				a := w.project(me, fmt.Sprintf("a%d-%d", i, j))
				w.must(second(w.seats.Assign(me, a.ID, fmt.Sprint("seat", i), 2)))
				w.must(second(w.seats.Consume(me, a.ID, fmt.Sprint("seat", i), 1)))
				if j == 3 {
					kept = append(kept, a.ID)
					continue
				}
				w.close(me, a.ID)
				w.must(w.reg.Accounts.ConfirmClose(context.Background(), w.waiting(p.Email)))
				ids = append(ids, a.ID)
				w.clock.Advance(time.Hour)
			}
		}
		w.later(2 * time.Minute)
		for _, id := range ids {
			r, err := w.reg.Accounts.Receipt(w.vendor, id)
			if w.must(err); r.Account != id || r.Erased["account"] != 1 {
				w.t.Errorf("the receipt of %s is %+v", id, r)
			}
		}
		for i, id := range kept {
			if a, err := w.reg.Accounts.Get(w.vendor, id); err != nil || a.State != "active" || a.Name != fmt.Sprintf("Project a%d-3", i) {
				w.t.Errorf("%+v, %v", a, err)
			}
			b, err := w.seats.Balance(w.vendor, id, fmt.Sprint("seat", i))
			if w.must(err); b.Available != 1 {
				w.t.Errorf("%+v", b)
			}
		}
		list, err := w.reg.Accounts.List(w.vendor, partner.AccountFilter{}, partner.PageRequest{})
		if w.must(err); len(list.Items) != len(kept) {
			w.t.Errorf("%d accounts are listed", len(list.Items))
		}
		w.sound()
	})
}

// TestBEY11_TheReceiptSaysWhatStays: for every table that keeps something of an account, by the catalogue, there is a word in it.
func TestBEY11_TheReceiptSaysWhatStays(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		a := w.project(me, "one")
		w.deleted(me, a.ID, p.Email)
		r, err := w.reg.Accounts.Receipt(w.vendor, a.ID)
		w.must(err)
		words := map[string]string{"prm_accounts": "account", "prm_members": "members", "prm_contracts": "contracts", "prm_events": "activity", "prm_closings": "closing",
			"prm_erasures": "closing"}
		for _, table := range store.Tables() {
			if table.Account == "" || strings.HasPrefix(table.Keeps, "nothing") {
				continue
			}
			if r.Kept[words[table.Name]] == "" {
				w.t.Errorf("nothing is said of %s: %v", table.Name, slices.Sorted(maps.Keys(r.Kept)))
			}
		}
		if r.Kept["ledger"] == "" {
			w.t.Error("nothing is said of the ledger")
		}
	})
}
