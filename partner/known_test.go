package partner_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/mattn/go-sqlite3"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// spy lists the statements that reach a database, and leaves the driver's pipeline as it is.
type spy struct {
	mu   sync.Mutex
	seen []string
}

func (s *spy) note(query string) { s.mu.Lock(); defer s.mu.Unlock(); s.seen = append(s.seen, query) }

var readsFacts = regexp.MustCompile(`prm_(sessions|identities|users|partners|accounts)\b`)

// facts are the statements since the last call that had to do with what decisions rest on.
func (s *spy) facts() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, query := range s.seen {
		if readsFacts.MatchString(query) {
			list = append(list, query)
		}
	}
	s.seen = nil
	return list
}

func (s *spy) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	s.note(d.SQL)
	return ctx
}
func (s *spy) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (s *spy) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}
func (s *spy) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	s.note(d.SQL)
}
func (s *spy) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// spied is SQLite's driver with a spy.
type spied struct {
	*sqlite3.SQLiteConn
	spy *spy
}

func (c spied) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.spy.note(query)
	return c.SQLiteConn.ExecContext(ctx, query, args)
}

func (c spied) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.spy.note(query)
	return c.SQLiteConn.QueryContext(ctx, query, args)
}

type spiedSQLite struct {
	spy *spy
	dsn string
}

func (d spiedSQLite) Driver() driver.Driver { return nil }

func (d spiedSQLite) Connect(context.Context) (driver.Conn, error) {
	c, err := (&sqlite3.SQLiteDriver{}).Open(d.dsn)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*sqlite3.SQLiteConn)
	if !ok {
		return nil, errors.New("another driver's connection")
	}
	return spied{conn, d.spy}, nil
}

// watched opens db once more under a spy.
func watched(t testing.TB, db *dbtest.Database) (*spy, *dbtest.Database) {
	t.Helper()
	s := &spy{}
	pool := sql.OpenDB(spiedSQLite{s, db.DSN})
	if db.Kind == dbtest.Postgres {
		cfg, err := pgx.ParseConfig(db.DSN)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Tracer = s
		pool = stdlib.OpenDB(*cfg)
	}
	t.Cleanup(func() { _ = pool.Close() })
	pool.SetMaxOpenConns(8)
	dialector := sqlite.New(sqlite.Config{Conn: pool})
	if db.Kind == dbtest.Postgres {
		dialector = postgres.New(postgres.Config{Conn: pool})
	}
	orm, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return s, &dbtest.Database{DB: orm, Kind: db.Kind, DSN: db.DSN}
}

// twins are two registries on one database, as two processes have them: world remembers under a spy, and things happen in other.
type twins struct {
	*world
	spy      *spy
	other    *world
	families int
	stranger family
	rival    family
}

func newTwins(t *testing.T, db *dbtest.Database) *twins {
	t.Helper()
	s, own := watched(t, db)
	w := newWorld(t, own)
	tw := &twins{world: w, spy: s}
	tw.other = tw.fresh(&dbtest.Database{DB: db.Open(t, &gorm.Config{}), Kind: db.Kind, DSN: db.DSN})
	w.must(w.seats.Define(w.vendor, license.Type{SKU: "seat", Name: "Seat"}))
	tw.stranger, tw.rival = tw.family(), tw.family()
	return tw
}

// fresh opens a registry that remembers nothing, with the same clock.
func (tw *twins) fresh(db *dbtest.Database) *world {
	tw.t.Helper()
	w := newWorld(tw.t, db, func(o *partner.Options) { o.Clock = tw.clock.Now })
	w.clock = tw.clock
	return w
}

func (tw *twins) rooms() []rooms {
	return []rooms{{tw.reg, tw.seats}, {tw.other.reg, tw.other.seats}}
}

// family is an organisation below one that manages it, two projects, and sessions of everybody.
type family struct {
	name                  string
	boss, own             partner.Partner
	a, b                  partner.AccountID
	above, me, inside, at context.Context // at: the log-in of project a; inside: an admin who works in a
	mates
}

func (tw *twins) family() (f family) {
	tw.t.Helper()
	tw.families++
	f.name = fmt.Sprint("f", tw.families)
	f.boss, f.above = tw.partner(f.name+"-boss", func(a *partner.Agreement) { a.ManagesSubPartners = true })
	f.own, f.me = tw.partner(f.name, under(f.boss.ID))
	f.a, f.b = tw.project(f.me, f.name+"-a").ID, tw.project(f.me, f.name+"-b").ID
	f.at, f.inside = tw.login(f.name+"-a"), tw.login(f.name)
	tw.must(tw.reg.Access.SwitchTo(f.inside, f.a))
	_, err := tw.seats.Grant(tw.vendor, f.own.ID, "seat", 10_000_000)
	tw.must(err)
	_, err = tw.seats.Assign(f.me, f.a, "seat", 1_000_000)
	tw.must(err)
	tw.settle(&f)
	return f
}

