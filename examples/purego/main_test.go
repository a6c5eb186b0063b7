package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

const password = "correct horse battery"

// host is a host application on the pure-Go driver: its own handle, and the SDK over it.
type host struct {
	t      *testing.T
	db     *gorm.DB
	file   string
	reg    *partner.Registry
	seats  *license.Ledger
	vendor context.Context
}

// Note is a row of the host's own.
type Note struct {
	ID   uint
	Text string
}

func newHost(t *testing.T, connections int, cfg *gorm.Config) *host {
	t.Helper()
	file := filepath.Join(t.TempDir(), "channel.db")
	h := &host{t: t, db: connect(t, partner.SQLiteDSN(file), cfg), file: file, vendor: partner.AsVendor(context.Background(), "ops@vendor.example")}
	h.pool().SetMaxOpenConns(connections)
	h.must(h.db.AutoMigrate(&Note{}))
	h.must(partner.Migrate(context.Background(), h.db))
	reg, err := partner.Open(context.Background(), h.db, nil)
	h.must(err)
	h.reg, h.seats = reg, license.New(reg)
	return h
}

func connect(t *testing.T, dsn string, cfg *gorm.Config) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(sqlite.Open(dsn), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if pool, err := db.DB(); err == nil {
		t.Cleanup(func() { _ = pool.Close() })
	}
	return db
}

func (h *host) pool() *sql.DB {
	h.t.Helper()
	pool, err := h.db.DB()
	h.must(err)
	return pool
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// acme adds the partner, with n licences.
func (h *host) acme(n int64) partner.Partner {
	h.t.Helper()
	p, err := h.reg.Partners.Create(h.vendor, partner.Agreement{
		Name: "Acme Integrators", Email: "hello@acme.example", Login: "acme", Password: password, Currency: "EUR"})
	h.must(err)
	h.must(h.seats.Define(h.vendor, license.Type{SKU: "mailbox", Name: "Mailbox migration"}))
	_, err = h.seats.Grant(h.vendor, p.ID, "mailbox", n, license.Key("PO-1"))
	h.must(err)
	return p
}

func (h *host) login(name string, pass partner.Secret) context.Context {
	h.t.Helper()
	s, err := h.reg.Access.Login(context.Background(), name, pass, "203.0.113.7")
	h.must(err)
	return partner.WithSession(context.Background(), s)
}

func (h *host) count(table string) (n int64) {
	h.t.Helper()
	h.must(h.db.Raw("SELECT count(*) FROM " + table).Scan(&n).Error)
	return n
}

// TestOnePool gives the host one connection: all the SDK does goes through it, and sees what the host wrote.
func TestOnePool(t *testing.T) {
	h := newHost(t, 1, &gorm.Config{})
	h.must(h.db.Exec("INSERT INTO prm_license_types (sku, name, retired, version, created_at) VALUES ('seat', 'Seat', false, 1, 0)").Error)
	types, err := h.seats.Types(h.vendor)
	if err != nil || len(types) != 1 || types[0].SKU != "seat" {
		t.Errorf("the SDK sees %v (%v)", types, err)
	}
	acme := h.acme(10)
	h.login("acme", password)
	err = h.db.Transaction(func(tx *gorm.DB) error { // the one connection is in use: a second pool would wait for its lock
		_, err := license.New(h.reg.In(tx)).Grant(h.vendor, acme.ID, "mailbox", 1)
		return err
	})
	h.must(err)
	if s := h.pool().Stats(); s.OpenConnections != 1 || s.InUse != 0 {
		t.Errorf("%d connections, %d in use", s.OpenConnections, s.InUse)
	}
	if n, ok := openHandles(h.file); ok && n != 1 {
		t.Errorf("the database file is open %d times", n)
	}
}

// openHandles counts how often this process has a file open, where the system tells.
func openHandles(file string) (n int, ok bool) {
	const dir = "/proc/self/fd"
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0, false
	}
	file, err = filepath.EvalSymlinks(file)
	if err != nil {
		return 0, false
	}
	for _, fd := range list {
		if target, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && target == file {
			n++
		}
	}
	return n, true
}

// TestForgottenIn ends in an error that says what was forgotten, not in a deadlock.
func TestForgottenIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "channel.db")
	db := connect(t, partner.SQLiteDSN(file), &gorm.Config{})
	h := &host{t: t, db: db}
	h.pool().SetMaxOpenConns(1)
	h.must(partner.Migrate(context.Background(), db))
	reg, err := partner.Open(context.Background(), db, &partner.Options{ConnectionWait: 50 * time.Millisecond})
	h.must(err)
	err = db.Transaction(func(*gorm.DB) error {
		_, err := reg.Partners.List(partner.AsVendor(context.Background(), "ops"), partner.PartnerFilter{}, partner.PageRequest{})
		return err
	})
	if !errors.Is(err, partner.ErrUnavailable) || !strings.Contains(err.Error(), "inside a transaction use reg.In(tx)") {
		t.Errorf("got %v", err)
	}
}

