package db_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
)

// Types with one of the methods that the database calls, each of which runs whenCalled.
type (
	storesBack   struct{ N int }
	marshalsBack struct{ N int }
	loadsBack    struct{ N int }
)

func (c *storesBack) BeforeStore() error { return calledBack() }

func (c *marshalsBack) MarshalPod(w *db.ValueWriter) error {
	w.Int(int64(c.N))
	return calledBack()
}

func (c *marshalsBack) UnmarshalPod(r *db.ValueReader) error {
	c.N = int(r.Int())
	return calledBack()
}

func (c *loadsBack) AfterLoad() error { return calledBack() }

// whenCalled runs at the next call of such a method.
var whenCalled func()

func calledBack() error {
	if call := whenCalled; call != nil {
		whenCalled = nil
		call()
	}
	return nil
}

// What a namespace runs of the program cannot use it: that is ErrNested, and what only
// tells answers. Nothing waits for itself.
func TestHooksCannotUseTheirNamespace(t *testing.T) {
	ctx := t.Context()
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "marshals", &marshalsBack{1})
	set(t, ns, "loads", &loadsBack{1})
	set(t, ns, "n", 1)
	set(t, ns, "ref", &struct{ R db.Ref[int] }{db.NewRef(new(int))})
	first := save(t, ns)
	var behind *struct{ R db.Ref[int] }
	calls := map[string]func(*db.Namespace) error{
		"Save":     func(ns *db.Namespace) error { _, err := ns.Save(ctx); return err },
		"Get":      func(ns *db.Namespace) error { _, err := ns.Get(ctx, "n"); return err },
		"Set":      func(ns *db.Namespace) error { return ns.Set(ctx, "q", 1) },
		"Delete":   func(ns *db.Namespace) error { return ns.Delete(ctx, "n") },
		"Checkout": func(ns *db.Namespace) error { return ns.Checkout(ctx, first) },
		"Undo":     func(ns *db.Namespace) error { _, err := ns.Undo(ctx); return err },
		"Load":     func(ns *db.Namespace) error { return ns.Load(ctx, &struct{ N int }{}) },
		"Load all": func(ns *db.Namespace) error { return ns.Load(ctx, &map[string]any{}) },
		"Ref.Get":  func(*db.Namespace) error { _, err := behind.R.Get(ctx); return err },
	}
	hooks := map[string]func(*db.Namespace) error{
		"BeforeStore": func(ns *db.Namespace) error {
			set(t, ns, "new", &storesBack{2})
			_, err := ns.Save(ctx)
			return err
		},
		"MarshalPod": func(ns *db.Namespace) error {
			set(t, ns, "new", &marshalsBack{2})
			_, err := ns.Save(ctx)
			return err
		},
		"UnmarshalPod": func(ns *db.Namespace) error { _, err := db.Get[*marshalsBack](ctx, ns, "marshals"); return err },
		"AfterLoad":    func(ns *db.Namespace) error { _, err := db.Get[*loadsBack](ctx, ns, "loads"); return err },
	}
	for hook, run := range hooks {
		for what, call := range calls {
			live := namespace(t, d)
			if what == "Ref.Get" {
				behind = must(db.Get[*struct{ R db.Ref[int] }](ctx, live, "ref"))(t)
			}
			var inner error
			var base db.Version
			var names []string
			whenCalled = func() {
				inner, base, names = call(live), live.Base(), slices.Collect(live.Names())
				live.LastSave()
				live.Moved()
				live.Trim()
			}
			outer := make(chan error, 1)
			go func() { outer <- run(live) }()
			select {
			case err := <-outer:
				if err != nil {
					t.Errorf("%s that calls %s: %v", hook, what, err)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s that calls %s waits for itself", hook, what)
			}
			if !errors.Is(inner, db.ErrNested) {
				t.Errorf("%s that calls %s: %v", hook, what, inner)
			}
			if base == 0 || !slices.Contains(names, "n") {
				t.Errorf("%s is told base %d, names %q", hook, base, names)
			}
			set(t, live, "n", 2) // it goes on
		}
	}
}

// Waiting for another call of a namespace ends with the context.
func TestWaitingForANamespaceEndsWithTheContext(t *testing.T) {
	ctx := t.Context()
	ns := namespace(t, openMemory(t))
	set(t, ns, "n", 1)
	set(t, ns, "stores", &storesBack{1})
	in, out := make(chan bool), make(chan bool)
	whenCalled = func() {
		close(in)
		<-out
	}
	saved := make(chan error, 1)
	go func() {
		_, err := ns.Save(ctx)
		saved <- err
	}()
	<-in
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	got := make(chan error, 1)
	go func() {
		_, err := ns.Get(short, "n")
		got <- err
	}()
	select {
	case err := <-got:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get beside a Save, beyond its deadline: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Get waits beyond its deadline")
	}
	close(out)
	if err := <-saved; err != nil {
		t.Error(err)
	}
	if n, err := db.Get[int](ctx, ns, "n"); err != nil || n != 1 {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}
