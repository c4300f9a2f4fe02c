package lint

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// State finds package-level variables that can change, and init functions.
//
// A variable passes if it is a constant in all but name: it has a value from
// the start, is not of a type that exists to be changed (sync, atomic, a
// channel), and the package never assigns to it or a part of it, never takes
// its address and never deletes from it. allowed names the others, as
// "dir.name".
func State(allowed []string) func(t *Tree) []Finding {
	return func(t *Tree) []Finding {
		var found []Finding
		for dir, files := range t.packages() {
			changed := changedNames(files)
			for _, f := range files {
				for _, fn := range f.functions() {
					if fn.Recv == nil && fn.Name.Name == "init" {
						found = append(found, t.at(f, fn, "init function"))
					}
				}
				eachVar(f, func(id *ast.Ident, spec *ast.ValueSpec) {
					if why := mutable(id, spec, changed); why != "" && !slices.Contains(allowed, dir+"."+id.Name) {
						found = append(found, t.at(f, id, "package variable %s %s", id.Name, why))
					}
				})
			}
		}
		return sorted(found)
	}
}

func eachVar(f *File, visit func(id *ast.Ident, spec *ast.ValueSpec)) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			spec := s.(*ast.ValueSpec)
			embedded := strings.Contains(docOf(g, spec), "go:embed")
			for _, id := range spec.Names {
				if id.Name != "_" && !embedded {
					visit(id, spec)
				}
			}
		}
	}
}

func docOf(g *ast.GenDecl, spec *ast.ValueSpec) string {
	text := ""
	for _, doc := range []*ast.CommentGroup{g.Doc, spec.Doc} {
		if doc != nil {
			for _, c := range doc.List {
				text += c.Text + "\n"
			}
		}
	}
	return text
}

func mutable(id *ast.Ident, spec *ast.ValueSpec, changed map[string]bool) string {
	switch {
	case len(spec.Values) == 0:
		return "has no value from the start"
	case changed[id.Name]:
		return "is changed"
	}
	made := spec.Type
	for _, v := range spec.Values {
		if made == nil {
			made = v
		}
	}
	for {
		switch e := made.(type) {
		case *ast.UnaryExpr:
			made = e.X
			continue
		case *ast.StarExpr:
			made = e.X
			continue
		case *ast.CompositeLit:
			made = e.Type
			continue
		case *ast.CallExpr:
			if isName(e.Fun, "make") || isName(e.Fun, "new") {
				return "is made to be changed"
			}
		case *ast.IndexExpr:
			made = e.X
			continue
		case *ast.ChanType:
			return "is a channel"
		case *ast.SelectorExpr:
			if x, ok := e.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
				return "is of a type that exists to be changed"
			}
		}
		return ""
	}
}

// changedNames returns the names that the package assigns to, takes the address
// of, or deletes from. A local variable of the same name counts too: rename it.
func changedNames(files []*File) map[string]bool {
	changed := map[string]bool{}
	mark := func(e ast.Expr) {
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.Ident:
				changed[x.Name] = true
				return
			default:
				return
			}
		}
	}
	for _, f := range files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, e := range n.Lhs {
						mark(e)
					}
				}
			case *ast.IncDecStmt:
				mark(n.X)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					mark(n.X)
				}
			case *ast.CallExpr:
				if (isName(n.Fun, "delete") || isName(n.Fun, "clear")) && len(n.Args) > 0 {
					mark(n.Args[0])
				}
			}
			return true
		})
	}
	return changed
}
