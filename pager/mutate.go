package pager

import (
	"bytes"
	"slices"
)

// put puts the first rows, those that ascend and go into one page, and returns
// their number.
func (b *Batch) put(rows []Row) (int, error) {
	if err := b.spill(); err != nil {
		return 0, err
	}
	if b.root.page == 0 && b.root.node == nil {
		b.root.node = &node{dirty: true}
		b.level, b.opened = 0, b.opened+1
	}
	root, err := b.open(&b.root, b.level, nil, nil)
	if err != nil {
		return 0, err
	}
	put, more, err := b.insert(root, rows, nil)
	if err != nil || len(more) == 0 {
		return put, err
	}
	top := &node{level: b.level + 1, dirty: true}
	top.insertKid(0, []byte{}, b.root)
	for i, s := range more {
		top.insertKid(i+1, s.key, kid{node: s.node})
	}
	b.root = kid{node: top}
	b.level++
	b.opened += 1 + len(more)
	return put, nil
}

// open returns the node of a child, read if it is not in memory.
func (b *Batch) open(k *kid, level int, lower, upper []byte) (*node, error) {
	if k.node != nil {
		return k.node, nil
	}
	if b.tree.holds(b.p.pageOffset(k.page)) {
		if err := b.tree.flush(); err != nil {
			return nil, err
		}
	}
	pg, err := b.p.loadQuietly(k.ref, level)
	if err != nil {
		return nil, err
	}
	n, err := decodeNode(pg, lower, upper)
	if err != nil {
		return nil, b.p.corrupt(b.p.pageOffset(k.page), "page %d: %v", k.page, err)
	}
	k.node = n
	b.opened++
	return n, nil
}

// openKid opens child i of n; upper is the bound of n itself.
func (b *Batch) openKid(n *node, i int, upper []byte) (*node, []byte, error) {
	if i+1 < len(n.keys) {
		upper = n.keys[i+1]
	}
	k, err := b.open(&n.kids[i], n.level-1, n.keys[i], upper)
	return k, upper, err
}

// insert puts the first rows below n, at least one of them, and none that is
// upper or above. It returns how many it put and the siblings that n was split into.
func (b *Batch) insert(n *node, rows []Row, upper []byte) (int, []sibling, error) {
	if n.level == 0 {
		put, last := b.insertRows(n, rows, upper)
		return put, n.split(last, capacity(b.p.pageSize)), nil
	}
	key := rows[0].Key
	i := n.route(key)
	child, childUpper, err := b.openKid(n, i, upper)
	if err != nil {
		return 0, nil, err
	}
	put, more, err := b.insert(child, rows, childUpper)
	if err != nil {
		return 0, nil, err
	}
	n.dirty = n.dirty || child.dirty
	if bytes.Compare(key, n.keys[0]) < 0 && child.dirty { // what was below it has gone (removeKid)
		n.sumK += len(key) - len(n.keys[0])
		n.keys[0] = slices.Clone(key)
	}
	for k, s := range more {
		n.insertKid(i+1+k, s.key, kid{node: s.node})
		b.opened++
	}
	return put, n.split(i+len(more), capacity(b.p.pageSize)), nil
}

// insertRows puts the first rows into a leaf: those that ascend and are below upper,
// up to one with which it outgrows its page. It returns how many it put and where
// the last one is.
func (b *Batch) insertRows(n *node, rows []Row, upper []byte) (put, at int) {
	limit := capacity(b.p.pageSize)
	for _, r := range rows {
		if put > 0 && (bytes.Compare(r.Key, rows[put-1].Key) <= 0 || upper != nil && bytes.Compare(r.Key, upper) >= 0) {
			break
		}
		eq := false
		if at++; put == 0 || at < len(n.keys) && bytes.Compare(n.keys[at], r.Key) < 0 {
			at, eq = n.find(r.Key)
		} else if at < len(n.keys) {
			eq = bytes.Equal(n.keys[at], r.Key)
		}
		put++
		switch {
		case !eq:
			n.insertLeaf(at, b.keep(r.Key), b.keep(r.Val))
			b.entries++
		case bytes.Equal(n.vals[at], r.Val):
			continue
		default:
			n.sumV += len(r.Val) - len(n.vals[at])
			n.vals[at] = b.keep(r.Val)
		}
		b.changed, n.dirty = true, true
		if n.size() > limit {
			break
		}
	}
	return put, at
}

// keep returns a copy of a key or value. Copies share pieces of memory: those of
// one page do not last longer than the page is open, more or less.
func (b *Batch) keep(data []byte) []byte {
	if len(b.memory)+len(data) > cap(b.memory) {
		b.memory = make([]byte, 0, max(len(data), min(2*cap(b.memory), keepMost), keepLeast))
	}
	at := len(b.memory)
	b.memory = append(b.memory, data...)
	return b.memory[at:len(b.memory):len(b.memory)]
}

