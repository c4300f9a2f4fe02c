package graph

import (
	"fmt"
	"reflect"
)

// Big has containers that are stored in chunks when they are large, and what points
// into them.
type Big struct {
	Leaves []Leaf
	Ptrs   []*Leaf
	Nums   []float64
	Words  []string
	Bytes  []byte
	Anys   []any
	Rows   [][3]int32
	Pairs  []Pair[int8, Celsius]
	ByText map[string]*Leaf
	ByNum  map[int64]Leaf
	ByLeaf map[*Leaf][8]float64
	Text   string

	Half  []Leaf
	Part  []float64
	Raw   []byte
	Few   []*Leaf
	Some  []string
	Row   *[3]int32
	Leaf  *Leaf
	B     *int
	Num   *float64
	Byte  *byte
	Word  *string
	Slot  **Leaf
	Alike *Alike
	Same  map[*Leaf][8]float64
	Piece string
	Any   *any
}

// bigSizes are the stored bytes of an element, estimated as podder does: so many elements are
// just beyond a size.
var bigSizes = map[string]int{
	"Leaves": 14, "Ptrs": 2, "Nums": 8, "Words": 8, "Bytes": 1, "Anys": 4, "Rows": 12, "Pairs": 15, "ByText": 12, "ByNum": 24, "ByLeaf": 66, "Text": 1,
}

// maxBigEntries bounds maps under keys with identity, which are slow to compare.
const maxBigEntries = 1200

// addBig makes a variable with a few big containers.
func (w *World) addBig() {
	r := w.rng
	b := reflect.ValueOf(new(Big))
	w.scene.add(reflect.ValueOf(&Leaf{A: 7, F: 0.5}))
	for range 1 + r.IntN(3) {
		f := b.Type().Elem().Field(r.IntN(len(bigSizes)))
		w.fillBig(b.Elem().FieldByIndex(f.Index), w.Limits.Big/bigSizes[f.Name]*(100+r.IntN(60))/100)
	}
	w.scene.add(b)
	w.set(Variable{w.newName(), b})
	for range 6 {
		k := len(bigSizes) + r.IntN(b.Elem().NumField()-len(bigSizes))
		w.fill(part(b.Elem(), k), valueDepth)
	}
}

// fillBig makes a container of n elements, most of them made from their number.
func (w *World) fillBig(v reflect.Value, n int) {
	r := w.rng
	switch v.Kind() {
	case reflect.String:
		v.SetString(noise(r, n))
		return
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.Pointer {
			n = min(n, maxBigEntries)
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), n))
		w.scene.add(v)
		for k := range n {
			key := reflect.ValueOf(&Leaf{A: k})
			if key.Type() != v.Type().Key() {
				key = w.numbered(v.Type().Key(), k)
			}
			w.put(v, key, w.numbered(v.Type().Elem(), k))
		}
		return
	}
	s := reflect.MakeSlice(v.Type(), n, n+r.IntN(3)*r.IntN(100))
	for k := range n {
		s.Index(k).Set(w.numbered(v.Type().Elem(), k))
	}
	v.Set(s)
	w.scene.add(v)
}

// numbered returns a value that is not like its neighbours.
func (w *World) numbered(t reflect.Type, k int) reflect.Value {
	switch v := reflect.New(t).Elem(); t {
	case reflect.TypeFor[Leaf]():
		v.Set(reflect.ValueOf(Leaf{A: k, B: w.rng.IntN(1000), F: float64(k) / 3}))
		if list := w.scene.byType[t]; w.rng.IntN(10) == 0 && len(list) > 0 {
			part(v, 3).Set(w.one(list).Addr())
		}
		return v
	case reflect.TypeFor[*Leaf]():
		if list := w.scene.byType[t.Elem()]; len(list) > 0 && w.rng.IntN(3) > 0 {
			return w.one(list).Addr()
		}
		return reflect.ValueOf(&Leaf{A: k})
	case reflect.TypeFor[string]():
		return reflect.ValueOf(fmt.Sprint("w", k*k))
	case reflect.TypeFor[any]():
		return w.value(t, valueDepth)
	case reflect.TypeFor[int64](), reflect.TypeFor[int32]():
		v.SetInt(int64(k) * int64(k))
		return v
	case reflect.TypeFor[uint8]():
		v.SetUint(w.rng.Uint64() & 0xff)
		return v
	case reflect.TypeFor[float64]():
		v.SetFloat(float64(k) * 1.25)
		return v
	default:
		return w.value(t, valueDepth)
	}
}

// isBig reports whether a container is one of those that a world made so.
func (w *World) isBig(v reflect.Value) bool {
	if w.Limits.Big == 0 {
		return false
	}
	switch v.Kind() {
	case reflect.Slice:
		return v.Len() >= 1000
	case reflect.String:
		return v.Len() >= w.Limits.Big
	case reflect.Map:
		return v.Len() >= 300
	}
	return false
}

// changeBig changes a big container in its midst.
func (w *World) changeBig() bool {
	r := w.rng
	if len(w.scene.big) == 0 {
		return false
	}
	v := w.one(w.scene.big)
	n := 0
	if v.Kind() != reflect.Map || !v.IsNil() {
		n = v.Len()
	}
	if n < 2 { // it has been changed since
		return false
	}
	at := r.IntN(n)
	switch v.Kind() {
	case reflect.Map:
		w.changeEntry(v)
		return true
	case reflect.String:
		s := v.String()
		v.SetString(s[:at] + []string{"", "x", noise(r, 50)}[r.IntN(3)] + s[at+r.IntN(min(3, n-at)+1):])
		return true
	}
	switch r.IntN(8) {
	case 0, 1, 2:
		w.fill(v.Index(at), valueDepth)
	case 3, 4: // inserted, or taken out
		w.replace(v, at, r.IntN(2) == 0)
	case 5: // moved within the array
		if v.Len() < v.Cap() && r.IntN(2) == 0 {
			v.SetLen(v.Len() + 1)
		}
		reflect.Copy(v.Slice(at+1, v.Len()), v.Slice(at, v.Len()))
		v.Index(at).Set(w.numbered(v.Type().Elem(), at))
	case 6:
		v.Set(reflect.Append(v, w.numbered(v.Type().Elem(), n)))
	case 7:
		w.changeSlice(v)
	}
	return true
}
