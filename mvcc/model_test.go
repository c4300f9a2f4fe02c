package mvcc

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

var (
	seedFlag  = flag.Uint64("mvcc.seed", 0, "seed of the model test; 0 = several")
	stepsFlag = flag.Int("mvcc.steps", 220, "steps of the model test")
)

// model is the database in plain maps.
type model struct {
	versions []*modelVersion // by version, 0 first
	heads    map[string]Version
	base     map[string]Version // where each branch begins: its fork, or a copy of that
	origin   map[string]Version // the fork of those that begin with a copy
	pods     map[pod.ID]bool    // of any version
}

type modelVersion struct {
	branch string
	pods   map[pod.ID]*pod.Pod
	names  map[string]pod.ID
	wrote  map[pod.ID]bool
	named  map[string]bool
	refs   map[pod.Ref]bool
}

func newModel() *model {
	return &model{
		versions: []*modelVersion{{branch: MainBranch}}, heads: map[string]Version{MainBranch: 0}, base: map[string]Version{MainBranch: 0},
		origin: map[string]Version{}, pods: map[pod.ID]bool{},
	}
}

// branched notes that a branch was created at a version.
func (m *model) branched(t testing.TB, s *Store, name string, at Version) {
	t.Helper()
	head := must(s.Head(bg, name))(t)
	m.heads[name], m.base[name] = head, head
	if head == at {
		return
	}
	if head != Version(len(m.versions)) {
		t.Fatalf("branch %s at version %d begins at version %d, expected %d or %d", name, at, head, at, len(m.versions))
	}
	c := m.versions[at]
	m.versions = append(m.versions, &modelVersion{branch: name, pods: maps.Clone(c.pods), names: maps.Clone(c.names)})
	m.origin[name] = at
}

// maxBranches is how many branches a random run makes.
func maxBranches(o Options) int {
	if o.maxLineage > 0 {
		return 16
	}
	return 6
}

// modelTx is one random transaction.
type modelTx struct {
	m      *model
	rng    *rand.Rand
	branch string
	base   Version
	next   *modelVersion
	tx     *Tx
	guard  map[pod.ID]bool
}

func (m *model) begin(t *testing.T, s *Store, rng *rand.Rand, branch string, base Version) *modelTx {
	b := m.versions[base]
	return &modelTx{
		m: m, rng: rng, branch: branch, base: base, tx: must(s.Begin(bg, branch, base))(t), guard: map[pod.ID]bool{},
		next: &modelVersion{
			branch: branch, pods: maps.Clone(b.pods), names: maps.Clone(b.names), wrote: map[pod.ID]bool{},
			named: map[string]bool{}, refs: map[pod.Ref]bool{},
		},
	}
}

// conflicts says whether the transaction must be refused when it lands on its
// branch's head.
func (x *modelTx) conflicts() bool {
	head := x.m.heads[x.branch]
	for v := x.base + 1; v <= head; v++ {
		c := x.m.versions[v]
		if c.branch != x.branch {
			continue
		}
		for id := range c.wrote {
			if x.next.wrote[id] || x.guard[id] {
				return true
			}
		}
		for n := range c.named {
			if x.next.named[n] {
				return true
			}
		}
	}
	return false
}

// land makes the model's version of a commit that succeeded.
func (x *modelTx) land(v Version) {
	head := x.m.versions[x.m.heads[x.branch]]
	n := &modelVersion{branch: x.branch, pods: maps.Clone(head.pods), names: maps.Clone(head.names), wrote: x.next.wrote, named: x.next.named}
	if n.pods == nil {
		n.pods, n.names = map[pod.ID]*pod.Pod{}, map[string]pod.ID{}
	}
	for id := range x.next.wrote {
		n.pods[id] = x.next.pods[id]
		x.m.pods[id] = true
	}
	for name := range x.next.named {
		if root, ok := x.next.names[name]; ok {
			n.names[name] = root
		} else {
			delete(n.names, name)
		}
	}
	x.m.versions = append(x.m.versions, n)
	x.m.heads[x.branch] = v
}

func pick[T any](rng *rand.Rand, s []T) T { return s[rng.IntN(len(s))] }

func (x *modelTx) podIDs() []pod.ID { return slices.Sorted(maps.Keys(x.next.pods)) }

func (x *modelTx) randomBytes() []byte {
	n := x.rng.IntN(40)
	if x.rng.IntN(4) == 0 {
		n = x.rng.IntN(4000)
	}
	b := make([]byte, n)
	switch x.rng.IntN(3) {
	case 0: // the same bytes come again: shared bodies
		return append(b[:0], fmt.Sprintf("%0*d", 1200, x.rng.IntN(3))...)
	case 1:
		for i := range b {
			b[i] = byte(x.rng.Uint32())
		}
	}
	return b
}

