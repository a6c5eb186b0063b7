package outbox

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
)

// outcome is what has become of one claim.
type outcome struct {
	id       string
	attempt  int64
	state    string
	failures int64         // to be added
	tries    int64         // likewise
	wait     time.Duration // until it is due again
	text     string        // of the error
	lost     bool          // its sender's goroutine is
}

// givenBack is the outcome of a claim that came to nothing: somebody else may take it at once.
func givenBack(d Delivery) outcome { return outcome{id: d.ID, attempt: d.Attempt, state: Ready} }

// maxFailures is after how many a delivery is dead (BEY-30).
const maxFailures = 12

// failed is the outcome of a sending that did not succeed.
func failed(d Delivery, err error) outcome {
	o := outcome{id: d.ID, attempt: d.Attempt, state: Ready, failures: 1, tries: 1, text: Excerpt(err.Error())}
	switch kind := fail.KindOf(err); {
	case errors.Is(kind, fail.Unavailable):
		o.failures = 0
	case errors.Is(kind, fail.Refused), errors.Is(kind, fail.Invalid), d.Failures+1 >= maxFailures:
		o.state = Dead
		return o
	}
	o.wait = backOff(d.Tries + 1)
	return o
}

// backOff is how long the nth unsuccessful try makes a delivery wait: a second after the first, an hour after the eleventh and all later ones, growing
// evenly between. Up to a fifth of it is left out at random, so that what failed together does not come back together.
func backOff(n int64) time.Duration {
	steps := min(max(n-1, 0), maxFailures-2)
	wait := time.Duration(math.Pow(float64(time.Hour/time.Second), float64(steps)/(maxFailures-2)) * float64(time.Second))
	return wait - rand.N(wait/5)
}

// maxText bounds what is kept of an error, in bytes.
const maxText = 300

// Excerpt is what of an error's text is kept in a row.
func Excerpt(text string) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "�")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// tell logs what has died: somebody has to look at it.
func (q *Queue) tell(ctx context.Context, ended []outcome) {
	for _, o := range ended {
		if o.state == Dead {
			q.logger.WarnContext(ctx, "a delivery is dead", "delivery", o.id)
		}
	}
}
