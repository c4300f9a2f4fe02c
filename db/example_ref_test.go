package db_test

import (
	"context"
	"fmt"
	"log"

	"github.com/poddb/poddb/db"
)

type Invoice struct {
	Total int
}

type Customer struct {
	Name     string
	Invoices db.Ref[[]*Invoice] // read when they are asked for
}

func ExampleRef() {
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		return tx.Put(ctx, "ann", &Customer{Name: "Ann", Invoices: db.NewRef(&[]*Invoice{{Total: 5}})})
	}); err != nil {
		log.Fatal(err)
	}
	if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		ann, err := db.Get[*Customer](ctx, tx, "ann") // reads no invoices
		if err != nil {
			return err
		}
		_, loaded := ann.Invoices.Loaded()
		fmt.Println("loaded:", loaded)
		list, err := ann.Invoices.Get(ctx)
		if err != nil {
			return err
		}
		*list = append(*list, &Invoice{Total: 7}) // found at Commit
		return nil
	}); err != nil {
		log.Fatal(err)
	}
	if err := d.View(ctx, func(ctx context.Context, s *db.Snapshot) error {
		ann, err := db.Get[*Customer](ctx, s, "ann")
		if err != nil {
			return err
		}
		list, err := ann.Invoices.Get(ctx)
		if err != nil {
			return err
		}
		fmt.Println(ann.Name, "has", len(*list), "invoices")
		return nil
	}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// loaded: false
	// Ann has 2 invoices
}

func ExampleMap() {
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	type World struct {
		Users db.Map[string, int]
	}
	if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		w := &World{}
		for i := range 1000 {
			if err := w.Users.Put(ctx, fmt.Sprintf("user/%04d", i), i); err != nil {
				return err
			}
		}
		return tx.Put(ctx, "world", w)
	}); err != nil {
		log.Fatal(err)
	}
	// One user is one chunk, whoever changes others meanwhile.
	if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		w, err := db.Get[*World](ctx, tx, "world")
		if err != nil {
			return err
		}
		n, _, err := w.Users.Get(ctx, "user/0500")
		if err != nil {
			return err
		}
		return w.Users.Put(ctx, "user/0500", n+1)
	}); err != nil {
		log.Fatal(err)
	}
	if err := d.View(ctx, func(ctx context.Context, s *db.Snapshot) error {
		w, err := db.Get[*World](ctx, s, "world")
		if err != nil {
			return err
		}
		for e, err := range w.Users.Range(ctx, "user/0499", "user/0502") {
			if err != nil {
				return err
			}
			fmt.Println(e.Key, e.Value)
		}
		return nil
	}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// user/0499 499
	// user/0500 501
	// user/0501 501
}

func ExampleMapOf() {
	ctx := context.Background()
	ages := map[string]int{"bob": 40, "ann": 39}
	m, err := db.MapOf(func(yield func(string, int) bool) {
		for k, v := range ages {
			if !yield(k, v) {
				return
			}
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range m.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Key, e.Value)
	}
	// Output:
	// ann 39
	// bob 40
}
