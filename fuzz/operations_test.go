package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// operation is one thing that a program may do with a store.
type operation struct {
	name   string
	weight int
	run    func(*world) error
}

// operations are all that a world chooses from. A new ability of the engine
// gets its line here, and every campaign uses it.
var operations = []operation{
	{"commit", 40, (*world).commit},
	{"delete", 6, (*world).deleteName},
	{"branch", 5, (*world).createBranch},
	{"big commit", 4, (*world).bigCommit},
	{"checkpoint", 8, (*world).checkpoint},
	{"reopen", 5, (*world).reopen},
	{"look", 3, (*world).look},
	{"prune", 3, (*world).prune},
	{"compact", 2, (*world).compact},
	{"backup", 2, (*world).backup},
	{"inspect", 2, (*world).inspect},
}

// change makes one commit on a branch of what fill does to a transaction and
// to the state beside it.
func (w *world) change(branch string, fill func(tx *mvcc.Tx, st *state) error) error {
	head := w.m.heads[branch]
	tx, err := w.s.Begin(w.ctx, branch, head)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	was := w.m.states[head]
	st := &state{branch: branch, names: maps.Clone(was.names), pods: maps.Clone(was.pods)}
	if st.pods == nil {
		st.names, st.pods = map[string]pod.ID{}, map[pod.ID]*pod.Pod{}
	}
	if err := fill(tx, st); err != nil {
		return err
	}
	next := w.m.newest + 1
	w.m.begin(pending{branch: branch, head: next, state: st})
	v, err := tx.Commit(w.ctx, mvcc.CommitInfo{Message: fmt.Sprint("commit ", next), Author: "campaign"})
	switch {
	case err == nil && v == next:
		w.m.done()
	case err == nil && v == head: // nothing differed
		w.m.undone()
	case err == nil:
		return wrong("a commit behind version %d of %d gave %d", head, w.m.newest, v)
	case !mayHaveHappened(err):
		w.m.undone()
	case !crashed(err) && !errors.As(err, &w.asked):
		return wrong("an unknown outcome without a token: %v", err)
	}
	return err
}

// mayHaveHappened reports whether a call that failed may have had its effect:
// its outcome is unknown, or the machine is gone.
func mayHaveHappened(err error) bool {
	return errors.Is(err, dberr.ErrCommitUnknown) || crashed(err)
}

func (w *world) put(tx *mvcc.Tx, st *state, c *pod.Change) error {
	p, err := pod.Apply(st.pods[c.ID], c)
	if err != nil {
		return fmt.Errorf("the campaign made a bad change: %w", err)
	}
	if err := tx.Put(w.ctx, c); err != nil {
		return err
	}
	st.pods[c.ID] = p
	return nil
}

func (w *world) set(tx *mvcc.Tx, st *state, name string, root pod.ID) error {
	if err := tx.SetName(w.ctx, name, root); err != nil {
		return err
	}
	st.names[name] = root
	return nil
}

