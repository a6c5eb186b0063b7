package partner

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Access is the desk of log-in, sessions and decisions.
type Access struct{ reg *Registry }

// Session is proof of who acts. Its token is unexported; Token hands it to a cookie.
type Session struct {
	ID        string    // ses_…
	Principal string    // usr_…, mem_… in a place in an account, or acc_… for a project's delegated log-in and whoever is let in for its customer
	Actor     string    // who acts: the principal, but in a delegated session usr_…
	Partner   ID        // the actor's organisation; of a member who is no partner's user that of the account
	Account   AccountID // the one that the session is in, and is all that it has to do with
	Roles     []string  // in such a session what its actor may do there, in the words of the host; none for a project's own log-in
	Reason    string    // of [Access.ActAs]
	Region    string    // of the project it works in, that one or the one switched into, when the session was read
	Expires   time.Time // at the latest; idle sessions end before
	Created   time.Time // in what Sessions returns
	LastUsed  time.Time // in what Sessions returns; to a minute or so
	token     *string   // a pointer: fmt prints an address, not the token
}

// Token returns what Resume takes; the database keeps only its digest. Empty for a session that Sessions returned.
func (s Session) Token() Secret {
	if s.token == nil {
		return ""
	}
	return Secret(*s.token)
}

// sessionOf is the public form of what readFacts found behind a token.
func (f *facts) session(token string) Session {
	s := Session{ID: f.Session.ID, Principal: f.subject(), Actor: f.name(), Roles: rolesOf(f.Session.Roles), Partner: ID(cmp.Or(f.guest.partner.ID, f.Partner.ID)),
		Expires: f.Session.EndsAt.Time(), token: &token}
	if f.isProject() {
		s.Account, s.Region = AccountID(f.Own.ID), f.Own.Region
	} else if f.User.within(f.Active.ID) {
		s.Region = f.Active.Region
	}
	return s
}

// Resume returns the live session behind a token that Login gave, as a host reads it from a cookie. [ErrForbidden] if there is none,
// *[BlockedError] if its principal is blocked. Not inside a host transaction.
func (d *Access) Resume(ctx context.Context, token Secret) (s Session, err error) {
	defer wrap(&err, "resume")
	if store.Joined(d.reg.db) {
		return s, errInHostTx
	}
	text := string(token)
	ctx = WithSession(ctx, Session{token: &text})
	err = d.reg.Read(ctx, Ask{Action: "access.session"}, func(_ *store.Tx, st *Standing) error {
		s = st.session(text)
		return nil
	})
	return s, err
}

// Logout ends the caller's session.
func (d *Access) Logout(ctx context.Context) (err error) {
	defer wrap(&err, "logout")
	return d.reg.Write(ctx, Ask{Action: "access.session", Changes: true}, func(tx *store.Tx, s *Standing) error {
		if s.Session.ID == "" {
			return errNoSession
		}
		if _, err := tx.Delete(tx.From(decided, sessionsTable).Where("id = ?", s.Session.ID)); err != nil {
			return err
		}
		return s.Record(tx, "session.ended", s.Session.ID)
	})
}

// LogoutAll ends all sessions of a user for good, in accounts too: his own, or those of a user whom the caller sees to; the vendor's support may, too. ""
// is the caller himself, also if he is a member of accounts, or a project's log-in. He may log in again.
func (d *Access) LogoutAll(ctx context.Context, u UserID) (err error) {
	defer wrap(&err, "log out everywhere")
	if u == "" {
		return d.logoutEverywhere(ctx)
	}
	end := func(tx *store.Tx, s *Standing, _ User) error {
		var identity string
		if err := tx.Query(decided, &identity, "SELECT identity_id FROM prm_users WHERE id = ?", u); err != nil {
			return err
		}
		if err := voidResets(tx, identity); err != nil {
			return err
		}
		if err := endSessions(tx, u); err != nil {
			return err
		}
		return s.Record(tx, "user.sessions_ended", string(u))
	}
	own := false
	err = d.reg.Read(ctx, Ask{Action: "access.session"}, func(_ *store.Tx, s *Standing) error {
		own = s.User.ID == string(u) && u != ""
		return nil
	})
	switch {
	case err != nil && !errors.Is(err, errNotAllowed):
		return err
	case own:
		return d.reg.Write(ctx, Ask{Action: "access.session", Changes: true}, func(tx *store.Tx, s *Standing) error { return end(tx, s, User{}) })
	}
	return d.reg.Users.change(ctx, "user.sessions", u, end)
}

