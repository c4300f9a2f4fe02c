package mvcc

import (
	"cmp"
	"fmt"
	"slices"
)

// Lost commits are built anew from the rows of pod versions that nobody claims.
//
// Definitions. A version is missing if it has no row and was not retired. A run:
// versions between two commits that were found, some of them missing, cut
// behind every version that a line begins at, because the line's row says which
// number was the highest there. The numbers of a run are those that its versions,
// and they alone, added.
//
//  1. A run of one version is that commit: its pods are the rows of the run's
//     numbers, its line is theirs.
//  2. In a longer run nobody knows which version added which number. So the
//     last version of the run that can be on a line takes all of the run on it, as
//     a folded row; the others are gone as if they had been retired. An earlier one
//     must not: it would show what was committed after it. What line a
//     version was on is told by names that it changed, by a head, by a line that
//     begins there, by a commit that follows it, or by no other line being possible.
//  3. If there is no such version, the next commit on the line takes the
//     numbers, or a version that is made behind all others.
//     So it is too if versions may follow that nothing tells of, because the counters
//     are lost: any of them may have added the numbers. Then the one that is made
//     is far behind, where none of them was.
//  4. Numbers of a run without a row are unknown: some pod has a state there
//     that nobody knows (lost.go). So are the names of all missing versions.
type lostRun struct {
	versions  []Version // missing ones, ascending
	low, high uint64    // numbers in (low, high]
	pin       *fork     // a line begins at the last version
	complete  bool      // nothing was retired between
	open      bool      // other versions may follow that nothing tells of
}

const lostMessage = "(lost)"

// rebuildCommits is step 3 of Salvage, for what is lost.
func (s *salvager) rebuildCommits() {
	var free []uint64
	for n := range s.numbers {
		if !s.claimed.Contains(n) {
			free = append(free, n)
		}
	}
	slices.Sort(free)
	s.found = map[uint32][]*commitRow{}
	for _, v := range sortedKeys(s.commits) {
		s.found[s.commits[v].line] = append(s.found[s.commits[v].line], s.commits[v])
	}
	s.newest = map[uint32]newestOnLine{}
	for v, line := range s.hints {
		x := s.newest[line]
		x.hint = max(x.hint, v)
		s.newest[line] = x
	}
	for n, p := range s.numbers {
		x := s.newest[p.line]
		x.number = max(x.number, n)
		s.newest[p.line] = x
	}
	for _, r := range s.lostRuns() {
		for _, v := range r.versions {
			s.unknown.versions.Add(v)
		}
		i, _ := slices.BinarySearch(free, r.low+1)
		j, _ := slices.BinarySearch(free, r.high+1)
		s.rebuildRun(r, free[i:max(i, j)])
		s.unknown.numbers.AddRange(r.low+1, r.high)
	}
	for _, w := range s.waiting { // now all rows are there that can be
		s.takeNext(w)
	}
	s.unknown.numbers.subtract(s.claimed)
	s.unknown.numbers.subtract(s.garbage)
	strays := &Set{}
	for n, p := range s.numbers {
		if !s.claimed.Contains(n) {
			key := string(versionKey(nil, p.pod, p.line, n))
			s.spare[key] = s.rows[key]
			delete(s.rows, key)
			strays.Add(n)
		}
	}
	s.unknown.numbers.subtract(strays)
	s.settleTimes()
	s.settleNumbers()
}

// lostRuns finds the runs.
func (s *salvager) lostRuns() []lostRun {
	pins := map[Version]*fork{}
	for _, l := range s.lines {
		for _, f := range l.forks() {
			pins[f.version] = &f
		}
	}
	var runs []lostRun
	from, low := Version(1), uint64(0)
	add := func(to Version, high uint64, open bool) { // versions from … to, numbers (low, high]
		r := lostRun{low: low, high: high, complete: true}
		for v := from; v <= to; v++ {
			if s.retired.Contains(v) {
				r.complete = false
				continue
			}
			r.versions = append(r.versions, v)
			if pin := pins[v]; pin != nil && pin.number >= r.low && pin.number <= high {
				r.high, r.pin = pin.number, pin
				runs = append(runs, r)
				r = lostRun{low: pin.number, high: high, complete: true}
			}
		}
		if r.open = open; open || len(r.versions) > 0 {
			runs = append(runs, r)
		}
	}
	for _, v := range sortedKeys(s.commits) {
		row := s.commits[v]
		add(v-1, max(low, row.first()-1), false)
		from, low = v+1, max(low, row.last)
	}
	add(s.counters.version, max(low, s.counters.number), s.open)
	return runs
}

