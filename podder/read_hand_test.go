package podder

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// handStore is a Source whose pods are written by hand, byte for byte as
// docs/format.md has them.
type handStore struct {
	reg   *Registry
	pods  map[pod.ID]*pod.Pod
	descs [][]byte
	names map[string]pod.ID
	asked map[pod.ID]int // how often each pod was asked for
}

func newHandStore() *handStore {
	return &handStore{reg: NewRegistry(), pods: map[pod.ID]*pod.Pod{}, names: map[string]pod.ID{}, asked: map[pod.ID]int{}}
}

func (h *handStore) Pods(_ context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	ps := make([]*pod.Pod, len(ids))
	for i, id := range ids {
		h.asked[id]++
		if h.pods[id] == nil {
			return nil, fmt.Errorf("pod %d: %w", id, dberr.ErrNotFound)
		}
		ps[i] = lent(h.pods[id])
	}
	return ps, nil
}

// Recycle makes the store a pod.Recycler.
func (h *handStore) Recycle(p *pod.Pod) { scribble(p) }

func (h *handStore) Type(_ context.Context, id pod.TypeID) ([]byte, error) {
	if i := int(id) - int(pod.FirstCatalogType); i >= 0 && i < len(h.descs) {
		return h.descs[i], nil
	}
	return nil, dberr.ErrNotFound
}

func (h *handStore) Root(_ context.Context, name string) (pod.ID, error) {
	if id, ok := h.names[name]; ok {
		return id, nil
	}
	return 0, dberr.ErrNotFound
}

func (h *handStore) Secret() [32]byte { return [32]byte{} }

func (h *handStore) desc(b []byte, err error) pod.TypeID {
	if err != nil {
		panic(err)
	}
	for i, d := range h.descs {
		if string(d) == string(b) {
			return pod.FirstCatalogType + pod.TypeID(i)
		}
	}
	h.descs = append(h.descs, b)
	return pod.FirstCatalogType + pod.TypeID(len(h.descs)-1)
}

func (h *handStore) typ(t reflect.Type) pod.TypeID {
	if id, ok := predeclaredID(t); ok {
		return id
	}
	return h.desc(describe(h.reg, t))
}

// pod puts a pod that exports all its slots; the first reference is number 0.
func (h *handStore) pod(id pod.ID, refs []pod.Ref, slots ...pod.Data) {
	p := &pod.Pod{Refs: refs, Slots: slots}
	for s := range slots {
		p.Exports = append(p.Exports, pod.Export{Slot: pod.Slot(s), Edges: pod.EdgeSet{All: true}})
	}
	h.pods[id] = p
}

// A hand writes value bytes.
type hand []byte

func (b hand) uv(vs ...uint64) hand {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}
func (b hand) zz(v int64) hand     { return binary.AppendVarint(b, v) }
func (b hand) str(s string) hand   { return append(b.uv(uint64(len(s))<<1), s...) }
func (b hand) raw(vs ...byte) hand { return append(b, vs...) }
func (b hand) f64(v float64) hand  { return binary.LittleEndian.AppendUint64(b, math.Float64bits(v)) }
func (b hand) to(slot uint64) hand { return b.uv(slot<<2 + 2) }
func (b hand) out(ref uint64) hand { return b.uv(ref<<2 + 1 + 2) }
func (b hand) part(slot, index uint64, steps ...uint64) hand {
	return b.uv(slot<<2+2+2, index, uint64(len(steps))).uv(steps...)
}

func (h *handStore) box(t reflect.Type, b hand) pod.Data {
	return pod.Data{Kind: pod.SlotBox, Type: h.typ(t), Bytes: b}
}
func (h *handStore) object(t reflect.Type, b hand) pod.Data {
	return pod.Data{Kind: pod.SlotObject, Type: h.typ(t), Bytes: b}
}
func (h *handStore) array(t reflect.Type, extent, perRun uint64, elems ...hand) pod.Data {
	head := hand{}.uv(extent, uint64(len(elems)), perRun)
	return containerOf(pod.SlotArray, h.typ(t), perRun, head, elems)
}
func (h *handStore) mapOf(t reflect.Type, entries ...hand) pod.Data {
	head := hand{}.uv(uint64(len(entries)), 0)
	d := containerOf(pod.SlotMap, h.desc(describeMap(h.reg, t)), uint64(len(entries)), head, entries)
	if len(entries) == 0 {
		d.Runs = append(d.Runs, 0)
	}
	return d
}

func containerOf(kind pod.Kind, id pod.TypeID, perRun uint64, head hand, elems []hand) pod.Data {
	d := pod.Data{Kind: kind, Type: id, Bytes: head, Runs: []uint32{uint32(len(head))}}
	for i, e := range elems {
		if uint64(i)%perRun == 0 {
			d.Runs = append(d.Runs, 0)
		}
		d.Bytes = append(d.Bytes, e...)
		d.Runs[len(d.Runs)-1] += uint32(len(e))
	}
	return d
}

func sharedString(s string) pod.Data {
	return pod.Data{Kind: pod.SlotString, Type: typeString, Bytes: []byte(s)}
}

func forwarder(b hand) pod.Data { return pod.Data{Kind: pod.SlotForward, Bytes: b} }

// get decodes one variable into fresh memory.
func get[T any](t testing.TB, h *handStore, name string) (T, error) {
	t.Helper()
	vs, err := Decode(t.Context(), Config{Registry: h.reg}, h, []string{name}, []reflect.Type{reflect.TypeFor[T]()})
	if err != nil {
		var zero T
		return zero, err
	}
	return vs[0].Interface().(T), nil
}

func mustGet[T any](t testing.TB, h *handStore, name string) T {
	t.Helper()
	v, err := get[T](t, h, name)
	if err != nil {
		t.Fatalf("load %s: %v", name, err)
	}
	return v
}

var contextWithoutCancel = context.Background()
