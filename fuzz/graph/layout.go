package graph

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// layout is what the comparison knows of a type.
type layout struct {
	typ      reflect.Type
	fields   []field // stored ones of a struct
	elem     *layout // of an array
	number   bool
	flat     bool // what is compared are the bytes of runs
	runs     []run
	pointers bool    // its memory has pointers
	to       *layout // of what a pointer leads to, or of a slice's elements, once it is known
	// ranges are the arrays of such values that a comparison has met before its first
	// choice, in order, apart from each other.
	ranges []piece
	same   func(a, b reflect.Value) string
	cell   *cell
}

// run is n bytes at an offset.
type run struct{ off, n int }

// alike reports whether the runs of values lo to hi in two arrays, or of one value each,
// are equal.
func (l *layout) alike(a, b []byte, lo, hi int) bool {
	size := int(l.typ.Size())
	if len(l.runs) == 1 && l.runs[0].n == size {
		return bytes.Equal(a[lo*size:hi*size], b[lo*size:hi*size])
	}
	for k := lo * size; k < hi*size; k += size {
		for _, r := range l.runs {
			if !bytes.Equal(a[k+r.off:k+r.off+r.n], b[k+r.off:k+r.off+r.n]) {
				return false
			}
		}
	}
	return true
}

// unseen returns which of n values at p, from lo to hi, are not known to lie in arrays that
// were met.
func (l *layout) unseen(p uintptr, n int) (lo, hi int) {
	size := l.typ.Size()
	from, to := p, p+uintptr(n)*size
	for _, r := range l.ranges[l.after(from):] {
		if r.lo >= to {
			break
		}
		switch {
		case (max(from, r.lo)-min(from, r.lo))%size != 0:
		case r.lo <= from:
			from = min(to, r.hi)
		case to <= r.hi:
			to = r.lo
		}
	}
	return int((from - p) / size), int((to - p) / size)
}

// after returns the number of the first range that ends after p.
func (l *layout) after(p uintptr) int {
	k, _ := slices.BinarySearchFunc(l.ranges, p, func(r piece, p uintptr) int {
		if r.hi <= p {
			return -1
		}
		return 1
	})
	return k
}

// cover notes that n values at p were met.
func (l *layout) cover(p uintptr, n int) {
	size := l.typ.Size()
	all := piece{p, p + uintptr(n)*size}
	first := l.after(p)
	last := first
	for ; last < len(l.ranges) && l.ranges[last].lo < all.hi; last++ {
		r := l.ranges[last]
		if (max(p, r.lo)-min(p, r.lo))%size != 0 {
			return
		}
		all = piece{min(all.lo, r.lo), max(all.hi, r.hi)}
	}
	l.ranges = slices.Replace(l.ranges, first, last, all)
}

// field is one of a struct.
type field struct {
	index  int
	off    uintptr
	hidden bool
	full   bool // tagged to keep all up to the capacity
	layout *layout
}

// of returns the field of an addressable struct.
func (f *field) of(v reflect.Value) reflect.Value {
	x := v.Field(f.index)
	if f.hidden {
		return reflect.NewAt(x.Type(), x.Addr().UnsafePointer()).Elem()
	}
	return x
}

// part returns field k of an addressable struct, exported or not.
func part(v reflect.Value, k int) reflect.Value {
	x := v.Field(k)
	return reflect.NewAt(x.Type(), x.Addr().UnsafePointer()).Elem()
}

func (w *walk) layoutOf(t reflect.Type) *layout {
	l := w.layouts[t]
	if l != nil {
		return l
	}
	l = &layout{typ: t, pointers: pointers(t), same: sameMeaning(t), number: t.Kind() >= reflect.Bool && t.Kind() <= reflect.Complex128}
	l.runs, l.flat = runs(t)
	w.layouts[t] = l
	switch {
	case l.same != nil, t == syncMapType:
	case inCells(t):
		c := cells[t]
		l.cell = &c
	case t.Kind() == reflect.Struct:
		for _, k := range StoredFields(t) {
			f := t.Field(k)
			l.fields = append(l.fields, field{index: k, off: f.Offset, hidden: f.PkgPath != "", full: strings.HasSuffix(f.Tag.Get("pod"), ",fullcap"), layout: w.layoutOf(f.Type)})
		}
	case t.Kind() == reflect.Array:
		l.elem = w.layoutOf(t.Elem())
	}
	return l
}

