package podder

import (
	"reflect"
	"slices"
	"strings"
	"sync"
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
// fields, those tagged pod:"-", locks, and the word by which a strings.Builder
// notices that it was copied (it may lead to a stack; the next write sets it).
func skipField(f reflect.StructField) bool {
	if f.Name == "_" || isSync(f.Type) || isBuilderAddr(f) {
		return true
	}
	name, _, _ := strings.Cut(f.Tag.Get("pod"), ",")
	return name == "-"
}

// unlockedFields returns the fields of a struct that are not locks and the like.
func unlockedFields(t reflect.Type) []reflect.StructField {
	var fs []reflect.StructField
	for i := range t.NumField() {
		if f := t.Field(i); f.Name != "_" && !isSync(f.Type) {
			fs = append(fs, f)
		}
	}
	return fs
}

// storedName returns the name under which a field is stored: that of its tag
// `pod:"name"`, else its own.
func storedName(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("pod"), ","); name != "" {
		return name
	}
	return f.Name
}

// formerNames returns the names under which a field may have been stored: those
// that its tag lists, newest first (`pod:"name,was=newer,was=older"`), then the
// field's own if a tag gives it another one.
func formerNames(f reflect.StructField) []string {
	var names []string
	for _, option := range tagOptions(f) {
		if old, ok := formerName(option); ok && old != "" {
			names = append(names, old)
		}
	}
	name := storedName(f)
	if name != f.Name {
		names = append(names, f.Name)
	}
	return names
}

func isBuilderAddr(f reflect.StructField) bool {
	return f.Name == "addr" && f.PkgPath == "strings" && f.Type == builderPointer
}

var builderPointer = reflect.TypeFor[*strings.Builder]()

// fullCapacity reports whether a slice field keeps all elements up to its
// capacity, also those that have pointers: its tag is `pod:",fullcap"`.
func fullCapacity(f reflect.StructField) bool {
	return f.Type.Kind() == reflect.Slice && slices.Contains(tagOptions(f), "fullcap")
}

// isSync reports whether t belongs to a running program only: never read, zero
// after load, left alone by checkout. So are types that are made from such a one
// (type lock sync.Mutex).
func isSync(t reflect.Type) bool {
	if t.PkgPath() == "sync" {
		switch t.Name() {
		case "Mutex", "RWMutex", "Once", "WaitGroup", "Cond":
			return true
		}
	}
	if t.Kind() != reflect.Struct || t.NumField() == 0 {
		return false
	}
	last := t.Field(t.NumField() - 1)
	return last.PkgPath == "sync" && slices.ContainsFunc(syncTypes, t.ConvertibleTo)
}

var syncTypes = []reflect.Type{reflect.TypeFor[sync.Mutex](), reflect.TypeFor[sync.RWMutex](), reflect.TypeFor[sync.Once](), reflect.TypeFor[sync.WaitGroup](), reflect.TypeFor[sync.Cond]()}
