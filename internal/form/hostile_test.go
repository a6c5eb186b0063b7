package form_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/partnerkit/partnerkit/internal/form"
)

const hostile = "../../../shared/hostile/"

// corpus reads one of the shared lists.
func corpus(t *testing.T, name string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(hostile + name)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the hostile lists are not here")
	}
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// manifests reads the broken and malicious JSON files; none if they are not here.
func manifests(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(hostile + "manifest/*.json")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		if files[filepath.Base(name)], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Of the hostile manifests those that are no proper JSON are refused by every form, and the others keep what they say.
func TestHostileManifests(t *testing.T) {
	files := manifests(t)
	if len(files) == 0 {
		t.Skip("the hostile lists are not here")
	}
	f := parse(t, within(`"a":true`, ""))
	improper := map[string]bool{"bom": true, "deep_100k": true, "dup_keys": true, "huge_number": true, "invalid_utf8": true, "lone_surrogate": true,
		"nan": true, "trailing": true, "utf16": true}
	for name, text := range files {
		if got, faults := form.Parse(text); got != nil || len(faults) == 0 {
			t.Errorf("%s is a form", name)
		} else {
			told(t, faults)
		}
		if kept, faults := f.Check(text); kept != nil || len(faults) == 0 {
			t.Errorf("%s are answers", name)
		} else {
			told(t, faults)
		}
		answers := append(append([]byte(`{"s":{"a":`), text...), "}}"...)
		kept, faults := f.Check(answers)
		told(t, faults)
		if bad := improper[strings.TrimSuffix(name, ".json")]; bad != (len(faults) > 0) {
			t.Errorf("%s within answers: %v", name, faults)
		} else if !bad {
			sameJSON(t, answers, kept)
		}
	}
}

// Naughty strings are kept as they are where text is asked for, and are no links that lead elsewhere, no files and no keys.
func TestHostileStrings(t *testing.T) {
	f := parse(t, within(`"text":{"type":"string"},"link":{"type":"string","format":"link"},"file":{"type":"object","format":"file"},"code":{"enum":["a"]}`, ""))
	for _, text := range append(corpus(t, "strings/blns.json"), strings.Repeat("x", 1<<16), "\u2028", "<script>", "a.b[0]") {
		q := quoted(t, text)
		answers := []byte(`{"s":{"text":` + q + `}}`)
		kept, faults := f.Check(answers)
		if strings.Contains(text, "\x00") != (len(faults) > 0) {
			t.Errorf("%q: %v", text, faults)
		} else if kept != nil {
			sameJSON(t, answers, kept)
		}
		_, faults = f.Check(fmt.Appendf(nil, `{"s":{"link":%[1]s,"code":%[1]s,"file":{"name":%[1]s,"media_type":%[1]s,"sha256":%[1]s,"size":%[1]s},"more":{%[1]s:%[1]s}},%[1]s:1}`, q))
		if len(faults) < 4 {
			t.Errorf("%q: %v", text, faults)
		}
		for _, fault := range faults {
			if !utf8.ValidString(fault.Path) || len(fault.Path) > 100 || strings.ContainsAny(fault.Path, "<>\"' \n") {
				t.Errorf("a path that a stranger writes: %q", fault.Path)
			}
		}
		told(t, faults)
	}
}

func TestHostileFileNames(t *testing.T) {
	f := parse(t, within(`"a":{"type":"object","format":"file"}`, ""))
	for _, name := range corpus(t, "archives/gen_names.json") {
		_, faults := f.Check([]byte(described(map[string]string{"name": quoted(t, name)})))
		leads := name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\:\n\x01\u202e") || utf8.RuneCountInString(name) > 200
		if leads != (len(faults) > 0) {
			t.Errorf("%.60q: %v", name, faults)
		}
	}
}

// anything draws a JSON value.
func anything(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Map(rapid.Int64(), func(i int64) any { return json.Number(fmt.Sprint(i)) }),
		rapid.SampledFrom([]any{json.Number("1.50"), json.Number("-0"), json.Number("1E+2"), json.Number("5e-324")}),
		rapid.Map(rapid.String(), func(s string) any { return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "0") }))
	if depth == 0 {
		return leaf
	}
	key := rapid.StringMatching(`[a-z<é😀 "\\]{0,3}`)
	return rapid.OneOf(leaf, rapid.SliceOfN(anything(depth-1), 0, 4).AsAny(), rapid.MapOfN(key, anything(depth-1), 0, 4).AsAny())
}

