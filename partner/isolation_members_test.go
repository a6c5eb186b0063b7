package partner_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/partnerkit/partnerkit/partner"
)

// isoPlaces are a side's accounts that are no projects, as the model holds them.
type isoPlaces struct {
	office partner.AccountID // of the type standard, its admin's
	lab    partner.AccountID // of the type solution, its member's
	helper partner.MemberID  // the other side's member, as a collaborator in the office
	extras []*isoExtra       // the special employees of the lab, in the order they came
}

type isoExtra struct {
	id     partner.MemberID
	active bool
}

// furnish opens a side's accounts, before its projects.
func (i *isolation) furnish(s *isoSide) {
	once := i.certify(s.id, "gold", partner.Period{})
	s.lab = i.solution(s.member, "Lab of "+s.name).ID
	i.must(second(i.reg.Program.Revoke(i.vendor, once.ID, "for the lab alone")))
	s.office = i.account(s.admin, "standard", "Office of "+s.name).ID
	i.hireOne(s)
}

// lend gives the other side's member a place in a side's office.
func (i *isolation) lend(s, other *isoSide) {
	u, err := i.reg.Users.Get(i.vendor, other.staff)
	i.must(err)
	m, in := i.moved(s.admin, s.office, partner.Collaborator, u.Email, "integrator")
	s.helper = m.ID
	i.must(i.reg.Access.Logout(in)) // whose sessions are told of by the admins of both
}

// members are each organisation's own, but for the one user whom each lends to the other. A step is about one side of that.
func (i *isolation) members(me, other *isoSide) {
	ctx := me.admin
	if i.rand.IntN(2) == 0 {
		ctx = me.member
	}
	var foreign map[string]func() error
	switch i.rand.IntN(4) {
	case 0:
		foreign = i.placeVerbs(ctx, []partner.AccountID{other.office, other.lab, i.some(other).id}[i.rand.IntN(3)])
	case 1:
		foreign = i.memberVerbs(ctx, other.extras[i.rand.IntN(len(other.extras))].id)
	case 2:
		i.hireOne(me)
		i.listed(me, other)
	default:
		i.collaborate(me, other)
	}
	for what, call := range foreign {
		i.notFound(what, call())
	}
	i.notFound("Open", second(i.reg.Accounts.Open(me.admin, partner.NewAccount{Type: "standard", Name: "X", Partner: other.id})))
	for _, to := range []partner.UserID{other.staff, "usr_none"} { // alike
		if fault := i.reg.Accounts.TransferOwnership(me.admin, me.office, to); fields(fault) != "owner:unknown_code" {
			i.t.Fatalf("given to %s: %v", to, fault)
		}
	}
}

// hireOne adds a special employee, as long as there are few, and shuts one out or lets him in again.
func (i *isolation) hireOne(me *isoSide) {
	if len(me.extras) < 8 {
		me.extras = append(me.extras, &isoExtra{i.special(me.member, me.lab, fmt.Sprint("Extra ", len(me.extras))).ID, true})
	}
	x := me.extras[i.rand.IntN(len(me.extras))]
	change := i.reg.Accounts.ReactivateMember
	if x.active {
		change = i.reg.Accounts.DeactivateMember
	}
	i.must(change(me.member, x.id))
	x.active = !x.active
}

// listed looks whether a side lists its members, and no others.
func (i *isolation) listed(me, other *isoSide) {
	var got, want []string
	for m, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.MemberInfo], error) {
		r.Limit = 3
		return i.reg.Accounts.Members(me.admin, me.lab, r)
	}) {
		i.must(err)
		got = append(got, fmt.Sprint(m.ID, m.State == "active"))
	}
	for _, x := range me.extras {
		want = append(want, fmt.Sprint(x.id, x.active))
	}
	slices.Reverse(want)
	if !slices.Equal(got, want) {
		i.t.Fatalf("members are %v, want %v", got, want)
	}
	page, err := i.reg.Accounts.Members(me.member, me.office, partner.PageRequest{})
	i.must(err)
	if len(page.Items) != 1 || page.Items[0].ID != me.helper || page.Items[0].State != "active" {
		i.t.Fatalf("members of the office are %+v", page.Items)
	}
	if page, err = i.reg.Access.Memberships(me.member, partner.PageRequest{}); err != nil || len(page.Items) != 1 || page.Items[0].ID != other.helper {
		i.t.Fatalf("a member's places are %+v, %v", page.Items, err)
	}
	if page, err = i.reg.Access.Memberships(me.admin, partner.PageRequest{}); err != nil || len(page.Items) != 0 {
		i.t.Fatalf("an admin's places are %+v, %v", page.Items, err)
	}
}

// collaborate works in the other side's office: that is all there is, of either side.
func (i *isolation) collaborate(me, other *isoSide) {
	i.notFound("WorkIn of an admin", second(i.reg.Access.WorkIn(me.admin, other.helper)))
	i.notFound("WorkIn of a stranger", second(i.reg.Access.WorkIn(other.member, other.helper)))
	in := i.working(me.member, other.helper)
	a, err := i.reg.Accounts.Get(in, other.office)
	i.must(err)
	if list := i.accounts(in); a.Partner != other.id || !slices.Equal(list, []partner.AccountID{other.office}) {
		i.t.Fatalf("a collaborator has %+v, and lists %v", a, list)
	}
	i.must(second(i.seats.Balance(in, other.office, "seat")))
	for _, id := range []partner.AccountID{other.lab, i.some(other).id, me.office, me.lab, i.some(me).id} {
		i.notFound("Get by a collaborator", second(i.reg.Accounts.Get(in, id)))
		i.notFound("Balance by a collaborator", second(i.seats.Balance(in, id, "seat")))
	}
	for _, s := range []*isoSide{me, other} {
		i.notFound("the pool by a collaborator", second(i.seats.Balance(in, s.id, "seat")))
		i.notFound("the partner by a collaborator", second(i.reg.Partners.Get(in, s.id)))
		i.notFound("a user by a collaborator", second(i.reg.Users.Get(in, s.staff)))
	}
	for what, err := range map[string]error{
		"members": second(i.reg.Accounts.Members(in, other.office, partner.PageRequest{})), "himself": second(i.reg.Accounts.Member(in, other.helper)),
		"users": second(i.reg.Users.List(in, "", partner.PageRequest{})), "activity": second(i.reg.Activity.List(in, partner.EventFilter{}, partner.PageRequest{})),
	} {
		if !errors.Is(err, partner.ErrForbidden) {
			i.t.Fatalf("%s by a collaborator: %v", what, err)
		}
	}
	for _, sees := range []int{len(i.sessions(other.admin, string(other.helper))), len(i.sessions(other.admin, string(other.office)))} {
		if sees != 1 {
			i.t.Fatalf("%d sessions are told of", sees)
		}
	}
	i.notFound("Sessions", second(i.reg.Access.Sessions(me.admin, string(other.helper), partner.PageRequest{})))
	i.must(i.reg.Access.EndSession(other.admin, i.sessions(other.admin, string(other.helper))[0].ID))
	if err := second(i.reg.Accounts.Get(in, other.office)); !errors.Is(err, partner.ErrForbidden) {
		i.t.Fatalf("a collaborator whose session has ended: %v", err)
	}
}
