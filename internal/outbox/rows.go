package outbox

import (
	"cmp"
	"context"
	"errors"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Table is where deliveries are.
const Table = "prm_deliveries"

// States of a delivery.
const (
	Ready  = "ready"  // waits for its time
	Leased = "leased" // somebody is sending it
	Done   = "done"
	Dead   = "dead" // until somebody has it tried again
)

// Delivery is one row. Payload is the sender's business; it is empty once the delivery is done.
type Delivery struct {
	ID        string
	EventID   string
	PartnerID string
	AccountID *string
	Template  string
	Region    string
	Payload   string
	State     string
	Attempt   int64 // how often it was claimed
	Failures  int64 // how often that counted
	NextAt    store.Micros
	Owner     string
	LastError string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
	DoneAt    store.Micros
}

// TableName implements GORM's Tabler.
func (Delivery) TableName() string { return Table }

var engine = store.Everything("deliveries are named by their id, whosesoever they are")

// Add writes a delivery that is due at once, in the caller's transaction.
func Add(tx *store.Tx, d Delivery) error {
	d.State, d.NextAt, d.CreatedAt = Ready, tx.Now(), tx.Now()
	return tx.Insert(&d)
}

// due tells whether a claim would find anything; it costs no write.
func (q *Queue) due(ctx context.Context) (found bool, err error) {
	err = store.Read(ctx, q.db, func(tx *store.Tx) error {
		var n int64
		err := tx.Query(engine, &n, "SELECT count(*) FROM (SELECT 1 FROM prm_deliveries WHERE state IN ('ready', 'leased') AND next_at <= ? LIMIT 1) x", tx.Now())
		found = n > 0
		return err
	})
	return found, err
}

// Waiting counts what has not been sent, up to limit.
func Waiting(ctx context.Context, db *store.DB, limit int) (n int64, err error) {
	err = store.Read(ctx, db, func(tx *store.Tx) error {
		return tx.Query(engine, &n, "SELECT count(*) FROM (SELECT 1 FROM prm_deliveries WHERE state IN ('ready', 'leased') LIMIT ?) x", limit)
	})
	return n, err
}

const (
	// A claim that has lapsed was somebody's who has died or hung: it counts, or what kills its sender would be sent for ever.
	claim   = `WITH due AS MATERIALIZED (SELECT id FROM prm_deliveries WHERE state IN ('ready', 'leased') AND next_at <= ? ORDER BY next_at, id LIMIT ?`
	claimed = `) UPDATE prm_deliveries SET state = 'leased', attempt = attempt + 1, failures = failures + CASE WHEN state = 'leased' THEN 1 ELSE 0 END,
	owner = ?, next_at = ? WHERE id IN (SELECT id FROM due)
	RETURNING id, event_id, partner_id, account_id, template, region, payload, attempt, failures, created_at`

	// Only the claimant of that attempt finishes it: a later one may have taken it over.
	finish = `UPDATE prm_deliveries SET state = x.state, failures = prm_deliveries.failures + x.failures, next_at = CAST(? AS BIGINT) + x.wait, owner = '',
	last_error = x.error, payload = CASE WHEN x.state = 'done' THEN '' ELSE payload END, done_at = CASE WHEN x.state = 'done' THEN CAST(? AS BIGINT) ELSE 0 END FROM `
	finished = ` WHERE prm_deliveries.id = x.id AND prm_deliveries.attempt = x.attempt AND prm_deliveries.owner = ? AND prm_deliveries.state = 'leased'`

	extend   = `UPDATE prm_deliveries SET next_at = ? FROM `
	extended = ` WHERE prm_deliveries.id = x.id AND prm_deliveries.attempt = x.attempt AND prm_deliveries.owner = ? AND prm_deliveries.state = 'leased' RETURNING prm_deliveries.id`
)

var (
	finishColumns = store.ColumnsOf("id TEXT", "attempt BIGINT", "state TEXT", "failures BIGINT", "wait BIGINT", "error TEXT")
	extendColumns = store.ColumnsOf("id TEXT", "attempt BIGINT")
)

// turn writes down the outcomes of one batch and claims the next, in one transaction.
func (q *Queue) turn(ctx context.Context, ended []outcome) (list []Delivery, err error) {
	err = store.InTx(ctx, q.db, func(tx *store.Tx) error {
		list = list[:0]
		if err := q.write(tx, ended); err != nil {
			return err
		}
		return tx.Scan(engine, func(r store.Row) error {
			d := Delivery{State: Leased, Owner: q.owner}
			err := r.Scan(&d.ID, &d.EventID, &d.PartnerID, &d.AccountID, &d.Template, &d.Region, &d.Payload, &d.Attempt, &d.Failures, &d.CreatedAt)
			list = append(list, d)
			return err
		}, claim+tx.Lock("UPDATE SKIP LOCKED")+claimed, tx.Now(), batch, q.owner, tx.Now().Add(lease))
	})
	if err != nil { // the call may have ended: what was sent must be known all the same
		return nil, cmp.Or(err, q.finish(ctx, ended))
	}
	q.tell(ctx, ended)
	return list, nil
}

// finish writes down outcomes, whatever has become of the call.
func (q *Queue) finish(ctx context.Context, ended []outcome) error {
	if len(ended) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	err := store.InTx(ctx, q.db, func(tx *store.Tx) error { return q.write(tx, ended) })
	if err == nil {
		q.tell(ctx, ended)
	}
	return err
}

func (q *Queue) write(tx *store.Tx, ended []outcome) error {
	if len(ended) == 0 {
		return nil
	}
	list := tx.Rows(finishColumns)
	for _, o := range ended {
		list.Add(o.id, o.attempt, o.state, o.failures, o.wait.Microseconds(), o.text)
	}
	args := append([]any{tx.Now(), tx.Now()}, list.Args()...)
	return tx.Later(engine, nil, finish+list.SQL()+finished, append(args, q.owner)...)
}

// renew prolongs the leases of what is being sent or waits for its turn, and of what could not be written down yet; who has lost one is told
// to stop.
func (q *Queue) renew(ctx context.Context, open map[string]*held, pending []outcome) {
	still := map[string]bool{}
	err := store.InTx(ctx, q.db, func(tx *store.Tx) error {
		clear(still)
		list := tx.Rows(extendColumns)
		for id, h := range open {
			if h.ctx.Err() == nil {
				list.Add(id, h.Attempt)
			}
		}
		for _, o := range pending {
			list.Add(o.id, o.attempt)
		}
		args := append([]any{tx.Now().Add(lease)}, list.Args()...)
		return tx.Scan(engine, func(r store.Row) error {
			var id string
			err := r.Scan(&id)
			still[id] = true
			return err
		}, extend+list.SQL()+extended, append(args, q.owner)...)
	})
	if err != nil { // the next round will know
		q.logger.WarnContext(ctx, "the leases of deliveries could not be renewed", "deliveries", len(open))
		return
	}
	for id, h := range open {
		if !still[id] {
			h.cancel()
		}
	}
}

// Retry puts a dead delivery back, to be tried as if for the first time; false if it is not dead.
func Retry(tx *store.Tx, id string) (bool, error) {
	n, err := tx.Exec(engine, "UPDATE prm_deliveries SET state = 'ready', failures = 0, next_at = ?, last_error = '' WHERE id = ? AND state = 'dead'", tx.Now(), id)
	return n > 0, err
}

// Purge forgets deliveries that were done before, at most limit of them; more tells that there may be others.
func Purge(tx *store.Tx, before store.Micros, limit int) (more bool, err error) {
	n, err := tx.Exec(engine, "DELETE FROM prm_deliveries WHERE id IN (SELECT id FROM prm_deliveries WHERE state = 'done' AND done_at < ? ORDER BY done_at LIMIT ?"+
		tx.Lock("UPDATE SKIP LOCKED")+")", before, limit)
	return n == int64(limit), err
}

var (
	errLost     = errors.New("whoever sent it ended before an answer, too often")
	errPanicked = errors.New("the sender panicked")
)
