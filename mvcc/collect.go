package mvcc

import (
	"context"
	"errors"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Collect takes out of the head of a branch what no variable reaches any more.
// Old versions keep it until retention removes them.
//
// Liveness is decided on (pod, exported slot): an export names the references
// that its slot reaches inside the pod. A live slot keeps these alive and not
// what hangs on its neighbours, else two pods that refer to each other's other
// slots would live for ever.
//
// Steps:
//
//  1. Watch. With the sequencer's token held and nothing queued, a snapshot of
//     the head is opened, M, and from here on the sequencer notes what commits on
//     the line write and refer to.
//  2. Mark (collectmark.go): everything that the variables of M reach.
//  3. Sweep (collectsweep.go): pods of M without a mark are dead, and so are the
//     exported slots without one of pods that have some. Both are victims. Which
//     victim refers to which makes a graph.
//  4. Commit (collectcommit.go): part by part, victims that others refer to after
//     those who do, and what is in a cycle together. A dead pod gets a tombstone, of a pod
//     with dead slots a version without them is written.
//
// Invariants:
//
//  1. No commit lands with a reference to what is not there. A transaction's new
//     references are checked against the head, tombstones among it, queued or
//     not (validate.go). A part of a collect is compared, with the token held, with
//     everything that was sequenced on the line since M: a victim that was written or
//     referred to since is spared, and with it all victims that it leads to.
//  2. What is spared, or not yet committed, refers to nothing that was taken away:
//     victims go after those that refer to them. So the database is sound after each part,
//     wherever a crash or a budget ends the run.
//  3. What was unreachable at M can only be reached again through a commit that
//     refers to it, binds a name to it, or writes the pod that it is in; all three
//     are noted. What is local to a pod is seen by no reference, hence the third.
//  4. To others a part is a commit on the line: who has written one of its pods on
//     an older base collides. Who has only read them does not: what he reached is
//     still there, or somebody else's commit, with which he collides, cut it off.
//  5. A tombstone is a pod version of its own with a number: it hides older
//     versions of the pod, also those of lines that the line began on. When there
//     are none any more a later collect takes its number out of the line's set, and
//     it becomes garbage like other replaced versions.
//
// Marks are in memory only. A run that stops in between (budget, context) goes on
// where it was with the next call; after Close or a crash the next one begins anew.

// CollectOptions configures Collect.
type CollectOptions struct {
	Branch string
	// DryRun changes nothing and reports what would be taken away.
	DryRun bool
	Budget Budget
	// Trim says which slots of a pod may become free when of its exports only those
	// named stay: slots that they do not lead to inside the pod. Without it only
	// exports go, and the slots when the pod is next written.
	Trim func(ctx context.Context, at *Snapshot, id pod.ID, p *pod.Pod, exports []pod.Slot) ([]pod.Slot, error)
	// Progress, if set, is called now and then from the goroutine of Collect.
	Progress func(CollectProgress)
}

// CollectProgress says how far a collect has come.
type CollectProgress struct {
	Step        string // "mark", "sweep", "commit"
	Done, Total uint64 // pods; in step mark Total is that of the version
}

// CollectReport says what a Collect took away, or would.
type CollectReport struct {
	Branch  string
	Version Version // that was searched for what its variables reach
	Commits uint64  // that were made
	Head    Version // the newest of them, 0 if none
	Reached uint64  // pods that variables reach
	Pods    uint64  // pods that were taken away
	Slots   uint64  // exported slots, those of these pods among them
	Bytes   uint64  // stored bytes of these pods, and of slots that became free in others
	// Spared are pods that were found unreachable and then written or referred to
	// by others, with what they lead to.
	Spared uint64
	// More says that the budget ended the call: the next one goes on.
	More bool
}

// collection is a run of collect on one line.
type collection struct {
	s      *Store
	l      *line
	o      CollectOptions
	pace   *pace
	at     *Snapshot // M
	watch  *refWatch // nil in a dry run
	set    *Set      // of M
	report CollectReport

	mark    marking
	sweep   sweeping
	victims []victim
	index   map[pid]int32 // of victims
	group   int           // how many of them one commit takes
	graph   victimGraph
	next    int  // of the parts of graph that are not committed
	step    step // that is under way
}

type step int

const (
	stepMark step = iota
	stepSweep
	stepCommit
)

// Collect takes what no variable of a branch's newest version reaches any more
// out of the versions to come. Commits and readers go on meanwhile. Its steps
// are commits of KindCollect, which Log leaves out; what they took away gives its
// space back when Prune has removed the versions that still show it.
//
// One collect runs at a time. The context, or the budget, ends it between two
// steps; the next call for the branch then goes on there, and what was found is kept, with
// a snapshot of the version, until then. Errors: ErrNotFound (no such branch), ErrCorrupt (also if pods
// were lost before a salvage: what they referred to is not known), ErrReadOnly,
// ErrPoisoned, ErrClosed, ErrDiskFull.
func (s *Store) Collect(ctx context.Context, o CollectOptions) (CollectReport, error) {
	if err := s.usable(ctx); err != nil {
		return CollectReport{}, err
	}
	l := s.lines.Load().byName[o.Branch]
	if l == nil {
		return CollectReport{}, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, o.Branch)
	}
	if err := s.writable(); err != nil && !o.DryRun {
		return CollectReport{}, err
	}
	select {
	case <-s.collecting:
	case <-ctx.Done():
		return CollectReport{}, ctx.Err()
	}
	defer func() { s.collecting <- struct{}{} }()
	for id, c := range s.collections {
		if c.l.deleted.Load() {
			c.end()
			delete(s.collections, id)
		}
	}
	c := s.collections[l.id]
	delete(s.collections, l.id)
	if c != nil && (o.DryRun || c.watch.full.Load()) {
		c.end()
		c = nil
	}
	if c == nil {
		c = &collection{s: s, l: l, group: maxCollectGroup}
		if err := c.begin(ctx, o.DryRun); err != nil {
			return CollectReport{}, err
		}
	}
	c.o, c.pace = o, newPace(o.Budget, s)
	running, end := s.lasting(ctx, &s.scans)
	err := end(c.run(running))
	c.report.More = errors.Is(err, errOutOfTime)
	report := c.report
	if (c.report.More || ctx.Err() != nil) && !o.DryRun && !s.closing.Load() {
		c.rest()
	} else {
		c.end()
	}
	if report.More {
		err = nil
	}
	if fn := s.o.Events.Collect; fn != nil && report.Commits > 0 {
		fn(report)
	}
	return report, err
}

