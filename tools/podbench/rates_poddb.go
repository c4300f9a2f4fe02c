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
	bytes []byte
	at    [][2]int // where a pod lies in bytes, by id - 1
	types [][]byte
	roots map[string]pod.ID
	slots []pod.Data
}

func newPodCodec() *podCodec { return &podCodec{} }

const podCodecRoot = "value"

func (c *podCodec) encode(v any) error {
	c.bytes, c.at, c.types, c.roots = c.bytes[:0], c.at[:0], nil, map[string]pod.ID{}
	graph, err := podder.NewGraph(podder.Config{Registry: podder.NewRegistry(), Secret: (&podSource{}).Secret()})
	if err != nil {
		return err
	}
	saved, err := graph.Save(context.Background(), []podder.Root{{Name: podCodecRoot, Value: reflect.ValueOf(v)}}, c)
	if err != nil {
		return err
	}
	saved.Commit()
	return nil
}

func (c *podCodec) size() int { return len(c.bytes) }

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
	c.at = append(c.at, [2]int{})
	return pod.ID(len(c.at))
}

func (c *podCodec) Put(_ context.Context, change *pod.Change) error {
	if !change.Whole || change.ID == 0 || int(change.ID) > len(c.at) || c.at[change.ID-1][1] > 0 {
		return fmt.Errorf("pod %d is not a new one", change.ID)
	}
	from := len(c.bytes)
	c.slots = c.slots[:0]
	for i := range change.Slots {
		w := &change.Slots[i]
		for len(c.slots) < int(w.Slot) {
			c.slots = append(c.slots, pod.Data{})
		}
		c.slots = append(c.slots, w.Data)
	}
	c.bytes = pod.AppendWhole(c.bytes, &pod.Pod{Refs: change.Refs, Exports: change.Exports, Slots: c.slots})
	c.at[change.ID-1] = [2]int{from, len(c.bytes)}
	return nil
}

// PutWhole implements pod.WholeSink.
func (c *podCodec) PutWhole(_ context.Context, id pod.ID, _ []pod.Export, form []byte) error {
	if id == 0 || int(id) > len(c.at) || c.at[id-1][1] > 0 {
		return fmt.Errorf("pod %d is not a new one", id)
	}
	from := len(c.bytes)
	c.bytes = append(c.bytes, form...)
	c.at[id-1] = [2]int{from, len(c.bytes)}
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
		if id == 0 || int(id) > len(s.c.at) {
			return nil, fmt.Errorf("pod %d: %w", id, dberr.ErrNotFound)
		}
		if n := len(s.free); n > 0 {
			out[i], s.free = s.free[n-1], s.free[:n-1]
		} else {
			out[i] = &pod.Pod{}
		}
		at := s.c.at[id-1]
		if err := out[i].ReadWhole(s.c.bytes[at[0]:at[1]:at[1]]); err != nil {
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
