package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// MergeConflict is a place that both branches changed since their common ancestor, to
// different values; or that one changed or deleted while the other changed something
// behind it. Choose is done by Take and Set.
type MergeConflict = podder.MergeConflict

// MergeValue is what is at a place in one of the versions of a merge.
type MergeValue = podder.MergeValue

// MergeChoice says what becomes of a conflict.
type MergeChoice = podder.MergeChoice

// What becomes of a conflict: it stays open, or is one side's value, or one that was computed.
const (
	ChooseNothing = podder.ChooseNothing
	ChooseOurs    = podder.ChooseOurs
	ChooseTheirs  = podder.ChooseTheirs
	ChooseValue   = podder.ChooseValue
)

// Resolver decides a conflict by calling Take or Set of it, or leaves it open. An error ends
// the merge. It is called in the goroutine of Merge, may be called again for the same conflict when
// Merge tries again, and must not merge into the same branch itself.
type Resolver func(*MergeConflict) error

// TakeOurs is a resolver that always chooses the branch merged into.
func TakeOurs(c *MergeConflict) error { return take(c, ChooseOurs) }

// TakeTheirs is a resolver that always chooses the branch that is merged.
func TakeTheirs(c *MergeConflict) error { return take(c, ChooseTheirs) }

func take(c *MergeConflict, choice MergeChoice) error {
	c.Take(choice)
	return nil
}

// ResolveType is a resolver of conflicts between values of type T that both sides have: fn
// computes the value from that of the common ancestor, which is the zero value if there was
// none, and those of both sides. T is a basic or named type, one with a codec of the standard
// library such as time.Time, a struct or array of such, or a slice of such; fields are merged
// one by one before, so for most structs the conflict is that of a field. Everything else it
// leaves open.
func ResolveType[T any](fn func(base, ours, theirs T) (T, error)) Resolver {
	return func(c *MergeConflict) error {
		var base, ours, theirs T
		for _, x := range []struct {
			v   MergeValue
			dst *T
		}{{c.Ours, &ours}, {c.Theirs, &theirs}, {c.Base, &base}} {
			err := x.v.Load(x.dst)
			if errors.Is(err, ErrTypeMismatch) {
				if x.dst == &base {
					base = *new(T)
					continue
				}
				return nil
			}
			if err != nil {
				return err
			}
		}
		if c.Behind {
			return nil
		}
		v, err := fn(base, ours, theirs)
		if err == nil {
			c.Set(v)
		}
		return err
	}
}

// Resolvers asks one after the other until the conflict is not open any more.
func Resolvers(list ...Resolver) Resolver {
	return func(c *MergeConflict) error {
		for _, r := range list {
			if err := r(c); err != nil || c.Choice != ChooseNothing {
				return err
			}
		}
		return nil
	}
}

// MergeOptions says what to merge, and how.
type MergeOptions struct {
	Into string // the branch that gets the commit; "" means main
	From string // the branch whose changes it takes
	// Resolve decides conflicts. Without it, or if it leaves one open, Merge changes
	// nothing and returns a MergeConflictError.
	Resolve Resolver
	// DryRun changes nothing: the report says what would be, and open conflicts are no error.
	DryRun bool
	// Message and Author of the commit; no message says what was merged.
	Message, Author string
	// Attempts bounds how often Merge is tried when others commit to Into meanwhile; 0
	// means 10.
	Attempts int
}

// MergeReport says what Merge did, or would do.
type MergeReport struct {
	Version     Version // the merge commit; Into's newest if there was nothing to merge or for DryRun
	Base        Version // the common ancestor
	Ours        Version // what was merged into
	Theirs      Version // what was merged
	UpToDate    bool    // Into had all of From: no commit
	FastForward bool    // Into had nothing that From had not: no conflicts
	Pods        int     // written
	Names       int     // variables bound or deleted
	Conflicts   []*MergeConflict
}

// MergeConflictError lists all conflicts of a merge, of which at least one is open. It matches
// ErrConflict. Trying again finds the same: Retryable is false.
type MergeConflictError struct {
	Into, From string
	Conflicts  []*MergeConflict
}

