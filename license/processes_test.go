package license_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
)

// TestCrash_FourProcessesOnOneServer lets four processes of eight callers each move units crosswise between the same pool and projects: no
// deadlock, and exactly what was accepted is in the ledger.
func TestCrash_FourProcessesOnOneServer(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	d := newDrill(t, db.DB)
	calls := times(t, "PARTNERKIT_PROCESS_CALLS", 25)
	type report struct {
		lines []string
		err   error
	}
	reports := make([]report, 4)
	var all sync.WaitGroup
	for i := range reports {
		process, lines := d.begin(db.Kind, db.DSN, fmt.Sprint("process.", i), 8, calls)
		all.Go(func() {
			for lines.Scan() {
				reports[i].lines = append(reports[i].lines, lines.Text())
			}
			reports[i].err = process.Wait()
		})
	}
	all.Wait()
	begun := map[string]deed{}
	for i, r := range reports {
		if r.err != nil {
			t.Errorf("process %d: %v", i, r.err)
		}
		for _, line := range r.lines {
			d.heard(line, begun)
		}
	}
	for _, unanswered := range begun {
		t.Errorf("%s has no answer", unanswered)
	}
	acked, refused := len(d.acked), d.refused
	if acked+refused != 4*8*calls {
		t.Errorf("%d accepted and %d refused of %d calls", acked, refused, 4*8*calls)
	}
	d.settled("process")
	d.sound("process")
	var deadlocks int64
	d.must(d.db.Raw("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks).Error)
	if deadlocks != 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
	t.Logf("%d accepted, %d refused, %d deadlocks", acked, refused, deadlocks)
}
