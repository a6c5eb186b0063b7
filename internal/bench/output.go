package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// printer writes a table for people, or JSON lines for programs.
type printer struct {
	out  io.Writer
	json bool
}

// note is a line for people.
func (p printer) note(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// measure begins the results of m.
func (p printer) measure(m measure) {
	p.note("\n%s: %s\nAim: %s\n%8s  %-34s %12s %10s %10s  %-12s %s", m.name, m.includes, m.aim, "callers", "", "per second", "p50 ms", "p99 ms", m.ratio(), "p99")
}

func (m measure) ratio() string {
	if m.times {
		return "p50, x floor"
	}
	return "x floor"
}

func (p printer) results(list []result) {
	for _, r := range list {
		if p.json {
			line, err := json.Marshal(r)
			if err == nil {
				fmt.Fprintf(p.out, "%s\n", line)
			}
			continue
		}
		failed := ""
		if r.Failed > 0 {
			failed = fmt.Sprintf("  %d failed", r.Failed)
		}
		fmt.Fprintf(p.out, "%8d  %-34s %12.0f %10.3f %10.3f  %-12s %s%s\n", r.Callers, r.Name, r.PerSecond, r.P50, r.P99, times(r.Ratio), times(r.P99Ratio), failed)
	}
}

func times(ratio float64) string {
	if ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", ratio)
}
