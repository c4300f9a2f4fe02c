package pod

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
)

// cut is how much of old bytes new ones begin and end with: a patch need not repeat that.
// What stands between is all that is stored of a number that changed in an object with a
// long text, or of one of three texts in a run.
type cut struct{ head, tail uint64 }

// cutOf returns what new bytes have in common with old ones.
func cutOf(old, new []byte) cut {
	head, most := 0, min(len(old), len(new))
	for head < most && old[head] == new[head] {
		head++
	}
	tail := 0
	for tail < most-head && old[len(old)-1-tail] == new[len(new)-1-tail] {
		tail++
	}
	return cut{uint64(head), uint64(tail)}
}

// between returns what is left of new bytes.
func (c cut) between(new []byte) []byte { return new[c.head : uint64(len(new))-c.tail] }

// cutHead is about what a cut takes beside what is between.
const cutHead = 2

// cutOp returns how a change of a slot that would be written as op is written with cuts:
// as one if that is shorter.
func cutOp(op uint8, before, after Data) uint8 {
	saved := 0
	switch op {
	case opBytes:
		if c := cutOf(before.Bytes, after.Bytes); c.head+c.tail > cutHead {
			return opCut
		}
	case opRuns:
		eachChangedRun(before, after, func(_ int, old, run []byte) {
			c := cutOf(old, run)
			saved += int(c.head+c.tail) - cutHead
		})
		if saved > 0 {
			return opCuts
		}
	}
	return op
}

// cutsAny reports whether any change is better written as a cut.
func cutsAny(base, next []Data, changed []int) bool {
	for _, i := range changed {
		old := before(base, i)
		if op := opOf(old, next[i]); cutOp(op, old, next[i]) != op {
			return true
		}
	}
	return false
}

func appendCut(dst, old, new []byte) []byte {
	c := cutOf(old, new)
	dst = binary.AppendUvarint(dst, c.head)
	dst = binary.AppendUvarint(dst, c.tail)
	rest := c.between(new)
	dst = binary.AppendUvarint(dst, uint64(len(rest)))
	return append(dst, rest...)
}

func readCut(r *binenc.Reader) cut { return cut{r.Uvarint(), r.Uvarint()} }

// fits reports whether old bytes have what is kept of them.
func (c cut) fits(old []byte) bool {
	n := uint64(len(old))
	return c.head <= n && c.tail <= n-c.head
}

// appendTo appends the new bytes: what is kept of old, and rest between.
func (c cut) appendTo(dst, old, rest []byte) []byte {
	dst = append(append(dst, old[:c.head]...), rest...)
	return append(dst, old[uint64(len(old))-c.tail:]...)
}