func (e *MergeConflictError) Error() string {
	const most = 8
	var b strings.Builder
	open := 0
	for _, c := range e.Conflicts {
		if c.Choice == ChooseNothing {
			if open++; open <= most {
				fmt.Fprintf(&b, "; %v", c)
			}
		}
	}
	if open > most {
		fmt.Fprintf(&b, "; and %d more", open-most)
	}
	return fmt.Sprintf("merging branch %q into %q: %d conflicts%s; pass MergeOptions.Resolve", e.From, e.Into, open, b.String())
}

// Is reports that it is an ErrConflict.
func (e *MergeConflictError) Is(target error) bool { return target == ErrConflict }

// mergeAttempts is how often a merge is tried, and lastMergePause the longest pause
// between two attempts.
const (
	mergeAttempts  = 10
	lastMergePause = 20 * time.Millisecond
)

// Merge commits to one branch what another one changed since their newest common version: a
// merge commit with both as parents, which the next merge of the two begins at.
//
// Objects that only one side changed are taken from it. Those that both changed are merged by
// field, maps by key, arrays and slices by element as long as the slice stays where and as long as it
// is, variables by name. Objects keep their identity: what is one object in the common
// version stays one, new ones of both sides are added, and a place that both made new with equal
// contents is one object. Everything else that both changed is a conflict, told once; so is
// what one side changed behind something that the other one deleted or replaced.
//
// Live variables of namespaces stay what they are; for them it is a commit by somebody else.
//
// Errors: *MergeConflictError if conflicts stay open, all of them listed; ErrUnrelated without a common
// version; ErrVersionGone if retention removed it; ErrConflict, a ConflictError, if others committed to Into in
// each of the attempts; the error of the resolver. After each of them, and if the resolver
// panics, nothing was changed; a panic goes on.
func (d *DB) Merge(ctx context.Context, o MergeOptions) (MergeReport, error) {
	o.Into = branchOrMain(o.Into)
	if o.From == "" {
		return MergeReport{}, fmt.Errorf("%w: MergeOptions.From names no branch", ErrInvalid)
	}
	if o.Attempts < 0 {
		return MergeReport{}, fmt.Errorf("%w: MergeOptions.Attempts is %d", ErrInvalid, o.Attempts)
	}
	if o.Attempts == 0 {
		o.Attempts = mergeAttempts
	}
	pause := firstPause
	for attempt := 1; ; attempt++ {
		report, err := d.mergeOnce(ctx, o)
		var c *ConflictError
		if !errors.As(err, &c) {
			return report, d.named(err)
		}
		if attempt == o.Attempts {
			c.Attempts = attempt
			return report, err
		}
		if stopped := d.sleep(ctx, time.Duration(d.store.Random()%uint64(pause))); stopped != nil {
			return report, fmt.Errorf("%w, after %d attempts to merge", stopped, attempt)
		}
		pause = min(2*pause, lastMergePause)
	}
}

// merging is one attempt.
type merging struct {
	d                  *DB
	o                  MergeOptions
	t                  *mvcc.Tx // nil for DryRun
	base, ours, theirs *mvcc.Snapshot
	report             MergeReport
}

func (d *DB) mergeOnce(ctx context.Context, o MergeOptions) (MergeReport, error) {
	m := &merging{d: d, o: o}
	defer m.close()
	done, err := m.open(ctx)
	if done || err != nil {
		return m.report, err
	}
	res, err := m.find(ctx)
	if err != nil {
		return m.report, err
	}
	m.report.Conflicts, m.report.Pods, m.report.Names = res.Conflicts, res.Pods, res.Names
	switch {
	case o.DryRun:
		return m.report, nil
	case res.Open > 0:
		return m.report, &MergeConflictError{Into: o.Into, From: o.From, Conflicts: res.Conflicts}
	}
	m.t.Guard(func(pod.ID) bool { return true }) // what is not written was compared, too
	m.t.GuardNames("", "", "")
	if err := res.Write(ctx, m.t); err != nil {
		return m.report, err
	}
	info := mvcc.CommitInfo{Message: o.Message, Author: o.Author, Kind: mvcc.KindMerge, Merged: m.report.Theirs}
	if info.Message == "" {
		info.Message = fmt.Sprintf("merge branch %q into %q", o.From, o.Into)
	}
	v, err := m.t.Commit(ctx, info)
	if err != nil {
		if errors.Is(err, ErrConflict) {
			m.t.AwaitRival(ctx)
		}
		return m.report, err
	}
	m.report.Version = v
	return m.report, nil
}

