package graph

import (
	"math"
	"reflect"
	"strings"
	"sync"
)

// valueDepth bounds how deep new objects hang on each other.
const valueDepth = 4

// value makes a random value of type t. References lead to what the scene shows
// or to new memory.
func (w *World) value(t reflect.Type, depth int) reflect.Value {
	v := reflect.New(t).Elem()
	w.fill(v, depth)
	return v
}

func (w *World) one(list []reflect.Value) reflect.Value { return list[w.rng.IntN(len(list))] }

// fill writes a random value to addressable v.
func (w *World) fill(v reflect.Value, depth int) {
	t := v.Type()
	r := w.rng
	if m, ok := meanings[t]; ok {
		if m.next != nil && r.IntN(3) == 0 {
			m.next(r, v.Addr().Interface())
		} else if x := reflect.ValueOf(m.value(r)); x.IsValid() {
			v.Set(x)
		}
		return
	}
	if c, ok := cells[t]; ok {
		w.fillCell(v, c, depth)
		return
	}
	if t == syncMapType {
		w.fillSyncMap(v.Addr().Interface().(*sync.Map), depth)
		return
	}
	switch k := t.Kind(); k {
	case reflect.Struct:
		for _, f := range w.family.fields[t] {
			if depth >= valueDepth || r.IntN(3) > 0 {
				w.fill(part(v, f), depth+1)
			}
		}
	case reflect.Array:
		for i := range t.Len() {
			if i < 4 || r.IntN(4) == 0 {
				w.fill(v.Index(i), depth+1)
			}
		}
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		w.floats(v)
	case reflect.String:
		v.SetString(w.text())
	case reflect.Pointer:
		v.Set(w.pointer(t, depth))
	case reflect.Slice:
		v.Set(w.slice(t, depth))
	case reflect.Map:
		v.Set(w.table(t, depth))
	case reflect.Interface:
		v.Set(w.box(t, depth))
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
	default:
		n := []uint64{0, 1, r.Uint64N(100), r.Uint64(), 1 << r.IntN(64), math.MaxUint64}[r.IntN(6)]
		if k >= reflect.Uint {
			v.SetUint(n & (1<<t.Bits() - 1))
		} else {
			v.SetInt(int64(n<<(64-t.Bits())) >> (64 - t.Bits()))
		}
	}
}

// floats writes bits, so that NaN keeps its payload.
func (w *World) floats(v reflect.Value) {
	bits, parts := v.Type().Bits(), 1
	if v.Kind() >= reflect.Complex64 {
		bits, parts = bits/2, 2
	}
	u := reflect.TypeFor[uint64]()
	special := []uint64{0, 1 << 63, math.Float64bits(1.5), math.Float64bits(math.Inf(-1)), 0x7ff8000000000001, 0x7ff0000000000abc, 1, w.rng.Uint64()}
	if bits == 32 {
		u = reflect.TypeFor[uint32]()
		special = []uint64{0, 1 << 31, 0x3fc00000, 0xff800000, 0x7fc00001, 0x7f800abc, 1, uint64(w.rng.Uint32())}
	}
	words := reflect.SliceAt(u, v.Addr().UnsafePointer(), parts)
	for i := range parts {
		words.Index(i).SetUint(special[w.rng.IntN(len(special))])
	}
}

func (w *World) text() string {
	r := w.rng
	switch r.IntN(12) {
	case 0, 1:
		return ""
	case 2:
		return "\xff\x00 odd \xc0"
	case 3, 4:
		if len(w.scene.long) > 0 {
			s := w.scene.long[r.IntN(len(w.scene.long))]
			lo := r.IntN(len(s))
			return s[lo : lo+r.IntN(len(s)-lo+1)]
		}
	case 5:
		if r.IntN(4) == 0 {
			n := 3000 + r.IntN(6000)
			if w.Limits.Large && r.IntN(3) == 0 {
				n = 60_000 + r.IntN(200_000)
			}
			s := noise(r, n)
			w.scene.long = append(w.scene.long, s)
			return s
		}
	}
	return strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(20))
}

func noise(r interface{ Uint64() uint64 }, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint64() >> 11)
	}
	return string(b)
}