// target returns the layout of what a pointer of layout l leads to, or of a slice's elements.
func (w *walk) target(l *layout) *layout {
	if l.to == nil {
		l.to = w.layoutOf(l.typ.Elem())
	}
	return l.to
}

// sameNumber reports whether two numbers of one type have equal bits.
func sameNumber(a, b reflect.Value) bool {
	switch k := a.Kind(); {
	case k >= reflect.Int && k <= reflect.Int64:
		return a.Int() == b.Int()
	case k >= reflect.Uint && k <= reflect.Uintptr:
		return a.Uint() == b.Uint()
	case k == reflect.Float64:
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float())
	}
	return bytes.Equal(memory(a), memory(b)) // converting would lose what kind of NaN it is
}

// memory returns the bytes of an addressable value.
func memory(v reflect.Value) []byte {
	return reflect.SliceAt(reflect.TypeFor[byte](), v.Addr().UnsafePointer(), int(v.Type().Size())).Bytes()
}

// array returns the bytes of a slice's elements.
func array(v reflect.Value) []byte {
	return reflect.SliceAt(reflect.TypeFor[byte](), v.UnsafePointer(), v.Len()*int(v.Type().Elem().Size())).Bytes()
}

// sameMeaning compares values of a type that is stored as what it means.
func sameMeaning(t reflect.Type) func(a, b reflect.Value) string {
	m, ok := meanings[t]
	if !ok {
		return nil
	}
	return func(a, b reflect.Value) string {
		if x, y := m.text(a.Addr().Interface()), m.text(b.Addr().Interface()); x != y {
			return fmt.Sprintf("%v means %s and %s", t, brief(x), brief(y))
		}
		return ""
	}
}

// means reports whether a type is stored as what it means.
func means(t reflect.Type) bool { return meanings[t].text != nil }

// StoredFields lists the fields of a struct that a database keeps.
func StoredFields(t reflect.Type) []int {
	var list []int
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("pod"), ","); f.Name != "_" && name != "-" && !lock(f.Type) {
			list = append(list, i)
		}
	}
	return list
}

func lock(t reflect.Type) bool {
	if t.PkgPath() != "sync" {
		return false
	}
	switch t.Name() {
	case "Mutex", "RWMutex", "Once", "WaitGroup", "Cond":
		return true
	}
	return false
}

// runs lists the bytes of a type that are compared, if they are all that is: numbers,
// and structs and arrays of them, but for what is not stored.
func runs(t reflect.Type) (list []run, flat bool) {
	if t.Size() == 0 || means(t) || inCells(t) {
		return nil, false
	}
	add := func(off int, part []run) {
		for _, r := range part {
			if k := len(list) - 1; k >= 0 && list[k].off+list[k].n == off+r.off {
				list[k].n += r.n
			} else {
				list = append(list, run{off + r.off, r.n})
			}
		}
	}
	switch k := t.Kind(); {
	case k >= reflect.Bool && k <= reflect.Complex128:
		return []run{{0, int(t.Size())}}, true
	case k == reflect.Array:
		part, ok := runs(t.Elem())
		if !ok {
			return nil, false
		}
		for k := range t.Len() {
			add(k*int(t.Elem().Size()), part)
		}
	case k == reflect.Struct:
		for _, i := range StoredFields(t) {
			f := t.Field(i)
			if f.Type.Size() == 0 {
				continue
			}
			part, ok := runs(f.Type)
			if !ok {
				return nil, false
			}
			add(int(f.Offset), part)
		}
	default:
		return nil, false
	}
	return list, true
}

func pointers(t reflect.Type) bool {
	switch k := t.Kind(); k {
	case reflect.Array:
		return t.Len() > 0 && pointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if pointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	default:
		return k > reflect.Complex128
	}
}
