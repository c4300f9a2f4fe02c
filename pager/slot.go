package pager

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// Reader slots let other processes read a page file beside the one that writes
// it. An inspector opens the file without its lock, chooses a root, and says so
// in a slot of the lock file <path>.lock; the writer keeps the pages of that
// root until the slot is given up, or too old.
//
// The lock file, 4096 bytes, little endian:
//
//	  0  256  text for people: pid=…, since=…, each in a line; zeros
//	256    8  magic of the board                                  (the writer's)
//	264   16  database id
//	280    8  floor: roots of older generations are not kept
//	508    4  CRC-32C of bytes 256..508
//	512   64  slot 0: 8 root generation, 8 pages of that root, 8 since
//	          (nanoseconds since 1970), 4 pid, zeros, at 60 CRC-32C of the rest
//	576   64  slot 1, and so on: 56 slots                       (each its reader's)
//
// Definitions. A slot is held while a handle has its bytes locked; the system
// drops the lock when the process dies. A board is live while its bytes are
// locked, which only a writer does, for as long as it has the file open. A
// root is kept while no page of T(root) is overwritten or cut off. Roots is the
// root generations in the two meta slots; they only ever grow, and both are
// kept (invariant 2 of pager.go). The floor of a writer is the lowest
// generation from which on it knows what every generation freed: when it opens
// the file the lower one of roots, later what the last release found.
//
// The reader (slotreader.go):
//
//	R1 opens the lock file, made if there is none, locks a free slot, and asks
//	   whether the name still leads to the file that it locked; if not, again.
//	R2 reads the metas and writes the newest root generation r into the slot.
//	R3 reads the metas again. If r is not in roots any more, R2 again.
//
// The writer (slotwriter.go):
//
//	W1 at Open, with the database locked: locks the board, asks whether the name
//	   still leads to the file, and writes the board with its floor.
//	W2 whenever it makes usable what roots freed (Pager.release), and before it
//	   cuts the file at Close: reads the slots. Each that is held with r ≥ floor
//	   and is not too old keeps r, like a View. If a held one is not kept, the
//	   board gets the new floor first; if that cannot be written, the slot is
//	   honoured however old it is.
//	W3 at Close: locks board and slots as a whole. Only if it gets them, so only
//	   if nobody reads, it removes the file while it has them.
//
// Why no page that a slot needs is overwritten while the slot is honoured:
//
//  1. Let the last release before the slot was written be L. After R3 the
//     pages that L made usable may still be written. R3 found r in roots. If r was
//     published before L, it was in roots at L, and L made nothing usable that
//     r needs. If it was published after L, nothing that was freed since is usable.
//  2. A release after the slot was written sees it: reads and writes of one
//     file are one order for all processes of a machine. r ≥ floor holds, because
//     r was in roots after the slot was written, and a floor is never above the
//     roots of its time.
//  3. To keep r a writer must know what each later generation freed. That list
//     (Pager.pending) begins at the floor.
//  4. A new writer knows only what the newest root freed, so its floor is the
//     lower one of roots, and a slot below is refused, on the board, before
//     its first batch. A reader that began while nobody had the file open has
//     the newest root, so it is kept.
//  5. A writer that is gone overwrites nothing. What it cuts off at Close is
//     behind the pages of every slot that it honours, and behind what was freed
//     and is held for them: extents that a reader knows from the log.
//  6. Nobody sits in a lock file that the next writer does not see: it is
//     removed only under a lock of all slots (W3), and whoever locks a slot, or
//     the board, afterwards finds that the name leads elsewhere (R1, W1).
//  7. The board belongs to the file that it stands beside: it names the database,
//     and is believed only while it is live. What a writer that died left there
//     says nothing.
//
// What a reader makes of bad bytes (a wrong checksum, the file's end): it asks
// in this order, after the read.
//
//	a. The board is live and its floor above r: ErrSnapshotTooOld. The floor was
//	   there before the first page was reused (W2).
//	b. r is in roots: nobody wrote those pages (invariant 2). Corrupt.
//	c. The slot is held, the board is live and its floor not above r: r is
//	   kept. Corrupt.
//	d. Otherwise nobody keeps r, and nobody can tell: ErrSnapshotTooOld.
//
// Without a slot (the file system has no locks of ranges, the directory may not
// be written, all slots are taken, or a file that is not ours has the name) a
// reader goes on with b and d alone: right data or an error, but not for longer
// than two checkpoints. A reader asks a also after each good read of the file,
// so that what it returns rests on the protocol and not on 32 bits of checksum;
// what it has in its cache is right for ever.
//
// Nothing is synced: after a power cut there are no readers.
const (
	lockTextBytes = 256
	boardAt       = lockTextBytes
	boardBytes    = 256
	slotsAt       = boardAt + boardBytes
	slotBytes     = 64
	slotCount     = 56
	lockFileBytes = slotsAt + slotCount*slotBytes

	boardMagic = "podslots"

	// slotTries bounds how often an opener meets a lock file that is just being
	// removed; that takes its remover a few system calls.
	slotTries = 10000
)