// TestErrorsByCode: the driver's errors are told apart by code, as those of the other drivers are.
func TestErrorsByCode(t *testing.T) {
	h := newHost(t, 4, &gorm.Config{})
	h.acme(1)
	db, err := store.Open(context.Background(), h.db, store.Config{})
	h.must(err)
	all := store.Everything("a test of errors")
	for _, c := range []struct {
		name, statement string
		want            error
	}{
		{"duplicate key", "INSERT INTO prm_license_types (sku, name, retired, version, created_at) VALUES ('mailbox', '', false, 1, 0)", store.ErrDuplicate},
		{"duplicate in an index", "UPDATE prm_partners SET path = '/x/'", store.ErrDuplicate},
		{"check", "UPDATE prm_ledger_balances SET amount = -1 WHERE owner <> 'issuer' AND book = 'license'", store.ErrCheck},
		{"foreign key", "UPDATE prm_partners SET parent_id = 'prt_nobody' WHERE id <> 'prt_vendor'", store.ErrReference},
		{"append-only", "UPDATE prm_events SET kind = ''", store.ErrImmutable},
		{"append-only", "DELETE FROM prm_ledger_transfers", store.ErrImmutable},
		{"no such table", "UPDATE prm_nothing SET x = 1", partner.ErrUnavailable},
	} {
		err := store.InTx(context.Background(), db, func(tx *store.Tx) error {
			_, err := tx.Exec(all, c.statement)
			return err
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	err = store.Read(context.Background(), db, func(tx *store.Tx) error {
		var row struct{ ID string }
		return tx.Take(tx.From(all, "prm_partners").Where("id = ?", "prt_nobody"), &row, "")
	})
	if !errors.Is(err, store.ErrNoRow) {
		t.Errorf("no row: got %v", err)
	}
}

// TestBusy: while another process writes, a call is ErrUnavailable, and in the host's transaction ErrConflict.
func TestBusy(t *testing.T) {
	h := newHost(t, 4, &gorm.Config{})
	acme := h.acme(1)
	impatient := strings.NewReplacer("busy_timeout=5000", "busy_timeout=1", "busy_timeout(5000)", "busy_timeout(1)", "_txlock=immediate", "_txlock=deferred")
	db := connect(t, impatient.Replace(partner.SQLiteDSN(h.file)), &gorm.Config{})
	reg, err := partner.Open(context.Background(), db, nil)
	h.must(err)

	other := h.db.Begin()
	h.must(other.Create(&Note{Text: "locks the database"}).Error)
	_, err = license.New(reg).Grant(h.vendor, acme.ID, "mailbox", 1)
	if !errors.Is(err, partner.ErrUnavailable) || !strings.Contains(err.Error(), "too busy") {
		t.Errorf("got %v", err)
	}
	err = db.Transaction(func(tx *gorm.DB) error {
		_, err := license.New(reg.In(tx)).Grant(h.vendor, acme.ID, "mailbox", 1)
		return err
	})
	if !errors.Is(err, partner.ErrConflict) || !strings.Contains(err.Error(), "run your transaction again") {
		t.Errorf("got %v", err)
	}
	h.must(other.Rollback().Error)
	if _, err = license.New(reg).Grant(h.vendor, acme.ID, "mailbox", 1); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestFlow is the quickstart: projects, switch, assign, reassign, delegate, close.
func TestFlow(t *testing.T) {
	h := newHost(t, 4, &gorm.Config{})
	acme := h.acme(100)
	me := h.login("acme", password)
	open := func(name, login string) partner.Account {
		a, err := h.reg.Accounts.OpenProject(me, partner.NewProject{Name: name, Company: "Globex",
			Email: "it@globex.example", Country: "DE", Login: login, Password: "another long secret"})
		h.must(err)
		return a
	}
	move, annex := open("Office move", "globex-move"), open("Annex", "globex-annex")
	_, err := h.seats.Assign(me, move.ID, "mailbox", 25, license.Key("click-1"))
	h.must(err)
	h.must(h.reg.Access.SwitchTo(me, move.ID))
	_, err = h.seats.Assign(me, annex.ID, "mailbox", 5, license.From(move.ID))
	h.must(err)
	_, err = h.seats.Assign(me, annex.ID, "mailbox", 500)
	if short := (*license.InsufficientError)(nil); !errors.As(err, &short) || short.Available != 20 {
		t.Errorf("got %v", err)
	}
	_, err = h.seats.Return(me, "mailbox", 5)
	h.must(err)
	h.must(h.reg.Access.SwitchBack(me))
	own, err := h.seats.Mine(h.login("globex-move", "another long secret"))
	if err != nil || len(own) != 1 || own[0].Available != 15 {
		t.Errorf("the customer sees %v (%v)", own, err)
	}
	preview, err := h.reg.Accounts.PreviewClose(me, move.ID)
	if err != nil || preview.Licenses["mailbox"] != 15 {
		t.Errorf("the preview is %v (%v)", preview, err)
	}
	_, err = h.reg.Accounts.Close(me, move.ID)
	h.must(err)
	pool, err := h.seats.Balance(me, acme.ID, "mailbox")
	if err != nil || pool.Available != 95 {
		t.Errorf("the pool is %v (%v)", pool, err)
	}
	v, err := h.seats.Verify(h.vendor)
	if err != nil || v.FirstWrong != 0 || v.Transfers != 5 {
		t.Errorf("the verdict is %+v (%v)", v, err)
	}
}

// TestBEY01_HostRollbackUndoesSDKRows, and a refused call before it leaves the transaction usable.
func TestBEY01_HostRollbackUndoesSDKRows(t *testing.T) {
	for _, prepared := range []bool{false, true} {
		t.Run(fmt.Sprint("PrepareStmt ", prepared), func(t *testing.T) {
			h := newHost(t, 4, &gorm.Config{PrepareStmt: prepared})
			acme := h.acme(10)
			tables := []string{"notes", "prm_partners", "prm_identities", "prm_events", "prm_deliveries", "prm_ledger_transfers", "prm_ledger_balances", "prm_keys"}
			before := map[string]int64{}
			for _, table := range tables {
				before[table] = h.count(table)
			}
			err := h.db.Transaction(func(tx *gorm.DB) error {
				in := h.reg.In(tx)
				h.must(tx.Create(&Note{Text: "sold"}).Error)
				_, err := in.Partners.Invite(h.vendor, partner.Agreement{Name: "Acme", Email: "a@b.example", Login: "acme", Currency: "EUR"})
				if fields := (*partner.ValidationError)(nil); !errors.As(err, &fields) || fields.Fields[0].Code != "taken" {
					t.Errorf("the log-in name was taken twice: %v", err)
				}
				var n int64 // the refusal came after its partner's row was written
				if err := tx.Raw("SELECT count(*) FROM prm_partners").Scan(&n).Error; err != nil || n != before["prm_partners"] {
					t.Errorf("the refused call left a row: %d, had %d (%v)", n, before["prm_partners"], err)
				}
				p, err := in.Partners.Invite(h.vendor, partner.Agreement{Name: "Globex", Email: "a@b.example", Login: "globex", Currency: "EUR", Key: "k"})
				h.must(err)
				_, err = license.New(in).Grant(h.vendor, p.ID, "mailbox", 5)
				h.must(err)
				_, err = license.New(in).Revoke(h.vendor, acme.ID, "mailbox", 3)
				h.must(err)
				return errors.New("the host changes its mind")
			})
			if err == nil || err.Error() != "the host changes its mind" {
				t.Fatal(err)
			}
			for _, table := range tables {
				if n := h.count(table); n != before[table] {
					t.Errorf("%s has %d rows, had %d", table, n, before[table])
				}
			}
			b, err := h.seats.Balance(h.vendor, acme.ID, "mailbox")
			if err != nil || b.Available != 10 {
				t.Errorf("the pool is %v (%v)", b, err)
			}
		})
	}
}

// TestNothingLeaks: the host's callbacks and settings do not reach the SDK's statements, and the host's stay as they are.
func TestNothingLeaks(t *testing.T) {
	seen := 0
	naming := schema.NamingStrategy{TablePrefix: "host_", SingularTable: true}
	cfg := &gorm.Config{AllowGlobalUpdate: true, NamingStrategy: naming, CreateBatchSize: 7, QueryFields: true}
	h := newHost(t, 4, cfg)
	callback := func(*gorm.DB) { seen++ }
	h.must(errors.Join(
		h.db.Callback().Create().Before("gorm:create").Register("host", callback), h.db.Callback().Update().Before("gorm:update").Register("host", callback),
		h.db.Callback().Query().Before("gorm:query").Register("host", callback), h.db.Callback().Delete().Before("gorm:delete").Register("host", callback),
		h.db.Callback().Row().Before("gorm:row").Register("host", callback), h.db.Callback().Raw().Before("gorm:raw").Register("host", callback),
	))
	settings := func() string {
		c := h.db.Config
		return fmt.Sprint(c.SkipDefaultTransaction, c.PrepareStmt, c.AllowGlobalUpdate, c.CreateBatchSize, c.QueryFields, c.NamingStrategy,
			c.DisableAutomaticPing, c.Dialector.(*sqlite.Dialector).Conn)
	}
	before := settings()
	h.acme(10)
	h.must(h.reg.Access.Logout(h.login("acme", password)))
	err := h.db.Transaction(func(tx *gorm.DB) error {
		_, err := h.reg.In(tx).Partners.Invite(h.vendor, partner.Agreement{Name: "Globex", Email: "a@b.example", Login: "globex", Currency: "EUR"})
		return err
	})
	h.must(err)
	if seen != 0 {
		t.Errorf("the host's callbacks ran %d times for the SDK", seen)
	}
	if after := settings(); after != before {
		t.Errorf("the host's settings were %s, are %s", before, after)
	}
	h.must(h.db.Create(&Note{Text: "mine"}).Error)
	if seen != 1 || h.count("host_note") != 1 {
		t.Errorf("the host's own row: %d callbacks", seen)
	}
}

func Example() {
	main()
	// Output: Acme Integrators has 100 mailbox licences
}
