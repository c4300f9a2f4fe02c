package fuzz

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// outcome is what a run of the workload knows when it ends or crashes.
type outcome struct {
	acked db.Version            // newest version whose Save returned
	begun db.Version            // newest version whose Save was called
	texts map[db.Version]string // the state of every version that may exist
	saves int
	err   error
}

const crashSaves = 32

// recoveryOps is a little more than a recovery and the Close behind it need.
const recoveryOps = 36

// savesWorkload runs saves, checkpoints and reopenings on fs until it is done
// or an operation fails.
func savesWorkload(ctx context.Context, fs vfs.FS, seed uint64) outcome {
	p := newProgram(seed)
	out := outcome{texts: map[db.Version]string{0: text(nil)}}
	var d *db.DB
	var ns *db.Namespace
	open := func() error {
		var err error
		if d, err = db.Open(ctx, "crash.pod", seededOptions(fs, seed)); err != nil {
			return err
		}
		if ns, err = d.Namespace(ctx, "main"); err != nil {
			return err
		}
		return p.adopt(ctx, ns)
	}
	if out.err = open(); out.err != nil {
		return out
	}
	defer func() {
		if d != nil { // nil when a reopening failed
			_ = d.Close() // a second Close, or one after the crash
		}
	}()
	for i := range crashSaves {
		p.step()
		if out.err = p.bind(ctx, ns); out.err != nil {
			return out
		}
		// A save that finds nothing to write is no commit, so the text of the
		// next version may be known before the version is used.
		next := out.acked + 1
		out.begun, out.texts[next] = next, text(p.vars)
		var v db.Version
		if v, out.err = ns.Save(ctx); out.err != nil {
			return out
		}
		if v == out.acked {
			out.begun = v
			delete(out.texts, next)
		}
		out.acked = v
		out.saves++
		switch {
		case i%7 == 3:
			out.err = d.Checkpoint(ctx)
		case i%11 == 8:
			if out.err = d.Close(); out.err == nil {
				out.err = open()
			}
		}
		if out.err != nil {
			return out
		}
	}
	out.err = d.Close()
	return out
}

// check opens an image and compares everything in it with the model. It
// returns the version it found.
func check(ctx context.Context, fs vfs.FS, o outcome) (db.Version, error) {
	d, err := db.Open(ctx, "crash.pod", dbOptions(fs))
	if err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	defer d.Close()
	head, err := d.Head(ctx, "main")
	if err != nil {
		return 0, err
	}
	if head < o.acked || head > o.begun {
		return head, fmt.Errorf("head is %d, want from acknowledged %d to begun %d", head, o.acked, o.begun)
	}
	for v := db.Version(0); v <= head; v++ {
		if err := checkVersion(ctx, d, v, o.texts[v]); err != nil {
			return head, fmt.Errorf("version %d: %w", v, err)
		}
	}
	rep, err := d.Verify(ctx, db.VerifyOptions{Deep: true})
	if err != nil {
		return head, fmt.Errorf("verify: %w", err)
	}
	if len(rep.Problems) > 0 {
		return head, fmt.Errorf("verify: %v", rep.Problems)
	}
	return head, nil
}

