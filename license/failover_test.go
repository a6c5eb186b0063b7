package license_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// pair is a primary and its standby.
type pair struct {
	*drill
	primary, standby *dbtest.Node
	settings         []string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{primary: dbtest.NewNode(t), standby: dbtest.NewNode(t), settings: []string{"wal_retrieve_retry_interval=100ms"}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(p.primary.Start(p.settings...))
	must(p.primary.Database("drill"))
	db := &dbtest.Database{Kind: dbtest.Postgres, DSN: dbtest.DSNOf("drill", p.primary, p.standby)}
	db.DB = db.Open(t, &gorm.Config{})
	p.drill = newDrill(t, db.DB)
	return p
}

// follow makes the standby anew; synchronous is whether the primary waits for it.
func (p *pair) follow(synchronous bool) {
	p.t.Helper()
	p.must(p.standby.Follow(p.primary, "standby", p.settings...))
	var none string
	state := "async"
	if synchronous {
		state = "sync"
		p.must(p.primary.Query(&none, "ALTER SYSTEM SET synchronous_standby_names = 'standby'"))
		p.must(p.primary.Query(&none, "SELECT pg_reload_conf()"))
	}
	p.must(p.primary.Await("SELECT EXISTS (SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = ?)", state))
}

// kill ends the primary as the end of its machine does. Frozen is its sender of changes, if that has been stopped before: what it has not
// sent is never sent.
func (p *pair) kill(frozen int) {
	p.primary.End("KILL")
	if frozen != 0 {
		_ = syscall.Kill(frozen, syscall.SIGKILL)
	}
}

// freeze stops the sender of changes.
func (p *pair) freeze() (sender int) {
	p.t.Helper()
	p.must(p.primary.Query(&sender, "SELECT pid FROM pg_stat_replication"))
	p.must(syscall.Kill(sender, syscall.SIGSTOP))
	p.t.Cleanup(func() { _ = syscall.Kill(sender, syscall.SIGKILL) })
	return sender
}

// promote makes the standby the primary.
func (p *pair) promote() {
	p.t.Helper()
	var yes bool
	if err := p.standby.Query(&yes, "SELECT pg_promote(true, 30)"); err != nil || !yes {
		p.t.Fatalf("promote: %v, %v\n%s", yes, err, p.standby.Log())
	}
	p.primary, p.standby = p.standby, p.primary
}

// TestCrash_FailoverToASynchronousStandby kills the primary under twelve callers and promotes its standby; the callers repeat what they are
// not answered. In every other cycle the primary has sent nothing for a while when it dies: what it could not have acknowledged, it has
// not. PARTNERKIT_FAILOVER_CYCLES sets another number of failovers; then the asynchronous control runs, too. A failover that no caller
// notices proves little: there is another one then.
func TestCrash_FailoverToASynchronousStandby(t *testing.T) {
	p := newPair(t)
	cycles, total, lost, twice := times(t, "PARTNERKIT_FAILOVER_CYCLES", 1), 0, 0, 0
	for cycle := 1; p.another(cycle, cycles); cycle++ {
		p.follow(true)
		name := "failover" + strconv.Itoa(cycle)
		end := p.work(12, name)
		p.until(200)
		sender := 0
		if cycle%2 == 0 {
			sender = p.freeze()
			p.quiet()
		}
		p.kill(sender)
		p.promote()
		p.until(200)
		end()
		a, l, w, _ := p.settled(name)
		total, lost, twice = total+a, lost+l, twice+w
		p.sound(name)
	}
	t.Logf("%d failovers: %d acknowledged, %d lost, %d twice; %d repeats, %d refused; longest gap %v",
		cycles, total, lost, twice, p.repeats, p.refused, p.gap.Round(time.Millisecond))
	if p.repeats == 0 {
		t.Error("no call met a failover")
	}
	if os.Getenv("PARTNERKIT_FAILOVER_CYCLES") != "" {
		t.Run("asynchronous", asynchronousControl)
	}
}

// quiet returns when a tenth of a second has gone by without an answer.
func (d *drill) quiet() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for before := -1; before != d.count(); <-tick.C {
		before = d.count()
	}
}

// asynchronousControl shows that the test above can see a loss: without a synchronous standby the same death of a primary loses what it
// has acknowledged and not sent.
func asynchronousControl(t *testing.T) {
	p := newPair(t)
	for try := 1; try <= 20; try++ {
		p.follow(false)
		sender := p.freeze()
		acked := map[string]bool{}
		for i := range 20 {
			key := fmt.Sprintf("async%d.%d", try, i)
			_, err := p.seats.Assign(p.sessions[0], p.projects[0].ID, drillSKU, 1, license.Key(key))
			p.must(err)
			acked[key] = true
		}
		p.kill(sender)
		p.promote()
		stored := p.stored("async" + strconv.Itoa(try))
		lost := 0
		for key := range acked {
			if stored[key] == 0 {
				lost++
			}
		}
		if lost > 0 {
			t.Logf("try %d: of %d acknowledged %d are lost", try, len(acked), lost)
			return
		}
	}
	t.Error("the control lost nothing in 20 tries: the test cannot see a loss")
}

// A commit whose session ends while it waits for the standby can be read on the primary and may never reach the standby. Who repeats the
// call is answered when the standby has it, and not before.
func TestCrash_ARepetitionWaitsForTheStandby(t *testing.T) {
	p := newPair(t)
	var deeds []deed
	for i, verb := range []string{"assign", "post", "void"} {
		about := deed{verb: verb, to: i, n: 1, key: "repeated." + verb, reservation: "-"}
		if verb == "post" || verb == "void" {
			reserve := deed{verb: "reserve", to: i, n: 1, key: "repeated.reserve-" + verb}
			id, err := p.do(reserve)
			p.must(err)
			p.acked[reserve.key], about.reservation = true, id
		}
		deeds = append(deeds, about)
	}
	p.follow(true)
	sender := p.freeze()
	first := p.start(deeds)
	p.must(p.primary.Await("SELECT count(*) = ? FROM pg_stat_activity WHERE wait_event = 'SyncRep'", len(deeds)))
	var ended int
	p.must(p.primary.Query(&ended, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))
	for range deeds {
		if a := <-first; !errors.Is(a.err, partner.ErrOutcomeUnknown) {
			t.Errorf("%s: %v", a.deed, a.err)
		}
	}
	repeated := p.start(deeds)
	patience, answers := time.After(time.Second), 0
	for waiting := true; waiting; {
		select {
		case a := <-repeated:
			answers++
			t.Errorf("%s, which the standby does not have: answered %v", a.deed, a.err)
			p.acked[a.deed.key] = a.err == nil
		case <-patience:
			waiting = false
		}
	}
	p.kill(sender)
	p.promote()
	for range len(deeds) - answers {
		<-repeated // nobody knows what became of it
	}
	for _, d := range deeds {
		if stored := p.stored("repeated")[d.key]; p.acked[d.key] && stored == 0 {
			t.Errorf("%s was acknowledged and is lost", d)
		}
		_, err := p.do(d)
		p.must(err)
		p.acked[d.key] = true
	}
	p.settled("repeated")
	p.sound("repeated")
}

// reply is what a deed was answered.
type reply struct {
	deed deed
	err  error
}

// start does deeds at once.
func (p *pair) start(deeds []deed) <-chan reply {
	replies := make(chan reply, len(deeds))
	for _, d := range deeds {
		go func() {
			_, err := p.do(d)
			replies <- reply{d, err}
		}()
	}
	return replies
}
