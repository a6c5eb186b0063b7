package form

import (
	"encoding/json"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// formats are those that are checked, in the words of a fault. Of draft 2020-12 three are not among them: idn-email and idn-hostname, which
// the validator does not know, and regex, because an answer could take long to compile.
var formats = map[string]string{
	"date": "a date such as 2006-01-31", "time": "a time such as 15:04:05Z", "date-time": "a time such as 2006-01-31T15:04:05Z",
	"duration": "a duration such as P1DT12H", "email": "an e-mail address", "hostname": "a host's name", "ipv4": "an IPv4 address",
	"ipv6": "an IPv6 address", "uri": "an absolute URI", "uri-reference": "a URI, whole or relative", "iri": "an absolute URI", "iri-reference": "a URI, whole or relative",
	"uri-template": "a URI template", "uuid": "a UUID", "json-pointer": "a JSON pointer", "relative-json-pointer": "a relative JSON pointer",
	"semver": "a semantic version such as 1.2.3", "link": "an absolute http or https address", "file": "a stored file",
}

const regularExpression = "a regular expression in Go's syntax (RE2)"

// refused is what a format of ours finds, with paths from the value on.
type refused []Fault

// Error implements error.
func (r refused) Error() string { return "form: refused" }

func refuse(code, message string) error { return refused{{"", code, message}} }

var errFormat = refused(nil) // with no words of its own

// ownFormats are link and file, and some of the validator's that take what they should not: +1.+2.+3.+4 for an address of IPv4, +1:+2:+3Z for
// a time, line breaks within e-mail addresses.
func ownFormats() []*jsonschema.Format {
	text := func(name string, check func(string) error) *jsonschema.Format {
		return &jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, ok := v.(string); ok {
				return check(s)
			}
			return nil
		}}
	}
	file := func(v any) error {
		if object, ok := v.(map[string]any); ok {
			return checkFile(object)
		}
		return nil
	}
	return []*jsonschema.Format{
		text("link", checkLink), text("email", checkEmail), text("ipv4", checkIPv4), text("date-time", checkTime),
		text("time", func(s string) error { return checkTime("2000-01-01T" + s) }), {Name: "file", Validate: file},
	}
}

var timeShape = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

func checkTime(s string) error {
	if _, err := time.Parse(time.RFC3339, strings.ToUpper(s)); err != nil || !timeShape.MatchString(s) {
		return errFormat
	}
	return nil
}

func checkIPv4(s string) error {
	if a, err := netip.ParseAddr(s); err != nil || !a.Is4() {
		return errFormat
	}
	return nil
}

// checkEmail takes what package partner takes for an address.
func checkEmail(s string) error {
	if utf8.RuneCountInString(s) > 254 || strings.ContainsFunc(s, unprintable) {
		return errFormat
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		return errFormat
	}
	return nil
}

// unprintable characters are controls, line ends and what Unicode never assigns.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef
}

const maxLink = 2048

// checkLink takes an address that a browser may be sent to, so nothing that browsers read otherwise than Go does.
func checkLink(s string) error {
	if utf8.RuneCountInString(s) > maxLink {
		return refuse("too_long", fmt.Sprintf("must be at most %d characters", maxLink))
	}
	odd := func(r rune) bool {
		return unprintable(r) || unicode.IsSpace(r) || r == '\\' || unicode.Is(unicode.Cf, r)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsFunc(s, odd) || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errFormat
	case u.User != nil:
		return refuse("format", "must be without user name and password")
	}
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return errFormat
		}
	}
	return nil
}

// What a file is described by.
const (
	maxFileName  = 200
	maxMediaType = 127 // what RFC 6838, 4.2, grants a subtype alone
	maxFileSize  = 1 << 40
)

var fileFields = []string{"name", "media_type", "size", "sha256"}

var mediaType = regexp.MustCompile(`^(application|audio|font|image|model|text|video)/[a-z0-9][a-z0-9!#$&^_.+-]*$`)

