package podder

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Loading a container in chunks. It is placed when all its chunks are here: only
// they justify its memory. Until then it is like a slot of a pod that is missing.

// chunksOf returns the list of slot s, whose chunks have all been fetched and
// are what the list says. It reports false after an error, or if some are missing
// and will be fetched.
func (l *loader) chunksOf(p *loadPod, s pod.Slot) (*chunkList, bool) {
	key := loadSlot{p, s}
	if list := l.chunked[key]; list != nil {
		return list, true
	}
	d := &p.merged.Slots[s]
	list, wrong := parseChunks(d, p.merged.Refs)
	if wrong != "" {
		l.corrupt("slot %d of pod %d: %s", s, p.id, wrong)
		return nil, false
	}
	missing := false
	for i := range list.chunks {
		c := l.pod(list.chunks[i].id)
		c.keep = true
		if c.merged == nil {
			l.need(c)
			missing = true
		}
	}
	if missing {
		return nil, false
	}
	for i := range list.chunks {
		if wrong := l.checkChunk(d, list, &list.chunks[i]); wrong != "" {
			l.corrupt("slot %d of pod %d: chunk %d in pod %d: %s", s, p.id, i, list.chunks[i].id, wrong)
		}
		if l.err != nil {
			return nil, false
		}
	}
	if l.chunked == nil {
		l.chunked = map[loadSlot]*chunkList{}
	}
	l.chunked[key] = list
	return list, true
}

// checkChunk says what is wrong with a chunk of the container d.
func (l *loader) checkChunk(d *pod.Data, list *chunkList, c *podChunk) string {
	p := l.pods[c.id]
	if len(p.slots) != 1 || p.merged.Slots[0].Kind != list.kind || p.merged.Slots[0].Type != d.Type {
		return "not a chunk of this container"
	}
	if !p.merged.Exported(0) {
		return "not exported"
	}
	var units uint64
	switch in := &p.merged.Slots[0]; list.kind {
	case pod.SlotArray:
		h, ok := l.arrayHeader(p, 0, in)
		if ok && h.stored != h.extent {
			return "elements that are not kept"
		}
		units = h.extent
	case pod.SlotMap:
		h, _ := l.mapHeader(p, 0, in)
		units = h.count
	default:
		units = uint64(len(in.Bytes))
	}
	if units != c.units {
		return fmt.Sprintf("holds %d, the list says %d", units, c.units)
	}
	return ""
}

// allocateChunks makes the memory of a container in chunks.
func (l *loader) allocateChunks(st *storedType, p *loadPod, s pod.Slot) (addr unsafe.Pointer, count int, ok bool) {
	list, ok := l.chunksOf(p, s)
	if !ok {
		return nil, 0, false
	}
	isMap := st.node.kind == nodeEntries
	if isMap != (list.kind == pod.SlotMap) || list.kind == pod.SlotString {
		l.corrupt("slot %d of pod %d is a list of chunks of kind %d and type %s", s, p.id, list.kind, st.node.text)
		return nil, 0, false
	}
	size := uint64(st.typ.Size())
	if isMap {
		size = uint64(st.typ.Key().Size()) + uint64(st.typ.Elem().Size())
	}
	if !l.chargeChunks(list, size) {
		return nil, 0, false
	}
	n := int(list.extent)
	if isMap {
		n = min(n, l.chunkBytes(list))
		return st.newMap(n), n, true
	}
	return makeElems(st, n), n, true
}

// chargeChunks accounts for the memory of a container, whose units have a size.
// A chunk justifies memory once, however many containers name it.
func (l *loader) chargeChunks(list *chunkList, size uint64) bool {
	if list.extent > 0 && size > min(1<<46, math.MaxInt>>1)/list.extent {
		l.corrupt("%d elements of %d bytes", list.extent, size)
		return false
	}
	bytes := l.chunkBytes(list)
	total := list.extent*size + uint64(bytes) // and what its strings may take
	justified := uint64(0)
	for i := range list.chunks {
		p := l.pods[list.chunks[i].id]
		n := min(total-justified, uint64(len(p.merged.Slots[0].Bytes))*memoryPerByte-p.justified)
		p.justified += n
		justified += n
	}
	return l.allot(total, justified, bytes)
}

// chunkBytes returns how many bytes are stored of a container.
func (l *loader) chunkBytes(list *chunkList) int {
	n := 0
	for i := range list.chunks {
		n += len(l.pods[list.chunks[i].id].merged.Slots[0].Bytes)
	}
	return n
}

