// Package drain is what the drain of deliveries is measured on: rows that wait to be delivered, a receiver that does nothing with them, and
// floors, the least that hand-written SQL does for as many jobs. The programs beside it share it.
package drain

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// Receiver is the notifier: it counts what comes, and does nothing.
type Receiver struct{}

// Count counts what a receiver was given in a context.
type Count struct {
	atomic.Int64
	Reached func(n int64) // called with each new number, if it is there
}

type countKey struct{}

// Counted is a context in which receivers count into n.
func Counted(ctx context.Context, n *Count) context.Context {
	return context.WithValue(ctx, countKey{}, n)
}

var errUncounted = errors.New("a delivery outside Counted")

// Notify implements partner.Notifier.
func (Receiver) Notify(ctx context.Context, _ partner.Message) error {
	n, ok := ctx.Value(countKey{}).(*Count)
	if !ok {
		return errUncounted
	}
	if now := n.Add(1); n.Reached != nil {
		n.Reached(now)
	}
	return nil
}

// What the SDK writes when it invites n people, beside the event of that: due at once, a microsecond apart, numbered from $1.
const (
	fillEvent = `INSERT INTO prm_events (id, at, kind, actor, subject, partner_id, target, changed)
		SELECT 'evt_drain', 1, 'drain', 'system', 'system', 'prt_vendor', 'x', '' WHERE NOT EXISTS (SELECT 1 FROM prm_events WHERE id = 'evt_drain')`
	fillColumns = `INSERT INTO prm_deliveries (id, event_id, partner_id, template, region, payload, state, attempt, next_at, created_at) `
	fillValues  = `, 'evt_drain', 'prt_vendor', 'welcome', 'DE', '` + letter + `', 'ready', 0, 1700000000000000 + n, 1700000000000000 + n `
	letter      = `{"to":"dev@user.example","locale":"de","token":"` + token + `","data":{"name":"Dev","partner":"Globex","until":"2030-01-01T00:00:00Z"}}`
	token       = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

	fillPostgres = fillColumns + `SELECT 'dlv_' || lpad(CAST(n AS TEXT), 26, '0')` + fillValues + `FROM generate_series(CAST($1 AS BIGINT) + 1, $1 + $2) n`
	fillSQLite   = `WITH RECURSIVE i (n) AS (SELECT ?1 + 1 UNION ALL SELECT n + 1 FROM i WHERE n < ?1 + ?2) ` +
		fillColumns + `SELECT printf('dlv_%026d', n)` + fillValues + `FROM i`
)

// Fill adds n deliveries to those there, which were made by it; what the database would tidy up by itself in time, it does now.
func Fill(ctx context.Context, kind string, db *sql.DB, n int) error {
	var there int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM prm_deliveries").Scan(&there); err != nil || n <= 0 {
		return err
	}
	if _, err := db.ExecContext(ctx, fillEvent); err != nil {
		return err
	}
	if kind != dbtest.Postgres {
		_, err := db.ExecContext(ctx, fillSQLite, there, n)
		return err
	}
	_, err := db.ExecContext(ctx, fillPostgres, there, n)
	if err == nil {
		_, err = db.ExecContext(ctx, "VACUUM ANALYZE prm_deliveries")
	}
	return err
}

// Left counts what waits, or is in somebody's hands.
func Left(ctx context.Context, db *sql.DB) (n int, err error) {
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM prm_deliveries WHERE state IN ('ready', 'leased')").Scan(&n)
	return n, err
}

const books = `SELECT count(CASE WHEN state = 'done' THEN 1 END), count(CASE WHEN state IN ('leased', 'dead') OR attempt > 1 OR failures > 0 OR last_error <> ''
	OR state = 'done' AND (attempt <> 1 OR payload <> '' OR done_at = 0) OR state = 'ready' AND attempt > 0 THEN 1 END) FROM prm_deliveries`

// Books finds deliveries that were lost, came twice or are not finished as they should be, after so many came.
func Books(ctx context.Context, db *sql.DB, came int) error {
	var done, wrong int
	if err := db.QueryRowContext(ctx, books).Scan(&done, &wrong); err != nil {
		return err
	}
	return right(done, wrong, came)
}

func right(done, wrong, came int) error {
	switch {
	case wrong > 0:
		return fmt.Errorf("%d were lost, or claimed twice", wrong)
	case done != came:
		return fmt.Errorf("%d came, %d are done", came, done)
	}
	return nil
}

// Floor is a table of jobs on PostgreSQL: claimed once, without a lease, and finished in the transaction that claims the next. It has no
// failures, no attempts, no receivers and no times.
type Floor struct{ *pgxpool.Pool }

// Batch is how many jobs a floor claims at once.
const Batch = 256

// FloorTable makes the floor's table.
const FloorTable = `CREATE TABLE job (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind TEXT NOT NULL, payload JSONB NOT NULL,
	state SMALLINT NOT NULL DEFAULT 0, done_at TIMESTAMPTZ);
	CREATE INDEX job_ready ON job (id) WHERE state = 0`

const (
	floorFill   = `INSERT INTO job (kind, payload) SELECT 'welcome', '` + letter + `' FROM generate_series(1, $1)`
	floorFinish = `UPDATE job SET state = 2, done_at = now() WHERE id = ANY($1)`
	floorClaim  = `WITH c AS MATERIALIZED (SELECT id FROM job WHERE state = 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
		UPDATE job j SET state = 1 FROM c WHERE j.id = c.id RETURNING j.id, j.payload`
	left       = `SELECT count(*) FROM job WHERE state < 2`
	floorBooks = `SELECT count(CASE WHEN state = 2 THEN 1 END), count(CASE WHEN state = 1 OR (state = 2) <> (done_at IS NOT NULL) THEN 1 END) FROM job`
)

// Create makes the table.
func (f Floor) Create(ctx context.Context) error {
	_, err := f.Exec(ctx, FloorTable)
	return err
}

// Fill adds n jobs.
func (f Floor) Fill(ctx context.Context, n int) error {
	if n <= 0 {
		return nil
	}
	_, err := f.Exec(ctx, floorFill, n)
	if err == nil {
		_, err = f.Exec(ctx, "VACUUM ANALYZE job")
	}
	return err
}

// Left counts what is not finished.
func (f Floor) Left(ctx context.Context) (n int, err error) {
	err = f.QueryRow(ctx, left).Scan(&n)
	return n, err
}

// Turn finishes the jobs that it returned last and claims the next, in one transaction and one round trip. In one statement it would not do:
// a claim also locks what another claimer took a moment ago, until it ends, and two of them that have jobs to finish would wait in a circle.
func (f Floor) Turn(ctx context.Context, last []int64) (next []int64, err error) {
	var both pgx.Batch
	both.Queue(floorFinish, last)
	both.Queue(floorClaim, Batch).Query(func(rows pgx.Rows) error {
		next, err = pgx.AppendRows(make([]int64, 0, Batch), rows, func(row pgx.CollectableRow) (id int64, err error) {
			var payload []byte // somebody would send it
			err = row.Scan(&id, &payload)
			return id, err
		})
		return err
	})
	return next, f.SendBatch(ctx, &both).Close()
}

// Finish finishes the jobs that Turn returned last.
func (f Floor) Finish(ctx context.Context, last []int64) error {
	_, err := f.Exec(ctx, floorFinish, last)
	return err
}

// Books is like the other Books.
func (f Floor) Books(ctx context.Context, came int) error {
	var done, wrong int
	if err := f.QueryRow(ctx, floorBooks).Scan(&done, &wrong); err != nil {
		return err
	}
	return right(done, wrong, came)
}
