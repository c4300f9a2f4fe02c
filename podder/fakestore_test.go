package podder

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// fakeStore is a store of one version in memory. begin gives a transaction; the
// store itself is the Source of what was committed.
type fakeStore struct {
	pods  map[pod.ID]*pod.Pod
	types map[string]pod.TypeID
	names map[string]pod.ID
	last  pod.ID
	key   [32]byte
	rates *pod.Rates // what transactions say of the history
	// What they say of the history of single pods.
	commits int
	history map[pod.ID]pod.SlotHistory
	asked   int // for such a history
}

func newFakeStore() *fakeStore {
	return &fakeStore{pods: map[pod.ID]*pod.Pod{}, types: map[string]pod.TypeID{}, names: map[string]pod.ID{}, key: [32]byte{1, 2, 3, 4, 5, 6, 7, 8}}
}

func (s *fakeStore) config() Config { return Config{Secret: s.key} }

func (s *fakeStore) Pods(_ context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	ps := make([]*pod.Pod, len(ids))
	for i, id := range ids {
		if s.pods[id] == nil {
			return nil, fmt.Errorf("pod %d: %w", id, dberr.ErrNotFound)
		}
		ps[i] = lent(s.pods[id])
	}
	return ps, nil
}

// lent is a copy of a pod whose lists may be taken back by scribble.
func lent(p *pod.Pod) *pod.Pod {
	return &pod.Pod{Refs: slices.Clone(p.Refs), Slots: slices.Clone(p.Slots), Exports: slices.Clone(p.Exports)}
}

// scribble makes a pod that was taken back useless to whoever still looks at it.
func scribble(p *pod.Pod) {
	for i := range p.Refs {
		p.Refs[i] = pod.Ref{Pod: 1 << 60, Slot: 7}
	}
	for i := range p.Slots {
		p.Slots[i] = pod.Data{Kind: 99}
	}
	for i := range p.Exports {
		p.Exports[i] = pod.Export{Slot: 1 << 30}
	}
}

// Recycle makes the store a pod.Recycler, so that every test of Decode is one of
// pods that are let go of.
func (s *fakeStore) Recycle(p *pod.Pod) { scribble(p) }

func (s *fakeStore) Type(_ context.Context, id pod.TypeID) ([]byte, error) {
	for d, t := range s.types {
		if t == id {
			return []byte(d), nil
		}
	}
	return nil, fmt.Errorf("type %d: %w", id, dberr.ErrNotFound)
}

func (s *fakeStore) Root(_ context.Context, name string) (pod.ID, error) {
	id, ok := s.names[name]
	if !ok {
		return 0, fmt.Errorf("variable %q: %w", name, dberr.ErrNotFound)
	}
	return id, nil
}

func (s *fakeStore) Secret() [32]byte { return s.key }

// fakeTx is one transaction.
type fakeTx struct {
	s       *fakeStore
	pods    map[pod.ID]*pod.Pod
	types   map[string]pod.TypeID
	names   map[string]pod.ID
	changes []pod.ID
	slots   map[pod.ID][]pod.Slot
	named   int
	bytes   int   // handed over in slots, and four for each reference of a new pod
	fail    error // returned by the next Put
}

func (s *fakeStore) begin() *fakeTx {
	return &fakeTx{s: s, pods: map[pod.ID]*pod.Pod{}, types: map[string]pod.TypeID{}, names: map[string]pod.ID{}, slots: map[pod.ID][]pod.Slot{}}
}

func (t *fakeTx) NewPod() pod.ID { t.s.last++; return t.s.last }

func (t *fakeTx) Type(_ context.Context, d []byte) (pod.TypeID, error) {
	if id, ok := t.s.types[string(d)]; ok {
		return id, nil
	}
	id, ok := t.types[string(d)]
	if !ok {
		id = pod.FirstCatalogType + pod.TypeID(len(t.s.types)+len(t.types))
		t.types[string(d)] = id
	}
	return id, nil
}

func (t *fakeTx) Types(ctx context.Context, from pod.TypeID, fn func(pod.TypeID, []byte) error) error {
	return t.s.Types(ctx, from, fn)
}

