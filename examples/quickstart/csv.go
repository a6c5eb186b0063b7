package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// readCSV reads partners: a header row, then one partner a row. Column names count without case and surrounding spaces.
// Everything that is wrong with the file as such is an error; what is wrong with a row is a fault of that row.
func readCSV(text []byte) (table, error) {
	var t table
	r := csv.NewReader(bytes.NewReader(text))
	header, err := r.Read()
	if err != nil {
		return t, fmt.Errorf("header: %w", err)
	}
	names, err := t.columns(header)
	if err != nil {
		return t, err
	}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		ragged := errors.Is(err, csv.ErrFieldCount)
		if err != nil && !ragged {
			return t, err // it names the line
		}
		line, _ := r.FieldPos(0)
		next := row{where: fmt.Sprintf("line %d", line), kind: account, cells: map[string]string{}}
		if ragged {
			next.fault("row", "format", fmt.Sprintf("has %d cells where the header has %d", len(cells), len(names)))
			cells = cells[:min(len(cells), len(names))]
		}
		for i, cell := range cells {
			if names[i] != "" && cell != "" {
				next.cells[names[i]] = strings.Clone(cell) // the cells of a line share its memory, and most are not kept
			}
		}
		t.rows = append(t.rows, next)
	}
	if len(t.rows) == 0 {
		return t, errors.New("has a header but no rows")
	}
	return t, nil
}

// columns checks the header; a column that is not read comes back as "".
func (t *table) columns(header []string) ([]string, error) {
	names := make([]string, len(header))
	for i, h := range header {
		name := strings.ToLower(strings.TrimSpace(h))
		switch {
		case name != "" && slices.Contains(names[:i], name):
			return nil, fmt.Errorf("header: column %q stands there twice", strings.TrimSpace(h))
		case name != "" && !slices.Contains(columns[account], name):
			t.ignore(strings.TrimSpace(h))
		}
		names[i] = name
	}
	if !slices.Contains(names, "name") {
		hint := ""
		if len(header) == 1 && strings.ContainsAny(header[0], ";\t") {
			hint = "; the cells must be separated by commas"
		}
		return nil, fmt.Errorf("header: no column Name among %q%s", header, hint)
	}
	for i, name := range names {
		if !slices.Contains(columns[account], name) {
			names[i] = ""
		}
	}
	return names, nil
}
