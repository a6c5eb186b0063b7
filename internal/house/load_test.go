package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/partnerkit/partnerkit"

// root is the repository's folder, seen from this one.
const root = "../.."

// listed is what go list says of one package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles, CgoFiles       []string
	Imports, Deps           []string
}

// name is the package's path inside the module.
func (p listed) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// list asks go list about the packages of the module and all that they depend on.
var list = sync.OnceValues(func() (map[string]listed, error) {
	out, err := goTool(root, "list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles,CgoFiles,Imports,Deps", "./...")
	if err != nil {
		return nil, err
	}
	all := map[string]listed{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
})

// goTool runs the go command in dir and returns its output.
func goTool(dir string, args ...string) ([]byte, error) {
	var out, problems bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &problems
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, problems.String())
	}
	return out.Bytes(), nil
}

// ours returns go list's word on the module's own packages, by path inside the module, and on everything, by import path.
func ours(t *testing.T) (own, all map[string]listed) {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatal(err)
	}
	own = map[string]listed{}
	for path, p := range all {
		if strings.HasPrefix(path, module+"/") {
			own[p.name()] = p
		}
	}
	if len(own) < 5 {
		t.Fatalf("go list found only %d packages", len(own))
	}
	return own, all
}

// checked is one package with its syntax and types; test files are left out.
type checked struct {
	name  string // path inside the module
	fset  *token.FileSet
	files []*ast.File
	types *types.Package
	info  *types.Info
}

var checkAll = sync.OnceValues(func() (map[string]*checked, error) {
	all, err := list()
	if err != nil {
		return nil, err
	}
	packages := map[string]*checked{}
	for _, p := range all {
		if !strings.HasPrefix(p.ImportPath, module+"/") || len(p.GoFiles) == 0 {
			continue
		}
		sources := map[string]any{}
		for _, file := range p.GoFiles {
			sources[filepath.Join(p.Dir, file)] = nil
		}
		c, err := check(p.ImportPath, sources)
		if err != nil {
			return nil, err
		}
		packages[c.name] = c
	}
	return packages, nil
})

// check parses and type-checks one package from its files, given as text or, if nil, read from disk. Imports come from the compiler's
// export data, so nothing else is parsed.
func check(importPath string, sources map[string]any) (*checked, error) {
	all, err := list()
	if err != nil {
		return nil, err
	}
	c := &checked{name: strings.TrimPrefix(importPath, module+"/"), fset: token.NewFileSet(), info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}}
	for file, text := range sources {
		f, err := parser.ParseFile(c.fset, file, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(all[path].Export) }
	conf := types.Config{Importer: importer.ForCompiler(c.fset, "gc", open)}
	c.types, err = conf.Check(importPath, c.fset, c.files, c.info)
	return c, err
}

// packages returns all packages of the module, parsed and type-checked.
func packages(t *testing.T) map[string]*checked {
	t.Helper()
	p, err := checkAll()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// at names a position by its path inside the repository.
func (c *checked) at(pos token.Pos) string {
	p := c.fset.Position(pos)
	return fmt.Sprintf("%s/%s:%d", c.name, filepath.Base(p.Filename), p.Line)
}

// in names the top-level function around a position, as package.Func or package.Type.Method.
func (c *checked) in(pos token.Pos) string {
	for _, f := range c.files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Pos() <= pos && pos < fn.End() {
				return c.name + "." + funcName(fn)
			}
		}
	}
	return c.name
}

func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	return receiver(fn) + "." + fn.Name.Name
}

// receiver is the name of a method's type.
func receiver(fn *ast.FuncDecl) string {
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// goFiles returns every Go file of the repository, those of nested modules too, by path inside it.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if path.Ext(file) == ".go" {
			name, err := filepath.Rel(root, file)
			files = append(files, filepath.ToSlash(name))
			return err
		}
		return nil
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files: %v", err)
	}
	return files
}

// exceptions is an allow-list that remembers which of its entries were needed.
type exceptions struct {
	reasons map[string]string
	used    map[string]bool
}

func allow(reasons map[string]string) *exceptions { return &exceptions{reasons, map[string]bool{}} }

func (e *exceptions) has(name string) bool {
	_, ok := e.reasons[name]
	e.used[name] = e.used[name] || ok
	return ok
}

// unused fails for each entry that nothing needed.
func (e *exceptions) unused(t *testing.T) {
	t.Helper()
	for name := range e.reasons {
		if !e.used[name] {
			t.Errorf("the exception %q is no longer needed: take it out", name)
		}
	}
}
