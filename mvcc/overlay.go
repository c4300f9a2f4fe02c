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
type overlay struct {
	head    *onode
	height  atomic.Int32
	bytes   atomic.Int64 // keys, values and bookkeeping
	entries atomic.Int64

	// the writer's
	seed  uint64
	nodes []onode
	tower []atomic.Pointer[onode]
	vals  [][]byte
}

type onode struct {
	key  []byte
	val  atomic.Pointer[[]byte]
	next []atomic.Pointer[onode]
}

const (
	maxHeight      = 20
	slabLen        = 256
	onodeOverhead  = 96 // bytes beside key and value, on average
	heightBranches = 4  // one node in four has the next level
)

func newOverlay() *overlay {
	o := &overlay{seed: 0x9e3779b97f4a7c15}
	o.head = &onode{next: make([]atomic.Pointer[onode], maxHeight)}
	o.height.Store(1)
	return o
}

func (o *overlay) randomHeight() int {
	o.seed ^= o.seed << 13
	o.seed ^= o.seed >> 7
	o.seed ^= o.seed << 17
	h := 1
	for r := o.seed; h < maxHeight && r%heightBranches == 0; r /= heightBranches {
		h++
	}
	return h
}

// put stores val under key. Both must not change afterwards. Only the writer
// calls it.
func (o *overlay) put(key, val []byte) {
	var prev [maxHeight]*onode
	n := o.search(key, &prev)
	if n != nil && bytes.Equal(n.key, key) {
		old := n.val.Swap(o.valueOf(val))
		o.bytes.Add(int64(len(val) - len(*old)))
		return
	}
	h := o.randomHeight()
	n = o.node(key, val, h)
	for level := range h {
		p := prev[level]
		if p == nil {
			p = o.head
		}
		n.next[level].Store(p.next[level].Load())
		p.next[level].Store(n)
	}
	if int32(h) > o.height.Load() {
		o.height.Store(int32(h))
	}
	o.bytes.Add(int64(len(key) + len(val) + onodeOverhead))
	o.entries.Add(1)
}

func (o *overlay) node(key, val []byte, h int) *onode {
	if len(o.nodes) == 0 {
		o.nodes = make([]onode, slabLen)
	}
	n := &o.nodes[0]
	o.nodes = o.nodes[1:]
	if len(o.tower) < h {
		o.tower = make([]atomic.Pointer[onode], slabLen+maxHeight)
	}
	n.key, n.next = key, o.tower[:h:h]
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
	x := o.head
	var n *onode
	for level := int(o.height.Load()) - 1; level >= 0; level-- {
		for {
			n = x.next[level].Load()
			if n == nil || bytes.Compare(n.key, key) >= 0 {
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

// seek returns the first node with a key ≥ key, or nil.
func (o *overlay) seek(key []byte) *onode { return o.search(key, nil) }

func (n *onode) following() *onode { return n.next[0].Load() }

func (n *onode) value() []byte { return *n.val.Load() }

func (o *overlay) get(key []byte) ([]byte, bool) {
	if n := o.seek(key); n != nil && bytes.Equal(n.key, key) {
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
	return c
}
