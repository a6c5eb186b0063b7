package partner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// requiredFields are what PIL-02 asks for, by how to leave it out.
var requiredFields = []struct {
	path           string
	create, invite bool
	leave          func(*partner.Agreement)
}{
	{"name", true, true, func(a *partner.Agreement) { a.Name = " " }},
	{"login", true, true, func(a *partner.Agreement) { a.Login = "" }},
	{"currency", true, true, func(a *partner.Agreement) { a.Currency = "" }},
	{"password", true, false, func(a *partner.Agreement) { a.Password = "" }},
	{"email", false, true, func(a *partner.Agreement) { a.Email = "" }},
}

// TestPIL02_RequiredFieldsMatrix leaves out every combination of fields in both modes; with a host's Requirements, those are added.
func TestPIL02_RequiredFieldsMatrix(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		for _, mode := range []string{"create", "invite"} {
			for missing := range 1 << len(requiredFields) {
				for _, asks := range []bool{false, true} {
					requiredFieldsCase(t, db, mode, missing, asks)
				}
			}
		}
	})
}

func requiredFieldsCase(t *testing.T, db *dbtest.Database, mode string, missing int, asks bool) {
	t.Helper()
	w := newWorld(t, db, func(o *partner.Options) {
		if asks {
			o.Requirements = func(a partner.Agreement) []partner.FieldError {
				a.Name, a.Login, a.Currency, a.Password = "filled", "filled", "EUR", password // its own copy: it can add, not remove
				return []partner.FieldError{{Path: "phone", Code: "required", Message: "must not be empty"}}
			}
		}
	})
	a := agreement(fmt.Sprintf("%s-%d-%v", mode, missing, asks))
	var want []string
	if asks {
		want = append(want, "phone:required")
	}
	if mode == "invite" {
		a.Password = ""
	}
	for i, f := range requiredFields {
		if missing&(1<<i) == 0 {
			continue
		}
		f.leave(&a)
		if mode == "create" && f.create || mode == "invite" && f.invite {
			want = append(want, f.path+":required")
		}
	}
	add := w.reg.Partners.Create
	if mode == "invite" {
		add = w.reg.Partners.Invite
	}
	p, err := add(w.vendor, a)
	if len(want) > 0 {
		wantsFields(t, fmt.Sprintf("%s without %05b", mode, missing), err, want...)
		return
	}
	w.must(err)
	if state := map[string]string{"create": "active", "invite": "pending"}[mode]; p.State != state {
		t.Errorf("%s made it %s", mode, p.State)
	}
}

func TestPIL02_InviteTakesNoPasswordAndWritesToTheInvitee(t *testing.T) {
	each(t, func(w *world) {
		a := agreement("invited")
		_, err := w.reg.Partners.Invite(w.vendor, a)
		wantsFields(w.t, "an invitation with a password", err, "password:format")
		a.Password = ""
		p, err := w.reg.Partners.Invite(w.vendor, a)
		w.must(err)
		page, err := w.reg.Activity.Deliveries(w.vendor, "", partner.PageRequest{})
		w.must(err)
		if len(page.Items) != 1 || page.Items[0].Template != "welcome" || page.Items[0].To != a.Email || page.Items[0].Partner != p.ID {
			w.t.Errorf("the deliveries are %+v", page.Items)
		}
		_, me := w.partner("acme")
		_, err = w.reg.Activity.Deliveries(me, "", partner.PageRequest{})
		wants(w.t, "deliveries for a partner", err, partner.ErrForbidden)
	})
}