// rebuildRun gives the free numbers of a run to versions of it.
func (s *salvager) rebuildRun(r lostRun, free []uint64) {
	s.report.LostCommits += uint64(len(r.versions))
	births := map[uint32][]birth{}
	for _, n := range free {
		if p := s.numbers[n]; !s.garbage.Contains(n) && s.lines[p.line] != nil {
			births[p.line] = append(births[p.line], birth{n, p.pod})
		}
	}
	for _, v := range r.versions {
		if line := s.lineOf(v); births[line] == nil && line != 0 {
			births[line] = []birth{}
		}
	}
	takers := s.takers(r, births)
	if r.open && len(births) > 0 {
		s.skipVersions()
		takers = nil
	}
	single := len(births) == 1 && len(r.versions) == 1 && r.complete
	for _, line := range sortedKeys(births) {
		list := newestOfEach(births[line])
		for _, b := range list {
			s.claimed.Add(b.number)
		}
		if v, ok := takers[line]; ok {
			s.build(r, v, line, list, single)
		} else if len(list) > 0 {
			s.waiting = append(s.waiting, waitingBirths{r, line, list})
		}
	}
	for _, v := range r.versions {
		if row := s.commits[v]; row == nil {
			s.lose(Loss{Version: v, What: "the version: nothing says what it was"})
		} else {
			s.lose(Loss{Version: v, What: fmt.Sprintf("the commit: it was built anew with %d pod versions on branch %q", row.added, s.lines[row.line].branch)})
		}
	}
}

// newestOfEach leaves out versions that the same run replaced.
func newestOfEach(births []birth) []birth {
	newest := map[pid]uint64{}
	for _, b := range births {
		newest[b.pod] = b.number
	}
	return slices.DeleteFunc(births, func(b birth) bool { return newest[b.pod] != b.number })
}

// takers chooses which version of a run stands for each line (rule 2).
func (s *salvager) takers(r lostRun, births map[uint32][]birth) map[uint32]Version {
	takers := map[uint32]Version{}
	if len(r.versions) == 1 && len(births) == 1 && r.complete {
		for line, list := range births {
			if v := r.versions[0]; (len(list) > 0 || s.lineOf(v) == line) && s.mayBe(v, line) && s.surelyKept(r, v, line) {
				takers[line] = v
			}
		}
		return takers
	}
	for line := range births {
		for _, v := range slices.Backward(r.versions) {
			on := s.lineOf(v)
			if on == line && s.surelyKept(r, v, line) {
				takers[line] = v
			}
			if on == line || on == 0 {
				break
			}
		}
	}
	return takers
}

// lineOf returns the line that a missing version was on; 0 if that is not known.
func (s *salvager) lineOf(version Version) uint32 {
	if hint := s.hints[version]; s.mayBe(version, hint) {
		return hint
	}
	if s.linesLost() {
		return 0
	}
	only := uint32(0)
	for id := range s.lines {
		if s.mayBe(version, id) {
			if only != 0 {
				return 0
			}
			only = id
		}
	}
	return only
}

// linesLost reports whether there are, or may have been, lines of which no row is
// left: any version may have been on one of them.
func (s *salvager) linesLost() bool {
	return uint64(len(s.lines)) < s.counters.line-mainLine ||
		s.mayLack(kindLine) && s.inGap(countersKey) && !s.counted
}

// skipVersions leaves room for versions that nothing tells of.
func (s *salvager) skipVersions() {
	s.unknown.versions.AddRange(s.counters.version+1, s.counters.version+lostCounterGap)
	s.counters.version += lostCounterGap
	s.lose(Loss{What: "versions after those listed, it is not known how many"})
}

