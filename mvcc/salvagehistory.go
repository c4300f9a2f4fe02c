package mvcc

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/pager"
)

// The history of a damaged database, from the rows that were found.
//
//  1. A commit row that was found says which pod versions it added: numbers, and the
//     pod of each. So the key of every one is known, and where no row was found one
//     is made that says "lost".
//  2. Rows of pod versions that no commit claims are from lost commits, or they are
//     garbage of retention that was not reclaimed, or came back from stale pages.
//     Numbers rise with versions: between two commits that were found lie the
//     numbers of the commits between them. Where none of these is lost, it is garbage.
//  3. Lost commits are built anew (salvageruns.go).
//  4. A row that takes in what others added is folded, as retention makes them
//     (retire.go): its added, removed and parents are those of a run. So the kept
//     rows of a line still add up, with less detail.
//  5. A row that stale pages brought back of a commit that retention folded into a
//     later one is dropped. It is jumped over by that one's parents; or it claims
//     numbers or names that are not where the newest tree must have them, because
//     they were reclaimed. The rows from gaps that follow such a one on its line are not
//     believed either: they are from before the folding.
//  6. What a row says it removed is compared with what its numbers replaced in what is
//     left, and put right.
type history struct {
	counters counters
	lines    map[uint32]*line
	commits  map[Version]*commitRow  // with ids, chunked or not
	found    map[uint32][]*commitRow // those that were found, by line, ascending
	fresh    map[Version]bool        // built anew: pos is not known
	changed  map[Version]bool        // bytes no longer current must be summed up again
	retired  *Set                    // versions
	garbage  *Set                    // numbers that wait for reclaim
	numbers  map[uint64]podOnLine    // rows of pod versions
	claimed  *Set                    // numbers that a commit has
	lives    map[podOnLine][]uint64  // of them, ascending
	names    map[Version][]nameRow
	namesOf  map[pid][]string // by root
	newest   map[uint32]newestOnLine
	unsure   bool               // it is not known which versions were retired
	waiting  []waitingBirths    // for the next commit of their line
	open     bool               // there may have been newer versions than the counters say
	hints    map[Version]uint32 // lines that versions were on, from other rows
	removed  map[uint32]bool    // lines that were
	spare    map[string][]byte  // rows of pod versions that are not kept; others may rest on them
	unknown  lostRows
}

// nameRow is what a version did to a name.
type nameRow struct {
	key  string
	name string
	line uint32
	root pid
}

// putTogether is step 3.
func (s *salvager) putTogether() error {
	h := &s.history
	h.lines, h.commits, h.numbers = map[uint32]*line{}, map[Version]*commitRow{}, map[uint64]podOnLine{}
	h.names, h.namesOf, h.hints = map[Version][]nameRow{}, map[pid][]string{}, map[Version]uint32{}
	h.removed = map[uint32]bool{}
	h.spare, h.fresh, h.changed = map[string][]byte{}, map[Version]bool{}, map[Version]bool{}
	h.retired, h.garbage, h.claimed = &Set{}, &Set{}, &Set{}
	h.unknown = lostRows{numbers: &Set{}, versions: &Set{}}
	keys := sortedKeys(s.rows)
	if !slices.ContainsFunc(keys, func(k string) bool { return k[0] == kindLine || k[0] == kindCommit || k[0] == kindVersion }) {
		return fmt.Errorf("%w: nothing of a database was found in %s", dberr.ErrNotDatabase, s.o.From)
	}
	s.readRows(keys)
	s.readCounters(keys)
	s.dropStale()
	s.dropReclaimed()
	s.unsure = s.mayLack(kindGone) && s.pruned()
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.readLines()
	s.claimAll()
	s.rebuildCommits()
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.indexLives()
	for _, id := range sortedKeys(s.lines) {
		s.settleLine(s.lines[id])
	}
	s.settleOrigins()
	s.settleNames()
	s.settleTags()
	s.hide()
	return nil
}

// readRows reads the rows that say what there was. What cannot be read is listed
// where it is missed.
func (s *salvager) readRows(keys []string) {
	for _, k := range keys {
		key, val := []byte(k), s.rows[k]
		switch key[0] {
		case kindVersion:
			if id, line, number, ok := splitVersionKey(key); ok && len(val) > 0 && id != 0 && number != 0 {
				s.numbers[number] = podOnLine{line, id}
			} else {
				delete(s.rows, k)
			}
		case kindCommit:
			if len(key) == 9 {
				s.readCommit(key, val)
			}
		case kindLine:
			if len(key) == 5 && isRemoved(val) {
				s.removed[be.Uint32(key[1:])] = true
			} else if len(key) == 5 {
				if l, err := decodeLine(be.Uint32(key[1:]), val); err == nil {
					s.lines[l.id] = l
				}
			}
		case kindName:
			s.readName(k, val)
		case kindGone:
			if b, ok := s.contents(key, val); ok {
				if set, err := decodeSet(b); err == nil {
					s.retired.union(set)
				}
			}
		case kindQueue:
			s.readQueue(key, val)
		case kindLost:
			s.readLost(key, val)
		case kindBranch:
			if line, version, err := decodeBranch(val); err == nil {
				s.hints[version] = line
			}
		}
	}
}

