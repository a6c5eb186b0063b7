// Command river drains as many jobs by River and as many deliveries by the SDK, and by a floor of hand-written SQL, on one PostgreSQL in one
// run. River's newest version that its driver for pgx goes with stands in go.mod; it is no dependency of the SDK, so this is a module of its own.
//
//	cd internal/bench/river && go run . [-jobs n] [-rounds n] [-workers 100,500,2000] [-quick]
//
// Nobody does anything with a job. All are there before the clock starts, and it stops when the database has the last one finished. Who
// drains takes turns, each on a database of its own; figures are medians over the rounds, and River's is the best of its settings. The run
// fails if a job was lost or came twice. It asserts no ratio: -quick is only about that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	s, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, s, os.Stdout)
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1)
	}
}

// settings are what one run drains, and how.
type settings struct {
	jobs, rounds int
	workers      []int // River's MaxWorkers, one setting each
}

func parse(args []string) (s settings, err error) {
	flags := flag.NewFlagSet("river", flag.ContinueOnError)
	flags.IntVar(&s.jobs, "jobs", 60_000, "jobs to drain, by each in each round")
	flags.IntVar(&s.rounds, "rounds", 5, "rounds, after one to warm up")
	workers := flags.String("workers", "100,500,2000", "River's MaxWorkers: the best of these counts")
	quick := flags.Bool("quick", false, "2,000 jobs, one round: whether it works, not how fast it is")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if *quick {
		s.jobs, s.rounds, *workers = 2000, 1, "100"
	}
	for _, text := range strings.Split(*workers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return s, fmt.Errorf("%q is no number of workers", text)
		}
		s.workers = append(s.workers, n)
	}
	if s.jobs < 1 || s.rounds < 1 || flags.NArg() > 0 {
		return s, errors.New("no jobs, no rounds, or a word too many")
	}
	return s, nil
}

// contestant is one way to drain.
type contestant interface {
	// fill makes jobs, and throws away those of the round before.
	fill(ctx context.Context, jobs int) error
	// drain works them off, and returns how long it took until the database had the last one finished.
	drain(ctx context.Context, jobs int) (time.Duration, error)
	// books finds out whether each came once.
	books(ctx context.Context, jobs int) error
	close() error
}

// entry is a contestant with its times.
type entry struct {
	name string
	contestant
	perSecond      []float64
	client, server []float64 // microseconds of CPU a job
}

func (e *entry) round(ctx context.Context, m meter, jobs int) error {
	if err := e.fill(ctx, jobs); err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	before := m.now(ctx)
	took, err := e.drain(ctx, jobs)
	if err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	if after := m.now(ctx); len(before) > 0 && len(after) > 0 {
		client, server := after.since(before, jobs)
		e.client, e.server = append(e.client, client), append(e.server, server)
	}
	e.perSecond = append(e.perSecond, float64(jobs)/took.Seconds())
	if err := e.books(ctx, jobs); err != nil {
		return fmt.Errorf("%s: the books are wrong: %w", e.name, err)
	}
	return nil
}

// median of the rounds but the first, which was to warm up; 0 if there are none.
func median(rounds []float64) float64 {
	if len(rounds) < 2 {
		return 0
	}
	list := slices.Sorted(slices.Values(rounds[1:]))
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

// The SDK comes as hosts run it, and with several steps at once, as several processes would have them.
const (
	oursName  = "ours, Run"
	stepsName = "ours, 4 Steps"
	riverName = "River"
)

func run(ctx context.Context, s settings, out io.Writer) (err error) {
	server, err := dbtest.StartServer("fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=1GB", "max_wal_size=8GB", "max_connections=200")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	entries, err := enter(ctx, server, s)
	defer func() {
		for _, e := range entries {
			err = errors.Join(err, e.close())
		}
	}()
	if err != nil {
		return err
	}
	m, err := newMeter(ctx, server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	for round := range s.rounds + 1 {
		for i := range entries {
			if err := entries[(i+round)%len(entries)].round(ctx, m, s.jobs); err != nil {
				return err
			}
		}
	}
	report(out, s, entries)
	return nil
}

// enter makes the contestants.
func enter(ctx context.Context, server *dbtest.Server, s settings) (entries []*entry, err error) {
	add := func(name string, open func(ctx context.Context, dsn string) (contestant, error)) {
		if err != nil {
			return
		}
		var base base
		if base, err = newBase(server, strconv.Itoa(len(entries))); err != nil {
			return
		}
		c, failed := open(ctx, base.dsn)
		if err = failed; err != nil {
			err = errors.Join(err, base.drop())
			return
		}
		entries = append(entries, &entry{name: name, contestant: dropping{c, base.drop}})
	}
	add(oursName, func(ctx context.Context, dsn string) (contestant, error) { return newOurs(ctx, dsn, 0) })
	for _, n := range s.workers {
		add(fmt.Sprintf("%s, %d workers", riverName, n), func(ctx context.Context, dsn string) (contestant, error) { return newRiver(ctx, dsn, n) })
	}
	add(stepsName, func(ctx context.Context, dsn string) (contestant, error) { return newOurs(ctx, dsn, claimers) })
	add("floor", newFloor)
	return entries, err
}

// claimers are how many steps, and claims of the floor, there are at once.
const claimers = 4

// connections is how many each contestant's pool has.
const connections = 16

// base is a contestant's database.
type base struct {
	dsn  string
	drop func() error
}

func newBase(server *dbtest.Server, whose string) (b base, err error) {
	name := fmt.Sprintf("prm_river_%d_%s", os.Getpid(), whose)
	b.dsn, err = server.Create(name, "template1")
	b.drop = func() error { return server.Drop(name) }
	return b, err
}

// dropping is a contestant whose database goes with it.
type dropping struct {
	contestant
	drop func() error
}

func (d dropping) close() error { return errors.Join(d.contestant.close(), d.drop()) }

func report(out io.Writer, s settings, entries []*entry) {
	best, bestName := 0.0, ""
	for _, e := range entries {
		if rate := median(e.perSecond); strings.HasPrefix(e.name, riverName) && rate > best {
			best, bestName = rate, e.name
		}
	}
	fmt.Fprintf(out, "%d jobs, %d rounds, medians; x is to the rate of %s\n", s.jobs, s.rounds, bestName)
	fmt.Fprintf(out, "%-20s %10s %18s %7s   %s\n", "", "a second", "least to most", "x", "microseconds of CPU a job, client and server")
	for _, e := range entries {
		rate := median(e.perSecond)
		fmt.Fprintf(out, "%-20s %10.0f %18s %6.2fx   %.0f + %.0f\n", e.name, rate,
			fmt.Sprintf("%.0f to %.0f", slices.Min(e.perSecond[1:]), slices.Max(e.perSecond[1:])), rate/best, median(e.client), median(e.server))
	}
}

// await asks the database until nothing is left.
func await(ctx context.Context, left func(context.Context) (int, error)) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		n, err := left(ctx)
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// limit is how long one may take: what has not come by then is lost.
const limit = 5 * time.Minute
