package graph

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"unique"
	"weak"
)

// Concurrent has what programs share between goroutines.
type Concurrent struct {
	At    atomic.Pointer[Leaf]
	Up    atomic.Pointer[Concurrent]
	Num   *atomic.Pointer[int]
	Nodes []atomic.Pointer[Node]
	Of    map[int8]*atomic.Pointer[Leaf]
	Any   atomic.Value
	N     atomic.Int32
	U     atomic.Uint64
	P     atomic.Uintptr
	M     *sync.Map
	Again *sync.Map
	Maps  []*sync.Map
	Place unique.Handle[Place]
	kid   *Leaf
	Anys  any
}

// Place is what a handle may stand for.
type Place struct {
	X int8
	S string
}

// Weakly refers to what others hold, or do not.
type Weakly struct {
	W     weak.Pointer[Leaf]
	Up    weak.Pointer[Weakly]
	Nodes []weak.Pointer[Node]
	Num   weak.Pointer[int]
	Of    map[int8]weak.Pointer[Leaf]
	Held  *Leaf
	Nums  []int
	other *Weakly
}

// cell is a type of the standard library that holds one pointer in private memory.
type cell struct {
	elem reflect.Type
	weak bool                 // the pointer goes when nobody else has it
	load func(p any) any      // the pointer in the cell at p
	set  func(p any, ptr any) // and another one in its place
}

// Only code that names a type can read a cell of it.
var cells = func() map[reflect.Type]cell {
	list := map[reflect.Type]cell{}
	for _, more := range []map[reflect.Type]cell{cellsOf[Leaf](), cellsOf[Node](), cellsOf[int](), cellsOf[Concurrent](), cellsOf[Weakly]()} {
		maps.Copy(list, more)
	}
	return list
}()

func cellsOf[T any]() map[reflect.Type]cell {
	t := reflect.TypeFor[T]()
	return map[reflect.Type]cell{
		reflect.TypeFor[atomic.Pointer[T]](): {t, false,
			func(p any) any { return p.(*atomic.Pointer[T]).Load() },
			func(p, ptr any) { p.(*atomic.Pointer[T]).Store(ptr.(*T)) }},
		reflect.TypeFor[weak.Pointer[T]](): {t, true,
			func(p any) any { return p.(*weak.Pointer[T]).Value() },
			func(p, ptr any) { *p.(*weak.Pointer[T]) = weak.Make(ptr.(*T)) }},
	}
}

// pointerIn returns the pointer in the cell at addressable v.
func (c *cell) pointerIn(v reflect.Value) reflect.Value {
	return reflect.ValueOf(c.load(v.Addr().Interface()))
}

// fillCell has the cell at v refer to what the scene shows, or to new memory. Weak
// ones refer to what there is: what nobody else holds is gone at any time.
func (w *World) fillCell(v reflect.Value, c cell, depth int) {
	if !c.weak {
		c.set(v.Addr().Interface(), w.pointer(reflect.PointerTo(c.elem), depth).Interface())
		return
	}
	p := reflect.Zero(reflect.PointerTo(c.elem))
	if spots := w.scene.byType[c.elem]; w.Limits.Weak && len(spots) > 0 && w.rng.IntN(6) > 0 {
		p = w.one(spots).Addr()
	}
	c.set(v.Addr().Interface(), p.Interface())
}

// A sync.Map is a map whose entries are reached by its methods. It stays where it
// is: a copy would share some of them.
var syncMapType = reflect.TypeFor[sync.Map]()

// numbered are the keys of a sync.Map that a world finds again, but for those that
// are pointers.
const numbered = 12

// fillSyncMap changes some entries.
func (w *World) fillSyncMap(m *sync.Map, depth int) {
	r := w.rng
	if r.IntN(20) == 0 {
		m.Clear()
	}
	for range 1 + r.IntN(4) {
		key := any(int8(r.IntN(numbered)))
		switch r.IntN(6) {
		case 0:
			m.Delete(key)
			continue
		case 1:
			key = w.text()
		case 2:
			key = w.pointer(reflect.TypeFor[*Leaf](), depth+1).Interface()
		}
		m.Store(key, w.value(reflect.TypeFor[any](), depth+1).Interface())
	}
}

// sync shows what stands under numbers.
func (s *scene) sync(m *sync.Map) {
	for k := range int8(numbered) {
		if x, ok := m.Load(k); ok && x != nil {
			s.value(reflect.ValueOf(x), false)
		}
	}
}

// syncEntries lists the entries of a sync.Map.
func syncEntries(m *sync.Map) (list []entry) {
	m.Range(func(key, elem any) bool {
		list = append(list, entry{key: reflect.ValueOf(&key).Elem(), elem: reflect.ValueOf(&elem).Elem(), with: -1})
		return true
	})
	return list
}

// inCells reports whether values of t are reached by their methods only.
func inCells(t reflect.Type) bool {
	_, ok := cells[t]
	return ok || t == syncMapType
}

// weakPair is a weak pointer of each graph.
type weakPair struct {
	item int
	off  uintptr
	cell *cell
	a, b reflect.Value
}

// checkWeak compares weak pointers when everything else is known: what both graphs
// hold must be one piece of memory in both; of what only a weak pointer leads to, nobody
// can say whether it is still there.
func (w *walk) checkWeak() error {
	if len(w.weak) == 0 {
		return nil
	}
	held := w.held()
	for _, p := range w.weak {
		// Either may have gone by now, unless something else holds it.
		a, b := p.cell.pointerIn(p.a), p.cell.pointerIn(p.b)
		if a.IsNil() {
			if !b.IsNil() && w.backed(b.Pointer()) {
				return w.mismatch(p.item, p.off, p.a.Type().String()+": nil became a pointer")
			}
			continue
		}
		twin, known := w.there.find(a.Pointer())
		switch size := p.cell.elem.Size(); {
		case !b.IsNil() && known && twin != b.Pointer(), !b.IsNil() && !known && w.backed(b.Pointer()):
			return w.mismatch(p.item, p.off, p.a.Type().String()+": it refers to something else")
		case b.IsNil() && held.covers(a.Pointer(), size):
			return w.mismatch(p.item, p.off, p.a.Type().String()+": it is nil although its target is there")
		}
	}
	return nil
}

func (w *walk) backed(p uintptr) bool {
	_, ok := w.back.find(p)
	return ok
}

// heldMemory is what a graph holds, as far as it was compared, in order.
type heldMemory []piece

// piece is [lo, hi); once they are in order, hi is the highest so far.
type piece struct{ lo, hi uintptr }

// held returns what a holds.
func (w *walk) held() heldMemory {
	var h heldMemory
	for _, it := range w.items {
		if it.n >= 0 {
			h = append(h, piece{it.a.Pointer(), it.a.Pointer() + uintptr(it.n)*it.a.Type().Elem().Size()})
		} else {
			h = append(h, piece{it.a.Addr().Pointer(), it.a.Addr().Pointer() + it.a.Type().Size()})
		}
	}
	slices.SortFunc(h, func(a, b piece) int { return cmp.Compare(a.lo, b.lo) })
	for k := 1; k < len(h); k++ {
		h[k].hi = max(h[k].hi, h[k-1].hi)
	}
	return h
}

// covers reports whether n bytes at p are part of one piece.
func (h heldMemory) covers(p, n uintptr) bool {
	k, _ := slices.BinarySearchFunc(h, p+1, func(x piece, q uintptr) int { return cmp.Compare(x.lo, q) })
	return k > 0 && h[k-1].hi >= p+n
}
