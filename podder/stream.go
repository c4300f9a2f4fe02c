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
	regs   *regionList // of the state
	target uint32
	last   bool    // no save follows: nothing is noted of what was encoded
	wait   bool    // encode nothing yet
	large  uint32  // a heavier container is stored in chunks
	heavy  []int32 // those

	// The pod that pieces go to as long as there is room.
	open  int32 // -1 for none
	bytes uint32
	list  []int32 // its regions in the order of their slots
	late  bool    // holds a container that is to be stored in chunks, or weak pointers

	heads []int32 // of list: those whose parents are, or may be, in other pods
	rows  []pieceRow

	sealed  []sealedPod   // by pod
	sink    pod.WholeSink // nil if it takes slots
	block   []byte        // room for forms
	head    []byte
	upwards []uint32 // 0, 1, 2 and so on
	exports []pod.Export
	dir     pod.DirectoryWriter
	read    pod.Pod // of a form, for a sink that takes slots
}

// sealedPod is a pod that was encoded.
type sealedPod struct {
	form    []byte  // as pod.AppendWhole makes it, nil for none
	body    int     // bytes of its slots
	regions []int32 // in the order of their slots
}

// pieceRow are siblings of a piece.
type pieceRow struct{ next, end, parent int32 }

// formBlock is how much memory is taken for forms at a time.
const formBlock = 1 << 20

// Room for what is not known before a pod is encoded: formSpare beyond the estimate of
// its size, and for the part of its form before the slots.
const (
	formSpare = 256
	headSpare = 64
	headSlot  = 8 // for each slot
)

func newStream(e *encoder, last, wait bool) *stream {
	e.st.types = map[typeKey]pod.TypeID{}
	s := &stream{e: e, regs: &e.st.regions, target: e.most, open: -1, last: last, wait: wait}
	s.large = uint32(chunkFrom * e.cfg.TargetBytes)
	s.sink, _ = e.sink.(pod.WholeSink)
	return s
}

