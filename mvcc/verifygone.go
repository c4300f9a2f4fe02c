package mvcc

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// What Verify knows of retention (retire.go, reclaim.go).

// retired reads what is gone.
func (w *verifier) retired() error {
	var err error
	if w.gone, err = w.v.gone(); err != nil {
		return err
	}
	if n := w.gone.max(); n > w.counters.version || w.gone.Contains(0) {
		w.problem("version %d is retired, the newest is %d", n, w.counters.version)
	}
	w.goneNames = map[uint32][]nameChange{}
	return nil
}

// garbage reads what is to be reclaimed. It decodes too: what was not reclaimed
// yet may rest on it, and it uses shared bodies.
func (w *verifier) garbage() error {
	return w.walk(kindQueue, func(key, env []byte) error {
		if string(key) == string(namesTask) {
			return nil
		}
		b, err := w.v.open(env)
		if err != nil {
			return w.damage(fmt.Errorf("queue row %x: %w", key, err))
		}
		line, list, err := decodeGarbage(b)
		if err != nil || len(list) == 0 || w.lines[line] == nil {
			return w.damage(cmp.Or(err, corrupt("queue row %x has %d entries for line %d", key, len(list), line)))
		}
		for _, g := range list {
			if err := w.dead(line, g); err != nil {
				return err
			}
		}
		return nil
	})
}

// dead looks at one version that is to be reclaimed.
func (w *verifier) dead(line uint32, g garbage) error {
	w.stored++
	if w.report.PodVersions++; w.report.PodVersions%256 == 0 {
		if err := w.step(); err != nil {
			return err
		}
	}
	env, ok, err := w.v.get(versionKey(nil, g.pod, line, g.number))
	if err != nil {
		return err
	}
	if !ok {
		w.problem("pod %d has no number %d on line %d, which is to be reclaimed", g.pod, g.number, line)
		return nil
	}
	if len(env) > 0 && env[0] == envTombstone {
		return nil
	}
	f := found{g.pod, line, g.number, env}
	m, err := w.build(f)
	if err != nil {
		return w.unreadable(f, fmt.Errorf("pod %d, number %d, which is to be reclaimed: %w", g.pod, g.number, err))
	}
	if m.body != 0 {
		w.uses[m.body]++
	}
	return nil
}

func (w *verifier) build(f found) (*merged, error) {
	if w.o.Deep {
		return w.v.build(f, noCache)
	}
	return w.v.build(f, w.s.pods.Get)
}

// unreadable lists a version that cannot be read: as lost if a salvage said so.
func (w *verifier) unreadable(f found, err error) error {
	w.unread = true
	lost, other := w.v.lost(f)
	if other != nil || !lost {
		return w.damage(err)
	}
	if w.report.Lost++; len(w.report.LostPods) < MaxProblems {
		w.report.LostPods = append(w.report.LostPods, fmt.Sprintf("pod %d, number %d, on line %d", f.pod, f.number, f.line))
	}
	return nil
}

// lost reports whether a version, or what it rests on, was lost before a
// salvage.
func (v *view) lost(f found) (bool, error) {
	for range maxDepth + 1 {
		e, err := decodeEnvelope(f.env)
		if err != nil || e.how == envLost || e.how == envTombstone {
			return e.how == envLost, err
		}
		fr, err := v.frame(e)
		if err != nil {
			return false, err
		}
		if fr.depth == 0 {
			return v.bodyLost(fr)
		}
		if _, f, err = v.base(f, fr.base, noCache); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (v *view) bodyLost(fr frame) (bool, error) {
	ver, err := pod.DecodeVersion(fr.form)
	if err != nil {
		return false, err
	}
	no, ok := ver.SharedBody()
	if !ok {
		return false, nil
	}
	env, ok, err := v.get(recordKey(kindShared, uint64(no)))
	return ok && len(env) > 0 && env[0] == envLost, err
}

// oldNames applies changes of names by retired commits before a version.
func (w *verifier) oldNames(row *commitRow, st *lineState) {
	changes := w.goneNames[row.line]
	n := 0
	for ; n < len(changes) && changes[n].version < row.version; n++ {
		w.apply(row, st, changes[n])
	}
	w.goneNames[row.line] = changes[n:]
}

// exported says whether a slot is exported, or may be: what a salvage could not
// find out is no problem.
func (w *verifier) exported(row *commitRow, st *lineState, r pod.Ref) bool {
	if st.exported(r) {
		return true
	}
	for _, f := range append([]fork{{row.line, row.version, row.last}}, w.lines[row.line].lineage...) {
		if w.s.lost.hidesPod(versionKey(nil, r.Pod, f.line, f.number), 0) {
			return true
		}
	}
	return false
}

func (w *verifier) sortOldNames() {
	for _, changes := range w.goneNames {
		slices.SortStableFunc(changes, func(a, b nameChange) int { return cmp.Compare(a.version, b.version) })
	}
}

// strays finds rows that nothing accounts for.
func (w *verifier) strays() error {
	var versions, aggregates, commits, chunks uint64
	for kind, n := range map[byte]*uint64{kindVersion: &versions, kindAggregate: &aggregates} {
		if err := w.walk(kind, func(_, _ []byte) error { *n++; return nil }); err != nil {
			return err
		}
	}
	err := w.walk(kindCommit, func(key, _ []byte) error {
		if len(key) == 9 {
			commits++
		} else {
			chunks++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if versions != w.stored || versions+w.counters.freed != w.counters.number {
		w.problem("the index has %d pod versions; commits and the queue of reclaim name %d; of %d given out %d were reclaimed",
			versions, w.stored, w.counters.number, w.counters.freed)
	}
	if want := w.counters.version - w.gone.Len(); commits != want {
		w.problem("the index has %d commits, counted are %d", commits, want)
	}
	if chunks != w.chunks {
		w.problem("the index has %d chunks of pod ids, commits need %d", chunks, w.chunks)
	}
	if aggregates != w.spans {
		w.problem("the index has %d aggregates, expected are %d", aggregates, w.spans)
	}
	for version, changes := range w.names {
		w.problem("name %q was changed at version %d, which does not say so", changes[0].name, version)
	}
	for line, changes := range w.goneNames {
		for _, c := range changes {
			w.problem("name %q was changed at version %d, after the newest on line %d", c.name, c.version, line)
		}
	}
	return nil
}

// numbers checks that what a row adds follows what was given out before it.
func (w *verifier) numbers(row *commitRow, st *lineState) error {
	bad := row.last < w.last || row.first() <= w.last && row.first() <= row.last
	if !w.gone.Contains(row.version - 1) {
		bad = bad || row.first() != w.last+1
	}
	if row.fold == nil {
		bad = bad || row.pos != st.commits
	} else {
		bad = bad || row.pos < st.commits // equal where a salvage folded what was left of one commit
		for n := range row.numbers {
			bad = bad || n <= st.number
		}
	}
	if bad {
		return corrupt("it adds %d numbers up to %d after %d, at %d of line %d after %d",
			row.added, row.last, w.last, row.pos, row.line, st.commits)
	}
	return nil
}

func corruption(err error) bool {
	return errors.Is(err, dberr.ErrCorrupt) || errors.Is(err, dberr.ErrTooNew) || errors.Is(err, dberr.ErrNotFound)
}
