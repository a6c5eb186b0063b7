package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// shared holds real and hostile files; a test that wants one is skipped where it is absent.
const shared = "../../../shared/"

func quickstart(args ...string) (stdout, stderr string, err error) {
	var out, log bytes.Buffer
	err = run(context.Background(), args, &out, &log)
	return out.String(), log.String(), err
}

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// opened is a kept database, looked at after a run.
type opened struct {
	t      *testing.T
	db     *gorm.DB
	reg    *partner.Registry
	vendor context.Context
}

func open(t *testing.T, path string) opened {
	t.Helper()
	db, err := gorm.Open(sqlite.Open(partner.SQLiteDSN(path)), &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if pool, err := db.DB(); err == nil {
		t.Cleanup(func() { _ = pool.Close() })
	}
	reg, err := partner.Open(context.Background(), db, nil)
	if err != nil {
		t.Fatal(err)
	}
	return opened{t, db, reg, partner.AsVendor(context.Background(), "test")}
}

// partners are all but Acme, oldest first.
func (o opened) partners() []partner.Partner {
	o.t.Helper()
	var list []partner.Partner
	for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
		return o.reg.Partners.List(o.vendor, partner.PartnerFilter{}, r)
	}) {
		if err != nil {
			o.t.Fatal(err)
		}
		if p.Login != "acme" {
			list = append([]partner.Partner{p}, list...)
		}
	}
	return list
}

func (o opened) projects() []partner.Account {
	o.t.Helper()
	var list []partner.Account
	for a, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Account], error) {
		return o.reg.Accounts.List(o.vendor, partner.AccountFilter{}, r)
	}) {
		if err != nil {
			o.t.Fatal(err)
		}
		list = append([]partner.Account{a}, list...)
	}
	return list
}

func (o opened) available(h partner.Holder) int64 {
	o.t.Helper()
	b, err := license.New(o.reg).Balance(o.vendor, h, "mailbox")
	if err != nil {
		o.t.Fatal(err)
	}
	return b.Available
}

// counts are the rows of every table of the SDK.
func (o opened) counts() string {
	o.t.Helper()
	var tables []string
	o.db.Raw("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'prm\\_%' ESCAPE '\\' ORDER BY name").Scan(&tables)
	var list []string
	for _, table := range tables {
		var n int64
		if err := o.db.Raw("SELECT count(*) FROM " + table).Scan(&n).Error; err != nil {
			o.t.Fatal(err)
		}
		list = append(list, fmt.Sprint(table, " ", n))
	}
	return strings.Join(list, "\n")
}

const tourLines = `opened "Office move" and "Annex" in region DE
assigned 25 from the pool to "Office move"
switched into "Office move" and reassigned 5 to "Annex"
500 more were refused: only 20 are there
returned 5 to the pool and switched back
the customer logs in and sees 15 in "Office move"
closing "Office move": 15 would come back
closed; the pool has 95
`

func TestTour(t *testing.T) {
	const want = "Acme Integrators, log-in acme, was granted 100 mailbox licences\n" + tourLines + `mailbox licences in the pools:
      95  Acme Integrators
and in the newest projects:
       5  Annex
       0  Office move
verified 5 transfers of 3 holders: every balance follows from them
`
	for range 2 { // each on a database of its own
		stdout, stderr, err := quickstart()
		if err != nil || stdout != want || stderr != "" {
			t.Fatalf("got %v\n%s%s\nwant\n%s", err, stdout, stderr, want)
		}
	}
}

func TestTourOnAKeptDatabaseIsTakenOnce(t *testing.T) {
	db := filepath.Join(t.TempDir(), "channel.db")
	if _, _, err := quickstart("-db", db); err != nil {
		t.Fatal(err)
	}
	stdout, _, err := quickstart("-db", db)
	if err != nil || !strings.Contains(stdout, "has seen the tour already\n") ||
		!strings.Contains(stdout, "      95  Acme Integrators\nand in the newest projects:\n       5  Annex\n       0  Office move\nverified 5 transfers") {
		t.Fatalf("%v\n%s", err, stdout)
	}
}

