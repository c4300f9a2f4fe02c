package lint

import (
	"go/ast"
	"slices"
)

// unsafeLines is how far above a use the comment that explains it may end.
const unsafeLines = 4

// Unsafe finds files that import unsafe and are not in the list, and accesses
// that no comment explains: on the line, up to unsafeLines lines above, or in
// the doc comment of the declaration. An access that close below an explained
// one, as in a run of stores, shares its comment. An access is a conversion or a
// call; naming the type unsafe.Pointer is none, and sizes, alignments and
// offsets are constants.
func Unsafe(allowed []string) func(t *Tree) []Finding {
	return func(t *Tree) []Finding {
		var found []Finding
		for _, f := range t.Files {
			if f.imported("unsafe") == "" {
				continue
			}
			if !f.Test && !slices.Contains(allowed, f.Path) {
				found = append(found, Finding{f.Path, 0, "imports unsafe and is not in the list of files that may"})
				continue
			}
			if !f.Test {
				found = append(found, t.unexplained(f)...)
			}
		}
		return sorted(found)
	}
}

func (t *Tree) unexplained(f *File) []Finding {
	var found []Finding
	explained := -unsafeLines
	f.selectors("unsafe", func(sel *ast.SelectorExpr, called bool) {
		switch sel.Sel.Name {
		case "Sizeof", "Alignof", "Offsetof":
			return
		}
		if !called {
			return
		}
		line := t.line(sel.Pos())
		if line-explained <= unsafeLines || documented(f, sel) || t.commented(f, line, unsafeLines, "") {
			explained = line
			return
		}
		found = append(found, t.at(f, sel, "unsafe.%s without a comment that says why it is sound", sel.Sel.Name))
	})
	return found
}

// documented reports whether the declaration around a node has a doc comment.
func documented(f *File, n ast.Node) bool {
	for _, d := range f.Decls {
		if d.Pos() > n.Pos() || d.End() < n.End() {
			continue
		}
		switch d := d.(type) {
		case *ast.FuncDecl:
			return d.Doc != nil
		case *ast.GenDecl:
			return d.Doc != nil
		}
	}
	return false
}
