package db

import (
	"context"
	"fmt"
	"iter"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// WatchOptions refines Watch.
type WatchOptions struct {
	// After is the version that the program knows already: it is told what came after
	// it. 0 means the newest one when Watch is called.
	After Version
	// Beginning tells all commits that are kept, from the first; then After must be 0.
	Beginning bool
	// Behind bounds by how many commits the program may be behind: one that is
	// slower is told the newest at once, with a Gap. 0 means no bound: nothing is
	// left out but what retention removes meanwhile.
	Behind int
	// Matching leaves out commits that changed nothing of the variables watched. Each is
	// compared for it, before it is told.
	Matching bool
}

// WatchEvent is one commit on a branch that is watched. What it changed is computed when it is
// asked for.
type WatchEvent struct {
	Commit Commit
	// Base is the version that the changes are counted from: that of the commit before, or
	// WatchOptions.After. What Matching left out in between changed nothing that is watched.
	Base Version
	// Gap is not nil if commits between Base and this one are not told one by one.
	Gap *WatchGap

	d      *DB
	prefix string
}

// WatchGap says what was left out before an event: commits after From and before To, which is the
// event's. Their changes are among those of the event, unless Reset is true.
type WatchGap struct {
	From, To Version
	Cause    GapCause
	// Reset: the state at From is not known any more, so that Changes and Names are
	// ErrVersionGone. What the program made of the events before must be made anew from
	// version To.
	Reset bool
}

// String is the gap in one line.
func (g *WatchGap) String() string {
	s := fmt.Sprintf("commits between versions %d and %d are missing: %v", g.From, g.To, g.Cause)
	if g.Reset {
		s += fmt.Sprintf("; so is version %d itself", g.From)
	}
	return s
}

// GapCause says why commits were left out.
type GapCause uint8

// Causes of gaps.
const (
	GapPruned GapCause = iota // retention removed them before they were told
	GapBehind                 // WatchOptions.Behind
)

// String names the cause.
func (c GapCause) String() string {
	if c == GapBehind {
		return "the watcher was too far behind"
	}
	return "retention removed them"
}

// Watch yields the commits of a branch as they come, each once and in order, with what they
// changed of the variables whose names begin with prefix; "" is all of them. It never ends
// by itself but with one error, which is the last thing that it yields: the context's, ErrClosed,
// ErrPoisoned, or ErrBranchDeleted (a BranchDeletedError) after the branch's last commit. A
// branch that was made anew under that name is another one: watch it again. Errors at the
// beginning: ErrNotFound (no such branch or version), ErrInvalid (After is not in the history of
// the branch), ErrReadOnly.
//
// To go on after a restart, give as After the version of the last event that was dealt with.
//
// The program's own loop sets the pace. A slow one costs commits nothing and no memory: it is
// told later. Only if retention takes commits away meanwhile, which it does as if
// nobody watched, they cannot be told; then the next event has a Gap. Retention keeps
// two versions for each Watch, those between which the event at hand leads. So Changes
// and Names always work in the loop's body, but for a Reset at the beginning.
//
// A commit that waits for nobody wakes one goroutine, however many watch. Several may
// range over what one call of Watch returned; each begins anew.
//
// At Options.Durability other than full, what was told may be lost in a power cut.
func (d *DB) Watch(ctx context.Context, branch, prefix string, opts ...WatchOptions) iter.Seq2[WatchEvent, error] {
	var o WatchOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	branch = branchOrMain(branch)
	err := o.check()
	if err == nil && !o.Beginning && o.After == 0 {
		o.After, err = d.store.Head(ctx, branch)
	}
	return func(yield func(WatchEvent, error) bool) {
		if err != nil {
			yield(WatchEvent{}, d.named(err))
			return
		}
		d.watch(ctx, branch, prefix, o, yield)
	}
}

func (o WatchOptions) check() error {
	if o.Behind < 0 {
		return fmt.Errorf("%w: WatchOptions.Behind %d is negative", ErrInvalid, o.Behind)
	}
	if o.Beginning && o.After != 0 {
		return fmt.Errorf("%w: WatchOptions.Beginning, and After is version %d", ErrInvalid, o.After)
	}
	return nil
}

func (d *DB) watch(ctx context.Context, branch, prefix string, o WatchOptions, yield func(WatchEvent, error) bool) {
	w, err := d.store.Watch(ctx, branch, o.After)
	if err != nil {
		yield(WatchEvent{}, d.named(err))
		return
	}
	defer w.Close()
	w.Behind = uint64(o.Behind)
	for {
		step, err := w.Next(ctx)
		if err != nil {
			yield(WatchEvent{}, d.named(err))
			return
		}
		e := d.event(step, prefix)
		if o.Matching && e.Gap == nil {
			wanted, err := e.matches(ctx)
			if err != nil {
				yield(WatchEvent{}, d.named(err))
				return
			}
			if !wanted {
				continue
			}
		}
		if !yield(e, nil) {
			return
		}
	}
}

func (d *DB) event(step mvcc.WatchStep, prefix string) WatchEvent {
	e := WatchEvent{Commit: step.Commit, Base: step.Base, d: d, prefix: prefix}
	if step.Retired || step.Skipped || step.NoBase {
		e.Gap = &WatchGap{From: step.Base, To: step.Commit.Version, Reset: step.NoBase}
		if step.Skipped {
			e.Gap.Cause = GapBehind
		}
	}
	return e
}

func (e *WatchEvent) matches(ctx context.Context) (bool, error) {
	for _, err := range e.Changes(ctx) {
		return err == nil, err
	}
	return false, nil
}

// Names returns which variables with the prefix were bound, to an object that they did not have
// before or anew, and which were deleted, both in order. Errors: ErrVersionGone after a Reset, and
// when retention has removed one of the two versions after the loop's body was left.
func (e *WatchEvent) Names(ctx context.Context) (bound, deleted []string, err error) {
	if e.d == nil {
		return nil, nil, errNoEvent
	}
	defer func() { err = e.d.named(err) }()
	if e.Commit.Names == 0 && e.Gap == nil {
		return nil, nil, ctx.Err()
	}
	from, to, err := e.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer from.Close()
	defer to.Close()
	list, err := e.d.store.NamesChanged(ctx, from, to, e.prefix)
	for _, c := range list {
		if c.After == 0 {
			deleted = append(deleted, c.Name)
		} else {
			bound = append(bound, c.Name)
		}
	}
	return bound, deleted, err
}

// Changes yields what differs between Base and the commit in the variables with the prefix, as
// DB.Diff does; a variable that came or went is a change with its name as path. The work is
// done by who ranges over it. Errors are those of Names.
func (e *WatchEvent) Changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := e.changes(ctx, func(c Change) bool { return yield(c, nil) }); err != nil {
			if e.d != nil {
				err = e.d.named(err)
			}
			yield(Change{}, err)
		}
	}
}