// readLost takes over what a salvage before this one could not find out.
func (s *salvager) readLost(key, env []byte) {
	b, ok := s.contents(key, env)
	if !ok {
		return
	}
	if l, err := decodeLostRows(b); err == nil {
		s.unknown.ranges = append(s.unknown.ranges, l.ranges...)
		s.unknown.numbers.union(l.numbers)
		s.unknown.versions.union(l.versions)
	}
}

func (s *salvager) readName(k string, val []byte) {
	name, _, line, version, err := splitNameKey([]byte(k))
	if err != nil {
		return
	}
	root, err := decodeRoot(val)
	if err != nil {
		return
	}
	s.names[version] = append(s.names[version], nameRow{k, name, line, root})
	s.hints[version] = line
	if root != 0 && !slices.Contains(s.namesOf[root], name) {
		s.namesOf[root] = append(s.namesOf[root], name)
	}
}

func (s *salvager) readQueue(key, env []byte) {
	if bytes.Equal(key, namesTask) {
		return
	}
	b, ok := s.contents(key, env)
	if !ok {
		return
	}
	if _, list, err := decodeGarbage(b); err == nil {
		for _, g := range list {
			s.garbage.Add(g.number)
		}
	}
}

// readCommit reads a commit row with its ids. Those of a lost chunk stay zero.
func (s *salvager) readCommit(key, env []byte) {
	version := be.Uint64(key[1:])
	b, ok := s.contents(key, env)
	if !ok {
		return
	}
	row, err := decodeRow(version, b)
	if err != nil || row.added > 0 && row.last == 0 || version == 0 {
		return
	}
	for i := 0; row.chunked() && uint64(len(row.ids)) < row.added; i++ {
		want := int(min(idChunk, row.added-uint64(len(row.ids))))
		key := chunkKey(version, i)
		var part []pid
		if b, ok := s.contents(key, s.rows[string(key)]); ok {
			part, _ = decodeChunk(b, want)
		}
		if len(part) != want {
			part = make([]pid, want)
			s.lose(Loss{Version: version, What: fmt.Sprintf("which pods %d of its pod versions belong to", want)})
		}
		row.ids = append(row.ids, part...)
	}
	s.commits[version] = row
}

// readCounters takes the stored counters, and at least what the rows show.
func (s *salvager) readCounters(keys []string) {
	key := singleKey(singleCounters)
	c, err := decodeCounters(s.rows[string(key)])
	if err != nil {
		c = counters{}
	}
	stale := err != nil || s.inGap(key) && !s.counted
	c.version = max(c.version, s.retired.max())
	for v, row := range s.commits {
		c.version, c.number = max(c.version, v), max(c.number, row.last)
	}
	for v := range s.names {
		c.version = max(c.version, v)
	}
	for n, p := range s.numbers {
		c.number, c.pod, c.line = max(c.number, n), max(c.pod, uint64(p.pod)+1), max(c.line, uint64(p.line)+1)
	}
	for id, l := range s.lines {
		c.line = max(c.line, uint64(id)+1)
		for _, f := range l.forks() {
			c.version, c.number, c.line = max(c.version, f.version), max(c.number, f.number), max(c.line, uint64(f.line)+1)
		}
	}
	c.typ, c.record = max(c.typ, uint64(pod.FirstCatalogType)), max(c.record, 1)
	for _, row := range s.commits {
		for _, id := range row.ids {
			c.pod = max(c.pod, uint64(id)+1)
		}
	}
	for _, k := range keys {
		switch {
		case k[0] == kindType && len(k) == 5:
			c.typ = max(c.typ, uint64(be.Uint32([]byte(k[1:])))+1)
		case k[0] == kindShared && len(k) == 9:
			c.record = max(c.record, be.Uint64([]byte(k[1:]))+1)
		}
	}
	if stale { // nobody knows what else was given out
		s.damage("the counters are lost: ids begin %d above what is known to have been given out", lostCounterGap)
		s.lose(Loss{What: "a part of the index with the counters: versions, names and contents that nothing else tells of are missing, and are not listed"})
		c.pod, c.typ, c.record = c.pod+lostCounterGap, c.typ+lostCounterGap, c.record+lostCounterGap
		s.open = s.inGap(commitKey(c.version + 1))
	}
	c.pod, c.line, c.block = max(c.pod, 1), max(c.line, mainLine+1), 1
	s.counters = c
}

