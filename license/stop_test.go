package license_test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"gorm.io/gorm"
)

// TestCrash_ServerStopsUnderLoad ends PostgreSQL under sixteen callers, at once and fast by turns, and starts it again; the callers repeat
// what they are not answered, with the same keys. PARTNERKIT_STOP_CYCLES sets another number of stops.
func TestCrash_ServerStopsUnderLoad(t *testing.T) {
	node := dbtest.NewNode(t)
	settings := []string{"max_connections=100"} // with fsync, as it comes
	if err := node.Start(settings...); err != nil {
		t.Fatal(err)
	}
	if err := node.Database("drill"); err != nil {
		t.Fatal(err)
	}
	db := &dbtest.Database{Kind: dbtest.Postgres, DSN: node.DSN("drill")}
	db.DB = db.Open(t, &gorm.Config{})
	d := newDrill(t, db.DB)
	cycles, total, lost, twice := times(t, "PARTNERKIT_STOP_CYCLES", 5), 0, 0, 0
	ended, away := map[string]int{}, time.Duration(0)
	for cycle := 1; d.another(cycle, cycles); cycle++ {
		name := "stop" + strconv.Itoa(cycle)
		end := d.work(16, name)
		d.until(20 + rand.IntN(150))
		signal := []string{"QUIT", "INT"}[cycle%2]
		ended[signal]++
		begun := time.Now()
		node.End(signal)
		if err := node.Start(settings...); err != nil {
			t.Fatal(err)
		}
		away = max(away, time.Since(begun))
		d.until(50)
		end()
		a, l, w, _ := d.settled(name)
		total, lost, twice = total+a, lost+l, twice+w
		if cycle%verifyEvery == 0 || cycle >= cycles || cycles <= verifyEvery {
			d.sound(name)
		}
	}
	t.Logf("%d stops (%d immediate, %d fast): %d acknowledged, %d lost, %d twice; %d repeats, %d refused; longest gap %v, the server was away for %v at most",
		cycles, ended["QUIT"], ended["INT"], total, lost, twice, d.repeats, d.refused, d.gap.Round(time.Millisecond), away.Round(time.Millisecond))
	if d.repeats == 0 {
		t.Error("no call met the stop")
	}
}
