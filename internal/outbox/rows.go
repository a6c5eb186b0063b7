package outbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
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
	Tries     int64 // how often it did not succeed since somebody last said to try
	Alone     bool  // claimed by itself
	NextAt    store.Micros
	Owner     string
	LastError string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
	DoneAt    store.Micros
	ExpiresAt store.Micros // from then on nobody needs it; 0 is never
}

// TableName implements GORM's Tabler.
func (Delivery) TableName() string { return Table }

var engine = store.Everything("deliveries are named by their id, whosesoever they are")

// Add writes a delivery that is due at once, in the caller's transaction.
func Add(tx *store.Tx, d Delivery) error {
	d.State, d.NextAt, d.CreatedAt = Ready, tx.Now(), tx.Now()
	return tx.Insert(&d)
}

// dues are the kinds of claims that would find anything.
type dues struct{ ready, lapsed bool }

// due looks; it costs no write.
func (q *Queue) due(ctx context.Context) (d dues, err error) {
	err = store.Read(ctx, q.db, func(tx *store.Tx) error {
		var found struct{ Ready, Lapsed bool }
		err := tx.Query(engine, &found, `SELECT EXISTS (SELECT 1 FROM prm_deliveries WHERE state = 'ready' AND next_at <= ?) AS ready,
			EXISTS (SELECT 1 FROM prm_deliveries WHERE state = 'leased' AND next_at <= ?) AS lapsed`, tx.Now(), tx.Now())
		d = dues{ready: found.Ready, lapsed: found.Lapsed}
		return err
	})
	return d, err
}

// Waiting counts what waits to be sent, up to limit.
func Waiting(ctx context.Context, db *store.DB, limit int) (n int64, err error) {
	err = store.Read(ctx, db, func(tx *store.Tx) error {
		return tx.Query(engine, &n, "SELECT count(*) FROM (SELECT 1 FROM prm_deliveries WHERE state = 'ready' LIMIT ?) x", limit)
	})
	return n, err
}

const (
	// A claim finds its rows again where they lie: by their ids it would look each up in an index once more, a quarter of its time. A row that
	// somebody else has moved in that moment is left to the next claim.
	claimPostgres = `WITH due AS MATERIALIZED (SELECT ctid` + ready + ` FOR UPDATE SKIP LOCKED` + claimed + `ctid = ANY (ARRAY(SELECT place FROM due))` + columns
	claimSQLite   = `WITH due AS MATERIALIZED (SELECT rowid` + ready + claimed + `rowid IN (SELECT place FROM due)` + columns

	ready   = ` AS place FROM prm_deliveries WHERE state = 'ready' AND next_at <= ? ORDER BY next_at LIMIT ?`
	claimed = `) UPDATE prm_deliveries SET state = 'leased', attempt = attempt + 1, alone = FALSE, owner = ?, next_at = ? WHERE `

	// A claim that has lapsed was somebody's who has died or hung, perhaps of what he was sending. It is taken up by itself, so that only what
	// kills its sender when it is alone counts as a failure; else that would be sent for ever, or take down with it what is claimed beside it.
	claimLapsed   = `WITH due AS MATERIALIZED (SELECT id FROM prm_deliveries WHERE state = 'leased' AND next_at <= ? ORDER BY next_at LIMIT 1`
	claimedLapsed = `) UPDATE prm_deliveries SET attempt = attempt + 1, failures = failures + CASE WHEN alone THEN 1 ELSE 0 END, alone = TRUE,
	owner = ?, next_at = ? WHERE id IN (SELECT id FROM due)` + columns

	columns = ` RETURNING id, event_id, partner_id, account_id, template, region, payload, attempt, failures, tries, created_at, expires_at`

	// Only the claimant of that attempt finishes it: a later one may have taken it over. Who has an owner is leased. Asked for the state as well,
	// PostgreSQL would go by the index of what is leased, which is empty whenever it gathers statistics, and compare each of thousands with each
	// outcome.
	finish = `UPDATE prm_deliveries SET state = x.state, failures = prm_deliveries.failures + x.failures, tries = prm_deliveries.tries + x.tries,
	next_at = CAST(? AS BIGINT) + x.wait, owner = '', alone = FALSE, last_error = x.error, payload = CASE WHEN x.state = 'done' THEN '' ELSE payload END,
	done_at = CASE WHEN x.state = 'done' THEN CAST(? AS BIGINT) ELSE 0 END FROM `
	finished = ` WHERE prm_deliveries.id = x.id AND prm_deliveries.attempt = x.attempt AND prm_deliveries.owner = ?`

	extend   = `UPDATE prm_deliveries SET next_at = ? FROM `
	extended = ` WHERE prm_deliveries.id = x.id AND prm_deliveries.attempt = x.attempt AND prm_deliveries.owner = ? RETURNING prm_deliveries.id`
)

var (
	finishColumns = store.ColumnsOf("id TEXT", "attempt BIGINT", "state TEXT", "failures BIGINT", "tries BIGINT", "wait BIGINT", "error TEXT")
	extendColumns = store.ColumnsOf("id TEXT", "attempt BIGINT")
)

// turn writes down outcomes and claims what is due, in one transaction.
func (q *Queue) turn(ctx context.Context, ended []outcome, limit int) (list []Delivery, err error) {
	err = store.InTx(ctx, q.db, func(tx *store.Tx) error {
		list = list[:0]
		if err := q.write(tx, ended); err != nil {
			return err
		}
		claim := claimSQLite
		if tx.Postgres() {
			claim = claimPostgres
		}
		return tx.Scan(engine, q.reading(&list), claim, tx.Now(), limit, q.owner, tx.Now().Add(lease))
	})
	if err != nil {
		return nil, err
	}
	q.tell(ctx, ended)
	return list, nil
}

