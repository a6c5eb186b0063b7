package form_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/form"
)

// listing is a form with something of everything.
const listing = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"required": ["about"],
	"properties": {
		"story": {"type": "object", "title": "Your story", "properties": {
			"text": {"type": "string", "minLength": 10, "maxLength": 20},
			"links": {"type": "array", "maxItems": 2, "uniqueItems": true, "items": {"type": "string", "format": "link"}},
			"extra": true
		}},
		"about": {"type": "object", "title": "About you", "required": ["title", "kind"], "properties": {
			"title": {"type": "string", "maxLength": 10, "pattern": "^[A-Z]"},
			"kind": {"oneOf": [{"const": "person", "title": "A person"}, {"const": "company", "title": "A company"}]},
			"colour": {"enum": ["red", "green", null]},
			"staff": {"type": "integer", "minimum": 1, "exclusiveMaximum": 1000},
			"share": {"type": "number", "multipleOf": 0.25},
			"email": {"type": "string", "format": "email"},
			"since": {"type": "string", "format": "date"},
			"nick": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
			"address": {"$ref": "#/$defs/address"},
			"images": {"type": "array", "minItems": 1, "items": {"type": "object", "format": "file", "properties": {"size": {"maximum": 1000}}}},
			"vat": {"type": "string"}
		}},
		"a_last_one": {"type": "object", "properties": {"numbers": {"type": "object", "patternProperties": {"^n[0-9]$": {"type": "number"}}, "maxProperties": 2}}}
	},
	"if": {"properties": {"about": {"properties": {"kind": {"const": "company"}}, "required": ["kind"]}}, "required": ["about"]},
	"then": {"properties": {"about": {"required": ["vat"], "properties": {"court": {"type": "string"}}}}},
	"$defs": {"address": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}, "lines": {"type": "array", "items": {"type": "string"}}}}}
}`

func parse(t testing.TB, schema string) *form.Form {
	t.Helper()
	f, faults := form.Parse([]byte(schema))
	if len(faults) > 0 || f == nil {
		t.Fatalf("%.200s: %v", schema, faults)
	}
	return f
}

// told writes faults as "path:code", and reports what no fault may be: outside the list of codes, out of order, with no word.
func told(t testing.TB, faults []form.Fault) string {
	t.Helper()
	var list []string
	for _, f := range faults {
		if !slices.Contains([]string{"required", "format", "range", "too_long", "unknown_code"}, f.Code) || !strings.HasPrefix(f.Message, "must ") || len(f.Message) > 120 {
			t.Errorf("no fault that a form may tell: %+v", f)
		}
		list = append(list, f.Path+":"+f.Code)
	}
	if !slices.IsSortedFunc(faults, func(a, b form.Fault) int { return strings.Compare(a.Path, b.Path) }) {
		t.Errorf("not in the order of paths: %v", list)
	}
	return strings.Join(list, " ")
}

func checks(t *testing.T, f *form.Form, answers, want string) {
	t.Helper()
	kept, faults := f.Check([]byte(answers))
	if got := told(t, faults); got != want {
		t.Errorf("%.200s\n got %s\nwant %s", answers, got, want)
	}
	if (kept == nil) != (len(faults) > 0) {
		t.Errorf("%.200s: kept %q beside %d faults", answers, kept, len(faults))
	}
}

func TestSectionsComeAsWritten(t *testing.T) {
	f := parse(t, listing)
	want := []form.Section{{"story", "Your story"}, {"about", "About you"}, {"a_last_one", ""}}
	if got := f.Sections(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	f.Sections()[0].Name = "other"
	f.Schema()[0] = 'x'
	if f.Sections()[0] != want[0] || string(f.Schema()) != listing {
		t.Error("a form was changed from outside")
	}
}

func TestCheckFindsAllAtOnce(t *testing.T) {
	f := parse(t, listing)
	sum := strings.Repeat("0", 64)
	for answers, want := range map[string]string{
		`{"about":{"title":"ACME","kind":"person"}}`: "",
		`{"about":{"title":"ACME","kind":"person","colour":null,"staff":999,"share":1e0,"nick":null,"address":{"city":"Rome","lines":[]}},
			"story":{"extra":{"any":[{"thing":1}]}},"a_last_one":{"numbers":{"n1":1.50}}}`: "",
		`{}`:                                     "about:required",
		`[]`:                                     ":format",
		`null`:                                   ":format",
		`"x"`:                                    ":format",
		`{"about":{}}`:                           "about.kind:required about.title:required",
		`{"about":{"title":"","kind":"person"}}`: "about.title:required",
		`{"about":{"title":" \t\u200d\u00a0","kind":"person"}}`:           "about.title:required",
		`{"about":{"title":null,"kind":"person"}}`:                        "about.title:format",
		`{"about":{"title":"ACME","kind":"company"}}`:                     "about.vat:required",
		`{"about":{"title":"ACME","kind":"company","vat":""}}`:            "about.vat:required",
		`{"about":{"title":"ACME","kind":"company","vat":"1","court":2}}`: "about.court:format",
		`{"about":{"title":"ACME","kind":"person","court":"x"}}`:          "", // named, though for others
		`{"about":{"title":"acme and others","kind":"robot","colour":"blue","staff":0,"share":0.3,"email":"a@b\u0001","since":"2023-02-29",
			"nick":"long","address":{"city":"","zip":1,"lines":[1]},"images":[],"logo":{}},"story":{"text":"short","links":["x","http://a","http://a"]},"more":{}}`: "about.address.city:required about.address.lines[0]:format about.address.zip:format about.colour:unknown_code about.email:format " +
			"about.images:range about.kind:unknown_code about.logo:format about.nick:too_long about.share:range about.since:format about.staff:range " +
			"about.title:format about.title:too_long more:format story.links:too_long story.links[0]:format story.links[2]:format story.text:range",
		`{"about":{"title":"ACME","kind":"person","staff":1000,"share":"1","images":[{"name":"a.png","media_type":"image/png","size":1001,"sha256":"` + sum + `"}]}}`: "about.images[0].size:range about.share:format about.staff:range",
		`{"about":[],"story":1,"a_last_one":{"numbers":{"n1":"x","n2":2,"n33":3}}}`:                                                                                   "a_last_one.numbers:too_long a_last_one.numbers.n1:format a_last_one.numbers.n33:format about:format story:format",
		`{"about":{"title":"ACME","kind":"person","":1,"a.b":2,"x[1]":3,"Title":4}}`:                                                                                  "about:format about.Title:format",
	} {
		checks(t, f, answers, want)
	}
}

// Nothing of an answer is repeated in a message, wherever it stands.
func TestMessagesHoldNoAnswers(t *testing.T) {
	f := parse(t, listing)
	var about []string
	for _, name := range []string{"title", "kind", "colour", "staff", "share", "email", "since", "nick", "address", "images", "vat", "court"} {
		about = append(about, fmt.Sprintf(`%q:%%[1]s`, name))
	}
	for _, canary := range []string{`"canary canary canary"`, `["canary"]`, `{"canary":"canary","name":"../canary","media_type":"canary"}`, `-777777.7`} {
		_, faults := f.Check(fmt.Appendf(nil, `{"about":{`+strings.Join(about, ",")+`},"story":{"text":%[1]s,"links":[%[1]s]},"canary canary":1}`, canary))
		if len(faults) < 8 {
			t.Errorf("%s: only %v", canary, faults)
		}
		for _, fault := range faults {
			if strings.Contains(fault.Message, "canary") || strings.Contains(fault.Message, "777777") {
				t.Errorf("%+v", fault)
			}
		}
	}
}

func TestCanonicalText(t *testing.T) {
	f := parse(t, `{"type":"object","properties":{"s":{"type":"object","properties":{"a":true,"b":{},"c":{"type":"number"}}}}}`)
	for answers, want := range map[string]string{
		` { "s" : { "b" : [ 1 , 2.50, -0 ] , "a" : "\u0041\/<\u00e9>" , "c" : 1E+2 } } `: `{"s":{"a":"A/<é>","b":[1,2.50,-0],"c":1E+2}}`,
		`{"s":{"a":{"z":1,"a":{"y":null,"x":[]}}}}`:                                      `{"s":{"a":{"a":{"x":[],"y":null},"z":1}}}`,
		`{"s":{"a":"\ud83d\ude00"}}`:                                                     `{"s":{"a":"😀"}}`,
	} {
		got, faults := f.Check([]byte(answers))
		if string(got) != want {
			t.Errorf("%s: got %s %v, want %s", answers, got, faults, want)
		}
	}
}

// What encoding/json mends in silence, and what others cannot hold, is refused; as a schema as well.
func TestOnlyProperJSON(t *testing.T) {
	f := parse(t, listing)
	for text, want := range map[string]string{
		`{"about":{"title":"A","title":"B"}}`:                 "about.title:format",
		`{"about":{"title":"A","\u0074itle":"B"},"about":{}}`: "about:format about.title:format",
		`{"story":{"extra":[{"a":1,"b":2,"a":1}]}}`:           "story.extra[0].a:format",
		`{"about":{}}{}`:                   ":format",
		`{"about":{}} x`:                   ":format",
		`{"about":{},}`:                    ":format",
		`{'about':{}}`:                     ":format",
		``:                                 ":format",
		" \n":                              ":format",
		"\xef\xbb\xbf{}":                   ":format",
		"{\"about\":{\"title\":\"\xff\"}}": ":format",
		"{\"about\":{\"title\":\"\xed\xa0\x80\"}}":                                            ":format",
		`{"about":{"title":"\ud800","kind":"\udc00\ud800"}}`:                                  "about.kind:format about.title:format",
		`{"about":{"title":"\ud83d\u0041","kind":"\\ud800"}}`:                                 "about.title:format",
		`{"about":{"title":"a\u0000b","\u0000":1}}`:                                           "about:format about.title:format",
		`{"about":{"staff":9223372036854775808}}`:                                             "about.staff:format",
		`{"about":{"staff":-9223372036854775809}}`:                                            "about.staff:format",
		`{"about":{"share":1e400,"staff":1e-400}}`:                                            "about.share:format about.staff:format",
		`{"about":{"share":0e999999999999999999999}}`:                                         "about.share:format",
		`{"about":{"share":1e-999999999}}`:                                                    "about.share:format",
		`{"about":{"share":0.` + strings.Repeat("0", 99) + `1}}`:                              "about.share:format",
		`{"about":{"share":NaN}}`:                                                             ":format",
		`{"story":{"extra":` + strings.Repeat("[", 15) + `0` + strings.Repeat("]", 15) + `}}`: ":too_long",
		strings.Repeat("[", 100_000):                                                          ":too_long",
		`"` + strings.Repeat("a", 1<<20) + `"`:                                                ":too_long",
		`{"story":{"extra":[` + strings.Repeat("1,", 20_000) + `1]}}`:                         ":too_long",
	} {
		checks(t, f, text, want)
		if got, faults := form.Parse([]byte(text)); got != nil || len(faults) == 0 {
			t.Errorf("%.100s is a form", text)
		} else if told := told(t, faults); told != want {
			t.Errorf("%.100s as a schema: %s, want %s", text, told, want)
		}
	}
	checks(t, f, `{"about":{"title":"ACME","kind":"person"},"story":{"extra":`+strings.Repeat("[", 14)+strings.Repeat("]", 14)+`}}`, "")
	checks(t, f, `{"about":{"title":"ACME","kind":"person"},"story":{"extra":[9223372036854775807,-9223372036854775808,1.7976931348623157e308,5e-324,0e5,"[{\"[{"]}}`, "")
}

// The same fields are known however a schema is composed.
func TestFieldsAreKnownWhereverTheyAreNamed(t *testing.T) {
	f := parse(t, `{"type":"object","properties":{"s":{"type":"object","properties":{"a":{"type":"object"}, "b":{"type":"array"}, "c":{"type":"array",
		"prefixItems":[{"properties":{"p":{}}}],"items":{"$ref":"#/$defs/i"}}, "free":{"type":"object","additionalProperties":{"type":"integer"}}, "never": false,
		"tree":{"$ref":"#/$defs/tree"}, "either":{"anyOf":[{"type":"object","properties":{"x":{}}},{"type":"object","properties":{"y":{}}}]}},
		"allOf":[{"properties":{"d":{}}}],"dependentSchemas":{"d":{"properties":{"e":{"type":"integer"}}}},"if":{"properties":{"only_if":{}}},"not":{"required":["z"],"properties":{"z":{}}}}},
		"allOf":[{"properties":{"s":{"properties":{"f":{"type":"integer"}}}}}],
		"$defs":{"i":{"properties":{"q":{}}},"tree":{"type":"object","properties":{"leaf":{"type":"string"},"sons":{"type":"array","items":{"$ref":"#/$defs/tree"}}}}}}`)
	for answers, want := range map[string]string{
		`{"s":{"a":{},"b":[1,"x"],"c":[{"p":1},{"q":{"anything":1}}],"free":{"Any Name":1,"b":2},"d":1,"e":2,"f":3}}`: "",
		`{"s":{"a":{"x":1},"b":[{"x":1}],"c":[{"q":1},{"p":1}],"free":{"a":"1"},"d":1,"e":"2","f":"3","g":4}}`: "s.a.x:format s.b[0].x:format s.c[0].q:format s.c[1].p:format " +
			"s.e:format s.f:format s.free.a:format s.g:format",
		`{"s":{"only_if":1,"z":1,"never":1}}`:                                  "s:format s.never:format s.only_if:format s.z:format",
		`{"s":{"tree":{"leaf":"a","sons":[{"leaf":1,"sons":[{"lea":"b"}]}]}}}`: "s.tree.sons[0].leaf:format s.tree.sons[0].sons[0].lea:format",
		`{"s":{"either":{"x":1,"y":2}}}`:                                       "",
		`{"s":{"either":{"z":2}}}`:                                             "s.either.z:format",
	} {
		checks(t, f, answers, want)
	}
	closed := parse(t, `{"type":"object","unevaluatedProperties":false,"additionalProperties":false,"properties":{"s":{"type":"object","properties":{},"additionalProperties":false}}}`)
	_, faults := closed.Check([]byte(`{"s":{"x":1},"y":2}`))
	if got := fmt.Sprint(faults); got != "[{s.x format must be part of the form} {y format must be part of the form}]" {
		t.Errorf("one fault for one field: %s", got)
	}
}

func TestOneFaultForAChoice(t *testing.T) {
	f := parse(t, `{"type":"object","properties":{"s":{"type":"object","properties":{
		"codes":{"oneOf":[{"const":1},{"enum":[2,3]},{"type":"null"}]},
		"shapes":{"anyOf":[{"type":"object","required":["a"],"properties":{"a":{"type":"string"}}},{"type":"array","minItems":2}]},
		"both":{"oneOf":[{"type":"number"},{"type":"integer"}]},
		"not_this":{"not":{"const":"this"}},
		"ref":{"anyOf":[{"$ref":"#/$defs/short"},{"type":"null"}]},
		"some":{"type":"array","contains":{"const":1},"minContains":2,"maxContains":3},
		"any":{"type":"array","contains":{"type":"string","maxLength":1}},
		"cond":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"dependentRequired":{"a":["b"]},"minProperties":1}
	}}},"$defs":{"short":{"type":"string","maxLength":2}}}`)
	for answers, want := range map[string]string{
		`{"codes":4}`: "s.codes:unknown_code", `{"codes":"x"}`: "s.codes:unknown_code", `{"codes":3.0}`: "",
		`{"shapes":{}}`: "s.shapes:format", `{"shapes":[1]}`: "s.shapes:range", `{"shapes":{"a":1}}`: "s.shapes:format", `{"shapes":"x"}`: "s.shapes:format", `{"shapes":[1,2]}`: "",
		`{"both":1}`: "s.both:format", `{"both":1.5}`: "", `{"both":"x"}`: "s.both:format",
		`{"not_this":"this"}`: "s.not_this:format", `{"not_this":"that"}`: "",
		`{"ref":"abc"}`: "s.ref:too_long", `{"ref":1}`: "s.ref:format", `{"ref":null}`: "",
		`{"some":[1]}`: "s.some:range", `{"some":[1,1,1,1]}`: "s.some:too_long", `{"some":[1,1,2]}`: "", `{"any":["ab",1]}`: "s.any:range", `{"any":["ab","c"]}`: "",
		`{"cond":{"a":"x"}}`: "s.cond.b:required", `{"cond":{}}`: "s.cond:range",
	} {
		checks(t, f, `{"s":`+answers+`}`, want)
	}
}

// A form is read by many at once, and each is told his own.
func TestManyUseOneForm(t *testing.T) {
	f := parse(t, listing)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 20 {
				title := fmt.Sprintf("T%d", i*20+j)
				kept, faults := f.Check(fmt.Appendf(nil, `{"about":{"kind":"person","title":%q}}`, title))
				if want := `{"about":{"kind":"person","title":"` + title + `"}}`; string(kept) != want {
					t.Errorf("got %s %v, want %s", kept, faults, want)
				}
				if _, faults := f.Check(fmt.Appendf(nil, `{"about":{"kind":"person","title":%q},"x%s":1}`, title, title)); len(faults) != 1 || faults[0].Path != "x"+title {
					t.Errorf("%s: %v", title, faults)
				}
			}
		})
	}
	all.Wait()
}

// An answer that was kept stays what it was, for every program that reads it.
func sameJSON(t testing.TB, a, b []byte) {
	t.Helper()
	read := func(text []byte) (v any) {
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return v
	}
	if x, y := fmt.Sprintf("%#v", read(a)), fmt.Sprintf("%#v", read(b)); x != y {
		t.Errorf("%.300s became %.300s", x, y)
	}
}
