package podder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// What a save must not take from those whom its graph does not know: variables
// that were not loaded, other namespaces, later processes.

// knowing returns a configuration for s that knows types.
func knowing(t testing.TB, s *fakeStore, types ...reflect.Type) Config {
	t.Helper()
	cfg := s.config()
	cfg.Registry = NewRegistry()
	for _, typ := range types {
		if err := cfg.Registry.Register(typ, ""); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

// only loads some variables of the types of vars into a new graph.
func only(t testing.TB, s *fakeStore, names []string, vars map[string]any) (*Graph, []any) {
	t.Helper()
	g := mustGraph(t, knowing(t, s, reflect.TypeFor[fwPair]()))
	want := make([]reflect.Type, len(names))
	for i, n := range names {
		want[i] = reflect.TypeOf(vars[n])
	}
	vs, err := g.Load(context.Background(), s, names, want)
	if err != nil {
		t.Fatalf("load %v: %v", names, err)
	}
	pairs := make([]any, 0, 2*len(names))
	for i, n := range names {
		pairs = append(pairs, n, vs[i].Interface())
	}
	return g, pairs
}

// mustRead fails unless each variable, loaded alone, equals the one in vars.
func mustRead(t testing.TB, s *fakeStore, vars map[string]any) {
	t.Helper()
	for n, v := range vars {
		_, got := only(t, s, []string{n}, vars)
		if err := isomorphic(reflect.ValueOf(v), reflect.ValueOf(got[1])); err != nil {
			t.Fatalf("%s: %v", n, err)
		}
	}
}

func TestElementsThatOnlyOthersReferToStayStored(t *testing.T) {
	type words struct{ S []string }
	type word struct{ P *string }
	s := newFakeStore()
	text := []string{"one", "two", "three"}
	vars := map[string]any{"all": &words{text}, "one": &words{text[:1]}, "third": &word{&text[2]}}
	mustSave(t, mustGraph(t, s.config()), s, "all", vars["all"], "one", vars["one"], "third", vars["third"])
	g, one := only(t, s, []string{"one"}, vars)
	mustStayQuiet(t, g, s, one...)
	one[1].(*words).S[0] = "ONE"
	text[0] = "ONE"
	mustSave(t, g, s, one...)
	mustRead(t, s, vars)
	one[1].(*words).S = nil
	mustSave(t, g, s, one...)
	delete(vars, "one")
	mustRead(t, s, vars)
}

func TestElementsStayStoredWhenTheirArrayBecomesPartOfALongerOne(t *testing.T) {
	type words struct{ S []string }
	type word struct{ P *string }
	s := newFakeStore()
	text := []string{"one", "two", "three", "four"}
	vars := map[string]any{"tail": &words{text[1:]}, "two": &words{text[1:2]}, "four": &word{&text[3]}}
	g := mustGraph(t, s.config())
	mustSave(t, g, s, "tail", vars["tail"], "two", vars["two"], "four", vars["four"])
	vars["head"] = &words{text[:1]}
	mustSave(t, g, s, "head", vars["head"])
	mustRead(t, s, vars)
}

type fwPair struct{ A, B int }

func TestAForwarderIsUsedOnlyForWhatItLeadsTo(t *testing.T) {
	type intHolder struct{ P *int }
	type holder struct {
		P *int
		Q *fwPair
	}
	s := newFakeStore()
	x := &fwPair{1, 2}
	g := mustGraph(t, knowing(t, s, reflect.TypeFor[fwPair]()))
	a, b, h := &intHolder{&x.A}, &intHolder{&x.A}, &holder{P: &x.A}
	mustSave(t, g, s, "a", a, "b", b, "h", h)
	vars := map[string]any{"a": a, "b": b, "h": h, "x": x}
	mustSave(t, g, s, "a", a, "b", b, "x", x)
	// h refers to x.A through the forwarder.
	g, got := only(t, s, []string{"h", "x"}, vars)
	mustStayQuiet(t, g, s, got...)
	h2, x2 := got[1].(*holder), got[3].(*fwPair)
	if h2.P != &x2.A {
		t.Fatal("h does not point into x")
	}
	h2.Q, h.Q = x2, x
	mustSave(t, g, s, got...)
	mustRead(t, s, vars)
	_, got = only(t, s, []string{"h", "x"}, vars)
	if h3, x3 := got[1].(*holder), got[3].(*fwPair); h3.Q != x3 || h3.P != &x3.A {
		t.Error("h and x are not shared")
	}
}

func TestAPodWithOthersObjectsForwardsSlotsThatOnlyTheyReferTo(t *testing.T) {
	type mid struct {
		Name string
		P    *fwPair
	}
	type user struct {
		Mid *mid
		P   *fwPair
	}
	s := newFakeStore()
	g := mustGraph(t, s.config())
	arr := make([]fwPair, 4)
	u := &user{P: &arr[2], Mid: &mid{P: &arr[2]}}
	v := &struct{ Mid *mid }{u.Mid}
	mustSave(t, g, s, "u", u, "v", v)
	r := g.cur.regions.at(g.cur.memory.find(g.cur, unsafe.Pointer(&arr[2])))
	if s.pods[g.cur.pods[r.pod].id].Exported(pod.Slot(r.slot)) {
		t.Fatal("the pair is exported: the test tests nothing")
	}
	mustSave(t, g, s, "v", v, "arr", &arr)
	arr[2].A = 7
	mustSave(t, g, s, "v", v, "arr", &arr)
	vars := map[string]any{"u": u, "v": v, "arr": &arr}
	mustRead(t, s, vars)
	_, got := only(t, s, []string{"u", "arr"}, vars)
	if u2 := got[1].(*user); u2.P != &(*got[3].(*[]fwPair))[2] || u2.Mid.P != u2.P {
		t.Error("u does not point into arr")
	}
}

type skipping struct {
	mu   sync.Mutex
	A    int
	temp [4]int `pod:"-"`
}

func TestPointersIntoFieldsThatAreNotStoredAreErrorsWithThePath(t *testing.T) {
	x := &skipping{}
	for _, v := range []any{
		&struct {
			S *skipping
			P *int
		}{x, &x.temp[1]},
		&struct {
			S *skipping
			P *sync.Mutex
		}{x, &x.mu},
		&struct {
			S *skipping
			P []int
		}{x, x.temp[1:2]},
		&struct {
			P *int
			S *skipping
		}{&x.temp[1], x},
	} {
		_, err := mustGraph(t, Config{}).Save(context.Background(), rootsOf("x", v), newNullSink())
		if !errors.Is(err, dberr.ErrUnsupported) || !strings.Contains(err.Error(), "a field ") || !strings.Contains(err.Error(), "skipping.") ||
			!strings.Contains(err.Error(), "x.P") && !strings.Contains(err.Error(), "x.S") {
			t.Error(err)
		}
	}
	var set struct {
		S *skipping
		P *int
	}
	set.S, set.P = x, &x.A
	roundTrip(t, "x", &set)
}

type knownNode struct{ V any }

func TestEveryVariableKnowsTheTypesItLeadsTo(t *testing.T) {
	type local struct{ N int }
	type both struct {
		T *leaf
		N *knownNode
	}
	type one struct{ N *knownNode }
	n := &knownNode{&leaf{}}
	many := make([]any, 100)
	for i := range many {
		many[i] = leaf{Text: "x"}
	}
	type bothMany struct {
		T *leaf
		S []any
	}
	l := &fwPair{}
	arr := &[3]local{}
	for name, pairs := range map[string][]any{
		"b.N.V":  {"a", &both{N: n}, "b", &one{n}},
		"b.N.V ": {"b", &one{n}, "a", &both{N: n}},
		"b":      {"a", l, "b", &l.B},
		"b  ":    {"b", &l.B, "a", l},
		"b   ":   {"a", arr, "b", &arr[2].N},
		"b[0]":   {"a", &bothMany{S: many}, "b", &many},
	} {
		_, err := mustGraph(t, Config{}).Save(context.Background(), rootsOf(pairs...), newNullSink())
		if !errors.Is(err, dberr.ErrUnregistered) || !strings.Contains(err.Error(), " "+strings.TrimSpace(name)+" (") || !strings.Contains(err.Error(), "db.Register[podder.") {
			t.Errorf("%v: %v", name, err)
		}
	}
	// The second save has a shadow of the array.
	g, a := mustGraph(t, Config{}), &bothMany{S: many}
	for range 2 {
		saved, err := g.Save(context.Background(), rootsOf("a", a), newNullSink())
		if err != nil {
			t.Fatal(err)
		}
		saved.Commit()
	}
	if _, err := g.Save(context.Background(), rootsOf("a", a, "b", &many), newNullSink()); !errors.Is(err, dberr.ErrUnregistered) {
		t.Error("a new variable leads to an unchanged array with a type it does not know:", err)
	}
	s := newFakeStore()
	cfg := knowing(t, s, reflect.TypeFor[leaf](), reflect.TypeFor[fwPair](), reflect.TypeFor[local]())
	mustSave(t, mustGraph(t, cfg), s, "a", &both{N: n}, "b", &one{n}, "c", l, "d", &l.B, "e", arr, "f", &arr[2].N, "g", &many)
	for name, v := range map[string]any{"b": &one{}, "d": &l.B, "f": &l.B, "g": &many} {
		reload(t, s, cfg, name, v)
	}
}

func TestBetweenTwoObjectsInOneSlotItIsFree(t *testing.T) {
	type holder struct{ P *fwPair }
	s := newFakeStore()
	g := mustGraph(t, s.config())
	h := &holder{&fwPair{1, 1}}
	mustSave(t, g, s, "h", h)
	place := func() (pod.ID, uint32) {
		i := g.cur.memory.find(g.cur, reflect.ValueOf(h.P).UnsafePointer())
		r := g.cur.regions.at(i)
		return g.cur.pods[r.pod].id, r.slot
	}
	id, slot := place()
	h.P = &fwPair{2, 2}
	mustSave(t, g, s, "h", h)
	if id2, slot2 := place(); id == id2 && slot == slot2 {
		t.Fatal("the new object took the slot of the one it replaced")
	}
	if k := s.pods[id].Slots[slot].Kind; k != pod.SlotFree {
		t.Errorf("the slot is of kind %d, want free", k)
	}
	h.P = &fwPair{3, 3}
	mustSave(t, g, s, "h", h)
	if id2, slot2 := place(); id != id2 || slot != slot2 {
		t.Error("a free slot was not used again")
	}
	mustStayQuiet(t, g, s, "h", h)
}

type (
	ages  map[string]int
	pairB fwPair
)

func TestRegionsUnderTwoNamesKeepTheirPlace(t *testing.T) {
	type mapA struct{ M map[string]int }
	type mapB struct{ M ages }
	type ptrA struct {
		P *fwPair
		_ *pairB
		Q *pairB
	}
	type ptrB struct {
		P *pairB
		Q *fwPair
	}
	m, p := map[string]int{"a": 1}, &fwPair{1, 2}
	vars := map[string]any{"ma": &mapA{m}, "mb": &mapB{m}, "pa": &ptrA{P: p}, "pb": &ptrB{P: (*pairB)(p)}}
	for _, names := range [][]string{{"ma", "mb", "pa", "pb"}, {"pb", "pa"}, {"pa", "pb"}, {"ma", "mb"}} {
		var pairs []any
		for _, n := range names {
			pairs = append(pairs, n, vars[n])
		}
		s := newFakeStore()
		mustSave(t, mustGraph(t, s.config()), s, pairs...)
		for i := range names { // in another order, and alone
			var again []any
			for k := range names {
				j := 2 * ((i + k) % len(names))
				again = append(again, pairs[j], pairs[j+1])
			}
			reload(t, s, s.config(), again...)
			if names[i] != "mb" || pairs[0] == "mb" {
				reload(t, s, s.config(), again[:2]...)
			}
		}
	}
}

func TestATypeThatNobodyLeftKnowsIsReplacedByItsTwin(t *testing.T) {
	type a struct {
		P *fwPair
		Q *pairB
	}
	type c struct{ P *pairB }
	s := newFakeStore()
	g := mustGraph(t, s.config())
	p := &fwPair{1, 2}
	mustSave(t, g, s, "a", &a{P: p})
	mustSave(t, g, s, "c", &c{(*pairB)(p)})
	reload(t, s, s.config(), "c", &c{})
	reload(t, s, s.config(), "a", &a{})
}

func TestHintsAreWhatAProgramCanDo(t *testing.T) {
	type key struct{ N int }
	for want, v := range map[string]any{
		"a func cannot be stored":          []any{func() {}},
		"a chan cannot be stored":          []any{make(chan int)},
		"no program can register it":       []any{io.MultiReader(nil)},
		"db.Register[podder.key]":          []any{map[key]int{}},
		"db.Register[podder.leaf]":         []any{[]map[int]*leaf{}},
		"give it a name and register that": []any{(*fmt.Stringer)(nil), struct{ F func() }{}, new(interface{ M() })},
	} {
		_, err := mustGraph(t, Config{}).Save(context.Background(), rootsOf("x", &v), newNullSink())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v, want %q", v, err, want)
		}
	}
	// Types with a codec need no hint.
	roundTrip(t, "t", &[]any{time.Unix(1, 2).UTC(), &[]time.Time{}, map[time.Time]int{}})
}

// sharer has references of all kinds into memory that others have, too.
type sharer struct {
	Name  string
	Next  []*sharer
	Words []string
	Word  *string
	Pairs []fwPair
	Pair  *fwPair
	Int   *int
	M     map[string]*sharer
}

func TestVariablesThatAreNotLoadedReadAsBefore(t *testing.T) {
	first := testSeed(t)
	for k := range sample(60, 20, 5) {
		seed := first + k
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			words, pairs := make([]string, 12), make([]fwPair, 8)
			for i := range words {
				words[i] = fmt.Sprint("word ", i)
			}
			all := make([]*sharer, 20)
			for i := range all {
				all[i] = &sharer{Name: fmt.Sprint(i)}
			}
			fill := func(x *sharer, all []*sharer, words []string, pairs []fwPair) {
				a := r.IntN(len(words))
				b := a + r.IntN(len(words)-a+1)
				x.Words = words[a:b]
				x.Word = &words[r.IntN(len(words))]
				a = r.IntN(len(pairs))
				x.Pairs = pairs[a : a+r.IntN(len(pairs)-a+1)]
				x.Pair, x.Int = &pairs[r.IntN(len(pairs))], &pairs[r.IntN(len(pairs))].A
				x.Next = append(x.Next[:0:0], all[r.IntN(len(all))])
				if r.IntN(3) == 0 {
					x.M = map[string]*sharer{"k": all[r.IntN(len(all))]}
				}
			}
			for _, x := range all {
				fill(x, all, words, pairs)
			}
			s := newFakeStore()
			vars := map[string]any{}
			g := mustGraph(t, s.config())
			var set []any
			for i := range 6 { // some in a first save, the rest later
				n := fmt.Sprint("v", i)
				vars[n] = &sharer{}
				fill(vars[n].(*sharer), all, words, pairs)
				set = append(set, n, vars[n])
				if i >= 2 {
					mustSave(t, g, s, set...)
				}
			}
			mustRead(t, s, vars)
			for range 6 {
				var names, rest []string
				for i := range 6 {
					if n := fmt.Sprint("v", i); r.IntN(3) == 0 {
						names = append(names, n)
					} else {
						rest = append(rest, n)
					}
				}
				if len(names) == 0 || len(rest) == 0 {
					continue
				}
				before := map[string]any{}
				for _, n := range rest {
					_, v := only(t, s, []string{n}, vars)
					before[n] = v[1]
				}
				g, pairs := only(t, s, names, vars)
				mustStayQuiet(t, g, s, pairs...)
				// New objects and references, no change of what others may see.
				for i := 1; i < len(pairs); i += 2 {
					x := pairs[i].(*sharer)
					y := &sharer{Name: "new", Next: []*sharer{x}, Words: x.Words[:len(x.Words)/2], Word: x.Word, Pair: x.Pair}
					if len(x.Pairs) > 0 {
						y.Int = &x.Pairs[0].B
					}
					pairs[i] = y
				}
				mustSave(t, g, s, pairs...)
				mustRead(t, s, before)
				for i := 0; i < len(pairs); i += 2 {
					vars[pairs[i].(string)] = pairs[i+1]
					mustRead(t, s, map[string]any{pairs[i].(string): pairs[i+1]})
				}
			}
		})
	}
}
