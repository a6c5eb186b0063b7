package main

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// show writes a table on a few lines: where|kind|sorted cells|faults.
func show(t table) string {
	var b strings.Builder
	for _, r := range t.rows {
		cells, _ := json.Marshal(r.cells) // with sorted keys
		fmt.Fprintf(&b, "%s %s %s", r.where, r.kind, cells)
		for _, f := range r.faults {
			fmt.Fprintf(&b, " !%s: %s", f.Path, f.Message)
		}
		b.WriteByte('\n')
	}
	for _, name := range t.ignored {
		fmt.Fprintf(&b, "ignored %s\n", name)
	}
	return b.String()
}

func TestReadCSV(t *testing.T) {
	for name, c := range map[string]struct{ text, want, err string }{
		"plain": {
			text: "Name,Email\nA,a@x\nB,\n",
			want: "line 2 Account {\"email\":\"a@x\",\"name\":\"A\"}\n" +
				"line 3 Account {\"name\":\"B\"}\n",
		},
		"any case, any order": {text: "EMAIL, nAmE \na@x,A", want: "line 2 Account {\"email\":\"a@x\",\"name\":\"A\"}\n"},
		"byte order mark":     {text: "\xef\xbb\xbfName\r\nA\r\n", want: "line 2 Account {\"name\":\"A\"}\n"},
		"quoted mark":         {text: "\xef\xbb\xbf\"Name\"\nA", want: "line 2 Account {\"name\":\"A\"}\n"},
		"many lines in a cell": {
			text: "Name,Street\n\"A\nB\",\"1\n2\"\nC,\n",
			want: "line 2 Account {\"name\":\"A\\n" +
				"B\"}\n" +
				"line 5 Account {\"name\":\"C\"}\n" +
				"ignored Street\n",
		},
		"empty lines":     {text: "Name\n\nA\n\n\nB\n", want: "line 3 Account {\"name\":\"A\"}\nline 6 Account {\"name\":\"B\"}\n"},
		"spaces stay":     {text: "Name\n  A  \n", want: "line 2 Account {\"name\":\"  A  \"}\n"},
		"unknown columns": {text: "Site,Name,Site 2,,\ns,A,t,u,v\n", want: "line 2 Account {\"name\":\"A\"}\nignored Site\nignored Site 2\n"},
		"short row": {
			text: "Name,Email,Phone\nA\nB,b@x,1\n",
			want: "line 2 Account {\"name\":\"A\"} !row: has 1 cells where the header has 3\n" +
				"line 3 Account {\"email\":\"b@x\",\"name\":\"B\",\"phone\":\"1\"}\n",
		},
		"long row":      {text: "Name\nA,b,c\n", want: "line 2 Account {\"name\":\"A\"} !row: has 3 cells where the header has 1\n"},
		"empty cells":   {text: "Name,Email\n,\n", want: "line 2 Account {}\n"},
		"NUL in a cell": {text: "Name\nA\x00\n", want: "line 2 Account {\"name\":\"A\\u0000\"}\n"},

		"nothing":              {text: "", err: "is empty"},
		"only a mark":          {text: "\xef\xbb\xbf \n", err: "is empty"},
		"only a header":        {text: "Name,Email\n", err: "has a header but no rows"},
		"no Name":              {text: "Title,Email\nA,a@x\n", err: `header: no column Name among ["Title" "Email"]`},
		"semicolons":           {text: "Name;Email\nA;a@x\n", err: `header: no column Name among ["Name;Email"]; the cells must be separated by commas`},
		"a column twice":       {text: "Name,NAME\nA,B\n", err: `header: column "NAME" stands there twice`},
		"an unknown one twice": {text: "Name,Site, site\nA,B,C\n", err: `header: column "site" stands there twice`},
		"open quote": {
			text: "Name\n\"A\nB\nC\n",
			err:  `record on line 2; parse error on line 4, column 3: extraneous or missing " in quoted-field`,
		},
		"quote in a cell": {text: "Name\nA\nB \"x\" C\n", err: `parse error on line 3, column 3: bare " in non-quoted-field`},
		"open quote in header": {
			text: "\"Name\nA\n",
			err:  `header: record on line 1; parse error on line 2, column 3: extraneous or missing " in quoted-field`,
		},
		"UTF-16 little":       {text: utf16Of("Name\nA\n", binary.LittleEndian), err: "is UTF-16 or UTF-32: save it as UTF-8"},
		"UTF-16 big":          {text: utf16Of("Name\nA\n", binary.BigEndian), err: "is UTF-16 or UTF-32: save it as UTF-8"},
		"UTF-16 without mark": {text: utf16Of("Name\nA\n", binary.LittleEndian)[2:], err: "is UTF-16 or UTF-32: save it as UTF-8"},
	} {
		t.Run(name, func(t *testing.T) { check(t, ".csv", c.text, c.want, c.err) })
	}
}

