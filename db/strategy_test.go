package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/poddb/poddb/db"
)

// strategies are those that Options.Strategy may have.
func strategies() map[string]db.Strategy {
	return map[string]db.Strategy{
		"default": nil, "learned": db.Learned(), "bundle-all": db.BundleAll(), "split-all": db.SplitAll(), "by-type": db.ByType(),
		"by-person": db.ByType(reflect.TypeFor[person]()), "random": db.RandomStrategy(3), "greedy": db.Greedy(0.1),
	}
}

// A database is written with one strategy after the other. Each finds what the others
// wrote, and has nothing to save after loading it.
func TestStrategiesReadEachOther(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "a.pod")
	people, saved := 0, map[db.Version]int{}
	for round := range 2 {
		for name, s := range strategies() {
			d := must(db.Open(ctx, path, &db.Options{Types: testTypes(), VerifyEvery: 1, Strategy: s, PodTargetBytes: 512}))(t)
			ns := namespace(t, d)
			all := &[]*person{}
			if people > 0 {
				all = must(ns.Get(ctx, "all"))(t).(*[]*person)
			} else {
				set(t, ns, "all", all)
			}
			if len(*all) != people {
				t.Fatalf("%s, round %d: %d people, want %d", name, round, len(*all), people)
			}
			if base := ns.Base(); people > 0 && save(t, ns) != base {
				t.Fatalf("%s, round %d: a save after a load made a version", name, round)
			}
			for range 3 {
				for range 10 {
					x := &person{Name: fmt.Sprint("person ", people), Tags: []string{name, "x"}, secret: people}
					if people > 0 {
						x.Friend = (*all)[people/2]
					}
					*all, people = append(*all, x), people+1
				}
				saved[save(t, ns)] = people
			}
			verifyClean(t, d)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := must(db.Open(ctx, path, &db.Options{Types: testTypes()}))(t)
	defer func() { _ = d.Close() }()
	for v, n := range saved {
		s := must(d.At(ctx, v))(t)
		all := *must(db.Get[*[]*person](ctx, s, "all"))(t)
		if len(all) != n {
			t.Fatalf("version %d: %d people, want %d", v, len(all), n)
		}
		for i, x := range all {
			if x.Name != fmt.Sprint("person ", i) || x.secret != i || i > 0 && x.Friend != all[i/2] {
				t.Fatalf("version %d: person %d is %+v", v, i, *x)
			}
		}
		_ = s.Close()
	}
}

// learntRow is a text that never changes and a counter that does.
type learntRow struct {
	About string
	Count *learntCount
}

type learntCount struct{ N int }

// Rows are made after a restart, in a database whose history says that counters change
// and texts do not: with the default strategy that costs less, later, than without looking
// at the history.
func TestWhatIsNewIsPlacedByTheHistory(t *testing.T) {
	ctx := context.Background()
	stored := map[string]int64{}
	for name, s := range map[string]db.Strategy{"default": nil, "bundled": db.Greedy(0)} {
		path := filepath.Join(t.TempDir(), "a.pod")
		o := &db.Options{VerifyEvery: 1, Strategy: s, Durability: db.DurabilityNone}
		d := must(db.Open(ctx, path, o))(t)
		r := rand.New(rand.NewPCG(1, 2))
		all := newLearntRows(r, 100)
		ns := namespace(t, d)
		set(t, ns, "all", all)
		stored["before"] = countUp(t, ns, r, *all, 70)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = must(db.Open(ctx, path, o))(t)
		ns = namespace(t, d)
		all = newLearntRows(r, 100)
		set(t, ns, "more", all)
		save(t, ns)
		stored[name] = countUp(t, ns, r, *all, 70)
		verifyClean(t, d)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if t.Log(stored); stored["default"]*3 > stored["bundled"] {
		t.Errorf("%d bytes by the history, %d without", stored["default"], stored["bundled"])
	}
}

func newLearntRows(r *rand.Rand, n int) *[]*learntRow {
	var all []*learntRow
	for range n {
		about := make([]byte, 200)
		for i := range about {
			about[i] = byte(r.IntN(256))
		}
		all = append(all, &learntRow{string(about), &learntCount{}})
	}
	return &all
}

// countUp saves n changes, of one counter each, and returns what they stored.
func countUp(t *testing.T, ns *db.Namespace, r *rand.Rand, all []*learntRow, n int) (bytes int64) {
	for range n {
		all[r.IntN(len(all))].Count.N++
		save(t, ns)
		bytes += ns.LastSave().Bytes
	}
	return bytes
}
