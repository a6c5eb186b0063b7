package partner_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// workshop is a certified partner whose admin has opened an account of type solution.
func (w *world) workshop(login string) (partner.Partner, context.Context, partner.Account) {
	w.t.Helper()
	p, me := w.partner(login)
	w.certify(p.ID, "builder", partner.Period{})
	return p, me, w.account(me, "solution", "Workshop "+login)
}

func (w *world) account(me context.Context, kind, name string) partner.Account {
	w.t.Helper()
	a, err := w.reg.Accounts.Open(me, partner.NewAccount{Type: kind, Name: name})
	w.must(err)
	return a
}

// TestPLX03_TypesAreData: three are there from the start; the host adds one without code and opens accounts of it. What an account is of, and what its
// type denies, never changes.
func TestPLX03_TypesAreData(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("acme")
		types, err := w.reg.Accounts.Types(me)
		w.must(err)
		want := []partner.AccountType{
			{Code: "project", Quota: partner.Quota{Collaborators: 5, Guests: -1}},
			{Code: "solution", Ceiling: "corporation", Quota: partner.Quota{SpecialEmployees: 10, ExternalUsers: 1, Collaborators: -1}, CertifiedOnly: true,
				Denies: []string{"orders", "customers", "objects", "licenses"}},
			{Code: "standard", Quota: partner.Quota{Employees: -1, ExternalUsers: 1, Collaborators: 5}},
		}
		if len(types) != 3 || !slices.EqualFunc(types, want, func(a, b partner.AccountType) bool {
			return a.Code == b.Code && a.Ceiling == b.Ceiling && a.Quota == b.Quota && a.CertifiedOnly == b.CertifiedOnly && slices.Equal(a.Denies, b.Denies)
		}) {
			w.t.Errorf("the types are %+v", types)
		}
		training := partner.AccountType{Code: "training", Ceiling: "team", Quota: partner.Quota{SpecialEmployees: 2}, Denies: []string{"licenses"}}
		wants(w.t, "a partner defines a type", w.reg.Accounts.DefineType(me, training), partner.ErrForbidden)
		w.must(w.reg.Accounts.DefineType(w.vendor, training))
		a := w.account(me, "training", "Class 7")
		training.Quota.SpecialEmployees = 3
		w.must(w.reg.Accounts.DefineType(w.vendor, training))
		for i, name := range []string{"a", "b", "c"} {
			if err := second(w.reg.Accounts.AddMember(me, a.ID, partner.NewMember{Kind: partner.Special, Name: name})); err != nil {
				w.t.Errorf("member %d: %v", i, err)
			}
		}
		training.Denies = nil
		wants(w.t, "what it denies", w.reg.Accounts.DefineType(w.vendor, training), partner.ErrImmutable)
		for what, change := range map[string]func(*partner.NewAccount){
			"type": func(n *partner.NewAccount) { n.Type = "standard" }, "partner": func(n *partner.NewAccount) { n.Partner = "prt_other" },
			"owner": func(n *partner.NewAccount) { n.OwnerEmail = "x@y.example" }, "key": func(n *partner.NewAccount) { n.Key = "k" },
		} {
			wants(w.t, what, second(w.reg.Accounts.Edit(me, a.ID, a.Version, change)), partner.ErrImmutable)
		}
		tamper(w.t, w.db, "INSERT INTO prm_account_types SELECT 'other', ceiling, employees, special_employees, external_users, collaborators, guests, max_per_partner, certified_only, denies, leftovers, idle, grace, last_notice, 1, 1 FROM prm_account_types WHERE code = 'training'")
		if err := w.db.Exec("UPDATE prm_accounts SET type = 'other' WHERE id = ?", a.ID).Error; err == nil {
			w.t.Error("the database let an account's type change")
		}
		if err := w.db.Exec("UPDATE prm_accounts SET denies = 0 WHERE id = ?", a.ID).Error; err == nil {
			w.t.Error("the database let change what an account denies")
		}
		now, err := w.reg.Accounts.Edit(me, a.ID, a.Version, func(n *partner.NewAccount) { n.Name = "Class 8" })
		if w.must(err); now.Name != "Class 8" || now.Type != "training" || now.Version != a.Version+1 {
			w.t.Errorf("edited %+v", now)
		}
		wants(w.t, "an old version", second(w.reg.Accounts.Edit(me, a.ID, a.Version, func(n *partner.NewAccount) { n.Name = "x" })), partner.ErrConflict)
	})
}

