package mvcc

import (
	"context"
	"errors"

	"github.com/poddb/poddb/internal/dberr"
)

// Room for the next checkpoint. A commit that was answered must be able to get
// into the page file, so before a group is submitted the page file holds space
// for a checkpoint of everything that is not in it yet: what is frozen, what is
// active, what is queued, and the group (pager/reserve.go). If the disk has no
// such space that group is refused, and nothing else happens.
//
// More is asked for than needed, so that the page file is asked rarely; after a
// checkpoint the rest is given back.
//
// What a checkpoint writes: each row with its key and value into the tree, at
// most, and once more into a block if it has contents; of the longest block the
// pager wants to know twice.
//
// Ordinary commits leave a spare on top of that, which only retention may use:
// on a full disk pruning is what frees space, and it writes rows first.

// reserveStep is the least by which a reserve grows, in bytes.
const reserveStep = 64 << 10

// checkpointBytes is the most that a checkpoint of these rows writes; bytes are
// those of keys and values.
func (s *Store) checkpointBytes(rows, bytes int64) int64 {
	const directory = 32 // of a block, for each member
	blocks := bytes + directory*rows
	longest := min(blocks, s.o.streamFrom+coldBytes)
	return s.pager.TreeBytes(rows, bytes) + blocks + longest
}

// uncheckpointed returns the rows, and their bytes, that are not in the page file.
// What is queued is looked at first: a group that is applied meanwhile is counted
// twice then, and never not at all.
func (s *Store) uncheckpointed() (rows, bytes int64) {
	rows, bytes = s.seq.rows.Load(), s.seq.bytes.Load()
	la := s.layers.Load()
	for _, o := range [2]*overlay{la.active, la.frozen} {
		if o != nil {
			rows += o.entries.Load()
			bytes += o.bytes.Load()
		}
	}
	return rows, bytes
}

// spare is what is kept for retention.
func (s *Store) spare() int64 {
	const least, part = 256 << 10, 64
	return least + s.pager.Size()/part
}

// reserve makes room for the checkpoint of one more group; the token is held.
func (s *Store) reserve(c *queued) error {
	rows, bytes := s.uncheckpointed()
	need := s.checkpointBytes(rows+c.rows, bytes+c.bytes)
	if c.g.kind != groupUpkeep {
		need += s.spare()
	}
	if need <= s.seq.reserved {
		return nil
	}
	ample := need + max(need/4, reserveStep)
	err := s.pager.Reserve(ample)
	if errors.Is(err, dberr.ErrDiskFull) {
		ample = need
		err = s.pager.Reserve(ample)
	}
	if errors.Is(err, dberr.ErrDiskFull) && c.g.kind == groupUpkeep && need < s.freeBytes() {
		return nil
	}
	if errors.Is(err, dberr.ErrDiskFull) {
		s.cramped()
	}
	if err != nil {
		return s.extentError(err)
	}
	s.seq.reserved = ample
	return nil
}

// cramped has the background make room, because the disk is full: what is in the
// log and in overlays takes less in the page file, where it has its reserve, and a
// log that no meta needs may be large. So writing goes on, for a while, without
// anybody's doing.
func (s *Store) cramped() {
	if s.o.CheckpointBytes >= 0 {
		s.check.cramped.Store(true)
		s.wakeCheckpointer()
	}
}

// makeRoom checkpoints and lets go of the log and the free end of the file, if there
// is anything to gain.
func (s *Store) makeRoom(ctx context.Context) error {
	rows, _ := s.uncheckpointed()
	if st := s.pager.State(); rows == 0 && st.OldestLog == st.LogPos {
		return nil
	}
	if err := s.checkpoint(ctx, false); err != nil {
		return err
	}
	return s.dropLog(ctx)
}

// freeBytes are those of pages that the next checkpoint may use, wherever they
// lie. That is enough for retention on a full disk: it writes no long records,
// which alone need adjacent pages.
func (s *Store) freeBytes() int64 {
	st := s.pager.Stats()
	return int64(st.FreePages-min(st.FreePages, st.HeldPages+st.ExtentPages)) * int64(s.pager.State().PageSize)
}

// relax gives back what the last checkpoint no longer needs, unless somebody is
// sequencing, who will ask for more soon.
func (s *Store) relax() {
	select {
	case <-s.seq.token:
	default:
		return
	}
	defer s.release()
	if need := s.checkpointBytes(s.uncheckpointed()) + s.spare(); need < s.seq.reserved && s.writable() == nil {
		if s.pager.Reserve(need) == nil {
			s.seq.reserved = need
		}
	}
}
