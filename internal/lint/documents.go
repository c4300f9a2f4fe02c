package lint

import (
	"go/ast"
	"go/token"
)

// Documents finds packages without a package comment, and public declarations
// of the library without a doc comment. A group of constants, variables or
// types may share one.
func Documents(t *Tree) []Finding {
	var found []Finding
	for dir, files := range t.packages() {
		has := false
		for _, f := range files {
			has = has || f.Doc != nil
			if f.Name.Name == "main" {
				continue
			}
			for _, d := range f.Decls {
				found = append(found, t.undocumented(f, d)...)
			}
		}
		if !has {
			found = append(found, Finding{dir, 0, "package without a package comment"})
		}
	}
	return sorted(found)
}

func (t *Tree) undocumented(f *File, d ast.Decl) []Finding {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && publicReceiver(d) && !wellKnown[d.Name.Name] {
			return []Finding{t.at(f, d, "%s has no doc comment", d.Name.Name)}
		}
	case *ast.GenDecl:
		if d.Doc != nil || d.Tok == token.IMPORT {
			return nil
		}
		var found []Finding
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && s.Comment == nil {
					found = append(found, t.at(f, s, "%s has no doc comment", s.Name.Name))
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && s.Doc == nil && s.Comment == nil {
					found = append(found, t.at(f, s, "%s has no doc comment", s.Names[0].Name))
				}
			}
		}
		return found
	}
	return nil
}

// wellKnown are methods whose meaning their standard interfaces give.
var wellKnown = map[string]bool{"String": true, "Error": true, "Unwrap": true, "Is": true, "Len": true, "Less": true, "Swap": true}

func publicReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}
