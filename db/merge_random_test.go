package db_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/podder"
)

// plant is an object of the graphs that are merged at random. ID names it in all copies.
type plant struct {
	ID    int
	Name  string
	N     int
	Spot  spot
	Peer  *plant
	Kids  []*plant
	ByKey map[string]*plant
	Nums  map[int]int
	Spots map[string]spot
	Words []string
	Any   any
	Cells []spot
}

type spot struct{ X, Y int }

// garden is a graph in memory: variables, and all plants by ID.
type garden struct {
	vars map[string]*plant
	all  map[int]*plant
}

func newGarden(seed uint64) *garden {
	rng := rand.New(rand.NewPCG(seed, 1))
	g := &garden{map[string]*plant{}, map[int]*plant{}}
	n := 10 + rng.IntN(150)
	for i := range n {
		p := &plant{ID: i, Name: fmt.Sprint("plant ", i), Nums: map[int]int{}, ByKey: map[string]*plant{}, Spots: map[string]spot{"a": {1, i}, "b": {i, 2}}, Words: []string{"x", "y", "z"}}
		for k := range rng.IntN(20) {
			p.Nums[k] = i
		}
		g.all[i] = p
		if i > 0 { // a tree, and below references across it
			up := g.all[rng.IntN(i)]
			if rng.IntN(2) == 0 {
				up.Kids = append(up.Kids, p)
			} else {
				up.ByKey[p.Name] = p
			}
		}
	}
	for i := range n {
		g.all[i].Peer = g.all[rng.IntN(n)]
	}
	if seed%8 == 0 { // containers in chunks
		p := g.all[0]
		for k := range 20_000 {
			p.Nums[k] = k
			p.ByKey[fmt.Sprint("key ", k)] = g.all[k%n]
			p.Cells = append(p.Cells, spot{k, -k})
		}
	}
	g.vars["root"] = g.all[0]
	for i := range 4 {
		g.vars[fmt.Sprint("v", i)] = g.all[rng.IntN(n)]
	}
	return g
}

// reached are the plants that variables lead to, by ID.
func (g *garden) reached() map[int]*plant {
	seen := map[int]*plant{}
	var visit func(p *plant)
	visit = func(p *plant) {
		if p == nil || seen[p.ID] != nil {
			return
		}
		seen[p.ID] = p
		visit(p.Peer)
		for _, k := range p.Kids {
			visit(k)
		}
		for _, k := range p.ByKey {
			visit(k)
		}
		if k, ok := p.Any.(*plant); ok {
			visit(k)
		}
	}
	for _, p := range g.vars {
		visit(p)
	}
	return seen
}

// plantEdit changes one place of a graph.
type plantEdit struct {
	place string // that no other edit of either side changes, but for overlapping ones
	id    int    // of the plant that it changes; -1 is a variable
	do    func(g *garden)
}

// editor makes random edits of one side.
type editor struct {
	rng   *rand.Rand
	side  string
	base  *garden
	ids   int             // of new plants
	taken map[string]bool // places
	keep  bool            // drop no references
}

func (e *editor) old() int { return e.rng.IntN(len(e.base.all)) }

// plant is a new one, or an old one, by ID: the latter in each copy of the graph.
func (e *editor) plant() func(g *garden) *plant {
	if e.rng.IntN(2) == 0 {
		id := e.old()
		return func(g *garden) *plant { return g.all[id] }
	}
	e.ids++
	id, peer := e.ids, e.old()
	return func(g *garden) *plant {
		if g.all[id] == nil {
			g.all[id] = &plant{ID: id, Name: e.side + fmt.Sprint(id), Peer: g.all[peer], Nums: map[int]int{id: id}, Words: []string{e.side}, ByKey: map[string]*plant{}, Spots: map[string]spot{}}
		}
		return g.all[id]
	}
}