func TestFlagsThatAreWrong(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"file.csv"}, {"-licenses", "-1"}, {"-licenses", "x"}, {"-in", "absent.csv"}, {"-in", "."}} {
		if stdout, _, err := quickstart(args...); err == nil || stdout != "" {
			t.Errorf("%q: %v, printed %q", args, err, stdout)
		}
	}
}

// TestSampleFiles imports what Salesforce's own sample apps ship, and a CSV with upper-case headers and cells of many lines.
func TestSampleFiles(t *testing.T) {
	for name, want := range map[string]string{
		"dreamhouse-contacts.json": `note: contacts without an ISO country code, now in DE: 5
note: phone numbers left out, not in international form (+…): 5
imported 0 partners with 10 licences each, and 5 projects with 5 licences in all
`,
		"easy-spaces-Accounts.json":      "imported 12 partners with 10 licences each, and 0 projects with 0 licences in all\n",
		"easy-spaces-Contacts.json":      "imported 0 partners with 10 licences each, and 12 projects with 12 licences in all\n",
		"ebikes-Accounts.json":           "imported 3 partners with 10 licences each, and 0 projects with 0 licences in all\n",
		"jsforce-Account_bulk2_test.csv": "imported 100 partners with 10 licences each, and 0 projects with 0 licences in all\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(shared, "oracles/salesforce/sample-data", name)
			if _, err := os.Stat(path); err != nil {
				t.Skipf("no sample: %v", err)
			}
			stdout, stderr, err := quickstart("-in", path)
			if err != nil || stderr != "" {
				t.Fatalf("%v\n%s%s", err, stdout, stderr)
			}
			if !strings.Contains(stdout, want) || !strings.Contains(stdout, "\nverified ") {
				t.Errorf("got\n%s\nwant\n%s", stdout, want)
			}
		})
	}
}

// TestAccountsThenContacts keeps one database through several imports: names go on being made unique.
func TestAccountsThenContacts(t *testing.T) {
	accounts := file(t, "a.json", []byte(`{"records":[
		{"attributes":{"type":"Account","referenceId":"a"},"Name":"Müller & Söhne","Phone":"+49 (30) 123-4567","Email":"hi@mueller.example","BillingCity":"Ulm"},
		{"attributes":{"type":"Account"},"Name":"Trailblazers","Phone":"617-555-0143","Deposit":1999,"MoreCurrencies":"USD;GBP"},
		{"attributes":{"type":"Account"},"Name":"Trailblazers","ParentName":"Müller & Söhne","Login":"trailblazers"},
		{"attributes":{"type":"Opportunity"},"Name":"Big deal"}]}`))
	contacts := file(t, "c.json", []byte(`{"records":[
		{"attributes":{"type":"Contact"},"FirstName":"Brad","LastName":"Holmes","Email":"b@x.example","MailingCountry":"us","MobilePhone":"+1 (408) 505-1578"},
		{"attributes":{"type":"Contact"},"FirstName":"brad","LastName":"HOLMES","Login":"b.holmes","Company":"Globex","MailingCountry":"USA","AccountId":"@a"}]}`))
	path := filepath.Join(t.TempDir(), "channel.db")
	for _, in := range []string{accounts, contacts} {
		if stdout, stderr, err := quickstart("-db", path, "-in", in); err != nil {
			t.Fatalf("%v\n%s%s", err, stdout, stderr)
		}
	}
	_, stderr, err := quickstart("-db", path, "-in", accounts) // a log-in that the file asks for cannot be had twice
	if err == nil || stderr != "record 3: parent: several partners have this name\nrecord 3: login: is in use\n" {
		t.Fatalf("%v\n%s", err, stderr)
	}
	_, stderr, err = quickstart("-db", path, "-in", contacts)
	if err == nil || stderr != "record 2: login: is in use\n" {
		t.Fatalf("%v\n%s", err, stderr)
	}
	o := open(t, path)
	var got []string
	list := o.partners()
	for _, p := range list {
		got = append(got, fmt.Sprintf("%s|%s|%s|%s|%s|%s|%v|%d|%d", p.Name, p.Login, p.Email, p.Phone, p.State, p.Currency, p.MoreCurrencies,
			p.Deposit, o.available(p.ID)))
	}
	for _, a := range o.projects() {
		p := a.Project
		got = append(got, fmt.Sprintf("%s|%s|%s|%s|%s|%s|%d", p.Name, p.Login, p.Email, p.Phone, p.Company, p.Country, o.available(a.ID)))
	}
	want := []string{
		"Müller & Söhne|muller-sohne|hi@mueller.example|+49301234567|pending|EUR|[]|0|10",
		"Trailblazers|trailblazers-2|trailblazers-2@import.example||pending|EUR|[GBP USD]|1999|10",
		"Trailblazers|trailblazers|trailblazers@import.example||pending|EUR|[]|0|10",
		"Office move|globex-move|it@globex.example||Globex|DE|0", "Annex|globex-annex|it@globex.example||Globex|DE|5",
		"Brad Holmes|brad-holmes|b@x.example|+14085051578|Holmes|US|1",
		"brad HOLMES 2|b.holmes|b-holmes@import.example||Globex|DE|1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(list) == 3 && list[2].Parent != list[0].ID {
		t.Errorf("the parent is %q, want %q", list[2].Parent, list[0].ID)
	}
}

