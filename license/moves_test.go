package license_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// TestAT14_CLW16_FiftyCallersAtOnce is AT-14's first half: whatever fifty callers win or lose, the sum stays and nothing is cut in two.
func TestAT14_CLW16_FiftyCallersAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, to := w.supplied(100)
		won := 0
		for i, err := range together(50, func(int) error { _, err := w.seats.Assign(a.me, to, "seat", 7); return err }) {
			var short *license.InsufficientError
			switch {
			case err == nil:
				won++
			case !errors.As(err, &short) || !errors.Is(err, partner.ErrRefused) || short.Available >= 7:
				t.Fatalf("caller %d: %v", i, err)
			}
		}
		if won != 14 { // 14 * 7 = 98; two are left, which is not seven
			t.Fatalf("%d callers won, want 14", won)
		}
		w.has(a.ID, "seat", 2)
		w.has(to, "seat", 98)
		w.sound()
	})
}

func TestCLW16_WholeOrNotAtAll(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, to := w.supplied(10)
		_, err := w.seats.Assign(a.me, to, "seat", 11)
		w.is(err, license.ErrInsufficient)
		var short *license.InsufficientError
		if !errors.As(err, &short) || short.Available != 10 {
			t.Fatalf("got %v, want what there is: 10", err)
		}
		w.has(a.ID, "seat", 10)
		w.has(to, "seat", 0)
		for _, n := range []int64{0, -1, -1 << 63, license.MaxQuantity + 1, 1<<63 - 1} {
			_, err := w.seats.Assign(a.me, to, "seat", n)
			w.faulty(err, "quantity:range")
		}
		_, err = w.seats.Assign(a.me, to, "", 0)
		w.faulty(err, "sku:required quantity:range")
		w.assign(a.me, to, "seat", 10)
		w.has(to, "seat", 10)
		w.sound()
	})
}

// TestCLW16_TargetState: the state of the target decides; the block reasons that are about access and payment do not.
func TestCLW16_TargetState(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, to := w.supplied(100)
		for _, c := range []struct {
			state  string
			blocks int // manual 1, unpaid 2, closing 4, dormant 8
			check  func(error)
		}{
			{"active", 0, w.must}, {"idle_notified", 0, w.must}, {"active", 1, w.must}, {"active", 2, w.must}, {"idle_notified", 3, w.must},
			{"closing", 4, func(err error) { w.blocked(err, "closing") }},
			{"deleting", 8, func(err error) { w.blocked(err, "dormant") }},
			{"deleting", 4, func(err error) { w.blocked(err, "closing") }},
			{"suspended", 0, func(err error) { w.is(err, partner.ErrSuspended) }},
			{"deleted", 4, func(err error) { w.is(err, partner.ErrNotFound) }},
		} {
			w.must(w.db.Exec("UPDATE prm_accounts SET state = ?, blocks = ? WHERE id = ?", c.state, c.blocks, to).Error)
			_, err := w.seats.Assign(a.me, to, "seat", 1)
			c.check(err)
		}
		w.must(w.db.Exec("UPDATE prm_accounts SET state = 'active', blocks = 0 WHERE id = ?", to).Error)
		w.has(to, "seat", 5)
	})
}

// TestCLW16_OnlyPartnerUsers: a move is the partner's own act, not the vendor's, not the project's, not nobody's.
func TestCLW16_OnlyPartnerUsers(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, to := w.supplied(10)
		w.assign(a.me, to, "seat", 5)
		for _, ctx := range []context.Context{w.vendor, w.login("one"), context.Background()} {
			_, err := w.seats.Assign(ctx, to, "seat", 1)
			w.is(err, partner.ErrForbidden)
			_, err = w.seats.Return(ctx, "seat", 1)
			w.is(err, partner.ErrForbidden)
		}
		w.has(to, "seat", 5)
	})
}

