package pager

import (
	"bytes"
	"slices"
)

func (b *Batch) put(key, val []byte) error {
	if err := b.spill(); err != nil {
		return err
	}
	if b.root.page == 0 && b.root.node == nil {
		b.root.node = &node{dirty: true}
		b.level, b.opened = 0, b.opened+1
	}
	root, err := b.open(&b.root, b.level, nil, nil)
	if err != nil {
		return err
	}
	more, err := b.insert(root, key, val, nil)
	if err != nil || len(more) == 0 {
		return err
	}
	top := &node{level: b.level + 1, dirty: true}
	top.insertKid(0, []byte{}, b.root)
	for i, s := range more {
		top.insertKid(i+1, s.key, kid{node: s.node})
	}
	b.root = kid{node: top}
	b.level++
	b.opened += 1 + len(more)
	return nil
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

// insert puts below n and returns the siblings that n was split into.
func (b *Batch) insert(n *node, key, val, upper []byte) ([]sibling, error) {
	limit := capacity(b.p.pageSize)
	if n.level == 0 {
		i, eq := n.find(key)
		if eq && bytes.Equal(n.vals[i], val) {
			return nil, nil
		}
		b.changed, n.dirty = true, true
		if eq {
			n.sumV += len(val) - len(n.vals[i])
			n.vals[i] = slices.Clone(val)
		} else {
			both := append(append(make([]byte, 0, len(key)+len(val)), key...), val...)
			n.insertLeaf(i, both[:len(key):len(key)], both[len(key):])
			b.entries++
		}
		return n.split(i, limit), nil
	}
	i := n.route(key)
	child, childUpper, err := b.openKid(n, i, upper)
	if err != nil {
		return nil, err
	}
	more, err := b.insert(child, key, val, childUpper)
	if err != nil {
		return nil, err
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
	return n.split(i+len(more), limit), nil
}

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
