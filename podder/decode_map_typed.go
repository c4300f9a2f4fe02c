package podder

import (
	"reflect"
	"unsafe"
)

// mapInsert stores an entry in a map, as m[*key] = *elem.
type mapInsert func(m, key, elem unsafe.Pointer)

// inserter returns Go's own insertion for maps that are laid out like t, and
// nil if there is none here: reflection takes three times as long. A map of
// another type is the same memory if keys have the same kind, hence the same
// hash and equality, and elements have the same size, alignment and pointers.
func inserter(t reflect.Type) mapInsert {
	key := t.Key()
	switch key.Kind() {
	case reflect.String:
		return inserterOf[string](t.Elem())
	case reflect.Pointer:
		return inserterOf[unsafe.Pointer](t.Elem())
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		switch key.Size() {
		case 4:
			return inserterOf[uint32](t.Elem())
		case 8:
			return inserterOf[uint64](t.Elem())
		}
	}
	return nil
}

func inserterOf[K comparable](elem reflect.Type) mapInsert {
	switch elem.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return insert[K, uint8]
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64:
		switch elem.Size() {
		case 4:
			return insert[K, uint32]
		case 8:
			return insert[K, uint64]
		}
	case reflect.String:
		return insert[K, string]
	case reflect.Pointer, reflect.Map:
		return insert[K, unsafe.Pointer]
	case reflect.Slice:
		return insert[K, sliceHeader]
	case reflect.Interface:
		return insert[K, ifaceWords]
	case reflect.Struct:
		if elem.Size() == 0 {
			return insert[K, struct{}]
		}
	}
	return nil
}

// insert is used for maps whose type is laid out like map[K]E.
func insert[K comparable, E any](m, key, elem unsafe.Pointer) {
	(*(*map[K]E)(unsafe.Pointer(&m)))[*(*K)(key)] = *(*E)(elem)
}
