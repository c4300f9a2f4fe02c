package podder

import (
	"fmt"
	"strconv"

	"github.com/poddb/poddb/internal/pod"
)

// conflict notes a conflict, or finds the one that was noted for a place in an earlier attempt.
func (r *mergeRun) conflict(at mergePlace, b, o, d MergeValue, behind bool) *MergeConflict {
	key := at.key()
	if c := r.known[key]; c != nil {
		return c
	}
	for _, c := range r.found {
		if c.key == key {
			return c
		}
	}
	c := &MergeConflict{key: key, at: at, Base: b, Ours: o, Theirs: d, Behind: behind}
	for _, v := range []MergeValue{o, d, b} {
		if c.Type == "" {
			c.Type = v.Type
		}
	}
	r.found = append(r.found, c)
	return c
}

// choose is the value that a conflict comes to; while it is open that is ours.
func (r *mergeRun) choose(at mergePlace, b, o, d *mergeTree, path *diffPath, behind bool) (*mergeTree, error) {
	c := r.conflict(at.at(path), r.shown(b), r.shown(o), r.shown(d), behind)
	for _, x := range []*mergeTree{o, d} { // what it says of the slice goes for the elements
		if b == nil || x == nil || b.n.kind != nodeSlice || x.n.kind != nodeSlice || !b.leads() {
			continue
		}
		to, err := r.follow(baseSide, b.ref)
		if err != nil {
			return nil, err
		}
		r.windows[to.to] = c
	}
	switch c.Choice {
	case ChooseTheirs:
		return d, nil
	case ChooseValue:
		return c.made, nil
	}
	return o, nil
}

// windowLost reports whether a slice became one of something else, or of less, of whose elements
// a side has changed some: then these changes would be lost, or shown where they do not belong.
func (r *mergeRun) windowLost(side mergeSide, b, now *mergeTree) (bool, error) {
	if b == nil || b.n.kind != nodeSlice || !b.leads() || now == nil {
		return false, nil
	}
	was, err := r.follow(baseSide, b.ref)
	if err != nil {
		return false, err
	}
	same, err := r.same(side, was.to)
	if err != nil || !same {
		return false, err
	}
	changed, err := r.contentChanged(side, was.to)
	if err != nil || !changed {
		return false, err
	}
	if !now.leads() || now.n.kind != nodeSlice {
		return true, nil
	}
	same, err = r.sameReference(b, now)
	return err == nil && (!same || now.length < b.length), err
}

// MergeValue is a value in one of the versions of a merge.
type MergeValue struct {
	Present bool
	Type    string // as stored
	Text    string // as in a Change

	tree *mergeTree
	m    *merger
}

// String is the text, or "absent".
func (v MergeValue) String() string {
	if !v.Present {
		return "absent"
	}
	return v.Text
}

func (r *mergeRun) shown(t *mergeTree) MergeValue {
	if t == nil {
		return MergeValue{}
	}
	return MergeValue{Present: true, Type: t.dynamic().n.text, Text: r.textShown(t), tree: t, m: r.merger}
}

// dynamic is the value in an interface.
func (t *mergeTree) dynamic() *mergeTree {
	for t.n.kind == nodeInterface && len(t.kids) == 1 {
		t = t.kids[0]
	}
	return t
}

func (m *merger) textShown(t *mergeTree) string {
	if t = t.dynamic(); t.n.kind == nodeInterface {
		return "nil"
	}
	switch t.n.kind {
	case nodePointer, nodeMap:
		if t.ref.null {
			return "nil"
		}
	case nodeSlice:
		if !t.isRef && len(t.raw) == 1 && t.raw[0] == 0 {
			return "nil"
		}
		return fmt.Sprintf("%s (%d)", t.n.text, t.length)
	case nodeBasic:
		if t.n.basic == typeString {
			s, err := m.textOf(t)
			if err != nil {
				return "(" + err.Error() + ")"
			}
			s, _ = textsShown(s, "")
			return s
		}
		w := view{n: t.n, c: cursor{buf: t.raw}, fixed: t.fixed}
		s, _, err := m.v[t.side].basicText(&w)
		if err != nil {
			return "(" + err.Error() + ")"
		}
		return s
	case nodeCodec:
		c := cursor{buf: t.raw}
		return m.v[t.side].codecShown(t.n, c.bytes(c.uvarint()))
	}
	return t.n.text
}

// slotShown is an object as a whole.
func (r *mergeRun) slotShown(s *mergeSlot) MergeValue {
	switch {
	case s == nil:
		return MergeValue{}
	case s.value != nil:
		return r.shown(s.value)
	case s.kind == pod.SlotForward:
		return MergeValue{Present: true, Text: "moved into another object"}
	}
	n := uint64(len(s.elems) + len(s.entries) + len(s.raw))
	if s.list != nil {
		n = s.list.stored
	}
	v := MergeValue{Present: true, Text: strconv.FormatUint(n, 10) + " elements"}
	if s.n != nil {
		v.Type = s.n.text
		v.Text = fmt.Sprintf("%s (%d)", s.n.text, n)
	}
	return v
}
