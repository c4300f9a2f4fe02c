package mvcc

import (
	"bytes"
	"sync/atomic"
)

// overlay is an ordered map in memory: what was committed since the last
// checkpoint. It is a skip list with one writer at a time and any number of
// readers that take no lock.
//
//  1. A node is linked bottom up, each level by one atomic store, when it is
//     complete; a reader sees it or does not.
//  2. Keys and values are never changed in place: a second put of a key swaps
//     the pointer to its value. Nothing is ever unlinked.
//  3. Readers need no snapshot: what must stay readable as of an older version
//     has the version in its key (keys.go), and readers ask for no key newer
//     than the version they read. Keys without a version (users, counters,
//     branch heads) show their newest state.
//  4. A nil value says that the row is deleted, whatever lower layers have.
type overlay struct {
	head    *onode
	height  atomic.Int32
	bytes   atomic.Int64 // keys, values and bookkeeping
	entries atomic.Int64
	// extents are the bytes of blocks that its rows name in extents. They are read
	// when the log is replayed.
	extents atomic.Int64
	// since: everything that versions up to this one wrote lies in lower layers. It does not
	// change once there are readers.
	since Version

	// unordered: rows were replaced or removed that a lower layer may have under
	// older numbers than this one has (view.seekIn).
	unordered atomic.Bool
	// named: there are rows of names. Most commits write none, and then none is looked for.
	named atomic.Bool

	newest newestIndex

	// the writer's
	ahead   [maxHeight]*onode // the commit row put last, and on higher levels nodes before it
	lasting map[string]*onode // nodes of counters and branches
	seed    uint64
	nodes   []onode
	tower   []atomic.Pointer[onode]
	vals    [][]byte
}

type onode struct {
	lead lead // of the key
	key  []byte
	val  atomic.Pointer[[]byte]
	next []atomic.Pointer[onode]
	back *onode // the node before, for the writer
}

// lead is the beginning of a key, as numbers: what tells most keys apart lies
// beside the links, and a search touches one cache line per node.
type lead struct{ a, b uint64 }

func leadOf(key []byte) lead {
	if len(key) >= 16 {
		return lead{be.Uint64(key), be.Uint64(key[8:])}
	}
	var buf [16]byte
	copy(buf[:], key)
	return lead{be.Uint64(buf[:]), be.Uint64(buf[8:])}
}

// before reports whether the node's key is lower than key, whose lead is l.
func (n *onode) before(l lead, key []byte) bool {
	switch {
	case n.lead.a != l.a:
		return n.lead.a < l.a
	case n.lead.b != l.b:
		return n.lead.b < l.b
	}
	return bytes.Compare(n.key, key) < 0 // a key may end in zeros that another one lacks
}

const (
	maxHeight      = 20
	slabLen        = 256
	onodeOverhead  = 112 // bytes beside key and value, on average
	fewVersions    = 8   // that firstVersion passes one by one
	heightBranches = 4   // one node in four has the next level
	knownBranches  = 4   // of known ones it is one in sixteen
)

func newOverlay() *overlay {
	o := &overlay{seed: 0x9e3779b97f4a7c15, lasting: map[string]*onode{}, since: maxVersion} // not known
	o.head = &onode{next: make([]atomic.Pointer[onode], maxHeight)}
	o.height.Store(1)
	return o
}

// randomHeight draws a height. Of nodes whose place is known without a search
// fewer go beyond the lowest level: there they need one.
func (o *overlay) randomHeight(known bool) int {
	o.seed ^= o.seed << 13
	o.seed ^= o.seed >> 7
	o.seed ^= o.seed << 17
	h, r := 1, o.seed
	if known {
		if r%knownBranches != 0 {
			return h
		}
		r /= knownBranches
	}
	for ; h < maxHeight && r%heightBranches == 0; r /= heightBranches {
		h++
	}
	return h
}

// place is where a version will go: the nodes before it on the lowest levels, which somebody has searched for
// while its group waited for the log. Others may have come between since. It is right for ever, as nothing is
// unlinked, and spares the writer most of a search, for which everybody waits.
type place struct {
	overlay *overlay
	before  [placeHeight]*onode // nil is the head
}

// placeHeight: of the nodes that put searches for few are higher.
const placeHeight = 4

