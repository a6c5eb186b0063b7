package partner

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Formats of an export.
const (
	formatCSV  = "csv"
	formatJSON = "json"
)

// Export writes what List shows, in its order, for the same filter and scope: as "csv" (RFC 4180 in UTF-8, with a line of names; what a spreadsheet
// would take for a formula has an apostrophe before it, lists are parted by "; ") or as "json", an array of objects. Of organisations that the caller
// does not see whole, most is empty; Note is there for the vendor alone. It reads page by page and keeps no more than one: what is added meanwhile
// may be missing. w is written to while no database read is open; if it fails, that is [ErrUnavailable] with its error, and what was written is not
// whole. For the vendor and its support, and a partner's admin. Field errors on "format" ([ErrUnknownCode]) and "search".
func (d *Partners) Export(ctx context.Context, w io.Writer, format string, f PartnerFilter) (err error) {
	defer wrap(&err, "export")
	var c checks
	c.search(f.Search)
	if c.format(format); c.err() != nil {
		return c.err()
	}
	vendor := false
	return export(w, format, func(after string) (page Page[Partner], columns []column[Partner], err error) {
		page, vendor, err = d.page(ctx, "partner.export", f, PageRequest{After: after, Limit: store.MaxLimit})
		if columns = listedPartner; !vendor {
			columns = columns[:len(columns)-1]
		}
		return page, columns, err
	})
}

// Export writes what List shows, as [Partners.Export] does.
func (d *Activity) Export(ctx context.Context, w io.Writer, format string, f EventFilter) (err error) {
	defer wrap(&err, "export activity")
	var c checks
	c.format(format)
	if err := f.check(&c); err != nil {
		return err
	}
	return export(w, format, func(after string) (Page[Event], []column[Event], error) {
		page, err := d.page(ctx, f, PageRequest{After: after, Limit: store.MaxLimit})
		return page, listedEvent, err
	})
}

// format checks what an export is to be written as.
func (c *checks) format(format string) {
	if format != formatCSV && format != formatJSON {
		c.add("format", "unknown_code", "must be csv or json", ErrUnknownCode)
	}
}

// column is one property of what is exported. Its value is a string, an int64, a bool, a list of strings, a time, or nil for none.
type column[T any] struct {
	name  string
	value func(T) any
}

// listedPartner is what a list shows of a partner; the last one is the vendor's alone.
var listedPartner = []column[Partner]{
	{"id", func(p Partner) any { return string(p.ID) }},
	{"state", func(p Partner) any { return p.State }},
	{"name", func(p Partner) any { return p.Name }},
	{"login", func(p Partner) any { return p.Login }},
	{"email", func(p Partner) any { return p.Email }},
	{"phone", func(p Partner) any { return p.Phone }},
	{"locale", func(p Partner) any { return p.Locale }},
	{"parent", func(p Partner) any { return string(p.Parent) }},
	{"region", func(p Partner) any { return p.Region }},
	{"organisation_type", func(p Partner) any { return p.OrganisationType }},
	{"tax_ids", func(p Partner) any {
		list := make([]string, len(p.TaxIDs))
		for i, t := range p.TaxIDs {
			list[i] = t.Scheme + ":" + t.Value
		}
		return list
	}},
	{"vat", func(p Partner) any {
		if p.VAT == nil {
			return nil
		}
		return int64(*p.VAT)
	}},
	{"capabilities", func(p Partner) any {
		list := make([]string, len(p.Capabilities))
		for i, c := range p.Capabilities {
			list[i] = string(c)
		}
		return list
	}},
	{"manages_sub_partners", whole(func(p Partner) any { return p.ManagesSubPartners })},
	{"password_policy", func(p Partner) any { return p.PasswordPolicy }},
	{"currency", func(p Partner) any { return p.Currency }},
	{"more_currencies", func(p Partner) any { return p.MoreCurrencies }},
	{"billing_model", func(p Partner) any { return p.BillingModel }},
	{"blocking_limit", whole(func(p Partner) any { return p.BlockingLimit })},
	{"balance", whole(func(p Partner) any { return p.Balance.Minor })},
	{"deposit", whole(func(p Partner) any { return p.Deposit })},
	{"contract", func(p Partner) any { return p.Contract }},
	{"contract_number", func(p Partner) any { return p.ContractNumber }},
	{"contract_from", func(p Partner) any { return p.ContractPeriod.From }},
	{"contract_until", func(p Partner) any { return p.ContractPeriod.Until }},
	{"contact", func(p Partner) any { return string(p.Contact) }},
	{"accounts", whole(func(p Partner) any { return p.Accounts })},
	{"blocks", func(p Partner) any { return p.Blocks }},
	{"users_blocks", func(p Partner) any { return p.UsersBlocks }},
	{"created", func(p Partner) any { return p.Created }},
	{"version", whole(func(p Partner) any { return p.Version })},
	{"note", func(p Partner) any { return p.Note }},
}

