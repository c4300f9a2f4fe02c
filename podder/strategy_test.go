package podder

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

type stNode struct {
	ID    int
	Text  string
	Left  *stNode
	Right *stNode
	List  []*stNode
	ByKey map[string]*stNode
	Count *stCount
}

type stCount struct{ N int }

// stTree returns a tree of n nodes with some sharing, and all of them.
func stTree(r *rand.Rand, n int) (*stNode, []*stNode) {
	all := make([]*stNode, n)
	for i := range all {
		all[i] = stNew(r, i)
		if i > 0 {
			stHang(r, all[r.IntN(i)], all[i])
		}
	}
	for range n / 10 {
		all[r.IntN(n)].List = append(all[r.IntN(n)].List, all[r.IntN(n)])
	}
	return all[0], all
}

func stNew(r *rand.Rand, i int) *stNode {
	x := &stNode{ID: i, Text: fmt.Sprint("node ", i, " of ", string(make([]byte, r.IntN(200))))}
	if r.IntN(3) == 0 {
		x.Count = &stCount{i}
	}
	return x
}

func stHang(r *rand.Rand, up, x *stNode) {
	switch k := r.IntN(4); {
	case k == 0 && up.Left == nil:
		up.Left = x
	case k == 1 && up.Right == nil:
		up.Right = x
	case k == 2:
		if up.ByKey == nil {
			up.ByKey = map[string]*stNode{}
		}
		up.ByKey[fmt.Sprint("to ", x.ID)] = x
	default:
		up.List = append(up.List, x)
	}
}

// stStrategies are all; Learned bundles unless a store has rates (stRates).
var stStrategies = []struct {
	name string
	s    Strategy
}{
	{"learned", Learned()},
	{"bundle-all", BundleAll()},
	{"split-all", SplitAll()},
	{"by-container", ByType()},
	{"by-type", ByType(reflect.TypeFor[stCount]())},
	{"random", Random(7)},
	{"greedy", Greedy(0.01)},
	{"fixed", fixed{0b1011001}},
	{"restless", Restless(3)},
}

// stStrategy is a strategy for a random test, the default for every other seed.
func stStrategy(s *fakeStore, seed uint64) Strategy {
	if seed%2 == 0 {
		return nil
	}
	s.rates = stRates(seed)
	return stStrategies[seed/2%uint64(len(stStrategies))].s
}

// stRates are rates by which Learned cuts here and there.
func stRates(seed uint64) *pod.Rates {
	r := rand.New(rand.NewPCG(seed, 3))
	rates := &pod.Rates{Commits: 1000, Slots: map[pod.RateKey]pod.Count{}}
	for kind := pod.SlotBox; kind <= pod.SlotString; kind++ {
		for typ := range pod.FirstCatalogType + 40 {
			if n := r.IntN(4); n > 0 {
				rates.Slots[pod.RateKey{Kind: kind, Type: typ}] = pod.Count{Changes: 300 * (n - 1), Commits: 1000}
			}
		}
	}
	return rates
}

// A graph is saved, changed and saved again with each strategy: what is stored comes back,
// also for graphs with another strategy, in which a save writes nothing; pods are
// bounded; and the same is stored if everything is done again.
func TestEachStrategyStoresTheSameGraph(t *testing.T) {
	for k, c := range stStrategies {
		t.Run(c.name, func(t *testing.T) {
			var first string
			for range 2 {
				s := stProgram(t, c.s, stStrategies[(k+1)%len(stStrategies)].s)
				text := stText(s)
				if first == "" {
					first = text
				}
				if text != first {
					t.Fatal("the same graph was stored in two ways")
				}
			}
		})
	}
}

// stText is all that a store holds.
func stText(s *fakeStore) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.pods)) {
		fmt.Fprintln(&b, id, *s.pods[id])
	}
	fmt.Fprintln(&b, s.names)
	return b.String()
}

