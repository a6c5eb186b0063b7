package house

import (
	"go/ast"
	"go/token"
	"go/types"
	"testing"
)

const (
	gormPath  = "gorm.io/gorm"
	storePath = module + "/internal/store"
)

// sqlArgs says which arguments of a function are SQL: by package, receiver, name.
var sqlArgs = map[[3]string][]int{
	{gormPath, "DB", "Where"}: {0}, {gormPath, "DB", "Not"}: {0}, {gormPath, "DB", "Order"}: {0}, {gormPath, "DB", "Raw"}: {0},
	{gormPath, "DB", "Exec"}: {0}, {gormPath, "DB", "Select"}: {0}, {gormPath, "DB", "Joins"}: {0}, {gormPath, "DB", "InnerJoins"}: {0},
	{gormPath, "DB", "Group"}: {0}, {gormPath, "DB", "Having"}: {0}, {gormPath, "DB", "Distinct"}: {0}, {gormPath, "DB", "Pluck"}: {0},
	{gormPath, "DB", "Table"}: {0}, {gormPath, "DB", "Find"}: {1}, {gormPath, "DB", "First"}: {1}, {gormPath, "DB", "Take"}: {1},
	{gormPath, "DB", "Last"}: {1}, {gormPath, "DB", "Delete"}: {1}, {gormPath, "", "Expr"}: {0},
	{storePath, "Tx", "From"}: {1}, {storePath, "Tx", "Query"}: {2}, {storePath, "Tx", "Scan"}: {2}, {storePath, "Tx", "Exec"}: {1}, {storePath, "Tx", "Later"}: {2}, {storePath, "", "After"}: {1, 2},
}

// builtSQL finds SQL that is put together from anything but constants, package-level values and locks: what a caller typed must
// arrive as an argument, and a struct or map as condition drops its zero fields.
func (c *checked) builtSQL(report func(at ast.Node, why string)) {
	assigned := c.assignments()
	for _, f := range c.files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			pkg, typ, name := c.callee(call)
			for _, i := range sqlArgs[[3]string{pkg, typ, name}] {
				s := sqlCheck{c, assigned, map[ast.Node]bool{}}
				if i < len(call.Args) && !s.fixed(call.Args[i], nil) {
					report(call.Args[i], "the SQL of "+name+" is not made of constants alone")
				}
			}
			return true
		})
	}
}

// assignments maps each variable inside a function to all that is ever assigned to it; nil stands for what cannot be followed.
func (c *checked) assignments() map[types.Object][]ast.Expr {
	all := map[types.Object][]ast.Expr{}
	add := func(to ast.Expr, value ast.Expr) {
		id, ok := ast.Unparen(to).(*ast.Ident)
		if !ok {
			return
		}
		obj := c.info.Defs[id]
		if obj == nil {
			obj = c.info.Uses[id]
		}
		all[obj] = append(all[obj], value)
	}
	pairs := func(to, values []ast.Expr) {
		for i := range to {
			if len(to) == len(values) {
				add(to[i], values[i])
			} else if len(values) > 0 {
				add(to[i], nil)
			}
		}
	}
	for _, f := range c.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				pairs(n.Lhs, n.Rhs)
			case *ast.ValueSpec:
				names := make([]ast.Expr, len(n.Names))
				for i, id := range n.Names {
					names[i] = id
				}
				pairs(names, n.Values)
			case *ast.RangeStmt:
				add(n.Key, nil)
				add(n.Value, nil)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					add(n.X, nil)
				}
			}
			return true
		})
	}
	return all
}

type sqlCheck struct {
	*checked
	assigned map[types.Object][]ast.Expr
	visiting map[ast.Node]bool
}

// fixed tells whether the value of e can be named before the program runs. params are the parameters of the function that e stands in,
// when it is looked into for one call.
func (s sqlCheck) fixed(e ast.Expr, params map[types.Object]bool) bool {
	if e == nil {
		return false
	}
	if s.info.Types[e].Value != nil || s.visiting[e] {
		return true // a constant; or q = q + "…", which is as good as q was
	}
	s.visiting[e] = true
	defer delete(s.visiting, e)
	switch e := e.(type) {
	case *ast.ParenExpr:
		return s.fixed(e.X, params)
	case *ast.BinaryExpr:
		return e.Op == token.ADD && s.fixed(e.X, params) && s.fixed(e.Y, params)
	case *ast.IndexExpr:
		return s.fixed(e.X, params) // an entry of a fixed list, whichever
	case *ast.SelectorExpr:
		if s.info.Selections[e] == nil {
			return packageLevel(s.info.Uses[e.Sel])
		}
		return s.fixed(e.X, params) // a field
	case *ast.Ident:
		return s.variable(s.info.Uses[e], params)
	case *ast.CallExpr:
		return s.call(e, params)
	}
	return false
}

func packageLevel(obj types.Object) bool {
	v, ok := obj.(*types.Var)
	return ok && !v.IsField() && v.Pkg() != nil && v.Parent() == v.Pkg().Scope()
}

func (s sqlCheck) variable(obj types.Object, params map[types.Object]bool) bool {
	if packageLevel(obj) {
		return true // it is never written to: TestNoMutableState
	}
	values := s.assigned[obj]
	for _, v := range values {
		if !s.fixed(v, params) {
			return false
		}
	}
	return len(values) > 0 || params[obj]
}

// fixedText are the methods of the store that return text of the build whatever they are asked.
var fixedText = map[[3]string]bool{{storePath, "Tx", "Lock"}: true, {storePath, "Rows", "SQL"}: true}

// call tells whether a function of this package, declared or local, returns fixed text for these arguments.
func (s sqlCheck) call(e *ast.CallExpr, outer map[types.Object]bool) bool {
	if pkg, typ, name := s.callee(e); fixedText[[3]string{pkg, typ, name}] {
		return true
	}
	body, names := s.function(e)
	if body == nil || len(names) != len(e.Args) {
		return false
	}
	params := map[types.Object]bool{}
	for obj, ok := range outer { // a local function sees the parameters around it
		params[obj] = ok
	}
	for i, id := range names {
		params[s.info.Defs[id]] = s.fixed(e.Args[i], outer)
	}
	ok := true
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			ok = ok && len(n.Results) == 1 && s.fixed(n.Results[0], params)
		}
		return true
	})
	return ok
}

// function finds the body and the parameters of what e calls.
func (s sqlCheck) function(e *ast.CallExpr) (*ast.BlockStmt, []*ast.Ident) {
	id, ok := ast.Unparen(e.Fun).(*ast.Ident)
	if !ok {
		return nil, nil
	}
	switch obj := s.info.Uses[id].(type) {
	case *types.Func:
		for _, f := range s.files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && s.info.Defs[fn.Name] == obj {
					return fn.Body, fieldNames(fn.Type.Params)
				}
			}
		}
	case *types.Var:
		if values := s.assigned[obj]; len(values) == 1 {
			if fn, ok := values[0].(*ast.FuncLit); ok {
				return fn.Body, fieldNames(fn.Type.Params)
			}
		}
	}
	return nil, nil
}

func fieldNames(list *ast.FieldList) []*ast.Ident {
	var names []*ast.Ident
	for _, f := range list.List {
		names = append(names, f.Names...)
	}
	return names
}

func TestSQLIsConstant(t *testing.T) {
	for name, p := range packages(t) {
		if !storeOnly(name) {
			p.builtSQL(func(at ast.Node, why string) { t.Errorf("%s: %s", p.at(at.Pos()), why) })
		}
	}
}
