package podder

import (
	"math"

	"github.com/poddb/poddb/internal/pod"
)

// A map of which many entries lead into other pods does not wait for all of these
// at once, which may be most of a database. It is filled in passes: entries are
// read in order until they have asked for a batch of pods; those that lack none are
// put into the map, the others are listed. The next pass, when the batch is here,
// puts in what was listed and reads on. Keys and elements that hold nothing which
// must be decoded in one go with its slot (decodePlan.nests) are final as soon as
// their pods are here, so nothing that was put in is ever looked at again.

// mapPasses is how far such a map is filled.
type mapPasses struct {
	piece   int // of the container, being read: a chunk, or the slot
	run     int // of the piece, to be read next
	off     int // of the piece, where that run begins
	seen    uint64
	waiting []waitingEntry
	lowest  int // of ask, among the pods that these lack
	done    int // pieces of which all is in the map
}

// waitingEntry is an entry that lacks a pod: where it is in its piece, and the end
// of its run. Of one whose key is known only the element is read again, which
// begins there then.
type waitingEntry struct {
	piece, off, end int
	known           bool
	key             string
	hash            uint64 // of the key, if known
}

// inPasses reports whether a map of so many entries is filled in passes.
func (st *storedType) inPasses(count uint64) bool { return count > fetchBatch && st.nests }

// fillPass does one pass over the map in slot s, which lies in pieces.
func (f *mapFiller) fillPass(s loadSlot, pieces []loadSlot, count uint64) {
	l := f.l
	m := l.passes[s]
	if m == nil {
		m = &mapPasses{off: -1}
		f.begin()
	}
	at := l.at
	m.lowest = math.MaxInt
	if f.retry(m, pieces) && f.readOn(m, pieces) {
		l.at, l.lowest = at, m.lowest
		m.rest(l, pieces)
		if l.missing = len(m.waiting) > 0 || m.piece < len(pieces); !l.missing {
			delete(l.passes, s)
			f.finish(s.pod, s.slot, count)
			return
		}
		if l.passes == nil {
			l.passes = map[loadSlot]*mapPasses{}
		}
		l.passes[s] = m
	}
}

// rest has what was noted of references be used again for pieces that are done.
func (m *mapPasses) rest(l *loader, pieces []loadSlot) {
	done := m.piece
	if len(m.waiting) > 0 {
		done = m.waiting[0].piece
	}
	for ; m.done < done; m.done++ {
		l.idle.giveRefs(pieces[m.done].pod)
	}
}

// retry puts in what was listed, and lists what still lacks a pod.
func (f *mapFiller) retry(m *mapPasses, pieces []loadSlot) bool {
	waiting := m.waiting
	m.waiting = waiting[:0]
	for i := range waiting {
		if next := i + groupsAhead; next < len(waiting) && waiting[next].known {
			f.fetchGroup(waiting[next].hash)
		}
		w := waiting[i]
		c := f.at(pieces[w.piece], w.off, w.end)
		if w.known {
			f.elemOrWait(m, w, &c)
		} else {
			f.entryOrWait(m, w.piece, &c)
		}
		if f.l.err != nil {
			return false
		}
	}
	return true
}

// at has entries of a piece be read, from off to the end of their run.
func (f *mapFiller) at(piece loadSlot, off, end int) cursor {
	// Numbers of references are those of the piece, and damage is in it.
	f.in(piece.pod)
	f.l.at.in(piece)
	b := piece.pod.merged.Slots[piece.slot].Bytes
	return cursor{buf: b[:end:end], off: off}
}

// entryOrWait reads an entry and puts it in, or lists it. It reports false after
// an error.
func (f *mapFiller) entryOrWait(m *mapPasses, piece int, c *cursor) bool {
	l := f.l
	off := c.off
	if f.plainText() {
		if key, ok := f.textKey(c); ok {
			f.elemOrWait(m, waitingEntry{piece: piece, off: c.off, end: len(c.buf), key: key}, c)
			return l.err == nil
		}
	}
	slab := l.slab
	l.missing, l.lowest = false, math.MaxInt
	f.entry(c)
	if l.missing {
		m.lowest = min(m.lowest, l.lowest)
		m.waiting = append(m.waiting, waitingEntry{piece: piece, off: off, end: len(c.buf)})
		if f.keyCode == moveString {
			l.slab.takeBack(slab, *(*string)(f.keyAt))
		}
	}
	return l.err == nil
}

// elemOrWait is entryOrWait of an entry whose key was read.
func (f *mapFiller) elemOrWait(m *mapPasses, w waitingEntry, c *cursor) {
	l := f.l
	l.missing, l.lowest = false, math.MaxInt
	l.scratch++
	f.textElem(c, f.elemAt)
	l.scratch--
	switch {
	case l.err != nil:
	case !l.missing:
		f.insertText(f.to, w.key, f.elemAt)
	default:
		if !w.known {
			w.known, w.hash = true, f.hashOf(w.key)
		}
		m.lowest = min(m.lowest, l.lowest)
		m.waiting = append(m.waiting, w)
	}
}

// readOn reads more entries until they have asked for a batch of pods. It reports
// false after an error.
func (f *mapFiller) readOn(m *mapPasses, pieces []loadSlot) bool {
	l := f.l
	asked := len(l.ask)
	for m.piece < len(pieces) {
		piece := pieces[m.piece]
		d := &piece.pod.merged.Slots[piece.slot]
		l.at = piece
		h, ok := l.mapHeader(piece.pod, piece.slot, d)
		if !ok {
			return false
		}
		if m.off < 0 {
			m.run, m.off, m.seen = 1, h.bytes, 0
		}
		for ; m.run < len(d.Runs); m.run++ {
			if len(m.waiting) > 0 && len(l.ask)-asked >= fetchBatch {
				return true
			}
			if !f.run(m, piece, d) {
				return false
			}
		}
		if !f.pieceEnds(len(d.Bytes)-m.off, m.seen, h) {
			return false
		}
		m.piece, m.off = m.piece+1, -1
	}
	return true
}

// run reads one run of a piece.
func (f *mapFiller) run(m *mapPasses, piece loadSlot, d *pod.Data) bool {
	l := f.l
	if uint64(d.Runs[m.run]) > uint64(len(d.Bytes)-m.off) {
		l.corrupt("runs exceed the %d bytes of a map", len(d.Bytes))
		return false
	}
	c := f.at(piece, m.off, m.off+int(d.Runs[m.run]))
	for c.off < len(c.buf) {
		off := c.off
		if !f.entryOrWait(m, m.piece, &c) {
			return false
		}
		if m.seen++; c.off == off {
			l.corrupt("bytes in a map whose entries have none")
			return false
		}
	}
	m.off = len(c.buf)
	return true
}
