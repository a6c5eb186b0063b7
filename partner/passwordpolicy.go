package partner

import (
	"context"
	_ "embed" // the list of common passwords
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go"
	"golang.org/x/text/unicode/norm"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Password policies (PIL-23). Neither asks for kinds of characters, which make passwords no harder to guess (NIST SP 800-63B, 3.1.1.2).
const (
	simplePasswords  = "simple"  // 8 or more characters, none of the common passwords
	complexPasswords = "complex" // 12 or more, none of the common passwords, 60 bits of entropy as zxcvbn counts them
)

// Bounds of the policies.
const (
	minSimple  = 8
	minComplex = 12
	minEntropy = 60 // bits
	// judged is how much of a password is looked at for its entropy, in characters: what comes after only adds to it, and the time that looking
	// takes grows faster than the text.
	judged = 64
)

//go:embed common_passwords.txt
var commonPasswords string

// passwordRules is what a new password is held to: whose it is, by the partner's policy.
type passwordRules struct {
	policy string
	about  []string // what a guesser would try: names, the log-in, the address
	host   func(policy string, password Secret, about []string) (why string)
	of     ID // empty for an agreement that is not made yet
}

// password checks a new one.
func (c *checks) password(path string, password Secret, rules passwordRules) {
	switch {
	case len(password) > maxPassword:
		c.add(path, "too_long", fmt.Sprintf("must be at most %d bytes", maxPassword), nil)
	case !utf8.ValidString(string(password)):
		c.add(path, "format", "must be valid UTF-8", nil)
	default:
		if why := rules.weak(password); why != "" {
			c.add(path, "weak", why, ErrWeakPassword)
		}
	}
}

// weak tells which test a password fails, "" if none.
func (r passwordRules) weak(password Secret) string {
	if r.host != nil {
		return r.host(r.policy, password, slices.DeleteFunc(slices.Clone(r.about), func(word string) bool { return word == "" }))
	}
	text, least := norm.NFC.String(string(password)), minSimple
	if r.policy == complexPasswords {
		least = minComplex
	}
	switch {
	case utf8.RuneCountInString(text) < least:
		return fmt.Sprintf("must have at least %d characters", least)
	case strings.Contains(commonPasswords, "\n"+strings.ToLower(text)+"\n"):
		return "is one of the most common passwords"
	case r.policy != complexPasswords:
		return ""
	}
	if bits := entropy(text, r.about); bits < minEntropy {
		return fmt.Sprintf("is too easy to guess: %.0f of %d bits", bits, minEntropy)
	}
	return ""
}

// entropy is what zxcvbn makes of a password, in bits.
func entropy(password string, about []string) float64 {
	var words []string
	for _, text := range about {
		local, _, _ := strings.Cut(text, "@")
		words = append(words, strings.ToLower(text), strings.ToLower(local))
		words = append(words, strings.Fields(strings.ToLower(text))...)
	}
	if list := []rune(password); len(list) > judged {
		password = string(list[:judged])
	}
	return zxcvbn.PasswordStrength(password, words).Entropy
}

// passwordRules are those of an organisation, for a log-in that the words are about.
func (r *Registry) passwordRules(tx *store.Tx, of ID, about ...string) (passwordRules, error) {
	var p struct{ Name, PasswordPolicy string }
	err := tx.Query(deciding, &p, "SELECT name, password_policy FROM prm_partners WHERE id = ?", of)
	return passwordRules{p.PasswordPolicy, append(about, p.Name), r.opts.WeakPassword, of}, err
}

// rulesFor are the rules for a password that a call would set, which is refused here if it may not: before the cost of a hash.
func (r *Registry) rulesFor(ctx context.Context, ask Ask, about ...string) (rules passwordRules, err error) {
	err = r.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		rules, err = r.passwordRules(tx, s.Of(), about...)
		return err
	})
	return rules, err
}
