package partner

import (
	"context"
	"strconv"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// The tree is parent_id and a materialised path: the base-36 node numbers of the organisations above and of itself, "/1/2s/". "Is X
// below Y" is a prefix, "all below Y" is a range of one index. Whether a block above cascades is counted into each row, so that a
// call's decision reads its own organisation's row alone.

// Locks on the tree, taken before any row.
const (
	addingLeaf = sharing
	replanting = "UPDATE"
)

// lockTree makes tree writes wait for each other: those that only add a leaf may go together, those that move or cascade go alone.
func lockTree(tx *store.Tx, strength string) error {
	var name string
	return tx.Query(deciding, &name, "SELECT name FROM prm_locks WHERE name = 'tree'"+tx.Lock(strength))
}

// plant gives a new organisation its place below parent, or as a root, under the lock addingLeaf.
func (r *Registry) plant(tx *store.Tx, row *partnerRow, parent ID) error {
	node, err := nextNode(tx)
	if err != nil {
		return err
	}
	row.Path, row.Depth = "/"+node+"/", 1
	if parent == "" {
		return nil
	}
	above, err := partnerByID(tx, parent, "")
	if err != nil {
		return err
	}
	switch {
	case above.ID == string(Vendor):
		return errNotHere
	case above.State == "archived" || above.State == "tombstoned":
		return &BlockedError{Reasons: []string{"archived"}}
	case above.Depth+1 > r.opts.MaxDepth:
		return &ValidationError{Fields: []FieldError{{Path: "parent", Code: "depth", Message: "the tree would be too deep", Err: ErrHierarchyDepth}}}
	}
	row.ParentID, row.Path, row.Depth = &above.ID, above.Path+node+"/", above.Depth+1
	row.OwnInherited, row.UsersInherited = above.OwnInherited+count(above.OwnCascade), above.UsersInherited+count(above.UsersCascade)
	return nil
}

func count(flag bool) int {
	if flag {
		return 1
	}
	return 0
}

// nextNode numbers a node; short numbers keep a path of twelve levels under 100 bytes.
func nextNode(tx *store.Tx) (string, error) {
	var n int64
	next := "UPDATE prm_nodes SET last = last + 1 RETURNING last"
	if tx.Postgres() {
		next = "SELECT nextval('prm_nodes')"
	}
	err := tx.Query(deciding, &n, next)
	return strconv.FormatInt(n, 36), err
}

// partnerByID reads a row for a call that has been decided on, or whose decision needs it.
func partnerByID(tx *store.Tx, id ID, lock string) (partnerRow, error) {
	var row partnerRow
	err := tx.Take(tx.From(deciding, partnersTable).Where("id = ?", id), &row, lock)
	return row, err
}

// MoveUnder sets the parent of a partner, "" makes it a root; everything below moves along. Vendor only. Sessions lose what the old
// place let them see with their next call. A field error on "parent": "cycle" ([ErrHierarchyCycle]) or "depth" ([ErrHierarchyDepth],
// counted over all that moves).
func (d *Partners) MoveUnder(ctx context.Context, id, parent ID) (err error) {
	defer wrap(&err, "move %s", id)
	ask := Ask{Action: "partner.move", Target: string(id), Changes: true, tree: replanting, also: parent, below: true}
	if !store.Plain(string(parent)) {
		return errNotHere
	}
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error { return d.reg.move(tx, s, id, parent) })
}

func (r *Registry) move(tx *store.Tx, s *Standing, id, parent ID) error {
	if tx.Frozen() {
		return errFrozen
	}
	row, err := partnerByID(tx, id, "")
	if err != nil {
		return err
	}
	if id == Vendor || parent == Vendor {
		return errNotHere
	}
	if text(row.ParentID) == string(parent) {
		return nil
	}
	above := partnerRow{Path: "/"} // a root stands below nothing
	if parent != "" {
		if above, err = partnerByID(tx, parent, sharing); err != nil {
			return err
		}
	}
	if err := r.mayStand(tx, row, above); err != nil {
		return err
	}
	own := above.OwnInherited + count(above.OwnCascade) - row.OwnInherited
	users := above.UsersInherited + count(above.UsersCascade) - row.UsersInherited
	lastNode := row.Path[strings.LastIndexByte(strings.TrimSuffix(row.Path, "/"), '/')+1:]
	_, err = tx.Exec(decided, `UPDATE prm_partners SET path = CAST(? AS TEXT) || substr(path, ?), depth = depth + ?, own_inherited = own_inherited + ?,
		users_inherited = users_inherited + ?, own_epoch = own_epoch + ?, users_epoch = users_epoch + ?, version = version + 1
		WHERE path >= ? AND path < ?`,
		above.Path+lastNode, len(row.Path)+1, above.Depth+1-row.Depth, own, users, count(own > 0), count(users > 0), row.Path, store.PathEnd(row.Path))
	if err != nil {
		return err
	}
	if _, err := tx.Exec(decided, "UPDATE prm_partners SET parent_id = ? WHERE id = ?", optional(parent), id); err != nil {
		return err
	}
	if err := noteTerms(tx, id); err != nil {
		return err
	}
	return s.Record(tx, "partner.moved", string(id), "parent")
}

// mayStand checks that row, with all below it, may stand below above.
func (r *Registry) mayStand(tx *store.Tx, row, above partnerRow) error {
	fault := func(code, message string, err error) error {
		return &ValidationError{Fields: []FieldError{{Path: "parent", Code: code, Message: message, Err: err}}}
	}
	if strings.HasPrefix(above.Path, row.Path) {
		return fault("cycle", "a partner cannot stand below itself", ErrHierarchyCycle)
	}
	if above.State == "archived" || above.State == "tombstoned" {
		return &BlockedError{Reasons: []string{"archived"}}
	}
	var deepest int
	if err := tx.Query(deciding, &deepest, "SELECT max(depth) FROM prm_partners WHERE path >= ? AND path < ?", row.Path, store.PathEnd(row.Path)); err != nil {
		return err
	}
	if above.Depth+1+deepest-row.Depth > r.opts.MaxDepth {
		return fault("depth", "the tree would be too deep", ErrHierarchyDepth)
	}
	return nil
}