// whole is a value that is known only of a partner that is seen whole: a number that nobody may see is none, and not 0.
func whole(value func(Partner) any) func(Partner) any {
	return func(p Partner) any {
		if p.Version == 0 {
			return nil
		}
		return value(p)
	}
}

var listedEvent = []column[Event]{
	{"id", func(e Event) any { return e.ID }},
	{"at", func(e Event) any { return e.At }},
	{"kind", func(e Event) any { return e.Kind }},
	{"actor", func(e Event) any { return e.Actor }},
	{"subject", func(e Event) any { return e.Subject }},
	{"partner", func(e Event) any { return string(e.Partner) }},
	{"account", func(e Event) any { return string(e.Account) }},
	{"target", func(e Event) any { return e.Target }},
	{"changed", func(e Event) any { return e.Changed }},
}

// export writes page after page. The first is read before anything is written, so that a call that is refused leaves w as it was.
func export[T any](w io.Writer, format string, next func(after string) (Page[T], []column[T], error)) error {
	var out rowWriter = &csvRows{csv.NewWriter(w)}
	if format == formatJSON {
		out = &jsonRows{to: bufio.NewWriter(w)}
	}
	page, columns, err := next("")
	if err != nil {
		return err
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	err = out.begin(names)
	for err == nil {
		for _, item := range page.Items {
			values := make([]any, len(columns))
			for i, c := range columns {
				values[i] = c.value(item)
			}
			if err := out.row(values); err != nil {
				return unwritten(err)
			}
		}
		if page.Next == "" {
			return unwritten(out.end())
		}
		if err = out.flush(); err != nil {
			break
		}
		var broken error
		if page, _, broken = next(page.Next); broken != nil {
			return broken
		}
	}
	return unwritten(err)
}

// unwritten is the error of the host's writer as one of ours.
func unwritten(err error) error {
	if err == nil {
		return nil
	}
	return fail.Because(fail.Unavailable, "the export could not be written", err)
}

// rowWriter writes the rows of an export.
type rowWriter interface {
	begin(names []string) error
	row(values []any) error
	flush() error // so that all that was given is written
	end() error
}

type csvRows struct{ to *csv.Writer }

func (c *csvRows) begin(names []string) error {
	c.to.UseCRLF = true
	return c.to.Write(names)
}

func (c *csvRows) row(values []any) error {
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = cellOf(v)
	}
	return c.to.Write(cells)
}

func (c *csvRows) flush() error {
	c.to.Flush()
	return c.to.Error()
}

func (c *csvRows) end() error { return c.flush() }

// cellOf is a value as a cell. Numbers stay numbers: they are ours, whatever sign they begin with.
func cellOf(v any) string {
	switch v := v.(type) {
	case string:
		return inert(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	case []string:
		return inert(strings.Join(v, "; "))
	case time.Time:
		if !v.IsZero() {
			return v.Format(time.RFC3339Nano)
		}
	}
	return ""
}

type jsonRows struct {
	to    *bufio.Writer
	names [][]byte
	some  bool // rows have been written
}

func (j *jsonRows) begin(names []string) error {
	for _, n := range names {
		text, err := json.Marshal(n)
		if err != nil {
			return err
		}
		j.names = append(j.names, text)
	}
	return j.to.WriteByte('[')
}

func (j *jsonRows) row(values []any) error {
	line := []byte("\n{")
	if j.some {
		line = []byte(",\n{")
	}
	j.some = true
	for i, v := range values {
		switch u := v.(type) {
		case time.Time:
			if u.IsZero() {
				v = nil
			}
		case []string:
			if u == nil {
				v = []string{}
			}
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if i > 0 {
			line = append(line, ',')
		}
		line = append(append(append(line, j.names[i]...), ':'), text...)
	}
	_, err := j.to.Write(append(line, '}'))
	return err
}

func (j *jsonRows) flush() error { return j.to.Flush() }

func (j *jsonRows) end() error {
	if _, err := j.to.WriteString("\n]\n"); err != nil {
		return err
	}
	return j.flush()
}