func (m *merging) close() {
	for _, sn := range []*mvcc.Snapshot{m.base, m.theirs} {
		if sn != nil {
			sn.Close()
		}
	}
	switch {
	case m.t != nil:
		m.t.Rollback()
	case m.ours != nil:
		m.ours.Close()
	}
}

// open opens the three versions; done says that there is nothing to merge.
func (m *merging) open(ctx context.Context) (done bool, err error) {
	s := m.d.store
	theirs, err := m.d.store.AtHead(ctx, m.o.From)
	if err != nil {
		return false, err
	}
	m.theirs = theirs
	if m.o.DryRun {
		m.ours, err = m.d.store.AtHead(ctx, m.o.Into)
	} else if err = m.begin(ctx); err == nil {
		m.ours = m.t.Base()
	}
	if err != nil {
		return false, err
	}
	r := &m.report
	r.Ours, r.Theirs = m.ours.Version(), m.theirs.Version()
	r.Version = r.Ours
	if r.Base, err = s.MergeBase(ctx, r.Ours, r.Theirs); err != nil {
		return false, err
	}
	r.UpToDate, r.FastForward = r.Base == r.Theirs, r.Base == r.Ours && r.Ours != r.Theirs
	if r.UpToDate {
		return true, nil
	}
	m.base, err = s.At(ctx, r.Base)
	if errors.Is(err, ErrVersionGone) {
		err = fmt.Errorf("the common ancestor of branches %q and %q: %w", m.o.Into, m.o.From, err)
	}
	return false, err
}

// begin begins the transaction at the newest version of Into.
func (m *merging) begin(ctx context.Context) error {
	for {
		head, err := m.d.store.Head(ctx, m.o.Into)
		if err != nil {
			return err
		}
		m.t, err = m.d.store.Begin(ctx, m.o.Into, head)
		if !errors.Is(err, dberr.ErrVersionGone) { // retired meanwhile, since it is the head no more
			return err
		}
	}
}

// find merges in memory.
func (m *merging) find(ctx context.Context) (*podder.MergeResult, error) {
	s := m.d.store
	ours, err := s.Changed(ctx, m.base, m.ours)
	if err != nil {
		return nil, err
	}
	theirs, err := s.Changed(ctx, m.base, m.theirs)
	if err != nil {
		return nil, err
	}
	names, err := namesOfBoth(ctx, m.base, m.ours, "")
	if err != nil {
		return nil, err
	}
	more, err := namesOfBoth(ctx, m.theirs, m.theirs, "")
	if err != nil {
		return nil, err
	}
	toOurs, err := s.MergeWay(ctx, m.base, m.ours)
	if err != nil {
		return nil, err
	}
	toTheirs, err := s.MergeWay(ctx, m.base, m.theirs)
	if err != nil {
		return nil, err
	}
	in := podder.MergeInput{
		Base: m.base, Ours: m.ours, Theirs: m.theirs, OursChanged: ours, TheirsChanged: theirs,
		Names: slices.Concat(names, more), FreedByOurs: toOurs.Freed, FreedByTheirs: toTheirs.Freed, Resolve: m.o.Resolve,
		NewPod: m.newPod(),
	}
	return podder.Merge(ctx, in)
}

// newPod gives out ids; a dry run makes some up that nobody has.
func (m *merging) newPod() func() pod.ID {
	if m.t != nil {
		return m.t.NewPod
	}
	next := pod.ID(1) << 62
	return func() pod.ID {
		next++
		return next
	}
}
