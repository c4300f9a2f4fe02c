package fuzz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
)

// state is what one version holds. It never changes once a commit has begun.
type state struct {
	branch string
	names  map[string]pod.ID
	pods   map[pod.ID]*pod.Pod
}

// model is what a database must hold: everything that was acknowledged, and at
// most one call that has begun and got no answer.
//
// A campaign copies the model while the program's goroutine works on: mu.
type model struct {
	mu      *sync.Mutex
	states  map[mvcc.Version]*state   // of every version that may be shown
	newest  mvcc.Version              // acknowledged
	heads   map[string]mvcc.Version   // acknowledged branches
	forks   map[string]mvcc.Version   // where each branch begins
	lines   map[string][]mvcc.Version // commits of each branch, oldest first
	retired map[mvcc.Version]bool     // gone for good
	pending pending
	// relaxed says that a power cut may take the newest calls away, down to the
	// last that made everything durable: the models in older, oldest first.
	relaxed bool
	older   []*model
}

// pending is the call without an answer. The zero value is none.
type pending struct {
	branch string       // whose head becomes head, or which comes to be there
	head   mvcc.Version //
	state  *state       // of head, if it is a new version
	// retiring are the versions that go, branch after branch, all of a branch or
	// none, and of no branch before those of the ones in front of it; unless mixed
	// says that each set is for itself.
	retiring []map[mvcc.Version]bool
	mixed    bool
}

func (p pending) none() bool { return p.branch == "" && p.retiring == nil }

// and returns what is pending after a second call without an answer, or with
// one. Which versions each of two calls to Prune retired is not told apart: each
// version goes or stays by itself.
func (p pending) and(q pending) pending {
	if p.branch == "" {
		p.branch, p.head, p.state = q.branch, q.head, q.state
	}
	var single []map[mvcc.Version]bool
	for _, gone := range slices.Concat(p.retiring, q.retiring) {
		for v := range gone {
			single = append(single, map[mvcc.Version]bool{v: true})
		}
	}
	p.retiring, p.mixed = single, len(single) > 0
	return p
}

// mayGo reports whether a version may be gone or not.
func (p pending) mayGo(v mvcc.Version) bool {
	for _, gone := range p.retiring {
		if gone[v] {
			return true
		}
	}
	return false
}

func newModel() *model {
	return &model{
		mu:     &sync.Mutex{},
		states: map[mvcc.Version]*state{0: {branch: mvcc.MainBranch}}, heads: map[string]mvcc.Version{mvcc.MainBranch: 0},
		forks: map[string]mvcc.Version{mvcc.MainBranch: 0}, lines: map[string][]mvcc.Version{}, retired: map[mvcc.Version]bool{},
	}
}

// clone returns a model that later calls do not change.
func (m *model) clone() *model {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.copied()
}

func (m *model) copied() *model {
	c := *m
	c.mu = &sync.Mutex{}
	c.states, c.heads, c.forks = maps.Clone(m.states), maps.Clone(m.heads), maps.Clone(m.forks)
	c.lines, c.retired = maps.Clone(m.lines), maps.Clone(m.retired)
	return &c
}

// byAge lists the branches, oldest first: main, b1, b2 ….
func (m *model) byAge() []string {
	branches := slices.Sorted(maps.Keys(m.heads))
	i := slices.Index(branches, mvcc.MainBranch)
	return append([]string{mvcc.MainBranch}, slices.Delete(branches, i, i+1)...)
}

// begin notes a call that is about to be made.
func (m *model) begin(p pending) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = p
}

// durable notes that everything acknowledged survives a power cut.
func (m *model) durable() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.older = nil
}

// done notes that the pending call has happened.
func (m *model) done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.relaxed {
		was := m.copied()
		was.older, was.pending = nil, pending{}
		m.older = append(slices.Clip(m.older), was)
	}
	p := m.pending
	m.pending = pending{}
	switch {
	case p.state != nil:
		m.states[p.head], m.newest = p.state, p.head
		m.heads[p.branch] = p.head
		m.lines[p.branch] = append(slices.Clip(m.lines[p.branch]), p.head)
	case p.branch != "":
		m.heads[p.branch], m.forks[p.branch] = p.head, p.head
	}
	for _, gone := range p.retiring {
		maps.Copy(m.retired, gone)
	}
}

// undone notes that the pending call did not happen.
func (m *model) undone() { m.begin(pending{}) }

// differs is an error that says that stored data are not those of the model,
// which no damage excuses.
type differs struct{ what string }

func (d differs) Error() string { return "WRONG: " + d.what }

func wrong(format string, args ...any) error { return differs{fmt.Sprintf(format, args...)} }

