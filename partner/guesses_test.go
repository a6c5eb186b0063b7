package partner_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// TestPIL28_TenThousandGuessesAtOneLogin: a list of common passwords tried from many places within three hours, of which a few are compared; the
// owner gets in all the while from where he has been before, and from elsewhere after a quarter of an hour.
func TestPIL28_TenThousandGuessesAtOneLogin(t *testing.T) {
	text, err := os.ReadFile("../../shared/hostile/passwords/zxcvbn_top10000.txt")
	if err != nil {
		t.Skip("the list of common passwords is not beside the repository")
	}
	guesses := strings.Fields(string(text))
	if testing.Short() {
		guesses = guesses[:1000]
	}
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		hasher := &countingHasher{}
		w := newWorld(t, db, func(o *partner.Options) { o.Hasher = hasher })
		w.partner("acme")
		home := func() error { return second(w.reg.Access.Login(t.Context(), "acme", password, "203.0.113.7")) }
		w.must(home())
		before := hasher.verified.Load()
		owner := int64(0)
		for i, guess := range guesses {
			w.clock.Advance(time.Second)
			_, err := w.reg.Access.Login(t.Context(), "acme", partner.Secret(guess), fmt.Sprintf("198.51.100.%d", i%256))
			if !errors.Is(err, partner.ErrBadCredentials) && !errors.Is(err, partner.ErrUnavailable) {
				t.Fatalf("guess %d: %v", i, err)
			}
			if i%1000 == 999 {
				if err := home(); err != nil {
					t.Fatalf("after %d guesses the owner is kept out: %v", i+1, err)
				}
				owner++
			}
		}
		if n := hasher.verified.Load() - before - owner; n > 100 || n < 5 {
			t.Errorf("%d of %d guesses were compared", n, len(guesses))
		}
		w.clock.Advance(15 * time.Minute)
		w.must(second(w.reg.Access.Login(t.Context(), "acme", password, "192.0.2.1")))
	})
}