// probes are calls of a family that rest on different rows.
var probes = []string{"pool", "inside", "project", "above", "vendor", "mate", "lent"}

// probe makes one of them.
func (w *world) probe(r rooms, f *family, name string) (err error) {
	w.t.Helper()
	switch name {
	case "pool":
		_, err = r.seats.Assign(f.me, f.a, "seat", 1, license.From(f.own.ID))
	case "inside":
		_, err = r.seats.Assign(f.inside, f.b, "seat", 1, license.From(f.a))
	case "project":
		_, err = r.seats.Consume(f.at, f.a, "seat", 1)
	case "above":
		_, err = r.seats.Consume(f.above, f.a, "seat", 1)
	case "mate":
		_, err = r.seats.Consume(f.mateAt, f.a, "seat", 1)
	case "lent":
		_, err = r.seats.Consume(f.lentAt, f.a, "seat", 1)
	case "vendor":
		_, err = r.seats.Grant(w.vendor, f.own.ID, "seat", 1)
	}
	return err
}

// looks are what a family reads, and what it is told.
func (w *world) looks(r rooms, f *family) (told [9]string) {
	tell := func(i int, what any, err error) { told[i] = fmt.Sprint(what, " ", err) }
	pool, err := r.seats.Balance(f.me, f.own.ID, "seat")
	tell(0, pool, err)
	active, err := r.reg.Access.Active(f.inside)
	tell(1, active, err)
	held, err := r.seats.Balance(f.at, f.a, "seat")
	tell(2, held, err)
	below, err := r.reg.Accounts.Get(f.above, f.a)
	tell(3, below, err)
	own, err := r.reg.Accounts.Get(f.inside, f.b)
	tell(4, own, err)
	decision, err := r.reg.Access.Explain(f.me, "license.assign", string(f.a))
	tell(5, decision, err)
	there, err := r.reg.Accounts.Get(f.lentAt, f.a)
	tell(6, there, err)
	works, err := r.reg.Access.Active(f.mateAt)
	tell(7, works, err)
	decision, err = r.reg.Access.Explain(f.me, "member.edit", string(f.a))
	tell(8, decision, err)
	return told
}

// warm makes the probes in both registries until the watched one reads nothing any more.
func (tw *twins) warm(f *family) {
	tw.t.Helper()
	var read []string
	for range 3 {
		tw.spy.facts()
		for _, name := range probes {
			tw.must(tw.probe(tw.rooms()[0], f, name))
		}
		if read = tw.spy.facts(); len(read) == 0 {
			break
		}
	}
	if len(read) > 0 {
		tw.t.Fatalf("it is read again and again: %q", read)
	}
	for range 2 {
		for _, name := range probes {
			tw.must(tw.probe(tw.rooms()[1], f, name))
		}
	}
}

// agree fails unless the probes that hits names are refused, no other, and as one says who remembers nothing.
func (tw *twins) agree(what string, f *family, hits []string) {
	tw.t.Helper()
	nobody := tw.fresh(tw.db)
	knows := tw.looks(rooms{nobody.reg, nobody.seats}, f)
	for i, r := range tw.rooms() {
		if told := tw.looks(r, f); told != knows {
			tw.t.Errorf("%s: registry %d tells %q, and a new one %q", what, i, told, knows)
		}
	}
	for _, name := range probes {
		knows := tw.probe(rooms{nobody.reg, nobody.seats}, f, name)
		if want := slices.Contains(hits, name); (knows != nil) != want {
			tw.t.Errorf("%s: %q is answered with %v", what, name, knows)
		}
		for i, r := range tw.rooms() {
			if err := tw.probe(r, f, name); fmt.Sprint(err) != fmt.Sprint(knows) {
				tw.t.Errorf("%s: registry %d answers %q with %v, and a new one with %v", what, i, name, err, knows)
			}
		}
	}
}

// change is something that calls must notice, and which of the probes it stops.
type change struct {
	name  string
	hits  []string
	do    func(*twins, rooms, *family) error
	alone bool // not inside a host's transaction
}

func (tw *twins) raw(query string, args ...any) error { return tw.other.db.Exec(query, args...).Error }

