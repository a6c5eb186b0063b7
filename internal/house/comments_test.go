package house

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// undocumented finds exported names without a comment that begins with them. A group of constants or variables may be told as a group,
// or each by a comment behind it; a type's comment may begin with an article.
func (c *checked) undocumented(report func(at ast.Node, why string)) {
	for _, f := range c.files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				hidden := d.Recv != nil && !ast.IsExported(receiver(d))
				if d.Name.IsExported() && !hidden && !beginsWith(d.Doc, d.Name.Name) {
					report(d, funcName(d)+" has no comment that begins with its name")
				}
			case *ast.GenDecl:
				undocumentedSpecs(d, report)
			}
		}
	}
}

func undocumentedSpecs(d *ast.GenDecl, report func(at ast.Node, why string)) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			doc := s.Doc
			if doc == nil && !d.Lparen.IsValid() {
				doc = d.Doc
			}
			if s.Name.IsExported() && !beginsWith(doc, s.Name.Name) {
				report(s, s.Name.Name+" has no comment that begins with its name")
			}
		case *ast.ValueSpec:
			told := s.Comment != nil || d.Lparen.IsValid() && d.Doc != nil
			for _, id := range s.Names {
				own := s.Doc
				if own == nil && !d.Lparen.IsValid() {
					own = d.Doc
				}
				if id.IsExported() && !told && !beginsWith(own, id.Name) {
					report(s, id.Name+" has no comment")
				}
			}
		}
	}
}

func beginsWith(doc *ast.CommentGroup, name string) bool {
	words := strings.Fields(doc.Text())
	if len(words) > 1 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	return len(words) > 1 && strings.TrimRight(words[0], ",:") == name
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		p.undocumented(func(at ast.Node, why string) { t.Errorf("%s: %s", p.at(at.Pos()), why) })
	}
}

// Each package says what it is, once, and a room says it in its doc.go.
func TestEveryPackageIsDocumented(t *testing.T) {
	for name, p := range packages(t) {
		var with []string
		for _, f := range p.files {
			if f.Doc != nil {
				with = append(with, filepath.Base(p.fset.File(f.Pos()).Name()))
			}
		}
		if len(with) != 1 {
			t.Errorf("package %s has %d package comments: %v", name, len(with), with)
		}
		if slices.Contains(rooms, name) && !slices.Contains(with, "doc.go") {
			t.Errorf("room %s has no doc.go", name)
		}
	}
}

// Limits in lines.
const (
	maxDoc      = 40
	maxFile     = 500
	maxFunction = 80
)

func TestSizes(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.files {
			file := p.fset.File(f.Pos())
			if ast.IsGenerated(f) {
				continue
			}
			limit := maxFile
			if filepath.Base(file.Name()) == "doc.go" {
				limit = maxDoc
			}
			if n := lines(t, file); n > limit {
				t.Errorf("%s has %d lines, more than %d: cut it along its ideas", p.at(f.Pos()), n, limit)
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok {
					if n := file.Line(fn.End()) - file.Line(fn.Pos()) + 1; n > maxFunction {
						t.Errorf("%s: %s has %d lines, more than %d", p.at(fn.Pos()), funcName(fn), n, maxFunction)
					}
				}
			}
		}
	}
}

func lines(t *testing.T, file *token.File) int {
	t.Helper()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}
