package form

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// text is a JSON text that has been read.
type text struct {
	value any      // of map[string]any, []any, string, json.Number, bool and nil
	order []string // the keys of one top object, as written
}

// read decodes a JSON text and refuses what encoding/json mends or drops in silence: keys given twice, half characters, and what follows
// the value; and what others cannot hold: NUL and numbers beyond an int64 or a float64. It keeps the order of the keys of the object at
// ordered.
func read(raw []byte, limit int, ordered string) (*text, []Fault) {
	whole := func(code, message string) (*text, []Fault) { return nil, []Fault{{"", code, message}} }
	switch {
	case len(raw) > limit:
		return whole("too_long", fmt.Sprintf("must be at most %d KiB", limit>>10))
	case !utf8.Valid(raw):
		return whole("format", "must be valid UTF-8")
	}
	switch depth, values := measure(raw); {
	case depth > maxDepth:
		return whole("too_long", fmt.Sprintf("must be nested at most %d deep", maxDepth))
	case values > maxValues:
		return whole("too_long", fmt.Sprintf("must hold at most %d values", maxValues))
	case !json.Valid(raw):
		return whole("format", "must be one JSON value")
	}
	r := &reader{raw: raw, dec: json.NewDecoder(bytes.NewReader(raw)), ordered: ordered}
	r.dec.UseNumber()
	r.text.value = r.read(nil)
	return &r.text, r.faults
}

// measure tells how deep a text's brackets are nested and about how many values it holds, before anybody follows them. It need not be JSON.
func measure(raw []byte) (deepest, values int) {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			values++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		case c == ',':
			values++
		}
	}
	return deepest, values
}

// reader decodes a text that is known to be valid JSON.
type reader struct {
	raw     []byte
	dec     *json.Decoder
	ordered string
	faults  []Fault
	text    text
}

func (r *reader) fault(at path, message string) {
	r.faults = append(r.faults, Fault{at.String(), "format", message})
}

// token returns the next token and how it is written. There is none only if the text is not valid after all.
func (r *reader) token() (json.Token, []byte) {
	start := r.dec.InputOffset()
	token, err := r.dec.Token()
	if err != nil {
		return nil, nil
	}
	return token, r.raw[start:r.dec.InputOffset()]
}

func (r *reader) read(at path) any {
	token, written := r.token()
	switch v := token.(type) {
	case json.Delim:
		if v == '[' {
			return r.list(at)
		}
		return r.object(at)
	case string:
		r.escapes(at, written)
	case json.Number:
		if !fits(string(v)) {
			r.fault(at, "must be a number that fits into 64 bits")
		}
	}
	return token
}

func (r *reader) list(at path) any {
	list := []any{}
	for r.dec.More() {
		list = append(list, r.read(at.index(len(list))))
	}
	r.token()
	return list
}

func (r *reader) object(at path) any {
	object := map[string]any{}
	ordered := r.ordered != "" && at.String() == r.ordered
	for r.dec.More() {
		token, written := r.token()
		name, _ := token.(string)
		at := at.key(name)
		r.escapes(at, written)
		if _, twice := object[name]; twice {
			r.fault(at, "must be given only once")
		} else if ordered {
			r.text.order = append(r.text.order, name)
		}
		object[name] = r.read(at)
	}
	r.token()
	return object
}

// escapes looks for the characters that only an escape can hide in valid JSON of valid UTF-8.
func (r *reader) escapes(at path, written []byte) {
	for {
		i := bytes.IndexByte(written, '\\')
		if i < 0 {
			return
		}
		if written[i+1] != 'u' {
			written = written[i+2:]
			continue
		}
		c, after := unit(written[i:])
		if c>>10 == 0xd800>>10 { // the first half of a character
			if low, rest := unit(after); low>>10 == 0xdc00>>10 {
				c, after = -1, rest
			}
		}
		switch {
		case c == 0:
			r.fault(at, "must be without NUL characters")
		case c>>11 == 0xd800>>11:
			r.fault(at, "must be of whole characters, without lone surrogates")
		}
		written = after
	}
}

// unit reads one \uXXXX and returns what follows; -1 if there is none.
func unit(written []byte) (int64, []byte) {
	if len(written) < 6 || written[0] != '\\' || written[1] != 'u' {
		return -1, written
	}
	c, err := strconv.ParseInt(string(written[2:6]), 16, 32)
	if err != nil {
		return -1, written
	}
	return c, written[6:]
}

// fits tells whether a JSON number fits into an int64, or into a float64 if it has a fraction or an exponent. What is too small to differ
// from zero does not; nor do figures so long that exact arithmetic with them, which the checks do, would take its time. The validator
// panics at exponents beyond a million.
func fits(number string) bool {
	if len(number) > 64 {
		return false
	}
	if !strings.ContainsAny(number, ".eE") {
		_, err := strconv.ParseInt(number, 10, 64)
		return err == nil
	}
	value, err := strconv.ParseFloat(number, 64)
	mantissa, exponent := number, "0"
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		mantissa, exponent = number[:i], number[i+1:]
	}
	power, bad := strconv.Atoi(exponent)
	if err != nil || bad != nil || power > 400 || power < -400 {
		return false
	}
	return value != 0 || !strings.ContainsAny(mantissa, "123456789")
}

// canonical writes a value so that equal ones are written the same.
func canonical(value any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil { // what was read from JSON can be written as JSON
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// path is a place in a JSON value: names, and indices in brackets.
type path []string

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)

// tame names can stand in a path.
func tame(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, lower+"ABCDEFGHIJKLMNOPQRSTUVWXYZ"+digits+"$_-") == ""
}

// key is the place of a name in the object at p. A name that would break a path apart ends it: such keys are a stranger's text.
func (p path) key(name string) path {
	if !tame(name) {
		name = ""
	}
	return append(slices.Clip(p), name)
}

func (p path) index(i int) path { return append(slices.Clip(p), "["+strconv.Itoa(i)+"]") }

// String joins the parts up to the first that is not fit for it.
func (p path) String() string {
	var b strings.Builder
	for i, part := range p {
		if part == "" {
			break
		}
		if i > 0 && part[0] != '[' {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	return b.String()
}
