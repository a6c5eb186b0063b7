package partner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// TestIsolation plays two partners' worlds on one database against a model that knows whose everything is: whatever a caller tries on
// ids of his own, of the other and of nobody, no foreign row is seen, counted or changed. PARTNERKIT_ISOLATION_STEPS sets another length.
func TestIsolation(t *testing.T) {
	steps := 4_000 // each is several calls; the build server plays 14,000
	if n, err := strconv.Atoi(os.Getenv("PARTNERKIT_ISOLATION_STEPS")); err == nil {
		steps = n
	}
	if testing.Short() {
		steps /= 10
	}
	atOnce(t, func(w *world) { newIsolation(w).run(steps) })
}

// side is one partner's world as the model holds it.
type isoSide struct {
	id       partner.ID
	name     string
	admin    context.Context
	pool     int64
	projects []*isoProject
	active   *isoProject // what the admin has switched into
	member   context.Context
	staff    partner.UserID // the member
	logo     int            // its width, 0 for none

	certified string // the fact, if it is
	isoPlaces
}

type isoProject struct {
	of     *isoSide
	id     partner.AccountID
	name   string
	login  string
	held   int64
	closed bool
	saved  int             // from being closed
	as     context.Context // its delegated log-in
}

type isolation struct {
	*world
	rand  *rand.Rand
	sides []*isoSide
	n     int
}

func newIsolation(w *world) *isolation {
	i := &isolation{world: w, rand: rand.New(rand.NewPCG(1, 2))}
	w.must(w.seats.Define(w.vendor, license.Type{SKU: "seat", Name: "Seat"}))
	for _, name := range []string{"red", "blue"} {
		p, ctx := w.partner(name)
		i.sides = append(i.sides, &isoSide{id: p.ID, name: p.Name, admin: ctx})
	}
	for _, s := range i.sides {
		u := w.addedUser(s.id, "member-of-"+s.name[len("Partner "):], func(u *partner.NewUser) { u.Rights = everyRight })
		s.member, s.staff = w.login(u.Login), u.ID
		i.furnish(s)
		for range 3 {
			i.open(s)
		}
	}
	i.lend(i.sides[0], i.sides[1])
	i.lend(i.sides[1], i.sides[0])
	return i
}

func (i *isolation) run(steps int) {
	verbs := []func(me, other *isoSide){
		i.getPartner, i.listPartners, i.getProject, i.listProjects, i.editProject, i.assign, i.assign, i.returnSome, i.switchTo, i.switchBack,
		i.balance, i.mine, i.history, i.activity, i.grant, i.closeOne, i.openOne, i.asProject, i.explain, i.vendorVerbs, i.setContact, i.users, i.asMember,
		i.logos, i.programme, i.delegations, i.members, i.closings,
	}
	for step := range steps {
		k := i.rand.IntN(2)
		verbs[i.rand.IntN(len(verbs))](i.sides[k], i.sides[1-k])
		if step%2000 == 0 {
			i.compare()
		}
	}
	i.compare()
	i.sound()
}

// notFound fails unless a foreign id answers exactly as one that never was.
func (i *isolation) notFound(what string, err error) {
	i.t.Helper()
	if !errors.Is(err, partner.ErrNotFound) {
		i.t.Fatalf("%s of a foreign id: %v, want not found", what, err)
	}
}

func (i *isolation) some(s *isoSide) *isoProject { return s.projects[i.rand.IntN(len(s.projects))] }

func (i *isolation) live(s *isoSide) *isoProject {
	for {
		if p := i.some(s); !p.closed {
			return p
		}
	}
}

func (i *isolation) open(s *isoSide) {
	i.n++
	in := newProject(fmt.Sprintf("iso-%04d", i.n))
	in.Customer = i.customer(s)
	a, err := i.reg.Accounts.OpenProject(s.admin, in)
	i.must(err)
	s.projects = append(s.projects, &isoProject{of: s, id: a.ID, name: a.Name, login: in.Login})
}

func (i *isolation) openOne(me, other *isoSide) {
	if len(me.projects) < 60 {
		i.open(me)
	}
	in := newProject("iso-foreign")
	in.Partner = other.id
	_, err := i.reg.Accounts.OpenProject(me.admin, in)
	i.notFound("OpenProject", err)
}

