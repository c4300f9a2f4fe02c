package podder

import (
	"context"
	"fmt"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// What would be lost. An object that one side changed is looked for in the result. If it is
// not there, though that side leads to it, the way is walked in that side; the first reference on
// it that the result has not is the place where the other side cut it off: a conflict, as
// if both had changed it. With theirs chosen there, what is behind comes back.

// mergedSource is the result before it is written.
type mergedSource struct {
	replayed
	r *mergeRun
}

func (s mergedSource) Root(ctx context.Context, name string) (pod.ID, error) {
	if id, ok := s.r.names[name]; ok {
		if id == 0 {
			return 0, fmt.Errorf("%w: variable %q", dberr.ErrNotFound, name)
		}
		return id, nil
	}
	return s.Source.Root(ctx, name)
}

// lost finds places where edits of a side are cut off; true if there are new ones.
func (r *mergeRun) lost() (bool, error) {
	more := false
	for side, other := range map[mergeSide]mergeSide{oursSide: theirsSide, theirsSide: oursSide} {
		if len(r.edits[side]) == 0 || len(r.edits[other]) == 0 && !r.namesDiffer(other) {
			continue
		}
		found, err := r.lostOf(side)
		if err != nil {
			return false, err
		}
		more = more || found
	}
	return more, nil
}

// namesDiffer reports whether a side bound or deleted variables.
func (r *mergeRun) namesDiffer(side mergeSide) bool {
	for _, n := range r.in.Names {
		x, errX := r.v[baseSide].src.Root(r.ctx, n)
		y, errY := r.v[side].src.Root(r.ctx, n)
		if x != y || (errX == nil) != (errY == nil) {
			return true
		}
	}
	return false
}

func (r *mergeRun) lostOf(side mergeSide) (bool, error) {
	places, err := r.placesOf(side)
	if err != nil {
		return false, err
	}
	want := map[target]bool{}
	for _, at := range places {
		want[at] = true
	}
	reached, _, _, err := r.reachable(mergedSource{replayed{r.in.Ours, r.state}, r}, r.in.Names, want)
	if err != nil {
		return false, err
	}
	gone := map[target]bool{}
	for t, at := range places {
		if !reached[at] {
			gone[t] = true
		}
	}
	if len(gone) == 0 {
		return false, nil
	}
	ways, err := r.find(side, r.v[side].src, r.in.Names, gone)
	if err != nil {
		return false, err
	}
	more := false
	for _, s := range ways {
		new, err := r.cut(side, s)
		if err != nil {
			return false, err
		}
		more = more || new
	}
	return more, nil
}

// placesOf are the objects that a side changed, with their places in the result.
func (r *mergeRun) placesOf(side mergeSide) (map[target]target, error) {
	places := map[target]target{}
	for t := range r.edits[side] {
		d, ok, err := r.slotOf(side, t)
		if err != nil {
			return nil, err
		}
		if !ok || d.Kind == pod.SlotForward {
			continue
		}
		places[t] = t
		if side == oursSide {
			continue
		}
		if to, ok := r.unified[t]; ok {
			places[t] = to
			continue
		}
		if to, ok := r.moved[t]; ok {
			places[t] = to
			continue
		}
		if r.whole[t.pod] {
			continue // came as it is
		}
		there, err := r.same(oursSide, t)
		if err != nil {
			return nil, err
		}
		if !there {
			places[t] = target{} // nowhere
		}
	}
	return places, nil
}

// cut finds the first reference on a way that the result has not, and makes its place a
// conflict; false if it is one already.
func (r *mergeRun) cut(side mergeSide, s *mergeStep) (bool, error) {
	var way []*mergeStep
	for ; s != nil; s = s.up {
		way = append(way, s)
	}
	other := oursSide + theirsSide - side
	for i := len(way) - 1; i >= 0; i-- {
		at := way[i].in
		if at.name != "" {
			x, _ := r.v[side].src.Root(r.ctx, at.name)
			y, err := r.v[other].src.Root(r.ctx, at.name)
			if x == y && err == nil {
				continue
			}
			return r.force(at), nil
		}
		there, err := r.same(other, at.slot)
		if err != nil {
			return false, err
		}
		base, err := r.same(side, at.slot)
		if err != nil {
			return false, err
		}
		if !there || !base {
			continue // new in that side: what it has came along
		}
		same, err := r.sameAt(side, other, at)
		if err != nil {
			return false, err
		}
		if !same {
			return r.force(at), nil
		}
	}
	return false, nil
}

func (r *mergeRun) force(at mergePlace) bool {
	key := at.key()
	if r.forced[key] || r.known[key] != nil {
		return false
	}
	r.forced[key] = true
	r.deep[at.slot] = true
	return true
}

// sameAt reports whether a part of an object is the same in both versions.
func (r *mergeRun) sameAt(side, other mergeSide, at mergePlace) (bool, error) {
	a, err := r.partOf(side, at)
	if err != nil {
		return false, err
	}
	b, err := r.partOf(other, at)
	if err != nil {
		return false, err
	}
	return r.equal(a, b)
}

// partOf finds a value inside an object by its path; nil if there is none.
func (r *mergeRun) partOf(side mergeSide, at mergePlace) (*mergeTree, error) {
	if at.handed != nil {
		return r.handedPart(side, at)
	}
	s, err := r.v[side].mergeSlotAt(side, at.slot)
	if err != nil {
		return nil, err
	}
	if err := r.v[side].loadChunks(s); err != nil {
		return nil, err
	}
	if s.value != nil {
		return partAt(s.value, "", at.path), nil
	}
	for i, e := range s.elems {
		path := (&diffPath{}).index(uint64(i)).String()
		if strings.HasPrefix(at.path, path) {
			return partAt(e, path, at.path), nil
		}
	}
	for _, e := range s.entries {
		if text, err := r.entryText(e); err != nil || text != at.entry {
			if err != nil {
				return nil, err
			}
			continue
		}
		step, err := r.keyStep(e.key)
		if err != nil || !strings.HasPrefix(at.path, step) {
			return nil, err
		}
		if at.ofKey && at.path == step {
			return e.key, nil
		}
		return partAt(e.val, step, at.path), nil
	}
	return nil, nil
}

// handedPart finds a reference in what a codec handed over, wherever it is there: what a part
// of it is for, the codec knows alone.
func (r *mergeRun) handedPart(side mergeSide, at mergePlace) (*mergeTree, error) {
	want := at.handed
	at.handed = nil
	in, err := r.partOf(side, at)
	if err != nil {
		return nil, err
	}
	var wrong error
	var found *mergeTree
	in.each(func(t *mergeTree) {
		if found != nil || wrong != nil || t.n.kind != want.n.kind {
			return
		}
		same, err := r.sameReference(want, t)
		if wrong = err; same {
			found = t
		}
	})
	return found, wrong
}

// partAt goes along fields and elements to a path.
func partAt(t *mergeTree, path, to string) *mergeTree {
	t = t.dynamic()
	if path == to {
		return t
	}
	for i, k := range t.kids {
		step := path
		switch t.n.kind {
		case nodeStruct:
			step += "." + t.n.fields[i].name
		case nodeArray:
			step += (&diffPath{}).index(uint64(i)).String()
		default:
			return nil
		}
		if to == step || strings.HasPrefix(to, step) && len(to) > len(step) && (to[len(step)] == '.' || to[len(step)] == '[') {
			if v := partAt(k, step, to); v != nil {
				return v
			}
		}
	}
	return nil
}