func TestPIL02_Capabilities(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		all := []partner.Capability{partner.Resell, partner.Build, partner.Operate}
		if !slices.Equal(p.Capabilities, all) {
			w.t.Errorf("the default is %v", p.Capabilities)
		}
		none, nobody := w.partner("none", func(a *partner.Agreement) { a.Capabilities = []partner.Capability{} })
		if len(none.Capabilities) != 0 {
			w.t.Errorf("none became %v", none.Capabilities)
		}
		_, err := w.reg.Accounts.OpenProject(nobody, newProject("prj0"))
		wants(w.t, "a project without operate", err, partner.ErrForbidden)
		a := agreement("odd")
		a.Capabilities = []partner.Capability{partner.Build, "fly", ""}
		_, err = w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "unknown capabilities", err, "capabilities[1]:unknown_code", "capabilities[2]:unknown_code")
		wants(w.t, "unknown capabilities", err, partner.ErrUnknownCode)
		open := w.project(me, "prj1")
		w.stock(p.ID, "seat", 5)
		_, err = w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.Capabilities = a.Capabilities[:1] })
		wants(w.t, "a partner's own edit", err, partner.ErrForbidden)
		_, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Capabilities = []partner.Capability{"fly"} })
		wantsFields(w.t, "an edit to an unknown one", err, "capabilities[0]:unknown_code")
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) {
			a.Capabilities = []partner.Capability{partner.Build, partner.Resell, partner.Build}
		})
		w.must(err)
		if !slices.Equal(p.Capabilities, []partner.Capability{partner.Resell, partner.Build}) {
			w.t.Errorf("the capabilities are %v", p.Capabilities)
		}
		_, err = w.reg.Accounts.OpenProject(me, newProject("prj2"))
		wants(w.t, "a new project", err, partner.ErrForbidden)
		_, err = w.reg.Accounts.EditProject(me, open.ID, open.Version, func(p *partner.NewProject) { p.Company = "Initech" })
		w.must(err) // what there is goes on
		_, err = w.seats.Assign(me, open.ID, "seat", 5)
		w.must(err)
		w.login("prj1")
		_, err = w.reg.Accounts.Close(me, open.ID)
		w.must(err)
	})
}

// TestPIL05_TheHostReadsPhones: numbers as people write them, which only the host's reader understands.
func TestPIL05_TheHostReadsPhones(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db, func(o *partner.Options) {
			o.Phones = func(raw, country string) (string, error) {
				if !strings.HasPrefix(raw, "0") {
					return "", errors.New("not a national number")
				}
				return map[string]string{"": "+49", "DE": "+49", "FR": "+33"}[country] + strings.TrimPrefix(raw, "0"), nil
			}
		})
		a := agreement("acme")
		a.Phone = "030123456"
		p, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		if p.Phone != "+4930123456" {
			t.Errorf("the phone is %q", p.Phone)
		}
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Phone = "040123456" })
		w.must(err)
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Name = "X" }) // read once, not again
		w.must(err)
		if p.Phone != "+4940123456" {
			t.Errorf("the phone is %q", p.Phone)
		}
		in := newProject("prj")
		in.Phone, in.Country = "0123456789", "fr"
		prj, err := w.reg.Accounts.OpenProject(w.login("acme"), in)
		w.must(err)
		if prj.Project.Phone != "+33123456789" {
			t.Errorf("the project's phone is %q", prj.Project.Phone)
		}
	})
}

// TestErrors_HostErrorsKeepOneKind: whatever a callback fails with, the call's error says one thing to do.
func TestErrors_HostErrorsKeepOneKind(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.SQLite))
	for i, cause := range []error{errors.New("down"), partner.ErrNotFound, partner.ErrCurrencyLocked, context.DeadlineExceeded,
		&partner.ValidationError{}} {
		h := &failingHasher{}
		w = newWorld(t, w.db, func(o *partner.Options) {
			o.Regions = func(context.Context, string) (string, error) { return "", cause }
			o.Hasher = h
			o.Requirements = func(partner.Agreement) []partner.FieldError {
				if h.err == nil {
					return nil
				}
				return []partner.FieldError{{Path: "x", Code: "format", Message: "no", Err: cause}}
			}
		})
		login := fmt.Sprint("p", i)
		_, me := w.partner(login)
		_, err := w.reg.Accounts.OpenProject(me, newProject(login+"-x"))
		if kinds := kindsOf(err); !slices.Equal(kinds, []string{"unavailable"}) {
			t.Errorf("Regions failing with %v: %v is of the kinds %v", cause, err, kinds)
		}
		h.err = cause
		if kinds := kindsOf(w.try(login, password, "")); !slices.Equal(kinds, []string{"unavailable"}) {
			t.Errorf("Hasher failing with %v: kinds %v", cause, kinds)
		}
		_, err = w.reg.Partners.Create(w.vendor, agreement("other"))
		if kinds := kindsOf(err); !slices.Equal(kinds, []string{"invalid"}) {
			t.Errorf("Requirements failing with %v: kinds %v", cause, kinds)
		}
	}
}

