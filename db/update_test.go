package db_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
)

type counter struct{ N int }

// Many writers of one object lose no update, with either isolation, in memory and
// with another variable in between.
func TestUpdateLosesNothing(t *testing.T) {
	ctx := context.Background()
	for _, iso := range []db.Isolation{db.Serializable, db.SnapshotIsolation} {
		d := openMemory(t)
		putAll(t, d, map[string]any{"n": &counter{}})
		const writers, each = 8, 25
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for range each {
					if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
						c, err := db.Get[*counter](ctx, tx, "n")
						if err != nil {
							return err
						}
						c.N++
						return tx.Put(ctx, fmt.Sprint("w", w), c.N)
					}, db.TxOptions{Isolation: iso, Message: "count", Author: "w"}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := get[*counter](t, head(t, d), "n").N; n != writers*each {
			t.Fatalf("isolation %d: %d, not %d", iso, n, writers*each)
		}
		for c, err := range d.Log(ctx, db.LogOptions{}) {
			if err != nil || c.Message != "count" || c.Author != "w" {
				t.Fatal(c, err)
			}
			break
		}
	}
}

// A conflict, and nothing else, runs the function again, as often as was asked
// for.
func TestUpdateRetriesConflictsOnly(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"n": &counter{}})
	runs := 0
	collide := func(times int) func(context.Context, *db.Tx) error {
		runs = 0
		return func(ctx context.Context, tx *db.Tx) error {
			c, err := db.Get[*counter](ctx, tx, "n")
			if err != nil {
				return err
			}
			c.N++
			if runs++; runs <= times {
				putAll(t, d, map[string]any{"n": &counter{100 * runs}})
			}
			return nil
		}
	}
	if v, err := d.Update(ctx, collide(3)); err != nil || runs != 4 {
		t.Fatal(v, err, runs)
	} else if s := head(t, d); s.Version() != v || get[*counter](t, s, "n").N != 301 {
		t.Fatal(s.Version(), v, get[*counter](t, s, "n").N)
	}

	_, err := d.Update(ctx, collide(1000), db.TxOptions{Attempts: 5})
	var c *db.ConflictError
	if !errors.Is(err, db.ErrRetriesExhausted) || !errors.Is(err, db.ErrConflict) || !errors.As(err, &c) || c.Attempts != 5 || runs != 5 {
		t.Fatal(err, runs)
	}
	if len(c.Names) != 1 || c.Names[0] != "n" || !strings.Contains(err.Error(), "5 attempts") || !db.Retryable(err) {
		t.Fatal(err)
	}

	// The function's own errors are returned as they are, a conflict among them.
	runs = 0
	mine := error(&db.ConflictError{Names: []string{"mine"}})
	if _, err := d.Update(ctx, func(context.Context, *db.Tx) error { runs++; return mine }); err != mine || runs != 1 {
		t.Fatal(err, runs)
	}
	if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		runs++
		return tx.Put(ctx, "f", &struct{ F func() }{func() {}})
	}); !errors.Is(err, db.ErrUnsupported) || runs != 2 {
		t.Fatal(err, runs)
	}
	if errors.Is(err, db.ErrRetriesExhausted) != true || errors.Is(mine, db.ErrRetriesExhausted) {
		t.Fatal("which conflict ended an Update")
	}

	// The context ends the pauses.
	canceled, cancel := context.WithCancel(ctx)
	start := time.Now()
	_, err = d.Update(canceled, func(ctx context.Context, tx *db.Tx) error {
		if runs == 10 {
			cancel()
		}
		runs++
		get[*counter](t, tx, "n").N++
		putAll(t, d, map[string]any{"n": &counter{}})
		return nil
	}, db.TxOptions{Attempts: 1 << 30})
	if !errors.Is(err, context.Canceled) || runs > 11 || time.Since(start) > time.Minute {
		t.Fatal(err, runs)
	}
	if _, err := d.Update(ctx, func(context.Context, *db.Tx) error { return nil }, db.TxOptions{Base: 1}); !errors.Is(err, db.ErrInvalid) {
		t.Fatal(err)
	}
}

