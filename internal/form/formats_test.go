package form_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func quoted(t testing.TB, text string) string {
	t.Helper()
	q, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(q)
}

// Every format that a form may name is checked: each refuses something.
func TestFormatsAreAsserted(t *testing.T) {
	for format, values := range map[string][2][]string{
		"date":                  {{"2024-02-29"}, {"2023-02-29", "2024-2-9", "yesterday", "2024-02-29T00:00:00Z"}},
		"time":                  {{"15:04:05Z", "15:04:05.123+02:00"}, {"15:04", "15:04:05", "25:00:00Z", "+1:+2:+3Z", "15:04:60Z", "15:04:05+24:00"}},
		"date-time":             {{"2024-02-29T15:04:05Z", "2024-02-29t15:04:05.5-07:30"}, {"2024-02-30T15:04:05Z", "2024-02-29 15:04:05Z", "2024-02-29T+1:+2:+3Z"}},
		"duration":              {{"P1DT12H"}, {"1 day", "P", "PT"}},
		"email":                 {{"a@b.example", "ü@b.example"}, {"a", "a@", "A <a@b.example>", "\"a\nb\"@c.example", " a@b.example", strings.Repeat("a", 250) + "@b.example"}},
		"hostname":              {{"a.example"}, {"a..b", "-a", "a b"}},
		"ipv4":                  {{"127.0.0.1"}, {"1.2.3", "+1.+2.+3.+4", "256.0.0.1", "01.2.3.4"}},
		"ipv6":                  {{"::1"}, {"127.0.0.1", "fe80::1%eth0"}},
		"uri":                   {{"https://a.example/x"}, {"/x", "http://[::1"}},
		"uri-reference":         {{"/x"}, {"\\x"}},
		"iri":                   {{"https://ä.example"}, {"/x"}},
		"iri-reference":         {{"/ä"}, {"\\x"}},
		"uri-template":          {{"/x/{y}"}, {"/x/{y"}},
		"uuid":                  {{"123e4567-e89b-12d3-a456-426614174000"}, {"123e4567e89b12d3a456426614174000"}},
		"json-pointer":          {{"/a/b", ""}, {"a"}},
		"relative-json-pointer": {{"1/a"}, {"/a"}},
		"semver":                {{"1.2.3-rc.1+5"}, {"1.2", "01.2.3"}},
		"link":                  {{"https://a.example"}, {"a.example"}},
	} {
		f := parse(t, within(`"a":{"type":"string","format":"`+format+`"}`, ""))
		for i, want := range []string{"", "s.a:format"} {
			for _, value := range values[i] {
				checks(t, f, `{"s":{"a":`+quoted(t, value)+`}}`, want)
			}
		}
		if _, faults := f.Check([]byte(`{"s":{"a":"\n"}}`)); len(faults) != 1 || len(faults[0].Message) < len("must be a UUID") {
			t.Errorf("%s has no words: %v", format, faults)
		}
	}
}

func TestLinks(t *testing.T) {
	f := parse(t, within(`"a":{"type":"string","format":"link"}`, ""))
	long := "https://a.example/" + strings.Repeat("ü", 2048-18)
	for link, want := range map[string]string{
		"http://a.example": "", "HTTPS://a.example:8443/x?y=z#w": "", "https://xn--bcher-kva.example/": "", "https://bücher.example/ä": "", "http://[::1]:80/": "", long: "",
		long + "x": "too_long",
		"":         "format", "a.example": "format", "/x": "format", "//a.example/x": "format", "https:": "format", "https:a.example": "format", "https:/a.example": "format",
		"https://": "format", "https:///x": "format", "http://:80/": "format", "https://a.example:99999": "format", "https://a.example:x": "format", "http://[::1": "format",
		"javascript:alert(1)": "format", "JaVaScRiPt://a.example/%0aalert(1)": "format", "java\nscript:alert(1)": "format", "data:text/html,x": "format",
		"vbscript:x": "format", "file:///etc/passwd": "format", "ftp://a.example": "format", "blob:https://a.example/x": "format", "mailto:a@b.example": "format",
		"https://user@a.example": "format", "https://user:password@a.example": "format", "https://@a.example": "format", "https://a.example@b.example": "format",
		"https://a.example\\@b.example": "format", "https:\\\\a.example": "format", "\\\\a.example\\x": "format", "https://a.example/\\b": "format",
		" https://a.example": "format", "https://a.example ": "format", "https://a.example/a b": "format", "https://a.example/\n": "format", "https://a.example/\u0085": "format",
		"https://a.example/\u2028": "format", "https://a.example/\u202etxt.exe": "format", "https://a.exa\u200bmple": "format", "https://a.example/%zz": "format", "https://%00.example": "format",
	} {
		if want != "" {
			want = "s.a:" + want
		}
		checks(t, f, `{"s":{"a":`+quoted(t, link)+`}}`, want)
	}
}

