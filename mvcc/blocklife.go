package mvcc

import (
	"bytes"

	"github.com/poddb/poddb/pager"
)

// The life of a block. A member is live if the row in the tree under its key
// says that its contents lie there. Rows are replaced and deleted by upkeep
// (retention); a block that lost all members is freed, one that lost most is
// rewritten: what is live goes into new blocks under new numbers.
//
//  1. Only checkpoints change block rows. They look at the tree before the batch
//     and at the overlay that the batch adds: a member is live if the tree says
//     so and the overlay does not have the key.
//  2. A row of an overlay refers to no block but those of extents that the same
//     overlay brings. So what a checkpoint moves or frees, the overlay behind it
//     does not refer to. A block that a checkpoint adopts it does not rewrite:
//     readers may still find its row in the frozen overlay.
//  3. One checkpoint rewrites a bounded number of bytes. What is left over is
//     remembered, and what was remembered before the store was closed is found
//     again by looking at some block rows with every checkpoint.

// blockChange is what a batch does to the members of a block.
type blockChange struct{ lost, gained share }

// share is a part of a block's contents.
type share struct{ members, bytes uint64 }

func (s *share) add(bytes uint64) {
	s.members++
	s.bytes += bytes
}

// upkeep is what one checkpoint knows and learns about sparse blocks.
type upkeep struct {
	known map[uint64]bool // from checkpoints before; not changed
	found []uint64        // sparse after this batch
	gone  []uint64        // rewritten or freed by this batch
	moved uint64          // bytes of blocks that were rewritten
}

const (
	rewritePart  = 4 // of what a checkpoint packs, so many parts may be rewritten
	rewriteBytes = 1 << 20
	scanBlocks   = 256 // block rows that a checkpoint looks at
)

// sparse reports whether a block is worth rewriting.
func (b blockRow) sparse() bool {
	return b.liveMembers < b.members && b.liveBytes*2 < b.contents
}

func (p *packer) change(block uint64) *blockChange {
	c := p.changes[block]
	if c == nil {
		c = &blockChange{}
		p.changes[block] = c
	}
	return c
}

// lost notes that the row in the tree under key, if any, is about to go or to
// get another value.
func (p *packer) lost(key []byte) error {
	old, ok, err := p.page.Get(key)
	if err != nil || !ok {
		return err
	}
	e, err := decodeEnvelope(old)
	if err == nil && e.how == envPacked {
		p.change(e.block).lost.add(e.length)
	}
	return err
}

// gained notes that a row of the overlay refers to a block.
func (p *packer) gained(env []byte) error {
	if len(env) == 0 || env[0] != envPacked {
		return nil
	}
	e, err := decodeEnvelope(env)
	if err == nil {
		p.change(e.block).gained.add(e.length)
	}
	return err
}

// block takes a block row of the overlay: a commit wrote it into an extent.
func (p *packer) block(key, val []byte) error {
	if len(key) != 9 {
		return corrupt("block key %x", key)
	}
	number := be.Uint64(key[1:])
	row, err := decodeBlockRow(number, val)
	if err != nil {
		return err
	}
	if err := p.b.Adopt(row.place); err != nil {
		return err
	}
	row.liveMembers, row.liveBytes = 0, 0 // gained counts them
	p.adopted[number] = row
	p.change(number)
	return nil
}

// settle brings the rows of all blocks up to date whose members changed.
func (p *packer) settle() error {
	for _, number := range sortedKeys(p.changes) {
		row, adopted := p.adopted[number]
		if !adopted {
			var err error
			if row, err = treeBlock(p.page, number); err != nil {
				return err
			}
			p.changed.add(row, -1)
		}
		c := p.changes[number]
		members, bytes := row.liveMembers+c.gained.members, row.liveBytes+c.gained.bytes
		if c.lost.members > members || c.lost.bytes > bytes || members-c.lost.members > row.members {
			return corrupt("block %d has %d of %d members live, gets %d and loses %d",
				number, row.liveMembers, row.members, c.gained.members, c.lost.members)
		}
		row.liveMembers, row.liveBytes = members-c.lost.members, bytes-c.lost.bytes
		if err := p.keepOrFree(number, row); err != nil {
			return err
		}
		if row.liveMembers > 0 && row.sparse() {
			p.found = append(p.found, number)
		}
	}
	return nil
}

func (p *packer) keepOrFree(number uint64, row blockRow) error {
	if row.liveMembers > 0 {
		p.changed.add(row, 1)
		p.settled[number] = row
		return p.b.Put(blockKey(number), row.append(nil))
	}
	p.gone = append(p.gone, number)
	if err := p.b.FreeRecord(row.place); err != nil {
		return err
	}
	return p.b.Delete(blockKey(number))
}

func treeBlock(page *pager.View, number uint64) (blockRow, error) {
	val, ok, err := page.Get(blockKey(number))
	if err != nil {
		return blockRow{}, err
	}
	if !ok {
		return blockRow{}, corrupt("block %d is missing", number)
	}
	return decodeBlockRow(number, val)
}