// find makes p the place of a version that is newer than all others of its pod and line; false if it
// needs none.
func (p *place) find(o *overlay, id pid, line uint32) bool {
	var buf [versionKeyLen]byte
	key := versionKey(buf[:0], id, line, 1<<64-1) // before every version
	if o.newest.get(key) != nil {
		return false
	}
	var prev [maxHeight]*onode
	o.search(key, &prev)
	p.overlay = o
	copy(p.before[:], prev[:])
	return true
}

// put stores val under key. Both must not change afterwards. Only the writer
// calls it.
func (o *overlay) put(key, val []byte) { o.putNear(key, val, nil) }

// putNear is put of a version whose place may be known.
func (o *overlay) putNear(key, val []byte, p *place) {
	lasting := key[0] == kindSingle || key[0] == kindBranch // every commit writes them again
	if lasting {
		if n := o.lasting[string(key)]; n != nil {
			o.swap(n, val)
			return
		}
	}
	n := o.sameOrNext(key)
	if n != nil && bytes.Equal(n.key, key) {
		o.swap(n, val)
		return
	}
	h := o.randomHeight(n != nil)
	var prev [maxHeight]*onode
	before := &prev
	switch {
	case n != nil && h == 1:
		prev[0] = n.back
	case key[0] == kindCommit && o.isAhead(key, h):
		before = &o.ahead
	case p != nil && p.overlay == o && h <= placeHeight:
		if n = o.searchFrom(p, key, h, before); n != nil && bytes.Equal(n.key, key) {
			o.swap(n, val)
			return
		}
	default:
		if n = o.search(key, before); n != nil && bytes.Equal(n.key, key) {
			o.swap(n, val)
			return
		}
	}
	if key[0] == kindName {
		o.named.Store(true) // before there is one
	}
	n = o.link(o.node(key, val, h), before)
	switch {
	case isVersion(key):
		o.newest.put(n)
	case key[0] == kindCommit && (o.ahead[0] == nil || bytes.Compare(o.ahead[0].key, key) < 0):
		o.noteAhead(n, &prev)
	}
	o.bytes.Add(int64(len(key) + len(val) + onodeOverhead))
	o.entries.Add(1)
	if lasting {
		o.lasting[string(key)] = n
	}
}

// isAhead reports whether a commit row of height h goes behind the nodes in ahead,
// as each commit's does that is newer than all others.
func (o *overlay) isAhead(key []byte, h int) bool {
	l := leadOf(key)
	for level := range h {
		p := o.ahead[level]
		if p == nil || p != o.head && !p.before(l, key) {
			return false
		}
		if next := p.next[level].Load(); next != nil && (next.before(l, key) || level == 0 && bytes.Equal(next.key, key)) {
			return false
		}
	}
	return true
}

// noteAhead makes n, the highest commit row, what the next one goes behind.
func (o *overlay) noteAhead(n *onode, before *[maxHeight]*onode) {
	for level := range o.ahead {
		switch {
		case level < len(n.next):
			o.ahead[level] = n
		case before[level] != nil:
			o.ahead[level] = before[level]
		}
	}
}

// sameOrNext returns the node before which a version goes if that is known
// without a search: it is the newest of its pod and line. It may be the version's
// own node.
func (o *overlay) sameOrNext(key []byte) *onode {
	if isVersion(key) {
		if n := o.newest.get(key); n != nil && bytes.Compare(key, n.key) <= 0 {
			return n
		}
	}
	return nil
}

// link puts n behind the nodes before it; nil means the head.
func (o *overlay) link(n *onode, before *[maxHeight]*onode) *onode {
	for level := range n.next {
		p := before[level]
		if p == nil {
			p = o.head
		}
		next := p.next[level].Load()
		if level == 0 {
			n.back = p
			if next != nil {
				next.back = n
			}
		}
		n.next[level].Store(next)
		p.next[level].Store(n)
	}
	if h := int32(len(n.next)); h > o.height.Load() {
		o.height.Store(h)
	}
	return n
}

func (o *overlay) swap(n *onode, val []byte) {
	old := n.val.Swap(o.valueOf(val))
	o.bytes.Add(int64(len(val) - len(*old)))
}

