package podder

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
)

// mismatch is the error for a stored type that does not fit the program's.
func (c *compiler) mismatch(path string, n *node, t reflect.Type) error {
	stored, have, hint := n.text, c.reg.typeText(t), ""
	// Kinds where they are what differs and the texts do not say so.
	if a, b := n.kindName(), c.reg.kindName(t); a == b {
		hint = c.reg.renameHint(n.text, t)
	} else if a != stored || b != have {
		stored, have = stored+" ("+a+")", have+" ("+b+")"
	}
	return fmt.Errorf("%s: stored as %s, the program has %s%s: %w", path, stored, have, hint, dberr.ErrTypeMismatch)
}

// renameHint is the call that lets values stored as text load as t, if each is,
// behind the same pointers, slices, arrays and maps, a type with a name of its own;
// else empty.
func (r *Registry) renameHint(text string, t reflect.Type) string {
	if t.Name() == "" {
		switch t.Kind() {
		case reflect.Pointer:
			return r.elemHint(text, "*", t)
		case reflect.Slice:
			return r.elemHint(text, "[]", t)
		case reflect.Array:
			return r.elemHint(text, fmt.Sprintf("[%d]", t.Len()), t)
		case reflect.Map:
			return r.mapHint(text, t)
		}
		return ""
	}
	if _, ok := predeclaredByText(text); ok || t.PkgPath() == "" || r.builtin[text] != nil || !hasOwnName(text) || r.textIs(text, t) {
		return ""
	}
	have := r.typeText(t)
	return fmt.Sprintf("; if %s is called %s now, register that before opening: db.Register[T](%q, db.Alias(%q))", text, have, have, text)
}

// elemHint is renameHint for the elements of t, before whose text stands mark.
func (r *Registry) elemHint(text, mark string, t reflect.Type) string {
	if elem, ok := strings.CutPrefix(text, mark); ok {
		return r.renameHint(elem, t.Elem())
	}
	return ""
}

// mapHint is renameHint for key and element of t: nothing if one of them has
// become another type that is no renamed one.
func (r *Registry) mapHint(text string, t reflect.Type) string {
	key, elem, ok := splitMapText(text)
	if !ok {
		return ""
	}
	hints := ""
	for _, part := range []struct {
		text string
		t    reflect.Type
	}{{key, t.Key()}, {elem, t.Elem()}} {
		if r.textIs(part.text, part.t) {
			continue
		}
		hint := r.renameHint(part.text, part.t)
		if hint == "" {
			return ""
		}
		if hint != hints {
			hints += hint
		}
	}
	return hints
}

// hasOwnName tells the text of a type with a name from that of one made of others.
func hasOwnName(text string) bool {
	for _, made := range []string{"*", "[", "map[", "struct{", "interface{", "interface {", "func(", "chan ", "<-chan "} {
		if strings.HasPrefix(text, made) {
			return false
		}
	}
	return text != ""
}

// kindName names how values are stored, in the words of package reflect.
func (n *node) kindName() string {
	switch n.kind {
	case nodeBasic:
		return basicKind(n.basic).String()
	case nodePointer:
		return "ptr"
	case nodeSlice:
		return "slice"
	case nodeArray:
		return "array"
	case nodeMap, nodeEntries:
		return "map"
	case nodeStruct:
		return "struct"
	case nodeInterface:
		return "interface"
	case nodeNamed:
		return "value"
	case nodeCodec, nodeHanded:
		return fmt.Sprintf("codec %s %d", n.codec, n.version)
	}
	return "func or chan"
}

// kindName is node.kindName for a type of the program.
func (r *Registry) kindName(t reflect.Type) string {
	if codec := r.codec(t); codec != nil {
		return fmt.Sprintf("codec %s %d", codec.name(), codec.version())
	}
	if r.kindOf(t) == nodeNilOnly {
		return "func or chan"
	}
	return t.Kind().String()
}