// board is what a writer tells its readers.
type board struct {
	databaseID [16]byte
	floor      uint64
}

func (d board) encode() []byte {
	b := make([]byte, boardBytes)
	le := binary.LittleEndian
	copy(b, boardMagic)
	copy(b[8:], d.databaseID[:])
	le.PutUint64(b[24:], d.floor)
	le.PutUint32(b[boardBytes-4:], sum(b[:boardBytes-4]))
	return b
}

func decodeBoard(b []byte) (board, bool) {
	le := binary.LittleEndian
	if len(b) != boardBytes || string(b[:len(boardMagic)]) != boardMagic || le.Uint32(b[boardBytes-4:]) != sum(b[:boardBytes-4]) {
		return board{}, false
	}
	d := board{floor: le.Uint64(b[24:])}
	copy(d.databaseID[:], b[8:])
	return d, true
}

// slot is what a reader tells the writer.
type slot struct {
	generation uint64 // of the root that it reads
	pages      uint64 // of that root
	since      int64  // nanoseconds since 1970
	pid        uint32
}

func (s slot) encode() []byte {
	b := make([]byte, slotBytes)
	le := binary.LittleEndian
	le.PutUint64(b, s.generation)
	le.PutUint64(b[8:], s.pages)
	le.PutUint64(b[16:], uint64(s.since))
	le.PutUint32(b[24:], s.pid)
	le.PutUint32(b[slotBytes-4:], sum(b[:slotBytes-4]))
	return b
}

// decodeSlot reports false for one that was never written, or is just being
// written: its reader has not come to R3.
func decodeSlot(b []byte) (slot, bool) {
	le := binary.LittleEndian
	s := slot{generation: le.Uint64(b), pages: le.Uint64(b[8:]), since: int64(le.Uint64(b[16:])), pid: le.Uint32(b[24:])}
	return s, s.generation != 0 && le.Uint32(b[slotBytes-4:]) == sum(b[:slotBytes-4])
}

func slotAt(i int) int64 { return slotsAt + int64(i)*slotBytes }

// errNoSlots says that the lock file cannot hold slots; nothing rests on it.
var errNoSlots = errors.New("no reader slots")

// openLockFile opens the lock file, takes what lock takes in it, and makes sure
// that its name still leads to it (R1, W1). What lock returns goes to the
// caller, except that a lock held by somebody who removes the file is waited
// for.
func openLockFile(o Options, lock func(vfs.File) error) (vfs.File, error) {
	var last error
	for range slotTries {
		file, err := o.FS.Open(lockName(o.Path), vfs.ReadWrite|vfs.Create)
		if err != nil {
			return nil, err
		}
		if !isLockFile(file) {
			return nil, dberr.Join(fmt.Errorf("%w: %s is not ours", errNoSlots, lockName(o.Path)), file.Close())
		}
		last = lock(file)
		if last != nil && !errors.Is(last, vfs.ErrLocked) {
			return nil, dberr.Join(last, file.Close())
		}
		same, err := file.SameFile(lockName(o.Path))
		switch {
		case err != nil:
			return nil, dberr.Join(err, file.Close())
		case same && last == nil:
			return file, nil
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
		runtime.Gosched()
	}
	return nil, dberr.Join(errNoSlots, last)
}
