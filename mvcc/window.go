package mvcc

import (
	"bytes"
	"slices"
)

// window is the run of a line's commits that no aggregate covers yet: at level 1
// the commits since the last aggregate of that level, at level 2 the aggregates
// of level 1 since the last one of that.
type window struct {
	commits uint64 // of the line, folded in so far
	level   [len(levelLen)]*net
}

// aggregateRows folds a commit into its line's window and returns the
// aggregates that it completes; the token is held. If the commit is not
// submitted after all the window must be dropped.
func (s *Store) aggregateRows(v *view, row *commitRow) ([]keyValue, error) {
	w := s.seq.windows[row.line]
	if w == nil || w.commits != row.pos {
		var err error
		if w, err = s.loadWindow(v, row); err != nil {
			return nil, err
		}
		s.seq.windows[row.line] = w
	}
	w.commits++
	w.level[1].commit(row)
	var puts []keyValue
	for level := 1; level < len(levelLen); level++ {
		n := levelLen[level]
		if w.commits%n != 0 {
			break
		}
		puts = append(puts, keyValue{aggregateKey(row.line, byte(level), w.commits/n-1), inline(w.level[level].append(nil))})
		if level+1 < len(levelLen) {
			w.level[level+1].run(w.level[level])
		}
		w.level[level] = newNet()
	}
	return puts, nil
}

// loadWindow rebuilds the window before a commit from what is stored.
func (s *Store) loadWindow(v *view, row *commitRow) (*window, error) {
	w := &window{commits: row.pos}
	for level := 1; level < len(levelLen); level++ {
		w.level[level] = newNet()
	}
	block, top := row.pos/levelLen[1]*levelLen[1], row.pos/levelLen[2]*levelLen[2]
	tail, err := s.sequencedTail(v, row, block)
	if err != nil {
		return nil, err
	}
	for i := top / levelLen[1]; i < block/levelLen[1]; i++ {
		n, err := s.sequencedNet(v, row.line, 1, i)
		if err != nil {
			return nil, err
		}
		w.level[2].run(n)
	}
	for _, c := range tail {
		w.level[1].commit(c)
	}
	return w, nil
}

// dropWindow forgets the window of a line if it is made of rows at positions up to pos, which
// change; the token is held.
func (q *sequencer) dropWindow(line uint32, pos uint64) {
	if w := q.windows[line]; w != nil && pos >= w.commits/levelLen[2]*levelLen[2] {
		delete(q.windows, line)
	}
}

// sequencedTail returns the rows before a commit on its line from position low
// on.
func (s *Store) sequencedTail(v *view, row *commitRow, low uint64) ([]*commitRow, error) {
	return rowsBack(row, low, func(version Version) (*commitRow, error) { return s.sequencedRow(v, version) })
}

// rowsBack returns the rows before row on its line down to position low,
// oldest first. get reads the row of a version.
func rowsBack(row *commitRow, low uint64, get func(Version) (*commitRow, error)) ([]*commitRow, error) {
	var rows []*commitRow
	for row.pos > low && len(row.parents) > 0 {
		c, err := get(row.parents[0])
		if err != nil {
			return nil, err
		}
		follows := c.line == row.line && c.pos < row.pos
		if row.fold == nil && (!follows || c.pos+1 != row.pos) {
			return nil, corrupt("version %d at %d of line %d follows %d at %d of line %d",
				row.version, row.pos, row.line, c.version, c.pos, c.line)
		}
		if !follows || c.pos < low { // row is the first that is left on the line, or here
			break
		}
		rows, row = append(rows, c), c
	}
	slices.Reverse(rows)
	return rows, nil
}

// sequencedNet returns an aggregate that may still be queued.
func (s *Store) sequencedNet(v *view, line uint32, level byte, pos uint64) (*net, error) {
	key := aggregateKey(line, level, pos)
	for _, q := range s.seq.queue {
		for _, p := range q.g.puts {
			if string(p.key) == string(key) {
				return decodeNet(p.val[1:])
			}
		}
	}
	return v.net(line, level, pos)
}

// net returns one aggregate; an empty one if nothing is left at its positions.
func (v *view) net(line uint32, level byte, pos uint64) (*net, error) {
	b, ok, err := v.fetch(aggregateKey(line, level, pos))
	if err != nil {
		return nil, err
	}
	if !ok {
		return newNet(), v.mayLack(line, level, pos)
	}
	return decodeNet(b)
}

// mayLack refuses a missing aggregate where nothing was ever retired.
func (v *view) mayLack(line uint32, level byte, pos uint64) error {
	if v.s.open.gone.Load().Len() == 0 {
		return corrupt("aggregate %d of level %d of line %d is missing", pos, level, line)
	}
	return nil
}

// nets calls fn for the aggregates first … end-1 of a line that exist, in order.
func (v *view) nets(line uint32, level byte, first, end uint64, fn func(*net)) error {
	if first >= end {
		return nil
	}
	from := aggregateKey(line, level, first)
	prefix, next := from[:len(from)-8], first
	c := v.seek(from)
	for ; ; c.next() {
		key, env, ok := c.at()
		if !ok || !bytes.HasPrefix(key, prefix) || len(key) != len(from) {
			break
		}
		pos := be.Uint64(key[len(prefix):])
		if pos >= end {
			break
		}
		if pos != next {
			if err := v.mayLack(line, level, next); err != nil {
				return err
			}
		}
		b, err := v.open(env)
		if err != nil {
			return err
		}
		n, err := decodeNet(b)
		if err != nil {
			return err
		}
		fn(n)
		next = pos + 1
	}
	if err := c.err(); err != nil || next == end {
		return err
	}
	return v.mayLack(line, level, next)
}
