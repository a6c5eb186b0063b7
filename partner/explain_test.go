package partner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// asked is a real call for each action, on a target that may be empty; it runs in a host transaction that is rolled back, unless it refuses
// those: then r has no registry of such a one.
type asked struct {
	targets string // "none", "partner", "account", "both", with "?" where none is a target as well
	call    func(x *explaining, r rooms, ctx context.Context, target string) error
}

type explaining struct {
	*world
	prepared map[string]partner.Agreement  // by parent
	projects map[string]partner.NewProject // by partner
	users    map[string]partner.NewUser    // by organisation
	people   map[context.Context]string    // ids of users
}

// delegationTo is the delegation of an actor of the random world, who need not be a user, for an account that need not be.
func (x *explaining) delegationTo(ctx context.Context, account string) string {
	if person := x.people[ctx]; person != "" {
		return "dlg_" + person + account
	}
	return "dlg_open" + account
}

// delegate lets every user into every project, whosesoever, and asks for somebody in each.
func (x *explaining) delegate(actors map[string]context.Context, accounts []string) {
	insert := func(id, user, account, state string) {
		tamper(x.t, x.db, `INSERT INTO prm_delegations (id, partner_id, account_id, customer, user_id, roles, from_at, until_at, due_at, state, created_at)
			SELECT ?, partner_id, id, customer, ?, 'engineer', 1, ?, ?, ?, 1 FROM prm_accounts WHERE id = ?`, id, user, int64(1)<<60, int64(1)<<60, state, account)
	}
	for _, ctx := range actors {
		page, _ := x.reg.Access.Sessions(ctx, "", partner.PageRequest{})
		for _, s := range page.Items { // those in places of his are among them
			if strings.HasPrefix(s.Principal, "usr_") {
				x.people[ctx] = s.Principal
			}
		}
	}
	for _, account := range accounts {
		made := map[string]bool{} // a person may be there twice
		for ctx, user := range x.people {
			if made[user] {
				continue
			}
			made[user] = true
			insert(x.delegationTo(ctx, account), user, account, "approved")
		}
		insert(x.delegationTo(context.Background(), account), string(userOf(string(partner.Vendor))), account, "requested")
	}
}

func (x *explaining) version(table, id string) (n int64) {
	x.must(x.db.Raw("SELECT version FROM "+table+" WHERE id = ?", id).Scan(&n).Error)
	return n
}

// userOf is a user whom every organisation of the random world has.
func userOf(org string) partner.UserID { return partner.UserID("usr_of_" + org) }

func second[T any](_ T, err error) error { return err }

// unless forgives a call what comes behind the decision.
func unless(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return err
}