func (w *world) commit() error {
	return w.change(w.branch(), func(tx *mvcc.Tx, st *state) error {
		old := slices.Sorted(maps.Keys(st.pods))
		w.rng.Shuffle(len(old), func(i, j int) { old[i], old[j] = old[j], old[i] })
		fresh := w.rng.IntN(3)
		if len(old) == 0 {
			fresh = 2
		}
		for range fresh {
			c := w.fresh(tx.NewPod(), st)
			if err := w.put(tx, st, c); err != nil {
				return err
			}
			if err := w.set(tx, st, fmt.Sprintf("n%02d", w.rng.IntN(12)), c.ID); err != nil {
				return err
			}
		}
		for _, id := range old[:min(len(old), w.rng.IntN(4))] {
			if err := w.put(tx, st, w.changed(id, st.pods[id])); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) deleteName() error {
	branch := w.branch()
	names := sortedNames(w.m.states[w.m.heads[branch]].names)
	if len(names) == 0 {
		return w.commit()
	}
	return w.change(branch, func(tx *mvcc.Tx, st *state) error {
		name := pick(w.rng, names)
		delete(st.names, name)
		return tx.DeleteName(w.ctx, name)
	})
}

// bigCommit is one that is larger than what travels in the log.
func (w *world) bigCommit() error {
	if !w.big {
		return w.commit()
	}
	return w.change(w.branch(), func(tx *mvcc.Tx, st *state) error {
		for i := range 3 {
			c := w.fresh(tx.NewPod(), st)
			c.Slots[0].Data = pod.Data{Kind: pod.SlotObject, Type: 17, Bytes: w.noise(400_000 + w.rng.IntN(40_000))}
			if err := w.put(tx, st, c); err != nil {
				return err
			}
			if err := w.set(tx, st, fmt.Sprint("big", i), c.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) createBranch() error {
	if len(w.m.heads) >= 4 {
		return w.commit()
	}
	at := mvcc.Version(w.rng.Uint64N(w.m.newest + 1))
	for w.m.retired[at] || w.m.pending.mayGo(at) { // a prune that failed may have retired some
		at++
	}
	name := fmt.Sprint("b", len(w.m.heads))
	w.m.begin(pending{branch: name, head: at})
	err := w.s.CreateBranch(w.ctx, name, at)
	w.answered(err)
	return err
}

// answered settles the pending call by its error.
func (w *world) answered(err error) {
	switch {
	case err == nil:
		w.m.done()
	case !mayHaveHappened(err):
		w.m.undone()
	}
}

func (w *world) checkpoint() error {
	err := w.s.Checkpoint(w.ctx)
	if err == nil {
		w.m.durable()
	}
	return err
}

func (w *world) reopen() error {
	if err := w.close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	w.m.durable()
	return w.open()
}

// look compares one version with the model while the store is in use.
func (w *world) look() error {
	v := mvcc.Version(w.rng.Uint64N(w.m.newest + 1))
	for w.m.pending.mayGo(v) { // a prune that failed may have retired it
		v++
	}
	return w.m.version(w.ctx, w.s, v)
}

// backup copies the database while it is in use and restores the copy on a disk
// of its own, where it is what the model says.
func (w *world) backup() error {
	var copied bytes.Buffer
	rep, err := w.s.Backup(w.ctx, &copied, nil)
	if err != nil {
		return err
	}
	w.m.durable() // it begins with a checkpoint
	if rep.Version != w.m.newest || rep.Bytes != int64(copied.Len()) {
		return wrong("a backup of version %d with %d bytes says %+v", w.m.newest, copied.Len(), rep)
	}
	other := newWorld(vfs.NewMem(), w.rng.Uint64())
	other.m = w.m.clone()
	if err := mvcc.Restore(w.ctx, other.fs, &copied, worldPath); err != nil {
		return wrong("a backup cannot be restored: %v", err)
	}
	if err := other.open(); err != nil {
		return wrong("a restored backup: %v", err)
	}
	defer other.close()
	if err := other.check(); err != nil {
		return wrong("a restored backup: %v", err)
	}
	return nil
}

// inspect reads the database beside its writer, over commits and checkpoints
// that would use its pages again.
// What it shows is some moment: the newest commit may not be promised yet.
func (w *world) inspect() error {
	o := w.options()
	o.Inspect = true
	s, err := mvcc.Open(w.ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	m := w.m.clone()
	newest, err := m.moment(w.ctx, s)
	if err != nil {
		return err
	}
	if newest+1 < m.newest && w.level == mvcc.DurabilityFull {
		return wrong("an inspector sees version %d of %d", newest, m.newest)
	}
	for range 4 {
		if err := w.commit(); err != nil {
			return err
		}
		if err := w.checkpoint(); err != nil {
			return err
		}
	}
	for v := range newest + 1 {
		if m.retired[v] {
			continue // that it is gone may not be promised yet
		}
		if err := m.version(w.ctx, s, v); err != nil {
			return fmt.Errorf("inspecting: %w", err)
		}
	}
	return nil
}

// prune keeps the newest few commits of each branch. One that fails may have
// retired those of some branches.
func (w *world) prune() error {
	keep := 1 + w.rng.IntN(5)
	forks := map[mvcc.Version]bool{}
	for _, at := range w.m.forks {
		forks[at] = true
	}
	var p pending
	n := 0
	for _, branch := range w.m.byAge() {
		left := slices.DeleteFunc(slices.Clone(w.m.lines[branch]), func(v mvcc.Version) bool { return w.m.retired[v] })
		gone := map[mvcc.Version]bool{}
		for _, v := range left[:max(0, len(left)-keep)] {
			if !forks[v] {
				gone[v] = true
			}
		}
		if n += len(gone); len(gone) > 0 {
			p.retiring = append(p.retiring, gone)
		}
	}
	would, err := w.s.Prune(w.ctx, mvcc.PruneOptions{KeepLast: keep, DryRun: true})
	if err != nil {
		return err
	}
	w.m.begin(p)
	did, err := w.s.Prune(w.ctx, mvcc.PruneOptions{KeepLast: keep})
	if err != nil {
		return err
	}
	w.m.done()
	if n > 0 {
		w.m.durable() // it ends with a checkpoint
	}
	if would.Versions != uint64(n) || did.Versions != uint64(n) {
		return wrong("pruning %d versions would retire %d and retired %d", n, would.Versions, did.Versions)
	}
	return nil
}

// compact makes the file as small as it gets.
func (w *world) compact() error {
	_, err := w.s.Compact(w.ctx, nil)
	return err
}
