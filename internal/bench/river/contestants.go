package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/bench/drain"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// ours is the SDK.
type ours struct {
	reg   *partner.Registry
	db    *sql.DB
	steps int // at once; 0 for Run
	count drain.Count
}

func newOurs(ctx context.Context, dsn string, steps int) (_ contestant, err error) {
	db, err := dbtest.Connect(dbtest.Postgres, dsn, &gorm.Config{})
	if err != nil {
		return nil, err
	}
	o := &ours{steps: steps}
	if o.db, err = db.DB(); err != nil {
		return nil, err
	}
	o.db.SetMaxOpenConns(connections)
	o.db.SetMaxIdleConns(connections)
	if err := partner.Migrate(ctx, db); err != nil {
		return nil, errors.Join(err, o.db.Close())
	}
	if o.reg, err = partner.Open(ctx, db, &partner.Options{Notifier: drain.Receiver{}, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, errors.Join(err, o.db.Close())
	}
	return o, nil
}

func (o *ours) fill(ctx context.Context, jobs int) error {
	o.count.Store(0)
	if _, err := o.db.ExecContext(ctx, "TRUNCATE prm_deliveries"); err != nil {
		return err
	}
	return drain.Fill(ctx, dbtest.Postgres, o.db, jobs)
}

func (o *ours) drain(ctx context.Context, jobs int) (time.Duration, error) {
	ctx, stop := context.WithTimeout(drain.Counted(ctx, &o.count), limit)
	defer stop()
	began := time.Now()
	if o.steps > 0 {
		err := atOnce(o.steps, func() error {
			for more := true; more; {
				var err error
				if more, err = o.reg.Step(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		return time.Since(began), err
	}
	all := make(chan struct{})
	o.count.Reached = func(n int64) {
		if n == int64(jobs) {
			close(all)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- o.reg.Run(ctx) }()
	select {
	case <-all:
	case <-ctx.Done():
	}
	err := await(ctx, func(ctx context.Context) (int, error) { return drain.Left(ctx, o.db) })
	took := time.Since(began)
	stop()
	return took, errors.Join(err, <-ended)
}

func (o *ours) books(ctx context.Context, jobs int) error {
	if n := int(o.count.Load()); n != jobs {
		return fmt.Errorf("%d of %d came", n, jobs)
	}
	return drain.Books(ctx, o.db, jobs)
}

func (o *ours) close() error { return errors.Join(o.reg.Close(), o.db.Close()) }

// atOnce does it n times at once.
func atOnce(n int, do func() error) error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = do() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// floor is hand-written SQL.
type floor struct {
	drain.Floor
	came atomic.Int64
}

func openPool(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns = connections
	return pgxpool.NewWithConfig(ctx, config)
}

func newFloor(ctx context.Context, dsn string) (contestant, error) {
	pool, err := openPool(ctx, dsn)
	if err != nil {
		return nil, err
	}
	f := &floor{Floor: drain.Floor{Pool: pool}}
	if err := f.Create(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return f, nil
}

func (f *floor) fill(ctx context.Context, jobs int) error {
	f.came.Store(0)
	if _, err := f.Exec(ctx, "TRUNCATE job"); err != nil {
		return err
	}
	return f.Fill(ctx, jobs)
}

func (f *floor) drain(ctx context.Context, _ int) (time.Duration, error) {
	began := time.Now()
	err := atOnce(claimers, func() error {
		var held []int64
		for {
			next, err := f.Turn(ctx, held)
			if err != nil || len(next) == 0 {
				return err
			}
			f.came.Add(int64(len(next)))
			held = next
		}
	})
	return time.Since(began), err
}

func (f *floor) books(ctx context.Context, jobs int) error {
	if n := int(f.came.Load()); n != jobs {
		return fmt.Errorf("%d of %d came", n, jobs)
	}
	return f.Books(ctx, jobs)
}

func (f *floor) close() error {
	f.Pool.Close()
	return nil
}

// peer is River, set as it drains fastest: it asks for more as soon as it may, and its jobs have no timeout of their own.
type peer struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	config *river.Config
	came   atomic.Int64
	want   int64
	all    chan struct{}
}

// invitation is a job with what a delivery says.
type invitation struct {
	To     string            `json:"to"`
	Locale string            `json:"locale"`
	Token  string            `json:"token"`
	Data   map[string]string `json:"data"`
}

// Kind implements river.JobArgs.
func (invitation) Kind() string { return "welcome" }

func newRiver(ctx context.Context, dsn string, workers int) (_ contestant, err error) {
	p := &peer{}
	if p.pool, err = openPool(ctx, dsn); err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	work := river.NewWorkers()
	river.AddWorker(work, river.WorkFunc(p.work))
	p.config = &river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		FetchCooldown: river.FetchCooldownMin, FetchPollInterval: 50 * time.Millisecond, JobTimeout: -1, Workers: work, Logger: quiet,
	}
	driver := riverpgxv5.New(p.pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err == nil {
		p.client, err = river.NewClient(driver, p.config)
	}
	if err != nil {
		p.pool.Close()
		return nil, err
	}
	return p, nil
}

func (p *peer) work(context.Context, *river.Job[invitation]) error {
	if p.came.Add(1) == p.want {
		close(p.all)
	}
	return nil
}

func (p *peer) fill(ctx context.Context, jobs int) error {
	p.came.Store(0)
	p.want, p.all = int64(jobs), make(chan struct{})
	if _, err := p.pool.Exec(ctx, "TRUNCATE river_job"); err != nil {
		return err
	}
	args := invitation{To: "dev@user.example", Locale: "de", Token: "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
		Data: map[string]string{"name": "Dev", "partner": "Globex", "until": "2030-01-01T00:00:00Z"}}
	const chunk = 2000
	for from := 0; from < jobs; from += chunk {
		list := make([]river.InsertManyParams, min(chunk, jobs-from))
		for i := range list {
			list[i].Args = args
		}
		if _, err := p.client.InsertManyFast(ctx, list); err != nil {
			return err
		}
	}
	_, err := p.pool.Exec(ctx, "VACUUM ANALYZE river_job")
	return err
}

func (p *peer) drain(ctx context.Context, _ int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := river.NewClient(riverpgxv5.New(p.pool), p.config)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := client.Start(ctx); err != nil {
		return 0, err
	}
	select {
	case <-p.all:
	case <-ctx.Done():
	}
	err = await(ctx, func(ctx context.Context) (n int, err error) {
		const left = "SELECT count(*) FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'pending')"
		err = p.pool.QueryRow(ctx, left).Scan(&n)
		return n, err
	})
	took := time.Since(began)
	return took, errors.Join(err, client.Stop(ctx))
}

func (p *peer) books(ctx context.Context, jobs int) error {
	var done, twice int
	err := p.pool.QueryRow(ctx, "SELECT count(*) FILTER (WHERE state = 'completed'), count(*) FILTER (WHERE attempt <> 1) FROM river_job").Scan(&done, &twice)
	if err == nil && (done != jobs || twice > 0 || int(p.came.Load()) != jobs) {
		err = fmt.Errorf("of %d jobs %d came, %d are completed, %d were tried more than once", jobs, p.came.Load(), done, twice)
	}
	return err
}

func (p *peer) close() error {
	p.pool.Close()
	return nil
}
