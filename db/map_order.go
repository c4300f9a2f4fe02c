package db

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/zeebo/xxh3"
)

// orderOf returns how keys are compared; ErrInvalid if they have no order.
func orderOf[K comparable]() (func(a, b *K) int, error) {
	var zero K
	switch any(&zero).(type) {
	case *string:
		return compareAs[K, string], nil
	case *int:
		return compareAs[K, int], nil
	case *int64:
		return compareAs[K, int64], nil
	case *uint64:
		return compareAs[K, uint64], nil
	}
	t := reflect.TypeFor[K]()
	if compares(t) {
		if _, ok := any(zero).(interface{ Compare(K) int }); ok {
			return func(a, b *K) int { return any(*a).(interface{ Compare(K) int }).Compare(*b) }, nil
		}
	}
	if part := unordered(t); part != nil {
		return nil, fmt.Errorf("%w: keys of a Map are ordered, and %v has no order: use numbers, bools, strings, arrays and structs of them, or a type with the method Compare(%v) int", ErrInvalid, part, part)
	}
	return func(a, b *K) int { return compareValues(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()) }, nil
}

func compareAs[K comparable, T cmp.Ordered](a, b *K) int {
	return cmp.Compare(*any(a).(*T), *any(b).(*T))
}

// compares reports whether t has the method Compare(t) int.
func compares(t reflect.Type) bool {
	m, ok := t.MethodByName("Compare")
	return ok && t.Kind() != reflect.Interface && m.Type.NumIn() == 2 && m.Type.In(1) == t && m.Type.NumOut() == 1 && m.Type.Out(0).Kind() == reflect.Int
}

// unordered returns a part of t that has no order, nil if t is ordered.
func unordered(t reflect.Type) reflect.Type {
	switch k := t.Kind(); {
	case k >= reflect.Bool && k <= reflect.Float64, k == reflect.String:
		return nil
	case k == reflect.Array:
		return unordered(t.Elem())
	case k == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.IsExported() && compares(f.Type) {
				continue
			}
			if part := unordered(f.Type); part != nil {
				return part
			}
		}
		return nil
	}
	return t
}

// compareValues compares keys that are ordered.
func compareValues(a, b reflect.Value) int {
	switch k := a.Kind(); {
	case a.CanInterface() && a.Type().NumMethod() > 0 && compares(a.Type()):
		return int(a.MethodByName("Compare").Call([]reflect.Value{b})[0].Int())
	case k == reflect.Bool:
		return cmp.Compare(toInt(a.Bool()), toInt(b.Bool()))
	case k >= reflect.Int && k <= reflect.Int64:
		return cmp.Compare(a.Int(), b.Int())
	case k >= reflect.Uint && k <= reflect.Uintptr:
		return cmp.Compare(a.Uint(), b.Uint())
	case k == reflect.Float32 || k == reflect.Float64:
		return cmp.Compare(a.Float(), b.Float())
	case k == reflect.String:
		return cmp.Compare(a.String(), b.String())
	case k == reflect.Array:
		for i := range a.Len() {
			if c := compareValues(a.Index(i), b.Index(i)); c != 0 {
				return c
			}
		}
	case k == reflect.Struct:
		for i := range a.NumField() {
			if c := compareValues(a.Field(i), b.Field(i)); c != 0 {
				return c
			}
		}
	}
	return 0
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// hashKey returns a number that depends on the contents of a key alone.
func hashKey[K comparable](key *K) uint64 {
	if s, ok := any(key).(*string); ok {
		return xxh3.HashString(*s)
	}
	var room [64]byte
	return xxh3.Hash(appendKey(room[:0], reflect.ValueOf(key).Elem()))
}

func appendKey(b []byte, v reflect.Value) []byte {
	switch k := v.Kind(); {
	case k == reflect.Bool:
		return append(b, byte(toInt(v.Bool())))
	case k >= reflect.Int && k <= reflect.Int64:
		return binary.LittleEndian.AppendUint64(b, uint64(v.Int()))
	case k >= reflect.Uint && k <= reflect.Uintptr:
		return binary.LittleEndian.AppendUint64(b, v.Uint())
	case k == reflect.Float32 || k == reflect.Float64:
		return fmt.Appendf(b, "%x", v.Float())
	case k == reflect.String:
		return append(binary.AppendUvarint(b, uint64(v.Len())), v.String()...)
	case k == reflect.Array:
		for i := range v.Len() {
			b = appendKey(b, v.Index(i))
		}
	case k == reflect.Struct:
		for i := range v.NumField() {
			b = appendKey(b, v.Field(i))
		}
	}
	return b
}
