package partner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

const partnerForm = `{"type":"object","required":["about"],"properties":{
	"about":{"title":"About you","type":"object","required":["site","size"],"properties":{
		"site":{"type":"string","format":"link"},"size":{"type":"integer","minimum":1},"logo":{"type":"object","format":"file"}}},
	"focus":{"title":"What you do","type":"object","properties":{"areas":{"type":"array","items":{"enum":["crm","erp"]},"maxItems":2}}}}}`

const goodAnswers = `{"focus": {"areas": ["erp"]}, "about": {"size": 12, "site": "https://acme.example/"}}`

// invitedPartner invites one and returns the token of its letter.
func (w *world) invitedPartner(box *postbox, login string) (partner.Partner, partner.Secret) {
	w.t.Helper()
	in := agreement(login)
	in.Password = ""
	p, err := w.reg.Partners.Invite(w.vendor, in)
	w.must(err)
	return p, w.token(box, "welcome", in.Email)
}

func (w *world) acceptFor(token partner.Secret, version int, values string) error {
	_, err := w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{Password: password, Answers: partner.Answers{Version: version, Values: json.RawMessage(values)}})
	return err
}

// TestPAN03_TheFormIsAnsweredOnce: a partner becomes active with its answers, which are kept with the version that they answer, for ever.
func TestPAN03_TheFormIsAnsweredOnce(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, early := w.invitedPartner(box, "early")
		f, err := w.reg.Partners.SetForm(w.vendor, json.RawMessage(partnerForm))
		w.must(err)
		p, token := w.invitedPartner(box, "acme")
		u, err := w.reg.Access.Invited(w.t.Context(), token)
		w.must(err)
		shown := u.Form
		if f.Version != 1 || shown.Version != 1 || string(shown.Schema) != partnerForm || u.User != p.Contact || u.Email != "acme@partner.example" || u.Purpose != "partner" {
			w.t.Errorf("invited %+v with %+v", u, shown)
		}
		again, err := w.reg.Partners.SetForm(w.vendor, json.RawMessage(partnerForm))
		if w.must(err); again.Version != 1 {
			w.t.Errorf("the same form again is version %d", again.Version)
		}
		newer, err := w.reg.Partners.SetForm(w.vendor, json.RawMessage(strings.Replace(partnerForm, `"minimum":1`, `"minimum":100`, 1)))
		if w.must(err); newer.Version != 2 {
			w.t.Errorf("another form is version %d", newer.Version)
		}
		wantsFields(w.t, "no answers, no password", second(w.reg.Access.Accept(w.t.Context(), token, partner.Acceptance{})), "password:required", "answers:required")
		wantsFields(w.t, "all faults at once", w.acceptFor(token, 1, `{"about":{"site":"javascript:alert(1)","colour":"red"},"focus":{"areas":["crm","cms"]}}`),
			"answers.about.site:format", "answers.about.size:required", "answers.about.colour:format", "answers.focus.areas[1]:unknown_code")
		wantsFields(w.t, "another version", w.acceptFor(token, 2, goodAnswers), "answers.version:unknown_code")
		wantsFields(w.t, "no JSON", w.acceptFor(token, 1, `{"about":`), "answers:format")
		w.must(w.acceptFor(token, 1, goodAnswers))
		me := w.login("acme")
		for who, ctx := range map[string]context.Context{"the vendor": w.vendor, "its admin": me} {
			form, answers, err := w.reg.Partners.Profile(ctx, p.ID)
			w.must(err)
			if form.Version != 1 || string(form.Schema) != partnerForm || answers.Version != 1 ||
				string(answers.Values) != `{"about":{"site":"https://acme.example/","size":12},"focus":{"areas":["erp"]}}` {
				w.t.Errorf("%s reads %+v, %s", who, form, answers.Values)
			}
		}
		if err := w.db.Exec("UPDATE prm_partner_profiles SET answers = '{}'").Error; err == nil {
			w.t.Error("the answers can be changed")
		}
		// Who was invited before there was a form answers none, and a created partner neither.
		wantsFields(w.t, "answers to no form", w.acceptFor(early, 1, goodAnswers), "answers:format")
		w.must(w.acceptFor(early, 0, ""))
		created, _ := w.partner("created")
		form, answers, err := w.reg.Partners.Profile(w.vendor, created.ID)
		if w.must(err); form.Version != 0 || len(form.Schema) != 0 || answers.Version != 0 || len(answers.Values) != 0 {
			w.t.Errorf("a created partner has answered %+v", answers)
		}
	})
}

