package strategies

import (
	"context"
	"math/rand/v2"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// Costs are what pods cost in a file beside what they hold, in bytes: what the rule of
// package podder (strategy_cost.go) reckons with.
type Costs struct {
	Pod        float64 // of one more pod
	Version    float64 // of one more version of a pod
	BigShare   float64 // of a pod's bytes, for each version that changes little of 8 KB
	SmallShare float64 // the same, of 700 bytes
}

// CostRow is an object whose number changes.
type CostRow struct {
	N    int
	Text string
}

// numberBytes is about what a change of a CostRow's number stores itself.
const numberBytes = 10

// Measure stores objects of 100 bytes, alone and together, and reads what the file takes:
// 3,000 pods; 400 commits of 20 changes in 40 pods; 400 of one change in a pod of 8 KB, and of 700 bytes, without compression.
func Measure(ctx context.Context) (c Costs, err error) {
	plain := false
	space := func(s db.Strategy, objects, commits, each int) (bytes, versions float64) {
		if err == nil {
			bytes, versions, err = costSpace(ctx, s, plain, objects, commits, each)
		}
		return bytes, versions
	}
	together, pods := space(db.BundleAll(), 3000, 0, 0)
	alone, all := space(db.SplitAll(), 3000, 0, 0)
	c.Pod = (alone - together) / (all - pods)

	one, ones := space(db.SplitAll(), 40, 400, 1)
	many, manies := space(db.SplitAll(), 40, 400, 20)
	c.Version = (many-one)/(manies-ones) - numberBytes

	share := func(objects int) float64 {
		const commits = 400
		least, _ := space(db.BundleAll(), 1, 0, 0)
		before, _ := space(db.BundleAll(), objects, 0, 0)
		after, _ := space(db.BundleAll(), objects, commits, 1)
		apart, _ := space(db.SplitAll(), objects, 0, 0)
		later, _ := space(db.SplitAll(), objects, commits, 1)
		return ((after - before) - (later - apart)) / commits / (before - least)
	}
	plain = true // else small versions are compressed against each other, in blocks
	c.BigShare, c.SmallShare = share(73), share(7)
	return c, err
}

// costSpace returns the bytes of contents and index of a database, and its pod versions.
func costSpace(ctx context.Context, s db.Strategy, plain bool, objects, commits, each int) (bytes, versions float64, err error) {
	o := db.Options{FS: vfs.NewMem(), Strategy: s, Durability: db.DurabilityNone, NoCompression: plain, Types: types()}
	if err := saveCostRows(ctx, &o, objects, commits, each); err != nil {
		return 0, 0, err
	}
	d, err := db.Open(ctx, "a.pod", &o)
	if err != nil {
		return 0, 0, err
	}
	rep, err := d.SpaceReport(ctx)
	if closed := d.Close(); err == nil {
		err = closed
	}
	return float64(rep.Stored + rep.Rows), float64(rep.Live.Rows + rep.History.Rows), err
}

func saveCostRows(ctx context.Context, o *db.Options, objects, commits, each int) (err error) {
	d, err := db.Open(ctx, "a.pod", o)
	if err != nil {
		return err
	}
	defer func() {
		if closed := d.Close(); err == nil {
			err = closed
		}
	}()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([]*CostRow, objects)
	for i := range rows {
		text := make([]byte, 100)
		for k := range text {
			text[k] = byte('a' + r.IntN(26))
		}
		rows[i] = &CostRow{i, string(text)}
	}
	if err := ns.Set(ctx, "rows", &rows); err != nil {
		return err
	}
	for n := range commits + 1 {
		for range each {
			if n > 0 {
				rows[r.IntN(objects)].N += 1 + r.IntN(1<<40)
			}
		}
		if _, err := ns.Save(ctx); err != nil {
			return err
		}
	}
	return nil
}
