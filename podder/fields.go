package podder

import (
	"reflect"
	"strings"
)

// storedFields returns the direct fields of struct type t that are stored, in
// order; Index[0] is the field id. Sync types store none.
func storedFields(t reflect.Type) []reflect.StructField {
	if isSync(t) {
		return nil
	}
	var fs []reflect.StructField
	for i := range t.NumField() {
		if f := t.Field(i); !skipField(f) {
			fs = append(fs, f)
		}
	}
	return fs
}

// skipField reports whether a field is never read, stored or written: blank
// fields, those tagged pod:"-", and locks.
func skipField(f reflect.StructField) bool {
	if f.Name == "_" || isSync(f.Type) {
		return true
	}
	name, _, _ := strings.Cut(f.Tag.Get("pod"), ",")
	return name == "-"
}

// isSync reports whether t belongs to a running program only: never read, zero
// after load, left alone by checkout.
func isSync(t reflect.Type) bool {
	if t.PkgPath() != "sync" {
		return false
	}
	switch t.Name() {
	case "Mutex", "RWMutex", "Once", "WaitGroup", "Cond":
		return true
	}
	return false
}