// users are each organisation's own.
func (i *isolation) users(me, other *isoSide) {
	for what, err := range map[string]error{
		"Users.Get": second(i.reg.Users.Get(me.admin, other.staff)), "Users.Disable": i.reg.Users.Disable(me.admin, other.staff),
		"Users.Enable": i.reg.Users.Enable(me.admin, other.staff), "Users.Remove": i.reg.Users.Remove(me.admin, other.staff),
		"LogoutAll":  i.reg.Access.LogoutAll(me.admin, other.staff),
		"Users.Edit": second(i.reg.Users.Edit(me.admin, other.staff, 1, func(u *partner.NewUser) { u.Name = "mine" })),
		"Users.List": second(i.reg.Users.List(me.admin, other.id, partner.PageRequest{})),
		"Users.Add":  second(i.reg.Users.Add(me.admin, other.id, newUser("iso-foreign"))),
		"SetContact": i.reg.Partners.SetContact(me.admin, me.id, other.staff),
	} {
		i.notFound(what, err)
	}
	i.ways(me, other)
	page, err := i.reg.Users.List(me.admin, "", partner.PageRequest{})
	i.must(err)
	if len(page.Items) != 2 || page.Items[0].ID != me.staff {
		i.t.Fatalf("%d users, the first is %s", len(page.Items), page.Items[0].ID)
	}
}

// ways are those in to another's users and their sessions.
func (i *isolation) ways(me, other *isoSide) {
	sessions, err := i.reg.Access.Sessions(other.member, "", partner.PageRequest{})
	i.must(err)
	theirs := sessions.Items[i.rand.IntN(len(sessions.Items))].ID
	_, _, profile := i.reg.Partners.Profile(me.admin, other.id)
	for what, err := range map[string]error{
		"invite": second(i.reg.Users.Add(me.admin, other.id, invitee("iso-foreign"))), "Reinvite": second(i.reg.Access.Reinvite(me.admin, other.staff)),
		"ResetPassword": second(i.reg.Users.ResetPassword(me.admin, other.staff)), "RevealPassword": second(i.reg.Users.RevealPassword(me.admin, other.staff)),
		"Sessions":          second(i.reg.Access.Sessions(me.admin, string(other.staff), partner.PageRequest{})),
		"a project's":       second(i.reg.Access.Sessions(me.admin, string(i.some(other).id), partner.PageRequest{})),
		"EndSession":        i.reg.Access.EndSession(me.admin, theirs),
		"a member's end":    i.reg.Access.EndSession(me.member, theirs),
		"Link":              i.reg.Users.Link(me.admin, other.staff, outside("iso", "")),
		"Unlink":            i.reg.Users.Unlink(me.admin, other.staff, issuer, "iso"),
		"Profile":           profile,
		"a member's invite": second(i.reg.Users.Add(me.member, other.id, invitee("iso-foreign"))),
	} {
		i.notFound(what, err)
	}
	if err := second(i.reg.Users.Get(other.member, other.staff)); err != nil {
		i.t.Fatalf("their session has ended: %v", err)
	}
}

// asMember does a member's work, with all rights: it ends where the organisation does.
func (i *isolation) asMember(me, other *isoSide) {
	foreign := i.some(other).id
	for what, err := range map[string]error{
		"Get": second(i.reg.Accounts.Get(me.member, foreign)), "SwitchTo": i.reg.Access.SwitchTo(me.member, foreign),
		"Assign": second(i.seats.Assign(me.member, foreign, "seat", 1)), "Balance": second(i.seats.Balance(me.member, foreign, "seat")),
		"pool": second(i.seats.Balance(me.member, other.id, "seat")), "Close": second(i.reg.Accounts.Close(me.member, foreign)),
		"partner": second(i.reg.Partners.Get(me.member, other.id)), "At": second(i.reg.Partners.At(me.member, other.id, i.clock.Now())),
		"member": second(i.reg.Users.Get(me.member, other.staff)),
	} {
		i.notFound(what, err)
	}
	for a, err := range partner.Each(func(p partner.PageRequest) (partner.Page[partner.Account], error) {
		return i.reg.Accounts.List(me.member, partner.AccountFilter{}, p)
	}) {
		i.must(err)
		if a.Partner != me.id {
			i.t.Fatalf("a member's list has %s of %s", a.ID, a.Partner)
		}
	}
}

func (i *isolation) getPartner(me, other *isoSide) {
	_, err := i.reg.Partners.Get(me.admin, other.id)
	i.notFound("Get", err)
	p, err := i.reg.Partners.Get(me.admin, me.id)
	i.must(err)
	if p.Name != me.name {
		i.t.Fatalf("own partner is %q, want %q", p.Name, me.name)
	}
}

