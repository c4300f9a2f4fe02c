package podder

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/zeebo/xxh3"

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
func (r *mergeRun) choose(t target, b, o, d *mergeTree, path *diffPath, behind bool) (*mergeTree, error) {
	c := r.conflict(mergePlace{slot: t, path: path.String()}, r.shown(b), r.shown(o), r.shown(d), behind)
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

// keyText tells a key of a map from all others, whichever version it is of.
func (m *merger) keyText(t *mergeTree) (string, error) {
	b, err := m.appendKeyText(nil, t)
	return string(b), err
}

func (m *merger) appendKeyText(dst []byte, t *mergeTree) ([]byte, error) {
	dst = append(append(append(dst, byte(t.n.kind)), t.n.text...), 0)
	switch {
	case t.n.kind == nodeBasic && t.n.basic == typeString:
		s, err := m.textOf(t)
		return append(binary.AppendUvarint(dst, uint64(len(s))), s...), err
	case t.leads():
		fresh, err := m.isNew(t.side, t.ref.to)
		if err != nil {
			return dst, err
		}
		tag := baseSide
		if fresh {
			tag = t.side
		}
		to, err := m.follow(t.side, t.ref)
		return fmt.Append(dst, tag, to.to, to.index, to.steps, t.length), err
	}
	dst = append(dst, t.raw...)
	for _, k := range t.kids {
		var err error
		if dst, err = m.appendKeyText(dst, k); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// keyStep is a key as a step of a path. Keys that are no text look alike, and get something to
// tell them apart.
func (m *merger) keyStep(t *mergeTree) (string, error) {
	d := t.dynamic()
	if d.n.kind == nodeBasic && d.n.basic == typeString {
		s, err := m.textOf(d)
		return "[" + strconv.Quote(s) + "]", err
	}
	text := m.textShown(t)
	if d.n.kind != nodeBasic {
		id, err := m.keyText(t)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf("#%04x", xxh3.HashString(id)&0xffff)
	}
	return "[" + text + "]", nil
}
