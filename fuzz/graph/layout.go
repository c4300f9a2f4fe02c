package graph

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
)

// layout is what the comparison knows of a type.
type layout struct {
	typ      reflect.Type
	fields   []field // stored ones of a struct
	elem     *layout // of an array
	number   bool
	dense    bool // every byte is part of a number
	pointers bool // its memory has pointers
	same     func(a, b reflect.Value) string
	cell     *cell
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
	l = &layout{typ: t, dense: dense(t), pointers: pointers(t), same: sameMeaning(t), number: t.Kind() >= reflect.Bool && t.Kind() <= reflect.Complex128}
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

func dense(t reflect.Type) bool {
	if t.Size() == 0 || means(t) || inCells(t) {
		return false
	}
	switch k := t.Kind(); k {
	case reflect.Array:
		return dense(t.Elem())
	case reflect.Struct:
		end := uintptr(0)
		fields := StoredFields(t)
		for _, i := range fields {
			f := t.Field(i)
			if f.Offset != end || !dense(f.Type) {
				return false
			}
			end += f.Type.Size()
		}
		return end == t.Size() && len(fields) == t.NumField()
	default:
		return k >= reflect.Bool && k <= reflect.Complex128
	}
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
