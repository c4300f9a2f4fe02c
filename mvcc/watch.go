package mvcc

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/poddb/poddb/internal/dberr"
)

// Watching a branch. A watcher has no queue: the history is the queue, and a watcher
// is a place in it. So who is slow costs a writer nothing and needs no memory, and
// nothing can overflow; what may happen to who is slow is that retention takes
// commits away that were not told yet.
//
//  1. A commit tells nobody what it is: it rings (bell). Who wakes up walks from the head of
//     the line back to the version that was told last, and then tells what it found in order.
//  2. The version told last is held open until the one after the next is asked for, and the one
//     that is being told: two versions a watcher, whatever comes. So what a step changed can always
//     be compared, but for the first step of one that resumes.
//  3. Commits were lost if the row of the next one is folded: between it and the one before,
//     which is held, others were retired.
//  4. A watcher belongs to a line, not to a name: if its branch is deleted, and another made
//     of that name, it ends with the commits of the first.

// WatchStep is one commit that a Watcher tells.
type WatchStep struct {
	Commit Commit
	Base   Version // that was told before
	// Retired: commits between Base and this one were retired before they were told.
	Retired bool
	// Skipped: they were left out because they were too many (Watcher.Behind).
	Skipped bool
	// NoBase: Base itself is retired. Only in the first step.
	NoBase bool
}

// Watcher tells the commits of a branch one by one. It is used by one goroutine.
type Watcher struct {
	// Behind bounds by how many commits of the branch the watcher may be behind; who is
	// further behind goes on with the newest. 0 is no bound.
	Behind uint64

	s       *Store
	l       *line
	told    Version
	walked  Version // the head as of the last look: what is up to it and after told is pending, or hidden
	noBase  bool
	skipped bool
	retired bool         // something after told
	held    [2]*Snapshot // told, and the one before
	pending Set          // versions to be told, all after told
	seen    uint64       // commits of the line when pending was made
}

