package fail_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/partnerkit/partnerkit/internal/fail"
)

// matches counts the kinds that err is of.
func matches(err error) (n int) {
	for _, k := range fail.Kinds() {
		if errors.Is(err, k) {
			n++
		}
	}
	return n
}

func TestNewPrintsItsMessageAndMatchesOneKind(t *testing.T) {
	for _, kind := range fail.Kinds() {
		sentinel := fail.New(kind, "not enough seats")
		wrapped := fmt.Errorf("license: assign: %w", sentinel)
		if wrapped.Error() != "license: assign: not enough seats" {
			t.Errorf("prints %q", wrapped)
		}
		if !errors.Is(wrapped, sentinel) || !errors.Is(wrapped, kind) || matches(wrapped) != 1 {
			t.Errorf("%v: matches %d kinds", kind, matches(wrapped))
		}
		if other := fail.New(kind, "not enough seats"); errors.Is(wrapped, other) {
			t.Error("two sentinels with one message are one")
		}
		if !errors.Is(fail.KindOf(wrapped), kind) {
			t.Errorf("KindOf is %v, want %v", fail.KindOf(wrapped), kind)
		}
	}
	if fail.KindOf(io.EOF) != nil || fail.KindOf(nil) != nil {
		t.Error("a stranger's error has a kind")
	}
}

func TestBecauseKeepsTheCauseButNotItsKind(t *testing.T) {
	err := fail.Because(fail.Unavailable, "ask the region", io.EOF)
	if !errors.Is(err, io.EOF) || matches(err) != 1 || err.Error() != "ask the region: EOF" {
		t.Errorf("%v matches %d kinds", err, matches(err))
	}
	inner := fail.New(fail.Conflict, "somebody was faster")
	err = fail.Because(fail.Unavailable, "ask the region", inner)
	if errors.Is(err, fail.Conflict) || errors.Is(err, inner) || matches(err) != 1 || err.Error() != "ask the region: somebody was faster" {
		t.Errorf("%v matches %d kinds", err, matches(err))
	}
	if err := fail.Because(fail.Refused, "full", nil); err.Error() != "full" || matches(err) != 1 {
		t.Errorf("%v matches %d kinds", err, matches(err))
	}
}
