package podder

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// chunkStore holds x, of which only floats, pointers, text and map are there, and
// other containers of the same types as y.
func chunkStore(t *testing.T) (*fakeStore, Config, *chunkBox) {
	r := rand.New(rand.NewPCG(9, 10))
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 128
	x, y := newChunkBox(r, 400), newChunkBox(r, 500)
	mustSave(t, mustGraph(t, cfg), s, "x", x, "y", y)
	return s, cfg, x
}

// lists finds the slots of the store that are lists of one kind of container.
func (s *fakeStore) lists(kind pod.Kind) (ids []pod.ID) {
	for id, p := range s.pods {
		if d := &p.Slots[0]; d.Kind == pod.SlotChunks && storedKind(d) == kind {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// damage is done to the list of a container: to the pod as a whole, which is a
// copy, or to the list, which is stored again.
type chunkDamage func(s *fakeStore, p *pod.Pod, list *chunkList)

func TestDamagedListsOfChunks(t *testing.T) {
	other := func(kind pod.Kind) chunkDamage {
		return func(s *fakeStore, _ *pod.Pod, list *chunkList) {
			ids := s.lists(kind)
			q := s.pods[ids[len(ids)-1]]
			there, _ := parseChunks(&q.Slots[0], q.Refs)
			list.chunks[1].id = there.chunks[0].id
		}
	}
	for name, damage := range map[string]chunkDamage{
		"a chunk left out":          func(_ *fakeStore, _ *pod.Pod, list *chunkList) { list.chunks = slices.Delete(list.chunks, 1, 2) },
		"chunks that overlap":       func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.chunks[0].units++; l.chunks[1].units-- },
		"a chunk twice":             func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.chunks[1] = l.chunks[0] },
		"more units than there are": func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.chunks[1].units += 3 },
		"no units":                  func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.chunks[1].units = 0 },
		"units that wrap around":    func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.chunks[0].units = 1<<63 - 1 },
		"less stored":               func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.stored-- },
		"too much":                  func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.extent = 1 << 50 },
		"another kind": func(_ *fakeStore, _ *pod.Pod, l *chunkList) {
			l.kind = map[pod.Kind]pod.Kind{pod.SlotArray: pod.SlotMap, pod.SlotMap: pod.SlotString, pod.SlotString: pod.SlotArray}[l.kind]
		},
		"a kind that is none": func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.kind = pod.SlotObject },
		"a chunk of numbers":  other(pod.SlotArray),
		"a chunk of a map":    other(pod.SlotMap),
		"a chunk of a string": other(pod.SlotString),
		"the list itself": func(s *fakeStore, p *pod.Pod, l *chunkList) {
			for id, q := range s.pods {
				if q.Slots[0].Kind == pod.SlotChunks && &q.Slots[0].Bytes[0] == &p.Slots[0].Bytes[0] {
					l.chunks[1].id = id
				}
			}
		},
		"a pod that is not there": func(_ *fakeStore, _ *pod.Pod, l *chunkList) { l.chunks[1].id = 1 << 40 },
		"a chunk with two slots": func(s *fakeStore, _ *pod.Pod, l *chunkList) {
			q := *s.pods[l.chunks[1].id]
			q.Slots = append(slices.Clone(q.Slots), q.Slots[0])
			s.pods[l.chunks[1].id] = &q
		},
		"a chunk of another type": func(s *fakeStore, _ *pod.Pod, l *chunkList) {
			q := *s.pods[l.chunks[1].id]
			q.Slots = slices.Clone(q.Slots)
			q.Slots[0].Type++
			s.pods[l.chunks[1].id] = &q
		},
		"a chunk that is not exported": func(s *fakeStore, _ *pod.Pod, l *chunkList) {
			q := *s.pods[l.chunks[1].id]
			q.Exports = nil
			s.pods[l.chunks[1].id] = &q
		},
	} {
		for _, kind := range []pod.Kind{pod.SlotArray, pod.SlotMap, pod.SlotString} {
			t.Run(fmt.Sprintf("%s/kind %d", name, kind), func(t *testing.T) {
				s, cfg, x := chunkStore(t)
				ids := s.lists(kind)
				if name == "a chunk of "+map[pod.Kind]string{pod.SlotArray: "numbers", pod.SlotMap: "a map", pod.SlotString: "a string"}[kind] && len(ids) < 2 {
					t.Fatal("no second container")
				}
				id := ids[0]
				p := s.pods[id]
				list, wrong := parseChunks(&p.Slots[0], p.Refs)
				if wrong != "" {
					t.Fatal(wrong)
				}
				damage(s, p, list)
				s.pods[id] = withList(p, list)
				_, err := Decode(t.Context(), cfg, s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
				mustBeCorrupt(t, err)
				if v := newViewer(t.Context(), s); err != nil {
					// The viewer must not fail otherwise than with an error.
					if root, err := v.root("x"); err == nil {
						_ = v.skip(&root, root.n, false)
					}
				}
			})
		}
	}
}

