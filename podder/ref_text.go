package podder

import (
	"reflect"
	"strings"
)

// The name of a generic type has those of its arguments in full. For the types that
// this module gives to programs (Ref, and Map with its nodes) they are written by
// their own texts, so that a registered name or an alias of a type holds for the Refs
// and Maps of it as well.

// ownArgs returns the type arguments of a generic type of this module, nil if t is
// none.
func ownArgs(t reflect.Type) []reflect.Type {
	if elem, ok := refOf(t); ok {
		return []reflect.Type{elem}
	}
	if t.PkgPath() != databasePackage || t.Kind() != reflect.Struct || !strings.HasSuffix(t.Name(), "]") {
		return nil
	}
	name, _, _ := strings.Cut(t.Name(), "[")
	field := func(n string) reflect.Type {
		if f, ok := t.FieldByName(n); ok {
			return f.Type
		}
		return anyType
	}
	switch name {
	case "MapEntry":
		return []reflect.Type{field("Key"), field("Value")}
	case "mapNode":
		if entries := field("Entries"); entries.Kind() == reflect.Slice {
			return ownArgs(entries.Elem())
		}
	case "Map", "mapChild":
		at := "root"
		if name == "mapChild" {
			at = "Node"
		}
		if node, ok := refOf(field(at)); ok {
			return ownArgs(node)
		}
	}
	return nil
}

// ownText returns the text of a generic type of this module, "" if t is none.
func (r *Registry) ownText(t reflect.Type) string {
	args := ownArgs(t)
	if len(args) == 0 {
		return ""
	}
	texts := make([]string, len(args))
	for i, a := range args {
		texts[i] = r.typeText(a)
	}
	return ownName(t) + strings.Join(texts, ",") + "]"
}

// ownName returns the text of a generic type up to its arguments.
func ownName(t reflect.Type) string {
	name, _, _ := strings.Cut(t.Name(), "[")
	return t.PkgPath() + "." + name + "["
}

// ownTextIs is textIs for generic types of this module.
func (r *Registry) ownTextIs(text string, t reflect.Type) bool {
	args := ownArgs(t)
	if len(args) == 0 {
		return false
	}
	rest, ok := strings.CutPrefix(text, ownName(t))
	if !ok || !strings.HasSuffix(rest, "]") {
		return false
	}
	texts := splitArgs(strings.TrimSuffix(rest, "]"))
	if len(texts) != len(args) {
		return false
	}
	for i, a := range args {
		if !r.textIs(texts[i], a) {
			return false
		}
	}
	return true
}

// findOwn returns the generic type of this module in the closure of what is wanted for
// which a text stands by aliases of its arguments, nil if there is none.
func (l *loader) findOwn(text string) reflect.Type {
	if !strings.HasPrefix(text, databasePackage+".") {
		return nil
	}
	for _, t := range l.wanted {
		for u := range l.reg.reachable(t) {
			if l.reg.ownTextIs(text, u) {
				return u
			}
		}
	}
	return nil
}

// pointerText returns the text of the pointer as which a Ref is stored; other texts as
// they are.
func pointerText(text string) string {
	for _, pkg := range []string{databasePackage, refType.PkgPath()} {
		if rest, ok := strings.CutPrefix(text, pkg+".Ref["); ok && strings.HasSuffix(rest, "]") {
			return "*" + strings.TrimSuffix(rest, "]")
		}
	}
	return text
}

// splitArgs cuts a list of type texts at its commas.
func splitArgs(list string) (texts []string) {
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted = true
		case strings.IndexByte("[({", c) >= 0:
			depth++
		case strings.IndexByte("])}", c) >= 0:
			depth--
		case c == ',' && depth == 0:
			texts = append(texts, list[start:i])
			start = i + 1
		}
	}
	return append(texts, list[start:])
}
