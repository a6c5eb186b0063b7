package house

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// aside are packages that keep state for tests.
func aside(name string) bool { return name == "internal/dbtest" }

// fixedTypes hold pointers inside and are immutable all the same.
var fixedTypes = []string{"embed.FS", "*regexp.Regexp", "*strings.Replacer"}

// mutableState finds package-level variables that could change while the program runs, and init functions. Fine are errors and
// look-up tables (plain values, and lists and maps of them) that nothing writes to after they are made.
func (c *checked) mutableState(report func(at ast.Node, why string)) {
	for _, f := range c.files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					report(d, "an init function: nothing starts by import")
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						c.variables(v, report)
					}
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			for _, e := range c.written(n) {
				if id := c.rootOf(e); id != nil && packageLevel(c.info.Uses[id]) {
					report(e, id.Name+" is at package level and written to here")
				}
			}
			return true
		})
	}
}

func (c *checked) variables(v *ast.ValueSpec, report func(at ast.Node, why string)) {
	for _, id := range v.Names {
		obj := c.info.Defs[id]
		if obj == nil || id.Name == "_" {
			continue
		}
		isError := types.Identical(obj.Type(), types.Universe.Lookup("error").Type())
		if id.IsExported() && !isError {
			report(id, id.Name+" is an exported variable: a host could change it for everybody")
		} else if !isError && !lookup(obj.Type(), map[types.Type]bool{}) {
			report(id, id.Name+" is state at package level: put it into a value that somebody owns")
		}
	}
}

// lookup tells whether values of t are plain data all the way down.
func lookup(t types.Type, seen map[types.Type]bool) bool {
	for _, name := range fixedTypes {
		if types.TypeString(t, nil) == name {
			return true
		}
	}
	if named, ok := t.(*types.Named); ok && named.Obj().Pkg() != nil && strings.HasPrefix(named.Obj().Pkg().Path(), "sync") {
		return false // a mutex is plain data to the compiler
	}
	if seen[t] {
		return true
	}
	seen[t] = true
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return true
	case *types.Slice:
		return lookup(u.Elem(), seen)
	case *types.Array:
		return lookup(u.Elem(), seen)
	case *types.Map:
		return lookup(u.Key(), seen) && lookup(u.Elem(), seen)
	case *types.Signature:
		_, named := t.(*types.Named)
		return !named // a function inside a table
	case *types.Struct:
		for f := range u.Fields() {
			if !lookup(f.Type(), seen) {
				return false
			}
		}
		return true
	case *types.Interface:
		return types.Identical(t, types.Universe.Lookup("error").Type())
	}
	return false
}

// written returns the expressions whose value n changes, or lets somebody change.
func (c *checked) written(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.CallExpr:
		return c.writtenByCall(n)
	}
	return nil
}

func (c *checked) writtenByCall(call *ast.CallExpr) []ast.Expr {
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		if b, ok := c.info.Uses[fun].(*types.Builtin); ok && len(call.Args) > 0 {
			switch b.Name() {
			case "delete", "clear", "copy", "append":
				return call.Args[:1]
			}
		}
	case *ast.SelectorExpr: // x.Method() takes &x if the method wants a pointer and x is none
		if s := c.info.Selections[fun]; s != nil && s.Kind() == types.MethodVal {
			_, wants := s.Obj().(*types.Func).Signature().Recv().Type().(*types.Pointer)
			_, has := s.Recv().Underlying().(*types.Pointer)
			if wants && !has {
				return []ast.Expr{fun.X}
			}
		}
		if pkg, _, name := c.callee(call); (pkg == "slices" || pkg == "maps" || pkg == "sort") && inPlace[name] && len(call.Args) > 0 {
			return call.Args[:1]
		}
	}
	return nil
}

// inPlace are the functions of the standard library that change their first argument.
var inPlace = map[string]bool{"Sort": true, "SortFunc": true, "SortStableFunc": true, "Reverse": true, "Delete": true, "DeleteFunc": true,
	"Compact": true, "CompactFunc": true, "Insert": true, "Replace": true, "Copy": true, "Slice": true, "SliceStable": true, "Strings": true, "Ints": true}

// rootOf is the variable in whose memory e lies; nil if a pointer or a call lies between, as far as syntax tells.
func (c *checked) rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.ParenExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.SelectorExpr:
			if c.info.Selections[x] == nil {
				return x.Sel // another package's variable
			}
			e = x.X
		default:
			return nil
		}
	}
}

// runtimeCalls finds panics and goroutines outside the functions where they are allowed.
func (c *checked) runtimeCalls(panics, goroutines *exceptions, report func(at ast.Node, why string)) {
	for _, f := range c.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				if !goroutines.has(c.in(n.Pos())) {
					report(n, "a goroutine: who waits for it, who ends it, who sees its panic?")
				}
			case *ast.CallExpr:
				id, _ := ast.Unparen(n.Fun).(*ast.Ident)
				if id == nil {
					return true
				}
				if b, ok := c.info.Uses[id].(*types.Builtin); ok && b.Name() == "panic" && !panics.has(c.in(n.Pos())) {
					report(n, "a panic: return an error")
				}
			}
			return true
		})
	}
}

func TestNoMutableState(t *testing.T) {
	for name, p := range packages(t) {
		if !aside(name) {
			p.mutableState(func(at ast.Node, why string) { t.Errorf("%s: %s", p.at(at.Pos()), why) })
		}
	}
}

func TestPanicsAndGoroutines(t *testing.T) {
	panics := allow(map[string]string{
		"partner.callHost": "hands the panic of the host's callback back to the host's own stack",
	})
	goroutines := allow(map[string]string{
		"partner.callWithin": "calls host code, which may not heed its context; the call waits for it or for the time-out",
	})
	for _, p := range packages(t) {
		p.runtimeCalls(panics, goroutines, func(at ast.Node, why string) { t.Errorf("%s: %s", p.at(at.Pos()), why) })
	}
	panics.unused(t)
	goroutines.unused(t)
}