func (x *modelTx) randomData() pod.Data {
	d := pod.Data{Kind: pod.SlotObject, Bytes: x.randomBytes()}
	if x.rng.IntN(3) == 0 {
		d.Kind = pod.SlotArray
		for left := len(d.Bytes); ; {
			n := min(left, 1+x.rng.IntN(300))
			d.Runs = append(d.Runs, uint32(n))
			if left -= n; left == 0 {
				break
			}
		}
	}
	return d
}

// randomRef refers to something that exists, or rarely to what does not.
func (x *modelTx) randomRef() (pod.Ref, bool) {
	ids := x.podIDs()
	if len(ids) == 0 {
		return pod.Ref{}, false
	}
	id := pick(x.rng, ids)
	exp := x.next.pods[id].Exports
	if len(exp) == 0 {
		return pod.Ref{}, false
	}
	return pod.Ref{Pod: id, Slot: pick(x.rng, exp).Slot}, true
}

// change makes a random change of old, which is nil for a new pod. Exported
// slots stay: only collect takes one away.
func (x *modelTx) change(id pod.ID, old *pod.Pod) *pod.Change {
	c := &pod.Change{ID: id, New: old == nil}
	if old == nil && x.rng.IntN(4) == 0 { // a body that others have too
		return box(id, fmt.Sprintf("%0*d", 1200, x.rng.IntN(3)))
	}
	if old != nil {
		c.Refs = slices.Clone(old.Refs)
	}
	for range x.rng.IntN(3) {
		if r, ok := x.randomRef(); ok {
			if len(c.Refs) > 0 && x.rng.IntN(2) == 0 {
				c.Refs[x.rng.IntN(len(c.Refs))] = r
			} else {
				c.Refs = append(c.Refs, r)
			}
		}
	}
	slots := 1 + x.rng.IntN(6)
	if old != nil {
		slots = len(old.Slots)
		c.Whole = x.rng.IntN(8) == 0
	}
	used := map[pod.Slot]bool{}
	for i := range slots {
		used[pod.Slot(i)] = old == nil || old.Slots[i].Kind != pod.SlotFree
	}
	for i := range slots {
		s := pod.Slot(i)
		switch {
		case old == nil || c.Whole && used[s]:
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: s, Data: x.randomData()})
		case c.Whole || x.rng.IntN(slots+1) > 1:
		case used[s] && !old.Exported(s) && x.rng.IntN(3) == 0:
			c.Drop = append(c.Drop, s)
			used[s] = false
		case used[s] && old.Slots[i].Runs != nil && x.rng.IntN(3) > 0:
			w := pod.SlotWrite{Slot: s, Data: pod.Data{Kind: old.Slots[i].Kind, Type: old.Slots[i].Type}, NumRuns: len(old.Slots[i].Runs)}
			w.Runs = []pod.RunWrite{{Run: x.rng.IntN(w.NumRuns), Bytes: x.randomBytes()}}
			c.Slots = append(c.Slots, w)
		default:
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: s, Data: x.randomData()})
			used[s] = true
		}
	}
	if old != nil && x.rng.IntN(4) == 0 {
		s := pod.Slot(slots)
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: s, Data: x.randomData()})
		used[s] = true
		slots++
	}
	for i := range slots {
		s := pod.Slot(i)
		if used[s] && (i == 0 || old != nil && old.Exported(s) || x.rng.IntN(3) == 0) {
			c.Exports = append(c.Exports, pod.Export{Slot: s, Edges: pod.EdgeSet{All: true}})
		}
	}
	return c
}

func (x *modelTx) put(t *testing.T, c *pod.Change) {
	t.Helper()
	old := x.next.pods[c.ID]
	given := *c
	if old != nil {
		given.Gen = generationOf(x.tx.line.id, must(x.tx.base.Number(bg, c.ID))(t))
	}
	want, err := pod.Apply(old, &given)
	if err != nil {
		t.Fatalf("the test made a bad change: %v", err)
	}
	if err := x.tx.Put(bg, c); err != nil {
		t.Fatalf("Put pod %d: %v", c.ID, err)
	}
	if old == nil || !samePod(old, want) {
		if x.next.pods == nil {
			x.next.pods = map[pod.ID]*pod.Pod{}
		}
		x.next.pods[c.ID] = want
		x.next.wrote[c.ID] = true
	}
}

