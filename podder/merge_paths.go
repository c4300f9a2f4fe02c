package podder

import (
	"slices"
	"strconv"
	"strings"

	"github.com/poddb/poddb/internal/pod"
)

// Where in the graph conflicts are. As in Diff, ways to the objects are looked for over
// reference tables first, then walked, so that little else is decoded.

// mergeStep is an object that a walk has reached, and how.
type mergeStep struct {
	up    *mergeStep
	in    mergePlace // the reference that leads here
	at    target
	kind  nodeKind
	r     reference
	n     uint64 // length of a slice
	text  string
	path  string // from a variable
	first uint64 // of a slice: the element of the array that it begins with
}

// finder walks one version to some objects.
type finder struct {
	*differ
	m     *merger
	side  mergeSide
	want  map[target]bool
	found map[target]*mergeStep
	seen  map[string]bool
	walk  []*mergeStep
}

// reachable finds the objects that variables of a version reach; source and side are that
// version.
func (m *merger) reachable(src pod.Source, names []string, want map[target]bool) (map[target]bool, *ways, []DiffVariable, error) {
	d := newDiffer(m.ctx, DiffInput{A: src, B: src}, func(Change) bool { return true })
	w := d.newWays()
	by := map[pod.ID][]pod.Slot{}
	for t := range want {
		by[t.pod] = append(by[t.pod], t.slot)
	}
	for id, slots := range by {
		p, err := d.podOf(d.b, id)
		if err != nil {
			return nil, nil, nil, err
		}
		if p == nil {
			continue
		}
		slices.Sort(slots)
		slots = slices.DeleteFunc(slots, func(s pod.Slot) bool { return int(s) >= len(p.Slots) || p.Slots[s].Kind == pod.SlotFree })
		if err := w.want(id, p, slots); err != nil {
			return nil, nil, nil, err
		}
	}
	slices.Sort(w.ids)
	sought := map[target]bool{}
	for t := range w.open {
		sought[t] = true
	}
	roots, err := d.variables(names)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, r := range roots {
		if r.B != 0 {
			w.reach(nil, target{pod: r.B})
		}
	}
	if err := w.search(); err != nil {
		return nil, nil, nil, err
	}
	for t := range w.open {
		delete(sought, t)
	}
	return sought, w, roots, nil
}

// find walks to objects of a version.
func (m *merger) find(side mergeSide, src pod.Source, names []string, want map[target]bool) (map[target]*mergeStep, error) {
	reached, w, roots, err := m.reachable(src, names, want)
	if err != nil {
		return nil, err
	}
	f := &finder{differ: w.differ, m: m, side: side, want: reached, found: map[target]*mergeStep{}, seen: map[string]bool{}}
	for _, r := range roots {
		if r.B == 0 {
			continue
		}
		s := &mergeStep{in: mergePlace{name: r.Name}, kind: nodePointer, r: reference{to: target{pod: r.B}}, path: r.Name}
		if err := f.reach(s, 0); err != nil {
			return nil, err
		}
	}
	for len(f.walk) > 0 && len(f.found) < len(f.want) {
		if err := m.ctx.Err(); err != nil {
			return nil, err
		}
		s := f.walk[0]
		f.walk = f.walk[1:]
		if err := f.object(s); err != nil {
			return nil, err
		}
	}
	return f.found, nil
}

// reach notes an object that a reference leads to; from is the pod with the reference.
func (f *finder) reach(s *mergeStep, from pod.ID) error {
	if s.r.null || s.r.zeroSize {
		return nil
	}
	for _, t := range []target{s.r.to} {
		if !f.way[t] && t.pod != from && !f.want[t] && s.up != nil {
			return nil
		}
	}
	_, _, at, err := f.b.slot(s.r.to)
	if err != nil {
		return err
	}
	s.at = at
	if s.kind == nodeSlice {
		s.first = s.r.index
	}
	for _, t := range []target{s.r.to, at} {
		if f.want[t] && f.found[t] == nil {
			f.found[t] = s
		}
	}
	key := strconv.Itoa(int(s.kind)) + s.text + strings.Join([]string{
		strconv.FormatUint(uint64(at.pod), 10), strconv.FormatUint(uint64(at.slot), 10), strconv.FormatUint(s.r.index, 10), strconv.FormatUint(s.n, 10)}, ",")
	for _, x := range s.r.steps {
		key += "." + strconv.FormatUint(x, 10)
	}
	if !f.seen[key] {
		f.seen[key] = true
		f.walk = append(f.walk, s)
	}
	return nil
}

// object looks for references in an object.
func (f *finder) object(s *mergeStep) error {
	switch s.kind {
	case nodeMap:
		return f.entries(s)
	case nodeSlice:
		l, err := f.b.sliceAt(s.r, s.n, s.text)
		if err != nil {
			return err
		}
		for i := range l.chunks { // may be what is looked for, whatever the elements are
			if t := (target{pod: l.chunks[i].id}); f.want[t] && f.found[t] == nil {
				f.found[t] = s
			}
		}
		if l.elemN == nil || !l.elemN.leads() {
			return nil
		}
		return f.b.eachOf(l, 0, s.n, func(i uint64, e view) error {
			if e.at != s.at && !f.way[e.at] && l.chunks != nil {
				return nil
			}
			return f.value(s, e, "["+strconv.FormatUint(i, 10)+"]", mergePlace{slot: s.at, path: "[" + strconv.FormatUint(l.from+i, 10) + "]"})
		})
	}
	w, err := f.b.resolve(s.r, s.text)
	if err != nil {
		return err
	}
	return f.value(s, w, "", mergePlace{slot: s.at, path: f.inner(s)})
}

