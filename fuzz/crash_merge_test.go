package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// mergesOutcome is what a run of the workload of merges knows when it ends or crashes.
type mergesOutcome struct {
	acked, begun      db.Version                // newest commit that returned, and that was begun
	states            map[db.Version]string     // of every version that may exist
	branch            map[db.Version]string     // that it was committed to
	merged            map[db.Version]db.Version // by merge: the version that it took over
	merges, conflicts int
	err               error
}

// pair is a variable of the workload: fields that both branches change.
type pair struct{ A, B int }

const (
	mergePairs = 6
	mergeSteps = 8
)

// mergesWorkload changes two branches and merges one into the other again and again, with
// conflicts decided for ours or theirs in turns and dry runs before, until it is done or an
// operation fails.
func mergesWorkload(ctx context.Context, fs vfs.FS, seed uint64) mergesOutcome {
	rng := rand.New(rand.NewPCG(seed, 3))
	out := mergesOutcome{states: map[db.Version]string{}, branch: map[db.Version]string{}, merged: map[db.Version]db.Version{}}
	d, err := db.Open(ctx, "crash.pod", mergesOptions(fs, seed))
	if out.err = err; err != nil {
		return out
	}
	defer d.Close()
	heads := map[string][mergePairs]pair{}
	begin := func(branch string, state [mergePairs]pair) {
		out.begun = out.acked + 1
		out.states[out.begun], out.branch[out.begun] = fmt.Sprint(state), branch
		heads[branch] = state
	}
	value := 0
	change := func(branch string) error {
		state := heads[branch]
		for range 1 + rng.IntN(3) {
			value++
			if p := &state[rng.IntN(mergePairs)]; rng.IntN(2) == 0 {
				p.A = value
			} else {
				p.B = value
			}
		}
		before := heads[branch]
		begin(branch, state)
		v, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			for i, p := range state {
				name := fmt.Sprint("p", i)
				if out.acked == 0 {
					if err := tx.Put(ctx, name, &p); err != nil {
						return err
					}
					continue
				}
				if p == before[i] {
					continue
				}
				live, err := db.Get[*pair](ctx, tx, name)
				if err != nil {
					return err
				}
				*live = p
			}
			return nil
		}, db.TxOptions{Branch: branch})
		if err == nil {
			out.acked = v
		}
		return err
	}
	base := [mergePairs]pair{}
	steps := []func(i int) error{
		func(int) error { return change("main") },
		func(int) error { return change("side") },
		func(i int) error {
			if rng.IntN(2) == 0 {
				return d.Checkpoint(ctx)
			}
			return change("main")
		},
		func(i int) error {
			o := db.MergeOptions{From: "side", Resolve: db.TakeOurs}
			pick := func(b, o, t int) int {
				if t == b || o != b && i%2 == 0 {
					return o
				}
				return t
			}
			if i%2 == 1 {
				o.Resolve = db.TakeTheirs
			}
			dry := o
			dry.DryRun = true
			if _, err := d.Merge(ctx, dry); err != nil {
				return err
			}
			state := heads["main"]
			for i, t := range heads["side"] {
				state[i] = pair{pick(base[i].A, state[i].A, t.A), pick(base[i].B, state[i].B, t.B)}
			}
			theirs, err := d.Head(ctx, "side")
			if err != nil {
				return err
			}
			begin("main", state)
			out.merged[out.begun], base = theirs, heads["side"]
			rep, err := d.Merge(ctx, o)
			if err == nil {
				out.acked = rep.Version
				out.merges++
				out.conflicts += len(rep.Conflicts)
			}
			return err
		},
	}
	if out.err = change("main"); out.err != nil {
		return out
	}
	if out.err = d.Branch(ctx, "side", 1); out.err != nil {
		return out
	}
	heads["side"], base = heads["main"], heads["main"]
	for i := range mergeSteps {
		for _, step := range steps {
			if out.err = step(i); out.err != nil {
				return out
			}
		}
	}
	out.err = d.Close()
	return out
}

func mergesOptions(fs vfs.FS, seed uint64) *db.Options {
	o := seededOptions(fs, seed)
	o.Types = db.Types(db.Type[pair]("merge.pair"))
	return o
}

