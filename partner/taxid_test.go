package partner_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// taxID is a list of one.
func taxID(scheme, value string) []partner.TaxID {
	return []partner.TaxID{{Scheme: scheme, Value: value}}
}

func strictly(mode string) func(*partner.Options) {
	return func(o *partner.Options) { o.TaxIDCheck = mode }
}

// codes are the paths and codes of warnings.
func codes(list []partner.FieldError) string {
	var out []string
	for _, f := range list {
		out = append(out, f.Path+":"+f.Code)
	}
	return strings.Join(out, " ")
}

// taxIDCases are numbers with what is wrong with them: "" nothing, "checksum", or a field with its fault.
var taxIDCases = []struct{ scheme, value, wrong string }{
	{"kz-bin", "940140000385", ""},
	{"kz-bin", "961141000023", ""},
	{"kz-bin", "940140000380", "checksum"},
	{"kz-bin", "991231500719", "checksum"}, // the fifth digit is none of a BIN
	{"kz-iin", "991231500719", ""},         // needs the second weights
	{"kz-iin", "991231500770", "checksum"}, // never issued
	{"kz-iin", "991231502390", "checksum"},
	{"kz-iin", "000000000000", ""}, // its date is nobody's, which is no fault
	{"kz-iin", "94014000038", "value:format"},
	{"kz-iin", "94014000038x", "value:format"},
	{"kz-iin", "٩٤٠١٤٠٠٠٠٣٨٥", "value:format"},
	{"ru-inn", "7736050003", ""},
	{"ru-inn", "1234567894", ""},
	{"ru-inn", "500100732259", ""},
	{"ru-inn", "123456789037", "checksum"},
	{"ru-inn", "2500000000", "checksum"},
	{"ru-inn", "0000000000", "checksum"},
	{"ru-inn", "0105012345", "checksum"},
	{"ru-inn", "77360500031", "value:format"},
	{"ru-kpp", "773601001", ""},
	{"ru-kpp", "0123AB001", ""},
	{"ru-kpp", "7736ab001", "value:format"},
	{"ru-kpp", "7736010011", "value:format"},
	{"de-vat", "DE 0123", ""},
	{"eu-vat-oss", "007", ""},
	{"de-vat", " ", "value:required"},
	{"de-vat", strings.Repeat("9", 65), "value:too_long"},
	{"de-vat", "12\n3", "value:format"},
	{"", "1", "scheme:required"},
	{"IIN", "1", "scheme:format"},
	{"kz_iin", "1", "scheme:format"},
	{"kz-iin\n", "940140000385", "scheme:format"},
}

// TestPIL07_PIL08_TaxIDsByTheirScheme has every case under each way to check.
func TestPIL07_PIL08_TaxIDsByTheirScheme(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		for _, mode := range []string{"off", "warn", "strict", ""} {
			w := newWorld(t, db, strictly(mode))
			for i, c := range taxIDCases {
				a := agreement(strings.ToLower(mode) + "tax" + string(rune('a'+i/26)) + string(rune('a'+i%26)))
				a.TaxIDs = taxID(c.scheme, c.value)
				ready, err := w.reg.Partners.Prepare(w.vendor, a)
				switch what := mode + " " + c.scheme + " " + c.value; {
				case c.wrong == "checksum" && mode == "strict":
					wantsFields(t, what, err, "tax_ids[0].value:checksum")
				case c.wrong != "" && c.wrong != "checksum":
					wantsFields(t, what, err, "tax_ids[0]."+c.wrong)
				case err != nil:
					t.Errorf("%s: %v", what, err)
				case c.wrong == "checksum" && i%4 == 0 || i%8 == 0:
					p, err := w.reg.Partners.Create(w.vendor, ready)
					w.must(err)
					want := ""
					if c.wrong != "" && mode != "off" {
						want = "tax_ids[0].value:checksum"
					}
					if got := strings.TrimSpace(strings.ReplaceAll(codes(p.Warnings), "tax_ids[0].value:taken", "")); got != want {
						t.Errorf("%s: warned of %q, want %q", what, got, want)
					}
				}
			}
		}
		_, err := partner.Open(t.Context(), db.DB, &partner.Options{TaxIDCheck: "always"})
		wants(t, "another way to check", err, partner.ErrInvalid)
	})
}

// TestPIL07_PublishedVectors holds the check digits to numbers that others published.
func TestPIL07_PublishedVectors(t *testing.T) {
	text, err := os.ReadFile("../../shared/oracles/tax-ids/vectors.json")
	if err != nil {
		t.Skip("the vectors are not here")
	}
	var file struct {
		Vectors []struct {
			Number, Country, Note string
			Valid                 bool
		}
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Vectors) < 10 {
		t.Fatalf("%d vectors (%v)", len(file.Vectors), err)
	}
	w := newWorld(t, dbtest.New(t, dbtest.SQLite), strictly("strict"))
	for _, v := range file.Vectors {
		scheme := map[string]string{"KZ": "kz-iin", "RU": "ru-inn"}[v.Country]
		if strings.Trim(v.Number, "0") == "" {
			v.Valid = false // no tax office has that number
		}
		a := agreement("vectors")
		a.TaxIDs = taxID(scheme, v.Number)
		if _, err := w.reg.Partners.Prepare(w.vendor, a); (err == nil) != v.Valid {
			t.Errorf("%s %s (%s): %v", scheme, v.Number, v.Note, err)
		}
	}
}

