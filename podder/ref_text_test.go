package podder

import (
	"reflect"
	"slices"
	"testing"
)

// The text of a Ref has the registered name of what it leads to, and an alias of that
// is one of the Ref.
func TestTextsOfRefs(t *testing.T) {
	type local struct{}
	r := NewRegistry()
	if err := r.Register(reflect.TypeFor[refLeaf](), "leaf", "old.Leaf"); err != nil {
		t.Fatal(err)
	}
	typ := reflect.TypeFor[map[string]Ref[refLeaf]]()
	name := ownName(reflect.TypeFor[Ref[int]]())
	if text := r.typeText(typ); text != "map[string]"+name+"leaf]" {
		t.Fatal(text)
	}
	for text, want := range map[string]bool{"leaf": true, "old.Leaf": true, "other": false, "leaf,leaf": false} {
		if got := r.textIs("map[string]"+name+text+"]", typ); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if text := r.typeText(reflect.TypeFor[Ref[[]local]]()); text != name+"[]github.com/poddb/poddb/podder.local]" {
		t.Fatal(text)
	}
	if got := splitArgs(`map[a]b,func(x, y),struct{A b "t,\"g"},c`); !slices.Equal(got, []string{"map[a]b", "func(x, y)", `struct{A b "t,\"g"}`, "c"}) {
		t.Fatalf("%q", got)
	}
	if !(ownModules{path: "example.com/program"}).own(databasePackage) {
		t.Fatal("programs cannot store Maps")
	}
}
