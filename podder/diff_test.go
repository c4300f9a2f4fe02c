package podder

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// countingSource counts the pods that are read.
type countingSource struct {
	*fakeStore
	read int
}

func (s *countingSource) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	s.read += len(ids)
	return s.fakeStore.Pods(ctx, ids)
}

// diffWorld saves variables again and again and keeps every version.
type diffWorld struct {
	t     *testing.T
	g     *Graph
	store *fakeStore
	roots map[string]Root
}

func newDiffWorld(t *testing.T) *diffWorld {
	store := newFakeStore()
	conf := store.config()
	conf.Registry = NewRegistry()
	g, err := NewGraph(conf)
	if err != nil {
		t.Fatal(err)
	}
	return &diffWorld{t, g, store, map[string]Root{}}
}

func (w *diffWorld) set(name string, v any) {
	w.roots[name] = Root{Name: name, Value: reflect.ValueOf(v), Pod: w.roots[name].Pod}
}

func (w *diffWorld) save() *countingSource {
	w.t.Helper()
	var roots []Root
	for _, n := range slices.Sorted(maps.Keys(w.roots)) {
		roots = append(roots, w.roots[n])
	}
	tx := w.store.begin()
	saved, err := w.g.Save(context.Background(), roots, tx)
	if err == nil {
		err = tx.commit()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	saved.Commit()
	for n, id := range saved.Roots {
		r := w.roots[n]
		r.Pod = id
		w.roots[n] = r
	}
	return &countingSource{fakeStore: &fakeStore{pods: maps.Clone(w.store.pods), types: maps.Clone(w.store.types), names: maps.Clone(w.store.names), key: w.store.key}}
}

func diffOf(t *testing.T, a, b *countingSource) []Change {
	t.Helper()
	in := DiffInput{A: a, B: b}
	for id := range b.pods {
		if a.pods[id] == nil || !reflect.DeepEqual(a.pods[id], b.pods[id]) {
			in.Changed = append(in.Changed, id)
		}
	}
	for id := range a.pods {
		if b.pods[id] == nil {
			in.Changed = append(in.Changed, id)
		}
	}
	in.Names = append(slices.Collect(maps.Keys(a.names)), slices.Collect(maps.Keys(b.names))...)
	of := func(in DiffInput) (list []Change) {
		if err := Diff(context.Background(), in, func(c Change) bool { list = append(list, c); return true }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	a.read, b.read = 0, 0
	list := of(in)
	read := [2]int{a.read, b.read}
	if near := of(nearInput(in, a, b)); !slices.Equal(near, list) {
		t.Fatalf("with the variables near to what changed: %v, expected %v", near, list)
	}
	a.read, b.read = read[0], read[1]
	return list
}

// nearInput is a diff that has to ask for variables that are not near to what changed.
func nearInput(in DiffInput, a, b *countingSource) DiffInput {
	var all, near []DiffVariable
	for _, n := range slices.Compact(slices.Sorted(slices.Values(in.Names))) {
		r := DiffVariable{Name: n, A: a.names[n], B: b.names[n]}
		if all = append(all, r); r.A != r.B || slices.Contains(in.Changed, r.B) {
			near = append(near, r)
		}
	}
	in.Names, in.Variables = nil, near
	in.All = func() ([]DiffVariable, error) { return all, nil }
	return in
}

type diffNode struct {
	ID    int
	Text  string
	Links []*diffNode
	By    map[string]*diffNode
	Any   any
	Nums  []int
	In    struct{ A, B int }
}

// Random graphs, with cycles, shared objects, maps and interfaces, changed at random: the
// diff has one change for each edit, with the values of that edit, at a path that leads to it;
// and the other way round the same with old and new exchanged.
func TestDiffOfRandomGraphsNamesTheEdits(t *testing.T) {
	for seed := range sample(40, 15, 4) {
		rng := rand.New(rand.NewPCG(seed, 6))
		w := newDiffWorld(t)
		var nodes []*diffNode
		for i := range 2 + rng.IntN(600) {
			n := &diffNode{ID: 1_000_000 * (i + 1), Text: strings.Repeat("t", rng.IntN(80)), By: map[string]*diffNode{}, Nums: make([]int, rng.IntN(4))}
			if i > 0 { // all are reached
				up := nodes[rng.IntN(i)]
				switch rng.IntN(3) {
				case 0:
					up.Links = append(up.Links, n)
				case 1:
					up.By[fmt.Sprint(i)] = n
				default:
					up.Any = []any{up.Any, n}
				}
			}
			nodes = append(nodes, n)
			n.Links = append(n.Links, nodes[rng.IntN(len(nodes))])
		}
		w.set("root", nodes[0])
		w.set("some", &map[string]*diffNode{"x": nodes[len(nodes)/2]})
		before := w.save()
		for round := range 4 {
			want := map[string]bool{}
			for _, i := range rng.Perm(len(nodes))[:1+rng.IntN(min(len(nodes), 5))] {
				n, fresh := nodes[i], 1000*(round+1)+rng.IntN(1000)
				switch rng.IntN(5) {
				case 0, 1:
					want[editKey(ValueChanged, n.ID, n.ID+fresh)] = true
					n.ID += fresh
				case 2:
					text := fmt.Sprint("text ", seed, round, i)
					was, is := textsShown(n.Text, text)
					want[editKey(ValueChanged, was, is)] = true
					n.Text = text
				case 3:
					n.Nums = append(n.Nums, n.ID+fresh)
					want[editKey(ValueAdded, "", n.ID+fresh)] = true
				case 4:
					want[editKey(ValueChanged, n.In.B, n.ID+fresh)] = true
					n.In.B = n.ID + fresh
				}
			}
			after := w.save()
			checkDiff(t, seed, diffOf(t, before, after), want, after)
			back := map[string]bool{}
			for _, c := range diffOf(t, after, before) {
				if c.Kind == ValueRemoved {
					c.Kind, c.Old, c.New = ValueAdded, "", c.Old
				} else {
					c.Old, c.New = c.New, c.Old
				}
				back[editKey(c.Kind, c.Old, c.New)] = true
			}
			if !maps.Equal(back, want) {
				t.Fatalf("seed %d, backwards: %v, want %v", seed, back, want)
			}
			before = after
		}
	}
}

func checkDiff(t *testing.T, seed uint64, list []Change, want map[string]bool, now *countingSource) {
	t.Helper()
	got := map[string]bool{}
	for _, c := range list {
		key := editKey(c.Kind, c.Old, c.New)
		if !want[key] || got[key] {
			t.Fatalf("seed %d: %v is no edit, or told twice; edits %v", seed, c, want)
		}
		got[key] = true
		if shown := jsonOf(t, now, c.Path, JSONOptions{}); shown != c.New {
			t.Fatalf("seed %d: %v: at that path is %s", seed, c, shown)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("seed %d: %v, want %v", seed, list, want)
	}
}

// One change among many objects: few pods are read, however many there are, whether they
// hang in a list, a map, or a tree.
func TestDiffReadsWhatDiffers(t *testing.T) {
	const n = 100_000
	list := make([]*diffNode, n)
	byName := make(map[string]*diffNode, n)
	for i := range list {
		list[i] = &diffNode{ID: i, Text: "some text of an object"}
		byName["key "+strconv.Itoa(i)] = &diffNode{ID: i}
	}
	var tree func(depth int) *diffNode
	leaf := 0
	var leaves []*diffNode
	tree = func(depth int) *diffNode {
		x := &diffNode{ID: leaf, Text: "some text of an object"}
		leaf++
		if depth == 0 {
			leaves = append(leaves, x)
			return x
		}
		for range 10 {
			x.Links = append(x.Links, tree(depth-1))
		}
		return x
	}
	root := tree(4)
	for _, c := range []struct {
		what  string
		value any
		one   *diffNode
		part  int // of the pods that may be read
	}{
		{"list", &list, list[n/2], 8},
		{"map", &byName, byName["key 777"], 2}, // its chunks, in the order of hashes, tell nothing of what they lead to
		{"tree", root, leaves[len(leaves)*2/3], 8},
	} {
		w := newDiffWorld(t)
		w.set("x", c.value)
		a := w.save()
		c.one.Text = "changed"
		b := w.save()
		got := diffOf(t, a, b)
		if len(got) != 1 || got[0].New != `"changed"` {
			t.Fatalf("%s: %v", c.what, got)
		}
		t.Logf("%s: %d of %d pods read of one version, %d of the other: %v", c.what, b.read, len(b.pods), a.read, got[0])
		if b.read > len(b.pods)/c.part || a.read > 4 {
			t.Errorf("%s: %d and %d of %d pods read for one change", c.what, a.read, b.read, len(b.pods))
		}
	}
}

// A list a million nodes long that changes at its end: an answer, not a dead process.
func TestDiffOfALongList(t *testing.T) {
	n := 300_000
	if testing.Short() {
		n = 30_000
	}
	type link struct {
		N    int
		Next *link
	}
	head := &link{}
	last := head
	for i := range n {
		last.Next = &link{N: i}
		last = last.Next
	}
	w := newDiffWorld(t)
	w.set("x", head)
	a := w.save()
	last.N = -1
	b := w.save()
	got := diffOf(t, a, b)
	if len(got) != 1 || got[0].New != "-1" || len(got[0].Path) != len("x.N")+n*len(".Next") {
		t.Fatalf("%d changes, %.100v", len(got), got)
	}
}

// What the keys of alignment promise: matches rise on both sides, and are equal; what is
// taken off a list or put into it leaves all else matched.
func TestAlignment(t *testing.T) {
	key := func(i int) elemKey { return elemKey{1, byte(i), byte(i >> 8)} }
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var a, b []elemKey
		kept := 0
		for i := range rng.IntN(40) {
			k := key(i)
			switch rng.IntN(6) {
			case 0:
				a = append(a, k)
			case 1:
				b = append(b, k)
			default:
				a, b = append(a, k), append(b, k)
				kept++
			}
		}
		if pairs := alignKeys(a, b); len(pairs) != kept {
			t.Fatalf("seed %d: %d matched, %d are in both", seed, len(pairs), kept)
		}
		for i := range a { // any lists, with repetitions
			a[i] = key(rng.IntN(8))
		}
		pairs := alignKeys(a, b)
		if !sort.SliceIsSorted(pairs, func(i, k int) bool { return pairs[i][0] < pairs[k][0] }) {
			t.Fatalf("seed %d: %v", seed, pairs)
		}
		for i, p := range pairs {
			if a[p[0]] != b[p[1]] || i > 0 && (p[0] <= pairs[i-1][0] || p[1] <= pairs[i-1][1]) {
				t.Fatalf("seed %d: %v", seed, pairs)
			}
		}
	}
}

func editKey(kind ChangeKind, was, is any) string { return fmt.Sprintf("%v: %v → %v", kind, was, is) }

// Damaged pods: a diff of them is an error or some differences, never a panic, and it ends.
func TestDiffOfDamagedPods(t *testing.T) {
	w := newDiffWorld(t)
	var nodes []*diffNode
	for i := range 60 {
		n := &diffNode{ID: i, Text: strings.Repeat("text", i), By: map[string]*diffNode{}, Nums: make([]int, i%7), Any: []any{i, "x", nodes}}
		if i > 0 {
			n.Links = append(n.Links, nodes[i/2], nodes[i-1])
			n.By["up"] = nodes[i/3]
			nodes[i/2].Links = append(nodes[i/2].Links, n)
		}
		nodes = append(nodes, n)
	}
	w.set("root", nodes[0])
	w.set("long", &nodes)
	a := w.save()
	nodes[30].ID, nodes[40].Links, nodes[50].By["new"] = -1, nil, &diffNode{ID: 1000}
	b := w.save()
	failed := 0
	for seed := range sample(400, 200, 50) {
		rng := rand.New(rand.NewPCG(seed, 7))
		bad := &countingSource{fakeStore: &fakeStore{pods: maps.Clone(b.pods), types: b.types, names: b.names, key: b.key}}
		for range 1 + rng.IntN(3) {
			ids := slices.Sorted(maps.Keys(bad.pods))
			id := ids[rng.IntN(len(ids))]
			p := lent(bad.pods[id])
			if rng.IntN(8) == 0 && len(p.Refs) > 0 {
				p.Refs[rng.IntN(len(p.Refs))] = pod.Ref{Pod: ids[rng.IntN(len(ids))], Slot: pod.Slot(rng.IntN(9))}
			}
			d := &p.Slots[rng.IntN(len(p.Slots))]
			if d.Bytes = slices.Clone(d.Bytes); len(d.Bytes) > 0 {
				d.Bytes[rng.IntN(len(d.Bytes))] ^= 1 << rng.IntN(8)
			}
			bad.pods[id] = p
		}
		for _, in := range []DiffInput{{A: a, B: bad}, {A: bad, B: b}} {
			in.Changed, in.Names = slices.Sorted(maps.Keys(b.pods)), []string{"root", "long"}
			told := 0
			err := Diff(context.Background(), in, func(Change) bool { told++; return told < 10_000 })
			if err != nil {
				failed++
			}
			if _, err := DiffAt(context.Background(), in, "root.Links[0]", func(Change) bool { return true }); err != nil {
				failed++
			}
		}
	}
	if failed == 0 {
		t.Fatal("no damage was found: the test proves nothing")
	}
}

// A number in a table of references that means another pod now: the bytes of the slots that
// use it are the same, and what they lead to is not.
func TestDiffSeesReferencesThatWereRenumbered(t *testing.T) {
	box := func(b ...byte) pod.Data { return pod.Data{Kind: pod.SlotObject, Type: typeAny, Bytes: b} }
	a := &pod.Pod{Refs: []pod.Ref{{Pod: 2}}, Slots: []pod.Data{box(0)}}
	b := &pod.Pod{Refs: []pod.Ref{{Pod: 3}}, Slots: []pod.Data{box(0)}}
	if got := changedSlots(a, a); len(got) != 0 {
		t.Errorf("the same pod: %v", got)
	}
	if got := changedSlots(a, b); len(got) != 1 {
		t.Errorf("another reference: %v", got)
	}
}

// An object that changed and hangs on a new one now is still compared with itself.
func TestDiffOfWhatMovedBehindANewObject(t *testing.T) {
	w := newDiffWorld(t)
	old := &diffNode{ID: 7}
	root := &diffNode{Links: []*diffNode{old}}
	w.set("root", root)
	w.set("other", &diffNode{Any: old})
	a := w.save()
	root.Any, root.Links = &diffNode{Links: []*diffNode{old}}, nil
	old.ID = 8
	delete(w.roots, "other")
	w.store.names = maps.Clone(w.store.names)
	delete(w.store.names, "other")
	b := w.save()
	var told []string
	for _, c := range diffOf(t, a, b) {
		told = append(told, c.Path+" "+c.Old+" "+c.New)
	}
	if !slices.Contains(told, "root.Any.Links[0].ID 7 8") {
		t.Errorf("%q", told)
	}
}
