package mvcc

import (
	"bytes"

	"github.com/poddb/poddb/pager"
)

// Reading what rows stand for.

// open returns what an envelope holds.
func (v *view) open(env []byte) ([]byte, error) {
	e, err := decodeEnvelope(env)
	if err != nil {
		return nil, err
	}
	return v.openDecoded(e)
}

func (v *view) openDecoded(e envelope) ([]byte, error) {
	switch e.how {
	case envInline:
		return e.data, nil
	case envPacked:
		return v.packed(e)
	case envLost:
		return nil, errLost
	}
	return nil, corrupt("a tombstone where contents were expected")
}

// packed returns a member of a block.
func (v *view) packed(e envelope) ([]byte, error) {
	raw, err := v.block(e.block)
	if err != nil {
		return nil, err
	}
	return e.member(raw)
}

// member returns what an envelope names of its block.
func (e *envelope) member(raw []byte) ([]byte, error) {
	if e.off > uint64(len(raw)) || e.length > uint64(len(raw))-e.off {
		return nil, corrupt("member %d+%d is outside block %d of %d bytes", e.off, e.length, e.block, len(raw))
	}
	return raw[e.off : e.off+e.length : e.off+e.length], nil
}

// block returns the raw bytes of a block, which must not be changed. A view
// keeps the last one: neighbours are asked for one after the other. The cache
// and recent keep those with several members; a number never comes back, so what they
// have is right for ever.
func (v *view) block(number uint64) ([]byte, error) {
	if last := v.last.Load(); last != nil && last.number == number {
		return last.raw, nil
	}
	raw, err := v.findBlock(number)
	if err == nil {
		v.last.Store(&rawBlock{number, raw})
	}
	return raw, err
}

// findBlock is block for one that is not asked for again.
func (v *view) findBlock(number uint64) ([]byte, error) {
	if raw, ok := v.atHand(number); ok {
		return raw, nil
	}
	row, err := v.blockRow(number)
	if err != nil {
		return nil, err
	}
	if v.near != nil {
		v.last.Store(nil) // it may lie in the memory that is read into
		return v.near.read(v.pv, number, row)
	}
	return v.readKept(number, row)
}

// atHand returns a block that need not be read.
func (v *view) atHand(number uint64) (raw []byte, ok bool) {
	if raw, ok = v.near.get(number); ok {
		return raw, true
	}
	if raw, ok = v.s.blocks.Get(number); ok || v.near != nil {
		return raw, ok
	}
	return v.s.recent.get(number)
}

// readKept reads a block, and keeps it for the next reader.
func (v *view) readKept(number uint64, row blockRow) ([]byte, error) {
	raw, err := v.s.readAlone(v.pv, number, row)
	if err == nil && (row.members > 1 || len(raw) <= 2*tinyBytes) { // alone in it is what was written often
		v.s.blocks.Set(number, raw, int64(len(raw)))
		v.s.recent.put(number, raw)
	}
	return raw, err
}

func (v *view) blockRow(number uint64) (blockRow, error) {
	b, ok, err := v.get(blockKey(number))
	if err != nil {
		return blockRow{}, err
	}
	if !ok {
		return blockRow{}, corrupt("block %d is missing", number)
	}
	return decodeBlockRow(number, b)
}

// keep returns b in memory of its own, unless it is long: a pod in the cache
// must not hold the block or page that it was read from.
func keep(b []byte) []byte {
	if len(b) >= aloneMin {
		return b
	}
	return bytes.Clone(b)
}

type rawBlock struct {
	number uint64
	raw    []byte
}

// nearBlocks are the blocks that were read last by somebody who goes over many
// rows in the order of keys. Each checkpoint has put its rows into blocks in that order, so few
// blocks at a time are needed, and no one again; the cache is for what others need.
type nearBlocks struct {
	room unpacking
	list [nearMax]nearBlock
	next int
}

type nearBlock struct {
	rawBlock
	stored []byte // as in the file; raw may be a part of it
}

const nearMax = 32

func (n *nearBlocks) get(number uint64) ([]byte, bool) {
	if n == nil {
		return nil, false
	}
	for i := range n.list {
		if b := &n.list[i]; b.number == number && b.raw != nil {
			return b.raw, true
		}
	}
	return nil, false
}

// read reads a block, and keeps it in place of another one unless it is long. Nobody keeps parts of near
// blocks beyond the row that they were read for, so their memory is used again.
func (n *nearBlocks) read(pv *pager.View, number uint64, row blockRow) ([]byte, error) {
	b := &n.list[n.next]
	spare := b.stored
	*b = nearBlock{}
	raw, stored, err := readBlock(pv, spare, &n.room, number, row)
	if err == nil && max(len(raw), cap(stored)) <= 2*coldBytes {
		*b = nearBlock{rawBlock{number, raw}, stored}
		n.next = (n.next + 1) % nearMax
	}
	return raw, err
}

// readBlock reads a block from the file, into the memory of spare if it can. It returns what is
// stored, too, which raw may be a part of.
func readBlock(pv *pager.View, spare []byte, room *unpacking, number uint64, row blockRow) (raw, stored []byte, err error) {
	if stored, err = pv.ReadRecordInto(spare, row.place); err != nil {
		return nil, nil, err
	}
	no, raw, err := decodeBlock(stored, room)
	if err != nil {
		return nil, nil, err
	}
	if err := row.expect(number, no, raw); err != nil {
		return nil, nil, err
	}
	return raw, stored, nil
}

// expect compares what was read with the row that it was read by, that of a numbered block.
func (b *blockRow) expect(number, found uint64, raw []byte) error {
	if found != number || uint64(len(raw)) != b.raw {
		return corrupt("block %d of %d bytes where block %d of %d was expected", found, len(raw), number, b.raw)
	}
	return nil
}

// blockRoom is memory for reading one block at a time.
type blockRoom struct {
	stored []byte
	unpacking
}

// blockRoom returns one that nobody uses.
func (s *Store) blockRoom() *blockRoom {
	if b, _ := s.rooms.Get().(*blockRoom); b != nil {
		return b
	}
	return new(blockRoom)
}

// readAlone is readBlock into memory that nothing else is in. What is stored is read into memory that is used
// again, unless the raw bytes are a part of it.
func (s *Store) readAlone(pv *pager.View, number uint64, row blockRow) ([]byte, error) {
	room := s.blockRoom()
	defer s.rooms.Put(room)
	raw, stored, err := readBlock(pv, room.stored, &room.unpacking, number, row)
	room.stored = nil
	if err != nil {
		return nil, err
	}
	switch within := len(raw) > 0 && &raw[len(raw)-1] == &stored[len(stored)-1]; {
	case within && cap(stored) > len(raw)+len(raw)/4: // it would keep all of that memory
		raw = bytes.Clone(raw)
		fallthrough
	case !within:
		if cap(stored) <= 2*coldBytes {
			room.stored = stored
		}
	}
	return raw, nil
}

// fetch gets a row and opens its envelope.
func (v *view) fetch(key []byte) ([]byte, bool, error) {
	env, ok, err := v.get(key)
	if !ok || err != nil {
		return nil, false, err
	}
	b, err := v.open(env)
	return b, err == nil, err
}
