package lint

import (
	"go/ast"
	"regexp"
	"slices"
)

// ambient are the functions that reach for the process's clock or random
// source. Naming one is how an option gets its default; calling one is not.
var ambient = map[string]*regexp.Regexp{
	"time":         regexp.MustCompile(`^(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTimer|NewTicker)$`),
	"math/rand":    regexp.MustCompile(`^(Int\w*|Uint\w*|Float\w*|ExpFloat64|NormFloat64|Perm|Shuffle|Read|Seed)$`),
	"math/rand/v2": regexp.MustCompile(`^(Int\w*|Uint\w*|Float\w*|ExpFloat64|NormFloat64|Perm|Shuffle|N)$`),
	"crypto/rand":  regexp.MustCompile(`^(Read|Int|Prime|Text)$`),
}

// Ambient finds calls of the process's clock and random sources in the library,
// other than in the files allowed.
func Ambient(allowed []string) func(t *Tree) []Finding {
	return func(t *Tree) []Finding {
		var found []Finding
		for _, f := range t.Files {
			if !f.library() || slices.Contains(allowed, f.Path) {
				continue
			}
			for p, bad := range ambient {
				f.selectors(p, func(sel *ast.SelectorExpr, called bool) {
					if called && bad.MatchString(sel.Sel.Name) {
						found = append(found, t.at(f, sel, "calls %s.%s, which a test cannot replace", p, sel.Sel.Name))
					}
				})
			}
		}
		return sorted(found)
	}
}