func (i *isolation) listPartners(me, other *isoSide) {
	page, err := i.reg.Partners.List(me.admin, partner.PartnerFilter{}, partner.PageRequest{})
	i.must(err)
	if len(page.Items) != 1 || page.Items[0].ID != me.id {
		i.t.Fatalf("partner list has %d items", len(page.Items))
	}
	_, err = i.reg.Partners.List(me.admin, partner.PartnerFilter{Under: other.id}, partner.PageRequest{})
	i.notFound("List", err)
	for search, want := range map[string]int{"": 1, "partner": 1, me.name: 1, other.name: 0, i.some(me).login: 1, i.some(other).login: 0, "member-of": 1} {
		f := partner.PartnerFilter{Search: search}
		page, err := i.reg.Partners.List(me.admin, f, partner.PageRequest{})
		i.must(err)
		if len(page.Items) != want || want > 0 && page.Items[0].ID != me.id {
			i.t.Fatalf("searching %q finds %d", search, len(page.Items))
		}
		var text strings.Builder
		i.must(i.reg.Partners.Export(me.admin, &text, "json", f))
		if strings.Count(text.String(), `"id":`) != want || strings.Contains(text.String(), string(other.id)) {
			i.t.Fatalf("the export for %q is %s", search, text.String())
		}
	}
	i.notFound("Export", i.reg.Partners.Export(me.admin, io.Discard, "csv", partner.PartnerFilter{Under: other.id}))
}

func (i *isolation) getProject(me, other *isoSide) {
	_, err := i.reg.Accounts.Get(me.admin, i.some(other).id)
	i.notFound("Get", err)
	p := i.some(me)
	a, err := i.reg.Accounts.Get(me.admin, p.id)
	i.must(err)
	if a.Name != p.name || a.Partner != me.id || (a.State == "closing") != p.closed {
		i.t.Fatalf("project is %q of %s, %s; want %q of %s, closed %v", a.Name, a.Partner, a.State, p.name, me.id, p.closed)
	}
}

func (i *isolation) listProjects(me, other *isoSide) {
	got, want := []partner.AccountID(nil), []partner.AccountID{me.lab, me.office}
	for a, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Account], error) {
		r.Limit = 7
		return i.reg.Accounts.List(me.admin, partner.AccountFilter{}, r)
	}) {
		i.must(err)
		got = append(got, a.ID)
	}
	for _, p := range me.projects {
		want = append(want, p.id)
	}
	slices.Reverse(want)
	if !slices.Equal(got, want) {
		i.t.Fatalf("project list %v, want %v", got, want)
	}
	_, err := i.reg.Accounts.List(me.admin, partner.AccountFilter{Partner: other.id}, partner.PageRequest{})
	i.notFound("List", err)
}

func (i *isolation) editProject(me, other *isoSide) {
	change := func(p *partner.NewProject) { p.Company = fmt.Sprint("Company ", i.rand.IntN(1000)) }
	_, err := i.reg.Accounts.EditProject(me.admin, i.some(other).id, 1, change)
	i.notFound("EditProject", err)
	i.notFound("SetProjectPassword", i.reg.Accounts.SetProjectPassword(me.admin, i.some(other).id, "another password"))
	p := i.live(me)
	a, err := i.reg.Accounts.Get(me.admin, p.id)
	i.must(err)
	_, err = i.reg.Accounts.EditProject(me.admin, p.id, a.Version, change)
	i.must(err)
}

func (i *isolation) assign(me, other *isoSide) {
	_, err := i.seats.Assign(me.admin, i.some(other).id, "seat", 1)
	i.notFound("Assign", err)
	to, n := i.some(me), 1+i.rand.Int64N(20)
	from, source := &me.pool, partner.Holder(me.id)
	if me.active != nil {
		from, source = &me.active.held, me.active.id
	}
	_, err = i.seats.Assign(me.admin, to.id, "seat", n, license.From(source))
	switch {
	case to.closed || me.active != nil && me.active.closed:
		if !errors.Is(err, partner.ErrBlocked) && !errors.Is(err, license.ErrWrongContext) {
			i.t.Fatalf("assign with a closed project: %v", err)
		}
	case me.active == to:
		if !errors.Is(err, partner.ErrInvalid) {
			i.t.Fatalf("assign to the source: %v", err)
		}
	case *from < n:
		if short := (*license.InsufficientError)(nil); !errors.As(err, &short) || short.Available != *from {
			i.t.Fatalf("assign %d of %d: %v", n, *from, err)
		}
	default:
		i.must(err)
		*from -= n
		to.held += n
	}
}