func checkVersion(ctx context.Context, d *db.DB, v db.Version, want string) error {
	s, err := d.At(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	var all map[string]any
	if err := s.Load(ctx, &all); err != nil {
		return err
	}
	vars := map[string]*node{}
	for n, x := range all {
		vars[n] = x.(*node)
	}
	if got := text(vars); got != want {
		return fmt.Errorf("state differs:\n--- got\n%s--- want\n%s", got, want)
	}
	return nil
}

// images of one crash: the three extremes, then seeded mixes.
func imagesOf(fs *vfs.MemFS, mixes int, seed uint64) []*vfs.MemFS {
	list := []*vfs.MemFS{fs.Crash(vfs.CrashLoseAll, 0), fs.Crash(vfs.CrashKeepAll, 0), fs.Crash(vfs.CrashNewestOnly, seed)}
	for i := range mixes {
		list = append(list, fs.Crash(vfs.CrashMix, seed+uint64(i)))
	}
	return list
}

// TestCrashOfSaves crashes saves of a graph, checkpoints and reopenings at
// every third file-system operation, with -images at all of them. After each
// crash, in each image, the graph is that of a save from the last acknowledged
// to the last begun, Verify is clean, and what recovery showed survives a second
// crash right after it and at operations inside it.
func TestCrashOfSaves(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	seed := *flagSeed
	whole := vfs.NewMem()
	done := savesWorkload(ctx, whole, seed)
	if done.err != nil {
		t.Fatalf("workload without a crash: %v (%s)", done.err, replay(t, ""))
	}
	if done.acked < 20 {
		t.Fatalf("workload made %d commits, want at least 20", done.acked)
	}
	c := campaign{t: t, ctx: ctx, mixes: 1}
	ops, step := whole.Ops(), 3
	if *flagImages > 0 {
		c.mixes, step = max(1, *flagImages/ops/10-3), 1
	}
	for n := 1 + int(seed)%step; n <= ops+2; n += step {
		c.crashAt(seed, n)
		if t.Failed() {
			break
		}
	}
	t.Logf("CAMPAIGN name=crashsaves seed=%d ops=%d images=%d recovered=%d second=%d lossy=%d lost=%d corrupt=%d",
		seed, ops, c.images, c.recovered, c.second, c.lossy, c.lost, c.corrupt)
	if c.lossy == 0 {
		t.Error("no image ever lost unsynced data: the harness proves nothing")
	}
}

type campaign struct {
	t     *testing.T
	ctx   context.Context
	mixes int

	images, recovered, second, lossy, lost, corrupt int
}

// crashAt runs the workload up to operation n and checks every image.
func (c *campaign) crashAt(seed uint64, n int) {
	fs := vfs.NewMem()
	fs.CrashAt(n)
	o := savesWorkload(c.ctx, fs, seed)
	if o.err != nil && !errors.Is(o.err, vfs.ErrCrashed) {
		c.t.Errorf("crash at operation %d: workload failed with %v, which does not match ErrCrashed", n, o.err)
		return
	}
	for i, img := range imagesOf(fs, c.mixes, seed*1000+uint64(n)) {
		c.images++
		if img.Lost() {
			c.lossy++
		}
		c.secondCrash(img, o, n, i)
		head, err := check(c.ctx, img, o)
		if err != nil {
			c.count(err)
			c.t.Errorf("crash at operation %d, image %d: %v\n%s", n, i, err, replay(c.t, "# operation %d image %d", n, i))
			return
		}
		c.recovered++
		// What was shown must be durable: losing everything unsynced now
		// changes nothing.
		again, err := check(c.ctx, img.Crash(vfs.CrashLoseAll, 0), outcome{acked: head, begun: head, texts: o.texts})
		if err != nil {
			c.count(err)
			c.t.Errorf("crash at operation %d, image %d: after recovery showed %d a second crash shows %d: %v", n, i, head, again, err)
			return
		}
	}
}

// secondCrash crashes inside the recovery of a copy of the image, at a few of
// its operations.
func (c *campaign) secondCrash(img *vfs.MemFS, o outcome, n, i int) {
	for j := range 3 {
		// Other places each time: over all crashes every operation of a recovery,
		// and of the Close behind it, is met many times.
		k := 1 + (n*7+i*13+j*11)%recoveryOps
		cp := img.Crash(vfs.CrashKeepAll, 0)
		cp.CrashAt(k)
		d, err := db.Open(c.ctx, "crash.pod", dbOptions(cp))
		if err == nil {
			_ = d.Close()
		}
		kind := []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashNewestOnly, vfs.CrashMix}[(n+k)%4]
		if _, err := check(c.ctx, cp.Crash(kind, uint64(n*10+k)), o); err != nil {
			c.count(err)
			c.t.Errorf("crash at operation %d, image %d, then at operation %d of recovery: %v", n, i, k, err)
			return
		}
		c.second++
	}
}

func (c *campaign) count(err error) {
	if errors.Is(err, db.ErrCorrupt) {
		c.corrupt++
	} else {
		c.lost++
	}
}
