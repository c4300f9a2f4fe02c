package mvcc

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
)

// Reclaim of name rows. A row of a name on a line says what the name is from its
// version to that of the next row. It is dead when no kept commit of the line
// lies between. All name rows are looked through, a batch at a time, whenever
// commits were retired that had changed names.

// namesStep is the number of name rows that one step looks at.
const namesStep = 1024

// deadNames looks through name rows.
type deadNames struct {
	s     *Store
	heads map[uint32]*head     // of lines, older than any view
	kept  map[uint32][]Version // by line, ascending, up to these
	gone  *Set
	bad   error // the first row that could not be read: such stay
}

// reclaimNames works the task of names off, if there is one. bad is about rows that cannot be
// read, which keep the others from nothing.
func (s *Store) reclaimNames(ctx context.Context, most *int, report *PruneReport, room func(context.Context) error) (more bool, bad, err error) {
	due := false
	err = s.read(func(v *view) (err error) {
		_, _, due, err = v.namesTask()
		return err
	})
	if errors.Is(err, dberr.ErrCorrupt) {
		return false, err, nil // names stay
	}
	if err != nil || !due {
		return false, nil, err
	}
	d := s.newDeadNames()
	for ; *most > 0; *most-- {
		if err := room(ctx); err != nil {
			return false, nil, err
		}
		var g *group
		dead := 0
		err := s.read(func(v *view) (err error) {
			g, dead, err = d.step(ctx, v)
			return err
		})
		if err != nil || g == nil {
			return false, d.bad, err
		}
		err = s.alone(ctx, func(*view) (*group, error) {
			g.counters = s.seq.counters
			return g, nil
		})
		if err != nil {
			return false, d.bad, err
		}
		report.Names += uint64(dead)
	}
	return true, nil, nil
}

func (s *Store) newDeadNames() *deadNames {
	d := &deadNames{s: s, gone: s.open.gone.Load(), heads: map[uint32]*head{}, kept: map[uint32][]Version{}}
	for id, l := range s.lines.Load().byID {
		d.heads[id] = l.head.Load()
	}
	return d
}

// step builds the group of one step, while commits go on, and counts the rows that it takes away; no group if there is no
// task. What commits add meanwhile are newer rows of names, behind which no
// dead row lives again, and only retention changes the task.
func (d *deadNames) step(ctx context.Context, v *view) (g *group, dead int, err error) {
	again, at, ok, err := v.namesTask()
	if err != nil || !ok {
		return nil, 0, err
	}
	g = &group{}
	next, err := d.look(ctx, v, at, g)
	if err != nil {
		return nil, 0, err
	}
	dead = len(g.dels)
	switch {
	case next != nil:
		g.puts = append(g.puts, keyValue{namesTask, inline(appendNamesTask(again, next))})
	case again:
		g.puts = append(g.puts, keyValue{namesTask, inline(appendNamesTask(false, nil))})
	default:
		g.dels = append(g.dels, namesTask)
	}
	return g, dead, nil
}

// look adds the dead rows among those behind the row at to a group. It returns
// the last row looked at, nil if there are no more.
func (d *deadNames) look(ctx context.Context, v *view, at []byte, g *group) ([]byte, error) {
	from := []byte{kindName}
	last := at
	if len(at) > 0 {
		from = append(bytes.Clone(at), 0)
	}
	c := v.seek(from)
	for range namesStep {
		if err := d.s.breathe(ctx, readRow); err != nil {
			return nil, err
		}
		key, val, ok := c.at()
		if !ok || key[0] != kindName {
			return nil, c.err()
		}
		key = bytes.Clone(key)
		c.next()
		dead, err := d.dead(ctx, v, key, val, last, c)
		if errors.Is(err, dberr.ErrCorrupt) {
			if d.bad == nil {
				d.bad = err
			}
			dead, err = false, nil
		}
		if err != nil {
			return nil, err
		}
		if dead {
			g.dels = append(g.dels, key)
		}
		last = key
	}
	return last, c.err()
}

// dead decides about a row. before is the row looked at before it, c stands
// behind it.
func (d *deadNames) dead(ctx context.Context, v *view, key, val, before []byte, c *cursor) (bool, error) {
	_, _, id, version, err := splitNameKey(key)
	if err != nil || !d.gone.Contains(version) {
		return false, err
	}
	sameName := func(k []byte) bool {
		return len(k) == len(key) && bytes.Equal(k[:len(k)-8], key[:len(key)-8])
	}
	if sameName(before) {
		until := ^be.Uint64(before[len(before)-8:])
		kept, err := d.keptOf(ctx, v, id)
		if err != nil {
			return false, err
		}
		i, _ := slices.BinarySearch(kept, version)
		if i == len(kept) || kept[i] >= until {
			return true, nil
		}
	}
	// That a name was deleted need not be said where nothing is older.
	root, err := decodeRoot(val)
	older, _, ok := c.at()
	l := d.s.lines.Load().byID[id]
	return err == nil && root == 0 && l != nil && len(l.lineage) == 0 && !(ok && sameName(older)), err
}

// keptOf returns the kept commits of a line. Those made since are newer than
// all that is gone.
func (d *deadNames) keptOf(ctx context.Context, v *view, id uint32) ([]Version, error) {
	if kept, ok := d.kept[id]; ok {
		return kept, nil
	}
	l, h := d.s.lines.Load().byID[id], d.heads[id]
	if l == nil || h == nil {
		return nil, corrupt("a name was changed on line %d, which does not exist", id)
	}
	r := &retirement{s: d.s, l: l}
	if err := r.extend(ctx, v, h); err != nil {
		return nil, err
	}
	kept := make([]Version, len(r.commits))
	for i, c := range r.commits {
		kept[i] = c.version
	}
	d.kept[id] = kept
	return kept, nil
}