func TestCLW16_SuspendedSource(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.supplied(10)
		two := w.project(a.me, "two")
		w.assign(a.me, one, "seat", 5)
		w.must(w.reg.Access.SwitchTo(a.me, one))
		w.must(w.reg.Accounts.Suspend(w.vendor, one))
		_, err := w.seats.Assign(a.me, two, "seat", 1)
		w.is(err, partner.ErrSuspended)
		_, err = w.seats.Return(a.me, "seat", 1)
		w.is(err, partner.ErrSuspended)
		w.must(w.reg.Accounts.Resume(w.vendor, one))
		w.assign(a.me, two, "seat", 1)
		w.has(two, "seat", 1)
	})
}

func TestCLW17_Reassign(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(20)
		b := w.partner("bolt")
		two, foreign := w.project(a.me, "two"), w.project(b.me, "foreign")
		w.assign(a.me, one, "seat", 10)
		w.must(w.reg.Access.SwitchTo(a.me, one))
		tr := w.assign(a.me, two, "seat", 4)
		if tr.From != partner.Holder(one) || tr.To != partner.Holder(two) || tr.FromAfter != 6 || tr.ToAfter != 4 || tr.Verb != "assign" {
			t.Fatalf("transfer %+v", tr)
		}
		// The caller's own pool is no project either: what goes there is a Return.
		for _, id := range []partner.AccountID{foreign, "acc_00000000000000000000000000", "", partner.AccountID(b.ID), partner.AccountID(a.ID)} {
			_, err := w.seats.Assign(a.me, id, "seat", 1)
			if !errors.Is(err, partner.ErrNotFound) {
				t.Errorf("assign to %q: %v, want not found", id, err)
			}
		}
		tr, err := w.seats.Return(a.me, "seat", 3)
		w.must(err)
		if tr.From != partner.Holder(one) || tr.To != partner.Holder(a.ID) {
			t.Fatalf("transfer %+v", tr)
		}
		w.has(a.ID, "seat", 13)
		w.has(one, "seat", 3)
		w.has(two, "seat", 4)
		w.has(foreign, "seat", 0)
		_, err = w.seats.Assign(a.me, one, "seat", 1)
		w.faulty(err, "to:range")
		w.sound()
	})
}

// TestAT14_CLW18_SourceIsTheSession is AT-14's second half: the source is never an argument; From can only agree with it.
func TestAT14_CLW18_SourceIsTheSession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(20)
		two, b := w.project(a.me, "two"), w.partner("bolt")
		w.grant(b.ID, "seat", 20)
		w.assign(a.me, one, "seat", 10, license.From(a.ID))
		for _, source := range []partner.Holder{one, two, b.ID, partner.AccountID(a.ID), partner.ID("")} {
			_, err := w.seats.Assign(a.me, two, "seat", 1, license.From(source))
			w.is(err, license.ErrWrongContext)
		}
		_, err := w.seats.Return(a.me, "seat", 1) // there is nothing to return from without a switch
		w.is(err, license.ErrWrongContext)
		other := w.login("acme") // another session of the same user stays where it is
		w.must(w.reg.Access.SwitchTo(a.me, one))
		_, err = w.seats.Assign(a.me, two, "seat", 1, license.From(a.ID))
		w.is(err, license.ErrWrongContext)
		w.assign(a.me, two, "seat", 1, license.From(one))
		w.assign(other, two, "seat", 1, license.From(a.ID))
		w.has(a.ID, "seat", 9)
		w.has(one, "seat", 9)
		w.has(two, "seat", 2)
		w.has(b.ID, "seat", 20)
	})
}

