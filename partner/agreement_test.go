package partner_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// TestPIL01_FaultAtEachWriteLeavesNothing makes the database refuse one table at a time while a partner is added.
func TestPIL01_FaultAtEachWriteLeavesNothing(t *testing.T) {
	each(t, func(w *world) {
		parent, _ := w.partner("parent")
		fresh := func(login string) partner.Agreement {
			a := agreement(login)
			a.Parent, a.Deposit, a.Key, a.TaxIDs = parent.ID, 5000, "key-"+login, []partner.TaxID{{Scheme: "ru-kpp", Value: "773601001"}}
			return a
		}
		inserts := []string{"prm_partners", "prm_identities", "prm_users", "prm_contracts", "prm_ledger_balances", "prm_ledger_transfers",
			"prm_events", "prm_keys", "prm_partner_tax_ids", "prm_partner_terms"}
		w.faults("INSERT", inserts, func() error { _, err := w.reg.Partners.Create(w.vendor, fresh("created")); return err })
		w.faults("UPDATE", []string{"prm_ledger_balances"}, func() error { _, err := w.reg.Partners.Create(w.vendor, fresh("updated")); return err })
		w.faults("INSERT", append(inserts, "prm_deliveries", "prm_tokens"), func() error {
			a := fresh("invited")
			a.Password = ""
			_, err := w.reg.Partners.Invite(w.vendor, a)
			return err
		})
		w.sound()
	})
}

// faults runs add once per table with a trigger that refuses, which must leave every table as it was, and then without, which must work
// and change these tables only.
func (w *world) faults(event string, tables []string, add func() error) {
	w.t.Helper()
	before := dump(w.t, w.db)
	for _, table := range tables {
		remove := w.refuse(event, table)
		err := add()
		remove()
		if err == nil {
			w.t.Fatalf("%s of %s failed, and the call did not", event, table)
		}
		if kinds := kindsOf(err); len(kinds) != 1 {
			w.t.Errorf("%v is of the kinds %v", err, kinds)
		}
		if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
			w.t.Fatalf("%s of %s failed, and something stayed in %v", event, table, left)
		}
	}
	w.must(add())
	if event == "INSERT" {
		left := differing(before, dump(w.t, w.db))
		slices.Sort(tables)
		if !slices.Equal(left, tables) {
			w.t.Fatalf("the call wrote to %v, and faults were injected in %v", left, tables)
		}
	}
}

// refuse installs a trigger that fails every statement of that kind on table.
func (w *world) refuse(event, table string) (remove func()) {
	w.t.Helper()
	if w.db.Kind == dbtest.SQLite {
		tamper(w.t, w.db, fmt.Sprintf("CREATE TRIGGER fault BEFORE %s ON %s BEGIN SELECT RAISE(ABORT, 'fault'); END", event, table))
		return func() { tamper(w.t, w.db, "DROP TRIGGER fault") }
	}
	tamper(w.t, w.db, "CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'fault'; END $$")
	tamper(w.t, w.db, fmt.Sprintf("CREATE TRIGGER fault BEFORE %s ON %s FOR EACH ROW EXECUTE FUNCTION fault()", event, table))
	return func() { tamper(w.t, w.db, "DROP TRIGGER fault ON "+table) }
}

func TestPIL01_CreateGivesLoginContactContractAndDeposit(t *testing.T) {
	each(t, func(w *world) {
		a := agreement("acme")
		a.Deposit, a.BillingModel, a.Phone, a.Locale, a.MoreCurrencies = 5000, "prepayment", "+49 (30) 123-4567", "de-DE", []string{"USD", "CHF"}
		p, err := w.reg.Partners.Create(w.vendor, a)
		w.must(err)
		got, err := w.reg.Partners.Get(w.login("acme"), p.ID)
		w.must(err)
		if got.State != "active" || got.Contact == "" || got.Contract == "" || got.Balance != (partner.Money{Minor: 5000, Currency: "EUR"}) ||
			got.Deposit != 5000 {
			w.t.Errorf("the partner is %+v", got)
		}
		if got.Login != "acme" || got.Email != a.Email || got.Phone != "+49301234567" || got.Locale != "de-DE" || !slices.Equal(got.MoreCurrencies,
			[]string{"CHF", "USD"}) {
			w.t.Errorf("the agreement is %+v", got.Agreement)
		}
		if got.Password != "" || got.Key != "" || len(got.Warnings) != 0 {
			w.t.Errorf("the agreement shows what it should not: %+v", got)
		}
	})
}

