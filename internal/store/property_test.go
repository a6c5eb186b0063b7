package store_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"pgregory.net/rapid"
)

func TestScope_PathEndBoundsExactlyTheTree(t *testing.T) {
	segment := rapid.OneOf(rapid.StringMatching(`[0-9]{1,4}`), rapid.StringMatching(`[ -.0-~]{1,3}`))
	rapid.Check(t, func(t *rapid.T) {
		path := func(name string) string {
			return "/" + strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, name), "/") + "/"
		}
		root, p := path("root"), path("path")
		if rapid.Bool().Draw(t, "below") {
			p = root + strings.TrimPrefix(p, "/")
		}
		if in := p >= root && p < store.PathEnd(root); in != strings.HasPrefix(p, root) {
			t.Fatalf("%q in the tree of %q: %v", p, root, in)
		}
	})
}

func TestMicros_RoundTrip(t *testing.T) {
	if store.At(time.Time{}) != 0 || !store.Micros(0).Time().IsZero() {
		t.Error("no time is not zero")
	}
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-1<<33, 1<<37).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		at = at.In(time.FixedZone("", rapid.IntRange(-12*3600, 14*3600).Draw(t, "zone")))
		m := store.At(at)
		if m == 0 {
			return // the epoch itself is "none"
		}
		if back := m.Time(); !back.Equal(at.Truncate(time.Microsecond)) || store.At(back) != m {
			t.Fatalf("%v came back %v", at, back)
		}
		d := time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "d")) * time.Microsecond
		if store.At(m.Time().Add(d)) != m.Add(d) && m.Add(d) != 0 {
			t.Fatalf("%v + %v: %v", m, d, m.Add(d))
		}
	})
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// uuidOf reads the 128 bits back, by a way of its own.
func uuidOf(t interface{ Fatalf(string, ...any) }, id, prefix string) [16]byte {
	text, ok := strings.CutPrefix(id, prefix+"_")
	if !ok || len(text) != 26 {
		t.Fatalf("id %q: want %s_ and 26 characters", id, prefix)
	}
	n := new(big.Int)
	for _, c := range text {
		digit := strings.IndexRune(crockford, c)
		if digit < 0 {
			t.Fatalf("id %q: character %c", id, c)
		}
		n.Add(n.Lsh(n, 5), big.NewInt(int64(digit)))
	}
	if n.BitLen() > 128 {
		t.Fatalf("id %q is more than 128 bits", id)
	}
	var u [16]byte
	n.FillBytes(u[:])
	return u
}

func TestNewID_IsAUUIDv7InCrockfordText(t *testing.T) {
	random := func(b []byte) { _, _ = rand.Read(b) }
	rapid.Check(t, func(t *rapid.T) {
		now := store.Micros(rapid.Int64Range(1, 1<<48*1000-1).Draw(t, "now"))
		u := uuidOf(t, store.NewID("evt", now, random), "evt")
		var ms int64
		for _, b := range u[:6] {
			ms = ms<<8 | int64(b)
		}
		if ms != int64(now)/1000 || u[6]>>4 != 7 || u[8]>>6 != 2 {
			t.Fatalf("%x at %d µs: time %d ms, version %d, variant %b", u, now, ms, u[6]>>4, u[8]>>6)
		}
	})
	ones := store.NewID("x", 1, func(b []byte) {
		for i := range b {
			b[i] = 0xff
		}
	})
	if u := uuidOf(t, ones, "x"); fmt.Sprintf("%x", u) != "0000000000007fffbfffffffffffffff" {
		t.Errorf("all ones: %x", u)
	}
}

func TestCursor_RoundTripAndBinding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := store.Place{At: store.Micros(rapid.Int64().Draw(t, "at")), ID: rapid.String().Filter(store.Plain).Draw(t, "id")}
		list, other := rapid.String().Draw(t, "list"), rapid.String().Draw(t, "other")
		c := store.Cursor(p, list)
		if got, started, err := store.ParseCursor(c, list); err != nil || !started || got != p {
			t.Fatalf("%+v came back %+v, %v, %v", p, got, started, err)
		}
		if _, _, err := store.ParseCursor(c, other); other != list && !errors.Is(err, store.ErrCursor) {
			t.Fatalf("list %q took the cursor of %q: %v", other, list, err)
		}
		cut := rapid.IntRange(1, len(c)).Draw(t, "cut")
		if got, started, err := store.ParseCursor(c[:len(c)-cut], list); err == nil && started && len(c)-cut < 23 {
			t.Fatalf("a cursor without %d characters was read as %+v", cut, got)
		}
	})
	if _, started, err := store.ParseCursor("", "list"); started || err != nil {
		t.Errorf("the start: %v, %v", started, err)
	}
	wantKind(t, "cursor", store.ErrCursor, fail.Invalid)
}
