package house

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms are the folders that hold the public packages.
var rooms = []string{"partner", "license", "solution", "review", "billing", "plugins"}

// The top level is fixed: a newcomer reads the trade's words there and nothing else.
func TestTopLevel(t *testing.T) {
	folders := append([]string{"examples", "internal"}, rooms...)
	files := []string{"go.mod", "go.sum", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"}
	ignored := []string{"*.db", "*.db-shm", "*.db-wal", "coverage.out"}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		left := strings.HasPrefix(name, ".") || slices.ContainsFunc(ignored, func(p string) bool { ok, _ := path.Match(p, name); return ok })
		if known := folders; !left && e.IsDir() && !slices.Contains(known, name) {
			t.Errorf("folder %s does not belong at the top level, only %v do", name, known)
		}
		if !left && !e.IsDir() && !slices.Contains(files, name) {
			t.Errorf("file %s does not belong at the top level, only %v do", name, files)
		}
	}
}

// Nor does internal grow drawers.
func TestInternalFolders(t *testing.T) {
	known := []string{"store", "ledger", "outbox", "form", "fail", "dbtest", "bench", "decisions", "house", "tools"}
	entries, err := os.ReadDir(filepath.Join(root, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			t.Errorf("internal/%s does not belong here, only %v do", e.Name(), known)
		}
	}
	for _, file := range goFiles(t) {
		for _, part := range strings.Split(path.Dir(file), "/") {
			if slices.Contains([]string{"util", "utils", "common", "helpers", "models", "types", "misc"}, part) {
				t.Errorf("%s: a folder called %q says nothing about what it holds", file, part)
			}
		}
	}
}

// arrows says which packages of the module one may import. A name that ends in /... stands for all packages below it as well.
var arrows = map[string][]string{
	"internal/fail":      {},
	"internal/store":     {"internal/fail"},
	"internal/ledger":    {"internal/fail", "internal/store"},
	"internal/outbox":    {"internal/fail", "internal/store"},
	"internal/form":      {"internal/fail", "internal/store"},
	"partner":            {"internal/fail", "internal/store", "internal/ledger", "internal/outbox", "internal/form"},
	"partner/phones":     {},
	"license":            {"internal/fail", "internal/store", "internal/ledger", "partner"},
	"review":             {"internal/fail", "internal/store", "internal/form", "partner"},
	"solution":           {"internal/fail", "internal/store", "internal/form", "partner", "review"},
	"billing/...":        {"internal/fail", "internal/store", "internal/ledger", "internal/outbox", "partner", "license", "billing/..."},
	"plugins/...":        {"internal/fail", "partner", "billing/...", "plugins/..."},
	"examples/...":       {"partner", "license", "review", "solution", "billing/...", "plugins/..."},
	"internal/dbtest":    {"internal/fail", "internal/store"},
	"internal/bench/...": {"internal/...", "partner", "license", "review", "solution", "billing/...", "plugins/..."},
	"internal/house":     {},
}

func matches(pattern, name string) bool {
	base, below := strings.CutSuffix(pattern, "/...")
	return name == base || below && strings.HasPrefix(name, base+"/")
}

// arrowsOf returns what a package may import; the first of a package and the folders around it that is named.
func arrowsOf(name string) ([]string, bool) {
	for pattern, targets := range arrows {
		if matches(pattern, name) {
			return targets, true
		}
	}
	return nil, false
}

// Each package imports only what the house's plan lets it. The files themselves are read, so that examples with a go.mod of their own
// and files behind build constraints count too.
func TestArrows(t *testing.T) {
	for _, file := range goFiles(t) {
		name := path.Dir(file)
		if name == "." || strings.HasSuffix(file, "_test.go") {
			continue // a test may reach further; a Go file in the root is TestTopLevel's
		}
		targets, known := arrowsOf(name)
		if !known {
			t.Errorf("%s: package %s has no arrows: say in this test what it may import", file, name)
			continue
		}
		for _, imported := range importsOf(t, file) {
			to, own := strings.CutPrefix(imported, module+"/")
			if own && !slices.ContainsFunc(targets, func(pattern string) bool { return matches(pattern, to) }) {
				t.Errorf("%s imports %s; %s may import %v", file, to, name, targets)
			}
		}
	}
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, i := range f.Imports {
		text, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	return list
}

// What a host must not be made to link: drivers other than its own, and what tests need.
var (
	drivers = []string{"gorm.io/driver/...", "github.com/mattn/go-sqlite3", "github.com/jackc/...", "modernc.org/...", "github.com/glebarez/...",
		"github.com/ncruces/...", "github.com/lib/pq", "github.com/go-sql-driver/..."}
	testLibraries = []string{"testing", "testing/...", "pgregory.net/...", "github.com/google/go-cmp/...", "github.com/anishathalye/porcupine/..."}
	pluginry      = []string{"github.com/hashicorp/go-plugin/...", "github.com/hashicorp/go-hclog/...", "google.golang.org/grpc/..."}
)

// production lists the packages that hosts build into their programs.
func production(own map[string]listed) []string {
	var names []string
	for name := range own {
		aside := []string{"examples/...", "internal/dbtest", "internal/bench/...", "internal/house", "plugins/conformance/...", "billing/billingtest"}
		if !slices.ContainsFunc(aside, func(pattern string) bool { return matches(pattern, name) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestProductionLinksNoDriverAndNoTestLibrary(t *testing.T) {
	own, _ := ours(t)
	names := production(own)
	for _, must := range []string{"partner", "license", "internal/store", "internal/ledger", "internal/fail"} {
		if !slices.Contains(names, must) {
			t.Errorf("%s is not looked at", must)
		}
	}
	for _, name := range names {
		banned := slices.Concat(drivers, testLibraries)
		if !matches("plugins/...", name) {
			banned = append(banned, pluginry...)
		}
		for _, dep := range own[name].Deps {
			if slices.ContainsFunc(banned, func(pattern string) bool { return matches(pattern, dep) }) {
				t.Errorf("%s depends on %s: look for the way with go mod why, or go list -deps", name, dep)
			}
		}
	}
}

// The pool is package store's: what works on it directly has no scope and no retry.
func TestOnlyStoreOpensDatabases(t *testing.T) {
	for name, p := range packages(t) {
		may := []string{"internal/store", "internal/dbtest", "internal/bench/...", "examples/..."}
		if slices.ContainsFunc(may, func(pattern string) bool { return matches(pattern, name) }) {
			continue
		}
		for _, i := range p.types.Imports() {
			if i.Path() == "database/sql" {
				t.Errorf("%s imports database/sql: go through package store", name)
			}
		}
	}
}
