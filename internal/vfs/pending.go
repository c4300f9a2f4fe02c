package vfs

import "math"

// Unsynced operations and what a sync does to them.
//
// Definitions. An inode has contents as reads see them (cur), contents as a
// power cut would leave them at least (durable), and the ordered operations
// between the two (pending). A sector's history is the list of pending
// operations that touch it; the size is one more such place. For directories
// the places are entries: (directory, name).
//
// Invariants:
//
//  1. cur = durable + all pending operations in order.
//  2. A place survives a crash in a state after some prefix of its history: the
//     same sector keeps order, different sectors do not. (Or torn, see crash.go.)
//  3. A sync that succeeds makes every place touched by an operation since the
//     last sync durable as it is visible now: a sector is written whole. A new
//     size takes along what lies behind it, and a cut the sector that it cuts.
//  4. A sync that fails marks the pending operations failed. Reads go on seeing
//     them. A failed operation never becomes durable by a later sync; its place
//     does when a newer operation touches it and is synced.
//  5. A sync that succeeds leaves the visible part of every sector that it covers
//     inside the durable size, even if a failed operation had extended the file.

// inode is a file or a directory. MemFS.mu guards all of it.
type inode struct {
	dir bool

	cur     *content
	durable *content // nil: the same as cur
	pending []fileOp
	holder  *memFile // who has the lock
	ranges  []rangeHeld
	space

	entries  map[string]*inode // as visible
	onMedium map[string]*inode // durable entries
}

func newFile() *inode { return &inode{cur: &content{}} }

func newDir() *inode {
	return &inode{dir: true, entries: map[string]*inode{}, onMedium: map[string]*inode{}}
}

// fileOp is one unsynced operation on a file: bytes [off, end) became data, or
// zeros where data is nil, and the size became size.
type fileOp struct {
	seq      int
	off, end int64
	data     []byte
	size     int64 // visible size after the operation
	resized  bool  // the operation changed the size
	failed   bool  // a sync of it failed
}

// touch must come before any change of cur.
func (f *inode) touch() {
	if f.durable == nil {
		f.durable = f.cur.clone()
	}
}

func (f *inode) write(seq int, p []byte, off int64) {
	f.touch()
	before := f.cur.size
	f.cur.writeAt(p, off)
	f.pending = append(f.pending, fileOp{seq: seq, off: off, end: off + int64(len(p)),
		data: append([]byte(nil), p...), size: f.cur.size, resized: f.cur.size != before})
}

// resize truncates or extends. Bytes cut off are one operation that zeroes
// them, so that they stay zero if the file grows again.
func (f *inode) resize(seq int, size int64) {
	f.touch()
	before := f.cur.size
	f.cur.truncate(size)
	// Setting the same size again is how a failed change of it is healed.
	op := fileOp{seq: seq, off: size, end: size, size: size, resized: size != before || size != f.durable.size}
	if size < before {
		op.end = before
	}
	f.pending = append(f.pending, op)
}

// fail is a failed sync (invariant 4).
func (f *inode) fail() {
	for i := range f.pending {
		f.pending[i].failed = true
	}
}

// sync is a successful sync (invariants 3 to 5).
func (f *inode) sync() {
	var failed []fileOp
	resized, reach := false, int64(0)
	for _, op := range f.pending {
		if op.failed {
			failed = append(failed, op)
			continue
		}
		resized = resized || op.resized
		if op.data != nil {
			_, to := sectors(op.off, op.end)
			reach = max(reach, min(to, f.cur.size))
		}
	}
	if len(failed) == len(f.pending) {
		return
	}
	live := f.pending[len(failed):] // what failed is older: a failed sync marks all
	size := max(f.durable.size, reach)
	if resized {
		size = f.cur.size
		_, behind := sectors(0, size)
		if cut, _ := sectors(size, size+1); size < f.durable.size {
			f.durable.copyFrom(f.cur, cut, size)
			behind = cut
		}
		failed = withoutRange(failed, behind, math.MaxInt64)
	}
	f.durable.truncate(size)
	for _, op := range live {
		if from, to := sectors(op.off, op.end); from < to {
			f.durable.copyFrom(f.cur, from, to)
			failed = withoutRange(failed, from, to)
		}
	}
	f.pending = nil
	for _, op := range failed {
		op.resized = op.resized && !resized && op.size >= reach
		if op.resized || op.off < op.end {
			f.pending = append(f.pending, op)
		}
	}
}

