package realgraphs

import (
	"fmt"
	"go/ast"
	"go/build"
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

	"golang.org/x/tools/go/ssa"
	"golang.org/x/tools/go/ssa/ssautil"

	"github.com/poddb/poddb/db"
)

// ssaOptions vouches for the private fields of a compiler's inside. What is left
// of building it (channels for which nobody waits, a cache of the last file)
// is not stored.
func ssaOptions(t *testing.T) *db.Options {
	o := typesOptions(t)
	var entries []db.TypeEntry
	for _, path := range []string{"golang.org/x/tools/go/ssa", "golang.org/x/tools/go/types/typeutil", "golang.org/x/tools/internal/typeparams", "go/token"} {
		entries = append(entries, db.AllowPackage(path))
	}
	for _, x := range []any{
		ssa.Alloc{}, ssa.BinOp{}, ssa.Builtin{}, ssa.Call{}, ssa.ChangeInterface{}, ssa.ChangeType{}, ssa.Const{}, ssa.Convert{}, ssa.DebugRef{}, ssa.Defer{},
		ssa.Extract{}, ssa.Field{}, ssa.FieldAddr{}, ssa.FreeVar{}, ssa.Function{}, ssa.Global{}, ssa.Go{}, ssa.If{}, ssa.Index{}, ssa.IndexAddr{}, ssa.Jump{}, ssa.Lookup{},
		ssa.MakeChan{}, ssa.MakeClosure{}, ssa.MakeInterface{}, ssa.MakeMap{}, ssa.MakeSlice{}, ssa.MapUpdate{}, ssa.MultiConvert{}, ssa.NamedConst{}, ssa.Next{}, ssa.Panic{},
		ssa.Parameter{}, ssa.Phi{}, ssa.Range{}, ssa.Return{}, ssa.RunDefers{}, ssa.Select{}, ssa.Send{}, ssa.Slice{}, ssa.SliceToArrayPointer{}, ssa.Store{}, ssa.Type{},
		ssa.TypeAssert{}, ssa.UnOp{},
	} {
		entries = append(entries, db.TypeOf(reflect.TypeOf(x), ""))
	}
	return &db.Options{Types: o.Types.With(entries...), OnUnsupported: db.ZeroUnsupported, VerifyEvery: 1}
}

// A program in SSA form prints the same instructions, with the same operands,
// users and dominators.
func TestProgramsInSSAFormReadTheSame(t *testing.T) {
	type built struct {
		Package *ssa.Package
		Objects *[]types.Object
	}
	survives(t, of(ssaOptions, func(t *testing.T) *built {
		fset := token.NewFileSet()
		bp := must(build.Import(*ssaOf, "", 0))(t)
		var files []*ast.File
		for _, name := range bp.GoFiles {
			files = append(files, must(parser.ParseFile(fset, filepath.Join(bp.Dir, name), nil, 0))(t))
		}
		p, info, err := ssautil.BuildPackage(&types.Config{Importer: importer.ForCompiler(fset, "source", nil)}, fset, types.NewPackage(*ssaOf, bp.Name), files, ssa.InstantiateGenerics)
		if err != nil {
			t.Fatal(err)
		}
		v := &built{p, &[]types.Object{}}
		for _, o := range info.Defs {
			if f, ok := o.(*types.Func); ok {
				*v.Objects = append(*v.Objects, f)
			}
		}
		slices.SortFunc(*v.Objects, func(a, b types.Object) int { return int(a.Pos() - b.Pos()) })
		return v
	}, func(t *testing.T, v *built, out *strings.Builder) {
		for _, name := range slices.Sorted(maps.Keys(v.Package.Members)) {
			m := v.Package.Members[name]
			fmt.Fprintln(out, m, m.Type(), m.Token(), v.Package.Prog.Fset.Position(m.Pos()))
			if f, ok := m.(*ssa.Function); ok {
				function(t, out, f)
			}
		}
		for _, o := range *v.Objects {
			if f := v.Package.Prog.FuncValue(o.(*types.Func)); f != nil {
				function(t, out, f)
			}
		}
	}))
}

func function(t *testing.T, out *strings.Builder, f *ssa.Function) {
	if _, err := f.WriteTo(out); err != nil {
		t.Fatal(err)
	}
	for _, b := range f.Blocks {
		fmt.Fprintln(out, b, b.Comment, b.Preds, b.Succs, b.Idom(), b.Dominees(), b.Parent() == f)
		for _, i := range b.Instrs {
			for _, o := range i.Operands(nil) {
				if *o != nil && (*o).Referrers() != nil {
					fmt.Fprint(out, (*o).Name(), slices.Contains(*(*o).Referrers(), i), " ")
				}
			}
		}
	}
	for _, anon := range f.AnonFuncs {
		function(t, out, anon)
	}
}
