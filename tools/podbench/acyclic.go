package main

import (
	"fmt"
	"reflect"
	"unsafe"
)

// An encoder without identity kills the process on a cycle (the stack grows until
// Go ends it) and writes a shared object once for each way to it. So before such
// an encoder runs, the graph is walked: a cycle, or sharing that would be written
// out beyond all bounds, is an error of the row.

// maxExpanded bounds how many values an encoder without identity may have to
// write; 64 bytes of flat memory count as one.
const maxExpanded = 200_000_000

// expanded returns how many values of the graph behind v an encoder without
// identity writes, or an error.
func expanded(v any) (int64, error) {
	w := walker{sizes: map[node]int64{}}
	n, err := w.walk(reflect.ValueOf(v))
	if err == nil && n > maxExpanded {
		err = fmt.Errorf("shared objects would be written out as more than %d values", maxExpanded)
	}
	return n, err
}

type node struct {
	typ reflect.Type
	at  unsafe.Pointer // only compared, never followed
	len int
}

const open = -1 // being walked

type walker struct{ sizes map[node]int64 }

func (w *walker) walk(v reflect.Value) (int64, error) {
	switch v.Kind() {
	case reflect.Interface:
		return w.inside(v.Elem(), v.IsNil())
	case reflect.Pointer:
		if v.IsNil() {
			return 1, nil
		}
		return w.once(node{v.Type(), v.UnsafePointer(), 0}, func() (int64, error) { return w.walk(v.Elem()) })
	case reflect.Map:
		return w.once(node{v.Type(), v.UnsafePointer(), 0}, func() (int64, error) { return w.entries(v) })
	case reflect.Slice:
		if !refers(v.Type().Elem()) {
			return 1 + int64(v.Len())*int64(v.Type().Elem().Size())/64, nil
		}
		return w.once(node{v.Type(), v.UnsafePointer(), v.Len()}, func() (int64, error) { return w.elements(v) })
	case reflect.Array:
		return w.elements(v)
	case reflect.Struct:
		sum := int64(1)
		for i := range v.NumField() {
			if !refers(v.Type().Field(i).Type) {
				continue
			}
			n, err := w.walk(v.Field(i))
			if err != nil {
				return 0, err
			}
			sum = add(sum, n)
		}
		return sum, nil
	}
	return 1, nil
}

func (w *walker) inside(v reflect.Value, isNil bool) (int64, error) {
	if isNil {
		return 1, nil
	}
	return w.walk(v)
}

// once walks a part of memory the first time and remembers what it counts.
func (w *walker) once(key node, walk func() (int64, error)) (int64, error) {
	if key.at == nil || key.typ.Kind() == reflect.Slice && key.len == 0 {
		return 1, nil
	}
	switch n, ok := w.sizes[key]; {
	case ok && n == open:
		return 0, fmt.Errorf("the graph has a cycle (through a %v), which this encoder cannot write", key.typ)
	case ok:
		return n, nil
	}
	w.sizes[key] = open
	n, err := walk()
	w.sizes[key] = n
	return n, err
}

func (w *walker) elements(v reflect.Value) (int64, error) {
	sum := int64(1)
	for i := range v.Len() {
		n, err := w.walk(v.Index(i))
		if err != nil {
			return 0, err
		}
		sum = add(sum, n)
	}
	return sum, nil
}

func (w *walker) entries(v reflect.Value) (int64, error) {
	sum := int64(1)
	for it := v.MapRange(); it.Next(); {
		for _, part := range []reflect.Value{it.Key(), it.Value()} {
			n, err := w.walk(part)
			if err != nil {
				return 0, err
			}
			sum = add(sum, n)
		}
	}
	return sum, nil
}

// add saturates, because sharing can multiply at every level.
func add(a, b int64) int64 { return min(a+b, maxExpanded+1) }

// refers reports whether values of a type lead to other memory than strings.
func refers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Interface, reflect.Slice:
		return true
	case reflect.Array:
		return refers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if refers(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}
