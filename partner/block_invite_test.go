package partner_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// TestAT08_NoInvitationIsMadeOrTakenAfterBlockReturned lets 64 callers invite, invite again, ask for new passwords and redeem tokens of both
// kinds while the organisation, or one above it with all below, is blocked: nothing begun after Block returned succeeds, nothing begun before it
// writes any more, and the token that was refused is good when the block is lifted.
func TestAT08_NoInvitationIsMadeOrTakenAfterBlockReturned(t *testing.T) {
	mailing(t, func(w *world, _ *postbox) {
		for round := range 2 {
			top, _ := w.partner(fmt.Sprintf("top%d", round))
			p, _ := w.partner(fmt.Sprintf("low%d", round), under(top.ID))
			b := &inviting{world: w, org: p.ID, name: fmt.Sprintf("r%d", round)}
			callers := make([]func() error, 64)
			for i := range callers {
				callers[i] = b.work(i)
			}
			r := newRace()
			for _, work := range callers {
				r.run(work)
			}
			r.await(200)
			if blocked := p.ID; round == 0 {
				w.must(w.reg.Partners.Block(w.vendor, blocked, false))
			} else {
				w.must(w.reg.Partners.Block(w.vendor, top.ID, true))
			}
			r.over.Store(true)
			written := b.written()
			r.Wait()
			if late := b.written() - written; late != 0 || r.late.Load() != 0 {
				w.t.Fatalf("after Block returned, %d writes were committed and %d calls succeeded", late, r.late.Load())
			}
			for _, err := range b.refused {
				wants(w.t, "a refusal", err, partner.ErrBlocked)
			}
			if len(b.refused) != 64 || len(b.left) != 16 {
				w.t.Fatalf("%d callers were refused, %d tokens are left", len(b.refused), len(b.left))
			}
			for _, kind := range []string{"user.invited", "user.reinvited", "password.reset_asked", "user.joined", "password.reset"} {
				if rowsIn(w.t, w.db, "prm_events WHERE partner_id = ? AND kind = ? AND actor NOT LIKE 'host:%'", p.ID, kind) == 0 {
					w.t.Errorf("there was no %s before the block", kind)
				}
			}
			b.lift(round, top.ID)
		}
	}, func(o *partner.Options) { o.DeliverTokens = true })
}

// inviting is an organisation in which callers invite and accept.
type inviting struct {
	*world
	org  partner.ID
	name string

	mu      sync.Mutex
	refused []error
	left    []partner.Secret // tokens that were refused
}

// work is what caller i does, each time with fresh input.
func (b *inviting) work(i int) func() error {
	b.t.Helper()
	name := fmt.Sprintf("%s-%d", b.name, i)
	admin := b.user(b.org, name+"-boss", func(u *partner.NewUser) { u.Role = partner.Admin })
	n := 0
	invite := func(ctx context.Context) (partner.User, error) {
		n++
		return b.reg.Users.Add(ctx, b.org, invitee(fmt.Sprintf("%s-%d", name, n)))
	}
	var work func() error
	switch i % 4 {
	case 0:
		work = func() error { return second(invite(admin)) }
	case 1:
		u, err := invite(b.vendor)
		b.must(err)
		work = func() error { return second(b.reg.Access.Reinvite(admin, u.ID)) }
	case 2:
		u := b.addedUser(b.org, name)
		work = func() error { return second(b.reg.Users.ResetPassword(admin, u.ID)) }
	default:
		work = b.accepting(i, name, invite)
	}
	return func() error {
		err := work()
		if errors.Is(err, partner.ErrUnavailable) { // five letters an hour to one person: it was allowed, and not under a block
			return nil
		}
		if err != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.refused = append(b.refused, err)
		}
		return err
	}
}

// accepting redeems tokens, of invitations or of new passwords. There is always one more than is redeemed, to be refused in the end.
func (b *inviting) accepting(i int, name string, invite func(context.Context) (partner.User, error)) func() error {
	b.t.Helper()
	next := func() (partner.Secret, error) {
		u, err := invite(b.vendor)
		return u.Token, err
	}
	if i%8 == 3 {
		n := 0
		var users [2]partner.User // a new token ends the one before
		for j := range users {
			users[j] = b.addedUser(b.org, fmt.Sprint(name, "-", j))
		}
		next = func() (partner.Secret, error) { n++; return b.reg.Users.ResetPassword(b.vendor, users[n%2].ID) }
	}
	var tokens []partner.Secret
	for range 2 {
		token, err := next()
		b.must(err)
		tokens = append(tokens, token)
	}
	return func() error {
		if len(tokens) == 0 {
			return errors.New("a token was redeemed although another could not be made any more")
		}
		if _, err := b.accept(tokens[0]); err != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.left = append(b.left, tokens[0])
			return err
		}
		tokens = tokens[1:]
		token, err := next()
		if errors.Is(err, partner.ErrBlocked) {
			return nil // the token that is left will be refused, too
		}
		tokens = append(tokens, token)
		return err
	}
}

// written counts what callers other than the vendor have done.
func (b *inviting) written() int64 {
	return rowsIn(b.t, b.db, `prm_events WHERE partner_id = ? AND actor NOT LIKE 'host:%'
		AND kind IN ('user.invited', 'user.reinvited', 'password.reset_asked', 'user.joined', 'password.reset', 'session.opened')`, b.org)
}

// lift lifts the block and redeems what was refused.
func (b *inviting) lift(round int, top partner.ID) {
	b.t.Helper()
	of := b.org
	if round == 1 {
		of = top
	}
	b.must(b.reg.Partners.Unblock(b.vendor, of))
	var errs []error
	for _, token := range b.left {
		errs = append(errs, second(b.accept(token)))
	}
	b.must(errors.Join(errs...))
}
