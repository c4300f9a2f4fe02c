package vfs

import "math/rand/v2"

// CrashKind chooses among the images that a crash may leave.
type CrashKind int

// The kinds: three extremes, then everything between.
const (
	CrashLoseAll    CrashKind = iota // no unsynced operation survives
	CrashKeepAll                     // all survive: the process died, not the machine
	CrashNewestOnly                  // the newest survives alone; with an odd seed the newest of each file and directory
	CrashMix                         // each operation kept, dropped or torn, drawn from the seed
)

// String returns the kind's name.
func (k CrashKind) String() string {
	switch k {
	case CrashLoseAll:
		return "lose-all"
	case CrashKeepAll:
		return "keep-all"
	case CrashNewestOnly:
		return "newest-only"
	case CrashMix:
		return "mix"
	}
	return "unknown"
}

// Crash returns a new MemFS with an image that a power cut at this moment could
// leave. All of it is durable, nothing is locked, and it shares no state that
// either side can change. The same history, kind and seed give the same image.
// The original goes on, also after CrashAt.
//
// What is legal, beside the invariants of pending.go:
//
//   - An operation on several sectors may survive in any subset of them.
//   - A write that was under way may leave garbage in one of its sectors, over
//     the whole sector: bytes beside the written ones are lost too. Nothing newer
//     survives in that sector.
//   - The size may be any that the file had since its last sync, whatever
//     happened to the data: shorter cuts data off, longer shows zeros, garbage or
//     stale sectors of the same file where no data survived.
//   - Entries of directories survive or not, each on its own, renames as a whole.
//     An entry that survives brings its file in whatever state that is in.
func (m *MemFS) Crash(kind CrashKind, seed uint64) *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{kind: kind, seed: seed, rng: rand.New(rand.NewPCG(seed, uint64(kind))), nodes: map[*inode]*inode{}}
	c.odds = [...]float64{0.05, 0.3, 0.5, 0.8, 0.97}[c.rng.IntN(5)]
	c.entryOdds = [...]float64{0, 0.5, 1}[c.rng.IntN(3)]
	c.newest = m.newest()
	c.chooseEntries(m.dirOps)
	image := &MemFS{root: c.image(m.root)}
	image.lost = c.lost
	image.measure(image.root)
	return image
}

// Restart returns a MemFS as the next process finds it after this one died
// without a power cut: the same visible state and the same unsynced and failed
// operations, no handles, no locks, no planted faults.
func (m *MemFS) Restart() *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := restart{}
	next := &MemFS{root: r.copy(m.root), ops: m.ops}
	for _, op := range m.dirOps {
		fresh := &dirOp{seq: op.seq, failed: op.failed}
		for i, at := range op.places {
			fresh.places = append(fresh.places, entry{r.copy(at.dir), at.name})
			fresh.nodes = append(fresh.nodes, r.copy(op.nodes[i]))
		}
		next.dirOps = append(next.dirOps, fresh)
	}
	next.measure(next.root)
	return next
}

// restart maps the inodes of one tree to those of its copy.
type restart map[*inode]*inode

func (r restart) copy(node *inode) *inode {
	if node == nil || r[node] != nil {
		return r[node]
	}
	fresh := &inode{dir: node.dir}
	r[node] = fresh
	if !node.dir {
		fresh.cur = node.cur.clone()
		if node.durable != nil {
			fresh.durable = node.durable.clone()
		}
		fresh.pending = append([]fileOp(nil), node.pending...)
		return fresh
	}
	fresh.entries, fresh.onMedium = map[string]*inode{}, map[string]*inode{}
	for name, child := range node.entries {
		fresh.entries[name] = r.copy(child)
	}
	for name, child := range node.onMedium {
		fresh.onMedium[name] = r.copy(child)
	}
	return fresh
}

// newest returns the number of the newest unsynced operation.
func (m *MemFS) newest() int {
	newest := 0
	for _, op := range m.dirOps {
		newest = max(newest, op.seq)
	}
	seen := map[*inode]bool{}
	var walk func(node *inode)
	walk = func(node *inode) {
		if node == nil || seen[node] {
			return
		}
		seen[node] = true
		if n := len(node.pending); n > 0 {
			newest = max(newest, node.pending[n-1].seq)
		}
		for _, child := range node.entries {
			walk(child)
		}
		for _, child := range node.onMedium {
			walk(child)
		}
	}
	walk(m.root)
	return newest
}

