package podder

import (
	"fmt"
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
	if t.Kind() != reflect.Struct || t.PkgPath() == "" || e.modules.own(t.PkgPath()) || e.reg.isRegistered(t) || e.reg.foreign(t) != nil {
		return ""
	}
	_, _, cell := cellOf(t)
	if _, ok := atomicOp(t); ok || cell || isSync(t) {
		return ""
	}
	private := privateField(t)
	if private == "" {
		return ""
	}
	if isHandle(t) {
		return fmt.Sprintf("only code that names the type can make a handle: add db.Handle[T] for %v to Options.Types", t)
	}
	if !e.nameable(t) {
		return fmt.Sprintf("package %s keeps private fields in it (%s), which are no contract: vouch for this version of the package with db.AllowPackage(%q), "+
			"copy what matters into a type of your own, or skip the field with the tag `pod:\"-\"` (%v is private to its package, so no program can register it)",
			t.PkgPath(), private, t.PkgPath(), t)
	}
	return fmt.Sprintf("package %s keeps private fields in it (%s), which are no contract: give it a codec with db.Codec[%v] or db.Type[%v](%q, db.UseBinary()), "+
		"vouch for the names of its fields with db.Register[%v](%q), or for this version of the package with db.AllowPackage(%q), "+
		"copy what matters into a type of your own, or skip the field with the tag `pod:\"-\"`",
		t.PkgPath(), private, t, t, e.reg.typeText(t), t, e.reg.typeText(t), t.PkgPath())
}
