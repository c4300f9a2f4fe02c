package podder

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// Objects leave their pods at random while a graph is changed, saved with a walk and without,
// aborted, loaded by others and trimmed: what is stored is the graph each time, a save without
// changes writes nothing, and saves without a walk agree with those that walk.
func TestObjectsThatLeaveTheirPodsStayWhatTheyAre(t *testing.T) {
	moved := 0
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) { moved += rpProgram(t, seed) })
	}
	if moved < 200 {
		t.Errorf("only %d objects were moved", moved)
	}
}

func rpProgram(t *testing.T, seed uint64) (moved int) {
	r := rand.New(rand.NewPCG(seed, 11))
	s := newFakeStore()
	cfg := indexed(s)
	cfg.Strategy, cfg.TargetBytes = Restless(seed), 512+r.IntN(2048)
	g := mustGraph(t, cfg)
	root, all := stTree(r, 60)
	mustSave(t, g, s, "x", root)
	mustStayQuiet(t, g, s, "x", root)
	for range 25 {
		for range 1 + r.IntN(8) {
			x := all[r.IntN(len(all))]
			switch r.IntN(6) {
			case 0:
				y := stNew(r, r.IntN(1000))
				stHang(r, x, y)
				all = append(all, y)
			case 1:
				x.Left, x.Right = x.Right, x.Left
			case 2:
				x.List = nil
			case 3:
				x.Text = fmt.Sprint(string(make([]byte, r.IntN(900))), x.ID)
			case 4:
				if x.Count = nil; r.IntN(2) == 0 {
					x.Count = &stCount{r.IntN(1000)}
				}
			default:
				x.ID++
			}
		}
		if r.IntN(5) == 0 {
			saved, err := g.Save(t.Context(), rootsOf("x", root), s.begin())
			if err != nil {
				t.Fatal(err)
			}
			saved.Abort()
		}
		if r.IntN(8) == 0 {
			g.Trim()
		}
		tx := s.begin()
		saved, err := g.Save(t.Context(), rootsOf("x", root), tx)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		moved += saved.SlotsMoved
		saved.Commit()
		mustStayQuiet(t, g, s, "x", root)
		again, vs := reload(t, s, cfg, "x", root)
		if err := isomorphic(reflect.ValueOf(root), vs[0]); err != nil {
			t.Fatal(err)
		}
		if r.IntN(6) == 0 { // go on in another process
			g, root = again, vs[0].Interface().(*stNode)
			all = rpAll(root, nil, map[*stNode]bool{})
		}
		rpSound(t, s)
	}
	return moved
}

// rpAll lists the nodes that one leads to.
func rpAll(x *stNode, list []*stNode, seen map[*stNode]bool) []*stNode {
	if x == nil || seen[x] {
		return list
	}
	seen[x] = true
	list = rpAll(x.Right, rpAll(x.Left, append(list, x), seen), seen)
	for _, y := range x.List {
		list = rpAll(y, list, seen)
	}
	for k := range 2000 {
		list = rpAll(x.ByKey[fmt.Sprint("to ", k)], list, seen)
	}
	return list
}

// rpSound fails if a forwarder leads nowhere, or if what a forwarder refers to is not among the edges of
// its export.
func rpSound(t *testing.T, s *fakeStore) {
	t.Helper()
	for id, p := range s.pods {
		for n := range p.Slots {
			if !isAway(p, pod.Slot(n)) {
				continue
			}
			c := cursor{buf: p.Slots[n].Bytes}
			number := (c.uvarint() - codeBase) >> codeShift
			if number >= uint64(len(p.Refs)) || p.Refs[number].Pod == 0 {
				t.Fatalf("pod %d slot %d: forwarder to reference %d of %v", id, n, number, p.Refs)
			}
			edges, _ := exportedEdges(p, pod.Slot(n))
			found := edges.All
			for _, e := range edges.List {
				found = found || uint64(e) == number
			}
			if !found {
				t.Fatalf("pod %d slot %d: forwarder to reference %d, edges %+v", id, n, number, edges)
			}
		}
	}
}

func rpConfig(s *fakeStore) Config {
	cfg := indexed(s)
	cfg.Repod = true
	return cfg
}

