package partner_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// TestPIL12_WhatCannotSeeThePresentRefuses: inside a snapshot, a cascade would miss whoever came since, and a close the licences.
func TestPIL12_WhatCannotSeeThePresentRefuses(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.Postgres))
	top, _ := w.partner("top")
	p, me := w.partner("acme")
	a := w.project(me, "one")
	away, _ := w.partner("away")
	w.must(w.reg.Partners.Archive(w.vendor, away.ID))
	for _, level := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable} {
		tx := w.db.Begin(&sql.TxOptions{Isolation: level})
		w.must(tx.Error)
		in := w.reg.In(tx)
		_, closed := in.Accounts.Close(me, a.ID)
		for verb, err := range map[string]error{
			"Block": in.Partners.Block(w.vendor, p.ID, true), "BlockUsers": in.Partners.BlockUsers(w.vendor, p.ID, false),
			"Unblock": in.Partners.Unblock(w.vendor, p.ID), "MoveUnder": in.Partners.MoveUnder(w.vendor, p.ID, top.ID), "Close": closed,
			"Archive": in.Partners.Archive(w.vendor, p.ID), "Restore": in.Partners.Restore(w.vendor, away.ID), "Tombstone": in.Partners.Tombstone(w.vendor, away.ID),
		} {
			wants(t, verb, err, partner.ErrInvalid)
		}
		_, err := in.Accounts.Get(me, a.ID) // others go on
		w.must(err)
		w.must(tx.Rollback().Error)
	}
}

// TestPIL32_LogoutAtOnce: a session that is ended from several sides ends once, and nobody waits in a circle.
func TestPIL32_LogoutAtOnce(t *testing.T) {
	each(t, func(w *world) {
		w.partner("acme")
		for range 10 {
			me := w.login("acme")
			var all sync.WaitGroup
			for range 6 {
				all.Go(func() {
					if err := w.reg.Access.Logout(me); err != nil && !errors.Is(err, partner.ErrForbidden) {
						w.t.Errorf("log out: %v", err)
					}
				})
			}
			all.Wait()
		}
		if n := rowsIn(w.t, w.db, "prm_events WHERE kind = 'session.ended'"); n != 10 {
			w.t.Errorf("%d sessions ended, want 10", n)
		}
	})
}

// flakyHasher fails its first hash.
type flakyHasher struct {
	plainHasher
	failed *bool
}

func (h flakyHasher) Hash(ctx context.Context, p []byte) (string, error) {
	if !*h.failed {
		*h.failed = true
		return "", errors.New("no memory")
	}
	return h.plainHasher.Hash(ctx, p)
}

// TestPIL28_AHasherThatFailedIsAskedAgain: one failure does not end log-in for good.
func TestPIL28_AHasherThatFailedIsAskedAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		newWorld(t, db).partner("acme")
		w := newWorld(t, db, func(o *partner.Options) { o.Hasher = flakyHasher{failed: new(bool)} })
		_, err := w.reg.Access.Login(context.Background(), "acme", password, "")
		wants(t, "the hasher's failure", err, partner.ErrUnavailable)
		w.login("acme")
	})
}