// withList returns p with another list in slot 0, and a reference for each chunk.
func withList(p *pod.Pod, list *chunkList) *pod.Pod {
	q := &pod.Pod{Slots: slices.Clone(p.Slots), Exports: []pod.Export{{Edges: pod.EdgeSet{All: true}}}}
	head := list.appendHead(nil)
	whole := list.appendList(slices.Clone(head), func(id pod.ID) uint32 {
		q.Refs = append(q.Refs, pod.Ref{Pod: id})
		return uint32(len(q.Refs) - 1)
	})
	q.Slots[0].Bytes, q.Slots[0].Runs = whole, []uint32{uint32(len(head)), uint32(len(whole) - len(head))}
	return q
}

func mustBeCorrupt(t *testing.T, err error) {
	t.Helper()
	var c *dberr.CorruptError
	switch {
	case !errors.As(err, &c):
		t.Errorf("the error is %v", err)
	case !strings.Contains(err.Error(), "pod "):
		t.Errorf("the error does not say where: %v", err)
	}
}

// Any bytes in place of a list, or of a chunk, give a value or an error.
func TestListsOfChunksWithRandomBytes(t *testing.T) {
	s, cfg, x := chunkStore(t)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 12))
		m := s.snapshot()
		ids := slices.Concat(m.lists(pod.SlotArray), m.lists(pod.SlotMap), m.lists(pod.SlotString))
		p := m.pods[ids[r.IntN(len(ids))]]
		if r.IntN(2) == 0 {
			p = m.pods[p.Refs[r.IntN(len(p.Refs))].Pod]
		}
		for id, q := range m.pods {
			if q != p {
				continue
			}
			c := *q
			c.Slots = slices.Clone(c.Slots)
			c.Slots[0].Bytes = slices.Clone(c.Slots[0].Bytes)
			for range 1 + r.IntN(3) {
				c.Slots[0].Bytes[r.IntN(len(c.Slots[0].Bytes))] = byte(r.Uint32())
			}
			m.pods[id] = &c
		}
		_, err := Decode(t.Context(), cfg, m, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
		if err != nil && !errors.Is(err, dberr.ErrCorrupt) && !errors.Is(err, dberr.ErrTooLarge) && !errors.Is(err, dberr.ErrUnregistered) {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// A list that names little often does not make much memory.
func TestChunksJustifyMemoryOnce(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 128
	lists := make([]*[]float64, 50)
	for i := range lists {
		x := make([]float64, 1000)
		for k := range x {
			x[k] = float64(k) + 0.5
		}
		lists[i] = &x
	}
	mustSave(t, mustGraph(t, cfg), s, "x", &lists)
	l := newLoader(t.Context(), &Config{Registry: NewRegistry()}, s, nil)
	if _, err := l.load([]string{"x"}, []reflect.Type{reflect.TypeOf(&lists)}); err != nil {
		t.Fatal(err)
	}
	if took, want := DefaultMaxUnstored-l.budget.unstored, uint64(18*16_000); took < want/2 || took > 2*want {
		t.Errorf("50 lists of the same chunks took %d of what is not stored", took)
	}
}

// A list that others took chunks of gives up its chunks, though it is not live
// where they were taken: whoever finds it later makes new ones.
func TestListsThatLentChunksAreFrozen(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 128
	shared := make([]float64, 1000)
	for i := range shared {
		shared[i] = float64(i) * 1.1
	}
	x, y := &chunkBox{Floats: shared}, &chunkBox{Floats: shared}
	mustSave(t, mustGraph(t, cfg), s, "x", x, "y", y)

	g, vs := reload(t, s, cfg, "x", x) // y is not loaded
	x = vs[0].Interface().(*chunkBox)
	x.Floats = slices.Insert(slices.Clone(x.Floats), 500, -1)
	mustSave(t, g, s, "x", x)

	g, vs = reload(t, s, cfg, "y", y) // x is not
	y = vs[0].Interface().(*chunkBox)
	for i := range y.Floats {
		y.Floats[i] = -float64(i) - 0.25
	}
	mustSave(t, g, s, "y", y)
	_, vs = reload(t, s, cfg, "x", x, "y", y)
	if err := isomorphic(reflect.ValueOf(x), vs[0]); err != nil {
		t.Errorf("x: %v", err)
	}
	if err := isomorphic(reflect.ValueOf(y), vs[1]); err != nil {
		t.Errorf("y: %v", err)
	}

	// What is not lent is patched.
	y.Floats[0] = -3
	before := len(s.pods)
	mustSave(t, g, s, "y", y)
	if len(s.pods) != before {
		t.Error("a chunk of its own was not patched")
	}
	if n := len(listOf(t, g, s, unsafe.Pointer(&y.Floats[0]))); n < 5 {
		t.Errorf("only %d chunks", n)
	}
}