var askedActions = joined(askedOfPlaces, askedOfClosings, map[string]asked{
	"partner.create": {"partner?", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Partners.Create(ctx, x.prepared[target]))
	}},
	"partner.invite": {"partner?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		a := agreement("explained-invited")
		a.Password, a.Parent = "", partner.ID(target)
		return second(r.reg.Partners.Invite(ctx, a))
	}},
	"partner.list": {"partner?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Partners.List(ctx, partner.PartnerFilter{Under: partner.ID(target)}, partner.PageRequest{}))
	}},
	"partner.read": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Partners.Get(ctx, partner.ID(target)))
	}},
	"partner.edit": {"partner", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Partners.Edit(ctx, partner.ID(target), x.version("prm_partners", target), func(a *partner.Agreement) { a.Name = "X" }))
	}},
	"partner.move": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Partners.MoveUnder(ctx, partner.ID(target), "")
	}},
	"partner.block": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Partners.Block(ctx, partner.ID(target), true)
	}},
	"partner.export": {"partner?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Partners.Export(ctx, io.Discard, "csv", partner.PartnerFilter{Under: partner.ID(target)})
	}},
	"partner.archive": {"partner", func(x *explaining, r rooms, ctx context.Context, target string) error {
		err := r.reg.Partners.Archive(ctx, partner.ID(target))
		if rowsIn(x.t, x.db, "prm_accounts JOIN prm_partners p ON p.id = partner_id WHERE p.id = ? AND p.state = 'active' AND prm_accounts.state IN ('closing', 'deleting')", target) > 0 {
			return unless(err, partner.ErrBadTransition) // behind the decision
		}
		return err
	}},
	"partner.restore": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Partners.Restore(ctx, partner.ID(target))
	}},
	"partner.tombstone": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Partners.Tombstone(ctx, partner.ID(target))
	}},
	"partner.set_contact": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Partners.SetContact(ctx, partner.ID(target), userOf(target))
	}},
	"partner.set_logo": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Partners.SetLogo(ctx, partner.ID(target), "square", "", pngOf(64, 64))
	}},
	"partner.set_form": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return second(r.reg.Partners.SetForm(ctx, nil))
	}},
	"user.list": {"partner?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Users.List(ctx, partner.ID(target), partner.PageRequest{}))
	}},
	"user.read": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Users.Get(ctx, userOf(target)))
	}},
	"user.add": {"partner", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Users.Add(ctx, partner.ID(target), x.users[target]))
	}},
	"user.invite": {"partner", func(x *explaining, r rooms, ctx context.Context, target string) error {
		u := x.users[target]
		u.Login, u.Password, u.Key = "", "", ""
		return second(r.reg.Users.Add(ctx, partner.ID(target), u))
	}},
	"user.reinvite": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return unless(second(r.reg.Access.Reinvite(ctx, userOf(target))), partner.ErrBadTransition) // he has accepted long ago
	}},
	"user.reset": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Users.ResetPassword(ctx, userOf(target)))
	}},
	"user.reveal": {"partner", func(x *explaining, _ rooms, ctx context.Context, target string) error {
		return unless(second(x.reg.Users.RevealPassword(ctx, userOf(target))), partner.ErrNoKeyset)
	}},
	"user.link": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Users.Link(ctx, userOf(target), partner.Outside{Issuer: "https://id.example", Subject: target})
	}},
	"user.edit": {"partner", func(x *explaining, r rooms, ctx context.Context, target string) error {
		version := x.version("prm_users", string(userOf(target)))
		return second(r.reg.Users.Edit(ctx, userOf(target), version, func(u *partner.NewUser) { u.Name = "X" }))
	}},
	"user.disable": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Users.Disable(ctx, userOf(target))
	}},
	"user.remove": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Users.Remove(ctx, userOf(target))
	}},
	"user.sessions": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Access.LogoutAll(ctx, userOf(target))
	}},
	"project.open": {"partner?", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.OpenProject(ctx, x.projects[target]))
	}},
	"account.list": {"partner?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.List(ctx, partner.AccountFilter{Partner: partner.ID(target)}, partner.PageRequest{}))
	}},
	"account.read": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.Get(ctx, partner.AccountID(target)))
	}},
	"project.edit": {"account", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.EditProject(ctx, partner.AccountID(target), x.version("prm_accounts", target),
			func(p *partner.NewProject) { p.Company = "X" }))
	}},
	"project.password": {"account", func(x *explaining, _ rooms, ctx context.Context, target string) error {
		return x.reg.Accounts.SetProjectPassword(ctx, partner.AccountID(target), "short") // refused for its input, behind the decision
	}},
	"account.sessions": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Access.Sessions(ctx, target, partner.PageRequest{}))
	}},
	"account.suspend": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Accounts.Suspend(ctx, partner.AccountID(target))
	}},
	"account.resume": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Accounts.Resume(ctx, partner.AccountID(target))
	}},
	"access.session": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error { return r.reg.Access.Logout(ctx) }},
	"access.switch": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Access.SwitchTo(ctx, partner.AccountID(target))
	}},
	"access.act_for": {"account", func(x *explaining, _ rooms, ctx context.Context, target string) error {
		return second(x.reg.Access.ActFor(ctx, x.delegationTo(ctx, target)))
	}},
	"delegation.request": {"account", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Access.RequestDelegation(ctx, x.leave(partner.AccountID(target), dayLong)))
	}},
	"delegation.list": {"account?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Access.Delegations(ctx, partner.AccountID(target), partner.PageRequest{}))
	}},
	"delegation.decide": {"account", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Access.Decide(ctx, x.delegationTo(context.Background(), target), true)
	}},
	"delegation.revoke": {"account", func(x *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Access.Revoke(ctx, x.delegationTo(context.Background(), target)) // nobody's own
	}},
	"access.password": {"none", func(x *explaining, _ rooms, ctx context.Context, _ string) error {
		return x.reg.Access.ChangePassword(ctx, password, "short")
	}},
	"activity.read": {"both?", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		f := partner.EventFilter{Partner: partner.ID(target)}
		if strings.HasPrefix(target, "acc_") {
			f = partner.EventFilter{Account: partner.AccountID(target)}
		}
		return second(r.reg.Activity.List(ctx, f, partner.PageRequest{}))
	}},
	"activity.deliveries": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return second(r.reg.Activity.Deliveries(ctx, "", partner.PageRequest{}))
	}},
	"activity.retry": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return unless(r.reg.Activity.Retry(ctx, "dlv_nobody"), partner.ErrNotFound)
	}},
	"program.certify": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Program.Certify(ctx, partner.ID(target), partner.Certification{Programme: "gold", Reason: "exam passed"}))
	}},
	"program.read": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Program.Certifications(ctx, partner.ID(target), partner.PageRequest{}))
	}},
	"program.set_tier": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Program.SetTier(ctx, partner.ID(target), partner.Tier{Label: "gold", Reason: "sales"}))
	}},
	"program.tier": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Program.TierAt(ctx, partner.ID(target), time.Time{}))
	}},
	"program.certified": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return second(r.reg.Program.Certified(ctx, "prt_nobody", "", time.Time{}))
	}},
	"license.define": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return r.seats.Define(ctx, license.Type{SKU: "desk", Name: "Desk"})
	}},
	"license.types": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error { return second(r.seats.Types(ctx)) }},
	"license.grant": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.seats.Grant(ctx, partner.ID(target), "seat", 1))
	}},
	"license.revoke": {"both", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.seats.Revoke(ctx, partner.HolderOf(target), "seat", 1))
	}},
	"license.assign": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.seats.Assign(ctx, partner.AccountID(target), "seat", 1))
	}},
	"license.return": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return second(r.seats.Return(ctx, "seat", 1))
	}},
	"license.read": {"both", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.seats.Balance(ctx, partner.HolderOf(target), "seat"))
	}},
	"license.history": {"both", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.seats.History(ctx, partner.HolderOf(target), "seat", partner.PageRequest{}))
	}},
	"license.mine":   {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error { return second(r.seats.Mine(ctx)) }},
	"license.verify": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error { return second(r.seats.Verify(ctx)) }},
})

