package mvcc

import (
	"bytes"
	"encoding/binary"

	"github.com/poddb/poddb/internal/pod"
)

// A changed pod is stored as what differs from the version before, if that is
// at most half of the whole: a patch (slots and runs that changed) or a delta
// (the body against the old body as a dictionary). A patch is cheap to make and
// to merge; a delta costs a table of the old body, some 30 µs, and finds what
// changed inside a slot or was moved. So:
//
//  1. A short patch is taken as it is.
//  2. A delta is only tried if samples of the new body occur in the old one.
//  3. It is taken if it is clearly shorter than the patch.
const (
	deltaMin   = 256 // a patch up to so many bytes is not tried to be shortened
	deltaGain  = 4   // a delta is shorter than the patch by one part in so many
	deltaWords = 64  // samples of 8 bytes
)

// appendChange appends the version that turns base into next, as a patch if plain; own is the generation of
// slots that it gives out.
func appendChange(dst []byte, base, next *pod.Pod, own pod.Generation, whole int, plain bool) []byte {
	patch := pod.AppendPatch(dst, base, next, own)
	if plain || len(patch) <= max(deltaMin, whole/32) || !alike(base.Body(), next.Body()) {
		return patch
	}
	delta, ok := pod.AppendDelta(nil, base, next, own)
	if !ok || len(delta) > len(patch)-len(patch)/deltaGain {
		return patch
	}
	return append(dst, delta...)
}

// rewritten is cheap evidence that a small pod changed so much that no patch is
// half of the whole: what changed in slots without runs is longer.
func rewritten(base, next *pod.Pod, whole int) bool {
	if whole > deltaMin {
		return false
	}
	n := 0
	for i := range next.Slots {
		d := &next.Slots[i]
		switch {
		case d.Runs != nil:
		case i >= len(base.Slots):
			n += len(d.Bytes)
		case !bytes.Equal(base.Slots[i].Bytes, d.Bytes):
			n += pod.Differing(&base.Slots[i], d)
		}
	}
	return n > whole/2
}

// alike is cheap evidence that a delta pays: of samples of b, a quarter is at
// the same distance from the start, or from the end, of a.
func alike(a, b []byte) bool {
	n := min(len(a), len(b)) - 8
	if n < 0 {
		return false
	}
	step := max(n/deltaWords, 1)
	same, all := 0, 0
	for at := 0; at <= n; at += step {
		all++
		if binary.LittleEndian.Uint64(a[at:]) == binary.LittleEndian.Uint64(b[at:]) ||
			binary.LittleEndian.Uint64(a[len(a)-8-at:]) == binary.LittleEndian.Uint64(b[len(b)-8-at:]) {
			same++
		}
	}
	return same*4 >= all
}
