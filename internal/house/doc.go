// Package house holds no code of the product: its tests check that the house keeps its own shape.
//
//   - layout_test.go: which folders there are, who may import whom, what no production package may link.
//   - calls_test.go, sql_test.go, state_test.go: calls that are banned outside package store, SQL made of anything but constants,
//     state at package level, panics, goroutines.
//   - comments_test.go: comments, and the sizes of files and functions.
//   - golden_test.go: the public API as go doc prints it, and how many names it may have.
//   - readme_test.go: what the README shows compiles and runs.
//
// Each list of exceptions gives its reasons and may hold nothing that is no longer needed.
package house
