// Package form holds questionnaires: versioned JSON Schemas (draft 2020-12) whose top properties are sections, and answers to them.
//
// A form is closed and bounded. It says everything within one document, so nothing is loaded from anywhere; answers hold only fields that
// it names; and neither a form nor answers of the sizes allowed here take long to read, whoever wrote them.
package form

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Limits of schemas and of answers.
const (
	maxSchema   = 256 << 10
	maxAnswers  = 1 << 20
	maxDepth    = 16
	maxValues   = 20_000 // of either, and so the most faults there can be
	maxSections = 50
	maxFields   = 1000
	maxSchemas  = 5000 // the compiler's time grows with the square of it
)

// Form is one parsed questionnaire. It does not change, and many may use it at once.
type Form struct {
	text     []byte
	sections []Section
	compiled *jsonschema.Schema
	root     *node
}

// Section is one part of a form, by its name among the answers and the title that people read; the title may be empty.
type Section struct{ Name, Title string }

// Fault is one thing wrong with a schema or with answers. Path is where, as in "about.images[2].sha256", and empty for the whole; where a
// key is not fit for a path, it is that of the object around it. Code is required, format, range, too_long or unknown_code. Message says
// what it must be, and never what it is.
type Fault struct{ Path, Code, Message string }

// Parse reads a form's schema. Either there is a form or there are faults, in the order of their paths: all at once, but for a text that is
// not JSON of an allowed size, whose content is not looked at. Beyond draft 2020-12 it refuses what would check nothing without a word:
// keywords that nobody knows, unless they begin with "x-", and unknown formats.
func Parse(schema []byte) (*Form, []Fault) {
	t, faults := read(schema, maxSchema, "properties")
	if len(faults) > 0 {
		return nil, settle(faults)
	}
	s := survey(t.value)
	if s.root.keywords == nil {
		return nil, settle(s.faults)
	}
	faults = s.faults
	meta, err := metaSchema()
	if err == nil {
		err = meta.Validate(t.value)
	}
	if faults = append(faults, translate(t.value, err)...); len(faults) > 0 {
		return nil, settle(faults)
	}
	if s.cycles(); len(s.faults) > 0 {
		return nil, settle(s.faults)
	}
	compiled, err := compile(t.value)
	if err != nil {
		return nil, []Fault{{"", "format", "must be a schema of JSON Schema draft 2020-12"}}
	}
	f := &Form{text: bytes.Clone(schema), compiled: compiled, root: s.root}
	for _, name := range t.order {
		title, _ := s.root.properties[name].keywords["title"].(string)
		f.sections = append(f.sections, Section{Name: name, Title: title})
	}
	return f, nil
}

// Check holds answers to the form. Without faults it returns them as canonical JSON, which equal answers share: keys sorted, no white space
// between tokens, numbers as they were written. Faults come in the order of their paths, all at once, but for a text that is not JSON of an
// allowed size, whose content is not looked at. A required text that nobody can see, "" or blank, is missing.
func (f *Form) Check(values []byte) (kept []byte, faults []Fault) {
	t, faults := read(values, maxAnswers, "")
	if len(faults) > 0 {
		return nil, settle(faults)
	}
	m := meter{left: maxWork}
	if m.look(t.value, f.root, 0); m.left < 0 {
		return nil, []Fault{{"", "too_long", "must be shorter: there is too much to check"}}
	}
	faults = translate(t.value, f.compiled.Validate(t.value))
	if faults = append(faults, f.strangers(t.value)...); len(faults) > 0 {
		return nil, settle(faults)
	}
	return canonical(t.value), nil
}

// Sections returns the form's sections in the order in which the schema writes them.
func (f *Form) Sections() []Section { return slices.Clone(f.sections) }

// Schema returns the text that was parsed. The order of its keys is that of the sections: keep it as text.
func (f *Form) Schema() []byte { return bytes.Clone(f.text) }

// strangers finds what answers hold and the form does not name.
func (f *Form) strangers(answers any) (faults []Fault) {
	sections, ok := answers.(map[string]any)
	if !ok {
		return nil
	}
	for name, value := range sections {
		if f.root.properties[name] == nil {
			faults = append(faults, foreign(nil, name))
			continue
		}
		faults = unnamed(faults, value, children(f.root.closure(nil), name), path{name})
	}
	return faults
}

// unnamed finds the names within a value that none of the schemas that describe it knows. A schema that is true, or {}, knows them all if
// it stands alone.
func unnamed(faults []Fault, value any, by []*node, at path) []Fault {
	if len(by) > 0 && !slices.ContainsFunc(by, func(n *node) bool { return !n.open }) {
		return faults
	}
	var all []*node
	for _, n := range by {
		all = n.closure(all)
	}
	switch v := value.(type) {
	case map[string]any:
		for name, value := range v {
			if !slices.ContainsFunc(all, func(n *node) bool { return n.knows(name) }) {
				faults = append(faults, foreign(at, name))
			} else {
				faults = unnamed(faults, value, children(all, name), at.key(name))
			}
		}
	case []any:
		for i, value := range v {
			faults = unnamed(faults, value, elements(all, i), at.index(i))
		}
	}
	return faults
}

const home = "https://form.invalid/" // where a schema's references start; no such host can exist (RFC 2606)

// sealed refuses to load anything. The compiler would open files otherwise.
type sealed struct{}

var errSealed = errors.New("form: a schema refers to another document")

// Load implements jsonschema.URLLoader.
func (sealed) Load(string) (any, error) { return nil, errSealed }

// metaSchema is what every schema must satisfy.
func metaSchema() (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.UseLoader(sealed{})
	c.AssertFormat()
	return c.Compile(jsonschema.Draft2020.String())
}

func compile(schema any) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(sealed{})
	c.AssertFormat()
	for _, format := range ownFormats() {
		c.RegisterFormat(format)
	}
	c.RegisterVocabulary(&jsonschema.Vocabulary{URL: home + "answered", Compile: compileAnswered})
	c.AssertVocabs()
	if err := c.AddResource(home, schema); err != nil {
		return nil, fmt.Errorf("form: %w", err)
	}
	return c.Compile(home)
}