func (x *modelTx) fill(t *testing.T) {
	old := x.podIDs()
	for range x.rng.IntN(4) {
		x.put(t, x.change(x.tx.NewPod(), nil))
	}
	x.rng.Shuffle(len(old), func(i, j int) { old[i], old[j] = old[j], old[i] })
	for _, id := range old[:min(len(old), x.rng.IntN(5))] {
		x.put(t, x.change(id, x.next.pods[id]))
	}
	ids := x.podIDs()
	for range x.rng.IntN(3) {
		name := fmt.Sprintf("n%d", x.rng.IntN(12))
		if x.rng.IntN(6) == 0 {
			name = "n\x00" + name
		}
		before, had := x.next.names[name]
		if had && x.rng.IntN(3) == 0 {
			if err := x.tx.DeleteName(bg, name); err != nil {
				t.Fatal(err)
			}
			delete(x.next.names, name)
		} else if len(ids) > 0 {
			root := pick(x.rng, ids)
			if root == before {
				continue
			}
			if err := x.tx.SetName(bg, name, root); err != nil {
				t.Fatal(err)
			}
			if x.next.names == nil {
				x.next.names = map[string]pod.ID{}
			}
			x.next.names[name] = root
		}
		x.named(name)
	}
	if len(ids) > 0 && x.rng.IntN(3) == 0 {
		for range 3 {
			x.guard[pick(x.rng, ids)] = true
		}
		x.tx.Guard(func(id pod.ID) bool { return x.guard[id] })
	}
}

// named notes a name whose state differs from the base.
func (x *modelTx) named(name string) {
	b := x.m.versions[x.base]
	if b.names[name] == x.next.names[name] {
		delete(x.next.named, name)
	} else {
		x.next.named[name] = true
	}
}

func (x *modelTx) commit(t *testing.T) {
	t.Helper()
	want := x.conflicts()
	empty := len(x.next.wrote)+len(x.next.named) == 0
	v, err := x.tx.Commit(bg, CommitInfo{Message: "random"})
	switch {
	case empty && (err != nil || v != x.base):
		t.Fatalf("an empty commit gave %d, %v; expected its base %d", v, err, x.base)
	case empty:
	case want:
		var c *dberr.ConflictError
		if !errors.As(err, &c) || c.Base != x.base || c.With <= x.base || c.With > x.m.heads[x.branch] {
			t.Fatalf("commit on base %d of %s with head %d gave %d, %v; expected a conflict", x.base, x.branch, x.m.heads[x.branch], v, err)
		}
	case err != nil:
		t.Fatalf("commit: %v", err)
	case v != Version(len(x.m.versions)):
		t.Fatalf("commit gave version %d, expected %d", v, len(x.m.versions))
	default:
		x.land(v)
	}
}

// check compares one version with the store.
func (m *model) check(t *testing.T, s *Store, v Version) {
	t.Helper()
	want := m.versions[v]
	sn := must(s.At(bg, v))(t)
	defer sn.Close()
	if sn.Version() != v || sn.Branch() != want.branch {
		t.Fatalf("snapshot of version %d is of %d on %s", v, sn.Version(), sn.Branch())
	}
	var names []string
	for n, err := range sn.Names(bg, "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
		if r, err := sn.Root(bg, n); err != nil || r != want.names[n] {
			t.Fatalf("version %d: root of %q is %d, %v; expected %d", v, n, r, err, want.names[n])
		}
	}
	if !slices.Equal(names, slices.Sorted(maps.Keys(want.names))) {
		t.Fatalf("version %d: names %q, expected %v", v, names, want.names)
	}
	oracle := must(sn.PodVersions(bg))(t)
	found := &Set{}
	for id := range m.pods {
		n, err := sn.Number(bg, id)
		if _, ok := want.pods[id]; ok != (err == nil) || !ok && !errors.Is(err, dberr.ErrNotFound) {
			t.Fatalf("version %d: Number of pod %d is %d, %v", v, id, n, err)
		}
		if err == nil {
			found.Add(n)
		}
	}
	if !oracle.Equal(found) {
		t.Fatalf("version %d: bitmaps give %d pod versions, resolve %d, and they differ", v, oracle.Len(), found.Len())
	}
	ids := slices.Sorted(maps.Keys(want.pods))
	pods, err := sn.Pods(bg, ids)
	if err != nil {
		t.Fatalf("version %d: %v", v, err)
	}
	for i, p := range pods {
		if !samePod(p, want.pods[ids[i]]) {
			t.Fatalf("version %d: pod %d is not what was put", v, ids[i])
		}
	}
	m.checkVariables(t, sn, want.names, want.pods)
	m.checkBulk(t, sn, ids, want.pods)
}

