package db_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"unsafe"

	"github.com/poddb/poddb/db"
)

// refusal is a graph that cannot be kept: Save says so, with the path to each
// value that it cannot store and what to do, and writes nothing.
type refusal struct {
	name  string
	types []db.TypeEntry
	build func() any // variable x
	// paths lead to what is refused, each with words of the reason.
	paths map[string][]string
}

type panics struct{ N int }

func (p *panics) MarshalPod(*db.ValueWriter) error   { panic("no luck") }
func (p *panics) UnmarshalPod(*db.ValueReader) error { return nil }

type hidden struct {
	Skip int `pod:"-"`
	N    int
}

type crateOf[T any] struct{ V T }

// sameName is two types of one name.
func sameName() (any, any) {
	type inside struct{ A int }
	a := &inside{1}
	b := func() any {
		type inside struct{ B string }
		return &inside{"b"}
	}
	return a, b()
}

func refusals() []refusal {
	return []refusal{
		{"funcs, channels, unsafe pointers and method values, all at once", nil, func() any { return bound() }, map[string][]string{
			"x.Fn": {"func"}, "x.Ch": {"chan"}, "x.Ptr": {"unsafe.Pointer"}, "x.Any": {"func"}, `x.On["close"]`: {"func"}, "x.List[1]": {"chan"}, "x.List[2]": {"func"}, "x.Sub.hook": {"func"}}},
		{"a type behind an interface that a later process could not know", nil, func() any { return &[]any{1, map[string]any{"r": &rect{1, 2}}} },
			map[string][]string{`x[1]["r"]`: {"a later process could not know", `db.Register[db_test.rect]("github.com/poddb/poddb/db_test.rect")`}}},
		{"private fields of a package", nil, func() any { return &struct{ A []any }{[]any{new(tabwriter.Writer)}} },
			map[string][]string{"x.A[0]": {"tabwriter keeps private fields", "db.Codec", "db.AllowPackage", `pod:"-"`}}},
		{"an open file", nil, func() any { return &struct{ F *os.File }{os.Stdout} }, map[string][]string{"x.F": {"os keeps private fields"}}},
		{"two types that cannot be told apart by name", nil, func() any {
			a, b := sameName()
			return &[]any{a, b}
		}, map[string][]string{"x[0]": {"db.Register"}, "x[1]": {"db.Register"}}},
		{"a pointer to a field that is not stored", nil, func() any {
			h := &hidden{N: 1}
			return &struct {
				H *hidden
				P *int
			}{h, &h.Skip}
		}, map[string][]string{"x.P": {"points into a field that is not stored", "Skip", "have the field stored", "skip the pointer"}}},
		{"a pointer into memory that is another type", nil, func() any {
			n := []int{1, 2}
			return &struct {
				N []int
				B *[4]int32
			}{n, (*[4]int32)(unsafe.Pointer(&n[0]))}
		}, map[string][]string{"x.B": {"reached as", "point at it as what it is there"}}},
		{"a nil channel in an interface and in the key of a map", nil, func() any {
			return &struct {
				A any
				M map[any]int
			}{(chan int)(nil), map[any]int{(chan int)(nil): 1}}
		}, map[string][]string{"x.A": {"set the interface, not what is in it, to nil"}, "x.M[chan int](key)": {"take that key out of the map"}}},
		{"a type argument that is local to a function", nil, func() any {
			type local struct{ A int }
			return &[]any{crateOf[local]{}}
		}, map[string][]string{"x[0]": {"type argument that is local to a function", "db.Register[T](name)"}}},
		{"a type that panics in its method", nil, func() any { return &struct{ P *panics }{&panics{}} }, map[string][]string{"x.P": {"panic", "no luck"}}},
		{"a pointer into a value with a form of its own", []db.TypeEntry{db.Type[meters]("meters", db.UseText())}, func() any {
			m := &meters{5}
			return &struct {
				M *meters
				P *int64
			}{m, &m.mm}
		}, map[string][]string{"x.P": {"meters"}}},
		{"a sync.Map that holds a func", nil, func() any {
			m := new(sync.Map)
			m.Store("f", func() {})
			return &struct{ M *sync.Map }{m}
		}, map[string][]string{`x.M{"f"}`: {"func"}}},
	}
}

func TestFidelityRefuses(t *testing.T) {
	ctx := context.Background()
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			file := t.TempDir() + "/refused.pod"
			d := must(db.Open(ctx, file, &db.Options{Types: db.Types(r.types...)}))(t)
			ns := namespace(t, d)
			set(t, ns, "fine", &node{Name: "fine"})
			v := save(t, ns)
			set(t, ns, "x", r.build())
			_, err := ns.Save(ctx)
			var all *db.UnsupportedError
			if !errors.Is(err, db.ErrUnsupported) && !errors.Is(err, db.ErrUnregistered) || !errors.As(err, &all) {
				t.Fatalf("%v", err)
			}
			for _, p := range all.Problems {
				words, ok := r.paths[p.Path]
				if !ok {
					t.Errorf("unexpected path %s: %+v", p.Path, p)
				}
				for _, w := range words {
					if !strings.Contains(p.Type+" "+p.Reason, w) {
						t.Errorf("%s: no %q in %q, %q", p.Path, w, p.Type, p.Reason)
					}
				}
				delete(r.paths, p.Path)
			}
			if len(r.paths) > 0 {
				t.Errorf("not named: %v in %v", r.paths, err)
			}
			// Without it everything goes on, here and in a later life.
			if err := ns.Delete(ctx, "x"); err != nil {
				t.Fatal(err)
			}
			if again := save(t, ns); again != v {
				t.Errorf("version %d was written", again)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = must(db.Open(ctx, file, nil))(t)
			defer d.Close()
			ns = namespace(t, d)
			if n := must(db.Get[*node](ctx, ns, "fine"))(t); n.Name != "fine" {
				t.Errorf("%+v", n)
			}
			if again := save(t, ns); again != v {
				t.Errorf("a save after the load made version %d", again)
			}
			verifyClean(t, d)
		})
	}
}
