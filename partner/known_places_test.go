package partner_test

import (
	"context"
	"errors"

	"github.com/partnerkit/partnerkit/partner"
)

// mates are members of project a of a family: one in his own right, and one who is a user of another organisation.
type mates struct {
	home                   partner.Partner // of whom it lends
	lender                 partner.UserID
	mate, lent             partner.MemberID
	mateAt, lentAt, lentIn context.Context // their sessions in the project; lentIn: his own, which that hangs on
}

// settle adds them, behind the SDK's back: with three letters to accept, a family would cost twice as much.
func (tw *twins) settle(f *family) {
	tw.t.Helper()
	tw.addUser(f.own.ID, string(f.second()))
	var err error
	f.home, err = tw.reg.Partners.Create(tw.vendor, agreement(f.name+"-home"))
	tw.must(err)
	f.lender, f.mate, f.lent = partner.UserID("usr_lent_"+f.name), partner.MemberID("mem_mate_"+f.name), partner.MemberID("mem_lent_"+f.name)
	tw.addUser(f.home.ID, string(f.lender))
	tamper(tw.t, tw.db, `UPDATE prm_identities SET login = ?, login_key = ?, email = ?, email_key = ?, email_verified = ?, password_hash = ? WHERE id = ?`,
		f.lentMail(), f.lentMail(), f.lentMail(), f.lentMail(), true, "plain:"+sum([]byte(password)), "idn_"+string(f.lender))
	tamper(tw.t, tw.db, `INSERT INTO prm_identities (id, kind, login, login_key, email, email_key, email_verified, password_hash, epoch, version, created_at)
		VALUES (?, 'human', ?, ?, ?, ?, ?, ?, 0, 1, 1)`, "idn_"+string(f.mate), f.mateMail(), f.mateMail(), f.mateMail(), f.mateMail(), true, "plain:"+sum([]byte(password)))
	for id, who := range map[partner.MemberID][]string{f.mate: {"idn_" + string(f.mate), f.mateMail()}, f.lent: {"idn_" + string(f.lender), f.lentMail()}} {
		tamper(tw.t, tw.db, `INSERT INTO prm_members (id, partner_id, account_id, kind, identity_id, name, email, email_key, locale, roles, state, version, due_at, entered_at, created_at)
			VALUES (?, ?, ?, 'guest', ?, 'X', ?, ?, '', 'contributor', 'active', 1, 0, 0, 1)`, id, f.own.ID, f.a, who[0], who[1], who[1])
	}
	tamper(tw.t, tw.db, "INSERT INTO prm_quotas (partner_id, account_id, kind, used) VALUES (?, ?, 'guest', 2)", f.own.ID, f.a)
	tw.comeBack(f)
}

func (f *family) mateMail() string       { return f.name + "-mate@guest.example" }
func (f *family) second() partner.UserID { return partner.UserID("usr_of_" + f.name) } // of its own organisation
func (f *family) lentMail() string       { return f.name + "-lent@user.example" }

// comeBack logs them in once more.
func (tw *twins) comeBack(f *family) {
	tw.t.Helper()
	f.mateAt, f.lentIn = tw.login(f.mateMail()), tw.login(f.lentMail())
	f.lentAt = tw.working(f.lentIn, f.lent)
}

// role gives a member another role.
func (tw *twins) role(r rooms, f *family, id partner.MemberID, role string) error {
	m, err := r.reg.Accounts.Member(tw.vendor, id)
	if err == nil {
		_, err = r.reg.Accounts.EditMember(f.me, id, m.Version, func(m *partner.NewMember) { m.Roles = []string{role} })
	}
	return err
}

// placeChanges are what calls of members must notice, and the others must not.
func placeChanges() []change {
	mate, lent := []string{"mate"}, []string{"lent"}
	return []change{
		{"deactivate a member", mate, func(_ *twins, r rooms, f *family) error { return r.reg.Accounts.DeactivateMember(f.me, f.mate) }, false},
		{"deactivate one who is lent", lent, func(_ *twins, r rooms, f *family) error { return r.reg.Accounts.DeactivateMember(f.me, f.lent) }, false},
		{"deactivate a member and take that back", mate, func(_ *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Accounts.DeactivateMember(f.me, f.mate), r.reg.Accounts.ReactivateMember(f.me, f.mate))
		}, false},
		{"remove a member", mate, func(_ *twins, r rooms, f *family) error { return r.reg.Accounts.RemoveMember(f.me, f.mate) }, false},
		{"let a member look only", mate, func(tw *twins, r rooms, f *family) error { return tw.role(r, f, f.mate, "viewer") }, false},
		{"log a member out", mate, func(_ *twins, r rooms, f *family) error { return r.reg.Access.Logout(f.mateAt) }, false},
		{"log one who is lent out at home", lent, func(_ *twins, r rooms, f *family) error { return r.reg.Access.Logout(f.lentIn) }, false},
		{"block where one comes from", lent, func(tw *twins, r rooms, f *family) error { return r.reg.Partners.Block(tw.vendor, f.home.ID, false) }, false},
		{"block users where one comes from", nil, func(tw *twins, r rooms, f *family) error {
			return r.reg.Partners.BlockUsers(tw.vendor, f.home.ID, false)
		}, false},
		{"disable one who is lent", lent, func(tw *twins, r rooms, f *family) error { return r.reg.Users.Disable(tw.vendor, f.lender) }, false},
		{"a member changes his password", nil, func(_ *twins, r rooms, f *family) error {
			return r.reg.Access.ChangePassword(f.mateAt, password, "another password")
		}, true},
		{"one who is lent changes his password", lent, func(_ *twins, r rooms, f *family) error {
			return r.reg.Access.ChangePassword(f.lentIn, password, "another password")
		}, true},
		{"transfer the project", nil, func(tw *twins, r rooms, f *family) error {
			return r.reg.Accounts.TransferOwnership(tw.vendor, f.a, f.second())
		}, false},
	}
}

// placeLifts are what undoes them.
func placeLifts() []change {
	return []change{
		{"let the members in again", nil, func(_ *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Accounts.ReactivateMember(f.me, f.mate), r.reg.Accounts.ReactivateMember(f.me, f.lent))
		}, false},
		{"let the members work again", nil, func(tw *twins, r rooms, f *family) error {
			return errors.Join(tw.role(r, f, f.mate, "contributor"), tw.role(r, f, f.lent, "contributor"))
		}, false},
		{"lift where one comes from", nil, func(tw *twins, r rooms, f *family) error {
			return errors.Join(r.reg.Partners.Unblock(tw.vendor, f.home.ID), r.reg.Users.Enable(tw.vendor, f.lender))
		}, false},
		{"log the members in", nil, func(_ *twins, r rooms, f *family) error {
			if s, err := r.reg.Access.Login(context.Background(), f.mateMail(), password, ""); err == nil {
				f.mateAt = partner.WithSession(context.Background(), s)
			}
			s, err := r.reg.Access.Login(context.Background(), f.lentMail(), password, "")
			if err != nil {
				return err
			}
			f.lentIn = partner.WithSession(context.Background(), s)
			if s, err = r.reg.Access.WorkIn(f.lentIn, f.lent); err == nil {
				f.lentAt = partner.WithSession(context.Background(), s)
			}
			return err
		}, true},
	}
}
