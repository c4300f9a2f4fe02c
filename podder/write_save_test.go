package podder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type list struct {
	Items []*leaf
	Tail  *leaf
}

type leaf struct {
	Text string
	Next *leaf
}

func TestChangesAreWrittenSlotBySlot(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	x := &list{}
	for i := range 100 {
		x.Items = append(x.Items, &leaf{Text: fmt.Sprint("text ", i)})
	}
	mustSave(t, g, s, "x", x)
	x.Items[40].Text = "changed"
	tx := mustSave(t, g, s, "x", x)
	if len(tx.changes) != 1 || len(tx.slots[tx.changes[0]]) != 1 {
		t.Errorf("one changed text wrote pods %v, slots %v", tx.changes, tx.slots)
	}
}

func TestSlotsAreStickyUnderInsertAndDelete(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	x := &list{}
	for i := range 50 {
		x.Items = append(x.Items, &leaf{Text: fmt.Sprint("text ", i)})
	}
	mustSave(t, g, s, "x", x)
	places := func() map[*leaf][2]int32 {
		m := map[*leaf][2]int32{}
		for _, l := range x.Items {
			r := *g.cur.regions.at(g.cur.memory.find(g.cur, unsafe.Pointer(l)))
			m[l] = [2]int32{r.pod, int32(r.slot)}
		}
		return m
	}
	before := places()
	gone := before[x.Items[10]]
	x.Items = slices.Delete(x.Items, 10, 11)
	mustSave(t, g, s, "x", x)
	added := &leaf{Text: "new"}
	x.Items = slices.Insert(x.Items, 3, added)
	tx := mustSave(t, g, s, "x", x)
	after := places()
	for l, p := range before {
		if q, ok := after[l]; ok && q != p {
			t.Errorf("%s moved from %v to %v", l.Text, p, q)
		}
	}
	if after[added] != gone {
		t.Errorf("the new one got %v, the lowest free place is %v", after[added], gone)
	}
	if n := len(tx.slots[tx.changes[0]]); len(tx.changes) != 1 || n > 3 {
		t.Errorf("an insert wrote pods %v, slots %v", tx.changes, tx.slots)
	}
}

func TestContainerFoundLaterTakesOverAndLeavesAForwarder(t *testing.T) {
	type elem struct {
		n int
		s string
	}
	s := newFakeStore()
	g := mustGraph(t, s.config())
	arr := make([]elem, 10)
	for i := range arr {
		arr[i] = elem{i, fmt.Sprint(i)}
	}
	// b keeps its object at the root of a pod of its own, so the slot is exported.
	type holder struct {
		pad string
		p   *elem
	}
	a, b := &holder{p: &arr[3]}, &holder{p: &arr[3], pad: "b"}
	mustSave(t, g, s, "a", a, "b", b)
	r := *g.cur.regions.at(g.cur.memory.find(g.cur, unsafe.Pointer(&arr[3])))
	id, slot := g.cur.pods[r.pod].id, r.slot
	if !s.pods[id].Exported(pod.Slot(slot)) {
		t.Fatal("the shared element is not exported")
	}
	c := &struct{ arr []elem }{arr}
	mustSave(t, g, s, "a", a, "b", b, "c", c)
	if k := s.pods[id].Slots[slot].Kind; k != pod.SlotForward {
		t.Errorf("the old slot is of kind %d, want a forwarder", k)
	}
	mustStayQuiet(t, g, s, "a", a, "b", b, "c", c)
	_, vs := reload(t, s, s.config(), "a", a, "b", b, "c", c)
	if vs[0].Interface().(*holder).p != &vs[2].Interface().(*struct{ arr []elem }).arr[3] {
		t.Error("a does not point into the array of c")
	}
	// The array goes, the element stays: what was seen of the array stays too.
	mustSave(t, g, s, "a", a, "b", b)
	mustStayQuiet(t, g, s, "a", a, "b", b)
	reload(t, s, s.config(), "a", a, "b", b)
}

func TestPodsThatAreNotLoadedReachMovedObjectsThroughForwarders(t *testing.T) {
	type holder struct{ p *int }
	s := newFakeStore()
	arr := make([]int, 10)
	arr[3] = 33
	a, b, c := &holder{&arr[3]}, &holder{&arr[3]}, &struct{ arr []int }{arr}
	g := mustGraph(t, s.config())
	mustSave(t, g, s, "a", a, "b", b)
	root := s.names["b"]
	before := s.pods[root]
	mustSave(t, g, s, "a", a, "c", c) // b is left alone, as if another process had it
	if s.pods[root] != before {
		t.Fatal("b was written")
	}
	_, vs := reload(t, s, s.config(), "b", b, "c", c)
	pb, pc := vs[0].Interface().(*holder), vs[1].Interface().(*struct{ arr []int })
	if *pb.p != 33 || pb.p != &pc.arr[3] {
		t.Error("b does not point into the array of c")
	}
	_, vs = reload(t, s, s.config(), "b", b)
	if *vs[0].Interface().(*holder).p != 33 {
		t.Error("b lost its number")
	}
}

