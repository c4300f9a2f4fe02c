package podder

import (
	"encoding"
	"encoding/gob"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
)

// What a program can do about a struct with private fields of another package. An
// error names only what helps with that type.

// waysOut says why values of t, which has such a field, are not stored, and what can be
// done about it.
func (e *engine) waysOut(t reflect.Type, private reflect.StructField) string {
	if isHandle(t) {
		if value := t.Field(0).Type.Elem(); !e.nameable(value) {
			return fmt.Sprintf("only code that names the type can make a handle, and %v is private to package %s: "+
				"copy what matters into a type of your own, or skip the field with the tag `pod:\"-\"`", value, value.PkgPath())
		}
		return fmt.Sprintf("only code that names the type can make a handle: add db.Handle[T] for %v to Options.Types", t)
	}
	own := e.modules.own(t.PkgPath())
	var ways []string
	if origin := e.origin(t); own && origin != "" {
		ways = append(ways, fmt.Sprintf("use %v itself, or embed it, as that is stored", origin))
	}
	if e.nameable(t) {
		way := fmt.Sprintf("give it a codec with db.Codec[%v]", t)
		if form := codecForm(t); form != "" {
			way += fmt.Sprintf(" or db.Type[%v](%q, db.%s())", t, e.reg.typeText(t), form)
		}
		ways = append(ways, way)
		if e.storable(t, t, "", map[reflect.Type]bool{}) {
			ways = append(ways, fmt.Sprintf("vouch for the names of its fields with db.Register[%v](%q)", t, e.reg.typeText(t)))
		}
	}
	if pkg := t.PkgPath(); !own && e.storable(t, t, pkg, map[reflect.Type]bool{}) {
		ways = append(ways, fmt.Sprintf("vouch for this version of package %s with db.AllowPackage(%q)", pkg, pkg))
	}
	ways = append(ways, "copy what matters into a type of your own", "or skip the field with the tag `pod:\"-\"`")
	why := fmt.Sprintf("package %s keeps private fields in it (%s), which are no contract: %s", private.PkgPath, private.Name, strings.Join(ways, ", "))
	switch {
	case !e.nameable(t) && isInternal(t.PkgPath()):
		why += fmt.Sprintf(" (package %s is internal, so no program can register %v)", t.PkgPath(), t)
	case !e.nameable(t):
		why += fmt.Sprintf(" (%v is private to its package, so no program can register it)", t)
	}
	return why
}

// origin names the type of another package from which t is made, if that is stored
// without anybody's word; else "".
func (e *engine) origin(t reflect.Type) string {
	of := func(u reflect.Type) bool {
		return u != t && u.Kind() == reflect.Struct && e.nameable(u) && t.ConvertibleTo(u)
	}
	for u := range e.reg.std {
		if of(u) {
			return u.String()
		}
	}
	if slices.ContainsFunc(atomicTypes, of) {
		return "the type of package sync/atomic" // some of them are laid out alike
	}
	return ""
}

var atomicTypes = []reflect.Type{reflect.TypeFor[atomic.Int32](), reflect.TypeFor[atomic.Int64](), reflect.TypeFor[atomic.Uint32](), reflect.TypeFor[atomic.Uint64](),
	reflect.TypeFor[atomic.Uintptr](), reflect.TypeFor[atomic.Bool](), reflect.TypeFor[atomic.Value]()}

// codecForm returns the option that stores values of t by methods of theirs, "" if they
// have none.
func codecForm(t reflect.Type) string {
	p := reflect.PointerTo(t)
	has := func(types ...reflect.Type) bool {
		for _, i := range types {
			if p.Implements(i) {
				return true
			}
		}
		return false
	}
	switch {
	case has(reflect.TypeFor[encoding.BinaryAppender](), reflect.TypeFor[encoding.BinaryMarshaler]()) && has(reflect.TypeFor[encoding.BinaryUnmarshaler]()):
		return "UseBinary"
	case has(reflect.TypeFor[gob.GobEncoder]()) && has(reflect.TypeFor[gob.GobDecoder]()):
		return "UseGob"
	case has(reflect.TypeFor[encoding.TextMarshaler]()) && has(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return "UseText"
	}
	return ""
}

// storable reports whether values of t could be stored, as far as types tell, if
// somebody vouched for type known and for package allowed.
func (e *engine) storable(t, known reflect.Type, allowed string, seen map[reflect.Type]bool) bool {
	if seen[t] || e.reg.codec(t) != nil || isSync(t) {
		return true
	}
	seen[t] = true
	if elem, _, ok := cellOf(t); ok {
		return e.storable(elem, known, allowed, seen)
	}
	if _, ok := atomicOp(t); ok || e.reg.std[t] {
		return true
	}
	switch t.Kind() {
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return false
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return e.storable(t.Elem(), known, allowed, seen)
	case reflect.Map:
		return e.storable(t.Key(), known, allowed, seen) && e.storable(t.Elem(), known, allowed, seen)
	case reflect.Struct:
		if private, foreign := e.foreignField(t); foreign && t != known && (isHandle(t) || private.PkgPath != allowed) {
			return false
		}
		for _, f := range storedFields(t) {
			if !e.storable(f.Type, known, allowed, seen) {
				return false
			}
		}
	}
	return true
}
