package podder

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/poddb/poddb/internal/pod"
)

// mapSlot finds the slot of a map.
func (v *viewer) mapSlot(r reference) (at target, p *pod.Pod, d pod.Data, n *node, err error) {
	p, d, at, err = v.slot(r.to)
	if err != nil {
		return at, p, d, nil, err
	}
	if storedKind(&d) != pod.SlotMap {
		return at, p, d, nil, v.corrupt(at, "slot of kind %d where a map is referred to", d.Kind)
	}
	if n, err = v.node(d.Type); err == nil && n.kind != nodeEntries {
		err = v.corrupt(at, "map slot with the type %s", n.text)
	}
	return at, p, d, n, err
}

// entriesAt calls f for the entries of a map.
func (v *viewer) entriesAt(r reference, f func(key, val view) error) error {
	at, p, d, n, err := v.mapSlot(r)
	if err != nil {
		return err
	}
	if d.Kind != pod.SlotChunks {
		return v.entriesOf(at, p, d, n, f)
	}
	return v.eachPart(at, p, d, func(at target, p *pod.Pod, d pod.Data) error { return v.entriesOf(at, p, d, n, f) })
}

// keyStep is a key as a step of a path.
func (v *viewer) keyStep(key view) (string, error) {
	key, err := v.dynamic(key)
	if err != nil {
		return "", err
	}
	if key.n == nil || key.n.kind != nodeBasic {
		s, err := v.preview(key)
		return "[" + s + "]", err
	}
	s, quoted, err := v.basicText(&key)
	if quoted {
		s = strconv.Quote(s)
	}
	return "[" + s + "]", err
}

// mapEntry is an entry of a part of a map that changed.
type mapEntry struct {
	step string
	val  view
}

// maps compares two maps by key. Chunks that both have and that did not change are not
// read, unless they are on a way.
func (d *differ) maps(p objectPair) error {
	skip, err := d.sharedChunks(p)
	if err != nil {
		return err
	}
	before, err := d.a.changedEntries(p.ra, skip)
	if err != nil {
		return err
	}
	after, err := d.b.changedEntries(p.rb, skip)
	if err != nil {
		return err
	}
	type both struct {
		mapEntry
		key  elemKey
		kind ChangeKind
	}
	var list []both
	for key, e := range after {
		kind := ValueChanged
		if _, ok := before[key]; !ok {
			kind = ValueAdded
		}
		list = append(list, both{e, key, kind})
	}
	for key, e := range before {
		if _, ok := after[key]; !ok {
			list = append(list, both{e, key, ValueRemoved})
		}
	}
	slices.SortFunc(list, func(x, y both) int { return cmp.Or(cmp.Compare(x.step, y.step), slices.Compare(x.key[:], y.key[:])) })
	for _, e := range list {
		path := p.path.to(e.step)
		switch e.kind {
		case ValueAdded:
			err = d.added(e.val, path)
		case ValueRemoved:
			err = d.removed(e.val, path)
		default:
			err = d.values(before[e.key].val, e.val, path)
		}
		if err != nil {
			return err
		}
	}
	return d.waysOfChunks(p, skip)
}

// sharedChunks are the chunks that both maps have in the same state.
func (d *differ) sharedChunks(p objectPair) (map[pod.ID]bool, error) {
	shared := map[pod.ID]bool{}
	first := map[pod.ID]bool{}
	for _, side := range []struct {
		v *viewer
		r reference
	}{{d.a, p.ra}, {d.b, p.rb}} {
		at, in, data, _, err := side.v.mapSlot(side.r)
		if err != nil {
			return nil, err
		}
		if data.Kind != pod.SlotChunks {
			return nil, nil
		}
		list, err := side.v.chunksOf(at, in, data)
		if err != nil {
			return nil, err
		}
		for i := range list.chunks {
			id := list.chunks[i].id
			if side.v == d.a {
				first[id] = true
			} else if first[id] && !d.changed[id] {
				shared[id] = true
			}
		}
	}
	return shared, nil
}

// changedEntries reads the entries of a map by key, without those in some chunks.
func (v *viewer) changedEntries(r reference, skip map[pod.ID]bool) (map[elemKey]mapEntry, error) {
	at, p, d, n, err := v.mapSlot(r)
	if err != nil {
		return nil, err
	}
	all := map[elemKey]mapEntry{}
	note := func(key, val view) error {
		k, err := v.keyOf(key)
		if err != nil {
			return err
		}
		s, err := v.keyStep(key)
		all[k] = mapEntry{s, val}
		return err
	}
	if d.Kind != pod.SlotChunks {
		return all, v.entriesOf(at, p, d, n, note)
	}
	list, err := v.chunksOf(at, p, d)
	if err != nil {
		return nil, err
	}
	for i := range list.chunks {
		c := &list.chunks[i]
		if skip[c.id] {
			continue
		}
		in, part, err := v.chunkAt(list.kind, d.Type, c)
		if err == nil {
			err = v.entriesOf(target{pod: c.id}, in, part, n, note)
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// waysOfChunks looks for ways through chunks that did not change.
func (d *differ) waysOfChunks(p objectPair, skipped map[pod.ID]bool) error {
	if len(skipped) == 0 {
		return nil
	}
	at, in, data, n, err := d.b.mapSlot(p.rb)
	if err != nil {
		return err
	}
	list, err := d.b.chunksOf(at, in, data)
	if err != nil {
		return err
	}
	for i := range list.chunks {
		c := &list.chunks[i]
		if !skipped[c.id] || !d.way[target{pod: c.id}] {
			continue
		}
		in, part, err := d.b.chunkAt(list.kind, data.Type, c)
		if err == nil {
			err = d.b.entriesOf(target{pod: c.id}, in, part, n, func(key, val view) error {
				s, err := d.b.keyStep(key)
				if err != nil {
					return err
				}
				return d.unchanged(val, p.path.to(s))
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
