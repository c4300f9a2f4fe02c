package graph

import (
	"fmt"
	"reflect"
)

// Variable is a named root of a graph.
type Variable struct {
	Name  string
	Value reflect.Value
}

// Mismatch says where two graphs differ first, by the way from a variable, and
// in what.
type Mismatch struct{ Path, What string }

func (m *Mismatch) Error() string { return m.Path + ": " + m.What }

// Compare walks the graphs behind two lists of variables in step. They are
// isomorphic if types, bits, nil-ness, lengths, capacities and map entries are
// equal and whatever is one piece of memory in the one is one in the other, at
// the same offsets: in both directions, for parts of objects and arrays as for
// whole ones. The error is a *Mismatch.
//
// Boxes of interfaces and map entries are copies and have no identity, nor have
// values without size. Strings from 4 KiB up that share bytes in a must share
// them in b. Elements beyond the length of a slice have identity; they are
// compared if their type has no pointers, or the field is tagged so. A weak pointer counts where
// the graph holds its target otherwise. Not compared is what no database keeps: locks,
// blank fields, fields tagged pod:"-", padding.
//
// Entries of maps under keys with identity, or that differ from themselves,
// are paired by what is known about them; where that leaves a choice, one
// is tried after the other.
//
// Nothing recurses on the data. Both graphs must stay as they are meanwhile.
func Compare(a, b []Variable) (*Twins, error) { return NewComparer().Compare(a, b) }

// Comparer compares one pair of graphs after the other in the same working memory.
// It is not safe for concurrent use.
type Comparer struct{ w *walk }

// NewComparer returns a comparer.
func NewComparer() *Comparer { return &Comparer{newWalk()} }

// Compare is the function Compare.
func (c *Comparer) Compare(a, b []Variable) (*Twins, error) {
	w := c.w
	defer w.reset()
	if len(a) != len(b) {
		return nil, &Mismatch{"variables", fmt.Sprintf("%d and %d", len(a), len(b))}
	}
	for i := range a {
		if a[i].Name != b[i].Name {
			return nil, &Mismatch{a[i].Name, "the other has " + b[i].Name}
		}
		if a[i].Value.Type() != b[i].Value.Type() {
			return nil, &Mismatch{a[i].Name, fmt.Sprintf("types %v and %v", a[i].Value.Type(), b[i].Value.Type())}
		}
		w.push(item{a: boxOf(a[i].Value), b: boxOf(b[i].Value), n: -1, parent: -1, step: stepRoot, root: a[i].Name})
	}
	if err := w.run(); err != nil {
		return nil, err
	}
	return &Twins{maps: w.mapPairs(), Chosen: len(w.choices) > 0}, nil
}

// item is a value, or the elements of a slice, that one reference of each graph
// leads to.
type item struct {
	a, b   reflect.Value // addressable; of slices all elements up to n
	n      int           // elements, -1 for a value
	lo, hi int           // elements that nobody compared before
	parent int32         // item with the reference, -1 for variables
	off    uintptr       // of the reference in the memory of the parent
	step   step
	root   string   // of a variable
	pair   *mapPair // of a key or an element
	entry  int
}

type step uint8

const (
	stepRoot step = iota
	stepPointer
	stepSlice
	stepBox
	stepKey
	stepElem
)

// walk is a comparison under way. Everything that it learns is appended
// somewhere and, once there are choices, noted in the log, so that they can be
// undone.
type walk struct {
	items []item
	head  int
	// there leads from memory of a to that of b, back the other way; strings is
	// about bytes of long strings.
	there, back, strings *space
	done                 map[visited]struct{}
	ranged               []*layout         // those with ranges
	mapsA, mapsB         map[uintptr]int32 // number in pairs
	pairs                []*mapPair
	choices              []choice
	failures             int
	first                error
	log                  []undo
	layouts              map[reflect.Type]*layout
	weak                 []weakPair // to be compared in the end
}

// visited is a value that a pointer was followed to, or values in a row.
type visited struct {
	addr uintptr
	of   *layout
	n    int // -1 for a pointer
}

func newWalk() *walk {
	return &walk{there: newSpace(), back: newSpace(), strings: newSpace(), done: map[visited]struct{}{},
		mapsA: map[uintptr]int32{}, mapsB: map[uintptr]int32{}, layouts: map[reflect.Type]*layout{}}
}

// keptEntries bounds a table that the next comparison uses again: to clear it takes
// as long as it is large.
const keptEntries = 1 << 12

