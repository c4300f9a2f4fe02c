package podder

// chunkContents is a container as a row of units (elements, entries, bytes) that
// can be cut anywhere between two of them.
type chunkContents interface {
	units() int
	// hash hashes the chunk of units [from, to).
	hash(from, to int) hash128
	// cut finds where a chunk that begins at from ends, and hashes it.
	cut(from int) (to int, hash hash128)
	// fits reports whether units [from, to) are not more than a chunk may have.
	fits(from, to int) bool
	// bytes returns how many bytes units [from, to) are, as cut counts them, and what
	// sizes chunks have.
	bytes(from, to int) (int, chunkSizes)
}

// chunkMatcher finds which chunks a container has now, and which of them it, or
// another one, had before.
//
// It goes from the start to the end, along a list of chunks. While its next
// chunk is what comes next nothing is cut. Else, in this order:
//
//  1. A chunk is cut by contents. If some list has it, it goes on behind it there.
//  2. If it ends where the one that it replaces did, units changed in place.
//  3. If the chunk behind follows where it would then, too: the end is kept though
//     the contents would have another one, so that what is written is a patch, unless
//     the chunk has become too large.
//  4. More chunks are cut, up to lookAhead. If one of them is known, units came or
//     went before it. Else the chunks that the container had keep their ends:
//     changes are scattered, and cutting anew would only shift them.
//
// Where cutting meets a known chunk again behind new ones, it may have done so late:
// if units came before a chunk that had no end by contents, but ended where it became
// too large, the ends shift through the next one, though that is there as well. So
// chunks before the one that was met are looked for backwards, and the new ones shortened
// (chunk_back.go).
//
// Of maps the ends follow from the keys, so 3, the last part of 4, and looking backwards are
// left out.
type chunkMatcher struct {
	contents chunkContents
	own      *chunkList // what the container had, nil if it is new
	keyed    bool
	trusting bool       // own chunks of unknown hash are what they were
	known    chunkTable // where chunks are looked for; of a container with a list, made when needed
	out      []chunkPiece
	// emit takes pieces as they are found instead, if it is not nil, while what was
	// cut last is still encoded; an error ends the run. New ones behind a known one wait
	// in held, up to lookAhead of them: they may be shortened.
	emit    func(*chunkPiece) error
	holding bool
	held    []chunkPiece
	err     error
}

const lookAhead = 16

// knownChunk is chunk index of a list.
type knownChunk struct {
	list  *chunkList
	index int
}

// chunkTable finds chunks by what they hold.
type chunkTable map[hash128]knownChunk

func (t chunkTable) add(list *chunkList) {
	for i := range list.chunks {
		c := &list.chunks[i]
		if _, twice := t[c.hash]; !twice && c.hash != (hash128{}) {
			t[c.hash] = knownChunk{list, i}
		}
	}
}

// chunkPiece is one chunk of the result.
type chunkPiece struct {
	from, to int
	hash     hash128
	is       knownChunk // list nil: a new one
	near     int        // which own chunk it may replace, -1 for none
}

func (m *chunkMatcher) run() []chunkPiece {
	list, j := m.own, 0
	n := m.contents.units()
	for p := 0; p < n && m.err == nil; {
		if list != nil && m.follows(list, j, p) {
			p, j = m.accept(p, knownChunk{list, j}), j+1
			continue
		}
		q, hash := m.contents.cut(p)
		if k, ok := m.find(hash); ok {
			p, list, j = m.meet(p, k), k.list, k.index+1
			continue
		}
		if m.own == nil || list != m.own || j >= len(list.chunks) {
			m.add(p, q, hash, -1)
			p = q
			if m.own == nil {
				list = nil
			}
			continue
		}
		end := p + int(list.chunks[j].units)
		switch {
		case q == end:
			m.add(p, q, hash, j)
			p, j = q, j+1
		case !m.keyed && end < n && m.contents.fits(p, end) && m.follows(list, j+1, end):
			m.add(p, end, m.contents.hash(p, end), j)
			p, j = m.accept(end, knownChunk{list, j + 1}), j+2
		default:
			p, j = m.ahead(p, q, hash, j)
		}
	}
	m.flush()
	return m.out
}

