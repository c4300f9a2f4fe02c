package main

import (
	"context"
	"fmt"
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/podder"
)

// podCodec saves into memory and decodes from it: package podder with nothing
// behind it. What is kept is the stored form of every pod, one after the other.
type podCodec struct {
	forms [][]byte // by id - 1
	bytes int
	room  room // in which forms lie
	types [][]byte
	roots map[string]pod.ID
	slots []pod.Data
}

func newPodCodec() *podCodec { return &podCodec{} }

const podCodecRoot = "value"

func (c *podCodec) encode(v any) error {
	c.forms, c.bytes, c.types, c.roots = c.forms[:0], 0, nil, map[string]pod.ID{}
	c.room.clear()
	graph, err := podder.NewGraph(podder.Config{Registry: podder.NewRegistry(), Secret: (&podSource{}).Secret()})
	if err != nil {
		return err
	}
	saved, err := graph.SaveLast(context.Background(), []podder.Root{{Name: podCodecRoot, Value: reflect.ValueOf(v)}}, c)
	if err != nil {
		return err
	}
	saved.Abort()
	return nil
}

func (c *podCodec) size() int { return c.bytes }

func (c *podCodec) decode(into any) error {
	v := reflect.ValueOf(into).Elem()
	got, err := podder.Decode(context.Background(), podder.Config{}, &podSource{c: c}, []string{podCodecRoot}, []reflect.Type{v.Type()})
	if err != nil {
		return err
	}
	v.Set(got[0])
	return nil
}

// The sink. Pods of a fresh graph come whole, chunks of containers first.

func (c *podCodec) NewPod() pod.ID {
	c.forms = append(c.forms, nil)
	return pod.ID(len(c.forms))
}

func (c *podCodec) Put(_ context.Context, change *pod.Change) error {
	if !change.Whole || change.ID == 0 || int(change.ID) > len(c.forms) || c.forms[change.ID-1] != nil {
		return fmt.Errorf("pod %d is not a new one", change.ID)
	}
	c.slots = c.slots[:0]
	for i := range change.Slots {
		w := &change.Slots[i]
		for len(c.slots) < int(w.Slot) {
			c.slots = append(c.slots, pod.Data{})
		}
		c.slots = append(c.slots, w.Data)
	}
	p := &pod.Pod{Refs: change.Refs, Exports: change.Exports, Slots: c.slots}
	head := pod.AppendWholeHead(nil, p)
	form := append(c.Memory(len(head) + p.BodyLen())[:0], head...)
	for i := range c.slots {
		form = append(form, c.slots[i].Bytes...)
	}
	c.form(change.ID, form)
	return nil
}

// form keeps the stored form of a pod.
func (c *podCodec) form(id pod.ID, b []byte) {
	c.forms[id-1] = b
	c.bytes += len(b)
}

// Memory implements pod.WholeSink.
func (c *podCodec) Memory(n int) []byte { return c.room.take(n) }

// room is memory that is used from its start again, as a buffer is.
type room struct {
	blocks [][]byte
	block  int // the one in use
	used   int // bytes of it
}

// roomBlock is how much is made at a time.
const roomBlock = 1 << 20

func (r *room) clear() { r.block, r.used = 0, 0 }

func (r *room) take(n int) []byte {
	for ; r.block < len(r.blocks); r.block, r.used = r.block+1, 0 {
		if b := r.blocks[r.block][r.used:]; len(b) >= n {
			r.used += n
			return b[:n:n]
		}
	}
	r.blocks = append(r.blocks, make([]byte, max(n, roomBlock)))
	r.used = n
	return r.blocks[r.block][:n:n]
}

// PutWhole implements pod.WholeSink.
func (c *podCodec) PutWhole(_ context.Context, id pod.ID, form []byte) error {
	if id == 0 || int(id) > len(c.forms) || c.forms[id-1] != nil {
		return fmt.Errorf("pod %d is not a new one", id)
	}
	c.form(id, form)
	return nil
}

func (c *podCodec) SetName(_ context.Context, name string, root pod.ID) error {
	c.roots[name] = root
	return nil
}

func (c *podCodec) DeleteName(context.Context, string) error { return nil }

// Type takes a descriptor; podSource.Type gives it back.
func (c *podCodec) Type(_ context.Context, descriptor []byte) (pod.TypeID, error) {
	for i, d := range c.types {
		if string(d) == string(descriptor) {
			return pod.FirstCatalogType + pod.TypeID(i), nil
		}
	}
	c.types = append(c.types, descriptor)
	return pod.FirstCatalogType + pod.TypeID(len(c.types)-1), nil
}

// podSource reads what a podCodec keeps, for one decoding.
type podSource struct {
	c    *podCodec
	free []*pod.Pod
}

// Pods reads pods, into memory that was recycled if there is some.
func (s *podSource) Pods(_ context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	out := make([]*pod.Pod, len(ids))
	for i, id := range ids {
		if id == 0 || int(id) > len(s.c.forms) {
			return nil, fmt.Errorf("pod %d: %w", id, dberr.ErrNotFound)
		}
		if n := len(s.free); n > 0 {
			out[i], s.free = s.free[n-1], s.free[:n-1]
		} else {
			out[i] = &pod.Pod{}
		}
		if err := out[i].ReadWhole(s.c.forms[id-1]); err != nil {
			return nil, fmt.Errorf("pod %d: %w", id, err)
		}
	}
	return out, nil
}

// Recycle implements pod.Recycler.
func (s *podSource) Recycle(p *pod.Pod) { s.free = append(s.free, p) }

func (s *podSource) Type(_ context.Context, id pod.TypeID) ([]byte, error) {
	if i := int(id) - int(pod.FirstCatalogType); i >= 0 && i < len(s.c.types) {
		return s.c.types[i], nil
	}
	return nil, fmt.Errorf("type %d: %w", id, dberr.ErrNotFound)
}

func (s *podSource) Root(_ context.Context, name string) (pod.ID, error) {
	if id, ok := s.c.roots[name]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("variable %q: %w", name, dberr.ErrNotFound)
}

// Secret keys map order and hashes; any will do.
func (s *podSource) Secret() [32]byte { return [32]byte{7} }
