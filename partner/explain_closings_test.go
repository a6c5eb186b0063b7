package partner_test

import (
	"context"

	"github.com/partnerkit/partnerkit/partner"
)

// goneOf is a deleted account that every organisation of the random world has.
func goneOf(org string) partner.AccountID { return partner.AccountID("acc_gone_of_" + org) }

// askedOfClosings are the real calls about accounts on their way out.
var askedOfClosings = map[string]asked{
	"account.close": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.Close(ctx, partner.AccountID(target)))
	}},
	"account.cancel_close": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Accounts.CancelClose(ctx, partner.AccountID(target), "to see")
	}},
	"account.remind_close": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.RemindClose(ctx, partner.AccountID(target)))
	}},
	"account.confirm_close": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Accounts.ConfirmCloseFor(ctx, partner.AccountID(target), "to see")
	}},
	"account.touch": {"account", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return r.reg.Accounts.Touch(ctx, partner.AccountID(target))
	}},
	"account.closings": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return second(r.reg.Accounts.Closings(ctx, "", partner.PageRequest{}))
	}},
	"account.receipt": {"partner", func(_ *explaining, r rooms, ctx context.Context, target string) error {
		return second(r.reg.Accounts.Receipt(ctx, goneOf(target)))
	}},
	"account.retire_eraser": {"none", func(_ *explaining, r rooms, ctx context.Context, _ string) error {
		return r.reg.Accounts.RetireEraser(ctx, "known_class", "to see")
	}},
}

// closings are what the calls above are about, behind the SDK's back.
func (x *explaining) closings(partners []string) {
	for _, org := range append(partners, string(partner.Vendor)) {
		tamper(x.t, x.db, `INSERT INTO prm_accounts (id, partner_id, type, owner_id, name, name_key, state, blocks, epoch, region, email, company, country, phone, locale, version, created_at)
			SELECT ?, partner_id, 'standard', id, '', '', 'deleted', 0, 0, '', '', '', '', '', '', 1, 0 FROM prm_users WHERE id = ?`, goneOf(org), userOf(org))
	}
	tamper(x.t, x.db, `INSERT INTO prm_closings (id, partner_id, account_id, state, suspended, requested_by, requested_at, reminded_at, email_key, expires_at, next_at,
		settled_by, settled_at, reason, deleted_at, message, key_id) SELECT 'clo_of_' || id, partner_id, id, CASE state WHEN 'closing' THEN 'requested' ELSE 'done' END,
		FALSE, '', 0, 0, '', 0, 0, '', 0, '', 0, '{}', '' FROM prm_accounts WHERE state = 'closing' OR state = 'deleted'`)
	tamper(x.t, x.db, "INSERT INTO prm_eraser_classes (class, created_at) VALUES ('known_class', 0)")
}
