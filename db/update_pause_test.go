package db

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// The pauses between the attempts of an Update are random and grow; then it has its turn, and
// needs none. Commits with the context of its function pass meanwhile.
func TestUpdatePauses(t *testing.T) {
	ctx := context.Background()
	d, err := OpenMemory(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var mu sync.Mutex
	var pauses []time.Duration
	d.newTimer = func(p time.Duration) *time.Timer {
		mu.Lock()
		defer mu.Unlock()
		pauses = append(pauses, p)
		return time.NewTimer(0)
	}
	_, err = d.Update(ctx, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.Has(ctx, "x"); err != nil {
			return err
		}
		other, err := d.Begin(ctx, TxOptions{})
		if err != nil {
			return err
		}
		if err := other.Put(ctx, "x", len(pauses)); err != nil {
			return err
		}
		if _, err := other.Commit(ctx); err != nil {
			return err
		}
		return tx.Put(ctx, "y", 1)
	}, TxOptions{Attempts: 60})
	if !errors.Is(err, ErrRetriesExhausted) || len(pauses) != turnAfter-1 {
		t.Fatalf("%d pauses: %v", len(pauses), err)
	}
	different := map[time.Duration]bool{}
	limit := firstPause
	for i, p := range pauses {
		if p < 0 || p >= limit {
			t.Errorf("pause %d is %v, beyond %v", i, p, limit)
		}
		different[p] = true
		limit *= 2
	}
	if len(different) < len(pauses)/2 {
		t.Errorf("%d pauses of %d are different", len(different), len(pauses))
	}
}
