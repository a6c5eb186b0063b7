package partner

import (
	"cmp"
	"context"
	"strings"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Standing is an allowed call: who acts, and what it acts on. It is for the sibling rooms and good for the transaction it was made
// in; see [Registry.Write].
type Standing struct {
	*facts
	reg       *Registry
	state     error
	recorded  bool // something was written down
	delivered bool // a letter was put on its way
}

// Ask names what is to be decided: an action of the matrix, and the id it is done to, empty if none. It is for the sibling rooms; see
// [Registry.Write].
type Ask struct {
	Action, Target string
	Changes        bool // the call will change the target's row
	// Keyed says that the call may be a repetition, whose answer stands whatever the state of things is now: what only the state
	// forbids is left to [Standing.Refusal].
	Keyed bool
	// Context is who acts; for [Registry.WriteAll], where each call has its own.
	Context context.Context

	tree    string // the lock on the tree that the call needs, before any row
	address string // the e-mail address, by its key, that nobody else may take meanwhile
	also    ID     // another organisation that the decision rests on
	below   bool   // the call changes rows of organisations below the target
	turns   bool   // the call changes where its own session works
	person  string // the identity that the call changes, or whose sessions it ends

	// reaches, if not nil, tells whether the call turns out to change rows below all the same. It is asked under the tree's lock.
	reaches func(*store.Tx) (bool, error)
}

// Write runs one mutation for a sibling room: one transaction, in which the actor in ctx is allowed what is asked or the call
// refused. What the decision rests on is held until the transaction ends. It is of no use outside this module, whose rooms
// alone can work with a store.Tx.
func (r *Registry) Write(ctx context.Context, ask Ask, do func(*store.Tx, *Standing) error) error {
	var g *gathering
	var s *Standing
	err := store.InTx(ctx, r.db, func(tx *store.Tx) error {
		if ask.address != "" {
			if _, err := r.decideOn(tx, ask, plainly); err != nil {
				return err
			}
			if err := lockAddress(tx, ask.address); err != nil {
				return err
			}
		}
		if ask.tree != "" {
			// Decided on before the tree is locked, for nobody else should be able to stop its writers; and then again.
			if _, err := r.decideOn(tx, ask, plainly); err != nil {
				return err
			}
			if err := lockTree(tx, ask.tree); err != nil {
				return err
			}
		}
		ask := ask
		if !ask.below && ask.reaches != nil {
			var err error
			if ask.below, err = ask.reaches(tx); err != nil {
				return err
			}
		}
		var err error
		if g = nil; ask.plain() {
			g, s, err = r.enterOne(tx, ask)
		} else {
			s, err = r.enter(tx, ask)
		}
		if err != nil {
			return err
		}
		if s.stale() {
			if err := s.touch(tx); err != nil {
				return err
			}
		}
		return do(tx, s)
	})
	if err == nil && g != nil {
		g.learn()
	}
	if err == nil && s.delivered && !store.Joined(r.db) {
		r.Wake()
	}
	return err
}

// plain tells whether a call changes nothing that decisions rest on.
func (a Ask) plain() bool {
	return !a.Changes && !a.turns && !a.below && a.tree == "" && a.also == "" && a.address == "" && a.person == ""
}

// enterOne is enter for a plain call.
func (r *Registry) enterOne(tx *store.Tx, ask Ask) (*gathering, *Standing, error) {
	ask.Context = tx.Context()
	g, err := r.gather(tx, []Ask{ask}, gathering{})
	if err != nil {
		return nil, nil, err
	}
	return g, g.verdicts[0].Standing, g.verdicts[0].Err
}

// enter passes the gates of a call and decides on it, until the gates are those of what the decision rests on.
func (r *Registry) enter(tx *store.Tx, ask Ask) (*Standing, error) {
	a, err := actorOf(tx.Context())
	if err != nil {
		return nil, err
	}
	var passed gates
	for range gateRounds {
		if err := passed.pass(tx, a, ask); err != nil {
			return nil, err
		}
		s, err := r.allow(tx, ask)
		if err != nil || passed.cover(tx, s.facts, nil) {
			return s, err
		}
	}
	return nil, store.ErrAgain
}

// Read runs one reading call for a sibling room, like Write.
func (r *Registry) Read(ctx context.Context, ask Ask, do func(*store.Tx, *Standing) error) error {
	var standing *Standing
	strange := false
	err := store.Read(ctx, r.db, func(tx *store.Tx) (err error) {
		a, err := actorOf(tx.Context())
		if err != nil {
			return err
		}
		var f facts
		if f, strange, err = r.look(tx, a, ask); err != nil {
			return err
		}
		if standing, err = f.standing(r, ask); err != nil {
			return err
		}
		return do(tx, standing)
	})
	if err == nil {
		r.used(ctx, standing)
	}
	if strange {
		r.study(ctx, ask)
	}
	return err
}

// look finds the facts of a reading call: from memory if that holds, else in the database; strange says that memory should have them.
func (r *Registry) look(tx *store.Tx, a actor, ask Ask) (f facts, strange bool, err error) {
	if tx.Frozen() {
		f, err = r.readFacts(tx, a, ask, holding)
		return f, false, err
	}
	list := []facts{r.asked(tx, a, ask)}
	at, found := r.known.recall(list)
	var now stamp
	if err := cmp.Or(now.read(tx), tx.Flush()); err != nil {
		return f, false, err
	}
	if found[0] && now == at {
		return list[0], false, nil
	}
	still := r.known.met(now, tx.Now())
	f, err = r.readFacts(tx, a, ask, holding)
	return f, still && !store.Joined(r.db), err
}

// study learns what decisions rest on that readers have found strange, behind its gates, if nobody is in the way: now and then for many of
// them, because it takes a transaction.
func (r *Registry) study(ctx context.Context, ask Ask) {
	a, err := actorOf(ctx)
	if err != nil {
		return
	}
	ask.Context = context.WithValue(context.Background(), actorKey{}, a)
	asks := r.known.strange(ask)
	if len(asks) == 0 {
		return
	}
	var g *gathering
	err = store.Try(ctx, r.db, func(tx *store.Tx) (err error) {
		if g, err = r.gather(tx, asks, gathering{passing: true}); err != nil {
			return err
		}
		return tx.Confirm() // its commit is durable, and the number with it
	})
	switch {
	case err != nil:
		r.opts.Logger.DebugContext(ctx, "what decisions rest on was not learnt")
	case g != nil: // Try need not have run
		r.known.learn(g.at, &g.fresh)
	}
}

// used writes down that a session has read something, if that is due and nobody holds its row: the answer does not wait for it, and in
// the host's transaction a read writes nothing.
func (r *Registry) used(ctx context.Context, s *Standing) {
	if !s.stale() {
		return
	}
	if err := store.Try(ctx, r.db, s.touch); err != nil {
		r.opts.Logger.DebugContext(ctx, "the session's last use was not written down")
	}
}

func (r *Registry) allow(tx *store.Tx, ask Ask) (*Standing, error) {
	return r.decideOn(tx, ask, holding)
}

func (r *Registry) decideOn(tx *store.Tx, ask Ask, how reading) (*Standing, error) {
	a, err := actorOf(tx.Context())
	if err != nil {
		return nil, err
	}
	f, err := r.readFacts(tx, a, ask, how)
	if err != nil {
		return nil, err
	}
	return f.standing(r, ask)
}

// standing decides on a call.
func (f *facts) standing(r *Registry, ask Ask) (*Standing, error) {
	s, v := &Standing{facts: f, reg: r}, decide(f, ask.Action)
	if v.state && ask.Keyed {
		s.state = v.err
		return s, nil
	}
	return s, v.err
}

// Refusal is why the state of things forbids the call, for one that asked Keyed; nil if it does not.
func (s *Standing) Refusal() error { return s.state }

func (a Ask) locks() locks {
	switch {
	case !a.Changes:
		return locks{}
	case a.Target == "": // the principal itself
		return locks{identities: changing}
	case strings.HasPrefix(a.Target, "acc_"):
		return locks{accounts: changing}
	}
	return locks{partners: changing}
}

// seenEvery is how often a session's last use is written down: seldom enough to cost nothing. A session ends that much after its idle
// limit at the latest, and never before it.
func (f *facts) seenEvery() store.Micros { return store.Micros(f.limits.Idle.Microseconds()) / 720 }

func (f *facts) stale() bool { return f.Session.ID != "" && f.now-f.Session.SeenAt >= f.seenEvery() }

// touch keeps a used session from running idle.
func (s *Standing) touch(tx *store.Tx) error {
	_, err := tx.Exec(decided, "UPDATE prm_sessions SET seen_at = ? WHERE seen_at < ? AND id IN (SELECT id FROM prm_sessions WHERE id = ?"+
		tx.Lock("NO KEY UPDATE SKIP LOCKED")+")", s.now, s.now, s.Session.ID)
	return err
}

// Actor names who acts as the audit does: host:name, customer:id/who, usr_… or acc_….
func (s *Standing) Actor() string { return s.name() }

// IsVendor tells whether the vendor acts: the host, or one of the vendor's users.
func (s *Standing) IsVendor() bool { return s.isVendor() }

// Home is the session's organisation; empty for the host, which has no session.
func (s *Standing) Home() ID { return ID(s.Partner.ID) }

// Of is the organisation of the target; the session's own if there is no target.
func (s *Standing) Of() ID {
	if s.Holder.ID != "" {
		return ID(s.Holder.ID)
	}
	return s.Home()
}

// Working is the session's active holder, and whose it is: its project if it is a project's log-in, the project it has switched into,
// else its organisation's pool; nil for the vendor. An active project that has begun to close meanwhile or whose organisation is archived, or that
// the session's organisation no longer manages or its user is no longer let to, is refused.
func (s *Standing) Working() (Holder, ID, error) {
	home := ID(s.facts.Partner.ID)
	switch {
	case s.isVendor():
		return nil, "", nil
	case s.isProject():
		return AccountID(s.Own.ID), home, nil
	case s.Active.ID == "":
		return home, home, nil
	case !s.reaches(s.Active.ID, s.Lender.ID, s.Lender.Path):
		return nil, "", errNotHere
	}
	if s.Lender.State == "archived" || s.Lender.State == "tombstoned" {
		return nil, "", &BlockedError{Reasons: []string{"archived"}}
	}
	if s.facts.Active.Blocks != 0 || s.facts.Active.State == "deleting" || s.facts.Active.State == "deleted" {
		return nil, "", &BlockedError{Reasons: s.facts.Active.reasons()}
	}
	return AccountID(s.Active.ID), ID(s.Lender.ID), nil
}

// Within tells whether a holder's id is in the scope of the session's user.
func (s *Standing) Within(id string) bool { return !strings.HasPrefix(id, "acc_") || s.User.within(id) }

// Principal is whose licences and money the session stands for, whatever it has switched into: its organisation, or its project for a
// delegated log-in; nil for the vendor.
func (s *Standing) Principal() Holder {
	switch {
	case s.isVendor():
		return nil
	case s.isProject():
		return AccountID(s.Own.ID)
	}
	return ID(s.facts.Partner.ID)
}

// Movable tells whether licences may leave the active holder; [ErrSuspended].
func (s *Standing) Movable() error {
	if s.Active.State == "suspended" {
		return ErrSuspended
	}
	return nil
}

// Record writes the audit row of what was done to target, which is the event as well: the names of changed fields, never values.
func (s *Standing) Record(tx *store.Tx, kind, target string, changed ...string) error {
	_, err := s.record(tx, kind, target, changed)
	return err
}

// Happened writes the audit rows of what time did to licences while a call was at them.
func (r *Registry) Happened(tx *store.Tx, notes []ledger.Note) error {
	events := map[string]string{"void": "license.voided", "expire": "license.expired", "unseat": "license.unseated"}
	for _, n := range notes {
		e := eventRow{ID: tx.NewID("evt"), At: tx.Now(), Kind: events[n.Verb], Actor: ledger.System, Subject: ledger.System, PartnerID: n.Partner, Target: n.Owner}
		if strings.HasPrefix(n.Owner, "acc_") {
			e.AccountID = &n.Owner
		}
		if err := tx.Insert(&e); err != nil {
			return err
		}
	}
	return nil
}

func (s *Standing) record(tx *store.Tx, kind, target string, changed []string) (eventRow, error) {
	e := s.event(tx, kind, target)
	s.recorded = true
	e.Changed = strings.Join(changed, " ")
	return e, tx.Insert(&e)
}

// event is the audit row of something done to target.
func (s *Standing) event(tx *store.Tx, kind, target string) eventRow {
	e := eventRow{ID: tx.NewID("evt"), At: tx.Now(), Kind: kind, Actor: s.name(), Subject: s.subject(), PartnerID: string(s.Of()), Target: target}
	switch {
	case s.Account.ID != "":
		e.AccountID = &s.Account.ID
	case s.isProject():
		e.AccountID = &s.Own.ID
	}
	if e.PartnerID == "" {
		e.PartnerID = string(Vendor)
	}
	return e
}

// Scope is whose rows the actor may read, for lists; wide says that organisations below count too.
func (s *Standing) Scope(wide bool) store.Scope { return s.scope(wide) }
