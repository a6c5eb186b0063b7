package store

import "github.com/partnerkit/partnerkit/internal/fail"

// Manner says how calls that are decided on together come by what the decisions rest on. The rooms say it to each other.
type Manner int

const (
	// Waiting waits for whoever holds it.
	Waiting Manner = iota
	// Passing waits for nobody: what is held comes back busy, as does whatever the set cannot answer for sure; a call of its own does.
	Passing
	// Guessing takes what is remembered for true, and asks for nothing: if anything is not so or is held, the commit fails by itself, with
	// ErrOutdated. It is tried once.
	Guessing
)

// ErrOutdated is what [Guessing] ends with when it was wrong, or when not enough is remembered: nothing has been done.
var ErrOutdated = fail.New(fail.Conflict, "what is remembered is not enough, or has changed")