func TestReadRecords(t *testing.T) {
	const a, c = `{"attributes":{"type":"Account"},`, `{"attributes":{"type":"Contact"},`
	const shape = `must be {"records": [{"attributes": {"type": …}, …}, …]}`
	for name, c := range map[string]struct{ text, want, err string }{
		"both kinds": {
			text: `{"records":[` + a + `"Name":"A"},` + c + `"LastName":"B","FirstName":"C"}]}`,
			want: "record 1 Account {\"name\":\"A\"}\n" +
				"record 2 Contact {\"firstname\":\"C\",\"lastname\":\"B\"}\n",
		},
		"mark": {text: "\xef\xbb\xbf" + `{"records":[` + a + `"Name":"A"}]}` + "\n", want: "record 1 Account {\"name\":\"A\"}\n"},
		"other values": {
			text: `{"records":[` + a + `"Name":"A","Deposit":100,"Phone":null,"Email":true}]}`,
			want: "record 1 Account {\"deposit\":\"100\",\"email\":\"true\",\"name\":\"A\"}\n",
		},
		"nested value": {
			text: `{"records":[` + a + `"Name":{"a":1},"Email":["x"]}]}`,
			want: "record 1 Account {} !name: must be text !email: must be text\n",
		},
		"ignored": {
			text: `{"more":[1,{}],"records":[` + a + `"Name":"A","Site":"s","Contacts":{"records":[]}},{"attributes":{"type":"Case"},"X":1}]}`,
			want: "record 1 Account {\"name\":\"A\"}\n" +
				"ignored Site\n" +
				"ignored Contacts\n" +
				"ignored records of type Case\n",
		},
		"counted with the ignored": {
			text: `{"records":[{"attributes":{"type":"Case"}},` + a + `"Name":"A"}]}`,
			want: "record 2 Account {\"name\":\"A\"}\n" +
				"ignored records of type Case\n",
		},
		"no type": {
			text: `{"records":[{"Name":"A"}]}`,
			want: "record 1 Account {\"name\":\"A\"} !attributes.type: must be Account or Contact\n",
		},
		"a name twice": {
			text: `{"records":[` + a + `"Name":"A","name":"B"}]}`,
			want: "record 1 Account {\"name\":\"A\"} !name: stands there twice\n",
		},
		"escapes": {
			text: `{"records":[` + a + `"Name":"\u0041\ud83d\ude00\\ud800\"\ufffd"}]}`,
			want: "record 1 Account {\"name\":\"A😀\\\\ud800\\\"\ufffd\"}\n",
		},
		"half a pair": {
			text: `{"records":[` + a + `"Name":"x\ud83d","Email":"\ude00"}]}`,
			want: "record 1 Account {} !name: must be valid text: an escape is half a character !email: must be valid text: an escape is half a character\n",
		},
		"type last": {
			text: `{"records":[{"LastName":"B","attributes":{"type":"Contact"}}]}`,
			want: "record 1 Contact {\"lastname\":\"B\"}\n",
		},

		"nothing":              {text: " ", err: "is empty"},
		"a list":               {text: "[\n{}]", err: "line 1: " + shape},
		"text":                 {text: `"records"`, err: "line 1: " + shape},
		"no records":           {text: `{"totalSize":0}`, err: "line 1: " + shape},
		"records is an object": {text: `{"records":{}}`, err: "line 1: " + shape},
		"a record is text":     {text: "{\"records\":[\n\"A\"]}", err: "line 2: " + shape},
		"attributes is text":   {text: "{\"records\":[\n\n{\"attributes\":\"Account\"}]}", err: "line 3: " + shape},
		"empty list":           {text: `{"records":[]}`, err: "has no records of type Account or Contact"},
		"no known type":        {text: `{"records":[{"attributes":{"type":"Case"}}]}`, err: "has no records of type Account or Contact"},
		"records twice":        {text: `{"records":[],"records":[]}`, err: "line 1: records stands there twice"},
		"something follows":    {text: `{"records":[` + a + `"Name":"A"}]} {}`, err: "line 1: something follows the JSON object"},
		"cut short":            {text: `{"records":[` + a + `"Name":"A"},`, err: "line 1: the JSON ends in the middle"},
		"cut in a string":      {text: "{\"records\":[\n" + a + `"Name":"A`, err: "line 2: the JSON ends in the middle"},
		"not JSON":             {text: "{\"records\":[\n{\n'Name':1}]}", err: "line 3: invalid character '\\''"},
		"no comma":             {text: `{"records":[{}{}]}`, err: "line 1: invalid character '{' after array element"},
		"Latin-1":              {text: "{\"records\":[" + a + "\"Name\":\"M\xfcller\"}]}", err: "line 1: must be valid UTF-8"},
		"too deep":             {text: `{"records":[` + a + `"X":` + strings.Repeat("[", 100_000), err: "line 1: invalid character '[' exceeded max depth"},
		"UTF-16":               {text: utf16Of(`{"records":[]}`, binary.LittleEndian), err: "is UTF-16 or UTF-32: save it as UTF-8"},
	} {
		t.Run(name, func(t *testing.T) { check(t, ".json", c.text, c.want, c.err) })
	}
}

