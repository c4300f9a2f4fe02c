package mvcc

import (
	"cmp"
	"context"
	"slices"
)

// Retention has two steps. Retire ends versions: after it At says
// ErrVersionGone. Reclaim (reclaim.go) gives back what only they needed. Both
// go through the sequencer as upkeep groups.
//
// Definitions. Kept: a version that was not retired. A run: retired commits
// that follow each other on a line, up to the next kept commit, their target. A
// pod version's life on its line begins with the commit that added it and ends
// before the one that replaced it. Garbage: a pod version whose life holds no
// kept commit.
//
// Invariants:
//
//  1. Always kept are the head of every line and the version that any line
//     begins at (of a line that begins with a copy also its origin and the copy,
//     deepbranch.go), versions with tags, and those that a kept commit took over in a merge. So every run has a target, and what a line inherits from
//     another is what that one shows at a kept version.
//  2. Versions with open snapshots are kept; bases of transactions are such. Kept
//     are also commits of collects that followers have not passed (follower.go). What
//     is gone and what is open change under one lock (registry). A snapshot is
//     registered first and reads the index then.
//  3. An upkeep group, but for those of reclaim, is alone: nothing is queued when it is submitted, and no other
//     group is before it is applied. So nothing was computed from rows
//     that it changes, and it needs to know of nothing queued. What a group of retire is
//     made of may be read before, the kept commits up to one head: nobody else changes
//     such rows.
//  4. A target's row is folded: its added, removed and parents are those of run
//     and commit together. So the kept rows of a line, in order, still add up to
//     the set of each kept version, and walking parents meets kept rows only.
//     What was added and removed within one fold is garbage and is in no row
//     any more: it is put into the queue of reclaim by the same group.
//  5. Every row of a pod version is in exactly one place: added by one kept row,
//     or in the queue. Verify counts.
//  6. Aggregates are nets of the rows that are left at their positions
//     (aggregate.go); the group that folds a row writes those that cover it again.
//  7. Names count by commits. Their rows stay until reclaim finds that no kept
//     commit lies between one and the next on its line; the newest row of a line
//     stays because of the head.
//
// Why garbage is seen by nobody: a snapshot at a kept version k of its line sees
// numbers whose life holds k. A snapshot of another line sees this line as of
// a version that some line begins at, which is kept. And a row that is read to
// find out what was written since a base (validate.go) may lack garbage: but then a
// later commit, which is also after the base because a base is kept, wrote the
// same pod.

// lineCommit is a kept commit in the walk over a line.
type lineCommit struct {
	version Version
	pos     uint64
	weight  uint64 // numbers that retiring it handles
	time    int64
	hidden  bool // made by a collect: not counted
}

// retireWeight bounds what one group handles: numbers added and removed. Commits
// wait while it is synced and applied.
const retireWeight = 1 << 13

// retirement retires versions of one line, group by group.
type retirement struct {
	s       *Store
	l       *line
	keep    rules
	commits []lineCommit     // kept ones, oldest first
	next    int              // those before it stay
	victims map[Version]bool // of those that there were when the run began
	merged  map[Version]bool // versions that kept merges took over
	report  *PruneReport
}

// extend walks from a head of the line, which must be older than the view, down
// to what is known.
func (r *retirement) extend(ctx context.Context, v *view, h *head) error {
	low := uint64(0)
	if n := len(r.commits); n > 0 {
		low = r.commits[n-1].pos + 1
	}
	var newer []lineCommit
	for version, left := h.version, h.commits > low; left; {
		if err := r.s.breathe(ctx, readRow); err != nil {
			return err
		}
		row, err := v.row(version)
		if err != nil {
			return err
		}
		if row.line != r.l.id || row.pos < low {
			break
		}
		newer = append(newer, lineCommit{version, row.pos, row.added + row.removed.Len() + 1, row.time, row.kind == KindCollect})
		if left = len(row.parents) > 0; left {
			version = row.parents[0]
		}
	}
	slices.Reverse(newer)
	r.commits = append(r.commits, newer...)
	return nil
}