type failingHasher struct {
	plainHasher
	err error
}

func (h *failingHasher) Verify(ctx context.Context, hash string, p []byte) (bool, bool, error) {
	if h.err != nil {
		return false, false, h.err
	}
	return h.plainHasher.Verify(ctx, hash, p)
}

func TestErrors_EverySentinelHasOneKind(t *testing.T) {
	for _, err := range []error{
		partner.ErrInvalid, partner.ErrNotFound, partner.ErrExists, partner.ErrForbidden, partner.ErrRefused, partner.ErrConflict, partner.ErrUnavailable,
		partner.ErrBadCredentials, partner.ErrBlocked, partner.ErrPending, partner.ErrSuspended, partner.ErrBadTransition, partner.ErrImmutable,
		partner.ErrCurrencyLocked, partner.ErrRegionPinned, partner.ErrHierarchyCycle, partner.ErrHierarchyDepth, partner.ErrUnknownCode,
		partner.ErrCurrencyNotAllowed, partner.ErrWeakPassword, partner.ErrNoRegion, partner.ErrIdempotencyMismatch, partner.ErrOutcomeUnknown,
		license.ErrInsufficient, license.ErrWrongContext, &license.InsufficientError{}, &partner.BlockedError{}, &partner.ValidationError{},
		&partner.ValidationError{Fields: []partner.FieldError{{Err: partner.ErrUnknownCode}, {Err: partner.ErrWeakPassword}}},
	} {
		for _, e := range []error{err, fmt.Errorf("wrapped: %w", err)} {
			if kinds := kindsOf(e); len(kinds) != 1 {
				t.Errorf("%v is of the kinds %v", e, kinds)
			}
		}
	}
}

// TestErrors_LostRacesAreUnavailable: a database that refuses every try of a transaction answers "the same call later", and only that.
func TestErrors_LostRacesAreUnavailable(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	tamper(t, w.db, "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'fault' USING ERRCODE = '40001'; END $$")
	tamper(t, w.db, "CREATE TRIGGER fault BEFORE INSERT ON prm_users FOR EACH ROW EXECUTE FUNCTION fault()")
	_, err := w.reg.Partners.Create(w.vendor, agreement("acme"))
	wants(t, "after all tries", err, partner.ErrUnavailable)
	ready, err := w.reg.Partners.Prepare(w.vendor, agreement("acme"))
	w.must(err)
	_ = w.inHost(errRollBack, func(_ *gorm.DB, r rooms) error {
		wants(t, "in a host transaction", second(r.reg.Partners.Create(w.vendor, ready)), partner.ErrConflict)
		return nil
	})
}

func TestOptions_WrongOnesAreInvalid(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite)
	for i, o := range []partner.Options{
		{MaxDepth: -1}, {MaxDepth: 33}, {Session: partner.SessionLimits{Idle: -1}}, {Session: partner.SessionLimits{Absolute: -1}},
		{CallbackTime: -1}, {ConnectionWait: -1},
	} {
		_, err := partner.Open(context.Background(), db.DB, &o)
		wants(t, fmt.Sprint("options ", i), err, partner.ErrInvalid)
	}
	if _, err := partner.Open(context.Background(), db.DB, nil); err != nil {
		t.Errorf("no options: %v", err)
	}
	_, err := partner.Open(context.Background(), nil, nil)
	wants(t, "no database", err, partner.ErrInvalid)
}

