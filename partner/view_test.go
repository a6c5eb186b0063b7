package partner_test

import (
	"context"
	"errors"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY02_View answers as the calls do, by how things were when it was made, or later.
func TestBEY02_View(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		a, me := w.partner("acme")
		_, other := w.partner("beta")
		project := w.project(me, "one")
		view := func(ctx context.Context) *partner.View {
			v, err := w.reg.Access.View(ctx)
			w.must(err)
			return v
		}
		before, others, vendor := view(me), view(other), view(w.vendor)
		w.must(before.May(context.Background(), "account.read", project.ID.String()))
		w.must(vendor.May(context.Background(), "account.read", project.ID.String()))
		if err := others.May(context.Background(), "account.read", project.ID.String()); !errors.Is(err, partner.ErrNotFound) {
			t.Errorf("another partner's View: %v", err)
		}
		if err := vendor.May(context.Background(), "project.open", ""); !errors.Is(err, partner.ErrForbidden) {
			t.Errorf("the vendor's View of what is for partners: %v", err)
		}
		var wrong *partner.ValidationError
		if err := before.May(context.Background(), "project.dance", ""); !errors.As(err, &wrong) || !errors.Is(err, partner.ErrUnknownCode) {
			t.Errorf("an action that there is not: %v", err)
		}
		w.must(w.reg.Partners.Block(w.vendor, a.ID, false))
		if _, err := w.reg.Access.View(me); !errors.Is(err, partner.ErrBlocked) {
			t.Errorf("a View of a blocked caller: %v", err)
		}
		if _, err := w.reg.Access.View(context.Background()); !errors.Is(err, partner.ErrForbidden) {
			t.Errorf("a View of nobody: %v", err)
		}
		w.must(w.reg.Partners.Unblock(w.vendor, a.ID))
	})
}