// TestAT11_LeadingZerosSurvive keeps numbers as text all the way, and one of each scheme.
func TestAT11_LeadingZerosSurvive(t *testing.T) {
	each(t, func(w *world) {
		zeros := []partner.TaxID{{Scheme: "kz-iin", Value: "000101000008"}, {Scheme: "ru-inn", Value: " 0100000011 "}, {Scheme: "ru-kpp", Value: "010001001"}, {Scheme: "de-vat", Value: "00"}}
		p, me := w.partner("acme", func(a *partner.Agreement) { a.TaxIDs = zeros })
		want := []partner.TaxID{{Scheme: "de-vat", Value: "00"}, {Scheme: "kz-iin", Value: "000101000008"}, {Scheme: "ru-inn", Value: "0100000011"}, {Scheme: "ru-kpp", Value: "010001001"}}
		for what, ctx := range map[string]func() (partner.Partner, error){
			"made": func() (partner.Partner, error) { return p, nil },
			"read": func() (partner.Partner, error) { return w.reg.Partners.Get(me, p.ID) },
			"list": func() (partner.Partner, error) {
				page, err := w.reg.Partners.List(w.vendor, partner.PartnerFilter{}, partner.PageRequest{})
				return page.Items[0], err
			},
		} {
			got, err := ctx()
			w.must(err)
			if !slices.Equal(got.TaxIDs, want) {
				w.t.Errorf("%s: %v, want %v", what, got.TaxIDs, want)
			}
		}
		a := agreement("twice")
		a.TaxIDs = append(taxID("ru-inn", "7736050003"), taxID("ru-inn", "1234567894")...)
		_, err := w.reg.Partners.Create(w.vendor, a)
		w.faulty(err, "tax_ids[1].scheme:taken")
	})
}

// TestPIL03_ADuplicateTaxIDSavesWithAWarning: for the vendor alone, by number and scheme.
func TestPIL03_ADuplicateTaxIDSavesWithAWarning(t *testing.T) {
	each(t, func(w *world) {
		inn := taxID("ru-inn", "7736050003")
		first, _ := w.partner("first", func(a *partner.Agreement) { a.TaxIDs = inn })
		second, _ := w.partner("second", func(a *partner.Agreement) { a.TaxIDs = append(taxID("ru-kpp", "773601001"), inn...) })
		third, _ := w.partner("third", func(a *partner.Agreement) { a.TaxIDs = taxID("de-vat", "7736050003") })
		if got := codes(first.Warnings) + "|" + codes(second.Warnings) + "|" + codes(third.Warnings); got != "|tax_ids[1].value:taken|" {
			w.t.Errorf("warned of %q", got)
		}
		edited, err := w.reg.Partners.Edit(w.vendor, third.ID, third.Version, func(a *partner.Agreement) { a.TaxIDs = append(inn, a.TaxIDs...) })
		w.must(err)
		if codes(edited.Warnings) != "tax_ids[0].value:taken" || edited.Warnings[0].Message != "2 other partners have this number" {
			w.t.Errorf("the edit warned of %+v", edited.Warnings)
		}
	})
}

// TestPIL07_AnEditJudgesWhatItChanges: a number that stood there before the host was strict may stay, beside one that is new.
func TestPIL07_AnEditJudgesWhatItChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		old := newWorld(t, db)
		p, me := old.partner("acme", func(a *partner.Agreement) { a.TaxIDs = taxID("ru-inn", "2500000000") })
		w := newWorld(t, db, strictly("strict"))
		p, err := w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.TaxIDs = append(a.TaxIDs, taxID("ru-kpp", "773601001")...) })
		w.must(err)
		if len(p.TaxIDs) != 2 {
			t.Errorf("kept %v", p.TaxIDs)
		}
		_, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.TaxIDs = taxID("ru-inn", "2500000001") })
		w.faulty(err, "tax_ids[0].value:checksum")
		_, err = w.reg.Partners.Edit(me, p.ID, p.Version, func(a *partner.Agreement) { a.TaxIDs = nil })
		wants(t, "the partner's own admin", err, partner.ErrForbidden)
		p, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.TaxIDs = nil })
		w.must(err)
		if p.TaxIDs != nil || rowsIn(t, db, "prm_partner_tax_ids") != 0 {
			t.Errorf("left %v", p.TaxIDs)
		}
		events, err := w.reg.Activity.List(w.vendor, partner.EventFilter{}, partner.PageRequest{Limit: 1})
		w.must(err)
		if changed := events.Items[0].Changed; !slices.Equal(changed, []string{"tax_ids"}) {
			t.Errorf("the audit says %v", changed)
		}
	})
}
