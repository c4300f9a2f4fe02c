package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Maps from strings to pointers are written down like maps that lead nowhere, but
// for the codes of their pointers: encoding reads neither keys nor pointers again.

// keyRows are the entries of such a map in stored order. A row is the stored key and
// codeNil, or the stored key and rowReference: there the next reference belongs.
type keyRows struct {
	plainMap
	whole bool // each reference is to all of a region
}

const rowReference = 1

// keyed reports whether maps of plan p can have rows.
func (p *plan) keyed() bool {
	key, elem := p.key.ops, p.elem.ops
	return len(key) == 1 && key[0].code == opString &&
		len(elem) == 1 && elem[0].code == opPointer && elem[0].off == 0 && elem[0].sub.size != 0
}

// appendRowEnd ends a row whose element is at p.
func appendRowEnd(rows []byte, p unsafe.Pointer) []byte {
	if *(*unsafe.Pointer)(p) == nil {
		return append(rows, codeNil)
	}
	return append(rows, rowReference)
}

// keepRows keeps the rows of slots, which are in stored order.
func (w *walk) keepRows(slots []mapSlot) *keyRows {
	list := ownSlice[plainEntry](&w.own, len(slots))
	for k := range slots {
		list[k] = plainEntry{slots[k].hash, slots[k].from, slots[k].end}
	}
	data := w.maps.plain
	return &keyRows{plainMap: plainMap{order: list, data: gatherPlain(list, data, ownBytes(&w.own, len(data)+fewBytes))}}
}

// keyedRefs visits the references of a map that has rows, and returns what its keys
// add to its stored size.
func (w *walk) keyedRefs(pl *plan, m *mapEntries) (extra int) {
	sub := pl.elem.ops[0].sub
	w.written.failed = false
	for k, at := range m.at {
		if k%elementsAhead == 0 {
			w.aheadElements(pl, m.at, k)
		}
		w.boxes, w.elem = 0, k
		extra += len(*(*string)(at))
		at = unsafe.Add(at, pl.layout.elem)
		if q := *(*unsafe.Pointer)(at); q != nil {
			if w.first && !w.eng.sentinels.near(q) {
				if r, i := w.meet(q, sub, pod.SlotObject, sub.size); r != nil {
					if sub.plain && !sub.flat {
						w.soon(i)
					}
					continue
				}
			}
			n := w.st.regions.n
			w.whole(w.object(at, q, sub), n, q, sub, false)
		}
	}
	m.rows.whole = !w.written.failed
	return extra
}

// rowsOf returns the rows of m if they can be used.
func (e *encoder) rowsOf(m *mapEntries) *keyRows {
	if m.rows == nil || !m.rows.whole || e.written.replaced || len(e.st.forwards) > 0 {
		return nil
	}
	return m.rows
}

// row appends row k with its reference.
func (e *encoder) row(rows *keyRows, k int) {
	x := rows.order[k]
	row := rows.data[x.from:x.end]
	last := len(row) - 1
	if row[last] == codeNil {
		e.buf = append(e.buf, row...)
		return
	}
	e.buf = appendFew(e.buf, rows.data[x.from:], last)
	if r := e.take(); r != nil {
		e.code(r, 0)
	}
}
