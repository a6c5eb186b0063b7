package partner_test

import (
	"context"
	"fmt"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// closings cancels closes, and lets a project of its own go all the way; the other side sees nothing of either.
func (i *isolation) closings(me, other *isoSide) {
	foreign := i.some(other).id
	for what, err := range map[string]error{
		"CancelClose": i.reg.Accounts.CancelClose(me.admin, foreign, ""), "RemindClose": second(i.reg.Accounts.RemindClose(me.admin, foreign)),
		"ConfirmCloseFor": i.reg.Accounts.ConfirmCloseFor(me.admin, foreign, "mine"), "Touch": i.reg.Accounts.Touch(me.admin, foreign),
		"a member's Touch": i.reg.Accounts.Touch(me.member, foreign), "a member's cancel": i.reg.Accounts.CancelClose(me.member, foreign, ""),
		"Receipt": second(i.reg.Accounts.Receipt(me.admin, foreign)),
	} {
		i.notFound(what, err)
	}
	for _, ctx := range []context.Context{me.admin, me.member} {
		page, err := i.reg.Accounts.Closings(ctx, "", partner.PageRequest{Limit: 20})
		i.must(err)
		for _, c := range page.Items {
			if c.Partner != me.id {
				i.t.Fatalf("closes show %s of %s", c.Account, c.Partner)
			}
		}
	}
	i.must(i.reg.Accounts.Touch(me.member, i.live(me).id))
	if p := i.some(me); p.closed && p.saved < 3 { // more letters are too many
		i.must(i.reg.Accounts.CancelClose(i.vendor, p.id, "a mistake"))
		p.closed = false
		p.saved++
	}
	if i.rand.IntN(4) == 0 {
		i.endOne(me, other)
	}
}

// endOne opens a project, supplies it, closes it and has it deleted.
func (i *isolation) endOne(me, other *isoSide) {
	i.n++
	in := newProject(fmt.Sprintf("iso-%04d", i.n))
	a, err := i.reg.Accounts.OpenProject(me.admin, in)
	i.must(err)
	c, err := i.reg.Accounts.Close(me.admin, a.ID)
	if i.must(err); len(c.Licenses) > 0 {
		i.t.Fatalf("a close returned %v", c.Licenses)
	}
	i.must(i.reg.Accounts.ConfirmCloseFor(i.vendor, a.ID, "for the play"))
	i.clock.Advance(time.Minute)
	i.must(second(i.reg.Step(context.Background())))
	r, err := i.reg.Accounts.Receipt(me.admin, a.ID)
	if i.must(err); r.Partner != me.id {
		i.t.Fatalf("the receipt is %+v", r)
	}
	i.notFound("Receipt", second(i.reg.Accounts.Receipt(other.admin, a.ID)))
	i.notFound("Get", second(i.reg.Accounts.Get(me.admin, a.ID)))
}
