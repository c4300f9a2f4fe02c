package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// What a salvage could not find out stays known in the database that it made, so
// that nobody takes an older state for the one that was lost:
//
//  1. A pod version whose row is known and whose contents are not has the
//     envelope "lost". Types have it too.
//  2. Where rows themselves may be missing, the row of kind o says in which key ranges,
//     which pod version numbers and which versions' names are unaccounted for. A
//     search that passes such a range, on its way down from the state asked for to
//     the one found, where one of these may lie between, has no answer.
//
// Both are errLost for the reader. What is written later has higher numbers
// than all that is unaccounted for, and is found before.
var errLost = dberr.Corrupt("", -1, "these contents were lost when the file was salvaged")

func isLost(err error) bool { return errors.Is(err, errLost) }

// keyRange is [low, high).
type keyRange struct{ low, high []byte }

// lostRows is the row of kind o:
//
//	format 1 | uvarint n | n × (uvarint length, low, uvarint length, high)
//	sized set: numbers | sized set: versions
//
// Ranges ascend and hold pod versions and names only.
type lostRows struct {
	ranges   []keyRange
	numbers  *Set // of pod versions that may lie in the ranges
	versions *Set // whose names may lie in the ranges
}

func (l *lostRows) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, 1), uint64(len(l.ranges)))
	for _, r := range l.ranges {
		dst = appendText(dst, string(r.low))
		dst = appendText(dst, string(r.high))
	}
	return appendSizedSet(appendSizedSet(dst, l.numbers), l.versions)
}

func decodeLostRows(b []byte) (*lostRows, error) {
	r := binenc.NewReader(b)
	if f := r.Byte(); f != 1 && r.Err() == nil {
		r.Fail("format %d of what was lost is unknown", f)
	}
	l := &lostRows{}
	for n := r.Count(4); n > 0 && r.Err() == nil; n-- {
		x := keyRange{[]byte(readText(r)), []byte(readText(r))}
		if k := len(l.ranges); bytes.Compare(x.low, x.high) >= 0 || k > 0 && bytes.Compare(l.ranges[k-1].high, x.low) > 0 {
			r.Fail("ranges do not ascend")
		}
		l.ranges = append(l.ranges, x)
	}
	l.numbers, l.versions = readSet(r), readSet(r)
	return l, r.End()
}

// loadLost reads what a salvage noted.
func (v *view) loadLost() (*lostRows, error) {
	b, ok, err := v.fetch([]byte{kindLost})
	if err != nil || !ok {
		return nil, err
	}
	return decodeLostRows(b)
}

// passes reports whether a range lies, in part, in [from, to].
func (l *lostRows) passes(from, to []byte) bool {
	i, _ := slices.BinarySearchFunc(l.ranges, from, func(r keyRange, from []byte) int {
		if bytes.Compare(r.high, from) <= 0 {
			return -1
		}
		return 1
	})
	return i < len(l.ranges) && bytes.Compare(l.ranges[i].low, to) <= 0
}

// hides reports whether a row may be missing under a key that is descending in
// its last eight bytes, from the key that was asked for down to above low. all
// are the numbers that may be missing.
func (l *lostRows) hides(from []byte, low uint64, all *Set) bool {
	if l == nil {
		return false
	}
	n := len(from) - 8
	high := ^be.Uint64(from[n:])
	if low >= high || !all.anyIn(low+1, high) {
		return false
	}
	return l.passes(bytes.Clone(from), be.AppendUint64(bytes.Clone(from[:n]), ^(low+1)))
}

// hidesPod is hides for the row of a pod version.
func (l *lostRows) hidesPod(from []byte, low uint64) bool {
	return l != nil && l.hides(from, low, l.numbers)
}

// hidesName is hides for the row of a name.
func (l *lostRows) hidesName(from []byte, low Version) bool {
	return l != nil && l.hides(from, low, l.versions)
}
