package mvcc

import (
	"bytes"
	"context"

	"github.com/poddb/poddb/pager"
)

// SpaceReport says where the bytes of the database are: what the page file
// holds as of the last checkpoint, and what waits for the next one. Contents in
// blocks count as their share of the compressed block.
type SpaceReport struct {
	// Live are pod versions that are the newest of their pod on their line,
	// History those that were replaced there.
	Live, History ContentSpace
	Shared        ContentSpace // bodies that several versions have in common
	Commits       ContentSpace // commits, their pod ids, aggregates
	Types         ContentSpace
	// Dead are bytes in blocks that no row refers to any more, and Directory what
	// blocks need beside their contents.
	Dead, Directory int64
	Blocks, Stored  int64 // number of blocks, and their bytes
	// Rows are the bytes of keys and values in the index, contents that lie there
	// included; Index are its pages.
	Rows, Index int64
	// Records are pages of blocks. What lies unused between blocks, and the map of
	// free pages, is Records minus Stored.
	Records, Free, File int64
	Log, Overlay        int64 // not yet in the page file
}

// ContentSpace is one class of contents.
type ContentSpace struct {
	Rows   int64 // rows of the index
	Raw    int64 // bytes before compression by blocks
	Stored int64 // bytes in blocks
	Inline int64 // bytes in the index
}

// SpaceReport walks the whole index of the page file: it takes as long as
// reading that does. It matches ErrClosed or ErrCorrupt, or is ctx's error.
func (s *Store) SpaceReport(ctx context.Context) (_ SpaceReport, err error) {
	v, err := s.view()
	if err != nil {
		return SpaceReport{}, err
	}
	defer v.close()
	ctx, end := s.lasting(ctx, &s.scans)
	defer func() { err = end(err) }()
	w := spaceWalk{shares: map[uint64]blockShare{}}
	if err := w.blocks(ctx, v.pv); err != nil {
		return SpaceReport{}, err
	}
	if err := w.rows(ctx, v.pv); err != nil {
		return SpaceReport{}, err
	}
	r := &w.report
	r.Blocks, r.Stored, r.Dead, r.Directory = w.sums.blocks, w.sums.stored, w.sums.dead, w.sums.directory
	pg := s.pager.Stats()
	pageSize := int64(s.pager.State().PageSize)
	r.Index, r.Records = int64(pg.TreePages)*pageSize, int64(pg.RecordPages)*pageSize
	r.Free, r.File = int64(pg.FreePages)*pageSize, int64(pg.FileBytes)
	r.Overlay = v.la.bytes()
	r.Log = s.logBytes()
	return *r, nil
}

// spaceWalk adds up rows.
type spaceWalk struct {
	report SpaceReport
	shares map[uint64]blockShare
	sums   blockSums
	pod    []byte // pod and line of the version row before
}

// blockShare is how many bytes of the file a block has for its raw ones.
type blockShare struct{ stored, raw uint64 }

func (b blockShare) of(n uint64) int64 { return int64(n * b.stored / max(b.raw, 1)) }

// walkTree calls fn for the rows of the page file whose keys begin with prefix.
// Key and value are valid during the call.
func walkTree(ctx context.Context, pv *pager.View, prefix []byte, fn func(key, val []byte) error) error {
	from := prefix
	if len(from) == 0 {
		from = []byte{0}
	}
	rows := 0
	c := pv.Seek(from)
	for ; c.Valid() && bytes.HasPrefix(c.Key(), prefix); c.Next() {
		if rows++; rows%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if err := fn(c.Key(), c.Value()); err != nil {
			return err
		}
	}
	return c.Err()
}

func (w *spaceWalk) blocks(ctx context.Context, pv *pager.View) error {
	return walkTree(ctx, pv, []byte{kindBlock}, func(key, val []byte) error {
		if len(key) != 9 {
			return corrupt("block key %x", key)
		}
		number := be.Uint64(key[1:])
		row, err := decodeBlockRow(number, val)
		if err != nil {
			return err
		}
		w.shares[number] = row.share()
		w.sums.add(row, 1)
		return nil
	})
}

func (w *spaceWalk) rows(ctx context.Context, pv *pager.View) error {
	return walkTree(ctx, pv, nil, func(key, val []byte) error {
		w.report.Rows += int64(len(key) + len(val))
		class := w.class(key)
		if class == nil {
			return nil
		}
		class.Rows++
		e, err := decodeEnvelope(val)
		if err != nil {
			return err
		}
		class.Raw += int64(e.length) + int64(len(e.data))
		class.Inline += int64(len(e.data))
		if e.how == envPacked {
			class.Stored += w.shares[e.block].of(e.length)
		}
		return nil
	})
}

// class returns what a row with an envelope belongs to.
func (w *spaceWalk) class(key []byte) *ContentSpace {
	r := &w.report
	switch key[0] {
	case kindVersion:
		if len(key) != versionKeyLen {
			return &r.History
		}
		pod := key[:versionKeyLen-8]
		if bytes.Equal(pod, w.pod) {
			return &r.History
		}
		w.pod = append(w.pod[:0], pod...)
		return &r.Live
	case kindShared:
		return &r.Shared
	case kindCommit, kindAggregate:
		return &r.Commits
	case kindType:
		return &r.Types
	}
	return nil
}
