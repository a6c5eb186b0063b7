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
	"syscall"
	"time"
)

// Server is a PostgreSQL to make databases on.
type Server struct {
	dsn     string    // of a database that always exists
	process *exec.Cmd // nil if the server is somebody else's
	stdin   io.Closer // held open: a private server ends when this process does
}

// StartServer returns the server that PARTNERKIT_POSTGRES names, as it is, else starts a private one with settings ("fsync=on") from the
// binaries of the machine.
func StartServer(settings ...string) (*Server, error) {
	if dsn := os.Getenv("PARTNERKIT_POSTGRES"); dsn != "" {
		return &Server{dsn: dsn}, nil
	}
	return startPrivate("", settings)
}

// inMemory is StartServer, but a private server's data is in memory where there is room: ext4 takes half a second to find inodes for
// a database of 300 files when others were dropped a moment ago, and a test makes and drops one each time.
func inMemory(settings ...string) (*Server, error) {
	if dsn := os.Getenv("PARTNERKIT_POSTGRES"); dsn != "" {
		return &Server{dsn: dsn}, nil
	}
	return startPrivate(memory(), settings)
}

// memory is a folder in memory, or none where that is too small: a container has 64 MB of it unless told otherwise.
func memory() string {
	const folder, enough = "/dev/shm", 2 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(folder, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return ""
	}
	return folder
}

// Stop ends a private server and removes its data; it returns when that is done.
func (s *Server) Stop() error {
	if s.process == nil {
		return nil
	}
	return errors.Join(s.stdin.Close(), s.process.Wait())
}

// Create makes a database, a copy of another one ("template1" is empty), and returns its DSN.
func (s *Server) Create(name, from string) (dsn string, err error) {
	return withDatabase(s.dsn, name), s.admin("CREATE DATABASE " + name + " TEMPLATE " + from)
}

// Drop removes a database, whoever is connected to it.
func (s *Server) Drop(name string) error {
	return s.admin("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
}

func (s *Server) admin(statement string) error {
	db, err := sql.Open("pgx", s.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(statement)
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

// script runs the server until its standard input ends, which it does however the starting process ends, and cleans up: nobody will
// read the data again, so the server need not tidy it first.
const script = `server=$1 dir=$2
shift 2
"$server" -D "$dir/data" -k "$dir" -c listen_addresses= "$@" >"$dir/log" 2>&1 &
server=$!
read -r end
kill -QUIT $server
wait $server
rm -rf "$dir"`

func startPrivate(in string, settings []string) (*Server, error) {
	bin, err := serverBinaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(in, "prm-pg-")
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
	args := []string{"-c", script, "sh", filepath.Join(bin, "postgres"), dir}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	s := &Server{dsn: "host=" + dir + " user=prm dbname=postgres sslmode=disable", process: exec.Command("sh", args...)}
	s.process.SysProcAttr = attributes
	s.process.Dir = dir
	if s.stdin, err = s.process.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	return s, s.await(30 * time.Second)
}

// await waits for the server's first answer.
func (s *Server) await(limit time.Duration) error {
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
