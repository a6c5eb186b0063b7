package partner

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/partnerkit/partnerkit/internal/store"
)

// TaxID is a tax number with the scheme that the caller names; it is never guessed from the number. Both are text, so that leading zeros
// stay. Known schemes are checked: "kz-iin" and "kz-bin" (PIL-07), "ru-inn", "ru-kpp" (PIL-08); of others, such as "de-vat", only that the
// number is a line of text.
type TaxID struct{ Scheme, Value string }

const (
	maxTaxIDs = 16
	maxTaxID  = 64
)

// What Options.TaxIDCheck may be.
const (
	taxIDsOff    = "off"
	taxIDsWarn   = "warn"
	taxIDsStrict = "strict"
)

var (
	schemeForm = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]{1,16}){1,2}$`) // a country's code first
	kppForm    = regexp.MustCompile(`^[0-9]{4}[0-9A-Z]{2}[0-9]{3}$`)
)

// taxIDs checks numbers and returns them as they are kept, by scheme. A wrong check digit is a warning or a fault, as mode says, unless it
// stood there before.
func (c *checks) taxIDs(list, before []TaxID, mode string) []TaxID {
	if len(list) > maxTaxIDs {
		c.add("tax_ids", "too_long", fmt.Sprintf("must be at most %d", maxTaxIDs), nil)
		return list
	}
	var kept []TaxID
	for i, t := range list {
		path := fmt.Sprintf("tax_ids[%d].", i)
		t = TaxID{t.Scheme, strings.TrimSpace(t.Value)}
		twice := slices.ContainsFunc(kept, func(k TaxID) bool { return k.Scheme == t.Scheme })
		kept = append(kept, t)
		switch {
		case t.Scheme == "":
			c.add(path+"scheme", "required", "must not be empty", nil)
		case !schemeForm.MatchString(t.Scheme):
			c.add(path+"scheme", "format", `must be a country's code and a name, as in "kz-iin"`, nil)
		case twice:
			c.add(path+"scheme", "taken", "stands there twice", nil)
		case !c.text(path+"value", t.Value, true, maxTaxID):
		case !formed(t):
			c.add(path+"value", "format", "must be "+taxIDForms[t.Scheme], nil)
		case mode == taxIDsOff || slices.Contains(before, t) || checksOut(t):
		case mode == taxIDsStrict:
			c.add(path+"value", "checksum", "is not a number that "+t.Scheme+" knows", nil)
		default:
			c.warnings = append(c.warnings, FieldError{Path: path + "value", Code: "checksum", Message: "is not a number that " + t.Scheme + " knows"})
		}
	}
	slices.SortFunc(kept, func(a, b TaxID) int { return strings.Compare(a.Scheme, b.Scheme) })
	return kept
}

// taxIDForms says how the numbers of known schemes are written.
var taxIDForms = map[string]string{
	"kz-iin": "12 digits", "kz-bin": "12 digits", "ru-inn": "10 or 12 digits", "ru-kpp": "9 characters: digits, the fifth and sixth may be capitals",
}

func formed(t TaxID) bool {
	digits := strings.Trim(t.Value, "0123456789") == ""
	switch t.Scheme {
	case "kz-iin", "kz-bin":
		return digits && len(t.Value) == 12
	case "ru-inn":
		return digits && (len(t.Value) == 10 || len(t.Value) == 12)
	case "ru-kpp":
		return kppForm.MatchString(t.Value)
	}
	return true
}

// checksOut tells whether a well-formed number can have been issued. An IIN is not held to the date it begins with: since 2013 that need
// not be its owner's.
func checksOut(t TaxID) bool {
	switch {
	case t.Scheme == "kz-bin":
		return strings.Contains("456", t.Value[4:5]) && kazakhCheck(t.Value) // resident, non-resident, sole trader
	case t.Scheme == "kz-iin":
		return kazakhCheck(t.Value)
	case t.Scheme != "ru-inn":
		return true
	case strings.Trim(t.Value, "0") == "": // its check digit would be right, but there is no tax office 0000
		return false
	case len(t.Value) == 10:
		return russianDigit(t.Value, 2, 4, 10, 3, 5, 9, 4, 6, 8)
	}
	return russianDigit(t.Value, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8) && russianDigit(t.Value, 3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
}

// kazakhCheck is the check digit of IIN and BIN (Government of Kazakhstan, resolution 406 of 2007): weights 1 to 11, modulo 11; if that
// gives 10, the weights shifted by two; a number for which that, too, gives 10 is never issued.
func kazakhCheck(number string) bool {
	sum := weighted(number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) % 11
	if sum == 10 {
		sum = weighted(number, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2) % 11
	}
	return sum == int(number[11]-'0')
}

// russianDigit is a check digit of the INN, which stands behind the digits that are weighted (Federal Tax Service, order MMV-7-6/435).
func russianDigit(number string, weights ...int) bool {
	return weighted(number, weights...)%11%10 == int(number[len(weights)]-'0')
}

func weighted(number string, weights ...int) (sum int) {
	for i, w := range weights {
		sum += w * int(number[i]-'0')
	}
	return sum
}

// taxIDRow is a partner's number of one scheme.
type taxIDRow struct {
	PartnerID string `gorm:"primaryKey"`
	Scheme    string `gorm:"primaryKey"`
	Value     string
}

func (taxIDRow) TableName() string { return "prm_partner_tax_ids" }

// setTaxIDs makes a partner's numbers those of the list.
func setTaxIDs(tx *store.Tx, of ID, list []TaxID) error {
	if _, err := tx.Exec(decided, "DELETE FROM prm_partner_tax_ids WHERE partner_id = ?", of); err != nil {
		return err
	}
	for _, t := range list {
		if err := tx.Insert(&taxIDRow{string(of), t.Scheme, t.Value}); err != nil {
			return err
		}
	}
	return nil
}

// taxIDsOf reads the numbers of partners that were read in scope.
func taxIDsOf(tx *store.Tx, partners []string) (map[string][]TaxID, error) {
	var rows []taxIDRow
	err := tx.Query(deciding, &rows, "SELECT partner_id, scheme, value FROM prm_partner_tax_ids WHERE partner_id IN ? ORDER BY partner_id, scheme", partners)
	list := map[string][]TaxID{}
	for _, r := range rows {
		list[r.PartnerID] = append(list[r.PartnerID], TaxID{r.Scheme, r.Value})
	}
	return list, err
}

// sameTaxIDs warns when other partners have one of the numbers; two may have it (PIL-03).
func sameTaxIDs(tx *store.Tx, of ID, given []TaxID) (list []FieldError, err error) {
	for i, t := range given {
		var n int64
		err := tx.Query(deciding, &n, "SELECT count(*) FROM (SELECT 1 FROM prm_partner_tax_ids WHERE value = ? AND scheme = ? AND partner_id <> ? LIMIT 1000) x",
			strings.TrimSpace(t.Value), t.Scheme, of)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			list = append(list, FieldError{Path: fmt.Sprintf("tax_ids[%d].value", i), Code: "taken", Message: howMany(n) + " this number"})
		}
	}
	return list, nil
}

// trimmed is the numbers as they are kept.
func trimmed(list []TaxID) []TaxID {
	kept := make([]TaxID, len(list))
	for i, t := range list {
		kept[i] = TaxID{t.Scheme, strings.TrimSpace(t.Value)}
	}
	return kept
}
