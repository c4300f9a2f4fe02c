package podder

import "math/bits"

// The entries of a plain map are put in stored order by a radix sort from the last digit to the
// first (Knuth, The Art of Computer Programming 3, 5.2.5) over the first bits of their hashes. It
// reads and writes from the start to the end of a few lists, for which no processor waits. Hashes
// are spread evenly, so a few bits more than tell the entries apart leave almost nothing to be
// compared. The bytes of the entries follow at the end, once: then it is known long before where
// the next ones lie.

const (
	digitMost = 11 // bits of a digit: more counters would not stay in the cache
	extraBits = 3  // sorted by beyond those that number the entries
)

// digits are what radix sorting needs beside the list.
type digits struct {
	counts [1 << digitMost]uint32
	spare  []plainEntry
}

// orderPlain returns the entries of list, which lie in data, in stored order. It changes list.
func (w *walk) orderPlain(list []plainEntry, data []byte) *plainMap {
	out := &plainMap{order: ownAny[plainEntry](&w.own, len(list)), data: ownBytes(&w.own, len(data)+fewBytes)}
	if len(list) <= fewSlots {
		copy(out.order, list)
		sortPlain(out.order, data)
	} else {
		shift := w.sortDigits(list, out.order)
		orderAlike(out.order, data, shift)
	}
	out.data = gatherPlain(out.order, data, out.data)
	return out
}

// sortDigits copies list to out, sorted by hash>>shift, and returns shift. It changes list.
func (w *walk) sortDigits(list, out []plainEntry) (shift int) {
	n := bits.Len(uint(len(list)-1)) + extraBits
	passes := (n + digitMost - 1) / digitMost
	width := (n + passes - 1) / passes
	shift = 64 - passes*width
	if w.maps.digits == nil {
		w.maps.digits = new(digits)
	}
	x := w.maps.digits
	if passes > 1 && cap(x.spare) < len(list) {
		x.spare = ownAny[plainEntry](&w.own, len(list))
	}
	from, to := list, x.spare[:cap(x.spare)]
	for p := range passes {
		if p == passes-1 {
			to = out
		}
		x.sort(from, to[:len(list)], shift+p*width, width)
		from, to = to[:len(list)], from
	}
	return shift
}

// sort copies from to to, sorted by the digit of width bits of the hash at shift. What is equal
// stays as it was.
func (x *digits) sort(from, to []plainEntry, shift, width int) {
	counts, mask := x.counts[:1<<width], uint64(1)<<width-1
	clear(counts)
	for i := range from {
		counts[from[i].hash>>(shift&63)&mask]++
	}
	before := uint32(0)
	for i, n := range counts {
		counts[i] = before
		before += n
	}
	for i := range from {
		e := from[i]
		n := &counts[e.hash>>(shift&63)&mask]
		to[*n] = e
		*n++
	}
}

// orderAlike puts entries in order that are sorted by hash>>shift.
func orderAlike(list []plainEntry, data []byte, shift int) {
	for i := 1; i < len(list); i++ {
		if list[i-1].hash < list[i].hash {
			continue
		}
		from, to, digits := i-1, i+1, list[i].hash>>shift
		for from > 0 && list[from-1].hash>>shift == digits {
			from--
		}
		for to < len(list) && list[to].hash>>shift == digits {
			to++
		}
		sortPlain(list[from:to], data)
		i = to - 1
	}
}
