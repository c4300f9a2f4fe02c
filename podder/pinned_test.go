package podder

import (
	"fmt"
	"reflect"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// letGoNode is small enough that the next object gets its address soon.
type letGoNode struct {
	Name string
	Next *letGoNode
	N    [3]int
}

// letGoNodes are objects that hang on nothing else, in small groups: those are encoded soon.
func letGoNodes(what string) [][]*letGoNode {
	list := make([][]*letGoNode, letGoGroups)
	for i := range list {
		for k := range letGoGroup {
			list[i] = append(list[i], &letGoNode{Name: fmt.Sprint(what, i), N: [3]int{i, k, i}})
		}
	}
	return list
}

// So many that most tables lie outside of the heap.
const letGoGroups, letGoGroup = 1500, 20

// letGoOf drops all objects.
func letGoOf(list [][]*letGoNode) {
	for _, group := range list {
		clear(group)
	}
}

// reuseMemory has the collector take what was let go of, and returns new objects.
func reuseMemory() [][]*letGoNode {
	runtime.GC()
	runtime.GC()
	return letGoNodes("new ")
}

// letGoHook drops what was saved before it, and makes more.
type letGoHook struct {
	drop func()            `pod:"-"`
	More [][]*letGoNode    // made by BeforeStore
	By   map[string]string // so that it is no row of words
}

func (h *letGoHook) BeforeStore() error {
	if h.drop != nil {
		h.drop()
		h.More = reuseMemory()
	}
	return nil
}

// letGoCodec does the same while its codec runs.
type letGoCodec struct{ drop func() }

// Code of the program may let go of what the save has found already: what gets its memory then
// is something else.
func TestAHookMayLetGoOfWhatWasFound(t *testing.T) {
	s := newFakeStore()
	old, fill := letGoNodes("old "), letGoNodes("fill ")
	hook := &letGoHook{drop: func() { letGoOf(old) }}
	got := saveLastOf(t, s, Config{}, nil, "a", &old, "b", fill, "c", hook)
	checkLetGo(t, "old ", *got[0].Interface().(*[][]*letGoNode))
	checkLetGo(t, "fill ", got[1].Interface().([][]*letGoNode))
	checkLetGo(t, "new ", got[2].Interface().(*letGoHook).More)
}

// The same for codecs.
func TestACodecMayLetGoOfWhatWasFound(t *testing.T) {
	var made [][]*letGoNode
	reg := registryOf(t, letGoNode{})
	if err := reg.RegisterCodec(Codec{Type: reflect.TypeFor[letGoCodec](), Name: "letgo", Version: 1,
		Store: func(w *ValueWriter, v any) error {
			v.(*letGoCodec).drop()
			w.Value(reuseMemory())
			return nil
		},
		Load: func(r *ValueReader, _ any) error {
			made, _ = r.Value().([][]*letGoNode)
			return nil
		}}); err != nil {
		t.Fatal(err)
	}
	old, fill := letGoNodes("old "), letGoNodes("fill ")
	value := &letGoCodec{drop: func() { letGoOf(old) }}
	got := saveLastOf(t, newFakeStore(), Config{Registry: reg}, nil, "a", &old, "b", fill, "c", value)
	checkLetGo(t, "old ", *got[0].Interface().(*[][]*letGoNode))
	checkLetGo(t, "new ", made)
}

// The same for others that write with sync/atomic meanwhile.
func TestOthersMayLetGoOfWhatWasFound(t *testing.T) {
	type cell struct {
		List atomic.Pointer[[][]*letGoNode]
	}
	listOf := func(what string) *[][]*letGoNode {
		list := letGoNodes(what)
		return &list
	}
	was, will := &cell{}, &cell{}
	fill := letGoNodes("fill ")
	was.List.Store(listOf("old "))
	will.List.Store(new([][]*letGoNode))
	pods, replaced := 0, 0
	each := func() {
		if pods++; pods == letGoGroups*3/2 { // in the midst of fill
			was.List.Store(nil)
			runtime.GC()
			runtime.GC()
			will.List.Store(listOf("new "))
			replaced = pods
		}
	}
	got := saveLastOf(t, newFakeStore(), Config{}, each, "a", was, "b", fill, "c", will)
	if replaced == 0 || replaced == pods {
		t.Fatalf("replaced when there were %d pods of %d", replaced, pods)
	}
	if list := got[0].Interface().(*cell).List.Load(); list != nil { // it may be stored after it was replaced
		checkLetGo(t, "old ", *list)
	}
	checkLetGo(t, "fill ", got[1].Interface().([][]*letGoNode))
	checkLetGo(t, "new ", *got[2].Interface().(*cell).List.Load())
}

// checkLetGo fails unless list is what letGoNodes has made.
func checkLetGo(t *testing.T, what string, list [][]*letGoNode) {
	t.Helper()
	if len(list) != letGoGroups {
		t.Fatalf("%d groups, want %d", len(list), letGoGroups)
	}
	for i, group := range list {
		if len(group) != letGoGroup {
			t.Fatalf("group %d has %d nodes", i, len(group))
		}
		for k, x := range group {
			if want := fmt.Sprint(what, i); x == nil || x.Name != want || x.N != [3]int{i, k, i} || x.Next != nil {
				t.Fatalf("node %d of group %d is %+v, want %q", k, i, x, want)
			}
		}
	}
}

// podTx calls a function for each new pod.
type podTx struct {
	*fakeTx
	each func()
}

func (t *podTx) NewPod() pod.ID {
	if t.each != nil {
		t.each()
	}
	return t.fakeTx.NewPod()
}

// saveLastOf is the only save of a graph. It returns what was stored.
func saveLastOf(t *testing.T, s *fakeStore, cfg Config, each func(), pairs ...any) []reflect.Value {
	t.Helper()
	cfg.Secret, cfg.TargetBytes = s.key, 256
	tx := &podTx{s.begin(), each}
	saved, err := mustGraph(t, cfg).SaveLast(t.Context(), rootsOf(pairs...), tx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	saved.Abort()
	var names []string
	var types []reflect.Type
	for i := 0; i < len(pairs); i += 2 {
		names, types = append(names, pairs[i].(string)), append(types, reflect.TypeOf(pairs[i+1]))
	}
	got, err := Decode(t.Context(), cfg, s, names, types)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
