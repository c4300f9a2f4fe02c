package podder

import (
	"fmt"
	"reflect"
	"testing"
)

// bigSecret is what the program of the test does not know.
type bigSecret struct {
	Array []opaqueInner
	Map   map[string]opaqueInner
	Big   *[200]opaqueInner
}

// Unknown values of any size are stored whole, not in chunks, by the first save of a
// graph, too.
func TestAFirstSaveOfLargeUnknownValues(t *testing.T) {
	x := &bigSecret{Array: make([]opaqueInner, 200), Map: map[string]opaqueInner{}, Big: new([200]opaqueInner)}
	for i := range x.Array {
		v := opaqueInner{fmt.Sprint("one of many ", i), "of them"}
		x.Array[i], x.Big[i], x.Map[v.S] = v, v, v
	}
	for _, last := range []bool{false, true} {
		s := newFakeStore()
		full, part := s.config(), s.config()
		full.Registry = registryOf(t, bigSecret{}, opaqueInner{})
		full.TargetBytes, part.TargetBytes = 1<<20, 64
		world := &[]any{x, 1}
		mustSave(t, mustGraph(t, full), s, "x", world)
		_, vs := reload(t, s, part, "x", world)
		if _, ok := (*vs[0].Interface().(*[]any))[0].(*Opaque); !ok {
			t.Fatalf("loaded %v", vs[0])
		}
		g, tx := mustGraph(t, part), s.begin()
		save := g.Save
		if last {
			save = g.SaveLast
		}
		saved, err := save(t.Context(), rootsOf("y", vs[0].Interface()), tx)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		if last {
			saved.Abort()
		} else {
			saved.Commit()
			mustStayQuiet(t, g, s, "y", vs[0].Interface())
		}
		_, got := reload(t, s, full, "y", world)
		if err := isomorphic(reflect.ValueOf(world), got[0]); err != nil {
			t.Fatal(err)
		}
	}
}
