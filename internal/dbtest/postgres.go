package dbtest

import (
	"database/sql"
	"os"
	"sync"
	"testing"
)

// server is the Server of this process' tests.
type server struct {
	*Server
	strategy string // of copying a database
	template string // a migrated database to copy; made on first use
	mu       sync.Mutex
}

// Without fsync: no test here pulls the plug.
var theServer = sync.OnceValues(func() (*server, error) {
	s, err := inMemory("fsync=off", "full_page_writes=off", "max_connections=300", "shared_buffers=256MB", "max_locks_per_transaction=256")
	if err != nil {
		return nil, err
	}
	strategy, err := s.cheapest()
	return &server{Server: s, strategy: strategy}, err
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
	from := "template1"
	if migrated {
		if s.template == "" {
			if err := s.makeTemplate(name + "_template"); err != nil {
				t.Fatalf("template: %v", err)
			}
		}
		from = s.template
	}
	if err := s.admin("CREATE DATABASE " + name + " TEMPLATE " + from + s.strategy); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() { _ = s.Drop(name) })
	return withDatabase(s.dsn, name)
}

func (s *server) makeTemplate(name string) error {
	dsn, err := s.Create(name, "template1")
	if err != nil {
		return err
	}
	if err := migrateAt(Postgres, dsn); err != nil {
		return err
	}
	s.template = name
	return nil
}

// cheapest is how to copy a database: the log that version 15 writes unless told otherwise is for a crash that no test's database
// outlives.
func (s *Server) cheapest() (strategy string, err error) {
	db, err := sql.Open("pgx", s.dsn)
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.QueryRow(`SELECT CASE WHEN current_setting('server_version_num')::int >= 150000 THEN ' STRATEGY FILE_COPY' ELSE '' END`).Scan(&strategy)
	return strategy, err
}
