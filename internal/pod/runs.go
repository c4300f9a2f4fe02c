package pod

import (
	"encoding/binary"
	"math"

	"github.com/poddb/poddb/internal/binenc"
)

// References and exports in runs. Of objects of which each is a pod's export and somebody's reference, as
// thousands of arrays that share pods, the tables repeat themselves: numbers that are unused, neighbours in one pod,
// exports that reach nothing, or one reference each. A version that stands alone, or has a shared body, has them in
// runs if that makes it shorter; then its format is that of the same version without runs, plus runsFormats.
//
// References: as without, but every code from 2 on is two higher, and
//
//	2, byte n-1   n numbers are unused                                       n ≤ 64
//	3, byte n-1   n references in the pod of the used one before, each to the slot after that of the one before
//
// Exports: uvarint gap<<3 | form, the forms 0 to 3 as without, and, one byte of (n-1)<<3 | form, n ≤ 16,
//
//	4  n exports of the slots that follow, with the edges of the one before
//	5  n exports of the slots that follow, each with the one reference after that of the one before, which has one
//
// So a byte stands for at most 32 references of 16 bytes, or 16 exports of 44.
const (
	runsFormats = 4

	refsUnused    = 2
	refsFollow    = 3
	mostRefs      = 64
	exportsSame   = 4
	exportsFollow = 5
	mostExports   = 16
)

// appendTables appends references and exports behind the head byte at dst[head], in runs if that is shorter.
func appendTables(dst []byte, head int, refs []Ref, exports []Export) []byte {
	start := len(dst)
	dst = appendExports(appendRefs(dst, refs), exports)
	if !inRuns(refs, exports) {
		return dst
	}
	end := len(dst)
	dst = appendExportRuns(appendRefRuns(dst, refs), exports)
	n := len(dst) - end
	if n >= end-start {
		return dst[:end]
	}
	copy(dst[start:], dst[end:])
	dst[head] += runsFormats << 4
	return dst[:start+n]
}

// inRuns reports whether runs may be shorter.
func inRuns(refs []Ref, exports []Export) bool {
	n := 0
	for i := 1; i < len(refs); i++ {
		if refs[i].Pod == refs[i-1].Pod && (refs[i].Pod == 0 || refs[i].Slot == refs[i-1].Slot+1) {
			n++
		}
	}
	for i := 1; i < len(exports); i++ {
		if exports[i].Slot == exports[i-1].Slot+1 && len(exports[i].Edges.List) == len(exports[i-1].Edges.List) {
			n++
		}
	}
	return n > 2
}

func follows(last, ref Ref) bool {
	return ref.Pod == last.Pod && last.Slot < math.MaxUint32 && ref.Slot == last.Slot+1
}

func appendRefRuns(dst []byte, refs []Ref) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(refs)))
	last := Ref{}
	for i := 0; i < len(refs); {
		unused, follow := 0, 0
		for i+unused < len(refs) && unused < mostRefs && refs[i+unused].Pod == 0 {
			unused++
		}
		for before := last; i+follow < len(refs) && follow < mostRefs && follows(before, refs[i+follow]); follow++ {
			before = refs[i+follow]
		}
		switch {
		case unused > 2:
			dst = append(dst, refsUnused, byte(unused-1))
			i += unused
			continue
		case follow > 1:
			dst = append(dst, refsFollow, byte(follow-1))
			i += follow
			last = refs[i-1]
			continue
		}
		dst = appendRefCode(dst, refs[i], last.Pod, 2)
		if refs[i].Pod != 0 {
			last = refs[i]
		}
		i++
	}
	return dst
}

// runCount reads a number of elements, of which a byte stands for most at most.
func runCount(r *binenc.Reader, most int) int {
	n := readSlotCount(r)
	if n > most*r.Len() {
		r.Fail("%d elements in %d bytes", n, r.Len())
		return 0
	}
	return n
}

