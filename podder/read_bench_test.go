package podder

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"reflect"
	"runtime"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// madeStore makes its pods when they are asked for, so that a test of a large
// graph holds little but the graph.
type madeStore struct {
	handStore
	make func(id pod.ID) *pod.Pod
}

func (m *madeStore) Pods(_ context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	ps := make([]*pod.Pod, len(ids))
	for i, id := range ids {
		if ps[i] = m.make(id); ps[i] == nil {
			return nil, fmt.Errorf("pod %d: %w", id, dberr.ErrNotFound)
		}
	}
	return ps, nil
}

type listNode struct {
	Value int
	Next  *listNode
}

// listStore is a list of n nodes in pods of 250.
func listStore(n int) *madeStore {
	const perPod = 250
	m := &madeStore{handStore: *newHandStore()}
	t := m.typ(reflect.TypeFor[listNode]())
	box := m.box(reflect.TypeFor[*listNode](), hand{}.out(0))
	m.names["x"] = 1
	m.make = func(id pod.ID) *pod.Pod {
		first := int(id-2) * perPod
		if id == 1 {
			return &pod.Pod{Refs: []pod.Ref{{Pod: 2}}, Slots: []pod.Data{box}, Exports: []pod.Export{{}}}
		}
		p := &pod.Pod{Refs: []pod.Ref{{Pod: id + 1}}, Exports: []pod.Export{{}}}
		bytes := make(hand, 0, perPod*8)
		for i := first; i < min(n, first+perPod); i++ {
			start := len(bytes)
			bytes = bytes.zz(int64(i))
			switch {
			case i == n-1:
				bytes = bytes.uv(0)
			case i == first+perPod-1:
				bytes = bytes.out(0)
			default:
				bytes = bytes.to(uint64(i - first + 1))
			}
			p.Slots = append(p.Slots, pod.Data{Kind: pod.SlotObject, Type: t, Bytes: bytes[start:]})
		}
		return p
	}
	return m
}

func TestTenMillionNodesLoad(t *testing.T) {
	n := 10_000_000
	if testing.Short() {
		n = 1_000_000
	}
	vs, err := Decode(t.Context(), Config{}, listStore(n), []string{"x"}, []reflect.Type{reflect.TypeFor[*listNode]()})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for x := vs[0].Interface().(*listNode); x != nil; x = x.Next {
		if x.Value != i {
			t.Fatalf("node %d has value %d", i, x.Value)
		}
		i++
	}
	if i != n {
		t.Fatalf("%d nodes", i)
	}
}

type benchUser struct {
	ID     int
	Name   string
	Score  float64
	Active bool
	Left   *benchUser
	Right  *benchUser
	Tags   []string
}

// treeStore is a tree of 1<<levels-1 objects with tags, breadth first in pods of 200.
func treeStore(levels int) *handStore {
	h := newHandStore()
	n := 1<<levels - 1
	const perPod = 100
	t, ts := h.typ(reflect.TypeFor[benchUser]()), reflect.TypeFor[string]()
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2}}, h.box(reflect.TypeFor[*benchUser](), hand{}.out(0)))
	for first := 0; first < n; first += perPod {
		p := &pod.Pod{}
		ref := func(b hand, i int) hand {
			if i >= n {
				return b.uv(0)
			}
			if i/perPod == first/perPod {
				return b.to(uint64(i-first) * 2)
			}
			p.Refs = append(p.Refs, pod.Ref{Pod: pod.ID(i/perPod + 2), Slot: pod.Slot(i % perPod * 2)})
			return b.out(uint64(len(p.Refs) - 1))
		}
		for i := first; i < min(n, first+perPod); i++ {
			b := hand{}.zz(int64(i)).str(fmt.Sprint("user number ", i)).f64(float64(i)).raw(1)
			b = ref(ref(b, 2*i+1), 2*i+2)
			b = b.uv(2+2, 0).to(uint64(i-first)*2 + 1)
			p.Exports = append(p.Exports, pod.Export{Slot: pod.Slot(i-first) * 2})
			p.Slots = append(p.Slots, pod.Data{Kind: pod.SlotObject, Type: t, Bytes: b}, h.array(ts, 2, 2, hand{}.str("tag"), hand{}.str("other tag")))
		}
		h.pods[pod.ID(first/perPod+2)] = p
		var all []byte // the slots of a stored pod lie in one piece
		for _, d := range p.Slots {
			all = append(all, d.Bytes...)
		}
		for i := range p.Slots {
			n := len(p.Slots[i].Bytes)
			p.Slots[i].Bytes, all = all[:n:n], all[n:]
		}
	}
	return h
}

func benchLoad(b *testing.B, src pod.Source, objects int, want reflect.Type) {
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(b.Context(), Config{}, src, []string{"x"}, []reflect.Type{want}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(objects), "ns/object")
}

func BenchmarkLoad(b *testing.B) {
	b.Run("list", func(b *testing.B) { benchLoad(b, listStore(1_000_000), 1_000_000, reflect.TypeFor[*listNode]()) })
	b.Run("tree", func(b *testing.B) { benchLoad(b, treeStore(17), 1<<17-1, reflect.TypeFor[*benchUser]()) })
	b.Run("tree by gob", func(b *testing.B) {
		var enc bytes.Buffer
		if err := gob.NewEncoder(&enc).Encode(mustGet[*benchUser](b, treeStore(17), "x")); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			var x *benchUser
			if err := gob.NewDecoder(bytes.NewReader(enc.Bytes())).Decode(&x); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(1<<17-1), "ns/object")
	})
	b.Run("anys", func(b *testing.B) {
		h := newHandStore()
		var elems []hand
		for i := range 100_000 {
			elems = append(elems, hand{}.uv(17).str(fmt.Sprintf("%0100d", i)))
		}
		h.names["x"] = 1
		h.pod(1, nil, h.box(reflect.TypeFor[[]any](), hand{}.uv(100_000+2, 0).to(1)), h.array(reflect.TypeFor[any](), 100_000, 2, elems...))
		benchLoad(b, h, 100_000, reflect.TypeFor[[]any]())
	})
	b.Run("map", func(b *testing.B) {
		h := newHandStore()
		var entries []hand
		for i := range 100_000 {
			entries = append(entries, hand{}.str(fmt.Sprint("key", i)).zz(int64(i)))
		}
		h.names["x"] = 1
		tm := reflect.TypeFor[map[string]int]()
		h.pod(1, nil, h.box(tm, hand{}.to(1)), h.mapOf(tm, entries...))
		benchLoad(b, h, 100_000, tm)
	})
	b.Run("floats", func(b *testing.B) {
		h := newHandStore()
		var elems []hand
		for range 31_250 {
			elems = append(elems, make(hand, 256))
		}
		h.names["x"] = 1
		d := h.array(reflect.TypeFor[float64](), 1_000_000, 1, elems...)
		head := hand{}.uv(1_000_000, 1_000_000, 32)
		d.Bytes = append(head, d.Bytes[d.Runs[0]:]...)
		d.Runs[0] = uint32(len(head))
		h.pod(1, nil, h.box(reflect.TypeFor[[]float64](), hand{}.uv(1_000_000+2, 0).to(1)), d)
		benchLoad(b, h, 1_000_000, reflect.TypeFor[[]float64]())
	})
}
