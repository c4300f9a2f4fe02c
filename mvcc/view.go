package mvcc

import (
	"bytes"
	"sync/atomic"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
)

// layers are the parts of the index that are not in the page file. Readers
// take both by one atomic load.
//
//  1. active takes what commits do; frozen, if not nil, is what a checkpoint is
//     writing into the page file, and changes no more.
//  2. frozen is dropped after the page file has published what it holds. So
//     {page file as of now, frozen, active}, taken in the order layers, page
//     file, layers again unchanged, misses nothing; what is in frozen and in the
//     page file as well is the same.
type layers struct {
	frozen, active *overlay
}

// unordered reports whether a layer has changed rows of lower layers.
func (la *layers) unordered() bool {
	return la.active.unordered.Load() || la.frozen != nil && la.frozen.unordered.Load()
}

// view is the index during one operation: one get, one batch of pods, one
// batch of names. It pins a generation of the page file and is short.
type view struct {
	s    *Store
	la   *layers
	pv   *pager.View
	last atomic.Pointer[rawBlock] // read last
	near *nearBlocks              // nil but for one goroutine's walk over many rows
}

// view begins an operation. The caller ends it with close.
func (s *Store) view() (*view, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	return s.pin(), nil
}

// pin is view for those who hold the store open themselves.
func (s *Store) pin() *view {
	v := &struct { // one piece of memory
		view
		page pager.View
	}{}
	v.s, v.pv = s, &v.page
	for {
		v.la = s.layers.Load()
		s.pager.Pin(v.pv)
		if s.layers.Load() == v.la {
			return &v.view
		}
		v.pv.Close()
	}
}

