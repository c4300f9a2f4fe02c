package podder

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// isomorphic walks two graphs in step and returns the first difference: in
// types, bits, nil-ness, lengths, capacities, map entries, or in identity.
// Identity is checked leaf by leaf: each number or pointer in memory that one
// graph reaches must correspond to exactly one of the other, so that aliases
// into the middle of objects are told apart, too. Keys that hold pointers are
// paired by a label made of the numbers and strings near them.
func isomorphic(a, b reflect.Value) error {
	w := isoWalk{ab: map[isoAddr]unsafe.Pointer{}, ba: map[isoAddr]unsafe.Pointer{}, done: map[isoPair]bool{}}
	if a.Type() != b.Type() {
		return fmt.Errorf("types %v and %v", a.Type(), b.Type())
	}
	pa, pb := reflect.New(a.Type()), reflect.New(b.Type())
	pa.Elem().Set(a)
	pb.Elem().Set(b)
	w.todo = []isoItem{{pa.Elem(), pb.Elem(), "x"}}
	for len(w.todo) > 0 {
		it := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if err := w.step(it); err != nil {
			return fmt.Errorf("%s: %w", it.path, err)
		}
	}
	return nil
}

type isoAddr struct {
	addr unsafe.Pointer
	typ  reflect.Type // leaf type: a map variable and the number 0 field it replaces differ
}

type isoPair struct {
	a, b unsafe.Pointer
	typ  reflect.Type
	n    int
}

type isoItem struct {
	a, b reflect.Value // addressable
	path string
}

type isoWalk struct {
	ab, ba map[isoAddr]unsafe.Pointer
	done   map[isoPair]bool
	todo   []isoItem
}

func (w *isoWalk) same(a, b unsafe.Pointer, t reflect.Type) error {
	ka, kb := isoAddr{a, t}, isoAddr{b, t}
	if x, ok := w.ab[ka]; ok && x != b {
		return fmt.Errorf("one %v became two", t)
	}
	if x, ok := w.ba[kb]; ok && x != a {
		return fmt.Errorf("two %v became one", t)
	}
	w.ab[ka], w.ba[kb] = b, a
	return nil
}

func (w *isoWalk) push(a, b reflect.Value, path string) {
	if len(path) > 200 {
		path = path[:50] + "…" + path[len(path)-50:]
	}
	w.todo = append(w.todo, isoItem{a, b, path})
}

func isoField(v reflect.Value, i int) reflect.Value {
	return reflect.NewAt(v.Type().Field(i).Type, v.Field(i).Addr().UnsafePointer()).Elem()
}

func (w *isoWalk) step(it isoItem) error {
	a, b := it.a, it.b
	t := a.Type()
	if t.Size() == 0 {
		return nil
	}
	if t == timeType {
		x, y := a.Interface().(time.Time), b.Interface().(time.Time)
		if !x.Equal(y) || x.Location().String() != y.Location().String() {
			return fmt.Errorf("times %v and %v", x, y)
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		for _, f := range storedFields(t) {
			w.push(isoField(a, f.Index[0]), isoField(b, f.Index[0]), it.path+"."+f.Name)
		}
		return nil
	case reflect.Array:
		for i := range t.Len() {
			w.push(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", it.path, i))
		}
		return nil
	}
	if err := w.same(a.Addr().UnsafePointer(), b.Addr().UnsafePointer(), t); err != nil {
		return err
	}
	return w.leaf(it, t)
}

func (w *isoWalk) leaf(it isoItem, t reflect.Type) error {
	a, b := it.a, it.b
	switch t.Kind() {
	case reflect.String:
		if a.String() != b.String() {
			return fmt.Errorf("strings of %d and %d bytes differ", a.Len(), b.Len())
		}
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return isoNil(a, b)
		}
		if w.enter(a.UnsafePointer(), b.UnsafePointer(), t, 0) {
			w.push(a.Elem(), b.Elem(), "*"+it.path)
		}
	case reflect.Slice:
		return w.slice(it)
	case reflect.Map:
		return w.maps(it)
	case reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return isoNil(a, b)
		}
		if a.Elem().Type() != b.Elem().Type() {
			return fmt.Errorf("interfaces hold %v and %v", a.Elem().Type(), b.Elem().Type())
		}
		w.push(isoCopy(a.Elem()), isoCopy(b.Elem()), it.path+".("+a.Elem().Type().String()+")")
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return isoNil(a, b)
	default:
		n := int(t.Size())
		x, y := unsafe.Slice((*byte)(a.Addr().UnsafePointer()), n), unsafe.Slice((*byte)(b.Addr().UnsafePointer()), n)
		if !slices.Equal(x, y) {
			return fmt.Errorf("%v and %v differ in bits", a, b)
		}
	}
	return nil
}

