package mvcc

import (
	"context"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/pager"
)

// Verify. It looks at one moment of the store, pinned for its whole run, while
// commits and checkpoints go on:
//
//  1. The page file: every page and the free space (package pager).
//
//  2. Every commit in order, per line, with the state of the line kept beside:
//     its pod versions decode and merge, and resolving finds them; what the
//     row says it removed is what the state says was replaced; every reference
//     written has an exported target, and no slot that something refers to
//     stops being exported. So by induction, in every version, resolve gives
//     the set that the bitmaps give, and every reference resolves.
//
//  3. Aggregates equal what the commits they cover add up to.
//
//     What retention has folded is followed fold by fold: a folded row is the
//     net of its commits, so the same holds at every kept version. What is
//     queued for reclaim decodes too; every row of a pod version is added by one
//     kept row or queued.
//
//  4. Shared bodies: users counted again, content keys, types, names, lines,
//     counters, and that the index has no pod version that no commit added.
//
//  5. Space: every live byte of record pages belongs to a row's record.
//
// Damage is listed. An error means that Verify could not go on: it was
// cancelled, the store is closing, or the file could not be read. A pod version
// that cannot be read is listed once: what it refers to and exports is unknown
// from then on, and what depends on that is not checked.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (VerifyReport, error) {
	v, p, err := s.stillView()
	if err != nil {
		return VerifyReport{}, err
	}
	defer v.close()
	ctx, end := s.lasting(ctx, &s.scans)
	w := &verifier{
		ctx: ctx, s: s, v: v, o: o, counters: p.counters, lines: v.lines(),
		states: map[uint32]*lineState{}, forks: map[Version][]*line{}, origins: map[Version][]*line{}, shown: map[uint32]*lineState{}, uses: map[uint64]uint64{},
		types: map[pod.TypeID]bool{}, names: map[Version][]nameChange{}, changed: map[string]pod.Ref{}, gone: &Set{},
	}
	if damage := s.pager.State().Damage; damage != "" && s.o.ReadOnly { // else Open has repaired it
		w.problem("%s", damage)
	}
	err = end(w.run())
	return w.report, err
}

// stillView pins the index as it is now, in layers that change no more.
func (s *Store) stillView() (*view, *published, error) {
	if err := s.enter(); err != nil {
		return nil, nil, err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	la := s.layers.Load()
	if la.frozen == nil && !la.active.empty() {
		// As the first step of a checkpoint, which the next one completes.
		la = &layers{frozen: la.active, active: s.nextOverlay()}
		s.check.frozenAt.Store(s.applied)
		s.layers.Store(la)
	}
	still := &layers{frozen: la.frozen, active: la.active.copy()}
	return &view{s: s, la: still, pv: s.pager.View()}, s.published.Load(), nil
}

// lines returns the lines that a still view has: one may have been made since.
func (v *view) lines() map[uint32]*line {
	has := map[uint32]*line{}
	for id, l := range v.s.lines.Load().byID {
		if _, ok, err := v.get(lineKey(id)); ok || err != nil {
			has[id] = l
		}
	}
	return has
}

type verifier struct {
	ctx      context.Context
	s        *Store
	v        *view
	o        VerifyOptions
	report   VerifyReport
	counters counters
	lines    map[uint32]*line
	states   map[uint32]*lineState
	forks    map[Version][]*line   // lines by the version they begin at
	origins  map[Version][]*line   // lines that begin with a copy, by their origin
	shown    map[uint32]*lineState // by line: what the origin shows, until the copy is met
	uses     map[uint64]uint64     // of shared bodies, counted
	types    map[pod.TypeID]bool   // in the catalogue
	names    map[Version][]nameChange
	last     uint64 // number after the commits seen
	unread   bool   // some pod version could not be read
	gone     *Set   // retired versions
	// goneNames are the changes of names by retired commits, by line, in order.
	goneNames map[uint32][]nameChange
	// What rows account for: pod versions, chunks of ids, aggregates.
	stored, chunks, spans uint64
	changed               map[string]pod.Ref // names that the commit at hand binds
	// lostExport are slots that the commit at hand no longer exports.
	lostExport []pod.Ref
}

type nameChange struct {
	name    string
	line    uint32
	root    pid
	version Version
}

// step looks at the context and reports progress.
func (w *verifier) step() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.s.closing.Load() {
		return dberr.ErrClosed
	}
	if w.o.Progress != nil {
		w.o.Progress(w.report.PodVersions, w.counters.number-min(w.counters.freed, w.counters.number))
	}
	return nil
}

func (w *verifier) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch {
	case slices.Contains(w.report.Problems, text): // found on two ways
	case len(w.report.Problems) == MaxProblems:
		w.report.More++
	default:
		w.report.Problems = append(w.report.Problems, text)
	}
}

