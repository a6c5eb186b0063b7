package partner

import (
	"context"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Block shuts out the partner's own users: every log-in, token and call of theirs fails with [ErrBlocked] from when Block returns, and
// their open sessions stay dead after Unblock. With cascade, those of all sub-partners, too. Projects' log-ins go on: see BlockUsers.
// Vendor only; blocking twice is no error, and the later cascade counts.
func (d *Partners) Block(ctx context.Context, id ID, cascade bool) (err error) {
	defer wrap(&err, "block %s", id)
	return d.setBlock(ctx, id, own, true, cascade)
}

// Unblock lifts what Block did, and nothing else: another cause keeps its block, a disabled user stays disabled. Vendor only.
func (d *Partners) Unblock(ctx context.Context, id ID) (err error) {
	defer wrap(&err, "unblock %s", id)
	return d.setBlock(ctx, id, own, false, false)
}

// BlockUsers shuts out all users of the partner's accounts, projects' log-ins included, independently of Block; with cascade those of
// all sub-partners' accounts, too. Their open sessions stay dead after UnblockUsers. Vendor only.
func (d *Partners) BlockUsers(ctx context.Context, id ID, cascade bool) (err error) {
	defer wrap(&err, "block users of %s", id)
	return d.setBlock(ctx, id, users, true, cascade)
}

// UnblockUsers lifts what BlockUsers did, and nothing else. Vendor only.
func (d *Partners) UnblockUsers(ctx context.Context, id ID) (err error) {
	defer wrap(&err, "unblock users of %s", id)
	return d.setBlock(ctx, id, users, false, false)
}

// side is which users a block is about.
type side string

const (
	own   side = "own"   // the organisation's
	users side = "users" // its accounts'
)

func (d *Partners) setBlock(ctx context.Context, id ID, which side, on, cascade bool) error {
	ask := Ask{Action: "partner.block", Target: string(id), Changes: true, tree: replanting, below: cascade || !on}
	ask.reaches = func(tx *store.Tx) (bool, error) { // a block that does not cascade ends one that does
		row, err := partnerByID(tx, id, "")
		return row.OwnCascade && which == own || row.UsersCascade && which == users, err
	}
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		if id == Vendor {
			return errNotAllowed
		}
		row, err := partnerByID(tx, id, "")
		if err != nil {
			return err
		}
		was, did := row.OwnBlocks, row.OwnCascade
		if which == users {
			was, did = row.UsersBlocks, row.UsersCascade
		}
		if (was&blockManual != 0) == on && did == cascade {
			return nil // nothing changes, so nothing is recorded
		}
		if err := which.set(tx, row, on, cascade, did); err != nil {
			return err
		}
		return s.Record(tx, which.event(on), string(id), string(which)+"_blocks")
	})
}

func (w side) event(on bool) string {
	kind := "partner."
	if w == users {
		kind += "users_"
	}
	if on {
		return kind + "blocked"
	}
	return kind + "unblocked"
}

// blockSQL are the statements of one side.
type blockSQL struct{ block, lift, cascade string }

func statementsOf(w side) blockSQL {
	fill := strings.NewReplacer("{side}", string(w)).Replace
	return blockSQL{
		block: fill(`UPDATE prm_partners SET {side}_blocks = {side}_blocks | ?, {side}_cascade = ?, {side}_epoch = {side}_epoch + 1,
			version = version + 1 WHERE id = ?`),
		lift: fill(`UPDATE prm_partners SET {side}_blocks = {side}_blocks & ?, {side}_cascade = ?, version = version + 1 WHERE id = ?`),
		cascade: fill(`UPDATE prm_partners SET {side}_inherited = {side}_inherited + ?, {side}_epoch = {side}_epoch + ?
			WHERE path > ? AND path < ?`),
	}
}

var blockStatements = map[side]blockSQL{own: statementsOf(own), users: statementsOf(users)}

// set writes the block to the organisation's row and, as its cascade begins or ends, to the count in every row below. Whoever becomes
// blocked by it gets a new epoch.
func (w side) set(tx *store.Tx, row partnerRow, on, cascade, did bool) error {
	sql := blockStatements[w]
	change, bits := sql.lift, ^blockManual
	if on {
		change, bits = sql.block, blockManual
	}
	if _, err := tx.Exec(decided, change, bits, cascade, row.ID); err != nil {
		return err
	}
	if cascade == did {
		return nil
	}
	_, err := tx.Exec(decided, sql.cascade, count(cascade)-count(did), count(cascade), row.Path, store.PathEnd(row.Path))
	return err
}
