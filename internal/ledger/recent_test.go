package ledger_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// turn is a batch on its way: decided on, and waiting to be let go on.
type turn struct {
	*ledger.Turn
	decided chan error
	goOn    chan bool
	ended   chan error
	result  ledger.Result
}

var errGivenUp = errors.New("given up")

// begin decides on a batch in the next turn, in a transaction that stays open until finish.
func (b *book) begin(r *ledger.Recent, guess bool, list ...ledger.Posting) *turn {
	t := &turn{r.Next(), make(chan error, 1), make(chan bool, 1), make(chan error, 1), ledger.Result{}}
	again := func() error { return store.ErrAgain }
	go func() {
		err := store.Repeating(context.Background(), b.d, again, func(tx *store.Tx) (err error) {
			batch, err := ledger.Begin(tx, list, ledger.Way{Turn: t.Turn, Guess: guess, Unseen: true})
			if err == nil {
				t.result, err = batch.Decide(nil)
			}
			t.decided <- err
			if err != nil {
				return err
			}
			if !<-t.goOn {
				return errGivenUp
			}
			if err := batch.Follow(); err != nil || batch.Sure() {
				return err
			}
			return batch.Written(t.result)
		})
		t.End(err == nil)
		t.ended <- err
	}()
	return t
}

// finish lets the transaction end.
func (t *turn) finish(commit bool) error {
	t.goOn <- commit
	return <-t.ended
}

// supplied is a book on PostgreSQL, where commits overlap, with 19 seats in a pool and one in a project.
func supplied(t *testing.T) *book {
	t.Helper()
	b := newBook(t, dbtest.New(t, dbtest.Postgres))
	b.must(b.move(ledger.Issuer, "pool", 20))
	b.must(b.move("pool", "project", 1))
	return b
}

// turn makes a batch in one go.
func (b *book) turn(r *ledger.Recent, guess bool, list ...ledger.Posting) (ledger.Result, error) {
	t := b.begin(r, guess, list...)
	<-t.decided
	err := t.finish(true)
	return t.result, err
}

// inTx runs one transaction.
func (b *book) inTx(do func(*store.Tx) error) {
	b.t.Helper()
	if err := store.InTx(context.Background(), b.d, do); err != nil {
		b.t.Fatal(err)
	}
}

// TestBEY12_WhatIsRememberedIsAGuess: a batch that is decided on what the last one left goes through if all is still so, and has no effect if
// anything is not: whether it would be accepted or refused.
func TestBEY12_WhatIsRememberedIsAGuess(t *testing.T) {
	changes := map[string]func(*book){
		"taken":    func(b *book) { b.must(b.move("pool", "other", 3)) },
		"granted":  func(b *book) { b.must(b.move(ledger.Issuer, "pool", 10)) },
		"arrived":  func(b *book) { b.must(b.move("other", "project", 1)) },
		"and back": func(b *book) { b.must(b.move("pool", "other", 3)); b.must(b.move("other", "pool", 3)) },
		"lot": func(b *book) {
			b.must(b.move(ledger.Issuer, "pool", 5, func(p *ledger.Posting) { p.New = ledger.Validity{Until: 1 << 40} }))
		},
		"cap of the target": func(b *book) {
			b.inTx(func(tx *store.Tx) error {
				_, _, err := ledger.SetCap(tx, ledger.Licenses, "project", "seat", "prt_a", 4)
				return err
			})
		},
		"seat in the source": func(b *book) {
			b.inTx(func(tx *store.Tx) error {
				_, _, _, err := ledger.TakeSeat(tx, ledger.Licenses, "pool", "seat", "prt_a", "Ann", "ann")
				return err
			})
		},
		"reserved": func(b *book) {
			b.inTx(func(tx *store.Tx) error {
				_, _, err := ledger.Reserve(tx, b.move("pool", "pool", 2, func(p *ledger.Posting) { p.To.State = ledger.Reserved }), time.Hour)
				return err
			})
		},
		"told": func(b *book) {
			b.clock.set(5000)
			b.inTx(func(tx *store.Tx) error { return ledger.Await(tx, ledger.Licenses, "pool", ledger.Forever) })
		},
		"the target told": func(b *book) {
			b.clock.set(5000)
			b.inTx(func(tx *store.Tx) error { return ledger.Await(tx, ledger.Licenses, "project", 4000) })
		},
	}
	for name, change := range changes {
		for want, n := range map[string]int64{"accepted": 2, "refused": 90} {
			t.Run(name+", "+want, func(t *testing.T) {
				each(t, func(t *testing.T, b *book) {
					b.must(b.move(ledger.Issuer, "pool", 20))
					b.must(b.move(ledger.Issuer, "other", 20))
					b.must(b.move(ledger.Issuer, "project", 1))
					var r ledger.Recent
					if _, err := b.turn(&r, false, b.move("pool", "project", 5)); err != nil {
						t.Fatal(err)
					}
					b.guessed(&r, want, n, nil)
					change(b)
					before := [2]int64{b.of("pool"), b.of("project")}
					b.guessed(&r, want, n, store.ErrAgain)
					if after := [2]int64{b.of("pool"), b.of("project")}; after != before {
						t.Errorf("a wrong guess made %d of %d", after, before)
					}
					b.sound()
				})
			})
		}
	}
}

