package partner

import (
	"slices"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// rule is one row of the matrix "who may do what".
type rule struct {
	vendor   bool   // the host, and the vendor's admins
	staff    []Role // other roles of the vendor's users
	admin    bool   // a partner's admin, for his own organisation and what it manages
	member   Right  // a partner's member with this right, for his own organisation, within his scope
	project  bool   // a project's delegated log-in, for itself
	guest    bool   // a member's or a delegated session as well, for the account it is in
	worker   bool   // of members' sessions, those of whoever works in the account with its licences
	anybody  bool   // whoever has a live session, for itself
	customer bool   // the end customer, for projects that are his
	system   bool   // the SDK itself alone

	owner ownership // what the owner of the account may besides, or nobody else

	on     subject // what the target is
	needs  bool    // there must be a target
	active bool    // without a target, it is the project the session has switched into
	others bool    // the target is never the vendor's own organisation
	below  bool    // reading: the organisations below as well
	home   bool    // never for an organisation below, managed or not: passwords, and people who begin with one
	whole  bool    // of members, only for one who is not limited to some accounts
	person bool    // of sessions, only for one of who acts in it: no delegated one
	nests  bool    // begins a delegated session
	closes bool    // of partner users, for the account's owner alone where its type says so
	needed denials // what the account's type must not deny
	enters bool    // is about guests: not while the users of the project are blocked
	works  bool    // only under an organisation that is neither pending nor archived: new work, and what an archived one's must not come to
	joins  bool    // new people: nor blocked
	renews bool    // what was begun may go on: the vendor may while it is pending
	states rightStates
	stands partnerStates
}

// anyRight in a rule is for every member.
const anyRight Right = "any"

// subject is the kind of thing an action is done to.
type subject int

const (
	onPartner subject = iota
	onAccount
	onProject // an account that is a project
	onHolder  // an organisation or an account
)

// ownership is what owning an account has to do with an action on it.
type ownership int

const (
	_       ownership = iota
	mayOwn            // its owner may as well
	mustOwn           // its owner alone may
)

// rightStates are what the target account must be in.
type rightStates int

const (
	anyState    rightStates = iota
	usable                  // not on its way out
	enterable               // usable, and nothing blocks access
	closable                // may begin to close
	closing                 // is closing, and may be saved
	lingering               // not being deleted
	forMoves                // may take part in licence moves
	suspendable             // may be suspended
	suspended               // is
)

// partnerStates are what the target organisation must be in.
type partnerStates int

const (
	anyStanding partnerStates = iota
	lasting                   // not at its end
	running                   // active
	archived                  // put away
)

// rules is the matrix. An action that is not here does not exist.
var rules = map[string]rule{
	"partner.create":        {vendor: true, others: true, works: true},
	"partner.invite":        {vendor: true, others: true, works: true},
	"partner.list":          {vendor: true, staff: allStaff, admin: true, below: true},
	"partner.read":          {vendor: true, staff: allStaff, admin: true, member: anyRight, needs: true, below: true},
	"partner.export":        {vendor: true, staff: support, admin: true, below: true},
	"partner.edit":          {vendor: true, admin: true, needs: true, others: true, stands: lasting},
	"partner.move":          {vendor: true, needs: true, others: true},
	"partner.block":         {vendor: true, needs: true, others: true},
	"partner.archive":       {vendor: true, needs: true, others: true, stands: running},
	"partner.restore":       {vendor: true, needs: true, others: true, stands: archived},
	"partner.tombstone":     {vendor: true, needs: true, others: true, stands: archived},
	"partner.set_contact":   {vendor: true, admin: true, needs: true},
	"partner.set_logo":      {vendor: true, admin: true, needs: true},
	"partner.set_form":      {vendor: true},
	"user.list":             {vendor: true, staff: support, admin: true},
	"user.read":             {vendor: true, staff: support, admin: true, needs: true},
	"user.add":              {vendor: true, admin: true, needs: true, home: true, works: true, joins: true},
	"user.invite":           {vendor: true, admin: true, needs: true, works: true, joins: true},
	"user.reinvite":         {vendor: true, admin: true, needs: true, works: true, joins: true, renews: true},
	"user.reset":            {vendor: true, staff: support, admin: true, needs: true},
	"user.reveal":           {admin: true, needs: true, home: true},
	"user.link":             {vendor: true, needs: true},
	"user.edit":             {vendor: true, admin: true, needs: true},
	"user.disable":          {vendor: true, staff: support, admin: true, needs: true},
	"user.remove":           {vendor: true, admin: true, needs: true},
	"user.sessions":         {vendor: true, staff: support, admin: true, needs: true},
	"account.open":          {vendor: true, admin: true, others: true, works: true, joins: true},
	"account.open_own":      {admin: true, member: anyRight, whole: true, home: true, works: true, joins: true},
	"account.open_mailed":   {system: true, others: true, works: true, joins: true},
	"account.mail_open":     {vendor: true},
	"account.edit":          {vendor: true, admin: true, owner: mayOwn, on: onAccount, needs: true, states: usable},
	"account.transfer":      {vendor: true, admin: true, owner: mayOwn, on: onAccount, needs: true, states: lingering},
	"account.misuse":        {vendor: true, on: onAccount, needs: true},
	"account.types":         {vendor: true, anybody: true},
	"account.define_type":   {vendor: true},
	"member.list":           {vendor: true, staff: support, admin: true, member: anyRight, project: true, on: onAccount, needs: true},
	"member.add":            {owner: mustOwn, on: onAccount, needs: true, works: true, enters: true, states: usable},
	"member.edit":           {owner: mustOwn, on: onAccount, needs: true},
	"member.accept":         {system: true, on: onAccount, needs: true, works: true, enters: true, states: usable},
	"member.end":            {system: true, on: onAccount, needs: true},
	"access.act_as":         {owner: mustOwn, on: onAccount, needs: true, nests: true, works: true, enters: true, states: enterable},
	"project.open":          {admin: true, member: Projects, whole: true, works: true},
	"account.list":          {vendor: true, staff: allStaff, admin: true, member: anyRight, project: true, guest: true},
	"account.read":          {vendor: true, staff: allStaff, admin: true, member: anyRight, project: true, guest: true, on: onAccount, needs: true},
	"project.edit":          {admin: true, member: Projects, on: onProject, needs: true, states: usable},
	"project.password":      {admin: true, member: Projects, on: onProject, needs: true, home: true, states: usable},
	"account.sessions":      {vendor: true, staff: support, admin: true, member: Projects, owner: mayOwn, project: true, on: onAccount, needs: true},
	"account.close":         {admin: true, member: Projects, on: onAccount, needs: true, works: true, closes: true, states: closable},
	"account.cancel_close":  {vendor: true, admin: true, member: Projects, on: onAccount, needs: true, closes: true, states: closing},
	"account.remind_close":  {vendor: true, admin: true, member: Projects, on: onAccount, needs: true, closes: true, states: closing},
	"account.confirm_close": {vendor: true, on: onAccount, needs: true, states: closing},
	"account.closings":      {vendor: true, staff: support, admin: true, member: anyRight},
	"account.receipt":       {vendor: true, staff: support, admin: true, member: anyRight, whole: true, needs: true},
	"account.retire_eraser": {vendor: true},
	"account.touch":         {vendor: true, admin: true, member: anyRight, project: true, guest: true, on: onAccount, needs: true, states: usable},
	"account.redeem_close":  {system: true, on: onAccount, needs: true, works: true, joins: true, states: closing},
	"account.end":           {system: true, on: onAccount, needs: true},
	"account.suspend":       {vendor: true, on: onAccount, needs: true, states: suspendable},
	"account.resume":        {vendor: true, on: onAccount, needs: true, states: suspended},
	"access.session":        {anybody: true},
	"access.switch":         {admin: true, member: anyRight, on: onAccount, needs: true, works: true, states: enterable, needed: denyLicenses},
	"access.password":       {anybody: true, person: true},
	"access.act_for":        {admin: true, member: anyRight, on: onAccount, needs: true, nests: true, enters: true, works: true, states: enterable, needed: denyCustomers},
	"delegation.request":    {admin: true, member: anyRight, on: onAccount, needs: true, enters: true, works: true, states: enterable, needed: denyCustomers},
	"delegation.list":       {vendor: true, staff: support, admin: true, member: anyRight, project: true, customer: true, on: onAccount},
	"delegation.decide":     {customer: true, on: onAccount, needs: true},
	"delegation.revoke":     {vendor: true, staff: support, admin: true, customer: true, on: onAccount, needs: true}, // his own is each user's to give back
	"activity.read":         {vendor: true, staff: support, admin: true, project: true, on: onHolder},
	"activity.deliveries":   {vendor: true},
	"activity.retry":        {vendor: true},
	"program.certify":       {vendor: true, needs: true, others: true},
	"program.read":          {vendor: true, staff: allStaff, admin: true, needs: true},
	"program.set_tier":      {vendor: true, needs: true, others: true},
	"program.tier":          {vendor: true, staff: allStaff, admin: true, member: anyRight, needs: true},
	"program.certified":     {vendor: true, anybody: true},
	"license.define":        {vendor: true},
	"license.types":         {vendor: true, admin: true, project: true, anybody: true},
	"license.find":          {vendor: true, admin: true, project: true, anybody: true},
	"license.grant":         {vendor: true, needs: true, others: true, works: true},
	"license.revoke":        {vendor: true, on: onHolder, needs: true},
	"license.assign":        {admin: true, member: Licenses, on: onAccount, needs: true, works: true, states: forMoves, needed: denyLicenses},
	"license.return":        {admin: true, member: Licenses, on: onAccount, active: true, works: true, states: forMoves},
	"license.ask":           {admin: true, member: Licenses, whole: true, works: true},
	"license.requests":      {vendor: true, admin: true, member: Licenses, whole: true},
	"license.decide":        {vendor: true, needs: true, others: true, works: true},
	"license.cap":           {vendor: true, on: onAccount, needs: true},
	"license.correct":       {vendor: true, on: onHolder, needs: true, states: usable},
	"license.use":           {admin: true, member: Licenses, project: true, worker: true, on: onAccount, needs: true, works: true, states: forMoves, needed: denyLicenses},
	"license.shrink":        {admin: true, member: Licenses, on: onAccount, needs: true, works: true, states: forMoves, needed: denyLicenses},
	"license.read":          {vendor: true, admin: true, member: anyRight, project: true, guest: true, on: onHolder, needs: true},
	"license.history":       {vendor: true, admin: true, member: Licenses, whole: true, on: onHolder, needs: true},
	"license.mine":          {admin: true, member: Licenses, project: true},
	"license.verify":        {vendor: true},
	"license.step":          {vendor: true},
}

// Roles of the vendor's users beside its admins, as rules name them.
var (
	allStaff = []Role{Reviewer, Finance, Support}
	support  = []Role{Support}
)

// step is one look at the facts: what it found, for Explain, and the error of the call if that forbids it.
type step struct {
	code, text string
	err        error
}

func ok(code, text string) step            { return step{code, text, nil} }
func no(err error, code, text string) step { return step{code, text, err} }

// verdict is what decide finds. The error is what the call answers, the reasons are what Explain shows; state tells that the actor may,
// and only the state of things forbids it now.
type verdict struct {
	err     error
	state   bool
	reasons []Reason
	quiet   bool // nobody asks for them
}

// take adds a step; true if it ends the decision.
func (v *verdict) take(s step) bool {
	if s.text != "" && !v.quiet {
		v.reasons = append(v.reasons, Reason{s.code, s.text})
	}
	v.err = s.err
	return s.err != nil
}

// decide decides without giving reasons.
func decide(f *facts, action string) verdict {
	v := verdict{quiet: true}
	v.decide(f, action)
	return v
}

// decide is the one policy function: it says whether the actor may do action on the target, and why. Calls and their Explain share
// it, and [facts.scope] makes the SQL's predicate from the same facts.
func (v *verdict) decide(f *facts, action string) {
	r, known := rules[action]
	if !known {
		v.take(no(ErrUnknownCode, "action", "no such action"))
		return
	}
	if v.take(f.alive()) || v.take(f.visible(&r)) || v.take(f.right(&r)) || v.take(f.typeAllows(&r)) {
		return
	}
	v.state = true
	if v.take(f.partnerState(action, &r)) || v.take(f.accountState(&r)) || v.quiet {
		return
	}
	v.take(ok("allowed", action+" is allowed"))
}

// visible looks whether the target exists for the actor.
func (f *facts) visible(r *rule) step {
	if f.sees(r) {
		return step{}
	}
	return no(errNotHere, "target", "no such thing in your scope")
}

func (f *facts) sees(r *rule) bool {
	switch {
	case f.isDelegated() && r.nests:
		return true // whatever it is, it will be refused
	case f.active && f.Active.ID == "":
		return true // the session has not switched: the call itself says so
	case f.target == "" && !f.active:
		return !r.needs
	case f.Holder.ID == "" || f.Account.State == "deleted":
		return false
	case (r.on == onAccount || r.on == onProject) && f.Account.ID == "" || r.on == onPartner && f.Account.ID != "":
		return false
	case r.on == onProject && f.Account.Type != typeProject:
		return false
	case f.isCustomer():
		return f.Account.Customer == f.actor.customer
	case f.isVendor():
		return true
	case f.isProject():
		return f.Account.ID == f.Own.ID
	case f.Account.ID != "" && !f.User.within(f.Account.ID):
		return false
	case f.Holder.ID == f.Partner.ID:
		return true
	}
	return f.isBelow() && f.isAdmin() && (f.Partner.ManagesSubPartners || r.below && f.Account.ID == "")
}

// isVendor tells whether the vendor acts: the host, or one of the vendor's users.
func (f *facts) isVendor() bool { return f.actor.host != "" || f.Partner.ID == string(Vendor) }

func (f *facts) isAdmin() bool { return Role(f.User.Role) == Admin }

// isBelow tells whether the target's partner stands below the session's.
func (f *facts) isBelow() bool {
	return f.Holder.ID != f.Partner.ID && strings.HasPrefix(f.Holder.Path, f.Partner.Path)
}

// right looks the actor up in the matrix row.
func (f *facts) right(r *rule) step {
	switch {
	case r.system && !f.actor.system:
		return no(errNotAllowed, "right", "this happens by itself")
	case r.system:
		return step{}
	case f.isCustomer():
		if !r.customer {
			return no(errNotAllowed, "right", "a customer may not")
		}
		return ok("right", "the customer whose project it is may")
	case f.isDelegated() && r.nests:
		return no(ErrNestedDelegation, "right", "a delegated session may not begin another")
	case f.isDelegated() && r.person:
		return no(errNotAllowed, "right", "a delegated session may not")
	case r.owner == mustOwn:
		return f.ownerRight()
	case r.closes && f.Account.Denies&denyOthersClosing != 0 && !f.isVendor():
		return f.ownerRight()
	case r.anybody && f.target == "" && f.actor.host == "":
		return step{}
	case f.isVendor():
		return f.vendorRight(r)
	case f.isProject():
		return f.insideRight(r)
	case r.owner == mayOwn && f.owns():
		return ok("right", "the account's owner may")
	case !r.admin && r.customer:
		return no(errNotAllowed, "right", "this is for the customer")
	case !r.admin:
		return no(errNotAllowed, "right", "this is for the vendor")
	case !f.isAdmin():
		return f.memberRight(r)
	case f.isBelow() && r.home:
		return no(errNotAllowed, "right", "this is for the organisation's own admins")
	case f.isBelow():
		return ok("right", "an admin of an organisation above may")
	}
	return ok("right", "an admin of the organisation may")
}

// ownerRight is what is for the owner of the account alone.
func (f *facts) ownerRight() step {
	if !f.owns() {
		return no(ErrNotOwner, "right", "this is for the account's owner")
	}
	return ok("right", "the account's owner may")
}

// owns tells whether the session is that of the target account's owner, and of nobody on his behalf.
func (f *facts) owns() bool { return f.User.ID != "" && f.User.ID == f.Account.Owner }

// insideRight looks a session of an account up in the matrix row.
func (f *facts) insideRight(r *rule) step {
	who := "a member of the account"
	switch {
	case f.isDelegated():
		who = "a delegated session"
	case !f.isGuest():
		who = "a project's log-in"
	}
	if may := r.project && !f.isGuest() || r.guest && f.isGuest() || r.worker && f.isWorker(); !may {
		return no(errNotAllowed, "right", who+" may not")
	}
	return ok("right", who+" may")
}

// isWorker tells whether the session is of a member whose work uses up the account's licences: an employee, or one who contributes to a project. For
// those it stands where the project's shared log-in did (CLW-25).
func (f *facts) isWorker() bool {
	switch MemberKind(f.Session.Kind) {
	case Employee:
		return true
	case Guest:
		return f.Session.Roles != roleViewer
	}
	return false
}

// typeAllows refuses what accounts of the target's type never have.
func (f *facts) typeAllows(r *rule) step {
	if f.Account.Denies&r.needed != 0 {
		return no(ErrForbiddenForAccountType, "type", "accounts of the type "+f.Account.Type+" may not")
	}
	return step{}
}

// vendorRight looks the vendor up in the matrix row: the host has every right of it, its users what their role gives.
func (f *facts) vendorRight(r *rule) step {
	switch {
	case !r.vendor && r.customer:
		return no(errNotAllowed, "right", "this is for the customer")
	case !r.vendor:
		return no(errNotAllowed, "right", "this is for partner users")
	case r.others && f.Holder.ID == string(Vendor):
		return no(errNotAllowed, "right", "the vendor's own organisation is no partner")
	case f.actor.host != "":
		return step{}
	case f.isAdmin():
		return ok("right", "an admin of the vendor may")
	case slices.Contains(r.staff, Role(f.User.Role)):
		return ok("right", "a user of the vendor with the role "+f.User.Role+" may")
	}
	return no(errNotAllowed, "right", "this is for the vendor's admins")
}

// memberRight looks a member up in the matrix row. A pool is for those who may move licences.
func (f *facts) memberRight(r *rule) step {
	need := r.member
	if need == anyRight && r.on == onHolder && f.Account.ID == "" {
		need = Licenses
	}
	switch {
	case need == "":
		return no(errNotAllowed, "right", "this is for the organisation's admins")
	case need != anyRight && !f.User.Rights.has(need):
		return no(errNotAllowed, "right", "this needs the right "+string(need))
	case r.whole && f.User.Scope != "":
		return no(errNotAllowed, "right", "this is not for one who is limited to some accounts")
	case need == anyRight:
		return ok("right", "a member of the organisation may")
	}
	return ok("right", "a member with the right "+string(need)+" may")
}

// scope is whose rows the actor may read, for lists; wide tells that organisations below count too.
func (f *facts) scope(wide bool) store.Scope {
	switch {
	case f.isCustomer():
		return store.OfCustomer(f.actor.customer)
	case f.isVendor():
		return store.Everything("the vendor sees all")
	case f.isProject():
		return store.OfAccount(f.Own.ID)
	case f.User.Scope != "":
		return store.OfAccounts(f.Partner.ID, words(f.User.Scope))
	case !f.isAdmin():
		return store.OfPartner(f.Partner.ID)
	case wide || f.Partner.ManagesSubPartners:
		return store.OfTree(f.Partner.Path)
	}
	return store.OfPartner(f.Partner.ID)
}
