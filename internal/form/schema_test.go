package form_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/partnerkit/partnerkit/internal/form"
)

// within makes a form of some fields of one section, and of what stands beside the sections.
func within(fields, beside string) string {
	return `{"type":"object","properties":{"s":{"type":"object","properties":{` + fields + `}}}` + beside + `}`
}

func refused(t *testing.T, schema, want string) {
	t.Helper()
	f, faults := form.Parse([]byte(schema))
	if got := told(t, faults); got != want {
		t.Errorf("%.300s\n got %s\nwant %s", schema, got, want)
	}
	if (f == nil) != (len(faults) > 0) {
		t.Errorf("%.300s: form %v beside %d faults", schema, f != nil, len(faults))
	}
}

func TestParseFindsAllAtOnce(t *testing.T) {
	refused(t, `{"$id":"https://example.com/x","$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["about","abuot"],
		"properties":{"About":{"type":"object","properties":{}},"about":{"properties":{"first name":{"type":"strin"},"t":{"$schema":"https://json-schema.org/draft/2020-12/schema"},
			"a":{"type":"string","maxLength":-1,"minLength":2147483648,"pattern":"(?=x)","format":"emial","maxlength":3},
			"b":{"$ref":"#/$defs/no"},"c":{"$ref":"b"},"d":{"$dynamicRef":"#d"},"e":{"patternProperties":{"(":{"format":"regex"}}},"f":{"format":"link"},"g":{"items":[{}]},"h":5,"i":{"title":5}}},
			"c":{"type":"array","properties":{},"required":["x"]},"d":true}}`,
		"$id:format $schema:unknown_code properties.About:format properties.about.properties:format properties.about.properties:unknown_code properties.about.properties.a.format:unknown_code "+
			"properties.about.properties.a.maxLength:range "+
			"properties.about.properties.a.maxlength:format properties.about.properties.a.minLength:range properties.about.properties.a.pattern:format "+
			"properties.about.properties.b.$ref:unknown_code properties.about.properties.c.$ref:format properties.about.properties.d.$dynamicRef:format "+
			"properties.about.properties.e.patternProperties:format properties.about.properties.e.patternProperties:unknown_code "+
			"properties.about.properties.f.format:format properties.about.properties.g.items:format properties.about.properties.h:format "+
			"properties.about.properties.i.title:format properties.about.properties.t.$schema:unknown_code properties.about.type:required "+
			"properties.c.required[0]:unknown_code properties.c.type:unknown_code properties.d.properties:required properties.d.type:required required[1]:unknown_code")
}

