package graph

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// mismatch is the difference at offset off of item i.
func (w *walk) mismatch(i int, off uintptr, what string) error {
	return &Mismatch{Path: w.path(i, off), What: what}
}

// maxPathSteps bounds a path that is written: its ends are.
const maxPathSteps = 60

// path writes the way from a variable to the part of item i at offset off.
func (w *walk) path(i int, off uintptr) string {
	var steps []string
	for {
		it := w.items[i]
		t := it.a.Type()
		if it.n >= 0 {
			t = t.Elem()
			steps = append(steps, "["+strconv.Itoa(int(off/t.Size()))+"]"+within(t, off%t.Size()))
		} else {
			steps = append(steps, within(t, off))
		}
		switch it.step {
		case stepRoot:
			return it.root + joined(steps)
		case stepBox:
			steps = append(steps, ".("+it.a.Type().String()+")")
		case stepKey:
			steps = append(steps, "[key "+keyText(it.pair.a[it.entry].key)+"]")
		case stepElem:
			steps = append(steps, "["+keyText(it.pair.a[it.entry].key)+"]")
		case stepPointer:
			steps = append(steps, "->")
		}
		i, off = int(it.parent), it.off
	}
}

func joined(steps []string) string {
	var b strings.Builder
	for k := len(steps) - 1; k >= 0; k-- {
		if len(steps) > maxPathSteps && k == len(steps)-maxPathSteps/2 {
			fmt.Fprintf(&b, " … %d steps … ", len(steps)-maxPathSteps)
			k = maxPathSteps / 2
		}
		b.WriteString(steps[k])
	}
	return b.String()
}

// within writes the way to the innermost part of a value of type t at an
// offset.
func within(t reflect.Type, off uintptr) string {
	var b strings.Builder
	for t.Size() > 0 {
		switch t.Kind() {
		case reflect.Struct:
			k := t.NumField() - 1
			for k > 0 && (t.Field(k).Offset > off || t.Field(k).Type.Size() == 0) {
				k--
			}
			f := t.Field(k)
			if off < f.Offset {
				return b.String()
			}
			b.WriteString("." + f.Name)
			t, off = f.Type, off-f.Offset
		case reflect.Array:
			t = t.Elem()
			b.WriteString("[" + strconv.Itoa(int(off/t.Size())) + "]")
			off %= t.Size()
		default:
			return b.String()
		}
	}
	return b.String()
}

// keyText names a key: its value, or its type if that may be long.
func keyText(v reflect.Value) string {
	switch k := v.Kind(); {
	case k == reflect.String:
		return brief(v.String())
	case k <= reflect.Complex128:
		return fmt.Sprint(v)
	case k == reflect.Interface && !v.IsNil():
		return keyText(v.Elem())
	}
	return v.Type().String()
}