// described writes a file's description with some fields replaced; an empty one is left out.
func described(fields map[string]string) string {
	all := map[string]string{"name": `"a.png"`, "media_type": `"image/png"`, "size": "1", "sha256": `"` + strings.Repeat("0123456789abcdef", 4) + `"`}
	for name, value := range fields {
		all[name] = value
	}
	var list []string
	for name, value := range all {
		if value != "" {
			list = append(list, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return `{"s":{"a":{` + strings.Join(list, ",") + `}}}`
}

func TestFiles(t *testing.T) {
	f := parse(t, within(`"a":{"type":"object","format":"file"}`, ""))
	checks(t, f, described(nil), "")
	checks(t, f, `{"s":{"a":{}}}`, "s.a.media_type:required s.a.name:required s.a.sha256:required s.a.size:required")
	checks(t, f, `{"s":{"a":"a.png"}}`, "s.a:format")
	checks(t, f, described(map[string]string{"name": `"../x"`, "media_type": `"text/html"`, "size": "-1", "sha256": `"00"`, "url": `"x"`, "a b": "1"}),
		"s.a:format s.a.media_type:format s.a.name:format s.a.sha256:format s.a.size:range s.a.url:format")
	for field, values := range map[string]map[string]string{
		"name": {
			`"Résumé (final) 👩‍👧.pdf"`: "", `".profile"`: "", `"..."`: "", `"` + strings.Repeat("ü", 200) + `"`: "",
			`"` + strings.Repeat("ü", 201) + `"`: "too_long", `""`: "required", `" "`: "required", `null`: "required", `5`: "format", `["a"]`: "format",
			`"."`: "format", `".."`: "format", `"../../etc/passwd"`: "format", `"/etc/passwd"`: "format", `"a/"`: "format", `"..\\a"`: "format", `"C:a"`: "format", `"C:\\a"`: "format",
			`"\\\\host\\share"`: "format", `"a:stream"`: "format", `"a\nb"`: "format", `"a\u007f"`: "format", `"a\u202egnp.exe"`: "format", `"a\u2066b"`: "format", `"a\ufffe"`: "format",
		},
		"media_type": {
			`"application/pdf"`: "", `"application/vnd.openxmlformats-officedocument.wordprocessingml.document"`: "", `"application/vnd.sun.xml.writer"`: "", `"font/woff2"`: "", `"text/plain"`: "",
			`"application/octet-stream"`: "", `"video/mp4"`: "", `"text/csv"`: "",
			`""`: "required", `1`: "format", `"image"`: "format", `"image/"`: "format", `"/png"`: "format", `"image/png; charset=x"`: "format", `"image/png;"`: "format", `"Image/PNG"`: "format", `" image/png"`: "format",
			`"image/png\n"`: "format", `"*/*"`: "format", `"image/*"`: "format", `"x/y"`: "format", `"image/svg+xml"`: "format", `"image/svg-xml"`: "format", `"text/html"`: "format", `"application/xhtml+xml"`: "format",
			`"text/xml"`: "format", `"application/xml"`: "format", `"application/xml-dtd"`: "format", `"application/rdf+xml"`: "format", `"text/xsl"`: "format", `"text/javascript"`: "format", `"application/javascript"`: "format",
			`"application/ecmascript"`: "format", `"application/x-javascript"`: "format", `"text/vbscript"`: "format", `"application/x-shockwave-flash"`: "format", `"multipart/related"`: "format", `"message/rfc822"`: "format",
			`"application/hta"`: "format", `"application/java-archive"`: "format", `"application/x-msdownload"`: "format", `"application/x-sh"`: "format", `"application/wasm"`: "format",
			`"application/vnd.ms-excel.sheet.macroenabled.12"`: "format", `"image/` + strings.Repeat("a", 122) + `"`: "format",
		},
		"size":   {"0": "", "1099511627776": "", "1099511627777": "range", "-1": "range", "1.0": "format", "1e3": "format", `"1"`: "format", "null": "required", "": "required", "[]": "format"},
		"sha256": {`"` + strings.Repeat("A", 64) + `"`: "format", `"` + strings.Repeat("0", 63) + `"`: "format", `"` + strings.Repeat("0", 64) + `\n"`: "format", `"` + strings.Repeat("g", 64) + `"`: "format", "0": "format"},
		"extra":  {"1": "format", "null": "format"},
	} {
		for value, want := range values {
			if want != "" {
				want = "s.a." + field + ":" + want
			}
			checks(t, f, described(map[string]string{field: value}), want)
		}
	}
}

// A form can ask for more of a file, and cannot ask for other fields.
func TestFilesOfOneKind(t *testing.T) {
	f := parse(t, within(`"a":{"type":"object","format":"file","additionalProperties":true,"properties":{"media_type":{"enum":["image/png"]},"size":{"maximum":10}}}`, ""))
	checks(t, f, described(nil), "")
	checks(t, f, described(map[string]string{"media_type": `"image/jpeg"`, "size": "11"}), "s.a.media_type:unknown_code s.a.size:range")
	checks(t, f, described(map[string]string{"extra": "1"}), "s.a.extra:format")
}
