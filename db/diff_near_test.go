package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// nearNode is a node of a graph that several variables share.
type nearNode struct {
	N     int
	Text  string
	Links []*nearNode
	By    map[string]*nearNode
}

// nearWorld is variables on some branches, changed at random.
type nearWorld struct {
	t        *testing.T
	d        *db.DB
	rng      *rand.Rand
	branches []string
	live     map[string]*nearBranch
	next     int
}

type nearBranch struct {
	ns    *db.Namespace
	roots map[string]*nearNode
}

func (w *nearWorld) node() *nearNode {
	w.next++
	return &nearNode{N: w.next, Text: strings.Repeat("t", w.rng.IntN(200)), By: map[string]*nearNode{}}
}

// all returns the nodes that a branch's variables reach.
func (b *nearBranch) all() []*nearNode {
	var list []*nearNode
	seen := map[*nearNode]bool{nil: true}
	var visit func(n *nearNode)
	visit = func(n *nearNode) {
		if seen[n] {
			return
		}
		seen[n] = true
		list = append(list, n)
		for _, x := range n.Links {
			visit(x)
		}
		keys := make([]string, 0, len(n.By))
		for k := range n.By {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			visit(n.By[k])
		}
	}
	for _, name := range b.names() {
		visit(b.roots[name])
	}
	return list
}

func (b *nearBranch) names() []string {
	var names []string
	for n := range b.roots {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// open loads a branch.
func (w *nearWorld) open(name string) {
	ctx := context.Background()
	ns := must(w.d.Namespace(ctx, name))(w.t)
	b := &nearBranch{ns, map[string]*nearNode{}}
	for n := range ns.Names() {
		b.roots[n] = must(db.Get[*nearNode](ctx, ns, n))(w.t)
	}
	w.branches = append(w.branches, name)
	w.live[name] = b
}

// edit changes one thing on a branch.
func (w *nearWorld) edit(b *nearBranch) {
	nodes, names := b.all(), b.names()
	name := fmt.Sprint("v", w.rng.IntN(40))
	if len(nodes) == 0 {
		b.roots[name] = w.node()
		set(w.t, b.ns, name, b.roots[name])
		return
	}
	n, other := nodes[w.rng.IntN(len(nodes))], nodes[w.rng.IntN(len(nodes))]
	switch w.rng.IntN(9) {
	case 0: // bound, or bound anew
		b.roots[name] = w.node()
		if w.rng.IntN(2) == 0 {
			b.roots[name].Links = append(b.roots[name].Links, other)
		}
		set(w.t, b.ns, name, b.roots[name])
	case 1: // bound to what others reach
		b.roots[name] = other
		set(w.t, b.ns, name, other)
	case 2:
		name = names[w.rng.IntN(len(names))]
		delete(b.roots, name)
		if err := b.ns.Delete(context.Background(), name); err != nil {
			w.t.Fatal(err)
		}
	case 3:
		n.Links = append(n.Links, w.node())
	case 4:
		n.Links = append(n.Links, other)
	case 5:
		n.By[fmt.Sprint(w.rng.IntN(5))] = w.node()
	case 6: // moved
		if len(n.Links) > 0 {
			x := n.Links[len(n.Links)-1]
			n.Links = n.Links[:len(n.Links)-1]
			other.By["moved"] = x
		}
	case 7:
		n.Text = fmt.Sprint("text ", w.rng.IntN(1000))
	default:
		n.N = -n.N
	}
}

// What Diff finds by way of the index of names is, word for word, what it finds by looking at
// each variable: on all branches, of versions near and far, with shared and moved objects and
// cycles, variables that came and went, and after Prune and Collect.
func TestDiffFindsWhatLookingAtEachVariableFinds(t *testing.T) {
	ctx := context.Background()
	seeds := 12
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		d := openMemory(t)
		w := &nearWorld{t: t, d: d, rng: rand.New(rand.NewPCG(uint64(seed), 9)), live: map[string]*nearBranch{}}
		w.open("main")
		var versions []db.Version
		found, asked := 0, 0
		for i := range 60 {
			b := w.live[w.branches[w.rng.IntN(len(w.branches))]]
			for range 1 + w.rng.IntN(4) {
				w.edit(b)
			}
			versions = append(versions, save(t, b.ns))
			switch {
			case i%15 == 14:
				name := fmt.Sprint("b", i)
				if err := d.Branch(ctx, name, versions[w.rng.IntN(len(versions))]); err == nil {
					w.open(name)
				}
			case i == 30 && seed%3 == 1:
				must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(4)}))(t)
			case i == 30 && seed%3 == 2:
				must(d.Collect(ctx, db.CollectOptions{}))(t)
			}
			for range 3 {
				x, y := versions[w.rng.IntN(len(versions))], versions[len(versions)-1]
				if w.rng.IntN(2) == 0 {
					x, y = y, x
				}
				names, err := namesIn(ctx, d, x, y)
				if err != nil { // pruned
					continue
				}
				var list []string
				for c, err := range d.Diff(ctx, x, y, db.DiffOptions{Variables: names}) {
					if err != nil {
						t.Fatal(err)
					}
					list = append(list, c.String())
				}
				asked++
				if found += len(list); len(names) == 0 {
					continue
				}
				want := strings.ReplaceAll(strings.Join(list, "\n"), "github.com/poddb/poddb/db_test.", "")
				if got := changes(t, d, x, y); got != want {
					t.Fatalf("seed %d, step %d, versions %d and %d:\n%s\nexpected\n%s", seed, i, x, y, got, want)
				}
			}
		}
		if asked < 40 || found < 200 {
			t.Errorf("seed %d: %d changes in %d comparisons", seed, found, asked)
		}
	}
}

func namesIn(ctx context.Context, d *db.DB, versions ...db.Version) ([]string, error) {
	var names []string
	for _, v := range versions {
		sn, err := d.At(ctx, v)
		if err != nil {
			return nil, err
		}
		for n, err := range sn.Names(ctx, "") {
			if err != nil {
				sn.Close()
				return nil, err
			}
			names = append(names, n)
		}
		sn.Close()
	}
	return names, nil
}
