package realgraphs

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/db"
)

// checked is a package that was type-checked from source, with everything that
// it imports.
type checked struct {
	Package  *types.Package
	Files    *[]*ast.File
	Info     *types.Info
	Universe *[]*types.Package // of all packages, by path
}

func checkFromSource(t *testing.T, path string) *checked {
	t.Helper()
	fset := token.NewFileSet()
	bp := must(build.Import(path, "", 0))(t)
	var files []*ast.File
	for _, name := range bp.GoFiles {
		files = append(files, must(parser.ParseFile(fset, filepath.Join(bp.Dir, name), nil, parser.ParseComments))(t))
	}
	info := &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Instances: map[*ast.Ident]types.Instance{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		Implicits: map[ast.Node]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}, Scopes: map[ast.Node]*types.Scope{},
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil), FakeImportC: true}
	pkg := must(conf.Check(path, fset, files, info))(t)
	all := map[string]*types.Package{}
	var add func(p *types.Package)
	add = func(p *types.Package) {
		if all[p.Path()] == nil {
			all[p.Path()] = p
			for _, q := range p.Imports() {
				add(q)
			}
		}
	}
	add(pkg)
	universe := slices.Collect(func(yield func(*types.Package) bool) {
		for _, p := range slices.Sorted(maps.Keys(all)) {
			if !yield(all[p]) {
				return
			}
		}
	})
	return &checked{pkg, &files, info, &universe}
}

// typesOptions knows what stands behind the interfaces of go/ast and go/types,
// vouches for the private fields of the latter, and names the objects that are in
// every program.
func typesOptions(t *testing.T) *db.Options {
	entries := append(universe(t), db.AllowPackage("go/types"), db.AllowPackage("go/constant"))
	for _, v := range []any{
		types.Basic{}, types.Array{}, types.Slice{}, types.Struct{}, types.Pointer{}, types.Tuple{}, types.Signature{}, types.Union{}, types.Interface{}, types.Map{}, types.Chan{},
		types.Named{}, types.TypeParam{}, types.Alias{}, types.PkgName{}, types.Const{}, types.TypeName{}, types.Var{}, types.Func{}, types.Label{}, types.Builtin{}, types.Nil{},
		constant.MakeUnknown(), constant.MakeBool(true), constant.MakeInt64(1), constant.Shift(constant.MakeInt64(1), token.SHL, 100), constant.MakeFloat64(0.1),
		constant.MakeFromLiteral("1e1000000", token.FLOAT, 0), constant.MakeImag(constant.MakeInt64(1)),
	} {
		entries = append(entries, db.TypeOf(reflect.TypeOf(v), ""))
	}
	entries = append(entries, db.TypeOf(reflect.TypeOf(constant.MakeString("s")).Elem(), ""))
	for _, v := range []any{
		ast.ArrayType{}, ast.AssignStmt{}, ast.BadDecl{}, ast.BadExpr{}, ast.BadStmt{}, ast.BasicLit{}, ast.BinaryExpr{}, ast.BlockStmt{}, ast.BranchStmt{}, ast.CallExpr{},
		ast.CaseClause{}, ast.ChanType{}, ast.CommClause{}, ast.CompositeLit{}, ast.DeclStmt{}, ast.DeferStmt{}, ast.Ellipsis{}, ast.EmptyStmt{}, ast.ExprStmt{}, ast.Field{},
		ast.FieldList{}, ast.File{}, ast.ForStmt{}, ast.FuncDecl{}, ast.FuncLit{}, ast.FuncType{}, ast.GenDecl{}, ast.GoStmt{}, ast.Ident{}, ast.IfStmt{}, ast.ImportSpec{},
		ast.IncDecStmt{}, ast.IndexExpr{}, ast.IndexListExpr{}, ast.InterfaceType{}, ast.KeyValueExpr{}, ast.LabeledStmt{}, ast.MapType{}, ast.ParenExpr{}, ast.RangeStmt{},
		ast.ReturnStmt{}, ast.SelectStmt{}, ast.SelectorExpr{}, ast.SendStmt{}, ast.SliceExpr{}, ast.StarExpr{}, ast.StructType{}, ast.SwitchStmt{}, ast.TypeAssertExpr{},
		ast.TypeSpec{}, ast.TypeSwitchStmt{}, ast.UnaryExpr{}, ast.ValueSpec{},
	} {
		entries = append(entries, db.TypeOf(reflect.TypeOf(v), ""))
	}
	return &db.Options{Types: db.Types(entries...), VerifyEvery: 1}
}

