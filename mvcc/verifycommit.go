package mvcc

import (
	"fmt"
	"maps"

	"github.com/poddb/poddb/internal/pod"
)

// lineState is a line as of one version, followed commit by commit.
type lineState struct {
	version Version
	number  uint64
	commits uint64
	pods    map[pid]podState
	names   map[string]pid
	refs    map[pod.Ref]int // how many pods and names refer to a slot
	dead    map[uint64]pid  // the pods that tombstones hide, by their numbers
	nets    [len(levelLen)]*net
	spans   [len(levelLen)]uint64 // the aggregate that each net is of
	filled  [len(levelLen)]bool   // a row was added to it
}

type podState struct {
	number uint64
	size   uint64
	pod    *pod.Pod // reference table and exports only
	// unknown: the version could not be read, so the fields but number say nothing.
	unknown bool
	dead    bool // a collect took the pod away: number is that of the tombstone
}

func newLineState() *lineState {
	st := &lineState{pods: map[pid]podState{}, names: map[string]pid{}, refs: map[pod.Ref]int{}, dead: map[uint64]pid{}}
	for i := range st.nets {
		st.nets[i] = newNet()
	}
	return st
}

// clone is the state of a line that begins here.
func (st *lineState) clone() *lineState {
	c := newLineState()
	c.version, c.number = st.version, st.number
	c.pods, c.names, c.refs, c.dead = maps.Clone(st.pods), maps.Clone(st.names), maps.Clone(st.refs), maps.Clone(st.dead)
	return c
}

// shows reports whether two states have the same names and pods, as far as what is
// kept of pods tells.
func (st *lineState) shows(o *lineState) bool {
	if !maps.Equal(st.names, o.names) || len(st.pods)-len(st.dead) != len(o.pods)-len(o.dead) {
		return false
	}
	for id, a := range st.pods {
		b, ok := o.pods[id]
		if a.dead {
			continue
		}
		if !ok || b.dead || !a.unknown && !b.unknown && a.number != b.number &&
			!samePod(&pod.Pod{Refs: a.pod.Refs, Exports: a.pod.Exports}, &pod.Pod{Refs: b.pod.Refs, Exports: b.pod.Exports}) {
			return false
		}
	}
	return true
}

func (st *lineState) refer(p *pod.Pod, by int) {
	if p == nil {
		return
	}
	for _, r := range p.Refs {
		if r != (pod.Ref{}) {
			if st.refs[r] += by; st.refs[r] == 0 {
				delete(st.refs, r)
			}
		}
	}
}

func (st *lineState) exported(r pod.Ref) bool {
	p, ok := st.pods[r.Pod]
	return ok && !p.dead && (p.unknown || p.pod.Exported(r.Slot))
}

// commit checks one commit against the state before it. An error means that
// later commits cannot be followed.
func (w *verifier) commit(row *commitRow) error {
	l, st := w.lines[row.line], w.states[row.line]
	if l == nil || st == nil {
		return corrupt("it is on line %d, which does not exist or begins later", row.line)
	}
	if err := w.numbers(row, st); err != nil {
		return err
	}
	if len(row.parents) == 0 && st.version != 0 || len(row.parents) > 0 && row.parents[0] != st.version {
		w.problem("version %d has parents %v, expected %d", row.version, row.parents, st.version)
	}
	ids, err := w.v.ids(row)
	if err != nil {
		return err
	}
	w.stored += row.added
	w.chunks += uint64(row.numChunks())
	st.version, st.number = row.version, row.last
	lineage := append([]fork{{l.id, row.version, row.last}}, l.lineage...)
	removed, gone, guess := &Set{}, uint64(0), false
	next := 0
	for number := range row.numbers {
		if next == len(ids) {
			return corrupt("%d pods for %d numbers", len(ids), row.added)
		}
		id := ids[next]
		next++
		old := st.pods[id]
		if old.number != 0 {
			removed.Add(old.number)
			gone += old.size
			guess = guess || old.unknown
		}
		if err := w.podVersion(row, st, lineage, id, number); err != nil {
			return err
		}
	}
	st.sweep(row.removed.minus(removed), removed)
	if !removed.Equal(row.removed) || gone != row.goneByte && !guess && w.gone.Len() == 0 {
		w.problem("version %d says it replaced %d pod versions of %d bytes; it replaced %d of %d bytes",
			row.version, row.removed.Len(), row.goneByte, removed.Len(), gone)
	}
	w.namesOf(row, st)
	w.references(row, st, ids)
	w.last, st.commits = row.last, row.pos+1
	return w.aggregates(row, st)
}

