package partner

import (
	"context"
	"strings"

	"github.com/partnerkit/partnerkit/internal/ledger"
)

type actorKey struct{}

// actor is who acts, as the context carries it: the host under a name, a customer whom the host vouches for, or the holder of a session token.
type actor struct {
	host     string
	system   bool   // the SDK itself, at what time and tokens bring about
	token    string // digest
	customer string
	who      string // of the customer's people
}

// AsVendor returns a context in which the host process itself acts with every vendor right; the audit shows it as host:name.
// It authenticates nobody: only trusted host code may call it. An empty name is nobody; it is one line
// of text, and stays in the audit for ever.
func AsVendor(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor{host: strings.TrimSpace(name)})
}

// asSystem returns a context in which the SDK itself acts, with the rights of the host and those that are its own.
func asSystem(ctx context.Context) context.Context {
	return context.WithValue(ctx, actorKey{}, actor{host: ledger.System, system: true})
}

// AsCustomer returns a context in which an end customer acts, for what is his to decide: see [Access.Decide]. customer is his id, as projects name
// it ([NewProject].Customer), and who is the id of the person who speaks for him; the audit shows both, as customer:id/who, and stays for ever, so
// neither is a name or an address. If one is empty it is nobody. It authenticates nobody: the host vouches for both.
func AsCustomer(ctx context.Context, customer, who string) context.Context {
	a := actor{customer: strings.TrimSpace(customer), who: strings.TrimSpace(who)}
	if a.customer == "" || a.who == "" {
		a = actor{}
	}
	return context.WithValue(ctx, actorKey{}, a)
}

// WithSession returns a context in which the session's principal acts. The session is read again by each call, so a block or a
// log-out stops the next one.
func WithSession(ctx context.Context, s Session) context.Context {
	var a actor
	if s.token != nil {
		a.token = digest(*s.token)
	}
	return context.WithValue(ctx, actorKey{}, a)
}

// actorOf returns who acts; ErrForbidden if nobody does.
func actorOf(ctx context.Context) (actor, error) {
	a, _ := ctx.Value(actorKey{}).(actor)
	if a == (actor{}) {
		return a, errNoActor
	}
	var c checks
	if a.host != "" {
		c.text("actor", a.host, true, maxName)
	}
	if a.customer != "" {
		c.customer("customer", a.customer)
		c.text("who", a.who, true, maxName)
	}
	return a, c.err()
}
