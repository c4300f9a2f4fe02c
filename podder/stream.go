package podder

import (
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// stream places the regions of a first save while they are found, and encodes them
// while they are in the cache. What a region leads to is complete when the walk
// comes back from there, so the tree of first references is cut into pieces from
// the leaves up (cluster.go), a piece gets its pod and slots at once, and what it
// refers to has its places mostly too. A pod of which a reference has no place yet
// (a cycle, a way into a piece that is not cut yet) is encoded when all is placed.
//
// Nothing is put before the walk has ended: until then a region that becomes a part
// of another one, or grows, is reason to give all of it up (walk.unstream) and to
// place everything as later saves do.
type stream struct {
	e      *encoder
	target uint32
	wait   bool // encode nothing yet

	// The pod that pieces go to as long as there is room.
	open  int32 // -1 for none
	bytes uint32
	list  []int32 // its regions in the order of their slots
	late  bool    // holds a container that is to be stored in chunks, or weak pointers

	rows   []pieceRow
	sealed []sealedPod // by pod
	data   []pod.Data
	block  []byte  // room for forms
	read   pod.Pod // of a form, for a sink that takes slots
}

// sealedPod is a pod that was encoded.
type sealedPod struct {
	form []byte // as pod.AppendWhole makes it, nil for none
	body int    // bytes of its slots
}

// pieceRow are siblings of a piece.
type pieceRow struct{ next, end, parent int32 }

// formBlock is how much memory is taken for forms at a time.
const formBlock = 1 << 20

func newStream(e *encoder, wait bool) *stream {
	e.st.types = map[typeKey]pod.TypeID{}
	return &stream{e: e, target: uint32(e.cfg.TargetBytes), open: -1, wait: wait}
}

// done takes region i, of which everything below is known, and then those above
// it of which it was the last.
func (s *stream) done(i int32) {
	regions := &s.e.st.regions
	n := regions.len()
	for {
		r := regions.at(i)
		own, below := r.weight+slotOverhead, r.size
		if r.weight > s.e.heaviest && r.kind != pod.SlotObject && r.kind != pod.SlotBox {
			s.e.heaviest = r.weight
		}
		if below > 0 && own+below > s.target {
			s.cut(r.child, n, below)
			r.child, below = 0, 0
		}
		p := r.parent
		if p < 0 {
			r.size = own + below
			s.flush()
			s.cut(i, i+1, r.size)
			s.flush()
			return
		}
		up := regions.at(p)
		if beside := up.size; beside > 0 && beside+own+below > s.target {
			if below > beside {
				s.cut(r.child, n, below)
				r.child, below = 0, 0
			}
			if beside+own+below > s.target {
				s.cut(up.child, i, beside)
				up.size = 0
			}
		}
		if up.size == 0 {
			up.child = i
		}
		up.size += own + below
		if i+1 < n && regions.at(i+1).parent == p {
			return
		}
		i = p
	}
}

// cut makes a piece of the siblings from head up to end, with what hangs on them.
func (s *stream) cut(head, end int32, size uint32) {
	if s.open < 0 || s.bytes+size > s.target {
		s.flush()
		st := s.e.st
		s.open, s.bytes, s.late = int32(len(st.pods)), 0, false
		st.pods = append(st.pods, podState{id: s.e.sink.NewPod(), isNew: true})
		s.sealed = append(s.sealed, sealedPod{})
	}
	s.bytes += size
	regions := &s.e.st.regions
	rows := append(s.rows[:0], pieceRow{head, end, regions.at(head).parent})
	for len(rows) > 0 {
		row := rows[len(rows)-1]
		rows = rows[:len(rows)-1]
		was := len(rows)
		for i := row.next; i < row.end; i++ {
			r := regions.at(i)
			if r.parent != row.parent {
				break
			}
			r.pod, r.slot = s.open, uint32(len(s.list))
			s.list = append(s.list, i)
			if r.child != 0 {
				rows = append(rows, pieceRow{r.child, regions.len(), i})
			}
			s.late = s.late || int(r.weight) > chunkFrom*int(s.target) || r.flags&flagRescan != 0
		}
		slices.Reverse(rows[was:])
	}
	s.rows = rows
}

// flush encodes the open pod: nothing is added to it any more.
func (s *stream) flush() {
	if s.open < 0 {
		return
	}
	e := s.e
	ps := &e.st.pods[s.open]
	ps.slots = ownSlice[slotState](&e.st.own, len(s.list))
	for k, i := range s.list {
		ps.slots[k].region = i
		if r := e.st.regions.at(i); r.parent >= 0 && e.st.regions.at(r.parent).pod != s.open {
			r.flags |= flagExported
		}
	}
	if !s.late && !s.wait {
		s.seal(s.open, ps)
	}
	s.open, s.list = -1, s.list[:0]
}

// seal encodes a pod, if all that it refers to has its place.
func (s *stream) seal(i int32, ps *podState) {
	e := s.e
	if len(e.problems) > 0 {
		return // the save fails; what was found too deep must not be encoded
	}
	e.begin(i, ps)
	e.unplaced = false
	e.slots, e.marked = e.slots[:0], e.marked[:0]
	problems := len(e.problems)
	for k, i := range s.list {
		r := e.st.regions.at(i)
		e.current = i
		e.slot(r, slotState{})
		if e.err != nil || e.unplaced {
			e.err, e.unplaced, e.problems = nil, false, e.problems[:problems] // what is wrong is found again in the end
			return
		}
		if k == 0 || r.flags&flagExported != 0 {
			e.marked = append(e.marked, uint32(k))
		} else if r.flags&flagCrossed != 0 {
			return // whether others refer to it is not known yet
		}
		e.slots = append(e.slots, uint32(k))
	}
	ps.exports = e.exports(ps, e.slots, e.marked)
	ps.refs = slices.Clone(e.refs)
	s.data = s.data[:0]
	for k := range e.out {
		s.data = append(roomy(s.data), pod.Data{})
		o := &e.out[k]
		e.data(&s.data[k], o, uint32(k))
		slot := &ps.slots[k]
		slot.hash, slot.kind = o.hash, o.kind
	}
	p := pod.Pod{Refs: ps.refs, Exports: ps.exports, Slots: s.data}
	most := 64 + p.BodyLen() + len(e.runs)*6 + 24*len(e.out) + 24*len(e.refs)
	if cap(s.block)-len(s.block) < most {
		s.block = ownBytes(&e.own, max(formBlock, most))[:0]
	}
	from := len(s.block)
	form := pod.AppendWhole(s.block[from:], &p)
	s.sealed[i] = sealedPod{form: form, body: p.BodyLen()}
	for _, i := range s.list {
		e.written.over(e.st.regions.at(i))
	}
	if len(form) <= cap(s.block)-from {
		s.block = s.block[:from+len(form)]
	}
}

// unseal has a pod encoded again.
func (s *stream) unseal(i int32) {
	if s == nil || s.sealed[i].form == nil {
		return
	}
	s.sealed[i].form = nil
	ps := &s.e.st.pods[i]
	ps.refs, ps.exports = nil, nil
	for k := range ps.slots {
		ps.slots[k] = slotState{region: ps.slots[k].region}
	}
}

// unstream gives up what was placed.
func (w *walk) unstream() {
	s := w.stream
	if s == nil {
		return
	}
	w.stream = nil
	st := w.st
	st.pods, st.types = nil, nil
	for i := range st.regions.len() {
		r := st.regions.at(i)
		r.pod, r.slot, r.child, r.size = -1, 0, 0, 0
		r.flags &^= flagExported
	}
}

// end makes ready for the pods to be put.
func (s *stream) end() {
	e := s.e
	e.keep = make([]bool, len(e.st.pods))
	for i := range e.st.pods {
		e.st.byID[e.st.pods[i].id] = int32(i)
	}
}

// put puts pod i if it was encoded.
func (s *stream) put(i int32) (done bool, err error) {
	if s == nil || s.sealed[i].form == nil {
		return false, nil
	}
	e, x := s.e, &s.sealed[i]
	ps := &e.st.pods[i]
	n := len(ps.slots)
	e.saved.PodsChanged++
	e.saved.SlotsChanged += n
	e.saved.Bytes += int64(x.body)
	ps.isNew = false
	if sink, ok := e.sink.(pod.WholeSink); ok {
		return true, sink.PutWhole(e.ctx, ps.id, ps.exports, x.form)
	}
	if err := s.read.ReadWhole(x.form); err != nil {
		return true, err
	}
	e.writes = e.writes[:0]
	for k := range s.read.Slots {
		e.writes = append(roomy(e.writes), pod.SlotWrite{Slot: pod.Slot(k), Data: s.read.Slots[k]})
	}
	c := &e.change
	*c = pod.Change{ID: ps.id, New: true, Whole: true, Refs: ps.refs, Exports: ps.exports, Slots: e.writes, Drop: c.Drop[:0]}
	return true, e.sink.Put(e.ctx, c)
}