// damage lists an error that says what is wrong with the stored bytes. Others
// end Verify: they say nothing about the database.
func (w *verifier) damage(err error) error {
	if isLost(err) {
		w.report.Lost++
		return nil
	}
	if corruption(err) {
		w.problem("%v", err)
		return nil
	}
	return err
}

// walk is view.walk that can be ended.
func (w *verifier) walk(kind byte, fn func(key, val []byte) error) error {
	rows := 0
	return w.v.walk([]byte{kind}, func(key, val []byte) error {
		if rows++; rows%1024 == 0 {
			if err := w.ctx.Err(); err != nil {
				return err
			}
		}
		return fn(key, val)
	})
}

func (w *verifier) run() error {
	for _, part := range []func() error{
		w.pages, w.retired, w.catalogue, w.linesAndNames, w.commits, w.heads, w.checkTags, w.checkBranches, w.garbage, w.bodies, w.strays, w.records, w.blocks,
	} {
		if err := w.step(); err != nil {
			return err
		}
		if err := w.damage(part()); err != nil {
			return err
		}
	}
	return w.step()
}

func (w *verifier) pages() error {
	rep, err := w.s.pager.Check(w.ctx, nil)
	w.report.Pages = rep.Pages
	return err
}

// catalogue reads every type.
func (w *verifier) catalogue() error {
	err := w.walk(kindType, func(key, env []byte) error {
		if len(key) != 5 {
			return corrupt("type key %x", key)
		}
		id := pod.TypeID(be.Uint32(key[1:]))
		w.types[id] = true
		w.report.Types++
		if uint64(id) >= w.counters.typ || id < pod.FirstCatalogType {
			w.problem("type %d was not given out", id)
		}
		d, err := w.v.open(env)
		if err != nil {
			return w.damage(fmt.Errorf("type %d: %w", id, err))
		}
		b, ok, err := w.v.get(hashKey(kindTypeHash, blake(d)))
		if err == nil && (!ok || len(b) != 4) {
			w.problem("type %d is not found by its hash", id)
		}
		return err
	})
	if err != nil {
		return err
	}
	return w.walk(kindTypeHash, func(key, val []byte) error {
		if len(val) != 4 || !w.types[pod.TypeID(be.Uint32(val))] {
			w.problem("type hash %x names no type", key[1:])
		}
		return nil
	})
}

// linesAndNames collects what happens at which version.
func (w *verifier) linesAndNames() error {
	for _, l := range w.lines {
		if l.origin != nil {
			w.origins[l.origin.version] = append(w.origins[l.origin.version], l)
		}
		if len(l.lineage) == 0 {
			w.states[l.id] = newLineState()
		} else {
			w.forks[l.forkVersion()] = append(w.forks[l.forkVersion()], l)
		}
	}
	for _, l := range w.forks[0] {
		w.states[l.id] = newLineState()
	}
	defer w.sortOldNames()
	return w.walk(kindName, func(key, val []byte) error {
		name, _, line, version, err := splitNameKey(key)
		if err != nil {
			return w.damage(err)
		}
		root, err := decodeRoot(val)
		if err != nil {
			return w.damage(fmt.Errorf("name %q: %w", name, err))
		}
		w.report.Names++
		change := nameChange{name, line, root, version}
		if w.gone.Contains(version) {
			w.goneNames[line] = append(w.goneNames[line], change)
		} else {
			w.names[version] = append(w.names[version], change)
		}
		return nil
	})
}

func (w *verifier) commits() error {
	for version := Version(1); version <= w.counters.version; version++ {
		if w.gone.Contains(version) {
			continue
		}
		row, err := w.v.row(version)
		if err == nil {
			err = w.commit(row)
		}
		if err != nil {
			return fmt.Errorf("version %d and later ones were not checked: %w", version, err)
		}
		w.report.Versions++
		for _, l := range w.forks[version] {
			w.states[l.id] = w.states[row.line].clone()
			if f := l.lineage[0]; f.line != row.line || f.number != row.last {
				w.problem("line %d begins at version %d with number %d of line %d; there it is %d of line %d",
					l.id, version, f.number, f.line, row.last, row.line)
			}
			if p := w.lines[row.line]; p == nil || !slices.Equal(p.lineage, l.lineage[1:]) {
				w.problem("lineage of line %d is not that of line %d, which it begins at", l.id, row.line)
			}
		}
		w.copies(row)
	}
	for _, id := range sortedKeys(w.shown) {
		w.problem("line %d has no version %d, which copies version %d", id, w.lines[id].origin.copy, w.lines[id].origin.version)
	}
	// Retention keeps heads; a salvage may have lost the newest versions.
	if w.last > w.counters.number || w.last != w.counters.number && !w.gone.Contains(w.counters.version) {
		w.problem("commits add numbers up to %d, counted are %d", w.last, w.counters.number)
	}
	return nil
}

