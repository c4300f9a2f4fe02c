package pager

import (
	"fmt"
	"math"

	"github.com/poddb/poddb/internal/dberr"
)

// Records are packed back to back, at byte offsets, into runs of fresh pages.
// A record may cross pages of its run. Each record page knows how many of its
// bytes are dead: those that no record got, and those of freed records. A page
// whose bytes are all dead is free.

// recordRun is the run that records are being packed into.
type recordRun struct {
	out  pageWriter
	run  run
	end  uint64   // byte offset behind the last record; 0 = no run
	live []uint32 // live bytes of each page of the run
}

const runBytes = 1 << 20 // of a run, unless a record is longer

// Record stores bytes and returns their place. They can be read after Commit.
func (b *Batch) Record(data []byte) (Place, error) {
	if err := b.usable(); err != nil {
		return Place{}, err
	}
	if len(data) == 0 {
		return Place{}, nil
	}
	if uint64(len(data)) > math.MaxUint32 {
		return Place{}, fmt.Errorf("%w: record of %d bytes", dberr.ErrTooLarge, len(data))
	}
	pl, err := b.records.add(data)
	return pl, b.broken(err)
}

// FreeRecord gives back the bytes of a record that the new root does not
// need. The page file keeps no list of records: to free one twice is found
// out only where its page has too few live bytes left.
func (b *Batch) FreeRecord(pl Place) error {
	if err := b.usable(); err != nil {
		return err
	}
	return b.broken(b.freeRecord(pl))
}

func (r *recordRun) add(data []byte) (Place, error) {
	b := r.out.b
	ps := uint64(b.p.pageSize)
	n := uint64(len(data))
	if r.end == 0 || n > (r.run.start+r.run.n)*ps-r.end {
		if err := r.close(); err != nil {
			return Place{}, err
		}
		need := (n + ps - 1) / ps
		got, err := b.takeRun(need, max(need, runBytes/ps))
		if err != nil {
			return Place{}, err
		}
		r.run, r.end, r.live = got, got.start*ps, make([]uint32, got.n)
	}
	pl := Place{Off: r.end, Len: uint32(n), CRC: sum(data)}
	if err := r.out.write(data, int64(r.end)); err != nil {
		return Place{}, err
	}
	r.end += n
	for no, k := range overlaps(pl, ps) {
		r.live[no-r.run.start] += uint32(k)
	}
	return pl, nil
}

// close writes what is buffered and accounts the run's pages. Those without
// live bytes can be used again at once.
func (r *recordRun) close() error {
	if r.end == 0 {
		return nil
	}
	if err := r.out.flush(); err != nil {
		return err
	}
	b := r.out.b
	for i, live := range r.live {
		no := r.run.start + uint64(i)
		if live == 0 {
			b.alloc.give(no, 1)
			continue
		}
		b.edit.takeRecord(no, b.p.pageSize-int(live))
		b.fresh.add(no, 1)
	}
	r.run, r.end, r.live = run{}, 0, nil
	return nil
}

// overlaps yields each page of a place and how many of its bytes lie there.
func overlaps(pl Place, pageSize uint64) func(func(uint64, int) bool) {
	return func(yield func(uint64, int) bool) {
		for off, end := pl.Off, pl.Off+uint64(pl.Len); off < end; {
			next := min((off/pageSize+1)*pageSize, end)
			if !yield(off/pageSize, int(next-off)) {
				return
			}
			off = next
		}
	}
}

func (b *Batch) freeRecord(pl Place) error {
	if pl.Len == 0 {
		return nil
	}
	ps := uint64(b.p.pageSize)
	if !pl.within(firstPage(b.p.pageSize)*ps, b.p.size.Load()*ps) {
		return b.p.corrupt(-1, "freed record place %s is outside the file", pl)
	}
	for no, n := range overlaps(pl, ps) {
		if r := &b.records; r.end != 0 && no >= r.run.start && no < r.run.start+r.run.n {
			if int(r.live[no-r.run.start]) < n {
				return b.freedTwice(pl, no)
			}
			r.live[no-r.run.start] -= uint32(n)
			continue
		}
		full, ok := b.edit.kill(no, n, b.p.pageSize)
		if !ok {
			return b.freedTwice(pl, no)
		}
		if full {
			if err := b.release(no); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Batch) freedTwice(pl Place, no uint64) error {
	return b.p.corrupt(int64(pl.Off), "freed record place %s: page %d holds not that many live bytes", pl, no)
}
