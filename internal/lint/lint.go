// Package lint checks the rules of this source tree that a program can check.
// Its test runs every rule over the module; nested modules are not part of it.
//
// Each rule is one file, which says exactly what it finds and what it lets
// pass. A rule takes a parsed Tree and returns findings; it knows names, not
// types, so it needs nothing built. The rules:
//
//	layers    imports go down only, and dependencies are the chosen ones
//	files     files are touched through internal/vfs alone
//	panics    bytes never panic; other panics name the invariant they guard
//	unsafe    unsafe stands in few files, each use explained
//	ambient   no clock and no random source that a test cannot replace
//	state     no package-level state, no init functions
//	documents every package and everything public has a doc comment
//	words     words that do not belong into a finished tree
//	length    long files and functions, as a report
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
)

// Module is the import path of the tree.
const Module = "github.com/poddb/poddb"

// Tree is the parsed source of one module.
type Tree struct {
	Fset  *token.FileSet
	Files []*File // Go files, by path
	Texts []Text  // every text file that is ours, Go files too
}

// File is one Go file.
type File struct {
	*ast.File
	Path   string // from the module's root
	Dir    string // "." for the root
	Test   bool
	Source string
}

// Text is one text file.
type Text struct {
	Path, Source string
}

// Finding is one place that breaks a rule.
type Finding struct {
	Path string
	Line int // 0 if it is about the whole file
	What string
}

func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.What) }

// Load parses the module in fsys, without nested modules, testdata, and
// directories whose names start with an underscore or, except .ci, with a dot.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{Fset: token.NewFileSet()}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(fsys, name)
		}
		if !ours(name) {
			return nil
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return t.Add(name, string(b))
	})
	return t, err
}

func enter(fsys fs.FS, name string) error {
	base := path.Base(name)
	if name == "." || name == ".ci" {
		return nil
	}
	if base == "testdata" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func ours(name string) bool {
	switch path.Ext(name) {
	case ".go", ".md", ".sh", ".s", ".work", ".mod":
		return true
	}
	return path.Dir(name) == ".ci"
}

// Add parses one file into the tree.
func (t *Tree) Add(name, source string) error {
	t.Texts = append(t.Texts, Text{name, source})
	if path.Ext(name) != ".go" {
		return nil
	}
	f, err := parser.ParseFile(t.Fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.Files = append(t.Files, &File{
		File: f, Path: name, Dir: path.Dir(name), Test: strings.HasSuffix(name, "_test.go"), Source: source,
	})
	return nil
}

// at makes a finding at a node.
func (t *Tree) at(f *File, n ast.Node, format string, args ...any) Finding {
	return Finding{f.Path, t.line(n.Pos()), fmt.Sprintf(format, args...)}
}

func (t *Tree) line(pos token.Pos) int { return t.Fset.Position(pos).Line }

// library reports whether a file belongs to what programs import, as against
// its tests and the programs and campaigns of this tree.
func (f *File) library() bool {
	if f.Test {
		return false
	}
	top, _, _ := strings.Cut(f.Dir, "/")
	switch top {
	case "tools", "fuzz", "examples":
		return false
	}
	return true
}

// imported returns the local name of an imported package, or "".
func (f *File) imported(importPath string) string {
	for _, spec := range f.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == importPath {
			if spec.Name != nil {
				return spec.Name.Name
			}
			if base := path.Base(p); base[0] != 'v' || len(base) > 2 {
				return base
			}
			return path.Base(path.Dir(p))
		}
	}
	return ""
}

// selectors calls visit for every use of a name of an imported package. called
// says that the use is a call.
func (f *File) selectors(importPath string, visit func(sel *ast.SelectorExpr, called bool)) {
	local := f.imported(importPath)
	if local == "" {
		return
	}
	calls := map[ast.Expr]bool{}
	ast.Inspect(f.File, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			calls[c.Fun] = true
		}
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
				visit(sel, calls[sel])
			}
		}
		return true
	})
}

// functions returns the functions and methods that a file declares.
func (f *File) functions() []*ast.FuncDecl {
	var list []*ast.FuncDecl
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			list = append(list, fn)
		}
	}
	return list
}

// commented reports whether a comment that holds text stands on line or on one
// of the lines before it, at most above.
func (t *Tree) commented(f *File, line, above int, text string) bool {
	for _, g := range f.Comments {
		first, last := t.line(g.Pos()), t.line(g.End())
		if first <= line && last >= line-above && strings.Contains(g.Text(), text) {
			return true
		}
	}
	return false
}

func sorted(list []Finding) []Finding {
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].Path != list[j].Path {
			return list[i].Path < list[j].Path
		}
		return list[i].Line < list[j].Line
	})
	return list
}
