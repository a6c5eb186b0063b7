package partner

import (
	"cmp"
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// View answers questions about one caller by how things were when it was made, or later: for a page that asks about each of its buttons. Made by
// [Access.View], it is good for one request: what is blocked or closed afterwards it may still allow, which the calls themselves never do.
// It is safe for concurrent use.
type View struct {
	reg  *Registry
	self facts // all that is not about a target
	at   stamp
}

// View asks once how things are. [ErrForbidden] without a live session, *[BlockedError] if its principal is blocked; the host and a customer have a
// View, too. Inside a host transaction each question is a statement.
func (d *Access) View(ctx context.Context) (v *View, err error) {
	defer wrap(&err, "view")
	v = &View{reg: d.reg}
	self, err := actorOf(ctx)
	if err != nil {
		return nil, err
	}
	v.self = facts{limits: d.reg.opts.Session, actor: self}
	if self.token != "" {
		err = d.reg.Read(ctx, Ask{Action: "access.session"}, func(tx *store.Tx, s *Standing) error {
			v.self = *s.facts
			return cmp.Or(v.at.read(tx), tx.Flush())
		})
	} else {
		err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error { return cmp.Or(v.at.read(tx), tx.Flush()) })
	}
	if err != nil {
		return nil, err
	}
	v.self.Account, v.self.Holder = accountFacts{}, partnerFacts{}
	return v, nil
}

// May tells whether the caller may do action on target, both as in [Access.Explain]: nil, or the error that the call would answer. It asks the
// database only about what this process has not seen lately.
func (v *View) May(ctx context.Context, action, target string) (err error) {
	r, known := rules[action]
	if !known || r.system {
		return unknownAction()
	}
	f := v.self
	f.now, f.target, f.active = store.Now(v.reg.db), target, target == "" && r.active
	if !store.Joined(v.reg.db) && !f.stale() && v.reg.known.about(v.at, &f) {
		return decide(&f, action).err
	}
	defer wrap(&err, "may %s", action)
	ctx = context.WithValue(ctx, actorKey{}, v.self.actor)
	return v.reg.Read(ctx, Ask{Action: action, Target: target}, func(*store.Tx, *Standing) error { return nil })
}

func unknownAction() error {
	return &ValidationError{Fields: []FieldError{{Path: "action", Code: "unknown_code", Message: "no such action", Err: ErrUnknownCode}}}
}
