package mvcc

// window is the run of a line's commits that no aggregate covers yet, for each
// level: what the next aggregates will be made of.
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
	var puts []keyValue
	for level := 1; level < len(levelLen); level++ {
		w.level[level].commit(row)
		if n := levelLen[level]; w.commits%n == 0 {
			puts = append(puts, keyValue{aggregateKey(row.line, byte(level), w.commits/n-1), inline(w.level[level].append(nil))})
			w.level[level] = newNet()
		}
	}
	return puts, nil
}

// loadWindow rebuilds the window before a commit from what is stored.
func (s *Store) loadWindow(v *view, row *commitRow) (*window, error) {
	w := &window{commits: row.pos}
	for level := 1; level < len(levelLen); level++ {
		w.level[level] = newNet()
	}
	tail, err := commitsBack(row, row.pos%levelLen[1], func(version Version) (*commitRow, error) {
		return s.sequencedRow(v, version)
	})
	if err != nil {
		return nil, err
	}
	top := w.level[2]
	for i := row.pos / levelLen[2] * levelLen[2] / levelLen[1]; i < row.pos/levelLen[1]; i++ {
		n, err := s.sequencedNet(v, row.line, 1, i)
		if err != nil {
			return nil, err
		}
		top.run(n)
	}
	for _, c := range tail {
		w.level[1].commit(c)
		top.commit(c)
	}
	return w, nil
}

// commitsBack returns the n commits before row on its line, oldest first. get
// reads the row of a version.
func commitsBack(row *commitRow, n uint64, get func(Version) (*commitRow, error)) ([]*commitRow, error) {
	rows := make([]*commitRow, n)
	for i := len(rows) - 1; i >= 0; i-- {
		if len(row.parents) == 0 {
			return nil, corrupt("version %d has no parent at position %d of its line", row.version, row.pos)
		}
		c, err := get(row.parents[0])
		if err != nil {
			return nil, err
		}
		if c.line != row.line || c.pos+1 != row.pos {
			return nil, corrupt("version %d at %d of line %d follows %d at %d of line %d",
				row.version, row.pos, row.line, c.version, c.pos, c.line)
		}
		rows[i], row = c, c
	}
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

func (v *view) net(line uint32, level byte, pos uint64) (*net, error) {
	b, ok, err := v.fetch(aggregateKey(line, level, pos))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, corrupt("aggregate %d of level %d of line %d is missing", pos, level, line)
	}
	return decodeNet(b)
}
