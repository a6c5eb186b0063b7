package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Config is what a handle needs beside the database.
type Config struct {
	Clock    func() time.Time // Defaults to time.Now.
	Random   func([]byte)     // Defaults to crypto/rand.
	Logger   *slog.Logger     // Defaults to discarding.
	ConnWait time.Duration    // How long a call waits for a free connection. Defaults to 10 s.
}

func (c Config) withDefaults() Config {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Random == nil {
		c.Random = func(b []byte) { _, _ = rand.Read(b) } // it never fails: it ends the program instead
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ConnWait <= 0 {
		c.ConnWait = 10 * time.Second
	}
	return c
}

// DB is the SDK's handle on the host's database, or on one open transaction of the host ([In]). It has no method and no
// exported field: what can be done with it are the functions of this package.
type DB struct {
	*handle
	host *hostTx // nil outside a host transaction
	bad  error   // misuse of In, returned by every call
}

// handle is what all DBs of one database share.
type handle struct {
	cfg    Config
	orm    *gorm.DB // own, over pool
	pool   *sql.DB  // the host's
	gate   chan struct{}
	engine dialect

	scrubbed time.Time // when a large file was last written anew; behind the gate

	inUse  sync.RWMutex // held for reading by each call
	closed bool
}

// Open makes the handle. It refuses a database that cannot keep the SDK's promises, and touches no setting of the host.
func Open(ctx context.Context, host *gorm.DB, cfg Config) (*DB, error) {
	d, err := connect(ctx, host, cfg)
	if err != nil {
		return nil, err
	}
	if err := d.checkEngine(ctx); err != nil {
		return nil, err
	}
	if err := checkSchema(ctx, d); err != nil {
		return nil, err
	}
	return d, nil
}

func connect(ctx context.Context, host *gorm.DB, cfg Config) (*DB, error) {
	if host == nil || host.Config == nil || host.Dialector == nil {
		return nil, fail.New(fail.Invalid, "no database: pass what gorm.Open returned")
	}
	if inTransaction(host) {
		return nil, fail.New(fail.Invalid, "the database is inside a transaction: pass what gorm.Open returned, then use In")
	}
	engine, err := dialectOf(host.Dialector)
	if err != nil {
		return nil, err
	}
	pool, err := host.DB()
	if err != nil {
		return nil, fail.Because(fail.Invalid, "the database has no *sql.DB", err)
	}
	if _, prepared := host.ConnPool.(*gorm.PreparedStmtDB); (prepared || host.PrepareStmt) && pool.Stats().MaxOpenConnections == 1 {
		return nil, fail.New(fail.Invalid, "PrepareStmt with a pool of one connection deadlocks inside GORM: allow two, or turn PrepareStmt off")
	}
	h := &handle{cfg: cfg.withDefaults(), pool: pool, gate: make(chan struct{}, 1), engine: engine}
	if h.orm, err = h.openOver(ctx, host.Dialector); err != nil {
		return nil, err
	}
	return &DB{handle: h}, nil
}

// openOver opens our GORM handle over the host's pool. A driver may ask the database for its version then, without a context: it gets
// one connection that was waited for, and the pool afterwards.
func (h *handle) openOver(ctx context.Context, host gorm.Dialector) (*gorm.DB, error) {
	conn, err := h.conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	own, err := ownDialector(host, conn)
	if err != nil {
		return nil, err
	}
	orm, err := gorm.Open(own, &gorm.Config{
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		Logger:                 logger.Discard, // it would print values
		PrepareStmt:            false,          // re-prepares in each transaction: 1.7 times slower on PostgreSQL
	})
	if err != nil {
		return nil, classify(err)
	}
	orm.ConnPool, orm.Statement.ConnPool = h.pool, h.pool
	return orm, nil
}

// checkEngine reads the settings that a SQLite host must have; PostgreSQL has no wrong ones. They belong to a connection, and a host
// that set them by a statement set them on one: so two are asked, where the pool has two.
func (h *handle) checkEngine(ctx context.Context) error {
	if h.engine.postgres {
		return nil
	}
	single := h.pool.Stats().MaxOpenConnections == 1
	first, err := h.conn(ctx)
	if err != nil {
		return err
	}
	defer first.Close()
	if err := h.checkPragmas(ctx, first, single); err != nil || single {
		return err
	}
	second, err := h.conn(ctx)
	if err != nil {
		return err
	}
	defer second.Close()
	return h.checkPragmas(ctx, second, single)
}

func (h *handle) checkPragmas(ctx context.Context, conn *sql.Conn, single bool) error {
	var keys, busy, synchronous int
	var mode string
	for pragma, into := range map[string]any{"foreign_keys": &keys, "busy_timeout": &busy, "synchronous": &synchronous, "journal_mode": &mode} {
		if err := conn.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(into); err != nil {
			return classify(err)
		}
	}
	var wrong []error
	if keys != 1 {
		wrong = append(wrong, errors.New("foreign_keys is off"))
	}
	if mode != "wal" && (mode != "memory" || !single) {
		wrong = append(wrong, fmt.Errorf("journal_mode is %q, not wal", mode))
	}
	if busy < 1 {
		wrong = append(wrong, errors.New("busy_timeout is 0"))
	}
	if len(wrong) > 0 {
		return fail.Because(fail.Invalid, "SQLite settings (open it with partner.SQLiteDSN)", errors.Join(wrong...))
	}
	if synchronous < 2 {
		h.cfg.Logger.WarnContext(ctx, "synchronous is below FULL: the last committed calls can be lost at a power failure")
	}
	return nil
}

// SQLiteDSN names the file at path for mattn/go-sqlite3 and the pure-Go drivers alike; each reads its own spelling.
func SQLiteDSN(path string) string {
	escaped := (&url.URL{Path: path}).EscapedPath()
	return "file:" + escaped + "?_txlock=immediate" +
		"&_foreign_keys=on&_journal_mode=WAL&_busy_timeout=5000&_synchronous=FULL&_stmt_cache_size=64" +
		"&_pragma=foreign_keys(1)&_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)"
}

var (
	errNoConn = fail.New(fail.Unavailable, "no free connection: inside a transaction use reg.In(tx)")
	errLocked = fail.New(fail.Unavailable, "the database stays locked: inside a transaction use reg.In(tx)")
)

// conn takes a connection from the host's pool, waiting at most ConnWait: a call that forgot In inside the host's transaction
// would otherwise wait for itself.
func (h *handle) conn(ctx context.Context) (*sql.Conn, error) {
	wait, cancel := context.WithTimeoutCause(ctx, h.cfg.ConnWait, errNoConn)
	defer cancel()
	conn, err := h.pool.Conn(wait)
	if err != nil {
		if ctx.Err() == nil && wait.Err() != nil {
			return nil, errNoConn
		}
		return nil, classify(err)
	}
	return conn, nil
}

// enter queues SQLite's writers: one at a time reaches the database, the others wait here, where their context can end the wait, and
// ConnWait does.
func (h *handle) enter(ctx context.Context) (leave func(), err error) {
	if h.engine.postgres {
		return func() {}, nil
	}
	timer := time.NewTimer(h.cfg.ConnWait)
	defer timer.Stop()
	select {
	case h.gate <- struct{}{}:
		return func() { <-h.gate }, nil
	case <-timer.C:
		return nil, errLocked
	case <-ctx.Done():
		return nil, classify(context.Cause(ctx))
	}
}

// on returns a statement builder over pool. The context makes GORM clone the Statement; without one the base handle would share
// it and keep a finished transaction ("leaking statement").
func (h *handle) on(ctx context.Context, pool gorm.ConnPool) *gorm.DB {
	s := h.orm.Session(&gorm.Session{NewDB: true, SkipDefaultTransaction: true, Context: ctx})
	s.Statement.ConnPool = pool
	return s
}

// use begins a call; leave ends it.
func (h *handle) use() (leave func(), err error) {
	h.inUse.RLock()
	if h.closed {
		h.inUse.RUnlock()
		return nil, ErrClosed
	}
	return h.inUse.RUnlock, nil
}

// ErrClosed is what calls after Close answer.
var ErrClosed = fail.New(fail.Unavailable, "the registry is closed")

// Close waits for calls in flight and refuses later ones. A handle inside a host's transaction is not closed by it.
func Close(d *DB) {
	if Joined(d) {
		return
	}
	d.inUse.Lock()
	defer d.inUse.Unlock()
	d.closed = true
}

// Joined tells whether d works inside a host's transaction.
func Joined(d *DB) bool { return d.host != nil || d.bad != nil }

// Now is the handle's clock, for work outside a transaction.
func Now(d *DB) Micros { return At(d.cfg.Clock()) }

// Random fills b from the handle's source.
func Random(d *DB, b []byte) { d.cfg.Random(b) }