// What fn did is gone when it fails or panics, and the panic goes on.
func TestUpdateRollsBack(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	v1 := putAll(t, d, map[string]any{"n": &counter{1}})
	var kept *db.Tx
	spoil := func(tx *db.Tx) {
		kept = tx
		get[*counter](t, tx, "n").N = 2
		put(t, tx, "m", 1)
	}
	boom := errors.New("boom")
	if _, err := d.Update(ctx, func(_ context.Context, tx *db.Tx) error { spoil(tx); return boom }); err != boom {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if p := recover(); p != any("panic") {
				t.Fatal(p)
			}
		}()
		d.Update(ctx, func(_ context.Context, tx *db.Tx) error { spoil(tx); panic("panic") })
	}()
	if err := kept.Put(ctx, "m", 1); !errors.Is(err, db.ErrTxDone) {
		t.Fatal(err)
	}
	if _, err := d.Update(ctx, func(_ context.Context, tx *db.Tx) error { return tx.Rollback() }); !errors.Is(err, db.ErrTxDone) {
		t.Fatal(err)
	}
	if h, err := d.Head(ctx, "main"); h != v1 || err != nil {
		t.Fatal(h, err)
	}
	if open := d.Stats().OpenSnapshots; open != 0 {
		t.Fatalf("%d snapshots are open", open)
	}
}

func TestUpdateDoesNotNest(t *testing.T) {
	ctx := context.Background()
	d, other := openMemory(t), openMemory(t)
	nothing := func(context.Context, *db.Tx) error { return nil }
	_, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		if _, err := other.Update(ctx, func(ctx context.Context, _ *db.Tx) error {
			if _, err := d.Update(ctx, nothing); !errors.Is(err, db.ErrNested) {
				t.Error(err)
			}
			return nil
		}); err != nil { // another database is none of this one's business
			t.Error(err)
		}
		if err := d.View(ctx, func(context.Context, *db.Snapshot) error { return nil }); err != nil {
			t.Error(err)
		}
		_, err := d.Update(ctx, nothing)
		return err
	})
	if !errors.Is(err, db.ErrNested) {
		t.Fatal(err)
	}
	if _, err := d.Update(ctx, nothing); err != nil {
		t.Fatal(err)
	}
}

func TestView(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	v1 := putAll(t, d, map[string]any{"n": 1})
	putAll(t, d, map[string]any{"n": 2})
	for _, c := range []struct {
		o    db.ViewOptions
		want int
	}{{db.ViewOptions{}, 2}, {db.ViewOptions{Branch: "main"}, 2}, {db.ViewOptions{Version: v1}, 1}} {
		if err := d.View(ctx, func(ctx context.Context, s *db.Snapshot) error {
			if n := get[int](t, s, "n"); n != c.want {
				t.Error(n)
			}
			return nil
		}, c.o); err != nil {
			t.Fatal(err)
		}
	}
	boom := errors.New("boom")
	if err := d.View(ctx, func(context.Context, *db.Snapshot) error { return boom }); err != boom {
		t.Fatal(err)
	}
	func() {
		defer func() { recover() }()
		d.View(ctx, func(context.Context, *db.Snapshot) error { panic("panic") })
	}()
	if open := d.Stats().OpenSnapshots; open != 0 {
		t.Fatalf("%d snapshots are open", open)
	}
	if err := d.View(ctx, nil, db.ViewOptions{Version: 99}); !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
}

// slowContext waits in Err until it may go on.
type slowContext struct {
	context.Context
	once           *sync.Once
	entered, leave chan struct{}
}

func (c slowContext) Err() error {
	c.once.Do(func() {
		close(c.entered)
		<-c.leave
	})
	return c.Context.Err()
}

// A transaction that a goroutine uses which the function has left behind cannot be ended when
// Update returns. It is when nobody refers to it any more: retention does not keep its base for ever.
func TestUpdateWhoseTransactionIsInUse(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	v1 := putAll(t, d, map[string]any{"x": &person{Name: "1"}})
	slow := slowContext{ctx, new(sync.Once), make(chan struct{}), make(chan struct{})}
	stop, done := errors.New("stop"), make(chan error, 1)
	_, err := d.Update(ctx, func(_ context.Context, tx *db.Tx) error {
		go func() {
			_, err := tx.Get(slow, "x")
			done <- err
		}()
		<-slow.entered
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	close(slow.leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	putAll(t, d, map[string]any{"x": 2})
	for i := 0; ; i++ { // the collector ends it
		runtime.GC()
		if _, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}); err != nil {
			t.Fatal(err)
		}
		tx, err := d.Begin(ctx, db.TxOptions{Base: v1})
		if errors.Is(err, db.ErrVersionGone) {
			break
		}
		if err != nil || i > 1000 {
			t.Fatalf("after %d collections: %v", i, err)
		}
		tx.Rollback()
		time.Sleep(time.Millisecond)
	}
}
