package partner_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/partnerkit/partnerkit/partner"
)

// letterbox stands in for a mail server.
type letterbox struct {
	mu    sync.Mutex // it is called from several goroutines
	last  partner.Message
	token partner.Secret // in the last one that brought one
	sent  []string       // templates
	fails error
}

func (b *letterbox) Notify(_ context.Context, m partner.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last, b.sent = m, append(b.sent, m.Template)
	if m.Token != "" {
		b.token = m.Token
	}
	return b.fails
}

// freshWithMail is a registry whose mail goes to a letterbox.
func freshWithMail(change ...func(*partner.Options)) (*partner.Registry, *letterbox, func()) {
	box := &letterbox{}
	db, reg, done := fresh()
	_ = reg.Close()
	opts := &partner.Options{Notifier: box, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(opts)
	}
	reg, err := partner.Open(context.Background(), db, opts)
	check(err)
	return reg, box, func() {
		check(reg.Close())
		done()
	}
}

func ExamplePartners_Invite() {
	reg, box, done := freshWithMail()
	defer done()
	ctx := context.Background()
	vendor := partner.AsVendor(ctx, "ops@vendor.example")
	_, err := reg.Partners.SetForm(vendor, []byte(`{"type":"object","required":["about"],"properties":{
		"about":{"title":"About you","type":"object","required":["site"],"properties":{"site":{"type":"string","format":"link"}}}}}`))
	check(err)
	acme, err := reg.Partners.Invite(vendor, partner.Agreement{Name: "Acme Integrators", Email: "hello@acme.example", Login: "acme", Currency: "EUR"})
	check(err)
	fmt.Println(acme.State)

	_, err = reg.Step(ctx) // or Run, in the background
	check(err)
	fmt.Println(box.last.Template, "to", box.last.To)

	// The page behind the link in the mail.
	who, err := reg.Access.Invited(ctx, box.last.Token)
	check(err)
	fmt.Println(who.Email, "answers form", who.Form.Version)
	_, err = reg.Access.Accept(ctx, box.last.Token, partner.Acceptance{Password: "short"})
	fmt.Println(err)
	session, err := reg.Access.Accept(ctx, box.last.Token, partner.Acceptance{Name: "Ann", Password: "a long enough secret",
		Answers: partner.Answers{Version: who.Form.Version, Values: []byte(`{"about":{"site":"https://acme.example/"}}`)}})
	check(err)
	fmt.Println(session.Partner == acme.ID)
	_, err = reg.Access.Accept(ctx, box.last.Token, partner.Acceptance{Password: "a long enough secret"})
	fmt.Println(errors.Is(err, partner.ErrTokenUsed))
	// Output:
	// pending
	// welcome to hello@acme.example
	// hello@acme.example answers form 1
	// partner: accept: invalid: password: must have at least 8 characters; answers: must answer the form
	// true
	// true
}

func ExampleAccess_Accept() {
	reg, box, done := freshWithMail()
	defer done()
	ctx := context.Background()
	acme, admin := acme(reg)
	dana, err := reg.Users.Add(admin, acme.ID, partner.NewUser{Name: "Dana", Email: "dana@acme.example", Role: partner.Member})
	check(err)
	fmt.Println(dana.Invited, dana.Login)
	_, err = reg.Step(ctx)
	check(err)
	fmt.Printf("%v\n", box.last.Token) // it does not print
	_, err = reg.Access.Accept(ctx, box.last.Token, partner.Acceptance{Password: "a long enough secret"})
	check(err)
	_, err = reg.Access.Login(ctx, "dana@acme.example", "a long enough secret", "203.0.113.8")
	fmt.Println(err)
	// Output:
	// true dana@acme.example
	// [redacted]
	// <nil>
}

func ExampleAccess_Enter() {
	reg, _, done := freshWithMail()
	defer done()
	acme, admin := acme(reg)
	dana := dana(reg, admin, acme.ID)
	vendor := partner.AsVendor(context.Background(), "ops@vendor.example")

	// The host has checked an OpenID token: issuer, subject and address are its claims.
	who := partner.Outside{Issuer: "https://id.example", Subject: "u-17", Email: "dana@acme.example", Verified: true}
	_, err := reg.Access.Enter(vendor, who)
	fmt.Println(err)
	check(reg.Users.Link(vendor, dana.ID, who))
	session, err := reg.Access.Enter(vendor, who)
	check(err)
	fmt.Println(session.Principal == string(dana.ID))
	// Output:
	// partner: enter: no user is linked to this log-in
	// true
}

func ExampleActivity_Retry() {
	reg, box, done := freshWithMail()
	defer done()
	ctx := context.Background()
	acme, admin := acme(reg)
	_, err := reg.Users.Add(admin, acme.ID, partner.NewUser{Name: "Dana", Email: "dana@acme.example", Role: partner.Member})
	check(err)
	box.fails = fmt.Errorf("550 dana@acme.example: %w", partner.ErrRefused)
	_, err = reg.Step(ctx)
	check(err)
	vendor := partner.AsVendor(ctx, "ops@vendor.example")
	dead, err := reg.Activity.Deliveries(vendor, "dead", partner.PageRequest{})
	check(err)
	fmt.Println(dead.Items[0].LastError)
	check(reg.Activity.Retry(vendor, dead.Items[0].ID))
	waiting, err := reg.Activity.Deliveries(vendor, "ready", partner.PageRequest{})
	check(err)
	fmt.Println(len(waiting.Items), "waits")
	// Output:
	// 550 [redacted]: refused
	// 1 waits
}
