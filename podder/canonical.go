package podder

import (
	"context"
	"encoding/binary"

	"github.com/poddb/poddb/internal/pod"
)

// Canonical returns bytes that depend on the graph of roots alone: it places
// everything from nothing and writes down every pod, with pod ids and type ids
// in the order in which they come up. Isomorphic graphs give equal bytes under
// one secret, but for maps whose keys are pointers that their own contents, one
// level deep, do not tell apart.
func Canonical(cfg Config, roots []Root) ([]byte, error) {
	g, err := NewGraph(cfg)
	if err != nil {
		return nil, err
	}
	c := canonicalSink{types: map[string]pod.TypeID{}}
	fresh := make([]Root, len(roots))
	for i, r := range roots {
		fresh[i] = Root{Name: r.Name, Value: r.Value}
	}
	if _, err := g.Save(context.Background(), fresh, &c); err != nil {
		return nil, err
	}
	return c.out, nil
}

// canonicalSink writes what it takes into one buffer.
type canonicalSink struct {
	out   []byte
	ids   pod.ID
	types map[string]pod.TypeID
}

func (c *canonicalSink) uv(n uint64)      { c.out = binary.AppendUvarint(c.out, n) }
func (c *canonicalSink) bytes(b []byte)   { c.uv(uint64(len(b))); c.out = append(c.out, b...) }
func (c *canonicalSink) NewPod() pod.ID   { c.ids++; return c.ids }
func (c *canonicalSink) mark(kind byte)   { c.out = append(c.out, kind) }
func (c *canonicalSink) edges(n []uint32) { c.uv(uint64(len(n))); c.each(n) }

func (c *canonicalSink) each(n []uint32) {
	for _, x := range n {
		c.uv(uint64(x))
	}
}

func (c *canonicalSink) Type(_ context.Context, descriptor []byte) (pod.TypeID, error) {
	id, ok := c.types[string(descriptor)]
	if !ok {
		id = pod.FirstCatalogType + pod.TypeID(len(c.types))
		c.types[string(descriptor)] = id
		c.mark('t')
		c.bytes(descriptor)
	}
	return id, nil
}

func (c *canonicalSink) Put(_ context.Context, ch *pod.Change) error {
	c.mark('p')
	c.uv(uint64(ch.ID))
	c.uv(uint64(len(ch.Refs)))
	for _, r := range ch.Refs {
		c.uv(uint64(r.Pod))
		c.uv(uint64(r.Slot))
	}
	c.uv(uint64(len(ch.Exports)))
	for _, x := range ch.Exports {
		c.uv(uint64(x.Slot))
		if x.Edges.All {
			c.mark(1)
		} else {
			c.mark(0)
		}
		c.edges(x.Edges.List)
	}
	c.uv(uint64(len(ch.Slots)))
	for _, s := range ch.Slots {
		c.uv(uint64(s.Slot))
		c.mark(byte(s.Data.Kind))
		c.uv(uint64(s.Data.Type))
		c.bytes(s.Data.Bytes)
		c.edges(s.Data.Runs)
	}
	return nil
}

func (c *canonicalSink) SetName(_ context.Context, name string, root pod.ID) error {
	c.mark('n')
	c.bytes([]byte(name))
	c.uv(uint64(root))
	return nil
}

func (c *canonicalSink) DeleteName(context.Context, string) error { return nil }
