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

// recordRun packs records into a run of pages, and then into the next.
type recordRun struct {
	out    pageWriter
	source pageSource
	run    run
	end    uint64   // byte offset behind the last record; 0 = no run
	live   []uint32 // live bytes of each page of the run
	taken  uint64   // pages of all runs
}

// pageSource gives a recordRun its pages, and learns what became of them.
type pageSource interface {
	takeRun(w want) (run, error)
	extendRun(end, n uint64) uint64 // adjacent pages behind end, as many as there are
	closeRun(r run, live []uint32)
}

const (
	runBytes    = 1 << 20 // of a run, unless a record is longer
	preferPages = 16      // a run shorter than that wastes more in its last page
)

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
	n := uint64(len(data))
	if err := r.room(n); err != nil {
		return Place{}, err
	}
	pl := Place{Off: r.end, Len: uint32(n), CRC: sum(data)}
	if err := r.out.write(data, int64(r.end)); err != nil {
		return Place{}, err
	}
	r.claim(n)
	return pl, nil
}

// room makes sure that n more bytes fit the run: they do, or there are usable
// pages behind it, or a new run begins. A few records take whatever hole there
// is, many prefer longer ones.
func (r *recordRun) room(n uint64) error {
	ps := uint64(r.out.p.pageSize)
	if r.end != 0 {
		have := (r.run.start+r.run.n)*ps - r.end
		if n <= have {
			return nil
		}
		need := (n - have + ps - 1) / ps
		got := r.source.extendRun(r.run.start+r.run.n, max(need, runBytes/ps))
		r.run.n += got
		r.taken += got
		r.live = append(r.live, make([]uint32, got)...)
		if got >= need {
			return nil
		}
	}
	if err := r.close(); err != nil {
		return err
	}
	need := (n + ps - 1) / ps
	got, err := r.source.takeRun(want{need: need, most: max(need, runBytes/ps), prefer: min(r.taken, preferPages)})
	if err != nil {
		return err
	}
	r.run, r.end, r.live = got, got.start*ps, make([]uint32, got.n)
	r.taken += got.n
	return nil
}

// close writes what is buffered and ends the run.
func (r *recordRun) close() error {
	if r.end == 0 {
		return nil
	}
	if err := r.out.flush(); err != nil {
		return err
	}
	r.source.closeRun(r.run, r.live)
	r.run, r.end, r.live = run{}, 0, nil
	return nil
}

// closeRun accounts the pages of a run. Those without live bytes can be used
// again at once.
func (b *Batch) closeRun(r run, live []uint32) {
	for i, n := range live {
		no := r.start + uint64(i)
		if n == 0 {
			b.fresh.remove(no)
			b.p.alloc.give(no, 1, false)
			continue
		}
		b.edit.takeRecord(no, b.p.pageSize-int(n))
	}
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
