package partner

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Spreadsheets run what looks like a formula in a cell of a CSV file, whoever wrote it. An apostrophe before it makes it text; it is what people put
// there themselves for that.

// inert is a text as a cell that no spreadsheet runs. Line ends become \n, which is what every reader of CSV makes of them.
func inert(cell string) string {
	cell = strings.ReplaceAll(strings.ReplaceAll(cell, "\r\n", "\n"), "\r", "\n")
	if runs(cell) {
		return "'" + cell
	}
	return cell
}

// runs tells whether a spreadsheet might take a cell for a formula. One that is text already by an apostrophe of its own gets another, or whoever
// reads the file could not tell it from ours.
func runs(cell string) bool {
	cell = strings.TrimLeft(cell, "'")
	if cell == "" {
		return false
	}
	if strings.ContainsRune("\t\r\n\x00", rune(cell[0])) {
		return true
	}
	for _, r := range cell { // some spreadsheets pass over what nobody sees, and a letter of no script yet may become such
		if unicode.IsSpace(r) || !unicode.IsGraphic(r) || unseen(r) || r == utf8.RuneError {
			continue
		}
		return strings.ContainsRune("=+-@＝＋－＠", r)
	}
	return false
}
