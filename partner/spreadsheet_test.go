package partner_test

import (
	"encoding/csv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/partnerkit/partnerkit/partner"
)

// inCell writes a text as a cell between two others, and reads it back as any reader of CSV does.
func inCell(t *testing.T, text string) string {
	t.Helper()
	var file strings.Builder
	out := csv.NewWriter(&file)
	out.UseCRLF = true
	if err := out.Write([]string{"before", partner.Inert(text), "behind"}); err != nil {
		t.Fatal(err)
	}
	out.Flush()
	rows, err := csv.NewReader(strings.NewReader(file.String())).ReadAll()
	if err != nil || len(rows) != 1 || len(rows[0]) != 3 || rows[0][0] != "before" || rows[0][2] != "behind" {
		t.Fatalf("%q in a file: %q, %v", text, rows, err)
	}
	return rows[0][1]
}

// formula tells, by other words than the code, whether a cell begins as a spreadsheet's formula.
func formula(cell string) bool {
	seen := strings.TrimLeftFunc(cell, func(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r) })
	if strings.HasPrefix(cell, "\t") || strings.HasPrefix(cell, "\r") || strings.HasPrefix(cell, "\n") || strings.HasPrefix(cell, "\x00") {
		return true
	}
	for _, sign := range []string{"=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"} {
		if strings.HasPrefix(seen, sign) {
			return true
		}
	}
	return false
}

// harmless fails unless the cell is no formula, and is the text: as it is, or behind one apostrophe.
func harmless(t *testing.T, text string) {
	t.Helper()
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	cell := inCell(t, text)
	if formula(cell) {
		t.Errorf("%q becomes the formula %q", text, cell)
	}
	if cell != text && cell != "'"+text {
		t.Errorf("%q becomes %q", text, cell)
	}
	if rest, quoted := strings.CutPrefix(cell, "'"); quoted && partner.Inert(rest) == cell && rest != text {
		t.Errorf("%q becomes %q, which reads as %q", text, cell, rest)
	}
}

func TestBEY05_NoCellIsAFormula(t *testing.T) {
	for cell, want := range map[string]string{
		"": "", "Acme": "Acme", "a=1": "a=1", "'t Hooft": "'t Hooft", "''": "''", "1-2": "1-2", "(=1)": "(=1)", " Acme": " Acme",
		"=1+1": "'=1+1", "+49 30": "'+49 30", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\nx": "'\nx", "\rx": "'\nx", "\x00x": "'\x00x", "a\r\nb\rc": "a\nb\nc",
		"＝1": "'＝1", "＋1": "'＋1", "－1": "'－1", "＠x": "'＠x", "  =1": "'  =1", "\u00a0=1": "'\u00a0=1", "\u200b=1": "'\u200b=1", "\ufeff \u202e@x": "'\ufeff \u202e@x",
		"\u0380+": "'\u0380+", "\ue000-": "'\ue000-", "'=1": "''=1", "''=1": "'''=1", "'\t": "''\t",
	} {
		if got := partner.Inert(cell); got != want {
			t.Errorf("%q becomes %q, want %q", cell, got, want)
		}
		harmless(t, cell)
	}
}

func TestBEY05_NoHostileCellIsAFormula(t *testing.T) {
	for _, cell := range corpus[string](t, "csv/cells.json") {
		harmless(t, cell)
	}
}

func FuzzInert(f *testing.F) {
	for _, seed := range []string{"=1+1", "'=1", " \u200b@x", "\r\n-1", "\x00", "＝1", "\xff=1", "a,\"b\"\r"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { harmless(t, text) })
}
