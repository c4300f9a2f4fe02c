package podder

import (
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// follow reads the rest of a pointer code and finds where it leads in what is
// stored, through forwarders, without making anything. It reports false after
// an error, or if a pod is missing and will be fetched.
func (l *loader) follow(p *loadPod, c *cursor, code uint64) (storedPlace, bool) {
	var at storedPlace
	for hops := 0; ; hops++ {
		first := len(l.steps)
		index := uint64(0)
		if (code-codeBase)&codeInterior != 0 {
			index = l.readInterior(c)
		}
		steps := slices.Clone(l.steps[first:])
		l.steps = l.steps[:first]
		if c.bad {
			l.corrupt("reference ends early")
			return at, false
		}
		// The way from where this reference leads, then the way so far.
		if n := len(steps); n > 0 {
			steps[n-1] += at.index
		} else {
			index += at.index
		}
		at.index, at.steps = index, append(steps, at.steps...)
		var ok bool
		if at.pod, at.slot, ok = l.target(p, code); !ok {
			return at, false
		}
		d := &at.pod.merged.Slots[at.slot]
		if d.Kind != pod.SlotForward {
			return at, true
		}
		if hops >= maxForwarders {
			l.corrupt("pod %d slot %d: cycle of forwarders", at.pod.id, at.slot)
			return at, false
		}
		p, c = at.pod, &cursor{buf: d.Bytes}
		if code = c.uvarint(); code < codeBase {
			l.corrupt("pod %d slot %d: forwarder to nothing", at.pod.id, at.slot)
			return at, false
		}
	}
}

// target returns the slot of a fetched pod that a code names.
func (l *loader) target(p *loadPod, code uint64) (*loadPod, pod.Slot, bool) {
	y := code - codeBase
	number := y >> codeShift
	if y&codeExternal == 0 {
		if number >= uint64(len(p.slots)) {
			l.corrupt("reference to slot %d of %d", number, len(p.slots))
			return nil, 0, false
		}
		return p, pod.Slot(number), true
	}
	if number >= uint64(len(p.merged.Refs)) || p.merged.Refs[number].Pod == 0 {
		l.corrupt("reference %d of %d in the table", number, len(p.merged.Refs))
		return nil, 0, false
	}
	ref := p.merged.Refs[number]
	to := l.pod(ref.Pod)
	to.keep = true
	if to.merged == nil {
		l.need(to)
		return nil, 0, false
	}
	if int(ref.Slot) >= len(to.slots) || to != p && !to.merged.Exported(ref.Slot) {
		l.corrupt("reference to slot %d of pod %d, which is not exported", ref.Slot, to.id)
		return nil, 0, false
	}
	return to, ref.Slot, true
}

// stored finds the bytes of the value at a place, and how they are laid out. The
// node is nil if the value is zero because it lies beyond what is kept.
func (l *loader) stored(at storedPlace) (*node, cursor, bool) {
	d := &at.pod.merged.Slots[at.slot]
	if d.Kind == pod.SlotChunks { // beyond what is in chunks (inChunk)
		return nil, cursor{}, true
	}
	if d.Kind != pod.SlotObject && d.Kind != pod.SlotArray {
		l.corrupt("reference into a slot of kind %d", d.Kind)
		return nil, cursor{}, false
	}
	st, err := l.descriptorOf(d.Type)
	if err != nil {
		l.failAt(err)
		return nil, cursor{}, false
	}
	if st.named != "" {
		l.failAt(fmt.Errorf("the value called %q is wanted as a copy: %w", st.named, dberr.ErrTypeMismatch))
		return nil, cursor{}, false
	}
	n, c := st.node, cursor{buf: d.Bytes}
	if d.Kind == pod.SlotArray {
		var zero, ok bool
		if c, zero, ok = l.storedElement(at, n); zero || !ok {
			return nil, cursor{}, ok
		}
	} else if at.index > 0 {
		l.corrupt("reference to element %d of one", at.index)
		return nil, cursor{}, false
	}
	for _, step := range at.steps {
		if n = l.passTo(at.pod, &c, n, step); n == nil || l.err != nil || c.bad {
			l.corrupt("reference into %s leads nowhere", st.node.text)
			return nil, cursor{}, false
		}
	}
	return n, c, true
}

// passTo reads on to one part of a value, nil if it has none of that number.
func (l *loader) passTo(p *loadPod, c *cursor, n *node, step uint64) *node {
	switch n.kind {
	case nodeStruct:
		for i := range n.fields {
			if uint64(n.fields[i].id) == step {
				return n.fields[i].node
			}
			l.pass(p, c, n.fields[i].node)
		}
	case nodeArray:
		if step >= n.length {
			return nil
		}
		if leastBytes(n.elem) == 0 {
			return n.elem
		}
		for i := uint64(0); i < step && !c.bad && l.err == nil; i++ {
			l.pass(p, c, n.elem)
		}
		return n.elem
	}
	return nil
}

// storedElement finds the bytes of one element of an array; zero says that it is
// not kept.
func (l *loader) storedElement(at storedPlace, n *node) (c cursor, zero, ok bool) {
	d := &at.pod.merged.Slots[at.slot]
	h, ok := l.arrayHeader(at.pod, at.slot, d)
	if !ok {
		return c, false, false
	}
	if at.index >= h.extent {
		l.corrupt("reference to element %d of %d", at.index, h.extent)
		return c, false, false
	}
	if at.index >= h.stored {
		return c, true, true
	}
	all := runsOf(d)
	all.next()
	var run []byte
	for range at.index/h.perRun + 1 {
		if run, ok = all.next(); !ok {
			l.corrupt("runs exceed the %d bytes of an array", len(d.Bytes))
			return c, false, false
		}
	}
	skip := at.index % h.perRun
	if f := n.flat(); f != nil {
		each := uint64(f.count) * uint64(f.width())
		if each == 0 || skip >= uint64(len(run))/each {
			l.corrupt("run of %d bytes has no element %d of %d bytes", len(run), skip, each)
			return c, false, false
		}
		return cursor{buf: f.varied(nil, run[skip*each:(skip+1)*each])}, false, true
	}
	c = cursor{buf: run}
	if leastBytes(n) == 0 {
		return c, false, true
	}
	for ; skip > 0 && !c.bad && l.err == nil; skip-- {
		l.pass(at.pod, &c, n)
	}
	return c, false, l.err == nil
}

// flat returns what the elements of a container of n are made of if they are
// stored with fixed width, else nil.
func (n *node) flat() *fixedElem {
	switch {
	case n.kind == nodeBasic && n.basic != typeString:
		return &fixedElem{kind: basicKind(n.basic), count: 1}
	case n.kind == nodeArray && n.length > 0:
		if f := n.elem.flat(); f != nil && n.length <= maxFixed/uint64(f.count) {
			return &fixedElem{kind: f.kind, count: f.count * int(n.length)}
		}
	}
	return nil
}