// Watch begins to tell the commits of a branch that come after a version of its
// history; 0 means all that are kept. One that is retired is accepted if it may have been
// of the branch: then the first step has NoBase.
func (s *Store) Watch(ctx context.Context, branch string, after Version) (*Watcher, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if s.o.ReadOnly {
		return nil, fmt.Errorf("%w: a handle that only reads is told of no commits", dberr.ErrReadOnly)
	}
	l := s.lines.Load().byName[branch]
	if l == nil {
		return nil, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	if o := l.origin; o != nil && after == o.copy {
		after = o.version // the copy is nobody's commit
	}
	w := &Watcher{s: s, l: l, told: after}
	base, err := s.At(ctx, after)
	if errors.Is(err, dberr.ErrVersionGone) {
		w.noBase = true
		w.rebase()
		return w, nil
	}
	if err != nil {
		return nil, err
	}
	w.held[0] = base
	err = s.inHistory(branch, after)
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// rebase has a watcher whose base is retired begin with the head if nothing of the
// branch is newer: the base was of another branch of that name.
func (w *Watcher) rebase() {
	h := w.l.head.Load()
	if h.version > w.told {
		return
	}
	version := h.version
	if o := w.l.origin; o != nil && version == o.copy {
		version = o.version
	}
	if w.seen = h.commits; version == 0 {
		w.told = 0
	} else {
		w.pending.Add(version)
	}
}

// Close lets go of what the watcher holds. It may be called twice.
func (w *Watcher) Close() {
	for i, sn := range w.held {
		if sn != nil {
			sn.Close()
		}
		w.held[i] = nil
	}
}

// Next waits for the next commit. Both the commit's version and its base stay readable until
// Next is called again. It ends with the context's error, ErrClosed, what poisoned the
// store, or a *dberr.BranchDeletedError once all commits were told.
func (w *Watcher) Next(ctx context.Context) (WatchStep, error) {
	if old := w.held[1]; old != nil {
		old.Close()
		w.held[1] = nil
	}
	for {
		if w.s.closing.Load() {
			return WatchStep{}, dberr.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return WatchStep{}, err
		}
		if w.pending.empty() || w.tooFarBehind() {
			if err := w.look(ctx); err != nil {
				return WatchStep{}, err
			}
		}
		step, ok, err := w.tell(ctx)
		if ok || err != nil {
			return step, err
		}
	}
}

func (w *Watcher) tooFarBehind() bool {
	return w.Behind > 0 && w.pending.Len()+w.l.head.Load().commits-w.seen > w.Behind
}

// look waits until there is something to tell.
func (w *Watcher) look(ctx context.Context) error {
	var ended error
	err := w.s.bell.wait(ctx, w.s.life, func() bool {
		if w.s.closing.Load() {
			ended = dberr.ErrClosed
			return true
		}
		poison, deleted := w.s.writeError(), w.l.deleted.Load() // before the head: nothing comes after
		if w.l.head.Load().version > max(w.told, w.walked) {
			return true
		}
		switch {
		case deleted:
			ended = &dberr.BranchDeletedError{Branch: w.l.branch, Last: w.told}
		case poison != nil:
			ended = poison
		}
		return ended != nil
	})
	if err != nil || ended != nil {
		return errors.Join(err, ended)
	}
	h := w.l.head.Load()
	err = w.collect(ctx, h)
	switch gone := errors.Is(err, dberr.ErrVersionGone); {
	case gone && w.l.deleted.Load() && w.l.head.Load() == h: // its line went as well
		return &dberr.BranchDeletedError{Branch: w.l.branch, Last: w.told, Lost: true}
	case gone:
		return nil // there is a newer head
	}
	return err
}

// collect finds what there is to tell.
func (w *Watcher) collect(ctx context.Context, h *head) error {
	err := w.s.steady(ctx, func(v *view) error {
		w.pending, w.seen = Set{}, h.commits
		for version := h.version; version > w.told; {
			if err := ctx.Err(); err != nil {
				return err
			}
			if version == h.version && w.s.open.gone.Load().Contains(version) {
				return versionGone(version)
			}
			row, err := v.row(version)
			if err != nil {
				return err
			}
			if !row.kind.hidden() { // those that go just now too: tell sees where they are missing
				w.pending.Add(version)
			}
			version = w.s.parent(row)
		}
		return nil
	})
	if err != nil {
		w.pending = Set{}
		return err
	}
	if w.Behind > 0 && w.pending.Len() > w.Behind {
		newest := w.pending.max()
		w.pending = Set{}
		w.pending.Add(newest)
		w.skipped = true
	}
	w.walked = h.version
	return nil
}

// tell opens the next pending version that is still kept.
func (w *Watcher) tell(ctx context.Context) (WatchStep, bool, error) {
	var version Version
	for version = range w.pending.All() {
		break
	}
	if version == 0 {
		return WatchStep{}, false, nil
	}
	sn, err := w.s.At(ctx, version)
	if errors.Is(err, dberr.ErrVersionGone) {
		w.retired = true // the one after it need not be folded yet
		w.pending.remove(version)
		return WatchStep{}, false, nil
	}
	if err != nil {
		return WatchStep{}, false, err
	}
	step, err := w.step(ctx, version)
	if err != nil {
		sn.Close()
		return WatchStep{}, false, err
	}
	w.pending.remove(version)
	w.held = [2]*Snapshot{sn, w.held[0]}
	w.told, w.noBase, w.skipped, w.retired = version, false, false, false
	return step, true, nil
}

func (w *Watcher) step(ctx context.Context, version Version) (WatchStep, error) {
	step := WatchStep{Base: w.told, Skipped: w.skipped, NoBase: w.noBase}
	err := w.s.read(func(v *view) error {
		row, err := v.row(version)
		step.Retired = err == nil && !w.skipped && (row.fold != nil || w.retired || w.noBase)
		return err
	})
	if err != nil {
		return step, err
	}
	step.Commit, err = w.s.commit(ctx, version)
	return step, err
}

// bell wakes watchers. Ringing it costs no more than waking one goroutine, however many
// wait: that one wakes the others.
type bell struct {
	waiting atomic.Int32
	one     chan struct{} // holds one element after it was rung
	all     atomic.Pointer[chan struct{}]
}

func (b *bell) init() {
	b.one = make(chan struct{}, 1)
	all := make(chan struct{})
	b.all.Store(&all)
}

func (b *bell) ring() {
	if b.waiting.Load() == 0 {
		return
	}
	select {
	case b.one <- struct{}{}:
	default: // somebody will take it, and look afterwards
	}
}

// wait returns when ready is true. Who rings has changed something before, and
// who waits is counted, and has the channel, before it looks.
func (b *bell) wait(ctx, life context.Context, ready func() bool) error {
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for {
		all := *b.all.Load()
		if ready() {
			return nil
		}
		select {
		case <-b.one:
			next := make(chan struct{})
			close(*b.all.Swap(&next))
		case <-all:
		case <-ctx.Done():
			return ctx.Err()
		case <-life.Done():
			return dberr.ErrClosed
		}
	}
}
