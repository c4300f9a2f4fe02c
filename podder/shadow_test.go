package podder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
)

type shadowed struct {
	Strings []string
	Anys    []any
	Errs    []fmt.Stringer
	Tail    []string // of Strings
	Wide    []any    // Anys up to its capacity
}

type shadowName struct{ N int }

func (n shadowName) String() string { return fmt.Sprint(n.N) }

// Arrays whose words equal their shadow are not looked at; whatever happens to
// an element must change the words, or the save must look.
func TestShadowedArraysMissNoChange(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	reg := NewRegistry()
	for typ, name := range map[reflect.Type]string{reflect.TypeFor[shadowed](): "t.shadowed", reflect.TypeFor[shadowName](): "t.shadowName"} {
		if err := reg.Register(typ, name); err != nil {
			t.Fatal(err)
		}
	}
	store := newFakeStore()
	cfg := store.config()
	cfg.Registry = reg
	g, err := NewGraph(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x := &shadowed{Strings: make([]string, 60, 100), Anys: make([]any, 60, 100), Errs: make([]fmt.Stringer, 60)}
	value := func() any {
		switch rng.IntN(7) {
		case 0:
			return nil
		case 1:
			return rng.IntN(300)
		case 2:
			return strings.Repeat("s", rng.IntN(5))
		case 3:
			return &shadowName{rng.IntN(9)}
		case 4:
			return shadowName{rng.IntN(1000)}
		case 5:
			return []any{x}
		}
		return strings.Repeat("long", 1<<10+rng.IntN(3))
	}
	for step := range 400 {
		for range rng.IntN(3) {
			k := rng.IntN(60)
			switch rng.IntN(7) {
			case 0:
				x.Strings[k] = fmt.Sprint("string ", rng.IntN(1000))
			case 1:
				x.Anys[k] = value()
			case 2:
				x.Errs[k] = shadowName{rng.IntN(1000)}
			case 3:
				x.Strings = append(x.Strings[:60], make([]string, rng.IntN(40))...)
			case 4:
				x.Tail = x.Strings[:cap(x.Strings)][rng.IntN(60):]
			case 5:
				x.Wide = x.Anys[:cap(x.Anys)]
				x.Wide[60+rng.IntN(len(x.Wide)-60)] = value()
			case 6:
				x.Tail, x.Wide = nil, nil
			}
		}
		if step%50 == 0 {
			runtime.GC()
		}
		tx := store.begin()
		saved, err := g.Save(context.Background(), []Root{{Name: "x", Value: reflect.ValueOf(x)}}, tx)
		if err != nil {
			t.Fatalf("seed %d step %d: %v", seed, step, err)
		}
		if rng.IntN(8) == 0 {
			saved.Abort() // the next save finds the same changes
			continue
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		saved.Commit()
		got, err := Decode(context.Background(), cfg, store, []string{"x"}, []reflect.Type{reflect.TypeFor[*shadowed]()})
		if err != nil {
			t.Fatal(err)
		}
		if err := isomorphic(reflect.ValueOf(x), got[0]); err != nil {
			t.Fatalf("seed %d step %d: %v", seed, step, err)
		}
	}
}

// An unchanged array of strings is neither visited nor encoded, and stays so
// over saves.
func TestUnchangedStringsAreComparedByTheirWords(t *testing.T) {
	list := make([]string, 1000)
	for i := range list {
		list[i] = fmt.Sprint("element ", i)
	}
	g, err := NewGraph(Config{})
	if err != nil {
		t.Fatal(err)
	}
	store := newFakeStore()
	same := func() bool {
		tx := store.begin()
		saved, err := g.Save(context.Background(), []Root{{Name: "x", Value: reflect.ValueOf(&list)}}, tx)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		saved.Commit()
		i := g.cur.memory.find(g.cur, unsafe.Pointer(unsafe.SliceData(list)))
		return g.cur.regions.at(i).flags&flagSame != 0
	}
	for n, want := range []bool{false, true, true} {
		if got := same(); got != want {
			t.Errorf("save %d: unchanged = %v, want %v", n, got, want)
		}
	}
	list[500] = "other"
	if same() || !same() {
		t.Error("a changed element was missed, or the copy not renewed")
	}
}

// An array that leads to something for a while is not compared with its words before that:
// what is stored of it is younger.
func TestWordsOfAnArrayThatLedSomewhere(t *testing.T) {
	long := strings.Repeat("x", longString+1)
	for _, n := range []int{50, 3_000} {
		for _, walks := range []string{"no", "then", "always"} {
			t.Run(fmt.Sprint(n, " elements, walks: ", walks), func(t *testing.T) {
				s := newFakeStore()
				cfg := indexed(s)
				cfg.TargetBytes, cfg.Index = 512, walks != "always"
				g := mustGraph(t, cfg)
				list, boxes := make([]string, n), make([]any, n)
				for i := range list {
					list[i], boxes[i] = fmt.Sprintf("a string with number %d", i), fmt.Sprintf("another with number %d", i)
				}
				for range 3 {
					mustSave(t, g, s, "list", list, "boxes", boxes)
				}
				was, box := list[7], boxes[7]
				list[7], boxes[7] = long, long
				mustSave(t, g, s, "list", list, "boxes", boxes)
				list[7], boxes[7] = was, box
				if walks == "then" {
					g.cur.forgetPrints()
				}
				mustSave(t, g, s, "list", list, "boxes", boxes)
				_, got := reload(t, s, cfg, "list", list, "boxes", boxes)
				if !slices.Equal(got[0].Interface().([]string), list) || !slices.Equal(got[1].Interface().([]any), boxes) {
					t.Error("something else was loaded")
				}
			})
		}
	}
}

// The words of an array are as many as it had elements when they were kept.
func TestWordsOfAnArrayThatGrew(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 512
	g := mustGraph(t, cfg)
	whole := make([]string, 500)
	for i := range whole {
		whole[i] = fmt.Sprintf("%d %s", i, strings.Repeat("x", 150))
	}
	list := whole[:40]
	for range 3 {
		mustSave(t, g, s, "list", list)
	}
	list[3] = "changed"
	mustResave(t, g, s, "list", list)
	list = whole
	list[300] = strings.Repeat("x", longString+1)
	mustResave(t, g, s, "list", list)
	list[300] = "short again"
	mustSave(t, g, s, "list", list)
	_, got := reload(t, s, cfg, "list", list)
	if err := isomorphic(reflect.ValueOf(list), got[0]); err != nil {
		t.Fatal(err)
	}
}

// A copy of an array's words that is not what is stored has a change missed; the walk
// that verifies does not believe it. Strings and interfaces, in a pod and in chunks.
func TestVerifyEveryDoesNotBelieveCopiesOfWords(t *testing.T) {
	for _, n := range []int{50, 3_000} {
		list, boxes := make([]string, n), make([]any, n)
		for i := range list {
			list[i], boxes[i] = fmt.Sprintf("a string with number %d", i), i*i+1_000
		}
		mistake(t, list, "another")
		mistake(t, boxes, any("another"))
	}
}

// mistake saves list, and has a walk miss that an element of it is another one. The
// save after that must say so.
func mistake[T any](t *testing.T, list []T, another T) {
	t.Helper()
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes, cfg.VerifyEvery = 512, 1
	g := mustGraph(t, cfg)
	count := 0
	save := func() error {
		count++
		tx := s.begin()
		saved, err := g.Save(context.Background(), rootsOf("list", list, "count", count), tx)
		if err == nil {
			if err = tx.commit(); err == nil {
				saved.Commit()
			}
		}
		return err
	}
	for range 4 {
		if err := save(); err != nil {
			t.Fatal(err)
		}
	}
	words := g.cur.shadows[g.cur.regions.at(g.cur.memory.find(g.cur, unsafe.Pointer(&list[0]))).extra]
	if words == nil {
		t.Fatalf("%d elements: no words are kept", len(list))
	}
	list[7] = another
	unsafe.Slice((*T)(words), len(list))[7] = another
	g.cur.forgetPrints()
	if err := save(); err != nil {
		t.Fatal(err)
	}
	if err := save(); !errors.Is(err, dberr.ErrUnsound) {
		t.Errorf("%d elements of %T: %v, want %v", len(list), another, err, dberr.ErrUnsound)
	}
}

// The copies of words that a save makes of an array go with it if it does not stay: the next one
// compares with what is stored. With and without chunks, with an array that is new and with a walk.
func TestCopiesOfWordsOfASaveThatFailed(t *testing.T) {
	for _, n := range []int{50, 3_000} {
		for _, index := range []bool{true, false} {
			s := newFakeStore()
			cfg := indexed(s)
			cfg.Index, cfg.TargetBytes = index, 512
			g := mustGraph(t, cfg)
			list := make([]string, n)
			for i := range list {
				list[i] = fmt.Sprint("string ", i)
			}
			var other []string
			for range 4 {
				mustSave(t, g, s, "list", list, "other", other)
			}
			list[n/2] = "another"
			other = slices.Clone(list)
			saved, err := g.Save(t.Context(), rootsOf("list", list, "other", other), s.begin())
			if err != nil {
				t.Fatal(err)
			}
			saved.Abort()
			if copies := len(g.cur.shadows); copies != 1 {
				t.Errorf("%d elements, index %v: words of %d arrays are kept", n, index, copies)
			}
			tx := mustSave(t, g, s, "list", list, "other", other)
			if len(tx.changes) == 0 {
				t.Fatalf("%d elements, index %v: what the save that failed found is lost", n, index)
			}
			_, got := reload(t, s, cfg, "list", list, "other", other)
			for i, want := range [][]string{list, other} {
				if err := isomorphic(reflect.ValueOf(want), got[i]); err != nil {
					t.Errorf("%d elements, index %v: %v", n, index, err)
				}
			}
		}
	}
}
