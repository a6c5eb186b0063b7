package partner_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// withRegions lets a test stand for the host that knows the regions.
func withRegions(ask func(country string) (string, error)) func(*partner.Options) {
	return func(o *partner.Options) {
		o.CallbackTime = 50 * time.Millisecond
		o.Regions = func(_ context.Context, country string) (string, error) { return ask(country) }
	}
}

// assigned are the 249 codes that ISO 3166-1 assigns, written down apart from the code.
const assigned = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH " +
	"CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS " +
	"GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA " +
	"MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT " +
	"PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG " +
	"UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"

// TestCLW07_EveryCountry tries all pairs of letters: those assigned are served, the others unknown, small letters are as good.
func TestCLW07_EveryCountry(t *testing.T) {
	codes := strings.Fields(assigned)
	if len(codes) != 249 {
		t.Fatalf("the list has %d codes", len(codes))
	}
	each(t, func(w *world) {
		_, me := w.partner("acme")
		for a := 'A'; a <= 'Z'; a++ {
			for b := 'A'; b <= 'Z'; b++ {
				code := string([]rune{a, b})
				p := newProject("x")
				p.Password = ""
				p.Country = code
				if (a+b)%2 == 0 {
					p.Country = strings.ToLower(code)
				}
				ready, err := w.reg.Accounts.Prepare(me, p)
				if known := slices.Contains(codes, code); known != (err == nil) || !known && fields(err) != "country:unknown_code" {
					w.t.Errorf("%s: %v", ready.Country, err)
				}
			}
		}
		for _, bad := range []string{"", " ", "D", "DEU", "276", "D E", "\nD", "DE ", "ＤＥ", "ıT", "ſE"} {
			p := newProject("x")
			p.Country = bad
			_, err := w.reg.Accounts.Prepare(me, p)
			if got := fields(err); got != "country:unknown_code" && got != "country:required" {
				w.t.Errorf("%q: %v", bad, err)
			}
		}
		p := newProject("one")
		p.Country = "de"
		a, err := w.reg.Accounts.OpenProject(me, p)
		w.must(err)
		if a.Project.Country != "DE" || a.Region != "DE" {
			w.t.Fatalf("country %q, region %q", a.Project.Country, a.Region)
		}
	})
}

// TestAT16_NoRegionNoProject: a country without a region is refused with its field, and a resolver that fails leaves nothing behind.
func TestAT16_NoRegionNoProject(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		hung := make(chan struct{})
		defer close(hung)
		w := newWorld(t, db, withRegions(func(country string) (string, error) {
			switch country {
			case "FR":
				return "", nil
			case "US":
				return "", errors.New("the directory is down")
			case "GB":
				<-hung
			case "IT":
				return "bad\nregion", nil
			}
			return "eu-1", nil
		}))
		_, me := w.partner("acme")
		p := newProject("one")
		open := func(country string) error {
			p.Country = country
			_, err := w.reg.Accounts.OpenProject(me, p)
			return err
		}
		w.faulty(open("FR"), "country:no_region")
		w.is(open("FR"), partner.ErrNoRegion)
		for _, country := range []string{"US", "GB", "IT"} {
			w.is(open(country), partner.ErrUnavailable)
		}
		p.Name = ""
		w.faulty(open("FR"), "name:required country:no_region")
		p.Name = "Project one"
		if n := w.projects(); n != 0 {
			t.Fatalf("%d projects were saved", n)
		}
		w.must(open("DE")) // and the name, log-in and all are still free
	})
}

// TestCLW07_ResolverPanics: a panic of a host callback is the host's to see, on the goroutine that called; nothing is saved.
func TestCLW07_ResolverPanics(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db, withRegions(func(string) (string, error) { panic("the host's bug") }))
		_, me := w.partner("acme")
		func() {
			defer func() {
				if r := recover(); r != "the host's bug" {
					t.Errorf("OpenProject panics with %v", r)
				}
			}()
			_, _ = w.reg.Accounts.OpenProject(me, newProject("one"))
		}()
		if n := w.projects(); n != 0 {
			t.Fatalf("%d projects were saved", n)
		}
	})
}

// TestAT16_RegionIsPinned: a changed map moves nobody, and no edit does.
func TestAT16_RegionIsPinned(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		region := map[string]string{"DE": "eu-1", "FR": "eu-1", "US": "us-1"}
		w := newWorld(t, db, withRegions(func(country string) (string, error) {
			if country == "GB" {
				return "", errors.New("down")
			}
			return region[country], nil
		}))
		_, me := w.partner("acme")
		a := w.project(me, "one")
		region["DE"] = "eu-2"
		p := newProject("one")
		p.Key, p.Name, p.Login = "k", "Two", "two"
		two, err := w.reg.Accounts.OpenProject(me, p)
		w.must(err)
		if a.Region != "eu-1" || two.Region != "eu-2" {
			t.Fatalf("regions %q, %q", a.Region, two.Region)
		}
		set := func(country string) error {
			_, err := w.reg.Accounts.EditProject(me, a.ID, a.Version, func(n *partner.NewProject) { n.Country = country })
			return err
		}
		w.is(set("US"), partner.ErrRegionPinned)
		w.is(set("ES"), partner.ErrRegionPinned) // no region is another region
		w.is(set("GB"), partner.ErrUnavailable)
		w.faulty(set("XX"), "country:unknown_code")
		w.must(set("fr"))
		a, err = w.reg.Accounts.Get(me, a.ID)
		w.must(err)
		if a.Region != "eu-1" || a.Project.Country != "FR" {
			t.Fatalf("project is in %q, %q", a.Region, a.Project.Country)
		}
		region["FR"] = "eu-9"
		_, err = w.reg.Accounts.EditProject(me, a.ID, a.Version, func(n *partner.NewProject) { n.Company = "New" }) // the region is not asked
		w.must(err)

		w.must(w.reg.Access.SwitchTo(me, two.ID))
		w.active(me, two.ID, "eu-2")
		s, err := w.reg.Access.Login(context.Background(), "one", password, "")
		w.must(err)
		if s.Region != "eu-1" || s.Account != a.ID || s.Principal != string(a.ID) {
			t.Fatalf("session %+v", s)
		}
		w.active(partner.WithSession(context.Background(), s), a.ID, "eu-1")
		again, err := w.reg.Access.Resume(context.Background(), s.Token())
		w.must(err)
		if again.Region != "eu-1" {
			t.Fatalf("resumed session %+v", again)
		}
	})
}