// run retires until only what must or shall be kept is left.
func (r *retirement) run(ctx context.Context) error {
	r.next = 0
	h := r.l.head.Load()
	if err := r.s.read(func(v *view) error { return r.extend(ctx, v, h) }); err != nil {
		return err
	}
	if r.victims == nil {
		r.victims = r.keep.victims(r.l, r.commits, r.s.o.Now().UnixNano())
	}
	for {
		if err := r.s.roomForUpkeep(ctx); err != nil {
			return err
		}
		before := r.s.open.gone.Load()
		gone, err := r.take(ctx)
		if err == nil && len(gone) > 0 {
			err = r.retire(ctx, gone)
		}
		if err != nil {
			r.s.open.restore(before)
			return err
		}
		if len(gone) == 0 {
			return nil
		}
		r.report.Versions += uint64(len(gone))
		r.report.on(r.l.branch).Versions += uint64(len(gone))
		r.s.reclaimable.Store(true)
		first, end := r.between(gone)
		left := slices.DeleteFunc(r.commits[first:end:end], func(c lineCommit) bool { return gone[c.version] })
		r.commits = slices.Delete(r.commits, first+len(left), end)
	}
}

// take chooses what the next group retires.
func (r *retirement) take(ctx context.Context) (gone map[Version]bool, err error) {
	err = r.s.alone(ctx, func(v *view) (*group, error) {
		err := r.extend(ctx, v, r.l.head.Load())
		if err == nil {
			gone = r.choose()
		}
		return nil, err
	})
	return gone, err
}

