package db_test

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/db"
)

// What an experiment changed comes back, beside what the main line did meanwhile.
func ExampleDB_Merge() {
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	main, _ := d.Namespace(ctx, "main")
	price := map[string]int{"tea": 3, "coffee": 5}
	_ = main.Set(ctx, "price", price)
	v1, _ := main.Save(ctx)

	_ = d.Branch(ctx, "experiment", v1)
	experiment, _ := d.Namespace(ctx, "experiment")
	theirs, _ := db.Get[map[string]int](ctx, experiment, "price")
	theirs["tea"] = 4
	_, _ = experiment.Save(ctx)
	price["cocoa"] = 6
	_, _ = main.Save(ctx)

	rep, err := d.Merge(ctx, db.MergeOptions{Into: "main", From: "experiment"})
	if err != nil {
		fmt.Println(err) // a MergeConflictError would list what both changed
		return
	}
	s, _ := d.At(ctx, rep.Version)
	defer s.Close()
	both, _ := db.Get[map[string]int](ctx, s, "price")
	fmt.Println(both)
	// Output: map[cocoa:6 coffee:5 tea:4]
}

// A watcher sees each commit once, with what it changed.
func ExampleDB_Watch() {
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	commits := d.Watch(ctx, "main", "account/") // from here on
	for _, balance := range []int{1, 2} {
		_, _ = d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			return tx.Put(ctx, "account/7", &balance)
		})
	}
	seen := 0
	for e, err := range commits {
		if err != nil {
			fmt.Println(err)
			return
		}
		for c, err := range e.Changes(ctx) {
			fmt.Println(e.Commit.Version, c, err)
		}
		if seen++; seen == 2 {
			break
		}
	}
	// Output:
	// 1 account/7: added *int <nil>
	// 2 account/7: 1 → 2 <nil>
}