// begin is step 1.
func (c *collection) begin(ctx context.Context, dry bool) error {
	s := c.s
	c.report.Branch = c.l.branch
	if dry {
		return c.open(ctx)
	}
	if err := s.seq.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if err := s.drain(ctx); err != nil {
		return err
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	c.watch = newRefWatch()
	if s.seq.watches == nil {
		s.seq.watches = map[uint32]*refWatch{}
	}
	s.seq.watches[c.l.id] = c.watch
	return nil
}

// open opens the head.
func (c *collection) open(ctx context.Context) error {
	for {
		sn, err := c.s.At(ctx, c.l.head.Load().version)
		if errors.Is(err, dberr.ErrVersionGone) {
			continue // of a dry run: committed and pruned since
		}
		c.at = sn
		if err == nil {
			c.report.Version = sn.version
		}
		return err
	}
}

// rest keeps the run for the next call.
func (c *collection) rest() {
	if c.s.collections == nil {
		c.s.collections = map[uint32]*collection{}
	}
	c.s.collections[c.l.id] = c
}

// end lets go of what the run holds.
func (c *collection) end() {
	if c.at != nil {
		c.at.Close()
	}
	if c.watch != nil {
		c.watch.over.Store(true)
	}
}

// run does the steps that are left.
func (c *collection) run(ctx context.Context) error {
	if c.step == stepMark {
		if err := c.markAll(ctx); err != nil {
			return fmt.Errorf("collect, looking for what variables reach: %w", err)
		}
		c.step = stepSweep
	}
	if c.step == stepSweep {
		if err := c.sweepAll(ctx); err != nil {
			return fmt.Errorf("collect, looking for what none reaches: %w", err)
		}
		c.order()
		c.step = stepCommit
	}
	if c.o.DryRun {
		for i := range c.victims {
			c.count(&c.victims[i])
		}
		return nil
	}
	if err := c.commitAll(ctx); err != nil {
		return fmt.Errorf("collect on branch %q: %w", c.l.branch, err)
	}
	return nil
}

// count adds a victim to the report.
func (c *collection) count(x *victim) {
	c.report.Slots += uint64(x.exports)
	c.report.Bytes += x.size
	if x.whole {
		c.report.Pods++
	}
}

func (c *collection) progress(done, total uint64) {
	if c.o.Progress != nil {
		c.o.Progress(CollectProgress{[...]string{"mark", "sweep", "commit"}[c.step], done, total})
	}
}
