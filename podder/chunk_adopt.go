package podder

import (
	"github.com/poddb/poddb/internal/pod"
)

// hasChunk reports whether a pod is a chunk of a container that the state knows.
func (st *state) hasChunk(id pod.ID) bool {
	if st.chunkIDs == nil {
		st.chunkIDs = map[pod.ID]struct{}{}
		for _, chunked := range []map[int32]*chunkList{st.chunked, st.chunkedBefore} {
			for r, list := range chunked {
				if !st.live.has(r) {
					continue
				}
				for i := range list.chunks {
					st.chunkIDs[list.chunks[i].id] = struct{}{}
				}
			}
		}
	}
	_, ok := st.chunkIDs[id]
	return ok
}

// adoptChunks notes the lists of the containers among regions, as they are
// stored in pods: at the head, if that differs from what was loaded. Chunks
// that are not among the pods have unknown contents: they are written again.
func (g *Graph) adoptChunks(merged map[pod.ID]*pod.Pod, regions []liveRegion) {
	st := g.cur
	var forwards map[pod.Ref]bool
	for i := range regions {
		if r := &regions[i]; r.kind == pod.SlotForward {
			if forwards == nil {
				forwards = map[pod.Ref]bool{}
			}
			forwards[pod.Ref{Pod: r.pod, Slot: r.slot}] = true
		}
	}
	for i := range regions {
		r := &regions[i]
		p := merged[r.pod]
		if p == nil || int(r.slot) >= len(p.Slots) || p.Slots[r.slot].Kind != pod.SlotChunks || r.kind == pod.SlotOpaque {
			continue
		}
		list, wrong := parseChunks(&p.Slots[r.slot], p.Refs)
		at := st.pods[st.byID[r.pod]].slots[r.slot].region
		if wrong != "" || at < 0 || st.regions.at(at).kind != list.kind {
			continue // the container is written anew
		}
		for k := range list.chunks {
			g.adoptChunk(&list.chunks[k], merged, forwards)
		}
		if st.chunked == nil {
			st.chunked = map[int32]*chunkList{}
		}
		st.chunked[at] = list
	}
	st.chunkIDs = nil
}

// adoptChunk completes a chunk by what is stored of it.
func (g *Graph) adoptChunk(c *podChunk, merged map[pod.ID]*pod.Pod, forwards map[pod.Ref]bool) {
	p := merged[c.id]
	if p == nil || len(p.Slots) != 1 {
		return
	}
	d := &p.Slots[0]
	body := d.Bytes
	if d.Kind != pod.SlotString {
		body = body[len(d.Run(0)):]
	}
	c.hash = g.eng.hashChunk(d.Kind, d.Type, int(c.units), body, p.Refs)
	for _, r := range p.Refs {
		if forwards[r] {
			c.via = append(c.via, r)
		}
	}
}
