package pager

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// node is a tree page opened for change. Keys are whole here. It may outgrow a
// page only inside one insertion, which splits it.
type node struct {
	level int
	keys  [][]byte
	vals  [][]byte // of a leaf
	kids  []kid    // of a branch
	sumK  int      // bytes of all keys
	sumV  int      // bytes of all values
	from  ref      // the page it was read from
	dirty bool
}

// kid is a child: a page, or a node while it is open.
type kid struct {
	ref
	node *node
}

// decodeNode opens a page whose keys must lie in [lower, upper); nil upper is
// no bound. This is where key order is checked before anything rests on it.
func decodeNode(pg *page, lower, upper []byte) (*node, error) {
	n := &node{level: int(pg.level), from: pg.ref, keys: make([][]byte, pg.count)}
	total := 0
	for i := range pg.count {
		total += len(pg.prefix) + len(pg.rest(i))
	}
	arena := make([]byte, 0, total)
	for i := range pg.count {
		at := len(arena)
		arena = pg.appendKey(arena, i)
		n.keys[i] = arena[at:len(arena):len(arena)]
		if i > 0 && bytes.Compare(n.keys[i-1], n.keys[i]) >= 0 {
			return nil, fmt.Errorf("keys %d and %d are out of order", i-1, i)
		}
	}
	n.sumK = total
	if bytes.Compare(n.keys[0], lower) < 0 || (upper != nil && bytes.Compare(n.keys[pg.count-1], upper) >= 0) {
		return nil, fmt.Errorf("keys outside the bounds that the parent sets")
	}
	if pg.kind == kindBranch {
		n.kids = make([]kid, pg.count)
		for i := range n.kids {
			n.kids[i].ref = pg.child(i)
		}
		return n, nil
	}
	n.vals = make([][]byte, pg.count)
	for i := range n.vals {
		n.vals[i] = pg.value(i)
		n.sumV += len(n.vals[i])
	}
	return n, nil
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// encodedSize is the exact number of bytes of a page with n sorted entries.
func encodedSize(level, n, prefix, sumK, sumV int) int {
	per := leafOverhead
	if level > 0 {
		per = branchOverhead
	}
	return pageHeader + prefix + 2 + n*(per-prefix) + sumK + sumV
}

func (n *node) size() int {
	if len(n.keys) == 0 {
		return pageHeader
	}
	return encodedSize(n.level, len(n.keys), commonPrefix(n.keys[0], n.keys[len(n.keys)-1]), n.sumK, n.sumV)
}

// find returns the first entry ≥ key, and whether it is equal.
func (n *node) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(n.keys, key, bytes.Compare)
}

func (n *node) route(key []byte) int {
	i, eq := n.find(key)
	if !eq && i > 0 {
		i--
	}
	return i
}

func (n *node) valueLen(i int) int {
	if n.level > 0 {
		return 0
	}
	return len(n.vals[i])
}

// leafGrowth is for how many entries at least a leaf grows: what is inserted
// comes in runs.
const leafGrowth = 32

func (n *node) insertLeaf(i int, key, val []byte) {
	if len(n.keys) == cap(n.keys) {
		n.keys = slices.Grow(n.keys, max(leafGrowth, len(n.keys)/2))
		n.vals = slices.Grow(n.vals, cap(n.keys)-len(n.vals))
	}
	n.keys = slices.Insert(n.keys, i, key)
	n.vals = slices.Insert(n.vals, i, val)
	n.sumK += len(key)
	n.sumV += len(val)
	n.dirty = true
}

func (n *node) insertKid(i int, key []byte, k kid) {
	n.keys = slices.Insert(n.keys, i, key)
	n.kids = slices.Insert(n.kids, i, k)
	n.sumK += len(key)
	n.dirty = true
}

func (n *node) removeLeaf(i int) {
	n.sumK -= len(n.keys[i])
	n.sumV -= len(n.vals[i])
	n.keys = slices.Delete(n.keys, i, i+1)
	n.vals = slices.Delete(n.vals, i, i+1)
	n.dirty = true
}

// removeKid drops a child. What its key range was goes to the child before it,
// or, for the first one, to the child behind it, which takes over its
// separator: the first separator stays. If that child is a branch, its own first
// separator is higher now: insert lowers it when a key comes below.
func (n *node) removeKid(i int) {
	k := i
	if i == 0 && len(n.keys) > 1 {
		k = 1
	}
	n.sumK -= len(n.keys[k])
	n.keys = slices.Delete(n.keys, k, k+1)
	n.kids = slices.Delete(n.kids, i, i+1)
	n.dirty = true
}