// observe compares a store with the model. It returns the model with the
// pending call settled as the store shows it.
func (m *model) observe(ctx context.Context, s *mvcc.Store) (*model, error) {
	m = m.fallenBack(ctx, s)
	seen := m.clone()
	if err := seen.settle(ctx, s); err != nil {
		return nil, err
	}
	for branch, want := range seen.heads {
		if got, err := s.Head(ctx, branch); err != nil || got != want {
			return nil, wrong("head of %s is %d (%v), expected %d", branch, got, err, want)
		}
	}
	if n := s.Stats().Versions; n != seen.newest-uint64(len(seen.retired)) {
		return nil, wrong("%d versions, expected %d without %d retired ones", n, seen.newest, len(seen.retired))
	}
	for v := range seen.newest + 1 {
		if err := seen.version(ctx, s, v); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// fallenBack returns the model that fits what a store shows at first sight: m,
// or the newest of the older ones that does.
func (m *model) fallenBack(ctx context.Context, s *mvcc.Store) *model {
	if len(m.older) == 0 {
		return m
	}
	for _, c := range append([]*model{m}, backwards(m.older)...) {
		if c.fits(ctx, s, m) {
			return c
		}
	}
	return m
}

func backwards(list []*model) []*model {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// fits compares branches and one version that later retired.
func (m *model) fits(ctx context.Context, s *mvcc.Store, later *model) bool {
	for branch := range later.heads {
		want, exists := m.heads[branch]
		if got, err := s.Head(ctx, branch); exists != (err == nil) || exists && got != want {
			return false
		}
	}
	for v := range later.retired {
		if !m.retired[v] && v <= m.newest && !there(ctx, s, v) {
			return false
		}
	}
	return true
}

// settle finds out what became of the pending call.
func (m *model) settle(ctx context.Context, s *mvcc.Store) error {
	p := m.pending
	if p.retiring != nil {
		m.pending = pending{retiring: p.retiring, mixed: p.mixed}
		m.settleRetiring(ctx, s)
	}
	if p.branch == "" {
		return nil
	}
	m.begin(pending{branch: p.branch, head: p.head, state: p.state})
	before, existed := m.heads[p.branch]
	got, err := s.Head(ctx, p.branch)
	switch {
	case err == nil && got == p.head:
		m.done()
	case err == nil && existed && got == before, !existed && errors.Is(err, dberr.ErrNotFound):
		m.undone()
	default:
		return wrong("head of %s is %d (%v), expected %d (%v) or %d", p.branch, got, err, before, existed, p.head)
	}
	return nil
}

// settleRetiring keeps the branches of which one version is gone: it tells for
// all of them, and what tells for a branch tells for those before.
func (m *model) settleRetiring(ctx context.Context, s *mvcc.Store) {
	if m.pending.mixed {
		m.pending.retiring = slices.DeleteFunc(slices.Clone(m.pending.retiring), func(gone map[mvcc.Version]bool) bool {
			for v := range gone {
				return there(ctx, s, v)
			}
			return true
		})
		m.done()
		return
	}
	n := 0
	for i, gone := range m.pending.retiring {
		for v := range gone {
			if !there(ctx, s, v) {
				n = i + 1
			}
			break
		}
	}
	m.pending.retiring = m.pending.retiring[:n]
	m.done()
}

// there reports whether a version was not retired.
func there(ctx context.Context, s *mvcc.Store, v mvcc.Version) bool {
	sn, err := s.At(ctx, v)
	if err == nil {
		sn.Close()
	}
	return !errors.Is(err, dberr.ErrVersionGone)
}

// version compares one version.
func (m *model) version(ctx context.Context, s *mvcc.Store, v mvcc.Version) error {
	want := m.states[v]
	sn, err := s.At(ctx, v)
	if m.retired[v] {
		switch {
		case err == nil:
			sn.Close()
			return wrong("version %d was retired and is there", v)
		case !errors.Is(err, dberr.ErrVersionGone):
			return fmt.Errorf("version %d, which was retired: %w", v, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("version %d: %w", v, err)
	}
	defer sn.Close()
	if sn.Version() != v || sn.Branch() != want.branch {
		return wrong("snapshot of version %d is of %d on %s, expected branch %s", v, sn.Version(), sn.Branch(), want.branch)
	}
	if err := want.sameNames(ctx, sn); err != nil {
		return fmt.Errorf("version %d: %w", v, err)
	}
	ids := slices.Sorted(maps.Keys(want.pods))
	pods, err := sn.Pods(ctx, ids)
	if errors.Is(err, dberr.ErrNotFound) {
		return wrong("version %d: %v", v, err)
	}
	if err != nil {
		return fmt.Errorf("version %d: %w", v, err)
	}
	for i, p := range pods {
		if !pod.Equal(p, want.pods[ids[i]]) {
			return wrong("version %d: pod %d is not what was put", v, ids[i])
		}
	}
	return nil
}

func (want *state) sameNames(ctx context.Context, sn *mvcc.Snapshot) error {
	found := 0
	for name, err := range sn.Names(ctx, "") {
		if err != nil {
			return err
		}
		root, err := sn.Root(ctx, name)
		if err != nil {
			return err
		}
		if want.names[name] != root {
			return wrong("root of %q is %d, expected %d", name, root, want.names[name])
		}
		found++
	}
	if found != len(want.names) {
		return wrong("%d names, expected %d", found, len(want.names))
	}
	return nil
}

// shown returns the newest version that any branch shows.
func (m *model) shown(ctx context.Context, s *mvcc.Store) (newest mvcc.Version) {
	for branch := range m.heads {
		if v, err := s.Head(ctx, branch); err == nil {
			newest = max(newest, v)
		}
	}
	return newest
}

// moment demands that each branch stands where it stood at some moment, the same
// moment for all, and returns the newest version then.
func (m *model) moment(ctx context.Context, s *mvcc.Store) (mvcc.Version, error) {
	newest := m.shown(ctx, s)
	if newest > m.newest {
		return 0, wrong("version %d is shown, the last commit was %d", newest, m.newest)
	}
	for branch, line := range m.lines {
		want := m.forks[branch]
		for _, v := range line {
			if v <= newest {
				want = v
			}
		}
		got, err := s.Head(ctx, branch)
		if missing := err != nil && want == m.forks[branch] && branch != mvcc.MainBranch; !missing && (err != nil || got != want) {
			return 0, wrong("at version %d the head of %s is %d (%v), expected %d", newest, branch, got, err, want)
		}
	}
	return newest, nil
}

// verify demands that Verify finds nothing.
func verify(ctx context.Context, s *mvcc.Store) error {
	rep, err := s.Verify(ctx, mvcc.VerifyOptions{Deep: true})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if len(rep.Problems) > 0 {
		return fmt.Errorf("verify: %v", rep.Problems[:min(len(rep.Problems), 5)])
	}
	return nil
}
