package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// A save knows the words that an array of strings had (shadow.go). If it has as many elements as before, and few others, only the runs with these are encoded: a
// chunk in which none differs is what it was, the others keep their ends and are
// patched. So one string in a hundred, anywhere, does not have all of them encoded.

// patchable is the least part of the elements, one in so many, beyond which an array is compared
// chunk by chunk: much has changed, and perhaps other chunks suit it better.
const patchable = 4

// patchedChunk is a chunk of which elements changed.
type patchedChunk struct {
	index       int // in the list
	first, last int // of those elements, in the array
	from, to    int // elements of the chunk
}

// patch brings the chunks of a container, which is where it was as region ro, up to date by
// patches. It reports false, and has done nothing, if that does not suit it.
func (c *chunker) patch(i int32, was *chunkList, ro *region) (bool, error) {
	r := c.st.regions.at(i)
	if r.kind != pod.SlotArray || r.plan.only != opString || ro.plan != r.plan || ro.addr != r.addr ||
		r.flags&(flagStatic|flagRerun) != 0 || was.frozen || !c.st.edgeless(i) {
		return false, nil
	}
	sp := c.st.spans.at(r.extra)
	shadow := c.old.shadows[ro.extra]
	if shadow == nil || was.stored != uint64(sp.reach) || was.extent != uint64(sp.count) || was.perRun != uint64(sp.perRun) {
		return false, nil
	}
	// Both view one array of strings each. What was stored of it was as long as the copy.
	now, before := unsafe.Slice((*string)(r.addr), sp.reach), unsafe.Slice((*string)(shadow), sp.reach)
	patched, ok := patchedChunks(now, before, was, sizesFor(chunkMean*c.cfg.TargetBytes, int(r.weight)))
	if !ok {
		return false, nil
	}
	list := *was
	list.chunks = append([]podChunk(nil), was.chunks...)
	for _, p := range patched {
		x := &list.chunks[p.index]
		x.hash = hash128{} // of all of it, which was not looked at
		if err := c.putPatch(r, x.id, p, now, before, sp.perRun); err != nil {
			return false, err
		}
	}
	c.shadow(r)
	c.st.chunked[i] = &list
	return true, nil
}

// patchedChunks returns the chunks of which elements differ. It reports false if one of
// them may not be patched, or would be too large or small, or if much differs.
func patchedChunks(now, before []string, was *chunkList, sizes chunkSizes) (list []patchedChunk, ok bool) {
	changed, to := 0, 0
	for j := range was.chunks {
		x := &was.chunks[j]
		p := patchedChunk{index: j, first: -1, from: to, to: to + int(x.units)}
		to = p.to
		for k := p.from; k < p.to; k++ {
			if !sameWords(now[k], before[k]) {
				if p.last = k; p.first < 0 {
					p.first = k
				}
				changed++
			}
		}
		if p.first < 0 {
			continue
		}
		if size := storedStrings(now[p.from:p.to]); !x.owned || len(x.via) > 0 || size > sizes.loose() || size < sizes.least/2 && j < len(was.chunks)-1 {
			return nil, false
		}
		list = append(list, p)
	}
	return list, changed <= len(now)/patchable
}

// sameWords reports whether two strings are the same memory.
func sameWords(a, b string) bool {
	return len(a) == len(b) && unsafe.StringData(a) == unsafe.StringData(b)
}

// storedStrings returns about how many bytes short strings take.
func storedStrings(list []string) (n int) {
	for _, s := range list {
		n += 1 + len(s)
	}
	return n
}

// putPatch puts the runs of a chunk in which elements differ.
func (c *chunker) putPatch(r *region, id pod.ID, p patchedChunk, now, before []string, perRun int) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	e := c.inner()
	typ := e.typeID(r.plan, false)
	e.buf, e.runs = e.buf[:0], e.runs[:0]
	var writes []pod.RunWrite
	for from := p.from + (p.first-p.from)/perRun*perRun; from <= p.last; from += perRun {
		to := min(from+perRun, p.to)
		differs := false
		for k := from; k < to && !differs; k++ {
			differs = !sameWords(now[k], before[k])
		}
		if !differs {
			continue
		}
		start := len(e.buf)
		for _, s := range now[from:to] {
			e.buf = appendShort(e.buf, s)
		}
		e.runs = append(e.runs, uint32(len(e.buf)-start))
		writes = append(writes, pod.RunWrite{Run: 1 + (from-p.from)/perRun})
	}
	for k, rest := 0, e.buf; k < len(writes); k++ { // the buffer has its final place now
		writes[k].Bytes, rest = rest[:e.runs[k]:e.runs[k]], rest[e.runs[k]:]
	}
	c.saved.PodsChanged++
	c.saved.SlotsChanged++
	c.saved.Bytes += int64(len(e.buf))
	if err := c.failed(); err != nil {
		return err
	}
	return c.sink.Put(c.ctx, &pod.Change{
		ID: id, Exports: []pod.Export{{}},
		Slots: []pod.SlotWrite{{Data: pod.Data{Kind: pod.SlotArray, Type: typ}, NumRuns: 1 + (p.to-p.from+perRun-1)/perRun, Runs: writes}},
	})
}
