package lint

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A function is on a decode path if its name or the name of its file says that
// it takes stored bytes apart, or if such a function of the same package calls
// it by its plain name.
var (
	decodeFunction = regexp.MustCompile(`^(Must)?(Decode|decode|Read|read|Parse|parse|Unmarshal|unmarshal|Merge|merge|Recover|recover|Replay|replay|Scan|scan)([A-Z0-9_]|$)`)
	decodeFile     = regexp.MustCompile(`(^|_)(decode|reader|read|parse|recover|recovery|replay|view)(_|\.)`)
)

// Panics finds panics on decode paths, where bytes that lie must be errors, and
// panics elsewhere that do not say which invariant was broken: by a message that
// starts with the package's name and a colon, or by a comment with "invariant:"
// on the line or up to three lines above. Raising again what recover returned is
// no panic of its own. allowed names functions on decode
// paths, as "dir.name", whose panics no bytes can reach.
func Panics(allowed []string) func(t *Tree) []Finding {
	return func(t *Tree) []Finding {
		var found []Finding
		for dir, files := range t.packages() {
			decoding := decodePath(files)
			for _, f := range files {
				for _, fn := range f.functions() {
					decodes := decoding[fn] && !slices.Contains(allowed, dir+"."+fn.Name.Name)
					found = append(found, t.panicsIn(f, fn, decodes)...)
				}
			}
		}
		return sorted(found)
	}
}

func (t *Tree) panicsIn(f *File, fn *ast.FuncDecl, decodes bool) []Finding {
	if fn.Body == nil {
		return nil
	}
	var found []Finding
	recovered := recoveredNames(fn)
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !isName(call.Fun, "panic") || len(call.Args) != 1 {
			return true
		}
		id, _ := call.Args[0].(*ast.Ident)
		switch {
		case id != nil && recovered[id.Name]:
		case decodes:
			found = append(found, t.at(f, call, "panic in %s, which is on a decode path", fn.Name.Name))
		case !startsWith(call.Args[0], f.Name.Name+": ") && !t.commented(f, t.line(call.Pos()), 3, "invariant:"):
			found = append(found, t.at(f, call, "panic in %s does not say which invariant was broken", fn.Name.Name))
		}
		return true
	})
	return found
}

// recoveredNames returns the variables that are set by recover().
func recoveredNames(fn *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok || len(a.Lhs) != 1 || len(a.Rhs) != 1 {
			return true
		}
		call, isCall := a.Rhs[0].(*ast.CallExpr)
		id, isID := a.Lhs[0].(*ast.Ident)
		if isCall && isID && isName(call.Fun, "recover") {
			names[id.Name] = true
		}
		return true
	})
	return names
}

// startsWith reports whether the first string literal in e starts with prefix.
func startsWith(e ast.Expr, prefix string) bool {
	first := ""
	ast.Inspect(e, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && first == "" {
			first, _ = strconv.Unquote(lit.Value)
		}
		return first == ""
	})
	return strings.HasPrefix(first, prefix)
}

// packages returns the library's files by directory.
func (t *Tree) packages() map[string][]*File {
	dirs := map[string][]*File{}
	for _, f := range t.Files {
		if f.library() {
			dirs[f.Dir] = append(dirs[f.Dir], f)
		}
	}
	return dirs
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// decodePath returns the functions of a package that are on a decode path.
func decodePath(files []*File) map[*ast.FuncDecl]bool {
	byName := map[string]*ast.FuncDecl{}
	var queue []*ast.FuncDecl
	for _, f := range files {
		for _, fn := range f.functions() {
			if fn.Recv == nil {
				byName[fn.Name.Name] = fn
			}
			if decodeFunction.MatchString(fn.Name.Name) || decodeFile.MatchString(path.Base(f.Path)) {
				queue = append(queue, fn)
			}
		}
	}
	on := map[*ast.FuncDecl]bool{}
	for len(queue) > 0 {
		fn := queue[0]
		queue = queue[1:]
		if on[fn] || fn.Body == nil {
			continue
		}
		on[fn] = true
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if id, ok := call.Fun.(*ast.Ident); ok && byName[id.Name] != nil {
					queue = append(queue, byName[id.Name])
				}
			}
			return true
		})
	}
	return on
}
