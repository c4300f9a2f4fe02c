package podder

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// storedConf is what others store while a save goes on.
type storedConf struct{ A, B int }

// storedWorld has atomic pointers in all places in which they can be.
type storedWorld struct {
	P     atomic.Pointer[storedConf]
	Nil   atomic.Pointer[storedConf]
	Array [4]atomic.Pointer[storedConf]
	Far   *[300]atomic.Pointer[storedConf]
	By    map[string]*atomic.Pointer[storedConf]
	Fill  [][]*letGoNode
}

func newStoredWorld() *storedWorld {
	x := &storedWorld{Far: new([300]atomic.Pointer[storedConf]), By: map[string]*atomic.Pointer[storedConf]{"a": {}, "b": {}}}
	for i := range 10 {
		x.Fill = append(x.Fill, []*letGoNode{{Name: "fill", N: [3]int{i, i, i}}})
	}
	return x
}

// all are its pointers.
func (x *storedWorld) all() []*atomic.Pointer[storedConf] {
	list := []*atomic.Pointer[storedConf]{&x.P, &x.Nil, x.By["a"], x.By["b"]}
	for i := range x.Array {
		list = append(list, &x.Array[i])
	}
	for i := range x.Far {
		list = append(list, &x.Far[i])
	}
	return list
}

// store stores n in one of them, or nil.
func (x *storedWorld) store(n int) {
	list := x.all()
	at := list[n%len(list)]
	if n%3 == 0 {
		at.Store(nil)
	} else {
		at.Store(&storedConf{n, -n})
	}
}

// Others may store into atomic pointers while a save goes on: it stores what one of them was.
func TestOthersMayStoreIntoAtomicPointersDuringASave(t *testing.T) {
	for _, index := range []bool{false, true} {
		s := newFakeStore()
		cfg := s.config()
		cfg.TargetBytes, cfg.Index = 256, index
		g := mustGraph(t, cfg)
		x := newStoredWorld()
		stop := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
					x.store(n)
				}
				if n%64 == 0 {
					time.Sleep(10 * time.Microsecond)
				}
			}
		})
		for range 15 {
			mustSave(t, g, s, "x", x)
		}
		close(stop)
		others.Wait()
		mustSave(t, g, s, "x", x)
		_, got := reload(t, s, cfg, "x", x)
		is := got[0].Interface().(*storedWorld).all()
		for i, at := range x.all() {
			want, c := at.Load(), is[i].Load()
			if (want == nil) != (c == nil) || c != nil && *c != *want {
				t.Fatalf("pointer %d leads to %v, want %v", i, c, want)
			}
		}
	}
}

// The same at a moment that is known, in the first save of a graph: between the look at the pointers and
// their encoding.
func TestAtomicPointersAreStoredAsTheyWereMet(t *testing.T) {
	x, n := newStoredWorld(), 0
	for i, at := range x.all() {
		if i%2 == 0 {
			at.Store(&storedConf{i, -i})
		}
	}
	got := saveLastOf(t, newFakeStore(), Config{}, func() {
		for _, at := range x.all() {
			n++
			at.Store(&storedConf{n, -n})
		}
	}, "fill", letGoNodes("fill "), "x", x, "y", letGoNodes("more "))
	if n == 0 {
		t.Fatal("nothing was stored meanwhile")
	}
	for i, at := range got[1].Interface().(*storedWorld).all() {
		if c := at.Load(); c != nil && c.A != -c.B {
			t.Errorf("pointer %d leads to %v", i, c)
		}
	}
}
