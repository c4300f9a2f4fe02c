package mvcc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// The triple, in all orders: who drops the last reference to an object, who has read it before
// and refers to it again, and a collect. Each actor is a list of steps; every
// interleaving of the lists runs against a real store. Objects: x → a → b ⇄ c, y → d.
//
// The collect's steps are where it stops: after marking, after sweeping, and before
// each of its commits, of one part each.

// triple is one run.
type triple struct {
	t       *testing.T
	s       *Store
	a, b, c pod.ID
	d       pod.ID
	tx      [2]*Tx
	err     [2]error
	col     *collection
	colErr  error
}

// actors are what may happen; the first transaction drops.
func (r *triple) actors(again func(tx *Tx)) [][]func() {
	drop := []func(){
		func() { r.tx[0] = begin(r.t, r.s, MainBranch) },
		func() { putPod(r.t, r.tx[0], boxAgain(r.a, "A")); _, r.err[0] = r.tx[0].Commit(bg, CommitInfo{}) },
	}
	refer := []func(){
		func() { r.tx[1] = begin(r.t, r.s, MainBranch) },
		func() {
			if sn := r.tx[1].Base(); !must(sn.Has(bg, r.b))(r.t) || !must(sn.Has(bg, r.c))(r.t) {
				r.tx[1].Rollback() // it read that they are gone
				return
			}
			again(r.tx[1])
			_, r.err[1] = r.tx[1].Commit(bg, CommitInfo{})
		},
	}
	step := func(fn func(ctx context.Context) error) func() {
		return func() {
			if r.colErr == nil {
				r.colErr = fn(bg)
			}
		}
	}
	collect := []func(){
		step(func(ctx context.Context) error {
			r.col = &collection{s: r.s, l: r.s.lines.Load().byName[MainBranch], group: 1}
			r.col.pace = newPace(Budget{}, r.s)
			return r.col.begin(ctx, false)
		}),
		step(func(ctx context.Context) error { return r.col.markAll(ctx) }),
		step(func(ctx context.Context) error {
			r.col.step = stepSweep
			if err := r.col.sweepAll(ctx); err != nil {
				return err
			}
			r.col.order()
			return nil
		}),
		step(r.commitOne), step(r.commitOne),
	}
	return [][]func(){drop, refer, collect}
}

func (r *triple) commitOne(ctx context.Context) error {
	r.col.step = stepCommit
	if r.col.next == len(r.col.graph.parts) {
		return nil
	}
	_, err := r.col.commitParts(ctx, r.col.graph.parts[r.col.next:r.col.next+1])
	r.col.next++
	return err
}

// finish checks what is promised, whatever the order was.
func (r *triple) finish(order []int) {
	r.t.Helper()
	if r.colErr != nil || r.err[0] != nil || r.err[1] != nil && !errors.Is(r.err[1], dberr.ErrConflict) {
		r.t.Fatalf("order %v: collect %v, transactions %v", order, r.colErr, r.err)
	}
	r.col.end()
	verifyClean(r.t, r.s)
	if _, err := r.s.Collect(bg, CollectOptions{Branch: MainBranch}); err != nil {
		r.t.Fatal(err)
	}
	if rep := verifyClean(r.t, r.s); rep.Unreachable+rep.UnreachableSlots != 0 {
		r.t.Fatalf("order %v: %d pods are unreachable after a collect of its own", order, rep.Unreachable)
	}
}

