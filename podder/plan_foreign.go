package podder

import (
	"reflect"
	"runtime/debug"
	"strings"
)

// ownModules tells the program's packages from those of others, whose private
// fields are no contract.
type ownModules struct {
	path string // of the main module, "" where the build does not say
}

// databasePackage has types that programs store.
const databasePackage = "github.com/poddb/poddb/db"

func mainModule() ownModules {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ownModules{}
	}
	return ownModules{path: info.Main.Path}
}

// own reports whether the package at path belongs to the program.
func (m ownModules) own(path string) bool {
	if path == databasePackage {
		return true // Ref and Map
	}
	if path == "main" || path == "main_test" || path == "command-line-arguments" {
		return true
	}
	if m.path != "" && (path == m.path || strings.HasPrefix(path, m.path+"/") || strings.HasPrefix(path, m.path+"_test")) {
		return true
	}
	first, _, _ := strings.Cut(path, "/")
	// Without build information everything outside the standard library passes.
	return m.path == "" && strings.Contains(first, ".")
}

// refusal says why values of t cannot be stored, "" if they can: a struct of
// another package with private fields needs someone who knows what they mean.
func (e *engine) refusal(t reflect.Type) string {
	if lacking := halfHook(t); lacking != "" {
		return "it has one of the methods MarshalPod and UnmarshalPod, and lacks " + lacking
	}
	if e.reg.codec(t) != nil {
		return ""
	}
	if _, ok := e.reg.layouts[t]; ok {
		return e.reg.otherLayout(t)
	}
	private, ok := e.foreignField(t)
	if !ok {
		return ""
	}
	return e.waysOut(t, private)
}

// foreignField returns a private field of another package in a struct of type t, if
// there is one for which nobody vouches. Types of the program have some that are made
// from others (type amount big.Int).
func (e *engine) foreignField(t reflect.Type) (private reflect.StructField, found bool) {
	if t.Kind() != reflect.Struct || t.PkgPath() == "" || e.reg.isRegistered(t) || e.reg.foreign(t) != nil {
		return private, false
	}
	_, _, cell := cellOf(t)
	if _, ok := atomicOp(t); ok || cell || isSync(t) {
		return private, false
	}
	private = privateField(t)
	return private, private.Name != "" && !(e.modules.own(t.PkgPath()) && e.modules.own(private.PkgPath))
}