var errNoEvent = fmt.Errorf("%w: a WatchEvent that Watch did not yield", dberr.ErrInvalid)

func (e *WatchEvent) changes(ctx context.Context, yield func(Change) bool) error {
	if e.d == nil {
		return errNoEvent
	}
	if e.Commit.Pods == 0 && e.Commit.Names == 0 && e.Gap == nil {
		return ctx.Err()
	}
	from, to, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	defer to.Close()
	in := podder.DiffInput{A: from, B: to}
	if in.Changed, err = e.d.store.Changed(ctx, from, to); err != nil {
		return err
	}
	if err := variablesNear(ctx, e.d.store, from, to, e.prefix, &in); err != nil {
		return err
	}
	return podder.Diff(ctx, in, yield)
}

// open opens both versions.
func (e *WatchEvent) open(ctx context.Context) (from, to *mvcc.Snapshot, err error) {
	if e.Gap != nil && e.Gap.Reset {
		return nil, nil, fmt.Errorf("%w: version %d, which the changes are to be counted from; load version %d",
			ErrVersionGone, e.Base, e.Commit.Version)
	}
	if from, err = e.d.store.At(ctx, e.Base); err != nil {
		return nil, nil, err
	}
	if to, err = e.d.store.At(ctx, e.Commit.Version); err != nil {
		from.Close()
		return nil, nil, err
	}
	return from, to, nil
}
