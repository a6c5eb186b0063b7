package partner_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// TestPLX28_ReactivatedWhileHeLeaves: no place is given again to somebody who has left meanwhile.
func TestPLX28_ReactivatedWhileHeLeaves(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		_, acme := w.partner("acme")
		beta, _ := w.partner("beta")
		a := w.opened(acme, "A")
		u := w.addedUser(beta.ID, "one")
		m, _ := w.joinedAs(box, acme, a.ID, partner.Collaborator, u.Email)
		w.must(w.reg.Accounts.DeactivateMember(acme, m.ID))
		tx := w.db.Begin()
		w.must(w.reg.In(tx).Users.Remove(w.vendor, u.ID))
		done := make(chan error, 1)
		go func() { done <- w.reg.Accounts.ReactivateMember(acme, m.ID) }()
		w.blocked(1)
		w.must(tx.Commit().Error)
		err := <-done
		now, _ := w.reg.Accounts.Member(acme, m.ID)
		if now.State != "removed" {
			t.Errorf("reactivate: %v; the place of somebody who has left is %s", err, now.State)
		}
		w.countsAdd()
	})
}

// TestPLX03_AccountsAndTokensOfAnOlderSchema: accounts get an owner and keep their tokens.
func TestPLX03_AccountsAndTokensOfAnOlderSchema(t *testing.T) {
	for _, kind := range []string{dbtest.Postgres, dbtest.SQLite} {
		t.Run(kind, func(t *testing.T) {
			db := dbtest.Empty(t, kind, false)
			run := func(name string) {
				text, err := os.ReadFile("../internal/store/schema/" + kind + "/" + name)
				if err != nil {
					t.Fatal(err)
				}
				if err := db.Transaction(func(tx *gorm.DB) error { return tx.Exec(string(text)).Error }); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			for _, n := range []string{"0001_floor.sql", "0002_ledger.sql", "0003_people.sql"} {
				run(n)
			}
			err := db.Transaction(func(tx *gorm.DB) error {
				for _, q := range []string{
					`INSERT INTO prm_identities (id, kind, login, login_key, email, email_key, email_verified, password_hash, epoch, version, created_at) VALUES ('idn_1', 'human', 'a', 'a', 'a@x.example', 'a@x.example', FALSE, '', 0, 1, 0)`,
					`INSERT INTO prm_partners (id, path, depth, state, version, created_at, name, name_key, email, phone, locale, currency, more_currencies, resell, build, operate, manages_sub_partners, own_blocks, own_cascade, own_inherited, own_epoch, users_blocks, users_cascade, users_inherited, users_epoch, contact_id)
						VALUES ('prt_1', '/1/', 1, 'active', 1, 0, 'P', 'p', '', '', '', 'EUR', '', TRUE, TRUE, TRUE, FALSE, 0, FALSE, 0, 0, 0, FALSE, 0, 0, 'usr_1')`,
					`INSERT INTO prm_users (id, identity_id, partner_id, name, role, disabled, version, created_at) VALUES ('usr_1', 'idn_1', 'prt_1', 'A', 'admin', FALSE, 1, 0)`,
					`INSERT INTO prm_accounts (id, partner_id, type, name, name_key, state, blocks, epoch, region, email, company, country, phone, locale, version, created_at) VALUES ('acc_1', 'prt_1', 'project', 'N', 'n', 'active', 0, 0, '', '', '', '', '', '', 1, 0)`,
					`INSERT INTO prm_accounts (id, partner_id, type, name, name_key, state, blocks, epoch, region, email, company, country, phone, locale, version, created_at) VALUES ('acc_2', 'prt_1', 'project', 'M', 'm', 'closing', 4, 0, '', '', '', '', '', '', 1, 0)`,
					`INSERT INTO prm_tokens (id, purpose, partner_id, user_id, email_key, inviter, form, rights, token_hash, state, created_at, expires_at, ended_at) VALUES ('tok_1', 'reset', 'prt_1', 'usr_1', 'a@x.example', 'host:x', 0, 0, 'h', 'open', 0, 1, 0)`,
				} {
					if err := tx.Exec(q).Error; err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			run("0004_accounts.sql")
			closedByAnOlderBuild(t, db)
			if n := rowsIn(t, db, "prm_accounts WHERE owner_id = 'usr_1'") + rowsIn(t, db, "prm_tokens"); n != 3 {
				t.Errorf("%d rows", n)
			}
			var bad int64
			if kind == dbtest.SQLite {
				bad = rowsIn(t, db, "pragma_foreign_key_check")
			}
			if bad != 0 {
				t.Errorf("%d broken references", bad)
			}
		})
	}
}

// closedByAnOlderBuild: an account that was closing then waits for its contact as any other, who is sent a token; and nobody was idle while he could not say
// that he was not.
func closedByAnOlderBuild(t *testing.T, db *dbtest.Database) {
	t.Helper()
	if n := rowsIn(t, db, "prm_idleness"); n != 2 {
		t.Errorf("%d accounts are looked after", n)
	}
	tamper(t, db, "CREATE TABLE prm_schema_migrations (version INTEGER PRIMARY KEY, name TEXT, compatible_from INTEGER, applied_at BIGINT)")
	tamper(t, db, "INSERT INTO prm_schema_migrations (version, name, compatible_from, applied_at) VALUES (1, 'x', 1, 0), (2, 'x', 1, 0), (3, 'x', 1, 0), (4, 'x', 4, 0)")
	w := newWorld(t, db, func(o *partner.Options) { o.Clock = time.Now })
	w.must(second(w.reg.Step(context.Background())))
	w.mailed("close_reminder to a@x.example")
	w.must(w.reg.Accounts.ConfirmClose(context.Background(), w.waiting("a@x.example")))
	if c := w.closing("acc_2"); c.State != "erasing" || c.By != "system" {
		t.Errorf("%+v", c)
	}
}
