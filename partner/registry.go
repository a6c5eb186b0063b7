package partner

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/partnerkit/partnerkit/internal/outbox"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// SQLiteDSN returns a data source name for the file at path that both mattn/go-sqlite3 and the pure-Go drivers read: WAL, immediate
// transactions, foreign keys, 5 s busy timeout, synchronous=FULL.
func SQLiteDSN(path string) string { return store.SQLiteDSN(path) }

// Migrate brings the prm_ tables of every room to this build's version, under a lock: many processes may call it at once.
// It leaves a database alone that is newer.
func Migrate(ctx context.Context, db *gorm.DB) (err error) {
	defer wrap(&err, "migrate")
	return store.Migrate(ctx, db)
}

// Schema tells which version a database has, which one this build wants, and what Migrate would run.
type Schema struct {
	Have, Want int
	Pending    []string // SQL, in order, for hosts that run their own migration tool
}

// SchemaStatus reads the version table and writes nothing.
func SchemaStatus(ctx context.Context, db *gorm.DB) (s Schema, err error) {
	defer wrap(&err, "schema status")
	status, err := store.Status(ctx, db)
	return Schema(status), err
}

// Open returns the floor that every other room stands on. It checks the schema, the database's settings and opts (nil is fine), and
// starts nothing. db is what gorm.Open returned; the SDK works on a handle of its own over the same *sql.DB and leaves the host's
// settings, callbacks and pool as they are. Without a Notifier it says in the log what will wait. ErrRefused if the schema is older than this build ([Migrate]) or too new for it.
func Open(ctx context.Context, db *gorm.DB, opts *Options) (reg *Registry, err error) {
	defer wrap(&err, "open")
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	handle, err := store.Open(ctx, db, store.Config{Clock: o.Clock, Random: o.Random, Logger: o.Logger, ConnWait: o.ConnectionWait})
	if err != nil {
		return nil, err
	}
	seal, err := newSealing(o.Sealer, keySource(handle))
	if err != nil {
		return nil, err
	}
	erasers, err := namedErasers(o.Erasers)
	if err != nil {
		return nil, err
	}
	common := &shared{opts: o, erasers: erasers, hashes: make(chan struct{}, hashesAtOnce), sealing: seal, wake: make(chan struct{}, 1)}
	common.life, common.end = context.WithCancel(context.Background())
	reg = newRegistry(handle, common)
	if o.Notifier != nil {
		reg.queue = outbox.New(handle, o.Logger, reg.notify)
	}
	return reg, reg.sayWhatWaits(ctx)
}

// Registry is the floor. It and its desks are safe for concurrent use; one made by [Registry.In] is for the goroutine of its
// transaction.
type Registry struct {
	Partners *Partners // agreements, the tree, blocks
	Users    *Users    // people of partners and of the vendor
	Accounts *Accounts // projects: open, edit, suspend, close
	Access   *Access   // log-in, sessions, switching, decisions
	Activity *Activity // what happened, and its deliveries
	Program  *Program  // certification and tiers

	db *store.DB
	*shared
}

// shared is what a Registry and those made by its In have in common.
type shared struct {
	opts    Options
	erasers []eraser
	hashes  chan struct{} // a place for each hash that may be computed at once
	dummy   dummyHash
	known   known

	sealing *sealing      // nil if the host gave no sealer
	queue   *outbox.Queue // nil if it gave no notifier
	wake    chan struct{}
	swept   atomic.Int64    // when this process swept last
	erased  atomic.Int64    // when it last looked at accounts that are being deleted
	life    context.Context // ends with Close
	end     context.CancelFunc
	working sync.RWMutex // held for reading by Step and Run
	forms   sync.Map     // by version, parsed
}

func newRegistry(db *store.DB, s *shared) *Registry {
	r := &Registry{db: db, shared: s}
	r.Partners, r.Users, r.Accounts, r.Access, r.Activity = &Partners{r}, &Users{r}, &Accounts{r}, &Access{r}, &Activity{r}
	r.Program = &Program{r}
	return r
}

// In returns the same floor inside the host's open transaction tx. Each call runs in a savepoint: a refusal undoes that call alone
// and leaves tx usable. Nothing is committed or retried there and no host callback runs: what needs one, or hashing, takes what
// a Prepare method returned. A lost race is [ErrConflict] and means: run your transaction again. In a transaction above READ
// COMMITTED, what was blocked or closed since it began is such a race for reads too (unless it is read-only, where a read sees the
// world as it was), and Block, BlockUsers, MoveUnder and Close refuse, because they could not see whom they concern. Misuse (tx is no transaction, or
// of another database) shows as [ErrInvalid] from every call.
func (r *Registry) In(tx *gorm.DB) *Registry { return newRegistry(store.In(r.db, tx), r.shared) }

// Close waits for calls in flight and refuses later ones with [ErrUnavailable]; Run and Step end, and have written down what they have sent. The
// host's database stays open. On a Registry made by In it does nothing. It is not for a callback of the SDK's.
func (r *Registry) Close() error {
	if store.Joined(r.db) {
		return nil
	}
	r.end()
	r.working.Lock()
	defer r.working.Unlock()
	store.Close(r.db)
	return nil
}