// guessed makes one move of n by what is remembered, and says what became of it: an error, or what was to be expected.
func (b *book) guessed(r *ledger.Recent, want string, n int64, fails error) {
	b.t.Helper()
	result, err := b.turn(r, true, b.move("pool", "project", n))
	switch {
	case !errors.Is(err, fails):
		b.t.Errorf("a guess ends with %v, want %v", err, fails)
	case fails == nil && (result.Outcomes[0].Err == nil) != (want == "accepted"):
		b.t.Errorf("a guess is answered with %v, want %s", result.Outcomes[0].Err, want)
	}
}

// TestBEY12_ACommitIsDecidedOnTheOneBefore: while that is on its way. It stands or falls with it, and is told by it, not by what the rows happen
// to look like.
func TestBEY12_ACommitIsDecidedOnTheOneBefore(t *testing.T) {
	db := dbtest.New(t, dbtest.Postgres)
	for _, commit := range []bool{true, false} {
		b := newBook(t, db)
		if !commit {
			b.keys = 1000
		}
		owner := map[bool]string{true: "pool", false: "pool 2"}[commit]
		b.must(b.move(ledger.Issuer, owner, 20))
		b.must(b.move(ledger.Issuer, "project", 1))
		var r ledger.Recent
		if _, err := b.turn(&r, false, b.move(owner, "project", 1)); err != nil {
			t.Fatal(err)
		}
		has := b.of("project")
		first := b.begin(&r, true, b.move(owner, "project", 15))
		if err := <-first.decided; err != nil {
			t.Fatal(err)
		}
		second := b.begin(&r, true, b.move(owner, "project", 4), b.move(owner, "project", 1))
		if err := <-second.decided; err != nil {
			t.Fatal(err)
		}
		if o := second.result.Outcomes; o[0].Err != nil || o[0].Transfer.FromAfter != 0 || o[1].Err == nil {
			t.Errorf("decided: %+v; want 0 left of what the first leaves, and nothing more", o)
		}
		if !commit {
			if err := first.finish(false); !errors.Is(err, errGivenUp) {
				t.Fatal(err)
			}
			b.must(b.move(owner, "project", 15)) // the rows look as the first would have left them
			if err := second.finish(true); !errors.Is(err, store.ErrAgain) || b.of("project") != has+15 {
				t.Errorf("after the first was given up: %v, %d in the project, want %d", err, b.of("project"), has+15)
			}
			b.sound()
			continue
		}
		second.goOn <- true
		select {
		case err := <-second.ended:
			t.Errorf("the second ended before the first: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		if err := first.finish(true); err != nil {
			t.Fatal(err)
		}
		if err := <-second.ended; err != nil || b.of("project") != has+19 {
			t.Errorf("the second ends with %v, the project with %d, want %d", err, b.of("project"), has+19)
		}
		if _, err := b.turn(&r, true, b.move(owner, "project", 1)); err != nil {
			t.Errorf("the next: %v", err)
		}
		b.sound()
	}
}

// TestBEY13_AKeyOnItsWayIsNotWaitedFor: the first use of a key waits in this process for nobody who waits for it.
func TestBEY13_AKeyOnItsWayIsNotWaitedFor(t *testing.T) {
	b := supplied(t)
	var r ledger.Recent
	if _, err := b.turn(&r, false, b.move("pool", "project", 1)); err != nil {
		t.Fatal(err)
	}
	p := b.move("pool", "project", 1)
	first := b.begin(&r, true, p)
	if err := <-first.decided; err != nil {
		t.Fatal(err)
	}
	second := b.begin(&r, true, p)
	if err := <-second.decided; !errors.Is(err, store.ErrAgain) {
		t.Errorf("a key on its way: %v", err)
	}
	if err := first.finish(true); err != nil {
		t.Fatal(err)
	}
	if got := b.of("project"); got != 3 {
		t.Errorf("the project has %d, want 3", got)
	}
}

// A process that guesses wrong does without for a while, the longer the more often; and guesses again.
func TestBEY12_WrongGuessesAreFollowedByNone(t *testing.T) {
	var r ledger.Recent
	ask := func(right bool) (trusted bool) {
		turn := r.Next()
		defer turn.End(true)
		if trusted = turn.Trusted(); trusted && !right {
			turn.Wrong()
		}
		return trusted
	}
	for _, pause := range []int{1, 2, 4, 8, 16, 32, 64, 64} {
		if !ask(false) {
			t.Fatal("no guess")
		}
		for range pause {
			if ask(true) {
				t.Fatalf("a guess within %d commits of a wrong one", pause)
			}
		}
	}
	for range 8 {
		ask(true)
	}
	if !ask(false) || ask(true) || !ask(true) {
		t.Error("after many right guesses a wrong one is not the first again")
	}
}

// TestBEY12_ACommitIsToldWhateverComesBetween: a turn that ends early between two commits hides the first from the second no more than nothing
// does. The head looks as the first would have left it, but the lots behind it do not.
func TestBEY12_ACommitIsToldWhateverComesBetween(t *testing.T) {
	b := newBook(t, dbtest.New(t, dbtest.Postgres))
	for _, until := range []store.Micros{1 << 40, 1 << 41} {
		b.must(b.move(ledger.Issuer, "pool", 5, func(p *ledger.Posting) { p.New = ledger.Validity{Until: until} }))
	}
	b.must(b.move(ledger.Issuer, "project", 1))
	b.must(b.move(ledger.Issuer, "third", 1))
	b.must(b.move("pool", "third", 1))
	b.must(b.move("pool", "project", 1))
	var r ledger.Recent
	if _, err := b.turn(&r, false, b.move("pool", "third", 1), b.move("third", "pool", 1), b.move("pool", "project", 1), b.move("project", "pool", 1)); err != nil {
		t.Fatal(err)
	}
	first := b.begin(&r, true, b.move("pool", "project", 2))
	if err := <-first.decided; err != nil {
		t.Fatal(err)
	}
	between := r.Next()
	second := b.begin(&r, true, b.move("pool", "third", 1))
	if err := <-second.decided; err != nil {
		t.Fatal(err)
	}
	between.End(true)
	if err := first.finish(false); !errors.Is(err, errGivenUp) {
		t.Fatal(err)
	}
	b.must(b.move("pool", "project", 1))
	if err := second.finish(true); !errors.Is(err, store.ErrAgain) {
		t.Errorf("decided on what never was: %v, %d after it of %d", err, second.result.Outcomes[0].Transfer.FromAfter, b.of("pool"))
	}
	b.sound()
}

// TestBEY12_ACommitUnderLocksRestsOnThemAlone: whatever becomes of other turns.
func TestBEY12_ACommitUnderLocksRestsOnThemAlone(t *testing.T) {
	b := supplied(t)
	var r ledger.Recent
	before := r.Next()
	locked := b.begin(&r, false, b.move("pool", "project", 1))
	if err := <-locked.decided; err != nil {
		t.Fatal(err)
	}
	before.End(false)
	if err := locked.finish(true); err != nil {
		t.Error(err)
	}
	b.sound()
}
