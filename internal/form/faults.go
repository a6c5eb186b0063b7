package form

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Messages that several places use.
const (
	missing  = "must not be empty"
	stranger = "must be part of the form"
	shape    = "must have the form that is asked for"
)

var typeNames = map[string]string{"string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false",
	"array": "a list", "object": "an object", "null": "null"}

// foreign is the fault of a name in the object at a path that nobody knows there.
func foreign(at path, name string) Fault {
	if !tame(name) {
		return Fault{at.String(), "format", "must hold nothing but fields of the form"}
	}
	return Fault{at.key(name).String(), "format", stranger}
}

// settle puts faults in order and leaves out what one of them says already: a field that is missing, or no field at all, has no other fault.
func settle(faults []Fault) []Fault {
	final := func(f Fault) bool { return f.Code == "required" || f.Message == stranger }
	slices.SortFunc(faults, func(a, b Fault) int {
		last := func(f Fault) int {
			if final(f) {
				return 0
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.Path, b.Path), last(a)-last(b), strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
	})
	faults = slices.Compact(faults)
	kept := faults[:0]
	for _, f := range faults {
		if n := len(kept); n == 0 || kept[n-1].Path != f.Path || f.Path == "" || !final(kept[n-1]) {
			kept = append(kept, f)
		}
	}
	return kept
}

// translate says in our words what the validator found in value.
func translate(value any, err error) []Fault {
	var found *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &found):
		return translator{value}.faults(found)
	}
	return []Fault{{"", "format", shape}}
}

type translator struct{ value any }

// place is the path of a place that the validator names; it writes indices and names alike.
func (t translator) place(tokens []string) (at path) {
	value := t.value
	for _, token := range tokens {
		switch v := value.(type) {
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return at
			}
			at, value = at.index(i), v[i]
		case map[string]any:
			at, value = at.key(token), v[token]
		default:
			return at
		}
	}
	return at
}

// faults translates one finding, which may stand for several.
func (t translator) faults(e *jsonschema.ValidationError) (faults []Fault) {
	at := t.place(e.InstanceLocation)
	each := func(names []string, code, message string) []Fault {
		for _, name := range names {
			faults = append(faults, Fault{at.key(name).String(), code, message})
		}
		return faults
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
		for _, cause := range e.Causes {
			faults = append(faults, t.faults(cause)...)
		}
		return faults
	case *kind.Required:
		return each(k.Missing, "required", missing)
	case *kind.DependentRequired:
		return each(k.Missing, "required", missing)
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			faults = append(faults, foreign(at, name))
		}
		return faults
	case *kind.Format:
		return inFormat(at.String(), k)
	case *kind.UniqueItems:
		return []Fault{{at.index(k.Duplicates[1]).String(), "format", "must not repeat another item"}}
	case *kind.AnyOf:
		return []Fault{t.choice(e, at)}
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			return []Fault{{at.String(), "format", "must have only one of the forms that are allowed"}}
		}
		return []Fault{t.choice(e, at)}
	case *kind.PropertyNames:
		return nil // of the meta-schema, about regular expressions, which the survey reads itself
	}
	code, message := words(e.ErrorKind)
	return []Fault{{at.String(), code, message}}
}

// words is what is wrong with the value itself.
func words(k jsonschema.ErrorKind) (code, message string) {
	switch k := k.(type) {
	case *kind.Type:
		return "format", "must be " + typesIn(k.Want)
	case *kind.Enum:
		return "unknown_code", "must be one of the values that are offered"
	case *kind.Const:
		return "unknown_code", "must be the value that is asked for"
	case *kind.FalseSchema:
		return "format", "must not be given here"
	case *kind.Not:
		return "format", "must not have this form"
	case *kind.MinLength:
		return "range", "must be at least " + many(k.Want, "character")
	case *kind.MaxLength:
		return "too_long", "must be at most " + many(k.Want, "character")
	case *kind.MinItems:
		return "range", "must hold at least " + many(k.Want, "item")
	case *kind.MaxItems:
		return "too_long", "must hold at most " + many(k.Want, "item")
	case *kind.MinProperties:
		return "range", "must hold at least " + many(k.Want, "field")
	case *kind.MaxProperties:
		return "too_long", "must hold at most " + many(k.Want, "field")
	case *kind.Contains:
		return "range", "must hold at least 1 item of the form that is asked for"
	case *kind.MinContains:
		return "range", "must hold at least " + many(k.Want, "item") + " of the form that is asked for"
	case *kind.MaxContains:
		return "too_long", "must hold at most " + many(k.Want, "item") + " of the form that is asked for"
	case *kind.Minimum:
		return "range", "must be at least " + decimal(k.Want)
	case *kind.Maximum:
		return "range", "must be at most " + decimal(k.Want)
	case *kind.ExclusiveMinimum:
		return "range", "must be more than " + decimal(k.Want)
	case *kind.ExclusiveMaximum:
		return "range", "must be less than " + decimal(k.Want)
	case *kind.MultipleOf:
		return "range", "must be a multiple of " + decimal(k.Want)
	}
	return "format", shape // a pattern, or what the validator adds in a later version
}

func many(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func typesIn(names []string) string {
	var list []string
	for _, name := range names {
		list = append(list, typeNames[name])
	}
	return strings.Join(list, " or ")
}

// decimal writes a number of the schema in figures as long as they are, if that is not too long.
func decimal(r *big.Rat) string {
	figures, exact := r.FloatPrec()
	if text := r.FloatString(figures); exact && len(text) <= 40 {
		return text
	}
	f, _ := r.Float64()
	return fmt.Sprint(f)
}

// inFormat takes over what a format of ours says in its own words.
func inFormat(at string, k *kind.Format) (faults []Fault) {
	var own refused
	if errors.As(k.Err, &own) && len(own) > 0 {
		for _, f := range own {
			faults = append(faults, Fault{at + f.Path, f.Code, f.Message})
		}
		return faults
	}
	what := formats[k.Want]
	if k.Want == "regex" { // of a schema
		what = regularExpression
	}
	return []Fault{{at, "format", "must be " + what}}
}

// choice is the one fault of a value that fits none of several schemas. A list of values is often written so, each with a title, and so is
// a value that may be null.
func (t translator) choice(e *jsonschema.ValidationError, at path) Fault {
	var codes, types, elsewhere int
	var other []Fault
	for _, cause := range e.Causes {
		leaf := innermost(cause)
		switch leaf.ErrorKind.(type) {
		case *kind.Enum, *kind.Const:
			codes++
		case *kind.Type:
			types++
		default:
			other = t.faults(leaf)
		}
		if len(leaf.InstanceLocation) > len(e.InstanceLocation) {
			elsewhere++
		}
	}
	switch {
	case elsewhere == 0 && codes > 0 && codes+types == len(e.Causes):
		return Fault{at.String(), "unknown_code", "must be one of the values that are offered"}
	case elsewhere == 0 && len(other) == 1 && types+1 == len(e.Causes) && other[0].Path == at.String():
		return other[0]
	}
	return Fault{at.String(), "format", "must have one of the forms that are allowed"}
}

// innermost goes down to a finding through those that only say how it was come by.
func innermost(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	for len(e.Causes) == 1 {
		switch e.ErrorKind.(type) {
		case *kind.Reference, *kind.AllOf, *kind.Group:
			e = e.Causes[0]
		default:
			return e
		}
	}
	return e
}
