package db_test

import (
	"testing"

	"github.com/poddb/poddb/db"
)

// Types that change between two processes: the first saves with the old ones, the second
// loads each variable alone and saves, loads the rest, saves, reads the old version, and
// finds nothing to write then (elsewhere).
type (
	plainOld struct {
		N    int16
		Gone string
		F    float32
		M    map[int8]uint8
	}
	plainAdded struct {
		New  []int
		N    int16
		Gone string
		F    float32
		M    map[int8]uint8
		Last *int
	}
	plainRemoved struct {
		N int16
		M map[int8]uint8
	}
	plainRenamed struct {
		Number int16   `pod:"number,was=N"`
		Gone   string  `pod:",was=Nothing"`
		Float  float32 `pod:"Float,was=F"`
		M      map[int8]uint8
	}
	plainReordered struct {
		M    map[int8]uint8
		F    float32
		Gone string
		N    int16
	}
	plainWidened struct {
		N    int64
		Gone string
		F    float64
		M    map[int]uint32
	}
	pointed struct {
		V *pairIn
		K int
	}
	unpointed struct {
		V pairIn
		K int
	}
	reffed struct {
		V db.Ref[pairIn]
		K int
	}
	movedOld struct {
		Name string
		Next *movedOld
	}
	movedNow struct {
		Next *movedNow
		Name string
	}
	hueOld  int8
	hueNow  uint32
	huesOld struct {
		By  map[hueOld]string
		One hueOld
		All []any
	}
	huesNow struct {
		By  map[hueNow]string
		One hueNow
		All []any
	}
	cents    struct{ Amount int }
	euros    struct{ Euros, Cents int }
	priceOld struct {
		C   cents
		All []cents
	}
	priceNow struct {
		C   euros
		All []euros
	}
	figure    interface{ corners() int }
	square    struct{ Side int }
	shapesOld struct {
		All []figure
		By  map[string]figure
	}
	shapesNow struct {
		All []square
		By  map[string]square
	}
	keepsOld struct {
		X any
		N int8
	}
	keepsNow struct {
		N int64
		X any
	}
)

func (square) corners() int { return 4 }