func (e *editor) edit() plantEdit {
	id, val := e.old(), e.rng.IntN(1<<20)+1<<20
	text := fmt.Sprint(e.side, val)
	p := e.base.all[id]
	at := func(f string, do func(p *plant, g *garden)) plantEdit {
		return plantEdit{fmt.Sprint(id, ".", f), id, func(g *garden) { do(g.all[id], g) }}
	}
	switch k := e.rng.IntN(16); k {
	case 0:
		return at("Name", func(p *plant, _ *garden) { p.Name = text })
	case 1:
		return at("N", func(p *plant, _ *garden) { p.N = val })
	case 2:
		return at("Spot.X", func(p *plant, _ *garden) { p.Spot.X = val })
	case 3:
		return at("Spot.Y", func(p *plant, _ *garden) { p.Spot.Y = val })
	case 4, 5:
		key := e.rng.IntN(max(30, len(p.Nums)))
		if k == 4 {
			return at(fmt.Sprint("Nums", key), func(p *plant, _ *garden) { delete(p.Nums, key) })
		}
		return at(fmt.Sprint("Nums", key), func(p *plant, _ *garden) { p.Nums[key] = val })
	case 6:
		key := string(rune('a' + e.rng.IntN(4)))
		return at("Spots"+key, func(p *plant, _ *garden) { p.Spots[key] = spot{val, val} })
	case 7:
		i := e.rng.IntN(3)
		return at(fmt.Sprint("Words", i), func(p *plant, _ *garden) { p.Words[i] = text })
	case 8:
		to := e.plant()
		return at("Any", func(p *plant, g *garden) { p.Any = to(g) })
	case 9:
		to, key := e.plant(), fmt.Sprint(e.side, e.rng.IntN(100))
		return at("ByKey"+key, func(p *plant, g *garden) { p.ByKey[key] = to(g) })
	case 10:
		to, name := e.plant(), fmt.Sprint("new ", e.side, e.rng.IntN(3))
		return plantEdit{name, -1, func(g *garden) { g.vars[name] = to(g) }}
	case 11:
		if len(p.Cells) > 0 {
			i := e.rng.IntN(len(p.Cells))
			return at(fmt.Sprint("Cells", i), func(p *plant, _ *garden) { p.Cells[i].Y = val })
		}
		return at("N", func(p *plant, _ *garden) { p.N = val })
	case 12:
		// Elements of Kids are not edited, so that one side may append.
		to := e.plant()
		return at("Kids", func(p *plant, g *garden) { p.Kids = append(p.Kids, to(g)) })
	}
	if e.keep {
		return at("Name", func(p *plant, _ *garden) { p.Name = text })
	}
	switch e.rng.IntN(4) {
	case 0:
		name := fmt.Sprint("v", e.rng.IntN(4))
		return plantEdit{name, -1, func(g *garden) { delete(g.vars, name) }}
	case 1:
		if len(p.ByKey) == 0 {
			break
		}
		keys := slices.Sorted(maps.Keys(p.ByKey))
		key := keys[e.rng.IntN(len(keys))]
		return at("ByKey"+key, func(p *plant, _ *garden) { delete(p.ByKey, key) })
	case 2:
		return at("Kids", func(p *plant, _ *garden) { p.Kids = nil })
	}
	to := e.plant()
	return at("Peer", func(p *plant, g *garden) { p.Peer = to(g) })
}

// edits makes n of them at places of their own.
func (e *editor) edits(n int) (list []plantEdit) {
	for len(list) < n {
		x := e.edit()
		if !e.taken[x.place] {
			e.taken[x.place] = true
			list = append(list, x)
		}
	}
	return list
}

// open is the graph of a namespace.
func openGarden(t *testing.T, ns *db.Namespace, names []string) *garden {
	t.Helper()
	g := &garden{vars: map[string]*plant{}}
	for _, n := range names {
		g.vars[n] = must(db.Get[*plant](context.Background(), ns, n))(t)
	}
	g.all = g.reached()
	return g
}

