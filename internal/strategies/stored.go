package strategies

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/podder"
)

// History says what a database has seen before the graph that is measured.
const (
	historyGraphs  = 4
	historyCommits = 40
)

// versionRow is what a pod version takes in the index beside its contents: the key, and
// a byte that says where they lie (package mvcc, keys.go).
const versionRow = 22

// Stored returns the bytes that a strategy stores for the program, of versions of pods and
// their rows in the index, and how many choices it was asked for. With history the
// database has seen other graphs of the kind change, in a process before.
func (p *Program) Stored(ctx context.Context, s db.Strategy, history bool) (bytes float64, choices int, err error) {
	fs := vfs.NewMem()
	if history {
		var graphs []*graph
		for n := range uint64(historyGraphs) {
			graphs = append(graphs, p.newGraph(1+n))
		}
		if _, err := p.run(ctx, fs, s, "history", graphs, historyCommits); err != nil {
			return 0, 0, err
		}
	}
	c := &counted{Strategy: s}
	if s != nil && s != db.Learned() && s != db.BundleAll() { // those are known by what they are
		s = c
	}
	bytes, err = p.run(ctx, fs, s, "graph", []*graph{p.newGraph(0)}, p.Commits)
	return bytes, c.choices, err
}

// counted counts choices.
type counted struct {
	db.Strategy
	choices int
}

func (c *counted) Split(ch *db.StrategyChoice) bool {
	c.choices++
	return c.Strategy.Split(ch)
}

// run saves graphs as one variable each, and changes them, in a process of its own.
func (p *Program) run(ctx context.Context, fs vfs.FS, s db.Strategy, name string, graphs []*graph, commits int) (bytes float64, err error) {
	d, err := db.Open(ctx, "a.pod", &db.Options{FS: fs, Strategy: s, Repod: p.Repod, Durability: db.DurabilityNone, Types: types()})
	if err != nil {
		return 0, err
	}
	defer func() {
		if closed := d.Close(); err == nil {
			err = closed
		}
	}()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return 0, err
	}
	for i, g := range graphs {
		if err := ns.Set(ctx, fmt.Sprint(name, i), g.root); err != nil {
			return 0, err
		}
	}
	for n := range commits + 1 {
		if n > 0 {
			for _, g := range graphs {
				g.change()
			}
		}
		before := ns.Base()
		v, err := ns.Save(ctx)
		if err != nil {
			return 0, fmt.Errorf("seed %d, save %d: %w", p.Seed, n, err)
		}
		if st := ns.LastSave(); v != before {
			bytes += float64(st.Bytes) + float64(st.PodsWritten)*versionRow
		}
	}
	return bytes, nil
}

// Optimum returns what the best of all ways to cut the program's graph stores.
func (p *Program) Optimum(ctx context.Context) (float64, error) {
	_, choices, err := p.Stored(ctx, db.SplitAll(), false)
	if err != nil {
		return 0, err
	}
	_, least, err := podder.Optimal(choices, func(s podder.Strategy) (float64, error) {
		bytes, _, err := p.Stored(ctx, s, false)
		return bytes, err
	})
	return least, err
}
