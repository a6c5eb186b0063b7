// Command bench measures the public API beside floors: the least that hand-written code would do for the same outcome, through the same
// driver, on the same server or disk, in the same run. A ratio within one run is what it is for; absolute figures belong to a machine.
//
//	go run ./internal/bench -db sqlite|postgres [-quick] [-json] [-run regexp] [-only ours|floor] [-cpuprofile file] …
//
// Each block's targets take turns, in another order each round, and figures are medians over the rounds. The run ends with a check of the
// books, ours by license.Verify and the floors' by theirs, and fails if they are wrong or a call failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	s, err := parse(os.Args[1:], os.Stderr)
	if err == nil {
		err = run(ctx, s, os.Stdout)
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are what one run measures, and how.
type settings struct {
	kind       string // of database
	quick      bool
	json       bool
	names      *regexp.Regexp // of measures, as name@callers
	callers    []int          // instead of each measure's own
	only       string         // "ours", "floor" or both
	rounds     int
	window     time.Duration // of one target in one round
	warmup     time.Duration
	cpuProfile string
	memProfile string
	sizes      sizes
}

// sizes are those of the worlds.
type sizes struct {
	projects       int // of the partner whose pool is hot
	spreadPartners int
	spreadProjects int   // of each of them
	sessions       int   // of each of those partners, each at work in another project
	questions      int   // about access
	access         int   // partners in the tree they are asked in
	lists          []int // partners to list
}

func parse(args []string, out io.Writer) (settings, error) {
	s := settings{sizes: sizes{projects: 1000, spreadPartners: 200, spreadProjects: 50, sessions: 10, questions: 2000, access: 100_000, lists: []int{10_000, 100_000, 1_000_000}}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&s.kind, "db", dbtest.SQLite, "sqlite or postgres")
	flags.BoolVar(&s.quick, "quick", false, "fewer callers, smaller worlds, shorter rounds: ends within 50 seconds")
	flags.BoolVar(&s.json, "json", false, "one JSON line a result")
	names := flags.String("run", "", "measure only what this regular expression finds in name@callers")
	flags.Func("callers", "measure with so many callers, as in 1,64, instead of each measure's own", func(list string) error {
		for _, text := range strings.Split(list, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of callers", text)
			}
			s.callers = append(s.callers, n)
		}
		return nil
	})
	flags.StringVar(&s.only, "only", "", "ours or floor: measure one side, for a profile")
	flags.IntVar(&s.rounds, "rounds", 0, "rounds (default 3, quick 2)")
	seconds := flags.Float64("seconds", 0, "length of a round (default 1.5, quick 0.4)")
	flags.StringVar(&s.cpuProfile, "cpuprofile", "", "write a CPU profile; go tool pprof -tagfocus target=assign/hot leaves out the making of worlds")
	flags.StringVar(&s.memProfile, "memprofile", "", "write what was allocated")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var err error
	if s.names, err = regexp.Compile(*names); err != nil {
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("what is %q?", flags.Arg(0))
	case s.kind != dbtest.SQLite && s.kind != dbtest.Postgres:
		return s, fmt.Errorf("-db is %s or %s", dbtest.SQLite, dbtest.Postgres)
	case s.only != "" && s.only != "ours" && s.only != "floor":
		return s, errors.New("-only is ours or floor")
	}
	s.defaults(time.Duration(*seconds * float64(time.Second)))
	return s, nil
}

func (s *settings) defaults(window time.Duration) {
	rounds := 3
	s.window, s.warmup = 1500*time.Millisecond, 500*time.Millisecond
	if s.quick {
		rounds, s.window, s.warmup = 2, 400*time.Millisecond, 200*time.Millisecond
		s.sizes.sessions, s.sizes.questions, s.sizes.lists = 2, 500, []int{10_000, 100_000}
	}
	if s.rounds <= 0 {
		s.rounds = rounds
	}
	if window > 0 {
		s.window = window
	}
}

// measures are all there is to measure.
func measures(s settings) []measure {
	list := []measure{assignHot(s), assignSpread(s), batch50(s), access(s), cached(s), lists(s), searches(s), deliver(s)}
	for i := range list {
		if s.callers != nil {
			list[i].callers = s.callers
		}
	}
	return list
}

// run measures everything that s asks for and writes it to out as it comes.
func run(ctx context.Context, s settings, out io.Writer) (err error) {
	stop, err := profile(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	h, err := newHost(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	p := printer{out: out, json: s.json}
	if err := h.describe(ctx, p); err != nil {
		return err
	}
	var wrong []error
	for _, m := range measures(s) {
		began := false
		for _, callers := range m.callers {
			if !s.names.MatchString(fmt.Sprintf("%s@%d", m.name, callers)) {
				continue
			}
			if !began {
				p.measure(m)
				began = true
			}
			results, err := m.take(ctx, h, callers)
			p.results(results)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("%s with %d callers: %w", m.name, callers, err))
			}
			if ctx.Err() != nil {
				return errors.Join(append(wrong, ctx.Err())...)
			}
		}
	}
	return errors.Join(wrong...)
}

// profile begins the profiles that s asks for; stop ends and writes them.
func profile(s settings) (stop func() error, err error) {
	ends := []func() error{}
	if s.cpuProfile != "" {
		f, err := os.Create(s.cpuProfile)
		if err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		ends = append(ends, func() error {
			pprof.StopCPUProfile()
			return f.Close()
		})
	}
	if s.memProfile != "" {
		ends = append(ends, func() error {
			f, err := os.Create(s.memProfile)
			if err != nil {
				return err
			}
			return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
		})
	}
	return func() error {
		var errs []error
		for _, end := range ends {
			errs = append(errs, end())
		}
		return errors.Join(errs...)
	}, nil
}
