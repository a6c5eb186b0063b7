package main

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// names are those in use.
type names struct {
	logins   taken // of the whole installation
	projects taken // of Acme's
}

// taken is a set of names that count without case, and for each the number to try next.
type taken map[string]int

func fold(name string) string {
	return strings.Join(strings.Fields(norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name)))), " ")
}

func (t *taken) take(name string) {
	if *t == nil {
		*t = taken{}
	}
	if key := fold(name); key != "" && (*t)[key] == 0 {
		(*t)[key] = 2
	}
}

// free returns name, or the first of name-2, name-3, … that nobody has, and takes it. An empty name stays empty.
func (t *taken) free(name, separator string) string {
	key, next := fold(name), name
	if key == "" {
		return name
	}
	for (*t)[fold(next)] != 0 {
		next = fmt.Sprintf("%s%s%d", name, separator, (*t)[key])
		(*t)[key]++
	}
	t.take(next)
	return next
}

// slug makes a log-in name of a name: "Chen & Semerci Holdings" is chen-semerci-holdings. It is empty if nothing in the name is ASCII.
func slug(name string) string {
	const longest = 40
	var b strings.Builder
	dash := false
	for _, r := range norm.NFKD.String(strings.ToLower(name)) {
		switch {
		case unicode.IsMark(r): // "ü" came apart into u and this
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			dash = false
		default:
			dash = true
		}
		if b.Len() >= longest {
			break
		}
	}
	return b.String()
}
