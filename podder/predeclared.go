package podder

import (
	"reflect"

	"github.com/poddb/poddb/internal/pod"
)

// Predeclared type ids, fixed by the format: they have no catalogue entry.
const (
	typeBool pod.TypeID = 1 + iota
	typeInt
	typeInt8
	typeInt16
	typeInt32
	typeInt64
	typeUint
	typeUint8
	typeUint16
	typeUint32
	typeUint64
	typeUintptr
	typeFloat32
	typeFloat64
	typeComplex64
	typeComplex128
	typeString
	typeAny
	typeBytes
	typeAnySlice
	typeStringMap
	typeError
	endPredeclared
)

// predeclared returns the Go type of a predeclared id, nil for others.
func predeclared(id pod.TypeID) reflect.Type {
	switch id {
	case typeBool:
		return reflect.TypeFor[bool]()
	case typeInt:
		return reflect.TypeFor[int]()
	case typeInt8:
		return reflect.TypeFor[int8]()
	case typeInt16:
		return reflect.TypeFor[int16]()
	case typeInt32:
		return reflect.TypeFor[int32]()
	case typeInt64:
		return reflect.TypeFor[int64]()
	case typeUint:
		return reflect.TypeFor[uint]()
	case typeUint8:
		return reflect.TypeFor[uint8]()
	case typeUint16:
		return reflect.TypeFor[uint16]()
	case typeUint32:
		return reflect.TypeFor[uint32]()
	case typeUint64:
		return reflect.TypeFor[uint64]()
	case typeUintptr:
		return reflect.TypeFor[uintptr]()
	case typeFloat32:
		return reflect.TypeFor[float32]()
	case typeFloat64:
		return reflect.TypeFor[float64]()
	case typeComplex64:
		return reflect.TypeFor[complex64]()
	case typeComplex128:
		return reflect.TypeFor[complex128]()
	case typeString:
		return reflect.TypeFor[string]()
	case typeAny:
		return reflect.TypeFor[any]()
	case typeBytes:
		return reflect.TypeFor[[]byte]()
	case typeAnySlice:
		return reflect.TypeFor[[]any]()
	case typeStringMap:
		return reflect.TypeFor[map[string]any]()
	case typeError:
		return reflect.TypeFor[error]()
	}
	return nil
}

// predeclaredID returns the id of exactly t, which named types of a program
// never have.
func predeclaredID(t reflect.Type) (pod.TypeID, bool) {
	if t.PkgPath() != "" {
		return 0, false
	}
	id := basicID(t.Kind())
	switch {
	case id != 0:
	case t == reflect.TypeFor[any]():
		id = typeAny
	case t == reflect.TypeFor[[]byte]():
		id = typeBytes
	case t == reflect.TypeFor[[]any]():
		id = typeAnySlice
	case t == reflect.TypeFor[map[string]any]():
		id = typeStringMap
	case t == reflect.TypeFor[error]():
		id = typeError
	}
	return id, id != 0
}

// basicID returns the predeclared id of a basic kind, 0 for other kinds.
func basicID(k reflect.Kind) pod.TypeID {
	switch {
	case k >= reflect.Bool && k <= reflect.Complex128:
		return typeBool + pod.TypeID(k-reflect.Bool)
	case k == reflect.String:
		return typeString
	}
	return 0
}

// basicKind is the inverse of basicID; reflect.Invalid for other ids.
func basicKind(id pod.TypeID) reflect.Kind {
	switch {
	case id >= typeBool && id <= typeComplex128:
		return reflect.Bool + reflect.Kind(id-typeBool)
	case id == typeString:
		return reflect.String
	}
	return reflect.Invalid
}

// predeclaredByText finds a predeclared type by its text.
func predeclaredByText(text string) (reflect.Type, bool) {
	switch text {
	case "any":
		return predeclared(typeAny), true
	case "error":
		return predeclared(typeError), true
	}
	for id := typeBool; id <= typeString; id++ {
		if t := predeclared(id); t.Name() == text {
			return t, true
		}
	}
	return nil, false
}