func check(t *testing.T, ext, text, want, wantErr string) {
	t.Helper()
	got, err := read([]byte(text), ext)
	switch {
	case wantErr == "" && err != nil:
		t.Fatalf("%v", err)
	case wantErr != "" && (err == nil || err.Error() != wantErr):
		t.Fatalf("got error %v\nwant %s", err, wantErr)
	case wantErr == "" && show(got) != want:
		t.Fatalf("got\n%s\nwant\n%s", show(got), want)
	}
}

func utf16Of(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// TestReadTellsFormatsApart goes by the extension, and by the first character where it says nothing.
func TestReadTellsFormatsApart(t *testing.T) {
	const records = ` {"records":[{"attributes":{"type":"Account"},"Name":"A"}]}`
	for _, c := range []struct{ ext, text, want string }{
		{"", records, "record 1"}, {".txt", records, "record 1"}, {"", "Name\nA", "line 2"}, {".csv", "{Name},Name\n1,A", "line 2"},
	} {
		got, err := read([]byte(c.text), c.ext)
		if err != nil || got.rows[0].where != c.want {
			t.Errorf("%q %q: %v %v", c.ext, c.text, got, err)
		}
	}
	if _, err := readFile(file(t, "X.JSON", []byte("Name\nA"))); err == nil || !strings.Contains(err.Error(), "X.JSON: line 1: invalid character 'N'") {
		t.Errorf("got %v", err)
	}
}

// TestHugeCells are read if they are ignored, and refused by the SDK if they are a name.
func TestHugeCells(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	stdout, _, err := quickstart("-in", file(t, "a.csv", []byte("Name,Description\nA,"+huge+"\n")))
	if err != nil || !strings.Contains(stdout, "imported 1 partners") {
		t.Errorf("%v\n%.500s", err, stdout)
	}
	_, stderr, err := quickstart("-in", file(t, "b.csv", []byte("Name,Email\n"+huge+","+huge+"@x.example\n")))
	if err == nil || stderr != "line 2: name: must be at most 200 characters\nline 2: email: must be at most 254 characters\n" {
		t.Errorf("%v\n%.500s", err, stderr)
	}
	if _, err := decode(make([]byte, maxFile+1)); err == nil || err.Error() != "is larger than 64 MiB" {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"Chen & Semerci Holdings": "chen-semerci-holdings", "  Müller—Söhne GmbH ": "muller-sohne-gmbh", "": "", "東京": "", "ТОО Астана 7": "7",
		"ＡＣＭＥ": "acme", "a\xffb": "a-b", strings.Repeat("ab ", 100): strings.Repeat("ab-", 13) + "a",
	} {
		if got := slug(name); got != want {
			t.Errorf("%.20q: got %q, want %q", name, got, want)
		}
	}
	var logins taken
	logins.take("acme-2")
	logins.take("STRASSE")
	for _, c := range [][2]string{{"acme", "acme"}, {"acme", "acme-3"}, {"acme-2", "acme-2-2"}, {"Acme", "Acme-4"}, {"straße", "straße-2"}, {"", ""}, {"", ""}} {
		if got := logins.free(c[0], "-"); got != c[1] {
			t.Errorf("%q: got %q, want %q", c[0], got, c[1])
		}
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, 120)
	p.live = true
	for range 120 {
		p.step()
	}
	p.end()
	p.end()
	if want := "\r50 of 120 rows\r100 of 120 rows\r120 of 120 rows\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

// FuzzReadCSV: whatever is read can be written as CSV and read again, the same.
func FuzzReadCSV(f *testing.F) {
	for _, text := range []string{"Name,Email\nA,a@x\n", "\xef\xbb\xbfNAME\r\n\"a\nb\"\r\n", "Name,Name\n", "name;x\n", "Name\n\"", "Name,X\nA\nB,1,2\n", "Name\n\xff\x00"} {
		f.Add([]byte(text))
	}
	seedHostile(f, func(name string) []byte { return []byte("Name\n" + name + "\n") })
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := read(text, ".csv")
		if err != nil {
			return
		}
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		_ = w.Write(columns[account])
		for _, r := range got.rows {
			cells := make([]string, len(columns[account]))
			for i, name := range columns[account] {
				cells[i] = r.cells[name]
			}
			_ = w.Write(cells)
		}
		w.Flush()
		again, err := read(b.Bytes(), ".csv")
		if err != nil || len(again.rows) != len(got.rows) {
			t.Fatalf("%d rows became %d: %v\n%q", len(got.rows), len(again.rows), err, b.String())
		}
		for i, r := range again.rows {
			if !maps.Equal(r.cells, got.rows[i].cells) {
				t.Fatalf("%q became %q", got.rows[i].cells, r.cells)
			}
		}
	})
}

