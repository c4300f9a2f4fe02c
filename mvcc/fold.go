package mvcc

import (
	"context"
	"slices"
)

// folding builds one group of retire: folded rows, what goes, aggregates that
// cover folds, the set of what is gone, and the garbage for reclaim.
type folding struct {
	s    *Store
	v    *view
	l    *line
	left []lineCommit           // kept commits around what is folded, oldest first
	rows map[Version]*commitRow // folded ones
	// touched are the positions of retired commits and of targets.
	touched []uint64
	commits uint64 // of the line, up to the newest one that left has
	garbage []garbage
	names   bool // a retired commit changed names
	puts    []keyValue
	dels    [][]byte
}

// birth is a pod version that a row adds.
type birth struct {
	number uint64
	pod    pid
}

// run folds retired commits into their target.
func (f *folding) run(ctx context.Context, run []lineCommit, target lineCommit) error {
	row, err := f.v.row(target.version)
	if err != nil {
		return err
	}
	n := *row
	n.fold = &fold{births: &Set{}}
	n.fold.added, n.fold.removed = row.own()
	if row.fold != nil {
		n.fold.names = row.fold.names
	}
	var births []birth
	removed := &Set{}
	merged := mergedInto(row)
	for i, c := range run {
		if err := f.s.breathe(ctx, readRow); err != nil {
			return err
		}
		r, err := f.v.row(c.version)
		if err != nil {
			return err
		}
		if i == 0 {
			n.parents = nil
			if len(r.parents) > 0 {
				n.parents = r.parents[:1]
			}
		}
		merged = append(merged, mergedInto(r)...)
		if births, err = f.take(births, removed, r); err != nil {
			return err
		}
		n.fold.names += r.names
		if r.fold != nil {
			n.fold.names += r.fold.names
		}
		f.drop(r)
		f.touched = append(f.touched, c.pos)
	}
	if births, err = f.take(births, removed, row); err != nil {
		return err
	}
	if n.parents, err = f.v.withMerged(n.parents, merged); err != nil {
		return err
	}
	f.touched = append(f.touched, target.pos)
	f.names = f.names || n.fold.names > 0
	f.part(&n, births, removed)
	f.write(&n)
	return nil
}

// take adds what a row adds and removes.
func (f *folding) take(births []birth, removed *Set, r *commitRow) ([]birth, error) {
	ids, err := f.v.ids(r)
	if err != nil {
		return nil, err
	}
	if uint64(len(ids)) != r.added {
		return nil, corrupt("version %d added %d numbers to %d pods", r.version, r.added, len(ids))
	}
	i := 0
	for number := range r.numbers {
		births = append(births, birth{number, ids[i]})
		i++
	}
	removed.union(r.removed)
	return births, nil
}

// part separates garbage from what is left of a run and its target. births are
// all that they added, ascending.
func (f *folding) part(n *commitRow, births []birth, removed *Set) {
	n.ids, n.removed = nil, removed
	born := &Set{}
	next := map[pid]uint64{} // the next version of a pod on the line
	var dead []garbage
	for _, b := range slices.Backward(births) {
		born.Add(b.number)
		if removed.Contains(b.number) {
			dead = append(dead, garbage{b.pod, b.number, next[b.pod]})
		}
		next[b.pod] = b.number
	}
	for _, b := range births {
		if !removed.Contains(b.number) {
			n.ids = append(n.ids, b.pod)
			n.fold.births.Add(b.number)
		}
	}
	n.removed.subtract(born)
	n.added = uint64(len(n.ids))
	f.garbage = append(f.garbage, dead...)
}

// drop deletes the rows of a retired commit.
func (f *folding) drop(r *commitRow) {
	f.dels = append(f.dels, commitKey(r.version))
	for i := range r.numChunks() {
		f.dels = append(f.dels, chunkKey(r.version, i))
	}
}

// write replaces the rows of a target, which has no fewer ids than before: what
// the target added itself is no garbage.
func (f *folding) write(n *commitRow) {
	f.rows[n.version] = n
	f.puts = append(f.puts, keyValue{commitKey(n.version), inline(n.append(nil))})
	n.chunks(func(i int, b []byte) {
		f.puts = append(f.puts, keyValue{chunkKey(n.version, i), inline(b)})
	})
}