func TestParseRefuses(t *testing.T) {
	many := func(n int, one string) string {
		var list []string
		for i := range n {
			list = append(list, strings.ReplaceAll(one, "#n", fmt.Sprint(i)))
		}
		return strings.Join(list, ",")
	}
	object := `{"type":"object","properties":{}}`
	for schema, want := range map[string]string{
		`true`: ":format", `5`: ":format",
		`{}`:                                "properties:required type:required",
		`{"type":"object","properties":{}}`: "properties:required",
		`{"type":"object","properties":[]}`: "properties:required",
		`{"type":["object"],"properties":{"s":` + object + `}}`:                                             "type:unknown_code",
		`{"type":"object","properties":{` + many(50, `"s#n":`+object) + `}}`:                                "",
		`{"type":"object","properties":{` + many(51, `"s#n":`+object) + `}}`:                                "properties:too_long",
		`{"type":"object","properties":{"s":{"type":"object","$ref":"#/properties/t"},"t":` + object + `}}`: "properties.s.properties:required",
		`{"type":"object","properties":{"` + strings.Repeat("a", 63) + `":` + object + `}}`:                 "",
		`{"type":"object","properties":{"` + strings.Repeat("a", 64) + `":` + object + `}}`:                 "properties." + strings.Repeat("a", 64) + ":format",
		within(`"1a":{}`, ""):                             "properties.s.properties.1a:format",
		within(`"a":{"properties":{"B":{}}}`, ""):         "properties.s.properties.a.properties.B:format",
		within(many(1000, `"f#n":{"type":"string"}`), ""): "",
		within(many(1001, `"f#n":{"type":"string"}`), ""): ":too_long",
		within(many(900, `"f#n":{}`), `,"allOf":[`+many(200, `{"then":{"properties":{"s":{"properties":{"f#n":{"type":"string"}}}}}}`)+`]`): "", // the same fields again
		within(`"a":{"allOf":[`+many(4990, `{}`)+`]}`, ""):                                                         "",
		within(`"a":{"allOf":[`+many(5000, `{}`)+`]}`, ""):                                                         ":too_long",
		within(`"a":{"enum":[`+many(20_000, `1`)+`]}`, ""):                                                         ":too_long",
		within(`"a":{"description":"`+strings.Repeat("x", 256<<10)+`"}`, ""):                                       ":too_long",
		within(`"a":{"pattern":"(x{100}){10}"}`, ""):                                                               "",
		within(`"a":{"pattern":"`+strings.Repeat("(x{100}){10}", 20)+`"}`, ""):                                     "properties.s.properties.a.pattern:too_long",
		within(`"a":{"format":"regex"}`, ""):                                                                       "properties.s.properties.a.format:unknown_code",
		within(`"a":{"format":"idn-email"}`, ""):                                                                   "properties.s.properties.a.format:unknown_code",
		within(`"a":{"type":["string","null"],"format":"link"}`, ""):                                               "properties.s.properties.a.format:format",
		within(`"a":{"type":"string","format":"file"}`, ""):                                                        "properties.s.properties.a.format:format",
		within(`"format":{"type":"string"},"maxlength":{"const":{"$ref":"x"}}`, `,"x-hint":{"$id":5}`):             "", // names and values are no keywords
		within(`"a":{"propertyNames":{}}`, ""):                                                                     "properties.s.properties.a.propertyNames:format",
		within(`"a":{"definitions":{}}`, ""):                                                                       "properties.s.properties.a.definitions:format",
		within(`"a":{"$anchor":"b"}`, ""):                                                                          "properties.s.properties.a.$anchor:format",
		within(`"a":{"$recursiveRef":"#"}`, ""):                                                                    "properties.s.properties.a.$recursiveRef:format",
		within(`"a":{"multipleOf":0}`, ""):                                                                         "properties.s.properties.a.multipleOf:range",
		within(`"a":{"$ref":"#/$defs/a"}`, `,"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"not":{"$ref":"#/$defs/a"}}}`): "$defs.a:format",
		within(`"a":{"$ref":"#/x-a"}`, `,"x-a":{}`):                                                                "properties.s.properties.a.$ref:unknown_code",
		within(`"a":{"$ref":"#/$defs/a~1b%20c~0"}`, `,"$defs":{"a/b c~":{"type":"string"}}`):                       "",
		within(`"a":{"default":1},"b":{"$ref":"#/properties/s/properties/a/default"}`, ""):                         "properties.s.properties.b.$ref:unknown_code",
	} {
		refused(t, schema, want)
	}
}

