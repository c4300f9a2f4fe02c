package db

import (
	"context"
	"slices"
	"sort"
)

// A Map is a B+ tree of nodes behind Refs, so that each node is a pod (and what hangs
// on its values is bundled with it as far as there is room). Bounds are estimates of
// stored bytes, below the size to which pods are filled.
//
// Invariants:
//
//  1. The root is one object for ever: a new level is put below it. So the variable
//     with the Map is written once.
//  2. A node has entries or children, in order of their keys. Child i has the keys
//     from its Low (of child 0: from the beginning) to the Low of the next.
//  3. Nothing above a chunk says anything about its contents but where it begins, so
//     inserting, changing and deleting writes the chunk alone, until it is divided,
//     joined or empty.
//  4. A node is divided in its middle half, where the key has the least hash: a place
//     that other histories of the same contents choose as well.
//
// Nodes that are divided or joined get new arrays: an array that is known keeps its
// place in the pod in which it was stored.
type mapNode[K comparable, V any] struct {
	Entries  []MapEntry[K, V]
	Children []mapChild[K, V] // nil in a chunk
	weight   int              `pod:"-"` // estimate; 0 if it is not known
}

type mapChild[K comparable, V any] struct {
	Low  K
	Node Ref[mapNode[K, V]]
}

const (
	mapNodeBytes   = 5 << 10 // estimated, of a node
	mapNodeEntries = 512
	mapNodeFan     = 4  // children that a node has room for, however large the keys are
	mapNodeDepth   = 40 // of a tree that is sound
	mapChildBytes  = 16 // of a reference and its place in the table
)

// mapPath is the way to a chunk.
type mapPath[K comparable, V any] struct {
	order func(a, b *K) int
	steps []mapStep[K, V] // from the root
	leaf  *mapNode[K, V]
}

type mapStep[K comparable, V any] struct {
	node  *mapNode[K, V]
	child int
}

// find returns the way to where key is or belongs; the leaf is nil if the Map never
// had an entry.
func (m *Map[K, V]) find(ctx context.Context, key *K) (p mapPath[K, V], i int, ok bool, err error) {
	if p.order, err = orderOf[K](); err != nil {
		return p, 0, false, err
	}
	n, err := m.root.Get(ctx)
	if err != nil || n == nil {
		return p, 0, false, err
	}
	if err := p.descend(ctx, n, func(n *mapNode[K, V]) int { return n.childOf(key, p.order) }); err != nil {
		return p, 0, false, err
	}
	i, ok = p.leaf.search(key, p.order)
	return p, i, ok, nil
}

// descend goes on from node n to a chunk.
func (p *mapPath[K, V]) descend(ctx context.Context, n *mapNode[K, V], choose func(*mapNode[K, V]) int) error {
	for len(n.Children) > 0 {
		if len(p.steps) == mapNodeDepth {
			return errNode("leads too deep")
		}
		s := mapStep[K, V]{n, choose(n)}
		next, err := n.child(ctx, s.child)
		if err != nil {
			return err
		}
		p.steps = append(p.steps, s)
		n = next
	}
	p.leaf = n
	return nil
}

// child returns child i.
func (n *mapNode[K, V]) child(ctx context.Context, i int) (*mapNode[K, V], error) {
	c, err := n.Children[i].Node.Get(ctx)
	if err == nil && c == nil {
		err = errNode("is missing")
	}
	return c, err
}

// childOf returns the number of the child that has a key.
func (n *mapNode[K, V]) childOf(key *K, order func(a, b *K) int) int {
	return sort.Search(len(n.Children)-1, func(i int) bool { return order(&n.Children[i+1].Low, key) > 0 })
}

// search returns where a key is among the entries, or belongs.
func (n *mapNode[K, V]) search(key *K, order func(a, b *K) int) (int, bool) {
	i := sort.Search(len(n.Entries), func(i int) bool { return order(&n.Entries[i].Key, key) >= 0 })
	return i, i < len(n.Entries) && order(&n.Entries[i].Key, key) == 0
}

// count returns how many entries are in and below a node.
func (n *mapNode[K, V]) count(ctx context.Context, depth int) (int, error) {
	if depth > mapNodeDepth {
		return 0, errNode("leads too deep")
	}
	total := len(n.Entries)
	for i := range n.Children {
		c, err := n.child(ctx, i)
		if err != nil {
			return 0, err
		}
		below, err := c.count(ctx, depth+1)
		if err != nil {
			return 0, err
		}
		total += below
	}
	return total, nil
}

// roomFor returns entries with room for one more.
func roomFor[E any](entries []E) []E {
	if n := len(entries); n == cap(entries) {
		return append(make([]E, 0, n+max(8, n/4)), entries...)
	}
	return entries
}

// size returns how many entries or children a node has.
func (n *mapNode[K, V]) size() int { return len(n.Entries) + len(n.Children) }

// key returns the key at which part i of the node begins.
func (n *mapNode[K, V]) key(i int) *K {
	if len(n.Children) > 0 {
		return &n.Children[i].Low
	}
	return &n.Entries[i].Key
}

// part returns the weight of part i of the node.
func (n *mapNode[K, V]) part(i int) int {
	if len(n.Children) > 0 {
		return mapChildBytes + weightOf(&n.Children[i].Low)
	}
	return weightOf(&n.Entries[i])
}

// weigh makes the weight of the node known.
func (n *mapNode[K, V]) weigh() {
	if n.weight <= 0 {
		n.weighAgain()
	}
}

func (n *mapNode[K, V]) weighAgain() {
	n.weight = 0
	for i := range n.size() {
		n.weight += n.part(i)
	}
}

