package form

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// What the value of a keyword holds.
const (
	plain = iota // no schema
	one          // a schema
	list         // several, in a list
	named        // several, by name
)

// keywords are those of draft 2020-12 that a form may use. Left out are those that reach beyond the document or beyond its text ($id,
// $anchor, $dynamicRef, $vocabulary), those of older drafts, and propertyNames, whose faults the validator puts in wrong places.
var keywords = map[string]int{
	"$schema": plain, "$ref": plain, "$comment": plain, "$defs": named,
	"properties": named, "patternProperties": named, "additionalProperties": one, "unevaluatedProperties": one, "dependentSchemas": named,
	"prefixItems": list, "items": one, "contains": one, "unevaluatedItems": one,
	"allOf": list, "anyOf": list, "oneOf": list, "not": one, "if": one, "then": one, "else": one,
	"type": plain, "enum": plain, "const": plain, "format": plain, "pattern": plain, "minLength": plain, "maxLength": plain,
	"minimum": plain, "maximum": plain, "exclusiveMinimum": plain, "exclusiveMaximum": plain, "multipleOf": plain,
	"minItems": plain, "maxItems": plain, "uniqueItems": plain, "minContains": plain, "maxContains": plain,
	"required": plain, "dependentRequired": plain, "minProperties": plain, "maxProperties": plain,
	"title": plain, "description": plain, "default": plain, "examples": plain, "deprecated": plain, "readOnly": plain, "writeOnly": plain,
	"contentEncoding": plain, "contentMediaType": plain, "contentSchema": one,
}

var counts = []string{"minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains", "minProperties", "maxProperties"}

// fieldName tells whether a section or field may be named so.
func fieldName(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name[:1], lower) == "" && strings.Trim(name, lower+digits+"_") == ""
}

// node is one schema within a form, and what other schemas say about the same value and about those within it.
type node struct {
	at         path
	keywords   map[string]any // nil for true and false
	open       bool           // true, or {}
	properties map[string]*node
	patterns   []pattern
	others     []*node // for properties that are not named
	prefix     []*node
	items      []*node
	contains   []*node // tests for items
	beside     []*node // describe the same value
	tests      []*node // for the same value; what they name is asked, not described
	steps      int64   // of its regular expression, for one character
	extent     int64   // of what it lists
	visited    int
}

// pattern is a schema for properties whose name matches.
type pattern struct {
	name  *regexp.Regexp
	steps int64
	node  *node
}

// surveyor walks a schema as far as it is one; where it is none, the meta-schema says so.
type surveyor struct {
	root   *node
	nodes  map[string]*node // by JSON pointer
	fields map[string]bool  // by place among the answers
	faults []Fault
}

func survey(schema any) *surveyor {
	s := &surveyor{nodes: map[string]*node{}, fields: map[string]bool{}}
	s.root = s.walk(schema, "", nil, nil)
	if s.root.keywords == nil {
		s.fault(nil, "format", "must be an object")
		return s
	}
	for _, n := range s.nodes {
		s.refer(n)
	}
	s.sections()
	if len(s.fields) > maxFields {
		s.fault(nil, "too_long", fmt.Sprintf("must have at most %d fields", maxFields))
	}
	if len(s.nodes) > maxSchemas {
		s.fault(nil, "too_long", fmt.Sprintf("must be of at most %d schemas", maxSchemas))
	}
	return s
}

func (s *surveyor) fault(at path, code, message string) {
	s.faults = append(s.faults, Fault{at.String(), code, message})
}

// walk makes a node of a schema and of all schemas in it. Place is where among the answers its values are.
func (s *surveyor) walk(schema any, pointer string, at, place path) *node {
	n := &node{at: at, open: schema == true}
	s.nodes[pointer] = n
	object, ok := schema.(map[string]any)
	if !ok {
		return n
	}
	n.keywords, n.open, n.properties = object, len(object) == 0, map[string]*node{}
	for _, keyword := range slices.Sorted(maps.Keys(object)) {
		value := object[keyword]
		holds, known := keywords[keyword]
		if !known && !strings.HasPrefix(keyword, "x-") {
			s.fault(at.key(keyword), "format", "must be a keyword that forms may use, or begin with x-")
		}
		pointer, at := pointer+"/"+keyword, at.key(keyword)
		switch v := value.(type) {
		case []any:
			for i := 0; holds == list && i < len(v); i++ {
				s.adopt(n, keyword, "", s.walk(v[i], pointer+"/"+strconv.Itoa(i), at.index(i), within(place, keyword, "")))
			}
		case map[string]any:
			if holds == one {
				s.adopt(n, keyword, "", s.walk(v, pointer, at, within(place, keyword, "")))
			}
			for _, name := range slices.Sorted(maps.Keys(v)) {
				if holds == named {
					s.adopt(n, keyword, name, s.walk(v[name], pointer+"/"+escaped.Replace(name), at.key(name), within(place, keyword, name)))
				}
			}
		case bool:
			if holds == one {
				s.adopt(n, keyword, "", s.walk(v, pointer, at, place))
			}
		}
	}
	s.check(n, place)
	return n
}