func TestPIL01_ThreeBadFieldsGiveThreeErrors(t *testing.T) {
	each(t, func(w *world) {
		before := dump(w.t, w.db)
		a := agreement("bad name!")
		a.Email, a.Deposit = "nowhere", -1
		_, err := w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "three bad fields", err, "login:format", "email:format", "deposit:range")
		if left := differing(before, dump(w.t, w.db)); len(left) > 0 {
			w.t.Errorf("a refused call wrote to %v", left)
		}
		w.partner("held")
		a = agreement("HELD")
		a.Name = "" // a fault that the database finds comes with those that it does not
		_, err = w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "an empty name and a taken log-in", err, "name:required", "login:taken")
	})
}

func TestPIL03_ADuplicateNameSavesWithAWarning(t *testing.T) {
	each(t, func(w *world) {
		first, _ := w.partner("acme-1", func(a *partner.Agreement) { a.Name = "ACME" })
		if len(first.Warnings) != 0 {
			w.t.Errorf("the first has warnings: %v", first.Warnings)
		}
		for i, name := range []string{"ACME", "acme", " Ａcme ", "a\u200bcme"} { // the last has a space that nobody sees
			p, _ := w.partner(fmt.Sprintf("acme-%d", i+2), func(a *partner.Agreement) { a.Name = name })
			if p.Name != name {
				w.t.Errorf("the name is %q, want it as typed: %q", p.Name, name)
			}
			if len(p.Warnings) != 1 || p.Warnings[0].Path != "name" || p.Warnings[0].Code != "taken" {
				w.t.Errorf("%q has the warnings %v", name, p.Warnings)
			}
		}
		other, _ := w.partner("other")
		p, err := w.reg.Partners.Edit(w.vendor, other.ID, other.Version, func(a *partner.Agreement) { a.Name = "Acme" })
		w.must(err)
		if len(p.Warnings) != 1 {
			w.t.Errorf("an edit to a duplicate name has the warnings %v", p.Warnings)
		}
	})
}

// depositOf is what lies apart, and the whole sum of a contract's entries.
func (w *world) depositOf(contract string) (apart, balance, entries int64) {
	w.t.Helper()
	amount := func(state string) (n int64) {
		w.must(w.db.Raw("SELECT COALESCE(sum(amount), 0) FROM prm_ledger_balances WHERE owner = ? AND book = 'money' AND state = ?", contract, state).
			Scan(&n).Error)
		return n
	}
	w.must(w.db.Raw(`SELECT COALESCE(sum(CASE WHEN t.to_id = b.id THEN t.quantity ELSE -t.quantity END), 0) FROM prm_ledger_transfers t
		JOIN prm_ledger_balances b ON b.id IN (t.from_id, t.to_id) WHERE b.owner = ? AND b.state = 'held'`, contract).Scan(&entries).Error)
	return amount("reserved"), amount("held"), entries
}

func TestPIL06_ADepositIsBalanceUnderPrepaymentElseHeldApart(t *testing.T) {
	each(t, func(w *world) {
		check := func(p partner.Partner, apart, balance int64) {
			w.t.Helper()
			a, b, entries := w.depositOf(p.Contract)
			if a != apart || b != balance || entries != balance || p.Balance.Minor != balance || p.Deposit != 5000 {
				w.t.Errorf("%s holds %d apart and %d, entries make %d, shown are %+v and %d", p.BillingModel, a, b, entries, p.Balance, p.Deposit)
			}
		}
		pre, _ := w.partner("pre", func(a *partner.Agreement) { a.Deposit, a.BillingModel = 5000, "prepayment" })
		check(pre, 0, 5000)
		post, _ := w.partner("post", func(a *partner.Agreement) { a.Deposit = 5000 })
		check(post, 5000, 0)
		light, _ := w.partner("light", func(a *partner.Agreement) {
			a.Deposit, a.BillingModel, a.BlockingLimit = 5000, "postpayment_light", 100
		})
		check(light, 5000, 0)
		set := func(p partner.Partner, model string) partner.Partner {
			p, err := w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.BillingModel = model })
			w.must(err)
			return p
		}
		for _, p := range []partner.Partner{post, light} {
			p = set(p, "prepayment")
			check(p, 0, 5000)
			p = set(p, "postpayment") // what was applied stays balance
			check(p, 0, 5000)
			check(set(p, "prepayment"), 0, 5000)
		}
		w.sound()
	})
}

