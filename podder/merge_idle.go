package podder

// What a side let go of. An object that a side changed, and that none of its variables reaches any more,
// counts as one that it deleted, whatever it did to it before: nobody can tell that from a slot that is
// free already. If the other side has the object still, or a choice brings it back, it is as that one has it.

// letGo finds such objects among the edits of each side, and takes them out of these.
func (r *mergeRun) letGo() error {
	sides := []mergeSide{oursSide, theirsSide}
	differ := [mergeSides]bool{}
	for _, side := range sides {
		differ[side] = len(r.edits[side]) > 0 || r.namesDiffer(side)
	}
	for _, side := range sides {
		if !differ[oursSide+theirsSide-side] {
			continue // that one takes over what this side reaches, and nothing else
		}
		if err := r.lookReached(side, r.edits[side]); err != nil {
			return err
		}
	}
	for _, side := range sides {
		for t, idle := range r.idle[side] {
			if idle {
				delete(r.edits[side], t)
			}
		}
	}
	return r.lookReached(theirsSide, r.idleOf(oursSide))
}

func (m *merger) idleOf(side mergeSide) map[target]bool {
	list := map[target]bool{}
	for t, idle := range m.idle[side] {
		if idle {
			list[t] = true
		}
	}
	return list
}

// lookReached notes which of some objects the variables of a side reach.
func (m *merger) lookReached(side mergeSide, list map[target]bool) error {
	want := map[target]bool{}
	for t := range list {
		if _, known := m.idle[side][t]; !known {
			want[t] = true
		}
	}
	if len(want) == 0 {
		return nil
	}
	reached, _, _, err := m.reachable(m.v[side].src, m.in.Names, want)
	if err != nil {
		return err
	}
	for t := range want {
		m.idle[side][t] = !reached[t]
	}
	return nil
}

// kept reports whether only one side counts for an object, because the other one let go of it.
func (m *merger) kept(t target) (mergeFrom, bool) {
	switch idle, known := m.idle[theirsSide][t]; {
	case idle:
		return fromOurs, true
	case m.idle[oursSide][t] && known:
		return fromTheirs, true
	}
	return fromOurs, false
}
