package podder

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/dberr"
)

// A struct of another package with private fields is stored by its parts if the
// program vouches for the package (AllowPackage). What the parts mean is known to
// one version of the package only, so the descriptor has the version of its module
// and a hash of the layout, and a load takes nothing else.

// foreignLayout is what a descriptor says of such a struct.
type foreignLayout struct {
	module string // path and version of the module; the release of Go for the standard library
	hash   uint64 // of the names and types of all fields
}

func (f *foreignLayout) String() string { return fmt.Sprintf("%s, layout %016x", f.module, f.hash) }

// AllowPackage has structs of the package at an import path stored by their parts,
// whatever private fields they have. They load only where the package has the
// version that stored them.
func (r *Registry) AllowPackage(path string) error {
	if path == "" || strings.HasSuffix(path, "/") {
		return fmt.Errorf("allow package %q: no import path: %w", path, dberr.ErrInvalid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.allowed == nil {
		r.allowed = map[string]bool{}
	}
	r.allowed[path] = true
	r.changes.Add(1)
	clear(r.plans)
	return nil
}

// foreign returns how t is stored as a struct of an allowed package; nil if it is
// none, or has nothing private.
func (r *Registry) foreign(t reflect.Type) *foreignLayout {
	r.mu.RLock()
	allowed := r.allowed[t.PkgPath()]
	r.mu.RUnlock()
	if !allowed || t.Kind() != reflect.Struct || privateField(t).Name == "" || r.codec(t) != nil || r.std[t] || isSync(t) || r.modules.own(t.PkgPath()) {
		return nil
	}
	return &foreignLayout{moduleOf(t.PkgPath()), xxh3.HashString(privateFields(t))}
}

// privateField returns a private field of a struct, one without a name if it has none.
func privateField(t reflect.Type) reflect.StructField {
	for i := range t.NumField() {
		if f := t.Field(i); f.PkgPath != "" && f.Name != "_" {
			return f
		}
	}
	return reflect.StructField{}
}

// moduleOf returns the module that has a package, with its version.
func moduleOf(pkg string) string {
	first, _, _ := strings.Cut(pkg, "/")
	if !strings.Contains(first, ".") {
		return "std " + runtime.Version()
	}
	longest, best := 0, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			path := m.Path
			if m.Replace != nil {
				m = m.Replace
			}
			if (pkg == path || strings.HasPrefix(pkg, path+"/")) && len(path) > longest {
				longest, best = len(path), path+" "+m.Version
			}
		}
	}
	if best == "" {
		return pkg + " (unknown version)"
	}
	return best
}

// appendForeign appends what a descriptor says before the fields.
func appendForeign(b []byte, f *foreignLayout) []byte {
	return binary.LittleEndian.AppendUint64(appendText(b, f.module), f.hash)
}

// checkForeign reports why a struct that was stored as one of an allowed package
// cannot be read as t. A type that was registered is vouched for by the names of
// its fields.
func (c *compiler) checkForeign(n *node, t reflect.Type, path string) error {
	if n.foreign == nil {
		return nil
	}
	have := c.reg.foreign(t)
	switch {
	case have == nil && (c.reg.isRegistered(t) || c.reg.modules.own(t.PkgPath())):
		return nil
	case have == nil:
		return fmt.Errorf("%s: %s is stored by its private fields (%v); vouch for the package with db.AllowPackage(%q): %w",
			path, n.text, n.foreign, t.PkgPath(), dberr.ErrTypeMismatch)
	case *have != *n.foreign:
		return fmt.Errorf("%s: %s is stored by its private fields as of %v, the program has %v: read it with the version that stored it, and store it with a codec: %w",
			path, n.text, n.foreign, have, dberr.ErrTypeMismatch)
	}
	return nil
}
