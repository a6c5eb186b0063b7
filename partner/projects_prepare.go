package partner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// preparedProject is what had to be computed outside a transaction, and the digest of the input it was computed from.
type preparedProject struct {
	of           ID // whose policy the password was held to
	digest       string
	passwordHash string
	region       string
	country      string
	email        string
	phone        string
}

// Prepare does what OpenProject must do outside a transaction: host callbacks and hashing. It returns the project to pass to
// OpenProject on the Registry that In gives; changing it afterwards makes that call refuse. With a password it is for those who may open the
// project: what it is held to is their partner's policy.
func (d *Accounts) Prepare(ctx context.Context, p NewProject) (prepared NewProject, err error) {
	defer wrap(&err, "prepare project")
	if store.Joined(d.reg.db) {
		return p, errInHostTx
	}
	return d.reg.prepareProject(ctx, p)
}

func (o Options) checkProject(p NewProject) (preparedProject, *checks) {
	c := &checks{}
	c.text("name", p.Name, true, maxName)
	c.text("company", p.Company, true, maxName)
	c.login("login", p.Login, "")
	c.locale("locale", p.Locale)
	c.customer("customer", p.Customer)
	c.key("key", p.Key)
	ready := preparedProject{email: c.email("email", p.Email, true), country: c.country("country", p.Country)}
	ready.phone = c.phone("phone", p.Phone, ready.country, o.Phones)
	return ready, c
}

func (r *Registry) prepareProject(ctx context.Context, p NewProject) (NewProject, error) {
	p.prepared = nil
	ready, faults := r.opts.checkProject(p)
	if p.Password != "" {
		rules, err := r.rulesFor(ctx, Ask{Action: "project.open", Target: string(p.Partner), Keyed: p.Key != ""}, p.Name, p.Login, p.Email)
		if err != nil {
			return p, err
		}
		ready.of = rules.of
		faults.password("password", p.Password, rules)
	}
	if ready.country != "" {
		region, err := r.region(ctx, ready.country)
		if err != nil {
			return p, err
		}
		if region == "" {
			faults.add("country", "no_region", "no region serves this country", ErrNoRegion)
		}
		ready.region = region
	}
	if err := faults.err(); err != nil {
		return p, err
	}
	if p.Password != "" {
		var err error
		if ready.passwordHash, err = r.hash(ctx, p.Password); err != nil {
			return p, err
		}
	}
	ready.digest = projectDigest(p, true)
	p.prepared = &ready
	return p, nil
}

func (r *Registry) readyProject(ctx context.Context, p NewProject) (NewProject, error) {
	hostCode := p.Password != "" || r.opts.Regions != nil || r.opts.Phones != nil && p.Phone != ""
	switch {
	case p.prepared != nil:
		if p.prepared.digest != projectDigest(p, true) {
			return p, errUnprepared
		}
		return p, nil
	case store.Joined(r.db) && hostCode:
		return p, errUnprepared
	}
	return r.prepareProject(ctx, p)
}

// projectDigest is to a project what agreementDigest is to an agreement.
func projectDigest(p NewProject, withPassword bool) string {
	c := content{}
	c.add("name", p.Name)
	c.add("email", p.Email)
	c.add("company", p.Company)
	c.add("country", p.Country)
	c.add("login", p.Login)
	c.add("phone", p.Phone)
	c.add("locale", p.Locale)
	c.add("partner", string(p.Partner))
	c.add("customer", p.Customer)
	if withPassword {
		c.add("password", digest(string(p.Password)))
		c.add("key", p.Key)
	}
	return c.digest()
}

// region asks the host which region serves a country.
func (r *Registry) region(ctx context.Context, country string) (string, error) {
	if r.opts.Regions == nil {
		return country, nil
	}
	region, err := callHost(ctx, r, "the region of the country", func(ctx context.Context) (string, error) { return r.opts.Regions(ctx, country) })
	if err != nil {
		return "", err
	}
	var c checks
	if region != "" && !c.text("region", region, true, maxNumber) {
		return "", fail.New(fail.Unavailable, fmt.Sprintf("Options.Regions: %s", c.fields[0].Message))
	}
	return region, nil
}

// callHost asks the host; it waits no longer than CallbackTime even for a callback that ignores its context.
func callHost[T any](ctx context.Context, r *Registry, what string, call func(context.Context) (T, error)) (answer T, err error) {
	a := callWithin(ctx, r.opts.CallbackTime, 0, call)
	if a.panicked != nil {
		panic(a.panicked) // the host's bug, on the host's stack
	}
	if a.err != nil {
		return answer, fail.Because(fail.Unavailable, what, a.err)
	}
	return a.answer, nil
}

// reply is what has come of calling host code.
type reply[T any] struct {
	answer   T
	err      error
	panicked any
}

// failure is the error of a call on the SDK's own time, where a panic is one like others.
func (r reply[T]) failure() error {
	if r.panicked != nil {
		return errPanicked
	}
	return r.err
}

var (
	errPanicked = errors.New("it panicked")
	errNoAnswer = errors.New("it ended its goroutine")
)

// callWithin calls host code and waits no longer than so long, even if it ignores its context: then, after its last words, it is left to itself.
func callWithin[T any](ctx context.Context, limit, last time.Duration, call func(context.Context) (T, error)) reply[T] {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	replies := make(chan reply[T], 1)
	go func() {
		a := reply[T]{err: errNoAnswer}
		defer func() {
			a.panicked = recover()
			replies <- a
		}()
		a.answer, a.err = call(ctx)
	}()
	select {
	case a := <-replies:
		return a
	case <-ctx.Done():
	}
	late := reply[T]{err: ctx.Err()}
	if last == 0 {
		return late
	}
	select {
	case a := <-replies:
		return a
	case <-time.After(last):
		return late
	}
}
