package mvcc

import (
	"fmt"

	"github.com/poddb/poddb/wal"
)

// replay applies one group of the log, after checking that it continues the
// state before it.
func (s *Store) replay(w wal.Group) error {
	g, err := decodeGroup(w.Records)
	if err == nil {
		err = s.replayExtents(g, w.End)
	}
	if err == nil {
		err = s.replayGroup(g, uint64(w.End))
	}
	if err != nil {
		return fmt.Errorf("log group that ends at %d: %w", w.End, err)
	}
	return nil
}

func (s *Store) replayGroup(g *group, end uint64) error {
	if g.db != s.logID {
		return corrupt("the log belongs to another database")
	}
	before := s.published.Load().counters
	if g.kind == groupUpkeep {
		if g.counters.version != before.version || g.counters.number != before.number || g.counters.freed < before.freed {
			return corrupt("upkeep of version %d, number %d, does not follow version %d, number %d",
				g.counters.version, g.counters.number, before.version, before.number)
		}
		if _, _, err := s.ownRows(g); err != nil {
			return err
		}
		s.apply(&queued{g: g}, end)
		return nil
	}
	if g.row == nil {
		l, err := s.nextLine(g)
		if err != nil {
			return err
		}
		s.apply(&queued{g: g, line: l, head: l.fresh(), newLine: true}, end)
		return nil
	}
	row := g.row
	l := s.lines.Load().byID[row.line]
	made := l == nil
	if made { // a branch that begins with a copy
		var err error
		if l, err = s.nextLine(g); err != nil || l.id != row.line || l.origin == nil || l.origin.copy != row.version {
			return corrupt("version %d is on line %d, which does not exist", row.version, row.line)
		}
		fresh := l.fresh()
		l.head.Store(&fresh)
	}
	h := l.head.Load()
	if row.version != before.version+1 || row.last != before.number+row.added || row.pos != h.commits ||
		(h.version != 0 && (len(row.parents) == 0 || row.parents[0] != h.version)) {
		return corrupt("version %d, number %d, does not follow version %d, number %d", row.version, row.last, before.version, before.number)
	}
	s.apply(&queued{g: g, line: l, head: head{row.version, row.last, row.pos + 1}, newLine: made}, end)
	return nil
}

// nextLine finds the line that a group makes, which must be the next one.
func (s *Store) nextLine(g *group) (*line, error) {
	l, err := branchOf(g)
	if err != nil {
		return nil, err
	}
	t := s.lines.Load()
	if next := s.published.Load().counters.line; uint64(l.id) != next || t.byID[l.id] != nil || t.byName[l.branch] != nil {
		return nil, corrupt("line %d of branch %q does not follow", l.id, l.branch)
	}
	return l, nil
}

// branchOf finds the line that a group makes.
func branchOf(g *group) (*line, error) {
	for _, p := range g.puts {
		if p.key[0] == kindLine && len(p.key) == 5 {
			return decodeLine(be.Uint32(p.key[1:]), p.val)
		}
	}
	return nil, corrupt("branch group without a line")
}
