package podder

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"sort"
	"strconv"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/pod"
)

// Containers in chunks that both sides changed. One side's list is kept, the host's; what
// the other one changed is put into it, chunk by chunk. Chunks that all three versions have at
// the same place, and nobody changed, are not read.
//
// A list that lent its chunks in theirs, while ours went on writing them, must not be seen
// through by those who borrowed: such chunks become what they were, and ours has them as new ones.

// findContainers finds containers in chunks that both sides changed: their chunks are no
// pods to be merged by themselves.
func (r *mergeRun) findContainers(ids []pod.ID) error {
	both := map[target]bool{}
	for _, id := range ids {
		p, err := r.podOf(baseSide, id)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		for s := range p.Slots {
			t := target{id, pod.Slot(s)}
			if is, err := r.isContainer(t); err != nil {
				return err
			} else if is {
				both[t] = true
			}
		}
	}
	for _, side := range []mergeSide{oursSide, theirsSide} {
		if err := r.lookReached(side, both); err != nil {
			return err
		}
	}
	for t := range both {
		if r.idle[oursSide][t] || r.idle[theirsSide][t] {
			continue
		}
		if err := r.noteChunks(t); err != nil {
			return err
		}
	}
	return nil
}

// isContainer reports whether an object is a container in chunks that both sides have and changed.
func (r *mergeRun) isContainer(t target) (bool, error) {
	chunked := false
	for side := range mergeSides {
		d, ok, err := r.slotOf(side, t)
		if err != nil {
			return false, err
		}
		chunked = chunked || ok && d.Kind == pod.SlotChunks
	}
	if !chunked {
		return false, nil
	}
	for _, side := range []mergeSide{oursSide, theirsSide} {
		if same, err := r.same(side, t); err != nil || !same {
			return false, err
		}
		if changed, err := r.contentChanged(side, t); err != nil || !changed && !r.lists[t] {
			return false, err
		}
	}
	return true, nil
}

func (r *mergeRun) noteChunks(t target) error {
	for side := range mergeSides {
		s, err := r.v[side].mergeSlotAt(side, t)
		if err != nil {
			return err
		}
		if s.list != nil {
			for i := range s.list.chunks {
				r.chunk[s.list.chunks[i].id] = true
			}
		}
	}
	return nil
}

// listOf finds the container that a pod is a chunk of, and has the merge begin anew with it;
// false if it is none.
func (r *mergeRun) listOf(t target) (bool, error) {
	_, w, _, err := r.reachable(r.in.Ours, r.in.Names, map[target]bool{t: true})
	if err != nil {
		return false, err
	}
	n := w.known[t]
	if n == nil || n.up == nil {
		return false, nil
	}
	id := n.up.at.pod
	p, err := r.v[oursSide].fetch(id)
	if err != nil {
		return false, err
	}
	for s := range p.Slots {
		at := target{id, pod.Slot(s)}
		if p.Slots[s].Kind != pod.SlotChunks {
			continue
		}
		list, err := r.v[oursSide].chunksOf(at, p, p.Slots[s])
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(list.chunks, func(c podChunk) bool { return c.id == t.pod }) && !r.lists[at] {
			r.lists[at] = true
			r.grown = true
			return true, nil
		}
	}
	return false, nil
}

// containers merges containers of which at least one is in chunks.
func (r *mergeRun) containers(t target, b, o, d *mergeSlot) (*mergeSlot, error) {
	res, err := r.container(t, b, o, d)
	if err != nil || res != d || d.list == nil || len(d.list.chunks) == 0 || !r.chunk[d.list.chunks[0].id] {
		return res, err
	}
	c := &mergeChunks{mergeRun: r, at: t, host: d}
	return c.finishList(b, o, d)
}

func (r *mergeRun) container(t target, b, o, d *mergeSlot) (*mergeSlot, error) {
	if b == nil || b.typ != o.typ || o.typ != d.typ {
		return r.whole3(t, b, o, d)
	}
	if b.n == nil || o.n == nil || d.n == nil { // of lists it is not read
		n, err := r.v[oursSide].node(o.typ)
		if err != nil {
			return nil, err
		}
		b.n, o.n, d.n = n, n, n
	}
	host := o
	if o.list == nil {
		host = d
	}
	c := &mergeChunks{mergeRun: r, at: t, host: host, skip: r.commonChunks(b, o, d)}
	switch storedKind(&o.data) {
	case pod.SlotMap:
		return c.maps(b, o, d)
	case pod.SlotArray:
		return c.arrays(b, o, d)
	}
	for _, s := range []*mergeSlot{o, d} {
		if err := r.v[s.side].loadChunks(s); err != nil {
			return nil, err
		}
	}
	if bytes.Equal(o.raw, d.raw) {
		return o, nil
	}
	return r.whole3(t, b, o, d)
}

