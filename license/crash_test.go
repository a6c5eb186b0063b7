package license_test

import (
	"bufio"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// TestCrash_AcknowledgedMovesSurviveKill9 kills a working process again and again: what it acknowledged is there exactly once, nothing is
// made or lost, and repeating what it did not acknowledge has one effect. PARTNERKIT_CRASH_CYCLES sets another number of kills.
func TestCrash_AcknowledgedMovesSurviveKill9(t *testing.T) {
	cycles := 50
	if testing.Short() {
		cycles = 5
	}
	if n, err := strconv.Atoi(os.Getenv("PARTNERKIT_CRASH_CYCLES")); err == nil {
		cycles = n
	}
	t.Run(dbtest.SQLite, func(t *testing.T) {
		// As a host opens it, with fsync.
		db := &dbtest.Database{Kind: dbtest.SQLite, DSN: partner.SQLiteDSN(filepath.Join(t.TempDir(), "crash.db"))}
		db.DB = db.Open(t, &gorm.Config{})
		newCrash(t, db).run(cycles)
		var sound string
		if err := db.Raw("PRAGMA integrity_check").Scan(&sound).Error; err != nil || sound != "ok" {
			t.Errorf("integrity_check: %q, %v", sound, err)
		}
	})
	t.Run(dbtest.Postgres, func(t *testing.T) { newCrash(t, dbtest.New(t, dbtest.Postgres)).run(cycles) })
}

const crashStock = 10_000

type crash struct {
	t        *testing.T
	db       *dbtest.Database
	reg      *partner.Registry
	seats    *license.Ledger
	vendor   context.Context
	sessions []context.Context
	projects []partner.Account

	cycle            int
	acked            []string
	unacked, done    int // moves that were cut off, and how many of them had happened
	refused          int
	times            []time.Duration
	transfersCounted int64
}

func newCrash(t *testing.T, db *dbtest.Database) *crash {
	t.Helper()
	c := &crash{t: t, db: db, vendor: partner.AsVendor(context.Background(), "ops@vendor.example")}
	c.must(partner.Migrate(context.Background(), db.DB))
	reg, err := partner.Open(context.Background(), db.DB, crashOptions())
	c.must(err)
	c.reg, c.seats = reg, license.New(reg)
	p, err := reg.Partners.Create(c.vendor, partner.Agreement{Name: "Crash", Login: crashLogin, Email: "crash@partner.example", Password: crashPassword,
		Currency: "EUR"})
	c.must(err)
	s, err := reg.Access.Login(context.Background(), crashLogin, crashPassword, "")
	c.must(err)
	for i := range crashProjects {
		name := "crash-project-" + strconv.Itoa(i)
		_, err := reg.Accounts.OpenProject(partner.WithSession(context.Background(), s), partner.NewProject{Name: name, Email: name + "@customer.example",
			Company: "Globex", Country: "DE", Login: name, Password: crashPassword})
		c.must(err)
	}
	c.must(c.seats.Define(c.vendor, license.Type{SKU: crashSKU, Name: "Seat"}))
	_, err = c.seats.Grant(c.vendor, p.ID, crashSKU, crashStock, license.Key("stock"))
	c.must(err)
	c.sessions, c.projects, err = crashSessions(reg)
	c.must(err)
	for i, project := range c.projects { // something to give back
		_, err := c.seats.Assign(c.sessions[0], project.ID, crashSKU, crashStock/5, license.Key("stock "+strconv.Itoa(i)))
		c.must(err)
	}
	return c
}

func (c *crash) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("cycle %d: %v", c.cycle, err)
	}
}

func (c *crash) run(cycles int) {
	for c.cycle = 1; c.cycle <= cycles && !c.t.Failed(); c.cycle++ {
		begun := time.Now()
		cut := c.killOne()
		c.times = append(c.times, time.Since(begun))
		c.check()
		c.repeat(cut)
		c.check()
	}
	slices.Sort(c.times)
	c.t.Logf("%d kills: %d acknowledged moves, %d cut off of which %d had happened, %d refused; median cycle %v",
		len(c.times), len(c.acked), c.unacked, c.done, c.refused, c.times[len(c.times)/2].Round(time.Millisecond))
	if len(c.acked) < cycles || c.unacked == 0 {
		c.t.Errorf("%d moves acknowledged, %d cut off: the kills come too early or too late", len(c.acked), c.unacked)
	}
}

