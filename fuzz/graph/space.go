package graph

// space says where pieces of one graph's memory lie in the other's. Pieces that
// overlap lie equally far away, so that each byte has one counterpart at most.
type space struct {
	pages    map[uintptr]int32 // the newest segment of a page, by its number in segments
	segments []segment
}

// segment is a piece [lo, hi), whose counterpart lies delta bytes further.
type segment struct {
	lo, hi, delta uintptr
	next          int32 // an older one of the same page, -1 if there is none
}

const pageBits = 10

func newSpace() *space { return &space{pages: map[uintptr]int32{}} }

func (s *space) reset() { s.pages, s.segments = cleared(s.pages), s.segments[:0] }

// newest returns the newest segment of a page.
func (s *space) newest(page uintptr) int32 {
	if k, ok := s.pages[page]; ok {
		return k
	}
	return -1
}

// add notes a piece in s and in the log; false if it contradicts what is known.
func (w *walk) add(s *space, lo, hi, delta uintptr) bool {
pages:
	for page := lo >> pageBits; page <= (hi-1)>>pageBits; page++ {
		from, to := max(lo, page<<pageBits), min(hi, (page+1)<<pageBits)
		newest := s.newest(page)
		for k := newest; k >= 0; k = s.segments[k].next {
			g := &s.segments[k]
			if g.lo >= to || g.hi <= from {
				continue
			}
			if g.delta != delta {
				return false
			}
			if g.lo <= lo && hi <= g.hi { // noted on every page, and nothing contradicts it
				return true
			}
			if g.lo <= from && to <= g.hi {
				continue pages
			}
		}
		s.pages[page] = int32(len(s.segments))
		s.segments = append(s.segments, segment{lo, hi, delta, newest})
		w.learned(undo{space: s, at: page})
	}
	return true
}

// find returns the counterpart of an address.
func (s *space) find(p uintptr) (uintptr, bool) {
	for k := s.newest(p >> pageBits); k >= 0; k = s.segments[k].next {
		if g := &s.segments[k]; g.lo <= p && p < g.hi {
			return p + g.delta, true
		}
	}
	return 0, false
}

// undo is one note of what a comparison has learned.
type undo struct {
	visited visited
	space   *space // else
	at      uintptr
	pair    *mapPair // else
	a, b    int      // entries of it that were paired; -1, and a map was met
}

// back forgets what was learned since the log had n notes.
func (w *walk) forget(n int) {
	for k := len(w.log) - 1; k >= n; k-- {
		u := w.log[k]
		switch {
		case u.space != nil:
			last := len(u.space.segments) - 1
			if next := u.space.segments[last].next; next >= 0 {
				u.space.pages[u.at] = next
			} else {
				delete(u.space.pages, u.at)
			}
			u.space.segments = u.space.segments[:last]
		case u.pair == nil:
			delete(w.done, u.visited)
		case u.a >= 0:
			u.pair.a[u.a].with, u.pair.b[u.b].with = -1, -1
			u.pair.left++
		default:
			delete(w.mapsA, u.pair.p)
			delete(w.mapsB, u.pair.q)
			w.pairs = w.pairs[:len(w.pairs)-1]
		}
	}
	w.log = w.log[:n]
}
