package pager

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// reader is the reader's side of the reader slots.
type reader struct {
	fs   vfs.FS
	name string
	file vfs.File // nil: no slot
	at   int64    // of the slot
	slot slot
	id   [16]byte
}

// takeSlot is R1. Without a slot the reader goes on.
func takeSlot(o Options) *reader {
	r := &reader{fs: o.FS, name: lockName(o.Path)}
	r.slot = slot{since: o.now().UnixNano(), pid: uint32(os.Getpid())}
	file, err := openLockFile(o, func(file vfs.File) error {
		for i := range slotCount {
			r.at = slotAt(i)
			if err := file.LockRange(r.at, slotBytes); !errors.Is(err, vfs.ErrLocked) {
				return err
			}
		}
		if whole, err := file.RangeLocked(boardAt, boardBytes); err == nil && whole {
			return errNoSlots // a writer is there, so they are not just being removed
		}
		return vfs.ErrLocked
	})
	if err == nil {
		r.file = file
	}
	return r
}

// enter is the write of R2.
func (r *reader) enter(m *meta) {
	r.id, r.slot.generation, r.slot.pages = m.databaseID, m.rootGeneration, m.pages
	if r.file == nil {
		return
	}
	err := extend(r.file)
	if err == nil {
		_, err = r.file.WriteAt(r.slot.encode(), r.at)
	}
	if err != nil {
		r.close()
		r.file = nil
	}
}

// close gives up the slot. The lock file of a database that nobody has open is
// removed as a writer does it (W3).
func (r *reader) close() {
	if r.file == nil {
		return
	}
	if r.file.LockRange(boardAt, lockFileBytes-boardAt) == nil {
		if same, err := r.file.SameFile(r.name); err == nil && same {
			_ = r.fs.Remove(r.name)
		}
	}
	_ = r.file.Close()
}

// kept reports what the board says about the root: that it is not kept any
// more, that it is, or, without a live board, neither. The order matters: a
// writer that opens the file locks a board that may still be its forerunner's,
// and floors of one database only rise.
func (r *reader) kept() (gone, kept bool) {
	if r.file == nil {
		return false, false
	}
	if locked, err := r.file.RangeLocked(boardAt, boardBytes); err != nil || !locked {
		return false, false
	}
	b := make([]byte, boardBytes)
	for range rereads { // one may be the middle of a write
		if n, _ := r.file.ReadAt(b, boardAt); n < len(b) {
			break
		}
		if d, ok := decodeBoard(b); ok {
			ours := d.databaseID == r.id
			return ours && d.floor > r.slot.generation, ours && d.floor <= r.slot.generation
		}
	}
	return false, false
}

func (r *reader) tooOld() error {
	return fmt.Errorf("%w: generation %d of its file", dberr.ErrSnapshotTooOld, r.slot.generation)
}

// judge says what a failed read of a reader means (questions a to d); a nil
// error stays nil unless the root has expired.
func (p *Pager) judge(err error) error {
	r := p.reader
	if r == nil || err != nil && !errors.Is(err, dberr.ErrCorrupt) {
		return err
	}
	if gone, _ := r.kept(); gone {
		return r.tooOld()
	}
	if err == nil {
		return nil
	}
	if in, failed := p.inRoots(r.slot.generation); in || failed != nil {
		return err
	}
	if _, kept := r.kept(); kept {
		return err
	}
	return r.tooOld()
}

// rereads is how often a reader looks again at what a writer may have been
// writing while it looked.
const rereads = 100

// readMetas reads both meta slots of a file that may be written meanwhile. What
// does not fit together is read again before it is called damaged.
func (p *Pager) readMetas() (q *Pager, newest meta, err error) {
	for range rereads {
		q = &Pager{file: p.file, path: p.path}
		var size int64
		if size, err = p.file.Size(); err != nil {
			return nil, meta{}, err
		}
		newest, err = q.chooseMeta(size)
		if err == nil && q.damage == "" {
			break
		}
	}
	return q, newest, err
}

// inRoots reports whether a root generation is in one of the metas.
func (p *Pager) inRoots(generation uint64) (bool, error) {
	q, _, err := p.readMetas()
	if err != nil {
		return false, err
	}
	for i := range q.slots {
		if q.slots[i].generation != 0 && q.slots[i].rootGeneration == generation {
			return true, nil
		}
	}
	return false, nil
}

// openInspect opens the file beside whoever writes it.
func openInspect(ctx context.Context, o Options) (*Pager, error) {
	file, err := o.FS.Open(o.Path, 0)
	if err != nil {
		return nil, err
	}
	p := &Pager{fs: o.FS, file: file, path: o.Path, readOnly: true, reader: takeSlot(o)}
	if err := p.enter(ctx, o); err != nil {
		p.reader.close()
		return nil, dberr.Join(err, file.Close())
	}
	return p, nil
}

// enter is R2 and R3, and takes over what the metas say.
func (p *Pager) enter(ctx context.Context, o Options) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		q, m, err := p.readMetas()
		if err != nil {
			return err
		}
		p.reader.enter(&m)
		if in, err := p.inRoots(m.rootGeneration); err != nil {
			return err
		} else if !in {
			continue
		}
		size, err := p.file.Size()
		if err != nil {
			return err
		}
		p.slots, p.damage = q.slots, q.damage
		return p.adopt(o, m, size)
	}
}

// Moved reports whether the file has a newer root, log position or clean flag
// than the one that this pager was opened with to inspect it.
func (p *Pager) Moved() (bool, error) {
	_, m, err := p.readMetas()
	if err != nil {
		return false, err
	}
	return m.generation != p.State().Generation, nil
}

// Attended reports whether a writer may have the inspected file open: one does
// where there are reader slots; without a slot nobody can tell.
func (p *Pager) Attended() bool {
	if p.reader == nil || p.reader.file == nil {
		return true
	}
	locked, err := p.reader.file.RangeLocked(boardAt, boardBytes)
	return err != nil || locked
}