// replace stores val under a key that lower layers may have, or this one.
func (o *overlay) replace(key, val []byte) {
	o.unordered.Store(true)
	o.put(key, val)
}

// remove deletes a row that lower layers may have.
func (o *overlay) remove(key []byte) { o.replace(key, nil) }

func (o *overlay) node(key, val []byte, h int) *onode {
	if len(o.nodes) == 0 {
		o.nodes = make([]onode, slabLen)
	}
	n := &o.nodes[0]
	o.nodes = o.nodes[1:]
	if len(o.tower) < h {
		o.tower = make([]atomic.Pointer[onode], slabLen+maxHeight)
	}
	n.lead, n.key, n.next = leadOf(key), key, o.tower[:h:h]
	o.tower = o.tower[h:]
	n.val.Store(o.valueOf(val))
	return n
}

func (o *overlay) valueOf(val []byte) *[]byte {
	if len(o.vals) == 0 {
		o.vals = make([][]byte, slabLen)
	}
	v := &o.vals[0]
	o.vals = o.vals[1:]
	*v = val
	return v
}

// search returns the first node with a key ≥ key, or nil, and the nodes before
// it on each level (nil means the head on levels above the list).
func (o *overlay) search(key []byte, prev *[maxHeight]*onode) *onode {
	l := leadOf(key)
	x := o.head
	var n *onode
	for level := int(o.height.Load()) - 1; level >= 0; level-- {
		for {
			n = x.next[level].Load()
			if n == nil || !n.before(l, key) {
				break
			}
			x = n
		}
		if prev != nil {
			prev[level] = x
		}
	}
	return n
}

// searchFrom is search on the lowest h levels, from a place that is before key.
func (o *overlay) searchFrom(p *place, key []byte, h int, prev *[maxHeight]*onode) *onode {
	l := leadOf(key)
	var n *onode
	for level := h - 1; level >= 0; level-- {
		x := p.before[level]
		if x == nil {
			x = o.head
		}
		for n = x.next[level].Load(); n != nil && n.before(l, key); n = x.next[level].Load() {
			x = n
		}
		prev[level] = x
	}
	return n
}

// seek returns the first node with a key ≥ key, or nil.
func (o *overlay) seek(key []byte) *onode { return o.search(key, nil) }

// before returns the last node with a key < key, or nil.
func (o *overlay) before(key []byte) *onode {
	var prev [maxHeight]*onode
	o.search(key, &prev)
	if n := prev[0]; n != nil && n != o.head {
		return n
	}
	return nil
}

// first returns the first node with a key ≥ from that begins with prefix, itself
// a beginning of from, or nil.
func (o *overlay) first(from, prefix []byte) *onode {
	if len(prefix) == prefixLen && isVersion(from) {
		return o.firstVersion(from)
	}
	if from[0] == kindName && !o.named.Load() {
		return nil
	}
	if n := o.seek(from); n != nil && bytes.HasPrefix(n.key, prefix) {
		return n
	}
	return nil
}

// firstVersion returns the first node with a key ≥ key and its prefix, the pod
// and line of a version key, or nil.
func (o *overlay) firstVersion(key []byte) *onode {
	n := o.newest.get(key)
	for range fewVersions {
		if n == nil || bytes.Compare(n.key, key) >= 0 {
			break
		}
		n = n.following()
	}
	if n != nil && bytes.Compare(n.key, key) < 0 {
		n = o.seek(key)
	}
	if n == nil || !bytes.HasPrefix(n.key, key[:prefixLen]) {
		return nil
	}
	return n
}

func (n *onode) following() *onode { return n.next[0].Load() }

func (n *onode) value() []byte { return *n.val.Load() }

func (o *overlay) get(key []byte) ([]byte, bool) {
	if n := o.first(key, key[:min(len(key), prefixLen)]); n != nil && bytes.Equal(n.key, key) {
		return n.value(), true
	}
	return nil, false
}

func (o *overlay) empty() bool { return o.entries.Load() == 0 }

// copy returns an overlay with the same rows. The writer must be quiet.
func (o *overlay) copy() *overlay {
	c := newOverlay()
	for n := o.head.following(); n != nil; n = n.following() {
		c.put(n.key, n.value())
	}
	c.unordered.Store(o.unordered.Load())
	return c
}
