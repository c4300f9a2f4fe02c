package podder

// meet adds known chunk k at p, as accept does, with those before it in its list that are
// there as well.
func (m *chunkMatcher) meet(p int, k knownChunk) int {
	if fresh := m.fresh(); !m.keyed && len(fresh) > 0 {
		first, at := m.backFrom(p, k, fresh[0].from)
		for ; first < k.index && !m.shorten(fresh, at); first++ {
			at += int(k.list.chunks[first].units)
		}
		if first < k.index {
			for p = at; first < k.index; first++ {
				p = m.accept(p, knownChunk{k.list, first})
			}
		}
	}
	return m.accept(p, k)
}

// fresh returns the new pieces since the last known chunk that may still be changed.
func (m *chunkMatcher) fresh() []chunkPiece {
	if m.emit != nil {
		if m.holding {
			return m.held
		}
		return nil
	}
	i := len(m.out)
	for i > 0 && m.out[i-1].is.list == nil {
		i--
	}
	return m.out[i:]
}

// backFrom returns the first of the chunks before k that lie one behind the other up to p, not
// before start, and where it begins; k and p if there are none.
func (m *chunkMatcher) backFrom(p int, k knownChunk, start int) (first, at int) {
	first, at = k.index, p
	for first > 0 {
		units := k.list.chunks[first-1].units
		if units > uint64(at-start) || !m.follows(k.list, first-1, at-int(units)) {
			break
		}
		first--
		at -= int(units)
	}
	return first, at
}

// shorten has the new pieces, which are the last ones, end at unit at. A rest that is small for
// a chunk becomes part of the one before it. If there is none, or it would become
// too large, shorten reports false and has changed nothing: units that come at one place again and
// again leave neither many small chunks nor one that grows.
func (m *chunkMatcher) shorten(fresh []chunkPiece, at int) bool {
	n := 0 // pieces that begin before at
	for n < len(fresh) && fresh[n].from < at {
		n++
	}
	if n > 0 && fresh[n-1].to != at {
		if size, sizes := m.contents.bytes(fresh[n-1].from, at); size < sizes.least/2 {
			if n--; n == 0 {
				return false
			}
			if size, _ := m.contents.bytes(fresh[n-1].from, at); size > sizes.loose() {
				return false
			}
		}
		fresh[n-1].to, fresh[n-1].hash = at, m.contents.hash(fresh[n-1].from, at)
	}
	list := &m.out
	if m.emit != nil {
		list = &m.held
	}
	*list = (*list)[:len(*list)-len(fresh)+n]
	return true
}