func TestEveryInterleavingOfDropReferAndCollect(t *testing.T) {
	again := map[string]func(r *triple, tx *Tx){
		"reference": func(r *triple, tx *Tx) { putPod(r.t, tx, boxAgain(r.d, "D", to(r.b))) },
		"inner":     func(r *triple, tx *Tx) { putPod(r.t, tx, boxAgain(r.d, "D", to(r.c))) },
		"name":      func(r *triple, tx *Tx) { setName(r.t, tx, "z", r.c) },
		"written":   func(r *triple, tx *Tx) { putPod(r.t, tx, boxAgain(r.b, "B", to(r.c))) },
		"new": func(r *triple, tx *Tx) {
			id := tx.NewPod()
			putPod(r.t, tx, box(id, "new", to(r.c)))
			setName(r.t, tx, "z", id)
		},
	}
	orders := interleavings([]int{2, 2, 5})
	if testing.Short() { // what was dropped before marking, as read before
		orders = slices.DeleteFunc(orders, func(o []int) bool { return o[0] != 1 || position(o, 0, 2) > position(o, 2, 2) })
	} else {
		orders = slices.DeleteFunc(orders, beginsLate)
	}
	for _, name := range slices.Sorted(maps.Keys(again)) {
		t.Run(name, func(t *testing.T) {
			outcomes := map[string]int{}
			for _, order := range orders {
				r := &triple{t: t, s: mustOpen(t, testOptions(newFS(t)))}
				commitPods(t, r.s, func(tx *Tx) {
					r.a, r.b, r.c, r.d = tx.NewPod(), tx.NewPod(), tx.NewPod(), tx.NewPod()
					putPod(t, tx, box(r.a, "a", to(r.b)))
					putPod(t, tx, box(r.b, "b", to(r.c)))
					putPod(t, tx, box(r.c, "c", to(r.b)))
					putPod(t, tx, box(r.d, "d"))
					setName(t, tx, "x", r.a)
					setName(t, tx, "y", r.d)
				})
				actors := r.actors(func(tx *Tx) { again[name](r, tx) })
				for _, who := range order {
					actors[who][0]()
					actors[who] = actors[who][1:]
				}
				outcomes[fmt.Sprintf("conflict=%v taken=%d spared=%d", r.err[1] != nil, r.col.report.Pods, r.col.report.Spared)]++
				r.finish(order)
				if err := r.s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d orders: %v", len(orders), outcomes)
			if len(outcomes) < 3 {
				t.Fatalf("only %v came about", outcomes)
			}
		})
	}
}

// beginsLate reports whether a transaction begins right behind a step of another actor that
// commits nothing: a beginning (1 goes behind 0), or the collect's search, of which the
// first three steps look at one version only. A beginning looks at the head and changes
// nothing, so the order in which it comes before that step is the same run.
func beginsLate(order []int) bool {
	var taken [3]int
	quiet := -1 // who made the step before, if that committed nothing
	for _, who := range order {
		begins := who < 2 && taken[who] == 0
		if begins && (quiet == 2 || quiet > who) {
			return true
		}
		if quiet = -1; begins || who == 2 && taken[who] < 3 {
			quiet = who
		}
		taken[who]++
	}
	return false
}

// position is where the n-th step of an actor comes.
func position(order []int, who, n int) int {
	for i, x := range order {
		if x == who {
			if n--; n == 0 {
				return i
			}
		}
	}
	return len(order)
}

// interleavings lists the orders in which so many steps of each actor can come.
func interleavings(steps []int) (orders [][]int) {
	var rec func(order []int)
	rec = func(order []int) {
		done := true
		for i := range steps {
			if steps[i] > 0 {
				done = false
				steps[i]--
				rec(append(slices.Clone(order), i))
				steps[i]++
			}
		}
		if done {
			orders = append(orders, order)
		}
	}
	rec(nil)
	return orders
}

// A collect that is ended anywhere goes on with the next call.
func TestCollectGoesOnWhereItStopped(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	var ids []pod.ID
	commitPods(t, s, func(tx *Tx) {
		for i := range 2000 {
			ids = append(ids, tx.NewPod())
			if i > 0 && i%700 != 0 { // chains of 700
				putPod(t, tx, box(ids[i], "x", to(ids[i-1])))
			} else {
				putPod(t, tx, box(ids[i], "x"))
			}
		}
		setName(t, tx, "x", ids[1999])
		setName(t, tx, "y", ids[1399])
		setName(t, tx, "z", ids[699])
	})
	commitPods(t, s, func(tx *Tx) {
		for _, n := range []string{"y", "z"} {
			if err := tx.DeleteName(bg, n); err != nil {
				t.Fatal(err)
			}
		}
	})
	var last CollectReport
	steps := map[string]bool{}
	for calls := 1; ; calls++ {
		ctx, cancel := context.WithCancel(bg)
		rep, err := s.Collect(ctx, CollectOptions{Branch: MainBranch, Progress: func(p CollectProgress) {
			steps[p.Step] = true
			cancel()
		}})
		cancel()
		if calls%16 == 0 {
			verifyClean(t, s)
		}
		if err == nil {
			last = rep
			if calls < 10 {
				t.Fatalf("done after %d calls", calls)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(ids[1999], fmt.Sprint(calls), to(ids[1998]))) })
	}
	if last.Pods != 1400 || last.Commits < 3 || len(steps) != 3 {
		t.Fatalf("collected %+v in steps %v", last, steps)
	}
	if rep := verifyClean(t, s); rep.Unreachable != 0 {
		t.Fatalf("%d pods are unreachable", rep.Unreachable)
	}
	if n := s.Stats().OpenSnapshots; n != 0 {
		t.Fatalf("%d snapshots are open after the end", n)
	}
}
