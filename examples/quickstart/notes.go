package main

import (
	"fmt"
	"io"
	"os"
)

// notes are things worth knowing, each printed once with how often it came up.
type notes struct {
	order []string
	count map[string]int
}

func (n *notes) add(note string) {
	if n.count == nil {
		n.count = map[string]int{}
	}
	if n.count[note]++; n.count[note] == 1 {
		n.order = append(n.order, note)
	}
}

func (n *notes) print(w io.Writer) {
	for _, note := range n.order {
		fmt.Fprintf(w, "note: %s: %d\n", note, n.count[note])
	}
}

// progress shows how far a long work is: on a terminal one line that changes, else a line every 1,000 rows.
type progress struct {
	to       io.Writer
	live     bool // to is a terminal
	of, done int
	open     bool // the line on the terminal is not ended
}

func newProgress(to io.Writer, of int) *progress {
	return &progress{to: to, live: terminal(to), of: of}
}

func (p *progress) step() {
	p.done++
	switch {
	case p.live && (p.done%50 == 0 || p.done == p.of):
		fmt.Fprintf(p.to, "\r%d of %d rows", p.done, p.of)
		p.open = true
	case !p.live && p.done%1000 == 0:
		fmt.Fprintf(p.to, "%d of %d rows\n", p.done, p.of)
	}
}

// end makes room for another line.
func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.to)
		p.open = false
	}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
