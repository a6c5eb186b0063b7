package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/partnerkit/partnerkit/partner"
)

// table is a file as the import sees it, whatever its format.
type table struct {
	rows    []row
	ignored []string // columns and kinds of record that the import has no use for, in order of appearance
}

// row is one line or record. A fault is one that its reader found; the SDK finds the others.
type row struct {
	where  string            // "line 12" or "record 3"
	kind   string            // account or contact
	cells  map[string]string // exactly as in the file, by lower-case name; empty ones are not there
	faults []partner.FieldError
}

// Kinds of row.
const (
	account = "Account" // becomes an invited partner
	contact = "Contact" // becomes a project of Acme's
)

// columns are what the import reads of each kind, in lower case.
var columns = map[string][]string{
	account: {"name", "login", "email", "phone", "locale", "parentname", "currency", "morecurrencies", "deposit", "billingmodel", "blockinglimit",
		"contractnumber"},
	contact: {"firstname", "lastname", "login", "email", "phone", "mobilephone", "locale", "company", "mailingcountry"},
}

// maxFile bounds what is read into memory.
const maxFile = 64 << 20

// readFile reads a JSON or CSV file, told apart by its extension or else its first character.
func readFile(path string) (table, error) {
	f, err := os.Open(path)
	if err != nil {
		return table{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return table{}, err
	}
	t, err := read(data, strings.ToLower(filepath.Ext(path)))
	if err != nil {
		return table{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func read(data []byte, ext string) (table, error) {
	text, err := decode(data)
	if err != nil {
		return table{}, err
	}
	first := bytes.TrimSpace(text)[0]
	if ext == ".json" || ext != ".csv" && (first == '{' || first == '[') {
		return readRecords(text)
	}
	return readCSV(text)
}

// decode returns UTF-8 text without a byte order mark. Single wrong bytes are for the rows to complain about.
func decode(data []byte) ([]byte, error) {
	switch {
	case len(data) > maxFile:
		return nil, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")), bytes.IndexByte(data[:min(len(data), 4)], 0) >= 0:
		return nil, errors.New("is UTF-16 or UTF-32: save it as UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("is empty")
	}
	return data, nil
}

// ignore notes something once.
func (t *table) ignore(name string) {
	if !slices.Contains(t.ignored, name) {
		t.ignored = append(t.ignored, name)
	}
}

func (r *row) fault(path, code, message string) {
	r.faults = append(r.faults, partner.FieldError{Path: path, Code: code, Message: message})
}