// podVersion reads one version and puts it into the state.
func (w *verifier) podVersion(row *commitRow, st *lineState, lineage []fork, id pid, number uint64) error {
	if w.report.PodVersions++; w.report.PodVersions%256 == 0 {
		if err := w.step(); err != nil {
			return err
		}
	}
	old := st.pods[id]
	st.refer(old.pod, -1)
	delete(st.dead, old.number)
	st.pods[id] = podState{number: number, unknown: true} // until it is read
	m, err := w.readVersion(row, lineage, id, number)
	if err == nil && m == tombstoned {
		w.loses(id, old.pod, &pod.Pod{})
		st.pods[id], st.dead[number] = podState{number: number, dead: true}, id
		return nil
	}
	if err != nil || m == nil {
		w.unread = true
		return w.damage(err)
	}
	if m.pod == nil {
		return nil // lost
	}
	if m.body != 0 {
		w.uses[m.body]++
	}
	for i := range m.pod.Slots {
		if t := m.pod.Slots[i].Type; t >= pod.FirstCatalogType && !w.types[t] {
			w.problem("version %d, pod %d: slot %d has type %d, which is not in the catalogue", row.version, id, i, t)
		}
	}
	for _, g := range m.pod.Generations {
		if g.Gen.Number >= number || uint64(g.Gen.Line) >= w.counters.line {
			w.problem("version %d, pod %d: slot %d was given out on line %d behind pod version %d, which this one, %d, is not behind",
				row.version, id, g.Slot, g.Gen.Line, g.Gen.Number, number)
		}
	}
	w.loses(id, old.pod, m.pod)
	st.refer(m.pod, 1)
	st.pods[id] = podState{number: number, size: m.size, pod: &pod.Pod{Refs: m.pod.Refs, Exports: m.pod.Exports}}
	return nil
}

// loses notes the slots that a pod no longer exports.
func (w *verifier) loses(id pid, old, now *pod.Pod) {
	if old == nil {
		return
	}
	for _, e := range old.Exports {
		if !now.Exported(e.Slot) {
			w.lostExport = append(w.lostExport, pod.Ref{Pod: id, Slot: e.Slot})
		}
	}
}

// sweep forgets the tombstones among numbers, and adds these to removed.
func (st *lineState) sweep(numbers, removed *Set) {
	for n := range numbers.All() {
		if id, ok := st.dead[n]; ok {
			delete(st.pods, id)
			delete(st.dead, n)
			removed.Add(n)
		}
	}
}

// tombstoned is what readVersion returns for a tombstone.
var tombstoned = &merged{}

// readVersion finds a version by resolving and reads it; nil if another is
// found, and without a pod if it cannot be read, which is listed.
func (w *verifier) readVersion(row *commitRow, lineage []fork, id pid, number uint64) (*merged, error) {
	f, ok, err := w.v.resolve(lineage, id)
	if isLost(err) {
		w.unread = true
		return &merged{}, w.damage(err)
	}
	if err != nil {
		return nil, err
	}
	if !ok && f.number == number && f.line == row.line {
		return tombstoned, nil
	}
	if !ok || f.number != number || f.line != row.line {
		w.problem("version %d: pod %d resolves to number %d of line %d, expected %d of line %d", row.version, id, f.number, f.line, number, row.line)
		return nil, nil
	}
	if uint64(id) >= w.counters.pod {
		w.problem("version %d: pod %d was not given out", row.version, id)
	}
	m, err := w.build(f)
	if err != nil {
		return &merged{}, w.unreadable(f, fmt.Errorf("version %d, pod %d, number %d: %w", row.version, id, number, err))
	}
	return m, nil
}