// changes are all that the SDK can do to what decisions rest on, and what an operator does by hand.
func changes() []change {
	users, project, within := []string{"pool", "inside"}, []string{"pool", "inside", "project", "above", "mate", "lent"}, []string{"project", "mate", "lent"}
	return append(placeChanges(), []change{
		{"block", users, func(tw *twins, r rooms, f *family) error { return r.reg.Partners.Block(tw.vendor, f.own.ID, false) }, false},
		{"block with those below", []string{"pool", "inside", "above"}, func(tw *twins, r rooms, f *family) error {
			return r.reg.Partners.Block(tw.vendor, f.boss.ID, true)
		}, false},
		{"block above only", []string{"above"}, func(tw *twins, r rooms, f *family) error {
			return r.reg.Partners.Block(tw.vendor, f.boss.ID, false)
		}, false},
		{"block users", within, func(tw *twins, r rooms, f *family) error {
			return r.reg.Partners.BlockUsers(tw.vendor, f.own.ID, false)
		}, false},
		{"block users with those below", within, func(tw *twins, r rooms, f *family) error {
			return r.reg.Partners.BlockUsers(tw.vendor, f.boss.ID, true)
		}, false},
		{"block and lift", users, func(tw *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Partners.Block(tw.vendor, f.own.ID, false), r.reg.Partners.Unblock(tw.vendor, f.own.ID))
		}, false},
		{"block below and take that back", []string{"pool", "inside", "above"}, func(tw *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Partners.Block(tw.vendor, f.boss.ID, true), r.reg.Partners.Block(tw.vendor, f.boss.ID, false))
		}, false},
		{"suspend", project, func(tw *twins, r rooms, f *family) error { return r.reg.Accounts.Suspend(tw.vendor, f.a) }, false},
		{"suspend the other", []string{"inside"}, func(tw *twins, r rooms, f *family) error { return r.reg.Accounts.Suspend(tw.vendor, f.b) }, false},
		{"suspend and resume", nil, func(tw *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Accounts.Suspend(tw.vendor, f.a), r.reg.Accounts.Resume(tw.vendor, f.a))
		}, false},
		{"close", project, func(_ *twins, r rooms, f *family) error { _, err := r.reg.Accounts.Close(f.me, f.a); return err }, false},
		{"close from above", []string{"inside"}, func(_ *twins, r rooms, f *family) error { _, err := r.reg.Accounts.Close(f.above, f.b); return err }, false},
		{"log out", []string{"pool"}, func(_ *twins, r rooms, f *family) error { return r.reg.Access.Logout(f.me) }, false},
		{"log out inside", []string{"inside"}, func(_ *twins, r rooms, f *family) error { return r.reg.Access.Logout(f.inside) }, false},
		{"log the project out", []string{"project"}, func(_ *twins, r rooms, f *family) error { return r.reg.Access.Logout(f.at) }, false},
		{"switch", []string{"pool"}, func(_ *twins, r rooms, f *family) error { return r.reg.Access.SwitchTo(f.me, f.b) }, false},
		{"switch elsewhere", []string{"inside"}, func(_ *twins, r rooms, f *family) error { return r.reg.Access.SwitchTo(f.inside, f.b) }, false},
		{"switch back", []string{"inside"}, func(_ *twins, r rooms, f *family) error { return r.reg.Access.SwitchBack(f.inside) }, false},
		{"move to the top", []string{"above"}, func(tw *twins, r rooms, f *family) error { return r.reg.Partners.MoveUnder(tw.vendor, f.own.ID, "") }, false},
		{"move to another tree", []string{"above"}, func(tw *twins, r rooms, f *family) error {
			return r.reg.Partners.MoveUnder(tw.vendor, f.own.ID, tw.rival.boss.ID)
		}, false},
		{"move away and back", nil, func(tw *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Partners.MoveUnder(tw.vendor, f.own.ID, ""), r.reg.Partners.MoveUnder(tw.vendor, f.own.ID, f.boss.ID))
		}, false},
		{"manage no more", []string{"above"}, func(tw *twins, r rooms, f *family) error {
			_, err := r.reg.Partners.Edit(tw.vendor, f.boss.ID, f.boss.Version, func(a *partner.Agreement) { a.ManagesSubPartners = false })
			return err
		}, false},
		{"change the password", []string{"inside"}, func(_ *twins, r rooms, f *family) error {
			return r.reg.Access.ChangePassword(f.me, password, "another password")
		}, true},
		{"set the project's password", []string{"project"}, func(_ *twins, r rooms, f *family) error {
			return r.reg.Accounts.SetProjectPassword(f.me, f.a, "another password")
		}, true},
		{"reset the project's password", []string{"project"}, func(_ *twins, r rooms, f *family) error {
			_, err := r.reg.Accounts.ResetProjectPassword(f.me, f.a)
			return err
		}, true},
		{"the project changes its password", nil, func(_ *twins, r rooms, f *family) error {
			return r.reg.Access.ChangePassword(f.at, password, "another password")
		}, true},
		{"archive by hand", probes, func(tw *twins, _ rooms, f *family) error {
			return tw.raw("UPDATE prm_partners SET state = 'archived' WHERE id = ?", f.own.ID)
		}, true},
		{"disable by hand", users, func(tw *twins, _ rooms, f *family) error {
			return tw.raw("UPDATE prm_users SET disabled = ? WHERE partner_id = ?", true, f.own.ID)
		}, true},
		{"demote by hand", users, func(tw *twins, _ rooms, f *family) error {
			return tw.raw("UPDATE prm_users SET role = 'member' WHERE partner_id = ?", f.own.ID)
		}, true},
		{"delete a session by hand", []string{"inside", "lent"}, func(tw *twins, _ rooms, f *family) error {
			return tw.raw("DELETE FROM prm_sessions WHERE active_id = ?", f.a)
		}, true},
		{"end a session by hand", []string{"inside", "lent"}, func(tw *twins, _ rooms, f *family) error {
			return tw.raw("UPDATE prm_sessions SET ends_at = 1 WHERE active_id = ?", f.a)
		}, true},
		{"let a session rest by hand", []string{"inside", "lent"}, func(tw *twins, _ rooms, f *family) error {
			return tw.raw("UPDATE prm_sessions SET seen_at = 1, ends_at = ends_at WHERE active_id = ?", f.a)
		}, true},
		{"end log-ins by hand", users, func(tw *twins, _ rooms, f *family) error {
			return tw.raw("UPDATE prm_identities SET epoch = epoch + 1 WHERE id IN (SELECT identity_id FROM prm_users WHERE partner_id = ?)", f.own.ID)
		}, true},
	}...)
}

