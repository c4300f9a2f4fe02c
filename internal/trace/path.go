package trace

import (
	"fmt"
	"slices"
	"strings"
)

// path writes how a slot of the object at queue index at was reached from its
// variable; a negative slot means the object itself.
func (c *checker) path(at, slot int32) string {
	var parts []string
	for at >= 0 {
		v := &c.queue[at]
		if slot >= 0 {
			parts = append(parts, slotName(v.obj, int(slot)))
		}
		at, slot = v.parent, v.slot
	}
	parts = append(parts, c.names[-1-at])
	slices.Reverse(parts)
	return strings.Join(parts, "")
}

// slotName names the n-th value of an object as a Go program would reach it.
func slotName(obj any, n int) string {
	switch o := obj.(type) {
	case *List, *Tuple, *Set, *FrozenSet, *ObjArray:
		return fmt.Sprintf(".Items[%d]", n)
	case *Dict:
		return fmt.Sprintf(".Entries[%d].%s", n/2, [2]string{"Key", "Val"}[n%2])
	case *Object:
		if o.Class != nil && n < len(o.Class.Attrs) {
			return "." + o.Class.Attrs[n]
		}
		return fmt.Sprintf(".Values[%d]", n)
	case *Frame:
		if n == 0 {
			return ".Index"
		}
		return fmt.Sprintf(".Columns[%d].%s", (n-1)/2, [2]string{"Name", "Data"}[(n-1)%2])
	case *Series:
		return [...]string{".Name", ".Index", ".Data", ""}[min(n, 3)]
	case memory:
		if o.kind() == 'v' && n == 0 {
			return ".Owner"
		}
	}
	return ""
}