// refusedAccess tells whether err is about access: who may, what there is, and what its state allows. The licences of a pool that the
// session does not work in are not.
func refusedAccess(err error) bool {
	for _, access := range []error{partner.ErrForbidden, partner.ErrNotFound, partner.ErrBadTransition} {
		if errors.Is(err, access) {
			return true
		}
	}
	return false
}

// TestBEY02_ExplainEqualsDecision asks Explain and then the real call, for every action, actor and target of random worlds.
func TestBEY02_ExplainEqualsDecision(t *testing.T) {
	seeds := uint64(2)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		atOnce(t, func(w *world) {
			x := &explaining{w, map[string]partner.Agreement{}, map[string]partner.NewProject{}, map[string]partner.NewUser{}, map[context.Context]string{}}
			actors, partners, accounts := x.randomWorld(rand.New(rand.NewPCG(seed, 5)))
			for action, a := range askedActions {
				for _, target := range targetsOf(a.targets, partners, accounts) {
					for who, ctx := range actors {
						x.compare(who, ctx, action, target, a)
					}
				}
			}
		})
	}
}

func targetsOf(kind string, partners, accounts []string) (list []string) {
	name, optional := strings.CutSuffix(kind, "?")
	switch name {
	case "none":
		return []string{""}
	}
	if optional {
		list = append(list, "")
	}
	if name != "account" {
		list = append(append(list, partners...), string(partner.Vendor), "prt_nobody")
	}
	if name != "partner" {
		list = append(append(list, accounts...), "acc_nobody")
	}
	return list
}

func (x *explaining) compare(who string, ctx context.Context, action, target string, a asked) {
	x.t.Helper()
	dec, err := x.reg.Access.Explain(ctx, action, target)
	x.must(err)
	if may := x.may(ctx, action, target); dec.Allowed != (may == nil) {
		x.t.Errorf("%s on %q by %s: Explain says %v %v, a View %v", action, target, who, dec.Allowed, dec.Reasons, may)
	}
	var answer error
	if alone(action) {
		answer = a.call(x, rooms{}, ctx, target)
	} else if err := x.inHost(errRollBack, func(_ *gorm.DB, r rooms) error { answer = a.call(x, r, ctx, target); return nil }); !errors.Is(err, errRollBack) {
		x.t.Fatal(err)
	}
	if answer != nil && len(kindsOf(answer)) != 1 {
		x.t.Errorf("%v is of the kinds %v", answer, kindsOf(answer))
	}
	if len(dec.Reasons) == 0 || dec.Allowed == refusedAccess(answer) {
		x.t.Errorf("%s on %q by %s: Explain says %v %v, the call answered %v", action, target, who, dec.Allowed, dec.Reasons, answer)
	}
}

