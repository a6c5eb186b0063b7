package house

import (
	"go/ast"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// storeOnly are the packages that may speak to GORM freely.
func storeOnly(name string) bool { return name == "internal/store" || name == "internal/dbtest" }

// bannedMethods of *gorm.DB, each with what it did to somebody.
var bannedMethods = map[string]string{
	"Save":        "it inserts what it cannot update, and writes every column over what others changed",
	"Or":          "it binds weaker than the scope's predicate: one Or and the scope is gone",
	"AutoMigrate": "tables come from the numbered migrations",
}

// bannedCalls finds the calls that no file outside package store may hold.
func (c *checked) bannedCalls(report func(at ast.Node, why string)) {
	for _, f := range c.files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			pkg, typ, name := c.callee(call)
			switch {
			case pkg == gormPath && typ == "DB" && bannedMethods[name] != "":
				report(call, name+": "+bannedMethods[name])
			case pkg == "time" && typ == "" && name == "Sleep":
				report(call, "time.Sleep: wait for what you wait for, by the injected clock, a channel or a timer")
			}
			return true
		})
	}
}

// callee names what a call calls: its package, its receiver's type if it is a method, and itself. Empty for anything else.
func (c *checked) callee(call *ast.CallExpr) (pkg, typ, name string) {
	var id *ast.Ident
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		id = fun
	case *ast.SelectorExpr:
		id = fun.Sel
	default:
		return "", "", ""
	}
	fn, ok := c.info.Uses[id].(*types.Func)
	if !ok || fn.Pkg() == nil {
		return "", "", ""
	}
	if recv := fn.Signature().Recv(); recv != nil {
		t := recv.Type()
		if p, ok := t.(*types.Pointer); ok {
			t = p.Elem()
		}
		if named, ok := t.(*types.Named); ok {
			typ = named.Obj().Name()
		}
	}
	return fn.Pkg().Path(), typ, fn.Name()
}

func TestBannedCalls(t *testing.T) {
	for name, p := range packages(t) {
		if !storeOnly(name) {
			p.bannedCalls(func(at ast.Node, why string) { t.Errorf("%s: %s", p.at(at.Pos()), why) })
		}
	}
}

// Tests do not sleep either: they own the clock.
func TestNoTestSleeps(t *testing.T) {
	sleep := regexp.MustCompile(`\btime` + `\.Sleep\(`)
	for _, file := range goFiles(t) {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if sleep.MatchString(line) {
				t.Errorf("%s:%d sleeps", file, i+1)
			}
		}
	}
}

// The checks find what they are for: each line of the bad example that is marked "want" is reported, and no other.
func TestChecksFindBadCode(t *testing.T) {
	text, err := os.ReadFile("testdata/bad.go.txt")
	if err != nil {
		t.Fatal(err)
	}
	bad, err := check(module+"/internal/house/bad", map[string]any{"bad.go": text})
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	report := func(at ast.Node, why string) { found[bad.fset.Position(at.Pos()).Line] = why }
	bad.bannedCalls(report)
	bad.builtSQL(report)
	bad.mutableState(report)
	none := allow(nil)
	bad.runtimeCalls(none, none, report)
	bad.undocumented(report)
	for i, line := range strings.Split(string(text), "\n") {
		why, reported := found[i+1]
		if wanted := strings.Contains(line, "// want"); wanted != reported {
			t.Errorf("line %d: reported %v (%s), want %v: %s", i+1, reported, why, wanted, strings.TrimSpace(line))
		}
	}
}