// namesOf applies the changes of names.
func (w *verifier) namesOf(row *commitRow, st *lineState) {
	w.oldNames(row, st)
	changes := w.names[row.version]
	delete(w.names, row.version)
	if uint64(len(changes)) != row.names {
		w.problem("version %d changed %d names, %d are stored", row.version, row.names, len(changes))
	}
	for _, c := range changes {
		if c.line != row.line {
			w.problem("version %d is on line %d and changes name %q on line %d", row.version, row.line, c.name, c.line)
		}
		w.apply(row, st, c)
	}
	for name, root := range w.changed {
		if !w.exported(row, st, root) {
			w.problem("version %d: variable %q has root pod %d, which does not export slot 0", row.version, name, root.Pod)
		}
	}
	clear(w.changed)
}

// apply changes a name. Its root is checked when all of the row's were changed:
// what a retired commit bound may be replaced.
func (w *verifier) apply(row *commitRow, st *lineState, c nameChange) {
	if old := st.names[c.name]; old != 0 {
		st.refer(&pod.Pod{Refs: []pod.Ref{{Pod: old}}}, -1)
	}
	delete(w.changed, c.name)
	if delete(st.names, c.name); c.root == 0 {
		return
	}
	st.names[c.name] = c.root
	root := pod.Ref{Pod: c.root}
	st.refer(&pod.Pod{Refs: []pod.Ref{root}}, 1)
	w.changed[c.name] = root
}

// references checks what the commit's pods refer to, and that nothing refers
// to slots that they export no longer.
func (w *verifier) references(row *commitRow, st *lineState, ids []pid) {
	for _, id := range ids {
		p := st.pods[id].pod
		if p == nil {
			continue
		}
		for _, r := range p.Refs {
			if r == (pod.Ref{}) {
				continue
			}
			w.report.References++
			if !w.exported(row, st, r) {
				w.problem("version %d: pod %d refers to pod %d, slot %d, which is not exported", row.version, id, r.Pod, r.Slot)
			}
		}
	}
	for _, r := range w.lostExport {
		if n := st.refs[r]; n > 0 && !w.exported(row, st, r) {
			w.problem("version %d: pod %d no longer exports slot %d, to which %d others refer", row.version, r.Pod, r.Slot, n)
		}
	}
	w.lostExport = w.lostExport[:0]
}

// aggregates adds the row up, and compares an aggregate when its last row was
// added.
func (w *verifier) aggregates(row *commitRow, st *lineState) error {
	for level := 1; level < len(levelLen); level++ {
		span := row.pos / levelLen[level]
		if span != st.spans[level] {
			if err := w.closeSpan(row.line, st, level); err != nil {
				return err
			}
		}
		st.spans[level], st.filled[level] = span, true
		st.nets[level].commit(row)
		if st.commits == (span+1)*levelLen[level] {
			if err := w.closeSpan(row.line, st, level); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeSpan compares what was added up with what is stored. Nothing is stored
// for positions without rows.
func (w *verifier) closeSpan(line uint32, st *lineState, level int) error {
	if !st.filled[level] {
		return nil
	}
	sum := st.nets[level]
	st.nets[level], st.filled[level] = newNet(), false
	w.spans++
	b, ok, err := w.v.fetch(aggregateKey(line, byte(level), st.spans[level]))
	if err == nil && !ok {
		err = corrupt("aggregate %d of level %d of line %d is missing", st.spans[level], level, line)
	}
	if err != nil {
		return w.damage(err)
	}
	a, err := decodeNet(b)
	if err != nil {
		return w.damage(err)
	}
	if !a.added.Equal(sum.added) || !a.removed.Equal(sum.removed) {
		w.problem("aggregate %d of level %d of line %d is not what its commits add up to", st.spans[level], level, line)
	}
	return nil
}