// FuzzReadRecords: whatever is read is valid text, and can be written as JSON and read again, the same.
func FuzzReadRecords(f *testing.F) {
	for _, text := range []string{
		`{"records":[{"attributes":{"type":"Account"},"Name":"A\ud83d\ude00","X":[1,{"a":null}]}]}`, `{"records":[{"Name":"\ud800"}]}`, `{"records":[`, `{"records":{}}`,
		`[]`, `{"records":[{"attributes":{"type":"Contact"},"LastName":1e9,"Email":null,"email":"x"}],"records":[]}`, "{\"records\":[{\"Name\":\"\xff\"}]}",
	} {
		f.Add([]byte(text))
	}
	seedHostile(f, func(name string) []byte {
		text, _ := json.Marshal(name)
		return []byte(`{"records":[{"attributes":{"type":"Account"},"Name":` + string(text) + `}]}`)
	})
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := read(text, ".json")
		if err != nil {
			return
		}
		var list []map[string]any
		for _, r := range got.rows {
			record := map[string]any{"attributes": map[string]string{"type": r.kind}}
			for name, value := range r.cells {
				if !utf8.ValidString(value) {
					t.Fatalf("%q is no text", value)
				}
				record[name] = value
			}
			list = append(list, record)
		}
		written, err := json.Marshal(map[string]any{"records": list})
		if err != nil {
			t.Fatal(err)
		}
		again, err := read(written, ".json")
		if err != nil || len(again.rows) != len(got.rows) {
			t.Fatalf("%d rows became %d: %v\n%s", len(got.rows), len(again.rows), err, written)
		}
		for i, r := range again.rows {
			if r.kind != got.rows[i].kind || !maps.Equal(r.cells, got.rows[i].cells) {
				t.Fatalf("%q became %q", got.rows[i].cells, r.cells)
			}
		}
	})
}

func seedHostile(f *testing.F, file func(string) []byte) {
	text, err := os.ReadFile(filepath.Join(shared, "hostile/strings/blns.json"))
	var names []string
	if err != nil || json.Unmarshal(text, &names) != nil {
		return // fuzzing begins without them
	}
	for _, name := range names {
		f.Add(file(name))
	}
}