// takeLapsed claims one delivery whose claim has lapsed.
func (q *Queue) takeLapsed(ctx context.Context) (d Delivery, found bool, err error) {
	var list []Delivery
	err = store.InTx(ctx, q.db, func(tx *store.Tx) error {
		list = list[:0]
		return tx.Scan(engine, q.reading(&list), claimLapsed+tx.Lock("UPDATE SKIP LOCKED")+claimedLapsed, tx.Now(), q.owner, tx.Now().Add(lease))
	})
	if err != nil || len(list) == 0 {
		return d, false, err
	}
	return list[0], true, nil
}

// reading reads the rows of a claim.
func (q *Queue) reading(list *[]Delivery) func(store.Row) error {
	return func(r store.Row) error {
		d := Delivery{State: Leased, Owner: q.owner}
		err := r.Scan(&d.ID, &d.EventID, &d.PartnerID, &d.AccountID, &d.Template, &d.Region, &d.Payload, &d.Attempt, &d.Failures, &d.Tries, &d.CreatedAt, &d.ExpiresAt)
		*list = append(*list, d)
		return err
	}
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
		list.Add(o.id, o.attempt, o.state, o.failures, o.tries, o.wait.Microseconds(), o.text)
	}
	args := append([]any{tx.Now(), tx.Now()}, list.Args()...)
	return tx.Later(engine, nil, finish+list.SQL()+finished, append(args, q.owner)...)
}

// renew prolongs the leases of what is being sent or waits for its turn, and of what could not be written down yet; who has lost one is told
// to stop. A sending whose time is over has its lease no longer, whatever it is doing.
func (c *crew) renew(ctx context.Context) {
	still := map[string]bool{}
	open := slices.Concat(slices.Collect(maps.Values(c.sending)), c.waiting)
	err := store.InTx(ctx, c.db, func(tx *store.Tx) error {
		clear(still)
		list := tx.Rows(extendColumns)
		for _, h := range open {
			if h.ctx.Err() == nil && (h.began.IsZero() || time.Since(h.began) < c.sendLimit) {
				list.Add(h.ID, h.Attempt)
			}
		}
		for _, o := range c.pending {
			list.Add(o.id, o.attempt)
		}
		args := append([]any{tx.Now().Add(lease)}, list.Args()...)
		return tx.Scan(engine, func(r store.Row) error {
			var id string
			err := r.Scan(&id)
			still[id] = true
			return err
		}, extend+list.SQL()+extended, append(args, c.owner)...)
	})
	if err != nil { // the next round will know
		c.logger.WarnContext(ctx, "the leases of deliveries could not be renewed", "deliveries", len(open))
		return
	}
	for _, h := range open {
		if !still[h.ID] {
			h.cancel()
		}
	}
}

// Retry puts a dead delivery back, to be tried as if for the first time; false if it is not dead.
func Retry(tx *store.Tx, id string) (bool, error) {
	n, err := tx.Exec(engine, "UPDATE prm_deliveries SET state = 'ready', failures = 0, tries = 0, next_at = ?, last_error = '' WHERE id = ? AND state = 'dead'",
		tx.Now(), id)
	return n > 0, err
}

// Dismiss forgets a dead delivery; false if it is not dead.
func Dismiss(tx *store.Tx, id string) (bool, error) {
	n, err := tx.Exec(engine, "DELETE FROM prm_deliveries WHERE id = ? AND state = 'dead'", id)
	return n > 0, err
}

// farOff is further away than any delivery waits, by what a clock can be wrong in an hour: it was put there by one that ran ahead.
const farOff = 2 * time.Hour

// Tidy forgets what was done before, and what has run out without being sent, and has what a clock that ran ahead has put off tried now; at most
// limit of each. more tells that there may be others.
func Tidy(tx *store.Tx, before store.Micros, limit int) (more bool, err error) {
	lock := tx.Lock("UPDATE SKIP LOCKED") + ")"
	done, err := tx.Exec(engine, "DELETE FROM prm_deliveries WHERE id IN (SELECT id FROM prm_deliveries WHERE state = 'done' AND done_at < ? ORDER BY done_at LIMIT ?"+lock,
		before, limit)
	if err != nil {
		return false, err
	}
	late, err := tx.Exec(engine, `DELETE FROM prm_deliveries WHERE id IN (SELECT id FROM prm_deliveries
		WHERE expires_at > 0 AND expires_at <= ? AND state IN ('ready', 'dead') LIMIT ?`+lock, tx.Now(), limit)
	if err != nil {
		return false, err
	}
	const again = "UPDATE prm_deliveries SET next_at = ? WHERE id IN (SELECT id FROM prm_deliveries WHERE state = " // an index for each state
	ready, err := tx.Exec(engine, again+"'ready' AND next_at > ? LIMIT ?"+lock, tx.Now(), tx.Now().Add(farOff), limit)
	if err != nil {
		return false, err
	}
	leased, err := tx.Exec(engine, again+"'leased' AND next_at > ? LIMIT ?"+lock, tx.Now(), tx.Now().Add(farOff), limit)
	return max(done, late, ready, leased) == int64(limit), err
}

var (
	errLost     = errors.New("whoever sent it ended before an answer, too often")
	errPanicked = errors.New("the sender panicked or ended its goroutine")
	errHung     = errors.New("the sender did not return in time")
	errRunOut   = fail.New(fail.Refused, "it has run out")
)