// copies checks the lines that begin with a copy of what this commit shows, or with
// this commit (deepbranch.go).
func (w *verifier) copies(row *commitRow) {
	for _, l := range w.origins[row.version] {
		o, inherited := l.origin, w.lines[row.line].lineage
		if more := len(inherited) - len(l.lineage); o.line != row.line || o.number != row.last || more < 0 || !slices.Equal(inherited[more:], l.lineage) {
			w.problem("line %d copies version %d with number %d of line %d, and its lineage is not a part of that one's; there it is %d of line %d",
				l.id, row.version, o.number, o.line, row.last, row.line)
		}
		w.shown[l.id] = w.states[row.line].clone()
	}
	if l := w.lines[row.line]; l.origin != nil && l.origin.copy == row.version {
		want := w.shown[l.id]
		delete(w.shown, l.id)
		if want == nil || !want.shows(w.states[l.id]) && w.s.lost == nil {
			w.problem("version %d does not show what version %d shows, which it copies", row.version, l.origin.version)
		}
	}
}

// heads compares what is computed from aggregates with what was followed step
// by step, for the newest version of each line.
func (w *verifier) heads() error {
	for _, id := range sortedKeys(w.lines) {
		l, st := w.lines[id], w.states[id]
		if st == nil {
			w.problem("line %d begins at version %d, which does not exist", id, l.forkVersion())
			continue
		}
		w.report.Pods += uint64(len(st.pods) - len(st.dead))
		if st.commits == 0 {
			continue
		}
		lineage := append([]fork{{id, st.version, st.number}}, l.lineage...)
		set := &Set{}
		for i := len(lineage) - 1; i >= 0; i-- {
			if err := w.v.applyLine(set, lineage[i]); err != nil {
				return err
			}
		}
		current := &Set{}
		for _, p := range st.pods {
			current.Add(p.number)
		}
		if !set.Equal(current) {
			w.problem("branch %q at version %d: its bitmaps give %d pod versions, its commits leave %d, and they differ",
				l.branch, st.version, set.Len(), current.Len())
		}
		for pid, p := range st.pods {
			if err := w.ctx.Err(); err != nil {
				return err
			}
			f, _, err := w.v.resolve(lineage, pid)
			if isLost(err) {
				continue
			}
			if err != nil {
				return err
			}
			if f.number != p.number && !p.unknown {
				w.problem("branch %q at version %d: pod %d resolves to number %d, expected %d", l.branch, st.version, pid, f.number, p.number)
			}
		}
		if err := w.unreachable(l, st, lineage); err != nil {
			return err
		}
	}
	return nil
}

// bodies counts users of shared bodies and checks content keys.
func (w *verifier) bodies() error {
	err := w.walk(kindShared, func(key, env []byte) error {
		if len(key) != 9 {
			return corrupt("shared body key %x", key)
		}
		no := be.Uint64(key[1:])
		w.report.SharedBodies++
		stored, err := w.v.users(no)
		if err != nil {
			return w.damage(err)
		}
		if stored != w.uses[no] && !(w.unread && stored > w.uses[no]) || no >= w.counters.record {
			w.problem("shared body %d of %d has %d users, stored are %d", no, w.counters.record-1, w.uses[no], stored)
		}
		delete(w.uses, no)
		if w.o.Deep && env[0] != envLost {
			if _, _, err := w.v.sharedBody(no); err != nil {
				return w.damage(fmt.Errorf("shared body %d: %w", no, err))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, no := range sortedKeys(w.uses) {
		w.problem("shared body %d has %d users and does not exist", no, w.uses[no])
	}
	return w.walk(kindContent, func(key, val []byte) error {
		if len(val) != 8 {
			return w.damage(corrupt("content row %x", key))
		}
		no := be.Uint64(val)
		if env, _, err := w.v.get(recordKey(kindShared, no)); err != nil || len(env) > 0 && env[0] == envLost {
			return err
		}
		b, ok, err := w.v.sharedBody(no)
		if err != nil {
			return w.damage(fmt.Errorf("shared body %d: %w", no, err))
		}
		if !ok || w.o.Deep && w.s.contentKeyOf(b) != contentKey(key[1:]) {
			w.problem("content %x does not lead to shared body %d", key[1:], no)
		}
		return nil
	})
}

// records accounts for the space of the page file as it was when Verify began.
func (w *verifier) records() error {
	pv := w.v.pv
	return w.s.pager.CheckRecords(pv, func(add func(pager.Place) error) error {
		if err := blockPlaces(w.ctx, pv, add); err != nil {
			return fmt.Errorf("space of records was not checked: %w", err)
		}
		return nil
	})
}