// cut moves the entries from at on to a new right sibling.
func (n *node) cut(at int) *node {
	r := &node{level: n.level, keys: n.keys[at:], dirty: true}
	for _, k := range r.keys {
		r.sumK += len(k)
	}
	n.keys = n.keys[:at:at] // r has the memory behind
	if n.level > 0 {
		r.kids = n.kids[at:]
		n.kids = n.kids[:at:at]
	} else {
		r.vals = n.vals[at:]
		n.vals = n.vals[:at:at]
		for _, v := range r.vals {
			r.sumV += len(v)
		}
	}
	n.sumK -= r.sumK
	n.sumV -= r.sumV
	n.dirty = true
	return r
}

// join appends the entries of the right sibling.
func (n *node) join(r *node) {
	n.keys = append(n.keys, r.keys...)
	n.vals = append(n.vals, r.vals...)
	n.kids = append(n.kids, r.kids...)
	n.sumK += r.sumK
	n.sumV += r.sumV
	n.dirty = true
}

func (n *node) joinedSize(r *node) int {
	p := commonPrefix(n.keys[0], r.keys[len(r.keys)-1])
	return encodedSize(n.level, len(n.keys)+len(r.keys), p, n.sumK+r.sumK, n.sumV+r.sumV)
}

// separator is the shortest key above left and not above right.
func separator(left, right []byte) []byte {
	return slices.Clone(right[:commonPrefix(left, right)+1])
}

// splitPoint chooses where a node that is too big is cut; pos is the entry
// that was inserted last. An insertion at the end leaves everything before it
// in place, so ascending insertions leave full pages. Otherwise the cut is
// the most even one of those that make both halves fit, or the most even one
// of all.
func (n *node) splitPoint(pos, capacity int) int {
	last := len(n.keys) - 1
	if pos == last {
		return last
	}
	best, bestFits, bestDiff := 1, false, 0
	sumK, sumV := 0, 0
	for at := 1; at <= last; at++ {
		sumK += len(n.keys[at-1])
		sumV += n.valueLen(at - 1)
		left := encodedSize(n.level, at, commonPrefix(n.keys[0], n.keys[at-1]), sumK, sumV)
		right := encodedSize(n.level, last+1-at, commonPrefix(n.keys[at], n.keys[last]), n.sumK-sumK, n.sumV-sumV)
		fits := left <= capacity && right <= capacity
		diff := max(left-right, right-left)
		if at == 1 || (fits && !bestFits) || (fits == bestFits && diff < bestDiff) {
			best, bestFits, bestDiff = at, fits, diff
		}
	}
	return best
}

type sibling struct {
	key  []byte
	node *node
}

// split cuts a node until every part fits a page, and returns the parts to the
// right of it.
func (n *node) split(pos, capacity int) []sibling {
	if n.size() <= capacity {
		return nil
	}
	if len(n.keys) == 1 {
		panic(fmt.Sprintf("pager: one entry of %d bytes does not fit a page", n.size()))
	}
	at := n.splitPoint(pos, capacity)
	left := n.keys[at-1]
	r := n.cut(at)
	sep := r.keys[0]
	if n.level == 0 {
		sep = separator(left, sep)
	}
	out := append(n.split(min(pos, at-1), capacity), sibling{key: sep, node: r})
	return append(out, r.split(max(pos-at, 0), capacity)...)
}

// encode writes the page image, all but its checksum, which needs the page's
// number (seal).
func (n *node) encode(pageSize int) []byte {
	if size := n.size(); size > capacity(pageSize) || len(n.keys) == 0 {
		panic(fmt.Sprintf("pager: page with %d entries and %d bytes", len(n.keys), size))
	}
	le := binary.LittleEndian
	b := make([]byte, pageSize)
	prefix := commonPrefix(n.keys[0], n.keys[len(n.keys)-1])
	b[4], b[5] = kindLeaf, byte(n.level)
	if n.level > 0 {
		b[4] = kindBranch
	}
	le.PutUint16(b[6:], uint16(len(n.keys)))
	le.PutUint16(b[8:], uint16(prefix))
	copy(b[pageHeader:], n.keys[0][:prefix])
	table := pageHeader + prefix
	at := table + 2*(len(n.keys)+1)
	for i, k := range n.keys {
		le.PutUint16(b[table+2*i:], uint16(at))
		rest := k[prefix:]
		if n.level > 0 {
			le.PutUint64(b[at:], n.kids[i].page)
			le.PutUint32(b[at+8:], n.kids[i].crc)
			at += 12 + copy(b[at+12:], rest)
			continue
		}
		le.PutUint16(b[at:], uint16(len(rest)))
		at += 2 + copy(b[at+2:], rest)
		at += copy(b[at:], n.vals[i])
	}
	le.PutUint16(b[table+2*len(n.keys):], uint16(at))
	return b
}

// seal stores the checksum of page no.
func seal(b []byte, no uint64) ref {
	crc := seededSum(no, b[4:])
	binary.LittleEndian.PutUint32(b, crc)
	return ref{page: no, crc: crc}
}
