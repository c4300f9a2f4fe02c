package podder

import (
	"cmp"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// cutContainers decides, before pods are encoded, which containers of the save
// are stored in chunks, and puts the chunks that are new or differ. The lists are
// written with the pods that have them.
//
// Containers that are where they were come first, each compared with what it
// had. Then those that are new look for their chunks in all others of the same
// type, live or no longer reached: a slice that has grown is at another address.
// Lists that lent chunks are frozen (invariant 2 of chunk.go).
func (e *encoder) cutContainers() error {
	st := e.st
	st.chunked = map[int32]*chunkList{}
	if len(e.old.chunked) == 0 && int(e.heaviest) <= chunkFrom*e.cfg.TargetBytes {
		return nil
	}
	e.frozen = map[int32][]frozenList{}
	c := &chunker{encoder: e, had: map[int32]bool{}, lent: map[*chunkList]bool{}}
	var fresh []int32
	all := st.regions.len()
	if e.stream != nil {
		fresh, all = e.stream.heavy, 0
	}
	for i := range all {
		r := st.regions.at(i)
		switch r.kind {
		case pod.SlotArray, pod.SlotMap, pod.SlotString:
		default:
			continue
		}
		o, list := c.before(r)
		switch {
		case list != nil:
			if err := c.compare(i, list, c.old.regions.at(o)); err != nil {
				return err
			}
		case int(r.weight) > chunkFrom*e.cfg.TargetBytes:
			fresh = append(fresh, i)
		}
	}
	for _, i := range fresh {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		if c.unchanged(i) {
			continue
		}
		if err := c.fresh(i); err != nil {
			return err
		}
	}
	for _, list := range st.chunked {
		e.saved.Pods += len(list.chunks)
	}
	if err := c.batch.finish(e.ctx, e.sink); err != nil {
		return err
	}
	return c.freeze()
}

// chunker cuts containers.
type chunker struct {
	*encoder
	sub  *encoder            // of chunks
	had  map[int32]bool      // regions of the state before whose lists go on
	lent map[*chunkList]bool // lists of which others took chunks
	// known are the chunks in which new containers look.
	known chunkTable
	batch chunkBatches
}

// before returns which region of the state before r was, and the list that it had, nil
// for none.
func (c *chunker) before(r *region) (o int32, list *chunkList) {
	if len(c.old.chunked) == 0 || r.flags&flagSticky == 0 {
		return -1, nil
	}
	o = c.old.pods[c.old.byID[c.st.pods[r.pod].id]].slots[r.slot].region
	if list = c.old.chunked[o]; list != nil {
		c.had[o] = true
	}
	return o, list
}

// unchanged reports whether a container that was stored whole is what it was.
func (c *chunker) unchanged(i int32) bool {
	r := c.st.regions.at(i)
	if c.newRegion(i) {
		return false
	}
	ps := &c.st.pods[r.pod]
	was := ps.slots[r.slot]
	if was.kind != r.kind {
		return false
	}
	e := c.inner()
	e.begin(r.pod, ps)
	e.current = i
	e.slot(r, was)
	return e.err == nil && !e.out[0].changed
}

// inner returns the encoder of chunks.
func (c *chunker) inner() *encoder {
	if c.sub == nil {
		c.sub = &encoder{placer: c.placer, ctx: c.ctx, saved: c.saved}
	}
	return c.sub
}

// contents prepares region i to be cut, with the list of its chunks still empty.
func (c *chunker) contents(i int32) (storableContents, *chunkList) {
	e := c.inner()
	e.current = i
	r := c.st.regions.at(i)
	list := &chunkList{kind: r.kind}
	mean := c.cfg.TargetBytes
	switch r.kind {
	case pod.SlotString:
		n := c.st.spans.at(r.extra).count
		list.extent, list.stored = uint64(n), uint64(n)
		return &flatContents{e: e, out: &c.batch, kind: r.kind, typ: typeString, mem: memory(r.addr, n), size: 1, sizes: sizesFor(flatChunkMean*mean, n)}, list
	case pod.SlotMap:
		m := e.entriesOf(r)
		typ, sizes := e.typeID(r.plan, true), sizesFor(chunkMean*mean, int(r.weight))
		list.extent, list.stored = uint64(m.count()), uint64(m.count())
		if m.plain != nil {
			return &plainContents{e: e, typ: typ, m: m.plain, sizes: sizes}, list
		}
		x := e.mapContents(r, m)
		x.typ, x.sizes = typ, sizes
		return x, list
	}
	sp := c.st.spans.at(r.extra)
	e.chooseRuns(r, sp)
	list.extent, list.stored, list.perRun = uint64(sp.count), uint64(sp.reach), uint64(sp.perRun)
	typ := e.typeID(r.plan, false)
	if r.plan.flat && nativeLittleEndian {
		size := int(r.plan.size)
		mem := flatMemory(r.addr, uintptr(sp.reach)*r.plan.size)
		n := trimZeros(mem, size, sp.count)
		list.stored = uint64(n)
		return &flatContents{e: e, out: &c.batch, kind: r.kind, typ: typ, mem: mem[:n*size], size: size, perRun: sp.perRun, sizes: sizesFor(flatChunkMean*mean, n*size)}, list
	}
	x := e.arrayContents(r, sp)
	x.typ, x.sizes = typ, sizesFor(chunkMean*mean, int(r.weight))
	return x, list
}

// compare finds the chunks of a container that is where it was, as region ro.
func (c *chunker) compare(i int32, was *chunkList, ro *region) error {
	r := c.st.regions.at(i)
	if r.flags&flagSame != 0 {
		c.st.chunked[i] = was
		return nil
	}
	if done, err := c.patch(i, was, ro); done && !c.doubting || err != nil {
		return err
	}
	contents, list := c.contents(i)
	m := &chunkMatcher{contents: contents, own: was, keyed: r.kind == pod.SlotMap, trusting: c.doubting}
	return c.settleList(i, contents, list, m)
}

// fresh finds the chunks of a container that had none.
func (c *chunker) fresh(i int32) error {
	contents, list := c.contents(i)
	m := &chunkMatcher{contents: contents, known: c.chunks(), keyed: list.kind == pod.SlotMap}
	err := c.settleList(i, contents, list, m)
	if err == nil {
		c.known.add(c.st.chunked[i])
	}
	return err
}

// chunks are those of all containers that are in chunks: live ones as they are
// now, others as they were. Hashes tell types apart.
func (c *chunker) chunks() chunkTable {
	if c.known == nil {
		c.known = chunkTable{}
		for _, o := range slices.Sorted(maps.Keys(c.old.chunked)) {
			if !c.had[o] {
				c.known.add(c.old.chunked[o])
			}
		}
		for _, i := range slices.Sorted(maps.Keys(c.st.chunked)) {
			c.known.add(c.st.chunked[i])
		}
	}
	return c.known
}

// settleList makes the list of region i, and puts its chunks that are new.
func (c *chunker) settleList(i int32, contents storableContents, list *chunkList, m *chunkMatcher) error {
	s := listMaker{chunker: c, own: m.own, contents: contents, list: list, uses: map[pod.ID]int{}, first: map[hash128]int{}, most: 1}
	if _, flat := contents.(*flatContents); flat {
		s.most = mostUses
	}
	if m.own == nil {
		m.emit = s.add // no later piece can claim a chunk of its own
	}
	pieces := m.run()
	if err := cmp.Or(c.failed(), m.err); err != nil {
		return err
	}
	if err := s.make(pieces); err != nil {
		return err
	}
	if r := c.st.regions.at(i); r.kind == pod.SlotArray && len(r.plan.refs) > 0 {
		c.shadow(r)
	}
	c.st.chunked[i] = s.finish()
	return nil
}

// edgeless reports whether region i refers to nothing.
func (st *state) edgeless(i int32) bool { return st.regions.at(i).edge == st.regions.at(i).edgeEnd }

func (c *chunker) failed() error { return c.sub.failure() }

// mostUses is how often a list of flat memory may name one chunk: what is loaded
// must stay in proportion to what is stored.
const mostUses = 8

// listMaker turns the pieces of a container into its list.
type listMaker struct {
	*chunker
	own      *chunkList
	contents storableContents
	list     *chunkList
	uses     map[pod.ID]int
	most     int
	taken    []bool // own chunks that are named as they were, or replaced
	first    map[hash128]int
}

func (s *listMaker) owns(index int) bool {
	return s.own != nil && !s.own.frozen && s.own.chunks[index].owned
}

func (s *listMaker) make(pieces []chunkPiece) error {
	if s.own != nil {
		s.taken = make([]bool, len(s.own.chunks))
	}
	for i := range pieces {
		if k := pieces[i].is; k.list != nil && k.list == s.own {
			s.taken[k.index] = true
		}
	}
	s.list.chunks = slices.Grow(s.list.chunks, len(pieces))
	for i := range pieces {
		if err := s.add(&pieces[i]); err != nil {
			return err
		}
	}
	return nil
}

// add adds the chunk of the next piece.
func (s *listMaker) add(p *chunkPiece) error {
	if len(s.list.chunks)&0x3f == 0 {
		if err := s.ctx.Err(); err != nil {
			return err
		}
	}
	if err := s.failed(); err != nil {
		return err
	}
	chunk, err := s.chunk(p)
	if err == nil {
		s.list.chunks = append(s.list.chunks, chunk)
	}
	return err
}

// chunk returns the chunk that a piece is stored as.
func (s *listMaker) chunk(p *chunkPiece) (podChunk, error) {
	n := len(s.list.chunks)
	if p.is.list != nil {
		x := p.is.list.chunks[p.is.index]
		if s.uses[x.id] < s.most {
			s.uses[x.id]++
			switch {
			case p.is.list != s.own:
				s.lent[p.is.list] = true
				x.owned, x.via = false, nil
			case s.uses[x.id] > 1:
				s.share(x.id)
				x.owned = false
			}
			if _, ok := s.first[p.hash]; !ok {
				s.first[p.hash] = n
			}
			return x, nil
		}
	} else if p.near >= 0 && !s.taken[p.near] && s.owns(p.near) {
		x := s.own.chunks[p.near]
		s.taken[p.near] = true
		x.units, x.hash, x.via = uint64(p.to-p.from), p.hash, nil
		s.uses[x.id]++
		s.first[p.hash] = n
		return x, s.put(x.id, p, false)
	} else if k, ok := s.first[p.hash]; ok && s.uses[s.list.chunks[k].id] < s.most {
		x := s.list.chunks[k]
		s.uses[x.id]++
		s.share(x.id)
		x.owned = false
		return x, nil
	}
	x := podChunk{id: s.sink.NewPod(), units: uint64(p.to - p.from), owned: true, hash: p.hash}
	s.uses[x.id]++
	s.first[p.hash] = n
	return x, s.put(x.id, p, true)
}

// share takes away a chunk that is named twice.
func (s *listMaker) share(id pod.ID) {
	for i := range s.list.chunks {
		if s.list.chunks[i].id == id {
			s.list.chunks[i].owned = false
		}
	}
}

// put stores a piece.
func (s *listMaker) put(id pod.ID, p *chunkPiece, isNew bool) error {
	d, refs := s.contents.store(p.from, p.to)
	if err := s.failed(); err != nil {
		return err
	}
	s.saved.PodsChanged++
	s.saved.SlotsChanged++
	s.saved.Bytes += int64(len(d.Bytes))
	change := pod.Change{
		ID: id, New: isNew, Whole: true, Refs: refs, Slots: []pod.SlotWrite{{Data: d}},
		Exports: []pod.Export{{Edges: pod.EdgeSet{All: len(refs) > 0}}},
	}
	if _, flat := s.contents.(*flatContents); !flat {
		return s.sink.Put(s.ctx, &change)
	}
	return s.batch.add(s.ctx, s.sink, change)
}

// finish returns the list; if it names what it named before it is stored as it
// was, so that a container whose chunks were patched is not written.
func (s *listMaker) finish() *chunkList {
	if s.own == nil {
		return s.list
	}
	a, b := s.own, s.list
	same := a.extent == b.extent && a.stored == b.stored && a.perRun == b.perRun &&
		slices.EqualFunc(a.chunks, b.chunks, func(x, y podChunk) bool {
			return x.id == y.id && x.units == y.units && (a.frozen || x.owned == y.owned)
		})
	if same {
		b.frozen = a.frozen
	}
	for i := range b.chunks {
		switch {
		case same:
			b.chunks[i].owned = a.chunks[i].owned
		case a.frozen:
			b.chunks[i].owned = b.chunks[i].owned && s.made(b.chunks[i].id)
		}
	}
	return b
}

// made reports whether this save made a chunk.
func (s *listMaker) made(id pod.ID) bool {
	return !slices.ContainsFunc(s.own.chunks, func(x podChunk) bool { return x.id == id })
}

// chunkSlot writes the list of a container.
func (e *encoder) chunkSlot(r *region, list *chunkList, was slotState, o *slotOut) {
	o.kind = pod.SlotChunks
	switch r.kind {
	case pod.SlotString:
		o.typ = typeString
	default:
		o.typ = e.typeID(r.plan, r.kind == pod.SlotMap)
	}
	e.buf = list.appendHead(e.buf)
	head := len(e.buf)
	e.buf = list.appendList(e.buf, func(id pod.ID) uint32 {
		n := e.refNumber(pod.Ref{Pod: id})
		e.links = append(e.links, n<<1|1)
		return n
	})
	e.runs = append(e.runs, uint32(head-o.from), uint32(len(e.buf)-head))
	o.to, o.runEnd = len(e.buf), len(e.runs)
	o.hash = e.eng.hashSlot(o.kind, o.typ, e.buf[o.from:o.to], nil)
	o.changed = o.hash != was.hash || o.kind != was.kind
}

// frozenList is a list that lent chunks and is not live: its slot is frozen.
type frozenList struct {
	slot uint32
	typ  pod.TypeID
	list *chunkList
}

// freeze has the lists that lent chunks say so.
func (c *chunker) freeze() error {
	if len(c.lent) == 0 {
		return nil
	}
	frozen := func(list *chunkList) *chunkList {
		x := *list
		x.frozen = true
		return &x
	}
	for i, list := range c.st.chunked {
		if c.lent[list] && list.ownsAny() {
			c.st.chunked[i] = frozen(list)
		}
	}
	gone := map[int32][]frozenList{} // by pods of the state before in which nothing is live
	for _, o := range slices.Sorted(maps.Keys(c.old.chunked)) {
		list := c.old.chunked[o]
		if !c.lent[list] || !list.ownsAny() || c.had[o] {
			continue
		}
		r := c.old.regions.at(o)
		f := frozenList{slot: r.slot, typ: typeString, list: frozen(list)}
		if r.kind != pod.SlotString {
			f.typ = c.typeID(r.plan, r.kind == pod.SlotMap)
		}
		if n := c.remap[r.pod]; n >= 0 {
			c.frozen[n] = append(c.frozen[n], f)
		} else {
			gone[r.pod] = append(gone[r.pod], f)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(gone)) {
		was := &c.old.pods[n]
		change := pod.Change{ID: was.id, Refs: was.refs, Exports: was.exports}
		for _, f := range gone[n] {
			change.Slots = append(change.Slots, f.write())
		}
		slices.SortFunc(change.Slots, func(a, b pod.SlotWrite) int { return cmp.Compare(a.Slot, b.Slot) })
		if err := c.sink.Put(c.ctx, &change); err != nil {
			return err
		}
		c.saved.PodsChanged++
	}
	return nil
}

func (c *chunkList) ownsAny() bool {
	return !c.frozen && slices.ContainsFunc(c.chunks, func(x podChunk) bool { return x.owned })
}

// write is the change of the slot: only its head.
func (f *frozenList) write() pod.SlotWrite {
	return pod.SlotWrite{Slot: pod.Slot(f.slot), Data: pod.Data{Kind: pod.SlotChunks, Type: f.typ}, NumRuns: chunkRuns,
		Runs: []pod.RunWrite{{Run: 0, Bytes: f.list.appendHead(nil)}}}
}

// freezeIn adds the frozen lists of a pod that keeps their slots to what is
// written of it.
func (e *encoder) freezeIn(ps *podState, lists []frozenList) {
	for i := range lists {
		f := &lists[i]
		s := &ps.slots[f.slot]
		if s.kind != pod.SlotChunks || s.region >= 0 || slices.Contains(e.slots, f.slot) {
			continue // the slot becomes free, or a forwarder
		}
		whole := f.list.appendList(f.list.appendHead(nil), func(id pod.ID) uint32 {
			return uint32(slices.Index(e.refs, pod.Ref{Pod: id}))
		})
		s.hash = e.eng.hashSlot(pod.SlotChunks, f.typ, whole, nil)
		e.writes = append(e.writes, f.write())
	}
}
