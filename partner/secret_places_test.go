package partner_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// useCanariesInPlaces goes through the verbs that take or make a secret about accounts of any type and their members, as useCanaries does.
func (w *world) useCanariesInPlaces() (secrets []string, errs []error) {
	const secret, other = canary + " three", canary + " four"
	ctx := context.Background()
	took := func(s partner.Session, err error) context.Context {
		w.must(err)
		secrets = append(secrets, string(s.Token()))
		return partner.WithSession(ctx, s)
	}
	token := func(t partner.Secret, err error) partner.Secret {
		w.must(err)
		secrets = append(secrets, string(t))
		return t
	}
	accept := func(t partner.Secret, p partner.Secret) (partner.Session, error) {
		return w.reg.Access.Accept(ctx, t, partner.Acceptance{Password: p})
	}
	a := agreement("places-admin")
	a.Password = secret
	p, err := w.reg.Partners.Create(w.vendor, a)
	w.must(err)
	w.certify(p.ID, "gold", partner.Period{})
	me := took(w.reg.Access.Login(ctx, a.Login, secret, ""))
	mailed := token(w.reg.Accounts.RequestOpen(w.vendor, a.Email))
	n := partner.NewAccount{Type: "solution", Name: "Lab", Token: mailed, Key: "lab"}
	lab, err := w.reg.Accounts.Open(ctx, n)
	w.must(err)
	n.Key = ""
	errs = append(errs, second(w.reg.Accounts.Open(ctx, n)), second(accept(mailed, other)))
	n.Token = canary
	errs = append(errs, second(w.reg.Accounts.Open(ctx, n)), second(w.reg.Accounts.Open(me, partner.NewAccount{Type: canary, Token: canary})))
	office := w.account(me, "standard", "Office")
	invited := partner.NewMember{Kind: partner.Employee, Email: "clerk@user.example", Key: "clerk"}
	clerk, err := w.reg.Accounts.AddMember(me, office.ID, invited)
	w.must(err)
	void, again := token(clerk.Token, nil), token(w.reg.Accounts.ReinviteMember(me, clerk.ID))
	errs = append(errs, second(accept(void, other)), second(accept(again, partner.Secret(canary[:4]))), second(w.reg.Access.Accept(ctx, again, partner.Acceptance{Name: "a\nb", Password: other})))
	in := took(accept(again, secret))
	errs = append(errs, second(accept(again, secret)), w.reg.Access.ChangePassword(in, other, secret))
	w.must(w.reg.Access.ChangePassword(in, secret, other))
	reset := token(w.reg.Accounts.ResetMemberPassword(me, clerk.ID))
	took(accept(reset, secret))
	errs = append(errs, second(accept(reset, secret)))
	invited.Roles = []string{"other"}
	errs = append(errs, second(w.reg.Accounts.AddMember(me, office.ID, invited)))
	lender, _ := w.partner("places-lender")
	u := newUser("places-lent")
	u.Password = secret
	w.must(second(w.reg.Users.Add(w.vendor, lender.ID, u)))
	place, err := w.reg.Accounts.AddMember(me, office.ID, partner.NewMember{Kind: partner.Collaborator, Email: u.Email})
	w.must(err)
	lent := token(place.Token, nil)
	errs = append(errs, second(accept(lent, other)), second(w.reg.Access.WorkIn(me, canary)), second(w.reg.Access.ActAs(me, canary, "to look")))
	took(accept(lent, secret))
	home := took(w.reg.Access.Login(ctx, u.Login, secret, ""))
	took(w.reg.Access.WorkIn(home, place.ID))
	took(w.reg.Access.ActAs(me, w.special(me, lab.ID, "Extra").ID, "to look"))
	closing, err := w.reg.Accounts.Close(me, lab.ID)
	w.must(err)
	void, again = token(closing.Token, nil), token(w.reg.Accounts.RemindClose(me, lab.ID))
	errs = append(errs, w.reg.Accounts.ConfirmClose(ctx, void), w.reg.Accounts.ConfirmClose(ctx, canary), second(accept(again, other)))
	w.must(w.reg.Accounts.ConfirmClose(ctx, again))
	errs = append(errs, w.reg.Accounts.ConfirmClose(ctx, again))
	w.later(2 * time.Minute)
	w.must(second(w.reg.Accounts.Receipt(me, lab.ID)))
	return secrets, errs
}

// TestPIL28_SecretsOfPlacesPrintRedacted prints what carries a token about accounts and members, each way Go knows, and all else of it.
func TestPIL28_SecretsOfPlacesPrintRedacted(t *testing.T) {
	n := partner.NewAccount{Type: "solution", Name: "Lab", Token: canary, Key: "k-1"}
	m := partner.MemberInfo{ID: "mem_1", AccountName: "Lab", Token: canary, NewMember: partner.NewMember{Kind: partner.Special, Name: "Extra"}}
	c := partner.Closing{Members: 2, Token: canary}
	for _, v := range []any{c, &c, []partner.Closing{c}, n, &n, []partner.NewAccount{n}, m, &m, []partner.MemberInfo{m}, partner.Page[partner.MemberInfo]{Items: []partner.MemberInfo{m}},
		struct{ N *partner.NewAccount }{&n}, struct{ M *partner.MemberInfo }{&m}, map[string]*partner.MemberInfo{"x": &m}} {
		for how, text := range printed(v) {
			if sings([]byte(text)) {
				t.Errorf("%T shows its secret by %s", v, how)
			}
		}
	}
	for format, want := range map[string][]string{
		"%v": {"{solution Lab", "[redacted] k-1}"}, "%+v": {"Type:solution", "Name:Lab", "Token:[redacted]", "Key:k-1"},
		"%#v": {`partner.NewAccount{Type:"solution"`, `Name:"Lab"`, "Token:[redacted]", `Key:"k-1"`},
	} {
		for _, part := range want {
			if text := fmt.Sprintf(format, n); !strings.Contains(text, part) {
				t.Errorf("%s prints %s, without %s", format, text, part)
			}
		}
	}
	for format, want := range map[string][]string{
		"%v": {"{mem_1", "Lab", "Extra", "[redacted]"}, "%+v": {"ID:mem_1", "AccountName:Lab", "Name:Extra", "Kind:special", "Token:[redacted]"},
		"%#v": {`partner.MemberInfo{ID:"mem_1"`, `AccountName:"Lab"`, `Name:"Extra"`, "Token:[redacted]"},
	} {
		for _, part := range want {
			if text := fmt.Sprintf(format, m); !strings.Contains(text, part) {
				t.Errorf("%s prints %s, without %s", format, text, part)
			}
		}
	}
}
