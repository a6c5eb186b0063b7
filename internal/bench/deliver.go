package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/partnerkit/partnerkit/internal/bench/drain"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

func deliver(s settings) measure {
	m := measure{name: "deliver/drain", floor: "sql", callers: []int{1, 4},
		includes: "waiting deliveries go to a notifier that does nothing; figures are of deliveries, times of calls. A call of ours is one Registry.Step,\n" +
			"1,024 deliveries in batches of 256: each claimed with a lease and an attempt, its letter read and worded, its outcome written, its payload\n" +
			"wiped. A call of the floor finishes the 256 that it claimed last and claims the next, in one transaction; nothing else.",
		aim: "none of its own; twice River's rate (internal/bench/river)",
	}
	m.open = func(ctx context.Context, h *host, callers int) ([]target, error) {
		floor, err := deliverFloor(ctx, h, callers)
		if err != nil {
			return nil, err
		}
		ours, err := deliverOurs(ctx, h, callers)
		return []target{floor, ours}, err
	}
	return m
}

// supply keeps enough waiting: three times what the fastest round so far would take, for rounds differ.
type supply struct {
	came   atomic.Int64
	before int64         // what had come when the last window began
	last   time.Duration // that window
	rate   float64       // the most that came in a second
}

// wanted is how much must wait for the next window, of so much at first.
func (s *supply) wanted(callers int, window time.Duration) int {
	const first, most = 60_000, 3
	came, rate := s.came.Load(), float64(first)
	if s.last > 0 {
		s.rate = max(s.rate, float64(came-s.before)/s.last.Seconds())
		rate = s.rate
	}
	s.before, s.last = came, window
	return int(most*rate*window.Seconds()) + callers*8*drain.Batch
}

// took counts n; a call that found nothing says that the figure would be wrong.
func (s *supply) took(n int, err error) (int, error) {
	s.came.Add(int64(n))
	if err == nil && n == 0 {
		err = errDry
	}
	return n, err
}

var errDry = errors.New("nothing was left to deliver")

func deliverOurs(ctx context.Context, h *host, callers int) (target, error) {
	k, err := openSDKWith(ctx, h, callers, partner.Options{Notifier: drain.Receiver{}})
	if err != nil {
		return target{}, err
	}
	pool, err := k.db.DB()
	var s supply
	return target{ours: true, close: k.close,
		fill: func(ctx context.Context, window time.Duration) error {
			waits, err := drain.Left(ctx, pool)
			if err != nil {
				return err
			}
			return drain.Fill(ctx, h.kind, pool, s.wanted(callers, window)-waits)
		},
		count: func(ctx context.Context, _ int) (int, error) {
			var n drain.Count
			_, err := k.reg.Step(drain.Counted(ctx, &n))
			return s.took(int(n.Load()), err)
		},
		books: func(ctx context.Context, done, _ int) error { return drain.Books(ctx, pool, done) },
	}, err
}

// claimer is a floor of either database.
type claimer interface {
	Fill(ctx context.Context, n int) error
	Left(ctx context.Context) (int, error)
	Turn(ctx context.Context, last []int64) ([]int64, error)
	Finish(ctx context.Context, last []int64) error
	Books(ctx context.Context, came int) error
}

func deliverFloor(ctx context.Context, h *host, callers int) (target, error) {
	f, closed, err := openClaimer(ctx, h, callers)
	if err != nil {
		return target{}, err
	}
	var s supply
	held := make([][]int64, callers)
	return target{name: "sql", close: closed,
		fill: func(ctx context.Context, window time.Duration) error {
			waits, err := f.Left(ctx)
			if err != nil {
				return err
			}
			return f.Fill(ctx, s.wanted(callers, window)-waits)
		},
		count: func(ctx context.Context, caller int) (n int, err error) {
			held[caller], err = f.Turn(ctx, held[caller])
			return s.took(len(held[caller]), err)
		},
		books: func(ctx context.Context, done, _ int) error {
			for _, ids := range held {
				if err := f.Finish(ctx, ids); err != nil {
					return err
				}
			}
			return f.Books(ctx, done)
		},
	}, nil
}

func openClaimer(ctx context.Context, h *host, callers int) (claimer, func() error, error) {
	if h.kind == dbtest.Postgres {
		f, err := openPostgresFloor(ctx, h, callers, drain.FloorTable)
		return drain.Floor{Pool: f.Pool}, f.close, err
	}
	dsn, drop, err := h.fresh()
	if err != nil {
		return nil, nil, err
	}
	db, err := sqlite(dsn)
	if err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	f := &drain.FileFloor{DB: db}
	closed := func() error { return errors.Join(db.Close(), drop()) }
	if err := f.Create(ctx); err != nil {
		return nil, nil, errors.Join(err, closed())
	}
	return f, closed, nil
}