// sectors widens a range to whole sectors; an empty one stays empty.
func sectors(off, end int64) (from, to int64) {
	if off == end {
		return off, off
	}
	return off / SectorSize * SectorSize, (end + SectorSize - 1) / SectorSize * SectorSize
}

// withoutRange takes [from, to) out of the bytes of each operation.
func withoutRange(ops []fileOp, from, to int64) []fileOp {
	var kept []fileOp
	for _, op := range ops {
		if op.end <= from || to <= op.off {
			kept = append(kept, op)
			continue
		}
		left, right := op, op
		left.end, right.off = max(op.off, min(op.end, from)), min(op.end, max(op.off, to))
		if op.data != nil {
			left.data, right.data = op.data[:left.end-op.off], op.data[right.off-op.off:]
		}
		right.resized = false
		if left.off < left.end || left.resized {
			kept = append(kept, left)
		}
		if right.off < right.end {
			kept = append(kept, right)
		}
	}
	return kept
}

// entry is a place in a directory.
type entry struct {
	dir  *inode
	name string
}

// dirOp is one unsynced change of directories, atomic: each place gets its new
// inode, nil for none. A rename has two places.
type dirOp struct {
	seq    int
	places []entry
	nodes  []*inode
	failed bool
}

// change makes an entry operation visible.
func (m *MemFS) change(op *dirOp) {
	var unnamed []*inode
	for i, at := range op.places {
		if old := at.dir.entries[at.name]; old != nil {
			old.names--
			unnamed = append(unnamed, old)
		}
		if op.nodes[i] == nil {
			delete(at.dir.entries, at.name)
		} else {
			at.dir.entries[at.name] = op.nodes[i]
			op.nodes[i].names++
		}
	}
	for _, node := range unnamed {
		m.forget(node)
	}
	m.dirOps = append(m.dirOps, op)
}

// failEntries is a failed sync of a directory.
func (m *MemFS) failEntries(dir *inode) {
	for _, op := range m.dirOps {
		op.failed = op.failed || op.in(dir)
	}
}

// syncEntries is a successful sync of a directory. An operation takes along the
// older ones on its places, in whichever directory (invariant 2).
func (m *MemFS) syncEntries(dir *inode) {
	chosen := closure(m.dirOps, func(op *dirOp) bool { return op.in(dir) && !op.failed })
	var rest []*dirOp
	for i, op := range m.dirOps {
		if !chosen[i] {
			rest = append(rest, op)
			continue
		}
		for j, at := range op.places {
			if op.nodes[j] == nil {
				delete(at.dir.onMedium, at.name)
			} else {
				at.dir.onMedium[at.name] = op.nodes[j]
			}
		}
	}
	m.dirOps = rest
}

func (op *dirOp) in(dir *inode) bool {
	for _, at := range op.places {
		if at.dir == dir {
			return true
		}
	}
	return false
}

// closure chooses operations and, for each, all older ones on its places.
func closure(ops []*dirOp, choose func(*dirOp) bool) []bool {
	chosen := make([]bool, len(ops))
	wanted := map[entry]bool{}
	for i := len(ops) - 1; i >= 0; i-- {
		chosen[i] = choose(ops[i])
		for _, at := range ops[i].places {
			chosen[i] = chosen[i] || wanted[at]
		}
		if chosen[i] {
			for _, at := range ops[i].places {
				wanted[at] = true
			}
		}
	}
	return chosen
}