// logoutEverywhere is LogoutAll of the caller's own log-in.
func (d *Access) logoutEverywhere(ctx context.Context) error {
	return d.reg.Write(ctx, Ask{Action: "access.session", Changes: true}, func(tx *store.Tx, s *Standing) error {
		switch {
		case s.Session.ID == "":
			return errNoSession
		case s.isDelegated():
			return errNotAllowed
		}
		if err := voidResets(tx, s.Identity.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(decided, "UPDATE prm_identities SET epoch = epoch + 1, version = version + 1 WHERE id = ?", s.Identity.ID); err != nil {
			return err
		}
		return s.Record(tx, "user.sessions_ended", s.Actor())
	})
}

// SwitchTo makes a project of the caller's organisation, or of one that it manages, the session's active holder: licences are then assigned from it. Only this
// session switches; its principal stays. [ErrNotFound], *[BlockedError] for a closing project. It is checked again on each use.
func (d *Access) SwitchTo(ctx context.Context, project AccountID) (err error) {
	defer wrap(&err, "switch to %s", project)
	return d.reg.Write(ctx, Ask{Action: "access.switch", Target: string(project), turns: true}, func(tx *store.Tx, s *Standing) error {
		if s.Active.ID == s.Account.ID {
			return touch(tx, project)
		}
		return s.setActive(tx, optional(project), "session.switched", string(project))
	})
}

// SwitchBack returns to the pool of the caller's organisation, whatever became of the project; it may be repeated.
func (d *Access) SwitchBack(ctx context.Context) (err error) {
	defer wrap(&err, "switch back")
	return d.reg.Write(ctx, Ask{Action: "access.session", turns: true}, func(tx *store.Tx, s *Standing) error {
		if s.IsVendor() || s.isProject() {
			return errNotAllowed
		}
		if s.Active.ID == "" {
			return nil
		}
		s.Account, s.Holder.ID = s.facts.Active, s.Lender.ID // whose activity it is
		return s.setActive(tx, nil, "session.switched_back", s.facts.Active.ID)
	})
}

func (s *Standing) setActive(tx *store.Tx, project *string, kind, target string) error {
	if _, err := tx.Exec(decided, "UPDATE prm_sessions SET active_id = ? WHERE id = ?", project, s.Session.ID); err != nil {
		return err
	}
	return s.Record(tx, kind, target, "active")
}

// Active is where a session works.
type Active struct {
	Holder Holder   // the project switched into, the project of a delegated log-in or session, or the organisation's pool
	Region string   // of the project; empty for a pool
	Roles  []string // of a member's or a delegated session
}

// Active returns where the caller's session works now, for host code that runs jobs there. *[BlockedError] if the project it has
// switched into is closing.
func (d *Access) Active(ctx context.Context) (a Active, err error) {
	defer wrap(&err, "active")
	err = d.reg.Read(ctx, Ask{Action: "access.session"}, func(_ *store.Tx, s *Standing) error {
		if a.Holder, _, err = s.Working(); err != nil {
			return err
		}
		if s.actor.host != "" {
			return errNoSession
		}
		if s.IsVendor() {
			return errNotAllowed // its users work nowhere
		}
		a.Region = s.facts.Active.Region
		if s.isProject() {
			a.Region, a.Roles = s.Own.Region, rolesOf(s.Session.Roles)
		}
		return nil
	})
	return a, err
}

// ChangePassword gives the caller's own log-in, a human's or a project's, a new password for the old one, and ends its other sessions.
// [ErrBadCredentials] for a wrong old one, which counts as a guess; "weak" ([ErrWeakPassword]). Not inside a host transaction.
func (d *Access) ChangePassword(ctx context.Context, old, new Secret) (err error) {
	defer wrap(&err, "change password")
	if store.Joined(d.reg.db) {
		return errInHostTx
	}
	ask := Ask{Action: "access.password", Changes: true}
	var identity identityRow
	var rules passwordRules
	err = d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		identity, rules, err = s.ownLogin(tx)
		return err
	})
	if err != nil {
		return err
	}
	if len(old) > maxPassword {
		return ErrBadCredentials
	}
	var c checks
	c.password("new", new, rules)
	if err := c.err(); err != nil {
		return err
	}
	g := guess{account: ownGuess(identity.ID)}
	if err := d.reg.takeGuess(ctx, g); err != nil {
		return err
	}
	if ok, _, err := d.reg.verify(ctx, identity.PasswordHash, old); err != nil {
		return err
	} else if !ok {
		return ErrBadCredentials
	}
	hash, err := d.reg.hash(ctx, new)
	if err != nil {
		return err
	}
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error { return s.changePassword(tx, identity, new, hash, g) })
}

// ownLogin is the caller's log-in, and what a new password for it is held to.
func (s *Standing) ownLogin(tx *store.Tx) (identity identityRow, rules passwordRules, err error) {
	if s.actor.host != "" {
		return identity, rules, errNoSession
	}
	if err := tx.Take(tx.From(deciding, identitiesTable).Where("id = ?", s.Identity.ID), &identity, ""); err != nil {
		return identity, rules, err
	}
	about := []string{identity.Login, identity.Email}
	if s.isProject() && !s.isGuest() {
		a, err := s.account(tx, s.Own.ID)
		if err != nil {
			return identity, rules, err
		}
		about = []string{a.Name, a.Project.Login, a.Project.Email}
	}
	rules, err = s.reg.passwordRules(tx, ID(cmp.Or(s.guest.partner.ID, s.facts.Partner.ID)), about...)
	return identity, rules, err
}

func (s *Standing) changePassword(tx *store.Tx, identity identityRow, new Secret, hash string, g guess) error {
	n, err := tx.Exec(decided, "UPDATE prm_identities SET password_hash = ?, epoch = epoch + 1, version = version + 1 WHERE id = ? AND version = ?",
		hash, identity.ID, identity.Version)
	if err != nil {
		return err
	}
	if n != 1 {
		return errChanged
	}
	// The changing session alone stays.
	if _, err := tx.Exec(decided, "UPDATE prm_sessions SET identity_epoch = identity_epoch + 1 WHERE id = ?", s.Session.ID); err != nil {
		return err
	}
	if err := g.forgive(tx); err != nil {
		return err
	}
	if user := UserID(cmp.Or(s.guest.user.ID, s.User.ID)); user != "" {
		if err := s.reg.keepShown(tx, user, new); err != nil {
			return err
		}
	}
	if err := voidResets(tx, identity.ID); err != nil {
		return err
	}
	return s.Record(tx, "password.changed", s.Actor(), "password")
}
