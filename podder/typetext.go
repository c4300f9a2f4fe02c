package podder

import (
	"reflect"
	"strconv"
	"strings"
)

// maxTypeText bounds the text of one type, in bytes.
const maxTypeText = 64 << 10

// typeText returns the text that stands for t in stored data: Go's syntax
// without spaces inside brackets, named types by registered name or else by
// import path and name.
func (r *Registry) typeText(t reflect.Type) string {
	r.mu.RLock()
	s, ok := r.texts[t]
	r.mu.RUnlock()
	if ok {
		return s
	}
	s = r.makeText(t)
	r.mu.Lock()
	r.texts[t] = s
	r.mu.Unlock()
	return s
}

func (r *Registry) makeText(t reflect.Type) string {
	r.mu.RLock()
	name, ok := r.names[t]
	r.mu.RUnlock()
	if ok {
		return name
	}
	if t.Name() != "" {
		if t.PkgPath() == "" {
			return t.Name()
		}
		if text := r.ownText(t); text != "" {
			return text
		}
		return t.PkgPath() + "." + t.Name()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + r.typeText(t.Elem())
	case reflect.Slice:
		return "[]" + r.typeText(t.Elem())
	case reflect.Array:
		return "[" + strconv.Itoa(t.Len()) + "]" + r.typeText(t.Elem())
	case reflect.Map:
		return "map[" + r.typeText(t.Key()) + "]" + r.typeText(t.Elem())
	case reflect.Struct:
		return r.structText(t)
	case reflect.Interface:
		return r.interfaceText(t)
	case reflect.Func:
		return "func" + r.signatureText(t)
	case reflect.Chan:
		switch t.ChanDir() {
		case reflect.RecvDir:
			return "<-chan " + r.typeText(t.Elem())
		case reflect.SendDir:
			return "chan<- " + r.typeText(t.Elem())
		}
		return "chan (" + r.typeText(t.Elem()) + ")"
	}
	return t.String()
}

// structText writes what makes two struct types different: names (unexported
// ones with their package), types, embedding and tags.
func (r *Registry) structText(t reflect.Type) string {
	var b strings.Builder
	b.WriteString("struct{")
	for i := range t.NumField() {
		f := t.Field(i)
		if i > 0 {
			b.WriteString("; ")
		}
		if !f.Anonymous {
			if f.PkgPath != "" {
				b.WriteString(f.PkgPath + ".")
			}
			b.WriteString(f.Name + " ")
		}
		b.WriteString(r.typeText(f.Type))
		if f.Tag != "" {
			b.WriteString(" " + strconv.Quote(string(f.Tag)))
		}
	}
	b.WriteString("}")
	return b.String()
}

func (r *Registry) interfaceText(t reflect.Type) string {
	if t.NumMethod() == 0 {
		return "any"
	}
	var b strings.Builder
	b.WriteString("interface{")
	for i := range t.NumMethod() {
		m := t.Method(i)
		if i > 0 {
			b.WriteString("; ")
		}
		if m.PkgPath != "" {
			b.WriteString(m.PkgPath + ".")
		}
		b.WriteString(m.Name + r.signatureText(m.Type))
	}
	b.WriteString("}")
	return b.String()
}

func (r *Registry) signatureText(t reflect.Type) string {
	var b strings.Builder
	b.WriteString("(")
	for i := range t.NumIn() {
		if i > 0 {
			b.WriteString(", ")
		}
		if t.IsVariadic() && i == t.NumIn()-1 {
			b.WriteString("..." + r.typeText(t.In(i).Elem()))
			continue
		}
		b.WriteString(r.typeText(t.In(i)))
	}
	b.WriteString(")")
	for i := range t.NumOut() {
		if i == 0 {
			b.WriteString(" (")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(r.typeText(t.Out(i)))
	}
	if t.NumOut() > 0 {
		b.WriteString(")")
	}
	return b.String()
}

// textIs reports whether text, as stored, stands for t: by t's text, or part
// by part with aliases.
func (r *Registry) textIs(text string, t reflect.Type) bool {
	if text == r.typeText(t) {
		return true
	}
	if u, ok := r.registered(text); ok {
		return u == t
	}
	if t.Name() != "" {
		return r.ownTextIs(text, t)
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		prefix := "*"
		switch t.Kind() {
		case reflect.Slice:
			prefix = "[]"
		case reflect.Array:
			prefix = "[" + strconv.Itoa(t.Len()) + "]"
		}
		rest, ok := strings.CutPrefix(text, prefix)
		return ok && r.textIs(rest, t.Elem())
	case reflect.Map:
		key, elem, ok := splitMapText(text)
		return ok && r.textIs(key, t.Key()) && r.textIs(elem, t.Elem())
	}
	return false
}

// splitMapText cuts map[K]V into K and V.
func splitMapText(text string) (key, elem string, ok bool) {
	rest, ok := strings.CutPrefix(text, "map[")
	if !ok {
		return "", "", false
	}
	depth := 0
	quoted := false
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '[':
			depth++
		case c == ']':
			if depth == 0 {
				return rest[:i], rest[i+1:], true
			}
			depth--
		}
	}
	return "", "", false
}