// killOne lets one child work, kills it, and returns the moves that it began and did not acknowledge.
func (c *crash) killOne() (cut []crashMove) {
	c.t.Helper()
	self, err := os.Executable()
	c.must(err)
	child := exec.Command(self)
	name := "crash_" + strconv.Itoa(c.cycle)
	dsn := c.db.DSN
	if c.db.Kind == dbtest.Postgres {
		dsn += " application_name=" + name
	}
	child.Env = append(os.Environ(), crashKind+"="+c.db.Kind, crashDSN+"="+dsn, crashCycle+"="+strconv.Itoa(c.cycle))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	c.must(err)
	c.must(child.Start())
	var kill *time.Timer
	open := map[string]crashMove{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		m, ok := parseCrashMove(rest)
		switch {
		case word == "error" || !ok:
			c.t.Errorf("the child says %q", lines.Text())
		case word == "try":
			open[m.key] = m
		case word == "ack":
			c.acked = append(c.acked, m.key)
			delete(open, m.key)
			if kill == nil {
				kill = time.AfterFunc(5*time.Millisecond+rand.N(55*time.Millisecond), func() { _ = child.Process.Kill() })
			}
		default: // refused: an empty project has nothing to give back
			if delete(open, m.key); !strings.Contains(rest, license.ErrInsufficient.Error()) {
				c.t.Errorf("the child was refused: %s", rest)
			}
			c.refused++
		}
	}
	if err := child.Wait(); err == nil || child.ProcessState.Exited() {
		c.t.Errorf("the child was not killed: %v", child.ProcessState)
	}
	c.gone(name)
	for _, m := range open {
		cut = append(cut, m)
	}
	return cut
}

// gone waits until PostgreSQL has noticed that the child's connections are: a commit may be on its way.
func (c *crash) gone(name string) {
	for n := int64(1); n > 0 && c.db.Kind == dbtest.Postgres; {
		c.must(c.db.Raw("SELECT count(*) FROM pg_stat_activity WHERE application_name = ?", name).Scan(&n).Error)
	}
}

// check holds the rows against what was acknowledged.
func (c *crash) check() {
	c.t.Helper()
	var rows []struct {
		Key string
		N   int64
	}
	c.must(c.db.Raw("SELECT key, count(*) AS n FROM prm_ledger_transfers GROUP BY key").Scan(&rows).Error)
	stored := make(map[string]int64, len(rows))
	for _, r := range rows {
		if stored[r.Key] = r.N; r.N != 1 {
			c.t.Errorf("cycle %d: key %s is stored %d times", c.cycle, r.Key, r.N)
		}
	}
	for _, key := range c.acked {
		if stored[key] != 1 {
			c.t.Errorf("cycle %d: key %s was acknowledged and is stored %d times", c.cycle, key, stored[key])
		}
	}
	c.transfersCounted = int64(len(rows))
	v, err := c.seats.Verify(c.vendor)
	c.must(err)
	if v.FirstWrong != 0 || v.Transfers != c.transfersCounted {
		c.t.Errorf("cycle %d: %+v, want %d transfers", c.cycle, v, c.transfersCounted)
	}
	var all, held, events int64
	c.must(c.db.Raw("SELECT CAST(SUM(amount) AS BIGINT) FROM prm_ledger_balances").Scan(&all).Error)
	c.must(c.db.Raw("SELECT CAST(SUM(amount) AS BIGINT) FROM prm_ledger_balances WHERE owner <> 'issuer'").Scan(&held).Error)
	c.must(c.db.Raw("SELECT count(*) FROM prm_events WHERE kind IN ('license.granted', 'license.assigned', 'license.returned')").Scan(&events).Error)
	if all != 0 || held != crashStock || events != c.transfersCounted {
		c.t.Errorf("cycle %d: all balances sum to %d, held are %d, %d events for %d transfers", c.cycle, all, held, events, c.transfersCounted)
	}
}

// repeat sends again what was cut off, twice: it happens now unless it had, and never more than once.
func (c *crash) repeat(cut []crashMove) {
	c.t.Helper()
	c.unacked += len(cut)
	for _, m := range cut {
		first, err := m.do(c.sessions[m.worker], c.seats, c.projects)
		if err != nil {
			if !errors.Is(err, license.ErrInsufficient) {
				c.t.Errorf("cycle %d: repeating %s: %v", c.cycle, m, err)
			}
			continue
		}
		if first.Replayed {
			c.done++
		}
		again, err := m.do(c.sessions[m.worker], c.seats, c.projects)
		if err != nil || !again.Replayed || again.ID != first.ID {
			c.t.Errorf("cycle %d: repeating %s again: %+v, %v; want transfer %d replayed", c.cycle, m, again, err, first.ID)
		}
		c.acked = append(c.acked, m.key)
	}
}
