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
	nets    [len(levelLen)]*net
}

type podState struct {
	number uint64
	size   uint64
	pod    *pod.Pod // reference table and exports only
	// unknown: the version could not be read, so the fields but number say nothing.
	unknown bool
}

func newLineState() *lineState {
	st := &lineState{pods: map[pid]podState{}, names: map[string]pid{}, refs: map[pod.Ref]int{}}
	for i := range st.nets {
		st.nets[i] = newNet()
	}
	return st
}

// clone is the state of a line that begins here.
func (st *lineState) clone() *lineState {
	c := newLineState()
	c.version, c.number = st.version, st.number
	c.pods, c.names, c.refs = maps.Clone(st.pods), maps.Clone(st.names), maps.Clone(st.refs)
	return c
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
	return ok && (p.unknown || p.pod.Exported(r.Slot))
}

// commit checks one commit against the state before it. An error means that
// later commits cannot be followed.
func (w *verifier) commit(row *commitRow) error {
	l, st := w.lines[row.line], w.states[row.line]
	if l == nil || st == nil {
		return corrupt("it is on line %d, which does not exist or begins later", row.line)
	}
	if row.last != w.last+row.added || row.pos != st.commits {
		return corrupt("it adds %d numbers up to %d after %d, at %d of line %d after %d",
			row.added, row.last, w.last, row.pos, row.line, st.commits)
	}
	if len(row.parents) == 0 && st.version != 0 || len(row.parents) > 0 && row.parents[0] != st.version {
		w.problem("version %d has parents %v, expected %d", row.version, row.parents, st.version)
	}
	ids, err := w.v.ids(row)
	if err != nil {
		return err
	}
	st.version, st.number = row.version, row.last
	lineage := append([]fork{{l.id, row.version, row.last}}, l.lineage...)
	removed, gone, guess := &Set{}, uint64(0), false
	for i, id := range ids {
		old := st.pods[id]
		if old.number != 0 {
			removed.Add(old.number)
			gone += old.size
			guess = guess || old.unknown
		}
		if err := w.podVersion(row, st, lineage, id, row.first()+uint64(i)); err != nil {
			return err
		}
	}
	if !removed.Equal(row.removed) || gone != row.goneByte && !guess {
		w.problem("version %d says it replaced %d pod versions of %d bytes; it replaced %d of %d bytes",
			row.version, row.removed.Len(), row.goneByte, removed.Len(), gone)
	}
	w.namesOf(row, st)
	w.references(row, st, ids)
	w.last, st.commits = row.last, st.commits+1
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
	st.pods[id] = podState{number: number, unknown: true} // until it is read
	m, err := w.readVersion(row, lineage, id, number)
	if err != nil || m == nil {
		w.unread = true
		return w.damage(err)
	}
	if m.body != 0 {
		w.uses[m.body]++
	}
	for i := range m.pod.Slots {
		if t := m.pod.Slots[i].Type; t >= pod.FirstCatalogType && !w.types[t] {
			w.problem("version %d, pod %d: slot %d has type %d, which is not in the catalogue", row.version, id, i, t)
		}
	}
	if old.pod != nil {
		for _, e := range old.pod.Exports {
			if !m.pod.Exported(e.Slot) {
				w.lostExport = append(w.lostExport, pod.Ref{Pod: id, Slot: e.Slot})
			}
		}
	}
	st.refer(m.pod, 1)
	st.pods[id] = podState{number: number, size: m.size, pod: &pod.Pod{Refs: m.pod.Refs, Exports: m.pod.Exports}}
	return nil
}

// readVersion finds a version by resolving and reads it; nil if another is
// found, which is listed.
func (w *verifier) readVersion(row *commitRow, lineage []fork, id pid, number uint64) (*merged, error) {
	f, ok, err := w.v.resolve(lineage, id)
	if err != nil {
		return nil, err
	}
	if !ok || f.number != number || f.line != row.line {
		w.problem("version %d: pod %d resolves to number %d of line %d, expected %d of line %d", row.version, id, f.number, f.line, number, row.line)
		return nil, nil
	}
	if uint64(id) >= w.counters.pod {
		w.problem("version %d: pod %d was not given out", row.version, id)
	}
	cached := w.s.pods.Get
	if w.o.Deep {
		cached = func(uint64) (*merged, bool) { return nil, false }
	}
	m, err := w.v.build(f, cached)
	if err != nil {
		return nil, fmt.Errorf("version %d, pod %d, number %d: %w", row.version, id, number, err)
	}
	return m, nil
}

// namesOf applies the changes of names.
func (w *verifier) namesOf(row *commitRow, st *lineState) {
	changes := w.names[row.version]
	delete(w.names, row.version)
	if uint64(len(changes)) != row.names {
		w.problem("version %d changed %d names, %d are stored", row.version, row.names, len(changes))
	}
	for _, c := range changes {
		if c.line != row.line {
			w.problem("version %d is on line %d and changes name %q on line %d", row.version, row.line, c.name, c.line)
		}
		if old := st.names[c.name]; old != 0 {
			st.refer(&pod.Pod{Refs: []pod.Ref{{Pod: old}}}, -1)
		}
		if delete(st.names, c.name); c.root == 0 {
			continue
		}
		st.names[c.name] = c.root
		root := pod.Ref{Pod: c.root}
		st.refer(&pod.Pod{Refs: []pod.Ref{root}}, 1)
		if !st.exported(root) {
			w.problem("version %d: variable %q has root pod %d, which does not export slot 0", row.version, c.name, c.root)
		}
	}
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
			if !st.exported(r) {
				w.problem("version %d: pod %d refers to pod %d, slot %d, which is not exported", row.version, id, r.Pod, r.Slot)
			}
		}
	}
	for _, r := range w.lostExport {
		if n := st.refs[r]; n > 0 && !st.exported(r) {
			w.problem("version %d: pod %d no longer exports slot %d, to which %d others refer", row.version, r.Pod, r.Slot, n)
		}
	}
	w.lostExport = w.lostExport[:0]
}

// aggregates compares those that end with this commit.
func (w *verifier) aggregates(row *commitRow, st *lineState) error {
	for level := 1; level < len(levelLen); level++ {
		st.nets[level].commit(row)
		n := levelLen[level]
		if st.commits%n != 0 {
			continue
		}
		a, err := w.v.net(row.line, byte(level), st.commits/n-1)
		if err != nil {
			return w.damage(err)
		}
		if !a.added.Equal(st.nets[level].added) || !a.removed.Equal(st.nets[level].removed) {
			w.problem("aggregate %d of level %d of line %d is not what its commits add up to", st.commits/n-1, level, row.line)
		}
		st.nets[level] = newNet()
	}
	return nil
}
