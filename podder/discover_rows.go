package podder

import (
	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// What a region refers to and is new is a row of siblings. Rows are visited depth first:
// each sibling with all that hangs on it before the next one.

// regionRange are regions that are visited one after the other.
type regionRange struct{ first, next, end int32 }

// growth is a range of elements to scan.
type growth struct {
	region   int32
	from, to int
}

// collectAgain collects the edges anew of regions that grew after they were scanned, or
// have weak pointers.
func (w *walk) collectAgain() {
	if !w.rescans {
		return
	}
	w.settled = true
	for i := range w.st.regions.len() {
		if r := w.st.regions.at(i); r.flags&flagRescan != 0 && r.kind != pod.SlotFree {
			r.edge = uint32(w.edges.len())
			r.weight = 0
			w.current = i
			w.scan(i, 0, w.elements(r))
			w.st.regions.at(i).edgeEnd = uint32(w.edges.len())
		}
	}
	w.settled = false
}

// drain visits regions until nothing is left to visit.
func (w *walk) drain() error {
	for n, asked := 0, int32(0); ; n++ {
		if n&0xffff == 0 || w.st.regions.n-asked >= 1<<20 {
			asked = w.st.regions.n
			if err := w.ctx.Err(); err != nil {
				return err
			}
		}
		if n := w.st.regions.len(); n > w.covered {
			w.todo = append(w.todo, regionRange{w.covered, w.covered, n})
			w.covered = n
			if n > maxRegions {
				return dberr.ErrTooLarge
			}
		}
		switch {
		case len(w.grown) > 0:
			g := w.grown[0]
			w.grown = w.grown[1:]
			g.region = w.st.resolve(g.region)
			w.current = g.region
			w.scan(g.region, g.from, min(g.to, w.elements(w.st.regions.at(g.region))))
		case len(w.todo) > 0:
			w.visitRow()
			if w.edges.len() > maxEdges {
				return dberr.ErrTooLarge
			}
		default:
			return nil
		}
	}
}

// rowRegions bounds the regions that are visited without a look at what else there is
// to do.
const rowRegions = 1 << 12

// visitRow visits the next of the regions that are to be visited, until one leads to
// more.
func (w *walk) visitRow() {
	last := len(w.todo) - 1
	t := &w.todo[last]
	i, end := t.next, t.end
	stop := min(end, i+rowRegions)
	for more := true; more; {
		r := w.st.regions.at(i)
		if (i-t.first)%lookAheadRegions == 0 && r.kind == pod.SlotObject && end-i > 1 {
			w.lookAhead(t.first, i, end)
		}
		if i+1 == end {
			w.todo = w.todo[:last] // before more is added: a list takes no room
		}
		t.next = i + 1
		if r.flags&flagScanned == 0 {
			w.visit(i, r)
			if w.covered = w.ready; w.st.regions.n != w.covered {
				return // what it leads to comes first
			}
		}
		if w.stream != nil {
			w.stream.done(i, r)
		}
		i++
		more = i < stop && len(w.grown) == 0 && w.edges.n <= maxEdges
	}
}

// visit scans region i.
func (w *walk) visit(i int32, r *region) {
	r.flags |= flagScanned
	r.edge = uint32(w.edges.n)
	w.ready, w.up = w.covered, r
	if r.kind != pod.SlotFree && r.flags&flagSame == 0 {
		w.current = i
		if w.stream != nil && r.kind == pod.SlotObject {
			w.boxes, w.elem = 0, 0
			r.weight = clampWeight(r.plan.est + w.refs(r.plan, r.addr))
		} else {
			w.scan(i, 0, w.elements(r))
		}
	}
	r.edgeEnd = uint32(w.edges.n)
	if len(w.written.eager) > 0 {
		w.scanEager()
	}
}

// elements returns how many values of its plan a region holds.
func (w *walk) elements(r *region) int {
	if r.kind == pod.SlotArray {
		return w.st.spans.at(r.extra).reach
	}
	return 1
}