// TestPAN03_FaultyFormsAreRefused whole, with every fault; and a form can be ended.
func TestPAN03_FaultyFormsAreRefused(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		_, err := w.reg.Partners.SetForm(w.vendor, json.RawMessage(`{"type":"object","properties":{"a":{"type":"object","properties":{"x":{"type":"strin"}}},"b":{"type":"object","properties":{"y":{"type":"string","format":"emial"}}}}}`))
		wantsFields(w.t, "a faulty schema", err, "schema.properties.a.properties.x.type:unknown_code", "schema.properties.b.properties.y.format:unknown_code")
		_, me := w.partner("acme")
		wants(w.t, "a partner's form", second(w.reg.Partners.SetForm(me, json.RawMessage(partnerForm))), partner.ErrForbidden)
		w.must(second(w.reg.Partners.SetForm(w.vendor, json.RawMessage(partnerForm))))
		none, err := w.reg.Partners.SetForm(w.vendor, nil)
		if w.must(err); none.Version != 2 {
			w.t.Errorf("no form is version %d", none.Version)
		}
		_, token := w.invitedPartner(box, "later")
		in, err := w.reg.Access.Invited(w.t.Context(), token)
		shown := in.Form
		if w.must(err); shown.Version != 0 || len(shown.Schema) != 0 {
			w.t.Errorf("there is a form: %+v", shown)
		}
		w.must(w.acceptFor(token, 0, ""))
		errs := w.atOnce(4, func(i int) error {
			_, err := w.reg.Partners.SetForm(w.vendor, json.RawMessage(strings.Replace(partnerForm, `"minimum":1`, fmt.Sprintf(`"minimum":%d`, i), 1)))
			return err
		})
		for _, err := range errs {
			w.must(err)
		}
		if n := rowsIn(w.t, w.db, "prm_forms"); n != 6 {
			w.t.Errorf("%d versions", n)
		}
	})
}

// TestPAN02_PartnerDetail: users, activity and profile of a partner, each by pages, to those who see all of it.
func TestPAN02_PartnerDetail(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		w.must(second(w.reg.Partners.SetForm(w.vendor, json.RawMessage(partnerForm))))
		top, boss := w.partner("top")
		in := agreement("acme")
		in.Password, in.Parent = "", top.ID
		p, err := w.reg.Partners.Invite(w.vendor, in)
		w.must(err)
		w.must(w.acceptFor(w.token(box, "welcome", in.Email), 1, goodAnswers))
		for i := range 5 {
			w.addedUser(p.ID, fmt.Sprint("dev", i))
		}
		count := func(n int, err error) int { w.t.Helper(); w.must(err); return n }
		for who, ctx := range map[string]context.Context{"the vendor": w.vendor, "its admin": w.login("acme")} {
			users := count(all(func(r partner.PageRequest) (partner.Page[partner.User], error) { return w.reg.Users.List(ctx, p.ID, r) }))
			events := count(all(func(r partner.PageRequest) (partner.Page[partner.Event], error) {
				return w.reg.Activity.List(ctx, partner.EventFilter{Partner: p.ID}, r)
			}))
			form, answers, err := w.reg.Partners.Profile(ctx, p.ID)
			if w.must(err); users != 6 || events < 9 || form.Version != answers.Version || form.Version != 1 {
				w.t.Errorf("%s sees %d users, %d events, form %d", who, users, events, form.Version)
			}
		}
		_, stranger := w.partner("stranger")
		_, _, err = w.reg.Partners.Profile(stranger, p.ID)
		wants(w.t, "a stranger's look", err, partner.ErrNotFound)
		_, _, err = w.reg.Partners.Profile(boss, p.ID)
		wants(w.t, "one above who does not manage it", err, partner.ErrForbidden)
	})
}

// all counts what is on all pages of a list, two a page.
func all[T any](list func(partner.PageRequest) (partner.Page[T], error)) (n int, err error) {
	for next := (partner.PageRequest{Limit: 2}); ; {
		page, err := list(next)
		if err != nil {
			return n, err
		}
		n += len(page.Items)
		if next.After = page.Next; page.Next == "" {
			return n, nil
		}
	}
}

// TestPLX22_FaultAtEachWriteOfAnAcceptance leaves everything as it was, and the token good.
func TestPLX22_FaultAtEachWriteOfAnAcceptance(t *testing.T) {
	mailing(t, func(w *world, box *postbox) {
		w.must(second(w.reg.Partners.SetForm(w.vendor, json.RawMessage(partnerForm))))
		_, token := w.invitedPartner(box, "acme")
		w.clock.Advance(time.Hour)
		before := dump(w.t, w.db)
		for _, at := range []string{"INSERT prm_sessions", "INSERT prm_events", "INSERT prm_partner_profiles", "UPDATE prm_tokens", "UPDATE prm_identities", "UPDATE prm_users",
			"UPDATE prm_partners"} {
			event, table, _ := strings.Cut(at, " ")
			remove := w.refuse(event, table)
			err := w.acceptFor(token, 1, goodAnswers)
			remove()
			if err == nil {
				w.t.Fatalf("%s failed, and the call did not", at)
			}
			if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
				w.t.Fatalf("%s failed, and something stayed in %v", at, left)
			}
		}
		w.must(w.acceptFor(token, 1, goodAnswers))
	})
}