func isoCopy(v reflect.Value) reflect.Value {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p.Elem()
}

func isoNil(a, b reflect.Value) error {
	if a.IsNil() != b.IsNil() {
		return fmt.Errorf("%v: nil is %v and %v", a.Type(), a.IsNil(), b.IsNil())
	}
	return nil
}

func (w *isoWalk) enter(a, b unsafe.Pointer, t reflect.Type, n int) bool {
	p := isoPair{a, b, t, n}
	if w.done[p] {
		return false
	}
	w.done[p] = true
	return true
}

func (w *isoWalk) slice(it isoItem) error {
	a, b := it.a, it.b
	if a.IsNil() || b.IsNil() {
		return isoNil(a, b)
	}
	if a.Len() != b.Len() || a.Cap() != b.Cap() {
		return fmt.Errorf("slice of %d/%d became %d/%d", a.Len(), a.Cap(), b.Len(), b.Cap())
	}
	if a.Cap() == 0 || a.Type().Elem().Size() == 0 || !w.enter(a.UnsafePointer(), b.UnsafePointer(), a.Type(), a.Cap()) {
		return nil
	}
	a, b = a.Slice(0, a.Cap()), b.Slice(0, b.Cap())
	for i := range a.Len() {
		if i >= it.a.Len() {
			// Beyond the length only identity is kept for certain.
			if err := w.leaves(a.Index(i), b.Index(i)); err != nil {
				return err
			}
			continue
		}
		w.push(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", it.path, i))
	}
	return nil
}

func (w *isoWalk) leaves(a, b reflect.Value) error {
	switch t := a.Type(); {
	case t.Size() == 0 || t == timeType:
	case t.Kind() == reflect.Struct:
		for _, f := range storedFields(t) {
			if err := w.leaves(isoField(a, f.Index[0]), isoField(b, f.Index[0])); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Array:
		for i := range t.Len() {
			if err := w.leaves(a.Index(i), b.Index(i)); err != nil {
				return err
			}
		}
	default:
		return w.same(a.Addr().UnsafePointer(), b.Addr().UnsafePointer(), t)
	}
	return nil
}

type isoEntry struct {
	label    string
	key, val reflect.Value
}

func (w *isoWalk) maps(it isoItem) error {
	a, b := it.a, it.b
	if a.IsNil() || b.IsNil() {
		return isoNil(a, b)
	}
	if err := w.same(a.UnsafePointer(), b.UnsafePointer(), reflect.PointerTo(a.Type())); err != nil {
		return err
	}
	if a.Len() != b.Len() {
		return fmt.Errorf("maps of %d and %d", a.Len(), b.Len())
	}
	if !w.enter(a.UnsafePointer(), b.UnsafePointer(), a.Type(), -1) {
		return nil
	}
	ea, eb := isoEntries(a), isoEntries(b)
	for i := range ea {
		if ea[i].label != eb[i].label {
			return fmt.Errorf("keys %s and %s", ea[i].label, eb[i].label)
		}
		w.push(ea[i].key, eb[i].key, it.path+"[key "+ea[i].label+"]")
		w.push(ea[i].val, eb[i].val, it.path+"["+ea[i].label+"]")
	}
	return nil
}

func isoEntries(m reflect.Value) []isoEntry {
	var es []isoEntry
	for r := m.MapRange(); r.Next(); {
		es = append(es, isoEntry{isoLabel(r.Key(), 3) + "=" + isoLabel(r.Value(), 1), isoCopy(r.Key()), isoCopy(r.Value())})
	}
	slices.SortFunc(es, func(a, b isoEntry) int {
		if a.label < b.label {
			return -1
		}
		return 1
	})
	return es
}

func isoLabel(v reflect.Value, depth int) string {
	if !v.IsValid() {
		return "nil"
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || depth == 0 {
			return v.Type().String()
		}
		return "*" + isoLabel(v.Elem(), depth-1)
	case reflect.Interface:
		return isoLabel(v.Elem(), depth)
	case reflect.Struct:
		s := "{"
		for _, f := range storedFields(v.Type()) {
			s += isoLabel(v.Field(f.Index[0]), depth) + " "
		}
		return s + "}"
	case reflect.Array:
		s := "["
		for i := range v.Len() {
			s += isoLabel(v.Index(i), depth) + " "
		}
		return s + "]"
	case reflect.Float32, reflect.Float64:
		return fmt.Sprintf("%x", math.Float64bits(v.Float()))
	case reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		return v.Type().String()
	}
	return fmt.Sprintf("%v:%v", v.Type(), v)
}
