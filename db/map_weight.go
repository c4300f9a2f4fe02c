package db

import (
	"reflect"
	"strings"
)

// Bounds of what is looked at to estimate one value.
const (
	weighDepth    = 6
	weighElements = 32 // of a slice; the others weigh the same
	weighVisits   = 1000
)

// weightOf estimates the stored bytes of a value with what it alone is likely to lead
// to. It depends on contents alone.
func weightOf[T any](p *T) int {
	switch v := any(p).(type) {
	case *string:
		return 1 + len(*v)
	case *int, *int64, *uint64, *uint:
		return 4
	}
	left := weighVisits
	return weigh(reflect.ValueOf(p).Elem(), 0, &left)
}

func weigh(v reflect.Value, depth int, left *int) int {
	t := v.Type()
	if *left--; *left < 0 {
		return 4
	}
	if pkg := t.PkgPath(); pkg == "sync" || pkg == "sync/atomic" || depth > weighDepth || strings.HasPrefix(t.Name(), "Ref[") {
		return 8
	}
	switch k := t.Kind(); k {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return 1
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return 4
	case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return int(t.Size())
	case reflect.String:
		return 1 + min(v.Len(), 4<<10) // longer ones lie elsewhere
	case reflect.Map:
		return 16 + 32*min(v.Len(), 256)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 1
		}
		return 5 + weigh(v.Elem(), depth+1, left)
	case reflect.Slice, reflect.Array:
		n, total := v.Len(), 0
		for i := range min(n, weighElements) {
			total += weigh(v.Index(i), depth+1, left)
		}
		if n > weighElements {
			total = total / weighElements * n
		}
		return 4 + min(total, 64<<10)
	case reflect.Struct:
		total := 0
		for i := range t.NumField() {
			if t.Field(i).Tag.Get("pod") != "-" {
				total += weigh(v.Field(i), depth, left)
			}
		}
		return total
	}
	return 1
}