// may is what a View says, or that there is none.
func (x *explaining) may(ctx context.Context, action, target string) error {
	v, err := x.reg.Access.View(ctx)
	if err != nil {
		return err
	}
	return v.May(context.Background(), action, target)
}

// randomWorld makes a tree of partners with projects, logs everybody in, and then does things to some of them.
func (x *explaining) randomWorld(r *rand.Rand) (actors map[string]context.Context, partners, accounts []string) {
	actors = map[string]context.Context{"the host": x.vendor}
	x.must(x.seats.Define(x.vendor, license.Type{SKU: "seat", Name: "Seat"}))
	for i := range 4 { // what is asked grows by its square
		login := fmt.Sprintf("p%d", i)
		p, me := x.partner(login, func(a *partner.Agreement) {
			a.ManagesSubPartners = r.IntN(2) == 0
			if i > 0 && r.IntN(4) > 0 {
				a.Parent = partner.ID(partners[r.IntN(len(partners))])
			}
		})
		actors[login], partners = me, append(partners, string(p.ID))
		x.addUser(p.ID, "usr_of_"+string(p.ID)) // for set_contact; the first one may be disabled
		a := x.his(me, login+"-project")
		actors[a.Project.Login], accounts = x.login(a.Project.Login), append(accounts, string(a.ID))
		x.member(actors, r, p.ID, a.ID)
		if i%2 == 0 {
			x.must(second(x.seats.Grant(x.vendor, p.ID, "seat", 5)))
			x.must(x.reg.Access.SwitchTo(me, a.ID))
		}
	}
	actors["a logged out"] = x.login("p0")
	x.must(x.reg.Access.Logout(actors["a logged out"]))
	for _, parent := range append(slices.Clone(partners), "", string(partner.Vendor), "prt_nobody") {
		a, p := agreement("explained-new"), newProject("explained-project")
		a.Parent, p.Partner, p.Password = partner.ID(parent), partner.ID(parent), "" // it needs no preparing, which not all of them may
		var err error
		x.prepared[parent], err = x.reg.Partners.Prepare(x.vendor, a)
		x.must(err)
		x.projects[parent] = p
	}
	x.staff(actors, partners)
	accounts = x.places(actors, partners, accounts)
	x.delegate(actors, accounts)
	actors["the customer"], actors["another customer"] = customers(), partner.AsCustomer(context.Background(), "cus_other", "x")
	for i, login := range []string{"p0", "p3"} {
		actors["a guest from "+login] = x.guest(actors[login], x.delegationTo(actors[login], accounts[i*3]))
	}
	x.disturb(r, partners, accounts)
	return actors, partners, accounts
}

// member adds one with some rights, who may be limited to a project.
func (x *explaining) member(actors map[string]context.Context, r *rand.Rand, org partner.ID, project partner.AccountID) {
	u := newUser("member-of-" + string(org))
	for _, right := range everyRight {
		if r.IntN(2) == 0 {
			u.Rights = append(u.Rights, right)
		}
	}
	if r.IntN(2) == 0 {
		u.Scope.Accounts = []partner.AccountID{project}
	}
	x.must(second(x.reg.Users.Add(x.vendor, org, u)))
	me := x.login(u.Login)
	actors[fmt.Sprintf("%s with %v in %v", u.Login, u.Rights, u.Scope)] = me
	if r.IntN(2) == 0 && slices.Contains(u.Rights, partner.Projects) {
		x.must(x.reg.Access.SwitchTo(me, project))
	}
}

// staff adds one of the vendor's users of each role, and prepares users to add.
func (x *explaining) staff(actors map[string]context.Context, partners []string) {
	x.addUser(partner.Vendor, string(userOf(string(partner.Vendor))))
	for _, role := range []partner.Role{partner.Admin, partner.Reviewer, partner.Finance, partner.Support} {
		u := newUser("vendor-" + string(role))
		u.Role = role
		x.must(second(x.reg.Users.Add(x.vendor, partner.Vendor, u)))
		actors["the vendor's "+string(role)] = x.login(u.Login)
	}
	for _, org := range append(slices.Clone(partners), string(partner.Vendor)) {
		u := newUser("explained-user")
		if org == string(partner.Vendor) {
			u.Role = partner.Support
		}
		ready, err := x.reg.Users.Prepare(x.vendor, partner.ID(org), u)
		x.must(err)
		x.users[org] = ready
	}
}

