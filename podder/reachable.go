package podder

import "reflect"

// typeSet is a set of types.
type typeSet map[reflect.Type]struct{}

// reachable returns the types that a value of type t can lead to without
// passing an interface: t itself, what its pointers, slices, maps and stored
// fields have as types. Callers must not change the set.
func (r *Registry) reachable(t reflect.Type) typeSet {
	r.mu.RLock()
	set, ok := r.closure[t]
	r.mu.RUnlock()
	if ok {
		return set
	}
	set = typeSet{}
	todo := []reflect.Type{t}
	for len(todo) > 0 {
		u := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, ok := set[u]; ok {
			continue
		}
		set[u] = struct{}{}
		todo = r.appendParts(todo, u)
	}
	r.mu.Lock()
	r.closure[t] = set
	r.mu.Unlock()
	return set
}

func (r *Registry) appendParts(todo []reflect.Type, t reflect.Type) []reflect.Type {
	// A value with MarshalPod hands over what it has, as a rule.
	if h, ok := r.codec(t).(*handCodec); r.codec(t) != nil && !(ok && h.fields) || isSync(t) {
		return todo
	}
	if elem, _, ok := cellOf(t); ok {
		return append(todo, elem)
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		todo = append(todo, t.Elem())
	case reflect.Map:
		todo = append(todo, t.Key(), t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); !skipField(f) {
				todo = append(todo, f.Type)
			}
		}
	}
	return todo
}