// enter keeps the page file open until leave. Only Close locks the gate, so
// whoever does not get in at once need not wait; and so an operation may begin
// within another one.
func (s *Store) enter() error {
	if !s.gate.TryRLock() {
		return dberr.ErrClosed
	}
	if s.closed.Load() {
		s.gate.RUnlock()
		return dberr.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.gate.RUnlock() }

func (v *view) close() {
	v.pv.Close()
	v.s.leave()
}

// get returns the newest value of a key.
func (v *view) get(key []byte) ([]byte, bool, error) {
	if b, ok := v.la.active.get(key); ok {
		return b, b != nil, nil
	}
	if f := v.la.frozen; f != nil {
		if b, ok := f.get(key); ok {
			return b, b != nil, nil
		}
	}
	return v.pv.Get(key)
}

// seekIn returns the first key ≥ from that shares from's first n bytes. It is
// for keys that end in a descending number: a newer layer has only higher
// numbers under one prefix, which come first, so the first layer with a hit has
// the answer. Once a layer has changed rows with older numbers (retire.go) all
// are looked at. That may happen during the call: so it is asked after the hit
// was read, because a layer says that it is unordered before it is.
func (v *view) seekIn(from []byte, n int) (key, val []byte, ok bool, err error) {
	prefix := from[:n]
	key, val, ok, err = v.seekFirst(from, prefix)
	if err != nil || !v.la.unordered() {
		return key, val, ok, err
	}
	c := v.seek(bytes.Clone(from))
	key, val, ok = c.at()
	if ok = ok && bytes.HasPrefix(key, prefix); !ok {
		return nil, nil, false, c.err()
	}
	return key, val, true, nil
}

// seekFirst is seekIn while all layers are ordered.
func (v *view) seekFirst(from, prefix []byte) (key, val []byte, ok bool, err error) {
	for _, o := range [2]*overlay{v.la.active, v.la.frozen} {
		if o == nil {
			continue
		}
		if x := o.first(from, prefix); x != nil {
			return x.key, x.value(), true, nil
		}
	}
	if v.la.unordered() {
		return nil, nil, false, nil // the page file is asked by seek
	}
	key, val, ok, err = v.pv.Ceiling(make([]byte, 0, len(from)), from)
	if err != nil || !ok || !bytes.HasPrefix(key, prefix) {
		return nil, nil, false, err
	}
	return key, val, true, nil
}

// cursor walks the merged index upwards, past deleted rows. What it stands on
// is read once: a row under it may be deleted meanwhile.
type cursor struct {
	active, frozen *onode
	page           *pager.Cursor

	key, val []byte
	ok       bool
}

// seek returns a cursor at the first key ≥ from in any layer.
func (v *view) seek(from []byte) *cursor {
	c := &cursor{active: v.la.active.seek(from), page: v.pv.Seek(from)}
	if v.la.frozen != nil {
		c.frozen = v.la.frozen.seek(from)
	}
	c.settle()
	return c
}

// seekVersions is seek for versions of the pod and line of from, a version key: beyond
// those the cursor is not to be used.
func (v *view) seekVersions(from []byte) *cursor {
	c := &cursor{active: v.la.active.firstVersion(from), page: v.pv.Seek(from)}
	if v.la.frozen != nil {
		c.frozen = v.la.frozen.firstVersion(from)
	}
	c.settle()
	return c
}

// at returns the key and value under the cursor.
func (c *cursor) at() (key, val []byte, ok bool) { return c.key, c.val, c.ok }

// top returns the lowest row of all layers, the newest layer's if several have
// the key. A deleted row has no value.
func (c *cursor) top() (key, val []byte, ok bool) {
	if c.page.Valid() {
		key, val, ok = c.page.Key(), c.page.Value(), true
		if val == nil {
			val = []byte{} // there, and empty
		}
	}
	for _, n := range [2]*onode{c.frozen, c.active} {
		if n != nil && (!ok || bytes.Compare(n.key, key) <= 0) {
			key, val, ok = n.key, n.value(), true
		}
	}
	return key, val, ok
}

func (c *cursor) next() {
	if c.ok {
		c.pass(c.key)
		c.settle()
	}
}

// settle goes on to the next row that is not deleted. If the page file cannot be
// read there is none: what it would show first is not known (err).
func (c *cursor) settle() {
	for {
		if c.page.Err() != nil {
			c.key, c.val, c.ok = nil, nil, false
			return
		}
		c.key, c.val, c.ok = c.top()
		if !c.ok || c.val != nil {
			return
		}
		c.pass(c.key)
	}
}

// pass moves every layer that stands at key.
func (c *cursor) pass(key []byte) {
	if c.active != nil && bytes.Equal(c.active.key, key) {
		c.active = c.active.following()
	}
	if c.frozen != nil && bytes.Equal(c.frozen.key, key) {
		c.frozen = c.frozen.following()
	}
	if c.page.Valid() && bytes.Equal(c.page.Key(), key) {
		c.page.Next()
	}
}

func (c *cursor) err() error { return c.page.Err() }

// walk calls fn for every row whose key begins with prefix, in order. Key and
// value are valid during the call.
func (v *view) walk(prefix []byte, fn func(key, val []byte) error) error {
	c := v.seek(prefix)
	for ; ; c.next() {
		key, val, ok := c.at()
		if !ok || !bytes.HasPrefix(key, prefix) {
			return c.err()
		}
		if err := fn(key, val); err != nil {
			return err
		}
	}
}

// row returns the row of a commit, without the ids of a chunked one.
func (v *view) row(version Version) (*commitRow, error) {
	b, ok, err := v.fetch(commitKey(version))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, corrupt("commit row of version %d is missing", version)
	}
	return decodeRow(version, b)
}

// ids returns the pods of a commit's numbers, in order.
func (v *view) ids(c *commitRow) ([]pid, error) {
	if !c.chunked() || c.ids != nil {
		return c.ids, nil
	}
	var ids []pid
	for i := 0; uint64(len(ids)) < c.added; i++ {
		b, ok, err := v.fetch(chunkKey(c.version, i))
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, corrupt("chunk %d of the pod ids of version %d is missing", i, c.version)
		}
		part, err := decodeChunk(b, int(min(idChunk, c.added-uint64(len(ids)))))
		if err != nil {
			return nil, err
		}
		ids = append(ids, part...)
	}
	return ids, nil
}
