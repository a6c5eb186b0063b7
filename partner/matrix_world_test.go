package partner_test

import (
	"strings"

	"github.com/partnerkit/partnerkit/partner"
)

// matrixWorld has an organisation that manages one below it, one that does not, and another; and an actor of every kind.
func (w *world) matrixWorld() (matrixActors, map[string]string) {
	w.t.Helper()
	own, admin := w.partner("own")
	project := w.his(admin, "own-project")
	elsewhere := w.project(admin, "own-elsewhere")
	below, boss := w.partner("below", under(own.ID))
	other, stranger := w.partner("other")
	targets := map[string]string{"none": "", "own": string(own.ID), "below": string(below.ID), "other": string(other.ID), "vendor": string(partner.Vendor),
		"project": string(project.ID), "elsewhere": string(elsewhere.ID), "below-project": string(w.project(boss, "below-project").ID),
		"other-project": string(w.project(stranger, "other-project").ID)}
	actors := matrixActors{}
	actors.add("host", w.vendor)
	for name, role := range map[string]partner.Role{"vendor-admin": partner.Admin, "reviewer": partner.Reviewer, "finance": partner.Finance, "support": partner.Support} {
		actors.add(name, w.user(partner.Vendor, name, func(u *partner.NewUser) { u.Role = role }))
	}
	actors.add("none", w.user(own.ID, "nothing"), "members")
	for _, right := range everyRight {
		actors.add(string(right), w.user(own.ID, "with-"+strings.ReplaceAll(string(right), "_", "-"), func(u *partner.NewUser) { u.Rights = []partner.Right{right} }), "members")
	}
	actors.add("everything", w.user(own.ID, "everything", func(u *partner.NewUser) { u.Rights = everyRight }), "members", "projects", "licenses")
	actors.add("scoped", w.user(own.ID, "scoped", func(u *partner.NewUser) {
		u.Rights, u.Scope.Accounts = everyRight, []partner.AccountID{project.ID}
	}))
	actors.add("project", w.login("own-project"))
	actors.add("guest", w.guest(admin, w.delegated(admin, project.ID, dayLong).ID))
	actors.add("customer", customers())
	// Both admins, once their organisation manages those below; one of them owns its projects.
	actors.add("founder", w.login("own"), "manager")
	actors.add("manager", w.user(own.ID, "deputy", func(u *partner.NewUser) { u.Role = partner.Admin }))
	targets["solution"], targets["standard"] = w.inPlaces(actors, own.ID, other.ID, project.ID)
	own = w.edit(own, func(a *partner.Agreement) { a.ManagesSubPartners = true })
	return actors, targets
}

// inPlaces adds a member who owns an account of the type solution, and those who work in a place: he acts there as a special employee, and others are
// members of the project and of an account of the type standard. It returns both accounts.
func (w *world) inPlaces(actors matrixActors, own, other partner.ID, project partner.AccountID) (solution, standard string) {
	w.t.Helper()
	w.certify(own, "gold", partner.Period{})
	owner, founder := w.user(own, "owner"), actors["founder"].ctx
	actors.add("owner", owner, "members")
	proving := w.solution(owner, "Solution").ID
	actors.add("acting", w.acting(owner, w.special(owner, proving, "Nobody").ID))
	helper := w.user(other, "helper", func(u *partner.NewUser) { u.Role = partner.Admin })
	m, _ := w.moved(founder, project, partner.Collaborator, "helper@user.example", "integrator")
	actors.add("collaborator", w.working(helper, m.ID))
	for role, words := range map[string][]string{"viewer": nil, "contributor": nil, "administrator": {"guest-contributor"}} {
		_, in := w.moved(founder, project, partner.Guest, role+"@guest.example", role)
		actors.add("guest-"+role, in, words...)
	}
	office := w.account(founder, "standard", "Office")
	for _, kind := range []partner.MemberKind{partner.Employee, partner.External} {
		_, in := w.moved(founder, office.ID, kind, string(kind)+"@guest.example", "clerk")
		actors.add(string(kind), in)
	}
	return string(proving), string(office.ID)
}