// aggregates writes those again that cover touched positions, as far as left knows
// all rows that they are of.
func (f *folding) aggregates() error {
	fresh := map[uint64]*net{} // of level 1; nil if nothing is left there
	for _, i := range f.spans(1) {
		if (i+1)*levelLen[1] > f.commits {
			continue // not complete: the window will have it
		}
		n, err := f.netOfRows(i)
		if err != nil {
			return err
		}
		fresh[i] = n
		f.putNet(1, i, n)
	}
	parts := levelLen[2] / levelLen[1]
	for _, i := range f.spans(2) {
		if (i+1)*levelLen[2] > f.commits {
			continue
		}
		var n *net
		for j := i * parts; j < (i+1)*parts; j++ {
			part, known := fresh[j]
			if !known {
				b, ok, err := f.v.fetch(aggregateKey(f.l.id, 1, j))
				if err != nil {
					return err
				}
				if !ok {
					continue
				}
				if part, err = decodeNet(b); err != nil {
					return err
				}
			}
			if part == nil {
				continue
			}
			if n == nil {
				n = newNet()
			}
			n.run(part)
		}
		f.putNet(2, i, n)
	}
	return nil
}

// overtaken reports whether commits have completed an aggregate that covers
// touched positions, behind those that left has.
func (f *folding) overtaken() bool {
	now := f.l.head.Load().commits
	for level := 1; level < len(levelLen); level++ {
		for _, i := range f.spans(level) {
			if end := (i + 1) * levelLen[level]; end > f.commits && end <= now {
				return true
			}
		}
	}
	return false
}

// spans returns the aggregates of a level that cover touched positions.
func (f *folding) spans(level int) []uint64 {
	var spans []uint64
	for _, pos := range f.touched {
		spans = append(spans, pos/levelLen[level])
	}
	slices.Sort(spans)
	return slices.Compact(spans)
}

// netOfRows adds up the rows that are left at the positions of a level-1
// aggregate; nil if there is none.
func (f *folding) netOfRows(i uint64) (*net, error) {
	low, end := i*levelLen[1], (i+1)*levelLen[1]
	at, _ := slices.BinarySearchFunc(f.left, low, func(c lineCommit, low uint64) int {
		if c.pos < low {
			return -1
		}
		return 1
	})
	var n *net
	for _, c := range f.left[at:] {
		if c.pos >= end {
			break
		}
		row := f.rows[c.version]
		if row == nil {
			var err error
			if row, err = f.v.row(c.version); err != nil {
				return nil, err
			}
		}
		if n == nil {
			n = newNet()
		}
		n.commit(row)
	}
	return n, nil
}

func (f *folding) putNet(level byte, i uint64, n *net) {
	key := aggregateKey(f.l.id, level, i)
	if n == nil {
		f.dels = append(f.dels, key)
	} else {
		f.puts = append(f.puts, keyValue{key, inline(n.append(nil))})
	}
}

// goneChunk is the number of versions in one row of the set of what is gone.
const goneChunk = 1 << 16

func goneKey(chunk uint64) []byte { return recordKey(kindGone, chunk) }

// goneRows writes the rows of the set that gain a version.
func (f *folding) goneRows(gone map[Version]bool) {
	all := f.s.open.gone.Load()
	done := map[uint64]bool{}
	for _, version := range sortedKeys(gone) {
		chunk := version / goneChunk
		if done[chunk] {
			continue
		}
		done[chunk] = true
		set := &Set{}
		set.AddRange(chunk*goneChunk, (chunk+1)*goneChunk-1)
		set = set.minus(set.minus(all))
		f.puts = append(f.puts, keyValue{goneKey(chunk), inline(appendSet(nil, set))})
	}
}

// loadGone reads which versions are gone, and whether reclaim is behind.
func (s *Store) loadGone() error {
	v := s.pin()
	defer v.pv.Close()
	gone, err := v.gone()
	if err != nil {
		return err
	}
	s.open.gone.Store(gone)
	c := v.seek([]byte{kindQueue})
	key, _, ok := c.at()
	s.reclaimable.Store(ok && key[0] == kindQueue)
	return c.err()
}

// gone returns the retired versions.
func (v *view) gone() (*Set, error) {
	gone := &Set{}
	err := v.walk([]byte{kindGone}, func(key, env []byte) error {
		if len(key) != 9 {
			return corrupt("key %x of retired versions", key)
		}
		b, err := v.open(env)
		if err != nil {
			return err
		}
		part, err := decodeSet(b)
		if err != nil {
			return err
		}
		gone.union(part)
		return nil
	})
	return gone, err
}
