package store_test

import (
	"context"
	"reflect"
	"testing"
)

// TestGroup_Weight: a batch is as heavy as 256 items of weight 1, in the order of arrival, and one that is heavier goes alone.
func TestGroup_Weight(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.group.Weight = func(item string) int {
			return map[byte]int{'h': 200, 'm': 56, 'l': 1, 'x': 1000}[item[0]]
		}
		var batches [][]string
		release := make(chan struct{})
		b.many = func(_ context.Context, items []string, _ bool, _ func()) []error {
			if batches = append(batches, items); len(batches) == 1 {
				<-release
			}
			return make([]error, len(items))
		}
		var all []chan error
		for _, item := range []string{"first", "h1", "m1", "l1", "x1", "l2", "h2", "m2", "m3"} {
			all = append(all, b.calls(t.Context(), item))
		}
		goes(release)
		for _, done := range all {
			must(t, b.at(done, "a caller"))
		}
		if want := [][]string{{"first"}, {"h1", "m1"}, {"l1"}, {"x1"}, {"l2", "h2"}, {"m2", "m3"}}; !reflect.DeepEqual(batches, want) {
			t.Errorf("batches %q, want %q", batches, want)
		}
	})
}
