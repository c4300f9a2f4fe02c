package db_test

import (
	"context"
	"testing"

	"github.com/poddb/poddb/db"
)

// follow is Get of a Ref that must work.
func follow[T any](r db.Ref[T]) *T {
	p, err := r.Get(context.Background())
	if err != nil {
		panic(err)
	}
	return p
}

// linked is a cycle through Refs and plain pointers.
type linked struct {
	Name string
	Next db.Ref[linked]
	Prev *linked
}

func refRows() []row {
	type shared struct {
		A *struct{ R, Again db.Ref[inner] }
		B *struct {
			R db.Ref[inner]
			P *inner
		}
	}
	type places struct {
		M map[string]db.Ref[inner]
		S *[]db.Ref[inner]
		A *[3]db.Ref[inner]
		I *any
		L *[]any
		N *struct{ In struct{ R db.Ref[inner] } }
		P *db.Ref[inner]
	}
	type rings struct{ X, Y *linked }
	type parts struct {
		Field *struct{ R db.Ref[int] }
		Whole *box
		Elem  *struct{ R db.Ref[inner] }
		Elems *[]inner
		First *struct{ R db.Ref[box] }
	}
	type kinds struct {
		X *struct {
			Slice  db.Ref[[]*inner]
			Map    db.Ref[map[string]*inner]
			Any    db.Ref[any]
			Ref    db.Ref[db.Ref[inner]]
			Ptr    db.Ref[*inner]
			Str    db.Ref[string]
			Num    db.Ref[float64]
			Arr    db.Ref[[4]inner]
			Zero   db.Ref[zero]
			Nil    db.Ref[inner]
			NilPtr db.Ref[*inner]
		}
	}
	type big struct{ X *[]db.Ref[inner] }
	return []row{
		kept("Refs and pointers to one object", func() *shared {
			x := &inner{x: 1, s: "one"}
			v := &shared{A: new(struct{ R, Again db.Ref[inner] }), B: new(struct {
				R db.Ref[inner]
				P *inner
			})}
			v.A.R, v.A.Again, v.B.R, v.B.P = db.NewRef(x), db.NewRef(x), db.NewRef(x), x
			return v
		}, func(t *testing.T, v *shared) {
			is(t, "one object", follow(v.A.R) == follow(v.A.Again))
			is(t, "contents", follow(v.A.R).s == "one" && follow(v.A.R).x == 1)
			if v.B != nil && v.A != nil {
				is(t, "between variables", follow(v.B.R) == v.B.P && v.B.P == follow(v.A.R))
			}
		}),
		kept("Refs wherever a value may be", func() *places {
			x := &inner{x: 2}
			r := db.NewRef(x)
			var i any = r
			n := new(struct{ In struct{ R db.Ref[inner] } })
			n.In.R = r
			return &places{M: map[string]db.Ref[inner]{"x": r, "nil": {}}, S: &[]db.Ref[inner]{r, {}, r}, A: &[3]db.Ref[inner]{{}, r},
				I: &i, L: &[]any{r, &r, db.Ref[inner]{}}, N: n, P: &r}
		}, func(t *testing.T, v *places) {
			x := follow(v.M["x"])
			is(t, "map", x.x == 2 && v.M["nil"].IsNil() && len(v.M) == 2)
			is(t, "slice", follow((*v.S)[0]) == x && (*v.S)[1].IsNil() && follow((*v.S)[2]) == x)
			is(t, "array", v.A[0].IsNil() && follow(v.A[1]) == x)
			is(t, "interface", follow((*v.I).(db.Ref[inner])) == x)
			is(t, "interfaces", follow((*v.L)[0].(db.Ref[inner])) == x && (*v.L)[1].(*db.Ref[inner]) == v.P && (*v.L)[2].(db.Ref[inner]).IsNil())
			is(t, "nested", follow(v.N.In.R) == x && follow(*v.P) == x)
		}, db.Type[db.Ref[inner]]("test.refInner")),
		kept("cycles through Refs", func() *rings {
			a, b, c := &linked{Name: "a"}, &linked{Name: "b"}, &linked{Name: "c"}
			a.Next, b.Next, c.Next = db.NewRef(b), db.NewRef(c), db.NewRef(a)
			a.Prev, b.Prev, c.Prev = c, a, b
			return &rings{a, c}
		}, func(t *testing.T, v *rings) {
			a := v.X
			b := follow(a.Next)
			c := follow(b.Next)
			is(t, "names", a.Name+b.Name+c.Name == "abc")
			is(t, "forwards", follow(c.Next) == a)
			is(t, "backwards", a.Prev == c && b.Prev == a && c.Prev == b)
			is(t, "variables", v.Y == c)
		}),
		kept("Refs into objects", func() *parts {
			v := &parts{Whole: &box{a: 1, b: 7, in: inner{x: 8}, tail: "tail"}, Elems: &[]inner{{x: 1}, {x: 2}, {x: 3}},
				Field: new(struct{ R db.Ref[int] }), Elem: new(struct{ R db.Ref[inner] }), First: new(struct{ R db.Ref[box] })}
			v.Field.R, v.Elem.R, v.First.R = db.NewRef(&v.Whole.in.x), db.NewRef(&(*v.Elems)[1]), db.NewRef(v.Whole)
			return v
		}, func(t *testing.T, v *parts) {
			is(t, "field", *follow(v.Field.R) == 8 && follow(v.Field.R) == &v.Whole.in.x)
			is(t, "element", follow(v.Elem.R) == &(*v.Elems)[1])
			is(t, "whole", follow(v.First.R) == v.Whole && v.Whole.tail == "tail")
		}, db.Type[box]("test.box")),
		kept("Refs to all kinds", func() *kinds {
			v := &kinds{X: new(struct {
				Slice  db.Ref[[]*inner]
				Map    db.Ref[map[string]*inner]
				Any    db.Ref[any]
				Ref    db.Ref[db.Ref[inner]]
				Ptr    db.Ref[*inner]
				Str    db.Ref[string]
				Num    db.Ref[float64]
				Arr    db.Ref[[4]inner]
				Zero   db.Ref[zero]
				Nil    db.Ref[inner]
				NilPtr db.Ref[*inner]
			})}
			x := &inner{x: 5}
			r, str, num, none := db.NewRef(x), "text", 2.5, (*inner)(nil)
			var a any = x
			v.X.Slice, v.X.Map, v.X.Any = db.NewRef(&[]*inner{x, nil}), db.NewRef(&map[string]*inner{"x": x}), db.NewRef(&a)
			v.X.Ref, v.X.Ptr, v.X.Str, v.X.Num = db.NewRef(&r), db.NewRef(&x), db.NewRef(&str), db.NewRef(&num)
			v.X.Arr, v.X.Zero, v.X.NilPtr = db.NewRef(&[4]inner{{}, {x: 6}}), db.NewRef(&zero{}), db.NewRef(&none)
			return v
		}, func(t *testing.T, v *kinds) {
			x := follow(*follow(v.X.Ref))
			s := *follow(v.X.Slice)
			is(t, "slice", len(s) == 2 && s[0] == x && s[1] == nil && x.x == 5)
			is(t, "map and any", (*follow(v.X.Map))["x"] == x && *follow(v.X.Any) == any(x))
			is(t, "pointer", *follow(v.X.Ptr) == x && *follow(v.X.NilPtr) == nil && !v.X.NilPtr.IsNil())
			is(t, "values", *follow(v.X.Str) == "text" && *follow(v.X.Num) == 2.5 && follow(v.X.Arr)[1].x == 6)
			is(t, "empty and nil", !v.X.Zero.IsNil() && follow(v.X.Zero) != nil && v.X.Nil.IsNil() && follow(v.X.Nil) == nil)
		}),
		kept("a container in chunks of Refs", func() *big {
			list := make([]db.Ref[inner], 20_000)
			for i := range list {
				if i%50 == 0 {
					list[i] = db.NewRef(&inner{x: i})
				} else if i%7 == 0 {
					list[i] = list[i/50*50]
				}
			}
			return &big{&list}
		}, func(t *testing.T, v *big) {
			for i, r := range *v.X {
				switch {
				case i%50 == 0:
					is(t, "element", follow(r).x == i)
				case i%7 == 0:
					is(t, "shared", follow(r) == follow((*v.X)[i/50*50]))
				default:
					is(t, "nil", r.IsNil())
				}
			}
		}),
	}
}