// TestPLX03_FaultsOfATypeComeTogether names every field.
func TestPLX03_FaultsOfATypeComeTogether(t *testing.T) {
	each(t, func(w *world) {
		wantsFields(w.t, "everything wrong", w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "Big Type", Ceiling: " x",
			Quota: partner.Quota{Employees: -2, SpecialEmployees: -2, ExternalUsers: -3, Collaborators: -9, Guests: -2}, MaxPerPartner: -1, Denies: []string{"orders", "joy"}}),
			"code:format", "ceiling:format", "quota.employee:range", "quota.special:range", "quota.external:range", "quota.collaborator:range", "quota.guest:range",
			"max_per_partner:range", "denies[1]:unknown_code")
		wantsFields(w.t, "nothing", w.reg.Accounts.DefineType(w.vendor, partner.AccountType{}), "code:required")
		wantsFields(w.t, "certified projects", w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "project", CertifiedOnly: true}), "certified_only:format")
	})
}

// TestPLX05_TestCeiling: a function is entitled only where the host's catalogue puts it within the type's ceiling; what it does not know is not.
func TestPLX05_Ceiling(t *testing.T) {
	plans := map[string][]string{"corporation": {"gantt", "crm"}, "": {"crm"}}
	features := func(o *partner.Options) {
		o.CallbackTime = 50 * time.Millisecond
		o.Features = func(ctx context.Context, ceiling, feature string) (bool, error) {
			switch feature {
			case "slow":
				<-ctx.Done()
			case "down":
				return true, errors.New("down")
			}
			return slices.Contains(plans[ceiling], feature), nil
		}
	}
	eachWith(t, features, func(w *world) {
		_, me, shop := w.workshop("acme")
		standard := w.account(me, "standard", "Everyday")
		for _, c := range []struct {
			a       partner.AccountID
			feature string
			want    bool
		}{{shop.ID, "gantt", true}, {shop.ID, "crm", true}, {shop.ID, "rocket", false}, {shop.ID, "", false}, {standard.ID, "gantt", false}, {standard.ID, "crm", true}} {
			for _, who := range []context.Context{me, w.vendor} {
				if may, err := w.reg.Accounts.Entitled(who, c.a, c.feature); may != c.want || err != nil {
					w.t.Errorf("%s in %s: %v (%v)", c.feature, c.a, may, err)
				}
			}
		}
		_, other := w.partner("other")
		wants(w.t, "another's account", second(w.reg.Accounts.Entitled(other, shop.ID, "gantt")), partner.ErrNotFound)
		wants(w.t, "a catalogue that is late", second(w.reg.Accounts.Entitled(me, shop.ID, "slow")), partner.ErrUnavailable)
		may, err := w.reg.Accounts.Entitled(me, shop.ID, "down")
		if wants(w.t, "a catalogue that fails", err, partner.ErrUnavailable); may {
			w.t.Error("entitled by a catalogue that failed")
		}
	})
	each(t, func(w *world) {
		_, me, shop := w.workshop("acme")
		if may, err := w.reg.Accounts.Entitled(me, shop.ID, "gantt"); may || err != nil {
			w.t.Errorf("without a catalogue: %v (%v)", may, err)
		}
	})
}