func TestCLW27_DefineAndRetire(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		one := w.project(a.me, "one")
		_, err := w.seats.Grant(w.vendor, a.ID, "seat", 1)
		w.faulty(err, "sku:unknown_code")
		w.is(err, partner.ErrUnknownCode)
		_, err = w.seats.Assign(a.me, one, "seat", 1)
		w.faulty(err, "sku:unknown_code")
		w.faulty(w.seats.Define(w.vendor, license.Type{SKU: "not a sku", Name: " "}), "sku:format name:required")
		w.is(w.seats.Define(a.me, license.Type{SKU: "seat", Name: "Seat"}), partner.ErrForbidden)
		w.define("seat")
		w.grant(a.ID, "seat", 10)

		events := w.events()
		w.must(w.seats.Define(w.vendor, license.Type{SKU: "seat", Name: "Licence seat"})) // as it is: nothing happens
		if n := w.events(); n != events {
			t.Errorf("defining a type again left %d events", n-events)
		}
		w.must(w.seats.Define(w.vendor, license.Type{SKU: "seat", Name: "Old seat"}))
		w.is(w.seats.Retire(a.me, "seat"), partner.ErrForbidden)
		w.faulty(w.seats.Retire(w.vendor, "chair"), "sku:unknown_code")
		w.must(w.seats.Retire(w.vendor, "seat"))
		types, err := w.seats.Types(a.me)
		w.must(err)
		if len(types) != 1 || types[0] != (license.Type{SKU: "seat", Name: "Old seat", Retired: true}) {
			t.Fatalf("types %+v", types)
		}
		_, err = w.seats.Grant(w.vendor, a.ID, "seat", 1)
		w.faulty(err, "sku:retired_code")
		w.assign(a.me, one, "seat", 4)
		w.must(w.reg.Access.SwitchTo(a.me, one))
		_, err = w.seats.Return(a.me, "seat", 1)
		w.must(err)
		_, err = w.seats.Revoke(w.vendor, one, "seat", 1, license.Because("never used"))
		w.must(err)
		w.has(a.ID, "seat", 7)
		w.has(one, "seat", 2)
		w.must(w.seats.Define(w.vendor, license.Type{SKU: "seat", Name: "Old seat"})) // a host's start does not bring it back
		_, err = w.seats.Grant(w.vendor, a.ID, "seat", 1)
		w.faulty(err, "sku:retired_code")
		w.sound()
	})
}

// TestCLW27_RevokeFindsPoolAndProject: the vendor takes back what is there, from a closing project's pool too, and no more.
func TestCLW27_RevokeFindsPoolAndProject(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(10)
		w.assign(a.me, one, "seat", 4)
		_, err := w.seats.Revoke(w.vendor, one, "seat", 5)
		var short *license.InsufficientError
		if !errors.As(err, &short) || short.Available != 4 {
			t.Fatalf("revoke 5 of 4: %v", err)
		}
		tr, err := w.seats.Revoke(w.vendor, one, "seat", 4, license.Because("contract ended"), license.Key("R-1"))
		w.must(err)
		if tr.To != nil || tr.From != partner.Holder(one) || tr.Reason != "contract ended" || tr.Key != "R-1" || tr.Actor != "host:ops@vendor.example" {
			t.Fatalf("transfer %+v", tr)
		}
		w.close(a.me, one)
		_, err = w.seats.Revoke(w.vendor, a.ID, "seat", 6)
		w.must(err)
		for _, h := range []partner.Holder{nil, partner.ID(""), partner.ID("issuer"), partner.ID("prt_none")} {
			_, err = w.seats.Revoke(w.vendor, h, "seat", 1)
			w.is(err, partner.ErrNotFound)
		}
		_, err = w.seats.Grant(w.vendor, partner.Vendor, "seat", 1)
		w.is(err, partner.ErrForbidden)
		_, err = w.seats.Grant(w.vendor, partner.ID(one), "seat", 1) // a grant goes to a pool
		w.is(err, partner.ErrNotFound)
		w.sound()
	})
}

// TestCLW27_PartnerNeverRaisesItsStock tries every verb a partner has; none makes a licence.
func TestCLW27_PartnerNeverRaisesItsStock(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		a, one := w.supplied(10)
		_, err := w.seats.Grant(a.me, a.ID, "seat", 5)
		w.is(err, partner.ErrForbidden)
		_, err = w.seats.Revoke(a.me, one, "seat", 1)
		w.is(err, partner.ErrForbidden)
		_, err = w.seats.Assign(a.me, one, "seat", 5, license.From(partner.ID("issuer")))
		w.is(err, license.ErrWrongContext)
		for i := range 20 {
			w.assign(a.me, one, "seat", 2)
			w.must(w.reg.Access.SwitchTo(a.me, one))
			_, err = w.seats.Return(a.me, "seat", 2, license.Key(fmt.Sprint(i)))
			w.must(err)
			w.must(w.reg.Access.SwitchBack(a.me))
		}
		w.close(a.me, one)
		w.has(a.ID, "seat", 10)
	})
}