func TestAnAddressUsedAgainIsAnotherObject(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	x := &list{}
	for round := range 30 {
		x.Items = x.Items[:0:0]
		for i := range 200 {
			x.Items = append(x.Items, &leaf{Text: fmt.Sprint(round, i)})
		}
		mustSave(t, g, s, "x", x)
		runtime.GC()
		_, vs := reload(t, s, s.config(), "x", x)
		if err := isomorphic(reflect.ValueOf(x), vs[0]); err != nil {
			t.Fatal(round, err)
		}
	}
	if n := g.cur.regions.len(); n > 500 {
		t.Errorf("%d regions are still held", n)
	}
}

func TestCommitLetsGoOfWhatIsNotReached(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	x := &list{Tail: &leaf{}}
	freed := make(chan bool, 1)
	runtime.SetFinalizer(x.Tail, func(*leaf) { freed <- true })
	mustSave(t, g, s, "x", x)
	x.Tail = nil
	runtime.GC()
	select {
	case <-freed:
		t.Fatal("the graph does not hold what it knows: its address could be reused")
	default:
	}
	mustSave(t, g, s, "x", x)
	runtime.GC()
	runtime.GC()
	if !<-freed {
		t.Fatal()
	}
}

func TestAFailedSaveChangesNothingAndIsRetried(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	x := &list{Tail: &leaf{Text: "1"}}
	mustSave(t, g, s, "x", x)
	x.Tail.Text = "2"
	x.Items = []*leaf{{Text: "new"}}
	before := g.cur
	tx := s.begin()
	tx.fail = errors.New("full")
	if _, err := g.Save(context.Background(), rootsOf("x", x), tx); !errors.Is(err, tx.fail) {
		t.Fatal(err)
	}
	tx = s.begin()
	saved, err := g.Save(context.Background(), rootsOf("x", x, "y", x), tx)
	if err != nil || len(tx.changes) == 0 {
		t.Fatal(err, tx.changes)
	}
	saved.Abort()
	saved.Commit()
	if g.cur != before || g.Holds(tx.names["y"]) {
		t.Fatal("an aborted save left something behind")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := g.Save(ctx, rootsOf("x", x), s.begin()); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	_, vs := reload(t, s, s.config(), "x", x)
	if err := isomorphic(reflect.ValueOf(x), vs[0]); err != nil {
		t.Fatal(err)
	}
}

type callbacks struct {
	onClose func()
	ch      chan int
	Sub     map[string]*callbacks
	List    []callbacks
	Any     any
	raw     unsafe.Pointer
	buf     *bufio.Writer
}

func TestWhatCannotBeStoredIsReportedWithAllPaths(t *testing.T) {
	x := &callbacks{onClose: func() {}, Sub: map[string]*callbacks{"k": {ch: make(chan int)}, "ok": {}},
		List: make([]callbacks, 4), Any: []any{1, func() {}, wSquare{}, &leaf{}}}
	x.List[3].onClose = func() {}
	x.List[2].raw = unsafe.Pointer(x)
	x.List[1].buf = &bufio.Writer{}
	g := mustGraph(t, Config{})
	_, err := g.Save(context.Background(), rootsOf("main.x", x), newNullSink())
	var u *dberr.UnsupportedError
	if !errors.As(err, &u) || errors.Is(err, dberr.ErrUnregistered) {
		t.Fatal(err)
	}
	var paths []string
	for _, p := range u.Problems {
		paths = append(paths, p.Path)
		t.Log(p.Path, "|", p.Type, "|", p.Reason)
	}
	slices.Sort(paths)
	want := []string{"main.x.Any[1]", "main.x.Any[2]", "main.x.Any[3]", "main.x.List[1].buf", "main.x.List[2].raw", "main.x.List[3].onClose", `main.x.Sub["k"].ch`, "main.x.onClose"}
	if !slices.Equal(paths, want) {
		t.Errorf("paths\n%q, want\n%q", paths, want)
	}
	_, err = g.Save(context.Background(), rootsOf("y", &callbacks{Any: &leaf{}}), newNullSink())
	if !errors.Is(err, dberr.ErrUnregistered) || !strings.Contains(err.Error(), "db.Register[podder.leaf]") {
		t.Error(err)
	}
}

func TestMemoryOfTwoTypesIsAnErrorWithThePath(t *testing.T) {
	var n [4]uint64
	x := &struct {
		A *[4]uint64
		B *[8]float32
	}{&n, (*[8]float32)(unsafe.Pointer(&n))}
	_, err := mustGraph(t, Config{}).Save(context.Background(), rootsOf("x", x), newNullSink())
	if !errors.Is(err, dberr.ErrUnsupported) || !strings.Contains(err.Error(), "x.B") {
		t.Error(err)
	}
}

func TestBoxesThatShareEachOtherAreAnErrorNotAHang(t *testing.T) {
	x := any(1)
	for range 60 {
		x = [2]any{x, x}
	}
	if _, err := mustGraph(t, Config{}).Save(context.Background(), rootsOf("x", &x), newNullSink()); !errors.Is(err, dberr.ErrUnsupported) {
		t.Error(err)
	}
	type link struct{ next any }
	deep := any(nil)
	for range 1_000_000 {
		deep = link{deep}
	}
	y := &struct {
		v any
		_ *link
		l *link
	}{v: deep}
	if _, err := mustGraph(t, Config{}).Save(context.Background(), rootsOf("y", y), newNullSink()); !errors.Is(err, dberr.ErrUnsupported) {
		t.Error(err)
	}
}

type tiny struct {
	next *tiny
	n    uint32
}

func TestAListOfTenMillionIsSaved(t *testing.T) {
	n := 10_000_000
	if raceEnabled || testing.Short() {
		n = 200_000
	}
	var x *tiny
	for i := range n {
		x = &tiny{next: x, n: uint32(i)}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	start := cpuSeconds()
	g := mustGraph(t, Config{})
	s, err := g.Save(context.Background(), rootsOf("x", x), newNullSink())
	if err != nil || s.Objects != n+1 {
		t.Fatal(err, s)
	}
	t.Logf("%d objects in %d pods, %d bytes, %.2f s of processor time", s.Objects, s.Pods, s.Bytes, cpuSeconds()-start)
}

func TestPodsAreBounded(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	x := map[string]any{}
	many := make([]*leaf, 20_000)
	for i := range many {
		many[i] = &leaf{Text: fmt.Sprint("text of leaf ", i)}
	}
	many[77].Text = strings.Repeat("x", 4000)
	n := 0
	x["tree"], x["many"] = []any{1}, []string{"a"}
	mustSave(t, g, s, "x", x, "many", &many, "tree", wTree(14, &n), "big", new([100_000]int64))
	small := 0
	for id, p := range s.pods {
		live := 0
		for _, d := range p.Slots {
			live += len(d.Bytes)
		}
		if live > 8<<10 && len(p.Slots) > 1 {
			t.Errorf("pod %d has %d bytes in %d slots", id, live, len(p.Slots))
		}
		if live < 1<<10 {
			small++
		}
	}
	if small > len(s.pods)/4 {
		t.Errorf("%d of %d pods are tiny", small, len(s.pods))
	}
}

func TestVariablesOfEveryKindAreCheckedAndNamed(t *testing.T) {
	g := mustGraph(t, Config{})
	f, x := func() {}, any(&leaf{Text: "in an interface"})
	for _, v := range []any{f, make(chan int), unsafe.Pointer(new(int))} {
		if _, err := g.Save(context.Background(), rootsOf("f", v), newNullSink()); !errors.Is(err, dberr.ErrUnsupported) || !strings.Contains(err.Error(), " f (") {
			t.Error(err)
		}
	}
	for _, rs := range [][]Root{{{Name: "n"}}, {{Name: "n", Value: reflect.ValueOf(&x).Elem()}, {Name: "n", Value: reflect.ValueOf(1)}}} {
		if _, err := g.Save(context.Background(), rs, newNullSink()); !errors.Is(err, dberr.ErrInvalid) {
			t.Error(err)
		}
	}
	s := newFakeStore()
	g = mustGraph(t, s.config())
	tx := s.begin()
	saved, err := g.Save(context.Background(), []Root{{Name: "n", Value: reflect.ValueOf(&x).Elem()}}, tx)
	if err != nil || tx.commit() != nil {
		t.Fatal(err)
	}
	saved.Commit()
	reload(t, s, s.config(), "n", &leaf{})
}

func TestATypeKnownThroughOneVariableIsNotKnownForAnother(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	a := &struct {
		static *leaf
		x      any
	}{x: &leaf{}}
	mustSave(t, g, s, "a", a)
	b := []any{&leaf{}}
	for _, rs := range [][]Root{rootsOf("b", &b), rootsOf("a", a, "b", &b)} {
		if _, err := g.Save(context.Background(), rs, s.begin()); !errors.Is(err, dberr.ErrUnregistered) || !strings.Contains(err.Error(), "b[0]") {
			t.Error(err)
		}
	}
}
