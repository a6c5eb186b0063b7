package house

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// public are the rooms whose API is kept as golden text, with how many top-level names each may export. The sentinels are not counted: the
// catalogue of errors says which there are, and a caller looks one up by what went wrong.
var public = map[string]int{"partner": 110, "license": 35, "solution": 35, "review": 35, "billing": 60, "plugins": 35}

// The public API is what go doc prints. A change of it shows in review as a change of the golden file.
func TestGoldenAPI(t *testing.T) {
	all := packages(t)
	for room := range public {
		if all[room] == nil {
			continue // not built yet
		}
		t.Run(room, func(t *testing.T) {
			got, err := goTool(root, "doc", "-all", "./"+room)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", room+".txt")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v: write it with make golden", err)
			}
			if diff := difference(string(want), string(got)); diff != "" {
				t.Errorf("the API of %s has changed:\n%s\nIf it is meant: make golden (go test ./internal/house -run TestGoldenAPI -update), "+
					"and tell users in CHANGELOG.md", room, diff)
			}
		})
	}
}

// Few names, deep ones.
func TestExportedNamesBudget(t *testing.T) {
	all := packages(t)
	for room, budget := range public {
		if all[room] == nil {
			continue
		}
		var names []string
		scope := all[room].types.Scope()
		for _, name := range scope.Names() {
			if scope.Lookup(name).Exported() && !strings.HasPrefix(name, "Err") {
				names = append(names, name)
			}
		}
		t.Logf("%s exports %d names of %d", room, len(names), budget)
		if len(names) > budget {
			t.Errorf("%s exports %d names, more than %d: %s", room, len(names), budget, strings.Join(names, " "))
		}
	}
}

// difference lists the lines that are in only one of two texts, "-" of the first and "+" of the second, each run with the line before it.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	common := make([][]int, len(x)+1) // of x[i:] and y[j:]
	for i := range common {
		common[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out strings.Builder
	for i, j, same := 0, 0, true; i < len(x) || j < len(y); {
		if i < len(x) && j < len(y) && x[i] == y[j] {
			i, j, same = i+1, j+1, true
			continue
		}
		if same && i > 0 {
			fmt.Fprintf(&out, "@ line %d\n  %s\n", i, x[i-1])
		}
		same = false
		if j == len(y) || i < len(x) && common[i+1][j] >= common[i][j+1] {
			out.WriteString("- " + x[i] + "\n")
			i++
		} else {
			out.WriteString("+ " + y[j] + "\n")
			j++
		}
	}
	return out.String()
}

func TestDifference(t *testing.T) {
	if d := difference("a\nb\nc", "a\nb\nc"); d != "" {
		t.Errorf("equal texts differ: %q", d)
	}
	want := "@ line 1\n  a\n- b\n+ x\n@ line 3\n  c\n+ d\n"
	if d := difference("a\nb\nc", "a\nx\nc\nd"); d != want {
		t.Errorf("got %q, want %q", d, want)
	}
}