// rpSave saves a variable and returns what the save did.
func rpSave(t *testing.T, g *Graph, s *fakeStore, x any) (*Saved, *fakeTx) {
	t.Helper()
	tx := s.begin()
	saved, err := g.Save(t.Context(), rootsOf("x", x), tx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	saved.Commit()
	return saved, tx
}

// What always changes leaves what never does, once there is a history that says so, in a save
// that writes the pod anyway; the old slot leads there, and later saves write the new pod alone.
// The pod is asked about once in each doubling of the commits.
func TestLearnedLetsLeaveWhatChanges(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, rpConfig(s))
	x := &rpDoc{Body: &rpBody{string(make([]byte, 3000))}, Count: &stCount{1}}
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	old := s.names["x"]
	slot := -1
	for n, d := range s.pods[old].Slots {
		if len(d.Bytes) == 1 {
			slot = n
		}
	}
	s.commits, s.history = 40, map[pod.ID]pod.SlotHistory{old: {Commits: 16, Versions: 16, Changed: make([]uint32, 4), Bytes: make([]int, 4)}}
	s.history[old].Changed[slot], s.history[old].Bytes[slot] = 1<<16-1, 16
	mustStayQuiet(t, g, s, "x", x)
	x.Count.N++
	saved, tx := rpSave(t, g, s, x)
	if saved.PodsSplit != 1 || saved.SlotsMoved != 1 || saved.MovedBytes == 0 || saved.Walked || len(tx.changes) != 2 {
		t.Fatalf("%+v, changed pods %v", saved, tx.changes)
	}
	if !isAway(s.pods[old], pod.Slot(slot)) {
		t.Fatalf("slot %d: %+v", slot, s.pods[old].Slots[slot])
	}
	s.history = nil
	for range 3 {
		x.Count.N++
		if _, tx := rpSave(t, g, s, x); len(tx.changes) != 1 || tx.changes[0] == old || tx.bytes > 10 {
			t.Fatalf("changed pods %v, %d bytes", tx.changes, tx.bytes)
		}
	}
	asked := s.asked
	x.Body.Text += "."
	rpSave(t, g, s, x)
	if s.asked != asked {
		t.Error("a pod was asked about twice with as many commits")
	}
	s.commits = 80
	x.Body.Text += "."
	rpSave(t, g, s, x)
	if s.asked == asked {
		t.Error("a pod was not asked about when the commits had doubled")
	}
	_, vs := reload(t, s, rpConfig(s), "x", x)
	if err := isomorphic(reflect.ValueOf(x), vs[0]); err != nil {
		t.Fatal(err)
	}
}

// Nothing leaves a pod that is not written, and what other pods refer to never does: here the rest
// leaves it.
func TestWhatStaysInItsPod(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, rpConfig(s))
	x := &rpDoc{Body: &rpBody{string(make([]byte, 3000))}, Count: &stCount{1}}
	shared := &rpDoc{Count: x.Count}
	roots := func() []Root { return rootsOf("x", x, "y", shared) }
	save := func() *Saved {
		tx := s.begin()
		saved, err := g.Save(t.Context(), roots(), tx)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		saved.Commit()
		return saved
	}
	save()
	save()
	s.commits, s.history = 40, map[pod.ID]pod.SlotHistory{}
	count := 0
	for id, p := range s.pods {
		h := pod.SlotHistory{Commits: 16, Versions: 16, Changed: make([]uint32, len(p.Slots)), Bytes: make([]int, len(p.Slots))}
		for n, d := range p.Slots {
			if len(d.Bytes) == 1 {
				h.Changed[n], h.Bytes[n] = 1<<16-1, 16
				if id == s.names["x"] {
					count = n
				}
			}
		}
		s.history[id] = h
	}
	if saved := save(); saved.PodsChanged > 0 || s.asked > 0 {
		t.Fatalf("%+v", saved)
	}
	x.Count.N++
	if saved := save(); saved.SlotsMoved == 0 || saved.PodsSplit != 1 { // what never changes leaves
		t.Fatalf("%+v", saved)
	}
	if p := s.pods[s.names["x"]]; len(p.Exports) < 2 {
		t.Fatalf("nothing is shared: %+v", p)
	}
	if d := s.pods[s.names["x"]].Slots[count]; d.Kind != pod.SlotObject {
		t.Errorf("slot %d, to which others refer, was moved: %+v", count, d)
	}
}

// A pod that holds more than twice what pods are filled up to is divided; what it cost is
// counted.
func TestAPodThatHasOutgrownIsDivided(t *testing.T) {
	s := newFakeStore()
	cfg := rpConfig(s)
	cfg.TargetBytes = 1024
	g := mustGraph(t, cfg)
	x := &rpDoc{}
	for range 20 {
		x.Parts = append(x.Parts, &rpBody{"a"})
	}
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	if len(s.pods) != 1 {
		t.Fatalf("%d pods", len(s.pods))
	}
	s.commits = leastJudged
	for _, p := range x.Parts {
		p.Text = string(make([]byte, 200))
	}
	saved, _ := rpSave(t, g, s, x)
	if saved.PodsDivided != 1 || saved.SlotsMoved < 10 || int(saved.MovedBytes) < 10*200 {
		t.Fatalf("%+v", saved)
	}
	stBounded(t, s, 2*cfg.TargetBytes)
	mustStayQuiet(t, g, s, "x", x)
	_, vs := reload(t, s, cfg, "x", x)
	if err := isomorphic(reflect.ValueOf(x), vs[0]); err != nil {
		t.Fatal(err)
	}
}

// Without Config.Repod nothing is moved, and no history of pods is read.
func TestNothingIsMovedWithoutRepod(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 1024
	g := mustGraph(t, cfg)
	x := &rpDoc{Count: &stCount{1}}
	for range 20 {
		x.Parts = append(x.Parts, &rpBody{"a"})
	}
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	s.commits = 40
	for _, p := range x.Parts {
		p.Text = string(make([]byte, 200))
	}
	if saved, _ := rpSave(t, g, s, x); saved.Walked || saved.SlotsMoved > 0 || s.asked > 0 || len(s.pods) != 1 {
		t.Errorf("%+v, %d histories, %d pods", saved, s.asked, len(s.pods))
	}
}