// full reports whether the node is to be divided.
func (n *mapNode[K, V]) full() bool {
	if n.size() < 2 || len(n.Children) > 0 && n.size() < 2*mapNodeFan || n.weight <= mapNodeBytes && n.size() <= mapNodeEntries {
		return false
	}
	n.weighAgain() // what values lead to may have changed
	return n.weight > mapNodeBytes || n.size() > mapNodeEntries
}

// cutAt returns where the node is divided: where the key with the least hash is that
// has at least a quarter of the weight on both sides.
func (n *mapNode[K, V]) cutAt() int {
	at, least, before := n.size()/2, ^uint64(0), 0
	for i := range n.size() {
		if i > 0 && before >= n.weight/4 && before <= n.weight-n.weight/4 {
			if h := hashKey(n.key(i)); h < least {
				at, least = i, h
			}
		}
		before += n.part(i)
	}
	return at
}

// from returns a new node with what is at and behind part i of n.
func (n *mapNode[K, V]) from(i int) *mapNode[K, V] {
	if len(n.Children) > 0 {
		return &mapNode[K, V]{Children: slices.Clone(n.Children[i:])}
	}
	return &mapNode[K, V]{Entries: slices.Clone(n.Entries[i:])}
}

// take makes a node what another one is, in new arrays.
func (n *mapNode[K, V]) take(from *mapNode[K, V]) {
	n.Entries, n.Children, n.weight = slices.Clone(from.Entries), slices.Clone(from.Children), 0
}

// keep takes away what is at and behind part i.
func (n *mapNode[K, V]) keep(i int) {
	if len(n.Children) > 0 {
		n.take(&mapNode[K, V]{Children: n.Children[:i]})
	} else {
		n.take(&mapNode[K, V]{Entries: n.Entries[:i]})
	}
}

// divide divides the chunk, and what is above it, as long as something is too large.
func (p *mapPath[K, V]) divide() {
	for n := p.leaf; n.full(); {
		if len(p.steps) == 0 { // a new level below the root
			below := new(mapNode[K, V])
			below.take(n)
			below.weighAgain()
			n.take(&mapNode[K, V]{Children: []mapChild[K, V]{{Node: NewRef(below)}}})
			p.steps = append(p.steps, mapStep[K, V]{n, 0})
			n = below
		}
		up := p.steps[len(p.steps)-1]
		p.steps = p.steps[:len(p.steps)-1]
		up.node.divide(up.child, n)
		n = up.node
		n.weighAgain()
	}
}

// divide divides child i, which is c, as long as a part of it is full.
func (n *mapNode[K, V]) divide(i int, c *mapNode[K, V]) {
	if c.weigh(); !c.full() {
		return
	}
	at := c.cutAt()
	right := c.from(at)
	n.Children = slices.Insert(roomFor(n.Children), i+1, mapChild[K, V]{Low: *c.key(at), Node: NewRef(right)})
	c.keep(at)
	n.divide(i+1, right)
	n.divide(i, c)
}

// neighbour returns the chunk with which the leaf may be joined when it has so many
// entries left, and where that is among the children of the node above; nil for none.
// It is looked at seldom, so that it is not read for every deletion.
func (p *mapPath[K, V]) neighbour(ctx context.Context, left int) (*mapNode[K, V], error) {
	if len(p.steps) == 0 || left == 0 || left&(left-1) != 0 {
		return nil, nil
	}
	up := p.steps[len(p.steps)-1]
	if p.leaf.weigh(); len(up.node.Children) < 2 || p.leaf.weight > mapNodeBytes/4 {
		return nil, nil
	}
	if up.child+1 < len(up.node.Children) {
		return up.node.child(ctx, up.child+1)
	}
	return up.node.child(ctx, up.child-1)
}

// join joins the chunk with its neighbour if both are small, and takes away what has
// become empty.
func (p *mapPath[K, V]) join(beside *mapNode[K, V]) {
	if len(p.steps) == 0 {
		return
	}
	up := p.steps[len(p.steps)-1]
	if beside != nil {
		beside.weigh()
		if p.leaf.weight+beside.weight <= mapNodeBytes*3/4 {
			left, right, at := p.leaf, beside, up.child+1
			if at == len(up.node.Children) {
				left, right, at = beside, p.leaf, up.child
			}
			left.Entries = slices.Concat(left.Entries, right.Entries)
			left.weighAgain()
			right.take(new(mapNode[K, V]))
			up.node.drop(at)
		}
	}
	for i := len(p.steps) - 1; i >= 0 && p.leaf.size() == 0; i-- {
		if up = p.steps[i]; p.stillHas(i) {
			up.node.drop(up.child)
		}
		if len(up.node.Children) > 0 {
			break
		}
	}
	p.flatten()
}

// stillHas reports whether step i leads where it did.
func (p *mapPath[K, V]) stillHas(i int) bool {
	s, below := p.steps[i], p.leaf
	if i+1 < len(p.steps) {
		below = p.steps[i+1].node
	}
	if s.child >= len(s.node.Children) {
		return false
	}
	c, ok := s.node.Children[s.child].Node.Loaded()
	return ok && c == below
}

// drop takes child i away.
func (n *mapNode[K, V]) drop(i int) {
	n.Children = slices.Delete(n.Children, i, i+1)
	n.take(&mapNode[K, V]{Children: n.Children})
	if len(n.Children) == 0 {
		n.Children = nil
	}
}

// flatten has the root take the place of an only child that is here.
func (p *mapPath[K, V]) flatten() {
	root := p.steps[0].node
	for len(root.Children) == 1 {
		c, ok := root.Children[0].Node.Loaded()
		if !ok {
			return
		}
		root.take(c)
		c.take(new(mapNode[K, V]))
	}
}