// Sizes of the pieces of memory that keep takes, in bytes.
const (
	keepLeast = 512
	keepMost  = 16 << 10
)

func (b *Batch) del(key []byte) error {
	if err := b.spill(); err != nil {
		return err
	}
	if b.root.page == 0 && b.root.node == nil {
		return nil
	}
	root, err := b.open(&b.root, b.level, nil, nil)
	if err != nil {
		return err
	}
	if err := b.remove(root, key, nil); err != nil {
		return err
	}
	if len(root.keys) > 0 {
		return nil
	}
	if err := b.releaseNode(root); err != nil {
		return err
	}
	b.root, b.level = kid{}, 0
	return nil
}

// releaseNode gives back the page that a node was read from.
func (b *Batch) releaseNode(n *node) error {
	b.opened--
	if n.from.page == 0 {
		return nil
	}
	return b.release(n.from.page)
}

func (b *Batch) remove(n *node, key, upper []byte) error {
	if n.level == 0 {
		if i, eq := n.find(key); eq {
			n.removeLeaf(i)
			b.entries--
			b.changed = true
		}
		return nil
	}
	i := n.route(key)
	child, childUpper, err := b.openKid(n, i, upper)
	if err != nil {
		return err
	}
	if err := b.remove(child, key, childUpper); err != nil {
		return err
	}
	if !child.dirty {
		return nil
	}
	n.dirty = true
	if len(child.keys) == 0 {
		n.removeKid(i)
		return b.releaseNode(child)
	}
	if child.size() < capacity(b.p.pageSize)/4 && len(n.kids) > 1 {
		return b.merge(n, i, upper)
	}
	return nil
}

// merge joins child i of n with a neighbour if both fit one page.
func (b *Batch) merge(n *node, i int, upper []byte) error {
	if i > 0 {
		i--
	}
	left, _, err := b.openKid(n, i, upper)
	if err != nil {
		return err
	}
	right, _, err := b.openKid(n, i+1, upper)
	if err != nil {
		return err
	}
	if left.joinedSize(right) > capacity(b.p.pageSize) {
		return nil
	}
	left.join(right)
	n.removeKid(i + 1)
	return b.releaseNode(right)
}

// spill writes and drops all nodes but the root when there are too many.
func (b *Batch) spill() error {
	if b.root.node == nil || !b.tooManyOpen() {
		return nil
	}
	for i := range b.root.node.kids {
		if err := b.flush(&b.root.node.kids[i]); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batch) tooManyOpen() bool {
	return b.opened*b.p.pageSize*3 >= b.p.openedBytes && b.opened >= 8
}

// flush writes the node of a child, and those below it, to fresh pages and
// drops them from memory.
func (b *Batch) flush(k *kid) error {
	n := k.node
	if n == nil {
		return nil
	}
	if err := b.repack(n); err != nil {
		return err
	}
	for i := range n.kids {
		if err := b.flush(&n.kids[i]); err != nil {
			return err
		}
	}
	if n.dirty {
		if n.from.page != 0 {
			if err := b.release(n.from.page); err != nil {
				return err
			}
		}
		no, err := b.takePage()
		if err != nil {
			return err
		}
		if k.ref, err = b.writePage(n, no); err != nil {
			return err
		}
	}
	k.node = nil
	b.opened--
	return nil
}

func (b *Batch) writePage(n *node, no uint64) (ref, error) {
	return b.writeImage(n.encode(b.p.pageSize), no, n.from)
}

// writeImage writes a page that it makes page no, in place of an old one if from
// names one.
func (b *Batch) writeImage(buf []byte, no uint64, from ref) (ref, error) {
	stamp(buf, b.makes)
	r := seal(buf, no)
	pg, err := parsePage(buf)
	if err != nil {
		panic("pager: wrote a page that does not parse: " + err.Error())
	}
	pg.ref = r
	if pg.level > 0 || b.p.cache.peek(from) != nil {
		b.p.cache.put(pg)
	}
	return r, b.tree.write(buf, b.p.pageOffset(no))
}

// finishTree writes all open nodes. A root with one child is replaced by it.
func (b *Batch) finishTree() error {
	for b.root.node != nil && b.level > 0 && len(b.root.node.kids) == 1 {
		old := b.root.node
		if err := b.releaseNode(old); err != nil {
			return err
		}
		b.root = old.kids[0]
		b.level--
	}
	return b.flush(&b.root)
}
