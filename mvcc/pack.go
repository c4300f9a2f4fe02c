package mvcc

import (
	"bytes"
	"encoding/binary"

	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
)

// Packing. A checkpoint puts the rows of the overlay into the tree, in key
// order; those with contents to place wait until the block that takes them is
// closed.
//
//  1. What is current when the overlay is frozen, and what that rests on, lies
//     in small blocks: reading one pod decodes little. What was replaced within
//     the overlay already is history, and lies in large ones, which compress
//     better. So do commits and aggregates, which are read in bulk.
//  2. Neighbours in key order are neighbours in blocks: versions of one pod, and
//     pods of one commit and variable.
//  3. A record that was compressed by itself at commit goes into a block as it
//     was before, because the block is compressed as one, and better: there is
//     time. A big one has a block to itself.
//  4. Nothing is compressed twice to find that it does not shrink: a block is
//     not tried if most of it is long records that did not.
const (
	hotBytes  = 8 << 10  // raw size at which a block of current contents is closed
	coldBytes = 64 << 10 // and one of history
	aloneMin  = 32 << 10 // contents that get a block of their own
	solidMin  = 2 << 10  // a record that did not shrink alone is not tried again
	waitMax   = 4096     // rows that wait for a block
	// togetherMin rows are put into the tree together if they wait for nothing.
	togetherMin = 64
)

// packer collects the rows of one checkpoint.
type packer struct {
	b         *pager.Batch
	page      *pager.View // the tree before the batch
	overlay   *overlay    // what the batch adds to it; nil for none
	next      uint64      // number of the next block
	hot, cold openBlock
	few       bool         // one block takes it all
	waiting   []waitingRow // for a block, or behind one that does
	ready     []pager.Row  // of them, those on their way into the tree
	needed    baseRef      // version that a current one rests on
	pod       []byte       // pod and line of the version row before
	written   uint64       // bytes of blocks
	buffers   blockBuffers
	room      unpacking  // blocks that are rewritten are read with it
	blocks    []keyValue // rows of new blocks
	changes   map[uint64]*blockChange
	adopted   map[uint64]blockRow // blocks of extents that the overlay brings
	settled   map[uint64]blockRow // rows that the batch changed
	changed   blockSums           // what the batch does to the sums of all blocks
	sums      *blockSums          // what they are then; nil if as before
	upkeep
}

// openBlock is a block that still takes members.
type openBlock struct {
	members []member
	rows    []int // the waiting row of each
	size    int
	solid   int // of it, what does not compress
}

// waitingRow is a row on its way into the tree.
type waitingRow struct {
	keyValue
	placed bool // its block is open
}

func newPacker(b *pager.Batch, page *pager.View, o *overlay) (*packer, error) {
	p := &packer{b: b, page: page, overlay: o, next: 2, changes: map[uint64]*blockChange{}, adopted: map[uint64]blockRow{}, settled: map[uint64]blockRow{}}
	val, ok, err := page.Get(singleKey(singleBlocks))
	if err != nil || !ok {
		return p, err
	}
	n, k := binary.Uvarint(val)
	if k != len(val) || k == 0 || n%2 != 0 || n == 0 {
		return nil, corrupt("counter of blocks: %x", val)
	}
	p.next = n
	return p, nil
}

// put adds a row as it is; without a value the row goes away.
func (p *packer) put(key, val []byte) error {
	p.waiting = append(p.waiting, waitingRow{keyValue: keyValue{key, val}})
	if len(p.hot.members)+len(p.cold.members) == 0 && len(p.waiting) >= togetherMin {
		return p.drain()
	}
	return p.bound()
}

// place adds a row of the overlay whose contents go into a block.
func (p *packer) place(key, contents []byte, current bool) error {
	solid := false
	if key[0] == kindVersion || key[0] == kindShared { // compressed at commit
		var err error
		if contents, solid, err = loose(contents); err != nil {
			return err
		}
	}
	return p.pack(key, contents, current, solid)
}

// pack adds a row whose contents are as a block has them. solid says that to
// compress them was tried in vain.
func (p *packer) pack(key, contents []byte, current, solid bool) error {
	if len(contents) >= aloneMin {
		return p.alone(key, contents, solid)
	}
	o, limit := &p.cold, coldBytes
	if current || p.few {
		o, limit = &p.hot, hotBytes
	}
	if o.size+len(contents) > limit && len(o.members) > 0 {
		if err := p.close(o); err != nil {
			return err
		}
	}
	o.rows = append(o.rows, len(p.waiting))
	o.members = append(o.members, member{key, contents})
	o.size += len(contents)
	if solid {
		o.solid += len(contents)
	}
	p.waiting = append(p.waiting, waitingRow{keyValue{key: key}, true})
	return p.bound()
}

