package partner_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// What a child process is told.
const (
	childKind  = "PARTNERKIT_CHILD_KIND"
	childDSN   = "PARTNERKIT_CHILD_DSN"
	childFile  = "PARTNERKIT_CHILD_FILE"  // where it writes what it sends
	childAhead = "PARTNERKIT_CHILD_AHEAD" // how far its clock is ahead
	childEnd   = "PARTNERKIT_CHILD_END"   // how it ends: see the constants below
	childAfter = "PARTNERKIT_CHILD_AFTER" // with which message
	childOpen  = "PARTNERKIT_CHILD_OPEN"  // the address whose token is written as it is
)

// How a child ends.
const (
	killedBefore = "killed before it sent"
	killedAfter  = "killed after it sent"
	stopped      = "stopped"
	hung         = "hung" // it sends nothing, until it is told to stop
)

// A child is this test binary started again.
func init() {
	if os.Getenv(childDSN) == "" {
		return
	}
	work := child
	if os.Getenv(childErases) != "" {
		work = eraseChild
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "the child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child delivers until it ends itself, or its standard input does.
func child() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	db, err := dbtest.Connect(os.Getenv(childKind), os.Getenv(childDSN), &gorm.Config{})
	if err != nil {
		return err
	}
	ahead, err := time.ParseDuration(os.Getenv(childAhead))
	if err != nil {
		return err
	}
	n, err := newMortal(stop)
	if err != nil {
		return err
	}
	reg, err := partner.Open(context.Background(), db, &partner.Options{Notifier: n, Hasher: plainHasher{}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Clock: func() time.Time { return time.Now().Add(ahead) }, Sealer: &xorSealer{key: drillKey}})
	if err != nil {
		return err
	}
	if err := reg.Run(ctx); err != nil {
		return err
	}
	return reg.Close()
}

// mortal is a notifier that writes what it sends to a file, and ends its process with one of the messages.
type mortal struct {
	file  *os.File
	turns *time.Ticker // a mail server takes its time, in which a process can die
	end   string
	after int64
	open  string
	stop  func()
	came  atomic.Int64
}

func newMortal(stop func()) (n *mortal, err error) {
	n = &mortal{turns: time.NewTicker(4 * time.Millisecond), end: os.Getenv(childEnd), open: os.Getenv(childOpen), stop: stop}
	if n.after, err = strconv.ParseInt(os.Getenv(childAfter), 10, 64); err != nil {
		return nil, err
	}
	n.file, err = os.OpenFile(os.Getenv(childFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return n, err
}

// Notify implements partner.Notifier.
func (n *mortal) Notify(ctx context.Context, m partner.Message) error {
	select {
	case <-n.turns.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if n.end == hung {
		_, _ = n.file.WriteString(hung + " " + m.ID + "\n")
		<-ctx.Done()
		return ctx.Err()
	}
	last := n.came.Add(1) == n.after
	if last && n.end == killedBefore {
		return die()
	}
	token := "-"
	if m.To == n.open {
		token = string(m.Token)
	}
	// One write, so that a line is there as a whole.
	if _, err := n.file.WriteString(m.ID + " " + m.To + " " + sum([]byte(m.Token)) + " " + token + "\n"); err != nil {
		return err
	}
	if err := n.file.Sync(); err != nil {
		return err
	}
	if last && n.end == killedAfter {
		return die()
	}
	if last {
		n.stop()
	}
	return nil
}

// die ends this process as kill -9 does, and never returns.
func die() error {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err == nil {
		select {}
	}
	return err
}
