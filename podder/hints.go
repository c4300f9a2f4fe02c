package podder

import (
	"cmp"
	"reflect"
	"slices"
)

// A save without a walk compares the memory of every region that the variables reach.
// Somebody may know of memory that has not been written: a program of its own arenas,
// an operating system of its pages. What a HintSource vouches for is not read.
//
// Definitions. A moment is a name for a point in time that the source gives out. A save
// begins with one, before it reads anything. The moment of a graph is that of its newest
// committed save.
//
// Why what is vouched for since the moment of the graph equals its fingerprint:
//
//  1. When a save is committed, each region that it reached has the fingerprint of its
//     memory: it was compared, or it was encoded and the fingerprint taken, after the
//     moment of that save, or it was vouched for up to that moment. What was written
//     after the moment and before the fingerprint counts as written: that costs a comparison.
//  2. A save that fails or is aborted leaves fingerprints and moment as they were. What
//     was written before it is asked about again, so a source may not forget that when
//     it gives out the next moment.
//  3. A region is passed over only if all bytes of it lie in what is vouched for, which may be
//     several ranges that touch.
//  4. Regions are objects and arrays of values with a fingerprint. A map is compared
//     whatever is said: its groups lie elsewhere, and no source is asked about them. So are
//     variables themselves, and what has no fingerprint (sync/atomic, Refs, codecs).
//  5. What words lead to stays what it was: the graph has it pinned (fingerprint.go), vouched for
//     or not.
//  6. What is passed over refers to what it referred to, so what is reached stays exact.
//
// A hint that is wrong is a change that is not stored. A walk takes no hints: VerifyEvery
// finds it, and a save that walks for another reason stores it.

// MemoryRange is the memory from address Start up to End, without that. It keeps
// nothing alive.
type MemoryRange struct{ Start, End uintptr }

// MemoryOf returns the memory of the elements of a slice, up to its length. Arrays without pointers
// are kept up to the capacity of their slices, and looked at unless all of that is vouched for: pass
// s[:cap(s)] if what is behind the length was not written either.
func MemoryOf[T any](s []T) MemoryRange {
	start := reflect.ValueOf(s).Pointer()
	return MemoryRange{start, start + uintptr(len(s))*reflect.TypeFor[T]().Size()}
}

// HintSource knows of memory that cannot have been written lately. Not to know is always
// right. Graphs in several goroutines may call it at once.
type HintSource interface {
	// Moment names the present. It is called once at the beginning of each save,
	// before that reads memory.
	Moment() uint64
	// Unchanged appends to list what cannot have been written between two moments of
	// the source: by the program, by systems calls, by anybody but poddb itself. The
	// second one is that of the save which asks; the first one that of the newest
	// committed save of the same graph. There may be other moments between them, of saves
	// that failed and of other graphs.
	//
	// The save wants to know about the ranges asked, which are in order and do not touch; they
	// have all its regions and other memory. The appended ranges may be any, in any order.
	// None of asked, list and their memory is to be kept.
	Unchanged(list []MemoryRange, from, to uint64, asked []MemoryRange) []MemoryRange
}

// moment begins a save.
func (g *Graph) moment() uint64 {
	if g.cfg.Hints == nil || !g.cfg.Index {
		return 0
	}
	return g.cfg.Hints.Moment()
}

// askHints asks what has not been written since the newest committed save. There was one: it
// took the fingerprints.
func (g *Graph) askHints(now uint64) *quietMemory {
	if g.cfg.Hints == nil {
		return nil
	}
	return newQuietMemory(g.cfg.Hints.Unchanged(nil, g.asOf, now, g.cur.memory.ranges()))
}

// ranges returns memory that has all regions of the index.
func (x *regionIndex) ranges() []MemoryRange {
	list := make([]MemoryRange, 0, x.count+len(x.large))
	add := func(page uintptr) { list = append(list, MemoryRange{page << pageBits, (page + 1) << pageBits}) }
	for k := range x.rows {
		if x.rows[k].chunks != nil {
			add(x.rows[k].key)
		}
	}
	for page := range x.large {
		add(page)
	}
	return joined(list)
}

// joined puts ranges in order, and makes one of those that touch.
func joined(list []MemoryRange) []MemoryRange {
	slices.SortFunc(list, func(a, b MemoryRange) int { return cmp.Compare(a.Start, b.Start) })
	n := 0
	for _, r := range list {
		if n > 0 && r.Start <= list[n-1].End {
			list[n-1].End = max(list[n-1].End, r.End)
			continue
		}
		list[n] = r
		n++
	}
	return list[:n]
}

// quietMemory is memory that somebody vouches for.
type quietMemory struct {
	ranges []MemoryRange // in order; they do not touch
	last   MemoryRange   // one that was asked about lately
	hits   int           // how often covers said yes
}

// newQuietMemory returns nil for nothing.
func newQuietMemory(list []MemoryRange) *quietMemory {
	if list = joined(list); len(list) == 0 {
		return nil
	}
	return &quietMemory{ranges: list, last: list[0]}
}

// covers reports whether all of the n bytes at an address are quiet.
func (q *quietMemory) covers(at, n uintptr) bool {
	if at < q.last.Start || at >= q.last.End {
		k, found := slices.BinarySearchFunc(q.ranges, at, func(r MemoryRange, at uintptr) int { return cmp.Compare(r.Start, at) })
		if !found {
			k-- // the one that begins below
		}
		if k < 0 || at >= q.ranges[k].End {
			return false
		}
		q.last = q.ranges[k]
	}
	if n > q.last.End-at {
		return false
	}
	q.hits++
	return true
}
