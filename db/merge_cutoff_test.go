package db_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/poddb/poddb/db"
)

// cellar is an object with another one that has all kinds of containers.
type cellar struct {
	N    int
	Room *cave
}

type cave struct {
	Nums  []int
	Texts []string
	Text  string
	Map   map[int]int
	Any   any
}

const manyNums = 20_000 // in chunks

// What a branch changed inside a container is not lost without a word where the other one let go of what leads there.
func TestMergeOfContainersThatWereCutOff(t *testing.T) {
	long := func(first string) string {
		return first + strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789", 60_000)
	}
	for name, c := range map[string]struct {
		make, edit func(*cave)
		got        func(*cave) any
		want       any
	}{
		"slice in chunks": {
			func(r *cave) { r.Nums = sevens(manyNums) },
			func(r *cave) { r.Nums[1] = -1 },
			func(r *cave) any { return r.Nums[1] }, -1,
		},
		"slice in an interface": {
			func(r *cave) { r.Any = sevens(manyNums) },
			func(r *cave) { r.Any.([]int)[1] = -1 },
			func(r *cave) any { return r.Any.([]int)[1] }, -1,
		},
		"slice in one slot": {
			func(r *cave) { r.Nums = sevens(10) },
			func(r *cave) { r.Nums[1] = -1 },
			func(r *cave) any { return r.Nums[1] }, -1,
		},
		"map in chunks": {
			func(r *cave) {
				r.Map = map[int]int{}
				for i := range manyNums {
					r.Map[i] = i
				}
			},
			func(r *cave) { r.Map[1] = -1 },
			func(r *cave) any { return r.Map[1] }, -1,
		},
		"text in chunks": {
			func(r *cave) { r.Text = long("x") },
			func(r *cave) { r.Text = long("y") },
			func(r *cave) any { return r.Text[:2] }, "ya",
		},
		"texts in chunks": {
			func(r *cave) { r.Texts = []string{"", long("x")} },
			func(r *cave) { r.Texts[1] = long("y") },
			func(r *cave) any { return r.Texts[1][:2] }, "ya",
		},
		"text in a map": {
			func(r *cave) { r.Any = map[string]string{"a": long("x")} },
			func(r *cave) { r.Any.(map[string]string)["a"] = long("y") },
			func(r *cave) any { return r.Any.(map[string]string)["a"][:2] }, "ya",
		},
	} {
		for _, turned := range []bool{false, true} {
			t.Run(fmt.Sprint(name, turned), func(t *testing.T) {
				cut := cutoff[cellar]{
					make: func(x *cellar) { x.Room = &cave{}; c.make(x.Room) },
					cut:  func(x *cellar) { x.Room = nil },
					edit: func(x *cellar) { c.edit(x.Room) },
				}
				x := cut.merge(t, turned, "a.Room")
				if x.Room == nil {
					t.Fatal("what the other branch changed is gone")
				}
				if got := c.got(x.Room); got != c.want {
					t.Errorf("got %v, expected %v", got, c.want)
				}
			})
		}
	}
}

func sevens(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i * 7919
	}
	return list
}

// A text that looks like a part of a path is a key like any other. What a branch changed in a key itself is as little lost as
// what is behind it.
func TestMergeOfKeysThatWereCutOff(t *testing.T) {
	for _, key := range []string{"plain", "x{key}y", "{key}", "x{1}", `a"]{key}`, "[0].V"} {
		for _, turned := range []bool{false, true} {
			x := cutoff[map[string]*cup]{
				make: func(x *map[string]*cup) { *x = map[string]*cup{key: {1, 7}, "other": {2, 8}} },
				cut:  func(x *map[string]*cup) { delete(*x, key) },
				edit: func(x *map[string]*cup) { (*x)[key].V = 9 },
			}.merge(t, turned, fmt.Sprintf("a[%q]", key))
			if c := (*x)[key]; c == nil || c.V != 9 {
				t.Errorf("%q has %v, expected what the other branch changed", key, c)
			}
		}
	}
	for _, turned := range []bool{false, true} {
		x := cutoff[map[*cup]int]{
			make: func(x *map[*cup]int) { *x = map[*cup]int{{1, 7}: 5} },
			cut:  func(x *map[*cup]int) { clear(*x) },
			edit: func(x *map[*cup]int) {
				for k := range *x {
					k.V = 9
				}
			},
		}.merge(t, turned, "")
		if len(*x) != 1 {
			t.Fatalf("%d keys, expected the one that the other branch changed", len(*x))
		}
		for k := range *x {
			if k.V != 9 {
				t.Errorf("key has %d, expected what the other branch changed", k.V)
			}
		}
	}
}

