package partner_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// everyRight is what a member can have.
var everyRight = []partner.Right{partner.Projects, partner.Licenses, partner.Solutions, partner.Orders, partner.Margin, partner.ViewCustomers,
	partner.ViewInvoices, partner.ManageSubscriptions}

// matrix is who may do what: for each action and each kind of target, the kinds of actors that may, by the words of matrixActors. Whoever adds
// an action to the policy adds its rows here; the test finds those that are missing.
var matrix = map[string]map[string]string{
	"partner.create":        {"none": "host vendor-admin", "own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"partner.invite":        {"none": "host vendor-admin", "own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"partner.list":          {"none": staffed + " admin manager", "own": staffed + " admin manager", "below": staffed + " admin manager", "other": staffed, "vendor": staffed},
	"partner.read":          {"own": staffed + " admin manager members scoped", "below": staffed + " admin manager", "other": staffed, "vendor": staffed},
	"partner.edit":          {"own": "host vendor-admin admin manager", "below": "host vendor-admin manager", "other": "host vendor-admin"},
	"partner.move":          {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"partner.block":         {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"partner.export":        {"none": "host vendor-admin support admin manager", "own": "host vendor-admin support admin manager", "below": "host vendor-admin support admin manager", "other": "host vendor-admin support", "vendor": "host vendor-admin support"},
	"partner.archive":       {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"partner.restore":       {}, // none of the partners is archived; see the end of the test
	"partner.tombstone":     {},
	"partner.set_contact":   {"own": "host vendor-admin admin manager", "below": "host vendor-admin manager", "other": "host vendor-admin", "vendor": "host vendor-admin"},
	"partner.set_logo":      {"own": "host vendor-admin admin manager", "below": "host vendor-admin manager", "other": "host vendor-admin", "vendor": "host vendor-admin"},
	"partner.set_form":      {"none": "host vendor-admin"},
	"user.list":             {"none": "host vendor-admin support admin manager", "own": "host vendor-admin support admin manager", "below": "host vendor-admin support manager", "other": "host vendor-admin support", "vendor": "host vendor-admin support"},
	"user.read":             {"own": "host vendor-admin support admin manager", "below": "host vendor-admin support manager", "other": "host vendor-admin support", "vendor": "host vendor-admin support"},
	"user.add":              {"own": "host vendor-admin admin manager", "below": "host vendor-admin", "other": "host vendor-admin", "vendor": "host vendor-admin"},
	"user.invite":           {"own": "host vendor-admin admin manager", "below": "host vendor-admin manager", "other": "host vendor-admin", "vendor": "host vendor-admin"},
	"user.reinvite":         {"own": "host vendor-admin admin manager", "below": "host vendor-admin manager", "other": "host vendor-admin", "vendor": "host vendor-admin"},
	"user.reset":            {"own": "host vendor-admin support admin manager", "below": "host vendor-admin support manager", "other": "host vendor-admin support", "vendor": "host vendor-admin support"},
	"user.reveal":           {"own": "admin manager"},
	"user.link":             {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin", "vendor": "host vendor-admin"},
	"user.edit":             {"own": "host vendor-admin admin manager", "below": "host vendor-admin manager", "other": "host vendor-admin", "vendor": "host vendor-admin"},
	"user.disable":          {"own": "host vendor-admin support admin manager", "below": "host vendor-admin support manager", "other": "host vendor-admin support", "vendor": "host vendor-admin support"},
	"user.remove":           {"own": "host vendor-admin admin manager", "below": "host vendor-admin manager", "other": "host vendor-admin", "vendor": "host vendor-admin"},
	"user.sessions":         {"own": "host vendor-admin support admin manager", "below": "host vendor-admin support manager", "other": "host vendor-admin support", "vendor": "host vendor-admin support"},
	"project.open":          {"none": "admin manager projects", "own": "admin manager projects", "below": "manager"},
	"account.open":          {"none": "host vendor-admin admin manager", "own": "host vendor-admin admin manager", "below": "host vendor-admin manager", "other": "host vendor-admin"},
	"account.open_own":      {"none": "admin manager members", "own": "admin manager members"}, // nobody opens one for a user of another organisation
	"account.mail_open":     {"none": "host vendor-admin"},
	"account.edit":          {"project": "host vendor-admin admin manager", "elsewhere": "host vendor-admin admin manager", "solution": "host vendor-admin admin manager owner", "below-project": "host vendor-admin manager", "other-project": "host vendor-admin", "standard": "host vendor-admin admin manager"},
	"account.transfer":      {"project": "host vendor-admin admin manager", "elsewhere": "host vendor-admin admin manager", "solution": "host vendor-admin admin manager owner", "below-project": "host vendor-admin manager", "other-project": "host vendor-admin", "standard": "host vendor-admin admin manager"},
	"account.misuse":        {"project": "host vendor-admin", "elsewhere": "host vendor-admin", "solution": "host vendor-admin", "below-project": "host vendor-admin", "other-project": "host vendor-admin", "standard": "host vendor-admin"},
	"account.types":         {"none": staffed + " admin manager members scoped project " + inside},
	"account.define_type":   {"none": "host vendor-admin"},
	"member.list":           {"project": "host vendor-admin support admin manager members scoped project", "elsewhere": "host vendor-admin support admin manager members", "solution": "host vendor-admin support admin manager members", "below-project": "host vendor-admin support manager", "other-project": "host vendor-admin support", "standard": "host vendor-admin support admin manager members"},
	"member.add":            {"project": "founder", "elsewhere": "founder", "solution": "owner", "standard": "founder"},
	"member.edit":           {"project": "founder", "elsewhere": "founder", "solution": "owner", "standard": "founder"},
	"access.act_as":         {"project": "founder", "elsewhere": "founder", "solution": "owner", "standard": "founder"},
	"account.list":          {"none": staffed + " admin manager members scoped project " + inside, "own": staffed + " admin manager members scoped", "below": staffed + " manager", "other": staffed, "vendor": staffed},
	"account.read":          {"project": staffed + " admin manager members scoped project guest collaborator guest-viewer guest-contributor", "elsewhere": staffed + " admin manager members", "below-project": staffed + " manager", "other-project": staffed, "solution": staffed + " admin manager members acting", "standard": staffed + " admin manager members employee external"},
	"project.edit":          {"project": "admin manager projects scoped", "elsewhere": "admin manager projects", "below-project": "manager"},
	"project.password":      {"project": "admin manager projects scoped", "elsewhere": "admin manager projects"},
	"account.sessions":      {"project": "host vendor-admin support admin manager projects scoped project", "elsewhere": "host vendor-admin support admin manager projects", "below-project": "host vendor-admin support manager", "other-project": "host vendor-admin support", "solution": "host vendor-admin support admin manager projects owner", "standard": "host vendor-admin support admin manager projects"},
	"account.close":         {"project": "admin manager projects scoped", "elsewhere": "admin manager projects", "below-project": "manager", "solution": "owner", "standard": "admin manager projects"},
	"account.cancel_close":  {}, // none of the accounts is closing; see the end of the test
	"account.remind_close":  {},
	"account.confirm_close": {},
	"account.closings":      {"none": "host vendor-admin support admin manager members scoped"},
	"account.receipt":       {"own": "host vendor-admin support admin manager members", "below": "host vendor-admin support manager", "other": "host vendor-admin support", "vendor": "host vendor-admin support"},
	"account.retire_eraser": {"none": "host vendor-admin"},
	"account.touch":         {"project": "host vendor-admin admin manager members scoped project guest collaborator guest-viewer guest-contributor", "elsewhere": "host vendor-admin admin manager members", "below-project": "host vendor-admin manager", "other-project": "host vendor-admin", "solution": "host vendor-admin admin manager members acting", "standard": "host vendor-admin admin manager members employee external"},
	"account.suspend":       {"project": "host vendor-admin", "elsewhere": "host vendor-admin", "below-project": "host vendor-admin", "other-project": "host vendor-admin", "solution": "host vendor-admin", "standard": "host vendor-admin"},
	"account.resume":        {}, // none of the projects is suspended; see the end of the test
	"access.session":        {"none": "vendor-admin reviewer finance support admin manager members scoped project " + inside},
	"access.act_for":        {"project": "admin manager members scoped", "elsewhere": "admin manager members", "below-project": "manager", "standard": "admin manager members"},
	"delegation.request":    {"project": "admin manager members scoped", "elsewhere": "admin manager members", "below-project": "manager", "standard": "admin manager members"},
	"delegation.list":       {"none": "host vendor-admin support admin manager members scoped project customer", "project": "host vendor-admin support admin manager members scoped project customer", "elsewhere": "host vendor-admin support admin manager members", "below-project": "host vendor-admin support manager", "other-project": "host vendor-admin support", "solution": "host vendor-admin support admin manager members", "standard": "host vendor-admin support admin manager members"},
	"delegation.decide":     {"project": "customer"},
	"delegation.revoke":     {"project": "host vendor-admin support admin manager customer", "elsewhere": "host vendor-admin support admin manager", "below-project": "host vendor-admin support manager", "other-project": "host vendor-admin support", "solution": "host vendor-admin support admin manager", "standard": "host vendor-admin support admin manager"},
	"access.switch":         {"project": "admin manager members scoped", "elsewhere": "admin manager members", "below-project": "manager", "standard": "admin manager members"},
	"access.password":       {"none": "vendor-admin reviewer finance support admin manager members scoped project " + placed},
	"activity.read":         {"none": "host vendor-admin support admin manager project", "own": "host vendor-admin support admin manager", "below": "host vendor-admin support manager", "other": "host vendor-admin support", "vendor": "host vendor-admin support", "project": "host vendor-admin support admin manager project", "elsewhere": "host vendor-admin support admin manager", "below-project": "host vendor-admin support manager", "other-project": "host vendor-admin support", "solution": "host vendor-admin support admin manager", "standard": "host vendor-admin support admin manager"},
	"activity.deliveries":   {"none": "host vendor-admin"},
	"activity.retry":        {"none": "host vendor-admin"},
	"program.certify":       {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"program.read":          {"own": staffed + " admin manager", "below": staffed + " manager", "other": staffed, "vendor": staffed},
	"program.set_tier":      {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"program.tier":          {"own": staffed + " admin manager members scoped", "below": staffed + " manager", "other": staffed, "vendor": staffed},
	"program.certified":     {"none": staffed + " admin manager members scoped project " + inside},
	"license.define":        {"none": "host vendor-admin"},
	"license.types":         {"none": staffed + " admin manager members scoped project " + inside},
	"license.find":          {"none": staffed + " admin manager members scoped project " + inside},
	"license.grant":         {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"license.revoke":        {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin", "vendor": "host vendor-admin", "project": "host vendor-admin", "elsewhere": "host vendor-admin", "below-project": "host vendor-admin", "other-project": "host vendor-admin", "solution": "host vendor-admin", "standard": "host vendor-admin"},
	"license.assign":        {"project": "admin manager licenses scoped", "elsewhere": "admin manager licenses", "below-project": "manager", "standard": "admin manager licenses"},
	"license.return":        {"none": "admin manager licenses scoped"},
	"license.ask":           {"none": "admin manager licenses"},
	"license.requests":      {"none": "host vendor-admin admin manager licenses"},
	"license.decide":        {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin"},
	"license.cap":           {"project": "host vendor-admin", "elsewhere": "host vendor-admin", "below-project": "host vendor-admin", "other-project": "host vendor-admin", "solution": "host vendor-admin", "standard": "host vendor-admin"},
	"license.correct":       {"own": "host vendor-admin", "below": "host vendor-admin", "other": "host vendor-admin", "vendor": "host vendor-admin", "project": "host vendor-admin", "elsewhere": "host vendor-admin", "below-project": "host vendor-admin", "other-project": "host vendor-admin", "solution": "host vendor-admin", "standard": "host vendor-admin"},
	"license.use":           {"project": "admin manager licenses scoped project guest-contributor", "elsewhere": "admin manager licenses", "below-project": "manager", "standard": "admin manager licenses employee"},
	"license.shrink":        {"project": "admin manager licenses scoped", "elsewhere": "admin manager licenses", "below-project": "manager", "standard": "admin manager licenses"},
	"license.read":          {"own": "host vendor-admin admin manager licenses scoped", "below": "host vendor-admin manager", "other": "host vendor-admin", "vendor": "host vendor-admin", "project": "host vendor-admin admin manager members scoped project guest collaborator guest-viewer guest-contributor", "elsewhere": "host vendor-admin admin manager members", "below-project": "host vendor-admin manager", "other-project": "host vendor-admin", "solution": "host vendor-admin admin manager members acting", "standard": "host vendor-admin admin manager members employee external"},
	"license.history":       {"own": "host vendor-admin admin manager licenses", "below": "host vendor-admin manager", "other": "host vendor-admin", "vendor": "host vendor-admin", "project": "host vendor-admin admin manager licenses", "elsewhere": "host vendor-admin admin manager licenses", "below-project": "host vendor-admin manager", "other-project": "host vendor-admin", "solution": "host vendor-admin admin manager licenses", "standard": "host vendor-admin admin manager licenses"},
	"license.mine":          {"none": "admin manager licenses scoped project"},
	"license.verify":        {"none": "host vendor-admin"},
	"license.step":          {"none": "host vendor-admin"},
}

const (
	staffed = "host vendor-admin reviewer finance support"
	placed  = "collaborator guest-viewer guest-contributor employee external" // who work in a place of theirs
	inside  = "guest acting " + placed                                        // and on another's behalf
)

// matrixActors are the actors by the words of the matrix that are for them.
type matrixActors map[string]struct {
	ctx   context.Context
	words []string
}

func (m matrixActors) add(name string, ctx context.Context, words ...string) {
	m[name] = struct {
		ctx   context.Context
		words []string
	}{ctx, append(words, name)}
}

// TestAT21_WhoMayDoWhat asks about every action of every kind of actor on every kind of target.
func TestAT21_WhoMayDoWhat(t *testing.T) {
	each(t, func(w *world) {
		actors, targets := w.matrixWorld()
		actions := slices.Sorted(maps.Keys(matrix))
		for _, action := range actions {
			for _, target := range slices.Sorted(maps.Keys(targets)) {
				if _, none := matrix[action]["none"]; none && len(matrix[action]) == 1 && target != "none" {
					continue // it is done to nothing
				}
				may := strings.Fields(matrix[action][target])
				for name, a := range actors {
					want := slices.ContainsFunc(a.words, func(word string) bool { return slices.Contains(may, word) })
					dec, err := w.reg.Access.Explain(a.ctx, action, targets[target])
					w.must(err)
					if dec.Allowed != want {
						w.t.Errorf("%s on %s by %s: %v, want %v: %v", action, target, name, dec.Allowed, want, dec.Reasons)
					}
				}
			}
		}
		w.must(w.reg.Accounts.Suspend(w.vendor, partner.AccountID(targets["project"])))
		for name, a := range actors {
			dec, err := w.reg.Access.Explain(a.ctx, "account.resume", targets["project"])
			w.must(err)
			if want := name == "host" || name == "vendor-admin"; dec.Allowed != want {
				w.t.Errorf("account.resume by %s: %v, want %v: %v", name, dec.Allowed, want, dec.Reasons)
			}
		}
		w.matrixOfClosing(actors, targets)
		w.must(w.reg.Partners.Archive(w.vendor, partner.ID(targets["other"])))
		for name, a := range actors {
			for action, may := range map[string]bool{"partner.archive": false, "partner.restore": true, "partner.tombstone": true} {
				dec, err := w.reg.Access.Explain(a.ctx, action, targets["other"])
				w.must(err)
				if want := may && (name == "host" || name == "vendor-admin"); dec.Allowed != want {
					w.t.Errorf("%s of an archived partner by %s: %v, want %v: %v", action, name, dec.Allowed, want, dec.Reasons)
				}
			}
		}
	})
}

// matrixOfClosing asks about what is done to an account that is closing: whoever may close it may save it, and the vendor.
func (w *world) matrixOfClosing(actors matrixActors, targets map[string]string) {
	w.t.Helper()
	for _, target := range []string{"project", "elsewhere", "below-project", "solution", "standard"} {
		tamper(w.t, w.db, "UPDATE prm_accounts SET state = 'closing' WHERE id = ?", targets[target])
		for action, extra := range map[string]string{"account.cancel_close": "host vendor-admin", "account.remind_close": "host vendor-admin", "account.confirm_close": "host vendor-admin"} {
			may := strings.Fields(extra)
			if action != "account.confirm_close" {
				may = append(may, strings.Fields(matrix["account.close"][target])...)
			}
			for name, a := range actors {
				want := slices.ContainsFunc(a.words, func(word string) bool { return slices.Contains(may, word) })
				dec, err := w.reg.Access.Explain(a.ctx, action, targets[target])
				w.must(err)
				if dec.Allowed != want {
					w.t.Errorf("%s on %s by %s: %v, want %v: %v", action, target, name, dec.Allowed, want, dec.Reasons)
				}
			}
		}
	}
}

// TestAT21_TheMatrixIsWhole: every action that Explain knows, and no other.
func TestAT21_TheMatrixIsWhole(t *testing.T) {
	told := slices.Sorted(maps.Keys(askedActions))
	for _, later := range []string{"license.ask", "license.requests", "license.decide", "license.cap", "license.correct", "license.use", "license.shrink", "license.find", "license.step"} {
		if !slices.Contains(told, later) {
			told = append(told, later) // whose calls are tested where they live
		}
	}
	slices.Sort(told)
	if rows := slices.Sorted(maps.Keys(matrix)); !slices.Equal(rows, told) {
		t.Errorf("the matrix has %v, Explain knows %v", rows, told)
	}
}

// TestAT21_ReadingBelowWithoutManaging: an admin sees that there are organisations below his, and nothing of theirs.
func TestAT21_ReadingBelowWithoutManaging(t *testing.T) {
	each(t, func(w *world) {
		own, admin := w.partner("own")
		below, boss := w.partner("below", under(own.ID))
		project := w.project(boss, "below-project")
		member := w.user(own.ID, "member", func(u *partner.NewUser) { u.Rights = everyRight })
		for action := range matrix {
			for _, target := range []string{string(below.ID), string(project.ID)} {
				dec, err := w.reg.Access.Explain(admin, action, target)
				w.must(err)
				want := target == string(below.ID) && (action == "partner.list" || action == "partner.read" || action == "partner.export")
				if dec.Allowed != want {
					w.t.Errorf("%s of what is below by an admin: %v %v", action, dec.Allowed, dec.Reasons)
				}
				if dec, err = w.reg.Access.Explain(member, action, target); err != nil || dec.Allowed {
					w.t.Errorf("%s of what is below by a member: %v %v (%v)", action, dec.Allowed, dec.Reasons, err)
				}
			}
		}
	})
}
