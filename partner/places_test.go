package partner_test

import (
	"context"
	"encoding/json"

	"github.com/partnerkit/partnerkit/partner"
)

// solution opens an account of the type solution, which is for users of certified partners and their own.
func (w *world) solution(owner context.Context, name string) partner.Account {
	w.t.Helper()
	return w.account(owner, "solution", name)
}

// special adds a special employee.
func (w *world) special(owner context.Context, account partner.AccountID, name string) partner.MemberInfo {
	w.t.Helper()
	return w.member(owner, account, partner.NewMember{Kind: partner.Special, Name: name, Roles: []string{"tester"}})
}

// moved adds a member who accepts at once, and returns the session that begins with it.
func (w *world) moved(owner context.Context, account partner.AccountID, kind partner.MemberKind, email string, roles ...string) (partner.MemberInfo, context.Context) {
	w.t.Helper()
	m := w.member(owner, account, partner.NewMember{Kind: kind, Name: "Member " + email, Email: email, Roles: roles})
	in, err := w.accept(w.waiting(email))
	w.must(err)
	return m, in
}

// waiting is the token in the newest letter to an address that waits to be sent.
func (w *world) waiting(to string) partner.Secret {
	w.t.Helper()
	var payloads []string
	w.must(w.db.Raw("SELECT payload FROM prm_deliveries WHERE state = 'ready' AND payload LIKE ? ORDER BY id DESC", "%"+to+"%").Scan(&payloads).Error)
	for _, p := range payloads {
		var l struct {
			To    string `json:"to"`
			Token string `json:"token"`
		}
		w.must(json.Unmarshal([]byte(p), &l))
		if l.To == to && l.Token != "" {
			return partner.Secret(l.Token)
		}
	}
	w.t.Fatalf("no letter to %s waits with a token", to)
	return ""
}

// working opens a session in a place of the caller's.
func (w *world) working(me context.Context, id partner.MemberID) context.Context {
	w.t.Helper()
	s, err := w.reg.Access.WorkIn(me, id)
	w.must(err)
	return partner.WithSession(context.Background(), s)
}

// acting opens a session in which an owner acts as a special employee.
func (w *world) acting(owner context.Context, id partner.MemberID) context.Context {
	w.t.Helper()
	s, err := w.reg.Access.ActAs(owner, id, "to try it out")
	w.must(err)
	return partner.WithSession(context.Background(), s)
}