// What a codec handed over is one value to a merge: where a branch took something out of it that the other one changed, it
// is the place of the conflict; where it only put something beside, there is none.
func TestMergeOfHandedValuesThatWereCutOff(t *testing.T) {
	type shelf struct {
		N    int
		Sync sync.Map
		Any  any
	}
	load := func(m *sync.Map, key any) *cup {
		v, _ := m.Load(key)
		c, _ := v.(*cup)
		return c
	}
	fill := func(m *sync.Map) {
		m.Store("k", &cup{1, 7})
		m.Store("l", &cup{2, 8})
	}
	for name, c := range map[string]struct {
		of   func(x *shelf) *sync.Map
		path string
	}{
		"in a field":          {func(x *shelf) *sync.Map { return &x.Sync }, "a.Sync"},
		"behind an interface": {func(x *shelf) *sync.Map { return x.Any.(*sync.Map) }, "a.Any"},
		"in a map":            {func(x *shelf) *sync.Map { return x.Any.(map[string]any)["{0}"].(*sync.Map) }, `a.Any["{0}"]`},
	} {
		begin := func(x *shelf) {
			if x.Any = new(sync.Map); name == "in a map" {
				x.Any = map[string]any{"{0}": x.Any}
			}
			fill(c.of(x))
		}
		edit := func(x *shelf) { load(c.of(x), "k").V = 9 }
		for _, turned := range []bool{false, true} {
			t.Run(fmt.Sprint(name, turned), func(t *testing.T) {
				x := cutoff[shelf]{make: begin, edit: edit, cut: func(x *shelf) { c.of(x).Delete("k") }}.merge(t, turned, c.path)
				if k, l := load(c.of(x), "k"), load(c.of(x), "l"); k == nil || k.V != 9 || l == nil || l.V != 8 {
					t.Errorf("got %v and %v, expected what the other branch changed", k, l)
				}
				x = cutoff[shelf]{make: begin, edit: edit, cut: func(x *shelf) { c.of(x).Delete("l") }}.merge(t, turned, noConflict)
				if k, l := load(c.of(x), "k"), load(c.of(x), "l"); k == nil || k.V != 9 || l != nil {
					t.Errorf("got %v and %v, expected what each branch changed", k, l)
				}
				x = cutoff[shelf]{
					make: func(x *shelf) { begin(x); c.of(x).Store("tray", &tray{Cups: []*cup{{3, 7}}}) },
					cut: func(x *shelf) {
						v, _ := c.of(x).Load("tray")
						v.(*tray).Cups[0] = nil
						c.of(x).Store("m", 1)
					},
					edit: func(x *shelf) {
						v, _ := c.of(x).Load("tray")
						v.(*tray).Cups[0].V = 9
					},
				}.merge(t, turned, "")
				v, _ := c.of(x).Load("tray")
				if got := v.(*tray).Cups[0]; got == nil || got.V != 9 {
					t.Errorf("got %v, expected what the other branch changed", got)
				}
				if _, ok := c.of(x).Load("m"); !ok {
					t.Error("what the branch with the cut put beside is gone")
				}
			})
		}
	}
}

// noConflict is the path that a merge without conflicts is expected to have.
const noConflict = "-"

// cutoff is a merge of a branch that cuts off what another one edits.
type cutoff[T any] struct{ make, cut, edit func(*T) }

// merge merges, with the choice for the branch that edits, and returns what that comes to. There is one
// conflict, at a path: "" is any, and noConflict none. turned: it is the branch with the cut that is merged into the other.
func (c cutoff[T]) merge(t *testing.T, turned bool, path string) *T {
	t.Helper()
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, &db.Options{VerifyEvery: 1, Types: db.Types(db.Type[cup]("test.cup"), db.Type[tray]("test.tray"))}))(t)
	t.Cleanup(func() { d.Close() })
	do := func(branch string, fn func(*T)) {
		t.Helper()
		must(d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			x := new(T)
			if branch != "main" {
				x = must(db.Get[*T](ctx, tx, "a"))(t)
			}
			fn(x)
			return tx.Put(ctx, "a", x)
		}, db.TxOptions{Branch: branch}))(t)
	}
	do("main", c.make)
	for _, name := range []string{"cut", "edit"} {
		if err := d.Branch(ctx, name, must(d.Head(ctx, "main"))(t)); err != nil {
			t.Fatal(err)
		}
	}
	do("cut", c.cut)
	do("edit", c.edit)
	into, from, choice := "cut", "edit", db.TakeTheirs
	if turned {
		into, from, choice = from, into, db.TakeOurs
	}
	r := must(d.Merge(ctx, db.MergeOptions{Into: into, From: from, Resolve: choice}))(t)
	switch {
	case path == noConflict:
		if len(r.Conflicts) > 0 {
			t.Errorf("conflicts %s, expected none", conflictTexts(r.Conflicts))
		}
	case len(r.Conflicts) != 1 || path != "" && r.Conflicts[0].Path != path:
		t.Errorf("conflicts %s, expected one at %s", conflictTexts(r.Conflicts), path)
	}
	verifyDeep(t, d)
	s := must(d.At(ctx, must(d.Head(ctx, into))(t)))(t)
	t.Cleanup(func() { s.Close() })
	return must(db.Get[*T](ctx, s, "a"))(t)
}
