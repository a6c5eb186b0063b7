package dbtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// server is a PostgreSQL to make databases on.
type server struct {
	dsn      string // of a database that always exists
	template string // a migrated database to copy; made on first use
	mu       sync.Mutex
	stdin    io.Closer // held open: the private server ends when the process does
}

var theServer = sync.OnceValues(func() (*server, error) {
	if dsn := os.Getenv("PARTNERKIT_POSTGRES"); dsn != "" {
		return &server{dsn: dsn}, nil
	}
	return startServer()
})

// serverFor returns the server, or skips the test.
func serverFor(t testing.TB) *server {
	t.Helper()
	s, err := theServer()
	if err == nil {
		return s
	}
	if os.Getenv("PARTNERKIT_POSTGRES_REQUIRED") != "" {
		t.Fatalf("PostgreSQL is required: %v", err)
	}
	t.Skipf("PostgreSQL half skipped: %v; install a server or set PARTNERKIT_POSTGRES to a DSN", err)
	return nil
}

// create makes a database and returns its DSN; it goes with the test.
func (s *server) create(t testing.TB, name string, migrated bool) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	admin, err := sql.Open("pgx", s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	from := "template1"
	if migrated {
		if s.template == "" {
			if err := s.makeTemplate(admin, name+"_template"); err != nil {
				t.Fatalf("template: %v", err)
			}
		}
		from = s.template
	}
	if _, err := admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + from); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() {
		if admin, err := sql.Open("pgx", s.dsn); err == nil {
			_, _ = admin.Exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
			_ = admin.Close()
		}
	})
	return withDatabase(s.dsn, name)
}

func (s *server) makeTemplate(admin *sql.DB, name string) error {
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		return err
	}
	db, err := Connect(Postgres, withDatabase(s.dsn, name), &gorm.Config{})
	if err != nil {
		return err
	}
	err = store.Migrate(context.Background(), db)
	pool, _ := db.DB()
	if err = errors.Join(err, pool.Close()); err == nil {
		s.template = name
	}
	return err
}

// withDatabase replaces the database of a DSN, URL or key=value.
func withDatabase(dsn, name string) string {
	if head, rest, isURL := strings.Cut(dsn, "://"); isURL {
		host, path, _ := strings.Cut(rest, "/")
		_, query, asks := strings.Cut(path, "?")
		if asks {
			query = "?" + query
		}
		return head + "://" + host + "/" + name + query
	}
	var kept []string
	for _, field := range strings.Fields(dsn) {
		if !strings.HasPrefix(field, "dbname=") {
			kept = append(kept, field)
		}
	}
	return strings.Join(append(kept, "dbname="+name), " ")
}

// script runs the server until its standard input ends, which it does however the test process ends, and cleans up.
const script = `"$1" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=300 \
 -c shared_buffers=256MB -c max_locks_per_transaction=256 >"$2/log" 2>&1 &
server=$!
read -r end
kill -INT $server
wait $server
rm -rf "$2"`

func startServer() (*server, error) {
	bin, err := serverBinaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "prm-pg-")
	if err != nil {
		return nil, err
	}
	attributes, err := asServerUser(dir)
	if err != nil {
		return nil, err
	}
	init := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "prm", "-A", "trust", "-E", "UTF8", "--no-sync")
	init.SysProcAttr = attributes
	init.Dir = dir
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	run := exec.Command("sh", "-c", script, "sh", filepath.Join(bin, "postgres"), dir)
	run.SysProcAttr = attributes
	run.Dir = dir
	stdin, err := run.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := run.Start(); err != nil {
		return nil, err
	}
	s := &server{dsn: "host=" + dir + " user=prm dbname=postgres sslmode=disable", stdin: stdin}
	return s, s.await(30 * time.Second)
}

// await waits for the server's first answer.
func (s *server) await(limit time.Duration) error {
	db, err := sql.Open("pgx", s.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if err = db.PingContext(ctx); err == nil || ctx.Err() != nil {
			tick.Stop()
			return err
		}
	}
}

// serverBinaries finds the folder of initdb and postgres: on the PATH, or where distributions put the newest version.
func serverBinaries() (string, error) {
	if p, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(p), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	sort.Slice(found, func(i, j int) bool { return majorOf(found[i]) > majorOf(found[j]) })
	for _, p := range append(found, "/usr/local/pgsql/bin/postgres", "/usr/local/opt/postgresql/bin/postgres") {
		if _, err := os.Stat(p); err == nil {
			return filepath.Dir(p), nil
		}
	}
	return "", errors.New("no PostgreSQL server binaries on this machine")
}

func majorOf(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// asServerUser hands dir to an ordinary user when this process is root, which PostgreSQL refuses.
func asServerUser(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{Setpgid: true}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
		return &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return nil, errors.New("running as root, and no user postgres or nobody to run the server as")
}