// retire commits a group. It is built while commits go on: only retention changes
// the rows that it is made of. What commits may add meanwhile is an aggregate over
// positions that it touches; then it is built again. It is made of the commits up to one
// head, and must not look at any newer one: an aggregate that commits behind that head
// completed would be written without them.
func (r *retirement) retire(ctx context.Context, gone map[Version]bool) error {
	for done := false; !done; {
		var g *group
		var f *folding
		h := r.l.head.Load()
		err := r.s.read(func(v *view) error {
			err := r.extend(ctx, v, h)
			if err == nil {
				g, f, err = r.fold(ctx, v, gone, h)
			}
			return err
		})
		if err != nil {
			return err
		}
		err = r.s.alone(ctx, func(*view) (*group, error) {
			if done = !f.overtaken(); !done {
				return nil, nil
			}
			r.s.seq.dropWindow(r.l.id, slices.Max(f.touched))
			g.counters = r.s.seq.counters
			return g, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// choose takes the oldest versions that may go, and makes them gone for At. The
// token is held, nothing is queued.
func (r *retirement) choose() map[Version]bool {
	fixed := r.s.fixedVersions()
	r.s.merges.fix(fixed)
	gone := map[Version]bool{}
	most := r.s.retireWeight
	if len(r.commits) > 0 { // a fold is written again with each group: let it pay
		most = max(most, 2*r.commits[0].weight)
	}
	r.s.open.retire(r.l.id, func(open map[Version]bool, followed Version) *Set {
		set, weight := &Set{}, uint64(0)
		for ; r.next < len(r.commits); r.next++ {
			c := r.commits[r.next]
			if !r.victims[c.version] || fixed[c.version] || r.merged[c.version] || open[c.version] || r.apart(r.next, followed) {
				continue
			}
			if weight += c.weight; weight > most && len(gone) > 0 {
				break
			}
			gone[c.version] = true
			set.Add(c.version)
		}
		return set
	})
	r.next -= len(gone) // which are taken out of the list
	return gone
}

// fixedVersions are the versions that lines begin at, heads, origins, copies, and
// those with tags.
func (s *Store) fixedVersions() map[Version]bool {
	fixed := map[Version]bool{}
	for _, l := range s.lines.Load().byID {
		fixed[l.forkVersion()] = true
		fixed[l.head.Load().version] = true
		if l.origin != nil {
			fixed[l.origin.version], fixed[l.origin.copy] = true, true
		}
	}
	for _, v := range *s.tags.Load() {
		fixed[v] = true
	}
	return fixed
}

// fold builds the group that retires versions of the line, of which the commits up to a
// head are known.
func (r *retirement) fold(ctx context.Context, v *view, gone map[Version]bool, h *head) (*group, *folding, error) {
	f := &folding{s: r.s, v: v, l: r.l, rows: map[Version]*commitRow{}, commits: h.commits}
	if err := r.runs(ctx, f, gone); err != nil {
		return nil, nil, err
	}
	if err := f.aggregates(); err != nil {
		return nil, nil, err
	}
	f.goneRows(gone)
	if err := f.queue(slices.Max(sortedKeys(gone))); err != nil {
		return nil, nil, err
	}
	return &group{puts: f.puts, dels: f.dels}, f, nil
}

// runs folds every run. left gets the kept commits at the positions of the aggregates of
// level 1 that cover what is touched.
func (r *retirement) runs(ctx context.Context, f *folding, gone map[Version]bool) error {
	first, end := r.between(gone)
	for first > 0 && r.commits[first-1].pos/levelLen[1] == r.commits[first].pos/levelLen[1] {
		first--
	}
	var run []lineCommit
	touched := uint64(0) // the newest span of level 1
	for i, c := range r.commits[first:] {
		if gone[c.version] {
			run = append(run, c)
			continue
		}
		if len(run) == 0 && first+i >= end && c.pos/levelLen[1] > touched {
			break
		}
		f.left = append(f.left, c)
		if len(run) == 0 {
			continue
		}
		if err := f.run(ctx, run, c); err != nil {
			return err
		}
		touched = c.pos / levelLen[1]
		run = run[:0]
	}
	return nil
}

// between returns where in commits the first of some versions is, and where those end.
func (r *retirement) between(gone map[Version]bool) (first, end int) {
	least, most := maxVersion, Version(0)
	for v := range gone {
		least, most = min(least, v), max(most, v)
	}
	at := func(v Version) int {
		i, _ := slices.BinarySearchFunc(r.commits, v, func(c lineCommit, v Version) int { return cmp.Compare(c.version, v) })
		return i
	}
	return at(least), at(most) + 1
}

// read calls fn with a view.
func (s *Store) read(fn func(v *view) error) error {
	v, err := s.view()
	if err != nil {
		return err
	}
	defer v.close()
	return fn(v)
}

// alone sequences one upkeep group (invariant 3). build may return no group. Commits wait for what
// build does, and, if there is a group, until it is durable and applied.
func (s *Store) alone(ctx context.Context, build func(v *view) (*group, error)) error {
	if err := s.acquireDrained(ctx); err != nil {
		return err
	}
	defer s.release()
	v, err := s.view()
	if err != nil {
		return err
	}
	defer v.close()
	g, err := build(v)
	if err != nil || g == nil {
		return err
	}
	g.db, g.kind = s.logID, groupUpkeep
	q := &queued{g: g}
	if err := s.submit(q); err != nil {
		return err
	}
	<-q.finished
	s.seq.reap()
	return q.err
}

// drainTries is how often upkeep waits without the token for the queue to be empty.
const drainTries = 3

// acquireDrained takes the token while nothing is queued. Commits go on while it waits for those
// that are; when they come too fast for that, they wait.
func (s *Store) acquireDrained(ctx context.Context) error {
	for range drainTries {
		last, err := s.acquireOrLast(ctx)
		if err != nil || last == nil {
			return err
		}
		<-last
	}
	if err := s.seq.acquire(ctx); err != nil {
		return err
	}
	if err := s.drain(ctx); err != nil {
		s.release()
		return err
	}
	return nil
}

// acquireOrLast takes the token if nothing is queued; else it returns what is closed when the
// last one in the queue has its outcome.
func (s *Store) acquireOrLast(ctx context.Context) (last <-chan struct{}, err error) {
	if err := s.seq.acquire(ctx); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		s.release()
		return nil, err
	}
	if n := len(s.seq.queue); n > 0 {
		last = s.seq.queue[n-1].finished
		s.release()
	}
	return last, nil
}

// drain waits until nothing is queued; the token is held.
func (s *Store) drain(ctx context.Context) error {
	for {
		if err := s.ready(ctx); err != nil {
			return err
		}
		if len(s.seq.queue) == 0 {
			return nil
		}
		for _, q := range s.seq.queue {
			<-q.finished
		}
	}
}

// retires reports whether the group takes commits away.
func (g *group) retires() bool {
	return slices.ContainsFunc(g.dels, func(key []byte) bool { return key[0] == kindCommit })
}
