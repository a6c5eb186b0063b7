package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/partnerkit/partnerkit/internal/dbtest"
)

// meter tells the CPU time of this program and of the server's processes. Others who work on the machine spoil it less than they spoil rates.
type meter struct {
	*pgx.Conn
	drop func() error
}

func newMeter(ctx context.Context, server *dbtest.Server) (m meter, err error) {
	b, err := newBase(server, "meter")
	if err != nil {
		return m, err
	}
	m.drop = b.drop
	if m.Conn, err = pgx.Connect(ctx, b.dsn); err != nil {
		err = errors.Join(err, m.drop())
	}
	return m, err
}

func (m meter) close() error { return errors.Join(m.Close(context.Background()), m.drop()) }

// usage is the time of each process so far, ours as 0.
type usage map[int]time.Duration

// now is empty where it cannot be told: it is read from Linux's /proc, and the server must run here.
func (m meter) now(ctx context.Context) usage {
	const processes = "SELECT pid FROM pg_stat_activity WHERE backend_type <> 'autovacuum worker'"
	rows, err := m.Query(ctx, processes)
	if err != nil {
		return nil
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	client, ok := spentBy("self")
	if err != nil || !ok {
		return nil
	}
	u := usage{0: client}
	for _, pid := range pids {
		if u[pid], ok = spentBy(strconv.Itoa(pid)); !ok {
			return nil
		}
	}
	return u
}

// since is what was spent since before, in microseconds a job. What has ended meanwhile is left out: a connection that did little.
func (u usage) since(before usage, jobs int) (client, server float64) {
	for pid, d := range u {
		each := float64((d - before[pid]).Microseconds()) / float64(jobs)
		if pid == 0 {
			client = each
		} else {
			server += each
		}
	}
	return client, server
}

// spentBy is a process's time in its own code and in the kernel, fields 14 and 15 of its stat, in hundredths of a second.
func spentBy(pid string) (time.Duration, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%s/stat", pid))
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name, which can hold anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, false
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, false
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err == nil
}
