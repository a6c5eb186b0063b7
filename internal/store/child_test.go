package store_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// What a child process is told.
const (
	childVerb = "PARTNERKIT_STORE_CHILD" // "migrate" or "bump"
	childKind = "PARTNERKIT_STORE_KIND"
	childDSN  = "PARTNERKIT_STORE_DSN"
	childRuns = "PARTNERKIT_STORE_RUNS"
)

// child is the work of a process that a test started, and its exit code.
func child() int {
	db, err := dbtest.Connect(os.Getenv(childKind), os.Getenv(childDSN), &gorm.Config{})
	if err == nil {
		switch os.Getenv(childVerb) {
		case "migrate":
			err = store.Migrate(context.Background(), db)
		case "bump":
			err = bumpAll(db)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func bumpAll(host *gorm.DB) error {
	again := newRetries()
	d, err := store.Open(context.Background(), host, store.Config{Logger: slog.New(again)})
	if err != nil {
		return err
	}
	runs, _ := strconv.Atoi(os.Getenv(childRuns))
	for range runs {
		if err := store.InTx(context.Background(), d, func(tx *store.Tx) error { return bump(tx, "row") }); err != nil {
			return err
		}
	}
	if n := again.n.Load(); n > 0 { // a writer that begins immediate waits for its turn
		return fmt.Errorf("%d transactions ran again", n)
	}
	return nil
}

// processes runs n copies of this test binary at once and returns what those that failed said.
func processes(t testing.TB, n int, db *dbtest.Database, verb string, runs int) (failed []string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			var out bytes.Buffer
			c := exec.Command(self)
			c.Env = append(os.Environ(), childVerb+"="+verb, childKind+"="+db.Kind, childDSN+"="+db.DSN, childRuns+"="+strconv.Itoa(runs))
			c.Stdout, c.Stderr = &out, &out
			if err := c.Run(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Sprintf("process %d: %v: %s", i, err, bytes.TrimSpace(out.Bytes())))
			}
		})
	}
	all.Wait()
	return failed
}