func TestPIL06_ANegativeDepositIsRefused(t *testing.T) {
	each(t, func(w *world) {
		for _, n := range []int64{-1, -1 << 63, 1 << 53, 1<<63 - 1} {
			a := agreement("acme")
			a.Deposit = n
			_, err := w.reg.Partners.Create(w.vendor, a)
			wantsFields(w.t, fmt.Sprint("a deposit of ", n), err, "deposit:range")
		}
		p, _ := w.partner("acme", func(a *partner.Agreement) { a.Deposit = 1<<53 - 1 })
		_, err := w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Deposit = 1 })
		wants(w.t, "an edit of the deposit", err, partner.ErrImmutable)
	})
}

func TestPIL16_TheMainCurrencyIsFixedByTheFirstEntry(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme", func(a *partner.Agreement) { a.MoreCurrencies = []string{"USD"} })
		edit := func(p partner.Partner, change func(*partner.Agreement)) (partner.Partner, error) {
			return w.reg.Partners.Edit(w.vendor, p.ID, p.Version, change)
		}
		_, err := edit(p, func(a *partner.Agreement) { a.Currency = "USD" })
		wantsFields(w.t, "main and additional at once", err, "more_currencies[0]:currency")
		wants(w.t, "main and additional at once", err, partner.ErrCurrencyNotAllowed)
		_, err = w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.Currency = "GBP" })
		wants(w.t, "a partner's edit of its currency", err, partner.ErrForbidden)
		p, err = edit(p, func(a *partner.Agreement) { a.Currency, a.MoreCurrencies = "USD", []string{"EUR"} })
		w.must(err)
		if p.Currency != "USD" || p.Balance.Currency != "USD" || p.Contract == "" {
			w.t.Errorf("the partner is %+v", p)
		}
		paid, _ := w.partner("paid", func(a *partner.Agreement) { a.Deposit = 1 })
		_, err = edit(paid, func(a *partner.Agreement) { a.Currency = "USD" })
		wants(w.t, "after the first entry", err, partner.ErrCurrencyLocked)
		if got, err := w.reg.Partners.Get(w.vendor, paid.ID); err != nil || got.Currency != "EUR" || got.Version != paid.Version {
			w.t.Errorf("a refused edit left %+v, %v", got, err)
		}
	})
}

// TestPIL16_CurrencyLockRace edits the currency while a first entry is posted: never both in different currencies.
func TestPIL16_CurrencyLockRace(t *testing.T) {
	each(t, func(w *world) {
		db, err := store.Open(w.vendor, w.db.DB, store.Config{Clock: w.clock.Now})
		w.must(err)
		edits := 0
		for i := range 40 {
			p, _ := w.partner(fmt.Sprintf("race-%d", i))
			var edited, posted error
			var racing sync.WaitGroup
			start := make(chan struct{})
			racing.Go(func() {
				<-start
				_, edited = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Currency = "USD" })
			})
			racing.Go(func() { <-start; posted = postFirst(w, db, p) })
			close(start)
			racing.Wait()
			w.must(posted)
			now, err := w.reg.Partners.Get(w.vendor, p.ID)
			w.must(err)
			var unit string
			w.must(w.db.Raw("SELECT unit FROM prm_ledger_transfers WHERE partner_id = ?", p.ID).Scan(&unit).Error)
			switch {
			case unit != now.Currency || now.Balance.Minor != 700:
				w.t.Fatalf("the entry is in %s, the partner's currency is %s, its balance %v", unit, now.Currency, now.Balance)
			case edited == nil && now.Currency != "USD":
				w.t.Fatalf("the edit succeeded, and the currency is %s", now.Currency)
			case edited == nil:
				edits++
			default:
				wants(w.t, "an edit behind the entry", edited, partner.ErrCurrencyLocked)
			}
		}
		w.t.Logf("the edit was first %d times of 40", edits)
	})
}

// postFirst posts as the rooms that take money will: it shares the contract's row, and posts in the currency that it found there.
func postFirst(w *world, db *store.DB, p partner.Partner) error {
	all := store.Everything("a test")
	return store.InTx(w.vendor, db, func(tx *store.Tx) error {
		var unit string
		if err := tx.Query(all, &unit, "SELECT currency FROM prm_contracts WHERE id = ?"+tx.Lock("SHARE"), p.Contract); err != nil {
			return err
		}
		_, _, err := ledger.Post(tx, ledger.Posting{Book: ledger.Money, Unit: unit, Verb: "payment", From: ledger.HeldBy(ledger.Issuer),
			To: ledger.HeldBy(p.Contract), Quantity: 700, Partner: string(p.ID), Actor: "host:test", Key: "first", Hash: "first"})
		return err
	})
}

