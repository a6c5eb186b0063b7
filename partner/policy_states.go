package partner

// partnerState refuses what the target's organisation is not in a state for: a step that is not drawn, work under one that is not active, and
// new projects without the capability.
func (f *facts) partnerState(action string, r *rule) step {
	p := f.Holder
	if p.ID == "" && !f.isVendor() {
		p = f.Partner
	}
	ended := p.State == "archived" || p.State == "tombstoned"
	switch {
	case r.stands == running && p.State != "active":
		return no(ErrBadTransition, "partner", "the partner is not active")
	case r.stands == archived && p.State != "archived":
		return no(ErrBadTransition, "partner", "the partner is not archived")
	case r.stands == lasting && p.State == "tombstoned":
		return no(ErrBadTransition, "partner", "the partner has ended for good")
	case !r.works || p.ID == "":
		return step{}
	case (p.State == "pending" || p.State == "expired") && (r.joins && !r.renews || !f.isVendor()):
		return no(ErrPending, "partner", "the partner has not accepted its invitation yet")
	case ended:
		return no(&BlockedError{Reasons: []string{"archived"}}, "partner", "the partner is archived")
	case r.enters && len(inherited(p.UsersBlocks, p.UsersInherited)) > 0: // those of the project are blocked, who else
		return no(&BlockedError{Reasons: inherited(p.UsersBlocks, p.UsersInherited)}, "partner", "the partner's users are blocked")
	case r.joins && len(inherited(p.OwnBlocks, p.OwnInherited)) > 0:
		return no(&BlockedError{Reasons: inherited(p.OwnBlocks, p.OwnInherited)}, "partner", "the partner is blocked")
	case action == "project.open" && !p.Operate:
		return no(errNotAllowed, "capability", "the partner lacks the capability operate")
	}
	return step{}
}

// accountState refuses what the target account is not in a state for.
func (f *facts) accountState(r *rule) step {
	a := f.Account
	if a.ID == "" || r.states == anyState {
		return step{}
	}
	leaving := a.State == "closing" || a.State == "deleting"
	switch {
	case r.states == closing && a.State != "closing":
		return no(ErrBadTransition, "state", "the account is not closing")
	case r.states == lingering && a.State == "deleting":
		return no(ErrBadTransition, "state", "the account is being deleted")
	case r.states == closing || r.states == lingering:
		return step{}
	case a.Blocks != 0 && r.states == enterable:
		return no(&BlockedError{Reasons: a.reasons()}, "state", "access to the project is blocked")
	case r.states == suspended && a.State != "suspended":
		return no(ErrBadTransition, "state", "the project is not suspended")
	case r.states == suspendable && a.State == "suspended":
		return no(ErrBadTransition, "state", "the project is suspended already")
	case leaving && (r.states == closable || r.states == suspendable):
		return no(ErrBadTransition, "state", "the project is closing already")
	case leaving:
		return no(&BlockedError{Reasons: a.reasons()}, "state", "the project is closing")
	case a.State == "suspended" && r.states == forMoves:
		return no(ErrSuspended, "state", "the project is suspended")
	}
	return step{}
}

// reasons are those of the account's blocks, or what its state stands for.
func (a accountFacts) reasons() []string {
	if list := a.Blocks.reasons(); len(list) > 0 {
		return list
	}
	return []string{"closing"}
}
