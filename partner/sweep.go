package partner

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/outbox"
	"github.com/partnerkit/partnerkit/internal/store"
)

const (
	sweepEvery   = time.Minute
	sweepSize    = 200
	doneFor      = 30 * 24 * time.Hour // how long finished deliveries are kept (BEY-03)
	sessionsKept = 24 * time.Hour      // after their end
)

// isDue tells whether this process should look again, once a minute at most, and notes that it does.
func (r *Registry) isDue(looked *atomic.Int64) bool {
	now, last := int64(store.Now(r.db)), looked.Load()
	if now-last < sweepEvery.Microseconds() && now >= last {
		return false
	}
	return looked.CompareAndSwap(last, now)
}

// sweepIfDue is a worker's step.
func (r *Registry) sweepIfDue(ctx context.Context) (more bool, err error) {
	if !r.isDue(&r.swept) {
		return false, nil
	}
	return r.sweep(ctx)
}

// sweep forgets what nobody needs any more and writes down what has run out, a bounded number of each; all of it holds without that.
func (r *Registry) sweep(ctx context.Context) (more bool, err error) {
	err = store.InTx(ctx, r.db, func(tx *store.Tx) error {
		if more, err = outbox.Tidy(tx, tx.Now().Add(-doneFor), sweepSize); err != nil {
			return err
		}
		n, err := tx.Exec(swept, "DELETE FROM prm_sessions WHERE id IN (SELECT id FROM prm_sessions WHERE ends_at < ? ORDER BY ends_at LIMIT ?"+
			tx.Lock("UPDATE SKIP LOCKED")+")", tx.Now().Add(-sessionsKept), sweepSize)
		if err != nil {
			return err
		}
		more = more || n == sweepSize
		n, err = tx.Exec(swept, "UPDATE prm_tokens SET state = 'void', ended_at = expires_at WHERE id IN (SELECT id FROM prm_tokens WHERE state = 'open' AND expires_at <= ?"+
			" ORDER BY expires_at LIMIT ?"+tx.Lock("UPDATE SKIP LOCKED")+")", tx.Now(), sweepSize)
		more = more || n == sweepSize
		return err
	})
	if err != nil {
		return false, err
	}
	for _, what := range []func(context.Context) (bool, error){r.expireInvitations, r.lapseInvitations, r.lapseCertifications, r.endDelegations,
		r.remindOfCloses, r.watchIdle} {
		left, failed := what(ctx)
		more, err = more || left, cmp.Or(err, failed)
	}
	if more {
		r.swept.Store(0)
	}
	return more, err
}

var swept = store.Everything("what has run out is forgotten, whosesoever it is")

// expireInvitations makes pending partners whose invitation has run out expired. One whose row somebody holds is waited for.
func (r *Registry) expireInvitations(ctx context.Context) (more bool, err error) {
	var due []string
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		return tx.Query(swept, &due, "SELECT id FROM prm_partners p WHERE "+ranOut+" ORDER BY created_at LIMIT ?",
			tx.Now().Add(-r.opts.InvitationLife), tx.Now(), sweepSize)
	})
	for _, id := range due {
		failed := r.Write(asSystem(ctx), Ask{Action: "partner.edit", Target: id, Changes: true}, func(tx *store.Tx, s *Standing) error {
			n, err := tx.Exec(decided, "UPDATE prm_partners AS p SET state = 'expired', version = version + 1 WHERE id = ? AND "+ranOut,
				id, tx.Now().Add(-r.opts.InvitationLife), tx.Now())
			if err != nil || n == 0 {
				return err
			}
			return s.Record(tx, "partner.expired", id, "state")
		})
		err = cmp.Or(err, failed)
	}
	return err == nil && len(due) == sweepSize, err
}

// lapseInvitations ends those to accounts that nobody has accepted in time, and frees their places.
func (r *Registry) lapseInvitations(ctx context.Context) (more bool, err error) {
	var due []string
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		return tx.Query(swept, &due, `SELECT account_id FROM prm_members WHERE state = 'invited' AND due_at <= ? GROUP BY account_id ORDER BY min(due_at) LIMIT ?`,
			tx.Now(), sweepSize)
	})
	for _, id := range due {
		failed := r.Write(asSystem(ctx), Ask{Action: "member.end", Target: id, Changes: true}, func(tx *store.Tx, s *Standing) error {
			return s.lapse(tx, AccountID(id), tx.Now(), ledger.System)
		})
		err = cmp.Or(err, failed)
	}
	return err == nil && len(due) == sweepSize, err
}

// ranOut is true of a pending partner that nobody can accept for any more.
const ranOut = `p.state = 'pending' AND p.created_at <= ? AND NOT EXISTS (SELECT 1 FROM prm_tokens t
	WHERE t.partner_id = p.id AND t.purpose = 'partner' AND t.state = 'open' AND t.expires_at > ?)`

// lapseCertifications says of certifications that have run out that they have, once, whichever process sees it: those that another is at are left
// to it. One that was revoked is not over by itself.
func (r *Registry) lapseCertifications(ctx context.Context) (more bool, err error) {
	err = store.InTx(ctx, r.db, func(tx *store.Tx) error {
		var due []struct{ ID, PartnerID string }
		err := tx.Query(swept, &due, `UPDATE prm_certifications SET lapsed = TRUE WHERE id IN (SELECT id FROM prm_certifications
			WHERE NOT lapsed AND revoked_at = 0 AND ends_at <= ? ORDER BY ends_at LIMIT ?`+tx.Lock("NO KEY UPDATE SKIP LOCKED")+`) RETURNING id, partner_id`,
			tx.Now(), sweepSize)
		for _, c := range due {
			if err != nil {
				break
			}
			err = tx.Insert(&eventRow{ID: tx.NewID("evt"), At: tx.Now(), Kind: "certification.lapsed", Actor: ledger.System, Subject: ledger.System,
				PartnerID: c.PartnerID, Target: c.ID})
		}
		more = len(due) == sweepSize
		return err
	})
	return more, err
}

// endDelegations says of requests that nobody has decided on, and of delegations that have run out, that they are over.
func (r *Registry) endDelegations(ctx context.Context) (more bool, err error) {
	err = store.InTx(ctx, r.db, func(tx *store.Tx) error {
		var due []delegationRow
		err := tx.Query(swept, &due, `UPDATE prm_delegations SET state = CASE state WHEN 'requested' THEN 'lapsed' ELSE 'expired' END WHERE id IN (SELECT id FROM prm_delegations
			WHERE state IN ('requested', 'approved') AND due_at <= ? ORDER BY due_at LIMIT ?`+tx.Lock("NO KEY UPDATE SKIP LOCKED")+`) RETURNING id, partner_id, account_id, state`,
			tx.Now(), sweepSize)
		more = len(due) == sweepSize
		return cmp.Or(err, noteOver(tx, ledger.System, due))
	})
	return more, err
}

// noteOver writes the audit rows of delegations that have come to their end, for whoever has brought that about.
func noteOver(tx *store.Tx, who string, list []delegationRow) error {
	for _, d := range list {
		err := tx.Insert(&eventRow{ID: tx.NewID("evt"), At: tx.Now(), Kind: "delegation." + d.State, Actor: who, Subject: who,
			PartnerID: d.PartnerID, AccountID: &d.AccountID, Target: d.ID, Changed: "state"})
		if err != nil {
			return err
		}
	}
	return nil
}
