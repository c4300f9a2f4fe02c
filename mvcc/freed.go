package mvcc

import (
	"bytes"
	"context"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Freed tells which slots of a pod were out of use somewhere on the way from
// one snapshot to the other: free, beyond the end, or a forwarder, at either
// end or at any version of the pod between. One that was given to another object by a single
// commit, as going back to a version does, counts too: its generation tells. So an object in a slot
// that was in use all the way is the same object at both ends; in any other slot it
// may be another.
//
// The way leads back from each snapshot to the newest state that both have
// behind them, which is one of the two if they are on one line. If both see
// the same version of the pod, nothing is read but two index entries. What was
// between is not known where versions were retired since, or behind hundreds of
// forks: then every slot was out of use.
func (sn *Snapshot) Freed(ctx context.Context, id pod.ID, other *Snapshot) (func(pod.Slot) bool, error) {
	v, err := sn.view(ctx)
	if err != nil {
		return nil, err
	}
	defer v.close()
	a, hasA, err := v.resolve(sn.lineage, id)
	if err != nil {
		return nil, err
	}
	b, hasB, err := v.resolve(other.lineage, id)
	if err != nil {
		return nil, err
	}
	switch {
	case !hasA || !hasB || v.s.lost != nil: // what lies between may be lost
		return func(pod.Slot) bool { return true }, nil
	case a.number == b.number:
		return func(pod.Slot) bool { return false }, nil
	}
	one, okA := v.s.logical(sn.lineage)
	two, okB := v.s.logical(other.lineage)
	if !okA || !okB {
		return func(pod.Slot) bool { return true }, nil
	}
	common := meet(one, two)
	used, ok, err := v.usedBetween(ctx, one, two, common, id)
	if v.retiredSince(one, common) || v.retiredSince(two, common) {
		ok, err = false, ctx.Err() // whatever was found: part of it may have been gone
	}
	if err != nil {
		return nil, err
	}
	if !ok { // made on both ways, or not there in between
		return func(pod.Slot) bool { return true }, nil
	}
	return func(s pod.Slot) bool { return int(s) >= len(used) || !used[s] }, nil
}

// usedBetween says which slots hold an object in every version of a pod on the
// way from one lineage over what they have in common to the other; false if the
// pod is not there.
func (v *view) usedBetween(ctx context.Context, a, b, common []fork, id pid) ([]bool, bool, error) {
	if v.retiredSince(a, common) || v.retiredSince(b, common) {
		return nil, false, nil
	}
	versions, err := v.since(nil, a, common, id)
	if err != nil {
		return nil, false, err
	}
	if versions, err = v.since(versions, b, common, id); err != nil {
		return nil, false, err
	}
	start, ok, err := v.resolve(common, id)
	if err != nil || !ok {
		return nil, false, err
	}
	used, err := v.alwaysUsed(ctx, append(versions, start))
	return used, true, err
}

// retiredSince reports whether a version was retired between a base and a
// lineage that it is part of, on whatever line.
func (v *view) retiredSince(lineage, base []fork) bool {
	gone := v.s.open.gone.Load()
	for i, f := range lineage {
		low := Version(0)
		if i+1 < len(lineage) {
			low = lineage[i+1].version // where the line begins
		}
		if i := slices.IndexFunc(base, func(b fork) bool { return b.line == f.line }); i >= 0 {
			low = base[i].version
		}
		if f.version > low && gone.anyIn(low+1, f.version) {
			return true
		}
	}
	return false
}

// meet returns the lineage of the newest state that two lineages have in
// common, parent first as they are; nil if there is none.
func meet(a, b []fork) []fork {
	var common []fork
	for i, j := len(a)-1, len(b)-1; i >= 0 && j >= 0 && a[i].line == b[j].line; i, j = i-1, j-1 {
		f := a[i]
		if b[j].version < f.version {
			f = b[j]
		}
		common = append(common, f)
		if a[i].version != b[j].version {
			break
		}
	}
	slices.Reverse(common)
	return common
}

// since appends the versions of a pod that lie in a lineage and not in base,
// which is a part of it.
func (v *view) since(dst []found, lineage, base []fork, id pid) ([]found, error) {
	for _, f := range lineage {
		low := uint64(0)
		if i := slices.IndexFunc(base, func(b fork) bool { return b.line == f.line }); i >= 0 {
			low = base[i].number
		}
		if f.number <= low {
			continue
		}
		from := versionKey(nil, id, f.line, f.number)
		prefix := from[:versionKeyLen-8]
		c := v.seek(from)
		for ; ; c.next() {
			key, env, ok := c.at()
			if !ok || !bytes.HasPrefix(key, prefix) {
				break
			}
			_, _, number, ok := splitVersionKey(key)
			if !ok || len(env) == 0 {
				return nil, corrupt("version row %x", key)
			}
			if number <= low {
				break
			}
			dst = append(dst, found{id, f.line, number, bytes.Clone(env)})
		}
		if err := c.err(); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// alwaysUsed says which slots hold an object in each of the versions. Older
// versions are read first, because newer ones rest on them.
func (v *view) alwaysUsed(ctx context.Context, versions []found) ([]bool, error) {
	slices.SortFunc(versions, func(a, b found) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	var used []bool
	var first *pod.Pod
	for i, f := range versions {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if f.env[0] == envTombstone {
			return nil, nil
		}
		m, err := v.version(f)
		if err != nil {
			return nil, err
		}
		slots := m.pod.Slots
		if i == 0 {
			first, used = m.pod, slices.Repeat([]bool{true}, len(slots))
		}
		used = used[:min(len(used), len(slots))]
		for s := range used {
			if k := slots[s].Kind; k == pod.SlotFree || k == pod.SlotForward && !slots[s].Away() || !sameGeneration(first, m.pod, pod.Slot(s)) {
				used[s] = false
			}
		}
	}
	return used, nil
}

func sameGeneration(a, b *pod.Pod, s pod.Slot) bool {
	return len(a.Generations) == 0 && len(b.Generations) == 0 || a.Generation(s) == b.Generation(s)
}
