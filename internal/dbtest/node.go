package dbtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gorm.io/gorm"
)

// Node is a private PostgreSQL server that a test may stop, kill and start again, and give a standby. It listens on a socket in a folder
// of its own, so two of them never meet. It ends with the test, and with the process however that ends.
type Node struct {
	dir        string // the socket's, and around data
	bin        string
	attributes *syscall.SysProcAttr
	process    *exec.Cmd
	stdin      io.WriteCloser
}

// nodeScript runs the server until it is told by which signal to end it, or until nobody is left to tell it: then the data goes, too.
const nodeScript = `server=$1 dir=$2 blocks=$3
shift 3
ulimit -S -f "$blocks"
"$server" -D "$dir/data" -k "$dir" -c listen_addresses= "$@" >>"$dir/log" 2>&1 &
server=$!
read -r how || how=
kill -"${how:-QUIT}" $server
wait $server
[ -n "$how" ] || rm -rf "$dir"`

// NewNode makes a server's data, as initdb with options does, and does not start it; the test is skipped where there is none to start.
func NewNode(t testing.TB, options ...string) *Node {
	t.Helper()
	n, err := emptyNode()
	if err == nil {
		t.Cleanup(func() {
			n.End("QUIT")
			_ = os.RemoveAll(n.dir)
		})
		err = n.run("initdb", append([]string{"-D", n.data(), "-U", "prm", "-A", "trust", "-E", "UTF8", "--no-sync"}, options...)...)
	}
	if err == nil {
		return n
	}
	if os.Getenv("PARTNERKIT_POSTGRES_REQUIRED") != "" {
		t.Fatalf("PostgreSQL is required: %v", err)
	}
	t.Skipf("PostgreSQL half skipped: %v; install a server", err)
	return nil
}

func emptyNode() (n *Node, err error) {
	n = &Node{}
	if n.bin, err = serverBinaries(); err != nil {
		return nil, err
	}
	if server, err := filepath.EvalSymlinks(filepath.Join(n.bin, "postgres")); err == nil { // beside which all the programs are
		n.bin = filepath.Dir(server)
	}
	if n.dir, err = os.MkdirTemp("", "prm-node-"); err != nil { // a test's own folder has a path too long for a socket
		return nil, err
	}
	n.attributes, err = asServerUser(n.dir)
	return n, err
}

func (n *Node) data() string { return filepath.Join(n.dir, "data") }

func (n *Node) run(program string, args ...string) error {
	c := exec.Command(filepath.Join(n.bin, program), args...)
	c.SysProcAttr, c.Dir = n.attributes, n.dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

// Start starts the server with settings ("fsync=on") and returns when it answers.
func (n *Node) Start(settings ...string) error { return n.StartLimited("unlimited", settings...) }

// StartLimited is Start of a server whose files cannot grow beyond a number of blocks of 512 bytes: what a full disk is to it.
func (n *Node) StartLimited(blocks string, settings ...string) error {
	args := []string{"-c", nodeScript, "sh", filepath.Join(n.bin, "postgres"), n.dir, blocks}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	n.process = exec.Command("sh", args...)
	n.process.SysProcAttr, n.process.Dir = n.attributes, n.dir
	var err error
	if n.stdin, err = n.process.StdinPipe(); err != nil {
		return err
	}
	if err := n.process.Start(); err != nil {
		return err
	}
	if err := (&Server{dsn: n.DSN("postgres")}).await(30 * time.Second); err != nil {
		return errors.Join(err, errors.New(n.Log()))
	}
	return nil
}

// End ends the server by a signal, "INT" (which pg_ctl calls fast), "QUIT" (immediate) or "KILL", and waits until it is gone.
func (n *Node) End(signal string) {
	if n.process == nil {
		return
	}
	_, _ = io.WriteString(n.stdin, signal+"\n")
	_ = n.process.Wait()
	n.process = nil
}

// DSN names a database of the server.
func (n *Node) DSN(database string) string {
	return "host=" + n.dir + " user=prm sslmode=disable connect_timeout=2 dbname=" + database
}

// DSNOf names a database of whichever of two servers is the primary.
func DSNOf(database string, one, other *Node) string {
	return "host=" + one.dir + "," + other.dir + " user=prm sslmode=disable connect_timeout=2 target_session_attrs=read-write dbname=" + database
}

// Database makes an empty database.
func (n *Node) Database(name string) error {
	return (&Server{dsn: n.DSN("postgres")}).admin("CREATE DATABASE " + name)
}

// Follow makes the node, whatever it was, a standby of primary that calls itself name, and starts it.
func (n *Node) Follow(primary *Node, name string, settings ...string) error {
	n.End("QUIT")
	if err := os.RemoveAll(n.data()); err != nil {
		return err
	}
	source := "host=" + primary.dir + " user=prm application_name=" + name
	if err := n.run("pg_basebackup", "-d", source, "-D", n.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync"); err != nil {
		return err
	}
	return n.Start(settings...)
}

// Query reads one value from the server, as its administrator; it is for statements that change the server, too.
func (n *Node) Query(into any, statement string, args ...any) error {
	db, err := Connect(Postgres, n.DSN("postgres"), &gorm.Config{})
	if err != nil {
		return err
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	defer pool.Close()
	return db.Raw(statement, args...).Scan(into).Error
}

// Await asks until the answer is true.
func (n *Node) Await(question string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var yes bool
		err := n.Query(&yes, question, args...)
		if err == nil && yes {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: still not: %w", question, errors.Join(err, errors.New(n.Log())))
		case <-tick.C:
		}
	}
}

// Log is the end of what the server has written.
func (n *Node) Log() string {
	text, _ := os.ReadFile(filepath.Join(n.dir, "log"))
	return string(text[max(0, len(text)-2000):])
}
