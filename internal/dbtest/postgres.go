package dbtest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// server is the Server of this process' tests.
type server struct {
	*Server
	template string // a migrated database to copy; made on first use
	mu       sync.Mutex
}

// Without fsync: no test here pulls the plug.
var theServer = sync.OnceValues(func() (*server, error) {
	s, err := StartServer("fsync=off", "full_page_writes=off", "max_connections=300", "shared_buffers=256MB", "max_locks_per_transaction=256")
	return &server{Server: s}, err
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
	dsn, err := s.Create(name, from)
	if err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() { _ = s.Drop(name) })
	return dsn
}

func (s *server) makeTemplate(name string) error {
	dsn, err := s.Create(name, "template1")
	if err != nil {
		return err
	}
	db, err := Connect(Postgres, dsn, &gorm.Config{})
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