func (x *explaining) disturb(r *rand.Rand, partners, accounts []string) {
	one := func(list []string) string { return list[r.IntN(len(list))] }
	x.must(x.reg.Partners.Block(x.vendor, partner.ID(one(partners)), r.IntN(2) == 0))
	x.must(x.reg.Partners.BlockUsers(x.vendor, partner.ID(one(partners)), r.IntN(2) == 0))
	dead := partner.ID(one(partners))
	x.must(x.reg.Partners.Block(x.vendor, dead, false))
	x.must(x.reg.Partners.Unblock(x.vendor, dead))
	x.must(x.reg.Accounts.Suspend(x.vendor, partner.AccountID(accounts[0])))
	for _, change := range []string{"state = 'archived'", "state = 'pending'", "operate = FALSE"} {
		tamper(x.t, x.db, "UPDATE prm_partners SET "+change+" WHERE id = ?", one(partners))
	}
	for state, bits := range map[string]int{"closing": 4, "deleting": 12, "deleted": 0} {
		if r.IntN(2) == 0 {
			tamper(x.t, x.db, "UPDATE prm_accounts SET state = ?, blocks = ?, epoch = epoch + 1 WHERE id = ?", state, bits, accounts[1+r.IntN(len(accounts)-1)])
		}
	}
	tamper(x.t, x.db, "UPDATE prm_users SET disabled = TRUE WHERE partner_id = ? AND id NOT LIKE 'usr_of%'", one(partners))
	x.closings(partners)
}

// TestBEY02_EveryActionIsTold: Explain knows the actions of the test above and no other word.
func TestBEY02_EveryActionIsTold(t *testing.T) {
	each(t, func(w *world) {
		for _, action := range slices.Sorted(maps.Keys(askedActions)) {
			if _, err := w.reg.Access.Explain(w.vendor, action, ""); err != nil {
				w.t.Errorf("%s: %v", action, err)
			}
		}
		for _, action := range []string{"", "partner", "partner.delete", "PARTNER.READ", "\x00"} {
			_, err := w.reg.Access.Explain(w.vendor, action, "")
			wants(w.t, "action "+action, err, partner.ErrUnknownCode)
		}
		for what, ctx := range map[string]context.Context{"nobody": context.Background(),
			"a host without a name": partner.AsVendor(context.Background(), " "),
			"an empty session":      partner.WithSession(context.Background(), partner.Session{})} {
			_, err := w.reg.Access.Explain(ctx, "partner.list", "")
			wants(w.t, what, err, partner.ErrForbidden)
			_, err = w.reg.Partners.List(ctx, partner.PartnerFilter{}, partner.PageRequest{})
			wants(w.t, what, err, partner.ErrForbidden)
		}
	})
}

// TestBEY02_AnIDOfAnotherKindIsNotFound gives verbs ids that name nothing of their kind: a partner's for an account, words, bytes that no
// id has.
func TestBEY02_AnIDOfAnotherKindIsNotFound(t *testing.T) {
	each(t, func(w *world) {
		p, me, a := w.supplied(10)
		for _, switched := range []bool{false, true} {
			if switched {
				w.must(w.reg.Access.SwitchTo(me, a.ID))
			}
			before := dump(w.t, w.db)
			for _, id := range []partner.AccountID{partner.AccountID(p.ID), "active", "none", "x", "acc_\x00", "\xff"} {
				verbs, members := joined(w.accountVerbs(me, id), w.placeVerbs(me, id)), w.memberVerbs(me, partner.MemberID(id))
				if id == partner.AccountID(p.ID) { // as a holder it is the pool, and as a principal one without sessions
					delete(verbs, "Balance")
					delete(verbs, "Sessions")
					delete(members, "Sessions")
				}
				w.allNotFound(fmt.Sprintf("%q, switched %v", string(id), switched), verbs)
				w.allNotFound(fmt.Sprintf("the member %q, switched %v", string(id), switched), members)
			}
			for _, id := range []partner.ID{partner.ID(a.ID), "active", "none", "prt_\x00", "\xff"} {
				w.allNotFound(fmt.Sprintf("%q, switched %v", string(id), switched), w.partnerVerbs(me, id, p.Contact))
			}
			if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
				w.t.Errorf("ids of nothing, switched %v, changed %v", switched, left)
			}
		}
	})
}

