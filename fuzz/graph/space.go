package graph

// space says where pieces of one graph's memory lie in the other's. Pieces that
// overlap lie equally far away, so that each byte has one counterpart at most.
type space struct {
	pages map[uintptr][]segment
}

// segment is a piece [lo, hi), whose counterpart lies delta bytes further.
type segment struct{ lo, hi, delta uintptr }

const pageBits = 10

func newSpace() *space { return &space{pages: map[uintptr][]segment{}} }

// add notes a piece in s and in the log; false if it contradicts what is known.
func (w *walk) add(s *space, lo, hi, delta uintptr) bool {
	for page := lo >> pageBits; page <= (hi-1)>>pageBits; page++ {
		from, to := max(lo, page<<pageBits), min(hi, (page+1)<<pageBits)
		known := false
		for _, g := range s.pages[page] {
			if g.lo >= to || g.hi <= from {
				continue
			}
			if g.delta != delta {
				return false
			}
			known = known || g.lo <= from && to <= g.hi
		}
		if !known {
			s.pages[page] = append(s.pages[page], segment{lo, hi, delta})
			w.log = append(w.log, undo{space: s, at: page})
		}
	}
	return true
}

// find returns the counterpart of an address.
func (s *space) find(p uintptr) (uintptr, bool) {
	for _, g := range s.pages[p>>pageBits] {
		if g.lo <= p && p < g.hi {
			return p + g.delta, true
		}
	}
	return 0, false
}

// undo is one note of what a comparison has learned.
type undo struct {
	visit visit
	space *space // else
	at    uintptr
	pair  *mapPair // else
	a, b  int      // entries of it that were paired; -1, and a map was met
}

// back forgets what was learned since the log had n notes.
func (w *walk) forget(n int) {
	for k := len(w.log) - 1; k >= n; k-- {
		u := w.log[k]
		switch {
		case u.space != nil:
			list := u.space.pages[u.at]
			u.space.pages[u.at] = list[:len(list)-1]
		case u.pair == nil:
			delete(w.done, u.visit)
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