// stProgram saves and changes a tree with one strategy, and loads it with another.
func stProgram(t *testing.T, with, other Strategy) *fakeStore {
	r := rand.New(rand.NewPCG(5, 6))
	s := newFakeStore()
	s.rates = stRates(1)
	cfg := indexed(s)
	cfg.Strategy, cfg.TargetBytes = with, 1024
	g := mustGraph(t, cfg)
	root, all := stTree(r, 150)
	mustSave(t, g, s, "x", root)
	for range 6 {
		mustStayQuiet(t, g, s, "x", root)
		cfg.Strategy = other
		_, vs := reload(t, s, cfg, "x", root)
		if err := isomorphic(reflect.ValueOf(root), vs[0]); err != nil {
			t.Fatal(err)
		}
		stBounded(t, s, 8*cfg.TargetBytes)
		for range 10 {
			all[r.IntN(len(all))].ID++
			x := stNew(r, 1000+r.IntN(1000))
			stHang(r, all[r.IntN(len(all))], x)
			all = append(all, x)
		}
		mustSave(t, g, s, "x", root)
	}
	return s
}

// stBounded fails if a pod of more than one slot is larger than it may be.
func stBounded(t *testing.T, s *fakeStore, most int) {
	t.Helper()
	for id, p := range s.pods {
		n := 0
		for _, d := range p.Slots {
			n += len(d.Bytes)
		}
		if len(p.Slots) > 1 && n > most {
			t.Errorf("pod %d: %d slots, %d bytes", id, len(p.Slots), n)
		}
	}
}

// Strategies do what they are named after: what is in how many pods.
func TestStrategiesCutWhereTheySay(t *testing.T) {
	x := &stNode{Text: "root", Count: &stCount{1}, Left: &stNode{Count: &stCount{2}}}
	for range 20 {
		x.List = append(x.List, &stNode{Text: string(make([]byte, 100)), Count: &stCount{3}})
	}
	objects := 1 + 1 + 1 + 2 + 1 + 2*20 // box, root, its count, left and its count, the list, what it has
	for name, want := range map[string]struct {
		s    Strategy
		pods int
	}{
		"bundle all":         {BundleAll(), 1},
		"split all":          {SplitAll(), objects},
		"by container":       {ByType(), 2 + 2}, // the rest; the list, in pods of 1 KiB
		"by type":            {ByType(reflect.TypeFor[stCount]()), 22 + 3},
		"learned, untaught":  {Learned(), 3},
		"first choice only":  {fixed{1}, 2 + 2},
		"none of the first":  {fixed{0}, 3},
		"greedy, no changes": {Greedy(0), 3},
		"greedy, all change": {Greedy(1), 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			cfg := s.config()
			cfg.Strategy, cfg.TargetBytes = want.s, 1024
			mustSave(t, mustGraph(t, cfg), s, "x", x)
			if len(s.pods) != want.pods {
				t.Errorf("%d pods, want %d", len(s.pods), want.pods)
			}
		})
	}
}

// Learned cuts off what changes often from what is large and does not, and only that.
func TestLearnedCutsOffWhatChanges(t *testing.T) {
	for _, c := range []struct {
		name       string
		commits    int
		p, q       PieceSize
		together   float64
		wantsSplit bool
	}{
		{"no history", 0, PieceSize{1, 4000, 0, 0}, PieceSize{1, 10, 1, 10}, 0, false},
		{"small and often beside large and never", 1000, PieceSize{1, 4000, 0.0001, 0.001}, PieceSize{1, 10, 0.5, 5}, 0, true},
		{"large and never below small and often", 1000, PieceSize{1, 10, 0.5, 5}, PieceSize{1, 4000, 0.0001, 0.001}, 0, true},
		{"both change always", 1000, PieceSize{1, 4000, 1, 10}, PieceSize{1, 4000, 1, 10}, 0, false},
		{"both change never", 1000, PieceSize{1, 4000, 0, 0}, PieceSize{1, 4000, 0, 0}, 0, false},
		{"both are small", 1000, PieceSize{1, 10, 0.5, 5}, PieceSize{1, 10, 0.001, 0.01}, 0, false},
		{"as often, and by itself", 1000, PieceSize{1, 40, 0.1, 1}, PieceSize{1, 40, 0.1, 1}, 0, false},
		{"both change, at different times", 1000, PieceSize{1, 4000, 0.3, 3}, PieceSize{1, 4000, 0.3, 3}, 0, true},
		{"both change, at the same times", 1000, PieceSize{1, 4000, 0.3, 3}, PieceSize{1, 4000, 0.3, 3}, 1, false},
		{"both change seldom, so no chain ends", 32, PieceSize{1, 500, 0.05, 0.5}, PieceSize{1, 500, 0.05, 0.5}, 0, false},
		{"most of it is replaced, so all is stored each time", 16, PieceSize{1, 1500, 0.25, 375}, PieceSize{1, 1000, 0, 0}, 0, true},
		{"small changes of a large pod make long chains", 16, PieceSize{1, 100, 0.5, 5}, PieceSize{1, 1500, 0, 0}, 0, false},
		{"a short history", 16, PieceSize{1, 400, 0.001, 0.01}, PieceSize{1, 10, 0.05, 0.5}, 0, false},
	} {
		if got := Learned().Split(&Choice{Commits: c.commits, Piece: c.p, ChildPiece: c.q, Both: c.p.with(c.q, c.together)}); got != c.wantsSplit {
			t.Errorf("%s: splits: %v", c.name, got)
		}
	}
}

