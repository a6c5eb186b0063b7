package partner_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// furnished is a certified partner, a context in which its admin acts, and accounts of his of the types solution and standard.
func (w *world) furnished() (p partner.Partner, me context.Context, lab, office partner.Account) {
	w.t.Helper()
	p, me = w.partner("acme")
	w.certify(p.ID, "gold", partner.Period{})
	return p, me, w.solution(me, "Lab"), w.account(me, "standard", "Office")
}

// placeParameters are the places of text about accounts of any type and their members.
func (w *world) placeParameters(p partner.Partner, me context.Context, lab, office partner.Account) (list []parameter) {
	extra := w.special(me, lab.ID, "Extra")
	for name := range w.placeVerbs(me, "") {
		if name != "Sessions" { // which may be of nobody: that is the caller
			list = append(list, parameter{name + ".account", true, func(s string) error { return w.placeVerbs(me, partner.AccountID(s))[name]() }})
		}
	}
	for name := range w.memberVerbs(me, "") {
		if name != "Sessions" {
			list = append(list, parameter{name + ".member", true, func(s string) error { return w.memberVerbs(me, partner.MemberID(s))[name]() }})
		}
	}
	after := func(s string) partner.PageRequest { return partner.PageRequest{After: s, Limit: 1} }
	return append(list,
		parameter{"Members.After", false, func(s string) error { return errOf(w.reg.Accounts.Members(me, lab.ID, after(s))) }},
		parameter{"Memberships.After", false, func(s string) error { return errOf(w.reg.Access.Memberships(me, after(s))) }},
		parameter{"Accounts.List.type", false, func(s string) error {
			page, err := w.reg.Accounts.List(me, partner.AccountFilter{Type: s}, partner.PageRequest{})
			if s != "" && len(page.Items) > 0 {
				w.t.Errorf("%d accounts are of the type %q", len(page.Items), s)
			}
			return err
		}},
		parameter{"TransferOwnership.to", true, func(s string) error { return w.reg.Accounts.TransferOwnership(me, office.ID, partner.UserID(s)) }},
		parameter{"RequestOpen.email", true, func(s string) error { return errOf(w.reg.Accounts.RequestOpen(w.vendor, s)) }},
		parameter{"Entitled.feature", false, func(s string) error {
			yes, err := w.reg.Accounts.Entitled(me, lab.ID, s)
			if yes {
				w.t.Errorf("%q is a feature", s)
			}
			return err
		}},
		parameter{"ReportMisuse.what", false, func(s string) error {
			if err := w.reg.Accounts.ReportMisuse(w.vendor, lab.ID, s); err != nil {
				return err
			}
			page, err := w.reg.Activity.List(w.vendor, partner.EventFilter{Account: lab.ID}, partner.PageRequest{Limit: 1})
			if w.must(err); !slices.Equal(page.Items[0].Changed, []string{s}) {
				w.t.Errorf("misuse %q comes back as %q", s, page.Items[0].Changed)
			}
			return nil
		}},
		parameter{"ActAs.reason", false, func(s string) error {
			session, err := w.reg.Access.ActAs(me, extra.ID, s)
			if err != nil {
				return err
			}
			in := partner.WithSession(context.Background(), session)
			if list := w.sessions(in, ""); session.Reason != s || list[0].Reason != s {
				w.t.Errorf("the reason %q comes back as %q and %q", s, session.Reason, list[0].Reason)
			}
			return w.reg.Access.Logout(in)
		}},
	)
}

func TestPLX28_HostilePlaceParameters(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		p, me, lab, office := w.furnished()
		for _, par := range w.placeParameters(p, me, lab, office) {
			for _, text := range w.own(texts) {
				w.trial(par.name, text, func() error {
					err := par.call(text)
					if par.never && err == nil {
						w.t.Errorf("%s takes %.40q", par.name, text)
					}
					return err
				})
			}
		}
		if n := rowsIn(w.t, w.db, "prm_members"); n != 1 {
			w.t.Errorf("%d members", n)
		}
	})
}

