package phones_test

import (
	"fmt"
	"testing"

	"github.com/partnerkit/partnerkit/partner/phones"
)

func TestPIL05_NumbersAsPeopleWriteThem(t *testing.T) {
	for _, c := range []struct{ raw, country, want string }{
		{"8 (701) 123-45-67", "KZ", "+77011234567"}, // not a Russian number, although both are +7
		{"+7 701 123 45 67", "", "+77011234567"},
		{"030 901820", "DE", "+4930901820"},
		{"030 901820", "de", "+4930901820"},
		{"0049 30 901820", "DE", "+4930901820"},
		{"(415) 555-2671", "US", "+14155552671"},
		{"tel:+49-30-901820", "", "+4930901820"},
		{"030 901820", "", ""},
		{"030 901820 ext. 12", "DE", ""},
		{"123", "DE", ""},
		{"+999 123 456 789", "", ""},
		{"", "DE", ""},
		{"call me", "DE", ""},
	} {
		got, err := phones.Read(c.raw, c.country)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q in %q: %q (%v), want %q", c.raw, c.country, got, err, c.want)
		}
	}
}

func TestPIL05_OneCountryIsMeantWhereNoneIsGiven(t *testing.T) {
	read := phones.In("KZ")
	for country, want := range map[string]string{"": "+77011234567", "KZ": "+77011234567", "US": ""} {
		if got, _ := read("8 (701) 123-45-67", country); got != want {
			t.Errorf("in %q: %q, want %q", country, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("8 (701) 123-45-67", "KZ")
	f.Add("+49 30 901820;ext=1", "")
	f.Fuzz(func(t *testing.T, raw, country string) {
		got, err := phones.Read(raw, country)
		if err != nil {
			return
		}
		if again, err := phones.Read(got, ""); err != nil || again != got {
			t.Errorf("%q in %q: %q, and read again %q (%v)", raw, country, got, again, err)
		}
	})
}

func ExampleRead() {
	fmt.Println(phones.Read("8 (701) 123-45-67", "KZ"))
	// Output: +77011234567 <nil>
}