// write writes a value in one of many ways: keys in any order, white space, escapes.
func write(b *strings.Builder, value any, chance *rand.Rand) {
	space := func() { b.WriteString([]string{"", "", " ", "\n\t"}[chance.IntN(4)]) }
	text := func(s string) {
		b.WriteByte('"')
		for _, r := range s {
			switch {
			case chance.IntN(4) > 0 && r >= ' ' && r != '"' && r != '\\':
				b.WriteRune(r)
			case r < 0x10000:
				fmt.Fprintf(b, `\u%04x`, r)
			default:
				fmt.Fprintf(b, `\u%04X\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
			}
		}
		b.WriteByte('"')
	}
	space()
	switch v := value.(type) {
	case string:
		text(v)
	case json.Number:
		b.WriteString(v.String())
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, item, chance)
		}
		b.WriteByte(']')
	case map[string]any:
		var names []string
		for name := range v {
			names = append(names, name)
		}
		b.WriteByte('{')
		for i, at := range chance.Perm(len(names)) {
			if i > 0 {
				b.WriteByte(',')
			}
			space()
			text(names[at])
			space()
			b.WriteByte(':')
			write(b, v[names[at]], chance)
		}
		b.WriteByte('}')
	default:
		fmt.Fprint(b, map[any]string{nil: "null", true: "true", false: "false"}[v])
	}
	space()
}

// Equal answers are kept as equal text, and what was kept is kept again as it is.
func TestCanonicalTextIsStable(t *testing.T) {
	f := parse(t, within(`"a":true`, ""))
	rapid.Check(t, func(r *rapid.T) {
		value := map[string]any{"s": map[string]any{"a": anything(4).Draw(r, "value")}}
		var first []byte
		for i := range 3 {
			var b strings.Builder
			write(&b, value, rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0)))
			kept, faults := f.Check([]byte(b.String()))
			if len(faults) > 0 {
				r.Fatalf("%s: %v", b.String(), faults)
			}
			if i == 0 {
				first = kept
			} else if string(kept) != string(first) {
				r.Fatalf("%s is kept as %s, not as %s", b.String(), kept, first)
			}
		}
		if again, faults := f.Check(first); string(again) != string(first) {
			r.Fatalf("%s is kept again as %s %v", first, again, faults)
		}
	})
}

// settled holds what every check of a form must do.
func settled(t *testing.T, f *form.Form, answers []byte) {
	kept, faults := f.Check(answers)
	told(t, faults)
	if (kept == nil) != (len(faults) > 0) {
		t.Fatalf("kept %q beside %v", kept, faults)
	}
	if kept == nil {
		return
	}
	sameJSON(t, answers, kept)
	if again, faults := f.Check(kept); string(again) != string(kept) {
		t.Fatalf("%s is kept again as %s %v", kept, again, faults)
	}
}

// FuzzCheck: answers are refused with faults in order, or kept as what they say.
func FuzzCheck(f *testing.F) {
	questions := parse(f, listing)
	for _, text := range []string{`{"about":{"title":"ACME","kind":"company","vat":"1","images":[{"name":"a.png","media_type":"image/png","size":1,"sha256":"` + strings.Repeat("0", 64) + `"}]},
		"story":{"links":["https://a.example"],"extra":[1e5,"\ud83d\ude00"]},"a_last_one":{"numbers":{"n1":-1.5}}}`, `{"about":{"title":"\u0000","title":"\ud800"}}`, `{"about":{"staff":1e400}}`, `[[`, `{} {}`} {
		f.Add([]byte(text))
	}
	for _, text := range manifests(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, answers []byte) { settled(t, questions, answers) })
}

// FuzzParse: a schema is refused with faults in order, or is a form that gives its text back and checks whatever comes.
func FuzzParse(f *testing.F) {
	f.Add([]byte(listing), []byte(`{"about":{"title":"ACME","kind":"person"}}`))
	for _, fields := range []string{`"a":{"$ref":"#/$defs/a"}`, `"a":{"anyOf":[true,false,{"type":["string","null"],"format":"date"}]}`, `"a":{"patternProperties":{"^a":{"const":1}},"unevaluatedProperties":false}`,
		`"a":{"contains":{"minimum":1},"maxContains":2,"uniqueItems":true,"prefixItems":[{}],"unevaluatedItems":false}`, `"a":{"if":{"multipleOf":0.1},"then":{"maximum":5},"else":{"enum":[null,"x"]}}`} {
		f.Add([]byte(within(fields, `,"$defs":{"a":{"properties":{"a":{"$ref":"#/$defs/a"}}}}`)), []byte(`{"s":{"a":[1,1,{"a":{"a":1}}]}}`))
		f.Add([]byte(within(fields, `,"$defs":{"a":{"not":{"$ref":"#/properties/s"}}}`)), []byte(`{"s":{"a":{"a":1}}}`))
	}
	f.Fuzz(func(t *testing.T, schema, answers []byte) {
		questions, faults := form.Parse(schema)
		told(t, faults)
		if (questions == nil) != (len(faults) > 0) {
			t.Fatalf("a form: %v, faults: %v", questions != nil, faults)
		}
		if questions == nil {
			return
		}
		if n := len(questions.Sections()); n < 1 || n > 50 || string(questions.Schema()) != string(schema) {
			t.Fatalf("%d sections of %s", n, schema)
		}
		settled(t, questions, answers)
		settled(t, questions, []byte("{}"))
	})
}
