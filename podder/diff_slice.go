package podder

import (
	"encoding/hex"
	"fmt"
	"slices"
	"sort"

	"github.com/poddb/poddb/internal/pod"
)

// Slices are aligned in two steps, each of them patience diff (Bram Cohen): what is the
// same at both ends is taken off; of the rest, what occurs once on either side is
// matched, and of these matches a longest sequence that rises on both sides is kept; between
// two of them the ends are taken off again. If that matches no more than what has kept its
// place in a list that is as long as before, the latter is taken.
//
//  1. Chunks of a container, which are the same if they are the same pod and that did
//     not change. Where chunks end is decided by contents, so an insertion leaves all others
//     what they were, and they are not read.
//  2. The elements between, by a hash of their contents, with references as places.
//
// What is left unmatched on one side and occurs once on the other, unmatched as well, was
// moved. Of the rest, between two matches, elements are compared in order, and
// those without a partner are added or removed.

// sliceAt is the slice with a reference, length and type of elements.
func (v *viewer) sliceAt(r reference, length uint64, valText string) (sliceView, error) {
	if r.null || r.zeroSize {
		return sliceView{length: length, zeroSize: r.zeroSize, null: r.null}, nil
	}
	s, room, err := v.elements(r)
	if err != nil {
		return s, err
	}
	if s.shown = groupOf(valText, s.elemN); s.shown != nil {
		room /= s.shown.length
	}
	if s.length = length; length > room {
		return s, v.corrupt(s.at, "slice of length %d where %d elements are", length, room)
	}
	return s, nil
}