func (i *isolation) returnSome(me, _ *isoSide) {
	n := 1 + i.rand.Int64N(5)
	_, err := i.seats.Return(me.admin, "seat", n)
	switch {
	case me.active == nil:
		if !errors.Is(err, license.ErrWrongContext) {
			i.t.Fatalf("return without a switch: %v", err)
		}
	case me.active.closed:
		if !errors.Is(err, partner.ErrBlocked) {
			i.t.Fatalf("return from a closed project: %v", err)
		}
	case me.active.held < n:
		if !errors.Is(err, license.ErrInsufficient) {
			i.t.Fatalf("return %d of %d: %v", n, me.active.held, err)
		}
	default:
		i.must(err)
		me.active.held -= n
		me.pool += n
	}
}

func (i *isolation) switchTo(me, other *isoSide) {
	i.notFound("SwitchTo", i.reg.Access.SwitchTo(me.admin, i.some(other).id))
	p := i.live(me)
	i.must(i.reg.Access.SwitchTo(me.admin, p.id))
	me.active = p
}

func (i *isolation) switchBack(me, _ *isoSide) {
	i.must(i.reg.Access.SwitchBack(me.admin))
	me.active = nil
}

func (i *isolation) balance(me, other *isoSide) {
	_, err := i.seats.Balance(me.admin, other.id, "seat")
	i.notFound("Balance", err)
	_, err = i.seats.Balance(me.admin, i.some(other).id, "seat")
	i.notFound("Balance", err)
	_, err = i.seats.HoldingsAt(me.admin, i.some(other).id, i.clock.Now(), i.clock.Now())
	i.notFound("HoldingsAt", err)
	_, err = i.seats.Statement(me.admin, other.id, "seat", partner.Period{})
	i.notFound("Statement", err)
	p := i.some(me)
	if got := i.available(me.admin, p.id, "seat"); got != p.held {
		i.t.Fatalf("balance %d, want %d", got, p.held)
	}
}

func (i *isolation) mine(me, _ *isoSide) {
	list, err := i.seats.Mine(me.admin)
	i.must(err)
	if len(list) > 0 && list[0].Available != me.pool || len(list) == 0 && me.pool != 0 {
		i.t.Fatalf("mine is %v, want %d", list, me.pool)
	}
}

func (i *isolation) history(me, other *isoSide) {
	_, err := i.seats.History(me.admin, other.id, "", partner.PageRequest{})
	i.notFound("History", err)
	page, err := i.seats.History(me.admin, me.id, "", partner.PageRequest{Limit: 20})
	i.must(err)
	mine := map[string]bool{string(me.id): true}
	for _, p := range me.projects {
		mine[string(p.id)] = true
	}
	for _, tr := range page.Items {
		for _, h := range []partner.Holder{tr.From, tr.To} {
			if h != nil && !mine[h.String()] {
				i.t.Fatalf("history shows %s", h)
			}
		}
	}
}

func (i *isolation) activity(me, other *isoSide) {
	_, err := i.reg.Activity.List(me.admin, partner.EventFilter{Partner: other.id}, partner.PageRequest{})
	i.notFound("Activity", err)
	_, err = i.reg.Activity.List(me.admin, partner.EventFilter{Account: i.some(other).id}, partner.PageRequest{})
	i.notFound("Activity", err)
	i.notFound("Activity", i.reg.Activity.Export(me.admin, io.Discard, "csv", partner.EventFilter{Account: i.some(other).id}))
	page, err := i.reg.Activity.List(me.admin, partner.EventFilter{}, partner.PageRequest{Limit: 100})
	i.must(err)
	for _, e := range page.Items {
		if e.Partner != me.id {
			i.t.Fatalf("activity shows an event of %s", e.Partner)
		}
	}
}

func (i *isolation) grant(me, _ *isoSide) {
	n := 1 + i.rand.Int64N(50)
	_, err := i.seats.Grant(i.vendor, me.id, "seat", n)
	i.must(err)
	me.pool += n
}

