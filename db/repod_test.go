package db_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/podder"
)

type rpDoc struct {
	Title string
	Items []*rpItem
	ByKey map[string]*rpItem
	First *rpItem
}

type rpItem struct {
	N    int
	Text string
	Sub  *rpItem
}

func rpMake() *rpDoc {
	d := &rpDoc{Title: "t", ByKey: map[string]*rpItem{}}
	for i := range 12 {
		d.Items = append(d.Items, &rpItem{N: i, Text: fmt.Sprint("item ", i), Sub: &rpItem{N: 100 + i}})
		d.ByKey[fmt.Sprint("k", i)] = &rpItem{N: 200 + i}
	}
	d.First = &rpItem{N: 300}
	return d
}

// rpUntilMoved saves until objects have moved. Then Title is another, and all else what it was.
func rpUntilMoved(t *testing.T, ns *db.Namespace, d *rpDoc) (before, after db.Version) {
	t.Helper()
	before = ns.Base()
	for n, moved := 0, 0; moved < 10; n++ {
		if n == 100 {
			t.Fatal("nothing was moved")
		}
		d.Title = fmt.Sprint("title ", n)
		for _, by := range []int{1, -1} {
			for i := range d.Items {
				d.Items[i].N += by
				d.Items[i].Sub.N += by
			}
			after = save(t, ns)
			moved += ns.LastSave().SlotsMoved
		}
	}
	return before, after
}

