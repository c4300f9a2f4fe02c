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

func mainModule() ownModules {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ownModules{}
	}
	return ownModules{path: info.Main.Path}
}

// own reports whether the package at path belongs to the program.
func (m ownModules) own(path string) bool {
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
	if t.Kind() != reflect.Struct || t.PkgPath() == "" || e.modules.own(t.PkgPath()) || e.reg.isRegistered(t) {
		return ""
	}
	if _, ok := atomicOp(t); ok || isSync(t) {
		return ""
	}
	private := ""
	for i := range t.NumField() {
		if f := t.Field(i); f.PkgPath != "" && f.Name != "_" {
			private = f.Name
			break
		}
	}
	if private == "" {
		return ""
	}
	if strings.HasPrefix(t.String(), "atomic.Pointer[") && t.PkgPath() == "sync/atomic" {
		return "an atomic.Pointer has no stored form: keep a plain pointer beside it, or skip the field with the tag `pod:\"-\"`"
	}
	if !e.nameable(t) {
		return fmt.Sprintf("package %s keeps private fields in it (%s), which are no contract: copy what matters into a type of your own, "+
			"or skip the field with the tag `pod:\"-\"` (%v is private to its package, so no program can register it)", t.PkgPath(), private, t)
	}
	return fmt.Sprintf("package %s keeps private fields in it (%s), which are no contract: copy what matters into a type of your own, "+
		"skip the field with the tag `pod:\"-\"`, or vouch for its layout with db.Register[%v](%q)",
		t.PkgPath(), private, t, e.reg.typeText(t))
}
