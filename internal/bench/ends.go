package main

import (
	"context"
	cryptorand "crypto/rand"
	"math/rand/v2"
)

// ends chooses where one transfer goes from and to.
type ends func(*rand.Rand) (from, to int64)

// hot is always from pool 0, to one of 1,000 others.
func hot(r *rand.Rand) (from, to int64) { return 0, 1 + r.Int64N(1000) }

// spread is between two of 10,000 pools.
func spread(r *rand.Rand) (from, to int64) {
	from = 1 + r.Int64N(10_000)
	to = 1 + r.Int64N(9_999)
	if to >= from {
		to++
	}
	return from, to
}

// withEnds gives each call fresh ends and a fresh key.
func withEnds(callers int, choose ends, do func(ctx context.Context, key [16]byte, from, to int64) error) func(context.Context, int) error {
	chance := dice(callers)
	return func(ctx context.Context, caller int) error {
		from, to := choose(chance[caller])
		return do(ctx, newKey(), from, to)
	}
}

func newKey() (key [16]byte) {
	_, _ = cryptorand.Read(key[:]) // it never fails: it ends the program instead
	return key
}

// dice is a source of chance for each caller.
func dice(callers int) []*rand.Rand {
	list := make([]*rand.Rand, callers)
	for i := range list {
		list[i] = rand.New(rand.NewPCG(1, uint64(i))) //nolint:gosec // which pool comes next is no secret, and is the same in each run
	}
	return list
}