// checkMerges opens an image and compares everything in it with what the workload did.
func checkMerges(ctx context.Context, fs vfs.FS, o mergesOutcome) error {
	d, err := db.Open(ctx, "crash.pod", mergesOptions(fs, 1))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer d.Close()
	heads, newest := map[string]db.Version{}, db.Version(0)
	for _, branch := range []string{"main", "side"} {
		head, err := d.Head(ctx, branch)
		if errors.Is(err, db.ErrNotFound) && o.acked <= 1 {
			continue // not made yet
		}
		if err != nil {
			return err
		}
		heads[branch], newest = head, max(newest, head)
	}
	if newest < o.acked || newest > o.begun {
		return fmt.Errorf("the newest version is %d, want from acknowledged %d to begun %d", newest, o.acked, o.begun)
	}
	want := map[string]db.Version{"side": 1}
	for v := db.Version(1); v <= newest; v++ {
		want[o.branch[v]] = v
		if err := checkPairs(ctx, d, v, o); err != nil {
			return fmt.Errorf("version %d: %w", v, err)
		}
	}
	for branch, head := range heads {
		if head != want[branch] {
			return fmt.Errorf("the head of %s is %d, not %d", branch, head, want[branch])
		}
	}
	rep, err := d.Verify(ctx, db.VerifyOptions{Deep: true})
	if err == nil && len(rep.Problems) > 0 {
		err = fmt.Errorf("%v", rep.Problems)
	}
	return err
}

// checkPairs compares one version: what it shows, and what it took over.
func checkPairs(ctx context.Context, d *db.DB, v db.Version, o mergesOutcome) error {
	c, err := d.CommitOf(ctx, v)
	if err != nil {
		return err
	}
	if merged := o.merged[v]; merged != 0 && (len(c.Parents) != 2 || c.Parents[1] != merged) || merged == 0 && len(c.Parents) > 1 {
		return fmt.Errorf("its parents are %v, and it took over %d", c.Parents, merged)
	}
	s, err := d.At(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	var state [mergePairs]pair
	for i := range state {
		p, err := db.Get[*pair](ctx, s, fmt.Sprint("p", i))
		if err != nil {
			return err
		}
		state[i] = *p
	}
	if got := fmt.Sprint(state); got != o.states[v] {
		return fmt.Errorf("it shows %s, not %s", got, o.states[v])
	}
	return nil
}

// TestCrashOfMerges crashes changes of two branches and merges of them, with conflicts and dry runs, at every
// third file-system operation, with -images at all of them. Each image shows all that was acknowledged, and of
// what was under way all or nothing: a merge with its second parent, or the branch as it was before.
func TestCrashOfMerges(t *testing.T) {
	t.Parallel()
	ctx, seed := context.Background(), *flagSeed
	whole := vfs.NewMem()
	done := mergesWorkload(ctx, whole, seed)
	if done.err != nil || done.merges != mergeSteps || done.conflicts == 0 {
		t.Fatalf("workload without a crash: %d merges, %d conflicts, %v (%s)", done.merges, done.conflicts, done.err, replay(t, ""))
	}
	step, images, lossy, before, after := 3, 0, 0, 0, 0
	if *flagImages > 0 {
		step = 1
	}
	for n := 1 + int(seed)%step; n <= whole.Ops()+2 && !t.Failed(); n += step {
		fs := vfs.NewMem()
		fs.CrashAt(n)
		o := mergesWorkload(ctx, fs, seed)
		if o.err != nil && !errors.Is(o.err, vfs.ErrCrashed) {
			t.Fatalf("crash at operation %d: workload failed with %v, which does not match ErrCrashed", n, o.err)
		}
		for i, img := range imagesOf(fs, 2, seed*1000+uint64(n)) {
			images++
			if img.Lost() {
				lossy++
			}
			if err := checkMerges(ctx, img, o); err != nil {
				t.Errorf("crash at operation %d, image %d: %v\n%s", n, i, err, replay(t, "# operation %d image %d", n, i))
				break
			}
		}
		if o.merged[o.begun] != 0 && o.begun > o.acked {
			before++
		} else if o.merged[o.acked] != 0 {
			after++
		}
	}
	t.Logf("CAMPAIGN name=crashmerges seed=%d ops=%d images=%d lossy=%d within=%d behind=%d", seed, whole.Ops(), images, lossy, before, after)
	if lossy == 0 || before == 0 || after == 0 {
		t.Error("no image lost unsynced data, or no crash was in a merge or behind one: the campaign proves nothing")
	}
}
