package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readRecords reads a Salesforce record tree: {"records": [{"attributes": {"type": "Account", …}, "Name": …}, …]}.
// Everything that is wrong with the file as such is an error that names the line; what is wrong with a record is a fault of its row.
func readRecords(text []byte) (table, error) {
	r := &recordReader{json: json.NewDecoder(bytes.NewReader(text))}
	err := r.file()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the JSON ends in the middle")
	}
	if err == nil && !utf8.Valid(text) { // the decoder would replace what it cannot read
		err = errors.New("must be valid UTF-8")
	}
	if err != nil {
		line := 1 + bytes.Count(text[:min(int(r.json.InputOffset()), len(text))], []byte("\n"))
		return table{}, fmt.Errorf("line %d: %w", line, err)
	}
	if len(r.rows) == 0 {
		return table{}, fmt.Errorf("has no records of type %s or %s", account, contact)
	}
	return r.table, nil
}

type recordReader struct {
	table
	json  *json.Decoder
	count int
}

var errShape = errors.New(`must be {"records": [{"attributes": {"type": …}, …}, …]}`)

func (r *recordReader) file() error {
	if err := r.expect('{'); err != nil {
		return err
	}
	found := false
	for r.json.More() {
		key, err := r.json.Token()
		if err != nil {
			return err
		}
		if key != "records" {
			var skipped json.RawMessage
			if err := r.json.Decode(&skipped); err != nil {
				return err
			}
			continue
		}
		if found {
			return errors.New("records stands there twice")
		}
		found = true
		if err := r.records(); err != nil {
			return err
		}
	}
	if _, err := r.json.Token(); err != nil { // the closing brace
		return err
	}
	if !found {
		return errShape
	}
	if _, err := r.json.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

func (r *recordReader) expect(delim json.Delim) error {
	token, err := r.json.Token()
	if err != nil {
		return err
	}
	if token != delim {
		return errShape
	}
	return nil
}

func (r *recordReader) records() error {
	if err := r.expect('['); err != nil {
		return err
	}
	for r.json.More() {
		r.count++
		if err := r.record(); err != nil {
			return err
		}
	}
	_, err := r.json.Token()
	return err
}

// field is one member of a record, in the order of the file.
type field struct {
	name  string
	value json.RawMessage
}

func (r *recordReader) record() error {
	if err := r.expect('{'); err != nil {
		return err
	}
	var fields []field
	var kind struct{ Type string }
	for r.json.More() {
		name, err := r.json.Token()
		if err != nil {
			return err
		}
		text, _ := name.(string) // the decoder lets nothing else stand there
		f := field{name: text}
		if err := r.json.Decode(&f.value); err != nil {
			return err
		}
		if f.name != "attributes" {
			fields = append(fields, f)
		} else if err := json.Unmarshal(f.value, &kind); err != nil {
			return errShape
		}
	}
	if _, err := r.json.Token(); err != nil {
		return err
	}
	if kind.Type != "" && columns[kind.Type] == nil {
		r.ignore("records of type " + kind.Type)
		return nil
	}
	r.add(kind.Type, fields)
	return nil
}

func (r *recordReader) add(kind string, fields []field) {
	next := row{where: fmt.Sprintf("record %d", r.count), kind: kind, cells: map[string]string{}}
	if kind == "" {
		next.kind = account
		next.fault("attributes.type", "required", "must be Account or Contact")
	}
	seen := map[string]bool{}
	for _, f := range fields {
		name := strings.ToLower(f.name)
		switch {
		case !slices.Contains(columns[next.kind], name):
			r.ignore(f.name)
		case seen[name]:
			next.fault(name, "format", "stands there twice")
		default:
			next.set(name, f.value)
		}
		seen[name] = true
	}
	r.rows = append(r.rows, next)
}

// set keeps a value as text: a number as it is written, null as nothing.
func (r *row) set(name string, value json.RawMessage) {
	text := string(value)
	switch text[0] {
	case '{', '[':
		r.fault(name, "format", "must be text")
		return
	case 'n':
		return
	case '"':
		if halfSurrogate(text) {
			r.fault(name, "format", "must be valid text: an escape is half a character")
			return
		}
		if err := json.Unmarshal(value, &text); err != nil {
			r.fault(name, "format", "must be text")
			return
		}
	}
	if text != "" {
		r.cells[name] = text
	}
}

// halfSurrogate tells whether a JSON string has a \u escape that is half of a pair without the other: the decoder would replace it
// silently, and the name that is saved would not be the one in the file.
func halfSurrogate(text string) bool {
	high := false // the escape just before was the first half
	for i := 0; i < len(text); i++ {
		var unit uint64
		if text[i] == '\\' {
			if i++; i+4 < len(text) && text[i] == 'u' {
				unit, _ = strconv.ParseUint(text[i+1:i+5], 16, 16)
				i += 4
			}
		}
		low := unit >= 0xdc00 && unit < 0xe000
		if high != low {
			return true
		}
		high = unit >= 0xd800 && unit < 0xdc00
	}
	return false // the closing quote has ended what was open
}
