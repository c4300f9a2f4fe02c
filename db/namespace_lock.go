package db

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
)

// turn lets one call at a time use a namespace, and waiting for it end with a context.
// A call that may run the program's code (hooks, codecs, migrations, strategies), which
// runs on the goroutine of the call, notes which one that is, so that calls from
// within are told from those that have to wait.
type turn struct {
	token chan struct{} // has one while a call runs
	owner atomic.Uint64 // goroutine of that call, 0 if it runs no code of the program
	trim  atomic.Bool   // Trim was called from within
}

func newTurn() turn { return turn{token: make(chan struct{}, 1)} }

// lock waits until no other call uses the namespace or the context ends. From
// within a call it is ErrNested.
func (ns *Namespace) lock(ctx context.Context) error {
	select {
	case ns.turn.token <- struct{}{}:
		return nil
	default:
	}
	if ns.nested() {
		return fmt.Errorf("a method or function that a call of this namespace runs may not use the namespace: %w", ErrNested)
	}
	select {
	case ns.turn.token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("another call uses the namespace: %w", ctx.Err())
	}
}

// lockToRun is lock for a call that may run the program's code.
func (ns *Namespace) lockToRun(ctx context.Context) error {
	if err := ns.lock(ctx); err != nil {
		return err
	}
	ns.runsCode()
	return nil
}

// runsCode says that the call that has the lock may run the program's code from here on.
func (ns *Namespace) runsCode() { ns.turn.owner.Store(goroutine()) }

func (ns *Namespace) unlock() {
	if ns.turn.trim.Swap(false) {
		ns.graph.Trim()
	}
	ns.turn.owner.Store(0)
	<-ns.turn.token
}

// look runs fn, which only reads, when no other call uses the namespace, or at once
// within one: that one waits for it.
func (ns *Namespace) look(fn func()) {
	if ns.lock(context.Background()) == nil {
		defer ns.unlock()
	}
	fn()
}

// nested reports whether the caller runs within a call of the namespace.
func (ns *Namespace) nested() bool {
	owner := ns.turn.owner.Load()
	return owner != 0 && owner == goroutine()
}

// goroutine returns the number of the goroutine that calls it, as its stack trace
// begins with ("goroutine 7 [running]:"), which is the only place where Go tells it; 0
// if that reads otherwise one day. Then calls from within wait for their context.
func goroutine() uint64 {
	var b [40]byte
	trace := b[:runtime.Stack(b[:], false)]
	number, _, _ := bytes.Cut(bytes.TrimPrefix(trace, []byte("goroutine ")), []byte(" "))
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
