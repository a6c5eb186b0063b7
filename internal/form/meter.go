package form

import "encoding/json"

// maxWork is how many times a check may look at a value, and what takes as long: a microsecond or less each.
const maxWork = 200_000

// meter goes the ways that the validator will go and counts. References make a short text stand for a long one: one that doubles with each
// line, or with each level of the answers, would keep the validator at it for years.
type meter struct{ left int64 }

// look counts what it takes to hold a value to n, which stands so deep among schemas for the same value.
func (m *meter) look(value any, n *node, deep int64) {
	if m.left -= 1 + deep/32 + n.extent; m.left < 0 { // the validator looks for cycles each time
		return
	}
	for _, other := range n.beside {
		m.look(value, other, deep+1)
	}
	for _, other := range n.tests {
		m.look(value, other, deep+1)
	}
	switch v := value.(type) {
	case string:
		m.left -= n.steps * int64(len(v)) / 64
	case map[string]any:
		m.left -= int64(len(v)) / 8
		for name, value := range v {
			if m.left >= 0 {
				m.property(name, value, n)
			}
		}
	case []any:
		m.items(v, n)
	}
}

func (m *meter) items(list []any, n *node) {
	if len(n.items)+len(n.contains) == 0 {
		list = list[:min(len(list), len(n.prefix))]
	}
	for i, item := range list {
		by := n.items
		if i < len(n.prefix) {
			by = n.prefix[i : i+1]
		}
		for _, sub := range by {
			m.look(item, sub, 0)
		}
		for _, sub := range n.contains {
			m.look(item, sub, 0)
		}
		if m.left < 0 {
			return
		}
	}
}

func (m *meter) property(name string, value any, n *node) {
	if sub := n.properties[name]; sub != nil {
		m.look(value, sub, 0)
	}
	for _, p := range n.patterns {
		if m.left -= 1 + p.steps*int64(len(name))/64; m.left >= 0 && p.name.MatchString(name) {
			m.look(value, p.node, 0)
		}
	}
	for _, sub := range n.others {
		if m.left >= 0 {
			m.look(value, sub, 0)
		}
	}
}

// extent is how long it takes to compare with what a schema lists; numbers are compared exactly.
func extent(value any) int64 {
	sum := int64(1)
	switch v := value.(type) {
	case json.Number:
		return 16
	case []any:
		for _, item := range v {
			sum += extent(item)
		}
	case map[string]any:
		for _, item := range v {
			sum += extent(item)
		}
	}
	return sum
}
