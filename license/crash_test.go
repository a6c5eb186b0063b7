package license_test

import (
	"bufio"
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

// TestCrash_AcknowledgedMovesSurviveKill9 kills a process of sixteen callers again and again: what it acknowledged is there exactly once,
// nothing is made or lost, and repeating what it did not acknowledge has one effect. PARTNERKIT_CRASH_CYCLES sets another number of kills.
func TestCrash_AcknowledgedMovesSurviveKill9(t *testing.T) {
	cycles := times(t, "PARTNERKIT_CRASH_CYCLES", 50)
	t.Run(dbtest.SQLite, func(t *testing.T) {
		// As a host opens it, with fsync.
		db := &dbtest.Database{Kind: dbtest.SQLite, DSN: partner.SQLiteDSN(filepath.Join(t.TempDir(), "crash.db"))}
		db.DB = db.Open(t, &gorm.Config{})
		(&crash{drill: newDrill(t, db.DB), kind: db.Kind, dsn: db.DSN}).run(cycles)
		var sound string
		if err := db.Raw("PRAGMA integrity_check").Scan(&sound).Error; err != nil || sound != "ok" {
			t.Errorf("integrity_check: %q, %v", sound, err)
		}
	})
	t.Run(dbtest.Postgres, func(t *testing.T) {
		db := dbtest.New(t, dbtest.Postgres)
		(&crash{drill: newDrill(t, db.DB), kind: db.Kind, dsn: db.DSN}).run(cycles)
	})
}

type crash struct {
	*drill
	kind, dsn string

	total, lost, twice int
	cut, done          int // deeds that were cut off, and how many of them had happened
	took               []time.Duration
}

// verifyEvery is how many cycles of a long form go by between two looks at all of history, which grows with them.
const verifyEvery = 50

func (c *crash) run(cycles int) {
	for cycle := 1; cycle <= cycles && !c.t.Failed(); cycle++ {
		name := "crash" + strconv.Itoa(cycle)
		begun := time.Now()
		cut := c.killOne(name)
		c.took = append(c.took, time.Since(begun))
		c.check(name, cut)
		c.repeat(name, cut)
		acked, lost, twice, _ := c.settled(name)
		c.total, c.lost, c.twice = c.total+acked, c.lost+lost, c.twice+twice
		if cycle%verifyEvery == 0 || cycle == cycles || cycles <= verifyEvery {
			c.sound(name)
		}
	}
	slices.Sort(c.took)
	c.t.Logf("%d kills: %d acknowledged, %d lost, %d twice; %d cut off of which %d had happened, %d refused; median cycle %v",
		len(c.took), c.total, c.lost, c.twice, c.cut, c.done, c.refused, c.took[len(c.took)/2].Round(time.Millisecond))
	if c.total < cycles || c.cut == 0 {
		c.t.Errorf("%d deeds acknowledged, %d cut off: the kills come too early or too late", c.total, c.cut)
	}
}

// killOne lets one child work, kills it, and returns the deeds that it began and was not heard to end.
func (c *crash) killOne(name string) (cut map[string]deed) {
	c.t.Helper()
	process, lines := c.begin(c.kind, c.dsn, name, 16, 0)
	var kill *time.Timer
	cut = map[string]deed{}
	for lines.Scan() {
		d, ended := c.heard(lines.Text(), cut)
		if ended && c.acked[d.key] && kill == nil {
			kill = time.AfterFunc(5*time.Millisecond+rand.N(95*time.Millisecond), func() { _ = process.Process.Kill() })
		}
	}
	if err := process.Wait(); err == nil || process.ProcessState.Exited() {
		c.t.Errorf("the child was not killed: %v", process.ProcessState)
	}
	c.gone(name)
	return cut
}

// begin starts a child process that ends with the test.
func (d *drill) begin(kind, dsn, name string, callers, calls int) (*exec.Cmd, *bufio.Scanner) {
	d.t.Helper()
	self, err := os.Executable()
	d.must(err)
	process := exec.CommandContext(d.t.Context(), self)
	if kind == dbtest.Postgres {
		dsn += " application_name=" + name
	}
	process.Env = append(os.Environ(), childKind+"="+kind, childDSN+"="+dsn, childName+"="+name,
		childTokens+"="+strings.Join(d.tokens, " "), childCallers+"="+strconv.Itoa(callers), childCalls+"="+strconv.Itoa(calls))
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	d.must(err)
	d.must(process.Start())
	return process, bufio.NewScanner(out)
}

// heard notes a line of a child; ended tells that it is of a deed's end.
func (d *drill) heard(line string, open map[string]deed) (what deed, ended bool) {
	word, rest, _ := strings.Cut(line, " ")
	what, err := parseDeed(rest)
	switch {
	case word == "error" || err != nil:
		d.t.Errorf("the child says %q", line)
		return what, false
	case word == "try":
		open[what.key] = what
		return what, false
	case word == "ack":
		d.acked[what.key] = true
	default:
		d.refused++
	}
	delete(open, what.key)
	return what, true
}

// gone waits until PostgreSQL has noticed that the child's connections are: a commit may be on its way.
func (c *crash) gone(name string) {
	for n := int64(1); n > 0 && c.kind == dbtest.Postgres; {
		c.must(c.db.Raw("SELECT count(*) FROM pg_stat_activity WHERE application_name = ?", name).Scan(&n).Error)
	}
}

// check holds what is stored right after the kill against what was acknowledged, and against what was begun.
func (c *crash) check(name string, cut map[string]deed) {
	c.t.Helper()
	stored := c.stored(name)
	for key := range c.acked {
		if stored[key] != 1 {
			c.t.Errorf("key %s was acknowledged and is stored %d times", key, stored[key])
		}
	}
	for key, n := range stored {
		if _, begun := cut[key]; n != 1 || !begun && !c.acked[key] {
			c.t.Errorf("key %s is stored %d times; cut off %v", key, n, begun)
		}
		if _, begun := cut[key]; begun {
			c.done++
		}
	}
	c.sums(name)
}

// repeat sends again what was cut off, twice: it happens now unless it had, and never more than once.
func (c *crash) repeat(name string, cut map[string]deed) {
	c.t.Helper()
	c.cut += len(cut)
	before := c.stored(name)
	for _, d := range cut {
		first, err := c.do(d)
		if err != nil {
			refusal := errors.Is(err, license.ErrInsufficient) || errors.Is(err, license.ErrReservationDone)
			if !refusal || before[d.key] > 0 {
				c.t.Errorf("repeating %s, stored before: %d: %v", d, before[d.key], err)
			}
			continue
		}
		if again, err := c.do(d); err != nil || again != first {
			c.t.Errorf("repeating %s again: %s, %v; want %s", d, again, err, first)
		}
		c.acked[d.key] = true
	}
}