// A reference that leads out of the form is refused before anybody follows it, whatever keyword it stands under: a file that would do as a
// schema lies where it leads to, and a server waits for the call.
func TestNothingIsLoaded(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		fmt.Fprint(w, `{"type":"integer"}`)
	}))
	defer server.Close()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile(filepath.Join(dir, "other.json"), []byte(`{"type":"integer","$defs":{"x":{}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"other.json", "./other.json#/$defs/x", "file://" + dir + "/other.json", "file:///etc/passwd", server.URL, server.URL + "/x#/y",
		"//" + strings.TrimPrefix(server.URL, "http://"), "https://json-schema.org/draft/2020-12/schema", "urn:x", "#", "#x", "", "https://form.invalid/#/$defs/x", "?x#/$defs/x"} {
		for _, keyword := range []string{"$ref", "$dynamicRef", "$recursiveRef", "$id", "$schema", "id"} {
			for _, place := range []string{`"a":{%s}`, `"a":{"items":{"not":{%s}}}`, `"a":{"dependentSchemas":{"x":{%s}}}`, `"a":{"contentSchema":{%s}}`} {
				schema := within(fmt.Sprintf(place, fmt.Sprintf("%q:%q", keyword, to)), `,"$defs":{"x":{}}`)
				if f, faults := form.Parse([]byte(schema)); f != nil || len(faults) == 0 {
					t.Errorf("%s: %v", schema, faults)
				}
			}
		}
		if _, faults := form.Parse([]byte(within(`"a":{}`, fmt.Sprintf(`,"$schema":%q`, to)))); (len(faults) == 0) != (to == "https://json-schema.org/draft/2020-12/schema") {
			t.Errorf("$schema %s: %v", to, faults)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d documents were loaded", n)
	}
}

// However a form multiplies its schemas, answers are checked or refused, and not pondered for years.
func TestWorkIsBounded(t *testing.T) {
	var doubled []string
	for i := range 40 {
		doubled = append(doubled, fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+1))
	}
	twice := `{"items":{"$ref":"#/$defs/t"},"prefixItems":[{"$ref":"#/$defs/t"},{"$ref":"#/$defs/t"}],"contains":{"$ref":"#/$defs/t"},"minContains":0}`
	nested := strings.Repeat("[", 13) + strings.Repeat("]", 13)
	list := func(n int, item string) string { return "[" + strings.Repeat(item+",", n-1) + item + "]" }
	for _, c := range []struct{ fields, defs, answer, want string }{
		{`"a":{"$ref":"#/$defs/d0"}`, strings.Join(doubled, ",") + `,"d40":{"type":"string"}`, `1`, ":too_long"},
		{`"a":{"$ref":"#/$defs/t"}`, `"t":{"allOf":[` + twice + `,` + twice + `,` + twice + `]}`, nested, ":too_long"},
		{`"a":{"$ref":"#/$defs/t"}`, `"t":{"type":"object","properties":{"a":{"$ref":"#/$defs/t"}},"additionalProperties":{"$ref":"#/$defs/t"},"allOf":[{"patternProperties":{".":{"$ref":"#/$defs/t"}}}]}`,
			strings.Repeat(`{"b":`, 13) + `{}` + strings.Repeat("}", 13), ""},
		{`"a":{"items":{"enum":` + list(9000, "1") + `}}`, "", list(9000, "2"), ":too_long"},
		{`"a":{"items":{"pattern":"(x+x+)+y"}}`, "", list(19_000, `"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`), "s.a[0]:format"},
		{`"a":{"pattern":"(x+x+)+y"}`, "", `"` + strings.Repeat("x", 500_000) + `"`, "s.a:format"},
		{`"a":{"pattern":"(x{50}){20}"}`, "", `"` + strings.Repeat("x", 1_000_000) + `"`, ":too_long"},
		{`"a":{"items":{"type":"integer","multipleOf":1e-300}}`, "", list(10_000, `1.7e308`), ""},
		{`"a":{"items":{"type":"integer"},"uniqueItems":true}`, "", list(19_990, "7"), "s.a[1]:format"},
		{`"a":{"items":{"format":"email"}}`, "", list(1000, `"`+strings.Repeat("a@", 500)+`"`), "s.a[0]:format"},
	} {
		f := parse(t, within(c.fields, `,"$defs":{`+c.defs+`}`))
		_, faults := f.Check([]byte(`{"s":{"a":` + c.answer + `}}`))
		if len(faults) > 0 {
			faults = faults[:1]
		}
		if got := told(t, faults); got != c.want {
			t.Errorf("%.100s with %.100s: %s, want %s", c.fields, c.answer, got, c.want)
		}
	}
}