// crash builds one image.
type crash struct {
	kind      CrashKind
	seed      uint64
	rng       *rand.Rand
	odds      float64 // of an operation on a file to survive
	entryOdds float64 // of an operation on a directory to survive
	newest    int
	survivors map[*inode]map[string]*inode // entries that differ from the durable ones
	nodes     map[*inode]*inode
	lost      bool
}

// chooseEntries decides which operations on directories survive.
func (c *crash) chooseEntries(ops []*dirOp) {
	keep := make([]bool, len(ops))
	switch c.kind {
	case CrashKeepAll:
		for i := range keep {
			keep[i] = true
		}
	case CrashNewestOnly:
		last := map[*inode]int{}
		for _, op := range ops {
			for _, at := range op.places {
				last[at.dir] = op.seq
			}
		}
		keep = closure(ops, func(op *dirOp) bool {
			if c.seed%2 == 0 {
				return op.seq == c.newest
			}
			return last[op.places[len(op.places)-1].dir] == op.seq
		})
	case CrashMix:
		stopped := map[entry]bool{}
		for i, op := range ops {
			keep[i] = c.rng.Float64() < c.entryOdds
			for _, at := range op.places {
				keep[i] = keep[i] && !stopped[at]
			}
			for _, at := range op.places {
				stopped[at] = stopped[at] || !keep[i]
			}
		}
	}
	c.survivors = map[*inode]map[string]*inode{}
	for i, op := range ops {
		if !keep[i] {
			c.lost = true
			continue
		}
		for j, at := range op.places {
			if c.survivors[at.dir] == nil {
				c.survivors[at.dir] = map[string]*inode{}
			}
			c.survivors[at.dir][at.name] = op.nodes[j]
		}
	}
}

// image returns what is left of an inode and all below it.
func (c *crash) image(node *inode) *inode {
	if done := c.nodes[node]; done != nil {
		return done
	}
	if !node.dir {
		fresh := &inode{cur: c.file(node)}
		c.nodes[node] = fresh
		return fresh
	}
	fresh := newDir()
	c.nodes[node] = fresh
	entries := make(map[string]*inode, len(node.onMedium))
	for name, child := range node.onMedium {
		entries[name] = child
	}
	for name, child := range c.survivors[node] {
		if child == nil {
			delete(entries, name)
		} else {
			entries[name] = child
		}
	}
	for _, name := range sortedNames(entries) { // sorted: the draws must repeat
		child := c.image(entries[name])
		fresh.entries[name], fresh.onMedium[name] = child, child
	}
	return fresh
}

// file returns what is left of a file's contents.
func (c *crash) file(f *inode) *content {
	switch {
	case len(f.pending) == 0 || c.kind == CrashKeepAll:
		return f.cur.clone()
	case c.kind == CrashLoseAll:
		left := f.durable.clone()
		c.compare(f, left)
		return left
	}
	t := newTearing(f)
	if c.kind == CrashNewestOnly {
		newest := f.pending[len(f.pending)-1]
		if c.seed%2 == 0 && newest.seq != c.newest {
			left := f.durable.clone()
			c.compare(f, left)
			return left
		}
		t.onlyNewest()
		t.fill(t.sizeAfter(newest.size), c.rng, int(c.seed/2%numFills))
	} else {
		for i := range f.pending {
			t.tear(i, c.rng, c.odds)
		}
		t.fill(t.drawSize(c.rng), c.rng, c.rng.IntN(numFills))
	}
	c.compare(f, t.left)
	return t.left
}

// compare sets lost if the file reads differently than at the crash.
func (c *crash) compare(f *inode, left *content) {
	if c.lost || left.size != f.cur.size {
		c.lost = true
		return
	}
	for _, op := range f.pending {
		from, to := sectors(op.off, op.end)
		if op.size > f.durable.size { // the bytes between may be garbage
			from = min(from, f.durable.size)
			to = max(to, op.size)
		}
		if !left.equal(f.cur, from, min(to, left.size)) {
			c.lost = true
			return
		}
	}
}
