package license_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// drillHasher is fast: log-ins are not what these tests are about.
type drillHasher struct{}

func (drillHasher) Hash(_ context.Context, p []byte) (string, error) {
	return "drill:" + string(p), nil
}

func (drillHasher) Verify(_ context.Context, hash string, p []byte) (ok, renew bool, err error) {
	return bytes.Equal([]byte(hash), append([]byte("drill:"), p...)), false, nil
}

func drillOptions() *partner.Options {
	return &partner.Options{Hasher: drillHasher{}, Logger: slog.New(slog.DiscardHandler)}
}

const (
	drillLogin    = "drill-partner"
	drillPassword = "correct horse battery"
	drillSKU      = "seat"
	drillPlaces   = 6 // the pool, and a project each
	drillStock    = 10_000_000
)

// places is where the callers of a partner work: a session in the pool, and one in each project.
type places struct {
	seats    *license.Ledger
	sessions []context.Context
	tokens   []string // of the sessions
	projects []partner.Account
}

// enterPlaces logs in once per place and switches there.
func enterPlaces(reg *partner.Registry) (p places, err error) {
	p.seats = license.New(reg)
	for i := range drillPlaces {
		s, err := reg.Access.Login(context.Background(), drillLogin, drillPassword, "")
		if err != nil {
			return p, err
		}
		ctx := partner.WithSession(context.Background(), s)
		if i == 0 {
			page, err := reg.Accounts.List(ctx, partner.AccountFilter{}, partner.PageRequest{})
			if err != nil {
				return p, err
			}
			p.projects = page.Items
		} else if err := reg.Access.SwitchTo(ctx, p.projects[i-1].ID); err != nil {
			return p, err
		}
		p.sessions, p.tokens = append(p.sessions, ctx), append(p.tokens, string(s.Token()))
	}
	return p, nil
}

// resumePlaces goes on with the sessions of another process.
func resumePlaces(reg *partner.Registry, tokens []string) (p places, err error) {
	p.seats = license.New(reg)
	for _, token := range tokens {
		s, err := reg.Access.Resume(context.Background(), partner.Secret(token))
		if err != nil {
			return p, err
		}
		p.sessions = append(p.sessions, partner.WithSession(context.Background(), s))
	}
	page, err := reg.Accounts.List(p.sessions[0], partner.AccountFilter{}, partner.PageRequest{})
	p.projects = page.Items
	return p, err
}

// deed is one call with its key, as a child process writes it before and after.
type deed struct {
	place       int // whence it is called
	verb        string
	to          int // the project it is about
	n           int64
	key         string
	reservation string // to post or void; "-" for the others
}

func (d deed) String() string {
	return fmt.Sprintf("%d %s %d %d %s %s", d.place, d.verb, d.to, d.n, d.key, d.reservation)
}

func parseDeed(s string) (d deed, err error) {
	_, err = fmt.Sscanf(s, "%d %s %d %d %s %s", &d.place, &d.verb, &d.to, &d.n, &d.key, &d.reservation)
	return d, err
}

// do makes the call; id is the transfer's, or the reservation's.
func (p places) do(d deed) (id string, err error) {
	var t license.Transfer
	ctx, key := p.sessions[d.place], license.Key(d.key)
	switch d.verb {
	case "assign":
		t, err = p.seats.Assign(ctx, p.projects[d.to].ID, drillSKU, d.n, key)
	case "return":
		t, err = p.seats.Return(ctx, drillSKU, d.n, key)
	case "consume":
		t, err = p.seats.Consume(ctx, p.projects[d.to].ID, drillSKU, d.n, key)
	case "post":
		t, err = p.seats.Post(ctx, d.reservation, key)
	case "void":
		t, err = p.seats.Void(ctx, d.reservation, key)
	case "reserve":
		r, err := p.seats.Reserve(ctx, p.projects[d.to].ID, drillSKU, d.n, reservedFor, key)
		return r.ID, err
	}
	return strconv.FormatInt(t.ID, 10), err
}

// reservedFor outlasts every test: that time frees a reservation is proved elsewhere.
const reservedFor = 48 * 3600 * 1e9

// caller makes up one deed after the other.
type caller struct {
	place    int
	name     string // what its keys begin with
	made     int
	reserved []string // its reservations, to post or void
	ended    string   // one that it has posted or voided
}

func (c *caller) next() deed {
	c.made++
	d := deed{place: c.place, to: rand.IntN(drillPlaces - 1), n: 1 + rand.Int64N(3), key: c.name + "." + strconv.Itoa(c.made), reservation: "-"}
	switch dice := rand.IntN(10); {
	case len(c.reserved) > 0 && dice < 4:
		d.verb, d.reservation = []string{"post", "void"}[dice%2], c.reserved[0]
	case c.ended != "" && dice == 4: // refused, for it has had its outcome
		d.verb, d.reservation = "void", c.ended
	case dice == 5:
		d.verb = "consume"
	case dice < 8:
		d.verb = "reserve"
	case c.place > 0 && (dice == 8 || d.to == c.place-1):
		d.verb = "return"
	default:
		d.verb = "assign"
	}
	if d.verb == "assign" && d.to == c.place-1 {
		d.verb = "return"
	}
	return d
}

// learn notes the answer to a deed.
func (c *caller) learn(d deed, id string) {
	switch d.verb {
	case "reserve":
		c.reserved = append(c.reserved, id)
	case "post", "void":
		c.ended, c.reserved = d.reservation, c.reserved[1:]
	}
}

// fair tells whether a deed may be answered so: a project can be empty, and a reservation has one outcome.
func (c *caller) fair(d deed, err error) bool {
	return errors.Is(err, license.ErrInsufficient) || errors.Is(err, license.ErrReservationDone) && d.reservation == c.ended
}
