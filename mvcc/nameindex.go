package mvcc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/poddb/poddb/internal/dberr"
)

// nameIndex says, in memory, which variables may be bound to a pod, and which names
// the commits of a line set. The rows of names answer the opposite: what a name is bound to.
//
//  1. It has every name row that a snapshot can see. A row is noted while its group is
//     applied, before the version is published (note); rows from before it was begun are read by one walk (build).
//  2. It may have rows that reclaim has removed since. So what it says are candidates, and
//     whoever asks looks up what they are bound to.
//  3. What is alive of it is bounded by a share of the budget. One that grows beyond that is
//     dropped, and if a walk finds more none is made again: then names are walked over.
//
// It is made when somebody asks first, and kept until Close.
type nameIndex struct {
	after Version // rows up to this version are walked over, later ones are noted
	limit int64   // bytes

	mu   sync.Mutex // guards what follows
	base *nameTable // nil until the walk is over; never changed, only replaced
	tail nameTable  // noted since; its slices only grow
	over bool       // it was dropped, and is not complete any more
}

// nameTable is some name rows.
type nameTable struct {
	rows   []indexedName // versions ascend
	byRoot []uint32      // indexes of rows, roots ascending; of base only
	keys   []byte        // nameKeys, which end by themselves
}

type indexedName struct {
	version Version
	root    pid
	line    uint32
	key     uint32 // where its nameKey begins in keys
}

const (
	indexedNameBytes = 24 + 4 // with its place in byRoot
	// nameTailRows is how many noted rows are looked at one by one: so many, and one for
	// sixteen that are in order.
	nameTailRows = 1024
	// nameCandidates: if more than one row in so many is a candidate, a walk is faster.
	nameCandidates = 8
)

func (t *nameTable) bytes() int64 {
	return int64(len(t.rows))*indexedNameBytes + int64(len(t.keys))
}

// add appends a row. nk is nil if the row is of the same name as the one before.
func (t *nameTable) add(nk []byte, line uint32, version Version, root pid) {
	at := uint32(len(t.keys))
	if nk == nil {
		at = t.rows[len(t.rows)-1].key
	}
	t.keys = append(t.keys, nk...)
	t.rows = append(t.rows, indexedName{version, root, line, at})
}

// key returns the nameKey of a row.
func (t *nameTable) key(r indexedName) []byte {
	k := t.keys[r.key:]
	n := bytes.Index(k, nameEnd) + len(nameEnd)
	return k[:n:n]
}

var nameEnd = []byte{0, 0}

// sort orders rows that were walked over, and indexes them.
func (t *nameTable) sort() {
	slices.SortFunc(t.rows, func(a, b indexedName) int { return cmp.Compare(a.version, b.version) })
	t.index()
}

func (t *nameTable) index() {
	for i := len(t.byRoot); i < len(t.rows); i++ {
		t.byRoot = append(t.byRoot, uint32(i))
	}
	slices.SortFunc(t.byRoot, func(i, j uint32) int { return cmp.Compare(t.rows[i].root, t.rows[j].root) })
}

// noteNames has the index know the rows of a group. The lock for applying is held.
func (s *Store) noteNames(g *group) {
	x := s.names.Load()
	if x == nil {
		return
	}
	for _, p := range g.puts {
		if p.key[0] != kindName {
			continue
		}
		if !x.note(p) {
			s.names.Store(nil)
			return
		}
	}
}

// note adds a row, and reports whether the index is one still.
func (x *nameIndex) note(p keyValue) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, nk, line, version, err := splitNameKey(p.key)
	root, bad := decodeRoot(p.val)
	if last := len(x.tail.rows) - 1; err != nil || bad != nil || last >= 0 && version < x.tail.rows[last].version {
		x.over = true // whoever reads a bad row hears of it
		return false
	}
	x.tail.add(nk, line, version, root)
	size := x.tail.bytes()
	if x.base != nil {
		size += x.base.bytes()
	}
	x.over = size > x.limit
	return !x.over
}

