package db_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// Two types called db_test.twin, as far as names go.
func twinOne() any {
	type twin struct{ A int }
	return &twin{1}
}

func twinTwo() any {
	type twin struct{ B string }
	return &twin{"b"}
}

type boxOf[T any] struct{ V T }

// localBox is a generic type with a type argument that is local to a function.
func localBox() any {
	type local struct{ N int }
	return &boxOf[local]{local{3}}
}

// pairOf is a struct type with fields of the types of two values.
func pairOf(a, b any) any {
	t := reflect.StructOf([]reflect.StructField{
		{Name: "First", Type: reflect.TypeOf(a)},
		{Name: "Items", Type: reflect.SliceOf(reflect.TypeOf(b))},
	})
	v := reflect.New(t)
	v.Elem().Field(0).Set(reflect.ValueOf(a))
	v.Elem().Field(1).Set(reflect.Append(v.Elem().Field(1), reflect.ValueOf(b)))
	return v.Interface()
}

// Types that a later process could not tell apart by their names are refused by the
// save, with the way to one of them and the call that gives it a name; then nothing
// is stored of them, and with the call all is.
func TestTypesOfOneNameAreRefusedUntilTheyAreRegistered(t *testing.T) {
	ctx := context.Background()
	one, two := twinOne(), twinTwo()
	box := localBox()
	nameOne := db.TypeOf(reflect.TypeOf(one).Elem(), "twins.One")
	nameBox := db.TypeOf(reflect.TypeOf(box).Elem(), "local.Box")
	for name, c := range map[string]struct {
		saves []map[string]any
		says  []string
		types []db.TypeEntry
	}{
		"in one variable":  {[]map[string]any{{"x": pairOf(one, two)}}, []string{"x.Items[0]", "db_test.twin", "db.Type"}, []db.TypeEntry{nameOne}},
		"in two variables": {[]map[string]any{{"x": one, "y": two}}, []string{"y", "db_test.twin", "db.Type"}, []db.TypeEntry{nameOne}},
		"in two saves":     {[]map[string]any{{"x": one}, {"x": one, "y": two}}, []string{"y", "db_test.twin", "db.Type"}, []db.TypeEntry{nameOne}},
		"generic":          {[]map[string]any{{"x": box}}, []string{"x", "boxOf[", "db.Type"}, []db.TypeEntry{nameBox}},
	} {
		t.Run(name, func(t *testing.T) {
			d := openMemory(t)
			ns := namespace(t, d)
			for i, vars := range c.saves {
				for n, v := range vars {
					set(t, ns, n, v)
				}
				base := ns.Base()
				_, err := ns.Save(ctx)
				if i < len(c.saves)-1 {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				said(t, err, db.ErrUnsupported, c.says...)
				said(t, err, db.ErrUnregistered)
				if u := (*db.UnsupportedError)(nil); !errors.As(err, &u) || len(u.Problems) != 1 || !strings.HasPrefix(u.Problems[0].Path, c.says[0]) {
					t.Errorf("%v does not say the way", err)
				}
				if ns.Base() != base {
					t.Errorf("base is %d after a save that failed", ns.Base())
				}
			}
			with := must(db.OpenMemory(ctx, &db.Options{Types: db.Types(c.types...)}))(t)
			defer with.Close()
			ns = namespace(t, with)
			for _, vars := range c.saves {
				for n, v := range vars {
					set(t, ns, n, v)
				}
			}
			s := must(with.At(ctx, save(t, ns)))(t)
			defer s.Close()
			for n, v := range c.saves[len(c.saves)-1] {
				out := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "V", Type: reflect.TypeOf(v), Tag: reflect.StructTag(`pod:"` + n + `"`)}}))
				if err := s.Load(ctx, out.Interface()); err != nil || !reflect.DeepEqual(out.Elem().Field(0).Interface(), v) {
					t.Errorf("%s: %+v, %v", n, out.Elem().Field(0), err)
				}
			}
		})
	}
}