func (w *world) allNotFound(what string, verbs map[string]func() error) {
	w.t.Helper()
	for _, verb := range slices.Sorted(maps.Keys(verbs)) {
		if err := calm(verbs[verb]); !errors.Is(err, partner.ErrNotFound) {
			w.t.Errorf("%s of %s: %v, want not found", verb, what, err)
		}
	}
}

// calm turns a panic into an error.
func calm(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}

func (w *world) accountVerbs(me context.Context, id partner.AccountID) map[string]func() error {
	return map[string]func() error{
		"Get":          func() error { return second(w.reg.Accounts.Get(me, id)) },
		"PreviewClose": func() error { return second(w.reg.Accounts.PreviewClose(me, id)) },
		"Close":        func() error { return second(w.reg.Accounts.Close(me, id)) },
		"SwitchTo":     func() error { return w.reg.Access.SwitchTo(me, id) },
		"EditProject": func() error {
			return second(w.reg.Accounts.EditProject(me, id, 1, func(p *partner.NewProject) { p.Company = "X" }))
		},
		"SetProjectPassword": func() error { return w.reg.Accounts.SetProjectPassword(me, id, "another password") },
		"Suspend":            func() error { return w.reg.Accounts.Suspend(w.vendor, id) },
		"Assign":             func() error { return second(w.seats.Assign(me, id, "seat", 1)) },
		"Balance":            func() error { return second(w.seats.Balance(me, id, "seat")) },
		"Activity.List": func() error {
			return second(w.reg.Activity.List(me, partner.EventFilter{Account: id}, partner.PageRequest{}))
		},
		"Activity.Export": func() error { return w.reg.Activity.Export(me, io.Discard, "json", partner.EventFilter{Account: id}) },
	}
}

func (w *world) partnerVerbs(me context.Context, id partner.ID, contact partner.UserID) map[string]func() error {
	return map[string]func() error{
		"Get": func() error { return second(w.reg.Partners.Get(me, id)) },
		"Edit": func() error {
			return second(w.reg.Partners.Edit(me, id, 1, func(a *partner.Agreement) { a.Name = "X" }))
		},
		"Block":     func() error { return w.reg.Partners.Block(w.vendor, id, false) },
		"Archive":   func() error { return w.reg.Partners.Archive(w.vendor, id) },
		"Restore":   func() error { return w.reg.Partners.Restore(w.vendor, id) },
		"Tombstone": func() error { return w.reg.Partners.Tombstone(w.vendor, id) },
		"Export": func() error {
			return w.reg.Partners.Export(me, io.Discard, "csv", partner.PartnerFilter{Under: id})
		},
		"MoveUnder":  func() error { return w.reg.Partners.MoveUnder(w.vendor, id, "") },
		"SetContact": func() error { return w.reg.Partners.SetContact(me, id, contact) },
		"SetLogo":    func() error { return w.reg.Partners.SetLogo(me, id, "square", "", pngOf(64, 64)) },
		"Certify": func() error {
			return second(w.reg.Program.Certify(w.vendor, id, partner.Certification{Programme: "gold", Reason: "exam passed"}))
		},
		"Revoke":         func() error { return second(w.reg.Program.Revoke(w.vendor, string(id), "cheated")) },
		"Certifications": func() error { return second(w.reg.Program.Certifications(me, id, partner.PageRequest{})) },
		"Logo": func() error {
			_, _, err := w.reg.Partners.Logo(me, id, "square")
			return err
		},
		"Grant": func() error { return second(w.seats.Grant(w.vendor, id, "seat", 1)) },
		"List": func() error {
			return second(w.reg.Partners.List(me, partner.PartnerFilter{Under: id}, partner.PageRequest{}))
		},
		"Accounts.List": func() error {
			return second(w.reg.Accounts.List(me, partner.AccountFilter{Partner: id}, partner.PageRequest{}))
		},
		"OpenProject": func() error {
			p := newProject("of-nobody")
			p.Partner = id
			return second(w.reg.Accounts.OpenProject(me, p))
		},
		"Create": func() error {
			a := agreement("of-nobody")
			a.Parent = id
			return second(w.reg.Partners.Create(w.vendor, a))
		},
	}
}
