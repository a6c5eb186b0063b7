package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime/pprof"
	"slices"
	"sync"
	"time"
)

// measure is one thing to measure, with any of several numbers of callers.
type measure struct {
	name     string
	includes string // what one call of ours, and one of the floor, is made of
	aim      string
	callers  []int
	floor    string // the target that the others are compared with
	times    bool   // the ratio is of median times, the floor's being 1; else of calls a second
	open     func(ctx context.Context, h *host, callers int) ([]target, error)
}

// target is one way to do a thing.
type target struct {
	name  string // empty for ours, if there is but one
	ours  bool
	items int // what one call counts for, if more than one
	// call is what one caller, numbered from 0, runs in a loop.
	call func(ctx context.Context, caller int) error
	// count is call that tells what it counts for, where that differs; it may take so long that all of it counts, and the time until it returns.
	count func(ctx context.Context, caller int) (items int, err error)
	// fill makes ready for so long a loop, outside its time; nil if there is nothing to be made.
	fill func(ctx context.Context, window time.Duration) error
	// books checks the accounts after so many items; nil if there are none.
	books func(ctx context.Context, done, failed int) error
	close func() error
}

// do calls.
func (t target) do(ctx context.Context, caller int) (items int, err error) {
	if t.count != nil {
		return t.count(ctx, caller)
	}
	return max(t.items, 1), t.call(ctx, caller)
}

// tally is what a target did over a whole run, warm-up included.
type tally struct {
	done, failed int
	items        int   // of those done
	first        error // of the failures
}

// sample is one round of one target.
type sample struct{ perSecond, p50, p99 float64 }

// take opens the targets, measures them and checks their books.
func (m measure) take(ctx context.Context, h *host, callers int) (results []result, err error) {
	all, err := m.open(ctx, h, callers)
	defer func() {
		for _, t := range all {
			if t.close != nil {
				err = errors.Join(err, t.close())
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	targets := slices.DeleteFunc(slices.Clone(all), func(t target) bool { return h.only == "ours" && !t.ours || h.only == "floor" && t.ours })
	tallies := make([]tally, len(targets))
	samples := make([][]sample, len(targets))
	for i, t := range targets {
		m.warm(ctx, t, callers, h.warmup, &tallies[i])
	}
	for round := range h.rounds {
		for i := range targets {
			i = (i + round) % len(targets)
			samples[i] = append(samples[i], m.loop(ctx, targets[i], callers, h.window, &tallies[i]))
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i, t := range targets {
		results = append(results, m.result(h.kind, t, callers, samples[i], tallies[i]))
		err = errors.Join(err, t.checked(ctx, tallies[i]))
	}
	compare(results, path.Join(m.name, m.floor), m)
	return results, err
}

func (t target) checked(ctx context.Context, n tally) error {
	var err error
	if n.failed > 0 {
		err = fmt.Errorf("%s: %d of %d failed: %w", t.name, n.failed, n.failed+n.done, n.first)
	}
	if t.books == nil {
		return err
	}
	if wrong := t.books(ctx, n.items, n.failed*max(t.items, 1)); wrong != nil {
		err = errors.Join(err, fmt.Errorf("%s: the books are wrong: %w", t.name, wrong))
	}
	return err
}

// warm runs a target until its connections are warm: PostgreSQL plans a prepared statement anew the first five times on each of them.
func (m measure) warm(ctx context.Context, t target, callers int, window time.Duration, n *tally) {
	const times, limit = 6, 20
	for range limit {
		m.loop(ctx, t, callers, window, n)
		if ctx.Err() != nil || n.failed > 0 || callers == 1 || n.done >= times*connections(callers) {
			return
		}
	}
}

// loop lets callers call for a while, each beginning anew when its last call has returned. A call that has begun is waited for: its time
// counts, but it counts for the rate only if it returned in time.
func (m measure) loop(ctx context.Context, t target, callers int, window time.Duration, n *tally) sample {
	type seat struct {
		times  []time.Duration
		items  int
		inTime int // of them
		failed int
		first  error
	}
	if t.fill != nil {
		if err := t.fill(ctx, window); err != nil {
			n.failed++
			n.first = cmp.Or(n.first, err)
			return sample{}
		}
	}
	seats := make([]seat, callers)
	start := time.Now()
	end := start.Add(window)
	var group sync.WaitGroup
	for i := range seats {
		s := &seats[i]
		group.Go(func() {
			pprof.Do(ctx, pprof.Labels("target", path.Join(m.name, t.name)), func(ctx context.Context) {
				for began := time.Now(); began.Before(end) && ctx.Err() == nil; began = time.Now() {
					items, err := t.do(ctx, i)
					if err != nil {
						s.failed++
						s.first = errors.Join(s.first, err)
						if s.failed == maxFailures {
							return
						}
						continue
					}
					returned := time.Now()
					s.times = append(s.times, returned.Sub(began))
					s.items += items
					if t.count != nil || returned.Before(end) {
						s.inTime += items
					}
				}
			})
		})
	}
	group.Wait()
	if t.count != nil {
		window = time.Since(start)
	}
	var times []time.Duration
	inTime := 0
	for _, s := range seats {
		times = append(times, s.times...)
		inTime += s.inTime
		n.items += s.items
		n.failed += s.failed
		if n.first == nil {
			n.first = s.first
		}
	}
	n.done += len(times)
	slices.Sort(times)
	return sample{perSecond: float64(inTime) / window.Seconds(), p50: percentile(times, 50), p99: percentile(times, 99)}
}

// maxFailures is how often a caller fails in a round before it stops trying.
const maxFailures = 5

// percentile of sorted times, in milliseconds.
func percentile(sorted []time.Duration, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)-1)*p/100].Nanoseconds()) / 1e6
}

// median over rounds of one figure.
func median(samples []sample, figure func(sample) float64) float64 {
	list := make([]float64, len(samples))
	for i, s := range samples {
		list[i] = figure(s)
	}
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// result is a line of the output.
type result struct {
	Name      string  `json:"name"`
	DB        string  `json:"db"`
	Callers   int     `json:"callers"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Floor     string  `json:"floor"`
	Ratio     float64 `json:"ratio"`     // to the floor; 0 if that was not measured
	RatioOf   string  `json:"ratio_of"`  // "speed": more is better; "time": less is
	P99Ratio  float64 `json:"p99_ratio"` // of times, whatever Ratio is of
	Failed    int     `json:"failed,omitempty"`
}

func (m measure) result(kind string, t target, callers int, samples []sample, n tally) result {
	r := result{Name: path.Join(m.name, t.name), DB: kind, Callers: callers, Floor: m.floor, RatioOf: "speed", Failed: n.failed,
		PerSecond: median(samples, func(s sample) float64 { return s.perSecond }),
		P50:       median(samples, func(s sample) float64 { return s.p50 }),
		P99:       median(samples, func(s sample) float64 { return s.p99 }),
	}
	if m.times {
		r.RatioOf = "time"
	}
	return r
}

// compare fills in the ratios to the result of that name.
func compare(results []result, floor string, m measure) {
	at := slices.IndexFunc(results, func(r result) bool { return r.Name == floor })
	if at < 0 {
		return
	}
	base := results[at]
	for i := range results {
		r := &results[i]
		r.Ratio, r.P99Ratio = over(r.PerSecond, base.PerSecond), over(r.P99, base.P99)
		if m.times {
			r.Ratio = over(r.P50, base.P50)
		}
	}
}

func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
