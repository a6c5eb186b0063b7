package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/store"
)

// host is where a run's databases are: one server or one folder, for ours and for the floors.
type host struct {
	settings
	server *dbtest.Server // nil on SQLite
	dir    string         // of SQLite's files
	trees  map[int]*tree  // the worlds that several measures share, by size

	mu    sync.Mutex
	count int
}

func newHost(s settings) (h *host, err error) {
	h = &host{settings: s, trees: map[int]*tree{}}
	if s.kind == dbtest.SQLite {
		h.dir, err = os.MkdirTemp("", "prm-bench-")
		return h, err
	}
	h.server, err = dbtest.StartServer("fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers="+sharedBuffers(),
		"max_wal_size=8GB", "max_connections=600")
	return h, err
}

// sharedBuffers are 2 GB, or a quarter of the memory if that is less; where the memory cannot be told, they are small.
func sharedBuffers() string {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "256MB"
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemTotal:" {
			kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
			return fmt.Sprintf("%dMB", min(2048, kilobytes/1024/4))
		}
	}
	return "256MB"
}

// describe says under which settings the figures come about.
func (h *host) describe(ctx context.Context, p printer) error {
	p.note("%s, %d rounds of %s, medians", h.kind, h.rounds, h.window)
	if h.kind == dbtest.SQLite {
		p.note("WAL, synchronous FULL, files in %s", h.dir)
		return nil
	}
	dsn, drop, err := h.fresh()
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return errors.Join(err, drop())
	}
	rows, err := conn.Query(ctx, `SELECT name || '=' || current_setting(name) FROM pg_settings WHERE name IN
		('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_wal_size', 'max_connections') ORDER BY name`)
	if err == nil {
		var list []string
		list, err = pgx.CollectRows(rows, pgx.RowTo[string])
		p.note("PostgreSQL with %s", strings.Join(list, ", "))
	}
	return errors.Join(err, conn.Close(ctx), drop())
}

// fresh makes an empty database; drop removes it. Each target gets its own, so that none works in what another left behind.
func (h *host) fresh() (dsn string, drop func() error, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	name := fmt.Sprintf("prm_bench_%d_%d", os.Getpid(), h.count)
	if h.kind == dbtest.Postgres {
		dsn, err = h.server.Create(name, "template1")
		return dsn, func() error { return h.server.Drop(name) }, err
	}
	file := filepath.Join(h.dir, name)
	return store.SQLiteDSN(file), func() error {
		return errors.Join(os.Remove(file), os.RemoveAll(file+"-wal"), os.RemoveAll(file+"-shm"))
	}, nil
}

// connections is how many connections a pool of so many callers has, ours and the floors' alike.
func connections(callers int) int { return min(max(callers, 4), 64) }

// sqlite opens a file as a floor does: natively, one connection, which a writer holds anyway.
func sqlite(dsn string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", dsn)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func (h *host) close() error {
	var errs []error
	for _, t := range h.trees {
		errs = append(errs, t.close())
	}
	if h.server != nil {
		errs = append(errs, h.server.Stop())
	}
	if h.dir != "" {
		errs = append(errs, os.RemoveAll(h.dir))
	}
	return errors.Join(errs...)
}