// done takes region i, of which everything below is known, and then those above
// it of which it was the last.
func (s *stream) done(i int32, r *region) {
	regions := s.regs
	n := regions.len()
	for {
		own, below := r.weight+slotOverhead, r.size
		if r.weight > s.large {
			s.noteHeavy(i, r)
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
		beside := up.size
		if beside > 0 && beside+own+below > s.target {
			if below > beside {
				s.cut(r.child, n, below)
				r.child, below = 0, 0
			}
			if beside+own+below > s.target {
				s.cut(up.child, i, beside)
				beside = 0
			}
		}
		if beside == 0 {
			up.child = i
		}
		up.size = beside + own + below
		if i+1 < n && regions.at(i+1).parent == p {
			return
		}
		i, r = p, up
	}
}

// leaf is done for region i, which leads nowhere, is the next one of those that hang on
// region up, and was met while that is visited. It does nothing and reports false if more
// is to be done than to count it.
func (s *stream) leaf(i int32, r, up *region) bool {
	own, beside := r.weight+slotOverhead, up.size
	if r.weight > s.large || beside > 0 && beside+own > s.target {
		return false
	}
	if beside == 0 {
		up.child = i
	}
	up.size = beside + own
	return true
}

// noteHeavy notes region i if it is a container that is to be stored in chunks.
func (s *stream) noteHeavy(i int32, r *region) {
	if r.kind == pod.SlotArray || r.kind == pod.SlotMap || r.kind == pod.SlotString {
		s.heavy = append(s.heavy, i)
		s.e.heaviest = max(s.e.heaviest, r.weight)
	}
}

// cut makes a piece of the siblings from head up to end, with what hangs on them.
func (s *stream) cut(head, end int32, size uint32) {
	if s.open < 0 || s.bytes+size > s.target {
		s.flush()
		st := s.e.st
		s.open, s.bytes, s.late = int32(len(st.pods)), 0, false
		st.pods = append(roomy(st.pods), podState{id: s.e.sink.NewPod(), isNew: true})
		s.sealed = append(roomy(s.sealed), sealedPod{})
	}
	s.bytes += size
	s.rows = append(s.rows[:0], pieceRow{head, end, s.regs.at(head).parent})
	for first, top := len(s.list), true; len(s.rows) > 0; top = false {
		last := len(s.rows) - 1
		row := s.rows[last]
		s.rows = s.rows[:last]
		s.place(row)
		if top {
			s.heads = append(s.heads, s.list[first:]...)
		}
		if len(s.rows)-last > 1 {
			slices.Reverse(s.rows[last:])
		}
	}
}

// place gives the siblings of a row their slots in the open pod, and adds the rows of
// what hangs on them.
func (s *stream) place(row pieceRow) {
	list, n := s.list, s.regs.n
	for i := row.next; i < row.end; {
		block := s.regs.blocks[i>>listBlockBits]
		for k := i & (listBlock - 1); ; k++ {
			r := &block[k&(listBlock-1)]
			if r.parent != row.parent {
				s.list = list
				return
			}
			r.pod, r.slot = s.open, uint32(len(list))
			list = append(list, i)
			if r.child != 0 {
				s.rows = append(s.rows, pieceRow{r.child, n, i})
			}
			if r.weight > s.large || r.flags&flagRescan != 0 {
				s.late = true
			}
			if i++; i >= row.end || k == listBlock-1 {
				break
			}
		}
	}
	s.list = list
}

// flush encodes the open pod: nothing is added to it any more.
func (s *stream) flush() {
	if s.open < 0 {
		return
	}
	e := s.e
	ps := &e.st.pods[s.open]
	if !s.last {
		s.noteSlots(ps, s.list)
	}
	for _, i := range s.heads {
		if r := e.st.regions.at(i); r.parent >= 0 && e.st.regions.at(r.parent).pod != s.open {
			r.flags |= flagExported
		}
	}
	if !s.late && !s.wait {
		s.seal(s.open, ps)
	}
	if s.last && s.sealed[s.open].form == nil {
		s.noteSlots(ps, s.list)
	}
	s.open, s.list, s.heads = -1, s.list[:0], s.heads[:0]
}

// noteSlots notes the regions that live in a pod.
func (s *stream) noteSlots(ps *podState, regions []int32) {
	ps.slots = ownSlice[slotState](&s.e.st.own, len(regions))
	for k, i := range regions {
		ps.slots[k].region = i
	}
}

// seal encodes a pod, if all that it refers to has its place.
func (s *stream) seal(i int32, ps *podState) {
	e := s.e
	if len(e.problems) > 0 {
		return // the save fails; what was found too deep must not be encoded
	}
	head := headSpare + headSlot*len(s.list)
	s.room(head + int(s.bytes) + int(s.bytes)/4 + formSpare)
	from, own, problems := len(s.block)+head, e.buf, len(e.problems)
	e.begin(i, ps)
	e.buf = s.block[from:from]
	sealed := s.slots(ps)
	body := e.buf
	e.buf = own
	if !sealed { // what is wrong is found again in the end
		e.err, e.unplaced, e.problems = nil, false, e.problems[:problems]
		for k := range ps.slots {
			ps.slots[k] = slotState{region: ps.slots[k].region}
		}
		return
	}
	if s.last {
		s.exports = e.exportsFrom(s.exports[:0], ps, e.slots, e.marked)
		s.head = pod.AppendWholeHeadOf(s.head[:0], e.refs, s.exports, &s.dir)
	} else {
		ps.exports = e.exportsFrom(make([]pod.Export, 0, len(e.marked)), ps, e.slots, e.marked)
		ps.refs = slices.Clone(e.refs)
		s.head = pod.AppendWholeHeadOf(s.head[:0], ps.refs, ps.exports, &s.dir)
	}
	inPlace := from+len(body) <= cap(s.block) && (len(body) == 0 || &body[0] == &s.block[:from+1][from])
	if inPlace {
		s.block = s.block[:from+len(body)]
	}
	if inPlace && len(s.head) <= head {
		from -= len(s.head)
		copy(s.block[from:], s.head)
	} else { // it needs more room
		s.room(len(s.head) + len(body))
		from = len(s.block)
		s.block = append(append(s.block, s.head...), body...)
	}
	x := &s.sealed[i]
	x.form, x.body = s.block[from:len(s.block):len(s.block)], len(body)
	if s.last {
		x.regions = ownSlice[int32](&e.own, len(s.list))
		copy(x.regions, s.list)
	}
}

// slots encodes the slots of the open pod. It reports false if that cannot be done yet.
func (s *stream) slots(ps *podState) bool {
	e := s.e
	e.marked, e.unplaced = e.marked[:0], false
	e.slots, e.starts = s.numbers(len(s.list)), slices.Grow(e.starts[:0], len(s.list))[:len(s.list)]
	s.dir.Reset()
	for k, i := range s.list {
		r := s.regs.at(i)
		if k == 0 || r.flags&(flagExported|flagCrossed) != 0 {
			if k > 0 && r.flags&flagExported == 0 {
				return false // whether others refer to it is not known yet
			}
			e.marked = append(e.marked, uint32(k))
		}
		e.starts[k] = uint32(len(e.links))
		e.current, e.edge = i, r.edge
		from, head := len(e.buf), 0
		kind, typ := r.kind, pod.TypeID(0)
		switch kind {
		case pod.SlotObject, pod.SlotBox:
			head = 1
			typ = e.typeAt(2 * r.plan.number)
			if typ == noType {
				typ = e.typeID(r.plan, false)
			}
			e.values(r.plan, r.addr, 1)
			s.dir.AddOne(kind, typ, len(e.buf)-from)
		case pod.SlotMap:
			if head = e.smallMapSlot(r); head > 0 {
				if typ = e.typeAt(2*r.plan.number + 1); typ == noType {
					typ = e.typeID(r.plan, true)
				}
				s.dir.AddTwo(kind, typ, uint32(head), uint32(len(e.buf)-from-head))
			}
		case pod.SlotArray:
			if head = e.shortArray(r); head > 0 {
				if typ = e.typeAt(2 * r.plan.number); typ == noType {
					typ = e.typeID(r.plan, false)
				}
				s.dir.AddTwo(kind, typ, uint32(head), uint32(len(e.buf)-from-head))
			}
		}
		if head == 0 {
			s.slot(r, ps, k)
		}
		if e.err != nil || e.unplaced {
			return false
		}
		if s.last || head == 0 {
			continue
		}
		slot := &ps.slots[k]
		slot.kind = kind
		if kind == pod.SlotArray {
			slot.hash = e.eng.hashSlot(kind, typ, e.buf[from:from+head], e.buf[from+head:])
		} else {
			slot.hash = slotHash(hashPart(e.buf[from:], e.eng.hashSeed(kind, typ)))
		}
	}
	return true
}

// numbers returns 0 up to n.
func (s *stream) numbers(n int) []uint32 {
	for len(s.upwards) < n {
		s.upwards = append(s.upwards, uint32(len(s.upwards)))
	}
	return s.upwards[:n:n]
}

// slot encodes region r of any kind, which has slot k.
func (s *stream) slot(r *region, ps *podState, k int) {
	e := s.e
	e.out = e.out[:0]
	e.slot(r, slotState{})
	o := &e.out[0]
	if o.kind == pod.SlotString {
		e.buf = append(e.buf, o.flat...)
		o.to = len(e.buf)
	}
	runs := e.runs[o.runs:o.runEnd]
	if len(runs) < 2 {
		runs = nil
	}
	if !s.last {
		ps.slots[k].hash, ps.slots[k].kind = o.hash, o.kind
	}
	s.dir.Add(o.kind, o.typ, o.to-o.from, runs)
}

// room makes room for n more bytes in the block.
func (s *stream) room(n int) {
	if cap(s.block)-len(s.block) >= n {
		return
	}
	n = max(formBlock, n)
	s.block = nil
	if s.sink != nil {
		s.block = s.sink.Memory(n)
	}
	if s.block == nil {
		s.block = ownBytes(&s.e.own, n)
	}
	s.block = s.block[:0]
}

// unseal has a pod encoded again.
func (s *stream) unseal(i int32) {
	if s == nil || s.sealed[i].form == nil {
		return
	}
	x := &s.sealed[i]
	x.form = nil
	ps := &s.e.st.pods[i]
	ps.refs, ps.exports = nil, nil
	if s.last {
		s.noteSlots(ps, x.regions)
		return
	}
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
		if r.kind == pod.SlotArray && r.extra >= 0 {
			st.spans.at(r.extra).perRun = 0 // perhaps it was shorter when it was encoded
		}
	}
	clear(st.shadows)
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
	n := max(len(ps.slots), len(x.regions))
	e.saved.PodsChanged++
	e.saved.SlotsChanged += n
	e.saved.Bytes += int64(x.body)
	ps.isNew = false
	if s.sink != nil {
		return true, s.sink.PutWhole(e.ctx, ps.id, x.form)
	}
	if err := s.read.ReadWhole(x.form); err != nil {
		return true, err
	}
	e.writes = e.writes[:0]
	for k := range s.read.Slots {
		e.writes = append(roomy(e.writes), pod.SlotWrite{Slot: pod.Slot(k), Data: s.read.Slots[k]})
	}
	c := &e.change
	*c = pod.Change{ID: ps.id, New: true, Whole: true, Refs: s.read.Refs, Exports: s.read.Exports, Slots: e.writes, Drop: c.Drop[:0]}
	return true, e.sink.Put(e.ctx, c)
}
