package lint

import (
	"slices"
	"strconv"
	"strings"
)

var leaves = []string{"internal/dberr", "internal/binenc", "internal/pod"}

// layers names for each package the packages of this module that it may
// import. A package is found by its directory or the nearest one above it. Who
// stands in no line must be given one: that is a decision.
var layers = map[string][]string{
	"internal/dberr":      {},
	"internal/binenc":     {"internal/dberr"},
	"internal/pod":        {"internal/dberr", "internal/binenc"},
	"internal/offheap":    {},
	"internal/prefetch":   {},
	"internal/vfs":        leaves,
	"wal":                 append([]string{"internal/vfs"}, leaves...),
	"pager":               append([]string{"internal/vfs"}, leaves...),
	"cache":               append([]string{"internal/vfs", "wal", "pager"}, leaves...),
	"mvcc":                append([]string{"internal/vfs", "wal", "pager", "cache"}, leaves...),
	"podder":              append([]string{"internal/offheap", "internal/prefetch"}, leaves...),
	"db":                  append([]string{"internal/vfs", "wal", "pager", "cache", "mvcc", "podder"}, leaves...),
	"internal/strategies": append([]string{"internal/vfs", "wal", "pager", "cache", "mvcc", "podder", "db"}, leaves...),
	"internal/lint":       {},
	"internal/trace":      leaves,
	"tools":               nil,
	"fuzz":                nil,
	"examples":            nil,
}

// top are the packages that may import all others, and nobody them.
var top = []string{"tools", "fuzz", "examples"}

// dependencies are the modules of others that the library may import, and those
// that only tests may.
var (
	dependencies = []string{
		"github.com/RoaringBitmap/roaring/v2", "github.com/dgraph-io/ristretto/v2", "github.com/klauspost/compress",
		"github.com/zeebo/blake3", "github.com/zeebo/xxh3", "golang.org/x/exp", "golang.org/x/sys",
	}
	testDependencies = []string{
		"pgregory.net/rapid", "github.com/anishathalye/porcupine", "golang.org/x/net", "golang.org/x/tools",
	}
	podderDependencies = []string{"github.com/zeebo/xxh3", "golang.org/x/sys"}
)

// Layers finds imports that go up or aside by the table above, in tests too,
// and imports of modules that are not among the chosen ones.
func Layers(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		layer := layerOf(f.Dir)
		if layer == "" && f.Dir != "." {
			found = append(found, Finding{f.Path, 0, "package stands in no line of the layer table"})
			continue
		}
		for _, spec := range f.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			if why := importProblem(layer, p, f.Test); why != "" {
				found = append(found, t.at(f, spec, "%s imports %s: %s", f.Dir, p, why))
			}
		}
	}
	return sorted(found)
}

func layerOf(dir string) string {
	for {
		if _, ok := layers[dir]; ok {
			return dir
		}
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			return ""
		}
		dir = dir[:i]
	}
}

func importProblem(layer, p string, test bool) string {
	if p == Module || strings.HasPrefix(p, Module+"/") {
		to := layerOf(strings.TrimPrefix(strings.TrimPrefix(p, Module), "/"))
		switch {
		case to == layer, slices.Contains(top, layer), slices.Contains(layers[layer], to):
			return ""
		case layer == "podder":
			return "podder knows no storage"
		case to == "podder":
			return "storage does not know podder"
		}
		return "not below it"
	}
	first, _, _ := strings.Cut(p, "/")
	if !strings.Contains(first, ".") {
		return ""
	}
	allowed := dependencies
	if layer == "podder" {
		allowed = podderDependencies
	}
	if test || slices.Contains(top, layer) {
		allowed = append(slices.Clone(dependencies), testDependencies...)
	}
	for _, m := range allowed {
		if p == m || strings.HasPrefix(p, m+"/") {
			return ""
		}
	}
	return "not a dependency of this part of the tree"
}
