package podder

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
)

// Keys of a map that differ in Go may be the same when they are stored: two fixed
// zones of one name and offset, values that differ in fields that are not stored,
// pointers to values without size, weak pointers whose targets went. A load could
// keep one of their entries only, so the save is refused. Keys that differ from
// themselves (NaN) stay apart whatever is stored.

// alike fails the save because of two keys with equal stored bytes, in the region
// being encoded, unless a load keeps both.
func (e *encoder) alike(a, b reflect.Value) {
	if e.err != nil || !a.Equal(a) {
		return
	}
	reason := fmt.Sprintf("two keys, %s and %s, differ only in what is not stored, so a load could keep one of them only: remove one, or skip the map with the tag `pod:\"-\"`",
		keyText(a), keyText(b))
	e.problems = append(e.problems, problem{region: e.current, typ: a.Type(), reason: reason})
	e.fail(e.unsupported())
}

// alikeKeys calls alike for all that are, of entries in stored order whose bytes
// are in buf, from offset start on.
func (e *encoder) alikeKeys(t reflect.Type, entries []entryBytes, buf []byte, start int) {
	if e.unplaced {
		return // keys without a place look alike
	}
	for k := 1; k < len(entries); k++ {
		a, b := &entries[k-1], &entries[k]
		if a.hash == b.hash && bytes.Equal(buf[a.from-start:a.mid-start], buf[b.from-start:b.mid-start]) {
			e.alike(reflect.NewAt(t, a.at).Elem(), reflect.NewAt(t, b.at).Elem())
		}
	}
}

// failure is what the encoder failed with, with the path to what it was encoding.
func (e *encoder) failure() error {
	var u *dberr.UnsupportedError
	if e.err == nil || errors.As(e.err, &u) {
		return e.err // has paths
	}
	if v := (*refusedValue)(nil); errors.As(e.err, &v) {
		return e.refused(v)
	}
	if n := (*nameError)(nil); errors.As(e.err, &n) {
		p := dberr.PathProblem{Path: e.faultPath(), Type: n.typ.String(), Reason: n.why}
		return &dberr.UnsupportedError{Problems: []dberr.PathProblem{p}, Unregistered: true}
	}
	return fmt.Errorf("%s: %w", e.faultPath(), e.err)
}

// storedWhole reports whether everything of a value that Go compares is stored.
func storedWhole(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return storedWhole(t.Elem())
	case reflect.Struct:
		if isSync(t) {
			return false
		}
		for i := range t.NumField() {
			if f := t.Field(i); f.Name != "_" && (skipField(f) || !storedWhole(f.Type)) {
				return false
			}
		}
	}
	return true
}