// readRefRuns reads the references into the memory of refs, if they fit there.
func readRefRuns(r *binenc.Reader, refs []Ref) []Ref {
	n := runCount(r, mostRefs/2)
	refs = room(refs, n)
	last := Ref{}
	for len(refs) < n && r.Err() == nil {
		t := r.Uvarint()
		if t == refsUnused || t == refsFollow {
			k := int(r.Byte()) + 1
			switch {
			case k > mostRefs || k > n-len(refs):
				r.Fail("run of %d references, %d left", k, n-len(refs))
			case t == refsFollow && (last.Pod == 0 || uint64(last.Slot)+uint64(k) > math.MaxUint32):
				r.Fail("%d references follow slot %d of pod %d", k, last.Slot, last.Pod)
			}
			for ; k > 0 && r.Err() == nil; k-- {
				if t == refsUnused {
					refs = append(refs, Ref{})
					continue
				}
				last.Slot++
				refs = append(refs, last)
			}
			continue
		}
		if t > refsFollow {
			t -= 2
		}
		code := readRefCode(r, t)
		ref := code.ref(last.Pod)
		if ref.Pod != 0 {
			last = ref
		} else if code.used {
			r.Fail("reference to pod 0")
		}
		refs = append(refs, ref)
	}
	return refs
}

// isNext reports whether e reaches the one reference after that of the export before.
func isNext(before, e EdgeSet) bool {
	return len(before.List) == 1 && len(e.List) == 1 && e.List[0] == before.List[0]+1
}

func appendExportRuns(dst []byte, exports []Export) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(exports)))
	from := 0
	for i := 0; i < len(exports); {
		n, form := 0, byte(0)
		if i > 0 {
			n, form = exportRun(exports[i-1:])
		}
		if n > 0 {
			dst = append(dst, byte(n-1)<<3|form)
			i += n
			from += n
			continue
		}
		e := exports[i]
		dst = appendExport(dst, int(e.Slot)-from, 3, edgesForm(e.Edges), e.Edges)
		from = int(e.Slot) + 1
		i++
	}
	return dst
}

// exportRun returns how many exports after the first are a run, and of which form.
func exportRun(exports []Export) (n int, form byte) {
	run := func(is func(before, e EdgeSet) bool) int {
		n := 0
		for n < mostExports && n+1 < len(exports) && exports[n+1].Slot == exports[n].Slot+1 && is(exports[n].Edges, exports[n+1].Edges) {
			n++
		}
		return n
	}
	if n = run(sameEdges); n > 0 {
		return n, exportsSame
	}
	return run(isNext), exportsFollow
}

// readExportRuns reads the exports into the memory of exports, if they fit there. list reads a list of edges, one makes a list of one.
func readExportRuns(r *binenc.Reader, exports []Export, list func(*binenc.Reader) []uint32, one func(uint32) []uint32) []Export {
	n := runCount(r, mostExports)
	exports = room(exports, n)
	from := uint64(0)
	for len(exports) < n {
		x := r.Uvarint()
		slot, form, k := from+x>>3, x&7, 1
		e := EdgeSet{All: form == edgesAll}
		if form == edgesSame || form >= exportsSame {
			if len(exports) == 0 {
				r.Fail("first export is like the one before")
				return exports
			}
			e = exports[len(exports)-1].Edges
		}
		if form >= exportsSame {
			slot, k = from, int(min(x>>3, mostExports))+1
		}
		switch {
		case k > mostExports || k > n-len(exports):
			r.Fail("run of %d exports, %d left", k, n-len(exports))
		case form > exportsFollow:
			r.Fail("export of form %d", form)
		case slot+uint64(k) > maxSlots:
			r.Fail("export of slot %d", slot)
		case form == edgesList:
			e.List = list(r)
		case form == exportsFollow && (len(e.List) != 1 || uint64(e.List[0])+uint64(k) >= maxSlots):
			r.Fail("%d exports follow one that reaches %d references", k, len(e.List))
		}
		if r.Err() != nil {
			return exports
		}
		for ; k > 0; k-- {
			if form == exportsFollow {
				e.List = one(e.List[0] + 1)
			}
			exports = append(exports, Export{Slot(slot), e})
			slot++
		}
		from = slot
	}
	return exports
}
