package mvcc

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/pager"
)

// blockSums adds up all blocks of the page file, in bytes of the file, so that
// Stats need not walk their rows. Each batch that changes block rows notes what
// that changes, and puts the sums into the tree beside them; a file of an older
// program has none, and gets them with the first such batch. Verify counts again.
type blockSums struct {
	blocks    int64
	stored    int64 // of the file, compressed
	dead      int64 // of stored: contents that no row refers to any more
	directory int64 // of stored: all but contents
}

// share is how many bytes of the file the block has for its raw ones.
func (b blockRow) share() blockShare { return blockShare{uint64(b.place.Len), b.raw} }

// add adds a block, n times: -1 takes it away.
func (s *blockSums) add(b blockRow, n int64) {
	share := b.share()
	s.plus(blockSums{n, n * int64(b.place.Len), n * share.of(b.contents-b.liveBytes), n * share.of(b.raw-b.contents)})
}

func (s *blockSums) plus(o blockSums) {
	s.blocks += o.blocks
	s.stored += o.stored
	s.dead += o.dead
	s.directory += o.directory
}

// append writes format 1 and the four sums as uvarints.
func (s blockSums) append(dst []byte) []byte {
	dst = append(dst, 1)
	for _, n := range []int64{s.blocks, s.stored, s.dead, s.directory} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

func decodeBlockSums(b []byte) (blockSums, error) {
	r := binenc.NewReader(b)
	if f := r.Byte(); f != 1 && r.Err() == nil {
		r.Fail("format %d is unknown", f)
	}
	s := blockSums{int64(r.Uvarint()), int64(r.Uvarint()), int64(r.Uvarint()), int64(r.Uvarint())}
	if r.Err() == nil && min(s.blocks, s.stored, s.dead, s.directory) < 0 {
		r.Fail("%+v", s)
	}
	if err := r.End(); err != nil {
		return s, fmt.Errorf("sums of blocks: %w", err)
	}
	return s, nil
}

// foundSums returns the sums that the tree has; ok = false if it has none.
func foundSums(page *pager.View) (s blockSums, ok bool, err error) {
	b, ok, err := page.Get(singleKey(singleSums))
	if err != nil || !ok {
		return s, false, err
	}
	s, err = decodeBlockSums(b)
	return s, err == nil, err
}

// countBlocks adds up the block rows of the tree.
func countBlocks(page *pager.View) (s blockSums, err error) {
	err = walkTree(context.Background(), page, []byte{kindBlock}, func(key, val []byte) error {
		row, err := decodeBlockRow(0, val)
		s.add(row, 1)
		return err
	})
	return s, err
}

// putSums brings the sums up to date with what the batch changed.
func (p *packer) putSums() error {
	if p.changed == (blockSums{}) {
		return nil
	}
	sums, ok, err := foundSums(p.page)
	if err == nil && !ok {
		sums, err = countBlocks(p.page)
	}
	if err != nil {
		return err
	}
	if sums.plus(p.changed); min(sums.blocks, sums.stored, sums.dead, sums.directory) < 0 {
		return corrupt("the sums of all blocks, %+v, are less than a part of them, %+v", sums, p.changed)
	}
	p.sums = &sums
	return p.b.Put(singleKey(singleSums), sums.append(nil))
}

// learnSums is called when the packer's batch is committed.
func (s *Store) learnSums(p *packer) {
	if p.sums != nil {
		s.sums.Store(p.sums)
	}
}
