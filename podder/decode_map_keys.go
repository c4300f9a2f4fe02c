package podder

import (
	"fmt"
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
)

// Keys that were different, or could be compared, need not be so as keys of the
// program's type: then the file is sound and the type does not fit. Whether that is why is
// asked only after a map did not come out right.

// keysFail records that the keys of the map of a slot are not what was stored, for a
// reason that says how: that is damage if the program's key types are those that were
// stored, and else a type that does not fit. keys are values of the map's key type.
func (f *mapFiller) keysFail(s loadSlot, keys []reflect.Value, why string) {
	l, key := f.l, f.pl.key
	stored, now := f.pl.node.text, f.pl.typ
	if !key.changed && l.reg.storedAlike(f.pl.node.key, key.typ) {
		st := l.changedKey(keys)
		if st == nil {
			l.corrupt("%s", why)
			return
		}
		stored, now = st.node.text, st.typ
	}
	l.fail(fmt.Errorf("pod %d slot %d: %s: stored as %s, the program has another %s; keep what tells keys apart (a renamed field by its tag `pod:\",was=Old\"`), "+
		"or read the map with the type as it was and make a new one: %w", s.pod.id, s.slot, why, stored, l.reg.typeText(now), dberr.ErrTypeMismatch))
}

// changedKey returns a type that interfaces in the keys hold and that was stored with another
// layout; nil if there is none.
func (l *loader) changedKey(keys []reflect.Value) *storedType {
	held := typeSet{}
	for _, k := range keys {
		heldTypes(held, k)
	}
	var found *storedType
	look := func(st *storedType) {
		if _, ok := held[st.typ]; ok && (found == nil || st.id < found.id) && !l.reg.storedAlike(st.node, st.typ) {
			found = st
		}
	}
	for _, st := range l.types {
		look(st)
	}
	for _, st := range l.typed {
		look(st)
	}
	return found
}

// heldTypes adds the types of what interfaces in v hold by value.
func heldTypes(held typeSet, v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface:
		if e := v.Elem(); e.IsValid() {
			held[e.Type()] = struct{}{}
			heldTypes(held, e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			heldTypes(held, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			heldTypes(held, v.Index(i))
		}
	}
}

// storedAlike reports whether a t is stored as n today, but for names of types.
func (r *Registry) storedAlike(n *node, t reflect.Type) bool {
	d, err := describe(r, t)
	if err != nil {
		return false
	}
	now, err := parseDescriptor(d)
	return err == nil && alikeNodes(n, now)
}

// alikeNodes reports whether two types are stored alike, but for names of types.
func alikeNodes(a, b *node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.kind != b.kind || a.basic != b.basic || a.length != b.length || a.codec != b.codec || a.version != b.version || len(a.fields) != len(b.fields) {
		return false
	}
	for i := range a.fields {
		if a.fields[i].name != b.fields[i].name || !alikeNodes(a.fields[i].node, b.fields[i].node) {
			return false
		}
	}
	return alikeNodes(a.key, b.key) && alikeNodes(a.elem, b.elem)
}
