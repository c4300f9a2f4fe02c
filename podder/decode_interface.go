package podder

import (
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// ifaceWords is the memory of an interface: the type (or a table of methods
// for it) and a pointer to the value, or the value itself if that is a pointer.
type ifaceWords struct {
	word unsafe.Pointer
	data unsafe.Pointer
}

type itabKey struct {
	iface reflect.Type
	typ   reflect.Type
}

// typeID reads a type id.
func (l *loader) typeID(c *cursor) (pod.TypeID, bool) {
	id := c.uvarint()
	if id > 1<<32-1 {
		l.corrupt("type id %d", id)
		return 0, false
	}
	return pod.TypeID(id), !c.bad
}

// iface decodes an interface value: the dynamic type's id and its value.
func (l *loader) iface(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	id, ok := l.typeID(c)
	if !ok {
		return
	}
	if id == 0 {
		*(*ifaceWords)(at) = ifaceWords{}
		return
	}
	st, err := l.dynamicType(id)
	if errors.Is(err, dberr.ErrUnregistered) {
		l.ifaceOpaque(p, c, id, m.typ, at, err)
		return
	}
	if err != nil {
		l.failAt(err)
		return
	}
	start, hooks := *c, len(l.hooks)
	if l.ifaceHolding(p, c, st, m.typ, at); l.err != nil && l.intoUnknown {
		l.ifaceInto(p, c, id, m.typ, at, start, hooks)
	}
}

// ifaceHolding decodes a value of a stored type into an interface.
func (l *loader) ifaceHolding(p *loadPod, c *cursor, st *storedType, iface reflect.Type, at unsafe.Pointer) {
	word := st.word
	if iface.NumMethod() > 0 {
		var ok bool
		if word, ok = l.itab(iface, st.typ); !ok {
			return
		}
	}
	switch st.box {
	case boxPointer:
		l.ifacePointer(p, c, st, word, at)
	case boxIndirect:
		l.ifaceBox(p, c, st, word, at)
	default:
		l.ifaceReflect(p, c, st, iface, at)
	}
}

// ifacePointer stores a pointer or map in an interface.
func (l *loader) ifacePointer(p *loadPod, c *cursor, st *storedType, word, at unsafe.Pointer) {
	m := &st.plan.moves[0]
	var data unsafe.Pointer
	var ok bool
	if m.code == moveMap {
		data, ok = l.mapAddress(p, c, st.typ, m.loose)
	} else {
		data, ok = l.address(p, c, m.typ, m.empty, m.loose)
	}
	if ok {
		*(*ifaceWords)(at) = ifaceWords{word, data}
	}
}

// ifaceBox stores a value that the interface points to. Small numbers are
// converted by Go, which has boxes for them ready.
func (l *loader) ifaceBox(p *loadPod, c *cursor, st *storedType, word, at unsafe.Pointer) {
	var data unsafe.Pointer
	switch st.predefined {
	case typeInt:
		v := c.varint()
		if int64(int(v)) != v {
			l.corrupt("number %d is too big for int", v)
			return
		}
		data = boxData(int(v))
	case typeBool:
		b := c.byte()
		if b > 1 {
			l.corrupt("bool of value %d", b)
			return
		}
		data = boxData(b == 1)
	case typeString:
		var s string
		l.str(p, c, unsafe.Pointer(&s))
		data = boxData(s)
	default:
		if l.tooDeep() || !l.charge(1, uint64(st.typ.Size()), st.least) {
			return
		}
		l.depth++
		data = reflect.New(st.typ).UnsafePointer()
		l.value(p, c, st.plan, data)
		l.depth--
	}
	*(*ifaceWords)(at) = ifaceWords{word, data}
}

// boxData returns the data word of v; ifaceWords is how the runtime lays out the
// two words of an interface.
func boxData(v any) unsafe.Pointer {
	return (*ifaceWords)(unsafe.Pointer(&v)).data
}

// ifaceReflect stores any value; structs and arrays of one pointer come here.
func (l *loader) ifaceReflect(p *loadPod, c *cursor, st *storedType, iface reflect.Type, at unsafe.Pointer) {
	if l.tooDeep() || !l.charge(1, uint64(st.typ.Size()), st.least) {
		return
	}
	l.depth++
	l.scratch++
	v := reflect.New(st.typ)
	l.value(p, c, st.plan, v.UnsafePointer())
	l.scratch--
	l.depth--
	reflect.NewAt(iface, at).Elem().Set(v.Elem())
}

// dynamicType returns the type of an interface value, ready to be boxed.
func (l *loader) dynamicType(id pod.TypeID) (*storedType, error) {
	st, err := l.typeOf(id)
	if err != nil || st.box != boxUnset {
		return st, err
	}
	if st.node.kind == nodeInterface || st.node.kind == nodeEntries {
		return nil, dberr.Corrupt("", -1, "interface holds type %d, %s, which is no type of a value", id, st.node.text)
	}
	st.boxable()
	return st, nil
}

// boxable learns how values of the type lie in interfaces.
func (st *storedType) boxable() {
	// The zero value in an interface has the type word that all have.
	zero := reflect.Zero(st.typ).Interface()
	st.word = (*ifaceWords)(unsafe.Pointer(&zero)).word
	st.least = 1 + leastBytes(st.node) // with its type id
	switch k := st.typ.Kind(); {
	case (k == reflect.Pointer || k == reflect.Map) && (st.plan.moves[0].code == movePointer || st.plan.moves[0].code == moveMap):
		st.box = boxPointer
	case st.typ.Size() > unsafe.Sizeof(uintptr(0)), k >= reflect.Bool && k <= reflect.Complex128:
		// Only what is exactly one pointer is its own data word.
		st.box = boxIndirect
	default:
		st.box = boxReflect
	}
}

// itab returns the first word of an interface of type iface that holds a t.
func (l *loader) itab(iface, t reflect.Type) (unsafe.Pointer, bool) {
	key := itabKey{iface, t}
	word, ok := l.itabs[key]
	if !ok {
		if !t.Implements(iface) {
			l.fail(fmt.Errorf("pod %d slot %d: stored %s does not implement the program's %s: %w",
				l.at.pod.id, l.at.slot, l.reg.typeText(t), l.reg.typeText(iface), dberr.ErrTypeMismatch))
			return nil, false
		}
		v := reflect.New(iface)
		v.Elem().Set(reflect.Zero(t))
		word = (*ifaceWords)(v.UnsafePointer()).word
		l.itabs[key] = word
	}
	return word, true
}