// current reports whether a row belongs to the state at the freeze. The newest
// version of a pod on a line comes first.
func (p *packer) current(key, env []byte) bool {
	if key[0] != kindVersion {
		return key[0] == kindShared || key[0] == kindType
	}
	_, line, number, _ := splitVersionKey(key)
	pod := key[:versionKeyLen-8]
	if bytes.Equal(pod, p.pod) && p.needed != (baseRef{line, number}) {
		return false
	}
	p.pod, p.needed = pod, baseRef{}
	if len(env) > 0 && env[0] == envInline {
		p.needed = rests(env[1:])
	}
	return true
}

// bound limits how many rows wait.
func (p *packer) bound() error {
	if len(p.waiting) < waitMax {
		return nil
	}
	return p.flush()
}

// flush closes the open blocks, and so nothing waits any more.
func (p *packer) flush() error {
	if err := p.close(&p.hot); err != nil {
		return err
	}
	if err := p.close(&p.cold); err != nil {
		return err
	}
	return p.drain()
}

// alone writes a block of one member.
func (p *packer) alone(key, contents []byte, solid bool) error {
	env, err := p.write([]member{{key, contents}}, !solid)
	if err != nil {
		return err
	}
	return p.put(key, env[0])
}

// close writes an open block, and the rows that need wait no longer.
func (p *packer) close(o *openBlock) error {
	if len(o.members) == 0 {
		return nil
	}
	envelopes, err := p.write(o.members, o.solid*4 < o.size*3)
	if err != nil {
		return err
	}
	for i, row := range o.rows {
		p.waiting[row] = waitingRow{keyValue{o.members[i].key, envelopes[i]}, false}
	}
	clear(o.members)
	o.members, o.rows, o.size, o.solid = o.members[:0], o.rows[:0], 0, 0
	return p.drain()
}

// write writes a block and returns the envelopes of its members.
func (p *packer) write(members []member, compress bool) ([][]byte, error) {
	number := p.next
	p.next += 2
	how := squeeze
	if !compress {
		how = asItIs
	}
	stored, raw, at := p.buffers.block(number, members, how)
	p.buffers.stored = stored[:0]
	pl, err := p.b.Record(stored)
	if err != nil {
		return nil, err
	}
	envelopes := make([][]byte, len(at))
	for i, m := range at {
		envelopes[i] = packedIn(number, m)
	}
	p.written += uint64(len(stored))
	row := newBlockRow(pl, raw, at)
	p.changed.add(row, 1)
	p.blocks = append(p.blocks, keyValue{blockKey(number), row.append(nil)})
	return envelopes, nil
}

// drain puts the rows into the tree that wait for no open block, up to the
// first that does.
func (p *packer) drain() error {
	n := 0
	for ; n < len(p.waiting) && !p.waiting[n].placed; n++ {
		if row := &p.waiting[n]; row.val != nil {
			p.ready = append(p.ready, pager.Row{Key: row.key, Val: row.val})
			continue
		}
		if err := p.putReady(); err != nil {
			return err
		}
		if err := p.b.Delete(p.waiting[n].key); err != nil {
			return err
		}
	}
	if n == 0 {
		return nil
	}
	if err := p.putReady(); err != nil {
		return err
	}
	vfs.Yield()
	p.waiting = append(p.waiting[:0], p.waiting[n:]...)
	for _, o := range []*openBlock{&p.hot, &p.cold} {
		for i := range o.rows {
			o.rows[i] -= n
		}
	}
	return nil
}

// putReady puts rows into the tree that were collected for it.
func (p *packer) putReady() error {
	err := p.b.PutAll(p.ready)
	clear(p.ready)
	p.ready = p.ready[:0]
	return err
}

// finish closes the last blocks and brings the block rows up to date.
func (p *packer) finish() error {
	if err := p.flush(); err != nil {
		return err
	}
	if err := p.settle(); err != nil {
		return err
	}
	p.few = false
	if err := p.rewriteSparse(); err != nil {
		return err
	}
	if err := p.putSums(); err != nil {
		return err
	}
	if len(p.blocks) == 0 {
		return nil
	}
	for _, kv := range p.blocks {
		if err := p.b.Put(kv.key, kv.val); err != nil {
			return err
		}
	}
	return p.b.Put(singleKey(singleBlocks), binary.AppendUvarint(nil, p.next))
}