// follows reports whether chunk j of a list begins at p. The last one ends with
// its container, not where contents say, so it counts only if this one ends as
// well.
func (m *chunkMatcher) follows(list *chunkList, j, p int) bool {
	if j >= len(list.chunks) {
		return false
	}
	c := &list.chunks[j]
	n := m.contents.units()
	unknown := c.hash == (hash128{})
	if unknown && !m.trusting || c.units > uint64(n-p) {
		return false
	}
	to := p + int(c.units)
	if j == len(list.chunks)-1 && to != n {
		return false
	}
	if unknown {
		return true
	}
	if via, ok := m.contents.(interface{ through(c *podChunk) }); ok && list == m.own {
		via.through(c)
		defer via.through(nil)
	}
	return m.contents.hash(p, to) == c.hash
}

// find looks for a chunk among those that lists have.
func (m *chunkMatcher) find(hash hash128) (knownChunk, bool) {
	if m.known == nil {
		m.known = chunkTable{}
		m.known.add(m.own)
	}
	k, ok := m.known[hash]
	return k, ok
}

func (m *chunkMatcher) add(from, to int, hash hash128, near int) {
	m.piece(chunkPiece{from: from, to: to, hash: hash, near: near})
}

func (m *chunkMatcher) piece(p chunkPiece) {
	if m.emit == nil {
		m.out = append(m.out, p)
		return
	}
	m.held = append(m.held, p)
	if isNew := p.is.list == nil; !isNew || !m.holding || len(m.held) == lookAhead {
		m.flush()
		m.holding = !isNew
	}
}

// flush hands over the pieces that wait.
func (m *chunkMatcher) flush() {
	for i := range m.held {
		if m.err == nil {
			m.err = m.emit(&m.held[i])
		}
	}
	m.held = m.held[:0]
}

// accept adds a known chunk at p and returns its end.
func (m *chunkMatcher) accept(p int, k knownChunk) int {
	c := &k.list.chunks[k.index]
	m.piece(chunkPiece{from: p, to: p + int(c.units), hash: c.hash, is: k, near: -1})
	return p + int(c.units)
}

// ahead is step 4: chunk j of the own list is not what begins at p; q and hash
// are the first cut there. It returns where to go on, and along which chunk.
func (m *chunkMatcher) ahead(p, q int, hash hash128, j int) (int, int) {
	n := m.contents.units()
	pieces := []chunkPiece{{from: p, to: q, hash: hash}}
	found := false
	var k knownChunk
	for len(pieces) < lookAhead && q < n && !found {
		to, hash := m.contents.cut(q)
		if k, found = m.find(hash); !found {
			pieces = append(pieces, chunkPiece{from: q, to: to, hash: hash})
			q = to
		}
	}
	if !found && !m.keyed && (q < n || m.unitsFrom(j) == n-p) {
		if to, next := m.keepEnds(p, q, j); to > p {
			return to, next
		}
	}
	last := len(m.own.chunks)
	if found && k.list == m.own && k.index > j {
		last = k.index
	}
	for i, x := range pieces {
		near := -1
		if j+i < last {
			near = j + i
		}
		m.add(x.from, x.to, x.hash, near)
	}
	if found {
		return m.meet(q, k), k.index + 1
	}
	return q, min(j+len(pieces), len(m.own.chunks))
}

// unitsFrom counts the units of the own chunks from j on.
func (m *chunkMatcher) unitsFrom(j int) (n int) {
	for _, c := range m.own.chunks[j:] {
		n += int(c.units)
	}
	return n
}

// keepEnds takes chunks from j on as changed in place, from p to about q.
func (m *chunkMatcher) keepEnds(p, q, j int) (int, int) {
	n := m.contents.units()
	for ; p < q && j < len(m.own.chunks); j++ {
		units := m.own.chunks[j].units
		if units > uint64(n-p) || j == len(m.own.chunks)-1 && units != uint64(n-p) {
			break
		}
		if m.follows(m.own, j, p) {
			p = m.accept(p, knownChunk{m.own, j})
			continue
		}
		to := p + int(units)
		if !m.contents.fits(p, to) {
			break
		}
		m.add(p, to, m.contents.hash(p, to), j)
		p = to
	}
	return p, j
}
