package partner

import (
	"context"
	"strings"
)

type actorKey struct{}

// actor is who acts, as the context carries it: the host under a name, or the holder of a session token.
type actor struct {
	host  string
	token string // digest
}

// AsVendor returns a context in which the host process itself acts with every vendor right; the audit shows it as host:name.
// It authenticates nobody: only trusted host code may call it. An empty name is nobody; it is one line
// of text, and stays in the audit for ever.
func AsVendor(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor{host: strings.TrimSpace(name)})
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
	if a.host != "" && !c.text("actor", a.host, true, maxName) {
		return a, c.err()
	}
	return a, nil
}
