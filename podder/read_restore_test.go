package podder

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type restItem struct {
	N     int
	mu    sync.Mutex
	cache string `pod:"-"`
	Arr   [2]struct {
		V int
		sync.Mutex
	}
	Next *restItem
	Map  map[float64]*restItem
	Ints []int
	L    []restSmall
	Text string
	any  any
	Last *int
}

type restSmall struct {
	A  int
	Mu sync.RWMutex
}

// restoreStore holds two variables: x, an item with a map, slices, a second
// item in another pod and a shared string, and n, a number.
func restoreStore() *handStore {
	h := newHandStore()
	tItem := reflect.TypeFor[restItem]()
	item := func(n int64, next hand, m, ints, l hand, last hand) hand {
		b := hand{}.zz(n).zz(n + 1).zz(n + 2)
		b = append(b, next...)
		b = append(append(append(b, m...), ints...), l...)
		b = b.uv(4<<1 | 1).to(6).uv(0).uv(0)
		return append(b, last...)
	}
	h.names["x"], h.names["n"] = 1, 3
	nan := math.NaN()
	h.pod(1, []pod.Ref{{Pod: 2, Slot: 0}},
		h.box(reflect.TypeFor[*restItem](), hand{}.to(1)),
		h.object(tItem, item(10, hand{}.out(0), hand{}.to(2), hand{}.uv(2+2, 1).to(3), hand{}.uv(1+2, 0).to(4), hand{}.part(1, 0, 3, 1, 0))),
		h.mapOf(reflect.TypeFor[map[float64]*restItem](), hand{}.f64(1).to(1), hand{}.f64(nan).out(0)),
		h.array(reflect.TypeFor[int](), 3, 4, hand{}.f64(0), hand{}.f64(0)),
		h.array(reflect.TypeFor[restSmall](), 1, 4, hand{}.zz(77)),
		pod.Data{},
		sharedString("text"))
	h.pods[1].Exports = []pod.Export{{}, {Slot: 1}}
	h.pod(2, []pod.Ref{{Pod: 1, Slot: 1}},
		h.object(tItem, hand{}.zz(20).zz(0).zz(0).out(0).uv(0).uv(0).uv(0).str("").uv(0).uv(0)))
	h.pod(3, nil, h.box(reflect.TypeFor[int](), hand{}.zz(5)))
	return h
}

func loadRest(t *testing.T, g *Graph, h *handStore) *restItem {
	t.Helper()
	vs, err := g.Load(t.Context(), h, []string{"x", "n"}, []reflect.Type{reflect.TypeFor[*restItem](), reflect.TypeFor[int]()})
	if err != nil {
		t.Fatal(err)
	}
	return vs[0].Interface().(*restItem)
}

func TestRestoreIsInPlace(t *testing.T) {
	h := restoreStore()
	g, err := NewGraph(Config{Registry: h.reg})
	if err != nil {
		t.Fatal(err)
	}
	x := loadRest(t, g, h)
	want := mustGet[*restItem](t, h, "x")
	next, m, ints, l := x.Next, x.Map, x.Ints, x.L

	x.N, x.Text, x.any, x.Last, x.Next, x.Map, x.Ints = -1, "other", x, nil, nil, nil, nil
	x.cache = "kept"
	x.mu.Lock()
	x.Arr[1].V = -2
	x.Arr[1].Lock()
	next.N, next.Next = -3, next
	clear(m)
	m[9] = next
	ints[0], ints[:3][2] = 8, 9
	l[0].A = -4
	l[0].Mu.RLock()

	res, err := g.Restore(t.Context(), h, []string{"x", "n"}, History{})
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Values["x"].Interface().(*restItem); got != x || len(res.Moved) != 0 || res.Values["n"].Int() != 5 {
		t.Fatalf("moved %v", res.Moved)
	}
	if x.Next != next || reflect.ValueOf(x.Map).Pointer() != reflect.ValueOf(m).Pointer() || &x.Ints[0] != &ints[0] || &x.L[0] != &l[0] || x.Last != &x.Arr[1].V {
		t.Fatal("objects are at other addresses")
	}
	if err := isomorphic(reflect.ValueOf(want), reflect.ValueOf(x)); err != nil {
		t.Fatal(err)
	}
	if x.cache != "kept" || x.mu.TryLock() || x.Arr[1].TryLock() || l[0].Mu.TryLock() {
		t.Fatal("masked fields were written")
	}
}