// universe names every object that the universe of go/types consists of, by the
// way to it, which is the same in every process.
func universe(t *testing.T) []db.TypeEntry {
	var entries []db.TypeEntry
	seen := map[unsafe.Pointer]bool{}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.UnsafePointer()] {
				return
			}
			seen[v.UnsafePointer()] = true
			entries = append(entries, db.Value(path, reflect.NewAt(v.Type().Elem(), v.UnsafePointer()).Interface()))
			walk(v.Elem(), path)
		case reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem(), path)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
			}
		case reflect.Map:
			keys := v.MapKeys()
			slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for _, k := range keys {
				walk(v.MapIndex(k), path+"."+k.String())
			}
		}
	}
	for _, n := range types.Universe.Names() {
		types.NewMethodSet(types.Universe.Lookup(n).Type()) // computes what is computed late
	}
	walk(reflect.ValueOf(types.Typ), "types.Typ")
	walk(reflect.ValueOf(types.Universe), "types.Universe")
	walk(reflect.ValueOf(types.Unsafe), "types.Unsafe")
	if len(entries) < 50 {
		t.Fatalf("the universe has %d objects", len(entries))
	}
	return entries
}

// A type-checked package and everything it imports answers questions about
// method sets, identity, lookups and implementations as it did.
func TestTypeCheckedPackagesAnswerTheSame(t *testing.T) {
	survives(t, of(typesOptions, func(t *testing.T) *checked { return checkFromSource(t, *typesOf) }, func(t *testing.T, v *checked, out *strings.Builder) {
		var named []*types.TypeName
		iface := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
		for _, p := range *v.Universe {
			fmt.Fprintln(out, p.Scope().Parent() == types.Universe || p == types.Unsafe, p.Imports())
			fmt.Fprintln(out, p.Path(), p.Name(), p.Complete(), p.GoVersion(), len(p.Imports()))
			for _, n := range p.Scope().Names() {
				o := p.Scope().Lookup(n)
				fmt.Fprintln(out, types.ObjectString(o, nil), o.Pos(), o.Exported(), o.Parent() == p.Scope(), o.Pkg() == p)
				if c, ok := o.(*types.Const); ok {
					fmt.Fprintln(out, c.Val().ExactString(), c.Val().Kind())
				}
				if sig, ok := o.Type().(*types.Signature); ok && sig.Results().Len() > 0 {
					last := sig.Results().At(sig.Results().Len() - 1).Type()
					fmt.Fprintln(out, last == types.Universe.Lookup("error").Type(), last == types.Typ[types.Bool], types.Implements(last, iface))
				}
				if tn, ok := o.(*types.TypeName); ok {
					named = append(named, tn)
				}
			}
		}
		methodSets(out, named)
		identities(out, v.Package, named)
		implementations(out, named)
		trees(out, v)
	}))
}