func gardenNames(t *testing.T, d *db.DB, branch string) (names []string) {
	t.Helper()
	ctx := context.Background()
	err := d.View(ctx, func(ctx context.Context, s *db.Snapshot) error {
		for n, err := range s.Names(ctx, "") {
			if err != nil {
				return err
			}
			names = append(names, n)
		}
		return nil
	}, db.ViewOptions{Branch: branch})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// run applies edits to a branch, in some saves. It reports whether something came back that
// was not reached in a version between: to the branch that is a new object.
func (g *garden) run(t *testing.T, ns *db.Namespace, edits []plantEdit, rng *rand.Rand) (back bool) {
	t.Helper()
	away := map[int]bool{}
	bound := maps.Clone(g.vars)
	for i, e := range edits {
		e.do(g)
		if i < len(edits)-1 && rng.IntN(4) > 0 {
			continue
		}
		for n := range bound {
			if g.vars[n] == nil {
				if err := ns.Delete(context.Background(), n); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n, p := range g.vars {
			if bound[n] != p {
				set(t, ns, n, p)
			}
		}
		bound = maps.Clone(g.vars)
		save(t, ns)
		now := g.reached()
		for id := range g.all {
			back = back || away[id] && now[id] != nil
			away[id] = now[id] == nil
		}
	}
	return back
}

// graphText writes a graph down, with objects numbered in the order in which they are met.
func graphText(g *garden) string {
	var b strings.Builder
	seen := map[any]int{}
	var write func(v reflect.Value)
	known := func(v reflect.Value, key any) bool {
		n, ok := seen[key]
		if !ok {
			n = len(seen)
			seen[key] = n
		}
		fmt.Fprintf(&b, "#%d", n)
		return ok
	}
	write = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() {
				b.WriteString("nil")
			} else if !known(v, v.Interface()) {
				write(v.Elem())
			}
		case reflect.Interface:
			if v.IsNil() {
				b.WriteString("nil")
			} else {
				write(v.Elem())
			}
		case reflect.Slice:
			if v.IsNil() {
				b.WriteString("nil")
				return
			}
			b.WriteString("[")
			for i := range v.Len() {
				write(v.Index(i))
				b.WriteString(" ")
			}
			b.WriteString("]")
		case reflect.Map:
			if v.IsNil() {
				b.WriteString("nil")
				return
			}
			if known(v, v.UnsafePointer()) {
				return
			}
			keys := v.MapKeys()
			slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
			b.WriteString("{")
			for _, k := range keys {
				fmt.Fprintf(&b, "%v:", k)
				write(v.MapIndex(k))
				b.WriteString("\n ")
			}
			b.WriteString("}")
		case reflect.Struct:
			b.WriteString("{")
			for i := range v.NumField() {
				fmt.Fprintf(&b, "%s:", v.Type().Field(i).Name)
				write(v.Field(i))
				b.WriteString(" ")
			}
			b.WriteString("}\n")
		default:
			fmt.Fprintf(&b, "%v", v)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(g.vars)) {
		fmt.Fprintf(&b, "%s = ", n)
		write(reflect.ValueOf(g.vars[n]))
	}
	return b.String()
}

// differAt shows where two texts part.
func differAt(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	cut := func(s string) string { return s[max(0, min(i, len(s))-200):min(len(s), i+200)] }
	return fmt.Sprintf("at %d:\n%s\n---- expected ----\n%s", i, cut(a), cut(b))
}

// lostEdits are the plants that a side edited, and reaches, and that the merged graph does not.
func lostEdits(alone, both *garden, edits []plantEdit) (lost []int) {
	a, m := alone.reached(), both.reached()
	for _, e := range edits {
		if e.id >= 0 && a[e.id] != nil && m[e.id] == nil {
			lost = append(lost, e.id)
		}
	}
	return lost
}

// Random edits at places of their own on two branches, merged in either direction: what is
// loaded then is the graph with all edits, made in memory. Where edits of one side are cut
// off by the other there is a conflict, and nowhere else.
func TestMergeOfRandomEdits(t *testing.T) {
	seeds := uint64(40)
	switch {
	case *deep:
		seeds = 150
	case testing.Short():
		seeds = 16
	}
	clean, cut := 0, 0
	for seed := range seeds {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			if whole, _, _ := mergeRandom(t, seed, nil); whole {
				clean++
			} else {
				cut++
			}
		})
	}
	t.Logf("%d compared, %d with edits that are cut off", clean, cut)
	if seeds >= 40 && (clean < int(seeds)/4 || cut < int(seeds)/8) {
		t.Errorf("%d and %d: the test proves little", clean, cut)
	}
}