// lostCounterGap is left free above what is known if the counters were lost.
const lostCounterGap = 1 << 20

// onLine returns the commits of a line, oldest first.
func (s *salvager) onLine(id uint32) []*commitRow {
	var rows []*commitRow
	for _, row := range s.commits {
		if row.line == id {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b *commitRow) int { return cmp.Compare(a.version, b.version) })
	return rows
}

// dropStale is rule 5. A version that is known to be retired has no row either.
func (s *salvager) dropStale() {
	byLine := map[uint32][]*commitRow{}
	for v, row := range s.commits {
		if s.retired.Contains(v) {
			delete(s.commits, v)
			continue
		}
		byLine[row.line] = append(byLine[row.line], row)
	}
	for _, rows := range byLine {
		slices.SortFunc(rows, func(a, b *commitRow) int { return cmp.Compare(b.version, a.version) })
		next := rows[0]
		for _, row := range rows[1:] {
			if len(next.parents) == 0 || next.parents[0] < row.version {
				delete(s.commits, row.version)
				s.retired.Add(row.version)
				continue
			}
			next = row
		}
	}
	for v, row := range s.commits {
		if len(row.parents) > 0 {
			if p := row.parents[0]; s.hints[p] == 0 && (row.pos > 0 && row.fold == nil) {
				s.hints[p] = row.line
			}
		}
		s.hints[v] = row.line
	}
	for _, l := range s.lines {
		for _, f := range l.forks() {
			s.hints[f.version] = f.line
		}
		if l.origin != nil {
			s.hints[l.origin.copy] = l.id
		}
	}
}

// claimAll gives every commit the pod versions that it says it added (rule 1).
func (s *salvager) claimAll() {
	for _, version := range sortedKeys(s.commits) {
		row := s.commits[version]
		if s.lines[row.line] == nil {
			delete(s.commits, version)
			s.lose(Loss{Version: version, What: fmt.Sprintf("the version: it is on line %d, of which nothing else is known", row.line)})
			s.report.LostCommits++
			continue
		}
		births := s.birthsOf(row)
		kept := births[:0]
		for _, b := range births {
			if b.pod == 0 { // its chunk is lost
				p, ok := s.numbers[b.number]
				if !ok || p.line != row.line {
					s.unknown.numbers.Add(b.number)
					continue
				}
				b.pod = p.pod
			}
			if s.claimed.Contains(b.number) {
				continue
			}
			s.claimed.Add(b.number)
			kept = append(kept, b)
			at := podOnLine{row.line, b.pod}
			if have, ok := s.numbers[b.number]; ok && have != at { // it is another's
				delete(s.rows, string(versionKey(nil, have.pod, have.line, b.number)))
			}
			s.numbers[b.number] = at
			if key := string(versionKey(nil, b.pod, row.line, b.number)); len(s.rows[key]) == 0 || s.rows[key][0] == envLost {
				env, ok := s.byNonce(row, b.pod)
				if !ok {
					env = []byte{envLost}
				}
				s.rows[key] = env
			}
		}
		if uint64(len(kept)) != row.added {
			s.refold(row, kept)
			continue
		}
		for i, b := range kept {
			row.ids[i] = b.pod
		}
	}
}

// dropReclaimed is the second half of rule 5. What was retired for certain is noted
// as such; what is not believed counts as lost.
func (s *salvager) dropReclaimed() {
	stale := map[uint32]bool{} // by line: a row from before a folding was seen
	for _, v := range sortedKeys(s.commits) {
		row := s.commits[v]
		switch {
		case !s.inGap(commitKey(v)):
			stale[row.line] = false
		case s.reclaimed(row):
			stale[row.line] = true
			s.retired.Add(v)
			delete(s.commits, v)
		case stale[row.line]:
			delete(s.commits, v)
		}
	}
}

// pruned reports whether anything says that versions were ever retired.
func (s *salvager) pruned() bool {
	if s.counters.freed > 0 || !s.retired.empty() || !s.garbage.empty() {
		return true
	}
	for _, row := range s.commits {
		if row.fold != nil {
			return true
		}
	}
	return false
}

