package podder

import (
	"reflect"
	"unsafe"
)

// mapInsert stores an entry in a map, as m[*key] = *elem.
type mapInsert func(m, key, elem unsafe.Pointer)

// textInsert is mapInsert for keys that are strings.
type textInsert func(m unsafe.Pointer, key string, elem unsafe.Pointer)

// typedMap is Go's own making of a map and insertion into it.
type typedMap struct {
	insert     mapInsert  // nil if there are none here
	insertText textInsert // nil if keys are no strings
	make       func(n int) unsafe.Pointer
	small      textMap
}

func typedMapIn[K comparable, E any]() typedMap {
	t := typedMap{insert: insert[K, E], make: newMap[K, E]}
	if _, ok := any(*new(K)).(string); ok {
		t.insertText = insertText[E]
		t.small = textMapIn[E](!pointerFree(reflect.TypeFor[E]()))
	}
	return t
}

// typedMapOf returns what Go does for maps that are laid out like t, if that is
// here: reflection takes three times as long. A map of
// another type is the same memory if keys have the same kind, hence the same
// hash and equality, and elements have the same size, alignment and pointers.
func typedMapOf(t reflect.Type) typedMap {
	key := t.Key()
	switch key.Kind() {
	case reflect.String:
		return typedMapFor[string](t.Elem())
	case reflect.Pointer:
		return typedMapFor[unsafe.Pointer](t.Elem())
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		switch key.Size() {
		case 4:
			return typedMapFor[uint32](t.Elem())
		case 8:
			return typedMapFor[uint64](t.Elem())
		}
	}
	return typedMap{}
}

func typedMapFor[K comparable](elem reflect.Type) typedMap {
	switch elem.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return typedMapIn[K, uint8]()
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64:
		switch elem.Size() {
		case 4:
			return typedMapIn[K, uint32]()
		case 8:
			return typedMapIn[K, uint64]()
		}
	case reflect.String:
		return typedMapIn[K, string]()
	case reflect.Pointer, reflect.Map:
		return typedMapIn[K, unsafe.Pointer]()
	case reflect.Slice:
		return typedMapIn[K, sliceHeader]()
	case reflect.Interface:
		return typedMapIn[K, ifaceWords]()
	case reflect.Struct:
		if elem.Size() == 0 {
			return typedMapIn[K, struct{}]()
		}
	}
	return typedMap{}
}

// insert is used for maps whose type is laid out like map[K]E.
func insert[K comparable, E any](m, key, elem unsafe.Pointer) {
	(*(*map[K]E)(unsafe.Pointer(&m)))[*(*K)(key)] = *(*E)(elem)
}

// insertText is insert for keys that are strings.
func insertText[E any](m unsafe.Pointer, key string, elem unsafe.Pointer) {
	(*(*map[string]E)(unsafe.Pointer(&m)))[key] = *(*E)(elem)
}

// newMap makes an empty map with room for n entries.
func newMap[K comparable, E any](n int) unsafe.Pointer {
	m := make(map[K]E, n)
	return *(*unsafe.Pointer)(unsafe.Pointer(&m)) // a map is a pointer
}

// newMap makes an empty map of the type with room for n entries.
func (st *storedType) newMap(n int) unsafe.Pointer {
	if f := st.plan.goMap.make; f != nil {
		return f(n)
	}
	return reflect.MakeMapWithSize(st.typ, n).UnsafePointer()
}