// TestPLX14_ASolutionAccountHoldsNoLicences: whatever would bring licences there is refused by its type, and what the host reports is an event.
func TestPLX14_ASolutionAccountHoldsNoLicences(t *testing.T) {
	each(t, func(w *world) {
		p, me, shop := w.workshop("acme")
		w.stock(p.ID, "seat", 10)
		standard := w.account(me, "standard", "Everyday")
		_, err := w.seats.AssignAll(me, []license.Move{{To: shop.ID, SKU: "seat", Quantity: 1}}, true)
		for what, err := range map[string]error{
			"assign": second(w.seats.Assign(me, shop.ID, "seat", 1)), "several": err, "reserve": second(w.seats.Reserve(me, shop.ID, "seat", 1, time.Hour)),
			"consume": second(w.seats.Consume(me, shop.ID, "seat", 1)), "seat": second(w.seats.Seat(me, shop.ID, "seat", "ann")), "switch": w.reg.Access.SwitchTo(me, shop.ID),
		} {
			wants(w.t, what, err, partner.ErrForbiddenForAccountType)
			if kinds := kindsOf(err); len(kinds) != 1 || kinds[0] != "forbidden" {
				w.t.Errorf("%s is of the kinds %v", what, kinds)
			}
		}
		w.must(second(w.seats.Assign(me, standard.ID, "seat", 2)))
		if n := w.available(me, shop.ID, "seat"); n != 0 {
			w.t.Errorf("it has %d", n)
		}
		wants(w.t, "a partner reports", w.reg.Accounts.ReportMisuse(me, shop.ID, "orders"), partner.ErrForbidden)
		wantsFields(w.t, "a text", w.reg.Accounts.ReportMisuse(w.vendor, shop.ID, "Sold to Globex"), "what:format")
		w.must(w.reg.Accounts.ReportMisuse(w.vendor, shop.ID, "orders"))
		page, err := w.reg.Activity.List(me, partner.EventFilter{Account: shop.ID}, partner.PageRequest{Limit: 1})
		if w.must(err); page.Items[0].Kind != "account.misused" || strings.Join(page.Items[0].Changed, " ") != "orders" {
			w.t.Errorf("the event is %+v", page.Items[0])
		}
		w.sound()
	})
}

// TestPLX04_AsManyAccountsAsTheTypeAllows: a limit that is set later counts what is there, for callers at the same time too.
func TestPLX04_AsManyAccountsAsTheTypeAllows(t *testing.T) {
	each(t, func(w *world) {
		_, me, _ := w.workshop("acme")
		w.account(me, "solution", "another")
		limited := partner.AccountType{Code: "solution", Ceiling: "corporation", Quota: partner.Quota{SpecialEmployees: 10}, CertifiedOnly: true,
			OwnerCloses: true, Denies: []string{"orders", "customers", "objects", "licenses"}, MaxPerPartner: 5}
		w.must(w.reg.Accounts.DefineType(w.vendor, limited))
		opened := 0
		for _, err := range w.atOnce(8, func(int) error {
			return second(w.reg.Accounts.Open(me, partner.NewAccount{Type: "solution", Name: "same"}))
		}) {
			var full *partner.QuotaError
			switch {
			case err == nil:
				opened++
			case !errors.As(err, &full) || *full != (partner.QuotaError{Kind: "accounts", Limit: 5, InUse: 5}):
				w.t.Errorf("refused with %v", err)
			}
		}
		if opened != 3 {
			w.t.Errorf("%d more were opened", opened)
		}
		limited.MaxPerPartner = 0
		w.must(w.reg.Accounts.DefineType(w.vendor, limited))
		w.account(me, "solution", "a sixth")
		limited.MaxPerPartner = 6
		w.must(w.reg.Accounts.DefineType(w.vendor, limited))
		wants(w.t, "what was opened without a limit counts", second(w.reg.Accounts.Open(me, partner.NewAccount{Type: "solution", Name: "a seventh"})), partner.ErrQuota)
	})
}
