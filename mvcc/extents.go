package mvcc

import (
	"context"
	"errors"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
	"github.com/poddb/poddb/wal"
)

// Extents in recovery. The blocks that a group of the log names are read before
// the group is believed: at the weaker durability levels a power cut may leave
// the group and not them. Then the log ends before it (wal.ErrGroupLost), or is
// damaged if something proves that it was synced. What is believed is reserved
// before anything is allocated in the page file.

// namedPlace is a block that a replayed group names.
type namedPlace struct {
	end   wal.LSN // of the group
	place pager.Place
}

// replayExtents reads and reserves the blocks of one group.
func (s *Store) replayExtents(g *group, end wal.LSN) error {
	var blocks []blockRow
	for _, p := range g.puts {
		if p.key[0] != kindBlock || g.kind != groupCommit {
			continue
		}
		if len(p.key) != 9 {
			return corrupt("block key %x", p.key)
		}
		row, err := decodeBlockRow(be.Uint64(p.key[1:]), p.val)
		if err != nil {
			return err
		}
		blocks = append(blocks, row)
	}
	if len(blocks) == 0 {
		return nil
	}
	v := s.pager.View()
	defer v.Close()
	for _, b := range blocks {
		if _, err := v.ReadRecord(b.place); errors.Is(err, dberr.ErrCorrupt) {
			return fmt.Errorf("%w: %w", wal.ErrGroupLost, err)
		} else if err != nil {
			return err
		}
	}
	for _, b := range blocks {
		if err := s.pager.Named(b.place); err != nil {
			return err
		}
		s.named = append(s.named, namedPlace{end, b.place})
	}
	return nil
}

// resyncExtents is called before the log writes groups again that no promise
// covers: what they name was read a moment ago, perhaps from memory only, so it
// is written again as well.
func (s *Store) resyncExtents(promised wal.LSN) error {
	var places []pager.Place
	for _, n := range s.named {
		if n.end > promised {
			places = append(places, n.place)
		}
	}
	if len(places) == 0 {
		return nil
	}
	return s.pager.Rewrite(context.Background(), places)
}

// syncExtents is called by the log before each of its syncs at the weaker
// levels.
func (s *Store) syncExtents() error {
	if !s.flushed.Swap(false) {
		return nil
	}
	return s.pager.Sync()
}
