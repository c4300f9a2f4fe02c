package podder

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/pod"
)

// Chunks. A container (array behind slices, map, long string) whose stored form
// would be larger than chunkFrom targets is stored as a list of chunks: its slot
// is a SlotChunks that names them in order, and each chunk is a pod of one slot,
// an array, map or string that holds a part of the units (elements, entries in
// the order of their key hash, bytes). The region is one as before: references
// lead to (container, absolute index), and chunks have no identity.
//
// Invariants:
//
//  1. Nothing but lists of chunks refers to a chunk. Two lists may name the same
//     one, and one list may name it twice.
//  2. A chunk is written again only by the list that owns it: the one that made it
//     and says so, and is not frozen. Before another list names the chunks of a list
//     the latter is frozen, in the same commit. So whoever finds a list that
//     owns its chunks may change them in place, whatever else is not loaded.
//  3. Reference numbers of a chunk follow the order in which its bytes name them.
//     So bytes and references of a chunk depend on its contents and on the
//     places of what they lead to, and equal chunks are found by one hash.
//  4. Where chunks end is decided by contents (chunk_cut.go), but only where they
//     changed: a chunk that is what it was keeps its ends. Chunks of unchanged
//     memory are compared by hashing them, without looking for ends.
//  5. A container that is stored in chunks stays so while it keeps its place.
//     One that was stored whole is cut when it is written anyway.
//
// Reading guide: chunk_match.go (which chunks are what they were), chunk_back.go
// (those that lie behind what is new), chunk_cut.go
// (where new ones end), chunk_contents.go (units of arrays, maps, strings),
// chunk_encode.go (the steps of a save), chunk_adopt.go, chunk_load.go,
// chunk_view.go.

// chunkFrom is the size, in pod targets, beyond which a container is cut: the
// 64 KiB that no pod of small objects exceeds either.
const chunkFrom = 8

// chunkList is a container in chunks. It is not changed once it is part of a
// state.
type chunkList struct {
	kind   pod.Kind // SlotArray, SlotMap or SlotString
	frozen bool     // owns nothing, whatever the chunks say
	extent uint64   // elements allocated, entries, bytes
	stored uint64   // units in chunks; elements beyond are zero
	perRun uint64   // elements of one run, of an array
	chunks []podChunk
}

// podChunk is one part of a container.
type podChunk struct {
	id    pod.ID
	units uint64
	owned bool
	hash  hash128 // of bytes and references; zero if that is not known
	// via are those of its references that lead to forwarders.
	via []pod.Ref
}

const (
	chunksFrozen = 1 // bit of the flags
	chunkOwned   = 1 // bit of the number of units
	chunkRuns    = 2 // run 0 the head, run 1 the list
)

// appendHead appends run 0 of the slot.
func (c *chunkList) appendHead(dst []byte) []byte {
	flags := byte(0)
	if c.frozen {
		flags = chunksFrozen
	}
	dst = append(dst, byte(c.kind), flags)
	dst = binary.AppendUvarint(dst, c.extent)
	dst = binary.AppendUvarint(dst, c.stored)
	return binary.AppendUvarint(dst, c.perRun)
}

// appendList appends run 1, with the reference numbers that number gives.
func (c *chunkList) appendList(dst []byte, number func(pod.ID) uint32) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.chunks)))
	for i := range c.chunks {
		x := c.chunks[i].units << 1
		if c.chunks[i].owned {
			x |= chunkOwned
		}
		dst = binary.AppendUvarint(dst, x)
		dst = appendExternal(dst, number(c.chunks[i].id), 0)
	}
	return dst
}

// storedKind returns what a slot holds; of one in chunks the kind of container.
func storedKind(d *pod.Data) pod.Kind {
	if d.Kind == pod.SlotChunks && len(d.Bytes) > 0 {
		switch k := pod.Kind(d.Bytes[0]); k {
		case pod.SlotArray, pod.SlotMap, pod.SlotString:
			return k
		}
	}
	return d.Kind
}

// parseChunks reads a SlotChunks of a pod with references refs. It says what is
// wrong, or nothing. Hashes are left unknown.
func parseChunks(d *pod.Data, refs []pod.Ref) (list *chunkList, wrong string) {
	if d.Kind != pod.SlotChunks || d.NumRuns() != chunkRuns || uint64(d.Runs[0]) > uint64(len(d.Bytes)) {
		return nil, "list of chunks in the wrong form"
	}
	c := cursor{buf: d.Bytes[:d.Runs[0]]}
	list = &chunkList{kind: pod.Kind(c.byte())}
	flags := c.byte()
	list.frozen = flags&chunksFrozen != 0
	list.extent, list.stored, list.perRun = c.uvarint(), c.uvarint(), c.uvarint()
	isArray := list.kind == pod.SlotArray
	switch {
	case c.bad || c.left() > 0 || flags > chunksFrozen || storedKind(d) != list.kind:
		return nil, "damaged head of a list of chunks"
	case list.extent > 1<<46 || list.stored > list.extent || !isArray && list.stored != list.extent || isArray != (list.perRun > 0):
		return nil, "head of a list of chunks makes no sense"
	}
	c = cursor{buf: d.Bytes[d.Runs[0]:]}
	n := c.uvarint()
	if n > uint64(c.left())/2 {
		return nil, "list of more chunks than it has bytes for"
	}
	list.chunks = make([]podChunk, n)
	if wrong = list.parse(&c, refs); wrong == "" && c.left() > 0 {
		wrong = "bytes after a list of chunks"
	}
	return list, wrong
}

func (c *chunkList) parse(in *cursor, refs []pod.Ref) string {
	owned := map[pod.ID]bool{}
	sum := uint64(0)
	for i := range c.chunks {
		x := in.uvarint()
		code := in.uvarint()
		number := (code - codeBase) >> codeShift
		switch {
		case in.bad:
			return "list of chunks ends early"
		case code < codeBase || (code-codeBase)&(codeExternal|codeInterior) != codeExternal:
			return "chunk that is not referred to as one"
		case number >= uint64(len(refs)) || refs[number].Pod == 0 || refs[number].Slot != 0:
			return "chunk that is not in the table of references"
		case x>>1 == 0 || x>>1 > c.stored-sum:
			return "chunks do not add up to their container"
		}
		sum += x >> 1
		k := &c.chunks[i]
		*k = podChunk{id: refs[number].Pod, units: x >> 1, owned: x&chunkOwned != 0}
		if before, seen := owned[k.id]; seen && (before || k.owned) {
			return "chunk that is owned and named twice"
		}
		owned[k.id] = k.owned
	}
	if sum != c.stored {
		return "chunks do not add up to their container"
	}
	return ""
}