// TestBEY12_DatabaseRefusesOverdraw goes behind the SDK's back.
func TestBEY12_DatabaseRefusesOverdraw(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		w.grant(a.ID, "seat", 10)
		for _, sql := range []string{
			"UPDATE prm_ledger_balances SET amount = amount - 11 WHERE owner = '" + a.ID.String() + "' AND book = 'license'",
			"UPDATE prm_ledger_balances SET bounded = FALSE WHERE owner = '" + a.ID.String() + "' AND book = 'license'",
			"UPDATE prm_ledger_transfers SET quantity = 1",
			"DELETE FROM prm_ledger_transfers",
			"UPDATE prm_ledger_transfers SET reason = ''",
		} {
			// A failed statement ends a transaction of PostgreSQL, so each runs in its own.
			if err := w.db.Transaction(func(tx *gorm.DB) error { return tx.Exec(sql).Error }); err == nil {
				t.Errorf("the database took %s", sql)
			}
		}
		w.has(a.ID, "seat", 10)
		w.sound()
	})
}

func TestBEY12_VerifyNamesTheTamperedBalance(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(10)
		w.define("mailbox")
		w.grant(a.ID, "mailbox", 10)
		w.assign(a.me, one, "seat", 4)
		w.sound()
		var id int64
		w.must(w.db.Raw("SELECT id FROM prm_ledger_balances WHERE owner = ? AND unit = 'seat'", one).Scan(&id).Error)
		w.must(w.db.Exec("UPDATE prm_ledger_balances SET amount = amount + 1 WHERE id = ?", id).Error)
		v, err := w.seats.Verify(w.vendor)
		w.must(err)
		if v.FirstWrong != id || v.Transfers != 3 || v.Holders != 2 {
			t.Fatalf("verdict %+v, want balance %d", v, id)
		}
		w.must(w.db.Exec("UPDATE prm_ledger_balances SET amount = amount - 1 WHERE id = ?", id).Error)
		w.sound()
		_, err = w.seats.Verify(a.me)
		w.is(err, partner.ErrForbidden)
	})
}

// TestBEY13_RepeatsHaveOneEffect doubles every verb of the ledger 64 times at once.
func TestBEY13_RepeatsHaveOneEffect(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, one := w.supplied(1000)
		w.assign(a.me, one, "seat", 500)
		there := w.login("acme")
		w.must(w.reg.Access.SwitchTo(there, one))
		pool, held := int64(500), int64(500)
		for _, c := range []struct {
			verb        string
			pool, held  int64
			call, other func() (license.Transfer, error)
		}{
			{"grant", +5, 0, func() (license.Transfer, error) { return w.seats.Grant(w.vendor, a.ID, "seat", 5, license.Key("k")) },
				func() (license.Transfer, error) { return w.seats.Grant(w.vendor, a.ID, "seat", 6, license.Key("k")) }},
			{"revoke", -5, 0, func() (license.Transfer, error) { return w.seats.Revoke(w.vendor, a.ID, "seat", 5, license.Key("k")) },
				func() (license.Transfer, error) { return w.seats.Revoke(w.vendor, one, "seat", 5, license.Key("k")) }},
			{"assign", -5, +5, func() (license.Transfer, error) { return w.seats.Assign(a.me, one, "seat", 5, license.Key("k")) },
				func() (license.Transfer, error) {
					return w.seats.Assign(a.me, one, "seat", 5, license.Key("k"), license.Because("another reason"))
				}},
			{"return", +5, -5, func() (license.Transfer, error) { return w.seats.Return(there, "seat", 5, license.Key("k")) },
				func() (license.Transfer, error) { return w.seats.Return(there, "seat", 1, license.Key("k")) }},
		} {
			var all [64]license.Transfer
			fresh := 0
			for i, err := range together(len(all), func(i int) (err error) { all[i], err = c.call(); return err }) {
				w.must(err)
				if !all[i].Replayed {
					fresh++
				}
				if all[i].ID != all[0].ID || all[i].Verb != c.verb || all[i].ToAfter != all[0].ToAfter || !all[i].Recorded.Equal(all[0].Recorded) {
					t.Fatalf("%s: repeat %+v differs from %+v", c.verb, all[i], all[0])
				}
			}
			if fresh != 1 {
				t.Fatalf("%s took effect %d times", c.verb, fresh)
			}
			pool, held = pool+c.pool, held+c.held
			w.has(a.ID, "seat", pool)
			w.has(one, "seat", held)
			_, err := c.other()
			w.is(err, partner.ErrIdempotencyMismatch)
			w.is(err, partner.ErrExists)
		}
		w.has(a.ID, "seat", pool)
		w.has(one, "seat", held)
		w.sound()
	})
}