// eachOf calls f for the elements from lo on and below hi.
func (v *viewer) eachOf(s sliceView, lo, hi uint64, f func(i uint64, e view) error) error {
	if hi <= lo || s.elemN == nil {
		return nil
	}
	if s.inner == nil && s.shown == nil {
		return s.array.each(v, s.from+lo, hi-lo, func(i uint64, w *view) error {
			at := *w
			if w.n != nil {
				if err := v.skip(w, w.n, w.fixed); err != nil {
					return err
				}
			}
			return f(lo+i, at)
		})
	}
	for i := lo; i < hi; i++ {
		e, err := s.elem(v, i)
		if err == nil {
			err = f(i, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// slicePart is a run of elements that one chunk holds, or all of a slice.
type slicePart struct {
	lo, hi uint64
	chunk  pod.ID // 0: not a whole chunk
}

func (s *sliceView) parts() []slicePart {
	if s.chunks == nil || s.shown != nil || s.inner != nil {
		return []slicePart{{0, s.length, 0}}
	}
	var list []slicePart
	first, end := uint64(0), s.from+s.length
	for i := range s.chunks {
		c := &s.chunks[i]
		lo, hi := max(first, s.from), min(first+c.units, end)
		if lo < hi {
			p := slicePart{lo - s.from, hi - s.from, 0}
			if hi-lo == c.units {
				p.chunk = c.id
			}
			list = append(list, p)
		}
		first += c.units
	}
	if rest := max(first, s.from); rest < end { // zeros that are not stored
		list = append(list, slicePart{rest - s.from, s.length, 0})
	}
	return list
}

// slices compares two slices.
func (d *differ) slices(p objectPair) error {
	sa, err := d.a.sliceAt(p.ra, p.la, p.text)
	if err != nil {
		return err
	}
	sb, err := d.b.sliceAt(p.rb, p.lb, p.text)
	if err != nil {
		return err
	}
	if sa.elemN == nil || sb.elemN == nil { // without bytes, or nothing
		return d.counts(sa, sb, p)
	}
	pa, pb := sa.parts(), sb.parts()
	key := func(s slicePart) elemKey {
		if s.chunk == 0 || d.changed[s.chunk] {
			return elemKey{}
		}
		return elemKey{1, 0, 0, 0, 0, 0, 0, 0, byte(s.chunk >> 56), byte(s.chunk >> 48), byte(s.chunk >> 40), byte(s.chunk >> 32), byte(s.chunk >> 24), byte(s.chunk >> 16), byte(s.chunk >> 8), byte(s.chunk)}
	}
	ka, kb := make([]elemKey, len(pa)), make([]elemKey, len(pb))
	for i := range pa {
		ka[i] = key(pa[i])
	}
	for i := range pb {
		kb[i] = key(pb[i])
	}
	whole := sa.at == sb.at && sa.from == sb.from && len(pa) == 1 && !d.changed[sb.at.pod] && p.la == p.lb && sb.chunks == nil
	g := &sliceGaps{d: d, sa: sa, sb: sb, path: p.path}
	i, k := 0, 0
	for _, m := range append(alignKeys(ka, kb), [2]int{len(pa), len(pb)}) {
		if err := g.gap(pa[i:m[0]], pb[k:m[1]], whole); err != nil {
			return err
		}
		if m[0] == len(pa) {
			break
		}
		if d.way[target{pod: pb[m[1]].chunk}] && sb.elemN.refers() {
			err := d.b.eachOf(sb, pb[m[1]].lo, pb[m[1]].hi, func(i uint64, e view) error { return d.unchanged(e, p.path.index(i)) })
			if err != nil {
				return err
			}
		}
		i, k = m[0]+1, m[1]+1
	}
	return g.finish()
}

// counts compares slices of which one has no elements, or those of both no bytes.
func (d *differ) counts(sa, sb sliceView, p objectPair) error {
	if sa.elemN == nil && sb.elemN == nil {
		if p.la != p.lb {
			text := func(n uint64) string { return fmt.Sprintf("[]%s (%d)", p.text, n) }
			d.tell(Change{Path: p.path.String(), Kind: ValueChanged, Old: text(p.la), New: text(p.lb)})
		}
		return nil
	}
	g := &sliceGaps{d: d, sa: sa, sb: sb, path: p.path}
	if isBytes(sa) || isBytes(sb) {
		return g.bytes(sa.parts(), sb.parts())
	}
	err := d.b.eachOf(sb, 0, p.lb, func(i uint64, e view) error { return d.added(e, p.path.index(i)) })
	if err != nil {
		return err
	}
	return d.a.eachOf(sa, 0, p.la, func(i uint64, e view) error { return d.removed(e, p.path.index(i)) })
}

// sliceElem is an element that has no partner yet.
type sliceElem struct {
	i   uint64
	key elemKey
	w   view
}

// sliceGaps collects what is unmatched of a slice, gap by gap.
type sliceGaps struct {
	d       *differ
	sa, sb  sliceView
	path    *diffPath
	gone    [][]sliceElem // one list a gap
	arrived [][]sliceElem
}

func elemsOf(v *viewer, s sliceView, parts []slicePart) (list []sliceElem, err error) {
	for _, p := range parts {
		err := v.eachOf(s, p.lo, p.hi, func(i uint64, e view) error {
			key, err := v.keyOf(e)
			list = append(list, sliceElem{i, key, e})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

func keysOf(list []sliceElem) []elemKey {
	keys := make([]elemKey, len(list))
	for i := range list {
		keys[i] = list[i].key
	}
	return keys
}

// gap aligns the elements between two chunks that did not change. whole: there
// is nothing that changed, except behind references.
func (g *sliceGaps) gap(pa, pb []slicePart, whole bool) error {
	d := g.d
	if len(pa)+len(pb) == 0 {
		return nil
	}
	if whole {
		if !g.sb.elemN.refers() {
			return nil
		}
		return d.b.eachOf(g.sb, 0, g.sb.length, func(i uint64, e view) error { return d.unchanged(e, g.path.index(i)) })
	}
	if isBytes(g.sa) && isBytes(g.sb) {
		return g.bytes(pa, pb)
	}
	ea, err := elemsOf(d.a, g.sa, pa)
	if err != nil {
		return err
	}
	eb, err := elemsOf(d.b, g.sb, pb)
	if err != nil {
		return err
	}
	i, k := 0, 0
	for _, m := range append(alignKeys(keysOf(ea), keysOf(eb)), [2]int{len(ea), len(eb)}) {
		if i < m[0] || k < m[1] {
			g.gone, g.arrived = append(g.gone, ea[i:m[0]]), append(g.arrived, eb[k:m[1]])
		}
		if m[0] == len(ea) {
			break
		}
		if err := d.unchangedElem(ea[m[0]], eb[m[1]], g.path); err != nil {
			return err
		}
		i, k = m[0]+1, m[1]+1
	}
	return nil
}

// unchangedElem looks for ways through an element of the same contents.
func (d *differ) unchangedElem(a, b sliceElem, path *diffPath) error {
	if b.w.n == nil || !b.w.n.refers() {
		return nil
	}
	return d.values(a.w, b.w, path.index(b.i))
}

func isBytes(s sliceView) bool {
	return s.shown == nil && s.elemN != nil && s.elemN.kind == nodeBasic && s.elemN.basic == typeUint8
}

// bytes tells of bytes as one run.
func (g *sliceGaps) bytes(pa, pb []slicePart) error {
	text := func(v *viewer, s sliceView, parts []slicePart) (b []byte, first uint64, err error) {
		for _, p := range parts {
			err = v.eachOf(s, p.lo, p.hi, func(_ uint64, e view) error {
				if e.n == nil {
					b = append(b, 0)
				} else {
					b = append(b, e.c.byte())
				}
				return nil
			})
			if err != nil {
				return nil, 0, err
			}
		}
		if len(parts) > 0 {
			first = parts[0].lo
		}
		return b, first, nil
	}
	a, fromA, err := text(g.d.a, g.sa, pa)
	if err != nil {
		return err
	}
	b, fromB, err := text(g.d.b, g.sb, pb)
	if err != nil {
		return err
	}
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	a, b = a[n:], b[n:]
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	at := func(from uint64, n int) string { return fmt.Sprintf("%v[%d:%d]", g.path, from, from+uint64(n)) }
	switch {
	case len(a) == 0 && len(b) == 0:
	case len(a) == 0:
		g.d.tell(Change{Path: at(fromB+uint64(n), len(b)), Kind: ValueAdded, New: bytesShown(b)})
	case len(b) == 0:
		g.d.tell(Change{Path: at(fromA+uint64(n), len(a)), Kind: ValueRemoved, Old: bytesShown(a)})
	default:
		g.d.tell(Change{Path: at(fromB+uint64(n), len(b)), Kind: ValueChanged, Old: bytesShown(a), New: bytesShown(b)})
	}
	return nil
}

func bytesShown(b []byte) string {
	if len(b) > maxDiffText/2 {
		return fmt.Sprintf("0x%s… (%d bytes)", hex.EncodeToString(b[:maxDiffText/2]), len(b))
	}
	return "0x" + hex.EncodeToString(b)
}

// finish finds what was moved, and tells of the rest.
func (g *sliceGaps) finish() error {
	from, count := map[elemKey]sliceElem{}, map[elemKey][2]int{}
	for i := range g.gone {
		for _, e := range g.gone[i] {
			c := count[e.key]
			count[e.key], from[e.key] = [2]int{c[0] + 1, c[1]}, e
		}
		for _, e := range g.arrived[i] {
			c := count[e.key]
			count[e.key] = [2]int{c[0], c[1] + 1}
		}
	}
	moved := func(e sliceElem) bool { return count[e.key] == [2]int{1, 1} }
	for i := range g.gone {
		for _, e := range g.arrived[i] {
			if !moved(e) {
				continue
			}
			g.d.tell(Change{Path: g.path.index(e.i).String(), Kind: ValueMoved, From: g.path.index(from[e.key].i).String()})
			if err := g.d.unchangedElem(from[e.key], e, g.path); err != nil {
				return err
			}
		}
		a, b := slices.DeleteFunc(slices.Clone(g.gone[i]), moved), slices.DeleteFunc(slices.Clone(g.arrived[i]), moved)
		if err := g.rest(a, b); err != nil {
			return err
		}
	}
	return nil
}

func (g *sliceGaps) rest(a, b []sliceElem) error {
	both := min(len(a), len(b))
	for i := range both {
		if err := g.d.values(a[i].w, b[i].w, g.path.index(b[i].i)); err != nil {
			return err
		}
	}
	for _, e := range a[both:] {
		if err := g.d.removed(e.w, g.path.index(e.i)); err != nil {
			return err
		}
	}
	for _, e := range b[both:] {
		if err := g.d.added(e.w, g.path.index(e.i)); err != nil {
			return err
		}
	}
	return nil
}

// alignKeys matches two lists: pairs of positions, rising on both sides. Zero keys
// match nothing.
func alignKeys(a, b []elemKey) (pairs [][2]int) {
	lo, hiA, hiB := 0, len(a), len(b)
	alike := func(i, k int) bool { return a[i] == b[k] && a[i] != elemKey{} }
	for lo < hiA && lo < hiB && alike(lo, lo) {
		pairs = append(pairs, [2]int{lo, lo})
		lo++
	}
	var tail [][2]int
	for hiA > lo && hiB > lo && alike(hiA-1, hiB-1) {
		hiA, hiB = hiA-1, hiB-1
		tail = append(tail, [2]int{hiA, hiB})
	}
	i, k := lo, lo
	matched := rising(uniquePairs(a, b, lo, hiA, hiB))
	if hiA == hiB {
		if stayed := inPlace(a, b, lo, hiA); len(stayed) >= len(matched) {
			matched = stayed
		}
	}
	for _, m := range append(matched, [2]int{hiA, hiB}) {
		for i < m[0] && k < m[1] && alike(i, k) {
			pairs = append(pairs, [2]int{i, k})
			i, k = i+1, k+1
		}
		var back [][2]int
		x, y := m[0], m[1]
		for x > i && y > k && alike(x-1, y-1) {
			x, y = x-1, y-1
			back = append(back, [2]int{x, y})
		}
		slices.Reverse(back)
		pairs = append(pairs, back...)
		if m[0] < hiA {
			pairs = append(pairs, m)
		}
		i, k = m[0]+1, m[1]+1
	}
	slices.Reverse(tail)
	return append(pairs, tail...)
}

// inPlace are the positions that have the same key on both sides.
func inPlace(a, b []elemKey, lo, hi int) (list [][2]int) {
	for i := lo; i < hi; i++ {
		if a[i] == b[i] && a[i] != (elemKey{}) {
			list = append(list, [2]int{i, i})
		}
	}
	return list
}

// uniquePairs are the keys that occur once on each side.
func uniquePairs(a, b []elemKey, lo, hiA, hiB int) (list [][2]int) {
	at := map[elemKey]int{}
	for k := lo; k < hiB; k++ {
		if _, twice := at[b[k]]; twice {
			at[b[k]] = -1
		} else {
			at[b[k]] = k
		}
	}
	times := map[elemKey]int{}
	for i := lo; i < hiA; i++ {
		times[a[i]]++
	}
	for i := lo; i < hiA; i++ {
		if k, ok := at[a[i]]; ok && k >= 0 && times[a[i]] == 1 && a[i] != (elemKey{}) {
			list = append(list, [2]int{i, k})
		}
	}
	return list
}

// rising is a longest subsequence that rises in the second number.
func rising(list [][2]int) [][2]int {
	var ends []int // index of the smallest end of a sequence of each length
	before := make([]int, len(list))
	for i, m := range list {
		n := sort.Search(len(ends), func(j int) bool { return list[ends[j]][1] >= m[1] })
		before[i] = -1
		if n > 0 {
			before[i] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, i)
		} else {
			ends[n] = i
		}
	}
	if len(ends) == 0 {
		return nil
	}
	var out [][2]int
	for i := ends[len(ends)-1]; i >= 0; i = before[i] {
		out = append(out, list[i])
	}
	slices.Reverse(out)
	return out
}
