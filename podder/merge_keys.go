package podder

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/zeebo/xxh3"
)

// Entries of maps. What tells one from all others is the text of its key, which names what references in it lead to by
// their places. A key that is not equal to itself (NaN) may have any number of entries: they are told apart by their
// values, and what changed is paired in the order in which it is met.

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
	if t.n.kind == nodeHanded {
		dst = append(binary.AppendUvarint(dst, uint64(len(t.data))), t.data...)
		dst = binary.AppendUvarint(dst, uint64(t.vals))
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

// entryText tells an entry of a map from all others of a version, but from those with equal values if its key is not equal
// to itself.
func (m *merger) entryText(e mergeEntry) (string, error) {
	b, err := m.appendKeyText(nil, e.key)
	if err == nil && e.val != nil && e.key.unequal() {
		b, err = m.appendKeyText(append(b, 0), e.val)
	}
	return string(b), err
}

// unequal reports whether a key is not equal to itself.
func (t *mergeTree) unequal() bool {
	for _, k := range t.kids {
		if k.unequal() {
			return true
		}
	}
	if t.n.kind != nodeBasic {
		return false
	}
	size := 0
	switch t.n.basic {
	case typeFloat32, typeComplex64:
		size = 4
	case typeFloat64, typeComplex128:
		size = 8
	default:
		return false
	}
	for raw := t.raw; len(raw) >= size; raw = raw[size:] {
		f := 0.0
		if size == 4 {
			f = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))
		} else {
			f = math.Float64frombits(binary.LittleEndian.Uint64(raw))
		}
		if math.IsNaN(f) {
			return true
		}
	}
	return false
}

// mergeKey is one entry of a map in three versions, and what becomes of it.
type mergeKey struct {
	key  *mergeTree
	text string // of the entry
	step string
	vals [mergeSides]*mergeTree
	res  *mergeTree
}

// entries merges entries by key, in the order in which they are met.
func (r *mergeRun) entries(t target, lists ...[]mergeEntry) ([]*mergeKey, error) {
	var all []*mergeKey
	by := map[string]*mergeKey{}
	unequal := false
	for side, list := range lists {
		times := map[string]int{}
		for _, e := range list {
			text, err := r.entryText(e)
			if err != nil {
				return nil, err
			}
			unequal = unequal || e.key.unequal()
			k := by[text]
			if k != nil && k.vals[side] != nil { // one more
				times[text]++
				text += "#" + strconv.Itoa(times[text])
				k = by[text]
			}
			if k == nil {
				k = &mergeKey{text: text}
				by[text] = k
				all = append(all, k)
			}
			if k.key == nil || mergeSide(side) == oursSide || k.vals[oursSide] == nil {
				k.key = e.key
			}
			k.vals[side] = e.val
		}
	}
	if unequal {
		var err error
		if all, err = r.pairUnequal(all); err != nil {
			return nil, err
		}
	}
	for _, k := range all {
		if err := r.mergeKey(t, k); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// pairUnequal takes entries of keys that are not equal to themselves, that base has and a side has not, for those of the
// same key that only the side has: their values changed.
func (r *mergeRun) pairUnequal(all []*mergeKey) ([]*mergeKey, error) {
	var gone, came [mergeSides]map[string][]*mergeKey
	for side := range mergeSides {
		gone[side], came[side] = map[string][]*mergeKey{}, map[string][]*mergeKey{}
	}
	for _, k := range all {
		if !k.key.unequal() {
			continue
		}
		text, err := r.keyText(k.key)
		if err != nil {
			return nil, err
		}
		for _, side := range []mergeSide{oursSide, theirsSide} {
			switch was, is := k.vals[baseSide] != nil, k.vals[side] != nil; {
			case was && !is:
				gone[side][text] = append(gone[side][text], k)
			case is && !was:
				came[side][text] = append(came[side][text], k)
			}
		}
	}
	for side := range mergeSides {
		for text, list := range gone[side] {
			for i, k := range came[side][text] {
				if i < len(list) {
					list[i].vals[side], k.vals[side] = k.vals[side], nil
					if side == oursSide {
						list[i].key = k.key
					}
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(k *mergeKey) bool { return k.vals == [mergeSides]*mergeTree{} }), nil
}

func (r *mergeRun) mergeKey(t target, k *mergeKey) (err error) {
	if k.step, err = r.keyStep(k.key); err != nil {
		return err
	}
	b, o, d := k.vals[baseSide], k.vals[oursSide], k.vals[theirsSide]
	k.res, err = r.value(mergePlace{slot: t, entry: k.text}, b, o, d, o, (&diffPath{}).to(k.step))
	return err
}
