package partner

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const maxLogin = 64

// loginKey is what a log-in name is unique by: NFKC-normalised and case-folded, so that "Ａcme" and "acme" are one name. An address is compared as
// addresses are, or the name of one would be another one's.
func loginKey(login string) string {
	if strings.Contains(login, "@") {
		return emailKey(strings.TrimSpace(login))
	}
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(strings.TrimSpace(login))))
}

// login checks a log-in name. One with '@' must equal email, the address its owner has proved or is being invited at; otherwise
// somebody could take another person's address for his name.
func (c *checks) login(path, login, email string) {
	limit := maxLogin
	if strings.Contains(login, "@") {
		limit = maxEmail
	}
	if !c.text(path, login, true, limit) {
		return
	}
	key := loginKey(login)
	switch {
	case key == "" || utf8.RuneCountInString(key) > maxEmail:
		c.add(path, "format", "must contain letters or digits", nil)
	case strings.Contains(key, "@"):
		if email == "" || emailKey(email) != emailKey(strings.TrimSpace(login)) {
			c.add(path, "format", "a log-in name with @ must be the owner's own proved e-mail address", nil)
		} else if slices.ContainsFunc(strings.FieldsFunc(key, func(r rune) bool { return strings.ContainsRune("@.-_+", r) }), mixesScripts) {
			c.add(path, "format", "must not mix alphabets that look alike", nil)
		}
	case !strings.ContainsFunc(key, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }):
		c.add(path, "format", "must contain letters or digits", nil)
	case strings.ContainsFunc(key, notInLogin):
		c.add(path, "format", "may contain letters, digits, '.', '_', '-' and '+'", nil)
	case mixesScripts(key):
		c.add(path, "format", "must not mix alphabets that look alike", nil)
	}
}

// notInLogin refuses what is no letter, digit or mark, and marks that nobody sees: two names would read the same.
func notInLogin(r rune) bool {
	if unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
		return true
	}
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("._-+", r)
}

// together are the scripts that one writing system uses side by side (Unicode TR 39, 5.1, "highly restrictive").
var together = [][]string{
	{"Han", "Hiragana", "Katakana"},
	{"Han", "Bopomofo"},
	{"Han", "Hangul"},
}

// mixesScripts tells whether a name has letters of several scripts, as Latin "a" with Cyrillic "а": the usual way to make a name that
// reads like another one.
func mixesScripts(name string) bool {
	seen := map[string]bool{}
	for _, r := range name {
		if s := scriptOf(r); s != "" {
			seen[s] = true
		}
	}
	if len(seen) <= 1 {
		return false
	}
	for _, system := range together {
		inside := 0
		for _, s := range system {
			if seen[s] {
				inside++
			}
		}
		if inside == len(seen) {
			return false
		}
	}
	return true
}

// scriptOf names the script of a letter; signs and marks that all scripts share have none.
func scriptOf(r rune) string {
	if unicode.In(r, unicode.Common, unicode.Inherited) {
		return ""
	}
	for name, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return ""
}