// chunkAtPlace is a chunk, and where its first element is in an array.
type chunkAtPlace struct {
	id    pod.ID
	first uint64
}

// commonChunks are those that all three have in the same state; of arrays at the same place.
func (r *mergeRun) commonChunks(list ...*mergeSlot) map[chunkAtPlace]bool {
	times := map[chunkAtPlace]int{}
	for _, s := range list {
		if s.list == nil {
			return nil
		}
		for _, c := range placesOf(s) {
			times[c]++
		}
	}
	common := map[chunkAtPlace]bool{}
	for c, n := range times {
		if n == len(list) && !r.changed[oursSide][c.id] && !r.changed[theirsSide][c.id] {
			common[c] = true
		}
	}
	return common
}

func placesOf(s *mergeSlot) []chunkAtPlace {
	places := make([]chunkAtPlace, len(s.list.chunks))
	first := uint64(0)
	for i := range s.list.chunks {
		places[i].id = s.list.chunks[i].id
		if s.list.kind == pod.SlotArray {
			places[i].first = first
		}
		first += s.list.chunks[i].units
	}
	return places
}

// mergeChunks is the merging of one container.
type mergeChunks struct {
	*mergeRun
	at   target
	host *mergeSlot
	skip map[chunkAtPlace]bool
	// parts are the chunks of the host that are written anew.
	parts map[int]*mergeSlot
	read  map[int]*mergeSlot
}

// part reads a chunk of the host.
func (c *mergeChunks) part(i int) (*mergeSlot, error) {
	if p := c.read[i]; p != nil {
		return p, nil
	}
	p, err := c.v[c.host.side].mergeChunk(c.host, i)
	if c.read == nil {
		c.read = map[int]*mergeSlot{}
	}
	c.read[i] = p
	return p, err
}

// edit gives a chunk of the host to be changed.
func (c *mergeChunks) edit(i int) (*mergeSlot, error) {
	if c.parts == nil {
		c.parts = map[int]*mergeSlot{}
	}
	if p := c.parts[i]; p != nil {
		return p, nil
	}
	p, err := c.part(i)
	if err != nil {
		return nil, err
	}
	e := *p
	e.elems, e.entries = slices.Clone(p.elems), slices.Clone(p.entries)
	c.parts[i] = &e
	return &e, nil
}

// load reads the entries of a map that may differ.
func (c *mergeChunks) load(s *mergeSlot) (list []mergeEntry, err error) {
	if s.list == nil {
		return s.entries, nil
	}
	for i, place := range placesOf(s) {
		if c.skip[place] {
			continue
		}
		p, err := c.v[s.side].mergeChunk(s, i)
		if err != nil {
			return nil, err
		}
		list = append(list, p.entries...)
	}
	return list, nil
}

func (c *mergeChunks) maps(b, o, d *mergeSlot) (*mergeSlot, error) {
	var lists [mergeSides][]mergeEntry
	for side, s := range []*mergeSlot{b, o, d} {
		var err error
		if lists[side], err = c.load(s); err != nil {
			return nil, err
		}
	}
	keys, err := c.entries(c.at, lists[:]...)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		was := k.vals[c.host.side]
		if k.res == was {
			continue
		}
		if err := c.set(k, was); err != nil {
			return nil, err
		}
	}
	return c.finishList(b, o, d)
}

// set puts one entry into the host, or takes it out; was is the value that the host has.
func (c *mergeChunks) set(k *mergeKey, was *mergeTree) error {
	text, err := c.entryText(mergeEntry{k.key, was})
	if err != nil {
		return err
	}
	hash, err := c.keyHash(k.key)
	if err != nil {
		return err
	}
	i, err := c.chunkOf(hash)
	if err != nil {
		return err
	}
	for ; ; i-- { // entries of one hash may lie in several
		p, err := c.edit(i)
		if err != nil {
			return err
		}
		at := -1
		for n := range p.entries {
			same, err := c.entryText(p.entries[n])
			if err != nil {
				return err
			}
			if same == text {
				at = n
			}
		}
		switch {
		case at >= 0 && k.res == nil:
			p.entries = slices.Delete(p.entries, at, at+1)
			return nil
		case at >= 0:
			p.entries[at].val = k.res
			return nil
		case was == nil:
			p.entries = append(p.entries, mergeEntry{k.key, k.res})
			return nil
		case i == 0:
			return c.v[c.host.side].corrupt(c.at, "no chunk of the map has key %s", k.step)
		}
	}
}