// What active media types have in their names or begin with: those that run, or bring what runs, where they are opened. It is a list of what
// is known, held against what a file says of itself: whoever serves files still has to see to it that nothing in them is run.
var (
	activeParts = []string{"html", "script", "xsl", "/xml", "+xml", "-xml", "shockwave", "mimearchive", "macroenabled"}
	activeTypes = []string{"text/x-component", "text/cache-manifest", "text/x-server-parsed", "text/x-sh", "text/x-php", "text/x-python", "text/x-perl",
		"application/hta", "application/wasm", "application/java-", "application/x-java", "application/x-msdownload", "application/x-msi",
		"application/x-msdos-program", "application/x-sh", "application/x-csh", "application/x-php", "application/x-httpd-", "application/x-executable",
		"application/x-dosexec", "application/x-bat", "application/x-ms-application", "application/x-ms-installer", "application/x-ms-shortcut",
		"application/vnd.microsoft.portable-executable", "application/x-chrome-extension", "application/x-xpinstall"}
)

func active(name string) bool {
	return slices.ContainsFunc(activeParts, func(part string) bool { return strings.Contains(name, part) }) ||
		slices.ContainsFunc(activeTypes, func(start string) bool { return strings.HasPrefix(name, start) })
}

// checkFile takes the description of a file: its content is frozen by its digest.
func checkFile(file map[string]any) error {
	var faults refused
	add := func(field, code, message string) { faults = append(faults, Fault{"." + field, code, message}) }
	text := func(field string, check func(value string)) {
		switch value, ok := file[field].(string); {
		case file[field] == nil || ok && blank(value):
			add(field, "required", missing)
		case !ok:
			add(field, "format", "must be "+typeNames["string"])
		default:
			check(value)
		}
	}
	text("name", func(name string) {
		switch {
		case utf8.RuneCountInString(name) > maxFileName:
			add("name", "too_long", fmt.Sprintf("must be at most %d characters", maxFileName))
		case name == "." || name == ".." || strings.ContainsAny(name, `/\:`) || strings.ContainsFunc(name, hidden):
			add("name", "format", "must be a file's name without a path and without control characters")
		}
	})
	text("media_type", func(name string) {
		switch {
		case len(name) > maxMediaType || !mediaType.MatchString(name):
			add("media_type", "format", "must be a media type such as image/png, in lower case and without parameters")
		case active(name):
			add("media_type", "format", "must be a media type that cannot run as a program")
		}
	})
	text("sha256", func(sum string) {
		if len(sum) != 64 || strings.Trim(sum, digits+"abcdef") != "" {
			add("sha256", "format", "must be 64 hexadecimal digits in lower case")
		}
	})
	number, ok := file["size"].(json.Number)
	size, err := strconv.ParseInt(string(number), 10, 64)
	switch {
	case file["size"] == nil:
		add("size", "required", missing)
	case !ok || err != nil:
		add("size", "format", "must be "+typeNames["integer"])
	case size < 0 || size > maxFileSize:
		add("size", "range", fmt.Sprintf("must be from 0 to %d", maxFileSize))
	}
	for name := range file {
		if !slices.Contains(fileFields, name) {
			f := foreign(path{"file"}, name)
			f.Path = strings.TrimPrefix(f.Path, "file")
			faults = append(faults, f)
		}
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// hidden characters have no place in a file's name: controls, and marks that turn the direction of what follows.
func hidden(r rune) bool { return unprintable(r) || unicode.Is(unicode.Bidi_Control, r) }

// answered makes "required" ask for more than a key: a text that nobody can see is no answer. It works wherever the keyword stands.
type answered []string

func compileAnswered(_ *jsonschema.CompilerContext, schema map[string]any) (jsonschema.SchemaExt, error) {
	var names answered
	list, _ := schema["required"].([]any)
	for _, name := range list {
		if name, ok := name.(string); ok {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil, nil // the way to say that there is nothing to check
	}
	return names, nil
}

// Validate implements jsonschema.SchemaExt.
func (names answered) Validate(ctx *jsonschema.ValidatorContext, value any) {
	object, _ := value.(map[string]any)
	var empty []string
	for _, name := range names {
		if text, ok := object[name].(string); ok && blank(text) {
			empty = append(empty, name)
		}
	}
	if empty != nil {
		ctx.AddError(&kind.Required{Missing: empty})
	}
}

// blank texts hold nothing that a reader sees.
func blank(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) })
}
