package pager

// Children of one branch that are dirty side by side are written anyway, so when
// they fit fewer pages they are written to fewer. Splits of a batch that changes
// most leaves thus cost nothing: such trees stay about nine tenths full, where
// splits alone leave 0.63, and each checkpoint writes a third less. A batch that
// changes few leaves finds few neighbours, and leaves the tree as it was.

const (
	// repackRun bounds how many neighbours are looked at together.
	repackRun = 16
	// repackFill, in percent, is how full pages become: full ones would all split
	// again at the next insertion.
	repackFill = 95
)

// repack packs the dirty children of a branch.
func (b *Batch) repack(n *node) error {
	for i := 0; i < len(n.kids); {
		end := i
		for end < len(n.kids) && end-i < repackRun && n.kids[end].node != nil && n.kids[end].node.dirty {
			end++
		}
		if end-i < 2 {
			i = end + 1
			continue
		}
		gone, err := b.repackKids(n, i, end)
		if err != nil {
			return err
		}
		i = end - gone
	}
	return nil
}

// repackKids packs children [from, to) of n and returns how many are gone.
func (b *Batch) repackKids(n *node, from, to int) (gone int, err error) {
	full := capacity(b.p.pageSize)
	sum, longest := 0, 0
	for _, k := range n.kids[from:to] {
		sum += k.node.size() - pageHeader
		for _, key := range k.node.keys {
			longest = max(longest, len(key))
		}
	}
	count := to - from
	pages := sum*100/((full-pageHeader)*repackFill) + 1
	if pages >= count || !n.roomForSeparators(count, to, longest, full) {
		return 0, nil
	}
	target := pageHeader + sum/pages
	left := from
	for i := from + 1; i < to-gone; {
		l, r := n.kids[left].node, n.kids[i].node
		l.pull(r, target, full)
		if len(r.keys) == 0 {
			n.removeKid(i)
			gone++
			if err := b.releaseNode(r); err != nil {
				return gone, err
			}
			continue
		}
		sep := r.keys[0]
		if r.level == 0 {
			sep = separator(l.keys[len(l.keys)-1], sep)
		}
		n.sumK += len(sep) - len(n.keys[i])
		n.keys[i] = sep
		left, i = i, i+1
	}
	return gone, nil
}

// roomForSeparators reports whether a branch fits its page whatever the new
// separators of count children up to child to are. Its prefix can only get
// shorter if its last separator changes.
func (n *node) roomForSeparators(count, to, longest, full int) bool {
	need := n.size() + count*longest
	if to == len(n.keys) {
		need += len(n.keys) * commonPrefix(n.keys[0], n.keys[to-1])
	}
	return need <= full
}

// pull moves entries from the beginning of the right sibling to the end, until
// the node has target bytes or the next one would not fit.
func (n *node) pull(r *node, target, full int) {
	k, sumK, sumV := 0, 0, 0
	for k < len(r.keys) {
		if n.sizeWith(r, k, sumK, sumV) >= target {
			break
		}
		more, val := len(r.keys[k]), r.valueLen(k)
		if n.sizeWith(r, k+1, sumK+more, sumV+val) > full {
			break
		}
		k, sumK, sumV = k+1, sumK+more, sumV+val
	}
	if k == 0 {
		return
	}
	rest := r.cut(k)
	n.join(r)
	*r = node{level: r.level, keys: rest.keys, vals: rest.vals, kids: rest.kids,
		sumK: rest.sumK, sumV: rest.sumV, from: r.from, dirty: true}
}

// sizeWith is the size with the first k entries of the right sibling.
func (n *node) sizeWith(r *node, k, sumK, sumV int) int {
	if k == 0 {
		return n.size()
	}
	return encodedSize(n.level, len(n.keys)+k, commonPrefix(n.keys[0], r.keys[k-1]), n.sumK+sumK, n.sumV+sumV)
}