// reset forgets the graphs that were compared.
func (w *walk) reset() {
	for _, l := range w.ranged {
		l.ranges = l.ranges[:0]
	}
	for _, s := range []*space{w.there, w.back, w.strings} {
		s.reset()
	}
	w.done, w.mapsA, w.mapsB = cleared(w.done), cleared(w.mapsA), cleared(w.mapsB)
	w.items, w.weak, w.log = emptied(w.items), emptied(w.weak), emptied(w.log)
	w.pairs, w.choices, w.ranged = nil, nil, w.ranged[:0]
	w.head, w.failures, w.first = 0, 0, nil
}

func cleared[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > keptEntries {
		return map[K]V{}
	}
	clear(m)
	return m
}

func emptied[T any](list []T) []T {
	clear(list)
	return list[:0]
}

// run compares until nothing is left, and goes back to the newest choice where
// that leads to a difference.
func (w *walk) run() error {
	for {
		err := w.drain()
		if err == nil {
			var more bool
			if more, err = w.pairEntries(); err == nil && !more {
				if err = w.checkWeak(); err == nil {
					return nil
				}
			}
		}
		if err != nil && !w.retry(err) {
			return w.first
		}
	}
}

func (w *walk) drain() error {
	for w.head < len(w.items) {
		i := w.head
		w.head++
		it := w.items[i]
		if it.n < 0 {
			if err := w.value(i, w.layoutOf(it.a.Type()), it.a, it.b, 0); err != nil {
				return err
			}
			continue
		}
		if err := w.elements(i, it); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) elements(i int, it item) error {
	t := it.a.Type().Elem()
	l := w.layoutOf(t)
	if l.flat && l.alike(array(it.a), array(it.b), it.lo, it.hi) {
		return nil
	}
	for k := it.lo; k < it.hi; k++ {
		if err := w.value(i, l, it.a.Index(k), it.b.Index(k), uintptr(k)*t.Size()); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) push(it item) { w.items = append(w.items, it) }

// value compares two values, parts of item i at offset off, by value; what they
// refer to is queued.
func (w *walk) value(i int, l *layout, a, b reflect.Value, off uintptr) error {
	switch {
	case l.number:
		if !sameNumber(a, b) {
			return w.mismatch(i, off, fmt.Sprintf("%v is %v (%x) and %v (%x)", l.typ, a, memory(a), b, memory(b)))
		}
		return nil
	case l.flat && l.alike(memory(a), memory(b), 0, 1):
		return nil
	case l.same != nil:
		if why := l.same(a, b); why != "" {
			return w.mismatch(i, off, why)
		}
		return nil
	case l.cell != nil && l.cell.weak:
		w.weak = append(w.weak, weakPair{i, off, l.cell, a, b})
		return nil
	case l.cell != nil:
		return w.pointer(i, w.layoutOf(l.cell.elem), l.cell.pointerIn(a), l.cell.pointerIn(b), off)
	case l.typ == syncMapType:
		return w.pairMaps(i, a, b, a.Addr().Pointer(), b.Addr().Pointer(), off)
	}
	switch l.typ.Kind() {
	case reflect.Struct:
		for k := range l.fields {
			f := &l.fields[k]
			if err := w.fieldOf(i, f, f.of(a), f.of(b), off+f.off); err != nil {
				return err
			}
		}
	case reflect.Array:
		for k := range l.typ.Len() {
			if err := w.value(i, l.elem, a.Index(k), b.Index(k), off+uintptr(k)*l.elem.typ.Size()); err != nil {
				return err
			}
		}
	case reflect.Pointer:
		return w.pointer(i, w.target(l), a, b, off)
	case reflect.Slice:
		return w.slice(i, l, a, b, off, false)
	case reflect.String:
		return w.text(i, a.String(), b.String(), off)
	case reflect.Map:
		return w.mapHeader(i, a, b, off)
	case reflect.Interface:
		return w.boxed(i, a, b, off)
	default: // func, chan, unsafe.Pointer
		return w.nilness(i, a, b, off)
	}
	return nil
}

func (w *walk) fieldOf(i int, f *field, a, b reflect.Value, off uintptr) error {
	if f.full {
		return w.slice(i, f.layout, a, b, off, true)
	}
	return w.value(i, f.layout, a, b, off)
}

func (w *walk) nilness(i int, a, b reflect.Value, off uintptr) error {
	if a.IsNil() != b.IsNil() {
		return w.mismatch(i, off, fmt.Sprintf("%v: nil is %v and %v", a.Type(), a.IsNil(), b.IsNil()))
	}
	return nil
}

// pointer compares pointers to values of layout e.
func (w *walk) pointer(i int, e *layout, a, b reflect.Value, off uintptr) error {
	size := e.typ.Size()
	if a.IsNil() || b.IsNil() || size == 0 {
		return w.nilness(i, a, b, off)
	}
	p, q := a.Pointer(), b.Pointer()
	if why := w.same(p, q, size); why != "" {
		return w.mismatch(i, off, a.Type().String()+": "+why)
	}
	if isShared(p) || isShared(q) {
		if p != q {
			return w.mismatch(i, off, a.Type().String()+": an object that the program knows by its address became another one")
		}
		return nil
	}
	if lo, hi := w.enter(p, e, -1); lo < hi {
		w.push(item{a: a.Elem(), b: b.Elem(), n: -1, parent: int32(i), off: off, step: stepPointer})
	}
	return nil
}

// slice compares two slices of layout l: the elements up to the length, or, if all are
// kept, up to the capacity.
func (w *walk) slice(i int, l *layout, a, b reflect.Value, off uintptr, all bool) error {
	if a.IsNil() || b.IsNil() {
		return w.nilness(i, a, b, off)
	}
	e := w.target(l)
	size := e.typ.Size()
	if a.Len() != b.Len() || a.Cap() != b.Cap() {
		return w.mismatch(i, off, fmt.Sprintf("%v of length %d, capacity %d and %d, %d", l.typ, a.Len(), a.Cap(), b.Len(), b.Cap()))
	}
	if a.Cap() == 0 || size == 0 {
		return nil
	}
	if why := w.same(a.Pointer(), b.Pointer(), uintptr(a.Cap())*size); why != "" {
		return w.mismatch(i, off, l.typ.String()+": "+why)
	}
	n := a.Len()
	if all || !e.pointers {
		n = a.Cap()
	}
	if lo, hi := w.enter(a.Pointer(), e, n); lo < hi {
		w.push(item{a: a.Slice(0, n), b: b.Slice(0, n), n: n, lo: lo, hi: hi, parent: int32(i), off: off, step: stepSlice})
	}
	return nil
}

// longString is the length from which bytes of strings are shared.
const longString = 4 << 10

func (w *walk) text(i int, a, b string, off uintptr) error {
	if a != b {
		return w.mismatch(i, off, fmt.Sprintf("strings of %d and %d bytes, %s and %s", len(a), len(b), brief(a), brief(b)))
	}
	if len(a) < longString {
		return nil
	}
	x, y := reflect.ValueOf(a).Pointer(), reflect.ValueOf(b).Pointer()
	if !w.add(w.strings, x, x+uintptr(len(a)), y-x) {
		return w.mismatch(i, off, fmt.Sprintf("strings of %d bytes that were one became two", len(a)))
	}
	return nil
}

func brief(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%q…", s[:40])
	}
	return fmt.Sprintf("%q", s)
}

func (w *walk) boxed(i int, a, b reflect.Value, off uintptr) error {
	if a.IsNil() || b.IsNil() {
		return w.nilness(i, a, b, off)
	}
	if a.Elem().Type() != b.Elem().Type() {
		return w.mismatch(i, off, fmt.Sprintf("%v holds %v and %v", a.Type(), a.Elem().Type(), b.Elem().Type()))
	}
	w.push(item{a: boxOf(a.Elem()), b: boxOf(b.Elem()), n: -1, parent: int32(i), off: off, step: stepBox})
	return nil
}

// same notes that n bytes of a are those of b, "" if that contradicts nothing.
func (w *walk) same(a, b uintptr, n uintptr) string {
	if !w.add(w.there, a, a+n, b-a) {
		return "what was one became two"
	}
	if !w.add(w.back, b, b+n, a-b) {
		return "what were two became one"
	}
	return ""
}

// enter notes n values in a row, or the one that a pointer leads to if n is -1, and returns
// which of them, from lo to hi, must be compared: the others have been or will be.
func (w *walk) enter(p uintptr, e *layout, n int) (lo, hi int) {
	if lo, hi = e.unseen(p, max(n, 1)); n == 0 || lo == hi {
		return 0, 0
	}
	v := visited{p, e, n}
	if _, ok := w.done[v]; ok {
		return 0, 0
	}
	w.done[v] = struct{}{}
	w.learned(undo{visited: v})
	if n > 0 && len(w.choices) == 0 {
		if len(e.ranges) == 0 {
			w.ranged = append(w.ranged, e)
		}
		e.cover(p, n)
	}
	return lo, hi
}

// learned notes what a choice that is taken back must undo.
func (w *walk) learned(u undo) {
	if len(w.choices) > 0 {
		w.log = append(w.log, u)
	}
}

// boxOf returns an addressable copy of a value.
func boxOf(v reflect.Value) reflect.Value {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p.Elem()
}