// What comes before and after something that is cut off stays together.
func TestSiblingsPassWhatIsCutOff(t *testing.T) {
	x := &[]any{&stCount{1}, &stNode{ID: 1}, &stNode{ID: 2}, &stCount{2}, &stNode{ID: 3}, &stCount{3}, &stCount{4}, &stNode{ID: 4}}
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = NewRegistry()
	cfg.Strategy = ByType(reflect.TypeFor[stCount]())
	for _, typ := range []reflect.Type{reflect.TypeFor[stCount](), reflect.TypeFor[stNode]()} {
		if err := cfg.Registry.Register(typ, typ.String()); err != nil {
			t.Fatal(err)
		}
	}
	mustSave(t, mustGraph(t, cfg), s, "x", x)
	var slots []int
	for _, id := range slices.Sorted(maps.Keys(s.pods)) {
		slots = append(slots, len(s.pods[id].Slots))
	}
	slices.Sort(slots)
	if want := []int{1, 1, 1, 1, 7}; !slices.Equal(slots, want) {
		t.Errorf("slots of pods: %v, want %v", slots, want)
	}
}

// Choices are numbered through the saves of a graph: those of a save that came to nothing
// are made again.
func TestChoicesAreNumbered(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	var numbers []int
	cfg.Strategy = numbering{&numbers}
	g := mustGraph(t, cfg)
	x := &stNode{Count: &stCount{1}}
	for range 2 {
		numbers = nil
		saved, err := g.Save(t.Context(), rootsOf("x", x), s.begin())
		if err != nil {
			t.Fatal(err)
		}
		saved.Abort()
		if !slices.Equal(numbers, []int{0, 1}) {
			t.Errorf("choices %v of a first save", numbers)
		}
	}
	mustSave(t, g, s, "x", x)
	for n := range 4 { // with a walk and without
		numbers, x.Left = nil, &stNode{Left: x.Left}
		mustSave(t, g, s, "x", x)
		if !slices.Equal(numbers, []int{2 + n}) {
			t.Errorf("choices %v, want %d", numbers, 2+n)
		}
	}
}

// numbering notes the numbers of choices.
type numbering struct{ numbers *[]int }

func (n numbering) Split(c *Choice) bool {
	*n.numbers = append(*n.numbers, c.Number)
	return false
}

// What a container leads to that is larger than a pod is not in its pod, so no change of
// it writes the container again: Learned has no reason to cut each element off.
func TestLearnedKeepsTheElementsOfLargeContainersTogether(t *testing.T) {
	x := &[]*stNode{}
	for i := range 3000 {
		*x = append(*x, &stNode{ID: i, Count: &stCount{i}})
	}
	pods := map[string]int{}
	for name, strategy := range map[string]Strategy{"learned": Learned(), "bundled": Greedy(0)} {
		s := newFakeStore()
		s.rates = &pod.Rates{Commits: 1000, Slots: map[pod.RateKey]pod.Count{{Kind: pod.SlotString}: {Changes: 10, Commits: 1000}}}
		cfg := s.config()
		cfg.Strategy = strategy
		g := mustGraph(t, cfg)
		mustSave(t, g, s, "x", x)
		for i := range 50 { // into a container that has its place
			(*x)[i] = &stNode{ID: -i, Count: &stCount{i}}
		}
		mustSave(t, g, s, "x", x)
		pods[name] = len(s.pods)
	}
	if pods["learned"] > 2*pods["bundled"] {
		t.Errorf("pods: %v", pods)
	}
}
