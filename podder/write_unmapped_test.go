//go:build unix

package podder

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/poddb/poddb/internal/dberr"
)

// mapped returns memory that the collector knows nothing of.
func mapped(t *testing.T) []byte {
	t.Helper()
	page, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(page) })
	return page
}

// forbid makes such memory unreadable.
func forbid(t *testing.T, page []byte) {
	t.Helper()
	if err := unix.Mprotect(page, unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
}

func TestUnmappedMemoryIsAnErrorWithThePath(t *testing.T) {
	page := mapped(t)
	x := &struct {
		Name string
		Deep *struct{ Data []byte }
		Leaf *leaf
	}{Deep: &struct{ Data []byte }{page}, Leaf: (*leaf)(unsafe.Pointer(&page[4096]))}
	g := mustGraph(t, Config{})
	if _, err := g.Save(context.Background(), rootsOf("x", &x.Deep), newNullSink()); err != nil {
		t.Fatal(err)
	}
	forbid(t, page)
	for _, v := range []any{&x.Deep, &x.Leaf} {
		_, err := g.Save(context.Background(), rootsOf("x", v), newNullSink())
		if !errors.Is(err, dberr.ErrMemoryFault) {
			t.Fatalf("reading what cannot be read: %v", err)
		}
		t.Log(err)
	}
	if debug.SetPanicOnFault(false) {
		t.Error("Save left the goroutine panicking on faults")
	}
}

// So it is where the walk looks ahead, at objects that lie in a row and at maps to which such lead.
func TestUnmappedMemoryAheadIsAnErrorToo(t *testing.T) {
	page := mapped(t)
	forbid(t, page)
	type item struct {
		Name   string
		Counts map[string]int
	}
	rows := make([]item, 16)
	objects, maps := make([]*item, 16), make([]*item, 16)
	for i := range rows {
		rows[i].Name = "x"
		objects[i] = (*item)(unsafe.Pointer(&page[i*int(unsafe.Sizeof(item{}))]))
		maps[i] = &item{Name: "y"}
		*(*unsafe.Pointer)(unsafe.Pointer(&maps[i].Counts)) = unsafe.Pointer(&page[4096+64*i])
	}
	g := mustGraph(t, Config{})
	for name, v := range map[string]any{"objects": &objects, "maps": &maps} {
		if _, err := g.Save(context.Background(), rootsOf("x", v), newNullSink()); !errors.Is(err, dberr.ErrMemoryFault) {
			t.Errorf("%s that cannot be read: %v", name, err)
		}
	}
	if _, err := g.Save(context.Background(), rootsOf("x", &rows), newNullSink()); err != nil {
		t.Errorf("a save after those: %v", err)
	}
}

// Memory that no variable reaches any more may be unmapped, before the save that would notice
// or after it. What is reached is an error as ever, and the saves after it work.
func TestUnmappedGarbageDoesNotMatter(t *testing.T) {
	for name, saveBetween := range map[string]bool{"before a save": false, "after a save": true} {
		t.Run(name, func(t *testing.T) {
			page := mapped(t)
			s := newFakeStore()
			g := mustGraph(t, indexed(s))
			x := &resaveNode{Name: "x", List: make([]*resaveNode, 50)}
			for i := range x.List {
				x.List[i] = &resaveNode{N: i}
			}
			buf := &struct{ Data []byte }{page[100:5000:5000]}
			x.Any = &buf.Data
			mustSave(t, g, s, "x", x)
			mustStayQuiet(t, g, s, "x", x)
			page[200] = 7
			mustResave(t, g, s, "x", x)
			buf.Data = nil
			if saveBetween {
				mustResave(t, g, s, "x", x)
			}
			forbid(t, page)
			for n := range 3 {
				x.N = n + 1
				mustResave(t, g, s, "x", x)
			}
			rvLoad(t, s, indexed(s), "x", x)
			buf.Data = page[100:5000:5000]
			if _, err := g.Save(t.Context(), rootsOf("x", x), s.begin()); !errors.Is(err, dberr.ErrMemoryFault) {
				t.Fatalf("reading what cannot be read: %v", err)
			}
			buf.Data = []byte("mapped")
			mustSave(t, g, s, "x", x)
			rvLoad(t, s, indexed(s), "x", x)
		})
	}
}

// A map that nothing leads to any more is not looked at ahead of time either: its memory may
// be gone.
func TestUnmappedGarbageIsNotLookedAtAhead(t *testing.T) {
	page := mapped(t)
	s := newFakeStore()
	g := mustGraph(t, indexed(s))
	x := &resaveNode{Name: "x", List: make([]*resaveNode, 200)}
	for i := range x.List {
		x.List[i] = &resaveNode{N: i, M: map[string]int{"a": i}}
	}
	from, to := x.List[150].M, unsafe.Pointer(&page[0]) // from keeps the group alive
	*(*goMap)(to) = **(**goMap)(unsafe.Pointer(&from))
	*(*unsafe.Pointer)(unsafe.Pointer(&x.List[150].M)) = to
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	mustResave(t, g, s, "x", x)
	x.List[150].M = nil
	forbid(t, page)
	for n := range 3 {
		x.N = n + 1
		mustResave(t, g, s, "x", x)
	}
	runtime.KeepAlive(from)
	rvLoad(t, s, indexed(s), "x", x)
}

// A lone variable is saved without a walk, but one with a string that cannot be read is not: the walk tells where.
func TestUnmappedMemoryOfALoneVariable(t *testing.T) {
	s := newFakeStore()
	mustSave(t, mustGraph(t, s.config()), s, "x", &loneAccount{Owner: "a"})
	g := mustGraph(t, s.config())
	v := loadLone(t, g, &variableStore{s: s}, "x", reflect.TypeFor[*loneAccount]()).(*loneAccount)
	if g.lone.id == 0 {
		t.Fatal("it is not a lone one")
	}
	page := mapped(t)
	v.Owner = unsafe.String(&page[100], 20)
	forbid(t, page)
	_, err := g.SaveLast(t.Context(), rootsOf("x", v), s.begin())
	v.Owner = ""
	if !errors.Is(err, dberr.ErrMemoryFault) || !strings.Contains(err.Error(), "x") {
		t.Errorf("got %v", err)
	}
}