func methodSets(out *strings.Builder, named []*types.TypeName) {
	for _, tn := range named {
		fmt.Fprintln(out, tn.Name(), tn.IsAlias(), types.TypeString(tn.Type().Underlying(), nil), types.Comparable(tn.Type()))
		for _, typ := range []types.Type{tn.Type(), types.NewPointer(tn.Type())} {
			set := types.NewMethodSet(typ)
			for i := range set.Len() {
				s := set.At(i)
				fmt.Fprintln(out, s, s.Kind(), s.Index(), s.Indirect())
				o, index, indirect := types.LookupFieldOrMethod(typ, true, tn.Pkg(), s.Obj().Name())
				fmt.Fprintln(out, o == s.Obj(), index, indirect)
			}
		}
		if st, ok := tn.Type().Underlying().(*types.Struct); ok {
			for i := range st.NumFields() {
				f := st.Field(i)
				o, index, _ := types.LookupFieldOrMethod(tn.Type(), false, tn.Pkg(), f.Name())
				fmt.Fprintln(out, f, st.Tag(i), f.Embedded(), o == f, index)
			}
		}
	}
}

// identities compares the types of a package's objects with each other.
func identities(out *strings.Builder, p *types.Package, named []*types.TypeName) {
	var all []types.Type
	for _, n := range p.Scope().Names() {
		all = append(all, p.Scope().Lookup(n).Type())
	}
	all = some(all, 250)
	for _, tn := range some(named, 100) {
		all = append(all, tn.Type(), tn.Type().Underlying())
	}
	for i, a := range all {
		for j, b := range all[:i] {
			if types.Identical(a, b) || types.AssignableTo(a, b) || types.ConvertibleTo(a, b) {
				fmt.Fprintln(out, i, j, a == b, types.Identical(a, b), types.AssignableTo(a, b), types.AssignableTo(b, a), types.ConvertibleTo(a, b))
			}
		}
	}
}

// some returns at most n of a list, evenly.
func some[T any](list []T, n int) []T {
	var out []T
	for i := 0; i < len(list); i += 1 + len(list)/n {
		out = append(out, list[i])
	}
	return out
}

func implementations(out *strings.Builder, named []*types.TypeName) {
	var interfaces []*types.TypeName
	for _, tn := range named {
		if i, ok := tn.Type().Underlying().(*types.Interface); ok && i.NumMethods() > 0 {
			interfaces = append(interfaces, tn)
		}
	}
	for _, i := range some(interfaces, 60) {
		iface := i.Type().Underlying().(*types.Interface)
		for _, tn := range some(named, 300) {
			if types.Implements(tn.Type(), iface) || types.Implements(types.NewPointer(tn.Type()), iface) {
				fmt.Fprintln(out, tn.Pkg().Path(), tn.Name(), "implements", i.Name())
			}
			if m, wrong := types.MissingMethod(tn.Type(), iface, true); m != nil && wrong {
				fmt.Fprintln(out, tn.Name(), "has another", m.Name())
			}
		}
	}
}

// trees walks the trees and asks what each expression is.
func trees(out *strings.Builder, v *checked) {
	for _, f := range *v.Files {
		ast.Inspect(f, func(n ast.Node) bool {
			if n == nil {
				return false
			}
			fmt.Fprintf(out, "%T %d %d", n, n.Pos(), n.End())
			if s := v.Info.Scopes[n]; s != nil {
				fmt.Fprint(out, " ", s.Names(), s.NumChildren())
			}
			if e, ok := n.(ast.Expr); ok {
				if tv, ok := v.Info.Types[e]; ok {
					fmt.Fprint(out, " ", tv.Type, tv.Value, tv.Addressable(), tv.IsType(), tv.HasOk())
				}
			}
			switch n := n.(type) {
			case *ast.Ident:
				fmt.Fprint(out, " ", n.Name, v.Info.Defs[n], v.Info.Uses[n], v.Info.ObjectOf(n) != nil)
			case *ast.SelectorExpr:
				fmt.Fprint(out, " ", v.Info.Selections[n])
			}
			out.WriteByte('\n')
			return true
		})
	}
	fmt.Fprintln(out, len(v.Info.Types), len(v.Info.Defs), len(v.Info.Uses), len(v.Info.Implicits), len(v.Info.Selections), len(v.Info.Scopes), len(v.Info.Instances))
}