// reclaimed reports whether a commit row from a gap claims what is gone.
func (s *salvager) reclaimed(row *commitRow) bool {
	for _, b := range s.birthsOf(row) {
		if _, ok := s.numbers[b.number]; ok {
			continue
		}
		if b.pod == 0 && !s.mayLack(kindVersion) || b.pod != 0 && !s.inGap(versionKey(nil, b.pod, row.line, b.number)) {
			return true
		}
	}
	return uint64(len(s.names[row.version])) < row.names && !s.mayLack(kindName)
}

// mayLack reports whether rows of a kind may lie in a gap.
func (s *salvager) mayLack(kind byte) bool {
	return slices.ContainsFunc(s.gaps, func(g pager.ScanGap) bool {
		return bytes.Compare(g.Lower, []byte{kind + 1}) < 0 && (g.Upper == nil || bytes.Compare(g.Upper, []byte{kind}) > 0)
	})
}

// birthsOf pairs the numbers of a row with its pods.
func (s *salvager) birthsOf(row *commitRow) []birth {
	births := make([]birth, 0, len(row.ids))
	i := 0
	for number := range row.numbers {
		if i < len(row.ids) {
			births = append(births, birth{number, row.ids[i]})
		}
		i++
	}
	return births
}

// refold makes births, ascending, what a row added.
func (s *salvager) refold(row *commitRow, births []birth) {
	s.fold(row)
	row.fold.births, row.ids = &Set{}, nil
	for _, b := range births {
		row.fold.births.Add(b.number)
		row.ids = append(row.ids, b.pod)
	}
	row.added = uint64(len(births))
}

// fold makes a row a folded one.
func (s *salvager) fold(row *commitRow) {
	if row.fold != nil {
		return
	}
	f := &fold{births: &Set{}}
	f.added, f.removed = row.own()
	row.births(f.births)
	row.fold = f
	s.changed[row.version] = true
}

// indexLives sorts the claimed numbers by pod and line.
func (s *salvager) indexLives() {
	s.lives = map[podOnLine][]uint64{}
	for n := range s.claimed.All() {
		p := s.numbers[n]
		s.lives[p] = append(s.lives[p], n)
	}
}

// before returns the number of a pod's version that one on a line replaced, 0 if
// it was the first.
func (s *salvager) before(l *line, id pid, number uint64) uint64 {
	newest := func(line uint32, most uint64) uint64 {
		list := s.lives[podOnLine{line, id}]
		i, found := slices.BinarySearch(list, most)
		if found {
			return list[i]
		}
		if i == 0 {
			return 0
		}
		return list[i-1]
	}
	if n := newest(l.id, number-1); n != 0 {
		return n
	}
	for _, f := range l.lineage {
		if n := newest(f.line, f.number); n != 0 {
			return n
		}
	}
	return 0
}

// settleLine makes the rows of a line follow each other (rules 4 and 6).
func (s *salvager) settleLine(l *line) {
	rows := s.onLine(l.id)
	parent, next := l.forkVersion(), uint64(0) // what the row at hand follows
	for i, row := range rows {
		if s.fresh[row.version] {
			row.pos = next
			for k := i + 1; k < len(rows); k++ { // leave no more positions free than there are
				if !s.fresh[rows[k].version] {
					row.pos = max(next, rows[k].pos-min(rows[k].pos, uint64(k-i)))
					break
				}
			}
		}
		if row.pos < next {
			row.pos = next
			s.fold(row)
		}
		follows := row.pos == next && (parent == 0 && len(row.parents) == 0 || len(row.parents) > 0 && row.parents[0] == parent)
		if !follows {
			s.fold(row)
			switch {
			case parent == 0:
				row.parents = nil
			case len(row.parents) == 0:
				row.parents = []Version{parent}
			default:
				row.parents[0] = parent
			}
		}
		s.settleRemoved(l, row)
		parent, next = row.version, row.pos+1
	}
	h := l.fresh()
	if n := len(rows); n > 0 {
		h = head{rows[n-1].version, rows[n-1].last, rows[n-1].pos + 1}
	}
	l.head.Store(&h)
}

// settleRemoved is rule 6.
func (s *salvager) settleRemoved(l *line, row *commitRow) {
	own, removed := &Set{}, &Set{}
	row.births(own)
	for _, b := range s.birthsOf(row) {
		if n := s.before(l, b.pod, b.number); n != 0 && !own.Contains(n) {
			removed.Add(n)
		}
	}
	if !removed.Equal(row.removed) {
		row.removed = removed
		s.changed[row.version] = true
		if row.fold != nil {
			row.fold.removed = min(row.fold.removed, removed.Len())
		}
	}
}
