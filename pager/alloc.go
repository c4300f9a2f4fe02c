package pager

import "github.com/RoaringBitmap/roaring/v2"

// allocator hands out usable pages of one batch. It is an index of runs,
// built when the batch begins: free pages, minus those that the older meta's
// root or a pinned root needs (invariants 2 and 3). Pages that the batch frees
// do not come here, only fresh ones that it gives back.
type allocator struct {
	runs    []run
	low     int // runs before it are empty
	classes [64][]int
	size    uint64 // pages of the file
}

type run struct{ start, n uint64 }

func newAllocator(s *space, held []pageSet, size uint64) *allocator {
	a := &allocator{size: size}
	for i := 0; uint64(i)*chunkPages < size; i++ {
		base := uint64(i) * chunkPages
		for from, to := range usableIn(s, held, i).Ranges() {
			start, end := base+uint64(from), min(base+to, size)
			if start >= end {
				continue
			}
			if k := len(a.runs) - 1; k >= 0 && a.runs[k].start+a.runs[k].n == start {
				a.runs[k].n += end - start
			} else {
				a.runs = append(a.runs, run{start, end - start})
			}
		}
	}
	for i := len(a.runs) - 1; i >= 0; i-- {
		a.classify(i)
	}
	return a
}

func usableIn(s *space, held []pageSet, i int) *roaring.Bitmap {
	var free *roaring.Bitmap
	owned := false
	if i < len(s.chunks) && s.chunks[i] != nil {
		free = s.chunks[i].free
	} else {
		free, owned = s.newChunk(i).free, true
	}
	for _, h := range held {
		if bm := h[i]; bm != nil {
			if !owned {
				free, owned = free.Clone(), true
			}
			free.AndNot(bm)
		}
	}
	return free
}

func (a *allocator) classify(i int) {
	c := sizeClass(a.runs[i].n)
	a.classes[c] = append(a.classes[c], i)
}

// one takes the lowest page.
func (a *allocator) one() (uint64, bool) {
	for ; a.low < len(a.runs); a.low++ {
		if r := &a.runs[a.low]; r.n > 0 {
			r.start++
			r.n--
			return r.start - 1, true
		}
	}
	return 0, false
}

// take returns a run of at least need pages and at most want.
func (a *allocator) take(need, want uint64) (run, bool) {
	if want == 1 {
		no, ok := a.one()
		return run{no, 1}, ok
	}
	for c := sizeClass(need); c < len(a.classes); c++ {
		for k := len(a.classes[c]) - 1; k >= 0; k-- {
			i := a.classes[c][k]
			if n := a.runs[i].n; n == 0 || sizeClass(n) != c { // shrunk since
				a.classes[c] = append(a.classes[c][:k], a.classes[c][k+1:]...)
				if n != 0 {
					a.classify(i)
				}
				continue
			}
			if a.runs[i].n < need {
				continue
			}
			a.classes[c] = append(a.classes[c][:k], a.classes[c][k+1:]...)
			got := run{a.runs[i].start, min(a.runs[i].n, want)}
			a.runs[i].start += got.n
			if a.runs[i].n -= got.n; a.runs[i].n > 0 {
				a.classify(i)
			}
			return got, true
		}
	}
	return run{}, false
}

// give returns pages that are usable at once.
func (a *allocator) give(start, n uint64) {
	if n == 0 {
		return
	}
	a.runs = append(a.runs, run{start, n})
	a.classify(len(a.runs) - 1)
}

// tail is the length of the usable run that ends with the file.
func (a *allocator) tail() (i int, n uint64) {
	for i := range a.runs {
		if r := a.runs[i]; r.n > 0 && r.start+r.n == a.size {
			return i, r.n
		}
	}
	return -1, 0
}

// extend adds n pages at the end of the file.
func (a *allocator) extend(n uint64) {
	if i, have := a.tail(); have > 0 {
		a.runs[i].n += n
		a.low = min(a.low, i)
		a.classify(i)
	} else {
		a.give(a.size, n)
	}
	a.size += n
}