// placeChunkString joins the bytes of a string in chunks.
func (l *loader) placeChunkString(p *loadPod, s pod.Slot) bool {
	list, ok := l.chunksOf(p, s)
	if !ok || !l.chargeChunks(list, 1) {
		return false
	}
	if p.merged.Slots[s].Type != typeString {
		l.corrupt("slot %d of pod %d: string of type %d", s, p.id, p.merged.Slots[s].Type)
		return false
	}
	l.placeString(p, s, &pod.Data{Bytes: l.joined(list)})
	return true
}

// joined returns the bytes of a string in chunks.
func (l *loader) joined(list *chunkList) []byte {
	b := make([]byte, 0, list.extent)
	for i := range list.chunks {
		b = append(b, l.pods[list.chunks[i].id].merged.Slots[0].Bytes...)
	}
	return b
}

// fillChunks decodes the contents of a placed container.
func (l *loader) fillChunks(p *loadPod, s pod.Slot, r *loadRegion, to unsafe.Pointer) {
	list, ok := l.chunksOf(p, s)
	if !ok {
		return
	}
	if list.kind == pod.SlotMap {
		l.fillMapChunks(p, s, list, r, to)
		return
	}
	at := l.at
	size := r.typ.plan.typ.Size()
	done := uint64(0)
	for i := range list.chunks {
		// Numbers of references are those of the chunk, and damage is in it.
		c := l.pods[list.chunks[i].id]
		l.at = loadSlot{c, 0}
		if l.fillArray(c, 0, &c.merged.Slots[0], r.typ, unsafe.Add(to, uintptr(done)*size)); l.err != nil {
			return
		}
		done += list.chunks[i].units
	}
	l.at = at
}

// fillMapChunks inserts the entries of all chunks.
func (l *loader) fillMapChunks(p *loadPod, s pod.Slot, list *chunkList, r *loadRegion, to unsafe.Pointer) {
	f := l.filler(p, r.typ, to)
	defer f.free()
	if r.typ.inPasses(list.extent) {
		pieces := make([]loadSlot, len(list.chunks))
		for i := range pieces {
			pieces[i] = loadSlot{l.pods[list.chunks[i].id], 0}
		}
		f.fillPass(loadSlot{p, s}, pieces, list.extent)
		return
	}
	at := l.at
	f.begin()
	for i := range list.chunks {
		c := l.pods[list.chunks[i].id]
		l.at = loadSlot{c, 0}
		f.p = c
		if h, ok := l.mapHeader(c, 0, &c.merged.Slots[0]); !ok || !f.buckets(&c.merged.Slots[0], h) {
			return
		}
	}
	l.at = at
	f.finish(p, s, list.extent)
}

// inChunk leads a place in a container on to the chunk that has it.
func (l *loader) inChunk(at storedPlace) (storedPlace, bool) {
	if at.pod.merged.Slots[at.slot].Kind != pod.SlotChunks {
		return at, true
	}
	list, ok := l.chunksOf(at.pod, at.slot)
	if !ok || list.kind != pod.SlotArray {
		if ok {
			l.corrupt("reference into a slot of kind %d", list.kind)
		}
		return at, false
	}
	first := uint64(0)
	for i := range list.chunks {
		c := &list.chunks[i]
		if at.index-first < c.units {
			at.pod, at.slot, at.index = l.pods[c.id], 0, at.index-first
			return at, true
		}
		first += c.units
	}
	if at.index >= list.extent {
		l.corrupt("reference to element %d of %d", at.index, list.extent)
		return at, false
	}
	return at, true // not kept
}

// fillOpaqueChunks keeps a list of chunks of a type that the program does not
// know: the chunks are references like others, and not loaded.
func (l *loader) fillOpaqueChunks(p *loadPod, d *pod.Data, v *opaqueValue) {
	list, wrong := parseChunks(d, p.merged.Refs)
	if wrong != "" {
		l.corrupt("%s", wrong)
		return
	}
	all := runsOf(d)
	for run := range chunkRuns {
		b, _ := all.next() // both lie inside the slot, else it is in the wrong form
		c := cursor{buf: b}
		k := capture{l: l, v: v}
		if run == 0 {
			c.off = len(b)
		} else {
			c.uvarint()
			l.capturing = &k
			for range list.chunks {
				c.uvarint()
				l.passCode(p, &c, 0, 0)
			}
			l.capturing = nil
		}
		l.opaqueEnd(&k, &c)
		v.runs = append(v.runs, opaqueRun{len(v.data), len(v.refs)})
	}
}