// nameIndex returns the index, and makes it if there is none. It is nil if there are too many
// names for one, or a row of a name cannot be read.
func (s *Store) nameIndex(ctx context.Context) (*nameIndex, error) {
	if x := s.names.Load(); x != nil {
		if s.indexing.TryLock() {
			x.settle()
			s.indexing.Unlock()
		}
		return x, nil
	}
	if s.lost != nil || s.manyNames.Load() || !s.indexing.TryLock() {
		return nil, nil // of what was lost, a walk says that it was
	}
	defer s.indexing.Unlock()
	x := &nameIndex{limit: min(s.budget.nameBytes, math.MaxUint32)}
	s.applying.Lock()
	x.after = s.published.Load().version
	s.names.Store(x)
	s.applying.Unlock()
	base, err := s.walkNames(ctx, x)
	if err != nil || base == nil {
		s.names.CompareAndSwap(x, nil)
		if bad := errors.Is(err, dberr.ErrCorrupt); err == nil || bad {
			s.manyNames.Store(true) // a walk over some names need not meet the row that cannot be read
			return nil, nil
		}
		return nil, err
	}
	base.sort()
	x.mu.Lock()
	x.base = base
	x.mu.Unlock()
	return x, nil
}

// walkNames reads the name rows up to x.after; nil if they take so much of the limit that
// little is left for what comes.
func (s *Store) walkNames(ctx context.Context, x *nameIndex) (*nameTable, error) {
	t := &nameTable{}
	for from := []byte{kindName}; from != nil; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := s.read(func(v *view) (err error) {
			from, err = t.some(v.seek(from), x.after)
			return err
		})
		if err != nil || t.bytes() > x.limit/4*3 {
			return nil, err
		}
	}
	return t, nil
}

// some adds the name rows up to a version that are among the next ones at a cursor. It returns
// the key to go on from, nil at the end.
func (t *nameTable) some(c *cursor, upTo Version) ([]byte, error) {
	for n := 0; ; n++ {
		key, val, ok := c.at()
		if !ok || key[0] != kindName {
			return nil, c.err()
		}
		if n == nameWalkRows {
			return bytes.Clone(key), nil
		}
		tail := len(key) - nameTailLen
		if tail < len(nameEnd) || !bytes.HasSuffix(key[:tail], nameEnd) {
			return nil, dberr.Corrupt("", -1, "name key %x", key)
		}
		root, err := decodeRoot(val)
		if err != nil {
			return nil, err
		}
		if version := ^be.Uint64(key[tail+4:]); version <= upTo {
			nk := key[:tail]
			if last := len(t.rows) - 1; last >= 0 && bytes.Equal(nk, t.key(t.rows[last])) {
				nk = nil
			}
			t.add(nk, be.Uint32(key[tail:]), version, root)
		}
		c.next()
	}
}

// settle puts what was noted in order, if that is much. One goroutine at a time may.
func (x *nameIndex) settle() {
	x.mu.Lock()
	base, tail := x.base, x.tail
	x.mu.Unlock()
	if base == nil || len(tail.rows) <= nameTailRows+len(base.rows)/16 {
		return
	}
	next := &nameTable{
		rows:   slices.Concat(base.rows, tail.rows),
		byRoot: slices.Grow(slices.Clone(base.byRoot), len(tail.rows)),
		keys:   slices.Concat(base.keys, tail.keys),
	}
	for i := len(base.rows); i < len(next.rows); i++ {
		next.rows[i].key += uint32(len(base.keys))
	}
	next.index()
	x.mu.Lock()
	defer x.mu.Unlock()
	rest := nameTable{rows: slices.Clone(x.tail.rows[len(tail.rows):]), keys: slices.Clone(x.tail.keys[len(tail.keys):])}
	for i := range rest.rows {
		rest.rows[i].key -= uint32(len(tail.keys))
	}
	x.base, x.tail = next, rest
}

// commitRun is the commits of a line behind one version and up to another.
type commitRun struct {
	line        uint32
	after, upTo Version
}

// apart returns the commits that one of two lineages has and the other has not. A name that
// differs was set by one of these: what both lineages have they rank alike.
func apart(a, b []fork) []commitRun {
	var runs []commitRun
	for _, side := range [2][2][]fork{{a, b}, {b, a}} {
		for _, f := range side[0] {
			run := commitRun{line: f.line, upTo: f.version}
			for _, g := range side[1] {
				if g.line == f.line {
					run.after = g.version
				}
			}
			if run.upTo > run.after {
				runs = append(runs, run)
			}
		}
	}
	return runs
}