// surelyKept reports whether a version was not retired. If the set of retired
// versions is lost, what a run shows is right only at versions that retention
// keeps: where lines begin, and heads. Else it would lack what was reclaimed.
func (s *salvager) surelyKept(r lostRun, version Version, line uint32) bool {
	if !s.unsure || r.pin != nil && r.pin.version == version && r.pin.line == line {
		return true
	}
	if rows := s.found[line]; len(rows) > 0 && rows[len(rows)-1].version > version {
		return false
	}
	return version >= s.newest[line].hint && s.newest[line].number <= r.high
}

// newestOnLine is what rows tell of the end of a line.
type newestOnLine struct {
	hint   Version
	number uint64
}

// mayBe reports whether a version can be on a line: it begins before, and the next
// commit that was found on it follows this version or a later one. If it follows an
// earlier one, what lies between was retired.
func (s *salvager) mayBe(version Version, line uint32) bool {
	l := s.lines[line]
	if l == nil || l.forkVersion() >= version {
		return false
	}
	rows := s.found[line]
	i, _ := slices.BinarySearchFunc(rows, version, func(row *commitRow, v Version) int { return cmp.Compare(row.version, v) })
	return i == len(rows) || len(rows[i].parents) > 0 && rows[i].parents[0] >= version
}

// build makes the row of a lost commit.
func (s *salvager) build(r lostRun, version Version, line uint32, births []birth, single bool) {
	// Of the run's numbers, all on this line are of this version or before it, also
	// those that are unknown: a snapshot of it must see that they may be there.
	row := &commitRow{version: version, line: line, message: lostMessage, removed: &Set{}, last: r.high}
	row.fold = &fold{}
	s.refold(row, births)
	if single && uint64(len(births)) == r.high-r.low {
		row.fold = nil // exactly the commit that it was
	}
	s.commits[version], s.fresh[version], s.changed[version] = row, true, true
}

// waitingBirths are pod versions of a run without a version for their line.
type waitingBirths struct {
	run    lostRun
	line   uint32
	births []birth
}

// takeNext gives births to the next commit of their line (rule 3).
func (s *salvager) takeNext(w waitingBirths) {
	r, line, births := w.run, w.line, w.births
	replaced := &Set{} // by others of the same row
	for _, row := range s.onLine(line) {
		if row.last >= births[len(births)-1].number {
			all := append(s.birthsOf(row), births...)
			slices.SortFunc(all, func(a, b birth) int { return cmp.Compare(a.number, b.number) })
			for _, b := range all {
				replaced.Add(b.number)
			}
			s.refold(row, newestOfEach(all))
			kept := &Set{}
			row.births(kept)
			replaced.subtract(kept)
			s.claimed.subtract(replaced)
			return
		}
	}
	s.counters.version++
	made := lostRun{versions: []Version{s.counters.version}, low: r.low, high: max(s.counters.number, r.high)}
	s.build(made, s.counters.version, line, births, false)
	s.lose(Loss{Version: s.counters.version, What: fmt.Sprintf(
		"nothing: the version was made for %d pod versions on branch %q, of which it is not known when they were committed", len(births), s.lines[line].branch)})
}

// settleTimes gives rows that were built anew a time between their neighbours'.
func (s *salvager) settleTimes() {
	last := int64(0)
	for _, v := range sortedKeys(s.commits) {
		row := s.commits[v]
		if s.fresh[v] {
			row.time = last + 1
		}
		last = max(last, row.time)
	}
}

// readLines builds lines anew of which commits or pod versions tell, and a
// branch main if there is none.
func (s *salvager) readLines() {
	branches := map[uint32]string{}
	for k, val := range s.rows {
		if line, _, err := decodeBranch(val); k[0] == kindBranch && err == nil {
			branches[line] = k[1:]
		}
	}
	told := map[uint32]bool{mainLine: true}
	for line := range branches {
		told[line] = true
	}
	for _, row := range s.commits {
		told[row.line] = true
	}
	for _, l := range s.lines {
		for _, f := range l.forks() {
			told[f.line] = true
		}
	}
	for _, p := range s.numbers {
		told[p.line] = true
	}
	for _, id := range sortedKeys(told) {
		if s.lines[id] == nil && id != 0 && !s.removed[id] {
			s.rebuildLine(id, branches[id])
		}
	}
	owner := map[string]*line{} // of two with one name the older was deleted, and its row is stale
	for _, id := range sortedKeys(s.lines) {
		if l := s.lines[id]; !l.deleted.Load() {
			if before := owner[l.branch]; before != nil {
				before.deleted.Store(true)
			}
			owner[l.branch] = l
		}
	}
	for id := uint32(1); uint64(id) < s.counters.line && s.report.LostBranches < MaxProblems; id++ {
		if s.lines[id] == nil && !s.removed[id] {
			s.report.LostBranches++
			s.lose(Loss{What: fmt.Sprintf("the branch on line %d %s", id, branches[id])})
		}
	}
}