func (i *isolation) closeOne(me, other *isoSide) {
	_, err := i.reg.Accounts.Close(me.admin, i.some(other).id)
	i.notFound("Close", err)
	_, err = i.reg.Accounts.PreviewClose(me.admin, i.some(other).id)
	i.notFound("PreviewClose", err)
	open := 0
	for _, p := range me.projects {
		if !p.closed {
			open++
		}
	}
	if open < 3 || i.rand.IntN(4) > 0 {
		return
	}
	p := i.live(me)
	c, err := i.reg.Accounts.Close(me.admin, p.id)
	i.must(err)
	if c.Licenses["seat"] != p.held {
		i.t.Fatalf("close returned %d, want %d", c.Licenses["seat"], p.held)
	}
	me.pool += p.held
	p.held, p.closed, p.as = 0, true, nil
}

// asProject acts by a delegated log-in: it sees its project and nothing else, of either side.
func (i *isolation) asProject(me, other *isoSide) {
	p := i.live(me)
	if p.as == nil {
		p.as = i.login(p.login)
	}
	list, err := i.seats.Mine(p.as)
	i.must(err)
	got := int64(0)
	for _, b := range list {
		got = b.Available
	}
	if got != p.held {
		i.t.Fatalf("the project's log-in sees %d, want %d", got, p.held)
	}
	page, err := i.reg.Accounts.List(p.as, partner.AccountFilter{}, partner.PageRequest{})
	i.must(err)
	if len(page.Items) != 1 || page.Items[0].ID != p.id {
		i.t.Fatalf("the project's log-in lists %d accounts", len(page.Items))
	}
	for _, foreign := range []partner.AccountID{i.some(other).id, i.live(me).id} {
		if foreign == p.id {
			continue
		}
		_, err := i.reg.Accounts.Get(p.as, foreign)
		i.notFound("Get by a project", err)
		_, err = i.seats.Balance(p.as, foreign, "seat")
		i.notFound("Balance by a project", err)
	}
	for _, id := range []partner.ID{me.id, other.id} {
		_, err := i.seats.Balance(p.as, id, "seat")
		i.notFound("Balance by a project", err)
	}
	if _, err := i.seats.Assign(p.as, p.id, "seat", 1); !errors.Is(err, partner.ErrForbidden) {
		i.t.Fatalf("assign by a project: %v", err)
	}
}

func (i *isolation) explain(me, other *isoSide) {
	for _, target := range []string{string(other.id), string(i.some(other).id), "prt_nobody", "acc_nobody"} {
		dec, err := i.reg.Access.Explain(me.admin, "license.read", target)
		i.must(err)
		last := dec.Reasons[len(dec.Reasons)-1]
		if dec.Allowed || last.Code != "target" {
			i.t.Fatalf("explain of a foreign id: %+v", dec)
		}
	}
}

// vendorVerbs are refused to a partner, on his own id and on the other's.
func (i *isolation) vendorVerbs(me, other *isoSide) {
	for _, id := range []partner.ID{me.id, other.id} {
		errs := []error{i.reg.Partners.Block(me.admin, id, true), i.reg.Partners.UnblockUsers(me.admin, id), i.reg.Partners.MoveUnder(me.admin, id, me.id),
			i.reg.Partners.Archive(me.admin, id), i.reg.Partners.Restore(me.admin, id), i.reg.Partners.Tombstone(me.admin, id)}
		_, err := i.seats.Grant(me.admin, id, "seat", 5)
		_, err2 := i.seats.Revoke(me.admin, id, "seat", 1)
		for _, err := range append(errs, err, err2) {
			if id == other.id {
				i.notFound("a vendor's verb", err)
			} else if !errors.Is(err, partner.ErrForbidden) {
				i.t.Fatalf("a vendor's verb by a partner: %v", err)
			}
		}
	}
}

func (i *isolation) setContact(me, other *isoSide) {
	p, err := i.reg.Partners.Get(i.vendor, other.id)
	i.must(err)
	i.notFound("SetContact", i.reg.Partners.SetContact(me.admin, other.id, p.Contact))
	i.notFound("SetContact", i.reg.Partners.SetContact(me.admin, me.id, p.Contact))
}

// compare holds the whole database against the model.
func (i *isolation) compare() {
	i.t.Helper()
	for _, s := range i.sides {
		if got := i.available(i.vendor, s.id, "seat"); got != s.pool {
			i.t.Fatalf("pool of %s is %d, want %d", s.name, got, s.pool)
		}
		for _, p := range s.projects {
			if got := i.available(i.vendor, p.id, "seat"); got != p.held {
				i.t.Fatalf("%s holds %d, want %d", p.name, got, p.held)
			}
		}
	}
}