// candidates returns the nameKeys, in order and each once, of the names that commits of the runs
// set, or that a row binds to one of some pods, which ascend. It is false if the index
// is not complete, or the names are so many that a walk is faster.
func (x *nameIndex) candidates(runs []commitRun, pods []pid) ([][]byte, bool) {
	x.mu.Lock()
	base, tail, over := x.base, x.tail, x.over
	x.mu.Unlock()
	if base == nil || over {
		return nil, false
	}
	most := (len(base.rows) + len(tail.rows)) / nameCandidates
	var keys [][]byte
	for _, t := range []*nameTable{base, &tail} {
		for _, run := range runs {
			i, _ := slices.BinarySearchFunc(t.rows, run.after+1, byVersion)
			for ; i < len(t.rows) && t.rows[i].version <= run.upTo; i++ {
				if t.rows[i].line != run.line {
					continue
				}
				if keys = append(keys, t.key(t.rows[i])); len(keys) > most+nameTailRows {
					return nil, false
				}
			}
		}
	}
	for _, id := range pods {
		i, _ := slices.BinarySearchFunc(base.byRoot, id, func(i uint32, id pid) int { return cmp.Compare(base.rows[i].root, id) })
		for ; i < len(base.byRoot) && base.rows[base.byRoot[i]].root == id; i++ {
			keys = append(keys, base.key(base.rows[base.byRoot[i]]))
		}
		if len(keys) > most+nameTailRows {
			return nil, false
		}
	}
	for _, r := range tail.rows {
		if _, found := slices.BinarySearch(pods, r.root); found {
			keys = append(keys, tail.key(r))
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal), true
}

func byVersion(r indexedName, v Version) int { return cmp.Compare(r.version, v) }

// NamesOf calls fn, in order, with the variables with a prefix whose root pods differ in
// two versions, and with those that the second one binds to one of some pods, in any
// order. It looks at these alone; known is false, and fn is not called, if that cannot be done.
func (s *Store) NamesOf(ctx context.Context, a, b *Snapshot, prefix string, pods []pid, fn func(NameChange)) (known bool, err error) {
	if a.s != s || b.s != s {
		return false, fmt.Errorf("%w: snapshots of another database", dberr.ErrInvalid)
	}
	if err := cmp.Or(a.usable(ctx), b.usable(ctx)); err != nil {
		return false, err
	}
	if prefix != "" && s.names.Load() == nil {
		return false, nil // a walk over the names with the prefix is shorter than one over all
	}
	x, err := s.nameIndex(ctx)
	if x == nil || err != nil {
		return false, err
	}
	pods = slices.Sorted(slices.Values(pods))
	keys, known := x.candidates(apart(a.lineage, b.lineage), pods)
	if !known {
		return false, nil
	}
	head := escapedName([]byte{kindName}, prefix)
	for part := range slices.Chunk(keys, namesBatch) {
		if err := a.usable(ctx); err != nil {
			return true, err
		}
		v, err := b.view(ctx)
		if err == nil {
			err = v.namesOf(a, b, head, part, pods, fn)
			v.close()
		}
		if err != nil {
			return true, err
		}
	}
	return true, nil
}

// namesOf looks candidates up.
func (v *view) namesOf(a, b *Snapshot, prefix []byte, keys [][]byte, pods []pid, fn func(NameChange)) error {
	for _, nk := range keys {
		if !bytes.HasPrefix(nk, prefix) {
			continue
		}
		c := NameChange{}
		var err error
		if c.Before, err = v.resolveName(a.lineage, nk); err != nil {
			return err
		}
		if c.After, err = v.resolveName(b.lineage, nk); err != nil {
			return err
		}
		if c.Before == c.After {
			if _, found := slices.BinarySearch(pods, c.After); !found {
				continue
			}
		}
		if c.Name, err = splitName(nk); err != nil {
			return err
		}
		fn(c)
	}
	return nil
}