func TestRestoreGivesNewMemoryWhereNothingFits(t *testing.T) {
	h := restoreStore()
	g, err := NewGraph(Config{Registry: h.reg})
	if err != nil {
		t.Fatal(err)
	}
	x := loadRest(t, g, h)
	ints := x.Ints
	// In the other snapshot x is another object, and its ints are a longer array.
	old := h.clone()
	p := old.pods[1]
	p.Slots[5] = p.Slots[1]
	p.Slots[0] = old.box(reflect.TypeFor[*restItem](), hand{}.to(5))
	p.Slots[3] = old.array(reflect.TypeFor[int](), 6, 4, hand{}.f64(1), hand{}.f64(0))
	res, err := g.Restore(t.Context(), old, []string{"x", "n"}, History{})
	if err != nil {
		t.Fatal(err)
	}
	y := res.Values["x"].Interface().(*restItem)
	if !slices.Equal(res.Moved, []string{"x"}) || y == x || y.Next.Next != x || &y.Ints[0] == &ints[0] {
		t.Fatalf("moved %v", res.Moved)
	}
	if err := isomorphic(reflect.ValueOf(mustGet[*restItem](t, old, "x")), reflect.ValueOf(y)); err != nil {
		t.Fatal(err)
	}
	if lr, ok := g.live(1, 5); !ok || lr.addr != res.Values["x"].UnsafePointer() {
		t.Fatal("the graph does not know the new object")
	}
}

func TestFailedRestoreChangesNothing(t *testing.T) {
	h := restoreStore()
	g, err := NewGraph(Config{Registry: h.reg})
	if err != nil {
		t.Fatal(err)
	}
	x := loadRest(t, g, h)
	next, m := x.Next, x.Map
	next.N = 1
	m[3] = nil
	check := func(what string, err error, want error) {
		t.Helper()
		if !errors.Is(err, want) || next.N != 1 || len(m) != 3 || x.Next != next {
			t.Fatalf("%s: error %v, N %d, %d entries", what, err, next.N, len(m))
		}
		if lr, ok := g.live(2, 0); !ok || lr.addr != reflect.ValueOf(next).UnsafePointer() {
			t.Fatalf("%s: placement changed", what)
		}
	}
	stop := errors.New("stop")
	_, err = g.Restore(t.Context(), h, []string{"x"}, History{Head: func([]pod.ID) ([]*pod.Pod, error) { return nil, stop }})
	check("changed fails", err, stop)
	bad := h.clone()
	bad.pods[2].Slots[0].Bytes = bad.pods[2].Slots[0].Bytes[:4]
	_, err = g.Restore(t.Context(), bad, []string{"x"}, History{})
	check("damaged pod", err, dberr.ErrCorrupt)
	_, err = g.Restore(t.Context(), h, []string{"x", "none"}, History{})
	check("no such variable", err, dberr.ErrNotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = g.Restore(ctx, h, []string{"x"}, History{})
	check("cancelled", err, context.Canceled)
}

// freedSlots frees the named slots of one pod.
func freedSlots(id pod.ID, slots ...pod.Slot) FreedSlots {
	return func(p pod.ID) (func(pod.Slot) bool, error) {
		return func(s pod.Slot) bool { return p == id && slices.Contains(slots, s) }, nil
	}
}

func TestRestoreGivesNewMemoryWhereSlotsWereFreed(t *testing.T) {
	h := restoreStore()
	g, err := NewGraph(Config{Registry: h.reg})
	if err != nil {
		t.Fatal(err)
	}
	x := loadRest(t, g, h)
	next, m := x.Next, x.Map
	next.N = 1
	m[3] = nil
	head := h.clone()
	stop := errors.New("stop")
	fails := func(pod.ID) (func(pod.Slot) bool, error) { return nil, stop }
	changed := func(ids []pod.ID) ([]*pod.Pod, error) {
		now := make([]*pod.Pod, len(ids))
		for i, id := range ids {
			now[i] = head.pods[id]
		}
		return now, nil
	}
	for _, hist := range []History{{LiveFreed: fails}, {Head: changed, HeadFreed: fails}} {
		if _, err := g.Restore(t.Context(), h, []string{"x", "n"}, hist); !errors.Is(err, stop) || next.N != 1 || len(m) != 3 {
			t.Fatalf("error %v, N %d, %d entries", err, next.N, len(m))
		}
	}
	res, err := g.Restore(t.Context(), h, []string{"x", "n"}, History{Head: changed, LiveFreed: freedSlots(1, 2, 3), HeadFreed: freedSlots(2, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if res.Values["x"].Interface() != any(x) || x.Next != next || next.N != 20 {
		t.Error("what was in use all the time has moved")
	}
	if reflect.ValueOf(x.Map).Pointer() == reflect.ValueOf(m).Pointer() || len(m) != 3 {
		t.Error("a map whose slot was freed was written")
	}
	if err := isomorphic(reflect.ValueOf(mustGet[*restItem](t, h, "x")), reflect.ValueOf(x)); err != nil {
		t.Fatal(err)
	}
	if _, ok := g.live(2, 0); ok {
		t.Error("an object is at the place that another one has at the head")
	}
	if lr, ok := g.live(1, 1); !ok || lr.addr != reflect.ValueOf(x).UnsafePointer() {
		t.Error("an object has lost its place")
	}
}
