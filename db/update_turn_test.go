package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

type tally struct{ N int }

// counters commits n of them.
func counters(t *testing.T, d *DB, n int) {
	t.Helper()
	if _, err := d.Update(t.Context(), func(ctx context.Context, tx *Tx) error {
		for i := range n {
			if err := tx.Put(ctx, fmt.Sprint("n", i), &tally{}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func add(d *DB, name string) func(context.Context, *Tx) error {
	return func(ctx context.Context, tx *Tx) error {
		c, err := Get[*tally](ctx, tx, name)
		if err == nil {
			c.N++
		}
		return err
	}
}

// An Update that reads everything and runs long gets through among writers that never
// pause, and so do several such at once. Nothing is lost meanwhile.
func TestLongUpdatesDoNotStarve(t *testing.T) {
	ctx := t.Context()
	d, err := OpenMemory(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	const all, writers, long = 32, 8, 3
	counters(t, d, all)
	stop := make(chan struct{})
	var small, big sync.WaitGroup
	var mu sync.Mutex
	committed := 0
	for w := range writers {
		small.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := d.Update(ctx, add(d, fmt.Sprint("n", rng.IntN(all)))); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				committed++
				mu.Unlock()
			}
		})
	}
	// what was under way when the turn began may still come between, once for each writer
	const most = turnAfter + 1 + writers + long
	for range long {
		big.Go(func() {
			runs := 0
			if _, err := d.Update(ctx, func(ctx context.Context, tx *Tx) error {
				runs++
				sum := 0
				for i := range all {
					c, err := Get[*tally](ctx, tx, fmt.Sprint("n", i))
					if err != nil {
						return err
					}
					sum += c.N
				}
				awaitCommit(t, d, tx.Base())
				return tx.Put(ctx, "sum", sum)
			}, TxOptions{Attempts: most}); err != nil {
				t.Errorf("after %d runs: %v", runs, err)
			}
		})
	}
	big.Wait()
	close(stop)
	small.Wait()
	sum := 0
	if err := d.View(ctx, func(ctx context.Context, s *Snapshot) error {
		for i := range all {
			c, err := Get[*tally](ctx, s, fmt.Sprint("n", i))
			if err != nil {
				return err
			}
			sum += c.N
		}
		return nil
	}); err != nil || sum != committed {
		t.Fatalf("counted %d of %d: %v", sum, committed, err)
	}
}

// awaitCommit lets others commit, if they can.
func awaitCommit(t *testing.T, d *DB, base Version) {
	for range 50 {
		if v, err := d.Head(t.Context(), "main"); err != nil || v > base {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A commit waits while somebody has the turn: until its context ends, or the turn does, which it does in
// time though its holder waits for that very commit.
func TestATurnIsBounded(t *testing.T) {
	ctx := t.Context()
	d, err := OpenMemory(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	counters(t, d, 2)
	var expire func()
	var limits []time.Duration
	d.after = func(limit time.Duration, end func()) *time.Timer {
		expire, limits = end, append(limits, limit)
		return time.NewTimer(time.Hour)
	}
	clock := time.Unix(0, 0)
	d.now = func() time.Time { return clock }
	runs := 0
	rival := func(ctx context.Context) error {
		_, err := d.Update(ctx, add(d, "n0"))
		return err
	}
	_, err = d.Update(ctx, func(inner context.Context, tx *Tx) error {
		if err := add(d, "n0")(inner, tx); err != nil {
			return err
		}
		if runs++; runs < turnAfter {
			clock = clock.Add(time.Second)
			return rival(ctx)
		}
		if runs == turnAfter {
			clock = clock.Add(time.Millisecond)
			return rival(ctx)
		}
		if runs > turnAfter+1 {
			return nil // it has another turn
		}
		canceled, cancel := context.WithCancel(ctx)
		waits := make(chan error)
		go func() { waits <- rival(canceled) }()
		cancel()
		if err := <-waits; !errors.Is(err, context.Canceled) {
			return fmt.Errorf("a commit while another has the turn: %v", err)
		}
		if _, err := d.Begin(canceled, TxOptions{}); !errors.Is(err, context.Canceled) {
			return err
		}
		if err := d.Branch(ctx, "b", tx.Base()); err != nil {
			return err
		}
		if _, err := d.Update(ctx, add(d, "n1"), TxOptions{Branch: "b"}); err != nil { // other branches go on
			return err
		}
		go func() { waits <- rival(ctx) }()
		expire()
		return <-waits
	})
	if err != nil || runs != turnAfter+2 {
		t.Fatal(runs, err)
	}
	if len(limits) != 2 || limits[0] != turnFactor*time.Second || limits[1] != turnFactor*time.Second {
		t.Fatalf("limits %v", limits)
	}
	if err := rival(ctx); err != nil { // the turn is over with the Update
		t.Fatal(err)
	}
	for d, want := range map[time.Duration]time.Duration{0: turnLeast, time.Millisecond: turnLeast, time.Second: 4 * time.Second, time.Hour: turnMost} {
		if got := turnLimit(d); got != want {
			t.Errorf("%v: %v, expected %v", d, got, want)
		}
	}
}

// A panic or an error of the function ends the turn too.
func TestATurnEndsWithItsUpdate(t *testing.T) {
	ctx := t.Context()
	d, err := OpenMemory(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	counters(t, d, 1)
	for _, panics := range []bool{true, false} {
		runs := 0
		boom := errors.New("boom")
		func() {
			defer func() {
				if p := recover(); (p != nil) != panics {
					t.Errorf("panic %v", p)
				}
			}()
			_, err := d.Update(ctx, func(inner context.Context, tx *Tx) error {
				if err := add(d, "n0")(inner, tx); err != nil {
					return err
				}
				if runs++; runs <= turnAfter {
					_, err := d.Update(ctx, add(d, "n0"))
					return err
				}
				if panics {
					panic(boom)
				}
				return boom
			})
			if err != boom {
				t.Errorf("%v", err)
			}
		}()
		if turn, err := d.store.AwaitTurn(ctx, "main"); err != nil {
			t.Fatal(err)
		} else {
			turn.End()
		}
	}
}