// rewriteSparse rewrites blocks that are mostly dead, as many as may be.
func (p *packer) rewriteSparse() error {
	spend := p.written/rewritePart + rewriteBytes
	numbers := map[uint64]bool{}
	for _, n := range p.found {
		numbers[n] = true
	}
	for n := range p.known {
		numbers[n] = true
	}
	for _, n := range p.gone {
		delete(numbers, n)
	}
	for _, number := range sortedKeys(numbers) {
		if _, adopted := p.adopted[number]; adopted {
			continue
		}
		if p.moved >= spend {
			break
		}
		row, err := treeBlock(p.page, number)
		if err != nil {
			return err
		}
		if err := p.rewrite(number, row); err != nil {
			return err
		}
	}
	return p.flush()
}

// rewrite moves what is live of a block in the tree into new blocks.
func (p *packer) rewrite(number uint64, row blockRow) error {
	raw, _, err := readBlock(p.page, nil, &p.room, number, row)
	if err != nil {
		return err
	}
	members, err := blockMembers(raw)
	if err != nil {
		return err
	}
	for _, m := range members {
		key, ok, err := p.live(number, m)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		newest, err := p.newest(key)
		if err != nil {
			return err
		}
		if err := p.pack(key, raw[m.off:m.off+m.length], newest, false); err != nil {
			return err
		}
	}
	p.moved += uint64(row.place.Len)
	if now, ok := p.settled[number]; ok {
		row = now
	}
	p.changed.add(row, -1)
	p.gone = append(p.gone, number)
	if err := p.b.FreeRecord(row.place); err != nil {
		return err
	}
	return p.b.Delete(blockKey(number))
}

// live returns the row of a live member (rule 1).
func (p *packer) live(number uint64, m memberAt) ([]byte, bool, error) {
	key, ok, err := rowOf(p.page, number, m)
	if ok && p.overlay != nil {
		if _, changed := p.overlay.get(key); changed {
			return nil, false, nil
		}
	}
	return key, ok, err
}

// rowOf returns the row in the tree that refers to a member of a block. In a
// block of an extent the number in a version's key is not the row's (stream.go,
// rule 4): all versions of the pod on the line are looked at.
func rowOf(page *pager.View, number uint64, m memberAt) (key []byte, ok bool, err error) {
	refers := func(env []byte) (bool, error) {
		e, err := decodeEnvelope(env)
		return err == nil && e.how == envPacked && e.block == number && e.off == m.off && e.length == m.length, err
	}
	if number%2 == 0 || m.key[0] != kindVersion || len(m.key) != versionKeyLen {
		env, ok, err := page.Get(m.key)
		if err != nil || !ok {
			return nil, false, err
		}
		ok, err = refers(env)
		return m.key, ok, err
	}
	pod := m.key[:versionKeyLen-8]
	c := page.Seek(pod)
	for ; c.Valid() && bytes.HasPrefix(c.Key(), pod); c.Next() {
		if ok, err := refers(c.Value()); ok || err != nil {
			return bytes.Clone(c.Key()), ok, err
		}
	}
	return nil, false, c.Err()
}

// newest reports whether contents in the tree belong to the current state
// (pack.go, rule 1), as far as the tree knows.
func (p *packer) newest(key []byte) (bool, error) {
	if key[0] != kindVersion || len(key) != versionKeyLen {
		return key[0] == kindShared || key[0] == kindType, nil
	}
	pod := key[:versionKeyLen-8]
	if p.overlay != nil {
		if n := p.overlay.seek(pod); n != nil && bytes.HasPrefix(n.key, pod) && bytes.Compare(n.key, key) < 0 {
			return false, nil
		}
	}
	c := p.page.Seek(pod)
	return c.Valid() && bytes.Equal(c.Key(), key), c.Err()
}

// scan looks at some block rows of the tree from a number on for sparse blocks
// that nobody remembers. It returns where to go on, 0 at the end.
func (p *packer) scan(from uint64) (uint64, error) {
	c := p.page.Seek(blockKey(from))
	for range scanBlocks {
		if !c.Valid() || c.Key()[0] != kindBlock || len(c.Key()) != 9 {
			return 0, c.Err()
		}
		number := be.Uint64(c.Key()[1:])
		row, err := decodeBlockRow(number, c.Value())
		if err != nil {
			return 0, err
		}
		if row.sparse() && p.changes[number] == nil {
			p.found = append(p.found, number)
		}
		from = number + 1
		c.Next()
	}
	return from, c.Err()
}

// sparseBlocks is what checkpoints remember from one to the next (rule 3). Who
// holds the token of checkpoints may use it.
type sparseBlocks struct {
	known   map[uint64]bool
	from    uint64 // block rows from here on were not looked at since Open
	scanned bool   // all were
}

// look lets a packer continue where the checkpoints before it stopped.
func (b *sparseBlocks) look(p *packer) (from uint64, err error) {
	p.known = b.known
	if b.scanned {
		return 0, nil
	}
	return p.scan(b.from)
}

// learn is called when the packer's batch is committed.
func (b *sparseBlocks) learn(p *packer, from uint64) {
	if b.known == nil {
		b.known = map[uint64]bool{}
	}
	for _, n := range p.found {
		b.known[n] = true
	}
	for _, n := range p.gone {
		delete(b.known, n)
	}
	b.from, b.scanned = from, from == 0
}

// forget is learn for a batch that did not look for sparse blocks.
func (b *sparseBlocks) forget(p *packer) {
	for _, n := range p.gone {
		delete(b.known, n)
	}
}
