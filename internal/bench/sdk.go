package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

const (
	sku      = "seat"
	password = "correct horse battery"
)

// plainHasher stands in for argon2id: nothing here measures a log-in.
type plainHasher struct{}

// Hash implements partner.PasswordHasher.
func (plainHasher) Hash(_ context.Context, p []byte) (string, error) { return hashOf(p), nil }

// Verify implements partner.PasswordHasher.
func (plainHasher) Verify(_ context.Context, hash string, p []byte) (ok, renew bool, err error) {
	return hash == hashOf(p), false, nil
}

func hashOf(p []byte) string { return "plain:" + string(p) }

// sdk is the public API on a database of its own, as a host opens it.
type sdk struct {
	db     *gorm.DB
	reg    *partner.Registry
	seats  *license.Ledger
	vendor context.Context // its actor
	kind   string
	dsn    string
	drop   func() error
}

func openSDK(ctx context.Context, h *host, callers int) (k *sdk, err error) {
	return openSDKWith(ctx, h, callers, partner.Options{})
}

// openSDKWith is openSDK with options beside those that all have.
func openSDKWith(ctx context.Context, h *host, callers int, options partner.Options) (k *sdk, err error) {
	k = &sdk{kind: h.kind, vendor: partner.AsVendor(ctx, "bench")}
	if k.dsn, k.drop, err = h.fresh(); err != nil {
		return nil, err
	}
	if k.db, err = dbtest.Connect(h.kind, k.dsn, &gorm.Config{}); err != nil {
		return nil, err
	}
	if err := k.pool(callers); err != nil {
		return nil, err
	}
	if err := partner.Migrate(ctx, k.db); err != nil {
		return nil, err
	}
	options.Hasher = plainHasher{}
	if k.reg, err = partner.Open(ctx, k.db, &options); err != nil {
		return nil, err
	}
	k.seats = license.New(k.reg)
	return k, nil
}

// pool sizes the pool for so many callers. On SQLite it stays as the tests have it: one connection writes, the others read.
func (k *sdk) pool(callers int) error {
	pool, err := k.db.DB()
	if err == nil && k.kind == dbtest.Postgres {
		pool.SetMaxOpenConns(connections(callers))
		pool.SetMaxIdleConns(connections(callers))
	}
	return err
}

func (k *sdk) close() error {
	pool, err := k.db.DB()
	return errors.Join(err, k.reg.Close(), pool.Close(), k.drop())
}

// logins logs the admins of those names in, each n times; the sessions of one name lie together.
func (k *sdk) logins(ctx context.Context, names []string, n int) ([]partner.Session, error) {
	sessions := make([]partner.Session, len(names)*n)
	err := atOnce(len(names), func(i int) error {
		for j := range n {
			s, err := k.reg.Access.Login(ctx, names[i], password, "")
			if err != nil {
				return err
			}
			sessions[i*n+j] = s
		}
		return nil
	})
	return sessions, err
}

// atOnce runs do for 0 to n-1, a few at a time.
func atOnce(n int, do func(i int) error) error {
	const workers = 8
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = do(i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// books checks the ledger by its own means, and that it grew by what was done since there were start transfers.
func (k *sdk) books(start int64) func(ctx context.Context, done, failed int) error {
	return func(ctx context.Context, done, failed int) error {
		v, err := k.seats.Verify(partner.AsVendor(ctx, "bench"))
		if err != nil {
			return err
		}
		if v.FirstWrong != 0 {
			return errors.New(v.Why)
		}
		return balanced(int(v.Transfers-start), 0, done, failed)
	}
}

// transfers counts what is in the ledger, which must be in order.
func (k *sdk) transfers() (int64, error) {
	v, err := k.seats.Verify(k.vendor)
	if err == nil && v.FirstWrong != 0 {
		err = fmt.Errorf("the world was made wrong: %s", v.Why)
	}
	return v.Transfers, err
}