// rebuildLine finds out where a line began.
func (s *salvager) rebuildLine(id uint32, branch string) {
	l := &line{id: id, branch: branch}
	if deleted := be.AppendUint32([]byte{0}, id); branch == string(deleted) {
		l.deleted.Store(true)
	}
	if branch == "" || branch[0] == 0 {
		l.branch = fmt.Sprintf("lost-%d", id)
	}
	if id == mainLine {
		l.branch = MainBranch
	} else {
		at := Version(0) // that the line began at
		lineage, inherited := s.inheritedBy(id)
		rows := s.onLine(id)
		if inherited {
			l.lineage = lineage
		} else if len(rows) > 0 && len(rows[0].parents) > 0 {
			at = rows[0].parents[0]
		} else if len(rows) == 0 {
			at = s.headOf(branch)
		}
		row := s.commits[at]
		switch {
		case inherited || len(rows) > 0 && len(rows[0].parents) == 0 && rows[0].fold == nil: // or it has no lineage
		case row == nil || row.line == id || s.lines[row.line] == nil || len(s.lines[row.line].lineage) == maxLineage:
			return
		default:
			l.lineage = append([]fork{{row.line, at, row.last}}, s.lines[row.line].lineage...)
		}
	}
	for _, other := range s.lines {
		if other.branch == l.branch && !other.deleted.Load() && !l.deleted.Load() {
			return
		}
	}
	s.lines[id] = l
	s.lose(Loss{What: fmt.Sprintf("the row of line %d: it was built anew as branch %q", id, l.branch)})
}

// settleOrigins forgets the origins of lines of which the origin or the copy is
// lost: the line then begins where its lineage says.
func (s *salvager) settleOrigins() {
	for _, id := range sortedKeys(s.lines) {
		l := s.lines[id]
		if l.origin == nil {
			continue
		}
		o := *l.origin
		from, copied := s.commits[o.version], s.commits[o.copy]
		if from == nil || copied == nil || s.fresh[o.version] || s.fresh[o.copy] || from.line != o.line || from.last != o.number || copied.line != id || copied.pos != 0 {
			l.origin = nil
			s.lose(Loss{Version: o.copy, What: fmt.Sprintf("that branch %q began at version %d: its history goes on at version %d", l.branch, o.version, l.forkVersion())})
		}
	}
}

// forks are all versions that the line's row names with their numbers.
func (l *line) forks() []fork {
	if l.origin == nil {
		return l.lineage
	}
	return append([]fork{l.origin.fork}, l.lineage...)
}

// inheritedBy returns the lineage of a line as a line that began on it has it.
func (s *salvager) inheritedBy(id uint32) ([]fork, bool) {
	for _, l := range s.lines {
		for i, f := range l.lineage {
			if f.line == id {
				return slices.Clone(l.lineage[i+1:]), true
			}
		}
	}
	return nil, false
}

// headOf returns the version of a branch row, 0 if there is none.
func (s *salvager) headOf(branch string) Version {
	_, version, err := decodeBranch(s.rows[string(branchKey(branch))])
	if err != nil {
		return 0
	}
	return version
}

// settleNumbers says how many numbers each folded row gave out itself: all since the
// version before, if that has a row.
func (s *salvager) settleNumbers() {
	last := uint64(0)
	for _, v := range sortedKeys(s.commits) {
		row := s.commits[v]
		if s.fresh[v] && row.fold != nil {
			row.last = max(row.last, last)
			row.fold.added = 0
			if v == 1 || s.commits[v-1] != nil {
				row.fold.added = row.last - last
			}
		}
		last = row.last
	}
	s.counters.number = max(s.counters.number, last)
}
