package pod

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
)

// The reference table: uvarint count, then one code for each number.
//
//	0          unused
//	1          uvarint pod, uvarint slot       when the difference needs 62 bits or more
//	2 + z<<1     slot 0 of pod previous+d      z = zig-zag of d
//	2 + z<<1|1   followed by uvarint slot, not 0
//
// previous is the pod of the used entry before, 0 at first. Pods of one commit
// are neighbours, so most entries are one byte.
//
// Against a base: uvarint new count, uvarint changes, and for each uvarint gap
// (numbers skipped since the change before) and its code, previous being the
// used entry before it in the new table. Numbers the base does not have are all
// changes.

type refCode struct {
	used     bool
	absolute bool
	pod      uint64 // absolute: the pod; else the difference, modulo 2^64
	slot     Slot
}

func (c refCode) ref(prev ID) Ref {
	switch {
	case !c.used:
		return Ref{}
	case c.absolute:
		return Ref{Pod: ID(c.pod), Slot: c.slot}
	}
	return Ref{Pod: prev + ID(c.pod), Slot: c.slot}
}

func appendRef(dst []byte, ref Ref, prev ID) []byte { return appendRefCode(dst, ref, prev, 0) }

// appendRefCode is appendRef with codes from 2 on that are higher.
func appendRefCode(dst []byte, ref Ref, prev ID, higher uint64) []byte {
	if ref.Pod == 0 {
		return append(dst, 0)
	}
	d := int64(ref.Pod - prev)
	z := uint64(d)<<1 ^ uint64(d>>63)
	if z >= 1<<62 {
		dst = append(dst, 1)
		dst = binary.AppendUvarint(dst, uint64(ref.Pod))
		return binary.AppendUvarint(dst, uint64(ref.Slot))
	}
	if ref.Slot == 0 {
		return binary.AppendUvarint(dst, 2+higher+z<<1)
	}
	dst = binary.AppendUvarint(dst, 2+higher+(z<<1|1))
	return binary.AppendUvarint(dst, uint64(ref.Slot))
}

func readRef(r *binenc.Reader) refCode { return readRefCode(r, r.Uvarint()) }

func readRefCode(r *binenc.Reader, t uint64) refCode {
	switch {
	case t == 0:
		return refCode{}
	case t == 1:
		c := refCode{used: true, absolute: true, pod: r.Uvarint()}
		c.slot = Slot(r.Uvarint32())
		if c.pod == 0 {
			r.Fail("reference to pod 0")
		}
		return c
	}
	t -= 2
	z := t >> 1
	if z >= 1<<62 {
		r.Fail("reference too far from the one before")
	}
	c := refCode{used: true, pod: z>>1 ^ -(z & 1)}
	if t&1 != 0 {
		if c.slot = Slot(r.Uvarint32()); c.slot == 0 {
			r.Fail("slot 0 of a reference written out")
		}
	}
	return c
}

func appendRefs(dst []byte, refs []Ref) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(refs)))
	prev := ID(0)
	for _, ref := range refs {
		dst = appendRef(dst, ref, prev)
		if ref.Pod != 0 {
			prev = ref.Pod
		}
	}
	return dst
}

func readRefs(r *binenc.Reader) []Ref {
	n := r.Count(1)
	if n == 0 {
		return nil
	}
	refs := make([]Ref, n)
	prev := ID(0)
	for i := range refs {
		code := readRef(r)
		refs[i] = code.ref(prev)
		if refs[i].Pod != 0 {
			prev = refs[i].Pod
		} else if code.used {
			r.Fail("reference to pod 0")
		}
	}
	return refs
}

// refsPart is the reference table of a version: unchanged (the zero value),
// whole, or changes against the base.
type refsPart struct {
	whole   bool
	refs    []Ref
	count   int // with changes
	changes []refChange
}

type refChange struct {
	index int
	code  refCode
}

func sameRefs(a, b []Ref) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// appendRefChanges returns false, having appended nothing of use, when writing
// the table whole is about as short.
func appendRefChanges(dst []byte, base, next []Ref) ([]byte, bool) {
	changed := max(0, len(next)-len(base))
	for i := range min(len(base), len(next)) {
		if base[i] != next[i] {
			changed++
		}
	}
	if changed*2 > len(next) {
		return dst, false
	}
	dst = binary.AppendUvarint(dst, uint64(len(next)))
	dst = binary.AppendUvarint(dst, uint64(changed))
	prev, from := ID(0), 0
	for i, ref := range next {
		if i >= len(base) || base[i] != ref {
			dst = binary.AppendUvarint(dst, uint64(i-from))
			dst = appendRef(dst, ref, prev)
			from = i + 1
		}
		if ref.Pod != 0 {
			prev = ref.Pod
		}
	}
	return dst, true
}

func readRefChanges(r *binenc.Reader) refsPart {
	p := refsPart{count: readSlotCount(r)}
	n := r.Count(2)
	p.changes = make([]refChange, 0, n)
	next := 0
	for range n {
		i := readIndex(r, next, p.count)
		p.changes = append(p.changes, refChange{i, readRef(r)})
		next = i + 1
	}
	return p
}

const refsGrow = "reference table grows without naming what is new"

// merge gives the table that follows base, and what is not right or "".
func (p *refsPart) merge(base []Ref) ([]Ref, string) {
	if p.whole {
		return p.refs, ""
	}
	if p.changes == nil {
		return base, ""
	}
	known := min(len(base), p.count)
	for _, c := range p.changes {
		if c.index > known {
			return nil, refsGrow
		}
		known = max(known, c.index+1)
	}
	if known < p.count {
		return nil, refsGrow
	}
	refs := make([]Ref, p.count)
	copy(refs, base)
	prev, from := ID(0), 0
	for _, c := range p.changes {
		for _, ref := range refs[from:c.index] {
			if ref.Pod != 0 {
				prev = ref.Pod
			}
		}
		refs[c.index] = c.code.ref(prev)
		if c.code.used && refs[c.index].Pod == 0 {
			return nil, "reference to pod 0"
		}
		from = c.index
	}
	return refs, ""
}