// TestContactsBeyondTheStock leaves Acme what the tour needs.
func TestContactsBeyondTheStock(t *testing.T) {
	var records []string
	for range 75 {
		records = append(records, `{"attributes":{"type":"Contact"},"FirstName":"Ann","LastName":"Lee"}`)
	}
	stdout, stderr, err := quickstart("-in", file(t, "c.json", []byte(`{"records":[`+strings.Join(records, ",")+`]}`)))
	if err != nil || !strings.Contains(stdout, "and 75 projects with 70 licences in all\n") || !strings.Contains(stdout, "      25  Acme Integrators\n") {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
}

// TestBEY01_OneBadRowSavesNothing names every bad row and field, and leaves the database as it was without the import.
func TestBEY01_OneBadRowSavesNothing(t *testing.T) {
	bad := file(t, "bad.csv", []byte("Name,Email,Currency,Deposit,BillingModel,BlockingLimit,ParentName,Login\n"+
		"Good,g@x.example,,,,,,\n"+
		",not an address,EURO,12.50,,,,a b\n"+
		"\"two\nlines\",h@x.example,,-1,credit,,,\n"+
		"Short,i@x.example\n"+
		"Child,j@x.example,,,postpayment_light,x,Nobody,\n"+
		"Twin,k@x.example,,,,,,acme\n"))
	path := filepath.Join(t.TempDir(), "channel.db")
	stdout, stderr, err := quickstart("-db", path, "-in", bad)
	if err == nil || !strings.HasSuffix(err.Error(), "bad.csv: 5 of 6 rows are wrong: nothing of the file was saved") {
		t.Fatalf("got %v\n%s", err, stdout)
	}
	const want = `line 3: deposit: must be a whole number of minor units, as 1999 for 19.99
line 3: name: must not be empty
line 3: email: must be an e-mail address
line 3: login: may contain letters, digits, '.', '_', '-' and '+'
line 3: currency: must be an ISO 4217 code
line 4: name: must be one line without control characters
line 4: deposit: must be 0 to 9007199254740991 minor units
line 4: billing_model: must be prepayment, postpayment or postpayment_light
line 6: row: has 2 cells where the header has 8
line 7: blocking_limit: must be a whole number of minor units, as 1999 for 19.99
line 7: parent: no partner has this name, here or in a row above
line 8: login: is in use
`
	if stderr != want {
		t.Errorf("got\n%s\nwant\n%s", stderr, want)
	}

	// What is there is what the host set up before the import: the vendor's organisation and Acme with its grant.
	counts := open(t, path).counts()
	for _, line := range []string{"prm_partners 2", "prm_accounts 0", "prm_deliveries 0", "prm_ledger_transfers 1"} {
		if !strings.Contains(counts, line+"\n") {
			t.Errorf("no %q among the rows:\n%s", line, counts)
		}
	}
}

func TestNothingIsLeftBehindByAFileThatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "channel.db")
	if _, _, err := quickstart("-db", path, "-in", file(t, "x.csv", nil)); err == nil || !strings.Contains(err.Error(), "x.csv: is empty") {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a database was made: %v", err)
	}
}