func TestOptions_SessionLimitsAreTheHosts(t *testing.T) {
	each(t, func(w *world) {
		w = newWorld(w.t, w.db, func(o *partner.Options) {
			o.Session = partner.SessionLimits{Idle: time.Minute, Absolute: 3 * time.Minute}
		})
		p, me := w.partner("acme")
		for range 5 {
			w.clock.Advance(35 * time.Second)
			w.must(second(w.reg.Partners.Get(me, p.ID)))
		}
		w.clock.Advance(35 * time.Second)
		wants(w.t, "after three minutes", second(w.reg.Partners.Get(me, p.ID)), partner.ErrForbidden)
		me = w.login("acme")
		w.clock.Advance(59 * time.Second)
		w.must(second(w.reg.Partners.Get(me, p.ID)))
		w.clock.Advance(61 * time.Second)
		wants(w.t, "after an idle one", second(w.reg.Partners.Get(me, p.ID)), partner.ErrForbidden)
	})
}

// TestBEY13_CreatingWritesRepeat: the same key and content returns the first result, also from 32 sides at once; other content is refused.
func TestBEY13_CreatingWritesRepeat(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		create := func(login string) func(string) (string, error) {
			return func(name string) (string, error) {
				a := agreement(login)
				a.Key, a.Name, a.Deposit = "key-1", name, 100
				p, err := w.reg.Partners.Create(w.vendor, a)
				return string(p.ID), err
			}
		}
		invite := func(name string) (string, error) {
			a := agreement("invited")
			a.Key, a.Name, a.Password = "key-1", name, ""
			p, err := w.reg.Partners.Invite(w.vendor, a)
			return string(p.ID), err
		}
		open := func(name string) (string, error) {
			p := newProject("prj")
			p.Key, p.Name = "key-1", name
			a, err := w.reg.Accounts.OpenProject(me, p)
			return string(a.ID), err
		}
		for verb, call := range map[string]func(string) (string, error){"Create": create("created"), "Invite": invite, "OpenProject": open} {
			partners, accounts := rowsIn(w.t, w.db, "prm_partners"), rowsIn(w.t, w.db, "prm_accounts")
			ids := make([]string, 32)
			var calling sync.WaitGroup
			for i := range ids {
				calling.Go(func() {
					var err error
					if ids[i], err = call("Name"); err != nil {
						w.t.Errorf("%s: %v", verb, err)
					}
				})
			}
			calling.Wait()
			if slices.Sort(ids); ids[0] != ids[31] || ids[0] == "" {
				w.t.Errorf("%s made %s and %s", verb, ids[0], ids[31])
			}
			made := rowsIn(w.t, w.db, "prm_partners") - partners + rowsIn(w.t, w.db, "prm_accounts") - accounts
			if made != 1 {
				w.t.Errorf("%s made %d rows", verb, made)
			}
			_, err := call("Other name")
			wants(w.t, verb+" of other content", err, partner.ErrIdempotencyMismatch)
		}
	})
}

// TestBEY13_ContentThatJSONCannotHoldIsStillTold: a time that reads as the year 10000 in its own zone lies in 9999 in UTC, and is allowed.
func TestBEY13_ContentThatJSONCannotHoldIsStillTold(t *testing.T) {
	each(t, func(w *world) {
		a := agreement("acme")
		a.Key = "key-1"
		a.ContractPeriod.Until = time.Date(10000, 1, 1, 1, 0, 0, 0, time.FixedZone("far east", 14*3600))
		_, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		a.Name, a.Deposit = "Quite another", 7
		wants(w.t, "other content under the key", second(w.reg.Partners.Create(w.vendor, a)), partner.ErrIdempotencyMismatch)
		a.Login, a.Key = "beta", ""
		ready, err := w.reg.Partners.Prepare(w.vendor, a)
		w.must(err)
		ready.Name = "Changed"
		wants(w.t, "changed after Prepare", second(w.reg.Partners.Create(w.vendor, ready)), partner.ErrInvalid)
	})
}
