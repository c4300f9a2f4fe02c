package podder

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// formTx takes new pods in their stored form.
type formTx struct {
	*fakeTx
	forms  map[pod.ID][]byte
	memory int // how often some was asked for
}

func (t *formTx) Memory(n int) []byte {
	if t.memory++; t.memory%2 == 0 {
		return nil
	}
	return make([]byte, n)
}

func (t *formTx) PutWhole(_ context.Context, id pod.ID, form []byte) error {
	p := &pod.Pod{}
	if err := p.ReadWhole(bytes.Clone(form)); err != nil {
		return err
	}
	if t.pods[id] != nil {
		return fmt.Errorf("pod %d is put twice", id)
	}
	t.forms[id], t.pods[id] = form, p
	return nil
}

// firstSave saves into an empty graph and store; types are known before. late has
// every pod encoded when all is placed.
func firstSave(t *testing.T, cfg Config, types map[string]pod.TypeID, late bool, pairs ...any) (map[pod.ID][]byte, int, map[string]pod.TypeID) {
	t.Helper()
	s := newFakeStore()
	maps.Copy(s.types, types)
	cfg.Secret = s.key
	g := mustGraph(t, cfg)
	g.late = late
	tx := &formTx{s.begin(), map[pod.ID][]byte{}, 0}
	saved, err := g.Save(context.Background(), rootsOf(pairs...), tx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	saved.Commit()
	mustStayQuiet(t, g, s, pairs...)
	_, got := reload(t, s, cfg, pairs...)
	for i := range got {
		if err := isomorphic(reflect.ValueOf(pairs[2*i+1]), got[i]); err != nil {
			t.Fatal(err)
		}
	}
	out := map[pod.ID][]byte{}
	for id, p := range tx.s.pods {
		out[id] = pod.AppendWhole(nil, p)
	}
	return out, len(tx.forms), s.types
}

// What is encoded while the walk goes on is what is encoded when everything is
// placed: bytes, references, exports and what these reach.
func TestPodsEncodedEarlyAreThoseEncodedLate(t *testing.T) {
	seed := testSeed(t)
	r := rand.New(rand.NewPCG(seed, 7))
	for round := range int(sample(12, 6, 3)) {
		cfg := Config{TargetBytes: 64 << r.IntN(9)}
		tree := rateTree(0, 1+r.IntN(3000))
		users := rateUsers(1 + r.IntN(300))
		x := dGraph(2+r.IntN(300), rand.New(rand.NewPCG(seed, uint64(round))))
		if round%4 > 0 { // a part found before its whole has all be placed again
			seen := map[*dNode]bool{}
			for todo := []*dNode{x}; len(todo) > 0; {
				d := todo[0]
				todo = todo[1:]
				if d != nil && !seen[d] {
					seen[d], d.Part = true, nil
					todo = append(append(todo, d.Next), d.Other...)
				}
			}
		}
		shared := struct {
			X     any
			Users map[string]*rateUser
			Tree  *rateNode
			Nodes []*dNode
		}{7, users, tree, []*dNode{x, x.Next, x}}
		pairs := []any{"tree", tree, "users", users, "x", x, "y", x.Next, "n", round, "shared", &shared}
		early, forms, types := firstSave(t, cfg, nil, false, pairs...)
		late, none, _ := firstSave(t, cfg, types, true, pairs...)
		if none != 0 || round%4 > 0 && cfg.TargetBytes < 512 && len(early) > 100 && forms == 0 {
			t.Fatalf("%d of %d pods were encoded early, and %d of those that were to be late", forms, len(early), none)
		}
		if len(early) != len(late) {
			t.Fatalf("%d and %d pods", len(early), len(late))
		}
		for id, b := range late {
			if !bytes.Equal(b, early[id]) {
				t.Fatalf("target %d: pod %d differs: %x and %x", cfg.TargetBytes, id, early[id], b)
			}
		}
	}
}

// A container that is found when parts of it were encoded already takes them over.
func TestContainersFoundAfterTheirPartsWereEncoded(t *testing.T) {
	type item struct {
		ID   int
		Name string
	}
	type all struct {
		Parts  []*int
		Items  []*item
		Few    []item
		Tree   *rateNode
		Whole  []item
		Longer []item
	}
	items := make([]item, 300)
	x := &all{Tree: rateTree(0, 2000), Whole: items, Few: items[:3:7]}
	for i := range items {
		items[i] = item{i, "item"}
		x.Parts = append(x.Parts, &items[i].ID)
		x.Items = append(x.Items, &items[(i*7)%300])
	}
	some := make([]item, 50)
	y := &all{Few: some[:2], Tree: x.Tree, Longer: some}
	for _, target := range []int{64, 1000, 8 << 10} {
		roundTripWith(t, Config{TargetBytes: target}, "x", x, "y", y)
		roundTripWith(t, Config{TargetBytes: target}, "y", y, "x", x)
	}
}

// Pods of a first save are full: of a list, a tree and a wide array no pod but the
// last few is less than a third of the target.
func TestPodsOfAFirstSaveAreFull(t *testing.T) {
	var list *dNode
	for i := range 5000 {
		list = &dNode{ID: i, Name: "a node of a list", Next: list}
	}
	var wide []*dNode
	for i := range 5000 {
		wide = append(wide, &dNode{ID: i, Name: "one of many"})
	}
	for _, v := range []any{list, &wide, rateTree(0, 5000)} {
		cfg := Config{TargetBytes: 4 << 10}
		pods, _, _ := firstSave(t, cfg, nil, false, "v", v)
		total, small := 0, 0
		for _, b := range pods {
			total += len(b)
			if len(b) < cfg.TargetBytes/3 {
				small++
			}
		}
		if most := total * 2 / cfg.TargetBytes; len(pods) > most+4 || small > 4 {
			t.Errorf("%T: %d bytes in %d pods, %d of them small", v, total, len(pods), small)
		}
	}
}

// SaveLast puts what Save does, and leaves the graph as it was.
func TestTheLastSavePutsWhatASaveDoes(t *testing.T) {
	ring := &dNode{ID: 1, Name: "in a ring"}
	ring.Next = &dNode{ID: 2, Next: ring}
	type cross struct {
		N    int
		Next *cross
		Back *cross // to one whose pod was encoded
	}
	var crossed []*cross
	for n := range 500 {
		x := &cross{N: n, Next: &cross{N: -n}}
		if n > 200 {
			x.Next.Back = crossed[n-200].Next
		}
		crossed = append(crossed, x)
	}
	for _, v := range []any{rateTree(0, 3000), rateUsers(300), ring, &crossed} {
		save := func(last bool) (*Graph, *formTx) {
			s := newFakeStore()
			s.key = [32]byte{1}
			g, tx := mustGraph(t, Config{Secret: s.key, TargetBytes: 512}), &formTx{s.begin(), map[pod.ID][]byte{}, 0}
			do := g.Save
			if last {
				do = g.SaveLast
			}
			saved, err := do(t.Context(), rootsOf("v", v), tx)
			if err != nil {
				t.Fatal(err)
			}
			saved.Abort()
			return g, tx
		}
		_, want := save(false)
		g, got := save(true)
		if len(got.pods) != len(want.pods) || len(got.pods) == 0 {
			t.Fatalf("%T: %d pods, of a save %d", v, len(got.pods), len(want.pods))
		}
		for id, p := range want.pods {
			if !bytes.Equal(pod.AppendWhole(nil, got.pods[id]), pod.AppendWhole(nil, p)) {
				t.Fatalf("%T: pod %d is another", v, id)
			}
		}
		if n := g.cur.regions.len(); n > 0 {
			t.Fatalf("%T: %d regions are known after it", v, n)
		}
	}
}

// The runs of an array are chosen when its pod is encoded. If it grows after that, the
// first save places and encodes everything anew, and chooses them anew.
func TestAnArrayGrowsAfterItsPodWasEncoded(t *testing.T) {
	type row struct {
		S string
		N int
	}
	type holder struct{ Rows []row }
	type root struct{ Early, Between, Late *holder }
	rows := make([]row, 9)
	for i := range 8 { // 29 bytes each: 8 of them in a run, and all 9 in one of 256
		rows[i] = row{strings.Repeat("x", 26), i}
	}
	v := &root{&holder{rows[:8]}, &holder{slices.Clone(rows[:8])}, &holder{rows}}
	firstSave(t, Config{TargetBytes: 64}, nil, false, "v", v)
}

// However many leaves hang on one region, and whether they are met before or after what
// leads on, no pod of small objects grows beyond its target.
func TestPodsOfLeavesAreBounded(t *testing.T) {
	type leaf struct{ A, B string }
	type inner struct{ Leaf *leaf }
	type mixed struct {
		Before [40]*leaf
		Inner  *inner
		Behind [40]*leaf
	}
	next := 0
	newLeaf := func() *leaf {
		next++
		return &leaf{fmt.Sprint("a", next), fmt.Sprint("b", next)}
	}
	many := make([]*leaf, 5_000)
	for i := range many {
		many[i] = newLeaf()
	}
	m := &mixed{Inner: &inner{newLeaf()}}
	for i := range m.Before {
		m.Before[i], m.Behind[i] = newLeaf(), newLeaf()
	}
	cfg := Config{TargetBytes: 512}
	forms, early, _ := firstSave(t, cfg, nil, false, "many", many, "mixed", m)
	if early < 100 {
		t.Fatalf("%d pods were encoded early", early)
	}
	big := 0
	for id, form := range forms {
		p := &pod.Pod{}
		if err := p.ReadWhole(form); err != nil {
			t.Fatal(err)
		}
		refers := false
		for _, s := range p.Slots {
			refers = refers || s.Kind == pod.SlotArray
		}
		if n := p.BodyLen(); n > 2*cfg.TargetBytes && !refers {
			t.Errorf("pod %d has %d bytes in %d slots", id, n, len(p.Slots))
			big++
		}
	}
	if big > 0 {
		t.Fatalf("%d of %d pods are too big", big, len(forms))
	}
}

// An array is written down, and after that a part of it is scanned again: a shorter one that
// has grown became a part of it. It keeps the runs in which it was written down.
func TestAnArrayThatWasWrittenDownTakesInOneThatGrew(t *testing.T) {
	rows := make([]string, 230)
	for i := range rows {
		rows[i] = fmt.Sprintf("string %03d", i)
	}
	type windows struct{ Long, Short, Longer, All []string }
	v := &windows{
		Long:   rows[:100:100],    // more than a chunk of the index: it is visited when all of v was met,
		Short:  rows[200:205:205], // and this at once,
		Longer: rows[200:230:230], // so that it is to be scanned again,
		All:    rows,              // after Long, which it is a part of then
	}
	firstSave(t, Config{}, nil, false, "v", v)
}