// TestManyRows imports 10,000.
func TestManyRows(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	var b bytes.Buffer
	b.WriteString("\xef\xbb\xbfNAME,Email,PHONE,Notes\r\n")
	for i := range n {
		fmt.Fprintf(&b, "Partner %d,p%d@x.example,+49 30 1234567,\"a, b\"\r\n", i%(n/2), i)
	}
	path := filepath.Join(t.TempDir(), "channel.db")
	stdout, stderr, err := quickstart("-db", path, "-in", file(t, "many.csv", b.Bytes()), "-licenses", "3", "-currency", "USD")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	for _, want := range []string{
		"ignored: [\"Notes\"]\n", fmt.Sprintf("note: partners of a name that another has: %d\n", n/2),
		fmt.Sprintf("imported %d partners with 3 licences each, and 0 projects", n), tourLines, "       3  Partner 18\n",
		fmt.Sprintf("          … and %d more\nand in the newest projects:\n", n-19),
		fmt.Sprintf("verified %d transfers of %d holders: every balance follows from them\n", n+5, n+3),
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if got := strings.Count(stderr, "\n"); got != n/1000 {
		t.Errorf("%d lines of progress:\n%s", got, stderr)
	}
	list := open(t, path).partners()
	if len(list) != n {
		t.Fatalf("%d partners", len(list))
	}
	p := list[n-1]
	if got, want := fmt.Sprint(p.Name, p.Login, p.Currency, p.Phone), fmt.Sprintf("Partner %dpartner-%[1]d-2USD+49301234567", n/2-1); got != want {
		t.Errorf("the last is %s, want %s", got, want)
	}
}

// TestHostileNames imports each as it is, or says what is wrong with it; by CSV and by JSON.
func TestHostileNames(t *testing.T) {
	var names []string
	for _, f := range []string{"csv/cells.json", "strings/blns.json"} {
		text, err := os.ReadFile(filepath.Join(shared, "hostile", f))
		if err != nil {
			t.Skipf("no hostile input: %v", err)
		}
		var list []string
		if err := json.Unmarshal(text, &list); err != nil {
			t.Fatal(err)
		}
		names = append(names, list...)
	}
	for _, ext := range []string{".csv", ".json"} {
		t.Run(ext, func(t *testing.T) {
			table, err := read(fileOf(t, ext, names), ext)
			if err != nil || len(table.rows) != len(names) {
				t.Fatalf("%d rows of %d: %v", len(table.rows), len(names), err)
			}
			_, stderr, err := quickstart("-in", file(t, "all"+ext, fileOf(t, ext, names)))
			if err == nil {
				t.Fatal("nothing was refused")
			}
			var good []string
			for n, name := range names {
				if !strings.Contains("\n"+stderr, "\n"+table.rows[n].where+": name: ") {
					good = append(good, name)
				}
			}
			if len(good) < 500 || len(good) == len(names) {
				t.Fatalf("%d of %d names are good", len(good), len(names))
			}
			path := filepath.Join(t.TempDir(), "channel.db")
			if _, stderr, err := quickstart("-db", path, "-in", file(t, "good"+ext, fileOf(t, ext, good))); err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			for n, p := range open(t, path).partners() {
				if p.Name != good[n] {
					t.Errorf("%q became %q", good[n], p.Name)
				}
			}
		})
	}
}

// fileOf has one partner per name.
func fileOf(t *testing.T, ext string, names []string) []byte {
	t.Helper()
	var b bytes.Buffer
	if ext == ".csv" {
		w := csv.NewWriter(&b)
		_ = w.Write([]string{"Name", "Email"})
		for _, name := range names {
			_ = w.Write([]string{name, "x@x.example"})
		}
		w.Flush()
		return b.Bytes()
	}
	type attributes struct {
		Type string `json:"type"`
	}
	type record struct {
		Attributes  attributes `json:"attributes"`
		Name, Email string
	}
	var list []record
	for _, name := range names {
		list = append(list, record{attributes{account}, name, "x@x.example"})
	}
	if err := json.NewEncoder(&b).Encode(map[string]any{"records": list}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