// TestPIL12_PIL32_TheNextCallKnows: whatever happens to what a call rests on, in another registry or in this one, alone or in a host's
// transaction: the first call after it is answered by it, and by nothing that was undone.
func TestPIL12_PIL32_TheNextCallKnows(t *testing.T) {
	dbtest.AtOnce(t, func(t *testing.T, db *dbtest.Database) {
		tw := newTwins(t, db)
		for _, c := range changes() {
			for i, where := range []string{"the same", "the other"} {
				f := tw.family()
				tw.warm(&f)
				tw.must(c.do(tw, tw.rooms()[i], &f))
				tw.agree(c.name+" in "+where, &f, c.hits)
			}
			if !c.alone && !testing.Short() {
				tw.inHost(c)
			}
		}
		tw.sound()
	})
}

// inHost makes a change in transactions of the host: one that commits, one that does not, and one that takes only the change back.
func (tw *twins) inHost(c change) {
	tw.t.Helper()
	f := tw.family()
	for _, end := range []string{"rolled back", "taken back", "committed"} {
		what := c.name + ", " + end
		tw.warm(&f)
		var hits []string
		err := tw.other.inHost(map[string]error{"rolled back": errRollBack}[end], func(tx *gorm.DB, r rooms) error {
			if err := tx.SavePoint("before").Error; err != nil {
				return err
			}
			if err := c.do(tw, r, &f); err != nil {
				return err
			}
			tw.inside(what, r, &f, c.hits)
			if end == "taken back" {
				if err := tx.RollbackTo("before").Error; err != nil {
					return err
				}
				tw.inside(what, r, &f, nil)
			}
			return nil
		})
		if end == "rolled back" && errors.Is(err, errRollBack) {
			err = nil
		}
		if tw.must(err); end == "committed" {
			hits = c.hits
		}
		tw.agree(what, &f, hits)
	}
}

// inside fails unless the host's own transaction sees what it has done, while those whom it does not concern go on and remember.
func (tw *twins) inside(what string, r rooms, f *family, hits []string) {
	tw.t.Helper()
	for _, name := range probes {
		if err := tw.probe(r, f, name); (err != nil) != slices.Contains(hits, name) {
			tw.t.Errorf("%s: in the transaction, %q answers %v", what, name, err)
		}
	}
	if tw.db.Kind == dbtest.SQLite { // which has one writer
		return
	}
	for _, r := range tw.rooms() {
		for range 2 {
			tw.must(tw.probe(r, &tw.stranger, "project"))
		}
	}
}
