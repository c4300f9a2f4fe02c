package pod

import (
	"encoding/binary"
	"slices"

	"github.com/poddb/poddb/internal/binenc"
)

// The exports: uvarint count, then for each, ascending, uvarint gap<<2 | form
// (gap: slots skipped since the export before) and what the form needs.
//
//	0  the slot reaches no reference
//	1  it reaches all
//	2  the same as the export before            (changes: no longer exported)
//	3  uvarint count, not 0, then the numbers as gaps
//
// Against a base: the same, of the exports that were added or changed, form 2
// for those that went.
const (
	edgesNone = 0
	edgesAll  = 1
	edgesSame = 2 // in changes: gone
	edgesList = 3
)

func sameEdges(a, b EdgeSet) bool {
	return a.All == b.All && slices.Equal(a.List, b.List)
}

func sameExports(a, b []Export) bool {
	return slices.EqualFunc(a, b, func(x, y Export) bool {
		return x.Slot == y.Slot && sameEdges(x.Edges, y.Edges)
	})
}

func edgesForm(e EdgeSet) uint64 {
	switch {
	case e.All:
		return edgesAll
	case len(e.List) == 0:
		return edgesNone
	}
	return edgesList
}

func appendExport(dst []byte, gap, bits int, form uint64, e EdgeSet) []byte {
	dst = binary.AppendUvarint(dst, uint64(gap)<<bits|form)
	if form != edgesList {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.List)))
	from := uint32(0)
	for _, n := range e.List {
		dst = binary.AppendUvarint(dst, uint64(n-from))
		from = n + 1
	}
	return dst
}

func appendExports(dst []byte, exports []Export) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(exports)))
	from := 0
	for i, e := range exports {
		form := edgesForm(e.Edges)
		if form == edgesList && i > 0 && sameEdges(exports[i-1].Edges, e.Edges) {
			form = edgesSame
		}
		dst = appendExport(dst, int(e.Slot)-from, 2, form, e.Edges)
		from = int(e.Slot) + 1
	}
	return dst
}

// readExportList reads the shared shape of whole exports and of changes; same
// gives the meaning of form 2.
func readExportList(r *binenc.Reader, visit func(slot Slot, form uint64, list []uint32)) {
	n := r.Count(1)
	from := uint64(0)
	for range n {
		x := r.Uvarint()
		slot, form := from+x>>2, x&3
		if slot >= maxSlots {
			r.Fail("export of slot %d", slot)
		}
		var list []uint32
		if form == edgesList {
			list = readEdges(r)
		}
		if r.Err() != nil {
			return
		}
		visit(Slot(slot), form, list)
		from = slot + 1
	}
}

func readEdges(r *binenc.Reader) []uint32 {
	n := r.Count(1)
	if n == 0 {
		r.Fail("empty list of edges written out")
		return nil
	}
	list := make([]uint32, n)
	from := 0
	for i := range list {
		from = readIndex(r, from, maxSlots)
		list[i] = uint32(from)
		from++
	}
	return list
}

func edgesOf(form uint64, list []uint32) EdgeSet {
	return EdgeSet{All: form == edgesAll, List: list}
}

func readExports(r *binenc.Reader) []Export {
	var exports []Export
	readExportList(r, func(slot Slot, form uint64, list []uint32) {
		if form != edgesSame {
			exports = append(exports, Export{slot, edgesOf(form, list)})
			return
		}
		if len(exports) == 0 {
			r.Fail("first export is the same as the one before")
			return
		}
		exports = append(exports, Export{slot, exports[len(exports)-1].Edges})
	})
	return exports
}

// exportsPart is the exports of a version: unchanged (the zero value), whole,
// or changes against the base.
type exportsPart struct {
	whole   bool
	exports []Export
	changes []exportChange
}

type exportChange struct {
	export Export
	gone   bool
}

// diffExports lists what turns base into next, in slot order.
func diffExports(base, next []Export) []exportChange {
	var changes []exportChange
	i := 0
	for _, e := range next {
		for ; i < len(base) && base[i].Slot < e.Slot; i++ {
			changes = append(changes, exportChange{Export{Slot: base[i].Slot}, true})
		}
		if i < len(base) && base[i].Slot == e.Slot {
			if !sameEdges(base[i].Edges, e.Edges) {
				changes = append(changes, exportChange{e, false})
			}
			i++
			continue
		}
		changes = append(changes, exportChange{e, false})
	}
	for ; i < len(base); i++ {
		changes = append(changes, exportChange{Export{Slot: base[i].Slot}, true})
	}
	return changes
}

// appendExportChanges returns false when writing the exports whole is about as
// short.
func appendExportChanges(dst []byte, base, next []Export) ([]byte, bool) {
	changes := diffExports(base, next)
	if len(changes)*2 > len(next) {
		return dst, false
	}
	dst = binary.AppendUvarint(dst, uint64(len(changes)))
	from := 0
	for _, c := range changes {
		form := edgesForm(c.export.Edges)
		if c.gone {
			form = edgesSame
		}
		dst = appendExport(dst, int(c.export.Slot)-from, 2, form, c.export.Edges)
		from = int(c.export.Slot) + 1
	}
	return dst, true
}

func readExportChanges(r *binenc.Reader) exportsPart {
	p := exportsPart{changes: []exportChange{}}
	readExportList(r, func(slot Slot, form uint64, list []uint32) {
		p.changes = append(p.changes, exportChange{Export{slot, edgesOf(form, list)}, form == edgesSame})
	})
	return p
}

// merge gives the exports that follow base, and what is not right or "".
func (p *exportsPart) merge(base []Export) ([]Export, string) {
	if p.whole {
		return p.exports, ""
	}
	if p.changes == nil {
		return base, ""
	}
	merged := make([]Export, 0, len(base)+len(p.changes))
	i := 0
	for _, c := range p.changes {
		for ; i < len(base) && base[i].Slot < c.export.Slot; i++ {
			merged = append(merged, base[i])
		}
		there := i < len(base) && base[i].Slot == c.export.Slot
		if there {
			i++
		}
		if !c.gone {
			merged = append(merged, c.export)
		} else if !there {
			return nil, "an export goes that was not there"
		}
	}
	return append(merged, base[i:]...), ""
}
