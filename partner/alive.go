package partner

import (
	"cmp"
	"strings"

	"github.com/partnerkit/partnerkit/internal/ledger"
)

// alive judges the session: whether its time is over; then blocks, because a blocked caller is told so; then whether it has outlived what ended it.
func (f *facts) alive() step {
	if f.actor.host != "" {
		return ok("actor", "the host acts with every vendor right")
	}
	if f.isCustomer() {
		return ok("actor", "the host vouches for the customer")
	}
	if f.Session.ID == "" {
		return no(errNoSession, "session", "there is no such session")
	}
	if f.isGuest() && f.now >= f.Session.GrantedUntil { // before all else, to tell why
		return no(ErrGrantExpired, "session", "what the session rests on has run out")
	}
	if f.now >= f.Session.EndsAt || f.now >= f.Session.SeenAt.Add(f.limits.Idle)+f.seenEvery() {
		return no(errNoSession, "session", "the session has run out")
	}
	if err := f.barred(); err != nil {
		return no(err, "blocked", err.Error())
	}
	partner, account := f.epochs()
	if f.Session.IdentityEpoch != f.Identity.Epoch || f.Session.PartnerEpoch != partner || f.Session.AccountEpoch != account {
		return no(errNoSession, "session", "a block, a close or a new password has ended the session")
	}
	return ok("session", "the session is live")
}

// epochs are those that a session must have been born in. A guest's are of two organisations: where he comes from, and where he is, which goes
// into the account's. Epochs only rise, so their sum does not stay if one of them does not.
func (f *facts) epochs() (partner, account int64) {
	switch {
	case f.guest.user.ID != "":
		return f.guest.partner.OwnEpoch, f.Own.Epoch + f.Partner.UsersEpoch
	case f.isProject():
		return f.Partner.UsersEpoch, f.Own.Epoch
	}
	return f.Partner.OwnEpoch, 0
}

// barred computes why the principal may not enter now; nil if it may. It is the same at log-in and at each call. A guest is barred where he
// comes from, where he is, and from where he has no way any more.
func (f *facts) barred() error {
	if f.guest.user.ID != "" {
		home := facts{factRows: factRows{User: f.guest.user, Partner: f.guest.partner}}
		if err := home.barred(); err != nil {
			return err
		}
		switch {
		case f.isActing() && f.Own.Owner != f.guest.user.ID:
			return ErrNotOwner
		case f.Session.Delegation != "" && !home.reaches(f.Own.ID, f.Partner.ID, f.Partner.Path):
			return errNotAllowed
		}
	}
	if f.Partner.State == "pending" || f.Partner.State == "expired" {
		return ErrPending
	}
	var reasons []string
	if f.isProject() {
		reasons = append(inherited(f.Partner.UsersBlocks, f.Partner.UsersInherited), f.Own.Blocks.reasons()...)
		if f.Own.State == "deleting" || f.Own.State == "deleted" {
			reasons = append(reasons, "closing")
		}
	} else {
		reasons = inherited(f.Partner.OwnBlocks, f.Partner.OwnInherited)
	}
	if f.Partner.State == "archived" || f.Partner.State == "tombstoned" {
		reasons = append(reasons, "archived")
	}
	if len(reasons) > 0 {
		return &BlockedError{Reasons: reasons}
	}
	if f.User.Disabled {
		return errNotAllowed
	}
	return nil
}

// inherited is the reasons of b, and "manual" where a block above cascades.
func inherited(b blocks, above int) []string {
	if above > 0 {
		b |= blockManual
	}
	return b.reasons()
}

// reaches tells whether a user has to do with an account of an organisation: his own or, as an admin, one below that it manages.
func (f *facts) reaches(account, of, path string) bool {
	if !f.User.within(account) {
		return false
	}
	return of == f.Partner.ID || f.Partner.ManagesSubPartners && f.isAdmin() && strings.HasPrefix(path, f.Partner.Path)
}

// isProject tells whether the session is one of an account: of a project's log-in, of a member, or of whoever was let in.
func (f *facts) isProject() bool { return f.Own.ID != "" }

// isGuest tells whether the session is one of an account, and not of a project's own log-in.
func (f *facts) isGuest() bool { return f.Session.Delegation != "" || f.Session.Member != "" }

// isDelegated tells whether somebody acts on another's behalf.
func (f *facts) isDelegated() bool { return f.Session.Delegation != "" || f.isActing() }

// isActing tells whether an account's owner acts as a special employee.
func (f *facts) isActing() bool { return f.Session.Kind == string(Special) }

func (f *facts) isCustomer() bool { return f.actor.customer != "" }

// name is the actor as the audit shows it.
func (f *facts) name() string {
	switch {
	case f.actor.system:
		return ledger.System
	case f.actor.host != "":
		return "host:" + f.actor.host
	case f.isCustomer():
		return "customer:" + f.actor.customer + "/" + f.actor.who
	case f.isDelegated():
		return f.guest.user.ID
	case f.isGuest():
		return f.Session.Member
	case f.isProject():
		return f.Own.ID
	}
	return f.User.ID
}

// subject is on whose behalf the actor acts, as the audit shows it: in a delegated session the project or the special employee; else himself.
func (f *facts) subject() string {
	if f.Session.Delegation != "" {
		return f.Own.ID
	}
	return cmp.Or(f.Session.Member, f.name())
}
