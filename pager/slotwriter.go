package pager

import (
	"errors"
	"math"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

const defaultMaxReaderAge = time.Hour

// offer is the writer's side of the reader slots. p.mu guards it.
type offer struct {
	fs     vfs.FS
	name   string
	file   vfs.File // nil: text for people only, no slots
	id     [16]byte
	floor  uint64
	maxAge time.Duration
	now    func() time.Time
	taken  int // held slots that the last look honoured
}

// openOffer is W1. It returns nil where the lock file cannot be written; the
// database does not rest on it.
func openOffer(o Options, id [16]byte, floor uint64) *offer {
	f := &offer{fs: o.FS, name: lockName(o.Path), id: id, floor: floor, maxAge: o.MaxReaderAge, now: o.now}
	slots := true
	file, err := openLockFile(o, func(file vfs.File) error {
		err := file.LockRange(boardAt, boardBytes)
		if errors.Is(err, vfs.ErrNotSupported) {
			slots = false
			return nil
		}
		return err
	})
	if err != nil {
		return nil
	}
	text := lockText(o)
	if slots {
		f.file = file
		text = append(text, board{id, floor}.encode()...)
		err = extend(file)
	}
	if err == nil {
		_, err = file.WriteAt(text, 0)
	}
	if err != nil || !slots {
		_ = file.Close()
		f.file = nil
	}
	return f
}

// extend gives a lock file its size.
func extend(file vfs.File) error {
	size, err := file.Size()
	if err != nil || size >= lockFileBytes {
		return err
	}
	return file.Truncate(lockFileBytes)
}

// honour is W2. oldest is the oldest root generation that this process needs
// itself; what comes back is the oldest one that anybody needs, and behind
// which page the file must not be cut for the readers.
func (f *offer) honour(oldest uint64) (generation, pages uint64) {
	if f == nil || f.file == nil {
		return oldest, 0
	}
	held, err := f.held()
	if err != nil {
		return f.floor, math.MaxUint64 // somebody may be there: nothing goes
	}
	f.taken = 0
	kept, late := oldest, oldest
	for _, s := range held {
		switch {
		case s.generation < f.floor: // the board says so already
		case s.generation < oldest && f.tooOld(s):
			late = min(late, s.generation)
		default:
			f.taken++
			kept, pages = min(kept, s.generation), max(pages, s.pages)
		}
	}
	if late < kept && !f.publish(kept) {
		return f.floor, math.MaxUint64
	}
	f.floor = kept
	return kept, pages
}

// held reads the slots that somebody has locked.
func (f *offer) held() ([]slot, error) {
	if any, err := f.file.RangeLocked(slotsAt, slotCount*slotBytes); err != nil || !any {
		return nil, err
	}
	b := make([]byte, slotCount*slotBytes)
	if n, err := f.file.ReadAt(b, slotsAt); n < len(b) {
		return nil, err
	}
	var held []slot
	for i := range slotCount {
		s, ok := decodeSlot(b[i*slotBytes:][:slotBytes])
		if !ok {
			continue
		}
		locked, err := f.file.RangeLocked(slotAt(i), slotBytes)
		if err != nil {
			return nil, err
		}
		if locked {
			held = append(held, s)
		}
	}
	return held, nil
}

// tooOld says that a slot has been held long enough. One from the future was
// written before the clock was set back.
func (f *offer) tooOld(s slot) bool {
	age := f.now().Sub(time.Unix(0, s.since))
	return age > f.maxAge || age < -f.maxAge
}

// publish puts a new floor on the board.
func (f *offer) publish(floor uint64) bool {
	_, err := f.file.WriteAt(board{f.id, floor}.encode(), boardAt)
	return err == nil
}

// close is W3.
func (f *offer) close(remove bool) {
	if f == nil {
		return
	}
	if remove && (f.file == nil || f.file.LockRange(boardAt, lockFileBytes-boardAt) == nil) {
		_ = f.fs.Remove(f.name)
	}
	if f.file != nil {
		_ = f.file.Close()
	}
}