// chunkOf finds the chunk whose range a hash lies in: the last one that begins not after it.
func (c *mergeChunks) chunkOf(hash uint64) (int, error) {
	var wrong error
	n := sort.Search(len(c.host.list.chunks), func(i int) bool {
		p, err := c.part(i)
		if err != nil || len(p.entries) == 0 {
			wrong = cmp.Or(wrong, err)
			return true
		}
		first, err := c.keyHash(p.entries[0].key)
		wrong = cmp.Or(wrong, err)
		return first > hash
	})
	return max(0, n-1), wrong
}

// keyHash is what the entries of a map in chunks are ordered by: with the places of what
// references lead to.
func (m *mergeRun) keyHash(t *mergeTree) (uint64, error) {
	b, err := m.neutral(nil, t)
	return xxh3.HashSeed(b, m.seed), err
}

func (m *mergeRun) neutral(dst []byte, t *mergeTree) ([]byte, error) {
	refs := 0
	t.each(func(*mergeTree) { refs++ })
	if refs == 0 {
		return t.append(dst, func(*mergeTree) (pod.Pointer, error) { return pod.Pointer{}, nil })
	}
	if !t.isRef {
		if t.n.kind == nodeInterface {
			dst = binary.AppendUvarint(dst, uint64(t.typ))
		}
		dst = append(dst, t.raw...)
		for _, k := range t.kids {
			var err error
			if dst, err = m.neutral(dst, k); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
	to := t.ref.to
	if t.side != oursSide {
		var err error
		if to, err = m.where(to); err != nil {
			return dst, err
		}
	}
	dst = appendRefBytes(append(dst, t.head...), pod.Ref{Pod: to.pod, Slot: to.slot})
	if t.ref.interior {
		dst = binary.AppendUvarint(dst, t.ref.index)
		dst = binary.AppendUvarint(dst, uint64(len(t.ref.steps)))
		for _, s := range t.ref.steps {
			dst = binary.AppendUvarint(dst, s)
		}
	}
	return append(dst, t.tail...), nil
}

// elements reads the elements of an array that may differ, by index.
func (c *mergeChunks) elements(s *mergeSlot) (map[uint64]*mergeTree, uint64, error) {
	all := map[uint64]*mergeTree{}
	if s.list == nil {
		for i, e := range s.elems {
			all[uint64(i)] = e
		}
		return all, uint64(len(s.elems)), nil
	}
	first := uint64(0)
	for i, place := range placesOf(s) {
		if !c.skip[place] {
			p, err := c.v[s.side].mergeChunk(s, i)
			if err != nil {
				return nil, 0, err
			}
			for n, e := range p.elems {
				all[first+uint64(n)] = e
			}
		}
		first += s.list.chunks[i].units
	}
	return all, first, nil
}

func (c *mergeChunks) arrays(b, o, d *mergeSlot) (*mergeSlot, error) {
	if w := c.windows[c.at]; w != nil {
		if w.Choice == ChooseTheirs {
			return d, nil
		}
		return o, nil
	}
	var elems [mergeSides]map[uint64]*mergeTree
	var counts [mergeSides]uint64
	for side, s := range []*mergeSlot{b, o, d} {
		var err error
		if elems[side], counts[side], err = c.elements(s); err != nil {
			return nil, err
		}
	}
	known, grown := counts[baseSide], o
	if counts[theirsSide] > known && counts[oursSide] == known && d.list != nil {
		grown = d
	}
	if counts[oursSide] < known || counts[theirsSide] < known || counts[oursSide] > known && counts[theirsSide] > known ||
		grown.list == nil || isNumericNode(o.n) && (counts[oursSide] != known || counts[theirsSide] != known) {
		return c.whole3(c.at, b, o, d)
	}
	c.host = grown
	at := map[uint64]bool{}
	for _, m := range elems {
		for i := range m {
			at[i] = i < known
		}
	}
	for _, i := range slices.Sorted(maps.Keys(at)) {
		if !at[i] {
			continue
		}
		x, y := elems[oursSide][i], elems[theirsSide][i]
		v, err := c.value(mergePlace{slot: c.at}, elems[baseSide][i], x, y, x, (&diffPath{}).index(i))
		if err != nil {
			return nil, err
		}
		if was := elems[c.host.side][i]; v != was {
			if err := c.put(i, v); err != nil {
				return nil, err
			}
		}
	}
	return c.finishList(b, o, d)
}

// put changes one element of the host.
func (c *mergeChunks) put(at uint64, v *mergeTree) error {
	first := uint64(0)
	for i := range c.host.list.chunks {
		n := c.host.list.chunks[i].units
		if at < first+n {
			p, err := c.edit(i)
			if err == nil {
				p.elems[at-first] = v
			}
			return err
		}
		first += n
	}
	return c.v[c.host.side].corrupt(c.at, "element %d of an array of %d", at, first)
}

// finishList writes the chunks that changed, and makes the list that names them.
func (c *mergeChunks) finishList(b, o, d *mergeSlot) (*mergeSlot, error) {
	lent := c.host == o && d.list != nil && d.list.frozen && b.list != nil && !b.list.frozen
	mine := map[pod.ID]bool{}
	if lent {
		for i := range b.list.chunks {
			mine[b.list.chunks[i].id] = true
		}
	}
	list := *c.host.list
	list.chunks, list.stored = nil, 0
	for i, k := range c.host.list.chunks {
		if base, err := c.podOf(baseSide, k.id); err != nil {
			return nil, err
		} else if base != nil && c.host == d && c.changed[theirsSide][k.id] {
			if _, err := c.edit(i); err != nil { // which others may have in ours
				return nil, err
			}
		}
		back := lent && mine[k.id] && c.changed[oursSide][k.id]
		p := c.parts[i]
		switch {
		case p == nil && !back:
			if c.host == d && c.changed[theirsSide][k.id] { // made by theirs
				if err := c.takeWhole(k.id); err != nil {
					return nil, err
				}
			}
			list.chunks, list.stored = append(list.chunks, k), list.stored+k.units
			continue
		case p == nil:
			var err error
			if p, err = c.edit(i); err != nil {
				return nil, err
			}
		}
		if back {
			if err := c.goBack(k.id); err != nil {
				return nil, err
			}
		}
		own := c.host == o && k.owned && !c.host.list.frozen && !back
		made, err := c.write(i, k.id, own, p)
		if err != nil {
			return nil, err
		}
		for _, k := range made {
			list.chunks, list.stored = append(list.chunks, k), list.stored+k.units
		}
	}
	if o.list != nil && o.list.frozen || d.list != nil && d.list.frozen {
		list.frozen = true
	}
	if len(c.parts) == 0 && list.frozen == c.host.list.frozen {
		return c.host, nil
	}
	if list.kind == pod.SlotMap {
		list.extent = list.stored
	}
	res := *c.host
	res.list = &list
	return &res, nil
}

// goBack has a chunk become what it was in base.
func (c *mergeChunks) goBack(id pod.ID) error {
	base, err := c.v[baseSide].fetch(id)
	if err != nil {
		return err
	}
	ours, err := c.v[oursSide].fetch(id)
	if err != nil {
		return err
	}
	w := pod.Change{ID: id, Whole: true, Refs: base.Refs, Exports: base.Exports}
	for s, d := range base.Slots {
		if d.Kind != pod.SlotFree {
			w.Slots = append(w.Slots, pod.SlotWrite{Slot: pod.Slot(s), Data: d})
		}
	}
	return c.finish(ours, w)
}

// mergedChunk is the size from which on a chunk is cut.
const mergedChunk = 64 << 10

// write writes a chunk, or several if it became too large; none if nothing is left in it.
func (c *mergeChunks) write(i int, id pod.ID, own bool, p *mergeSlot) ([]podChunk, error) {
	if p.kind == pod.SlotMap {
		if err := c.sort(p); err != nil {
			return nil, err
		}
	}
	var made []podChunk
	units := len(p.elems) + len(p.entries)
	for from := 0; from < units; {
		k := &mergedPart{mergeChunks: c, perRun: max(1, c.host.list.perRun), kind: p.kind, typ: p.typ}
		to, err := k.encode(p, from)
		if err != nil {
			return nil, err
		}
		at := id
		if !own || from > 0 {
			if at, err = c.newPod(c.at, i, from); err != nil {
				return nil, err
			}
		}
		if err := k.finishPart(at, own && from == 0); err != nil {
			return nil, err
		}
		made = append(made, podChunk{id: at, units: uint64(to - from), owned: true})
		from = to
	}
	return made, nil
}

// sort puts entries into the order of the hashes of their keys.
func (c *mergeChunks) sort(p *mergeSlot) error {
	type keyed struct {
		hash uint64
		text []byte
		e    mergeEntry
	}
	list := make([]keyed, len(p.entries))
	for i, e := range p.entries {
		b, err := c.neutral(nil, e.key)
		if err != nil {
			return err
		}
		hash := xxh3.HashSeed(b, c.seed)
		if b, err = c.neutral(b, e.val); err != nil {
			return err
		}
		list[i] = keyed{hash, b, e}
	}
	slices.SortStableFunc(list, func(x, y keyed) int { return cmp.Or(cmp.Compare(x.hash, y.hash), bytes.Compare(x.text, y.text)) })
	for i := range list {
		p.entries[i] = list[i].e
	}
	return nil
}

// newPod gives out an id, the same in every attempt.
func (r *mergeRun) newPod(t target, i, from int) (pod.ID, error) {
	key := mergePlace{slot: t}.key() + "/" + strconv.Itoa(i) + "/" + strconv.Itoa(from)
	id := r.ids[key]
	if id == 0 {
		if id = r.in.NewPod(); id == 0 {
			return 0, r.v[oursSide].corrupt(t, "no pod id to be had")
		}
		r.ids[key] = id
	}
	r.fresh[id] = true
	return id, nil
}

// mergedPart is one chunk as it is written: references are numbered in the order in which
// its bytes name them.
type mergedPart struct {
	*mergeChunks
	perRun  uint64
	kind    pod.Kind
	typ     pod.TypeID
	refs    []pod.Ref
	numbers map[pod.Ref]uint32
	data    pod.Data
}

func (k *mergedPart) code(t *mergeTree) (pod.Pointer, error) {
	to := t.ref.to
	if t.side != oursSide {
		var err error
		if to, err = k.where(to); err != nil {
			return pod.Pointer{}, err
		}
	}
	ref := pod.Ref{Pod: to.pod, Slot: to.slot}
	n, ok := k.numbers[ref]
	if !ok {
		n = uint32(len(k.refs))
		if k.numbers == nil {
			k.numbers = map[pod.Ref]uint32{}
		}
		k.refs, k.numbers[ref] = append(k.refs, ref), n
	}
	return pod.Pointer{To: pod.ToExternal, Number: n, Index: t.ref.index, Steps: t.ref.steps}, k.mark(to)
}

// encode takes units from one on until the chunk is large enough.
func (k *mergedPart) encode(p *mergeSlot, from int) (to int, err error) {
	var body []byte
	var runs []uint32
	start := 0
	for to = from; to < len(p.elems)+len(p.entries) && len(body) < mergedChunk; to++ {
		if p.kind == pod.SlotArray {
			if uint64(to-from)%k.perRun == 0 && to > from {
				runs, start = append(runs, uint32(len(body)-start)), len(body)
			}
			body, err = p.elems[to].append(body, k.code)
		} else if body, err = p.entries[to].key.append(body, k.code); err == nil {
			body, err = p.entries[to].val.append(body, k.code)
		}
		if err != nil {
			return to, err
		}
	}
	var head []byte
	if p.kind == pod.SlotArray {
		head = appendArrayHead(nil, to-from, int(k.perRun))
	} else {
		head = append(binary.AppendUvarint(nil, uint64(to-from)), 0)
	}
	runs = append(runs, uint32(len(body)-start))
	k.data = pod.Data{Kind: k.kind, Type: k.typ, Bytes: append(head, body...), Runs: append([]uint32{uint32(len(head))}, runs...)}
	return to, nil
}

// finishPart makes a pod of the chunk.
func (k *mergedPart) finishPart(id pod.ID, own bool) error {
	var before *pod.Pod
	if own {
		var err error
		if before, err = k.v[oursSide].fetch(id); err != nil {
			return err
		}
	}
	edges := pod.EdgeSet{All: len(k.refs) > 0}
	return k.finish(before, pod.Change{
		ID: id, New: before == nil, Whole: true, Refs: k.refs, Exports: []pod.Export{{Slot: 0, Edges: edges}},
		Slots: []pod.SlotWrite{{Slot: 0, Data: k.data}},
	})
}