func changeRows() []row {
	type plains struct {
		A *plainOld
		B *int16
	}
	plain := func(name string) row {
		return kept(name, func() *plains {
			a := &plainOld{7, "gone", 1.5, map[int8]uint8{-1: 255}}
			return &plains{a, &a.N}
		}, func(t *testing.T, v *plains) {
			is(t, "what it was", v.B == &v.A.N && *v.B == 7 && v.A.F == 1.5 && v.A.M[-1] == 255)
		}, db.Type[plainOld]("plain"))
	}
	type boxes struct {
		A *boxedOld
		B *pairIn
		C *int
	}
	box := func(name string) row {
		return kept(name, func() *boxes {
			a := &boxedOld{pairIn{2, 3}, 4}
			return &boxes{a, &a.V, &a.K}
		}, func(t *testing.T, v *boxes) {
			is(t, "what it was", v.B == &v.A.V && v.C == &v.A.K && v.B.B == 3 && *v.C == 4)
		}, boxedEras[0]...)
	}
	type points struct {
		A *pointed
		B *pairIn
	}
	type anys struct{ A, B *anyNow }
	type moves struct {
		A *movedOld
		B *[]any
	}
	type hues struct {
		A *huesOld
		B *hueOld
	}
	type prices struct {
		A *priceOld
		B *[]any
	}
	type shapes struct {
		A *shapesOld
		B *[]figure
	}
	type keeps struct {
		A, B *keepsOld
	}
	type keepsLater struct{ A, B *keepsNow }
	isStranger := func(x any) bool {
		switch x := x.(type) {
		case *db.Opaque:
			return true
		case *stranger:
			return x.Name == "s" && x.Next == x
		}
		return false
	}
	return []row{
		changed(plain("fields are added"), func(t *testing.T, v *struct {
			A *plainAdded
			B *int16
		}) {
			is(t, "the rest", v.B == &v.A.N && v.A.N == 7 && v.A.Gone == "gone" && v.A.F == 1.5 && v.A.M[-1] == 255 && v.A.New == nil && v.A.Last == nil)
		}, db.Type[plainAdded]("plain")),
		changed(plain("fields are removed"), func(t *testing.T, v *struct {
			A *plainRemoved
			B *int16
		}) {
			is(t, "the rest", v.B == &v.A.N && v.A.N == 7 && v.A.M[-1] == 255)
		}, db.Type[plainRemoved]("plain")),
		changed(plain("fields are renamed"), func(t *testing.T, v *struct {
			A *plainRenamed
			B *int16
		}) {
			is(t, "all", v.B == &v.A.Number && v.A.Number == 7 && v.A.Gone == "gone" && v.A.Float == 1.5 && v.A.M[-1] == 255)
		}, db.Type[plainRenamed]("plain")),
		changed(plain("fields are reordered"), func(t *testing.T, v *struct {
			A *plainReordered
			B *int16
		}) {
			is(t, "all", v.B == &v.A.N && v.A.N == 7 && v.A.Gone == "gone" && v.A.F == 1.5 && v.A.M[-1] == 255)
		}, db.Type[plainReordered]("plain")),
		changed(plain("fields are widened"), func(t *testing.T, v *struct {
			A *plainWidened
			B *int64
		}) {
			is(t, "all", v.B == &v.A.N && v.A.N == 7 && v.A.Gone == "gone" && v.A.F == 1.5 && v.A.M[-1] == 255)
		}, db.Type[plainWidened]("plain")),
		changed(box("a field becomes a pointer"), func(t *testing.T, v *struct {
			A *pointed
			B *pairIn
			C *int
		}) {
			is(t, "all", v.B == v.A.V && v.C == &v.A.K && v.B.B == 3 && *v.C == 4)
		}, db.Type[pointed]("T"), inEntry).copies("B"),
		changed(box("a field becomes a Ref"), func(t *testing.T, v *struct {
			A *reffed
			B *pairIn
			C *int
		}) {
			is(t, "all", v.B == follow(v.A.V) && v.C == &v.A.K && v.B.B == 3 && *v.C == 4)
		}, db.Type[reffed]("T"), inEntry).copies("B"),
		changed(kept("a pointer becomes a value", func() *points {
			a := &pointed{&pairIn{2, 3}, 4}
			return &points{a, a.V}
		}, func(t *testing.T, v *points) { is(t, "what it was", v.B == v.A.V && v.B.B == 3) }, db.Type[pointed]("T"), inEntry), func(t *testing.T, v *struct {
			A *unpointed
			B *pairIn
		}) {
			is(t, "a copy", v.A.V == *v.B && v.B.B == 3 && v.A.K == 4)
		}, db.Type[unpointed]("T"), inEntry),
		changed(kept("a struct goes into an interface", func() *struct{ A, B *boxedOld } {
			a := &boxedOld{pairIn{2, 3}, 4}
			return &struct{ A, B *boxedOld }{a, a}
		}, func(t *testing.T, v *struct{ A, B *boxedOld }) { is(t, "what it was", v.A == v.B && v.A.V.B == 3) }, boxedEras[0]...), func(t *testing.T, v *anys) {
			is(t, "the value", v.A == v.B && v.A.V == any(pairIn{2, 3}) && v.A.K == 4)
		}, db.Type[anyNow]("T"), inEntry),
		changed(kept("a struct comes out of an interface", func() *anys {
			a := &anyNow{pairIn{2, 3}, 4}
			return &anys{a, a}
		}, func(t *testing.T, v *anys) { is(t, "what it was", v.A == v.B && v.A.V == any(pairIn{2, 3})) }, db.Type[anyNow]("T"), inEntry), func(t *testing.T, v *struct{ A, B *unpointed }) {
			is(t, "the value", v.A == v.B && v.A.V == pairIn{2, 3} && v.A.K == 4)
		}, db.Type[unpointed]("T"), inEntry),
		changed(kept("a type is moved", func() *moves {
			a := &movedOld{"a", &movedOld{Name: "b"}}
			a.Next.Next = a
			return &moves{a, &[]any{a, *a.Next}}
		}, func(t *testing.T, v *moves) { is(t, "what it was", (*v.B)[0] == any(v.A) && v.A.Next.Next == v.A) }, db.Type[movedOld]("old/place.Node")), func(t *testing.T, v *struct {
			A *movedNow
			B *[]any
		}) {
			is(t, "all", (*v.B)[0] == any(v.A) && v.A.Next.Next == v.A && v.A.Next.Name == "b" && (*v.B)[1].(movedNow).Next == v.A)
		}, db.Type[movedNow]("new/place.Node", db.Alias("old/place.Node"))),
		changed(kept("constants get another type", func() *hues {
			a := &huesOld{map[hueOld]string{1: "red", 2: "blue"}, 2, []any{hueOld(1)}}
			return &hues{a, &a.One}
		}, func(t *testing.T, v *hues) { is(t, "what it was", v.B == &v.A.One && v.A.By[*v.B] == "blue") }, db.Type[hueOld]("hue"), db.Type[huesOld]("hues")), func(t *testing.T, v *struct {
			A *huesNow
			B *hueNow
		}) {
			is(t, "all", v.B == &v.A.One && v.A.By[*v.B] == "blue" && len(v.A.By) == 2 && v.A.All[0] == any(hueNow(1)))
		}, db.Type[hueNow]("hue"), db.Type[huesNow]("hues")),
		changed(kept("values are migrated", func() *prices {
			a := &priceOld{cents{250}, []cents{{1}, {199}}}
			return &prices{a, &[]any{cents{7}, a}}
		}, func(t *testing.T, v *prices) { is(t, "what it was", (*v.B)[1] == any(v.A) && v.A.All[1].Amount == 199) }, db.Type[cents]("money"), db.Type[priceOld]("price")), func(t *testing.T, v *struct {
			A *priceNow
			B *[]any
		}) {
			is(t, "all", v.A.C == euros{2, 50} && v.A.All[1] == euros{1, 99} && (*v.B)[0] == any(euros{0, 7}) && (*v.B)[1] == any(v.A))
		}, db.Type[euros]("money"), db.Type[priceNow]("price"), db.Migrate("money", func(c *cents) (euros, error) { return euros{c.Amount / 100, c.Amount % 100}, nil })),
		changed(kept("elements of an interface with a name become structs", func() *shapes {
			a := &shapesOld{[]figure{square{1}, &square{2}}, map[string]figure{"s": square{3}}}
			return &shapes{a, &a.All}
		}, func(t *testing.T, v *shapes) { is(t, "what it was", v.B == &v.A.All && v.A.All[0] == any(square{1})) }, db.Type[square]("square"), db.Type[shapesOld]("shapes")), func(t *testing.T, v *struct {
			A *shapesNow
			B *[]square
		}) {
			is(t, "all", v.B == &v.A.All && v.A.All[0].Side == 1 && v.A.All[1].Side == 2 && v.A.By["s"].Side == 3)
		}, db.Type[square]("square"), db.Type[shapesNow]("shapes")),
		changed(kept("values of unknown types are written back", func() *keeps {
			s := &stranger{Name: "s"}
			s.Next = s
			return &keeps{&keepsOld{s, 1}, &keepsOld{s, 2}}
		}, func(t *testing.T, v *keeps) {
			is(t, "values", v.A.N == 1 && v.B.N == 2 && isStranger(v.A.X))
			if _, unknown := v.A.X.(*db.Opaque); !unknown {
				is(t, "identity", v.A.X == v.B.X)
			}
		}, db.Type[keepsOld]("keeps")), func(t *testing.T, v *keepsLater) {
			is(t, "values", v.A.N == 1 && v.B.N == 2 && isStranger(v.A.X) && isStranger(v.B.X))
		}, db.Type[keepsNow]("keeps")).unknown(db.Type[stranger]("a stranger"), db.Type[strangers]("strangers"), db.Type[node]("node")),
	}
}
