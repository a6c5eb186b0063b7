package store_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// tap is on the wire between pgx and a PostgreSQL server: it reads along what the driver sends, and can cut the wire. A flight is what
// goes out until the server is asked to answer all of it, by Sync or as one simple query: as many flights, as many round trips.
type tap struct {
	mu      sync.Mutex
	flights [][]string // the statements of each that were to be run
	cuts    []cut
}

// cut is what happens to the next flight with a statement that begins with on.
type cut struct {
	on   string
	how  int
	meet func() // runs when the flight arrives
}

const (
	passed      = iota
	sendFails   // the driver cannot send it
	requestLost // the driver has sent it, the server never gets it
	answerLost  // the server has done it, the driver gets no answer
	answerHalf  // the driver gets half of the answer
)

// tapped opens db once more, by a pool of its own through a tap, as a host does that dials by itself.
func tapped(t testing.TB, db *dbtest.Database, connections int) (*tap, *gorm.DB) {
	t.Helper()
	cfg, err := pgx.ParseConfig(db.DSN)
	must(t, err)
	w := &tap{}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &tapConn{Conn: c, tap: w, parsed: map[string]string{}}, nil
	}
	pool := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { _ = pool.Close() })
	pool.SetMaxOpenConns(connections)
	host, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard})
	must(t, err)
	return w, host
}

func (w *tap) cut(cuts ...cut) { w.mu.Lock(); defer w.mu.Unlock(); w.cuts = cuts }

// flown returns the flights since the last call.
func (w *tap) flown() [][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.flights
	w.flights = nil
	return list
}

func (w *tap) flight(statements []string) (c cut) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(statements) == 0 {
		return c // it asks what the parameters are
	}
	w.flights = append(w.flights, statements)
	if len(w.cuts) == 0 {
		return c
	}
	for _, s := range statements {
		if strings.HasPrefix(s, w.cuts[0].on) {
			c, w.cuts = w.cuts[0], w.cuts[1:]
			return c
		}
	}
	return c
}

type tapConn struct {
	net.Conn
	tap     *tap
	started bool
	out     []byte
	parsed  map[string]string // statements by name
	now     []string          // the flight so far
	deaf    int               // how it was cut, once it was
}

func (c *tapConn) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	for {
		kind, body, more := c.message()
		if !more {
			return c.Conn.Write(p)
		}
		if !c.follow(kind, body) {
			continue
		}
		was := c.tap.flight(c.now)
		c.now = nil
		if was.meet != nil {
			was.meet()
		}
		switch was.how {
		case sendFails:
			_ = c.Conn.Close()
			return 0, &net.OpError{Op: "write", Net: "unix", Err: syscall.EPIPE}
		case requestLost:
			_ = c.Conn.Close()
			return len(p), nil
		case answerLost, answerHalf:
			c.deaf = was.how
		}
	}
}

// message takes the next one of the driver's.
func (c *tapConn) message() (kind byte, body string, more bool) {
	head := 5
	if !c.started {
		head = 4 // the first has no kind
	}
	if len(c.out) < head {
		return 0, "", false
	}
	size := int(binary.BigEndian.Uint32(c.out[head-4:])) + head - 4
	if len(c.out) < size {
		return 0, "", false
	}
	if c.started {
		kind = c.out[0]
	}
	body, c.out, c.started = string(c.out[head:size]), c.out[size:], true
	return kind, body, true
}

// follow reads a message; true ends a flight.
func (c *tapConn) follow(kind byte, body string) bool {
	first, rest, _ := strings.Cut(body, "\x00")
	second, _, _ := strings.Cut(rest, "\x00")
	switch kind {
	case 'P': // parse: name, text
		c.parsed[first] = second
	case 'B': // bind: portal, name
		c.now = append(c.now, c.parsed[second])
	case 'Q':
		c.now = []string{first}
		return true
	case 'S':
		return true
	}
	return false
}

func (c *tapConn) Read(p []byte) (int, error) {
	if c.deaf == passed {
		return c.Conn.Read(p)
	}
	var all []byte
	for !answered(all) {
		n, err := c.Conn.Read(p)
		if err != nil {
			return 0, err
		}
		all = append(all, p[:n]...)
	}
	how := c.deaf
	c.deaf = requestLost
	_ = c.Conn.Close()
	if how == answerHalf {
		return copy(p, all[:len(all)/2]), nil
	}
	return 0, io.EOF
}

// answered tells whether the server has said that it is ready again.
func answered(all []byte) bool {
	for len(all) >= 5 {
		size := int(binary.BigEndian.Uint32(all[1:])) + 1
		if len(all) < size {
			return false
		}
		if all[0] == 'Z' {
			return true
		}
		all = all[size:]
	}
	return false
}
