package podder

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/pod"
)

// plainContents are the entries of a map that leads nowhere, to be cut and stored.
// They lie one behind the other as they are stored: a chunk is a part of that.
type plainContents struct {
	e      *encoder // of chunks
	typ    pod.TypeID
	m      *plainMap
	sizes  chunkSizes
	stored []byte // the slot that store returned
	runs   [2]uint32
}

// entriesOf returns the entries of map r, of a small one that was written down as
// well.
func (e *encoder) entriesOf(r *region) *mapEntries {
	if r.extra < 0 {
		m, n := e.maps.list.add()
		r.extra = n
		e.plainEntries(r.plan, r.addr)
		e.keepPlain(m)
	}
	return e.maps.list.at(r.extra)
}

func (c *plainContents) units() int { return len(c.m.order) }

// fits: where chunks of a map end is said by the keys.
func (c *plainContents) fits(int, int) bool { return true }

func (c *plainContents) bytes(from, to int) (int, chunkSizes) { return len(c.body(from, to)), c.sizes }

// body returns what is stored of entries [from, to); there are some.
func (c *plainContents) body(from, to int) []byte {
	return c.m.data[c.m.order[from].from:c.m.order[to-1].end]
}

func (c *plainContents) hash(from, to int) hash128 {
	return c.e.eng.hashChunk(pod.SlotMap, c.typ, to-from, c.body(from, to), nil)
}

// cut ends a chunk as encodedContents does.
func (c *plainContents) cut(from int) (int, hash128) {
	start, to := int(c.m.order[from].from), from
	const step = 16
	for to+step < len(c.m.order) && int(c.m.order[to+step-1].end)-start < c.sizes.least {
		to += step // none of these ends a chunk
	}
	for to < len(c.m.order) {
		x := c.m.order[to]
		to++
		if total := int(x.end) - start; total >= c.sizes.most ||
			total >= c.sizes.least && c.sizes.ends(gearMix(x.hash), int(x.end-x.from)) {
			break
		}
	}
	return to, c.hash(from, to)
}

func (c *plainContents) store(from, to int) (pod.Data, []pod.Ref) {
	body := c.body(from, to)
	c.stored = append(binary.AppendUvarint(c.stored[:0], uint64(to-from)), 0)
	c.runs = [2]uint32{uint32(len(c.stored)), uint32(len(body))}
	c.stored = append(c.stored, body...)
	return pod.Data{Kind: pod.SlotMap, Type: c.typ, Bytes: c.stored, Runs: c.runs[:]}, nil
}
