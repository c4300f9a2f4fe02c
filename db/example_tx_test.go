package db_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/poddb/poddb/db"
)

type Account struct {
	Owner   *Owner
	Balance int
}

type Owner struct{ Name string }

type Limits struct{ Max int }

// Transactions work on private copies; Commit finds what was changed.
func ExampleDB_Update() {
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil) // or db.Open
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	// The function may run several times: a conflict with another commit runs it
	// again on the newest version.
	_, err = d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		ann := &Owner{Name: "Ann"}
		if err := tx.Put(ctx, "account/7", &Account{Owner: ann, Balance: 100}); err != nil {
			return err
		}
		if err := tx.Put(ctx, "account/8", &Account{Owner: ann}); err != nil {
			return err
		}
		return tx.Put(ctx, "limits", &Limits{Max: 50})
	})
	if err != nil {
		log.Fatal(err)
	}

	tooMuch := errors.New("too much")
	transfer := func(amount int) error {
		_, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			from, err := db.Get[*Account](ctx, tx, "account/7") // a private copy
			if err != nil {
				return err
			}
			to, err := db.Get[*Account](ctx, tx, "account/8")
			if err != nil {
				return err
			}
			limits, err := db.Read[*Limits](ctx, tx, "limits") // depended on, never written
			if err != nil {
				return err
			}
			if amount > limits.Max {
				return tooMuch // rolls back
			}
			from.Balance -= amount // no Put needed
			to.Balance += amount
			to.Owner.Name = "Ann B." // the owner of both
			return nil
		})
		return err
	}
	fmt.Println(transfer(30), transfer(60))

	err = d.View(ctx, func(ctx context.Context, s *db.Snapshot) error {
		for name, err := range s.Names(ctx, "account/") {
			if err != nil {
				return err
			}
			a, err := db.Get[*Account](ctx, s, name)
			if err != nil {
				return err
			}
			fmt.Println(name, a.Owner.Name, a.Balance)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// <nil> too much
	// account/7 Ann B. 70
	// account/8 Ann B. 30
}