var escaped = strings.NewReplacer("~", "~0", "/", "~1")

// within is the place that a keyword of a schema for place speaks of.
func within(place path, keyword, name string) path {
	switch keyword {
	case "properties", "patternProperties":
		return append(slices.Clip(place), name)
	case "$defs":
		return path{"", name} // wherever it is referred to
	case "additionalProperties", "unevaluatedProperties", "prefixItems", "items", "unevaluatedItems", "contains":
		return append(slices.Clip(place), "[]")
	}
	return place
}

// adopt says what a schema that stands under a keyword of n is to it.
func (s *surveyor) adopt(n *node, keyword, name string, sub *node) {
	switch keyword {
	case "properties":
		n.properties[name] = sub
	case "patternProperties":
		if expression, steps := s.expression(n.at.key(keyword).key(name), name); expression != nil {
			n.patterns = append(n.patterns, pattern{expression, steps, sub})
		}
	case "additionalProperties", "unevaluatedProperties":
		if sub.open || sub.keywords != nil {
			n.others = append(n.others, sub)
		}
	case "prefixItems":
		n.prefix = append(n.prefix, sub)
	case "items", "unevaluatedItems":
		n.items = append(n.items, sub)
	case "contains":
		n.contains = append(n.contains, sub)
	case "allOf", "anyOf", "oneOf", "then", "else", "dependentSchemas":
		n.beside = append(n.beside, sub)
	case "if", "not":
		n.tests = append(n.tests, sub)
	}
}

// check looks at the keywords of one schema that forms restrict.
func (s *surveyor) check(n *node, place path) {
	for name := range n.properties {
		if !fieldName(name) {
			s.fault(n.at.key("properties").key(name), "format", "must be named by a letter and up to 62 letters, digits and underscores, in lower case")
		}
		if len(place) > 0 {
			s.fields[strings.Join(append(slices.Clip(place), name), "/")] = true
		}
	}
	if dialect, ok := n.keywords["$schema"].(string); ok && (len(n.at) > 0 || strings.TrimSuffix(dialect, "#") != jsonschema.Draft2020.String()) {
		s.fault(n.at.key("$schema"), "unknown_code", "must be that of draft 2020-12, once, at the top")
	}
	if format, ok := n.keywords["format"].(string); ok {
		want := map[string]string{"link": "string", "file": "object"}[format]
		if formats[format] == "" {
			s.fault(n.at.key("format"), "unknown_code", "must be a format that is checked")
		} else if want != "" && n.keywords["type"] != want {
			s.fault(n.at.key("format"), "format", "must stand beside the type "+want)
		}
	}
	if text, ok := n.keywords["pattern"].(string); ok {
		_, n.steps = s.expression(n.at.key("pattern"), text)
	}
	for _, keyword := range []string{"enum", "const", "required", "dependentRequired"} {
		n.extent += extent(n.keywords[keyword]) / 16
	}
	for _, keyword := range counts {
		if number, ok := n.keywords[keyword].(json.Number); ok {
			if _, err := strconv.ParseInt(string(number), 10, 32); err != nil {
				s.fault(n.at.key(keyword), "range", "must be a whole number below 2147483648")
			}
		}
	}
}

const maxSteps = 10_000

// expression compiles a regular expression and tells how many steps one character can take.
func (s *surveyor) expression(at path, text string) (*regexp.Regexp, int64) {
	compiled, err := regexp.Compile(text)
	if err != nil {
		s.fault(at, "format", "must be "+regularExpression)
		return nil, 0
	}
	steps := int64(maxSteps + 1)
	if parsed, err := syntax.Parse(text, syntax.Perl); err == nil {
		if program, err := syntax.Compile(parsed.Simplify()); err == nil {
			steps = int64(len(program.Inst))
		}
	}
	if steps > maxSteps {
		s.fault(at, "too_long", "must be a simpler regular expression")
	}
	return compiled, steps
}