func rpOpen(t *testing.T, seed uint64) (*db.DB, *db.Namespace, *rpDoc) {
	t.Helper()
	d, err := db.OpenMemory(t.Context(), &db.Options{Strategy: podder.Restless(seed), VerifyEvery: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	ns, err := d.Namespace(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	doc := rpMake()
	if err := ns.Set(t.Context(), "x", doc); err != nil {
		t.Fatal(err)
	}
	save(t, ns)
	doc.Title = "again"
	save(t, ns)
	return d, ns, doc
}

func rpDiff(t *testing.T, d *db.DB, a, b db.Version) (list []string) {
	t.Helper()
	for c, err := range d.Diff(t.Context(), a, b) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c.String())
	}
	return list
}

// Of objects that moved to other pods Diff says what changed in them, and nothing of the move;
// nor does it of any other pair of versions around it.
func TestDiffSaysNothingOfObjectsThatLeftTheirPods(t *testing.T) {
	for seed := range uint64(6) {
		d, ns, doc := rpOpen(t, seed)
		before, after := rpUntilMoved(t, ns, doc)
		if got := rpDiff(t, d, before, after); len(got) != 1 {
			t.Errorf("seed %d, forward: %q", seed, got)
		}
		if got := rpDiff(t, d, after, before); len(got) != 1 {
			t.Errorf("seed %d, backward: %q", seed, got)
		}
		doc.Items[3].N, doc.ByKey["k5"].N, doc.First.N = -3, -5, -1
		doc.Items[7].Sub.N = -7
		doc.Items = slices.Insert(doc.Items, 2, &rpItem{N: 77})
		last := save(t, ns)
		if got := rpDiff(t, d, before, last); len(got) != 6 {
			t.Errorf("seed %d, after: %q", seed, got)
		}
	}
}

// What others changed in an object that moved meanwhile is merged into it where it is now.
func TestMergeFindsObjectsThatLeftTheirPods(t *testing.T) {
	for seed := range uint64(6) {
		d, ns, doc := rpOpen(t, seed)
		if err := d.Branch(t.Context(), "other", ns.Base()); err != nil {
			t.Fatal(err)
		}
		other, err := d.Namespace(t.Context(), "other")
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := db.Get[*rpDoc](t.Context(), other, "x")
		if err != nil {
			t.Fatal(err)
		}
		rpUntilMoved(t, ns, doc)
		theirs.Items[3].N, theirs.ByKey["k5"].N, theirs.First.N, theirs.Items[7].Sub.N = -3, -5, -1, -7
		save(t, other)
		rep, err := d.Merge(t.Context(), db.MergeOptions{Into: "main", From: "other"})
		if err != nil || len(rep.Conflicts) > 0 {
			t.Fatal(seed, err, rep.Conflicts)
		}
		merged, err := d.Namespace(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		x, err := db.Get[*rpDoc](t.Context(), merged, "x")
		if err != nil {
			t.Fatal(err)
		}
		if x.Items[3].N != -3 || x.ByKey["k5"].N != -5 || x.First.N != -1 || x.Items[7].Sub.N != -7 || len(x.Items) != 12 || x.Title != doc.Title {
			t.Errorf("seed %d: %+v %+v", seed, x.Items[3], x.First)
		}
	}
}

// A checkout of a version before objects moved gives them back their contents where they are in
// memory.
func TestCheckoutKeepsTheAddressesOfObjectsThatLeftTheirPods(t *testing.T) {
	for seed := range uint64(6) {
		_, ns, doc := rpOpen(t, seed)
		before, _ := rpUntilMoved(t, ns, doc)
		doc.Items[3].Sub.N, doc.First.N = -1, -2
		save(t, ns)
		items, first := slices.Clone(doc.Items), doc.First
		var subs []*rpItem
		for _, x := range items {
			subs = append(subs, x.Sub)
		}
		if err := ns.Checkout(t.Context(), before, db.CheckoutOptions{}); err != nil {
			t.Fatal(err)
		}
		if doc.First != first || first.N != 300 || doc.Items[3].Sub.N != 103 {
			t.Errorf("seed %d: first %p %+v, was %p; %+v", seed, doc.First, doc.First, first, doc.Items[3].Sub)
		}
		for i, x := range doc.Items {
			if x != items[i] || x.Sub != subs[i] {
				t.Errorf("seed %d: item %d moved in memory", seed, i)
			}
		}
		subs[3].N = -4
		save(t, ns)
		if doc.Items[3].Sub.N != -4 {
			t.Errorf("seed %d: what was changed is not what is stored", seed)
		}
	}
}

// Branches that merge each other again and again, while saves of both move objects, have what either changed, and
// never a conflict. A load and save after each merge writes nothing.
func TestMergesAgainAndAgainWhileObjectsMove(t *testing.T) {
	moved := 0
	for seed := range uint64(6) {
		d, ns, doc := rpOpen(t, seed)
		if err := d.Branch(t.Context(), "other", ns.Base()); err != nil {
			t.Fatal(err)
		}
		want := map[int]int{}
		open := func(branch string) (*db.Namespace, *rpDoc) {
			ns := must(d.Namespace(t.Context(), branch))(t)
			return ns, must(db.Get[*rpDoc](t.Context(), ns, "x"))(t)
		}
		for round := range 8 {
			// Each branch changes every other item, and what saves move is another part each time.
			for side, branch := range []string{"main", "other"} {
				ns, x := open(branch)
				for n := range 4 + 3*side + 2*round {
					for i := side; i < len(doc.Items); i += 2 {
						value := 1000*round + 100*side + 10*n + i
						x.Items[i].N, x.Items[i].Sub.N = value, -value
						want[i] = value
					}
					save(t, ns)
					moved += ns.LastSave().SlotsMoved
				}
			}
			into, from := "main", "other"
			if (round+int(seed))%3 == 0 {
				into, from = from, into
			}
			r, err := d.Merge(t.Context(), db.MergeOptions{Into: into, From: from})
			if err != nil || len(r.Conflicts) > 0 {
				t.Fatalf("seed %d, round %d: %v %v", seed, round, err, r.Conflicts)
			}
			ns, x := open(into)
			for i, v := range want {
				if x.Items[i].N != v || x.Items[i].Sub.N != -v {
					t.Fatalf("seed %d, round %d, item %d: %+v, want %d", seed, round, i, x.Items[i], v)
				}
			}
			if v := save(t, ns); v != r.Version {
				t.Fatalf("seed %d, round %d: a load and save after Merge wrote version %d", seed, round, v)
			}
			verifyDeep(t, d)
		}
	}
	if moved < 60 {
		t.Errorf("%d objects were moved: the test proves little", moved)
	}
	t.Logf("%d moved", moved)
}
