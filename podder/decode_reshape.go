package podder

import (
	"fmt"
	"reflect"
	"strings"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A value that is stored as one shape and wanted as another: behind a pointer,
// no longer behind one, in an interface, no longer in one. What lies behind a
// reference is converted where it lies (typeWanted), and all that refer to it
// must want the same type.

// reshape compiles the decoding of n, which is of another kind than t.
func (c *compiler) reshape(pl *decodePlan, n *node, t reflect.Type, path string) error {
	pl.changed, pl.fixed = true, n.flat()
	switch kind := c.reg.kindOf(t); {
	case n.kind == nodeEntries || kind == nodeNilOnly:
	case n.kind == nodeNilOnly:
		return nil // what was stored is nil
	case kind == nodeInterface:
		pl.one(decodeMove{code: moveToInterface, typ: t, node: n, path: path})
		pl.ifaces = true
		return nil
	case n.kind == nodeInterface:
		pl.one(decodeMove{code: moveFromInterface, typ: t, path: path})
		pl.ifaces = true
		return nil
	case kind == nodePointer && (isWeak(t) || pointsAtItself(t)):
	case kind == nodePointer:
		sub, err := c.compile(n, pointee(t), path)
		if err != nil {
			return c.mismatch(path, n, t)
		}
		pl.box, pl.boxes = sub, true
		pl.one(decodeMove{code: moveBox, typ: t, sub: sub})
		return nil
	case n.kind == nodePointer && c.mayBe(n.valText, t):
		pl.one(decodeMove{code: moveUnbox, typ: t, path: path})
		pl.ifaces = true
		return nil
	}
	return c.mismatch(path, n, t)
}

// isWeak reports whether t is a weak pointer, which keeps no value.
func isWeak(t reflect.Type) bool {
	_, code, ok := cellOf(t)
	return ok && code == opWeak
}

// pointsAtItself reports whether t is a pointer type such as type P *P: there
// is never anything else behind it.
func pointsAtItself(t reflect.Type) bool {
	slow := t
	for n := 0; t.Kind() == reflect.Pointer; n++ {
		if t = t.Elem(); t == slow {
			return true
		}
		if n%2 == 1 {
			slow = slow.Elem()
		}
	}
	return false
}

// mayBe reports whether a value stored as text may be convertible to t, as far
// as the text tells; what is stored decides. Of a name it tells nothing, so that is
// noted for the catalogue to say (decode_named.go).
func (c *compiler) mayBe(text string, t reflect.Type) bool {
	if c.reg.textIs(text, t) || t.Kind() == reflect.Interface {
		return true
	}
	if elem, ok := refOf(t); ok {
		t = reflect.PointerTo(elem)
	}
	text = pointerText(text)
	if pointsAtItself(t) {
		return false
	}
	if u, ok := predeclaredByText(text); ok && u.Kind() != reflect.Interface {
		return u.Kind() == t.Kind() || convertible(basicID(u.Kind()), t.Kind()) || t.Kind() == reflect.Pointer && c.mayBe(text, t.Elem())
	}
	if rest, ok := strings.CutPrefix(text, "*"); ok {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		return c.mayBe(rest, t)
	}
	if t.Kind() == reflect.Pointer {
		return c.mayBe(text, t.Elem())
	}
	if rest, ok := strings.CutPrefix(text, "[]"); ok {
		return t.Kind() == reflect.Slice && c.mayBe(rest, t.Elem())
	}
	if key, elem, ok := splitMapText(text); ok {
		return t.Kind() == reflect.Map && c.mayBe(key, t.Key()) && c.mayBe(elem, t.Elem())
	}
	if strings.HasPrefix(text, "[") {
		return t.Kind() == reflect.Array
	}
	if t.Kind() != reflect.Struct || c.sameStruct(text, t) || c.reg.migrates(text, t) || strings.HasPrefix(text, "interface{") {
		return true
	}
	if u, ok := predeclaredByText(text); ok {
		return u.Kind() == reflect.Interface
	}
	if !hasOwnName(text) {
		return false
	}
	c.unsure = append(c.unsure, unsureName{text: text, want: t})
	return true
}

// boxed returns the memory of a value that is behind the pointer at `at` now. A
// slot that is decoded again keeps it.
func (l *loader) boxed(m *decodeMove, at unsafe.Pointer) unsafe.Pointer {
	if l.scratch > 0 {
		*(*unsafe.Pointer)(at) = nil // a copy of the pointer may be in use
	}
	p := boxWord(m.typ, at)
	if *p == nil {
		size := m.sub.typ.Size()
		if _, ok := refOf(m.typ); ok {
			size += unsafe.Sizeof(refCell{})
		}
		l.charge(1, uint64(size), leastBytes(m.sub.node)) // else nothing is made after this one
		*p = reflect.New(m.sub.typ).UnsafePointer()
	}
	return *p
}

// boxWord returns the word with the address of a value behind the pointer, atomic
// pointer or Ref at `at`, of type t. A Ref gets its cell.
func boxWord(t reflect.Type, at unsafe.Pointer) *unsafe.Pointer {
	if _, ok := refOf(t); !ok {
		return (*unsafe.Pointer)(at)
	}
	if refAt(at) == nil {
		*(**refCell)(at) = new(refCell)
	}
	return &refAt(at).ptr
}

// intoBox leads a reference to a value that is behind a pointer now on to it.
func (l *loader) intoBox(s *spot) {
	p := boxWord(s.plan.typ, s.addr)
	s.plan = s.plan.box
	s.typ, s.avail = s.plan.typ, 1
	if *p == nil {
		*p = reflect.New(s.typ).UnsafePointer()
	}
	s.addr = *p
}

// unbox decodes a pointer to the value at which it leads: a copy of what is
// stored there. Other references to the same object keep the object.
func (l *loader) unbox(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	v := reflect.NewAt(m.typ, at).Elem()
	code := c.uvarint()
	if code < codeBase || c.bad {
		if code == codeNil && !v.IsZero() {
			v.SetZero()
		}
		return
	}
	place, ok := l.follow(p, c, code)
	if !ok {
		return
	}
	if place, ok = l.inChunk(place); !ok {
		return
	}
	n, in, ok := l.stored(place)
	if !ok || n == nil {
		return
	}
	st, err := l.partAs(n, m.typ)
	if err != nil {
		l.failAt(fmt.Errorf("%s: %w", m.path, err))
		return
	}
	key := loadSlot{place.pod, place.slot}
	if l.copied[key] > 0 && !l.charge(1, uint64(in.left()), 0) {
		return // what is read over and over is bounded, too
	}
	if l.copied == nil {
		l.copied = map[loadSlot]int{}
	}
	l.copied[key]++
	l.unboxing, l.unboxed = l.unboxing+1, m.path
	if !l.tooDeep() {
		outer := l.at
		l.at = key
		l.depth++
		l.value(place.pod, &in, st.plan, at)
		l.depth--
		l.at = outer
	}
	l.unboxing--
}

// toInterface decodes a value into an interface that took its place. A nil
// pointer becomes a nil interface.
func (l *loader) toInterface(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	if m.node.kind == nodePointer {
		if again := *c; again.uvarint() == codeNil {
			*c = again
			return
		}
	}
	st, err := l.partAs(m.node, nil)
	if err != nil {
		l.failAt(fmt.Errorf("%s: %w", m.path, err))
		return
	}
	if st.box == boxUnset {
		st.boxable()
	}
	if m.typ.NumMethod() > 0 && !st.typ.Implements(m.typ) {
		l.fail(fmt.Errorf("%s: stored as %s, the program has %s, which it does not implement: %w", m.path, m.node.text, l.reg.typeText(m.typ), dberr.ErrTypeMismatch))
		return
	}
	l.ifaceHolding(p, c, st, m.typ, at)
}

// fromInterface decodes what an interface holds into a value that took its
// place. A nil interface is a zero value.
func (l *loader) fromInterface(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	id, ok := l.typeID(c)
	if !ok || id == 0 || l.tooDeep() {
		return
	}
	st, err := l.descriptorOf(id)
	if err != nil {
		l.failAt(err)
		return
	}
	if st.node.kind == nodeInterface || st.node.kind == nodeEntries {
		l.corrupt("interface holds type %d, %s, which is no type of a value", id, st.node.text)
		return
	}
	if st, err = l.typeAs(id, m.typ); err != nil {
		l.failAt(fmt.Errorf("%s: an interface that holds a %w", m.path, err))
		return
	}
	l.depth++
	l.value(p, c, st.plan, at)
	l.depth--
}

// tail checks that the elements that an array has lost were zero.
func (l *loader) tail(p *loadPod, c *cursor, m *decodeMove) {
	scratch := reflect.New(m.sub.typ)
	l.scratch++
	defer func() { l.scratch-- }()
	for range m.count {
		scratch.Elem().SetZero()
		if l.value(p, c, m.sub, scratch.UnsafePointer()); c.bad || l.err != nil {
			return
		}
		if !l.missing && !scratch.Elem().IsZero() {
			l.fail(fmt.Errorf("pod %d slot %d: %s: an element beyond the new end is not zero: %w", l.at.pod.id, l.at.slot, m.path, dberr.ErrTypeMismatch))
			return
		}
	}
}

// storedPlace is where a reference leads, in what is stored.
type storedPlace struct {
	pod   *loadPod
	slot  pod.Slot
	index uint64
	steps []uint64
}