// checkBulk compares what a load of everything reads, also into the memory of pods that it has
// recycled, and that what others have stays as it is.
func (m *model) checkBulk(t *testing.T, sn *Snapshot, ids []pid, pods map[pid]*pod.Pod) {
	t.Helper()
	kept := must(sn.Pods(bg, ids))(t)
	b := sn.Bulk().(*bulk)
	b.budget = int64(sn.Version()%2) * 1000
	var late []*pod.Pod
	for at := 0; at < len(ids); at += 3 {
		part := slices.Clone(ids[at:min(at+3, len(ids))])
		slices.Reverse(part)
		got, err := b.Pods(bg, part)
		if err != nil {
			t.Fatalf("version %d: %v", sn.Version(), err)
		}
		for i, p := range got {
			if !samePod(p, pods[part[i]]) {
				t.Fatalf("version %d: pod %d is not what was put, read in bulk", sn.Version(), part[i])
			}
		}
		b.Recycle(got[0])
		late = append(late, got[1:]...)
	}
	for i, p := range kept {
		if !samePod(p, pods[ids[i]]) {
			t.Fatalf("version %d: pod %d was overwritten", sn.Version(), ids[i])
		}
	}
	for _, p := range late {
		if !slices.ContainsFunc(ids, func(id pid) bool { return samePod(p, pods[id]) }) {
			t.Fatalf("version %d: a pod that was not recycled was overwritten", sn.Version())
		}
	}
}

// checkVariables compares what Variable gives, with memory of its own and with spare
// memory that is used for all.
func (m *model) checkVariables(t *testing.T, sn *Snapshot, names map[string]pid, pods map[pid]*pod.Pod) {
	t.Helper()
	spare := &pod.Pod{}
	for n, root := range names {
		for _, into := range []*pod.Pod{nil, spare} {
			id, p, err := sn.Variable(bg, n, into)
			if err != nil || id != root || !samePod(p, pods[root]) {
				t.Fatalf("version %d: variable %q is in pod %d, %v; expected %d", sn.Version(), n, id, err, root)
			}
		}
	}
	if _, _, err := sn.Variable(bg, "no such variable", spare); !errors.Is(err, dberr.ErrNotFound) {
		t.Fatalf("version %d: a variable that is not there: %v", sn.Version(), err)
	}
}

func (m *model) checkAll(t *testing.T, s *Store) {
	t.Helper()
	for v := range m.versions {
		m.check(t, s, Version(v))
	}
	for b, h := range m.heads {
		if got := must(s.Head(bg, b))(t); got != h {
			t.Fatalf("head of %s is %d, expected %d", b, got, h)
		}
		sn := must(s.AtHead(bg, b))(t)
		if sn.Version() != h || sn.Branch() != m.versions[h].branch {
			t.Fatalf("the snapshot of the head of %s is of %d on %s, expected %d on %s", b, sn.Version(), sn.Branch(), h, m.versions[h].branch)
		}
		sn.Close()
	}
}

// pickBase returns the head, or sometimes an older version of the branch.
func (m *model) pickBase(rng *rand.Rand, branch string) Version {
	v := m.heads[branch]
	for v > m.base[branch] && rng.IntN(3) == 0 {
		for v--; v > m.base[branch] && m.versions[v].branch != branch; v-- {
		}
	}
	return v
}

func TestRandomTransactionsEqualTheModel(t *testing.T) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = []uint64{1, 2, 3, 4}
		if testing.Short() {
			seeds = seeds[:2]
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("replay: go test ./mvcc -run 'TestRandomTransactionsEqualTheModel' -mvcc.seed=%d -mvcc.steps=%d", seed, *stepsFlag)
				}
			}()
			runModel(t, seed, *stepsFlag)
		})
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := newFS(t)
	o := testOptions(fs)
	if seed%3 == 0 {
		o.MemoryBytes = -1
	}
	if seed%4 >= 2 {
		o.streamFrom = 300
	}
	if seed%2 == 0 {
		o.CheckpointBytes = 40 << 10
		o.maxLineage = int(1 + seed/2%3)
	}
	s := mustOpen(t, o)
	m := newModel()
	for range steps {
		switch r := rng.IntN(100); {
		case r < 3:
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		case r < 5:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, o)
		case r < 8 && len(m.heads) < maxBranches(o):
			name := fmt.Sprintf("b%d", len(m.heads))
			at := Version(rng.IntN(len(m.versions)))
			if err := s.CreateBranch(bg, name, at); err != nil {
				t.Fatal(err)
			}
			m.branched(t, s, name, at)
		case r < 10:
			m.check(t, s, Version(rng.IntN(len(m.versions))))
		default:
			branch := pick(rng, slices.Sorted(maps.Keys(m.heads)))
			x := m.begin(t, s, rng, branch, m.pickBase(rng, branch))
			x.fill(t)
			if rng.IntN(10) == 0 {
				x.tx.Rollback()
				continue
			}
			x.commit(t)
		}
	}
	m.checkAll(t, s)
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	m.checkAll(t, s)
	verifyClean(t, s)
	st := s.Stats()
	if st.OpenSnapshots != 0 {
		t.Fatalf("%d snapshots are still open", st.OpenSnapshots)
	}
	t.Logf("seed %d: %d versions, %d pod versions, %d shared bodies, %d bytes", seed, st.Versions, st.PodVersions, st.SharedBodies, st.FileBytes)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