// inner is the path of what an interior pointer leads to inside its object.
func (f *finder) inner(s *mergeStep) string {
	_, d, at, err := f.b.slot(s.r.to)
	if err != nil {
		return ""
	}
	path := ""
	n, err := f.b.node(d.Type)
	if err != nil {
		return ""
	}
	if storedKind(&d) == pod.SlotArray {
		path = "[" + strconv.FormatUint(s.r.index, 10) + "]"
	}
	for _, step := range s.r.steps {
		switch n.kind {
		case nodeArray:
			path, n = path+"["+strconv.FormatUint(step, 10)+"]", n.elem
		case nodeStruct:
			i := slices.IndexFunc(n.fields, func(f nodeField) bool { return uint64(f.id) == step })
			if i < 0 {
				return path
			}
			path, n = path+"."+n.fields[i].name, n.fields[i].node
		}
	}
	_ = at
	return path
}

func (f *finder) entries(s *mergeStep) error {
	at, p, d, n, err := f.b.mapSlot(s.r)
	if err != nil {
		return err
	}
	each := func(at target, p *pod.Pod, d pod.Data) error {
		return f.b.entriesOf(at, p, d, n, func(key, val view) error {
			var e mergeEntry
			var err error
			k, x := key, val
			if e.key, err = f.b.mergeTreeAt(f.side, &k); err != nil {
				return err
			}
			if e.key.unequal() {
				if e.val, err = f.b.mergeTreeAt(f.side, &x); err != nil {
					return err
				}
			}
			shown, err := f.m.keyStep(e.key)
			if err != nil {
				return err
			}
			in := mergePlace{slot: s.at, path: shown, ofKey: true}
			if in.entry, err = f.m.entryText(e); err != nil {
				return err
			}
			if err := f.value(s, key, shown, in); err != nil {
				return err
			}
			in.ofKey = false
			return f.value(s, val, shown, in)
		})
	}
	if d.Kind != pod.SlotChunks {
		return each(at, p, d)
	}
	list, err := f.b.chunksOf(at, p, d)
	if err != nil {
		return err
	}
	for i := range list.chunks {
		c := &list.chunks[i]
		t := target{pod: c.id}
		if f.want[t] && f.found[t] == nil {
			f.found[t] = s
		}
		if !f.way[t] {
			continue
		}
		in, part, err := f.b.chunkAt(list.kind, d.Type, c)
		if err == nil {
			err = each(t, in, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// value looks for references in a value of an object, which is at a place in it.
func (f *finder) value(s *mergeStep, w view, path string, place mergePlace) error {
	if w.n == nil {
		return nil
	}
	_, err := f.b.refs(w, &diffPath{}, func(at view, r reference, length uint64, p *diffPath) error {
		q := pairOf(at, r, r, length, length, nil)
		in := place
		if !in.ofKey {
			whole := p.beforeHanded()
			if whole != p {
				in.handed = &mergeTree{side: f.side, n: at.n, isRef: true, ref: r}
			}
			in.path += whole.String()
		}
		return f.reach(&mergeStep{
			up: s, in: in, kind: q.kind, r: r, n: length, text: q.text, path: s.path + path + p.String(),
		}, at.at.pod)
	})
	return err
}

// beforeHanded is the path of the outermost value of a codec on a path that refs gives; all of it
// if there is none.
func (p *diffPath) beforeHanded() *diffPath {
	before := p
	for q := p; q != nil; q = q.up {
		if strings.HasPrefix(q.step, "{") {
			before = q.up
		}
	}
	return before
}

// locate gives conflicts their paths: in ours, or else in theirs or base.
func (m *merger) locate(list []*MergeConflict) error {
	open := map[target]bool{}
	for _, c := range list {
		if c.at.name != "" {
			c.Path = c.at.name
		} else {
			open[c.at.slot] = true
		}
	}
	for _, side := range []mergeSide{oursSide, theirsSide, baseSide} {
		if len(open) == 0 {
			break
		}
		found, err := m.find(side, m.v[side].src, m.in.Names, open)
		if err != nil {
			return err
		}
		for t := range found {
			delete(open, t)
		}
		for _, c := range list {
			if s := found[c.at.slot]; s != nil && c.Path == "" && c.at.name == "" {
				c.Path = s.pathTo(c.at.path)
			}
		}
	}
	for _, c := range list {
		if c.Path == "" {
			c.Path = "(pod " + strconv.FormatUint(uint64(c.at.slot.pod), 10) + " slot " + strconv.Itoa(int(c.at.slot.slot)) + ")" + c.at.path
		}
	}
	return nil
}

// pathTo is the path of a part of the object that the step leads to.
func (s *mergeStep) pathTo(inner string) string {
	if s.kind != nodeSlice || !strings.HasPrefix(inner, "[") {
		return s.path + inner
	}
	end := strings.IndexByte(inner, ']')
	i, err := strconv.ParseUint(inner[1:max(end, 1)], 10, 64)
	if err != nil || i < s.first {
		return s.path + inner
	}
	return s.path + "[" + strconv.FormatUint(i-s.first, 10) + "]" + inner[end+1:]
}