func (s *fakeStore) Types(_ context.Context, from pod.TypeID, fn func(pod.TypeID, []byte) error) error {
	for id := from; int(id) < int(pod.FirstCatalogType)+len(s.types); id++ {
		d, err := s.Type(context.Background(), id)
		if err == nil {
			err = fn(id, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *fakeTx) Put(_ context.Context, c *pod.Change) error {
	if t.fail != nil {
		return t.fail
	}
	if t.pods[c.ID] != nil {
		return fmt.Errorf("pod %d is put twice", c.ID)
	}
	p, err := pod.Apply(t.s.pods[c.ID], c)
	if err != nil {
		return err
	}
	t.pods[c.ID] = p
	t.changes = append(t.changes, c.ID)
	if c.New {
		t.bytes += 4 * len(c.Refs)
	}
	for _, w := range c.Slots {
		t.bytes += len(w.Data.Bytes)
		for _, r := range w.Runs {
			t.bytes += len(r.Bytes)
		}
		t.slots[c.ID] = append(t.slots[c.ID], w.Slot)
	}
	return nil
}

// Rates makes fakeTx a pod.RatedSink.
func (t *fakeTx) Rates(context.Context) (*pod.Rates, error) { return t.s.rates, nil }

// Commits and SlotHistory make fakeTx a pod.HistorySink.
func (t *fakeTx) Commits() int { return t.s.commits }

func (t *fakeTx) SlotHistory(_ context.Context, id pod.ID) (pod.SlotHistory, error) {
	t.s.asked++
	return t.s.history[id], nil
}

func (t *fakeTx) SetName(_ context.Context, name string, id pod.ID) error {
	t.names[name] = id
	t.named++
	return nil
}

func (t *fakeTx) DeleteName(_ context.Context, name string) error {
	t.names[name] = 0
	return nil
}

// commit makes the transaction the store's state, after checking that no
// reference dangles.
func (t *fakeTx) commit() error {
	for id, p := range t.pods {
		for n, r := range p.Refs {
			if r.Pod == 0 {
				continue
			}
			q := t.pods[r.Pod]
			if q == nil {
				q = t.s.pods[r.Pod]
			}
			if q == nil || !q.Exported(r.Slot) {
				return fmt.Errorf("pod %d: reference %d to (%d, %d), which is not exported", id, n, r.Pod, r.Slot)
			}
		}
	}
	maps.Copy(t.s.pods, t.pods)
	maps.Copy(t.s.types, t.types)
	for n, id := range t.names {
		if t.s.names[n] = id; id == 0 {
			delete(t.s.names, n)
		}
	}
	return nil
}

// rootsOf makes roots of name, value pairs.
func rootsOf(pairs ...any) []Root {
	var rs []Root
	for i := 0; i < len(pairs); i += 2 {
		rs = append(rs, Root{Name: pairs[i].(string), Value: reflect.ValueOf(pairs[i+1])})
	}
	return rs
}

// mustSave saves and commits, and returns the transaction.
func mustSave(t testing.TB, g *Graph, s *fakeStore, pairs ...any) *fakeTx {
	t.Helper()
	tx := s.begin()
	saved, err := g.Save(context.Background(), rootsOf(pairs...), tx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	saved.Commit()
	return tx
}

func mustGraph(t testing.TB, cfg Config) *Graph {
	t.Helper()
	g, err := NewGraph(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// mustStayQuiet saves again and fails if anything is written.
func mustStayQuiet(t testing.TB, g *Graph, s *fakeStore, pairs ...any) {
	t.Helper()
	if tx := mustSave(t, g, s, pairs...); len(tx.changes) > 0 || tx.named > 0 {
		t.Fatalf("a save without changes put pods %v (slots %v) and %d names", tx.changes, tx.slots, tx.named)
	}
}

// reload loads variables into a new graph, checks that a save straight after
// writes nothing, and returns graph and values.
func reload(t testing.TB, s *fakeStore, cfg Config, pairs ...any) (*Graph, []reflect.Value) {
	t.Helper()
	g := mustGraph(t, cfg)
	var names []string
	var want []reflect.Type
	for i := 0; i < len(pairs); i += 2 {
		names = append(names, pairs[i].(string))
		want = append(want, reflect.TypeOf(pairs[i+1]))
	}
	vs, err := g.Load(context.Background(), s, names, want)
	if err != nil {
		t.Fatal(err)
	}
	var again []any
	for i, n := range names {
		again = append(again, n, vs[i].Interface())
	}
	mustStayQuiet(t, g, s, again...)
	return g, vs
}

// roundTrip saves variables, loads them into a new graph, and fails unless what
// came back is isomorphic and neither graph has anything left to write.
func roundTrip(t testing.TB, pairs ...any) (*fakeStore, []reflect.Value) {
	t.Helper()
	return roundTripWith(t, Config{}, pairs...)
}

func roundTripWith(t testing.TB, cfg Config, pairs ...any) (*fakeStore, []reflect.Value) {
	t.Helper()
	s := newFakeStore()
	cfg.Secret = s.key
	g := mustGraph(t, cfg)
	mustSave(t, g, s, pairs...)
	mustStayQuiet(t, g, s, pairs...)
	_, vs := reload(t, s, cfg, pairs...)
	for i := range vs {
		if err := isomorphic(reflect.ValueOf(pairs[2*i+1]), vs[i]); err != nil {
			t.Errorf("%s: %v", pairs[2*i], err)
		}
	}
	return s, vs
}