// Where saves of both branches moved objects from pod to pod, merges have the same conflicts and the same result.
func TestMergeOfRandomEditsWithRepod(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 8
	}
	moved := uint64(0)
	for seed := range seeds {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			_, want, _ := mergeRandom(t, seed, nil)
			_, got, n := mergeRandom(t, seed, &db.Options{Strategy: podder.Restless(seed)})
			if got != want {
				t.Error(differAt(got, want))
			}
			moved += n
		})
	}
	if moved < 100 {
		t.Errorf("%d objects were moved: the test proves little", moved)
	}
}

// mergeRandom reports whether no edit is cut off, the conflicts and results of merges in both directions, and how many
// objects saves moved.
func mergeRandom(t *testing.T, seed uint64, o *db.Options) (whole bool, outcome string, moved uint64) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), sampleName)
	d := must(db.Open(ctx, path, o))(t)
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 2))
	base := newGarden(seed)
	ns := namespace(t, d)
	for n, p := range base.vars {
		set(t, ns, n, p)
	}
	v1 := save(t, ns)
	if err := d.Branch(ctx, "other", v1); err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(base.vars))
	taken := map[string]bool{}
	n := 1 + rng.IntN(40)
	keep := seed%3 == 0
	edits := [2][]plantEdit{
		(&editor{rng: rng, side: "ours", base: base, ids: 10_000, taken: taken, keep: keep}).edits(n),
		(&editor{rng: rng, side: "theirs", base: base, ids: 20_000, taken: taken, keep: keep}).edits(n),
	}
	var alone [2]*garden
	back := false
	for i, branch := range []string{"main", "other"} {
		ns := must(d.Namespace(ctx, branch))(t)
		back = openGarden(t, ns, names).run(t, ns, edits[i], rng) || back
		alone[i] = newGarden(seed)
		for _, e := range edits[i] {
			e.do(alone[i])
		}
		// The branch is what its edits make of base, or the test is wrong.
		if got, want := graphText(openGarden(t, must(d.Namespace(ctx, branch))(t), gardenNames(t, d, branch))), graphText(alone[i]); got != want {
			t.Fatalf("branch %s: %s", branch, differAt(got, want))
		}
	}
	want := newGarden(seed)
	for _, list := range edits {
		for _, e := range list {
			e.do(want)
		}
	}
	lost := append(lostEdits(alone[0], want, edits[0]), lostEdits(alone[1], want, edits[1])...)
	// What a side edited and then let go of itself, it has not edited in its newest version.
	for i, list := range edits {
		a, m := alone[i].reached(), want.reached()
		for _, e := range list {
			back = back || e.id >= 0 && a[e.id] == nil && m[e.id] != nil
		}
	}
	expected := graphText(want)
	for _, b := range []string{"main", "other"} {
		if err := d.Branch(ctx, "of "+b, must(d.Head(ctx, b))(t)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range [][2]string{{"main", "other"}, {"of other", "of main"}} {
		r, err := d.Merge(ctx, db.MergeOptions{Into: dir[0], From: dir[1], DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if (len(r.Conflicts) > 0) != (len(lost) > 0) && !back {
			t.Fatalf("conflicts:\n%s\nplants that are cut off: %v", conflictTexts(r.Conflicts), lost)
		}
		outcome += conflictTexts(r.Conflicts)
		if r, err = d.Merge(ctx, db.MergeOptions{Into: dir[0], From: dir[1], Resolve: db.TakeOurs}); err != nil {
			t.Fatal(err)
		}
		ns := must(d.Namespace(ctx, dir[0]))(t)
		got := openGarden(t, ns, gardenNames(t, d, dir[0]))
		outcome += graphText(got)
		if text := graphText(got); len(lost) == 0 && !back && text != expected {
			t.Fatalf("into %s: %s", dir[0], differAt(text, expected))
		}
		if v := save(t, ns); v != r.Version {
			t.Fatalf("a load and save after Merge into %s wrote version %d:\n%s", dir[0], v, changes(t, d, r.Version, v))
		}
	}
	moved = d.Stats().SlotsMoved
	verifyDeep(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, path, o))(t)
	ns = namespace(t, d)
	if text := graphText(openGarden(t, ns, gardenNames(t, d, "main"))); len(lost) == 0 && !back && text != expected {
		t.Fatalf("after opening: %s", differAt(text, expected))
	}
	return len(lost) == 0 && !back, outcome, moved
}
