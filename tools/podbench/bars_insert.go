package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/podder"
)

// insertCase is a big container, with a unit put into its middle.
type insertCase struct {
	name, about string
	build       func(r *rand.Rand) any
	insert      func(v any)
}

type insertItem struct {
	ID    int
	Price float64
}

// insertCases are the containers of the promise. Slices are full, so an insert
// moves all of them to new memory.
func insertCases() []insertCase {
	return []insertCase{
		{"insert-floats", "a 100 MB []float64",
			func(r *rand.Rand) any {
				x := make([]float64, 12_500_000)
				for i := range x {
					x[i] = r.Float64()
				}
				return &x
			},
			func(v any) { x := v.(*[]float64); *x = slices.Insert(*x, len(*x)/2, 0.5) },
		},
		{"insert-pointers", "a []*T of 1,000,000, without what they point to",
			func(r *rand.Rand) any {
				x := make([]*insertItem, 1_000_000)
				for i := range x {
					x[i] = &insertItem{i, r.Float64()}
				}
				return &x
			},
			func(v any) { x := v.(*[]*insertItem); *x = slices.Insert(*x, len(*x)/2, &insertItem{-1, 0.5}) },
		},
		{"insert-map", "a map[int]float64 of 1,000,000",
			func(r *rand.Rand) any {
				x := make(map[int]float64, 1_000_000)
				for len(x) < 1_000_000 {
					x[r.Int()] = r.Float64()
				}
				return x
			},
			func(v any) { v.(map[int]float64)[-1] = 0.5 },
		},
		{"insert-string", "a string of 50 MB",
			func(r *rand.Rand) any {
				b := make([]byte, 50_000_000)
				for i := range b {
					b[i] = 'a' + byte(r.IntN(26))
				}
				s := string(b)
				return &s
			},
			func(v any) { x := v.(*string); *x = (*x)[:len(*x)/2] + "X" + (*x)[len(*x)/2:] },
		},
	}
}

// insertPromises are the bars, a promise each, so that one can be measured alone.
func insertPromises() []promise {
	var out []promise
	for _, c := range insertCases() {
		out = append(out, promise{
			bars: []bar{{name: c.name, set: "fidelity", unit: "of-container", limit: 0.005,
				about: "bytes that an insert into the middle of " + c.about + " costs, the most of: handed to the store, stored, growth of the file in the mean of 8"}},
			measure: func(ctx context.Context, env barEnv, bars []bar) []bar { return measureInsert(ctx, env, c, bars) },
		})
	}
	return out
}

// measureInsert saves a container, puts one unit into its middle and saves again.
func measureInsert(ctx context.Context, env barEnv, c insertCase, bars []bar) []bar {
	size, handed, err := insertHanded(ctx, c)
	if err != nil {
		return broken(bars, err)
	}
	stored, growth, err := insertStored(ctx, env, c)
	if err != nil {
		return broken(bars, err)
	}
	bars[0].value = float64(max(handed, stored, growth)) / float64(size)
	bars[0].note = fmt.Sprintf("of %d bytes: %d handed to the store, %d stored, the file grew by %d", size, handed, stored, growth)
	return bars
}

// insertHanded counts what podder hands over: for the container as a whole, and
// for the insert.
func insertHanded(ctx context.Context, c insertCase) (size, handed int64, err error) {
	graph, err := podder.NewGraph(podder.Config{Registry: podder.NewRegistry()})
	if err != nil {
		return 0, 0, err
	}
	v := c.build(rand.New(rand.NewPCG(6, 6)))
	sink := &countingSink{discard: newDiscard()}
	roots := []podder.Root{{Name: "x", Value: reflect.ValueOf(v)}}
	saved, err := graph.Save(ctx, roots, sink)
	if err != nil {
		return 0, 0, err
	}
	saved.Commit()
	roots[0].Pod = sink.roots["x"]
	size = sink.containers
	sink.all = 0
	c.insert(v)
	if _, err = graph.Save(ctx, roots, sink); err == nil && sink.all == 0 {
		err = fmt.Errorf("the insert was not seen")
	}
	return size, sink.all, err
}

// countingSink counts the bytes of slots and the references beside them.
type countingSink struct {
	*discard
	all, containers int64
}

// refBytes is what a reference takes in a pod's table, if its neighbours are near.
const refBytes = 2

func (s *countingSink) Put(_ context.Context, c *pod.Change) error {
	n, isContainer := int64(0), false
	for i := range c.Slots {
		w := &c.Slots[i]
		n += int64(len(w.Data.Bytes))
		for _, r := range w.Runs {
			n += int64(len(r.Bytes))
		}
		switch w.Data.Kind {
		case pod.SlotArray, pod.SlotMap, pod.SlotString, pod.SlotChunks:
			isContainer = true
		}
	}
	n += int64(len(c.Refs)) * refBytes
	s.all += n
	if isContainer {
		s.containers += n
	}
	return nil
}

// insertSaves is how many saves with an insert each the growth of a file is the
// mean of: it grows by pages, and reuses those that a commit before gave up.
const insertSaves = 8

// insertStored does the same in a database, several times, and returns what such a
// save stored at most and by how much the closed file grew for each.
func insertStored(ctx context.Context, env barEnv, c insertCase) (stored, growth int64, err error) {
	dir, remove, err := engineDir(env)
	if err != nil {
		return 0, 0, err
	}
	defer remove()
	path := filepath.Join(dir, "insert.pod")
	v := c.build(rand.New(rand.NewPCG(6, 6)))
	before, _, err := savesOf(ctx, path, 1, func(ns *db.Namespace) error { return ns.Set(ctx, "x", v) })
	if err != nil {
		return 0, 0, err
	}
	after, stored, err := savesOf(ctx, path, insertSaves, func(ns *db.Namespace) error {
		loaded, err := db.Get[any](ctx, ns, "x")
		if err == nil {
			c.insert(loaded)
		}
		return err
	})
	return stored, (after - before) / insertSaves, err
}

// savesOf opens a database, changes it and saves, n times, and closes it. It
// returns the size of the file and the most that a save stored.
func savesOf(ctx context.Context, path string, n int, change func(*db.Namespace) error) (size, stored int64, err error) {
	d, err := db.Open(ctx, path, &db.Options{Types: db.TypeSet{}.With(db.TypeOf(reflect.TypeFor[insertItem](), "insertItem"))})
	if err != nil {
		return 0, 0, err
	}
	ns, err := d.Namespace(ctx, "main")
	for i := 0; i < n && err == nil; i++ {
		if err = change(ns); err == nil {
			_, err = ns.Save(ctx)
			stored = max(stored, ns.LastSave().Bytes)
		}
	}
	if closed := d.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return 0, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	return info.Size(), stored, nil
}