// TestPLX28_HostileMembers puts each text into each field of a new member and of an edit.
func TestPLX28_HostileMembers(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		_, me, lab, office := w.furnished()
		edited := w.special(me, lab.ID, "Edited")
		n := 0
		for _, at := range places(partner.NewMember{}, false) {
			for _, text := range w.own(texts) {
				for kind, id := range map[partner.MemberKind]partner.AccountID{partner.Special: lab.ID, partner.Employee: office.ID} {
					w.trial(fmt.Sprint("AddMember.", at.name, " of a ", kind), text, func() error {
						n++
						in := partner.NewMember{Kind: kind, Name: fmt.Sprint("Member ", n), Email: fmt.Sprint("member-", n, "@user.example"), Roles: []string{"clerk"}}
						at.put(&in, text)
						m, err := w.reg.Accounts.AddMember(me, id, in)
						if err != nil {
							return err
						}
						at.same(w, text, m.NewMember)
						return w.reg.Accounts.RemoveMember(me, m.ID)
					})
				}
				w.trial("EditMember."+at.name, text, func() error {
					now, err := w.reg.Accounts.EditMember(me, edited.ID, edited.Version, func(m *partner.NewMember) { at.put(m, text) })
					if err != nil {
						return err
					}
					if edited = now; at.name != "Key" {
						at.same(w, text, edited.NewMember)
					}
					return nil
				})
			}
		}
	})
}

// TestPLX04_HostileAccounts puts each text into each field of a new account, and into the name of one that is there.
func TestPLX04_HostileAccounts(t *testing.T) {
	texts := strangeTexts(t)
	hostile(t, func(w *world) {
		_, me, _, office := w.furnished()
		for _, at := range places(partner.NewAccount{}, false) {
			for _, text := range w.own(texts) {
				w.trial("Open."+at.name, text, func() error {
					in := partner.NewAccount{Type: "standard", Name: "Account"}
					at.put(&in, text)
					a, err := w.reg.Accounts.Open(me, in)
					if err != nil {
						return err
					}
					read, err := w.reg.Accounts.Get(me, a.ID)
					w.must(err)
					if read.Name != in.Name || a.Name != in.Name || in.Key != "" && a.Key != in.Key {
						w.t.Errorf("%+v comes back as %+v and %+v", in, a, read)
					}
					return nil
				})
			}
		}
		for _, text := range w.own(texts) {
			w.trial("Edit.Name", text, func() error {
				now, err := w.reg.Accounts.Edit(me, office.ID, office.Version, func(n *partner.NewAccount) { n.Name = text })
				if err != nil {
					return err
				}
				if office = now; office.Name != text {
					w.t.Errorf("the name %q comes back as %q", text, office.Name)
				}
				return nil
			})
		}
	})
}

// micro is a time of n nanoseconds, to the microsecond.
func micro(n int64) time.Duration { return time.Duration(n).Truncate(time.Microsecond) }

// TestPLX03_HostileAccountTypes puts each text and number into each field of a type.
func TestPLX03_HostileAccountTypes(t *testing.T) {
	texts, numbers := strangeTexts(t), corpus[int64](t, "money/quantities.json")
	hostile(t, func(w *world) {
		define := func(in partner.AccountType) error {
			if err := w.reg.Accounts.DefineType(w.vendor, in); err != nil {
				return err
			}
			list, err := w.reg.Accounts.Types(w.vendor)
			w.must(err)
			in.Leftovers = cmp.Or(in.Leftovers, "return")
			if in.Idle == 0 {
				in.Grace, in.LastNotice = 0, 0 // which are not read
			}
			if !slices.ContainsFunc(list, func(got partner.AccountType) bool { return fmt.Sprint(got) == fmt.Sprint(in) }) {
				w.t.Errorf("the type %+v does not come back", in)
			}
			return nil
		}
		for _, at := range places(partner.AccountType{}, false) {
			for _, text := range w.own(texts) {
				w.trial("DefineType."+at.name, text, func() error {
					in := partner.AccountType{Code: "strange"}
					at.put(&in, text)
					return define(in)
				})
			}
		}
		for _, n := range numbers {
			for name, in := range map[string]partner.AccountType{"MaxPerPartner": {MaxPerPartner: n}, "Employees": {Quota: partner.Quota{Employees: n}},
				"SpecialEmployees": {Quota: partner.Quota{SpecialEmployees: n}}, "ExternalUsers": {Quota: partner.Quota{ExternalUsers: n}},
				"Collaborators": {Quota: partner.Quota{Collaborators: n}}, "Guests": {Quota: partner.Quota{Guests: n}},
				"Idle": {Idle: micro(n), Grace: 24 * time.Hour}, "Grace": {Idle: 24 * time.Hour, Grace: micro(n)}, "LastNotice": {Idle: 24 * time.Hour, Grace: 24 * time.Hour, LastNotice: micro(n)}} {
				in.Code = "numbered"
				w.trial("DefineType."+name, fmt.Sprint(n), func() error { return define(in) })
			}
		}
	})
}