// refer ties a reference to the schema that it names.
func (s *surveyor) refer(n *node) {
	ref, ok := n.keywords["$ref"].(string)
	if !ok {
		return
	}
	pointer, err := url.PathUnescape(strings.TrimPrefix(ref, "#"))
	target := s.nodes[pointer]
	switch {
	case !strings.HasPrefix(ref, "#/") || err != nil:
		s.fault(n.at.key("$ref"), "format", "must point into the form itself, as in #/$defs/address")
	case target == nil:
		s.fault(n.at.key("$ref"), "unknown_code", "must point to a schema of the form")
	default:
		n.beside = append(n.beside, target)
	}
}

// cycles refuses schemas that describe a value by themselves: the validator would have nothing to say but that.
func (s *surveyor) cycles() {
	for _, pointer := range slices.Sorted(maps.Keys(s.nodes)) { // always the same of several that go round
		s.visit(s.nodes[pointer])
	}
}

func (s *surveyor) visit(n *node) {
	const begun, done = 1, 2
	if n.visited == begun {
		s.fault(n.at, "format", "must not refer to itself for the same value")
	}
	if n.visited != 0 {
		return
	}
	n.visited = begun
	for _, other := range n.beside {
		s.visit(other)
	}
	for _, other := range n.tests {
		s.visit(other)
	}
	n.visited = done
}

// sections checks what makes a schema a form.
func (s *surveyor) sections() {
	object := func(n *node) {
		if kind, ok := n.keywords["type"]; !ok {
			s.fault(n.at.key("type"), "required", "must be object")
		} else if kind != "object" {
			s.fault(n.at.key("type"), "unknown_code", "must be object")
		}
		if _, ok := n.keywords["properties"].(map[string]any); !ok {
			s.fault(n.at.key("properties"), "required", "must be an object of schemas by their name")
		}
	}
	object(s.root)
	if n := len(s.root.properties); n > maxSections {
		s.fault(s.root.at.key("properties"), "too_long", fmt.Sprintf("must be at most %d sections", maxSections))
	} else if _, ok := s.root.keywords["properties"].(map[string]any); ok && n == 0 {
		s.fault(s.root.at.key("properties"), "required", "must be at least one section")
	}
	s.asked(s.root, func(name string) bool { return s.root.properties[name] != nil })
	for _, section := range s.root.properties {
		object(section)
		all := section.closure(nil)
		s.asked(section, func(name string) bool { return slices.ContainsFunc(all, func(n *node) bool { return n.knows(name) }) })
	}
}

// asked refuses to require what nobody may answer.
func (s *surveyor) asked(n *node, known func(string) bool) {
	names, _ := n.keywords["required"].([]any)
	for i, name := range names {
		if name, ok := name.(string); ok && !known(name) {
			s.fault(n.at.key("required").index(i), "unknown_code", "must be named among the properties")
		}
	}
}

// closure adds to all the schemas that describe the same value: n, and those beside it.
func (n *node) closure(all []*node) []*node {
	if slices.Contains(all, n) {
		return all
	}
	all = append(all, n)
	for _, other := range n.beside {
		all = other.closure(all)
	}
	return all
}

// knows tells whether n has a word on a property of that name.
func (n *node) knows(name string) bool {
	matches := func(p pattern) bool { return p.name.MatchString(name) }
	return n.properties[name] != nil || len(n.others) > 0 || slices.ContainsFunc(n.patterns, matches) ||
		n.keywords["format"] == "file" && slices.Contains(fileFields, name)
}

// children returns the schemas of a property.
func children(all []*node, name string) (by []*node) {
	for _, n := range all {
		before := len(by)
		if sub := n.properties[name]; sub != nil {
			by = append(by, sub)
		}
		for _, p := range n.patterns {
			if p.name.MatchString(name) {
				by = append(by, p.node)
			}
		}
		if len(by) == before {
			by = append(by, n.others...)
		}
	}
	return by
}

// elements returns the schemas of an item.
func elements(all []*node, i int) (by []*node) {
	for _, n := range all {
		if i < len(n.prefix) {
			by = append(by, n.prefix[i])
		} else {
			by = append(by, n.items...)
		}
	}
	return by
}
