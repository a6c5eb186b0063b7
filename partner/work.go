package partner

import (
	"context"
	"strings"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Standing is an allowed call: who acts, and what it acts on. It is for the sibling rooms and good for the transaction it was made
// in; see [Registry.Write].
type Standing struct {
	facts
	reg   *Registry
	state error
}

// Ask names what is to be decided: an action of the matrix, and the id it is done to, empty if none. It is for the sibling rooms; see
// [Registry.Write].
type Ask struct {
	Action, Target string
	Changes        bool // the call will change the target's row
	// Keyed says that the call may be a repetition, whose answer stands whatever the state of things is now: what only the state
	// forbids is left to [Standing.Refusal].
	Keyed bool

	tree  string // the lock on the tree that the call needs, before any row
	also  ID     // another organisation that the decision rests on
	below bool   // the call changes rows of organisations below the target
	turns bool   // the call changes where its own session works
}

// Write runs one mutation for a sibling room: one transaction, in which the actor in ctx is allowed what is asked or the call
// refused. What the decision rests on is held until the transaction ends. It is of no use outside this module, whose rooms
// alone can work with a store.Tx.
func (r *Registry) Write(ctx context.Context, ask Ask, do func(*store.Tx, *Standing) error) error {
	return store.InTx(ctx, r.db, func(tx *store.Tx) error {
		if ask.tree != "" {
			// Decided on before the tree is locked, for nobody else should be able to stop its writers; and then again.
			if _, err := r.decideOn(tx, ask, plainly); err != nil {
				return err
			}
			if err := lockTree(tx, ask.tree); err != nil {
				return err
			}
		}
		s, err := r.enter(tx, ask)
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
	err := store.Read(ctx, r.db, func(tx *store.Tx) (err error) {
		if standing, err = r.allow(tx, ask); err != nil {
			return err
		}
		return do(tx, standing)
	})
	if err == nil {
		r.used(ctx, standing)
	}
	return err
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
func (f facts) seenEvery() store.Micros { return store.Micros(f.limits.Idle.Microseconds()) / 720 }

func (s *Standing) stale() bool { return s.Session.ID != "" && s.now-s.Session.SeenAt >= s.seenEvery() }

// touch keeps a used session from running idle.
func (s *Standing) touch(tx *store.Tx) error {
	_, err := tx.Exec(decided, "UPDATE prm_sessions SET seen_at = ? WHERE seen_at < ? AND id IN (SELECT id FROM prm_sessions WHERE id = ?"+
		tx.Lock("NO KEY UPDATE SKIP LOCKED")+")", s.now, s.now, s.Session.ID)
	return err
}

// Actor names who acts as the audit does: host:name, usr_… or acc_….
func (s *Standing) Actor() string { return s.name() }

// IsVendor tells whether the vendor acts.
func (s *Standing) IsVendor() bool { return s.actor.host != "" }

// Home is the session's organisation; empty for the host.
func (s *Standing) Home() ID { return ID(s.Partner.ID) }

// Of is the organisation of the target; the session's own if there is no target.
func (s *Standing) Of() ID {
	if s.Holder.ID != "" {
		return ID(s.Holder.ID)
	}
	return s.Home()
}

// Working is the session's active holder, and whose it is: its project if it is a project's log-in, the project it has switched into,
// else its organisation's pool; nil for the host. An active project that has begun to close meanwhile, or that the session's
// organisation no longer manages, is refused.
func (s *Standing) Working() (Holder, ID, error) {
	home := ID(s.facts.Partner.ID)
	switch {
	case s.actor.host != "":
		return nil, "", nil
	case s.isProject():
		return AccountID(s.Own.ID), home, nil
	case s.Active.ID == "":
		return home, home, nil
	case s.Lender.ID != s.facts.Partner.ID && !(s.facts.Partner.ManagesSubPartners && strings.HasPrefix(s.Lender.Path, s.facts.Partner.Path)):
		return nil, "", errNotHere
	}
	if s.facts.Active.Blocks != 0 || s.facts.Active.State == "deleting" || s.facts.Active.State == "deleted" {
		return nil, "", &BlockedError{Reasons: s.facts.Active.reasons()}
	}
	return AccountID(s.Active.ID), ID(s.Lender.ID), nil
}

// Principal is whose licences and money the session stands for, whatever it has switched into: its organisation, or its project for a
// delegated log-in; nil for the host.
func (s *Standing) Principal() Holder {
	switch {
	case s.actor.host != "":
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
func Happened(tx *store.Tx, notes []ledger.Note) error {
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
	e.Changed = strings.Join(changed, " ")
	return e, tx.Insert(&e)
}

// event is the audit row of something done to target.
func (s *Standing) event(tx *store.Tx, kind, target string) eventRow {
	e := eventRow{ID: tx.NewID("evt"), At: tx.Now(), Kind: kind, Actor: s.name(), Subject: s.name(), PartnerID: string(s.Of()), Target: target}
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

// deliver puts a message about event on its way to an address. What is said is the template's; the row holds where it goes, and the
// region that work about a project belongs to.
func (s *Standing) deliver(tx *store.Tx, e eventRow, template, address string) error {
	return tx.Insert(&deliveryRow{
		ID: tx.NewID("dlv"), EventID: e.ID, PartnerID: e.PartnerID, AccountID: e.AccountID, Template: template, Address: address, Region: s.Account.Region,
		State: "ready", NextAt: tx.Now(), CreatedAt: tx.Now(),
	})
}
