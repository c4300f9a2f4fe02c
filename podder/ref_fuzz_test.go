package podder

import (
	"context"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// follow gets what the Refs of a top lead to, and theirs, as far as there are some.
func (top *refTop) follow(t testing.TB, depth int) {
	ctx := context.Background()
	if top == nil || depth == 0 {
		return
	}
	leaf := func(r Ref[refLeaf]) {
		x, err := r.Get(ctx)
		if mustBeDocumented(t, "Get", err); err == nil && x != nil {
			x.Back.follow(t, depth-1)
		}
	}
	leaf(top.One)
	leaf(top.Same)
	leaf(top.Nil)
	for _, r := range top.List[:min(len(top.List), 8)] {
		leaf(r)
	}
	n := 0
	for _, r := range top.Map {
		if n++; n < 8 {
			leaf(r)
		}
	}
	leaf(top.Arr[0])
	leaf(top.Arr[1])
	if list, ok := top.Any.([]any); ok && len(list) > 0 {
		if r, ok := list[0].(Ref[refLeaf]); ok {
			leaf(r)
		}
	}
	_, err := top.Part.Get(ctx)
	mustBeDocumented(t, "Get of a part", err)
	_, err = top.Elem.Get(ctx)
	mustBeDocumented(t, "Get of an element", err)
	_, err = top.Slice.Get(ctx)
	mustBeDocumented(t, "Get of a slice", err)
	_, err = top.Table.Get(ctx)
	mustBeDocumented(t, "Get of a map", err)
	_, err = top.Empty.Get(ctx)
	mustBeDocumented(t, "Get of nothing", err)
	self, err := top.Self.Get(ctx)
	if mustBeDocumented(t, "Get of itself", err); err == nil {
		self.follow(t, depth-1)
	}
}

// readRefs does everything that reads Refs, and saves what came of it.
func (h *hostileStore) readRefs(t testing.TB, s *fakeStore) {
	ctx := context.Background()
	h.read(t, s)
	vs, err := Decode(ctx, h.cfg(t), s, h.vars, h.want)
	if mustBeDocumented(t, "decode", err); err == nil {
		vs[0].Interface().(*refTop).follow(t, 3)
	}
	for depth := range 3 {
		g := mustGraph(t, h.cfg(t))
		keepRefs(g, s)
		vs, err := g.Load(ctx, s, h.vars, h.want)
		if mustBeDocumented(t, "load", err); err != nil {
			return
		}
		vs[0].Interface().(*refTop).follow(t, depth)
		saved, err := g.Save(ctx, []Root{{Name: h.vars[0], Value: vs[0]}}, s.snapshot().begin())
		if mustBeDocumented(t, "save after load", err); err == nil {
			saved.Abort()
		}
	}
}

func refStores(t testing.TB) []*hostileStore {
	reader := func(t testing.TB) *Registry { return registryOf(t, refTop{}, refLeaf{}, Ref[refLeaf]{}) }
	stores := []*hostileStore{
		hostile(t, "whole", reader, reader, 0, "top", newRefTop()),
		hostile(t, "small", reader, reader, 64, "top", newRefTop()),
	}
	for _, h := range stores {
		h.least = allocated(func() { h.readRefs(t, h.store) })
	}
	return stores
}

func (h *hostileStore) mustCopeWithRefs(t testing.TB, s *fakeStore, added int) {
	took := allocated(func() { h.readRefs(t, s) })
	if most := 4*h.least + 16<<20 + 4096*uint64(added); took > most {
		t.Fatalf("%s: %d bytes allocated, undamaged %d, added %d", h.name, took, h.least, added)
	}
}

// FuzzRefs: Refs to anything, whatever the slots say that they lead to.
func FuzzRefs(f *testing.F) {
	stores := refStores(f)
	addSeeds(f, stores)
	f.Fuzz(func(t *testing.T, which byte, at uint16, a []byte, at2 uint16, b []byte) {
		h := stores[int(which)%len(stores)]
		all := h.slots()
		s := with(h.store, all[int(at)%len(all)], a)
		if len(b) > 0 {
			s = with(s, all[int(at2)%len(all)], b)
		}
		h.mustCopeWithRefs(t, s, len(a)+len(b))
	})
}

// Stores with damaged Refs, reference tables and exports are read with an error or
// without, and never with a panic.
func TestDamagedRefs(t *testing.T) {
	stores := refStores(t)
	n := sample(4000, 1000, 200)
	failed := 0
	for seed := range n {
		rng := rand.New(rand.NewPCG(seed, 7))
		h := stores[seed%2]
		all := h.slots()
		at := all[rng.IntN(len(all))]
		b := append([]byte(nil), h.store.pods[at.pod].Slots[at.slot].Bytes...)
		for range rng.IntN(3) {
			if len(b) > 0 {
				b[rng.IntN(len(b))] = byte(rng.IntN(256) >> rng.IntN(5))
			}
		}
		s := with(h.store, at, b)
		p := *s.pods[at.pod]
		p.Refs = append([]pod.Ref(nil), p.Refs...)
		if len(p.Refs) > 0 && rng.IntN(2) == 0 {
			to := all[rng.IntN(len(all))]
			p.Refs[rng.IntN(len(p.Refs))] = pod.Ref{Pod: to.pod, Slot: pod.Slot(to.slot + rng.IntN(2))}
		}
		if rng.IntN(8) == 0 {
			p.Exports = p.Exports[:rng.IntN(len(p.Exports)+1)]
		}
		s.pods[at.pod] = &p
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("seed %d: panic: %v", seed, p)
				}
			}()
			h.mustCopeWithRefs(t, s, len(b))
		}()
		vs, err := Decode(context.Background(), h.cfg(t), s, h.vars, h.want)
		if err == nil {
			if top := vs[0].Interface().(*refTop); top != nil {
				_, err = top.One.Get(context.Background())
			}
		}
		if err != nil {
			failed++
		}
	}
	if failed < int(n)/10 {
		t.Fatalf("only %d of %d stores were damaged", failed, n)
	}
}

// A load of values and a load into a graph agree about what they keep.
func TestRefsToOtherShapes(t *testing.T) {
	s := newFakeStore()
	mustSave(t, mustGraph(t, s.config()), s, "x", &struct{ R Ref[[4]int] }{NewRef(&[4]int{1, 2, 3, 4})})
	for _, want := range []reflect.Type{reflect.TypeFor[*struct{ R Ref[string] }](), reflect.TypeFor[*struct{ R Ref[chan int] }]()} {
		vs, err := Decode(context.Background(), s.config(), s, []string{"x"}, []reflect.Type{want})
		if err == nil {
			f := vs[0].Elem().Field(0)
			out := f.MethodByName("Get").Call([]reflect.Value{reflect.ValueOf(context.Background())})
			err, _ = out[1].Interface().(error)
		}
		mustBeDocumented(t, want.String(), err)
		if err == nil {
			t.Errorf("an array was read as %v", want)
		}
	}
	vs, err := Decode(context.Background(), s.config(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*struct{ R Ref[[4]int8] }]()})
	if err != nil {
		t.Fatal(err)
	}
	if x := got(t, vs[0].Interface().(*struct{ R Ref[[4]int8] }).R); *x != [4]int8{1, 2, 3, 4} {
		t.Fatal("numbers behind a Ref are not converted")
	}
}