func TestPIL17_AdditionalCurrenciesAreASetWithoutTheMainOne(t *testing.T) {
	each(t, func(w *world) {
		a := agreement("acme")
		a.MoreCurrencies = []string{"USD", "EUR", "USD", "XYZ", ""}
		_, err := w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "bad currencies", err, "more_currencies[1]:currency", "more_currencies[2]:currency", "more_currencies[3]:unknown_code",
			"more_currencies[4]:required")
		if !errors.Is(err, partner.ErrCurrencyNotAllowed) || !errors.Is(err, partner.ErrUnknownCode) {
			w.t.Errorf("%v hides the sentinels behind it", err)
		}
		p, _ := w.partner("acme", func(a *partner.Agreement) { a.MoreCurrencies = []string{"USD", "CHF"} })
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.MoreCurrencies = []string{"GBP", "CHF"} })
		w.must(err)
		if !slices.Equal(p.MoreCurrencies, []string{"CHF", "GBP"}) {
			w.t.Errorf("the currencies are %v", p.MoreCurrencies)
		}
		a = agreement("nowhere")
		a.Currency = "eur"
		_, err = w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "a currency in small letters", err, "currency:unknown_code")
	})
}

func TestPIL26_BillingModelsAreThree(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("default")
		if p.BillingModel != "postpayment" {
			w.t.Errorf("the default model is %q", p.BillingModel)
		}
		for i, model := range []string{"prepayment", "postpayment", "postpayment_light"} {
			p, _ := w.partner(fmt.Sprint("model-", i), func(a *partner.Agreement) { a.BillingModel, a.BlockingLimit = model, 1 })
			if p.BillingModel != model || p.BlockingLimit != 1 {
				w.t.Errorf("the model is %q, want %q", p.BillingModel, model)
			}
		}
		for _, model := range []string{"Prepayment", "free", " "} {
			a := agreement("other")
			a.BillingModel = model
			_, err := w.reg.Partners.Create(w.vendor, a)
			wantsFields(w.t, "model "+model, err, "billing_model:unknown_code")
			wants(w.t, "model "+model, err, partner.ErrUnknownCode)
			_, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.BillingModel = model })
			wants(w.t, "edit to model "+model, err, partner.ErrUnknownCode)
		}
		a := agreement("light")
		a.BillingModel = "postpayment_light"
		_, err := w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "no limit", err, "blocking_limit:required")
		a.BlockingLimit = -1
		_, err = w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "a negative limit", err, "blocking_limit:range")
	})
}

func TestPIL30_ThePartnerWideContractOpensWithThePartner(t *testing.T) {
	each(t, func(w *world) {
		from, until := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		plain, _ := w.partner("plain")
		if plain.ContractNumber == "" || plain.ContractPeriod.From.IsZero() || !plain.ContractPeriod.Until.IsZero() {
			w.t.Errorf("the contract is %q from %v", plain.ContractNumber, plain.ContractPeriod)
		}
		p, _ := w.partner("acme", func(a *partner.Agreement) {
			a.ContractNumber, a.ContractPeriod = "C-1", partner.Period{From: from, Until: until}
		})
		if p.ContractNumber != "C-1" || p.ContractPeriod.From != from || p.ContractPeriod.Until != until {
			w.t.Errorf("the contract is %q in %v", p.ContractNumber, p.ContractPeriod)
		}
		w.partner("other", func(a *partner.Agreement) { a.ContractNumber = "C-1" }) // unique per partner, not over all
		a := agreement("backwards")
		a.ContractPeriod = partner.Period{From: until, Until: from}
		_, err := w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "an end before the beginning", err, "contract_period:range")
		tamper(w.t, w.db, `INSERT INTO prm_contracts (id, partner_id, number, currency, billing_model, blocking_limit, from_at, until_at, version, created_at)
			VALUES ('ctr_2', ?, 'C-2', 'USD', 'postpayment', 0, 0, 0, 1, 1)`, p.ID)
		_, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.ContractNumber = "C-2" })
		wantsFields(w.t, "a number that the partner has", err, "contract_number:taken")
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) {
			a.ContractNumber, a.ContractPeriod = "C-3", partner.Period{From: from}
		})
		w.must(err)
		if p.ContractNumber != "C-3" || !p.ContractPeriod.Until.IsZero() {
			w.t.Errorf("the contract is %q in %v", p.ContractNumber, p.ContractPeriod)
		}
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.ContractNumber = "" })
		w.must(err)
		if p.ContractNumber == "" || p.ContractNumber == "C-3" {
			w.t.Errorf("an emptied number is %q, want a generated one", p.ContractNumber)
		}
	})
}