func (w *World) pointer(t reflect.Type, depth int) reflect.Value {
	e := t.Elem()
	r := w.rng
	if r.IntN(8) == 0 {
		return reflect.Zero(t)
	}
	if e.Size() == 0 {
		return reflect.New(e).Convert(t)
	}
	if r.IntN(25) == 0 {
		for _, p := range shared {
			if p.Type().Elem() == e {
				return p.Convert(t)
			}
		}
	}
	if list := w.family.alike[e]; len(list) > 0 && r.IntN(5) == 0 {
		if spots := w.scene.byType[list[r.IntN(len(list))]]; len(spots) > 0 {
			return w.one(spots).Addr().Convert(reflect.PointerTo(e)).Convert(t)
		}
	}
	if e.Kind() == reflect.Array && r.IntN(3) == 0 {
		if p := w.frame(e); p.IsValid() {
			return p.Convert(t)
		}
	}
	if spots := w.scene.byType[e]; len(spots) > 0 && (depth >= valueDepth || r.IntN(3) > 0) {
		return w.one(spots).Addr().Convert(t)
	}
	if depth >= valueDepth {
		return reflect.Zero(t)
	}
	p := reflect.New(e)
	w.fill(p.Elem(), depth+1)
	w.scene.add(p)
	return p.Convert(t)
}

func (w *World) slice(t reflect.Type, depth int) reflect.Value {
	r := w.rng
	switch r.IntN(10) {
	case 0:
		return reflect.Zero(t)
	case 1:
		return reflect.MakeSlice(t, 0, 0)
	}
	e := t.Elem()
	if e.Size() == 0 {
		return reflect.MakeSlice(t, r.IntN(9), 1<<40)
	}
	if list := w.scene.arrays[e]; len(list) > 0 && (depth >= valueDepth || r.IntN(2) == 0) {
		return w.window(w.one(list)).Convert(t)
	}
	if depth >= valueDepth {
		return reflect.Zero(t)
	}
	n := r.IntN(6)
	switch {
	case r.IntN(30) == 0:
		n = 20 + r.IntN(100)
	case w.Limits.Large && r.IntN(8) == 0 && e.Size() < 64:
		n = r.IntN(400_000) / int(e.Size())
	}
	s := reflect.MakeSlice(t, n, n+r.IntN(3)*r.IntN(1+n))
	for k := range n {
		switch {
		case k < 8, r.IntN(max(1, n/64)) == 0:
			w.fill(s.Index(k), depth+1)
		case !pointers(e):
			w.fill(s.Index(k), valueDepth)
		}
	}
	w.scene.add(s)
	return s
}

// frame returns a pointer to some elements of an array or a slice as an array of
// type t, if there is one that is long enough.
func (w *World) frame(t reflect.Type) reflect.Value {
	list := w.scene.arrays[t.Elem()]
	if len(list) == 0 {
		return reflect.Value{}
	}
	a := w.one(list)
	lo := a.Len() - t.Len()
	if lo < 0 {
		return reflect.Value{}
	}
	lo = w.rng.IntN(lo + 1)
	return a.Slice(lo, lo+t.Len()).Convert(reflect.PointerTo(t))
}

// window returns a random part of an array or of a slice up to its capacity.
func (w *World) window(a reflect.Value) reflect.Value {
	n := a.Len()
	lo := w.rng.IntN(n + 1)
	if w.rng.IntN(3) == 0 {
		lo = 0
	}
	hi := lo + w.rng.IntN(n-lo+1)
	if w.rng.IntN(3) == 0 {
		return a.Slice3(lo, hi, hi+w.rng.IntN(n-hi+1))
	}
	return a.Slice3(lo, hi, n)
}

func (w *World) table(t reflect.Type, depth int) reflect.Value {
	r := w.rng
	if r.IntN(8) == 0 {
		return reflect.Zero(t)
	}
	if list := w.scene.maps[t]; len(list) > 0 && (depth >= valueDepth || r.IntN(3) > 0) {
		return w.one(list)
	}
	if depth >= valueDepth {
		return reflect.Zero(t)
	}
	m := reflect.MakeMap(t)
	n := r.IntN(5)
	switch {
	case r.IntN(20) == 0:
		n = 20 + r.IntN(60)
	case w.Limits.Large && r.IntN(10) == 0:
		n = r.IntN(6000)
	}
	for k := range n {
		if k > 60 && pointers(t.Key()) && t.Key().Kind() != reflect.String {
			break // keys with identity that look alike make comparing slow
		}
		d := depth + 1
		if k > 8 {
			d = valueDepth
		}
		w.put(m, w.value(t.Key(), d), w.value(t.Elem(), d))
	}
	w.scene.add(m)
	return m
}

func (w *World) box(t reflect.Type, depth int) reflect.Value {
	list := w.family.impls[t]
	if len(list) == 0 || w.rng.IntN(6) == 0 {
		return reflect.Zero(t)
	}
	for range 4 {
		u := list[w.rng.IntN(len(list))]
		if depth < valueDepth || u.Kind() != reflect.Struct && u.Kind() != reflect.Array {
			return w.value(u, depth+1).Convert(t)
		}
	}
	return reflect.Zero(t)
}
