package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Decision is a verdict with the reasons that made it, without what the asker may not see.
type Decision struct {
	Allowed bool
	Reasons []Reason // in the order they were looked at; the last one decided
}

// Reason is one step of a decision: a stable code ("actor", "session", "blocked", "target", "right", "type", "capability", "partner", "state", "allowed"), and text
// for people.
type Reason struct{ Code, Text string }

// Explain answers whether the caller may do action on target, and why. It comes from the function that the calls themselves ask, so an
// allowed call is refused only for what is not about access: its input (which fields it edits, a parent's state), where the session
// works, a balance, a project that is closing, a delegation that is not there, a lost race. action is one of:
//
//	partner.create partner.invite partner.list partner.read partner.edit partner.move partner.block partner.set_contact partner.set_logo partner.set_form
//	partner.archive partner.restore partner.tombstone partner.export
//	user.list user.read user.add user.invite user.reinvite user.reset user.reveal user.link user.edit user.disable user.remove user.sessions
//	account.types account.define_type account.open account.open_own account.mail_open account.edit account.transfer account.misuse
//	member.list member.add member.edit access.act_as
//	account.list account.read account.sessions account.suspend account.resume project.open project.edit project.password
//	account.close account.cancel_close account.remind_close account.confirm_close account.closings account.receipt account.retire_eraser account.touch
//	access.session access.switch access.password access.act_for delegation.request delegation.list delegation.decide delegation.revoke activity.read activity.deliveries activity.retry
//	program.certify program.read program.certified program.set_tier program.tier
//	license.define license.types license.grant license.revoke license.assign license.return license.use license.shrink license.cap
//	license.ask license.requests license.decide license.correct license.find license.read license.history license.mine license.verify
//	license.step
//
// target is the id the action is done to, for users that of their organisation, for members that of their account and for delegations that of their project; empty where there is none (a new root partner, a list, the active project of a return). [ErrUnknownCode] for another action.
func (d *Access) Explain(ctx context.Context, action, target string) (dec Decision, err error) {
	defer wrap(&err, "explain")
	if r, known := rules[action]; !known || r.system {
		return dec, unknownAction()
	}
	a, err := actorOf(ctx)
	if err != nil {
		return dec, err
	}
	ask := Ask{Action: action, Target: target}
	var f facts
	strange := false
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) (err error) {
		f, strange, err = d.reg.look(tx, a, ask)
		return err
	})
	if err != nil {
		return dec, err
	}
	var v verdict
	v.decide(&f, action)
	if f.alive().err == nil {
		d.reg.used(ctx, &Standing{facts: &f, reg: d.reg})
	}
	if strange {
		d.reg.study(ctx, ask)
	}
	return Decision{Allowed: v.err == nil, Reasons: v.reasons}, nil
}