// TestBEY13_ReplayOutlivesTheWorld: a repeated call gets its first answer whatever has become of the pool, the sku or the project.
func TestBEY13_ReplayOutlivesTheWorld(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.partner("acme")
		w.define("seat")
		granted := w.grant(a.ID, "seat", 10, license.Key("PO-1"))
		one := w.project(a.me, "one")
		first := w.assign(a.me, one, "seat", 10, license.Key("click"))
		inPool := w.login("acme")
		w.must(w.reg.Access.SwitchTo(a.me, one))
		back, err := w.seats.Return(a.me, "seat", 2, license.Key("back"))
		w.must(err)
		_, err = w.seats.Revoke(w.vendor, a.ID, "seat", 2, license.Key("R-1"))
		w.must(err)
		w.must(w.seats.Retire(w.vendor, "seat"))
		same := func(when string, was license.Transfer, again license.Transfer, err error) {
			t.Helper()
			if was.Replayed = true; err != nil || !reflect.DeepEqual(again, was) {
				t.Errorf("%s: %+v, %v; want the first answer %+v", when, again, err, was)
			}
		}
		all := func(when string) {
			t.Helper()
			again, err := w.seats.Grant(w.vendor, a.ID, "seat", 10, license.Key("PO-1"))
			same("grant "+when, granted, again, err)
			again, err = w.seats.Assign(inPool, one, "seat", 10, license.Key("click"))
			same("assign "+when, first, again, err)
			again, err = w.seats.Return(a.me, "seat", 2, license.Key("back"))
			same("return "+when, back, again, err)
		}
		all("after the pool ran dry and the sku retired")
		w.must(w.reg.Accounts.Suspend(w.vendor, one))
		all("while the project is suspended")
		w.must(w.reg.Accounts.Resume(w.vendor, one))
		w.close(w.login("acme"), one)
		all("after the project closed")
		_, err = w.seats.Assign(inPool, one, "seat", 9, license.Key("click"))
		w.is(err, partner.ErrIdempotencyMismatch)
		w.sound()
	})
}

// TestBEY13_KeysArePerPartnerAndVerb: the same key means nothing elsewhere, and one is made where none is given.
func TestBEY13_KeysArePerPartnerAndVerb(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.partner("acme"), w.partner("bolt")
		w.define("seat")
		for _, s := range []side{a, b} {
			w.grant(s.ID, "seat", 10, license.Key("k"))
			one := w.project(s.me, "one-"+s.Login)
			if tr := w.assign(s.me, one, "seat", 4, license.Key("k")); tr.Replayed {
				t.Fatalf("%s: a key of another verb or partner counted: %+v", s.Login, tr)
			}
			made := w.assign(s.me, one, "seat", 1)
			if made.Key == "" {
				t.Fatal("no key was made")
			}
			if again := w.assign(s.me, one, "seat", 1, license.Key(made.Key)); !again.Replayed || again.ID != made.ID {
				t.Fatalf("the made key does not replay: %+v", again)
			}
			w.has(one, "seat", 5)
		}
		_, err := w.seats.Grant(w.vendor, a.ID, "seat", 1, license.Key(""))
		w.faulty(err, "key:required")
	})
}
