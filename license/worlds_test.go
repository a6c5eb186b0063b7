package license_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"pgregory.net/rapid"
)

// The measures of the long form. Verify reads the whole database, so a database holds some worlds only.
const (
	longSteps     = 500 // of a world, on average
	longWorlds    = 20  // on a database
	verifySteps   = 250 // between two looks at all of history
	compareSteps  = 50  // between two looks at all books of the world
	seedsOfAPlace = 1 << 32
)

// scrutiny is how much is looked at after a step.
type scrutiny int

const (
	glance  scrutiny = iota // the books that the step touched
	compare                 // all books of the world
	verify                  // all of history, too
)

// tally counts what the oracles judge: an operation is a call of the public API whose answer is compared with what it should be.
type tally struct {
	long              bool
	steps             int // of the world that is played
	worlds            int
	operations        int
	answered, refused map[string]int
	transfers         map[string]int // by verb, as they stand in the databases
}

func (y *tally) count(verb string, refusal error) {
	y.operations++
	if refusal == nil {
		y.answered[verb]++
	} else {
		y.refused[verb]++
	}
}

// stepped counts a step and tells how closely to look at it: a short world is looked at as a whole each time.
func (y *tally) stepped() scrutiny {
	y.steps++
	switch {
	case !y.long || y.steps%verifySteps == 0:
		return verify
	case y.steps%compareSteps == 0:
		return compare
	}
	return glance
}

func (y *tally) String() string {
	return fmt.Sprintf("%d operations in %d worlds, by verb: %s; transfers: %s", y.operations, y.worlds, list(y.answered, y.refused), list(y.transfers, nil))
}

// list names counts, in order.
func list(of, refused map[string]int) string {
	all := maps.Clone(of)
	maps.Copy(all, refused)
	var parts []string
	for _, verb := range slices.Sorted(maps.Keys(all)) {
		part := fmt.Sprint(verb, " ", of[verb])
		if n := refused[verb]; n > 0 {
			part += fmt.Sprint("+", n, " refused")
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// playWorlds has rapid play worlds on both databases. PARTNERKIT_MODEL_OPERATIONS plays long worlds instead, a few on each of as many
// databases as it takes, until the oracle has judged so many operations on SQLite and as many on PostgreSQL. -rapid.seed repeats a run; with the
// variable set, what rapid says of a failure repeats that.
func playWorlds(t *testing.T, world func(t *rapid.T, w *world, y *tally)) {
	t.Helper()
	goal := times(t, "PARTNERKIT_MODEL_OPERATIONS", 0)
	for _, kind := range []string{dbtest.SQLite, dbtest.Postgres} {
		t.Run(kind, func(t *testing.T) {
			y := &tally{long: goal > 0, answered: map[string]int{}, refused: map[string]int{}, transfers: map[string]int{}}
			if goal == 0 {
				y.play(t, kind, world)
				t.Log(y)
				return
			}
			y.playLong(t, kind, goal, world)
		})
	}
}

// playLong plays until goal operations were judged. Where -run names one of its databases, that is the first to be played.
func (y *tally) playLong(t *testing.T, kind string, goal int, world func(t *rapid.T, w *world, y *tally)) {
	t.Helper()
	seed, begun, played := seedOf(t), time.Now(), uint64(0)
	set(t, "rapid.steps", strconv.Itoa(longSteps))
	for n := 0; n <= goal && y.operations < goal && !t.Failed(); n++ {
		set(t, "rapid.seed", strconv.FormatUint(seed+played*seedsOfAPlace, 10))
		set(t, "rapid.checks", strconv.Itoa(min(longWorlds, 1+(goal-y.operations)/longSteps)))
		before := y.operations
		t.Run(fmt.Sprint("long", n), func(t *testing.T) { y.play(t, kind, world) })
		if y.operations > before {
			played++
			took := time.Since(begun)
			t.Logf("seed %d, %v, %.0f a second: %v", seed, took.Round(time.Second), float64(y.operations)/took.Seconds(), y)
		} else if played > 0 {
			return
		}
	}
}

// play plays the worlds of one database.
func (y *tally) play(t *testing.T, kind string, world func(t *rapid.T, w *world, y *tally)) {
	t.Helper()
	w := newWorld(t, dbtest.New(t, kind))
	w.define("seat")
	rapid.Check(t, func(t *rapid.T) {
		y.steps = 0
		world(t, w, y)
	})
	w.whole()
	var verbs []struct {
		Verb string
		N    int
	}
	w.must(w.db.Raw("SELECT verb, count(*) AS n FROM prm_ledger_transfers GROUP BY verb").Scan(&verbs).Error)
	for _, v := range verbs {
		y.transfers[v.Verb] += v.N
	}
}

// seedOf is the seed that was asked for, or a new one.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	given, err := strconv.ParseUint(flag.Lookup("rapid.seed").Value.String(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return cmp.Or(given, 1+rand.Uint64N(seedsOfAPlace))
}

// set sets a flag of rapid until the test ends.
func set(t *testing.T, name, value string) {
	t.Helper()
	was := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, was) })
}
